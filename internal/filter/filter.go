// Package filter is the language in which runs, experiments, models, versions and traces are searched: MLflow's.
//
//	filter = clause { AND clause } [ AND ]
//	clause = name comparator value | name [ NOT ] IN ( text { , text } [ , ] ) | name IS [ NOT ] NULL
//	name   = [ entity . ] key          key = word | `quoted` | "quoted"
//	value  = number | 'text' | "text"
//
// What may be named and compared with what is a table, the Grammar, one per kind of thing. Entities and keys tell capitals
// from small letters; AND, IN, LIKE and the other words do not. In a quoted text or key the quote itself is written twice.
//
// The package reads and explains; it does no I/O and knows no SQL. Mistakes are problems of kind Invalid that name the
// position, in characters from 1.
package filter

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"keelson/internal/problem"
)

// Entities of the grammars here. A grammar may have others of its own.
const (
	Attribute = "attribute"
	Metric    = "metric"
	Param     = "parameter"
	Tag       = "tag"
	Dataset   = "dataset"
)

// Type says what a key is compared with.
type Type int

// Types of values. Either takes a number with < <= > >= and a text with the other comparators; Value likewise, and a number
// with = and != as well.
const (
	Text Type = iota
	Number
	Either
	Value
)

// Comparators, as a Clause has them.
const (
	Eq, Ne, Lt, Le, Gt, Ge = "=", "!=", "<", "<=", ">", ">="
	Like, ILike, RLike     = "LIKE", "ILIKE", "RLIKE"
	In, NotIn              = "IN", "NOT IN"
	IsNull, IsNotNull      = "IS NULL", "IS NOT NULL"
)

// Usual sets of comparators.
var (
	Numbers  = []string{Eq, Ne, Gt, Ge, Lt, Le}
	Texts    = []string{Eq, Ne, Like, ILike}
	Lists    = []string{Eq, Ne, Like, ILike, In, NotIn}
	Nullable = []string{Eq, Ne, Like, ILike, IsNull, IsNotNull}
)

// Key says what may be done with one key, or with all keys of an entity.
type Key struct {
	Entity  string   // the entity of the clause if it is another than the one written (a trace's name is a tag)
	Stored  string   // the key of the clause; empty: as written
	Type    Type     //
	Ops     []string // the comparators it takes; none: it cannot be filtered by
	Ordered bool     // whether it can be ordered by
}

// Entity is a group of keys.
type Entity struct {
	Name    string
	Aliases []string
	Keys    map[string]Key // the keys that are known by name
	Any     *Key           // rule of all other keys; nil: there are no others
	Prefix  string         // what those others begin with; the rest must not be empty
}

// Grammar says what a filter over one kind of thing may name. The first entity is meant when none is written.
type Grammar struct{ Entities []Entity }

// Clause is one comparison. Text holds the value of text comparisons, Number that of numeric ones (Numeric is true), List
// those of IN and NOT IN; IS NULL and IS NOT NULL have none.
type Clause struct {
	Entity, Key, Op string
	Numeric         bool
	Text            string
	Number          float64
	List            []string
	At              int // byte offset in the filter
}

// Order is one term of an ordering.
type Order struct {
	Entity, Key string
	Numeric     bool
	Desc        bool
}

// Limits of one filter.
const (
	MaxLength  = 1 << 19 // bytes
	MaxClauses = 100
	MaxList    = 10000 // values of all lists together
	MaxOrder   = 10    // terms of an ordering
)

func (g *Grammar) entity(written string) *Entity {
	for i := range g.Entities {
		if e := &g.Entities[i]; e.Name == written || slices.Contains(e.Aliases, written) {
			return e
		}
	}
	return nil
}

