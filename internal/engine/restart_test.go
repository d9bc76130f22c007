package engine

import (
	"slices"
	"testing"
	"time"
)

func TestRestarts(t *testing.T) {
	zero := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d ...time.Duration) []time.Duration { return d }
	for _, c := range []struct {
		name   string
		ends   []time.Duration // after zero
		pauses []time.Duration // from each end to the next start
		faults int
	}{
		{"one end is followed by a start at once", at(0), at(0), 0},
		{"pauses double", at(0, 1*time.Second, 3*time.Second, 6*time.Second), at(0, time.Second, 2*time.Second, 4*time.Second), 0},
		{"ends that lie far apart are each the first", at(0, 11*time.Minute, 22*time.Minute), at(0, 0, 0), 0},
		{"the fifth end within ten minutes is a fault", at(0, 1, 2, 3, 4), at(0, time.Second, 2*time.Second, 4*time.Second, 10*time.Minute), 1},
		{"one more end after the rest is the next fault", at(0, 1, 2, 3, 4, 11*time.Minute), at(0, time.Second, 2*time.Second, 4*time.Second, 10*time.Minute, 10*time.Minute), 2},
		{"a version that stayed up after its rest begins anew", at(0, 1, 2, 3, 4, 31*time.Minute), at(0, time.Second, 2*time.Second, 4*time.Second, 10*time.Minute, 0), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Restarts
			var pauses []time.Duration
			faults := 0
			for _, d := range c.ends {
				now := zero.Add(d)
				if r.Ended(now) {
					faults++
				}
				pauses = append(pauses, r.Next.Sub(now))
			}
			if !slices.Equal(pauses, c.pauses) || faults != c.faults {
				t.Errorf("pauses %v and %d faults, want %v and %d", pauses, faults, c.pauses, c.faults)
			}
		})
	}
}
