package mlflowapi

import (
	"context"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

func (m *API) modelRoutes(a *rest.API) {
	const p = "/2.0/mlflow/logged-models"
	on(a, m, "POST", p, "run.write", m.createLogged, "experiment_id")
	on(a, m, "POST", p+"/search", "run.read", m.searchLogged)
	on(a, m, "GET", p+"/{model}", "run.read", m.getLogged)
	on(a, m, "PATCH", p+"/{model}", "run.write", m.finishLogged, "status")
	on(a, m, "DELETE", p+"/{model}", "run.write", m.deleteLogged)
	on(a, m, "PATCH", p+"/{model}/tags", "run.write", m.tagLogged)
	on(a, m, "DELETE", p+"/{model}/tags/{tag}", "run.write", m.untagLogged)
	on(a, m, "POST", p+"/{model}/params", "run.write", m.paramsLogged)
}

type loggedRequest struct {
	Model      string `path:"model"`
	Tag        string `path:"tag"`
	Experiment string `json:"experiment_id"`
	Name       string `json:"name"`
	Kind       string `json:"model_type"`
	Run        string `json:"source_run_id"`
	Status     string `json:"status"`
	Params     []pair `json:"params"`
	Tags       []pair `json:"tags"`
}

func (m *API) createLogged(ctx context.Context, in *loggedRequest) (any, error) {
	if err := check(in.Experiment); err != nil {
		return nil, err
	}
	l, err := m.Tracking.CreateModel(ctx, tracking.NewModel{Experiment: in.Experiment, Name: in.Name, Run: in.Run, Kind: in.Kind, Params: toPairs(in.Params), Tags: toPairs(in.Tags)})
	return one(l, err)
}

func one(l tracking.LoggedModel, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"model": fromLogged(l)}, nil
}

func (m *API) getLogged(ctx context.Context, in *loggedRequest) (any, error) {
	return one(m.Tracking.Model(ctx, in.Model))
}

func (m *API) finishLogged(ctx context.Context, in *loggedRequest) (any, error) {
	for ours, theirs := range modelStatus {
		if in.Status == theirs {
			return one(m.Tracking.FinishModel(ctx, in.Model, ours))
		}
	}
	return nil, invalid("status", in.Status)
}

func (m *API) deleteLogged(ctx context.Context, in *loggedRequest) (any, error) {
	return none{}, m.Tracking.DeleteModel(ctx, in.Model)
}

func (m *API) tagLogged(ctx context.Context, in *loggedRequest) (any, error) {
	return one(m.Tracking.TagModel(ctx, in.Model, toPairs(in.Tags)))
}

func (m *API) untagLogged(ctx context.Context, in *loggedRequest) (any, error) {
	return none{}, m.Tracking.UntagModel(ctx, in.Model, in.Tag)
}

func (m *API) paramsLogged(ctx context.Context, in *loggedRequest) (any, error) {
	return none{}, m.Tracking.LogModelParams(ctx, in.Model, toPairs(in.Params))
}

// dataRef names data of a metric.
type dataRef struct {
	Name   string `json:"dataset_name"`
	Digest string `json:"dataset_digest"`
}

func (m *API) searchLogged(ctx context.Context, in *struct {
	Experiments []string  `json:"experiment_ids"`
	Filter      string    `json:"filter"`
	Max         integer   `json:"max_results"`
	Token       string    `json:"page_token"`
	Datasets    []dataRef `json:"datasets"`
	Order       []struct {
		Field     string `json:"field_name"`
		Ascending *bool  `json:"ascending"`
		dataRef
	} `json:"order_by"`
}) (any, error) {
	limit, err := limited(in.Max, 100, 1000)
	if err != nil {
		return nil, err
	}
	v := tracking.Search{Experiments: in.Experiments, Filter: strings.TrimSpace(in.Filter), Limit: limit, Token: in.Token, OrderData: map[int]tracking.DatasetRef{}}
	for i, o := range in.Order {
		if o.Field == "" {
			return nil, problem.New(problem.Invalid, "`field_name` in the `order_by` clause must be specified.").At("order_by")
		}
		term := o.Field
		if o.Ascending != nil && !*o.Ascending {
			term += " DESC"
		}
		v.Order = append(v.Order, term)
		v.OrderData[i] = tracking.DatasetRef(o.dataRef)
	}
	for _, d := range in.Datasets {
		v.Datasets = append(v.Datasets, tracking.DatasetRef(d))
	}
	list, next, err := m.Tracking.SearchModels(ctx, v)
	if err != nil {
		return nil, err
	}
	out := struct {
		Models []loggedModel `json:"models,omitempty"`
		Next   string        `json:"next_page_token,omitempty"`
	}{Next: next}
	for _, l := range list {
		out.Models = append(out.Models, fromLogged(l))
	}
	return out, nil
}
