package convert

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/engine/lightgbm"
	"keelson/internal/engine/linear"
	"keelson/internal/engine/onnx"
	"keelson/internal/engine/onnxruntime"
	"keelson/internal/engine/xgboost"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// The test program is also the process of onnxruntime's models.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == onnxruntime.Word {
		os.Exit(onnxruntime.Child(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// native is the onnxruntime engine with the library that test/all installed; ok is false without one.
func native(t testing.TB) (e onnxruntime.Engine, ok bool) {
	path := os.Getenv("KEELSON_TEST_ONNXRUNTIME")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return onnxruntime.Engine{Self: []string{self, onnxruntime.Word}, Library: func() (string, error) {
		if path == "" {
			return "", no("The onnxruntime library is not installed.")
		}
		return path, nil
	}}, path != ""
}

func engines(t testing.TB) *engine.Set {
	t.Helper()
	e, _ := native(t)
	set, err := engine.NewSet(xgboost.Engine{}, lightgbm.Engine{}, onnx.Engine{}, e, linear.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// source loads a model file of an engine's tests.
func source(t testing.TB, set *engine.Set, file string) (engine.Model, engine.Found, []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{Engines: set}
	m, found, err := s.load(context.Background(), fstest.MapFS{filepath.Base(file): {Data: data}})
	if problem.Is(err, problem.Unsupported) {
		return nil, found, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, found, data
}

// largest compares a form with its original on generated calls.
func largest(t testing.TB, original, converted engine.Model, f *engine.Formula) (worst float64, rows int, where string) {
	t.Helper()
	c := &comparison{original: original, converted: converted}
	for _, in := range generate(original.Signature(), f, nil) {
		n, err := c.call(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		rows += n
	}
	return c.worst, rows, c.where
}

// Every model of the engines' tests that has a form in ONNX answers as it did, by both engines of ONNX; what has none is
// refused with the reason.
func TestModelsInONNXAnswerAsTheyDid(t *testing.T) {
	set := engines(t)
	library, there := native(t)
	refusals := map[string]string{"categorical": "categories", "onehot": "categories", "frame": "categories", "labels": "categories", "pandas": "categories", "lgb_binary_missing": "categories"}
	held, refused, worst, equal := 0, 0, 0.0, 0
	for _, pattern := range []string{"xgboost/testdata/models/*", "lightgbm/testdata/models/*.txt", "linear/testdata/models/*.json"} {
		files, err := filepath.Glob("../engine/" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			t.Run(name, func(t *testing.T) {
				m, found, data := source(t, set, file)
				if m == nil {
					return // the engine itself refuses it
				}
				f, err := write(found, data, m, m.Signature(), ONNX)
				if problem.Is(err, problem.Unsupported) {
					refused++
					for k, v := range refusals {
						if strings.HasPrefix(name, k) && !strings.Contains(err.Error(), v) {
							t.Errorf("refused as %v; want the word %s", err, v)
						}
					}
					t.Log(err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				folder := fstest.MapFS{f.name: {Data: f.data}}
				for _, e := range []engine.Engine{onnx.Engine{}, library} {
					if e.Name() == "onnxruntime" && !there {
						continue
					}
					o, err := e.Load(context.Background(), folder, f.name, engine.Limits{})
					if err != nil {
						t.Fatalf("%s: %v", e.Name(), err)
					}
					defer o.Close()
					if d := m.Signature().Differs(o.Signature()); d != "" {
						t.Errorf("%s: callers see %s", e.Name(), d)
					}
					d, rows, where := largest(t, m, o, f.formula)
					if rows < generatedRows/2 {
						t.Errorf("%s: only %d rows were answered", e.Name(), rows)
					}
					if !(d <= 2e-6) {
						t.Errorf("%s: largest error %.3g: %s", e.Name(), d, where)
					}
					if d == 0 {
						equal++
					}
					worst = math.Max(worst, d)
				}
				held++
			})
		}
	}
	t.Logf("%d models in ONNX, %d refused; largest error %.3g, %d times none", held, refused, worst, equal)
	if held < 60 {
		t.Errorf("only %d models have a form in ONNX", held)
	}
}

func TestRegressionsInONNXHaveANativeForm(t *testing.T) {
	set := engines(t)
	forms := map[string]string{}
	files, err := filepath.Glob("../engine/onnx/testdata/models/*.onnx")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		m, found, data := source(t, set, file)
		if m == nil {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(file), ".onnx")
		f, err := write(found, data, m, m.Signature(), Native)
		if problem.Is(err, problem.Unsupported) {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o, lighter, err := set.Load(context.Background(), fstest.MapFS{f.name: {Data: f.data}}, "", engine.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		forms[name] = lighter.Engine
		was, is := m.Signature(), o.Signature()
		if is.Inputs[0].Name != was.Inputs[0].Name || is.Outputs[0].Name != was.Outputs[0].Name {
			t.Errorf("%s: the tensors are called %s and %s instead of %s and %s", name, is.Inputs[0].Name, is.Outputs[0].Name, was.Inputs[0].Name, was.Outputs[0].Name)
		}
		if out, err := o.Predict(context.Background(), []tensor.Tensor{tensor.FP32s(was.Inputs[0].Name, []int{1, was.Inputs[0].Shape[1]}, make([]float32, was.Inputs[0].Shape[1]))}); err != nil || out[0].Name != was.Outputs[0].Name {
			t.Errorf("%s: %+v %v", name, out, err)
		}
		if p, ok := o.(engine.Portable); ok { // and back again
			if x, err := p.Portable(); err == nil && (x.Input != was.Inputs[0].Name || x.Output != was.Outputs[0].Name) {
				t.Errorf("%s: its formula calls them %s and %s", name, x.Input, x.Output)
			}
		}
		d, rows, where := largest(t, m, o, f.formula)
		if !(d <= 2e-6) || rows < generatedRows/2 {
			t.Errorf("%s: largest error %.3g over %d rows: %s", name, d, rows, where)
		}
		o.Close()
	}
	for name, want := range map[string]string{"forest_regressor": "xgboost", "gradient_boosting_regressor": "xgboost", "xgb_regressor": "xgboost", "linear_regression": "linear", "forest_regressor_targets": "xgboost",
		"linear_regression_targets": "linear"} {
		if forms[name] != want {
			t.Errorf("%s has the native form %q, want %q", name, forms[name], want)
		}
	}
	if forms["logistic"] != "" || forms["forest_binary"] != "" {
		t.Errorf("classifiers, which answer labels, have a native form: %v", forms)
	}
	t.Log(forms)
}

func TestTheBinaryFormOfXGBoostIsSmallerAndAnswersTheSame(t *testing.T) {
	set := engines(t)
	files, err := filepath.Glob("../engine/xgboost/testdata/models/*.json")
	if err != nil {
		t.Fatal(err)
	}
	held, before, after := 0, 0, 0
	for _, file := range files {
		m, found, data := source(t, set, file)
		if m == nil {
			continue
		}
		f, err := write(found, data, m, m.Signature(), Native)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		before, after = before+len(data), after+len(f.data)
		o, lighter, err := set.Load(context.Background(), fstest.MapFS{f.name: {Data: f.data}}, "", engine.Limits{})
		if err != nil || lighter.Format != xgboost.FormatUBJ {
			t.Fatalf("%s: %+v, %v", file, lighter, err)
		}
		if d := m.Signature().Differs(o.Signature()); d != "" {
			t.Errorf("%s: callers see %s", file, d)
		}
		d, rows, where := largest(t, m, o, f.formula)
		if d != 0 || rows < generatedRows/2 {
			t.Errorf("%s: largest error %.3g over %d rows: %s", file, d, rows, where)
		}
		if _, ok := m.(engine.Explainer); ok { // what explains is kept
			if _, ok := o.(engine.Explainer); !ok {
				t.Errorf("%s cannot be explained any more", file)
			}
		}
		held++
	}
	if held < 15 || after > before*11/10 { // these models are small, so names outweigh numbers
		t.Errorf("%d models, %d bytes instead of %d", held, after, before)
	}
	t.Logf("%d models, %d bytes instead of %d", held, after, before)
}

func TestSmallerWeightsCostLittle(t *testing.T) {
	set := engines(t)
	_, there := native(t)
	for _, name := range []string{"mlp", "mlp_regressor", "convolution", "dense"} {
		m, found, data := source(t, set, "../engine/onnx/testdata/models/"+name+".onnx")
		for _, to := range []string{Float16, Int8} {
			f, err := write(found, data, m, m.Signature(), to)
			if problem.Is(err, problem.Unsupported) && strings.Contains(err.Error(), "64 values") {
				t.Logf("%s: %v", name, err)
				continue
			}
			if err != nil {
				t.Fatalf("%s %s: %v", name, to, err)
			}
			formats := []string{onnx.Format}
			if there {
				formats = append(formats, onnxruntime.Format)
			}
			for _, format := range formats {
				o, lighter, err := set.Load(context.Background(), fstest.MapFS{f.name: {Data: f.data}}, format, engine.Limits{})
				if err != nil {
					t.Fatalf("%s %s: %v", name, to, err)
				}
				c := &comparison{original: m, converted: o}
				for _, in := range generate(m.Signature(), nil, nil) {
					out, err := o.Predict(context.Background(), in)
					if err != nil {
						t.Fatal(err)
					}
					want, err := m.Predict(context.Background(), in)
					if err != nil {
						t.Fatal(err)
					}
					for i := range out { // labels at the border may turn
						if out[i].Type == tensor.FP32 {
							d, err := spread(&out[i], &want[i])
							if err != nil {
								t.Fatal(err)
							}
							c.worst = math.Max(c.worst, d)
						}
					}
				}
				limit := map[string]float64{Float16: 0.02, Int8: 0.3}[to]
				if !(c.worst > 0 && c.worst <= limit) {
					t.Errorf("%s %s on %s: largest error %.3g, want one up to %.3g", name, to, lighter.Engine, c.worst, limit)
				}
				t.Logf("%s %s on %s: %d of %d bytes, largest error %.3g", name, to, lighter.Engine, len(f.data), len(data), c.worst)
				o.Close()
			}
			if len(f.data) >= len(data) {
				t.Errorf("%s %s: %d bytes instead of %d", name, to, len(f.data), len(data))
			}
		}
	}
}

func TestALargeNetworkShrinksByHalfAndByThreeQuarters(t *testing.T) {
	e, there := native(t)
	if !there {
		t.Skip("KEELSON_TEST_ONNXRUNTIME is not set: this needs the library that keelson runtime install onnxruntime unpacks")
	}
	b, err := os.ReadFile("../engine/onnxruntime/testdata/models.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			Name  string
			Model []byte
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, c := range doc.Cases {
		limits, ok := map[string]map[string][2]float64{
			"large network": {Float16: {0.56, 5e-3}, Int8: {0.32, 0.1}},
			"lstm":          {Float16: {0.8, 5e-3}, Int8: {0.85, 0.25}},
		}[c.Name]
		if !ok {
			continue
		}
		load := func(data []byte) engine.Model {
			m, err := e.Load(context.Background(), fstest.MapFS{"m.onnx": {Data: data}}, "m.onnx", engine.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			return m
		}
		m := load(c.Model)
		for to, limit := range limits {
			f, err := write(engine.Found{Format: onnxruntime.Format, Path: "m.onnx"}, c.Model, m, m.Signature(), to)
			if err != nil {
				t.Fatal(err)
			}
			d, rows, where := largest(t, m, load(f.data), nil)
			share := float64(len(f.data)) / float64(len(c.Model))
			t.Logf("%s %s: %.2f of the size, largest error %.3g over %d rows", c.Name, to, share, d, rows)
			if share > limit[0] || !(d > 0 && d <= limit[1]) {
				t.Errorf("%s %s: %.2f of the size (want %.2f), largest error %.3g (want up to %.3g): %s", c.Name, to, share, limit[0], d, limit[1], where)
			}
		}
	}
}

// spread is the largest difference relative above 1.
func spread(a, b *tensor.Tensor) (worst float64, err error) {
	if a.Len() != b.Len() {
		return 0, fmt.Errorf("%d values instead of %d", a.Len(), b.Len())
	}
	for i := range a.Len() {
		worst = math.Max(worst, math.Abs(a.Float64(i)-b.Float64(i))/math.Max(1, math.Abs(b.Float64(i))))
	}
	return worst, nil
}

func TestWhatHasNoSuchFormIsRefusedWithTheReason(t *testing.T) {
	set := engines(t)
	for _, c := range []struct{ file, to, want string }{
		{"xgboost/testdata/models/squared.ubj", Native, "lightest native form already"},
		{"lightgbm/testdata/models/binary.txt", Native, "lightest native form already"},
		{"xgboost/testdata/models/logistic.json", Int8, "Only the weights of ONNX networks"},
		{"xgboost/testdata/models/categorical.json", ONNX, "splits by categories"},
		{"linear/testdata/models/named_probit.linear.json", ONNX, "probit"},
		{"linear/testdata/models/columns.linear.json", ONNX, "categories"},
		{"onnx/testdata/models/mlp.onnx", ONNX, "ONNX file already"},
		{"onnx/testdata/models/mlp_regressor.onnx", Native, "has no place among trees or weights"},
		{"onnx/testdata/models/forest_regressor.onnx", Float16, "no single-precision weights"},
		{"onnx/testdata/models/logistic.onnx", Native, "no native form"},
	} {
		m, found, data := source(t, set, "../engine/"+c.file)
		if m == nil {
			t.Errorf("%s cannot be loaded", c.file)
			continue
		}
		if _, err := write(found, data, m, m.Signature(), c.to); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v, want %q", c.file, c.to, err, c.want)
		}
	}
}

// XGBoost itself reads what was written and answers the same.
func TestXGBoostReadsTheWrittenFiles(t *testing.T) {
	py := os.Getenv("KEELSON_MLFLOW_PYTHON")
	if py == "" {
		t.Skip("KEELSON_MLFLOW_PYTHON is not set: this needs a Python with xgboost")
	}
	if err := exec.Command(py, "-c", "import xgboost").Run(); err != nil {
		t.Skip("the Python of KEELSON_MLFLOW_PYTHON has no xgboost")
	}
	set := engines(t)
	dir := t.TempDir()
	type item struct {
		File    string
		Rows    [][]any
		Predict []float64
	}
	var items []item
	for _, file := range []string{"xgboost/testdata/models/logistic.json", "xgboost/testdata/models/dart.json", "xgboost/testdata/models/categorical.json", "xgboost/testdata/models/softmax.json",
		"xgboost/testdata/models/multi_output_classes.json", "onnx/testdata/models/forest_regressor.onnx", "onnx/testdata/models/xgb_regressor.onnx", "onnx/testdata/models/forest_regressor_targets.onnx"} {
		m, found, data := source(t, set, "../engine/"+file)
		f, err := write(found, data, m, m.Signature(), Native)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		it := item{File: filepath.Join(dir, fmt.Sprintf("%d.ubj", len(items)))}
		if err := os.WriteFile(it.File, f.data, 0o600); err != nil {
			t.Fatal(err)
		}
		in := generate(m.Signature(), f.formula, nil)[0]
		if f.formula == nil { // categories: codes
			for i := range in[0].F32 {
				in[0].F32[i] = float32(i % 3)
			}
		}
		out, err := m.Predict(context.Background(), in)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for r := range in[0].Rows() {
			var row []any
			for k := range in[0].Width() {
				if v := in[0].Float64(r*in[0].Width() + k); math.IsNaN(v) {
					row = append(row, nil)
				} else {
					row = append(row, v)
				}
			}
			it.Rows = append(it.Rows, row)
		}
		for i := range out[0].Len() {
			it.Predict = append(it.Predict, out[0].Float64(i))
		}
		items = append(items, it)
	}
	list, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	script := `
import json, sys
import numpy as np, xgboost as xgb
for it in json.load(sys.stdin):
    b = xgb.Booster()
    b.load_model(it["File"])
    x = np.array([[np.nan if v is None else v for v in r] for r in it["Rows"]], dtype=np.float32)
    p = b.predict(xgb.DMatrix(x, feature_names=b.feature_names, feature_types=b.feature_types, enable_categorical=True), validate_features=False).reshape(-1)
    want = np.array(it["Predict"])
    assert len(p) == len(want), (it["File"], len(p), len(want))
    print(it["File"].split("/")[-1], float(np.max(np.abs(p - want) / np.maximum(1, np.abs(want)))))
`
	cmd := exec.Command(py, "-c", script)
	cmd.Stdin = strings.NewReader(string(list))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(items) {
		t.Fatalf("%d answers for %d files:\n%s", len(lines), len(items), out)
	}
	for _, l := range lines {
		var name string
		var d float64
		if _, err := fmt.Sscan(l, &name, &d); err != nil || !(d <= 1e-6) {
			t.Errorf("%s (%v)", l, err)
		}
	}
	t.Logf("%s", out)
}
