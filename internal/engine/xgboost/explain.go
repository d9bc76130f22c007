package xgboost

import (
	"context"
	"fmt"
	"math"

	"keelson/internal/engine"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/tensor"
	"keelson/internal/tree"
)

// explainable makes the trees ready to be explained, at the first question.
func (m *model) explainable() (*explain.Ensemble, error) {
	if err := m.finite(); err != nil {
		return nil, err
	}
	packed, ok := m.trees.(interface {
		Covered() ([]tree.Tree, []int, bool)
	})
	if !ok {
		return nil, problem.New(problem.Unsupported, "The model is no ensemble of trees.")
	}
	trees, groups, ok := packed.Covered()
	if !ok {
		return nil, problem.New(problem.Unsupported, "The file does not say for every node how many training rows reached it, or has leaves of several values, so its trees cannot be explained as such.")
	}
	shape := explain.Shape{Features: m.trees.Features(), Groups: len(m.base), Single: true}
	for _, b := range m.base {
		shape.Base = append(shape.Base, float64(b))
	}
	list := make([]explain.Tree, len(trees))
	for i, t := range trees {
		e := explain.Tree{Left: t.Left, Right: t.Right, Feature: t.Feature, MissingLeft: t.MissingLeft, Categories: t.Categories,
			Threshold: make([]float64, len(t.Left)), Value: make([]float64, len(t.Left)), Cover: make([]float64, len(t.Left)), Group: groups[i], Weight: 1}
		for k, v := range t.Threshold {
			e.Threshold[k], e.Cover[k] = float64(v), float64(t.Cover[k])
			if t.Left[k] == -1 {
				e.Value[k] = float64(v)
			}
		}
		list[i] = e
	}
	out, err := explain.New(shape, list)
	if err != nil {
		return nil, problem.New(problem.Unsupported, "%v", err).Because(err)
	}
	return out, nil
}

// finite refuses to take apart what starts from the logarithm of 0: every sum is −Inf, to which nothing contributes.
func (m *model) finite() error {
	for i, b := range m.base {
		if b-b != 0 {
			return problem.New(problem.Unsupported, "The model's base_score of group %d is %v as a margin, so its trees add nothing to its answers and it cannot be explained or written in another format; train it with a base_score above 0.", i, b)
		}
	}
	return nil
}

// Explain gives the path-dependent Shapley values of the margin, as XGBoost's pred_contribs does.
func (m *model) Explain(ctx context.Context, in []tensor.Tensor) (engine.Explanation, error) {
	if m.closed.Load() {
		return engine.Explanation{}, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	trees, err := m.reasons()
	if err != nil {
		return engine.Explanation{}, err
	}
	var buffer []float32
	single, n, err := m.matrix(in, &buffer)
	if err != nil {
		return engine.Explanation{}, err
	}
	f, groups := trees.Features(), trees.Groups()
	out := engine.Explanation{Features: m.columns, Outputs: groups, Base: make([]float64, groups), Values: make([]engine.Value, n*f), Unit: "the margin",
		Method: "TreeSHAP, path-dependent, by the training weights in the model file; exact for its trees, of the margin before the objective's link"}
	if len(out.Features) == 0 {
		for j := range f {
			out.Features = append(out.Features, fmt.Sprintf("f%d", j))
		}
	}
	if base := m.signature.Outputs[0].Doc; base == "binary:logistic" || base == "reg:logistic" || base == "binary:logitraw" {
		out.Unit = "the log-odds"
	}
	words := map[int][]string{}
	for c, codes := range m.codes {
		words[c] = make([]string, len(codes))
		for w, code := range codes {
			words[c][int(code)] = w
		}
	}
	rows := make([]float64, n*f)
	for i, v := range single {
		rows[i] = float64(v)
		if v-v != 0 && v == v {
			return engine.Explanation{}, problem.New(problem.Invalid, "Row %d has an infinity in %s; XGBoost takes finite numbers and NaN for missing.", i/f, m.column(i%f)).At("inputs")
		}
		out.Values[i].Number = explain.Widened(v)
		if w := words[i%f]; w != nil && v >= 0 && int(v) < len(w) {
			out.Values[i] = engine.Value{Text: w[int(v)], Word: true, Number: math.NaN()}
		}
	}
	for r := range n {
		if err := ctx.Err(); err != nil {
			return engine.Explanation{}, fmt.Errorf("explain row %d: %w", r, err)
		}
		all, err := trees.PathDependent(rows[r*f : (r+1)*f])
		if err != nil {
			return engine.Explanation{}, err
		}
		for g := range groups {
			out.Contributions = append(out.Contributions, all[g*(f+1):g*(f+1)+f]...)
			out.Base[g] = all[g*(f+1)+f]
		}
	}
	return out, nil
}
