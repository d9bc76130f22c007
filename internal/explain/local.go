package explain

import (
	"math"
	"slices"

	"keelson/internal/problem"
)

// Accumulated is how a model's answer changes along one feature, between neighbouring values only.
type Accumulated struct {
	Edges  []float64 `json:"edges"`  // ascending; bin k is (Edges[k], Edges[k+1]], the first takes Edges[0] too
	Effect []float64 `json:"effect"` // at the edges, in the answer's unit; its mean over the rows is 0
	Counts []int     `json:"counts"` // rows per bin
	Left   int       `json:"left_out"`
}

// Accumulate computes accumulated local effects: in each of at most bins bins that hold about as many rows each, the mean
// change of the answer when the feature of the rows there goes from one edge to the other, summed over the bins. Unlike
// Depend it asks for no combination that is far from the rows, so that it may be read where features go together. Edges
// are the inverted-CDF quantiles, each once. Rows whose value is not finite are left out and counted.
//
// It fails with problem.Invalid when rows are no whole number of rows, feature is none of them, bins is below 1 or the
// feature has fewer than two finite values, and with what predict fails with. Time: two predictions per row.
//
// Source: Apley, Zhu, Visualizing the effects of predictor variables in black box supervised learning models, 2020.
func Accumulate(predict Predict, rows []float64, features, feature, bins int) (Accumulated, error) {
	switch {
	case features < 1 || len(rows) == 0 || len(rows)%features != 0:
		return Accumulated{}, problem.New(problem.Invalid, "%d values are no whole number of rows of %d features.", len(rows), features)
	case feature < 0 || feature >= features:
		return Accumulated{}, problem.New(problem.Invalid, "There is no feature %d; the rows have %d, counted from 0.", feature, features)
	case bins < 1:
		return Accumulated{}, problem.New(problem.Invalid, "Local effects need at least one bin, not %d.", bins)
	}
	var kept, sorted []float64
	out := Accumulated{}
	for row := range slices.Chunk(rows, features) {
		if v := row[feature]; v-v != 0 {
			out.Left++
			continue
		}
		kept, sorted = append(kept, row...), append(sorted, row[feature])
	}
	slices.Sort(sorted)
	n := len(sorted)
	if n == 0 || sorted[0] == sorted[n-1] {
		return Accumulated{}, problem.New(problem.Invalid, "Feature %d has fewer than two finite values, so there is nothing to go along.", feature)
	}
	bins = min(bins, n)
	out.Edges = []float64{sorted[0]}
	for k := 1; k <= bins; k++ {
		out.Edges = append(out.Edges, sorted[(n*k+bins-1)/bins-1])
	}
	out.Edges = slices.Compact(out.Edges)
	bin := make([]int, n)
	low, high := slices.Clone(kept), kept
	out.Counts = make([]int, len(out.Edges)-1)
	for i := range n {
		at, _ := slices.BinarySearch(out.Edges, kept[i*features+feature])
		bin[i] = max(at-1, 0)
		out.Counts[bin[i]]++
		low[i*features+feature], high[i*features+feature] = out.Edges[bin[i]], out.Edges[bin[i]+1]
	}
	before, err := predict.call(low, features)
	if err != nil {
		return Accumulated{}, err
	}
	after, err := predict.call(high, features)
	if err != nil {
		return Accumulated{}, err
	}
	out.Effect = make([]float64, len(out.Edges))
	for i, b := range bin {
		out.Effect[b+1] += (after[i] - before[i]) / float64(out.Counts[b])
	}
	mean := 0.0
	for b, c := range out.Counts {
		out.Effect[b+1] += out.Effect[b]
		mean += (out.Effect[b] + out.Effect[b+1]) / 2 * float64(c) / float64(n)
	}
	for k := range out.Effect {
		if out.Effect[k] -= mean; math.IsNaN(out.Effect[k]) || math.IsInf(out.Effect[k], 0) {
			return Accumulated{}, problem.New(problem.Invalid, "The model answered with values that are not finite; their effects cannot be added up.")
		}
	}
	return out, nil
}
