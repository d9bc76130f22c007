package reason

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/engine/linear"
	"keelson/internal/engine/xgboost"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

var ctx = context.Background()

func load(t *testing.T, file string) engine.Model {
	t.Helper()
	set, err := engine.NewSet(linear.Engine{}, xgboost.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return loadBytes(t, set, filepath.Base(file), b)
}

func loadBytes(t *testing.T, set *engine.Set, name string, b []byte) engine.Model {
	t.Helper()
	m, _, err := set.Load(ctx, fstest.MapFS{name: {Data: b}}, "", engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// silent hides that a model explains itself.
type silent struct{ engine.Model }

const house = `{"format":"keelson-linear-1","features":[{"name":"income"},{"name":"rooms"},{"name":"town","categories":["Ulm","Bonn"]}],"coefficients":[0.001,-2,5,7],"intercept":1}`

func linearModel(t *testing.T) engine.Model {
	t.Helper()
	set, err := engine.NewSet(linear.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	return loadBytes(t, set, "m.linear.json", []byte(house))
}

func in(income, rooms float64, town string) []tensor.Tensor {
	return []tensor.Tensor{tensor.FP64s("income", []int{1}, []float64{income}), tensor.FP64s("rooms", []int{1}, []float64{rooms}), tensor.Strings("town", []int{1}, []string{town})}
}

func past(n int) Background {
	return func(context.Context) ([][]tensor.Tensor, error) {
		out := [][]tensor.Tensor{{tensor.FP64s("other", []int{1}, []float64{1})}} // of another form: passed over
		for i := range n {
			out = append(out, in(2300, float64(1+i%3), []string{"Ulm", "Ulm", "Bonn"}[i%3]))
		}
		return out, nil
	}
}

func TestAModelThatExplainsItselfIsAskedAndTheRestAddsUp(t *testing.T) {
	m := linearModel(t)
	got, err := Explain(ctx, m, m.Signature(), in(1200, 3, "Bonn"), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	row := got.Rows[0]
	if len(row.Features) != 2 || row.Features[0].Name != "town" || row.Features[0].Value != "Bonn" || row.Features[1].Name != "rooms" ||
		row.Features[0].Words != "town of Bonn raised the answer by 7" || row.Features[1].Words != "rooms of 3 lowered the answer by 6" ||
		math.Abs(row.Rest-1.2) > 1e-9 || math.Abs(row.Total-3.2) > 1e-9 || row.Base != 1 || !strings.Contains(got.Method, "exact") {
		t.Errorf("%+v", got)
	}
}

func TestAnyOtherModelIsComparedWithEarlierDecisions(t *testing.T) {
	m := linearModel(t)
	got, err := Explain(ctx, silent{m}, m.Signature(), in(1200, 3, "Bonn"), 0, past(18))
	if err != nil {
		t.Fatal(err)
	}
	row := got.Rows[0]
	want := map[string]float64{"income": 0.001 * (1200 - 2300), "rooms": -2 * (3 - 2.0), "town": 7 - (5*2+7)/3.0}
	for _, f := range row.Features {
		if math.Abs(f.Contribution-want[f.Name]) > 1e-9 {
			t.Errorf("%s contributes %v, want %v", f.Name, f.Contribution, want[f.Name])
		}
		if f.Name == "income" && f.Words != "income of 1,200 lowered the answer by 1.1; typical is 2,300" {
			t.Errorf("%q", f.Words)
		}
		if f.Name == "town" && f.Typical != "Ulm" {
			t.Errorf("the typical town is %v", f.Typical)
		}
	}
	if len(row.Features) != 3 || math.Abs(row.Total-3.2) > 1e-9 || !strings.Contains(got.Method, "18 background rows") || !strings.Contains(got.Method, "exact") {
		t.Errorf("%+v", got)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeExplainedIsRefusedWithTheReason(t *testing.T) {
	m := linearModel(t)
	many := func(n int) []tensor.Tensor {
		town := make([]string, n)
		for i := range town {
			town[i] = "Ulm"
		}
		return []tensor.Tensor{tensor.FP64s("income", []int{n}, make([]float64, n)), tensor.FP64s("rooms", []int{n}, make([]float64, n)), tensor.Strings("town", []int{n}, town)}
	}
	for name, c := range map[string]struct {
		model      engine.Model
		in         []tensor.Tensor
		background Background
		kind       problem.Kind
	}{
		"more rows than are explained":       {m, many(MaxRows + 1), nil, problem.TooLarge},
		"more rows than are sampled":         {silent{m}, many(MaxSampledRows + 1), past(20), problem.TooLarge},
		"no background":                      {silent{m}, many(1), nil, problem.Conflict},
		"a background of too few rows":       {silent{m}, many(1), past(MinBackground - 1), problem.Conflict},
		"inputs of another model":            {m, many(1)[:2], nil, problem.Invalid},
		"nothing":                            {silent{m}, nil, past(20), problem.Invalid},
		"an answer that is not a finite one": {m, in(math.MaxFloat64, -math.MaxFloat64, "Ulm"), nil, problem.Invalid},
	} {
		if _, err := Explain(ctx, c.model, m.Signature(), c.in, 0, c.background); problem.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := Explain(ctx, m, m.Signature(), many(MaxRows), 1, nil); err != nil || len(got.Rows) != MaxRows {
		t.Errorf("%d rows: %v", MaxRows, err)
	}
}

func TestOfSeveralClassesTheHighestIsExplained(t *testing.T) {
	m := load(t, "../xgboost/testdata/models/softprob.ubj")
	x := tensor.FP32s("input", []int{2, 6}, []float32{1, -1, 2, 0.5, 0.25, 8, -2, 1, 1, 0, 0, 0})
	out, err := m.Predict(ctx, []tensor.Tensor{x})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Explain(ctx, m, m.Signature(), []tensor.Tensor{x}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := out[0].Width()
	for r, row := range got.Rows {
		for k := range w {
			if out[0].F32[r*w+k] > out[0].F32[r*w+row.Output] {
				t.Errorf("row %d explains class %d, but %d is likelier", r, row.Output, k)
			}
		}
	}
}

// named is a model that explains itself, of two named outputs.
type named struct{ engine.Model }

func (named) Explain(context.Context, []tensor.Tensor) (engine.Explanation, error) {
	return engine.Explanation{Outputs: 2, Names: []string{"refuse", "grant"}, Features: []string{"was it the answer"}, Base: []float64{0, 0},
		Values: []engine.Value{{Number: 7}}, Contributions: []float64{1, 2}}, nil
}

func TestAFeatureMayBeNamedAsTheAnswerIs(t *testing.T) {
	got, err := Explain(ctx, named{}, engine.Signature{}, []tensor.Tensor{tensor.FP64s("x", []int{1, 1}, []float64{7})}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Rows[0]; r.Name != "grant" || !strings.Contains(r.Summary, "was it the answer") || !strings.HasSuffix(r.Summary, " raised grant.") {
		t.Errorf("%q of %s", r.Summary, r.Name)
	}
}
