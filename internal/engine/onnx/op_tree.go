package onnx

import (
	"math"

	"keelson/internal/tensor"
	"keelson/internal/tree"
)

// The questions of a node.
const (
	askLEQ = iota
	askLT
	askGTE
	askGT
	askEQ
	askNEQ
	askMember
	leaf
)

var questions = map[string]uint8{"BRANCH_LEQ": askLEQ, "BRANCH_LT": askLT, "BRANCH_GTE": askGTE, "BRANCH_GT": askGT, "BRANCH_EQ": askEQ, "BRANCH_NEQ": askNEQ, "BRANCH_MEMBER": askMember, "LEAF": leaf}

// branch is one node of a forest. yes and no are its children; a leaf has the weights from to to.
type branch struct {
	value    float64
	feature  int32
	yes, no  int32
	from, to int32 // of a leaf: its weights; of a membership: its values
	ask      uint8
	missing  bool // NaN goes the way of yes
}

type weight struct {
	target int32
	value  float64
}

// forest is the trees of one operator as the file tells them: thresholds in float64, which holds float32 exactly.
type forest struct {
	nodes    []branch
	roots    []int32
	weights  []weight
	members  []float64
	features int // the highest feature asked for, plus 1
	targets  int
	average  bool
	extreme  int // −1 minimum, 1 maximum
	base     []float64
	scores   scores

	fast    *tree.Ensemble // the same trees for FP32 rows; nil when they ask what it cannot
	reached []bool         // by target, for the fast form: whether every row reaches a weight of it
}

func (f *forest) find(root int32, row func(feature int32) float64) *branch {
	at := root
	for {
		n := &f.nodes[at]
		if n.ask == leaf {
			return n
		}
		v := row(n.feature)
		var yes bool
		switch n.ask {
		case askLEQ:
			yes = v <= n.value
		case askLT:
			yes = v < n.value
		case askGTE:
			yes = v >= n.value
		case askGT:
			yes = v > n.value
		case askEQ:
			yes = v == n.value
		case askNEQ:
			yes = v != n.value
		case askMember:
			for _, m := range f.members[n.from:n.to] {
				yes = yes || v == m
			}
		}
		if yes || n.missing && v != v {
			at = n.yes
		} else {
			at = n.no
		}
	}
}

// add folds the leaves that a row reaches into sums; has tells which targets were reached.
func (f *forest) add(row func(feature int32) float64, sums []float64, has []bool) {
	for _, root := range f.roots {
		n := f.find(root, row)
		for _, w := range f.weights[n.from:n.to] {
			switch {
			case f.extreme != 0 && has[w.target] && (w.value > sums[w.target]) != (f.extreme > 0):
			case f.extreme != 0:
				sums[w.target] = w.value
			default:
				sums[w.target] += w.value
			}
			has[w.target] = true
		}
	}
	if f.average {
		for i := range sums {
			sums[i] /= float64(len(f.roots))
		}
	}
}

// doublesOf gives numbers that stand as a list of floats or as a tensor.
func (n *node) doublesOf(name string) []float64 {
	if v, ok := n.attr(name + "_as_tensor"); ok && v.tensor != nil {
		out := make([]float64, v.tensor.Len())
		for i := range out {
			out[i] = v.tensor.Float64(i)
		}
		return out
	}
	list := n.floats(name)
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = float64(v)
	}
	return out
}

