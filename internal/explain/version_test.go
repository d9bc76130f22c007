package explain

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"keelson/internal/score"
)

func TestGoldenPermutationImportanceIsMet(t *testing.T) {
	var want struct {
		Model    string
		Metric   string // "r2 on y_num"
		Baseline float64
		Features []struct {
			Drops []float64
			Mean  float64
			SD    float64 `json:"std_population"`
		}
	}
	decode(t, expected(t)["permutation_importance"], &want)
	var given struct {
		Rows         string
		Permutations [][][]int
	}
	decode(t, file(t, "permutations.json"), &given)
	e := model(t, want.Model)
	data := table(t, given.Rows)
	metric, target, ok := strings.Cut(want.Metric, " on ")
	if !ok {
		t.Fatalf("%q is no metric on a column", want.Metric)
	}
	at := column(t, given.Rows, target)
	truth := make([]float64, len(data))
	for i, r := range data {
		truth[i] = r[at]
	}
	got, err := Permute(e.Margins, flat(data, e.Features()), e.Features(), given.Permutations, func(answers []float64) score.Value {
		r, err := score.NewRegression(truth, answers)
		if err != nil {
			t.Fatal(err)
		}
		return r.Metrics()[metric]
	})
	if err != nil {
		t.Fatal(err)
	}
	near(t, got.Baseline.V, want.Baseline, "baseline")
	if len(want.Features) != e.Features() {
		t.Fatalf("there are expected values of %d features", len(want.Features))
	}
	for j, w := range want.Features {
		near(t, got.Features[j].Mean.V, w.Mean, "mean drop of feature", j)
		near(t, got.Features[j].SD.V, w.SD, "spread of feature", j)
		for r, v := range w.Drops {
			near(t, got.Features[j].Drops[r].V, v, "drop of feature, repeat", j, r)
		}
	}
}

func TestGoldenDependenceIsMet(t *testing.T) {
	var want struct {
		Model, Rows string
		Features    map[string]struct {
			Grid, PDP []float64
			ICE       [][]float64 `json:"ice_first_5_rows"`
		}
	}
	decode(t, expected(t)["pdp_ice"], &want)
	e := model(t, want.Model)
	data := table(t, want.Rows)
	if len(want.Features) == 0 {
		t.Fatal("there are no expected values")
	}
	for name, w := range want.Features {
		feature := column(t, want.Rows, name)
		values := make([]float64, len(data))
		for i, r := range data {
			values[i] = r[feature]
		}
		grid := Grid(values, 11)
		if len(grid) != len(w.Grid) {
			t.Fatalf("the grid of %s is %v, want %v", name, grid, w.Grid)
		}
		got, err := Depend(e.Margins, flat(data, e.Features()), e.Features(), feature, grid, len(w.ICE))
		if err != nil {
			t.Fatal(err)
		}
		for k := range grid {
			if math.Abs(grid[k]-w.Grid[k]) > 1e-9 {
				t.Errorf("grid value %d of %s is %v, want %v", k, name, grid[k], w.Grid[k])
			}
			near(t, got.Mean[k], w.PDP[k], "partial dependence", name, k)
			for i, curve := range w.ICE {
				near(t, got.Rows[i][k], curve[k], "curve of row", name, i, k)
			}
		}
	}
}

// sum answers with the sum of the row's first two values.
func sum(features int) Predict {
	return func(rows []float64) (out []float64, err error) {
		for i := 0; i < len(rows); i += features {
			out = append(out, rows[i]+rows[i+1])
		}
		return out, nil
	}
}

