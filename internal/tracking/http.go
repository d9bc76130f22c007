package tracking

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts experiments and runs as our own clients read them; logging goes through MLflow's API.
func (s *Service) Routes(a *rest.API) {
	s.experimentRoutes(a)
	rest.Get(a, "/api/v1/runs", "run.read", "Search runs, by default the newest first", s.listRuns)
	rest.Get(a, "/api/v1/runs/columns", "run.read", "List the metrics, parameters and tags that runs have", s.listColumns)
	rest.Get(a, "/api/v1/runs/complete", "run.read", "Complete a filter that is being typed", s.completeFilter)
	rest.Get(a, "/api/v1/runs/compare", "run.read", "Compare runs side by side", s.compareRuns)
	a.Handle("GET", "/api/v1/runs/export", "run.read", rest.REST, s.export(a))
	rest.Get(a, "/api/v1/runs/{id}", "run.read", "Read a run", s.getRunView)
	rest.Patch(a, "/api/v1/runs/{id}", "run.write", "Change name, description and tags of a run", s.patchRun)
	rest.Delete(a, "/api/v1/runs/{id}", "run.write", "Move a run to the bin", s.deleteRunView)
	rest.Post(a, "/api/v1/runs/{id}/restore", "run.write", "Take a run out of the bin", s.restoreRunView)
	s.metricRoutes(a)
}

// tagNote is where MLflow's clients keep a description.
const tagNote = "mlflow.note.content"

// views are the names of views in our own API.
var views = map[string]string{"": ActiveOnly, "active": ActiveOnly, "deleted": DeletedOnly, "all": All}

// asked renames the fields of a search's problems to those of our own API.
func asked(err error) error {
	if p, ok := problem.As(err); ok && p.Field == "page_token" {
		p.Field = "cursor"
	}
	return err
}

// RunView is a run as our REST API shows it. Metrics that are NaN or infinite are the strings "NaN", "Infinity", "-Infinity".
type RunView struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Experiment  string            `json:"experiment"`
	Status      string            `json:"status" enum:"running,scheduled,finished,failed,killed"`
	User        string            `json:"user"`
	StartedAt   time.Time         `json:"started_at"`
	EndedAt     *time.Time        `json:"ended_at,omitempty"`
	Params      map[string]string `json:"params"`
	Metrics     map[string]any    `json:"metrics"`
	Tags        map[string]string `json:"tags"`
	Artifacts   []FileView        `json:"artifacts,omitempty"`
	Inputs      []InputView       `json:"inputs"`
	Models      []string          `json:"models" doc:"logged models that came out of the run"`
	Source      Source            `json:"source"`
	Environment EnvironmentView   `json:"environment"`
	PipelineRun string            `json:"pipeline_run,omitempty"`
	Parent      string            `json:"parent,omitempty"`
	Deleted     bool              `json:"deleted,omitempty"`
}

// FileView is an artifact.
type FileView struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// InputView is data that went in.
type InputView struct {
	Dataset string `json:"dataset"`
	Version int    `json:"version,omitempty"`
	Digest  string `json:"digest"`
	Context string `json:"context,omitempty"`
}

// Source is the code a run or version was made from.
type Source struct {
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Dirty      bool   `json:"dirty"`
}

// EnvironmentView names the environment lock.
type EnvironmentView struct {
	Digest string `json:"digest,omitempty"`
}

// first is the first tag that is set.
func first(tags map[string]string, keys ...string) string {
	for _, k := range keys {
		if v := tags[k]; v != "" {
			return v
		}
	}
	return ""
}

// SourceOf reads the source out of a run's tags: ours, else those that MLflow's clients set.
func SourceOf(tags map[string]string) Source {
	return Source{
		Repository: first(tags, TagRepository, "mlflow.source.git.repoURL", "mlflow.git.repo_url"),
		Commit:     first(tags, TagCommit, "mlflow.source.git.commit", "mlflow.git.commit"),
		Dirty:      strings.EqualFold(first(tags, TagDirty, "mlflow.git.dirty"), "true"),
	}
}

// DataOf lists the data of a run: what was logged as input, and the versions a pipeline put into the tag TagData.
func DataOf(r Run) []InputView {
	out := []InputView{}
	seen := map[string]bool{}
	var tagged []InputView
	if json.Unmarshal([]byte(r.Tags[TagData]), &tagged) == nil {
		for _, v := range tagged {
			out = append(out, v)
			seen[v.Dataset] = true
		}
	}
	for _, in := range r.Inputs {
		if !seen[in.Name] {
			out = append(out, InputView{Dataset: in.Name, Version: in.Version, Digest: in.Digest, Context: in.Context})
		}
	}
	return out
}

func view(r Run) RunView {
	v := RunView{ID: r.ID, Name: r.Name, Experiment: r.Experiment, Status: r.Status, User: r.Author, StartedAt: r.Started, Params: r.Params,
		Metrics: map[string]any{}, Tags: r.Tags, Inputs: DataOf(r), Models: []string{}, Source: SourceOf(r.Tags),
		Environment: EnvironmentView{r.Tags[TagEnvironment]}, PipelineRun: r.Tags[TagPipelineRun], Parent: r.Tags[TagParent], Deleted: r.Deleted}
	if !r.Ended.IsZero() {
		v.EndedAt = &r.Ended
	}
	for _, m := range r.Metrics {
		v.Metrics[m.Key] = jsonNumber(m.Value)
	}
	for _, m := range r.ModelsOut {
		v.Models = append(v.Models, m.Model)
	}
	return v
}

func jsonNumber(v float64) any {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return v
}

