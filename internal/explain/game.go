package explain

import (
	"math/bits"

	"keelson/internal/problem"
)

// Predict answers rows, row-major, with one number per row.
type Predict func(rows []float64) ([]float64, error)

// call asks p and holds it to one answer per row.
func (p Predict) call(rows []float64, features int) ([]float64, error) {
	out, err := p(rows)
	if err == nil && len(out) != len(rows)/features {
		return nil, problem.New(problem.Invalid, "The model gave %d answers for %d rows; an explanation needs one number per row.", len(out), len(rows)/features)
	}
	return out, err
}

// MaxCoalitionRows bounds the predictions that Shapley asks for per row: 2^features · background rows.
const MaxCoalitionRows = 1 << 22

// Shapley returns the Shapley values of one row of any model by the definition, asking for every subset of features: the
// value of a subset is the mean answer when it comes from row and the rest from the rows of background. It is what
// KernelSHAP estimates, without its sampling error. base is the mean answer over background; values sum to the row's
// answer less base.
//
// It fails with problem.Invalid when the lengths do not fit or 2^features · background rows exceed MaxCoalitionRows, and
// with what predict fails with.
//
// Source: Shapley, A value for n-person games, 1953; Lundberg, Lee, A unified approach to interpreting model
// predictions, 2017.
func Shapley(predict Predict, row, background []float64) (values []float64, base float64, err error) {
	f := len(row)
	switch {
	case f == 0 || len(background) == 0 || len(background)%f != 0:
		return nil, 0, problem.New(problem.Invalid, "A row of %d features cannot be explained against a background of %d values.", f, len(background))
	case f > 22 || (1<<f)*(len(background)/f) > MaxCoalitionRows:
		return nil, 0, problem.New(problem.Invalid, "Enumerating the subsets of %d features over %d background rows takes more than %d predictions; use fewer of either.", f, len(background)/f, MaxCoalitionRows)
	}
	m := len(background) / f
	worth := make([]float64, 1<<f)
	mixed := make([]float64, len(background))
	for set := range worth {
		copy(mixed, background)
		for b := range m {
			for j := range f {
				if set>>j&1 == 1 {
					mixed[b*f+j] = row[j]
				}
			}
		}
		answers, err := predict.call(mixed, f)
		if err != nil {
			return nil, 0, err
		}
		for _, a := range answers {
			worth[set] += a / float64(m)
		}
	}
	w := weights(f)
	values = make([]float64, f)
	for set := range worth {
		size := bits.OnesCount(uint(set))
		for j := range f {
			if set>>j&1 == 0 {
				values[j] += w[size][f-size-1] * (worth[set|1<<j] - worth[set])
			}
		}
	}
	return values, worth[0], nil
}
