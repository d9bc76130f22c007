package mlflowapi

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// entries writes n JSON objects, %d being the number of each.
func entries(n int, format string) string {
	out := make([]string, n)
	for i := range out {
		out[i] = strings.ReplaceAll(format, "%d", fmt.Sprint(i))
	}
	return strings.Join(out, ",")
}

func TestLimitsOfABatch(t *testing.T) {
	const metric, pairOf = `{"key":"m%d","value":1,"timestamp":1,"step":0}`, `{"key":"k%d","value":"v"}`
	batch := func(metrics, params, tags string) string {
		return `{"run_id":"RUN","metrics":[` + metrics + `],"params":[` + params + `],"tags":[` + tags + `]}`
	}
	param := func(key, value string) string { return fmt.Sprintf(`{"key":%q,"value":%q}`, key, value) }
	long := strings.Repeat("x", 1+tracking.MaxKey)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		id, gone := s.run(t), s.run(t)
		if code, _ := s.call(t, "POST", "/api/2.0/mlflow/runs/delete", `{"run_id":"`+gone+`"}`); code != 200 {
			t.Fatal("a run could not be deleted")
		}
		const invalidValue = "INVALID_PARAMETER_VALUE"
		for _, c := range []struct {
			name, call, body string
			code             int
			want             string
		}{
			{"1000 metrics are taken", "log-batch", batch(entries(1000, metric), "", ""), 200, `{}`},
			{"1001 are not", "log-batch", batch(entries(1001, metric), "", ""), 400, "A batch logging request can contain at most 1000 metrics. Got 1001 metrics. Please split up metrics across multiple requests and try again."},
			{"100 parameters are taken", "log-batch", batch("", entries(100, pairOf), ""), 200, `{}`},
			{"101 are not", "log-batch", batch("", entries(101, pairOf), ""), 400, "at most 100 params. Got 101 params."},
			{"100 tags are taken", "log-batch", batch("", "", entries(100, pairOf)), 200, `{}`},
			{"101 are not, either", "log-batch", batch("", "", entries(101, pairOf)), 400, "at most 100 tags. Got 101 tags."},
			{"1000 in all are taken", "log-batch", batch(entries(900, metric), entries(50, pairOf), entries(50, pairOf)), 200, `{}`},
			{"1001 in all are not", "log-batch", batch(entries(901, metric), entries(50, pairOf), entries(50, pairOf)), 400, "at most 1000 metrics, params, and tags in total. Got 1001."},
			{"a parameter of 6000 characters is taken", "log-batch", batch("", param("long", strings.Repeat("ä", 6000)), ""), 200, `{}`},
			{"6001 are too many", "log-batch", batch("", param("longer", strings.Repeat("ä", 6001)), ""), 400, "had length 6001, which exceeded length limit of 6000"},
			{"the same in log-parameter", "log-parameter", `{"run_id":"RUN","key":"longer","value":"` + strings.Repeat("x", 6001) + `"}`, 400, "length limit of 6000"},
			{"a tag of 8000 characters is taken", "set-tag", `{"run_id":"RUN","key":"long","value":"` + strings.Repeat("x", 8000) + `"}`, 200, `{}`},
			{"8001 are too many for a tag", "set-tag", `{"run_id":"RUN","key":"long","value":"` + strings.Repeat("x", 8001) + `"}`, 400, "length limit of 8000"},
			{"a key of 250 characters is taken", "log-metric", `{"run_id":"RUN","key":"` + long[1:] + `","value":1,"timestamp":1}`, 200, `{}`},
			{"251 are too many", "log-metric", `{"run_id":"RUN","key":"` + long + `","value":1,"timestamp":1}`, 400, "exceeds the length limit of 250"},
			{"slashes, dots, spaces and colons are part of names", "log-metric", `{"run_id":"RUN","key":"a/b.c d:e-f_g ü","value":1,"timestamp":1}`, 200, `{}`},
			{"an empty key is missing", "log-metric", `{"run_id":"RUN","key":"","value":1,"timestamp":1}`, 400, "Missing value for required parameter 'key'"},
			{"an empty key in a batch is, too", "log-batch", batch(`{"key":"","value":1,"timestamp":1}`, "", ""), 400, "Missing value for required parameter 'metrics.key'"},
			{"a quote is no part of a name", "log-metric", `{"run_id":"RUN","key":"a\"b","value":1,"timestamp":1}`, 400, "Names may only contain alphanumerics"},
			{"a key that climbs is refused", "log-batch", batch(`{"key":"../x","value":1,"timestamp":1}`, "", ""), 400, "would resolve to"},
			{"an absolute one, too", "log-batch", batch("", param("/x", "1"), ""), 400, "must not resolve to other names"},
			{"and one with an empty part", "log-batch", batch("", "", param("a//b", "1")), 400, "must not resolve to other names"},
			{"a number in a string is a number", "log-metric", `{"run_id":"RUN","key":"s","value":"1e3","timestamp":"17","step":"-3"}`, 200, `{}`},
			{"a step that is no whole number is refused", "log-metric", `{"run_id":"RUN","key":"s","value":1,"timestamp":1,"step":1.5}`, 400, invalidValue},
			{"a step beyond 64 bits, too", "log-metric", `{"run_id":"RUN","key":"s","value":1,"timestamp":1,"step":9223372036854775808}`, 400, invalidValue},
			{"a value of null is missing", "log-metric", `{"run_id":"RUN","key":"s","value":null,"timestamp":1}`, 400, "Missing value for required parameter 'value'"},
			{"a time of null in a batch is, too", "log-batch", batch(`{"key":"s","value":1,"timestamp":null}`, "", ""), 400, "Missing value for required parameter 'metrics.timestamp'"},
			{"a bare NaN says to send the string", "log-metric", `{"run_id":"RUN","key":"s","value":NaN,"timestamp":1}`, 400, `send the string \"NaN\"`},
			{"so does a bare infinity", "log-batch", batch(`{"key":"s","value":-Infinity,"timestamp":1}`, "", ""), 400, `send the string`},
			{"a number beyond all numbers is infinite and refused", "log-metric", `{"run_id":"RUN","key":"s","value":1e999,"timestamp":1}`, 400, invalidValue},
			{"the same parameter again is fine", "log-parameter", `{"run_id":"RUN","key":"k0","value":"v"}`, 200, `{}`},
			{"another value is not", "log-parameter", `{"run_id":"RUN","key":"k0","value":"w"}`, 400, "Changing param values is not allowed. Param with key='k0' was already logged with value='v' for run ID='RUN'. Attempted logging new value 'w'."},
			{"two values in one batch are refused", "log-batch", batch("", param("two", "1")+","+param("two", "2"), ""), 400, "Duplicate parameter keys have been submitted"},
			{"one value twice in one batch is fine", "log-batch", batch("", param("two", "1")+","+param("two", "1"), ""), 200, `{}`},
			{"a deleted run takes nothing", "log-batch", `{"run_id":"GONE","metrics":[{"key":"m","value":1,"timestamp":1}]}`, 400, "must be in the 'active' state"},
			{"an unknown run is not there", "log-metric", `{"run_id":"nowhere","key":"m","value":1,"timestamp":1}`, 404, "RESOURCE_DOES_NOT_EXIST"},
		} {
			t.Run(c.name, func(t *testing.T) {
				body := strings.NewReplacer("RUN", id, "GONE", gone).Replace(c.body)
				code, out := s.call(t, "POST", "/api/2.0/mlflow/runs/"+c.call, body)
				b, _ := json.Marshal(out)
				if code != c.code || !strings.Contains(strings.ReplaceAll(string(b), id, "RUN"), c.want) {
					t.Errorf("got %d %.300s, want %d with %s", code, b, c.code, c.want)
				}
			})
		}
	})
}

