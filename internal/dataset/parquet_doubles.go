package dataset

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/parquet-go/parquet-go/format"
)

// doublesOnly reports whether a chunk holds doubles in encodings that are read many at a time.
func (c *chunk) doublesOnly(encodings []format.Encoding) bool {
	if c.col.physical != format.Double || c.col.decimal {
		return false
	}
	for _, e := range encodings {
		switch e {
		case format.Plain, format.PlainDictionary, format.RLEDictionary, format.RLE, format.BitPacked: // the last two are of levels
		default:
			return false
		}
	}
	return true
}

// doubleDictionary reads the dictionary of a column of doubles.
func (c *chunk) doubleDictionary(h pageHeader, raw []byte) error {
	data, err := c.decompress(raw, h.uncompressed)
	if err != nil {
		return err
	}
	if h.values < 0 || h.values > int64(len(data)/8) {
		return cutShort
	}
	c.doubles = make([]float64, h.values) // within the bytes of the page
	for i := range c.doubles {
		c.doubles[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return nil
}

// doublesOf hands the values of a data page to bulk.
func (c *chunk) doublesOf(ctx context.Context, h pageHeader, present func() (uint32, error), body []byte) error {
	const most = 4096
	if c.batch == nil {
		c.batch = make([]float64, 0, most)
	}
	var index *hybrid
	switch format.Encoding(h.encoding) {
	case format.Plain:
	case format.PlainDictionary, format.RLEDictionary:
		index = &hybrid{}
		if len(body) > 0 {
			if body[0] > 32 {
				return pageError("its indexes are wider than 32 bits")
			}
			index.width, index.b = uint(body[0]), body[1:]
		}
	default:
		return pageError("its encoding " + format.Encoding(h.encoding).String() + " is not among those its column declares")
	}
	empty := index != nil && len(body) == 0
	for left := h.values; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(left, most)
		left -= n
		c.batch = c.batch[:0]
		for range n {
			if c.col.optional {
				is, err := present()
				if err != nil {
					return err
				}
				if is == 0 {
					c.batch = append(c.batch, math.NaN())
					continue
				}
			}
			if index == nil {
				if len(body) < 8 {
					return cutShort
				}
				c.batch = append(c.batch, math.Float64frombits(binary.LittleEndian.Uint64(body)))
				body = body[8:]
				continue
			}
			if empty {
				return cutShort
			}
			k, err := index.next()
			if err != nil {
				return err
			}
			if uint64(k) >= uint64(len(c.doubles)) {
				return pageError("an index points outside the dictionary")
			}
			c.batch = append(c.batch, c.doubles[k])
		}
		if err := c.bulk(c.batch); err != nil {
			return err
		}
	}
	return nil
}
