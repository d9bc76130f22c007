// Package explain says why a model answered as it did and what its answers depend on.
//
//	one decision    PathDependent, Interventional   Shapley values of tree ensembles, exact
//	                Interactions                    what two features contribute only together
//	                Shapley                         of any model with few features, by enumeration
//	                Kernel                          of any model, on a sample when there are many features
//	                Counter                         the smallest change that gets another answer, within limits
//	                Fact.Words                      the same in words
//	one version     Permute                         what the quality loses when a feature is shuffled
//	                Depend                          how the answer moves with a feature (PDP, ICE)
//	                Accumulate                      the same where features go together (ALE)
//	                Sobol, Morris                   how much of the answer each feature makes, over its whole range
//
// Contributions add up to the model's margin (log-odds for a classifier) less the base value; they describe the model,
// not the world: a feature may carry the contribution of another one it is correlated with. Which of the two tree methods
// made a number has to be shown with it, because they answer different questions: PathDependent fills in features it
// takes away by what training rows did in the tree (needs no data), Interventional by the rows of a background.
//
// The package does no I/O. Rows are row-major float64, missing is NaN.
package explain

import (
	"fmt"
	"math"
	"slices"

	"keelson/internal/problem"
)

// MaxDepth is the longest way from root to leaf that New accepts; the time of PathDependent grows with its square.
const MaxDepth = 512

// Tree is one tree as files hold it: parallel arrays over its nodes, root first, children by index, −1 for none.
type Tree struct {
	Left, Right []int32
	Feature     []int32           // of inner nodes
	Threshold   []float64         // of inner nodes: a value below it goes left
	Inclusive   bool              // a value equal to the threshold goes left too (scikit-learn, LightGBM)
	MissingLeft []bool            // where NaN goes; nil sends it right
	Categories  map[int32][]int32 // of categorical inner nodes: these go right; nil when there are none
	Value       []float64         // of leaves
	Cover       []float64         // weight of the training rows that reached the node, ≥ 0 (XGBoost sum_hessian, scikit-learn weighted_n_node_samples)
	Group       int               // the output the leaves add to
	Weight      float64           // multiplies the leaves: 1 in a boosted ensemble, 1/trees in a forest
}

// Shape says what an ensemble takes and gives.
type Shape struct {
	Features int       // values per row
	Groups   int       // outputs: classes or targets, at least 1
	Base     []float64 // margin before the first tree, one per group; nil is 0
	Single   bool      // values are rounded to float32 before they are compared (XGBoost, scikit-learn)
}

const (
	missingLeft = 1 << iota
	inclusive
	categorical
)

// node is a leaf when right is 0; otherwise its left child is the next node. share is the part of its parent's training
// rows that reached it, 0..1.
type node struct {
	threshold float64 // of a leaf: its weighted value
	share     float64
	feature   int32
	right     int32
	set       int32
	flags     uint8
}

// Ensemble is immutable and safe for concurrent use.
type Ensemble struct {
	shape  Shape
	nodes  []node
	roots  []int32
	groups []int32 // of roots
	sets   [][]int32
	means  []float64 // per group: base and expected value of the trees by cover
	depth  int
}

func refuse(format string, a ...any) error {
	return problem.New(problem.Invalid, "The trees cannot be explained: %s.", fmt.Sprintf(format, a...))
}

// New checks trees and keeps what explaining needs. It fails with problem.Invalid, naming tree and node, when arrays
// differ in length, a child, feature or group does not exist, a node is reached twice, a cover is negative or not a
// number, both children of a node that training rows reached have none, or a way is longer than MaxDepth.
func New(shape Shape, trees []Tree) (*Ensemble, error) {
	switch {
	case shape.Features < 1 || shape.Groups < 1:
		return nil, refuse("they declare %d features and %d outputs", shape.Features, shape.Groups)
	case shape.Base != nil && len(shape.Base) != shape.Groups:
		return nil, refuse("there are %d base values for %d outputs", len(shape.Base), shape.Groups)
	}
	e := &Ensemble{shape: shape, means: make([]float64, shape.Groups)}
	copy(e.means, shape.Base)
	e.shape.Base = slices.Clone(e.means)
	for i := range trees {
		if err := e.add(&trees[i], i); err != nil {
			return nil, err
		}
	}
	for i, root := range e.roots {
		mean, _ := e.mean(root)
		e.means[e.groups[i]] += mean
	}
	return e, nil
}

