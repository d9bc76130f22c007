package trace

import (
	"encoding/json"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"keelson/internal/problem"
)

func export(spans ...*Span) *collector.ExportTraceServiceRequest {
	return &collector.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{str("service.name", "shop"), str("telemetry.sdk.name", "x")}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}}}}}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// nested is a value of n lists inside each other.
func nested(n int) *commonpb.AnyValue {
	v := &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 1}}
	for range n {
		v = &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{v}}}}
	}
	return v
}

func with(s *Span, change func(*Span)) *Span { change(s); return s }

func TestDecode(t *testing.T) {
	const hexIDs = `"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708"`
	ok := func(spans string) string { return `{"resourceSpans":[{"scopeSpans":[{"spans":[` + spans + `]}]}]}` }
	many := make([]*Span, MaxRequestSpans+1)
	for i := range many {
		many[i] = span(1, i+1, 0, 1, "s")
	}
	for _, c := range []struct {
		name   string
		body   []byte
		asJSON bool
		want   int // spans; negative: refused
	}{
		{"protobuf", encoded(t, export(span(1, 1, 0, 1, "a"), span(2, 1, 0, 1, "b"), span(1, 2, 1, 1, "c"))), false, 3},
		{"JSON with hexadecimal ids", []byte(ok(`{` + hexIDs + `,"name":"a","startTimeUnixNano":"1","kind":2,"status":{"code":2},"attributes":[{"key":"k","value":{"intValue":"7"}}]}`)), true, 1},
		{"JSON with fields of the future", []byte(ok(`{` + hexIDs + `,"name":"a","future":{"x":[1]}}`)), true, 1},
		{"no spans at all", encoded(t, &collector.ExportTraceServiceRequest{}), false, -1},
		{"an empty body", nil, false, -1},
		{"bytes that are no protobuf", []byte("nonsense"), false, -1},
		{"half a message", encoded(t, export(span(1, 1, 0, 1, "a")))[:20], false, -1},
		{"a trace id of zeros", encoded(t, export(with(span(1, 1, 0, 1, "a"), func(s *Span) { s.TraceId = make([]byte, 16) }))), false, -1},
		{"a trace id that is short", encoded(t, export(with(span(1, 1, 0, 1, "a"), func(s *Span) { s.TraceId = []byte{1} }))), false, -1},
		{"no span id", encoded(t, export(with(span(1, 1, 0, 1, "a"), func(s *Span) { s.SpanId = nil }))), false, -1},
		{"a parent of three bytes", encoded(t, export(with(span(1, 1, 0, 1, "a"), func(s *Span) { s.ParentSpanId = []byte{1, 2, 3} }))), false, -1},
		{"a parent of zeros is none", encoded(t, export(with(span(1, 1, 0, 1, "a"), func(s *Span) { s.ParentSpanId = make([]byte, 8) }))), false, 1},
		{"a time beyond the calendar", encoded(t, export(with(span(1, 1, 0, 1, "a"), func(s *Span) { s.EndTimeUnixNano = 1 << 63 }))), false, -1},
		{"values as deep as may be", encoded(t, export(span(1, 1, 0, 1, "a", &commonpb.KeyValue{Key: "k", Value: nested(maxDepth - 2)}))), false, 1},
		{"values that are too deep", encoded(t, export(span(1, 1, 0, 1, "a", &commonpb.KeyValue{Key: "k", Value: nested(maxDepth + 10)}))), false, -1},
		{"more spans than a request may have", encoded(t, export(many...)), false, -1},
		{"half a JSON document", []byte(`{"resourceSpans":[`), true, -1},
		{"JSON of another shape", []byte(`[1]`), true, -1},
		{"two JSON documents", []byte(ok(`{`+hexIDs+`}`) + `{}`), true, -1},
		{"JSON ids that are not hexadecimal", []byte(ok(`{"traceId":"zz","spanId":"0102030405060708"}`)), true, -1},
		{"JSON that is too deep", []byte(strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat(`}`, 5000)), true, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := Decode(c.body, c.asJSON)
			n := 0
			for _, b := range list {
				n += len(b.Spans)
			}
			if c.want < 0 && !problem.Is(err, problem.Invalid) || c.want >= 0 && (err != nil || n != c.want) {
				t.Errorf("got %d spans and %v, want %d", n, err, c.want)
			}
		})
	}
}

