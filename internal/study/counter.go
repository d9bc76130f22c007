package study

import (
	"context"
	"fmt"
	"math"
	"slices"

	"keelson/internal/engine/reason"
	"keelson/internal/explain"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Other says what would have had to be different for another answer to one row of a logged decision.
type Other struct {
	Prediction string    `json:"prediction_id"`
	Model      string    `json:"model"`
	Version    int       `json:"version"`
	Row        int       `json:"row"`
	Answer     float64   `json:"answer"`
	Threshold  float64   `json:"threshold"`
	Above      bool      `json:"above" doc:"the other answer is at or above the threshold; else below it"`
	Found      bool      `json:"found"`
	Nearest    *Changed  `json:"nearest,omitempty" doc:"the nearest made-up row with the other answer"`
	Real       []Changed `json:"real" doc:"the nearest logged rows of this version with the other answer"`
	Why        string    `json:"why,omitempty" doc:"why none was found"`
	Method     string    `json:"method"`
	Asked      int       `json:"asked" doc:"predictions that the search took"`
}

// Changed is a row with the other answer, as changes of the row asked about.
type Changed struct {
	Prediction string   `json:"prediction_id,omitempty"`
	Answer     float64  `json:"answer"`
	Distance   float64  `json:"distance" doc:"L2, each number in standard deviations of the logged rows, a different text counts 1"`
	Changes    []Change `json:"changes"`
}

// Change is one feature that differs.
type Change struct {
	Feature string `json:"feature"`
	From    any    `json:"from"`
	To      any    `json:"to"`
	Words   string `json:"words"`
}

// Asked is a question for another answer.
type Asked struct {
	Prediction string
	Row        int
	Threshold  *float64 // nil: 0.5 for answers between 0 and 1, else the median answer of the logged rows
	Hold       []string // features that must stay
}

// Counter looks for the least change of a row that gets the other answer, within the values that the log has, and for the
// nearest logged rows that got it. It fails with problem.NotFound for an unknown prediction, problem.Conflict when inputs
// were left out of the log or too few rows are there to compare with, and problem.Invalid for a row or feature that is
// none.
func (s *Service) Counter(ctx context.Context, q Asked) (out Other, err error) {
	r, err := s.asked(ctx, q.Prediction, q.Row)
	if err != nil {
		return out, err
	}
	list, err := s.calls(ctx, prediction.Query{Model: r.Model, Version: r.Version, Limit: maxCalls})
	if err != nil {
		return out, err
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	m, err := s.Load(ctx, r.Model, r.Version)
	if err != nil {
		return out, err
	}
	defer m.Close()
	records := append([]prediction.Record{r}, slices.DeleteFunc(list, func(o prediction.Record) bool { return o.ID == r.ID })...)
	inputs := make([][]tensor.Tensor, len(records))
	for i := range records {
		inputs[i] = records[i].Inputs
	}
	f, err := reason.NewSurface(ctx, m, m.Signature(), inputs, max(maxRows, r.Rows))
	if err != nil {
		return out, err
	}
	return other(f, records, q)
}

// other answers q over a surface whose first rows are those of the first record.
func other(s *reason.Surface, records []prediction.Record, q Asked) (out Other, err error) {
	r := records[0]
	n, f := len(s.Calls), len(s.Features)
	row := s.Rows[q.Row*f : (q.Row+1)*f]
	for _, h := range q.Hold {
		if !slices.Contains(s.Features, h) {
			return out, problem.New(problem.Invalid, "There is no feature %q to hold; the features are %s.", h, list(s.Features)).At("hold")
		}
	}
	answer, err := s.Predict(row) // chooses the output by the row itself
	if err != nil {
		return out, err
	}
	answers, err := s.Predict(s.Rows)
	if err != nil {
		return out, err
	}
	out = Other{Prediction: r.ID, Model: r.Model, Version: r.Version, Row: q.Row, Answer: answer[0], Real: []Changed{},
		Method: fmt.Sprintf("search along the steepest ways, single features and the corners of the range of %d logged rows; texts stay as they are. The nearest found need not be the nearest there is, and what the model says would change is not always what would change in the world", n)}
	switch {
	case q.Threshold != nil:
		out.Threshold = *q.Threshold
	case !slices.ContainsFunc(answers, func(a float64) bool { return a < 0 || a > 1 }):
		out.Threshold = 0.5
	default:
		sorted := slices.Sorted(slices.Values(answers))
		out.Threshold = sorted[len(sorted)/2]
	}
	out.Above = out.Answer < out.Threshold
	limits, scales := bounds(s, row, q.Hold)
	got, err := explain.Counter(s.Predict, row, limits, explain.Wanted{Threshold: out.Threshold, Above: out.Above})
	if err != nil {
		return out, err
	}
	out.Found, out.Why, out.Asked = got.Found, got.Why, got.Asked
	if got.Found {
		out.Nearest = &Changed{Answer: got.Answer, Distance: got.Distance, Changes: changes(s, row, got.Row)}
	}
	type near struct {
		at       int
		distance float64
	}
	var others []near
	for i := range n {
		if (answers[i] >= out.Threshold) == out.Above && records[s.Calls[i]].ID != r.ID {
			others = append(others, near{i, apart(s, row, s.Rows[i*f:(i+1)*f], scales)})
		}
	}
	slices.SortStableFunc(others, func(a, b near) int {
		if a.distance < b.distance {
			return -1
		}
		return 1
	})
	for _, o := range others[:min(3, len(others))] {
		out.Real = append(out.Real, Changed{records[s.Calls[o.at]].ID, answers[o.at], o.distance, changes(s, row, s.Rows[o.at*f:(o.at+1)*f])})
	}
	return out, nil
}

// bounds lets numbers move within the values of the rows, and gives their standard deviations.
func bounds(s *reason.Surface, row []float64, hold []string) (limits []explain.Limits, scales []float64) {
	f := len(s.Features)
	limits, scales = make([]explain.Limits, f), make([]float64, f)
	for j := range f {
		l := &limits[j]
		var mean, square, n float64
		l.Min, l.Max = row[j], row[j]
		for r := range len(s.Calls) {
			if v := s.Rows[r*f+j]; v-v == 0 {
				l.Min, l.Max = min(l.Min, v), max(l.Max, v)
				mean, square, n = mean+v, square+v*v, n+1
			}
		}
		scales[j] = 1
		if n > 0 {
			if sd := math.Sqrt(max(0, square/n-mean/n*mean/n)); sd > 0 && sd-sd == 0 {
				scales[j] = sd
			}
		}
		l.Scale = scales[j]
		if l.Immutable = s.Text(j) || row[j]-row[j] != 0 || slices.Contains(hold, s.Features[j]); s.Whole(j) {
			l.Step = 1
		}
	}
	return limits, scales
}

// apart is the distance of two rows.
func apart(s *reason.Surface, a, b, scales []float64) float64 {
	sum := 0.0
	for j := range a {
		switch d := (a[j] - b[j]) / scales[j]; {
		case a[j] == b[j] || a[j] != a[j] && b[j] != b[j]:
		case s.Text(j) || d-d != 0: // another text, or one is missing
			sum++
		default:
			sum += d * d
		}
	}
	return math.Sqrt(sum)
}

func changes(s *reason.Surface, from, to []float64) []Change {
	out := []Change{}
	for j := range from {
		if from[j] == to[j] || from[j] != from[j] && to[j] != to[j] {
			continue
		}
		c := Change{Feature: s.Features[j], From: s.Value(j, from[j]), To: s.Value(j, to[j])}
		switch {
		case s.Text(j):
			c.Words = fmt.Sprintf("%s %v instead of %v", c.Feature, c.To, c.From)
		case to[j] > from[j]:
			c.Words = fmt.Sprintf("%s up from %s to %s", c.Feature, explain.Number(from[j]), explain.Number(to[j]))
		default:
			c.Words = fmt.Sprintf("%s down from %s to %s", c.Feature, explain.Number(from[j]), explain.Number(to[j]))
		}
		out = append(out, c)
	}
	return out
}
