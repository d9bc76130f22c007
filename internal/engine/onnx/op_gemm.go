package onnx

import "math"

// gemm32 is alpha·x·y, added to what out holds when add is set: x is m×k, y is k×n, or n×k when turned, all row-major.
//
// Sums of float32 depend on their order, and where terms cancel the difference is all that is left. So each sum runs as
// the matrix kernels of onnxruntime do on x86-64: a chain of fused multiply-adds along k in pieces of a fixed length, and
// for a single row, unless y was prepared beforehand (packed, a constant), a sum of products rounded one by one, in fours
// along k or, when turned, in eight lanes.
type gemm32 struct {
	m, k, n        int
	alpha          float32
	turned, packed bool
	add            bool
}

// fused is x·y + z rounded once: the product of two float32 is exact in float64.
func fused(x, y, z float32) float32 { return float32(float64(x)*float64(y) + float64(z)) }

func (g gemm32) run(c *call, x, y, out []float32) {
	switch {
	case g.m == 0 || g.n == 0:
	case g.k == 0:
		if !g.add {
			clear(out)
		}
	case g.m == 1 && !g.packed && g.alpha == 1 && g.turned:
		g.lanes(x, y, out)
		c.tick(g.k * g.n)
	case g.m == 1 && !g.packed && g.alpha == 1:
		g.fours(x, y, out)
		c.tick(g.k * g.n)
	case g.n == 1 && !g.packed && g.alpha == 1 && (!g.turned || g.k == 1):
		// A column is a row of the turned product.
		gemm32{m: 1, k: g.k, n: g.m, alpha: 1, turned: true, add: g.add}.lanes(y, x, out)
		c.tick(g.k * g.m)
	default:
		g.chains(c, x, y, out)
	}
}

// piece is the length of a chain.
func (g gemm32) piece() int {
	if g.packed {
		return 256
	}
	length, width := 128, 128
	for g.n < g.k && width > 16 && width/2 >= g.n {
		length, width = 2*length, width/2
	}
	return length
}

// fewColumns is from how many columns of a y that is not turned a row at a time is faster than four.
const fewColumns = 8

// chains lets sums run beside each other, for one step of a chain waits for the one before: all columns of a row, four of
// a turned y, and four rows where there are few columns.
func (g gemm32) chains(c *call, x, y, out []float32) {
	piece := g.piece()
	var sums []float32
	if !g.turned {
		c.spend(g.n, 4)
		sums = c.f32.take(g.n)
	}
	narrow := g.n // from this column on four rows run beside each other
	switch {
	case g.turned:
		narrow = g.n &^ 3
	case g.n < fewColumns:
		narrow = 0
	}
	for i := 0; i < g.m; i++ {
		last := g.n
		if narrow < g.n && i < g.m&^3 {
			if last = narrow; i&3 == 0 {
				for j := narrow; j < g.n; j++ {
					g.fourRows(x[i*g.k:(i+4)*g.k], y, out[i*g.n:(i+4)*g.n], j, piece)
				}
			}
		}
		row, to := x[i*g.k:(i+1)*g.k], out[i*g.n:i*g.n+last]
		add := g.add
		for from := 0; from < g.k && last > 0; from += piece {
			part := row[from:min(from+piece, g.k)]
			switch {
			case g.turned:
				g.turnedChain(part, y[from:], to, add)
			case g.n == 1:
				var s float32
				for p, b := range y[from:][:len(part)] {
					s = fused(part[p], b, s)
				}
				to[0] = g.finish(s, to[0], add)
			default:
				clear(sums)
				for p, a := range part {
					a := float64(a)
					line := y[(from+p)*g.n : (from+p+1)*g.n]
					for j, b := range line {
						sums[j] = float32(a*float64(b) + float64(sums[j]))
					}
				}
				for j, s := range sums {
					to[j] = g.finish(s, to[j], add)
				}
			}
			add = true
		}
		c.tick(g.k * g.n)
	}
}

// fourRows computes column j of four rows.
func (g gemm32) fourRows(x, y, out []float32, j, piece int) {
	add := g.add
	for from := 0; from < g.k; from += piece {
		n := min(piece, g.k-from)
		x0, x1, x2, x3 := x[from:][:n], x[g.k+from:][:n], x[2*g.k+from:][:n], x[3*g.k+from:][:n]
		at, step := from*g.n+j, g.n
		if g.turned {
			at, step = j*g.k+from, 1
		}
		var s0, s1, s2, s3 float32
		for p, a := range x0 {
			b := float64(y[at])
			s0 = float32(float64(a)*b + float64(s0))
			s1 = float32(float64(x1[p])*b + float64(s1))
			s2 = float32(float64(x2[p])*b + float64(s2))
			s3 = float32(float64(x3[p])*b + float64(s3))
			at += step
		}
		out[j], out[g.n+j] = g.finish(s0, out[j], add), g.finish(s1, out[g.n+j], add)
		out[2*g.n+j], out[3*g.n+j] = g.finish(s2, out[2*g.n+j], add), g.finish(s3, out[3*g.n+j], add)
		add = true
	}
}

func (g gemm32) finish(sum, old float32, add bool) float32 {
	if add {
		return fused(sum, g.alpha, old)
	}
	return sum * g.alpha
}

