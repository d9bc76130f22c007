package alert

import (
	"strings"
	"testing"

	"keelson/internal/fairness"
	"keelson/internal/incident"
	"keelson/internal/monitor"
)

var (
	parity  = 0.12
	byName  = monitor.Cause{Kind: "fairness", Feature: "region", Metric: "demographic_parity_difference", Value: 0.12, Limit: 0.1, Words: "of region north 41 % are chosen, of region south 29 %: a difference of 0.12, allowed is 0.1"}
	known   = monitor.GroupGap{FairnessReport: fairness.FairnessReport{Measure: "demographic_parity_difference", Columns: []string{"region"}, Value: &parity, Limit: 0.2, OK: true}}
	awaited = monitor.GroupGap{FairnessReport: fairness.FairnessReport{Measure: "equal_opportunity_difference", Columns: []string{"region"}, Why: "no outcome has arrived"}, Truth: true}
)

func TestGroupsThatFareApartOpenAnAlertOfTheirOwnAndEndItWithoutOutcomes(t *testing.T) {
	each(t, func(w *world) {
		w.found = monitor.Findings{Fairness: []monitor.GroupGap{known}}
		w.window(1, 1, byName)
		if len(w.list("active")) != 0 {
			t.Fatal("one window alone told somebody")
		}
		w.window(1, 2, byName)
		open := w.list(Open)
		if len(open) != 1 || open[0].Kind != Fairness || open[0].Severity != Warning ||
			open[0].Title != "Groups fare further apart at screening than is allowed: of region north 41 % are chosen, of region south 29 %: a difference of 0.12, allowed is 0.1." ||
			!strings.Contains(open[0].Words, "since 3 March 08:00 UTC, in 2 windows of 800 rows in all") {
			t.Fatalf("%+v", open)
		}
		if cases := w.incidents(incident.Open); len(cases) != 1 || cases[0].Kind != incident.GroupsApart {
			t.Errorf("%+v", cases)
		}
		w.window(1, 3)
		w.window(1, 4)
		if len(w.list("active")) != 0 || len(w.incidents(incident.Open)) != 0 {
			t.Errorf("two good windows did not end it: %+v", w.list("active"))
		}
	})
}

func TestWhileOutcomesAreAwaitedNothingIsOver(t *testing.T) {
	each(t, func(w *world) {
		late := byName
		late.Metric, late.Late = "equal_opportunity_difference", true
		w.found = monitor.Findings{Fairness: []monitor.GroupGap{known, awaited}}
		for n := 1; n <= 2; n++ {
			w.window(1, n)
			w.hear(monitor.Labelled, 1, n, nil, late)
		}
		if open := w.list(Open); len(open) != 1 || open[0].Metric != "equal_opportunity_difference" {
			t.Fatalf("%+v", w.list(""))
		}
		for n := 3; n <= 5; n++ {
			w.window(1, n)
		}
		if len(w.list(Open)) != 1 {
			t.Error("windows without outcomes ended it")
		}
		w.found = monitor.Findings{Fairness: []monitor.GroupGap{known}}
		for n := 3; n <= 4; n++ {
			w.hear(monitor.Labelled, 1, n, nil)
		}
		if len(w.list("active")) != 0 {
			t.Error("outcomes that say it is over did not end it")
		}
		w.window(1, 6, byName)
		w.window(1, 7, byName)
		w.found = monitor.Findings{} // nothing is declared any more
		w.window(1, 8)
		w.window(1, 9)
		if len(w.list("active")) != 0 {
			t.Error("what is no longer declared is still alerted of")
		}
	})
}
