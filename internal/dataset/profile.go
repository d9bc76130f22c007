package dataset

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"keelson/internal/problem"
)

// ColumnProfile sums up one column of a version. Numbers are absent (null) where a column has none.
type ColumnProfile struct {
	Name      string      `json:"name"`
	Type      Type        `json:"type"`
	Count     int64       `json:"count" doc:"cells that hold a value"`
	Missing   int64       `json:"missing"`
	Infinite  int64       `json:"infinite,omitempty" doc:"cells with ±Inf; they are in count and in no other number"`
	Distinct  int64       `json:"distinct" doc:"different values"`
	Exact     bool        `json:"distinct_exact"`
	Min       *float64    `json:"min,omitempty"`
	Max       *float64    `json:"max,omitempty"`
	Mean      *float64    `json:"mean,omitempty"`
	SD        *float64    `json:"sd,omitempty" doc:"of the population (divided by n)"`
	Earliest  *time.Time  `json:"earliest,omitempty"`
	Newest    *time.Time  `json:"newest,omitempty"`
	Quantiles *Quantiles  `json:"quantiles,omitempty"`
	Top       []WordCount `json:"top,omitempty" doc:"the most frequent values, up to 20"`
	Histogram *Histogram  `json:"histogram,omitempty"`
	Method    string      `json:"method" doc:"how quantiles and histogram were found: exact, or a sample with its error"`
}

// Quantiles are linear interpolations between neighbours.
type Quantiles struct {
	P05 float64 `json:"p05"`
	P25 float64 `json:"p25"`
	P50 float64 `json:"p50"`
	P75 float64 `json:"p75"`
	P95 float64 `json:"p95"`
}

// Histogram counts values in bins: bin i lies between Edges[i] and Edges[i+1].
type Histogram struct {
	Edges  []float64 `json:"edges"`
	Counts []float64 `json:"counts"`
}

// WordCount is a value and how often it occurs.
type WordCount struct {
	Value string `json:"value"`
	Count int64  `json:"count"`
}

// Inspection is what was found in a file.
type Inspection struct {
	Format   string
	Rows     int64
	Schema   []Field
	Profile  []ColumnProfile
	Findings []problem.Field // broken rules; none when the file may be stored
	Results  []RuleResult
}

const histogramBins = 20

// columnState gathers what a profile needs of one column in one pass.
type columnState struct {
	field    Field
	declared bool // the type comes from the file or a rule
	rules    []*ruleState

	notInt, notFloat, notBool, notTime bool

	count, missing, infinite int64
	n                        int64 // finite numbers, or instants
	min, max, mean, m2       float64
	values                   sample
	distinct                 distinct
	top                      frequent
	buf                      []byte
}

