package filter

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strings"

	"keelson/internal/problem"
)

// Thing is what a search in memory looks at, for kinds of things that number thousands at most. Keys of Text and Number
// are the stored keys of the grammar; ID is unique and closes every order.
type Thing struct {
	ID     string
	Text   map[string]string
	Number map[string]float64
	Tags   map[string]string
}

// Match reports whether a thing meets all clauses. A tag that is not there meets only IS NULL.
func Match(clauses []Clause, t Thing) bool {
	for _, c := range clauses {
		v, ok := t.Text[c.Key]
		switch {
		case c.Entity == Tag:
			v, ok = t.Tags[c.Key]
		case c.Numeric:
			if !matchNumber(t.Number[c.Key], c.Op, c.Number) {
				return false
			}
			continue
		}
		switch c.Op {
		case IsNull:
			if ok {
				return false
			}
		case IsNotNull:
			if !ok {
				return false
			}
		default:
			if !ok || !matchText(v, c) {
				return false
			}
		}
	}
	return true
}

// MeetsNumber says whether a number meets a clause that compares with one.
func (c Clause) MeetsNumber(v float64) bool { return matchNumber(v, c.Op, c.Number) }

// MeetsText says whether a text meets a clause that compares with one.
func (c Clause) MeetsText(v string) bool { return matchText(v, c) }

func matchNumber(a float64, op string, b float64) bool {
	switch op {
	case Ne:
		return a != b
	case Lt:
		return a < b
	case Le:
		return a <= b
	case Gt:
		return a > b
	case Ge:
		return a >= b
	}
	return a == b
}

func matchText(v string, c Clause) bool {
	switch c.Op {
	case Ne:
		return v != c.Text
	case Like:
		return Wild(c.Text, v)
	case ILike:
		return Wild(strings.ToLower(c.Text), strings.ToLower(v))
	case In:
		return slices.Contains(c.List, v)
	case NotIn:
		return !slices.Contains(c.List, v)
	}
	return v == c.Text
}

// Wild matches the wildcards of LIKE, % (any text) and _ (one character); it takes time in the product of the lengths at
// most.
func Wild(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	i, j, star, mark := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '%':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '_' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '%' {
		i++
	}
	return i == len(p)
}

// Query is a search in memory. Usual closes the order before the ID does.
type Query struct {
	Filter string
	Order  []string
	Usual  []Order
	Limit  int
	Token  string // next of the page before
}

// mark is where a page ended: the ordering values of its last thing. A search that goes on from it neither repeats nor
// skips what is there all the while, whatever comes and goes.
type mark struct {
	Search uint64  `json:"s"`
	Values []value `json:"v"`
	ID     string  `json:"i"`
}

type value struct {
	Text   string  `json:"t,omitempty"`
	Number float64 `json:"n,omitempty"`
}

// Pick gives those of all that Select finds on one page, each seen as of shows it.
func Pick[T any](all []T, of func(T) Thing, g *Grammar, q Query) (page []T, next string, err error) {
	things := make([]Thing, len(all))
	for i, x := range all {
		things[i] = of(x)
	}
	picked, next, err := Select(things, g, q)
	for _, i := range picked {
		page = append(page, all[i])
	}
	return page, next, err
}

// Select gives the places of the things on one page, in order, and the token of the next page ("" on the last).
func Select(things []Thing, g *Grammar, q Query) (picked []int, next string, err error) {
	clauses, err := Parse(q.Filter, g)
	if err != nil {
		return nil, "", err
	}
	order, err := ParseOrder(q.Order, g)
	if err != nil {
		return nil, "", err
	}
	order = append(order, q.Usual...)
	h := fnv.New64a()
	h.Write([]byte(q.Filter + "\x00" + strings.Join(q.Order, "\x00")))
	id := h.Sum64()
	from := mark{}
	if q.Token != "" {
		b, err := base64.RawURLEncoding.DecodeString(q.Token)
		if err != nil || json.Unmarshal(b, &from) != nil || len(from.Values) != len(order) || from.Search != id {
			return nil, "", problem.New(problem.Invalid, "Invalid page token: it is not one of this search. Leave page_token out to begin again.").At("page_token")
		}
	}
	marks := map[int]mark{}
	for i, t := range things {
		if !Match(clauses, t) {
			continue
		}
		m := mark{Search: id, ID: t.ID}
		for _, o := range order {
			switch {
			case o.Entity == Tag:
				m.Values = append(m.Values, value{Text: t.Tags[o.Key]})
			case o.Numeric:
				m.Values = append(m.Values, value{Number: t.Number[o.Key]})
			default:
				m.Values = append(m.Values, value{Text: t.Text[o.Key]})
			}
		}
		if q.Token == "" || compareMarks(m, from, order) > 0 {
			marks[i] = m
			picked = append(picked, i)
		}
	}
	slices.SortFunc(picked, func(a, b int) int { return compareMarks(marks[a], marks[b], order) })
	if len(picked) > q.Limit {
		picked = picked[:q.Limit]
		b, err := json.Marshal(marks[picked[q.Limit-1]])
		if err != nil {
			return nil, "", err
		}
		next = base64.RawURLEncoding.EncodeToString(b)
	}
	return picked, next, nil
}

func compareMarks(a, b mark, order []Order) int {
	for i, o := range order {
		c := cmp.Or(strings.Compare(a.Values[i].Text, b.Values[i].Text), cmp.Compare(a.Values[i].Number, b.Values[i].Number))
		if o.Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return strings.Compare(a.ID, b.ID)
}
