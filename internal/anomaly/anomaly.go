// Package anomaly says how unlike the rows of a reference a single row is, without being told what to look for.
//
// An isolation forest cuts the reference at random places until rows stand alone. Rows that lie apart stand alone after few
// cuts; the fewer, the higher the score. The package does no I/O; what is unusual enough is decided by monitor.
package anomaly

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"keelson/internal/boost"
)

// Params says how to grow a forest. A field that is 0 takes its default.
type Params struct {
	Trees  int    // 1..10,000; 200
	Sample int    // rows of the reference that each tree is grown from, 2..65,536; 256
	Seed   uint64 // equal seeds and references give equal forests
}

// Forest is grown from a reference. It is safe for concurrent use.
type Forest struct {
	trees  [][]node
	shares []map[string]float64 // by column: share of the reference's rows of each word; nil for numbers
	usual  float64              // mean number of cuts of a row among as many as a tree is grown from
}

// node is a cut or, with no children, an end.
type node struct {
	column    int
	at        float64 // values below go low
	low, high int32   // children; 0 for an end
	gapLow    bool    // missing values go low
	length    float64 // of an end: cuts up to here, and those that its rows would still need
}

// Fit grows a forest from the reference. A word counts as its share of the reference's rows, so that rare and new ones are
// far from the others; a missing word ("") is a word. A missing number (NaN or ±Inf) follows the larger part of the rows: it
// is neither usual nor unusual. A column that does not vary in the reference is not looked at. It fails without columns, with fewer than two rows, or with a parameter out of range.
//
// Source: Liu, Ting & Zhou, Isolation Forest, ICDM 2008.
func Fit(reference []boost.Column, p Params) (*Forest, error) {
	if p.Trees == 0 {
		p.Trees = 200
	}
	if p.Sample == 0 {
		p.Sample = 256
	}
	if p.Trees < 1 || p.Trees > 10_000 || p.Sample < 2 || p.Sample > 65_536 {
		return nil, fmt.Errorf("%d trees of %d rows are out of range: 1 to 10,000 of 2 to 65,536", p.Trees, p.Sample)
	}
	n, err := boost.Height(reference)
	if err != nil {
		return nil, err
	}
	if n < 2 {
		return nil, errors.New("a reference of fewer than two rows says nothing about what is usual")
	}
	f := &Forest{shares: make([]map[string]float64, len(reference))}
	for k, c := range reference {
		if c.Numbers != nil {
			continue
		}
		f.shares[k] = map[string]float64{}
		for _, w := range c.Words {
			f.shares[k][w] += 1 / float64(n)
		}
	}
	size := min(p.Sample, n)
	f.usual = cuts(size)
	g := &grower{
		r: rand.New(rand.NewPCG(p.Seed, uint64(n))), floor: make([]float64, len(reference)),
		deepest: int(math.Ceil(math.Log2(float64(size)))), values: make([][]float64, size),
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for range p.Trees {
		for i := range size { // the first rows of a shuffle
			j := i + g.r.IntN(n-i)
			order[i], order[j] = order[j], order[i]
			g.values[i] = f.row(reference, order[i], g.values[i])
		}
		rows := make([]int, size)
		for i := range rows {
			rows[i] = i
		}
		g.tree, g.shares = nil, f.shares
		g.grow(rows, 0)
		f.trees = append(f.trees, g.tree)
	}
	return f, nil
}

// cuts is the mean number of cuts after which one of n rows stands alone in a random tree: 2 H(n−1) − 2(n−1)/n, with the
// harmonic number H(k) ≈ ln k + γ.
func cuts(n int) float64 {
	const gamma = 0.57721566490153286
	switch {
	case n < 2:
		return 0
	case n == 2:
		return 1
	}
	k := float64(n - 1)
	return 2*(math.Log(k)+gamma) - 2*k/float64(n)
}

// row encodes row i into dst, NaN for a missing number.
func (f *Forest) row(table []boost.Column, i int, dst []float64) []float64 {
	dst = dst[:0]
	for k, c := range table {
		switch {
		case f.shares[k] != nil:
			dst = append(dst, f.shares[k][c.Words[i]])
		case math.IsInf(c.Numbers[i], 0):
			dst = append(dst, math.NaN())
		default:
			dst = append(dst, c.Numbers[i])
		}
	}
	return dst
}

type grower struct {
	r       *rand.Rand
	values  [][]float64
	shares  []map[string]float64
	floor   []float64 // by column of words: the smallest share that can still come here
	tree    []node
	deepest int
}

// grow adds the tree of rows at a depth and returns its place.
func (g *grower) grow(rows []int, depth int) int32 {
	at := int32(len(g.tree))
	g.tree = append(g.tree, node{length: float64(depth) + cuts(len(rows))})
	if len(rows) < 2 || depth >= g.deepest {
		return at
	}
	column, low, high := -1, 0.0, 0.0
	seen := 0
	for k := range g.floor { // one of the columns that vary, each equally likely
		a, b := g.span(rows, k)
		if a < b {
			seen++
			if g.r.IntN(seen) == 0 {
				column, low, high = k, a, b
			}
		}
	}
	if column < 0 {
		return at
	}
	u := 1 - g.r.Float64() // in (0, 1]
	cut := low*(1-u) + high*u
	if !(cut > low) {
		cut = high
	}
	var below, above, missing []int
	for _, i := range rows {
		switch v := g.values[i][column]; {
		case math.IsNaN(v):
			missing = append(missing, i)
		case v < cut:
			below = append(below, i)
		default:
			above = append(above, i)
		}
	}
	gapLow := len(below) > len(above)
	if gapLow {
		below = append(below, missing...)
	} else {
		above = append(above, missing...)
	}
	a := g.grow(below, depth+1)
	kept := g.floor[column]
	g.floor[column] = cut
	b := g.grow(above, depth+1)
	g.floor[column] = kept
	g.tree[at] = node{column: column, at: cut, low: a, high: b, gapLow: gapLow}
	return at
}

// span is the range of a column's values; that of words, when they vary, starts at the smallest share that a word may have here, so that
// room is left for words that the reference does not hold.
func (g *grower) span(rows []int, column int) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, i := range rows {
		if v := g.values[i][column]; !math.IsNaN(v) {
			low, high = math.Min(low, v), math.Max(high, v)
		}
	}
	if g.shares[column] != nil && low < high {
		low = math.Min(low, g.floor[column])
	}
	return low, high
}

