package tracking

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/filter"
)

// Runs number hundreds of thousands, so a search for them must not look at each. Three ways lead to a page:
//
//	match    a clause that few runs meet has an index: take those runs, check the rest, sort
//	value    the first order is a metric, parameter or tag: walk its values in the experiment, check, stop when full
//	walk     walk the runs of the experiment from the newest, check, stop when full; with another order: take all, sort
//
// A clause is tried first: if so few runs meet it that fetching them is cheaper than walking, they are fetched. The place
// behind a page does not depend on the way, so pages of one search may be found by different ways.

// few is how many runs a clause must select at most, so that taking them costs less than walking total runs until limit
// are found: taking costs n, walking limit·total/n.
func few(limit, total int) int {
	return int(min(20000, max(200, math.Sqrt(float64(limit+1)*float64(total)))))
}

// parts are how many index ranges (experiment × deleted) are walked side by side and merged; with more, all runs are sorted.
const parts = 8

// totals remembers for a while how many runs an experiment has, which is asked by every search and need not be exact.
type totals struct{ m sync.Map }

type total struct {
	n  int
	at time.Time
}

func (t *totals) of(tx db.Scope, experiments []string) (n int, err error) {
	if len(experiments) > parts {
		return math.MaxInt32, nil
	}
	if len(experiments) == 0 {
		experiments = []string{""}
	}
	for _, e := range experiments {
		key := caller.Workspace(tx.Ctx) + "\x00" + e
		if v, ok := t.m.Load(key); ok && time.Since(v.(total).at) < 30*time.Second {
			n += v.(total).n
			continue
		}
		b := find.New(tx)
		b.Add(`SELECT COUNT(*) FROM run WHERE workspace = `, b.Arg(tx.Workspace))
		if e != "" {
			b.Add(` AND experiment = `, b.Arg(e))
		}
		var c int
		if err := tx.QueryRow(b.String(), b.Values...).Scan(&c); err != nil {
			return 0, err
		}
		if c > 1000 { // fewer are counted in no time, and a young experiment grows fast
			t.m.Store(key, total{c, time.Now()})
		}
		n += c
	}
	return n, nil
}

// RunPage is a page of runs. Total is how many runs match; −1 where that is not cheap to say.
type RunPage struct {
	Runs  []Run
	Next  string
	Total int
}

// searchRuns finds a page of runs and reads them without what load fills in.
func searchRuns(tx db.Scope, v Search, sizes *totals) (out RunPage, err error) {
	out.Total = -1
	f, err := newFinder(tx, v, "r", runSide, filter.Runs)
	if err != nil {
		return out, err
	}
	if len(v.Experiments) == 0 && !v.Anywhere {
		return RunPage{}, nil
	}
	ids, next, total, err := f.runs(sizes)
	if err != nil {
		return out, err
	}
	out.Next, out.Total = next, total
	out.Runs, err = readBare(tx, ids)
	return out, err
}

// closing are the terms that make every order of runs total.
func (f *finder) closing() []find.Term {
	return []find.Term{{SQL: "r.started_at", Desc: true, Kind: find.Int}, {SQL: find.New(f.tx).Bytewise("r.id"), Kind: find.Text}}
}

func (f *finder) runs(sizes *totals) (ids []string, next string, total int, err error) {
	total = -1
	_, terms := f.terms(find.New(f.tx), 0, f.closing()...)
	at, err := find.ParseToken(f.name(), f.v.Token, terms)
	if err != nil {
		return nil, "", total, err
	}
	size, err := sizes.of(f.tx, f.v.Experiments)
	if err != nil {
		return nil, "", total, err
	}
	if f.scope = f.v.Experiments; f.v.Anywhere && len(f.scope) == 0 && len(f.clauses) > 0 {
		if f.scope, err = someExperiments(f.tx); err != nil {
			return nil, "", total, err
		}
	}
	clause, n, err := f.selective(few(f.v.Limit, size))
	if err != nil {
		return nil, "", total, err
	}
	var rows []row
	switch {
	case clause >= 0:
		rows, err = f.ask(way{match: clause}, at)
	case len(f.orders) > 0 && f.orders[0].Entity != filter.Attribute && len(f.v.Experiments) > 0 && len(f.v.Experiments) <= parts:
		rows, err = f.byValue(at)
	default:
		rows, err = f.ask(way{match: -1}, at)
	}
	if err != nil {
		return nil, "", total, err
	}
	ids, next = f.cut(rows)
	switch {
	case f.v.Token == "" && next == "":
		total = len(ids)
	case len(f.clauses) == 0 && size <= maxTotal:
		total, err = f.count(-1)
	case clause >= 0 && n <= maxTotal:
		total, err = f.count(clause)
	}
	return ids, next, total, err
}

