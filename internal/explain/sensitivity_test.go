package explain

import (
	"math"
	"math/rand/v2"
	"testing"

	"keelson/internal/score"
)

type sensitivityFile struct {
	Analytic struct{ S1, ST []float64 }
	Sobol    struct {
		File   string
		N      int
		S1, ST []float64
	} `json:"sobol_from_given_sample"`
	Morris struct {
		File         string
		Trajectories int
		Levels       int `json:"num_levels"`
		Mu, Sigma    []float64
		MuStar       []float64 `json:"mu_star"`
	} `json:"morris_from_given_sample"`
}

func values(t *testing.T, what string, got []score.Value, want []float64, within float64) {
	t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	for j, w := range want {
		if !got[j].OK() || math.Abs(got[j].V-w) > within {
			t.Errorf("%s of feature %d is %v, want %v", what, j, got[j], w)
		}
	}
}

// split takes the last column off.
func split(rows [][]float64) (x, y []float64) {
	for _, r := range rows {
		x, y = append(x, r[:len(r)-1]...), append(y, r[len(r)-1])
	}
	return x, y
}

var circle = []Range{{-math.Pi, math.Pi}, {-math.Pi, math.Pi}, {-math.Pi, math.Pi}}

func TestGoldenSensitivityIsMet(t *testing.T) {
	var want sensitivityFile
	decode(t, file(t, "sensitivity_expected.json"), &want)
	_, y := split(table(t, want.Sobol.File))
	v, err := Sobol(y, len(want.Sobol.S1))
	if err != nil {
		t.Fatal(err)
	}
	values(t, "the first-order index", v.First, want.Sobol.S1, 1e-9)
	values(t, "the total index", v.Total, want.Sobol.ST, 1e-9)
	if len(y) != want.Sobol.N*(len(v.First)+2) {
		t.Errorf("there are %d rows for %d blocks", len(y), want.Sobol.N)
	}

	x, y := split(table(t, want.Morris.File))
	effects, err := Morris(x, y, circle)
	if err != nil {
		t.Fatal(err)
	}
	if len(y) != want.Morris.Trajectories*4 {
		t.Errorf("there are %d rows for %d trajectories", len(y), want.Morris.Trajectories)
	}
	for i, v := range x {
		if level := (v + math.Pi) / (2 * math.Pi) * float64(want.Morris.Levels-1); math.Abs(level-math.Round(level)) > 1e-6 {
			t.Errorf("value %d of the trajectories, %v, is on none of %d levels", i, v, want.Morris.Levels)
		}
	}
	var mu, star, sigma []score.Value
	for _, e := range effects {
		mu, star, sigma = append(mu, e.Mean), append(star, e.Size), append(sigma, e.SD)
	}
	values(t, "mu", mu, want.Morris.Mu, 1e-9)
	values(t, "mu star", star, want.Morris.MuStar, 1e-9)
	values(t, "sigma", sigma, want.Morris.Sigma, 1e-9)
}

// ishigami is the function of the golden file.
func ishigami(rows []float64) (out []float64) {
	for i := 0; i < len(rows); i += 3 {
		s := math.Sin(rows[i+1])
		out = append(out, math.Sin(rows[i])*(1+0.1*math.Pow(rows[i+2], 4))+7*s*s)
	}
	return out
}

func TestOwnSobolSampleComesNearTheAnalyticIndices(t *testing.T) {
	var want sensitivityFile
	decode(t, file(t, "sensitivity_expected.json"), &want)
	for seed := range uint64(20) {
		rows, err := SobolSample(rand.New(rand.NewPCG(seed, 1)), circle, 8192)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Sobol(ishigami(rows), 3)
		if err != nil {
			t.Fatal(err)
		}
		values(t, "the first-order index", v.First, want.Analytic.S1, 0.03)
		values(t, "the total index", v.Total, want.Analytic.ST, 0.03)
	}
}

func TestMorrisOfALinearModelIsItsSlopes(t *testing.T) {
	ranges := []Range{{0, 1}, {-2, 2}, {10, 20}}
	rows, err := MorrisSample(rand.New(rand.NewPCG(2, 3)), ranges, 50, 6)
	if err != nil {
		t.Fatal(err)
	}
	var answers []float64
	for i := 0; i < len(rows); i += 3 {
		for j, r := range ranges {
			if rows[i+j] < r.Low || rows[i+j] > r.High {
				t.Fatalf("feature %d is %v, outside %v", j, rows[i+j], r)
			}
		}
		answers = append(answers, 3*rows[i]-5*rows[i+1])
	}
	got, err := Morris(rows, answers, ranges)
	if err != nil {
		t.Fatal(err)
	}
	for j, want := range []float64{3, -20, 0} { // slope times range
		e := got[j]
		values(t, "mu, mu star, sigma", []score.Value{e.Mean, e.Size, e.SD}, []float64{want, math.Abs(want), 0}, 1e-9)
	}
}

func TestSensitivityWithoutAnAnswerIsUndefined(t *testing.T) {
	v, err := Sobol(make([]float64, 10), 3)
	if err != nil || v.First[0].OK() || v.Total[2].OK() {
		t.Errorf("indices of a constant are %+v, %v", v, err)
	}
	if v, _ = Sobol([]float64{1, math.NaN(), 2}, 1); v.First[0].OK() {
		t.Errorf("an answer that is no number gives %+v", v)
	}
	e, err := Morris([]float64{0, 1}, []float64{5, 7}, []Range{{0, 1}})
	if err != nil || e[0].Mean.V != 2 || e[0].SD.OK() {
		t.Errorf("one trajectory gives %+v, %v", e, err)
	}
}

func TestWrongSamplesAreRefusedWithASentence(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	one, two := []Range{{0, 1}}, []Range{{0, 1}, {0, 1}}
	for _, c := range []struct {
		name, says string
		do         func() error
	}{
		{"no feature", "at least one feature", func() error { _, err := SobolSample(rng, nil, 4); return err }},
		{"a range upside down", "from 2 to 1", func() error { _, err := SobolSample(rng, []Range{{2, 1}}, 4); return err }},
		{"an endless range", "from 0 to +Inf", func() error { _, err := MorrisSample(rng, []Range{{0, math.Inf(1)}}, 4, 4); return err }},
		{"no block", "0 blocks", func() error { _, err := SobolSample(rng, one, 0); return err }},
		{"odd levels", "5 levels", func() error { _, err := MorrisSample(rng, one, 4, 5); return err }},
		{"half a block", "4 answers", func() error { _, err := Sobol(make([]float64, 4), 1); return err }},
		{"half a trajectory", "3 answers", func() error { _, err := Morris(make([]float64, 3), make([]float64, 3), one); return err }},
		{"a step that moves nothing", "Row 1 of the trajectories moves no", func() error { _, err := Morris([]float64{0, 0}, []float64{1, 2}, one); return err }},
		{"a step that moves two", "Row 1 of the trajectories does not", func() error {
			_, err := Morris([]float64{0, 0, 1, 1, 1, 0}, make([]float64, 3), two)
			return err
		}},
		{"a feature that moves twice", "Row 2 of the trajectories does not", func() error {
			_, err := Morris([]float64{0, 0, 1, 0, 0, 0}, make([]float64, 3), two)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) { invalid(t, c.do(), c.says) })
	}
}
