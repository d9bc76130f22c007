package lightgbm

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"keelson/internal/engine/enginetest"
	"keelson/internal/tensor"
)

// leaves takes nested lists of numbers apart, in order.
func leaves(t *testing.T, raw json.RawMessage) (out []float64) {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case float64:
			out = append(out, v)
		default:
			t.Fatalf("%v is no number", v)
		}
	}
	walk(v)
	return out
}

func TestGoldenContributionsAreMetByTheLoadedModel(t *testing.T) {
	dir := os.Getenv("KEELSON_GOLDEN")
	if dir == "" {
		dir = filepath.Join("..", "..", "explain", "testdata")
	}
	b, err := os.ReadFile(filepath.Join(dir, "explain_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases map[string]struct {
			Model, Rows string
			Margin      json.RawMessage
			Contribs    json.RawMessage `json:"contribs_lightgbm_last_is_bias"`
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for name, c := range doc.Cases {
		if c.Contribs == nil {
			continue
		}
		compared++
		t.Run(name, func(t *testing.T) {
			m := loadFile(t, filepath.Join(dir, c.Model))
			defer m.Close()
			width := len(m.columns)
			values, n := enginetest.Numbers(t, filepath.Join(dir, c.Rows), width)
			got, err := m.Explain(ctx, []tensor.Tensor{tensor.FP64s(Input, []int{n, width}, values)})
			if err != nil {
				t.Fatal(err)
			}
			divided := 1.0
			if i := m.iterations; i > 0 {
				divided = i // the library sums the trees of a forest, in raw scores too
			}
			want, margins := leaves(t, c.Contribs), leaves(t, c.Margin)
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
	if compared == 0 {
		t.Error("no model was compared")
	}
}
