package lightgbm

import (
	"math"
)

// maxDepth is the longest way from root to leaf that is accepted.
const maxDepth = 4096

// zeroThreshold is LightGBM's kZeroThreshold, the float32 nearest to 1e-35: what is no further from 0 counts as 0.
const zeroThreshold = float64(float32(1e-35))

// The flags that share a word with the feature's index.
const (
	missingLeft = 1 << 31 // default_left
	categorical = 1 << 30
	zeroMissing = 1 << 29 // missing type Zero: 0 and NaN are missing
	nanMissing  = 1 << 28 // missing type NaN; neither flag is missing type None, where NaN is compared as 0
	featureMask = nanMissing - 1
)

// node is a leaf when left is 0: value is then what it adds, unless feature is not 0 and one more than the index of a formula
// in forest.formulas. Otherwise its children are left and left+1 and value is the
// threshold, or the index of a set in forest.sets. Every child lies behind its parent, so a walk cannot run in circles
// whatever the file said.
type node struct {
	value   float64
	feature uint32
	left    int32
}

// formula is what a leaf of a linear tree adds: a constant and some features times their slopes; when one of them is missing,
// the leaf's value instead.
type formula struct {
	constant float64
	features []int32
	slopes   []float64
}

func (f *formula) of(row []float64, otherwise float64) float64 {
	sum := f.constant
	for i, k := range f.features {
		v := row[k]
		if v != v {
			return otherwise
		}
		sum += f.slopes[i] * v
	}
	return sum
}

// forest is all trees of a model, immutable and safe for concurrent use. Tree i adds to margin i mod groups.
type forest struct {
	nodes    []node
	roots    []int32
	counts   []int32    // training rows per node; shorter than nodes when a tree does not tell
	sets     [][]uint32 // bit c%32 of word c/32 is set when category c goes left
	features int
	groups   int
	formulas []formula // of the leaves of linear trees
}

// block is the number of rows that go through a tree before the next tree, so that the tree stays in the cache.
const block = 64

// add adds every tree's answer for n rows to margins, tree by tree in file order as LightGBM sums. rows is row-major
// with n·features values, margins with n·groups values.
func (f *forest) add(rows, margins []float64, n int) {
	for start := 0; start < n; start += block {
		end := min(start+block, n)
		for t, root := range f.roots {
			g := t % f.groups
			for i := start; i < end; i++ {
				margins[i*f.groups+g] += f.leaf(root, rows[i*f.features:(i+1)*f.features])
			}
		}
	}
}

// leaf is Tree::NumericalDecision and Tree::CategoricalDecision, repeated down to a leaf.
func (f *forest) leaf(at int32, row []float64) float64 {
	nodes := f.nodes
	for {
		n := &nodes[at]
		if n.left == 0 {
			if n.feature != 0 {
				return f.formulas[n.feature-1].of(row, n.value)
			}
			return n.value
		}
		v := row[n.feature&featureMask]
		at = n.left
		if n.feature&(categorical|zeroMissing) == 0 {
			switch {
			case v <= n.value:
			case v == v:
				at++
			case n.feature&nanMissing != 0:
				if n.feature&missingLeft == 0 {
					at++
				}
			case !(0 <= n.value):
				at++
			}
			continue
		}
		if n.feature&categorical != 0 {
			if !member(f.sets[int(n.value)], v) {
				at++
			}
			continue
		}
		switch {
		case v != v || v >= -zeroThreshold && v <= zeroThreshold:
			if n.feature&missingLeft == 0 {
				at++
			}
		case !(v <= n.value):
			at++
		}
	}
}

// member tells whether v, cut to a whole number, is in the set. NaN and what does not fit 32 bits is in none; as in
// LightGBM a value between −1 and 0 is category 0.
func member(set []uint32, v float64) bool {
	if !(v > -1 && v <= math.MaxInt32) {
		return false
	}
	c := uint32(int32(v))
	return int(c/32) < len(set) && set[c/32]>>(c%32)&1 != 0
}

// rawTree is one tree as the file holds it. Children ≥ 0 are inner nodes, a child −1−i is leaf i.
type rawTree struct {
	left, right, feature []int32
	decision             []int8
	threshold            []float64
	leaves               []float64
	boundaries           []int32
	bits                 []uint32
	formulas             []formula // of the leaves of a linear tree

	leafCount, innerCount []int32 // training rows; nil when the file does not tell
}