func (g *Grammar) names() string {
	var out []string
	for _, e := range g.Entities {
		out = append(out, "'"+e.Name+"'")
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (e *Entity) known() string {
	return "'" + strings.Join(slices.Sorted(maps.Keys(e.Keys)), "', '") + "'"
}

// key finds the rule of a key.
func (e *Entity) key(name string) (Key, bool) {
	k, ok := e.Keys[name]
	if !ok {
		rest, has := strings.CutPrefix(name, e.Prefix)
		if e.Any == nil || !has || rest == "" {
			return Key{}, false
		}
		k = *e.Any
	}
	if k.Stored == "" {
		k.Stored = name
	}
	if k.Entity == "" {
		k.Entity = e.Name
	}
	return k, true
}

// parser reads the words of one filter.
type parser struct {
	text  string
	g     *Grammar
	words []word
	list  int // values in lists so far
}

// Parse reads a filter. An empty one has no clauses; a trailing AND is accepted.
func Parse(text string, g *Grammar) ([]Clause, error) {
	if len(text) > MaxLength {
		return nil, problem.New(problem.Invalid, "The filter is longer than %d bytes.", MaxLength).At("filter")
	}
	p := &parser{text: text, g: g}
	var at int
	var why string
	if p.words, at, why = lex(text, false); why != "" {
		return nil, p.bad(at, "%s", why)
	}
	var out []Clause
	for len(p.words) > 0 {
		if len(out) == MaxClauses {
			return nil, p.bad(p.words[0].at, "The filter has more than %d clauses", MaxClauses)
		}
		c, err := p.clause()
		if err != nil {
			return nil, err
		}
		out = append(out, c)
		if len(p.words) == 0 {
			break
		}
		if w := p.words[0]; !w.keyword("AND") {
			return nil, p.bad(w.at, "Invalid clause(s) in filter string: '%s'. Clauses are joined by AND; there is no OR", clip(p.written(w)))
		}
		p.words = p.words[1:]
	}
	return out, nil
}

// bad is a mistake at byte at of the filter.
func (p *parser) bad(at int, format string, a ...any) error {
	n := utf8.RuneCountInString(p.text[:at]) + 1
	return problem.New(problem.Invalid, "%s (at position %d of the filter).", fmt.Sprintf(format, a...), n).At("filter")
}

// written is a word as it stands in the filter.
func (p *parser) written(w word) string { return p.text[w.at:w.end] }

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 60) }

// subject finds the rule of the key that a word names.
func (p *parser) subject(w word) (Key, *Entity, string, error) {
	head, name, dotted := strings.Cut(w.text, ".")
	if w.kind != ident && (w.kind != str || w.quote == '\'') {
		return Key{}, nil, "", p.bad(w.at, "Invalid clause(s) in filter string: '%s'. Expected a name such as metrics.accuracy", clip(p.written(w)))
	}
	e := &p.g.Entities[0]
	if w.kind != ident || !dotted {
		name = w.text
	} else if e = p.g.entity(head); e == nil {
		return Key{}, nil, "", p.bad(w.at, "Invalid entity type '%s'. Valid values are %s", clip(head), p.g.names())
	}
	k, ok := e.key(name)
	switch {
	case ok:
		return k, e, name, nil
	case name == "":
		return Key{}, nil, "", p.bad(w.at, "Invalid clause(s) in filter string: '%s'. The %s has no name", clip(p.written(w)), e.Name)
	case e.Any != nil:
		return Key{}, nil, "", p.bad(w.at, "Invalid %s key '%s' specified. Valid keys are %s and %s<name>", e.Name, clip(name), e.known(), e.Prefix)
	}
	return Key{}, nil, "", p.bad(w.at, "Invalid %s key '%s' specified. Valid keys are %s", e.Name, clip(name), e.known())
}

