package drift

import (
	"math"
	"slices"
	"sort"
)

// Split sorts the valid values of a column and counts the others: NaN is missing, ±Inf infinite. It does
// not change values.
func Split(values []float64) (sorted []float64, missing, infinite int) {
	sorted = make([]float64, 0, len(values))
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			missing++
		case math.IsInf(v, 0):
			infinite++
		default:
			sorted = append(sorted, v)
		}
	}
	sortNumbers(sorted)
	return sorted, missing, infinite
}

// Edges returns the inner edges of the bins that a reference fixes: its k/bins quantiles for k = 1 …
// bins−1 by the inverted-CDF rule (the element ⌈n·k/bins⌉, counted from 1), duplicates removed. With
// edges e1 < … < em the m+1 bins are (−∞, e1], (e1, e2], …, (em, +∞). sorted is ascending and holds no
// NaN or Inf; empty gives no edges. Deciles (bins = 10) are what the limits of this package assume.
func Edges(sorted []float64, bins int) []float64 {
	n := len(sorted)
	var edges []float64
	for k := 1; k < bins && n > 0; k++ {
		// ⌈n·k/bins⌉ in whole numbers: a product in floating point would step over an exact boundary.
		e := sorted[(n*k+bins-1)/bins-1]
		if len(edges) == 0 || e > edges[len(edges)-1] {
			edges = append(edges, e)
		}
	}
	return edges
}

// Bin returns the bin of v: the first edge that is not below v, or len(edges). v is not NaN.
func Bin(edges []float64, v float64) int { return sort.SearchFloat64s(edges, v) }

// Count returns how many of values fall into each of the len(edges)+1 bins. NaN and ±Inf are left out.
func Count(edges, values []float64) []float64 {
	counts := make([]float64, len(edges)+1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			counts[Bin(edges, v)]++
		}
	}
	return counts
}

// Words returns how often each word occurs, keys untouched: "1", "01" and "1.0" are three words.
func Words(values []string) map[string]float64 {
	counts := make(map[string]float64)
	for _, v := range values {
		counts[v]++
	}
	return counts
}

// Align puts two word counts on the same bins: the union of their keys, sorted by UTF-8 bytes.
func Align(ref, cur map[string]float64) (words []string, p, q []float64) {
	words = make([]string, 0, len(ref))
	for w := range ref {
		words = append(words, w)
	}
	for w := range cur {
		if _, ok := ref[w]; !ok {
			words = append(words, w)
		}
	}
	slices.Sort(words)
	p, q = make([]float64, len(words)), make([]float64, len(words))
	for i, w := range words {
		p[i], q[i] = ref[w], cur[w]
	}
	return words, p, q
}
