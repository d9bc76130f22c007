package onnx

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"keelson/internal/engine"
	"keelson/internal/problem"
)

// The sets that written files import: old enough for every runtime in use, new enough for trees in double precision.
const (
	writtenIR    = 8
	writtenOpset = 17
	writtenML    = 3
)

// wireMessage builds a protobuf message.
type wireMessage []byte

func (m *wireMessage) bytes(n protowire.Number, b []byte) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, n, protowire.BytesType), b)
}
func (m *wireMessage) text(n protowire.Number, s string) { m.bytes(n, []byte(s)) }
func (m *wireMessage) int(n protowire.Number, v int64) {
	*m = protowire.AppendVarint(protowire.AppendTag(*m, n, protowire.VarintType), uint64(v))
}

// TensorProto.DataType of what is written.
const (
	elemFloat   = 1
	elemInt8    = 3
	elemInt64   = 7
	elemString  = 8
	elemFloat16 = 10
	elemDouble  = 11
)

// AttributeProto.AttributeType.
const (
	attrFloat   = 1
	attrInt     = 2
	attrString  = 3
	attrTensor  = 4
	attrFloats  = 6
	attrInts    = 7
	attrStrings = 8
)

func attrOf(name string, kind int64, fill func(m *wireMessage)) []byte {
	var m wireMessage
	m.text(1, name)
	fill(&m)
	m.int(20, kind)
	return m
}

func intAttr(name string, v int64) []byte {
	return attrOf(name, attrInt, func(m *wireMessage) { m.int(3, v) })
}

func intsAttr(name string, v []int64) []byte {
	return attrOf(name, attrInts, func(m *wireMessage) {
		for _, x := range v { // one by one, as the official writer does
			m.int(8, x)
		}
	})
}

func floatsAttr(name string, v []float32) []byte {
	return attrOf(name, attrFloats, func(m *wireMessage) {
		for _, x := range v {
			*m = protowire.AppendFixed32(protowire.AppendTag(*m, 7, protowire.Fixed32Type), math.Float32bits(x))
		}
	})
}

func textsAttr(name string, v []string) []byte {
	return attrOf(name, attrStrings, func(m *wireMessage) {
		for _, x := range v {
			m.text(9, x)
		}
	})
}

func doublesAttr(name string, v []float64) []byte {
	return attrOf(name, attrTensor, func(m *wireMessage) { m.bytes(5, doubles("", []int{len(v)}, v)) })
}

func tensorOf(name string, elem int64, shape []int, raw []byte) []byte {
	var m wireMessage
	for _, d := range shape {
		m.int(1, int64(d))
	}
	m.int(2, elem)
	m.text(8, name)
	m.bytes(9, raw)
	return m
}

func doubles(name string, shape []int, v []float64) []byte {
	raw := make([]byte, 0, 8*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(x))
	}
	return tensorOf(name, elemDouble, shape, raw)
}

func floats(name string, shape []int, v []float32) []byte {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return tensorOf(name, elemFloat, shape, raw)
}

func int64s(name string, shape []int, v []int64) []byte {
	raw := make([]byte, 0, 8*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(x))
	}
	return tensorOf(name, elemInt64, shape, raw)
}

func texts(name string, v []string) []byte {
	var m wireMessage
	m.int(1, int64(len(v)))
	m.int(2, elemString)
	for _, x := range v {
		m.text(6, x)
	}
	m.text(8, name)
	return m
}

// port describes an input or output; a shape's −1 is named "rows".
func portOf(name string, elem int64, shape []int) []byte {
	var dims wireMessage
	for _, d := range shape {
		var dim wireMessage
		if d < 0 {
			dim.text(2, "rows")
		} else {
			dim.int(1, int64(d))
		}
		dims.bytes(1, dim)
	}
	var t, typ, m wireMessage
	t.int(1, elem)
	t.bytes(2, dims)
	typ.bytes(1, t)
	m.text(1, name)
	m.bytes(2, typ)
	return m
}

// writer collects the parts of a graph.
type writer struct {
	nodes, constants, inputs, outputs [][]byte
	count                             int
	double                            bool
}

// add adds a node with one output and gives its name.
func (w *writer) add(domain, op string, in []string, attrs ...[]byte) string {
	w.count++
	out := op + "_" + strconv.Itoa(w.count)
	w.named(domain, op, in, out, attrs...)
	return out
}

func (w *writer) named(domain, op string, in []string, out string, attrs ...[]byte) {
	var m wireMessage
	for _, name := range in {
		m.text(1, name)
	}
	m.text(2, out)
	m.text(3, out)
	m.text(4, op)
	for _, a := range attrs {
		m.bytes(5, a)
	}
	if domain != "" {
		m.text(7, domain)
	}
	w.nodes = append(w.nodes, m)
}

