package monitor

import (
	"math"
	"strings"
	"testing"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/problem"
)

// loans are n answers of a model that tells borrowers who pay back from those who do not, and what came of them: it is right
// about four of five.
func loans(n int, threshold float64) (p0, p1 []float64, label []string, outcomes []any) {
	for i := range n {
		s := float64(i%97) / 100
		word := "repaid"
		if s >= threshold {
			word = "default"
		}
		truth := word
		if i%5 == 0 {
			truth = map[string]string{"repaid": "default", "default": "repaid"}[word]
		}
		p0, p1, label, outcomes = append(p0, 1-s), append(p1, s), append(label, word), append(outcomes, truth)
	}
	return p0, p1, label, outcomes
}

func TestTwoClassesThatAreWordsAreMeasuredWhereverTheirNamesStand(t *testing.T) {
	for _, threshold := range []float64{0.5, 0.3} {
		p0, p1, label, outcomes := loans(400, threshold)
		for name, outputs := range map[string][]series{
			"the class behind probabilities that go by its names": {{name: "repaid", numbers: p0}, {name: "default", numbers: p1}, {name: "label", words: label}},
			"the class in front of nameless probabilities":        {{name: "label", words: label}, {name: "probabilities[0]", numbers: p0}, {name: "probabilities[1]", numbers: p1}},
			"the class behind nameless probabilities":             {{name: "predict[0]", numbers: p0}, {name: "predict[1]", numbers: p1}, {name: "label", words: label}},
		} {
			w := &rows{n: 400, outputs: outputs, outcomes: outcomes}
			p := evaluate(w.labelled(), w.n)
			if p.Kind != "binary" || p.Accuracy == nil || math.Abs(*p.Accuracy-0.8) > 1e-12 || p.AUC == nil || *p.AUC < 0.6 || p.LeftOut != 0 {
				t.Errorf("%s, from %v: %s, accuracy %v, AUC %v", name, threshold, p.Kind, p.Metrics["accuracy"], p.Metrics["roc_auc"])
			}
			j := fares(w, nil)
			wrong := 0.0
			for _, l := range j.loss {
				wrong += l
			}
			if wrong != 80 || j.labelled != 400 {
				t.Errorf("%s: %v of %d rows are wrong, want 80 of 400", name, wrong, j.labelled)
			}
			if e := learn(w, "outcomes", dataset.Ref{}); e.Method != methodCBPE || math.Abs(e.Realised["accuracy"]-0.8) > 1e-12 {
				t.Errorf("%s: no estimate is learnt: %+v", name, e.Why)
			} else if got, why := e.expect(&rows{n: 400, outputs: outputs}, Limits{}); why != "" || got.Metrics["accuracy"].Lower.V > 0.8 || got.Metrics["accuracy"].Upper.V < 0.8 {
				t.Errorf("%s: estimated %+v, %s", name, got, why)
			}
		}
	}
}

func TestAClassThatStandsBehindItsProbabilitiesIsNotTakenForOne(t *testing.T) {
	numbers := &rows{n: 3, outputs: []series{{name: "a", numbers: []float64{1, 0.2, 0.7}}, {name: "b", numbers: []float64{0, 0.8, 0.3}}, {name: "label", numbers: []float64{0, 1, 0}}}, outcomes: []any{0.0, 1.0, 1.0}}
	if p := evaluate(numbers.labelled(), 3); p.Kind != "binary" || math.Abs(*p.Accuracy-2.0/3) > 1e-12 {
		t.Errorf("%s %v", p.Kind, p.Metrics["accuracy"])
	}
	three := &rows{n: 3, outputs: []series{{name: "cat", numbers: []float64{.7, .2, .1}}, {name: "dog", numbers: []float64{.2, .7, .1}}, {name: "hen", numbers: []float64{.1, .1, .8}},
		{name: "label", words: []string{"cat", "dog", "hen"}}}, outcomes: []any{"cat", "dog", "dog"}}
	if p := evaluate(three.labelled(), 3); p.Kind != "multiclass" || math.Abs(*p.Accuracy-2.0/3) > 1e-12 || p.AUC == nil && p.Why["roc_auc"] == "" {
		t.Errorf("%s %v %v", p.Kind, p.Metrics["accuracy"], p.Why)
	}
}

func TestOutcomesThatTheAnswersCannotNameLeaveTheResultUnknown(t *testing.T) {
	scores, words := make([]float64, 60), make([]any, 60)
	for i := range scores {
		scores[i], words[i] = float64(i)/60, []any{"yes", "no"}[i%2]
	}
	w := &rows{n: 60, outputs: []series{{name: "predict", numbers: scores}}, outcomes: words}
	p := evaluate(w.labelled(), 60)
	if p.Accuracy != nil || !strings.Contains(p.Why["accuracy"], "hand in 0 and 1") {
		t.Fatalf("accuracy %v, %v", p.Metrics["accuracy"], p.Why)
	}
	low := 0.9
	if c := p.worse(Limits{Accuracy: &low}, nil); c != nil {
		t.Errorf("the result is called worse: %+v", c)
	}
	v := judge([]Result{{Version: 1, Rows: 60, Performance: p}}, (&Result{}).To)
	if v.Verdict != "unknown" || !strings.Contains(strings.Join(v.Reasons, " "), "but they are words") {
		t.Errorf("%+v", v)
	}
	plain := &rows{n: 3, outputs: []series{{name: "repaid", numbers: []float64{.9, .2, .4}}, {name: "default", numbers: []float64{.1, .8, .6}}}, outcomes: []any{"repaid", "default", "lost"}}
	if p := evaluate(plain.labelled(), 3); p.Kind != "binary" || *p.Accuracy != 1 || p.LeftOut != 1 {
		t.Errorf("a third word among two classes: %s %v, left out %d", p.Kind, p.Metrics["accuracy"], p.LeftOut)
	}
}

