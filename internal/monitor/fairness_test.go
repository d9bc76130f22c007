package monitor

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

// applicants are 100 from the north, of whom 41 are chosen, and 100 from the south, of whom 29 are. Every second one is truly
// positive.
func applicants() *rows {
	w := &rows{n: 200}
	region, score, age := make([]string, 200), make([]float64, 200), make([]float64, 200)
	w.outcomes = make([]any, 200)
	for i := range w.n {
		region[i], age[i] = "north", float64(20+i%50)
		of, n := 41, i
		if i >= 100 {
			region[i], of, n = "south", 29, i-100
		}
		if score[i] = 0.2; n < of {
			score[i] = 0.8
		}
		w.outcomes[i] = float64(n % 2)
	}
	w.inputs = []series{{name: "region", words: region}, {name: "age", numbers: age}}
	w.outputs = []series{{name: "score", numbers: score}}
	return w
}

func TestGapsBetweenGroupsSayWhatTheyAreOrWhyNot(t *testing.T) {
	words := func(w *rows) {
		w.outputs = []series{{name: "decision", words: make([]string, w.n)}}
		for i := range w.n {
			w.outputs[0].words[i] = "refused"
			if i < 41 || i >= 100 && i < 129 {
				w.outputs[0].words[i] = "approved"
			}
			w.outcomes[i] = map[any]any{1.0: "approved", 0.0: "refused"}[w.outcomes[i]]
		}
	}
	both := func(w *rows) { // probabilities of two named classes
		p := w.outputs[0].numbers
		q := make([]float64, len(p))
		for i := range q {
			q[i] = 1 - p[i]
			w.outcomes[i] = map[any]any{1.0: "approved", 0.0: "refused"}[w.outcomes[i]]
		}
		w.outputs = []series{{name: "refused", numbers: q}, {name: "approved", numbers: p}}
	}
	classes := func(w *rows) { // 0, 1, 2: those chosen are of class 2
		for i, s := range w.outputs[0].numbers {
			w.outputs[0].numbers[i] = map[bool]float64{true: 2, false: float64(i % 2)}[s > 0.5]
			w.outcomes[i] = 2 * w.outcomes[i].(float64)
		}
	}
	for _, c := range []struct {
		name   string
		limit  GroupLimit
		change func(*rows)
		says   string
		value  float64 // NaN: there is none
	}{
		{"predictions are enough for parity", GroupLimit{Metric: "demographic_parity"}, func(w *rows) { w.outcomes = nil },
			"Of region north 41 % are chosen, of region south 29 %: a difference of 0.12, allowed is 0.1.", 0.12},
		{"a ratio has a lower limit", GroupLimit{Metric: "demographic_parity_ratio"}, nil, "a ratio of 0.71, allowed is no less than 0.8.", 29.0 / 41},
		{"a limit of one's own", GroupLimit{Metric: "demographic_parity_difference", Limit: some(0.2)}, nil, "allowed is 0.2.", 0.12},
		{"outcomes tell of opportunity", GroupLimit{Metric: "equal_opportunity"}, nil, "Of the truly positive of region north 40 % are chosen, of those of region south 28 %", 0.12},
		{"equalised odds and predictive parity", GroupLimit{Metric: "predictive_parity_difference"}, nil, "are truly positive", 20.0/41 - 14.0/29},
		{"without outcomes the reason is told", GroupLimit{Metric: "equalised_odds_difference"}, func(w *rows) { w.outcomes = nil }, "no outcome has arrived", nan},
		{"too few outcomes of a group", GroupLimit{Metric: "equalised_odds_difference"}, func(w *rows) {
			for i := range 90 {
				w.outcomes[i] = nil
			}
		}, "Region north has fewer than 30 rows", nan},
		{"what is left out of the log is not there", GroupLimit{Columns: []string{"sex"}, Metric: "demographic_parity"}, nil, `no column "sex"`, nan},
		{"words need the class that is chosen", GroupLimit{Metric: "demographic_parity"}, words, "name the class that counts as chosen in positive", nan},
		{"words with the class that is chosen", GroupLimit{Metric: "equal_opportunity", Positive: "approved"}, words, "40 %", 0.12},
		{"a class that nobody answers", GroupLimit{Metric: "demographic_parity", Positive: "aproved"}, words, `is "aproved"`, nan},
		{"two probabilities", GroupLimit{Metric: "equal_opportunity"}, both, "40 %", 0.12},
		{"two probabilities, the first class", GroupLimit{Metric: "demographic_parity", Positive: "refused"}, both, "Of region south 71 % are chosen, of region north 59 %", 0.12},
		{"classes that are numbers", GroupLimit{Metric: "equal_opportunity", Positive: "2"}, classes, "40 %", 0.12},
		{"a score of the other class", GroupLimit{Metric: "demographic_parity", Positive: "0"}, nil, "Of region south 71 % are chosen", 0.12},
		{"a regression", GroupLimit{Metric: "demographic_parity"}, func(w *rows) { w.outputs[0].numbers[3] = 17.5 }, "fairness is measured of classifiers", nan},
		{"no answer at all", GroupLimit{Metric: "demographic_parity"}, func(w *rows) {
			for i := range w.outputs[0].numbers {
				w.outputs[0].numbers[i] = nan
			}
		}, "no row of the window has an answer", nan},
		{"a declared segment is a group", GroupLimit{Columns: []string{"from the north"}, Metric: "demographic_parity"}, nil, "Of from the north yes 41 %", 0.12},
		{"numbers are cut where it is said", GroupLimit{Columns: []string{"age"}, Metric: "demographic_parity", Edges: map[string][]float64{"age": {45}}}, nil, "Of age <45 50 % are chosen, of age ≥45 20 %", 0.3},
		{"numbers are cut at quartiles", GroupLimit{Columns: []string{"age"}, Metric: "demographic_parity"}, nil, "age", 0},
		{"missing values are a group", GroupLimit{Metric: "demographic_parity"}, func(w *rows) { clear(w.inputs[0].words[100:]) }, "of region missing 29 %", 0.12},
		{"infinite numbers are missing", GroupLimit{Columns: []string{"age"}, Metric: "demographic_parity"}, func(w *rows) {
			for i := range w.inputs[1].numbers {
				w.inputs[1].numbers[i] = math.Inf(1)
			}
		}, "fewer than two groups", nan},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := applicants()
			if c.change != nil {
				c.change(w)
			}
			if c.limit.Columns == nil {
				c.limit.Columns = []string{"region"}
			}
			m := Monitor{Endpoint: "loans", Plan: Plan{Fairness: []GroupLimit{c.limit}, Segments: []Segment{{Name: "from the north", When: "input.region == 'north'"}}}}
			m.fill()
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			g := m.gaps(w, nil)[0]
			if c.name == "numbers are cut at quartiles" {
				if g.Value == nil || len(g.Groups) != 4 || len(g.Notes) != 1 {
					t.Errorf("%+v", g)
				}
				return
			}
			if !strings.Contains(g.Detail, c.says) || math.IsNaN(c.value) != (g.Value == nil) || g.Value != nil && math.Abs(*g.Value-c.value) > 1e-9 {
				t.Errorf("%v: %s", g.Value, g.Detail)
			}
			if g.Value == nil && (g.Why == "" || g.cause() != nil || g.OK) {
				t.Errorf("without a value: %+v", g)
			}
			text, err := json.Marshal(g)
			if err != nil || strings.Contains(string(text), "NaN") {
				t.Errorf("%s %v", text, err)
			}
		})
	}
}

