package mlflowapi

import (
	"context"
	"encoding/json"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/scorer"
)

func (m *API) scorerRoutes(a *rest.API) {
	const p = "/3.0/mlflow/scorers/"
	on(a, m, "POST", p+"register", "run.write", m.registerScorer, "experiment_id", "name", "serialized_scorer")
	on(a, m, "GET", p+"list", "run.read", m.listScorers)
	on(a, m, "GET", p+"versions", "run.read", m.scorerVersions, "experiment_id", "name")
	on(a, m, "GET", p+"get", "run.read", m.getScorer, "experiment_id", "name")
	on(a, m, "DELETE", p+"delete", "run.write", m.deleteScorer, "experiment_id", "name")
	on(a, m, "GET", p+"online-configs", "run.read", m.onlineConfigs, "scorer_ids")
	on(a, m, "PUT", p+"online-config", "run.write", m.setOnlineConfig, "experiment_id", "name")
}

type scorerRequest struct {
	Experiment  string   `json:"experiment_id"`
	Experiments []string `json:"experiment_ids"`
	Name        string   `json:"name"`
	Version     integer  `json:"version"`
	Definition  string   `json:"serialized_scorer"`
	IDs         []string `json:"scorer_ids"`
	Rate        *number  `json:"sample_rate"`
}

type scorerShape struct {
	Experiment json.RawMessage `json:"experiment_id"` // a number here, where other answers have a text
	Name       string          `json:"scorer_name"`
	Version    int             `json:"scorer_version"`
	Definition string          `json:"serialized_scorer"`
	Created    int64           `json:"creation_time"`
	ID         string          `json:"scorer_id"`
}

func fromScorers(list []scorer.Version) (out []scorerShape) {
	for _, v := range list {
		out = append(out, scorerShape{json.RawMessage(v.Experiment), v.Name, v.Number, v.Definition, ms(v.CreatedAt), v.Scorer})
	}
	return out
}

func answerScorers(list []scorer.Version, err error) (any, error) {
	if err != nil || len(list) == 0 {
		return none{}, err
	}
	return map[string]any{"scorers": fromScorers(list)}, nil
}

func (m *API) registerScorer(ctx context.Context, in *scorerRequest) (any, error) {
	if err := check(in.Experiment); err != nil {
		return nil, err
	}
	v, err := m.Scorers.Register(ctx, in.Experiment, in.Name, in.Definition)
	if err != nil {
		return nil, err
	}
	return map[string]any{"version": v.Number, "scorer_id": v.Scorer, "experiment_id": v.Experiment, "name": v.Name, "serialized_scorer": v.Definition, "creation_time": ms(v.CreatedAt)}, nil
}

func (m *API) listScorers(ctx context.Context, in *scorerRequest) (any, error) {
	list := in.Experiments
	if in.Experiment != "" {
		if len(list) > 0 {
			return nil, problem.New(problem.Invalid, "Cannot specify both 'experiment_id' and 'experiment_ids'.").At("experiment_ids")
		}
		list = []string{in.Experiment}
	}
	for _, e := range list {
		if err := check(e); err != nil {
			return nil, err
		}
	}
	return answerScorers(m.Scorers.List(ctx, list...))
}

func (m *API) scorerVersions(ctx context.Context, in *scorerRequest) (any, error) {
	if err := check(in.Experiment); err != nil {
		return nil, err
	}
	return answerScorers(m.Scorers.Versions(ctx, in.Experiment, in.Name))
}

func (in *scorerRequest) version() (int, error) {
	if in.Version < 0 || in.Version > 1<<30 {
		return 0, problem.New(problem.Invalid, "Invalid value %d for parameter 'version' supplied.", in.Version).At("version")
	}
	return int(in.Version), check(in.Experiment)
}

func (m *API) getScorer(ctx context.Context, in *scorerRequest) (any, error) {
	n, err := in.version()
	if err != nil {
		return nil, err
	}
	v, err := m.Scorers.Get(ctx, in.Experiment, in.Name, n)
	if err != nil {
		return nil, err
	}
	return map[string]any{"scorer": fromScorers([]scorer.Version{v})[0]}, nil
}

func (m *API) deleteScorer(ctx context.Context, in *scorerRequest) (any, error) {
	n, err := in.version()
	if err != nil {
		return nil, err
	}
	return none{}, m.Scorers.Delete(ctx, in.Experiment, in.Name, n)
}

// onlineConfigs says which scorers run by themselves: none, see setOnlineConfig.
func (m *API) onlineConfigs(context.Context, *scorerRequest) (any, error) {
	return map[string]any{"configs": []any{}}, nil
}

// setOnlineConfig takes only the word that a scorer does not run by itself: scorers run in the client, and a configuration
// that nothing acts on would be believed.
func (m *API) setOnlineConfig(ctx context.Context, in *scorerRequest) (any, error) {
	if err := check(in.Experiment); err != nil {
		return nil, err
	}
	if in.Rate == nil {
		return nil, missing("sample_rate")
	}
	if r := float64(*in.Rate); !(r >= 0 && r <= 1) {
		return nil, problem.New(problem.Invalid, "sample_rate must be between 0.0 and 1.0, got %v", r).At("sample_rate")
	}
	v, err := m.Scorers.Get(ctx, in.Experiment, in.Name, 0)
	if err != nil {
		return nil, err
	}
	if *in.Rate > 0 {
		return nil, problem.New(problem.Unsupported, "Scorers are kept here and run in the client; this server does not run them on traces by itself.").At("sample_rate")
	}
	return map[string]any{"config": map[string]any{"online_scoring_config_id": v.Scorer, "scorer_id": v.Scorer, "sample_rate": 0.0, "experiment_id": v.Experiment}}, nil
}
