package onnx

import (
	"math"

	"keelson/internal/tensor"
)

func identity(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		share(&out[0], in[0], in[0].Shape)
	}, nil
}

// dropout does nothing once a model is trained; its mask is all true.
func dropout(n *node) (kernel, error) {
	if t := n.consts(2); t != nil && t.Type == tensor.Bool && len(t.B) == 1 && t.B[0] {
		n.lacks("training_mode")
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		if len(in) > 2 && in[2] != nil && in[2].Type == tensor.Bool && len(in[2].B) == 1 && in[2].B[0] {
			c.fail("is asked to train")
		}
		share(&out[0], in[0], in[0].Shape)
		if len(out) > 1 {
			m := c.bools(&out[1], in[0].Shape)
			for i := range m {
				m[i] = true
			}
		}
	}, nil
}

// constantOf reads a Constant node.
func constantOf(n *node) (*tensor.Tensor, error) {
	if len(n.attrs) != 1 {
		return nil, broken("a Constant has %d values", len(n.attrs))
	}
	v, _ := n.attr(n.attrs[0].name)
	t := &tensor.Tensor{Shape: []int{}}
	switch n.attrs[0].name {
	case "value":
		t = v.tensor
	case "value_float":
		t.Type, t.F32 = tensor.FP32, []float32{v.f}
	case "value_floats":
		t.Type, t.F32, t.Shape = tensor.FP32, v.floats, []int{len(v.floats)}
	case "value_int":
		t.Type, t.I64 = tensor.Int64, []int64{v.i}
	case "value_ints":
		t.Type, t.I64, t.Shape = tensor.Int64, v.ints, []int{len(v.ints)}
	case "value_string":
		t.Type, t.S = tensor.Bytes, []string{v.s}
	case "value_strings":
		t.Type, t.S, t.Shape = tensor.Bytes, v.texts, []int{len(v.texts)}
	default:
		n.lacks("the attribute %s", clip(n.attrs[0].name))
	}
	if n.err == nil && t == nil {
		n.wrong("its value is missing")
	}
	return t, n.err
}

func reshape(n *node) (kernel, error) {
	keepZero := n.int("allowzero", 0) != 0
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		want := c.whole(in[1], "the shape")
		if len(want) > maxRank {
			c.fail("would make %d dimensions", len(want))
		}
		shape := c.ints(len(want))
		open, known := -1, 1
		for i, d := range want {
			switch {
			case d == -1 && open < 0:
				open = i
				continue
			case d == 0 && !keepZero && i < len(in[0].Shape):
				shape[i] = in[0].Shape[i]
			case d < 0 || d > math.MaxInt32 || d == 0 && !keepZero:
				c.fail("cannot make the shape %v of %v", want, in[0].Shape)
			default:
				shape[i] = int(d)
			}
			if known *= shape[i]; known > 1<<40 {
				c.fail("cannot make the shape %v of %v", want, in[0].Shape)
			}
		}
		if open >= 0 {
			if known == 0 || in[0].Len()%known != 0 {
				if known != 0 || in[0].Len() != 0 {
					c.fail("cannot make the shape %v of %v", want, in[0].Shape)
				}
				known = 1
			}
			shape[open] = in[0].Len() / known
		}
		if c.count(shape) != in[0].Len() {
			c.fail("cannot make the shape %v of %v", want, in[0].Shape)
		}
		share(&out[0], in[0], shape)
	}, nil
}

func flatten(n *node) (kernel, error) {
	axis := n.int("axis", 1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rank := int64(len(in[0].Shape))
		a := axis
		if a < 0 {
			a += rank
		}
		if a < 0 || a > rank {
			c.fail("has axis %d for %d dimensions", axis, rank)
		}
		shape := c.ints(2)
		shape[0], shape[1] = c.count(in[0].Shape[:a]), c.count(in[0].Shape[a:])
		share(&out[0], in[0], shape)
	}, nil
}

// axesOf gives the axes of a node: an attribute in old sets, an input in new ones; nil when there are none.
func axesOf(n *node, input int) func(c *call, in []*tensor.Tensor) ([]int64, bool) {
	fixed, given := n.ints("axes"), n.has("axes")
	return func(c *call, in []*tensor.Tensor) ([]int64, bool) {
		if len(in) > input && in[input] != nil {
			return c.whole(in[input], "axes"), true
		}
		return fixed, given
	}
}

