package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Progress is how far a copy is.
type Progress struct {
	Phase                      string // copying or comparing
	Runs, Points, Files, Bytes int64
}

// Copier copies from one server to another. From, To and Source are required.
type Copier struct {
	From, To    *Server
	Source      string   // how the source is named in the tags of what is copied; its address
	Experiments []string // patterns of names as path.Match knows them; none: all, or, with Models, what the models need
	Models      []string // patterns; none: all, or, with Experiments, none
	Deleted     bool     // also what is in the bin there
	Workers     int      // runs copied at once; 0 means 4
	Tell        func(Progress)

	mu     sync.Mutex
	now    Progress
	report Report
	local  map[string]string // id of an experiment there: its id here
	binned []string          // experiments here that go to the bin at the end
	runs   map[string]run    // copied or found here, as the source has them
	logged map[string]loggedModel
	parts  []versionPart
	names  map[string]string // registered model there: its name here
	sums   map[string]map[string]string
}

// versionPart is a version that was copied, and where its files are at the source.
type versionPart struct {
	version modelVersion
	name    string // of the model here
	owner   string // key of sums
	folder  string
}

// Copy copies everything that was asked for. What a server refuses for good is in the report; any other error ends the
// copy, which goes on where it stopped when it is called again.
func (c *Copier) Copy(ctx context.Context) (*Report, error) {
	c.local, c.runs, c.logged, c.names, c.sums = map[string]string{}, map[string]run{}, map[string]loggedModel{}, map[string]string{}, map[string]map[string]string{}
	c.report = Report{Source: c.Source, Target: c.To.URL, rows: map[string]*Row{}}
	for _, k := range Kinds {
		c.report.rows[k] = &Row{Kind: k}
	}
	c.now.Phase = "copying"
	for _, p := range slices.Concat(c.Experiments, c.Models) {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("%q is no pattern of names", p)
		}
	}
	if len(c.Experiments) > 0 || len(c.Models) == 0 {
		if err := c.copyExperiments(ctx); err != nil {
			return &c.report, err
		}
	}
	if len(c.Models) > 0 || len(c.Experiments) == 0 {
		if err := c.copyRegistry(ctx); err != nil {
			return &c.report, err
		}
	}
	for _, id := range c.binned {
		if err := c.To.call(ctx, "POST", api+"experiments/delete", nil, map[string]string{"experiment_id": id}, nil); err != nil && !missing(err) {
			return &c.report, fmt.Errorf("put experiment %s in the bin: %w", id, err)
		}
	}
	return &c.report, nil
}

// flat takes slashes their meaning: in names of experiments they are letters like others.
var flat = strings.NewReplacer("/", "\x01")

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(flat.Replace(p), flat.Replace(name)); ok || p == name { // checked by Copy
			return true
		}
	}
	return len(patterns) == 0
}

// count changes the report and the progress.
func (c *Copier) count(change func(r map[string]*Row, p *Progress)) {
	c.mu.Lock()
	change(c.report.rows, &c.now)
	now := c.now
	c.mu.Unlock()
	if c.Tell != nil {
		c.Tell(now)
	}
}

// refused notes something that a server does not take; it gives back every other error.
func (c *Copier) refused(kind, id string, err error) error {
	var f *Failure
	if err == nil || !errors.As(err, &f) || f.Status >= 500 && f.Status != http.StatusNotImplemented || f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.rows[kind].Differs++
	c.report.note(kind, id, "not copied: "+f.Error())
	return nil
}

func (c *Copier) view() string {
	if c.Deleted {
		return "ALL"
	}
	return "ACTIVE_ONLY"
}

func (c *Copier) copyExperiments(ctx context.Context) error {
	list, err := c.From.experiments(ctx, c.view())
	if err != nil {
		return fmt.Errorf("list experiments: %w", err)
	}
	for _, e := range list {
		if !matches(c.Experiments, e.Name) {
			continue
		}
		ok, err := c.experiment(ctx, e)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := c.From.runs(ctx, e.ID, c.view(), func(page []run) error {
			return c.each(ctx, len(page), func(ctx context.Context, i int) error { return c.copyRun(ctx, page[i]) })
		}); err != nil {
			return fmt.Errorf("copy runs of experiment %s: %w", e.Name, err)
		}
		if err := c.From.loggedModels(ctx, e.ID, func(page []loggedModel) error {
			return c.each(ctx, len(page), func(ctx context.Context, i int) error { return c.copyLogged(ctx, page[i]) })
		}); err != nil {
			return fmt.Errorf("copy logged models of experiment %s: %w", e.Name, err)
		}
	}
	return nil
}

