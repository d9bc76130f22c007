// Package table keeps the runs of one experiment in memory, column by column, and finds pages of them.
//
// A table is a copy of what a database holds. Whoever owns it fills it (Put for runs, Number and Text for their values) and
// repeats that for every run that changed; Find answers as the database would, term for term, so that the place behind a
// page is the same on both ways. It does no I/O and is not safe for concurrent use: Find, too, builds orders that it lacks.
//
// Memory: about 120 bytes and the texts of a run, 9 bytes per run of a metric's column, 16 bytes per run of a parameter's or
// tag's column and once each different text, 4 bytes per run of each order.
package table

import (
	"cmp"
	"slices"
	"strings"

	"keelson/internal/filter"
)

// Key names a column: a metric, a parameter or a tag (filter.Metric, filter.Param, filter.Tag).
type Key struct{ Entity, Key string }

// Run is what is known of every run. Times are microseconds since 1970; an end of 0 is none.
type Run struct {
	ID, Name, Author, Status string
	Deleted                  bool
	Started, Ended           int64
}

// Kinds of a metric's cell. Infinities are numbers.
const (
	missing = iota
	number
	nan
)

// column holds one value per run: of a metric a kind and a number, of a parameter or tag a text.
type column struct {
	kinds   []byte // missing, number (or text), nan
	numbers []float64
	texts   []string
}

// Table is a copy of one experiment's runs.
type Table struct {
	Experiment string

	runs    []Run
	at      map[string]int32
	columns map[Key]*column
	words   map[string]string // each different text once
	orders  map[Key]*order
	fresh   map[int32]bool // rows that changed since the orders were right
	bytes   int64
}

// New makes an empty table.
func New(experiment string) *Table {
	return &Table{Experiment: experiment, at: map[string]int32{}, columns: map[Key]*column{}, words: map[string]string{}, orders: map[Key]*order{}, fresh: map[int32]bool{}}
}

// Bytes is about how much memory the table takes.
func (t *Table) Bytes() int64 { return t.bytes }

// Has reports whether there is a column.
func (t *Table) Has(k Key) bool { return t.columns[k] != nil }

// Keys lists the columns of an entity, in order.
func (t *Table) Keys(entity string) (out []string) {
	for k := range t.columns {
		if k.Entity == entity {
			out = append(out, k.Key)
		}
	}
	slices.Sort(out)
	return out
}

// Add makes a column in which no run has a value.
func (t *Table) Add(k Key) {
	c := &column{kinds: make([]byte, len(t.runs))}
	if k.Entity == filter.Metric {
		c.numbers = make([]float64, len(t.runs))
		t.bytes += int64(9 * len(t.runs))
	} else {
		c.texts = make([]string, len(t.runs))
		t.bytes += int64(17 * len(t.runs))
	}
	t.columns[k] = c
	delete(t.orders, k)
}

// Put takes a run that is new or changed; of all columns it has no value afterwards.
func (t *Table) Put(r Run) {
	r.Author, r.Status = t.word(r.Author), t.word(r.Status)
	row, ok := t.at[r.ID]
	if !ok {
		row = int32(len(t.runs))
		t.at[r.ID] = row
		t.runs = append(t.runs, r)
		t.bytes += int64(120 + 2*len(r.ID) + len(r.Name) + 4*len(t.orders))
		for _, c := range t.columns {
			c.kinds = append(c.kinds, missing)
			if c.numbers != nil {
				c.numbers = append(c.numbers, 0)
			} else {
				c.texts = append(c.texts, "")
			}
			t.bytes += 17
		}
	} else {
		t.runs[row] = r
		for _, c := range t.columns {
			if c.kinds[row] = missing; c.numbers != nil {
				c.numbers[row] = 0
			} else {
				c.texts[row] = ""
			}
		}
	}
	if len(t.orders) > 0 {
		t.fresh[row] = true
	}
}

// Number sets a run's metric; a run or column that is not there is left alone. The value of NaN is 0, as it is stored.
func (t *Table) Number(k Key, run string, value float64, isNaN bool) {
	row, ok := t.at[run]
	c := t.columns[k]
	if !ok || c == nil {
		return
	}
	if c.kinds[row] = number; isNaN {
		c.kinds[row] = nan
	}
	c.numbers[row] = value
}

// Text sets a run's parameter or tag; a run or column that is not there is left alone.
func (t *Table) Text(k Key, run, value string) {
	row, ok := t.at[run]
	c := t.columns[k]
	if !ok || c == nil {
		return
	}
	c.kinds[row], c.texts[row] = number, t.word(value)
}

