package profile

import (
	"math"
	"slices"

	"keelson/internal/drift"
)

// Gathered takes the cells of one column: all numbers while they fit its budget, beyond it a sketch; all words while there are
// few enough different ones.
type Gathered struct {
	Name, Kind string
	budget     int
	parts      [][]float64 // finite numbers, in no order, in parts of partSize
	n          int         // of them
	work       bucketed
	sketch     *Column
	batch      []float64 // on the way to it
	words      map[string]*float64
	lately     [64]told // of words seen lately, by length and last byte
	other      float64  // rows with words that are not told apart any more
	missing    int64
	infinite   int64
	rows       int64
}

// partSize is how many numbers are kept together; a column grows part by part, and copies none.
const partSize = 1 << 16

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
	for i := range g.parts {
		g.parts[i] = g.parts[i][:0]
	}
	*g = Gathered{Name: name, Kind: kind, budget: g.budget, parts: g.parts, work: g.work}
}

// Add takes a number; NaN is missing, ±Inf invalid.
func (g *Gathered) Add(v float64) {
	one := [1]float64{v}
	g.AddAll(one[:])
}

// AddAll takes numbers as Add does; it keeps a copy.
func (g *Gathered) AddAll(values []float64) {
	g.rows += int64(len(values))
	for len(values) > 0 {
		room := g.room()
		if room == 0 {
			k := min(len(values), cap(g.batch))
			g.batch = g.batch[:0]
			for _, v := range values[:k] {
				if v-v != 0 {
					g.count(v)
					continue
				}
				g.batch = append(g.batch, v)
			}
			g.sketch.addAll(g.batch)
			values = values[k:]
			continue
		}
		k := min(room, len(values))
		part := &g.parts[g.n/partSize]
		at := len(*part)
		to := (*part)[at : at+k]
		kept := 0
		for _, v := range values[:k] {
			if v-v != 0 { // NaN or ±Inf
				g.count(v)
				continue
			}
			to[kept] = v
			kept++
		}
		*part = (*part)[:at+kept]
		g.n += kept
		values = values[k:]
	}
}

// count counts a value that is no finite number.
func (g *Gathered) count(v float64) {
	if math.IsNaN(v) {
		g.missing++
	} else {
		g.infinite++
	}
}

// room is how many numbers fit into the part that is being filled; 0 when the budget is used up and the sketch has taken
// over.
func (g *Gathered) room() int {
	if g.sketch != nil {
		return 0
	}
	if g.n >= g.budget {
		g.toSketch()
		return 0
	}
	at := g.n / partSize
	if at == len(g.parts) {
		g.parts = append(g.parts, make([]float64, 0, min(partSize, g.budget-at*partSize)))
	}
	return min(g.budget-g.n, partSize-len(g.parts[at]))
}

// values copies the numbers into one slice.
func (g *Gathered) values() []float64 {
	out := make([]float64, 0, g.n)
	for _, p := range g.parts {
		out = append(out, p...)
	}
	return out
}

// AddWord takes a word, of which nothing is kept but a copy; nil is missing.
func (g *Gathered) AddWord(w []byte) { g.AddWords(w, 1) }

// AddWords takes count cells with one word.
func (g *Gathered) AddWords(w []byte, count int64) {
	g.rows += count
	if w == nil {
		g.missing += count
		return
	}
	place := &g.lately[0]
	if len(w) > 0 {
		place = &g.lately[(uint(w[len(w)-1])+7*uint(len(w)))%64]
	}
	if place.n != nil && place.word == string(w) {
		*place.n += float64(count)
		return
	}
	if n := g.words[string(w)]; n != nil {
		*n += float64(count)
		*place = told{string(w), n}
		return
	}
	if g.words == nil {
		g.words = map[string]*float64{}
	}
	if len(g.words) == mostTold {
		g.other += float64(count)
		return
	}
	n := float64(count)
	g.words[string(w)] = &n
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
	Bins             int // that hold a value on either side: those of the histograms behind PSI and JS
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
		_, p, q := drift.Align(flat(ref.words), flat(current.words))
		if ref.other+current.other > 0 {
			p, q = append(p, ref.other), append(q, current.other)
		}
		m.Bins = filled(p, q)
		m.Reference, m.Valid = ref.rows-ref.missing, current.rows-current.missing
		m.PSI, m.JS = keep(drift.PSI(p, q)), keep(drift.JS(p, q))
		if c, err := drift.ChiSquare(p, q); err == nil {
			m.ChiSquare, m.V = &c.ChiSquare, &c.CramersV
		}
	case ref.sketch == nil && current.sketch == nil:
		m.Reference, m.Valid = int64(ref.n), int64(current.n)
		if out, ok := ref.byBuckets(current); ok {
			m.PSI, m.JS, m.Bins = keep(drift.PSI(out.p, out.q)), keep(drift.JS(out.p, out.q)), filled(out.p, out.q)
			m.KS, m.Wasserstein = &out.ks, &out.wasserstein
			break
		}
		a, b := ref.values(), current.values()
		slices.Sort(a)
		slices.Sort(b)
		edges := drift.Edges(a, 10)
		p, q := countSorted(edges, a), countSorted(edges, b)
		m.Bins = filled(p, q)
		m.PSI, m.JS = keep(drift.PSI(p, q)), keep(drift.JS(p, q))
		m.KS, m.Wasserstein = keep(drift.KS(a, b)), keep(drift.NormedWasserstein(a, b))
	default:
		ref.sketched(&m, current, keep)
	}
	return m
}

func filled(p, q []float64) (n int) {
	for i := range p {
		if p[i]+q[i] > 0 {
			n++
		}
	}
	return n
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
	m.PSI, m.JS, m.Bins = keep(drift.PSI(p, q)), keep(drift.JS(p, q)), filled(p, q)
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

// toSketch makes a sketch of all numbers and gives up the numbers themselves.
func (g *Gathered) toSketch() *Column {
	if g.sketch == nil {
		g.sketch = New(g.Name, Number, 0)
		for i, p := range g.parts {
			g.sketch.addAll(p)
			g.parts[i] = p[:0]
		}
		g.n, g.batch = 0, make([]float64, 0, 4096)
	}
	return g.sketch
}
