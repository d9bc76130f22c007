package subgroup

import (
	"cmp"
	"math"
	"slices"

	"keelson/internal/score"
)

// Params say what a slice must have to be reported. A field that is 0 takes its default.
type Params struct {
	Fewest int     // rows of a slice, and rows outside of it; 50
	Share  float64 // smallest share of the rows; 0.025
	Alpha  float64 // probability that chance has anything reported at all; 0.01
	Gap    float64 // of rates: by how much more often a slice is wrong than the others, at least; 0.03
	Ratio  float64 // of sizes: how many times the mean of the others its mean is, at least; 1.25
	Most   int     // slices that are reported; 5
	Work   int     // pairs of columns times rows that are looked at; 40 million, some tenths of a second
}

func (p *Params) fill() {
	def := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&p.Share, 0.025)
	def(&p.Alpha, 0.01)
	def(&p.Gap, 0.03)
	def(&p.Ratio, 1.25)
	p.Fewest, p.Most, p.Work = cmp.Or(p.Fewest, 50), cmp.Or(p.Most, 5), cmp.Or(p.Work, 40_000_000)
}

// Slice is a part of the rows whose loss is higher than that of the others.
type Slice struct {
	Conditions []Condition
	Rows       int     // with a loss
	Mean       float64 // loss of its rows
	Rest       float64 // mean loss of the other rows
	// Gap is by how much it loses against the others: the difference of the rates, or of the roots of the mean sizes. The
	// interval is of 95 % for this slice by itself. AtLeast bounds the gap from below with regard to all slices that were
	// looked at; slices are ranked by it.
	Gap          float64
	Lower, Upper float64
	AtLeast      float64
	P            float64 // probability that chance gives this much in any of the slices (Bonferroni), 0..1

	of candidate
}

// Mask says which of n rows lie in the slice; codes gives the cells of these rows by the place of a column in the table.
func (s *Slice) Mask(n int, codes func(column int) []uint8) []bool {
	mask := make([]bool, n)
	in := func(column int, x span) {
		for i, c := range codes(column) {
			mask[i] = mask[i] && x.from <= int(c) && int(c) <= x.to
		}
	}
	for i := range mask {
		mask[i] = true
	}
	in(s.of.a, s.of.x)
	if s.of.b >= 0 {
		in(s.of.b, s.of.y)
	}
	return mask
}

// Search is what Worst found.
type Search struct {
	Slices  []Slice // the worst first; further ones have at least half of their rows outside of those before
	Looked  int     // candidates that are large enough, counting those of pairs of columns that were left out for Work
	Rows    int     // rows with a loss
	Crossed int     // columns of which pairs were looked at
}

// Worst finds the slices whose rows lose more than the others by more than chance explains. loss has a value a row, NaN where
// it is not known. With rates it is 0 for a right answer and 1 for a wrong one, or the probability of being wrong; else it is
// a size, at least 0, such as a squared error.
//
// How likely chance gives a slice its losses is the upper tail of the hypergeometric distribution for rates, which is exact,
// and that of the rank sum by its normal limit for sizes, so that a few large errors make no slice. It is held against Alpha
// over all candidates that are large enough (Bonferroni), which needs no assumption of how they overlap. Intervals of rates
// are Newcombe's of two Wilson intervals, those of sizes follow by the delta method.
//
// Probabilities of being wrong are summed and rounded to whole rows: a slice is found that would be found if outcomes come as
// expected.
//
// Time is rows times pairs of columns, within Work; where that does not suffice for all pairs, those of the columns with the
// worst slices of their own are looked at.
//
// Source: Newcombe, Stat. Med. 17 (1998), method 10; slices as in Chung et al., Slice Finder, ICDE 2019.
func (t *Table) Worst(loss []float64, rates bool, p Params) Search {
	p.fill()
	s := newSearcher(t, loss, rates, p)
	out := Search{Rows: s.n}
	if s.n < 2*p.Fewest || s.total.sum <= 0 {
		return out
	}
	best := make([]float64, len(t.Cuts)) // by column: z of its worst slice
	spans := spansOf(t.Cuts)
	for k := range t.Cuts {
		t.pause()
		cells := s.count(k, -1)
		for _, a := range spans[k] {
			if z, ok := s.weigh(cells, k, -1, a, span{}); ok {
				best[k] = max(best[k], z)
			}
		}
	}
	order := make([]int, len(t.Cuts))
	for k := range order {
		order[k] = k
	}
	all := len(order) * (len(order) - 1) / 2
	if most := p.Work / s.n; all > most {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(best[b], best[a]) })
		k := int((1 + math.Sqrt(1+8*float64(most))) / 2)
		order = order[:min(k, len(order))]
		slices.Sort(order)
	}
	out.Crossed = len(order)
	looked, pairs := s.looked, len(order)*(len(order)-1)/2
	for i, a := range order {
		for _, b := range order[i+1:] {
			t.pause()
			cells := s.count(a, b)
			for _, x := range spans[a] {
				for _, y := range spans[b] {
					s.weigh(cells, a, b, x, y)
				}
			}
		}
	}
	out.Looked = s.looked
	if pairs > 0 && pairs < all {
		out.Looked = looked + int(float64(s.looked-looked)*float64(all)/float64(pairs))
	}
	out.Slices = s.choose(out.Looked)
	return out
}

