package linear

import (
	"context"
	"encoding/json"
	"fmt"
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

var ctx = context.Background()

// tolerance is relative for numbers above 1: only the order of sums differs from the library's.
const tolerance = 1e-12

type recorded struct {
	Name    string
	Columns map[string][]any
	Predict [][]float64
	Label   []any
}

func (r recorded) inputs() (in []tensor.Tensor) {
	for name, values := range r.Columns {
		t := tensor.Tensor{Name: name, Type: tensor.FP64, Shape: []int{len(values)}}
		for _, v := range values {
			switch v := v.(type) {
			case string:
				t.Type, t.S = tensor.Bytes, append(t.S, v)
			case float64:
				t.F64 = append(t.F64, v)
			}
		}
		in = append(in, t)
	}
	return in
}

func read(t testing.TB) []recorded {
	t.Helper()
	b, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Cases []recorded }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Cases
}

func load(t testing.TB, data []byte) (engine.Model, error) {
	t.Helper()
	set, err := engine.NewSet(Engine{})
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := set.Load(ctx, fstest.MapFS{"model.linear.json": {Data: data}}, "", engine.Limits{})
	return m, err
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/models/" + name + ".linear.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPredictionsEqualTheLibrary(t *testing.T) {
	cases := read(t)
	if len(cases) < 20 {
		t.Fatalf("only %d cases are recorded", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			m, err := load(t, file(t, c.Name))
			if err != nil {
				t.Fatal(err)
			}
			out, err := m.Predict(ctx, c.inputs())
			if err != nil {
				t.Fatal(err)
			}
			w := len(c.Predict[0])
			if out[0].Len() != len(c.Predict)*w || out[0].Width() != w {
				t.Fatalf("shape %v, want %d rows of %d", out[0].Shape, len(c.Predict), w)
			}
			for i, row := range c.Predict {
				for k, want := range row {
					if got := out[0].F64[i*w+k]; !(math.Abs(got-want) <= tolerance*math.Max(1, math.Abs(want))) {
						t.Errorf("row %d value %d: got %.17g, want %.17g", i, k, got, want)
					}
				}
			}
			for i, want := range c.Label {
				got := any(nil)
				if s, ok := want.(string); ok && out[1].S[i] != s {
					got = out[1].S[i]
				} else if n, ok := want.(float64); ok && float64(out[1].I64[i]) != n {
					got = out[1].I64[i]
				}
				if got != nil {
					t.Errorf("row %d: class %v, want %v", i, got, want)
				}
			}
		})
	}
}

func TestContract(t *testing.T) {
	for _, c := range read(t) {
		if c.Name == "columns" || c.Name == "logistic" || c.Name == "targets" {
			t.Run(c.Name, func(t *testing.T) {
				enginetest.Run(t, enginetest.Case{Engine: Engine{}, FS: fstest.MapFS{"model.linear.json": {Data: file(t, c.Name)}}, Format: Format, Inputs: c.inputs()})
			})
		}
	}
}

