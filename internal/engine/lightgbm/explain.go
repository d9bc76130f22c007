package lightgbm

import (
	"context"
	"fmt"
	"math"

	"keelson/internal/engine"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// reasons is a forest ready to be explained.
type reasons struct {
	trees       *explain.Ensemble
	zero        []bool // features whose zeros are missing
	categorical []bool
	words       map[int]map[float64]string
}

// explainable makes the trees ready to be explained, at the first question.
func (m *model) explainable() (*reasons, error) {
	f := m.trees
	if len(f.formulas) > 0 {
		return nil, problem.New(problem.Unsupported, "The leaves of its trees are linear models, which cannot be divided among the features as plain leaves can.")
	}
	if len(f.counts) != len(f.nodes) {
		return nil, problem.New(problem.Unsupported, "The file does not say for every node how many training rows reached it, so its trees cannot be explained as such.")
	}
	out := &reasons{zero: make([]bool, f.features), categorical: make([]bool, f.features), words: map[int]map[float64]string{}}
	other := make([]bool, f.features) // zeros that are numbers
	weight := 1.0
	if m.iterations > 0 {
		weight = 1 / m.iterations
	}
	list := make([]explain.Tree, len(f.roots))
	for i, root := range f.roots {
		end := len(f.nodes)
		if i+1 < len(f.roots) {
			end = int(f.roots[i+1])
		}
		nodes := f.nodes[root:end]
		n := len(nodes)
		t := explain.Tree{Left: make([]int32, n), Right: make([]int32, n), Feature: make([]int32, n), Threshold: make([]float64, n), Inclusive: true,
			MissingLeft: make([]bool, n), Value: make([]float64, n), Cover: make([]float64, n), Group: i % f.groups, Weight: weight}
		for k, v := range nodes {
			t.Cover[k] = float64(f.counts[int(root)+k])
			if v.left == 0 {
				t.Left[k], t.Right[k], t.Value[k] = -1, -1, v.value
				continue
			}
			feature := int(v.feature & featureMask)
			t.Left[k], t.Right[k], t.Feature[k], t.Threshold[k] = v.left-root, v.left-root+1, int32(feature), v.value
			switch {
			case v.feature&categorical != 0:
				out.categorical[feature] = true
				t.Left[k], t.Right[k], t.MissingLeft[k] = t.Right[k], t.Left[k], true // here the listed go left and what is missing does not
				if t.Categories == nil {
					t.Categories = map[int32][]int32{}
				}
				t.Categories[int32(k)] = members(f.sets[int(v.value)])
			case v.feature&zeroMissing != 0:
				out.zero[feature] = true
				t.MissingLeft[k] = v.feature&missingLeft != 0
			case v.feature&nanMissing != 0:
				other[feature] = true
				t.MissingLeft[k] = v.feature&missingLeft != 0
			default: // NaN is compared as 0
				other[feature] = true
				t.MissingLeft[k] = 0 <= v.value
			}
		}
		list[i] = t
	}
	for j, zero := range out.zero {
		if zero && other[j] {
			return nil, problem.New(problem.Unsupported, "The feature %q has nodes where 0 is missing and others where it is a number, so its trees cannot be explained as such.", m.columns[j])
		}
	}
	for c, codes := range m.codes {
		out.words[c] = map[float64]string{}
		for w, code := range codes {
			out.words[c][code] = w
		}
	}
	var err error
	if out.trees, err = explain.New(explain.Shape{Features: f.features, Groups: f.groups}, list); err != nil {
		return nil, problem.New(problem.Unsupported, "%v", err).Because(err)
	}
	return out, nil
}

func members(set []uint32) []int32 {
	out := []int32{}
	for w, word := range set {
		for b := range int32(32) {
			if word>>b&1 == 1 {
				out = append(out, int32(w)*32+b)
			}
		}
	}
	return out
}

// Explain gives the path-dependent Shapley values of the raw score, as LightGBM's pred_contrib does; those of a random
// forest are divided by its iterations, as its scores are.
func (m *model) Explain(ctx context.Context, in []tensor.Tensor) (engine.Explanation, error) {
	if m.closed.Load() {
		return engine.Explanation{}, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	why, err := m.reasons()
	if err != nil {
		return engine.Explanation{}, err
	}
	var buffer []float64
	rows, n, err := m.matrix(in, &buffer)
	if err != nil {
		return engine.Explanation{}, err
	}
	f, groups := m.trees.features, m.trees.groups
	out := engine.Explanation{Features: m.columns, Outputs: groups, Base: make([]float64, groups), Values: make([]engine.Value, n*f), Unit: "the raw score",
		Method: "TreeSHAP, path-dependent, by the training row counts in the model file; exact for its trees, of the raw score before the objective's link"}
	for i, v := range rows {
		out.Values[i].Number = v
		j := i % f
		if w, ok := why.words[j][v]; ok {
			out.Values[i] = engine.Value{Text: w, Word: true, Number: math.NaN()}
		}
		switch {
		case why.zero[j] && v == 0:
			rows[i] = math.NaN()
		case why.categorical[j] && v > -1 && v < 0:
			rows[i] = 0
		}
	}
	for r := range n {
		if err := ctx.Err(); err != nil {
			return engine.Explanation{}, fmt.Errorf("explain row %d: %w", r, err)
		}
		all, err := why.trees.PathDependent(rows[r*f : (r+1)*f])
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