// forest reads the attributes of TreeEnsembleClassifier and TreeEnsembleRegressor; prefix is that of the weights.
func (n *node) forest(prefix string, targets int) *forest {
	f := &forest{targets: targets, base: n.doublesOf("base_values"), scores: n.scores()}
	trees, ids, features, values := n.ints("nodes_treeids"), n.ints("nodes_nodeids"), n.ints("nodes_featureids"), n.doublesOf("nodes_values")
	yes, no, modes, missing := n.ints("nodes_truenodeids"), n.ints("nodes_falsenodeids"), n.texts("nodes_modes"), n.ints("nodes_missing_value_tracks_true")
	count := len(trees)
	if count == 0 || len(ids) != count || len(features) != count || len(values) != count || len(yes) != count || len(no) != count || len(modes) != count || len(missing) != 0 && len(missing) != count {
		n.wrong("its lists of nodes differ in length")
		return f
	}
	if targets < 1 || targets > 1<<20 {
		n.wrong("it has %d targets", targets)
		return f
	}
	type id struct{ tree, node int64 }
	at := make(map[id]int32, count)
	for i := range count {
		if _, ok := at[id{trees[i], ids[i]}]; ok {
			n.wrong("node %d of tree %d stands twice", ids[i], trees[i])
			return f
		}
		at[id{trees[i], ids[i]}] = int32(i)
	}
	raw := make([]branch, count)
	parents := make([]bool, count)
	for i := range raw {
		ask, ok := questions[modes[i]]
		if !ok || ask == askMember {
			n.lacks("the mode %q", clip(modes[i]))
			return f
		}
		b := branch{value: values[i], ask: ask, missing: len(missing) > 0 && missing[i] != 0}
		if ask != leaf {
			if features[i] < 0 || features[i] > 1<<24 {
				n.wrong("a node asks for feature %d", features[i])
				return f
			}
			b.feature = int32(features[i])
			f.features = max(f.features, int(features[i])+1)
			var hasYes, hasNo bool
			b.yes, hasYes = at[id{trees[i], yes[i]}]
			b.no, hasNo = at[id{trees[i], no[i]}]
			if !hasYes || !hasNo {
				n.wrong("node %d of tree %d leads nowhere", ids[i], trees[i])
				return f
			}
			parents[b.yes], parents[b.no] = true, true
		}
		raw[i] = b
	}
	// The weights of a leaf stand anywhere; they are counted, then laid side by side.
	wt, wn, wi, ww := n.ints(prefix+"_treeids"), n.ints(prefix+"_nodeids"), n.ints(prefix+"_ids"), n.doublesOf(prefix+"_weights")
	if len(wt) != len(wn) || len(wt) != len(wi) || len(wt) != len(ww) {
		n.wrong("its lists of weights differ in length")
		return f
	}
	owner := make([]int32, len(wt))
	for i := range wt {
		k, ok := at[id{wt[i], wn[i]}]
		if !ok || raw[k].ask != leaf || wi[i] < 0 || wi[i] >= int64(targets) {
			n.wrong("a weight belongs to node %d of tree %d and target %d, which do not fit", wn[i], wt[i], wi[i])
			return f
		}
		owner[i] = k
		raw[k].to++
	}
	next := int32(0)
	for i := range raw {
		if raw[i].ask == leaf {
			raw[i].from = next
			next += raw[i].to
			raw[i].to = raw[i].from
		}
	}
	f.weights = make([]weight, len(wt))
	for i, k := range owner {
		f.weights[raw[k].to] = weight{int32(wi[i]), ww[i]}
		raw[k].to++
	}
	if targets == 1 { // of several weights for the only target onnxruntime takes a leaf's first
		for i := range raw {
			if b := &raw[i]; b.ask == leaf {
				b.to = min(b.to, b.from+1)
			}
		}
	}
	// Roots are the nodes that nobody leads to. Two ways may lead to one node (categories are written so), none back.
	f.nodes = raw
	seen := make(map[int64]bool)
	for i := range raw {
		if parents[i] {
			continue
		}
		if seen[trees[i]] {
			n.wrong("tree %d has two roots", trees[i])
			return f
		}
		seen[trees[i]] = true
		f.roots = append(f.roots, int32(i))
	}
	if !f.ends() {
		n.wrong("its nodes lead in circles")
	}
	return f
}

// ends tells whether every way from a root ends in a leaf, and every node lies on one.
func (f *forest) ends() bool {
	const (
		fresh = iota
		open
		done
	)
	state := make([]uint8, len(f.nodes))
	reached := 0
	var way []int32
	for _, root := range f.roots {
		way = append(way[:0], root)
		for len(way) > 0 {
			at := way[len(way)-1]
			n := &f.nodes[at]
			if state[at] == fresh {
				state[at] = open
				reached++
			}
			next := int32(-1)
			if n.ask != leaf {
				for _, child := range [2]int32{n.yes, n.no} {
					switch state[child] {
					case open:
						return false
					case fresh:
						next = child
					}
				}
			}
			if next >= 0 {
				way = append(way, next)
				continue
			}
			state[at] = done
			way = way[:len(way)-1]
		}
	}
	return reached == len(f.nodes)
}

func (f *forest) aggregate(n *node, name string) {
	switch name {
	case "SUM":
	case "AVERAGE":
		f.average = true
	case "MIN":
		f.extreme = -1
	case "MAX":
		f.extreme = 1
	default:
		n.lacks("the aggregate_function %q", clip(name))
	}
}

// rows gives what evaluation needs of a tensor: FP64 is compared as it is, everything else as float32.
func (f *forest) rows(c *call, t *tensor.Tensor) (rows, width int, at func(row int) func(int32) float64) {
	rows, width = c.matrix(t)
	if width < f.features {
		c.fail("asks for %d columns, not %d", f.features, width)
	}
	if t.Type == tensor.FP64 {
		return rows, width, func(r int) func(int32) float64 {
			row := t.F64[r*width : (r+1)*width]
			return func(k int32) float64 { return row[k] }
		}
	}
	x := c.numbers(t)
	return rows, width, func(r int) func(int32) float64 {
		row := x[r*width : (r+1)*width]
		return func(k int32) float64 { return float64(row[k]) }
	}
}

