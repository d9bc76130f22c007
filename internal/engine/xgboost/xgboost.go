// Package xgboost runs XGBoost models in pure Go: files of Booster.save_model in JSON and UBJSON, boosters gbtree,
// dart and gblinear, one or several outputs per tree, numerical and categorical splits, missing values.
//
// Input: one tensor "input" of shape [n, k] of any numeric type or BOOL, whose
// columns are the model's features in order; or, when the file has feature names, one tensor of shape [n] or [n, 1] per
// feature, under its name, in any order. A feature tensor may not be left out. A feature
// that was a category of texts in the data frame of the training takes its names as BYTES in a tensor of its own; numbers
// there are codes. NaN is a missing value; an infinity is
// refused, as XGBoost refuses it. Values are cut to float32 before they are compared, as XGBoost does.
//
// The learner's attributes keelson.input and keelson.output name the two tensors otherwise.
//
// Output: one FP32 tensor "predict" of shape [n, w]: w is 1 for one number per row (a probability for binary:logistic, a
// margin for binary:logitraw, a class index for multi:softmax), the number of classes for multi:softprob, the number of
// targets or quantiles otherwise. The answers equal Booster.predict with all trees; of a file that XGBClassifier or another
// estimator of XGBoost's scikit-learn interface saved after stopping early, those of the estimator, which asks the trees up to
// the best round only.
//
// Formats "xgboost-json" and "xgboost-ubj". Refused by name: data frames' categories that are numbers other than their codes, unknown objectives,
// multi-output trees as versions before 3.2 wrote them, the binary format from before 1.0.
package xgboost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"

	"keelson/internal/engine"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// The names of the tensors and formats.
const (
	Input      = "input"
	Output     = "predict"
	FormatJSON = "xgboost-json"
	FormatUBJ  = "xgboost-ubj"
)

// Attributes of the learner that give the tensors other names.
const (
	inputAttribute  = "keelson.input"
	outputAttribute = "keelson.output"
)

// Engine reads XGBoost's files.
type Engine struct{}

// Name is "xgboost".
func (Engine) Name() string { return "xgboost" }

// Formats are the JSON and the UBJSON form.
func (Engine) Formats() []string { return []string{FormatJSON, FormatUBJ} }

// Detect looks at the first 4 KiB of .json, .ubj, .xgb, .model and .bst files.
func (Engine) Detect(fsys fs.FS) ([]engine.Found, error) {
	var found []engine.Found
	err := engine.Walk(fsys, func(p string, _ fs.DirEntry) error {
		switch path.Ext(p) {
		case ".json", ".ubj", ".xgb", ".model", ".bst":
		default:
			return nil
		}
		head, err := engine.Head(fsys, p, 4096)
		if err != nil {
			return err
		}
		if format := sniff(head); format != "" {
			found = append(found, engine.Found{Engine: "xgboost", Format: format, Path: p})
		}
		return nil
	})
	return found, err
}

func sniff(head []byte) string {
	switch {
	case len(head) < 3 || head[0] != '{':
	case bytes.ContainsRune([]byte("LlIiU"), rune(head[1])):
		if i := bytes.Index(head[:min(64, len(head))], []byte("learner")); i > 0 {
			return FormatUBJ
		}
		if i := bytes.Index(head[:min(64, len(head))], []byte("version")); i > 0 && bytes.Contains(head, []byte("learner")) {
			return FormatUBJ
		}
	case bytes.Contains(head, []byte(`"learner"`)) && (bytes.Contains(head, []byte(`"attributes"`)) || bytes.Contains(head, []byte(`"gradient_booster"`)) || bytes.Contains(head, []byte(`"learner_model_param"`)) || bytes.Contains(head, []byte(`"feature_names"`))):
		return FormatJSON
	}
	return ""
}

// Load reads and checks the file whole before it answers.
func (Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	data, err := engine.ReadFile(ctx, fsys, name, limits.WithDefaults().FileBytes)
	if err != nil {
		return nil, err
	}
	var src source = jsonSource{tensor.NewScanner(data)}
	if sniff(data[:min(4096, len(data))]) == FormatUBJ {
		src = &ubjSource{b: data}
	}
	f, err := read(ctx, src)
	if err != nil {
		var p *problem.Error
		if errors.As(err, &p) && p.Kind == problem.Invalid {
			return nil, problem.New(problem.Invalid, "The file %s is not a whole XGBoost model: %s", path.Base(name), p.Detail).Because(err)
		}
		return nil, err
	}
	return newModel(ctx, f)
}

