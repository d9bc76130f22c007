// Package onnx runs ONNX models in pure Go: the operators that skl2onnx and onnxmltools write for classical models, and
// those of small networks. Everything else is refused by the operator's name when the model is loaded.
//
// A file is read (wire.go), its graph is compiled to steps (graph.go) and each call runs them over values that live in the
// call's own arenas (values.go). The op_*.go files hold the operators. Floats are computed as the standard says, in the
// type of the model. Where terms of a float32 sum cancel, its order is all that is left of the answer: matrix products
// (op_gemm.go), kernels of support vectors, ReduceSum and ReduceMean along the first or last dimensions add in the order of
// onnxruntime on x86-64. Other sums and functions run in float64 inside and are rounded once. So answers lie within 1e-5 of
// onnxruntime's (labels and indices are the same).
//
// Input: one tensor per input of the graph, under its name; or, when the graph has one matrix and the file names its columns
// (columns.go), one tensor of shape [n] or [n, 1] per column. Numbers of another type are converted where nothing is lost:
// any number to floats, whole numbers to INT*. Where the graph wants [n, 1], [n] will do. Output: one tensor per output of the graph. A map (ZipMap) becomes its scores, FP32 [n, classes], whose columns
// the signature names.
//
// Format "onnx". Refused by name: unknown operators and domains, functions, If and Loop, maps and sequences as inputs,
// sparse and external tensors, float16 and narrower.
package onnx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Format is the only format.
const Format = "onnx"

// Engine reads ONNX files.
type Engine struct{}

// Name is "onnx".
func (Engine) Name() string { return "onnx" }

// Formats is the one form.
func (Engine) Formats() []string { return []string{Format} }

// Detect goes by the ending .onnx and the first field, which is the version of the form.
func (Engine) Detect(fsys fs.FS) ([]engine.Found, error) {
	var found []engine.Found
	err := engine.Walk(fsys, func(p string, _ fs.DirEntry) error {
		if strings.ToLower(path.Ext(p)) != ".onnx" {
			return nil
		}
		head, err := engine.Head(fsys, p, 1)
		if err != nil {
			return err
		}
		if len(head) == 1 && head[0] != 0 {
			found = append(found, engine.Found{Engine: "onnx", Format: Format, Path: p})
		}
		return nil
	})
	return found, err
}