// number adds a constant of the graph's precision.
func (w *writer) number(shape []int, v ...float64) string {
	w.count++
	name := "c_" + strconv.Itoa(w.count)
	if w.double {
		w.constants = append(w.constants, doubles(name, shape, v))
		return name
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	w.constants = append(w.constants, floats(name, shape, f))
	return name
}

func (w *writer) list(v ...int64) string {
	w.count++
	name := "c_" + strconv.Itoa(w.count)
	w.constants = append(w.constants, int64s(name, []int{len(v)}, v))
	return name
}

func (w *writer) elem() int64 {
	if w.double {
		return elemDouble
	}
	return elemFloat
}

// Write makes a file of a formula: operators of ai.onnx 17 and ai.onnx.ml 3, which every runtime has. Names, types and
// shapes of inputs and outputs are those of the formula. It fails with problem.Unsupported when the operators cannot say
// the same.
func Write(f engine.Formula) ([]byte, error) {
	w := &writer{double: f.Double}
	w.inputs = append(w.inputs, portOf(f.Input, w.elem(), []int{-1, f.Features}))
	var sums string
	var err error
	if f.Trees != nil {
		sums, err = w.trees(f)
	} else {
		sums = w.weights(f)
	}
	if err != nil {
		return nil, err
	}
	answer, err := w.link(f, sums)
	if err != nil {
		return nil, err
	}
	width := f.Groups
	if f.Link == engine.LinkClass {
		width = 1
	}
	if f.Pair {
		width = 2
		answer = w.add("", "Concat", []string{w.add("", "Sub", []string{w.number(nil, 1), answer}), answer}, intAttr("axis", 1))
	}
	w.named("", "Identity", []string{answer}, f.Output)
	w.outputs = append(w.outputs, portOf(f.Output, w.elem(), []int{-1, width}))
	if len(f.Labels)+len(f.Numbers) > 0 {
		w.labels(f, sums, answer)
	}
	var g, m, ml, main wireMessage
	for _, n := range w.nodes {
		g.bytes(1, n)
	}
	g.text(2, "keelson")
	for _, c := range w.constants {
		g.bytes(5, c)
	}
	for _, v := range w.inputs {
		g.bytes(11, v)
	}
	for _, v := range w.outputs {
		g.bytes(12, v)
	}
	m.int(1, writtenIR)
	m.text(2, "keelson")
	m.bytes(7, g)
	main.text(1, "")
	main.int(2, writtenOpset)
	m.bytes(8, main)
	ml.text(1, "ai.onnx.ml")
	ml.int(2, writtenML)
	m.bytes(8, ml)
	return m, nil
}

// trees writes one TreeEnsembleRegressor, whose answer is FP32 whatever it compares.
func (w *writer) trees(f engine.Formula) (string, error) {
	var ids, nodes, features, yes, no, missing, leafTrees, leafNodes, leafGroups []int64
	var values, weights []float64
	var modes []string
	for t, tree := range f.Trees {
		for k, n := range tree {
			ids, nodes, features = append(ids, int64(t)), append(nodes, int64(k)), append(features, int64(n.Feature))
			yes, no, values = append(yes, int64(n.Yes)), append(no, int64(n.No)), append(values, n.Threshold)
			mode, tracks := "LEAF", int64(0)
			switch {
			case n.Yes == 0:
				for _, v := range n.Values {
					leafTrees, leafNodes, leafGroups, weights = append(leafTrees, int64(t)), append(leafNodes, int64(k)), append(leafGroups, int64(v.Group)), append(weights, v.Value)
				}
			case n.OrEqual:
				mode = "BRANCH_LEQ"
			default:
				mode = "BRANCH_LT"
			}
			if n.Yes != 0 && n.MissingYes {
				tracks = 1
			}
			modes, missing = append(modes, mode), append(missing, tracks)
		}
	}
	if len(ids) == 0 || len(weights) == 0 {
		return "", problem.New(problem.Unsupported, "The model has no trees.")
	}
	attrs := [][]byte{intAttr("n_targets", int64(f.Groups)), intsAttr("nodes_treeids", ids), intsAttr("nodes_nodeids", nodes), intsAttr("nodes_featureids", features),
		textsAttr("nodes_modes", modes), intsAttr("nodes_truenodeids", yes), intsAttr("nodes_falsenodeids", no), intsAttr("nodes_missing_value_tracks_true", missing),
		intsAttr("target_treeids", leafTrees), intsAttr("target_nodeids", leafNodes), intsAttr("target_ids", leafGroups)}
	if w.double {
		attrs = append(attrs, doublesAttr("nodes_values_as_tensor", values), doublesAttr("target_weights_as_tensor", weights))
	} else {
		narrow := func(v []float64) []float32 {
			out := make([]float32, len(v))
			for i := range v {
				out[i] = float32(v[i])
			}
			return out
		}
		attrs = append(attrs, floatsAttr("nodes_values", narrow(values)), floatsAttr("target_weights", narrow(weights)))
	}
	sums := w.add("ai.onnx.ml", "TreeEnsembleRegressor", []string{f.Input}, attrs...)
	if w.double {
		sums = w.add("", "Cast", []string{sums}, intAttr("to", elemDouble))
	}
	if f.Divide != 0 && f.Divide != 1 {
		sums = w.add("", "Div", []string{sums, w.number(nil, f.Divide)})
	}
	return w.add("", "Add", []string{sums, w.number([]int{f.Groups}, f.Base...)}), nil
}

func (w *writer) weights(f engine.Formula) string {
	x := f.Input
	if f.Fill != nil {
		// A feature without a substitute has NaN here, which stays NaN.
		x = w.add("", "Where", []string{w.add("", "IsNaN", []string{x}), w.number([]int{f.Features}, f.Fill...), x})
	}
	turned := make([]float64, len(f.Weights))
	for g := range f.Groups {
		for k := range f.Features {
			turned[k*f.Groups+g] = f.Weights[g*f.Features+k]
		}
	}
	sums := w.add("", "MatMul", []string{x, w.number([]int{f.Features, f.Groups}, turned...)})
	return w.add("", "Add", []string{sums, w.number([]int{f.Groups}, f.Base...)})
}

func (w *writer) link(f engine.Formula, v string) (string, error) {
	one := func(op string, in ...string) string { return w.add("", op, in) }
	switch f.Link {
	case engine.LinkIdentity:
		return v, nil
	case engine.LinkLogistic:
		if f.Slope != 0 && f.Slope != 1 {
			v = one("Mul", v, w.number(nil, f.Slope))
		}
		return one("Sigmoid", v), nil
	case engine.LinkExp:
		return one("Exp", v), nil
	case engine.LinkSoftmax:
		return w.add("", "Softmax", []string{v}, intAttr("axis", 1)), nil
	case engine.LinkOVR:
		v = one("Sigmoid", v)
		return one("Div", v, w.add("", "ReduceSum", []string{v, w.list(1)}, intAttr("keepdims", 1))), nil
	case engine.LinkClass:
		return w.add("", "Cast", []string{w.add("", "ArgMax", []string{v}, intAttr("axis", 1), intAttr("keepdims", 1))}, intAttr("to", w.elem())), nil
	case engine.LinkStep:
		return w.add("", "Cast", []string{one("Greater", v, w.number(nil, 0))}, intAttr("to", w.elem())), nil
	case engine.LinkSquare:
		return one("Mul", v, v), nil
	case engine.LinkSigned:
		return one("Mul", v, one("Abs", v)), nil
	case engine.LinkSoftplus: // written out, because not every runtime has it in double precision
		return one("Log", one("Add", one("Exp", v), w.number(nil, 1))), nil
	case engine.LinkInverse:
		return one("Reciprocal", v), nil
	case engine.LinkCloglog:
		return one("Sub", w.number(nil, 1), one("Exp", one("Neg", one("Exp", v)))), nil
	}
	return "", problem.New(problem.Unsupported, "The link %q has no operator.", f.Link)
}

// labels adds the output that names the winning class.
func (w *writer) labels(f engine.Formula, sums, answer string) {
	var index string
	switch {
	case f.Pair:
		p := w.add("", "Gather", []string{answer, w.list(1)}, intAttr("axis", 1))
		op := "GreaterOrEqual"
		if f.Threshold == 0.5 {
			op = "Greater"
		}
		index = w.add("", "Cast", []string{w.add("", op, []string{p, w.number(nil, f.Threshold)})}, intAttr("to", elemInt64))
		index = w.add("", "Reshape", []string{index, w.list(-1)})
	case f.Groups == 1: // scores of two classes
		index = w.add("", "Cast", []string{w.add("", "Greater", []string{sums, w.number(nil, 0)})}, intAttr("to", elemInt64))
		index = w.add("", "Reshape", []string{index, w.list(-1)})
	default:
		index = w.add("", "ArgMax", []string{sums}, intAttr("axis", 1), intAttr("keepdims", 0))
	}
	elem := int64(elemString)
	if f.Numbers != nil {
		elem = elemInt64
		w.constants = append(w.constants, int64s("classes", []int{len(f.Numbers)}, f.Numbers))
	} else {
		w.constants = append(w.constants, texts("classes", f.Labels))
	}
	w.named("", "Gather", []string{"classes", index}, f.Label, intAttr("axis", 0))
	w.outputs = append(w.outputs, portOf(f.Label, elem, []int{-1}))
}
