package lightgbm

import "math"

// log1p is ln(1+x) for x ≥ 0 as the C library under LightGBM answers it on processors that multiply and add in one step
// (glibc 2.36): none of 300,000 values differed, where the nearest double differs for one in 2,000.
//
// The method is fdlibm's: 1+x = 2^k·(1+f) with 1+f between √2/2 and √2, ln(1+f) = f − f²/2 + s·(f²/2+R) with s = f/(2+f)
// and a polynomial R in s². Only the order of the roundings is glibc's.
func log1p(x float64) float64 {
	const (
		half = 0x6a09e // of √2, in the bits behind the exponent's
		high = 6.93147180369123816490e-01
		low  = 1.90821492927058770002e-10
	)
	if !(x < math.MaxFloat64) || x < 0x1p-29 {
		return math.Log1p(x)
	}
	k, f, c := 0, x, 0.0
	fraction := uint64(1)
	if x >= 0x1.a827ap-2 {
		u := x
		if x < 0x1p53 {
			u = 1 + x
			if k = int(math.Float64bits(u)>>52) - 1023; k > 0 {
				c = 1 - (u - x)
			} else {
				c = x - (u - 1)
			}
			c /= u
		} else {
			k = int(math.Float64bits(u)>>52) - 1023
		}
		bits := math.Float64bits(u) & (1<<52 - 1)
		if fraction = bits >> 32; fraction < half {
			bits |= 0x3ff << 52
		} else {
			k++
			bits |= 0x3fe << 52
			fraction = (0x100000 - fraction) >> 2
		}
		f = math.Float64frombits(bits) - 1
	}
	n := float64(k)
	square := float64(0.5*f) * f
	if fraction == 0 {
		if f == 0 {
			return math.FMA(n, high, math.FMA(n, low, c))
		}
		r := square * math.FMA(-0.66666666666666666, f, 1)
		if k == 0 {
			return f - r
		}
		return math.FMA(n, high, -((r - math.FMA(n, low, c)) - f))
	}
	s := f / (2 + f)
	z := float64(s * s)
	z2 := float64(z * z)
	z4 := float64(z2 * z2)
	r := math.FMA(z, 6.666666666666735130e-01, float64(z2*math.FMA(z, 2.857142874366239149e-01, 3.999999999940941908e-01)))
	r = math.FMA(z4, math.FMA(z, 1.818357216161805012e-01, 2.222219843214978396e-01), r)
	r = math.FMA(float64(z2*z4), math.FMA(z, 1.479819860511658591e-01, 1.531383769920937332e-01), r)
	r = float64(s * (r + square))
	if k == 0 {
		return f - (square - r)
	}
	return math.FMA(n, high, -((square - (math.FMA(n, low, c) + r)) - f))
}
