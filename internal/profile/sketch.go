package profile

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Buckets is the largest number of buckets of a sketch: with varints they stay under 40 KiB stored.
const Buckets = 4096

// Sketch counts numbers in buckets of equal leading bits. Numbers are taken by their bits in the order of their size; the
// sketch drops as many trailing bits, the same for all, as are needed to have at most its size of buckets. That is a function
// of the set of values alone, hence merging is exact. Buckets are narrow where values are: of numbers from one to two there are
// 2^(52−shift), wherever they lie, so that values close to each other and far from 0 keep their digits.
type Sketch struct {
	size  int
	shift uint
	n     int64
	slots []slot // open addressing; a count of 0 is free; the length is a power of two
	used  int
}

type slot struct {
	key   uint64
	count int64
}

// ordered maps a finite number to bits that order as the numbers do; −0 is 0.
func ordered(v float64) uint64 {
	if v == 0 {
		v = 0
	}
	b := math.Float64bits(v)
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func fromOrdered(b uint64) float64 {
	if b>>63 != 0 {
		return math.Float64frombits(b &^ (1 << 63))
	}
	return math.Float64frombits(^b)
}

// mix spreads the bits of a key over a hash (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// spread is 2⁶⁴ divided by the golden ratio: the upper bits of a product with it tell neighbouring keys apart.
const spread = 0x9e3779b97f4a7c15

// home is the slot where a key is looked for first.
func (s *Sketch) home(key uint64) uint64 {
	return key * spread >> (64 - uint(bits.TrailingZeros(uint(len(s.slots)))))
}

// addAll takes finite numbers, once each.
func (s *Sketch) addAll(values []float64) {
	for len(values) > 0 {
		shift, slots, n := s.shift&63, s.slots, int64(0)
		move := (64 - uint(bits.TrailingZeros(uint(len(slots))))) & 63
		done := len(values)
		for i, v := range values {
			key := ordered(v) >> shift
			h := key * spread >> move
			if h < uint64(len(slots)) {
				if at := &slots[h]; at.key == key && at.count > 0 {
					at.count++
					n++
					continue
				}
			}
			s.n += n
			n = 0
			if s.add(ordered(v), 1); s.shift != shift || len(s.slots) != len(slots) {
				done = i + 1 // the slots are others now
				break
			}
		}
		s.n += n
		values = values[done:]
	}
}

// add takes a value by its ordered bits, count times.
func (s *Sketch) add(bits uint64, count int64) {
	s.n += count
	key := bits >> s.shift
	if len(s.slots) == 0 {
		s.slots = make([]slot, 64)
	}
	mask := uint64(len(s.slots) - 1)
	for i := s.home(key); ; i = (i + 1) & mask {
		at := &s.slots[i]
		if at.count == 0 {
			at.key, at.count = key, count
			break
		}
		if at.key == key {
			at.count += count
			return
		}
	}
	if s.used++; s.used > s.size {
		s.coarsen(s.shift + 1)
	} else if 2*s.used > len(s.slots) {
		s.rebuild(s.slots, len(s.slots)*4, 0)
	}
}

// coarsen drops bits up to shift, and more while there are too many buckets.
func (s *Sketch) coarsen(shift uint) {
	for {
		s.rebuild(s.slots, len(s.slots), shift-s.shift)
		s.shift = shift
		if s.used <= s.size {
			return
		}
		shift++
	}
}

func (s *Sketch) rebuild(old []slot, size int, drop uint) {
	s.slots, s.used = make([]slot, size), 0
	mask := uint64(size - 1)
	for _, o := range old {
		if o.count == 0 {
			continue
		}
		key := o.key >> drop
		for i := s.home(key); ; i = (i + 1) & mask {
			at := &s.slots[i]
			if at.count == 0 {
				at.key, at.count = key, o.count
				s.used++
				break
			}
			if at.key == key {
				at.count += o.count
				break
			}
		}
	}
}

func (s *Sketch) merge(o *Sketch) {
	s.size = min(s.size, o.size)
	if o.shift > s.shift {
		s.coarsen(o.shift)
	}
	for _, b := range o.slots {
		if b.count > 0 {
			s.add(b.key<<o.shift, b.count)
		}
	}
	if s.used > s.size {
		s.coarsen(s.shift + 1)
	}
}

// sorted gives the keys of the buckets, ascending, and their counts.
func (s *Sketch) sorted() (keys []uint64, counts []int64) {
	all := make([]slot, 0, s.used)
	for _, b := range s.slots {
		if b.count > 0 {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b slot) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	keys, counts = make([]uint64, len(all)), make([]int64, len(all))
	for i, b := range all {
		keys[i], counts[i] = b.key, b.count
	}
	return keys, counts
}

// end is the largest number of a bucket.
func (s *Sketch) end(key uint64) float64 {
	return finiteBits(key<<s.shift | (1<<s.shift - 1))
}

// middle is a number of a bucket: the one, or that in its middle.
func (s *Sketch) middle(key uint64) float64 {
	bits := key << s.shift
	if s.shift > 0 {
		bits |= 1 << (s.shift - 1)
	}
	return finiteBits(bits)
}

func finiteBits(bits uint64) float64 {
	const largest, smallest = 0x7fefffffffffffff | 1<<63, ^uint64(0xffefffffffffffff)
	return fromOrdered(min(max(bits, smallest), largest)) // a wide bucket reaches beyond the numbers
}

// RankError is the largest share of the values in one bucket: a quantile is off by at most that in rank, and a KS statistic
// taken from the sketch by at most that. 0 while every value is known.
func (s *Sketch) RankError() float64 {
	if s.shift == 0 || s.n == 0 {
		return 0
	}
	top := int64(0)
	for _, b := range s.slots {
		top = max(top, b.count)
	}
	return float64(top) / float64(s.n)
}

type sketchDocument struct {
	Size    int    `json:"size"`
	Shift   uint   `json:"shift"`
	Buckets string `json:"buckets"` // base64 of varints: distance to the key before, count
}

// MarshalJSON writes the buckets in the order of their keys.
func (s *Sketch) MarshalJSON() ([]byte, error) {
	keys, counts := s.sorted()
	var b []byte
	last := uint64(0)
	for i, k := range keys {
		b = binary.AppendUvarint(b, k-last)
		b = binary.AppendUvarint(b, uint64(counts[i]))
		last = k
	}
	return json.Marshal(sketchDocument{s.size, s.shift, base64.RawStdEncoding.EncodeToString(b)})
}

// UnmarshalJSON reads what MarshalJSON wrote and refuses anything else.
func (s *Sketch) UnmarshalJSON(text []byte) error {
	var d sketchDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	if d.Size < 16 || d.Size > Buckets || d.Shift > 63 {
		return fmt.Errorf("a sketch of %d buckets with %d bits dropped is none", d.Size, d.Shift)
	}
	b, err := base64.RawStdEncoding.DecodeString(d.Buckets)
	if err != nil {
		return err
	}
	out := Sketch{size: d.Size, shift: d.Shift}
	key := uint64(0)
	for first := true; len(b) > 0; first = false {
		step, k := binary.Uvarint(b)
		if k <= 0 {
			return errors.New("a bucket of a sketch is cut off")
		}
		count, l := binary.Uvarint(b[k:])
		if l <= 0 {
			return errors.New("a bucket of a sketch is cut off")
		}
		b = b[k+l:]
		if key+step < key || step == 0 && !first || key+step > math.MaxUint64>>d.Shift || count == 0 || count > math.MaxInt64>>12 || out.used >= d.Size {
			return errors.New("the buckets of a sketch are out of order or too many")
		}
		key += step
		out.add(key<<d.Shift, int64(count))
	}
	*s = out
	return nil
}
