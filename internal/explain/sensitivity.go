package explain

import (
	"math"
	"math/rand/v2"

	"keelson/internal/problem"
	"keelson/internal/score"
)

// Range is where a feature may lie, Low < High.
type Range struct{ Low, High float64 }

func checkRanges(ranges []Range) error {
	if len(ranges) == 0 {
		return problem.New(problem.Invalid, "Sensitivity needs at least one feature with its range.")
	}
	for j, r := range ranges {
		if width := r.High - r.Low; !(width > 0) || math.IsInf(width, 0) {
			return problem.New(problem.Invalid, "Feature %d ranges from %g to %g; the lower end has to be below the higher one, both finite.", j, r.Low, r.High)
		}
	}
	return nil
}

// Variance says which share of an answer's variance comes from each feature, when features are independent.
type Variance struct {
	First []score.Value `json:"first"` // by the feature alone
	Total []score.Value `json:"total"` // with all its interactions
}

// SobolSample draws the rows that Sobol wants answered, n blocks of features+2: a row A, A with one feature after the other
// from B, then B. A and B are a Latin hypercube over the ranges. It fails with problem.Invalid for a range that is
// none, or n < 1.
func SobolSample(rng *rand.Rand, ranges []Range, n int) ([]float64, error) {
	if err := checkRanges(ranges); err != nil {
		return nil, err
	}
	if n < 1 {
		return nil, problem.New(problem.Invalid, "A sample of %d blocks is empty; give at least 1.", n)
	}
	d := len(ranges)
	out := make([]float64, n*(d+2)*d)
	for j, r := range ranges {
		a, b := rng.Perm(n), rng.Perm(n)
		for i := range n {
			from := func(cell int) float64 { return r.Low + (r.High-r.Low)*(float64(cell)+rng.Float64())/float64(n) }
			x, z := from(a[i]), from(b[i])
			block := out[i*(d+2)*d:]
			for k := range d + 2 {
				v := x
				if k == j+1 || k == d+1 {
					v = z
				}
				block[k*d+j] = v
			}
		}
	}
	return out, nil
}

// Sobol returns the variance-based sensitivity indices of features from the answers to rows laid out as SobolSample does:
//
//	S_j  = mean( b · (ab_j − a) ) / V          T_j = mean( (a − ab_j)² ) / 2V
//
// over the blocks, the answers being centred by their mean and V the variance of all a and b. In the limit
// 0 ≤ S_j ≤ T_j ≤ 1; an estimate may lie a little outside. When the answer never changes, or one is not finite, they are
// undefined with the reason. It fails with problem.Invalid when answers are no whole number of blocks.
//
// Source: Saltelli et al., Variance based sensitivity analysis of model output, 2010 (first order, table 2b; total after
// Jansen, 1999).
func Sobol(answers []float64, features int) (Variance, error) {
	if features < 1 || len(answers) == 0 || len(answers)%(features+2) != 0 {
		return Variance{}, problem.New(problem.Invalid, "%d answers are no whole number of blocks of %d.", len(answers), features+2)
	}
	block := features + 2
	n := float64(len(answers) / block)
	center := average(answers)
	var ends []float64 // all a and b
	for i := 0; i < len(answers); i += block {
		ends = append(ends, answers[i], answers[i+block-1])
	}
	mean, variance := average(ends), 0.0
	for _, v := range ends {
		variance += (v - mean) * (v - mean) / float64(len(ends))
	}
	out := Variance{First: make([]score.Value, features), Total: make([]score.Value, features)}
	for j := range features {
		first, total := 0.0, 0.0
		for i := 0; i < len(answers); i += block {
			a, ab, b := answers[i]-center, answers[i+1+j]-center, answers[i+block-1]-center
			first += b * (ab - a)
			total += (a - ab) * (a - ab) / 2
		}
		if variance == 0 {
			out.First[j] = score.Undefined("the answer is always the same")
			out.Total[j] = out.First[j]
			continue
		}
		out.First[j], out.Total[j] = score.Of(first/n/variance), score.Of(total/n/variance)
	}
	return out, nil
}

