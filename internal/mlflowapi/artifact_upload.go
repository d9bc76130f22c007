package mlflowapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"keelson/internal/access"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

// Large files come in parts: mpu/create gives an address per part, the client PUTs the parts there side by side and
// without a token, mpu/complete puts them together. On S3 the addresses are S3's own; on a folder they lead back here,
// signed. Links for one file (presigned) work the same way.
const (
	linkLife  = time.Hour          // of an address without another wish
	linkMost  = 7 * 24 * time.Hour // as the object stores have it
	maxPart   = 5 << 30            // bytes of one part, as S3 has it
	proxyPath = "/api/2.0/mlflow-artifacts"
)

func (m *API) uploadRoutes(a *rest.API) {
	m.links = newLinks(m.LinkKey)
	const p = "/2.0/mlflow-artifacts/"
	on(a, m, "POST", p+"mpu/create/{where...}", "run.write", m.beginUpload, "path")
	on(a, m, "POST", p+"mpu/complete/{where...}", "run.write", m.finishUpload, "path", "upload_id", "parts")
	on(a, m, "POST", p+"mpu/abort/{where...}", "run.write", m.abortUpload, "path", "upload_id")
	on(a, m, "GET", p+"mpu/parts/{where...}", "run.write", m.uploadedParts, "upload_id")
	on(a, m, "POST", "/2.0/mlflow/artifacts/presigned-upload-url", "run.write", m.uploadLink, "path")
	on(a, m, "POST", "/2.0/mlflow/artifacts/presigned-download-url", "run.read", m.downloadLink, "run_id", "path")
	for _, prefix := range prefixes {
		a.Handle("GET", prefix+p+"presigned/{path...}", "run.read", rest.MLflow, m.handle(m.presigned))
		a.Handle("PUT", prefix+p+"part/{upload}/{number}", access.Public, rest.MLflow, m.handle(m.putPart))
		a.Handle("PUT", prefix+p+"signed/{path...}", access.Public, rest.MLflow, m.handle(m.putSigned))
		a.Handle("GET", prefix+p+"signed/{path...}", access.Public, rest.MLflow, m.handle(m.getSigned))
	}
}

// serverInfo tells newer clients which way to take by themselves. Parts and links are the way where they lead past this
// server. On a folder one stream is faster and asks for fewer requests; parts and links work there all the same for a
// client that is told to use them (MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD, …_DOWNLOAD), as when it must go on after a break.
func (m *API) serverInfo(w http.ResponseWriter, _ *http.Request) {
	_, links := m.Tracking.Blobs.(blob.Linking)
	answer(w, map[string]any{"store_type": "SqlStore", "workspaces_enabled": false, "trace_archival_enabled": false, "multipart_uploads_enabled": links,
		"multipart_downloads_enabled": links, "presigned_upload_run_id_supported": true, "presigned_upload_model_id_supported": true})
}

type uploadRequest struct {
	Where string  `path:"where"`
	File  string  `json:"path"`
	Parts integer `json:"num_parts"`
}

type credential struct {
	URL     string            `json:"url"`
	Part    int               `json:"part_number"`
	Headers map[string]string `json:"headers"`
}

