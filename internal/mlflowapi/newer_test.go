package mlflowapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/evalset"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/outbound"
	"keelson/internal/prompt"
	"keelson/internal/rest"
	"keelson/internal/scorer"
	"keelson/internal/seal"
	"keelson/internal/webhook"
)

// neighbours gives m what its newer parts need: webhooks that may call loopback, with the bus that they listen to.
func neighbours(t testing.TB, m *API, d *db.DB, runner *job.Runner, a *rest.API) {
	t.Helper()
	rules, err := outbound.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	calls := outbound.New(outbound.Options{Rules: rules})
	m.Webhooks = &webhook.Service{DB: d, Key: seal.FromSeed(make([]byte, 32)), Calls: calls, Formats: []webhook.Format{webhook.CloudEvents{}, WebhookFormat{}}, Log: m.Log, Now: time.Now}
	m.Webhooks.Jobs(runner)
	m.Prompts = &prompt.Service{DB: d, Log: m.Log, Now: time.Now, ModelNamed: m.Inventory.Named}
	m.Inventory.Reserved = append(m.Inventory.Reserved, m.Prompts.Free)
	m.Prompts.Routes(a)
	isExperiment := func(ctx context.Context, id string) error { _, err := m.Tracking.Experiment(ctx, id); return err }
	m.Evalsets = &evalset.Service{DB: d, Log: m.Log, Now: time.Now, Experiment: isExperiment}
	m.Scorers = &scorer.Service{DB: d, Now: time.Now, Experiment: isExperiment}
	m.Webhooks.Routes(a)
	runner.Queues = map[string]int{"default": 4, webhook.Queue: 2}
	bus := &event.Bus{DB: d, Log: m.Log, Node: "test", Poll: 10 * time.Millisecond}
	bus.On("webhook", "*", m.Webhooks.Hear)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bus.Run(ctx, true) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		calls.Close()
	})
}

// as is call with a token and without reading the answer as JSON.
func (s *server) as(t testing.TB, token, method, path, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultTransport.RoundTrip(req) // no redirect is followed
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, b
}

// engineer calls as an ML engineer, who may register webhooks.
func (s *server) engineer(t testing.TB, method, path, body string) (int, map[string]any) {
	t.Helper()
	res, b := s.as(t, "engineer", method, path, body)
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%s %s answers %d with no JSON: %q", method, path, res.StatusCode, b)
	}
	return res.StatusCode, out
}

type sent struct {
	header http.Header
	body   string
}

// receiver is a real server that webhooks are sent to.
func receiver(t testing.TB) (url string, got chan sent) {
	t.Helper()
	got = make(chan sent, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- sent{r.Header.Clone(), string(b)}
		_, _ = io.WriteString(w, "what the receiver says")
	}))
	t.Cleanup(s.Close)
	return s.URL + "/hook", got
}

func next(t testing.TB, got chan sent) sent {
	t.Helper()
	select {
	case x := <-got:
		return x
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was sent in 20 s")
	}
	return sent{}
}

