package trace

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
)

// View is a trace as our REST API shows it.
type View struct {
	ID            string            `json:"id"`
	Name          string            `json:"name"`
	Experiment    string            `json:"experiment"`
	State         string            `json:"state" enum:"ok,error,in_progress,unspecified"`
	StartedAt     time.Time         `json:"started_at"`
	DurationMS    *int64            `json:"duration_ms,omitempty" doc:"milliseconds; absent while it is not known"`
	Request       string            `json:"request,omitempty" doc:"preview of what was asked"`
	Response      string            `json:"response,omitempty" doc:"preview of what was answered"`
	ClientRequest string            `json:"client_request_id,omitempty"`
	Session       string            `json:"session,omitempty"`
	User          string            `json:"user,omitempty" doc:"whom the traced application served"`
	Spans         int               `json:"spans" doc:"spans that are kept"`
	Tokens        *Tokens           `json:"tokens,omitempty"`
	Cost          *Cost             `json:"cost,omitempty" doc:"US dollars"`
	Tags          map[string]string `json:"tags"`
	Metadata      map[string]string `json:"metadata"`
	Runs          []string          `json:"runs"`
	Prompts       []Prompt          `json:"prompts"`
	Assessments   []Assessment      `json:"assessments"`
}

// Whole is a trace with its spans.
type Whole struct {
	View
	Tree      []*SpanView `json:"tree" doc:"the spans without a parent, each with those below it, sorted by start"`
	Truncated bool        `json:"truncated" doc:"there are more spans than are given"`
}

// SpanView is a span as our REST API shows it.
type SpanView struct {
	ID         string         `json:"id"`
	Parent     string         `json:"parent,omitempty"`
	Name       string         `json:"name"`
	Type       string         `json:"type" doc:"LLM, CHAT_MODEL, TOOL, RETRIEVER, AGENT, CHAIN, EMBEDDING, … or UNKNOWN"`
	Kind       string         `json:"kind,omitempty" enum:"internal,server,client,producer,consumer"`
	Status     string         `json:"status" enum:"ok,error,unset"`
	Message    string         `json:"message,omitempty" doc:"why it failed"`
	StartedAt  time.Time      `json:"started_at"`
	OffsetUS   int64          `json:"offset_us" doc:"microseconds since the first span began"`
	DurationUS *int64         `json:"duration_us,omitempty" doc:"microseconds; absent while it has not ended"`
	Inputs     any            `json:"inputs,omitempty"`
	Outputs    any            `json:"outputs,omitempty"`
	Attributes map[string]any `json:"attributes"`
	Events     []EventView    `json:"events,omitempty"`
	Links      []LinkView     `json:"links,omitempty"`
	Model      string         `json:"model,omitempty"`
	Tokens     *Tokens        `json:"tokens,omitempty"`
	Cost       *Cost          `json:"cost,omitempty"`
	Children   []*SpanView    `json:"children"`
}

// EventView is something that happened during a span.
type EventView struct {
	Name       string         `json:"name"`
	At         time.Time      `json:"at"`
	OffsetUS   int64          `json:"offset_us"`
	Attributes map[string]any `json:"attributes"`
}

// LinkView points to a span of another trace.
type LinkView struct {
	Trace      string         `json:"trace"`
	Span       string         `json:"span"`
	Attributes map[string]any `json:"attributes"`
}

func view(t Trace) View {
	v := View{ID: t.ID, Name: t.Name, Experiment: t.Experiment, State: t.State, StartedAt: t.StartedAt(), Request: t.Request, Response: t.Response,
		ClientRequest: t.ClientRequest, Session: t.Session, User: t.User, Spans: t.Spans, Tokens: t.Tokens, Cost: t.Cost, Tags: t.Tags, Metadata: t.Metadata,
		Runs: t.Runs, Prompts: t.Prompts, Assessments: t.Assessments}
	if t.Duration >= 0 {
		v.DurationMS = &t.Duration
	}
	if v.Runs == nil {
		v.Runs = []string{}
	}
	if v.Prompts == nil {
		v.Prompts = []Prompt{}
	}
	if v.Assessments == nil {
		v.Assessments = []Assessment{}
	}
	return v
}

