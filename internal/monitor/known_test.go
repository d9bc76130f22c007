package monitor

import (
	"slices"
	"strings"
	"testing"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// declared is a change of everything that names columns, with one of them replaced.
func declared(old, new string) Change {
	name := func(n string) string { return strings.ReplaceAll(n, old, new) }
	return Change{
		Features:   &[]string{"mean_radius", name("mean_texture")},
		Segments:   &[]Segment{{Name: "rough", When: name("input.mean_perimeter > 20.0 && has(input.extra)")}, {Name: "large", Column: name("mean_area"), Value: 1.0}},
		Embeddings: &[]Embedding{{Name: "shape", Columns: []string{name("mean_s*"), name("mean_concavity")}}},
		Ranking:    &Ranking{Query: name("mean_smoothness")},
		Metrics:    &[]Metric{{Name: "m", Expression: name(`input["mean_symmetry"] * 2.0`), When: name("input.mean_compactness > 0.1")}},
		Rules:      &[]Rule{{Column: name("mean_fractal_dimension"), Check: "missing"}, {Check: "rows", Min: some(1)}},
		Fairness:   &[]GroupLimit{{Columns: []string{name("rough"), name("size_band")}, Metric: "demographic_parity"}},
	}
}

func TestAColumnThatNothingKnowsIsRefusedAtItsFieldWithTheNearestNames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		if err := c.EnsureFor(c.ctx, "screening", "screening", dataset.Ref{Dataset: "training"}, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Put(c.ctx, "screening", declared("", "")); err != nil {
			t.Fatalf("names that are known: %v", err)
		}
		for _, k := range []struct{ old, new, field, says string }{
			{"mean_texture", "mean_texure", "features[1]", `There is no column "mean_texure" in the inputs of screening version 1 or the data training version 1; the nearest names are "mean_texture", `},
			{"mean_perimeter", "mean_perimter", "segments[0].when", `"mean_perimeter"`},
			{"mean_area", "mean_are", "segments[1].column", `"mean_area"`},
			{"mean_s*", "maen_s*", "embeddings[0].columns[0]", `"maen_s*"`},
			{"mean_concavity", "concavity", "embeddings[0].columns[1]", `"mean_concavity"`},
			{"mean_smoothness", "Mean_smoothness", "ranking.query", `are "mean_smoothness"`},
			{"mean_symmetry", "mean_simmetry", "metrics[0].expression", `"mean_symmetry"`},
			{"mean_compactness", "compactness", "metrics[0].when", `"mean_compactness"`},
			{"mean_fractal_dimension", "fractal", "rules[0].column", "nearest names are"},
			{"size_band", "sizeband", "fairness[0].columns[1]", `There is no column "sizeband", nor a segment of this name, in`},
			{"rough", "ruogh", "fairness[0].columns[0]", ""}, // the segment is not renamed with it
		} {
			change := declared(k.old, k.new)
			if k.old == "mean_area" { // it is a part of no other name here
				(*change.Segments)[1].Column = k.new
			}
			_, err := c.Put(c.ctx, "screening", change)
			if p, ok := problem.As(err); !ok || p.Kind != problem.Invalid || p.Field != k.field || !strings.Contains(p.Detail, k.says) {
				t.Errorf("%q for %q: %v (%+v), want a refusal at %s that says %s", k.new, k.old, err, p, k.field, k.says)
			}
		}
		// What was set before is not asked about again, and segments that stand are groups.
		if _, err := c.Put(c.ctx, "screening", Change{Window: &Window{Rows: 500}, Fairness: &[]GroupLimit{{Columns: []string{"rough"}, Metric: "demographic_parity"}}}); err != nil {
			t.Error(err)
		}
		for name, other := range map[string]Change{
			"a model that nobody registered": {Model: new("partner"), Reference: &dataset.Ref{}, Features: &[]string{"anything"}},
			"an endpoint of another model":   {Features: &[]string{"anything"}, Rules: &[]Rule{{Column: "anything", Check: "missing"}}},
		} {
			if _, err := c.Put(c.ctx, "partner.eu", other); err != nil {
				t.Errorf("%s, and no reference: %v", name, err)
			}
		}
		// The first version is not live yet, and is known.
		if _, err := c.Put(c.ctx, "screening.dev", Change{Rules: &[]Rule{{Column: "mean_texure", Check: "missing"}}}); !problem.Is(err, problem.Invalid) {
			t.Errorf("before the first version is live: %v", err)
		}
	})
}

