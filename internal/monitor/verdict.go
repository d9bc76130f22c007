package monitor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict answers whether a model works the way it should.
//
//	no       the result got worse, and outcomes say so
//	watch    data or predictions moved; the result is not confirmed, or still holds
//	yes      nothing moved and outcomes say that the result holds
//	unknown  there is no traffic, or nothing moved and no outcome says how the result is
type Verdict struct {
	Verdict string   `json:"verdict" enum:"yes,watch,no,unknown"`
	Reasons []string `json:"reasons"`
}

// silence is how long an endpoint may be without a window before its verdict becomes unknown.
const silence = 7 * 24 * time.Hour

// causes lists what exceeded its limit: data, predictions, result; of each, what exceeds it most comes first.
func (r *Result) causes(worse *Cause) []Cause {
	out := []Cause{}
	for _, part := range []struct {
		kind    string
		columns []Feature
	}{{"data", r.Features}, {"prediction", r.Predictions}} {
		from := len(out)
		for _, f := range part.columns {
			if f.Shift == "moved" {
				out = append(out, Cause{part.kind, f.Name, f.Metric, f.Value, f.Limit})
			}
		}
		slices.SortStableFunc(out[from:], func(a, b Cause) int { return cmp.Compare(b.Value/b.Limit, a.Value/a.Limit) })
	}
	if worse != nil {
		out = append(out, *worse)
	}
	return out
}

// settle draws the window's own verdict from its measures.
func (r *Result) settle(l Limits, y *yardstick) {
	r.Causes = r.causes(r.Performance.worse(l, y))
	r.Breached = len(r.Causes) > 0
	v := judge([]Result{*r}, r.To)
	r.Verdict, r.Reasons = v.Verdict, v.Reasons
}

// judge draws the verdict from the windows of an endpoint, newest first. The data and the predictions are
// those of the newest window, the result that of the newest one of the same version with enough outcomes.
func judge(windows []Result, now time.Time) Verdict {
	if len(windows) == 0 {
		return Verdict{"unknown", []string{"There has not been enough traffic for a first window."}}
	}
	w := windows[0]
	if now.Sub(w.To) > silence {
		return Verdict{"unknown", []string{fmt.Sprintf("There has been no full window of traffic since %s.", day(w.To))}}
	}
	reasons, moved := []string{}, false
	for _, kind := range []string{"data", "prediction"} {
		var names []string
		since := w.From
		for _, c := range w.Causes {
			if c.Kind == kind {
				names = append(names, c.Text())
			}
		}
		if len(names) == 0 {
			continue
		}
		moved = true
		for _, old := range windows[1:] {
			if !has(old.Causes, kind) {
				break
			}
			since = old.From
		}
		what := map[string]string{"data": "The data moved", "prediction": "The predictions moved"}[kind]
		more := ""
		if len(names) > 3 {
			more = fmt.Sprintf(" and %d more", len(names)-3)
			names = names[:3]
		}
		reasons = append(reasons, fmt.Sprintf("%s since %s: %s%s.", what, day(since), strings.Join(names, ", "), more))
	}
	if !moved {
		reasons = append(reasons, "Neither the data nor the predictions moved.")
	}
	for _, old := range windows {
		if old.Version != w.Version {
			continue
		}
		for _, c := range old.Causes {
			if c.Kind == "result" {
				return Verdict{"no", append([]string{fmt.Sprintf("The result got worse: %s %.3g, limit %.3g, by outcomes of %d rows up to %s.", c.Metric, c.Value, c.Limit, old.Performance.N, day(old.To))}, reasons...)}
			}
		}
		if old.Performance == nil {
			continue
		}
		if _, _, ok := old.Performance.measure(); !ok {
			continue
		}
		reasons = append(reasons, "The result holds: "+old.Performance.text()+".")
		if moved {
			return Verdict{"watch", reasons}
		}
		return Verdict{"yes", reasons}
	}
	reasons = append(reasons, "The result is not known yet: "+coverage(w.Performance)+".")
	if moved {
		return Verdict{"watch", reasons}
	}
	return Verdict{"unknown", reasons}
}

func coverage(p *Performance) string {
	if p == nil {
		return "no outcome has arrived"
	}
	return fmt.Sprintf("outcomes of %d rows (%.0f %%) have arrived, %d are needed", p.N, 100*p.Coverage, enoughLabels)
}

func has(causes []Cause, kind string) bool {
	for _, c := range causes {
		if c.Kind == kind {
			return true
		}
	}
	return false
}

func day(t time.Time) string { return t.UTC().Format("2 January 15:04 UTC") }