// clause reads one comparison off the front of the words.
func (p *parser) clause() (Clause, error) {
	w := p.words[0]
	k, e, name, err := p.subject(w)
	if err != nil {
		return Clause{}, err
	}
	p.words = p.words[1:]
	op, at, err := p.operator(w)
	if err != nil {
		return Clause{}, err
	}
	c := Clause{Entity: k.Entity, Key: k.Stored, Op: op, At: w.at}
	if !slices.Contains(k.Ops, op) {
		switch {
		case len(k.Ops) == 0:
			return c, p.bad(w.at, "Invalid %s key '%s' specified. It can be ordered by, but not filtered by", e.Name, clip(name))
		case op == IsNull || op == IsNotNull:
			return c, p.bad(at, "IS NULL / IS NOT NULL is only supported for %s, not for '%s' '%s'", p.nullable(), e.Name, clip(name))
		case op == In || op == NotIn:
			return c, p.bad(at, "Only %s support comparison with a list of quoted string values, not '%s'", p.listed(), clip(p.written(w)))
		}
		return c, p.bad(at, "Invalid comparator '%s' not one of '%s' for %s", clip(op), strings.Join(k.Ops, "', '"), clip(p.written(w)))
	}
	switch op {
	case IsNull, IsNotNull:
		return c, nil
	case In, NotIn:
		c.List, err = p.values(at)
		return c, err
	}
	if len(p.words) == 0 {
		return c, p.bad(len(p.text), "Invalid comparison clause. Expected 3 tokens found 2: '%s %s' has no value", clip(p.written(w)), op)
	}
	v := p.words[0]
	p.words = p.words[1:]
	c.Numeric = k.Type == Number || k.Type >= Either && slices.Contains([]string{Lt, Le, Gt, Ge}, op) ||
		k.Type == Value && (op == Eq || op == Ne) && v.kind == number
	subject := e.Name
	if c.Numeric {
		if e == &p.g.Entities[0] {
			subject = "numeric attribute: " + clip(name)
		}
		if v.kind == number {
			c.Number, err = strconv.ParseFloat(v.text, 64)
		}
		if v.kind != number || err != nil {
			return c, p.bad(v.at, "Expected numeric value type for %s. Found %s", subject, clip(p.written(v)))
		}
		return c, nil
	}
	if v.kind != str || v.quote == '`' {
		return c, p.bad(v.at, "Expected a quoted string value for %s (e.g. 'my-value'). Got value %s", subject, clip(p.written(v)))
	}
	c.Text = v.text
	return c, nil
}

// nullable lists the entities that take IS NULL.
func (p *parser) nullable() string {
	var out []string
	for _, e := range p.g.Entities {
		if e.Any != nil && slices.Contains(e.Any.Ops, IsNull) {
			out = append(out, e.Name+"s")
		}
	}
	if len(out) == 0 {
		return "other searches"
	}
	return strings.Join(out, " and ")
}

