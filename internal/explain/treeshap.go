package explain

// element is one feature on the way from root to node: zero is the share of training rows that pass its splits on this
// way, one tells whether the row does (1 or 0), weight the permutation weights of all sets of its length.
type element struct {
	zero, one, weight float64
	feature           int32
}

// walker carries one row through the trees. Its buffers serve one row after the other.
type walker struct {
	e    *Ensemble
	row  []float64
	phi  []float64 // of the tree's group: a value per feature
	path []element // depth+2 levels of depth+2 elements

	fixed   int32 // the feature that is no player of the game, −1 for none
	present bool  // whether its value is known to everybody or to nobody
}

// PathDependent returns the Shapley values of every row: Features+1 numbers per group, group by group, row by row, the
// last of each being the base value (the expected margin), as XGBoost's pred_contribs lays them out. They are in units of
// the margin and sum to it. The game is that of the trees themselves: the value of a set of features is the tree's
// answer where splits on other features go both ways, weighted by the training rows (Tree.Cover). Missing values go
// where the node says. Time O(rows · leaves · depth²), exact.
//
// It fails with problem.Invalid when rows are no whole number of rows.
//
// Source: Lundberg, Erion, Lee, Consistent individualized feature attribution for tree ensembles, 2018, algorithm 2.
func (e *Ensemble) PathDependent(rows []float64) ([]float64, error) {
	rows, n, err := e.rows(rows)
	if err != nil {
		return nil, err
	}
	f, width := e.shape.Features, e.shape.Features+1
	out := make([]float64, n*e.shape.Groups*width)
	w := walker{e: e, path: make([]element, (e.depth+2)*(e.depth+2)), fixed: -1}
	for i := range n {
		w.row = rows[i*f : (i+1)*f]
		all := out[i*e.shape.Groups*width : (i+1)*e.shape.Groups*width]
		for g, mean := range e.means {
			all[g*width+f] = mean
		}
		for k, root := range e.roots {
			g := int(e.groups[k])
			w.phi = all[g*width : g*width+f]
			w.visit(root, w.start(), 0, 1)
		}
	}
	return out, nil
}

// start is the way that has not begun: no feature, all weight on the empty set.
func (w *walker) start() []element {
	w.path[0] = element{zero: 1, one: 1, weight: 1, feature: -1}
	return w.path[:1]
}

// visit goes on at the node at, the way to which is path on the given level; weight multiplies the leaves below.
func (w *walker) visit(at int32, path []element, level int, weight float64) {
	n := &w.e.nodes[at]
	if n.right == 0 {
		w.leaf(path, n.threshold*weight)
		return
	}
	hot := w.e.next(at, w.row)
	if n.feature == w.fixed {
		w.pass(at, hot, path, level, weight)
		return
	}
	zero, one := 1.0, 1.0
	for i := 1; i < len(path); i++ {
		if path[i].feature == n.feature {
			zero, one = path[i].zero, path[i].one
			path = unwind(path, i)
			break
		}
	}
	for _, child := range [2]int32{at + 1, n.right} {
		step := element{zero: zero * w.e.nodes[child].share, feature: n.feature}
		if child == hot {
			step.one = one
		}
		// A child that neither the row nor a training row reaches adds nothing to any feature.
		if step.zero != 0 || step.one != 0 {
			next := w.copy(path, level+1, 1)
			extend(next, step)
			w.visit(child, next, level+1, weight)
		}
	}
}

// pass goes through a split on the fixed feature, which leaves no step on the way.
func (w *walker) pass(at, hot int32, path []element, level int, weight float64) {
	if w.present {
		w.visit(hot, path, level, weight)
		return
	}
	for _, child := range [2]int32{at + 1, w.e.nodes[at].right} {
		if share := w.e.nodes[child].share; share != 0 {
			w.visit(child, w.copy(path, level+1, 0), level+1, weight*share)
		}
	}
}

// copy gives path a place on a level of its own, with room for more elements.
func (w *walker) copy(path []element, level, more int) []element {
	stride := w.e.depth + 2
	next := w.path[level*stride : level*stride+len(path)+more]
	copy(next, path)
	return next
}

// extend puts step at the path's last place and grows the weights of the sets by it.
func extend(path []element, step element) {
	d := len(path) - 1
	step.weight = 0
	path[d] = step
	scale := 1 / float64(d+1)
	for i := d - 1; i >= 0; i-- {
		path[i+1].weight += step.one * path[i].weight * float64(i+1) * scale
		path[i].weight *= step.zero * float64(d-i) * scale
	}
}

// unwind takes element k out of the path, undoing its extend.
func unwind(path []element, k int) []element {
	d := len(path) - 1
	zero, one := path[k].zero, path[k].one
	next := path[d].weight
	for i := d - 1; i >= 0; i-- {
		if one != 0 {
			was := path[i].weight
			path[i].weight = next * float64(d+1) / float64(i+1)
			next = was - path[i].weight*zero*float64(d-i)/float64(d+1)
		} else {
			path[i].weight *= float64(d+1) / (zero * float64(d-i))
		}
	}
	for i := k; i < d; i++ {
		path[i].zero, path[i].one, path[i].feature = path[i+1].zero, path[i+1].one, path[i+1].feature
	}
	return path[:d]
}

// leaf gives every feature on the path its share of the leaf's value: (one − zero) · Σ weights without the feature.
// For all features the row does not pass on this way that product is the same, so it is worked out once.
func (w *walker) leaf(path []element, value float64) {
	d := len(path) - 1
	if d == 0 {
		return
	}
	cold := 0.0
	for i := range d {
		cold += path[i].weight / float64(d-i)
	}
	value *= float64(d + 1)
	cold *= value
	for k := 1; k <= d; k++ {
		el := &path[k]
		if el.one == 0 {
			w.phi[el.feature] -= cold
			continue
		}
		next, total := path[d].weight, 0.0
		for i := d - 1; i >= 0; i-- {
			part := next / float64(i+1)
			total += part
			next = path[i].weight - part*el.zero*float64(d-i)
		}
		w.phi[el.feature] += total * (1 - el.zero) * value
	}
}
