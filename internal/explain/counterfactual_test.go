package explain

import (
	"math"
	"slices"
	"testing"

	"keelson/internal/problem"
)

func TestGoldenCounterfactualsKeepTheirRulesAndAreTheNearest(t *testing.T) {
	var c struct {
		Weights []float64
		Bias    float64
		Cases   []struct {
			X         []float64
			Margin    float64
			Nearest   float64 `json:"min_l2_distance_to_boundary"`
			Immutable []int
			Held      float64 `json:"min_l2_distance_with_immutable"`
		}
	}
	decode(t, expected(t)["counterfactual_logistic"], &c)
	if len(c.Cases) == 0 {
		t.Fatal("there are no cases")
	}
	f := len(c.Weights)
	probability := func(rows []float64) (out []float64, err error) {
		for row := range slices.Chunk(rows, f) {
			margin := c.Bias
			for j, v := range row {
				margin += v * c.Weights[j]
			}
			out = append(out, 1/(1+math.Exp(-margin)))
		}
		return out, nil
	}
	for i, one := range c.Cases {
		want := Wanted{Threshold: 0.5, Above: one.Margin < 0}
		for _, held := range []bool{false, true} {
			limits := make([]Limits, f)
			for j := range limits {
				limits[j] = Limits{Min: -30, Max: 30}
			}
			bound := one.Nearest
			if held {
				bound = one.Held
				for _, j := range one.Immutable {
					limits[j] = Limits{Immutable: true}
				}
			}
			got, err := Counter(probability, one.X, limits, want)
			if err != nil || !got.Found {
				t.Fatalf("case %d, held %v: %v, %s", i, held, err, got.Why)
			}
			if !want.met(got.Answer) || got.Distance < bound*(1-1e-9) || got.Distance > bound*1.0001 {
				t.Errorf("case %d, held %v: the answer is %v at %v, the nearest boundary at %v", i, held, got.Answer, got.Distance, bound)
			}
			for j, v := range got.Row {
				if limits[j].Immutable && math.Float64bits(v) != math.Float64bits(one.X[j]) {
					t.Errorf("case %d: feature %d is held, and went to %v", i, j, v)
				}
				if !limits[j].Immutable && (v < -30 || v > 30) {
					t.Errorf("case %d: feature %d went out to %v", i, j, v)
				}
			}
			again, err := Counter(probability, one.X, limits, want)
			if err != nil || !slices.Equal(again.Row, got.Row) {
				t.Errorf("case %d: the same question has another answer: %v", i, err)
			}
		}
		limits := make([]Limits, f) // a box too small to reach the boundary
		for j := range limits {
			side := 0.5 * one.Nearest / math.Sqrt(float64(f))
			limits[j] = Limits{Min: one.X[j] - side, Max: one.X[j] + side}
		}
		if got, err := Counter(probability, one.X, limits, want); err != nil || got.Found || got.Why == "" || got.Row != nil {
			t.Errorf("case %d: in too small a box %+v, %v", i, got, err)
		}
	}
}

func TestCounterfactualsOfTreesKeepStepsLimitsAndRules(t *testing.T) {
	e := model(t, "xgb_regression.json")
	f := e.Features()
	rows := table(t, "explain_rows.csv")
	found := 0
	for i, r := range rows {
		row := r[:f]
		now, err := e.Margins(row)
		if err != nil {
			t.Fatal(err)
		}
		limits := make([]Limits, f)
		for j := range limits {
			limits[j] = Limits{Min: row[j] - 3, Max: row[j] + 3, Scale: 1 + float64(j)/10}
		}
		limits[1] = Limits{Immutable: true}
		limits[7].Step = 1
		want := Wanted{Threshold: now[0] + 0.5, Above: true, Holds: func(row []float64) bool { return row[2] <= r[2]+0.25 }}
		got, err := Counter(e.Margins, row, limits, want)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Found {
			continue
		}
		found++
		check, _ := e.Margins(got.Row)
		if check[0] != got.Answer || got.Answer < want.Threshold || got.Row[1] != row[1] || !want.Holds(got.Row) || got.Asked > MaxAsked {
			t.Errorf("row %d: %+v answers %v", i, got, check)
		}
		steps := got.Row[7] - row[7]
		if steps != math.Trunc(steps) {
			t.Errorf("row %d: feature 7 moved by %v", i, steps)
		}
		for _, j := range got.Changed { // nothing is changed that need not be
			back := slices.Clone(got.Row)
			back[j] = row[j]
			a, _ := e.Margins(back)
			if a[0] >= want.Threshold && want.Holds(back) {
				t.Errorf("row %d: the change of feature %d is not needed", i, j)
			}
		}
	}
	if found < len(rows)/2 {
		t.Errorf("%d of %d rows have a counterfactual", found, len(rows))
	}
}

func TestCounterRefusesQuestionsWithoutSense(t *testing.T) {
	free := Limits{Min: -9, Max: 9}
	for name, c := range map[string]struct {
		limits []Limits
		want   Wanted
	}{
		"limits for one feature":    {[]Limits{free}, Wanted{Threshold: 5, Above: true}},
		"limits turned round":       {[]Limits{{Min: 9, Max: -9}, free}, Wanted{Threshold: 5, Above: true}},
		"no limit":                  {[]Limits{{Min: math.Inf(-1), Max: 9}, free}, Wanted{Threshold: 5, Above: true}},
		"a value outside its limit": {[]Limits{{Min: 3, Max: 9}, free}, Wanted{Threshold: 5, Above: true}},
		"a negative step":           {[]Limits{{Min: -9, Max: 9, Step: -1}, free}, Wanted{Threshold: 5, Above: true}},
		"the answer it has":         {[]Limits{free, free}, Wanted{Threshold: 2, Above: true}},
	} {
		if _, err := Counter(sum(2), []float64{1, 2}, c.limits, c.want); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	held, err := Counter(sum(2), []float64{1, 2}, []Limits{{Immutable: true}, {Immutable: true}}, Wanted{Threshold: 5, Above: true})
	if err != nil || held.Found {
		t.Errorf("with everything held: %+v, %v", held, err)
	}
}