func squeeze(n *node) (kernel, error) {
	axes := axesOf(n, 1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		list, given := axes(c, in)
		old := in[0].Shape
		gone := c.ints(len(old))
		for _, a := range list {
			k := c.axis(a, len(old))
			if old[k] != 1 {
				c.fail("cannot drop dimension %d of the shape %v", k, old)
			}
			gone[k] = 1
		}
		shape := c.ints(len(old))[:0]
		for i, d := range old {
			if gone[i] == 0 && (given || d != 1) {
				shape = append(shape, d)
			}
		}
		share(&out[0], in[0], shape)
	}, nil
}

func unsqueeze(n *node) (kernel, error) {
	axes := axesOf(n, 1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		list, _ := axes(c, in)
		rank := len(in[0].Shape) + len(list)
		if rank > maxRank {
			c.fail("would make %d dimensions", rank)
		}
		shape := c.ints(rank)
		for _, a := range list {
			k := c.axis(a, rank)
			if shape[k] != 0 {
				c.fail("names axis %d twice", k)
			}
			shape[k] = -1
		}
		next := 0
		for i := range shape {
			if shape[i] == -1 {
				shape[i] = 1
			} else {
				shape[i] = in[0].Shape[next]
				next++
			}
		}
		share(&out[0], in[0], shape)
	}, nil
}

func transpose(n *node) (kernel, error) {
	perm := n.ints("perm")
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rank := len(in[0].Shape)
		if perm != nil && len(perm) != rank {
			c.fail("permutes %d dimensions, but there are %d", len(perm), rank)
		}
		step := c.strides(in[0].Shape)
		shape, by, seen := c.ints(rank), operand(c.ints(rank)), c.ints(rank)
		for i := range rank {
			k := rank - 1 - i
			if perm != nil {
				k = c.axis(perm[i], rank)
			}
			if seen[k]++; seen[k] > 1 {
				c.fail("permutes dimension %d twice", k)
			}
			shape[i], by[i] = in[0].Shape[k], step[k]
		}
		c.view(&out[0], in[0], shape, 0, by)
	}, nil
}

func concat(n *node) (kernel, error) {
	axis := n.int("axis", 1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		if in[0] == nil {
			c.fail("lacks an input")
		}
		rank := len(in[0].Shape)
		a := c.axis(axis, rank)
		shape := c.copyOf(in[0].Shape, 0)
		shape[a] = 0
		for _, t := range in {
			if t == nil || t.Type != in[0].Type || len(t.Shape) != rank {
				c.fail("cannot join tensors of different type or rank")
			}
			for i, d := range t.Shape {
				if i != a && d != shape[i] {
					c.fail("cannot join the shapes %v and %v", in[0].Shape, t.Shape)
				}
			}
			shape[a] += t.Shape[a]
		}
		c.like(&out[0], in[0].Type, shape)
		before, behind := around(shape, a)
		to := 0
		for _, t := range in {
			n := t.Shape[a] * behind
			for i := range before {
				block(&out[0], i*shape[a]*behind+to, t, i*n, n)
			}
			to += n
		}
	}, nil
}

func split(n *node) (kernel, error) {
	axis, fixed, parts := n.int("axis", 0), n.ints("split"), len(n.out)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		a := c.axis(axis, len(in[0].Shape))
		whole := in[0].Shape[a]
		sizes := fixed
		if len(in) > 1 && in[1] != nil {
			sizes = c.whole(in[1], "the sizes")
		}
		if sizes != nil && len(sizes) != parts {
			c.fail("has %d sizes for %d outputs", len(sizes), parts)
		}
		before, behind := around(in[0].Shape, a)
		from, each := 0, (whole+parts-1)/parts
		for k := range out {
			n := min(each, whole-from)
			if sizes != nil {
				if n = int(sizes[k]); sizes[k] < 0 || sizes[k] > int64(whole-from) {
					c.fail("cannot cut %d into %v", whole, sizes)
				}
			}
			shape := c.copyOf(in[0].Shape, 0)
			shape[a] = n
			c.like(&out[k], in[0].Type, shape)
			for i := range before {
				block(&out[k], i*n*behind, in[0], (i*whole+from)*behind, n*behind)
			}
			from += n
		}
		if from != whole {
			c.fail("cannot cut %d into %v", whole, sizes)
		}
	}, nil
}

