package dataset

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// pageError says what is wrong with a page, as the end of a sentence.
type pageError string

func (e pageError) Error() string { return string(e) }

const (
	cutShort = pageError("its data is cut short")
	// maxPage bounds a page before and after decompression. Writers aim at 1 MiB; dictionaries and very
	// long strings make larger ones.
	maxPage = 64 << 20
	// maxDictionary bounds the values of a dictionary: each takes a cell, many times what its bytes may take. Writers
	// stop at a dictionary of 1 to 2 MiB.
	maxDictionary = 1 << 21
)

// chunk reads the pages of one column in one row group.
type chunk struct {
	col    *parquetColumn
	codec  format.CompressionCodec
	limits Limits
	dict   []cell
	zstd   *zstd.Decoder
	// bulk takes the values of a column of doubles many at a time, NaN for missing ones, instead of each; the slice holds
	// during the call only.
	bulk    func([]float64) error
	doubles []float64 // the dictionary of such a column
	// tally takes how many cells hold a text, nil for missing ones, instead of each, of pages whose texts are in a dictionary.
	tally   func([]byte, int64) error
	counts  []int64 // by place in the dictionary
	none    int64   // missing
	buffers *buffers
}

// buffers serve one chunk after the other.
type buffers struct {
	raw, page    []byte
	doubles      []float64
	codes, flags []uint32
}

func newBuffers() *buffers {
	return &buffers{doubles: make([]float64, mostBatch), codes: make([]uint32, mostBatch), flags: make([]uint32, mostBatch)}
}

// pageHeader is what is needed of a Parquet PageHeader.
type pageHeader struct {
	typ, uncompressed, compressed int64
	values, encoding              int64
	defBytes, repBytes            int64
	isCompressed                  bool
}

// read calls each for every value of the chunk, missing ones included, up to rows of them.
func (c *chunk) read(ctx context.Context, r *io.SectionReader, rows int64, each func(*cell) error) error {
	br := bufio.NewReaderSize(r, 32<<10)
	defer func() {
		if c.zstd != nil {
			c.zstd.Close()
		}
	}()
	for done := int64(0); done < rows; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := readHeader(br)
		if err != nil {
			return err
		}
		if h.compressed < 0 || h.uncompressed < 0 || h.compressed > maxPage || h.uncompressed > maxPage {
			return pageError(fmt.Sprintf("a page claims %d bytes (%d uncompressed)", h.compressed, h.uncompressed))
		}
		if h.compressed > r.Size() {
			return cutShort
		}
		if int64(cap(c.buffers.raw)) < h.compressed {
			c.buffers.raw = make([]byte, h.compressed) // within the file, see above
		}
		raw := c.buffers.raw[:h.compressed]
		if _, err := io.ReadFull(br, raw); err != nil {
			return noEOF(err)
		}
		switch format.PageType(h.typ) {
		case format.DictionaryPage:
			if h.values < 0 || h.values > min(rows, maxDictionary) || c.col.physical == format.Boolean {
				return pageError(fmt.Sprintf("a dictionary claims %d values for %d rows of %s", h.values, rows, c.col.physical))
			}
			if c.bulk != nil {
				err = c.doubleDictionary(h, raw)
			} else {
				if err := c.told(); err != nil {
					return err
				}
				c.dict, err = c.dictionary(h, raw)
			}
			if err != nil {
				return err
			}
			if c.tally != nil && !c.wordsOnly() {
				c.tally = nil
			}
		case format.DataPage, format.DataPageV2:
			if h.values < 0 || h.values > rows-done {
				return pageError(fmt.Sprintf("a page claims %d values where %d are left", h.values, rows-done))
			}
			if err := c.data(ctx, h, raw, each); err != nil {
				return err
			}
			done += h.values
		}
	}
	return c.told()
}

func noEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return cutShort
	}
	return err
}

