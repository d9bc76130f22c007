package shift

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/boost"
	"keelson/internal/score"
)

func golden() string {
	if dir := os.Getenv("KEELSON_GOLDEN"); dir != "" {
		return dir
	}
	return ours
}

// ours is the folder that the expected values of the domain classifier were made from, wherever KEELSON_GOLDEN points.
const ours = "../estimate/testdata"

// read gives the columns of the reference and of what came later, but for score, decision and outcome. isWords tells which
// columns hold words.
func read(t *testing.T, dir string, isWords func(column string) bool) (reference, analysis []boost.Column) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "cbpe.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	period := slices.Index(lines[0], "period")
	for at, name := range lines[0] {
		if slices.Contains([]string{"period", "score", "y_pred", "y_true"}, name) {
			continue
		}
		var before, after boost.Column
		for _, l := range lines[1:] {
			into := &before
			if l[period] == "analysis" {
				into = &after
			}
			if isWords(name) {
				into.Words = append(into.Words, l[at])
				continue
			}
			v := math.NaN()
			if l[at] != "" {
				if v, err = strconv.ParseFloat(l[at], 64); err != nil {
					t.Fatal(err)
				}
			}
			into.Numbers = append(into.Numbers, v)
		}
		reference, analysis = append(reference, before), append(analysis, after)
	}
	return reference, analysis
}

func expected(t *testing.T, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// chunks cuts a table into runs of size rows; the last one may be shorter.
func chunks(table []boost.Column, size int) (out [][]boost.Column) {
	for from := 0; from < table[0].Len(); from += size {
		rows := make([]int, min(size, table[0].Len()-from))
		for i := range rows {
			rows[i] = from + i
		}
		out = append(out, pick(table, rows))
	}
	return out
}

func TestEveryGoldenReconstructionIsMet(t *testing.T) {
	var doc struct {
		Size int                        `json:"chunk_size"`
		PCA  map[string]json.RawMessage `json:"pca_reconstruction_analysis"`
		One  map[string]json.RawMessage `json:"univariate_analysis"`
	}
	expected(t, filepath.Join(golden(), "nannyml_expected.json"), &doc)
	reference, analysis := read(t, golden(), func(column string) bool { return doc.One[column+"/chi2/value"] != nil })
	r, err := FitReconstruction(reference, Variance)
	if err != nil {
		t.Fatal(err)
	}
	var usual []float64
	for _, c := range chunks(reference, doc.Size) {
		got, err := r.Chunk(c)
		if err != nil {
			t.Fatal(err)
		}
		usual = append(usual, got.Value.V)
	}
	lower, upper, err := score.Thresholds(usual, 0, math.Inf(1))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]float64{}
	for _, c := range chunks(analysis, doc.Size) {
		one, err := r.Chunk(c)
		if err != nil {
			t.Fatal(err)
		}
		alert := 0.0
		if one.Value.V <= lower || one.Value.V >= upper {
			alert = 1
		}
		for name, v := range map[string]float64{
			"value": one.Value.V, "sampling_error": one.Error.V, "lower_confidence_boundary": one.Lower.V,
			"upper_confidence_boundary": one.Upper.V, "lower_threshold": lower, "upper_threshold": upper, "alert": alert,
		} {
			got["reconstruction_error/"+name] = append(got["reconstruction_error/"+name], v)
		}
	}
	if len(doc.PCA) == 0 {
		t.Error("there are no expected values")
	}
	for key, raw := range doc.PCA {
		var want []any
		if err := json.Unmarshal(raw, &want); err != nil || len(want) != len(got[key]) {
			t.Fatalf("%s has %d chunks, want %d (%v)", key, len(got[key]), len(want), err)
		}
		for k, v := range got[key] {
			w, ok := want[k].(float64)
			if yes, is := want[k].(bool); is {
				ok = true
				if yes {
					w = 1
				}
			}
			if !ok || math.Abs(v-w) > 1e-9*math.Max(1, math.Abs(w)) {
				t.Errorf("%s of chunk %d is %.12g, want %v", key, k, v, want[k])
			}
		}
	}
}