func TestHistories(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		a, b := s.run(t), s.run(t)
		if a > b {
			a, b = b, a
		}
		for i, value := range []string{"0.5", `"NaN"`, `"Infinity"`, `"-Infinity"`, "7"} {
			for _, run := range []string{a, b} {
				if code, out := s.call(t, "POST", "/api/2.0/mlflow/runs/log-metric", fmt.Sprintf(`{"run_id":%q,"key":"loss/val","value":%s,"timestamp":%d,"step":%d}`, run, value, 100-i, i)); code != 200 {
					t.Fatal(out)
				}
			}
		}
		key := url.QueryEscape("loss/val")
		for _, c := range []struct {
			name, path string
			code       int
			want       string
		}{
			{"by time, infinities as the largest numbers", "get-history?run_id=A&metric_key=KEY", 200,
				`{"metrics":[{"key":"loss/val","value":7,"timestamp":96,"step":4},{"key":"loss/val","value":-1.7976931348623157e+308,"timestamp":97,"step":3},{"key":"loss/val","value":1.7976931348623157e+308,"timestamp":98,"step":2},{"key":"loss/val","value":"NaN","timestamp":99,"step":1},{"key":"loss/val","value":0.5,"timestamp":100,"step":0}]}`},
			{"the other name of a run", "get-history?run_uuid=A&metric_key=KEY&max_results=1", 200, `"next_page_token":"`},
			{"a metric that was not logged", "get-history?run_id=A&metric_key=none", 200, `{}`},
			{"a run that is not there", "get-history?run_id=nowhere&metric_key=KEY", 404, "RESOURCE_DOES_NOT_EXIST"},
			{"no key", "get-history?run_id=A", 400, "Missing value for required parameter 'metric_key'"},
			{"no run", "get-history?metric_key=KEY", 400, "Missing value for required parameter 'run_id'"},
			{"a page of nothing", "get-history?run_id=A&metric_key=KEY&max_results=0", 400, "max_results"},
			{"a page beyond the limit", "get-history?run_id=A&metric_key=KEY&max_results=25001", 400, "max_results"},
			{"a token of somebody else", "get-history?run_id=A&metric_key=KEY&page_token=abc", 400, "Invalid page token"},
			{"many runs, by their identifiers", "get-history-bulk?run_id=B&run_id=A&metric_key=KEY&max_results=6", 200, `"step":0,"run_id":"A"},{"key":"loss/val","value":7,"timestamp":96,"step":4,"run_id":"B"}]}`},
			{"many runs without points", "get-history-bulk?run_id=A&metric_key=none", 200, `{"metrics":[]}`},
			{"no runs", "get-history-bulk?metric_key=KEY", 400, "must specify at least one run_id"},
			{"too many runs", "get-history-bulk?metric_key=KEY" + strings.Repeat("&run_id=A", 101), 400, "cannot specify more than 100 run_ids. Received 101"},
			{"sampled, by step, the runs as they were asked for", "get-history-bulk-interval?run_ids=B&run_ids=A&metric_key=KEY&start_step=1&end_step=2", 200,
				`{"metrics":[{"key":"loss/val","value":"NaN","timestamp":99,"step":1,"run_id":"B"},{"key":"loss/val","value":1.7976931348623157e+308,"timestamp":98,"step":2,"run_id":"B"},{"key":"loss/val","value":"NaN","timestamp":99,"step":1,"run_id":"A"},{"key":"loss/val","value":1.7976931348623157e+308,"timestamp":98,"step":2,"run_id":"A"}]}`},
			{"sampled to one point is the last", "get-history-bulk-interval?run_ids=A&metric_key=KEY&max_results=1", 200, `{"metrics":[{"key":"loss/val","value":7,"timestamp":96,"step":4,"run_id":"A"}]}`},
			{"half an interval", "get-history-bulk-interval?run_ids=A&metric_key=KEY&start_step=1", 400, "both must be specified"},
			{"an interval backwards", "get-history-bulk-interval?run_ids=A&metric_key=KEY&start_step=2&end_step=1", 400, "end_step must be greater than start_step. Found start_step=2 and end_step=1."},
			{"too many points", "get-history-bulk-interval?run_ids=A&metric_key=KEY&max_results=2501", 400, "max_results must be between 1 and 2500"},
			{"a step that is no number", "get-history-bulk-interval?run_ids=A&metric_key=KEY&start_step=x&end_step=1", 400, "start_step"},
			{"no runs for an interval", "get-history-bulk-interval?metric_key=KEY", 400, "Missing value for required parameter 'run_ids'"},
		} {
			t.Run(c.name, func(t *testing.T) {
				path := strings.NewReplacer("=A", "="+a, "=B", "="+b, "KEY", key).Replace(c.path)
				res, err := http.Get(s.URL + "/ajax-api/2.0/mlflow/metrics/" + path)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(res.Body)
				res.Body.Close()
				got := strings.NewReplacer(a, "A", b, "B").Replace(string(text))
				if err != nil || res.StatusCode != c.code || !strings.Contains(got, c.want) || !json.Valid(text) {
					t.Errorf("got %d %s (%v), want %d with %s", res.StatusCode, got, err, c.code, c.want)
				}
			})
		}

		// Our own resources show the same points.
		for _, c := range []struct{ method, path, body, want string }{
			{"GET", "/api/v1/runs/A/metrics", "", `{"items":[{"key":"loss/val","latest":{"step":4,"at":"1970-01-01T00:00:00.096Z","value":7},"min":"-Infinity","max":"Infinity","count":5}]}`},
			{"GET", "/api/v1/runs/A/metrics/loss%2Fval?from_step=0&to_step=1", "", `{"run":"A","key":"loss/val","count":2,"sampled":false,"steps":[0,1],"times":["1970-01-01T00:00:00.1Z","1970-01-01T00:00:00.099Z"],"values":[0.5,"NaN"]}`},
			{"GET", "/api/v1/runs/A/metrics/loss%2Fval?points=2", "", `"count":5,"sampled":true,"steps":[0,4]`},
			{"GET", "/api/v1/runs/A/metrics/none", "", `"count":0,"sampled":false,"steps":[],"times":[],"values":[]`},
			{"GET", "/api/v1/runs/nowhere/metrics", "", `"status":404`},
			{"GET", "/api/v1/runs/A/metrics/loss%2Fval?from_step=2&to_step=1", "", `"field":"from_step"`},
			{"GET", "/api/v1/runs/A/metrics/loss%2Fval?from_step=x", "", `"status":422`},
			{"POST", "/api/v1/metrics/series", `{"runs":["B","A"],"keys":["loss/val","none"],"to_step":0}`, `{"items":[{"run":"B","key":"loss/val","count":1,"sampled":false,"steps":[0],"times":["1970-01-01T00:00:00.1Z"],"values":[0.5]},{"run":"A",`},
			{"POST", "/api/v1/metrics/series", `{"runs":["A","nowhere"],"keys":["loss/val"]}`, `"status":404`},
			{"POST", "/api/v1/metrics/series", `{"runs":[` + strings.Repeat(`"A",`, 199) + `"A"],"keys":[` + strings.Repeat(`"k",`, 49) + `"k"],"points":1000}`, `"field":"points"`},
		} {
			swap := strings.NewReplacer("/A/", "/"+a+"/", `"A"`, `"`+a+`"`, `"B"`, `"`+b+`"`)
			_, out := s.call(t, c.method, swap.Replace(c.path), swap.Replace(c.body))
			text, _ := json.Marshal(out)
			want := map[string]any{}
			if json.Unmarshal([]byte(swap.Replace(c.want)), &want) == nil {
				exact, _ := json.Marshal(want)
				if string(exact) != string(text) {
					t.Errorf("%s %s gives %s, want %s", c.method, c.path, text, exact)
				}
				continue
			}
			// A part of the answer, whose members json.Marshal sorts by name.
			res, err := http.NewRequest(c.method, s.URL+swap.Replace(c.path), strings.NewReader(swap.Replace(c.body)))
			if err != nil {
				t.Fatal(err)
			}
			res.Header.Set("Content-Type", "application/json")
			answer, err := http.DefaultClient.Do(res)
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if !strings.Contains(string(raw), swap.Replace(c.want)) {
				t.Errorf("%s %s gives %s, want %s in it", c.method, c.path, raw, c.want)
			}
		}
	})
}

