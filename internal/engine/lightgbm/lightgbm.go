// Package lightgbm runs LightGBM models in pure Go: the text form that Booster.save_model writes, versions v2 to v4, all
// boosters (gbdt, dart, goss, rf), numerical and categorical splits, the missing types None, Zero and NaN.
//
// Input: one tensor "input" of shape [n, k] of any numeric type or BOOL, whose
// columns are the model's features in order; or one tensor of shape [n] or [n, 1] per feature, under its name (blanks
// may stand for the underscores that LightGBM puts in their place), in any order. None may be left out. NaN is a missing
// value. Where the file holds the category names of a pandas column, that column's own tensor may be BYTES with the
// names; a name that is not in the file is a missing value. Numbers in such a column are codes.
//
// Output: one FP64 tensor "predict" of shape [n, w], what Booster.predict answers with all trees: w is the number of
// classes for multiclass and multiclassova, else 1. Raw scores are bit for bit LightGBM's: the same comparisons in double,
// leaves added in the same order. So are the answers where an exponential or a logarithm follows (binary, multiclass, poisson,
// cross_entropy_lambda, …), as long as LightGBM stands on glibc on a processor that multiplies and adds in one step.
//
// Leaves of linear trees (linear_tree=true) compute their formulas. Format "lightgbm-text". Refused by name: unknown objectives, category lists of numbers.
package lightgbm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// The names of the tensors and of the format.
const (
	Input  = "input"
	Output = "predict"
	Format = "lightgbm-text"
)

// Engine reads LightGBM's text files.
type Engine struct{}

// Name is "lightgbm".
func (Engine) Name() string { return "lightgbm" }

// Formats is the text form.
func (Engine) Formats() []string { return []string{Format} }

// Detect looks at the first bytes of .txt, .lgb and .model files.
func (Engine) Detect(fsys fs.FS) ([]engine.Found, error) {
	var found []engine.Found
	err := engine.Walk(fsys, func(p string, _ fs.DirEntry) error {
		switch path.Ext(p) {
		case ".txt", ".lgb", ".model":
		default:
			return nil
		}
		head, err := engine.Head(fsys, p, 64)
		if err != nil {
			return err
		}
		if sniff(head) {
			found = append(found, engine.Found{Engine: "lightgbm", Format: Format, Path: p})
		}
		return nil
	})
	return found, err
}

// sniff wants the line "tree" and a first key behind it, which a list of plants does not have.
func sniff(head []byte) bool {
	first, rest, _ := bytes.Cut(head, []byte("\n"))
	if string(bytes.TrimSuffix(first, []byte("\r"))) != "tree" {
		return false
	}
	key, _, ok := bytes.Cut(rest, []byte("="))
	return ok && (string(key) == "version" || string(key) == "num_class")
}

