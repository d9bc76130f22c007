package estimate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"keelson/internal/score"
)

// Multiclass is CBPE for several classes: the probabilities of each class are calibrated against all others, the calibrated
// ones of a row are made to add up to 1, and each metric is the mean of what is expected of the classes, each counting the
// same (macro average); accuracy is the mean calibrated probability of the class that was answered. It is fitted to a
// reference and safe for concurrent use.
//
// A class of which the reference holds no row, or nothing else, cannot be calibrated: it keeps its probabilities and is left
// out of the averages.
//
// Source: the multiclass CBPE of NannyML 0.13, whose values the tests hold it against.
type Multiclass struct {
	classes  []*CBPE // nil: left out
	accuracy float64 // standard deviation of one row's being right
}

// mostClasses bounds the classes of an estimate.
const mostClasses = 1000

// rankAllowance widens the sampling error of the mean ROC AUC of several classes: those of the single classes depend on
// each other.
const rankAllowance = 1.2

// FitMulticlass learns from rows whose class is known: p[class][row] in 0..1, the number of the class that was answered and
// that of the true one. At least 20 rows and two classes that were true are needed.
func FitMulticlass(p [][]float64, predicted, truth []int) (*Multiclass, error) {
	if err := checkClasses(p, predicted); err != nil {
		return nil, err
	}
	if len(truth) != len(predicted) {
		return nil, fmt.Errorf("%d answers and %d outcomes do not fit together", len(predicted), len(truth))
	}
	n := len(truth)
	m := &Multiclass{classes: make([]*CBPE, len(p))}
	right := 0.0
	seen := make([]int, len(p))
	for i, y := range truth {
		if y < 0 || y >= len(p) {
			return nil, fmt.Errorf("the outcome of row %d is class %d, outside of 0..%d", i, y, len(p)-1)
		}
		seen[y]++
		if y == predicted[i] {
			right++
		}
	}
	if n < 20 {
		return nil, errors.New("an estimate needs a reference of at least 20 rows with outcomes")
	}
	right /= float64(n)
	m.accuracy = math.Sqrt(right * (1 - right))
	is, said := make([]bool, n), make([]bool, n)
	outcomes := make([]float64, n)
	used := 0
	for k := range p {
		if seen[k] == 0 || seen[k] == n {
			continue
		}
		for i := range n {
			is[i], said[i], outcomes[i] = truth[i] == k, predicted[i] == k, 0
			if is[i] {
				outcomes[i] = 1
			}
		}
		order := byValue(p[k])
		c := &CBPE{calibrated: improves(order, p[k], outcomes, is)}
		if c.calibrated {
			c.knots = fitIsotonic(inOrder(order, p[k], outcomes))
		}
		c.errors = spreads(order, p[k], said, is, seen[k])
		// Of several classes one row's part in F1 is its being a hit, without regard to its weight.
		hits, misses := 0.0, 0.0
		for i := range n {
			switch {
			case is[i] && said[i]:
				hits++
			case is[i] != said[i]:
				misses++
			}
		}
		c.errors[F1] = coin(hits, misses, 1, float64(n))
		m.classes[k] = c
		used++
	}
	if used < 2 {
		return nil, errors.New("an estimate needs a reference with outcomes of at least two classes")
	}
	return m, nil
}

func checkClasses(p [][]float64, predicted []int) error {
	if len(p) < 2 || len(p) > mostClasses {
		return fmt.Errorf("an estimate of several classes needs 2 to %d of them, there are %d", mostClasses, len(p))
	}
	for k := range p {
		if len(p[k]) != len(predicted) {
			return fmt.Errorf("%d probabilities of class %d and %d answers do not fit together", len(p[k]), k, len(predicted))
		}
		for i, v := range p[k] {
			if !(v >= 0 && v <= 1) {
				return fmt.Errorf("probability %d of class %d is %v; an estimate needs probabilities between 0 and 1", i, k, v)
			}
		}
	}
	for i, y := range predicted {
		if y < 0 || y >= len(p) {
			return fmt.Errorf("the answer %d is class %d, outside of 0..%d", i, y, len(p)-1)
		}
	}
	return nil
}

