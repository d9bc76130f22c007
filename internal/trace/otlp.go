package trace

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"keelson/internal/problem"
)

// Span is a span as OpenTelemetry has it. Trace and span ids are 16 and 8 bytes and not zero once Decode let it pass.
type Span = tracepb.Span

// maxDepth is how deep values of attributes may be nested; the decoder counts two messages for each level, and a few
// around them.
const maxDepth = 64

// Batch is the spans of one trace that came in one request. Resource describes what produced them.
type Batch struct {
	Trace    string
	Spans    []*Span
	Resource []*commonpb.KeyValue
}

// IDOf is MLflow's name of an OpenTelemetry trace.
func IDOf(trace []byte) string { return "tr-" + hex.EncodeToString(trace) }

// Decode reads an OTLP trace export: protobuf, or (asJSON) JSON whose ids are hexadecimal. The batches come sorted by
// trace. What cannot be read, has no spans, more than MaxRequestSpans, or a span without proper ids is Invalid.
func Decode(body []byte, asJSON bool) ([]Batch, error) {
	var req collector.ExportTraceServiceRequest
	if asJSON {
		if err := decodeJSON(body, &req); err != nil {
			return nil, problem.New(problem.Invalid, "Invalid OpenTelemetry format: the body is no OTLP JSON (%s).", problem.Clip(err.Error(), 200)).Because(err)
		}
	} else if err := (proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 2*maxDepth + 8}).Unmarshal(body, &req); err != nil {
		return nil, problem.New(problem.Invalid, "Invalid OpenTelemetry format: the body is no OTLP protobuf of a trace export, or its values are nested deeper than %d levels.", maxDepth).Because(err)
	}
	if len(req.ResourceSpans) == 0 {
		return nil, problem.New(problem.Invalid, "Invalid OpenTelemetry format - no spans found.")
	}
	at := map[string]int{}
	var out []Batch
	n := 0
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				if n++; n > MaxRequestSpans {
					return nil, problem.New(problem.Invalid, "A request has at most %d spans; send them in several.", MaxRequestSpans)
				}
				if err := checkSpan(s); err != nil {
					return nil, err
				}
				id := IDOf(s.TraceId)
				i, ok := at[id]
				if !ok {
					i = len(out)
					at[id] = i
					out = append(out, Batch{Trace: id})
				}
				b := &out[i]
				b.Spans = append(b.Spans, s)
				if b.Resource == nil {
					b.Resource = rs.GetResource().GetAttributes()
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Batch) int { return bytes.Compare([]byte(a.Trace), []byte(b.Trace)) })
	return out, nil
}

var noID [16]byte

func checkSpan(s *Span) error {
	switch {
	case s == nil:
		return problem.New(problem.Invalid, "A span is null.")
	case len(s.TraceId) != 16 || bytes.Equal(s.TraceId, noID[:]):
		return problem.New(problem.Invalid, "Span '%s' has no trace id of 16 bytes.", problem.Clip(s.Name, 80)).At("trace_id")
	case len(s.SpanId) != 8 || bytes.Equal(s.SpanId, noID[:8]):
		return problem.New(problem.Invalid, "Span '%s' has no span id of 8 bytes.", problem.Clip(s.Name, 80)).At("span_id")
	case len(s.ParentSpanId) != 0 && len(s.ParentSpanId) != 8:
		return problem.New(problem.Invalid, "The parent of span '%s' is no span id of 8 bytes.", problem.Clip(s.Name, 80)).At("parent_span_id")
	case s.StartTimeUnixNano > 1<<63-1 || s.EndTimeUnixNano > 1<<63-1:
		return problem.New(problem.Invalid, "A time of span '%s' is after the year 2262.", problem.Clip(s.Name, 80)).At("spans")
	case len(s.Attributes) > 10_000 || len(s.Events) > 10_000 || len(s.Links) > 10_000:
		return problem.New(problem.Invalid, "Span '%s' has more than 10000 attributes, events or links.", problem.Clip(s.Name, 80)).At("spans")
	}
	if bytes.Equal(s.ParentSpanId, noID[:8]) {
		s.ParentSpanId = nil
	}
	s.Attributes = slices.DeleteFunc(s.Attributes, func(kv *commonpb.KeyValue) bool { return kv == nil })
	return nil
}

// decodeJSON reads OTLP JSON, which is protobuf's but for trace and span ids: those are hexadecimal, not base64.
func decodeJSON(body []byte, req proto.Message) error {
	if depth(body) > 3*maxDepth+16 { // a level of a value is written as {"kvlistValue":{"values":[{…}]}}
		return fmt.Errorf("it is nested too deeply")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("something follows the document")
	}
	if err := rewriteIDs(doc); err != nil {
		return err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 2*maxDepth + 8}.Unmarshal(b, req)
}

// rewriteIDs turns the ids of all spans and links from hexadecimal into base64.
func rewriteIDs(doc map[string]any) error {
	each := func(v any, names ...string) (out []map[string]any) {
		m, _ := v.(map[string]any)
		for _, n := range names {
			list, _ := m[n].([]any)
			for _, x := range list {
				if o, ok := x.(map[string]any); ok {
					out = append(out, o)
				}
			}
		}
		return out
	}
	ids := func(m map[string]any) error {
		for _, k := range []string{"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"} {
			s, ok := m[k].(string)
			if !ok || s == "" {
				continue
			}
			b, err := hex.DecodeString(s)
			if err != nil {
				return fmt.Errorf("%s %q is not hexadecimal", k, problem.Clip(s, 40))
			}
			m[k] = base64.StdEncoding.EncodeToString(b)
		}
		return nil
	}
	for _, rs := range each(doc, "resourceSpans", "resource_spans") {
		for _, ss := range each(rs, "scopeSpans", "scope_spans") {
			for _, s := range each(ss, "spans") {
				if err := ids(s); err != nil {
					return err
				}
				for _, l := range each(s, "links") {
					if err := ids(l); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// depth is how deep brackets and braces of a JSON text are nested.
func depth(b []byte) (deepest int) {
	n, in := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case in && c == '\\':
			i++
		case c == '"':
			in = !in
		case in:
		case c == '{' || c == '[':
			n++
			deepest = max(deepest, n)
		case c == '}' || c == ']':
			n--
		}
	}
	return deepest
}