type model struct {
	trees      scorer
	base       []float32
	objective  objective
	width      int
	input      string // names of the tensors
	output     string
	columns    []string
	codes      map[int]map[string]float32 // by column: the code of each category name
	classes    int                        // of multi:softprob and multi:softmax, else 0 or 1
	classifier bool                       // saved by XGBClassifier, whose predict answers classes
	signature  engine.Signature
	rows       sync.Pool // *[]float32
	closed     atomic.Bool
	reasons    func() (*explain.Ensemble, error)
}

func newModel(ctx context.Context, f *file) (engine.Model, error) {
	o, ok := objectives[f.objective]
	if !ok {
		return nil, unsupported("its objective is %q, which is not known", short(f.objective))
	}
	e, err := f.scorer(ctx)
	if err != nil {
		return nil, err
	}
	m := &model{trees: e, objective: o, width: e.Groups(), input: f.input, output: f.output, columns: f.columns, base: make([]float32, e.Groups()), classes: f.numClass, classifier: f.wrapper.estimator == "classifier"}
	switch len(f.baseScore) {
	case 0:
		f.baseScore = []float64{0.5}
	case 1, len(m.base):
	default:
		return nil, broken("base_score has %d values for %d classes or targets", len(f.baseScore), len(m.base))
	}
	if f.booster == "gblinear" {
		f.baseScore = f.baseScore[:1] // XGBoost's linear predictor starts every class from the first one
	}
	for i := range m.base {
		b := f.baseScore[min(i, len(f.baseScore)-1)]
		m.base[i] = float32(o.toMargin(b))
		if v := m.base[i]; v-v != 0 && b != 0 { // the logarithm of 0 answers 0 everywhere, as XGBoost does when nothing was counted
			return nil, broken("base_score %g is outside what %s allows", b, f.objective)
		}
	}
	m.codes = map[int]map[string]float32{}
	for c, words := range f.words {
		if len(words) == 0 {
			continue
		}
		m.codes[c] = make(map[string]float32, len(words))
		for i, w := range words {
			m.codes[c][w] = float32(i)
		}
	}
	if f.objective == "multi:softmax" {
		m.width = 1
	}
	m.signature = engine.Signature{
		Inputs:  []engine.Spec{{Name: m.input, Datatype: "FP32", Shape: []int{-1, e.Features()}, Columns: f.columns}},
		Outputs: []engine.Spec{{Name: m.output, Datatype: "FP32", Shape: []int{-1, m.width}, Doc: f.objective}},
	}
	m.rows.New = func() any { return new([]float32) }
	m.reasons = sync.OnceValues(m.explainable)
	return m, nil
}

func (m *model) Signature() engine.Signature { return m.signature }

func (m *model) MemoryBytes() int64 { return m.trees.Bytes() }

func (m *model) Close() error {
	m.closed.Store(true)
	return nil
}

// predictBlock is the number of rows between two looks at ctx, workers the most goroutines that a call may use.
const (
	predictBlock = 4096
	workers      = 8
)

func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if m.closed.Load() {
		return nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	buffer := m.rows.Get().(*[]float32)
	defer m.rows.Put(buffer)
	rows, n, err := m.matrix(in, buffer)
	if err != nil {
		return nil, err
	}
	groups, k := len(m.base), m.trees.Features()
	for i, v := range rows {
		if v-v != 0 && v == v {
			return nil, problem.New(problem.Invalid, "Row %d has an infinity in %s; XGBoost takes finite numbers and NaN for missing.", i/k, m.column(i%k)).At("inputs")
		}
	}
	out := make([]float32, n*groups)
	for i := range out {
		out[i] = m.base[i%groups]
	}
	for from := 0; from < n; from += predictBlock {
		to := min(from+predictBlock, n)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("predict row %d: %w", from, err)
		}
		m.trees.Run(rows[from*k:to*k], out[from*groups:to*groups], to-from, workers)
		for i := from; i < to; i++ {
			m.objective.apply(out[i*groups : (i+1)*groups])
			if m.width < groups {
				out[i] = out[i*groups]
			}
		}
	}
	return []tensor.Tensor{tensor.FP32s(m.output, []int{n, m.width}, out[:n*m.width])}, nil
}

