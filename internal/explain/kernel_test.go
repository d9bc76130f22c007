package explain

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"keelson/internal/problem"
)

func TestKernelMeetsTheGoldenEnumeration(t *testing.T) {
	var c enumerated
	e, rows, background := c.read(t)
	f := e.Features()
	for i, want := range c.Shapley {
		exact, err := Kernel(e.Margins, rows[i][:f], background, Sampling{})
		if err != nil {
			t.Fatal(err)
		}
		if !exact.Exact || exact.Coalitions > 1<<f {
			t.Errorf("%d features were sampled: %s", f, exact.Method())
		}
		near(t, exact.Base, c.Base, "base", i)
		size, budget := 0.0, max(2*f, 3<<f/4)
		sampled, err := Kernel(e.Margins, rows[i][:f], background, Sampling{Coalitions: budget, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		if exact.Players == f && 2*f < 1<<f-2 && (sampled.Exact || sampled.Coalitions > budget) {
			t.Errorf("%d sets were %d: %s", budget, sampled.Coalitions, sampled.Method())
		}
		for _, w := range want {
			size += math.Abs(w)
		}
		for j, w := range want {
			near(t, exact.Values[j], w, "Shapley value, row, feature", i, j)
			if d := math.Abs(sampled.Values[j] - w); d > 0.05*size {
				t.Errorf("sampled value of row %d, feature %d is off by %g", i, j, d)
			}
		}
	}
}

// additive answers with Σ j·x_j² and one product, features j counted from 1.
func additive(features int) Predict {
	return func(rows []float64) (out []float64, err error) {
		for row := range slices.Chunk(rows, features) {
			sum := row[0] * row[1]
			for j, v := range row {
				sum += float64(j+1) * v * v
			}
			out = append(out, sum)
		}
		return out, nil
	}
}

func TestSampledKernelAddsUpIsRepeatableAndFindsTheGameOfManyFeatures(t *testing.T) {
	const f = 70
	rng := rand.New(rand.NewPCG(8, 1))
	row, background := make([]float64, f), make([]float64, 5*f)
	for i := range row {
		row[i] = rng.NormFloat64()
	}
	for i := range background {
		background[i] = rng.NormFloat64()
	}
	for b := range 5 {
		background[b*f+9] = row[9] // cannot matter
	}
	got, err := Kernel(additive(f), row, background, Sampling{Coalitions: 4000, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Kernel(additive(f), row, background, Sampling{Coalitions: 4000, Seed: 7})
	if err != nil || !slices.Equal(got.Values, again.Values) {
		t.Errorf("the same seed gave other values: %v", err)
	}
	other, err := Kernel(additive(f), row, background, Sampling{Coalitions: 4000, Seed: 8})
	if err != nil || slices.Equal(got.Values, other.Values) {
		t.Errorf("another seed gave the same values: %v", err)
	}
	answer, _ := additive(f)(row)
	sum := got.Base
	for _, v := range got.Values {
		sum += v
	}
	if math.Abs(sum-answer[0]) > 1e-6 || got.Exact || got.Players != f-1 || got.Values[9] != 0 {
		t.Errorf("the values sum to %v of %v, with %d players, the constant feature gets %v", sum, answer[0], got.Players, got.Values[9])
	}
	for j := 2; j < f; j++ { // features without a product: j·(x² − mean z²), whatever the sample
		mean := 0.0
		for b := range 5 {
			mean += background[b*f+j] * background[b*f+j] / 5
		}
		if want := float64(j+1) * (row[j]*row[j] - mean); math.Abs(got.Values[j]-want) > 0.05 {
			t.Errorf("feature %d contributes %v, want %v", j, got.Values[j], want)
		}
	}
}

func TestKernelRefusesWhatItCannotExplain(t *testing.T) {
	wide := make([]float64, MaxPlayers+1)
	for i := range wide {
		wide[i] = 1
	}
	infinite := func(rows []float64) ([]float64, error) { return []float64{math.Inf(1), 1, 1, 1}, nil }
	for name, c := range map[string]struct {
		predict         Predict
		row, background []float64
		s               Sampling
	}{
		"no background":       {sum(2), []float64{1, 2}, nil, Sampling{}},
		"half a row":          {sum(2), []float64{1, 2}, []float64{1, 2, 3}, Sampling{}},
		"too many features":   {sum(len(wide)), wide, make([]float64, len(wide)), Sampling{}},
		"too small a budget":  {sum(30), wide[:30], make([]float64, 30), Sampling{Coalitions: 59}},
		"too large a budget":  {sum(30), wide[:30], make([]float64, 30), Sampling{Coalitions: MaxKernelRows + 1}},
		"an infinite answer":  {infinite, []float64{1, 2}, []float64{3, 4}, Sampling{}},
		"one answer too many": {func([]float64) ([]float64, error) { return make([]float64, 99), nil }, []float64{1, 2}, []float64{3, 4}, Sampling{}},
	} {
		if _, err := Kernel(c.predict, c.row, c.background, c.s); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	same, err := Kernel(sum(2), []float64{1, math.NaN()}, []float64{1, math.NaN()}, Sampling{})
	if err == nil || problem.KindOf(err) != problem.Invalid {
		t.Errorf("an answer of NaN was explained: %v, %v", same, err)
	}
}

func TestLocalEffectsOfASumAreItsTermsWhateverTheFeaturesShare(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 5))
	var rows []float64
	for range 400 {
		v := rng.NormFloat64()
		rows = append(rows, v, v+0.1*rng.NormFloat64())
	}
	rows = append(rows, math.NaN(), 1, math.Inf(1), 1)
	predict := func(rows []float64) (out []float64, err error) {
		for row := range slices.Chunk(rows, 2) {
			out = append(out, 3*row[0]-row[1]*row[1])
		}
		return out, nil
	}
	got, err := Accumulate(predict, rows, 2, 0, 20)
	if err != nil {
		t.Fatal(err)
	}
	total, mean := 0, 0.0
	for b, c := range got.Counts {
		total += c
		mean += (got.Effect[b] + got.Effect[b+1]) / 2 * float64(c)
		if c < 18 || c > 22 {
			t.Errorf("bin %d holds %d rows", b, c)
		}
	}
	if got.Left != 2 || total != 400 || math.Abs(mean) > 1e-9 || len(got.Edges) != 21 {
		t.Errorf("%d rows left out, %d in bins, mean %g, %d edges", got.Left, total, mean, len(got.Edges))
	}
	for k := 1; k < len(got.Edges); k++ {
		near(t, (got.Effect[k]-got.Effect[k-1])/(got.Edges[k]-got.Edges[k-1]), 3, "slope", k)
	}
	for name, call := range map[string]func() (Accumulated, error){
		"a constant feature": func() (Accumulated, error) { return Accumulate(predict, []float64{1, 2, 1, 3}, 2, 0, 4) },
		"an unknown feature": func() (Accumulated, error) { return Accumulate(predict, rows, 2, 2, 4) },
		"no bin":             func() (Accumulated, error) { return Accumulate(predict, rows, 2, 0, 0) },
		"half a row":         func() (Accumulated, error) { return Accumulate(predict, rows[:3], 2, 0, 4) },
	} {
		if _, err := call(); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReasonsAreSaidInWords(t *testing.T) {
	for want, f := range map[string]Fact{
		"income of 1,200 lowered the score by 0.12; typical is 2,300": {"income", Number(1200), Number(2300), -0.12},
		"age (missing) raised the score by 3":                         {"age", Number(math.NaN()), "", 3},
		"town of Ulm did not move the score":                          {"town", "Ulm", "", 0},
	} {
		if got := f.Words("the score"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, v := range map[string]float64{"0": math.Copysign(0, -1), "-1,234,567": -1234567, "0.0123": 0.012345, "12.3": 12.345, "999": 999, "1,235": 1234.6, "1e-07": 1e-7, "+Inf": math.Inf(1), "100": 99.99} {
		if got := Number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
