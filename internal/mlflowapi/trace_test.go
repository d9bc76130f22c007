package mlflowapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/trace"
)

const traceHex = "0102030405060708090a0b0c0d0e0f10"

// otlp is an export of n spans of one trace, the first of them its root.
func otlp(t testing.TB, traceByte byte, n int) []byte {
	t.Helper()
	id := []byte{traceByte, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	var spans []*tracepb.Span
	for i := range n {
		s := &tracepb.Span{TraceId: id, SpanId: []byte{0, 0, 0, 0, 0, 0, byte(i >> 8), byte(i + 1)}, Name: fmt.Sprintf("s%d", i), StartTimeUnixNano: 1e18, EndTimeUnixNano: 1e18 + 1e9}
		if i > 0 {
			s.ParentSpanId = spans[0].SpanId
		}
		spans = append(spans, s)
	}
	b, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *server) exchange(t testing.TB, method, path, token string, body []byte, headers ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

func packedBody(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func TestOTLPOverHTTP(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		const proto, text, at = "application/x-protobuf", "application/json", "X-Mlflow-Experiment-Id"
		for _, c := range []struct {
			name    string
			body    []byte
			headers []string
			code    int
			want    string
		}{
			{"protobuf answers protobuf without bytes", otlp(t, 1, 3), []string{"Content-Type", proto, at, "0"}, 200, ""},
			{"parameters of the type do not matter", otlp(t, 1, 3), []string{"Content-Type", proto + "; charset=utf-8", at, "0"}, 200, ""},
			{"packed", packedBody(otlp(t, 2, 2)), []string{"Content-Type", proto, "Content-Encoding", "gzip", at, "0"}, 200, ""},
			{"JSON answers JSON", []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"030405060708090a0b0c0d0e0f101112","spanId":"0000000000000001","name":"j"}]}]}]}`), []string{"Content-Type", text, at, "0"}, 200, "{}"},
			{"no experiment is named", otlp(t, 1, 1), []string{"Content-Type", proto}, 422, "x-mlflow-experiment-id"},
			{"an experiment that is no number", otlp(t, 1, 1), []string{"Content-Type", proto, at, "../1"}, 400, "INVALID_PARAMETER_VALUE"},
			{"an experiment that is not there", otlp(t, 1, 1), []string{"Content-Type", proto, at, "77"}, 404, "RESOURCE_DOES_NOT_EXIST"},
			{"a run that is not there", otlp(t, 1, 1), []string{"Content-Type", proto, at, "0", "X-Mlflow-Run-Id", "none"}, 404, "RESOURCE_DOES_NOT_EXIST"},
			{"another type", otlp(t, 1, 1), []string{"Content-Type", "text/plain", at, "0"}, 400, "Content-Type"},
			{"malformed", []byte("nonsense"), []string{"Content-Type", proto, at, "0"}, 400, "Invalid OpenTelemetry format"},
			{"nothing", nil, []string{"Content-Type", proto, at, "0"}, 400, "no spans found"},
			{"said to be packed and is not", otlp(t, 1, 1), []string{"Content-Type", proto, "Content-Encoding", "gzip", at, "0"}, 400, "decompress"},
			{"packed in a way nobody knows", otlp(t, 1, 1), []string{"Content-Type", proto, "Content-Encoding", "br", at, "0"}, 400, "Unsupported Content-Encoding"},
			{"a small body that unpacks to a large one", packedBody(make([]byte, maxSpanBody+1)), []string{"Content-Type", proto, "Content-Encoding", "gzip", at, "0"}, 413, "at most"},
		} {
			if code, body, h := s.exchange(t, "POST", "/v1/traces", "ada", c.body, c.headers...); code != c.code || !strings.Contains(body, c.want) || code == 200 && !strings.HasPrefix(c.headers[1], h.Get("Content-Type")) {
				t.Errorf("%s: got %d %q %v, want %d %q", c.name, code, body, h.Get("Content-Type"), c.code, c.want)
			}
		}
		code, body, _ := s.exchange(t, "GET", "/api/3.0/mlflow/traces/get?trace_id=tr-"+traceHex, "ada", nil)
		for _, want := range []string{`"spans":[{"trace_id":"AQIDBAUGBwgJCgsMDQ4PEA=="`, `"start_time_unix_nano":1000000000000000000`, `"execution_duration":"1s"`, `"state":"OK"`} {
			if code != 200 || !strings.Contains(body, want) {
				t.Errorf("the trace is %d %s, want %s in it", code, body, want)
			}
		}
	})
}

func TestEverybodyNeedsAPermissionForTraces(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	if code, body, _ := s.exchange(t, "POST", "/v1/traces", "ada", otlp(t, 1, 2), "Content-Type", "application/x-protobuf", "X-Mlflow-Experiment-Id", "0"); code != 200 {
		t.Fatalf("export: %d %s", code, body)
	}
	id := "tr-" + traceHex
	file := "/2.0/mlflow-artifacts/artifacts/0/traces/" + id + "/artifacts/"
	for _, c := range []struct {
		method, path, body string
		auditor            int // of an auditor, who may read
	}{
		{"POST", "/3.0/mlflow/traces", `{"trace":{"trace_info":{"trace_id":"x","trace_location":{"mlflow_experiment":{"experiment_id":"0"}},"request_time":"2026-01-01T00:00:00Z"}}}`, 403},
		{"GET", "/3.0/mlflow/traces/" + id, "", 200},
		{"GET", "/3.0/mlflow/traces/get?trace_id=" + id, "", 200},
		{"GET", "/3.0/mlflow/traces/batchGet?trace_ids=" + id, "", 200},
		{"POST", "/3.0/mlflow/traces/batchGetInfos", `{"trace_ids":["` + id + `"]}`, 200},
		{"POST", "/3.0/mlflow/traces/search", `{"locations":[{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"0"}}]}`, 200},
		{"POST", "/3.0/mlflow/traces/metrics", `{"experiment_ids":["0"],"view_type":"TRACES","metric_name":"trace_count","aggregations":[{"aggregation_type":"COUNT"}]}`, 200},
		{"POST", "/3.0/mlflow/traces/calculate-filter-correlation", `{"experiment_ids":["0"],"filter_string1":"status = 'OK'","filter_string2":"status = 'ERROR'"}`, 200},
		{"PATCH", "/3.0/mlflow/traces/" + id + "/tags", `{"key":"k","value":"v"}`, 403},
		{"DELETE", "/3.0/mlflow/traces/" + id + "/tags", `{"key":"k"}`, 403},
		{"POST", "/3.0/mlflow/traces/" + id + "/assessments", `{"assessment":{"assessment_name":"a","feedback":{"value":1},"source":{"source_type":"HUMAN"}}}`, 403},
		{"GET", "/3.0/mlflow/traces/" + id + "/assessments/a-none", "", 404},
		{"PATCH", "/3.0/mlflow/traces/" + id + "/assessments/a-none", `{"assessment":{"assessment_name":"a"},"update_mask":"rationale"}`, 403},
		{"DELETE", "/3.0/mlflow/traces/" + id + "/assessments/a-none", "", 403},
		{"POST", "/3.0/mlflow/traces/delete-traces", `{"experiment_id":"0","request_ids":["x"]}`, 403},
		{"POST", "/2.0/mlflow/traces", `{"experiment_id":"0","timestamp_ms":1}`, 403},
		{"PATCH", "/2.0/mlflow/traces/" + id, `{"timestamp_ms":1,"status":"OK"}`, 403},
		{"GET", "/2.0/mlflow/traces/" + id + "/info", "", 200},
		{"GET", "/2.0/mlflow/traces?experiment_ids=0", "", 200},
		{"PATCH", "/2.0/mlflow/traces/" + id + "/tags", `{"key":"k","value":"v"}`, 403},
		{"DELETE", "/2.0/mlflow/traces/" + id + "/tags", `{"key":"k"}`, 403},
		{"POST", "/2.0/mlflow/traces/delete-traces", `{"experiment_id":"0","request_ids":["x"]}`, 403},
		{"POST", "/2.0/mlflow/traces/link-to-run", `{"trace_ids":["x"],"run_id":"r"}`, 403},
		{"POST", "/2.0/mlflow/traces/link-prompts", `{"trace_id":"x","prompt_versions":[{"name":"p","version":"1"}]}`, 403},
		{"GET", file + "traces.json", "", 200},
		{"PUT", file + "attachments/a", "x", 403},
		{"DELETE", file + "attachments/a", "", 403},
		{"GET", "/2.0/mlflow/get-trace-artifact?request_id=" + id, "", 200},
		{"GET", "/3.0/mlflow/get-trace-artifact?request_id=" + id, "", 200},
	} {
		for _, prefix := range prefixes {
			if strings.Contains(c.path, "get-trace-artifact") && prefix == "/api" {
				continue // only the page has it
			}
			for token, want := range map[string]int{"nobody": 401, "executive": 403, "auditor": c.auditor} {
				code, body, _ := s.exchange(t, c.method, prefix+c.path, token, []byte(c.body), "Content-Type", "application/json")
				if code != want || code >= 400 && !strings.Contains(body, "error_code") {
					t.Errorf("%s %s as %s gives %d %s, want %d", c.method, prefix+c.path, token, code, body, want)
				}
			}
		}
	}
	for token, want := range map[string]int{"nobody": 401, "executive": 403, "auditor": 403} {
		if code, body, _ := s.exchange(t, "POST", "/v1/traces", token, otlp(t, 9, 1), "Content-Type", "application/x-protobuf", "X-Mlflow-Experiment-Id", "0"); code != want {
			t.Errorf("OTLP as %s gives %d %s, want %d", token, code, body, want)
		}
	}
	// neither the proxy's listing nor any other of its ways leads to the files of traces
	for _, p := range []string{"/api/2.0/mlflow-artifacts/artifacts?path=0/traces/" + id + "/artifacts", "/api/2.0/mlflow-artifacts/artifacts/0/traces/" + id + "/artifacts", "/api/2.0/mlflow-artifacts/presigned/0/traces/" + id + "/artifacts/traces.json"} {
		if code, body, _ := s.exchange(t, "GET", p, "executive", nil); code < 400 || code > 499 {
			t.Errorf("GET %s gives %d %s", p, code, body)
		}
	}
}

func TestFilesOfTraces(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		start := `{"trace":{"trace_info":{"trace_id":"tr-` + traceHex + `","trace_location":{"type":1,"mlflow_experiment":{"experiment_id":"0"}},"request_time":"2026-01-01T00:00:00.5Z","execution_duration":"1.25s","state":1,"tags":{"mlflow.traceName":"n"}}}}`
		code, out := s.call(t, "POST", "/api/3.0/mlflow/traces", start)
		b, _ := json.Marshal(out)
		if code != 200 || strings.Contains(string(b), "spansLocation") || !strings.Contains(string(b), `"request_time":"2026-01-01T00:00:00.500Z"`) || !strings.Contains(string(b), `"execution_duration":"1.250s"`) {
			t.Fatalf("start gives %d %s", code, b)
		}
		root := "/api/2.0/mlflow-artifacts/artifacts/0/traces/tr-" + traceHex + "/artifacts/"
		if code, _, _ := s.exchange(t, "GET", root+"traces.json", "ada", nil); code != 404 {
			t.Errorf("spans that are not there give %d", code)
		}
		file := trace.AppendFile(nil, "tr-"+traceHex, []*trace.Span{{TraceId: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, SpanId: []byte{0, 0, 0, 0, 0, 0, 0, 1}, Name: "s0", StartTimeUnixNano: 1e18, EndTimeUnixNano: 1e18 + 1e9}})
		if code, body, _ := s.exchange(t, "PUT", root+"traces.json", "ada", file); code != 200 || body != "{}" {
			t.Fatalf("the file of spans gives %d %s", code, body)
		}
		if code, body, h := s.exchange(t, "GET", root+"traces.json", "ada", nil); code != 200 || body != string(file) || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("the file comes back as %d %s %v, want %s", code, body, h, file)
		}
		// its spans are spans: they are counted, found, and not kept twice when they come by OTLP, too
		if code, body, _ := s.exchange(t, "POST", "/v1/traces", "ada", otlp(t, 1, 2), "Content-Type", "application/x-protobuf", "X-Mlflow-Experiment-Id", "0"); code != 200 {
			t.Fatalf("export: %d %s", code, body)
		}
		if _, body, _ := s.exchange(t, "GET", "/ajax-api/3.0/mlflow/get-trace-artifact?request_id=tr-"+traceHex, "ada", nil); strings.Count(body, `"span_id"`) != 2 {
			t.Errorf("one span in a file and two by OTLP, one of them the same, are %s", body)
		}
		for _, c := range []struct {
			name, method, path, body string
			code                     int
		}{
			{"an attachment", "PUT", root + "attachments/a%2541 b.png", "bytes", 200},
			{"it comes back", "GET", root + "attachments/a%2541 b.png", "", 200},
			{"and for the page", "GET", "/ajax-api/2.0/mlflow/get-trace-artifact?request_id=tr-" + traceHex + "&path=a%2541%20b.png", "", 200},
			{"one that is not there", "GET", root + "attachments/b", "", 404},
			{"a way out", "GET", "/ajax-api/3.0/mlflow/get-trace-artifact?request_id=tr-" + traceHex + "&path=../traces.json", "", 400},
			{"an encoded way out", "GET", root + "attachments/%252e%252e/x", "", 400},
			{"the trace of another experiment", "GET", strings.Replace(root, "artifacts/0/", "artifacts/1/", 1) + "traces.json", "", 404},
			{"a file of a trace that is not there", "PUT", strings.Replace(root, traceHex, "none", 1) + "x", "x", 404},
			{"spans that are no JSON", "PUT", root + "traces.json", "{", 400},
			{"it is deleted", "DELETE", root + "attachments/a%2541 b.png", "", 200},
			{"then it is gone", "GET", root + "attachments/a%2541 b.png", "", 404},
		} {
			if code, body, _ := s.exchange(t, c.method, strings.ReplaceAll(c.path, " ", "%20"), "ada", []byte(c.body)); code != c.code {
				t.Errorf("%s: got %d %s, want %d", c.name, code, body, c.code)
			}
		}
	})
}

func TestTraceQuirks(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	info := func(more string) string {
		return `{"trace":{"trace_info":{"trace_id":"tr-1","trace_location":{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"0"}},"request_time":"2026-01-01T00:00:00Z"` + more + `}}}`
	}
	const one = "/api/3.0/mlflow/traces/tr-1"
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"a trace is wanted", "POST", "/api/3.0/mlflow/traces", `{}`, 400, `Missing value for required parameter 'trace'`},
		{"and its info", "POST", "/api/3.0/mlflow/traces", `{"trace":{}}`, 400, `trace.trace_info`},
		{"a place elsewhere is refused", "POST", "/api/3.0/mlflow/traces", `{"trace":{"trace_info":{"trace_id":"x","trace_location":{"type":"INFERENCE_TABLE"},"request_time":"2026-01-01T00:00:00Z"}}}`, 400, `MLFLOW_EXPERIMENT`},
		{"a time that is none", "POST", "/api/3.0/mlflow/traces", strings.Replace(info(""), "2026-01-01T00:00:00Z", "yesterday", 1), 400, `INVALID_PARAMETER_VALUE`},
		{"a duration that is none", "POST", "/api/3.0/mlflow/traces", info(`,"execution_duration":"1m"`), 400, `INVALID_PARAMETER_VALUE`},
		{"a negative duration", "POST", "/api/3.0/mlflow/traces", info(`,"execution_duration":"-1s"`), 400, `negative`},
		{"a state that is none", "POST", "/api/3.0/mlflow/traces", info(`,"state":"DONE"`), 400, `'state'`},
		{"a trace in progress", "POST", "/api/3.0/mlflow/traces", info(`,"state":"IN_PROGRESS","assessments":[{"assessment_name":"a","source":{"source_type":"AI_JUDGE"},"feedback":{"value":[1,{"b":null}]}}]`), 200, `"source_type":"LLM_JUDGE"`},
		{"is not complete", "GET", "/api/3.0/mlflow/traces/get?trace_id=tr-1", "", 404, `not fully exported`},
		{"but partly there", "GET", "/api/3.0/mlflow/traces/get?trace_id=tr-1&allow_partial=True", "", 200, `"state":"IN_PROGRESS"`},
		{"and not in a batch with spans", "GET", "/api/3.0/mlflow/traces/batchGet?trace_ids=tr-1&trace_ids=none", "", 200, `{}`},
		{"but in one without", "POST", "/ajax-api/3.0/mlflow/traces/batchGetInfos", `{"trace_ids":["none","tr-1"]}`, 200, `"trace_infos"`},
		{"of other experiments there is none", "POST", "/ajax-api/3.0/mlflow/traces/batchGetInfos", `{"trace_ids":["tr-1"],"experiment_ids":["7"]}`, 200, `{}`},
		{"a search wants places", "POST", "/api/3.0/mlflow/traces/search", `{}`, 400, `'locations'`},
		{"and finds nothing as {}", "POST", "/api/3.0/mlflow/traces/search", `{"locations":[{"mlflow_experiment":{"experiment_id":"5"}}]}`, 200, `{}`},
		{"a page is at most 500", "POST", "/api/3.0/mlflow/traces/search", `{"locations":[{"mlflow_experiment":{"experiment_id":"0"}}],"max_results":501}`, 400, `max_results`},
		{"a mistake in a filter has a place", "POST", "/api/3.0/mlflow/traces/search", `{"locations":[{"mlflow_experiment":{"experiment_id":"0"}}],"filter":"status = 'OK' AND colour = 'red'"}`, 400, `position 19`},
		{"an unknown kind of assessment", "POST", one + "/assessments", `{"assessment":{"assessment_name":"x","source":{"source_type":"HUMAN"}}}`, 400, `Unknown assessment type`},
		{"two kinds at once", "POST", one + "/assessments", `{"assessment":{"assessment_name":"x","feedback":{"value":1},"expectation":{"value":1}}}`, 400, `Exactly one`},
		{"a format nobody knows", "POST", one + "/assessments", `{"assessment":{"assessment_name":"x","expectation":{"serialized_value":{"serialization_format":"PICKLE","value":"x"}}}}`, 400, `JSON_FORMAT`},
		{"a serialized value", "POST", one + "/assessments", `{"assessment":{"assessment_name":"x","expectation":{"serialized_value":{"serialization_format":"JSON_FORMAT","value":"{\"a\": [1]}"}}}}`, 200, `"value":"{\"a\":[1]}"`},
		{"an issue", "POST", one + "/assessments", `{"assessment":{"assessment_name":"iss-1","issue":{"issue_name":"slow"}}}`, 200, `"issue":{"issue_name":"slow"}`},
		{"a change wants a mask", "PATCH", one + "/assessments/a", `{"assessment":{"assessment_name":"x"}}`, 400, `update_mask`},
		{"deleting what is not there", "DELETE", one + "/assessments/a", ``, 200, `{}`},
		{"of a trace that is not there", "DELETE", "/api/3.0/mlflow/traces/none/assessments/a", ``, 404, `RESOURCE_DOES_NOT_EXIST`},
		{"a deletion wants a bound", "POST", "/api/2.0/mlflow/traces/delete-traces", `{"experiment_id":"0"}`, 400, `max_timestamp_millis`},
		{"not two", "POST", "/api/2.0/mlflow/traces/delete-traces", `{"experiment_id":"0","request_ids":["a"],"max_timestamp_millis":1}`, 400, `Only one`},
		{"more than none", "POST", "/api/3.0/mlflow/traces/delete-traces", `{"experiment_id":"0","max_timestamp_millis":1,"max_traces":0}`, 400, `positive`},
		{"metrics want a view", "POST", "/api/3.0/mlflow/traces/metrics", `{"experiment_ids":["0"]}`, 400, `'view_type'`},
		{"views may be numbers", "POST", "/api/3.0/mlflow/traces/metrics", `{"experiment_ids":["0"],"view_type":1,"metric_name":"trace_count","aggregations":[{"aggregation_type":1}]}`, 200, `"COUNT":1`},
		{"a correlation without traces is NaN", "POST", "/api/3.0/mlflow/traces/calculate-filter-correlation", `{"experiment_ids":["0"],"filter_string1":"name = 'x'","filter_string2":"name = 'y'"}`, 200, `"npmi":"NaN"`},
		{"a tag of the platform", "DELETE", one + "/tags", `{"key":"mlflow.artifactLocation"}`, 400, `immutable`},
	} {
		code, body, _ := s.exchange(t, c.method, c.path, "ada", []byte(c.body), "Content-Type", "application/json")
		if code != c.code || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), strings.ReplaceAll(c.want, `\"`, `"`)) {
			t.Errorf("%s: got %d %s, want %d with %s", c.name, code, body, c.code, c.want)
		}
	}
}

// BenchmarkTraces logs traces of 10 spans with 8 clients over loopback, as MLflow's client does where the spans come first: the spans, then the
// record. The clients share the processor.
func BenchmarkTraces(b *testing.B) {
	s := serve(b, dbtest.SQLite(b))
	const clients = 8
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	done := make(chan error, clients)
	post := func(method, path, kind string, body []byte) error {
		req, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("X-Mlflow-Experiment-Id", "0")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if _, err = io.Copy(io.Discard, res.Body); err == nil && res.StatusCode != 200 {
			err = fmt.Errorf("%s %s: status %d", method, path, res.StatusCode)
		}
		return err
	}
	metadata := `{"mlflow.user":"ada","mlflow.source.name":"app.py","mlflow.source.type":"LOCAL","mlflow.trace_schema.version":"3","mlflow.traceInputs":"{\"x\": 4}","mlflow.traceOutputs":"9"}`
	b.ResetTimer()
	for c := range clients {
		go func() {
			for i := c; i < b.N; i += clients {
				id := []byte{7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(b.N >> 16), byte(b.N >> 8), byte(i >> 16), byte(i >> 8), byte(i)}
				var spans []*tracepb.Span
				for k := range 10 {
					spans = append(spans, &tracepb.Span{TraceId: id, SpanId: []byte{1, 0, 0, 0, 0, 0, 0, byte(k + 1)}, Name: fmt.Sprintf("step %d", k), StartTimeUnixNano: 1e18, EndTimeUnixNano: 1e18 + 1e9})
				}
				body, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}}}}})
				name := trace.IDOf(id)
				if err == nil {
					err = post("POST", "/v1/traces", "application/x-protobuf", body)
				}
				if err == nil {
					err = post("POST", "/api/3.0/mlflow/traces", "application/json", []byte(`{"trace":{"trace_info":{"trace_id":"`+name+`","trace_location":{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"0"}},"request_time":"2026-01-01T00:00:00Z","execution_duration":"1s","state":"OK","trace_metadata":`+metadata+`,"tags":{"mlflow.traceName":"bench"}}}}`))
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "traces/s")
}
