package xgboost

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

func TestAModelStoppedEarlyAnswersAsItsEstimator(t *testing.T) {
	b, err := os.ReadFile("testdata/wrapped.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		File           string
		Rows           [][]*float64
		Predict, Every [][]float64
		Decided        [][]int64
	}
	if err := json.Unmarshal(b, &cases); err != nil || len(cases) != 6 {
		t.Fatal(len(cases), err)
	}
	answers := func(t *testing.T, name string, file []byte, rows [][]*float64, want [][]float64) (engine.Model, []tensor.Tensor) {
		t.Helper()
		m, err := Engine{}.Load(ctx, fstest.MapFS{name: {Data: file}}, name, engine.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := m.Predict(ctx, []tensor.Tensor{matrix(rows)})
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range slices.Concat(want...) {
			if got := float64(out[0].F32[i]); !(math.Abs(got-v) <= tolerance*math.Max(1, math.Abs(v))) {
				t.Fatalf("value %d is %v, want %v", i, got, v)
			}
		}
		return m, out
	}
	replaced := func(t *testing.T, file []byte, old, new string) []byte {
		t.Helper()
		if len(old) != len(new) || bytes.Count(file, []byte(old)) != 1 {
			t.Fatalf("%q cannot be replaced", old)
		}
		return bytes.Replace(file, []byte(old), []byte(new), 1)
	}
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			file, err := os.ReadFile("testdata/wrapped/" + c.File)
			if err != nil {
				t.Fatal(err)
			}
			m, out := answers(t, c.File, file, c.Rows, c.Predict)
			decided, ok := m.(engine.Decider).Decide(out)
			if ok != (c.Decided != nil) {
				t.Fatalf("it decides: %v", ok)
			}
			if want := slices.Concat(c.Decided...); ok && !slices.Equal(decided[0].I64, want) {
				t.Errorf("decided %v, want %v", decided[0].I64, want)
			}
			if ok && decided[0].Check() != nil {
				t.Error(decided[0].Check())
			}
			// Versions before 2.0 do not write where rounds end.
			answers(t, c.File, replaced(t, file, "iteration_indptr", "iteration_nothing"[:16]), c.Rows, c.Predict)
			// A booster that was not saved by an estimator asks all trees, and so does one whose best round is not in the file.
			answers(t, c.File, replaced(t, file, "scikit_learn", "another_name"), c.Rows, c.Every)
			answers(t, c.File, replaced(t, file, "best_iteration", "any_iterations"), c.Rows, c.Every)
		})
	}
}

func TestABestRoundThatIsNotThereLeavesAllTrees(t *testing.T) {
	for _, c := range []struct {
		name         string
		w            wrapper
		groups, want int
	}{
		{"beyond the rounds", wrapper{wrote: true, best: 7, rounds: []int32{0, 2, 4}}, 2, 12},
		{"the largest number", wrapper{wrote: true, best: math.MaxInt32}, 1, 12},
		{"rounds that end beyond the trees", wrapper{wrote: true, best: 0, rounds: []int32{0, 50}}, 1, 12},
		{"rounds below zero", wrapper{wrote: true, best: 0, rounds: []int32{0, -5}}, 1, 12},
		{"more trees per round than trees", wrapper{wrote: true, best: 1, parallel: math.MaxInt32}, 1, 12},
		{"the last round", wrapper{wrote: true, best: 2, rounds: []int32{0, 4, 8, 12}}, 4, 12},
		{"the first round", wrapper{wrote: true, best: 0, rounds: []int32{0, 4, 8, 12}}, 4, 4},
		{"classes times parallel trees", wrapper{wrote: true, best: 1, parallel: 2}, 2, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.w.trees(12, c.groups, false); got != c.want {
				t.Errorf("%d trees, want %d", got, c.want)
			}
		})
	}
}