// readHeader reads one page header, which is a few dozen bytes unless it carries statistics.
func readHeader(br *bufio.Reader) (h pageHeader, err error) {
	b, err := br.Peek(16 << 10)
	if len(b) == 0 {
		return h, noEOF(err)
	}
	t := &compact{b: b, items: 1000}
	h.isCompressed = true
	err = t.structure(0, func(id int16, typ byte) (bool, error) {
		switch {
		case id <= 3 && typ == ctI32:
			v, err := t.varint()
			*[]*int64{nil, &h.typ, &h.uncompressed, &h.compressed}[max(id, 1)] = v
			return true, err
		case (id == 5 || id == 7 || id == 8) && typ == ctStruct:
			return true, t.structure(1, func(sub int16, typ byte) (bool, error) {
				var into *int64
				switch {
				case sub == 1:
					into = &h.values
				case id != 8 && sub == 2, id == 8 && sub == 4:
					into = &h.encoding
				case id == 8 && sub == 5:
					into = &h.defBytes
				case id == 8 && sub == 6:
					into = &h.repBytes
				case id == 8 && sub == 7 && typ == ctFalse:
					h.isCompressed = false
				}
				if into == nil || typ != ctI32 {
					return false, nil
				}
				v, err := t.varint()
				*into = v
				return true, err
			})
		}
		return false, nil
	})
	if err != nil {
		return h, pageError("the header of a page is cut short or corrupt")
	}
	_, err = br.Discard(len(b) - len(t.b))
	return h, err
}

// decompress returns the page's bytes, in into where that is large enough; its result is at most maxPage long.
func (c *chunk) decompress(raw, into []byte, size int64) ([]byte, error) {
	var out []byte
	var err error
	switch c.codec {
	case format.Uncompressed:
		return raw, nil
	case format.Snappy:
		n, e := snappy.DecodedLen(raw)
		// A copy element of 3 bytes makes at most 64, so more than 64 times the input is a lie.
		if e != nil || n > maxPage || n > 64*len(raw)+64 {
			return nil, pageError("a page claims more than its compression can hold")
		}
		out, err = snappy.Decode(into, raw)
	case format.Gzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(raw)); err == nil {
			out, err = limited(z)
		}
	case format.Brotli:
		out, err = limited(brotli.NewReader(bytes.NewReader(raw)))
	case format.Zstd:
		if c.zstd == nil {
			c.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPage), zstd.WithDecoderMaxWindow(maxPage))
		}
		if err == nil {
			if err = c.zstd.Reset(bytes.NewReader(raw)); err == nil {
				out, err = limited(c.zstd)
			}
		}
	case format.Lz4Raw:
		if size > 256*int64(len(raw))+64 {
			return nil, pageError("a page claims more than its compression can hold")
		}
		out = make([]byte, size)
		var n int
		if n, err = lz4.UncompressBlock(raw, out); err == nil {
			out = out[:n]
		}
	default:
		return nil, pageError("its compression " + c.codec.String() + " is not supported; write it with snappy or zstd")
	}
	var p pageError
	if err != nil && !errors.As(err, &p) {
		return nil, pageError("a page cannot be decompressed")
	}
	if err == nil && int64(len(out)) != size {
		return nil, pageError(fmt.Sprintf("a page claims %d bytes and holds %d", size, len(out)))
	}
	return out, err
}

// page decompresses a data page, which lasts until the next one.
func (c *chunk) page(raw []byte, size int64) ([]byte, error) {
	out, err := c.decompress(raw, c.buffers.page[:cap(c.buffers.page)], size)
	if err == nil && c.codec == format.Snappy {
		c.buffers.page = out
	}
	return out, err
}

func limited(r io.Reader) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, maxPage+1))
	if err == nil && len(out) > maxPage {
		err = pageError("a page decompresses to more than 64 MiB")
	}
	return out, err
}

