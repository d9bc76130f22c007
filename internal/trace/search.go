package trace

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"keelson/internal/db"
	"keelson/internal/filter"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// Search asks for a page of traces, the newest first unless Order says otherwise.
type Search struct {
	Experiments []string
	Everywhere  bool // all experiments; then Experiments is empty
	Run         string
	Filter      string
	Order       []string
	Limit       int
	Token       string
}

// maxScan bounds the traces whose spans one request reads for a filter that no index decides. The page may then be
// short, and its token goes on from there.
const maxScan = 5000

// Find gives a page of traces and the token of the next. Tokens are places in the ordering, so that pages neither
// repeat nor skip while traces arrive.
func (s *Service) Find(ctx context.Context, v Search) (out []Trace, next string, err error) {
	if len(v.Experiments) > tracking.MaxSearchExperiments {
		return nil, "", problem.New(problem.Invalid, "A search covers at most %d experiments; got %d.", tracking.MaxSearchExperiments, len(v.Experiments)).At("locations")
	}
	if len(v.Experiments) == 0 && !v.Everywhere {
		return nil, "", nil
	}
	p, err := parse(v.Filter)
	if err != nil {
		return nil, "", err
	}
	terms, err := filter.ParseOrder(v.Order, Grammar)
	if err != nil {
		return nil, "", err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, next, err = lookUp(tx, v, p, terms); return err })
	return out, next, err
}

// part is one piece of the ordering: an expression that is never NULL.
type part struct {
	expr   func(*query) string
	whole  bool // a whole number, else a text
	desc   bool
	sorted string // collation
}

// parts makes the ordering total: what is not there comes last in both directions, then the newest, then by id.
func parts(tx db.Scope, terms []filter.Order) (out []part) {
	pg := tx.Postgres()
	collate := ""
	if pg {
		collate = ` COLLATE "C"`
	}
	plain := func(e string) func(*query) string { return func(*query) string { return e } }
	ordered := map[string]bool{}
	for _, o := range terms {
		ordered[o.Key] = true
		if o.Numeric {
			if o.Key == "duration_ms" {
				out = append(out, part{expr: plain(`CASE WHEN t.duration_ms < 0 THEN 1 ELSE 0 END`), whole: true})
			}
			out = append(out, part{expr: plain(numeric[o.Key]), whole: true, desc: o.Desc})
			continue
		}
		value := plain("t." + o.Key)
		switch o.Entity {
		case filter.Tag:
			value = func(q *query) string {
				return `COALESCE((SELECT g.value FROM trace_tag g WHERE g.workspace = t.workspace AND g.trace = t.id AND g.key = ` + q.Arg(o.Key) + `), '')`
			}
		case ofMetadata:
			value = func(q *query) string { return `COALESCE(` + q.entry(pg, o.Key) + `, '')` }
		case ofRun:
			value = plain(`COALESCE((SELECT MIN(g.run) FROM trace_run g WHERE g.workspace = t.workspace AND g.trace = t.id), '')`)
		}
		if o.Key != "id" && o.Key != "experiment" && o.Key != "state" {
			out = append(out, part{expr: func(q *query) string { return `CASE WHEN ` + value(q) + ` = '' THEN 1 ELSE 0 END` }, whole: true})
		}
		out = append(out, part{expr: value, desc: o.Desc, sorted: collate})
	}
	if !ordered["started_ms"] {
		out = append(out, part{expr: plain(`t.started_ms`), whole: true, desc: true})
	}
	if !ordered["id"] {
		out = append(out, part{expr: plain(`t.id`)})
	}
	return out
}

// place is where a page ended: the values of the parts of the ordering, and of which search.
type place struct {
	Of string   `json:"of"`
	At []string `json:"at"`
}

// of tells searches apart.
func (v *Search) of() string {
	h := fnv.New64a()
	b, _ := json.Marshal([]any{v.Experiments, v.Everywhere, v.Run, v.Filter, v.Order})
	_, _ = h.Write(b)
	return strconv.FormatUint(h.Sum64(), 36)
}

func (v *Search) place(list []part) ([]string, error) {
	if v.Token == "" {
		return nil, nil
	}
	bad := func(why string) error {
		return problem.New(problem.Invalid, "Invalid page token: %q %s. Send the next_page_token of the page before with the same search, or none.", problem.Clip(v.Token, 60), why).At("page_token")
	}
	b, err := base64.URLEncoding.DecodeString(v.Token)
	var at place
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err != nil || len(at.At) != len(list) {
		return nil, bad("is none of this server")
	}
	if at.Of != v.of() {
		return nil, bad("belongs to another search")
	}
	for i, p := range list {
		if p.whole {
			if _, err := strconv.ParseInt(at.At[i], 10, 64); err != nil {
				return nil, bad("is damaged")
			}
		} else if clean(at.At[i]) != at.At[i] {
			return nil, bad("is damaged")
		}
	}
	return at.At, nil
}

