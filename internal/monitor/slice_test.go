package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/estimate"
	"keelson/internal/explain"
	"keelson/internal/prediction"
)

func TestTheSliceOfWrongOutcomesIsFoundAndSaidInTheVerdict(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		if _, err := c.Put(c.ctx, "screening", Change{Window: &Window{Rows: 1000}, Reference: &dataset.Ref{Dataset: "training"}}); err != nil {
			t.Fatal(err)
		}
		c.serve(1000, nil)
		c.look()
		var list []prediction.Outcome
		rng := rand.New(rand.NewPCG(3, 3))
		texture := func(i int) float64 {
			v, err := strconv.ParseFloat(c.value(c.who[i], "mean_texture"), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		for i, id := range c.sent {
			v := c.value(c.who[i], "malignant")
			if texture(i) > 22 && rng.IntN(3) > 0 { // of rough tissue the answers turn out wrong
				v = map[string]string{"0": "1", "1": "0"}[v]
			}
			list = append(list, prediction.Outcome{Prediction: id, Value: json.RawMessage(v)})
		}
		if _, _, err := c.log.Record(c.ctx, list); err != nil {
			t.Fatal(err)
		}
		c.now = c.now.Add(20e9)
		w := c.look()
		if len(w) != 1 || w[0].Worst == nil || len(w[0].Found) == 0 {
			t.Fatalf("%d windows: %+v", len(w), w[0].Found)
		}
		p := w[0].Worst
		k := p.Slice.Conditions[0]
		if k.Column != "mean_texture" || k.Above == nil || *k.Above < 18 || p.Estimated || *p.Value > 0.7 || p.Slice.Rest < *p.Value+0.2 || p.Slice.Rows != 1000 || p.Slice.Looked < 100 || p.Slice.P > 0.01 {
			t.Errorf("%+v %+v", p, p.Slice)
		}
		// Its numbers are those of the rows themselves.
		rows := 0
		for i := range c.sent {
			if texture(i) > *k.Above && (k.AtMost == nil || texture(i) <= *k.AtMost) {
				rows++
			}
		}
		if len(p.Slice.Conditions) == 1 && (p.Rows != rows || p.Labelled != rows) {
			t.Errorf("%s holds %d rows, %d are said", p.Name, rows, p.Rows)
		}
		want := fmt.Sprintf("It is worst where %s: accuracy %s on %d rows against %s on the others", p.Name, explain.Number(*p.Value), p.Labelled, explain.Number(p.Slice.Rest))
		if v := c.verdict(); !strings.Contains(v, want) || w[0].Where("result") == "" || w[0].Where("data") != "" {
			t.Errorf("%s\nlacks %s", v, want)
		}
	})
}

