package dataset

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"
)

func smallest(rows []int64) []int64 {
	slices.Sort(rows)
	return rows[:min(len(rows), firstRows)]
}

// distinct counts different values: exactly up to size, beyond that by the density of the smallest hashes,
// with a standard error of about 1/√size.
//
// Source: Bar-Yossef et al., Counting Distinct Elements in a Data Stream, RANDOM 2002 (k minimum values).
type distinct struct {
	size   int
	hashes map[uint64]struct{}
	bound  uint64 // the largest hash kept, once there were more
	full   bool
}

func (d *distinct) add(b []byte) {
	h := xxhash.Sum64(b)
	if d.full && h >= d.bound {
		return
	}
	if d.hashes == nil {
		d.hashes = map[uint64]struct{}{}
	}
	d.hashes[h] = struct{}{}
	if len(d.hashes) < 2*d.size {
		return
	}
	keep := make([]uint64, 0, len(d.hashes))
	for h := range d.hashes {
		keep = append(keep, h)
	}
	slices.Sort(keep)
	d.hashes = make(map[uint64]struct{}, 2*d.size)
	for _, h := range keep[:d.size] {
		d.hashes[h] = struct{}{}
	}
	d.full, d.bound = true, keep[d.size]
}

// count returns the number of different values and whether it is exact.
func (d *distinct) count() (int64, bool) {
	if !d.full {
		return int64(len(d.hashes)), true
	}
	// n hashes below bound out of 2⁶⁴.
	return int64(float64(len(d.hashes)) / (float64(d.bound) / math.MaxUint64)), false
}

// sample keeps all values up to size, then a uniform random sample of that size (Vitter's algorithm R with
// a fixed seed, so that the same file gives the same profile).
type sample struct {
	size   int
	values []float64
	n      int64
	rng    *rand.Rand
}

func (s *sample) add(v float64) {
	s.n++
	if len(s.values) < s.size {
		s.values = append(s.values, v)
		return
	}
	if s.rng == nil {
		s.rng = rand.New(rand.NewPCG(1, 2))
	}
	if i := s.rng.Int64N(s.n); i < int64(s.size) {
		s.values[i] = v
	}
}

func (s *sample) method() string {
	if s.n <= int64(len(s.values)) {
		return "exact"
	}
	// A quantile of a sample of m values is off by at most 1.36/√m in rank with 95 % (Kolmogorov).
	return fmt.Sprintf("sample of %d, ranks within %.2g with 95 %%", len(s.values), 1.36/math.Sqrt(float64(len(s.values))))
}

// quantile interpolates linearly between neighbours, as numpy does; values is ascending and not empty.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	// Written so that neighbours of opposite sign do not overflow.
	f := at - float64(i)
	return sorted[i]*(1-f) + sorted[i+1]*f
}

// frequent counts the most frequent words: exactly while there are at most size of them; beyond that by
// Misra & Gries (1982), where a count may be too small by at most rows/size.
type frequent struct {
	size   int
	counts map[string]int64
	exact  bool
	off    bool // nothing is counted any more
}

func (f *frequent) add(b []byte, approximate bool) {
	if f.off {
		return
	}
	if f.counts == nil {
		f.counts, f.exact = map[string]int64{}, true
	}
	b = b[:min(len(b), maxWord)]
	if n, ok := f.counts[string(b)]; ok {
		f.counts[string(b)] = n + 1
		return
	}
	if len(f.counts) < f.size {
		f.counts[string(b)] = 1
		return
	}
	if !approximate {
		f.off, f.counts = true, nil
		return
	}
	f.exact = false
	for w, n := range f.counts {
		if n == 1 {
			delete(f.counts, w)
		} else {
			f.counts[w] = n - 1
		}
	}
}

// maxWord is how much of a word a profile shows.
const maxWord = 200

// top returns the k most frequent words, ties by the word.
func (f *frequent) top(k int) []WordCount {
	out := make([]WordCount, 0, len(f.counts))
	for w, n := range f.counts {
		out = append(out, WordCount{validText(w), n})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Count != out[j].Count {
			return out[i].Count > out[j].Count
		}
		return out[i].Value < out[j].Value
	})
	return out[:min(len(out), k)]
}
