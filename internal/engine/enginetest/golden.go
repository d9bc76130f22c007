package enginetest

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Golden is a model with what its own library says of rows.
type Golden struct {
	Name          string
	Model, Rows   string    // files: the model, and the rows as CSV for Numbers
	Contributions []float64 // row by row, of every output: one per feature, the base last
	Margins       []float64 // row by row, of every output, before it is made a probability
}

// Contributions reads the models whose contributions a library ("lightgbm", "xgboost") recorded, by name. They lie in the folder
// that KEELSON_GOLDEN names, else beside package explain. The test fails when there is none.
func Contributions(t testing.TB, library string) (out []Golden) {
	t.Helper()
	dir := cmp.Or(os.Getenv("KEELSON_GOLDEN"), filepath.Join("..", "..", "explain", "testdata"))
	b, err := os.ReadFile(filepath.Join(dir, "explain_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Cases)) {
		fields := doc.Cases[name]
		contributions := fields["contribs_"+library+"_last_is_bias"]
		if contributions == nil {
			continue
		}
		file := func(field string) string {
			var s string
			if err := json.Unmarshal(fields[field], &s); err != nil {
				t.Fatalf("%s, %s: %v", name, field, err)
			}
			return filepath.Join(dir, s)
		}
		out = append(out, Golden{name, file("model"), file("rows"), leaves(t, contributions), leaves(t, fields["margin"])})
	}
	if len(out) == 0 {
		t.Fatalf("%s has no model with contributions of %s", dir, library)
	}
	return out
}

// leaves takes nested lists of numbers apart, in order.
func leaves(t testing.TB, raw json.RawMessage) (out []float64) {
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

// Numbers reads the first width columns of a CSV file with a head, row by row; an empty cell is a missing value, NaN.
func Numbers(t testing.TB, path string, width int) (values []float64, rows int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil || len(lines) < 2 || len(lines[0]) < width {
		t.Fatalf("%s has %d lines: %v", path, len(lines), err)
	}
	for _, line := range lines[1:] {
		for _, cell := range line[:width] {
			v := math.NaN()
			if cell != "" {
				if v, err = strconv.ParseFloat(cell, 64); err != nil {
					t.Fatal(err)
				}
			}
			values = append(values, v)
		}
	}
	return values, len(lines) - 1
}
