package mlflowapi

import (
	"context"
	"encoding/json"
	"strings"

	"keelson/internal/evalset"
	"keelson/internal/filter"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

func (m *API) evalsetRoutes(a *rest.API) {
	const p = "/3.0/mlflow/datasets/"
	on(a, m, "POST", p+"create", "run.write", m.createEvalset, "name")
	on(a, m, "POST", p+"search", "run.read", m.searchEvalsets)
	on(a, m, "GET", p+"search", "run.read", m.searchEvalsets)
	on(a, m, "GET", p+"{set}", "run.read", m.getEvalset)
	on(a, m, "DELETE", p+"{set}", "run.write", m.deleteEvalset)
	on(a, m, "PATCH", p+"{set}/tags", "run.write", m.tagEvalset, "tags")
	on(a, m, "DELETE", p+"{set}/tags/{key}", "run.write", m.untagEvalset)
	on(a, m, "POST", p+"{set}/records", "run.write", m.addRecords, "records")
	on(a, m, "GET", p+"{set}/records", "run.read", m.getRecords)
	on(a, m, "DELETE", p+"{set}/records", "run.write", m.deleteRecords)
	on(a, m, "GET", p+"{set}/experiment-ids", "run.read", m.experimentsOfEvalset)
	on(a, m, "POST", p+"{set}/add-experiments", "run.write", m.addToExperiments)
	on(a, m, "POST", p+"{set}/remove-experiments", "run.write", m.removeFromExperiments)
}

type evalsetRequest struct {
	ID          string   `path:"set"`
	Key         string   `path:"key"`
	Name        string   `json:"name"`
	Experiments []string `json:"experiment_ids"`
	Tags        string   `json:"tags"`    // JSON in text, as MLflow has it
	Records     string   `json:"records"` // JSON in text
	IDs         []string `json:"dataset_record_ids"`
	Filter      string   `json:"filter_string"`
	Max         integer  `json:"max_results"`
	Order       []string `json:"order_by"`
	Token       string   `json:"page_token"`
}

type evalsetShape struct {
	ID          string   `json:"dataset_id"`
	Name        string   `json:"name"`
	Tags        string   `json:"tags"`
	Schema      string   `json:"schema,omitempty"`
	Profile     string   `json:"profile,omitempty"`
	Digest      string   `json:"digest"`
	Created     int64    `json:"created_time"`
	Updated     int64    `json:"last_update_time"`
	CreatedBy   string   `json:"created_by,omitempty"`
	UpdatedBy   string   `json:"last_updated_by,omitempty"`
	Experiments []string `json:"experiment_ids,omitempty"`
}

// inText is JSON in a text.
func inText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

func fromEvalset(s evalset.Set) evalsetShape {
	out := evalsetShape{ID: s.ID, Name: s.Name, Tags: inText(s.Tags), Digest: s.Digest, Created: ms(s.CreatedAt), Updated: ms(s.UpdatedAt), CreatedBy: s.CreatedBy, UpdatedBy: s.UpdatedBy, Experiments: s.Experiments}
	if s.Fields.Version != "" {
		out.Schema = inText(s.Fields)
	}
	if s.Records > 0 {
		out.Profile = inText(map[string]int{"num_records": s.Records})
	}
	return out
}

func answerEvalset(s evalset.Set, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"dataset": fromEvalset(s)}, nil
}

// tags reads the tags that are given as JSON in a text; values that are no texts are kept as JSON writes them.
func (in *evalsetRequest) tags() (map[string]string, error) {
	out := map[string]string{}
	if in.Tags == "" {
		return out, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(in.Tags), &m); err != nil {
		return nil, problem.New(problem.Invalid, "Invalid value for parameter 'tags' supplied: it is the JSON of an object, as text.").At("tags")
	}
	for k, v := range m {
		var s string
		if json.Unmarshal(v, &s) != nil {
			s = string(v)
		}
		out[k] = s
	}
	return out, nil
}

func (m *API) createEvalset(ctx context.Context, in *evalsetRequest) (any, error) {
	tags, err := in.tags()
	if err != nil {
		return nil, err
	}
	return answerEvalset(m.Evalsets.Create(ctx, in.Name, tags, in.Experiments))
}

func (m *API) getEvalset(ctx context.Context, in *evalsetRequest) (any, error) {
	return answerEvalset(m.Evalsets.Get(ctx, in.ID))
}

