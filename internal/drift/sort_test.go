package drift

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

func TestNumbersAreSortedAsByComparing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	kinds := map[string]func() float64{
		"of 32 bits":     func() float64 { return float64(float32(rng.NormFloat64())) },
		"of 64 bits":     func() float64 { return rng.NormFloat64() * 1e9 },
		"whole":          func() float64 { return float64(rng.IntN(7) - 3) },
		"equal":          func() float64 { return 5 },
		"any bits":       func() float64 { return math.Float64frombits(rng.Uint64()) },
		"zeros":          func() float64 { return math.Copysign(0, float64(rng.IntN(2)-1)) },
		"very large":     func() float64 { return math.Copysign(math.MaxFloat64/float64(1+rng.IntN(3)), rng.Float64()-0.5) },
		"not normalised": func() float64 { return math.Float64frombits(rng.Uint64() >> 20) },
	}
	for name, draw := range kinds {
		for _, n := range []int{0, 1, 2, fewToSort - 1, fewToSort, 400, 5000} {
			values := make([]float64, n)
			for i := range values {
				if values[i] = draw(); values[i] != values[i] {
					values[i] = 0
				}
			}
			want := slices.Sorted(slices.Values(values))
			if sortNumbers(values); !slices.Equal(values, want) {
				t.Errorf("%d numbers %s are not in order", n, name)
			}
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{128, 400, 2000, 100_000} {
		many := make([][]float64, 200_000/n+50) // others each time: the same ones would teach the processor their branches
		for k := range many {
			many[k] = make([]float64, n)
			for i := range many[k] {
				many[k][i] = float64(float32(rng.NormFloat64()))
			}
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				Split(many[i%len(many)])
			}
		})
	}
}