// someExperiments gives the ids of all experiments, deleted ones as well; none if they are more than an index range each
// is worth.
func someExperiments(tx db.Scope) (ids []string, err error) {
	const most = 200
	err = tx.Each(`SELECT id FROM experiment WHERE workspace = $1 LIMIT $2`, []any{tx.Workspace, most + 1}, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	})
	if len(ids) > most {
		ids = nil
	}
	return ids, err
}

// maxTotal is how many runs are counted at most.
const maxTotal = 10000

// by makes SQLite, which knows nothing of the sizes of tables, use an index; PostgreSQL knows better than we.
func (f *finder) by(index string) string {
	if f.tx.Postgres() {
		return ""
	}
	return " INDEXED BY " + index
}

func (f *finder) show(b *find.Builder) {
	if f.seen != nil {
		f.seen(b)
	}
}

// selective finds the clause that the fewest runs meet, if they are at most limit.
func (f *finder) selective(limit int) (clause, n int, err error) {
	clause = -1
	for i, c := range f.clauses {
		if c.Entity == filter.Attribute && c.Key == "id" && (c.Op == filter.Eq || c.Op == filter.In) {
			return i, max(1, len(c.List)), nil
		}
		b := find.New(f.tx)
		b.Add(`SELECT COUNT(*) FROM (SELECT 1 FROM `)
		if !f.match(b, i, func(table string) { b.Add(table + ` d` + f.by(table+"_value") + ` WHERE `) }) {
			continue
		}
		b.Add(` LIMIT `, b.Arg(limit+1), `) t`)
		f.show(b)
		var k int
		if err := f.tx.QueryRow(b.String(), b.Values...).Scan(&k); err != nil {
			return -1, 0, err
		}
		if k <= limit {
			clause, n, limit = i, k, k
		}
	}
	return clause, n, nil
}

// indexed is how many characters of a value are indexed.
const indexed = 64

// begin is the indexed part of a text, and whether that is all of it.
func begin(text string) (head string, whole bool) {
	if r := []rune(text); len(r) >= indexed {
		return string(r[:indexed]), false
	}
	return text, true
}

// prefix is what a LIKE pattern begins with, and whether only % follows.
func prefix(pattern string) (head string, whole bool) {
	i := strings.IndexAny(pattern, "%_")
	if i < 0 {
		return pattern, false
	}
	return pattern[:i], strings.Trim(pattern[i:], "%") == ""
}

// match adds the conditions by which an index finds the runs that meet a clause, in a table of alias d; from is called
// with the table before. It is not ok for clauses without an index.
func (f *finder) match(b *find.Builder, i int, from func(table string)) (ok bool) {
	c := f.clauses[i]
	if c.Entity == filter.Attribute && c.Key == "name" { // the name is kept as a tag, too
		c.Entity, c.Key = filter.Tag, TagName
	}
	if len(f.scope) == 0 {
		return false
	}
	open := func() {
		from(f.side.table(c.Entity))
		b.Add(`d.workspace = `, b.Arg(f.tx.Workspace), ` AND d.experiment IN (`, b.Args(f.scope), `) AND d.key = `, b.Arg(c.Key), ` AND `)
	}
	head := b.Bytewise(`substr(d.value, 1, 64)`)
	switch {
	case c.Entity == filter.Metric && c.Op != filter.Ne:
		open()
		b.Add(`d.kind <> 1 AND `, b.Number("d.value", c))
	case c.Entity != filter.Param && c.Entity != filter.Tag:
		return false
	case c.Op == filter.Eq:
		open()
		text, whole := begin(c.Text)
		if b.Add(head, ` = `, b.Arg(text)); !whole {
			b.Add(` AND d.value = `, b.Arg(c.Text))
		}
	case c.Op == filter.Like:
		lead, onlyLead := prefix(c.Text)
		if lead == "" {
			return false
		}
		open()
		text, whole := begin(lead)
		if b.Add(head, ` >= `, b.Arg(text), ` AND `, head, ` < `, b.Arg(text+"\U0010FFFF")); !whole || !onlyLead {
			b.Add(` AND `, b.Text("d.value", c))
		}
	default:
		return false
	}
	return true
}