// each calls fn for 0 … n-1 from several goroutines, and gives the first error.
func (c *Copier) each(ctx context.Context, n int, fn func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := c.Workers
	if workers == 0 {
		workers = 4
	}
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(workers, n) {
		wait.Go(func() {
			for i := range next {
				if err := fn(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
feed:
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wait.Wait()
	return context.Cause(ctx)
}

type imported struct {
	ID   string `json:"id"`
	Made bool   `json:"made"`
}

func (c *Copier) put(ctx context.Context, what string, in map[string]any) (out imported, err error) {
	in["source"] = c.Source
	err = c.To.call(ctx, "POST", "/api/v1/imports/mlflow/"+what, nil, in, &out)
	return out, err
}

// experiment makes sure that an experiment is here; false when it was refused.
func (c *Copier) experiment(ctx context.Context, e experiment) (bool, error) {
	if _, ok := c.local[e.ID]; ok {
		return true, nil
	}
	c.report.rows[Experiments].Source++
	out, err := c.put(ctx, "experiments", map[string]any{"experiment_id": e.ID, "name": e.Name, "tags": toMap(e.Tags), "creation_time": e.Created, "last_update_time": e.Updated})
	if err != nil {
		return false, c.refused(Experiments, e.Name, err)
	}
	c.count(func(r map[string]*Row, _ *Progress) { r[Experiments].made(out.Made) })
	c.local[e.ID] = out.ID
	if e.Stage == "deleted" {
		c.binned = append(c.binned, out.ID)
	}
	return true, nil
}

// needExperiment is experiment by id.
func (c *Copier) needExperiment(ctx context.Context, id string) (bool, error) {
	if _, ok := c.local[id]; ok {
		return true, nil
	}
	var out struct {
		Experiment experiment `json:"experiment"`
	}
	if err := c.From.call(ctx, "GET", api+"experiments/get", url.Values{"experiment_id": {id}}, nil, &out); err != nil {
		return false, c.refused(Experiments, id, err)
	}
	return c.experiment(ctx, out.Experiment)
}

func (c *Copier) copyRun(ctx context.Context, r run) error {
	id := r.Info.ID
	c.mu.Lock()
	_, done := c.runs[id]
	c.mu.Unlock()
	if done {
		return nil
	}
	c.count(func(rows map[string]*Row, _ *Progress) { rows[Runs].Source++ })
	var inputs []map[string]any
	for _, d := range r.Inputs.Datasets {
		inputs = append(inputs, map[string]any{"name": d.Dataset.Name, "digest": d.Dataset.Digest, "source_type": d.Dataset.SourceType, "source": d.Dataset.Source,
			"schema": d.Dataset.Schema, "profile": d.Dataset.Profile, "tags": toMap(d.Tags)})
	}
	status := r.Info.Status
	if status == "" {
		status = "RUNNING"
	}
	in := map[string]any{"run_id": id, "experiment_id": c.local[r.Info.Experiment], "run_name": r.Info.Name, "user_id": r.Info.User, "status": status,
		"start_time": r.Info.Start, "end_time": r.Info.End, "params": toMap(r.Data.Params), "tags": toMap(r.Data.Tags)}
	if inputs != nil {
		in["inputs"] = inputs
	}
	if len(r.Inputs.Models) > 0 {
		in["model_inputs"] = r.Inputs.Models
	}
	if len(r.Outputs.Models) > 0 {
		in["model_outputs"] = r.Outputs.Models
	}
	out, err := c.put(ctx, "runs", in)
	if err != nil {
		return c.refused(Runs, id, err)
	}
	skip := false
	if !out.Made {
		here, err := c.To.run(ctx, id)
		if err != nil {
			return err
		}
		skip = here.Info.Stage == "deleted" // it is complete, and takes nothing any more
	}
	if !skip {
		if err := c.copyMetrics(ctx, r, out.Made); err != nil {
			return fmt.Errorf("metrics of run %s: %w", id, err)
		}
		from, to := c.places(r)
		if err := c.copyFiles(ctx, from, to, out.Made); err != nil {
			return fmt.Errorf("files of run %s: %w", id, err)
		}
		if r.Info.Stage == "deleted" {
			if err := c.To.call(ctx, "POST", api+"runs/delete", nil, map[string]string{"run_id": id}, nil); err != nil {
				return err
			}
		}
	}
	c.mu.Lock()
	c.runs[id] = r
	c.mu.Unlock()
	c.count(func(rows map[string]*Row, p *Progress) {
		rows[Runs].made(out.Made)
		p.Runs++
	})
	return nil
}

// places are the files of a run there and here.
func (c *Copier) places(r run) (from, to place) {
	return place{server: c.From, run: r.Info.ID, uri: r.Info.Artifacts},
		place{server: c.To, run: r.Info.ID, uri: "mlflow-artifacts:/" + c.local[r.Info.Experiment] + "/" + r.Info.ID + "/artifacts"}
}

func (c *Copier) loggedPlaces(l loggedModel) (from, to place) {
	return place{server: c.From, model: l.Info.ID, uri: l.Info.Artifacts},
		place{server: c.To, model: l.Info.ID, uri: "mlflow-artifacts:/" + c.local[l.Info.Experiment] + "/models/" + l.Info.ID + "/artifacts"}
}

// batch is how many points one request carries.
const batch = 1000

func (c *Copier) copyMetrics(ctx context.Context, r run, fresh bool) error {
	var points []point
	send := func(least int) error {
		for len(points) > 0 && len(points) >= least {
			n := min(batch, len(points))
			if err := c.To.call(ctx, "POST", api+"runs/log-batch", nil, map[string]any{"run_id": r.Info.ID, "metrics": points[:n]}, nil); err != nil {
				return err
			}
			points = points[n:]
		}
		return nil
	}
	for _, m := range r.Data.Metrics {
		there, err := c.From.history(ctx, r.Info.ID, m.Key)
		if err != nil {
			return err
		}
		have := map[string]bool{}
		if !fresh {
			here, err := c.To.history(ctx, r.Info.ID, m.Key)
			if err != nil {
				return err
			}
			for _, p := range here {
				have[p.text()] = true
			}
		}
		copied, known := int64(0), int64(0)
		for _, p := range there {
			t := p.text()
			if have[t] {
				known++
				continue
			}
			have[t] = true
			copied++
			points = append(points, point{Key: m.Key, Value: p.Value, Timestamp: p.Timestamp, Step: p.Step})
		}
		if err := send(batch); err != nil {
			return c.refused(Points, r.Info.ID+" "+m.Key, err)
		}
		c.count(func(rows map[string]*Row, p *Progress) {
			rows[Points].Source += int64(len(there))
			rows[Points].Copied += copied
			rows[Points].There += known
			p.Points += int64(len(there))
		})
	}
	if err := send(0); err != nil {
		return c.refused(Points, r.Info.ID, err)
	}
	return nil
}

func (c *Copier) copyFiles(ctx context.Context, from, to place, fresh bool) error {
	there, err := from.files(ctx)
	if err != nil {
		return c.refused(Files, from.uri, err)
	}
	have := map[string]int64{}
	if !fresh && len(there) > 0 {
		here, err := to.files(ctx)
		if err != nil {
			return err
		}
		for _, f := range here {
			have[f.Path] = int64(f.Size)
		}
	}
	for _, f := range there {
		c.count(func(rows map[string]*Row, _ *Progress) { rows[Files].Source++ })
		size, ok := have[f.Path]
		made := !ok || size != int64(f.Size)
		if made {
			if err := c.copyFile(ctx, from, to, f.Path); err != nil {
				if err := c.refused(Files, from.uri+"/"+f.Path, err); err != nil {
					return err
				}
				continue
			}
		}
		c.count(func(rows map[string]*Row, p *Progress) {
			rows[Files].made(made)
			p.Files++
			p.Bytes += int64(f.Size)
		})
	}
	return nil
}

// copyFile streams one file; a transfer that breaks off is begun again.
func (c *Copier) copyFile(ctx context.Context, from, to place, name string) error {
	root, _ := to.proxied()
	for n := 1; ; n++ {
		err := func() error {
			r, err := from.open(ctx, name)
			if err != nil {
				return err
			}
			defer r.Close()
			return c.To.upload(ctx, proxy+"/"+escapePath(path.Join(root, name)), r)
		}()
		var f *Failure
		if err == nil || n == 3 || ctx.Err() != nil || errors.As(err, &f) && f.Status < 500 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Duration(n) * 300 * time.Millisecond):
		}
	}
}

func (s *Server) upload(ctx context.Context, at string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL+at, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	resp, err := s.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return failureOf(resp)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return err
}

func (c *Copier) copyLogged(ctx context.Context, l loggedModel) error {
	id := l.Info.ID
	c.mu.Lock()
	_, done := c.logged[id]
	c.mu.Unlock()
	if done {
		return nil
	}
	c.count(func(rows map[string]*Row, _ *Progress) { rows[Logged].Source++ })
	status := l.Info.Status
	if !strings.HasPrefix(status, "LOGGED_MODEL_") {
		status = "LOGGED_MODEL_PENDING"
	}
	out, err := c.put(ctx, "logged-models", map[string]any{"model_id": id, "experiment_id": c.local[l.Info.Experiment], "name": l.Info.Name, "model_type": l.Info.Kind, "source_run_id": l.Info.Run,
		"status": status, "creation_timestamp_ms": l.Info.Created, "last_updated_timestamp_ms": l.Info.Updated, "params": toMap(l.Data.Params), "tags": toMap(l.Info.Tags)})
	if err != nil {
		return c.refused(Logged, id, err)
	}
	from, to := c.loggedPlaces(l)
	if err := c.copyFiles(ctx, from, to, out.Made); err != nil {
		return fmt.Errorf("files of logged model %s: %w", id, err)
	}
	if len(l.Data.Metrics) > 0 {
		here, err := c.To.loggedModel(ctx, id)
		if err != nil {
			return err
		}
		have := map[string]bool{}
		for _, p := range here.Data.Metrics {
			have[p.full()] = true
		}
		for _, p := range l.Data.Metrics {
			if have[p.full()] || p.Run == "" {
				continue
			}
			m := point{Key: p.Key, Value: p.Value, Timestamp: p.Timestamp, Step: p.Step, Model: id, Dataset: p.Dataset, DatasetDigest: p.DatasetDigest}
			if err := c.To.call(ctx, "POST", api+"runs/log-batch", nil, map[string]any{"run_id": p.Run, "metrics": []point{m}}, nil); err != nil {
				if err := c.refused(Logged, id+" "+p.Key, err); err != nil {
					return err
				}
			}
		}
	}
	c.mu.Lock()
	c.logged[id] = l
	c.mu.Unlock()
	c.count(func(rows map[string]*Row, _ *Progress) { rows[Logged].made(out.Made) })
	return nil
}

// text is a point without what it was measured on, the same for the same values on any server.
func (p point) text() string {
	return strconv.FormatInt(int64(p.Step), 10) + " " + strconv.FormatInt(int64(p.Timestamp), 10) + " " + valueText(p.Value)
}

func (p point) full() string {
	return strings.Join([]string{p.Key, p.text(), p.Dataset, p.DatasetDigest, p.Run}, "\n")
}

// valueText writes a metric's value alike however a server writes it.
func valueText(raw json.RawMessage) string {
	text := strings.Trim(string(raw), `"`)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil && text != "Infinity" && text != "-Infinity" {
		return text
	}
	switch { // an infinity is kept as the largest finite number
	case v > 1.7976931348623157e308:
		v = 1.7976931348623157e308
	case v < -1.7976931348623157e308:
		v = -1.7976931348623157e308
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
