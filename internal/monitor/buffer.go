package monitor

import (
	"math"
	"strconv"
	"time"

	"keelson/internal/engine"
)

// Call is one logged call of one version, as the monitor needs it.
type Call struct {
	ID      string // of the prediction; ids grow in the order of arrival and are places in the log
	At      time.Time
	Model   string
	Version int
	Rows    int
	Inputs  []engine.Column // one value per row; NaN and "" are missing
	Outputs []engine.Column
}

// buffer gathers the rows of a version until they make a window.
type buffer struct {
	model       string
	after       string // place before the first call
	first, last string
	from, to    time.Time
	rows        int
	inputs      frame
	outputs     frame
	calls       []callRows
	begin, end  time.Time // of a window of time
	late        int       // rows whose time lies before begin
	early       []Early
	tally       tally
}

// callRows is one call in a buffer.
type callRows struct {
	id   string
	rows int
}

// where is the prediction and row of a row of the buffer.
func (b *buffer) where(i int) (string, int) {
	for _, c := range b.calls {
		if i < c.rows {
			return c.id, i
		}
		i -= c.rows
	}
	return "", 0
}

// outcomes lays what is known of the calls beside the rows; nil when nothing is.
func (b *buffer) outcomes(known map[string]map[int]any) []any {
	if len(known) == 0 {
		return nil
	}
	out := make([]any, 0, b.rows)
	for _, c := range b.calls {
		told := known[c.id]
		for i := range c.rows {
			out = append(out, told[i])
		}
	}
	return out
}

func (b *buffer) add(c *Call, after string) {
	if b.rows == 0 {
		b.after, b.first = after, c.ID
	}
	b.model, b.last = c.Model, c.ID
	b.calls = append(b.calls, callRows{c.ID, c.Rows})
	b.inputs.add(c.Inputs, c.Rows)
	b.outputs.add(c.Outputs, c.Rows)
	b.count(c)
}

// count counts a call without keeping its rows.
func (b *buffer) count(c *Call) {
	if b.rows == 0 {
		b.from, b.to = c.At, c.At
	}
	if c.At.Before(b.from) {
		b.from = c.At
	}
	if c.At.After(b.to) {
		b.to = c.At
	}
	if !b.begin.IsZero() && c.At.Before(b.begin) {
		b.late += c.Rows
	}
	b.tally.add(c)
	b.rows += c.Rows
}

// frame holds columns of equally many rows; a column that a call lacks is missing in its rows.
type frame struct {
	columns []series
	at      map[string]int
	rows    int
}

func (f *frame) add(columns []engine.Column, rows int) {
	if f.at == nil {
		f.at = map[string]int{}
	}
	for i := range columns {
		c := &columns[i]
		k, ok := i, i < len(f.columns) && f.columns[i].name == c.Name // mostly calls have the same columns
		if !ok {
			k, ok = f.at[c.Name]
		}
		if !ok {
			if len(f.columns) >= maxFeatures {
				continue
			}
			k = len(f.columns)
			f.at[c.Name] = k
			s := series{name: c.Name}
			if c.Texts != nil {
				s.words = make([]string, 0, rows)
			}
			f.columns = append(f.columns, s)
		}
		f.columns[k].grow(f.rows)
		f.columns[k].append(c, f.rows+rows)
	}
	f.rows += rows
	for i := range f.columns {
		f.columns[i].grow(f.rows)
	}
}

// grow fills a series with missing values up to n rows.
func (s *series) grow(n int) {
	if s.words != nil {
		for len(s.words) < n {
			s.words = append(s.words, "")
		}
		return
	}
	for len(s.numbers) < n {
		s.numbers = append(s.numbers, math.NaN())
	}
}

// append adds the values of a call up to n rows in all. A series that was numbers becomes words with the
// first call that sends words.
func (s *series) append(c *engine.Column, n int) {
	if c.Texts != nil && s.words == nil {
		s.words = asWords(s.numbers, false)
		s.numbers = nil
	}
	if s.words == nil {
		s.numbers = append(s.numbers, c.Numbers[:min(len(c.Numbers), n-len(s.numbers))]...)
		return
	}
	values := c.Texts
	if values == nil {
		values = asWords(c.Numbers, false)
	}
	s.words = append(s.words, values[:min(len(values), n-len(s.words))]...)
}

// named gives columns without names of their own (f0, f1, …) the names of the reference's columns of
// numbers, when there are as many.
func named(columns []series, p *profile) []series {
	if p == nil {
		return columns
	}
	var names []string
	for i := range p.Columns {
		if p.Columns[i].Kind == numberKind {
			names = append(names, p.Columns[i].Name)
		}
	}
	if len(names) != len(columns) {
		return columns
	}
	out := make([]series, len(columns))
	for i, s := range columns {
		if s.name != "f"+strconv.Itoa(i) {
			return columns
		}
		s.name = names[i]
		out[i] = s
	}
	return out
}