// The parts of decision_type.
const (
	decisionCategorical = 1
	decisionLeft        = 2
	decisionMissing     = 3 << 2
	missingZero         = 1 << 2
	missingNaN          = 2 << 2
)

// append checks t and adds it. It fails when a child, feature or category set does not exist, when two ways lead to one
// node or a way leads back, or when one is longer than maxDepth. Nodes that cannot be reached are dropped.
func (f *forest) append(t *rawTree) error {
	number := len(f.roots)
	inner, leaves := len(t.feature), len(t.leaves)
	if len(f.nodes) > math.MaxInt32-inner-leaves {
		return broken("it has more than 2147483647 nodes")
	}
	base := int32(len(f.nodes))
	f.roots = append(f.roots, base)
	for i := range t.formulas {
		for _, k := range t.formulas[i].features {
			if k < 0 || int(k) >= f.features {
				return broken("leaf %d of tree %d asks for feature %d of %d", i, number, k, f.features)
			}
		}
	}
	leaf := func(i int32) node {
		if t.formulas == nil {
			return node{value: t.leaves[i]}
		}
		f.formulas = append(f.formulas, t.formulas[i])
		return node{value: t.leaves[i], feature: uint32(len(f.formulas))}
	}
	if inner == 0 {
		f.nodes = append(f.nodes, leaf(0))
		f.counts = append(f.counts, 1) // one leaf has all rows, however many
		return nil
	}
	firstSet := len(f.sets)
	for i := 1; i < len(t.boundaries); i++ {
		f.sets = append(f.sets, t.bits[t.boundaries[i-1]:t.boundaries[i]])
	}
	seen := make([]bool, inner+leaves) // inner nodes, then leaves
	queue := make([]int32, 1, inner+leaves)
	seen[0] = true
	depth, levelEnd := 0, 1
	for i := 0; i < len(queue); i++ {
		if i == levelEnd {
			if depth++; depth > maxDepth {
				return broken("tree %d is more than %d levels deep", number, maxDepth)
			}
			levelEnd = len(queue)
		}
		k := queue[i]
		if t.leafCount != nil {
			if k < 0 {
				f.counts = append(f.counts, t.leafCount[-1-k])
			} else {
				f.counts = append(f.counts, t.innerCount[k])
			}
		}
		if k < 0 {
			f.nodes = append(f.nodes, leaf(-1-k))
			continue
		}
		for _, child := range [2]int32{t.left[k], t.right[k]} {
			at := int(child)
			if child < 0 {
				at = inner - 1 - at
			}
			switch {
			case child >= int32(inner) || at >= inner+leaves:
				return broken("node %d of tree %d has the child %d, which does not exist", k, number, child)
			case seen[at]:
				return broken("node %d of tree %d leads to %d, to which another way leads already", k, number, child)
			}
			seen[at] = true
		}
		feature, decision, value := t.feature[k], t.decision[k], t.threshold[k]
		if feature < 0 || int(feature) >= f.features {
			return broken("node %d of tree %d asks for feature %d of %d", k, number, feature, f.features)
		}
		out := node{value: value, feature: uint32(feature), left: base + int32(len(queue))}
		if decision&decisionLeft != 0 {
			out.feature |= missingLeft
		}
		switch {
		case decision&decisionCategorical != 0:
			set := int(value)
			if !(value >= 0 && value < float64(len(f.sets)-firstSet)) || float64(set) != value {
				return broken("node %d of tree %d asks for the category set %g of %d", k, number, value, len(f.sets)-firstSet)
			}
			out.feature |= categorical
			out.value = float64(firstSet + set)
		case value != value:
			return broken("node %d of tree %d has no threshold", k, number)
		case decision&decisionMissing == missingZero:
			out.feature |= zeroMissing
		case decision&decisionMissing == missingNaN:
			out.feature |= nanMissing
		case decision&decisionMissing != 0:
			return broken("node %d of tree %d has the decision type %d, which is unknown", k, number, decision)
		}
		f.nodes = append(f.nodes, out)
		queue = append(queue, t.left[k], t.right[k])
	}
	return nil
}

// bytes is what the forest holds in memory, without the slack of its slices.
func (f *forest) bytes() int64 {
	n := int64(len(f.nodes))*16 + int64(len(f.counts))*4 + int64(len(f.roots))*4
	for _, s := range f.sets {
		n += 24 + int64(len(s))*4
	}
	for _, x := range f.formulas {
		n += 56 + int64(len(x.features))*12
	}
	return n
}
