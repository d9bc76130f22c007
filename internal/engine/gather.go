package engine

import (
	"fmt"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Gather makes the matrix that a model takes of a tensor per column, each of shape [n] or [n, 1], in any order. to brings a
// column to the matrix's type, the same for all. It fails with problem.Invalid when a column is missing or does not fit; in
// stays as it is.
func Gather(want Spec, in []tensor.Tensor, to func(*tensor.Tensor) (tensor.Tensor, error)) (out tensor.Tensor, err error) {
	k := len(want.Columns)
	if len(in) != k || k == 0 {
		return out, problem.New(problem.Invalid, "The request has %d inputs; the model takes one tensor %q of shape %v or one per column, %d in all.", len(in), problem.Clip(want.Name, 80), want.Shape, k).At("inputs")
	}
	n := in[0].Rows()
	for i := range in {
		if t := &in[i]; len(t.Shape) == 0 || len(t.Shape) > 2 || t.Shape[0] != n || t.Len() != n {
			return out, problem.New(problem.Invalid, "The column %q has shape %v; all need the shape [%d] or [%d, 1].", problem.Clip(t.Name, 80), t.Shape, n, n).At(fmt.Sprintf("inputs[%d].shape", i))
		}
	}
	if len(want.Shape) > 0 && want.Shape[0] >= 0 && want.Shape[0] != n {
		return out, problem.New(problem.Invalid, "The columns have %d rows; the model takes %d.", n, want.Shape[0]).At("inputs[0].shape")
	}
	out = tensor.Tensor{Name: want.Name, Shape: []int{n, k}}
	for c, name := range want.Columns {
		i := c // callers mostly send the columns in order
		if in[i].Name != name {
			for i = 0; i < len(in) && in[i].Name != name; i++ {
			}
			if i == len(in) {
				return out, problem.New(problem.Invalid, "The column %q is missing from the request.", problem.Clip(name, 80)).At("inputs")
			}
		}
		t, err := to(&in[i])
		if p, ok := problem.As(err); ok {
			return out, p.At(fmt.Sprintf("inputs[%d].datatype", i))
		}
		if err != nil {
			return out, err
		}
		out.Type = t.Type
		spread(&out.F32, t.F32, c, k)
		spread(&out.F64, t.F64, c, k)
		spread(&out.I64, t.I64, c, k)
		spread(&out.U64, t.U64, c, k)
		spread(&out.B, t.B, c, k)
		spread(&out.S, t.S, c, k)
	}
	return out, nil
}

// spread puts a column into a row-major matrix of width k, made with the first one.
func spread[T any](to *[]T, column []T, c, k int) {
	if column == nil {
		return
	}
	if *to == nil {
		*to = make([]T, len(column)*k)
	}
	for r, v := range column {
		(*to)[r*k+c] = v
	}
}
