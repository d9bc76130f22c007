package xgboost

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/engine/enginetest"
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
		if rows == nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			m := loadFile(t, "testdata/models/"+c.File)
			defer m.Close()
			got, err := m.(engine.Explainer).Explain(ctx, []tensor.Tensor{matrix(c.Rows)})
			if _, linear := m.(*model).trees.(*linearBooster); linear {
				if problem.KindOf(err) != problem.Unsupported {
					t.Errorf("a model without trees: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			compared++
			f := len(got.Features)
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
						if w := row[g*(f+1)+j]; math.Abs(have-w) > 2*tolerance*math.Max(1, math.Abs(w)) {
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
	m := loadFile(t, "testdata/xgb_regression.json")
	for name, in := range map[string][]tensor.Tensor{
		"nothing":      nil,
		"few columns":  {tensor.FP32s(Input, []int{1, 3}, make([]float32, 3))},
		"an infinity":  {tensor.FP32s(Input, []int{1, 8}, []float32{0, 0, 0, 0, 0, 0, 0, float32(math.Inf(1))})},
		"not a number": {tensor.Strings(Input, []int{1, 8}, make([]string, 8))},
	} {
		if _, err := m.(engine.Explainer).Explain(ctx, in); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.Close()
	if _, err := m.(engine.Explainer).Explain(ctx, nil); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("after Close: %v", err)
	}
}

func TestGoldenContributionsAreMetByTheLoadedModel(t *testing.T) {
	for _, c := range enginetest.Contributions(t, "xgboost") {
		t.Run(c.Name, func(t *testing.T) {
			m := loadFile(t, c.Model)
			defer m.Close()
			width := m.Signature().Inputs[0].Shape[1]
			numbers, n := enginetest.Numbers(t, c.Rows, width)
			values := make([]float32, len(numbers))
			for i, v := range numbers {
				values[i] = float32(v)
			}
			got, err := m.(engine.Explainer).Explain(ctx, []tensor.Tensor{tensor.FP32s(Input, []int{n, width}, values)})
			if err != nil {
				t.Fatal(err)
			}
			want := c.Contributions
			if len(want) != n*got.Outputs*(width+1) {
				t.Fatalf("%d values are expected for %d rows", len(want), n)
			}
			for i, w := range want {
				r, g, j := i/(width+1)/got.Outputs, i/(width+1)%got.Outputs, i%(width+1)
				have := got.Base[g]
				if j < width {
					have = got.Contributions[(r*got.Outputs+g)*width+j]
				}
				if math.Abs(have-w) > 2*tolerance*math.Max(1, math.Abs(w)) {
					t.Errorf("row %d, output %d, feature %d contributes %v, want %v", r, g, j, have, w)
				}
			}
		})
	}
}

// XGBoost writes a base_score of 0 where nothing was counted; the model answers 0 for every row.
func TestWhatStartsFromTheLogarithmOfZeroAnswersButIsNotTakenApart(t *testing.T) {
	b, err := os.ReadFile("testdata/models/poisson.json")
	if err != nil {
		t.Fatal(err)
	}
	zero := bytes.Replace(b, []byte(`"base_score":"[1.44E0]"`), []byte(`"base_score":"[0E0]"`), 1)
	if bytes.Equal(b, zero) {
		t.Fatal("the base_score was not found")
	}
	m, err := Engine{}.Load(ctx, fstest.MapFS{"m.json": {Data: zero}}, "m.json", engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n := m.Signature().Inputs[0].Shape[1]
	in := []tensor.Tensor{tensor.FP32s(Input, []int{1, n}, make([]float32, n))}
	if out, err := m.Predict(ctx, in); err != nil || out[0].F32[0] != 0 {
		t.Errorf("it answers %v, %v, want 0", out, err)
	}
	if e, err := m.(engine.Explainer).Explain(ctx, in); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "base_score") {
		t.Errorf("it is explained from %v, %v", e.Base, err)
	}
	if f, err := m.(engine.Portable).Portable(); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "base_score") {
		t.Errorf("it is taken apart: %v, %v", f.Base, err)
	}
}
