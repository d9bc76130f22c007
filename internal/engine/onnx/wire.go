package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// The messages of onnx.proto as far as a model needs them to be run. Names are copied, numbers are read once; attributes
// stay bytes of the file until an operator asks for them. No length of the file sizes an allocation beyond what really
// lies behind it.

type modelProto struct {
	ir        int64
	opset     map[string]int64
	graph     *graphProto
	functions bool
}

type graphProto struct {
	nodes        []nodeProto
	initializers []tensor.Tensor // under their names
	inputs       []valueInfo
	outputs      []valueInfo
}

type nodeProto struct {
	op, domain, name string
	in, out          []string
	attrs            []attribute
}

type attribute struct {
	name string
	raw  []byte
}

// valueInfo is the declared type of a graph's input or output. kind is 't' for a tensor, 'm' for a map or a sequence of
// maps, 0 when it is not declared. shape is nil when it is not declared; −1 in it is any length.
type valueInfo struct {
	name  string
	kind  byte
	elem  int64
	shape []int
	ranks bool // whether shape was declared
}

// broken is a file that is no model: load puts the sentence's beginning before it.
func broken(format string, a ...any) error {
	return problem.New(problem.Invalid, format+".", a...)
}

// unsupported is a model that this engine cannot run; load puts the sentence around it.
func unsupported(format string, a ...any) error {
	return problem.New(problem.Unsupported, format+".", a...)
}

var errWire = broken("a field is cut off or damaged")

// fields walks the fields of one message. Varints and fixed numbers arrive in num, everything else in data.
func fields(b []byte, field func(number protowire.Number, num uint64, data []byte) error) error {
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		var num uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			num, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			num = uint64(v)
		case protowire.Fixed64Type:
			num, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
			if data == nil {
				data = []byte{}
			}
		default:
			return errWire
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := field(number, num, data); err != nil {
			return err
		}
	}
	return nil
}

// tally counts how often a message's repeated fields stand in it, so that their slices are made in one piece.
func tally(b []byte, counts map[protowire.Number]int) error {
	return fields(b, func(number protowire.Number, _ uint64, _ []byte) error {
		if _, ok := counts[number]; ok {
			counts[number]++
		}
		return nil
	})
}

