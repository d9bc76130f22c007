package onnx

import (
	"slices"

	"keelson/internal/tensor"
)

// Making values: each of these gives out its type and shape and a zeroed slice for its values.

func (c *call) f32s(out *tensor.Tensor, shape []int) []float32 {
	n := c.count(shape)
	c.spend(n, 4)
	out.Type, out.Shape, out.F32 = tensor.FP32, shape, c.f32.take(n)
	return out.F32
}

func (c *call) f64s(out *tensor.Tensor, shape []int) []float64 {
	n := c.count(shape)
	c.spend(n, 8)
	out.Type, out.Shape, out.F64 = tensor.FP64, shape, c.f64.take(n)
	return out.F64
}

func (c *call) i64s(out *tensor.Tensor, t tensor.Type, shape []int) []int64 {
	n := c.count(shape)
	c.spend(n, 8)
	out.Type, out.Shape, out.I64 = t, shape, c.i64.take(n)
	return out.I64
}

func (c *call) u64s(out *tensor.Tensor, t tensor.Type, shape []int) []uint64 {
	n := c.count(shape)
	c.spend(n, 8)
	out.Type, out.Shape, out.U64 = t, shape, c.u64.take(n)
	return out.U64
}

func (c *call) bools(out *tensor.Tensor, shape []int) []bool {
	n := c.count(shape)
	c.spend(n, 1)
	out.Type, out.Shape, out.B = tensor.Bool, shape, c.b.take(n)
	return out.B
}

func (c *call) strings(out *tensor.Tensor, shape []int) []string {
	n := c.count(shape)
	c.spend(n, 16)
	out.Type, out.Shape, out.S = tensor.Bytes, shape, c.s.take(n)
	return out.S
}

// like makes a tensor of any type.
func (c *call) like(out *tensor.Tensor, t tensor.Type, shape []int) {
	switch t {
	case tensor.FP32:
		c.f32s(out, shape)
	case tensor.FP64:
		c.f64s(out, shape)
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		c.i64s(out, t, shape)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		c.u64s(out, t, shape)
	case tensor.Bool:
		c.bools(out, shape)
	default:
		c.strings(out, shape)
	}
}

// ints takes numbers for shapes and indices.
func (c *call) ints(n int) []int {
	c.spend(n, 8)
	return c.dims.take(n)
}

// count multiplies a shape; one that is too large for any memory ends the call.
func (c *call) count(shape []int) int {
	n := 1
	for _, d := range shape {
		if d < 0 {
			c.fail("would make the shape %v", shape)
		}
		if d > 0 && n > (1<<40)/d {
			c.spend(1<<40, 1)
		}
		n *= d
	}
	return n
}

// share lets out hold in's values under another shape.
func share(out, in *tensor.Tensor, shape []int) {
	*out = *in
	out.Name, out.Shape = "", shape
}

// copyOf gives a shape of its own that may be changed.
func (c *call) copyOf(shape []int, more int) []int {
	s := c.ints(len(shape) + more)
	copy(s, shape)
	return s[:len(shape)]
}

// axis turns a possibly negative axis into a position below rank.
func (c *call) axis(a int64, rank int) int {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		c.fail("has axis %d for %d dimensions", a, rank)
	}
	return int(a)
}

// around gives the product of the dimensions before and behind an axis.
func around(shape []int, axis int) (before, behind int) {
	before, behind = 1, 1
	for i, d := range shape {
		if i < axis {
			before *= d
		} else if i > axis {
			behind *= d
		}
	}
	return before, behind
}

// whole gives the values of an INT64 or INT32 tensor, such as a list of axes.
func (c *call) whole(t *tensor.Tensor, what string) []int64 {
	if t == nil || t.Type != tensor.Int64 && t.Type != tensor.Int32 {
		c.fail("needs %s as INT64 or INT32", what)
	}
	return t.I64
}

// one gives the only number of a tensor.
func (c *call) one(t *tensor.Tensor, what string) int64 {
	v := c.whole(t, what)
	if len(v) != 1 {
		c.fail("needs one number as %s, not %d", what, len(v))
	}
	return v[0]
}

// operand is a tensor seen through strides: shape comes from elsewhere, a stride of 0 repeats.
type operand []int

// broadcast gives the common shape of its arguments, by the rules of numpy, and each one's strides over it.
func (c *call) broadcast(shapes ...[]int) ([]int, [3]operand) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := c.ints(rank)
	for i := range out {
		out[i] = 1
		for _, s := range shapes {
			k := i - rank + len(s)
			if k < 0 || s[k] == 1 {
				continue
			}
			if out[i] != 1 && out[i] != s[k] {
				c.fail("cannot combine the shapes %v", shapes)
			}
			out[i] = s[k]
		}
	}
	var views [3]operand
	for k, s := range shapes {
		v := c.ints(rank)
		step := 1
		for i := len(s) - 1; i >= 0; i-- {
			if s[i] != 1 {
				v[i+rank-len(s)] = step
			}
			step *= s[i]
		}
		views[k] = v
	}
	return out, views
}

