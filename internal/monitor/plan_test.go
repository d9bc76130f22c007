package monitor

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/inventory"
	"keelson/internal/problem"
)

func TestWhatIsDeclaredWrongIsRefusedByItsField(t *testing.T) {
	for field, change := range map[string]func(*Monitor){
		"against.kind":             func(m *Monitor) { m.Against.Kind = "moon" },
		"against.window":           func(m *Monitor) { m.Against.Kind = "window" },
		"against.version":          func(m *Monitor) { m.Against.Kind = "version" },
		"limits.by":                func(m *Monitor) { m.Limits.By = "mood" },
		"window.every":             func(m *Monitor) { m.Window.Every = "5s" },
		"window.labels":            func(m *Monitor) { m.Window.Labels = 3 },
		"segments[0]":              func(m *Monitor) { m.Segments = []Segment{{Name: "a"}} },
		"segments[0].value":        func(m *Monitor) { m.Segments = []Segment{{Name: "a", Column: "c"}} },
		"segments[0].when":         func(m *Monitor) { m.Segments = []Segment{{Name: "a", When: "input.age >"}} },
		"segments[1].name":         func(m *Monitor) { m.Segments = []Segment{{Name: "a", When: "true"}, {Name: "a", When: "true"}} },
		"embeddings[0]":            func(m *Monitor) { m.Embeddings = []Embedding{{Name: "a"}} },
		"embeddings[0].columns[0]": func(m *Monitor) { m.Embeddings = []Embedding{{Name: "a", Columns: []string{"*"}}} },
		"embeddings[0].limit":      func(m *Monitor) { m.Embeddings = []Embedding{{Name: "a", Input: "x", Limit: some(3)}} },
		"embeddings[1].name":       func(m *Monitor) { m.Embeddings = []Embedding{{Name: "a", Input: "x"}, {Name: "a", Input: "y"}} },
		"metrics[0].expression":    func(m *Monitor) { m.Metrics = []Metric{{Name: "a", Expression: "'text'"}} },
		"metrics[0].when":          func(m *Monitor) { m.Metrics = []Metric{{Name: "a", Expression: "1.0", When: "1"}} },
		"metrics[0].aggregate":     func(m *Monitor) { m.Metrics = []Metric{{Name: "a", Expression: "1.0", Aggregate: "mode"}} },
		"metrics[0].min":           func(m *Monitor) { m.Metrics = []Metric{{Name: "a", Expression: "1.0", Min: some(2), Max: some(1)}} },
		"rules[0].check":           func(m *Monitor) { m.Rules = []Rule{{Column: "c", Check: "taste"}} },
		"rules[0].column":          func(m *Monitor) { m.Rules = []Rule{{Check: "missing"}} },
		"rules[0].pattern":         func(m *Monitor) { m.Rules = []Rule{{Column: "c", Check: "pattern", Pattern: "("}} },
		"rules[0].max_age":         func(m *Monitor) { m.Rules = []Rule{{Check: "freshness", MaxAge: "soon"}} },
		"rules[0].max_share":       func(m *Monitor) { m.Rules = []Rule{{Column: "c", Check: "missing", MaxShare: some(2)}} },
		"rules[0].values":          func(m *Monitor) { m.Rules = []Rule{{Column: "c", Check: "allowed"}} },
		"rules[0].values[1]":       func(m *Monitor) { m.Rules = []Rule{{Column: "c", Check: "allowed", Values: []any{"a", nil}}} },
		"rules[0].min":             func(m *Monitor) { m.Rules = []Rule{{Column: "c", Check: "range"}} },
		"rules[0].type":            func(m *Monitor) { m.Rules = []Rule{{Column: "c", Check: "type", Type: "colour"}} },
		"indicators[0].max":        func(m *Monitor) { m.Indicators = []Indicator{{Name: "a", Max: some(nan)}} },
		"indicators[1].name":       func(m *Monitor) { m.Indicators = []Indicator{{Name: "a"}, {}} },
		"metrics[0].name":          func(m *Monitor) { m.Metrics = []Metric{{Expression: "1.0"}} },
	} {
		m := Monitor{Endpoint: "x"}
		change(&m)
		m.fill()
		if p, ok := problem.As(m.Check()); !ok || p.Kind != problem.Invalid || p.Field != field {
			t.Errorf("%s: %v", field, m.Check())
		}
	}
}

