// Package profile sums up the columns of a table in bounded memory, so that two profiles of parts of the rows merge into the
// profile of the whole.
//
// What a profile holds is a function of the values alone, not of their order or of how they were divided: counts, smallest and
// largest value, the quantile sketch (Sketch), the number of different values (Distinct), and, while there are few enough of
// them, the words (Words). Merging halves therefore gives the same bytes as the whole. Three things are close and not equal:
// mean and variance (by rounding, 1e-12 of their size), and words beyond Words' size, whose counts are too small by at most
// Words.Error.
//
// Quantiles are exact while a column has at most Buckets different values; beyond that a value is known to lie in a bucket, and
// ranks at the ends of buckets are exact. Sketch.RankError says how far a rank may be off. Histograms are counted on edges that
// are ends of buckets (Column.Edges), so that PSI and JS of a reference and later rows are exact, whatever the sketch dropped.
//
// A column's stored form has at most 64 KiB. The package does no I/O and gives no NaN or Inf.
package profile

import (
	"errors"
	"fmt"
	"math"
)

// Format is the version of the stored form.
const Format = 1

// Kinds of columns.
const (
	Number = "number"
	Word   = "word"
)

// Column is the profile of one column. The zero value but for Name and Kind is empty and ready.
type Column struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`
	Valid    int64     `json:"valid"`
	Missing  int64     `json:"missing"`
	Infinite int64     `json:"infinite,omitempty"`
	Min      float64   `json:"min"` // of valid numbers; 0 while there is none
	Max      float64   `json:"max"`
	Moments  Moments   `json:"moments"`
	Numbers  *Sketch   `json:"numbers,omitempty"`
	Words    *Words    `json:"words,omitempty"`
	Distinct *Distinct `json:"distinct,omitempty"`
}

// Moments are the mean and the sum of squared deviations of Valid numbers, by Welford's method; merged by that of Chan, Golub
// & LeVeque (1979). They are taken over values scaled by 2⁻⁵¹² when one is so large that squares overflow.
type Moments struct {
	Mean float64 `json:"mean"`
	M2   float64 `json:"m2"`
	// Huge says that values were too large for squares: mean and variance are not known.
	Huge bool `json:"huge,omitempty"`
}

// New makes an empty column. size bounds its sketch and its words, 16..Buckets; 0 is Buckets.
func New(name, kind string, size int) *Column {
	if size == 0 {
		size = Buckets
	}
	size = min(max(size, 16), Buckets)
	c := &Column{Name: name, Kind: kind, Distinct: &Distinct{}}
	if kind == Number {
		c.Numbers = &Sketch{size: size}
	} else {
		c.Words = &Words{size: min(size, mostWords)}
	}
	return c
}

// Add takes a number; NaN is missing, ±Inf is counted and otherwise left out.
func (c *Column) Add(v float64) {
	switch {
	case math.IsNaN(v):
		c.Missing++
		return
	case math.IsInf(v, 0):
		c.Infinite++
		return
	}
	v += 0 // -0 is 0: which of the two came first must not show
	if c.Valid == 0 || v < c.Min {
		c.Min = v
	}
	if c.Valid == 0 || v > c.Max {
		c.Max = v
	}
	c.Valid++
	if math.Abs(v) > 1e150 {
		c.Moments.Huge = true
	}
	if c.Moments.Huge {
		c.Moments.Mean, c.Moments.M2 = 0, 0
	} else {
		d := v - c.Moments.Mean
		c.Moments.Mean += d / float64(c.Valid)
		c.Moments.M2 += d * (v - c.Moments.Mean)
	}
	c.Numbers.add(ordered(v), 1)
	c.Distinct.add(mix(ordered(v)))
}

// addAll takes finite numbers, and does not count how many of them are different.
func (c *Column) addAll(values []float64) {
	if len(values) == 0 {
		return
	}
	lowest, highest := values[0], values[0]
	for _, v := range values {
		if v < lowest {
			lowest = v
		}
		if v > highest {
			highest = v
		}
	}
	other := Column{Valid: int64(len(values)), Min: lowest + 0, Max: highest + 0} // -0 is 0, as in Add
	if other.Moments.Huge = max(highest, -lowest) > 1e150; !other.Moments.Huge {
		other.Moments.Mean, other.Moments.M2 = moments(values)
	}
	c.join(&other)
	c.Valid += other.Valid
	c.Numbers.addAll(values)
}

// moments are the mean and the sum of squared deviations. Four sums side by side do not wait for each other.
func moments(values []float64) (mean, m2 float64) {
	var a, b, c, d float64
	rest := values
	for ; len(rest) >= 4; rest = rest[4:] {
		a, b, c, d = a+rest[0], b+rest[1], c+rest[2], d+rest[3]
	}
	for _, v := range rest {
		a += v
	}
	mean = (a + b + c + d) / float64(len(values))
	a, b, c, d = 0, 0, 0, 0
	for rest = values; len(rest) >= 4; rest = rest[4:] {
		p, q, r, s := rest[0]-mean, rest[1]-mean, rest[2]-mean, rest[3]-mean
		a, b, c, d = a+p*p, b+q*q, c+r*r, d+s*s
	}
	for _, v := range rest {
		a += (v - mean) * (v - mean)
	}
	return mean, a + b + c + d
}

// AddWord takes a word; an empty one is missing.
func (c *Column) AddWord(w string) {
	if w == "" {
		c.Missing++
		return
	}
	c.Valid++
	c.Words.add(w, 1)
	c.Distinct.add(hash(w))
}

// Mean is the mean of the valid numbers; ok is false while there is none or they are too large.
func (c *Column) Mean() (mean float64, ok bool) {
	return c.Moments.Mean, c.Kind == Number && c.Valid > 0 && !c.Moments.Huge
}

// SD is the standard deviation of the valid numbers as of a population; ok as for Mean.
func (c *Column) SD() (sd float64, ok bool) {
	if _, ok = c.Mean(); !ok {
		return 0, false
	}
	return math.Sqrt(math.Max(0, c.Moments.M2) / float64(c.Valid)), true
}

// Merge adds the rows of another profile of the same column. It fails, changing nothing, when their kinds differ.
func (c *Column) Merge(o *Column) error {
	if c.Name != o.Name || c.Kind != o.Kind {
		return fmt.Errorf("the profiles of %q (%s) and %q (%s) are not of one column", c.Name, c.Kind, o.Name, o.Kind)
	}
	if o.Valid > 0 && c.Kind == Number {
		c.join(o)
	}
	c.Valid, c.Missing, c.Infinite = c.Valid+o.Valid, c.Missing+o.Missing, c.Infinite+o.Infinite
	if c.Kind == Number {
		c.Numbers.merge(o.Numbers)
	} else {
		c.Words.merge(o.Words)
	}
	c.Distinct.merge(o.Distinct)
	return nil
}

// join takes over the range and the moments of o, which has valid numbers; Valid is still without them.
func (c *Column) join(o *Column) {
	if c.Valid == 0 || o.Min < c.Min {
		c.Min = o.Min
	}
	if c.Valid == 0 || o.Max > c.Max {
		c.Max = o.Max
	}
	n, m := float64(c.Valid), float64(o.Valid)
	if c.Moments.Huge = c.Moments.Huge || o.Moments.Huge; c.Moments.Huge {
		c.Moments.Mean, c.Moments.M2 = 0, 0
	} else {
		d := o.Moments.Mean - c.Moments.Mean
		c.Moments.Mean += d * m / (n + m)
		c.Moments.M2 += o.Moments.M2 + d*d*n*m/(n+m)
	}
}

// Edges are the inner edges of up to bins bins of about equally many values, and the exact counts in them: bins are (−∞,e₁],
// (e₁,e₂], …, (e_k,∞). Edges are ends of buckets; with exact quantiles they are those of drift.Edges.
func (c *Column) Edges(bins int) (edges, counts []float64) {
	if c.Kind != Number || c.Valid == 0 {
		return nil, nil
	}
	keys, n := c.Numbers.sorted()
	total, at, below := c.Valid, 0, int64(0)
	last := 0.0
	for k := 1; k < bins; k++ {
		want := (total*int64(k)+int64(bins)-1)/int64(bins) - 1 // index of the order statistic, as the inverted distribution function has it
		for below+n[at] <= want {
			below += n[at]
			at++
		}
		e := min(c.Numbers.end(keys[at]), c.Max)
		if len(edges) > 0 && edges[len(edges)-1] == e {
			continue
		}
		upTo := float64(below + n[at])
		edges, counts = append(edges, e), append(counts, upTo-last)
		last = upTo
	}
	return edges, append(counts, float64(total)-last)
}

// Sample gives up to n evenly spaced order statistics, ascending, each off by at most RankError of the rows in rank.
func (c *Column) Sample(n int) []float64 {
	if c.Kind != Number || c.Valid == 0 {
		return nil
	}
	n = int(min(int64(n), c.Valid))
	out := make([]float64, n)
	keys, counts := c.Numbers.sorted()
	at, below := 0, int64(0)
	for k := range out {
		want := (2*int64(k) + 1) * c.Valid / (2 * int64(n))
		if int64(n) == c.Valid {
			want = int64(k)
		}
		for below+counts[at] <= want {
			below += counts[at]
			at++
		}
		out[k] = c.clamped(keys[at])
	}
	return out
}

// clamped is a value of a bucket within the range that was seen: its middle.
func (c *Column) clamped(key uint64) float64 {
	return min(max(c.Numbers.middle(key), c.Min), c.Max)
}

// Quantile is the q-quantile of the valid numbers by the inverted distribution function; q is in 0..1.
func (c *Column) Quantile(q float64) (float64, error) {
	if c.Kind != Number || c.Valid == 0 {
		return 0, errors.New("the column has no valid number")
	}
	if !(q >= 0 && q <= 1) {
		return 0, fmt.Errorf("%v is no share between 0 and 1", q)
	}
	want := max(int64(math.Ceil(q*float64(c.Valid))), 1)
	keys, counts := c.Numbers.sorted()
	below := int64(0)
	for i, n := range counts {
		if below += n; below >= want {
			return c.clamped(keys[i]), nil
		}
	}
	return c.Max, nil
}

// Method says in words how the quantiles and words were found.
func (c *Column) Method() string {
	switch {
	case c.Kind == Number && c.Numbers.shift == 0, c.Kind == Word && c.Words.Exact():
		return "exact"
	case c.Kind == Number:
		return fmt.Sprintf("sketch, ranks within %.2g %%", 100*c.Numbers.RankError())
	}
	return fmt.Sprintf("sketch, counts too small by at most %d of %d rows", c.Words.Error(), c.Valid)
}

// Check refuses a column whose parts do not belong together, as one that was read may be.
func (c *Column) Check() error {
	switch {
	case c.Distinct == nil || c.Kind == Number && (c.Numbers == nil || c.Words != nil) || c.Kind == Word && (c.Words == nil || c.Numbers != nil) || c.Kind != Number && c.Kind != Word:
		return fmt.Errorf("the profile of %q is not whole", c.Name)
	case c.Valid < 0 || c.Missing < 0 || c.Infinite < 0 || c.Kind == Number && c.Numbers.n != c.Valid || c.Min > c.Max:
		return fmt.Errorf("the numbers in the profile of %q do not fit together", c.Name)
	}
	return nil
}
