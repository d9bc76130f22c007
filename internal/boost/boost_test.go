package boost

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// table is rows of two numbers and a word with a target that needs all three, an interaction and the missing values.
func table(seed uint64, n int) (columns []Column, target []float64) {
	r := rand.New(rand.NewPCG(seed, 1))
	columns = []Column{{Numbers: make([]float64, n)}, {Numbers: make([]float64, n)}, {Words: make([]string, n)}}
	for i := range n {
		a, b, w := r.Float64()*4, r.NormFloat64(), r.IntN(6)
		y := math.Sin(a*2) + a*b/2 + []float64{0, 3, -1, 0, 3, -1}[w]
		if r.IntN(10) == 0 {
			a, y = math.NaN(), 7
		}
		columns[0].Numbers[i], columns[1].Numbers[i], columns[2].Words[i] = a, b, string(rune('a'+w))
		target = append(target, y)
	}
	return columns, target
}

func rmse(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += (a[i] - b[i]) * (a[i] - b[i])
	}
	return math.Sqrt(sum / float64(len(a)))
}

func TestAFunctionOfNumbersWordsAndGapsIsLearnt(t *testing.T) {
	columns, target := table(1, 6000)
	m, err := Fit(columns, target, Squared, Params{})
	if err != nil {
		t.Fatal(err)
	}
	unseen, truth := table(2, 2000)
	got, err := m.Predict(unseen)
	if err != nil {
		t.Fatal(err)
	}
	mean := 0.0
	for _, y := range truth {
		mean += y / float64(len(truth))
	}
	constant := slices.Repeat([]float64{mean}, len(truth))
	if e, whole := rmse(got, truth), rmse(constant, truth); e > 0.12*whole {
		t.Errorf("the error on unseen rows is %.3f of a spread of %.3f", e, whole)
	}
	sum := 0.0
	for k, v := range m.Importance() {
		if sum += v; v < 0.05 {
			t.Errorf("column %d is worth %v", k, v)
		}
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("the importances sum to %v", sum)
	}
	again, err := Fit(columns, target, Squared, Params{Sample: 0.5, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	same, err := Fit(columns, target, Squared, Params{Sample: 0.5, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	other, err := Fit(columns, target, Squared, Params{Sample: 0.5, Seed: 8})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := again.Predict(unseen)
	b, _ := same.Predict(unseen)
	c, _ := other.Predict(unseen)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Error("equal seeds give different models, or different seeds equal ones")
	}
}

func TestProbabilitiesAreCalibrated(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	make2 := func(n int) (c []Column, y, p []float64) {
		c = []Column{{Numbers: make([]float64, n)}}
		for i := range n {
			x := r.NormFloat64()
			c[0].Numbers[i] = x
			p = append(p, sigmoid(2*x))
			v := 0.0
			if r.Float64() < p[i] {
				v = 1
			}
			y = append(y, v)
		}
		return c, y, p
	}
	columns, y, _ := make2(8000)
	m, err := Fit(columns, y, Logistic, Params{Trees: 40, Leaves: 8, Rows: 100})
	if err != nil {
		t.Fatal(err)
	}
	unseen, _, p := make2(2000)
	got, err := m.Predict(unseen)
	if err != nil {
		t.Fatal(err)
	}
	if e := rmse(got, p); e > 0.05 {
		t.Errorf("the probabilities are off by %.3f", e)
	}
}

func TestOneSplitIsTheBestOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 40).Draw(t, "rows")
		x := rapid.SliceOfN(rapid.IntRange(0, 9), n, n).Draw(t, "x")
		y := rapid.SliceOfN(rapid.IntRange(-5, 5), n, n).Draw(t, "y")
		c, target, base := Column{}, []float64{}, 0.0
		for i := range x {
			c.Numbers, target = append(c.Numbers, float64(x[i])), append(target, float64(y[i]))
			base += float64(y[i]) / float64(n)
		}
		m, err := Fit([]Column{c}, target, Squared, Params{Trees: 1, Leaves: 2, Rows: 1, Rate: 1, Lambda: 1e-9})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Predict([]Column{c})
		if err != nil {
			t.Fatal(err)
		}
		best := 0.0
		for edge := range 9 { // the smallest squared error of any split
			var sum, count [2]float64
			for i := range x {
				k := 0
				if x[i] > edge {
					k = 1
				}
				sum[k] += target[i] - base
				count[k]++
			}
			if count[0] > 0 && count[1] > 0 {
				best = math.Max(best, sum[0]*sum[0]/count[0]+sum[1]*sum[1]/count[1])
			}
		}
		whole, left := 0.0, 0.0
		for i, v := range target {
			whole += (v - base) * (v - base)
			left += (v - got[i]) * (v - got[i])
		}
		if math.Abs(whole-best-left) > 1e-5 {
			t.Fatalf("the squared error is %v after one split, %v is possible", left, whole-best)
		}
	})
}

