package trace

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"keelson/internal/filter"
	"keelson/internal/problem"
)

// Entities of clauses beside filter.Attribute and filter.Tag.
const (
	ofMetadata = "request_metadata"
	ofSpan     = "span"
	ofRun      = "run"
	ofPrompt   = "prompt"
	attributes = "attributes." // before the name of an attribute of a span
	content    = "content"     // of a span: its name and the values of its attributes
)

var (
	texts     = append([]string{filter.RLike}, filter.Lists...)
	nullables = append([]string{filter.RLike, filter.In, filter.NotIn}, filter.Nullable...)
	judged    = []string{filter.Eq, filter.Ne, filter.Gt, filter.Ge, filter.Lt, filter.Le, filter.Like, filter.ILike, filter.RLike, filter.IsNull, filter.IsNotNull}

	text   = func(stored string) filter.Key { return filter.Key{Stored: stored, Ops: nullables, Ordered: true} }
	number = func(stored string) filter.Key {
		return filter.Key{Stored: stored, Type: filter.Number, Ops: filter.Numbers, Ordered: true}
	}
	run = filter.Key{Entity: ofRun, Stored: "run", Ops: nullables, Ordered: true}
)

// Grammar is what searches of traces may name.
var Grammar = &filter.Grammar{Entities: []filter.Entity{
	{Name: filter.Attribute, Aliases: []string{"attributes", "attr", "trace"}, Keys: map[string]filter.Key{
		"id": text("id"), "trace_id": text("id"), "request_id": text("id"), "experiment_id": text("experiment"),
		"timestamp": number("started_ms"), "timestamp_ms": number("started_ms"), "request_time": number("started_ms"),
		"execution_time": number("duration_ms"), "execution_time_ms": number("duration_ms"), "duration_ms": number("duration_ms"),
		"end_time": number("ended_ms"), "end_time_ms": number("ended_ms"),
		"status": text("state"), "state": text("state"), "name": text("name"), "client_request_id": text("client_request"),
		"session": text("session"), "user": text("person"), "run_id": run,
		"prompt": {Entity: ofPrompt, Stored: "prompt", Ops: []string{filter.Eq}},
		"text":   {Entity: ofSpan, Stored: content, Ops: []string{filter.Like, filter.ILike}},
	}},
	{Name: filter.Tag, Aliases: []string{"tags"}, Any: &filter.Key{Ops: nullables, Ordered: true},
		Keys: map[string]filter.Key{TagName: {Entity: filter.Attribute, Stored: "name", Ops: nullables, Ordered: true}}},
	{Name: ofMetadata, Aliases: []string{"metadata", "trace_metadata"}, Any: &filter.Key{Ops: nullables, Ordered: true}, Keys: map[string]filter.Key{
		MetaRun: run, MetaSession: {Entity: filter.Attribute, Stored: "session", Ops: nullables, Ordered: true}, MetaUser: {Entity: filter.Attribute, Stored: "person", Ops: nullables, Ordered: true},
	}},
	{Name: ofSpan, Aliases: []string{"spans"}, Prefix: attributes, Any: &filter.Key{Ops: texts}, Keys: map[string]filter.Key{
		"name": {Ops: texts}, "type": {Stored: "kind", Ops: texts}, "status": {Ops: texts}, content: {Ops: []string{filter.Like, filter.ILike}},
	}},
	{Name: Feedback, Any: &filter.Key{Type: filter.Either, Ops: judged}},
	{Name: Expectation, Any: &filter.Key{Type: filter.Either, Ops: judged}},
	{Name: Issue, Keys: map[string]filter.Key{"id": {Ops: []string{filter.Eq}}}},
}}

// How long patterns may be, in bytes.
const (
	maxPattern        = 10_000
	maxContentPattern = 1000
)

// plan is a filter made ready: what the database decides, and what has to be looked at trace by trace.
type plan struct {
	sql   []filter.Clause
	spans []filter.Clause // of one and the same span; the database narrows by those on name, type and status
	rest  []test          // regular expressions
	open  bool            // the spans have to be read
}

