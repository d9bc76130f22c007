//go:build !race

package onnx

import (
	"context"
	"testing"
)

// The race detector makes pools drop what they hold, so allocations are counted without it.
func TestACallAllocatesItsAnswerOnly(t *testing.T) {
	for _, r := range read(t, "testdata/models.json") {
		if r.Name != "dense" && r.Name != "logistic_plain" && r.Name != "forest_multi" {
			continue
		}
		m, err := r.load(t)
		if err != nil {
			t.Fatal(err)
		}
		in := r.Calls[1].Inputs
		ctx := context.Background()
		if n := testing.AllocsPerRun(100, func() { _, _ = m.Predict(ctx, in) }); n > 12 {
			t.Errorf("%s: a call of one row allocates %v times", r.Name, n)
		}
	}
}
