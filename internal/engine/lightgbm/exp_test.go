package lightgbm

import (
	"bytes"
	"encoding/csv"
	"math"
	"strconv"
	"testing"
)

func TestExpIsThatOfTheCLibrary(t *testing.T) {
	lines, err := csv.NewReader(bytes.NewReader(readFile(t, "testdata/exp.csv"))).ReadAll()
	if err != nil || len(lines) != 4000 {
		t.Fatal(len(lines), err)
	}
	for _, l := range lines {
		x, err1 := strconv.ParseFloat(l[0], 64)
		want, err2 := strconv.ParseFloat(l[1], 64)
		if err1 != nil || err2 != nil {
			t.Fatal(l)
		}
		if got := exp(x); got != want {
			t.Errorf("exp(%v) is %v, want %v", x, got, want)
		}
	}
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