type test struct {
	filter.Clause
	pattern *regexp.Regexp
}

// parse reads a filter.
func parse(text string) (p plan, err error) {
	clauses, err := filter.Parse(text, Grammar)
	if err != nil {
		return p, err
	}
	for _, c := range clauses {
		switch c.Op {
		case filter.Like, filter.ILike, filter.RLike:
			if len(c.Text) > maxPattern {
				return p, problem.New(problem.Invalid, "A pattern of the filter is longer than %d bytes.", maxPattern).At("filter")
			}
		}
		if c.Entity == ofPrompt && strings.Count(c.Text, "/") != 1 {
			return p, problem.New(problem.Invalid, "Invalid prompts filter value '%s'. Expected format: prompt = \"name/version\"", problem.Clip(c.Text, 60)).At("filter")
		}
		if c.Entity == ofSpan {
			if c.Key == content && len(c.Text) > maxContentPattern {
				return p, problem.New(problem.Invalid, "A pattern for the content of spans has at most %d bytes; this one has %d.", maxContentPattern, len(c.Text)).At("filter")
			}
			if c.Key == content || c.Op == filter.RLike || strings.HasPrefix(c.Key, attributes) {
				p.open = true
			}
			p.spans = append(p.spans, c)
			continue
		}
		if c.Op != filter.RLike {
			p.sql = append(p.sql, c)
			continue
		}
		re, err := regexp.Compile(c.Text)
		if err != nil {
			return p, badPattern(c.Text, err)
		}
		p.rest = append(p.rest, test{c, re})
	}
	for _, c := range p.spans {
		if c.Op == filter.RLike {
			if _, err := regexp.Compile(c.Text); err != nil {
				return p, badPattern(c.Text, err)
			}
		}
	}
	return p, nil
}

func badPattern(text string, err error) error {
	return problem.New(problem.Invalid, "The pattern '%s' is no regular expression of RE2: %s.", problem.Clip(text, 60), strings.TrimPrefix(err.Error(), "error parsing regexp: ")).At("filter")
}

// where adds the conditions that the database decides.
func (q *query) where(pg bool, p plan) {
	for _, c := range p.sql {
		q.Add(` AND `)
		q.clause(pg, c)
	}
	var marks []filter.Clause
	for _, c := range p.spans {
		if c.Key != content && c.Op != filter.RLike && !strings.HasPrefix(c.Key, attributes) {
			marks = append(marks, c)
		}
	}
	if len(p.spans) > 0 {
		q.Add(` AND EXISTS (SELECT 1 FROM trace_span x WHERE x.workspace = t.workspace AND x.trace = t.id`)
		for _, c := range marks {
			limit := maxIndexed
			switch c.Key {
			case "kind":
				limit = maxIndexedType
				upper(&c)
			case "status":
				upper(&c)
			}
			if c.Op == filter.Eq || c.Op == filter.Ne {
				c.Text = head(c.Text, limit)
			}
			for i, v := range c.List {
				c.List[i] = head(v, limit)
			}
			q.Add(` AND `)
			q.compare(pg, "x."+c.Key, c)
		}
		q.Add(`)`)
	}
}

// upper brings the values of an equality to capitals, as types and statuses are stored.
func upper(c *filter.Clause) {
	if c.Op == filter.Eq || c.Op == filter.Ne {
		c.Text = strings.ToUpper(c.Text)
	}
	c.List = slices.Clone(c.List)
	for i, v := range c.List {
		c.List[i] = strings.ToUpper(v)
	}
}

