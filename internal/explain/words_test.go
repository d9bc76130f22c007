package explain

import "testing"

func TestASummaryNamesWhatSpokeForAndAgainstWithoutUnits(t *testing.T) {
	fact := func(name, value string, contribution float64) Fact {
		return Fact{Feature: name, Value: value, Contribution: contribution}
	}
	for _, c := range []struct {
		name  string
		facts []Fact
		want  string
	}{
		{"both sides, the weightier first", []Fact{fact("income", "36,052", -0.68), fact("age", "23.1", 0.55), fact("debt", "3,667", -0.4)}, "Above all income of 36,052 and debt of 3,667 lowered the answer; age of 23.1 raised it."},
		{"one side", []Fact{fact("city", "Bonn", 0.1)}, "Above all city of Bonn raised the answer."},
		{"a missing value", []Fact{fact("income", "", 2)}, "Above all income (missing) raised the answer."},
		{"three of each side", []Fact{fact("a", "1", 4), fact("b", "2", 3), fact("c", "3", 2), fact("d", "4", 1)}, "Above all a of 1, b of 2 and c of 3 raised the answer."},
		{"the weightier stands last", []Fact{fact("a", "1", 1), fact("b", "2", -3)}, "Above all b of 2 lowered the answer; a of 1 raised it."},
		{"nothing moved it", []Fact{fact("a", "1", 0)}, ""},
		{"no feature", nil, ""},
	} {
		if got := Summary(c.facts, "the answer"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
