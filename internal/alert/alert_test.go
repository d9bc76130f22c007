package alert

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/incident"
	"keelson/internal/monitor"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

func TestAllColumnsThatMoveInTheSameWindowsAreOneAlertAndOneIncident(t *testing.T) {
	each(t, func(w *world) {
		w.window(1, 1, radius, area)
		if len(w.list("active")) != 0 || len(w.list(Pending)) != 1 || len(w.incidents("")) != 0 {
			t.Fatalf("one window alone told somebody: %+v", w.list(""))
		}
		w.window(1, 2, radius, area, answer)
		open := w.list(Open)
		if len(open) != 1 || w.acts(Opened) != 1 {
			t.Fatalf("%d alerts, %d entries", len(open), w.acts(Opened))
		}
		a := open[0]
		if a.Kind != Data || a.Severity != Warning || len(a.Columns) != 2 || a.Columns[0].Name != "mean_radius" || a.Columns[0].Windows != 2 || a.Windows != 2 || a.FirstWindow != "w001" ||
			a.Title != "The data of screening moved: mean_radius (PSI 1.9, limit 0.25), mean_area (KS 0.5, limit 0.25)." || a.Owner != "dana" {
			t.Errorf("%+v", a)
		}
		if !strings.Contains(a.Words, "2 inputs have moved") || !strings.Contains(a.Words, "since 3 March 08:00 UTC, in 2 windows of 800 rows") || !strings.Contains(a.Words, "not known yet, so this is a warning") {
			t.Errorf("words: %s", a.Words)
		}
		want := "/api/v1/predictions?endpoint=screening&since=2026-03-03T09%3A00%3A00Z&until=2026-03-03T10%3A00%3A00.000001Z&version=1"
		if a.Link != want {
			t.Errorf("link %s", a.Link)
		}
		cases := w.incidents("")
		if len(cases) != 1 || cases[0].ID != a.Incident || cases[0].Kind != incident.DataMoved || cases[0].Severity != incident.Low || cases[0].Owner != "dana" {
			t.Fatalf("%+v", cases)
		}
		i, err := w.cases.Get(w.ctx, a.Incident)
		if err != nil || i.Facts == nil || len(i.Facts.Columns) != 2 || len(i.Facts.Windows) != 2 || i.Facts.Link != a.Link || !strings.HasPrefix(i.Timeline[0].Text, "The first window over the limit began: mean_radius") {
			t.Fatalf("%+v %v", i, err)
		}
		w.window(1, 2, radius, area, answer) // delivered twice
		w.window(1, 3, radius, answer)       // the second of the predictions: another cause
		if open := w.list(Open); len(open) != 2 || open[1].Windows != 3 || open[1].Columns[1].Over || !open[1].Columns[0].Over || open[0].Kind != Prediction || len(w.incidents("")) != 2 {
			t.Fatalf("%+v", open)
		}
		w.window(1, 4)
		if len(w.list(Open)) != 2 {
			t.Fatal("one good window ended it")
		}
		w.window(1, 5)
		if len(w.list("active")) != 0 || w.acts(Over) != 2 || len(w.incidents(incident.Closed)) != 2 {
			t.Fatalf("two good windows did not end it: %+v", w.list("active"))
		}
		i, _ = w.cases.Get(w.ctx, a.Incident)
		if last := i.Timeline[len(i.Timeline)-1].Text; last != "screening recovered: 2 good windows in a row. Closed by itself." {
			t.Errorf("it does not say so: %s", last)
		}
		w.window(1, 2, radius, area) // an old event delivered again
		if n := len(w.list("active")) + len(w.list(Pending)); n != 0 {
			t.Errorf("%d alerts after an old event", n)
		}
		w.window(1, 6, radius)
		w.window(1, 7, radius)
		if all := w.list("active"); len(all) != 1 || all[0].ID == a.ID || all[0].FirstWindow != "w006" {
			t.Errorf("the cause came back: %+v", all)
		}
	})
}

