// Package linear runs linear and generalised linear models from a small JSON file that people and converters write: a
// sum of coefficients over numbers and categories, and a link. See Document for the form.
//
// Input: when all features are numbers, one tensor "input" of shape [n, k] of any numeric type or BOOL whose columns are the
// features in order; always, one tensor of shape [n] or [n, 1] per feature, under its name, in any order. Categories of
// texts are BYTES. None may be left out.
//
// The document may name the matrix and the numbers otherwise.
//
// Output: "predict", FP64. For a regression [n, targets]; with classes [n, classes], the probability of each, or, with the
// link identity, the scores ([n, 1] when two classes share one row of coefficients). With classes, "label" [n] follows:
// BYTES or INT64, the class that wins.
//
// The link says how the sum η becomes the answer: identity η, log exp(η), logit 1/(1+exp(−η)), probit Φ(η), cloglog
// 1−exp(−exp(η)), sqrt η², inverse 1/η, inverse_squared 1/√η, softmax over the classes, ovr the logistic of each class
// divided by their sum (scikit-learn's one against the rest). Everything is float64, summed in the order of the columns.
//
// Format "keelson-linear".
package linear

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync/atomic"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// The names of the tensors and of the format.
const (
	Input  = "input"
	Output = "predict"
	Label  = "label"
	Format = "keelson-linear"
)

// Engine reads linear models.
type Engine struct{}

// Name is "linear".
func (Engine) Name() string { return "linear" }

// Formats is the one form.
func (Engine) Formats() []string { return []string{Format} }

// Detect takes files that end in .linear.json and name the form in their first 4 KiB.
func (Engine) Detect(fsys fs.FS) ([]engine.Found, error) {
	var found []engine.Found
	err := engine.Walk(fsys, func(p string, _ fs.DirEntry) error {
		if !strings.HasSuffix(p, ".linear.json") {
			return nil
		}
		head, err := engine.Head(fsys, p, 4096)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) {
			found = append(found, engine.Found{Engine: "linear", Format: Format, Path: p})
		}
		return nil
	})
	return found, err
}

// Load reads and checks the file.
func (Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	data, err := engine.ReadFile(ctx, fsys, name, min(limits.WithDefaults().FileBytes, 64<<20))
	if err != nil {
		return nil, err
	}
	f, err := parse(data)
	if p, ok := problem.As(err); ok {
		return nil, problem.New(p.Kind, "%s: %s", path.Base(name), p.Detail).Because(err)
	}
	if err != nil {
		return nil, err
	}
	return newModel(f), nil
}

type model struct {
	*formula
	signature engine.Signature
	closed    atomic.Bool
}

func newModel(f *formula) *model {
	m := &model{formula: f}
	if f.texts {
		for _, x := range f.features {
			spec := engine.Spec{Name: x.name, Datatype: "FP64", Shape: []int{-1}}
			if x.text {
				spec.Datatype = "BYTES"
			}
			m.signature.Inputs = append(m.signature.Inputs, spec)
		}
	} else {
		spec := engine.Spec{Name: f.input, Datatype: "FP64", Shape: []int{-1, len(f.features)}}
		for _, x := range f.features {
			spec.Columns = append(spec.Columns, x.name)
		}
		m.signature.Inputs = []engine.Spec{spec}
	}
	out := engine.Spec{Name: f.output, Datatype: "FP64", Shape: []int{-1, f.width()}, Columns: f.targets, Doc: "link " + f.link}
	if len(f.classes) == f.width() {
		out.Columns = f.classes
	}
	m.signature.Outputs = []engine.Spec{out}
	if len(f.classes) > 0 {
		spec := engine.Spec{Name: Label, Datatype: "BYTES", Shape: []int{-1}, Doc: "the class that wins"}
		if f.numbers != nil {
			spec.Datatype = "INT64"
		}
		m.signature.Outputs = append(m.signature.Outputs, spec)
	}
	return m
}

// width is the number of values per row.
func (f *formula) width() int {
	if len(f.classes) == 2 && f.rows == 1 && f.link != "identity" {
		return 2
	}
	return f.rows
}

func (m *model) Signature() engine.Signature { return m.signature }

func (m *model) MemoryBytes() int64 { return int64(8*len(m.weights) + 128*m.columns) }

func (m *model) Close() error {
	m.closed.Store(true)
	return nil
}

// links are the inverse link functions of one sum.
var links = map[string]func(float64) float64{
	"identity":        func(v float64) float64 { return v },
	"log":             math.Exp,
	"logit":           logistic,
	"probit":          func(v float64) float64 { return math.Erfc(-v/math.Sqrt2) / 2 },
	"cloglog":         func(v float64) float64 { return -math.Expm1(-math.Exp(v)) },
	"sqrt":            func(v float64) float64 { return v * v },
	"inverse":         func(v float64) float64 { return 1 / v },
	"inverse_squared": func(v float64) float64 { return 1 / math.Sqrt(v) },
}

func logistic(v float64) float64 {
	if v < 0 {
		e := math.Exp(v)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-v))
}

// Predict answers all rows.
func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if m.closed.Load() {
		return nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	columns, n, err := m.bind(in)
	if err != nil {
		return nil, err
	}
	w := m.width()
	out := make([]float64, n*w)
	sums := make([]float64, m.rows)
	labels := tensor.Tensor{Name: Label, Type: tensor.Bytes, Shape: []int{n}}
	if m.numbers != nil {
		labels.Type = tensor.Int64
	}
	for r := range n {
		if r%1024 == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("predict row %d: %w", r, ctx.Err())
		}
		if err := m.sum(columns, r, sums); err != nil {
			return nil, err
		}
		row := out[r*w : (r+1)*w]
		class := m.answer(sums, row)
		switch {
		case m.numbers != nil:
			labels.I64 = append(labels.I64, m.numbers[class])
		case m.classes != nil:
			labels.S = append(labels.S, m.classes[class])
		}
	}
	if n == 0 && ctx.Err() != nil {
		return nil, fmt.Errorf("predict: %w", ctx.Err())
	}
	answer := []tensor.Tensor{tensor.FP64s(m.output, []int{n, w}, out)}
	if m.classes != nil {
		answer = append(answer, labels)
	}
	return answer, nil
}

