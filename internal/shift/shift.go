// Package shift measures how far whole rows have moved from a reference, where drift looks at one column at a time: the
// relation of two columns may change while each of them keeps its distribution.
//
// Reconstruction compresses rows to the few directions that the reference needs and measures what is lost; Separate asks
// whether a classifier can tell the samples apart; Compare measures the distance of two clouds of embeddings. The package
// does no I/O, and gives no NaN or Inf: what has no value fails, saying why.
package shift

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"keelson/internal/boost"
	"keelson/internal/score"
)

// Variance is the usual share of the variance that the components of a Reconstruction must exceed.
const Variance = 0.65

// widest is the largest number of columns of a Reconstruction; its cost grows with the cube.
const widest = 2000

// Reconstruction is a principal component analysis of a reference. It is safe for concurrent use.
type Reconstruction struct {
	columns []encoder
	axes    []float64 // components × columns, one component after the other, each of length 1
}

// encoder turns a value of one column into a number of mean 0 and variance 1 over the reference.
type encoder struct {
	words      map[string]float64 // share of the reference's rows; nil for numbers
	fill       float64            // what a missing value counts as
	mean, size float64
}

// at encodes row i.
func (e *encoder) at(c boost.Column, i int) float64 {
	v := e.fill
	if e.words != nil {
		if w := c.Words[i]; w != "" {
			v = e.words[w]
		}
	} else if x := c.Numbers[i]; valid(x) {
		v = x
	}
	return (v - e.mean) / e.size
}