// word gives one copy of equal texts.
func (t *Table) word(s string) string {
	if w, ok := t.words[s]; ok {
		return w
	}
	s = strings.Clone(s)
	t.words[s] = s
	t.bytes += int64(len(s) + 48)
	return s
}

// series reads one key of a row: how a missing value ranks, and the value, of which one kind is set.
type series struct {
	rank  func(row int32) int64 // nil: all rank 0
	whole func(row int32) int64
	real  func(row int32) float64
	text  func(row int32) string
}

// series gives what a clause or an order names; ok is false for what the table does not hold.
func (t *Table) series(entity, key string) (s series, ok bool) {
	if entity == filter.Attribute {
		switch key {
		case "id":
			s.text = func(i int32) string { return t.runs[i].ID }
		case "name":
			s.text = func(i int32) string { return t.runs[i].Name }
		case "author":
			s.text = func(i int32) string { return t.runs[i].Author }
		case "status":
			s.text = func(i int32) string { return t.runs[i].Status }
		case "experiment":
			s.text = func(int32) string { return t.Experiment }
		case "artifact_uri":
			s.text = func(i int32) string {
				return "mlflow-artifacts:/" + t.Experiment + "/" + t.runs[i].ID + "/artifacts"
			}
		case "started_at":
			s.whole = func(i int32) int64 { return t.runs[i].Started }
		case "ended_at":
			s.whole = func(i int32) int64 { return t.runs[i].Ended }
			s.rank = func(i int32) int64 {
				if t.runs[i].Ended == 0 {
					return 1
				}
				return 0
			}
		default:
			return s, false
		}
		return s, true
	}
	c := t.columns[Key{entity, key}]
	if c == nil {
		return s, false
	}
	if c.numbers != nil {
		s.real = func(i int32) float64 { return c.numbers[i] }
		s.rank = func(i int32) int64 { return int64([3]byte{missing: 2, number: 0, nan: 1}[c.kinds[i]]) }
		return s, true
	}
	s.text = func(i int32) string { return c.texts[i] }
	s.rank = func(i int32) int64 { return int64(1 - c.kinds[i]) }
	return s, true
}

// compare compares the values of two rows.
func (s *series) compare(a, b int32) int {
	switch {
	case s.whole != nil:
		return cmp.Compare(s.whole(a), s.whole(b))
	case s.real != nil:
		return cmp.Compare(s.real(a), s.real(b))
	}
	return strings.Compare(s.text(a), s.text(b))
}

// order holds all rows sorted by one key: those with a value ascending, then those of rank 1, then of rank 2.
type order struct{ ranks [3][]int32 }

// order gives the order by a key, making it or bringing it up to date.
func (t *Table) order(k Key) *order {
	if len(t.fresh) > 0 {
		t.repair()
	}
	if o := t.orders[k]; o != nil {
		return o
	}
	s, _ := t.series(k.Entity, k.Key)
	o := &order{}
	for i := range int32(len(t.runs)) {
		o.put(&s, i)
	}
	slices.SortStableFunc(o.ranks[0], s.compare)
	t.orders[k] = o
	t.bytes += int64(4 * len(t.runs))
	return o
}

func (o *order) put(s *series, row int32) {
	rank := int64(0)
	if s.rank != nil {
		rank = s.rank(row)
	}
	o.ranks[rank] = append(o.ranks[rank], row)
}

// repair takes the rows that changed out of every order and merges them in where they belong now.
func (t *Table) repair() {
	rows := make([]int32, 0, len(t.fresh))
	for row := range t.fresh {
		rows = append(rows, row)
	}
	for k, o := range t.orders {
		s, _ := t.series(k.Entity, k.Key)
		moved := &order{}
		for _, row := range rows {
			moved.put(&s, row)
		}
		slices.SortFunc(moved.ranks[0], s.compare)
		for rank, old := range o.ranks {
			stay := slices.DeleteFunc(old, func(row int32) bool { return t.fresh[row] })
			if rank > 0 {
				o.ranks[rank] = append(stay, moved.ranks[rank]...)
				continue
			}
			o.ranks[0] = merge(stay, moved.ranks[0], &s)
		}
	}
	t.fresh = map[int32]bool{}
}

// merge merges two sorted lists.
func merge(a, b []int32, s *series) []int32 {
	if len(b) == 0 {
		return a
	}
	out := make([]int32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		// What stays is long and what comes short, so the next piece of a is found by halving.
		n, _ := slices.BinarySearchFunc(a, b[0], func(x, y int32) int {
			if s.compare(x, y) <= 0 {
				return -1
			}
			return 1
		})
		out = append(out, a[:n]...)
		out = append(out, b[0])
		a, b = a[n:], b[1:]
	}
	return append(append(out, a...), b...)
}
