package onnx

import (
	"keelson/internal/tensor"
)

// indices gives a tensor's values as positions below limit; negative ones count from the end.
func (c *call) indices(t *tensor.Tensor, limit int) []int64 {
	v := c.whole(t, "indices")
	c.spend(len(v), 8)
	out := c.i64.take(len(v))
	for i, k := range v {
		if k < 0 {
			k += int64(limit)
		}
		if k < 0 || k >= int64(limit) {
			c.fail("asks for position %d of %d", v[i], limit)
		}
		out[i] = k
	}
	return out
}

func gather(n *node) (kernel, error) {
	axis := n.int("axis", 0)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		old := in[0].Shape
		a := c.axis(axis, len(old))
		list := c.indices(in[1], old[a])
		if len(old)-1+len(in[1].Shape) > maxRank {
			c.fail("would make %d dimensions", len(old)-1+len(in[1].Shape))
		}
		shape := c.ints(len(old) - 1 + len(in[1].Shape))[:0]
		shape = append(append(append(shape, old[:a]...), in[1].Shape...), old[a+1:]...)
		c.like(&out[0], in[0].Type, shape)
		before, behind := around(old, a)
		to := 0
		for i := range before {
			for _, k := range list {
				block(&out[0], to, in[0], (i*old[a]+int(k))*behind, behind)
				to += behind
			}
		}
		c.tick(before * len(list))
	}, nil
}

func gatherElements(n *node) (kernel, error) {
	axis := n.int("axis", 0)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		old, rank := in[0].Shape, len(in[0].Shape)
		a := c.axis(axis, rank)
		list := c.indices(in[1], old[a])
		shape := in[1].Shape
		c.within(shape, old, a)
		c.like(&out[0], in[0].Type, shape)
		by := c.strides(old)
		along := by[a]
		by[a] = 0
		c.lines(shape, [3]operand{by}, func(o int, at [3]int, n int) {
			for i := range n {
				block(&out[0], o+i, in[0], at[0]+i*by.last()+int(list[o+i])*along, 1)
			}
		})
		c.tick(out[0].Len())
	}, nil
}

// within checks that a shape of indices fits the data in every dimension but one.
func (c *call) within(shape, data []int, axis int) {
	if len(shape) != len(data) {
		c.fail("has indices of shape %v for data of shape %v", shape, data)
	}
	for i, d := range shape {
		if i != axis && d > data[i] {
			c.fail("has indices of shape %v for data of shape %v", shape, data)
		}
	}
}

func scatterElements(n *node) (kernel, error) {
	axis := n.int("axis", 0)
	if r := n.text("reduction", "none"); r != "none" {
		n.lacks("the reduction %q", clip(r))
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		old, updates := in[0].Shape, in[2]
		a := c.axis(axis, len(old))
		list := c.indices(in[1], old[a])
		shape := in[1].Shape
		c.within(shape, old, a)
		if updates.Type != in[0].Type || !sameShape(updates.Shape, shape) {
			c.fail("has updates of shape %v for indices of shape %v", updates.Shape, shape)
		}
		c.like(&out[0], in[0].Type, old)
		block(&out[0], 0, in[0], 0, in[0].Len())
		by := c.strides(old)
		along := by[a]
		by[a] = 0
		c.lines(shape, [3]operand{by}, func(o int, at [3]int, n int) {
			for i := range n {
				block(&out[0], at[0]+i*by.last()+int(list[o+i])*along, updates, o+i, 1)
			}
		})
	}, nil
}

// tuples reads the last dimension of indices as positions into data's dimensions from first on, and gives the offset of
// each.
func (c *call) tuples(t *tensor.Tensor, data []int, first int) (offsets []int, depth int) {
	v := c.whole(t, "indices")
	if len(t.Shape) == 0 {
		c.fail("needs indices of at least one dimension")
	}
	depth = t.Shape[len(t.Shape)-1]
	if depth < 1 || depth > len(data)-first {
		c.fail("has indices of %d positions for the shape %v", depth, data)
	}
	by := c.strides(data)
	offsets = c.ints(len(v) / depth)
	for i := range offsets {
		for k := range depth {
			p, d := v[i*depth+k], int64(data[first+k])
			if p < 0 {
				p += d
			}
			if p < 0 || p >= d {
				c.fail("asks for position %d of %d", v[i*depth+k], d)
			}
			offsets[i] += int(p) * by[first+k]
		}
	}
	return offsets, depth
}

func gatherND(n *node) (kernel, error) {
	if n.int("batch_dims", 0) != 0 {
		n.lacks("batch_dims")
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		old, list := in[0].Shape, in[1].Shape
		offsets, depth := c.tuples(in[1], old, 0)
		if len(list)-1+len(old)-depth > maxRank {
			c.fail("would make too many dimensions")
		}
		shape := append(append(c.ints(len(list) - 1 + len(old) - depth)[:0], list[:len(list)-1]...), old[depth:]...)
		c.like(&out[0], in[0].Type, shape)
		size := c.count(old[depth:])
		for i, from := range offsets {
			block(&out[0], i*size, in[0], from, size)
		}
		c.tick(len(offsets))
	}, nil
}

func scatterND(n *node) (kernel, error) {
	if r := n.text("reduction", "none"); r != "none" {
		n.lacks("the reduction %q", clip(r))
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		old := in[0].Shape
		offsets, depth := c.tuples(in[1], old, 0)
		size := c.count(old[depth:])
		if in[2].Type != in[0].Type || in[2].Len() != len(offsets)*size {
			c.fail("has updates of shape %v for indices of shape %v", in[2].Shape, in[1].Shape)
		}
		c.like(&out[0], in[0].Type, old)
		block(&out[0], 0, in[0], 0, in[0].Len())
		for i, to := range offsets {
			block(&out[0], to, in[2], i*size, size)
		}
	}, nil
}
