package serving

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"keelson/internal/journal"
	"keelson/internal/problem"
)

// protect gives an endpoint the turnstile and the limits per caller that its release asks for.
func (e *endpoint) protect(now func() time.Time) {
	l := e.doc.Limits
	at, queue := l.MaxConcurrent, l.MaxQueue
	if at == 0 {
		at = defaultConcurrent
	}
	if queue == 0 {
		queue = defaultQueue
	}
	e.gate = newTurnstile(e.doc.Endpoint, int(at), queue)
	e.gate.meter = e.meter
	if l.CallerRate > 0 || l.CallerQuota > 0 {
		e.callers = &callers{endpoint: e.doc.Endpoint, rate: l.CallerRate, quota: l.CallerQuota, now: now}
	}
}

// keepLimits goes on with the turnstile and the counts of what was in force, when the limits are the same: a step of a
// canary gives nobody a new day's quota, and calls still running count against the bound.
func (e *endpoint) keepLimits(have *endpoint) {
	if have != nil && have.gate != nil && have.doc.Limits == e.doc.Limits {
		e.gate, e.callers = have.gate, have.callers
	}
}

// turnstile bounds the calls of an endpoint that are computed at once and the calls that wait for that, in the order in
// which they came.
type turnstile struct {
	endpoint string
	free     chan struct{} // holds one token for each call that may start
	waiting  atomic.Int64
	queue    int64
	meter    *journal.Meter // hears how long the queue is
}

func newTurnstile(endpoint string, concurrent int, queue int64) *turnstile {
	t := &turnstile{endpoint: endpoint, free: make(chan struct{}, concurrent), queue: queue}
	for range concurrent {
		t.free <- struct{}{}
	}
	return t
}

// enter waits for its turn. It fails with Exhausted when the queue is full and with ctx's error.
func (t *turnstile) enter(ctx context.Context) error {
	select {
	case <-t.free:
		return nil
	default:
	}
	defer t.waiting.Add(-1)
	n := t.waiting.Add(1)
	t.meter.Waiting(min(n, t.queue))
	if n > t.queue {
		return problem.New(problem.Exhausted, "%s has %d calls waiting, as many as it lets wait; try again in a second.", t.endpoint, t.queue)
	}
	select {
	case <-t.free:
		return nil
	case <-ctx.Done():
		if ctx.Err() == context.DeadlineExceeded {
			return problem.New(problem.Unavailable, "The call to %s waited until its time was over; try again later, or allow it more.", t.endpoint).Because(ctx.Err())
		}
		return ctx.Err()
	}
}

func (t *turnstile) leave() { t.free <- struct{}{} }

// callers bounds what each caller may ask of an endpoint. It starts empty with other limits and with every process.
type callers struct {
	endpoint string
	rate     float64 // calls per second, 0 for no bound
	quota    int64   // calls per day, 0 for no bound
	now      func() time.Time
	byName   sync.Map // of *oneCaller; callers are signed in, so there are no more than users and service accounts
}

type oneCaller struct {
	limiter *rate.Limiter
	mu      sync.Mutex
	day     int64
	used    int64
}

// admit counts a call, or fails with Exhausted. A nil receiver admits all.
func (c *callers) admit(name string) error {
	if c == nil {
		return nil
	}
	v, ok := c.byName.Load(name)
	if !ok {
		v, _ = c.byName.LoadOrStore(name, &oneCaller{limiter: rate.NewLimiter(rate.Limit(c.rate), max(1, int(c.rate)))})
	}
	one, now := v.(*oneCaller), c.now()
	if c.rate > 0 && !one.limiter.AllowN(now, 1) {
		return problem.New(problem.Exhausted, "%s answers %g calls per second of one caller, and %s makes more; slow down and try again in a second.", c.endpoint, c.rate, clip(name))
	}
	if c.quota == 0 {
		return nil
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if day := now.Unix() / 86400; day != one.day {
		one.day, one.used = day, 0
	}
	if one.used >= c.quota {
		return problem.New(problem.Exhausted, "%s answers %d calls a day of one caller, and %s has made them; it answers again at midnight UTC.", c.endpoint, c.quota, clip(name)).
			After(time.Unix((one.day+1)*86400, 0).Sub(now))
	}
	one.used++
	return nil
}
