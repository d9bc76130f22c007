package monitor

import (
	"math"
	"slices"
	"strings"

	"keelson/internal/score"
	"keelson/internal/subgroup"
)

const (
	slicedColumns = 100    // columns that slices are made of
	slicedRows    = 50_000 // rows that are looked at for the worst result; a sample of more
	crossedRows   = 20_000 // and for the slice that moved furthest
)

// cutOf says how a column is cut: at the quartiles of the reference and by its most frequent words, or, where the reference
// does not know it, by those of the column itself. The second result is the column as the cut wants it.
func cutOf(s *series, p *profile) (subgroup.Cut, series) {
	var c *column
	if p != nil {
		c = p.find(s.name)
	}
	if c == nil {
		if s.words != nil {
			return subgroup.CutWords(s.name, clipped(s.words)), *s
		}
		return subgroup.CutNumbers(s.name, s.numbers), *s
	}
	if c.Kind == numberKind {
		as := series{name: s.name, numbers: s.numbers}
		if s.words != nil {
			if as.numbers = asNumbers(s.words); as.numbers == nil {
				return subgroup.CutWords(s.name, clipped(s.words)), *s // its type changed
			}
		}
		return subgroup.CutSorted(s.name, c.Sample), as
	}
	as := series{name: s.name, words: s.words}
	if s.words == nil {
		as.words = asWords(s.numbers, c.Type == "bool")
	}
	order := make([]int, len(c.Words))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case c.Counts[a] > c.Counts[b]:
			return -1
		case c.Counts[a] < c.Counts[b]:
			return 1
		}
		return 0
	})
	return subgroup.Words(s.name, score.Pick(c.Words, order)), as
}

// codesOf gives the cells of a column. Numbers that all fit 32 bits are held against edges as 32 bits round them: a model of
// such inputs sees the values of the reference so.
func codesOf(c *subgroup.Cut, s *series) []uint8 {
	if c.Word {
		if s.words != nil {
			return c.WordCodes(clipped(s.words))
		}
		return c.WordCodes(asWords(s.numbers, slices.Contains(c.Words, "true") || slices.Contains(c.Words, "false")))
	}
	numbers := s.numbers
	if s.words != nil {
		if numbers = asNumbers(s.words); numbers == nil {
			numbers = make([]float64, len(s.words))
			for i := range numbers {
				numbers[i] = nan
			}
		}
	}
	for _, v := range numbers {
		if finite(v) && float64(float32(v)) != v {
			return c.Codes(numbers)
		}
	}
	narrowed := subgroup.Cut{Name: c.Name, Edges: make([]float64, len(c.Edges))}
	for i, e := range c.Edges {
		narrowed.Edges[i] = float64(float32(e))
	}
	return narrowed.Codes(numbers)
}

// clipped are words as a reference holds them.
func clipped(words []string) []string {
	for i, w := range words {
		if len(w) > wordLength {
			out := slices.Clone(words)
			for k := i; k < len(out); k++ {
				out[k] = clip(out[k])
			}
			return out
		}
	}
	return words
}

// worst finds the slices, over single columns and pairs of them, whose result is worse than that of the other rows by more
// than chance explains among all that were looked at (subgroup.Worst). While outcomes of fewer than twice enoughLabels rows
// are known, the losses are those that are expected, and so are the slices.
func (j *judged) worst(w *rows, inputs []series, k *lore) []Part {
	of := *j
	if j.labelled < 2*enoughLabels {
		if j.expected == nil {
			return nil
		}
		of.loss, of.labelled, of.metric = make([]float64, len(j.loss)), 0, "accuracy"
		for i := range of.loss {
			of.loss[i] = nan
		}
	}
	loss := of.loss
	if of.labelled == 0 {
		loss = of.expected
	}
	var at []int
	for i, l := range loss {
		if l == l {
			at = append(at, i)
		}
	}
	if len(at) > slicedRows {
		at = score.Pick(at, subgroup.Sample(len(at), slicedRows))
	}
	inputs = inputs[:min(len(inputs), slicedColumns)]
	t := subgroup.Table{Pause: k.pause}
	columns := make([]series, len(inputs))
	for i := range inputs {
		k.pause()
		c, as := cutOf(&inputs[i], k.inputs)
		columns[i] = as
		some := pickRows([]series{as}, at)[0]
		t.Add(c, codesOf(&c, &some))
	}
	found := t.Worst(score.Pick(loss, at), of.metric == "accuracy", subgroup.Params{Fewest: enoughLabels, Alpha: Alpha})
	var out []Part
	for i := range found.Slices {
		s := &found.Slices[i]
		mask := s.Mask(w.n, func(c int) []uint8 { return codesOf(&t.Cuts[c], &columns[c]) })
		p := of.part(clipName(subgroup.Name(s.Conditions)), mask, w.n)
		p.Slice = &Slice{Conditions: s.Conditions, Rest: 1 - s.Rest, Gap: s.Gap, Lower: s.Lower, Upper: s.Upper, AtLeast: s.AtLeast, P: s.P, Looked: found.Looked, Rows: found.Rows}
		if of.metric != "accuracy" {
			p.Slice.Rest = math.Sqrt(s.Rest)
		}
		out = append(out, p)
	}
	return out
}