// target is the file that an upload is for: where names a folder, the file's name is the last part of the client's own
// path, whichever system it runs on. Nothing else of that path counts.
func target(where, file string) (place, error) {
	name := file[strings.LastIndexAny(file, `/\`)+1:]
	if name == "" {
		return place{}, invalid("path", file)
	}
	p, err := split(strings.TrimSuffix(where, "/") + "/" + name)
	if err == nil && p.model != "" {
		err = frozen(p)
	}
	if err == nil && p.rest == "" {
		err = problem.New(problem.Invalid, "Invalid path: %q names no file below the artifact root.", problem.Clip(where, 80)).At("path")
	}
	return p, err
}

func frozen(p place) error {
	return problem.New(problem.Forbidden, "The files of %s/%d are registered and cannot be changed; register a new version.", p.model, p.version)
}

func (m *API) beginUpload(ctx context.Context, in *uploadRequest) (any, error) {
	p, err := target(in.Where, in.File)
	if err != nil {
		return nil, err
	}
	n := cmp.Or(int(in.Parts), 1)
	u, err := m.Tracking.BeginUpload(ctx, p.root, p.rest, n)
	if err != nil {
		return nil, err
	}
	var all []int
	for i := range n {
		all = append(all, i+1)
	}
	list, err := m.credentials(ctx, u, all)
	if err != nil {
		return nil, errors.Join(err, m.Tracking.AbortUpload(ctx, u.ID))
	}
	return map[string]any{"upload_id": u.ID, "credentials": list}, nil
}

func (m *API) credentials(ctx context.Context, u tracking.Upload, parts []int) ([]credential, error) {
	out := []credential{}
	for _, n := range parts {
		link, err := m.Tracking.PartLink(ctx, u, n, linkLife)
		if err != nil {
			return nil, err
		}
		if link == "" {
			link = m.links.sign(ctx, "PUT", fmt.Sprintf("%s/part/%s/%d", proxyPath, u.ID, n), linkLife)
		}
		out = append(out, credential{link, n, map[string]string{}})
	}
	return out, nil
}

type partsRequest struct {
	Where  string `path:"where"`
	File   string `json:"path"`
	Upload string `json:"upload_id"`
	Parts  []struct {
		Number integer `json:"part_number"`
		ETag   string  `json:"etag"`
	} `json:"parts"`
}

// underWay gives the upload of a request, if it is for the file that the request names.
func (m *API) underWay(ctx context.Context, in *partsRequest) (tracking.Upload, error) {
	p, err := target(in.Where, in.File)
	if err != nil {
		return tracking.Upload{}, err
	}
	u, err := m.Tracking.Upload(ctx, in.Upload)
	if err == nil && (u.Root != p.root || u.Path != p.rest) {
		err = problem.New(problem.NotFound, "The upload '%s' is of another file.", problem.Clip(in.Upload, 60)).At("upload_id")
	}
	return u, err
}

func (m *API) finishUpload(ctx context.Context, in *partsRequest) (any, error) {
	u, err := m.underWay(ctx, in)
	if err != nil {
		return nil, err
	}
	parts := make([]blob.Part, len(in.Parts))
	for i, p := range in.Parts {
		parts[i] = blob.Part{Number: int(p.Number), ETag: p.ETag}
	}
	_, err = m.Tracking.FinishUpload(ctx, u.ID, parts)
	return none{}, err
}

func (m *API) abortUpload(ctx context.Context, in *partsRequest) (any, error) {
	u, err := m.underWay(ctx, in)
	if err != nil {
		return nil, err
	}
	return none{}, m.Tracking.AbortUpload(ctx, u.ID)
}

// uploadedParts tells a client that broke off which parts are there, and gives fresh addresses for the others. MLflow has
// no such call.
func (m *API) uploadedParts(ctx context.Context, in *partsRequest) (any, error) {
	u, err := m.Tracking.Upload(ctx, in.Upload)
	if err != nil {
		return nil, err
	}
	if p, err := split(in.Where); err != nil || p.root != u.Root || p.rest != u.Path {
		return nil, problem.New(problem.NotFound, "The upload '%s' is of another file.", problem.Clip(in.Upload, 60)).At("upload_id")
	}
	list, err := m.Tracking.UploadedParts(ctx, u)
	if err != nil {
		return nil, err
	}
	type part struct {
		Number int    `json:"part_number"`
		ETag   string `json:"etag"`
		Size   int64  `json:"size"`
	}
	there, have := []part{}, map[int]bool{}
	for _, p := range list {
		there = append(there, part{p.Number, p.ETag, p.Size})
		have[p.Number] = true
	}
	var missing []int
	for n := 1; n <= u.Parts; n++ {
		if !have[n] {
			missing = append(missing, n)
		}
	}
	todo, err := m.credentials(ctx, u, missing)
	return map[string]any{"upload_id": u.ID, "parts": there, "credentials": todo, "expires": u.Expires.UnixMilli()}, err
}

func (m *API) putPart(w http.ResponseWriter, r *http.Request) error {
	r, err := m.links.verify(r)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(r.PathValue("number"))
	if err != nil {
		return invalid("part_number", r.PathValue("number"))
	}
	if r.ContentLength > maxPart {
		return tooLarge(maxPart)
	}
	body := &reading{r: http.MaxBytesReader(w, r.Body, maxPart)}
	part, err := m.Tracking.WritePart(r.Context(), r.PathValue("upload"), n, body)
	if err != nil {
		return body.blame(err, maxPart)
	}
	w.Header().Set("ETag", `"`+part.ETag+`"`)
	answer(w, none{})
	return nil
}

type linkRequest struct {
	Run   string   `json:"run_id"`
	Model string   `json:"model_id"`
	Path  string   `json:"path"`
	Life  *integer `json:"expiration"`
}

func (in *linkRequest) life(otherwise time.Duration) (time.Duration, error) {
	if in.Life == nil {
		return otherwise, nil
	}
	d := time.Duration(*in.Life) * time.Second
	if *in.Life < 1 || *in.Life > integer(linkMost/time.Second) {
		return 0, problem.New(problem.Invalid, "expiration must be between 1 and %d seconds (got %d).", int(linkMost/time.Second), *in.Life).At("expiration")
	}
	return d, nil
}

// uploadLink gives an address to which a file of a run or a logged model can be PUT without a token.
func (m *API) uploadLink(ctx context.Context, in *linkRequest) (any, error) {
	if (in.Run == "") == (in.Model == "") {
		return nil, problem.New(problem.Invalid, "Exactly one of run_id and model_id must be provided.").At("run_id")
	}
	life, err := in.life(15 * time.Minute)
	if err == nil {
		err = tracking.CheckPath(in.Path)
	}
	if err != nil {
		return nil, err
	}
	root := ""
	if in.Run != "" {
		r, err := m.Tracking.Run(ctx, in.Run)
		if err != nil {
			return nil, err
		}
		root = tracking.ArtifactRoot(r.Experiment, r.ID)
	} else {
		l, err := m.Tracking.Model(ctx, in.Model)
		if err != nil {
			return nil, err
		}
		root = tracking.ModelRoot(l.Experiment, l.ID)
	}
	return map[string]any{"presigned_url": m.links.sign(ctx, "PUT", proxyPath+"/signed/"+root+"/"+in.Path, life), "headers": map[string]string{}}, nil
}

// downloadLink gives an address at which a file of a run can be fetched without a token.
func (m *API) downloadLink(ctx context.Context, in *linkRequest) (any, error) {
	life, err := in.life(5 * time.Minute)
	if err != nil {
		return nil, err
	}
	r, err := m.Tracking.Run(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	root := tracking.ArtifactRoot(r.Experiment, r.ID)
	a, err := m.Tracking.File(ctx, root, in.Path)
	if err != nil {
		return nil, err
	}
	link, err := m.link(ctx, root+"/"+in.Path, a.Digest, life)
	return map[string]any{"presigned_url": link, "headers": map[string]string{}, "file_size": a.Size}, err
}

// link is where the bytes of a digest can be fetched: in the object store if it gives links, else here, at p.
func (m *API) link(ctx context.Context, p, digest string, life time.Duration) (string, error) {
	if l, ok := m.Tracking.Blobs.(blob.Linking); ok {
		kind := cmp.Or(mime.TypeByExtension(path.Ext(p)), "application/octet-stream")
		if link, err := l.Link(ctx, digest, path.Base(p), kind, life); err != nil || link != "" {
			return link, err
		}
	}
	return m.links.sign(ctx, "GET", proxyPath+"/signed/"+p, life), nil
}

func (m *API) presigned(w http.ResponseWriter, r *http.Request) error {
	p, err := split(r.PathValue("path"))
	if err != nil {
		return err
	}
	var digest string
	var size int64
	if p.model != "" {
		f, v, _, err := m.Inventory.OpenFile(r.Context(), p.model, p.version, p.rest)
		if err != nil {
			return err
		}
		digest, size = v.Digest, v.Size
		if err := f.Close(); err != nil {
			return err
		}
	} else {
		a, err := m.Tracking.File(r.Context(), p.root, p.rest)
		if err != nil {
			return err
		}
		digest, size = a.Digest, a.Size
	}
	link, err := m.link(r.Context(), r.PathValue("path"), digest, 5*time.Minute)
	if err != nil {
		return err
	}
	answer(w, map[string]any{"url": link, "headers": map[string]string{}, "file_size": size})
	return nil
}

func (m *API) putSigned(w http.ResponseWriter, r *http.Request) error {
	r, err := m.links.verify(r)
	if err != nil {
		return err
	}
	return m.upload(w, r)
}

func (m *API) getSigned(w http.ResponseWriter, r *http.Request) error {
	r, err := m.links.verify(r)
	if err != nil {
		return err
	}
	return m.download(w, r)
}

func tooLarge(limit int64) error {
	return problem.New(problem.TooLarge, "An artifact has at most %d bytes.", limit)
}

// reading remembers that the caller's body, not the store, failed.
type reading struct {
	r   io.Reader
	err error
}

func (b *reading) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// blame says whose failure err of storing the body was.
func (b *reading) blame(err error, limit int64) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(b.err, &large):
		return tooLarge(limit)
	case b.err != nil:
		return problem.New(problem.Invalid, "The upload broke off; nothing was stored.").Because(b.err)
	}
	return err
}

// escapePath is a path as it stands in an address.
func escapePath(p string) string { return (&url.URL{Path: p}).EscapedPath() }

// workspacePrefix is what stands before a path of another workspace than the default one.
func workspacePrefix(ctx context.Context) string {
	if w := caller.Workspace(ctx); w != caller.DefaultWorkspace {
		return "/w/" + w
	}
	return ""
}
