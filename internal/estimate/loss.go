package estimate

import (
	"errors"
	"fmt"
	"math"

	"keelson/internal/boost"
	"keelson/internal/score"
)

// The metrics that are estimated of a regression.
const (
	MAE  = "mae"
	MSE  = "mse"
	RMSE = "rmse"
)

// Losses lists them.
var Losses = []string{MAE, MSE, RMSE}

// DLE says how large the errors of a regression are before its outcomes are known (direct loss estimation): on a reference
// whose outcomes are known a second model learns, from the same columns and the prediction, the absolute and the squared
// error that the model makes on such a row; the mean of what it expects of later rows is their expected MAE and MSE, and
// the root of the latter their RMSE.
//
// Like CBPE it follows rows that move to where the model is known to be worse or better, and cannot see that the world
// answers differently than it did; of rows beyond all that the reference held it expects the error at the edge, which is
// mostly too little. The reference must not be what the model was trained on, whose errors are too small.
// It is safe for concurrent use.
//
// Source: the method of the same name in NannyML, 2022.
type DLE struct {
	absolute, squared     *boost.Model
	absoluteSD, squaredSD float64 // spread of one row's error on the reference
	squaredMean           float64
	kinds                 int
}

// fewest is the smallest reference of a DLE.
const fewest = 100

// FitDLE learns from rows whose outcome is known: their columns, the predictions and the outcomes, both in the unit of the
// target and finite. At least 100 rows are needed. params says how to learn (its zero value is fine). Errors name the row,
// counted from 1.
func FitDLE(columns []boost.Column, predicted, truth []float64, params boost.Params) (*DLE, error) {
	if len(truth) < fewest {
		return nil, fmt.Errorf("an estimate needs a reference of at least %d rows with outcomes, not %d", fewest, len(truth))
	}
	if _, err := score.NewRegression(truth, predicted); err != nil {
		return nil, err
	}
	table, err := withPrediction(columns, predicted)
	if err != nil {
		return nil, err
	}
	n := float64(len(truth))
	a, s := make([]float64, len(truth)), make([]float64, len(truth))
	for i, y := range truth {
		a[i] = math.Abs(predicted[i] - y)
		s[i] = a[i] * a[i]
		if math.IsInf(s[i], 0) {
			return nil, fmt.Errorf("the error of row %d is too large to be squared", i+1)
		}
	}
	d := &DLE{kinds: len(columns)}
	if d.absolute, err = boost.Fit(table, a, boost.Squared, params); err != nil {
		return nil, err
	}
	if d.squared, err = boost.Fit(table, s, boost.Squared, params); err != nil {
		return nil, err
	}
	_, d.absoluteSD = moments(a)
	d.squaredMean, d.squaredSD = moments(s)
	if math.IsInf(d.squaredSD*n, 0) || math.IsNaN(d.squaredSD) {
		return nil, errors.New("the squared errors of the reference are too large")
	}
	return d, nil
}

func moments(v []float64) (mean, sd float64) {
	n, squares := float64(len(v)), 0.0
	for _, x := range v {
		mean += x / n
	}
	for _, x := range v {
		squares += (x - mean) * (x - mean) / n
	}
	return mean, math.Sqrt(squares)
}

// withPrediction adds the prediction as a last column.
func withPrediction(columns []boost.Column, predicted []float64) ([]boost.Column, error) {
	table := append(columns[:len(columns):len(columns)], boost.Column{Numbers: predicted})
	if predicted == nil {
		table[len(columns)].Numbers = []float64{}
	}
	if _, err := boost.Height(table); err != nil {
		return nil, err
	}
	return table, nil
}

// Estimate gives the expected MAE and RMSE, in the unit of the target, and MSE, in its square, of rows whose outcomes are
// not known, each with the deviation that chance alone gives samples of this size (of the RMSE by its first derivative) and
// the bounds three of them away, not below 0. It fails when the columns are not those learnt from or a prediction is not
// finite; for no rows every metric is undefined.
func (d *DLE) Estimate(columns []boost.Column, predicted []float64) (map[string]Estimate, error) {
	if len(columns) != d.kinds {
		return nil, fmt.Errorf("%d columns were learnt from and %d are given", d.kinds, len(columns))
	}
	if _, err := score.NewRegression(predicted, predicted); err != nil {
		return nil, err
	}
	table, err := withPrediction(columns, predicted)
	if err != nil {
		return nil, err
	}
	out := map[string]Estimate{}
	if len(predicted) == 0 {
		none := score.Undefined("there are no rows")
		for _, m := range Losses {
			out[m] = Estimate{none, none, none, none}
		}
		return out, nil
	}
	mae, err := expect(d.absolute, table)
	if err != nil {
		return nil, err
	}
	mse, err := expect(d.squared, table)
	if err != nil {
		return nil, err
	}
	root := math.Sqrt(float64(len(predicted)))
	rootSD := 0.0
	if d.squaredMean > 0 {
		rootSD = d.squaredSD / (2 * root * math.Sqrt(d.squaredMean))
	}
	out[MAE] = around(mae, d.absoluteSD/root)
	out[MSE] = around(mse, d.squaredSD/root)
	out[RMSE] = around(math.Sqrt(mse), rootSD)
	return out, nil
}

// expect is the mean of what a model expects, not below 0.
func expect(m *boost.Model, table []boost.Column) (float64, error) {
	each, err := m.Predict(table)
	if err != nil {
		return 0, err
	}
	mean := 0.0
	for _, v := range each {
		mean += v / float64(len(each))
	}
	return math.Max(0, mean), nil
}

func around(v, sd float64) Estimate {
	return Estimate{score.Of(v), score.Of(sd), score.Of(math.Max(0, v-3*sd)), score.Of(v + 3*sd)}
}
