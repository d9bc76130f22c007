package estimate

import (
	"math"

	"gonum.org/v1/gonum/mathext/prng"
)

// drawn is the number of rows up to which calibration is judged on the parts that the Python libraries draw. Beyond it
// drawing takes longer than judging, and the judgement no longer hangs on which rows are drawn.
const drawn = 100_000

// splits draws rows to hold out, a tenth of each outcome in each of ten turns: the rows, in the order and by the draws of
// scikit-learn's StratifiedShuffleSplit with seed 42 (a Mersenne twister and NumPy's shuffle), so that a calibration that
// hardly matters is kept or left as NannyML does it, and the estimates agree. Each outcome occurs at least twice.
func splits(truth []bool) [folds][]int {
	var of [2][]int // rows by outcome
	for i, t := range truth {
		k := 0
		if t {
			k = 1
		}
		of[k] = append(of[k], i)
	}
	n := len(truth)
	held := int(math.Ceil(0.1 * float64(n)))
	r := twister{prng.NewMT19937()}
	r.Seed(42)
	var out [folds][]int
	for f := range out {
		kept := r.mode([2]int{len(of[0]), len(of[1])}, n-held)
		test := r.mode([2]int{len(of[0]) - kept[0], len(of[1]) - kept[1]}, held)
		for k, rows := range of {
			order := make([]int, len(rows))
			for i := range order {
				order[i] = i
			}
			r.shuffle(order)
			for _, i := range order[kept[k] : kept[k]+test[k]] {
				out[f] = append(out[f], rows[i])
			}
		}
		for i := n - held - 1; i > 0; i-- { // the rows that are kept are shuffled too; their order does not matter
			r.to(i)
		}
		r.shuffle(out[f])
	}
	return out
}

type twister struct{ *prng.MT19937 }

// to draws a number of 0..largest, as NumPy's legacy generator does.
func (t twister) to(largest int) int {
	mask := uint32(largest)
	for s := 1; s < 32; s *= 2 {
		mask |= mask >> s
	}
	for largest > 0 {
		if v := t.Uint32() & mask; v <= uint32(largest) {
			return int(v)
		}
	}
	return 0
}

func (t twister) shuffle(v []int) {
	for i := len(v) - 1; i > 0; i-- {
		j := t.to(i)
		v[i], v[j] = v[j], v[i]
	}
}

// mode shares out draws over two classes by their counts; what rounding down leaves over goes to the larger remainder, of
// equal ones to one by lot.
func (t twister) mode(counts [2]int, draws int) (out [2]int) {
	var rest [2]float64
	left := draws
	for k, c := range counts {
		v := float64(c) / float64(counts[0]+counts[1]) * float64(draws)
		out[k] = int(v)
		rest[k] = v - float64(out[k])
		left -= out[k]
	}
	switch {
	case left <= 0:
	case rest[0] == rest[1]:
		lot := []int{0, 1}
		t.shuffle(lot)
		for _, k := range lot[:min(left, 2)] {
			out[k]++
		}
	case left > 1:
		out[0]++
		out[1]++
	case rest[0] > rest[1]:
		out[0]++
	default:
		out[1]++
	}
	return out
}

// improvesDrawn is improves by the rows of splits: those held out in all turns are compared together, a row as often as it
// was drawn.
func improvesDrawn(order []int, scores, outcomes []float64, truth []bool) bool {
	x, y := inOrder(order, scores, outcomes)
	out := make([]bool, len(scores))
	otherX, otherY := make([]float64, 0, len(x)), make([]float64, 0, len(x))
	var before, after, seen []float64
	for _, held := range splits(truth) {
		for _, i := range held {
			out[i] = true
		}
		otherX, otherY = otherX[:0], otherY[:0]
		for k, i := range order {
			if !out[i] {
				otherX, otherY = append(otherX, x[k]), append(otherY, y[k])
			}
		}
		m := fitIsotonic(otherX, otherY)
		for _, i := range held {
			before, after, seen = append(before, scores[i]), append(after, m.At(scores[i])), append(seen, outcomes[i])
			out[i] = false
		}
	}
	return calibrationError(byValue(before), before, seen) > calibrationError(byValue(after), after, seen)
}
