package drift

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Contingency is a χ² test of independence on a 2 × k table, without Yates' correction.
type Contingency struct {
	ChiSquare float64 // ≥ 0
	Freedom   int     // degrees of freedom, k−1 over the bins that hold anything
	PValue    float64 // 0..1
	CramersV  float64 // √(χ²/n), 0..1; the effect size, independent of the number of rows
}

// ChiSquare compares two histograms over the same bins. Bins that are empty on both sides are left out;
// a single bin gives χ² 0, 0 degrees of freedom, p 1 and V 0. It is Undefined when a side is empty.
//
// Source: Pearson, Phil. Mag. 50 (1900); Cramér, Mathematical Methods of Statistics, 1946, §21.9.
func ChiSquare(ref, cur []float64) (Contingency, error) { return contingency(ref, cur, 0) }

// Yates is ChiSquare with Yates' correction when two bins hold anything: each distance from the expected count is made
// smaller by a half, though not turned round. It is what SciPy and NannyML give for columns of two words; it finds less
// than there is, so that it is here to compare with them.
//
// Source: Yates, Suppl. J. R. Stat. Soc. 1 (1934).
func Yates(ref, cur []float64) (Contingency, error) { return contingency(ref, cur, 0.5) }

func contingency(ref, cur []float64, correction float64) (Contingency, error) {
	if _, _, err := pair(ref, cur); err != nil {
		return Contingency{}, err
	}
	n, m, k := 0.0, 0.0, 0
	for i := range ref {
		n, m = n+ref[i], m+cur[i]
		if ref[i]+cur[i] > 0 {
			k++
		}
	}
	if k < 2 {
		return Contingency{PValue: 1}, nil
	}
	if k > 2 {
		correction = 0
	}
	square := func(seen, expected float64) float64 {
		d := math.Abs(seen - expected)
		d -= math.Min(correction, d)
		return d * d / expected
	}
	sum := 0.0
	for i := range ref {
		if both := ref[i] + cur[i]; both > 0 {
			er, ec := n*both/(n+m), m*both/(n+m)
			sum += square(ref[i], er) + square(cur[i], ec)
		}
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return Contingency{}, Undefined("the counts are too large or too small for a test")
	}
	return Contingency{
		ChiSquare: sum,
		Freedom:   k - 1,
		PValue:    clamp(mathext.GammaIncRegComp(float64(k-1)/2, sum/2)),
		CramersV:  math.Min(1, math.Sqrt(sum/(n+m))),
	}, nil
}

// NewWords returns the words of cur that ref does not know, GoneWords those of ref that cur lacks, both
// sorted by UTF-8 bytes.
func NewWords(ref, cur map[string]float64) []string { return only(cur, ref) }

// GoneWords is described at NewWords.
func GoneWords(ref, cur map[string]float64) []string { return only(ref, cur) }

func only(have, lack map[string]float64) []string {
	words, p, q := Align(have, lack)
	out := []string{}
	for i, w := range words {
		if p[i] > 0 && q[i] == 0 {
			out = append(out, w)
		}
	}
	return out
}

// NewShare returns the share of cur's rows, in 0..1, that hold a word ref does not know. It is Undefined
// when cur is empty.
func NewShare(ref, cur map[string]float64) (float64, error) {
	fresh, sum := 0.0, 0.0
	for w, c := range cur {
		sum += c
		if ref[w] == 0 {
			fresh += c
		}
	}
	if sum == 0 {
		return 0, Undefined("the current sample has no valid value")
	}
	return fresh / sum, nil
}
