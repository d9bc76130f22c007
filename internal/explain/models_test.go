package explain

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
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

// header names the columns of a CSV.
func header(t testing.TB, name string) []string {
	t.Helper()
	line, _, _ := strings.Cut(string(file(t, name)), "\n")
	return strings.Split(strings.TrimSpace(line), ",")
}

// column is the place of a column of a CSV.
func column(t testing.TB, name, column string) int {
	t.Helper()
	at := slices.Index(header(t, name), column)
	if at < 0 {
		t.Fatalf("%s has no column %q", name, column)
	}
	return at
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
	text := file(t, name)
	switch {
	case strings.HasPrefix(string(text), "tree"):
		shape, trees = lightgbm(t, string(text))
	case strings.Contains(string(text), `"learner"`):
		shape, trees = xgboost(t, text)
	default:
		shape, trees = forest(t, text)
	}
	e, err := New(shape, trees)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// prepare puts NaN for the zeros of features for which a LightGBM model takes zero as missing.
func prepare(t testing.TB, name string, rows []float64, features int) {
	t.Helper()
	zero := map[int]bool{}
	if text := string(file(t, name)); strings.HasPrefix(text, "tree") {
		for _, part := range strings.Split(text, "\nTree=")[1:] {
			field := fields(part)
			for k, kind := range field["decision_type"] {
				if v := int(number(t, kind)); v&1 == 0 && v>>2&3 == 1 {
					zero[int(number(t, field["split_feature"][k]))] = true
				}
			}
		}
	}
	for i, v := range rows {
		if zero[i%features] && math.Abs(v) <= 1e-35 {
			rows[i] = math.NaN()
		}
	}
}

func fields(text string) map[string][]string {
	out := map[string][]string{}
	for _, line := range strings.Split(text, "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			out[key] = strings.Fields(value)
		}
	}
	return out
}

// booster is the part of an XGBoost file that holds the trees; a dart has one inside.
type booster struct {
	Model struct {
		Group []int `json:"tree_info"`
		Trees []struct {
			Left     []int32   `json:"left_children"`
			Right    []int32   `json:"right_children"`
			Feature  []int32   `json:"split_indices"`
			Default  []int     `json:"default_left"`
			Cond     []float32 `json:"split_conditions"`
			Hessians []float32 `json:"sum_hessian"`
			Words    []int32   `json:"categories"`
			Nodes    []int32   `json:"categories_nodes"`
			From     []int     `json:"categories_segments"`
			Sizes    []int     `json:"categories_sizes"`
		} `json:"trees"`
	} `json:"model"`
	Inner   *booster  `json:"gbtree"`
	Weights []float64 `json:"weight_drop"`
}

func xgboost(t testing.TB, text []byte) (Shape, []Tree) {
	var m struct {
		Learner struct {
			Param struct {
				Base     string `json:"base_score"`
				Features string `json:"num_feature"`
			} `json:"learner_model_param"`
			Objective struct {
				Name string `json:"name"`
			} `json:"objective"`
			Booster booster `json:"gradient_booster"`
		} `json:"learner"`
	}
	decode(t, text, &m)
	shape := Shape{Features: int(number(t, m.Learner.Param.Features)), Single: true}
	for _, s := range strings.Split(strings.Trim(m.Learner.Param.Base, "[]"), ",") {
		base := number(t, s)
		switch name := m.Learner.Objective.Name; {
		case name == "binary:logistic" || name == "reg:logistic" || name == "binary:logitraw":
			base = math.Log(base / (1 - base))
		case name == "count:poisson" || name == "reg:gamma" || name == "reg:tweedie":
			base = math.Log(base)
		}
		shape.Base = append(shape.Base, base)
	}
	shape.Groups = len(shape.Base)
	var trees []Tree
	b := m.Learner.Booster
	weights := b.Weights
	if b.Inner != nil {
		b = *b.Inner
	}
	for i, x := range b.Model.Trees {
		out := Tree{Left: x.Left, Right: x.Right, Feature: x.Feature, Group: b.Model.Group[i], Weight: 1, Categories: map[int32][]int32{}}
		if weights != nil {
			out.Weight = weights[i]
		}
		for k := range x.Left {
			out.Threshold = append(out.Threshold, float64(x.Cond[k]))
			out.Cover = append(out.Cover, float64(x.Hessians[k]))
			out.MissingLeft = append(out.MissingLeft, x.Default[k] == 1)
		}
		for k, node := range x.Nodes {
			out.Categories[node] = x.Words[x.From[k] : x.From[k]+x.Sizes[k]]
		}
		out.Value = out.Threshold // of leaves, where XGBoost keeps it too
		trees = append(trees, out)
	}
	return shape, trees
}

func forest(t testing.TB, text []byte) (Shape, []Tree) {
	var m struct {
		Trees []struct {
			Left, Right, Feature    []int32
			Threshold, Value, Cover []float64
		}
	}
	decode(t, text, &m)
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

// lightgbm reads the text format, for raw scores, which LightGBM sums for a random forest too: inner nodes and leaves are numbered apart, child −k−1 is leaf k; a value in a node's
// category set goes left, where ours go right, so that categorical nodes change sides.
func lightgbm(t testing.TB, text string) (Shape, []Tree) {
	var trees []Tree
	shape := Shape{}
	for i, part := range strings.Split(strings.Split(text, "end of trees")[0], "\nTree=") {
		field := fields(part)
		if i == 0 {
			shape.Features = int(number(t, field["max_feature_idx"][0])) + 1
			shape.Groups = int(number(t, field["num_tree_per_iteration"][0]))
			continue
		}
		inner := len(field["split_feature"])
		n := inner + len(field["leaf_value"])
		out := Tree{Left: make([]int32, n), Right: make([]int32, n), Feature: make([]int32, n), Threshold: make([]float64, n), Inclusive: true,
			MissingLeft: make([]bool, n), Categories: map[int32][]int32{}, Value: make([]float64, n), Cover: make([]float64, n), Weight: 1, Group: (i - 1) % shape.Groups}
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
				if kind>>2&3 == 0 { // NaN is compared as 0
					out.MissingLeft[k] = 0 <= out.Threshold[k]
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