func TestASliceThatMovedIsFoundWithoutASegmentAndSaid(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		if _, err := w.Put(w.ctx, "screening", Change{Window: &Window{Rows: 800}}); err != nil {
			t.Fatal(err)
		}
		w.examine(800, nil)
		w.tick()
		w.examine(800, nil)
		w.tick()
		if all := w.all("screening"); len(all) != 2 || all[0].FoundDrift != nil || all[1].FoundDrift != nil {
			t.Fatalf("a slice moved in quiet windows: %+v", all[1].FoundDrift)
		}
		w.Service = w.again() // what was learnt of the reference is learnt again
		w.examine(800, func(column string, radius, v float64) float64 {
			switch {
			case radius <= 15.5:
			case column == "mean_texture":
				return v + 6
			case column == "answer":
				return 1 - v
			}
			return v
		})
		w.tick()
		r := w.all("screening")[2]
		by := map[string]Drifted{}
		for _, f := range r.FoundDrift {
			by[f.Kind] = f
		}
		data, answers := by["data"], by["prediction"]
		if data.Feature != "mean_texture" || data.Direction != "up" || data.Slice == nil || data.Slice.Condition.Above == nil || data.Overall == nil || data.Value < 2**data.Overall || data.Value < data.Limit || data.Slice.Rows < 50 || data.Slice.ReferenceRows < 50 {
			t.Errorf("inputs: %+v %+v", data, data.Slice)
		}
		if answers.Feature != "probability" || answers.Slice == nil {
			t.Errorf("outputs: %+v", answers)
		}
		v, err := w.Verdict(w.ctx, "screening")
		if all := strings.Join(v.Reasons, " "); err != nil || !strings.Contains(all, "mean_texture moved up most where "+data.Segment+" (PSI ") || r.Where("data") == "" || r.Where("prediction") == "" {
			t.Errorf("%v %s", err, all)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}

func TestBeforeOutcomesTheSliceIsExpectedAndSaidToBe(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	n := 2000
	scores, predicted, truth := make([]float64, n), make([]bool, n), make([]bool, n)
	for i := range scores {
		scores[i] = rng.Float64()
		predicted[i], truth[i] = scores[i] >= 0.5, rng.Float64() < scores[i]
	}
	cbpe, err := estimate.Fit(scores, predicted, truth)
	if err != nil {
		t.Fatal(err)
	}
	age, answer := make([]float64, n), make([]float64, n)
	for i := range age {
		age[i] = 20 + 60*rng.Float64()
		if answer[i] = 0.02; i%2 == 0 {
			answer[i] = 0.98
		}
		if age[i] > 60 {
			answer[i] = 0.4 + 0.2*rng.Float64() // it is not sure of the old
		}
	}
	w := &rows{n: n, inputs: []series{{name: "age", numbers: age}}, outputs: []series{{name: "probability", numbers: answer}}}
	r := Result{Rows: n}
	m := Monitor{Endpoint: "x"}
	r.judgeRows(&m, w, &lore{estimator: &estimator{Method: methodCBPE, CBPE: cbpe}})
	p := r.Worst
	if p == nil || !p.Estimated || p.Labelled != 0 || !strings.HasPrefix(p.Name, "age is above") || p.Overall == nil || *p.Value > *p.Overall-0.1 || math.Abs(p.Slice.Rest-0.95) > 0.1 {
		t.Fatalf("%+v", p)
	}
	if text := r.Where("result"); !strings.HasPrefix(text, "It is expected to be worst where age is above") || !strings.Contains(text, "estimated accuracy") {
		t.Error(text)
	}
}

func TestSlicesOfWordsTruthValuesAndChangedTypesAreCutAsTheReferenceIs(t *testing.T) {
	ref := profileOf([]series{{name: "ward", words: strings.Fields("north north north south south west")}, {name: "smoker", words: strings.Fields("true true false")},
		{name: "age", numbers: []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}}}, map[string]string{"smoker": "bool"})
	for name, c := range map[string]struct {
		have series
		want []uint8
	}{
		"words":                   {series{name: "ward", words: []string{"north", "west", "", "moon"}}, []uint8{0, 2, 4, 3}},
		"truth values":            {series{name: "smoker", numbers: []float64{1, 0, nan}}, []uint8{0, 1, 3}},
		"numbers on an edge":      {series{name: "age", numbers: []float64{0.2, 0.21, nan}}, []uint8{0, 1, 4}},
		"numbers of 32 bits":      {series{name: "age", numbers: []float64{float64(float32(0.2)), float64(float32(0.4)), math.Inf(1)}}, []uint8{0, 1, 4}},
		"numbers sent as words":   {series{name: "age", words: []string{"0.2", "0.8", ""}}, []uint8{0, 3, 4}},
		"words where numbers was": {series{name: "age", words: []string{"old", "old", "young", ""}}, []uint8{0, 0, 1, 3}},
		"a column that is new":    {series{name: "dose", numbers: []float64{1, 2, 3, 4}}, []uint8{0, 1, 2, 3}},
	} {
		cut, as := cutOf(&c.have, ref)
		if got := codesOf(&cut, &as); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