func treeRegressor(n *node) (kernel, error) {
	f := n.forest("target", int(min(max(n.int("n_targets", 1), 0), 1<<30)))
	f.aggregate(n, n.text("aggregate_function", "SUM"))
	if n.err == nil {
		f.quicken()
	}
	return f.regress(tensor.FP32), n.err
}

// regress adds the base values, of several targets only to those that a leaf of the row weighs, as onnxruntime does, and
// transforms; want is the type of the answer, 0 for that of the input.
func (f *forest) regress(want tensor.Type) kernel {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rows, sums, has := f.sums(c, in[0])
		for i := range sums {
			if f.targets == 1 || has[i] {
				sums[i] += f.start(i % f.targets)
			}
		}
		shape := c.ints(2)
		shape[0], shape[1] = rows, f.targets
		t := want
		if t == 0 {
			t = in[0].Type
		}
		if t == tensor.FP64 && f.scores.transform == "NONE" {
			v := c.f64s(&out[0], shape)
			copy(v, sums)
			return
		}
		v := c.f32s(&out[0], shape)
		for i := range v {
			v[i] = float32(sums[i])
		}
		if f.targets > 1 || f.scores.transform == "PROBIT" {
			for r := range rows {
				f.scores.row(v[r*f.targets : (r+1)*f.targets])
			}
		}
		if t == tensor.FP64 {
			out[0] = c.back(out[0], t)
		}
	}
}

func (f *forest) start(target int) float64 {
	if len(f.base) == f.targets {
		return f.base[target]
	}
	return 0
}

// treeClassifier follows onnxruntime where the standard is silent: with two classes of which the leaves weigh only one,
// that weight is the second class's; it wins above 0.5 when no weight is negative, else above 0.
func treeClassifier(n *node) (kernel, error) {
	k := n.classes("classlabels_strings", "classlabels_int64s")
	f := n.forest("class", k.len())
	if n.err != nil {
		return nil, n.err
	}
	positive, weighed := true, map[int32]bool{}
	for _, w := range f.weights {
		positive = positive && w.value >= 0
		weighed[w.target] = true
	}
	if len(f.base) > k.len() {
		n.wrong("it has %d base values for %d classes", len(f.base), k.len())
	}
	binary := k.len() == 2 && len(weighed) == 1
	if n.err == nil {
		f.quicken()
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rows, sums, has := f.sums(c, in[0])
		shape := c.ints(2)
		shape[0], shape[1] = rows, f.targets
		var spare tensor.Tensor
		second := &spare
		if len(out) > 1 {
			second = &out[1]
		}
		v := c.f32s(second, shape)
		chosen := c.ints(rows)
		for r := range rows {
			chosen[r] = f.classify(sums[r*f.targets:(r+1)*f.targets], has[r*f.targets:(r+1)*f.targets], v[r*f.targets:(r+1)*f.targets], binary, positive)
		}
		k.labels(c, &out[0], rows, func(r int) int { return chosen[r] })
	}, nil
}

// classify turns the sums of one row into scores and gives the class.
func (f *forest) classify(sums []float64, has []bool, v []float32, binary, positive bool) int {
	if f.targets > 2 {
		best := -1
		for i := range sums {
			if i < len(f.base) {
				sums[i] += f.base[i]
				has[i] = true
			}
			v[i] = float32(sums[i])
			if has[i] && (best < 0 || v[i] > v[best]) {
				best = i
			}
		}
		f.scores.row(v)
		return max(best, 0)
	}
	if f.targets == 1 {
		v[0] = float32(sums[0] + f.start(0))
		f.scores.row(v)
		return 0
	}
	// One base value is the first class's; of two, the second one stands for the second class, whose own sum it replaces.
	// A class that no leaf has weighed counts 0.
	single := false
	switch len(f.base) {
	case 2:
		if has[1] {
			sums[1] = f.base[1] + sums[0]
			sums[0] = -sums[1]
		} else {
			sums[0] += f.base[0]
		}
	case 1:
		sums[0] += f.base[0]
		single = !has[1]
	default:
		single = !has[1]
	}
	for i := range v {
		if has[i] {
			v[i] = float32(sums[i])
		}
	}
	pos := v[0]
	if has[1] {
		pos = v[1]
	}
	class := 0
	if pos > 0.5 || pos > 0 && !(binary && positive) {
		class = 1
	}
	switch {
	case !single:
		f.scores.row(v)
	case f.scores.transform == "PROBIT":
		v[0], v[1] = probit(pos), 0
	case positive:
		v[0], v[1] = 1-pos, pos
	case f.scores.transform == "LOGISTIC":
		v[0], v[1] = logistic(-pos), logistic(pos)
	default:
		v[0], v[1] = -pos, pos
	}
	return class
}

