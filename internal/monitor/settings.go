package monitor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/problem"
)

// Plan is what a monitor looks at beside the shift of single columns.
type Plan struct {
	Against    Against      `json:"against" doc:"what windows are compared with"`
	Segments   []Segment    `json:"segments" doc:"parts of the rows that are looked at by themselves"`
	Embeddings []Embedding  `json:"embeddings" doc:"vectors among the inputs, each compared as a whole"`
	Ranking    *Ranking     `json:"ranking,omitempty" doc:"set: the model ranks, and its result is NDCG"`
	Metrics    []Metric     `json:"metrics" doc:"custom metrics"`
	Rules      []Rule       `json:"rules" doc:"data-quality rules, checked in every window"`
	Indicators []Indicator  `json:"indicators" doc:"business metrics that are handed in"`
	Fairness   []GroupLimit `json:"fairness" doc:"groups of people that a classifier should treat alike"`
}

// Against says what windows are compared with.
type Against struct {
	Kind    string `json:"kind" enum:"training,window,version" doc:"training: the reference, or the version's own training data; window: the rows of an earlier window; version: what another version is compared with"`
	Window  string `json:"window,omitempty" doc:"for window: its id"`
	Version int    `json:"version,omitempty" doc:"for version: its number"`
	// Until ends it: what is accepted for a season is no reason to look away for ever.
	Until *time.Time `json:"until,omitempty" doc:"windows that end later are compared with the training data again; left out: until somebody changes it"`
}

// at is what a window that ends at t is compared with.
func (a Against) at(t time.Time) Against {
	if a.Until == nil || t.Before(*a.Until) {
		return a
	}
	return Against{Kind: "training"}
}

// Segment is a named part of the rows: those where column has a value, or where a CEL expression over input and output holds.
type Segment struct {
	Name   string   `json:"name"`
	Column string   `json:"column,omitempty"`
	Value  any      `json:"value,omitempty" doc:"a word, number or truth value"`
	When   string   `json:"when,omitempty" doc:"CEL, such as input.age > 60.0 && input.ward == 'north'"`
	Min    *float64 `json:"min,omitempty" doc:"lowest accuracy of the segment"`
	Max    *float64 `json:"max,omitempty" doc:"largest RMSE of the segment"`
}

// Metric is a custom metric: an expression per row and what is made of its values over the window, or a module that is given the
// rows.
type Metric struct {
	Name       string   `json:"name"`
	Expression string   `json:"expression,omitempty" doc:"CEL over input, output and outcome, such as output.score * input.amount"`
	Module     string   `json:"module,omitempty" doc:"instead of an expression: the WebAssembly module that computes it from all rows, NAME or NAME@2; the newest is taken when it is set"`
	Columns    []string `json:"columns,omitempty" doc:"inputs that the module gets; empty: all"`
	Outcomes   bool     `json:"outcomes,omitempty" doc:"the module gets rows with an outcome only, and its value says something of the result"`
	When       string   `json:"when,omitempty" doc:"CEL: only rows for which it holds"`
	Aggregate  string   `json:"aggregate,omitempty" enum:"mean,sum,min,max,count,p50,p90,p95,p99" doc:"of truth values, mean is the share and count the number that hold"`
	Min        *float64 `json:"min,omitempty"`
	Max        *float64 `json:"max,omitempty"`
	Unit       string   `json:"unit,omitempty"`
}

// Rule is a data-quality rule. Missing values break missing only.
type Rule struct {
	ID       string   `json:"id,omitempty" doc:"made from column and check when empty"`
	Column   string   `json:"column,omitempty" doc:"input column; required by every check but rows, volume and freshness"`
	Check    string   `json:"check" enum:"missing,range,allowed,unique,pattern,type,freshness,rows,volume"`
	Min      *float64 `json:"min,omitempty" doc:"for range, rows and volume (rows per hour), inclusive"`
	Max      *float64 `json:"max,omitempty" doc:"likewise"`
	MaxShare *float64 `json:"max_share,omitempty" doc:"share of rows that may break it, 0..1; 0 if empty"`
	Values   []any    `json:"values,omitempty" doc:"for allowed: words, numbers or truth values"`
	Pattern  string   `json:"pattern,omitempty" doc:"for pattern: a regular expression (RE2) that the whole word must match"`
	Type     string   `json:"type,omitempty" enum:"number,word" doc:"for type"`
	MaxAge   string   `json:"max_age,omitempty" doc:"for freshness: such as 24h; of the column's newest time, or of the newest call without a column"`
}