// Probabilities are the calibrated ones, as [class][row]; those of a row add up to 1. Rows where all of them are 0 get equal
// ones.
func (m *Multiclass) Probabilities(p [][]float64) [][]float64 {
	out := make([][]float64, len(p))
	if len(p) == 0 {
		return out
	}
	total := make([]float64, len(p[0]))
	for k := range p {
		out[k] = make([]float64, len(p[k]))
		for i, v := range p[k] {
			if k < len(m.classes) && m.classes[k] != nil {
				v = m.classes[k].Probability(v)
			}
			out[k][i] = v
			total[i] += v
		}
	}
	for k := range out {
		for i := range out[k] {
			if total[i] > 0 {
				out[k][i] /= total[i]
			} else {
				out[k][i] = 1 / float64(len(p))
			}
		}
	}
	return out
}

// Estimate gives the expected metrics of rows whose outcomes are not known: p[class][row] and the number of the class that
// was answered. Precision, recall, specificity and F1 of a class of which nothing is expected and nothing predicted are 0.
// It fails when shapes do not fit or a number is no probability; for no rows every metric is undefined.
func (m *Multiclass) Estimate(p [][]float64, predicted []int) (map[string]Estimate, error) {
	if len(p) != len(m.classes) {
		return nil, fmt.Errorf("there are probabilities of %d classes, the reference has %d", len(p), len(m.classes))
	}
	if err := checkClasses(p, predicted); err != nil {
		return nil, err
	}
	out := map[string]Estimate{}
	n := len(predicted)
	if n == 0 {
		none := score.Undefined("there are no rows")
		for _, name := range Metrics {
			out[name] = Estimate{none, none, none, none}
		}
		return out, nil
	}
	calibrated := m.Probabilities(p)
	right := 0.0
	for i, k := range predicted {
		right += calibrated[k][i]
	}
	out[Accuracy] = within(score.Of(right/float64(n)), m.accuracy/math.Sqrt(float64(n)))
	sums, variances, why := map[string]float64{}, map[string]float64{}, map[string]string{}
	used := 0.0
	for k, c := range m.classes {
		if c == nil {
			continue
		}
		used++
		var tp, fp, fn, tn float64
		for i, v := range calibrated[k] {
			if predicted[i] == k {
				tp, fp = tp+v, fp+1-v
			} else {
				fn, tn = fn+v, tn+1-v
			}
		}
		auc, ap := curves(calibrated[k], p[k])
		for name, v := range map[string]score.Value{ROCAUC: auc, AveragePrecision: ap, F1: orZero(tp, tp+(fp+fn)/2), Precision: orZero(tp, tp+fp),
			Recall: orZero(tp, tp+fn), Specificity: orZero(tn, tn+fp)} {
			if !v.OK() && why[name] == "" {
				_, _, why[name] = v.Get()
				why[name] = fmt.Sprintf("of class %d %s", k, why[name])
			}
			sums[name] += v.V
			s := c.errors[name]
			variances[name] += s.sd * s.sd / (float64(n) * s.share)
		}
	}
	for name, total := range sums {
		v := score.Of(total / used)
		if why[name] != "" {
			v = score.Undefined(why[name])
		}
		sd := math.Sqrt(variances[name]) / used
		switch name {
		case ROCAUC:
			sd *= rankAllowance
		case AveragePrecision: // resampled together with what the classes have in common
			sd = math.Sqrt(variances[name] / used)
		}
		out[name] = within(v, sd)
	}
	return out, nil
}

func orZero(a, b float64) score.Value {
	if b == 0 {
		return score.Of(0)
	}
	return score.Of(a / b)
}

// within puts the interval of three standard deviations around a value in 0..1.
func within(v score.Value, sd float64) Estimate {
	if math.IsNaN(sd) || math.IsInf(sd, 0) {
		none := score.Undefined("the reference has no row that counts for it")
		return Estimate{v, none, none, none}
	}
	e := Estimate{Value: v, Error: score.Of(sd)}
	if value, ok, why := v.Get(); ok {
		e.Lower, e.Upper = score.Of(math.Max(0, value-3*sd)), score.Of(math.Min(1, value+3*sd))
	} else {
		e.Lower, e.Upper = score.Undefined(why), score.Undefined(why)
	}
	return e
}

type multiclassDocument struct {
	Classes  []*CBPE `json:"classes"`
	Accuracy float64 `json:"accuracy_sd"`
}

// MarshalJSON writes what was learnt so that UnmarshalJSON gives the same estimates.
func (m *Multiclass) MarshalJSON() ([]byte, error) {
	return json.Marshal(multiclassDocument{m.classes, m.accuracy})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *Multiclass) UnmarshalJSON(text []byte) error {
	var d multiclassDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	if len(d.Classes) < 2 || len(d.Classes) > mostClasses {
		return errors.New("an estimator of several classes needs two or more of them")
	}
	*m = Multiclass{d.Classes, d.Accuracy}
	return nil
}
