package mlflow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
)

// place is where the files of a run or a logged model are, on one server.
type place struct {
	server *Server
	run    string // the run's id, or
	model  string // the logged model's
	uri    string // as the server gives it: mlflow-artifacts:/…, s3://…, a path on its disk
}

type file struct {
	Path   string `json:"path"`
	Folder bool   `json:"is_dir"`
	Size   number `json:"file_size"`
}

// proxied gives the path behind the server's artifact proxy, if the files are there.
func (p place) proxied() (string, bool) {
	rest, ok := strings.CutPrefix(p.uri, "mlflow-artifacts:")
	if !ok {
		return "", false
	}
	if strings.HasPrefix(rest, "//") { // a host stands before the path
		_, rest, _ = strings.Cut(strings.TrimPrefix(rest, "//"), "/")
	}
	return strings.Trim(rest, "/"), true
}

const proxy = "/api/2.0/mlflow-artifacts/artifacts"

// list gives the files and folders directly below a folder; paths are relative to the place.
func (p place) list(ctx context.Context, folder string) ([]file, error) {
	var out struct {
		Files []file `json:"files"`
		Next  string `json:"next_page_token"`
	}
	q := url.Values{}
	if root, ok := p.proxied(); ok {
		q.Set("path", path.Join(root, folder))
		if err := p.server.call(ctx, "GET", proxy, q, nil, &out); err != nil {
			if missing(err) { // nothing was ever put there
				return nil, nil
			}
			return nil, err
		}
		for i := range out.Files {
			out.Files[i].Path = path.Join(folder, out.Files[i].Path)
		}
		return out.Files, nil
	}
	if p.model != "" {
		if folder != "" {
			q.Set("artifact_directory_path", folder)
		}
		err := p.server.call(ctx, "GET", api+"logged-models/"+url.PathEscape(p.model)+"/artifacts/directories", q, nil, &out)
		return out.Files, err
	}
	q.Set("run_id", p.run)
	if folder != "" {
		q.Set("path", folder)
	}
	var all []file
	for {
		out.Files, out.Next = nil, ""
		if err := p.server.call(ctx, "GET", api+"artifacts/list", q, nil, &out); err != nil {
			return nil, err
		}
		all = append(all, out.Files...)
		if out.Next == "" {
			return all, nil
		}
		q.Set("page_token", out.Next)
	}
}

// maxDepth bounds how deep folders are followed.
const maxDepth = 64

// files gives all files below the place, sorted by path.
func (p place) files(ctx context.Context) (out []file, err error) {
	var walk func(folder string, depth int) error
	walk = func(folder string, depth int) error {
		if depth > maxDepth {
			return fmt.Errorf("the folders of %s are nested deeper than %d", p.uri, maxDepth)
		}
		list, err := p.list(ctx, folder)
		if err != nil {
			return err
		}
		for _, f := range list {
			if f.Path == folder || folder != "" && !strings.HasPrefix(f.Path, folder+"/") {
				continue // a server that lists a file below itself, or something else
			}
			if f.Folder {
				if err := walk(f.Path, depth+1); err != nil {
					return err
				}
				continue
			}
			out = append(out, f)
		}
		return nil
	}
	err = walk("", 0)
	slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.Path, b.Path) })
	return out, err
}

// open reads one file.
func (p place) open(ctx context.Context, name string) (io.ReadCloser, error) {
	at, q := "/get-artifact", url.Values{"path": {name}, "run_uuid": {p.run}}
	if root, ok := p.proxied(); ok {
		at, q = proxy+"/"+escapePath(path.Join(root, name)), nil
	} else if p.model != "" {
		at, q = "/ajax-api/2.0/mlflow/logged-models/"+url.PathEscape(p.model)+"/artifacts/files", url.Values{"artifact_file_path": {name}}
	}
	resp, err := p.server.do(ctx, "GET", at, q, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// digest reads one file and gives its SHA-256 and its size.
func (p place) digest(ctx context.Context, name string) (sum string, size int64, err error) {
	r, err := p.open(ctx, name)
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	h := sha256.New()
	if size, err = io.Copy(h, r); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// escapePath escapes every part of a path.
func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}