// sums of the rows of a cell.
type sums struct{ n, sum, square, rank float64 }

func (s *sums) add(o *sums) {
	s.n += o.n
	s.sum += o.sum
	s.square += o.square
	s.rank += o.rank
}

// candidate is a slice that looks bad enough to be looked at closely.
type candidate struct {
	a, b int // columns; b is -1 with one
	x, y span
	sums sums
	z    float64
}

// screened is the z below which a candidate is not kept: with more than one candidate its probability exceeds any Alpha of
// use.
const screened = 2

// mostKept bounds the candidates that are kept; those with the largest z stay.
const mostKept = 5000

type searcher struct {
	t      *Table
	p      Params
	rates  bool
	n      int       // rows with a loss
	at     []int     // these rows
	loss   []float64 // of them
	rank   []float64 // of them, sizes only
	codes  [][]uint8 // of them, by column
	total  sums
	spread float64 // variance of the ranks, over n−1
	looked int
	kept   []candidate
	cells  []sums
}

func newSearcher(t *Table, loss []float64, rates bool, p Params) *searcher {
	s := &searcher{t: t, p: p, rates: rates}
	for i, l := range loss[:min(len(loss), t.Rows)] {
		if l >= 0 && !math.IsInf(l, 0) {
			s.at, s.loss = append(s.at, i), append(s.loss, l)
		}
	}
	s.n = len(s.at)
	s.codes = t.Codes
	if s.n < t.Rows {
		s.codes = make([][]uint8, len(t.Codes))
		for k := range t.Codes {
			s.codes[k] = score.Pick(t.Codes[k], s.at)
		}
	}
	if !rates {
		s.rank = midranks(s.loss)
	}
	for i, l := range s.loss {
		one := sums{n: 1, sum: l}
		if !rates {
			one.square, one.rank = l*l, s.rank[i]
		}
		s.total.add(&one)
	}
	if !rates && s.n > 1 {
		mean := s.total.rank / s.total.n
		for _, r := range s.rank {
			s.spread += (r - mean) * (r - mean) / (s.total.n - 1)
		}
	}
	return s
}

// midranks are the ranks of values from 1, ties with the mean of theirs.
func midranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(values[a], values[b]), cmp.Compare(a, b)) })
	out := make([]float64, len(values))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			out[i] = float64(from+to+1) / 2
		}
		from = to
	}
	return out
}

// count sums up the rows by the cells of column a and, unless b is −1, of column b.
func (s *searcher) count(a, b int) []sums {
	wide, size := 1, s.t.Cuts[a].cells()
	if b >= 0 {
		wide = s.t.Cuts[b].cells()
		size *= wide
	}
	if cap(s.cells) < size {
		s.cells = make([]sums, size)
	}
	cells := s.cells[:size]
	clear(cells)
	first := s.codes[a]
	var second []uint8
	if b >= 0 {
		second = s.codes[b]
	}
	for i, l := range s.loss {
		at := int(first[i])
		if second != nil {
			at = at*wide + int(second[i])
		}
		c := &cells[at]
		c.n++
		c.sum += l
		if s.rank != nil {
			c.square += l * l
			c.rank += s.rank[i]
		}
	}
	return cells
}

// weigh looks at a candidate; false when it is too small. z says how far above the others it lies, in standard errors.
func (s *searcher) weigh(cells []sums, a, b int, x, y span) (z float64, ok bool) {
	var in sums
	wide := 1
	if b >= 0 {
		wide = s.t.Cuts[b].cells()
	}
	for i := x.from; i <= x.to; i++ {
		for k := y.from; k <= y.to; k++ {
			in.add(&cells[i*wide+k])
		}
	}
	rest := s.total.n - in.n
	if in.n < float64(s.p.Fewest) || in.n < s.p.Share*s.total.n || rest < float64(s.p.Fewest) {
		return 0, false
	}
	s.looked++
	if s.rates {
		mean := s.total.sum / s.total.n
		z = (in.sum/in.n - (s.total.sum-in.sum)/rest) / math.Sqrt(mean*(1-mean)*(1/in.n+1/rest))
	} else {
		z = (in.rank/in.n - s.total.rank/s.total.n) / math.Sqrt(s.spread*(1/in.n-1/s.total.n))
	}
	if z > screened {
		s.kept = append(s.kept, candidate{a, b, x, y, in, z})
		if len(s.kept) == 2*mostKept {
			s.shed()
		}
	}
	return z, true
}

func (s *searcher) shed() {
	slices.SortStableFunc(s.kept, func(a, b candidate) int { return cmp.Compare(b.z, a.z) })
	s.kept = s.kept[:min(len(s.kept), mostKept)]
}

