package score

import (
	"fmt"
	"math"
	"slices"
)

// Multiclass holds decided classes against the truth. Make it with NewMulticlass.
type Multiclass struct {
	Classes   []string // of truth and prediction together, sorted by UTF-8 bytes
	Confusion [][]int  // [true class][predicted class]
	n         int
}

// NewMulticlass compares predicted classes with the true ones, row by row; it fails when the lengths
// differ.
func NewMulticlass(truth, predicted []string) (*Multiclass, error) {
	if err := lengths(len(truth), len(predicted)); err != nil {
		return nil, err
	}
	m := &Multiclass{n: len(truth)}
	m.Classes = slices.Concat(truth, predicted)
	slices.Sort(m.Classes)
	m.Classes = slices.Compact(m.Classes)
	at := make(map[string]int, len(m.Classes))
	m.Confusion = make([][]int, len(m.Classes))
	for i, c := range m.Classes {
		at[c] = i
	}
	if len(m.Classes) > maxClasses {
		return nil, fmt.Errorf("%d classes are more than the %d that can be compared", len(m.Classes), maxClasses)
	}
	for i := range m.Confusion {
		m.Confusion[i] = make([]int, len(m.Classes))
	}
	for i := range truth {
		m.Confusion[at[truth[i]]][at[predicted[i]]]++
	}
	return m, nil
}

// maxClasses bounds the confusion matrix at 8 MB.
const maxClasses = 1000

// class sums up class k: its hits, its rows and how often it was predicted.
func (m *Multiclass) class(k int) (hits, rows, predicted float64) {
	for j := range m.Classes {
		rows += float64(m.Confusion[k][j])
		predicted += float64(m.Confusion[j][k])
	}
	return float64(m.Confusion[k][k]), rows, predicted
}

// Accuracy is the share of right decisions, 0..1; undefined without rows.
func (m *Multiclass) Accuracy() Value {
	hits := 0.0
	for k := range m.Classes {
		hits += float64(m.Confusion[k][k])
	}
	return ratio(hits, float64(m.n), noRows)
}

// Macro returns precision, recall and F1 averaged over the classes, each class counting the same; a
// class that was never predicted (or never true) counts 0 there, as in scikit-learn. Undefined without
// rows.
func (m *Multiclass) Macro() (precision, recall, f1 Value) {
	return m.average(func(float64) float64 { return 1 })
}

// Weighted is Macro with each class weighted by its rows.
func (m *Multiclass) Weighted() (precision, recall, f1 Value) {
	return m.average(func(rows float64) float64 { return rows })
}

func (m *Multiclass) average(weight func(rows float64) float64) (precision, recall, f1 Value) {
	if m.n == 0 {
		return Undefined(noRows), Undefined(noRows), Undefined(noRows)
	}
	p, r, f, sum := 0.0, 0.0, 0.0, 0.0
	for k := range m.Classes {
		hits, rows, predicted := m.class(k)
		w := weight(rows)
		sum += w
		if predicted > 0 {
			p += w * hits / predicted
		}
		if rows > 0 {
			r += w * hits / rows
		}
		f += w * 2 * hits / (rows + predicted)
	}
	return Of(p / sum), Of(r / sum), Of(f / sum)
}

// Micro returns precision, recall and F1 of all decisions together, each row counting the same. As every row has one true
// and one predicted class, all three are the accuracy; they are here to compare with libraries that report them.
func (m *Multiclass) Micro() (precision, recall, f1 Value) {
	a := m.Accuracy()
	return a, a, a
}

// MCC is Matthews' correlation for several classes (Gorodkin 2004), −1..1; 0 when truth or prediction
// has one class, undefined without rows.
func (m *Multiclass) MCC() Value {
	if m.n == 0 {
		return Undefined(noRows)
	}
	hits, cross, rr, pp, n := m.sums()
	d := math.Sqrt(n*n-pp) * math.Sqrt(n*n-rr)
	if d == 0 {
		return Of(0)
	}
	return Of((hits*n - cross) / d)
}

// Kappa is Cohen's kappa, ≤ 1; undefined with one class.
func (m *Multiclass) Kappa() Value {
	hits, cross, _, _, n := m.sums()
	if n == 0 || n*n == cross {
		return Undefined(oneClass)
	}
	return Of((hits/n - cross/(n*n)) / (1 - cross/(n*n)))
}

func (m *Multiclass) sums() (hits, cross, rr, pp, n float64) {
	for k := range m.Classes {
		h, rows, predicted := m.class(k)
		hits += h
		cross += rows * predicted
		rr += rows * rows
		pp += predicted * predicted
	}
	return hits, cross, rr, pp, float64(m.n)
}

