package score

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestAnUndefinedMeasureSaysWhy(t *testing.T) {
	binary := func(truth []bool, scores ...float64) *Binary {
		b, err := NewBinary(truth, scores, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	regression, err := NewRegression(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	multi, err := NewMulticlass(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f1 := func(_, _, f Value) Value { return f }
	for name, v := range map[string]Value{
		"accuracy without rows":                        binary(nil).Accuracy(),
		"ROC AUC without rows":                         binary(nil).ROCAUC(),
		"log loss without rows":                        binary(nil).LogLoss(),
		"precision without predicted positives":        binary([]bool{true, false}, 0.1, 0.2).Precision(),
		"recall without positives":                     binary([]bool{false}, 0.1).Recall(),
		"F1 without any positive":                      binary([]bool{false}, 0.1).F1(),
		"log loss of margins instead of probabilities": binary([]bool{true}, 3).LogLoss(),
		"lift with one class":                          binary([]bool{true}, 1).Lift(0.1),
		"MAE without rows":                             regression.MAE(),
		"R² without rows":                              regression.R2(),
		"median error without rows":                    regression.MedianAE(),
		"macro F1 without rows":                        f1(multi.Macro()),
		"a quantile of nothing":                        Quantiles(nil, 0.5)[0],
		"an infinite value":                            Of(math.Inf(1)),
	} {
		if v.OK() || v.Why == "" {
			t.Errorf("%s = %v, want undefined with a reason", name, v)
		}
		if text, err := json.Marshal(v); err != nil || string(text) != "null" {
			t.Errorf("%s is %s (%v) in JSON, want null", name, text, err)
		}
	}
}

func TestRowsThatAreNotNumbersAreRefusedByRow(t *testing.T) {
	for name, err := range map[string]error{
		"a NaN score":             second(NewBinary([]bool{true, false}, []float64{0.5, math.NaN()}, 0.5)),
		"an infinite target":      second(NewRegression([]float64{1, math.Inf(1)}, []float64{1, 2})),
		"lengths that differ":     second(NewBinary([]bool{true}, nil, 0.5)),
		"a class out of range":    second(NewProbabilities([]int{0, 2}, [][]float64{{1, 0}, {0, 1}})),
		"a probability above one": second(NewProbabilities([]int{0}, [][]float64{{1.5, 0}})),
		"ragged probabilities":    second(NewProbabilities([]int{0, 0}, [][]float64{{1, 0}, {1}})),
	} {
		if err == nil {
			t.Errorf("%s is taken, want an error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestQuantilesAreNearestRanks(t *testing.T) {
	got := Quantiles([]float64{5, 1, 4, 2, 3, math.NaN()}, 0, 0.5, 0.95, 1)
	for i, want := range []float64{1, 3, 5, 5} {
		if got[i].V != want {
			t.Errorf("quantile %d is %v, want %v", i, got[i], want)
		}
	}
}

func TestBinaryMeasuresStayInTheirRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		truth := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "truth")
		scores := rapid.SliceOfN(rapid.Float64Range(0, 1), n, n).Draw(t, "scores")
		b, err := NewBinary(truth, scores, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range b.Metrics() {
			low, high := 0.0, 1.0
			switch name {
			case "log_loss":
				high = 40
			case "mcc", "kappa", "gini":
				low = -1
			}
			if v.OK() && !(v.V >= low-1e-12 && v.V <= high+1e-12) {
				t.Fatalf("%s = %v", name, v)
			}
		}
	})
}
