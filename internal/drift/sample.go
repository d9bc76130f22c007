package drift

import "math"

// KS returns the two-sample Kolmogorov-Smirnov statistic, the largest distance between the two empirical
// distribution functions, in 0..1. Both samples are ascending and hold no NaN or Inf. It is Undefined
// when one is empty.
func KS(ref, cur []float64) (float64, error) {
	if err := bothFilled(ref, cur); err != nil {
		return 0, err
	}
	n, m := float64(len(ref)), float64(len(cur))
	i, j, d := 0, 0, 0.0
	for i < len(ref) && j < len(cur) {
		v := ref[i]
		if cur[j] < v {
			v = cur[j]
		}
		for i < len(ref) && ref[i] == v {
			i++
		}
		for j < len(cur) && cur[j] == v {
			j++
		}
		gap := float64(i)/n - float64(j)/m
		if gap < 0 {
			gap = -gap
		}
		if gap > d {
			d = gap
		}
	}
	return d, nil
}

// KSPValue returns the probability, in 0..1, that chance alone gives a KS statistic of d or more for
// samples of n and m values of one continuous distribution, by Kolmogorov's limit K(√(nm/(n+m))·d). It
// is conservative for columns with ties. n and m are ≥ 1.
//
// Source: Kolmogorov, Giorn. Ist. Ital. Attuari 4 (1933); Smirnov, Ann. Math. Stat. 19 (1948).
func KSPValue(d float64, n, m int) float64 {
	x := math.Sqrt(float64(n)*float64(m)/(float64(n)+float64(m))) * d
	switch {
	case x <= 0:
		return 1
	case x < 1.18:
		// The theta-transformed series converges where the alternating one does not.
		sum, c := 0.0, math.Pi*math.Pi/(8*x*x)
		for k := 1; k <= 9; k += 2 {
			sum += math.Exp(-float64(k*k) * c)
		}
		return clamp(1 - math.Sqrt(2*math.Pi)/x*sum)
	}
	sum, sign := 0.0, 1.0
	for k := 1; k <= 8; k++ {
		sum += sign * math.Exp(-2*float64(k*k)*x*x)
		sign = -sign
	}
	return clamp(2 * sum)
}

// Wasserstein returns the first Wasserstein (earth mover's) distance ∫|F−G| of two samples, in the unit
// of the column, ≥ 0. Both are ascending and hold no NaN or Inf. It is Undefined when one is empty or
// the distance overflows.
func Wasserstein(ref, cur []float64) (float64, error) {
	if err := bothFilled(ref, cur); err != nil {
		return 0, err
	}
	n, m := float64(len(ref)), float64(len(cur))
	i, j, sum := 0, 0, 0.0
	at := math.Min(ref[0], cur[0])
	for i < len(ref) || j < len(cur) {
		v := 0.0
		switch {
		case j == len(cur) || i < len(ref) && ref[i] <= cur[j]:
			v = ref[i]
		default:
			v = cur[j]
		}
		sum += math.Abs(float64(i)/n-float64(j)/m) * (v - at)
		at = v
		for i < len(ref) && ref[i] == v {
			i++
		}
		for j < len(cur) && cur[j] == v {
			j++
		}
	}
	if math.IsInf(sum, 0) || math.IsNaN(sum) {
		return 0, Undefined("the values are too large for a distance")
	}
	return sum, nil
}

// NormedWasserstein returns Wasserstein divided by the population standard deviation of the reference,
// which is taken as at least 0.001. Same conditions.
func NormedWasserstein(ref, cur []float64) (float64, error) {
	w, err := Wasserstein(ref, cur)
	if err != nil {
		return 0, err
	}
	_, sd := Moments(ref)
	w /= math.Max(sd, 0.001)
	if math.IsInf(w, 0) || math.IsNaN(w) {
		return 0, Undefined("the values are too large for a distance")
	}
	return w, nil
}

// MeanShift returns (mean(cur) − mean(ref)) / sd(ref) with the population standard deviation. It is
// Undefined when a side is empty or the reference is constant.
func MeanShift(ref, cur []float64) (float64, error) {
	if err := bothFilled(ref, cur); err != nil {
		return 0, err
	}
	mr, sd := Moments(ref)
	mc, _ := Moments(cur)
	if ref[0] == ref[len(ref)-1] || sd == 0 {
		return 0, Undefined("the reference is constant")
	}
	z := (mc - mr) / sd
	if math.IsInf(z, 0) || math.IsNaN(z) {
		return 0, Undefined("the values are too large for a mean")
	}
	return z, nil
}

// Moments returns the mean and the population standard deviation of values; 0, 0 when empty. A second pass takes the
// rounding errors of Welford's method away, which matter where the mean is large beside the deviation.
//
// Source: Welford, Technometrics 4 (1962); Chan, Golub & LeVeque, Am. Stat. 37 (1983), eq. 1.7.
func Moments(values []float64) (mean, sd float64) {
	m2 := 0.0
	for i, v := range values {
		d := v - mean
		mean += d / float64(i+1)
		m2 += d * (v - mean)
	}
	if len(values) == 0 {
		return 0, 0
	}
	first, squares, n := 0.0, 0.0, float64(len(values))
	for _, v := range values {
		first += v - mean
		squares += (v - mean) * (v - mean)
	}
	if math.IsNaN(squares) || math.IsInf(squares, 0) || math.IsInf(first, 0) {
		return mean, math.Sqrt(m2 / n)
	}
	return mean + first/n, math.Sqrt(math.Max(0, squares-first*first/n) / n)
}

// OutOfRange returns the share of cur, in 0..1, that lies below lowest or above highest, the range of
// the reference. It is Undefined when cur is empty.
func OutOfRange(lowest, highest float64, cur []float64) (float64, error) {
	if len(cur) == 0 {
		return 0, Undefined("the current sample has no valid value")
	}
	out := 0
	for _, v := range cur {
		if v < lowest || v > highest {
			out++
		}
	}
	return float64(out) / float64(len(cur)), nil
}

func bothFilled(ref, cur []float64) error {
	if len(ref) == 0 {
		return Undefined("the reference has no valid value")
	}
	if len(cur) == 0 {
		return Undefined("the current sample has no valid value")
	}
	return nil
}

func clamp(p float64) float64 { return math.Min(1, math.Max(0, p)) }
