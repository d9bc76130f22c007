package xgboost

import "math"

// objective is how margins become predictions and how base_score became a margin, as in XGBoost's src/objective.
type objective struct {
	toMargin func(base float64) float64
	// apply turns the margins of one row into predictions in place and gives how many there are.
	apply func(m []float32) int
}

func same(v float64) float64 { return v }

// logit keeps the base a millionth away from 0 and 1 as XGBoost does: where all labels are alike, the file has 0 or 1.
func logit(v float64) float64 {
	if v < 0 || v > 1 {
		return math.NaN()
	}
	v = min(max(v, 1e-6), 1-1e-6)
	return float64(-float32(math.Log(1/v - 1)))
}

func keep(m []float32) int { return len(m) }

func each(f func(float64) float64) func([]float32) int {
	return func(m []float32) int {
		for i, v := range m {
			m[i] = float32(f(float64(v)))
		}
		return len(m)
	}
}

// sigmoid never falls below what XGBoost's gives, which lets the exponent grow to 88.7 at most.
func sigmoid(v float64) float64 { return 1 / (1 + math.Exp(min(-v, float64(float32(88.7))))) }

func softmax(m []float32) int {
	top := m[0]
	for _, v := range m {
		top = max(top, v)
	}
	sum := 0.0
	for i, v := range m {
		e := float32(math.Exp(float64(v - top)))
		m[i] = e
		sum += float64(e)
	}
	for i := range m {
		m[i] /= float32(sum)
	}
	return len(m)
}

// class gives the first of the largest margins.
func class(m []float32) int {
	best := 0
	for i, v := range m {
		if v > m[best] {
			best = i
		}
	}
	m[0] = float32(best)
	return 1
}

func step(v float64) float64 {
	if v > 0 {
		return 1
	}
	return 0
}

var (
	plain       = objective{same, keep}
	logistic    = objective{logit, each(sigmoid)}
	exponential = objective{math.Log, each(math.Exp)}
)

var objectives = map[string]objective{
	"reg:squarederror":     plain,
	"reg:linear":           plain, // the old name of squarederror
	"reg:squaredlogerror":  plain,
	"reg:absoluteerror":    plain,
	"reg:pseudohubererror": plain,
	"reg:quantileerror":    plain,
	"rank:pairwise":        plain,
	"rank:ndcg":            plain,
	"rank:map":             plain,
	"binary:logistic":      logistic,
	"reg:logistic":         logistic,
	"binary:logitraw":      {same, keep},
	"binary:hinge":         {same, each(step)},
	"count:poisson":        exponential,
	"reg:gamma":            exponential,
	"reg:tweedie":          exponential,
	"survival:cox":         exponential,
	"survival:aft":         exponential,
	"multi:softprob":       {same, softmax},
	"multi:softmax":        {same, class},
}