// way is how runs are found: through the clause match (−1: none), or by the values of the first order.
type way struct {
	match int
	among string // "" | number | nan | none of a metric; "" | text | none of a parameter or tag
}

// byValue walks the runs in the order of a metric's, parameter's or tag's values: the values, then NaN, then the runs that
// have none.
func (f *finder) byValue(at []any) (rows []row, err error) {
	first := f.orders[0]
	has := slices.ContainsFunc(f.clauses, func(c filter.Clause) bool {
		return c.Entity == first.Entity && c.Key == first.Key && c.Op != filter.IsNull
	})
	kinds := []string{"text", "none"}
	if first.Entity == filter.Metric {
		kinds = []string{"number", "nan", "none"}
	}
	for rank, kind := range kinds {
		var here []any // the place within this part
		if at != nil {
			if at[0].(int64) > int64(rank) {
				continue
			}
			if at[0].(int64) == int64(rank) {
				here = at[1:]
				if rank > 0 {
					here = at[2:]
				}
			}
		}
		if kind == "none" && has {
			break
		}
		more, err := f.ask(way{match: -1, among: kind}, here)
		if err != nil {
			return nil, err
		}
		if rows = append(rows, more...); len(rows) > f.v.Limit {
			break
		}
	}
	return rows, nil
}

// group is one range of the index over runs.
type group struct{ experiment, deleted string }

func (f *finder) groups(w way) []group {
	var out []group
	deleted := f.deleted()
	if w.among != "" && w.among != "none" || w.match >= 0 {
		deleted = []string{strings.Join(deleted, ", ")}
	}
	if w.match >= 0 || f.v.Anywhere && len(f.v.Experiments) == 0 || len(f.v.Experiments)*len(deleted) > parts {
		return []group{{"", strings.Join(f.deleted(), ", ")}}
	}
	experiments := slices.Clone(f.v.Experiments)
	slices.Sort(experiments)
	for _, e := range slices.Compact(experiments) {
		for _, d := range deleted {
			out = append(out, group{e, d})
		}
	}
	return out
}

// ask finds the rows of one way, up to one more than the page takes.
func (f *finder) ask(w way, at []any) ([]row, error) {
	b := find.New(f.tx)
	groups := f.groups(w)
	var outer, inner []find.Term
	for i, g := range groups {
		if len(groups) > 1 {
			b.Add([]string{`SELECT * FROM (`, ` UNION ALL `}[min(i, 1)], `SELECT * FROM (`)
		}
		inner = f.statement(b, w, g, at)
		if len(groups) > 1 {
			b.Add(`) g` + strconv.Itoa(i))
		}
	}
	if len(groups) > 1 {
		for i, t := range inner {
			t.SQL = "u.k" + strconv.Itoa(i)
			if t.Kind == find.Text {
				t.SQL = b.Bytewise(t.SQL)
			}
			outer = append(outer, t)
		}
		b.Add(`) u ORDER BY `, find.OrderBy(outer), ` LIMIT `, b.Arg(f.v.Limit+1))
	}
	var before []any
	switch {
	case w.among == "number" || w.among == "text":
		before = []any{int64(0)}
	case w.among == "nan":
		before = []any{int64(1), 0.0}
	case w.among == "none" && f.orders[0].Entity == filter.Metric:
		before = []any{int64(2), 0.0}
	case w.among == "none":
		before = []any{int64(1), ""}
	}
	f.show(b)
	return fetch(b, inner, before)
}