func TestAMatrixAnswersAsItsColumnsDo(t *testing.T) {
	m, err := load(t, []byte(`{"format":"keelson-linear-1","features":["a","b"],"coefficients":[2,3],"intercept":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range [][]tensor.Tensor{
		{tensor.FP32s("x", []int{2, 2}, []float32{1, 2, 3, 4})},
		{tensor.Int64s("b", []int{2, 1}, []int64{2, 4}), tensor.FP64s("a", []int{2}, []float64{1, 3})},
	} {
		out, err := m.Predict(ctx, in)
		if err != nil || out[0].F64[0] != 9 || out[0].F64[1] != 19 {
			t.Errorf("got %v (%v), want 9 and 19", out, err)
		}
	}
	if out, err := m.Predict(ctx, []tensor.Tensor{tensor.FP32s("x", []int{0, 2}, nil)}); err != nil || out[0].Shape[0] != 0 {
		t.Errorf("no rows: %v %v", out, err)
	}
}

func TestRowsThatDoNotFitAreRefused(t *testing.T) {
	m, err := load(t, []byte(`{"format":"keelson-linear-1","features":["a",{"name":"b","missing":5},{"name":"c","categories":["x","y"]}],"coefficients":[1,1,1,2],"link":"logit","classes":[3,4],"threshold":0.9}`))
	if err != nil {
		t.Fatal(err)
	}
	call := func(a, b float64, c string) ([]tensor.Tensor, error) {
		return m.Predict(ctx, []tensor.Tensor{tensor.FP64s("a", []int{1}, []float64{a}), tensor.FP64s("b", []int{1}, []float64{b}), tensor.Strings("c", []int{1}, []string{c})})
	}
	for says, f := range map[string]func() error{
		"says nothing of missing": func() error { _, err := call(math.NaN(), 0, "x"); return err },
		"finite numbers":          func() error { _, err := call(0, math.Inf(1), "x"); return err },
		"does not know":           func() error { _, err := call(0, 0, "z"); return err },
	} {
		if err := f(); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want a refusal that says %q", err, says)
		}
	}
	if out, err := call(-5, math.NaN(), "y"); err != nil || out[0].F64[1] != logistic(2) || out[1].I64[0] != 3 {
		t.Errorf("a missing value with a stand-in: %v %v, want probability %v and class 3", out, err, logistic(2))
	}
}

func TestBrokenDocumentsSayWhatIsWrong(t *testing.T) {
	cases := []struct{ name, doc, says string }{
		{"no document", `[]`, "no document"},
		{"something behind it", `{"format":"keelson-linear-1","coefficients":{"a":1}} {}`, "follows the document"},
		{"another format", `{"format":"v9","coefficients":{"a":1}}`, "format"},
		{"a field that nobody knows", `{"format":"keelson-linear-1","coefs":[1]}`, "unknown field"},
		{"no coefficients", `{"format":"keelson-linear-1","features":["a"]}`, "no coefficients"},
		{"an unknown link", `{"format":"keelson-linear-1","features":["a"],"coefficients":[1],"link":"tanh"}`, "link"},
		{"too few coefficients", `{"format":"keelson-linear-1","features":["a","b"],"coefficients":[1]}`, "1 coefficients for 2 columns"},
		{"too many intercepts", `{"format":"keelson-linear-1","features":["a"],"coefficients":[1],"intercept":[1,2]}`, "2 intercepts"},
		{"a feature twice", `{"format":"keelson-linear-1","features":["a","a"],"coefficients":[1,1]}`, "name of its own"},
		{"a coefficient twice", `{"format":"keelson-linear-1","coefficients":{"a":1,"a":2}}`, "twice"},
		{"a scale of 0", `{"format":"keelson-linear-1","features":[{"name":"a","scale":0}],"coefficients":[1]}`, "scale 0"},
		{"mixed categories", `{"format":"keelson-linear-1","features":[{"name":"a","categories":["x",1]}],"coefficients":[1,2]}`, "mix"},
		{"categories with a mean", `{"format":"keelson-linear-1","features":[{"name":"a","categories":["x"],"mean":2}],"coefficients":[1]}`, "for numbers"},
		{"classes without rows", `{"format":"keelson-linear-1","features":["a"],"coefficients":[1],"classes":["x","y","z"],"link":"softmax"}`, "3 classes for 1 rows"},
		{"two classes with a log link", `{"format":"keelson-linear-1","features":["a"],"coefficients":[1],"classes":["x","y"],"link":"log"}`, "two classes"},
		{"softmax without classes", `{"format":"keelson-linear-1","features":["a"],"coefficients":[[1],[2]],"link":"softmax"}`, "needs classes"},
		{"a threshold for numbers", `{"format":"keelson-linear-1","features":["a"],"coefficients":[1],"threshold":0.5}`, "threshold"},
		{"a category without a place", `{"format":"keelson-linear-1","features":[{"name":"a","categories":["x"]}],"coefficients":{"a":{"x":1,"y":2}}}`, "does not list"},
		{"a named matrix beside texts", `{"format":"keelson-linear-1","input":"X","features":[{"name":"a","categories":["x"]}],"coefficients":[1]}`, "one tensor per feature"},
		{"numbers named as the label", `{"format":"keelson-linear-1","output":"label","features":["a"],"coefficients":[1],"link":"logit","classes":["x","y"]}`, "as the class that wins"},
		{"a feature without coefficient", `{"format":"keelson-linear-1","features":["a"],"coefficients":{"b":1}}`, "has no coefficient"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Engine{}.Load(ctx, fstest.MapFS{"model.linear.json": {Data: []byte(c.doc)}}, "model.linear.json", engine.Limits{})
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a refusal that says %q", err, c.says)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	for _, c := range read(f) {
		f.Add(file(f, c.Name))
	}
	f.Add([]byte(`{"format":"keelson-linear-1","features":[{"name":"c","categories":[1,2]}],"coefficients":[[1,2],[3,4]],"link":"ovr","classes":["x","y"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m engine.Model
		var err error
		enginetest.Frugal(t, len(data), 1<<20, func() {
			m, err = Engine{}.Load(ctx, fstest.MapFS{"m.linear.json": {Data: data}}, "m.linear.json", engine.Limits{})
		})
		if err != nil {
			if problem.KindOf(err) != problem.Invalid {
				t.Errorf("%v, want a refusal", err)
			}
			return
		}
		var in []tensor.Tensor
		for _, s := range m.Signature().Inputs {
			switch {
			case s.Datatype == "BYTES":
				in = append(in, tensor.Strings(s.Name, []int{1}, []string{"x"}))
			case len(s.Shape) == 2:
				in = append(in, tensor.FP64s(s.Name, []int{1, s.Shape[1]}, make([]float64, s.Shape[1])))
			default:
				in = append(in, tensor.FP64s(s.Name, []int{1}, []float64{1}))
			}
		}
		if _, err := m.Predict(ctx, in); err != nil && problem.KindOf(err) != problem.Invalid {
			t.Errorf("predict: %v", err)
		}
	})
}

func BenchmarkOneRow(b *testing.B) {
	m, err := load(b, file(b, "logistic"))
	if err != nil {
		b.Fatal(err)
	}
	in := []tensor.Tensor{tensor.FP64s(Input, []int{1, 4}, []float64{1, 2, 3, 4})}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Predict(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	doc := `{"format": "keelson-linear-1", "link": "logit", "intercept": -1.5,
		"coefficients": {"age": 0.02, "smoker": {"yes": 0.9}}, "classes": ["healthy", "ill"]}`
	m, err := Engine{}.Load(ctx, fstest.MapFS{"model.linear.json": {Data: []byte(doc)}}, "model.linear.json", engine.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, _ := m.Predict(ctx, []tensor.Tensor{tensor.FP64s("age", []int{2}, []float64{30, 60}), tensor.Strings("smoker", []int{2}, []string{"no", "yes"})})
	fmt.Printf("%.3f %v\n", out[0].F64, out[1].S)
	// Output: [0.711 0.289 0.354 0.646] [healthy ill]
}
