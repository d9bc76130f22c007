package onnx

import (
	"math"

	"keelson/internal/tensor"
)

// multiply adds x·y to out: x is m×k, y k×n, all row-major. Every sum runs in the order of k.
func multiply[T number](c *call, x, y, out []T, m, k, n int) {
	for i := range m {
		row := out[i*n : (i+1)*n]
		for p := range k {
			a := x[i*k+p]
			for j, b := range y[p*n : (p+1)*n] {
				row[j] += a * b
			}
		}
		c.tick(k * n)
	}
}

func matMul(n *node) (kernel, error) {
	fixed := n.fixed(1) // prepared at load, if it is a matrix
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x, y := in[0], in[1]
		if x.Type != y.Type || len(x.Shape) == 0 || len(y.Shape) == 0 {
			c.fail("cannot multiply %s %v by %s %v", x.Type, x.Shape, y.Type, y.Shape)
		}
		xs, ys := x.Shape, y.Shape
		if len(xs) == 1 {
			xs = append(c.ints(2)[:0], 1, xs[0])
		}
		if len(ys) == 1 {
			ys = append(c.ints(2)[:0], ys[0], 1)
		}
		m, k, n := xs[len(xs)-2], xs[len(xs)-1], ys[len(ys)-1]
		if ys[len(ys)-2] != k {
			c.fail("cannot multiply %v by %v", x.Shape, y.Shape)
		}
		batch, by := c.broadcast(xs[:len(xs)-2], ys[:len(ys)-2])
		shape := append(c.ints(len(batch) + 2)[:0], batch...)
		if len(x.Shape) > 1 {
			shape = append(shape, m)
		}
		if len(y.Shape) > 1 {
			shape = append(shape, n)
		}
		c.like(&out[0], x.Type, shape)
		if out[0].Len() == 0 {
			return
		}
		if len(y.Shape) > 1 && y.Len() == k*n { // matrices times the same one are one matrix of all their rows
			m, batch = out[0].Len()/n, nil
		}
		c.lines(batch, by, func(o int, at [3]int, count int) {
			for i := range count {
				p, q, r := (at[0]+i*by[0].last())*m*k, (at[1]+i*by[1].last())*k*n, (o+i)*m*n
				switch x.Type {
				case tensor.FP32:
					gemm32{m: m, k: k, n: n, alpha: 1, packed: fixed && len(y.Shape) == 2}.run(c, x.F32[p:p+m*k], y.F32[q:q+k*n], out[0].F32[r:r+m*n])
				case tensor.FP64:
					multiply(c, x.F64[p:p+m*k], y.F64[q:q+k*n], out[0].F64[r:r+m*n], m, k, n)
				case tensor.Int64, tensor.Int32:
					multiply(c, x.I64[p:p+m*k], y.I64[q:q+k*n], out[0].I64[r:r+m*n], m, k, n)
				default:
					c.fail("does not take %s", x.Type)
				}
			}
		})
		if x.Type == tensor.Int32 {
			for i, v := range out[0].I64 {
				out[0].I64[i] = wrapInt(x.Type, v)
			}
		}
	}, nil
}

// turned gives a matrix or its transpose.
func (c *call) turned(t *tensor.Tensor, turn bool) tensor.Tensor {
	if len(t.Shape) != 2 {
		c.fail("takes a matrix, not the shape %v", t.Shape)
	}
	if !turn {
		return *t
	}
	var out tensor.Tensor
	by := c.strides(t.Shape)
	by[0], by[1] = by[1], by[0]
	shape := c.ints(2)
	shape[0], shape[1] = t.Shape[1], t.Shape[0]
	c.view(&out, t, shape, 0, by)
	return out
}

