package mlflowapi

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"keelson/internal/blob"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

// Paths of the artifact proxy:
//
//	<experiment>/<run>/artifacts/…             a run's files
//	<experiment>/models/<model>/artifacts/…    a logged model's files
//	registry/<model>/<version>/…               a registered version's files, read only
const registry = "registry"

func (m *API) artifactRoutes(a *rest.API) {
	const p = "/2.0/mlflow-artifacts/artifacts"
	for _, prefix := range prefixes {
		a.Handle("GET", prefix+p, "run.read", rest.MLflow, m.handle(m.listProxy))
		a.Handle("GET", prefix+p+"/{path...}", "run.read", rest.MLflow, m.handle(m.download))
		a.Handle("PUT", prefix+p+"/{path...}", "run.write", rest.MLflow, m.handle(m.upload))
		a.Handle("DELETE", prefix+p+"/{path...}", "run.write", rest.MLflow, m.handle(m.remove))
		a.Handle("GET", prefix+"/2.0/mlflow/logged-models/{model}/artifacts/files", "run.read", rest.MLflow, m.handle(m.modelFile))
		a.Handle("POST", prefix+"/2.0/mlflow/upload-artifact", "run.write", rest.MLflow, m.handle(m.uploadToRun))
	}
	m.uploadRoutes(a)
	on(a, m, "GET", "/2.0/mlflow/artifacts/list", "run.read", m.listRun, "run_id|run_uuid")
	on(a, m, "GET", "/2.0/mlflow/logged-models/{model}/artifacts/directories", "run.read", m.listModel)
	a.Handle("GET", "/get-artifact", "run.read", rest.MLflow, m.handle(m.runFile))
	a.Handle("GET", "/model-versions/get-artifact", "version.read", rest.MLflow, m.handle(m.versionFile))
}

func (m *API) handle(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := clean(r)
		if err == nil {
			err = h(w, withBase(r))
		}
		if err != nil {
			m.fail(w, r, err)
		}
	})
}

type fileInfo struct {
	Path string `json:"path"`
	Dir  bool   `json:"is_dir"`
	Size *int64 `json:"file_size,omitempty"`
}

// infos are the children of a folder; relative leaves the folder off their paths.
func infos(list []tracking.Artifact, relative string) []fileInfo {
	var out []fileInfo
	for _, a := range list {
		f := fileInfo{Path: a.Path, Dir: a.Folder}
		if relative != "" {
			f.Path = strings.TrimPrefix(f.Path, relative+"/")
		}
		if !a.Folder {
			f.Size = &a.Size
		}
		out = append(out, f)
	}
	return out
}

// place is what a path of the proxy names.
type place struct {
	root, rest string
	model      string // of the registry
	version    int
}

func split(p string) (place, error) {
	p = strings.TrimSuffix(p, "/")
	if err := tracking.CheckPath(p); err != nil {
		return place{}, err
	}
	if rest, ok := strings.CutPrefix(p, registry+"/"); ok {
		parts := strings.SplitN(rest, "/", 3)
		if len(parts) >= 2 {
			if n, err := strconv.Atoi(parts[1]); err == nil && n > 0 {
				out := place{model: parts[0], version: n}
				if len(parts) == 3 {
					out.rest = parts[2]
				}
				return out, nil
			}
		}
	}
	root, rest, ok := tracking.SplitRoot(p)
	if !ok {
		return place{}, problem.New(problem.NotFound, "No artifacts are kept under '%s'.", problem.Clip(p, 120)).At("path")
	}
	return place{root: root, rest: rest}, nil
}

