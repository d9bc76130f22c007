package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
	"keelson/internal/incident"
	"keelson/internal/job"
	"keelson/internal/monitor"
	"keelson/internal/problem"
)

// world is an alert service whose clock is turned by hand, with incidents that are real and windows that a test lays out.
type world struct {
	found monitor.Findings // of the windows that follow
	*Service
	t     *testing.T
	ctx   context.Context
	clock time.Time
	laid  map[string]monitor.Result
	at    string // the endpoint of the windows; "" is screening
	plan  *monitor.OnBreach
	cases *incident.Service
	did   []string
	left  int // the version that the last roll-back was about
	waits string
	fails error
}

func (w *world) Findings(_ context.Context, endpoint, id string) (monitor.Result, error) {
	r, ok := w.laid[endpoint+"/"+id]
	if !ok {
		return r, problem.New(problem.NotFound, "no window")
	}
	return r, nil
}

func (w *world) Get(_ context.Context, endpoint string) (monitor.Monitor, error) {
	return monitor.Monitor{Endpoint: endpoint, OnBreach: w.plan}, nil
}

func (w *world) Suspend(_ context.Context, endpoint string, version int, reason string) (string, error) {
	w.did = append(w.did, "suspend "+endpoint)
	return endpoint + " refuses all calls.", w.fails
}

func (w *world) Rollback(_ context.Context, endpoint string, version int, reason string) (string, error) {
	w.left = version
	w.did = append(w.did, "rollback "+endpoint)
	return "It went back.", w.fails
}

func (w *world) Retrain(_ context.Context, pipeline, model, endpoint, cause string) (string, string, error) {
	if w.waits != "" {
		return "", w.waits, nil
	}
	w.did = append(w.did, "retrain "+pipeline)
	return "run-of-" + cause, "", w.fails
}

func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := &world{t: t, clock: time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC), laid: map[string]monitor.Result{}}
		now := func() time.Time { return w.clock }
		w.cases = &incident.Service{DB: d, Log: slog.New(slog.DiscardHandler), Now: now}
		w.Service = &Service{DB: d, Log: slog.New(slog.DiscardHandler), Now: now, Windows: w, Incidents: w.cases, Hands: w,
			People: func(context.Context, string) (People, error) {
				return People{Owner: "eve", Accountable: "bo", Responsible: []string{"dana", "max"}}, nil
			}}
		w.ctx = caller.With(context.Background(), who)
		fn(w)
	})
}

var who = caller.Caller{ID: "u", Name: "oskar", Kind: caller.Person, Roles: []string{"it-operations"}}

var (
	radius = monitor.Cause{Kind: "data", Feature: "mean_radius", Metric: "psi", Value: 1.9, Limit: 0.25}
	area   = monitor.Cause{Kind: "data", Feature: "mean_area", Metric: "ks", Value: 0.5, Limit: 0.25}
	answer = monitor.Cause{Kind: "prediction", Feature: "p", Metric: "psi", Value: 0.9, Limit: 0.25}
	result = monitor.Cause{Kind: "result", Metric: "accuracy", Value: 0.81, Limit: 0.9}
	chance = monitor.Cause{Kind: "data", Feature: "mean_area", Metric: "ks_p_value", Value: 0.0001, Limit: 0.05}
)

// window lays out the n-th window of version v and lets the service hear of it.
func (w *world) window(v, n int, causes ...monitor.Cause) {
	w.hear(monitor.Closed, v, n, nil, causes...)
}

func (w *world) hear(typ string, v, n int, p *monitor.Performance, causes ...monitor.Cause) {
	w.t.Helper()
	steady := []monitor.Feature{{Name: "mean_radius", Shift: "none"}}
	at := cmp.Or(w.at, "screening")
	r := monitor.Result{Findings: w.found, ID: fmt.Sprintf("w%03d", n), Endpoint: at, Model: "screening", Version: v, From: w.clock.Add(-time.Hour), To: w.clock, Rows: 400, Causes: causes,
		Features: steady, Predictions: steady, Performance: p}
	w.laid[at+"/"+r.ID] = r
	data, err := json.Marshal(monitor.News{Endpoint: at, Model: "screening", Version: v, Window: r.ID})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.OnWindow(event.Caused(w.ctx, event.Event{Workspace: "default"}, "alert"), event.Event{Type: typ, Data: data}); err != nil {
		w.t.Fatal(err)
	}
	w.clock = w.clock.Add(time.Hour)
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

func (w *world) incidents(state string) []incident.Incident {
	w.t.Helper()
	out, err := w.cases.List(w.ctx, state, "", "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// work runs the jobs that alerts enqueued for the policy's acts.
func (w *world) work(id string) {
	w.t.Helper()
	args, _ := json.Marshal(actArgs{Alert: id})
	if err := w.act(caller.System(w.ctx, "alert"), job.Job{Args: args}); err != nil {
		w.t.Fatal(err)
	}
}