func valid(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func fitEncoder(c boost.Column) (encoder, error) {
	e := encoder{size: 1}
	n := c.Len()
	if c.Numbers == nil {
		e.words = map[string]float64{}
		for _, w := range c.Words {
			if w != "" {
				e.words[w]++
			}
		}
		if len(e.words) == 0 {
			return e, errors.New("every value is missing")
		}
		most, known := "", 0.0
		for w, k := range e.words {
			known += k
			if k > e.words[most] || k == e.words[most] && w < most {
				most = w
			}
		}
		e.words[most] += float64(n) - known // missing values count as the most frequent word
		for w := range e.words {
			e.words[w] /= float64(n)
		}
		e.fill = e.words[most]
	} else {
		k := 0.0
		for _, x := range c.Numbers {
			if valid(x) {
				k++
				e.fill += (x - e.fill) / k
			}
		}
		if k == 0 {
			return e, errors.New("every value is missing")
		}
	}
	mean, squares := 0.0, 0.0
	for i := range n { // at still gives the value as it is
		v := e.at(c, i)
		step := v - mean
		mean += step / float64(i+1)
		squares += step * (v - mean)
	}
	e.mean = mean
	if sd := math.Sqrt(squares / float64(n)); sd > 1e-12*math.Abs(mean) {
		e.size = sd
	}
	if !valid(e.mean) || !valid(e.size) {
		return e, errors.New("the values are too large")
	}
	return e, nil
}

// FitReconstruction learns the directions of the reference: missing numbers are taken as the column's mean (±Inf too),
// missing words as its most frequent one; a word is encoded as its share of the reference's rows (0 when new); every
// column is scaled to mean 0 and variance 1; and so many principal components are kept that together they explain more
// than variance, a share between 0 and 1 (Variance), of it.
//
// It fails without rows, with a column without any value, when nothing varies, or with more than 2,000 columns.
//
// Source: Jolliffe, Principal Component Analysis, 2002; the encoding is that of NannyML.
func FitReconstruction(reference []boost.Column, variance float64) (*Reconstruction, error) {
	n, err := boost.Height(reference)
	if err != nil {
		return nil, err
	}
	d := len(reference)
	if n == 0 || d > widest || !(variance > 0 && variance < 1) {
		return nil, fmt.Errorf("%d rows of %d columns with a share of variance of %v cannot be reconstructed", n, d, variance)
	}
	r := &Reconstruction{}
	for k, c := range reference {
		e, err := fitEncoder(c)
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", k+1, err)
		}
		r.columns = append(r.columns, e)
	}
	if err := r.axesOf(reference, n, variance); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Reconstruction) axesOf(reference []boost.Column, n int, variance float64) error {
	d := len(r.columns)
	covariance, row := make([]float64, d*d), make([]float64, d)
	for i := range n {
		for k := range r.columns {
			row[k] = r.columns[k].at(reference[k], i)
		}
		for a, x := range row {
			for b, y := range row[:a+1] {
				covariance[a*d+b] += x * y
			}
		}
	}
	for a := range d {
		for b := range a {
			covariance[b*d+a] = covariance[a*d+b]
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(mat.NewSymDense(d, covariance), true) {
		return errors.New("the principal components could not be found")
	}
	values, total := eigen.Values(nil), 0.0
	for _, v := range values {
		total += math.Max(0, v)
	}
	if !(total > 0) || math.IsInf(total, 0) {
		return errors.New("no column of the reference varies")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	sum := 0.0
	for k := d - 1; k >= 0 && sum <= variance; k-- { // ascending values
		sum += math.Max(0, values[k]) / total
		for a := range d {
			r.axes = append(r.axes, vectors.At(a, k))
		}
	}
	return nil
}

// Components returns how many directions are kept.
func (r *Reconstruction) Components() int { return len(r.axes) / len(r.columns) }

// Errors gives for each row the Euclidean distance between the encoded row z and what the components keep of it,
// ‖z − VᵀV z‖, ≥ 0, in standard deviations of the reference. It fails when the columns are not those learnt from.
func (r *Reconstruction) Errors(rows []boost.Column) ([]float64, error) {
	n, err := boost.Height(rows)
	if err != nil {
		return nil, err
	}
	d := len(r.columns)
	if len(rows) != d {
		return nil, fmt.Errorf("%d columns were learnt from and %d are given", d, len(rows))
	}
	for k, c := range rows {
		if n > 0 && (c.Numbers == nil) != (r.columns[k].words != nil) {
			return nil, fmt.Errorf("column %d held values of another kind in the reference", k+1)
		}
	}
	out, z, rest := make([]float64, n), make([]float64, d), make([]float64, d)
	for i := range n {
		for k := range z {
			z[k] = r.columns[k].at(rows[k], i)
		}
		copy(rest, z)
		for v := r.axes; len(v) > 0; v = v[d:] {
			dot := 0.0
			for k, x := range z {
				dot += x * v[k]
			}
			for k := range rest {
				rest[k] -= dot * v[k]
			}
		}
		for _, x := range rest {
			out[i] = math.Hypot(out[i], x)
		}
	}
	return out, nil
}

// Chunk is the reconstruction error of a window.
type Chunk struct {
	Value score.Value `json:"value"` // mean of the rows' errors
	// Error is the standard error of that mean; undefined for a single row. Lower and Upper are Value ∓ three times it,
	// not below 0.
	Error score.Value `json:"sampling_error"`
	Lower score.Value `json:"lower"`
	Upper score.Value `json:"upper"`
}

// Chunk measures a window. Without rows every value is undefined; it fails as Errors does. Thresholds come from
// score.Thresholds over the values of the reference's chunks.
func (r *Reconstruction) Chunk(rows []boost.Column) (Chunk, error) {
	e, err := r.Errors(rows)
	if err != nil {
		return Chunk{}, err
	}
	if len(e) == 0 {
		none := score.Undefined("there are no rows")
		return Chunk{none, none, none, none}, nil
	}
	n := float64(len(e))
	slices.Sort(e) // the same rows in another order give the same digits
	mean, squares := 0.0, 0.0
	for _, v := range e {
		mean += v / n
	}
	for _, v := range e {
		squares += (v - mean) * (v - mean)
	}
	if len(e) == 1 {
		none := score.Undefined("a single row says nothing about its spread")
		return Chunk{score.Of(mean), none, none, none}, nil
	}
	sd := math.Sqrt(squares / (n - 1) / n)
	return Chunk{score.Of(mean), score.Of(sd), score.Of(math.Max(0, mean-3*sd)), score.Of(mean + 3*sd)}, nil
}