func readModel(b []byte) (*modelProto, error) {
	m := &modelProto{opset: map[string]int64{}}
	err := fields(b, func(number protowire.Number, num uint64, data []byte) (err error) {
		switch {
		case number == 1 && data == nil:
			m.ir = int64(num)
		case number == 7 && data != nil:
			if m.graph != nil {
				return broken("it holds two graphs")
			}
			m.graph, err = readGraph(data)
		case number == 8 && data != nil:
			var domain string
			var version int64
			err = fields(data, func(number protowire.Number, num uint64, data []byte) error {
				switch {
				case number == 1 && data != nil:
					domain = string(data)
				case number == 2 && data == nil:
					version = int64(num)
				}
				return nil
			})
			if domain == "ai.onnx" {
				domain = ""
			}
			if len(m.opset) < 64 {
				m.opset[domain] = max(version, m.opset[domain])
			}
		case number == 25:
			m.functions = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if m.graph == nil {
		return nil, broken("it holds no graph")
	}
	return m, nil
}

func readGraph(b []byte) (*graphProto, error) {
	counts := map[protowire.Number]int{1: 0, 5: 0, 11: 0, 12: 0}
	if err := tally(b, counts); err != nil {
		return nil, err
	}
	g := &graphProto{nodes: make([]nodeProto, 0, counts[1]), initializers: make([]tensor.Tensor, 0, counts[5]),
		inputs: make([]valueInfo, 0, counts[11]), outputs: make([]valueInfo, 0, counts[12])}
	words := map[string]string{}
	err := fields(b, func(number protowire.Number, _ uint64, data []byte) error {
		if data == nil {
			return nil
		}
		switch number {
		case 1:
			n, err := readNode(data, words)
			g.nodes = append(g.nodes, n)
			return err
		case 5:
			t, err := readTensor(data)
			g.initializers = append(g.initializers, t)
			return err
		case 11, 12:
			v, err := readValueInfo(data)
			if number == 11 {
				g.inputs = append(g.inputs, v)
			} else {
				g.outputs = append(g.outputs, v)
			}
			return err
		case 15:
			return unsupported("it has sparse initializers")
		}
		return nil
	})
	return g, err
}

// intern gives one copy of a name that may stand in many places.
func intern(words map[string]string, b []byte) string {
	if s, ok := words[string(b)]; ok {
		return s
	}
	s := string(b)
	words[s] = s
	return s
}

func readNode(b []byte, words map[string]string) (nodeProto, error) {
	counts := map[protowire.Number]int{1: 0, 2: 0, 5: 0}
	if err := tally(b, counts); err != nil {
		return nodeProto{}, err
	}
	n := nodeProto{in: make([]string, 0, counts[1]), out: make([]string, 0, counts[2]), attrs: make([]attribute, 0, counts[5])}
	err := fields(b, func(number protowire.Number, _ uint64, data []byte) error {
		if data == nil {
			return nil
		}
		switch number {
		case 1:
			n.in = append(n.in, intern(words, data))
		case 2:
			n.out = append(n.out, intern(words, data))
		case 3:
			n.name = string(data)
		case 4:
			n.op = intern(words, data)
		case 7:
			if n.domain = intern(words, data); n.domain == "ai.onnx" {
				n.domain = ""
			}
		case 5:
			a := attribute{raw: data}
			err := fields(data, func(number protowire.Number, _ uint64, data []byte) error {
				if number == 1 {
					a.name = intern(words, data)
				}
				return nil
			})
			n.attrs = append(n.attrs, a)
			return err
		}
		return nil
	})
	if err == nil && n.op == "" {
		err = broken("a node has no operator")
	}
	return n, err
}

func readValueInfo(b []byte) (valueInfo, error) {
	var v valueInfo
	err := fields(b, func(number protowire.Number, _ uint64, data []byte) error {
		switch {
		case data == nil:
		case number == 1:
			v.name = string(data)
		case number == 2:
			return v.readType(data)
		}
		return nil
	})
	return v, err
}

func (v *valueInfo) readType(b []byte) error {
	return fields(b, func(number protowire.Number, _ uint64, data []byte) error {
		switch {
		case data == nil:
		case number == 4 || number == 5: // sequence, map
			v.kind = 'm'
		case number == 1:
			v.kind = 't'
			return fields(data, func(number protowire.Number, num uint64, data []byte) error {
				switch {
				case number == 1 && data == nil:
					v.elem = int64(num)
				case number == 2 && data != nil:
					v.ranks = true
					return fields(data, v.readDim)
				}
				return nil
			})
		default:
			v.kind = '?'
		}
		return nil
	})
}

func (v *valueInfo) readDim(number protowire.Number, _ uint64, data []byte) error {
	if number != 1 || data == nil {
		return nil
	}
	if len(v.shape) >= maxRank {
		return broken("%q has more than %d dimensions", clip(v.name), maxRank)
	}
	dim := -1
	err := fields(data, func(number protowire.Number, num uint64, data []byte) error {
		if number == 1 && data == nil && num <= math.MaxInt32 {
			if dim = int(num); dim == 0 {
				dim = -1 // some exporters write 0 for a dimension they do not know
			}
		}
		return nil
	})
	v.shape = append(v.shape, dim)
	return err
}

// elements maps TensorProto.DataType to the protocol's types; the others are refused.
var elements = map[int64]tensor.Type{1: tensor.FP32, 2: tensor.Uint8, 3: tensor.Int8, 4: tensor.Uint16, 5: tensor.Int16, 6: tensor.Int32,
	7: tensor.Int64, 8: tensor.Bytes, 9: tensor.Bool, 11: tensor.FP64, 12: tensor.Uint32, 13: tensor.Uint64}

var strangeElements = map[int64]string{10: "float16", 14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
	19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1"}

func element(code int64, what string) (tensor.Type, error) {
	if t, ok := elements[code]; ok {
		return t, nil
	}
	if name, ok := strangeElements[code]; ok {
		return 0, unsupported("%s is %s, which it does not know", what, name)
	}
	return 0, broken("%s has the element type %d, which does not exist", what, code)
}

// maxRank is the most dimensions that a tensor may have.
const maxRank = 16

// readTensor reads a TensorProto. What it holds takes at most eight times the bytes that stand in the file.
func readTensor(b []byte) (t tensor.Tensor, err error) {
	var code int64
	var raw []byte
	var dims []int64
	lists := map[protowire.Number][]byte{} // packed values by field
	texts := 0
	err = fields(b, func(number protowire.Number, num uint64, data []byte) error {
		switch number {
		case 1:
			if len(dims) > maxRank {
				return broken("a tensor has more than %d dimensions", maxRank)
			}
			if data == nil {
				dims = append(dims, int64(num))
				return nil
			}
			v, err := varints(data, maxRank+1)
			dims = append(dims, v...)
			return err
		case 2:
			code = int64(num)
		case 4, 5, 7, 10, 11:
			if data == nil || lists[number] != nil {
				return broken("a tensor holds its values in several parts")
			}
			lists[number] = data
		case 6:
			texts++
		case 8:
			t.Name = string(data)
		case 9:
			raw = data
		case 13:
			return unsupported("the tensor %q lies in a file of its own; save the model with its data inside", clip(t.Name))
		case 14:
			if num != 0 {
				return unsupported("the tensor %q lies in a file of its own; save the model with its data inside", clip(t.Name))
			}
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	if code == elemFloat16 && raw != nil {
		t.Type = tensor.FP16 // only to be widened, see widen
	} else if t.Type, err = element(code, fmt.Sprintf("the tensor %q", clip(t.Name))); err != nil {
		return t, err
	}
	count := 1
	t.Shape = make([]int, len(dims))
	for i, d := range dims {
		if d < 0 || d > math.MaxInt32 || d > 0 && count > math.MaxInt32/int(d) {
			return t, broken("the tensor %q has the shape %v", clip(t.Name), dims)
		}
		t.Shape[i] = int(d)
		count *= int(d)
	}
	switch {
	case raw != nil && t.Type != tensor.Bytes:
		if err := t.SetRaw(raw, tensor.Limits{Tensors: 1, Rank: maxRank, Elements: math.MaxInt32}); err != nil {
			return t, broken("the tensor %q does not hold the bytes of its shape %v", clip(t.Name), t.Shape)
		}
	case t.Type == tensor.Bytes:
		t.S = make([]string, 0, texts)
		err = fields(b, func(number protowire.Number, _ uint64, data []byte) error {
			if number == 6 {
				t.S = append(t.S, string(data))
			}
			return nil
		})
	default:
		err = listed(&t, lists)
	}
	if err == nil && t.Len() != count {
		err = broken("the tensor %q has the shape %v, but holds %d values", clip(t.Name), t.Shape, t.Len())
	}
	return t, err
}

// listed takes the values out of the packed field that belongs to the type.
func listed(t *tensor.Tensor, lists map[protowire.Number][]byte) (err error) {
	switch t.Type {
	case tensor.FP32:
		t.F32, err = floats32(lists[4])
	case tensor.FP64:
		b := lists[10]
		if len(b)%8 != 0 {
			return errWire
		}
		t.F64 = make([]float64, len(b)/8)
		for i := range t.F64 {
			t.F64[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		}
	case tensor.Int64:
		t.I64, err = varints(lists[7], math.MaxInt32)
	case tensor.Int8, tensor.Int16, tensor.Int32:
		t.I64, err = varints(lists[5], math.MaxInt32)
		for i, v := range t.I64 {
			t.I64[i] = wrapInt(t.Type, v)
		}
	case tensor.Bool:
		var v []int64
		v, err = varints(lists[5], math.MaxInt32)
		t.B = make([]bool, len(v))
		for i := range v {
			t.B[i] = v[i] != 0
		}
	default:
		b := lists[11]
		if t.Type == tensor.Uint8 || t.Type == tensor.Uint16 {
			b = lists[5]
		}
		var v []int64
		v, err = varints(b, math.MaxInt32)
		t.U64 = make([]uint64, len(v))
		for i := range v {
			t.U64[i] = wrapUint(t.Type, uint64(v[i]))
		}
	}
	return err
}

func floats32(b []byte) ([]float32, error) {
	if len(b)%4 != 0 {
		return nil, errWire
	}
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out, nil
}

// varints reads packed numbers, at most limit of them.
func varints(b []byte, limit int) ([]int64, error) {
	count := 0
	for _, c := range b {
		if c < 0x80 {
			count++
		}
	}
	if count > limit {
		return nil, broken("a list has more than %d numbers", limit)
	}
	out := make([]int64, 0, count)
	for len(b) > 0 {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, errWire
		}
		out = append(out, int64(v))
		b = b[n:]
	}
	return out, nil
}

// value is an attribute taken apart. floats, ints and texts hold the lists; their scalar forms stand in f, i and s.
type value struct {
	f      float32
	i      int64
	s      string
	tensor *tensor.Tensor
	floats []float32
	ints   []int64
	texts  []string
	graph  []byte
}

func (a attribute) read() (v value, err error) {
	counts := map[protowire.Number]int{7: 0, 8: 0, 9: 0}
	if err := tally(a.raw, counts); err != nil {
		return v, err
	}
	if n := counts[9]; n > 0 {
		v.texts = make([]string, 0, n)
	}
	err = fields(a.raw, func(number protowire.Number, num uint64, data []byte) error {
		switch {
		case number == 2:
			v.f = math.Float32frombits(uint32(num))
		case number == 3:
			v.i = int64(num)
		case number == 4 && data != nil:
			v.s = string(data)
		case number == 5 && data != nil:
			t, err := readTensor(data)
			v.tensor = &t
			return err
		case number == 6 && data != nil:
			v.graph = data
		case number == 7 && data == nil: // one by one, as old writers do
			if v.floats == nil {
				v.floats = make([]float32, 0, counts[7])
			}
			v.floats = append(v.floats, math.Float32frombits(uint32(num)))
		case number == 7:
			f, err := floats32(data)
			if v.floats = f; counts[7] > 1 {
				err = broken("the attribute %q stands in several parts", clip(a.name))
			}
			return err
		case number == 8 && data == nil:
			if v.ints == nil {
				v.ints = make([]int64, 0, counts[8])
			}
			v.ints = append(v.ints, int64(num))
		case number == 8:
			n, err := varints(data, math.MaxInt32)
			if v.ints = n; counts[8] > 1 {
				err = broken("the attribute %q stands in several parts", clip(a.name))
			}
			return err
		case number == 9 && data != nil:
			v.texts = append(v.texts, string(data))
		case number == 21:
			return unsupported("the attribute %q refers to a function's", clip(a.name))
		}
		return nil
	})
	return v, err
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }

// wrapInt cuts v to the width of t, as the arithmetic of a narrow integer does.
func wrapInt(t tensor.Type, v int64) int64 {
	switch t {
	case tensor.Int8:
		return int64(int8(v))
	case tensor.Int16:
		return int64(int16(v))
	case tensor.Int32:
		return int64(int32(v))
	}
	return v
}

// wrapUint cuts v to the width of t.
func wrapUint(t tensor.Type, v uint64) uint64 {
	switch t {
	case tensor.Uint8:
		return uint64(uint8(v))
	case tensor.Uint16:
		return uint64(uint16(v))
	case tensor.Uint32:
		return uint64(uint32(v))
	}
	return v
}
