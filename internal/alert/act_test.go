package alert

import (
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/monitor"
	"keelson/internal/problem"
)

func TestAPolicyActsOnceWithinItsCooldownAndBudget(t *testing.T) {
	each(t, func(w *world) {
		p := Default()
		p.Actions = []Action{{Do: DoIncident}, {Do: DoSuspend, Severity: Critical}, {Do: DoRollback, Kinds: []string{Result}}, {Do: DoRetrain, Pipeline: "screening", Kinds: []string{Data}, Cooldown: 60, Budget: 2, Period: 24}}
		if _, err := w.PutPolicy(w.ctx, p); !problem.Is(err, problem.Forbidden) {
			t.Fatalf("it-operations may not start pipelines, and had it done by a policy: %v", err)
		}
		w.ctx = caller.With(w.ctx, caller.Caller{ID: "m", Name: "mira", Kind: caller.Person, Roles: []string{"ml-engineer"}})
		if saved, err := w.PutPolicy(w.ctx, p); err != nil || saved.Version != 1 || w.acts("alert.policy-changed") != 1 {
			t.Fatal(saved, err)
		}
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		a := w.list(Open)[0]
		w.work(a.ID)
		w.work(a.ID)
		w.window(1, 3, radius)
		w.work(a.ID)
		if strings.Join(w.did, ", ") != "retrain screening" {
			t.Fatalf("did %v", w.did)
		}
		got, _ := w.Service.Get(w.ctx, a.ID)
		if len(got.Acts) != 1 || got.Acts[0].State != "done" || got.Acts[0].Ref != "run-of-"+a.ID {
			t.Fatalf("%+v", got.Acts)
		}
		again := func(n int) Alert { // it recovers and comes back
			w.window(1, n)
			w.window(1, n+1)
			w.clock = w.clock.Add(-3 * time.Hour)
			w.window(1, n+2, radius)
			w.window(1, n+3, radius)
			a := w.list(Open)[0]
			w.work(a.ID)
			got, err := w.Service.Get(w.ctx, a.ID)
			if err != nil || len(got.Acts) != 1 {
				t.Fatalf("%+v %v", got, err)
			}
			return got
		}
		w.clock = w.clock.Add(-2 * time.Hour)
		if x := again(4); x.Acts[0].State != "waits" || x.Acts[0].Detail != "retrain:screening was done less than 60 minutes ago." {
			t.Fatalf("the cool-down: %+v", x.Acts)
		}
		w.clock = w.clock.Add(4 * time.Hour)
		if x := again(10); x.Acts[0].State != "done" {
			t.Fatalf("after the cool-down: %+v", x.Acts)
		}
		w.clock = w.clock.Add(4 * time.Hour)
		if x := again(20); x.Acts[0].State != "waits" || !strings.Contains(x.Acts[0].Detail, "2 times within 24 hours") {
			t.Fatalf("the budget: %+v", x.Acts)
		}
		if len(w.did) != 2 {
			t.Fatalf("did %v", w.did)
		}
		acc := 0.8
		bad := &monitor.Performance{Kind: "binary", Accuracy: &acc, N: 300}
		w.fails = problem.New(problem.Conflict, "No version was approved before.")
		w.hear(monitor.Closed, 1, 30, bad, radius, result)
		w.hear(monitor.Closed, 1, 31, bad, radius, result)
		worst := w.list(Open)[0]
		w.work(worst.ID)
		w.work(worst.ID)
		if x, _ := w.Service.Get(w.ctx, worst.ID); worst.Kind != Result || len(x.Acts) != 2 || x.Acts[0].State != "failed" || !strings.Contains(x.Acts[1].Detail, "No version was approved before") {
			t.Fatalf("what was refused is said and not tried again: %+v", x.Acts)
		}
		if strings.Join(w.did[2:], ", ") != "suspend screening, rollback screening" {
			t.Fatalf("did %v", w.did)
		}
	})
}