func TestAnAlertNamesTheSliceWhereItIsWorst(t *testing.T) {
	each(t, func(w *world) {
		value, overall, was := 0.71, 0.88, 0.03
		w.found = monitor.Findings{
			Worst:      &monitor.Part{Name: "region is north and age is above 60", Metric: "accuracy", Labelled: 120, Value: &value, Overall: &overall, Slice: &monitor.Slice{Rest: 0.9, Gap: 0.19, Lower: 0.11, Upper: 0.28}},
			FoundDrift: []monitor.Drifted{{Kind: "data", Segment: "region is south", Feature: "mean_radius", Metric: "psi", Value: 0.9, Limit: 0.4, Overall: &was, Direction: "up", Slice: &monitor.DriftedSlice{Rows: 90}}},
		}
		for n := range 2 {
			w.window(1, n+1, radius)
			w.hear(monitor.Labelled, 1, n+1, &monitor.Performance{N: 200}, radius, result)
		}
		words := map[string]string{}
		for _, a := range w.list(Open) {
			words[a.Kind] = a.Words
		}
		for kind, want := range map[string]string{
			Result: "It is worst where region is north and age is above 60: accuracy 0.71 on 120 rows against 0.9 on the others (worse by 0.11 to 0.28).",
			Data:   "mean_radius moved up most where region is south (PSI 0.9 on 90 rows, over all rows 0.03).",
		} {
			if !strings.Contains(words[kind], want) {
				t.Errorf("%s: %q lacks %q", kind, words[kind], want)
			}
		}
	})
}

func TestWhatOpensAnAlert(t *testing.T) {
	small := monitor.Cause{Kind: "data", Feature: "noise", Metric: "psi", Value: 9, Limit: 0.25}
	for name, c := range map[string]struct {
		windows []monitor.Cause // one window each; a nil kind is a good one
		policy  func(*Policy)
		open    int
	}{
		"a p-value alone opens nothing":                       {windows: []monitor.Cause{chance, chance, chance}},
		"a good window in between begins the count anew":      {windows: []monitor.Cause{radius, {}, radius}},
		"one window is enough where the policy says so":       {windows: []monitor.Cause{radius}, policy: func(p *Policy) { p.Windows = 1 }, open: 1},
		"three are needed where the policy says so":           {windows: []monitor.Cause{radius, radius}, policy: func(p *Policy) { p.Windows = 3 }},
		"windows with too few rows say nothing":               {windows: []monitor.Cause{radius, radius, radius}, policy: func(p *Policy) { p.MinRows = 401 }},
		"columns that carry nothing of the answers are quiet": {windows: []monitor.Cause{small, small, small}},
		"a column of weight is heard":                         {windows: []monitor.Cause{radius, radius}, open: 1},
		"what a later monitor finds is heard, too":            {windows: []monitor.Cause{{Kind: "freshness", Metric: "age", Value: 2, Limit: 1}, {Kind: "freshness", Metric: "age", Value: 2, Limit: 1}}, open: 1},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) {
				w.Importance = func(context.Context, string, string, int) (map[string]float64, error) {
					return map[string]float64{"mean_radius": 0.6, "mean_area": 0.395, "noise": 0.005}, nil
				}
				if c.policy != nil {
					p := Default()
					c.policy(&p)
					if _, err := w.PutPolicy(w.ctx, p); err != nil {
						t.Fatal(err)
					}
				}
				for n, x := range c.windows {
					if x.Kind == "" {
						w.window(1, n)
					} else {
						w.window(1, n, x)
					}
				}
				if got := len(w.list("active")); got != c.open {
					t.Fatalf("%d alerts, want %d: %+v", got, c.open, w.list(""))
				}
			})
		})
	}
}

func TestALossMakesAWarningCriticalAndLateLabelsOpenTheirOwn(t *testing.T) {
	each(t, func(w *world) {
		acc := 0.8
		bad := &monitor.Performance{Kind: "binary", Accuracy: &acc, N: 300}
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		w.hear(monitor.Labelled, 1, 1, bad, radius, result)
		w.hear(monitor.Labelled, 1, 2, bad, radius, result)
		open := w.list(Open)
		if len(open) != 2 || open[0].Kind != Result || open[0].Severity != Critical || open[0].Title != "The answers of screening got worse: the result (accuracy 0.81, limit 0.9)." {
			t.Fatalf("%+v", open)
		}
		w.window(1, 3, radius) // no label yet, but the loss is known
		a, err := w.Service.Get(w.ctx, open[1].ID)
		if err != nil || a.Severity != Critical || w.acts(Worse) != 1 || !strings.HasSuffix(a.Words, openLoss) {
			t.Fatalf("%+v %v", a, err)
		}
		if i, _ := w.cases.Get(w.ctx, a.Incident); i.Severity != incident.High {
			t.Errorf("the incident stays %s", i.Severity)
		}
	})
}

