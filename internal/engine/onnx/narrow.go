package onnx

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"keelson/internal/tensor"
)

// smallest is the number of values below which a tensor is not worth narrowing.
const smallest = 64

// weightOps are the operators whose weights are narrowed, with the inputs that are weights.
var weightOps = map[string][]int{"MatMul": {0, 1}, "Gemm": {0, 1}, "Conv": {1}, "ConvTranspose": {1}, "LSTM": {1, 2}, "GRU": {1, 2}, "RNN": {1, 2}, "Gather": {0}}

// Narrow writes the weights of a network in half precision (to is tensor.FP16) or in whole numbers of eight bits with one
// factor per row, column or channel (tensor.Int8); an operator in front of them widens them again, so everything is
// computed as before, from rounded weights. It gives how many tensors it narrowed and fails with problem.Unsupported when
// there are none.
func Narrow(data []byte, to tensor.Type) (out []byte, count int, err error) {
	p, err := readModel(data)
	if err != nil {
		return nil, 0, err
	}
	axes := map[string]int{} // of the weights: the axis that keeps a factor of its own; −1 when users differ
	for i := range p.graph.nodes {
		n := &node{nodeProto: &p.graph.nodes[i]}
		if n.domain != "" {
			continue
		}
		for _, k := range weightOps[n.op] {
			if k >= len(n.in) {
				continue
			}
			axis := 0
			switch {
			case n.op == "MatMul" && k == 1, n.op == "Gemm" && k == 1 && n.int("transB", 0) == 0, n.op == "Gemm" && k == 0 && n.int("transA", 0) != 0:
				axis = -2 // the last one
			case n.op == "LSTM" || n.op == "GRU" || n.op == "RNN", n.op == "ConvTranspose":
				axis = 1
			}
			if before, ok := axes[n.in[k]]; ok && before != axis {
				axis = -1
			}
			axes[n.in[k]] = axis
		}
	}
	if to == tensor.Int8 && p.opset[""] < 13 {
		for name := range axes {
			axes[name] = -1 // before, one factor for a whole tensor
		}
	}
	if to == tensor.Int8 && p.opset[""] < 10 {
		return nil, 0, unsupported("it uses version %d of the operators; whole-number weights came with 10", p.opset[""])
	}
	var nodes, constants [][]byte
	narrowed := map[string]bool{}
	for i := range p.graph.initializers {
		t := &p.graph.initializers[i]
		axis, ok := axes[t.Name]
		if !ok || t.Type != tensor.FP32 || len(t.Shape) < 2 || len(t.F32) < smallest || narrowed[t.Name] {
			continue
		}
		if axis == -2 {
			axis = len(t.Shape) - 1
		}
		name := t.Name + ".narrow"
		w := &writer{}
		if to == tensor.FP16 {
			half := tensor.Tensor{Type: tensor.FP16, Shape: t.Shape, F32: t.F32}
			constants = append(constants, tensorOf(name, elemFloat16, t.Shape, half.AppendRaw(nil)))
			w.named("", "Cast", []string{name}, t.Name, intAttr("to", elemFloat))
		} else {
			raw, factors := eights(t, axis)
			shape, attrs := []int{len(factors)}, [][]byte{intAttr("axis", int64(axis))}
			if axis < 0 {
				shape, attrs = nil, nil
			}
			constants = append(constants, tensorOf(name, elemInt8, t.Shape, raw), floats(t.Name+".factors", shape, factors))
			w.named("", "DequantizeLinear", []string{name, t.Name + ".factors"}, t.Name, attrs...)
		}
		nodes = append(nodes, w.nodes...)
		narrowed[t.Name] = true
	}
	if len(nodes) == 0 {
		return nil, 0, unsupported("it has no single-precision weights of %d values or more that a network multiplies by", smallest)
	}
	out, err = rewrite(data, narrowed, nodes, constants)
	return out, len(nodes), err
}