func TestInputsThatCannotBeComparedAreNotCalledUnmoved(t *testing.T) {
	y := func(n int) *Performance { return evaluate(answers(400, n), 400) }
	for _, c := range []struct {
		name     string
		features []Feature
		verdict  string
		says     string
	}{
		{"none of them", []Feature{{Name: "incme", Shift: "unknown", Why: "the logged inputs have no column of this name"}}, "unknown", "No input could be compared"},
		{"one of them", []Feature{{Name: "incme", Shift: "unknown", Why: "the logged inputs have no column of this name"}, {Name: "age", Shift: "none"}}, "yes", "Not compared: incme (the logged inputs have no column of this name)."},
		{"of five the first three are named", []Feature{{Name: "a", Shift: "unknown"}, {Name: "b", Shift: "unknown"}, {Name: "c", Shift: "unknown"}, {Name: "d", Shift: "unknown"}, {Name: "age", Shift: "none"}}, "yes", "Not compared: a, b, c and 1 more."},
		{"a first window becomes the reference", []Feature{{Name: "age", Shift: "unknown", Why: becomesReference}}, "yes", "Neither the data nor the predictions moved."},
	} {
		r := Result{Version: 1, Rows: 400, Features: c.features, Performance: y(2)}
		r.settle(&Monitor{}, nil, nil)
		if r.Verdict != c.verdict || !strings.Contains(strings.Join(r.Reasons, " "), c.says) {
			t.Errorf("%s: %s %q", c.name, r.Verdict, r.Reasons)
		}
	}
}

func TestFiguresAreWrittenForPeople(t *testing.T) {
	for want, c := range map[string]Cause{
		"cost of misses up (sum 281,086 EUR, limit 200,000 EUR)": {Kind: "result", Feature: "cost of misses", Metric: "sum", Value: 281086.36, Limit: 200000, Unit: "EUR", Direction: "up"},
		"income (missing values 34.2 %, limit 10 %)":             {Kind: "data", Feature: "income", Metric: "missing", Value: 0.3421, Limit: 0.1},
		"income up (PSI 0.313, limit 0.25)":                      {Kind: "data", Feature: "income", Metric: "psi", Value: 0.31271, Limit: 0.25, Direction: "up"},
		"the result (RMSE 12,346, limit 9,000)":                  {Kind: "result", Metric: "rmse", Value: 12345.6, Limit: 9000},
	} {
		if got := c.Text(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAMonitorIsNotComparedWithWhatItDoesNotHave(t *testing.T) {
	each(t, func(w *world) {
		if err := w.EnsureFor(w.ctx, "bands", "bands", dataset.Ref{}, 1); err != nil {
			t.Fatal(err)
		}
		for field, a := range map[string]Against{"against.window": {Kind: "window", Window: "gone"}, "against.version": {Kind: "version", Version: 99}} {
			_, err := w.Put(w.ctx, "bands", Change{Against: &a})
			if p, ok := problem.As(err); !ok || p.Kind != problem.Invalid || p.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		if _, err := w.Put(w.ctx, "bands", Change{Against: &Against{Kind: "version", Version: 1}}); err != nil {
			t.Error(err)
		}
	})
}

func TestACauseSaysWhatMovedInItsColumn(t *testing.T) {
	number := func(v float64) *float64 { return &v }
	for want, f := range map[string]Feature{
		"from 30,900 to 16,000": {Kind: numberKind, Metric: "psi", Direction: "down", Mean: number(16000.4), MeanWas: number(30900)},
		"spread otherwise":      {Kind: numberKind, Metric: "ks", Mean: number(3), MeanWas: number(3)},
		"with 40 % new values":  {Kind: wordKind, Metric: "psi", New: number(0.4)},
		"with north from 50 to 90 %": {Kind: wordKind, Metric: "psi", New: number(0),
			Histogram: &Histogram{Labels: []string{"south", "north"}, Reference: []float64{90, 100}, Current: []float64{10, 90}, ReferenceRows: 200, CurrentRows: 100}},
		"": {Kind: numberKind, Metric: "missing", Mean: number(3), MeanWas: number(3)},
	} {
		if got := f.how(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAVerdictTellsBrokenRulesAndAnOldResultForWhatTheyAre(t *testing.T) {
	at := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	newest := Result{ID: "w2", Version: 1, Rows: 400, To: at.Add(time.Hour), Causes: []Cause{
		{Kind: "data", Feature: "city", Metric: "psi", Value: 9, Limit: 0.25}, {Kind: "data", Feature: "age", Metric: "psi", Value: 8, Limit: 0.25},
		{Kind: "data", Feature: "debt", Metric: "psi", Value: 7, Limit: 0.25}, {Kind: "data", Feature: "income", Rule: "income.missing", Metric: "share", Value: 1, Limit: 0.02},
		{Kind: "result", Metric: "accuracy", Value: 0.5, Limit: 0.7, Estimated: true}}}
	before := Result{ID: "w1", Version: 1, Rows: 400, To: at, Performance: evaluate(answers(400, 2), 400)}
	v := judge([]Result{newest, before}, at.Add(2*time.Hour))
	got := strings.Join(v.Reasons, "\n")
	for _, want := range []string{"The result has probably got worse.", "income breaks the rule income.missing (share of rows 100 %, limit 2 %)", "The data breaks its rules since", "The result held up to 3 March 00:00 UTC: accuracy"} {
		if v.Verdict != "watch" || !strings.Contains(got, want) {
			t.Errorf("%s, no %q in:\n%s", v.Verdict, want, got)
		}
	}
}