func TestExpressionsSeeTheRowAndSkipWhatIsMissing(t *testing.T) {
	w := &rows{n: 4, inputs: []series{{name: "amount", numbers: []float64{10, 20, nan, 40}}, {name: "ward", words: []string{"north", "south", "north", ""}}},
		outputs: []series{{name: "score", numbers: []float64{0.9, 0.2, 0.5, 0.7}}}, outcomes: []any{1.0, 0.0, nil, true}}
	for _, c := range []struct {
		metric  Metric
		want    float64
		rows    int
		leftOut int
	}{
		{Metric{Expression: "output.score * input.amount", Aggregate: "sum"}, 9 + 4 + 28, 3, 1},
		{Metric{Expression: "input.amount", When: "input.ward == 'north'", Aggregate: "mean"}, 10, 1, 1},
		{Metric{Expression: "outcome == 1.0 && output.score < 0.5", Aggregate: "mean"}, 0, 3, 1},
		{Metric{Expression: "input.amount > 15.0", Aggregate: "count"}, 2, 3, 1},
		{Metric{When: "output.score >= 0.5", Aggregate: "count"}, 3, 3, 0},
		{Metric{Expression: "input.amount", Aggregate: "p50"}, 20, 3, 1},
		{Metric{Expression: "1.0 / 0.0", Aggregate: "mean"}, nan, 0, 4},
		{Metric{Expression: "input.nothing", Aggregate: "mean"}, nan, 0, 4},
	} {
		v := c.metric.measure(w)
		if v.Rows != c.rows || v.LeftOut != c.leftOut || math.IsNaN(c.want) != (v.Value == nil) || v.Value != nil && math.Abs(*v.Value-c.want) > 1e-12 || v.Value == nil && v.Why == "" {
			t.Errorf("%s when %q: %+v", c.metric.Expression, c.metric.When, v)
		}
	}
}

func TestRulesFindWhatBreaksThem(t *testing.T) {
	at := time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)
	w := &rows{n: 5, inputs: []series{
		{name: "age", numbers: []float64{30, 40, nan, 400, math.Inf(1)}}, {name: "id", words: []string{"a1", "a2", "a1", "", "b"}},
		{name: "at", numbers: []float64{float64(at.Add(-time.Hour).Unix()), nan, nan, nan, nan}}}}
	for _, c := range []struct {
		rule   Rule
		ok     bool
		broken int
	}{
		{Rule{Column: "age", Check: "missing", MaxShare: some(0.4)}, true, 2},
		{Rule{Column: "age", Check: "missing"}, false, 2},
		{Rule{Column: "age", Check: "range", Min: some(0), Max: some(120)}, false, 2},
		{Rule{Column: "age", Check: "type", Type: "number"}, true, 0},
		{Rule{Column: "id", Check: "unique"}, false, 1},
		{Rule{Column: "id", Check: "pattern", Pattern: "[a-z][0-9]"}, false, 1},
		{Rule{Column: "id", Check: "allowed", Values: []any{"a1", "a2", "b"}}, true, 0},
		{Rule{Column: "age", Check: "allowed", Values: []any{30.0, 40.0, 400.0}}, false, 1},
		{Rule{Column: "id", Check: "type", Type: "number"}, false, 4},
		{Rule{Column: "at", Check: "freshness", MaxAge: "2h"}, true, 0},
		{Rule{Column: "at", Check: "freshness", MaxAge: "30m"}, false, 0},
		{Rule{Check: "rows", Min: some(10)}, false, 0},
		{Rule{Check: "volume", Max: some(10)}, true, 0},
		{Rule{Column: "ghost", Check: "missing"}, false, 0},
	} {
		v := c.rule.checkWindow(w, at.Add(-time.Hour), at)
		if v.OK != c.ok || v.Broken != c.broken || v.Detail == "" || (v.cause() == nil) != c.ok {
			t.Errorf("%s: %+v", c.rule.Name(), v)
		}
	}
}

