// Package tree evaluates ensembles of binary decision trees. Readers in engine/* turn their file formats into a
// Builder's calls; the evaluator is written once.
//
// A node asks whether one feature's value lies below a threshold (or outside a set of categories) and goes left or
// right; a missing value (NaN) goes where the node says. A leaf adds its value to one group of the row's margins. All
// arithmetic is float32, added tree by tree in file order, as XGBoost does it on a CPU.
//
// Nodes are packed breadth first in 12 bytes with siblings side by side, and every child lies behind its parent, so
// an evaluation cannot run in circles whatever the file said. From a few rows on, a second form of 8 bytes a node is
// walked without branches (block.go).
package tree

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"keelson/internal/problem"
)

// MaxDepth is the longest way from root to leaf that Add accepts.
const MaxDepth = 4096

const (
	missingLeft = 1 << 31
	categorical = 1 << 30
	featureMask = categorical - 1
)

// node is a leaf when left is 0: value is then what it adds; with feature not 0 it holds the bits of an index into
// Ensemble.spans instead, whose weights it adds. Otherwise its children are left and left+1 and value is the threshold,
// or the bits of an index into Ensemble.sets.
type node struct {
	value   float32
	feature uint32 // index, with missingLeft and categorical
	left    int32
}

type root struct {
	at    int32
	group int32
}

// Ensemble is immutable and safe for concurrent use.
type Ensemble struct {
	nodes    []node
	roots    []root
	sets     [][]int32
	spans    []span    // of leaves with several weights
	weights  []Weight  // theirs
	covers   []float32 // of nodes; nil when a tree has none
	features int
	groups   int

	compact  []compact // the second form of the trees; see block.go
	packed   []uint64
	slotBits uint
	keys     sync.Pool // *[]int32
	mixtures sync.Pool // *mixture
}

type span struct{ from, to int32 }

// Weight is what a leaf adds to one group.
type Weight struct {
	Group int32
	Value float32
}

// Features is the number of values in a row; Groups the number of margins a row gets.
func (e *Ensemble) Features() int { return e.features }

// Groups is the number of margins of a row: classes or targets, at least 1.
func (e *Ensemble) Groups() int { return e.groups }

// Trees is the number of trees.
func (e *Ensemble) Trees() int { return len(e.roots) }

// Bytes is the memory that the ensemble holds, without the slack of its slices.
func (e *Ensemble) Bytes() int64 {
	n := 20*int64(len(e.nodes)) + 4*int64(len(e.covers)) + 20*int64(len(e.roots)) + 8*int64(len(e.spans)) + 8*int64(len(e.weights))
	for _, s := range e.sets {
		n += 24 + 4*int64(len(s))
	}
	return n
}

// Nodes is the number of reachable nodes over all trees.
func (e *Ensemble) Nodes() int { return len(e.nodes) }

// block is the number of rows that go through a tree before the next tree, so that the tree stays in the cache.
const block = 64

// Add adds every tree's answer for n rows to margins. rows is row-major with n·Features values, margins with n·Groups
// values. It allocates nothing once it is warm.
func (e *Ensemble) Add(rows, margins []float32, n int) {
	if n >= fewMixed && len(e.roots) >= fewTrees {
		e.addMany(rows, margins, n)
		return
	}
	if n >= fewRows {
		e.addBlocks(rows, margins, n)
		return
	}
	for start := 0; start < n; start += block {
		end := min(start+block, n)
		for _, r := range e.roots {
			for i := start; i < end; i++ {
				e.leaf(r.at, rows[i*e.features:(i+1)*e.features], margins[i*e.groups:(i+1)*e.groups], r.group)
			}
		}
	}
}

// fewRows is the number of rows from which the second form is faster.
const fewRows = 4

// leaf finds the leaf of a row and adds what it weighs.
func (e *Ensemble) leaf(at int32, row, sums []float32, group int32) {
	nodes := e.nodes
	for {
		n := &nodes[at]
		if n.left == 0 {
			e.weigh(n, sums, int(group))
			return
		}
		v := row[n.feature&featureMask]
		at = n.left
		switch {
		case v < n.value && n.feature&categorical == 0:
		case v != v:
			if n.feature&missingLeft == 0 {
				at++
			}
		case n.feature&categorical == 0:
			at++
		default:
			if e.member(math.Float32bits(n.value), v) {
				at++
			}
		}
	}
}

