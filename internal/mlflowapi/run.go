package mlflowapi

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

func (m *API) runRoutes(a *rest.API) {
	const p = "/2.0/mlflow/runs/"
	on(a, m, "POST", p+"create", "run.write", m.createRun)
	on(a, m, "POST", p+"update", "run.write", m.updateRun, "run_id|run_uuid")
	on(a, m, "POST", p+"delete", "run.write", m.deleteRun, "run_id")
	on(a, m, "POST", p+"restore", "run.write", m.restoreRun, "run_id")
	on(a, m, "GET", p+"get", "run.read", m.getRun, "run_id|run_uuid")
	on(a, m, "POST", p+"search", "run.read", m.searchRuns)
	on(a, m, "POST", p+"log-parameter", "run.write", m.logParam, "run_id|run_uuid", "key")
	on(a, m, "POST", p+"set-tag", "run.write", m.setTag, "run_id|run_uuid", "key")
	on(a, m, "POST", p+"delete-tag", "run.write", m.deleteTag, "run_id", "key")
	on(a, m, "POST", p+"log-inputs", "run.write", m.logInputs, "run_id")
	on(a, m, "POST", p+"outputs", "run.write", m.logOutputs, "run_id")
	on(a, m, "POST", p+"log-model", "run.write", m.logModel, "run_id", "model_json")
	m.metricRoutes(a)
}

type runRequest struct {
	ID     string  `json:"run_id"`
	UUID   string  `json:"run_uuid"`
	Key    string  `json:"key"`
	Value  string  `json:"value"`
	Status string  `json:"status"`
	End    integer `json:"end_time"`
	Name   string  `json:"run_name"`
}

func (r *runRequest) run() string { return cmp.Or(r.ID, r.UUID) }

func (m *API) createRun(ctx context.Context, in *struct {
	Experiment string  `json:"experiment_id"`
	User       string  `json:"user_id"`
	Name       string  `json:"run_name"`
	Start      integer `json:"start_time"`
	Tags       []pair  `json:"tags"`
}) (any, error) {
	if in.Experiment != "" {
		if err := check(in.Experiment); err != nil {
			return nil, err
		}
	}
	r, err := m.Tracking.CreateRun(ctx, tracking.NewRun{Experiment: in.Experiment, Name: in.Name, User: in.User, Started: fromMS(in.Start), Tags: toPairs(in.Tags)})
	return map[string]any{"run": fromRun(r)}, err
}

func (m *API) updateRun(ctx context.Context, in *runRequest) (any, error) {
	status := strings.ToLower(in.Status)
	if n, err := strconv.Atoi(status); err == nil { // proto enums may come as numbers
		names := []string{"", tracking.Running, tracking.Scheduled, tracking.Finished, tracking.Failed, tracking.Killed}
		if n < 0 || n >= len(names) {
			return nil, invalid("status", in.Status)
		}
		status = names[n]
	}
	r, err := m.Tracking.UpdateRun(ctx, in.run(), tracking.Change{Status: status, Name: in.Name, Ended: fromMS(in.End)})
	return map[string]any{"run_info": fromInfo(r)}, err
}

func (m *API) deleteRun(ctx context.Context, in *runRequest) (any, error) {
	return none{}, m.Tracking.DeleteRun(ctx, in.ID)
}

func (m *API) restoreRun(ctx context.Context, in *runRequest) (any, error) {
	return none{}, m.Tracking.RestoreRun(ctx, in.ID)
}

func (m *API) getRun(ctx context.Context, in *runRequest) (any, error) {
	r, err := m.Tracking.Run(ctx, in.run())
	return map[string]any{"run": fromRun(r)}, err
}

func (m *API) searchRuns(ctx context.Context, in *struct {
	Experiments []string `json:"experiment_ids"`
	Filter      string   `json:"filter"`
	View        string   `json:"run_view_type"`
	Max         integer  `json:"max_results"`
	Order       []string `json:"order_by"`
	Token       string   `json:"page_token"`
}) (any, error) {
	limit, err := limited(in.Max, 1000, tracking.MaxSearchRuns)
	if err != nil {
		return nil, err
	}
	list, next, err := m.Tracking.SearchRuns(ctx, tracking.Search{Experiments: in.Experiments, Filter: in.Filter, View: in.View, Limit: limit, Order: in.Order, Token: in.Token})
	if err != nil {
		return nil, err
	}
	return written(appendRuns(nil, list, next)), nil
}

func (m *API) logParam(ctx context.Context, in *runRequest) (any, error) {
	return none{}, m.Tracking.LogBatch(ctx, in.run(), tracking.Batch{Params: []tracking.Pair{{Key: in.Key, Value: in.Value}}})
}

func (m *API) setTag(ctx context.Context, in *runRequest) (any, error) {
	return none{}, m.Tracking.LogBatch(ctx, in.run(), tracking.Batch{Tags: []tracking.Pair{{Key: in.Key, Value: in.Value}}})
}

func (m *API) deleteTag(ctx context.Context, in *runRequest) (any, error) {
	return none{}, m.Tracking.DeleteTag(ctx, in.run(), in.Key)
}

// Tags of a logged data set: MLflow's context and our version.
const (
	tagContext = "mlflow.data.context"
	tagVersion = "keelson.version"
)

func (m *API) logInputs(ctx context.Context, in *struct {
	ID       string         `json:"run_id"`
	Datasets []datasetInput `json:"datasets"`
	Models   []modelRef     `json:"models"`
}) (any, error) {
	if len(in.Datasets) > tracking.MaxBatchEntities {
		return nil, problem.New(problem.Invalid, "A request can log at most %d datasets; got %d.", tracking.MaxBatchEntities, len(in.Datasets)).At("datasets")
	}
	var data []tracking.Input
	for _, d := range in.Datasets {
		tags := toMap(d.Tags)
		version, _ := strconv.Atoi(tags[tagVersion])
		data = append(data, tracking.Input{Name: d.Dataset.Name, Digest: d.Dataset.Digest, Context: tags[tagContext], SourceType: d.Dataset.SourceType, Source: d.Dataset.Source,
			Schema: d.Dataset.Schema, Profile: d.Dataset.Profile, Version: max(version, 0), Tags: tags})
	}
	return none{}, m.Tracking.LogInputs(ctx, in.ID, data, refs(in.Models))
}

func refs(list []modelRef) []tracking.ModelRef {
	var out []tracking.ModelRef
	for _, r := range list {
		out = append(out, tracking.ModelRef{Model: r.Model, Step: int64(r.Step)})
	}
	return out
}

func (m *API) logOutputs(ctx context.Context, in *struct {
	ID     string     `json:"run_id"`
	Models []modelRef `json:"models"`
}) (any, error) {
	return none{}, m.Tracking.LogOutputs(ctx, in.ID, refs(in.Models))
}

// logModel keeps what clients before MLflow 3 say of a model they logged, in the tag they look for.
func (m *API) logModel(ctx context.Context, in *struct {
	ID    string `json:"run_id"`
	Model string `json:"model_json"`
}) (any, error) {
	const tag = "mlflow.log-model.history"
	r, err := m.Tracking.Run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	list := "[" + in.Model + "]"
	if old := strings.TrimSpace(r.Tags[tag]); strings.HasPrefix(old, "[") && len(old) > 2 {
		list = strings.TrimSuffix(old, "]") + "," + in.Model + "]"
	}
	return none{}, m.Tracking.LogBatch(ctx, in.ID, tracking.Batch{Tags: []tracking.Pair{{Key: tag, Value: list}}})
}
