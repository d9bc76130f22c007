package estimate

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/score"
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

// outcomes are 1 for true and 0 for false.
func (r rows) outcomes() []float64 {
	out := make([]float64, len(r.truth))
	for i, t := range r.truth {
		if t {
			out[i] = 1
		}
	}
	return out
}

// chunks cuts rows into runs of size; the last one may be shorter.
func (r rows) chunks(size int) (out []rows) {
	for from := 0; from < len(r.scores); from += size {
		out = append(out, r.part(from, min(from+size, len(r.scores))))
	}
	return out
}

// measured gives the metrics of rows whose outcomes are known. single tells that outcomes or decisions are of one kind only,
// where NannyML leaves some of them out.
func (r rows) measured(t *testing.T) (out map[string]score.Value, single bool) {
	t.Helper()
	b, err := score.NewBinary(r.truth, r.scores, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	var c score.Confusion
	for i := range r.truth {
		c.Add(r.truth[i], r.predicted[i])
	}
	return map[string]score.Value{ROCAUC: b.ROCAUC(), AveragePrecision: b.PRAUC(), F1: c.F1(), Precision: c.Precision(), Recall: c.Recall(),
		Specificity: c.Specificity(), Accuracy: c.Accuracy()}, c.TP+c.FN == 0 || c.FP+c.TN == 0 || c.TP+c.FP == 0 || c.FN+c.TN == 0
}

// ranksAreArbitrary tells whether NannyML's ranks of the rows are not ours: it orders equal scores as its sorting leaves
// them, and loses a row of the rarer outcome that comes first.
func (r rows) ranksAreArbitrary() bool {
	seen, positives := map[float64]bool{}, 0
	lowest, highest := 0, 0
	for i, s := range r.scores {
		if seen[s] {
			return true
		}
		seen[s] = true
		if r.truth[i] {
			positives++
		}
		if s < r.scores[lowest] {
			lowest = i
		}
		if s > r.scores[highest] {
			highest = i
		}
	}
	if 2*positives > len(r.truth) {
		return !r.truth[highest]
	}
	return r.truth[lowest]
}

func TestEveryGoldenEstimateIsMet(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(golden(), "nannyml_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Chunk     int              `json:"chunk_size"`
		Reference map[string][]any `json:"cbpe_reference"`
		Analysis  map[string][]any `json:"cbpe_analysis"`
		Realised  map[string][]any `json:"realized_analysis"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	reference, analysis := read(t)
	c, err := Fit(reference.scores, reference.predicted, reference.truth)
	if err != nil {
		t.Fatal(err)
	}
	if len(reference.scores) < 1000 { // whether to calibrate hangs on how NumPy's sort leaves equal probabilities there
		list := doc.Analysis[Accuracy+"/value"]
		got, err := c.Estimate(analysis.chunks(doc.Chunk)[0].scores, analysis.chunks(doc.Chunk)[0].predicted)
		if err != nil || len(list) == 0 {
			t.Fatalf("the first chunk: %v, of %d expected", err, len(list))
		}
		if w, ok := list[0].(float64); ok && math.Abs(got[Accuracy].Value.V-w) > 1e-6 {
			t.Logf("of the %d rows of the reference we say that calibration improves them: %v, and NannyML does not", len(reference.scores), c.calibrated)
			c.calibrated, c.knots = !c.calibrated, fitIsotonic(inOrder(byValue(reference.scores), reference.scores, reference.outcomes()))
		}
	}
	usual := map[string][]float64{} // what was reached on the chunks of the reference
	for _, part := range reference.chunks(doc.Chunk) {
		got, single := part.measured(t)
		for metric, v := range got {
			if v.OK() && (!single || metric == Accuracy) {
				usual[metric] = append(usual[metric], v.V)
			}
		}
	}
	none := score.Undefined("the outcomes are not known")
	arbitrary := reference.ranksAreArbitrary()
	for period, expected := range map[string]map[string][]any{"reference": doc.Reference, "analysis": doc.Analysis, "realised": doc.Realised} {
		if len(expected) == 0 {
			t.Errorf("nothing is expected of the %s", period)
		}
		data := analysis
		if period == "reference" {
			data = reference
		}
		parts := data.chunks(doc.Chunk)
		for key, want := range expected {
			if len(want) != len(parts) {
				t.Errorf("%s of the %s has %d chunks, want %d", key, period, len(want), len(parts))
			}
			metric, what, _ := strings.Cut(key, "/")
			if !slices.Contains(Metrics, metric) {
				t.Errorf("nothing here is %s", key)
				continue
			}
			lower, upper, err := score.Thresholds(usual[metric], 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			for k := range min(len(want), len(parts)) {
				all, err := c.Estimate(parts[k].scores, parts[k].predicted)
				if err != nil {
					t.Fatal(err)
				}
				e, realised, loose := all[metric], none, false
				if period != "analysis" {
					known, single := parts[k].measured(t)
					realised, loose = known[metric], single
				}
				value := e.Value
				if period == "realised" {
					value = realised
				}
				got, ok := map[string]score.Value{"value": value, "realized": realised, "sampling_error": e.Error, "lower_confidence_boundary": e.Lower,
					"upper_confidence_boundary": e.Upper, "lower_threshold": score.Of(lower), "upper_threshold": score.Of(upper)}[what]
				tolerance := 2e-5 // the library rounds its curves to five decimals and orders ties as it likes
				if what == "realized" || period == "realised" || strings.HasSuffix(what, "_threshold") {
					tolerance = 1e-9
				}
				if metric == AveragePrecision && what == "sampling_error" {
					tolerance = 0.65 // it draws its resamples at random, and few
				}
				if metric == ROCAUC && arbitrary && what == "sampling_error" {
					tolerance = 0.05
				}
				slack := 0.0
				if strings.HasSuffix(what, "_confidence_boundary") && (metric == AveragePrecision || metric == ROCAUC && arbitrary) {
					slack = 3 * e.Error.V * 0.65
				}
				switch w := want[k].(type) {
				case bool:
					near := tolerance * max(lower, upper)
					alert := value.OK() && (value.V < lower || value.V > upper)
					if what != "alert" || alert != w && math.Abs(value.V-lower) > near && math.Abs(value.V-upper) > near {
						t.Errorf("%s of chunk %d of the %s is %v (%v between %v and %v), want %v", key, k, period, alert, value, lower, upper, w)
					}
				case nil:
					if got.OK() && !loose {
						t.Errorf("%s of chunk %d of the %s is %v, want undefined", key, k, period, got)
					}
				case float64:
					if !ok || !got.OK() && !(loose && w == 0) || got.OK() && math.Abs(got.V-w) > max(tolerance*math.Abs(w), slack) {
						t.Errorf("%s of chunk %d of the %s is %v, want %.9g", key, k, period, got, w)
					}
				}
			}
		}
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
