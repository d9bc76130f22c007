package mlflowapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/xgboost"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/trace"
	"keelson/internal/tracking"
)

// gate lets everybody in as a data scientist; the token "auditor" is an auditor, "bad" is refused.
type gate struct{}

func (gate) Authenticate(r *http.Request) (caller.Caller, error) {
	who := caller.Caller{ID: "ada", Name: "ada", Kind: caller.Person, Roles: []string{"data-scientist"}}
	switch r.Header.Get("Authorization") {
	case "Bearer auditor":
		who.Name, who.Roles = "otto", []string{"auditor"}
	case "Bearer engineer":
		who.Name, who.Roles = "mara", []string{"ml-engineer"}
	case "Bearer executive":
		who.Name, who.Roles = "edda", []string{"executive"}
	case "Bearer nobody":
		return caller.Caller{}, nil
	}
	if role, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer role:"); ok {
		who.Name, who.Roles = role, []string{role}
	}
	return who, nil
}

func (gate) Refused(context.Context, rest.Route, error) {}

type server struct {
	*httptest.Server
	m     *API
	blobs string
}

// serve starts a server with a job runner on d.
func serve(t testing.TB, d *db.DB) *server {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	folder := t.TempDir()
	b, err := blob.Open(context.Background(), folder)
	if err != nil {
		t.Fatal(err)
	}
	engines, err := engine.NewSet(xgboost.Engine{}, cel.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracking.Service{DB: d, Blobs: b, Log: log, Now: time.Now}
	inv := &inventory.Service{DB: d, Blobs: b, Engines: engines, Runs: tr, Log: log, Now: time.Now}
	traces := &trace.Service{DB: d, Tracking: tr, Log: log, Now: time.Now}
	m := &API{Tracking: tr, Inventory: inv, Traces: traces, Log: log}
	runner := &job.Runner{DB: d, Log: log, Node: db.NewID()}
	tr.Jobs(runner)
	inv.Jobs(runner)
	a := rest.New("test", gate{}, log)
	neighbours(t, m, d, runner, a)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	tr.Routes(a)
	inv.Routes(a)
	m.Routes(a)
	s := &server{httptest.NewServer(Guard(a)), m, folder}
	t.Cleanup(func() {
		s.Close()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) { // stopped while it started
			t.Error(err)
		}
	})
	return s
}

// call sends a request with a JSON body (POST and the like) or query (GET) and gives status and answer.
func (s *server) call(t testing.TB, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
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
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%s %s answers %d with no JSON: %q", method, path, res.StatusCode, b)
	}
	return res.StatusCode, out
}

func (s *server) run(t testing.TB) string {
	t.Helper()
	code, out := s.call(t, "POST", "/api/2.0/mlflow/runs/create", `{"experiment_id":"0"}`)
	if code != 200 {
		t.Fatalf("create run: %d %v", code, out)
	}
	return out["run"].(map[string]any)["info"].(map[string]any)["run_id"].(string)
}

func TestUnmodifiedClient(t *testing.T) {
	python := os.Getenv("KEELSON_PYTHON")
	if python == "" {
		t.Skip("KEELSON_PYTHON is not set; it names a Python that has mlflow-skinny, xgboost-cpu, scikit-learn and pandas")
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		script, err := filepath.Abs("testdata/journey.py")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(ctx, python, script)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "MLFLOW_TRACKING_URI="+s.URL, "MLFLOW_DISABLE_TELEMETRY=true", "GIT_PYTHON_REFRESH=quiet", "HOME="+cmd.Dir)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "done ") {
			t.Fatalf("the journey ended with %v:\n%s", err, out)
		}
		if testing.Verbose() {
			t.Logf("%s", out)
		}
	})
}