func TestTwoVersionsThatShareAnEndpointCountForThemselves(t *testing.T) {
	each(t, func(w *world) {
		w.window(1, 1, radius)
		w.window(2, 2) // the canary was made for these
		w.window(1, 3, radius)
		if len(w.list(Open)) != 1 {
			t.Fatalf("a good window of another version hid the shift: %+v", w.list(Pending))
		}
		w.window(2, 4)
		w.window(1, 5, radius)
		w.window(2, 6)
		if len(w.list(Open)) != 1 {
			t.Fatal("it recovered while the old version still drifts")
		}
		w.window(2, 7)
		if len(w.list(Open)) != 0 {
			t.Fatal("two good windows behind the last of the old version end it")
		}
	})
}

func TestAcknowledgingSilencingAndTakingItBack(t *testing.T) {
	each(t, func(w *world) {
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		id := w.list(Open)[0].ID
		if a, err := w.Acknowledge(w.ctx, id, "the new scanner"); err != nil || a.State != Acknowledged || a.By != "oskar" || a.Owner != "oskar" || a.Reason != "the new scanner" || a.EscalateAt != nil {
			t.Errorf("%+v %v", a, err)
		}
		if i := w.incidents("")[0]; i.State != incident.Acknowledged || i.Owner != "oskar" {
			t.Errorf("the incident: %+v", i)
		}
		if _, err := w.Acknowledge(w.ctx, id, ""); !problem.Is(err, problem.Conflict) {
			t.Errorf("acknowledged twice: %v", err)
		}
		if a, err := w.Release(w.ctx, id, "was wrong"); err != nil || a.State != Open || a.EscalateAt == nil {
			t.Errorf("%+v %v", a, err)
		}
		for _, until := range []time.Time{w.clock, w.clock.Add(-time.Hour), w.clock.AddDate(2, 0, 0)} {
			if _, err := w.Silence(w.ctx, id, "x", until); !problem.Is(err, problem.Invalid) {
				t.Errorf("silence until %s: %v", until, err)
			}
		}
		if _, err := w.Silence(w.ctx, id, " ", w.clock.Add(time.Hour)); !problem.Is(err, problem.Invalid) {
			t.Errorf("a silence without a reason: %v", err)
		}
		if a, err := w.Silence(w.ctx, id, "known until April", w.clock.Add(48*time.Hour)); err != nil || a.State != Silenced || a.Until == nil {
			t.Errorf("%+v %v", a, err)
		}
		if len(w.list(Open)) != 0 || len(w.list(Silenced)) != 1 {
			t.Error("a silenced alert is listed as open")
		}
		w.window(1, 3)
		w.window(1, 4)
		w.window(1, 5, radius)
		w.window(1, 6, radius)
		all := w.list("active")
		if len(all) != 1 || all[0].ID == id || all[0].State != Silenced || all[0].Reason != "known until April" {
			t.Errorf("the cause came back during its silence: %+v", all)
		}
		if a, err := w.Assign(w.ctx, all[0].ID, "mira", ""); err != nil || a.Owner != "mira" {
			t.Errorf("%+v %v", a, err)
		}
		w.clock = w.clock.Add(72 * time.Hour)
		if len(w.list(Open)) != 1 || len(w.list(Silenced)) != 0 {
			t.Error("a silence that is over still hides the alert")
		}
		if w.acts(Acked) != 1 || w.acts(hushed) != 1 || w.acts(released) != 1 || w.acts(assigned) != 1 {
			t.Error("not every act is in the audit log")
		}
	})
}