func TestEachEndpointIsSuspendedAndRolledBackForItself(t *testing.T) {
	each(t, func(w *world) {
		w.ctx = caller.With(w.ctx, caller.Caller{ID: "m", Name: "mira", Kind: caller.Person, Roles: []string{"ml-engineer"}})
		p := Default()
		p.Actions = []Action{{Do: DoRollback, Kinds: []string{Data}, Cooldown: 60 * 24, Budget: 1, Period: 24 * 7}, {Do: DoRetrain, Pipeline: "screening", Kinds: []string{Data}}}
		if _, err := w.PutPolicy(w.ctx, p); err != nil {
			t.Fatal(err)
		}
		breach := func(at string, version, n int) Alert {
			w.at = at
			w.window(version, n, radius)
			w.window(version, n+1, radius)
			a := w.list(Open)[0]
			w.work(a.ID)
			return a
		}
		breach("screening.dev", 4, 1)
		if breach("screening", 7, 10); strings.Join(w.did, ", ") != "rollback screening.dev, retrain screening, rollback screening" || w.left != 7 {
			t.Fatalf("did %v, the last about version %d", w.did, w.left)
		}
	})
}

func TestAnActThatWasInterruptedCountsAsDone(t *testing.T) {
	each(t, func(w *world) {
		p := Default()
		p.Actions = []Action{{Do: DoRollback, Budget: 1, Period: 24 * 7}}
		if _, err := w.PutPolicy(w.ctx, p); err != nil {
			t.Fatal(err)
		}
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		first := w.list(Open)[0]
		if err := w.DB.Write(w.ctx, func(tx db.Scope) error { // the process died over it
			return putAct(tx, first.ID, DoRollback, first.Endpoint, Act{State: "started", At: w.clock})
		}); err != nil {
			t.Fatal(err)
		}
		w.window(1, 3, radius, chance)
		w.hear(monitor.Closed, 1, 4, nil, result)
		w.hear(monitor.Closed, 1, 5, nil, result)
		next := w.list(Open)[0]
		w.work(next.ID)
		got, err := w.Service.Get(w.ctx, next.ID)
		if err != nil || next.Kind != Result || len(got.Acts) != 1 || got.Acts[0].State != "waits" || len(w.did) != 0 {
			t.Fatalf("it went back twice: %v %+v %v", w.did, got.Acts, err)
		}
	})
}

func TestWhatCameOfAnActIsToldOnce(t *testing.T) {
	each(t, func(w *world) {
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		a := w.list(Open)[0]
		before := w.acts(acted)
		for range 2 {
			if err := w.Tell(w.ctx, a.ID, "propose", "The retraining made screening/2.", nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.acts(acted) - before; n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestTheMonitorsOwnRetrainingNeedsNoPolicyAndWaitsWhenThePipelineIsBusy(t *testing.T) {
	each(t, func(w *world) {
		w.plan = &monitor.OnBreach{Retrain: &monitor.Retrain{Pipeline: "screening"}}
		w.waits = "A run of the pipeline is under way."
		w.window(1, 1, radius)
		w.window(1, 2, radius)
		id := w.list(Open)[0].ID
		w.work(id)
		if a, _ := w.Service.Get(w.ctx, id); len(a.Acts) != 1 || a.Acts[0].State != "waits" || len(w.did) != 0 {
			t.Fatalf("%+v %v", a.Acts, w.did)
		}
		w.waits = ""
		w.window(1, 3, radius, answer)
		w.work(id)
		w.window(1, 4, radius, answer)
		if second := w.list(Open)[0]; second.Kind != Prediction {
			t.Fatalf("%+v", second)
		} else if w.work(second.ID); len(w.did) != 1 {
			t.Fatalf("one shift was answered twice: %v", w.did)
		}
		if a, _ := w.Service.Get(w.ctx, id); len(a.Acts) != 1 || a.Acts[0].State != "done" || len(w.did) != 1 {
			t.Fatalf("%+v %v", a.Acts, w.did)
		}
		i, _ := w.cases.Get(w.ctx, w.incidents("")[1].ID)
		var lines []string
		for _, l := range i.Timeline {
			lines = append(lines, l.Text)
		}
		all := strings.Join(lines, "\n")
		if !strings.Contains(all, "The policy waits: A run of the pipeline is under way.") || !strings.Contains(all, "By policy: Started the pipeline screening.") {
			t.Errorf("time line:\n%s", all)
		}
	})
}
