package dataset

import (
	"bufio"
	"context"
	"io"
	"strings"
	"unicode/utf8"

	"keelson/internal/problem"
)

// csvFile is a comma-separated file: RFC 4180 with one header line, LF or CRLF, an optional UTF-8 byte
// order mark. Blank lines are skipped; an empty cell, quoted or not, and NaN are missing.
type csvFile struct {
	f      io.ReaderAt
	size   int64
	limits Limits
	head   []Field
}

func openCSV(f io.ReaderAt, size int64, l Limits) (*csvFile, error) {
	c := &csvFile{f: f, size: size, limits: l}
	p := c.parser()
	names, err := p.record()
	if err == io.EOF {
		return nil, problem.New(problem.Invalid, "The file holds only blank lines; it needs a header line with the names of the columns.")
	}
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		c.head = append(c.head, Field{Name: string(n)})
	}
	return c, checkNames(c.head, l)
}

func (c *csvFile) fields() []Field { return c.head }

func (c *csvFile) parser() *csvParser {
	r := bufio.NewReaderSize(io.NewSectionReader(c.f, 0, c.size), 64<<10)
	if bom, _ := r.Peek(3); string(bom) == "\xef\xbb\xbf" {
		_, _ = r.Discard(3) // Peek has it in the buffer
	}
	return &csvParser{r: r, limits: c.limits, line: 1}
}

func (c *csvFile) scan(ctx context.Context, want []bool, each func(int, int64, *cell) error) (int64, error) {
	p := c.parser()
	if _, err := p.record(); err != nil {
		return 0, err
	}
	rows := int64(0)
	var one cell
	for {
		record, err := p.record()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return 0, err
		}
		if rows++; rows > c.limits.Rows {
			return 0, problem.New(problem.TooLarge, "The file has more than %d rows, the limit.", c.limits.Rows)
		}
		if rows%1024 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if len(record) != len(c.head) {
			return 0, problem.New(problem.Invalid, "Line %d (row %d) has %d cells, the header names %d columns.", p.start, rows, len(record), len(c.head))
		}
		for i, s := range record {
			if want != nil && !want[i] {
				continue
			}
			one = cell{kind: text, s: s}
			if len(s) == 0 || len(s) == 3 && (string(s) == "NaN" || string(s) == "nan") {
				one = cell{}
			}
			if err := each(i, rows, &one); err != nil {
				return 0, err
			}
		}
	}
}

// csvParser cuts a stream into records with bounded memory.
type csvParser struct {
	r      *bufio.Reader
	limits Limits
	line   int // of the next byte, from 1
	start  int // line on which the last record began
	buf    []byte
	ends   []int // end of each cell in buf
	cells  [][]byte
}

// record returns the cells of the next record that is not blank; they hold until the next call. At the end
// of the file it returns io.EOF.
func (p *csvParser) record() ([][]byte, error) {
	for {
		p.buf, p.ends, p.start = p.buf[:0], p.ends[:0], p.line
		more, err := true, error(nil)
		quotedAny := false
		for more && err == nil {
			var quoted bool
			quoted, more, err = p.cell()
			quotedAny = quotedAny || quoted
		}
		if err == io.EOF && len(p.ends) == 0 {
			return nil, io.EOF
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if len(p.ends) == 1 && p.ends[0] == 0 && !quotedAny {
			if err == io.EOF {
				return nil, io.EOF
			}
			continue // a blank line
		}
		p.cells = p.cells[:0]
		from := 0
		for i, to := range p.ends {
			s := p.buf[from:to]
			if !utf8.Valid(s) {
				return nil, p.refuse(i, "is not UTF-8 text; save the file as UTF-8")
			}
			p.cells, from = append(p.cells, s), to
		}
		return p.cells, nil
	}
}

func (p *csvParser) refuse(column int, what string) error {
	hint := ""
	if p.line != p.start {
		hint = " The record began there; it was being read up to line %d."
	}
	if hint != "" {
		return problem.New(problem.Invalid, "Line %d, column %d "+what+"."+hint, p.start, column+1, p.line)
	}
	return problem.New(problem.Invalid, "Line %d, column %d "+what+".", p.start, column+1)
}

// cell reads one cell into buf. more says that a comma ended it; at the end of the file err is io.EOF and
// the cell counts if anything stood in the record.
func (p *csvParser) cell() (quoted, more bool, err error) {
	column, from := len(p.ends), len(p.buf)
	inQuotes := false
	for first := true; ; first = false {
		b, err := p.r.ReadByte()
		if err == io.EOF {
			if inQuotes {
				return quoted, false, p.refuse(column, "opens a quote that is never closed")
			}
			if column > 0 || len(p.buf) > from || quoted {
				p.ends = append(p.ends, len(p.buf))
			}
			return quoted, false, io.EOF
		}
		if err != nil {
			return quoted, false, err
		}
		switch {
		case b == 0:
			return quoted, false, p.refuse(column, "holds a NUL byte; the file is not plain text (UTF-16 must be saved as UTF-8)")
		case inQuotes && b == '"':
			next, err := p.r.ReadByte()
			if err == nil && next == '"' {
				break // a doubled quote stands for one
			}
			if err == nil {
				_ = p.r.UnreadByte() // the byte just read
			}
			inQuotes = false
			continue
		case inQuotes:
			if b == '\n' {
				p.line++
			}
		case b == '"' && first:
			inQuotes, quoted = true, true
			continue
		case b == ',', b == '\n', b == '\r':
			if b == '\r' {
				next, err := p.r.ReadByte()
				if err == nil && next != '\n' {
					_ = p.r.UnreadByte() // the byte just read; a lone CR ends the line, too
				}
			}
			if b != ',' {
				p.line++
			}
			if column+1 > p.limits.Columns {
				return quoted, false, problem.New(problem.TooLarge, "Line %d has more than %d columns, the limit.", p.start, p.limits.Columns)
			}
			p.ends = append(p.ends, len(p.buf))
			return quoted, b == ',', nil
		case b == '"' || quoted:
			what := "has a quote in the middle; put the whole cell in quotes and double those inside"
			if quoted {
				what = "goes on after its closing quote; double the quotes inside a quoted cell"
			}
			return quoted, false, p.refuse(column, what)
		}
		if len(p.buf)-from >= p.limits.Field {
			return quoted, false, p.refuse(column, "is longer than the limit of "+strings.TrimSpace(bytesText(int64(p.limits.Field)))+" for one cell")
		}
		if len(p.buf) >= 64*p.limits.Field {
			return quoted, false, p.refuse(column, "makes the record longer than "+bytesText(64*int64(p.limits.Field)))
		}
		p.buf = append(p.buf, b)
	}
}
