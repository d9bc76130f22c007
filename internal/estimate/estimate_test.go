package estimate

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func golden() string {
	if dir := os.Getenv("KEELSON_GOLDEN"); dir != "" {
		return dir
	}
	return "testdata"
}

type rows struct {
	scores           []float64
	predicted, truth []bool
}

func (r rows) part(from, to int) rows {
	return rows{r.scores[from:to], r.predicted[from:to], r.truth[from:to]}
}

func read(t *testing.T) (reference, analysis rows) {
	t.Helper()
	f, err := os.Open(filepath.Join(golden(), "cbpe.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, name := range lines[0] {
		at[name] = i
	}
	for _, l := range lines[1:] {
		s, err := strconv.ParseFloat(l[at["score"]], 64)
		if err != nil {
			t.Fatal(err)
		}
		into := &reference
		if l[at["period"]] == "analysis" {
			into = &analysis
		}
		into.scores = append(into.scores, s)
		into.predicted = append(into.predicted, l[at["y_pred"]] == "1")
		into.truth = append(into.truth, l[at["y_true"]] == "1")
	}
	return reference, analysis
}

func TestEveryGoldenEstimateIsMet(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(golden(), "nannyml_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Chunk     int                        `json:"chunk_size"`
		Reference map[string]json.RawMessage `json:"cbpe_reference"`
		Analysis  map[string]json.RawMessage `json:"cbpe_analysis"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	reference, analysis := read(t)
	c, err := Fit(reference.scores, reference.predicted, reference.truth)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for period, data := range map[string]rows{"reference": reference, "analysis": analysis} {
		expected := doc.Reference
		if period == "analysis" {
			expected = doc.Analysis
		}
		var got []map[string]Estimate
		for from := 0; from+doc.Chunk <= len(data.scores); from += doc.Chunk {
			part := data.part(from, from+doc.Chunk)
			e, err := c.Estimate(part.scores, part.predicted)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		for _, metric := range Metrics {
			for _, what := range []string{"value", "sampling_error", "lower_confidence_boundary", "upper_confidence_boundary"} {
				var want []*float64
				if raw, ok := expected[metric+"/"+what]; !ok || json.Unmarshal(raw, &want) != nil {
					continue
				}
				for k, w := range want {
					if w == nil || k >= len(got) {
						continue
					}
					e := got[k][metric]
					v := map[string]float64{"value": e.Value.V, "sampling_error": e.Error.V, "lower_confidence_boundary": e.Lower.V, "upper_confidence_boundary": e.Upper.V}[what]
					tolerance := 2e-5 * math.Abs(*w) // the library rounds its curves to five decimals and orders ties as it likes
					if metric == AveragePrecision && what != "value" {
						tolerance = 0.35 * *w // it draws its resamples at random
						if what != "sampling_error" {
							tolerance = 0.03
						}
					}
					if math.Abs(v-*w) > tolerance {
						t.Errorf("%s %s of chunk %d of the %s is %.9g, want %.9g", metric, what, k, period, v, *w)
					}
					compared++
				}
			}
		}
	}
	if compared < 100 {
		t.Errorf("only %d values were compared", compared)
	}
}

func TestEstimatesLieWhereTheyCan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(20, 200).Draw(t, "rows")
		r := rows{}
		for i := range n {
			s := rapid.Float64Range(0, 1).Draw(t, "score")
			r.scores, r.predicted = append(r.scores, s), append(r.predicted, s >= 0.5)
			r.truth = append(r.truth, i < 2 == (i == 0) || rapid.Bool().Draw(t, "truth") && i > 1)
		}
		r.truth[0], r.truth[1] = true, false
		c, err := Fit(r.scores, r.predicted, r.truth)
		if err != nil {
			t.Fatal(err)
		}
		last := -1.0
		for k := range 50 {
			p := c.knots.At(float64(k) / 49)
			if c.Calibrated() && (p < last || p < 0 || p > 1) {
				t.Fatalf("the calibration falls from %v to %v", last, p)
			}
			last = p
		}
		got, err := c.Estimate(r.scores, r.predicted)
		if err != nil {
			t.Fatal(err)
		}
		for name, e := range got {
			v, ok, why := e.Value.Get()
			if !ok && why == "" || ok && (v < -1e-9 || v > 1+1e-9) {
				t.Fatalf("%s is %v", name, e)
			}
			if ok && e.Lower.OK() && (e.Lower.V > v || e.Upper.V < v-1e-9) {
				t.Fatalf("%s lies outside of its interval: %+v", name, e)
			}
		}
	})
}

func TestWhatCannotBeEstimatedSaysWhy(t *testing.T) {
	some := rows{make([]float64, 30), make([]bool, 30), make([]bool, 30)}
	if _, err := Fit(some.scores, some.predicted, some.truth); err == nil {
		t.Error("a reference of one class was taken")
	}
	some.truth[3] = true
	some.scores[3] = math.NaN()
	if _, err := Fit(some.scores, some.predicted, some.truth); err == nil {
		t.Error("a missing score was taken")
	}
	some.scores[3] = 0.9
	c, err := Fit(some.scores, some.predicted, some.truth)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]float64{{1.5}, {math.Inf(1)}, {-0.1}} {
		if _, err := c.Estimate(bad, []bool{true}); err == nil {
			t.Errorf("the score %v was taken", bad)
		}
	}
	if _, err := c.Estimate([]float64{0.5}, nil); err == nil {
		t.Error("decisions were missing")
	}
	none, err := c.Estimate(nil, nil)
	if err != nil || none[F1].Value.OK() {
		t.Errorf("no rows: %v %v", none, err)
	}
}

func BenchmarkEstimate(b *testing.B) {
	n := 100_000
	r := rows{make([]float64, n), make([]bool, n), make([]bool, n)}
	for i := range n {
		r.scores[i] = float64(i*7919%n) / float64(n)
		r.predicted[i], r.truth[i] = r.scores[i] >= 0.5, i%3 == 0 == (r.scores[i] > 0.4)
	}
	c, err := Fit(r.scores, r.predicted, r.truth)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Estimate(r.scores, r.predicted); err != nil {
			b.Fatal(err)
		}
	}
}
