package dataset

import (
	"bytes"
	"context"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"keelson/internal/problem"
)

// source reads one file, as often as asked.
type source interface {
	// fields names the columns; a type is empty when the file does not say it (CSV).
	fields() []Field
	// scan calls each for every cell of the columns that want (nil: all), in any order that keeps the rows
	// of one column ascending. Rows count from 1. The cell and its bytes hold during the call only. It
	// returns the number of rows.
	scan(ctx context.Context, want []bool, each func(column int, row int64, c *cell) error) (int64, error)
}

// kind says which member of a cell holds its value.
type kind byte

const (
	missing kind = iota
	text         // s, of unknown type (CSV)
	words        // s
	integer      // i
	number       // f
	boolean      // i, 0 or 1
	instant      // i, microseconds UTC
)

// cell is one value of a file.
type cell struct {
	kind kind
	i    int64
	f    float64
	s    []byte
}

// appendText writes the cell's value as text, the same for CSV and Parquet where CSV holds it that way.
func (c *cell) appendText(dst []byte) []byte {
	switch c.kind {
	case text, words:
		return append(dst, c.s...)
	case integer:
		return strconv.AppendInt(dst, c.i, 10)
	case number:
		return strconv.AppendFloat(dst, c.f, 'g', -1, 64)
	case boolean:
		return strconv.AppendBool(dst, c.i != 0)
	case instant:
		return time.UnixMicro(c.i).UTC().AppendFormat(dst, time.RFC3339Nano)
	}
	return dst
}

// number gives the cell's value as a number, if it is one. Text is parsed.
func (c *cell) number() (v float64, ok bool) {
	switch c.kind {
	case integer:
		return float64(c.i), true
	case number:
		return c.f, true
	case text:
		v, _, ok = parseNumber(c.s)
	}
	return v, ok
}

// is reports whether the cell, which is not missing, belongs to type t.
func (c *cell) is(t Type) bool {
	switch t {
	case String:
		return c.kind == words || c.kind == text
	case Float:
		_, ok := c.number()
		return ok
	case Int:
		v, ok := c.number()
		if c.kind == text {
			if _, whole, isNumber := parseNumber(c.s); isNumber && whole {
				return true
			}
		}
		return ok && (c.kind == integer || v == math.Trunc(v) && math.Abs(v) < 1<<53)
	case Bool:
		if c.kind == text {
			_, ok := parseBool(c.s)
			return ok
		}
		return c.kind == boolean
	case Time:
		if c.kind == text {
			_, ok := parseTime(c.s)
			return ok
		}
		return c.kind == instant
	}
	return false
}

// parseNumber reads a decimal number as people write it: -12, 0.5, 1e-9, inf. Leading zeros and plus signs
// make a word (01 is a code, not a number); whole says that it is an integer of 64 bits without a point.
func parseNumber(s []byte) (v float64, whole, ok bool) {
	s = bytes.TrimSpace(s)
	d := s
	if len(d) > 0 && d[0] == '-' {
		d = d[1:]
	}
	if len(d) == 0 || len(d) > 400 || d[0] == '+' {
		return 0, false, false
	}
	if d[0] == 'i' || d[0] == 'I' {
		if w := strings.ToLower(string(d)); w != "inf" && w != "infinity" {
			return 0, false, false
		}
		return math.Inf(1 - 2*(len(s)-len(d))), false, true
	}
	if d[0] == '0' && len(d) > 1 && d[1] != '.' && d[1] != 'e' && d[1] != 'E' {
		return 0, false, false
	}
	whole = true
	for _, b := range d {
		switch {
		case b >= '0' && b <= '9':
		case b == '.' || b == 'e' || b == 'E' || b == '-' || b == '+':
			whole = false
		default:
			return 0, false, false
		}
	}
	if whole && len(d) <= 15 { // the common case, without ParseFloat
		n := int64(0)
		for _, b := range d {
			n = 10*n + int64(b-'0')
		}
		if len(d) < len(s) {
			n = -n
		}
		return float64(n), true, true
	}
	v, err := strconv.ParseFloat(string(s), 64)
	if err != nil && !math.IsInf(v, 0) {
		return 0, false, false
	}
	if whole {
		_, err := strconv.ParseInt(string(s), 10, 64)
		whole = err == nil
	}
	return v, whole, true
}

// parseBool reads true and false in lower, upper or title case.
func parseBool(s []byte) (v, ok bool) {
	switch string(bytes.TrimSpace(s)) {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	}
	return false, false
}

var timeShapes = []string{time.RFC3339Nano, "2006-01-02", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00"}

// parseTime reads ISO 8601 dates and instants as microseconds UTC; without an offset they are UTC.
func parseTime(s []byte) (micros int64, ok bool) {
	s = bytes.TrimSpace(s)
	if len(s) < 10 || len(s) > 40 || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	for _, shape := range timeShapes {
		if t, err := time.Parse(shape, string(s)); err == nil {
			return t.UnixMicro(), true
		}
	}
	return 0, false
}

// open reads the head of a file of the given format: csv, parquet, or empty for what the first bytes say.
func open(f io.ReaderAt, size int64, format string, l Limits) (source, string, error) {
	if size == 0 {
		return nil, "", problem.New(problem.Invalid, "The file is empty; it needs a header line with the names of the columns and at least one row.")
	}
	var head [4]byte
	n, _ := f.ReadAt(head[:], 0)
	isParquet := string(head[:n]) == "PAR1"
	switch format {
	case "":
		format = "csv"
		if isParquet {
			format = "parquet"
		}
	case "csv":
		if isParquet {
			return nil, "", problem.New(problem.Invalid, "The file is Parquet, not CSV; send it with format=parquet.").At("format")
		}
	case "parquet":
	default:
		return nil, "", problem.New(problem.Invalid, "Format %q is not known; use csv or parquet.", format).At("format")
	}
	var s source
	var err error
	if format == "csv" {
		s, err = openCSV(f, size, l)
	} else {
		s, err = openParquet(f, size, l)
	}
	if err != nil {
		return nil, "", err
	}
	return s, format, nil
}

// checkNames refuses columns that cannot be told apart.
func checkNames(fields []Field, l Limits) error {
	if len(fields) == 0 {
		return problem.New(problem.Invalid, "The file has no column.")
	}
	if len(fields) > l.Columns {
		return problem.New(problem.TooLarge, "The file has %d columns; the limit is %d.", len(fields), l.Columns)
	}
	seen := make(map[string]int, len(fields))
	for i, f := range fields {
		if strings.TrimSpace(f.Name) == "" {
			return problem.New(problem.Invalid, "Column %d has no name in the header.", i+1)
		}
		if len(f.Name) > 1000 {
			return problem.New(problem.Invalid, "The name of column %d is longer than 1000 bytes.", i+1)
		}
		if first, ok := seen[f.Name]; ok {
			return problem.New(problem.Invalid, "Columns %d and %d are both named %q; rename one of them.", first+1, i+1, f.Name).At(f.Name)
		}
		seen[f.Name] = i
	}
	return nil
}
