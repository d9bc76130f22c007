package dataset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"keelson/internal/problem"
)

// parquetFile is a Parquet file with flat columns. Metadata is decoded by parquet-go after every length in
// it was checked; pages are decoded here, value by value, because a run length in a page of a few bytes
// may claim billions of values.
type parquetFile struct {
	f      io.ReaderAt
	limits Limits
	meta   format.FileMetaData
	head   []Field
	cols   []parquetColumn
	rows   int64
}

// parquetColumn says how the stored values of a column become cells.
type parquetColumn struct {
	physical format.Type
	length   int // of FIXED_LEN_BYTE_ARRAY
	optional bool
	unit     int64 // instants: stored units per microsecond is 1/unit, or unit microseconds each; see instant
	nanos    bool  // instants stored in nanoseconds
	scale    int   // decimals
	decimal  bool
	unsigned int // bits of an unsigned integer
	uuid     bool
	typ      Type
}

const maxFooter = 16 << 20

func openParquet(f io.ReaderAt, size int64, l Limits) (*parquetFile, error) {
	refuse := func(why string) error {
		return problem.New(problem.Invalid, "The Parquet file cannot be read: %s.", why)
	}
	if size < 12 {
		return nil, refuse("it is shorter than any Parquet file")
	}
	var head [4]byte
	var tail [8]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	if _, err := f.ReadAt(tail[:], size-8); err != nil && err != io.EOF {
		return nil, err
	}
	if string(head[:]) == "PARE" || string(tail[4:]) == "PARE" {
		return nil, refuse("it is encrypted")
	}
	if string(head[:]) != "PAR1" {
		return nil, refuse("it does not begin with PAR1")
	}
	if string(tail[4:]) != "PAR1" {
		return nil, refuse("it does not end with PAR1, so it was cut short")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if n > size-12 || n > maxFooter {
		return nil, refuse(fmt.Sprintf("its footer claims %d bytes", n))
	}
	footer := make([]byte, n) // n is within the file
	if _, err := f.ReadAt(footer, size-8-n); err != nil && err != io.EOF {
		return nil, err
	}
	if err := (&compact{b: footer, items: 1 << 20}).skip(ctStruct, 0, false); err != nil {
		return nil, refuse(err.Error())
	}
	p := &parquetFile{f: f, limits: l}
	if err := decodeFooter(footer, &p.meta); err != nil {
		return nil, refuse("its metadata does not follow the format")
	}
	if err := p.schema(); err != nil {
		return nil, err
	}
	if err := checkNames(p.head, l); err != nil {
		return nil, err
	}
	return p, p.layout(size)
}

// decodeFooter turns a panic of the decoder into an error, for input that the walk before did not foresee.
func decodeFooter(footer []byte, into *format.FileMetaData) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decoding the footer: %v", r)
		}
	}()
	return thrift.Unmarshal(new(thrift.CompactProtocol), footer, into)
}

// schema reads the flat schema and refuses what is nested or of a type we do not know, by name.
func (p *parquetFile) schema() error {
	if len(p.meta.Schema) == 0 {
		return problem.New(problem.Invalid, "The Parquet file cannot be read: it has no schema.")
	}
	for i := 1; i < len(p.meta.Schema); i++ {
		e := &p.meta.Schema[i]
		if !utf8.ValidString(e.Name) {
			return problem.New(problem.Invalid, "The name of Parquet column %d is not UTF-8 text.", i)
		}
		if e.NumChildren.Valid && e.NumChildren.V > 0 {
			return problem.New(problem.Invalid, "Column %q is nested (a list, map or structure); only flat columns can be imported. Flatten it or leave it out.", e.Name).At(e.Name)
		}
		if e.RepetitionType.Valid && e.RepetitionType.V == format.Repeated {
			return problem.New(problem.Invalid, "Column %q repeats (a list); only flat columns can be imported. Flatten it or leave it out.", e.Name).At(e.Name)
		}
		c, err := columnOf(e)
		if err != nil {
			return problem.New(problem.Invalid, "Column %q %s, which cannot be imported; convert it or leave it out.", e.Name, err).At(e.Name)
		}
		p.cols = append(p.cols, c)
		p.head = append(p.head, Field{Name: e.Name, Type: c.typ})
	}
	if root := p.meta.Schema[0].NumChildren; !root.Valid || int(root.V) != len(p.cols) {
		return problem.New(problem.Invalid, "The Parquet file cannot be read: its schema names %d columns and holds %d.", root.V, len(p.cols))
	}
	return nil
}

