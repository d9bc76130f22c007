package linear

import (
	"math"
	"testing"

	"keelson/internal/engine"
	"keelson/internal/problem"
)

func TestContributionsAddUpToWhatTheLibraryPredicts(t *testing.T) {
	for _, c := range read(t) {
		t.Run(c.Name, func(t *testing.T) {
			m, err := load(t, file(t, c.Name))
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.(engine.Explainer).Explain(ctx, c.inputs())
			if err != nil {
				t.Fatal(err)
			}
			f := len(got.Features)
			if len(got.Values) != len(c.Predict)*f || len(got.Contributions) != len(c.Predict)*f*got.Outputs {
				t.Fatalf("%d values and %d contributions of %d rows, %d features, %d outputs", len(got.Values), len(got.Contributions), len(c.Predict), f, got.Outputs)
			}
			for r, want := range c.Predict {
				sums := make([]float64, got.Outputs)
				for g := range sums {
					sums[g] = got.Base[g]
					for _, v := range got.Contributions[(r*got.Outputs+g)*f : (r*got.Outputs+g+1)*f] {
						sums[g] += v
					}
				}
				row := make([]float64, len(want))
				m.(*model).answer(sums, row)
				for k, w := range want {
					if math.Abs(row[k]-w) > 1e-10*math.Max(1, math.Abs(w)) {
						t.Errorf("row %d value %d: the contributions make %v, the library says %v", r, k, row[k], w)
					}
				}
			}
			m.Close()
			if _, err := m.(engine.Explainer).Explain(ctx, c.inputs()); problem.KindOf(err) != problem.Unavailable {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}
