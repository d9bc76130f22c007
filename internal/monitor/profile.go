package monitor

import (
	"math"
	"slices"
	"strings"

	"keelson/internal/dataset"
	"keelson/internal/drift"
	sums "keelson/internal/profile"
)

// profileFormat is the version of the stored form of a profile; profiles of another one are made again.
const profileFormat = 2

// profile is the reference of one version: what its columns looked like, made once and stored.
type profile struct {
	Columns []column `json:"columns"`
	Rows    int      `json:"rows"`
}

// column is one column of a reference. Numbers have edges, counts and a sample, words have counts.
type column struct {
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`
	Type     string  `json:"type,omitempty"` // of the data set's column
	Valid    int     `json:"valid"`
	Missing  int     `json:"missing"`
	Infinite int     `json:"infinite,omitempty"`
	Min      float64 `json:"min,omitempty"`
	Max      float64 `json:"max,omitempty"`
	Mean     float64 `json:"mean,omitempty"`
	SD       float64 `json:"sd,omitempty"`     // of the population
	Method   string  `json:"method,omitempty"` // how it was found, where that is not exact

	Edges  []float64 `json:"edges,omitempty"`  // inner edges of the bins
	Counts []float64 `json:"counts,omitempty"` // per bin, or per word
	Sample []float64 `json:"sample,omitempty"` // all valid values, or evenly spaced ones of them; ascending
	Words  []string  `json:"words,omitempty"`  // sorted
	Other  float64   `json:"other,omitempty"`  // rows with words that are not listed
}

const (
	numberKind = "number"
	wordKind   = "word"
	bins       = 10
	maxWords   = 50
	wordLength = 200
)

// series is one column of a window or table: numbers with NaN for missing, or words with "" for missing.
type series struct {
	name    string
	numbers []float64
	words   []string
}

// profileOf makes a reference. Of a column with more valid values than sampleSize only that many evenly
// spaced order statistics are kept for KS and Wasserstein; KS is then off by at most 1/sampleSize. Bins are
// counted from all values.
func profileOf(all []series, types map[string]string) *profile {
	p := &profile{}
	sampleSize := samplesOf(len(all))
	for _, s := range all {
		c := column{Name: s.name, Type: types[s.name]}
		if s.words == nil {
			p.Rows = max(p.Rows, len(s.numbers))
			c.numbers(s.numbers, sampleSize)
		} else {
			p.Rows = max(p.Rows, len(s.words))
			c.words(s.words)
		}
		p.Columns = append(p.Columns, c)
	}
	return p
}

// samplesOf is how many values of each column are kept: 2,000, fewer of very many columns.
func samplesOf(columns int) int { return min(max(2_000_000/max(columns, 1), 100), 2000) }

// columnFrom takes a column from its sketch: bins are counted exactly, the sample is off by at most RankError in rank.
func columnFrom(c *sums.Column, typ string, sampleSize int) column {
	out := column{Name: c.Name, Kind: wordKind, Type: typ, Valid: int(c.Valid), Missing: int(c.Missing), Infinite: int(c.Infinite), Method: c.Method()}
	if c.Kind == sums.Number {
		out.Kind, out.Min, out.Max = numberKind, c.Min, c.Max
		out.Mean, _ = c.Mean()
		out.SD, _ = c.SD()
		out.Edges, out.Counts = c.Edges(bins)
		out.Sample = c.Sample(sampleSize)
		return out
	}
	top := c.Words.Top(maxWords)
	slices.SortFunc(top, func(a, b sums.Count) int { return strings.Compare(a.Word, b.Word) })
	left := float64(c.Valid)
	for _, w := range top {
		out.Words, out.Counts = append(out.Words, w.Word), append(out.Counts, float64(w.Rows))
		left -= float64(w.Rows)
	}
	out.Other = max(left, 0)
	return out
}

func (c *column) numbers(values []float64, sampleSize int) {
	c.Kind = numberKind
	sorted, missing, infinite := drift.Split(values)
	c.Valid, c.Missing, c.Infinite = len(sorted), missing, infinite
	if len(sorted) == 0 {
		return
	}
	c.Min, c.Max = sorted[0], sorted[len(sorted)-1]
	if c.Mean, c.SD = drift.Moments(sorted); !finite(c.Mean) || !finite(c.SD) {
		c.Mean, c.SD = 0, 0
	}
	c.Edges = drift.Edges(sorted, bins)
	c.Counts = drift.Count(c.Edges, sorted)
	c.Sample = thin(sorted, sampleSize)
}

// thin keeps m evenly spaced order statistics of ascending values.
func thin(sorted []float64, m int) []float64 {
	n := len(sorted)
	if n <= m {
		return sorted
	}
	out := make([]float64, m)
	for k := range out {
		out[k] = sorted[(2*k+1)*n/(2*m)]
	}
	return out
}

func (c *column) words(values []string) {
	c.Kind = wordKind
	counts := map[string]float64{}
	for _, w := range values {
		if w == "" {
			c.Missing++
			continue
		}
		c.Valid++
		counts[clip(w)]++
	}
	type pair struct {
		word string
		n    float64
	}
	var all []pair
	for w, n := range counts {
		all = append(all, pair{w, n})
	}
	slices.SortFunc(all, func(a, b pair) int {
		switch {
		case a.n > b.n, a.n == b.n && a.word < b.word:
			return -1
		}
		return 1
	})
	for _, p := range all[min(len(all), maxWords):] {
		c.Other += p.n
	}
	all = all[:min(len(all), maxWords)]
	slices.SortFunc(all, func(a, b pair) int {
		if a.word < b.word {
			return -1
		}
		return 1
	})
	for _, p := range all {
		c.Words, c.Counts = append(c.Words, p.word), append(c.Counts, p.n)
	}
}

func clip(w string) string {
	if len(w) > wordLength {
		return w[:wordLength]
	}
	return w
}

// find returns the column of a name.
func (p *profile) find(name string) *column {
	for i := range p.Columns {
		if p.Columns[i].Name == name {
			return &p.Columns[i]
		}
	}
	return nil
}

// columnsOf takes the columns of a data version that a model may take as inputs: all but the target.
func columnsOf(t *dataset.Table, target string) (all []series, types map[string]string) {
	types = map[string]string{}
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Name == target {
			continue
		}
		types[c.Name] = string(c.Type)
		s := series{name: c.Name}
		if c.Type == dataset.String || c.Type == dataset.Bool {
			words, missing := c.Text()
			s.words = make([]string, len(words))
			for k, w := range words {
				if missing == nil || !missing[k] {
					s.words[k] = w
				}
			}
		} else {
			s.numbers = c.Numbers
		}
		all = append(all, s)
	}
	return all, types
}

// narrowed is the column as a model of 32-bit inputs sees it: 0.1 becomes 0.10000000149…, which lies above
// an edge at 0.1, and every value on an edge would change its bin.
func (c *column) narrowed() column {
	out := *c
	out.Edges, out.Counts = nil, nil
	pending := 0.0
	for i, e := range c.Edges {
		e = float64(float32(e))
		if i+1 < len(c.Edges) && float64(float32(c.Edges[i+1])) == e {
			pending += c.Counts[i] // two edges became one
			continue
		}
		out.Edges = append(out.Edges, e)
		out.Counts = append(out.Counts, c.Counts[i]+pending)
		pending = 0
	}
	out.Counts = append(out.Counts, c.Counts[len(c.Counts)-1]+pending)
	out.Sample = make([]float64, len(c.Sample))
	for i, v := range c.Sample {
		out.Sample[i] = float64(float32(v))
	}
	out.Min, out.Max = float64(float32(c.Min)), float64(float32(c.Max))
	return out
}

// isNarrow reports whether every value fits 32 bits although the reference has values that do not.
func isNarrow(current, reference []float64) bool {
	for _, v := range current {
		if float64(float32(v)) != v {
			return false
		}
	}
	for _, v := range reference {
		if float64(float32(v)) != v && !math.IsInf(float64(float32(v)), 0) {
			return true
		}
	}
	return false
}
