package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Me tells who is signed in.
func (c *Client) Me(ctx context.Context) (me Me, err error) {
	return me, c.Get(ctx, "/api/v1/me", &me)
}

// AddUser makes an account.
func (c *Client) AddUser(ctx context.Context, u User, password string) (out User, err error) {
	body := struct {
		User
		Password string `json:"password,omitempty"`
	}{u, password}
	return out, c.Post(ctx, "/api/v1/users", body, &out)
}

// AddToken makes a token for oneself, or for another account with the right to. days 0 never expires.
func (c *Client) AddToken(ctx context.Context, name, user string, days int) (t Token, err error) {
	body := map[string]any{"name": name}
	if user != "" {
		body["user"] = user
	}
	if days > 0 {
		body["expires_in_days"] = days
	}
	return t, c.Post(ctx, "/api/v1/tokens", body, &t)
}

// SignIn makes a token with a name and a password, for use as Config.Token. days 0 never expires.
func SignIn(ctx context.Context, cfg Config, name, password, tokenName string, days int) (Token, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return Token{}, err
	}
	cfg.HTTP, cfg.Token = &http.Client{Jar: jar}, ""
	c, err := New(cfg)
	if err != nil {
		return Token{}, err
	}
	if err := c.Post(ctx, "/api/v1/session", map[string]string{"name": name, "password": password}, nil); err != nil {
		return Token{}, err
	}
	t, err := c.AddToken(ctx, tokenName, "", days)
	if err != nil {
		return Token{}, err
	}
	return t, c.Call(ctx, http.MethodDelete, "/api/v1/session", nil, nil)
}

// PutDataset makes a data set or changes its description and rules.
func (c *Client) PutDataset(ctx context.Context, d Dataset) (out Dataset, err error) {
	if d.Rules == nil {
		d.Rules = []Rule{}
	}
	name := d.Name
	body := map[string]any{"description": d.Description, "sensitivity": d.Sensitivity, "source": d.Source, "target": d.Target, "rules": d.Rules}
	if d.Personal != nil {
		body["personal"] = d.Personal
	}
	if d.Owner != "" {
		body["owner"] = d.Owner
	}
	return out, c.Call(ctx, http.MethodPut, path("/api/v1/datasets", name), body, &out)
}

// AddData imports a file as the next version of a data set. format is csv, parquet or empty for what the bytes say.
func (c *Client) AddData(ctx context.Context, name, format, note string, body io.Reader) (v DataVersion, err error) {
	return v, c.Upload(ctx, http.MethodPost, path("/api/v1/datasets", name, "versions")+query("format", format, "note", note), "application/octet-stream", body, &v)
}

// CheckData holds a file against a data set's rules and stores nothing.
func (c *Client) CheckData(ctx context.Context, name, format string, body io.Reader) (v Checked, err error) {
	return v, c.Upload(ctx, http.MethodPost, path("/api/v1/datasets", name, "check")+query("format", format), "application/octet-stream", body, &v)
}

// query makes "?a=b" of pairs, leaving out empty values.
func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// SavePipeline stores a project file with its source (a gzipped tar; nil without one).
func (c *Client) SavePipeline(ctx context.Context, name string, definition []byte, source io.Reader, from Source) (p Pipeline, err error) {
	commit, err := json.Marshal(from)
	if err != nil {
		return p, err
	}
	return p, c.form(ctx, http.MethodPut, path("/api/v1/pipelines", name), &p, func(w *multipart.Writer) error {
		if err := w.WriteField("commit", string(commit)); err != nil {
			return err
		}
		if err := copyPart(w, "definition", "keelson.yaml", bytes.NewReader(definition)); err != nil || source == nil {
			return err
		}
		return copyPart(w, "source", "source.tar.gz", source)
	})
}

// form streams multipart/form-data.
func (c *Client) form(ctx context.Context, method, p string, out any, fill func(*multipart.Writer) error) error {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() { // ends when the request has read all of it, or has failed and closed r
		err := fill(form)
		if err == nil {
			err = form.Close()
		}
		w.CloseWithError(err)
	}()
	defer r.Close()
	return c.Upload(ctx, method, p, form.FormDataContentType(), r, out)
}

func copyPart(w *multipart.Writer, field, name string, r io.Reader) error {
	part, err := w.CreateFormFile(field, name)
	if err != nil {
		return err
	}
	_, err = io.Copy(part, r)
	return err
}

