// Package boost learns gradient-boosted trees over histograms: a small learner for the product's own questions (what error
// a model makes on such a row, whether two samples can be told apart), not for the models that users deploy.
//
// Columns are cut into at most 254 bins once, with one more for missing values. Each tree is grown leaf by leaf, the leaf
// with the largest gain first; with the sums G and H of the first and second derivatives of the loss over the rows of a
// side, the gain of a split is
//
//	G_l²/(H_l+λ) + G_r²/(H_r+λ) − G²/(H+λ)
//
// and the value of a leaf −G/(H+λ). Missing values go to the side where they gain more; words are ordered by G/H within
// the leaf, so that any grouping of them can be split off. Equal input and Params give equal models.
//
// Sources: Friedman, Ann. Stat. 29 (2001); Chen & Guestrin, KDD 2016; Ke et al., NeurIPS 2017; for words Fisher, J. Am.
// Stat. Assoc. 53 (1958).
//
// The package does no I/O. A fitted Model is safe for concurrent use.
package boost

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// Column is one column of a table: numbers, of which NaN and ±Inf are missing, or words, of which "" is missing.
// Numbers count when both are there.
type Column struct {
	Numbers []float64
	Words   []string
}

// Len returns the number of rows.
func (c Column) Len() int {
	if c.Numbers != nil {
		return len(c.Numbers)
	}
	return len(c.Words)
}

// Rows returns the rows of a column, in their order.
func (c Column) Rows(rows []int) Column {
	var out Column
	if c.Numbers != nil {
		out.Numbers = make([]float64, len(rows))
		for i, r := range rows {
			out.Numbers[i] = c.Numbers[r]
		}
		return out
	}
	out.Words = make([]string, len(rows))
	for i, r := range rows {
		out.Words[i] = c.Words[r]
	}
	return out
}

// Height returns the number of rows of a table; it fails when its columns differ or there is none.
func Height(table []Column) (int, error) {
	if len(table) == 0 {
		return 0, errors.New("there is no column")
	}
	n := table[0].Len()
	for i, c := range table {
		if c.Len() != n {
			return 0, fmt.Errorf("column %d has %d rows and the first has %d", i+1, c.Len(), n)
		}
	}
	return n, nil
}

// Objective is what is learnt.
type Objective int

// Squared learns the mean of a number; Logistic the probability of a target that is 0 or 1.
const (
	Squared Objective = iota
	Logistic
)

// Params says how to learn. A field that is 0 takes its default.
type Params struct {
	Trees  int     // number of trees, 1..10,000; 100
	Rate   float64 // share of each tree that counts, 0..1; 0.1
	Leaves int     // most leaves of a tree, 2..4096; 31
	Depth  int     // most splits above a leaf, 1..64; 12
	Rows   int     // fewest rows of a leaf; 20
	Bins   int     // most bins of a column, 2..254; 254
	Lambda float64 // λ, ≥ 0; 1
	Sample float64 // share of the rows drawn for each tree, without replacement, 0..1; 1
	Seed   uint64  // of that draw
}

func (p Params) filled() (Params, error) {
	number := func(v *int, usual, low, high int, name string) error {
		if *v == 0 {
			*v = usual
		}
		if *v < low || *v > high {
			return fmt.Errorf("%s must lie between %d and %d, not be %d", name, low, high, *v)
		}
		return nil
	}
	if p.Rate == 0 {
		p.Rate = 0.1
	}
	if p.Sample == 0 {
		p.Sample = 1
	}
	if p.Lambda == 0 {
		p.Lambda = 1
	}
	if !(p.Rate > 0 && p.Rate <= 1 && p.Sample > 0 && p.Sample <= 1 && p.Lambda >= 0) || math.IsInf(p.Lambda, 0) {
		return p, errors.New("rate and sample must lie between 0 and 1 and lambda must not be negative")
	}
	return p, errors.Join(number(&p.Trees, 100, 1, 10_000, "trees"), number(&p.Leaves, 31, 2, 4096, "leaves"),
		number(&p.Depth, 12, 1, 64, "depth"), number(&p.Rows, 20, 1, math.MaxInt32, "rows"), number(&p.Bins, 254, 2, 254, "bins"))
}

// Model is what Fit learnt.
type Model struct {
	cuts      []cut // by column
	trees     [][]node
	base      float64
	scale     float64
	objective Objective
	gain      []float64 // by column
}

// node is a split or, with no children, a leaf.
type node struct {
	column      int
	left        [4]uint64 // bins that go left
	low, high   int       // children; 0 for a leaf
	value, gain float64
}

func (n *node) goesLeft(bin uint8) bool { return n.left[bin>>6]&(1<<(bin&63)) != 0 }

