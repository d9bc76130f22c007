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
	data, err := c.page(raw, h.uncompressed)
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

// index reads the codes of a data page that has values in it.
func (c *chunk) index(body []byte) (*hybrid, error) {
	if body[0] > 32 {
		return nil, pageError("its indexes are wider than 32 bits")
	}
	return &hybrid{width: uint(body[0]), b: body[1:]}, nil
}

// mostBatch is how many values are read at a time.
const mostBatch = 4096

// doublesOf hands the values of a data page to bulk. present holds which of them are not missing, nil when none is.
func (c *chunk) doublesOf(ctx context.Context, h pageHeader, present *hybrid, body []byte) (err error) {
	b := c.buffers
	var index *hybrid
	switch format.Encoding(h.encoding) {
	case format.Plain:
	case format.PlainDictionary, format.RLEDictionary:
		if index = (&hybrid{}); len(body) > 0 {
			if index, err = c.index(body); err != nil {
				return err
			}
		}
	default:
		return pageError("its encoding " + format.Encoding(h.encoding).String() + " is not among those its column declares")
	}
	empty := index != nil && len(body) == 0
	for left := h.values; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(left, mostBatch)
		left -= n
		flags := b.flags[:0]
		has := n
		if present != nil {
			flags = b.flags[:n]
			if err := present.fill(flags); err != nil {
				return err
			}
			has = 0
			for _, is := range flags {
				if is != 0 {
					has++
				}
			}
		}
		values := b.doubles[:has]
		switch {
		case has == 0:
		case empty:
			return cutShort
		case index == nil:
			if int64(len(body)) < 8*has {
				return cutShort
			}
			for i := range values {
				values[i] = math.Float64frombits(binary.LittleEndian.Uint64(body[8*i:]))
			}
			body = body[8*has:]
		default:
			codes := b.codes[:has]
			if err := index.fill(codes); err != nil {
				return err
			}
			for i, k := range codes {
				if uint64(k) >= uint64(len(c.doubles)) {
					return pageError("an index points outside the dictionary")
				}
				values[i] = c.doubles[k]
			}
		}
		if has < n { // missing ones in between, from the back
			values = b.doubles[:n]
			for i, from := n-1, has-1; i >= 0; i-- {
				if flags[i] == 0 {
					values[i] = math.NaN()
					continue
				}
				values[i] = values[from]
				from--
			}
		}
		if err := c.bulk(values); err != nil {
			return err
		}
	}
	return nil
}

// tallyOf counts how often each entry of the dictionary stands in a data page.
func (c *chunk) tallyOf(ctx context.Context, h pageHeader, present *hybrid, body []byte) error {
	has := h.values
	if present != nil {
		has = 0
		for left := h.values; left > 0; {
			flags := c.buffers.flags[:min(left, mostBatch)]
			if err := present.fill(flags); err != nil {
				return err
			}
			for _, is := range flags {
				if is != 0 {
					has++
				}
			}
			left -= int64(len(flags))
		}
	}
	c.none += h.values - has
	if has == 0 {
		return nil
	}
	if len(body) == 0 {
		return cutShort
	}
	index, err := c.index(body)
	if err != nil {
		return err
	}
	if len(c.counts) != len(c.dict) {
		c.counts = make([]int64, len(c.dict))
	}
	for has > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		codes := c.buffers.codes[:min(has, mostBatch)]
		if err := index.fill(codes); err != nil {
			return err
		}
		for _, k := range codes {
			if uint64(k) >= uint64(len(c.counts)) {
				return pageError("an index points outside the dictionary")
			}
			c.counts[k]++
		}
		has -= int64(len(codes))
	}
	return nil
}

// told hands over what was counted, before another dictionary is read and at the end.
func (c *chunk) told() error {
	for k, n := range c.counts {
		if n > 0 {
			if err := c.tally(c.dict[k].s, n); err != nil {
				return err
			}
		}
	}
	none := c.none
	c.counts, c.none = nil, 0
	if none > 0 {
		return c.tally(nil, none)
	}
	return nil
}

// wordsOnly reports whether all entries of the dictionary are texts, so that they can be counted by their codes.
func (c *chunk) wordsOnly() bool {
	for i := range c.dict {
		if k := c.dict[i].kind; k != words && k != text {
			return false
		}
	}
	return true
}
