package reason

import (
	"context"

	"keelson/internal/engine"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Surface asks a loaded model rows of numbers, whatever its inputs look like: every number of a row is one feature, a text
// is its place among the texts that the rows have. Of the answer it takes one number per row: the first tensor of fractions,
// else of numbers; of two columns the second, of more the one that is highest for the first row asked.
type Surface struct {
	Rows     []float64 // of the calls, row by row
	Calls    []int     // per row the place of its call in the list that was handed over
	Features []string

	ctx    context.Context
	model  engine.Model
	cells  *cells
	answer picker
}

// NewSurface reads at most most rows out of calls, the first first; those of another form than the first call are left
// out. It fails with problem.Conflict when there is none, and problem.TooLarge when a row has more than explain.MaxPlayers
// values.
func NewSurface(ctx context.Context, m engine.Model, sig engine.Signature, calls [][]tensor.Tensor, most int) (*Surface, error) {
	s := &Surface{ctx: ctx, model: m}
	for i, in := range calls {
		if s.cells == nil {
			if len(in) == 0 || in[0].Rows() == 0 {
				continue
			}
			s.cells = newCells(sig, in)
		}
		rows, ok := s.cells.read(in)
		if !ok {
			continue
		}
		f := len(s.cells.names)
		for r := 0; r < len(rows) && len(s.Rows) < most*f; r += f {
			s.Rows, s.Calls = append(s.Rows, rows[r:r+f]...), append(s.Calls, i)
		}
	}
	if len(s.Rows) == 0 {
		return nil, problem.New(problem.Conflict, "There are no logged calls of this version whose rows could be studied; ask again when it has answered some.")
	}
	if s.Features = s.cells.names; len(s.Features) > explain.MaxPlayers {
		return nil, problem.New(problem.TooLarge, "A row has %d values; at most %d can be studied.", len(s.Features), explain.MaxPlayers)
	}
	return s, nil
}

// Predict answers rows, one number each; it is an explain.Predict.
func (s *Surface) Predict(rows []float64) ([]float64, error) {
	got, err := s.model.Predict(s.ctx, s.cells.write(rows))
	if err != nil {
		return nil, err
	}
	return s.answer.pick(got, len(rows)/len(s.Features))
}

// Tensors are rows as the model takes them.
func (s *Surface) Tensors(rows []float64) []tensor.Tensor { return s.cells.write(rows) }

// Words lists the texts of a feature, by their numbers; nil where it is a number.
func (s *Surface) Words(feature int) []string { return s.cells.words[feature] }

// Whole reports that a feature takes whole numbers only (integers, true and false, texts by their places).
func (s *Surface) Whole(feature int) bool {
	for i, w := range s.cells.width {
		if feature < w {
			switch s.cells.form[i].Type {
			case tensor.FP32, tensor.FP64, tensor.FP16, tensor.BF16:
				return false
			}
			return true
		}
		feature -= w
	}
	return false
}

// Truth reports that a feature is true or false.
func (s *Surface) Truth(feature int) bool {
	for i, w := range s.cells.width {
		if feature < w {
			return s.cells.form[i].Type == tensor.Bool
		}
		feature -= w
	}
	return false
}

// Text reports that a feature is a text.
func (s *Surface) Text(feature int) bool { return s.cells.texts[feature] != nil }

// Value is a feature's value as JSON says it: a number, a text, nil where it is missing.
func (s *Surface) Value(feature int, v float64) any { return plain(s.cells.value(feature, v)) }

// Typical is the usual row: the lower median of each number, the most frequent text.
func (s *Surface) Typical() []float64 {
	out := make([]float64, len(s.Features))
	for j, v := range s.cells.typical(s.Rows) {
		if out[j] = v.Number; v.Word {
			out[j] = s.cells.texts[j][v.Text]
		}
	}
	return out
}
