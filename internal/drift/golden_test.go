package drift

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// golden returns the folder of the expected values: KEELSON_GOLDEN, or the copy in testdata.
func golden() string {
	if dir := os.Getenv("KEELSON_GOLDEN"); dir != "" {
		return dir
	}
	return "testdata"
}

func readCSV(t *testing.T, name string) map[string][]string {
	t.Helper()
	return readTable(t, filepath.Join(golden(), name))
}

// readTable reads a CSV file with a header, column by column.
func readTable(t *testing.T, path string) map[string][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for i, head := range rows[0] {
		for _, r := range rows[1:] {
			out[head] = append(out[head], r[i])
		}
	}
	return out
}

func numbers(t *testing.T, cells []string) []float64 {
	t.Helper()
	out := make([]float64, len(cells))
	for i, c := range cells {
		if c == "" {
			out[i] = math.NaN()
			continue
		}
		v, err := strconv.ParseFloat(c, 64)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = v
	}
	return out
}

func words(cells []string) map[string]float64 {
	var filled []string
	for _, c := range cells {
		if c != "" {
			filled = append(filled, c)
		}
	}
	return Words(filled)
}

// near reports whether got meets want at the relative tolerance tol (absolute below 1).
func near(got, want, tol float64) bool {
	return math.Abs(got-want) <= tol*math.Max(1e-3, math.Abs(want)) || math.Abs(got-want) < 1e-13
}

type expectedColumn struct {
	Type   string             `json:"type"`
	Values map[string]any     `json:"-"`
	Edges  []float64          `json:"edges"`
	P      []float64          `json:"p_reference"`
	Q      []float64          `json:"p_current"`
	Words  []string           `json:"categories"`
	CountR []float64          `json:"count_reference"`
	CountC []float64          `json:"count_current"`
	New    []string           `json:"new_categories"`
	Gone   []string           `json:"gone_categories"`
	Before map[string]float64 `json:"reference"` // moments; null when no value is valid
	After  map[string]float64 `json:"current"`
}

// elsewhere are the keys of a column that numericValues and wordValues compare by themselves, and aside those that are no
// target: the p-value by SciPy's finite-sample approximation, where Kolmogorov's limit is ours.
var (
	elsewhere = []string{"type", "edges", "p_reference", "p_current", "categories", "count_reference", "count_current", "new_categories", "gone_categories", "reference", "current"}
	aside     = []string{"ks_pvalue_scipy_asymp"}
)

