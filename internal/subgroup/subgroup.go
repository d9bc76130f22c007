// Package subgroup finds the part of a table that stands out: the slice, of one column or of two, whose answers are worse than
// those of the other rows (Worst), and the slice whose columns moved furthest from a reference (Furthest).
//
// Every column is cut into a few cells (Cut): numbers at quantiles of the reference, words by themselves, missing values as a
// cell of their own. Candidates are the cells, of numbers also the lower and the upper half, and what two columns have in
// common. Thousands of candidates are looked at, so that some look bad by chance; nothing is reported that chance gives among
// all of them together with more than a small probability. Equal arguments give equal results. The package does no I/O.
package subgroup

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"keelson/internal/drift"
)

// Quarters is into how many cells numbers are usually cut.
const Quarters = 4

// MostWords bounds the words of a Cut; the others of a column share a cell.
const MostWords = 10

// Cut says how a column is cut into cells.
type Cut struct {
	Name  string
	Edges []float64 // of numbers: ascending; value v lies in the first cell whose edge is not below v, or in the last
	Words []string  // of words: each is a cell
	Word  bool      // the column holds words
}

// Numbers cuts numbers at edges, which ascend strictly; there are at most 200.
func Numbers(name string, edges []float64) Cut {
	return Cut{Name: name, Edges: edges[:min(len(edges), 200)]}
}

// Words cuts words, the most frequent of which come first; those after MostWords share a cell.
func Words(name string, words []string) Cut {
	return Cut{Name: name, Words: words[:min(len(words), MostWords)], Word: true}
}

// CutNumbers cuts numbers at their own quartiles (drift.Edges); an edge with no value above it is left out.
func CutNumbers(name string, values []float64) Cut {
	sorted, _, _ := drift.Split(values)
	return CutSorted(name, sorted)
}

// CutSorted is CutNumbers of ascending finite values.
func CutSorted(name string, sorted []float64) Cut {
	edges := drift.Edges(sorted, Quarters)
	if n := len(edges); n > 0 && edges[n-1] >= sorted[len(sorted)-1] {
		edges = edges[:n-1]
	}
	return Numbers(name, edges)
}

// CutWords cuts a column of words by its most frequent ones; "" is missing. Of more than 10,000 different words those that
// come later are not counted.
func CutWords(name string, values []string) Cut {
	counts := map[string]int{}
	for _, v := range values {
		if v != "" && (counts[v] > 0 || len(counts) < 10_000) {
			counts[v]++
		}
	}
	words := make([]string, 0, len(counts))
	for v := range counts {
		words = append(words, v)
	}
	slices.SortFunc(words, func(a, b string) int {
		switch {
		case counts[a] > counts[b], counts[a] == counts[b] && a < b:
			return -1
		}
		return 1
	})
	return Words(name, words)
}

// cells is how many cells there are: those of the values, of words one for the others, and the last one for what is missing.
func (c *Cut) cells() int {
	if c.Word {
		return len(c.Words) + 2
	}
	return len(c.Edges) + 2
}

// Codes gives the cell of each number; NaN and ±Inf are missing.
func (c *Cut) Codes(values []float64) []uint8 {
	out := make([]uint8, len(values))
	for i, v := range values {
		if v-v != 0 {
			out[i] = uint8(len(c.Edges) + 1)
			continue
		}
		out[i] = uint8(drift.Bin(c.Edges, v))
	}
	return out
}

// WordCodes gives the cell of each word; "" is missing.
func (c *Cut) WordCodes(values []string) []uint8 {
	at := make(map[string]uint8, len(c.Words)+1)
	for i, w := range c.Words {
		at[w] = uint8(i)
	}
	at[""] = uint8(len(c.Words) + 1)
	out := make([]uint8, len(values))
	for i, v := range values {
		code, ok := at[v]
		if !ok {
			code = uint8(len(c.Words))
		}
		out[i] = code
	}
	return out
}

// Condition is what one column says of the rows of a slice: exactly one of Missing, Rare, Word and the bounds holds.
type Condition struct {
	Column  string   `json:"column"`
	Above   *float64 `json:"above,omitempty" doc:"the value is larger"`
	AtMost  *float64 `json:"at_most,omitempty" doc:"the value is not larger"`
	Word    string   `json:"word,omitempty" doc:"the value is this word"`
	Rare    bool     `json:"rare,omitempty" doc:"the value is none of the most frequent words"`
	Missing bool     `json:"missing,omitempty" doc:"there is no value"`
}

// String writes the condition in words: "age is above 60".
func (c Condition) String() string {
	switch {
	case c.Missing:
		return c.Column + " is missing"
	case c.Rare:
		return c.Column + " is a rare value"
	case c.Above != nil && c.AtMost != nil:
		return fmt.Sprintf("%s is above %s and at most %s", c.Column, edge(*c.Above), edge(*c.AtMost))
	case c.Above != nil:
		return fmt.Sprintf("%s is above %s", c.Column, edge(*c.Above))
	case c.AtMost != nil:
		return fmt.Sprintf("%s is at most %s", c.Column, edge(*c.AtMost))
	}
	return c.Column + " is " + c.Word
}

// edge writes a bound with four digits, whole where it is large.
func edge(v float64) string {
	if math.Abs(v) >= 1e4 && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// Name joins conditions with "and".
func Name(all []Condition) string {
	out := ""
	for i, c := range all {
		if i > 0 {
			out += " and "
		}
		out += c.String()
	}
	return out
}

// span is a candidate of one column: the cells from..to, both included.
type span struct{ from, to int }

// spans are the candidates of a column: every cell, and the lower and upper half of numbers in four cells or more.
func (c *Cut) spans() []span {
	n := c.cells()
	out := make([]span, 0, n+2)
	for i := range n {
		if i == n-2 && !c.Word && len(c.Edges) == 0 {
			continue // a constant: the cell of all its values says nothing
		}
		out = append(out, span{i, i})
	}
	if bins := len(c.Edges) + 1; !c.Word && bins >= 4 {
		out = append(out, span{0, bins/2 - 1}, span{bins / 2, bins - 1})
	}
	return out
}

func spansOf(cuts []Cut) [][]span {
	out := make([][]span, len(cuts))
	for k := range cuts {
		out[k] = cuts[k].spans()
	}
	return out
}

// condition writes a span.
func (c *Cut) condition(s span) Condition {
	out := Condition{Column: c.Name}
	switch {
	case s.from == c.cells()-1:
		out.Missing = true
	case c.Word && s.from == len(c.Words):
		out.Rare = true
	case c.Word:
		out.Word = c.Words[s.from]
	default:
		if s.from > 0 {
			v := c.Edges[s.from-1]
			out.Above = &v
		}
		if s.to < len(c.Edges) {
			v := c.Edges[s.to]
			out.AtMost = &v
		}
	}
	return out
}

// Table holds the cells of rows, column by column.
type Table struct {
	Cuts  []Cut
	Codes [][]uint8 // by column, by row
	Rows  int
	Pause func() // called now and then by what takes long, so that it can make way for others; nil: need not
}

func (t *Table) pause() {
	if t.Pause != nil {
		t.Pause()
	}
}

// Add puts a column to the table; codes are of its cut, one a row.
func (t *Table) Add(c Cut, codes []uint8) {
	t.Cuts, t.Codes, t.Rows = append(t.Cuts, c), append(t.Codes, codes), len(codes)
}

// Sample gives up to most row numbers of n, evenly spaced and ascending.
func Sample(n, most int) []int {
	out := make([]int, min(n, most))
	for i := range out {
		out[i] = i * n / len(out)
	}
	return out
}
