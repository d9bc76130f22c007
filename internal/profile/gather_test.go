package profile

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/drift"
)

func TestComparingByBucketsIsComparingInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		kind := rapid.IntRange(0, 9).Draw(t, "kind")
		scale := math.Pow(10, float64(rapid.IntRange(-100, 100).Draw(t, "scale")))
		moved := float64(rapid.IntRange(0, 2).Draw(t, "moved"))
		value := func(side float64) float64 {
			switch kind {
			case 0: // of every size
				return math.Float64frombits(rng.Uint64())
			case 1: // whole numbers, few
				return float64(rng.IntN(3)-1) + side*float64(rng.IntN(2))
			case 2: // whole numbers, many
				return float64(rng.IntN(3000)) + 10*side
			case 3: // narrow, far from 0
				return 1e9 + float64(rng.IntN(2))*1e8 + rng.Float64()/1e4 + side/1e5
			case 4: // half of it 0
				return float64(rng.IntN(2)) * math.Abs(rng.NormFloat64()+side)
			case 5: // heavy tail
				return math.Exp(8*rng.NormFloat64()) * (1 - 2*float64(rng.IntN(2)))
			case 6: // one far away
				if rng.IntN(5000) == 0 {
					return 1e12 * rng.NormFloat64()
				}
			case 7: // apart from each other
				return 100*side + rng.Float64()
			case 8: // the same value
				return 0.1
			}
			return (rng.NormFloat64() + side/2) * scale
		}
		ref, cur := Gather("x", Number, 1<<20), Gather("x", Number, 1<<20)
		var a, b []float64
		for k, n := range []int{rapid.IntRange(1, 90_000).Draw(t, "reference"), rapid.IntRange(1, 20_000).Draw(t, "current")} {
			for range n {
				v := value(moved * float64(k))
				if v-v != 0 {
					continue
				}
				if k == 0 {
					ref.Add(v)
					a = append(a, v)
				} else {
					cur.Add(v)
					b = append(b, v)
				}
			}
		}
		slices.Sort(a)
		slices.Sort(b)
		edges := drift.Edges(a, 10)
		got, ok := ref.byBuckets(cur)
		w, err := drift.NormedWasserstein(a, b)
		if !ok {
			if len(a)+len(b) >= fewToSort && len(a) > 0 && len(b) > 0 && kind != 0 {
				t.Fatalf("%d and %d values of kind %d are not compared by buckets", len(a), len(b), kind)
			}
			return
		}
		ks, _ := drift.KS(a, b)
		if !slices.Equal(got.p, drift.Count(edges, a)) || !slices.Equal(got.q, drift.Count(edges, b)) {
			t.Fatalf("deciles hold %v and %v, want %v and %v", got.p, got.q, drift.Count(edges, a), drift.Count(edges, b))
		}
		if got.ks != ks {
			t.Fatalf("KS %v, want %v", got.ks, ks)
		}
		if err == nil && !(math.Abs(got.wasserstein-w) <= 1e-9*math.Max(w, 1e-3)) {
			t.Fatalf("Wasserstein %v, want %v", got.wasserstein, w)
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

func TestAMillionDifferentWordsAreComparedInBoundedMemory(t *testing.T) {
	a, b := Gather("w", Word, 10), Gather("w", Word, 10)
	for i := range 1_000_000 {
		a.AddWords(strconv.AppendInt(nil, int64(i), 10), 2)
		b.AddWords(strconv.AppendInt(nil, int64(2*i), 10), 1)
	}
	b.AddWords(nil, 1_000_000)
	if len(a.words) > mostTold || len(b.words) > mostTold || a.Exact() {
		t.Errorf("%d and %d words are kept", len(a.words), len(b.words))
	}
	m := Compare(a, b)
	if m.PSI == nil || m.JS == nil || m.V == nil || m.Reference != 2_000_000 || m.Valid != 1_000_000 || m.Missing != 0.5 {
		t.Errorf("%+v", m)
	}
}
