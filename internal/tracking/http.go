package tracking

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts experiments and runs as our own clients read them; writing goes through MLflow's API.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/experiments", "run.read", "List experiments", s.listExperiments)
	rest.Get(a, "/api/v1/runs", "run.read", "List runs, the newest first", s.listRuns)
	rest.Get(a, "/api/v1/runs/{id}", "run.read", "Read a run", s.getRunView)
	s.metricRoutes(a)
}

type experimentView struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Runs      int               `json:"runs" doc:"runs that are not deleted"`
	LastRunAt *time.Time        `json:"last_run_at,omitempty"`
	Tags      map[string]string `json:"tags"`
}

func (s *Service) listExperiments(ctx context.Context, in *struct{ rest.Paging }) (rest.Page[experimentView], error) {
	offset, err := cursor(in.Cursor)
	if err != nil {
		return rest.Page[experimentView]{}, err
	}
	list, next, err := s.SearchExperiments(ctx, Search{Limit: in.Limit, Token: MakeToken(offset)})
	if err != nil {
		return rest.Page[experimentView]{}, err
	}
	out := rest.Page[experimentView]{Items: []experimentView{}}
	at := map[string]int{}
	for i, e := range list {
		at[e.ID] = i
		out.Items = append(out.Items, experimentView{ID: e.ID, Name: e.Name, Tags: e.Tags})
	}
	if next != "" {
		out.Next = strconv.Itoa(offset + in.Limit)
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		q := newQuery(tx)
		ids := make([]string, len(list))
		for i, e := range list {
			ids[i] = e.ID
		}
		q.add(`SELECT experiment, COUNT(*), MAX(started_at) FROM run WHERE workspace = `, q.arg(tx.Workspace), ` AND deleted = 0 AND experiment IN (`, q.args(ids), `) GROUP BY experiment`)
		if len(ids) == 0 {
			return nil
		}
		return tx.Each(q.String(), q.a, func(scan func(...any) error) error {
			var id string
			var n int
			var last int64
			if err := scan(&id, &n, &last); err != nil {
				return err
			}
			t := db.Time(last)
			v := &out.Items[at[id]]
			v.Runs, v.LastRunAt = n, &t
			return nil
		})
	})
	return out, err
}

func cursor(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, problem.New(problem.Invalid, "The cursor %q is not one of this list; send the next of the page before, or none.", clip(s, 60)).At("cursor")
	}
	return n, nil
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

// listRuns pages by (started_at, id) and so neither repeats nor skips under writes.
func (s *Service) listRuns(ctx context.Context, in *struct {
	rest.Paging
	Experiment string `query:"experiment" doc:"only runs of this experiment"`
}) (rest.Page[RunView], error) {
	var list []Run
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		q := newQuery(tx)
		q.add(`SELECT `+runColumns+` FROM run r WHERE r.workspace = `, q.arg(tx.Workspace), ` AND r.deleted = 0`)
		if in.Experiment != "" {
			q.add(` AND r.experiment = `, q.arg(in.Experiment))
		}
		if in.Cursor != "" {
			at, id, ok := strings.Cut(in.Cursor, "-")
			us, err := strconv.ParseInt(at, 10, 64)
			if !ok || err != nil {
				return problem.New(problem.Invalid, "The cursor %q is not one of this list; send the next of the page before, or none.", clip(in.Cursor, 60)).At("cursor")
			}
			q.add(` AND (r.started_at < `, q.arg(us), ` OR r.started_at = `, q.arg(us), ` AND `, bytewise(tx, "r.id"), ` < `, q.arg(id), `)`)
		}
		q.add(` ORDER BY r.started_at DESC, `+bytewise(tx, "r.id")+` DESC LIMIT `, q.arg(in.Limit+1))
		if err := tx.Each(q.String(), q.a, func(scan func(...any) error) error {
			r, err := scanRun(scan)
			list = append(list, r)
			return err
		}); err != nil {
			return err
		}
		return fill(tx, list)
	})
	if err != nil {
		return rest.Page[RunView]{}, err
	}
	page := rest.Page[RunView]{Items: []RunView{}}
	for i, r := range list {
		if i == in.Limit {
			last := list[i-1]
			page.Next = strconv.FormatInt(db.Micros(last.Started), 10) + "-" + last.ID
			break
		}
		page.Items = append(page.Items, view(r))
	}
	return page, nil
}

func (s *Service) getRunView(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (RunView, error) {
	r, err := s.Run(ctx, in.ID)
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
