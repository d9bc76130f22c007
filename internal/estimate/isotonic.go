package estimate

import "sort"

// Isotonic maps scores to probabilities by a growing, piecewise linear function.
type Isotonic struct {
	x, y []float64 // knots, x growing; scores outside take the nearest end
}

// inOrder lays two columns out in the order of rows.
func inOrder(order []int, a, b []float64) (x, y []float64) {
	x, y = make([]float64, len(order)), make([]float64, len(order))
	for k, i := range order {
		x[k], y[k] = a[i], b[i]
	}
	return x, y
}

// fitIsotonic finds the growing function with the least squared error to the outcomes y (0 or 1, or any weights between)
// of the scores x, which do not fall (inOrder), by pooling adjacent violators. Equal scores count as one point with their
// mean outcome. Between the points the function is linear.
//
// Source: Barlow et al., Statistical Inference under Order Restrictions, 1972.
func fitIsotonic(x, y []float64) Isotonic {
	type pool struct{ y, weight, lo, hi float64 } // a run of points that share one value
	var pools []pool
	for i := 0; i < len(x); {
		next := pool{y[i], 1, x[i], x[i]}
		for i++; i < len(x) && x[i] == next.lo; i++ { // equal scores are one point
			next.weight++
			next.y += (y[i] - next.y) / next.weight
		}
		for n := len(pools); n > 0 && pools[n-1].y >= next.y; n = len(pools) {
			last := pools[n-1]
			w := last.weight + next.weight
			next = pool{(last.y*last.weight + next.y*next.weight) / w, w, last.lo, next.hi}
			pools = pools[:n-1]
		}
		pools = append(pools, next)
	}
	var f Isotonic
	for _, p := range pools { // only a pool's ends are needed
		f.x, f.y = append(f.x, p.lo), append(f.y, p.y)
		if p.hi > p.lo {
			f.x, f.y = append(f.x, p.hi), append(f.y, p.y)
		}
	}
	return f
}

// At is the function's value; 0 for a function that was fitted on nothing.
func (f Isotonic) At(score float64) float64 {
	n := len(f.x)
	switch {
	case n == 0:
		return 0
	case score <= f.x[0]:
		return f.y[0]
	case score >= f.x[n-1]:
		return f.y[n-1]
	}
	i := sort.SearchFloat64s(f.x, score)
	if f.x[i] == score {
		return f.y[i]
	}
	share := (score - f.x[i-1]) / (f.x[i] - f.x[i-1])
	return f.y[i-1] + share*(f.y[i]-f.y[i-1])
}