func (q *query) clause(pg bool, c filter.Clause) {
	switch c.Entity {
	case filter.Attribute:
		q.attribute(pg, c)
	case filter.Tag:
		q.exists(pg, c, `trace_tag`, `value`, func() { q.Add(` AND x.key = `, q.Arg(c.Key)) })
	case ofMetadata:
		q.metadata(pg, c)
	case ofRun:
		q.exists(pg, c, `trace_run`, `run`, func() {})
	case ofPrompt:
		name, version, _ := strings.Cut(c.Text, "/")
		q.Add(`EXISTS (SELECT 1 FROM trace_prompt x WHERE x.workspace = t.workspace AND x.trace = t.id AND x.name = `, q.Arg(name), ` AND x.version = `, q.Arg(version), `)`)
	case Issue:
		q.Add(`EXISTS (SELECT 1 FROM trace_assessment x WHERE x.workspace = t.workspace AND x.trace = t.id AND x.kind = 'issue' AND x.name = `, q.Arg(c.Text), `)`)
	default:
		q.judged(pg, c)
	}
}

// exists compares a column of a table of things that traces have several of; narrow adds to its condition.
func (q *query) exists(pg bool, c filter.Clause, table, column string, narrow func()) {
	if c.Op == filter.IsNull {
		q.Add(`NOT `)
	}
	q.Add(`EXISTS (SELECT 1 FROM ` + table + ` x WHERE x.workspace = t.workspace AND x.trace = t.id`)
	narrow()
	if c.Op != filter.IsNull && c.Op != filter.IsNotNull {
		q.Add(` AND `)
		q.compare(pg, `x.`+column, c)
	}
	q.Add(`)`)
}

// states are the words for states that stand for the same.
var states = strings.NewReplacer("TRACE_STATUS_UNSPECIFIED", "UNSPECIFIED", "STATE_UNSPECIFIED", "UNSPECIFIED")

func (q *query) attribute(pg bool, c filter.Clause) {
	col := "t." + c.Key
	switch {
	case c.Numeric:
		if c.Key == "duration_ms" {
			q.Add(`t.duration_ms >= 0 AND `)
		}
		q.number(numeric[c.Key], c.Op, c.Number)
		return
	case c.Key == "state":
		if c.Op == filter.Like || c.Op == filter.ILike {
			col = `upper(t.state)`
			break
		}
		c.Text = strings.ToLower(states.Replace(c.Text))
		c.List = slices.Clone(c.List)
		for i, v := range c.List {
			c.List[i] = strings.ToLower(states.Replace(v))
		}
	}
	switch c.Op {
	case filter.IsNull:
		q.Add(col, ` = ''`)
	case filter.IsNotNull:
		q.Add(col, ` <> ''`)
	case filter.Ne, filter.NotIn: // what is not there differs from nothing
		q.Add(col, ` <> '' AND `)
		q.compare(pg, col, c)
	default:
		if c.Key == "session" { // said for its index, which leaves out traces without one
			q.Add(`t.session <> '' AND `)
		}
		q.compare(pg, col, c)
	}
}

// numeric are the expressions of numeric attributes.
var numeric = map[string]string{"started_ms": `t.started_ms`, "duration_ms": `t.duration_ms`, "ended_ms": `(t.started_ms + CASE WHEN t.duration_ms < 0 THEN 0 ELSE t.duration_ms END)`}

// entry is the expression of an entry of the metadata, NULL where there is none.
func (q *query) entry(pg bool, key string) string {
	if pg {
		return `(t.metadata::jsonb ->> ` + q.Arg(key) + `::text)`
	}
	return `(SELECT m.value FROM json_each(t.metadata) m WHERE m.key = ` + q.Arg(key) + `)`
}

func (q *query) metadata(pg bool, c filter.Clause) {
	col := q.entry(pg, c.Key)
	switch c.Op {
	case filter.IsNull, filter.IsNotNull:
		q.Add(col, ` `, c.Op)
	default: // a comparison with NULL is not true
		q.compare(pg, col, c)
	}
}

