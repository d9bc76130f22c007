package lightgbm

import (
	"math"
	"strconv"
	"strings"

	"keelson/internal/engine"
	"keelson/internal/problem"
)

// Portable takes the model apart.
func (m *model) Portable() (engine.Formula, error) {
	f := engine.Formula{Input: Input, Output: Output, Columns: m.columns, Features: m.trees.features, Double: true, Groups: m.trees.groups, Divide: m.iterations,
		Base: make([]float64, m.trees.groups)}
	if len(m.codes) > 0 {
		return f, problem.New(problem.Unsupported, "The model takes categories by their names.")
	}
	if len(m.trees.formulas) > 0 {
		return f, problem.New(problem.Unsupported, "The leaves of its trees are linear models.")
	}
	words := strings.Fields(m.objective)
	if len(words) == 0 {
		words = []string{"custom"}
	}
	root := false
	for _, w := range words[1:] {
		if key, value, _ := strings.Cut(w, ":"); key == "sigmoid" {
			f.Slope, _ = strconv.ParseFloat(value, 64) // read before, when the model was loaded
		} else if key == "sqrt" {
			root = true
		}
	}
	switch words[0] {
	case "multiclass":
		f.Link = engine.LinkSoftmax
	case "multiclassova", "binary":
		f.Link = engine.LinkLogistic
	case "cross_entropy":
		f.Link, f.Slope = engine.LinkLogistic, 1
	case "cross_entropy_lambda":
		f.Link = engine.LinkSoftplus
	case "poisson", "gamma", "tweedie":
		f.Link = engine.LinkExp
	default:
		if f.Link = engine.LinkIdentity; root {
			f.Link = engine.LinkSigned
		}
	}
	for i, at := range m.trees.roots {
		end := int32(len(m.trees.nodes))
		if i+1 < len(m.trees.roots) {
			end = m.trees.roots[i+1]
		}
		t := make(engine.FormulaTree, end-at)
		for k := range t {
			n := &m.trees.nodes[at+int32(k)]
			if n.left == 0 {
				t[k].Values = []engine.FormulaValue{{Group: int32(i % m.trees.groups), Value: n.value}}
				continue
			}
			out := engine.FormulaNode{Feature: int32(n.feature & featureMask), Threshold: n.value, OrEqual: true, Yes: n.left - at, No: n.left + 1 - at}
			// LightGBM takes what is no further from 0 than zeroThreshold for 0; thresholds within that say the same of any value.
			switch t := n.value; {
			case n.feature&categorical != 0:
			case t >= 0 && t <= zeroThreshold:
				out.Threshold = zeroThreshold
			case t < 0 && t >= -zeroThreshold:
				out.Threshold = math.Nextafter(-zeroThreshold, math.Inf(-1))
			}
			switch {
			case n.feature&categorical != 0:
				return f, problem.New(problem.Unsupported, "Tree %d splits by categories.", i)
			case n.feature&zeroMissing != 0:
				return f, problem.New(problem.Unsupported, "Tree %d takes zeros for missing values.", i)
			case n.feature&nanMissing != 0:
				out.MissingYes = n.feature&missingLeft != 0
			default:
				out.MissingYes = 0 <= n.value // missing values count as 0
			}
			t[k] = out
		}
		f.Trees = append(f.Trees, t)
	}
	return f, nil
}
