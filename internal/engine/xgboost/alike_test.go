package xgboost

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

// testdata/alike.json is what alike.py recorded.
func TestLabelsThatAreAllAlikeAndMarginsAtTheEdge(t *testing.T) {
	data, err := os.ReadFile("testdata/alike.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Model string
		Rows        [][]any
		Predict     []any
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) != 7 {
		t.Fatal(len(cases), err)
	}
	number := func(v any) float64 {
		switch v {
		case "NaN":
			return math.NaN()
		case "Infinity":
			return math.Inf(1)
		case "-Infinity":
			return math.Inf(-1)
		}
		return v.(float64)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			m, err := Engine{}.Load(context.Background(), fstest.MapFS{"m.json": {Data: []byte(c.Model)}}, "m.json", engine.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			var flat []float32
			for _, row := range c.Rows {
				for _, v := range row {
					flat = append(flat, float32(number(v)))
				}
			}
			out, err := m.Predict(context.Background(), []tensor.Tensor{tensor.FP32s(Input, []int{len(c.Rows), 3}, flat)})
			if err != nil {
				t.Fatal(err)
			}
			if out[0].Len() != len(c.Predict) {
				t.Fatalf("%d answers, want %d", out[0].Len(), len(c.Predict))
			}
			for i, v := range c.Predict {
				want, got := number(v), out[0].Float64(i)
				if got != want && !(got != got && want != want) && !(math.Abs(got-want) <= 1e-6*math.Abs(want)) {
					t.Errorf("answer %d is %v, want %v", i, got, want)
				}
			}
		})
	}
}
