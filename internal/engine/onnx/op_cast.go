package onnx

import (
	"math"
	"strconv"
	"strings"

	"keelson/internal/tensor"
)

func castTo(n *node) (kernel, error) {
	t, err := element(n.int("to", 0), "a Cast")
	if err != nil {
		return nil, err
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) { c.cast(&out[0], in[0], t) }, nil
}

func castLike(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) { c.cast(&out[0], in[0], in[1].Type) }, nil
}

// toInt cuts v as the processor does: what an int64 cannot hold becomes the smallest one.
func toInt(v float64) int64 {
	if !(v >= -(1<<63) && v < 1<<63) {
		return math.MinInt64
	}
	return int64(v)
}

// cast converts values as onnxruntime does: fractions are cut, narrow integers wrap, text is read and written in C's way.
func (c *call) cast(out, in *tensor.Tensor, t tensor.Type) {
	if in.Type == t {
		share(out, in, in.Shape)
		return
	}
	c.like(out, t, in.Shape)
	c.tick(4 * in.Len())
	if in.Type == tensor.Bytes {
		c.castText(out, in.S, t)
		return
	}
	for i := range in.Len() {
		switch {
		case out.F32 != nil:
			switch {
			case in.I64 != nil:
				out.F32[i] = float32(in.I64[i])
			case in.U64 != nil:
				out.F32[i] = float32(in.U64[i])
			default:
				out.F32[i] = float32(in.Float64(i))
			}
		case out.F64 != nil:
			out.F64[i] = in.Float64(i)
		case out.I64 != nil:
			switch {
			case in.I64 != nil:
				out.I64[i] = wrapInt(t, in.I64[i])
			case in.U64 != nil:
				out.I64[i] = wrapInt(t, int64(in.U64[i]))
			default:
				out.I64[i] = wrapInt(t, toInt(in.Float64(i)))
			}
		case out.U64 != nil:
			switch {
			case in.I64 != nil:
				out.U64[i] = wrapUint(t, uint64(in.I64[i]))
			case in.U64 != nil:
				out.U64[i] = wrapUint(t, in.U64[i])
			default:
				if v := in.Float64(i); v >= 1<<63 && v < 1<<64 {
					out.U64[i] = uint64(v)
				} else {
					out.U64[i] = wrapUint(t, uint64(toInt(v)))
				}
			}
		case out.B != nil:
			out.B[i] = in.Float64(i) != 0
		case out.S != nil:
			out.S[i] = c.written(in, i)
		}
	}
}

// written gives value i as text: floats with 8 significant digits as C's %g, NaN and INF in capitals.
func (c *call) written(in *tensor.Tensor, i int) string {
	c.spend(24, 1)
	switch in.Type {
	case tensor.FP32, tensor.FP64:
		return general(in.Float64(i), 8)
	case tensor.Bool:
		if in.B[i] {
			return "1"
		}
		return "0"
	}
	if in.U64 != nil {
		return strconv.FormatUint(in.U64[i], 10)
	}
	return strconv.FormatInt(in.I64[i], 10)
}

func general(v float64, digits int) string {
	switch {
	case v != v:
		return "NaN"
	case math.IsInf(v, 1):
		return "INF"
	case math.IsInf(v, -1):
		return "-INF"
	}
	// %g of C: the exponent of the rounded number chooses between the forms, and zeros at the end go.
	s := strconv.FormatFloat(v, 'e', digits-1, 64)
	mantissa, exponent, _ := strings.Cut(s, "e")
	e, _ := strconv.Atoi(exponent)
	if e < -4 || e >= digits {
		if strings.Contains(mantissa, ".") {
			mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
		}
		return mantissa + "e" + exponent
	}
	s = strconv.FormatFloat(v, 'f', digits-1-e, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func (c *call) castText(out *tensor.Tensor, in []string, t tensor.Type) {
	for i, s := range in {
		text := strings.TrimSpace(s)
		switch {
		case out.F32 != nil || out.F64 != nil:
			v, err := strconv.ParseFloat(text, 64)
			if err != nil && !math.IsInf(v, 0) || strings.Contains(text, "_") {
				c.fail("cannot read %q as a number", clip(s))
			}
			if out.F64 != nil {
				out.F64[i] = v
			} else {
				if f, err := strconv.ParseFloat(text, 32); err == nil {
					v = f // rounded once
				}
				out.F32[i] = float32(v)
			}
		case out.I64 != nil:
			v, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				c.fail("cannot read %q as a whole number", clip(s))
			}
			out.I64[i] = wrapInt(t, v)
		case out.U64 != nil:
			v, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				c.fail("cannot read %q as a whole number", clip(s))
			}
			out.U64[i] = wrapUint(t, v)
		default:
			c.fail("cannot turn BYTES into %s", t)
		}
	}
}
