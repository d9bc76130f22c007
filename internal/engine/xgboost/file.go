package xgboost

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/tree"
)

// file is the document as it stands on disk, before anything is concluded from it.
type file struct {
	version    []int32
	columns    []string
	types      []string
	booster    string // gbtree, dart, gblinear
	objective  string
	baseScore  []float64
	numFeature int
	numClass   int
	numTarget  int
	words      [][]string // by feature: the names of its categories in a data frame, in the order of their codes
	groups     []int32
	weights    []float32
	trees      []rawTree
	linear     []float32 // of gblinear: the weights of all features, then the biases, each for every group
	wrapper    wrapper
	input      string // names of the tensors; a form that was made of another file keeps that one's
	output     string
	seen       map[string]bool
}

type rawTree struct {
	left, right, feature, missingLeft, splitType []int32
	threshold, leafWeights, hessians             []float32
	categories, catNodes, catSegments, catSizes  []int32
	leafSize                                     int
}

const maxColumns = 1 << 20

// read reads the document of Booster.save_model. ctx is asked between trees.
func read(ctx context.Context, src source) (*file, error) {
	f := &file{numTarget: 1, input: Input, output: Output, wrapper: wrapper{best: -1}, seen: map[string]bool{}}
	err := src.object(func(key string) error {
		switch key {
		case "version":
			v, err := src.ints()
			f.version = v
			return err
		case "learner":
			return src.object(func(key string) error { return f.learner(ctx, src, key) })
		}
		return src.skip()
	})
	if err != nil {
		return nil, err
	}
	return f, src.end()
}

func (f *file) once(key string) error {
	if f.seen[key] {
		return broken("%q stands twice", key)
	}
	f.seen[key] = true
	return nil
}

func (f *file) learner(ctx context.Context, src source, key string) error {
	switch key {
	case "attributes":
		if src.kind() != '{' {
			return src.skip()
		}
		return f.params(src, func(name, value string) error {
			switch {
			case name == inputAttribute && value != "":
				f.input = value
			case name == outputAttribute && value != "":
				f.output = value
			}
			f.wrapper.attribute(name, value)
			return nil
		})
	case "feature_names", "feature_types":
		var list []string
		err := src.array(func(i int) error {
			if i >= maxColumns {
				return problem.New(problem.TooLarge, "The model names more than %d features.", maxColumns)
			}
			s, err := src.text()
			list = append(list, s)
			return err
		})
		if key == "feature_names" {
			f.columns = list
		} else {
			f.types = list
		}
		return err
	case "learner_model_param":
		return f.params(src, func(name, value string) (err error) {
			switch name {
			case "base_score":
				f.baseScore, err = vector(value)
			case "num_feature":
				f.numFeature, err = count(name, value)
			case "num_class":
				f.numClass, err = count(name, value)
			case "num_target":
				f.numTarget, err = count(name, value)
			}
			return err
		})
	case "objective":
		return src.object(func(key string) (err error) {
			if key == "name" {
				f.objective, err = src.text()
				return err
			}
			return src.skip()
		})
	case "gradient_booster":
		if err := f.once(key); err != nil {
			return err
		}
		return f.gradientBooster(ctx, src)
	}
	return src.skip()
}

func (f *file) gradientBooster(ctx context.Context, src source) error {
	return src.object(func(key string) (err error) {
		switch key {
		case "name":
			f.booster, err = src.text()
			return err
		case "model":
			if src.kind() != '{' {
				return src.skip()
			}
			return f.model(ctx, src)
		case "gbtree": // dart keeps its trees one level deeper
			return src.object(func(key string) error {
				if key == "model" {
					return f.model(ctx, src)
				}
				return src.skip()
			})
		case "weight_drop":
			f.weights, err = src.floats()
			return err
		}
		return src.skip()
	})
}

