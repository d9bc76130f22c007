package monitor

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"keelson/internal/fairness"
	"keelson/internal/score"
)

// GroupLimit says which groups of people a classifier should treat alike, by which measure, and how far they may lie apart.
type GroupLimit struct {
	Columns  []string             `json:"columns" doc:"inputs that tell the groups apart, or names of declared segments; of several, each combination is a group"`
	Metric   string               `json:"metric" doc:"demographic_parity_difference or _ratio (predictions are enough), equalised_odds_difference, equal_opportunity_difference, predictive_parity_difference, false_alarm_parity_difference or accuracy_parity_difference (by outcomes); other names in use, such as four_fifths, are taken too"`
	Limit    *float64             `json:"limit,omitempty" doc:"the most of a difference, 0.1 if it is left out, or the least of a ratio, 0.8"`
	MinRows  int                  `json:"min_rows,omitempty" minimum:"0" doc:"rows of the window from which a group is judged, with outcomes where the measure needs them; 30 if it is left out"`
	Positive string               `json:"positive,omitempty" doc:"the class that counts as chosen; required where the answers are words or of more than two classes"`
	Edges    map[string][]float64 `json:"edges,omitempty" doc:"where columns of numbers are cut, ascending; else at the quartiles of the reference, unless they have at most 10 values"`
}

// GroupGap is what a window says of one measure of fairness.
type GroupGap struct {
	fairness.FairnessReport
	Truth    bool     `json:"outcomes" doc:"the measure needs outcomes"`
	Rows     int      `json:"rows" doc:"rows that were counted"`
	Coverage *float64 `json:"label_coverage,omitempty" doc:"of a measure that needs outcomes: share of the window's rows with one, 0..1"`
	Notes    []string `json:"notes,omitempty" doc:"how columns of numbers were cut"`
}

// mostGroupColumns bounds how many columns make a group.
const mostGroupColumns = 5

// fill writes the measure by its own name and its default limits out.
func (g *GroupLimit) fill() {
	m, ok := fairness.MeasureNamed(g.Metric)
	if !ok {
		return
	}
	g.Metric = m.Name
	if g.Limit == nil {
		limit := m.Limit
		g.Limit = &limit
	}
	if g.MinRows == 0 {
		g.MinRows = fairness.MinimumGroup
	}
}

// name tells the checks of a monitor apart.
func (g *GroupLimit) name() string { return g.Metric + " by " + strings.Join(g.Columns, " × ") }

func (g *GroupGap) name() string { return g.Measure + " by " + strings.Join(g.Columns, " × ") }

func (g *GroupLimit) check(at string) error {
	_, known := fairness.MeasureNamed(g.Metric)
	switch {
	case !known:
		return invalid(at+".metric", "%q is no measure of fairness; use %s.", clip(g.Metric), strings.Join(fairness.MeasureNames(), ", "))
	case g.Limit == nil || !(*g.Limit >= 0 && *g.Limit <= 1):
		return invalid(at+".limit", "The limit of a measure of fairness lies between 0 and 1.")
	case g.MinRows < 1 || g.MinRows > 100_000:
		return invalid(at+".min_rows", "A group is judged from 1 to 100,000 rows on; got %d.", g.MinRows)
	case len(g.Positive) > 100:
		return invalid(at+".positive", "The name of a class has up to 100 bytes.")
	}
	return fairness.CheckColumns(at, g.Columns, mostGroupColumns, g.Edges)
}

// decisions are the rows of a window as measures of fairness see them: the positions of those that were answered, whether they
// were chosen, and which were truly positive where that is known.
type decisions struct {
	at     []int
	chosen []bool
	known  []bool
	truth  []bool
	why    string // why there are none
}

// decide tells which rows were chosen: those answered with the class that is named, else with the second of two classes.
func (w *rows) decide(class string) decisions {
	d, told, labels, hit := decisions{}, map[int]any{}, class != "" && w.labels(), false
	if all, next := w.labelled(), 0; class == "" { // outcomes, where two classes have names as whether the second was true
		for i, truth := range w.outcomes {
			if truth != nil {
				told[i] = all[next].truth
				next++
			}
		}
	}
	for i := range w.n {
		out := w.answer(i)
		if len(out) == 0 {
			continue
		}
		var outcome any
		if i < len(w.outcomes) {
			outcome = w.outcomes[i]
		}
		p := chances(out)
		switch {
		case class == "" && (len(p) > 2 || out[0].word != "" && len(p) != 2):
			return decisions{why: "the answers are words or of more than two classes; name the class that counts as chosen in positive"}
		case class != "" && (labels || len(p) > 1 || out[0].word != ""):
			if is, ok := outcome.(bool); ok && labels {
				outcome = truthNumber(is)
			}
			_, guess := labelled{outputs: out, truth: class}.classes()
			truth, _ := labelled{outputs: out, truth: outcome}.classes()
			if guess != "" {
				hit = hit || guess == class || truth == class
				d.add(i, guess == class, outcome != nil, truth == class)
			}
			continue
		}
		s := scoreOf(out)
		if math.IsNaN(s) {
			continue
		}
		if s < 0 || s > 1 {
			return decisions{why: "the answers are numbers outside of 0 to 1; fairness is measured of classifiers, and of classes that are numbers positive names the one that counts as chosen"}
		}
		hit = true
		chosen, y := positive(out), truthNumber(told[i])
		if class != "" { // the score is that of the class
			if y = truthNumber(outcome); outcome != nil && math.IsNaN(y) {
				y = truthNumber(outcome == any(class))
			}
			if class == "0" || class == "false" { // or of the other one
				chosen, y = !chosen, 1-y
			}
		}
		d.add(i, chosen, y == 0 || y == 1, y == 1)
	}
	switch {
	case len(d.at) == 0:
		d.why = "no row of the window has an answer"
	case !hit && class != "":
		return decisions{why: fmt.Sprintf("no answer and no outcome of the window is %q", clip(class))}
	}
	return d
}

