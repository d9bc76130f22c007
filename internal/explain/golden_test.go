package explain

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// tree values are summed in float32 by the libraries, and the expected contributions are rounded to 8 digits.
const tolerance = 1e-6

func near(t *testing.T, got, want float64, what string, at ...any) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Max(1, math.Abs(want))) {
		t.Errorf("%s %v = %v, want %v (off by %.2g)", what, at, got, want, got-want)
	}
}

type treeCase struct {
	Model    string          `json:"model"`
	Rows     string          `json:"rows"`
	Margin   json.RawMessage `json:"margin"` // a number, or one per class, per row
	Answers  json.RawMessage `json:"prediction"`
	XGBoost  json.RawMessage `json:"contribs_xgboost_last_is_bias"`
	LightGBM json.RawMessage `json:"contribs_lightgbm_last_is_bias"`
	Shap     json.RawMessage `json:"shap_treeexplainer"` // features, and classes within when there are several
	Expected json.RawMessage `json:"expected_value"`
	Against  [][]float64     `json:"-"` // shap_interventional_bg20, or of another number of rows
	Mean     float64         `json:"interventional_expected_value"`
}

func expected(t *testing.T) map[string]json.RawMessage {
	var all struct {
		Cases map[string]json.RawMessage `json:"cases"`
	}
	decode(t, file(t, "explain_expected.json"), &all)
	return all.Cases
}

// numbers takes nested JSON lists apart, in order; a single number is a list of one.
func numbers(t *testing.T, raw json.RawMessage) (out []float64) {
	if raw == nil {
		return nil
	}
	var v any
	decode(t, raw, &v)
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case float64:
			out = append(out, v)
		case []any:
			for _, x := range v {
				walk(x)
			}
		default:
			t.Fatalf("%v is no number", v)
		}
	}
	walk(v)
	return out
}

func TestEveryGoldenTreeExplanationIsMet(t *testing.T) {
	explained := 0
	for name, raw := range expected(t) {
		var c treeCase
		var probe map[string]json.RawMessage
		decode(t, raw, &probe)
		if probe["margin"] == nil && probe["prediction"] == nil {
			continue
		}
		for key := range probe {
			if !slices.Contains([]string{"model", "rows", "margin", "prediction", "contribs_xgboost_last_is_bias", "contribs_lightgbm_last_is_bias", "shap_treeexplainer",
				"expected_value", "interventional_expected_value"}, key) && !strings.HasPrefix(key, "shap_interventional") {
				t.Errorf("nothing here is %s of %s", key, name)
			}
		}
		explained++
		t.Run(name, func(t *testing.T) {
			decode(t, raw, &c)
			for key, values := range probe {
				if strings.HasPrefix(key, "shap_interventional") {
					decode(t, values, &c.Against)
				}
			}
			e := model(t, c.Model)
			f, width, groups := e.Features(), e.Features()+1, e.Groups()
			rows := flat(table(t, c.Rows), f)
			prepare(t, c.Model, rows, f)
			n := len(rows) / f
			got, err := e.PathDependent(rows)
			if err != nil {
				t.Fatal(err)
			}
			margins, err := e.Margins(rows)
			if err != nil {
				t.Fatal(err)
			}
			margin := append(numbers(t, c.Margin), numbers(t, c.Answers)...)
			if len(margin) != n*groups {
				t.Fatalf("there are %d margins for %d rows and %d outputs", len(margin), n, groups)
			}
			for i, want := range margin {
				near(t, margins[i], want, "margin", i)
				sum := 0.0
				for _, v := range got[i*width : (i+1)*width] {
					sum += v
				}
				near(t, sum, want, "sum of contributions", i)
			}
			for library, want := range map[string][]float64{"xgboost": numbers(t, c.XGBoost), "lightgbm": numbers(t, c.LightGBM)} {
				if len(want) != 0 && len(want) != len(got) {
					t.Fatalf("%s gives %d values, we %d", library, len(want), len(got))
				}
				for i, w := range want {
					near(t, got[i], w, library+" contribution, row, output, feature", i/width/groups, i/width%groups, i%width)
				}
			}
			if shap := numbers(t, c.Shap); shap != nil {
				if len(shap) != n*f*groups {
					t.Fatalf("shap gives %d values, want %d", len(shap), n*f*groups)
				}
				for i, w := range shap {
					row, feature, g := i/groups/f, i/groups%f, i%groups
					near(t, got[(row*groups+g)*width+feature], w, "shap, row, output, feature", row, g, feature)
				}
			}
			for g, w := range numbers(t, c.Expected) {
				near(t, got[g*width+f], w, "base", g)
			}
			if c.Against == nil {
				return
			}
			got, err = e.Interventional(rows, flat(table(t, "explain_background.csv"), f))
			if err != nil {
				t.Fatal(err)
			}
			for i, values := range c.Against {
				for j, w := range values {
					near(t, got[i*width+j], w, "interventional, row, feature", i, j)
				}
				near(t, got[i*width+f], c.Mean, "interventional base", i)
			}
		})
	}
	if explained == 0 {
		t.Error("no model was explained")
	}
}

// enumerated is the golden case of all subsets of a few rows, counted through.
type enumerated struct {
	Model      string
	Rows       string // "first 3 of explain_rows.csv"
	Background string
	Shapley    [][]float64
	Base       float64 `json:"base_value"`
}

// read gives the model, the rows to explain and the background.
func (c *enumerated) read(t *testing.T) (e *Ensemble, rows [][]float64, background []float64) {
	t.Helper()
	decode(t, expected(t)["kernel_exact"], c)
	e = model(t, c.Model)
	n := 0
	var of string
	if _, err := fmt.Sscanf(c.Rows, "first %d of %s", &n, &of); err != nil || n != len(c.Shapley) || n == 0 {
		t.Fatalf("%q: %v, and %d rows are expected", c.Rows, err, len(c.Shapley))
	}
	return e, table(t, of)[:n], flat(table(t, c.Background), e.Features())
}

func TestEnumerationMeetsTheGoldenValuesAndInterventional(t *testing.T) {
	var c enumerated
	e, rows, background := c.read(t)
	f := e.Features()
	trees, err := e.Interventional(flat(rows, f), background)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range c.Shapley {
		got, base, err := Shapley(e.Margins, rows[i][:f], background)
		if err != nil {
			t.Fatal(err)
		}
		near(t, base, c.Base, "base", i)
		for j, w := range want {
			near(t, got[j], w, "Shapley value, row, feature", i, j)
			if d := math.Abs(got[j] - trees[i*(f+1)+j]); d > 1e-12*math.Max(1, math.Abs(base)) {
				t.Errorf("enumeration and trees differ by %g at row %d, feature %d", d, i, j)
			}
		}
	}
}