func (f *file) model(ctx context.Context, src source) error {
	if err := f.once("model"); err != nil {
		return err
	}
	return src.object(func(key string) (err error) {
		switch key {
		case "cats":
			return src.object(func(key string) error {
				if key != "enc" || src.kind() != '[' {
					return src.skip()
				}
				return src.array(func(i int) error {
					if i >= maxColumns {
						return problem.New(problem.TooLarge, "The model has category names for more than %d features.", maxColumns)
					}
					words, err := categories(src)
					f.words = append(f.words, words)
					return err
				})
			})
		case "weights":
			f.linear, err = src.floats()
			return err
		case "tree_info":
			f.groups, err = src.ints()
			return err
		case "iteration_indptr":
			f.wrapper.rounds, err = src.ints()
			return err
		case "gbtree_model_param":
			if src.kind() != '{' {
				return src.skip()
			}
			return f.params(src, func(name, value string) (err error) {
				if name == "num_parallel_tree" {
					f.wrapper.parallel, err = count(name, value)
				}
				return err
			})
		case "trees":
			return src.array(func(i int) error {
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("read tree %d: %w", i, err)
				}
				t := rawTree{leafSize: 1}
				if err := src.object(func(key string) error { return t.field(src, key) }); err != nil {
					return err
				}
				f.trees = append(f.trees, t)
				return nil
			})
		}
		return src.skip()
	})
}

func (t *rawTree) field(src source, key string) (err error) {
	switch key {
	case "left_children":
		t.left, err = src.ints()
	case "right_children":
		t.right, err = src.ints()
	case "split_indices":
		t.feature, err = src.ints()
	case "default_left":
		t.missingLeft, err = src.ints()
	case "split_type":
		t.splitType, err = src.ints()
	case "leaf_weights":
		t.leafWeights, err = src.floats()
	case "sum_hessian":
		t.hessians, err = src.floats()
	case "split_conditions":
		t.threshold, err = src.floats()
	case "categories":
		t.categories, err = src.ints()
	case "categories_nodes":
		t.catNodes, err = src.ints()
	case "categories_segments":
		t.catSegments, err = src.ints()
	case "categories_sizes":
		t.catSizes, err = src.ints()
	case "tree_param":
		return (&file{}).params(src, func(name, value string) (err error) {
			if name == "size_leaf_vector" {
				t.leafSize, err = count(name, value)
			}
			return err
		})
	default:
		err = src.skip()
	}
	return err
}

// params reads an object of texts; XGBoost writes all its parameters as text. Other values are passed over.
func (f *file) params(src source, set func(name, value string) error) error {
	return src.object(func(key string) error {
		switch src.kind() {
		case '"':
			v, err := src.text()
			if err != nil {
				return err
			}
			return set(key, v)
		case '0':
			v, err := src.float()
			if err != nil {
				return err
			}
			return set(key, strconv.FormatFloat(v, 'g', -1, 64))
		}
		return src.skip()
	})
}

func count(name, value string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil || n < 0 {
		return 0, broken("%s is %q", name, short(value))
	}
	return int(n), nil
}

// vector reads "5E-1" (before version 3.1) and "[5E-1,2E-1]".
func vector(value string) ([]float64, error) {
	var out []float64
	for part := range strings.SplitSeq(strings.Trim(strings.TrimSpace(value), "[]"), ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 32)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, broken("base_score is %q", short(value))
		}
		out = append(out, v)
	}
	return out, nil
}

// short shortens what others wrote for a message.
func short(s string) string { return problem.Clip(s, 40) }

func unsupported(format string, a ...any) error {
	return problem.New(problem.Unsupported, "This engine cannot run the model: "+format+".", a...)
}

// scorer is a booster ready to run; tree.Ensemble is one.
type scorer interface {
	Features() int
	Groups() int
	Bytes() int64
	Run(rows, margins []float32, n, workers int)
}

// linearBooster is gblinear: a bias and a weight per feature, for each group. A missing value adds nothing.
type linearBooster struct {
	features, groups int
	weights          []float32
}

func (l *linearBooster) Features() int { return l.features }
func (l *linearBooster) Groups() int   { return l.groups }
func (l *linearBooster) Bytes() int64  { return 4 * int64(len(l.weights)) }

// Run adds to margins in the order of XGBoost's sums: the bias, the base score, then feature by feature in float32.
func (l *linearBooster) Run(rows, margins []float32, n, _ int) {
	bias := l.weights[l.features*l.groups:]
	for i := range n {
		row := rows[i*l.features : (i+1)*l.features]
		for g := range l.groups {
			sum := bias[g] + margins[i*l.groups+g]
			for k, v := range row {
				if v == v {
					sum += v * l.weights[k*l.groups+g]
				}
			}
			margins[i*l.groups+g] = sum
		}
	}
}