func TestTheWorstSliceIsFoundAndNothingIsFoundInNoise(t *testing.T) {
	make := func(seed uint64, bad bool) *rows {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := &rows{n: 2000}
		age, dose, ward := make([]float64, w.n), make([]float64, w.n), make([]string, w.n)
		score := make([]float64, w.n)
		w.outcomes = make([]any, w.n)
		for i := range w.n {
			age[i], dose[i], ward[i] = rng.Float64()*80, rng.Float64(), []string{"north", "south", "west"}[rng.IntN(3)]
			y := float64(rng.IntN(2))
			wrong := rng.Float64() < 0.1
			if bad && ward[i] == "south" && age[i] > 60 {
				wrong = rng.Float64() < 0.6
			}
			score[i] = 0.1 + 0.8*y
			if wrong {
				score[i] = 1 - score[i]
			}
			w.outcomes[i] = y
		}
		w.inputs = []series{{name: "age", numbers: age}, {name: "dose", numbers: dose}, {name: "ward", words: ward}}
		w.outputs = []series{{name: "score", numbers: score}}
		return w
	}
	w := make(1, true)
	j := fares(w, nil)
	all := j.worst(w, w.inputs, &lore{})
	if len(all) == 0 {
		t.Fatal("no slice was found")
	}
	p := &all[0]
	if !strings.Contains(p.Name, "ward is south") || !strings.Contains(p.Name, "age is above") || *p.Value > 0.6 || *p.Overall < 0.8 || p.Interval == nil ||
		p.Slice.Rest < 0.85 || p.Slice.AtLeast <= 0 || p.Slice.AtLeast >= p.Slice.Gap || p.Slice.P > 0.01 || p.Rows != p.Labelled {
		t.Fatalf("%+v %+v", p, p.Slice)
	}
	found := 0
	for seed := range uint64(100) {
		w := make(seed+10, false)
		j := fares(w, nil)
		if j.worst(w, w.inputs, &lore{}) != nil {
			found++
		}
	}
	if found > 5 {
		t.Errorf("a worst slice was found in noise %d times of 100", found)
	}
}

func TestWindowsOfTimeCloseWithinThirtySecondsOfTheirEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		if _, err := c.Put(c.ctx, "screening", Change{Window: &Window{Every: "10m", MinRows: 50}, Reference: &dataset.Ref{Dataset: "training"},
			Rules: &[]Rule{{Check: "rows", Min: some(30)}}}); err != nil {
			t.Fatal(err)
		}
		c.serve(300, nil) // a row a second from 9:00
		if n := len(c.look()); n != 0 {
			t.Fatalf("%d windows before the first ended", n)
		}
		live, err := c.Live(c.ctx, "screening")
		if err != nil || len(live.Open) != 1 || live.Open[0].Rows != 300 || live.Open[0].Closes == nil || live.Open[0].Prediction == nil || c.now.Sub(live.At) > 5*time.Second {
			t.Fatalf("%+v %v", live, err)
		}
		c.restart()
		again, err := c.Live(c.ctx, "screening") // another process reads the log itself
		if err != nil || len(again.Open) != 1 || again.Open[0].Rows != 300 || *again.Open[0].Prediction != *live.Open[0].Prediction {
			t.Errorf("%+v %v", again, err)
		}
		c.now = time.Date(2026, 3, 3, 9, 10, 29, 0, time.UTC)
		w := c.look()
		if len(w) != 1 || w[0].Rows != 300 || w[0].TooFew != "" || len(w[0].Rules) != 1 || !w[0].Rules[0].OK {
			t.Fatalf("at 9:10:29: %+v", w)
		}
		c.now = time.Date(2026, 3, 3, 9, 19, 50, 0, time.UTC)
		c.serve(20, nil) // ten rows in each of two windows
		c.now = time.Date(2026, 3, 3, 9, 30, 20, 0, time.UTC)
		w = c.look()
		if len(w) != 3 || w[0].Rows != 10 || w[1].Rows != 10 || w[0].TooFew == "" || w[0].Features[0].Shift != "unknown" || !w[0].Breached || w[0].Causes[0].Rule != "rows" || w[0].Causes[0].Windows != 2 {
			t.Fatalf("small windows: %d, %+v", len(w), w[0])
		}
		if b := c.events(Breached); len(b) != 2 || b[1].Causes[0].Windows != 2 || b[1].Causes[0].FirstWindow != w[1].ID {
			t.Errorf("%+v", b)
		}
	})
}

