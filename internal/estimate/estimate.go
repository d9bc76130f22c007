// Package estimate says how well a model performs before its outcomes are known: a classifier from its own
// probabilities (CBPE), a regression from what a second model learnt of its errors (DLE).
//
// Confidence-based performance estimation (CBPE) calibrates the scores on a reference whose outcomes are known; from
// then on each row counts as correct with its calibrated probability, and the expected confusion matrix, ROC curve and
// precision-recall curve give the expected metrics. It is right when the inputs shift and the meaning of the inputs does
// not (covariate shift); it cannot see that the world answers differently than it did (concept drift). An estimate must
// therefore always be shown as one, with its interval, and the realised value beside it once outcomes arrive.
//
// Source: Kivimäki et al., Confidence-based Estimators for Predictive Performance in Model Monitoring, JAIR 2025.
//
// The package does no I/O and keeps no state but what Fit gives.
package estimate

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"

	"keelson/internal/score"
)

// The metrics that are estimated.
const (
	ROCAUC           = "roc_auc"
	AveragePrecision = "average_precision"
	F1               = "f1"
	Precision        = "precision"
	Recall           = "recall"
	Specificity      = "specificity"
	Accuracy         = "accuracy"
)

// Metrics lists them.
var Metrics = []string{ROCAUC, AveragePrecision, F1, Precision, Recall, Specificity, Accuracy}

// Estimate is one expected metric: of a classifier in 0..1, of a regression ≥ 0 in the unit of the metric.
type Estimate struct {
	Value score.Value `json:"value"`
	// Error is the standard deviation that the metric would have for chance alone over samples of this size.
	Error score.Value `json:"sampling_error"`
	// Lower and Upper are Value ∓ three times Error, within the metric's range.
	Lower score.Value `json:"lower"`
	Upper score.Value `json:"upper"`
}

// CBPE is fitted to a reference. It is safe for concurrent use.
type CBPE struct {
	calibrated bool
	knots      Isotonic
	errors     map[string]spread
}

// spread is the standard deviation of one row's part in a metric and the share of rows that have a part.
type spread struct{ sd, share float64 }

// Calibrated tells whether scores are mapped to probabilities; they are not when they are good probabilities already.
func (c *CBPE) Calibrated() bool { return c.calibrated }

// Probability is the calibrated score.
func (c *CBPE) Probability(s float64) float64 {
	if !c.calibrated {
		return s
	}
	return c.knots.At(s)
}

// Fit learns from rows whose outcome is known: the score of the positive class in 0..1, the decision taken from it, and
// the outcome. At least 20 rows with both outcomes are needed.
func Fit(scores []float64, predicted, truth []bool) (*CBPE, error) {
	if err := check(scores, predicted); err != nil {
		return nil, err
	}
	if len(truth) != len(scores) {
		return nil, fmt.Errorf("%d scores and %d outcomes do not fit together", len(scores), len(truth))
	}
	positives := 0
	outcomes := make([]float64, len(truth))
	for i, t := range truth {
		if t {
			positives++
			outcomes[i] = 1
		}
	}
	if len(scores) < 20 || positives == 0 || positives == len(truth) {
		return nil, errors.New("an estimate needs a reference of at least 20 rows with outcomes of both kinds")
	}
	order := byValue(scores)
	c := &CBPE{calibrated: improves(order, scores, outcomes, truth)}
	if c.calibrated {
		c.knots = fitIsotonic(inOrder(order, scores, outcomes))
	}
	c.errors = spreads(order, scores, predicted, truth, positives)
	return c, nil
}

func check(scores []float64, predicted []bool) error {
	if len(scores) != len(predicted) {
		return fmt.Errorf("%d scores and %d decisions do not fit together", len(scores), len(predicted))
	}
	for i, s := range scores {
		if !(s >= 0 && s <= 1) {
			return fmt.Errorf("score %d is %v; an estimate needs probabilities between 0 and 1", i, s)
		}
	}
	return nil
}

const folds = 10

// improves tells whether calibration lowers the calibration error of rows it was not fitted on: a tenth of the rows of each
// class is held out in turn, drawn by splits, of many rows simply every tenth one. order sorts the rows by their scores.
func improves(order []int, scores, outcomes []float64, truth []bool) bool {
	positives := 0
	for _, t := range truth {
		if t {
			positives++
		}
	}
	if n := len(truth); n <= drawn && positives > 1 && positives < n-1 {
		return improvesDrawn(order, scores, outcomes, truth)
	}
	seen := [2]int{}
	fold := make([]int, len(scores))
	for i, t := range truth {
		k := 0
		if t {
			k = 1
		}
		fold[i] = seen[k] % folds
		seen[k]++
	}
	mapped := make([]float64, len(scores))
	x, y := inOrder(order, scores, outcomes)
	held := make([]int8, len(order))
	for k, i := range order {
		held[k] = int8(fold[i])
	}
	otherX, otherY := make([]float64, 0, len(x)), make([]float64, 0, len(x))
	for f := range int8(folds) {
		otherX, otherY = otherX[:0], otherY[:0]
		for k := range held {
			if held[k] != f {
				otherX, otherY = append(otherX, x[k]), append(otherY, y[k])
			}
		}
		m := fitIsotonic(otherX, otherY)
		for k := range held { // one after another, neighbours fall between the same knots
			if held[k] == f {
				mapped[order[k]] = m.At(x[k])
			}
		}
	}
	return calibrationError(order, scores, outcomes) > calibrationError(byValue(mapped), mapped, outcomes)
}