// weigh adds a leaf to the sums of a row.
func (e *Ensemble) weigh(n *node, sums []float32, group int) {
	if n.feature == 0 {
		sums[group] += n.value
		return
	}
	s := e.spans[math.Float32bits(n.value)]
	for _, w := range e.weights[s.from:s.to] {
		sums[w.Group] += w.Value
	}
}

// member tells whether v, cut to a whole number, is in the set. What is no category (negative, 2^24 and more) is in
// none.
func (e *Ensemble) member(set uint32, v float32) bool {
	if v < 0 || v >= 1<<24 {
		return false
	}
	_, found := slices.BinarySearch(e.sets[set], int32(v))
	return found
}

// Covered gives the trees with their covers, one after the other with the group each adds to, for what looks into them
// and not at rows. ok is false when a tree had no covers or a leaf weighs several groups. Leaves hold their value times
// the weight of the tree; categories must not be changed.
func (e *Ensemble) Covered() (trees []Tree, groups []int, ok bool) {
	if len(e.covers) != len(e.nodes) || len(e.spans) > 0 {
		return nil, nil, false
	}
	trees, groups = e.Apart()
	for i, r := range e.roots {
		trees[i].Cover = e.covers[r.at : int(r.at)+len(trees[i].Left)]
	}
	return trees, groups, true
}

// Apart gives the trees one after the other with the group each adds to, without covers. Leaves hold their value times the
// weight of the tree; categories and weights must not be changed.
func (e *Ensemble) Apart() (trees []Tree, groups []int) {
	for i, r := range e.roots {
		end := len(e.nodes)
		if i+1 < len(e.roots) {
			end = int(e.roots[i+1].at)
		}
		nodes := e.nodes[r.at:end]
		n := len(nodes)
		t := Tree{Left: make([]int32, n), Right: make([]int32, n), Feature: make([]int32, n), Threshold: make([]float32, n),
			MissingLeft: make([]bool, n)}
		for k, v := range nodes {
			t.Left[k], t.Right[k], t.Threshold[k] = -1, -1, v.value
			if v.left == 0 {
				if v.feature != 0 {
					if t.Spans == nil {
						t.Spans, t.Weights = map[int32][2]int32{}, e.weights
					}
					s := e.spans[math.Float32bits(v.value)]
					t.Spans[int32(k)] = [2]int32{s.from, s.to}
				}
				continue
			}
			t.Left[k], t.Right[k] = v.left-r.at, v.left-r.at+1
			t.Feature[k], t.MissingLeft[k] = int32(v.feature&featureMask), v.feature&missingLeft != 0
			if v.feature&categorical != 0 {
				if t.Categories == nil {
					t.Categories = map[int32][]int32{}
				}
				t.Categories[int32(k)] = e.sets[math.Float32bits(v.value)]
			}
		}
		trees, groups = append(trees, t), append(groups, int(r.group))
	}
	return trees, groups
}

// Tree is one tree as files hold it: parallel arrays over its nodes, root first, children by index, −1 for none.
// Nodes that cannot be reached from the root are dropped.
type Tree struct {
	Left, Right []int32
	Feature     []int32   // of inner nodes
	Threshold   []float32 // of inner nodes: v < Threshold goes left; of leaves: the value
	MissingLeft []bool
	Categories  map[int32][]int32 // of categorical inner nodes: these go right; nil when there are none
	Cover       []float32         // weight of the training rows that reached each node, for explaining; nil when it is not known

	// Leaves may weigh several groups: leaf k then adds Weights[Spans[k][0]:Spans[k][1]] instead of its value to the tree's
	// group. nil when no leaf does.
	Weights []Weight
	Spans   map[int32][2]int32
}

// Builder collects trees. Its zero value is not usable; call NewBuilder.
type Builder struct {
	e         Ensemble
	queue     []int32
	uncovered bool // a tree had no covers
}

// NewBuilder starts an ensemble over rows of features values that yields groups margins per row.
func NewBuilder(features, groups int) (*Builder, error) {
	if features < 1 || features > featureMask {
		return nil, refuse("it declares %d features", features)
	}
	if groups < 1 || groups > 1<<20 {
		return nil, refuse("it declares %d classes or targets", groups)
	}
	return &Builder{e: Ensemble{features: features, groups: groups}}, nil
}

func refuse(format string, a ...any) error {
	return problem.New(problem.Invalid, "The trees of the model cannot be used: %s.", fmt.Sprintf(format, a...))
}

