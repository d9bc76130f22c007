package profile

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Two samples of numbers are compared exactly without being sorted. A small sample of both fixes some ten thousand buckets
// that hold about as many values each; one look at every value counts it in its bucket, side by side. What the measures need
// of the order within a bucket is little:
//
//   - The Wasserstein distance is the area between the two distribution functions. Where they cannot cross within a bucket
//     the area follows from the counts and the sum of the values there.
//   - The Kolmogorov-Smirnov statistic is the largest gap. At the ends of buckets gaps are known; within a bucket no gap is
//     larger than its counts allow.
//   - The deciles lie in nine buckets.
//
// Only the buckets where that does not decide are put in order, which is a small part of the values. Where few values are
// different (whole numbers), these are counted instead.

const (
	fewToSort   = 4096    // values of both sides, below which they are sorted as they are
	sampled     = 2048    // of each side, for the buckets
	prefixBits  = 12      // of the first of the two steps from a value to its bucket
	perSampled  = 8       // buckets per value of the sample
	mostTallies = 1 << 14 // different values that are counted one by one
)

// bucketed is memory that serves one comparison after the other.
type bucketed struct {
	ids    [2][]uint16 // by value: its bucket
	counts [2][]uint32
	areas  []float64 // by bucket: Σ (v − centre)/n over the reference less that over the current sample
	edges  []float64 // by bucket: where it begins; one more for the end
	table  []step
}

// step leads from the leading bits of a value to its bucket: base plus the following bits.
type step struct {
	base  uint32
	shift uint8
}

// compared is what a comparison found.
type compared struct {
	p, q            []float64 // counts in the deciles of the reference
	ks, wasserstein float64   // the latter in standard deviations of the reference, at least 0.001
}

// byBuckets compares the numbers of current with those of g; false when there are too few, or they are too large to be summed.
func (g *Gathered) byBuckets(current *Gathered) (compared, bool) {
	if g.n == 0 || current.n == 0 || g.n+current.n < fewToSort {
		return compared{}, false
	}
	w := &g.work
	keys := make([]uint64, 0, 2*sampled)
	centre := 0.0 // the median of the sample of the reference
	for k, side := range []*Gathered{g, current} {
		size := min(sampled, side.n)
		for i := range size {
			at := i * (side.n / size)
			keys = append(keys, ordered(side.parts[at/partSize][at%partSize]))
		}
		if k == 0 {
			slices.Sort(keys)
			centre = fromOrdered(keys[size/2])
		}
	}
	slices.Sort(keys)
	different := 1
	for i, k := range keys[1:] {
		if k != keys[i] {
			different++
		}
	}
	out, ok := compared{}, false
	if 2*different < len(keys) {
		out, ok = byTallies(g, current)
	}
	if !ok {
		out = w.compare(g, current, keys, centre)
	}
	return out, out.wasserstein-out.wasserstein == 0
}

// lay fixes the buckets by sorted keys of a sample: the span of the sample is divided into equal steps of keys, each of which
// has as many buckets, a power of two, as it has values of the sample, times perSampled. The first and the last bucket hold
// what lies outside. It returns the lowest key, the span and the shift to a step.
func (w *bucketed) lay(keys []uint64) (low, span uint64, shift uint) {
	low, span = keys[0], keys[len(keys)-1]-keys[0]
	shift = uint(max(0, bits.Len64(span)-prefixBits))
	highest := fromOrdered(low + span)
	w.table, w.edges = w.table[:0], append(w.edges[:0], fromOrdered(low))
	next, at := uint32(1), 0
	for p := uint64(0); p <= span>>shift; p++ {
		from := at
		for at < len(keys) && (keys[at]-low)>>shift == p {
			at++
		}
		deep := uint(0)
		if n := (at - from) * perSampled; n > 0 {
			deep = min(shift, uint(bits.Len(uint(n))-1))
		}
		// Counted modulo 2³², the base takes off what the steps before leave in the bits behind the shift.
		w.table = append(w.table, step{next - uint32(p<<deep), uint8(shift - deep)})
		for j := range uint64(1) << deep {
			w.edges = append(w.edges, fromOrdered(min(low+p<<shift+j<<(shift-deep), low+span)))
		}
		next += 1 << deep
	}
	w.edges = append(w.edges, highest, highest) // the last bucket and its end
	return low, span, shift
}