// Pipeline gives the newest version of a pipeline.
func (c *Client) Pipeline(ctx context.Context, name string) (p Pipeline, err error) {
	return p, c.Get(ctx, path("/api/v1/pipelines", name), &p)
}

// RunPipeline starts a run.
func (c *Client) RunPipeline(ctx context.Context, name string, in RunRequest) (r PipelineRun, err error) {
	return r, c.Post(ctx, path("/api/v1/pipelines", name, "runs"), in, &r)
}

// PipelineRun gives one run.
func (c *Client) PipelineRun(ctx context.Context, id string) (r PipelineRun, err error) {
	return r, c.Get(ctx, path("/api/v1/pipeline-runs", id), &r)
}

// PipelineRuns lists the runs of a pipeline, newest first.
func (c *Client) PipelineRuns(ctx context.Context, name string, max int) ([]PipelineRun, error) {
	return All[PipelineRun](ctx, c, path("/api/v1/pipelines", name, "runs"), nil, max)
}

// WaitPipelineRun waits for the end of a run; seen (may be nil) is told of every state on the way.
func (c *Client) WaitPipelineRun(ctx context.Context, id string, seen func(PipelineRun)) (PipelineRun, error) {
	return Wait(ctx, func(ctx context.Context) (PipelineRun, bool, error) {
		r, err := c.PipelineRun(ctx, id)
		if err == nil && seen != nil {
			seen(r)
		}
		return r, r.Ended(), err
	})
}

// StepLog reads a piece of a step's log.
func (c *Client) StepLog(ctx context.Context, run, step string, offset int64) (l LogChunk, err error) {
	return l, c.Get(ctx, path("/api/v1/pipeline-runs", run, "steps", step, "log")+query("offset", fmt.Sprint(offset)), &l)
}

// FollowStep copies a step's log to w until its end.
func (c *Client) FollowStep(ctx context.Context, run, step string, w io.Writer) error {
	offset := int64(0)
	_, err := Wait(ctx, func(ctx context.Context) (struct{}, bool, error) {
		for {
			l, err := c.StepLog(ctx, run, step, offset)
			if err != nil {
				return struct{}{}, false, err
			}
			if _, err := io.WriteString(w, l.Text); err != nil {
				return struct{}{}, false, err
			}
			offset = l.Offset
			if l.Done || l.Text == "" {
				return struct{}{}, l.Done, nil
			}
		}
	})
	return err
}

// Model gives one model.
func (c *Client) Model(ctx context.Context, name string) (m Model, err error) {
	return m, c.Get(ctx, path("/api/v1/models", name), &m)
}

// ChangeModel sets fields of a model's record.
func (c *Client) ChangeModel(ctx context.Context, name string, fields map[string]any) (m Model, err error) {
	return m, c.Call(ctx, http.MethodPatch, path("/api/v1/models", name), fields, &m)
}

// Artifact is one file of a version to register.
type Artifact struct {
	Path string // inside the version, with slashes
	Open func() (io.ReadCloser, error)
}

// Artifacts lists the files to register of a model on this machine: one file, or all files of a folder by their path in it,
// those whose names begin with a dot left out. It fails with an error of the file system, and on a folder without files.
func Artifacts(name string) ([]Artifact, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	open := func(full string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return os.Open(full) }
	}
	if !st.IsDir() {
		return []Artifact{{Path: filepath.Base(name), Open: open(name)}}, nil
	}
	var files []Artifact
	err = filepath.WalkDir(name, func(full string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		rel, err := filepath.Rel(name, full)
		files = append(files, Artifact{Path: filepath.ToSlash(rel), Open: open(full)})
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the folder %s holds no files", name)
	}
	return files, err
}

// Register makes the next version of a model from files. It is pending until its golden rows were run.
func (c *Client) Register(ctx context.Context, model string, meta NewVersion, files []Artifact) (v Version, err error) {
	text, err := json.Marshal(meta)
	if err != nil {
		return v, err
	}
	return v, c.form(ctx, http.MethodPost, path("/api/v1/models", model, "versions"), &v, func(w *multipart.Writer) error {
		if err := w.WriteField("meta", string(text)); err != nil {
			return err
		}
		for _, f := range files {
			r, err := f.Open()
			if err != nil {
				return err
			}
			err = copyPart(w, "file", f.Path, r)
			if cerr := r.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				return fmt.Errorf("send %s: %w", f.Path, err)
			}
		}
		return nil
	})
}

// Version gives one version of a model.
func (c *Client) Version(ctx context.Context, model string, version int) (v Version, err error) {
	return v, c.Get(ctx, path("/api/v1/models", model, "versions", version), &v)
}

