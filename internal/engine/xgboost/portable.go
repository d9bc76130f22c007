package xgboost

import (
	"math"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tree"
)

// linksOf names what each objective does with margins.
var linksOf = map[string]string{
	"binary:logistic": engine.LinkLogistic, "reg:logistic": engine.LinkLogistic, "binary:hinge": engine.LinkStep,
	"count:poisson": engine.LinkExp, "reg:gamma": engine.LinkExp, "reg:tweedie": engine.LinkExp, "survival:cox": engine.LinkExp, "survival:aft": engine.LinkExp,
	"multi:softprob": engine.LinkSoftmax, "multi:softmax": engine.LinkClass,
}

// Portable takes the model apart.
func (m *model) Portable() (engine.Formula, error) {
	name := m.signature.Outputs[0].Doc
	f := engine.Formula{Input: m.input, Output: m.output, Columns: m.columns, Features: m.trees.Features(), Groups: m.trees.Groups(), Link: linksOf[name]}
	if f.Link == "" {
		f.Link = engine.LinkIdentity
	}
	if err := m.finite(); err != nil {
		return f, err
	}
	for _, b := range m.base {
		f.Base = append(f.Base, float64(b))
	}
	if len(m.codes) > 0 {
		return f, problem.New(problem.Unsupported, "The model takes categories by their names.")
	}
	if l, ok := m.trees.(*linearBooster); ok {
		f.Weights, f.Fill = make([]float64, f.Groups*f.Features), make([]float64, f.Features)
		for g := range f.Groups {
			for k := range f.Features {
				f.Weights[g*f.Features+k] = float64(l.weights[k*l.groups+g])
			}
			f.Base[g] += float64(l.weights[l.features*l.groups+g])
		}
		return f, nil
	}
	trees, groups := m.trees.(*tree.Ensemble).Apart()
	for i, t := range trees {
		if len(t.Categories) > 0 {
			return f, problem.New(problem.Unsupported, "Tree %d splits by categories.", i)
		}
		out := make(engine.FormulaTree, len(t.Left))
		for k := range out {
			n := &out[k]
			if t.Left[k] >= 0 {
				*n = engine.FormulaNode{Feature: t.Feature[k], Threshold: float64(t.Threshold[k]), MissingYes: t.MissingLeft[k], Yes: t.Left[k], No: t.Right[k]}
				continue
			}
			if s, ok := t.Spans[int32(k)]; ok {
				for _, w := range t.Weights[s[0]:s[1]] {
					n.Values = append(n.Values, engine.FormulaValue{Group: w.Group, Value: float64(w.Value)})
				}
				continue
			}
			n.Values = []engine.FormulaValue{{Group: int32(groups[i]), Value: float64(t.Threshold[k])}}
		}
		f.Trees = append(f.Trees, out)
	}
	return f, nil
}

// Write makes the UBJSON form, which XGBoost reads too, of a formula of trees whose sums are its answers (LinkIdentity). It
// fails with problem.Unsupported when something of it cannot stand in that form exactly; thresholds have to be float32.
func Write(f engine.Formula) ([]byte, error) {
	switch {
	case f.Trees == nil:
		return nil, problem.New(problem.Unsupported, "It has weights instead of trees.")
	case f.Link != engine.LinkIdentity || len(f.Labels)+len(f.Numbers) > 0 || f.Pair:
		return nil, problem.New(problem.Unsupported, "Its answers are more than the sums of its trees.")
	case f.Double:
		return nil, problem.New(problem.Unsupported, "It compares double precision.")
	}
	w := &ubjWriter{}
	divide := f.Divide
	if divide == 0 {
		divide = 1
	}
	var groups []int32
	var trees []func()
	for _, t := range f.Trees {
		parts, group := splitGroups(t)
		for k := range parts {
			x, err := arraysOf(parts[k], divide)
			if err != nil {
				return nil, err
			}
			id := len(groups)
			groups = append(groups, group[k])
			trees = append(trees, func() { x.write(w, id, f.Features) })
		}
	}
	base := "["
	for g := range f.Groups {
		if g > 0 {
			base += ","
		}
		v := 0.0
		if g < len(f.Base) {
			v = f.Base[g]
		}
		base += format(v)
	}
	base += "]"
	if f.Groups == 1 {
		base = base[1 : len(base)-1]
	}
	w.object(func() {
		w.key("learner").object(func() {
			w.key("attributes").object(func() {
				if f.Input != "" && f.Input != Input {
					w.key(inputAttribute).text(f.Input)
				}
				if f.Output != "" && f.Output != Output {
					w.key(outputAttribute).text(f.Output)
				}
			})
			w.key("feature_names").texts(f.Columns)
			w.key("feature_types").texts(nil)
			w.key("gradient_booster").object(func() {
				w.key("model").object(func() {
					w.key("gbtree_model_param").object(func() {
						w.key("num_parallel_tree").text("1")
						w.key("num_trees").text(format(float64(len(trees))))
					})
					w.key("iteration_indptr").numbers([]int32{0, int32(len(trees))})
					w.key("tree_info").numbers(groups)
					w.key("trees").array(len(trees), func(i int) { trees[i]() })
				})
				w.key("name").text("gbtree")
			})
			w.key("learner_model_param").object(func() {
				w.key("base_score").text(base)
				w.key("boost_from_average").text("1")
				w.key("num_class").text("0")
				w.key("num_feature").text(format(float64(f.Features)))
				w.key("num_target").text(format(float64(f.Groups)))
			})
			w.key("objective").object(func() {
				w.key("name").text("reg:squarederror")
				w.key("reg_loss_param").object(func() { w.key("scale_pos_weight").text("1") })
			})
		})
		w.key("version").numbers([]int32{3, 0, 0})
	})
	return w.b, nil
}