// Metrics returns accuracy, macro_precision, macro_recall, macro_f1, weighted_f1, mcc and kappa.
func (m *Multiclass) Metrics() map[string]Value {
	p, r, f := m.Macro()
	_, _, wf := m.Weighted()
	return map[string]Value{
		"accuracy": m.Accuracy(), "macro_precision": p, "macro_recall": r, "macro_f1": f, "weighted_f1": wf,
		"mcc": m.MCC(), "kappa": m.Kappa(),
	}
}

// Probabilities holds one probability per class against the true class. Make it with NewProbabilities.
type Probabilities struct {
	truth []int
	p     [][]float64
	k     int
}

// NewProbabilities compares p[row][class], in 0..1, with the true class (0 … classes−1), row by row. It
// fails when the shapes do not fit or a number is out of range, naming the row, counted from 1.
func NewProbabilities(truth []int, p [][]float64) (*Probabilities, error) {
	if err := lengths(len(truth), len(p)); err != nil {
		return nil, err
	}
	out := &Probabilities{truth: truth, p: p}
	for i, row := range p {
		if i == 0 {
			out.k = len(row)
		}
		if len(row) != out.k {
			return nil, fmt.Errorf("row %d has %d classes, row 1 has %d", i+1, len(row), out.k)
		}
		if truth[i] < 0 || truth[i] >= out.k {
			return nil, fmt.Errorf("the class of row %d is %d, outside 0..%d", i+1, truth[i], out.k-1)
		}
		for _, v := range row {
			if !(v >= 0 && v <= 1) {
				return nil, fmt.Errorf("a probability of row %d is %v, outside 0..1", i+1, v)
			}
		}
	}
	return out, nil
}

// LogLoss is the mean −ln of the probability of the true class, in nats, clipped at the float64 epsilon.
func (p *Probabilities) LogLoss() Value {
	sum := 0.0
	for i, y := range p.truth {
		sum -= math.Log(math.Min(1-0x1p-52, math.Max(0x1p-52, p.p[i][y])))
	}
	return ratio(sum, float64(len(p.truth)), noRows)
}

// TopAccuracy is the share of rows whose true class is among the k most probable ones; a tie at the
// border goes to the class with the higher number, as in scikit-learn.
func (p *Probabilities) TopAccuracy(k int) Value {
	hits := 0.0
	for i, y := range p.truth {
		above := 0
		for c, v := range p.p[i] {
			if v > p.p[i][y] || v == p.p[i][y] && c > y {
				above++
			}
		}
		if above < k {
			hits++
		}
	}
	return ratio(hits, float64(len(p.truth)), noRows)
}

// ROCAUC is the mean over the classes of the ROC AUC of that class against all others, each class
// counting the same; undefined when a class has no row or all of them.
func (p *Probabilities) ROCAUC() Value {
	if p.k == 0 {
		return Undefined(noRows)
	}
	sum := 0.0
	for c := range p.k {
		a := p.against(c, -1)
		if !a.OK() {
			return Undefined(fmt.Sprintf("class %d has no row or all of them", c))
		}
		sum += a.V
	}
	return Of(sum / float64(p.k))
}

// ROCAUCPairs is the mean over all ordered pairs of classes of the ROC AUC that the probability of the first has over the
// rows of the two. Unlike ROCAUC it does not move with the shares of the classes. Undefined with one class, or when a
// class has no row.
//
// Source: Hand & Till, Machine Learning 45 (2001).
func (p *Probabilities) ROCAUCPairs() Value {
	if p.k < 2 {
		return Undefined(oneClass)
	}
	sum := 0.0
	for c := range p.k {
		for other := range p.k {
			if c == other {
				continue
			}
			a := p.against(c, other)
			if !a.OK() {
				return Undefined(fmt.Sprintf("class %d or %d has no row", c, other))
			}
			sum += a.V
		}
	}
	return Of(sum / float64(p.k*(p.k-1)))
}

// against is the ROC AUC of the probability of class c over its rows and those of another class; −1 means all others.
func (p *Probabilities) against(c, other int) Value {
	var truth []bool
	var scores []float64
	for i, y := range p.truth {
		if y == c || y == other || other < 0 {
			truth, scores = append(truth, y == c), append(scores, p.p[i][c])
		}
	}
	b, err := NewBinary(truth, scores, 0.5)
	if err != nil {
		return Undefined(err.Error())
	}
	return b.ROCAUC()
}
