package monitor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"keelson/internal/explain"
)

// Verdict answers whether a model works the way it should.
//
//	no       the result got worse, and outcomes say so
//	watch    data or predictions moved, or groups lie further apart than is allowed; the result is not confirmed, or still holds
//	yes      nothing moved and outcomes say that the result holds
//	unknown  there is no traffic, or nothing moved and no outcome says how the result is
type Verdict struct {
	Verdict string   `json:"verdict" enum:"yes,watch,no,unknown"`
	Reasons []string `json:"reasons"`
}

// confirmed is the share of a window's rows that need an outcome before its result counts as confirmed.
const confirmed = 0.5

// silence is how long an endpoint may be without a window before its verdict becomes unknown.
const silence = 7 * 24 * time.Hour

// causes lists what exceeded its limit: data, predictions, rules, custom metrics, segments, groups, result; of shifts, what exceeds
// its limit most comes first.
func (r *Result) causes(m *Monitor, worse *Cause) []Cause {
	out := []Cause{}
	for _, part := range []struct {
		kind    string
		columns []Feature
	}{{"data", r.Features}, {"prediction", r.Predictions}} {
		from := len(out)
		for _, f := range part.columns {
			if f.Shift == "moved" {
				out = append(out, Cause{Kind: part.kind, Feature: f.Name, Metric: f.Metric, Value: f.Value, Limit: f.Limit, Direction: f.Direction, How: f.how()})
			}
		}
		slices.SortStableFunc(out[from:], func(a, b Cause) int { return cmp.Compare(b.Value/b.Limit, a.Value/a.Limit) })
	}
	out = append(out, r.regionCauses()...)
	add := func(c *Cause) {
		if c != nil {
			out = append(out, *c)
		}
	}
	for i := range r.Embeddings {
		add(r.Embeddings[i].cause())
	}
	for i := range r.Rules {
		add(r.Rules[i].cause())
	}
	for _, v := range r.Metrics {
		for i := range m.Metrics {
			if m.Metrics[i].Name == v.Name {
				add(m.Metrics[i].cause(v))
			}
		}
	}
	for i := range r.Segments {
		for k := range m.Segments {
			if m.Segments[k].Name == r.Segments[i].Name {
				add(r.Segments[i].cause(&m.Segments[k]))
			}
		}
	}
	for i := range r.Fairness {
		add(r.Fairness[i].cause())
	}
	add(worse)
	if worse == nil {
		add(r.Estimate.cause(r.Performance))
	}
	return out
}

// settle draws the window's own verdict from its measures. before is the window of the same version before it, nil if there
// is none.
func (r *Result) settle(m *Monitor, y *yardstick, before *Result) {
	n, text := r.uncompared()
	r.Blind, r.Uncompared = n > 0 && n == len(r.Features), text
	r.Causes = r.causes(m, r.Performance.worse(m.Limits, y))
	r.follow(before)
	r.Breached = len(r.Causes) > 0
	v := judge([]Result{*r}, r.To)
	r.Verdict, r.Reasons = v.Verdict, v.Reasons
}

// judge draws the verdict from the windows of an endpoint, newest first. The data and the predictions are
// those of the newest window, the result that of the newest one of the same version with enough outcomes.
func judge(windows []Result, now time.Time) Verdict {
	v := judgeModel(windows, now)
	if len(windows) > 0 && now.Sub(windows[0].To) <= silence {
		v.fair(windows)
	}
	return v
}

