package estimate

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
)

type manyRows struct {
	p                [][]float64 // by class
	predicted, truth []int
}

func (r *manyRows) part(from, to int) manyRows {
	out := manyRows{predicted: r.predicted[from:to], truth: r.truth[from:to]}
	for _, p := range r.p {
		out.p = append(out.p, p[from:to])
	}
	return out
}

type manyGolden struct {
	Chunk      int                  `json:"chunk_size"`
	Classes    []string             `json:"classes"`
	Calibrated map[string]bool      `json:"calibrated"`
	Reference  map[string][]float64 `json:"reference"`
	Analysis   map[string][]float64 `json:"analysis"`
}

// readMany reads the golden file of several classes. It is our own and stands in testdata, wherever KEELSON_GOLDEN points.
func readMany(t *testing.T) (doc manyGolden, reference, analysis manyRows) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "cbpe_multiclass_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join("testdata", "cbpe_multiclass.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) int { return slices.Index(lines[0], name) }
	reference.p, analysis.p = make([][]float64, len(doc.Classes)), make([][]float64, len(doc.Classes))
	for _, l := range lines[1:] {
		into := &reference
		if l[at("period")] == "analysis" {
			into = &analysis
		}
		for k, c := range doc.Classes {
			v, err := strconv.ParseFloat(l[at("p_"+c)], 64)
			if err != nil {
				t.Fatal(err)
			}
			into.p[k] = append(into.p[k], v)
		}
		into.predicted = append(into.predicted, slices.Index(doc.Classes, l[at("y_pred")]))
		into.truth = append(into.truth, slices.Index(doc.Classes, l[at("y_true")]))
	}
	return doc, reference, analysis
}

func TestEveryGoldenEstimateOfSeveralClassesIsMet(t *testing.T) {
	doc, reference, analysis := readMany(t)
	m, err := FitMulticlass(reference.p, reference.predicted, reference.truth)
	if err != nil {
		t.Fatal(err)
	}
	for k, c := range doc.Classes {
		if m.classes[k].Calibrated() != doc.Calibrated[c] {
			t.Errorf("class %s: calibrated %v, want %v", c, m.classes[k].Calibrated(), doc.Calibrated[c])
		}
	}
	compared := 0
	for period, data := range map[string]manyRows{"reference": reference, "analysis": analysis} {
		expected := doc.Reference
		if period == "analysis" {
			expected = doc.Analysis
		}
		for chunk := 0; (chunk+1)*doc.Chunk <= len(data.predicted); chunk++ {
			part := data.part(chunk*doc.Chunk, (chunk+1)*doc.Chunk)
			got, err := m.Estimate(part.p, part.predicted)
			if err != nil {
				t.Fatal(err)
			}
			for _, metric := range Metrics {
				e := got[metric]
				for what, v := range map[string]float64{"value": e.Value.V, "sampling_error": e.Error.V, "lower_confidence_boundary": e.Lower.V, "upper_confidence_boundary": e.Upper.V} {
					want := expected[metric+"/"+what][chunk]
					tolerance := 1e-9
					if metric == ROCAUC || metric == AveragePrecision { // the library rounds its curves to five decimals and orders ties as it likes
						tolerance = 2e-5
					}
					if metric == AveragePrecision && what != "value" { // it draws its resamples at random
						tolerance = 0.35 * want
						if what != "sampling_error" {
							tolerance = 0.03
						}
					}
					if math.Abs(v-want) > tolerance {
						t.Errorf("%s %s of chunk %d of the %s is %.12g, want %.12g", metric, what, chunk, period, v, want)
					}
					compared++
				}
			}
		}
	}
	if compared < 150 {
		t.Errorf("only %d values were compared", compared)
	}
	var again Multiclass
	through(t, m, &again)
	a, _ := m.Estimate(analysis.p, analysis.predicted)
	b, err := again.Estimate(analysis.p, analysis.predicted)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("stored and read again it estimates otherwise: %v", err)
	}
}

func TestSeveralClassesThatCannotBeEstimatedSayWhy(t *testing.T) {
	_, reference, analysis := readMany(t)
	bad := reference.part(0, 100)
	bad.truth = make([]int, 100)
	if _, err := FitMulticlass(bad.p, bad.predicted, bad.truth); err == nil {
		t.Error("a reference of one class was taken")
	}
	if _, err := FitMulticlass(reference.p, reference.predicted, reference.truth[1:]); err == nil {
		t.Error("an outcome was missing")
	}
	part := reference.part(0, 10)
	if _, err := FitMulticlass(part.p, part.predicted, part.truth); err == nil {
		t.Error("ten rows were enough")
	}
	m, err := FitMulticlass(reference.p, reference.predicted, reference.truth)
	if err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string][][]float64{"another number of classes": analysis.p[:2], "not a number": {{math.NaN()}, {0}, {1}}, "no probability": {{2}, {0}, {1}}} {
		if _, err := m.Estimate(p, make([]int, len(p[0]))); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if _, err := m.Estimate([][]float64{{0.2}, {0.3}, {0.5}}, []int{3}); err == nil {
		t.Error("an answer outside of the classes was taken")
	}
	none, err := m.Estimate([][]float64{{}, {}, {}}, nil)
	if err != nil || none[Accuracy].Value.OK() {
		t.Errorf("no rows: %v %v", none, err)
	}
}

func TestAClassThatWasNeverTrueIsLeftOut(t *testing.T) {
	_, reference, analysis := readMany(t)
	four := func(r manyRows) [][]float64 { return append(slices.Clone(r.p), make([]float64, len(r.predicted))) }
	three, err := FitMulticlass(reference.p, reference.predicted, reference.truth)
	if err != nil {
		t.Fatal(err)
	}
	m, err := FitMulticlass(four(reference), reference.predicted, reference.truth)
	if err != nil {
		t.Fatal(err)
	}
	var again Multiclass
	through(t, m, &again)
	a, _ := three.Estimate(analysis.p, analysis.predicted)
	b, err := again.Estimate(four(analysis), analysis.predicted)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%v\n%v\n%v", a, b, err)
	}
}
