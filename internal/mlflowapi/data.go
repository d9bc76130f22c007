package mlflowapi

import (
	"context"
	"net/http"

	"keelson/internal/access"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

func (m *API) dataRoutes(a *rest.API) {
	on(a, m, "POST", "/2.0/mlflow/experiments/search-datasets", "run.read", m.searchDatasets)
	// MLflow registers the same call under a path that lacks a slash, and does not implement it there.
	for _, prefix := range prefixes {
		a.Handle("POST", prefix+"/2.0mlflow/experiments/search-datasets", access.Self, rest.MLflow, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.fail(w, r, problem.New(problem.Unsupported, "Searching data sets is at %s/2.0/mlflow/experiments/search-datasets; there is a slash missing.", prefix))
		}))
	}
}

func (m *API) searchDatasets(ctx context.Context, in *struct {
	Experiments []string `json:"experiment_ids"`
}) (any, error) {
	for _, e := range in.Experiments {
		if err := check(e); err != nil {
			return nil, err
		}
	}
	list, err := m.Tracking.DataIn(ctx, in.Experiments)
	type summary struct {
		Experiment string `json:"experiment_id"`
		Name       string `json:"name"`
		Digest     string `json:"digest"`
		Context    string `json:"context,omitempty"`
	}
	out := struct {
		Summaries []summary `json:"dataset_summaries,omitempty"`
	}{}
	for _, d := range list {
		out.Summaries = append(out.Summaries, summary(d))
	}
	return out, err
}
