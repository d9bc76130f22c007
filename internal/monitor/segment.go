package monitor

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"keelson/internal/dataset"
	"keelson/internal/score"
)

// fewestInSlice is the smallest slice that is looked for by itself: a share of the rows, and at least enoughLabels.
const fewestInSlice = 0.025

// level of the intervals that are stored with measures.
const level = 0.95

// judged holds how each row of a window fared.
type judged struct {
	metric   string    // accuracy or rmse
	loss     []float64 // by row: 0 or 1, or the squared error; NaN without an outcome
	labelled int
	expected []float64 // by row: the expected loss of a classifier; nil without an estimator
	first    []float64 // by row: the first output; nil when it is a word
}

// fares compares outputs and outcomes row by row.
func fares(w *rows, e *estimator) judged {
	j := judged{metric: "accuracy", loss: make([]float64, w.n), expected: e.losses(w)}
	if len(w.outputs) > 0 && w.outputs[0].words == nil {
		j.first = w.outputs[0].numbers
	}
	all := w.labelled()
	kind := ""
	if len(all) > 0 {
		kind = kindOf(alike(all))
	}
	if kind == "regression" {
		j.metric = "rmse"
	}
	next := 0
	for i := range j.loss {
		j.loss[i] = nan
		if i >= len(w.outcomes) || w.outcomes[i] == nil {
			continue
		}
		j.loss[i] = all[next].loss(kind)
		next++
		if !math.IsNaN(j.loss[i]) {
			j.labelled++
		}
	}
	return j
}

// loss of one row: 1 when the answer is wrong and 0 when it is right, or the squared error; NaN when they do not fit.
func (l labelled) loss(kind string) float64 {
	right := false
	switch kind {
	case "binary":
		y, s := truthNumber(l.truth), scoreOf(l.outputs)
		if !finite(y) || !finite(s) {
			return nan
		}
		right = positive(l.outputs) == (y == 1)
	case "multiclass":
		if len(l.outputs) == 0 {
			return nan
		}
		truth, guess := l.classes()
		right = truth == guess
	default:
		if len(l.outputs) == 0 {
			return nan
		}
		d := truthNumber(l.truth) - forecast(l.outputs)
		if d *= d; !finite(d) {
			return nan
		}
		return d
	}
	if right {
		return 0
	}
	return 1
}

// part sums up the rows of mask; nil is all rows.
func (j *judged) part(name string, mask []bool, n int) Part {
	p := Part{Name: name, Metric: j.metric}
	total, all, expected, prediction, predictions := 0.0, 0.0, 0.0, 0.0, 0
	for i := range n {
		if !math.IsNaN(j.loss[i]) {
			all += j.loss[i]
		}
		if mask != nil && !mask[i] {
			continue
		}
		p.Rows++
		if !math.IsNaN(j.loss[i]) {
			p.Labelled++
			total += j.loss[i]
		}
		if i < len(j.expected) && !math.IsNaN(j.expected[i]) {
			expected += j.expected[i]
		}
		if i < len(j.first) && finite(j.first[i]) {
			prediction += j.first[i]
			predictions++
		}
	}
	p.Share = rate(p.Rows, n)
	value := func(loss float64) *float64 {
		v := 1 - loss
		if j.metric == "rmse" {
			v = math.Sqrt(loss)
		}
		if !finite(v) {
			return nil
		}
		return &v
	}
	if j.labelled > 0 {
		p.Overall = value(all / float64(j.labelled))
	}
	switch {
	case p.Rows == 0:
		p.Why = "no row of the window is in it"
	case p.Labelled >= enoughLabels:
		p.Value = value(total / float64(p.Labelled))
		if j.metric == "accuracy" {
			in := score.Wilson(p.Labelled-int(math.Round(total)), p.Labelled, level)
			p.Interval = &in
		}
	case j.expected != nil && p.Rows >= enoughLabels:
		p.Value, p.Estimated = value(expected/float64(p.Rows)), true
	default:
		p.Why = fmt.Sprintf("outcomes of %d rows are known, %d are needed", p.Labelled, enoughLabels)
	}
	if predictions > 0 {
		if mean := prediction / float64(predictions); finite(mean) {
			p.Prediction = &mean
		}
	}
	return p
}

// cause is a declared segment's breach of its own limits; nil while it keeps them.
func (p *Part) cause(s *Segment) *Cause {
	c := Cause{Kind: "result", Segment: p.Name, Metric: p.Metric, Estimated: p.Estimated}
	if p.Metric == "rmse" {
		return outside(c, p.Value, nil, s.Max)
	}
	return outside(c, p.Value, s.Min, nil)
}

// mask chooses the rows of a declared segment; ok is false when there is no such column.
func (s *Segment) mask(w *rows) (mask []bool, ok bool) {
	mask = make([]bool, w.n)
	if s.When != "" {
		e, err := compile(s.When, true)
		if err != nil {
			return mask, false
		}
		for i := range mask {
			mask[i] = e.holds(w, i)
		}
		return mask, true
	}
	want, _ := dataset.Word(s.Value)
	number, err := strconv.ParseFloat(want, 64)
	if b, isBool := s.Value.(bool); isBool {
		number, err = truthNumber(b), nil
	}
	for k := range w.inputs {
		c := &w.inputs[k]
		if c.name != s.Column {
			continue
		}
		for i := range mask {
			v, text, missing := c.cell(i)
			mask[i] = !missing && (text == want || c.words == nil && err == nil && v == number)
		}
		return mask, true
	}
	return mask, false
}