// WaitVersion waits until a version was tested: it is no longer pending, and its engine no longer being prepared.
func (c *Client) WaitVersion(ctx context.Context, model string, version int) (Version, error) {
	return Wait(ctx, func(ctx context.Context) (Version, bool, error) {
		v, err := c.Version(ctx, model, version)
		return v, v.State != "pending" && v.Fault != "preparing", err
	})
}

// Evaluate starts a suite on a version.
func (c *Client) Evaluate(ctx context.Context, model string, version int, suite any, dataset string, dataVersion int) (e Evaluation, err error) {
	body := map[string]any{"suite": suite, "dataset": dataset, "dataset_version": dataVersion}
	return e, c.Post(ctx, path("/api/v1/models", model, "versions", version, "evaluations"), body, &e)
}

// Evaluations lists the evaluations of a version.
func (c *Client) Evaluations(ctx context.Context, model string, version int) ([]Evaluation, error) {
	return All[Evaluation](ctx, c, path("/api/v1/models", model, "versions", version, "evaluations"), nil, 0)
}

// Propose opens a change request.
func (c *Client) Propose(ctx context.Context, in NewApproval) (a Approval, err error) {
	return a, c.Post(ctx, "/api/v1/approvals", in, &a)
}

// Approval gives one change request, by id or number.
func (c *Client) Approval(ctx context.Context, id string) (a Approval, err error) {
	return a, c.Get(ctx, path("/api/v1/approvals", id), &a)
}

// Vote grants or refuses a change request.
func (c *Client) Vote(ctx context.Context, id string, grant bool, reason string) (a Approval, err error) {
	return a, c.Post(ctx, path("/api/v1/approvals", id, "votes"), map[string]any{"grant": grant, "reason": reason}, &a)
}

// Execute carries an approved change request out.
func (c *Client) Execute(ctx context.Context, id string) (d Deployment, err error) {
	return d, c.Post(ctx, "/api/v1/deployments", map[string]any{"request": id}, &d)
}

// Deployment gives what runs at an endpoint.
func (c *Client) Deployment(ctx context.Context, endpoint string) (d Deployment, err error) {
	return d, c.Get(ctx, path("/api/v1/deployments", endpoint), &d)
}

// Operate does advance, rollback, suspend or resume at an endpoint.
func (c *Client) Operate(ctx context.Context, endpoint, act, reason string) (d Deployment, err error) {
	return d, c.Post(ctx, path("/api/v1/deployments", endpoint, act), map[string]any{"reason": reason}, &d)
}

// Infer calls a model by the Open Inference Protocol with JSON tensors; in and out are its request and answer.
func (c *Client) Infer(ctx context.Context, endpoint string, in, out any) error {
	return c.Post(ctx, path("/v2/models", endpoint, "infer"), in, out)
}

// AddOutcomes reports what turned out to be true.
func (c *Client) AddOutcomes(ctx context.Context, items []Outcome) (accepted, duplicates int, err error) {
	var out struct{ Accepted, Duplicates int }
	err = c.Post(ctx, "/api/v1/outcomes", map[string]any{"items": items}, &out)
	return out.Accepted, out.Duplicates, err
}

// VerifyAudit checks the whole audit log.
func (c *Client) VerifyAudit(ctx context.Context) (v Verification, err error) {
	return v, c.Post(ctx, "/api/v1/audit/verify", nil, &v)
}

// ExportAudit writes the audit bundle, which can be verified without the server, to w.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer) (int64, error) {
	return c.Download(ctx, "/api/v1/audit/export", w)
}

// Events calls fn for every event of the topics ("model:NAME", "approval", "pipeline-run:ID") until fn or the stream
// fails or ctx ends.
func (c *Client) Events(ctx context.Context, topics []string, fn func(Event) error) error {
	req, err := c.request(ctx, http.MethodGet, "/api/v1/events"+query("topics", strings.Join(topics, ",")), nil, "")
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), 4<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return &Unreachable{Server: c.Server(), Err: err}
	}
	return ctx.Err()
}

// Healthy reports whether the server says it is ready, and how long it took to say so.
func (c *Client) Healthy(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	req, err := c.request(ctx, http.MethodGet, "/readyz", nil, "")
	if err != nil {
		return 0, err
	}
	req.URL.Path = strings.TrimSuffix(c.base.Path, "/") + "/readyz"
	resp, err := c.send(req)
	if err != nil {
		return 0, err
	}
	return time.Since(began), resp.Body.Close()
}