func TestAnyFiniteTableGivesFinitePredictions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "rows")
		any := rapid.OneOf(rapid.Float64(), rapid.Just(math.NaN()), rapid.Just(math.Inf(1)), rapid.Float64Range(-1, 1))
		columns := []Column{{Numbers: rapid.SliceOfN(any, n, n).Draw(t, "x")}, {Words: rapid.SliceOfN(rapid.StringN(0, 2, 4), n, n).Draw(t, "w")}}
		y := rapid.SliceOfN(rapid.Float64Range(-1e300, 1e300), n, n).Draw(t, "y")
		m, err := Fit(columns, y, Squared, Params{Trees: 5, Rows: 1, Bins: rapid.IntRange(2, 254).Draw(t, "bins"), Depth: 3})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Predict(columns)
		if err != nil {
			t.Fatal(err)
		}
		low, high := slices.Min(y), slices.Max(y)
		room := 1e-9*math.Max(math.Abs(low), math.Abs(high)) + (high/2-low/2)*2e-9
		for i, v := range got {
			if !(v >= low-room-math.Abs(high/2-low/2) && v <= high+room+math.Abs(high/2-low/2)) {
				t.Fatalf("row %d is predicted as %v from targets in %v..%v", i, v, low, high)
			}
		}
	})
}

func TestWhatCannotBeLearntIsRefused(t *testing.T) {
	x := []Column{{Numbers: []float64{1, 2}}}
	for name, f := range map[string]func() error{
		"no column":              func() error { _, err := Fit(nil, nil, Squared, Params{}); return err },
		"no row":                 func() error { _, err := Fit([]Column{{Words: []string{}}}, nil, Squared, Params{}); return err },
		"a NaN target":           func() error { _, err := Fit(x, []float64{1, math.NaN()}, Squared, Params{}); return err },
		"a class of two":         func() error { _, err := Fit(x, []float64{1, 2}, Logistic, Params{}); return err },
		"targets that are short": func() error { _, err := Fit(x, []float64{1}, Squared, Params{}); return err },
		"columns of two heights": func() error {
			_, err := Fit(append(x, Column{Words: []string{"a"}}), []float64{1, 2}, Squared, Params{})
			return err
		},
		"a rate above one": func() error { _, err := Fit(x, []float64{1, 2}, Squared, Params{Rate: 2}); return err },
		"300 bins":         func() error { _, err := Fit(x, []float64{1, 2}, Squared, Params{Bins: 300}); return err },
		"a column more": func() error {
			m, _ := Fit(x, []float64{1, 2}, Squared, Params{})
			_, err := m.Predict(append(x, x[0]))
			return err
		},
		"words for numbers": func() error {
			m, _ := Fit(x, []float64{1, 2}, Squared, Params{})
			_, err := m.Predict([]Column{{Words: []string{"a"}}})
			return err
		},
		"less than no regulation": func() error { _, err := Fit(x, []float64{1, 2}, Squared, Params{Lambda: math.NaN()}); return err },
	} {
		if f() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func BenchmarkFit(b *testing.B) {
	columns, target := table(1, 100_000)
	for seed := range uint64(3) {
		more, _ := table(seed, 100_000)
		columns = append(columns, more...)
	}
	for b.Loop() {
		if _, err := Fit(columns, target, Squared, Params{}); err != nil {
			b.Fatal(err)
		}
	}
}
