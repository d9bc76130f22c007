package engine

import (
	"fmt"
	"testing"

	"keelson/internal/tensor"
)

func TestColumnsOfManyCallsAreThoseOfEachByItself(t *testing.T) {
	sig := Signature{Inputs: []Spec{{Name: "input", Datatype: "FP32", Shape: []int{-1, 2}, Columns: []string{"age", "size"}}}}
	calls := [][]tensor.Tensor{
		{tensor.FP32s("input", []int{1, 2}, []float32{1, 2})},
		{tensor.FP32s("input", []int{3, 2}, []float32{1, 2, 3, 4, 5, 6})},
		{tensor.FP64s("input", []int{1, 2}, []float64{7, 8})},
		{tensor.Strings("input", []int{1, 2}, []string{"a", "b"})},
		{tensor.Int64s("input", []int{2, 2}, []int64{1, 2, 3, 4})},
		{tensor.FP32s("input", []int{1, 3}, []float32{1, 2, 3})},
		{tensor.FP32s("other", []int{1, 2}, []float32{1, 2})},
		{tensor.FP32s("input", []int{1, 2}, []float32{1, 2}), tensor.FP32s("more", []int{1, 2}, []float32{3, 4})},
		{tensor.FP32s("input", []int{1, 2}, []float32{1, 2}), tensor.Strings("ward", []int{1}, []string{"c"})},
		{tensor.FP32s("input", []int{0, 2}, nil)},
		nil,
		{tensor.FP32s("input", []int{1, 2}, []float32{9, 9})},
	}
	for _, s := range []Signature{sig, {}} {
		c := Columns{Of: s}
		for round := range 2 {
			for i, in := range calls {
				if got, want := fmt.Sprintf("%+v", c.Take(in)), fmt.Sprintf("%+v", s.Columns(in)); got != want {
					t.Errorf("round %d, call %d: got %s, want %s", round, i, got, want)
				}
			}
		}
	}
	named := Columns{Of: sig}
	named.Take(calls[7])
	if got := named.Take(calls[1]); len(got) != 2 || got[1].Name != "size" || fmt.Sprint(got[1].Numbers) != "[2 4 6]" {
		t.Errorf("%+v", got)
	}
}
