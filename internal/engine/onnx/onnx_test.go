package onnx

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/engine/enginetest"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// tolerance is what the platform promises against onnxruntime: relative for numbers above 1.
const tolerance = 1e-5

type recorded struct {
	Name, Refused, Op string
	Model             string // base64; empty: a file
	Calls             []struct{ Inputs, Outputs []tensor.Tensor }
}

func read(t testing.TB, path string) []recorded {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Cases []recorded }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Cases) == 0 {
		t.Fatalf("%s holds no cases", path)
	}
	return doc.Cases
}

func (r recorded) load(t testing.TB) (engine.Model, error) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(r.Model)
	if r.Model == "" {
		data, err = os.ReadFile("testdata/models/" + r.Name + ".onnx")
	}
	if err != nil {
		t.Fatal(err)
	}
	set, err := engine.NewSet(Engine{})
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := set.Load(context.Background(), fstest.MapFS{"model.onnx": {Data: data}}, "", engine.Limits{})
	return m, err
}

// off is the largest difference of two tensors, relative above 1; infinite when they differ in more than numbers.
func off(got, want *tensor.Tensor) float64 {
	if got.Type != want.Type || got.Name != want.Name || got.Len() != want.Len() || !sameShape(got.Shape, want.Shape) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range want.Len() {
		switch {
		case want.Type == tensor.Bytes:
			if got.S[i] != want.S[i] {
				return math.Inf(1)
			}
			continue
		case want.Type != tensor.FP32 && want.Type != tensor.FP64:
			if got.Float64(i) != want.Float64(i) {
				return math.Inf(1)
			}
			continue
		}
		a, b := got.Float64(i), want.Float64(i)
		if a == b || a != a && b != b {
			continue
		}
		d := math.Abs(a-b) / math.Max(1, math.Abs(b))
		if d != d {
			d = math.Inf(1)
		}
		worst = math.Max(worst, d)
	}
	return worst
}

// hold runs the calls of a case and gives the largest difference.
func hold(t *testing.T, m engine.Model, r recorded) float64 {
	t.Helper()
	worst := 0.0
	for _, c := range r.Calls {
		out, err := m.Predict(context.Background(), c.Inputs)
		if err != nil {
			t.Errorf("inputs of shape %v: %v", shapes(c.Inputs), err)
			continue
		}
		if len(out) != len(c.Outputs) {
			t.Errorf("%d outputs, want %d", len(out), len(c.Outputs))
			continue
		}
		for i := range out {
			d := off(&out[i], &c.Outputs[i])
			if worst = math.Max(worst, d); !(d <= tolerance) {
				t.Errorf("inputs of shape %v: output %s differs by %.3g:\n got %s\nwant %s", shapes(c.Inputs), c.Outputs[i].Name, d, out[i].AppendJSON(nil), c.Outputs[i].AppendJSON(nil))
			}
		}
	}
	return worst
}

func shapes(list []tensor.Tensor) (s [][]int) {
	for i := range list {
		s = append(s, list[i].Shape)
	}
	return s
}