func TestCallsOfAModelServedElsewhereHaveColumnsOfTheirOwn(t *testing.T) {
	each(t, func(w *world) {
		reference := &dataset.Ref{Dataset: "patients"}
		rules := func(column string) Change {
			return Change{Reference: reference, Rules: &[]Rule{{Column: column, Check: "missing"}}}
		}
		_, err := w.Put(w.ctx, "screening", Change{Reference: reference, Features: &[]string{"mean_area", "ward"}})
		if p, ok := problem.As(err); !ok || p.Field != "features[1]" || !strings.Contains(p.Detail, "in the data patients version 1; the nearest") {
			t.Errorf("what is compared must be in the reference: %v", err)
		}
		if _, err := w.Put(w.ctx, "screening", rules("ward")); err != nil {
			t.Errorf("no call was made yet: %v", err)
		}
		w.send("screening", 1, w.quiet(8), false) // a matrix: f0, f1, …
		for column, ok := range map[string]bool{"f3": true, "mean_area": true, "malignant": true, "f30": false, "ward": false} {
			if _, err := w.Put(w.ctx, "screening", rules(column)); (err == nil) != ok {
				t.Errorf("%s: %v", column, err)
			}
		}
	})
}

func TestAMatrixWithoutNamesHasNumbersForNames(t *testing.T) {
	k := inputs{names: map[string]bool{}}
	k.take("one", engine.Signature{Inputs: []engine.Spec{{Name: "x", Shape: []int{-1, 4}}, {Name: "age", Shape: []int{-1, 1}}, {Name: "m", Shape: []int{-1, 2}, Columns: []string{"a", "b"}}}})
	for name, want := range map[string]bool{"f0": true, "x_3": true, "x": true, "age": true, "a": true, "x_*": true, "f*": true, "m": false, "y_0": false, "f": false, "b_*": false} {
		if k.has(name) != want {
			t.Errorf("%s is known: %v", name, !want)
		}
	}
	for text, want := range map[string][]string{
		`input.a > input["b c"] || input.a < 0.0`:               {"a", "b c"},
		`has(input.a) && input.a > 1.0 && output.p > 0.5`:       nil,
		`[1.0, 2.0].exists(x, x == input.d) || "e" in input`:    {"d"},
		`input.size() > 3 && outcome == 1.0 && input[output.k]`: nil,
	} {
		e, err := compile(text, true)
		if err != nil || !slices.Equal(e.inputs, want) {
			t.Errorf("%s names %q (%v), want %q", text, e.inputs, err, want)
		}
	}
}

func TestColumnsThatCallsSendNowAreKnownWhenEveryWindowIsClosed(t *testing.T) {
	each(t, func(w *world) {
		rule := func(column string) error {
			_, err := w.Put(w.ctx, "screening", Change{Reference: &dataset.Ref{Dataset: "patients"}, Rules: &[]Rule{{Column: column, Check: "missing"}}})
			return err
		}
		send := func(column string) { // a window of calls
			var list []prediction.Record
			for range 100 {
				list = append(list, prediction.Record{Workspace: "default", Endpoint: "screening", Model: "screening", Version: 1, Slot: prediction.SlotLive, Rows: 4,
					Inputs:  []tensor.Tensor{tensor.FP64s(column, []int{4, 1}, []float64{1, 2, 3, 4})},
					Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{4, 1}, make([]float32, 4))}})
			}
			if err := w.calls.Log.AppendAll(w.ctx, list); err != nil {
				w.t.Fatal(err)
			}
		}
		if err := rule("mean_area"); err != nil {
			w.t.Fatal(err)
		}
		send("before")
		send("now")
		w.tick()
		if n := len(w.all("screening")); n != 2 {
			w.t.Fatalf("%d windows, want both to be closed", n)
		}
		if err := rule("nothing"); !problem.Is(err, problem.Invalid) {
			w.t.Errorf("a column that no call has: %v", err)
		}
		if err := rule("now"); err != nil {
			w.t.Errorf("what the newest calls send: %v", err)
		}
		send("later")
		if err := rule("later"); err != nil {
			w.t.Errorf("what the open window's calls send: %v", err)
		}
	})
}
