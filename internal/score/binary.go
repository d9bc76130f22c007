package score

import (
	"fmt"
	"math"
	"sort"
)

// Binary holds the scores of a two-class model against the truth. Make it with NewBinary.
type Binary struct {
	Confusion
	truth  []bool
	scores []float64
	order  []int // rows by score descending, ties in row order
	unit   bool  // every score lies in 0..1
}

// Confusion counts the four outcomes of a two-class decision.
type Confusion struct {
	TP int `json:"tp"`
	FP int `json:"fp"`
	TN int `json:"tn"`
	FN int `json:"fn"`
}

// NewBinary compares scores with the truth, row by row; a row is predicted positive when its score is at
// least threshold. It fails when the lengths differ or a score is NaN or infinite (naming the row,
// counted from 1). Measures of probabilities are undefined when a score lies outside 0..1.
func NewBinary(truth []bool, scores []float64, threshold float64) (*Binary, error) {
	if err := lengths(len(truth), len(scores)); err != nil {
		return nil, err
	}
	b := &Binary{truth: truth, scores: scores, unit: true, order: make([]int, len(scores))}
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, fmt.Errorf("the score of row %d is %v, not a number", i+1, s)
		}
		b.unit = b.unit && s >= 0 && s <= 1
		b.order[i] = i
		b.Confusion.Add(truth[i], s >= threshold)
	}
	sort.SliceStable(b.order, func(i, j int) bool { return scores[b.order[i]] > scores[b.order[j]] })
	return b, nil
}

// Add counts one decision.
func (c *Confusion) Add(truth, predicted bool) {
	switch {
	case truth && predicted:
		c.TP++
	case truth:
		c.FN++
	case predicted:
		c.FP++
	default:
		c.TN++
	}
}

const (
	noRows      = "there is no row"
	noPositives = "the truth has no positive row"
	noNegatives = "the truth has no negative row"
	oneClass    = "the truth has only one class"
	notUnit     = "a score lies outside 0..1"
)

// N returns the number of rows.
func (c Confusion) N() int { return c.TP + c.FP + c.TN + c.FN }

// Accuracy is the share of right decisions, 0..1; undefined without rows.
func (c Confusion) Accuracy() Value { return ratio(float64(c.TP+c.TN), float64(c.N()), noRows) }

// Precision is the share of predicted positives that are positive; undefined without predicted positives.
func (c Confusion) Precision() Value {
	return ratio(float64(c.TP), float64(c.TP+c.FP), "no row was predicted positive")
}

// Recall is the share of positives that were predicted positive; undefined without positives.
func (c Confusion) Recall() Value { return ratio(float64(c.TP), float64(c.TP+c.FN), noPositives) }

// Specificity is the share of negatives that were predicted negative; undefined without negatives.
func (c Confusion) Specificity() Value { return ratio(float64(c.TN), float64(c.TN+c.FP), noNegatives) }

// F1 is the harmonic mean of precision and recall, 2TP/(2TP+FP+FN); undefined when no row is positive,
// truly or predicted.
func (c Confusion) F1() Value {
	return ratio(2*float64(c.TP), float64(2*c.TP+c.FP+c.FN), "no row is positive, truly or predicted")
}

// Balanced is the mean of recall and specificity; undefined with one class.
func (c Confusion) Balanced() Value {
	r, s := c.Recall(), c.Specificity()
	if !r.OK() || !s.OK() {
		return Undefined(oneClass)
	}
	return Of((r.V + s.V) / 2)
}

// MCC is Matthews' correlation coefficient, −1..1; 0 when truth or prediction has one class (as in
// scikit-learn), undefined without rows.
func (c Confusion) MCC() Value {
	if c.N() == 0 {
		return Undefined(noRows)
	}
	tp, fp, tn, fn := float64(c.TP), float64(c.FP), float64(c.TN), float64(c.FN)
	d := math.Sqrt(tp+fp) * math.Sqrt(tp+fn) * math.Sqrt(tn+fp) * math.Sqrt(tn+fn)
	if d == 0 {
		return Of(0)
	}
	return Of((tp*tn - fp*fn) / d)
}

// Kappa is Cohen's kappa, the agreement beyond chance, ≤ 1; undefined with one class in the truth.
func (c Confusion) Kappa() Value {
	tp, fp, tn, fn := float64(c.TP), float64(c.FP), float64(c.TN), float64(c.FN)
	if tp+fn == 0 || tn+fp == 0 {
		return Undefined(oneClass)
	}
	n := tp + fp + tn + fn
	chance := ((tp+fn)*(tp+fp) + (tn+fp)*(tn+fn)) / (n * n)
	return ratio((tp+tn)/n-chance, 1-chance, oneClass)
}

// LogLoss is the mean −ln of the probability given to what happened, in nats, ≥ 0; probabilities are
// clipped at the float64 epsilon as in scikit-learn. Undefined without rows or with scores outside 0..1.
func (b *Binary) LogLoss() Value {
	const eps = 0x1p-52
	sum := 0.0
	for i, s := range b.scores {
		if !b.truth[i] {
			s = 1 - s
		}
		sum -= math.Log(math.Min(1-eps, math.Max(eps, s)))
	}
	return b.mean(sum)
}

// Brier is the mean squared difference of score and outcome (0 or 1), 0..1. Undefined as LogLoss.
func (b *Binary) Brier() Value {
	sum := 0.0
	for i, s := range b.scores {
		d := s - b.outcome(i)
		sum += d * d
	}
	return b.mean(sum)
}