// place puts the numbers of a side into their buckets. weight is what a number adds to areas, by its distance from centre.
// It returns the sums of the distances and of their squares.
func (w *bucketed) place(side int, g *Gathered, low, span uint64, shift uint, centre, weight float64) (sum, squares float64) {
	last := uint16(len(w.edges) - 2)
	counts := slices.Grow(w.counts[side][:0], len(w.edges)-1)[:len(w.edges)-1]
	clear(counts)
	w.counts[side] = counts
	areas, table := w.areas[:len(counts)], w.table
	ids := slices.Grow(w.ids[side][:0], g.n)[:g.n]
	w.ids[side] = ids
	shift &= 63
	for _, part := range g.parts {
		to := ids[:len(part)]
		ids = ids[len(part):]
		for i, v := range part {
			k := ordered(v)
			b := uint16(0)
			if d := k - low; d <= span {
				s := table[d>>shift]
				b = uint16(s.base + uint32(d>>(s.shift&63)))
			} else if k > low {
				b = last
			}
			to[i] = b
			counts[b]++
			v -= centre
			areas[b] += v * weight
			sum += v
			squares += v * v
		}
	}
	return sum, squares
}

// compare is the comparison by buckets; keys are those of the sample, in order, centre is a number amid the reference.
func (w *bucketed) compare(ref, current *Gathered, keys []uint64, centre float64) compared {
	low, span, shift := w.lay(keys)
	w.areas = slices.Grow(w.areas[:0], len(w.edges)-1)[:len(w.edges)-1]
	clear(w.areas)
	r := newRun(ref.n, current.n)
	sum, squares := w.place(0, ref, low, span, shift, centre, 1/r.n)
	w.place(1, current, low, span, shift, centre, -1/r.m)
	sd := math.Sqrt(math.Max(0, squares-sum*(sum/r.n)) / r.n)

	want := w.undecided(r)
	sortedA, sortedB := w.pick(0, ref, want), w.pick(1, current, want)
	a, b := w.counts[0], w.counts[1]
	ends := len(a) - 1
	w.edges[0] = w.edges[1]
	for _, inside := range [][]float64{sortedA[:a[0]], sortedB[:b[0]]} {
		if len(inside) > 0 {
			w.edges[0] = min(w.edges[0], inside[0])
		}
	}
	for _, inside := range [][]float64{sortedA[len(sortedA)-int(a[ends]):], sortedB[len(sortedB)-int(b[ends]):]} {
		if len(inside) > 0 {
			w.edges[ends+1] = max(w.edges[ends+1], inside[len(inside)-1])
		}
	}
	r.largest = 0
	for k := range a {
		na, nb := int(a[k]), int(b[k])
		start, end := w.edges[k], w.edges[k+1]
		if !want[k] {
			r.area += math.Abs(r.gap()*(end-start) + (end-centre)*(float64(na)/r.n-float64(nb)/r.m) - w.areas[k])
			r.i, r.j = r.i+na, r.j+nb
			r.largest = max(r.largest, math.Abs(r.gap()))
			continue
		}
		r.inside(sortedA[:na], sortedB[:nb], start, end)
		sortedA, sortedB = sortedA[na:], sortedB[nb:]
	}
	return r.compared(sd)
}

// undecided tells in which buckets the order of the values matters.
func (w *bucketed) undecided(r *run) []bool {
	a, b := w.counts[0], w.counts[1]
	want := make([]bool, len(a))
	want[0], want[len(a)-1] = true, true
	for k := range a {
		if high, low := gap(r.i+int(a[k]), r.j, r.n, r.m), gap(r.i, r.j+int(b[k]), r.n, r.m); high > 0 && low < 0 {
			want[k] = true // the functions may cross
		}
		r.i, r.j = r.i+int(a[k]), r.j+int(b[k])
		for ; r.next < 9 && r.rank() < r.i; r.next++ {
			want[k] = true
		}
		r.largest = max(r.largest, math.Abs(r.gap()))
	}
	r.i, r.j, r.next = 0, 0, 0
	for k := range a {
		if max(gap(r.i+int(a[k]), r.j, r.n, r.m), -gap(r.i, r.j+int(b[k]), r.n, r.m)) > r.largest {
			want[k] = true
		}
		r.i, r.j = r.i+int(a[k]), r.j+int(b[k])
	}
	r.i, r.j = 0, 0
	return want
}

// pick copies the values of the wanted buckets of a side, bucket by bucket, each in order.
func (w *bucketed) pick(side int, g *Gathered, want []bool) []float64 {
	counts := w.counts[side]
	at := make([]int, len(counts)) // where the next value of a bucket goes
	total := 0
	for k, is := range want {
		at[k] = total
		if is {
			total += int(counts[k])
		}
	}
	out := make([]float64, total)
	ids := w.ids[side]
	for _, part := range g.parts {
		for i, b := range ids[:len(part)] {
			if want[b] {
				out[at[b]] = part[i]
				at[b]++
			}
		}
		ids = ids[len(part):]
	}
	for k, is := range want {
		if is {
			slices.Sort(out[at[k]-int(counts[k]) : at[k]])
		}
	}
	return out
}

