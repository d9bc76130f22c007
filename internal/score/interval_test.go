package score

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// peers holds values of scikit-learn and SciPy for intervals, rankings and quantiles.
type peers struct {
	Wilson []struct {
		Hits, N             int
		Level, Lower, Upper float64
	}
	Ranking []struct {
		K                int
		Query            []string
		Relevance, Score []float64
		NDCG             float64
		MAP              float64 `json:"map_all"`
		Unanswerable     int
	}
	Quantile struct {
		Y, Levels                                []float64
		Predicted                                [][]float64
		Pinball, Level, Coverage, Width, Winkler float64
	}
	Bootstrap struct{ Level, Lower, Upper, Tolerance float64 } `json:"bootstrap_mean"`
}

func readPeers(t *testing.T) (p peers) {
	t.Helper()
	raw, err := os.ReadFile("testdata/intervals_expected.json")
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil || len(p.Wilson) < 5 || len(p.Ranking) < 4 || len(p.Quantile.Y) == 0 {
		t.Fatalf("the expected values are not there: %v", err)
	}
	return p
}

func near(t *testing.T, name string, got Value, want, tolerance float64) {
	t.Helper()
	if !got.OK() || math.Abs(got.V-want) > tolerance {
		t.Errorf("%s = %v, want %v", name, got, want)
	}
}

func TestIntervalsAgreeWithSciPy(t *testing.T) {
	p := readPeers(t)
	for _, w := range p.Wilson {
		got := Wilson(w.Hits, w.N, w.Level)
		near(t, "Wilson's lower end", got.Lower, w.Lower, 1e-9)
		near(t, "Wilson's upper end", got.Upper, w.Upper, 1e-9)
	}
	y := p.Quantile.Y
	mean := func(rows []int) Value {
		sum := 0.0
		for _, v := range Pick(y, rows) {
			sum += v
		}
		return Of(sum / float64(len(rows)))
	}
	got := Bootstrap(len(y), 5000, p.Bootstrap.Level, 1, mean)
	near(t, "the bootstrap's lower end", got.Lower, p.Bootstrap.Lower, p.Bootstrap.Tolerance)
	near(t, "the bootstrap's upper end", got.Upper, p.Bootstrap.Upper, p.Bootstrap.Tolerance)
	if again := Bootstrap(len(y), 5000, p.Bootstrap.Level, 1, mean); again != got {
		t.Errorf("the same seed gives %v and %v", got, again)
	}
}

func TestRankingsAgreeWithScikitLearn(t *testing.T) {
	for _, c := range readPeers(t).Ranking {
		r, err := NewRanking(c.Query, c.Relevance, c.Score)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "NDCG", r.NDCG(c.K, Linear), c.NDCG, 1e-9)
		near(t, "MAP", r.MAP(0), c.MAP, 1e-9)
		if r.Unanswerable() != c.Unanswerable {
			t.Errorf("%d queries have no relevant row, want %d", r.Unanswerable(), c.Unanswerable)
		}
	}
}

func TestARankingReadOffByHand(t *testing.T) {
	// first list: relevant at positions 2 and 4 of 4; second: at 1 of 2; third: none
	r, err := NewRanking([]string{"a", "b", "a", "a", "c", "b", "a"}, []float64{0, 1, 1, 0, 0, 0, 3}, []float64{9, 5, 8, 7, 1, 4, 6})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		got  Value
		want float64
	}{
		"MRR":                   {r.MRR(0), (0.5 + 1) / 2},
		"MRR of the first":      {r.MRR(1), 0.5},
		"precision at 3":        {r.Precision(3), (1.0/3 + 1.0/3) / 2},
		"recall at 2":           {r.Recall(2), (0.5 + 1) / 2},
		"hit rate at 1":         {r.HitRate(1), 0.5},
		"MAP":                   {r.MAP(0), ((0.5+0.5)/2 + 1) / 2},
		"MAP at 2":              {r.MAP(2), (0.5/2 + 1) / 2},
		"exponential NDCG at 4": {r.NDCG(4, Exponential), ((1/math.Log2(3)+7/math.Log2(5))/(7+1/math.Log2(3)) + 1) / 2},
	} {
		near(t, name, c.got, c.want, 1e-12)
	}
}

