package table

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"

	"keelson/internal/filter"
)

// Query asks for a page. The status of a clause is written as runs have it. After is the place of the last row of the page
// before, as Found has it; nil begins.
type Query struct {
	Clauses         []filter.Clause
	Orders          []filter.Order
	Active, Deleted bool // which runs are looked at
	After           []any
	Limit           int
}

// Found is a run and its place in the order: for every term of the order the rank of a value that may be missing (0: it is
// there) and the value, int64, float64 or string; the start and the id close every order.
type Found struct {
	ID    string
	Place []any
}

// term is one piece of the order. rank: the place among those that have no value; else the value.
type term struct {
	s    series
	rank bool
	desc bool
}

// Serves reports whether the table can answer a query once it has the columns that are named in lacks.
func (t *Table) Serves(q Query) (lacks []Key, ok bool) {
	need := func(entity, key string) bool {
		switch entity {
		case filter.Metric, filter.Param, filter.Tag:
			if k := (Key{entity, key}); !t.Has(k) && !slices.Contains(lacks, k) {
				lacks = append(lacks, k)
			}
			return true
		}
		_, known := t.series(entity, key)
		return known
	}
	for _, c := range q.Clauses {
		if !need(c.Entity, c.Key) {
			return nil, false
		}
	}
	for _, o := range q.Orders {
		if !need(o.Entity, o.Key) {
			return nil, false
		}
	}
	return lacks, true
}

// Find gives the rows of a page and, if there is a next page, one more. total is how many rows match in all, where that
// was found on the way, else −1.
func (t *Table) Find(q Query) (rows []Found, total int) {
	terms, first := t.terms(q.Orders)
	pass := t.pass(q)
	best, narrow := t.narrowest(q)
	var picked []int32
	total = -1
	top := &heap{terms: terms, most: q.Limit + 1}
	if narrow {
		total = 0
		for _, row := range best {
			if !pass(row) {
				continue
			}
			total++
			if q.After == nil || behind(terms, row, q.After) {
				top.add(row)
			}
		}
		picked = top.sorted()
	} else {
		picked = t.walk(first, terms, pass, q)
		if len(q.Clauses) == 0 {
			total = 0
			for i := range t.runs {
				if d := t.runs[i].Deleted; d && q.Deleted || !d && q.Active {
					total++
				}
			}
		}
	}
	if q.After == nil && len(picked) <= q.Limit {
		total = len(picked)
	}
	for _, row := range picked {
		rows = append(rows, Found{t.runs[row].ID, place(terms, row)})
	}
	return rows, total
}

// terms are those of the orders, closed by the start and the id; first is the key and direction that the walk follows.
func (t *Table) terms(orders []filter.Order) (out []term, first filter.Order) {
	started, id := false, false
	for _, o := range orders {
		key := o.Key
		if o.Entity == filter.Attribute {
			started = started || key == "started_at"
			if key == "artifact_uri" { // the id decides
				key = "id"
			}
			id = id || key == "id"
		}
		s, _ := t.series(o.Entity, key)
		if s.rank != nil {
			out = append(out, term{s, true, false})
		}
		out = append(out, term{s, false, o.Desc})
	}
	first = filter.Order{Entity: filter.Attribute, Key: "started_at", Desc: true}
	if len(orders) > 0 {
		first = orders[0]
		if first.Entity == filter.Attribute && first.Key == "artifact_uri" {
			first.Key = "id"
		}
	}
	if !started {
		s, _ := t.series(filter.Attribute, "started_at")
		out = append(out, term{s, false, true})
	}
	if !id {
		s, _ := t.series(filter.Attribute, "id")
		out = append(out, term{s, false, false})
	}
	return out, first
}

func (m *term) compare(a, b int32) int {
	if m.rank {
		return cmp.Compare(m.s.rank(a), m.s.rank(b))
	}
	c := m.s.compare(a, b)
	if m.desc {
		return -c
	}
	return c
}

// before compares two rows by all terms.
func before(terms []term, a, b int32) int {
	for i := range terms {
		if c := terms[i].compare(a, b); c != 0 {
			return c
		}
	}
	return 0
}

// against compares a row's value with that of a place.
func (m *term) against(row int32, v any) (c int) {
	switch {
	case m.rank:
		return cmp.Compare(m.s.rank(row), v.(int64))
	case m.s.whole != nil:
		c = cmp.Compare(m.s.whole(row), v.(int64))
	case m.s.real != nil:
		c = cmp.Compare(m.s.real(row), v.(float64))
	default:
		c = strings.Compare(m.s.text(row), v.(string))
	}
	if m.desc {
		return -c
	}
	return c
}

// behind reports whether a row comes after a place.
func behind(terms []term, row int32, at []any) bool {
	for i := range terms {
		if c := terms[i].against(row, at[i]); c != 0 {
			return c > 0
		}
	}
	return false
}

func place(terms []term, row int32) []any {
	out := make([]any, len(terms))
	for i, m := range terms {
		switch {
		case m.rank:
			out[i] = m.s.rank(row)
		case m.s.whole != nil:
			out[i] = m.s.whole(row)
		case m.s.real != nil:
			out[i] = m.s.real(row)
		default:
			out[i] = m.s.text(row)
		}
	}
	return out
}