// splitGroups gives one copy of a tree per group that its leaves add to.
func splitGroups(t engine.FormulaTree) (parts []engine.FormulaTree, groups []int32) {
	seen := map[int32]int{}
	for _, n := range t {
		for _, v := range n.Values {
			if _, ok := seen[v.Group]; !ok {
				seen[v.Group] = len(groups)
				groups = append(groups, v.Group)
			}
		}
	}
	if len(groups) == 0 {
		groups = []int32{0}
	}
	if len(groups) == 1 {
		return []engine.FormulaTree{t}, groups
	}
	for _, g := range groups {
		part := make(engine.FormulaTree, len(t))
		for k, n := range t {
			var only []engine.FormulaValue
			for _, v := range n.Values {
				if v.Group == g {
					only = append(only, v)
				}
			}
			n.Values = only
			part[k] = n
		}
		parts = append(parts, part)
	}
	return parts, groups
}

// arrays are a tree as the file has it.
type arrays struct {
	left, right, parents, feature []int32
	missingLeft                   []uint8
	conditions                    []float32
}

func arraysOf(t engine.FormulaTree, divide float64) (a arrays, err error) {
	n := len(t)
	a = arrays{make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n), make([]uint8, n), make([]float32, n)}
	if n > 0 {
		a.parents[0] = math.MaxInt32
	}
	for k, x := range t {
		if x.Yes == 0 {
			a.left[k], a.right[k] = -1, -1
			sum := 0.0
			for _, v := range x.Values {
				sum += v.Value
			}
			a.conditions[k] = float32(sum / divide)
			continue
		}
		a.left[k], a.right[k], a.feature[k] = x.Yes, x.No, x.Feature
		a.parents[x.Yes], a.parents[x.No] = int32(k), int32(k)
		if x.MissingYes {
			a.missingLeft[k] = 1
		}
		v := float32(x.Threshold)
		if float64(v) != x.Threshold {
			return a, problem.New(problem.Unsupported, "A threshold, %v, is no single-precision number.", x.Threshold)
		}
		if x.OrEqual { // among float32, x ≤ t is x < the next number above t
			v = math.Nextafter32(v, float32(math.Inf(1)))
		}
		a.conditions[k] = v
	}
	return a, nil
}

func (a arrays) write(w *ubjWriter, id, features int) {
	n := len(a.left)
	zeros := make([]float32, n)
	w.object(func() {
		w.key("base_weights").floats(zeros)
		w.key("categories").ints(nil)
		w.key("categories_nodes").ints(nil)
		w.key("categories_segments").longs(nil)
		w.key("categories_sizes").longs(nil)
		w.key("default_left").bytes(a.missingLeft)
		w.key("id").number(int32(id))
		w.key("left_children").ints(a.left)
		w.key("loss_changes").floats(zeros)
		w.key("parents").ints(a.parents)
		w.key("right_children").ints(a.right)
		w.key("split_conditions").floats(a.conditions)
		w.key("split_indices").ints(a.feature)
		w.key("split_type").bytes(make([]uint8, n))
		w.key("sum_hessian").floats(zeros)
		w.key("tree_param").object(func() {
			w.key("num_deleted").text("0")
			w.key("num_feature").text(format(float64(features)))
			w.key("num_nodes").text(format(float64(n)))
			w.key("size_leaf_vector").text("1")
		})
	})
}
