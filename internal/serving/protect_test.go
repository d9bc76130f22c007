package serving

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keelson/internal/engine"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/tensor"
)

// doubler answers x with 2x. While hold is open a call waits for it; −1 is a mistake and −2 a panic.
type doubler struct {
	hold    chan struct{}
	started chan struct{}
	calls   atomic.Int64
	rows    atomic.Int64
}

func (*doubler) Signature() engine.Signature { return engine.Signature{} }
func (*doubler) Close() error                { return nil }

func (d *doubler) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	d.calls.Add(1)
	select {
	case d.started <- struct{}{}:
	default:
	}
	select {
	case <-d.hold:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := make([]float64, in[0].Len())
	for i, v := range in[0].F64 {
		switch v {
		case -1:
			return nil, problem.New(problem.Invalid, "−1 is not doubled.")
		case -2:
			panic("−2")
		}
		out[i] = 2 * v
	}
	d.rows.Add(int64(len(out)))
	return []tensor.Tensor{tensor.FP64s("y", in[0].Shape, out)}, nil
}

func column(v ...float64) []tensor.Tensor {
	return []tensor.Tensor{tensor.FP64s("x", []int{len(v), 1}, v)}
}

func TestCallsThatWaitAreJoinedAndNobodyGetsAnothersAnswer(t *testing.T) {
	d := &doubler{hold: make(chan struct{}), started: make(chan struct{}, 1)}
	b := newBatcher(&version{model: d}, 40, nil)
	var done sync.WaitGroup
	type result struct {
		in  []float64
		out []tensor.Tensor
		err error
	}
	results := make([]result, 61)
	ask := func(i int, v ...float64) {
		results[i].in = v
		done.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					results[i].err = fmt.Errorf("panic: %v", p)
				}
			}()
			results[i].out, results[i].err = b.predict(t.Context(), column(v...))
		})
	}
	ask(0, 1000)
	<-d.started // the model is busy
	for i := 1; i <= 60; i++ {
		v := []float64{float64(i)}
		switch {
		case i == 20:
			v = []float64{-1}
		case i == 40:
			v = []float64{-2}
		case i%7 == 0:
			v = []float64{float64(i), float64(i) + 0.5, float64(i) + 0.25}
		}
		ask(i, v...)
	}
	waitFor(t, "all calls wait", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.waiting) == 60 })
	close(d.hold)
	done.Wait()
	for i, r := range results {
		switch {
		case i == 20:
			if problem.KindOf(r.err) != problem.Invalid {
				t.Errorf("the mistake was answered with %v", r.err)
			}
		case i == 40:
			if r.err == nil || !strings.Contains(r.err.Error(), "panic") {
				t.Errorf("the panic was answered with %v", r.err)
			}
		case r.err != nil:
			t.Errorf("call %d failed: %v", i, r.err)
		default:
			for k, v := range r.in {
				if r.out[0].F64[k] != 2*v {
					t.Errorf("call %d got %v for %v", i, r.out[0].F64, r.in)
				}
			}
		}
	}
	if b.busy || len(b.waiting) > 0 {
		t.Error("the batcher is not idle again")
	}
	if n := d.calls.Load(); n >= 61+3 {
		t.Errorf("%d calls reached the model: nothing was joined", n)
	}
}

func TestACallThatGivesUpWaitingLeavesTheOthersAlone(t *testing.T) {
	d := &doubler{hold: make(chan struct{}), started: make(chan struct{}, 1)}
	b := newBatcher(&version{model: d}, 8, nil)
	first := make(chan error, 1)
	go func() { _, err := b.predict(context.Background(), column(1)); first <- err }()
	<-d.started
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := b.predict(ctx, column(2)); gone <- err }()
	waitFor(t, "it waits", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.waiting) == 1 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("gave up with %v", err)
	}
	close(d.hold)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if out, err := b.predict(t.Context(), column(3)); err != nil || out[0].F64[0] != 6 {
		t.Errorf("afterwards: %v %v", out, err)
	}
}