func TestWindowsOfOutcomesCloseWithEnoughOfThem(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		if _, err := c.Put(c.ctx, "screening", Change{Window: &Window{Labels: 100, MinRows: 50}, Reference: &dataset.Ref{Dataset: "training"}}); err != nil {
			t.Fatal(err)
		}
		c.serve(500, nil)
		if n := len(c.look()); n != 0 {
			t.Fatalf("%d windows without outcomes", n)
		}
		c.report(0, 90, "malignant", nil)
		if n := len(c.look()); n != 0 {
			t.Fatalf("%d windows with 90 outcomes", n)
		}
		c.report(90, 120, "malignant", nil)
		w := c.look()
		if len(w) == 1 && w[0].Performance == nil {
			w = c.look()
		}
		if len(w) != 1 || w[0].Rows != 500 || w[0].Performance == nil || w[0].Performance.N != 120 {
			t.Fatalf("%+v", w)
		}
	})
}

func TestSegmentsMetricsIndicatorsAndBackfillTogether(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		if err := c.EnsureFor(c.ctx, "screening", "screening", dataset.Ref{Dataset: "training"}, 1); err != nil {
			t.Fatal(err)
		}
		c.serve(1200, nil)
		// Of patients with rough tissue the answers turn out wrong.
		c.report(0, 1200, "malignant", nil)
		before := c.look()
		if len(before) != 3 || before[0].Segments != nil {
			t.Fatalf("%d windows", len(before))
		}
		if _, err := c.Put(c.ctx, "screening", Change{
			Segments:   &[]Segment{{Name: "rough", When: "input.mean_texture > 20.0", Min: some(0.999)}, {Name: "nobody", Column: "mean_texture", Value: -1.0}},
			Metrics:    &[]Metric{{Name: "cost of misses", Expression: "outcome == 1.0 && output.probability < 0.5 ? 1000.0 : 0.0", Aggregate: "sum", Max: some(1e9), Unit: "EUR"}},
			Indicators: &[]Indicator{{Name: "referrals a day", Max: some(50)}}}); err != nil {
			t.Fatal(err)
		}
		ghosts := []Segment{{Name: "ghosts", Column: "ghost", Value: "x"}}
		if _, err := c.Put(c.ctx, "screening", Change{Segments: &ghosts}); !problem.Is(err, problem.Invalid) {
			t.Errorf("a segment of a column that nobody knows: %v", err)
		}
		if err := c.DB.Write(c.ctx, func(tx db.Scope) error { // set while a version was served that had it
			m, _, err := get(tx, "screening")
			m.Segments = append(m.Segments, ghosts...)
			return errors.Join(err, put(tx, m))
		}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Tell(c.ctx, "screening", []Reading{{Name: "referrals a day", Value: 61}}); err != nil {
			t.Fatal(err)
		}
		if a, dup, err := c.Tell(c.ctx, "screening", []Reading{{Name: "referrals a day", Value: 61, At: c.now}}); a != 0 || dup != 1 || err != nil {
			t.Errorf("%d %d %v", a, dup, err)
		}
		for _, bad := range []Reading{{Name: "referrals a day", Value: 62, At: c.now}, {Name: "ghost", Value: 1}, {Name: "referrals a day", Value: math.Inf(1)}, {Name: "referrals a day", At: c.now.Add(48 * time.Hour)}} {
			if _, _, err := c.Tell(c.ctx, "screening", []Reading{bad}); problem.KindOf(err) == problem.Internal || err == nil {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		if v := c.verdict(); !strings.Contains(v, "referrals a day is 61") || strings.HasPrefix(v, "yes") {
			t.Error(v)
		}
		told := len(c.events(Breached))
		b, err := c.Backfill(c.ctx, "screening", time.Time{}, time.Time{})
		if err != nil || b.Total != 3 {
			t.Fatalf("%+v %v", b, err)
		}
		// Killed after the first window, then done by another attempt.
		stopped, cancel := context.WithCancel(c.ctx)
		c.restart()
		broken := c.Service
		c.restart()
		broken.Calls = &stopAfter{Log: c.Calls, scans: 2, stop: cancel} // the first quiet window, with which segments are compared, and one to look at
		if err := broken.RunBackfill(stopped, b.ID); err == nil {
			t.Fatal("the first attempt was not stopped")
		}
		half, err := c.GetBackfill(c.ctx, b.ID)
		if err != nil || half.State != "running" || half.Done == 0 || half.Done == 3 {
			t.Fatalf("half-way: %+v %v", half, err)
		}
		for range 2 {
			if err := c.RunBackfill(c.ctx, b.ID); err != nil {
				t.Fatal(err)
			}
		}
		if b, err = c.GetBackfill(c.ctx, b.ID); err != nil || b.State != "done" || b.Done != 3 || b.EndedAt == nil {
			t.Fatalf("%+v %v", b, err)
		}
		after := c.look()
		for i, r := range after {
			if r.ID != before[i].ID || r.Performance == nil || r.Performance.N != before[i].Performance.N || len(r.Features) != len(before[i].Features) {
				t.Errorf("window %d is another: %+v", i, r)
			}
			if len(r.Segments) != 3 || r.Segments[0].Value == nil || r.Segments[0].Labelled < 100 || r.Segments[1].Why == "" || r.Segments[2].Why == "" {
				t.Fatalf("segments %+v", r.Segments)
			}
			if m := r.Metrics; len(m) != 1 || m[0].Value == nil || math.Mod(*m[0].Value, 1000) != 0 || m[0].Rows != 400 {
				t.Errorf("metrics %+v", m)
			}
			if !slices.ContainsFunc(r.Causes, func(c Cause) bool { return c.Segment == "rough" && c.Kind == "result" }) {
				t.Errorf("causes %+v", r.Causes)
			}
		}
		if n := len(c.events(Breached)); n != told {
			t.Errorf("looking at the past again alerted %d times", n-told)
		}
		if c.verdict()[:2] != "no" {
			t.Error(c.verdict())
		}
	})
}

// stopAfter is a log whose reader is stopped in the middle.
type stopAfter struct {
	Log
	scans int
	stop  func()
}

func (s *stopAfter) Scan(ctx context.Context, endpoint, after string, limit int, fn func(*Call) error) error {
	if s.scans--; s.scans < 0 {
		s.stop()
		return ctx.Err()
	}
	return s.Log.Scan(ctx, endpoint, after, limit, fn)
}

func TestWindowsAreComparedWithAnAcceptedWindowOrAnotherVersion(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		w.send("screening", 1, w.large(400), false)
		w.send("screening", 1, w.large(400), false)
		w.tick()
		all := w.all("screening")
		if len(all) != 2 || !all[1].Breached || all[1].Causes[0].Windows != 2 || all[1].Causes[0].FirstWindow != all[0].ID || !all[1].Causes[0].Since.Equal(all[0].From) {
			t.Fatalf("%+v", all[1].Causes)
		}
		if i := slices.IndexFunc(all[1].Causes, func(c Cause) bool { return c.Feature == "mean_radius" }); i < 0 || all[1].Causes[i].Direction != "up" {
			t.Errorf("mean_radius did not go up: %+v", all[1].Causes)
		}
		sep, err := w.Separate(w.ctx, "screening", all[1].ID)
		if err != nil || sep.AUC.V < 0.7 || len(sep.Columns) == 0 {
			t.Fatalf("%+v %v", sep, err)
		}
		if r, err := w.Window(w.ctx, "screening", all[1].ID); err != nil || r.Separation == nil {
			t.Errorf("%+v %v", r.Separation, err)
		}
		if tg := all[1].Together; tg == nil || tg.Reconstruction == nil || tg.Unusual == nil || len(tg.Strangest) != 5 || tg.Strangest[0].Prediction < all[1].First || tg.Strangest[0].Prediction > all[1].Last {
			t.Errorf("together %+v", tg)
		}
		if _, err := w.Accept(w.ctx, "screening", "", "a new scanner for large tumours", nil); err != nil {
			t.Fatal(err)
		}
		w.send("screening", 1, w.large(400), false)
		w.tick()
		last := w.all("screening")[2]
		if has(last.Causes, "data") || last.Features[0].Shift != "none" {
			t.Errorf("large tumours after they were accepted: %+v", last.Causes)
		}
		if over := w.events(Recovered); len(over) != 1 {
			t.Errorf("%+v", over)
		}
		hour, ago := time.Now().Add(time.Hour).UTC(), time.Now().Add(-time.Hour).UTC()
		if m, err := w.Accept(w.ctx, "screening", all[1].ID, "large tumours for an hour", &hour); err != nil || m.Against.Until == nil || !m.Against.Until.Equal(hour) {
			t.Fatalf("%+v %v", m.Against, err)
		}
		w.send("screening", 1, w.large(400), false)
		w.tick()
		if last = w.all("screening")[3]; has(last.Causes, "data") {
			t.Errorf("large tumours within the hour: %+v", last.Causes)
		}
		if _, err := w.Put(w.ctx, "screening", Change{Against: &Against{Kind: "window", Window: all[1].ID, Until: &ago}}); err != nil {
			t.Fatal(err)
		}
		w.send("screening", 1, w.large(400), false)
		w.tick()
		if last = w.all("screening")[4]; last.Reference.Dataset != "patients" || !has(last.Causes, "data") {
			t.Errorf("large tumours after the hour are held against %+v: %+v", last.Reference, last.Causes)
		}
		if _, err := w.Put(w.ctx, "screening", Change{Against: &Against{Kind: "version", Version: 1}}); err != nil {
			t.Fatal(err)
		}
		if err := w.EnsureFor(w.ctx, "screening", "screening", dataset.Ref{}, 2); err != nil {
			t.Fatal(err)
		}
		w.send("screening", 2, w.large(400), false)
		w.tick()
		if last = w.all("screening")[5]; last.Reference.Dataset != "patients" || !has(last.Causes, "data") {
			t.Errorf("version 2 is not held against what version 1 is: %+v", last.Reference)
		}
	})
}