// treeEnsemble is the operator of ai.onnx.ml 5, which took the place of both.
func treeEnsemble(n *node) (kernel, error) {
	f := &forest{targets: int(min(max(n.int("n_targets", 1), 0), 1<<20))}
	transforms := []string{"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"}
	if t := n.int("post_transform", 0); t < 0 || t >= int64(len(transforms)) {
		n.lacks("the post_transform %d", t)
	} else {
		f.scores = scores{transforms[t]}
	}
	functions := []string{"AVERAGE", "SUM", "MIN", "MAX"}
	if a := n.int("aggregate_function", 1); a < 0 || a >= int64(len(functions)) {
		n.lacks("the aggregate_function %d", a)
	} else {
		f.aggregate(n, functions[a])
	}
	read := func(name string) []float64 {
		v, _ := n.attr(name)
		if v.tensor == nil {
			return nil
		}
		out := make([]float64, v.tensor.Len())
		for i := range out {
			out[i] = v.tensor.Float64(i)
		}
		return out
	}
	features, splits, modes := n.ints("nodes_featureids"), read("nodes_splits"), read("nodes_modes")
	yes, no, yesLeaf, noLeaf := n.ints("nodes_truenodeids"), n.ints("nodes_falsenodeids"), n.ints("nodes_trueleafs"), n.ints("nodes_falseleafs")
	missing, roots := n.ints("nodes_missing_value_tracks_true"), n.ints("tree_roots")
	targets, values, members := n.ints("leaf_targetids"), read("leaf_weights"), read("membership_values")
	count := len(features)
	for _, l := range []int{len(splits), len(modes), len(yes), len(no), len(yesLeaf), len(noLeaf)} {
		if l != count || count == 0 {
			n.wrong("its lists of nodes differ in length")
			return nil, n.err
		}
	}
	if len(targets) != len(values) || len(missing) != 0 && len(missing) != count || f.targets < 1 {
		n.wrong("its lists of leaves differ in length")
		return nil, n.err
	}
	for i, t := range targets {
		if t < 0 || t >= int64(f.targets) {
			n.wrong("leaf %d belongs to target %d of %d", i, t, f.targets)
			return nil, n.err
		}
		f.weights = append(f.weights, weight{int32(t), values[i]})
	}
	// The values of memberships follow one another in the order of their nodes, parted by NaN.
	f.members = members
	from := int32(0)
	raw := make([]branch, count)
	for i := range raw {
		m := modes[i]
		if !(m >= askLEQ && m <= askMember) || features[i] < 0 || features[i] > 1<<24 {
			n.lacks("the mode %v", m)
			return nil, n.err
		}
		raw[i] = branch{value: splits[i], feature: int32(features[i]), ask: uint8(m), missing: len(missing) > 0 && missing[i] != 0}
		f.features = max(f.features, int(features[i])+1)
		if raw[i].ask == askMember {
			raw[i].from = from
			for int(from) < len(members) && members[from] == members[from] {
				from++
			}
			raw[i].to = from
			from++
		}
	}
	seen := make([]bool, count)
	leafAt := func(k int64) (branch, bool) {
		return branch{ask: leaf, from: int32(k), to: int32(k) + 1}, k >= 0 && k < int64(len(f.weights))
	}
	for _, r := range roots {
		if r < 0 || r >= int64(count) || seen[r] {
			n.wrong("a tree begins at node %d", r)
			return nil, n.err
		}
		seen[r] = true
		f.roots = append(f.roots, int32(len(f.nodes)))
		queue := []int64{r} // the raw node of each packed one; −1 for leaves
		f.nodes = append(f.nodes, raw[r])
		base := len(f.nodes) - 1
		for i := 0; i < len(queue); i++ {
			k := queue[i]
			if k < 0 {
				continue
			}
			f.nodes[base+i].yes, f.nodes[base+i].no = int32(len(f.nodes)), int32(len(f.nodes)+1)
			for _, child := range [2]struct{ at, leaf int64 }{{yes[k], yesLeaf[k]}, {no[k], noLeaf[k]}} {
				if child.leaf != 0 {
					b, ok := leafAt(child.at)
					if !ok {
						n.wrong("node %d leads to leaf %d of %d", k, child.at, len(f.weights))
						return nil, n.err
					}
					f.nodes, queue = append(f.nodes, b), append(queue, -1)
					continue
				}
				if child.at < 0 || child.at >= int64(count) || seen[child.at] {
					n.wrong("node %d leads nowhere or to another one's child", k)
					return nil, n.err
				}
				seen[child.at] = true
				f.nodes, queue = append(f.nodes, raw[child.at]), append(queue, child.at)
			}
		}
	}
	if len(f.roots) == 0 || len(f.nodes) > math.MaxInt32 {
		n.wrong("it has no trees")
	}
	if n.err == nil {
		f.quicken()
	}
	return f.regress(0), n.err
}
