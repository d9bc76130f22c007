package shift

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestDistancesOfEmbeddingsAgreeWithScikitLearn(t *testing.T) {
	var want struct {
		Reference, Current             [][]float64
		Gamma, MMD2, Euclidean, Cosine float64
	}
	expected(t, "testdata/embeddings_expected.json", &want)
	got, err := Compare(want.Reference, want.Current, CompareParams{Gamma: want.Gamma})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string][2]float64{
		"Euclidean": {got.Euclidean.V, want.Euclidean}, "cosine": {got.Cosine.V, want.Cosine}, "MMD²": {got.MMD.V, want.MMD2},
	} {
		if want := v[1]; want == 0 || math.Abs(v[0]-want) > 1e-9 {
			t.Errorf("%s is %.12f, want %.12f", name, v[0], want)
		}
	}
	if !(got.PValue.V < 0.02) {
		t.Errorf("clouds that differ have the p-value %v", got.PValue)
	}
}

// cloud is n rows of normal numbers around middle.
func cloud(seed uint64, n int, spread, middle float64) [][]float64 {
	r := rand.New(rand.NewPCG(seed, 2))
	out := make([][]float64, n)
	for i := range out {
		for range 6 {
			out[i] = append(out[i], middle+spread*r.NormFloat64())
		}
	}
	return out
}

func TestCloudsThatDifferOnlyInSpreadAreToldApart(t *testing.T) {
	reference := cloud(1, 900, 1, 3)
	wide, err := Compare(reference, cloud(2, 300, 1.6, 3), CompareParams{})
	if err != nil {
		t.Fatal(err)
	}
	alike, small := 0, 0
	for seed := range uint64(20) {
		same, err := Compare(reference, cloud(10+seed, 300, 1, 3), CompareParams{Rows: 150, Seed: seed, Permutations: 60})
		if err != nil {
			t.Fatal(err)
		}
		alike++
		if same.PValue.V < 0.05 {
			small++
		}
	}
	if wide.PValue.V > 0.01 || wide.Cosine.V > 0.01 || small > alike/4 {
		t.Errorf("a wider cloud: %+v; %d of %d alike ones are called different", wide, small, alike)
	}
}

func TestDistancesHaveTheirRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.SliceOfN(rapid.Float64Range(-1e9, 1e9), 3, 3)
		a, b := rapid.SliceOfN(row, 2, 12).Draw(t, "a"), rapid.SliceOfN(row, 2, 12).Draw(t, "b")
		p := CompareParams{Permutations: 9}
		there, err := Compare(a, b, p)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Compare(b, a, p)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(there.MMD.V-back.MMD.V) > 1e-9 || math.Abs(there.Euclidean.V-back.Euclidean.V) > 1e-6 {
			t.Fatalf("%+v one way and %+v the other", there, back)
		}
		if there.Cosine.OK() && (there.Cosine.V < 0 || there.Cosine.V > 2) || !there.MMD.OK() || math.Abs(there.MMD.V) > 2 || !(there.PValue.V > 0 && there.PValue.V <= 1) {
			t.Fatalf("%+v", there)
		}
		same, err := Compare(a, slices.Clone(a), p)
		if err != nil || same.Euclidean.V != 0 || same.MMD.V > 1e-9 {
			t.Fatalf("a cloud and itself: %+v %v", same, err)
		}
	})
}

func TestCloudsThatCannotBeComparedAreRefused(t *testing.T) {
	good := cloud(1, 5, 1, 0)
	for name, c := range map[string]struct {
		a, b [][]float64
		p    CompareParams
	}{
		"one row":                 {good, good[:1], CompareParams{}},
		"no rows":                 {nil, nil, CompareParams{}},
		"rows of another length":  {good, [][]float64{{1}, {2}}, CompareParams{}},
		"rows without numbers":    {[][]float64{{}, {}}, [][]float64{{}, {}}, CompareParams{}},
		"a NaN":                   {good, [][]float64{good[0], {1, 2, 3, 4, 5, math.NaN()}}, CompareParams{}},
		"squares that overflow":   {[][]float64{{1e200}, {0}}, [][]float64{{1}, {2}}, CompareParams{}},
		"a negative gamma":        {good, good, CompareParams{Gamma: -1}},
		"a sample of one":         {good, good, CompareParams{Rows: 1}},
		"fewer than no reshuffle": {good, good, CompareParams{Permutations: -1}},
	} {
		if got, err := Compare(c.a, c.b, c.p); err == nil {
			t.Errorf("%s: taken, gives %+v", name, got)
		}
	}
	zero, err := Compare([][]float64{{0}, {0}}, [][]float64{{0}, {0}}, CompareParams{})
	if err != nil || zero.Cosine.OK() || zero.MMD.V != 0 || zero.PValue.V != 1 {
		t.Errorf("clouds of zeros: %+v %v", zero, err)
	}
}

func TestTheMedianIsFoundWithoutSorting(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for n := 1; n < 200; n++ {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(rng.IntN(1 + n/2))
		}
		sorted := slices.Sorted(slices.Values(v))
		for _, k := range []int{0, n / 2, n - 1} {
			if got := ranked(slices.Clone(v), k); got != sorted[k] {
				t.Fatalf("place %d of %v holds %v, want %v", k, v, got, sorted[k])
			}
		}
	}
}
