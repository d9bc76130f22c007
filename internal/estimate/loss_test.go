package estimate

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"keelson/internal/boost"
	"keelson/internal/score"
)

// losses is a table of two numbers and a word with a regression's predictions and the truth.
type losses struct {
	columns          []boost.Column
	predicted, truth []float64
}

func (l losses) part(from, to int) losses {
	rows := make([]int, to-from)
	for i := range rows {
		rows[i] = from + i
	}
	out := losses{predicted: l.predicted[from:to], truth: l.truth[from:to]}
	for _, c := range l.columns {
		out.columns = append(out.columns, c.Rows(rows))
	}
	return out
}

func readLosses(t *testing.T) (reference, analysis losses) {
	t.Helper()
	f, err := os.Open("testdata/dle.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) float64 {
		if s == "" {
			return math.NaN()
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	reference.columns, analysis.columns = make([]boost.Column, 3), make([]boost.Column, 3)
	for _, l := range lines[1:] { // period, x0, x1, k, y_pred, y_true
		into := &reference
		if l[0] == "analysis" {
			into = &analysis
		}
		into.columns[0].Numbers = append(into.columns[0].Numbers, number(l[1]))
		into.columns[1].Numbers = append(into.columns[1].Numbers, number(l[2]))
		into.columns[2].Words = append(into.columns[2].Words, l[3])
		into.predicted, into.truth = append(into.predicted, number(l[4])), append(into.truth, number(l[5]))
	}
	return reference, analysis
}

func TestTheEstimateOfARegressionAgreesWithNannyMLAndWithTheTruth(t *testing.T) {
	raw, err := os.ReadFile("testdata/dle_expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	want := func(name string, k int) float64 {
		var all []float64
		if err := json.Unmarshal(doc[name], &all); err != nil || k >= len(all) {
			t.Fatalf("%s of chunk %d: %v", name, k, err)
		}
		return all[k]
	}
	var size int
	if err := json.Unmarshal(doc["chunk_size"], &size); err != nil {
		t.Fatal(err)
	}
	reference, analysis := readLosses(t)
	d, err := FitDLE(reference.columns, reference.predicted, reference.truth, boost.Params{})
	if err != nil {
		t.Fatal(err)
	}
	realised := func(l losses) map[string]score.Value {
		r, err := score.NewRegression(l.truth, l.predicted)
		if err != nil {
			t.Fatal(err)
		}
		return r.Metrics()
	}
	limits := map[string][2]float64{}
	for _, metric := range Losses {
		var usual []float64
		for from := 0; from+size <= len(reference.truth); from += size {
			usual = append(usual, realised(reference.part(from, from+size))[metric].V)
		}
		lower, upper, err := score.Thresholds(usual, 0, math.Inf(1))
		if err != nil {
			t.Fatal(err)
		}
		limits[metric] = [2]float64{lower, upper}
	}
	chunks, beyond := 0, 0
	for from := 0; from+size <= len(analysis.truth); from += size {
		part := analysis.part(from, from+size)
		got, err := d.Estimate(part.columns, part.predicted)
		if err != nil {
			t.Fatal(err)
		}
		real := realised(part)
		for _, metric := range Losses {
			e, v := got[metric], want(metric+"/value", chunks)
			room := 0.04 // relative: another learner
			if metric == MSE {
				room = 0.08
			}
			if math.Abs(e.Value.V-v) > room*v {
				t.Errorf("%s of chunk %d is estimated as %v, by NannyML as %.4f", metric, chunks, e.Value, v)
			}
			if r, upper := real[metric].V, limits[metric][1]; r < e.Lower.V || r > e.Upper.V {
				// rows beyond what the reference held: noticed, though understated
				if r <= upper || e.Value.V <= upper || e.Value.V > r {
					t.Errorf("%s of chunk %d turned out as %.4f and is estimated as %+v", metric, chunks, r, e)
				}
				beyond++
			}
			for name, g := range map[string]float64{"sampling_error": e.Error.V, "lower_threshold": limits[metric][0], "upper_threshold": limits[metric][1]} {
				if w := want(metric+"/"+name, chunks); math.Abs(g-w) > 1e-9*math.Max(1, w) {
					t.Errorf("%s %s of chunk %d is %.10f, want %.10f", metric, name, chunks, g, w)
				}
			}
		}
		chunks++
	}
	if chunks < 4 || beyond > chunks {
		t.Errorf("only %d chunks were compared, %d metrics outside of their bounds", chunks, beyond)
	}
}

func TestTheEstimateOfARegressionSaysWhatItCannot(t *testing.T) {
	n := 200
	r := rand.New(rand.NewPCG(1, 1))
	x, y, p := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		x[i], y[i] = r.Float64(), r.NormFloat64()
	}
	c := []boost.Column{{Numbers: x}}
	with := func(v float64) []float64 { w := append([]float64{}, y...); w[7] = v; return w }
	fit := func(c []boost.Column, p, y []float64, params boost.Params) error {
		_, err := FitDLE(c, p, y, params)
		return err
	}
	d, err := FitDLE(c, p, y, boost.Params{})
	if err != nil {
		t.Fatal(err)
	}
	estimate := func(c []boost.Column, p []float64) error { _, err := d.Estimate(c, p); return err }
	for name, err := range map[string]error{
		"ninety rows":                     fit([]boost.Column{{Numbers: x[:90]}}, p[:90], y[:90], boost.Params{}),
		"an outcome that is missing":      fit(c, p, with(math.NaN()), boost.Params{}),
		"an error too large to square":    fit(c, p, with(1e200), boost.Params{}),
		"squares that are large together": fit(c, p, with(1e150), boost.Params{}),
		"columns of another height":       fit([]boost.Column{{Numbers: x[:9]}}, p, y, boost.Params{}),
		"a rate of two":                   fit(c, p, y, boost.Params{Rate: 2}),
		"a prediction that is infinite":   estimate([]boost.Column{{Numbers: x[:1]}}, []float64{math.Inf(1)}),
		"a column too many":               estimate(append(c, c[0]), p),
		"predictions that are missing":    estimate(c, nil),
		"words for numbers":               estimate([]boost.Column{{Words: []string{"a"}}}, []float64{1}),
	} {
		if err == nil {
			t.Errorf("%s: taken, want an error", name)
		}
	}
	none, err := d.Estimate([]boost.Column{{Numbers: []float64{}}}, nil)
	if err != nil || len(none) != len(Losses) || none[MAE].Value.OK() {
		t.Errorf("no rows: %v %v", none, err)
	}
	perfect, err := FitDLE(c, y, y, boost.Params{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := perfect.Estimate(c, y); err != nil || e[RMSE].Value.V != 0 || e[RMSE].Error.V != 0 {
		t.Errorf("a model without error: %v %v", e, err)
	}
}
