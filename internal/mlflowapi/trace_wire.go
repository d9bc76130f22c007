package mlflowapi

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"

	"keelson/internal/problem"
	"keelson/internal/trace"
)

// stamp is a google.protobuf.Timestamp in JSON: RFC 3339 with 0, 3, 6 or 9 digits of the second.
type stamp time.Time

func (s stamp) MarshalJSON() ([]byte, error) {
	t := time.Time(s).UTC()
	layout := "2006-01-02T15:04:05"
	switch ns := t.Nanosecond(); {
	case ns == 0:
	case ns%1_000_000 == 0:
		layout += ".000"
	case ns%1000 == 0:
		layout += ".000000"
	default:
		layout += ".000000000"
	}
	return []byte(`"` + t.Format(layout) + `Z"`), nil
}

func (s *stamp) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return &badNumber{problem.Clip(string(b), 40)}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return &badNumber{problem.Clip(text, 40)}
	}
	*s = stamp(t)
	return nil
}

// duration is a google.protobuf.Duration in JSON ("1.5s"), in milliseconds.
type duration int64

func (d duration) MarshalJSON() ([]byte, error) {
	sign, ms := "", int64(d)
	if ms < 0 {
		sign, ms = "-", -ms
	}
	if ms%1000 == 0 {
		return fmt.Appendf(nil, `"%s%ds"`, sign, ms/1000), nil
	}
	return fmt.Appendf(nil, `"%s%d.%03ds"`, sign, ms/1000, ms%1000), nil
}

func (d *duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	bad := &badNumber{problem.Clip(string(b), 40)}
	if json.Unmarshal(b, &text) != nil {
		return bad
	}
	number, ok := strings.CutSuffix(text, "s")
	whole, fraction, _ := strings.Cut(number, ".")
	if !ok || len(fraction) > 9 || len(whole) > 13 {
		return bad
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return bad
	}
	f, err := strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
	if err != nil {
		return bad
	}
	ms := int64(f / 1_000_000)
	if strings.HasPrefix(whole, "-") {
		ms = -ms
	}
	*d = duration(n*1000 + ms)
	return nil
}

// constant is a protobuf enum: a name, or its number.
type constant string

func (e *constant) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*e = constant(s)
		return nil
	}
	var n int32
	if err := json.Unmarshal(b, &n); err != nil {
		return &badNumber{problem.Clip(string(b), 40)}
	}
	*e = constant(strconv.Itoa(int(n)))
	return nil
}

// traceStates are the states in the order of MLflow's numbers.
var traceStates = []struct{ name, state string }{
	{"STATE_UNSPECIFIED", trace.Unspecified}, {"OK", trace.OK}, {"ERROR", trace.Failed}, {"IN_PROGRESS", trace.InProgress},
}

func (e constant) state(field string) (string, error) {
	if e == "" || e == "TRACE_STATUS_UNSPECIFIED" {
		return trace.Unspecified, nil
	}
	for i, s := range traceStates {
		if string(e) == s.name || string(e) == strconv.Itoa(i) {
			return s.state, nil
		}
	}
	return "", invalid(field, string(e))
}

func stateName(state, unspecified string) string {
	for _, s := range traceStates[1:] {
		if s.state == state {
			return s.name
		}
	}
	return unspecified
}

type traceLocation struct {
	Type       constant `json:"type,omitempty"`
	Experiment *struct {
		ID string `json:"experiment_id"`
	} `json:"mlflow_experiment,omitempty"`
}

// experiment is the id of the experiment that a location names.
func (l *traceLocation) experiment() (string, error) {
	if l == nil || l.Experiment == nil {
		return "", problem.New(problem.Invalid, "Traces are kept in experiments here: the location of a trace is of type MLFLOW_EXPERIMENT and has an experiment_id.").At("trace_location")
	}
	return l.Experiment.ID, check(l.Experiment.ID)
}

func locationOf(experiment string) *traceLocation {
	l := &traceLocation{Type: "MLFLOW_EXPERIMENT"}
	l.Experiment = &struct {
		ID string `json:"experiment_id"`
	}{experiment}
	return l
}

