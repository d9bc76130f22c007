package explain

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// golden returns the folder of the expected values: KEELSON_GOLDEN, or the copy in testdata.
func golden() string {
	if dir := os.Getenv("KEELSON_GOLDEN"); dir != "" {
		return dir
	}
	return "testdata"
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(golden(), name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decode(t testing.TB, raw []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// table reads a CSV of numbers row by row; an empty cell is NaN.
func table(t testing.TB, name string) (rows [][]float64) {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(string(file(t, name)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records[1:] {
		row := make([]float64, len(r))
		for i, cell := range r {
			row[i] = math.NaN()
			if cell != "" {
				row[i] = number(t, cell)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// flat lays the first features values of each row one behind the other.
func flat(rows [][]float64, features int) (out []float64) {
	for _, r := range rows {
		out = append(out, r[:features]...)
	}
	return out
}

func number(t testing.TB, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// model reads one of the golden models, whatever library it is from.
func model(t testing.TB, name string) *Ensemble {
	t.Helper()
	var shape Shape
	var trees []Tree
	switch {
	case strings.HasPrefix(name, "xgb_"):
		shape, trees = xgboost(t, name)
	case strings.HasPrefix(name, "lgb_"):
		shape, trees = lightgbm(t, name)
	default:
		shape, trees = forest(t, name)
	}
	e, err := New(shape, trees)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func xgboost(t testing.TB, name string) (Shape, []Tree) {
	var m struct {
		Learner struct {
			Param struct {
				Base     string `json:"base_score"`
				Features string `json:"num_feature"`
			} `json:"learner_model_param"`
			Objective struct {
				Name string `json:"name"`
			} `json:"objective"`
			Booster struct {
				Model struct {
					Group []int `json:"tree_info"`
					Trees []struct {
						Left     []int32   `json:"left_children"`
						Right    []int32   `json:"right_children"`
						Feature  []int32   `json:"split_indices"`
						Default  []int     `json:"default_left"`
						Cond     []float32 `json:"split_conditions"`
						Hessians []float32 `json:"sum_hessian"`
					} `json:"trees"`
				} `json:"model"`
			} `json:"gradient_booster"`
		} `json:"learner"`
	}
	decode(t, file(t, name), &m)
	shape := Shape{Features: int(number(t, m.Learner.Param.Features)), Single: true}
	for _, s := range strings.Split(strings.Trim(m.Learner.Param.Base, "[]"), ",") {
		base := number(t, s)
		if m.Learner.Objective.Name == "binary:logistic" {
			base = math.Log(base / (1 - base))
		}
		shape.Base = append(shape.Base, base)
	}
	shape.Groups = len(shape.Base)
	var trees []Tree
	for i, x := range m.Learner.Booster.Model.Trees {
		out := Tree{Left: x.Left, Right: x.Right, Feature: x.Feature, Group: m.Learner.Booster.Model.Group[i], Weight: 1}
		for k := range x.Left {
			out.Threshold = append(out.Threshold, float64(x.Cond[k]))
			out.Cover = append(out.Cover, float64(x.Hessians[k]))
			out.MissingLeft = append(out.MissingLeft, x.Default[k] == 1)
		}
		out.Value = out.Threshold // of leaves, where XGBoost keeps it too
		trees = append(trees, out)
	}
	return shape, trees
}

func forest(t testing.TB, name string) (Shape, []Tree) {
	var m struct {
		Trees []struct {
			Left, Right, Feature    []int32
			Threshold, Value, Cover []float64
		}
	}
	decode(t, file(t, name), &m)
	var trees []Tree
	features := int32(0)
	for _, x := range m.Trees {
		trees = append(trees, Tree{Left: x.Left, Right: x.Right, Feature: x.Feature, Threshold: x.Threshold, Inclusive: true,
			Value: x.Value, Cover: x.Cover, Weight: 1 / float64(len(m.Trees))})
		for _, f := range x.Feature {
			features = max(features, f+1)
		}
	}
	return Shape{Features: int(features), Groups: 1, Single: true}, trees
}

// lightgbm reads the text format: inner nodes and leaves are numbered apart, child −k−1 is leaf k; a value in a node's
// category set goes left, where ours go right, so that categorical nodes change sides.
func lightgbm(t testing.TB, name string) (Shape, []Tree) {
	var trees []Tree
	shape := Shape{Groups: 1}
	for i, part := range strings.Split(strings.Split(string(file(t, name)), "end of trees")[0], "\nTree=") {
		field := map[string][]string{}
		for _, line := range strings.Split(part, "\n") {
			if key, value, ok := strings.Cut(line, "="); ok {
				field[key] = strings.Fields(value)
			}
		}
		if i == 0 {
			shape.Features = int(number(t, field["max_feature_idx"][0])) + 1
			continue
		}
		inner := len(field["split_feature"])
		n := inner + len(field["leaf_value"])
		out := Tree{Left: make([]int32, n), Right: make([]int32, n), Feature: make([]int32, n), Threshold: make([]float64, n), Inclusive: true,
			MissingLeft: make([]bool, n), Categories: map[int32][]int32{}, Value: make([]float64, n), Cover: make([]float64, n), Weight: 1}
		child := func(s string) int32 {
			c := int32(number(t, s))
			if c < 0 {
				c = int32(inner) - c - 1
			}
			return c
		}
		for k := range n {
			if k >= inner {
				out.Left[k], out.Right[k] = -1, -1
				out.Value[k] = number(t, field["leaf_value"][k-inner])
				out.Cover[k] = number(t, field["leaf_count"][k-inner])
				continue
			}
			out.Left[k], out.Right[k] = child(field["left_child"][k]), child(field["right_child"][k])
			out.Feature[k] = int32(number(t, field["split_feature"][k]))
			out.Threshold[k] = number(t, field["threshold"][k])
			out.Cover[k] = number(t, field["internal_count"][k])
			kind := int(number(t, field["decision_type"][k]))
			if out.MissingLeft[k] = kind&2 != 0; kind&1 == 0 {
				if kind>>2&3 != 2 {
					t.Fatalf("node %d of tree %d does not treat NaN as missing; the golden model does", k, i-1)
				}
				continue
			}
			out.Left[k], out.Right[k] = out.Right[k], out.Left[k]
			out.MissingLeft[k] = true // LightGBM's right: missing is in no set
			set := int(out.Threshold[k])
			from, to := int(number(t, field["cat_boundaries"][set])), int(number(t, field["cat_boundaries"][set+1]))
			out.Categories[int32(k)] = []int32{}
			for w := from; w < to; w++ {
				word := uint32(number(t, field["cat_threshold"][w]))
				for b := range int32(32) {
					if word>>b&1 == 1 {
						out.Categories[int32(k)] = append(out.Categories[int32(k)], int32(w-from)*32+b)
					}
				}
			}
		}
		trees = append(trees, out)
	}
	return shape, trees
}
