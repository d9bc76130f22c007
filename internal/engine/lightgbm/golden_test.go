package lightgbm

import (
	"math"
	"testing"

	"keelson/internal/engine/enginetest"
	"keelson/internal/tensor"
)

func TestGoldenContributionsAreMetByTheLoadedModel(t *testing.T) {
	for _, c := range enginetest.Contributions(t, "lightgbm") {
		t.Run(c.Name, func(t *testing.T) {
			m := loadFile(t, c.Model)
			defer m.Close()
			width := len(m.columns)
			values, n := enginetest.Numbers(t, c.Rows, width)
			got, err := m.Explain(ctx, []tensor.Tensor{tensor.FP64s(Input, []int{n, width}, values)})
			if err != nil {
				t.Fatal(err)
			}
			divided := 1.0
			if i := m.iterations; i > 0 {
				divided = i // the library sums the trees of a forest, in raw scores too
			}
			want, margins := c.Contributions, c.Margins
			if len(want) != n*got.Outputs*(width+1) || len(margins) != n*got.Outputs {
				t.Fatalf("%d contributions and %d margins are expected for %d rows of %d features and %d outputs", len(want), len(margins), n, width, got.Outputs)
			}
			sum := 0.0
			for i, w := range want {
				at, j := i/(width+1), i%(width+1) // row and output, feature
				have := got.Base[at%got.Outputs]
				if j < width {
					have = got.Contributions[at*width+j]
				}
				if math.Abs(have-w/divided) > 1e-8*math.Max(1, math.Abs(w)) {
					t.Errorf("row and output %d, feature %d contributes %v, want %v", at, j, have, w/divided)
				}
				if sum += have; j == width {
					if margin := margins[at] / divided; math.Abs(sum-margin) > 1e-8*math.Max(1, math.Abs(margin)) {
						t.Errorf("the contributions of row and output %d add up to %v, want %v", at, sum, margin)
					}
					sum = 0
				}
			}
		})
	}
}
