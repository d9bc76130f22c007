package tracking

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Two packings of metric points, both starting with a version byte.
//
// Tail: points of any keys in the order they were logged. Per point: key number (uvarint; 0 announces a new key:
// uvarint length and bytes, which gets the next number from 1), step and time (varint), value (8 bytes, little endian).
//
// Chunk: points of one key, sorted by (step, time, value), identical ones once. Per point: difference of step and of time
// to the point before (varint), value (8 bytes, little endian).
const (
	tailVersion  = 1
	chunkVersion = 1
	chunkPoints  = 4096 // a chunk is closed when it holds as many
)

var errPacked = errors.New("packed metric points are damaged")

// Sample is one point of a series whose key is known. At is in milliseconds since 1970.
type Sample struct {
	Step, At int64
	Value    float64 // NaN and infinities are kept
}

// compare orders by (step, time, value), or by (time, step, value). NaN counts as 0 and comes after it; infinities come
// before and after all numbers.
func (a Sample) compare(b Sample, byTime bool) int {
	c := cmp.Compare(a.Step, b.Step)
	d := cmp.Compare(a.At, b.At)
	if byTime {
		c, d = d, c
	}
	if c != 0 {
		return c
	}
	if d != 0 {
		return d
	}
	x, k := split(a.Value)
	y, l := split(b.Value)
	if c = cmp.Compare(x, y); c != 0 || k == l {
		return c
	}
	if k == minusInfinity || l == minusInfinity {
		return cmp.Compare(l, k)
	}
	return cmp.Compare(k, l)
}

// packTail packs points of one run.
func packTail(points []Point) []byte {
	b := make([]byte, 1, 16+18*len(points))
	b[0] = tailVersion
	keys := map[string]uint64{}
	for i := range points {
		p := &points[i]
		if n, ok := keys[p.Key]; ok {
			b = binary.AppendUvarint(b, n)
		} else {
			keys[p.Key] = uint64(len(keys) + 1)
			b = append(b, 0)
			b = binary.AppendUvarint(b, uint64(len(p.Key)))
			b = append(b, p.Key...)
		}
		b = binary.AppendVarint(b, p.Step)
		b = binary.AppendVarint(b, p.At)
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(p.Value))
	}
	return b
}

// eachTail calls fn for every point of a packed tail.
func eachTail(b []byte, fn func(key string, p Sample)) error {
	if len(b) == 0 || b[0] != tailVersion {
		return errPacked
	}
	r := reader{b: b[1:]}
	var keys []string
	for len(r.b) > 0 {
		n := r.uvarint()
		if n == 0 {
			keys = append(keys, string(r.bytes(r.uvarint())))
			n = uint64(len(keys))
		}
		if n > uint64(len(keys)) {
			return errPacked
		}
		p := Sample{Step: r.varint(), At: r.varint(), Value: r.float()}
		if r.bad {
			return errPacked
		}
		fn(keys[n-1], p)
	}
	return nil
}

// packChunk packs sorted points of one key.
func packChunk(points []Sample) []byte {
	b := make([]byte, 1, 1+12*len(points))
	b[0] = chunkVersion
	var step, at int64
	for _, p := range points {
		b = binary.AppendVarint(b, p.Step-step)
		b = binary.AppendVarint(b, p.At-at)
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(p.Value))
		step, at = p.Step, p.At
	}
	return b
}

// unpackChunk appends the points of a chunk to into.
func unpackChunk(b []byte, into []Sample) ([]Sample, error) {
	if len(b) == 0 || b[0] != chunkVersion {
		return nil, errPacked
	}
	r := reader{b: b[1:]}
	into = slices.Grow(into, min(chunkPoints, len(b)/3)) // a point takes at least three bytes
	var step, at int64
	for len(r.b) > 0 {
		step += r.varint()
		at += r.varint()
		v := r.float()
		if r.bad {
			return nil, errPacked
		}
		into = append(into, Sample{Step: step, At: at, Value: v})
	}
	return into, nil
}

// tidy sorts points of one key by (step, time, value), or (time, step, value), and drops identical ones.
func tidy(points []Sample, byTime bool) []Sample {
	order := func(a, b Sample) int { return a.compare(b, byTime) }
	if !slices.IsSortedFunc(points, order) {
		slices.SortFunc(points, order)
	}
	return slices.CompactFunc(points, func(a, b Sample) bool { return order(a, b) == 0 })
}

// extremes are the smallest and the largest value; ok is false when all are NaN.
func extremes(points []Sample) (low, high float64, ok bool) {
	for _, p := range points {
		switch {
		case math.IsNaN(p.Value):
		case !ok:
			low, high, ok = p.Value, p.Value, true
		default:
			low, high = min(low, p.Value), max(high, p.Value)
		}
	}
	return low, high, ok
}

// reader takes values off the front of b; after the first one that is not there, bad is set and all further are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) float() float64 {
	b := r.bytes(8)
	if r.bad {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}