func TestNumbersAreCutAtTheQuartilesOfTheReference(t *testing.T) {
	w := applicants()
	sample := make([]float64, 100)
	for i := range sample {
		sample[i] = float64(i)
	}
	m := Monitor{Endpoint: "loans", Plan: Plan{Fairness: []GroupLimit{{Columns: []string{"age"}, Metric: "demographic_parity"}}}}
	m.fill()
	g := m.gaps(w, &profile{Columns: []column{{Name: "age", Kind: numberKind, Sample: sample}}})[0]
	if !slices.Contains(g.Notes, "age is cut at the quartiles of the reference.") || len(g.Groups) == 0 || !strings.Contains(g.Groups[0].Name+g.Groups[1].Name, "24 to <49") {
		t.Errorf("%+v", g)
	}
}

func TestFairnessThatIsDeclaredWrongIsRefusedByItsField(t *testing.T) {
	for i, c := range []struct {
		field string
		g     GroupLimit
	}{
		{"fairness[0].columns", GroupLimit{Metric: "demographic_parity"}},
		{"fairness[0].columns[1]", GroupLimit{Columns: []string{"a", "a"}, Metric: "demographic_parity"}},
		{"fairness[0].columns[0]", GroupLimit{Columns: []string{" "}, Metric: "demographic_parity"}},
		{"fairness[0].metric", GroupLimit{Columns: []string{"a"}, Metric: "justice"}},
		{"fairness[0].limit", GroupLimit{Columns: []string{"a"}, Metric: "demographic_parity", Limit: some(1.5)}},
		{"fairness[0].limit", GroupLimit{Columns: []string{"a"}, Metric: "demographic_parity", Limit: some(nan)}},
		{"fairness[0].min_rows", GroupLimit{Columns: []string{"a"}, Metric: "demographic_parity", MinRows: -1}},
		{"fairness[0].edges.b", GroupLimit{Columns: []string{"a"}, Metric: "demographic_parity", Edges: map[string][]float64{"b": {1}}}},
		{"fairness[0].edges.a", GroupLimit{Columns: []string{"a"}, Metric: "demographic_parity", Edges: map[string][]float64{"a": {2, 1}}}},
	} {
		m := Monitor{Endpoint: "x", Plan: Plan{Fairness: []GroupLimit{c.g}}}
		m.fill()
		if p, ok := problem.As(m.Check()); !ok || p.Kind != problem.Invalid || p.Field != c.field {
			t.Errorf("%d: %v, want the field %s", i, m.Check(), c.field)
		}
	}
	same := GroupLimit{Columns: []string{"a"}, Metric: "demographic_parity"}
	m := Monitor{Endpoint: "x", Plan: Plan{Fairness: []GroupLimit{same, same}}}
	m.fill()
	if p, ok := problem.As(m.Check()); !ok || p.Field != "fairness[1]" {
		t.Errorf("declared twice: %v", m.Check())
	}
}