func (m *model) column(k int) string {
	if k < len(m.columns) {
		return fmt.Sprintf("%q", m.columns[k])
	}
	return fmt.Sprintf("column %d", k)
}

// matrix gives the rows of a call as float32, row-major: the caller's own values when they are FP32 already.
func (m *model) matrix(in []tensor.Tensor, buffer *[]float32) ([]float32, int, error) {
	k := m.trees.Features()
	if len(in) == 0 {
		return nil, 0, problem.New(problem.Invalid, "The request has no inputs; the model takes one tensor %q of shape [n, %d].", m.input, k).At("inputs")
	}
	if len(in) == 1 && !m.oneColumn(&in[0]) {
		t := &in[0]
		if t.Type == tensor.Bytes {
			return nil, 0, problem.New(problem.Invalid, "Tensor %q is BYTES; the model takes numbers.", t.Name).At("inputs[0].datatype")
		}
		if len(t.Shape) != 2 || t.Shape[1] != k {
			return nil, 0, problem.New(problem.Invalid, "Tensor %q has shape %v; the model takes [n, %d], one column per feature.", t.Name, t.Shape, k).At("inputs[0].shape")
		}
		if t.Type == tensor.FP32 {
			return t.F32, t.Shape[0], nil
		}
		rows := m.grow(buffer, t.Shape[0]*k)
		t.CopyFloat32(rows, 0, 1)
		return rows, t.Shape[0], nil
	}
	if len(m.columns) == 0 {
		return nil, 0, problem.New(problem.Invalid, "The request has %d inputs; the model has no feature names and takes one tensor %q of shape [n, %d].", len(in), m.input, k).At("inputs")
	}
	n := in[0].Rows()
	if len(in) != k {
		return nil, 0, problem.New(problem.Invalid, "The request has %d inputs; the model takes one tensor of shape [n, %d] or one per feature, %d in all.", len(in), k, k).At("inputs")
	}
	for i := range in {
		if t := &in[i]; len(t.Shape) == 0 || len(t.Shape) > 2 || t.Shape[0] != n || t.Len() != n {
			return nil, 0, problem.New(problem.Invalid, "Feature tensor %q has shape %v; all need the shape [%d] or [%d, 1].", t.Name, t.Shape, n, n).At(fmt.Sprintf("inputs[%d].shape", i))
		}
	}
	rows := m.grow(buffer, n*k)
	for c, name := range m.columns {
		i := c // callers mostly send the columns in order
		if in[i].Name != name {
			for i = 0; i < len(in) && in[i].Name != name; i++ {
			}
			if i == len(in) {
				return nil, 0, problem.New(problem.Invalid, "The feature %q is missing from the request; send NaN for a missing value.", name).At("inputs")
			}
		}
		if !in[i].CopyFloat32(rows, c, k) {
			if codes := m.codes[c]; codes != nil {
				for r, s := range in[i].S {
					code, ok := codes[s]
					if !ok {
						return nil, 0, problem.New(problem.Invalid, "Row %d of %q is a category that the model was not trained on; send NaN as a number for a missing value.", r, name).At(fmt.Sprintf("inputs[%d].data", i))
					}
					rows[r*k+c] = code
				}
				continue
			}
			return nil, 0, problem.New(problem.Invalid, "Feature tensor %q is BYTES; the model takes numbers.", name).At(fmt.Sprintf("inputs[%d].datatype", i))
		}
	}
	return rows, n, nil
}

// oneColumn tells whether t is the single feature of a model with one named feature.
func (m *model) oneColumn(t *tensor.Tensor) bool {
	return len(m.columns) == 1 && t.Name == m.columns[0] && len(t.Shape) == 1
}

func (m *model) grow(buffer *[]float32, n int) []float32 {
	if cap(*buffer) < n {
		*buffer = make([]float32, n)
	}
	return (*buffer)[:n]
}
