package estimate

import "sort"

// Isotonic maps scores to probabilities by a growing, piecewise linear function.
type Isotonic struct {
	x, y []float64 // knots, x growing; scores outside take the nearest end
}

// FitIsotonic finds the growing function with the least squared error to the outcomes (0 or 1, or any weights between)
// by pooling adjacent violators. Equal scores count as one point with their mean outcome. Between the points the
// function is linear.
//
// Source: Barlow et al., Statistical Inference under Order Restrictions, 1972.
func FitIsotonic(scores, outcomes []float64) Isotonic {
	return fitSorted(byValue(scores), scores, outcomes)
}

// fitSorted is FitIsotonic of the rows of order, whose scores do not fall.
func fitSorted(order []int, scores, outcomes []float64) Isotonic {
	type point struct{ x, y, weight float64 }
	points := make([]point, 0, len(order))
	for _, i := range order {
		if n := len(points); n > 0 && points[n-1].x == scores[i] {
			p := &points[n-1]
			p.weight++
			p.y += (outcomes[i] - p.y) / p.weight
			continue
		}
		points = append(points, point{scores[i], outcomes[i], 1})
	}
	// Pools are runs of points that share one value.
	type pool struct {
		y, weight float64
		upTo      int
	}
	var pools []pool
	for i, p := range points {
		next := pool{p.y, p.weight, i}
		for n := len(pools); n > 0 && pools[n-1].y >= next.y; n = len(pools) {
			last := pools[n-1]
			w := last.weight + next.weight
			next = pool{(last.y*last.weight + next.y*next.weight) / w, w, i}
			pools = pools[:n-1]
		}
		pools = append(pools, next)
	}
	var f Isotonic
	from := 0
	for _, p := range pools { // only a pool's ends are needed
		f.x, f.y = append(f.x, points[from].x), append(f.y, p.y)
		if p.upTo > from {
			f.x, f.y = append(f.x, points[p.upTo].x), append(f.y, p.y)
		}
		from = p.upTo + 1
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
