package score

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Interval is a confidence interval: over many samples like this one, a share Level of such intervals holds the true
// value. Both ends are undefined, with the same reason, when there is none.
type Interval struct {
	Lower Value   `json:"lower"`
	Upper Value   `json:"upper"`
	Level float64 `json:"level"` // 0..1, exclusive; 0.95 is usual
}

// interval sorts out what cannot be; low and high are the bounds of the measure.
func interval(lower, upper, level, low, high float64) Interval {
	return Interval{Of(math.Max(low, lower)), Of(math.Min(high, upper)), level}
}

func noInterval(level float64, why string) Interval {
	return Interval{Undefined(why), Undefined(why), level}
}

const (
	badLevel = "the level lies outside 0..1"
	tooFew   = "it needs two positive and two negative rows"
)

// Deviate is the normal deviate z with P(|Z| ≤ z) = level; NaN of a level outside 0..1, exclusive.
func Deviate(level float64) float64 {
	if !(level > 0 && level < 1) {
		return math.NaN()
	}
	return math.Sqrt2 * math.Erfinv(level)
}

// Wilson is the score interval of a rate of hits among n trials,
//
//	(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
//
// within 0..1. Unlike the normal interval it keeps its level for small n and rates near 0 and 1. Undefined without
// trials, with hits outside 0..n, or with a level outside 0..1.
//
// Source: Wilson, J. Am. Stat. Assoc. 22 (1927); Brown, Cai & DasGupta, Stat. Sci. 16 (2001).
func Wilson(hits, n int, level float64) Interval {
	z := Deviate(level)
	switch {
	case math.IsNaN(z):
		return noInterval(level, badLevel)
	case n <= 0:
		return noInterval(level, noRows)
	case hits < 0 || hits > n:
		return noInterval(level, "the hits are not between 0 and the number of rows")
	}
	m := float64(n)
	p := float64(hits) / m
	mid, half := p+z*z/(2*m), z*math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return interval((mid-half)/(1+z*z/m), (mid+half)/(1+z*z/m), level, 0, 1)
}

// Newcombe is the interval of the difference a − b of two figures that are independent, from the interval of each,
//
//	a − b − √((a−aₗ)² + (bᵤ−b)²)  to  a − b + √((aᵤ−a)² + (b−bₗ)²)
//
// at the level of the first. Of two rates with their Wilson intervals it stays within −1..1. Undefined where one of the
// intervals is.
//
// Source: Newcombe, Stat. Med. 17 (1998) 873, method 10; Zou & Donner, Stat. Med. 27 (2008), for figures other than rates.
func Newcombe(a float64, ofA Interval, b float64, ofB Interval) Interval {
	for _, end := range []Value{ofA.Lower, ofA.Upper, ofB.Lower, ofB.Upper} {
		if _, ok, why := end.Get(); !ok {
			return noInterval(ofA.Level, why)
		}
	}
	return Interval{
		Of(a - b - math.Hypot(a-ofA.Lower.V, ofB.Upper.V-b)),
		Of(a - b + math.Hypot(ofA.Upper.V-a, b-ofB.Lower.V)),
		ofA.Level,
	}
}

// AccuracyInterval is the Wilson interval of Accuracy; the ones below likewise.
func (c Confusion) AccuracyInterval(level float64) Interval { return Wilson(c.TP+c.TN, c.N(), level) }

// PrecisionInterval is the Wilson interval of Precision.
func (c Confusion) PrecisionInterval(level float64) Interval { return Wilson(c.TP, c.TP+c.FP, level) }

// RecallInterval is the Wilson interval of Recall.
func (c Confusion) RecallInterval(level float64) Interval { return Wilson(c.TP, c.TP+c.FN, level) }

// SpecificityInterval is the Wilson interval of Specificity.
func (c Confusion) SpecificityInterval(level float64) Interval {
	return Wilson(c.TN, c.TN+c.FP, level)
}

// HanleyMcNeil is the interval of a ROC AUC of which only the value and the numbers of rows are known,
//
//	auc ± z √((A(1−A) + (p−1)(Q₁−A²) + (n−1)(Q₂−A²)) / pn),  Q₁ = A/(2−A),  Q₂ = 2A²/(1+A)
//
// within 0..1. With the scores at hand ROCAUCInterval is better. Undefined without rows of both classes.
//
// Source: Hanley & McNeil, Radiology 143 (1982).
func HanleyMcNeil(auc float64, positives, negatives int, level float64) Interval {
	z := Deviate(level)
	switch {
	case math.IsNaN(z):
		return noInterval(level, badLevel)
	case positives < 1 || negatives < 1:
		return noInterval(level, oneClass)
	case !(auc >= 0 && auc <= 1):
		return noInterval(level, "the ROC AUC lies outside 0..1")
	}
	p, n, a := float64(positives), float64(negatives), auc
	q1, q2 := a/(2-a), 2*a*a/(1+a)
	half := z * math.Sqrt(math.Max(0, (a*(1-a)+(p-1)*(q1-a*a)+(n-1)*(q2-a*a))/(p*n)))
	return interval(a-half, a+half, level, 0, 1)
}

