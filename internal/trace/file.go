package trace

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"keelson/internal/problem"
)

// FileName is the file in which clients keep the spans of a trace beside its record.
const FileName = "traces.json"

// AppendFile writes the spans of a trace as such a file has them: {"spans": [...]}, ids in base64, every attribute a text
// of JSON.
func AppendFile(b []byte, id string, spans []*Span) []byte {
	b = append(b, `{"spans":[`...)
	for i, s := range spans {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"trace_id":`...)
		b = appendBase64(b, s.TraceId)
		b = append(b, `,"span_id":`...)
		b = appendBase64(b, s.SpanId)
		b = append(b, `,"parent_span_id":`...)
		if len(s.ParentSpanId) > 0 {
			b = appendBase64(b, s.ParentSpanId)
		} else {
			b = append(b, `null`...)
		}
		b = append(b, `,"name":`...)
		b = AppendString(b, s.Name)
		b = append(b, `,"start_time_unix_nano":`...)
		b = strconv.AppendUint(b, s.StartTimeUnixNano, 10)
		b = append(b, `,"end_time_unix_nano":`...)
		if s.EndTimeUnixNano > 0 {
			b = strconv.AppendUint(b, s.EndTimeUnixNano, 10)
		} else {
			b = append(b, `null`...)
		}
		b = append(b, `,"events":[`...)
		for j, e := range s.Events {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"name":`...)
			b = AppendString(b, e.GetName())
			b = append(b, `,"time_unix_nano":`...)
			b = strconv.AppendUint(b, e.GetTimeUnixNano(), 10)
			b = append(b, `,"attributes":`...)
			b = appendObject(b, e.GetAttributes())
			b = append(b, '}')
		}
		b = append(b, `],"status":{"code":"STATUS_CODE_`...)
		b = append(b, Status(s)...)
		b = append(b, `","message":`...)
		b = AppendString(b, s.GetStatus().GetMessage())
		b = append(b, `},"attributes":{"`+keyRequestID+`":`...)
		b = AppendString(b, string(AppendString(nil, id)))
		for _, kv := range Translated(s) {
			if kv.Key == keyRequestID {
				continue
			}
			b = append(b, ',')
			b = append(AppendString(b, kv.Key), ':')
			b = AppendString(b, string(AppendValue(nil, kv.Value)))
		}
		b = append(b, `},"links":[`...)
		for j, l := range s.Links {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"trace_id":`...)
			b = AppendString(b, IDOf(l.GetTraceId()))
			b = append(b, `,"span_id":`...)
			b = AppendString(b, HexID(l.GetSpanId()))
			b = append(b, `,"attributes":`...)
			b = appendObject(b, l.GetAttributes())
			b = append(b, '}')
		}
		b = append(b, `]}`...)
	}
	return append(b, `]}`...)
}

func appendObject(b []byte, list []*commonpb.KeyValue) []byte {
	return AppendValue(b, &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: list}}})
}

type fileSpan struct {
	Trace      string                     `json:"trace_id"`
	ID         string                     `json:"span_id"`
	Parent     string                     `json:"parent_span_id"`
	Name       string                     `json:"name"`
	Start      json.Number                `json:"start_time_unix_nano"`
	End        json.Number                `json:"end_time_unix_nano"`
	Attributes map[string]json.RawMessage `json:"attributes"`
	Status     struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"status"`
	Events []struct {
		Name       string                     `json:"name"`
		At         json.Number                `json:"time_unix_nano"`
		Attributes map[string]json.RawMessage `json:"attributes"`
	} `json:"events"`
	Links []struct {
		Trace      string                     `json:"trace_id"`
		Span       string                     `json:"span_id"`
		Attributes map[string]json.RawMessage `json:"attributes"`
	} `json:"links"`
	Context json.RawMessage `json:"context"` // only in files of clients before MLflow 3
}