// Fit learns to predict target from the columns. It fails when there is no row or column, their lengths differ, a target is
// not finite (or, for Logistic, not 0 or 1), naming the row, counted from 1, or a parameter is out of range. A column
// without any value is of no use and does no harm. Memory is rows × (columns + 36) bytes, and 24 bytes × columns × bins × leaves.
func Fit(columns []Column, target []float64, objective Objective, params Params) (*Model, error) {
	p, err := params.filled()
	if err != nil {
		return nil, err
	}
	n, err := Height(columns)
	if err != nil {
		return nil, err
	}
	if n == 0 || n != len(target) || n > math.MaxInt32 {
		return nil, fmt.Errorf("%d rows and %d targets cannot be learnt from", n, len(target))
	}
	m := &Model{scale: 1, objective: objective, gain: make([]float64, len(columns))}
	top := 0.0
	for i, y := range target {
		if math.IsNaN(y) || math.IsInf(y, 0) || objective == Logistic && y != 0 && y != 1 {
			return nil, fmt.Errorf("the target of row %d is %v, which cannot be learnt", i+1, y)
		}
		top = math.Max(top, math.Abs(y))
	}
	if objective == Squared && top > 0 {
		m.scale = top // keeps squares of gradients finite
	}
	for _, y := range target {
		m.base += y / m.scale / float64(n)
	}
	if objective == Logistic {
		share := math.Min(math.Max(m.base, 1e-9), 1-1e-9)
		m.base = math.Log(share / (1 - share))
	}
	g := &grower{p: p, bins: make([][]uint8, len(columns)), grad: make([]float64, n), hess: make([]float64, n), rows: make([]int32, n)}
	for k, c := range columns {
		m.cuts = append(m.cuts, cutColumn(c, p.Bins))
		g.bins[k] = m.cuts[k].bins(c)
	}
	g.lay(m.cuts)
	raw := make([]float64, n)
	for i := range raw {
		raw[i] = m.base
	}
	r := rand.New(rand.NewPCG(p.Seed, uint64(n)))
	for range p.Trees {
		for i, f := range raw {
			if objective == Squared {
				g.grad[i], g.hess[i] = f-target[i]/m.scale, 1
				continue
			}
			s := sigmoid(f)
			g.grad[i], g.hess[i] = s-target[i], math.Max(s*(1-s), 1e-16)
		}
		tree := g.grow(g.draw(r))
		if len(tree) == 1 && p.Sample == 1 {
			break // nothing more can be gained
		}
		for k := range tree {
			tree[k].value *= p.Rate
			if tree[k].low != 0 {
				m.gain[tree[k].column] += tree[k].gain
			}
		}
		m.trees = append(m.trees, tree)
		for i := range raw {
			raw[i] += walk(tree, g.bins, i)
		}
	}
	return m, nil
}

func sigmoid(f float64) float64 { return 1 / (1 + math.Exp(-f)) }

func walk(tree []node, bins [][]uint8, row int) float64 {
	at := &tree[0]
	for at.low != 0 {
		if at.goesLeft(bins[at.column][row]) {
			at = &tree[at.low]
		} else {
			at = &tree[at.high]
		}
	}
	return at.value
}

// Predict gives the mean (Squared) or the probability of 1 (Logistic) for each row. It fails when the columns are not as
// many as those learnt from, of another kind, or of different lengths. A word that was not learnt from counts as a rare one.
func (m *Model) Predict(columns []Column) ([]float64, error) {
	if len(columns) != len(m.cuts) {
		return nil, fmt.Errorf("%d columns were learnt from and %d are given", len(m.cuts), len(columns))
	}
	n, err := Height(columns)
	if err != nil {
		return nil, err
	}
	bins := make([][]uint8, len(columns))
	for k, c := range columns {
		if n > 0 && (c.Numbers == nil) != (m.cuts[k].words != nil) {
			return nil, fmt.Errorf("column %d held values of another kind when it was learnt from", k+1)
		}
		bins[k] = m.cuts[k].bins(c)
	}
	out := make([]float64, n)
	for i := range out {
		f := m.base
		for _, t := range m.trees {
			f += walk(t, bins, i)
		}
		if m.objective == Logistic {
			out[i] = sigmoid(f)
		} else {
			out[i] = f * m.scale
		}
	}
	return out, nil
}

// Importance is each column's share of the gain of all splits, summing to 1; all 0 when there is no split.
func (m *Model) Importance() []float64 {
	out, sum := make([]float64, len(m.gain)), 0.0
	for _, g := range m.gain {
		sum += g
	}
	for k, g := range m.gain {
		if sum > 0 {
			out[k] = g / sum
		}
	}
	return out
}
