package drift

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Limits are values that chance alone exceeds in at most one of 1/alpha comparisons of all features
// together, although nothing has moved.
type Limits struct {
	PSI float64 // nats
	KS  float64 // 0..1
	JS  float64 // 0..1
}

// ChanceLimit returns the PSI that chance alone stays below with probability 1 − alpha over all
// features together (Bonferroni): under equal distributions PSI is distributed as
//
//	(1/reference + 1/window) · χ²(bins − 1)
//
// so the limit is that factor times the (1 − alpha/features) quantile. reference and window count valid
// rows (≥ 1), bins the bins of the feature (≥ 2; with 1 chance gives 0), features those tested together
// (≥ 1), 0 < alpha < 1. The approximation wants about 5 expected rows a bin: with a window of 100 rows
// and deciles it gives 0.27 for 30 features, which is why windows that small say little.
//
// Source: Yurdakul & Naranjo, Statistical properties of the population stability index, J. Risk Model
// Validation 14 (2020), theorem 2.
func ChanceLimit(reference, window, bins, features int, alpha float64) float64 {
	if reference < 1 || window < 1 {
		return math.MaxFloat64
	}
	if bins < 2 {
		return 0
	}
	tail := alpha / float64(max(features, 1))
	// GammaIncRegCompInv inverts the upper tail, so a small alpha keeps its digits.
	chi := 2 * mathext.GammaIncRegCompInv(float64(bins-1)/2, tail)
	return (1/float64(reference) + 1/float64(window)) * chi
}

// ChanceLimits returns the limits of PSI (ChanceLimit), of KS by Smirnov's first term,
//
//	√(−½ ln(tail/2)) · √(1/reference + 1/window)
//
// and of JS, which for near histograms is √(PSI / (8 ln 2)). Arguments as in ChanceLimit.
func ChanceLimits(reference, window, bins, features int, alpha float64) Limits {
	psi := ChanceLimit(reference, window, bins, features, alpha)
	if reference < 1 || window < 1 {
		return Limits{PSI: psi, KS: 1, JS: 1}
	}
	tail := alpha / float64(max(features, 1))
	ks := math.Sqrt(-math.Log(tail/2)/2) * math.Sqrt(1/float64(reference)+1/float64(window))
	return Limits{PSI: psi, KS: math.Min(1, ks), JS: math.Min(1, math.Sqrt(psi/(8*math.Ln2)))}
}

// ChanceRate returns how much a rate (missing values, new words) may rise by chance over its value in
// the reference before the probability falls below alpha/features: the normal quantile times the
// standard error of a difference of two rates, plus half a row of the window for the step of counts.
// rate is in 0..1. With a rate of 0 in the reference, the pooled rate is taken as at least one row.
func ChanceRate(rate float64, reference, window, features int, alpha float64) float64 {
	if reference < 1 || window < 1 {
		return 1
	}
	r, w := float64(reference), float64(window)
	p := math.Min(0.5, math.Max(rate, 1/(r+w)))
	z := math.Sqrt2 * math.Erfcinv(2*alpha/float64(max(features, 1)))
	return z*math.Sqrt(p*(1-p)*(1/r+1/w)) + 0.5/w
}
