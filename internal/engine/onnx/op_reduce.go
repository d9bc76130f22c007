package onnx

import (
	"cmp"
	"math"
	"slices"

	"keelson/internal/tensor"
)

// reduction folds numbers: start, then fold for each value, then end with the count. Sums run in float64, whole numbers
// in int64.
type reduction struct {
	start float64
	fold  func(sum, v float64) float64
	end   func(sum float64, n int) float64
	ints  func(sum, v int64) int64 // nil: whole numbers are refused
	first bool                     // the first value starts the fold (minimum, maximum)
	logs  bool                     // the largest value is taken out before and added after (log of a sum of exponentials)
}

func asIs(v float64, _ int) float64 { return v }

var reductions = map[string]reduction{
	"ReduceSum":       {fold: func(s, v float64) float64 { return s + v }, end: asIs, ints: func(s, v int64) int64 { return s + v }},
	"ReduceMean":      {fold: func(s, v float64) float64 { return s + v }, end: func(s float64, n int) float64 { return s / float64(n) }},
	"ReduceProd":      {start: 1, fold: func(s, v float64) float64 { return s * v }, end: asIs, ints: func(s, v int64) int64 { return s * v }},
	"ReduceMax":       {fold: math.Max, end: asIs, ints: func(s, v int64) int64 { return max(s, v) }, first: true},
	"ReduceMin":       {fold: math.Min, end: asIs, ints: func(s, v int64) int64 { return min(s, v) }, first: true},
	"ReduceSumSquare": {fold: func(s, v float64) float64 { return s + v*v }, end: asIs, ints: func(s, v int64) int64 { return s + v*v }},
	"ReduceL1":        {fold: func(s, v float64) float64 { return s + math.Abs(v) }, end: asIs, ints: func(s, v int64) int64 { return s + max(v, -v) }},
	"ReduceL2":        {fold: func(s, v float64) float64 { return s + v*v }, end: func(s float64, _ int) float64 { return math.Sqrt(s) }},
	"ReduceLogSum":    {fold: func(s, v float64) float64 { return s + v }, end: func(s float64, _ int) float64 { return math.Log(s) }},
	"ReduceLogSumExp": {fold: func(s, v float64) float64 { return s + math.Exp(v) }, end: func(s float64, _ int) float64 { return math.Log(s) }, logs: true},
}

func reduce(n *node) (kernel, error) {
	rule := reductions[n.op]
	axes, keep, idle := axesOf(n, 1), n.int("keepdims", 1) != 0, n.int("noop_with_empty_axes", 0) != 0
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x, rank := in[0], len(in[0].Shape)
		list, _ := axes(c, in)
		if len(list) == 0 && idle {
			share(&out[0], x, x.Shape)
			return
		}
		over := c.ints(rank)
		for i := range over {
			if len(list) == 0 {
				over[i] = 1
			}
		}
		for _, a := range list {
			over[c.axis(a, rank)] = 1
		}
		shape, by := c.ints(rank)[:0], operand(c.ints(rank))
		size, step := 1, 1
		for i := rank - 1; i >= 0; i-- {
			if over[i] != 0 {
				size *= x.Shape[i]
				continue
			}
			by[i] = step
			step *= x.Shape[i]
		}
		for i, d := range x.Shape {
			if over[i] == 0 {
				shape = append(shape, d)
			} else if keep {
				shape = append(shape, 1)
			}
		}
		c.tick(2 * x.Len())
		whole := x.Type >= tensor.Int8 && x.Type <= tensor.Int64
		if rule.first && size == 0 && c.count(shape) > 0 {
			c.fail("has no values to compare")
		}
		if whole && rule.ints != nil {
			v := c.i64s(&out[0], x.Type, shape)
			for i := range v {
				v[i] = int64(rule.start)
			}
			foldInto(c, x, by, rule.first, v, x.I64, rule.ints)
			for i := range v {
				v[i] = wrapInt(x.Type, v[i])
			}
			return
		}
		if x.Type != tensor.FP32 && x.Type != tensor.FP64 && !(whole && n.op == "ReduceMean") {
			c.fail("does not take %s", x.Type)
		}
		if x.Type == tensor.FP32 && size > 0 && x.Len() > 0 && (n.op == "ReduceSum" || n.op == "ReduceMean") && addUp(x.F32, over, size, func() []float32 { return c.f32s(&out[0], shape) }) {
			if n.op == "ReduceMean" {
				for i := range out[0].F32 {
					out[0].F32[i] /= float32(size)
				}
			}
			return
		}
		var source, sums, top tensor.Tensor
		c.doubles(&source, x)
		s := c.f64s(&sums, shape)
		if rule.logs {
			m := c.f64s(&top, shape)
			foldInto(c, x, by, true, m, source.F64, math.Max)
			for i := range m {
				if math.IsInf(m[i], 0) || m[i] != m[i] {
					m[i] = 0
				}
			}
			c.lines(x.Shape, [3]operand{by}, func(o int, at [3]int, n int) {
				for i := range n {
					k := at[0] + i*by.last()
					s[k] += math.Exp(source.F64[o+i] - m[k])
				}
			})
			for i := range s {
				s[i] = math.Log(s[i]) + m[i]
			}
		} else {
			for i := range s {
				s[i] = rule.start
			}
			foldInto(c, x, by, rule.first, s, source.F64, rule.fold)
			for i := range s {
				s[i] = rule.end(s[i], size)
			}
		}
		c.cast(&out[0], &sums, x.Type)
	}, nil
}

