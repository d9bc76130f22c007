package explain

import (
	"math/bits"
	"slices"

	"keelson/internal/problem"
)

// Interventional returns the Shapley values of every row against the rows of background, laid out as by PathDependent;
// the base value is the mean margin of background. The value of a set of features is the mean margin when these come from
// the row and the others from a background row, so that a feature the model does not use gets exactly 0 whatever it is
// correlated with. Time O(rows · background/64 · nodes · depth²) at worst, exact.
//
// It fails with problem.Invalid when rows or background are no whole number of rows or background is empty.
//
// Source: Lundberg et al., From local explanations to global understanding with explainable AI for trees, 2020
// (independent TreeExplainer).
func (e *Ensemble) Interventional(rows, background []float64) ([]float64, error) {
	rows, n, err := e.rows(rows)
	if err != nil {
		return nil, err
	}
	base, err := e.Margins(background)
	if err != nil {
		return nil, err
	}
	background, m, err := e.rows(background)
	if err != nil {
		return nil, err
	}
	if m == 0 {
		return nil, problem.New(problem.Invalid, "Interventional explanations need a background: give at least one row to compare with.")
	}
	f, groups, width := e.shape.Features, e.shape.Groups, e.shape.Features+1
	out := make([]float64, n*groups*width)
	c := crowd{e: e, left: make([]uint64, len(e.nodes)), passed: make([]uint64, f), met: make([]uint8, f), stride: e.depth + 2,
		apart: make([]uint64, (e.depth+2)*(e.depth+2)), weights: weights(min(e.depth, f))}
	for block := range slices.Chunk(background, lanes*f) {
		c.divide(block)
		for i := range n {
			c.row = rows[i*f : (i+1)*f]
			for k, root := range e.roots {
				at := (i*groups + int(e.groups[k])) * width
				c.phi = out[at : at+f]
				c.apart[0] = c.all
				c.visit(root, 0, 0, 0)
			}
		}
	}
	for at := f; at < len(out); at += width {
		for b := range m {
			out[at] += base[b*groups+at/width%groups]
		}
	}
	for j := range out {
		out[j] /= float64(m)
	}
	return out, nil
}

// weights is the table a!·b!/(a+b+1)! for a, b = 0..n.
func weights(n int) [][]float64 {
	w := make([][]float64, n+1)
	for a := range w {
		w[a] = make([]float64, n+1)
		for b := range w[a] {
			switch {
			case a > 0:
				w[a][b] = w[a-1][b] * float64(a) / float64(a+b+1)
			case b > 0:
				w[a][b] = w[a][b-1] * float64(b) / float64(b+1)
			default:
				w[a][b] = 1
			}
		}
	}
	return w
}

// lanes is how many rows of the background go through a tree at the same time: the bits of a word.
const lanes = 64

// What is known of a feature on the way to a node.
const (
	unmet   = iota
	passing // the row passes all of the feature's splits on this way
	failing // it fails one, so that the feature has to come from the background
)

// crowd walks one row and up to 64 rows of the background through a tree at the same time. A set of features leads to a leaf
// if each feature on the way comes from somewhere that passes all of its splits. Of a background row that can meet the
// row there, count those features that only the row passes, xs, and those that only the background row passes, zs: a
// leaf of value v gives v·(xs−1)!·zs!/(xs+zs)! to each of the former and takes v·xs!·(zs−1)!/(xs+zs)! from each of the
// latter. What the row fails is the same for all of them, so zs is one number, and the background rows are kept apart by
// their xs alone, as sets of bits.
type crowd struct {
	e       *Ensemble
	row     []float64
	phi     []float64
	all     uint64   // the background rows of this block
	left    []uint64 // per node: those that go left
	passed  []uint64 // per feature on the way: those that pass all of its splits
	met     []uint8  // per feature
	way     []int32  // features on the way, each once
	apart   []uint64 // per level stride words; word xs holds the background rows that lack xs features of the row
	stride  int
	weights [][]float64
}

// divide says for every node which rows of a block go left.
func (c *crowd) divide(block []float64) {
	f := c.e.shape.Features
	count := len(block) / f
	c.all = ^uint64(0) >> (lanes - count)
	column := make([]float64, len(block)) // by feature
	none := make([]uint64, f)             // the missing values of a feature
	for b := range count {
		for j, v := range block[b*f : (b+1)*f] {
			if column[j*count+b] = v; v != v {
				none[j] |= 1 << b
			}
		}
	}
	for at := range c.e.nodes {
		n := &c.e.nodes[at]
		if n.right == 0 {
			continue
		}
		values, left := column[int(n.feature)*count:int(n.feature+1)*count], uint64(0)
		switch {
		case n.flags&categorical != 0:
			for b := range count {
				if c.e.next(int32(at), block[b*f:(b+1)*f]) == int32(at)+1 {
					left |= 1 << b
				}
			}
			c.left[at] = left
			continue
		case n.flags&inclusive != 0:
			for b, v := range values {
				left |= one(v <= n.threshold) << (b & 63)
			}
		default:
			for b, v := range values {
				left |= one(v < n.threshold) << (b & 63)
			}
		}
		if n.flags&missingLeft != 0 {
			left |= none[n.feature]
		}
		c.left[at] = left
	}
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// visit goes on at a node, on the given level; no background row lacks more than most features there.
func (c *crowd) visit(at int32, level, most, zs int) {
	n := &c.e.nodes[at]
	if n.right == 0 {
		c.leaf(n.threshold, c.apart[level*c.stride:level*c.stride+most+1], zs)
		return
	}
	f, goes := n.feature, c.e.next(at, c.row)
	was, met := c.all, c.met[f]
	if met == unmet {
		c.way = append(c.way, f)
	} else {
		was = c.passed[f]
	}
	apart := c.apart[level*c.stride : level*c.stride+most+1]
	next := c.apart[(level+1)*c.stride : (level+1)*c.stride+most+2]
	for side := range 2 {
		child, now, top := at+1, was&c.left[at], most
		if side == 1 {
			child, now = n.right, was&^c.left[at]
		}
		if met == failing || child != goes {
			if now == 0 {
				continue
			}
			any := uint64(0)
			for k, rows := range apart {
				next[k] = rows & now
				any |= next[k]
			}
			if any == 0 {
				continue
			}
			c.met[f] = failing
		} else {
			lost, carry := was&^now, uint64(0)
			for k, rows := range apart {
				next[k] = rows&^lost | carry
				carry = rows & lost
			}
			if carry != 0 {
				top++
				next[top] = carry
			}
			c.met[f] = passing
		}
		c.passed[f] = now
		more := zs
		if c.met[f] == failing && met != failing {
			more++
		}
		c.visit(child, level+1, top, more)
	}
	if c.passed[f], c.met[f] = was, met; met == unmet {
		c.way = c.way[:len(c.way)-1]
	}
}

// leaf gives every feature on the way its part of the leaf's value.
func (c *crowd) leaf(value float64, apart []uint64, zs int) {
	if zs > 0 {
		taken := 0.0
		for xs, rows := range apart {
			taken += float64(bits.OnesCount64(rows)) * c.weights[xs][zs-1]
		}
		taken *= value
		for _, f := range c.way {
			if c.met[f] == failing {
				c.phi[f] -= taken
			}
		}
	}
	for _, f := range c.way {
		if c.met[f] == failing {
			continue
		}
		given, lack := 0.0, ^c.passed[f]
		for xs := 1; xs < len(apart); xs++ {
			given += float64(bits.OnesCount64(apart[xs]&lack)) * c.weights[xs-1][zs]
		}
		c.phi[f] += given * value
	}
}
