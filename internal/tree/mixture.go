package tree

import (
	"math"
	"math/bits"
	"slices"
)

// Whoever asks what features do to an answer sends rows that are mixtures of two: every feature has one of two values. All
// such rows go through a tree together, as sets of bits: a node at which both values go the same way passes its set on
// whole, any other one divides it by the rows that have the second value. What takes a walk of every row otherwise takes
// one visit per node that is reached. The sums are the same, bit for bit.

const (
	// mixRows is how many rows are looked at together, fewMixed the fewest for which it is worth while.
	mixRows  = 4096
	fewMixed = 128
	fewTrees = 8 // and the fewest trees
	// fewInSet is about how many rows a set has at least; with fewer, each walks on by itself.
	fewInSet = 32
)

// Which value a feature has on the way to a node.
const (
	bothValues = iota
	firstValue
	secondValue
)

// mixture is a block of rows in which no feature has more than two values.
type mixture struct {
	e             *Ensemble
	rows, margins []float32
	group         int32
	first, second []float32  // by feature
	has           [][]uint64 // by feature: the rows with the second value; empty where there is none
	value         []uint8    // by feature, on the way
	levels        [][]uint64 // sets on the way
	splits        int        // the most of them on the way to a set
	words         int
}

// addMany is Add that looks for mixtures.
func (e *Ensemble) addMany(rows, margins []float32, n int) {
	m := e.mixtures.Get().(*mixture)
	defer e.mixtures.Put(m)
	for n > 0 {
		count := min(n, mixRows)
		if count >= fewMixed && m.look(rows[:count*e.features], count) {
			m.add(margins[:count*e.groups], count)
		} else {
			e.addBlocks(rows, margins, count)
		}
		rows, margins, n = rows[count*e.features:], margins[count*e.groups:], n-count
	}
	m.rows, m.margins = nil, nil
}

// look reads a block of rows; false when a feature has more than two values, which is soon found out.
func (m *mixture) look(rows []float32, n int) bool {
	f := m.e.features
	if len(m.first) != f {
		m.first, m.second, m.has, m.value = make([]float32, f), make([]float32, f), make([][]uint64, f), make([]uint8, f)
	}
	m.rows, m.words = rows, (n+63)/64
	m.splits = bits.Len(uint(n/fewInSet)) - 1
	if !m.e.twoValued(rows[:min(n, 64)*f]) { // nearly all other blocks end here
		return false
	}
	copy(m.first, rows[:f])
	for j := range m.has {
		m.has[j] = m.has[j][:0]
	}
	for i := 1; i < n; i++ {
		row := rows[i*f : (i+1)*f]
		first, second := m.first[:len(row)], m.second[:len(row)]
		for j, v := range row {
			b := math.Float32bits(v)
			if b == math.Float32bits(first[j]) {
				continue
			}
			if len(m.has[j]) == 0 {
				m.has[j] = slices.Grow(m.has[j], m.words)[:m.words]
				clear(m.has[j])
				second[j] = v
			} else if b != math.Float32bits(second[j]) {
				return false
			}
			m.has[j][i/64] |= 1 << (i % 64)
		}
	}
	return true
}

// twoValued tells whether no feature of a few rows has more than two values.
func (e *Ensemble) twoValued(rows []float32) bool {
	f := e.features
	for j := range f {
		first := math.Float32bits(rows[j])
		second := first
		for i := j + f; i < len(rows); i += f {
			switch b := math.Float32bits(rows[i]); {
			case b == first || b == second:
			case second == first:
				second = b
			default:
				return false
			}
		}
	}
	return true
}

// level gives the set of a level.
func (m *mixture) level(k int) []uint64 {
	for len(m.levels) <= k {
		m.levels = append(m.levels, make([]uint64, mixRows/64))
	}
	return m.levels[k][:m.words]
}

// add adds the leaves of all trees to the margins of n rows.
func (m *mixture) add(margins []float32, n int) {
	m.margins = margins
	all := m.level(0)
	for i := range all {
		all[i] = ^uint64(0)
	}
	if n%64 != 0 {
		all[len(all)-1] = 1<<(n%64) - 1
	}
	for _, r := range m.e.roots {
		m.group = r.group
		m.visit(r.at, 0)
	}
}

// left tells whether a value goes left at a node.
func (e *Ensemble) left(n *node, v float32) bool {
	switch {
	case v != v:
		return n.feature&missingLeft != 0
	case n.feature&categorical != 0:
		return !e.member(math.Float32bits(n.value), v)
	}
	return v < n.value
}

// visit goes on at a node with the set of a level.
func (m *mixture) visit(at int32, level int) {
	for {
		n := &m.e.nodes[at]
		if n.left == 0 {
			m.leaf(n, m.levels[level][:m.words])
			return
		}
		f := n.feature & featureMask
		has, known := m.has[f], m.value[f]
		first := m.e.left(n, m.first[f])
		if known == firstValue || len(has) == 0 {
			at = n.left + other(first)
			continue
		}
		second := m.e.left(n, m.second[f])
		if known == secondValue || first == second {
			at = n.left + other(second)
			continue
		}
		set := m.levels[level][:len(has)]
		if level == m.splits {
			m.walk(at, set)
			return
		}
		next := m.level(level + 1)[:len(has)]
		any := uint64(0)
		for i, h := range has {
			v := set[i] &^ h
			next[i] = v
			any |= v
		}
		if any != 0 {
			m.value[f] = firstValue
			m.visit(n.left+other(first), level+1)
		}
		any = 0
		for i, h := range has {
			v := set[i] & h
			next[i] = v
			any |= v
		}
		if any != 0 {
			m.value[f] = secondValue
			m.visit(n.left+other(second), level+1)
		}
		m.value[f] = bothValues
		return
	}
}

// other is the distance from the left child.
func other(left bool) int32 {
	if left {
		return 0
	}
	return 1
}

// leaf adds what a leaf weighs to the rows of a set.
func (m *mixture) leaf(n *node, set []uint64) {
	groups := m.e.groups
	if n.feature != 0 || groups != 1 {
		for i, w := range set {
			for ; w != 0; w &= w - 1 {
				at := (i*64 + bits.TrailingZeros64(w)) * groups
				m.e.weigh(n, m.margins[at:at+groups], int(m.group))
			}
		}
		return
	}
	v := n.value
	for i, w := range set {
		sums := m.margins[i*64:]
		if w == ^uint64(0) {
			sums = sums[:64]
			for k := range sums {
				sums[k] += v
			}
			continue
		}
		for ; w != 0; w &= w - 1 {
			sums[bits.TrailingZeros64(w)] += v
		}
	}
}

// walk sends the rows of a set on from a node one by one.
func (m *mixture) walk(at int32, set []uint64) {
	f, groups := m.e.features, m.e.groups
	for i, w := range set {
		for ; w != 0; w &= w - 1 {
			r := i*64 + bits.TrailingZeros64(w)
			m.e.leaf(at, m.rows[r*f:(r+1)*f], m.margins[r*groups:(r+1)*groups], m.group)
		}
	}
}
