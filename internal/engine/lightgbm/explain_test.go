package lightgbm

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

func TestContributionsAreThoseOfTheLibrary(t *testing.T) {
	b, err := os.ReadFile("testdata/contribs.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Contribs map[string][][]float64 }
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, c := range loadRecorded(t) {
		rows := want.Contribs[c.Name]
		if strings.HasPrefix(c.Name, "linear_") { // LightGBM refuses to divide them, too
			m := loadFile(t, "testdata/models/"+c.File)
			if _, err := m.Explain(ctx, []tensor.Tensor{c.input(t)}); len(m.trees.formulas) > 0 && (problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "linear models")) {
				t.Errorf("%s: %v, want a refusal", c.Name, err)
			}
			continue
		}
		if rows == nil {
			t.Errorf("%s is not recorded", c.Name)
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			m := loadFile(t, "testdata/models/"+c.File)
			defer m.Close()
			got, err := m.Explain(ctx, []tensor.Tensor{c.input(t)})
			if err != nil {
				t.Fatal(err)
			}
			compared++
			f := len(got.Features)
			divided := 1.0
			if i := m.iterations; i > 0 {
				divided = i // the library sums the trees of a forest here, though its scores are means
			}
			for r, row := range rows {
				if len(row) != got.Outputs*(f+1) {
					t.Fatalf("%d values are recorded, %d outputs of %d features", len(row), got.Outputs, f)
				}
				for g := range got.Outputs {
					for j := range f + 1 {
						have := got.Base[g]
						if j < f {
							have = got.Contributions[(r*got.Outputs+g)*f+j]
						}
						if w := row[g*(f+1)+j] / divided; math.Abs(have-w) > 1e-8*math.Max(1, math.Abs(w)) {
							t.Errorf("row %d, output %d, feature %d contributes %v, want %v", r, g, j, have, w)
						}
					}
				}
			}
		})
	}
	if compared < 25 {
		t.Errorf("%d models were compared", compared)
	}
}

func TestWhatCannotBePredictedIsNotExplained(t *testing.T) {
	m := loadFile(t, "testdata/models/l2_missing.txt")
	if _, err := m.Explain(ctx, nil); problem.KindOf(err) != problem.Invalid {
		t.Errorf("without inputs: %v", err)
	}
	m.Close()
	if _, err := m.Explain(ctx, []tensor.Tensor{}); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("after Close: %v", err)
	}
}