// columnOf maps the Parquet types to ours.
func columnOf(e *format.SchemaElement) (c parquetColumn, err error) {
	if !e.Type.Valid {
		return c, errors.New("has no type")
	}
	c.physical = e.Type.V
	c.optional = e.RepetitionType.Valid && e.RepetitionType.V == format.Optional
	converted := deprecated.ConvertedType(-1)
	if e.ConvertedType.Valid {
		converted = e.ConvertedType.V
	}
	c.decimal = converted == deprecated.Decimal
	if e.Scale.Valid {
		c.scale = int(e.Scale.V)
	}
	switch converted {
	case deprecated.Date:
		c.unit = 86_400_000_000
	case deprecated.TimestampMillis:
		c.unit = 1000
	case deprecated.TimestampMicros:
		c.unit = 1
	case deprecated.Uint8, deprecated.Uint16, deprecated.Uint32, deprecated.Uint64:
		c.unsigned = 8 << (converted - deprecated.Uint8)
	case deprecated.TimeMillis, deprecated.TimeMicros:
		return c, errors.New("holds a time of day")
	case deprecated.Interval:
		return c, errors.New("holds an interval")
	}
	switch t := e.LogicalType.Value.(type) {
	case *format.TimestampType:
		switch t.Unit.Value.(type) {
		case *format.MilliSeconds:
			c.unit = 1000
		case *format.MicroSeconds:
			c.unit = 1
		case *format.NanoSeconds:
			c.unit, c.nanos = 1, true
		default:
			return c, errors.New("holds instants of an unknown unit")
		}
	case *format.DateType:
		c.unit = 86_400_000_000
	case *format.DecimalType:
		c.decimal, c.scale = true, int(t.Scale)
	case *format.IntType:
		if !t.IsSigned {
			c.unsigned = int(t.BitWidth)
		}
	case *format.UUIDType:
		c.uuid = true
	case *format.TimeType:
		return c, errors.New("holds a time of day")
	case *format.Float16Type:
		return c, errors.New("holds 16-bit floats")
	}
	if c.scale < 0 || c.scale > 300 {
		return c, errors.New("has a decimal scale out of range")
	}
	switch c.physical {
	case format.Boolean:
		c.typ = Bool
	case format.Int32, format.Int64:
		switch {
		case c.unit > 0:
			c.typ = Time
		case c.decimal:
			c.typ = Float
		default:
			c.typ = Int
		}
	case format.Int96:
		c.typ = Time
	case format.Float, format.Double:
		c.typ = Float
	case format.ByteArray, format.FixedLenByteArray:
		c.typ = String
		if c.decimal {
			c.typ = Float
		}
		if c.physical == format.FixedLenByteArray {
			if !e.TypeLength.Valid || e.TypeLength.V <= 0 || e.TypeLength.V > 1<<20 {
				return c, errors.New("has a length out of range")
			}
			c.length = int(e.TypeLength.V)
		}
		c.uuid = c.uuid && c.length == 16
	default:
		return c, errors.New("has an unknown type")
	}
	return c, nil
}

// layout checks that every column chunk lies within the file and counts the rows.
func (p *parquetFile) layout(size int64) error {
	for g := range p.meta.RowGroups {
		group := &p.meta.RowGroups[g]
		if len(group.Columns) != len(p.cols) {
			return problem.New(problem.Invalid, "The Parquet file cannot be read: row group %d has %d columns, the schema %d.", g+1, len(group.Columns), len(p.cols))
		}
		if group.NumRows < 0 || group.NumRows > p.limits.Rows || p.rows+group.NumRows > p.limits.Rows {
			return problem.New(problem.TooLarge, "The Parquet file claims more than %d rows, the limit.", p.limits.Rows)
		}
		p.rows += group.NumRows
		for i := range group.Columns {
			m := &group.Columns[i].MetaData
			from, length := chunkOf(m)
			if from < 4 || length < 0 || from > size || length > size-from {
				return problem.New(problem.Invalid, "The Parquet file cannot be read: column %q of row group %d lies outside the file.", p.head[i].Name, g+1).At(p.head[i].Name)
			}
			if m.Type != p.cols[i].physical {
				return problem.New(problem.Invalid, "The Parquet file cannot be read: column %q has one type in the schema and another in row group %d.", p.head[i].Name, g+1).At(p.head[i].Name)
			}
		}
	}
	// Runs make claims cheap: a file of a few bytes can say a hundred million rows of one value (a column of one value takes a few bytes per thousand rows). What such
	// a claim may cost is tied to the size of the file.
	if cells := p.rows * int64(len(p.cols)); cells > 4_000_000+1024*size {
		return problem.New(problem.TooLarge, "The Parquet file of %d bytes claims %d rows of %d columns, which is not believable.", size, p.rows, len(p.cols))
	}
	return nil
}