// addUp sums float32 in onnxruntime's order, where the reduced dimensions are the first or the last ones: whole rows one
// after the other, and along a row as Eigen does with vectors of four, which begin where memory is aligned.
func addUp(x []float32, over []int, size int, out func() []float32) bool {
	turns := 0
	for i := 1; i < len(over); i++ {
		if over[i] != over[i-1] {
			turns++
		}
	}
	if turns > 1 {
		return false
	}
	v := out()
	if len(over) == 0 || over[len(over)-1] == 0 {
		for i := 0; i < len(x); i += len(v) {
			for k, a := range x[i : i+len(v)] {
				v[k] += a
			}
		}
		return true
	}
	for i := range v {
		v[i] = vectorSum(x[i*size:(i+1)*size], -i*size&3)
	}
	return true
}

// vectorSum adds two vectors of four in turn, from start on, then what is left before and behind.
func vectorSum(x []float32, start int) float32 {
	body := x[min(start, len(x)):]
	vectors := len(body) / 4
	var s float32
	if vectors > 0 {
		var a, b [4]float32
		copy(a[:], body)
		if vectors > 1 {
			copy(b[:], body[4:])
			k := 2
			for ; k+2 <= vectors; k += 2 {
				for l := range a {
					a[l] += body[4*k+l]
					b[l] += body[4*k+4+l]
				}
			}
			for l := range a {
				if a[l] += b[l]; k < vectors {
					a[l] += body[4*k+l]
				}
			}
		}
		s = (a[0] + a[2]) + (a[1] + a[3])
		for _, f := range x[:start] {
			s += f
		}
		body = body[4*vectors:]
	} else {
		body = x
	}
	for _, f := range body {
		s += f
	}
	return s
}

// foldInto folds values into the results that by points to.
func foldInto[T number](c *call, x *tensor.Tensor, by operand, first bool, into, values []T, fold func(s, v T) T) {
	var seen []bool
	if first {
		c.spend(len(into), 1)
		seen = c.b.take(len(into))
	}
	step := by.last()
	c.lines(x.Shape, [3]operand{by}, func(o int, at [3]int, n int) {
		for i := range n {
			k := at[0] + i*step
			if first && !seen[k] {
				seen[k], into[k] = true, values[o+i]
				continue
			}
			into[k] = fold(into[k], values[o+i])
		}
	})
}

// extreme is ArgMax and ArgMin.
func extreme(n *node) (kernel, error) {
	axis, keep, last, small := n.int("axis", 0), n.int("keepdims", 1) != 0, n.int("select_last_index", 0) != 0, n.op == "ArgMin"
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if !x.Type.Numeric() {
			c.fail("does not take %s", x.Type)
		}
		a := c.axis(axis, len(x.Shape))
		shape := c.ints(len(x.Shape))[:0]
		for i, d := range x.Shape {
			if i != a {
				shape = append(shape, d)
			} else if keep {
				shape = append(shape, 1)
			}
		}
		v := c.i64s(&out[0], tensor.Int64, shape)
		before, behind := around(x.Shape, a)
		d := x.Shape[a]
		if d == 0 && len(v) > 0 {
			c.fail("has no values to compare")
		}
		for i := range before {
			for j := range behind {
				best := 0
				for k := 1; k < d; k++ {
					p, q := (i*d+k)*behind+j, (i*d+best)*behind+j
					var above, equal bool
					if x.I64 != nil {
						above, equal = x.I64[p] > x.I64[q], x.I64[p] == x.I64[q]
					} else {
						f, g := x.Float64(p), x.Float64(q)
						above, equal = f > g, f == g
					}
					if small {
						above = !above && !equal && !(x.I64 == nil && (x.Float64(p) != x.Float64(p) || x.Float64(q) != x.Float64(q)))
					}
					if above || equal && last {
						best = k
					}
				}
				v[i*behind+j] = int64(best)
			}
		}
		c.tick(2 * x.Len())
	}, nil
}

