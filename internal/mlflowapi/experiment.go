package mlflowapi

import (
	"context"
	"slices"
	"strconv"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (m *API) experimentRoutes(a *rest.API) {
	const p = "/2.0/mlflow/experiments/"
	on(a, m, "POST", p+"create", "run.write", m.createExperiment, "name")
	on(a, m, "GET", p+"get", "run.read", m.getExperiment, "experiment_id")
	on(a, m, "GET", p+"get-by-name", "run.read", m.getExperimentByName, "experiment_name")
	on(a, m, "POST", p+"search", "run.read", m.searchExperiments)
	on(a, m, "GET", p+"search", "run.read", m.searchExperiments)
	on(a, m, "POST", p+"delete", "run.write", m.deleteExperiment, "experiment_id")
	on(a, m, "POST", p+"restore", "run.write", m.restoreExperiment, "experiment_id")
	on(a, m, "POST", p+"update", "run.write", m.updateExperiment, "experiment_id")
	on(a, m, "POST", p+"set-experiment-tag", "run.write", m.setExperimentTag, "experiment_id", "key")
	on(a, m, "POST", p+"delete-experiment-tag", "run.write", m.deleteExperimentTag, "experiment_id", "key")
}

type experimentRequest struct {
	ID    string `json:"experiment_id"`
	Name  string `json:"experiment_name"`
	New   string `json:"new_name"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// check refuses an identifier that is not a string of digits.
func check(id string) error {
	if _, err := strconv.ParseUint(id, 10, 63); err != nil {
		return problem.New(problem.Invalid, "Invalid experiment ID '%s'. Experiment IDs are strings of digits.", problem.Clip(id, 60)).At("experiment_id")
	}
	return nil
}

func (m *API) createExperiment(ctx context.Context, in *struct {
	Name     string `json:"name"`
	Location string `json:"artifact_location"`
	Tags     []pair `json:"tags"`
}) (any, error) {
	if in.Location != "" {
		return nil, problem.New(problem.Invalid, "Invalid artifact_location '%s'. This server chooses where artifacts are kept; leave artifact_location out.", problem.Clip(in.Location, 120)).At("artifact_location").Suspect("source")
	}
	e, err := m.Tracking.CreateExperiment(ctx, in.Name, toPairs(in.Tags))
	if err != nil {
		return nil, taken(err)
	}
	return map[string]string{"experiment_id": e.ID}, nil
}

func (m *API) getExperiment(ctx context.Context, in *experimentRequest) (any, error) {
	if err := check(in.ID); err != nil {
		return nil, err
	}
	e, err := m.Tracking.Experiment(ctx, in.ID)
	return map[string]any{"experiment": fromExperiment(e)}, err
}

func (m *API) getExperimentByName(ctx context.Context, in *experimentRequest) (any, error) {
	e, err := m.Tracking.ExperimentNamed(ctx, in.Name)
	return map[string]any{"experiment": fromExperiment(e)}, err
}

func (m *API) searchExperiments(ctx context.Context, in *struct {
	Max    integer  `json:"max_results"`
	Token  string   `json:"page_token"`
	Filter string   `json:"filter"`
	Order  []string `json:"order_by"`
	View   string   `json:"view_type"`
}) (any, error) {
	limit, err := limited(in.Max, 1000, 50000)
	if err != nil {
		return nil, err
	}
	list, next, err := m.Tracking.SearchExperiments(ctx, tracking.Search{Filter: in.Filter, Order: in.Order, View: in.View, Limit: limit, Token: in.Token})
	if err != nil {
		return nil, err
	}
	out := struct {
		Experiments []experiment `json:"experiments,omitempty"`
		Next        string       `json:"next_page_token,omitempty"`
	}{Next: next}
	for _, e := range list {
		out.Experiments = append(out.Experiments, fromExperiment(e))
	}
	return out, nil
}

// limited is a page size: the usual one for 0, refused beyond the limit.
func limited(n integer, usual, limit int) (int, error) {
	switch {
	case n == 0:
		return usual, nil
	case n < 0 || int64(n) > int64(limit):
		return 0, problem.New(problem.Invalid, "Invalid value %d for parameter 'max_results' supplied. It must be at least 1 and at most %d.", n, limit).At("max_results")
	}
	return int(n), nil
}

func (m *API) deleteExperiment(ctx context.Context, in *experimentRequest) (any, error) {
	if err := check(in.ID); err != nil {
		return nil, err
	}
	return none{}, m.Tracking.DeleteExperiment(ctx, in.ID)
}

func (m *API) restoreExperiment(ctx context.Context, in *experimentRequest) (any, error) {
	if err := check(in.ID); err != nil {
		return nil, err
	}
	return none{}, taken(m.Tracking.RestoreExperiment(ctx, in.ID))
}

func (m *API) updateExperiment(ctx context.Context, in *experimentRequest) (any, error) {
	if err := check(in.ID); err != nil {
		return nil, err
	}
	if in.New == "" {
		return none{}, nil
	}
	return none{}, taken(m.Tracking.RenameExperiment(ctx, in.ID, in.New))
}

func (m *API) setExperimentTag(ctx context.Context, in *experimentRequest) (any, error) {
	if err := check(in.ID); err != nil {
		return nil, err
	}
	return none{}, m.Tracking.SetExperimentTag(ctx, in.ID, tracking.Pair{Key: in.Key, Value: in.Value})
}

func (m *API) deleteExperimentTag(ctx context.Context, in *experimentRequest) (any, error) {
	if err := check(in.ID); err != nil {
		return nil, err
	}
	return none{}, m.Tracking.DeleteExperimentTag(ctx, in.ID, in.Key)
}