func average(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// Effects are the elementary effects of one feature, in answer per full range of the feature.
type Effects struct {
	Mean score.Value `json:"mu"`      // with sign: which way it pushes
	Size score.Value `json:"mu_star"` // mean of the absolute effects, ≥ 0: how much it matters
	SD   score.Value `json:"sigma"`   // sample standard deviation, ≥ 0: how far that depends on where one stands
}

// MorrisSample draws n trajectories of features+1 rows: from a random point of a grid of levels, every feature moves once,
// in random order, by levels/(2(levels−1)) of its range. It fails with problem.Invalid for a range that is none, an
// odd number of levels, or n < 1.
func MorrisSample(rng *rand.Rand, ranges []Range, n, levels int) ([]float64, error) {
	if err := checkRanges(ranges); err != nil {
		return nil, err
	}
	if n < 1 || levels < 2 || levels%2 != 0 {
		return nil, problem.New(problem.Invalid, "%d trajectories on %d levels cannot be drawn; give at least 1 and an even number of levels.", n, levels)
	}
	d := len(ranges)
	var out []float64
	at := make([]int, d) // grid points, 0..levels−1
	add := func() {
		for j, r := range ranges {
			out = append(out, r.Low+(r.High-r.Low)*float64(at[j])/float64(levels-1))
		}
	}
	for range n {
		for j := range at {
			at[j] = rng.IntN(levels)
		}
		add()
		for _, j := range rng.Perm(d) {
			if at[j] += levels / 2; at[j] >= levels { // half the levels up or, where that leaves the grid, down
				at[j] -= levels
			}
			add()
		}
	}
	return out, nil
}

// Morris returns the elementary effects of every feature from trajectories of rows and their answers, laid out as by
// MorrisSample: each row of a trajectory differs from the one before in one feature, each feature moves once.
//
//	effect = (answer after − answer before) / (step / range)
//
// SD is undefined with one trajectory. It fails with problem.Invalid when the lengths do not fit or a trajectory moves
// otherwise, naming the row.
//
// Source: Morris, Factorial sampling plans for preliminary computational experiments, 1991; μ* from Campolongo, Cariboni,
// Saltelli, 2007.
func Morris(rows, answers []float64, ranges []Range) ([]Effects, error) {
	if err := checkRanges(ranges); err != nil {
		return nil, err
	}
	d := len(ranges)
	if len(answers) == 0 || len(answers)%(d+1) != 0 || len(rows) != len(answers)*d {
		return nil, problem.New(problem.Invalid, "%d answers and %d values are no whole number of trajectories of %d rows of %d features.", len(answers), len(rows), d+1, d)
	}
	effects := make([][]float64, d)
	for start := 0; start < len(answers); start += d + 1 {
		for i := start; i < start+d; i++ {
			moved := -1
			for j := range d {
				if rows[i*d+j] == rows[(i+1)*d+j] {
					continue
				}
				if moved >= 0 || len(effects[j]) != start/(d+1) {
					return nil, problem.New(problem.Invalid, "Row %d of the trajectories does not move exactly one feature that has not moved yet.", i+1)
				}
				moved = j
			}
			if moved < 0 {
				return nil, problem.New(problem.Invalid, "Row %d of the trajectories moves no feature.", i+1)
			}
			step := (rows[(i+1)*d+moved] - rows[i*d+moved]) / (ranges[moved].High - ranges[moved].Low)
			effects[moved] = append(effects[moved], (answers[i+1]-answers[i])/step)
		}
	}
	out := make([]Effects, d)
	for j, e := range effects {
		mean, size, squares := average(e), 0.0, 0.0
		for _, v := range e {
			size += math.Abs(v) / float64(len(e))
			squares += (v - mean) * (v - mean)
		}
		out[j] = Effects{score.Of(mean), score.Of(size), score.Undefined("there is only one trajectory")}
		if len(e) > 1 {
			out[j].SD = score.Of(math.Sqrt(squares / float64(len(e)-1)))
		}
	}
	return out, nil
}
