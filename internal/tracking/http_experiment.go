package tracking

import (
	"context"
	"net/http"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

func (s *Service) experimentRoutes(a *rest.API) {
	rest.Get(a, "/api/v1/experiments", "run.read", "Search experiments", s.listExperiments)
	rest.Post(a, "/api/v1/experiments", "run.write", "Create an experiment", s.postExperiment, rest.Status(http.StatusCreated))
	rest.Get(a, "/api/v1/experiments/{id}", "run.read", "Read an experiment", s.getExperimentView)
	rest.Patch(a, "/api/v1/experiments/{id}", "run.write", "Change name, description and tags of an experiment", s.patchExperiment)
	rest.Delete(a, "/api/v1/experiments/{id}", "run.write", "Move an experiment and its runs to the bin", s.deleteExperimentView)
	rest.Post(a, "/api/v1/experiments/{id}/restore", "run.write", "Take an experiment out of the bin", s.restoreExperimentView)
}

type experimentView struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Runs        int               `json:"runs" doc:"runs that are not deleted"`
	LastRunAt   *time.Time        `json:"last_run_at,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	Deleted     bool              `json:"deleted,omitempty"`
	Tags        map[string]string `json:"tags"`
}

func (s *Service) listExperiments(ctx context.Context, in *struct {
	rest.Paging
	Filter string `query:"filter" doc:"MLflow's filter language: name LIKE 'churn%' AND tags.team = 'a'"`
	Order  string `query:"order_by" doc:"comma list of terms such as name DESC; by default the youngest change first"`
	View   string `query:"view" enum:"active,deleted,all" default:"active"`
}) (out rest.Page[experimentView], err error) {
	v := Search{Filter: in.Filter, View: views[in.View], Limit: in.Limit, Token: in.Cursor}
	for _, term := range SplitColumns(in.Order) {
		v.Order = append(v.Order, strings.TrimSpace(term))
	}
	list, next, err := s.SearchExperiments(ctx, v)
	if err != nil {
		return out, asked(err)
	}
	out.Next = next
	out.Items, err = s.experimentViews(ctx, list)
	return out, err
}

// experimentViews adds the runs to experiments.
func (s *Service) experimentViews(ctx context.Context, list []Experiment) ([]experimentView, error) {
	out := make([]experimentView, len(list))
	ids := make([]string, len(list))
	for i, e := range list {
		ids[i] = e.ID
		out[i] = experimentView{ID: e.ID, Name: e.Name, Description: e.Tags[tagNote], CreatedAt: e.Created, UpdatedAt: e.Updated, Deleted: e.Deleted, Tags: e.Tags}
	}
	if len(ids) == 0 {
		return out, nil
	}
	at := place(ids)
	return out, s.DB.Read(ctx, func(tx db.Scope) error {
		b := find.New(tx)
		b.Add(`SELECT experiment, COUNT(*), MAX(started_at) FROM run WHERE workspace = `, b.Arg(tx.Workspace), ` AND deleted = 0 AND experiment IN (`, b.Args(ids), `) GROUP BY experiment`)
		return b.Each(func(scan func(...any) error) error {
			var id string
			var n int
			var last int64
			if err := scan(&id, &n, &last); err != nil {
				return err
			}
			t := db.Time(last)
			v := &out[at[id]]
			v.Runs, v.LastRunAt = n, &t
			return nil
		})
	})
}

func (s *Service) experimentView(ctx context.Context, id string) (out experimentView, err error) {
	e, err := s.Experiment(ctx, id)
	if err != nil {
		return out, err
	}
	list, err := s.experimentViews(ctx, []Experiment{e})
	if err != nil {
		return out, err
	}
	return list[0], nil
}

func (s *Service) postExperiment(ctx context.Context, in *struct {
	Body struct {
		Name        string            `json:"name"`
		Description string            `json:"description,omitempty"`
		Tags        map[string]string `json:"tags,omitempty"`
	}
}) (out experimentView, err error) {
	var tags []Pair
	for k, v := range in.Body.Tags {
		tags = append(tags, Pair{k, v})
	}
	if in.Body.Description != "" {
		tags = append(tags, Pair{tagNote, in.Body.Description})
	}
	e, err := s.CreateExperiment(ctx, in.Body.Name, tags)
	if err != nil {
		return out, err
	}
	return s.experimentView(ctx, e.ID)
}

type experimentID struct {
	ID string `path:"id"`
}

func (s *Service) getExperimentView(ctx context.Context, in *experimentID) (experimentView, error) {
	return s.experimentView(ctx, in.ID)
}

func (s *Service) patchExperiment(ctx context.Context, in *struct {
	ID   string `path:"id"`
	Body struct {
		Name        string    `json:"name,omitempty"`
		Description *string   `json:"description,omitempty"`
		Tags        tagChange `json:"tags,omitempty" doc:"tags to set; null removes one"`
	}
}) (out experimentView, err error) {
	set, drop, err := in.Body.Tags.parts(in.Body.Description, MaxExperimentTag)
	if err != nil {
		return out, err
	}
	if in.Body.Name != "" {
		if err := s.RenameExperiment(ctx, in.ID, in.Body.Name); err != nil {
			return out, err
		}
	}
	for _, t := range set {
		if err := s.SetExperimentTag(ctx, in.ID, t); err != nil {
			return out, err
		}
	}
	for _, k := range drop {
		if err := s.DeleteExperimentTag(ctx, in.ID, k); err != nil && !noTag(err) {
			return out, err
		}
	}
	return s.experimentView(ctx, in.ID)
}

func (s *Service) deleteExperimentView(ctx context.Context, in *experimentID) (out experimentView, err error) {
	if err := s.DeleteExperiment(ctx, in.ID); err != nil {
		return out, err
	}
	return s.experimentView(ctx, in.ID)
}

func (s *Service) restoreExperimentView(ctx context.Context, in *experimentID) (out experimentView, err error) {
	if err := s.RestoreExperiment(ctx, in.ID); err != nil {
		return out, err
	}
	return s.experimentView(ctx, in.ID)
}

// Shortened gives a run by its id or by the beginning of it, if only one run's begins so.
func (s *Service) Shortened(ctx context.Context, id string) (r Run, err error) {
	if r, err = s.Run(ctx, id); !problem.Is(err, problem.NotFound) || len(id) < 4 {
		return r, err
	}
	var ids []string
	if e := s.DB.Read(ctx, func(tx db.Scope) error {
		b := find.New(tx)
		b.Add(`SELECT id FROM run WHERE workspace = `, b.Arg(tx.Workspace), ` AND `, b.Bytewise("id"), ` >= `, b.Arg(id), ` AND `, b.Bytewise("id"), ` < `, b.Arg(id+"\U0010FFFF"), ` ORDER BY `, b.Bytewise("id"), ` LIMIT 2`)
		return b.Each(func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		})
	}); e != nil {
		return r, e
	}
	switch len(ids) {
	case 0:
		return r, err
	case 1:
		return s.Run(ctx, ids[0])
	}
	return r, problem.New(problem.Invalid, "Several runs begin with %s, among them %s and %s; write more of the id.", problem.Clip(id, 60), ids[0], ids[1]).At("run_id")
}
