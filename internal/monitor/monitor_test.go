package monitor

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/problem"
)

func some(v float64) *float64 { return &v }

func TestVerdictsFollowTheRules(t *testing.T) {
	at := time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)
	data := []Cause{{Kind: "data", Feature: "income", Metric: "psi", Value: 0.4, Limit: 0.25}}
	moved := []Cause{{Kind: "prediction", Feature: "score", Metric: "ks", Value: 0.4, Limit: 0.25}}
	worse := []Cause{{Kind: "result", Metric: "accuracy", Value: 0.8, Limit: 0.9}}
	good := func(n int) *Performance { return evaluate(answers(n, 0), n) }
	for _, c := range []struct {
		name    string
		windows []Result
		want    string
		reason  string
	}{
		{"no window", nil, "unknown", "not been enough traffic"},
		{"an old window", []Result{{To: at.Add(-8 * 24 * time.Hour)}}, "unknown", "no full window of traffic since"},
		{"quiet without outcomes", []Result{{To: at}}, "unknown", "The result is not known yet: no outcome has arrived"},
		{"quiet with few outcomes", []Result{{To: at, Performance: good(10)}}, "unknown", "outcomes of 10 rows"},
		{"quiet and good", []Result{{To: at, Performance: good(100)}}, "yes", "The result holds: accuracy"},
		{"quiet, outcomes of an earlier window", []Result{{To: at}, {To: at, Performance: good(100)}}, "yes", "The result holds"},
		{"outcomes of another version do not count", []Result{{To: at, Version: 2}, {To: at, Version: 1, Performance: good(100)}}, "unknown", "not known"},
		{"moved without outcomes", []Result{{To: at, Causes: data}}, "watch", "The data moved since"},
		{"moved, the result holds", []Result{{To: at, Causes: moved, Performance: good(100)}}, "watch", "The predictions moved since"},
		{"moved twice", []Result{{To: at, From: at, Causes: data}, {To: at, From: at.Add(-time.Hour), Causes: data}}, "watch", "since 3 March 11:00 UTC: income (PSI 0.4, limit 0.25)"},
		{"the result got worse", []Result{{To: at, Causes: worse, Performance: good(100)}}, "no", "The result got worse: accuracy 0.8, limit 0.9"},
		{"worse outranks moved", []Result{{To: at, Causes: append(data, worse...), Performance: good(100)}}, "no", "got worse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := judge(c.windows, at)
			if v.Verdict != c.want || !strings.Contains(strings.Join(v.Reasons, " "), c.reason) {
				t.Errorf("%+v, want %s because %q", v, c.want, c.reason)
			}
		})
	}
}

// answers makes n rows of a two-class model of which every wrongth is wrong (0: none).
func answers(n, wrong int) []labelled {
	out := make([]labelled, n)
	for i := range out {
		y := float64(i % 2)
		s := 0.1 + 0.8*y
		if wrong > 0 && i%wrong == 0 {
			s = 1 - s
		}
		out[i] = labelled{outputs: []outputValue{{name: "score", number: s}}, truth: y}
	}
	return out
}

func TestPerformanceIsMeasuredByWhatTheOutcomesAre(t *testing.T) {
	num := func(v ...float64) (out []outputValue) {
		for _, x := range v {
			out = append(out, outputValue{number: x})
		}
		return out
	}
	word := func(w string) []outputValue { return []outputValue{{word: w, number: nan}} }
	for _, c := range []struct {
		name   string
		rows   []labelled
		kind   string
		metric string
		want   float64
	}{
		{"0 and 1", []labelled{{num(0.9), 1.0}, {num(0.2), 0.0}, {num(0.7), 0.0}}, "binary", "accuracy", 2.0 / 3},
		{"truth values and a rule", []labelled{{num(1), true}, {num(0), true}}, "binary", "accuracy", 0.5},
		{"the second of two probabilities", []labelled{{num(0.1, 0.9), 1.0}, {num(0.8, 0.2), 0.0}}, "binary", "accuracy", 1},
		{"words", []labelled{{word("cat"), "cat"}, {word("dog"), "cat"}}, "multiclass", "accuracy", 0.5},
		{"the largest of three probabilities", []labelled{{num(0.1, 0.2, 0.7), 2.0}, {num(0.5, 0.3, 0.2), 1.0}}, "multiclass", "accuracy", 0.5},
		{"numbers", []labelled{{num(3), 5.0}, {num(7), 5.0}}, "regression", "rmse", 2},
		{"numbers without sense are left out", []labelled{{num(3), 5.0}, {num(math.Inf(1)), 5.0}}, "regression", "rmse", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := evaluate(c.rows, 10)
			if p.Kind != c.kind || math.Abs(p.Metrics[c.metric].V-c.want) > 1e-12 || p.Coverage != float64(len(c.rows))/10 {
				t.Errorf("%s %v coverage %v, want %s %v", p.Kind, p.Metrics[c.metric], p.Coverage, c.kind, c.want)
			}
		})
	}
	if evaluate(nil, 10) != nil {
		t.Error("no outcome gives a performance")
	}
}