// labels reports whether the answers are classes that are whole numbers.
func (w *rows) labels() bool {
	if len(w.outputs) != 1 || w.outputs[0].words != nil {
		return false
	}
	return !slices.ContainsFunc(w.outputs[0].numbers, func(v float64) bool { return !math.IsNaN(v) && v != math.Trunc(v) })
}

func (d *decisions) add(row int, chosen, known, truth bool) {
	d.at, d.chosen, d.known, d.truth = append(d.at, row), append(d.chosen, chosen), append(d.known, known), append(d.truth, truth)
}

// attribute gives the value of every row of the window in a column, or whether it is in the segment of that name.
func (m *Monitor) attribute(name string, edges []float64, w *rows, reference *profile) (a fairness.Attribute, note, why string) {
	if s := seriesOf(w.inputs, name); s != nil {
		if s.words != nil {
			return fairness.Attribute{Name: name, Values: append(slices.Clip(s.words), make([]string, max(w.n-len(s.words), 0))...)[:w.n]}, "", ""
		}
		numbers := make([]float64, w.n)
		for i := range numbers {
			numbers[i] = nan
			if i < len(s.numbers) && finite(s.numbers[i]) {
				numbers[i] = s.numbers[i]
			}
		}
		if len(edges) > 0 {
			a, _ = fairness.Bands(name, numbers, edges)
			return a, "", ""
		}
		if c := reference.numbersOf(name); c != nil && distinct(c.Sample) > 10 {
			for _, q := range score.Quantiles(c.Sample, 0.25, 0.5, 0.75) {
				if v, ok, _ := q.Get(); ok && (len(edges) == 0 || v > edges[len(edges)-1]) {
					edges = append(edges, v)
				}
			}
			a, _ = fairness.Bands(name, numbers, edges)
			return a, fmt.Sprintf("%s is cut at the quartiles of the reference.", name), ""
		}
		a, note = fairness.Bands(name, numbers, nil)
		return a, note, ""
	}
	for i := range m.Segments {
		if m.Segments[i].Name != name {
			continue
		}
		mask, ok := m.Segments[i].mask(w)
		if !ok {
			break
		}
		a = fairness.Attribute{Name: name, Values: make([]string, w.n)}
		for k, in := range mask {
			a.Values[k] = map[bool]string{true: "yes", false: "no"}[in]
		}
		return a, "", ""
	}
	return a, "", fmt.Sprintf("the logged inputs have no column %q (personal ones are left out of the log), and no segment has this name", clip(name))
}

// numbersOf is the column of a name, if it holds numbers.
func (p *profile) numbersOf(name string) *column {
	if p == nil {
		return nil
	}
	if c := p.find(name); c != nil && c.Kind == numberKind {
		return c
	}
	return nil
}

// distinct counts the different values of an ascending list.
func distinct(sorted []float64) (n int) {
	for i, v := range sorted {
		if i == 0 || v != sorted[i-1] {
			n++
		}
	}
	return n
}

// gaps holds the groups of a window against the declared limits.
func (m *Monitor) gaps(w *rows, reference *profile) (out []GroupGap) {
	known := map[string]decisions{}
	for i := range m.Fairness {
		g := &m.Fairness[i]
		d, ok := known[g.Positive]
		if !ok {
			d = w.decide(g.Positive)
			known[g.Positive] = d
		}
		out = append(out, m.gap(g, w, &d, reference))
	}
	return out
}