func (c *chunk) dictionary(h pageHeader, raw []byte) ([]cell, error) {
	data, err := c.decompress(raw, nil, h.uncompressed)
	if err != nil {
		return nil, err
	}
	next, err := c.plain(data)
	if err != nil {
		return nil, err
	}
	var dict []cell
	for n := int64(0); n < h.values; n++ { // a lie ends the loop with the data
		var v cell
		if err := next(&v); err != nil {
			return nil, err
		}
		if c.codec == format.Uncompressed {
			v.s = bytes.Clone(v.s) // raw is used again for the next page
		}
		if err := c.check(&v); err != nil {
			return nil, err
		}
		dict = append(dict, v)
	}
	return dict, nil
}

// check turns a stored value into a cell and holds it against the limit of a field.
func (c *chunk) check(v *cell) error {
	if len(v.s) > c.limits.Field {
		return pageError(fmt.Sprintf("a value is %d bytes long, the limit is %d", len(v.s), c.limits.Field))
	}
	return c.col.convert(v)
}

// data calls each for the values of a data page.
func (c *chunk) data(ctx context.Context, h pageHeader, raw []byte, each func(*cell) error) (err error) {
	var levels, body []byte
	if format.PageType(h.typ) == format.DataPage {
		if body, err = c.page(raw, h.uncompressed); err != nil {
			return err
		}
		if c.col.optional {
			if levels, body, err = prefixed(body); err != nil {
				return err
			}
		}
	} else {
		n := int64(len(raw))
		if h.defBytes < 0 || h.repBytes != 0 || h.defBytes > n || h.defBytes > h.uncompressed {
			return pageError("the levels of a page do not fit into it")
		}
		levels, body = raw[:h.defBytes], raw[h.defBytes:]
		if h.isCompressed {
			if body, err = c.page(body, h.uncompressed-h.defBytes); err != nil {
				return err
			}
		}
	}
	var defined *hybrid
	if c.col.optional {
		if defined = (&hybrid{b: levels, width: 1}); defined.only(1, h.values) {
			defined = nil
		}
	}
	if c.bulk != nil {
		return c.doublesOf(ctx, h, defined, body)
	}
	indexed := c.dict != nil && (format.Encoding(h.encoding) == format.RLEDictionary || format.Encoding(h.encoding) == format.PlainDictionary)
	if indexed && c.tally != nil {
		return c.tallyOf(ctx, h, defined, body)
	}
	present := func() (uint32, error) { return 1, nil }
	if defined != nil {
		present = defined.next
	}
	next, err := c.values(format.Encoding(h.encoding), body)
	if err != nil {
		return err
	}
	var v cell
	for n := int64(0); n < h.values; n++ {
		if n%65536 == 65535 && ctx.Err() != nil {
			return ctx.Err()
		}
		is, err := present()
		if err != nil {
			return err
		}
		v = cell{}
		if is != 0 {
			if err := next(&v); err != nil {
				return err
			}
			if !indexed { // the dictionary was converted once
				if err := c.check(&v); err != nil {
					return err
				}
			}
		}
		if err := each(&v); err != nil {
			return err
		}
	}
	return nil
}

// prefixed splits off a block that begins with its length.
func prefixed(b []byte) (block, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, cutShort
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return nil, nil, cutShort
	}
	return b[4 : 4+n], b[4+n:], nil
}

