package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
	"keelson/internal/monitor"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// world is an alert service whose clock is turned by hand.
type world struct {
	*Service
	t     *testing.T
	ctx   context.Context
	clock time.Time
}

func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := &world{t: t, clock: time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)}
		w.Service = &Service{DB: d, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.clock }}
		w.ctx = caller.With(context.Background(), who)
		fn(w)
	})
}

var who = caller.Caller{ID: "u", Name: "oskar", Kind: caller.Person, Roles: []string{"it-operations"}}

var (
	radius = monitor.Cause{Kind: "data", Feature: "mean_radius", Metric: "psi", Value: 1.9, Limit: 0.25}
	result = monitor.Cause{Kind: "result", Metric: "accuracy", Value: 0.81, Limit: 0.9}
)

// hear hands in an event about the n-th window.
func (w *world) hear(on func(context.Context, event.Event) error, n int, causes ...monitor.Cause) {
	w.t.Helper()
	b := monitor.Breach{Endpoint: "screening", Model: "screening", Version: 1, Window: fmt.Sprintf("w%03d", n), From: w.clock.Add(-time.Hour), To: w.clock, Causes: causes}
	data, err := json.Marshal(b)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := on(event.Caused(w.ctx, event.Event{Workspace: "default"}, "alert"), event.Event{Data: data}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) list(state string) (out []Alert) {
	w.t.Helper()
	err := w.DB.Read(w.ctx, func(tx db.Scope) (err error) { out, err = list(tx, filter{state: state}, "", 100, w.now()); return err })
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// acts counts the audit entries of an action.
func (w *world) acts(action string) (n int) {
	w.t.Helper()
	err := w.DB.Read(w.ctx, func(tx db.Scope) error {
		return tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = $2", tx.Workspace, action).Scan(&n)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestABreachOpensOneAlertPerCauseUntilItIsOver(t *testing.T) {
	each(t, func(w *world) {
		w.hear(w.OnBreach, 1, radius, result)
		w.hear(w.OnBreach, 1, radius, result) // delivered twice
		open := w.list(Open)
		if len(open) != 2 || w.acts(Opened) != 2 {
			t.Fatalf("%d alerts, %d entries", len(open), w.acts(Opened))
		}
		a := open[1]
		if a.Feature != "mean_radius" || a.Value != 1.9 || a.Limit != 0.25 || a.Windows != 1 || a.Title != "The data of screening moved: mean_radius (PSI 1.9, limit 0.25)." {
			t.Errorf("%+v", a)
		}
		want := "/api/v1/predictions?endpoint=screening&since=2026-03-03T08%3A00%3A00Z&until=2026-03-03T09%3A00%3A00.000001Z&version=1"
		if a.Link != want {
			t.Errorf("link %s", a.Link)
		}
		higher := radius
		higher.Value, higher.Metric = 2.5, "ks"
		w.clock = w.clock.Add(time.Hour)
		w.hear(w.OnBreach, 2, higher)
		if again, err := w.Get(w.ctx, a.ID); err != nil || again.Windows != 2 || again.Value != 2.5 || again.Metric != "ks" || again.Window != "w002" || again.FirstWindow != "w001" {
			t.Errorf("%+v %v", again, err)
		}
		w.hear(w.OnRecovered, 3, higher)
		w.hear(w.OnRecovered, 3, higher)
		if over, err := w.Get(w.ctx, a.ID); err != nil || over.State != Recovered || over.RecoveredAt == nil || w.acts(Over) != 1 {
			t.Errorf("%+v %v", over, err)
		}
		w.hear(w.OnBreach, 2, higher) // an old event delivered again
		if n := len(w.list("active")); n != 1 {
			t.Errorf("%d active alerts after an old event", n)
		}
		w.hear(w.OnBreach, 4, radius)
		if all := w.list("active"); len(all) != 2 || all[0].ID == a.ID || all[0].FirstWindow != "w004" {
			t.Errorf("the cause came back: %+v", all)
		}
	})
}

func TestAcknowledgingAndSilencing(t *testing.T) {
	each(t, func(w *world) {
		w.hear(w.OnBreach, 1, radius)
		id := w.list(Open)[0].ID
		if a, err := w.Acknowledge(w.ctx, id, "the new scanner"); err != nil || a.State != Acknowledged || a.By != "oskar" || a.Reason != "the new scanner" {
			t.Errorf("%+v %v", a, err)
		}
		if _, err := w.Acknowledge(w.ctx, id, ""); !problem.Is(err, problem.Conflict) {
			t.Errorf("acknowledged twice: %v", err)
		}
		w.hear(w.OnBreach, 2, radius)
		if a, _ := w.Get(w.ctx, id); a.State != Acknowledged || a.Windows != 2 {
			t.Errorf("a further window: %+v", a)
		}
		for _, until := range []time.Time{w.clock, w.clock.Add(-time.Hour), w.clock.AddDate(2, 0, 0)} {
			if _, err := w.Silence(w.ctx, id, "x", until); !problem.Is(err, problem.Invalid) {
				t.Errorf("silence until %s: %v", until, err)
			}
		}
		if a, err := w.Silence(w.ctx, id, "known until April", w.clock.Add(48*time.Hour)); err != nil || a.State != Silenced || a.Until == nil {
			t.Errorf("%+v %v", a, err)
		}
		if len(w.list(Open)) != 0 || len(w.list(Silenced)) != 1 {
			t.Error("a silenced alert is listed as open")
		}
		w.hear(w.OnRecovered, 3, radius)
		w.hear(w.OnBreach, 4, radius)
		if all := w.list("active"); len(all) != 1 || all[0].ID == id || all[0].State != Silenced || all[0].Reason != "known until April" {
			t.Errorf("the cause came back during its silence: %+v", all)
		}
		w.clock = w.clock.Add(49 * time.Hour)
		if all := w.list(Open); len(all) != 1 || all[0].State != Open || len(w.list(Silenced)) != 0 {
			t.Errorf("the silence is over: %+v", all)
		}
		if _, err := w.Acknowledge(w.ctx, id, ""); !problem.Is(err, problem.Conflict) {
			t.Errorf("an alert that is over: %v", err)
		}
		if _, err := w.Acknowledge(w.ctx, "ghost", ""); !problem.Is(err, problem.NotFound) {
			t.Errorf("an alert that is not there: %v", err)
		}
		if w.acts(seen) != 1 || w.acts(hushed) != 1 {
			t.Errorf("%d and %d audit entries", w.acts(seen), w.acts(hushed))
		}
		other := caller.WithWorkspace(w.ctx, "elsewhere")
		if _, err := w.Get(other, id); !problem.Is(err, problem.NotFound) {
			t.Errorf("another workspace: %v", err)
		}
	})
}

type gate struct{}

func (gate) Authenticate(*http.Request) (caller.Caller, error) { return who, nil }
func (gate) Refused(context.Context, rest.Route, error)        {}

func TestTheRoutesSpeakAsPlanned(t *testing.T) {
	each(t, func(w *world) {
		api := rest.New("test", gate{}, slog.New(slog.DiscardHandler))
		w.Routes(api)
		server := httptest.NewServer(api)
		defer server.Close()
		call := func(method, path, body string, into any) int {
			t.Helper()
			req, err := http.NewRequest(method, server.URL+"/api/v1/alerts"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err == nil {
				err = json.Unmarshal(b, into)
			}
			if err != nil {
				t.Fatalf("%s %s: %s: %v", method, path, b, err)
			}
			return res.StatusCode
		}
		w.hear(w.OnBreach, 1, radius, result)
		var page rest.Page[Alert]
		if code := call("GET", "?state=open&limit=1", "", &page); code != 200 || len(page.Items) != 1 || page.Next == "" {
			t.Fatalf("%d %+v", code, page)
		}
		id := page.Items[0].ID
		var others rest.Page[Alert]
		if code := call("GET", "?state=open&limit=1&cursor="+page.Next, "", &others); code != 200 || len(others.Items) != 1 || others.Items[0].ID == id || others.Next != "" {
			t.Errorf("%d %+v", code, others)
		}
		var a Alert
		if code := call("POST", "/"+id+"/ack", `{"reason":"seen"}`, &a); code != 200 || a.State != Acknowledged {
			t.Errorf("%d %+v", code, a)
		}
		if code := call("POST", "/"+id+"/silence", `{"reason":"known","until":"2026-03-05T00:00:00Z"}`, &a); code != 200 || a.State != Silenced {
			t.Errorf("%d %+v", code, a)
		}
		if code := call("GET", "/"+id, "", &a); code != 200 || a.Reason != "known" {
			t.Errorf("%d %+v", code, a)
		}
		for path, want := range map[string]int{"/ghost/ack": 404, "/" + id + "/silence": 422} {
			var doc rest.Doc
			if code := call("POST", path, `{}`, &doc); code != want || doc.Detail == "" {
				t.Errorf("POST %s: %d %+v", path, code, doc)
			}
		}
		var doc rest.Doc
		if code := call("GET", "?state=loud", "", &doc); code != 422 {
			t.Errorf("%d %+v", code, doc)
		}
	})
}
