package shift

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"keelson/internal/score"
)

// Distance says how far one cloud of embeddings lies from another.
type Distance struct {
	// Euclidean is the distance of the two means, ≥ 0, in the unit of the embeddings.
	Euclidean score.Value `json:"euclidean"`
	// Cosine is 1 − the cosine of the angle between the two means, 0..2; undefined when a mean is 0.
	Cosine score.Value `json:"cosine"`
	// MMD is the squared maximum mean discrepancy, about 0 (a little below by chance) when the clouds are alike, at most 2.
	MMD score.Value `json:"mmd"`
	// PValue is the chance of an MMD this large among alike clouds, 0..1, by permutation.
	PValue score.Value `json:"p_value"`
	// Gamma is the width of the kernel that MMD was taken with.
	Gamma float64 `json:"gamma"`
}

// CompareParams says how to compare. A field that is 0 takes its default.
type CompareParams struct {
	Rows         int     // most rows of either cloud that MMD looks at, drawn without replacement, 2..4000; 500
	Gamma        float64 // γ > 0 of the kernel; 1 / the median squared distance of the rows looked at
	Permutations int     // for the p-value, 1..10,000; 200
	Seed         uint64  // of the draw and the permutations
}

// Compare measures the distance of two clouds of embeddings, row by row vectors of one length. The means are over all
// rows; with the kernel k(x,y) = exp(−γ‖x−y‖²) over n and m rows drawn from them,
//
//	MMD² = Σ_{i≠j} k(xᵢ,xⱼ)/n(n−1) + Σ_{i≠j} k(yᵢ,yⱼ)/m(m−1) − 2 Σ k(xᵢ,yⱼ)/nm
//
// which notices any difference of the distributions, not only of the means. Its cost is that of (n+m)² distances. Equal
// arguments give equal results.
//
// It fails when a cloud has fewer than two rows, a row has another length or a number that is not finite (naming the row,
// counted from 1), or the numbers are too large for their squares.
//
// Source: Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), lemma 6 and §5.
func Compare(reference, current [][]float64, p CompareParams) (Distance, error) {
	var out Distance
	if p.Rows == 0 {
		p.Rows = 500
	}
	if p.Permutations == 0 {
		p.Permutations = 200
	}
	if p.Rows < 2 || p.Rows > 4000 || p.Permutations < 1 || p.Permutations > 10_000 || !(p.Gamma >= 0) || math.IsInf(p.Gamma, 0) {
		return out, errors.New("rows must lie between 2 and 4,000, permutations between 1 and 10,000, and gamma must not be negative")
	}
	if min(len(reference), len(current)) < 2 {
		return out, fmt.Errorf("clouds of %d and %d rows are too small to compare", len(reference), len(current))
	}
	d := len(reference[0])
	a, err := centre(reference, d)
	if err != nil {
		return out, fmt.Errorf("the reference: %w", err)
	}
	b, err := centre(current, d)
	if err != nil {
		return out, fmt.Errorf("the current sample: %w", err)
	}
	gap, dot, x, y := 0.0, 0.0, 0.0, 0.0
	for k := range a {
		gap = math.Hypot(gap, a[k]-b[k])
		x, y = math.Hypot(x, a[k]), math.Hypot(y, b[k])
	}
	for k := range a {
		if x > 0 && y > 0 {
			dot += a[k] / x * (b[k] / y)
		}
	}
	out.Euclidean, out.Cosine = score.Of(gap), score.Of(1-math.Max(-1, math.Min(1, dot)))
	if x == 0 || y == 0 {
		out.Cosine = score.Undefined("the mean of a cloud is 0 and has no direction")
	}
	r := rand.New(rand.NewPCG(p.Seed, 0x33d))
	rows := append(drawn(r, reference, p.Rows), drawn(r, current, p.Rows)...)
	n := min(len(reference), p.Rows)
	kernel, err := distances(rows)
	if err != nil {
		return out, err
	}
	if out.Gamma = p.Gamma; out.Gamma == 0 {
		out.Gamma = width(kernel, len(rows))
	}
	for i, v := range kernel {
		kernel[i] = math.Exp(-out.Gamma * v)
	}
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	found := discrepancy(kernel, order, n)
	larger := 1
	for range p.Permutations {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		if discrepancy(kernel, order, n) >= found-1e-12 {
			larger++
		}
	}
	out.MMD, out.PValue = score.Of(found), score.Of(float64(larger)/float64(p.Permutations+1))
	return out, nil
}