// lines visits a shape along its last dimension: o is the offset in the row-major result, at the offsets in three
// operands, n the length of the line. Strides within the line are the last of each operand.
func (c *call) lines(shape []int, by [3]operand, visit func(o int, at [3]int, n int)) {
	rank := len(shape)
	if rank == 0 {
		visit(0, [3]int{}, 1)
		return
	}
	if c.count(shape) == 0 {
		return
	}
	n := shape[rank-1]
	index := c.ints(rank)
	var at [3]int
	for o := 0; ; o += n {
		visit(o, at, n)
		d := rank - 2
		for ; d >= 0; d-- {
			index[d]++
			for k := range by {
				if by[k] != nil {
					at[k] += by[k][d]
				}
			}
			if index[d] < shape[d] {
				break
			}
			for k := range by {
				if by[k] != nil {
					at[k] -= by[k][d] * shape[d]
				}
			}
			index[d] = 0
		}
		if d < 0 {
			return
		}
	}
}

func (o operand) last() int {
	if len(o) == 0 {
		return 0
	}
	return o[len(o)-1]
}

// combine computes out[i] = f(x[i], y[i]) over broadcast shapes.
func combine[T, R any](c *call, x, y []T, shape []int, by [3]operand, out []R, f func(a, b T) R) {
	switch {
	case len(x) == len(out) && len(y) == len(out): // a broadcast to more dimensions of length 1 is none
		for i := range out {
			out[i] = f(x[i], y[i])
		}
	case len(y) == 1 && len(x) == len(out):
		for i := range out {
			out[i] = f(x[i], y[0])
		}
	default:
		sx, sy := by[0].last(), by[1].last()
		c.lines(shape, by, func(o int, at [3]int, n int) {
			p, q := at[0], at[1]
			for i := range n {
				out[o+i] = f(x[p], y[q])
				p += sx
				q += sy
			}
		})
	}
}

// strides gives the row-major strides of a shape.
func (c *call) strides(shape []int) operand {
	s := c.ints(len(shape))
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = step
		step *= shape[i]
	}
	return s
}

// view fills out, of the given shape and in's type, with in's values from offset on along strides, which may be 0 or
// negative.
func (c *call) view(out, in *tensor.Tensor, shape []int, offset int, by operand) {
	c.like(out, in.Type, shape)
	switch {
	case out.F32 != nil:
		pull(c, out.F32, in.F32, shape, offset, by)
	case out.F64 != nil:
		pull(c, out.F64, in.F64, shape, offset, by)
	case out.I64 != nil:
		pull(c, out.I64, in.I64, shape, offset, by)
	case out.U64 != nil:
		pull(c, out.U64, in.U64, shape, offset, by)
	case out.B != nil:
		pull(c, out.B, in.B, shape, offset, by)
	case out.S != nil:
		pull(c, out.S, in.S, shape, offset, by)
	}
}

func pull[T any](c *call, out, in []T, shape []int, offset int, by operand) {
	step := by.last()
	c.lines(shape, [3]operand{by}, func(o int, at [3]int, n int) {
		p := offset + at[0]
		for i := range n {
			out[o+i] = in[p]
			p += step
		}
	})
}

// block copies n values of one type.
func block(out *tensor.Tensor, to int, in *tensor.Tensor, from, n int) {
	switch {
	case n == 0:
	case in.F32 != nil:
		copy(out.F32[to:to+n], in.F32[from:from+n])
	case in.F64 != nil:
		copy(out.F64[to:to+n], in.F64[from:from+n])
	case in.I64 != nil:
		copy(out.I64[to:to+n], in.I64[from:from+n])
	case in.U64 != nil:
		copy(out.U64[to:to+n], in.U64[from:from+n])
	case in.B != nil:
		copy(out.B[to:to+n], in.B[from:from+n])
	case in.S != nil:
		copy(out.S[to:to+n], in.S[from:from+n])
	}
}

// numbers gives the values of a numeric tensor as float32, converted where they are not; so do the ai.onnx.ml operators.
func (c *call) numbers(t *tensor.Tensor) []float32 {
	if t.Type == tensor.FP32 {
		return t.F32
	}
	c.spend(t.Len(), 4)
	v := c.f32.take(t.Len())
	if !t.CopyFloat32(v, 0, 1) {
		c.fail("needs numbers, not BYTES")
	}
	return v
}

// matrix reads a tensor as rows; one dimension is a single row.
func (c *call) matrix(t *tensor.Tensor) (rows, width int) {
	switch len(t.Shape) {
	case 1:
		return 1, t.Shape[0]
	case 2:
		return t.Shape[0], t.Shape[1]
	}
	c.fail("takes a matrix, not the shape %v", t.Shape)
	return 0, 0
}

func sameShape(a, b []int) bool { return slices.Equal(a, b) }