// run goes along the values of both sides, from the lowest to the highest.
type run struct {
	n, m          float64
	all, others   int
	i, j          int // values passed
	next          int // decile that comes next, from 0
	largest, area float64
	edges         []float64
	belowA        []int // values up to an edge
	belowB        []int
}

func newRun(n, m int) *run {
	return &run{n: float64(n), m: float64(m), all: n, others: m}
}

// gap is the distance between the distribution functions behind i and j values.
func gap(i, j int, n, m float64) float64 { return float64(i)/n - float64(j)/m }

func (r *run) gap() float64 { return gap(r.i, r.j, r.n, r.m) }

// rank is the place of the next decile among the values of the reference, from 0, as drift.Edges has it.
func (r *run) rank() int { return (r.all*(r.next+1)+9)/10 - 1 }

// inside passes the values between start and end, which are ascending.
func (r *run) inside(a, b []float64, start, end float64) {
	x, y := 0, 0
	for x < len(a) || y < len(b) {
		v := 0.0
		if y == len(b) || x < len(a) && a[x] <= b[y] {
			v = a[x]
		} else {
			v = b[y]
		}
		nx, ny := x, y
		for nx < len(a) && a[nx] == v {
			nx++
		}
		for ny < len(b) && b[ny] == v {
			ny++
		}
		r.pass(v, start, nx-x, ny-y)
		x, y, start = nx, ny, v
	}
	r.area += math.Abs(r.gap()) * (end - start)
}

// pass goes from start to v, which k values of the reference and l others have.
func (r *run) pass(v, start float64, k, l int) {
	r.area += math.Abs(r.gap()) * (v - start)
	r.i, r.j = r.i+k, r.j+l
	r.largest = max(r.largest, math.Abs(r.gap()))
	if r.next < 9 && r.rank() < r.i {
		for r.next < 9 && r.rank() < r.i {
			r.next++
		}
		r.edges, r.belowA, r.belowB = append(r.edges, v), append(r.belowA, r.i), append(r.belowB, r.j)
	}
}

// compared sums up; sd is the standard deviation of the reference.
func (r *run) compared(sd float64) compared {
	out := compared{ks: r.largest, wasserstein: r.area / math.Max(sd, 0.001)}
	a, b := 0, 0
	for k := range r.edges {
		out.p, out.q = append(out.p, float64(r.belowA[k]-a)), append(out.q, float64(r.belowB[k]-b))
		a, b = r.belowA[k], r.belowB[k]
	}
	out.p, out.q = append(out.p, float64(r.all-a)), append(out.q, float64(r.others-b))
	return out
}

// tallied is how many numbers of either side have a key.
type tallied struct {
	key uint64
	n   [2]uint32
}

// byTallies compares samples of few different values by counting each; false when they are more than mostTallies.
func byTallies(ref, current *Gathered) (compared, bool) {
	slots, used := make([]tallied, 1024), 0
	for side, g := range []*Gathered{ref, current} {
		for _, part := range g.parts {
			for _, v := range part {
				k := ordered(v)
				mask := uint64(len(slots) - 1)
				i := mix(k) & mask
				for slots[i].key != k && slots[i].n != [2]uint32{} {
					i = (i + 1) & mask
				}
				if slots[i].n == [2]uint32{} {
					slots[i].key = k
					if used++; used > mostTallies {
						return compared{}, false
					}
				}
				if slots[i].n[side]++; 2*used > len(slots) {
					slots = widened(slots)
				}
			}
		}
	}
	list := make([]tallied, 0, used)
	for _, t := range slots {
		if t.n != [2]uint32{} {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b tallied) int { return cmp.Compare(a.key, b.key) })
	r := newRun(ref.n, current.n)
	mean, sum := 0.0, 0.0
	for _, t := range list {
		mean += fromOrdered(t.key) * (float64(t.n[0]) / r.n)
	}
	at := fromOrdered(list[0].key)
	for _, t := range list {
		v := fromOrdered(t.key)
		sum += (v - mean) * (v - mean) * (float64(t.n[0]) / r.n)
		r.pass(v, at, int(t.n[0]), int(t.n[1]))
		at = v
	}
	return r.compared(math.Sqrt(sum)), true
}

// widened puts the slots into four times as many.
func widened(slots []tallied) []tallied {
	out := make([]tallied, 4*len(slots))
	mask := uint64(len(out) - 1)
	for _, t := range slots {
		if t.n == [2]uint32{} {
			continue
		}
		i := mix(t.key) & mask
		for out[i].n != [2]uint32{} {
			i = (i + 1) & mask
		}
		out[i] = t
	}
	return out
}
