package lightgbm

import (
	"math"
	"strconv"
	"strings"
)

// convert turns one row's margins into what Booster.predict answers, in place: LightGBM's
// ObjectiveFunction::ConvertOutput.
type convert func(m []float64)

func each(f func(float64) float64) convert {
	return func(m []float64) {
		for i, v := range m {
			m[i] = f(v)
		}
	}
}

func keep([]float64) {}

// squareBack undoes reg_sqrt: sign(v)·v².
func squareBack(v float64) float64 {
	if v < 0 {
		return -(v * v)
	}
	return v * v
}

func softmax(m []float64) {
	top := m[0]
	for _, v := range m[1:] {
		top = max(top, v)
	}
	sum := 0.0
	for i, v := range m {
		m[i] = exp(v - top)
		sum += m[i]
	}
	for i := range m {
		m[i] /= sum
	}
}

func sigmoid(slope float64) convert {
	return each(func(v float64) float64 { return 1 / (1 + exp(-slope*v)) })
}

// parseObjective reads the objective line, such as "binary sigmoid:1". A file without the line, or with "custom", answers
// margins. It fails with problem.Unsupported on an objective it does not know, and with problem.Invalid on one that does
// not fit the number of classes.
func parseObjective(line string, classes int) (name string, c convert, err error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		words = []string{"custom"}
	}
	name = words[0]
	slope, root, declared := 1.0, false, classes
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, ":")
		switch key {
		case "sigmoid":
			if slope, err = strconv.ParseFloat(value, 64); err != nil || !(slope > 0) || math.IsInf(slope, 0) {
				return name, nil, broken("the objective's sigmoid is %q instead of a positive number", short(value))
			}
		case "num_class":
			if declared, err = strconv.Atoi(value); err != nil {
				return name, nil, broken("the objective's num_class is %q instead of a number", short(value))
			}
		case "sqrt":
			root = true
		}
	}
	if declared != classes {
		return name, nil, broken("its objective has %d classes, the file %d", declared, classes)
	}
	switch name {
	case "multiclass":
		return name, softmax, nil
	case "multiclassova":
		return name, sigmoid(slope), nil
	case "custom", "none", "null", "na":
		return "custom", keep, nil
	}
	switch name {
	case "regression", "regression_l1", "huber", "fair", "quantile", "mape":
		c = keep
		if root {
			c = each(squareBack)
		}
	case "lambdarank", "rank_xendcg":
		c = keep
	case "binary":
		c = sigmoid(slope)
	case "cross_entropy":
		c = sigmoid(1)
	case "cross_entropy_lambda":
		c = each(func(v float64) float64 { return log1p(exp(v)) })
	case "poisson", "gamma", "tweedie":
		c = each(exp)
	default:
		return name, nil, unsupported("its objective is %q, which is not known", short(name))
	}
	if classes != 1 {
		return name, nil, broken("the objective %s has one class, the file %d", name, classes)
	}
	return name, c, nil
}