// ROCAUCDeviation is the standard error of ROCAUC by the placements of the rows: the share of negatives below each
// positive (a tie counts half) and of positives above each negative,
//
//	√(Var(placements of positives)/p + Var(placements of negatives)/n)
//
// with variances over p−1 and n−1. Undefined with fewer than two rows of a class. The time is that of sorting.
//
// Source: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988); midranks as in Sun & Xu, IEEE SPL 21 (2014).
func (b *Binary) ROCAUCDeviation() Value {
	p, n := 0, 0
	for _, t := range b.truth {
		if t {
			p++
		} else {
			n++
		}
	}
	if p < 2 || n < 2 {
		return Undefined(tooFew)
	}
	up, down := make([]float64, 0, p), make([]float64, 0, n)
	below, above := 0, p // negatives below and positives above the rows that tie
	for k := len(b.order); k > 0; {
		from := k
		ties := [2]int{}
		for ; from > 0 && b.scores[b.order[from-1]] == b.scores[b.order[k-1]]; from-- {
			if b.truth[b.order[from-1]] {
				ties[1]++
			} else {
				ties[0]++
			}
		}
		above -= ties[1]
		for range ties[1] {
			up = append(up, (float64(below)+float64(ties[0])/2)/float64(n))
		}
		for range ties[0] {
			down = append(down, (float64(above)+float64(ties[1])/2)/float64(p))
		}
		below += ties[0]
		k = from
	}
	return Of(math.Sqrt(variance(up)/float64(p) + variance(down)/float64(n)))
}

// variance is that of a sample, over n−1.
func variance(v []float64) float64 {
	mean, sum := 0.0, 0.0
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		sum += (x - mean) * (x - mean)
	}
	return sum / float64(len(v)-1)
}

// ROCAUCInterval is ROCAUC ± z times ROCAUCDeviation, within 0..1.
func (b *Binary) ROCAUCInterval(level float64) Interval {
	z := Deviate(level)
	if math.IsNaN(z) {
		return noInterval(level, badLevel)
	}
	sd, ok, why := b.ROCAUCDeviation().Get()
	if !ok {
		return noInterval(level, why)
	}
	auc := b.ROCAUC().V
	return interval(auc-z*sd, auc+z*sd, level, 0, 1)
}

// Draws is the usual number of resamples of Bootstrap.
const Draws = 1000

// Bootstrap is the percentile interval of any measure of n rows: the measure is taken over resamples of n rows drawn
// with replacement, and the interval lies between the (1−level)/2 and (1+level)/2 quantiles of what came out (linear
// between neighbours). metric gets the drawn row numbers, 0..n−1, which it must not keep; Pick takes the rows of a
// column. Equal arguments give equal intervals. Resamples without a value are left out; when they are more than half,
// or there is no row or fewer than 20 draws, the interval is undefined.
//
// The interval is of the order of 1/√n too narrow for few rows; under about 30 rows it should not be shown.
//
// Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, §13.
func Bootstrap(n, draws int, level float64, seed uint64, metric func(rows []int) Value) Interval {
	switch {
	case !(level > 0 && level < 1):
		return noInterval(level, badLevel)
	case n <= 0:
		return noInterval(level, noRows)
	case draws < 20:
		return noInterval(level, "fewer than 20 resamples say nothing about its spread")
	}
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	rows := make([]int, n)
	var got []float64
	why := ""
	for range draws {
		for i := range rows {
			rows[i] = r.IntN(n)
		}
		if v, ok, reason := metric(rows).Get(); ok {
			got = append(got, v)
		} else {
			why = reason
		}
	}
	if 2*len(got) < draws {
		return noInterval(level, "most resamples have no value: "+why)
	}
	slices.Sort(got)
	return Interval{Of(between(got, (1-level)/2)), Of(between(got, (1+level)/2)), level}
}

// between is the q-quantile of sorted values, linear between neighbours.
func between(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	k := int(at)
	if k+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[k] + (at-float64(k))*(sorted[k+1]-sorted[k])
}

// Pick returns the values of the rows, in their order.
func Pick[T any](values []T, rows []int) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = values[r]
	}
	return out
}