// eights rounds weights to −127 … 127 times a factor, the largest of each slice along axis over 127 (−1: of all).
func eights(t *tensor.Tensor, axis int) (raw []byte, factors []float32) {
	slices, inner := 1, 1
	if axis >= 0 {
		slices = t.Shape[axis]
		for _, d := range t.Shape[axis+1:] {
			inner *= d
		}
	} else {
		inner = len(t.F32)
	}
	factors = make([]float32, slices)
	for i, v := range t.F32 {
		if a := float32(math.Abs(float64(v))); a > factors[i/inner%slices] {
			factors[i/inner%slices] = a
		}
	}
	for i := range factors {
		if factors[i] /= 127; factors[i] == 0 {
			factors[i] = 1
		}
	}
	raw = make([]byte, len(t.F32))
	for i, v := range t.F32 {
		q := math.RoundToEven(float64(v) / float64(factors[i/inner%slices]))
		raw[i] = byte(int8(max(-127, min(127, q))))
	}
	return raw, factors
}

// rewrite copies a model with other constants and nodes in front; everything else stays as it is, byte for byte.
func rewrite(data []byte, gone map[string]bool, nodes, constants [][]byte) ([]byte, error) {
	var out wireMessage
	err := parts(data, func(number protowire.Number, whole, body []byte) error {
		if number != 7 || body == nil {
			out = append(out, whole...)
			return nil
		}
		var g wireMessage
		for _, n := range nodes {
			g.bytes(1, n)
		}
		err := parts(body, func(number protowire.Number, whole, body []byte) error {
			name := ""
			switch number {
			case 5:
				t, err := readTensor(body)
				if err != nil {
					return err
				}
				name = t.Name
			case 11:
				v, err := readValueInfo(body)
				if err != nil {
					return err
				}
				name = v.name
			}
			if name == "" || !gone[name] {
				g = append(g, whole...)
			}
			return nil
		})
		for _, c := range constants {
			g.bytes(5, c)
		}
		out.bytes(7, g)
		return err
	})
	return out, err
}

// parts walks the fields of a message with their bytes, tag included; body is nil for numbers.
func parts(b []byte, part func(number protowire.Number, whole, body []byte) error) error {
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		size := protowire.ConsumeFieldValue(number, typ, b[n:])
		if size < 0 {
			return errWire
		}
		var body []byte
		if typ == protowire.BytesType {
			body, _ = protowire.ConsumeBytes(b[n:])
		}
		if err := part(number, b[:n+size], body); err != nil {
			return err
		}
		b = b[n+size:]
	}
	return nil
}

// widen gives a constant that a node makes of a narrowed one, as Narrow writes them; nil when it is another node.
func widen(n *node) *tensor.Tensor {
	x := n.consts(0)
	if n.domain != "" || x == nil {
		return nil
	}
	switch {
	case n.op == "Cast" && len(n.in) == 1 && x.Type == tensor.FP16 && n.int("to", 0) == elemFloat:
		return &tensor.Tensor{Type: tensor.FP32, Shape: x.Shape, F32: x.F32}
	case n.op == "DequantizeLinear" && len(n.in) == 2 && x.Type == tensor.Int8 && n.int("block_size", 0) == 0:
		s := n.consts(1)
		if s == nil || s.Type != tensor.FP32 || len(s.Shape) > 1 || len(s.F32) == 0 {
			return nil
		}
		inner, factors := max(len(x.I64), 1), len(s.F32)
		if len(s.Shape) == 1 {
			axis := int(n.int("axis", 1))
			if axis < 0 {
				axis += len(x.Shape)
			}
			if axis < 0 || axis >= len(x.Shape) || x.Shape[axis] != factors {
				return nil
			}
			inner = 1
			for _, d := range x.Shape[axis+1:] {
				inner *= d
			}
		}
		out := &tensor.Tensor{Type: tensor.FP32, Shape: x.Shape, F32: make([]float32, len(x.I64))}
		for i, v := range x.I64 {
			out.F32[i] = float32(v) * s.F32[i/max(inner, 1)%factors]
		}
		return out
	}
	return nil
}