func TestGroupsAreWatchedFromTheCallToTheVerdictAndOutcomesFollow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		if err := c.EnsureFor(c.ctx, "screening", "screening", dataset.Ref{Dataset: "training"}, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Put(c.ctx, "screening", Change{Segments: &[]Segment{{Name: "rough", When: "input.mean_texture > 20.0"}},
			Fairness: &[]GroupLimit{{Columns: []string{"rough"}, Metric: "demographic_parity"}, {Columns: []string{"rough"}, Metric: "equal_opportunity"}}}); err != nil {
			t.Fatal(err)
		}
		number := func(row []string, column string) float64 {
			v, err := strconv.ParseFloat(c.value(row, column), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		apart := func(row []string) bool {
			return (number(row, "mean_texture") > 20) == (number(row, "mean_radius") > 14)
		}
		c.serve(400, apart)
		w := c.look()
		if len(w) != 1 || len(w[0].Fairness) != 2 {
			t.Fatalf("%+v", w)
		}
		parity, chance := w[0].Fairness[0], w[0].Fairness[1]
		if !parity.over() || parity.Highest != "rough yes" || len(parity.Groups) != 2 || parity.Rows != 400 || chance.Value != nil || chance.Why != "no outcome has arrived" || *chance.Coverage != 0 {
			t.Fatalf("%+v %+v", parity, chance)
		}
		of := func(r *Result, metric string) *Cause {
			for i := range r.Causes {
				if r.Causes[i].Kind == "fairness" && r.Causes[i].Metric == metric {
					return &r.Causes[i]
				}
			}
			return nil
		}
		first := of(&w[0], "demographic_parity_difference")
		if first == nil || first.Feature != "rough" || first.Windows != 1 || !strings.HasPrefix(first.Text(), "of rough yes ") || of(&w[0], "equal_opportunity_difference") != nil {
			t.Fatalf("%+v", w[0].Causes)
		}
		if v := c.verdict(); !strings.HasPrefix(v, "watch") || !strings.Contains(v, "Groups fare further apart than is allowed since") {
			t.Error(v)
		}
		c.report(0, 400, "malignant", nil)
		w = c.look()
		chance = w[0].Fairness[1]
		if chance.Value == nil || *chance.Coverage != 1 || !chance.over() || of(&w[0], "equal_opportunity_difference") == nil || chance.Groups[0].TPR == nil {
			t.Fatalf("with outcomes: %+v", chance)
		}
		told := c.events(Breached)
		if last := told[len(told)-1]; !slices.ContainsFunc(last.Causes, func(c Cause) bool { return c.Metric == "equal_opportunity_difference" && c.Late }) {
			t.Errorf("what outcomes say is not told: %+v", last)
		}
		c.serve(400, apart)
		if w = c.look(); of(&w[0], "demographic_parity_difference").Windows != 2 || len(c.events(Recovered)) != 0 {
			t.Errorf("the second window: %+v, over: %+v", w[0].Causes, c.events(Recovered))
		}
		c.restart()
		c.serve(400, func(row []string) bool { return number(row, "mean_radius") < 11 }) // nobody is chosen
		w = c.look()
		if g := w[0].Fairness[0]; g.Value == nil || *g.Value != 0 || !g.OK || of(&w[0], "demographic_parity_difference") != nil {
			t.Errorf("nobody is chosen: %+v", g)
		}
		over := c.events(Recovered)
		if len(over) == 0 || !slices.ContainsFunc(over[len(over)-1].Causes, func(c Cause) bool { return c.Metric == "demographic_parity_difference" }) {
			t.Errorf("the end is not told: %+v", over)
		}
		if v := c.verdict(); !strings.Contains(v, "equal opportunity") && !strings.Contains(v, "Of the truly positive") && !strings.Contains(v, "of the truly positive") {
			t.Errorf("what outcomes said of an earlier window is forgotten: %s", v)
		}
		if _, err := c.Put(c.ctx, "screening", Change{Fairness: &[]GroupLimit{}}); err != nil {
			t.Fatal(err)
		}
		m, err := c.Get(c.ctx, "screening")
		if err != nil || len(m.Fairness) != 0 || len(m.Segments) != 1 {
			t.Errorf("%+v %v", m.Plan, err)
		}
	})
}
