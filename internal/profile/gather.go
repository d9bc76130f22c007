package profile

import (
	"math"
	"math/bits"
	"slices"

	"keelson/internal/drift"
)

// Gathered takes the cells of one column: all numbers while they fit its budget, beyond it a sketch; all words while there are
// few enough different ones.
type Gathered struct {
	Name, Kind string
	budget     int
	values     []float64 // finite; in no order
	scratch    []uint64
	sketch     *Column
	words      map[string]*float64
	lately     [64]told // of words seen lately, by length and last byte
	other      float64  // rows with words that are not told apart any more
	missing    int64
	infinite   int64
	rows       int64
}

// told is the count of a word.
type told struct {
	word string
	n    *float64
}

// mostTold bounds the different words of a Gathered.
const mostTold = 200_000

// Gather begins a column; budget is how many numbers are kept before a sketch takes over.
func Gather(name, kind string, budget int) *Gathered {
	return &Gathered{Name: name, Kind: kind, budget: budget}
}

// Reset makes g empty for another column and keeps its memory.
func (g *Gathered) Reset(name, kind string) {
	*g = Gathered{Name: name, Kind: kind, budget: g.budget, values: g.values[:0], scratch: g.scratch}
}

// Add takes a number; NaN is missing, ±Inf invalid.
func (g *Gathered) Add(v float64) {
	g.rows++
	if v-v != 0 { // NaN or ±Inf
		if math.IsNaN(v) {
			g.missing++
		} else {
			g.infinite++
		}
		return
	}
	if g.sketch != nil {
		g.sketch.Add(v)
		return
	}
	if len(g.values) == g.budget {
		g.sketch = New(g.Name, Number, 0)
		for _, x := range g.values {
			g.sketch.Add(x)
		}
		g.values = g.values[:0]
		g.sketch.Add(v)
		return
	}
	g.values = append(g.values, v)
}

// AddWord takes a word, of which nothing is kept but a copy; nil is missing.
func (g *Gathered) AddWord(w []byte) {
	g.rows++
	if w == nil {
		g.missing++
		return
	}
	place := &g.lately[0]
	if len(w) > 0 {
		place = &g.lately[(uint(w[len(w)-1])+7*uint(len(w)))%64]
	}
	if place.n != nil && place.word == string(w) {
		*place.n++
		return
	}
	if n := g.words[string(w)]; n != nil {
		*n++
		*place = told{string(w), n}
		return
	}
	if g.words == nil {
		g.words = map[string]*float64{}
	}
	if len(g.words) == mostTold {
		g.other++
		return
	}
	one := 1.0
	g.words[string(w)] = &one
}

// Exact reports whether nothing was dropped.
func (g *Gathered) Exact() bool { return g.sketch == nil && g.other == 0 }

// Measures compare a column of two samples. Numbers without a value are nil and Why says the reason.
type Measures struct {
	Name, Kind       string
	PSI, JS          *float64
	KS, Wasserstein  *float64 // numbers; Wasserstein in standard deviations of the reference
	ChiSquare, V     *float64 // words
	Missing, Was     float64  // share of missing or infinite cells, now and in the reference
	Error            float64  // what KS may be off by; 0 when exact
	Why              string
	Reference, Valid int64
}

// Compare holds current against ref. Both may be used up by it.
func Compare(ref, current *Gathered) Measures {
	m := Measures{Name: ref.Name, Kind: ref.Kind, Missing: share(current), Was: share(ref)}
	keep := func(v float64, err error) *float64 {
		if err != nil {
			m.Why = err.Error()
			return nil
		}
		return &v
	}
	switch {
	case ref.Kind != current.Kind:
		m.Why = "the column changed its type"
	case ref.Kind == Word:
		words, p, q := drift.Align(flat(ref.words), flat(current.words))
		if ref.other+current.other > 0 {
			words, p, q = append(words, ""), append(p, ref.other), append(q, current.other)
		}
		m.Reference, m.Valid = ref.rows-ref.missing, current.rows-current.missing
		m.PSI, m.JS = keep(drift.PSI(p, q)), keep(drift.JS(p, q))
		if c, err := drift.ChiSquare(p, q); err == nil {
			m.ChiSquare, m.V = &c.ChiSquare, &c.CramersV
		}
		_ = words
	case ref.sketch == nil && current.sketch == nil:
		a, b := ref.sorted(), current.sorted()
		m.Reference, m.Valid = int64(len(a)), int64(len(b))
		edges := drift.Edges(a, 10)
		p, q := countSorted(edges, a), countSorted(edges, b)
		m.PSI, m.JS = keep(drift.PSI(p, q)), keep(drift.JS(p, q))
		m.KS, m.Wasserstein = keep(drift.KS(a, b)), keep(drift.NormedWasserstein(a, b))
	default:
		ref.sketched(&m, current, keep)
	}
	return m
}

func share(g *Gathered) float64 {
	if g.rows == 0 {
		return 0
	}
	return float64(g.missing+g.infinite) / float64(g.rows)
}

func flat(words map[string]*float64) map[string]float64 {
	out := make(map[string]float64, len(words))
	for w, n := range words {
		out[w] = *n
	}
	return out
}

// countSorted counts ascending values in the bins of ascending edges.
func countSorted(edges, sorted []float64) []float64 {
	out := make([]float64, len(edges)+1)
	from := 0
	for i, e := range edges {
		to := from + upTo(sorted[from:], e)
		out[i] = float64(to - from)
		from = to
	}
	out[len(edges)] = float64(len(sorted) - from)
	return out
}