// Name is the rule's id, or one made from its column and check.
func (r *Rule) Name() string {
	switch {
	case r.ID != "":
		return r.ID
	case r.Column == "":
		return r.Check
	}
	return r.Column + "." + r.Check
}

// Indicator is a business metric that is handed in, and its limits.
type Indicator struct {
	Name string   `json:"name"`
	Unit string   `json:"unit,omitempty"`
	Min  *float64 `json:"min,omitempty"`
	Max  *float64 `json:"max,omitempty"`
}

// Ways to set the limits of a column.
const (
	Constant      = "constant"
	FromReference = "reference"
	ByTier        = "tier"
)

// fewestTimed is the smallest min_rows of windows that are cut by time or by outcomes.
const fewestTimed = 50

// mostDeclared bounds each list of a Plan.
const mostDeclared = 100

func (p *Plan) fill() {
	if p.Against.Kind == "" {
		p.Against.Kind = "training"
	}
	if p.Segments == nil {
		p.Segments = []Segment{}
	}
	if p.Embeddings == nil {
		p.Embeddings = []Embedding{}
	}
	if p.Metrics == nil {
		p.Metrics = []Metric{}
	}
	for i := range p.Metrics {
		if p.Metrics[i].Aggregate == "" {
			p.Metrics[i].Aggregate = "mean"
		}
	}
	if p.Rules == nil {
		p.Rules = []Rule{}
	}
	if p.Indicators == nil {
		p.Indicators = []Indicator{}
	}
	if p.Fairness == nil {
		p.Fairness = []GroupLimit{}
	}
	for i := range p.Fairness {
		p.Fairness[i].fill()
	}
}

func invalid(field, format string, a ...any) error {
	return problem.New(problem.Invalid, format, a...).At(field)
}

// named refuses empty, long and repeated names.
func (p *Plan) names(list string, n int, name func(int) string) error {
	seen := map[string]bool{}
	if n > mostDeclared {
		return invalid(list, "A monitor has up to %d %s.", mostDeclared, list)
	}
	for i := range n {
		v := name(i)
		if strings.TrimSpace(v) == "" || len(v) > 100 || seen[v] {
			return invalid(fmt.Sprintf("%s[%d].name", list, i), "Each of the %s needs a name of its own, up to 100 bytes; %q is missing, too long or given twice.", list, clip(v))
		}
		seen[v] = true
	}
	return nil
}