func TestQuantilesAgreeWithScikitLearn(t *testing.T) {
	q := readPeers(t).Quantile
	f, err := NewForecasts(q.Y, q.Levels, q.Predicted)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRanges(q.Y, q.Predicted[0], q.Predicted[len(q.Predicted)-1])
	if err != nil {
		t.Fatal(err)
	}
	near(t, "pinball loss", f.Pinball(), q.Pinball, 1e-12)
	near(t, "coverage", r.Coverage(), q.Coverage, 1e-12)
	near(t, "width", r.Width(), q.Width, 1e-12)
	near(t, "Winkler score", r.Winkler(q.Level), q.Winkler, 1e-9)
	near(t, "crossing", f.Crossing(), 0, 0)
	below := f.Below()
	near(t, "coverage between the outer quantiles", Of(below[2].V-below[0].V), q.Coverage, 1e-12)
	swapped, err := NewForecasts(q.Y, q.Levels, [][]float64{q.Predicted[2], q.Predicted[1], q.Predicted[0]})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "crossing of quantiles turned round", swapped.Crossing(), 1, 0)
}

func TestTheDeviationOfROCAUCIsThatOfItsPlacements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 30).Draw(t, "rows")
		truth := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "truth")
		truth[0], truth[1], truth[2], truth[3] = true, true, false, false
		levels := rapid.SliceOfN(rapid.IntRange(0, 8), n, n).Draw(t, "scores")
		scores := make([]float64, n)
		for i, l := range levels {
			scores[i] = float64(l)
		}
		b, err := NewBinary(truth, scores, 4)
		if err != nil {
			t.Fatal(err)
		}
		var up, down []float64
		for i := range truth {
			sum, others := 0.0, 0.0
			for j := range truth {
				if truth[i] == truth[j] {
					continue
				}
				others++
				switch {
				case scores[i] == scores[j]:
					sum += 0.5
				case truth[i] == (scores[i] > scores[j]):
					sum++
				}
			}
			if truth[i] {
				up = append(up, sum/others)
			} else {
				down = append(down, sum/others)
			}
		}
		want := math.Sqrt(variance(up)/float64(len(up)) + variance(down)/float64(len(down)))
		if got := b.ROCAUCDeviation(); !got.OK() || math.Abs(got.V-want) > 1e-9 {
			t.Fatalf("%v, want %v", got, want)
		}
		ci := b.ROCAUCInterval(0.9)
		if auc := b.ROCAUC().V; ci.Lower.V > auc+1e-12 || ci.Upper.V < auc-1e-12 || ci.Lower.V < 0 || ci.Upper.V > 1 {
			t.Fatalf("%v lies outside of %v", auc, ci)
		}
	})
}

