package explain

import (
	"math"
	"slices"

	"keelson/internal/problem"
)

// Dependence is how a model's answer moves with one feature.
type Dependence struct {
	Grid []float64   `json:"grid"` // values of the feature, ascending
	Mean []float64   `json:"pdp"`  // mean answer when every row has that value
	Rows [][]float64 `json:"ice"`  // the same for the first rows one by one, along Grid
}

// Grid chooses points values to ask for: the linear-interpolation quantiles of values from 5 % to 95 % in even steps,
// each once, so that whole numbers stay few. NaN and ±Inf are left out; nothing else there gives an empty grid. points ≥ 2
// (11 makes steps of 9 %).
func Grid(values []float64, points int) []float64 {
	var sorted []float64
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			sorted = append(sorted, v)
		}
	}
	if len(sorted) == 0 {
		return nil
	}
	slices.Sort(sorted)
	points = max(points, 2)
	out := make([]float64, points)
	for k := range out {
		at := (0.05 + 0.9*float64(k)/float64(points-1)) * float64(len(sorted)-1)
		i := min(int(at), len(sorted)-1)
		next := sorted[min(i+1, len(sorted)-1)]
		part := at - float64(i)
		if out[k] = sorted[i]; next != sorted[i] {
			out[k] = sorted[i]*(1-part) + next*part // keeps within the two, whatever their size
		}
	}
	return slices.Compact(out)
}

// Depend gives every row each value of grid for one feature and averages the answers: partial dependence, and beside it
// the curves of the first keep rows (individual conditional expectation). Where the feature goes with others, some of
// these rows cannot exist; show the density of the feature beside the curve.
//
// It fails with problem.Invalid when rows are no whole number of rows, feature is none of them or there is no row, and with
// what predict fails with. Time: one prediction of all rows per value of grid.
//
// Source: Friedman, Greedy function approximation, 2001; Goldstein et al., Peeking inside the black box, 2015.
func Depend(predict Predict, rows []float64, features, feature int, grid []float64, keep int) (Dependence, error) {
	if features < 1 || len(rows) == 0 || len(rows)%features != 0 {
		return Dependence{}, problem.New(problem.Invalid, "%d values are no whole number of rows of %d features.", len(rows), features)
	}
	if feature < 0 || feature >= features {
		return Dependence{}, problem.New(problem.Invalid, "There is no feature %d; the rows have %d, counted from 0.", feature, features)
	}
	n := len(rows) / features
	out := Dependence{Grid: slices.Clone(grid), Mean: make([]float64, len(grid)), Rows: make([][]float64, min(max(keep, 0), n))}
	for i := range out.Rows {
		out.Rows[i] = make([]float64, len(grid))
	}
	changed := slices.Clone(rows)
	for k, v := range grid {
		for i := range n {
			changed[i*features+feature] = v
		}
		answers, err := predict.call(changed, features)
		if err != nil {
			return Dependence{}, err
		}
		for i, a := range answers {
			out.Mean[k] += a / float64(n)
			if i < len(out.Rows) {
				out.Rows[i][k] = a
			}
		}
	}
	return out, nil
}
