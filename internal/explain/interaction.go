package explain

// Interactions returns for every row and group a square of Features+1 by Features+1 numbers, as XGBoost's
// pred_interactions lays them out: beside the diagonal what two features contribute only together, half in each of the two
// places, on the diagonal what a feature contributes by itself, in the last corner the base value; the rest of the last
// row and column is 0. A feature's line sums to its PathDependent value, the whole square to the margin.
//
//	Φ_ij = ½ (φ_i with j known − φ_i with j unknown)    Φ_ii = φ_i − Σ_j≠i Φ_ij
//
// Time: that of PathDependent, times twice the number of features a tree asks for. It fails as PathDependent does.
//
// Source: Lundberg, Erion, Lee, Consistent individualized feature attribution for tree ensembles, 2018, section 4.
func (e *Ensemble) Interactions(rows []float64) ([]float64, error) {
	single, err := e.PathDependent(rows)
	if err != nil {
		return nil, err
	}
	rows, n, err := e.rows(rows)
	if err != nil {
		return nil, err
	}
	f, width := e.shape.Features, e.shape.Features+1
	asked := e.asked()
	out := make([]float64, n*e.shape.Groups*width*width)
	w := walker{e: e, path: make([]element, (e.depth+2)*(e.depth+2)), phi: make([]float64, f)}
	for i := range n {
		w.row = rows[i*f : (i+1)*f]
		for k, root := range e.roots {
			square := out[(i*e.shape.Groups+int(e.groups[k]))*width*width:]
			for _, j := range asked[k] {
				w.fixed = j
				for _, half := range [2]float64{0.5, -0.5} {
					clear(w.phi)
					w.present = half > 0
					w.visit(root, w.start(), 0, 1)
					for _, other := range asked[k] {
						square[int(j)*width+int(other)] += half * w.phi[other]
					}
				}
			}
		}
		for g := range e.shape.Groups {
			at := i*e.shape.Groups + g
			square, phi := out[at*width*width:(at+1)*width*width], single[at*width:(at+1)*width]
			for j := range f {
				own := phi[j]
				for other := range f {
					own -= square[j*width+other] // the diagonal is still 0
				}
				square[j*width+j] = own
			}
			square[width*width-1] = phi[f]
		}
	}
	return out, nil
}

// asked lists the features of every tree, each once.
func (e *Ensemble) asked() [][]int32 {
	out := make([][]int32, len(e.roots))
	for k, root := range e.roots {
		end := int32(len(e.nodes))
		if k+1 < len(e.roots) {
			end = e.roots[k+1]
		}
		seen := map[int32]bool{}
		for _, n := range e.nodes[root:end] {
			if n.right != 0 && !seen[n.feature] {
				seen[n.feature] = true
				out[k] = append(out[k], n.feature)
			}
		}
	}
	return out
}
