// Package onnxruntime runs ONNX models by the onnxruntime library, for what the Go engine (package onnx) cannot do:
// recurrent and large networks, control flow, half precision, functions, Microsoft's own operators.
//
// The library is C++ code that can crash, so it never enters the server. Each loaded model has a process of its own, the
// same program started with a word of its own (Child), which opens the library through purego, without cgo, and answers
// over two pipes:
//
//	server: read file → Inspect in Go → unlinked copy → start the process ─▶ child: rules for files → becomes itself again →
//	        filter of system calls → open library → bounds → session
//	call:   bind to the signature → frame of tensors ─▶ Run → frame of tensors ─▶ answer
//
// When a process ends on its own, the calls that were in it fail as unavailable, the next call starts it again, and while
// it keeps ending there is a growing pause in between (engine.Restarts). Other models do not notice. A start belongs to no
// call: all that want a process wait for the same one, each as long as it likes. A call whose caller has gone is told to
// stop; if it does not within a grace period the process is ended.
//
// The engine stands in for the format "onnx" under the format "onnxruntime": a version gets it when the Go engine refuses
// the file. The library is never fetched or opened by itself: an operator installs it (package runtime, keelson runtime
// install onnxruntime), and only the version this build was written for is opened.
//
// What ZipMap makes maps of stays a tensor of scores, as in the Go engine. Refused by name: tensors in files of their own,
// sparse tensors, custom operators, other maps, sequences and optional values as inputs or outputs, complex numbers and floats of less than 16 bits there.
package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"runtime"
	"strings"
	"sync/atomic"

	"keelson/internal/engine"
	"keelson/internal/engine/onnx"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Format is the only format: an ONNX file that this engine runs.
const Format = "onnxruntime"

// Word is the argument by which the program becomes a child.
const Word = "internal-onnxruntime"

// Version is the one version of the library that is opened; apiVersion is the version of its C API.
const (
	Version    = "1.31.1"
	apiVersion = 31
)

// Bounds of an answer.
const (
	maxElements = 1 << 28
	maxAnswer   = 1 << 30 // bytes
)

// domains are those whose operators the library brings with it.
var domains = []string{"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc"}

// Engine runs models in child processes. Library is required; without Self nothing can be loaded.
type Engine struct {
	// Library gives the path of the installed library; it fails with problem.Unsupported when there is none.
	Library func() (string, error)
	// Self is the command that becomes the child: this program and the word by which it calls Child.
	Self []string
	// Threads compute one call; 0 means 1, whose answers do not depend on the machine's cores.
	Threads int
	// Memory bounds a child's writable memory in bytes; 0 means 4 GiB and eight times the file.
	Memory int64
	Log    *slog.Logger // may be nil
	// Fell hears of every process of a loaded version that ended by itself; ctx is that of its load. nil tells nobody.
	Fell func(ctx context.Context, f engine.Fall)

	limits engine.Limits // of the load, for the starts that follow
}

// Name is "onnxruntime".
func (Engine) Name() string { return "onnxruntime" }

// Formats is the one form.
func (Engine) Formats() []string { return []string{Format} }

// StandsInFor is the format of the Go engine.
func (Engine) StandsInFor() string { return onnx.Format }

// Detect finds what the Go engine finds.
func (Engine) Detect(fsys fs.FS) ([]engine.Found, error) {
	found, err := onnx.Engine{}.Detect(fsys)
	for i := range found {
		found[i].Engine, found[i].Format = "onnxruntime", Format
	}
	return found, err
}

// Load inspects the file, starts its process and runs it on rows of zeros to learn the shapes of its answers.
func (e Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	limits = limits.WithDefaults()
	e.limits = limits
	data, err := engine.ReadFile(ctx, fsys, name, limits.FileBytes)
	if err != nil {
		return nil, err
	}
	if err := onnx.Inspect(data, domains); err != nil {
		return nil, refused(name, err)
	}
	data, columns, err := onnx.Unzip(data)
	if err != nil {
		return nil, refused(name, err)
	}
	names, err := onnx.Columns(data)
	if err != nil {
		return nil, refused(name, err)
	}
	library, err := e.Library()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()
	h, err := newHost(ctx, e, library, data)
	if err != nil {
		return nil, refused(name, err)
	}
	m := &model{host: h, bytes: int64(len(data))}
	if err := m.describe(ctx, columns, names); err != nil {
		return nil, errors.Join(refused(name, err), h.close())
	}
	return m, nil
}

