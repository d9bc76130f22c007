package onnx

import (
	"math"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// number is what arithmetic works on.
type number interface {
	float32 | float64 | int64 | uint64
}

// arithmetic is one operation over the four kinds of numbers; a nil one is refused.
type arithmetic struct {
	f32 func(a, b float32) float32
	f64 func(a, b float64) float64
	i64 func(a, b int64) int64
	u64 func(a, b uint64) uint64
}

func (k *arithmetic) apply(c *call, x, y *tensor.Tensor, out *tensor.Tensor) {
	if x.Type != y.Type {
		c.fail("cannot combine %s with %s", x.Type, y.Type)
	}
	shape, by := x.Shape, [3]operand{}
	if !sameShape(x.Shape, y.Shape) {
		shape, by = c.broadcast(x.Shape, y.Shape)
	}
	switch {
	case x.Type == tensor.FP32 && k.f32 != nil:
		combine(c, x.F32, y.F32, shape, by, c.f32s(out, shape), k.f32)
	case x.Type == tensor.FP64 && k.f64 != nil:
		combine(c, x.F64, y.F64, shape, by, c.f64s(out, shape), k.f64)
	case x.Type >= tensor.Int8 && x.Type <= tensor.Int64 && k.i64 != nil:
		v := c.i64s(out, x.Type, shape)
		combine(c, x.I64, y.I64, shape, by, v, k.i64)
		if x.Type != tensor.Int64 {
			for i := range v {
				v[i] = wrapInt(x.Type, v[i])
			}
		}
	case x.Type >= tensor.Uint8 && x.Type <= tensor.Uint64 && k.u64 != nil:
		v := c.u64s(out, x.Type, shape)
		combine(c, x.U64, y.U64, shape, by, v, k.u64)
		if x.Type != tensor.Uint64 {
			for i := range v {
				v[i] = wrapUint(x.Type, v[i])
			}
		}
	default:
		c.fail("does not take %s", x.Type)
	}
	c.tick(out.Len())
}

func two(k arithmetic) operator {
	return operator{2, 2, 1, func(*node) (kernel, error) {
		return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) { k.apply(c, in[0], in[1], &out[0]) }, nil
	}}
}

// many folds any number of inputs; with mean the sum is divided by their number.
func many(k arithmetic, mean bool) operator {
	return operator{1, -1, 1, func(*node) (kernel, error) {
		return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
			share(&out[0], in[0], in[0].Shape)
			for _, t := range in[1:] {
				if t == nil {
					c.fail("lacks an input")
				}
				var next tensor.Tensor
				k.apply(c, &out[0], t, &next)
				out[0] = next
			}
			if !mean || len(in) == 1 {
				return
			}
			by := float64(len(in))
			for i, v := range out[0].F32 {
				out[0].F32[i] = v / float32(by)
			}
			for i, v := range out[0].F64 {
				out[0].F64[i] = v / by
			}
		}, nil
	}}
}

func add[T number](a, b T) T { return a + b }
func sub[T number](a, b T) T { return a - b }
func mul[T number](a, b T) T { return a * b }
func div[T number](a, b T) T { return a / b }
func lesser[T number](a, b T) T {
	return min(a, b)
}
func greater[T number](a, b T) T {
	return max(a, b)
}

// divided is the division of whole numbers; one by zero has no answer.
func divided[T int64 | uint64](a, b T) T {
	if b == 0 {
		panic(abort{errZero})
	}
	return a / b
}

var (
	sum     = arithmetic{add[float32], add[float64], add[int64], add[uint64]}
	product = arithmetic{mul[float32], mul[float64], mul[int64], mul[uint64]}
	least   = arithmetic{lesser[float32], lesser[float64], lesser[int64], lesser[uint64]}
	most    = arithmetic{greater[float32], greater[float64], greater[int64], greater[uint64]}
	minus   = arithmetic{sub[float32], sub[float64], sub[int64], sub[uint64]}
	over    = arithmetic{div[float32], div[float64], divided[int64], divided[uint64]}
)

// modulo follows the sign of the divisor, or, with fmod, of the dividend.
func modulo(n *node) (kernel, error) {
	k := arithmetic{i64: func(a, b int64) int64 {
		if b == 0 {
			panic(abort{errZero})
		}
		if r := a % b; r != 0 && (r < 0) != (b < 0) {
			return r + b
		} else {
			return r
		}
	}, u64: func(a, b uint64) uint64 {
		if b == 0 {
			panic(abort{errZero})
		}
		return a % b
	}}
	if n.int("fmod", 0) != 0 {
		k = arithmetic{
			f32: func(a, b float32) float32 { return float32(math.Mod(float64(a), float64(b))) }, f64: math.Mod, u64: k.u64,
			i64: func(a, b int64) int64 {
				if b == 0 {
					panic(abort{errZero})
				}
				return a % b
			},
		}
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) { k.apply(c, in[0], in[1], &out[0]) }, nil
}

