package evaluation

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"keelson/internal/dataset"
	"keelson/internal/fairness"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Bounds of a fairness test.
const (
	fairColumns = 3
	fairGroups  = 1000 // of a column that has more, the values tell rows apart and not groups
)

// by names the columns whose groups a fairness test compares.
func (t *Test) by() []string {
	if t.Column != "" {
		return append([]string{t.Column}, t.Columns...)
	}
	return t.Columns
}

// limit is what a fairness test allows of its measure.
func (t *Test) limit(m fairness.Measure) float64 {
	switch {
	case m.Kind == fairness.Ratio && t.Min != nil:
		return *t.Min
	case m.Kind == fairness.Difference && t.Max != nil:
		return *t.Max
	}
	return m.Limit
}

func (t *Test) checkFairness(at string) error {
	fault := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, "The test %q "+format, append([]any{clip(t.Name)}, args...)...).At(at + "." + field)
	}
	m, ok := fairness.MeasureNamed(t.Metric)
	if !ok {
		return fault("metric", "of kind fairness has the metric %q; use one of %s.", clip(t.Metric), strings.Join(fairness.MeasureNames(), ", "))
	}
	switch {
	case t.Column != "" && len(t.Columns) > 0:
		return fault("columns", "names a column and columns; give one of the two.")
	case len(t.by()) == 0:
		return fault("column", "of kind fairness needs the column that tells the groups apart.")
	}
	for _, l := range []struct {
		field string
		value *float64
		of    string
	}{{"max", t.Max, fairness.Difference}, {"min", t.Min, fairness.Ratio}} {
		switch {
		case l.value == nil:
		case l.of != m.Kind:
			return fault(l.field, "has a %s, but %s is a %s: a difference has a max, a ratio a min.", l.field, m.Name, m.Kind)
		case !(*l.value >= 0 && *l.value <= 1):
			return fault(l.field, "has a %s of %v; it lies between 0 and 1.", l.field, *l.value)
		}
	}
	if t.MinRows < 0 {
		return fault("min_rows", "has min_rows %d; give 1 or more, or leave it out for %d.", t.MinRows, fairness.MinimumGroup)
	}
	err := fairness.CheckColumns(at, t.by(), fairColumns, t.Edges)
	if p, ok := problem.As(err); ok {
		p.Detail = fmt.Sprintf("The test %q of kind fairness: %s", clip(t.Name), p.Detail)
		if t.Column != "" && p.Field == at+".columns[0]" {
			p.Field = at + ".column"
		}
	}
	return err
}

// fairness compares the groups of the rows whose truth is known.
func (j *judging) fairness(ctx context.Context, t *Test) (Result, error) {
	m, ok := fairness.MeasureNamed(t.Metric)
	if !ok {
		return Result{}, problem.New(problem.Invalid, "There is no fairness metric %q.", clip(t.Metric))
	}
	o, err := j.answers(ctx)
	if err != nil {
		return Result{}, err
	}
	rows := []int{}
	for r, gone := range o.missing {
		if !gone {
			rows = append(rows, r)
		}
	}
	truth, chosen, err := o.decisions(rows)
	if err != nil {
		return Result{}, err
	}
	var attributes []fairness.Attribute
	notes := ""
	for _, name := range t.by() {
		a, how, err := attribute(j.table, name, rows, t.Edges[name])
		if err != nil {
			return Result{}, err
		}
		attributes = append(attributes, a)
		if how != "" {
			notes += " " + how
		}
	}
	table, err := fairness.New(truth, chosen, t.MinRows, attributes...)
	if err != nil {
		return Result{}, err
	}
	if n := len(table.Groups) + len(table.Small); n > fairGroups {
		return Result{}, problem.New(problem.Invalid, "%s make %d groups, more than %d; choose a column of fewer values, or give edges.", strings.Join(t.by(), " and "), n, fairGroups)
	}
	report := table.Judge(m, t.limit(m))
	report.Detail += notes
	r := Result{Name: t.Name, Kind: t.Kind, State: Failed, Value: report.Value, Limit: &report.Limit, Detail: report.Detail, Fairness: &report}
	if report.OK {
		r.State = Passed
	}
	return r, nil
}

// attribute reads a column of the data, any of them, as the groups of rows.
func attribute(t *dataset.Table, name string, rows []int, edges []float64) (a fairness.Attribute, how string, err error) {
	c, ok := t.Column(name)
	if !ok {
		return a, "", problem.New(problem.Invalid, "The data has no column %q.", clip(name))
	}
	if c.Numbers != nil && c.Type != dataset.Bool {
		values := make([]float64, len(rows))
		for i, r := range rows {
			values[i] = c.Numbers[r]
		}
		a, how = fairness.Bands(name, values, edges)
		return a, how, nil
	}
	if len(edges) > 0 {
		return a, "", problem.New(problem.Invalid, "The column %q holds no numbers, so it has no edges.", clip(name))
	}
	a = fairness.Attribute{Name: name, Values: make([]string, len(rows))}
	for i, r := range rows {
		if w, missing := c.Word(r); !missing {
			a.Values[i] = w
		}
	}
	return a, "", nil
}

// decisions reads what was true and what the model says as yes or no, for the given rows, whose truth is known: a score
// from the threshold on is a yes, a class or a word is one when it is the suite's positive.
func (o *outcome) decisions(rows []int) (truth, chosen []bool, err error) {
	truth, chosen = make([]bool, len(rows)), make([]bool, len(rows))
	positive := o.suite.Positive
	words := o.answers.Type == tensor.Bytes || o.answers.Type == tensor.Bool
	switch {
	case o.answers.Type == tensor.Bool:
		yes := positive == "" || positive == "true" || positive == "1"
		for i, r := range rows {
			w := o.words[r]
			truth[i], chosen[i] = (w == "1" || w == "true") == yes, o.answers.B[r*o.width] == yes
		}
	case positive == "" && (words || o.width > 2):
		return nil, nil, problem.New(problem.Invalid, "The model answers one of several classes; fairness needs to know which one is the choice: name it in the suite (positive).")
	case words:
		for i, r := range rows {
			truth[i], chosen[i] = o.words[r] == positive, o.answers.S[r*o.width] == positive
		}
	case o.width > 1:
		class := 1
		if positive != "" {
			if class, err = strconv.Atoi(positive); err != nil || class < 0 || class >= o.width {
				return nil, nil, problem.New(problem.Invalid, "The model knows the classes 0 to %d; the suite's positive is %q.", o.width-1, clip(positive))
			}
		}
		for i, r := range rows {
			best := 0
			for k := range o.width {
				if o.answers.Float64(r*o.width+k) > o.answers.Float64(r*o.width+best) {
					best = k
				}
			}
			truth[i], chosen[i] = o.truth.Numbers[r] == float64(class), best == class
		}
	case o.binary(rows):
		threshold := 0.5
		if o.suite.Threshold != nil {
			threshold = *o.suite.Threshold
		}
		for i, r := range rows {
			truth[i], chosen[i] = o.positive(r), o.answers.Float64(r) >= threshold
		}
	case o.truth.Numbers != nil && o.suite.Threshold != nil:
		for i, r := range rows {
			truth[i], chosen[i] = o.truth.Numbers[r] >= *o.suite.Threshold, o.answers.Float64(r) >= *o.suite.Threshold
		}
	default:
		return nil, nil, problem.New(problem.Invalid, "Fairness compares decisions, yes or no, and the target %q is a number; give the suite the threshold from which it is a yes.", clip(o.truth.Name))
	}
	return truth, chosen, nil
}
