package fairness

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"keelson/internal/problem"
	"keelson/internal/score"
)

// rows makes n decisions of one group, of which selected were chosen; all of them rightly.
func rows(group string, n, selected int) (predicted []bool, values []string) {
	for i := range n {
		predicted, values = append(predicted, i < selected), append(values, group)
	}
	return predicted, values
}

func table(t *testing.T, groups ...any) *Table {
	t.Helper()
	var predicted []bool
	var values []string
	for i := 0; i < len(groups); i += 3 {
		p, v := rows(groups[i].(string), groups[i+1].(int), groups[i+2].(int))
		predicted, values = append(predicted, p...), append(values, v...)
	}
	out, err := New(predicted, predicted, 0, Attribute{"g", values})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFourFifths(t *testing.T) {
	for _, c := range []struct {
		name  string
		table *Table
		below string
		ratio bool
	}{
		{"exactly four fifths is not below", table(t, "a", 50, 25, "b", 50, 20), "", true},
		{"one row less is below", table(t, "a", 50, 25, "b", 50, 19), "b", true},
		{"unequal sizes are compared by rate", table(t, "a", 300, 210, "b", 100, 56), "", true},
		{"a small group does not set the standard", table(t, "a", 50, 25, "b", 50, 25, "c", 29, 29), "", true},
		{"nobody selected is undefined", table(t, "a", 50, 0, "b", 50, 0), "", false},
		{"one group has nothing to compare with", table(t, "a", 50, 10), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var below []string
			for _, im := range c.table.FourFifths() {
				if im.Below {
					below = append(below, im.Group)
				}
				if im.Ratio.OK() != c.ratio {
					t.Errorf("the ratio of %s is %v", im.Group, im.Ratio)
				}
			}
			if got := strings.Join(below, " "); got != c.below {
				t.Errorf("below are %q, want %q", got, c.below)
			}
		})
	}
}

func TestWithoutTheTruthOnlySelectionIsMeasured(t *testing.T) {
	p, v := rows("a", 40, 10)
	q, w := rows("b", 40, 30)
	table, err := New(nil, append(p, q...), 0, Attribute{"g", append(v, w...)})
	if err != nil {
		t.Fatal(err)
	}
	for name, gap := range table.Gaps() {
		if gap.Difference.OK() != (name == "demographic_parity") {
			t.Errorf("%s is %v", name, gap.Difference)
		}
	}
	if gap := table.EqualisedOdds(); gap.Difference.Why != unknown {
		t.Errorf("equalised odds are undefined because %q, want %q", gap.Difference.Why, unknown)
	}
	if gap := table.DemographicParity(); gap.Difference.V != 0.5 || gap.Highest != "b" || gap.Lowest != "a" {
		t.Errorf("demographic parity is %+v", gap)
	}
	if _, odds := table.Fairlearn(); odds.Difference.OK() {
		t.Errorf("fairlearn's odds are %v without the truth", odds.Difference)
	}
}

func TestAGroupWithoutPositivesIsNamedWithTheReason(t *testing.T) {
	gap := table(t, "a", 40, 10, "b", 40, 20, "c", 40, 0).EqualOpportunity()
	if !gap.Difference.OK() || len(gap.LeftOut) != 1 || gap.LeftOut[0].Group != "c" || gap.LeftOut[0].Why == "" {
		t.Errorf("the gap is %+v", gap)
	}
}

func TestWrongInputIsRefusedWithASentence(t *testing.T) {
	two := []bool{true, false}
	for _, c := range []struct {
		name, says string
		make       func() error
	}{
		{"no attribute", "at least one attribute", func() error { _, err := New(two, two, 0); return err }},
		{"an attribute of another length", `"sex"`, func() error { _, err := New(two, two, 0, Attribute{"sex", []string{"f"}}); return err }},
		{"truth of another length", "3 true values", func() error {
			_, err := New(make([]bool, 3), two, 0, Attribute{"sex", []string{"f", "m"}})
			return err
		}},
		{"a negative minimum", "-1", func() error { _, err := New(two, two, -1, Attribute{"sex", []string{"f", "m"}}); return err }},
		{"too many intersections", "1000", func() error {
			_, err := Tables(two, two, 0, 20, make([]Attribute, 20)...)
			if err == nil || !strings.Contains(err.Error(), "values") {
				t.Errorf("attributes without values give %v", err)
			}
			many := make([]Attribute, 20)
			for i := range many {
				many[i] = Attribute{strconv.Itoa(i), []string{"x", "y"}}
			}
			_, err = Tables(two, two, 0, 20, many...)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.make()
			var p *problem.Error
			if !errors.As(err, &p) || p.Kind != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want it to say %q", err, c.says)
			}
		})
	}
}