func (m *API) listProxy(w http.ResponseWriter, r *http.Request) error {
	p, err := split(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	var list []tracking.Artifact
	if p.model != "" {
		v, err := m.Inventory.Version(r.Context(), p.model, p.version)
		if err != nil {
			return err
		}
		list = tracking.Children(asArtifacts(v.Files), p.rest)
	} else if list, err = m.Tracking.List(r.Context(), p.root, p.rest); err != nil {
		return err
	}
	answer(w, struct {
		Files []fileInfo `json:"files,omitempty"`
	}{infos(list, p.rest)})
	return nil
}

func asArtifacts(files []inventory.File) []tracking.Artifact {
	out := make([]tracking.Artifact, len(files))
	for i, f := range files {
		out[i] = tracking.Artifact{Path: f.Path, Digest: f.Digest, Size: f.Size}
	}
	return out
}

func (m *API) download(w http.ResponseWriter, r *http.Request) error {
	p, err := split(r.PathValue("path"))
	if err != nil {
		return err
	}
	if p.model != "" {
		return m.serveVersion(w, r, p.model, p.version, p.rest)
	}
	return m.serve(w, r, p.root, p.rest)
}

// serve sends one file, with ranges, as bytes to keep and never to show.
func (m *API) serve(w http.ResponseWriter, r *http.Request, root, name string) error {
	f, a, sound, err := m.Tracking.OpenFile(r.Context(), root, name)
	if err != nil {
		return err
	}
	defer f.Close()
	return m.send(w, r, name, file{a.Digest, a.Size, sound}, f)
}

func (m *API) serveVersion(w http.ResponseWriter, r *http.Request, model string, version int, name string) error {
	f, v, sound, err := m.Inventory.OpenFile(r.Context(), model, version, name)
	if err != nil {
		return err
	}
	defer f.Close()
	return m.send(w, r, name, file{v.Digest, v.Size, sound}, f)
}

// file is what is known of the bytes that are sent; sound says that they were held against their digest.
type file struct {
	digest string
	size   int64
	sound  bool
}

// send answers with a file or ranges of it. A whole file that nobody held against its digest yet is checked on the way:
// the last bytes of an altered one are held back and the connection breaks off, so that no client takes it for whole. Of
// one that is fetched by ranges the check is made aside.
func (m *API) send(w http.ResponseWriter, r *http.Request, name string, what file, f io.ReadSeeker) error {
	h := w.Header()
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = "application/octet-stream"
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("ETag", `"`+what.digest+`"`)
	if what.sound || r.Method != http.MethodGet || r.Header.Get("Range") != "" || r.Header.Get("If-None-Match") != "" {
		if !what.sound {
			m.Keeper.Aside(what.digest)
		}
		rest.ServeContent(w, r, time.Time{}, f, m.fail)
		return nil
	}
	h.Set("Content-Length", strconv.FormatInt(what.size, 10))
	h.Set("Accept-Ranges", "bytes")
	_, err := io.Copy(w, blob.NewCheck(f, what.digest))
	if err == nil {
		return nil
	}
	if errors.Is(err, blob.ErrAltered) && m.Keeper != nil {
		if err := m.Keeper.Report(r.Context(), what.digest); err != nil {
			m.Log.ErrorContext(r.Context(), "altered bytes could not be reported", "digest", what.digest, "error", err)
		}
	}
	panic(http.ErrAbortHandler) // the answer has begun; only breaking off says that it is not whole
}

func (m *API) upload(w http.ResponseWriter, r *http.Request) error {
	p, err := split(r.PathValue("path"))
	if err != nil {
		return err
	}
	return m.store(w, r, p)
}

func (m *API) store(w http.ResponseWriter, r *http.Request, p place) error {
	if p.model != "" {
		return frozen(p)
	}
	if r.ContentLength > maxArtifact {
		return tooLarge(maxArtifact)
	}
	body := &reading{r: http.MaxBytesReader(w, r.Body, maxArtifact)}
	if _, err := m.Tracking.PutFile(r.Context(), p.root, p.rest, body); err != nil {
		return body.blame(err, maxArtifact)
	}
	answer(w, none{})
	return nil
}

func (m *API) remove(w http.ResponseWriter, r *http.Request) error {
	p, err := split(r.PathValue("path"))
	if err != nil {
		return err
	}
	if p.model != "" {
		return problem.New(problem.Forbidden, "The files of %s/%d are registered and cannot be deleted one by one; delete the version.", p.model, p.version)
	}
	if err := m.Tracking.DeleteFiles(r.Context(), p.root, p.rest); err != nil {
		return err
	}
	answer(w, none{})
	return nil
}

type listRequest struct {
	ID    string `json:"run_id"`
	UUID  string `json:"run_uuid"`
	Path  string `json:"path"`
	Dir   string `json:"artifact_directory_path"`
	Token string `json:"page_token"`
	Max   int64  `json:"max_results"`
	Model string `path:"model"`
}

type listing struct {
	Root  string     `json:"root_uri"`
	Files []fileInfo `json:"files,omitempty"`
	Next  string     `json:"next_page_token,omitempty"`
}

// maxListed is how many children of a folder one page has, unless the caller asks for fewer.
const maxListed = 10_000

func (m *API) listRun(ctx context.Context, in *listRequest) (any, error) {
	r, err := m.Tracking.Run(ctx, cmp.Or(in.ID, in.UUID))
	if err != nil {
		return nil, err
	}
	return m.listUnder(ctx, tracking.ArtifactRoot(r.Experiment, r.ID), in.Path, in)
}

func (m *API) listModel(ctx context.Context, in *listRequest) (any, error) {
	l, err := m.Tracking.Model(ctx, in.Model)
	if err != nil {
		return nil, err
	}
	return m.listUnder(ctx, tracking.ModelRoot(l.Experiment, l.ID), in.Dir, in)
}

func (m *API) listUnder(ctx context.Context, root, folder string, in *listRequest) (any, error) {
	if in.Max < 0 || in.Max > maxListed {
		return nil, problem.New(problem.Invalid, "Invalid value %d for parameter 'max_results' supplied: it must be between 1 and %d.", in.Max, maxListed).At("max_results")
	}
	limit := int(in.Max)
	if limit == 0 {
		limit = maxListed
	}
	list, next, err := m.Tracking.ListPage(ctx, root, strings.TrimSuffix(folder, "/"), in.Token, limit)
	if err != nil {
		return nil, err
	}
	return listing{"mlflow-artifacts:/" + root, infos(list, ""), next}, nil
}

func (m *API) runFile(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	run, err := m.Tracking.Run(r.Context(), cmp.Or(q.Get("run_uuid"), q.Get("run_id")))
	if err != nil {
		return err
	}
	return m.serve(w, r, tracking.ArtifactRoot(run.Experiment, run.ID), q.Get("path"))
}

func (m *API) modelFile(w http.ResponseWriter, r *http.Request) error {
	l, err := m.Tracking.Model(r.Context(), r.PathValue("model"))
	if err != nil {
		return err
	}
	return m.serve(w, r, tracking.ModelRoot(l.Experiment, l.ID), r.URL.Query().Get("artifact_file_path"))
}

func (m *API) versionFile(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	n, err := versionNumber(q.Get("version"))
	if err != nil {
		return err
	}
	return m.serveVersion(w, r, q.Get("name"), n, q.Get("path"))
}

func (m *API) uploadToRun(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	run, err := m.Tracking.Run(r.Context(), cmp.Or(q.Get("run_uuid"), q.Get("run_id")))
	if err != nil {
		return err
	}
	return m.store(w, r, place{root: tracking.ArtifactRoot(run.Experiment, run.ID), rest: q.Get("path")})
}
