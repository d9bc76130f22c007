package alert

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/incident"
)

// fell lets the service hear of a fall.
func (w *world) fell(f Fall) {
	w.t.Helper()
	f.Model = "screening"
	if err := w.Fell(caller.System(w.ctx, "serving"), f); err != nil {
		w.t.Fatal(err)
	}
	w.clock = w.clock.Add(time.Second)
}

func TestAnEngineThatBreaksDownIsOneIncidentAndThePolicyActs(t *testing.T) {
	each(t, func(w *world) {
		w.ctx = caller.With(w.ctx, caller.Caller{ID: "m", Name: "mira", Kind: caller.Person, Roles: []string{"ml-engineer", "it-operations"}})
		p := Default()
		p.Actions = []Action{{Do: DoSuspend, Kinds: []string{Crash}, Severity: Critical}} // and no word of incidents
		p.Escalate = []Step{{After: 10, To: "accountable"}}
		p.Close = false
		if _, err := w.PutPolicy(w.ctx, p); err != nil {
			t.Fatal(err)
		}
		w.fell(Fall{Endpoint: "screening.dev", Version: 3, Why: "Version 3 lost its process: it was ended by the signal killed.", Words: "row of eve"})
		list := w.list(Open)
		if len(list) != 1 || list[0].Kind != Crash || list[0].Severity != Warning || list[0].Version != 3 || list[0].Owner != "dana" || strings.Contains(list[0].Title+list[0].Words, "eve") ||
			!strings.Contains(list[0].Words, "broke down once") || !strings.Contains(list[0].Words, "signal killed.") {
			t.Fatalf("after one fall: %+v", list)
		}
		w.work(list[0].ID)
		if len(w.did) != 0 {
			t.Errorf("a warning is acted on as if it were critical: %v", w.did)
		}
		w.fell(Fall{Endpoint: "screening.prod", Version: 3, Why: "Version 3 lost its process: it was ended by the signal killed."})
		cases := w.incidents(incident.Open)
		if len(cases) != 1 || cases[0].Kind != incident.EngineCrashed || cases[0].Count != 2 || cases[0].Owner != "dana" {
			t.Fatalf("two endpoints of one model: %+v", cases)
		}
		one, err := w.cases.Get(w.ctx, cases[0].ID)
		if err != nil || len(one.Timeline) == 0 {
			t.Fatal(one, err)
		}
		lines := ""
		for _, l := range one.Timeline {
			lines += l.Text + "\n"
		}
		if !strings.Contains(lines, "It broke down: Version 3 lost") || !strings.Contains(lines, "Its last words: row of eve") {
			t.Errorf("the time line: %s", lines)
		}
		w.fell(Fall{Endpoint: "screening.dev", Version: 3, Rests: true, Why: "Version 3 lost its process: it was ended by the signal killed. It rests."})
		list = w.list(Open)
		if len(list) != 2 || list[1].Severity != Critical || !strings.Contains(list[1].Words, "broke down 2 times") {
			t.Fatalf("at rest: %+v", list)
		}
		w.work(list[1].ID)
		if strings.Join(w.did, ", ") != "suspend screening.dev" {
			t.Errorf("did %v", w.did)
		}
		w.clock = w.clock.Add(11 * time.Minute)
		if err := w.Escalate(w.ctx); err != nil {
			t.Fatal(err)
		}
		if got, _ := w.Service.Get(w.ctx, list[1].ID); got.Level != 1 || got.Owner != "bo" {
			t.Errorf("nobody acknowledged it, and it was not passed on: %+v", got)
		}
		if err := w.Hold(w.ctx); err != nil || len(w.list(Open)) != 2 {
			t.Errorf("after 11 minutes: %v, %d alerts", err, len(w.list(Open)))
		}
		w.clock = w.clock.Add(quiet)
		if err := w.Hold(w.ctx); err != nil || len(w.list(Open)) != 0 || w.acts(Over) != 2 {
			t.Errorf("after half an hour: %v, %d alerts", err, len(w.list(Open)))
		}
		if len(w.incidents(incident.Open)) != 1 {
			t.Error("the incident closed by itself where the policy says that incidents do not")
		}
		w.fell(Fall{Endpoint: "screening.dev", Version: 3, Panic: true, Why: "Version 3 took its engine down: index out of range."})
		if list := w.list(Open); len(list) != 1 || list[0].Severity != Critical || list[0].Incident != cases[0].ID {
			t.Errorf("a panic later: %+v", list)
		}
	})
}