func TestAResultIsWorseOnlyBeyondWhatChanceGives(t *testing.T) {
	yard := &yardstick{Metric: "accuracy", Value: 0.95, N: 400}
	for _, c := range []struct {
		name  string
		p     *Performance
		l     Limits
		y     *yardstick
		worse bool
	}{
		{"no outcome", nil, Limits{}, yard, false},
		{"too few outcomes", evaluate(answers(40, 2), 400), Limits{}, yard, false},
		{"nothing to hold it against", evaluate(answers(400, 2), 400), Limits{}, nil, false},
		{"as good", evaluate(answers(400, 20), 400), Limits{}, yard, false},
		{"within chance", evaluate(answers(400, 12), 400), Limits{}, yard, false},
		{"worse", evaluate(answers(400, 5), 400), Limits{}, yard, true},
		{"below the declared limit", evaluate(answers(400, 20), 400), Limits{Accuracy: some(0.96)}, nil, true},
		{"above the declared limit", evaluate(answers(400, 5), 400), Limits{Accuracy: some(0.7)}, yard, false},
	} {
		if got := c.p.worse(c.l, c.y); (got != nil) != c.worse {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestSettingsThatCannotWorkAreRefusedByField(t *testing.T) {
	for field, change := range map[string]func(*Monitor){
		"endpoint":                   func(m *Monitor) { m.Endpoint = "" },
		"window.min_rows":            func(m *Monitor) { m.Window = Window{Rows: 400, MinRows: 100} },
		"window.rows":                func(m *Monitor) { m.Window = Window{Rows: 300, MinRows: 400} },
		"limits.psi":                 func(m *Monitor) { m.Limits.PSI = 0.05 },
		"limits.ks":                  func(m *Monitor) { m.Limits.KS = 1.5 },
		"limits.missing":             func(m *Monitor) { m.Limits.Missing = -1 },
		"limits.accuracy":            func(m *Monitor) { m.Limits.Accuracy = some(2) },
		"limits.rmse":                func(m *Monitor) { m.Limits.RMSE = some(nan) },
		"on_breach.retrain.pipeline": func(m *Monitor) { m.OnBreach = &OnBreach{&Retrain{}} },
		"window.rows ":               func(m *Monitor) { m.Window.set(Window{Rows: 60}) }, // which takes min_rows down with it
	} {
		field = strings.TrimSpace(field)
		m := Monitor{Endpoint: "x"}
		m.fill()
		if err := m.Check(); err != nil {
			t.Fatalf("the defaults are refused: %v", err)
		}
		change(&m)
		if p, ok := problem.As(m.Check()); !ok || p.Kind != problem.Invalid || p.Field != field {
			t.Errorf("%s: %v", field, m.Check())
		}
	}
}

func reference(all ...series) *profile { return profileOf(all, nil) }

func TestFeaturesMoveForTheReasonThatIsNamed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, mean, sd float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = mean + sd*rng.NormFloat64()
		}
		return out
	}
	holes := func(v []float64, n int) []float64 {
		for i := range n {
			v[i] = nan
		}
		return v
	}
	repeat := func(n int, words ...string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = words[i%len(words)]
		}
		return out
	}
	l := DefaultLimits()
	for _, c := range []struct {
		name          string
		ref, cur      series
		shift, metric string
	}{
		{"the same", series{numbers: normal(500, 0, 1)}, series{numbers: normal(400, 0, 1)}, "none", ""},
		{"shifted by two deviations", series{numbers: normal(500, 0, 1)}, series{numbers: normal(400, 2, 1)}, "moved", "psi"},
		{"shifted a little", series{numbers: normal(5000, 0, 1)}, series{numbers: normal(4000, 0.45, 1)}, "slight", "ks"},
		{"half of it missing", series{numbers: normal(500, 0, 1)}, series{numbers: holes(normal(400, 0, 1), 200)}, "moved", "missing"},
		{"all of it missing", series{numbers: normal(500, 0, 1)}, series{numbers: holes(normal(400, 0, 1), 400)}, "moved", "missing"},
		{"missing as before", series{numbers: holes(normal(500, 0, 1), 250)}, series{numbers: holes(normal(400, 0, 1), 200)}, "none", ""},
		{"constant stays constant", series{numbers: make([]float64, 500)}, series{numbers: make([]float64, 400)}, "none", ""},
		{"a constant begins to vary", series{numbers: make([]float64, 500)}, series{numbers: normal(400, 0, 1)}, "moved", "psi"},
		{"an empty reference", series{numbers: holes(make([]float64, 500), 500)}, series{numbers: normal(400, 0, 1)}, "unknown", ""},
		{"words as before", series{words: repeat(500, "a", "b")}, series{words: repeat(400, "a", "b")}, "none", ""},
		{"one word only", series{words: repeat(500, "a", "b")}, series{words: repeat(400, "a")}, "moved", "psi"},
		{"a new word", series{words: repeat(500, "a", "b")}, series{words: repeat(400, "a", "b", "new")}, "moved", "psi"},
		{"one new word in eight", series{words: repeat(5000, "a", "b", "c", "d", "e", "f", "g")}, series{words: append(repeat(3500, "a", "b", "c", "d", "e", "f", "g"), repeat(500, "new")...)}, "moved", ""},
		{"words that come as numbers", series{words: repeat(500, "1", "2")}, series{numbers: []float64{1, 2, 1, 2}}, "unknown", ""},
		{"numbers that come as words", series{numbers: normal(500, 0, 1)}, series{words: repeat(400, "red")}, "unknown", ""},
		{"identifiers", series{words: names(500, 0)}, series{words: names(400, 500)}, "none", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ref.name, c.cur.name = "x", "x"
			f := reference(c.ref).Columns[0].compare(c.cur, l, 10)
			if f.Shift != c.shift || c.metric != "" && f.Metric != c.metric {
				t.Errorf("%+v, want %s by %s", f, c.shift, c.metric)
			}
			if f.Shift == "unknown" && f.Why == "" {
				t.Error("unknown without a reason")
			}
			if h := f.Histogram; h != nil && (len(h.Reference) != len(h.Current) || h.Edges != nil && len(h.Edges) != len(h.Current)+1 || h.Labels != nil && len(h.Labels) != len(h.Current)) {
				t.Errorf("histogram %+v", h)
			}
		})
	}
}