// choose judges the candidates that were kept and picks the worst, of slices that share most of their rows only one.
func (s *searcher) choose(looked int) (out []Slice) {
	s.shed()
	var all []Slice
	for _, c := range s.kept {
		if v, ok := s.judge(&c, looked); ok {
			all = append(all, v)
		}
	}
	slices.SortStableFunc(all, func(a, b Slice) int {
		return cmp.Or(cmp.Compare(b.AtLeast, a.AtLeast), cmp.Compare(len(a.Conditions), len(b.Conditions)))
	})
	taken := make([]bool, s.n)
	for _, v := range all {
		if len(out) == s.p.Most {
			break
		}
		fresh, rows := 0, 0
		for i := range taken {
			if s.holds(&v.of, i) {
				rows++
				if !taken[i] {
					fresh++
				}
			}
		}
		if 2*fresh < rows {
			continue
		}
		for i := range taken {
			taken[i] = taken[i] || s.holds(&v.of, i)
		}
		out = append(out, v)
	}
	return out
}

func (s *searcher) holds(c *candidate, i int) bool {
	x := int(s.codes[c.a][i])
	if x < c.x.from || x > c.x.to {
		return false
	}
	if c.b < 0 {
		return true
	}
	y := int(s.codes[c.b][i])
	return y >= c.y.from && y <= c.y.to
}

// judge says how bad a candidate is; false when chance explains it or when it does not matter.
func (s *searcher) judge(c *candidate, looked int) (out Slice, ok bool) {
	n, rest := c.sums.n, s.total.n-c.sums.n
	out = Slice{of: *c, Rows: int(n), Mean: c.sums.sum / n, Rest: math.Max(0, s.total.sum-c.sums.sum) / rest}
	tail := s.p.Alpha / float64(max(looked, 1))
	if s.rates {
		if out.Mean-out.Rest < s.p.Gap {
			return out, false
		}
		wrong, all := int(math.Round(c.sums.sum)), int(math.Round(s.total.sum))
		all = max(all, wrong)
		out.P = hypergeometricTail(wrong, int(n), all, s.n)
		out.Gap = out.Mean - out.Rest
		usual := apart(wrong, int(n), all-wrong, int(rest), 0.95)
		out.Lower, out.Upper = usual.Lower.V, usual.Upper.V
		out.AtLeast = apart(wrong, int(n), all-wrong, int(rest), 1-2*tail).Lower.V
	} else {
		if out.Mean < s.p.Ratio*out.Rest {
			return out, false
		}
		out.P = math.Erfc(c.z/math.Sqrt2) / 2
		a, b := math.Sqrt(out.Mean), math.Sqrt(out.Rest)
		out.Gap = a - b
		se := math.Hypot(rootError(c.sums.sum, c.sums.square, n), rootError(s.total.sum-c.sums.sum, s.total.square-c.sums.square, rest))
		z := score.Deviate(0.95)
		out.Lower, out.Upper = out.Gap-z*se, out.Gap+z*se
		out.AtLeast = out.Gap - score.Deviate(1-2*tail)*se
	}
	if out.P > tail || !(out.AtLeast > 0) {
		return out, false
	}
	out.P = math.Min(1, out.P*float64(looked))
	out.Conditions = []Condition{s.t.Cuts[c.a].condition(c.x)}
	if c.b >= 0 {
		out.Conditions = append(out.Conditions, s.t.Cuts[c.b].condition(c.y))
	}
	return out, true
}

// rootError is the standard error of the root of a mean, √(var/n) / (2 √mean); 0 with a mean of 0.
func rootError(sum, square, n float64) float64 {
	mean := sum / n
	if !(mean > 0) {
		return 0
	}
	return math.Sqrt(math.Max(0, square/n-mean*mean)/n) / (2 * math.Sqrt(mean))
}

// apart is the interval of the difference of two rates.
func apart(hits, n, otherHits, m int, level float64) score.Interval {
	return score.Newcombe(float64(hits)/float64(n), score.Wilson(hits, n, level), float64(otherHits)/float64(m), score.Wilson(otherHits, m, level))
}

// hypergeometricTail is the probability of hits or more among n rows drawn without replacement from rows of which all are
// hits.
func hypergeometricTail(hits, n, all, rows int) float64 {
	low := max(0, n-(rows-all))
	if hits <= low {
		return 1
	}
	term := math.Exp(choose(all, hits) + choose(rows-all, n-hits) - choose(rows, n))
	sum := 0.0
	for k := hits; k <= min(n, all) && term > 0; k++ {
		sum += term
		next := term * float64(all-k) / float64(k+1) * float64(n-k) / float64(rows-all-n+k+1)
		if next < term && next < sum*1e-16 {
			break
		}
		term = next
	}
	return math.Min(1, sum)
}

// choose is the logarithm of the binomial coefficient.
func choose(n, k int) float64 {
	lg := func(v int) float64 { x, _ := math.Lgamma(float64(v) + 1); return x }
	return lg(n) - lg(k) - lg(n-k)
}
