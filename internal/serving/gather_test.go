package serving

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/onnx"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/tensor"
)

// An ONNX file has no place for the names of its columns; that of a version may come from MLflow's description alone.
func TestColumnsThatOnlyTheRecordNamesAreTakenByName(t *testing.T) {
	h := newHouse(t)
	set, err := engine.NewSet(onnx.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	h.Engines = set
	file, err := os.ReadFile("../engine/onnx/testdata/models/linear_regression.onnx")
	if err != nil {
		t.Fatal(err)
	}
	model := func(version int, kind string, share int, columns ...string) release.Slot {
		sl := h.put(version, onnx.Format, "model.onnx", string(file))
		sl.Kind, sl.Share = kind, share
		m, err := onnx.Engine{}.Load(context.Background(), os.DirFS("../engine/onnx/testdata/models"), "linear_regression.onnx", engine.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		sig := m.Signature()
		sig.Inputs = slices.Clone(sig.Inputs)
		sig.Inputs[0].Columns = columns
		sl.Signature, err = json.Marshal(sig)
		if err != nil {
			t.Fatal(err)
		}
		return sl
	}
	h.issue(h.doc(1, model(1, release.SlotLive, 100, "age", "bmi", "dose", "size"), model(2, release.SlotShadow, 100, "size", "dose", "bmi", "age")))
	h.says()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	ask := func(in ...tensor.Tensor) ([]tensor.Tensor, error) {
		a, err := h.Infer(context.Background(), &Call{Workspace: "default", Endpoint: "screening", Caller: "desk", Start: time.Now(), Inputs: in})
		return a.Outputs, err
	}
	want, err := ask(tensor.FP32s("X", []int{2, 4}, []float32{1, 2.5, 3, 9, 4, 5.5, 6, 8}))
	if err != nil {
		t.Fatal(err)
	}
	turned, err := ask(tensor.FP32s("X", []int{2, 4}, []float32{9, 3, 2.5, 1, 8, 6, 5.5, 4}))
	if err != nil {
		t.Fatal(err)
	}
	age, bmi, dose, size := tensor.Int64s("age", []int{2}, []int64{1, 4}), tensor.FP64s("bmi", []int{2, 1}, []float64{2.5, 5.5}), tensor.FP32s("dose", []int{2}, []float32{3, 6}), tensor.FP64s("size", []int{2}, []float64{9, 8})
	for _, in := range [][]tensor.Tensor{{age, bmi, dose, size}, {dose, size, age, bmi}} {
		sent := slices.Clone(in)
		out, err := ask(in...)
		if err != nil || !slices.Equal(out[0].F32, want[0].F32) {
			t.Errorf("got %+v, %v, want %v", out, err, want[0].F32)
		}
		if !slices.EqualFunc(in, sent, func(a, b tensor.Tensor) bool { return a.Name == b.Name && a.Equal(&b) }) {
			t.Errorf("what was sent became %+v", in)
		}
	}
	for says, in := range map[string][]tensor.Tensor{
		`"dose" is missing`:                        {age, bmi, tensor.FP64s("weight", []int{2}, []float64{1, 2}), size},
		`3 inputs; the model takes one tensor "X"`: {age, bmi, size},
		`"bmi" has shape [1, 1]`:                   {age, tensor.FP64s("bmi", []int{1, 1}, []float64{2.5}), dose, size},
		`"dose" is BYTES and others are INT64`:     {age, tensor.Strings("dose", []int{2}, []string{"a", "b"}), bmi, size},
		`"age" is one of 4 columns and came alone`: {age},
		`"X" has shape [2, 2]`:                     {tensor.FP32s("X", []int{2, 2}, make([]float32, 4))},
	} {
		if _, err := ask(in...); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want it to say %q", err, says)
		}
	}
	cancel()
	if err := <-done; err != nil { // waits for the copies
		t.Fatal(err)
	}
	answers := map[string][]float32{} // by slot, of calls that named columns
	count := 0
	if err := h.log.Scan(context.Background(), prediction.Query{}, func(r prediction.Record) error {
		count++
		if len(r.Inputs) != 1 || r.Inputs[0].Name != "X" || !slices.Equal(r.Inputs[0].Shape, []int{2, 4}) {
			t.Errorf("logged as %+v", r.Inputs)
		}
		if r.Inputs[0].Type == tensor.FP64 { // made of columns of several types
			answers[r.Slot] = r.Outputs[0].F32
		}
		return nil
	}); err != nil || count != 6 {
		t.Errorf("%d records (%v), want four of the live version and two of the shadow", count, err)
	}
	if !slices.Equal(answers[release.SlotLive], want[0].F32) || !slices.Equal(answers[release.SlotShadow], turned[0].F32) {
		t.Errorf("by slot %v, want %v live and %v of the shadow", answers, want[0].F32, turned[0].F32)
	}
}
