package linear

import (
	"context"
	"fmt"
	"math"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Explain divides the sum before the link among the features: coefficient · (value − mean)/scale, with the mean of the
// file, which is 0 where the file names none; of a category its coefficient. The base is the intercept.
func (m *model) Explain(ctx context.Context, in []tensor.Tensor) (engine.Explanation, error) {
	if m.closed.Load() {
		return engine.Explanation{}, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	columns, n, err := m.bind(in)
	if err != nil {
		return engine.Explanation{}, err
	}
	k := len(m.features)
	out := engine.Explanation{Outputs: m.rows, Base: m.intercept, Contributions: make([]float64, n*m.rows*k), Unit: "the sum before the link " + m.link,
		Method: "exact: coefficient times distance from the mean that the model file gives (from 0 where it gives none), categories by their coefficient; of the sum before the link"}
	switch m.link {
	case "identity":
		out.Unit = "the answer"
	case "logit":
		out.Unit = "the log-odds"
	}
	if len(m.targets) == m.rows {
		out.Names = m.targets
	} else if len(m.classes) == m.rows {
		out.Names = m.classes
	}
	for _, x := range m.features {
		out.Features = append(out.Features, x.name)
		v := engine.Value{Number: math.NaN()}
		if x.words == nil && x.numbers == nil && x.mean != 0 {
			v.Number = x.mean
		}
		out.Typical = append(out.Typical, v)
	}
	sums := make([]float64, m.rows)
	for r := range n {
		if err := ctx.Err(); err != nil {
			return engine.Explanation{}, fmt.Errorf("explain row %d: %w", r, err)
		}
		if err := m.sum(columns, r, sums); err != nil { // refuses what cannot be predicted
			return engine.Explanation{}, err
		}
		for i := range m.features {
			x, c := &m.features[i], columns[i]
			at := r*c.stride + c.offset
			add := func(g int, v float64) { out.Contributions[(r*m.rows+g)*k+i] = v }
			column, category := 0, true
			switch {
			case x.text:
				out.Values = append(out.Values, engine.Value{Text: c.t.S[at], Word: true, Number: math.NaN()})
				var ok bool
				if column, ok = x.words[c.t.S[at]]; !ok {
					continue
				}
			case x.numbers != nil:
				v := c.t.Float64(at)
				out.Values = append(out.Values, engine.Value{Number: v})
				var ok bool
				if column, ok = x.numbers[v]; !ok {
					continue
				}
			default:
				category = false
				v := c.t.Float64(at)
				out.Values = append(out.Values, engine.Value{Number: v})
				if v != v && x.missing != nil {
					v = *x.missing
				}
				for g := range m.rows {
					add(g, (v-x.mean)/x.scale*m.weights[g*m.columns+x.column])
				}
			}
			if category {
				for g := range m.rows {
					add(g, m.weights[g*m.columns+column])
				}
			}
		}
	}
	return out, nil
}