// inspect reads the file once (and once more per unique rule) and holds it against the rules.
func inspect(ctx context.Context, src source, rules []Rule, l Limits) (*Inspection, error) {
	fields := src.fields()
	per := int(min(max(l.Memory/8/int64(len(fields)), 1000), 4<<20))
	states := make([]columnState, len(fields))
	at := make(map[string]int, len(fields))
	for i, f := range fields {
		at[f.Name] = i
		s := &states[i]
		s.field, s.declared = f, f.Type != ""
		s.values.size = per
		s.distinct.size = min(max(per/16, 256), 4096)
		s.top.size = min(max(per/64, 64), 1024)
	}
	out := &Inspection{}
	all := make([]*ruleState, len(rules))
	for i := range rules {
		r := &rules[i]
		if r.Check == "rows" {
			continue
		}
		k, ok := at[r.Column]
		if !ok {
			continue
		}
		all[i] = newRuleState(*r)
		if r.Check == "type" && !states[k].declared {
			states[k].field.Type, states[k].declared = r.Type, true
		}
		if r.Check != "unique" {
			states[k].rules = append(states[k].rules, all[i])
		}
	}
	rows, err := src.scan(ctx, nil, func(column int, row int64, c *cell) error {
		s := &states[column]
		for _, r := range s.rules {
			s.buf = r.see(row, c, s.buf)
		}
		s.add(c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if rows == 0 {
		return nil, problem.New(problem.Invalid, "The file has a header and no row.")
	}
	out.Rows = rows
	for i := range rules {
		var f *problem.Field
		switch r := &rules[i]; {
		case r.Check == "rows":
			f = checkRows(r, rows)
		case all[i] == nil:
			f = &problem.Field{Field: r.Column, Rule: r.Name(), Detail: "the file has no column of this name" + similar(r.Column, fields)}
		case r.Check == "unique":
			if err := checkUnique(ctx, src, at[r.Column], rows, all[i]); err != nil {
				return nil, err
			}
			f = all[i].finding(rows)
		default:
			f = all[i].finding(rows)
		}
		if f != nil {
			out.Findings = append(out.Findings, *f)
		}
		out.Results = append(out.Results, RuleResult{ID: rules[i].Name(), Column: rules[i].Column, Check: rules[i].Check, OK: f == nil})
	}
	for i := range states {
		p := states[i].profile()
		out.Profile = append(out.Profile, p)
		out.Schema = append(out.Schema, Field{p.Name, p.Type})
	}
	return out, nil
}

// similar offers the column that differs in case or spaces only.
func similar(name string, fields []Field) string {
	for _, f := range fields {
		if strings.EqualFold(strings.TrimSpace(f.Name), strings.TrimSpace(name)) {
			return "; it has " + f.Name
		}
	}
	return ""
}

// add takes one cell of the column.
func (s *columnState) add(c *cell) {
	if c.kind == missing {
		s.missing++
		return
	}
	s.count++
	value, isNumber := 0.0, false
	switch {
	case c.kind == text && !s.declared:
		value, isNumber = s.guess(c.s)
	case c.kind == text && (s.field.Type == Int || s.field.Type == Float):
		value, isNumber = c.number()
	case c.kind == text && s.field.Type == Time:
		us, ok := parseTime(c.s)
		value, isNumber = float64(us), ok
	case c.kind == instant:
		value, isNumber = float64(c.i), true
	case c.kind == integer || c.kind == number:
		value, isNumber = c.number()
	}
	s.buf = c.appendText(s.buf[:0])
	s.distinct.add(s.buf)
	s.top.add(s.buf, !isNumber)
	if !isNumber {
		return
	}
	if math.IsInf(value, 0) {
		s.infinite++
		return
	}
	if s.n++; s.n == 1 {
		s.min, s.max = value, value
	}
	s.min, s.max = math.Min(s.min, value), math.Max(s.max, value)
	d := value - s.mean
	s.mean += d / float64(s.n)
	s.m2 += d * (value - s.mean)
	s.values.add(value)
}

// guess narrows the types a CSV column may have and returns the cell's value in the narrowest.
func (s *columnState) guess(b []byte) (float64, bool) {
	if !s.notFloat {
		v, whole, ok := parseNumber(b)
		if ok {
			s.notInt = s.notInt || !whole
			s.notBool, s.notTime = true, true
			return v, true
		}
		if s.count > 1 { // numbers before it meant nothing
			s.n, s.infinite, s.mean, s.m2, s.values.values, s.values.n = 0, 0, 0, 0, nil, 0
		}
		s.notFloat = true
	}
	if !s.notTime {
		if us, ok := parseTime(b); ok {
			s.notBool = true
			return float64(us), true
		}
		s.n, s.mean, s.m2, s.values.values, s.values.n = 0, 0, 0, nil, 0
		s.notTime = true
	}
	if !s.notBool {
		_, ok := parseBool(b)
		s.notBool = !ok
	}
	return 0, false
}

// profile closes the column.
func (s *columnState) profile() ColumnProfile {
	t := s.field.Type
	if !s.declared {
		switch {
		case s.count == 0, s.notFloat && s.notTime && s.notBool:
			t = String
		case !s.notFloat && !s.notInt:
			t = Int
		case !s.notFloat:
			t = Float
		case !s.notTime:
			t = Time
		default:
			t = Bool
		}
	}
	p := ColumnProfile{Name: s.field.Name, Type: t, Count: s.count, Missing: s.missing, Infinite: s.infinite, Method: "exact"}
	p.Distinct, p.Exact = s.distinct.count()
	if !s.top.off && (t == String || t == Bool || p.Distinct <= 20) {
		p.Top = s.top.top(20)
	}
	if s.n == 0 || t == String || t == Bool {
		return p
	}
	p.Method = s.values.method()
	if t == Time {
		first, last := time.UnixMicro(int64(s.min)).UTC(), time.UnixMicro(int64(s.max)).UTC()
		p.Earliest, p.Newest = &first, &last
		return p
	}
	p.Min, p.Max, p.Mean, p.SD = float(s.min), float(s.max), float(s.mean), float(math.Sqrt(s.m2/float64(s.n)))
	slices.Sort(s.values.values)
	q := func(at float64) float64 { return quantile(s.values.values, at) }
	p.Quantiles = &Quantiles{q(0.05), q(0.25), q(0.5), q(0.75), q(0.95)}
	p.Histogram = s.histogram()
	return p
}

// histogram counts the values in bins of equal width between the smallest and the largest; of a sample the
// counts are scaled to all rows.
func (s *columnState) histogram() *Histogram {
	width := s.max/histogramBins - s.min/histogramBins // divided first: the difference may overflow
	if width <= 0 || !finite(width) {
		return &Histogram{Edges: []float64{s.min, s.max}, Counts: []float64{float64(s.n)}}
	}
	h := &Histogram{Edges: make([]float64, histogramBins+1), Counts: make([]float64, histogramBins)}
	for i := range h.Edges {
		h.Edges[i] = s.min + float64(i)*width
	}
	h.Edges[histogramBins] = s.max
	scale := float64(s.n) / float64(len(s.values.values))
	for _, v := range s.values.values {
		h.Counts[min(int(v/width-s.min/width), histogramBins-1)] += scale
	}
	return h
}

// float returns a pointer for JSON, nil for what JSON cannot hold.
func float(v float64) *float64 {
	if !finite(v) {
		return nil
	}
	return &v
}

func validText(s string) string { return strings.ToValidUTF8(s, "") }

// bytesText writes a size for people.
func bytesText(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1 && n%1024 == 0; i++ {
		n /= 1024
	}
	return formatInt(n) + " " + units[i]
}
