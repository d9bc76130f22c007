// Package find grows the statements of searches: arguments numbered as they are added, comparisons of the filter language
// that mean the same on both databases, and pages that continue after a row instead of at an offset.
//
// A page is ordered by terms that are never NULL and together unique. Its token holds the values of the last row, so the
// next page begins behind that place whatever was written meanwhile: no row comes twice and none that stays is skipped.
package find

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"keelson/internal/db"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

// Builder grows a statement and its arguments together.
type Builder struct {
	strings.Builder
	Values []any
	tx     db.Scope
}

// New begins a statement for tx.
func New(tx db.Scope) *Builder { return &Builder{tx: tx} }

// Add appends text.
func (b *Builder) Add(parts ...string) {
	for _, p := range parts {
		b.WriteString(p)
	}
}

// Arg is the placeholder of an argument; it may be used more than once.
func (b *Builder) Arg(v any) string {
	b.Values = append(b.Values, v)
	return "$" + strconv.Itoa(len(b.Values))
}

// Args is a list for IN. SQLite gets a long one as one argument: it binds numbered ones in time that grows with their
// square.
func (b *Builder) Args(list []string) string {
	if len(list) > 8 && !b.tx.Postgres() {
		return "SELECT value FROM json_each(" + b.Arg(db.ToJSON(list)) + ")"
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = b.Arg(v)
	}
	return strings.Join(out, ", ")
}

// Each runs the statement and calls scan for every row.
func (b *Builder) Each(scan func(scan func(...any) error) error) error {
	return b.tx.Each(b.String(), b.Values, scan)
}

// Bytewise is a text expression compared byte by byte on both databases.
func (b *Builder) Bytewise(sql string) string { return b.tx.Bytewise(sql) }

// Member is a member of a JSON object in a text column, as text; NULL where there is none.
func (b *Builder) Member(col, key string) string {
	if b.tx.Postgres() {
		return "(NULLIF(" + col + ", '')::jsonb ->> " + b.Arg(key) + "::text)"
	}
	return "(SELECT j.value FROM json_each(NULLIF(" + col + ", '')) j WHERE j.key = " + b.Arg(key) + ")"
}

// globs turns a LIKE pattern into a GLOB pattern.
var globs = strings.NewReplacer("%", "*", "_", "?", "*", "[*]", "?", "[?]", "[", "[[]")

// Text is the SQL of a clause on a text expression: LIKE tells capitals from small letters, ILIKE does not, both know %
// and _ and no escape.
func (b *Builder) Text(sql string, c filter.Clause) string {
	switch c.Op {
	case filter.Ne:
		return sql + " <> " + b.Arg(c.Text)
	case filter.Like:
		if b.tx.Postgres() {
			return sql + " LIKE " + b.Arg(c.Text) + " ESCAPE ''"
		}
		return sql + " GLOB " + b.Arg(globs.Replace(c.Text))
	case filter.ILike:
		if b.tx.Postgres() {
			return sql + " ILIKE " + b.Arg(c.Text) + " ESCAPE ''"
		}
		return sql + " LIKE " + b.Arg(c.Text)
	case filter.In:
		return sql + " IN (" + b.Args(c.List) + ")"
	case filter.NotIn:
		return sql + " NOT IN (" + b.Args(c.List) + ")"
	}
	return sql + " = " + b.Arg(c.Text)
}

// Number is the SQL of a clause on a floating point expression.
func (b *Builder) Number(sql string, c filter.Clause) string {
	return sql + " " + operator(c.Op) + " " + b.Arg(c.Number)
}

// Millis is the SQL of a clause that gives a time in milliseconds, on a column of microseconds whose parts of a millisecond
// do not count.
func (b *Builder) Millis(sql string, c filter.Clause) string {
	at := func(ms float64) string { return b.Arg(int64(max(-9e15, min(9e15, ms*1000)))) }
	switch c.Op {
	case filter.Lt:
		return sql + " < " + at(math.Ceil(c.Number))
	case filter.Ge:
		return sql + " >= " + at(math.Ceil(c.Number))
	case filter.Le:
		return sql + " < " + at(math.Floor(c.Number)+1)
	case filter.Gt:
		return sql + " >= " + at(math.Floor(c.Number)+1)
	}
	if c.Number != math.Trunc(c.Number) {
		return map[bool]string{true: "1 = 1", false: "1 = 0"}[c.Op == filter.Ne]
	}
	from, to := at(c.Number), at(c.Number+1)
	if c.Op == filter.Ne {
		return "(" + sql + " < " + from + " OR " + sql + " >= " + to + ")"
	}
	return sql + " >= " + from + " AND " + sql + " < " + to
}

// Integer is the SQL of a clause on an integer column. A number that is no integer is compared as it is.
func (b *Builder) Integer(sql string, c filter.Clause) string {
	v := c.Number
	switch c.Op {
	case filter.Lt, filter.Ge: // x < 2.5 is x < 3
		v = math.Ceil(v)
	case filter.Gt, filter.Le:
		v = math.Floor(v)
	default:
		if v != math.Trunc(v) {
			return map[bool]string{true: "1 = 1", false: "1 = 0"}[c.Op == filter.Ne]
		}
	}
	return sql + " " + operator(c.Op) + " " + b.Arg(int64(max(-9e15, min(9e15, v))))
}