// judgeModel is judge without what is known of groups.
func judgeModel(windows []Result, now time.Time) Verdict {
	if len(windows) == 0 {
		return Verdict{"unknown", []string{"There has not been enough traffic for a first window."}}
	}
	w := windows[0]
	if now.Sub(w.To) > silence {
		return Verdict{"unknown", []string{fmt.Sprintf("There has been no full window of traffic since %s.", day(w.To))}}
	}
	if w.TooFew != "" && len(w.Causes) == 0 {
		return Verdict{"unknown", []string{fmt.Sprintf("There is too little traffic: %s.", w.TooFew)}}
	}
	reasons, moved := []string{}, false
	for _, kind := range []string{"data", "rule", "prediction"} {
		var names []string
		since := w.From
		for _, c := range w.Causes {
			if c.reason() == kind {
				names = append(names, c.Text())
			}
		}
		if len(names) == 0 {
			continue
		}
		moved = true
		for _, old := range windows[1:] {
			if !slices.ContainsFunc(old.Causes, func(c Cause) bool { return c.reason() == kind }) {
				break
			}
			since = old.From
		}
		for _, c := range w.Causes {
			if c.reason() == kind && !c.Since.IsZero() && c.Since.Before(since) {
				since = c.Since
			}
		}
		what := map[string]string{"data": "The data moved", "rule": "The data breaks its rules", "prediction": "The predictions moved"}[kind]
		more := ""
		if len(names) > 3 {
			more = fmt.Sprintf(" and %d more", len(names)-3)
			names = names[:3]
		}
		reasons = append(reasons, fmt.Sprintf("%s since %s: %s%s.", what, day(since), strings.Join(names, ", "), more))
	}
	switch {
	case moved:
	case w.Blind:
		reasons = append(reasons, "No input could be compared with the reference, so whether the data moved is not known.")
	default:
		reasons = append(reasons, "Neither the data nor the predictions moved.")
	}
	if w.Uncompared != "" {
		reasons = append(reasons, w.Uncompared)
	}
	if !moved {
		if w.Together != nil && w.Together.Moved {
			reasons = append(reasons, "The columns move together otherwise than in the reference, although none of them moved by itself.")
		}
	}
	for _, d := range w.FoundDrift {
		reasons = append(reasons, d.foundText())
	}
	if len(w.Early) > 0 {
		reasons = append(reasons, fmt.Sprintf("An early sign: the mean of the %ss went from %s to %s within the newest window.", w.Early[0].Signal, explain.Number(w.Early[0].Before), explain.Number(w.Early[0].After)))
	}
	for _, old := range windows {
		if old.Version != w.Version {
			continue
		}
		for _, c := range old.Causes {
			if c.Kind == "result" && !c.Estimated {
				return Verdict{"no", append([]string{worseText(&old, c)}, append(reasons, worstText(old.Worst)...)...)}
			}
		}
		if old.Performance == nil {
			continue
		}
		if _, _, ok := old.Performance.measure(); !ok {
			continue
		}
		holds := "The result holds: " + old.Performance.text() + "."
		if old.ID != w.ID {
			holds = fmt.Sprintf("The result held up to %s: %s.", day(old.To), old.Performance.text())
		}
		if old.Performance.Coverage < confirmed {
			holds = fmt.Sprintf("The result is not yet confirmed (%s); so far it holds: %s%s.", labels(old.Performance), old.Performance.text(), old.Estimate.text())
		}
		reasons = append(append(reasons, holds), worstText(old.Worst)...)
		if old.ID != w.ID && w.Estimate != nil {
			reasons = append(reasons, fmt.Sprintf("The newest window is not confirmed yet (%s)%s.", labels(w.Performance), w.Estimate.text()))
		}
		if estimatedWorse(&w) {
			reasons = append([]string{"The result has probably got worse."}, reasons...)
		}
		switch {
		case moved || estimatedWorse(&w):
			return Verdict{"watch", reasons}
		case w.Blind:
			return Verdict{"unknown", reasons}
		}
		return Verdict{"yes", reasons}
	}
	if w.Estimate != nil {
		reasons = append(reasons, fmt.Sprintf("The result is not confirmed yet (%s)%s.", labels(w.Performance), w.Estimate.text()))
		reasons = append(reasons, worstText(w.Worst)...)
		if estimatedWorse(&w) {
			return Verdict{"watch", append([]string{"The result has probably got worse."}, reasons...)}
		}
	} else {
		reasons = append(reasons, "The result is not known yet: "+coverage(w.Performance)+".")
	}
	if moved {
		return Verdict{"watch", reasons}
	}
	return Verdict{"unknown", reasons}
}

// becomesReference is said of the columns of a first window without a reference, which need not be compared with themselves.
const becomesReference = "there is no reference yet; the first quiet window becomes it"

