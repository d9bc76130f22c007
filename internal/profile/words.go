package profile

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

const (
	mostWords = 1024     // different words that are counted
	wordBytes = 24 << 10 // and their bytes
	longWord  = 200      // bytes of a word that are kept
)

// Words counts words: all of them while there are few, beyond that the frequent ones, whose counts are too small by at most
// Error.
//
// Source: Misra & Gries, Sci. Comput. Program. 2 (1982); merged as by Agarwal et al., Mergeable Summaries, PODS 2012.
type Words struct {
	size   int
	counts map[string]int64
	bytes  int
	lost   int64 // what every count may be too small by
}

// Clip is the part of a word that is told apart: up to 200 bytes, cut between characters, with broken characters replaced.
func Clip(w string) string {
	if w = strings.ToValidUTF8(w, "\ufffd"); len(w) > longWord {
		w = strings.ToValidUTF8(w[:longWord], "")
	}
	return w
}

func (s *Words) add(w string, count int64) {
	w = Clip(w)
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	if n, ok := s.counts[w]; ok {
		s.counts[w] = n + count
		return
	}
	s.counts[strings.Clone(w)] = count
	s.bytes += len(w)
	if len(s.counts) > s.size || s.bytes > wordBytes {
		s.shed()
	}
}

// shed takes from every count what the rarest half of the words has at most, so that they go: done rarely it costs little.
func (s *Words) shed() {
	all := make([]int64, 0, len(s.counts))
	for _, n := range s.counts {
		all = append(all, n)
	}
	slices.Sort(all)
	cut := all[len(all)/2]
	s.lost += cut
	for w, n := range s.counts {
		if n <= cut {
			s.bytes -= len(w)
			delete(s.counts, w)
		} else {
			s.counts[w] = n - cut
		}
	}
	if s.bytes > wordBytes {
		s.shed()
	}
}

func (s *Words) merge(o *Words) {
	s.lost += o.lost
	s.size = min(s.size, o.size)
	words := make([]string, 0, len(o.counts))
	for w := range o.counts {
		words = append(words, w)
	}
	slices.Sort(words)
	for _, w := range words {
		s.add(w, o.counts[w])
	}
	if len(s.counts) > s.size {
		s.shed()
	}
}

// Exact reports whether every word is counted.
func (s *Words) Exact() bool { return s.lost == 0 }

// Error is what a count may be too small by; a word that is not listed has at most as many rows.
func (s *Words) Error() int64 { return s.lost }

// Count is a word and how many rows have it, at least.
type Count struct {
	Word string `json:"word"`
	Rows int64  `json:"rows"`
}

// Top lists the k most frequent words, equally frequent ones in the order of their bytes.
func (s *Words) Top(k int) []Count {
	out := make([]Count, 0, len(s.counts))
	for w, n := range s.counts {
		out = append(out, Count{w, n})
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Word, b.Word)) })
	return out[:min(len(out), k)]
}

type wordsDocument struct {
	Size  int     `json:"size"`
	Lost  int64   `json:"lost"`
	Words []Count `json:"words"`
}

// MarshalJSON writes the most frequent words first.
func (s *Words) MarshalJSON() ([]byte, error) {
	return json.Marshal(wordsDocument{s.size, s.lost, s.Top(len(s.counts))})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Words) UnmarshalJSON(text []byte) error {
	var d wordsDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return err
	}
	if d.Size < 16 || d.Size > mostWords || len(d.Words) > d.Size || d.Lost < 0 {
		return fmt.Errorf("%d words with a size of %d are no summary", len(d.Words), d.Size)
	}
	out := Words{size: d.Size, lost: d.Lost, counts: map[string]int64{}}
	for _, c := range d.Words {
		if c.Rows < 1 || len(c.Word) > longWord {
			return fmt.Errorf("a word with %d rows and %d bytes is none", c.Rows, len(c.Word))
		}
		out.counts[c.Word] += c.Rows
		out.bytes += len(c.Word)
	}
	*s = out
	return nil
}

const (
	registers    = 4096
	registerBits = 12
	sparse       = 512 // hashes that are kept one by one
)

// Distinct counts different values: exactly up to 512 (64-bit hashes), beyond that with a standard error of 1.6 %.
//
// Source: Flajolet et al., HyperLogLog, AofA 2007, with 64-bit hashes and linear counting for small numbers.
type Distinct struct {
	few map[uint64]struct{} // nil once there were more
	max []byte              // by register: longest run of zeros plus 1
}

func hash(w string) uint64 { return xxhash.Sum64String(w) }

func (d *Distinct) add(h uint64) {
	if d.max != nil {
		d.register(h)
		return
	}
	if d.few == nil {
		d.few = map[uint64]struct{}{}
	}
	d.few[h] = struct{}{}
	if len(d.few) > sparse {
		d.dense()
	}
}

func (d *Distinct) dense() {
	d.max = make([]byte, registers)
	for h := range d.few {
		d.register(h)
	}
	d.few = nil
}

func (d *Distinct) register(h uint64) {
	i := h >> (64 - registerBits)
	run := byte(bits.LeadingZeros64(h<<registerBits|1<<(registerBits-1)) + 1)
	if run > d.max[i] {
		d.max[i] = run
	}
}

func (d *Distinct) merge(o *Distinct) {
	if o.max != nil && d.max == nil {
		d.dense()
	}
	for h := range o.few {
		d.add(h)
	}
	for i, r := range o.max {
		d.max[i] = max(d.max[i], r)
	}
}

// Count is the number of different values and whether it is exact.
func (d *Distinct) Count() (n int64, exact bool) {
	if d.max == nil {
		return int64(len(d.few)), true
	}
	sum, empty := 0.0, 0
	for _, r := range d.max {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			empty++
		}
	}
	const m = float64(registers)
	estimate := 0.7213 / (1 + 1.079/m) * m * m / sum
	if estimate <= 2.5*m && empty > 0 {
		estimate = m * math.Log(m/float64(empty))
	}
	return int64(math.Round(estimate)), false
}

type distinctDocument struct {
	Few []uint64 `json:"few,omitempty"`
	Max string   `json:"max,omitempty"`
}

// MarshalJSON writes hashes in order, or the registers.
func (d *Distinct) MarshalJSON() ([]byte, error) {
	var out distinctDocument
	if d.max != nil {
		out.Max = base64.RawStdEncoding.EncodeToString(d.max)
	} else {
		for h := range d.few {
			out.Few = append(out.Few, h)
		}
		slices.Sort(out.Few)
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Distinct) UnmarshalJSON(text []byte) error {
	var in distinctDocument
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	out := Distinct{}
	if in.Max != "" {
		b, err := base64.RawStdEncoding.DecodeString(in.Max)
		if err != nil || len(b) != registers || slices.Max(b) > 64 {
			return fmt.Errorf("%d registers are not %d", len(b), registers)
		}
		out.max = b
	}
	if len(in.Few) > sparse {
		return fmt.Errorf("%d hashes are more than %d", len(in.Few), sparse)
	}
	for _, h := range in.Few {
		out.add(h)
	}
	*d = out
	return nil
}