// centre is the mean row of a cloud.
func centre(rows [][]float64, d int) ([]float64, error) {
	mean := make([]float64, d)
	for i, row := range rows {
		if d == 0 || len(row) != d {
			return nil, fmt.Errorf("row %d has %d numbers and the first of the reference has %d", i+1, len(row), d)
		}
		for k, v := range row {
			if !valid(v) {
				return nil, fmt.Errorf("row %d holds %v, not a number", i+1, v)
			}
			mean[k] += v / float64(len(rows))
		}
	}
	return mean, nil
}

// drawn gives at most n rows.
func drawn(r *rand.Rand, rows [][]float64, n int) [][]float64 {
	if len(rows) <= n {
		return slices.Clone(rows)
	}
	out := make([][]float64, n)
	for i, k := range r.Perm(len(rows))[:n] {
		out[i] = rows[k]
	}
	return out
}

// distances gives the squared distances of all pairs, row by row.
func distances(rows [][]float64) ([]float64, error) {
	n := len(rows)
	out := make([]float64, n*n)
	for i, a := range rows {
		for j, b := range rows[:i] {
			sum := 0.0
			for k, v := range a {
				sum += (v - b[k]) * (v - b[k])
			}
			if !valid(sum) {
				return nil, errors.New("the numbers are too large to be compared")
			}
			out[i*n+j], out[j*n+i] = sum, sum
		}
	}
	return out, nil
}

// width is 1 over the median squared distance of different rows, or over their mean when most are equal.
func width(squares []float64, n int) float64 {
	v := make([]float64, 0, n*(n-1)/2)
	mean := 0.0
	for i := range n {
		for _, s := range squares[i*n : i*n+i] {
			v = append(v, s)
			mean += s / float64(n*(n-1)/2)
		}
	}
	if m := 1 / ranked(v, len(v)/2); valid(m) {
		return m
	}
	if m := 1 / mean; valid(m) {
		return m
	}
	return 1
}

// ranked is the value that would stand at place k if v were in order; it moves v's values (Hoare, Algorithm 65: Find, 1961).
func ranked(v []float64, k int) float64 {
	for low, high := 0, len(v)-1; low < high; {
		pivot, i, j := v[low+(high-low)/2], low, high
		for i <= j {
			for v[i] < pivot {
				i++
			}
			for pivot < v[j] {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k <= j:
			high = j
		case k >= i:
			low = i
		default:
			return v[k]
		}
	}
	return v[k]
}

// discrepancy is MMD² between the first n rows of the order and the rest.
func discrepancy(kernel []float64, order []int, n int) float64 {
	all := len(order)
	first := make([]float64, all) // 1 for rows of the first cloud
	for _, i := range order[:n] {
		first[i] = 1
	}
	both, one := 0.0, 0.0 // sums over pairs within the first cloud, and with at least one end in it
	total := 0.0
	for i := range all {
		within, sum := 0.0, 0.0
		for j, k := range kernel[i*all : i*all+i] {
			within += k * first[j]
			sum += k
		}
		total += sum
		if first[i] == 1 {
			both += within
			one += sum
		} else {
			one += within
		}
	}
	a, b := float64(n), float64(all-n)
	return 2*both/(a*(a-1)) + 2*(total-one)/(b*(b-1)) - 2*(one-both)/(a*b)
}