func TestAnAlertThatNobodyAcknowledgesIsPassedOn(t *testing.T) {
	each(t, func(w *world) {
		p := Default()
		p.Escalate = []Step{{After: 30, To: "accountable"}, {After: 10, To: "eve", Route: "phone"}}
		if _, err := w.PutPolicy(w.ctx, p); err != nil {
			t.Fatal(err)
		}
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		w.clock = w.clock.Add(-31 * time.Minute) // 29 minutes after it opened
		id := w.list(Open)[0].ID
		check := func(owner string, level int) {
			t.Helper()
			if err := w.Escalate(w.ctx); err != nil {
				t.Fatal(err)
			}
			if a, err := w.Service.Get(w.ctx, id); err != nil || a.Owner != owner || a.Level != level || w.acts(Escalated) != level {
				t.Fatalf("owner %s, level %d, %d entries: %v", a.Owner, a.Level, w.acts(Escalated), err)
			}
		}
		check("dana", 0)
		w.clock = w.clock.Add(2 * time.Minute)
		check("bo", 1)
		check("bo", 1)
		w.clock = w.clock.Add(11 * time.Minute)
		check("eve", 2)
		w.clock = w.clock.Add(24 * time.Hour)
		check("eve", 2)
		i, _ := w.cases.Get(w.ctx, w.incidents("")[0].ID)
		if last := i.Timeline[len(i.Timeline)-1].Text; last != "Nobody acknowledged it within 10 minutes; passed on to eve by the route phone." {
			t.Errorf("time line: %s", last)
		}
	})
}

func TestWhoTakesOnTheIncidentHasAcknowledgedItsAlerts(t *testing.T) {
	each(t, func(w *world) {
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		i, err := w.cases.Ack(w.ctx, w.incidents("")[0].ID, "mine")
		if err != nil {
			t.Fatal(err)
		}
		data, _ := json.Marshal(incident.Notice{ID: i.ID, State: i.State})
		for range 2 {
			if err := w.OnIncident(w.ctx, event.Event{Actor: "oskar", Data: data}); err != nil {
				t.Fatal(err)
			}
		}
		if a := w.list(Acknowledged); len(a) != 1 || a[0].Owner != "oskar" || a[0].EscalateAt != nil || w.acts(Acked) != 1 {
			t.Fatalf("%+v", a)
		}
	})
}

// counts are minutes of calls laid out by a test.
type counts []prediction.Minute

func (c counts) Minute(time.Time) []prediction.Minute { return c }