// column is where a feature's values stand in a call: value r of t at r·stride + offset.
type column struct {
	t              *tensor.Tensor
	offset, stride int
}

// sum computes η of one row for every row of coefficients.
func (m *model) sum(columns []column, r int, sums []float64) error {
	copy(sums, m.intercept)
	for i := range m.features {
		f, c := &m.features[i], columns[i]
		at := r*c.stride + c.offset
		if f.words == nil && f.numbers == nil {
			v := c.t.Float64(at)
			if v != v && f.missing != nil {
				v = *f.missing
			}
			if v-v != 0 {
				return problem.New(problem.Invalid, "Row %d has %v for %q; the model takes finite numbers and says nothing of missing ones.", r, v, f.name).At("inputs")
			}
			v = (v - f.mean) / f.scale
			for k := range sums {
				sums[k] += v * m.weights[k*m.columns+f.column]
			}
			continue
		}
		var at2 int
		var ok bool
		if f.text {
			at2, ok = f.words[c.t.S[at]]
		} else {
			at2, ok = f.numbers[c.t.Float64(at)]
		}
		if !ok {
			if !f.zero {
				return problem.New(problem.Invalid, "Row %d has a category of %q that the model does not know.", r, f.name).At("inputs")
			}
			continue
		}
		for k := range sums {
			sums[k] += m.weights[k*m.columns+at2]
		}
	}
	return nil
}

// answer turns the sums of a row into its values and gives the class that wins.
func (m *model) answer(sums, row []float64) (class int) {
	switch {
	case m.link == "softmax" || m.link == "ovr":
		top, total := sums[0], 0.0
		for _, v := range sums {
			top = math.Max(top, v)
		}
		for k, v := range sums {
			if row[k] = math.Exp(v - top); m.link == "ovr" {
				row[k] = logistic(v)
			}
			total += row[k]
		}
		for k := range row {
			if total == 0 { // ovr: no class claims the row
				row[k] = 1 / float64(len(row))
			} else {
				row[k] /= total
			}
		}
	case len(m.classes) == 2 && m.rows == 1:
		p := links[m.link](sums[0])
		if m.link == "identity" {
			if row[0] = p; p > 0 {
				return 1
			}
			return 0
		}
		if row[0], row[1] = 1-p, p; p > m.threshold || p == m.threshold && m.threshold != 0.5 {
			return 1
		}
		return 0
	default:
		for k, v := range sums {
			row[k] = links[m.link](v)
		}
	}
	for k := range sums {
		if sums[k] > sums[class] {
			class = k
		}
	}
	return class
}

// bind finds every feature in the tensors of a call.
func (m *model) bind(in []tensor.Tensor) ([]column, int, error) {
	k := len(m.features)
	if len(in) == 0 {
		return nil, 0, problem.New(problem.Invalid, "The request has no inputs; the model takes %s.", m.takes()).At("inputs")
	}
	columns := make([]column, k)
	if t := &in[0]; len(in) == 1 && !m.texts && !(k == 1 && t.Name == m.features[0].name && len(t.Shape) == 1) {
		if t.Type == tensor.Bytes {
			return nil, 0, problem.New(problem.Invalid, "Tensor %q is BYTES; the model takes numbers.", clip(t.Name)).At("inputs[0].datatype")
		}
		if len(t.Shape) != 2 || t.Shape[1] != k {
			return nil, 0, problem.New(problem.Invalid, "Tensor %q has shape %v; the model takes %s.", clip(t.Name), t.Shape, m.takes()).At("inputs[0].shape")
		}
		for i := range columns {
			columns[i] = column{t, i, k}
		}
		return columns, t.Shape[0], nil
	}
	if len(in) != k {
		return nil, 0, problem.New(problem.Invalid, "The request has %d inputs; the model takes %s.", len(in), m.takes()).At("inputs")
	}
	n := in[0].Rows()
	for i := range m.features {
		f, at := &m.features[i], i
		if in[at].Name != f.name {
			for at = 0; at < k && in[at].Name != f.name; at++ {
			}
			if at == k {
				return nil, 0, problem.New(problem.Invalid, "The feature %q is missing from the request; the model takes %s.", f.name, m.takes()).At("inputs")
			}
		}
		t := &in[at]
		if len(t.Shape) == 0 || len(t.Shape) > 2 || t.Shape[0] != n || t.Len() != n {
			return nil, 0, problem.New(problem.Invalid, "Feature tensor %q has shape %v; all need the shape [%d] or [%d, 1].", f.name, t.Shape, n, n).At(fmt.Sprintf("inputs[%d].shape", at))
		}
		if (t.Type == tensor.Bytes) != f.text {
			return nil, 0, problem.New(problem.Invalid, "Feature tensor %q is %s; the model takes %s.", f.name, t.Type, map[bool]string{true: "BYTES", false: "numbers"}[f.text]).At(fmt.Sprintf("inputs[%d].datatype", at))
		}
		columns[i] = column{t, 0, 1}
	}
	return columns, n, nil
}

func (m *model) takes() string {
	each := fmt.Sprintf("one tensor per feature, %d in all", len(m.features))
	if m.texts {
		return each
	}
	return fmt.Sprintf("one tensor %q of shape [n, %d] or %s", m.input, len(m.features), each)
}
