package monitor

import (
	"fmt"
	"math"
	"strconv"

	"keelson/internal/dataset"
	"keelson/internal/score"
)

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
	} else if known := 0; j.expected != nil {
		for _, l := range j.expected {
			if !math.IsNaN(l) {
				all, known = all+l, known+1
			}
		}
		p.Overall = value(all / float64(known))
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
