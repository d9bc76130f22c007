package alert

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"keelson/internal/incident"
	"keelson/internal/monitor"
)

// finding is what one window says of one kind of cause.
type finding struct {
	kind     string
	window   string
	version  int
	rows     int
	from, to time.Time
	bad      bool
	columns  []incident.Column
	loss     bool   // the window knows of a loss, realised or estimated
	word     string // what the window knows of the result, for a warning
	where    string // the slice where it is worst, in a sentence
}

// mark is a window that a kind was judged in.
type mark struct {
	Window  string `json:"w"`
	Version int    `json:"v"`
	Bad     bool   `json:"b,omitempty"`
	Rows    int    `json:"n,omitempty"`
}

// What is known of the result beside data or predictions that moved, where it makes a warning critical.
const (
	realisedLoss = "The result is worse as well: act."
	expectedLoss = "The result is expected to be worse as well, which outcomes have not confirmed yet: act."
	openLoss     = "An alert about the result is open as well: act."
)

// losses are all of them.
var losses = []string{realisedLoss, expectedLoss, openLoss}

// keptMarks is how many windows an alert remembers.
const keptMarks = 50

// kindOf maps what a monitor calls a cause to a kind of alert. What a monitor may find in future that is not listed moves
// nothing but the data.
func kindOf(cause string) string {
	switch cause {
	case Data, Prediction, Result, Quality, Fairness, Operation, Crash:
		return cause
	case "estimate", "estimated", "performance", "segment", "kpi", "custom":
		return Result
	case "rule", "freshness", "volume":
		return Quality
	}
	return Data
}

// isEffect says whether a measure is a size of an effect. A p-value says how sure a difference is, not how large.
func isEffect(metric string) bool {
	m := strings.ToLower(metric)
	return m != "p" && !strings.HasSuffix(m, "p_value") && !strings.HasSuffix(m, "pvalue")
}

// judged splits a window into findings. On closing, data, predictions and rules are judged; the result and the groups are
// judged wherever they are known. importance may be nil.
func judged(r *monitor.Result, closing bool, p Policy, importance map[string]float64) []finding {
	if r.Rows < p.MinRows || r.TooFew != "" {
		return nil
	}
	byKind := map[string][]incident.Column{}
	for _, c := range r.Causes {
		if !isEffect(c.Metric) || math.IsNaN(c.Value) || math.IsInf(c.Value, 0) {
			continue
		}
		name, kind := c.Feature, kindOf(c.Kind)
		if c.Rule != "" {
			kind = Quality
		}
		col := incident.Column{Key: c.Key(), Name: name, Words: c.Text(), Metric: c.Metric, Value: c.Value, Limit: c.Limit, Estimated: c.Estimated, Windows: 1, Over: true}
		if v, ok := importance[name]; ok && kind == Data {
			col.Importance = &v
		}
		byKind[kind] = append(byKind[kind], col)
	}
	loss := len(byKind[Result]) > 0
	word := ""
	if loss {
		word = realisedLoss
		if !slices.ContainsFunc(byKind[Result], func(c incident.Column) bool { return !c.Estimated }) {
			word = expectedLoss
		}
	}
	if p := r.Performance; !loss && p != nil && p.Accuracy != nil {
		word = "The result still holds, so this is a warning."
	}
	known := loss || r.Estimate != nil && r.Estimate.Metrics[r.Estimate.Metric].Value.OK() || r.Performance != nil && (r.Performance.Accuracy != nil || r.Performance.N > 0 && r.Performance.Kind == "regression")
	var out []finding
	for _, kind := range []string{Data, Prediction, Quality, Fairness, Result} {
		switch {
		case kind == Fairness && !groupsKnown(r, closing):
			continue
		case kind == Result && !known && !closing, kind != Result && kind != Fairness && !closing:
			continue
		case kind == Result && !known: // nothing is known of the result yet, which is no good window
			continue
		case kind == Data && len(byKind[Data]) == 0 && !comparable(r.Features), kind == Prediction && len(byKind[Prediction]) == 0 && !comparable(r.Predictions):
			continue // nothing could be compared, which is no good window
		}
		cols := byKind[kind]
		slices.SortStableFunc(cols, func(a, b incident.Column) int { return cmp.Compare(weightOf(b), weightOf(a)) })
		out = append(out, finding{kind: kind, window: r.ID, version: r.Version, rows: r.Rows, from: r.From, to: r.To, columns: cols,
			bad: len(cols) > 0 && enough(cols, importance, p.MinImportance), loss: loss, word: word, where: r.Where(kind)})
	}
	return out
}