func TestLimitsComeFromChunksOfTheReferenceOrTheTier(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	calm, wild := make([]float64, 8000), make([]float64, 8000)
	for i := range calm {
		calm[i] = rng.NormFloat64()
		wild[i] = rng.NormFloat64() + 2*float64(i/400%2) // its chunks differ from each other by themselves
	}
	all := []series{{name: "calm", numbers: calm}, {name: "wild", numbers: wild}}
	u := usualOf(profileOf(all, nil), all, 400)
	if !(u["calm"].psi < 0.1 && u["wild"].psi > 3*u["calm"].psi && u["wild"].ks > u["calm"].ks && u["calm"].warn < u["calm"].psi) {
		t.Errorf("%+v", u)
	}
	if l := DefaultLimits().of(u["wild"], 0); l.PSI != u["wild"].psi || l.KS != u["wild"].ks {
		t.Errorf("%+v", l)
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		m := Monitor{Endpoint: "screening", Model: "screening", Limits: Limits{By: ByTier}}
		before, err := c.limits(c.ctx, &m)
		if err != nil || before.PSI != DefaultLimits().PSI {
			t.Errorf("%+v %v", before, err)
		}
		tier := 1
		if _, err := c.Versions.(*inventory.Service).Change(c.ctx, "screening", func(m *inventory.Model) error { m.Tier = tier; return nil }); err != nil {
			t.Fatal(err)
		}
		if l, err := c.limits(c.ctx, &m); err != nil || l.PSI != tierLimits[1].PSI {
			t.Errorf("%+v %v", l, err)
		}
	})
}