func slice(n *node) (kernel, error) {
	starts, ends, axes := n.ints("starts"), n.ints("ends"), n.ints("axes")
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		starts, ends, axes, steps := starts, ends, axes, []int64(nil)
		if len(in) > 1 {
			starts, ends = c.whole(in[1], "starts"), nil
			if len(in) > 2 {
				ends = c.whole(in[2], "ends")
			}
			if len(in) > 3 && in[3] != nil {
				axes = c.whole(in[3], "axes")
			}
			if len(in) > 4 && in[4] != nil {
				steps = c.whole(in[4], "steps")
			}
		}
		rank := len(in[0].Shape)
		if len(starts) != len(ends) || len(starts) > rank || axes != nil && len(axes) != len(starts) || steps != nil && len(steps) != len(starts) {
			c.fail("has %d starts, %d ends, %d axes and %d steps for %d dimensions", len(starts), len(ends), len(axes), len(steps), rank)
		}
		shape, by, seen := c.copyOf(in[0].Shape, 0), c.strides(in[0].Shape), c.ints(rank)
		offset := 0
		for i := range starts {
			a := i
			if axes != nil {
				a = c.axis(axes[i], rank)
			}
			if seen[a]++; seen[a] > 1 {
				c.fail("cuts dimension %d twice", a)
			}
			d, step := int64(in[0].Shape[a]), int64(1)
			if steps != nil {
				step = steps[i]
			}
			if step == 0 {
				c.fail("has a step of 0")
			}
			from, to := starts[i], ends[i]
			if from < 0 {
				from += d
			}
			if to < 0 && to > math.MinInt32 {
				to += d
			}
			var count int64
			if step > 0 {
				from, to = min(max(from, 0), d), min(max(to, 0), d)
				if to > from {
					count = (to - from - 1 + step) / max(step, 1)
					if step > d {
						count = 1
					}
				}
			} else {
				from, to = min(max(from, 0), d-1), min(max(to, -1), d-1)
				if from > to {
					if step < -d {
						count = 1
					} else {
						count = (from - to - 1 - step) / -step
					}
				}
			}
			shape[a] = int(count)
			if count > 0 {
				offset += int(from) * by[a]
			}
			by[a] *= int(max(min(step, d), -d-1))
		}
		c.view(&out[0], in[0], shape, offset, by)
	}, nil
}

// target reads a shape from an input.
func (c *call) target(t *tensor.Tensor) []int {
	v := c.whole(t, "the shape")
	if len(v) > maxRank {
		c.fail("would make %d dimensions", len(v))
	}
	shape := c.ints(len(v))
	for i, d := range v {
		if d < 0 || d > math.MaxInt32 {
			c.fail("would make the shape %v", v)
		}
		shape[i] = int(d)
	}
	return shape
}

func expand(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		shape, by := c.broadcast(in[0].Shape, c.target(in[1]))
		c.view(&out[0], in[0], shape, 0, by[0])
	}, nil
}

func shapeOf(n *node) (kernel, error) {
	start, end := n.int("start", 0), n.int("end", math.MaxInt32)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rank := int64(len(in[0].Shape))
		from, to := start, end
		if from < 0 {
			from += rank
		}
		if to < 0 {
			to += rank
		}
		from = min(max(from, 0), rank)
		to = min(max(to, from), rank)
		size := c.ints(1)
		size[0] = int(to - from)
		v := c.i64s(&out[0], tensor.Int64, size)
		for i := range v {
			v[i] = int64(in[0].Shape[int(from)+i])
		}
	}, nil
}

func sizeOf(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		c.i64s(&out[0], tensor.Int64, nil)[0] = int64(in[0].Len())
	}, nil
}

func constantOfShape(n *node) (kernel, error) {
	v, _ := n.attr("value")
	fill := v.tensor
	if fill == nil {
		fill = &tensor.Tensor{Type: tensor.FP32, F32: []float32{0}}
	}
	if fill.Len() != 1 {
		n.wrong("its value has %d numbers", fill.Len())
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		c.like(&out[0], fill.Type, c.target(in[0]))
		for i := range out[0].Len() {
			block(&out[0], i, fill, 0, 1)
		}
	}, nil
}