// values returns a reader of the values in body, which holds those that are not missing.
func (c *chunk) values(e format.Encoding, body []byte) (func(*cell) error, error) {
	unsupported := pageError("its encoding " + e.String() + " does not fit its type")
	switch e {
	case format.Plain:
		return c.plain(body)
	case format.PlainDictionary, format.RLEDictionary:
		if len(body) == 0 { // every value is missing
			return func(*cell) error { return cutShort }, nil
		}
		if body[0] > 32 {
			return nil, pageError("its indexes are wider than 32 bits")
		}
		h := &hybrid{b: body[1:], width: uint(body[0])}
		return func(v *cell) error {
			i, err := h.next()
			if err != nil {
				return err
			}
			if uint64(i) >= uint64(len(c.dict)) {
				return pageError("an index points outside the dictionary")
			}
			*v = c.dict[i]
			return nil
		}, nil
	case format.RLE:
		if c.col.physical != format.Boolean {
			return nil, unsupported
		}
		block, _, err := prefixed(body)
		if err != nil {
			return nil, err
		}
		h := &hybrid{b: block, width: 1}
		return func(v *cell) error {
			i, err := h.next()
			v.kind, v.i = boolean, int64(i)
			return err
		}, nil
	case format.DeltaBinaryPacked:
		if c.col.physical != format.Int32 && c.col.physical != format.Int64 {
			return nil, unsupported
		}
		d := &delta{b: body, narrow: c.col.physical == format.Int32}
		return func(v *cell) (err error) {
			v.kind = integer
			v.i, err = d.next()
			return err
		}, nil
	case format.DeltaLengthByteArray, format.DeltaByteArray:
		if c.col.physical != format.ByteArray && c.col.physical != format.FixedLenByteArray {
			return nil, unsupported
		}
		return deltaStrings(body, e == format.DeltaByteArray, c.limits.Field)
	case format.ByteStreamSplit:
		return c.split(body, unsupported)
	}
	return nil, unsupported
}

// plain reads values stored one after the other.
func (c *chunk) plain(b []byte) (func(*cell) error, error) {
	width := map[format.Type]int{format.Int32: 4, format.Float: 4, format.Int64: 8, format.Double: 8, format.Int96: 12, format.FixedLenByteArray: c.col.length}[c.col.physical]
	bit := 0
	return func(v *cell) error {
		n := width
		switch c.col.physical {
		case format.Boolean:
			if bit/8 >= len(b) {
				return cutShort
			}
			v.kind, v.i = boolean, int64(b[bit/8]>>(bit%8)&1)
			bit++
			return nil
		case format.ByteArray:
			s, rest, err := prefixed(b)
			if err != nil {
				return err
			}
			v.kind, v.s, b = words, s, rest
			return nil
		}
		if len(b) < n {
			return cutShort
		}
		c.fixed(b[:n], v)
		b = b[n:]
		return nil
	}, nil
}

// fixed reads a value of fixed width.
func (c *chunk) fixed(b []byte, v *cell) {
	switch c.col.physical {
	case format.Int32:
		v.kind, v.i = integer, int64(int32(binary.LittleEndian.Uint32(b)))
	case format.Int64:
		v.kind, v.i = integer, int64(binary.LittleEndian.Uint64(b))
	case format.Float:
		v.kind, v.f = number, float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case format.Double:
		v.kind, v.f = number, math.Float64frombits(binary.LittleEndian.Uint64(b))
	case format.Int96: // nanoseconds of the day and the Julian day
		day := int64(binary.LittleEndian.Uint32(b[8:])) - 2_440_588
		v.kind, v.i = instant, day*86_400_000_000+int64(binary.LittleEndian.Uint64(b))/1000
	default:
		v.kind, v.s = words, b
	}
}

// split reads values whose first bytes stand together, then their second bytes, and so on.
func (c *chunk) split(b []byte, unsupported error) (func(*cell) error, error) {
	width := map[format.Type]int{format.Int32: 4, format.Float: 4, format.Int64: 8, format.Double: 8, format.FixedLenByteArray: c.col.length}[c.col.physical]
	if width == 0 || len(b)%width != 0 {
		return nil, unsupported
	}
	n, i := len(b)/width, 0
	one := make([]byte, width) // a type's width, checked with the schema
	return func(v *cell) error {
		if i >= n {
			return cutShort
		}
		for k := range one {
			one[k] = b[k*n+i]
		}
		i++
		c.fixed(one, v)
		return nil
	}, nil
}