func TestWireQuirks(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		id := s.run(t)
		for _, c := range []struct {
			name, method, path, body string
			code                     int
			want                     string // in the answer as JSON
		}{
			{"a command answers {}", "POST", "/api/2.0/mlflow/runs/log-metric", `{"run_id":"RUN","key":"m","value":1,"timestamp":1}`, 200, `{}`},
			{"the twin prefix is the same", "POST", "/ajax-api/2.0/mlflow/runs/log-metric", `{"run_uuid":"RUN","key":"m","value":"2","timestamp":"3","step":"4"}`, 200, `{}`},
			{"numbers are numbers in answers", "GET", "/api/2.0/mlflow/metrics/get-history?run_id=RUN&metric_key=m", "", 200, `"step":4,"timestamp":3,"value":2`},
			{"NaN is a string", "POST", "/api/2.0/mlflow/runs/log-batch", `{"run_id":"RUN","metrics":[{"key":"n","value":"NaN","timestamp":1,"step":0},{"key":"i","value":"-Infinity","timestamp":1}]}`, 200, `{}`},
			{"and comes back as one", "GET", "/api/2.0/mlflow/runs/get?run_id=RUN", "", 200, `"value":"NaN"`},
			{"a bare NaN says to send the string", "POST", "/api/2.0/mlflow/runs/log-batch", `{"run_id":"RUN","metrics":[{"key":"n","value":NaN,"timestamp":1}]}`, 400, `send the string`},
			{"also outside a batch", "POST", "/api/2.0/mlflow/runs/log-metric", `{"run_id":"RUN","key":"n","value":NaN,"timestamp":1}`, 400, `INVALID_PARAMETER_VALUE`},
			{"a missing parameter is named", "POST", "/api/2.0/mlflow/runs/log-metric", `{"run_id":"RUN"}`, 400, `Missing value for required parameter 'key'. See the API docs`},
			{"a missing value too", "POST", "/api/2.0/mlflow/runs/log-metric", `{"run_id":"RUN","key":"m","timestamp":1}`, 400, `parameter 'value'`},
			{"malformed JSON is a missing parameter", "POST", "/api/2.0/mlflow/runs/log-metric", `{"run_id":`, 400, `Missing value for required parameter 'run_id'`},
			{"in a batch too", "POST", "/api/2.0/mlflow/runs/log-batch", `{"run_id":"`, 400, `Missing value for required parameter 'run_id'`},
			{"a wrong type is named", "POST", "/api/2.0/mlflow/runs/log-metric", `{"run_id":7,"key":"m","value":1,"timestamp":1}`, 400, `parameter 'run_id'`},
			{"a word for a number is refused", "POST", "/api/2.0/mlflow/runs/log-metric", `{"run_id":"RUN","key":"m","value":"x","timestamp":1}`, 400, `INVALID_PARAMETER_VALUE`},
			{"an experiment id is digits", "GET", "/api/2.0/mlflow/experiments/get?experiment_id=abc", "", 400, `INVALID_PARAMETER_VALUE`},
			{"an unknown experiment does not exist", "GET", "/api/2.0/mlflow/experiments/get?experiment_id=77", "", 404, `RESOURCE_DOES_NOT_EXIST`},
			{"an unknown run does not exist", "GET", "/api/2.0/mlflow/runs/get?run_id=nowhere", "", 404, `RESOURCE_DOES_NOT_EXIST`},
			{"unknown fields are ignored", "POST", "/api/2.0/mlflow/runs/set-tag", `{"run_id":"RUN","key":"k","value":"v","future":[1]}`, 200, `{}`},
			{"a search without hits answers {}", "POST", "/api/2.0/mlflow/runs/search", `{"experiment_ids":["0"],"filter":"metrics.none > 1"}`, 200, `{}`},
			{"an empty listing has only its root", "GET", "/api/2.0/mlflow/artifacts/list?run_id=RUN", "", 200, `{"root_uri":"mlflow-artifacts:/0/RUN/artifacts"}`},
			{"a page token that is garbage is refused", "POST", "/api/2.0/mlflow/runs/search", `{"experiment_ids":["0"],"page_token":"garbage"}`, 400, `Invalid page token`},
			{"a page size beyond the limit is refused", "POST", "/api/2.0/mlflow/runs/search", `{"experiment_ids":["0"],"max_results":50001}`, 400, `max_results`},
			{"an alias that is not there is a wrong value", "GET", "/api/2.0/mlflow/registered-models/alias?name=none&alias=a", "", 404, `RESOURCE_DOES_NOT_EXIST`},
			{"traces of elsewhere are not offered", "GET", "/api/2.0/mlflow/unified-traces", ``, 501, `NOT_IMPLEMENTED`},
			{"the gateway is not offered", "GET", "/api/3.0/mlflow/gateway/secrets/list", "", 501, `NOT_IMPLEMENTED`},
			{"anything else has no endpoint", "GET", "/api/2.0/mlflow/nothing", "", 404, `ENDPOINT_NOT_FOUND`},
			{"a wrong method has none either", "DELETE", "/ajax-api/2.0/mlflow/runs/get", "", 404, `ENDPOINT_NOT_FOUND`},
			{"the odd path is not implemented", "POST", "/api/2.0mlflow/experiments/search-datasets", "{}", 501, `NOT_IMPLEMENTED`},
			{"a zero byte in a value is refused", "POST", "/api/2.0/mlflow/runs/log-batch", `{"run_id":"RUN","params":[{"key":"z","value":"a\u0000b"}]}`, 400, `zero byte`},
			{"a backslash before u0000 is no zero byte", "POST", "/api/2.0/mlflow/runs/log-batch", `{"run_id":"RUN","params":[{"key":"z","value":"a\\u0000b"}]}`, 200, `{}`},
			{"a zero byte in an address is refused", "GET", "/api/2.0/mlflow/runs/get?run_id=%00", "", 400, `zero byte`},
			{"a zero byte in a path is refused", "GET", "/api/2.0/mlflow/logged-models/m-%00", "", 400, `zero byte`},
			{"too many experiments are refused", "POST", "/api/2.0/mlflow/runs/search", `{"experiment_ids":[` + strings.Repeat(`"1",`, 5000) + `"1"]}`, 400, `at most 5000 experiments`},
			{"server-info is told", "GET", "/api/3.0/mlflow/server-info", "", 200, `"multipart_uploads_enabled":false`},
		} {
			t.Run(c.name, func(t *testing.T) {
				code, out := s.call(t, c.method, strings.ReplaceAll(c.path, "RUN", id), strings.ReplaceAll(c.body, "RUN", id))
				b, _ := json.Marshal(out)
				if code != c.code || !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(string(b), id, "RUN"), `\u003e`, ">"), c.want) {
					t.Errorf("got %d %s, want %d with %s", code, b, c.code, c.want)
				}
			})
		}
		res, err := http.Post(s.URL+"/api/2.0/mlflow/runs/log-metric", "text/plain", strings.NewReader(`{"run_id":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 400 {
			t.Errorf("a body that is not called JSON gives %d, want 400", res.StatusCode)
		}
		big := `{"run_id":"` + id + `","tags":[{"key":"k","value":"` + strings.Repeat("x", MaxBatch) + `"}]}`
		if code, out := s.call(t, "POST", "/api/2.0/mlflow/runs/log-batch", big); code != 400 || !strings.Contains(fmt.Sprint(out), "at most 1000000 bytes") {
			t.Errorf("a batch over 1 MB gives %d %v", code, out)
		}
	})
}

func TestPlacesThatAreNotOursAreNeverOpened(t *testing.T) {
	d := dbtest.SQLite(t)
	s := serve(t, d)
	id := s.run(t)
	secret := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(secret, []byte("do not read me"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.call(t, "POST", "/api/2.0/mlflow/registered-models/create", `{"name":"m"}`)
	address, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	// raw sends a path as it is, which no ordinary client would.
	raw := func(method, path string) (int, string) {
		t.Helper()
		conn, err := net.Dial("tcp", address.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", method, path)
		b, _ := io.ReadAll(conn)
		var code int
		fmt.Sscanf(string(b), "HTTP/1.1 %d", &code)
		return code, string(b)
	}
	before := files(t, s.blobs)
	base := "/api/2.0/mlflow-artifacts/artifacts/"
	for _, p := range []string{
		base + "../../../../etc/passwd", base + "%2e%2e/%2e%2e/etc/passwd", base + "%252e%252e%252fetc%252fpasswd", base + "0/" + id + "/artifacts/..%2f..%2fx",
		base + "0/" + id + `/artifacts/..\..\x`, base + "0/" + id + "/artifacts/%5c..%5cx", base + "/etc/passwd", base + "0/" + id + "/artifacts/a//b", base + "0/" + id + "/artifacts/%00",
		base + "0/" + id + "/artifacts/./x", "/ajax-api" + strings.TrimPrefix(base, "/api") + "%2e%2e%2f%2e%2e%2fetc", base + "etc/passwd", base + "7/" + id + "/artifacts/x",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			if code, answer := raw(method, p); code < 400 || code > 499 || strings.Contains(answer, "root:") {
				t.Errorf("%s %s gives %d %s", method, p, code, answer)
			}
		}
	}
	for _, q := range []string{"../..", "..%2f..", "/etc", "%252e%252e", `..\..`, "0/" + id + "/artifacts/../.."} {
		for _, p := range []string{"/api/2.0/mlflow-artifacts/artifacts?path=" + q, "/api/2.0/mlflow/artifacts/list?run_id=" + id + "&path=" + q, "/get-artifact?run_uuid=" + id + "&path=" + q, "/model-versions/get-artifact?name=m&version=1&path=" + q} {
			if code, answer := raw("GET", p); code < 400 || code > 499 {
				t.Errorf("GET %s gives %d %s", p, code, answer)
			}
		}
	}
	for _, place := range []string{"file:///etc", "/etc", "http:///#/../../../../etc/", "http:///?/../../etc", "dbfs:/x", "mlflow-artifacts:/../..", "a;b", "file://" + secret} {
		body, _ := json.Marshal(map[string]string{"name": "e" + place, "artifact_location": place})
		if code, out := s.call(t, "POST", "/api/2.0/mlflow/experiments/create", string(body)); code != 400 {
			t.Errorf("artifact_location %q gives %d %v", place, code, out)
		}
		body, _ = json.Marshal(map[string]any{"name": "m", "source": place, "tags": []map[string]string{{"key": "mlflow.prompt.is_prompt", "value": "true"}}})
		if code, out := s.call(t, "POST", "/api/2.0/mlflow/model-versions/create", string(body)); code != 400 {
			t.Errorf("source %q gives %d %v", place, code, out)
		}
	}
	if after := files(t, s.blobs); after != before {
		t.Errorf("the refused requests left files: %s, before %s", after, before)
	}
}

// files lists a folder, to see that nothing was written.
func files(t *testing.T, folder string) string {
	t.Helper()
	var out []string
	err := filepath.Walk(folder, func(p string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func TestRightsAndArtifactHeaders(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	id := s.run(t)
	do := func(method, path, token string, body []byte, header ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res, string(b)
	}
	file := "/api/2.0/mlflow-artifacts/artifacts/0/" + id + "/artifacts/page%2541.html"
	if res, body := do("PUT", file, "ada", []byte("<b>0123456789</b>")); res.StatusCode != 200 || body != "{}" {
		t.Fatalf("upload gives %d %s", res.StatusCode, body)
	}
	res, body := do("GET", file, "auditor", nil, "Range", "bytes=3-5")
	if res.StatusCode != 206 || body != "012" || !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment") || res.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a range gives %d %q %v", res.StatusCode, body, res.Header)
	}
	if _, body := do("GET", "/api/2.0/mlflow/artifacts/list?run_id="+id, "auditor", nil); !strings.Contains(body, `"path":"page%41.html"`) {
		t.Errorf("a name with a percent sequence is listed as %s", body)
	}
	for _, c := range []struct {
		method, path, token string
		want                int
		says                string
	}{
		{"DELETE", file, "auditor", 403, "PERMISSION_DENIED"},
		{"PUT", file, "auditor", 403, "PERMISSION_DENIED"},
		{"GET", file, "nobody", 401, "UNAUTHENTICATED"},
		{"GET", "/version", "nobody", 200, Speaks},
		{"GET", "/health", "nobody", 200, "OK"},
	} {
		if res, body := do(c.method, c.path, c.token, nil); res.StatusCode != c.want || !strings.Contains(body, c.says) {
			t.Errorf("%s %s as %s gives %d %s, want %d %s", c.method, c.path, c.token, res.StatusCode, body, c.want, c.says)
		}
	}
}

func FuzzReadBatchNeverPanics(f *testing.F) {
	for _, s := range []string{`{"run_id":"r","metrics":[{"key":"k","value":1.5,"timestamp":1,"step":2}],"params":[{"key":"a","value":"b"}]}`, `{"run_id":"r","metrics":[{"value":"NaN","timestamp":-1e3}]}`, `{"metrics":[`, `[]`, `{"run_id":"r","tags":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, batch, err := readBatch(b)
		if err != nil && !problem.Is(err, problem.Invalid) {
			t.Errorf("%q: %v is no refusal", b, err)
		}
		if n := len(batch.Metrics) + len(batch.Params) + len(batch.Tags); n > len(b) {
			t.Errorf("%d bytes gave %d entries", len(b), n)
		}
	})
}

// BenchmarkLogBatchHTTP sends batches of 100 metrics with 8 clients over loopback; the clients share the processor.
func BenchmarkLogBatchHTTP(b *testing.B) {
	s := serve(b, dbtest.SQLite(b))
	const clients = 8
	done := make(chan error, clients)
	var bodies [clients][]byte
	for c := range clients {
		var metrics []map[string]any
		for k := range 100 {
			metrics = append(metrics, map[string]any{"key": fmt.Sprintf("metric_%d", k), "value": float64(k) / 3, "timestamp": 1_700_000_000_000 + k, "step": 0})
		}
		bodies[c], _ = json.Marshal(map[string]any{"run_id": s.run(b), "metrics": metrics})
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.ResetTimer()
	for c := range clients {
		go func() {
			for i := range b.N / clients {
				body := bytes.ReplaceAll(bodies[c], []byte(`"step":0`), fmt.Appendf(nil, `"step":%d`, i))
				res, err := client.Post(s.URL+"/api/2.0/mlflow/runs/log-batch", "application/json", bytes.NewReader(body))
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if res.StatusCode != 200 {
						err = fmt.Errorf("status %d", res.StatusCode)
					}
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
