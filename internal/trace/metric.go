package trace

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Views of metrics: what is counted.
const (
	OfTraces      = "traces"
	OfSpans       = "spans"
	OfAssessments = "assessments"
)

// Aggregations.
const (
	Count      = "COUNT"
	Sum        = "SUM"
	Avg        = "AVG"
	Min        = "MIN"
	Max        = "MAX"
	Percentile = "PERCENTILE"
)

// Aggregation is how values become one. P is the percentile, 0 to 100.
type Aggregation struct {
	Kind string
	P    float64
}

// label is the name of the result: "AVG", "P95.0".
func (a Aggregation) label() string {
	if a.Kind != Percentile {
		return a.Kind
	}
	s := strconv.FormatFloat(a.P, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return "P" + s
}

// MetricQuery asks for a metric over the traces of experiments. Times are in milliseconds since 1970, Since and Until
// inclusive; nil leaves that side open. Every is the width of a time bucket in seconds, 0 for none. Filters are clauses
// such as `trace.status = 'OK'`, all of which must hold.
type MetricQuery struct {
	Experiments  []string
	Everywhere   bool
	View         string
	Metric       string
	Aggregations []Aggregation
	Dimensions   []string
	Filters      []string
	Every        int64
	Since, Until *int64
	Limit        int
}

// MetricPoint is one group's values. Dimensions hold "time_bucket", the bucket's beginning, where buckets were asked for.
type MetricPoint struct {
	Dimensions map[string]string
	Values     map[string]float64
}

// MaxMetricPoints is how many points one answer has at most.
const MaxMetricPoints = 1000

// maxMetricRows bounds the values that one query reads.
const maxMetricRows = 2_000_000

type metricRule struct {
	aggregations, dimensions []string
	column                   string // of the trace's row; empty where it is worked out
}

var (
	spread  = []string{Avg, Min, Max, Percentile}
	amounts = []string{Sum, Avg, Min, Max, Percentile}
	byName  = []string{"trace_name"}
	byModel = []string{"span_model_name", "span_model_provider"}
)

// metricRules are the metrics of MLflow, with what may be asked of them.
var metricRules = map[string]map[string]metricRule{
	OfTraces: {
		"trace_count":                 {[]string{Count}, []string{"trace_name", "trace_status"}, "1"},
		"session_count":               {[]string{Count}, nil, ""},
		"latency":                     {spread, byName, "duration_ms"},
		"input_tokens":                {amounts, byName, "input_tokens"},
		"output_tokens":               {amounts, byName, "output_tokens"},
		"total_tokens":                {amounts, byName, "total_tokens"},
		"cache_read_input_tokens":     {amounts, byName, "cache_read_tokens"},
		"cache_creation_input_tokens": {amounts, byName, "cache_creation_tokens"},
	},
	OfSpans: {
		"span_count":  {[]string{Count}, []string{"span_name", "span_type", "span_status", "span_model_name", "span_model_provider"}, ""},
		"latency":     {spread, []string{"span_name", "span_status"}, ""},
		"input_cost":  {amounts, byModel, ""},
		"output_cost": {amounts, byModel, ""},
		"total_cost":  {amounts, byModel, ""},
	},
	OfAssessments: {
		"assessment_count": {[]string{Count}, []string{"assessment_name", "assessment_value"}, ""},
		"assessment_value": {spread, []string{"assessment_name"}, ""},
	},
}

func (q *MetricQuery) check() (metricRule, error) {
	rules, ok := metricRules[q.View]
	if !ok {
		return metricRule{}, problem.New(problem.Invalid, "view_type must be one of TRACES, SPANS, ASSESSMENTS, got '%s'", problem.Clip(q.View, 40)).At("view_type")
	}
	r, ok := rules[q.Metric]
	if !ok {
		return r, problem.New(problem.Invalid, "metric_name must be one of %s, got '%s'", strings.Join(sortedKeys(rules), ", "), problem.Clip(q.Metric, 60)).At("metric_name")
	}
	if len(q.Aggregations) == 0 || len(q.Aggregations) > 20 {
		return r, problem.New(problem.Invalid, "A query has 1 to 20 aggregations; got %d.", len(q.Aggregations)).At("aggregations")
	}
	for _, a := range q.Aggregations {
		if !slices.Contains(r.aggregations, a.Kind) {
			return r, problem.New(problem.Invalid, "Found invalid aggregation_type(s): ['%s']. Supported aggregation types: ['%s']", problem.Clip(a.Kind, 40), strings.Join(r.aggregations, "', '")).At("aggregations")
		}
		if a.Kind == Percentile && !(a.P >= 0 && a.P <= 100) {
			return r, problem.New(problem.Invalid, "A percentile is between 0 and 100; got %v.", a.P).At("aggregations")
		}
	}
	for _, d := range q.Dimensions {
		if !slices.Contains(r.dimensions, d) {
			return r, problem.New(problem.Invalid, "Found invalid dimension(s): ['%s']. Supported dimensions: ['%s']", problem.Clip(d, 40), strings.Join(r.dimensions, "', '")).At("dimensions")
		}
	}
	if q.Every < 0 || q.Every > 100*366*86400 {
		return r, problem.New(problem.Invalid, "A time interval has 1 second to 100 years.").At("time_interval_seconds")
	}
	if q.Every > 0 && (q.Since == nil || q.Until == nil) {
		return r, problem.New(problem.Invalid, "start_time_ms and end_time_ms are required if time_interval_seconds is set").At("start_time_ms")
	}
	if len(q.Filters) > 20 {
		return r, problem.New(problem.Invalid, "A query has at most 20 filters; got %d.", len(q.Filters)).At("filters")
	}
	if len(q.Experiments) > 1000 {
		return r, problem.New(problem.Invalid, "A query covers at most 1000 experiments; got %d.", len(q.Experiments)).At("experiment_ids")
	}
	q.Limit = min(max(q.Limit, 1), MaxMetricPoints)
	return r, nil
}

// groups gathers values by what they are grouped by.
type groups struct {
	q    *MetricQuery
	of   map[string]*group
	rows int
}

type group struct {
	bucket int64
	dims   []string
	values []float64
	n      int
	seen   map[string]bool // sessions
}

// add takes one value; a dimension that is not there leaves it out.
func (g *groups) add(at int64, dims []string, v float64, session string) error {
	if g.rows++; g.rows > maxMetricRows {
		return problem.New(problem.Invalid, "The query reads more than %d values; narrow its time or its experiments.", maxMetricRows).At("start_time_ms")
	}
	bucket := int64(0)
	if w := g.q.Every * 1000; w > 0 {
		bucket = at - ((at%w)+w)%w
	}
	key := strconv.FormatInt(bucket, 36) + "\x00" + strings.Join(dims, "\x00")
	x := g.of[key]
	if x == nil {
		x = &group{bucket: bucket, dims: dims}
		g.of[key] = x
	}
	if session != "" {
		if x.seen == nil {
			x.seen = map[string]bool{}
		}
		x.seen[session] = true
		return nil
	}
	x.n++
	if g.q.Aggregations[0].Kind != Count {
		x.values = append(x.values, v)
	}
	return nil
}

func (g *groups) points() (out []MetricPoint) {
	list := make([]*group, 0, len(g.of))
	for _, x := range g.of {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *group) int {
		if a.bucket != b.bucket {
			return int(min(max(a.bucket-b.bucket, -1), 1))
		}
		return slices.Compare(a.dims, b.dims)
	})
	for _, x := range list[:min(len(list), g.q.Limit)] {
		p := MetricPoint{Dimensions: map[string]string{}, Values: map[string]float64{}}
		if g.q.Every > 0 {
			p.Dimensions["time_bucket"] = time.UnixMilli(x.bucket).UTC().Format("2006-01-02T15:04:05-07:00")
		}
		for i, d := range g.q.Dimensions {
			p.Dimensions[d] = x.dims[i]
		}
		slices.Sort(x.values)
		total := 0.0
		for _, v := range x.values {
			total += v
		}
		for _, a := range g.q.Aggregations {
			v := total
			switch a.Kind {
			case Count:
				v = float64(x.n + len(x.seen))
			case Avg:
				v = total / float64(len(x.values))
			case Min:
				v = x.values[0]
			case Max:
				v = x.values[len(x.values)-1]
			case Percentile:
				v = percentile(x.values, a.P)
			}
			p.Values[a.label()] = v
		}
		out = append(out, p)
	}
	return out
}

