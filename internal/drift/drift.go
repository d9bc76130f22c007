// Package drift measures how far the values of a column have moved from a reference.
//
// Everything starts from two samples of one column, the reference (usually the training data) and the
// current one (usually a window of the prediction log). Numbers are counted in bins whose edges the
// reference fixed (Edges), words by themselves (Words); the bin measures (PSI, JS, Hellinger,
// TotalVariation, LInfinity, ChiSquare) compare the counts, the sample measures (KS, Wasserstein)
// compare the values. A NaN is a missing value, ±Inf an invalid one: both are left out of the measures
// and reported as rates over all rows.
//
// The package does no I/O, keeps no state and never returns NaN or Inf: a measure that has no value for
// its input fails with Undefined, which says why. What is a large shift is not decided here, only what
// chance alone would give (ChanceLimits).
package drift

import "math"

// Undefined is the reason why a measure has no value for its input.
type Undefined string

func (u Undefined) Error() string { return "undefined: " + string(u) }

// Floor is the smallest share that PSI reckons with; it keeps the logarithm of an empty bin finite.
const Floor = 1e-4

// shares turns counts into shares of their sum.
func shares(counts []float64, side string) ([]float64, error) {
	sum := 0.0
	for _, c := range counts {
		if c < 0 || math.IsNaN(c) || math.IsInf(c, 0) {
			return nil, Undefined("a count of the " + side + " is negative or not a number")
		}
		sum += c
	}
	if sum == 0 {
		return nil, Undefined("the " + side + " has no valid value")
	}
	if math.IsInf(sum, 0) {
		return nil, Undefined("the counts of the " + side + " overflow")
	}
	out := make([]float64, len(counts))
	for i, c := range counts {
		out[i] = c / sum
	}
	return out, nil
}

// pair checks two histograms over the same bins and returns their shares.
func pair(ref, cur []float64) (p, q []float64, err error) {
	if len(ref) != len(cur) {
		return nil, nil, Undefined("reference and current have different bins")
	}
	if p, err = shares(ref, "reference"); err != nil {
		return nil, nil, err
	}
	q, err = shares(cur, "current sample")
	return p, q, err
}

// PSI returns the population stability index of two histograms,
//
//	Σ (p_i − q_i) · ln(p_i / q_i)
//
// over the bin shares p_i of ref and q_i of cur. Both hold counts, bin by bin in the same order. Shares
// are floored at Floor and not renormalised. The result is in nats, ≥ 0, and symmetric in its arguments.
// It is Undefined when a side is empty.
//
// Source: Yurdakul, Statistical Properties of Population Stability Index, 2018.
func PSI(ref, cur []float64) (float64, error) {
	p, q, err := pair(ref, cur)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		a, b := math.Max(p[i], Floor), math.Max(q[i], Floor)
		sum += (a - b) * math.Log(a/b)
	}
	return sum, nil
}

// JS returns the Jensen-Shannon distance of two histograms: the square root of the base-2 divergence
// ½·KL(p‖m) + ½·KL(q‖m) with m = (p+q)/2. It lies in 0..1 and is a metric. It is Undefined when a side
// is empty.
//
// Source: Lin, Divergence Measures Based on the Shannon Entropy, IEEE Trans. Inf. Theory 37 (1991).
func JS(ref, cur []float64) (float64, error) {
	p, q, err := pair(ref, cur)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		m := (p[i] + q[i]) / 2
		if p[i] > 0 {
			sum += p[i] / 2 * math.Log2(p[i]/m)
		}
		if q[i] > 0 {
			sum += q[i] / 2 * math.Log2(q[i]/m)
		}
	}
	return math.Sqrt(math.Min(1, math.Max(0, sum))), nil
}

// Hellinger returns the Hellinger distance ‖√p − √q‖₂ / √2 of two histograms, in 0..1. It is Undefined
// when a side is empty.
func Hellinger(ref, cur []float64) (float64, error) {
	p, q, err := pair(ref, cur)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		d := math.Sqrt(p[i]) - math.Sqrt(q[i])
		sum += d * d
	}
	return math.Min(1, math.Sqrt(sum/2)), nil
}

// TotalVariation returns ½ Σ |p_i − q_i|, in 0..1: the share of rows that would have to change their
// bin. It is Undefined when a side is empty.
func TotalVariation(ref, cur []float64) (float64, error) {
	p, q, err := pair(ref, cur)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for i := range p {
		sum += math.Abs(p[i] - q[i])
	}
	return math.Min(1, sum/2), nil
}

// LInfinity returns the largest change of one bin's share, max |p_i − q_i|, in 0..1. It is Undefined
// when a side is empty.
func LInfinity(ref, cur []float64) (float64, error) {
	p, q, err := pair(ref, cur)
	if err != nil {
		return 0, err
	}
	largest := 0.0
	for i := range p {
		largest = math.Max(largest, math.Abs(p[i]-q[i]))
	}
	return largest, nil
}
