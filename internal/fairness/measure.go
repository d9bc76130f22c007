package fairness

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"keelson/internal/problem"
	"keelson/internal/score"
)

// Kinds of measure: a difference has an upper limit and is even at 0, a ratio has a lower one and is even at 1.
const (
	Difference = "difference"
	Ratio      = "ratio"
)

// Limits that hold when nobody names another.
const (
	MaxDifference = 0.1
	MinRatio      = FourFifths
)

// Measure is one gap that can be held against a limit, under the name that suites and monitors use.
type Measure struct {
	Name  string  `json:"name"`
	Label string  `json:"label"` // for people, "demographic parity difference"
	Kind  string  `json:"kind"`  // difference or ratio
	Limit float64 `json:"limit"` // the one that holds when nobody names another
	Truth bool    `json:"truth"` // it needs what was right, not only what was decided
	gap   func(*Table) Gap
	rate  func(*Table) string
}

func constant(rate string) func(*Table) string { return func(*Table) string { return rate } }

// odds names the rate whose difference makes EqualisedOdds.
func (t *Table) odds() string {
	a, b := t.EqualOpportunity().Difference, t.FalseAlarmParity().Difference
	if !a.OK() || b.OK() && b.V > a.V {
		return "fpr"
	}
	return "tpr"
}

var measures = []Measure{
	{"demographic_parity_difference", "demographic parity difference", Difference, MaxDifference, false, (*Table).DemographicParity, constant("selection_rate")},
	{"demographic_parity_ratio", "demographic parity ratio (four-fifths rule)", Ratio, MinRatio, false, (*Table).DemographicParity, constant("selection_rate")},
	{"equalised_odds_difference", "equalised odds difference", Difference, MaxDifference, true, (*Table).EqualisedOdds, (*Table).odds},
	{"equal_opportunity_difference", "equal opportunity difference", Difference, MaxDifference, true, (*Table).EqualOpportunity, constant("tpr")},
	{"predictive_parity_difference", "predictive parity difference", Difference, MaxDifference, true, (*Table).PredictiveParity, constant("precision")},
	{"false_alarm_parity_difference", "false alarm parity difference", Difference, MaxDifference, true, (*Table).FalseAlarmParity, constant("fpr")},
	{"accuracy_parity_difference", "accuracy parity difference", Difference, MaxDifference, true, (*Table).AccuracyParity, constant("accuracy")},
}

// others are further names people use for measures.
var others = map[string]string{
	"demographic_parity": "demographic_parity_difference", "statistical_parity_difference": "demographic_parity_difference",
	"four_fifths": "demographic_parity_ratio", "disparate_impact": "demographic_parity_ratio", "disparate_impact_ratio": "demographic_parity_ratio",
	"equalised_odds": "equalised_odds_difference", "equalized_odds": "equalised_odds_difference", "equalized_odds_difference": "equalised_odds_difference",
	"equal_opportunity": "equal_opportunity_difference", "predictive_parity": "predictive_parity_difference",
	"false_alarm_parity": "false_alarm_parity_difference", "accuracy_parity": "accuracy_parity_difference",
}

// MeasureNames lists the names of the measures, the most used first.
func MeasureNames() []string {
	out := make([]string, len(measures))
	for i, m := range measures {
		out[i] = m.Name
	}
	return out
}

// MeasureNamed finds a measure by its name or another one in use, whatever its case.
func MeasureNamed(name string) (Measure, bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	if own, ok := others[name]; ok {
		name = own
	}
	for _, m := range measures {
		if m.Name == name {
			return m, true
		}
	}
	return Measure{}, false
}

// Holds reports whether a value keeps a limit; one off by no more than rounding does.
func (m Measure) Holds(value, limit float64) bool {
	if m.Kind == Ratio {
		return value >= limit-1e-12
	}
	return value <= limit+1e-12
}

// FairnessGroup is one group of a FairnessReport. A rate is null where it is not defined.
type FairnessGroup struct {
	Name          string   `json:"name" doc:"the group for people to read, such as region north"`
	Values        []string `json:"values" doc:"one per column; the empty one stands for missing"`
	Rows          int      `json:"rows"`
	Small         bool     `json:"small" doc:"it has fewer rows than min_rows and takes part in no gap"`
	SelectionRate *float64 `json:"selection_rate" doc:"share decided positively, 0 to 1"`
	TPR           *float64 `json:"tpr" doc:"true positive rate, 0 to 1"`
	FPR           *float64 `json:"fpr" doc:"false positive rate, 0 to 1"`
	Precision     *float64 `json:"precision" doc:"share of the chosen that are truly positive, 0 to 1"`
}

