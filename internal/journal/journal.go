// Package journal keeps what endpoints lived through: how they were called over time, which processes answer for them,
// and the log lines that name them.
//
//	Meter (atomic counters of a process) ── every ten seconds ──▶ Recorder ──▶ points of 10 s (an hour) and 5 min (30 days)
//	slog lines with the key endpoint ─────────────────────────────▶ Recorder ──▶ lines (30 days, the newest 10,000)
//	what a process has in force ──────────────────────────────────▶ Recorder ──▶ nodes (90 s after its last sign)
//
// A call touches nothing but its Meter. Each process writes rows of its own, so that processes never wait for each other;
// readers add the rows up. A process that is killed loses what it counted in the last ten seconds; the prediction log, not
// this package, is the record of decisions.
package journal

import (
	"sync/atomic"
	"time"
)

// Causes why a call got no answer.
const (
	Invalid     Cause = iota // the request did not fit the model or was too large
	Queue                    // as many calls were waiting as may
	Quota                    // the caller had used up what it may
	Deadline                 // the time allowed was over
	Cancelled                // the caller went away
	Model                    // the model failed or broke down
	Log                      // the prediction log could not be written, so the answer was withheld
	Unavailable              // the endpoint was suspended, expired or had nothing loaded
	numCauses
)

// Cause is why a call got no answer.
type Cause int

// Causes are the names of the causes, in their order, as stored and shown.
var Causes = [numCauses]string{"invalid", "queue", "quota", "deadline", "cancelled", "model", "log", "unavailable"}

// Meter counts what one version did at one endpoint since the process started. Its methods may be called by many
// goroutines and by a nil receiver, which counts nothing. The zero value is ready.
type Meter struct {
	calls, rows, joined, dropped atomic.Uint64
	causes                       [numCauses]atomic.Uint64
	latencies                    [buckets]atomic.Uint64
	waiting                      atomic.Int64
}

// Answered counts a call that was answered.
func (m *Meter) Answered(rows int, latency time.Duration) {
	if m == nil {
		return
	}
	m.calls.Add(1)
	m.rows.Add(uint64(max(rows, 0)))
	m.latencies[bucketOf(latency)].Add(1)
}

// Missed counts a call that was not answered.
func (m *Meter) Missed(c Cause) {
	if m != nil {
		m.causes[c].Add(1)
	}
}

// Joined counts calls that were computed together with another one.
func (m *Meter) Joined(n int) {
	if m != nil && n > 0 {
		m.joined.Add(uint64(n))
	}
}

// Dropped counts a shadow copy that was thrown away.
func (m *Meter) Dropped() {
	if m != nil {
		m.dropped.Add(1)
	}
}

// Waiting tells how many calls wait at this moment; the largest since the last reading is kept.
func (m *Meter) Waiting(n int64) {
	if m == nil {
		return
	}
	for {
		most := m.waiting.Load()
		if n <= most || m.waiting.CompareAndSwap(most, n) {
			return
		}
	}
}

// Read gives the counts so far and begins anew with the largest queue.
func (m *Meter) Read() Count {
	c := Count{Calls: m.calls.Load(), Rows: m.rows.Load(), Joined: m.joined.Load(), Dropped: m.dropped.Load(), Waiting: m.waiting.Swap(0)}
	for i := range m.causes {
		c.Missed[i] = m.causes[i].Load()
	}
	for i := range m.latencies {
		c.Latencies[i] = m.latencies[i].Load()
	}
	return c
}

// Key says whose counts they are. Version 0 and an empty slot are of the endpoint itself: calls that reached no version,
// and the queue.
type Key struct {
	Workspace, Endpoint string
	Version             int
	Slot                string
}

// Reading is what a Meter holds.
type Reading struct {
	Key
	Count
}

// Count is what happened in a stretch of time.
type Count struct {
	Calls, Rows uint64            // answered calls and the rows in them
	Joined      uint64            // of these calls: computed together with another one
	Dropped     uint64            // shadow copies thrown away
	Missed      [numCauses]uint64 // calls without an answer, by cause
	Waiting     int64             // most calls that waited at one moment
	Latencies   Histogram         // of answered calls
}

// Errors is how many calls got no answer, refusals (Queue, Quota) and callers that left aside.
func (c *Count) Errors() (n uint64) {
	for i, v := range c.Missed {
		if cause := Cause(i); cause != Queue && cause != Quota && cause != Cancelled {
			n += v
		}
	}
	return n
}

// Refused is how many calls were turned away with 429.
func (c *Count) Refused() uint64 { return c.Missed[Queue] + c.Missed[Quota] }

// empty says that nothing happened.
func (c *Count) empty() bool {
	n := c.Calls + c.Dropped + uint64(c.Waiting)
	for _, v := range c.Missed {
		n += v
	}
	return n == 0
}

// Add adds o to c; of the queues the longer one stays.
func (c *Count) Add(o *Count) {
	c.Calls, c.Rows, c.Joined, c.Dropped, c.Waiting = c.Calls+o.Calls, c.Rows+o.Rows, c.Joined+o.Joined, c.Dropped+o.Dropped, max(c.Waiting, o.Waiting)
	for i := range c.Missed {
		c.Missed[i] += o.Missed[i]
	}
	for i := range c.Latencies {
		c.Latencies[i] += o.Latencies[i]
	}
}

// since is what happened between old and c, two readings of one Meter. A counter that went back (a process that started
// anew under the same key cannot happen, but nothing is worth a number of 2^64) counts from zero.
func (c *Count) since(old *Count) Count {
	d := func(now, then uint64) uint64 {
		if now < then {
			return now
		}
		return now - then
	}
	out := Count{Calls: d(c.Calls, old.Calls), Rows: d(c.Rows, old.Rows), Joined: d(c.Joined, old.Joined), Dropped: d(c.Dropped, old.Dropped), Waiting: c.Waiting}
	for i := range c.Missed {
		out.Missed[i] = d(c.Missed[i], old.Missed[i])
	}
	for i := range c.Latencies {
		out.Latencies[i] = d(c.Latencies[i], old.Latencies[i])
	}
	return out
}

// Standing is one endpoint as one process serves it.
type Standing struct {
	Endpoint   string         `json:"endpoint"`
	Release    int64          `json:"release" doc:"serial of the release in force"`
	State      string         `json:"state"`
	Problem    string         `json:"problem,omitempty" doc:"why nothing answers"`
	Substitute bool           `json:"substitute,omitempty" doc:"the previous version stands in for a damaged one"`
	Since      time.Time      `json:"since"`
	Slots      []StandingSlot `json:"slots"`
}

// StandingSlot is one loaded version.
type StandingSlot struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Share   int    `json:"share"`
	Engine  string `json:"engine"`
	Format  string `json:"format"`
}