// calibrationError is the expected calibration error over ten bins of equally many rows; order sorts them by p.
func calibrationError(order []int, p, outcomes []float64) float64 {
	n, total := len(p), 0.0
	for b := range folds {
		lo, hi := b*n/folds, (b+1)*n/folds
		sum := 0.0
		for _, i := range order[lo:hi] {
			sum += p[i] - outcomes[i]
		}
		total += math.Abs(sum)
	}
	return total / float64(n)
}

// byValue orders rows by their value, equal ones as they stand: by the bytes of the values from the lowest on, which for
// many rows takes a fifth of the time of comparing them.
func byValue(v []float64) []int {
	type row struct {
		key uint64
		at  int
	}
	rows, next := make([]row, len(v)), make([]row, len(v))
	var count [8][256]int
	for i, x := range v {
		key := math.Float64bits(x + 0) // no zero below zero
		if key>>63 == 0 {
			key |= 1 << 63
		} else {
			key = ^key
		}
		rows[i] = row{key, i}
		for b := range count {
			count[b][byte(key>>(8*b))]++
		}
	}
	for b := range count {
		at, single := 0, false
		for k, n := range count[b] {
			single = single || n == len(v)
			count[b][k], at = at, at+n
		}
		if single {
			continue // all the same here
		}
		for _, r := range rows {
			k := byte(r.key >> (8 * b))
			next[count[b][k]] = r
			count[b][k]++
		}
		rows, next = next, rows
	}
	order := make([]int, len(v))
	for i, r := range rows {
		order[i] = r.at
	}
	return order
}

// spreads gives, per metric, how much one relevant row of the reference varies; order sorts the rows by their scores.
func spreads(order []int, scores []float64, predicted, truth []bool, positives int) map[string]spread {
	var c score.Confusion
	for i := range truth {
		c.Add(truth[i], predicted[i])
	}
	n := float64(len(truth))
	tp, fp, tn, fn := float64(c.TP), float64(c.FP), float64(c.TN), float64(c.FN)
	out := map[string]spread{
		Precision:   coin(tp, fp, 1, n),
		Recall:      coin(tp, fn, 1, n),
		Specificity: coin(tn, fp, 1, n),
		Accuracy:    coin(tp+tn, fp+fn, 1, n),
		F1:          coin(tp, fp+fn, (tp+fp+fn)/math.Max(tp+(fp+fn)/2, 1e-300), n),
		ROCAUC:      rankSpread(order, truth, positives),
	}
	out[AveragePrecision] = resampled(order, scores, truth)
	return out
}

// coin is the spread of rows that count as height when they are hits and 0 otherwise.
func coin(hits, misses, height, n float64) spread {
	if hits+misses == 0 {
		return spread{math.NaN(), 0}
	}
	p := hits / (hits + misses)
	return spread{height * math.Sqrt(p*(1-p)), (hits + misses) / n}
}

// rankSpread looks at ROC AUC as the mean over positives of the share of negatives ranked below each. With more
// positives than negatives the roles are exchanged.
func rankSpread(order []int, truth []bool, positives int) spread {
	rare := true
	if 2*positives > len(truth) {
		rare, positives = false, len(truth)-positives
		order = slices.Clone(order)
		slices.Reverse(order)
	}
	others := float64(len(truth) - positives)
	below, sum, squares, k := 0.0, 0.0, 0.0, 0.0
	for _, i := range order {
		if truth[i] != rare {
			below++
			continue
		}
		v := below / others
		k++
		sum += v
		squares += v * v
	}
	mean := sum / k
	return spread{math.Sqrt(math.Max(0, squares/k-mean*mean)), float64(positives) / float64(len(truth))}
}

// resampled draws 50 samples of half the reference (at most 50,000 rows) and takes the spread of their average
// precision as that of a sample of this size. The draw is the same every time.
func resampled(order []int, scores []float64, truth []bool) spread {
	const draws = 50
	size := min(len(scores)/2, 50_000)
	r := rand.New(rand.NewPCG(uint64(len(scores)), 50))
	s := newSample(order, scores, truth)
	sum, squares, n := 0.0, 0.0, 0.0
	for range draws {
		for range size {
			s.draw(r.IntN(len(scores)))
		}
		if v, ok := s.averagePrecision(); ok {
			sum, squares, n = sum+v, squares+v*v, n+1
		}
	}
	if n == 0 {
		return spread{math.NaN(), 0}
	}
	mean := sum / n
	return spread{math.Sqrt(math.Max(0, squares/n-mean*mean)) * math.Sqrt(float64(size)), 1}
}