func (e *Ensemble) add(t *Tree, number int) error {
	n := len(t.Left)
	switch {
	case n == 0:
		return refuse("tree %d has no nodes", number)
	case len(t.Right) != n || len(t.Feature) != n || len(t.Threshold) != n || len(t.Value) != n || len(t.Cover) != n ||
		t.MissingLeft != nil && len(t.MissingLeft) != n:
		return refuse("the node arrays of tree %d differ in length", number)
	case t.Group < 0 || t.Group >= e.shape.Groups:
		return refuse("tree %d belongs to output %d of %d", number, t.Group, e.shape.Groups)
	case len(e.nodes) > math.MaxInt32-n:
		return refuse("there are more than 2147483647 nodes")
	}
	type visit struct {
		node, parent int32 // parent: the packed node whose right child this is, −1 for left children
		depth        int
		share        float64
	}
	seen := make([]bool, n)
	e.roots, e.groups = append(e.roots, int32(len(e.nodes))), append(e.groups, int32(t.Group))
	stack := []visit{{0, -1, 0, 1}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[v.node] {
			return refuse("node %d of tree %d is reached twice", v.node, number)
		}
		seen[v.node] = true
		if v.depth > MaxDepth {
			return refuse("tree %d is more than %d levels deep", number, MaxDepth)
		}
		e.depth = max(e.depth, v.depth)
		at := int32(len(e.nodes))
		if v.parent >= 0 {
			e.nodes[v.parent].right = at
		}
		l, r := t.Left[v.node], t.Right[v.node]
		if l == -1 && r == -1 {
			value := t.Value[v.node] * t.Weight
			if math.IsNaN(value) || math.IsInf(value, 0) {
				return refuse("leaf %d of tree %d is not a number", v.node, number)
			}
			e.nodes = append(e.nodes, node{threshold: value, share: v.share})
			continue
		}
		if l < 0 || r < 0 || int(l) >= n || int(r) >= n {
			return refuse("node %d of tree %d has the children %d and %d, but there are %d nodes", v.node, number, l, r, n)
		}
		if f := t.Feature[v.node]; f < 0 || int(f) >= e.shape.Features {
			return refuse("node %d of tree %d asks for feature %d of %d", v.node, number, f, e.shape.Features)
		}
		cl, cr := t.Cover[l], t.Cover[r]
		if sum := cl + cr; !(cl >= 0 && cr >= 0 && sum > 0) || math.IsInf(sum, 0) {
			return refuse("the covers %g and %g below node %d of tree %d do not say how training rows were divided", cl, cr, v.node, number)
		}
		out := node{threshold: t.Threshold[v.node], share: v.share, feature: t.Feature[v.node]}
		if t.MissingLeft != nil && t.MissingLeft[v.node] {
			out.flags |= missingLeft
		}
		if t.Inclusive {
			out.flags |= inclusive
		}
		if set, ok := t.Categories[v.node]; ok {
			out.flags |= categorical
			out.set = int32(len(e.sets))
			e.sets = append(e.sets, slices.Sorted(slices.Values(set)))
		} else if math.IsNaN(out.threshold) {
			return refuse("node %d of tree %d has no threshold", v.node, number)
		}
		e.nodes = append(e.nodes, out)
		stack = append(stack, visit{r, at, v.depth + 1, cr / (cl + cr)}, visit{l, -1, v.depth + 1, cl / (cl + cr)})
	}
	return nil
}

// mean is the expected leaf below a node when every split goes as its training rows did, and the index after it.
func (e *Ensemble) mean(at int32) (mean float64, after int32) {
	n := &e.nodes[at]
	if n.right == 0 {
		return n.threshold, at + 1
	}
	l, _ := e.mean(at + 1)
	r, after := e.mean(n.right)
	return l*e.nodes[at+1].share + r*e.nodes[n.right].share, after
}

// next is the child of the inner node at that row goes to.
func (e *Ensemble) next(at int32, row []float64) int32 {
	n := &e.nodes[at]
	v := row[n.feature]
	left := false
	switch {
	case v != v:
		left = n.flags&missingLeft != 0
	case n.flags&categorical != 0:
		left = true
		if v >= 0 && v < 1<<24 {
			_, found := slices.BinarySearch(e.sets[n.set], int32(v))
			left = !found
		}
	default:
		left = v < n.threshold || v == n.threshold && n.flags&inclusive != 0
	}
	if left {
		return at + 1
	}
	return n.right
}

// Features is the number of values in a row; Groups the number of outputs.
func (e *Ensemble) Features() int { return e.shape.Features }

// Groups is the number of outputs per row.
func (e *Ensemble) Groups() int { return e.shape.Groups }

// rows gives rows as the ensemble compares them, and their number.
func (e *Ensemble) rows(rows []float64) ([]float64, int, error) {
	if len(rows)%e.shape.Features != 0 {
		return nil, 0, problem.New(problem.Invalid, "%d values are no whole number of rows of %d features.", len(rows), e.shape.Features)
	}
	if e.shape.Single {
		rows = slices.Clone(rows)
		for i, v := range rows {
			rows[i] = float64(float32(v))
		}
	}
	return rows, len(rows) / e.shape.Features, nil
}

// Margins returns Groups values per row: base and leaves, summed in float64. An engine that sums in float32 differs in
// the last digits of that.
func (e *Ensemble) Margins(rows []float64) ([]float64, error) {
	rows, n, err := e.rows(rows)
	if err != nil {
		return nil, err
	}
	out := make([]float64, 0, n*e.shape.Groups)
	for i := range n {
		row := rows[i*e.shape.Features : (i+1)*e.shape.Features]
		out = append(out, e.shape.Base...)
		margin := out[i*e.shape.Groups:]
		for k, at := range e.roots {
			for e.nodes[at].right != 0 {
				at = e.next(at, row)
			}
			margin[e.groups[k]] += e.nodes[at].threshold
		}
	}
	return out, nil
}