// judged compares the valid assessments of one name, of the trace itself or, where they speak of the whole session, of
// a trace of the same session in the same experiment.
func (q *query) judged(pg bool, c filter.Clause) {
	value := func(x string) {
		q.Add(` AND `, x, `.kind = `, q.Arg(c.Entity), ` AND `, x, `.name = `, q.Arg(c.Key), ` AND `, x, `.valid = 1`)
		switch {
		case c.Op == filter.IsNull || c.Op == filter.IsNotNull:
		case c.Numeric:
			q.Add(` AND `, x, `.number_kind = 1 AND `, x, `.number `, c.Op, ` `, q.Arg(c.Number))
		default:
			q.Add(` AND `)
			q.compare(pg, x+`.text`, c)
		}
	}
	if c.Op == filter.IsNull {
		q.Add(`NOT `)
	}
	q.Add(`(EXISTS (SELECT 1 FROM trace_assessment x WHERE x.workspace = t.workspace AND x.trace = t.id`)
	value("x")
	q.Add(`) OR t.session <> '' AND EXISTS (SELECT 1 FROM trace_assessment y JOIN trace u ON u.workspace = y.workspace AND u.id = y.trace
		WHERE y.workspace = t.workspace AND u.session <> '' AND u.session = t.session AND u.experiment = t.experiment AND y.sessionwide = 1`)
	value("y")
	q.Add(`))`)
}

// compare adds "col op value" of a text, alike on both databases: LIKE tells capitals from small letters, ILIKE does
// not, both know % and _ and no escape.
func (q *query) compare(pg bool, col string, c filter.Clause) {
	switch c.Op {
	case filter.Ne:
		q.Add(col, ` <> `, q.Arg(c.Text))
	case filter.Like:
		if pg {
			q.Add(col, ` LIKE `, q.Arg(c.Text), ` ESCAPE ''`)
		} else {
			q.Add(col, ` GLOB `, q.Arg(globs.Replace(c.Text)))
		}
	case filter.ILike:
		if pg {
			q.Add(col, ` ILIKE `, q.Arg(c.Text), ` ESCAPE ''`)
		} else {
			q.Add(col, ` LIKE `, q.Arg(c.Text))
		}
	case filter.In:
		q.Add(col, ` IN (`, q.Args(c.List), `)`)
	case filter.NotIn:
		q.Add(col, ` NOT IN (`, q.Args(c.List), `)`)
	default:
		q.Add(col, ` = `, q.Arg(c.Text))
	}
}

// globs turns a LIKE pattern into a GLOB pattern.
var globs = strings.NewReplacer("%", "*", "_", "?", "*", "[*]", "?", "[?]", "[", "[[]")

// number adds "col op v" for a column of whole numbers.
func (q *query) number(col, op string, v float64) {
	low, high := math.Floor(v), math.Ceil(v)
	whole := func(v float64) string { return q.Arg(int64(max(-9e18, min(9e18, v)))) }
	switch op {
	case filter.Lt, filter.Ge:
		q.Add(col, ` `, op, ` `, whole(high))
	case filter.Le, filter.Gt:
		q.Add(col, ` `, op, ` `, whole(low))
	case filter.Ne:
		if low != high {
			q.Add(`1 = 1`)
			return
		}
		q.Add(col, ` <> `, whole(low))
	default:
		if low != high {
			q.Add(`1 = 0`)
			return
		}
		q.Add(col, ` = `, whole(low))
	}
}

// holds decides what the database does not: regular expressions.
func (p *plan) holds(t *Trace) bool {
	for _, c := range p.rest {
		if !slices.ContainsFunc(t.texts(c.Clause), c.pattern.MatchString) {
			return false
		}
	}
	return true
}

// texts are the values that a clause on a text speaks of.
func (t *Trace) texts(c filter.Clause) (out []string) {
	one := func(v string) []string {
		if v == "" {
			return nil
		}
		return []string{v}
	}
	switch c.Entity {
	case filter.Attribute:
		return one(map[string]string{"id": t.ID, "experiment": t.Experiment, "state": strings.ToUpper(t.State), "name": t.Name, "client_request": t.ClientRequest,
			"session": t.Session, "person": t.User}[c.Key])
	case filter.Tag:
		if v, ok := t.Tags[c.Key]; ok {
			return []string{v}
		}
	case ofMetadata:
		if v, ok := t.Metadata[c.Key]; ok {
			return []string{v}
		}
	case ofRun:
		return t.Runs
	default:
		for _, a := range t.Assessments {
			if a.Valid && a.Kind == c.Entity && a.Name == c.Key {
				out = append(out, a.text())
			}
		}
	}
	return out
}

