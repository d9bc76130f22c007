package profile

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/drift"
)

func TestSortingByBitsIsSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		scale := math.Pow(10, float64(rapid.IntRange(-300, 300).Draw(t, "scale")))
		kind := rapid.IntRange(0, 3).Draw(t, "kind")
		g := Gather("x", Number, 10_000)
		for range rapid.IntRange(0, 5000).Draw(t, "rows") {
			g.Add([]float64{rng.NormFloat64() * scale, math.Float64frombits(rng.Uint64()), float64(rng.IntN(3) - 1), 1e9 + float64(rng.IntN(2))*1e8 + rng.Float64()/1e4}[kind])
		}
		want := slices.Clone(g.values)
		slices.Sort(want)
		got := g.sorted()
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("place %d holds %v, want %v", i, got[i], want[i])
			}
		}
	})
}

func TestBeyondTheBudgetTheMeasuresStayWithinTheirError(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, budget := range []int{1 << 20, 1000} {
		ref, cur := Gather("x", Number, budget), Gather("x", Number, budget)
		var a, b []float64
		for range 60_000 {
			x, y := rng.NormFloat64(), 0.3+1.1*rng.NormFloat64()
			a, b = append(a, x), append(b, y)
			ref.Add(x)
			cur.Add(y)
		}
		ref.Add(math.NaN())
		cur.Add(math.Inf(1))
		m := Compare(ref, cur)
		slices.Sort(a)
		slices.Sort(b)
		ks, _ := drift.KS(a, b)
		w, _ := drift.NormedWasserstein(a, b)
		edges := drift.Edges(a, 10)
		psi, _ := drift.PSI(drift.Count(edges, a), drift.Count(edges, b))
		slack := 1e-12
		if budget == 1000 {
			slack = 2e-3 // edges lie at ends of buckets
			if m.Error == 0 || m.Error > 0.005 {
				t.Errorf("error %v", m.Error)
			}
		}
		if math.Abs(*m.KS-ks) > m.Error+1e-12 || math.Abs(*m.Wasserstein-w) > 1e-12+m.Error || math.Abs(*m.PSI-psi) > slack || m.Missing == 0 || m.Was == 0 {
			t.Errorf("budget %d: KS %v (%v), W %v (%v), PSI %v (%v), error %v", budget, *m.KS, ks, *m.Wasserstein, w, *m.PSI, psi, m.Error)
		}
	}
	words, later := Gather("w", Word, 10), Gather("w", Word, 10)
	for i := range 1000 {
		words.AddWord([]byte{byte('a' + i%3)})
		later.AddWord([]byte{byte('a' + i%4)})
	}
	if m := Compare(words, later); m.PSI == nil || *m.PSI < 0.1 || m.ChiSquare == nil || *m.V <= 0 {
		t.Errorf("%+v", m)
	}
	if m := Compare(Gather("e", Number, 10), Gather("e", Number, 10)); m.PSI != nil || m.Why == "" {
		t.Errorf("two empty samples: %+v", m)
	}
	if m := Compare(words, ref(t)); m.Why == "" || m.PSI != nil {
		t.Errorf("%+v", m)
	}
}

func ref(t *testing.T) *Gathered {
	t.Helper()
	return Gather("w", Number, 1)
}