func TestAFeatureTheModelDoesNotUseHasNoImportanceAndAFlatCurve(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 9))
	rows := make([]float64, 3*40)
	for i := range rows {
		rows[i] = rng.NormFloat64()
	}
	truth, _ := sum(3)(rows)
	quality := func(answers []float64) score.Value {
		loss := 0.0
		for i, a := range answers {
			loss -= math.Abs(a - truth[i])
		}
		return score.Of(loss)
	}
	before := slices.Clone(rows)
	got, err := Permute(sum(3), rows, 3, Permutations(rng, 3, 4, 40), quality)
	if err != nil {
		t.Fatal(err)
	}
	if got.Features[2].Mean.V != 0 || got.Features[0].Mean.V <= 0 || got.Features[1].Mean.V <= 0 {
		t.Errorf("the importances are %+v", got.Features)
	}
	for feature, slope := range []float64{1, 1, 0} {
		d, err := Depend(sum(3), rows, 3, feature, []float64{0, 1, 2}, 99)
		if err != nil {
			t.Fatal(err)
		}
		for i, curve := range append(d.Rows, d.Mean) {
			if math.Abs(curve[2]-curve[0]-2*slope) > 1e-12 {
				t.Errorf("curve %d of feature %d is %v", i, feature, curve)
			}
		}
		if len(d.Rows) != 40 {
			t.Errorf("%d curves were kept of 40 rows", len(d.Rows))
		}
	}
	if !slices.Equal(rows, before) {
		t.Error("the rows were changed")
	}
}

func TestAQualityThatIsUndefinedMakesTheImportanceSo(t *testing.T) {
	got, err := Permute(sum(2), make([]float64, 4), 2, [][][]int{{{1, 0}}, {{0, 1}}}, func([]float64) score.Value {
		return score.Undefined("the truth has only one class")
	})
	if err != nil {
		t.Fatal(err)
	}
	if v := got.Features[0].Mean; v.OK() || v.Why != "the truth has only one class" {
		t.Errorf("the mean drop is %v", v)
	}
}

func TestGridOfOddColumns(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name         string
		values, want []float64
	}{
		{"nothing but missing", []float64{nan, inf, -inf}, nil},
		{"a constant is one point", []float64{3, 3, nan, 3}, []float64{3}},
		{"one value", []float64{-2}, []float64{-2}},
		{"no value", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Grid(c.values, 11); !slices.Equal(got, c.want) {
				t.Errorf("the grid is %v, want %v", got, c.want)
			}
		})
	}
	huge := Grid([]float64{-math.MaxFloat64, math.MaxFloat64}, 5)
	if !slices.IsSorted(huge) || math.IsInf(huge[0], 0) || math.IsNaN(huge[2]) {
		t.Errorf("the grid of huge values is %v", huge)
	}
}

func TestWrongQuestionsAboutAVersionAreRefusedWithASentence(t *testing.T) {
	two := make([]float64, 4)
	quality := func([]float64) score.Value { return score.Of(1) }
	for _, c := range []struct {
		name, says   string
		rows         []float64
		permutations [][][]int
	}{
		{"half a row", "3 values", two[:3], nil},
		{"no row", "0 values", nil, nil},
		{"a feature without permutations", "1 features of 2", two, [][][]int{{{0, 1}}}},
		{"an empty list of permutations", "Feature 1 has no permutation", two, [][][]int{{{0, 1}}, {}}},
		{"a row named twice", "Permutation 0 of feature 0", two, [][][]int{{{1, 1}}, {{0, 1}}}},
		{"a row that is not there", "Permutation 0 of feature 0", two, [][][]int{{{0, 2}}, {{0, 1}}}},
		{"a permutation too short", "Permutation 0 of feature 1", two, [][][]int{{{0, 1}}, {{0}}}},
		{"an empty permutation", "Permutation 0 of feature 1", two, [][][]int{{{0, 1}}, {{}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Permute(sum(2), c.rows, 2, c.permutations, quality)
			invalid(t, err, c.says)
		})
	}
	_, err := Depend(sum(2), two, 2, 2, []float64{1}, 0)
	invalid(t, err, "no feature 2")
	_, err = Depend(sum(2), two[:1], 2, 0, []float64{1}, 0)
	invalid(t, err, "1 values")
}