// gemm is alpha·A·B + beta·C.
func gemm(n *node) (kernel, error) {
	alpha, beta := n.float("alpha", 1), n.float("beta", 1)
	turnA, turnB := n.int("transA", 0) != 0, n.int("transB", 0) != 0
	packed := n.fixed(1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		a := c.turned(in[0], turnA)
		b := in[1]
		if len(b.Shape) != 2 {
			c.fail("takes a matrix, not the shape %v", b.Shape)
		}
		k, n := b.Shape[0], b.Shape[1]
		if turnB {
			k, n = n, k
		}
		if a.Type != b.Type || a.Shape[1] != k {
			c.fail("cannot multiply %s %v by %s %v", a.Type, a.Shape, b.Type, b.Shape)
		}
		m := a.Shape[0]
		shape := c.ints(2)
		shape[0], shape[1] = m, n
		c.like(&out[0], a.Type, shape)
		var bias *tensor.Tensor
		if len(in) > 2 && in[2] != nil && beta != 0 {
			if bias = in[2]; bias.Type != a.Type {
				c.fail("cannot add %s to %s", bias.Type, a.Type)
			}
			all, by := c.broadcast(shape, bias.Shape)
			if !sameShape(all, shape) {
				c.fail("cannot add the shape %v to %v", bias.Shape, shape)
			}
			step := by[1].last()
			c.lines(shape, by, func(o int, at [3]int, n int) {
				for i := range n {
					if a.Type == tensor.FP32 {
						out[0].F32[o+i] = beta * bias.F32[at[1]+i*step]
					} else if a.Type == tensor.FP64 {
						out[0].F64[o+i] = float64(beta) * bias.F64[at[1]+i*step]
					}
				}
			})
		}
		switch a.Type {
		case tensor.FP32:
			gemm32{m: m, k: k, n: n, alpha: alpha, turned: turnB, packed: packed || turnA, add: bias != nil}.run(c, a.F32, b.F32, out[0].F32)
		case tensor.FP64:
			b := c.turned(b, turnB)
			if alpha != 1 { // x·y comes first: what is there already keeps its size
				c.spend(len(a.F64), 8)
				scaled := c.f64.take(len(a.F64))
				for i, v := range a.F64 {
					scaled[i] = v * float64(alpha)
				}
				a.F64 = scaled
			}
			multiply(c, a.F64, b.F64, out[0].F64, m, k, n)
		default:
			c.fail("does not take %s", a.Type)
		}
	}, nil
}

// floats32 gives FP32 values or ends the call: the operators of networks take nothing else here.
func (c *call) onlyFP32(list ...*tensor.Tensor) {
	for _, t := range list {
		if t == nil || t.Type != tensor.FP32 {
			c.fail("takes FP32 only")
		}
	}
}

// batchNorm is the inference form: (x − mean) / √(var + ε) · scale + bias per channel, which is dimension 1.
func batchNorm(n *node) (kernel, error) {
	eps := n.float("epsilon", 1e-5)
	if n.int("training_mode", 0) != 0 {
		n.lacks("training_mode")
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		c.onlyFP32(in...)
		channels := 1
		if len(x.Shape) > 1 {
			channels = x.Shape[1]
		}
		for _, t := range in[1:] {
			if len(t.Shape) != 1 || t.Shape[0] != channels {
				c.fail("has parameters of shape %v for %d channels", t.Shape, channels)
			}
		}
		v := c.f32s(&out[0], x.Shape)
		if len(v) == 0 {
			return
		}
		inner := len(v) / x.Shape[0] / channels
		for i := range v {
			k := i / inner % channels
			scale := float64(in[1].F32[k]) / math.Sqrt(float64(in[4].F32[k])+float64(eps))
			v[i] = float32((float64(x.F32[i])-float64(in[3].F32[k]))*scale + float64(in[2].F32[k]))
		}
		c.tick(8 * len(v))
	}, nil
}

// layerNorm normalises everything from an axis on.
func layerNorm(n *node) (kernel, error) {
	eps, axis := n.float("epsilon", 1e-5), n.int("axis", -1)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		c.onlyFP32(x, in[1])
		a := c.axis(axis, len(x.Shape))
		d := c.count(x.Shape[a:])
		var bias *tensor.Tensor
		if len(in) > 2 {
			bias = in[2]
		}
		if in[1].Len() != d || bias != nil && (bias.Type != tensor.FP32 || bias.Len() != d) {
			c.fail("has %d scales for %d values", in[1].Len(), d)
		}
		v := c.f32s(&out[0], x.Shape)
		for from := 0; from < len(v); from += d {
			mean, square := 0.0, 0.0
			for _, f := range x.F32[from : from+d] {
				mean += float64(f)
			}
			mean /= float64(d)
			for _, f := range x.F32[from : from+d] {
				square += (float64(f) - mean) * (float64(f) - mean)
			}
			scale := 1 / math.Sqrt(square/float64(d)+float64(eps))
			for i := range d {
				r := (float64(x.F32[from+i]) - mean) * scale * float64(in[1].F32[i])
				if bias != nil {
					r += float64(bias.F32[i])
				}
				v[from+i] = float32(r)
			}
		}
		c.tick(8 * len(v))
	}, nil
}

// lpNorm divides by the sum of absolute values or the root of the sum of squares along an axis.
func lpNorm(n *node) (kernel, error) {
	axis, p := n.int("axis", -1), n.int("p", 2)
	if p != 1 && p != 2 {
		n.lacks("p %d", p)
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		c.onlyFP32(x)
		a := c.axis(axis, len(x.Shape))
		before, behind := around(x.Shape, a)
		d := x.Shape[a]
		v := c.f32s(&out[0], x.Shape)
		for i := range before {
			for j := range behind {
				sum := 0.0
				for k := range d {
					f := float64(x.F32[(i*d+k)*behind+j])
					if p == 1 {
						sum += math.Abs(f)
					} else {
						sum += f * f
					}
				}
				if p == 2 {
					sum = math.Sqrt(sum)
				}
				for k := range d {
					at := (i*d+k)*behind + j
					if sum != 0 {
						v[at] = float32(float64(x.F32[at]) / sum)
					}
				}
			}
		}
	}, nil
}