// groupsKnown says whether a window tells how groups fare. Right after it was closed it does not while outcomes may still come
// that say so; where nothing is declared any more, nothing is amiss.
func groupsKnown(r *monitor.Result, closing bool) bool {
	if len(r.Fairness) == 0 {
		return closing
	}
	if slices.ContainsFunc(r.Causes, func(c monitor.Cause) bool { return kindOf(c.Kind) == Fairness }) {
		return true
	}
	if closing && slices.ContainsFunc(r.Fairness, func(g monitor.GroupGap) bool { return g.Truth && g.Value == nil }) {
		return false
	}
	return slices.ContainsFunc(r.Fairness, func(g monitor.GroupGap) bool { return g.Value != nil })
}

// comparable says whether anything of a window could be compared.
func comparable(list []monitor.Feature) bool {
	return slices.ContainsFunc(list, func(f monitor.Feature) bool { return f.Shift != "unknown" })
}

// weightOf is importance times how often over its limit a column is; columns of unknown importance count alike.
func weightOf(c incident.Column) float64 {
	excess := math.Abs(c.Value)
	if c.Limit != 0 {
		excess = math.Abs(c.Value / c.Limit)
	}
	if !c.Over {
		excess /= 1000 // what is fine again stands behind what is not
	}
	if c.Importance != nil {
		return excess * (*c.Importance + 1e-6)
	}
	return excess
}

// enough says whether the columns carry at least the share least of the model's answers; unknown importance is enough.
func enough(cols []incident.Column, importance map[string]float64, least float64) bool {
	if len(importance) == 0 {
		return true
	}
	sum := 0.0
	for _, c := range cols {
		if c.Importance == nil {
			return true
		}
		sum += *c.Importance
	}
	return sum >= least
}

// note remembers a window; hearing of one again overwrites what was known of it. It reports whether the window is new.
func (d *document) note(m mark) bool {
	i, known := slices.BinarySearchFunc(d.Marks, m.Window, func(x mark, w string) int { return cmp.Compare(x.Window, w) })
	if known {
		d.Marks[i] = m
		return false
	}
	d.Marks = slices.Insert(d.Marks, i, m)
	n := max(len(d.Marks)-keptMarks, 0)
	d.Marks = slices.Delete(d.Marks, 0, n)
	return i >= n // one older than those that are kept may have been heard before
}

// badRun is the longest run of windows over the limit that a version ends with: with a canary two versions have windows
// by turns, and each counts for itself.
func (d *document) badRun() (n int) {
	ended, runs := map[int]bool{}, map[int]int{}
	for i := len(d.Marks) - 1; i >= 0; i-- {
		m := d.Marks[i]
		if !m.Bad {
			ended[m.Version] = true
		}
		if m.Bad && !ended[m.Version] {
			runs[m.Version]++
			n = max(n, runs[m.Version])
		}
	}
	return n
}

// goodRun is how many good windows stand behind the last one over the limit of any version.
func (d *document) goodRun() (n int) {
	for i := len(d.Marks) - 1; i >= 0 && !d.Marks[i].Bad; i-- {
		n++
	}
	return n
}

// merge brings the columns of an alert up to date with those of a window.
func (d *document) merge(cols []incident.Column, fresh bool) {
	old := d.Columns
	d.Columns = nil
	for _, c := range cols {
		if i := slices.IndexFunc(old, func(o incident.Column) bool { return o.Key == c.Key }); i >= 0 {
			c.Windows = old[i].Windows
			if fresh {
				c.Windows++
			}
			old = slices.Delete(old, i, i+1)
		}
		d.Columns = append(d.Columns, c)
	}
	for _, o := range old {
		o.Over = false
		d.Columns = append(d.Columns, o)
	}
	slices.SortStableFunc(d.Columns, func(a, b incident.Column) int { return cmp.Compare(weightOf(b), weightOf(a)) })
	if len(d.Columns) > maxColumns {
		d.Columns = d.Columns[:maxColumns]
	}
}

// maxColumns bounds the list of an alert of a model with very many inputs.
const maxColumns = 500