func TestAChangeWithinAWindowIsNoticedEarly(t *testing.T) {
	w := watcher{signal: "prediction"}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 3000 {
		p := 0.2
		if i >= 2000 {
			p = 0.6
		}
		v := 0.0
		if rng.Float64() < p {
			v = 1
		}
		w.see(v, i)
		if i < 2000 && len(w.found) > 0 {
			t.Fatalf("a change was seen before there was one: %+v", w.found)
		}
	}
	if len(w.found) == 0 || w.found[0].Row > 2400 {
		t.Errorf("%+v", w.found)
	}
}

// Whatever columns hold, the answer is defined: measures or why there are none, and JSON without NaN.
func TestBadColumnsHaveADefinedAnswer(t *testing.T) {
	fill := func(n int, f func(int) float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = f(i)
		}
		return out
	}
	number := fill(400, func(i int) float64 { return float64(i % 37) })
	many := make([]string, 400)
	for i := range many {
		many[i] = "word " + strconv.Itoa(i)
	}
	columns := map[string]series{
		"numbers": {numbers: number}, "NaN": {numbers: fill(400, func(int) float64 { return nan })}, "infinite": {numbers: fill(400, func(i int) float64 { return math.Inf(i%2*2 - 1) })},
		"huge": {numbers: fill(400, func(i int) float64 { return math.MaxFloat64 * float64(i%3-1) })}, "constant": {numbers: fill(400, func(int) float64 { return 7 })},
		"one row": {numbers: []float64{1}}, "empty": {numbers: []float64{}}, "words": {words: many}, "missing words": {words: make([]string, 400)}, "no words": {words: []string{}},
		"one word": {words: slices.Repeat([]string{"a"}, 400)}, "broken text": {words: slices.Repeat([]string{"\xff\x00"}, 400)},
	}
	for refName, ref := range columns {
		for curName, cur := range columns {
			ref.name, cur.name = "x", "x"
			p := profileOf([]series{ref}, nil)
			n := max(len(cur.numbers), len(cur.words))
			m := Monitor{Endpoint: "e"}
			m.Metrics = []Metric{{Name: "m", Expression: "input.x", Aggregate: "sum"}}
			m.Rules = []Rule{{Column: "x", Check: "range", Min: some(0)}, {Column: "x", Check: "freshness", MaxAge: "1h"}, {Column: "x", Check: "unique"}}
			m.Segments = []Segment{{Name: "s", Column: "x", Value: 7.0}, {Name: "t", When: "input.x > 1.0"}}
			m.Embeddings = []Embedding{{Name: "e", Columns: []string{"x"}}}
			m.fill()
			w := &rows{n: n, inputs: []series{cur}, outputs: []series{cur}, outcomes: make([]any, n)}
			for i := range w.outcomes {
				w.outcomes[i] = []any{1.0, "odd", true, nil}[i%4]
			}
			r := Result{Endpoint: "e", Rows: n, Features: compareAll(w.inputs, p, &lore{limits: m.Limits}, nil), Predictions: []Feature{}}
			r.Performance = evaluate(w.labelled(), n)
			r.study(&m, w, &lore{limits: m.Limits, together: learnTogether([]series{ref, ref}, 400), estimator: learn(w, "outcomes", dataset.Ref{})}, func(int) (string, int) { return "p", 0 })
			was := &rows{n: max(len(ref.numbers), len(ref.words)), inputs: []series{ref}, outputs: []series{ref}}
			known := &parts{regions: map[string]region{}, clouds: map[string]cloud{"e": m.Embeddings[0].learn(was)}}
			for i := range m.Segments {
				known.regions[m.Segments[i].Name] = m.Segments[i].learn(was, was, len(m.Segments))
			}
			r.Regions, r.Embeddings = known.compareRegions(&m, w, m.Limits), known.compareEmbeddings(&m, m.embeddings(w.inputs), w)
			r.Furthest = r.furthest()
			for _, one := range r.Regions {
				if one.Shift == "unknown" && one.Why == "" {
					t.Errorf("%s against %s: the segment %s is unknown without a reason", curName, refName, one.Name)
				}
			}
			if e := r.Embeddings[0]; (e.Shift == "unknown") != (e.Why != "") || e.MMD.OK() == (e.Why != "") {
				t.Errorf("%s against %s: the embedding %+v", curName, refName, e)
			}
			r.settle(&m, nil, nil)
			if text := db.ToJSON(r); !strings.Contains(text, `"features"`) || strings.Contains(text, "NaN") {
				t.Errorf("%s against %s: %s", curName, refName, text)
			}
			f := r.Features[0]
			if f.PSI == nil && f.Why == "" {
				t.Errorf("%s against %s: PSI is undefined without a reason", curName, refName)
			}
		}
	}
}
