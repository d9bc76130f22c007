package xgboost

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"keelson/internal/tensor"
)

// wrapper is what the scikit-learn interface of XGBoost (XGBClassifier and its like) leaves in a file of its own
// save_model, and MLflow with it: that it wrote the file, the kind of estimator, the round at which training stopped early.
type wrapper struct {
	wrote     bool
	estimator string // "classifier", "regressor", "ranker"
	best      int    // the best round, counted from 0; −1 when training did not stop early
	parallel  int    // trees per round and class
	rounds    []int32
}

// attribute takes one of the learner's attributes; they are texts.
func (w *wrapper) attribute(name, value string) {
	switch name {
	case "best_iteration":
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32); err == nil && n >= 0 {
			w.best = int(n)
		}
	case "scikit_learn":
		w.wrote = true
		var meta struct {
			Estimator string `json:"_estimator_type"`
		}
		if json.Unmarshal([]byte(value), &meta) == nil {
			w.estimator = meta.Estimator
		}
	}
}

// trees is how many of all trees the estimator asks: those up to the best round, as its predict and predict_proba do. A
// plain Booster asks all, and so does a file that says nothing usable.
func (w *wrapper) trees(all, groups int, vectors bool) int {
	if !w.wrote || w.best < 0 {
		return all
	}
	if len(w.rounds) > 0 {
		if w.best+1 >= len(w.rounds) || w.rounds[w.best+1] < 0 {
			return all
		}
		return min(int(w.rounds[w.best+1]), all)
	}
	round := max(w.parallel, 1) // versions before 2.0 do not write where rounds end
	if !vectors {
		round *= groups
	}
	if round > all || w.best >= all {
		return all
	}
	return min((w.best+1)*round, all)
}

// Decide gives the classes that XGBClassifier.predict makes of the probabilities: the likelier of two, the first of the
// likeliest of several, a truth value for each of several targets. ok is false for every other model.
func (m *model) Decide(out []tensor.Tensor) (decided []tensor.Tensor, ok bool) {
	if !m.classifier || len(out) != 1 || out[0].Type != tensor.FP32 || out[0].Len() != len(out[0].F32) {
		return nil, false
	}
	p, w := out[0].F32, out[0].Width()
	t := tensor.Tensor{Name: m.output, Type: tensor.Int64, Shape: []int{out[0].Rows()}}
	switch {
	case m.signature.Outputs[0].Doc == "multi:softmax":
		for _, v := range p {
			t.I64 = append(t.I64, int64(v))
		}
	case m.classes > 1:
		for ; len(p) > 0 && len(p) >= w; p = p[w:] {
			best, top := 0, float32(math.Inf(-1))
			for k, v := range p[:w] {
				if v > top {
					best, top = k, v
				}
			}
			t.I64 = append(t.I64, int64(best))
		}
	default:
		if w > 1 {
			t.Shape = append(t.Shape, w)
		}
		for _, v := range p {
			class := int64(0)
			if v > 0.5 {
				class = 1
			}
			t.I64 = append(t.I64, class)
		}
	}
	return []tensor.Tensor{t}, true
}
