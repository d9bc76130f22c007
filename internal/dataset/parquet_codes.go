package dataset

import (
	"encoding/binary"
	"fmt"
	"math"
)

// hybrid reads the mixture of runs and bit-packed groups that Parquet uses for levels, indexes and booleans.
// It keeps no values, so the count of a run costs nothing until its values are asked for.
type hybrid struct {
	b      []byte
	width  uint // bits of a value, 0..32
	run    uint64
	value  uint32
	packed uint64 // values left in the bit-packed group
	bits   []byte
	at     uint64 // bit position in bits
}

// begin reads the head of a run or group when the last one is used up.
func (h *hybrid) begin() error {
	for h.run == 0 && h.packed == 0 {
		if h.width == 0 && len(h.b) == 0 {
			h.run, h.value = math.MaxInt64, 0 // a dictionary of one value needs no indexes
			return nil
		}
		u, n := binary.Uvarint(h.b)
		if n <= 0 {
			return cutShort
		}
		h.b = h.b[n:]
		if u&1 == 0 {
			h.run = u >> 1
			k := int(h.width+7) / 8
			if len(h.b) < k {
				return cutShort
			}
			h.value = 0
			for i := range k {
				h.value |= uint32(h.b[i]) << (8 * i)
			}
			h.b = h.b[k:]
			continue
		}
		groups := u >> 1 // of 8 values, width bytes each
		size := groups * uint64(h.width)
		if groups > 1<<31 {
			return cutShort
		}
		// Writers may cut the padding of the last group.
		size = min(size, uint64(len(h.b)))
		h.bits, h.b, h.at = h.b[:size], h.b[size:], 0
		h.packed = 8 * groups
	}
	return nil
}

// fill reads as many values as out has room for.
func (h *hybrid) fill(out []uint32) error {
	for len(out) > 0 {
		if err := h.begin(); err != nil {
			return err
		}
		if h.run > 0 {
			n := min(h.run, uint64(len(out)))
			for i := range out[:n] {
				out[i] = h.value
			}
			h.run -= n
			out = out[n:]
			continue
		}
		n := min(h.packed, uint64(len(out)))
		// As many as begin where eight bytes are left, which hold a value whole; the others one by one.
		at, width, mask := h.at, uint64(h.width), uint32(1<<h.width-1)
		quick := uint64(0)
		if have := uint64(len(h.bits)); have >= 8 && width > 0 {
			if last := 8*(have-8) + 7; at <= last {
				quick = min(n, (last-at)/width+1)
			}
		}
		for i := range out[:quick] {
			out[i] = uint32(binary.LittleEndian.Uint64(h.bits[at/8:])>>(at%8)) & mask
			at += width
		}
		h.at, h.packed = at, h.packed-quick
		for i := quick; i < n; i++ {
			v, err := h.next()
			if err != nil {
				return err
			}
			out[i] = v
		}
		out = out[n:]
	}
	return nil
}

// only tells whether the next n values are all v, when one run says so; it reads them then.
func (h *hybrid) only(v uint32, n int64) bool {
	if h.begin() != nil || h.run < uint64(n) || h.value != v {
		return false
	}
	h.run -= uint64(n)
	return true
}

func (h *hybrid) next() (uint32, error) {
	if err := h.begin(); err != nil {
		return 0, err
	}
	if h.run > 0 {
		h.run--
		return h.value, nil
	}
	h.packed--
	v, from, to := uint32(0), h.at, h.at+uint64(h.width)
	if to > 8*uint64(len(h.bits)) {
		return 0, cutShort
	}
	if at := from / 8; at+8 <= uint64(len(h.bits)) { // a value has at most 32 bits, which lie within eight bytes
		h.at = to
		return uint32(binary.LittleEndian.Uint64(h.bits[at:])>>(from%8)) & uint32(1<<h.width-1), nil
	}
	for shift := uint(0); from < to; {
		take := min(8-from%8, to-from)
		part := uint32(h.bits[from/8]>>(from%8)) & (1<<take - 1)
		v |= part << shift
		shift, from = shift+uint(take), from+take
	}
	h.at = to
	return v, nil
}

// delta reads DELTA_BINARY_PACKED integers.
type delta struct {
	b       []byte
	narrow  bool // values wrap at 32 bits
	started bool
	left    uint64 // values not yet given
	value   int64
	perMini uint64
	minis   uint64
	min     int64
	widths  []byte
	mini    hybridBits
	inMini  uint64
}

// hybridBits reads values of a fixed width from packed bits.
type hybridBits struct {
	b     []byte
	width uint
	at    uint64
}

