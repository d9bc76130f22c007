package shift

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"keelson/internal/boost"
	"keelson/internal/score"
)

// Separation says how well a classifier tells rows of the reference from current ones.
type Separation struct {
	// AUC is the ROC AUC over rows that the classifier was not trained on: 0.5 when nothing tells the samples apart, 1 when
	// everything does. It may fall a little below 0.5 by chance.
	AUC      score.Value    `json:"auc"`
	Interval score.Interval `json:"interval"` // DeLong, 95 %
	// Importance is each column's share of what tells the samples apart, summing to 1; meaningful only when AUC is high.
	Importance []float64 `json:"importance"`
	// Reference and Current count the rows that were looked at.
	Reference int `json:"reference"`
	Current   int `json:"current"`
}

// SeparateParams says how to train. A field that is 0 takes its default.
type SeparateParams struct {
	Folds int          // 2..50; 5
	Rows  int          // most rows looked at of either sample, drawn without replacement; 20,000
	Seed  uint64       // of that draw and of the folds
	Learn boost.Params // 60 trees of 16 leaves unless set
}

// Separate trains a classifier to tell the two samples apart, with each fold held out in turn (folds hold equal shares of
// both samples), and measures it on the rows held out. Both samples have the same columns; missing values are a value of
// their own here, so that a rising rate of them is noticed. Equal arguments give equal results.
//
// It fails when the columns differ or a sample has fewer rows than twice the folds.
//
// Source: Rabanser, Günnemann & Lipton, Failing Loudly, NeurIPS 2019.
func Separate(reference, current []boost.Column, p SeparateParams) (Separation, error) {
	var none Separation
	if p.Folds == 0 {
		p.Folds = 5
	}
	if p.Rows == 0 {
		p.Rows = 20_000
	}
	if p.Learn.Trees == 0 {
		p.Learn.Trees = 60
	}
	if p.Learn.Leaves == 0 {
		p.Learn.Leaves = 16
	}
	n, err := boost.Height(reference)
	if err != nil {
		return none, fmt.Errorf("the reference: %w", err)
	}
	m, err := boost.Height(current)
	if err != nil {
		return none, fmt.Errorf("the current sample: %w", err)
	}
	if len(reference) != len(current) {
		return none, fmt.Errorf("the reference has %d columns and the current sample %d", len(reference), len(current))
	}
	if p.Folds < 2 || p.Folds > 50 || min(n, m, p.Rows) < 2*p.Folds {
		return none, fmt.Errorf("%d and %d rows are too few for %d folds", n, m, p.Folds)
	}
	r := rand.New(rand.NewPCG(p.Seed, 0x5e9a))
	from, to := r.Perm(n)[:min(n, p.Rows)], r.Perm(m)[:min(m, p.Rows)]
	table := make([]boost.Column, len(reference))
	for k := range table {
		a, b := reference[k].Rows(from), current[k].Rows(to)
		if (a.Numbers == nil) != (b.Numbers == nil) {
			return none, fmt.Errorf("column %d holds numbers in one sample and words in the other", k+1)
		}
		table[k] = boost.Column{Words: append(a.Words, b.Words...)}
		if a.Numbers != nil {
			table[k] = boost.Column{Numbers: append(a.Numbers, b.Numbers...)}
		}
	}
	n, m = len(from), len(to)
	truth, target, scores := make([]bool, n+m), make([]float64, n+m), make([]float64, n+m)
	for i := n; i < n+m; i++ {
		truth[i], target[i] = true, 1
	}
	out := Separation{Importance: make([]float64, len(table)), Reference: n, Current: m}
	for fold := range p.Folds {
		var learn, held []int
		for i := range truth { // rows are in random order already
			at := i
			if truth[i] {
				at = i - n
			}
			if at%p.Folds == fold {
				held = append(held, i)
			} else {
				learn = append(learn, i)
			}
		}
		p.Learn.Seed = p.Seed + uint64(fold)
		model, err := boost.Fit(pick(table, learn), score.Pick(target, learn), boost.Logistic, p.Learn)
		if err != nil {
			return none, err
		}
		got, err := model.Predict(pick(table, held))
		if err != nil {
			return none, err
		}
		for k, i := range held {
			scores[i] = got[k]
		}
		for k, share := range model.Importance() {
			out.Importance[k] += share
		}
	}
	sum := 0.0
	for _, v := range out.Importance {
		sum += v
	}
	for k := range out.Importance {
		if sum > 0 {
			out.Importance[k] /= sum
		}
	}
	b, err := score.NewBinary(truth, scores, 0.5)
	if err != nil {
		return none, errors.Join(errors.New("the classifier gave no score"), err)
	}
	out.AUC, out.Interval = b.ROCAUC(), b.ROCAUCInterval(0.95)
	return out, nil
}

func pick(table []boost.Column, rows []int) []boost.Column {
	out := make([]boost.Column, len(table))
	for k, c := range table {
		out[k] = c.Rows(rows)
	}
	return out
}
