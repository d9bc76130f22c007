package tree

import (
	"math"
	"math/bits"
	"runtime"
	"sync"
)

// Many rows are evaluated in blocks over a second form of the trees, eight bytes a node, without a branch that the
// processor would have to guess:
//
//   - Values and thresholds become whole numbers that are ordered as the floats are, so a comparison is one bit.
//   - Each feature stands twice in a row, once with NaN below every threshold and once above; a node reads the one that
//     sends NaN the way it wants.
//   - A leaf is a node that always leads to itself, so every row walks as many steps as the tree is deep.
//   - Four rows walk at a time, so that their loads overlap.
//
// The sums are the same as those of the plain walk, bit for bit: the leaves are the same and are added in the same order.

// compact is one tree of the second form. Its nodes are nodes[from:to] of the ensemble's; depth is the longest way, or 0
// when the tree does not fit the form (categories, too many nodes) and is walked plainly. many tells of leaves with
// several weights.
type compact struct {
	from, to int32
	depth    int32
	many     bool
}

// The second form packs the key of the threshold into the upper 32 bits, below it the position of the left child within
// the tree, and in the lowest slotBits the slot in the row.
func packNode(key int32, left, slot uint32, slotBits uint) uint64 {
	return uint64(uint32(key))<<32 | uint64(left)<<slotBits | uint64(slot)
}

// key orders floats as whole numbers; −0 is 0. NaN has no key.
func key(v float32) int32 {
	b := int32(math.Float32bits(v + 0))
	return b ^ b>>31&math.MaxInt32
}

// compactTrees makes the second form.
func (e *Ensemble) compactTrees() {
	e.slotBits = uint(bits.Len(uint(2*e.features - 1)))
	e.compact = make([]compact, len(e.roots))
	e.packed = make([]uint64, 0, len(e.nodes))
	for t, r := range e.roots {
		end := len(e.nodes)
		if t+1 < len(e.roots) {
			end = int(e.roots[t+1].at)
		}
		from := len(e.packed)
		e.compact[t] = e.pack(int(r.at), end)
		if e.compact[t].depth == 0 {
			e.packed = e.packed[:from]
			for range end - int(r.at) { // positions stay those of the plain nodes
				e.packed = append(e.packed, 0)
			}
		}
	}
	e.keys.New = func() any { return new([]int32) }
	e.mixtures.New = func() any { return &mixture{e: e} }
}

func (e *Ensemble) pack(from, to int) compact {
	if e.slotBits > 30 || to-from > 1<<(32-e.slotBits) {
		return compact{}
	}
	level := make([]int32, to-from) // depth of each node; parents stand before their children
	deepest, many := int32(1), false
	for i := from; i < to; i++ {
		n := &e.nodes[i]
		at := uint32(i - from)
		if n.left == 0 {
			many = many || n.feature != 0
			e.packed = append(e.packed, packNode(math.MaxInt32, at, 0, e.slotBits))
			continue
		}
		if n.feature&categorical != 0 {
			return compact{}
		}
		left := uint32(int(n.left) - from)
		level[left], level[left+1] = level[at]+1, level[at]+1
		deepest = max(deepest, level[left])
		slot := 2 * (n.feature & featureMask)
		if n.feature&missingLeft == 0 {
			slot++
		}
		e.packed = append(e.packed, packNode(key(n.value), left, slot, e.slotBits))
	}
	return compact{int32(from), int32(to), deepest, many}
}

// Run is Add over many rows on up to workers goroutines; it answers when all are done. The answers are those of Add.
func (e *Ensemble) Run(rows, margins []float32, n, workers int) {
	// What a goroutine costs is worth some ten thousand steps.
	if most := n * len(e.roots) / 16384; workers > most {
		workers = most
	}
	workers = min(workers, runtime.GOMAXPROCS(0), (n+block-1)/block)
	if workers < 2 {
		e.Add(rows, margins, n)
		return
	}
	share := ((n+workers-1)/workers + block - 1) / block * block
	var wg sync.WaitGroup
	for from := share; from < n; from += share {
		to := min(from+share, n)
		wg.Go(func() { e.Add(rows[from*e.features:to*e.features], margins[from*e.groups:to*e.groups], to-from) })
	}
	e.Add(rows[:share*e.features], margins[:share*e.groups], share)
	wg.Wait()
}