// upTo is how many of ascending values are at most e.
func upTo(sorted []float64, e float64) int {
	low, high := 0, len(sorted)
	for low < high {
		mid := (low + high) / 2
		if sorted[mid] <= e {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// sketched compares where at least one side dropped values: on buckets of the same width both counts are exact at their ends.
func (g *Gathered) sketched(m *Measures, current *Gathered, keep func(float64, error) *float64) {
	a, b := g.toSketch(), current.toSketch()
	m.Reference, m.Valid = a.Valid, b.Valid
	if a.Valid == 0 || b.Valid == 0 {
		m.Why = "a sample has no valid value"
		return
	}
	if s := max(a.Numbers.shift, b.Numbers.shift); a.Numbers.shift < s {
		a.Numbers.coarsen(s)
	} else if b.Numbers.shift < s {
		b.Numbers.coarsen(s)
	}
	if a.Numbers.shift != b.Numbers.shift { // one had to be coarser still
		s := max(a.Numbers.shift, b.Numbers.shift)
		for _, c := range []*Column{a, b} {
			if c.Numbers.shift < s {
				c.Numbers.coarsen(s)
			}
		}
	}
	edges, p := a.Edges(10)
	keysA, countsA := a.Numbers.sorted()
	keysB, countsB := b.Numbers.sorted()
	q := make([]float64, len(edges)+1)
	for i, k := range keysB {
		q[drift.Bin(edges, min(b.Numbers.end(k), b.Max))] += float64(countsB[i])
	}
	m.PSI, m.JS = keep(drift.PSI(p, q)), keep(drift.JS(p, q))
	n, o := float64(a.Valid), float64(b.Valid)
	i, j, below, under, ks, area := 0, 0, 0.0, 0.0, 0.0, 0.0
	last := 0.0
	for first := true; i < len(keysA) || j < len(keysB); first = false {
		key := uint64(math.MaxUint64)
		if i < len(keysA) {
			key = keysA[i]
		}
		if j < len(keysB) {
			key = min(key, keysB[j])
		}
		at := a.Numbers.middle(key)
		if !first {
			area += math.Abs(below/n-under/o) * (at - last)
		}
		last = at
		if i < len(keysA) && keysA[i] == key {
			below += float64(countsA[i])
			i++
		}
		if j < len(keysB) && keysB[j] == key {
			under += float64(countsB[j])
			j++
		}
		ks = max(ks, math.Abs(below/n-under/o))
	}
	m.KS, m.Error = &ks, max(a.Numbers.RankError(), b.Numbers.RankError())
	if sd, ok := a.SD(); ok {
		if w := area / max(sd, 0.001); !math.IsInf(w, 0) && !math.IsNaN(w) {
			m.Wasserstein = &w
		}
	}
}

func (g *Gathered) toSketch() *Column {
	if g.sketch == nil {
		g.sketch = New(g.Name, Number, 0)
		for _, v := range g.values {
			g.sketch.Add(v)
		}
	}
	return g.sketch
}

// sorted puts the values in order: a radix sort over the three highest digits, of eleven bits, in which their ordered bits
// differ, and insertion of the few that are then still out of order; where those are many, over all digits.
func (g *Gathered) sorted() []float64 {
	n := len(g.values)
	if n < 2048 {
		slices.Sort(g.values)
		return g.values
	}
	if cap(g.scratch) < 2*n {
		g.scratch = make([]uint64, 2*n)
	}
	from, to := g.scratch[:n:n], g.scratch[n:2*n]
	all, any := ^uint64(0), uint64(0)
	for i, v := range g.values {
		k := ordered(v)
		from[i] = k
		all &= k
		any |= k
	}
	high := 64 - bits.LeadingZeros64(all^any) // bits from here up are the same in all
	low := max(0, high-3*digit)
	from, to = radix(from, to, low, high)
	if low > 0 && !settled(from) {
		from, to = radix(from, to, 0, low)
		from, _ = radix(from, to, low, high)
	}
	for i, k := range from {
		g.values[i] = fromOrdered(k)
	}
	return g.values
}

// digit is how many bits one pass of a radix sort takes.
const digit = 11

// radix sorts by the bits low to high, keeping the order of equal ones. It returns the sorted keys and the other slice.
func radix(from, to []uint64, low, high int) (sorted, free []uint64) {
	const mask = 1<<digit - 1
	for shift := low; shift < high; shift += digit {
		width := uint64(mask)
		if high-shift < digit {
			width = 1<<(high-shift) - 1
		}
		var counts [1 << digit]uint32
		for _, k := range from {
			counts[k>>shift&width]++
		}
		total := uint32(0)
		for d, c := range counts {
			counts[d] = total
			total += c
		}
		for _, k := range from {
			d := k >> shift & width
			to[counts[d]] = k
			counts[d]++
		}
		from, to = to, from
	}
	return from, to
}

// settled sorts keys that are nearly in order by insertion; false when they are not nearly.
func settled(keys []uint64) bool {
	moves := 0
	for i := 1; i < len(keys); i++ {
		k := keys[i]
		j := i
		for ; j > 0 && keys[j-1] > k; j-- {
			keys[j] = keys[j-1]
		}
		keys[j] = k
		if moves += i - j; moves > 2*len(keys) {
			return false
		}
	}
	return true
}