// percentile interpolates between the neighbours of place p/100·(n−1) of sorted values (Hyndman and Fan's type 7).
func percentile(sorted []float64, p float64) float64 {
	at := p / 100 * float64(len(sorted)-1)
	low := int(math.Floor(at))
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

// Measure computes a metric, grouped by time and dimensions, sorted by them.
func (s *Service) Measure(ctx context.Context, q MetricQuery) ([]MetricPoint, error) {
	rule, err := q.check()
	if err != nil {
		return nil, err
	}
	f, err := metricFilters(q.View, q.Filters)
	if err != nil {
		return nil, err
	}
	if len(q.Experiments) == 0 && !q.Everywhere {
		return nil, nil
	}
	var g *groups
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		g = &groups{q: &q, of: map[string]*group{}}
		switch q.View {
		case OfSpans:
			return measureSpans(tx, g, f)
		case OfAssessments:
			return measureAssessments(tx, g, f)
		}
		return measureTraces(tx, g, f, rule)
	})
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", q.Metric, err)
	}
	return g.points(), nil
}

// from is the part of every statement that says which traces are meant.
func (q *query) from(tx db.Scope, m *MetricQuery, f metricFilter) {
	q.Add(` WHERE t.workspace = `, q.Arg(tx.Workspace))
	q.scope(Search{Experiments: m.Experiments, Everywhere: m.Everywhere})
	q.where(tx.Postgres(), plan{sql: f.traces})
	if m.Since != nil {
		q.Add(` AND t.started_ms >= `, q.Arg(*m.Since))
	}
	if m.Until != nil {
		q.Add(` AND t.started_ms <= `, q.Arg(*m.Until))
	}
}

