package explain

import (
	"math"
	"math/rand/v2"
	"slices"

	"keelson/internal/problem"
	"keelson/internal/score"
)

// Importance says what a model's quality loses when single features are shuffled.
type Importance struct {
	Baseline score.Value `json:"baseline"` // quality on the rows as they are
	Features []Drop      `json:"features"` // in the order of the features
}

// Drop is what one feature's shuffling costs: baseline less quality after, in the unit of the quality; negative when the
// model did better without.
type Drop struct {
	Drops []score.Value `json:"drops"` // one per permutation
	Mean  score.Value   `json:"mean"`
	SD    score.Value   `json:"sd"` // population standard deviation of Drops
}

// Permutations draws repeats permutations of n rows for each of features, as Permute takes them.
func Permutations(rng *rand.Rand, features, repeats, n int) [][][]int {
	out := make([][][]int, features)
	for j := range out {
		for range repeats {
			out[j] = append(out[j], rng.Perm(n))
		}
	}
	return out
}

// Permute measures permutation importance: repeat r of feature j gives row i the value of feature j of row
// permutations[j][r][i] and asks predict and quality again. quality judges the answers, row by row; more has to be better
// (hand in the negative of a loss). Where it is undefined, before or after, so are the drop and the feature's mean.
//
// Features that are correlated share their importance or hide each other's: a drop of 0 says the model can do without this
// feature as long as it has the others.
//
// It fails with problem.Invalid when rows are no whole number of rows or a permutation is none, and with what predict
// fails with. Time: 1 + features · repeats predictions of all rows.
//
// Source: Breiman, Random forests, 2001; Fisher, Rudin, Dominici, All models are wrong, but many are useful, 2019.
func Permute(predict Predict, rows []float64, features int, permutations [][][]int, quality func(answers []float64) score.Value) (Importance, error) {
	if features < 1 || len(rows) == 0 || len(rows)%features != 0 {
		return Importance{}, problem.New(problem.Invalid, "%d values are no whole number of rows of %d features.", len(rows), features)
	}
	if len(permutations) != features {
		return Importance{}, problem.New(problem.Invalid, "There are permutations for %d features of %d.", len(permutations), features)
	}
	n := len(rows) / features
	answers, err := predict.call(rows, features)
	if err != nil {
		return Importance{}, err
	}
	out := Importance{Baseline: quality(answers), Features: make([]Drop, features)}
	shuffled := slices.Clone(rows)
	seen := make([]int, n)
	mark := 0
	for j, repeats := range permutations {
		if len(repeats) == 0 {
			return Importance{}, problem.New(problem.Invalid, "Feature %d has no permutation; give at least one.", j)
		}
		d := &out.Features[j]
		for r, order := range repeats {
			mark++
			whole := len(order) == n
			for i, from := range order {
				if !whole || from < 0 || from >= n || seen[from] == mark {
					whole = false
					break
				}
				seen[from] = mark
				shuffled[i*features+j] = rows[from*features+j]
			}
			if !whole {
				return Importance{}, problem.New(problem.Invalid, "Permutation %d of feature %d does not name each of the %d rows once.", r, j, n)
			}
			if answers, err = predict.call(shuffled, features); err != nil {
				return Importance{}, err
			}
			d.Drops = append(d.Drops, less(out.Baseline, quality(answers)))
		}
		for i := range n {
			shuffled[i*features+j] = rows[i*features+j]
		}
		d.Mean, d.SD = spread(d.Drops)
	}
	return out, nil
}

func less(a, b score.Value) score.Value {
	switch {
	case !a.OK():
		return a
	case !b.OK():
		return b
	}
	return score.Of(a.V - b.V)
}

// spread gives mean and population standard deviation, undefined when one of the values is.
func spread(values []score.Value) (mean, sd score.Value) {
	sum, n := 0.0, float64(len(values))
	for _, v := range values {
		if !v.OK() {
			return v, v
		}
		sum += v.V
	}
	squares := 0.0
	for _, v := range values {
		squares += (v.V - sum/n) * (v.V - sum/n)
	}
	return score.Of(sum / n), score.Of(math.Sqrt(squares / n))
}
