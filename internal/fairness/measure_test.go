package fairness

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestJudgeSaysTheGapWithItsGroups(t *testing.T) {
	for _, c := range []struct {
		name    string
		table   *Table
		measure string
		ok      bool
		says    string
	}{
		{"a difference over the limit", table(t, "north", 100, 41, "south", 100, 29), "demographic_parity_difference", false,
			"Of g north 41 % are chosen, of g south 29 %: a difference of 0.12, allowed is 0.1."},
		{"a difference at the limit", table(t, "north", 100, 40, "south", 100, 30), "demographic_parity_difference", true, "allowed is 0.1."},
		{"exactly four fifths", table(t, "north", 50, 25, "south", 50, 20), "four_fifths", true, "a ratio of 0.8, allowed is no less than 0.8."},
		{"below four fifths", table(t, "north", 50, 25, "south", 50, 19), "disparate_impact", false, "a ratio of 0.76"},
		{"one group", table(t, "north", 50, 25), "demographic_parity", false, "has no value: fewer than two groups"},
		{"nobody chosen", table(t, "north", 50, 0, "south", 50, 0), "four_fifths", false, "has no value: the rate is 0 in every group"},
		{"an even rate", table(t, "north", 50, 5, "south", 50, 5), "demographic_parity", true, "In every group the rate is 10 %"},
		{"a small group", table(t, "north", 50, 5, "south", 50, 5, "", 29, 29), "demographic_parity", true, "G missing has fewer than 30 rows and is not judged."},
		{"a group without positives", table(t, "north", 50, 5, "south", 50, 5, "west", 50, 0), "equal_opportunity", true, "G west is left out: the truth has no positive row."},
		{"a gap a hair over the limit is told apart", table(t, "north", 100000, 40001, "south", 100000, 30000), "demographic_parity", false, "a difference of 0.10001, allowed is 0.1."},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ok := MeasureNamed(c.measure)
			if !ok {
				t.Fatalf("there is no measure %q", c.measure)
			}
			r := c.table.Judge(m, m.Limit)
			if r.OK != c.ok || !strings.Contains(r.Detail, c.says) {
				t.Errorf("ok is %v and the detail %q, want %v and %q", r.OK, r.Detail, c.ok, c.says)
			}
			if (r.Value == nil) != (r.Why != "") || r.Value == nil && r.OK {
				t.Errorf("the value is %v and why %q", r.Value, r.Why)
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAReportListsAtMostFiftyGroupsAndAlwaysThoseOfTheGap(t *testing.T) {
	var groups []Group
	for i := range 200 {
		groups = append(groups, Group{Values: []string{strconv.Itoa(1000 + i)}, N: 1000 + i, Selected: 100})
	}
	groups[0].Selected, groups[1].Selected = 0, 1000 // the smallest two
	m, _ := MeasureNamed("demographic_parity")
	r := Counted([]string{"g"}, 0, false, groups...).Judge(m, m.Limit)
	names := []string{}
	for _, g := range r.Groups {
		names = append(names, g.Name)
	}
	if len(names) != ListedGroups || r.More != 150 || !slices.Contains(names, r.Highest) || !slices.Contains(names, r.Lowest) || r.Lowest != "g 1000" {
		t.Errorf("%d groups are listed, %d more, %s to %s: %v", len(names), r.More, r.Highest, r.Lowest, names)
	}
	if r.Groups[0].TPR != nil {
		t.Error("a true positive rate is given without the truth")
	}
}

func TestEveryOtherNameLeadsToAMeasure(t *testing.T) {
	for other := range others {
		if _, ok := MeasureNamed(" " + strings.ToUpper(other)); !ok {
			t.Errorf("%s leads nowhere", other)
		}
	}
	if _, ok := MeasureNamed("justice"); ok {
		t.Error("justice is no measure")
	}
}

func TestASentenceMayBeginWithAnyLetter(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "g missing": "G missing", "älter ja": "Älter ja", "ǆep 1": "ǅep 1", "возраст 3": "Возраст 3", "年齢 3": "年齢 3", "1 to 2": "1 to 2", "\xff": "\xff",
	} {
		if got := upper(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
