package explain

import "keelson/internal/problem"

// Interventional returns the Shapley values of every row against the rows of background, laid out as by PathDependent;
// the base value is the mean margin of background. The value of a set of features is the mean margin when these come from
// the row and the others from a background row, so that a feature the model does not use gets exactly 0 whatever it is
// correlated with. Time O(rows · background · nodes) at worst, exact.
//
// It fails with problem.Invalid when rows or background are no whole number of rows or background is empty.
//
// Source: Lundberg et al., From local explanations to global understanding with explainable AI for trees, 2020
// (independent TreeExplainer).
func (e *Ensemble) Interventional(rows, background []float64) ([]float64, error) {
	rows, n, err := e.rows(rows)
	if err != nil {
		return nil, err
	}
	base, err := e.Margins(background)
	if err != nil {
		return nil, err
	}
	background, m, err := e.rows(background)
	if err != nil {
		return nil, err
	}
	if m == 0 {
		return nil, problem.New(problem.Invalid, "Interventional explanations need a background: give at least one row to compare with.")
	}
	f, groups, width := e.shape.Features, e.shape.Groups, e.shape.Features+1
	out := make([]float64, n*groups*width)
	p := pair{e: e, from: make([]uint8, f), weights: weights(min(e.depth, f))}
	for i := range n {
		p.x = rows[i*f : (i+1)*f]
		all := out[i*groups*width : (i+1)*groups*width]
		for b := range m {
			p.z = background[b*f : (b+1)*f]
			for k, root := range e.roots {
				g := int(e.groups[k])
				p.phi = all[g*width : g*width+f]
				p.visit(root, 0, 0)
			}
		}
		for j := range all {
			all[j] /= float64(m)
		}
		for b := range m {
			for g := range groups {
				all[g*width+f] += base[b*groups+g] / float64(m)
			}
		}
	}
	return out, nil
}

// weights is the table a!·b!/(a+b+1)! for a, b = 0..n.
func weights(n int) [][]float64 {
	w := make([][]float64, n+1)
	for a := range w {
		w[a] = make([]float64, n+1)
		for b := range w[a] {
			switch {
			case a > 0:
				w[a][b] = w[a-1][b] * float64(a) / float64(a+b+1)
			case b > 0:
				w[a][b] = w[a][b-1] * float64(b) / float64(b+1)
			default:
				w[a][b] = 1
			}
		}
	}
	return w
}

const (
	either = iota
	fromRow
	fromBackground
)

// pair walks a row x and a background row z through a tree at the same time.
type pair struct {
	e       *Ensemble
	x, z    []float64
	phi     []float64
	from    []uint8 // per feature: where its value on this way has to come from
	weights [][]float64
}

// visit returns what the leaves below give to one of the features that come from the row, and to one from background.
// xs and zs count these features: a leaf of value v gives v·(xs−1)!·zs!/(xs+zs)! to each of the former and takes
// v·xs!·(zs−1)!/(xs+zs)! from each of the latter.
func (p *pair) visit(at int32, xs, zs int) (gives, takes float64) {
	n := &p.e.nodes[at]
	if n.right == 0 {
		if xs > 0 {
			gives = n.threshold * p.weights[xs-1][zs]
		}
		if zs > 0 {
			takes = n.threshold * p.weights[xs][zs-1]
		}
		return gives, takes
	}
	x, z := p.e.next(at, p.x), p.e.next(at, p.z)
	f := n.feature
	switch {
	case x == z || p.from[f] == fromRow:
		return p.visit(x, xs, zs)
	case p.from[f] == fromBackground:
		return p.visit(z, xs, zs)
	}
	p.from[f] = fromRow
	gx, tx := p.visit(x, xs+1, zs)
	p.from[f] = fromBackground
	gz, tz := p.visit(z, xs, zs+1)
	p.from[f] = either
	p.phi[f] += gx - tz
	return gx + gz, tx + tz
}