func TestMinutesInWhichCallsFailAlarm(t *testing.T) {
	each(t, func(w *world) {
		p := Default()
		p.P95MS = 250
		if _, err := w.PutPolicy(w.ctx, p); err != nil {
			t.Fatal(err)
		}
		turn := func(calls, failed int, ms float64) {
			t.Helper()
			took := time.Duration(ms * float64(time.Millisecond))
			w.Calls = counts{{Workspace: "default", Endpoint: "screening", Model: "screening", Version: 1, Calls: calls, Failed: failed, Took: []time.Duration{took, took, took}}}
			if err := w.Operate(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.clock = w.clock.Add(time.Minute)
		}
		turn(19, 19, 1)
		turn(100, 4, 1)
		turn(100, 50, 300)
		turn(100, 50, 1)
		open := w.list(Open)
		if len(open) != 1 || open[0].Kind != Operation || open[0].Severity != Critical || open[0].Feature != "failed calls" || open[0].Value != 0.5 || len(open[0].Columns) != 2 || open[0].Columns[1].Over {
			t.Fatalf("%+v", open)
		}
		turn(100, 0, 1)
		turn(100, 0, 1)
		if len(w.list("active")) != 0 {
			t.Fatal("two quiet minutes end it")
		}
	})
}

func TestPoliciesThatCannotWorkAreRefusedAndNameTheField(t *testing.T) {
	for field, change := range map[string]func(*Policy){
		"windows":             func(p *Policy) { p.Windows = 0 },
		"good":                func(p *Policy) { p.Good = 11 },
		"min_rows":            func(p *Policy) { p.MinRows = 0 },
		"min_importance":      func(p *Policy) { p.MinImportance = 1 },
		"error_rate":          func(p *Policy) { p.ErrorRate = 2 },
		"p95_ms":              func(p *Policy) { p.P95MS = -1 },
		"min_calls":           func(p *Policy) { p.MinCalls = 0 },
		"escalate[0].after":   func(p *Policy) { p.Escalate = []Step{{To: "x"}} },
		"escalate[0].to":      func(p *Policy) { p.Escalate = []Step{{After: 1}} },
		"actions[0].do":       func(p *Policy) { p.Actions = []Action{{Do: "pray"}} },
		"actions[0].pipeline": func(p *Policy) { p.Actions = []Action{{Do: DoRetrain}} },
		"actions[1].do":       func(p *Policy) { p.Actions = []Action{{Do: DoIncident}, {Do: DoIncident}} },
		"actions[0].kinds":    func(p *Policy) { p.Actions = []Action{{Do: DoIncident, Kinds: []string{"weather"}}} },
	} {
		p := Default()
		change(&p)
		err := p.Check()
		if x, ok := problem.As(err); !ok || x.Kind != problem.Invalid || x.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	p := Default()
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

type gate struct{}

func (gate) Authenticate(*http.Request) (caller.Caller, error) { return who, nil }
func (gate) Refused(context.Context, rest.Route, error)        {}
func call(t *testing.T, h http.Handler, method, path, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rw := httptest.NewRecorder()
	h.ServeHTTP(rw, r)
	b, _ := io.ReadAll(rw.Body)
	return rw.Code, string(b)
}

func TestNobodyTakesAPolicyBackForOneThatDoesWhatTheyMayNot(t *testing.T) {
	each(t, func(w *world) {
		p := Default()
		p.Actions = []Action{{Do: DoRollback}}
		if _, err := w.PutPolicy(w.ctx, p); err != nil {
			t.Fatal(err)
		}
		p = Default()
		p.Model = "screening"
		if _, err := w.PutPolicy(w.ctx, p); err != nil {
			t.Fatal(err)
		}
		engineer := who
		engineer.Name, engineer.Roles = "dana", []string{"data-scientist"}
		if _, err := w.DropPolicy(caller.With(w.ctx, engineer), "screening", ""); !problem.Is(err, problem.Forbidden) {
			t.Errorf("a data scientist has the workspace's policy roll back: %v", err)
		}
		if next, err := w.DropPolicy(w.ctx, "screening", "one for all"); err != nil || next.Actions[0].Do != DoRollback || w.acts("alert.policy-dropped") != 1 {
			t.Errorf("%+v, %v", next, err)
		}
	})
}

func TestAlertsOverHTTP(t *testing.T) {
	each(t, func(w *world) {
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		api := rest.New("test", gate{}, slog.New(slog.DiscardHandler))
		w.Routes(api)
		id := w.list(Open)[0].ID
		for _, c := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"GET", "/api/v1/alerts?state=open&kind=data&severity=warning", "", 200, `"name":"mean_radius","words":"mean_radius (PSI 1.9, limit 0.25)"`},
			{"GET", "/api/v1/alerts?kind=result", "", 200, `"items":[]`},
			{"GET", "/api/v1/alerts/" + id, "", 200, `"began":"2026-03-03T08:00:00Z"`},
			{"GET", "/api/v1/alerts/none", "", 404, `There is no alert`},
			{"POST", "/api/v1/alerts/" + id + "/ack", `{"reason":"seen"}`, 200, `"state":"acknowledged"`},
			{"POST", "/api/v1/alerts/" + id + "/release", `{}`, 200, `"state":"open"`},
			{"POST", "/api/v1/alerts/" + id + "/silence", `{"reason":"","until":"2026-03-05T00:00:00Z"}`, 422, `reason`},
			{"POST", "/api/v1/alerts/" + id + "/assign", `{"owner":"mira"}`, 200, `"owner":"mira"`},
			{"GET", "/api/v1/alert-policy?model=screening", "", 200, `"windows":2`},
			{"PUT", "/api/v1/alert-policy?model=screening", `{"windows":1,"note":"every window counts"}`, 200, `"version":1`},
			{"PUT", "/api/v1/alert-policy?model=screening", `{"windows":0}`, 422, `windows`},
			{"PUT", "/api/v1/alert-policy", `{"escalate":[]}`, 200, `"escalate":[]`},
			{"GET", "/api/v1/alert-policy/versions?model=screening", "", 200, `"note":"every window counts"`},
			{"GET", "/api/v1/alert-policies", "", 200, `"model":"screening"`},
			{"PUT", "/api/v1/alert-policy?model=screening", `{"windows":3,"version":1}`, 200, `"version":2`},
			{"PUT", "/api/v1/alert-policy?model=screening", `{"windows":4,"version":1}`, 409, `version 2 holds now`},
			{"PUT", "/api/v1/alert-policy?model=loans", `{"windows":4,"version":1}`, 200, `"model":"loans"`}, // it read the workspace's
			{"DELETE", "/api/v1/alert-policy?model=screening&reason=over", "", 200, `"model":""`},
			{"GET", "/api/v1/alert-policy?model=screening", "", 200, `"windows":2`},
			{"GET", "/api/v1/alert-policy/versions?model=screening", "", 200, `"dropped":true,"note":"over"`},
			{"DELETE", "/api/v1/alert-policy?model=screening", "", 404, `no policy of its own`},
			{"PUT", "/api/v1/alert-policy?model=screening", `{"windows":5}`, 200, `"version":4`}, // taking it back is undone
			{"DELETE", "/api/v1/alert-policy", "", 200, `"created_by":"keelson"`},
		} {
			if status, body := call(t, api, c.method, c.path, c.body); status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, status, body, c.status, c.want)
			}
		}
	})
}