// scorer checks what the file says and makes what runs it.
func (f *file) scorer(ctx context.Context) (scorer, error) {
	if f.booster != "gblinear" {
		e, err := f.ensemble(ctx)
		if err != nil {
			return nil, err
		}
		return e, nil
	}
	groups := max(f.numClass, f.numTarget, 1)
	switch {
	case len(f.version) == 0 || f.objective == "" || !f.seen["gradient_booster"]:
		return nil, broken("version, objective or gradient_booster is missing")
	case f.numClass > 1 && f.numTarget > 1:
		return nil, unsupported("it has both classes and several targets")
	case f.numFeature < 1 || f.numFeature > maxColumns || groups > maxColumns || len(f.linear) != (f.numFeature+1)*groups:
		return nil, broken("it has %d weights for %d features and %d classes or targets", len(f.linear), f.numFeature, groups)
	case len(f.columns) > 0 && len(f.columns) != f.numFeature:
		return nil, broken("it names %d of %d features", len(f.columns), f.numFeature)
	}
	return &linearBooster{f.numFeature, groups, f.linear}, nil
}

// ensemble checks what the file says and packs its trees.
func (f *file) ensemble(ctx context.Context) (*tree.Ensemble, error) {
	switch {
	case len(f.version) == 0 || f.objective == "" || !f.seen["gradient_booster"]:
		return nil, broken("version, objective or gradient_booster is missing")
	case f.version[0] < 1:
		return nil, unsupported("it was written by XGBoost %d, before 1.0", f.version[0])
	case f.booster != "gbtree" && f.booster != "dart":
		return nil, unsupported("its booster is %q; gbtree, dart and gblinear are known", short(f.booster))
	case len(f.words) > f.numFeature:
		return nil, broken("it names categories of %d features, but has %d", len(f.words), f.numFeature)
	case f.numFeature > maxColumns:
		return nil, problem.New(problem.TooLarge, "The model has %d features, more than %d.", f.numFeature, maxColumns)
	case len(f.columns) > 0 && len(f.columns) != f.numFeature:
		return nil, broken("it names %d of %d features", len(f.columns), f.numFeature)
	case len(f.groups) != len(f.trees):
		return nil, broken("tree_info has %d entries for %d trees", len(f.groups), len(f.trees))
	case f.booster == "dart" && len(f.weights) != len(f.trees):
		return nil, broken("weight_drop has %d entries for %d trees", len(f.weights), len(f.trees))
	case f.numClass > 1 && f.numTarget > 1:
		return nil, unsupported("it has both classes and several targets")
	}
	groups := max(f.numClass, f.numTarget, 1)
	if groups > 1 && groups > max(len(f.trees), 1<<16) {
		return nil, broken("it declares %d classes or targets for %d trees", groups, len(f.trees))
	}
	b, err := tree.NewBuilder(f.numFeature, groups)
	if err != nil {
		return nil, err
	}
	f.trees = f.trees[:f.wrapper.trees(len(f.trees), groups, len(f.trees) > 0 && f.trees[0].leafSize > 1)]
	for i := range f.trees {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("pack tree %d: %w", i, err)
		}
		t, err := f.trees[i].tree(i, groups)
		if err != nil {
			return nil, err
		}
		weight := float32(1)
		if f.booster == "dart" {
			weight = f.weights[i]
		}
		if err := b.Append(t, int(f.groups[i]), weight); err != nil {
			return nil, err
		}
		f.trees[i] = rawTree{}
	}
	return b.Build(), nil
}