func measureTraces(tx db.Scope, g *groups, f metricFilter, rule metricRule) error {
	q := newQuery(tx)
	column := rule.column
	switch column {
	case "":
		column = "0"
	case "1":
	default:
		column = "t." + column
	}
	q.Add(`SELECT t.started_ms, t.name, t.state, t.session, ` + column + ` FROM trace t`)
	q.from(tx, g.q, f)
	if strings.HasPrefix(column, "t.") {
		q.Add(` AND ` + column + ` >= 0`)
	}
	if g.q.Metric == "session_count" {
		q.Add(` AND t.session <> ''`)
	}
	return tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var at int64
		var name, state, session string
		var v float64
		if err := scan(&at, &name, &state, &session, &v); err != nil {
			return err
		}
		dims := make([]string, 0, len(g.q.Dimensions))
		for _, d := range g.q.Dimensions {
			x := strings.ToUpper(state)
			if d == "trace_name" {
				if x = name; x == "" {
					return nil
				}
			}
			dims = append(dims, x)
		}
		if g.q.Metric != "session_count" {
			session = ""
		}
		return g.add(at, dims, v, session)
	})
}

func measureSpans(tx db.Scope, g *groups, f metricFilter) error {
	q := newQuery(tx)
	q.Add(`SELECT t.started_ms, c.data FROM trace t JOIN trace_chunk c ON c.workspace = t.workspace AND c.trace = t.id`)
	q.from(tx, g.q, f)
	return tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var at int64
		var data []byte
		if err := scan(&at, &data); err != nil {
			return err
		}
		spans, err := unpack(data)
		if err != nil {
			return err
		}
		for _, s := range spans {
			if !f.span(s) {
				continue
			}
			if err := measureSpan(g, at, s); err != nil {
				return err
			}
		}
		return nil
	})
}

func measureSpan(g *groups, at int64, s *Span) error {
	v := 0.0
	switch g.q.Metric {
	case "latency":
		if s.EndTimeUnixNano < s.StartTimeUnixNano {
			return nil
		}
		v = float64((s.EndTimeUnixNano - s.StartTimeUnixNano) / 1_000_000)
	case "input_cost", "output_cost", "total_cost":
		c := costOf(s)
		if c == nil {
			return nil
		}
		v = map[string]float64{"input_cost": c.Input, "output_cost": c.Output, "total_cost": c.Total}[g.q.Metric]
		at = int64(s.StartTimeUnixNano / 1_000_000)
	}
	dims := make([]string, 0, len(g.q.Dimensions))
	for _, d := range g.q.Dimensions {
		x := ""
		switch d {
		case "span_name":
			x = s.Name
		case "span_type":
			x = Type(s)
		case "span_status":
			x = Status(s)
		case "span_model_name":
			x = Plain(Attribute(s, keysModel...))
		case "span_model_provider":
			x = Plain(Attribute(s, keysProvider...))
		}
		if x == "" {
			return nil
		}
		dims = append(dims, x)
	}
	return g.add(at, dims, v, "")
}

func measureAssessments(tx db.Scope, g *groups, f metricFilter) error {
	q := newQuery(tx)
	q.Add(`SELECT t.started_ms, a.name, a.value, a.number FROM trace t JOIN trace_assessment a ON a.workspace = t.workspace AND a.trace = t.id`)
	q.from(tx, g.q, f)
	q.Add(` AND a.valid = 1`)
	if g.q.Metric == "assessment_value" {
		q.Add(` AND a.number_kind > 0`)
	}
	if f.name != "" {
		q.Add(` AND a.name = `, q.Arg(f.name))
	}
	if f.kind != "" {
		q.Add(` AND a.kind = `, q.Arg(f.kind))
	}
	return tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var at int64
		var name, value string
		var v float64
		if err := scan(&at, &name, &value, &v); err != nil {
			return err
		}
		dims := make([]string, 0, len(g.q.Dimensions))
		for _, d := range g.q.Dimensions {
			if d == "assessment_name" {
				dims = append(dims, name)
			} else {
				dims = append(dims, value)
			}
		}
		return g.add(at, dims, v, "")
	})
}
