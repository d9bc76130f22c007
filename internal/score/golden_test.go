package score

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

// compare holds every value of want that we measure against got and returns how many it compared.
func compare(t *testing.T, got map[string]Value, want map[string]any) int {
	t.Helper()
	n := 0
	for key, w := range want {
		g, ok := got[key]
		if !ok {
			continue
		}
		n++
		switch w := w.(type) {
		case nil:
			if g.OK() {
				t.Errorf("%s = %v, want undefined with a reason", key, g)
			}
		case float64:
			if !g.OK() || math.Abs(g.V-w) > 1e-9*math.Max(1e-3, math.Abs(w)) {
				t.Errorf("%s = %v, want %v", key, g, w)
			}
		}
	}
	return n
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
			got["n"] = Of(float64(b.N()))
			for key := range values {
				if p, ok := strings.CutPrefix(key, "lift_top_"); ok {
					share, err := strconv.ParseFloat(strings.TrimSuffix(p, "pct"), 64)
					if err != nil {
						t.Fatal(err)
					}
					got[key] = b.Lift(share / 100)
				}
			}
			c := values["confusion"].(map[string]any)
			n := compare(t, map[string]Value{"tp": Of(float64(b.TP)), "fp": Of(float64(b.FP)), "tn": Of(float64(b.TN)), "fn": Of(float64(b.FN))}, c)
			if n += compare(t, got, values); n < 18 {
				t.Errorf("only %d values were compared", n)
			}
		})
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
			if n := compare(t, got, values); n < 12 {
				t.Errorf("only %d values were compared", n)
			}
		})
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
			names, numbers = append(names, strconv.Itoa(int(x))), append(numbers, int(x))
		}
		return names, numbers
	}
	truth, y := class(data["y"])
	predicted, _ := class(data["pred"])
	m, err := NewMulticlass(truth, predicted)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range want.Expected["confusion"].([]any) {
		for j, n := range row.([]any) {
			if m.Confusion[i][j] != int(n.(float64)) {
				t.Errorf("confusion[%d][%d] = %d, want %v", i, j, m.Confusion[i][j], n)
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
	mp, mr, mf := m.Macro()
	wp, wr, wf := m.Weighted()
	n := compare(t, map[string]Value{"precision": mp, "recall": mr, "f1": mf}, want.Expected["macro"].(map[string]any))
	n += compare(t, map[string]Value{"precision": wp, "recall": wr, "f1": wf}, want.Expected["weighted"].(map[string]any))
	n += compare(t, map[string]Value{
		"accuracy": m.Accuracy(), "mcc": m.MCC(), "cohen_kappa": m.Kappa(), "log_loss": p.LogLoss(),
		"roc_auc_ovr_macro": p.ROCAUC(), "top2_accuracy": p.TopAccuracy(2),
	}, want.Expected)
	if n != 12 {
		t.Errorf("%d values were compared, want 12", n)
	}
}