func chunkOf(m *format.ColumnMetaData) (from, length int64) {
	from = m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < from {
		from = d
	}
	return from, m.TotalCompressedSize
}

func (p *parquetFile) fields() []Field { return p.head }

func (p *parquetFile) scan(ctx context.Context, want []bool, each func(int, int64, *cell) error) (int64, error) {
	return p.scanWith(ctx, want, each, nil, nil)
}

// scanWith is scan where columns of doubles may go to bulk instead, many values at a time, and texts of a dictionary to tally
// instead, each once with the number of its cells, nil for missing ones. Both may be nil; tally may decline a column.
func (p *parquetFile) scanWith(ctx context.Context, want []bool, each func(int, int64, *cell) error, bulk func(int, []float64) error, tally func(int) func([]byte, int64) error) (int64, error) {
	shared := newBuffers()
	for i := range p.cols {
		if want != nil && !want[i] {
			continue
		}
		row := int64(0)
		for g := range p.meta.RowGroups {
			group := &p.meta.RowGroups[g]
			end := row + group.NumRows
			c := chunk{col: &p.cols[i], codec: group.Columns[i].MetaData.Codec, limits: p.limits, buffers: shared}
			if bulk != nil && c.doublesOnly(group.Columns[i].MetaData.Encoding) {
				c.bulk = func(values []float64) error {
					row += int64(len(values))
					return bulk(i, values)
				}
			}
			if tally != nil {
				if take := tally(i); take != nil {
					c.tally = func(word []byte, n int64) error {
						row += n
						return take(word, n)
					}
				}
			}
			from, length := chunkOf(&group.Columns[i].MetaData)
			err := c.read(ctx, io.NewSectionReader(p.f, from, length), group.NumRows, func(v *cell) error {
				row++
				return each(i, row, v)
			})
			var broken pageError
			if errors.As(err, &broken) {
				return 0, problem.New(problem.Invalid, "Column %q of the Parquet file cannot be read in row group %d, after row %d: %s.", p.head[i].Name, g+1, row, broken).At(p.head[i].Name)
			}
			if err != nil {
				return 0, err
			}
			if row != end {
				return 0, problem.New(problem.Invalid, "Column %q of the Parquet file ends at row %d, row group %d should reach row %d.", p.head[i].Name, row, g+1, end).At(p.head[i].Name)
			}
		}
	}
	return p.rows, nil
}

// convert turns a stored value into a cell in place.
func (c *parquetColumn) convert(v *cell) error {
	switch v.kind {
	case integer:
		switch {
		case c.nanos:
			v.kind, v.i = instant, floorDiv(v.i, 1000)
		case c.unit > 0:
			if v.i > math.MaxInt64/c.unit || v.i < math.MinInt64/c.unit {
				return pageError("an instant is out of range")
			}
			v.kind, v.i = instant, v.i*c.unit
		case c.decimal:
			v.kind, v.f = number, float64(v.i)/math.Pow10(c.scale)
		case c.unsigned == 64 && v.i < 0:
			v.kind, v.f = number, float64(uint64(v.i))
		case c.unsigned == 32:
			v.i = int64(uint32(v.i))
		}
	case number:
		if math.IsNaN(v.f) {
			*v = cell{}
		}
	case words:
		switch {
		case c.decimal:
			if len(v.s) > 64 {
				return pageError("a decimal is longer than 64 bytes")
			}
			n := new(big.Int).SetBytes(v.s)
			if len(v.s) > 0 && v.s[0] >= 0x80 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v.s))))
			}
			f, _ := new(big.Float).SetInt(n).Float64()
			v.kind, v.f = number, f/math.Pow10(c.scale)
		case c.uuid && len(v.s) == 16:
			v.s = fmt.Appendf(nil, "%x-%x-%x-%x-%x", v.s[:4], v.s[4:6], v.s[6:8], v.s[8:10], v.s[10:])
		case !utf8.Valid(v.s):
			return pageError("a value is not UTF-8 text")
		}
	}
	return nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