func TestModelsAnswerAsOnnxruntimeDoes(t *testing.T) {
	worst, held := 0.0, 0
	for _, r := range read(t, "testdata/models.json") {
		t.Run(r.Name, func(t *testing.T) {
			m, err := r.load(t)
			if r.Refused != "" {
				if problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), r.Refused) {
					t.Errorf("got %v, want a refusal that names %s", err, r.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if len(r.Calls) == 0 {
				t.Fatal("nothing was recorded")
			}
			held++
			worst = math.Max(worst, hold(t, m, r))
		})
	}
	t.Logf("%d models, largest difference %.3g", held, worst)
}

// These missed the tolerance, by up to all of the answer, while sums ran in float64 and in another order.
func TestWhatRoundingLeavesIsWhatItLeavesInOnnxruntime(t *testing.T) {
	worst := 0.0
	for _, r := range read(t, "testdata/exact.json") {
		t.Run(r.Name, func(t *testing.T) {
			m, err := r.load(t)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			d := hold(t, m, r)
			if worst = math.Max(worst, d); d > 1e-6 {
				t.Errorf("the largest difference is %.3g", d)
			}
		})
	}
	t.Logf("largest difference %.3g", worst)
}

func TestOperatorsAnswerAsOnnxruntimeDoes(t *testing.T) {
	worst, held := 0.0, 0
	for _, r := range read(t, "testdata/operators.json") {
		t.Run(r.Name, func(t *testing.T) {
			m, err := r.load(t)
			if len(r.Calls[0].Inputs) == 0 {
				if problem.KindOf(err) != problem.Invalid {
					t.Errorf("a model without inputs: %v, want a refusal", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			held++
			worst = math.Max(worst, hold(t, m, r))
		})
	}
	t.Logf("%d operator cases, largest difference %.3g", held, worst)
}

// The node cases that ship with the onnx package, run by onnxruntime in a Python beside us.
func TestNodeCasesOfTheStandard(t *testing.T) {
	py := os.Getenv("KEELSON_MLFLOW_PYTHON")
	if py == "" {
		t.Skip("KEELSON_MLFLOW_PYTHON is not set: these cases need a Python with onnx and onnxruntime")
	}
	if err := exec.Command(py, "-c", "import onnx, onnxruntime").Run(); err != nil {
		t.Skip("the Python of KEELSON_MLFLOW_PYTHON has no onnx and onnxruntime")
	}
	dir := t.TempDir()
	if out, err := exec.Command(py, "testdata/generate.py", "--nodes", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	held, refused := 0, 0
	for _, r := range read(t, filepath.Join(dir, "nodes.json")) {
		t.Run(r.Name, func(t *testing.T) {
			m, err := r.load(t)
			if problem.KindOf(err) == problem.Unsupported {
				refused++
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if _, err := m.Predict(context.Background(), r.Calls[0].Inputs); err != nil && honest(err) {
				refused++
				return
			}
			held++
			hold(t, m, r)
		})
	}
	if t.Logf("%d cases held, %d refused by name", held, refused); held < 500 {
		t.Errorf("only %d cases were held", held)
	}
}

// honest tells whether a call was refused for what the engine says it lacks: a type, training, an empty maximum.
func honest(err error) bool {
	for _, why := range []string{"does not take", "takes FP32 only", "is asked to train", "has no values to compare"} {
		if strings.Contains(err.Error(), why) {
			return true
		}
	}
	return false
}

func TestContract(t *testing.T) {
	want := map[string]bool{"columns": true, "logistic_words": true, "xgb_multi": true, "mlp": true}
	for _, r := range read(t, "testdata/models.json") {
		if !want[r.Name] {
			continue
		}
		delete(want, r.Name)
		t.Run(r.Name, func(t *testing.T) {
			data, err := os.ReadFile("testdata/models/" + r.Name + ".onnx")
			if err != nil {
				t.Fatal(err)
			}
			enginetest.Run(t, enginetest.Case{Engine: Engine{}, FS: fstest.MapFS{"model.onnx": {Data: data}, "MLmodel": {Data: []byte("flavors: {}\n")}}, Format: Format, Inputs: r.Calls[0].Inputs})
		})
	}
	if len(want) > 0 {
		t.Errorf("no recorded case for %v", want)
	}
}

func TestAFormulaAddsItsBaseAlwaysSoTheModelHasTo(t *testing.T) {
	held := 0
	for _, r := range read(t, "testdata/exact.json") {
		if !strings.HasPrefix(r.Name, "unweighed_target_") {
			continue
		}
		held++
		data, err := base64.StdEncoding.DecodeString(r.Model)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := Formula(data); problem.KindOf(err) != problem.Unsupported {
			t.Errorf("%s: %+v, %v, want a refusal", r.Name, f, err)
		}
	}
	if held != 4 {
		t.Errorf("%d cases were held", held)
	}
	data, err := os.ReadFile("testdata/models/forest_regressor_targets.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := Formula(data); err != nil || f.Groups < 2 {
		t.Errorf("a forest whose leaves weigh all targets: %d groups, %v", f.Groups, err)
	}
}
