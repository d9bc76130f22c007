package lightgbm

import (
	"bytes"
	"encoding/csv"
	"math"
	"strconv"
	"testing"
)

// heldTo holds a function against what the C library answered.
func heldTo(t *testing.T, file string, count int, f func(float64) float64) {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(readFile(t, file))).ReadAll()
	if err != nil || len(lines) != count {
		t.Fatal(len(lines), err)
	}
	for _, l := range lines {
		x, err1 := strconv.ParseFloat(l[0], 64)
		want, err2 := strconv.ParseFloat(l[1], 64)
		if err1 != nil || err2 != nil {
			t.Fatal(l)
		}
		if got := f(x); got != want {
			t.Errorf("of %v it is %v, want %v", x, got, want)
		}
	}
}

func TestLog1pIsThatOfTheCLibrary(t *testing.T) {
	heldTo(t, "testdata/log1p.csv", 1200, log1p)
	for x, want := range map[float64]float64{0: 0, 5e-324: 5e-324, math.Inf(1): math.Inf(1)} {
		if got := log1p(x); got != want {
			t.Errorf("log1p(%v) is %v, want %v", x, got, want)
		}
	}
}

func TestExpIsThatOfTheCLibrary(t *testing.T) {
	heldTo(t, "testdata/exp.csv", 4000, exp)
	for x, want := range map[float64]float64{0: 1, math.Copysign(0, -1): 1, 5e-324: 1, 710: math.Inf(1), math.Inf(1): math.Inf(1), math.Inf(-1): 0, -1000: 0} {
		if got := exp(x); got != want {
			t.Errorf("exp(%v) is %v, want %v", x, got, want)
		}
	}
	if got := exp(math.NaN()); got == got {
		t.Errorf("exp(NaN) is %v", got)
	}
}

func BenchmarkExp(b *testing.B) {
	for b.Loop() {
		exp(-0.7)
	}
}
