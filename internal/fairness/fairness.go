// Package fairness compares how a model treats groups of people: who is chosen, and for whom it errs.
//
// A Table counts the decisions of every group; a group is one value of an attribute, or one combination of values of
// several (an intersection). The measures of a table are gaps between its groups' rates:
//
//	demographic parity    selection rate           (TP+FP)/n
//	equal opportunity     true positive rate       TP/(TP+FN)
//	equalised odds        true and false positive rate, the worse of the two
//	predictive parity     precision                TP/(TP+FP)
//	accuracy parity       accuracy                 (TP+TN)/n
//	four-fifths rule      selection rate / highest selection rate ≥ 0.8
//
// Groups smaller than the table's minimum are listed (Small) and take part in no gap: the rate of a handful of people is
// chance. A group whose rate is not defined – no positive among its true values – is left out of that gap and named in
// it with the reason. The package does no I/O. A gap is judged against a limit that the caller gives (Table.Judge).
//
// Which measure is the right one is a question about the decision, not about mathematics; when base rates differ, several
// cannot be 0 at once (Chouldechova, Fair prediction with disparate impact, 2017).
package fairness

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/score"
)

// MinimumGroup is the number of rows from which a group is ranked unless the caller says otherwise.
const MinimumGroup = 30

// Attribute is one property of the people behind the rows, a value per row. The empty string is a value like any other:
// those who did not say are a group.
type Attribute struct {
	Name   string
	Values []string
}

// Group counts the decisions about those who share the table's attributes.
type Group struct {
	Values    []string        `json:"values"`    // one per attribute of the table
	N         int             `json:"n"`         // rows, ≥ 1
	Selected  int             `json:"selected"`  // rows decided positively
	Confusion score.Confusion `json:"confusion"` // all 0 when the truth is not known
}

// Table holds the groups of one set of decisions. Make it with New. It is immutable.
type Table struct {
	Attributes []string `json:"attributes"`
	Minimum    int      `json:"minimum"` // rows from which a group is ranked
	Known      bool     `json:"known"`   // the truth was given
	Groups     []Group  `json:"groups"`  // of at least Minimum rows, in byte order of their values
	Small      []Group  `json:"small"`   // the others, in the same order
}

// New counts the decisions predicted, row by row, by the values of attributes; with several, by their combinations that
// occur. truth tells what was right; nil when that is not known yet, then only the measures of selection are defined.
// minimum is the size from which a group is ranked; 0 means MinimumGroup, 1 ranks everybody.
//
// It fails with problem.Invalid when there is no attribute, minimum is negative or the lengths differ, naming the column.
func New(truth, predicted []bool, minimum int, attributes ...Attribute) (*Table, error) {
	n := len(predicted)
	switch {
	case len(attributes) == 0:
		return nil, problem.New(problem.Invalid, "Groups need at least one attribute: name the column that tells them apart.")
	case minimum < 0:
		return nil, problem.New(problem.Invalid, "The minimum group size is %d; give 1 or more, or 0 for %d.", minimum, MinimumGroup)
	case truth != nil && len(truth) != n:
		return nil, problem.New(problem.Invalid, "There are %d decisions and %d true values; every row needs both.", n, len(truth))
	}
	t := &Table{Minimum: cmp.Or(minimum, MinimumGroup), Known: truth != nil, Groups: []Group{}, Small: []Group{}}
	for _, a := range attributes {
		if len(a.Values) != n {
			return nil, problem.New(problem.Invalid, "The attribute %q has %d values for %d decisions; every row needs one.", a.Name, len(a.Values), n)
		}
		t.Attributes = append(t.Attributes, a.Name)
	}
	for _, g := range count(truth, predicted, attributes) {
		if g.N < t.Minimum {
			t.Small = append(t.Small, g)
		} else {
			t.Groups = append(t.Groups, g)
		}
	}
	return t, nil
}