// parts measures the declared segments.
func (m *Monitor) parts(w *rows, j *judged) (out []Part) {
	for i := range m.Segments {
		s := &m.Segments[i]
		mask, ok := s.mask(w)
		p := j.part(s.Name, mask, w.n)
		if !ok {
			p.Why = fmt.Sprintf("the logged inputs have no column %q", clip(s.Column))
		}
		p.Limit = s.Min
		if p.Metric == "rmse" {
			p.Limit = s.Max
		}
		out = append(out, p)
	}
	return out
}

// slice is a candidate for the worst part: rows where one column, or two, lie somewhere.
type slice struct {
	name   string
	column int
	mask   []bool
	n      int
	mean   float64
	z      float64 // how many standard errors its mean loss lies above the others'
}

const (
	slicedColumns = 100 // columns that are cut
	pairedSlices  = 24  // the worst slices that are crossed with each other
	slicedWords   = 10  // most frequent words of a column
)

// worst finds the slice, over single columns and pairs of them, whose result is worse than that of the other rows by more
// than chance explains, with regard to how many slices were looked at; nil when there is none. Numbers are cut at the
// window's quartiles, words are taken by themselves. A slice holds at least enoughLabels outcomes and 2.5 % of them.
func (j *judged) worst(w *rows) *Part {
	if j.labelled < 2*enoughLabels {
		return nil
	}
	fewest := max(enoughLabels, int(fewestInSlice*float64(j.labelled)))
	total, squares := 0.0, 0.0
	for _, l := range j.loss {
		if !math.IsNaN(l) {
			total += l
			squares += l * l
		}
	}
	count := float64(j.labelled)
	looked := 0
	weigh := func(s *slice) bool {
		sum, sq := 0.0, 0.0
		for i, in := range s.mask {
			if in && !math.IsNaN(j.loss[i]) {
				s.n++
				sum += j.loss[i]
				sq += j.loss[i] * j.loss[i]
			}
		}
		if s.n < fewest || s.n > j.labelled-enoughLabels {
			return false
		}
		looked++
		n, others := float64(s.n), count-float64(s.n)
		s.mean = sum / n
		mean := total / count
		spread := math.Max(0, squares/count-mean*mean) * (1/n + 1/others)
		if spread <= 0 {
			return false
		}
		s.z = (s.mean - (total-sum)/others) / math.Sqrt(spread)
		return s.z > 0
	}
	var single []slice
	for k := range w.inputs[:min(len(w.inputs), slicedColumns)] {
		for _, s := range cuts(&w.inputs[k], k, w.n) {
			if weigh(&s) {
				single = append(single, s)
			}
		}
	}
	slices.SortStableFunc(single, func(a, b slice) int { return cmp.Compare(b.z, a.z) })
	if len(single) == 0 {
		return nil
	}
	best := single[0]
	top := single[:min(len(single), pairedSlices)]
	for a := range top {
		for b := a + 1; b < len(top); b++ {
			if top[a].column == top[b].column {
				continue
			}
			both := slice{name: top[a].name + " and " + top[b].name, mask: make([]bool, w.n)}
			for i := range both.mask {
				both.mask[i] = top[a].mask[i] && top[b].mask[i]
			}
			if weigh(&both) && both.z > best.z {
				best = both
			}
		}
	}
	overall := total / count
	enough := best.mean-overall >= 0.03
	if j.metric == "rmse" {
		enough = best.mean >= 1.25*overall
	}
	if tail := Alpha / float64(max(looked, 1)); !enough || math.Erfc(best.z/math.Sqrt2)/2 > tail {
		return nil
	}
	p := j.part(best.name, best.mask, w.n)
	return &p
}

// cuts are the slices of one column.
func cuts(s *series, column, n int) (out []slice) {
	if s.words != nil {
		counts := map[string]int{}
		for _, v := range s.words {
			if v != "" && (counts[v] > 0 || len(counts) < 10_000) {
				counts[v]++
			}
		}
		words := make([]string, 0, len(counts))
		for v := range counts {
			words = append(words, v)
		}
		slices.SortFunc(words, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
		for _, v := range words[:min(len(words), slicedWords)] {
			mask := make([]bool, n)
			for i := range mask {
				mask[i] = i < len(s.words) && s.words[i] == v
			}
			out = append(out, slice{name: fmt.Sprintf("%s is %s", s.name, clip(v)), column: column, mask: mask})
		}
		return out
	}
	valid := make([]float64, 0, n)
	for _, v := range s.numbers {
		if finite(v) {
			valid = append(valid, v)
		}
	}
	missing := make([]bool, n)
	for i := range missing {
		missing[i] = i >= len(s.numbers) || !finite(s.numbers[i])
	}
	if len(valid) < n {
		out = append(out, slice{name: s.name + " is missing", column: column, mask: missing})
	}
	if len(valid) == 0 {
		return out
	}
	slices.Sort(valid)
	edges := slices.Compact([]float64{valid[(len(valid)-1)/4], valid[(len(valid)-1)/2], valid[3*(len(valid)-1)/4]})
	if edges[len(edges)-1] == valid[len(valid)-1] {
		edges = edges[:len(edges)-1]
	}
	if len(edges) == 0 {
		return out // it does not vary
	}
	for k := range len(edges) + 1 {
		low, high := math.Inf(-1), math.Inf(1)
		name := ""
		switch {
		case k == 0:
			high = edges[0]
			name = fmt.Sprintf("%s is at most %.4g", s.name, high)
		case k == len(edges):
			low = edges[k-1]
			name = fmt.Sprintf("%s is above %.4g", s.name, low)
		default:
			low, high = edges[k-1], edges[k]
			name = fmt.Sprintf("%s is above %.4g and at most %.4g", s.name, low, high)
		}
		mask := make([]bool, n)
		for i := range mask {
			mask[i] = !missing[i] && s.numbers[i] > low && s.numbers[i] <= high
		}
		out = append(out, slice{name: name, column: column, mask: mask})
	}
	return out
}