// FairnessReport is a table held against one measure's limit, as it is stored and shown.
type FairnessReport struct {
	Measure string          `json:"measure"`
	Label   string          `json:"label"`
	Kind    string          `json:"kind" enum:"difference,ratio"`
	Rate    string          `json:"rate" doc:"the rate that is compared" enum:"selection_rate,tpr,fpr,precision,accuracy"`
	Columns []string        `json:"columns"`
	Value   *float64        `json:"value" doc:"the gap; null where it is not defined"`
	Limit   float64         `json:"limit" doc:"most for a difference, least for a ratio"`
	OK      bool            `json:"ok" doc:"the gap is defined and keeps the limit"`
	Why     string          `json:"why,omitempty" doc:"why there is no gap"`
	Highest string          `json:"highest,omitempty" doc:"the group with the highest rate"`
	Lowest  string          `json:"lowest,omitempty" doc:"the group with the lowest rate"`
	MinRows int             `json:"min_rows" doc:"rows from which a group is judged"`
	Groups  []FairnessGroup `json:"groups" doc:"those that are judged first; at most 50"`
	More    int             `json:"more" doc:"groups that are not listed"`
	Detail  string          `json:"detail" doc:"the finding in one or a few sentences"`
}

// ListedGroups is how many groups a report lists.
const ListedGroups = 50

// Counted makes a table of groups that were counted elsewhere, such as in the windows of a monitor. known tells that their
// confusions hold what was right; minimum 0 means MinimumGroup.
func Counted(attributes []string, minimum int, known bool, groups ...Group) *Table {
	t := &Table{Attributes: attributes, Minimum: minimum, Known: known, Groups: []Group{}, Small: []Group{}}
	if minimum == 0 {
		t.Minimum = MinimumGroup
	}
	for _, g := range slices.SortedFunc(slices.Values(groups), func(a, b Group) int { return slices.Compare(a.Values, b.Values) }) {
		if g.N < t.Minimum {
			t.Small = append(t.Small, g)
		} else {
			t.Groups = append(t.Groups, g)
		}
	}
	return t
}

// Title names a group of the table in a sentence: "region north, sex f"; "region missing" where there is no value.
func (t *Table) Title(g Group) string {
	parts := make([]string, 0, len(t.Attributes))
	for i, a := range t.Attributes {
		switch {
		case i >= len(g.Values):
		case g.Values[i] == "":
			parts = append(parts, a+" missing")
		default:
			parts = append(parts, a+" "+clip(g.Values[i]))
		}
	}
	return strings.Join(parts, ", ")
}

func clip(s string) string { return problem.Clip(s, 100) }

// Judge holds the table against a limit of a measure. A gap that is not defined keeps no limit; Why says what is missing.
func (t *Table) Judge(m Measure, limit float64) FairnessReport {
	g := m.gap(t)
	r := FairnessReport{Measure: m.Name, Label: m.Label, Kind: m.Kind, Rate: m.rate(t), Columns: slices.Clone(t.Attributes), Limit: limit, MinRows: t.Minimum}
	v := g.Difference
	if m.Kind == Ratio {
		v = g.Ratio
	}
	titles := map[string]string{}
	for _, group := range t.Groups {
		titles[group.Name()] = t.Title(group)
	}
	r.Highest, r.Lowest = titles[g.Highest], titles[g.Lowest]
	if v.OK() {
		r.Value, r.OK = &v.V, m.Holds(v.V, limit)
		r.Detail = t.sentence(m, r, g)
	} else {
		r.Why, r.Highest, r.Lowest = v.Why, "", ""
		r.Detail = fmt.Sprintf("The %s by %s has no value: %s.", m.Label, strings.Join(t.Attributes, " and "), v.Why)
	}
	for i, out := range g.LeftOut {
		if i == 3 {
			r.Detail += fmt.Sprintf(" So are %d more.", len(g.LeftOut)-3)
			break
		}
		r.Detail += fmt.Sprintf(" %s is left out: %s.", upper(titles[out.Group]), out.Why)
	}
	switch n := len(t.Small); {
	case n == 1:
		r.Detail += fmt.Sprintf(" %s has fewer than %d rows and is not judged.", upper(t.Title(t.Small[0])), t.Minimum)
	case n > 1:
		r.Detail += fmt.Sprintf(" %d groups have fewer than %d rows and are not judged.", n, t.Minimum)
	}
	r.Groups, r.More = t.listed(g)
	return r
}

