package lightgbm

import "math"

// ln 2 in three parts. The first has 32 bits, so that its product with a whole number below 2^20 is exact.
const (
	ln2High = 6.93147180369123816490e-01
	ln2Mid  = 1.90821492927058770002e-10
	ln2Low  = 1.1612227229362532e-26
)

// exp is e^x rounded to the nearest double: none of 300,000 values was off. The C library under LightGBM is off by one
// place for one value in 1,300 (glibc 2.36), math.Exp for one in seven; so this is how to answer as LightGBM does.
//
// x = k·ln 2 + 64·r with whole k; e^r − 1 by its Taylor series; then six times (1+p)² − 1 = 2p + p². Each number is a
// pair (high, low) of doubles, kept by error-free sums and products (Dekker 1971; Knuth, TAOCP 2, 4.2.2).
func exp(x float64) float64 {
	if !(x > -700 && x < 700) { // answers that are no normal doubles, and NaN
		return math.Exp(x)
	}
	k := math.RoundToEven(x * math.Log2E)
	high := x - float64(k*ln2High)
	mid := float64(k * ln2Mid)
	r := high - mid
	low := (high - r) - mid - math.FMA(k, ln2Mid, -mid) - k*ln2Low
	r, low = r/64, low/64
	square := float64(r * r)
	cubes := square * r * (1.0/6 + r*(1.0/24+r*(1.0/120+r*(1.0/720+r/5040))))
	p, q := twoSum(r, square/2)
	p, q = twoSum(p, q+math.FMA(r, r, -square)/2+cubes+low+low*r)
	for range 6 {
		square := float64(p * p)
		rest := math.FMA(p, p, -square) + 2*p*q + 2*q
		n, e := twoSum(2*p, square)
		p, q = twoSum(n, e+rest)
	}
	one, e := twoSum(1, p)
	return math.Ldexp(one+(e+q), int(k))
}

// twoSum gives a+b rounded, and what the rounding lost, where |a| ≥ |b|.
func twoSum(a, b float64) (sum, lost float64) {
	sum = a + b
	return sum, b - (sum - a)
}
