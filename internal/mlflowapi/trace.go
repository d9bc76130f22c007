package mlflowapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/trace"
)

func (m *API) traceRoutes(a *rest.API) {
	const v3, v2 = "/3.0/mlflow/traces", "/2.0/mlflow/traces"
	const read, write, assess = "trace.read", "trace.write", "trace.assess"
	on(a, m, "POST", v3, write, m.startTrace, "trace")
	on(a, m, "GET", v3+"/{trace_id}", read, m.getTraceInfo)
	on(a, m, "POST", v3+"/batchGetInfos", read, m.batchTraceInfos, "trace_ids")
	on(a, m, "POST", v3+"/search", read, m.searchTraces, "locations")
	on(a, m, "POST", v3+"/{trace_id}/assessments", assess, m.createAssessment, "assessment")
	on(a, m, "GET", v3+"/{trace_id}/assessments/{assessment_id}", read, m.getAssessment)
	on(a, m, "PATCH", v3+"/{trace_id}/assessments/{assessment_id}", assess, m.updateAssessment, "assessment", "update_mask")
	on(a, m, "DELETE", v3+"/{trace_id}/assessments/{assessment_id}", assess, m.deleteAssessment)
	on(a, m, "POST", v3+"/calculate-filter-correlation", read, m.correlateTraces, "experiment_ids", "filter_string1", "filter_string2")
	on(a, m, "POST", v3+"/metrics", read, m.traceMetrics, "experiment_ids", "view_type", "metric_name", "aggregations")
	for _, p := range []string{v2, v3} {
		on(a, m, "PATCH", p+"/{trace_id}/tags", write, m.setTraceTag, "key")
		on(a, m, "DELETE", p+"/{trace_id}/tags", write, m.deleteTraceTag, "key")
		on(a, m, "POST", p+"/delete-traces", write, m.deleteTraces, "experiment_id")
		on(a, m, "POST", p+"/link-to-run", write, m.linkTraces, "trace_ids", "run_id")
		on(a, m, "POST", p+"/link-prompts", write, m.linkPrompts, "trace_id", "prompt_versions")
	}
	on(a, m, "POST", v2, write, m.beginTrace, "experiment_id")
	on(a, m, "PATCH", v2+"/{trace_id}", write, m.endTrace)
	on(a, m, "GET", v2+"/{trace_id}/info", read, m.getTraceInfoV2)
	on(a, m, "GET", v2, read, m.searchTracesV2, "experiment_ids")
	for _, prefix := range prefixes {
		a.Handle("GET", prefix+v3+"/get", read, rest.MLflow, m.handle(m.getTrace))
		a.Handle("GET", prefix+v3+"/batchGet", read, rest.MLflow, m.handle(m.batchTraces))
		const files = "/2.0/mlflow-artifacts/artifacts/{experiment}/traces/{trace}/artifacts/{path...}"
		a.Handle("GET", prefix+files, read, rest.MLflow, m.handle(m.downloadTraceFile))
		a.Handle("PUT", prefix+files, write, rest.MLflow, m.handle(m.uploadTraceFile))
		a.Handle("DELETE", prefix+files, write, rest.MLflow, m.handle(m.deleteTraceFile))
	}
	for _, version := range []string{"2.0", "3.0"} {
		a.Handle("GET", "/ajax-api/"+version+"/mlflow/get-trace-artifact", read, rest.MLflow, m.handle(m.getTraceArtifact))
	}
	a.Handle("POST", "/v1/traces", write, rest.MLflow, m.handle(m.exportSpans))
}

type infoAnswer struct {
	Trace struct {
		Info traceInfo `json:"trace_info"`
	} `json:"trace"`
}

func infoOf(t trace.Trace) (out infoAnswer) {
	out.Trace.Info = fromTrace(t)
	return out
}

func (m *API) startTrace(ctx context.Context, in *struct {
	Trace *struct {
		Info *traceInfo `json:"trace_info"`
	} `json:"trace"`
}) (any, error) {
	if in.Trace.Info == nil {
		return nil, missing("trace.trace_info")
	}
	t, err := in.Trace.Info.trace()
	if err != nil {
		return nil, err
	}
	t, err = m.Traces.Start(ctx, t)
	return infoOf(t), err
}

type traceRequest struct {
	ID string `path:"trace_id"`
}

func (m *API) getTraceInfo(ctx context.Context, in *traceRequest) (any, error) {
	t, err := m.Traces.Get(ctx, in.ID)
	return infoOf(t), err
}

func (m *API) getTraceInfoV2(ctx context.Context, in *traceRequest) (any, error) {
	t, err := m.Traces.Get(ctx, in.ID)
	return map[string]any{"trace_info": fromTraceV2(t)}, err
}

