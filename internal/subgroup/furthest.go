package subgroup

import (
	"math"

	"keelson/internal/drift"
)

// Joint counts the rows of a table by the cells of two columns each, so that a reference need not be kept: its memory is
// columns² / 2 tables of some 25 numbers.
type Joint struct {
	cuts  []Cut
	by    int // the first columns make slices
	of    int // columns from here on are measured
	rows  int
	pause func() // the table's own; a method of it would keep all its rows
	one   [][]uint16
	pairs [][]uint16 // of columns i < k at i·columns + k; nil where neither makes a slice of the other
}

// MostJoint bounds the rows of a Joint; take a Sample of more.
const MostJoint = 50_000

// Joint counts up to MostJoint rows. Columns before by make slices, columns from of on are measured within them.
func (t *Table) Joint(by, of int) *Joint {
	rows := min(t.Rows, MostJoint)
	j := &Joint{cuts: t.Cuts, by: by, of: of, rows: rows, pause: t.Pause, one: make([][]uint16, len(t.Cuts)), pairs: make([][]uint16, len(t.Cuts)*len(t.Cuts))}
	for a := range t.Cuts {
		j.one[a] = make([]uint16, t.Cuts[a].cells())
		for _, x := range t.Codes[a][:rows] {
			j.one[a][x]++
		}
		for b := a + 1; b < len(t.Cuts); b++ {
			if !j.counts(a, b) && !j.counts(b, a) {
				continue
			}
			wide := t.Cuts[b].cells()
			cells := make([]uint16, t.Cuts[a].cells()*wide)
			second := t.Codes[b]
			for i, x := range t.Codes[a][:rows] {
				cells[int(x)*wide+int(second[i])]++
			}
			j.pairs[a*len(t.Cuts)+b] = cells
			t.pause()
		}
	}
	return j
}

// counts reports whether slices of a measure b.
func (j *Joint) counts(a, b int) bool { return a != b && a < j.by && b >= j.of }

// within counts the rows of a slice of column a by the cells of column b.
func (j *Joint) within(a int, s span, b int, into []float64) (rows int) {
	clear(into)
	wide := len(into)
	if a < b {
		cells := j.pairs[a*len(j.cuts)+b]
		for x := s.from; x <= s.to; x++ {
			for y := range into {
				n := cells[x*wide+y]
				into[y] += float64(n)
				rows += int(n)
			}
		}
		return rows
	}
	cells, high := j.pairs[b*len(j.cuts)+a], j.cuts[a].cells()
	for x := s.from; x <= s.to; x++ {
		for y := range into {
			n := cells[y*high+x]
			into[y] += float64(n)
			rows += int(n)
		}
	}
	return rows
}

// Moved is a slice in which a column moved further than it did over all rows.
type Moved struct {
	Condition Condition
	Column    string // that moved
	At        int    // its place in the table
	PSI       float64
	Overall   float64 // PSI of the column over all rows
	Limit     float64 // the PSI that it exceeds: the declared limit, or what the move of all rows and chance explain together
	Direction string  // of numbers: up, down, or empty when their mean cell stayed
	Rows      int     // of the slice, now
	Reference int     // and in the reference
	Share     float64 // of all rows, now
	ShareWas  float64
	Looked    int // pairs of a slice and a column that are large enough
}

// Furthest finds the slice, of one column, in which another column moved furthest beyond what it moved over all rows; false
// when none did. Both were counted with the same cuts. Cells of the same column as the slice are not measured.
//
// A column moved in a slice when its PSI over its cells, missing values included, exceeds limit, and
//
//	√PSI(slice) > √PSI(all rows) + √chance
//
// where chance is drift.ChanceLimit of the slice's rows with p.Alpha over all pairs that were looked at. The root of a PSI is
// near a distance, so that what moves alike everywhere is not reported of the slice where chance adds most to it.
func Furthest(ref, cur *Joint, limit float64, p Params) (out Moved, found bool) {
	p.fill()
	type one struct {
		a, b int
		s    span
		m    Moved
		bins int
	}
	var all []one
	overall, spans := make([]float64, len(cur.cuts)), spansOf(cur.cuts)
	for b := cur.of; b < len(cur.cuts); b++ {
		v, err := drift.PSI(floats(ref.one[b]), floats(cur.one[b]))
		if err != nil {
			v = math.NaN()
		}
		overall[b] = v
	}
	for b := cur.of; b < len(cur.cuts); b++ {
		if math.IsNaN(overall[b]) {
			continue
		}
		was, now := make([]float64, cur.cuts[b].cells()), make([]float64, cur.cuts[b].cells())
		for a := range cur.by {
			if !cur.counts(a, b) {
				continue
			}
			if cur.pause != nil {
				cur.pause()
			}
			for _, s := range spans[a] {
				m, n := ref.within(a, s, b, was), cur.within(a, s, b, now)
				if n < p.Fewest || m < p.Fewest || float64(n) < p.Share*float64(cur.rows) || float64(m) < p.Share*float64(ref.rows) {
					continue
				}
				out.Looked++
				psi, err := drift.PSI(was, now)
				if err != nil || psi <= limit || psi <= overall[b] {
					continue
				}
				bins := 0
				for i := range was {
					if was[i]+now[i] > 0 {
						bins++
					}
				}
				all = append(all, one{a, b, s, Moved{PSI: psi, Overall: overall[b], Rows: n, Reference: m}, bins})
			}
		}
	}
	best := 0.0
	for _, c := range all {
		chance := drift.ChanceLimit(c.m.Reference, c.m.Rows, c.bins, out.Looked, p.Alpha)
		bound := math.Sqrt(c.m.Overall) + math.Sqrt(chance)
		if beyond := math.Sqrt(c.m.PSI) - bound; beyond > best {
			looked := out.Looked
			best, found, out = beyond, true, c.m
			out.Looked, out.Limit = looked, math.Max(limit, bound*bound)
			out.Condition, out.Column, out.At = cur.cuts[c.a].condition(c.s), cur.cuts[c.b].Name, c.b
			out.Share, out.ShareWas = float64(out.Rows)/float64(cur.rows), float64(out.Reference)/float64(ref.rows)
			was, now := make([]float64, cur.cuts[c.b].cells()), make([]float64, cur.cuts[c.b].cells())
			ref.within(c.a, c.s, c.b, was)
			cur.within(c.a, c.s, c.b, now)
			out.Direction = direction(&cur.cuts[c.b], was, now)
		}
	}
	return out, found
}

func floats(counts []uint16) []float64 {
	out := make([]float64, len(counts))
	for i, n := range counts {
		out[i] = float64(n)
	}
	return out
}

// direction says which way numbers went: by the mean of their cells, by more than a tenth of one.
func direction(c *Cut, was, now []float64) string {
	if c.Word {
		return ""
	}
	mean := func(counts []float64) float64 {
		n, sum := 0.0, 0.0
		for i, k := range counts[:len(counts)-1] {
			n += k
			sum += float64(i) * k
		}
		return sum / n
	}
	switch d := mean(now) - mean(was); {
	case d > 0.1:
		return "up"
	case d < -0.1:
		return "down"
	}
	return ""
}
