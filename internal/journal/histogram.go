package journal

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"time"
)

// A latency in µs below 8 has a bucket of its own; above, every power of two has eight equal buckets, so that a bucket is
// at most an eighth wide and a quantile taken from it at most 12.5 % off. What took longer than 2^27 µs (134 s) is in the last.
const (
	subBits  = 3
	topBit   = 26
	buckets  = (topBit - subBits + 2) << subBits
	lastSlot = buckets - 1
)

// Histogram counts latencies by bucket.
type Histogram [buckets]uint64

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < 1<<subBits {
		return int(us)
	}
	top := bits.Len64(us) - 1
	if top > topBit {
		return lastSlot
	}
	return (top-subBits+1)<<subBits + int(us>>(top-subBits))&(1<<subBits-1)
}

// bound is the least latency of bucket i in µs; that of the bucket behind the last is its end.
func bound(i int) float64 {
	if i < 1<<subBits {
		return float64(i)
	}
	top, sub := i>>subBits+subBits-1, i&(1<<subBits-1)
	return float64(uint64(1<<subBits+sub) << (top - subBits))
}

// Quantile estimates the latency in µs that a share q in (0, 1] of the calls did not exceed, evenly spread within its
// bucket; false when there is none.
func (h *Histogram) Quantile(q float64) (us float64, ok bool) {
	var all uint64
	for _, n := range h {
		all += n
	}
	if all == 0 {
		return 0, false
	}
	want, before := q*float64(all), 0.0
	for i, n := range h {
		if n == 0 {
			continue
		}
		if after := before + float64(n); after >= want {
			from, to := bound(i), bound(i+1)
			return from + (to-from)*max(0, want-before)/float64(n), true
		}
		before += float64(n)
	}
	return bound(buckets), true
}

// stored is a Count as it stands in a row: only what is not zero.
type stored struct {
	Calls     uint64            `json:"c,omitempty"`
	Rows      uint64            `json:"r,omitempty"`
	Joined    uint64            `json:"j,omitempty"`
	Dropped   uint64            `json:"d,omitempty"`
	Waiting   int64             `json:"w,omitempty"`
	Missed    map[string]uint64 `json:"m,omitempty"`
	Latencies [][2]uint64       `json:"l,omitempty"` // bucket, count
}

func (c *Count) encode() string {
	s := stored{Calls: c.Calls, Rows: c.Rows, Joined: c.Joined, Dropped: c.Dropped, Waiting: c.Waiting}
	for i, n := range c.Missed {
		if n > 0 {
			if s.Missed == nil {
				s.Missed = map[string]uint64{}
			}
			s.Missed[Causes[i]] = n
		}
	}
	for i, n := range c.Latencies {
		if n > 0 {
			s.Latencies = append(s.Latencies, [2]uint64{uint64(i), n})
		}
	}
	b, _ := json.Marshal(s) // numbers and strings only: cannot fail
	return string(b)
}

// decodeCount reads what encode wrote. Causes that this version does not know, and buckets it does not have, are left out.
func decodeCount(text string) (c Count, err error) {
	var s stored
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return c, fmt.Errorf("read counts: %w", err)
	}
	c.Calls, c.Rows, c.Joined, c.Dropped, c.Waiting = s.Calls, s.Rows, s.Joined, s.Dropped, s.Waiting
	for i, name := range Causes {
		c.Missed[i] = s.Missed[name]
	}
	for _, p := range s.Latencies {
		if p[0] < buckets {
			c.Latencies[p[0]] += p[1]
		}
	}
	return c, nil
}
