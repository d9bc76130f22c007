package engine

import (
	"time"

	"keelson/internal/problem"
)

// When a model's own process is started again.
const (
	mostEnds   = 5                // within endsWindow; then the version is at fault
	endsWindow = 10 * time.Minute // and rests as long
	firstPause = time.Second      // after the second end; it doubles
)

// Fall is the end of a version's own process that nobody asked for, or of a start of one.
type Fall struct {
	Ref   string // of the version, such as "screening/3"; empty when nobody named it
	Why   string // such as "it was ended by the signal killed", without a full stop
	Words string // the last that the process said; may tell of inputs
	Rests bool   // it fell so often that the version rests
}

// Restarts says when a model's own process, which ended by itself, is started again: at once, then after 1 s, 2 s, 4 s.
// After five ends within ten minutes the version is at fault and rests for ten minutes; one more end is the next fault.
// The zero value has seen none. It is not safe for concurrent use.
type Restarts struct {
	Next time.Time // of the next start, zero when there was no end

	ends []time.Time // within the window
}

// Ended takes note of an end, or of a start that failed. It says whether the version is at fault now, and rests until Next.
func (r *Restarts) Ended(now time.Time) (fault bool) {
	kept := r.ends[:0]
	for _, t := range r.ends {
		if now.Sub(t) < endsWindow {
			kept = append(kept, t)
		}
	}
	r.ends = append(kept, now)
	switch n := len(r.ends); {
	case n >= mostEnds:
		r.Next = now.Add(endsWindow)
		r.ends = r.ends[:0]
		for range mostEnds - 1 {
			r.ends = append(r.ends, r.Next)
		}
		return true
	case n == 1:
		r.Next = now
	default:
		r.Next = now.Add(firstPause << (n - 2))
	}
	return false
}

// Fault is what calls get while the version rests; kind names the process, why is why the last one ended.
func (r *Restarts) Fault(version, kind, why string) error {
	return problem.New(problem.Unavailable, "Version %s ended its %s process %d times within %s and rests until %s: %s.", version, kind, mostEnds, endsWindow, r.Next.UTC().Format("15:04 MST"), why)
}