// ReadFile reads such a file of trace id. ok is false when it is one of a client before MLflow 3, or its spans bear the
// name of another trace: then it stays a file. What cannot be read is Invalid.
func ReadFile(body []byte, id string) (spans []*Span, ok bool, err error) {
	bad := func(why string) ([]*Span, bool, error) {
		return nil, false, problem.New(problem.Invalid, "%s of trace %s cannot be read: %s.", FileName, problem.Clip(id, 100), why).At("path")
	}
	if depth(body) > 2*maxDepth {
		return bad("it is nested too deeply")
	}
	var doc struct {
		Spans []fileSpan `json:"spans"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return bad("it is no JSON with a list of spans")
	}
	if len(doc.Spans) > MaxSpans {
		return bad("it has more than " + strconv.Itoa(MaxSpans) + " spans")
	}
	for i := range doc.Spans {
		f := &doc.Spans[i]
		if len(f.Context) > 0 {
			return nil, false, nil
		}
		s := &Span{Name: f.Name, Status: &tracepb.Status{Message: f.Status.Message}}
		if s.TraceId, err = fileID(f.Trace, 16); err != nil {
			return bad("a trace_id is no identifier")
		}
		if IDOf(s.TraceId) != id {
			return nil, false, nil
		}
		if s.SpanId, err = fileID(f.ID, 8); err != nil {
			return bad("a span_id is no identifier")
		}
		if f.Parent != "" {
			if s.ParentSpanId, err = fileID(f.Parent, 8); err != nil {
				return bad("a parent_span_id is no identifier")
			}
		}
		s.StartTimeUnixNano, s.EndTimeUnixNano = nanos(f.Start), nanos(f.End)
		switch strings.TrimPrefix(f.Status.Code, "STATUS_CODE_") {
		case "OK":
			s.Status.Code = tracepb.Status_STATUS_CODE_OK
		case "ERROR":
			s.Status.Code = tracepb.Status_STATUS_CODE_ERROR
		}
		s.Attributes = fileAttributes(f.Attributes, true)
		for _, e := range f.Events {
			s.Events = append(s.Events, &tracepb.Span_Event{Name: e.Name, TimeUnixNano: nanos(e.At), Attributes: fileAttributes(e.Attributes, false)})
		}
		for _, l := range f.Links {
			trace, err1 := fileID(l.Trace, 16)
			span, err2 := fileID(l.Span, 8)
			if err1 == nil && err2 == nil {
				s.Links = append(s.Links, &tracepb.Span_Link{TraceId: trace, SpanId: span, Attributes: fileAttributes(l.Attributes, false)})
			}
		}
		if err := checkSpan(s); err != nil {
			return nil, false, err
		}
		spans = append(spans, s)
	}
	return spans, true, nil
}

// fileID reads an identifier of n bytes in base64 or hexadecimal, with or without "tr-" or "0x".
func fileID(s string, n int) ([]byte, error) {
	if len(s) == base64.StdEncoding.EncodedLen(n) && strings.HasSuffix(s, "=") {
		return base64.StdEncoding.DecodeString(s)
	}
	h := strings.TrimPrefix(strings.TrimPrefix(s, "tr-"), "0x")
	if len(h) > 2*n {
		return nil, hex.ErrLength
	}
	return hex.DecodeString(strings.Repeat("0", 2*n-len(h)) + h)
}

func nanos(n json.Number) uint64 {
	v, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil || v < 0 {
		return 0
	}
	return uint64(v)
}

// fileAttributes reads attributes; dumped says that each is a text of JSON.
func fileAttributes(m map[string]json.RawMessage, dumped bool) (out []*commonpb.KeyValue) {
	for _, k := range sortedKeys(m) {
		raw := m[k]
		if dumped {
			var text string
			if json.Unmarshal(raw, &text) == nil && json.Valid([]byte(text)) && depth([]byte(text)) <= maxDepth {
				raw = json.RawMessage(text)
			}
		}
		out = append(out, &commonpb.KeyValue{Key: clean(k), Value: fromJSON(raw)})
	}
	return out
}

// fromJSON is a JSON value as OpenTelemetry has it.
func fromJSON(raw json.RawMessage) *commonpb.AnyValue {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: clean(string(raw))}}
	}
	return toValue(v)
}

func toValue(v any) *commonpb.AnyValue {
	switch v := v.(type) {
	case string:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: clean(v)}}
	case bool:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: n}}
		}
		f, _ := v.Float64()
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: f}}
	case []any:
		list := &commonpb.ArrayValue{}
		for _, x := range v {
			list.Values = append(list.Values, toValue(x))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}
	case map[string]any:
		list := &commonpb.KeyValueList{}
		for _, k := range sortedKeys(v) {
			list.Values = append(list.Values, &commonpb.KeyValue{Key: clean(k), Value: toValue(v[k])})
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: list}}
	}
	return &commonpb.AnyValue{}
}

// Upload takes the file of spans of a trace that is there. Spans that are kept already are not stored again. kept is
// false when the file cannot become spans and stays a file.
func (s *Service) Upload(ctx context.Context, experiment, id string, body []byte) (kept bool, err error) {
	t, err := s.Get(ctx, id)
	if err != nil {
		return false, err
	}
	if t.Experiment != experiment {
		return false, noTrace(id)
	}
	spans, ok, err := ReadFile(body, id)
	if err != nil || !ok || len(spans) == 0 {
		return ok && err == nil, err
	}
	there, err := s.Spans(ctx, []string{id})
	if err != nil {
		return false, err
	}
	known := map[string]bool{}
	for _, x := range there[id] {
		known[string(x.SpanId)] = true
	}
	var missing []*Span
	for _, x := range spans {
		if !known[string(x.SpanId)] {
			missing = append(missing, x)
		}
	}
	if len(missing) == 0 {
		return true, nil
	}
	return true, s.Receive(ctx, experiment, "", []Batch{{Trace: id, Spans: missing}})
}
