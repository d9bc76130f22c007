package evaluation

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

func fair(metric, column string, more func(*Test)) Test {
	t := Test{Name: metric + " by " + column, Kind: Fairness, Metric: metric, Column: column}
	if more != nil {
		more(&t)
	}
	return t
}

// decided imports the golden decisions as the data set "patients", with a column of ages and one that is mostly missing, and
// registers rules that decide as the golden ones did; they see neither group nor sex.
func (w *world) decided(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile("../fairness/testdata/fairness.csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	out.WriteString("y,pred,group,sex,age,site,id\n")
	for i, r := range rows[1:] {
		site := ""
		if i%3 == 0 {
			site = "north"
		}
		fmt.Fprintf(&out, "%s,%s,%s,%s,%d,%s,p%d\n", r[0], r[1], r[3], r[4], 20+i%60, site, i)
	}
	ctx := as("ada")
	if _, err := w.Data.Put(ctx, dataset.Dataset{Name: "decisions", Target: "y"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Data.Import(ctx, dataset.ImportRequest{Dataset: "decisions", Format: "csv", Body: strings.NewReader(out.String())}); err != nil {
		t.Fatal(err)
	}
	rules := "name: decide\ninputs:\n  - {name: pred, type: double}\noutputs:\n  - {name: y, type: bool, default: false}\nrules:\n  - id: yes\n    when: pred >= 0.5\n    then: {y: true}\n"
	if v := w.register(t, "decide", map[string]string{"rules.yaml": rules}); v.State != inventory.Ready {
		t.Fatalf("version is %s: %s", v.State, v.Reason)
	}
}

func (w *world) judged(t *testing.T, tests ...Test) Evaluation {
	t.Helper()
	ctx := as("ada")
	e, err := w.Start(ctx, "decide", 1, Suite{Name: "fair", Tests: tests}, "decisions", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(ctx, e.ID); err != nil {
		t.Fatal(err)
	}
	if e, err = w.Evaluation(ctx, e.ID); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFairnessOfTheGoldenDecisionsThroughAnEvaluation(t *testing.T) {
	raw, err := os.ReadFile("../fairness/testdata/fairness_expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases map[string]struct {
			Groups    map[string]map[string]*float64 `json:"groups"`
			Fairlearn map[string]float64             `json:"fairlearn"`
			Defined   map[string]float64             `json:"defined_groups_only"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, nil)
		w.decided(t)
		both := Test{Name: "both", Kind: Fairness, Metric: "equal_opportunity", Columns: []string{"group", "sex"}, Max: number(1), MinRows: 20}
		e := w.judged(t,
			fair("demographic_parity_difference", "group", nil), fair("four_fifths", "group", nil), fair("equalized_odds", "group", nil),
			fair("demographic_parity", "sex", nil), fair("disparate_impact", "sex", nil), fair("equalised_odds_difference", "sex", nil), both)
		group, sex := doc.Cases["group_without_small"], doc.Cases["sex"]
		for i, want := range []struct {
			value float64
			state string
			says  string
		}{
			{group.Fairlearn["demographic_parity_difference"], Failed, "Of group A 64 % are chosen, of group C 34.8 %: a difference of 0.29, allowed is 0.1. 2 groups have fewer than 30 rows"},
			{group.Fairlearn["demographic_parity_ratio"], Failed, "allowed is no less than 0.8"},
			{group.Defined["equalized_odds_difference"], Failed, "Of the truly positive of group"},
			{sex.Fairlearn["demographic_parity_difference"], Passed, "allowed is 0.1"},
			{sex.Fairlearn["demographic_parity_ratio"], Passed, "a ratio of 0.93"},
			{sex.Defined["equalized_odds_difference"], Passed, "allowed is 0.1"},
			{doc.Cases["group_x_sex_without_small"].Defined["tpr_difference"], Passed, "group"},
		} {
			r := e.Tests[i]
			if r.State != want.state || r.Value == nil || math.Abs(*r.Value-want.value) > 1e-9 || !strings.Contains(r.Detail, want.says) {
				t.Errorf("%s is %s: %s; want %s at %v and %q", r.Name, r.State, r.Detail, want.state, want.value, want.says)
			}
			if r.Fairness == nil || r.Limit == nil || len(r.Fairness.Groups) < 2 {
				t.Fatalf("%s has the groups %+v", r.Name, r.Fairness)
			}
		}
		for _, g := range e.Tests[0].Fairness.Groups {
			if g.Small {
				continue
			}
			want := group.Groups[g.Values[0]]
			for name, got := range map[string]*float64{"selection_rate": g.SelectionRate, "tpr": g.TPR, "fpr": g.FPR} {
				if got == nil || want[name] == nil || math.Abs(*got-*want[name]) > 1e-9 {
					t.Errorf("%s of %s is %v, want %v", name, g.Name, got, want[name])
				}
			}
			if want["count"] == nil || float64(g.Rows) != *want["count"] {
				t.Errorf("%s has %d rows, want %v", g.Name, g.Rows, want["count"])
			}
		}
		if e.State != Failed || len(e.Failures()) != 3 {
			t.Errorf("the evaluation is %s with %q", e.State, e.Failures())
		}
		if ok, failing, err := w.Passed(as("ada"), "decide", 1); ok || failing != "demographic_parity_difference by group" || err != nil {
			t.Errorf("Passed gives %v %q %v", ok, failing, err)
		}
	})
}

func TestGroupsOfNumbersMissingValuesAndWhatHasNoGap(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), nil)
	w.decided(t)
	for _, c := range []struct {
		name   string
		test   Test
		state  string
		says   string
		groups []string
	}{
		{"many numbers are cut at quartiles", fair("demographic_parity", "age", func(t *Test) { t.Max = number(1) }), Passed, "age is cut at the quartiles of the data, ", nil},
		{"edges cut", fair("demographic_parity", "age", func(t *Test) { t.Max, t.Edges = number(1), map[string][]float64{"age": {30, 50}} }), Passed, "allowed is 1", []string{"30 to <50", "<30", "≥50"}},
		{"a missing value is a group", fair("demographic_parity", "site", func(t *Test) { t.Max = number(1) }), Passed, "site missing", []string{"", "north"}},
		{"a larger minimum leaves one group", fair("demographic_parity", "group", func(t *Test) { t.MinRows = 600 }), Failed, "has no value: fewer than two groups", nil},
		{"an unknown column is named", fair("demographic_parity", "colour", nil), Failed, `no column "colour"`, nil},
		{"a column that tells rows apart is refused", fair("demographic_parity", "id", nil), Failed, "more than 1000", nil},
		{"words have no edges", fair("demographic_parity", "sex", func(t *Test) { t.Edges = map[string][]float64{"sex": {1}} }), Failed, "no edges", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := w.judged(t, c.test)
			r := e.Tests[0]
			if r.State != c.state || !strings.Contains(r.Detail, c.says) {
				t.Fatalf("%s: %s, want %s and %q", r.State, r.Detail, c.state, c.says)
			}
			if c.groups != nil {
				var got []string
				for _, g := range r.Fairness.Groups {
					got = append(got, g.Values[0])
				}
				if !slices.Equal(got, c.groups) {
					t.Errorf("the groups are %q, want %q", got, c.groups)
				}
			}
		})
	}
}

func TestAFairnessTestThatCannotBeIsRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		test  Test
		field string
	}{
		{"the defaults suffice", fair("four_fifths", "sex", nil), ""},
		{"another measure", fair("justice", "sex", nil), "metric"},
		{"no column", fair("four_fifths", "", nil), "column"},
		{"four columns", fair("four_fifths", "", func(t *Test) { t.Columns = []string{"a", "b", "c", "d"} }), "columns"},
		{"a column of no name", fair("four_fifths", " ", nil), "column"},
		{"a column whose name is too long", fair("four_fifths", strings.Repeat("a", 201), func(t *Test) { t.Name = "long" }), "column"},
		{"a column twice", fair("four_fifths", "", func(t *Test) { t.Columns = []string{"a", "a"} }), "columns[1]"},
		{"a column and columns", fair("four_fifths", "a", func(t *Test) { t.Columns = []string{"b"} }), "columns"},
		{"a ratio with a max", fair("four_fifths", "a", func(t *Test) { t.Max = number(0.8) }), "max"},
		{"a difference with a min", fair("equalised_odds", "a", func(t *Test) { t.Min = number(0.8) }), "min"},
		{"a limit beyond 1", fair("equalised_odds", "a", func(t *Test) { t.Max = number(10) }), "max"},
		{"a limit that is no number", fair("equalised_odds", "a", func(t *Test) { t.Max = number(math.NaN()) }), "max"},
		{"a negative minimum", fair("equalised_odds", "a", func(t *Test) { t.MinRows = -1 }), "min_rows"},
		{"edges of another column", fair("equalised_odds", "a", func(t *Test) { t.Edges = map[string][]float64{"b": {1}} }), "edges.b"},
		{"edges that fall", fair("equalised_odds", "a", func(t *Test) { t.Edges = map[string][]float64{"a": {2, 1}} }), "edges.a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Suite{Name: "s", Tests: []Test{c.test}}
			err := s.Check()
			p, _ := problem.As(err)
			if c.field == "" && err != nil || c.field != "" && (p == nil || p.Field != "suite.tests[0]."+c.field) {
				t.Errorf("Check() = %v (%+v), want the field %q", err, p, c.field)
			}
			if p != nil && !strings.HasPrefix(p.Detail, "The test ") {
				t.Errorf("%q does not say which test it is about", p.Detail)
			}
		})
	}
}

func TestWhatCountsAsADecision(t *testing.T) {
	numbers := func(v ...float64) *dataset.Column { return &dataset.Column{Name: "y", Numbers: v} }
	for _, c := range []struct {
		name         string
		suite        Suite
		answers      tensor.Tensor
		truth        *dataset.Column
		wantT, wantP []bool
		says         string
	}{
		{"a score from a half on", Suite{}, tensor.FP64s("y", []int{3}, []float64{0.5, 0.4, 0.9}), numbers(1, 1, 0), []bool{true, true, false}, []bool{true, false, true}, ""},
		{"a score from the threshold on", Suite{Threshold: number(0.8)}, tensor.FP64s("y", []int{2}, []float64{0.5, 0.8}), numbers(1, 0), []bool{true, false}, []bool{false, true}, ""},
		{"the likelier of two classes", Suite{}, tensor.FP64s("y", []int{2, 2}, []float64{0.2, 0.8, 0.6, 0.4}), numbers(1, 0), []bool{true, false}, []bool{true, false}, ""},
		{"the class 0 when it is the positive one", Suite{Positive: "0"}, tensor.FP64s("y", []int{2, 2}, []float64{0.2, 0.8, 0.6, 0.4}), numbers(1, 0), []bool{false, true}, []bool{false, true}, ""},
		{"one of three classes", Suite{Positive: "2"}, tensor.FP64s("y", []int{2, 3}, []float64{0, 0, 1, 1, 0, 0}), numbers(2, 2), []bool{true, true}, []bool{true, false}, ""},
		{"three classes without a positive", Suite{}, tensor.FP64s("y", []int{1, 3}, []float64{0, 0, 1}), numbers(2), nil, nil, "(positive)"},
		{"a class the model does not know", Suite{Positive: "9"}, tensor.FP64s("y", []int{1, 3}, []float64{0, 0, 1}), numbers(2), nil, nil, "classes 0 to 2"},
		{"words", Suite{Positive: "yes"}, tensor.Strings("y", []int{2}, []string{"yes", "no"}), &dataset.Column{Name: "y", Words: []string{"no", "yes"}, Missing: []bool{false, false}}, []bool{false, true}, []bool{true, false}, ""},
		{"words without a positive", Suite{}, tensor.Strings("y", []int{1}, []string{"yes"}), &dataset.Column{Name: "y", Words: []string{"no"}, Missing: []bool{false}}, nil, nil, "(positive)"},
		{"a forecast with a threshold", Suite{Threshold: number(10)}, tensor.FP64s("y", []int{2}, []float64{9, 11}), numbers(10, 3), []bool{true, false}, []bool{false, true}, ""},
		{"a forecast without one", Suite{}, tensor.FP64s("y", []int{2}, []float64{9, 11}), numbers(10, 3), nil, nil, "threshold"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := len(c.truth.Numbers) + len(c.truth.Words)
			o, err := newOutcome(&c.suite, "y", &dataset.Table{Rows: n, Columns: []dataset.Column{*c.truth}}, []tensor.Tensor{c.answers})
			if err != nil {
				t.Fatal(err)
			}
			rows := []int{}
			for i := range n {
				rows = append(rows, i)
			}
			truth, chosen, err := o.decisions(rows)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("the error is %v, want %q", err, c.says)
				}
				return
			}
			if err != nil || !slices.Equal(truth, c.wantT) || !slices.Equal(chosen, c.wantP) {
				t.Errorf("%v %v %v, want %v and %v", truth, chosen, err, c.wantT, c.wantP)
			}
		})
	}
}