// listed lists the keys that take IN.
func (p *parser) listed() string {
	var out []string
	for i, e := range p.g.Entities {
		for _, k := range slices.Sorted(maps.Keys(e.Keys)) {
			if slices.Contains(e.Keys[k].Ops, In) {
				if i > 0 {
					k = e.Name + "." + k
				}
				out = append(out, "'"+k+"'")
			}
		}
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// operator reads a comparator and says where it stands; w is what is compared.
func (p *parser) operator(w word) (op string, at int, err error) {
	if len(p.words) == 0 {
		return "", 0, p.bad(len(p.text), "Invalid clause(s) in filter string: '%s'. It is compared with nothing", clip(p.written(w)))
	}
	o := p.words[0]
	op, n := comparator(p.words)
	if n == 0 {
		return "", 0, p.bad(o.at, "Invalid clause(s) in filter string: '%s'. Expected a comparator after '%s'", clip(p.written(o)), clip(p.written(w)))
	}
	p.words = p.words[n:]
	return op, o.at, nil
}

// comparator reads a comparator off the front of words and says how many it took; 0 if there is none.
func comparator(words []word) (op string, n int) {
	next := func(i int, k string) bool { return len(words) > i && words[i].keyword(k) }
	switch o := words[0]; {
	case o.kind == symbol && !strings.Contains("(),", o.text):
		return o.text, 1
	case o.keyword("LIKE"), o.keyword("ILIKE"), o.keyword("RLIKE"), o.keyword("IN"):
		return strings.ToUpper(o.text), 1
	case o.keyword("NOT") && next(1, "IN"):
		return NotIn, 2
	case o.keyword("IS") && next(1, "NULL"):
		return IsNull, 2
	case o.keyword("IS") && next(1, "NOT") && next(2, "NULL"):
		return IsNotNull, 3
	}
	return "", 0
}

// values reads a list in parentheses; at is where its comparator stands.
func (p *parser) values(at int) (out []string, err error) {
	const bad = "While parsing a list in the query, expected a non-empty list of string values, but got "
	take := func(symbols string) bool {
		if len(p.words) == 0 || p.words[0].kind != symbol || p.words[0].text != symbols {
			return false
		}
		p.words = p.words[1:]
		return true
	}
	here := func() int {
		if len(p.words) == 0 {
			return len(p.text)
		}
		return p.words[0].at
	}
	if !take("(") {
		return nil, p.bad(at, bad+"no list. Write one such as ('a', 'b')")
	}
	for {
		if take(")") {
			if len(out) == 0 {
				return nil, p.bad(at, bad+"empty list")
			}
			return out, nil
		}
		if len(p.words) == 0 || p.words[0].kind != str || p.words[0].quote == '`' {
			return nil, p.bad(here(), bad+"ill-formed list. Write one such as ('a', 'b')")
		}
		out = append(out, p.words[0].text)
		if p.list++; p.list > MaxList {
			return nil, p.bad(here(), "The lists of the filter have more than %d values", MaxList)
		}
		p.words = p.words[1:]
		if !take(",") && (len(p.words) == 0 || p.words[0].text != ")") {
			return nil, p.bad(here(), bad+"ill-formed list. Expected ',' or ')'")
		}
	}
}

// ParseOrder reads terms like "metrics.accuracy DESC" or "attributes.start_time"; ascending is usual. One thing can be
// ordered by only once.
func ParseOrder(terms []string, g *Grammar) ([]Order, error) {
	if len(terms) > MaxOrder {
		return nil, problem.New(problem.Invalid, "An ordering has at most %d terms; got %d.", MaxOrder, len(terms)).At("order_by")
	}
	var out []Order
	for _, t := range terms {
		o, err := parseTerm(t, g)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(a Order) bool { return a.Entity == o.Entity && a.Key == o.Key }) {
			return nil, problem.New(problem.Invalid, "`order_by` contains duplicate fields: '%s' comes twice.", clip(t)).At("order_by")
		}
		out = append(out, o)
	}
	return out, nil
}

func parseTerm(t string, g *Grammar) (Order, error) {
	bad := func(why string) (Order, error) {
		return Order{}, problem.New(problem.Invalid, "Invalid order_by clause '%s'. %s", clip(t), why).At("order_by")
	}
	const unread = "Could not be parsed: write terms such as \"metrics.accuracy DESC\" or \"attributes.start_time\"."
	if len(t) > MaxLength {
		return bad(unread)
	}
	p := &parser{text: t, g: g}
	var why string
	if p.words, _, why = lex(t, false); why != "" || len(p.words) == 0 {
		return bad(unread)
	}
	var o Order
	if n := len(p.words); n > 1 {
		switch last := p.words[n-1]; {
		case last.keyword("DESC"):
			o.Desc = true
			p.words = p.words[:n-1]
		case last.keyword("ASC"):
			p.words = p.words[:n-1]
		}
	}
	w := p.words[0]
	if len(p.words) == 2 && w.kind == ident && p.words[1].kind == ident { // the key "run name" may come without quotes
		w = word{kind: str, quote: '`', text: w.text + " " + p.words[1].text, at: w.at, end: p.words[1].end}
		if _, ok := g.Entities[0].Keys[w.text]; !ok {
			return bad("Invalid ordering key in order_by clause: only ASC or DESC may follow the name.")
		}
	} else if len(p.words) > 1 {
		return bad(unread)
	}
	k, e, name, err := p.subject(w)
	if err != nil {
		if q, ok := problem.As(err); ok {
			why, _, _ := strings.Cut(q.Detail, " (at position")
			return bad(why + ".")
		}
		return bad(unread)
	}
	if !k.Ordered {
		return bad(fmt.Sprintf("One cannot order by the %s '%s'.", e.Name, clip(name)))
	}
	o.Entity, o.Key, o.Numeric = k.Entity, k.Stored, k.Type == Number
	return o, nil
}