// uncompared counts the inputs that could not be compared and names the first, with why.
func (r *Result) uncompared() (n int, text string) {
	var names []string
	for i := range r.Features {
		f := &r.Features[i]
		if f.Shift != "unknown" || f.Why == becomesReference {
			continue
		}
		if n++; n > 3 {
			continue
		}
		name := f.Name
		if f.Why != "" {
			name += " (" + f.Why + ")"
		}
		names = append(names, name)
	}
	switch {
	case n == 0:
		return 0, ""
	case n > 3:
		return n, fmt.Sprintf("Not compared: %s and %d more.", strings.Join(names, ", "), n-3)
	}
	return n, "Not compared: " + strings.Join(names, ", ") + "."
}

func estimatedWorse(w *Result) bool {
	return slices.ContainsFunc(w.Causes, func(c Cause) bool { return c.Estimated })
}

// worseText says what outcomes say against a result.
func worseText(w *Result, c Cause) string {
	n := 0
	if w.Performance != nil {
		n = w.Performance.N
	}
	what := measureName(c.Metric)
	if c.Feature != "" {
		what = c.Feature + " (" + what + ")"
	}
	if c.Segment != "" {
		what += " of " + c.Segment
	}
	return fmt.Sprintf("The result got worse: %s %s, limit %s, by outcomes of %d rows up to %s.", what, figure(c.Metric, c.Value, c.Unit), figure(c.Metric, c.Limit, c.Unit), n, day(w.To))
}

// worstText names the slice where the result is worst.
func worstText(p *Part) []string {
	if p == nil || p.Value == nil || p.Overall == nil {
		return nil
	}
	is, what, n := "It is", measureName(p.Metric), p.Labelled
	if p.Estimated {
		is, what, n = "It is expected to be", "estimated "+what, p.Rows
	}
	if p.Slice == nil { // found before the others were measured
		return []string{fmt.Sprintf("%s worst where %s: %s %s on %d rows, over all rows %s.", is, p.Name, what, explain.Number(*p.Value), n, explain.Number(*p.Overall))}
	}
	return []string{fmt.Sprintf("%s worst where %s: %s %s on %d rows against %s on the others (worse by %s to %s).", is, p.Name, what, explain.Number(*p.Value), n,
		explain.Number(p.Slice.Rest), explain.Number(p.Slice.Lower), explain.Number(p.Slice.Upper))}
}

// foundText names the slice in which a column moved furthest.
func (d *Drifted) foundText() string {
	where, in := d.Segment, ""
	if d.Slice != nil {
		in = fmt.Sprintf(" on %d rows", d.Slice.Rows)
	}
	over := ""
	if d.Overall != nil {
		over = fmt.Sprintf(", over all rows %s", explain.Number(*d.Overall))
	}
	return fmt.Sprintf("%s moved%s most where %s (%s %s%s%s).", d.Feature, map[string]string{"up": " up", "down": " down"}[d.Direction], where, measureName(d.Metric), explain.Number(d.Value), in, over)
}

// Where says in which slice of a window a kind of trouble is worst: that of its result for "result", else the one whose data
// or predictions moved furthest; "" where none was found.
func (r *Result) Where(kind string) string {
	if kind == "result" {
		return strings.Join(worstText(r.Worst), " ")
	}
	for i := range r.FoundDrift {
		if r.FoundDrift[i].Kind == kind {
			return r.FoundDrift[i].foundText()
		}
	}
	return ""
}

// labels says how many outcomes there are, in a word.
func labels(p *Performance) string {
	if p == nil {
		return "no labels"
	}
	return fmt.Sprintf("labels %.0f %%", 100*p.Coverage)
}

func coverage(p *Performance) string {
	if p == nil {
		return "no outcome has arrived"
	}
	if _, ok, why := p.Metrics["accuracy"].Get(); !ok && p.Kind != "regression" && p.Kind != "ranking" {
		return fmt.Sprintf("outcomes of %d rows (%.0f %%) have arrived, but %s", p.N, 100*p.Coverage, why)
	}
	return fmt.Sprintf("outcomes of %d rows (%.0f %%) have arrived, %d are needed", p.N, 100*p.Coverage, enoughLabels)
}

func has(causes []Cause, kind string) bool {
	return slices.ContainsFunc(causes, func(c Cause) bool { return c.Kind == kind })
}

// reason is the sentence of a verdict that a cause belongs to: its kind, or that a rule is broken.
func (c Cause) reason() string {
	if c.Rule != "" {
		return "rule"
	}
	return c.Kind
}

func day(t time.Time) string { return t.UTC().Format("2 January 15:04 UTC") }