// A long history is written in pieces while it is read; all of it arrives, and it is JSON.
func TestALongHistoryIsStreamed(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	run := s.run(t)
	const batches = 30
	for b := range batches {
		body := `{"run_id":"` + run + `","metrics":[` + strings.ReplaceAll(entries(1000, `{"key":"m","value":%d,"timestamp":1,"step":%d}`), `"timestamp":1`, fmt.Sprintf(`"timestamp":%d`, b)) + `]}`
		if code, out := s.call(t, "POST", "/api/2.0/mlflow/runs/log-batch", body); code != 200 {
			t.Fatal(out)
		}
	}
	_, out := s.call(t, "GET", "/api/2.0/mlflow/metrics/get-history?metric_key=m&run_id="+run, "")
	if n := len(out["metrics"].([]any)); n != batches*1000 || out["next_page_token"] != nil {
		t.Errorf("%d points, next %v; want %d and none", n, out["next_page_token"], batches*1000)
	}
	total := 0
	for token, pages := "", 0; pages < 10; pages++ {
		_, out := s.call(t, "GET", "/api/2.0/mlflow/metrics/get-history?metric_key=m&max_results=25000&run_id="+run+"&page_token="+url.QueryEscape(token), "")
		total += len(out["metrics"].([]any))
		if token, _ = out["next_page_token"].(string); token == "" {
			break
		}
	}
	if total != batches*1000 {
		t.Errorf("pages held %d points, want %d", total, batches*1000)
	}
}

func FuzzReadMetricNeverPanics(f *testing.F) {
	for _, s := range []string{`{"run_id":"r","key":"k","value":1.5,"timestamp":1,"step":2}`, `{"run_uuid":"r","key":"k","value":"NaN","timestamp":"-1"}`, `{"value":`, `[]`, `{"run_id":null,"value":null}`, `{"run_id":"r","key":"k","value":"1e999","timestamp":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		run, p, err := readMetric(b)
		switch {
		case err != nil && !problem.Is(err, problem.Invalid):
			t.Errorf("%q: %v is no refusal", b, err)
		case err == nil && (run == "" || p.Key == ""):
			t.Errorf("%q was read as run %q, key %q, value %v", b, run, p.Key, math.Float64bits(p.Value))
		}
	})
}
