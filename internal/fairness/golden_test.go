package fairness

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keelson/internal/score"
)

// golden returns the folder of the expected values: KEELSON_GOLDEN, or the copy in testdata.
func golden() string {
	if dir := os.Getenv("KEELSON_GOLDEN"); dir != "" {
		return dir
	}
	return "testdata"
}

func read(t *testing.T, keep func(row map[string]string) bool) (truth, predicted []bool, columns map[string][]string) {
	t.Helper()
	f, err := os.Open(filepath.Join(golden(), "fairness.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	columns = map[string][]string{}
	for _, r := range rows[1:] {
		row := map[string]string{}
		for i, head := range rows[0] {
			row[head] = r[i]
		}
		if !keep(row) {
			continue
		}
		truth, predicted = append(truth, row["y"] == "1"), append(predicted, row["pred"] == "1")
		for head, v := range row {
			columns[head] = append(columns[head], v)
		}
	}
	return truth, predicted, columns
}

func near(t *testing.T, what string, got score.Value, want *float64) {
	t.Helper()
	switch {
	case want == nil:
		if got.OK() {
			t.Errorf("%s = %v, want undefined with a reason", what, got)
		}
	case !got.OK() || math.Abs(got.V-*want) > 1e-9*math.Max(1e-3, math.Abs(*want)):
		t.Errorf("%s = %v, want %v", what, got, *want)
	}
}

type wanted struct {
	Groups    map[string]map[string]*float64 `json:"groups"`
	Fairlearn map[string]*float64            `json:"fairlearn"`
	Defined   map[string]*float64            `json:"defined_groups_only"`
	Impact    map[string]*float64            `json:"disparate_impact"`
	Below     []string                       `json:"violates_80_percent_rule"`
	TooSmall  []string                       `json:"groups_reported_as_too_small"`
}

func TestEveryGoldenFairnessValueIsMet(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(golden(), "fairness_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Cases map[string]wanted `json:"cases"`
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	small := want.Cases["min_group_size_30"].TooSmall
	if len(want.Cases) < 2 {
		t.Fatalf("there are expected values of %d cases", len(want.Cases))
	}
	for name, w := range want.Cases {
		t.Run(name, func(t *testing.T) {
			truth, predicted, c := read(t, func(row map[string]string) bool {
				return !strings.HasSuffix(name, "_without_small") || !slices.Contains(small, row["group"])
			})
			var by []Attribute
			for _, attribute := range strings.Split(strings.TrimSuffix(strings.TrimSuffix(name, "_without_small"), "_all"), "_x_") {
				if c[attribute] == nil { // the product's own minimum is of groups by the first attribute
					attribute = "group"
				}
				by = append(by, Attribute{attribute, c[attribute]})
			}
			if w.Groups == nil { // the product's own minimum
				table, err := New(truth, predicted, 0, by...)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, g := range table.Small {
					got = append(got, g.Name())
				}
				if !slices.Equal(got, w.TooSmall) || len(table.Groups) == 0 {
					t.Errorf("too small are %q, want %q", got, w.TooSmall)
				}
				for _, g := range table.Groups {
					if slices.Contains(w.TooSmall, g.Name()) {
						t.Errorf("%s is ranked although it is too small", g.Name())
					}
				}
				return
			}
			table, err := New(truth, predicted, 1, by...)
			if err != nil {
				t.Fatal(err)
			}
			if len(table.Groups) != len(w.Groups) {
				t.Fatalf("there are %d groups, want %d", len(table.Groups), len(w.Groups))
			}
			for _, g := range table.Groups {
				got := g.Metrics()
				got["count"] = score.Of(float64(g.N))
				if len(w.Groups[g.Name()]) == 0 {
					t.Errorf("the group %s is not expected", g.Name())
				}
				for key, v := range w.Groups[g.Name()] {
					near(t, g.Name()+" "+key, got[key], v)
				}
			}
			odds := table.EqualisedOdds()
			for key, v := range w.Defined {
				near(t, key, map[string]score.Value{
					"tpr_difference": table.EqualOpportunity().Difference, "fpr_difference": table.FalseAlarmParity().Difference,
					"equalized_odds_difference": odds.Difference,
				}[key], v)
			}
			dp, eo := table.Fairlearn()
			for key, v := range w.Fairlearn {
				near(t, "fairlearn's "+key, map[string]score.Value{
					"demographic_parity_difference": dp.Difference, "demographic_parity_ratio": dp.Ratio,
					"equalized_odds_difference": eo.Difference, "equalized_odds_ratio": eo.Ratio,
				}[key], v)
			}
			var below []string
			for _, im := range table.FourFifths() {
				near(t, "impact on "+im.Group, im.Ratio, w.Impact[im.Group])
				if im.Below {
					below = append(below, im.Group)
				}
			}
			if !slices.Equal(below, w.Below) {
				t.Errorf("below four fifths are %q, want %q", below, w.Below)
			}
		})
	}
}
