package monitor

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/explain"
)

// cell is one value of a series: its number, NaN when it is none, its text, and whether it is missing.
func (s *series) cell(i int) (number float64, text string, missing bool) {
	if s.words != nil {
		if i >= len(s.words) || s.words[i] == "" {
			return nan, "", true
		}
		v, err := strconv.ParseFloat(s.words[i], 64)
		if err != nil {
			v = nan
		}
		return v, s.words[i], false
	}
	if i >= len(s.numbers) || math.IsNaN(s.numbers[i]) {
		return nan, "", true
	}
	return s.numbers[i], strconv.FormatFloat(s.numbers[i], 'g', -1, 64), false
}

// check holds a window against the rule. from and to are its span.
func (r *Rule) checkWindow(w *rows, from, to time.Time) RuleCheck {
	out := RuleCheck{Rule: r.Name(), Column: r.Column, Check: r.Check}
	switch r.Check {
	case "rows", "volume":
		v, what := float64(w.n), "rows"
		if r.Check == "volume" {
			v, what = v/max(to.Sub(from).Hours(), 1.0/3600), "rows per hour"
		}
		out.Value, out.OK = &v, true
		for _, l := range []struct {
			limit *float64
			bad   bool
		}{{r.Min, r.Min != nil && v < *r.Min}, {r.Max, r.Max != nil && v > *r.Max}} {
			if l.bad || out.Limit == nil {
				out.Limit = l.limit
			}
			out.OK = out.OK && !l.bad
		}
		out.Detail = fmt.Sprintf("The window has %s %s.", explain.Number(v), what)
		return out
	}
	var s *series
	for i := range w.inputs {
		if w.inputs[i].name == r.Column {
			s = &w.inputs[i]
		}
	}
	if s == nil && !(r.Check == "freshness" && r.Column == "") {
		out.Detail = fmt.Sprintf("The logged inputs have no column %q.", clip(r.Column))
		return out
	}
	if r.Check == "freshness" {
		r.freshness(&out, s, w.n, to)
		return out
	}
	bad := r.breaker()
	valid := 0
	for i := range w.n {
		number, text, missing := s.cell(i)
		if r.Check != "missing" && missing {
			continue
		}
		valid++
		if bad(number, text, missing) {
			if out.Broken++; out.Broken == 1 {
				out.Example = clip(text)
			}
		}
	}
	share, limit := rate(out.Broken, max(valid, 1)), 0.0
	if r.MaxShare != nil {
		limit = *r.MaxShare
	}
	out.Value, out.Limit, out.OK = &share, &limit, share <= limit
	out.Detail = fmt.Sprintf("%d of %d values break it (%s %%, %s %% are allowed).", out.Broken, valid, explain.Number(100*share), explain.Number(100*limit))
	if valid == 0 {
		out.Detail = "No row of the window has a value."
	}
	return out
}

// breaker tells whether a value breaks the rule.
func (r *Rule) breaker() func(number float64, text string, missing bool) bool {
	switch r.Check {
	case "missing":
		return func(v float64, _ string, missing bool) bool { return missing || math.IsInf(v, 0) }
	case "range":
		return func(v float64, _ string, _ bool) bool {
			return math.IsNaN(v) || r.Min != nil && v < *r.Min || r.Max != nil && v > *r.Max
		}
	case "allowed":
		words := map[string]bool{}
		var numbers []float64
		for _, v := range r.Values {
			word, _ := dataset.Word(v)
			words[word] = true
			if n, err := strconv.ParseFloat(word, 64); err == nil {
				if _, isWord := v.(string); !isWord {
					numbers = append(numbers, n)
				}
			}
		}
		return func(v float64, text string, _ bool) bool { return !words[text] && !slices.Contains(numbers, v) }
	case "unique":
		seen := map[string]bool{}
		return func(_ float64, text string, _ bool) bool {
			again := seen[text]
			seen[text] = true
			return again
		}
	case "pattern":
		whole, err := regexp.Compile("^(?:" + r.Pattern + ")$")
		return func(_ float64, text string, _ bool) bool { return err == nil && !whole.MatchString(text) }
	case "type":
		return func(v float64, _ string, _ bool) bool { return math.IsNaN(v) == (r.Type == numberKind) }
	}
	return func(float64, string, bool) bool { return false }
}

// freshness holds the newest time of a column, in microseconds, seconds or RFC 3339, or of the calls against the age.
func (r *Rule) freshness(out *RuleCheck, s *series, n int, to time.Time) {
	most, _ := time.ParseDuration(r.MaxAge) // checked when it was stored
	limit := most.Seconds()
	out.Limit = &limit
	if s == nil { // windows of calls end with a call: held against the clock by the verdict
		zero := 0.0
		out.OK, out.Value, out.Detail = true, &zero, "The window ends with its newest call."
		return
	}
	var newest time.Time
	for i := range n {
		v, text, missing := s.cell(i)
		if missing {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			switch {
			case !(math.Abs(v) < 9e15): // neither a time nor a number of a calendar
				continue
			case math.Abs(v) < 1e11:
				t = time.Unix(int64(v), 0)
			default:
				t = time.UnixMicro(int64(v))
			}
		}
		if t.After(newest) {
			newest = t
		}
	}
	if newest.IsZero() {
		out.Detail = "No row of the window has a time."
		return
	}
	age := max(to.Sub(newest).Seconds(), 0)
	out.Value, out.OK = &age, age <= limit
	out.Detail = fmt.Sprintf("The newest value is %s old at the end of the window, %s are allowed.", (time.Duration(age) * time.Second).String(), most)
}

// cause is the breach of a rule; nil while it is kept.
func (c *RuleCheck) cause() *Cause {
	if c.OK {
		return nil
	}
	out := &Cause{Kind: "data", Feature: c.Column, Rule: c.Rule, Metric: map[string]string{"rows": "rows", "volume": "rows_per_hour", "freshness": "age"}[c.Check]}
	if out.Metric == "" {
		out.Metric = "share"
	}
	if c.Value != nil {
		out.Value = *c.Value
	} else {
		out.Value = 1
	}
	if c.Limit != nil {
		out.Limit = *c.Limit
	}
	return out
}
