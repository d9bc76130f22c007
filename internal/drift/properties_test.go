package drift

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawCounts(t *rapid.T) (ref, cur []float64) {
	k := rapid.IntRange(1, 12).Draw(t, "bins")
	one := rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0, 1e6))
	return rapid.SliceOfN(one, k, k).Draw(t, "ref"), rapid.SliceOfN(one, k, k).Draw(t, "cur")
}

func TestBinMeasuresStayInTheirRangesAndAreSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref, cur := drawCounts(t)
		for name, m := range map[string]struct {
			f   func(a, b []float64) (float64, error)
			max float64
		}{
			"PSI": {PSI, math.MaxFloat64}, "JS": {JS, 1}, "Hellinger": {Hellinger, 1},
			"TotalVariation": {TotalVariation, 1}, "LInfinity": {LInfinity, 1},
		} {
			a, errA := m.f(ref, cur)
			b, errB := m.f(cur, ref)
			if (errA == nil) != (errB == nil) {
				t.Fatalf("%s is defined one way round only: %v, %v", name, errA, errB)
			}
			if errA != nil {
				continue
			}
			if !(a >= 0 && a <= m.max) || math.Abs(a-b) > 1e-9*math.Max(1, a) {
				t.Fatalf("%s = %v and %v turned round, want the same in 0..%v", name, a, b, m.max)
			}
			if same, _ := m.f(ref, ref); same != 0 {
				t.Fatalf("%s of a histogram with itself is %v", name, same)
			}
		}
	})
}

func TestSampleMeasuresTakeAnyFiniteValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref, _, _ := Split(rapid.SliceOf(rapid.Float64()).Draw(t, "ref"))
		cur, _, _ := Split(rapid.SliceOf(rapid.Float64()).Draw(t, "cur"))
		d, err := KS(ref, cur)
		if len(ref) == 0 || len(cur) == 0 {
			if err == nil {
				t.Fatal("KS of an empty sample has a value")
			}
			return
		}
		if back, _ := KS(cur, ref); d < 0 || d > 1 || math.Abs(back-d) > 1e-12 {
			t.Fatalf("KS = %v, turned round %v", d, back)
		}
		if p := KSPValue(d, len(ref), len(cur)); !(p >= 0 && p <= 1) {
			t.Fatalf("p-value %v", p)
		}
		for name, f := range map[string]func(a, b []float64) (float64, error){
			"Wasserstein": Wasserstein, "NormedWasserstein": NormedWasserstein, "MeanShift": MeanShift,
		} {
			if v, err := f(ref, cur); err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
				t.Fatalf("%s = %v", name, v)
			}
		}
	})
}

func TestEveryValueFallsIntoOneBin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64(), 1, 200).Draw(t, "values")
		sorted, missing, infinite := Split(values)
		edges := Edges(sorted, 10)
		if !slices.IsSorted(edges) || len(edges) > 9 {
			t.Fatalf("edges %v", edges)
		}
		sum := 0.0
		for _, c := range Count(edges, values) {
			sum += c
		}
		if int(sum)+missing+infinite != len(values) {
			t.Fatalf("%v counted, %d missing, %d infinite of %d", sum, missing, infinite, len(values))
		}
	})
}

func TestKolmogorovSeriesMeetWhereTheyAreJoined(t *testing.T) {
	// x = √(nm/(n+m))·d; n = m = 2 gives x = d, so d may be read as x.
	below, above := KSPValue(1.18-1e-9, 2, 2), KSPValue(1.18, 2, 2)
	if math.Abs(below-above) > 1e-7 {
		t.Errorf("the series give %v and %v at their border", below, above)
	}
	if p := KSPValue(1.3580986, 2, 2); math.Abs(p-0.05) > 1e-6 {
		t.Errorf("K(1.3581) = %v, want 0.05 (Smirnov's table)", p)
	}
}

func TestChanceLimitHoldsForEqualDistributions(t *testing.T) {
	// 2,000 comparisons without any shift: with alpha 0.05 over one feature about 100 may exceed the
	// limit. A binomial(2000, 0.05) exceeds 140 with probability 5e-5; far fewer than 60 would mean the
	// limit is blunt.
	rng := rand.New(rand.NewPCG(7, 11))
	psi, ks, js := 0, 0, 0
	limit := ChanceLimits(500, 400, 10, 1, 0.05)
	for range 2000 {
		ref, cur := make([]float64, 500), make([]float64, 400)
		for i := range ref {
			ref[i] = rng.NormFloat64()
		}
		for i := range cur {
			cur[i] = rng.NormFloat64()
		}
		slices.Sort(ref)
		slices.Sort(cur)
		edges := Edges(ref, 10)
		p, q := Count(edges, ref), Count(edges, cur)
		v, _ := PSI(p, q)
		d, _ := KS(ref, cur)
		j, _ := JS(p, q)
		if v > limit.PSI {
			psi++
		}
		if d > limit.KS {
			ks++
		}
		if j > limit.JS {
			js++
		}
	}
	for name, n := range map[string]int{"PSI": psi, "KS": ks, "JS": js} {
		if n < 40 || n > 145 {
			t.Errorf("%s exceeds its 5 %% limit in %d of 2000 comparisons by chance", name, n)
		}
	}
}

func TestSmallWindowsExceedOneTenthByChance(t *testing.T) {
	if l := ChanceLimit(455, 100, 10, 30, 0.01); l < 0.25 {
		t.Errorf("100 rows, 30 features: chance limit %v, want above 0.25", l)
	}
	if l := ChanceLimit(455, 400, 10, 30, 0.01); l < 0.1 || l > 0.25 {
		t.Errorf("400 rows, 30 features: chance limit %v, want between 0.1 and 0.25", l)
	}
	if l := ChanceLimit(100000, 100000, 10, 30, 0.01); l > 0.001 {
		t.Errorf("100,000 rows: chance limit %v", l)
	}
	if l := ChanceLimit(0, 400, 10, 30, 0.01); math.IsInf(l, 0) || math.IsNaN(l) {
		t.Errorf("an empty reference gives %v", l)
	}
}

func FuzzPSI(f *testing.F) {
	f.Add(1.0, 2.0, 0.0, 4.0)
	f.Add(0.0, 0.0, 0.0, 0.0)
	f.Add(math.MaxFloat64, math.MaxFloat64, 1.0, math.Inf(1))
	f.Fuzz(func(t *testing.T, a, b, c, d float64) {
		v, err := PSI([]float64{a, b}, []float64{c, d})
		if err == nil && !(v >= 0 && v < 20) {
			t.Fatalf("PSI = %v", v)
		}
	})
}

func TestChanceLimitUsesTheTableOfChiSquare(t *testing.T) {
	// Quantiles by scipy.stats.chi2.isf(tail, dof), 1.17.1; with 2 + 2 rows the factor is 1.
	for _, c := range []struct {
		bins, features int
		alpha, want    float64
	}{{10, 30, 0.01, 30.69918651494995}, {10, 1, 1e-6, 44.81093787068782}, {2, 1, 0.05, 3.841458820694124}} {
		if got := ChanceLimit(2, 2, c.bins, c.features, c.alpha); math.Abs(got-c.want) > 1e-9*c.want {
			t.Errorf("%d bins, tail %g/%d: %v, want %v", c.bins, c.alpha, c.features, got, c.want)
		}
	}
}
