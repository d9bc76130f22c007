package onnx

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// plain is gemm32 by its own words: each sum a chain of fused multiply-adds along k, in pieces.
func (g gemm32) plain(x, y, out []float32) {
	for i := range g.m {
		for j := range g.n {
			add := g.add
			for from := 0; from < g.k; from += g.piece() {
				var s float32
				for p := from; p < min(from+g.piece(), g.k); p++ {
					b := y[p*g.n+j]
					if g.turned {
						b = y[j*g.k+p]
					}
					s = fused(x[i*g.k+p], b, s)
				}
				out[i*g.n+j] = g.finish(s, out[i*g.n+j], add)
				add = true
			}
		}
	}
}

func factors(g gemm32, seed uint64) (x, y, out []float32) {
	r := rand.New(rand.NewPCG(seed, 1))
	fill := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64() * math.Pow(10, float64(r.IntN(7)-3)))
		}
		return v
	}
	return fill(g.m * g.k), fill(g.k * g.n), fill(g.m * g.n)
}

func TestAProductIsTheSameToTheLastBitHoweverItIsComputed(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 64, 100} {
		for _, k := range []int{1, 2, 30, 127, 128, 129, 256, 257, 600} {
			for _, m := range []int{1, 2, 4, 7, 9} {
				for bits := range 16 {
					g := gemm32{m: m, k: k, n: n, alpha: 1, turned: bits&1 != 0, packed: bits&2 != 0, add: bits&4 != 0}
					if bits&8 != 0 {
						g.alpha = -0.3
					}
					if !g.packed && g.alpha == 1 && (m == 1 || n == 1) {
						continue // sums of another form
					}
					x, y, want := factors(g, uint64(n*k+m))
					got := append([]float32(nil), want...)
					g.plain(x, y, want)
					g.run(newCall(&graph{}, callBytes), x, y, got)
					for i := range want {
						if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
							t.Fatalf("%+v: value %d is %v, want %v", g, i, got[i], want[i])
						}
					}
				}
			}
		}
	}
}

func BenchmarkProduct(b *testing.B) {
	for _, s := range [][3]int{{1, 30, 100}, {1, 100, 100}, {64, 30, 100}, {64, 100, 100}, {64, 100, 1}, {64, 100, 3}, {1, 100, 1}, {64, 100, 10}, {64, 512, 256}} {
		for _, turned := range []bool{false, true} {
			g := gemm32{m: s[0], k: s[1], n: s[2], alpha: 1, turned: turned, packed: true}
			b.Run(fmt.Sprintf("%dx%dx%d/turned=%v", g.m, g.k, g.n, turned), func(b *testing.B) {
				x, y, out := factors(g, 1)
				c := newCall(&graph{}, callBytes)
				for b.Loop() {
					g.run(c, x, y, out)
					c.f32.used, c.left = 0, c.limit
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(g.m*g.k*g.n), "ns/product")
			})
		}
	}
}