func TestSuspectsAreWhatChangedBeforeItBegan(t *testing.T) {
	each(t, func(w *world) {
		log := &audit.Log{DB: w.DB, Log: slog.New(slog.DiscardHandler)}
		w.cases.History = log
		w.cases.Data = func(context.Context, string) ([]string, error) { return []string{"patients"}, nil }
		w.cases.Columns = func(_ context.Context, name string, version int) (string, error) {
			return "mean_radius was int and is float", nil
		}
		note := func(action, object string, detail any) {
			if err := w.DB.Write(w.ctx, func(tx db.Scope) error { return audit.Record(tx, action, object, detail) }); err != nil {
				t.Fatal(err)
			}
		}
		w.clock = time.Now().UTC().Add(2 * time.Hour) // the audit log has a clock of its own
		note("dataset.imported", "dataset/patients/2", map[string]any{"version": 2})
		note("dataset.imported", "dataset/others/2", map[string]any{"version": 2})
		note("deployment.released", "deployment/screening", map[string]any{"models": []string{"screening"}, "words": "Version 2 answers all calls."})
		note("account.signed-in", "user/oskar", nil)
		note("model.changed", "model/screening", map[string]any{"model": "screening"})
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		i, err := w.cases.Get(w.ctx, w.incidents("")[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range i.Suspects {
			got = append(got, s.Text)
		}
		want := "The data patients/2 changed its columns: mean_radius was int and is float.\nVersion 2 answers all calls.\nscreening was changed."
		if strings.Join(got, "\n") != want {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
		}
	})
}

func TestAnAlertCountsColumnsAndMetricsForThemselvesAndSaysWhatIsKnownOfTheResult(t *testing.T) {
	a := Alert{Kind: Data, Endpoint: "churn", Severity: Critical, Windows: 2}
	a.Columns = []incident.Column{{Name: "income", Metric: "psi", Words: "income down"}, {Name: "expected loss", Metric: "mean", Words: "expected loss up"}}
	a.doc.Loss = expectedLoss
	if got := a.words(); !strings.Contains(got, "made for: one input has moved and one metric of its monitor left the limits, since") || !strings.HasSuffix(got, "which outcomes have not confirmed yet: act.") {
		t.Error(got)
	}
	a.Columns = a.Columns[1:]
	for _, newest := range []string{"The result still holds, so this is a warning.", "What the rule names \"stop\" stopped: act."} { // an earlier window was worse
		a.doc.Loss = newest
		if got := a.words(); !strings.Contains(got, "made for: one metric of its monitor left the limits, since") || !strings.HasSuffix(got, "The result is worse as well, or expected to be: act.") {
			t.Error(got)
		}
	}
}