// Load reads, checks and compiles the file, and runs it on rows of zeros to learn the shapes of its answers.
func (Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	data, err := engine.ReadFile(ctx, fsys, name, limits.WithDefaults().FileBytes)
	if err != nil {
		return nil, err
	}
	m, err := load(ctx, data)
	var p *problem.Error
	if errors.As(err, &p) {
		switch p.Kind {
		case problem.Invalid:
			return nil, problem.New(p.Kind, "The file %s is not a whole ONNX model: %s", path.Base(name), p.Detail).Because(err)
		case problem.Unsupported:
			return nil, problem.New(p.Kind, "The Go engine for ONNX cannot run %s: %s The onnxruntime engine may, or export the model without it.", path.Base(name), p.Detail).Because(err)
		}
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

type model struct {
	graph     *graph
	inputs    []Input
	outputs   []string
	signature engine.Signature
	bytes     int64
	calls     pool
	closed    atomic.Bool
}

// Input is an input of a graph; −1 in Shape is any length. Columns, when known, name the second dimension.
type Input struct {
	Name    string
	Type    tensor.Type
	Shape   []int
	Columns []string
}

func load(ctx context.Context, data []byte) (*model, error) {
	p, err := readModel(data)
	if err != nil {
		return nil, err
	}
	g, maps, err := compile(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	m := &model{graph: g, bytes: int64(len(data))}
	constants := map[string]bool{}
	for i := range p.graph.initializers {
		constants[p.graph.initializers[i].Name] = true
	}
	for _, in := range p.graph.inputs {
		if constants[in.name] {
			continue
		}
		if in.kind != 't' {
			return nil, unsupported("its input %q is a map, a sequence or of no declared type", clip(in.name))
		}
		t, err := element(in.elem, fmt.Sprintf("the input %q", clip(in.name)))
		if err != nil {
			return nil, err
		}
		if !in.ranks {
			in.shape = []int{-1, -1} // the rows of a table, where the file says nothing
		}
		m.inputs = append(m.inputs, Input{Name: in.name, Type: t, Shape: in.shape})
		m.signature.Inputs = append(m.signature.Inputs, engine.Spec{Name: in.name, Datatype: t.String(), Shape: in.shape})
	}
	columns, err := Columns(data)
	if err != nil {
		return nil, err
	}
	if err := Know(m.signature.Inputs, columns); err != nil {
		return nil, err
	}
	for i := range m.inputs {
		m.inputs[i].Columns = m.signature.Inputs[i].Columns
	}
	if len(m.inputs) == 0 || len(p.graph.outputs) == 0 {
		return nil, broken("its graph has %d inputs and %d outputs", len(m.inputs), len(p.graph.outputs))
	}
	for _, out := range p.graph.outputs {
		m.outputs = append(m.outputs, out.name)
	}
	two, err := m.probe(ctx, 2)
	if err != nil {
		return nil, err
	}
	three, err := m.probe(ctx, 3)
	if err != nil {
		return nil, err
	}
	for i, out := range p.graph.outputs {
		spec := engine.Spec{Name: out.name, Columns: maps[out.name]}
		if out.kind == 't' {
			t, err := element(out.elem, fmt.Sprintf("the output %q", clip(out.name)))
			if err != nil {
				return nil, err
			}
			spec.Datatype, spec.Shape = t.String(), out.shape
		} else if spec.Columns == nil && out.kind != 0 {
			return nil, unsupported("its output %q is a map or a sequence that no ZipMap makes", clip(out.name))
		}
		if spec.Columns != nil {
			spec.Datatype, spec.Shape, spec.Doc = "FP32", []int{-1, len(spec.Columns)}, "the score of each class"
		}
		if two != nil && three != nil {
			// What the graph really gives counts; files often declare shapes that are not so.
			spec.Datatype = two[i].Type.String()
			spec.Shape = Agreed(out.shape, two[i].Shape, three[i].Shape, out.kind == 't' && out.ranks)
		} else if spec.Datatype == "" || spec.Shape == nil && !out.ranks {
			return nil, unsupported("it does not declare the type and shape of its output %q, and they do not follow from its inputs", clip(out.name))
		}
		if spec.Shape == nil {
			spec.Shape = []int{}
		}
		m.signature.Outputs = append(m.signature.Outputs, spec)
	}
	if err := Know(m.signature.Outputs, columns); err != nil {
		return nil, err
	}
	return m, nil
}

// Agreed is the shape that the declaration, if it is known, and two runs have in common.
func Agreed(declared, a, b []int, known bool) []int {
	out := make([]int, len(a))
	for i := range out {
		if out[i] = -1; len(a) == len(b) && a[i] == b[i] && (!known || len(declared) != len(a) || declared[i] == a[i]) {
			out[i] = a[i]
		}
	}
	return out
}

// probe runs the model on zeros, with n for every open dimension; nil when it cannot answer them, which may well be.
func (m *model) probe(ctx context.Context, n int) ([]tensor.Tensor, error) {
	c := newCall(m.graph, max(1<<20, 8*m.bytes))
	for i, in := range m.inputs {
		shape := make([]int, len(in.Shape))
		for k, d := range in.Shape {
			if shape[k] = d; d < 0 {
				shape[k] = n
			}
		}
		count, err := tensor.Count(shape, int(max(1<<14, m.bytes)))
		if err != nil {
			return nil, nil // the declared shape alone is larger than the file: only callers fill it
		}
		t := Zeros(in.Type, shape, count)
		c.values[m.graph.inputs[i]] = &t
	}
	if err := c.run(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, nil
	}
	out := make([]tensor.Tensor, len(m.outputs))
	for i, at := range m.graph.outputs {
		out[i] = tensor.Tensor{Type: c.values[at].Type, Shape: append([]int{}, c.values[at].Shape...)}
	}
	return out, nil
}

// Zeros is a tensor of count zeros, which is what shape takes.
func Zeros(typ tensor.Type, shape []int, count int) tensor.Tensor {
	t := tensor.Tensor{Type: typ, Shape: shape}
	switch typ {
	case tensor.FP32, tensor.FP16, tensor.BF16:
		t.F32 = make([]float32, count)
	case tensor.FP64:
		t.F64 = make([]float64, count)
	case tensor.Bool:
		t.B = make([]bool, count)
	case tensor.Bytes:
		t.S = make([]string, count)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		t.U64 = make([]uint64, count)
	default:
		t.I64 = make([]int64, count)
	}
	return t
}

func (m *model) Signature() engine.Signature { return m.signature }

// MemoryBytes is about what the file holds; tensors keep their size, nodes are smaller.
func (m *model) MemoryBytes() int64 { return m.bytes }

func (m *model) Close() error {
	m.closed.Store(true)
	return nil
}

// uneven says beside a refusal of the graph that inputs have different numbers of rows, which a graph may take but which is
// most often why it does not.
func uneven(err error, in []tensor.Tensor) error {
	p, ok := problem.As(err)
	if !ok || p.Kind != problem.Invalid {
		return err
	}
	for i := range in {
		if a, b := &in[0], &in[i]; a.Rows() != b.Rows() {
			return problem.New(problem.Invalid, "The input %q has %d rows and %q has %d. %s", clip(a.Name), a.Rows(), clip(b.Name), b.Rows(), p.Detail).At("inputs")
		}
	}
	return err
}

// Predict runs the graph once over all rows.
func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if m.closed.Load() {
		return nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run the model: %w", err)
	}
	c, ok := m.calls.Get().(*call)
	if !ok {
		c = newCall(m.graph, callBytes)
	}
	bound := make([]tensor.Tensor, len(m.inputs))
	if err := Bind(m.inputs, in, bound); err != nil {
		m.calls.put(c)
		return nil, err
	}
	for i, at := range m.graph.inputs {
		c.values[at] = &bound[i]
	}
	if err := c.run(ctx); err != nil {
		err = uneven(err, bound)
		m.calls.put(c)
		return nil, err
	}
	out := make([]tensor.Tensor, len(m.outputs))
	for i, at := range m.graph.outputs {
		out[i] = own(c.values[at])
		out[i].Name = m.outputs[i]
		if !m.signature.Outputs[i].Fits(out[i].Shape) || out[i].Type.String() != m.signature.Outputs[i].Datatype {
			err := problem.New(problem.Invalid, "The model answers %q as %s %v for these inputs, but its signature says %s %v.", clip(m.outputs[i]), out[i].Type, out[i].Shape, m.signature.Outputs[i].Datatype, m.signature.Outputs[i].Shape).At("inputs")
			m.calls.put(c)
			return nil, err
		}
	}
	m.calls.put(c)
	return out, nil
}

// own copies a value out of the call's memory.
func own(t *tensor.Tensor) tensor.Tensor {
	return tensor.Tensor{Type: t.Type, Shape: append([]int{}, t.Shape...), F32: append([]float32(nil), t.F32...), F64: append([]float64(nil), t.F64...),
		I64: append([]int64(nil), t.I64...), U64: append([]uint64(nil), t.U64...), B: append([]bool(nil), t.B...), S: append([]string(nil), t.S...)}
}

// Bind finds the tensor of each input among those of a call and brings it to the input's type and shape in bound, which
// is as long as inputs. Where the only input has columns, one tensor for each of them does as well. It fails with
// problem.Invalid, naming what does not fit; in stays as it is, bound may share with it.
func Bind(inputs []Input, in, bound []tensor.Tensor) error {
	if len(inputs) == 1 && len(inputs[0].Columns) > 0 && len(in) > 1 {
		return matrix(inputs[0], in, &bound[0])
	}
	if len(in) != len(inputs) {
		return problem.New(problem.Invalid, "The request has %d inputs; the model takes %d: %s.", len(in), len(inputs), names(inputs)).At("inputs")
	}
	for k, want := range inputs {
		i := k
		if in[i].Name != want.Name && len(in) > 1 {
			for i = 0; i < len(in) && in[i].Name != want.Name; i++ {
			}
			if i == len(in) {
				return problem.New(problem.Invalid, "The input %q is missing from the request; the model takes %s.", clip(want.Name), names(inputs)).At("inputs")
			}
		}
		t := &in[i]
		shape := t.Shape
		if len(shape) == 1 && len(want.Shape) == 2 && want.Shape[1] == 1 {
			shape = []int{shape[0], 1}
		}
		if !(engine.Spec{Shape: want.Shape}).Fits(shape) {
			return problem.New(problem.Invalid, "Tensor %q has shape %v; the model takes %v, where -1 is any length.", clip(t.Name), t.Shape, want.Shape).At(fmt.Sprintf("inputs[%d].shape", i))
		}
		if err := convert(&bound[k], t, want.Type); err != nil {
			return err.At(fmt.Sprintf("inputs[%d].datatype", i))
		}
		bound[k].Shape = shape
	}
	return nil
}

func names(inputs []Input) string {
	var list []string
	for _, in := range inputs {
		if list = append(list, fmt.Sprintf("%q %s %v", clip(in.Name), in.Type, in.Shape)); len(list) == 8 {
			list = append(list, "…")
			break
		}
	}
	return strings.Join(list, ", ")
}

// convert gives t's values as want, where nothing but the last digits of a float is lost.
func convert(out, t *tensor.Tensor, want tensor.Type) *problem.Error {
	if t.Type == want {
		*out = *t
		return nil
	}
	no := problem.New(problem.Invalid, "Tensor %q is %s; the model takes %s.", clip(t.Name), t.Type, want)
	if t.Type == tensor.Bytes || want == tensor.Bytes || want == tensor.Bool {
		return no
	}
	n := t.Len()
	out.Type = want
	switch want {
	case tensor.FP32, tensor.FP16, tensor.BF16:
		out.F32 = make([]float32, n)
		t.CopyFloat32(out.F32, 0, 1)
	case tensor.FP64:
		out.F64 = make([]float64, n)
		for i := range out.F64 {
			out.F64[i] = t.Float64(i)
		}
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		out.I64 = make([]int64, n)
		for i := range out.I64 {
			v := t.Float64(i)
			if t.I64 != nil {
				out.I64[i] = t.I64[i]
			} else if out.I64[i] = toInt(v); float64(out.I64[i]) != v {
				return problem.New(problem.Invalid, "Value %d of tensor %q is %v; the model takes whole numbers, %s.", i, clip(t.Name), v, want)
			}
			if wrapInt(want, out.I64[i]) != out.I64[i] {
				return problem.New(problem.Invalid, "Value %d of tensor %q is %d, which %s cannot hold.", i, clip(t.Name), out.I64[i], want)
			}
		}
	default:
		out.U64 = make([]uint64, n)
		for i := range out.U64 {
			v := t.Float64(i)
			if t.U64 != nil {
				out.U64[i] = t.U64[i]
			} else if out.U64[i] = uint64(max(toInt(v), 0)); float64(out.U64[i]) != v {
				return problem.New(problem.Invalid, "Value %d of tensor %q is %v; the model takes whole numbers, %s.", i, clip(t.Name), v, want)
			}
			if wrapUint(want, out.U64[i]) != out.U64[i] {
				return problem.New(problem.Invalid, "Value %d of tensor %q is %d, which %s cannot hold.", i, clip(t.Name), out.U64[i], want)
			}
		}
	}
	return nil
}