// Check refuses what cannot work, naming the field.
func (p *Plan) Check() error {
	switch a := p.Against; a.Kind {
	case "training":
		if a.Until != nil {
			return invalid("against.until", "The training data is what windows are compared with in the end; only a window or a version is until a time.")
		}
	case "window":
		if a.Window == "" {
			return invalid("against.window", "Name the window to compare with; keelson monitor windows lists them.")
		}
	case "version":
		if a.Version < 1 {
			return invalid("against.version", "Name the version to compare with, from 1 up.")
		}
	default:
		return invalid("against.kind", "Windows are compared with training, window or version, not %q.", clip(a.Kind))
	}
	for _, err := range []error{
		p.names("segments", len(p.Segments), func(i int) string { return p.Segments[i].Name }),
		p.names("embeddings", len(p.Embeddings), func(i int) string { return p.Embeddings[i].Name }),
		p.names("metrics", len(p.Metrics), func(i int) string { return p.Metrics[i].Name }),
		p.names("rules", len(p.Rules), func(i int) string { return p.Rules[i].Name() }),
		p.names("indicators", len(p.Indicators), func(i int) string { return p.Indicators[i].Name }),
	} {
		if err != nil {
			return err
		}
	}
	for i := range p.Segments {
		if err := p.Segments[i].check(fmt.Sprintf("segments[%d]", i)); err != nil {
			return err
		}
	}
	if p.Ranking != nil {
		if err := p.Ranking.check(); err != nil {
			return err
		}
	}
	if len(p.Embeddings) > mostEmbeddings {
		return invalid("embeddings", "A monitor compares up to %d embeddings.", mostEmbeddings)
	}
	for i := range p.Embeddings {
		if err := p.Embeddings[i].check(fmt.Sprintf("embeddings[%d]", i)); err != nil {
			return err
		}
	}
	for i := range p.Metrics {
		if err := p.Metrics[i].check(fmt.Sprintf("metrics[%d]", i)); err != nil {
			return err
		}
	}
	for i := range p.Rules {
		if err := p.Rules[i].check(fmt.Sprintf("rules[%d]", i)); err != nil {
			return err
		}
	}
	if len(p.Fairness) > mostDeclared {
		return invalid("fairness", "A monitor holds up to %d gaps between groups against limits.", mostDeclared)
	}
	for i := range p.Fairness {
		at := fmt.Sprintf("fairness[%d]", i)
		if err := p.Fairness[i].check(at); err != nil {
			return err
		}
		if slices.ContainsFunc(p.Fairness[:i], func(g GroupLimit) bool { return g.name() == p.Fairness[i].name() }) {
			return invalid(at, "The %s is declared twice.", clip(p.Fairness[i].name()))
		}
	}
	for i, k := range p.Indicators {
		if err := ordered(fmt.Sprintf("indicators[%d]", i), k.Min, k.Max); err != nil {
			return err
		}
	}
	return nil
}

func (s *Segment) check(at string) error {
	switch {
	case (s.Column == "") == (s.When == ""):
		return invalid(at, "The segment %q is chosen either by column and value or by an expression (when).", clip(s.Name))
	case s.Column != "" && s.Value == nil:
		return invalid(at+".value", "The segment %q needs the value of %s.", clip(s.Name), clip(s.Column))
	case s.Column != "":
		if _, ok := dataset.Word(s.Value); !ok {
			return invalid(at+".value", "The value of the segment %q is a word, a number or a truth value.", clip(s.Name))
		}
		return nil
	}
	_, err := compile(s.When, true)
	if err != nil {
		return invalid(at+".when", "The expression of the segment %q is wrong: %s.", clip(s.Name), err)
	}
	return nil
}

func (m *Metric) check(at string) error {
	switch {
	case m.Module != "" && m.Expression != "":
		return invalid(at+".module", "The metric %q has a module and an expression; name one of the two.", clip(m.Name))
	case m.Module != "":
		if _, _, err := splitModule(m.Module); err != nil {
			return invalid(at+".module", "The metric %q is computed by no module: %s.", clip(m.Name), err)
		}
	case len(m.Columns) > 0 || m.Outcomes:
		return invalid(at+".module", "The metric %q names columns or outcomes for a module, but no module.", clip(m.Name))
	case m.Expression == "" && m.Aggregate != "count":
		return invalid(at+".expression", "The metric %q needs an expression.", clip(m.Name))
	}
	if m.Expression != "" {
		if _, err := compile(m.Expression, false); err != nil {
			return invalid(at+".expression", "The expression of the metric %q is wrong: %s.", clip(m.Name), err)
		}
	}
	if m.When != "" {
		if _, err := compile(m.When, true); err != nil {
			return invalid(at+".when", "The condition of the metric %q is wrong: %s.", clip(m.Name), err)
		}
	}
	if _, ok := aggregates[m.Aggregate]; !ok {
		return invalid(at+".aggregate", "The metric %q has the aggregate %q; use mean, sum, min, max, count, p50, p90, p95 or p99.", clip(m.Name), clip(m.Aggregate))
	}
	return ordered(at, m.Min, m.Max)
}