// traceInfo is MLflow's TraceInfoV3.
type traceInfo struct {
	ID            string            `json:"trace_id"`
	ClientRequest string            `json:"client_request_id,omitempty"`
	Location      *traceLocation    `json:"trace_location"`
	Request       string            `json:"request_preview,omitempty"`
	Response      string            `json:"response_preview,omitempty"`
	At            *stamp            `json:"request_time,omitempty"`
	Duration      *duration         `json:"execution_duration,omitempty"`
	State         constant          `json:"state,omitempty"`
	Metadata      map[string]string `json:"trace_metadata,omitempty"`
	Assessments   []assessment      `json:"assessments,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
}

func fromTrace(t trace.Trace) traceInfo {
	at := stamp(t.StartedAt())
	out := traceInfo{ID: t.ID, ClientRequest: t.ClientRequest, Location: locationOf(t.Experiment), Request: t.Request, Response: t.Response, At: &at,
		State: constant(stateName(t.State, "STATE_UNSPECIFIED")), Metadata: t.Metadata, Tags: t.AllTags()}
	if t.Duration >= 0 {
		d := duration(t.Duration)
		out.Duration = &d
	}
	for _, a := range t.Assessments {
		out.Assessments = append(out.Assessments, fromAssessment(t.ID, a))
	}
	return out
}

func fromTraces(list []trace.Trace) []traceInfo {
	var out []traceInfo
	for _, t := range list {
		out = append(out, fromTrace(t))
	}
	return out
}

func (i *traceInfo) trace() (t trace.Trace, err error) {
	if t.Experiment, err = i.Location.experiment(); err != nil {
		return t, err
	}
	if t.State, err = i.State.state("state"); err != nil {
		return t, err
	}
	t.ID, t.ClientRequest, t.Request, t.Response, t.Tags, t.Metadata, t.Duration = i.ID, i.ClientRequest, i.Request, i.Response, i.Tags, i.Metadata, -1
	if i.At == nil {
		return t, missing("trace.trace_info.request_time")
	}
	t.Started = time.Time(*i.At).UnixMilli()
	if i.Duration != nil {
		if t.Duration = int64(*i.Duration); t.Duration < 0 {
			return t, invalid("execution_duration", "that is negative")
		}
	}
	for _, a := range i.Assessments {
		x, err := a.assessment()
		if err != nil {
			return t, err
		}
		t.Assessments = append(t.Assessments, x)
	}
	return t, nil
}

// traceInfoV2 is the TraceInfo of clients before MLflow 3.
type traceInfoV2 struct {
	ID         string `json:"request_id"`
	Experiment string `json:"experiment_id"`
	At         int64  `json:"timestamp_ms"`
	Duration   int64  `json:"execution_time_ms"`
	Status     string `json:"status"`
	Metadata   []pair `json:"request_metadata,omitempty"`
	Tags       []pair `json:"tags,omitempty"`
}

func fromTraceV2(t trace.Trace) traceInfoV2 {
	return traceInfoV2{t.ID, t.Experiment, t.Started, max(t.Duration, 0), stateName(t.State, "TRACE_STATUS_UNSPECIFIED"), fromMap(t.Metadata), fromMap(t.AllTags())}
}

type assessmentError struct {
	Code    string `json:"error_code,omitempty"`
	Message string `json:"error_message,omitempty"`
	Stack   string `json:"stack_trace,omitempty"`
}

type assessmentSource struct {
	Type constant `json:"source_type,omitempty"`
	ID   string   `json:"source_id,omitempty"`
}

type serialized struct {
	Format string `json:"serialization_format"`
	Value  string `json:"value"`
}

// assessment is MLflow's Assessment; feedback, expectation and issue are one of.
type assessment struct {
	ID       string            `json:"assessment_id,omitempty"`
	Name     string            `json:"assessment_name"`
	Trace    string            `json:"trace_id,omitempty"`
	Span     string            `json:"span_id,omitempty"`
	Source   *assessmentSource `json:"source,omitempty"`
	Created  *stamp            `json:"create_time,omitempty"`
	Updated  *stamp            `json:"last_update_time,omitempty"`
	Feedback *struct {
		Value json.RawMessage  `json:"value"`
		Error *assessmentError `json:"error,omitempty"`
	} `json:"feedback,omitempty"`
	Expectation *struct {
		Value      json.RawMessage `json:"value,omitempty"`
		Serialized *serialized     `json:"serialized_value,omitempty"`
	} `json:"expectation,omitempty"`
	Issue *struct {
		Name string `json:"issue_name"`
	} `json:"issue,omitempty"`
	Rationale string            `json:"rationale,omitempty"`
	Error     *assessmentError  `json:"error,omitempty"` // in feedback since MLflow 3
	Metadata  map[string]string `json:"metadata,omitempty"`
	Overrides string            `json:"overrides,omitempty"`
	Valid     *bool             `json:"valid,omitempty"`
}

// sources are the types of sources in the order of MLflow's numbers.
var sources = []string{trace.SourceNotSet, trace.Human, trace.Judge, trace.Code}

func (e constant) source() (string, error) {
	s := strings.ToLower(string(e))
	switch s {
	case "":
		return trace.SourceNotSet, nil
	case "ai_judge":
		return trace.Judge, nil
	}
	for i, known := range sources {
		if s == known || s == strconv.Itoa(i) {
			return known, nil
		}
	}
	return "", invalid("assessment.source.source_type", string(e))
}

func (e *assessmentError) fault() *trace.Fault {
	if e == nil {
		return nil
	}
	return &trace.Fault{Code: e.Code, Message: e.Message, Stack: e.Stack}
}

// value gives kind and value of an assessment; kind is empty when it has none.
func (a *assessment) value() (kind string, value json.RawMessage, fault *trace.Fault, err error) {
	n := 0
	if f := a.Feedback; f != nil {
		n++
		kind, value, fault = trace.Feedback, f.Value, f.Error.fault()
		if fault == nil {
			fault = a.Error.fault()
		}
	}
	if e := a.Expectation; e != nil {
		n++
		kind, value = trace.Expectation, e.Value
		if s := e.Serialized; s != nil {
			if s.Format != "JSON_FORMAT" {
				return "", nil, nil, problem.New(problem.Invalid, "Unknown serialization format: %s. Only JSON_FORMAT is supported.", problem.Clip(s.Format, 40)).At("assessment.expectation")
			}
			value = json.RawMessage(s.Value)
		}
	}
	if a.Issue != nil {
		n++
		name, err := json.Marshal(a.Issue.Name)
		if err != nil {
			return "", nil, nil, invalid("assessment.issue", a.Issue.Name)
		}
		kind, value = trace.Issue, name
	}
	if n > 1 {
		return "", nil, nil, problem.New(problem.Invalid, "Exactly one of `expectation`, `feedback`, or `issue` should be specified.").At("assessment")
	}
	return kind, value, fault, nil
}

func (a *assessment) assessment() (out trace.Assessment, err error) {
	if a.Name == "" {
		return out, missing("assessment.assessment_name")
	}
	out = trace.Assessment{ID: a.ID, Name: a.Name, Span: a.Span, Rationale: a.Rationale, Metadata: a.Metadata, Overrides: a.Overrides}
	if out.Kind, out.Value, out.Error, err = a.value(); err != nil {
		return out, err
	}
	if out.Kind == "" {
		return out, problem.New(problem.Invalid, "Unknown assessment type: None. An assessment has one of feedback, expectation and issue.").At("assessment")
	}
	out.Source.Kind = trace.SourceNotSet
	if a.Source != nil {
		if out.Source.Kind, err = a.Source.Type.source(); err != nil {
			return out, err
		}
		out.Source.ID = a.Source.ID
	}
	if a.Created != nil {
		out.CreatedAt = time.Time(*a.Created)
	}
	if a.Updated != nil {
		out.UpdatedAt = time.Time(*a.Updated)
	}
	return out, nil
}

func fromAssessment(id string, a trace.Assessment) assessment {
	created, updated := stamp(a.CreatedAt.Truncate(time.Millisecond)), stamp(a.UpdatedAt.Truncate(time.Millisecond))
	out := assessment{ID: a.ID, Name: a.Name, Trace: id, Span: a.Span, Created: &created, Updated: &updated, Rationale: a.Rationale, Metadata: a.Metadata, Overrides: a.Overrides, Valid: &a.Valid,
		Source: &assessmentSource{Type: constant(strings.ToUpper(a.Source.Kind)), ID: a.Source.ID}}
	switch a.Kind {
	case trace.Feedback:
		out.Feedback = &struct {
			Value json.RawMessage  `json:"value"`
			Error *assessmentError `json:"error,omitempty"`
		}{Value: a.Value}
		if f := a.Error; f != nil {
			out.Feedback.Error = &assessmentError{f.Code, f.Message, f.Stack}
		}
	case trace.Expectation:
		out.Expectation = &struct {
			Value      json.RawMessage `json:"value,omitempty"`
			Serialized *serialized     `json:"serialized_value,omitempty"`
		}{}
		if v := a.Value[0]; v == '{' || v == '[' { // as MLflow has it, only plain values are protobuf values
			out.Expectation.Serialized = &serialized{"JSON_FORMAT", string(a.Value)}
		} else {
			out.Expectation.Value = a.Value
		}
	case trace.Issue:
		var name string
		_ = json.Unmarshal(a.Value, &name) // it was written from a string
		out.Issue = &struct {
			Name string `json:"issue_name"`
		}{name}
	}
	return out
}

// appendSpan writes a span as protobuf's JSON with the names of the fields as they are defined: ids in base64, times as
// numbers, attributes with the type of their value.
func appendSpan(b []byte, id string, s *trace.Span) []byte {
	b = append(b, `{"trace_id":`...)
	b = appendBytes(b, s.TraceId)
	b = append(b, `,"span_id":`...)
	b = appendBytes(b, s.SpanId)
	if len(s.ParentSpanId) > 0 {
		b = append(b, `,"parent_span_id":`...)
		b = appendBytes(b, s.ParentSpanId)
	}
	b = append(b, `,"name":`...)
	b = trace.AppendString(b, s.Name)
	b = append(b, `,"start_time_unix_nano":`...)
	b = strconv.AppendUint(b, s.StartTimeUnixNano, 10)
	if s.EndTimeUnixNano > 0 {
		b = append(b, `,"end_time_unix_nano":`...)
		b = strconv.AppendUint(b, s.EndTimeUnixNano, 10)
	}
	b = append(b, `,"attributes":`...)
	b = appendPairs(b, append([]*commonpb.KeyValue{{Key: requestID, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: id}}}}, without(trace.Translated(s), requestID)...))
	if len(s.Events) > 0 {
		b = append(b, `,"events":[`...)
		for i, e := range s.Events {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"time_unix_nano":`...)
			b = strconv.AppendUint(b, e.GetTimeUnixNano(), 10)
			b = append(b, `,"name":`...)
			b = trace.AppendString(b, e.GetName())
			b = append(b, `,"attributes":`...)
			b = append(appendPairs(b, e.GetAttributes()), '}')
		}
		b = append(b, ']')
	}
	if len(s.Links) > 0 {
		b = append(b, `,"links":[`...)
		for i, l := range s.Links {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"trace_id":`...)
			b = appendBytes(b, l.GetTraceId())
			b = append(b, `,"span_id":`...)
			b = appendBytes(b, l.GetSpanId())
			b = append(b, `,"attributes":`...)
			b = append(appendPairs(b, l.GetAttributes()), '}')
		}
		b = append(b, ']')
	}
	b = append(b, `,"status":{`...)
	if m := s.GetStatus().GetMessage(); m != "" {
		b = append(b, `"message":`...)
		b = append(trace.AppendString(b, m), ',')
	}
	b = append(b, `"code":"STATUS_CODE_`...)
	b = append(b, trace.Status(s)...)
	return append(b, `"}}`...)
}

// requestID is the attribute in which MLflow keeps the id of the trace.
const requestID = "mlflow.traceRequestId"

func without(list []*commonpb.KeyValue, key string) (out []*commonpb.KeyValue) {
	for _, kv := range list {
		if kv.GetKey() != key {
			out = append(out, kv)
		}
	}
	return out
}

func appendPairs(b []byte, list []*commonpb.KeyValue) []byte {
	b = append(b, '[')
	for i, kv := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"key":`...)
		b = trace.AppendString(b, kv.GetKey())
		b = append(b, `,"value":`...)
		b = append(appendAny(b, kv.GetValue()), '}')
	}
	return append(b, ']')
}

func appendAny(b []byte, v *commonpb.AnyValue) []byte {
	switch x := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		b = append(b, `{"string_value":`...)
	case *commonpb.AnyValue_BoolValue:
		b = append(b, `{"bool_value":`...)
	case *commonpb.AnyValue_IntValue:
		b = append(b, `{"int_value":`...)
	case *commonpb.AnyValue_DoubleValue:
		b = append(b, `{"double_value":`...)
	case *commonpb.AnyValue_BytesValue:
		b = append(b, `{"bytes_value":`...)
	case *commonpb.AnyValue_ArrayValue:
		b = append(b, `{"array_value":{"values":[`...)
		for i, e := range x.ArrayValue.GetValues() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendAny(b, e)
		}
		return append(b, `]}}`...)
	case *commonpb.AnyValue_KvlistValue:
		b = append(b, `{"kvlist_value":{"values":`...)
		return append(appendPairs(b, x.KvlistValue.GetValues()), `}}`...)
	default:
		return append(b, `{}`...)
	}
	return append(trace.AppendValue(b, v), '}')
}

func appendBytes(b []byte, v []byte) []byte {
	return trace.AppendValue(b, &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: v}})
}