func (m *Monitor) gap(g *GroupLimit, w *rows, d *decisions, reference *profile) GroupGap {
	measure, _ := fairness.MeasureNamed(g.Metric) // it was checked when it was stored
	limit := measure.Limit
	if g.Limit != nil {
		limit = *g.Limit
	}
	without := func(why string) GroupGap {
		r := fairness.Counted(g.Columns, g.MinRows, false).Judge(measure, limit)
		return GroupGap{FairnessReport: r, Truth: measure.Truth}.undefined(why)
	}
	if m.Ranking != nil {
		return without("the model ranks; fairness is measured of classifiers")
	}
	if len(d.at) == 0 {
		return without(d.why)
	}
	var notes []string
	attributes := make([]fairness.Attribute, len(g.Columns))
	for i, c := range g.Columns {
		a, note, why := m.attribute(c, g.Edges[c], w, reference)
		if why != "" {
			return without(why)
		}
		if note != "" {
			notes = append(notes, note)
		}
		attributes[i] = fairness.Attribute{Name: a.Name, Values: score.Pick(a.Values, d.at)}
	}
	var labelled []int
	for i, k := range d.known {
		if k {
			labelled = append(labelled, i)
		}
	}
	chosen, truth := d.chosen, []bool(nil)
	if measure.Truth && len(labelled) > 0 {
		chosen, truth = score.Pick(d.chosen, labelled), score.Pick(d.truth, labelled)
		for i := range attributes {
			attributes[i].Values = score.Pick(attributes[i].Values, labelled)
		}
	}
	table, err := fairness.New(truth, chosen, g.MinRows, attributes...)
	if err != nil {
		return without(err.Error())
	}
	out := GroupGap{FairnessReport: table.Judge(measure, limit), Truth: measure.Truth, Rows: len(chosen), Notes: notes}
	if measure.Truth {
		share := rate(len(labelled), w.n)
		out.Coverage = &share
		if len(labelled) == 0 {
			return out.undefined("no outcome has arrived")
		}
	}
	return out
}

// undefined is the gap without a value, for a reason.
func (g GroupGap) undefined(why string) GroupGap {
	g.Value, g.OK, g.Highest, g.Lowest, g.Why = nil, false, "", "", why
	g.Detail = fmt.Sprintf("The %s by %s has no value: %s.", g.Label, strings.Join(g.Columns, " and "), why)
	return g
}

// over says whether the groups lie further apart than is allowed.
func (g *GroupGap) over() bool { return g.Value != nil && !g.OK }

// sentence is what the gap is between which groups, without what else is said of it.
func (g *GroupGap) sentence() string {
	if at := strings.LastIndex(g.Detail, ", allowed is "); at >= 0 {
		if end := strings.Index(g.Detail[at:], ". "); end >= 0 {
			return g.Detail[:at+end+1]
		}
	}
	return g.Detail
}

// cause is the gap's breach of its limit; nil while it keeps it or has no value.
func (g *GroupGap) cause() *Cause {
	if !g.over() {
		return nil
	}
	text := strings.TrimSuffix(g.sentence(), ".")
	if text != "" {
		text = strings.ToLower(text[:1]) + text[1:]
	}
	return &Cause{Kind: fairnessKind, Feature: strings.Join(g.Columns, " × "), Metric: g.Measure, Value: *g.Value, Limit: g.Limit, Words: text, Late: g.Truth}
}

// fairnessKind is the kind of cause that groups lie apart.
const fairnessKind = "fairness"

// fair puts what is known of the groups to a verdict: groups that lie further apart than is allowed make a yes or unknown a
// watch. Of each measure the newest window of the version counts in which it has a value.
func (v *Verdict) fair(windows []Result) {
	w := &windows[0]
	var over, others []string
	for i := range w.Fairness {
		g, at := &w.Fairness[i], w
		for k := range windows {
			if windows[k].Version != w.Version {
				continue
			}
			n := slices.IndexFunc(windows[k].Fairness, func(old GroupGap) bool { return old.name() == g.name() && old.Value != nil })
			if n >= 0 {
				g, at = &windows[k].Fairness[n], &windows[k]
				break
			}
		}
		if !g.over() {
			text := g.sentence()
			if at != w {
				text = fmt.Sprintf("Up to %s: %s", day(at.To), text)
			}
			others = append(others, text)
			continue
		}
		c := g.cause()
		since := at.From
		for _, old := range at.Causes {
			if old.Key() == c.Key() && !old.Since.IsZero() {
				since = old.Since
			}
		}
		over = append(over, fmt.Sprintf("Groups fare further apart than is allowed since %s: %s.", day(since), c.Words))
	}
	if len(over) > 0 && (v.Verdict == "yes" || v.Verdict == "unknown") {
		v.Verdict, v.Reasons = "watch", append(over, v.Reasons...)
		over = nil
	}
	v.Reasons = append(append(v.Reasons, over...), others...)
}

// late tells whether a cause waits for outcomes, so that its absence right after a window was closed says nothing.
func (c Cause) late() bool { return c.Kind == "result" && !c.Estimated || c.Late }

// fairAgain reports whether the groups behind a cause are known not to lie too far apart any more.
func (r *Result) fairAgain(c Cause) bool {
	return c.Kind == fairnessKind && slices.ContainsFunc(r.Fairness, func(g GroupGap) bool {
		return g.Measure == c.Metric && strings.Join(g.Columns, " × ") == c.Feature && g.Value != nil && g.OK
	})
}