// Load reads and checks the file whole before it answers.
func (Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	data, err := engine.ReadFile(ctx, fsys, name, limits.WithDefaults().FileBytes)
	if err != nil {
		return nil, err
	}
	m, err := newModel(ctx, data)
	var p *problem.Error
	if errors.As(err, &p) && p.Kind == problem.Invalid {
		return nil, problem.New(problem.Invalid, "The file %s is not a whole LightGBM model: %s", path.Base(name), p.Detail).Because(err)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

type model struct {
	trees      *forest
	convert    convert
	objective  string  // the line of the file
	iterations float64 // what margins are divided by; 0 for not at all
	columns    []string
	codes      map[int]map[string]float64 // by column: the code of each category name
	signature  engine.Signature
	rows       sync.Pool // *[]float64
	closed     atomic.Bool
	reasons    func() (*reasons, error)
}

func newModel(ctx context.Context, data []byte) (*model, error) {
	f, err := read(ctx, data)
	if err != nil {
		return nil, err
	}
	m := &model{trees: f.trees, columns: f.columns}
	objective, c, err := parseObjective(string(f.header["objective"][:min(len(f.header["objective"]), 1024)]), m.trees.groups)
	if err != nil {
		return nil, err
	}
	m.convert, m.objective = c, string(f.header["objective"][:min(len(f.header["objective"]), 1024)])
	if m.codes, err = f.categories(); err != nil {
		return nil, err
	}
	if f.average {
		m.iterations = float64(len(m.trees.roots) / m.trees.groups)
	}
	m.signature = engine.Signature{
		Inputs:  []engine.Spec{{Name: Input, Datatype: "FP64", Shape: []int{-1, m.trees.features}, Columns: m.columns}},
		Outputs: []engine.Spec{{Name: Output, Datatype: "FP64", Shape: []int{-1, m.trees.groups}, Doc: objective}},
	}
	m.rows.New = func() any { return new([]float64) }
	m.reasons = sync.OnceValues(m.explainable)
	return m, nil
}

func (m *model) Signature() engine.Signature { return m.signature }

func (m *model) MemoryBytes() int64 { return m.trees.bytes() }

func (m *model) Close() error {
	m.closed.Store(true)
	return nil
}

var missing = math.NaN()

// predictBlock is the number of rows between two looks at ctx.
const predictBlock = 4096

func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if m.closed.Load() {
		return nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	buffer := m.rows.Get().(*[]float64)
	defer m.rows.Put(buffer)
	rows, n, err := m.matrix(in, buffer)
	if err != nil {
		return nil, err
	}
	groups, k := m.trees.groups, m.trees.features
	out := make([]float64, n*groups)
	for from := 0; from < n; from += predictBlock {
		to := min(from+predictBlock, n)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("predict row %d: %w", from, err)
		}
		m.trees.add(rows[from*k:to*k], out[from*groups:to*groups], to-from)
		for i := from; i < to; i++ {
			row := out[i*groups : (i+1)*groups]
			if m.iterations > 0 {
				for g := range row {
					row[g] /= m.iterations
				}
			}
			m.convert(row)
		}
	}
	return []tensor.Tensor{tensor.FP64s(Output, []int{n, groups}, out)}, nil
}

// matrix copies the rows of a call, row-major, into the buffer. As in LightGBM, a value within zeroThreshold of 0 is 0.
func (m *model) matrix(in []tensor.Tensor, buffer *[]float64) ([]float64, int, error) {
	k := m.trees.features
	if len(in) == 0 {
		return nil, 0, problem.New(problem.Invalid, "The request has no inputs; the model takes one tensor %q of shape [n, %d].", Input, k).At("inputs")
	}
	n := in[0].Rows()
	if len(in) == 1 && !m.oneColumn(&in[0]) {
		t := &in[0]
		if t.Type == tensor.Bytes {
			return nil, 0, problem.New(problem.Invalid, "Tensor %q is BYTES; the model takes numbers.", t.Name).At("inputs[0].datatype")
		}
		if len(t.Shape) != 2 || t.Shape[1] != k {
			return nil, 0, problem.New(problem.Invalid, "Tensor %q has shape %v; the model takes [n, %d], one column per feature.", t.Name, t.Shape, k).At("inputs[0].shape")
		}
		rows := grow(buffer, n*k)
		fill(rows, t, 0, 1)
		return rows, n, nil
	}
	if len(in) != k {
		return nil, 0, problem.New(problem.Invalid, "The request has %d inputs; the model takes one tensor of shape [n, %d] or one per feature, %d in all.", len(in), k, k).At("inputs")
	}
	for i := range in {
		if t := &in[i]; len(t.Shape) == 0 || len(t.Shape) > 2 || t.Shape[0] != n || t.Len() != n {
			return nil, 0, problem.New(problem.Invalid, "Feature tensor %q has shape %v; all need the shape [%d] or [%d, 1].", t.Name, t.Shape, n, n).At(fmt.Sprintf("inputs[%d].shape", i))
		}
	}
	rows := grow(buffer, n*k)
	for c, name := range m.columns {
		i := c // callers mostly send the columns in order
		if !named(&in[i], name) {
			for i = 0; i < len(in) && !named(&in[i], name); i++ {
			}
			if i == len(in) {
				return nil, 0, problem.New(problem.Invalid, "The feature %q is missing from the request; send NaN for a missing value.", name).At("inputs")
			}
		}
		t := &in[i]
		if t.Type != tensor.Bytes {
			fill(rows, t, c, k)
			continue
		}
		codes := m.codes[c]
		if len(codes) == 0 {
			return nil, 0, problem.New(problem.Invalid, "Feature tensor %q is BYTES; the model takes numbers.", name).At(fmt.Sprintf("inputs[%d].datatype", i))
		}
		for r, s := range t.S {
			code, ok := codes[s]
			if !ok {
				code = missing
			}
			rows[r*k+c] = code
		}
	}
	return rows, n, nil
}

// named tells whether t is the feature of that name, where LightGBM's underscores may still be blanks.
func named(t *tensor.Tensor, name string) bool {
	return t.Name == name || len(t.Name) == len(name) && strings.ReplaceAll(t.Name, " ", "_") == name
}

// oneColumn tells whether t is the single feature of a model with one feature.
func (m *model) oneColumn(t *tensor.Tensor) bool {
	return len(m.columns) == 1 && named(t, m.columns[0])
}

func grow(buffer *[]float64, n int) []float64 {
	if cap(*buffer) < n {
		*buffer = make([]float64, n)
	}
	return (*buffer)[:n]
}

// fill writes the numbers of t to dst[offset], dst[offset+stride], …
func fill(dst []float64, t *tensor.Tensor, offset, stride int) {
	p := offset
	switch t.Type {
	case tensor.FP64:
		for _, v := range t.F64 {
			dst[p] = flush(v)
			p += stride
		}
	case tensor.FP32, tensor.FP16, tensor.BF16:
		for _, v := range t.F32 {
			dst[p] = flush(float64(v))
			p += stride
		}
	default:
		for i := range t.Len() {
			dst[p] = t.Float64(i)
			p += stride
		}
	}
}

func flush(v float64) float64 {
	if v >= -zeroThreshold && v <= zeroThreshold {
		return 0
	}
	return v
}
