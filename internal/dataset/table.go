package dataset

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"keelson/internal/problem"
)

// Table is a version in memory, column by column, for evaluation and monitoring.
type Table struct {
	Columns []Column
	Rows    int
}

// Column holds the cells of one column. Exactly one of Numbers and Words is set.
type Column struct {
	Name string
	Type Type
	// Numbers holds int, float, bool (0, 1) and time (microseconds UTC) columns; NaN is missing. Whole
	// numbers beyond 2⁵³ are rounded to the nearest float64.
	Numbers []float64
	// Words holds string columns; a missing cell is empty here and true in Missing.
	Words   []string
	Missing []bool
}

// Column finds a column by name.
func (t *Table) Column(name string) (*Column, bool) {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i], true
		}
	}
	return nil, false
}

// Text returns the cells as words, and which are missing: numbers in their shortest form, true and false,
// times as RFC 3339.
func (c *Column) Text() (words []string, missing []bool) {
	if c.Words != nil || c.Numbers == nil {
		return c.Words, c.Missing
	}
	words, missing = make([]string, len(c.Numbers)), make([]bool, len(c.Numbers))
	for i := range c.Numbers {
		words[i], missing[i] = c.Word(i)
	}
	return words, missing
}

// Word is the value of one row as text, and whether it is missing.
func (c *Column) Word(i int) (word string, missing bool) {
	if c.Words != nil || c.Numbers == nil {
		return c.Words[i], i < len(c.Missing) && c.Missing[i]
	}
	switch v := c.Numbers[i]; {
	case math.IsNaN(v):
		return "", true
	case c.Type == Bool:
		return strconv.FormatBool(v != 0), false
	case c.Type == Time:
		return time.UnixMicro(int64(v)).UTC().Format(time.RFC3339Nano), false
	default:
		return strconv.FormatFloat(v, 'g', -1, 64), false
	}
}

// Numeric reports whether the column holds numbers to compare by size (int, float).
func (c *Column) Numeric() bool { return c.Type == Int || c.Type == Float }

// load reads a file into a table by its schema. It is refused when it would take more than l.Table bytes.
func load(ctx context.Context, src source, schema []Field, l Limits) (*Table, error) {
	fields := src.fields()
	if len(fields) != len(schema) {
		return nil, fmt.Errorf("the file has %d columns, its schema %d", len(fields), len(schema))
	}
	t := &Table{Columns: make([]Column, len(schema))}
	for i, f := range schema {
		if fields[i].Name != f.Name {
			return nil, fmt.Errorf("column %d is %q in the file and %q in the schema", i+1, fields[i].Name, f.Name)
		}
		t.Columns[i] = Column{Name: f.Name, Type: f.Type}
	}
	used := int64(0)
	known := map[string]string{} // words repeat, one copy of each is enough
	var buf []byte
	rows, err := src.scan(ctx, nil, func(column int, row int64, c *cell) error {
		if used += 8; used > l.Table {
			return problem.New(problem.TooLarge, "The data takes more than %s in memory, the limit for reading it whole.", bytesText(l.Table))
		}
		col := &t.Columns[column]
		if col.Type != String {
			v, err := c.numberAs(col.Type)
			if err != nil {
				return fmt.Errorf("row %d of column %q: %w", row, col.Name, err)
			}
			col.Numbers = append(col.Numbers, v)
			return nil
		}
		buf = c.appendText(buf[:0])
		word, ok := known[string(buf)]
		if !ok {
			word = string(buf)
			used += int64(len(word)) + 16
			if len(known) < 100_000 {
				known[word] = word
			}
		}
		used += 9
		col.Words = append(col.Words, word)
		col.Missing = append(col.Missing, c.kind == missing)
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.Rows = int(rows)
	for i := range t.Columns {
		if c := &t.Columns[i]; len(c.Numbers)+len(c.Words) != t.Rows {
			return nil, fmt.Errorf("column %q has %d cells, the file %d rows", c.Name, len(c.Numbers)+len(c.Words), t.Rows)
		}
	}
	return t, nil
}

// numberAs gives the cell as a number of column type t; missing is NaN.
func (c *cell) numberAs(t Type) (float64, error) {
	if c.kind == missing {
		return math.NaN(), nil
	}
	ok, v := false, 0.0
	switch {
	case t == Bool && c.kind == text:
		var b bool
		if b, ok = parseBool(c.s); b {
			v = 1
		}
	case t == Bool:
		v, ok = float64(c.i), c.kind == boolean
	case t == Time && c.kind == text:
		var us int64
		us, ok = parseTime(c.s)
		v = float64(us)
	case t == Time:
		v, ok = float64(c.i), c.kind == instant
	default:
		v, ok = c.number()
	}
	if !ok {
		return 0, fmt.Errorf("%q is not of type %s", c.appendText(nil), t)
	}
	return v, nil
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