func (h *hybridBits) next() uint64 {
	v := uint64(0)
	for shift, from, to := uint(0), h.at, h.at+uint64(h.width); from < to; {
		take := min(8-from%8, to-from)
		v |= (uint64(h.b[from/8]>>(from%8)) & (1<<take - 1)) << shift
		shift, from = shift+uint(take), from+take
	}
	h.at += uint64(h.width)
	return v
}

func (d *delta) uvarint() (uint64, error) {
	u, n := binary.Uvarint(d.b)
	if n <= 0 {
		return 0, cutShort
	}
	d.b = d.b[n:]
	return u, nil
}

func (d *delta) varint() (int64, error) {
	u, err := d.uvarint()
	return int64(u>>1) ^ -int64(u&1), err
}

func (d *delta) start() (err error) {
	var block uint64
	if block, err = d.uvarint(); err != nil {
		return err
	}
	if d.minis, err = d.uvarint(); err != nil {
		return err
	}
	if d.left, err = d.uvarint(); err != nil {
		return err
	}
	if d.value, err = d.varint(); err != nil {
		return err
	}
	if d.minis == 0 || d.minis > 4096 || block == 0 || block > 1<<24 || block%d.minis != 0 || (block/d.minis)%8 != 0 {
		return pageError("a delta block has an impossible size")
	}
	d.perMini, d.started = block/d.minis, true
	return nil
}

func (d *delta) next() (int64, error) {
	if !d.started {
		if err := d.start(); err != nil {
			return 0, err
		}
		if d.left == 0 {
			return 0, cutShort
		}
		d.left--
		return d.wrap(), nil
	}
	if d.left == 0 {
		return 0, cutShort
	}
	if d.inMini == 0 {
		if err := d.miniblock(); err != nil {
			return 0, err
		}
	}
	d.inMini--
	d.left--
	d.value += d.min + int64(d.mini.next())
	return d.wrap(), nil
}

func (d *delta) wrap() int64 {
	if d.narrow {
		d.value = int64(int32(d.value))
	}
	return d.value
}

func (d *delta) miniblock() (err error) {
	if len(d.widths) == 0 {
		if d.min, err = d.varint(); err != nil {
			return err
		}
		if uint64(len(d.b)) < d.minis {
			return cutShort
		}
		d.widths, d.b = d.b[:d.minis], d.b[d.minis:]
	}
	w := uint(d.widths[0])
	d.widths = d.widths[1:]
	if w > 64 {
		return pageError("a delta is wider than 64 bits")
	}
	size := d.perMini * uint64(w) / 8
	if uint64(len(d.b)) < size {
		return cutShort
	}
	d.mini, d.b = hybridBits{b: d.b[:size], width: w}, d.b[size:]
	d.inMini = d.perMini
	return nil
}

// finish passes over what is left of the integers and returns the bytes behind them.
func (d *delta) finish() ([]byte, error) {
	if !d.started {
		if err := d.start(); err != nil {
			return nil, err
		}
		if d.left > 0 {
			d.left-- // the first value is in the header
		}
	}
	for d.left > 0 {
		// Whole miniblocks are passed over by their size.
		if d.inMini == 0 {
			if err := d.miniblock(); err != nil {
				return nil, err
			}
		}
		n := min(d.inMini, d.left)
		d.inMini, d.left = 0, d.left-n
	}
	return d.b, nil
}

// deltaStrings reads DELTA_LENGTH_BYTE_ARRAY, and with prefixes DELTA_BYTE_ARRAY. No string becomes longer
// than limit.
func deltaStrings(body []byte, prefixes bool, limit int) (func(*cell) error, error) {
	var shared *delta
	if prefixes {
		shared = &delta{b: body}
		rest, err := (&delta{b: body}).finish()
		if err != nil {
			return nil, err
		}
		body = rest
	}
	lengths := &delta{b: body}
	data, err := (&delta{b: body}).finish()
	if err != nil {
		return nil, err
	}
	var last []byte
	return func(v *cell) error {
		n, err := lengths.next()
		if err != nil {
			return err
		}
		if n < 0 || n > int64(len(data)) {
			return cutShort
		}
		s := data[:n]
		data = data[n:]
		if prefixes {
			k, err := shared.next()
			if err != nil {
				return err
			}
			if k < 0 || k > int64(len(last)) {
				return pageError("a string shares more with the one before than that has")
			}
			if k+n > int64(limit) {
				return pageError(fmt.Sprintf("a value is %d bytes long, the limit is %d", k+n, limit))
			}
			last = append(last[:k:k], s...)
			s = last
		}
		v.kind, v.s = words, s
		return nil
	}, nil
}