// power takes an exponent of any numeric type; the answer has the base's type.
func power(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x, e := in[0], in[1]
		if !x.Type.Numeric() || !e.Type.Numeric() {
			c.fail("does not take %s and %s", x.Type, e.Type)
		}
		shape, by := c.broadcast(x.Shape, e.Shape)
		var a, b, r tensor.Tensor
		c.doubles(&a, x)
		c.doubles(&b, e)
		f := math.Pow
		if len(b.F64) == 1 && b.F64[0] == 2 {
			f = func(a, _ float64) float64 { return a * a }
		} else if len(b.F64) == 1 && b.F64[0] == 3 {
			if f = func(a, _ float64) float64 { return a * a * a }; x.Type == tensor.FP32 {
				f = func(a, _ float64) float64 { return float64(float32(float32(a*a)) * float32(a)) }
			}
		}
		combine(c, a.F64, b.F64, shape, by, c.f64s(&r, shape), f)
		c.cast(&out[0], &r, x.Type)
		c.tick(8 * r.Len())
	}, nil
}

// doubles gives a number's values as float64.
func (c *call) doubles(out, in *tensor.Tensor) {
	if in.Type == tensor.FP64 {
		*out = *in
		return
	}
	v := c.f64s(out, in.Shape)
	for i := range v {
		v[i] = in.Float64(i)
	}
}

// compare gives BOOL; words says whether it takes text and truth values too.
func compare(f32 func(a, b float32) bool, f64 func(a, b float64) bool, i64 func(a, b int64) bool, u64 func(a, b uint64) bool, words bool) operator {
	return operator{2, 2, 1, func(*node) (kernel, error) {
		return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
			x, y := in[0], in[1]
			if x.Type != y.Type {
				c.fail("cannot compare %s with %s", x.Type, y.Type)
			}
			shape, by := c.broadcast(x.Shape, y.Shape)
			v := c.bools(&out[0], shape)
			switch {
			case x.Type == tensor.FP32:
				combine(c, x.F32, y.F32, shape, by, v, f32)
			case x.Type == tensor.FP64:
				combine(c, x.F64, y.F64, shape, by, v, f64)
			case x.Type >= tensor.Int8 && x.Type <= tensor.Int64:
				combine(c, x.I64, y.I64, shape, by, v, i64)
			case x.Type >= tensor.Uint8 && x.Type <= tensor.Uint64:
				combine(c, x.U64, y.U64, shape, by, v, u64)
			case x.Type == tensor.Bool && words:
				combine(c, x.B, y.B, shape, by, v, func(a, b bool) bool { return a == b })
			case x.Type == tensor.Bytes && words:
				combine(c, x.S, y.S, shape, by, v, func(a, b string) bool { return a == b })
			default:
				c.fail("does not take %s", x.Type)
			}
		}, nil
	}}
}

func eq[T comparable](a, b T) bool { return a == b }
func lt[T number](a, b T) bool     { return a < b }
func le[T number](a, b T) bool     { return a <= b }
func gt[T number](a, b T) bool     { return a > b }
func ge[T number](a, b T) bool     { return a >= b }

func logic(f func(a, b bool) bool) operator {
	return operator{2, 2, 1, func(*node) (kernel, error) {
		return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
			if in[0].Type != tensor.Bool || in[1].Type != tensor.Bool {
				c.fail("takes BOOL")
			}
			shape, by := c.broadcast(in[0].Shape, in[1].Shape)
			combine(c, in[0].B, in[1].B, shape, by, c.bools(&out[0], shape), f)
		}, nil
	}}
}

// each computes a function of one floating number; f32 goes through float64.
func each(f func(float64) float64) operator {
	return operator{1, 1, 1, func(*node) (kernel, error) { return eachKernel(f), nil }}
}

func eachKernel(f func(float64) float64) kernel { return eachOf(nil, f) }

// eachOf computes FP32 by f32, or by f where it is nil, and FP64 by f.
func eachOf(f32 func(float32) float32, f func(float64) float64) kernel {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		switch x.Type {
		case tensor.FP32:
			v := c.f32s(&out[0], x.Shape)
			for i, a := range x.F32 {
				if f32 != nil {
					v[i] = f32(a)
				} else {
					v[i] = float32(f(float64(a)))
				}
			}
		case tensor.FP64:
			v := c.f64s(&out[0], x.Shape)
			for i, a := range x.F64 {
				v[i] = f(a)
			}
		default:
			c.fail("does not take %s", x.Type)
		}
		c.tick(8 * x.Len())
	}
}