// Tables returns a table for every choice of 1 to order attributes, single ones first, each in the order given: what
// looks even by sex and by age apart may not be by both. It fails as New does, and with problem.Invalid when that would
// be more than 1000 tables.
func Tables(truth, predicted []bool, minimum, order int, attributes ...Attribute) ([]*Table, error) {
	var out []*Table
	var choose func(from, left int, chosen []Attribute) error
	choose = func(from, left int, chosen []Attribute) error {
		if left == 0 {
			if len(out) == 1000 {
				return problem.New(problem.Invalid, "The intersections of %d attributes up to %d at a time are more than 1000 tables; choose fewer.", len(attributes), order)
			}
			t, err := New(truth, predicted, minimum, chosen...)
			out = append(out, t)
			return err
		}
		for i := from; i <= len(attributes)-left; i++ {
			if err := choose(i+1, left-1, append(slices.Clip(chosen), attributes[i])); err != nil {
				return err
			}
		}
		return nil
	}
	if len(attributes) == 0 || order < 1 {
		return nil, problem.New(problem.Invalid, "Intersections need at least one attribute and an order of 1 or more.")
	}
	for k := 1; k <= min(order, len(attributes)); k++ {
		if err := choose(0, k, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// count gives the groups that occur, sorted by their values.
func count(truth, predicted []bool, attributes []Attribute) []Group {
	of := make([]int, len(predicted)) // the group of a row by the attributes seen so far
	groups := []Group{{}}
	for _, a := range attributes {
		codes, names := map[string]int{}, []string{}
		next, pairs := []Group{}, map[[2]int]int{}
		for row, v := range a.Values {
			c, ok := codes[v]
			if !ok {
				c = len(names)
				codes[v], names = c, append(names, v)
			}
			key := [2]int{of[row], c}
			g, ok := pairs[key]
			if !ok {
				g = len(next)
				pairs[key] = g
				next = append(next, Group{Values: append(slices.Clip(groups[of[row]].Values), names[c])})
			}
			of[row] = g
		}
		groups = next
	}
	for row, p := range predicted {
		g := &groups[of[row]]
		g.N++
		if p {
			g.Selected++
		}
		if truth != nil {
			g.Confusion.Add(truth[row], p)
		}
	}
	slices.SortFunc(groups, func(a, b Group) int { return slices.Compare(a.Values, b.Values) })
	return groups
}

// Name joins the group's values for people to read, "B|f".
func (g Group) Name() string { return strings.Join(g.Values, "|") }

const unknown = "the truth is not known"

// known is v, or undefined when the group was counted without the truth.
func (g Group) known(v score.Value) score.Value {
	if g.Confusion.N() != g.N {
		return score.Undefined(unknown)
	}
	return v
}

// share is a/b, undefined for why when b is 0.
func share(a, b int, why string) score.Value {
	if b == 0 {
		return score.Undefined(why)
	}
	return score.Of(float64(a) / float64(b))
}

// SelectionRate is the share of the group decided positively, (TP+FP)/n, 0..1.
func (g Group) SelectionRate() score.Value { return share(g.Selected, g.N, "there is no row") }

// BaseRate is the share of the group that is truly positive, (TP+FN)/n, 0..1.
func (g Group) BaseRate() score.Value {
	return g.known(share(g.Confusion.TP+g.Confusion.FN, g.N, "there is no row"))
}

// TPR is the true positive rate (recall), TP/(TP+FN), 0..1; undefined without truly positive rows.
func (g Group) TPR() score.Value { return g.known(g.Confusion.Recall()) }

// FPR is the false positive rate, FP/(FP+TN), 0..1; undefined without truly negative rows.
func (g Group) FPR() score.Value {
	return g.known(share(g.Confusion.FP, g.Confusion.FP+g.Confusion.TN, "the truth has no negative row"))
}

// FNR is the false negative rate (miss rate), FN/(TP+FN) = 1 − TPR.
func (g Group) FNR() score.Value {
	return g.known(share(g.Confusion.FN, g.Confusion.TP+g.Confusion.FN, "the truth has no positive row"))
}

// TNR is the true negative rate (specificity), TN/(FP+TN) = 1 − FPR.
func (g Group) TNR() score.Value { return g.known(g.Confusion.Specificity()) }

// Precision is TP/(TP+FP), 0..1; undefined when nobody in the group was selected.
func (g Group) Precision() score.Value { return g.known(g.Confusion.Precision()) }

// Accuracy is (TP+TN)/n, 0..1.
func (g Group) Accuracy() score.Value { return g.known(g.Confusion.Accuracy()) }

// Metrics returns every rate of the group by its name in reports and in stored results.
func (g Group) Metrics() map[string]score.Value {
	return map[string]score.Value{
		"selection_rate": g.SelectionRate(), "base_rate": g.BaseRate(), "tpr": g.TPR(), "fpr": g.FPR(), "fnr": g.FNR(),
		"tnr": g.TNR(), "precision": g.Precision(), "accuracy": g.Accuracy(),
	}
}

// Describe names a group of the table with its attributes, "group=B, sex=f".
func (t *Table) Describe(g Group) string {
	parts := make([]string, 0, len(t.Attributes))
	for i, a := range t.Attributes {
		if i < len(g.Values) {
			parts = append(parts, fmt.Sprintf("%s=%s", a, g.Values[i]))
		}
	}
	return strings.Join(parts, ", ")
}
