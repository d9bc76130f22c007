package score

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
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

// columns reads a CSV of numbers; columns end at their first empty cell.
func columns(t *testing.T, name string) map[string][]float64 {
	t.Helper()
	f, err := os.Open(filepath.Join(golden(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]float64{}
	for i, head := range rows[0] {
		for _, r := range rows[1:] {
			if r[i] == "" {
				break
			}
			v, err := strconv.ParseFloat(r[i], 64)
			if err != nil {
				t.Fatal(err)
			}
			out[head] = append(out[head], v)
		}
	}
	return out
}

func expected(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(golden(), name))
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// compare holds every value of want against got, but for the keys that are compared elsewhere.
func compare(t *testing.T, got map[string]Value, want map[string]any, elsewhere ...string) {
	t.Helper()
	if len(want) == 0 {
		t.Error("there are no expected values")
	}
	for key, w := range want {
		if slices.Contains(elsewhere, key) {
			continue
		}
		g, ok := got[key]
		if !ok {
			t.Errorf("nothing here is %s", key)
		}
		switch w := w.(type) {
		case nil:
			if g.OK() {
				t.Errorf("%s = %v, want undefined with a reason", key, g)
			}
		case float64:
			if !g.OK() || math.Abs(g.V-w) > 1e-9*math.Max(1e-3, math.Abs(w)) {
				t.Errorf("%s = %v, want %v", key, g, w)
			}
		default:
			t.Errorf("%s: %v is no number", key, w)
		}
	}
}

type cases struct {
	Cases map[string]map[string]any `json:"cases"`
}

func TestEveryGoldenClassificationValueIsMet(t *testing.T) {
	data := columns(t, "classification.csv")
	var want cases
	expected(t, "classification_expected.json", &want)
	for name, values := range want.Cases {
		t.Run(name, func(t *testing.T) {
			truth := make([]bool, len(data[name+"__y"]))
			for i, y := range data[name+"__y"] {
				truth[i] = y == 1
			}
			b, err := NewBinary(truth, data[name+"__score"], values["threshold"].(float64))
			if err != nil {
				t.Fatal(err)
			}
			got := b.Metrics()
			ece, mce := b.Calibration()
			got["ece_10_equal_width"], got["mce_10_equal_width"] = ece, mce
			got["pr_auc_average_precision"], got["cohen_kappa"] = got["pr_auc"], got["kappa"]
			got["n"], got["threshold"] = Of(float64(b.N())), Of(values["threshold"].(float64))
			for key := range values {
				if p, ok := strings.CutPrefix(key, "lift_top_"); ok {
					share, err := strconv.ParseFloat(strings.TrimSuffix(p, "pct"), 64)
					if err != nil {
						t.Fatal(err)
					}
					got[key] = b.Lift(share / 100)
				}
			}
			compare(t, map[string]Value{"tp": Of(float64(b.TP)), "fp": Of(float64(b.FP)), "tn": Of(float64(b.TN)), "fn": Of(float64(b.FN))}, values["confusion"].(map[string]any))
			compare(t, got, values, "confusion")
		})
	}
	if len(want.Cases) == 0 {
		t.Error("there are no cases")
	}
}

func TestEveryGoldenRegressionValueIsMet(t *testing.T) {
	data := columns(t, "regression.csv")
	var want cases
	expected(t, "regression_expected.json", &want)
	for name, values := range want.Cases {
		t.Run(name, func(t *testing.T) {
			r, err := NewRegression(data[name+"__y"], data[name+"__pred"])
			if err != nil {
				t.Fatal(err)
			}
			got := r.Metrics()
			got["mape_nonzero_targets_only"], got["bias_mean_pred_minus_true"] = got["mape"], got["bias"]
			for key := range values {
				if q, ok := strings.CutPrefix(key, "quantile_loss_"); ok {
					v, err := strconv.ParseFloat(q, 64)
					if err != nil {
						t.Fatal(err)
					}
					got[key] = r.QuantileLoss(v)
				}
			}
			got["mape_sklearn"], got["n"] = r.FlooredMAPE(), Of(float64(len(data[name+"__y"])))
			compare(t, got, values)
		})
	}
	if len(want.Cases) == 0 {
		t.Error("there are no cases")
	}
}

func TestEveryGoldenMulticlassValueIsMet(t *testing.T) {
	data := columns(t, "multiclass.csv")
	var want struct {
		Expected map[string]any `json:"expected"`
	}
	expected(t, "multiclass_expected.json", &want)
	class := func(v []float64) (names []string, numbers []int) {
		for _, x := range v {
			names, numbers = append(names, fmt.Sprintf("%06.0f", x)), append(numbers, int(x)) // in the order of their numbers
		}
		return names, numbers
	}
	truth, y := class(data["y"])
	predicted, _ := class(data["pred"])
	m, err := NewMulticlass(truth, predicted)
	if err != nil {
		t.Fatal(err)
	}
	confusion := want.Expected["confusion"].([]any)
	for i, row := range confusion {
		for j, n := range row.([]any) {
			got, a, b := 0, slices.Index(m.Classes, fmt.Sprintf("%06d", i)), slices.Index(m.Classes, fmt.Sprintf("%06d", j))
			if a >= 0 && b >= 0 { // a class that no row has is none of ours
				got = m.Confusion[a][b]
			}
			if got != int(n.(float64)) {
				t.Errorf("confusion[%d][%d] = %d, want %v", i, j, got, n)
			}
		}
	}
	rows := make([][]float64, len(y))
	for i := range rows {
		for c := 0; data["p"+strconv.Itoa(c)] != nil; c++ {
			rows[i] = append(rows[i], data["p"+strconv.Itoa(c)][i])
		}
	}
	p, err := NewProbabilities(y, rows)
	if err != nil {
		t.Fatal(err)
	}
	for name, average := range map[string]func() (Value, Value, Value){"macro": m.Macro, "micro": m.Micro, "weighted": m.Weighted} {
		precision, recall, f1 := average()
		compare(t, map[string]Value{"precision": precision, "recall": recall, "f1": f1}, want.Expected[name].(map[string]any))
	}
	compare(t, map[string]Value{
		"accuracy": m.Accuracy(), "mcc": m.MCC(), "cohen_kappa": m.Kappa(), "log_loss": p.LogLoss(),
		"roc_auc_ovr_macro": p.ROCAUC(), "roc_auc_ovo_macro": p.ROCAUCPairs(), "top2_accuracy": p.TopAccuracy(2),
	}, want.Expected, "confusion", "macro", "micro", "weighted")
}