func TestTheQueueOfAnEndpointIsBounded(t *testing.T) {
	gate := newTurnstile("scores", 2, 3)
	for range 2 {
		if err := gate.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	entered := make(chan error, 3)
	for range 3 {
		go func() { entered <- gate.enter(t.Context()) }()
	}
	waitFor(t, "three wait", func() bool { return gate.waiting.Load() == 3 })
	if err := gate.enter(t.Context()); problem.KindOf(err) != problem.Exhausted || !strings.Contains(err.Error(), "3 calls waiting") {
		t.Errorf("a full queue said %v", err)
	}
	for range 2 {
		gate.leave()
	}
	for range 2 {
		if err := <-entered; err != nil {
			t.Error(err)
		}
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := gate.enter(late); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("a call whose time was over got %v", err)
	}
}

func TestACallerHasARateAndAQuota(t *testing.T) {
	now := time.Date(2026, 5, 3, 10, 0, 0, 0, time.UTC)
	c := &callers{endpoint: "scores", rate: 2, quota: 5, now: func() time.Time { return now }}
	admitted := func(name string) bool {
		err := c.admit(name)
		if err != nil && problem.KindOf(err) != problem.Exhausted {
			t.Fatal(err)
		}
		return err == nil
	}
	if first, second, third := admitted("desk"), admitted("desk"), admitted("desk"); !first || !second || third {
		t.Error("two calls at once, not three")
	}
	if !admitted("branch") {
		t.Error("another caller has a rate of its own")
	}
	for range 3 {
		now = now.Add(time.Second)
		if !admitted("desk") {
			t.Error("a second later it may again")
		}
	}
	now = now.Add(time.Second)
	if err := c.admit("desk"); err == nil || !strings.Contains(err.Error(), "5 calls a day") {
		t.Errorf("the sixth call of the day: %v", err)
	} else if wait := problem.RetryAfter(err); wait != 14*3600-4 {
		t.Errorf("it may come again in %d s, want those until midnight", wait)
	}
	now = now.Add(14 * time.Hour)
	if !admitted("desk") {
		t.Error("a new day begins at midnight UTC")
	}
	var none *callers
	if none.admit("desk") != nil {
		t.Error("without limits all are admitted")
	}
}

func TestReleasedLimitsHold(t *testing.T) {
	h := newHouse(t)
	doc := h.doc(1, h.rules(1))
	doc.Limits.CallerQuota = 3
	doc.Limits.BatchRows = 16
	h.issue(doc)
	h.look()
	for range 3 {
		if _, err := h.Infer(t.Context(), call(1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Infer(t.Context(), call(1)); problem.KindOf(err) != problem.Exhausted {
		t.Errorf("the fourth call got %v", err)
	}
	late := call(1)
	late.Caller, late.Deadline = "other", time.Now().Add(-time.Second)
	if _, err := h.Infer(t.Context(), late); err == nil {
		t.Error("a call whose deadline has passed was answered")
	}
	doc.Serial, doc.Limits.CallerQuota, doc.Limits.Unlogged = 2, 0, 100
	h.issue(doc)
	h.look()
	if a, err := h.Infer(t.Context(), call(1)); err != nil || a.ID != "" {
		t.Errorf("a call that is left out of the log: %+v %v", a, err)
	}
	logged := 0
	if err := h.log.Scan(t.Context(), prediction.Query{}, func(r prediction.Record) error {
		if r.Error == "" {
			logged++
		}
		return nil
	}); err != nil || logged != 3 {
		t.Errorf("%d calls are on record, want the 3 of the first release: %v", logged, err)
	}
	doc.Serial, doc.Limits.MaxQueue = 2, 2_000_000
	if err := doc.Check(); err == nil || !strings.Contains(err.Error(), "max_queue") {
		t.Errorf("a queue of two million: %v", err)
	}
}

// waitFor waits until ok holds.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// patient is a model that answers when it is let, or when its context ends.
type patient struct {
	engine.Model
	started chan int // rows of each call
	let     chan struct{}
}

func (p *patient) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	p.started <- in[0].Rows()
	select {
	case <-p.let:
		return []tensor.Tensor{in[0]}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestEachJoinedCallKeepsItsOwnTime(t *testing.T) {
	p := &patient{started: make(chan int, 8), let: make(chan struct{})}
	b := newBatcher(&version{model: p}, 8, nil)
	ask := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() { _, err := b.predict(ctx, column(1)); done <- err }()
		return done
	}
	waiting := func(n int) {
		t.Helper()
		waitFor(t, "the calls wait", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.waiting) == n })
	}
	first := ask(t.Context())
	<-p.started
	leader := ask(t.Context())
	waiting(1)
	short, cancel := context.WithCancel(t.Context())
	hasty := ask(short)
	waiting(2)
	slow := ask(t.Context())
	waiting(3)
	p.let <- struct{}{}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if rows := <-p.started; rows != 3 {
		t.Fatalf("%d rows were joined, want 3", rows)
	}
	cancel()
	if err := <-hasty; !errors.Is(err, context.Canceled) { // while the joined call still runs
		t.Errorf("the call whose time was over got %v", err)
	}
	p.let <- struct{}{}
	if err := errors.Join(<-leader, <-slow); err != nil {
		t.Errorf("the others suffered: %v", err)
	}
	if b.busy {
		t.Error("the batcher is not idle again")
	}
}

func TestAJoinedCallHasTheTimeOfTheMostPatient(t *testing.T) {
	now := time.Now()
	ctx := func(after time.Duration) context.Context {
		if after == 0 {
			return t.Context()
		}
		c, cancel := context.WithDeadline(t.Context(), now.Add(after))
		t.Cleanup(cancel)
		return c
	}
	for name, c := range map[string]struct {
		each []time.Duration
		want time.Duration // 0 is no end
	}{
		"the latest counts":             {[]time.Duration{time.Minute, time.Hour, time.Second}, time.Hour},
		"one without an end has none":   {[]time.Duration{time.Minute, 0}, 0},
		"the first may be the hastiest": {[]time.Duration{time.Millisecond, time.Hour}, time.Hour},
	} {
		var group []*waiter
		for _, d := range c.each {
			group = append(group, &waiter{ctx: ctx(d)})
		}
		got, cancel := together(group)
		deadline, ok := got.Deadline()
		if ok != (c.want > 0) || ok && !deadline.Equal(now.Add(c.want)) {
			t.Errorf("%s: got %v, %v", name, deadline.Sub(now), ok)
		}
		cancel()
	}
}

func TestTheSameLimitsGoOnWithTheNextRelease(t *testing.T) {
	limits := release.Limits{CallerQuota: 2}
	with := func(l release.Limits) *endpoint {
		e := &endpoint{doc: release.Document{Endpoint: "e", Limits: l}}
		e.protect(time.Now)
		return e
	}
	was := with(limits)
	for range 2 {
		if err := was.callers.admit("mara"); err != nil {
			t.Fatal(err)
		}
	}
	same := with(limits)
	same.keepLimits(was)
	if err := same.callers.admit("mara"); problem.KindOf(err) != problem.Exhausted || same.gate != was.gate {
		t.Errorf("a new release gave a new day: %v", err)
	}
	more := with(release.Limits{CallerQuota: 3})
	more.keepLimits(was)
	if err := more.callers.admit("mara"); err != nil || more.gate == was.gate {
		t.Errorf("other limits begin anew: %v", err)
	}
}
