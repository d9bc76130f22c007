package table

import (
	"math"
	"slices"
	"strings"

	"keelson/internal/filter"
)

// pass compiles what a row must meet: being active or deleted, and the clauses.
func (t *Table) pass(q Query) func(row int32) bool {
	var all []func(int32) bool
	switch {
	case q.Active && q.Deleted:
	case q.Deleted:
		all = append(all, func(i int32) bool { return t.runs[i].Deleted })
	default:
		all = append(all, func(i int32) bool { return !t.runs[i].Deleted })
	}
	for _, c := range q.Clauses {
		all = append(all, t.clause(c))
	}
	return func(row int32) bool {
		for _, f := range all {
			if !f(row) {
				return false
			}
		}
		return true
	}
}

func (t *Table) clause(c filter.Clause) func(int32) bool {
	s, _ := t.series(c.Entity, c.Key)
	switch {
	case s.whole != nil:
		return whole(s, c, c.Key == "ended_at")
	case s.real != nil:
		// NaN is unequal to every number.
		if c.Op == filter.Ne {
			return func(i int32) bool { r := s.rank(i); return r == 1 || r == 0 && s.real(i) != c.Number }
		}
		return func(i int32) bool { return s.rank(i) == 0 && compared(s.real(i), c.Op, c.Number) }
	}
	if c.Entity == filter.Attribute {
		meets := matcher(c)
		return func(i int32) bool { return meets(s.text(i)) }
	}
	switch c.Op {
	case filter.IsNull:
		return func(i int32) bool { return s.rank(i) != 0 }
	case filter.IsNotNull:
		return func(i int32) bool { return s.rank(i) == 0 }
	}
	meets := matcher(c)
	return func(i int32) bool { return s.rank(i) == 0 && meets(s.text(i)) }
}

func compared[N int64 | float64](a N, op string, b N) bool {
	switch op {
	case filter.Lt:
		return a < b
	case filter.Le:
		return a <= b
	case filter.Gt:
		return a > b
	case filter.Ge:
		return a >= b
	case filter.Ne:
		return a != b
	}
	return a == b
}

// whole compares a time in microseconds with milliseconds, of which the parts do not count. A run that goes on has no end.
func whole(s series, c filter.Clause, ends bool) func(int32) bool {
	at := func(ms float64) int64 { return int64(max(-9e15, min(9e15, ms*1000))) }
	from, to := int64(math.MinInt64), int64(math.MaxInt64) // from ≤ value < to
	switch n := c.Number; c.Op {
	case filter.Lt:
		to = at(math.Ceil(n))
	case filter.Ge:
		from = at(math.Ceil(n))
	case filter.Le:
		to = at(math.Floor(n) + 1)
	case filter.Gt:
		from = at(math.Floor(n) + 1)
	default:
		if from, to = at(n), at(n+1); n != math.Trunc(n) {
			from, to = 0, 0
		}
	}
	return func(i int32) bool {
		v := s.whole(i)
		return (v >= from && v < to) == (c.Op != filter.Ne) && (!ends || v != 0)
	}
}

// matcher compiles a comparison of texts: LIKE tells capitals from small letters, ILIKE does not tell those of ASCII.
func matcher(c filter.Clause) func(string) bool {
	switch c.Op {
	case filter.Ne:
		return func(v string) bool { return v != c.Text }
	case filter.In:
		return func(v string) bool { return slices.Contains(c.List, v) }
	case filter.NotIn:
		return func(v string) bool { return !slices.Contains(c.List, v) }
	case filter.Like:
		return like(c.Text)
	case filter.ILike:
		meets := like(lower(c.Text))
		return func(v string) bool { return meets(lower(v)) }
	}
	return func(v string) bool { return v == c.Text }
}

// like compiles a pattern of % and _; the usual shapes need no search.
func like(pattern string) func(string) bool {
	if middle := strings.Trim(pattern, "%"); !strings.ContainsAny(middle, "%_") {
		head, tail := !strings.HasPrefix(pattern, "%"), !strings.HasSuffix(pattern, "%")
		switch {
		case head && tail:
			return func(v string) bool { return v == pattern }
		case head:
			return func(v string) bool { return strings.HasPrefix(v, middle) }
		case tail:
			return func(v string) bool { return strings.HasSuffix(v, middle) }
		}
		return func(v string) bool { return strings.Contains(v, middle) }
	}
	return func(v string) bool { return filter.Wild(pattern, v) }
}

func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