func TestIntersectionsComeSingleFirst(t *testing.T) {
	p := []bool{true, false, true}
	at := []Attribute{{"a", []string{"x", "y", "x"}}, {"b", []string{"1", "1", "2"}}, {"c", []string{"", "", ""}}}
	tables, err := Tables(nil, p, 1, 2, at...)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, table := range tables {
		got = append(got, strings.Join(table.Attributes, "×"))
	}
	if s := strings.Join(got, " "); s != "a b c a×b a×c b×c" {
		t.Errorf("the tables are %s", s)
	}
	if g := tables[3].Groups; len(g) != 3 || tables[3].Describe(g[1]) != "a=x, b=2" {
		t.Errorf("the groups of a×b are %+v", g)
	}
}

func TestNoRowsGiveUndefinedEverywhere(t *testing.T) {
	table, err := New([]bool{}, []bool{}, 0, Attribute{"g", nil})
	if err != nil {
		t.Fatal(err)
	}
	for name, gap := range table.Gaps() {
		if gap.Difference.OK() || gap.Ratio.OK() {
			t.Errorf("%s is %v", name, gap)
		}
	}
	if _, err := json.Marshal(table.Gaps()); err != nil {
		t.Error(err)
	}
}

// Whatever the decisions are: counts add up, gaps lie in 0..1, renaming the groups changes nothing, a group made twice
// as large by repeating its rows keeps its rates, and equalised odds is the worse half.
func TestPropertiesOfEveryTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	for range 300 {
		n := rng.IntN(200)
		truth, predicted := make([]bool, n), make([]bool, n)
		a, b, renamed := make([]string, n), make([]string, n), make([]string, n)
		k := 1 + rng.IntN(6)
		for i := range n {
			truth[i], predicted[i] = rng.IntN(3) == 0, rng.IntN(2) == 0
			g := rng.IntN(k)
			a[i], b[i], renamed[i] = strconv.Itoa(g), strconv.Itoa(rng.IntN(2)), string(rune('z'-g))
		}
		minimum := 1 + rng.IntN(20)
		table, err := New(truth, predicted, minimum, Attribute{"a", a}, Attribute{"b", b})
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, g := range append(append([]Group{}, table.Groups...), table.Small...) {
			sum += g.N
			if c := g.Confusion; c.N() != g.N || c.TP+c.FP != g.Selected {
				t.Fatalf("the counts of %s do not add up: %+v", g.Name(), g)
			}
		}
		if sum != n {
			t.Fatalf("the groups hold %d rows of %d", sum, n)
		}
		other, _ := New(truth, predicted, minimum, Attribute{"a", renamed}, Attribute{"b", b})
		double, _ := New(append(truth, truth...), append(predicted, predicted...), 2*minimum,
			Attribute{"a", append(a, a...)}, Attribute{"b", append(b, b...)})
		for name, gap := range table.Gaps() {
			for _, v := range []score.Value{gap.Difference, gap.Ratio} {
				if v.OK() && (v.V < 0 || v.V > 1) {
					t.Fatalf("%s is %v", name, v)
				}
			}
			for _, twin := range []*Table{other, double} {
				if same := twin.Gaps()[name]; same.Difference != gap.Difference || same.Ratio != gap.Ratio {
					t.Fatalf("%s is %v, and %v after renaming or doubling", name, gap, same)
				}
			}
		}
		odds, tpr, fpr := table.EqualisedOdds(), table.EqualOpportunity(), table.FalseAlarmParity()
		if odds.Difference.OK() && odds.Difference.V != max(tpr.Difference.V, fpr.Difference.V) {
			t.Fatalf("equalised odds is %v of %v and %v", odds.Difference, tpr.Difference, fpr.Difference)
		}
	}
}