func (t *rawTree) tree(i, groups int) (tree.Tree, error) {
	if t.leafSize > 1 && t.leafSize != groups {
		return tree.Tree{}, broken("tree %d has leaves of %d values for %d classes or targets", i, t.leafSize, groups)
	}
	if t.leafSize > 1 && len(t.leafWeights) == 0 {
		return tree.Tree{}, unsupported("tree %d has leaves of %d values in the form before XGBoost 3.2; load the booster in 3.2 and save it again", i, t.leafSize)
	}
	out := tree.Tree{Left: t.left, Right: t.right, Feature: t.feature, Threshold: t.threshold, MissingLeft: make([]bool, len(t.missingLeft))}
	for k, v := range t.missingLeft {
		out.MissingLeft[k] = v != 0
	}
	if len(t.hessians) == len(t.left) { // else the model predicts as well, and is not explained by its trees
		out.Cover = t.hessians
	}
	if t.leafSize > 1 {
		if err := t.vectors(i, &out); err != nil {
			return out, err
		}
	}
	if len(t.splitType) > 0 && len(t.splitType) != len(t.left) {
		return out, broken("split_type of tree %d has %d entries for %d nodes", i, len(t.splitType), len(t.left))
	}
	if len(t.catNodes) != len(t.catSegments) || len(t.catNodes) != len(t.catSizes) {
		return out, broken("the category arrays of tree %d differ in length", i)
	}
	used := 0
	for k, n := range t.catNodes {
		from, size := int(t.catSegments[k]), int(t.catSizes[k])
		if n < 0 || int(n) >= len(t.splitType) || from < 0 || size < 0 || from > len(t.categories) || size > len(t.categories)-from {
			return out, broken("the categories of node %d of tree %d lie outside the file", n, i)
		}
		// Segments that overlap would let a small file grow large in memory.
		if used += size; used > len(t.categories) {
			return out, broken("the categories of tree %d overlap", i)
		}
		if out.Categories == nil {
			out.Categories = map[int32][]int32{}
		}
		out.Categories[n] = t.categories[from : from+size]
	}
	for k, s := range t.splitType {
		inner := t.left[k] >= 0
		_, has := out.Categories[int32(k)]
		switch {
		case s != 0 && s != 1:
			return out, unsupported("node %d of tree %d has split type %d", k, i, s)
		case inner && s == 1 && !has:
			return out, broken("node %d of tree %d splits by categories but lists none", k, i)
		case s == 0 && has:
			delete(out.Categories, int32(k))
		}
	}
	return out, nil
}

// vectors gives the leaves of a multi-output tree their weights: a leaf's right child is its place among them.
func (t *rawTree) vectors(i int, out *tree.Tree) error {
	if len(t.left) != len(t.right) {
		return broken("the children of tree %d differ in number", i)
	}
	out.Right = slices.Clone(t.right)
	out.Spans = map[int32][2]int32{}
	out.Weights = make([]tree.Weight, len(t.leafWeights))
	for k, v := range t.leafWeights {
		out.Weights[k] = tree.Weight{Group: int32(k % t.leafSize), Value: v}
	}
	for k, l := range t.left {
		if l != -1 {
			continue
		}
		at := int(t.right[k])
		if at < 0 || at >= len(t.leafWeights)/t.leafSize {
			return broken("leaf %d of tree %d has the place %d of %d", k, i, at, len(t.leafWeights)/t.leafSize)
		}
		out.Right[k] = -1
		out.Spans[int32(k)] = [2]int32{int32(at * t.leafSize), int32((at + 1) * t.leafSize)}
	}
	return nil
}

// categories reads how a data frame's column named its categories: texts as offsets into bytes, or numbers. Numbers other
// than 0, 1, 2, … cannot be told from codes and are refused.
func categories(src source) (words []string, err error) {
	if src.kind() != '{' {
		return nil, unsupported("it holds category names in an unknown form")
	}
	var offsets []int32
	var values []float32
	texts := false
	err = src.object(func(key string) (err error) {
		switch key {
		case "offsets":
			texts = true
			offsets, err = src.ints()
		case "values":
			values, err = src.floats()
		default:
			err = src.skip()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !texts {
		for i, v := range values {
			if v != float32(i) {
				return nil, unsupported("it was trained on a data frame whose categories are numbers other than 0, 1, 2, …, which cannot be told from their codes; train it on the codes or on texts")
			}
		}
		return nil, nil
	}
	data := make([]byte, len(values))
	for i, v := range values {
		if v < -128 || v > 255 || v != float32(int(v)) {
			return nil, broken("a category name holds the byte %g", v)
		}
		if data[i] = byte(int(v)); data[i] >= 0x80 {
			// XGBoost 3.2 counts characters where bytes are meant, so these names are cut in the wrong places. Codes still work.
			return nil, nil
		}
	}
	for i := 1; i < len(offsets); i++ {
		from, to := offsets[i-1], offsets[i]
		if from < 0 || to < from || int(to) > len(data) {
			return nil, broken("a category name lies outside the file")
		}
		words = append(words, string(data[from:to]))
	}
	return words, nil
}