func TestWebhooksTellTheRegistrysEventsAsMLflowDoes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		url, got := receiver(t)
		const p = "/api/2.0/mlflow/webhooks"
		code, out := s.engineer(t, "POST", p, `{"name":"ci","url":"`+url+`","secret":"s3cret","events":[{"entity":"REGISTERED_MODEL","action":"CREATED"},{"entity":4,"action":1},{"entity":"MODEL_VERSION_ALIAS","action":"DELETED"},
			{"entity":"MODEL_VERSION_TAG","action":"SET"},{"entity":"MODEL_VERSION_TAG","action":"DELETED"},{"entity":"MODEL_VERSION","action":"CREATED"}]}`)
		if code != 200 {
			t.Fatalf("%d %v", code, out)
		}
		hook := out["webhook"].(map[string]any)
		id := hook["webhook_id"].(string)
		if hook["status"] != "ACTIVE" || hook["secret"] != nil || len(hook["events"].([]any)) != 6 || hook["creation_timestamp"].(float64) < 1e12 {
			t.Errorf("%v", hook)
		}
		run := s.run(t)
		if code, out := s.call(t, "POST", "/api/2.0/mlflow/registered-models/create", `{"name":"credit","description":"d","tags":[{"key":"a","value":"b"}]}`); code != 200 {
			t.Fatalf("%d %v", code, out)
		}
		res, b := s.as(t, "", "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/"+run+"/artifacts/m/model.txt", "hello")
		if res.StatusCode != 200 {
			t.Fatalf("%d %s", res.StatusCode, b)
		}
		for _, c := range [][3]string{
			{"POST", "model-versions/create", `{"name":"credit","source":"runs:/` + run + `/m","run_id":"` + run + `","tags":[{"key":"k","value":"v"}]}`},
			{"POST", "registered-models/alias", `{"name":"credit","alias":"champion","version":"1"}`},
			{"DELETE", "registered-models/alias", `{"name":"credit","alias":"champion"}`},
			{"POST", "model-versions/set-tag", `{"name":"credit","version":"1","key":"k","value":"w"}`},
			{"DELETE", "model-versions/delete-tag", `{"name":"credit","version":"1","key":"k"}`},
		} {
			if code, out := s.call(t, c[0], "/api/2.0/mlflow/"+c[1], c[2]); code != 200 {
				t.Fatalf("%s: %d %v", c[1], code, out)
			}
		}
		heard := map[string]map[string]any{}
		for range 6 {
			x := next(t, got)
			id, stamp := x.header.Get("X-MLflow-Delivery-Id"), x.header.Get("X-MLflow-Timestamp")
			if want := webhook.Signature([]byte("s3cret"), id, stamp, []byte(x.body)); x.header.Get("X-MLflow-Signature") != want || id == "" || x.header.Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", x.header)
			}
			var doc struct {
				Entity, Action, Timestamp string
				Data                      map[string]any
			}
			if err := json.Unmarshal([]byte(x.body), &doc); err != nil {
				t.Fatal(err)
			}
			if _, err := time.Parse(time.RFC3339Nano, doc.Timestamp); err != nil {
				t.Error(err)
			}
			heard[doc.Entity+"."+doc.Action] = doc.Data
		}
		want := map[string]string{
			"registered_model.created":    `{"description":"d","name":"credit","tags":{"a":"b"}}`,
			"model_version.created":       `{"description":null,"name":"credit","run_id":"` + run + `","source":"runs:/` + run + `/m","tags":{"k":"v"},"version":"1"}`,
			"model_version_alias.created": `{"alias":"champion","name":"credit","version":"1"}`,
			"model_version_alias.deleted": `{"alias":"champion","name":"credit"}`,
			"model_version_tag.set":       `{"key":"k","name":"credit","value":"w","version":"1"}`,
			"model_version_tag.deleted":   `{"key":"k","name":"credit","version":"1"}`,
		}
		for name, text := range want {
			if b, _ := json.Marshal(heard[name]); string(b) != text {
				t.Errorf("%s: got %s, want %s", name, b, text)
			}
		}
		code, out = s.engineer(t, "POST", p+"/"+id+"/test", `{"webhook_id":"`+id+`","event":{"entity":"MODEL_VERSION_TAG","action":"SET"}}`)
		result, _ := out["result"].(map[string]any)
		if code != 200 || result["success"] != true || result["response_status"] != 200.0 || strings.Contains(result["response_body"].(string), "receiver says") {
			t.Errorf("%d %v", code, out)
		}
		if x := next(t, got); !strings.Contains(x.body, `"entity":"model_version_tag","action":"set"`) || !strings.Contains(x.body, "example_value") {
			t.Errorf("%s", x.body)
		}
		if code, out = s.engineer(t, "PATCH", p+"/"+id, `{"status":"DISABLED","description":"off","events":[{"entity":"MODEL_VERSION","action":"CREATED"}]}`); code != 200 || out["webhook"].(map[string]any)["status"] != "DISABLED" {
			t.Errorf("%d %v", code, out)
		}
		if code, out = s.engineer(t, "GET", p+"/"+id, ""); code != 200 || out["webhook"].(map[string]any)["description"] != "off" || len(out["webhook"].(map[string]any)["events"].([]any)) != 1 {
			t.Errorf("%d %v", code, out)
		}
		if code, out = s.engineer(t, "POST", p, `{"name":"second","url":"`+url+`","events":[{"entity":"MODEL_VERSION","action":"CREATED"}]}`); code != 200 {
			t.Fatalf("%d %v", code, out)
		}
		code, out = s.engineer(t, "GET", p+"?max_results=1", "")
		if code != 200 || len(out["webhooks"].([]any)) != 1 || out["next_page_token"] == nil {
			t.Fatalf("%d %v", code, out)
		}
		code, out = s.engineer(t, "GET", p+"?max_results=1&page_token="+out["next_page_token"].(string), "")
		if code != 200 || len(out["webhooks"].([]any)) != 1 || out["next_page_token"] != nil || out["webhooks"].([]any)[0].(map[string]any)["webhook_id"] != id {
			t.Errorf("%d %v", code, out)
		}
		if code, out = s.engineer(t, "DELETE", p+"/"+id, ""); code != 200 || len(out) != 0 {
			t.Errorf("%d %v", code, out)
		}
		for _, c := range []struct {
			name, method, path, body, want string
			code                           int
		}{
			{"one that is gone", "GET", "/" + id, "", "RESOURCE_DOES_NOT_EXIST", 404},
			{"no name", "POST", "", `{"url":"` + url + `","events":[{"entity":"MODEL_VERSION","action":"CREATED"}]}`, "parameter 'name'", 400},
			{"no events", "POST", "", `{"name":"x","url":"` + url + `"}`, "parameter 'events'", 400},
			{"an unknown entity", "POST", "", `{"name":"x","url":"` + url + `","events":[{"entity":"HOUSE","action":"CREATED"}]}`, "events.entity", 400},
			{"an unknown action", "POST", "", `{"name":"x","url":"` + url + `","events":[{"entity":"MODEL_VERSION","action":"SOLD"}]}`, "events.action", 400},
			{"an action that the entity has not", "POST", "", `{"name":"x","url":"` + url + `","events":[{"entity":"MODEL_VERSION","action":"DELETED"}]}`, "model_version.deleted", 400},
			{"an address inside", "POST", "", `{"name":"x","url":"http://169.254.169.254/latest","events":[{"entity":"MODEL_VERSION","action":"CREATED"}]}`, "not public", 400},
			{"a status of its own", "PATCH", "/" + id, `{"status":"ASLEEP"}`, "RESOURCE_DOES_NOT_EXIST", 404},
			{"a page token of its own", "GET", "?page_token=../..", "", "page_token", 400},
			{"a page too large", "GET", "?max_results=1001", "", "max_results", 400},
		} {
			code, out := s.engineer(t, c.method, p+c.path, c.body)
			if b, _ := json.Marshal(out); code != c.code || !strings.Contains(string(b), c.want) {
				t.Errorf("%s: %d %s, want %d with %s", c.name, code, b, c.code, c.want)
			}
		}
		if code, out := s.call(t, "POST", p, `{"name":"x","url":"`+url+`","events":[{"entity":"MODEL_VERSION","action":"CREATED"}]}`); code != 403 || out["error_code"] != "PERMISSION_DENIED" {
			t.Errorf("a data scientist: %d %v", code, out)
		}
	})
}