// any computes a function that whole numbers have too.
func any1(f func(float64) float64, i64 func(int64) int64, unsigned func(uint64) uint64) operator {
	floats := eachKernel(f)
	return operator{1, 1, 1, func(*node) (kernel, error) {
		return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
			x := in[0]
			switch {
			case x.Type >= tensor.Int8 && x.Type <= tensor.Int64:
				v := c.i64s(&out[0], x.Type, x.Shape)
				for i, a := range x.I64 {
					v[i] = wrapInt(x.Type, i64(a))
				}
			case x.Type >= tensor.Uint8 && x.Type <= tensor.Uint64:
				v := c.u64s(&out[0], x.Type, x.Shape)
				for i, a := range x.U64 {
					v[i] = unsigned(a)
				}
			default:
				floats(c, in, out)
			}
		}, nil
	}}
}

// shaped is a function of one number with parameters from the node.
func shaped(build func(n *node) func(float64) float64) operator {
	return operator{1, 1, 1, func(n *node) (kernel, error) { return eachKernel(build(n)), nil }}
}

func relu(v float64) float64 {
	if v < 0 {
		return 0
	}
	return v
}

func sigmoid(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return v // 0 and NaN
}

func softplus(v float64) float64 {
	if v > 0 {
		return v + math.Log1p(math.Exp(-v))
	}
	return math.Log1p(math.Exp(v))
}

// test asks something of a floating number.
func test(build func(n *node) func(float64) bool) operator {
	return operator{1, 1, 1, func(n *node) (kernel, error) {
		f := build(n)
		return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
			v := c.bools(&out[0], in[0].Shape)
			switch in[0].Type {
			case tensor.FP32, tensor.FP64:
			default:
				c.fail("does not take %s", in[0].Type)
			}
			for i := range v {
				v[i] = f(in[0].Float64(i))
			}
		}, nil
	}}
}

func not(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		if in[0].Type != tensor.Bool {
			c.fail("takes BOOL")
		}
		v := c.bools(&out[0], in[0].Shape)
		for i, b := range in[0].B {
			v[i] = !b
		}
	}, nil
}

// clipped bounds values; the bounds are attributes up to opset 10, inputs after.
func clipped(n *node) (kernel, error) {
	low, hasLow := n.attr("min")
	high, hasHigh := n.attr("max")
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		share(&out[0], in[0], in[0].Shape)
		bound := func(k int, given bool, f float32, rule arithmetic) {
			var t tensor.Tensor
			switch {
			case len(in) > k && in[k] != nil:
				if in[k].Len() != 1 {
					c.fail("has a bound of %d values", in[k].Len())
				}
				share(&t, in[k], nil)
			case given:
				c.f32s(&t, nil)[0] = f
			default:
				return
			}
			var next tensor.Tensor
			rule.apply(c, &out[0], &t, &next)
			out[0] = next
		}
		bound(1, hasLow, low.f, most)
		bound(2, hasHigh, high.f, least)
	}, nil
}

func where(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		cond, x, y := in[0], in[1], in[2]
		if cond.Type != tensor.Bool || x.Type != y.Type {
			c.fail("cannot choose between %s and %s by %s", x.Type, y.Type, cond.Type)
		}
		shape, by := c.broadcast(cond.Shape, x.Shape, y.Shape)
		c.like(&out[0], x.Type, shape)
		o := &out[0]
		switch {
		case o.F32 != nil:
			choose(c, cond.B, x.F32, y.F32, o.F32, shape, by)
		case o.F64 != nil:
			choose(c, cond.B, x.F64, y.F64, o.F64, shape, by)
		case o.I64 != nil:
			choose(c, cond.B, x.I64, y.I64, o.I64, shape, by)
		case o.U64 != nil:
			choose(c, cond.B, x.U64, y.U64, o.U64, shape, by)
		case o.B != nil:
			choose(c, cond.B, x.B, y.B, o.B, shape, by)
		case o.S != nil:
			choose(c, cond.B, x.S, y.S, o.S, shape, by)
		}
	}, nil
}

func choose[T any](c *call, cond []bool, x, y, out []T, shape []int, by [3]operand) {
	sc, sx, sy := by[0].last(), by[1].last(), by[2].last()
	c.lines(shape, by, func(o int, at [3]int, n int) {
		for i := range n {
			if cond[at[0]+i*sc] {
				out[o+i] = x[at[1]+i*sx]
			} else {
				out[o+i] = y[at[2]+i*sy]
			}
		}
	})
}

var errZero = problem.New(problem.Invalid, "The model cannot answer these inputs: it would divide a whole number by zero.").At("inputs")