// clipName bounds the name of a slice, which holds words of callers.
func clipName(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), 2*wordLength)], "\ufffd")
}

// crossing is how often the cells of columns of the reference occur together.
type crossing struct {
	cuts  []subgroup.Cut
	by    int // the first of them are inputs
	joint *subgroup.Joint
}

// crossed are the columns that slices are made of and that are looked at within them, by name: callers send them in any order.
func (m *Monitor) crossed(plain []series) []series {
	var out []series
	for _, s := range plain {
		if len(m.Features) == 0 || slices.Contains(m.Features, s.name) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b series) int { return strings.Compare(a.name, b.name) })
	return out[:min(len(out), slicedColumns)]
}

func columnNames(all []series) []string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].name
	}
	return out
}

// cross counts the rows of the reference; with outputs these are what is looked at within slices of the inputs.
func cross(inputs, outputs []series, n int) *crossing {
	c := &crossing{by: len(inputs)}
	all := slices.Concat(inputs, outputs[:min(len(outputs), slicedColumns)])
	at := subgroup.Sample(n, crossedRows)
	var t subgroup.Table
	for k := range all {
		cut, _ := cutOf(&all[k], nil)
		c.cuts = append(c.cuts, cut)
		some := pickRows(all[k:k+1], at)[0]
		t.Add(cut, codesOf(&cut, &some))
	}
	c.joint = t.Joint(c.by, c.of(outputs != nil))
	return c
}

// of is the first column that is looked at within slices.
func (c *crossing) of(answers bool) int {
	if answers {
		return c.by
	}
	return 0
}

// foundDrift finds, of the inputs and of the outputs, the slice of one column in which one moved furthest beyond what it
// moved over all rows (subgroup.Furthest).
func (p *parts) foundDrift(w *rows, k *lore) (out []Drifted) {
	if p.why != "" {
		return nil
	}
	at := subgroup.Sample(w.n, crossedRows)
	for _, part := range []struct {
		kind string
		ref  *crossing
	}{{"data", p.inputs}, {"prediction", p.answers}} {
		if part.ref == nil || w.n < 2*fewest {
			continue
		}
		t := subgroup.Table{Pause: k.pause}
		for c := range part.ref.cuts {
			k.pause()
			from := w.inputs
			if c >= part.ref.by {
				from = w.outputs
			}
			s := seriesOf(from, part.ref.cuts[c].Name)
			if s == nil {
				s = &series{numbers: make([]float64, w.n)}
				for i := range s.numbers {
					s.numbers[i] = nan
				}
			}
			some := pickRows([]series{*s}, at)[0]
			t.Add(part.ref.cuts[c], codesOf(&part.ref.cuts[c], &some))
		}
		m, found := subgroup.Furthest(part.ref.joint, t.Joint(part.ref.by, part.ref.of(part.kind == "prediction")), k.limits.PSI, subgroup.Params{Fewest: fewest, Alpha: Alpha})
		if !found {
			continue
		}
		out = append(out, Drifted{Segment: clipName(m.Condition.String()), Kind: part.kind, Feature: m.Column, Metric: "psi", Value: m.PSI, Limit: m.Limit, Overall: &m.Overall, Direction: m.Direction,
			Slice: &DriftedSlice{Condition: m.Condition, Rows: m.Rows, ReferenceRows: m.Reference, Share: m.Share, ShareWas: m.ShareWas, Looked: m.Looked}})
	}
	return out
}