func operator(op string) string {
	if op == filter.Ne {
		return "<>"
	}
	return op
}

// Kind is the type of a term's values.
type Kind byte

// Kinds of values; Go has them as int64, float64 and string.
const (
	Int   Kind = 'i'
	Float Kind = 'f'
	Text  Kind = 's'
)

// Term is an expression that orders. It is never NULL; text is compared as its collation does, so wrap it with Bytewise.
type Term struct {
	SQL  string
	Desc bool
	Kind Kind
}

// OrderBy is the list behind ORDER BY.
func OrderBy(terms []Term) string {
	out := make([]string, len(terms))
	for i, t := range terms {
		out[i] = t.SQL
		if t.Desc {
			out[i] += " DESC"
		}
	}
	return strings.Join(out, ", ")
}

// Select is the list of the terms' values.
func Select(terms []Term) string {
	out := make([]string, len(terms))
	for i, t := range terms {
		out[i] = t.SQL
	}
	return strings.Join(out, ", ")
}

// After is the condition that a row comes behind the place at, which has one value per term.
func (b *Builder) After(terms []Term, at []any) string {
	// The first term is compared once more, alone, which lets an index begin there.
	sql, first := "", ""
	for i := len(terms) - 1; i >= 0; i-- {
		t, op := terms[i], " > "
		if t.Desc {
			op = " < "
		}
		v := b.Arg(at[i])
		if sql == "" {
			sql = t.SQL + op + v
		} else {
			sql = "(" + t.SQL + op + v + " OR " + t.SQL + " = " + v + " AND " + sql + ")"
		}
		first = t.SQL + strings.TrimSuffix(op, " ") + "= " + v
	}
	return first + " AND " + sql
}

// Dest gives places to scan the terms' values into, and a function that reads them.
func Dest(terms []Term) (dest []any, values func() []any) {
	for _, t := range terms {
		switch t.Kind {
		case Int:
			dest = append(dest, new(int64))
		case Float:
			dest = append(dest, new(float64))
		default:
			dest = append(dest, new(string))
		}
	}
	return dest, func() []any {
		out := make([]any, len(dest))
		for i, d := range dest {
			switch v := d.(type) {
			case *int64:
				out[i] = *v
			case *float64:
				out[i] = *v
			case *string:
				out[i] = *v
			}
		}
		return out
	}
}

type token struct {
	Search string   `json:"q"`
	At     []string `json:"v"`
}

func sum(b []byte) []byte {
	h := sha256.Sum256(append([]byte("page\x00"), b...))
	return h[:8]
}

func digest(search []string) string {
	h := sha256.Sum256([]byte(strings.Join(search, "\x00")))
	return base64.RawStdEncoding.EncodeToString(h[:9])
}

// Token is the page token behind the place at. search is everything that makes the search what it is (filter, order,
// where), in a fixed order: the token is good for that search only.
func Token(search []string, at []any) string {
	t := token{Search: digest(search)}
	for _, v := range at {
		switch v := v.(type) {
		case int64:
			t.At = append(t.At, string(Int)+strconv.FormatInt(v, 10))
		case float64:
			t.At = append(t.At, string(Float)+strconv.FormatFloat(v, 'g', -1, 64))
		case string:
			t.At = append(t.At, string(Text)+v)
		}
	}
	b, _ := json.Marshal(t)
	return base64.URLEncoding.EncodeToString(append(sum(b), b...))
}

// ParseToken reads the place out of a token of the same search; the empty token is the beginning (nil).
func ParseToken(search []string, s string, terms []Term) ([]any, error) {
	if s == "" {
		return nil, nil
	}
	bad := problem.New(problem.Invalid, "Invalid page token: '%s'. Send the token of the page before as it came, or none.", clip(s)).At("page_token")
	b, err := base64.URLEncoding.DecodeString(s)
	if err != nil || len(b) < 8 || string(sum(b[8:])) != string(b[:8]) {
		return nil, bad
	}
	var t token
	if json.Unmarshal(b[8:], &t) != nil {
		return nil, bad
	}
	if t.Search != digest(search) {
		return nil, problem.New(problem.Invalid, "The page token belongs to another search. Keep filter, order and everything else as they were for the page before, or start without a token.").At("page_token")
	}
	if len(t.At) != len(terms) {
		return nil, bad
	}
	var out []any
	for i, v := range t.At {
		if v == "" || Kind(v[0]) != terms[i].Kind {
			return nil, bad
		}
		switch rest := v[1:]; terms[i].Kind {
		case Int:
			n, err := strconv.ParseInt(rest, 10, 64)
			if err != nil {
				return nil, bad
			}
			out = append(out, n)
		case Float:
			f, err := strconv.ParseFloat(rest, 64)
			if err != nil || f != f {
				return nil, bad
			}
			out = append(out, f)
		default:
			if strings.ContainsRune(rest, 0) {
				return nil, bad
			}
			out = append(out, rest)
		}
	}
	return out, nil
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 60) }