func TestTheDomainClassifierAgreesWithNannyML(t *testing.T) {
	var doc struct {
		Size  int `json:"chunk_size"`
		Value []float64
	}
	expected(t, "testdata/domain_classifier_expected.json", &doc)
	reference, analysis := read(t, ours, func(column string) bool { return column == "cat" })
	for k, c := range chunks(analysis, doc.Size) {
		got, err := Separate(reference, c, SeparateParams{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("chunk %d: %v, NannyML %.4f", k, got.AUC, doc.Value[k])
		if v := got.AUC; !v.OK() || v.V < doc.Value[k]-0.03 || v.V > doc.Value[k]+0.06 { // another learner, other folds
			t.Errorf("chunk %d is told apart with %v, want about %.4f", k, v, doc.Value[k])
		}
		again, err := Separate(reference, c, SeparateParams{Seed: 1})
		if err != nil || again.AUC != got.AUC {
			t.Errorf("the same seed gives %v and %v (%v)", got.AUC, again.AUC, err)
		}
	}
}

// pairs is rows of two numbers with the correlation rho and of a word that says nothing.
func pairs(seed uint64, n int, rho float64) []boost.Column {
	r := rand.New(rand.NewPCG(seed, 9))
	out := []boost.Column{{Numbers: make([]float64, n)}, {Numbers: make([]float64, n)}, {Words: make([]string, n)}}
	for i := range n {
		a, b := r.NormFloat64(), r.NormFloat64()
		out[0].Numbers[i], out[1].Numbers[i] = a, rho*a+math.Sqrt(1-rho*rho)*b
		out[2].Words[i] = string(rune('a' + r.IntN(4)))
	}
	return out
}

func TestARelationThatChangesIsSeenAlthoughNoColumnMoves(t *testing.T) {
	reference, same, turned := pairs(1, 3000, 0.9), pairs(2, 1500, 0.9), pairs(3, 1500, -0.9)
	calm, err := Separate(reference, same, SeparateParams{})
	if err != nil {
		t.Fatal(err)
	}
	loud, err := Separate(reference, turned, SeparateParams{})
	if err != nil {
		t.Fatal(err)
	}
	if calm.Interval.Lower.V > 0.5 || calm.AUC.V > 0.55 || loud.AUC.V < 0.9 || loud.Importance[2] > 0.1 {
		t.Errorf("the same rows: %+v, turned ones: %+v", calm, loud)
	}
	r, err := FitReconstruction(reference, Variance)
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.Chunk(same)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Chunk(turned)
	if err != nil {
		t.Fatal(err)
	}
	if a.Upper.V > b.Lower.V {
		t.Errorf("the reconstruction error is %v for the same rows and %v for turned ones", a, b)
	}
}

func TestReconstructionLosesNoMoreThanThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "rows")
		one := rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.Just(math.NaN()), rapid.Just(math.Inf(-1)), rapid.Just(3.0))
		table := []boost.Column{
			{Numbers: rapid.SliceOfN(one, n, n).Draw(t, "a")}, {Numbers: rapid.SliceOfN(one, n, n).Draw(t, "b")},
			{Words: rapid.SliceOfN(rapid.SampledFrom([]string{"", "x", "y"}), n, n).Draw(t, "w")},
		}
		r, err := FitReconstruction(table, rapid.Float64Range(0.01, 0.99).Draw(t, "variance"))
		if err != nil {
			return
		}
		if k := r.Components(); k < 1 || k > 3 {
			t.Fatalf("%d components of 3 columns", k)
		}
		lost, err := r.Errors(table)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range lost {
			size := 0.0
			for k := range r.columns {
				size = math.Hypot(size, r.columns[k].at(table[k], i))
			}
			if !(e >= 0 && e <= size*(1+1e-9)+1e-9) {
				t.Fatalf("row %d of length %v loses %v", i, size, e)
			}
		}
	})
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	nan := math.NaN()
	good := pairs(1, 50, 0)
	r, err := FitReconstruction(good, Variance)
	if err != nil {
		t.Fatal(err)
	}
	fit := func(v float64, c ...boost.Column) error { _, err := FitReconstruction(c, v); return err }
	separate := func(a, b []boost.Column, p SeparateParams) error { _, err := Separate(a, b, p); return err }
	chunk := func(c ...boost.Column) error { _, err := r.Chunk(c); return err }
	for name, err := range map[string]error{
		"no column":                     fit(0.5),
		"no row":                        fit(0.5, boost.Column{Numbers: []float64{}}),
		"all missing":                   fit(0.5, boost.Column{Numbers: []float64{nan, nan}}),
		"all words missing":             fit(0.5, boost.Column{Words: []string{"", ""}}),
		"nothing that varies":           fit(0.5, boost.Column{Numbers: []float64{1, 1}}, boost.Column{Words: []string{"a", "a"}}),
		"values whose squares overflow": fit(0.5, boost.Column{Numbers: []float64{-1e300, 1e300}}),
		"all of the variance":           fit(1, good...),
		"a column fewer":                chunk(good[:2]...),
		"words for numbers":             chunk(good[2], good[1], good[0]),
		"too few rows":                  separate(good, pairs(2, 3, 0), SeparateParams{}),
		"one fold":                      separate(good, good, SeparateParams{Folds: 1}),
		"other columns":                 separate(good, good[:2], SeparateParams{}),
		"columns of other kinds":        separate(good, []boost.Column{good[2], good[1], good[0]}, SeparateParams{}),
	} {
		if err == nil {
			t.Errorf("%s: taken, want an error", name)
		}
	}
	empty, err := r.Chunk([]boost.Column{{Numbers: []float64{}}, {Numbers: []float64{}}, {Words: []string{}}})
	if err != nil || empty.Value.OK() {
		t.Errorf("a window without rows: %v %v", empty, err)
	}
	one, err := r.Chunk([]boost.Column{{Numbers: []float64{nan}}, {Numbers: []float64{1}}, {Words: []string{"new"}}})
	if err != nil || !one.Value.OK() || one.Error.OK() {
		t.Errorf("a window of one row: %v %v", one, err)
	}
}