func (m *API) deleteEvalset(ctx context.Context, in *evalsetRequest) (any, error) {
	return none{}, m.Evalsets.Delete(ctx, in.ID)
}

func (m *API) searchEvalsets(ctx context.Context, in *evalsetRequest) (any, error) {
	limit, err := limited(in.Max, 1000, 50000)
	if err != nil {
		return nil, err
	}
	list, next, err := m.Evalsets.Search(ctx, in.Experiments, filter.Query{Filter: in.Filter, Order: in.Order, Limit: limit, Token: in.Token})
	if err != nil {
		return nil, err
	}
	out := struct {
		Sets []evalsetShape `json:"datasets,omitempty"`
		Next string         `json:"next_page_token,omitempty"`
	}{Next: next}
	for _, s := range list {
		out.Sets = append(out.Sets, fromEvalset(s))
	}
	return out, nil
}

func (m *API) tagEvalset(ctx context.Context, in *evalsetRequest) (any, error) {
	tags, err := in.tags()
	if err != nil {
		return nil, err
	}
	return answerEvalset(m.Evalsets.Tag(ctx, in.ID, tags))
}

func (m *API) untagEvalset(ctx context.Context, in *evalsetRequest) (any, error) {
	return none{}, m.Evalsets.Untag(ctx, in.ID, in.Key)
}

func (m *API) addRecords(ctx context.Context, in *evalsetRequest) (any, error) {
	given, err := evalset.Read([]byte(in.Records))
	if err != nil {
		return nil, err
	}
	inserted, updated, err := m.Evalsets.Upsert(ctx, in.ID, given)
	return map[string]int{"inserted_count": inserted, "updated_count": updated}, err
}

type recordShape struct {
	ID           string            `json:"dataset_record_id"`
	Set          string            `json:"dataset_id"`
	Inputs       json.RawMessage   `json:"inputs"`
	Outputs      json.RawMessage   `json:"outputs,omitempty"`
	Expectations json.RawMessage   `json:"expectations,omitempty"`
	Tags         map[string]string `json:"tags"`
	Source       json.RawMessage   `json:"source,omitempty"`
	SourceID     string            `json:"source_id,omitempty"`
	SourceType   string            `json:"source_type,omitempty"`
	Created      int64             `json:"created_time"`
	Updated      int64             `json:"last_update_time"`
	CreatedBy    string            `json:"created_by,omitempty"`
	UpdatedBy    string            `json:"last_updated_by,omitempty"`
}

func (m *API) getRecords(ctx context.Context, in *evalsetRequest) (any, error) {
	limit, err := limited(in.Max, 1000, 50000)
	if err != nil {
		return nil, err
	}
	if in.Token != "" && (len(in.Token) > 60 || !strings.HasPrefix(in.Token, "dr-")) {
		return nil, invalid("page_token", in.Token)
	}
	list, err := m.Evalsets.Records(ctx, in.ID, in.Token, limit+1)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if len(list) > limit {
		list = list[:limit]
		out["next_page_token"] = list[limit-1].ID
	}
	shapes := []recordShape{}
	for _, r := range list {
		typ, id := evalset.SourceOf(r.Source)
		shapes = append(shapes, recordShape{r.ID, r.Set, r.Inputs, r.Outputs, r.Expectations, r.Tags, r.Source, id, typ, ms(r.CreatedAt), ms(r.UpdatedAt), r.CreatedBy, r.UpdatedBy})
	}
	out["records"] = inText(shapes)
	return out, nil
}

func (m *API) deleteRecords(ctx context.Context, in *evalsetRequest) (any, error) {
	n, err := m.Evalsets.DeleteRecords(ctx, in.ID, in.IDs)
	return map[string]int{"deleted_count": n}, err
}

func (m *API) experimentsOfEvalset(ctx context.Context, in *evalsetRequest) (any, error) {
	s, err := m.Evalsets.Get(ctx, in.ID)
	if err != nil || len(s.Experiments) == 0 {
		return none{}, err
	}
	return map[string]any{"experiment_ids": s.Experiments}, nil
}

func (m *API) addToExperiments(ctx context.Context, in *evalsetRequest) (any, error) {
	return answerEvalset(m.Evalsets.AddTo(ctx, in.ID, in.Experiments))
}

func (m *API) removeFromExperiments(ctx context.Context, in *evalsetRequest) (any, error) {
	return answerEvalset(m.Evalsets.RemoveFrom(ctx, in.ID, in.Experiments))
}