func TestAFileOfSpansIsReadAsItWasWritten(t *testing.T) {
	id := IDOf(traceID(1))
	failed := span(1, 2, 1, 1, `na"me ü`, &commonpb.KeyValue{Key: "deep", Value: toValue(map[string]any{"a": []any{json.Number("1"), json.Number("2.0"), nil, true}})}, str("mlflow.spanType", "LLM"))
	failed.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "broke"}
	failed.Events = []*tracepb.Span_Event{{Name: "exception", TimeUnixNano: 7, Attributes: []*commonpb.KeyValue{str("exception.type", "E")}}}
	failed.Links = []*tracepb.Span_Link{{TraceId: traceID(9), SpanId: spanID(9), Attributes: []*commonpb.KeyValue{str("k", "v")}}}
	list := []*Span{span(1, 1, 0, 5, "root"), failed}
	file := AppendFile(nil, id, list)
	if !json.Valid(file) {
		t.Fatalf("not JSON: %s", file)
	}
	got, ok, err := ReadFile(file, id)
	if err != nil || !ok || len(got) != 2 {
		t.Fatalf("read back: %v %v %v", got, ok, err)
	}
	again := AppendFile(nil, id, got)
	if string(again) != string(file) {
		t.Errorf("written again it is\n%s\nand was\n%s", again, file)
	}
	if _, ok, err := ReadFile(file, "tr-other"); ok || err != nil {
		t.Errorf("the file of another trace gives %v %v, want that it stays a file", ok, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, export(span(1, 1, 0, 1, "a", str("k", "v")), with(span(2, 1, 1, 1, "b"), func(s *Span) {
		s.Events = []*tracepb.Span_Event{{Name: "e"}}
		s.Links = []*tracepb.Span_Link{{TraceId: traceID(1)}}
	}))), false)
	f.Add([]byte(`{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"stringValue":"b"}}]},"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"n","events":[{"name":"e"}],"attributes":[{"key":"k","value":{"arrayValue":{"values":[{"doubleValue":1.5}]}}}]}]}]}]}`), true)
	f.Add([]byte(`{"resourceSpans":[null,{"scopeSpans":[{"spans":[null,{"links":[null]}]}]}]}`), true)
	f.Fuzz(func(t *testing.T, body []byte, asJSON bool) {
		list, err := Decode(body, asJSON)
		if err != nil {
			if !problem.Is(err, problem.Invalid) {
				t.Errorf("%v is no refusal", err)
			}
			return
		}
		for _, b := range list {
			b.Spans = distinct(b.Spans)
			_ = observe(b)
			_, _ = sum(b.Spans)
			p, err := pack(b.Spans)
			if err != nil {
				t.Fatal(err)
			}
			back, err := unpack(p.data)
			if err != nil || len(back) != len(b.Spans) || len(p.ids) != 8*len(back) {
				t.Fatalf("%d spans came back as %d: %v", len(b.Spans), len(back), err)
			}
			inOrder(back)
			roots, _ := tree(back)
			if _, err := json.Marshal(roots); err != nil {
				t.Fatalf("the tree is no JSON: %v", err)
			}
			if n := size(roots); n != min(len(back), maxShown) {
				t.Fatalf("%d spans make a tree of %d", len(back), n)
			}
			file := AppendFile(nil, b.Trace, back)
			if !json.Valid(file) {
				t.Fatalf("the file is no JSON: %s", file)
			}
		}
	})
}

func size(list []*SpanView) int {
	n := len(list)
	for _, v := range list {
		n += size(v.Children)
	}
	return n
}

func FuzzAssessment(f *testing.F) {
	for _, s := range []string{`true`, `"yes"`, `0.5`, `{"a":[1,null]}`, `[`, `1e999`, "\"\xff\"", `"\ud800"`} {
		f.Add("good", "why", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name, rationale string, value []byte) {
		a := Assessment{Name: name, Kind: Feedback, Rationale: rationale, Value: value, Source: Source{Kind: Code}}
		if err := a.check(); err != nil {
			if !problem.Is(err, problem.Invalid) {
				t.Errorf("%v is no refusal", err)
			}
			return
		}
		if !json.Valid(a.Value) {
			t.Errorf("%q is no JSON", a.Value)
		}
		for _, s := range []string{a.Name, a.Rationale, a.text(), string(a.Value)} {
			if clean(s) != s {
				t.Errorf("%q does not fit a text column", s)
			}
		}
		_, _ = a.number()
		if again := a; again.check() != nil || string(again.Value) != string(a.Value) {
			t.Errorf("checked again it is %q, was %q", again.Value, a.Value)
		}
	})
}

func FuzzReadFile(f *testing.F) {
	id := IDOf(traceID(1))
	f.Add(AppendFile(nil, id, []*Span{span(1, 1, 0, 5, "root", str("k", "v")), span(1, 2, 1, 1, "child")}))
	f.Add([]byte(`{"spans":[{"context":{"trace_id":"0x1"}}]}`))
	f.Add([]byte(`{"spans":[{"trace_id":"tr-01","span_id":"1","attributes":{"a":1}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, ok, err := ReadFile(body, id)
		if err != nil && !problem.Is(err, problem.Invalid) {
			t.Errorf("%v is no refusal", err)
		}
		if ok && err == nil {
			if _, err := pack(spans); err != nil {
				t.Errorf("spans that were read cannot be kept: %v", err)
			}
		}
	})
}

func TestTreesOfAnyShapeHoldEverySpanOnce(t *testing.T) {
	deep := []*Span{span(1, 1, 0, 1, "root")}
	for i := 2; i <= 3000; i++ {
		deep = append(deep, span(1, i, i-1, 1, "s"))
	}
	for name, list := range map[string][]*Span{
		"a chain":              deep,
		"a circle":             {span(1, 1, 3, 1, "a"), span(1, 2, 1, 1, "b"), span(1, 3, 2, 1, "c")},
		"a span above itself":  {span(1, 1, 1, 1, "a"), span(1, 2, 1, 1, "b")},
		"a parent not there":   {span(1, 2, 1, 1, "a"), span(1, 3, 2, 1, "b")},
		"a circle with a tail": {span(1, 1, 2, 1, "a"), span(1, 2, 1, 1, "b"), span(1, 3, 2, 1, "c"), span(1, 4, 3, 1, "d")},
	} {
		roots, _ := tree(list)
		if n := size(roots); n != len(list) {
			t.Errorf("%s: %d spans make a tree of %d", name, len(list), n)
		}
	}
}