// after adds the condition that a row comes after a place: (a, b, c) > (x, y, z), piece by piece.
func (q *query) after(list []part, at []string) {
	value := func(i int) string {
		if list[i].whole {
			n, _ := strconv.ParseInt(at[i], 10, 64)
			return q.Arg(n)
		}
		return q.Arg(at[i])
	}
	op := func(i int, or string) string {
		if list[i].desc {
			return list[i].sorted + ` <` + or + ` `
		}
		return list[i].sorted + ` >` + or + ` `
	}
	q.Add(` AND `, list[0].expr(q), op(0, `=`), value(0)) // lets an index begin at the place
	q.Add(` AND (`)
	for i := range list {
		if i > 0 {
			q.Add(` OR `)
		}
		for j := range i {
			q.Add(list[j].expr(q), ` = `, value(j), ` AND `)
		}
		q.Add(list[i].expr(q), op(i, ``), value(i))
	}
	q.Add(`)`)
}

// scope limits a search to its experiments and run.
func (q *query) scope(v Search) {
	if !v.Everywhere {
		if len(v.Experiments) == 1 { // one value lets the index give the order, too
			q.Add(` AND t.experiment = `, q.Arg(v.Experiments[0]))
		} else {
			q.Add(` AND t.experiment IN (`, q.Args(v.Experiments), `)`)
		}
	}
	if v.Run != "" {
		q.Add(` AND EXISTS (SELECT 1 FROM trace_run r WHERE r.workspace = t.workspace AND r.trace = t.id AND r.run = `, q.Arg(v.Run), `)`)
	}
}

// statement is the query for n rows after a place.
func statement(tx db.Scope, v Search, p plan, list []part, at []string, n int) *query {
	q := newQuery(tx)
	q.Add(`SELECT t.id`)
	for _, x := range list {
		q.Add(`, `, x.expr(q))
	}
	q.Add(` FROM trace t WHERE t.workspace = `, q.Arg(tx.Workspace))
	q.scope(v)
	q.where(tx.Postgres(), p)
	if at != nil {
		q.after(list, at)
	}
	q.Add(` ORDER BY `)
	for i, x := range list {
		if i > 0 {
			q.Add(`, `)
		}
		q.Add(strconv.Itoa(i+2), x.sorted)
		if x.desc {
			q.Add(` DESC`)
		}
	}
	q.Add(` LIMIT `, q.Arg(n))
	return q
}

func lookUp(tx db.Scope, v Search, p plan, terms []filter.Order) (out []Trace, next string, err error) {
	list := parts(tx, terms)
	for i := range list { // a position cannot carry a collation: PostgreSQL wants the expression
		if list[i].sorted != "" {
			inner, collate := list[i].expr, list[i].sorted
			list[i].expr = func(q *query) string { return `(` + inner(q) + collate + `)` }
			list[i].sorted = ""
		}
	}
	at, err := v.place(list)
	if err != nil {
		return nil, "", err
	}
	type row struct {
		id string
		at []string
	}
	scanned := 0
	for {
		want := v.Limit + 1 - len(out)
		if p.open || len(p.rest) > 0 {
			want = max(want, 100)
		}
		var rows []row
		q := statement(tx, v, p, list, at, want)
		if err := tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
			r := row{at: make([]string, len(list))}
			dest := []any{&r.id}
			for i := range r.at {
				dest = append(dest, &r.at[i])
			}
			err := scan(dest...)
			rows = append(rows, r)
			return err
		}); err != nil {
			return nil, "", fmt.Errorf("search traces: %w", err)
		}
		ids := make([]string, len(rows))
		for i, r := range rows {
			ids[i] = r.id
		}
		found, err := getTraces(tx, ids)
		if err != nil {
			return nil, "", err
		}
		var spans map[string][]*Span
		k := 0
		for i, r := range rows {
			if k >= len(found) || found[k].ID != r.id {
				continue
			}
			t := found[k]
			k++
			scanned++
			if p.open && i%20 == 0 { // a few traces' spans at a time
				if spans, err = readSpans(tx, ids[i:min(i+20, len(ids))]); err != nil {
					return nil, "", err
				}
			}
			fits := p.holds(&t) && (!p.open || p.fits(spans[t.ID]))
			if fits && len(out) == v.Limit { // there is one more: the page ends before it
				return out, v.token(at), nil
			}
			at = r.at
			if fits {
				out = append(out, t)
			}
		}
		if len(rows) < want {
			return out, "", nil
		}
		if scanned >= maxScan && (p.open || len(p.rest) > 0) {
			return out, v.token(at), nil
		}
	}
}

func (v *Search) token(at []string) string {
	b, _ := json.Marshal(place{v.of(), at})
	return base64.URLEncoding.EncodeToString(b)
}

// words splits "a DESC, b" into terms; commas in quotes do not part.
func words(order string) (out []string) {
	quote, from := rune(0), 0
	for i, c := range order {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '`' || c == '"' || c == '\'':
			quote = c
		case c == ',':
			out, from = append(out, order[from:i]), i+1
		}
	}
	if s := strings.TrimSpace(order[from:]); s != "" {
		out = append(out, s)
	}
	return out
}