// statement adds the statement for one group and gives its terms. A CROSS JOIN keeps SQLite from starting with the run.
func (f *finder) statement(b *find.Builder, w way, g group, at []any) (terms []find.Term) {
	from := 0
	if w.among != "" {
		from = 1
	}
	joins, terms := f.terms(b, from, f.closing()...)
	var lead []find.Term // what the index has of a text: it orders, but says nothing that the text does not
	switch w.among {
	case "number":
		terms = append([]find.Term{{SQL: "o.value", Desc: f.orders[0].Desc, Kind: find.Float}}, terms...)
	case "text":
		terms = append([]find.Term{{SQL: b.Bytewise("o.value"), Desc: f.orders[0].Desc, Kind: find.Text}}, terms...)
		lead = []find.Term{{SQL: b.Bytewise("substr(o.value, 1, 64)"), Desc: f.orders[0].Desc, Kind: find.Text}}
	}
	b.Add(`SELECT r.id`)
	for i, t := range terms {
		b.Add(`, `, t.SQL, ` AS k`, strconv.Itoa(i))
	}
	f.from(b, w, g, joins)
	if at != nil {
		if lead != nil {
			head, _ := begin(at[0].(string))
			b.Add(` AND `, lead[0].SQL, map[bool]string{true: " <= ", false: " >= "}[lead[0].Desc], b.Arg(head))
		}
		b.Add(` AND `, b.After(terms, at))
	}
	b.Add(` ORDER BY `, find.OrderBy(append(lead, terms...)), ` LIMIT `, b.Arg(f.v.Limit+1))
	return terms
}

// from adds FROM and WHERE of one way in one group.
func (f *finder) from(b *find.Builder, w way, g group, joins string) {
	ws := b.Arg(f.tx.Workspace)
	skip := -1
	found := false
	if w.match >= 0 {
		found = f.match(b, w.match, func(table string) {
			b.Add(` FROM `+table+` d`+f.by(table+"_value")+` CROSS JOIN run r`, joins, ` WHERE r.workspace = `, ws, ` AND r.id = d.run AND `)
		})
		if found && f.clauses[w.match].Entity != filter.Attribute {
			skip = w.match
		}
	}
	switch {
	case found:
	case w.among != "" && w.among != "none":
		o := f.orders[0]
		index := "_value"
		if w.among == "nan" {
			index = "_nan"
		}
		b.Add(` FROM `+f.side.table(o.Entity)+` o`+f.by(f.side.table(o.Entity)+index)+` CROSS JOIN run r`, joins, ` WHERE o.workspace = `, ws, ` AND o.experiment = `, b.Arg(g.experiment), ` AND o.key = `, b.Arg(o.Key))
		switch w.among {
		case "nan":
			b.Add(` AND o.kind = 1`)
		case "number":
			b.Add(` AND o.kind <> 1`)
			for _, c := range f.clauses { // a range of the metric itself bounds the walk
				if c.Entity == filter.Metric && c.Key == o.Key && c.Op != filter.Ne {
					b.Add(` AND `, b.Number("o.value", c))
				}
			}
		}
		b.Add(` AND r.workspace = `, ws, ` AND r.id = o.run`)
	default:
		b.Add(` FROM run r`, joins, ` WHERE r.workspace = `, ws)
		if w.among == "none" {
			b.Add(` AND NOT EXISTS (SELECT 1 FROM `+f.side.table(f.orders[0].Entity)+` n WHERE n.workspace = r.workspace AND n.run = r.id AND n.key = `, b.Arg(f.orders[0].Key), `)`)
		}
	}
	if g.experiment != "" {
		b.Add(` AND r.experiment = `, b.Arg(g.experiment))
	} else if len(f.v.Experiments) > 0 {
		b.Add(` AND r.experiment IN (`, b.Args(f.v.Experiments), `)`)
	}
	if strings.Contains(g.deleted, ",") {
		b.Add(` AND r.deleted IN (`, g.deleted, `)`)
	} else {
		b.Add(` AND r.deleted = `, g.deleted)
	}
	f.where(b, skip)
}

// count counts what matches, up to maxTotal.
func (f *finder) count(clause int) (n int, err error) {
	b := find.New(f.tx)
	b.Add(`SELECT COUNT(*) FROM (SELECT 1`)
	f.from(b, way{match: clause}, group{"", strings.Join(f.deleted(), ", ")}, "")
	b.Add(` LIMIT `, b.Arg(maxTotal), `) t`)
	f.show(b)
	err = f.tx.QueryRow(b.String(), b.Values...).Scan(&n)
	return n, err
}