func TestThreeWaysToTheIntervalOfROCAUCAgreeForManyRows(t *testing.T) {
	n := 600
	truth, scores := make([]bool, n), make([]float64, n)
	for i := range n {
		truth[i] = i%3 == 0
		scores[i] = math.Mod(float64(i)*0.618034, 1)
		if truth[i] {
			scores[i] = math.Sqrt(scores[i])
		}
	}
	b, err := NewBinary(truth, scores, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	exact := b.ROCAUCInterval(0.95)
	rough := HanleyMcNeil(b.ROCAUC().V, b.TP+b.FN, b.TN+b.FP, 0.95)
	drawn := Bootstrap(n, Draws, 0.95, 3, func(rows []int) Value {
		s, err := NewBinary(Pick(truth, rows), Pick(scores, rows), 0.5)
		if err != nil {
			return Undefined(err.Error())
		}
		return s.ROCAUC()
	})
	for name, other := range map[string]Interval{"Hanley and McNeil": rough, "bootstrap": drawn} {
		near(t, name+", lower", other.Lower, exact.Lower.V, 0.012)
		near(t, name+", upper", other.Upper, exact.Upper.V, 0.012)
	}
}

func TestTheIntervalOfADifferenceIsNewcombes(t *testing.T) {
	for _, c := range []struct {
		name             string
		hits, n, rest, m int
		lower, upper     float64
	}{ // Newcombe 1998, table II, method 10
		{"56/70 less 48/80", 56, 70, 48, 80, 0.0524, 0.3339},
		{"9/10 less 3/10", 9, 10, 3, 10, 0.1705, 0.8090},
		{"6/7 less 2/7", 6, 7, 2, 7, 0.0582, 0.8062},
		{"5/56 less 0/29", 5, 56, 0, 29, -0.0381, 0.1926},
		{"0/10 less 0/20", 0, 10, 0, 20, -0.1611, 0.2775},
		{"0/10 less 0/10", 0, 10, 0, 10, -0.2775, 0.2775},
		{"10/10 less 0/20", 10, 10, 0, 20, 0.6791, 1},
		{"10/10 less 0/10", 10, 10, 0, 10, 0.6075, 1},
	} {
		a, b := float64(c.hits)/float64(c.n), float64(c.rest)/float64(c.m)
		got := Newcombe(a, Wilson(c.hits, c.n, 0.95), b, Wilson(c.rest, c.m, 0.95))
		near(t, c.name+", lower", got.Lower, c.lower, 5e-5)
		near(t, c.name+", upper", got.Upper, c.upper, 5e-5)
		back := Newcombe(b, Wilson(c.rest, c.m, 0.95), a, Wilson(c.hits, c.n, 0.95))
		near(t, c.name+", turned round", back.Lower, -got.Upper.V, 1e-15)
		if got.Level != 0.95 {
			t.Errorf("%s has the level %v", c.name, got.Level)
		}
	}
	for level, want := range map[float64]float64{0.95: 1.9599639845400545, 0.5: 0.6744897501960817, 1 - 2e-6: 4.753424308823} {
		if z := Deviate(level); math.Abs(z-want) > 1e-9 {
			t.Errorf("the deviate of %v is %v, want %v", level, z, want)
		}
	}
}

func TestAnIntervalThatIsNotThereSaysWhy(t *testing.T) {
	one, err := NewBinary([]bool{true, false, false}, []float64{1, 0, 0.5}, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	never := func([]int) Value { return Undefined("it never has a value") }
	for name, i := range map[string]Interval{
		"a rate without rows":      Wilson(0, 0, 0.95),
		"more hits than rows":      Wilson(3, 2, 0.95),
		"a level of one":           Wilson(1, 2, 1),
		"a level that is NaN":      HanleyMcNeil(0.7, 5, 5, math.NaN()),
		"an AUC above one":         HanleyMcNeil(1.2, 5, 5, 0.9),
		"a difference to nothing":  Newcombe(0.5, Wilson(1, 2, 0.9), 0, Wilson(0, 0, 0.9)),
		"one class":                HanleyMcNeil(0.7, 5, 0, 0.9),
		"one positive":             one.ROCAUCInterval(0.9),
		"a bootstrap without rows": Bootstrap(0, 100, 0.9, 1, never),
		"a bootstrap of nothing":   Bootstrap(9, 100, 0.9, 1, never),
		"two draws":                Bootstrap(9, 2, 0.9, 1, func([]int) Value { return Of(1) }),
	} {
		if i.Lower.OK() || i.Upper.OK() || i.Lower.Why == "" {
			t.Errorf("%s gives %v", name, i)
		}
	}
	for name, err := range map[string]error{
		"a negative relevance":       second(NewRanking([]string{"a"}, []float64{-1}, []float64{1})),
		"a NaN relevance":            second(NewRanking([]string{"a"}, []float64{math.NaN()}, []float64{1})),
		"an infinite ranking score":  second(NewRanking([]string{"a"}, []float64{1}, []float64{math.Inf(1)})),
		"queries that are missing":   second(NewRanking(nil, []float64{1}, []float64{1})),
		"a range turned round":       second(NewRanges([]float64{1}, []float64{2}, []float64{1})),
		"a NaN end":                  second(NewRanges([]float64{1}, []float64{0}, []float64{math.NaN()})),
		"levels that fall":           second(NewForecasts([]float64{1}, []float64{0.9, 0.1}, [][]float64{{1}, {1}})),
		"a level without a column":   second(NewForecasts([]float64{1}, []float64{0.5}, nil)),
		"a column of another length": second(NewForecasts([]float64{1}, []float64{0.5}, [][]float64{{1, 2}})),
	} {
		if err == nil {
			t.Errorf("%s is taken, want an error", name)
		}
	}
	empty, err := NewRanking(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range empty.Metrics(3) {
		if v.OK() {
			t.Errorf("%s without queries = %v", name, v)
		}
	}
}

func TestRankingMeasuresStayBetweenZeroAndOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "rows")
		r, err := NewRanking(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ""}), n, n).Draw(t, "query"),
			rapid.SliceOfN(rapid.Float64Range(0, 5), n, n).Draw(t, "relevance"), rapid.SliceOfN(rapid.Float64Range(-3, 3), n, n).Draw(t, "score"))
		if err != nil {
			t.Fatal(err)
		}
		k := rapid.IntRange(-1, 12).Draw(t, "k")
		for name, v := range r.Metrics(k) {
			if v.OK() != (r.Queries() > 0) || v.OK() && !(v.V >= 0 && v.V <= 1+1e-12) {
				t.Fatalf("%s = %v", name, v)
			}
		}
	})
}
