package monitor

import (
	"fmt"
	"slices"

	"keelson/internal/anomaly"
	"keelson/internal/boost"
	"keelson/internal/drift"
	"keelson/internal/score"
	"keelson/internal/shift"
)

// together is what was learnt of whole rows of a reference. It is kept in memory and learnt again, with equal results, after
// a restart.
type together struct {
	names        []string
	words        []bool
	axes         *shift.Reconstruction
	lower, upper float64
	forest       *anomaly.Forest
	unusual      float64 // score that 1 % of the reference exceeds
	why          string
}

const (
	togetherRows    = 10_000
	togetherColumns = 200
	forestTrees     = 50
	strangest       = 5
)

// learnTogether learns the reference's rows; chunk is how many rows a window has.
func learnTogether(all []series, chunk int) *together {
	t := &together{}
	n := 0
	for _, s := range all {
		n = max(n, len(s.words), len(s.numbers))
	}
	var usable []series
	for _, s := range all {
		if s.varies() {
			usable = append(usable, s)
		}
	}
	switch {
	case len(usable) < 2:
		t.why = "fewer than two columns of the reference vary"
		return t
	case len(usable) > togetherColumns:
		t.why = fmt.Sprintf("%d columns are too many to be looked at together, %d are the most", len(usable), togetherColumns)
		return t
	case n < 2*fewest:
		t.why = fmt.Sprintf("the reference has %d rows, %d are needed", n, 2*fewest)
		return t
	}
	at := make([]int, min(n, togetherRows))
	for i := range at {
		at[i] = i * n / len(at)
	}
	var table []boost.Column
	for _, s := range pickRows(usable, at) {
		t.names, t.words = append(t.names, s.name), append(t.words, s.words != nil)
		table = append(table, boost.Column{Numbers: s.numbers, Words: s.words})
	}
	axes, err := shift.FitReconstruction(table, shift.Variance)
	if err != nil {
		t.why = err.Error()
		return t
	}
	errs, err := axes.Errors(table)
	if err != nil {
		t.why = err.Error()
		return t
	}
	var means []float64
	chunk = min(chunk, max(len(errs)/5, fewest))
	for part := range slices.Chunk(errs, chunk) {
		if len(part) == chunk || len(means) == 0 {
			means = append(means, sum(part)/float64(len(part)))
		}
	}
	lower, upper, err := score.Thresholds(means, 0, 1e300)
	if err != nil {
		t.why = err.Error()
		return t
	}
	// A reference whose chunks are few says little about how far they vary: chance over the rows is always tolerated.
	mean, sd := drift.Moments(errs)
	slack := 4 * sd / sqrt(chunk)
	t.axes, t.lower, t.upper = axes, max(0, min(lower, mean-slack)), max(upper, mean+slack)
	if t.forest, err = anomaly.Fit(table, anomaly.Params{Trees: forestTrees}); err == nil {
		var scores []float64
		if scores, err = t.forest.Scores(table); err == nil {
			t.unusual = score.Quantiles(scores, 0.99)[0].V
		}
	}
	if err != nil {
		t.forest, t.why = nil, err.Error()
	}
	return t
}

// varies reports whether a column has two different values.
func (s *series) varies() bool {
	if s.words != nil {
		first := ""
		for _, w := range s.words {
			if first == "" {
				first = w
			}
			if w != "" && w != first {
				return true
			}
		}
		return false
	}
	first := nan
	for _, v := range s.numbers {
		if !finite(v) {
			continue
		}
		if first == first && v != first {
			return true
		}
		first = v
	}
	return false
}

// compare holds the rows of a window against the reference. where names the prediction and the row of a row of the window.
func (t *together) compare(w *rows, where func(int) (string, int)) *Together {
	out := &Together{Why: t.why}
	if t.axes == nil {
		return out
	}
	table := make([]boost.Column, len(t.names))
	for k, name := range t.names {
		s := seriesOf(w.inputs, name)
		if s == nil {
			out.Why = fmt.Sprintf("the logged inputs have no column %q", clip(name))
			return out
		}
		words, numbers := s.words, s.numbers
		if t.words[k] && words == nil {
			words = asWords(numbers, true)
		}
		if !t.words[k] && words != nil {
			if numbers = asNumbers(words); numbers == nil {
				out.Why = fmt.Sprintf("the column %q holds numbers in the reference and words in the window", clip(name))
				return out
			}
		}
		if t.words[k] {
			numbers = nil
		} else {
			words = nil
		}
		table[k] = boost.Column{Numbers: numbers, Words: words}
	}
	chunk, err := t.axes.Chunk(table)
	if err != nil {
		out.Why = err.Error()
		return out
	}
	if v, ok, why := chunk.Value.Get(); ok {
		out.Reconstruction, out.Lower, out.Upper = &v, &t.lower, &t.upper
		out.Moved = v < t.lower || v > t.upper
	} else {
		out.Why = why
	}
	if t.forest == nil || w.n == 0 {
		return out
	}
	scores, err := t.forest.Scores(table)
	if err != nil {
		out.Why = err.Error()
		return out
	}
	order := make([]int, len(scores))
	beyond := 0
	for i, s := range scores {
		order[i] = i
		if s > t.unusual {
			beyond++
		}
	}
	share := rate(beyond, len(scores))
	out.Unusual = &share
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	for _, i := range order[:min(len(order), strangest)] {
		id, row := where(i)
		out.Strangest = append(out.Strangest, Strange{id, row, scores[i]})
	}
	return out
}
