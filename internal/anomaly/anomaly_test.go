package anomaly

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/boost"
)

func columns(v [][]float64) (out []boost.Column) {
	for _, c := range v {
		out = append(out, boost.Column{Numbers: c})
	}
	return out
}

func TestScoresAgreeWithScikitLearn(t *testing.T) {
	var want struct {
		Reference, Rows [][]float64
		Score           []float64
	}
	raw, err := os.ReadFile("testdata/isolation_expected.json")
	if err == nil {
		err = json.Unmarshal(raw, &want)
	}
	if err != nil || len(want.Score) < 20 {
		t.Fatalf("the expected values are not there: %v", err)
	}
	f, err := Fit(columns(want.Reference), Params{Trees: 1000, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Scores(columns(want.Rows))
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want.Score {
		if math.Abs(got[i]-w) > 0.02 { // both are drawn at random
			t.Errorf("row %d scores %.4f, want about %.4f", i, got[i], w)
		}
	}
}

// usual is rows of a number that is missing now and then, one that follows it and two words.
func usual(n int) []boost.Column {
	r := rand.New(rand.NewPCG(4, 4))
	out := []boost.Column{{Numbers: make([]float64, n)}, {Numbers: make([]float64, n)}, {Words: make([]string, n)}}
	for i := range n {
		x := r.NormFloat64()
		out[0].Numbers[i], out[1].Numbers[i] = x, x+r.NormFloat64()/4
		if r.IntN(20) == 0 {
			out[0].Numbers[i] = math.NaN()
		}
		out[2].Words[i] = []string{"day", "night"}[r.IntN(2)]
	}
	return out
}

func TestRowsThatStandApartScoreHigher(t *testing.T) {
	f, err := Fit(usual(4000), Params{Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Scores([]boost.Column{
		{Numbers: []float64{0, 9, 0, math.NaN()}}, {Numbers: []float64{0, -9, 0, 0}}, {Words: []string{"day", "day", "dusk", "night"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	middle, far, word, gap := got[0], got[1], got[2], got[3]
	if middle > 0.45 || far < 0.65 || word < middle+0.1 || gap > middle+0.08 {
		t.Errorf("a usual row scores %.3f, one far away %.3f, one with a new word %.3f, one with a gap %.3f", middle, far, word, gap)
	}
}

func TestScoresStayBetweenZeroAndOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 50).Draw(t, "rows")
		one := rapid.OneOf(rapid.Float64(), rapid.Just(math.NaN()), rapid.Just(math.Inf(1)), rapid.Just(-math.MaxFloat64), rapid.Just(math.MaxFloat64))
		table := []boost.Column{{Numbers: rapid.SliceOfN(one, n, n).Draw(t, "x")}, {Words: rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b"}), n, n).Draw(t, "w")}}
		p := Params{Trees: 20, Sample: rapid.IntRange(2, 64).Draw(t, "sample"), Seed: rapid.Uint64().Draw(t, "seed")}
		f, err := Fit(table, p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Scores(table)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range got {
			if !(s > 0 && s <= 1) {
				t.Fatalf("row %d scores %v", i, s)
			}
		}
		again, err := Fit(table, p)
		if err != nil {
			t.Fatal(err)
		}
		if same, _ := again.Scores(table); !slices.Equal(got, same) {
			t.Fatal("the same seed gives other scores")
		}
	})
}

func TestWhatCannotBeScoredIsRefused(t *testing.T) {
	good := usual(20)
	f, err := Fit(good, Params{})
	if err != nil {
		t.Fatal(err)
	}
	fit := func(c []boost.Column, p Params) error { _, err := Fit(c, p); return err }
	scores := func(c ...boost.Column) error { _, err := f.Scores(c); return err }
	for name, err := range map[string]error{
		"no column":              fit(nil, Params{}),
		"one row":                fit(usual(1), Params{}),
		"trees of one row":       fit(good, Params{Sample: 1}),
		"fewer than no trees":    fit(good, Params{Trees: -1}),
		"columns of two heights": fit([]boost.Column{good[0], {Numbers: []float64{1}}}, Params{}),
		"a column fewer":         scores(good[:2]...),
		"words for numbers":      scores(good[2], good[1], good[0]),
	} {
		if err == nil {
			t.Errorf("%s: taken, want an error", name)
		}
	}
}

func BenchmarkScores(b *testing.B) {
	table := usual(10_000)
	f, err := Fit(table, Params{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := f.Scores(table); err != nil {
			b.Fatal(err)
		}
	}
}