func names(n, from int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "P" + strings.Repeat("x", (from+i)%7) + string(rune('a'+(from+i)%26)) + time.Unix(int64(from+i), 0).UTC().Format("150405")
	}
	return out
}

func TestA32BitModelIsNotMovedByItsRounding(t *testing.T) {
	// Values of one decimal: a third of them lie on an edge, and as FP32 just above or below it.
	ref, cur := make([]float64, 500), make([]float64, 400)
	for i := range ref {
		ref[i] = float64(i%20) / 10
	}
	for i := range cur {
		cur[i] = float64(float32(float64(i%20) / 10))
	}
	f := reference(series{name: "x", numbers: ref}).Columns[0].compare(series{name: "x", numbers: cur}, DefaultLimits(), 1)
	if *f.PSI > 1e-9 || *f.KS > 1e-9 {
		t.Errorf("PSI %v, KS %v between equal values", *f.PSI, *f.KS)
	}
	if e := f.Histogram.Edges; e[1] != 0.1 || e[len(e)-1] != 1.9 {
		t.Errorf("edges %v are shown rounded to 32 bits", e)
	}
}

func TestAnonymousColumnsTakeTheReferencesNames(t *testing.T) {
	p := profileOf(columnsOf(&dataset.Table{Rows: 2, Columns: []dataset.Column{
		{Name: "id", Type: dataset.String, Words: []string{"a", "b"}}, {Name: "radius", Type: dataset.Float, Numbers: []float64{1, 2}},
		{Name: "age", Type: dataset.Int, Numbers: []float64{3, 4}}, {Name: "ill", Type: dataset.Int, Numbers: []float64{0, 1}}}}, "ill"))
	got := named([]series{{name: "f0"}, {name: "f1"}}, p)
	if got[0].name != "radius" || got[1].name != "age" {
		t.Errorf("%v", got)
	}
	if got := named([]series{{name: "f0"}}, p); got[0].name != "f0" {
		t.Errorf("one column took the name %s of two", got[0].name)
	}
	if p.find("ill") != nil {
		t.Error("the target is among the inputs")
	}
}

func TestAThinnedReferenceIsOffByLessThanItsSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ref, cur := make([]float64, 50_000), make([]float64, 400)
	for i := range ref {
		ref[i] = rng.NormFloat64()
	}
	for i := range cur {
		cur[i] = rng.NormFloat64() + 0.3
	}
	whole, thinned := &column{Name: "x"}, &column{Name: "x"}
	whole.numbers(ref, len(ref))
	thinned.numbers(ref, 2000)
	a, b := whole.compare(series{numbers: cur}, DefaultLimits(), 1), thinned.compare(series{numbers: cur}, DefaultLimits(), 1)
	if len(thinned.Sample) != 2000 || math.Abs(*a.KS-*b.KS) > 1.0/2000 || *a.PSI != *b.PSI || math.Abs(*a.Wasserstein-*b.Wasserstein) > 0.01 {
		t.Errorf("KS %v and %v, PSI %v and %v, Wasserstein %v and %v", *a.KS, *b.KS, *a.PSI, *b.PSI, *a.Wasserstein, *b.Wasserstein)
	}
}