func topK(n *node) (kernel, error) {
	axis, largest, fixed := n.int("axis", -1), n.int("largest", 1) != 0, n.int("k", -1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x, k := in[0], fixed
		if len(in) > 1 {
			k = c.one(in[1], "k")
		}
		if !x.Type.Numeric() {
			c.fail("does not take %s", x.Type)
		}
		a := c.axis(axis, len(x.Shape))
		d := x.Shape[a]
		if k < 0 || k > int64(d) {
			c.fail("asks for %d of %d values", k, d)
		}
		shape := c.copyOf(x.Shape, 0)
		shape[a] = int(k)
		c.like(&out[0], x.Type, shape)
		var spare tensor.Tensor
		at := &spare
		if len(out) > 1 {
			at = &out[1]
		}
		positions := c.i64s(at, tensor.Int64, shape)
		before, behind := around(x.Shape, a)
		order := c.ints(d)
		for i := range before {
			for j := range behind {
				for p := range order {
					order[p] = p
				}
				slices.SortFunc(order, func(p, q int) int {
					f, g := (i*d+p)*behind+j, (i*d+q)*behind+j
					var r int
					if x.I64 != nil {
						r = cmp.Compare(x.I64[f], x.I64[g])
					} else {
						r = cmp.Compare(x.Float64(f), x.Float64(g))
					}
					if largest {
						r = -r
					}
					if r == 0 {
						return p - q
					}
					return r
				})
				for p := range int(k) {
					to := (i*int(k)+p)*behind + j
					block(&out[0], to, x, (i*d+order[p])*behind+j, 1)
					positions[to] = int64(order[p])
				}
				c.tick(8 * d)
			}
		}
	}, nil
}

func cumSum(n *node) (kernel, error) {
	exclusive, reverse := n.int("exclusive", 0) != 0, n.int("reverse", 0) != 0
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if len(x.Shape) == 0 {
			c.fail("needs at least one dimension")
		}
		a := c.axis(c.one(in[1], "the axis"), len(x.Shape))
		c.like(&out[0], x.Type, x.Shape)
		before, behind := around(x.Shape, a)
		d := x.Shape[a]
		switch x.Type {
		case tensor.FP32:
			running(x.F32, out[0].F32, before, d, behind, exclusive, reverse)
		case tensor.FP64:
			running(x.F64, out[0].F64, before, d, behind, exclusive, reverse)
		case tensor.Int64, tensor.Int32:
			running(x.I64, out[0].I64, before, d, behind, exclusive, reverse)
			for i, v := range out[0].I64 {
				out[0].I64[i] = wrapInt(x.Type, v)
			}
		default:
			c.fail("does not take %s", x.Type)
		}
	}, nil
}

func running[T number](x, out []T, before, d, behind int, exclusive, reverse bool) {
	for i := range before {
		for j := range behind {
			var sum T
			for k := range d {
				if reverse {
					k = d - 1 - k
				}
				p := (i*d+k)*behind + j
				if exclusive {
					out[p] = sum
				}
				sum += x[p]
				if !exclusive {
					out[p] = sum
				}
			}
		}
	}
}

// softmax covers Softmax, LogSoftmax and Hardmax. Up to opset 12 everything from the axis on is one row.
func softmax(n *node) (kernel, error) {
	old := n.opset < 13
	axis := n.int("axis", -1)
	if old {
		axis = n.int("axis", 1)
	}
	op := n.op
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if len(x.Shape) == 0 {
			c.fail("needs at least one dimension")
		}
		a := c.axis(axis, len(x.Shape))
		before, behind := around(x.Shape, a)
		d := x.Shape[a]
		if old {
			d, behind = d*behind, 1
		}
		c.tick(16 * x.Len())
		switch x.Type {
		case tensor.FP32:
			soft(op, x.F32, c.f32s(&out[0], x.Shape), before, d, behind)
		case tensor.FP64:
			soft(op, x.F64, c.f64s(&out[0], x.Shape), before, d, behind)
		default:
			c.fail("does not take %s", x.Type)
		}
	}, nil
}

func soft[T float32 | float64](op string, x, out []T, before, d, behind int) {
	for i := range before {
		for j := range behind {
			if d == 0 {
				continue
			}
			first := i*d*behind + j
			best := first
			for k := range d {
				if p := first + k*behind; x[p] > x[best] {
					best = p
				}
			}
			if op == "Hardmax" {
				out[best] = 1
				continue
			}
			top, sum := float64(x[best]), 0.0
			for k := range d {
				sum += math.Exp(float64(x[first+k*behind]) - top)
			}
			for k := range d {
				v := float64(x[first+k*behind]) - top
				if op == "LogSoftmax" {
					out[first+k*behind] = T(v - math.Log(sum))
				} else {
					out[first+k*behind] = T(math.Exp(v) / sum)
				}
			}
		}
	}
}
