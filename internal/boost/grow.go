package boost

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// grower grows one tree after the other over the same bins.
type grower struct {
	p          Params
	bins       [][]uint8
	grad, hess []float64
	rows       []int32
	start      []int  // of each column's bins in a histogram; one more for the end
	words      []bool // whether a column holds words
	free       [][]cell
}

// cell sums the rows of one bin.
type cell struct {
	g, h float64
	n    int
}

func (c *cell) add(o cell) { c.g, c.h, c.n = c.g+o.g, c.h+o.h, c.n+o.n }

func (c cell) less(o cell) cell { return cell{c.g - o.g, c.h - o.h, c.n - o.n} }

// leaf is an end of a growing tree with its best split.
type leaf struct {
	node, depth int
	rows        []int32
	hist        []cell
	sum         cell
	column      int
	left        [4]uint64
	gain        float64
}

func (g *grower) lay(cuts []cut) {
	g.start = make([]int, 1, len(cuts)+1)
	for _, c := range cuts {
		g.start = append(g.start, g.start[len(g.start)-1]+c.count+1)
		g.words = append(g.words, c.words != nil)
	}
}

// draw gives the rows of the next tree, ascending.
func (g *grower) draw(r *rand.Rand) []int32 {
	out := g.rows[:0]
	want, all := int(math.Ceil(g.p.Sample*float64(len(g.grad)))), len(g.grad)
	for i := range all {
		if want == all || r.IntN(all-i) < want-len(out) {
			out = append(out, int32(i))
		}
	}
	return out
}

func (g *grower) grow(rows []int32) []node {
	root := &leaf{rows: rows, hist: g.histogram(rows)}
	for _, c := range root.hist[:g.start[1]] {
		root.sum.add(c)
	}
	tree := []node{{value: g.value(root.sum)}}
	g.split(root)
	open := []*leaf{root}
	for len(open) < g.p.Leaves {
		best := 0
		for k, l := range open {
			if l.gain > open[best].gain {
				best = k
			}
		}
		l := open[best]
		if l.gain <= 0 {
			break
		}
		low, high := g.part(l)
		low.node, high.node = len(tree), len(tree)+1
		at := &tree[l.node]
		at.column, at.left, at.low, at.high, at.gain = l.column, l.left, low.node, high.node, l.gain
		tree = append(tree, node{value: g.value(low.sum)}, node{value: g.value(high.sum)})
		g.split(low)
		g.split(high)
		open[best] = low
		open = append(open, high)
	}
	for _, l := range open {
		g.free = append(g.free, l.hist)
	}
	return tree
}

func (g *grower) value(s cell) float64 {
	if d := s.h + g.p.Lambda; d > 0 {
		return -s.g / d
	}
	return 0
}

// histogram sums the rows of every bin of every column.
func (g *grower) histogram(rows []int32) []cell {
	var out []cell
	if k := len(g.free); k > 0 {
		out, g.free = g.free[k-1], g.free[:k-1]
		clear(out)
	} else {
		out = make([]cell, g.start[len(g.start)-1])
	}
	for k, bins := range g.bins {
		h := out[g.start[k]:g.start[k+1]]
		for _, r := range rows {
			c := &h[bins[r]]
			c.g += g.grad[r]
			c.h += g.hess[r]
			c.n++
		}
	}
	return out
}

// part moves the rows of a leaf to two new ones; the smaller is summed and the other is the rest.
func (g *grower) part(l *leaf) (low, high *leaf) {
	n := node{left: l.left}
	bins := g.bins[l.column]
	at := 0
	right := make([]int32, 0, len(l.rows)/2)
	for _, r := range l.rows {
		if n.goesLeft(bins[r]) {
			l.rows[at] = r
			at++
		} else {
			right = append(right, r)
		}
	}
	copy(l.rows[at:], right)
	low, high = &leaf{rows: l.rows[:at], depth: l.depth + 1}, &leaf{rows: l.rows[at:], depth: l.depth + 1}
	small, large := low, high
	if len(high.rows) < len(low.rows) {
		small, large = high, low
	}
	small.hist, large.hist = g.histogram(small.rows), l.hist
	for i, c := range small.hist {
		large.hist[i] = large.hist[i].less(c)
	}
	for _, c := range small.hist[:g.start[1]] {
		small.sum.add(c)
	}
	large.sum = l.sum.less(small.sum)
	return low, high
}

// least is the gain below which a split is not worth its name.
const least = 1e-12

// smooth is added to H when words are ordered and weighed, so that rare ones are not believed.
const smooth = 10

// split finds the best split of a leaf, if there is one.
func (g *grower) split(l *leaf) {
	if l.depth >= g.p.Depth || l.sum.n < 2*g.p.Rows {
		return
	}
	var order [256]int
	for k := range g.bins {
		h := l.hist[g.start[k]:g.start[k+1]]
		lambda := g.p.Lambda
		if !g.words[k] {
			missing := h[len(h)-1]
			for i := range len(h) - 1 {
				order[i] = i
			}
			g.scan(l, k, h, order[:len(h)-1], cell{}, -1, lambda)
			if missing.n > 0 {
				g.scan(l, k, h, order[:len(h)-1], missing, len(h)-1, lambda)
			}
			continue
		}
		some := order[:0]
		for i, c := range h {
			if c.n > 0 {
				some = append(some, i)
			}
		}
		slices.SortStableFunc(some, func(a, b int) int {
			return cmp.Compare(h[a].g/(h[a].h+smooth), h[b].g/(h[b].h+smooth))
		})
		g.scan(l, k, h, some, cell{}, -1, lambda+smooth)
	}
}

// scan tries the splits that send the first bins of the order left, on top of sum, which comes from bin first.
func (g *grower) scan(l *leaf, column int, h []cell, order []int, sum cell, first int, lambda float64) {
	whole := l.sum.g * l.sum.g / (l.sum.h + lambda)
	best := -1
	for i, b := range order {
		sum.add(h[b])
		rest := l.sum.less(sum)
		if rest.n < g.p.Rows {
			break
		}
		if sum.n < g.p.Rows || h[b].n == 0 {
			continue
		}
		gain := sum.g*sum.g/(sum.h+lambda) + rest.g*rest.g/(rest.h+lambda) - whole
		if gain > least && gain > l.gain {
			l.gain, l.column, best = gain, column, i
		}
	}
	if best < 0 {
		return
	}
	l.left = [4]uint64{}
	if first >= 0 {
		l.left[first>>6] |= 1 << (first & 63)
	}
	for _, b := range order[:best+1] {
		l.left[b>>6] |= 1 << (b & 63)
	}
}