func TestEveryGoldenDriftValueIsMet(t *testing.T) {
	ref, cur := readCSV(t, "drift_reference.csv"), readCSV(t, "drift_current.csv")
	raw, err := os.ReadFile(filepath.Join(golden(), "drift_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Floor   float64                    `json:"psi_floor"`
		Columns map[string]json.RawMessage `json:"columns"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Floor != Floor {
		t.Fatalf("the file floors shares at %g, we at %g", doc.Floor, Floor)
	}
	checked := 0
	for name, text := range doc.Columns {
		t.Run(name, func(t *testing.T) {
			var want expectedColumn
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &want.Values); err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if want.Type == "numeric" {
				got = numericValues(t, want, numbers(t, ref[name]), numbers(t, cur[name]))
			} else {
				got = wordValues(t, want, ref[name], cur[name])
			}
			if (want.Edges == nil) != (want.Values["edges"] == nil) || want.Type != "numeric" && want.Type != "categorical" {
				t.Fatalf("a column of type %q with edges %v cannot be compared", want.Type, want.Edges)
			}
			for key, w := range want.Values {
				g, ok := got[key]
				switch {
				case slices.Contains(elsewhere, key) || slices.Contains(aside, key):
				case !ok:
					t.Errorf("nothing here is %s", key)
				case w == nil:
					if err, isErr := g.(error); !isErr {
						t.Errorf("%s = %v, want undefined", key, g)
					} else if _, isUndefined := err.(Undefined); !isUndefined || err.Error() == "" {
						t.Errorf("%s fails with %v, want Undefined with a reason", key, err)
					}
					checked++
				default:
					tol := 1e-9
					if key == "ks_pvalue_kolmogorov_limit" || key == "chi2_contingency_pvalue" || key == "chi2_contingency_yates_pvalue" {
						tol = 1e-4
					}
					slack := 0.0
					if sd := want.Before["std_population"]; key == "mean_shift_in_reference_std" && sd > 0 { // the library's means are rounded
						slack = 0x1p-50 * max(math.Abs(want.Before["mean"]), math.Abs(want.After["mean"])) / sd
					}
					v, isFloat := g.(float64)
					if !isFloat || !near(v, w.(float64), tol) && !(math.Abs(v-w.(float64)) <= slack) {
						t.Errorf("%s = %v, want %v", key, g, w)
					}
					checked++
				}
			}
		})
	}
	if checked < 10*len(doc.Columns) {
		t.Errorf("only %d values were compared for %d columns", checked, len(doc.Columns))
	}
}

// result puts a value or its reason into the map the test compares.
func result(v float64, err error) any {
	if err != nil {
		return err
	}
	return v
}

func numericValues(t *testing.T, want expectedColumn, ref, cur []float64) map[string]any {
	t.Helper()
	rs, rmiss, rinf := Split(ref)
	cs, cmiss, cinf := Split(cur)
	edges := Edges(rs, 10)
	p, q := Count(edges, ref), Count(edges, cur)
	if want.Edges != nil {
		if !slices.Equal(edges, want.Edges) {
			t.Errorf("edges %v, want %v", edges, want.Edges)
		}
		ps, qs, err := pair(p, q)
		if err != nil || !close(ps, want.P) || !close(qs, want.Q) {
			t.Errorf("shares %v %v (%v), want %v %v", ps, qs, err, want.P, want.Q)
		}
	}
	for side, moments := range map[string]map[string]float64{"reference": want.Before, "current": want.After} {
		values := rs
		if side == "current" {
			values = cs
		}
		if (moments == nil) != (len(values) == 0) {
			t.Errorf("the %s has %d valid values, and the moments %v", side, len(values), moments)
		}
		if m, sd := Moments(values); moments != nil && (!near(m, moments["mean"], 1e-9) || !near(sd, moments["std_population"], 1e-9)) {
			t.Errorf("the moments of the %s are %v %v, want %v", side, m, sd, moments)
		}
	}
	ks, err := KS(rs, cs)
	pv := result(ks, err)
	if err == nil {
		pv = KSPValue(ks, len(rs), len(cs))
	}
	return map[string]any{
		"psi": result(PSI(p, q)), "js_distance": result(JS(p, q)), "hellinger": result(Hellinger(p, q)),
		"total_variation": result(TotalVariation(p, q)), "ks_statistic": result(ks, err),
		"ks_pvalue_kolmogorov_limit": pv, "wasserstein": result(Wasserstein(rs, cs)),
		"wasserstein_normed":          result(NormedWasserstein(rs, cs)),
		"mean_shift_in_reference_std": result(MeanShift(rs, cs)),
		"psi_with_missing_bin":        result(PSI(append(p, float64(rmiss+rinf)), append(q, float64(cmiss+cinf)))),
		"missing_rate_reference":      float64(rmiss) / float64(len(ref)),
		"missing_rate_current":        float64(cmiss) / float64(len(cur)),
		"infinite_rate_reference":     float64(rinf) / float64(len(ref)),
		"infinite_rate_current":       float64(cinf) / float64(len(cur)),
		"n_reference":                 float64(len(ref)),
		"n_current":                   float64(len(cur)),
	}
}

func wordValues(t *testing.T, want expectedColumn, ref, cur []string) map[string]any {
	t.Helper()
	rw, cw := words(ref), words(cur)
	names, p, q := Align(rw, cw)
	if !slices.Equal(names, want.Words) || !slices.Equal(p, want.CountR) || !slices.Equal(q, want.CountC) {
		t.Errorf("counts %v %v %v, want %v %v %v", names, p, q, want.Words, want.CountR, want.CountC)
	}
	if n, g := NewWords(rw, cw), GoneWords(rw, cw); !slices.Equal(n, want.New) || !slices.Equal(g, want.Gone) {
		t.Errorf("new %v gone %v, want %v %v", n, g, want.New, want.Gone)
	}
	chi, err := ChiSquare(p, q)
	yates, yatesErr := Yates(p, q)
	return map[string]any{
		"n_reference": float64(len(ref)), "n_current": float64(len(cur)),
		"missing_rate_reference": empty(ref), "missing_rate_current": empty(cur),
		"chi2_contingency_yates": result(yates.ChiSquare, yatesErr), "chi2_contingency_yates_pvalue": result(yates.PValue, yatesErr),
		"psi": result(PSI(p, q)), "js_distance": result(JS(p, q)), "hellinger": result(Hellinger(p, q)),
		"total_variation": result(TotalVariation(p, q)), "l_infinity": result(LInfinity(p, q)),
		"chi2_contingency": result(chi.ChiSquare, err), "chi2_contingency_dof": result(float64(chi.Freedom), err),
		"chi2_contingency_pvalue": result(chi.PValue, err), "cramers_v": result(chi.CramersV, err),
		"new_category_share_current": result(NewShare(rw, cw)),
	}
}

// empty is the share of cells that are empty.
func empty(cells []string) float64 {
	n := 0.0
	for _, c := range cells {
		if c == "" {
			n++
		}
	}
	return n / float64(len(cells))
}

func close(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !near(a[i], b[i], 1e-9) {
			return false
		}
	}
	return true
}

func ExamplePSI() {
	psi, _ := PSI([]float64{50, 50}, []float64{80, 20})
	fmt.Printf("%.4f\n", psi)
	// Output: 0.4159
}