// prelu has a slope per channel; its shape is broadcast to the input's.
func prelu(*node) (kernel, error) {
	k := arithmetic{
		f32: func(x, slope float32) float32 {
			if x < 0 {
				return x * slope
			}
			return x
		},
		f64: func(x, slope float64) float64 {
			if x < 0 {
				return x * slope
			}
			return x
		},
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) { k.apply(c, in[0], in[1], &out[0]) }, nil
}

// window is where a convolution or pooling looks: sizes, strides, pads and dilations by spatial dimension.
type window struct {
	kernel, stride, dilation, before, behind []int
	auto                                     string
	ceil                                     bool
}

func (n *node) window(rank int) window {
	w := window{kernel: n.sizes("kernel_shape", rank, 0), stride: n.sizes("strides", rank, 1), dilation: n.sizes("dilations", rank, 1), auto: n.text("auto_pad", "NOTSET"), ceil: n.int("ceil_mode", 0) != 0}
	pads := n.sizes("pads", 2*rank, 0)
	w.before, w.behind = pads[:rank], pads[rank:]
	for i := range rank {
		if w.stride[i] < 1 || w.dilation[i] < 1 {
			n.wrong("its strides or dilations are 0")
		}
	}
	switch w.auto {
	case "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER":
	default:
		n.lacks("auto_pad %q", clip(w.auto))
	}
	return w
}

// size gives the length of the result and the padding before along one dimension of length d.
func (w *window) size(c *call, i, d int) (out, before int) {
	reach := (w.kernel[i]-1)*w.dilation[i] + 1
	before = w.before[i]
	total := before + w.behind[i]
	switch w.auto {
	case "VALID":
		before, total = 0, 0
	case "SAME_UPPER", "SAME_LOWER":
		out = (d + w.stride[i] - 1) / w.stride[i]
		total = max((out-1)*w.stride[i]+reach-d, 0)
		if before = total / 2; w.auto == "SAME_LOWER" {
			before = total - total/2
		}
		return out, before
	}
	room := d + total - reach
	if w.kernel[i] < 1 || room < 0 {
		c.fail("has a window of %d for a length of %d", w.kernel[i], d)
	}
	out = room/w.stride[i] + 1
	if w.ceil && room%w.stride[i] != 0 {
		if out++; (out-1)*w.stride[i] >= d+before {
			out--
		}
	}
	return out, before
}

// plane brings the one or two spatial dimensions of a tensor [N, C, …] to two.
func plane(c *call, t *tensor.Tensor) (h, w int) {
	switch len(t.Shape) {
	case 3:
		return 1, t.Shape[2]
	case 4:
		return t.Shape[2], t.Shape[3]
	}
	c.fail("takes one or two spatial dimensions, not the shape %v", t.Shape)
	return 0, 0
}

// planar makes a window of one spatial dimension one of two.
func (w window) planar() window {
	if len(w.kernel) == 2 {
		return w
	}
	first := func(v []int, k int) []int { return []int{k, v[0]} }
	return window{kernel: first(w.kernel, 1), stride: first(w.stride, 1), dilation: first(w.dilation, 1), before: first(w.before, 0), behind: first(w.behind, 0), auto: w.auto, ceil: w.ceil}
}

// spatial tells how many spatial dimensions the node's attributes speak of.
func (n *node) spatial(weights int) int {
	if t := n.consts(weights); weights > 0 && t != nil {
		return len(t.Shape) - 2
	}
	for _, name := range []string{"kernel_shape", "strides", "dilations"} {
		if v := n.ints(name); v != nil {
			return len(v)
		}
	}
	return len(n.ints("pads")) / 2
}