// RunQuery says which runs are meant and what of them is wanted.
type RunQuery struct {
	Experiment string `query:"experiment" doc:"only runs of these experiments; a comma list of ids"`
	Filter     string `query:"filter" doc:"MLflow's filter language: metrics.acc > 0.9 AND params.optimizer = 'adam'"`
	Order      string `query:"order_by" doc:"comma list of terms such as metrics.acc DESC; by default the newest first"`
	Columns    string `query:"columns" doc:"comma list of what to load: metrics.acc, params.*, tags.team; none: only attributes; absent: everything"`
	View       string `query:"view" enum:"active,deleted,all" default:"active" doc:"whether deleted runs are meant"`
}

// search is the query as a search.
func (q RunQuery) search() (v Search, err error) {
	v = Search{Filter: q.Filter, View: views[q.View]}
	for _, id := range strings.Split(q.Experiment, ",") {
		if id = strings.TrimSpace(id); id != "" {
			v.Experiments = append(v.Experiments, id)
		}
	}
	v.Anywhere = len(v.Experiments) == 0
	for _, term := range SplitColumns(q.Order) {
		v.Order = append(v.Order, strings.TrimSpace(term))
	}
	v.Columns, err = ParseColumns(SplitColumns(q.Columns))
	return v, err
}

type runPage struct {
	rest.Page[RunView]
	Total       *int `json:"total,omitempty" doc:"how many runs match, where that is cheap to say; on the first page only"`
	TotalCapped bool `json:"total_capped,omitempty" doc:"there are total runs or more"`
}

func (s *Service) listRuns(ctx context.Context, in *struct {
	rest.Paging
	RunQuery
}) (out runPage, err error) {
	v, err := in.search()
	if err != nil {
		return out, err
	}
	v.Limit, v.Token = in.Limit, in.Cursor
	p, err := s.PageRuns(ctx, v)
	if err != nil {
		return out, asked(err)
	}
	out.Items, out.Next = make([]RunView, len(p.Runs)), p.Next
	for i, r := range p.Runs {
		out.Items[i] = view(r)
	}
	if p.Total >= 0 && in.Cursor == "" {
		out.Total, out.TotalCapped = &p.Total, p.Total >= maxTotal
	}
	return out, nil
}

// tagChange sets tags, and removes those that are null.
type tagChange map[string]*string

// parts sorts a change, and refuses it whole if one tag breaks a rule.
func (c tagChange) parts(description *string, limit int) (set []Pair, drop []string, err error) {
	if description != nil {
		if c == nil {
			c = tagChange{}
		}
		if c[tagNote] = description; *description == "" {
			c[tagNote] = nil
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c)) {
		if v := c[k]; v == nil {
			drop = append(drop, k)
		} else if err := CheckTag(Pair{k, *v}, limit); err != nil {
			return nil, nil, err
		} else {
			set = append(set, Pair{k, *v})
		}
	}
	return set, drop, nil
}

func (s *Service) patchRun(ctx context.Context, in *struct {
	ID   string `path:"id"`
	Body struct {
		Name        string    `json:"name,omitempty"`
		Description *string   `json:"description,omitempty"`
		Tags        tagChange `json:"tags,omitempty" doc:"tags to set; null removes one"`
	}
}) (out RunView, err error) {
	set, drop, err := in.Body.Tags.parts(in.Body.Description, MaxTagValue)
	if err != nil {
		return out, err
	}
	if in.Body.Name != "" {
		if _, err := s.UpdateRun(ctx, in.ID, Change{Name: in.Body.Name}); err != nil {
			return out, err
		}
	}
	for part := range slices.Chunk(set, MaxBatchTags) {
		if err := s.LogBatch(ctx, in.ID, Batch{Tags: part}); err != nil {
			return out, err
		}
	}
	for _, k := range drop {
		if err := s.DeleteTag(ctx, in.ID, k); err != nil && !noTag(err) {
			return out, err
		}
	}
	r, err := s.Run(ctx, in.ID)
	return view(r), err
}

// noTag reports that a tag was not there, which is as good as removed.
func noTag(err error) bool {
	p, ok := problem.As(err)
	return ok && p.Kind == problem.NotFound && p.Field == "key"
}

type runID struct {
	ID string `path:"id"`
}

func (s *Service) deleteRunView(ctx context.Context, in *runID) (out RunView, err error) {
	if err = s.DeleteRun(ctx, in.ID); err != nil {
		return out, err
	}
	r, err := s.Run(ctx, in.ID)
	return view(r), err
}

func (s *Service) restoreRunView(ctx context.Context, in *runID) (out RunView, err error) {
	if err = s.RestoreRun(ctx, in.ID); err != nil {
		return out, err
	}
	r, err := s.Run(ctx, in.ID)
	return view(r), err
}

func (s *Service) getRunView(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (RunView, error) {
	r, err := s.Shortened(ctx, in.ID)
	if err != nil {
		return RunView{}, err
	}
	files, err := s.Files(ctx, ArtifactRoot(r.Experiment, r.ID), "")
	v := view(r)
	for _, f := range files {
		v.Artifacts = append(v.Artifacts, FileView{f.Path, f.Size})
	}
	for _, m := range r.ModelsOut { // their files belong to the run in everybody's eyes
		files, e := s.Files(ctx, ModelRoot(r.Experiment, m.Model), "")
		err = errors.Join(err, e)
		for _, f := range files {
			v.Artifacts = append(v.Artifacts, FileView{"models/" + m.Model + "/" + f.Path, f.Size})
		}
	}
	return v, err
}