// do calls as a data scientist and wants 200.
func (s *server) do(t testing.TB, method, path, body string) map[string]any {
	t.Helper()
	code, out := s.call(t, method, path, body)
	if code != 200 {
		t.Fatalf("%s %s %s: %d %v", method, path, body, code, out)
	}
	return out
}

func TestPromptsAreNoModelsAndOpenNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := serve(t, d)
		const m, v = "/api/2.0/mlflow/registered-models/", "/api/2.0/mlflow/model-versions/"
		const mark = `{"key":"mlflow.prompt.is_prompt","value":"true"}`
		s.do(t, "POST", m+"create", `{"name":"credit"}`)
		s.do(t, "POST", m+"create", `{"name":"credit.letter","tags":[`+mark+`,{"key":"team","value":"risk"}]}`)
		out := s.do(t, "POST", v+"create", `{"name":"credit.letter","source":"prompt-template","tags":[`+mark+`,{"key":"mlflow.prompt.text","value":"Dear {{name}}"},{"key":"_mlflow_prompt_type","value":"text"}]}`)
		if b, _ := json.Marshal(out); !strings.Contains(string(b), `"version":"1"`) || !strings.Contains(string(b), `{"key":"mlflow.prompt.text","value":"Dear {{name}}"}`) || !strings.Contains(string(b), mark) {
			t.Errorf("%s", b)
		}
		for query, want := range map[string]string{"": "credit", "filter=name+LIKE+'credit%25'": "credit",
			"filter=tags.%60mlflow.prompt.is_prompt%60+%3D+'true'":                          "credit.letter",
			"filter=tag.%60mlflow.prompt.is_prompt%60+%3D+'true'+AND+tags.team+%3D+'no'":    "",
			"filter=tags.%60mlflow.prompt.is_prompt%60+!%3D+'true'":                         "credit",
			"filter=tags.%60mlflow.prompt.is_prompt%60+%3D+'true'&order_by=name+DESC":       "credit.letter",
			"filter=tags.team+%3D+'risk'+and+tags.%60mlflow.prompt.is_prompt%60+%3D+'true'": "credit.letter"} {
			names := []string{}
			list, _ := s.do(t, "GET", m+"search?"+query, "")["registered_models"].([]any)
			for _, x := range list {
				names = append(names, x.(map[string]any)["name"].(string))
			}
			if strings.Join(names, " ") != want {
				t.Errorf("search %s: %v, want %s", query, names, want)
			}
		}
		if models, err := s.m.Inventory.Models(t.Context(), "", "", 10); err != nil || len(models) != 1 {
			t.Errorf("the inventory counts %d models, %v", len(models), err)
		}
		for _, c := range []struct {
			name, method, path, body, want string
			code                           int
		}{
			{"a source that is a file (CVE-2026-2614)", "POST", v + "create", `{"name":"credit.letter","source":"file:///etc/","tags":[` + mark + `,{"key":"mlflow.prompt.text","value":"x"}]}`, "Invalid prompt source", 400},
			{"the same under a name nobody has", "POST", v + "create", `{"name":"nobody","source":"file:///etc/","tags":[` + mark + `]}`, "RESOURCE_DOES_NOT_EXIST", 404},
			{"the same on a model", "POST", v + "create", `{"name":"credit","source":"file:///etc/","tags":[` + mark + `]}`, "INVALID_PARAMETER_VALUE", 400},
			{"files of a prompt", "GET", v + "get-download-uri?name=credit.letter&version=1", "", "INVALID_PARAMETER_VALUE", 400},
			{"an artifact of a prompt", "GET", "/model-versions/get-artifact?name=credit.letter&version=1&path=passwd", "", "error_code", 404},
			{"a version of a model in a prompt", "POST", v + "create", `{"name":"credit.letter","source":"prompt-template"}`, "is a prompt", 400},
			{"no text", "POST", v + "create", `{"name":"credit.letter","source":"dummy-source","tags":[` + mark + `]}`, "prompt text", 400},
			{"a stage of a prompt", "POST", v + "transition-stage", `{"name":"credit.letter","version":"1","stage":"Production"}`, "is a prompt", 400},
			{"another text", "POST", v + "set-tag", `{"name":"credit.letter","version":"1","key":"mlflow.prompt.text","value":"x"}`, "does not change", 400},
			{"a model that becomes a prompt", "POST", m + "set-tag", `{"name":"credit","key":"mlflow.prompt.is_prompt","value":"true"}`, "cannot become", 400},
			{"a prompt that becomes a model", "DELETE", m + "delete-tag", `{"name":"credit.letter","key":"mlflow.prompt.is_prompt"}`, "does not change", 400},
			{"the name of a model", "POST", m + "create", `{"name":"credit","tags":[` + mark + `]}`, "RESOURCE_ALREADY_EXISTS", 400},
			{"a model with the name of a prompt", "POST", m + "rename", `{"name":"credit","new_name":"credit-letter"}`, "credit-letter", 200},
			{"an alias that is not there", "GET", m + "alias?name=credit.letter&alias=none", "", "INVALID_PARAMETER_VALUE", 400},
			{"a version that is not there", "GET", v + "get?name=credit.letter&version=9", "", "RESOURCE_DOES_NOT_EXIST", 404},
			{"a filter that cannot be read", "GET", m + "search?filter=tags.%60mlflow.prompt.is_prompt%60+%3D", "", "INVALID_PARAMETER_VALUE", 400},
		} {
			code, out := s.call(t, c.method, c.path, c.body)
			if b, _ := json.Marshal(out); code != c.code || !strings.Contains(string(b), c.want) {
				t.Errorf("%s: %d %s, want %d with %s", c.name, code, b, c.code, c.want)
			}
		}
		var refused int
		if err := d.Read(t.Context(), func(tx db.Scope) error {
			return tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = 'prompt.refused'", tx.Workspace).Scan(&refused)
		}); err != nil || refused != 1 {
			t.Errorf("%d entries of refused sources, %v", refused, err)
		}
		s.do(t, "POST", m+"alias", `{"name":"credit.letter","alias":"production","version":"1"}`)
		if b, _ := json.Marshal(s.do(t, "GET", m+"get?name=credit.letter", "")); !strings.Contains(string(b), `"aliases":[{"alias":"production","version":"1"}]`) {
			t.Errorf("%s", b)
		}
		s.do(t, "DELETE", m+"delete", `{"name":"credit.letter"}`)
		s.do(t, "POST", m+"create", `{"name":"other"}`)
		if code, out := s.call(t, "POST", m+"create", `{"name":"other","tags":[`+mark+`]}`); code != 400 || out["error_code"] != "RESOURCE_ALREADY_EXISTS" {
			t.Errorf("%d %v", code, out)
		}
	})
}