// sample is rows drawn with replacement, kept in the order of their scores: a bit for each row that was drawn, so that
// looking through a sample passes by the others.
type sample struct {
	place     []int32 // of a row in the order
	level     []int32 // by place: grows with the score
	positive  []bool  // by place
	drawn     []uint16
	seen      []uint64
	positives float64
}

func newSample(order []int, scores []float64, truth []bool) *sample {
	n := len(order)
	s := &sample{place: make([]int32, n), level: make([]int32, n), positive: make([]bool, n), drawn: make([]uint16, n), seen: make([]uint64, (n+63)/64)}
	for k, i := range order {
		s.place[i], s.positive[k] = int32(k), truth[i]
		if k > 0 {
			s.level[k] = s.level[k-1]
			if scores[order[k-1]] != scores[i] {
				s.level[k]++
			}
		}
	}
	return s
}

func (s *sample) draw(row int) {
	k := s.place[row]
	s.drawn[k]++ // of 50,000 draws at most all
	s.seen[k/64] |= 1 << (k % 64)
	if s.positive[k] {
		s.positives++
	}
}

// averagePrecision is score.Binary's PRAUC of the sample, which is empty afterwards. ok is false without positives.
func (s *sample) averagePrecision() (v float64, ok bool) {
	tp, all, area, hits, some, level := 0.0, 0.0, 0.0, 0.0, 0.0, int32(-1)
	step := func() {
		if some > 0 {
			tp, all = tp+hits, all+some
			area += hits / s.positives * tp / all
			hits, some = 0, 0
		}
	}
	for w := len(s.seen) - 1; w >= 0; w-- {
		for left := s.seen[w]; left != 0; {
			b := 63 - bits.LeadingZeros64(left)
			left &^= 1 << b
			k := w*64 + b
			n := float64(s.drawn[k])
			s.drawn[k] = 0
			if s.level[k] != level {
				step()
				level = s.level[k]
			}
			some += n
			if s.positive[k] {
				hits += n
			}
		}
		s.seen[w] = 0
	}
	step()
	ok = s.positives > 0
	s.positives = 0
	return area, ok
}

// Estimate gives the expected metrics of rows whose outcomes are not known. It fails when scores and decisions do not
// fit together or a score is no probability; for no rows every metric is undefined.
func (c *CBPE) Estimate(scores []float64, predicted []bool) (map[string]Estimate, error) {
	if err := check(scores, predicted); err != nil {
		return nil, err
	}
	out := map[string]Estimate{}
	if len(scores) == 0 {
		none := score.Undefined("there are no rows")
		for _, m := range Metrics {
			out[m] = Estimate{none, none, none, none}
		}
		return out, nil
	}
	p := make([]float64, len(scores))
	var tp, fp, fn, tn float64
	for i, s := range scores {
		p[i] = c.Probability(s)
		if predicted[i] {
			tp, fp = tp+p[i], fp+1-p[i]
		} else {
			fn, tn = fn+p[i], tn+1-p[i]
		}
	}
	auc, ap := curves(p, scores)
	for name, v := range map[string]score.Value{
		ROCAUC: auc, AveragePrecision: ap,
		F1:          share(tp, tp+(fp+fn)/2, "no positive is expected or predicted"),
		Precision:   share(tp, tp+fp, "nothing is predicted positive"),
		Recall:      share(tp, tp+fn, "no positive is expected"),
		Specificity: share(tn, tn+fp, "no negative is expected"),
		Accuracy:    share(tp+tn, float64(len(p)), ""),
	} {
		out[name] = c.interval(name, v, len(p))
	}
	return out, nil
}

func share(a, b float64, why string) score.Value {
	if b == 0 {
		return score.Undefined(why)
	}
	return score.Of(a / b)
}

func (c *CBPE) interval(name string, v score.Value, rows int) Estimate {
	s := c.errors[name]
	return within(v, s.sd/math.Sqrt(float64(rows)*s.share))
}

// curves gives the expected ROC AUC and average precision of rows ranked by their raw score, each of which is positive
// with probability p.
func curves(p, scores []float64) (auc, ap score.Value) {
	order := byValue(scores)
	slices.Reverse(order)
	total := 0.0
	for _, v := range p {
		total += v
	}
	rows := float64(len(p))
	if total <= 0 || total >= rows {
		why := "only one class is expected"
		return score.Undefined(why), score.Undefined(why)
	}
	tps, fps, area, precision := 0.0, 0.0, 0.0, 0.0
	for k, i := range order {
		area += (1 - p[i]) * (tps + p[i]/2)
		tps, fps = tps+p[i], fps+1-p[i]
		precision += p[i] * tps / float64(k+1)
	}
	return score.Of(area / (total * (rows - total))), score.Of(precision / total)
}