// Append checks t and adds it; its leaves, multiplied by weight, go to the given group. It fails with problem.Invalid,
// naming the node, when arrays differ in length, a child or feature does not exist, a node has two parents, one child or
// leads back to itself, or a way is longer than MaxDepth.
func (b *Builder) Append(t Tree, group int, weight float32) error {
	name := fmt.Sprintf("tree %d", len(b.e.roots))
	n := len(t.Left)
	switch {
	case n == 0:
		return refuse("%s has no nodes", name)
	case len(t.Right) != n || len(t.Feature) != n || len(t.Threshold) != n || len(t.MissingLeft) != n:
		return refuse("the node arrays of %s differ in length", name)
	case group < 0 || group >= b.e.groups:
		return refuse("%s belongs to class %d of %d", name, group, b.e.groups)
	case len(b.e.nodes) > math.MaxInt32-n:
		return refuse("it has more than 2147483647 nodes")
	}
	if t.Cover != nil && len(t.Cover) != n {
		return refuse("the node arrays of %s differ in length", name)
	}
	b.uncovered = b.uncovered || t.Cover == nil
	seen := make([]bool, n)
	seen[0] = true
	base := int32(len(b.e.nodes))
	b.e.roots = append(b.e.roots, root{base, int32(group)})
	b.queue = append(b.queue[:0], 0)
	depth, levelEnd, used := 0, 1, 0
	for i := 0; i < len(b.queue); i++ {
		if i == levelEnd {
			if depth++; depth > MaxDepth {
				return refuse("%s is more than %d levels deep", name, MaxDepth)
			}
			levelEnd = len(b.queue)
		}
		k := b.queue[i]
		if !b.uncovered {
			b.e.covers = append(b.e.covers, t.Cover[k])
		}
		l, r := t.Left[k], t.Right[k]
		if l == -1 && r == -1 {
			out := node{value: t.Threshold[k] * weight}
			if s, ok := t.Spans[k]; ok {
				if s[0] < 0 || s[1] < s[0] || int(s[1]) > len(t.Weights) || len(b.e.weights) > math.MaxInt32-int(s[1]-s[0]) {
					return refuse("leaf %d of %s has the weights %d to %d of %d", k, name, s[0], s[1], len(t.Weights))
				}
				// Spans that overlap would let a small file grow large in memory.
				if used += int(s[1] - s[0]); used > len(t.Weights) {
					return refuse("the weights of %s overlap", name)
				}
				from := int32(len(b.e.weights))
				for _, w := range t.Weights[s[0]:s[1]] {
					if w.Group < 0 || int(w.Group) >= b.e.groups {
						return refuse("leaf %d of %s belongs to class %d of %d", k, name, w.Group, b.e.groups)
					}
					b.e.weights = append(b.e.weights, Weight{w.Group, w.Value * weight})
				}
				out = node{value: math.Float32frombits(uint32(len(b.e.spans))), feature: 1}
				b.e.spans = append(b.e.spans, span{from, int32(len(b.e.weights))})
			}
			b.e.nodes = append(b.e.nodes, out)
			continue
		}
		if l < 0 || r < 0 || int(l) >= n || int(r) >= n {
			return refuse("node %d of %s has the children %d and %d, but there are %d nodes", k, name, l, r, n)
		}
		if seen[l] || seen[r] || l == r {
			return refuse("node %d of %s leads to a node that another one leads to already", k, name)
		}
		seen[l], seen[r] = true, true
		f := t.Feature[k]
		if f < 0 || int(f) >= b.e.features {
			return refuse("node %d of %s asks for feature %d of %d", k, name, f, b.e.features)
		}
		out := node{value: t.Threshold[k], feature: uint32(f), left: base + int32(len(b.queue))}
		if t.MissingLeft[k] {
			out.feature |= missingLeft
		}
		if set, ok := t.Categories[k]; ok {
			out.feature |= categorical
			out.value = math.Float32frombits(uint32(len(b.e.sets)))
			b.e.sets = append(b.e.sets, slices.Sorted(slices.Values(set)))
		} else if out.value != out.value {
			return refuse("node %d of %s has no threshold", k, name)
		}
		b.queue = append(b.queue, l, r)
		b.e.nodes = append(b.e.nodes, out)
	}
	return nil
}

// Build gives the ensemble; the builder must not be used afterwards.
func (b *Builder) Build() *Ensemble {
	b.e.nodes, b.e.covers = slices.Clip(b.e.nodes), slices.Clip(b.e.covers)
	if b.uncovered {
		b.e.covers = nil
	}
	b.e.compactTrees()
	return &b.e
}