// maxShown bounds the spans of one answer.
const maxShown = 5000

// tree arranges spans, sorted by start, below their parents. A span whose parent is not among them is a root, and so is
// the first of a circle of parents.
func tree(spans []*Span) (roots []*SpanView, truncated bool) {
	roots = []*SpanView{}
	if len(spans) == 0 {
		return roots, false
	}
	if len(spans) > maxShown {
		spans, truncated = spans[:maxShown], true
	}
	first := spans[0].StartTimeUnixNano
	views := make(map[string]*SpanView, len(spans))
	list := make([]*SpanView, len(spans))
	for i, s := range spans {
		list[i] = spanView(s, first)
		views[list[i].ID] = list[i]
	}
	for _, v := range list {
		p := views[v.Parent]
		if p == nil || circular(views, v) {
			roots = append(roots, v)
			continue
		}
		p.Children = append(p.Children, v)
	}
	return roots, truncated
}

// circular reports whether v is the first by id among spans that are each other's parents.
func circular(views map[string]*SpanView, v *SpanView) bool {
	slow, least := v, v.ID
	for i := 0; i <= len(views); i++ {
		p := views[slow.Parent]
		if p == nil {
			return false
		}
		if p == v {
			return least == v.ID
		}
		if p.ID < least {
			least = p.ID
		}
		slow = p
	}
	return false
}

func spanView(s *Span, first uint64) *SpanView {
	v := &SpanView{ID: HexID(s.SpanId), Parent: HexID(s.ParentSpanId), Name: s.Name, Type: Type(s), Status: strings.ToLower(Status(s)), Message: s.GetStatus().GetMessage(),
		StartedAt: micro(s.StartTimeUnixNano), OffsetUS: since(first, s.StartTimeUnixNano), Attributes: map[string]any{}, Children: []*SpanView{},
		Model: Plain(Attribute(s, keysModel...)), Tokens: tokensOf(s), Cost: costOf(s)}
	if k := int(s.Kind); k > 0 && k < 6 {
		v.Kind = []string{"", "internal", "server", "client", "producer", "consumer"}[k]
	}
	if s.EndTimeUnixNano > 0 {
		d := max(since(s.StartTimeUnixNano, s.EndTimeUnixNano), 0)
		v.DurationUS = &d
	}
	in, out := Attribute(s, keysInputs...), Attribute(s, keysOutputs...)
	if in != nil {
		v.Inputs = document(in)
	}
	if out != nil {
		v.Outputs = document(out)
	}
	for _, kv := range s.Attributes {
		switch {
		case kv.Value == in && in != nil, kv.Value == out && out != nil, kv.Key == keyRequestID, slices.Contains(keysType, kv.Key), strings.HasPrefix(kv.Key, tagPrefix):
			continue
		}
		v.Attributes[kv.Key] = json.RawMessage(AppendValue(nil, kv.Value))
	}
	for _, e := range s.Events {
		v.Events = append(v.Events, EventView{e.GetName(), micro(e.GetTimeUnixNano()), since(first, e.GetTimeUnixNano()), object(e.GetAttributes())})
	}
	for _, l := range s.Links {
		v.Links = append(v.Links, LinkView{IDOf(l.GetTraceId()), HexID(l.GetSpanId()), object(l.GetAttributes())})
	}
	return v
}

// micro is a time in nanoseconds, cut to microseconds.
func micro(ns uint64) time.Time { return time.UnixMicro(int64(ns / 1000)).UTC() }

func since(from, to uint64) int64 { return (int64(to) - int64(from)) / 1000 }

func object(list []*commonpb.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range list {
		out[kv.GetKey()] = json.RawMessage(AppendValue(nil, kv.GetValue()))
	}
	return out
}
