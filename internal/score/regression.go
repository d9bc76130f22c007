package score

import (
	"fmt"
	"math"
	"slices"
)

// Regression holds predicted numbers against the truth. Make it with NewRegression.
type Regression struct{ truth, predicted []float64 }

// NewRegression compares predictions with the truth, row by row. It fails when the lengths differ or a
// number is NaN or infinite, naming the row, counted from 1.
func NewRegression(truth, predicted []float64) (*Regression, error) {
	if err := lengths(len(truth), len(predicted)); err != nil {
		return nil, err
	}
	for i := range truth {
		for _, v := range []float64{truth[i], predicted[i]} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("row %d holds %v, not a number", i+1, v)
			}
		}
	}
	return &Regression{truth, predicted}, nil
}

// mean averages f over the rows; undefined without rows.
func (r *Regression) mean(f func(y, p float64) float64) Value {
	sum := 0.0
	for i, y := range r.truth {
		sum += f(y, r.predicted[i])
	}
	return ratio(sum, float64(len(r.truth)), noRows)
}

// MAE is the mean absolute error, in the unit of the target. Like all below it is undefined without rows.
func (r *Regression) MAE() Value {
	return r.mean(func(y, p float64) float64 { return math.Abs(p - y) })
}

// MSE is the mean squared error, in the squared unit of the target.
func (r *Regression) MSE() Value {
	return r.mean(func(y, p float64) float64 { return (p - y) * (p - y) })
}

// RMSE is the root of MSE, in the unit of the target.
func (r *Regression) RMSE() Value {
	m := r.MSE()
	if !m.OK() {
		return m
	}
	return Of(math.Sqrt(m.V))
}

// Bias is the mean of predicted − true.
func (r *Regression) Bias() Value { return r.mean(func(y, p float64) float64 { return p - y }) }

// errors returns the absolute errors, ascending.
func (r *Regression) errors() []float64 {
	out := make([]float64, len(r.truth))
	for i, y := range r.truth {
		out[i] = math.Abs(r.predicted[i] - y)
	}
	slices.Sort(out)
	return out
}

// MedianAE is the median absolute error.
func (r *Regression) MedianAE() Value {
	e := r.errors()
	if len(e) == 0 {
		return Undefined(noRows)
	}
	return Of((e[(len(e)-1)/2] + e[len(e)/2]) / 2)
}

// MaxError is the largest absolute error.
func (r *Regression) MaxError() Value {
	e := r.errors()
	if len(e) == 0 {
		return Undefined(noRows)
	}
	return Of(e[len(e)-1])
}

// R2 is the coefficient of determination 1 − Σ(y−p)²/Σ(y−ȳ)², ≤ 1. Of a constant target it is 1 when
// every prediction is right and 0 otherwise (as in scikit-learn).
func (r *Regression) R2() Value { return r.explained(0) }

// ExplainedVariance is R2 after the mean error is taken away: 1 − Var(y−p)/Var(y). Of a constant target it is 1 when all
// errors are the same and 0 otherwise.
func (r *Regression) ExplainedVariance() Value {
	b := r.Bias()
	if !b.OK() {
		return b
	}
	return r.explained(b.V)
}

func (r *Regression) explained(bias float64) Value {
	if len(r.truth) == 0 {
		return Undefined(noRows)
	}
	mean := 0.0
	for _, y := range r.truth {
		mean += y / float64(len(r.truth))
	}
	rest, all := 0.0, 0.0
	constant, even := true, true // the true values, the errors
	for i, y := range r.truth {
		e := r.predicted[i] - y - bias
		rest += e * e
		all += (y - mean) * (y - mean)
		constant = constant && y == r.truth[0]
		even = even && e == r.predicted[0]-r.truth[0]-bias
	}
	if constant || all == 0 {
		if rest == 0 || bias != 0 && even { // the bias is rounded, so that the rest of even errors need not be 0
			return Of(1)
		}
		return Of(0)
	}
	return Of(1 - rest/all)
}

// MAPE is the mean absolute error relative to the true value, over the rows whose true value is not 0,
// with the share of rows left out, both as fractions (0.05 = 5 %). Undefined when every target is 0.
func (r *Regression) MAPE() (mape Value, leftOut float64) {
	sum, n := 0.0, 0
	for i, y := range r.truth {
		if y != 0 {
			sum += math.Abs((r.predicted[i] - y) / y)
			n++
		}
	}
	if n == 0 {
		return Undefined("no true value differs from 0"), 1
	}
	return Of(sum / float64(n)), 1 - float64(n)/float64(len(r.truth))
}

// FlooredMAPE is MAPE over all rows, with a true value nearer to 0 than the float64 epsilon taken as that: one true value
// of 0 makes it as large as 10¹⁵. It is here to compare with scikit-learn, which reports it; show MAPE.
func (r *Regression) FlooredMAPE() Value {
	return r.mean(func(y, p float64) float64 { return math.Abs(p-y) / math.Max(math.Abs(y), 0x1p-52) })
}

// SMAPE is the mean of 2|p−y| / (|p|+|y|), 0..2; a row with both 0 counts 0.
func (r *Regression) SMAPE() Value {
	return r.mean(func(y, p float64) float64 {
		if y == 0 && p == 0 {
			return 0
		}
		return 2 * math.Abs(p-y) / (math.Abs(p) + math.Abs(y))
	})
}

// QuantileLoss is the mean pinball loss of a forecast of the q-quantile, 0 < q < 1, ≥ 0.
func (r *Regression) QuantileLoss(q float64) Value {
	return r.mean(func(y, p float64) float64 { return math.Max(q*(y-p), (q-1)*(y-p)) })
}

// Metrics returns the measures under their names: mae, mse, rmse, median_ae, max_error, bias, r2,
// explained_variance, mape, smape.
func (r *Regression) Metrics() map[string]Value {
	mape, _ := r.MAPE()
	return map[string]Value{
		"mae": r.MAE(), "mse": r.MSE(), "rmse": r.RMSE(), "median_ae": r.MedianAE(), "max_error": r.MaxError(),
		"bias": r.Bias(), "r2": r.R2(), "explained_variance": r.ExplainedVariance(), "mape": mape, "smape": r.SMAPE(),
	}
}