// getTrace answers one trace with its spans. Without allow_partial a trace whose spans are not there yet is not found.
func (m *API) getTrace(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	id := q.Get("trace_id")
	if id == "" {
		return missing("trace_id")
	}
	t, err := m.Traces.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if t.Spans == 0 && !strings.EqualFold(q.Get("allow_partial"), "true") {
		return problem.New(problem.NotFound, "Trace with ID %s is not fully exported yet, please try again later.", problem.Clip(id, 100)).At("trace_id")
	}
	spans, err := m.Traces.Spans(r.Context(), []string{id})
	if err != nil {
		return err
	}
	b, err := appendTrace([]byte(`{"trace":`), t, spans[id])
	if err != nil {
		return err
	}
	send200(w, append(b, '}'))
	return nil
}

// batchTraces answers the traces of ids that are there with their spans; those without spans are left out.
func (m *API) batchTraces(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	ids := q["trace_ids"]
	if len(ids) == 0 {
		return missing("trace_ids")
	}
	list, err := m.Traces.Batch(r.Context(), ids, q["experiment_ids"])
	if err != nil {
		return err
	}
	b, n := []byte(`{"traces":[`), 0
	for at := 0; at < len(list); at += 20 { // a few traces' spans at a time
		part := list[at:min(at+20, len(list))]
		names := make([]string, len(part))
		for i, t := range part {
			names[i] = t.ID
		}
		spans, err := m.Traces.Spans(r.Context(), names)
		if err != nil {
			return err
		}
		for _, t := range part {
			if len(spans[t.ID]) == 0 {
				continue
			}
			if n++; n > 1 {
				b = append(b, ',')
			}
			if b, err = appendTrace(b, t, spans[t.ID]); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		b = []byte(`{}`)
	} else {
		b = append(b, ']', '}')
	}
	send200(w, b)
	return nil
}

func appendTrace(b []byte, t trace.Trace, spans []*trace.Span) ([]byte, error) {
	info, err := json.Marshal(fromTrace(t))
	if err != nil {
		return nil, err
	}
	b = append(append(b, `{"trace_info":`...), info...)
	if len(spans) > 0 {
		b = append(b, `,"spans":[`...)
		for i, s := range spans {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendSpan(b, t.ID, s)
		}
		b = append(b, ']')
	}
	return append(b, '}'), nil
}

func send200(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

func (m *API) batchTraceInfos(ctx context.Context, in *struct {
	IDs         []string `json:"trace_ids"`
	Experiments []string `json:"experiment_ids"`
}) (any, error) {
	list, err := m.Traces.Batch(ctx, in.IDs, in.Experiments)
	return struct {
		Infos []traceInfo `json:"trace_infos,omitempty"`
	}{fromTraces(list)}, err
}

// defaultTraces is the page of a search that names no size.
const defaultTraces = 100

func (m *API) searchTraces(ctx context.Context, in *struct {
	Locations []traceLocation `json:"locations"`
	Filter    string          `json:"filter"`
	Max       integer         `json:"max_results"`
	Order     []string        `json:"order_by"`
	Token     string          `json:"page_token"`
}) (any, error) {
	var ids []string
	for _, l := range in.Locations {
		if l.Experiment == nil {
			continue
		}
		id, err := l.experiment()
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	list, next, err := m.findTraces(ctx, ids, in.Filter, in.Max, in.Order, in.Token)
	return struct {
		Traces []traceInfo `json:"traces,omitempty"`
		Next   string      `json:"next_page_token,omitempty"`
	}{fromTraces(list), next}, err
}

func (m *API) searchTracesV2(ctx context.Context, in *struct {
	Experiments []string `json:"experiment_ids"`
	Filter      string   `json:"filter"`
	Max         integer  `json:"max_results"`
	Order       []string `json:"order_by"`
	Token       string   `json:"page_token"`
}) (any, error) {
	for _, id := range in.Experiments {
		if err := check(id); err != nil {
			return nil, err
		}
	}
	list, next, err := m.findTraces(ctx, in.Experiments, in.Filter, in.Max, in.Order, in.Token)
	out := struct {
		Traces []traceInfoV2 `json:"traces,omitempty"`
		Next   string        `json:"next_page_token,omitempty"`
	}{Next: next}
	for _, t := range list {
		out.Traces = append(out.Traces, fromTraceV2(t))
	}
	return out, err
}

func (m *API) findTraces(ctx context.Context, experiments []string, filter string, n integer, order []string, token string) ([]trace.Trace, string, error) {
	limit, err := limited(n, defaultTraces, trace.MaxSearch)
	if err != nil {
		return nil, "", err
	}
	return m.Traces.Find(ctx, trace.Search{Experiments: experiments, Filter: filter, Order: order, Limit: limit, Token: token})
}

type traceTag struct {
	ID    string `path:"trace_id"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

func (m *API) setTraceTag(ctx context.Context, in *traceTag) (any, error) {
	return none{}, m.Traces.SetTag(ctx, in.ID, in.Key, in.Value)
}

func (m *API) deleteTraceTag(ctx context.Context, in *traceTag) (any, error) {
	return none{}, m.Traces.DeleteTag(ctx, in.ID, in.Key)
}

func (m *API) deleteTraces(ctx context.Context, in *struct {
	Experiment string   `json:"experiment_id"`
	Until      *integer `json:"max_timestamp_millis"`
	Max        *integer `json:"max_traces"`
	IDs        []string `json:"request_ids"`
}) (any, error) {
	if err := check(in.Experiment); err != nil {
		return nil, err
	}
	d := trace.Deletion{Experiment: in.Experiment, IDs: in.IDs}
	if in.Until != nil {
		v := int64(*in.Until)
		d.Until = &v
	}
	if in.Max != nil {
		if *in.Max < 1 {
			return nil, problem.New(problem.Invalid, "`max_traces` must be a positive integer, received %d.", *in.Max).At("max_traces")
		}
		d.Max = int(min(*in.Max, trace.MaxDelete))
	}
	n, err := m.Traces.Delete(ctx, d)
	return map[string]int{"traces_deleted": n}, err
}

func (m *API) linkTraces(ctx context.Context, in *struct {
	IDs []string `json:"trace_ids"`
	Run string   `json:"run_id"`
}) (any, error) {
	return none{}, m.Traces.Link(ctx, in.IDs, in.Run)
}

func (m *API) linkPrompts(ctx context.Context, in *struct {
	ID      string         `json:"trace_id"`
	Prompts []trace.Prompt `json:"prompt_versions"`
}) (any, error) {
	return none{}, m.Traces.LinkPrompts(ctx, in.ID, in.Prompts)
}

func (m *API) beginTrace(ctx context.Context, in *struct {
	Experiment string  `json:"experiment_id"`
	At         integer `json:"timestamp_ms"`
	Metadata   []pair  `json:"request_metadata"`
	Tags       []pair  `json:"tags"`
}) (any, error) {
	if err := check(in.Experiment); err != nil {
		return nil, err
	}
	t, err := m.Traces.Begin(ctx, trace.Trace{Experiment: in.Experiment, Started: int64(in.At), Metadata: toMap(in.Metadata), Tags: toMap(in.Tags)})
	return map[string]any{"trace_info": fromTraceV2(t)}, err
}

func (m *API) endTrace(ctx context.Context, in *struct {
	ID       string   `path:"trace_id"`
	At       integer  `json:"timestamp_ms"`
	Status   constant `json:"status"`
	Metadata []pair   `json:"request_metadata"`
	Tags     []pair   `json:"tags"`
}) (any, error) {
	state, err := in.Status.state("status")
	if err != nil {
		return nil, err
	}
	t, err := m.Traces.End(ctx, in.ID, state, int64(in.At), toMap(in.Metadata), toMap(in.Tags))
	return map[string]any{"trace_info": fromTraceV2(t)}, err
}

type assessmentRequest struct {
	Trace      string      `path:"trace_id"`
	ID         string      `path:"assessment_id"`
	Assessment *assessment `json:"assessment"`
	Mask       mask        `json:"update_mask"`
}

func answerAssessment(id string, a trace.Assessment, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"assessment": fromAssessment(id, a)}, nil
}

func (m *API) createAssessment(ctx context.Context, in *assessmentRequest) (any, error) {
	a, err := in.Assessment.assessment()
	if err != nil {
		return nil, err
	}
	a, err = m.Traces.Assess(ctx, in.Trace, a)
	return answerAssessment(in.Trace, a, err)
}

func (m *API) getAssessment(ctx context.Context, in *assessmentRequest) (any, error) {
	a, err := m.Traces.Assessment(ctx, in.Trace, in.ID)
	return answerAssessment(in.Trace, a, err)
}

// mask is a google.protobuf.FieldMask: "assessmentName,feedback", or {"paths": [...]}.
type mask []string

func (p *mask) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		for s := range strings.SplitSeq(text, ",") {
			if s = strings.TrimSpace(s); s != "" {
				*p = append(*p, s)
			}
		}
		return nil
	}
	var o struct {
		Paths []string `json:"paths"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	*p = o.Paths
	return nil
}

func (m *API) updateAssessment(ctx context.Context, in *assessmentRequest) (any, error) {
	var c trace.AssessmentChange
	a := in.Assessment
	for _, p := range in.Mask {
		switch p {
		case "assessmentName", "assessment_name":
			c.Name = &a.Name
		case "rationale":
			c.Rationale = &a.Rationale
		case "metadata":
			c.Metadata = a.Metadata
		case "valid":
			c.Valid = a.Valid
		case "feedback", "expectation":
			var err error
			if c.Kind, c.Value, c.Error, err = a.value(); err != nil {
				return nil, err
			}
			if c.Kind != p {
				return nil, problem.New(problem.Invalid, "The update_mask names %s, but the assessment has none.", p).At("update_mask")
			}
		default: // as MLflow does, what cannot be changed is left as it is
		}
	}
	changed, err := m.Traces.Reassess(ctx, in.Trace, in.ID, c)
	return answerAssessment(in.Trace, changed, err)
}

func (m *API) deleteAssessment(ctx context.Context, in *assessmentRequest) (any, error) {
	return none{}, m.Traces.DeleteAssessment(ctx, in.Trace, in.ID)
}
