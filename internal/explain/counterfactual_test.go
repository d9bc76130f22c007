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
			X           []float64
			Margin      float64
			Probability float64
			Nearest     float64    `json:"min_l2_distance_to_boundary"`
			Point       []float64  `json:"boundary_point_min_l2"`
			Single      []*float64 `json:"single_feature_boundary_value"`
			Immutable   []int
			Held        *float64 `json:"min_l2_distance_with_immutable"`
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
		p, _ := probability(one.X)
		near(t, p[0], one.Probability, "probability", i)
		margin := c.Bias
		for j, v := range one.X {
			margin += v * c.Weights[j]
		}
		near(t, margin, one.Margin, "margin", i)
		want := Wanted{Threshold: 0.5, Above: one.Margin < 0}
		for _, held := range []bool{false, true} {
			bound := &one.Nearest
			if held {
				bound = one.Held
			}
			side := 3 * one.Nearest
			if bound != nil {
				side = 3 * *bound
			}
			limits := make([]Limits, f)
			for j := range limits {
				limits[j] = Limits{Min: one.X[j] - side, Max: one.X[j] + side}
			}
			if held {
				for _, j := range one.Immutable {
					limits[j] = Limits{Immutable: true}
				}
			}
			got, err := Counter(probability, one.X, limits, want)
			if err != nil {
				t.Fatal(err)
			}
			if bound == nil { // nothing that may change matters
				if got.Found || got.Why == "" {
					t.Errorf("case %d: with all that matters held, %+v", i, got)
				}
				continue
			}
			if !got.Found {
				t.Fatalf("case %d, held %v: %s", i, held, got.Why)
			}
			if !want.met(got.Answer) || got.Distance < *bound*(1-1e-9) || got.Distance > *bound*1.0001 {
				t.Errorf("case %d, held %v: the answer is %v at %v, the nearest boundary at %v", i, held, got.Answer, got.Distance, *bound)
			}
			for j, v := range got.Row {
				if limits[j].Immutable && math.Float64bits(v) != math.Float64bits(one.X[j]) {
					t.Errorf("case %d: feature %d is held, and went to %v", i, j, v)
				}
				if !limits[j].Immutable && (v < limits[j].Min || v > limits[j].Max) {
					t.Errorf("case %d: feature %d went out to %v", i, j, v)
				}
				// A point that is hardly farther away than the nearest one lies beside it.
				if !held && math.Abs(v-one.Point[j]) > 0.02**bound {
					t.Errorf("case %d: feature %d went to %v, the nearest boundary is at %v", i, j, v, one.Point[j])
				}
			}
			again, err := Counter(probability, one.X, limits, want)
			if err != nil || !slices.Equal(again.Row, got.Row) {
				t.Errorf("case %d: the same question has another answer: %v", i, err)
			}
		}
		for j, border := range one.Single { // only this one may change
			limits := make([]Limits, f)
			for k := range limits {
				limits[k] = Limits{Immutable: true}
			}
			limits[j] = Limits{Min: one.X[j] - 1000, Max: one.X[j] + 1000}
			if border != nil {
				side := 3 * math.Abs(*border-one.X[j])
				limits[j] = Limits{Min: one.X[j] - side, Max: one.X[j] + side}
			}
			got, err := Counter(probability, one.X, limits, want)
			if err != nil || got.Found != (border != nil) || got.Found && math.Abs(got.Row[j]-*border) > 1e-4*math.Abs(*border-one.X[j]) {
				t.Errorf("case %d: feature %d alone: %+v, %v", i, j, got, err)
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
	t.Setenv("KEELSON_GOLDEN", "") // rules, not values: of our own model
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