// fits reports whether one of the spans meets all clauses on spans.
func (p *plan) fits(spans []*Span) bool {
	patterns := map[string]*regexp.Regexp{}
	for _, c := range p.spans {
		if c.Op == filter.RLike {
			patterns[c.Text] = regexp.MustCompile(c.Text)
		}
	}
	return slices.ContainsFunc(spans, func(s *Span) bool {
		for _, c := range p.spans {
			v, ok := spanText(s, c.Key)
			if !ok {
				return false
			}
			if c.Key == "kind" || c.Key == "status" {
				upper(&c)
			}
			meets := false
			switch c.Op {
			case filter.Eq:
				meets = v == c.Text
			case filter.Ne:
				meets = v != c.Text
			case filter.In:
				meets = slices.Contains(c.List, v)
			case filter.NotIn:
				meets = !slices.Contains(c.List, v)
			case filter.Like:
				meets = like(v, c.Text)
			case filter.ILike:
				meets = like(strings.ToLower(v), strings.ToLower(c.Text))
			case filter.RLike:
				meets = patterns[c.Text].MatchString(v)
			}
			if !meets {
				return false
			}
		}
		return true
	})
}

// spanText is what a clause on a span compares.
func spanText(s *Span, key string) (string, bool) {
	switch key {
	case "name":
		return s.Name, true
	case "kind":
		return Type(s), true
	case "status":
		return Status(s), true
	case content:
		b := append([]byte(s.Name), '\n')
		for _, kv := range s.Attributes {
			if kv.Key == keyRequestID {
				continue
			}
			b = append(append(b, kv.Key...), ": "...)
			b = append(append(b, Plain(kv.Value)...), '\n')
		}
		for _, e := range s.Events {
			b = append(append(b, e.GetName()...), '\n')
			for _, kv := range e.GetAttributes() {
				b = append(append(b, Plain(kv.GetValue())...), '\n')
			}
		}
		return string(append(b, s.GetStatus().GetMessage()...)), true
	}
	v := Attribute(s, strings.TrimPrefix(key, attributes))
	return Plain(v), v != nil
}

// like matches a pattern with % and _ against the whole of s: the pieces between the % are found one after the other,
// each as early as possible.
func like(s, pattern string) bool {
	pieces := strings.Split(pattern, "%")
	n, ok := begins(s, pieces[0])
	if !ok {
		return false
	}
	if len(pieces) == 1 {
		return n == len(s)
	}
	s = s[n:]
	last := len(pieces) - 1
	for _, piece := range pieces[1:last] {
		from, n := seek(s, piece)
		if from < 0 {
			return false
		}
		s = s[from+n:]
	}
	if !strings.Contains(pieces[last], "_") {
		return strings.HasSuffix(s, pieces[last])
	}
	for i := range s { // the last piece must end where the text ends
		if n, ok := begins(s[i:], pieces[last]); ok && i+n == len(s) {
			return true
		}
	}
	return false
}

// begins reports whether s begins with piece, in which _ is any character, and how many bytes of s that takes.
func begins(s, piece string) (n int, ok bool) {
	for _, c := range piece {
		r, w := utf8.DecodeRuneInString(s[n:])
		if w == 0 || c != '_' && c != r {
			return 0, false
		}
		n += w
	}
	return n, true
}

// seek is the first place of piece in s and the bytes it takes there; negative if there is none.
func seek(s, piece string) (from, n int) {
	if !strings.Contains(piece, "_") {
		return strings.Index(s, piece), len(piece)
	}
	for i := range s {
		if n, ok := begins(s[i:], piece); ok {
			return i, n
		}
	}
	return -1, 0
}
