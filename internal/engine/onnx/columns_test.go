package onnx

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// named is 0.5 + age + 10·x + 100·y on columns of these names.
func named(t testing.TB, names ...string) []byte {
	t.Helper()
	f := engine.Formula{Input: "X", Output: "Y", Features: 3, Groups: 1, Weights: []float64{1, 10, 100}, Base: []float64{0.5}, Link: engine.LinkIdentity}
	data, err := Write(f)
	if err != nil {
		t.Fatal(err)
	}
	return renamed(t, data, names...)
}

func opened(t *testing.T, data []byte) (engine.Model, error) {
	t.Helper()
	m, err := Engine{}.Load(context.Background(), fstest.MapFS{"m.onnx": {Data: data}}, "m.onnx", engine.Limits{})
	if err == nil {
		t.Cleanup(func() { _ = m.Close() })
	}
	return m, err
}

func TestAFileThatNamesItsColumnsTakesATensorForEach(t *testing.T) {
	data := named(t, "age", "x", "y")
	if data = renamed(t, data, "age", "größe, \"m\"", "ward"); bytes.Count(data, []byte(columnsKey)) != 1 {
		t.Error("the names of before are still there")
	}
	m, err := opened(t, data)
	if err != nil {
		t.Fatal(err)
	}
	sig := m.Signature()
	if !slices.Equal(sig.Inputs[0].Columns, []string{"age", "größe, \"m\"", "ward"}) || !slices.Equal(sig.Outputs[0].Columns, []string{"price"}) {
		t.Fatalf("the signature is %+v", sig)
	}
	age, size, ward := tensor.FP64s("age", []int{2}, []float64{1, 2}), tensor.FP32s("größe, \"m\"", []int{2, 1}, []float32{3, 4}), tensor.Tensor{Name: "ward", Type: tensor.Int64, Shape: []int{2}, I64: []int64{5, 6}}
	words := tensor.Strings("ward", []int{2}, []string{"5", "6"})
	for _, c := range []struct {
		name    string
		in      []tensor.Tensor
		refused string
	}{
		{"in order", []tensor.Tensor{age, size, ward}, ""},
		{"in any order", []tensor.Tensor{ward, age, size}, ""},
		{"as a matrix", []tensor.Tensor{tensor.FP32s("X", []int{2, 3}, []float32{1, 3, 5, 2, 4, 6})}, ""},
		{"one is missing", []tensor.Tensor{ward, age}, "2 inputs; the model takes one tensor \"X\" of shape [-1, 3] or one per column, 3"},
		{"one is another", []tensor.Tensor{ward, age, tensor.FP64s("bmi", []int{2}, []float64{1, 2})}, "The column \"größe, \\\"m\\\"\" is missing"},
		{"of unequal length", []tensor.Tensor{age, size, tensor.FP64s("ward", []int{1}, []float64{1})}, "\"ward\" has shape [1]"},
		{"of texts", []tensor.Tensor{age, size, words}, "\"ward\" is BYTES"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := m.Predict(context.Background(), c.in)
			if c.refused != "" {
				if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !slices.Equal(out[0].F32, []float32{531.5, 642.5}) {
				t.Errorf("got %v, %v", out, err)
			}
		})
	}
}

func renamed(t testing.TB, data []byte, names ...string) []byte {
	t.Helper()
	data, err := WithColumns(data, engine.Signature{Inputs: []engine.Spec{{Name: "X", Columns: names}}, Outputs: []engine.Spec{{Name: "Y", Columns: []string{"price"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestNamesOfColumnsThatFitNothingAreLeftOutOrRefused(t *testing.T) {
	plain, err := os.ReadFile("testdata/models/linear_regression.onnx")
	if err != nil {
		t.Fatal(err)
	}
	same, err := WithColumns(plain, engine.Signature{Inputs: []engine.Spec{{Name: "elsewhere", Columns: []string{"a"}}}})
	if err != nil || !bytes.Equal(same, plain) {
		t.Errorf("a file with nothing to name was written anew (%v)", err)
	}
	property := func(text string) []byte {
		var m, entry wireMessage
		entry.text(1, columnsKey)
		entry.text(2, text)
		m = append(m, plain...)
		m.bytes(14, entry)
		return m
	}
	for name, text := range map[string]string{
		"no JSON":          "age",
		"a list":           `["age"]`,
		"a name":           `{"X":"age"}`,
		"lists in lists":   `{"X":[["age"]]}`,
		"it ends early":    `{"X":["age"`,
		"too few":          `{"X":["age"]}`,
		"many empty names": `{"X":[` + strings.Repeat(`"",`, 1<<20) + `""]}`,
		"many numbers":     `{"X":[` + strings.Repeat(`0,`, 1<<20) + `0]}`,
		"many keys":        `{` + strings.Repeat(`"X":[],`, 1<<19) + `"X":["age"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := opened(t, property(text)); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), columnsKey) {
				t.Errorf("got %v", err)
			}
			attempt(t, property(text))
		})
	}
}
