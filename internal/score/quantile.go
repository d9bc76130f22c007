package score

import (
	"fmt"
	"math"
)

// Ranges holds predicted ranges of a number (lower and upper end of a row) against the truth. Make it with NewRanges.
type Ranges struct{ truth, lower, upper []float64 }

// NewRanges compares ranges with the truth, row by row. It fails when the lengths differ, a number is NaN or infinite, or
// a lower end lies above its upper end, naming the row, counted from 1.
func NewRanges(truth, lower, upper []float64) (*Ranges, error) {
	if _, err := NewRegression(truth, lower); err != nil {
		return nil, err
	}
	if _, err := NewRegression(truth, upper); err != nil {
		return nil, err
	}
	for i := range lower {
		if lower[i] > upper[i] {
			return nil, fmt.Errorf("the range of row %d ends at %v, below its start %v", i+1, upper[i], lower[i])
		}
	}
	return &Ranges{truth, lower, upper}, nil
}

func (r *Ranges) mean(f func(y, low, high float64) float64) Value {
	sum := 0.0
	for i, y := range r.truth {
		sum += f(y, r.lower[i], r.upper[i])
	}
	return ratio(sum, float64(len(r.truth)), noRows)
}

// covered counts the rows whose true value lies in their range, ends included.
func (r *Ranges) covered() int {
	n := 0
	for i, y := range r.truth {
		if y >= r.lower[i] && y <= r.upper[i] {
			n++
		}
	}
	return n
}

// Coverage is the share of rows whose true value lies in their range, ends included, 0..1. It should be near the level
// that the ranges promise. Like all below it is undefined without rows.
func (r *Ranges) Coverage() Value { return ratio(float64(r.covered()), float64(len(r.truth)), noRows) }

// CoverageInterval is the Wilson interval of Coverage: ranges keep their promise when it holds the promised level.
func (r *Ranges) CoverageInterval(level float64) Interval {
	return Wilson(r.covered(), len(r.truth), level)
}

// Width is the mean of upper − lower, in the unit of the target, ≥ 0.
func (r *Ranges) Width() Value {
	return r.mean(func(_, low, high float64) float64 { return high - low })
}

// Winkler is the mean interval score of ranges that promise the level (0..1, exclusive), in the unit of the target,
//
//	(u − l) + 2/α · (l − y)⁺ + 2/α · (y − u)⁺,  α = 1 − level
//
// ≥ Width; the smaller the better, and smallest in expectation for the true quantiles.
//
// Source: Winkler, J. Am. Stat. Assoc. 67 (1972); Gneiting & Raftery, ibid. 102 (2007), §6.2.
func (r *Ranges) Winkler(level float64) Value {
	if !(level > 0 && level < 1) {
		return Undefined(badLevel)
	}
	alpha := 1 - level
	return r.mean(func(y, low, high float64) float64 {
		return high - low + 2/alpha*(math.Max(0, low-y)+math.Max(0, y-high))
	})
}

// Forecasts holds predicted quantiles of a number against the truth. Make it with NewForecasts.
type Forecasts struct {
	levels []float64
	each   []*Regression // by level
}

// NewForecasts compares predicted quantiles with the truth: predicted[k] holds the forecasts of the levels[k]-quantile,
// row by row. Levels lie in 0..1, exclusive, and rise. It fails otherwise, when lengths differ, or when a number is NaN
// or infinite.
func NewForecasts(truth, levels []float64, predicted [][]float64) (*Forecasts, error) {
	if len(levels) == 0 || len(levels) != len(predicted) {
		return nil, fmt.Errorf("%d levels and %d columns of forecasts do not belong together", len(levels), len(predicted))
	}
	f := &Forecasts{levels: levels}
	last := 0.0
	for k, q := range levels {
		if !(q > last && q < 1) {
			return nil, fmt.Errorf("the quantile levels must rise between 0 and 1; level %d is %v", k+1, q)
		}
		last = q
		r, err := NewRegression(truth, predicted[k])
		if err != nil {
			return nil, fmt.Errorf("the forecasts of the quantile %v: %w", q, err)
		}
		f.each = append(f.each, r)
	}
	return f, nil
}

// Pinball is the quantile loss averaged over rows and levels, in the unit of the target, ≥ 0. Undefined without rows.
//
// Source: Koenker & Bassett, Econometrica 46 (1978).
func (f *Forecasts) Pinball() Value {
	sum := 0.0
	for k, q := range f.levels {
		v := f.each[k].QuantileLoss(q)
		if !v.OK() {
			return v
		}
		sum += v.V
	}
	return Of(sum / float64(len(f.levels)))
}

// Below gives, per level, the share of true values at or below the forecast; it should be near the level.
func (f *Forecasts) Below() []Value {
	out := make([]Value, len(f.each))
	for k, r := range f.each {
		out[k] = r.mean(func(y, p float64) float64 {
			if y <= p {
				return 1
			}
			return 0
		})
	}
	return out
}

// Crossing is the share of rows with a forecast below that of a smaller level, 0..1, which no distribution allows.
func (f *Forecasts) Crossing() Value {
	n, rows := 0.0, f.each[0].truth
	for i := range rows {
		for k := 1; k < len(f.each); k++ {
			if f.each[k].predicted[i] < f.each[k-1].predicted[i] {
				n++
				break
			}
		}
	}
	return ratio(n, float64(len(rows)), noRows)
}