// walk goes through the rows in the order of the first term and stops when the page is full. Rows alike in it are sorted
// by the other terms.
func (t *Table) walk(by filter.Order, terms []term, pass func(int32) bool, q Query) (out []int32) {
	o := t.order(Key{by.Entity, by.Key})
	value := &terms[0]
	if value.rank {
		value = &terms[1]
	}
	for rank, list := range o.ranks {
		at := q.After
		if at != nil && terms[0].rank {
			if at[0].(int64) > int64(rank) {
				continue
			}
			if at[0].(int64) < int64(rank) {
				at = nil
			}
		}
		if len(out) > q.Limit {
			break
		}
		if rank > 0 { // alike but for the other terms
			out = append(out, page(list, terms, pass, at, q.Limit+1-len(out))...)
			continue
		}
		from := 0
		if at != nil {
			v := at[0]
			if terms[0].rank {
				v = at[1]
			}
			if by.Desc {
				from = sort.Search(len(list), func(i int) bool { return value.against(list[len(list)-1-i], v) >= 0 })
			} else {
				from = sort.Search(len(list), func(i int) bool { return value.against(list[i], v) >= 0 })
			}
		}
		for from < len(list) && len(out) <= q.Limit {
			row := func(i int) int32 {
				if by.Desc {
					return list[len(list)-1-i]
				}
				return list[i]
			}
			to := from + 1
			for to < len(list) && value.s.compare(row(from), row(to)) == 0 {
				to++
			}
			same := list[from:to]
			if by.Desc {
				same = list[len(list)-to : len(list)-from]
			}
			if to-from == 1 {
				if pass(same[0]) && (at == nil || behind(terms, same[0], at)) {
					out = append(out, same[0])
				}
			} else {
				out = append(out, page(same, terms, pass, at, q.Limit+1-len(out))...)
			}
			from = to
		}
	}
	return out
}

// page gives the first rows of a list, up to most.
func page(list []int32, terms []term, pass func(int32) bool, at []any, most int) []int32 {
	top := &heap{terms: terms, most: most}
	for _, row := range list {
		if pass(row) && (at == nil || behind(terms, row, at)) {
			top.add(row)
		}
	}
	return top.sorted()
}

// heap keeps the rows that come first, the last of them on top.
type heap struct {
	terms []term
	most  int
	rows  []int32
}

func (h *heap) add(row int32) {
	if len(h.rows) < h.most {
		h.rows = append(h.rows, row)
		for i := len(h.rows) - 1; i > 0; {
			up := (i - 1) / 2
			if before(h.terms, h.rows[i], h.rows[up]) <= 0 {
				return
			}
			h.rows[i], h.rows[up] = h.rows[up], h.rows[i]
			i = up
		}
		return
	}
	if h.most == 0 || before(h.terms, row, h.rows[0]) >= 0 {
		return
	}
	h.rows[0] = row
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(h.rows) {
			return
		}
		if r := down + 1; r < len(h.rows) && before(h.terms, h.rows[r], h.rows[down]) > 0 {
			down = r
		}
		if before(h.terms, h.rows[down], h.rows[i]) <= 0 {
			return
		}
		h.rows[i], h.rows[down] = h.rows[down], h.rows[i]
		i = down
	}
}

func (h *heap) sorted() []int32 {
	slices.SortFunc(h.rows, func(a, b int32) int { return before(h.terms, a, b) })
	return h.rows
}

// narrowest gives the rows of the clause that the fewest rows meet, if taking them costs less than walking until the page
// is full: taking costs as many, walking about rows · limit / as many.
func (t *Table) narrowest(q Query) (rows []int32, ok bool) {
	most := max(200, int(math.Sqrt(float64(q.Limit+1)*float64(len(t.runs)))))
	for _, c := range q.Clauses {
		list, known := t.within(c)
		if known && len(list) <= most {
			rows, most, ok = list, len(list), true
		}
	}
	return rows, ok
}

// within gives the rows among which are all that meet a clause, by halving the order of its key.
func (t *Table) within(c filter.Clause) (rows []int32, ok bool) {
	key := c.Key
	switch {
	case c.Entity == filter.Attribute && key != "name" && key != "id" && key != "started_at" && key != "author":
		return nil, false
	case c.Entity == filter.Attribute && key == "started_at", c.Op == filter.Ne, c.Op == filter.NotIn, c.Op == filter.ILike, c.Op == filter.IsNull, c.Op == filter.IsNotNull:
		return nil, false
	}
	low, high := c.Text, c.Text
	if c.Op == filter.Like {
		i := strings.IndexAny(c.Text, "%_")
		switch {
		case i == 0:
			return nil, false
		case i > 0:
			low, high = c.Text[:i], c.Text[:i]+"\U0010FFFF"
		}
	}
	if c.Op == filter.In {
		if key != "id" || c.Entity != filter.Attribute {
			return nil, false
		}
		for _, id := range c.List {
			if row, ok := t.at[id]; ok {
				rows = append(rows, row)
			}
		}
		slices.Sort(rows)
		return slices.Compact(rows), true
	}
	s, _ := t.series(c.Entity, key)
	list := t.order(Key{c.Entity, key}).ranks[0]
	if s.real != nil {
		from, to := 0, len(list)
		at := func(reached func(float64) bool) int {
			return sort.Search(len(list), func(i int) bool { return reached(s.real(list[i])) })
		}
		switch c.Op {
		case filter.Lt:
			to = at(func(v float64) bool { return v >= c.Number })
		case filter.Le:
			to = at(func(v float64) bool { return v > c.Number })
		case filter.Gt:
			from = at(func(v float64) bool { return v > c.Number })
		case filter.Ge:
			from = at(func(v float64) bool { return v >= c.Number })
		default:
			from, to = at(func(v float64) bool { return v >= c.Number }), at(func(v float64) bool { return v > c.Number })
		}
		return list[from:max(from, to)], true
	}
	from := sort.Search(len(list), func(i int) bool { return s.text(list[i]) >= low })
	to := sort.Search(len(list), func(i int) bool { return s.text(list[i]) > high })
	return list[from:max(from, to)], true
}