// addBlocks is Add over the second form.
func (e *Ensemble) addBlocks(rows, margins []float32, n int) {
	stride := 2 * e.features
	buffer := e.keys.Get().(*[]int32)
	if len(*buffer) < block*stride {
		*buffer = make([]int32, block*stride)
	}
	keys := *buffer
	for start := 0; start < n; start += block {
		count := min(block, n-start)
		source := rows[start*e.features : (start+count)*e.features]
		for i, v := range source {
			b := int32(math.Float32bits(v + 0))
			k := b ^ b>>31&math.MaxInt32
			low, high := k, k
			if v != v {
				low, high = math.MinInt32, math.MaxInt32
			}
			keys[2*i], keys[2*i+1] = low, high
		}
		for t := range e.compact {
			r, c := e.roots[t], e.compact[t]
			sums := margins[start*e.groups : (start+count)*e.groups]
			if c.depth == 0 {
				for i := range count {
					e.leaf(r.at, source[i*e.features:(i+1)*e.features], sums[i*e.groups:(i+1)*e.groups], r.group)
				}
				continue
			}
			e.walk(c, keys, count, sums, int(r.group))
		}
	}
	e.keys.Put(buffer)
}

// right gives 1 when a value is not below the threshold, so that the row goes right.
func right(v, threshold int32) uint32 {
	if v >= threshold {
		return 1
	}
	return 0
}

// walk sends count rows through one tree and adds their leaves.
func (e *Ensemble) walk(c compact, keys []int32, count int, sums []float32, group int) {
	nodes, leaves := e.packed[c.from:c.to], e.nodes[c.from:c.to]
	stride, groups := 2*e.features, e.groups
	shift := e.slotBits & 31
	mask := uint32(1)<<shift - 1
	i := 0
	for ; i+4 <= count; i += 4 {
		k0 := keys[i*stride : (i+1)*stride]
		k1 := keys[(i+1)*stride : (i+2)*stride]
		k2 := keys[(i+2)*stride : (i+3)*stride]
		k3 := keys[(i+3)*stride : (i+4)*stride]
		var a0, a1, a2, a3 uint32
		for d := c.depth; d > 0; d -= steps {
			p0, p1, p2, p3 := a0, a1, a2, a3
			for range min(d, steps) {
				n0, n1, n2, n3 := nodes[a0], nodes[a1], nodes[a2], nodes[a3]
				a0 = uint32(n0)>>shift + right(k0[uint32(n0)&mask], int32(n0>>32))
				a1 = uint32(n1)>>shift + right(k1[uint32(n1)&mask], int32(n1>>32))
				a2 = uint32(n2)>>shift + right(k2[uint32(n2)&mask], int32(n2>>32))
				a3 = uint32(n3)>>shift + right(k3[uint32(n3)&mask], int32(n3>>32))
			}
			if p0 == a0 && p1 == a1 && p2 == a2 && p3 == a3 {
				break // all are at their leaves
			}
		}
		if c.many {
			for k, a := range [4]uint32{a0, a1, a2, a3} {
				e.weigh(&leaves[a], sums[(i+k)*groups:(i+k+1)*groups], group)
			}
			continue
		}
		sums[i*groups+group] += leaves[a0].value
		sums[(i+1)*groups+group] += leaves[a1].value
		sums[(i+2)*groups+group] += leaves[a2].value
		sums[(i+3)*groups+group] += leaves[a3].value
	}
	for ; i < count; i++ {
		k := keys[i*stride : (i+1)*stride]
		var a uint32
		for range c.depth {
			n := nodes[a]
			next := uint32(n)>>shift + right(k[uint32(n)&mask], int32(n>>32))
			if next == a {
				break
			}
			a = next
		}
		e.weigh(&leaves[a], sums[i*groups:(i+1)*groups], group)
	}
}

// steps is how deep rows walk before it is asked whether all have arrived.
const steps = 8
