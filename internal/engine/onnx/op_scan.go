package onnx

import (
	"keelson/internal/tensor"
)

// scan runs its body once per element of its scanned inputs, along their first dimension. The body sees its own inputs
// and constants only.
func scan(n *node) (kernel, error) {
	count := int(min(max(n.int("num_scan_inputs", 0), 0), 1<<20))
	states := len(n.in) - count
	if n.opset < 9 {
		n.lacks("the form of before version 9")
	}
	for _, name := range []string{"scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions"} {
		for _, v := range n.ints(name) {
			if v != 0 {
				n.lacks("%s other than 0", name)
			}
		}
	}
	if n.err != nil {
		return nil, n.err
	}
	body, declared := n.body("body")
	if n.err != nil {
		return nil, n.err
	}
	if count < 1 || states < 0 || len(body.inputs) != len(n.in) || len(body.outputs) != len(n.out) || len(n.out) < states {
		n.wrong("its body takes %d values and gives %d", len(body.inputs), len(body.outputs))
		return nil, n.err
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		for _, t := range in {
			if t == nil {
				c.fail("lacks an input")
			}
		}
		steps := -1
		for _, t := range in[states:] {
			if len(t.Shape) == 0 || steps >= 0 && t.Shape[0] != steps {
				c.fail("scans tensors of different length")
			}
			steps = t.Shape[0]
		}
		c.spend(body.slots, 256)
		sub := newCall(body, c.left)
		now := append([]*tensor.Tensor(nil), in[:states]...)
		pieces := make([]tensor.Tensor, count)
		for i := range steps {
			for k, t := range now {
				sub.values[body.inputs[k]] = t
			}
			for k, t := range in[states:] {
				pieces[k] = element1(t, i)
				sub.values[body.inputs[states+k]] = &pieces[k]
			}
			if err := sub.run(c.ctx); err != nil {
				panic(abort{err})
			}
			for k := range now {
				if t := sub.values[body.outputs[k]]; t != now[k] && !sameValues(t, now[k]) {
					kept := &tensor.Tensor{}
					c.like(kept, t.Type, c.copyOf(t.Shape, 0))
					block(kept, 0, t, 0, t.Len())
					now[k] = kept
				}
			}
			for k := range out[states:] {
				c.stack(&out[states+k], sub.values[body.outputs[states+k]], i, steps)
			}
			sub.reset()
			c.tick(len(body.steps) << 14) // the body's own count of work begins anew each time
		}
		for k, t := range now {
			share(&out[k], t, t.Shape)
		}
		for k := range out[states:] {
			if steps > 0 {
				continue
			}
			v := declared[states+k]
			typ, ok := elements[v.elem]
			if !ok {
				c.fail("has nothing to scan and declares no type")
			}
			shape := c.ints(len(v.shape) + 1)
			for i, d := range v.shape {
				shape[i+1] = max(d, 0)
			}
			c.like(&out[states+k], typ, shape)
		}
	}, nil
}

// stack lays t down as element i of out, which the first element shapes.
func (c *call) stack(out, t *tensor.Tensor, i, of int) {
	if i == 0 {
		if len(t.Shape) >= maxRank {
			c.fail("would make too many dimensions")
		}
		c.like(out, t.Type, append(append(c.ints(len(t.Shape) + 1)[:0], of), t.Shape...))
	}
	if t.Type != out.Type || !sameShape(t.Shape, out.Shape[1:]) {
		c.fail("gives values of different shape")
	}
	block(out, i*t.Len(), t, 0, t.Len())
}

// element1 is element i of t along its first dimension; it shares t's values.
func element1(t *tensor.Tensor, i int) tensor.Tensor {
	out := tensor.Tensor{Type: t.Type, Shape: t.Shape[1:]}
	n := 1
	for _, d := range out.Shape {
		n *= d
	}
	from, to := i*n, (i+1)*n
	switch {
	case t.F32 != nil:
		out.F32 = t.F32[from:to]
	case t.F64 != nil:
		out.F64 = t.F64[from:to]
	case t.I64 != nil:
		out.I64 = t.I64[from:to]
	case t.U64 != nil:
		out.U64 = t.U64[from:to]
	case t.B != nil:
		out.B = t.B[from:to]
	case t.S != nil:
		out.S = t.S[from:to]
	}
	return out
}

// sameValues tells whether two tensors share their memory and shape.
func sameValues(a, b *tensor.Tensor) bool {
	if a.Type != b.Type || !sameShape(a.Shape, b.Shape) || a.Len() == 0 || a.Len() != b.Len() {
		return false
	}
	switch {
	case a.F32 != nil:
		return &a.F32[0] == &b.F32[0]
	case a.F64 != nil:
		return &a.F64[0] == &b.F64[0]
	case a.I64 != nil:
		return &a.I64[0] == &b.I64[0]
	}
	return false
}