func (r *Rule) check(at string) error {
	name := clip(r.Name())
	if r.Column == "" && r.Check != "rows" && r.Check != "volume" && r.Check != "freshness" {
		return invalid(at+".column", "The rule %q names no column.", name)
	}
	if r.MaxShare != nil && !(*r.MaxShare >= 0 && *r.MaxShare <= 1) {
		return invalid(at+".max_share", "The rule %q needs a max_share between 0 and 1.", name)
	}
	if err := ordered(at, r.Min, r.Max); err != nil {
		return err
	}
	switch r.Check {
	case "missing", "unique":
	case "range", "rows", "volume":
		if r.Min == nil && r.Max == nil {
			return invalid(at+".min", "The rule %q needs min or max.", name)
		}
	case "allowed":
		if len(r.Values) == 0 || len(r.Values) > 10_000 {
			return invalid(at+".values", "The rule %q needs 1 to 10,000 values.", name)
		}
		for k, v := range r.Values {
			if _, ok := dataset.Word(v); !ok {
				return invalid(fmt.Sprintf("%s.values[%d]", at, k), "The rule %q allows something that is no word, number or truth value.", name)
			}
		}
	case "pattern":
		if _, err := regexp.Compile(r.Pattern); r.Pattern == "" || err != nil || len(r.Pattern) > 1000 {
			return invalid(at+".pattern", "The rule %q needs a regular expression (RE2) of up to 1,000 bytes.", name)
		}
	case "type":
		if r.Type != numberKind && r.Type != wordKind {
			return invalid(at+".type", "The rule %q needs the type number or word.", name)
		}
	case "freshness":
		if d, err := time.ParseDuration(r.MaxAge); err != nil || d <= 0 {
			return invalid(at+".max_age", "The rule %q needs a max_age above 0, such as 24h.", name)
		}
	default:
		return invalid(at+".check", "The rule %q has the check %q; use missing, range, allowed, unique, pattern, type, freshness, rows or volume.", name, clip(r.Check))
	}
	return nil
}

func ordered(at string, low, high *float64) error {
	for field, v := range map[string]*float64{"min": low, "max": high} {
		if v != nil && !finite(*v) {
			return invalid(at+"."+field, "A limit is a finite number.")
		}
	}
	if low != nil && high != nil && *low > *high {
		return invalid(at+".min", "The min lies above the max.")
	}
	return nil
}

// length is the span of windows that are cut by time; 0 when they are not.
func (w *Window) length() time.Duration {
	d, err := time.ParseDuration(w.Every)
	if err != nil {
		return 0
	}
	return d
}

func (w *Window) check() error {
	timed := w.Every != "" || w.Labels > 0
	switch {
	case w.Every != "" && w.Labels > 0:
		return invalid("window.labels", "A window is cut by rows, by time (every) or by outcomes (labels); name one of the two.")
	case w.Every != "" && (w.length() < time.Minute || w.length() > 31*24*time.Hour):
		return invalid("window.every", "A window spans a minute to 31 days, such as 1h or 24h, not %q.", clip(w.Every))
	case w.Labels != 0 && (w.Labels < fewestTimed || w.Labels > 100_000):
		return invalid("window.labels", "A window of outcomes has %d to 100,000 of them.", fewestTimed)
	case timed && w.MinRows < fewestTimed:
		return invalid("window.min_rows", "Windows of fewer than %d rows say nothing. Use %d or more.", fewestTimed, fewestTimed)
	case !timed && w.Rows < DefaultMinRows:
		return invalid("window.rows", "A window of %d rows says little: chance alone moves it. Use %d or more.", w.Rows, DefaultMinRows)
	case !timed && w.MinRows < DefaultMinRows:
		return invalid("window.min_rows", "Windows of fewer than %d rows say little: chance alone moves them. Use %d or more.", DefaultMinRows, DefaultMinRows)
	case w.Rows < w.MinRows:
		return invalid("window.rows", "A window of %d rows is smaller than min_rows, %d.", w.Rows, w.MinRows)
	case w.Rows > 100_000:
		return invalid("window.rows", "A window may have up to 100,000 rows.")
	}
	return nil
}
