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

// ScanFile reads a Parquet or CSV file cell by cell in bounded memory, in an order that keeps the rows of one column ascending
// (of Parquet, column after column). Columns are of the given types (nil: those the file states; CSV states none, its cells
// are words). begin hears of the fields first and may refuse them. It returns the number of rows.
func ScanFile(ctx context.Context, at io.ReaderAt, size int64, format string, schema []Field, l Limits, begin func([]Field) error, each Visit) (int64, error) {
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
	none := math.NaN()
	cells := func(column int, row int64, c *cell) error {
		switch {
		case c.kind == missing:
			return each(column, none, nil)
		case c.kind == number:
			return each(column, c.f, nil)
		case schema[column].Type == String || schema[column].Type == "":
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
		return src.scan(ctx, nil, cells)
	}
	return p.scanWith(ctx, nil, cells, func(column int, values []float64) error {
		for _, v := range values {
			if err := each(column, v, nil); err != nil {
				return err
			}
		}
		return nil
	})
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