func TestAPanicAndAFallWithoutAnEndpointAreIncidentsOfTheirKind(t *testing.T) {
	each(t, func(w *world) {
		w.fell(Fall{Endpoint: "screening.dev", Version: 1, Panic: true, Why: "Version 1 took its engine down: x."})
		if c := w.incidents(incident.Open); len(c) != 1 || c[0].Kind != incident.EnginePanic || c[0].Severity != incident.High {
			t.Errorf("a panic: %+v", c)
		}
		w.fell(Fall{Version: 2, Rests: true, Why: "Version 2 lost its process.", Words: "x"})
		if c := w.incidents(incident.Open); len(c) != 1 || c[0].Count != 2 {
			t.Errorf("and a version that answers nowhere: %+v", c)
		}
		if len(w.list(Open)) != 1 {
			t.Error("a version that answers nowhere has an alert")
		}
	})
}

func TestTheIncidentOfAnEngineThatHoldsClosesByItself(t *testing.T) {
	each(t, func(w *world) {
		look := func(after time.Duration, want int, say string) {
			t.Helper()
			w.clock = w.clock.Add(after)
			if err := w.Hold(caller.System(w.ctx, "alert")); err != nil {
				t.Fatal(err)
			}
			if got := len(w.incidents(incident.Open)); got != want {
				t.Errorf("%s: %d incidents are open, want %d", say, got, want)
			}
		}
		// At two endpoints, one of which falls again.
		w.fell(Fall{Endpoint: "screening.dev", Version: 3, Why: "It ended."})
		w.fell(Fall{Endpoint: "screening.prod", Version: 3, Why: "It ended."})
		look(20*time.Minute, 1, "after 20 minutes")
		w.fell(Fall{Endpoint: "screening.prod", Version: 3, Why: "It ended."})
		look(15*time.Minute, 1, "while one endpoint does not hold yet")
		look(20*time.Minute, 0, "when both hold")
		closed := w.incidents(incident.Closed)
		if one, err := w.cases.Get(w.ctx, closed[0].ID); err != nil || !strings.Contains(one.Timeline[len(one.Timeline)-1].Text, "has held for 30 minutes. Closed by itself.") {
			t.Errorf("the time line ends with %+v, %v", one.Timeline, err)
		}
		// A version that answers nowhere.
		w.fell(Fall{Version: 2, Why: "It ended."})
		look(20*time.Minute, 1, "nowhere, after 20 minutes")
		w.fell(Fall{Version: 2, Why: "It ended."})
		look(20*time.Minute, 1, "nowhere, 20 minutes after it fell again")
		look(11*time.Minute, 0, "nowhere, after half an hour")
		last := w.incidents(incident.Closed)[0]
		if _, err := w.cases.Reopen(caller.With(w.ctx, caller.Caller{ID: "m", Name: "mira", Kind: caller.Person}), last.ID, "it is not over"); err != nil {
			t.Fatal(err)
		}
		look(2*time.Hour, 1, "opened again by a person")
	})
}

func TestIncidentsThatStayOpenDoNotHideThoseThatClose(t *testing.T) {
	each(t, func(w *world) {
		w.ctx = caller.With(w.ctx, caller.Caller{ID: "m", Name: "mira", Kind: caller.Person, Roles: []string{"ml-engineer", "it-operations"}})
		stay := Default()
		stay.Close = false
		if _, err := w.PutPolicy(w.ctx, stay); err != nil {
			t.Fatal(err)
		}
		closes := Default()
		closes.Model = "screening"
		if _, err := w.PutPolicy(w.ctx, closes); err != nil {
			t.Fatal(err)
		}
		many := incident.LonePage + 5
		if err := w.DB.Write(w.ctx, func(tx db.Scope) error {
			for i := range many {
				kind := []string{incident.EngineCrashed, incident.EnginePanic}[i%2]
				if _, err := w.cases.OpenIn(tx, incident.New{Kind: kind, Model: fmt.Sprint("m", i), Severity: incident.Low, Key: fmt.Sprint("k", i), Title: "It ended."}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		w.fell(Fall{Version: 2, Why: "It ended."})
		w.clock = w.clock.Add(quiet + time.Minute)
		if err := w.Hold(caller.System(w.ctx, "alert")); err != nil {
			t.Fatal(err)
		}
		if closed := w.incidents(incident.Closed); len(closed) != 1 || closed[0].Model != "screening" {
			t.Errorf("closed are %+v", closed)
		}
		if w.DB.Postgres() {
			return
		}
		// Those that stay open cost no transaction that writes: there is one at a time, and this is it.
		if err := w.DB.Write(w.ctx, func(tx db.Scope) error {
			ctx, cancel := context.WithTimeout(caller.System(w.ctx, "alert"), 5*time.Second)
			defer cancel()
			return w.Hold(ctx)
		}); err != nil {
			t.Errorf("a look at those that stay open writes: %v", err)
		}
	})
}
