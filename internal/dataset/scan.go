package dataset

import (
	"context"
	"fmt"
	"io"
	"math"
)

// Visit takes one cell of a scan: a number, or a word, which holds during the call only. A missing cell has neither: word is
// nil and number NaN.
type Visit func(column int, number float64, word []byte) error

// Sink takes the cells of a scan. Numbers and Words may be nil; what they do not take goes to Cell.
type Sink struct {
	Cell Visit
	// Numbers takes cells of one column many at a time, NaN for missing ones; the slice holds during the call only.
	Numbers func(column int, values []float64) error
	// Words takes how many further cells of a column hold a word, nil for missing ones; the word holds during the call only.
	Words func(column int, word []byte, count int64) error
	// Want says which columns are read; nil is all. Of Parquet the others are not even looked at.
	Want []bool
}

// ScanFile reads a Parquet or CSV file cell by cell in bounded memory, in an order that keeps the rows of one column ascending
// (of Parquet, column after column). Columns are of the given types (nil: those the file states; CSV states none, its cells
// are words). begin hears of the fields first and may refuse them. It returns the number of rows.
func ScanFile(ctx context.Context, at io.ReaderAt, size int64, format string, schema []Field, l Limits, begin func([]Field) error, each Visit) (int64, error) {
	return ScanColumns(ctx, at, size, format, schema, l, begin, Sink{Cell: each})
}

// ScanColumns is ScanFile for those who take a column as it is stored: doubles many at a time, and words that are in a
// dictionary with the number of their cells, for which no cell is made; the rows of such a column come in no order.
func ScanColumns(ctx context.Context, at io.ReaderAt, size int64, format string, schema []Field, l Limits, begin func([]Field) error, sink Sink) (int64, error) {
	src, _, err := open(at, size, format, l.filled())
	if err != nil {
		return 0, err
	}
	fields := src.fields()
	if schema == nil {
		schema = fields
	}
	if len(fields) != len(schema) {
		return 0, fmt.Errorf("the file has %d columns, its schema %d", len(fields), len(schema))
	}
	if err := begin(schema); err != nil {
		return 0, err
	}
	var buf []byte
	none, each := math.NaN(), sink.Cell
	isText := func(column int) bool { return schema[column].Type == String || schema[column].Type == "" }
	cells := func(column int, row int64, c *cell) error {
		switch {
		case c.kind == missing:
			return each(column, none, nil)
		case c.kind == number:
			return each(column, c.f, nil)
		case isText(column):
			if c.kind == words || c.kind == text {
				return each(column, none, c.s)
			}
			buf = c.appendText(buf[:0])
			return each(column, none, buf)
		}
		v, err := c.numberAs(schema[column].Type)
		if err != nil {
			return fmt.Errorf("row %d of column %q: %w", row, schema[column].Name, err)
		}
		return each(column, v, nil)
	}
	p, ok := src.(*parquetFile)
	if !ok {
		return src.scan(ctx, sink.Want, cells)
	}
	bulk := sink.Numbers
	if bulk == nil {
		bulk = func(column int, values []float64) error {
			for _, v := range values {
				if err := each(column, v, nil); err != nil {
					return err
				}
			}
			return nil
		}
	}
	var tally func(int) func([]byte, int64) error
	if sink.Words != nil {
		tally = func(column int) func([]byte, int64) error {
			if !isText(column) {
				return nil
			}
			return func(word []byte, n int64) error { return sink.Words(column, word, n) }
		}
	}
	return p.scanWith(ctx, sink.Want, cells, bulk, tally)
}

// Scan reads a version (0: the latest) cell by cell in bounded memory, as ScanFile does.
func (s *Service) Scan(ctx context.Context, name string, n int, begin func([]Field) error, each Visit) (int64, error) {
	r, v, err := s.Content(ctx, name, n)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	at, ok := r.(io.ReaderAt)
	if !ok { // an object store has no random access; a copy on disk has
		f, _, _, err := s.spool(r)
		if err != nil {
			return 0, err
		}
		defer discard(f)
		at = f
	}
	rows, err := ScanFile(ctx, at, v.Size, v.Format, v.Schema, s.Limits, begin, each)
	if err != nil {
		return 0, fmt.Errorf("read %s/%d: %w", v.Dataset, v.Version, err)
	}
	return rows, nil
}
