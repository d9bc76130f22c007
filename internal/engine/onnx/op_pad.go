package onnx

import (
	"math"
	"slices"

	"keelson/internal/tensor"
)

// remap fills out from in by one list of positions per dimension; −1 leaves what out holds.
func (c *call) remap(out, in *tensor.Tensor, maps [][]int) {
	rank := len(out.Shape)
	if out.Len() == 0 {
		return
	}
	if rank == 0 {
		block(out, 0, in, 0, 1)
		return
	}
	by := c.strides(in.Shape)
	index := c.ints(rank)
	n := out.Shape[rank-1]
	for o := 0; o < out.Len(); o += n {
		from, inside := 0, true
		for d := range rank - 1 {
			k := maps[d][index[d]]
			inside = inside && k >= 0
			from += k * by[d]
		}
		if inside {
			last := maps[rank-1]
			for i := 0; i < n; { // runs of neighbours are copied in one piece
				j := i + 1
				if last[i] >= 0 {
					for j < n && last[j] == last[j-1]+1 {
						j++
					}
					block(out, o+i, in, from+last[i], j-i)
				}
				i = j
			}
		}
		for d := rank - 2; d >= 0; d-- {
			if index[d]++; index[d] < out.Shape[d] {
				break
			}
			index[d] = 0
		}
	}
	c.tick(out.Len())
}

func tile(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		times := c.whole(in[1], "repeats")
		if len(times) != len(in[0].Shape) {
			c.fail("has %d repeats for %d dimensions", len(times), len(in[0].Shape))
		}
		shape := c.ints(len(times))
		for i, k := range times {
			if k < 0 || k > math.MaxInt32 {
				c.fail("repeats %d times", k)
			}
			shape[i] = in[0].Shape[i] * int(k)
		}
		c.like(&out[0], in[0].Type, shape)
		var maps [maxRank][]int
		for d := range shape {
			maps[d] = c.ints(shape[d])
			for i := range maps[d] {
				maps[d][i] = i % in[0].Shape[d]
			}
		}
		c.remap(&out[0], in[0], maps[:len(shape)])
	}, nil
}

func pad(n *node) (kernel, error) {
	mode, fixed, value := n.text("mode", "constant"), n.ints("pads"), n.float("value", 0)
	if !slices.Contains([]string{"constant", "edge", "reflect", "wrap"}, mode) {
		n.lacks("the mode %q", clip(mode))
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		pads, old := fixed, in[0].Shape
		if len(in) > 1 && in[1] != nil {
			pads = c.whole(in[1], "pads")
		}
		rank := len(old)
		before, behind := c.ints(rank), c.ints(rank)
		axes := c.ints(rank)
		for i := range axes {
			axes[i] = i
		}
		if len(in) > 3 && in[3] != nil {
			list := c.whole(in[3], "axes")
			axes = c.ints(len(list))
			for i, a := range list {
				axes[i] = c.axis(a, rank)
			}
		}
		if len(pads) != 2*len(axes) {
			c.fail("has %d pads for %d dimensions", len(pads), len(axes))
		}
		shape := c.copyOf(old, 0)
		for i, a := range axes {
			p, q := pads[i], pads[i+len(axes)]
			if p < -1<<31 || p > 1<<31 || q < -1<<31 || q > 1<<31 {
				c.fail("pads by %v", pads)
			}
			before[a], behind[a] = int(p), int(q)
			shape[a] = old[a] + before[a] + behind[a]
		}
		c.like(&out[0], in[0].Type, shape)
		o := &out[0]
		if mode == "constant" {
			var v tensor.Tensor
			if len(in) > 2 && in[2] != nil {
				if v = *in[2]; v.Type != o.Type || v.Len() != 1 {
					c.fail("needs one %s to pad with", o.Type)
				}
			} else if c.like(&v, o.Type, nil); o.Type == tensor.FP32 {
				v.F32[0] = value
			}
			for i := range o.Len() {
				block(o, i, &v, 0, 1)
			}
		}
		var maps [maxRank][]int
		for d := range shape {
			maps[d] = c.ints(shape[d])
			for i := range maps[d] {
				k := i - before[d]
				if k < 0 || k >= old[d] {
					switch {
					case mode == "constant" || old[d] == 0:
						k = -1
					case mode == "edge":
						k = min(max(k, 0), old[d]-1)
					case mode == "wrap":
						k = ((k % old[d]) + old[d]) % old[d]
					case old[d] == 1:
						k = 0
					default:
						period := 2 * (old[d] - 1)
						if k = ((k % period) + period) % period; k >= old[d] {
							k = period - k
						}
					}
				}
				maps[d][i] = k
			}
		}
		c.remap(o, in[0], maps[:rank])
	}, nil
}