// refused puts the file's name before a sentence about it.
func refused(name string, err error) error {
	if p, ok := problem.As(err); ok && (p.Kind == problem.Invalid || p.Kind == problem.Unsupported) {
		return problem.New(p.Kind, "The onnxruntime engine does not run %s: %s", path.Base(name), p.Detail).Because(err)
	}
	return err
}

// port is an input or an output of a model, as the library describes it.
type port struct {
	Name  string      `json:"name"`
	Type  tensor.Type `json:"type"`
	Shape []int       `json:"shape"`
}

type model struct {
	host      *host
	inputs    []onnx.Input
	signature engine.Signature
	bytes     int64
	closed    atomic.Bool
}

// describe makes the signature. columns names the scores of outputs that were maps, names the columns of any matrix.
func (m *model) describe(ctx context.Context, columns, names map[string][]string) error {
	about := m.host.about
	for _, p := range about.Inputs {
		shape := p.Shape
		m.inputs = append(m.inputs, onnx.Input{Name: p.Name, Type: p.Type, Shape: shape})
		m.signature.Inputs = append(m.signature.Inputs, engine.Spec{Name: p.Name, Datatype: p.Type.String(), Shape: shape})
	}
	if err := onnx.Know(m.signature.Inputs, names); err != nil {
		return err
	}
	for i := range m.inputs {
		m.inputs[i].Columns = m.signature.Inputs[i].Columns
	}
	two, err := m.probe(ctx, 2)
	if err != nil {
		return err
	}
	three, err := m.probe(ctx, 3)
	if err != nil {
		return err
	}
	for i, p := range about.Outputs {
		spec := engine.Spec{Name: p.Name, Datatype: p.Type.String(), Shape: p.Shape}
		if two != nil && three != nil { // what the model really gives counts; files often declare shapes that are not so
			spec.Datatype = two[i].Type.String()
			spec.Shape = onnx.Agreed(p.Shape, two[i].Shape, three[i].Shape, true)
		}
		if words := columns[p.Name]; len(spec.Shape) == 2 && spec.Shape[1] == len(words) {
			spec.Columns, spec.Doc = words, "the score of each class"
		}
		m.signature.Outputs = append(m.signature.Outputs, spec)
	}
	if err := onnx.Know(m.signature.Outputs, names); err != nil {
		return err
	}
	return m.signature.Check()
}

// probe runs the model on zeros, with n for every open dimension; nil when it cannot answer them, which may well be.
func (m *model) probe(ctx context.Context, n int) ([]tensor.Tensor, error) {
	in := make([]tensor.Tensor, len(m.inputs))
	for i, want := range m.inputs {
		shape := make([]int, len(want.Shape))
		for k, d := range want.Shape {
			if shape[k] = d; d < 0 {
				shape[k] = n
			}
		}
		count, err := tensor.Count(shape, int(max(1<<20, m.bytes)))
		if err != nil {
			return nil, nil // the declared shape alone is larger than the file: only callers fill it
		}
		in[i] = onnx.Zeros(want.Type, shape, count)
		in[i].Name = want.Name
	}
	out, err := m.host.run(ctx, in)
	if k := problem.KindOf(err); err != nil && (k == problem.Invalid || k == problem.Unsupported || k == problem.TooLarge) {
		return nil, nil
	}
	return out, err
}

func (m *model) Signature() engine.Signature { return m.signature }

// MemoryBytes is what the process held when it had loaded the model.
func (m *model) MemoryBytes() int64 { return max(m.bytes, m.host.about.Memory) }

func (m *model) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	return m.host.close()
}

// Predict sends the rows through the process.
func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if m.closed.Load() {
		return nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run the model: %w", err)
	}
	bound := make([]tensor.Tensor, len(m.inputs))
	if err := onnx.Bind(m.inputs, in, bound); err != nil {
		return nil, err
	}
	for i := range bound {
		bound[i].Name = m.inputs[i].Name
	}
	out, err := m.host.run(ctx, bound)
	if err != nil {
		return nil, err
	}
	for i := range out {
		want := m.signature.Outputs[i]
		if !want.Fits(out[i].Shape) || out[i].Type.String() != want.Datatype {
			return nil, problem.New(problem.Invalid, "The model answers %q as %s %v for these inputs, but its signature says %s %v.", clip(want.Name), out[i].Type, out[i].Shape, want.Datatype, want.Shape).At("inputs")
		}
	}
	return out, nil
}

func (e Engine) threads() int { return min(max(e.Threads, 1), 4*runtime.NumCPU()) }

// clip shortens what others wrote, in one line.
func clip(s string) string { return problem.Clip(strings.Join(strings.Fields(s), " "), 300) }