// Scores says how unlike the reference each row is,
//
//	2^(−mean number of cuts / mean number of cuts among as many rows as a tree is grown from)
//
// in 0..1: rows in the middle of the reference lie under 0.5, the more a row stands apart the nearer it is to 1, and when
// all rows lie near 0.5 none stands apart. It fails when the columns are not those of the reference.
func (f *Forest) Scores(rows []boost.Column) ([]float64, error) {
	if len(rows) != len(f.shares) {
		return nil, fmt.Errorf("the reference has %d columns and %d are given", len(f.shares), len(rows))
	}
	n, err := boost.Height(rows)
	if err != nil {
		return nil, err
	}
	for k, c := range rows {
		if n > 0 && (c.Numbers == nil) != (f.shares[k] != nil) {
			return nil, fmt.Errorf("column %d held values of another kind in the reference", k+1)
		}
	}
	out := make([]float64, n)
	var v []float64
	for i := range out {
		v = f.row(rows, i, v)
		sum := 0.0
		for _, t := range f.trees {
			at := &t[0]
			for at.low != 0 {
				if x := v[at.column]; x < at.at || math.IsNaN(x) && at.gapLow {
					at = &t[at.low]
				} else {
					at = &t[at.high]
				}
			}
			sum += at.length
		}
		out[i] = math.Exp2(-sum / float64(len(f.trees)) / f.usual)
	}
	return out, nil
}