// sentence tells a defined gap with its two groups.
func (t *Table) sentence(m Measure, r FairnessReport, g Gap) string {
	rates := map[string]string{}
	for _, group := range t.Groups {
		v := group.Metrics()[r.Rate]
		rates[group.Name()] = percent(v.V)
	}
	form := map[string]string{
		"selection_rate": "Of %s %s are chosen, of %s %s",
		"tpr":            "Of the truly positive of %s %s are chosen, of those of %s %s",
		"fpr":            "Of the truly negative of %s %s are chosen, of those of %s %s",
		"precision":      "Of the chosen of %s %s are truly positive, of those of %s %s",
		"accuracy":       "Of %s %s are decided rightly, of %s %s",
	}[r.Rate]
	value, limit := number(*r.Value, r.Limit)
	tail := "a difference of %s, allowed is %s."
	if m.Kind == Ratio {
		tail = "a ratio of %s, allowed is no less than %s."
	}
	if g.Highest == g.Lowest {
		return fmt.Sprintf("In every group the rate is %s: "+tail, rates[g.Highest], value, limit)
	}
	return fmt.Sprintf(form+": "+tail, r.Highest, rates[g.Highest], r.Lowest, rates[g.Lowest], value, limit)
}

// listed gives the groups of a report: those of the gap, then the larger ones, the judged before the small.
func (t *Table) listed(gap Gap) ([]FairnessGroup, int) {
	pick := func(from []Group, room int) []Group {
		if len(from) <= room {
			return from
		}
		first := func(g Group) bool { return g.Name() == gap.Highest || g.Name() == gap.Lowest }
		order := slices.Clone(from)
		slices.SortStableFunc(order, func(a, b Group) int {
			if first(a) != first(b) {
				if first(a) {
					return -1
				}
				return 1
			}
			return b.N - a.N
		})
		order = order[:max(room, 0)]
		slices.SortFunc(order, func(a, b Group) int { return slices.Compare(a.Values, b.Values) })
		return order
	}
	out := []FairnessGroup{}
	for i, from := range [][]Group{t.Groups, t.Small} {
		for _, g := range pick(from, ListedGroups-len(out)) {
			values := make([]string, len(g.Values))
			for k, v := range g.Values {
				values[k] = clip(v)
			}
			out = append(out, FairnessGroup{Name: t.Title(g), Values: values, Rows: g.N, Small: i == 1, SelectionRate: pointer(g.SelectionRate()),
				TPR: pointer(g.TPR()), FPR: pointer(g.FPR()), Precision: pointer(g.Precision())})
		}
	}
	return out, len(t.Groups) + len(t.Small) - len(out)
}

func pointer(v score.Value) *float64 {
	if !v.OK() {
		return nil
	}
	return &v.V
}

func percent(v float64) string {
	return strconv.FormatFloat(float64(int(v*1000+0.5))/10, 'f', -1, 64) + " %"
}

// number writes a value and its limit with as many digits as tell them apart.
func number(value, limit float64) (string, string) {
	for digits := 2; digits < 12; digits++ {
		a, b := strconv.FormatFloat(value, 'g', digits, 64), strconv.FormatFloat(limit, 'g', digits, 64)
		if a != b && b == strconv.FormatFloat(limit, 'g', -1, 64) || digits == 11 {
			return a, b
		}
		if diff := value - limit; diff < 1e-12 && diff > -1e-12 {
			break
		}
	}
	s := strconv.FormatFloat(limit, 'g', -1, 64)
	return s, s
}

// upper makes a sentence begin with a capital letter.
func upper(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if first == utf8.RuneError {
		return s
	}
	return string(unicode.ToTitle(first)) + s[n:]
}