func (b *Binary) outcome(i int) float64 {
	if b.truth[i] {
		return 1
	}
	return 0
}

func (b *Binary) mean(sum float64) Value {
	if !b.unit {
		return Undefined(notUnit)
	}
	return ratio(sum, float64(len(b.scores)), noRows)
}

// Calibration returns the expected and the maximum calibration error over 10 bins of equal width: the
// mean (weighted by rows) and the largest |mean score − share of positives| of a bin, 0..1. A score s
// lies in bin min(⌊10·s⌋, 9). Undefined as LogLoss.
//
// Source: Naeini, Cooper & Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning,
// AAAI 2015.
func (b *Binary) Calibration() (ece, mce Value) {
	if !b.unit {
		return Undefined(notUnit), Undefined(notUnit)
	}
	if len(b.scores) == 0 {
		return Undefined(noRows), Undefined(noRows)
	}
	var n, s, y [10]float64
	for i, v := range b.scores {
		k := min(int(10*v), 9)
		n[k]++
		s[k] += v
		y[k] += b.outcome(i)
	}
	sum, largest := 0.0, 0.0
	for k := range n {
		if n[k] > 0 {
			gap := math.Abs(s[k]-y[k]) / n[k]
			sum += gap * n[k]
			largest = math.Max(largest, gap)
		}
	}
	return Of(sum / float64(len(b.scores))), Of(largest)
}

// ROCAUC is the area under the ROC curve: the probability that a positive row scores above a negative
// one, ties counting half. 0..1, undefined with one class.
func (b *Binary) ROCAUC() Value { auc, _ := b.curve(); return auc }

// KS is the largest difference of true and false positive rate over all thresholds, 0..1; undefined with
// one class.
func (b *Binary) KS() Value { _, ks := b.curve(); return ks }

// Gini is 2·ROCAUC − 1.
func (b *Binary) Gini() Value {
	if a := b.ROCAUC(); a.OK() {
		return Of(2*a.V - 1)
	}
	return Undefined(oneClass)
}

// curve walks the ROC curve, one step for each distinct score.
func (b *Binary) curve() (auc, ks Value) {
	p, n := float64(b.TP+b.FN), float64(b.TN+b.FP)
	if p == 0 || n == 0 {
		return Undefined(oneClass), Undefined(oneClass)
	}
	tp, fp, area, gap := 0.0, 0.0, 0.0, 0.0
	b.steps(func(dtp, dfp float64) {
		area += dfp * (tp + dtp/2)
		tp, fp = tp+dtp, fp+dfp
		gap = math.Max(gap, tp/p-fp/n)
	})
	return Of(area / (p * n)), Of(gap)
}

// PRAUC is average precision, Σ (R_k − R_{k−1})·P_k over the distinct scores, 0..1; undefined without
// positives.
func (b *Binary) PRAUC() Value {
	p := float64(b.TP + b.FN)
	if p == 0 {
		return Undefined(noPositives)
	}
	tp, fp, area := 0.0, 0.0, 0.0
	b.steps(func(dtp, dfp float64) {
		tp, fp = tp+dtp, fp+dfp
		area += dtp / p * tp / (tp + fp)
	})
	return Of(area)
}

// steps calls fn with the positives and negatives of each distinct score, from the highest down.
func (b *Binary) steps(fn func(positives, negatives float64)) {
	for i := 0; i < len(b.order); {
		score, tp, fp := b.scores[b.order[i]], 0.0, 0.0
		for ; i < len(b.order) && b.scores[b.order[i]] == score; i++ {
			if b.truth[b.order[i]] {
				tp++
			} else {
				fp++
			}
		}
		fn(tp, fp)
	}
}

// Lift is the precision among the first ⌈p·N⌉ rows by score, ties in row order, over the share of
// positives; 0 < p ≤ 1. Undefined with one class.
func (b *Binary) Lift(p float64) Value {
	positives := float64(b.TP + b.FN)
	if positives == 0 || b.TN+b.FP == 0 {
		return Undefined(oneClass)
	}
	// The small slack keeps 0.05·1200 = 60.00000000000001 from becoming 61 rows.
	k := min(max(int(math.Ceil(p*float64(len(b.order))-1e-9)), 1), len(b.order))
	hits := 0.0
	for _, i := range b.order[:k] {
		hits += b.outcome(i)
	}
	return Of(hits / float64(k) / (positives / float64(len(b.order))))
}

// Metrics returns every measure under its name: accuracy, precision, recall, specificity, f1,
// balanced_accuracy, mcc, kappa, log_loss, brier, ece, roc_auc, pr_auc, ks, gini.
func (b *Binary) Metrics() map[string]Value {
	ece, _ := b.Calibration()
	return map[string]Value{
		"accuracy": b.Accuracy(), "precision": b.Precision(), "recall": b.Recall(), "specificity": b.Specificity(),
		"f1": b.F1(), "balanced_accuracy": b.Balanced(), "mcc": b.MCC(), "kappa": b.Kappa(),
		"log_loss": b.LogLoss(), "brier": b.Brier(), "ece": ece,
		"roc_auc": b.ROCAUC(), "pr_auc": b.PRAUC(), "ks": b.KS(), "gini": b.Gini(),
	}
}