func oneHot(n *node) (kernel, error) {
	axis := n.int("axis", -1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		list, values := in[0], in[2]
		if in[1].Len() != 1 || !in[1].Type.Numeric() || values.Len() != 2 || !list.Type.Numeric() {
			c.fail("needs one depth and two values")
		}
		depth := int(in[1].Float64(0))
		if !(in[1].Float64(0) >= 0 && in[1].Float64(0) < 1<<31) || len(list.Shape) >= maxRank {
			c.fail("has the depth %v", in[1].Float64(0))
		}
		a := c.axis(axis, len(list.Shape)+1)
		shape := append(append(append(c.ints(len(list.Shape) + 1)[:0], list.Shape[:a]...), depth), list.Shape[a:]...)
		c.like(&out[0], values.Type, shape)
		for i := range out[0].Len() {
			block(&out[0], i, values, 0, 1)
		}
		_, behind := around(shape, a)
		for i := range list.Len() {
			k := int64(list.Float64(i))
			if k < 0 {
				k += int64(depth)
			}
			if k >= 0 && k < int64(depth) {
				block(&out[0], (i/behind*depth+int(k))*behind+i%behind, values, 1, 1)
			}
		}
	}, nil
}

func compress(n *node) (kernel, error) {
	axis, flat := n.int("axis", 0), !n.has("axis")
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x, cond := *in[0], in[1]
		if cond.Type != tensor.Bool || len(cond.Shape) != 1 {
			c.fail("needs a list of BOOL")
		}
		a := 0
		if flat {
			x.Shape = c.ints(1)
			x.Shape[0] = x.Len()
		} else {
			a = c.axis(axis, len(x.Shape))
		}
		if len(cond.B) > x.Shape[a] {
			c.fail("has %d conditions for %d values", len(cond.B), x.Shape[a])
		}
		keep := 0
		for _, b := range cond.B {
			if b {
				keep++
			}
		}
		shape := c.copyOf(x.Shape, 0)
		shape[a] = keep
		c.like(&out[0], x.Type, shape)
		before, behind := around(x.Shape, a)
		to := 0
		for i := range before {
			for k, b := range cond.B {
				if b {
					block(&out[0], to, &x, (i*x.Shape[a]+k)*behind, behind)
					to += behind
				}
			}
		}
	}, nil
}

func nonZero(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		hit := func(i int) bool {
			if x.Type == tensor.Bytes {
				return x.S[i] != ""
			}
			return x.Float64(i) != 0
		}
		count := 0
		for i := range x.Len() {
			if hit(i) {
				count++
			}
		}
		rank := max(len(x.Shape), 1)
		shape := c.ints(2)
		shape[0], shape[1] = rank, count
		if len(x.Shape) == 0 {
			shape[0] = 0 // a scalar has no dimensions to point along
		}
		v := c.i64s(&out[0], tensor.Int64, shape)
		if len(v) == 0 {
			return
		}
		next := 0
		for i := range x.Len() {
			if !hit(i) {
				continue
			}
			rest := i
			for d := rank - 1; d >= 0; d-- {
				v[d*count+next] = int64(rest % x.Shape[d])
				rest /= x.Shape[d]
			}
			next++
		}
	}, nil
}

// sequence is Range: from start on in steps, ending before limit.
func sequence(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		for _, t := range in {
			if t.Len() != 1 || !t.Type.Numeric() || t.Type != in[0].Type {
				c.fail("needs three numbers of one type")
			}
		}
		from, to, step := in[0].Float64(0), in[1].Float64(0), in[2].Float64(0)
		n := math.Max(math.Ceil((to-from)/step), 0)
		if !(n < 1<<31) {
			c.fail("counts from %v to %v by %v", from, to, step)
		}
		shape := c.ints(1)
		shape[0] = int(n)
		c.like(&out[0], in[0].Type, shape)
		for i := range int(n) {
			switch o := &out[0]; {
			case o.F32 != nil:
				o.F32[i] = float32(from + float64(i)*step)
			case o.F64 != nil:
				o.F64[i] = from + float64(i)*step
			case o.I64 != nil:
				o.I64[i] = in[0].I64[0] + int64(i)*in[2].I64[0]
			case o.U64 != nil:
				o.U64[i] = in[0].U64[0] + uint64(i)*in[2].U64[0]
			}
		}
	}, nil
}