func conv(n *node) (kernel, error) {
	rank := n.spatial(1)
	if rank != 1 && rank != 2 {
		n.lacks("%d spatial dimensions (one and two are known)", rank)
		return nil, n.err
	}
	win, groups := n.window(rank).planar(), int(n.int("group", 1))
	if groups < 1 || groups > 1<<20 {
		n.wrong("it has %d groups", groups)
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x, k := in[0], in[1]
		c.onlyFP32(x, k)
		h, w := plane(c, x)
		kh, kw := plane(c, k)
		if len(x.Shape) != len(k.Shape) || len(x.Shape) != rank+2 || k.Shape[0]%groups != 0 || k.Shape[1]*groups != x.Shape[1] {
			c.fail("has weights of shape %v for the shape %v in %d groups", k.Shape, x.Shape, groups)
		}
		if win.kernel[1] != 0 && (win.kernel[0] != kh && rank == 2 || win.kernel[1] != kw) {
			c.fail("has weights of shape %v for another window", k.Shape)
		}
		at := win
		at.kernel = append(c.ints(2)[:0], kh, kw)
		oh, top := at.size(c, 0, h)
		ow, left := at.size(c, 1, w)
		shape := append(c.ints(len(x.Shape))[:0], x.Shape[0], k.Shape[0])
		if rank == 2 {
			shape = append(shape, oh)
		}
		shape = append(shape, ow)
		v := c.f32s(&out[0], shape)
		var bias []float32
		if len(in) > 2 && in[2] != nil {
			c.onlyFP32(in[2])
			if bias = in[2].F32; len(bias) != k.Shape[0] {
				c.fail("has %d biases for %d channels", len(bias), k.Shape[0])
			}
		}
		channels, per := k.Shape[1], k.Shape[0]/groups
		for b := range x.Shape[0] {
			for f := range k.Shape[0] {
				plane := v[(b*k.Shape[0]+f)*oh*ow:][:oh*ow]
				if bias != nil {
					for i := range plane {
						plane[i] = bias[f]
					}
				}
				for ch := range channels {
					source := x.F32[(b*x.Shape[1]+f/per*channels+ch)*h*w:][:h*w]
					weights := k.F32[(f*channels+ch)*kh*kw:][:kh*kw]
					for i, a := range weights {
						dy, dx := i/kw*at.dilation[0]-top, i%kw*at.dilation[1]-left
						for y := range oh {
							sy := y*at.stride[0] + dy
							if sy < 0 || sy >= h {
								continue
							}
							line := source[sy*w : (sy+1)*w]
							for xo := range ow {
								if sx := xo*at.stride[1] + dx; sx >= 0 && sx < w {
									plane[y*ow+xo] += a * line[sx]
								}
							}
						}
					}
					c.tick(kh * kw * oh * ow)
				}
			}
		}
	}, nil
}

// pool covers MaxPool, AveragePool and their global forms.
func pool2(n *node) (kernel, error) {
	global, average := n.op == "GlobalMaxPool" || n.op == "GlobalAveragePool", n.op == "AveragePool" || n.op == "GlobalAveragePool"
	rank := n.spatial(0)
	var win window
	if !global {
		if rank != 1 && rank != 2 {
			n.lacks("%d spatial dimensions (one and two are known)", rank)
			return nil, n.err
		}
		win = n.window(rank).planar()
	}
	padded := n.int("count_include_pad", 0) != 0
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		c.onlyFP32(x)
		h, w := plane(c, x)
		at := win
		shape := append(c.ints(len(x.Shape))[:0], x.Shape[:2]...)
		oh, ow, top, left := 1, 1, 0, 0
		if global {
			at = window{kernel: append(c.ints(2)[:0], h, w), stride: append(c.ints(2)[:0], 1, 1), dilation: append(c.ints(2)[:0], 1, 1)}
			for range len(x.Shape) - 2 {
				shape = append(shape, 1)
			}
		} else {
			if len(x.Shape) != rank+2 {
				c.fail("has a window of %d dimensions for the shape %v", rank, x.Shape)
			}
			oh, top = at.size(c, 0, h)
			ow, left = at.size(c, 1, w)
			if rank == 2 {
				shape = append(shape, oh)
			}
			shape = append(shape, ow)
		}
		v := c.f32s(&out[0], shape)
		kh, kw := at.kernel[0], at.kernel[1]
		for p := range x.Shape[0] * x.Shape[1] {
			source := x.F32[p*h*w:][:h*w]
			for y := range oh {
				for xo := range ow {
					sum, count, best := 0.0, 0, math.Inf(-1)
					for i := range kh {
						sy := y*at.stride[0] + i*at.dilation[0] - top
						for j := range kw {
							sx := xo*at.stride[1] + j*at.dilation[1] - left
							if sy < 0 || sy >= h || sx < 0 || sx >= w {
								if padded && sy < h+at.behindOf(0) && sx < w+at.behindOf(1) {
									count++
								}
								continue
							}
							f := float64(source[sy*w+sx])
							sum += f
							count++
							if f > best || f != f {
								best = f
							}
						}
					}
					if average {
						best = sum / float64(count)
					}
					c.tick(kh * kw)
					v[(p*oh+y)*ow+xo] = float32(best)
				}
			}
		}
	}, nil
}

func (w *window) behindOf(i int) int {
	if i < len(w.behind) {
		return w.behind[i]
	}
	return 0
}
