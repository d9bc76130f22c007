package monitor

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"keelson/internal/dataset"
	"keelson/internal/prediction"
	"keelson/internal/tensor"
)

var bands = []string{"small", "medium", "large"}

// sortBands sends n patients, one a call, to a model that tells small, medium and large tumours apart by their texture and radius,
// and answers the class and its probabilities. between chooses those near the borders, of whom it is unsure. It gives the
// true classes.
func (w *world) sortBands(n int, between bool) (truth []string) {
	w.t.Helper()
	radius, _ := w.patients.Column("mean_radius")
	band, _ := w.patients.Column("size_band")
	var list []prediction.Record
	for len(list) < n {
		i := w.rng.IntN(w.patients.Rows)
		r := radius.Numbers[i] + w.rng.NormFloat64()/2 // what the model sees is not exact
		if near := math.Min(math.Abs(r-12), math.Abs(r-15)) < 0.5; between && !near {
			continue
		}
		p := []float64{math.Exp(-1.5 * (r - 12)), 1, math.Exp(1.5 * (r - 15))}
		total := p[0] + p[1] + p[2]
		best := 0
		for k := range p {
			p[k] /= total
			if p[k] > p[best] {
				best = k
			}
		}
		list = append(list, prediction.Record{Workspace: "default", Endpoint: "bands", Model: "bands", Version: 1, Slot: prediction.SlotLive, Rows: 1,
			Inputs:  []tensor.Tensor{tensor.FP64s("mean_radius", []int{1}, []float64{r})},
			Outputs: []tensor.Tensor{tensor.Strings("label", []int{1}, []string{bands[best]}), tensor.FP64s("probabilities", []int{1, 3}, p)}})
		truth = append(truth, band.Words[i])
	}
	if err := w.calls.Log.AppendAll(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
	for i := range list {
		w.ids = append(w.ids, list[i].ID)
	}
	return truth
}

func (w *world) tellWords(from int, truth []string) {
	w.t.Helper()
	var list []prediction.Outcome
	for i, v := range truth {
		text, _ := json.Marshal(v)
		list = append(list, prediction.Outcome{Prediction: w.ids[from+i], Value: text})
	}
	if _, _, err := w.calls.Record(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
}

func TestSeveralClassesAreEstimatedBeforeTheirOutcomesArrive(t *testing.T) {
	each(t, func(w *world) {
		if _, err := w.Put(w.ctx, "bands", Change{Window: &Window{Rows: 1500}}); err != nil {
			t.Fatal(err)
		}
		w.tellWords(0, w.sortBands(1500, false)) // what the estimate is learnt from
		w.tick()
		w.Service = w.again()
		truth := w.sortBands(1500, true)
		w.tick()
		all := w.all("bands")
		unsure := all[len(all)-1]
		e := unsure.Estimate
		if e == nil || e.Method != "cbpe" || e.Basis != "outcomes" || e.Metric != "accuracy" || unsure.Performance != nil {
			t.Fatalf("before outcomes: %+v, %q", e, unsure.Why)
		}
		for _, name := range []string{"roc_auc", "f1", "precision", "recall", "accuracy"} {
			m := e.Metrics[name]
			if m.Reference == nil || !(m.Lower.V < m.Value.V && m.Value.V < m.Upper.V) || m.Value.V > *m.Reference-0.03 {
				t.Errorf("%s of rows that are hard to tell: %+v", name, m)
			}
		}
		if !hasEstimated(unsure.Causes) {
			t.Errorf("causes: %+v", unsure.Causes)
		}
		w.tellWords(1500, truth)
		w.tick()
		all = w.all("bands")
		told := all[len(all)-1]
		if told.Performance == nil || told.Performance.Kind != "multiclass" {
			t.Fatalf("%+v", told.Performance)
		}
		for _, name := range []string{"roc_auc", "f1", "precision", "recall", "accuracy"} {
			m := told.Estimate.Metrics[name]
			if m.Realised == nil || math.Abs(*m.Realised-m.Value.V) > 0.07 {
				t.Errorf("the truth beside %s: %+v", name, m)
			}
		}
	})
}

func TestClassesGoByWhatTheirOutputsAndOutcomesAreCalled(t *testing.T) {
	row := func(truth any, outputs ...outputValue) labelled { return labelled{outputs, truth} }
	p := func(name string, v float64) outputValue { return outputValue{name: name, number: v} }
	for _, c := range []struct {
		name         string
		row          labelled
		truth, guess string
		kind         string
	}{
		{"numbers of classes", row(2.0, p("f0", 0.2), p("f1", 0.1), p("f2", 0.7)), "2", "2", "multiclass"},
		{"outputs named like the outcomes", row("b", p("a", 0.2), p("b", 0.5), p("c", 0.3)), "b", "b", "multiclass"},
		{"a word in front", row("b", outputValue{name: "label", number: nan, word: "c"}, p("f0", 0.2), p("f1", 0.1), p("f2", 0.7)), "b", "c", "multiclass"},
		{"a number in front", row(7.0, p("label", 7), p("f0", 0.2), p("f1", 0.1), p("f2", 0.7)), "7", "7", "multiclass"},
	} {
		if got := kindOf([]labelled{c.row}); got != c.kind {
			t.Errorf("%s: kind %s", c.name, got)
		}
		if y, guess := c.row.classes(); y != c.truth || guess != c.guess {
			t.Errorf("%s: %s, %s", c.name, y, guess)
		}
	}
	two := row(1.0, outputValue{name: "label", number: nan, word: "yes"}, p("f0", 0.3), p("f1", 0.7))
	if got := kindOf([]labelled{two}); got != "binary" || scoreOf(two.outputs) != 0.7 {
		t.Errorf("two classes behind their name: %s, %v", got, scoreOf(two.outputs))
	}
	c, ok := classRowsOf([]labelled{
		row(5.0, p("label", 5), p("f0", 0.8), p("f1", 0.1), p("f2", 0.1)), row(9.0, p("label", 7), p("f0", 0.1), p("f1", 0.8), p("f2", 0.1)),
		row(9.0, p("label", 9), p("f0", 0.1), p("f1", 0.1), p("f2", 0.8)), row(4.0, p("label", 5), p("f0", 0.8), p("f1", 0.1), p("f2", 0.1))})
	if !ok || !slices.Equal(c.names, []string{"5", "7", "9"}) || !slices.Equal(c.truth, []int{0, 2, 2}) || !slices.Equal(c.predicted, []int{0, 1, 2}) {
		t.Errorf("%+v", c)
	}
}

func TestBadProbabilitiesOfClassesHaveADefinedAnswer(t *testing.T) {
	for name, fill := range map[string]func(i int) (p [3]float64, truth any){
		"all NaN":           func(int) ([3]float64, any) { return [3]float64{nan, nan, nan}, 1.0 },
		"infinite":          func(int) ([3]float64, any) { return [3]float64{math.Inf(1), 0, 0}, 1.0 },
		"no sum of 1":       func(i int) ([3]float64, any) { return [3]float64{5, float64(i), -3}, float64(i % 3) },
		"one class only":    func(int) ([3]float64, any) { return [3]float64{1, 0, 0}, 0.0 },
		"one class is true": func(i int) ([3]float64, any) { return [3]float64{0.2, 0.3, 0.5}, "2" },
		"unknown classes":   func(i int) ([3]float64, any) { return [3]float64{0.2, 0.3, 0.5}, "elephant" },
		"mixed outcomes":    func(i int) ([3]float64, any) { return [3]float64{0.6, 0.3, 0.1}, []any{0.0, "1", true, nil, 7.5}[i%5] },
		"sometimes NaN": func(i int) ([3]float64, any) {
			if i%3 == 0 {
				return [3]float64{nan, 0.5, 0.5}, 1.0
			}
			return [3]float64{0.2, 0.5, 0.3}, float64(i % 3)
		},
	} {
		w := &rows{n: 400, outputs: []series{{name: "f0"}, {name: "f1"}, {name: "f2"}}}
		for i := range w.n {
			p, truth := fill(i)
			for k := range p {
				w.outputs[k].numbers = append(w.outputs[k].numbers, p[k])
			}
			w.outcomes = append(w.outcomes, truth)
		}
		e := learn(w, "outcomes", dataset.Ref{})
		if (e.Method == "") == (e.Why == "") {
			t.Errorf("%s: method %q, why %q", name, e.Method, e.Why)
		}
		m := Monitor{Endpoint: "e"}
		m.fill()
		r := Result{Endpoint: "e", Rows: w.n, Features: []Feature{}, Predictions: []Feature{}, Performance: evaluate(w.labelled(), w.n)}
		r.study(&m, w, &lore{limits: m.Limits, estimator: e}, nil)
		r.settle(&m, nil, nil)
		text, err := json.Marshal(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r.Estimate == nil && r.Why == "" {
			t.Errorf("%s: no estimate and no reason: %s", name, text)
		}
	}
}