// turnedChain adds one piece of a row to the first len(to) columns, four at a time.
func (g gemm32) turnedChain(part, y, to []float32, add bool) {
	j := 0
	for ; j+4 <= len(to); j += 4 {
		var s0, s1, s2, s3 float32
		y0, y1, y2, y3 := y[j*g.k:][:len(part)], y[(j+1)*g.k:][:len(part)], y[(j+2)*g.k:][:len(part)], y[(j+3)*g.k:][:len(part)]
		for p, a := range part {
			a := float64(a)
			s0 = float32(a*float64(y0[p]) + float64(s0))
			s1 = float32(a*float64(y1[p]) + float64(s1))
			s2 = float32(a*float64(y2[p]) + float64(s2))
			s3 = float32(a*float64(y3[p]) + float64(s3))
		}
		to[j], to[j+1] = g.finish(s0, to[j], add), g.finish(s1, to[j+1], add)
		to[j+2], to[j+3] = g.finish(s2, to[j+2], add), g.finish(s3, to[j+3], add)
	}
	for ; j < len(to); j++ {
		var s float32
		for p, b := range y[j*g.k:][:len(part)] {
			s = fused(part[p], b, s)
		}
		to[j] = g.finish(s, to[j], add)
	}
}

// fours is one row times y, four rows of y at a time.
func (g gemm32) fours(x, y, out []float32) {
	if !g.add {
		clear(out)
	}
	p := 0
	for ; p+4 <= g.k; p += 4 {
		y0, y1, y2, y3 := y[p*g.n:][:g.n], y[(p+1)*g.n:][:g.n], y[(p+2)*g.n:][:g.n], y[(p+3)*g.n:][:g.n]
		a, b, c, d := x[p], x[p+1], x[p+2], x[p+3]
		for j := range out {
			s := float32(float32(float32(a*y0[j])+float32(b*y1[j]))+float32(c*y2[j])) + float32(d*y3[j])
			out[j] = s + out[j]
		}
	}
	if p+2 <= g.k {
		y0, y1 := y[p*g.n:][:g.n], y[(p+1)*g.n:][:g.n]
		for j := range out {
			out[j] = float32(float32(x[p]*y0[j])+float32(x[p+1]*y1[j])) + out[j]
		}
		p += 2
	}
	if p < g.k {
		for j, b := range y[p*g.n:][:g.n] {
			out[j] = float32(x[p]*b) + out[j]
		}
	}
}

// lanes is one row times the turned y: eight sums for each column, joined as the column's place among four, two or one asks.
func (g gemm32) lanes(x, y, out []float32) {
	for j := range g.n {
		var l [8]float32
		line := y[j*g.k:][:g.k]
		p := 0
		for ; p+8 <= len(line) && p+8 <= len(x); p += 8 {
			b, a := line[p:p+8:p+8], x[p:p+8:p+8]
			for q := range l {
				l[q] += float32(a[q] * b[q])
			}
		}
		for q := 0; p < len(line); p, q = p+1, q+1 {
			l[q] += float32(x[p] * line[p])
		}
		var s float32
		switch left := g.n &^ 3; {
		case j < left:
			s = (((l[0] + l[1]) + l[2]) + l[3]) + (((l[4] + l[5]) + l[6]) + l[7])
		case g.n-left >= 2 && j < left+2:
			s = ((l[0] + l[2]) + (l[4] + l[6])) + ((l[1] + l[3]) + (l[5] + l[7]))
		default:
			s = ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]))
		}
		if g.add {
			s += out[j]
		}
		out[j] = s
	}
}

// tanh32 is the quotient of polynomials that onnxruntime and Eigen take for the hyperbolic tangent of a float32.
func tanh32(v float32) float32 {
	if v != v {
		return v
	}
	v = min(max(v, -9), 9)
	s := v * v
	p := fused(s, -2.76076847742355e-16, 2.00018790482477e-13)
	for _, k := range [...]float32{-8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03} {
		p = fused(p, s, k)
	}
	q := fused(s, 1.19825839466702e-06, 1.18534705686654e-04)
	q = fused(q, s, 2.26843463243900e-03)
	q = fused(q, s, 4.89352518554385e-03)
	return p * v / q
}

// exp32 is eˣ as the usual C library rounds it: 2^(k/32) from a table times a cubic, in float64. It lies within 0.502 of the
// last digit, which is not always the nearest float32, and kernels of many support vectors show the difference.
func exp32(v float32) float32 {
	if !(v > -87 && v < 88) {
		return float32(math.Exp(float64(v)))
	}
	z := float64(v) * (0x1.71547652b82fep+0 * 32)
	k := math.RoundToEven(z)
	r := z - k
	i := int(k)
	s := math.Ldexp(exp2s[i&31], i>>5)
	y := float64(0x1.62e42ff0c52d6p-1/32*r) + 1
	y += float64((float64(0x1.c6af84b912394p-5/32/32/32*r) + 0x1.ebfce50fac4f3p-3/32/32) * (r * r))
	return float32(y * s)
}

// exp2s holds 2^(i/32).
var exp2s = func() (t [32]float64) {
	for i := range t {
		t[i] = math.Exp2(float64(i) / 32)
	}
	return t
}()
