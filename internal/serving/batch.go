package serving

import (
	"context"
	"slices"
	"sync"
	"time"

	"keelson/internal/engine"
	"keelson/internal/journal"
	"keelson/internal/tensor"
)

// batcher joins calls that come while the model is busy into one. The first call never waits for others:
//
//	idle ── call ──▶ computed at once
//	busy ── calls ──▶ wait; when the model is free the first of them computes for all that fit together
//
// Calls fit together when their tensors have the same names, types and shapes but for the rows. Each gets exactly its
// own rows of the answer; when a joined call fails, or its outputs are not one row per row, each is computed alone, so
// that nobody suffers from a neighbour's mistake. A joined call has the time of the most patient of its callers; the
// others go when their own time is over, but for the one that computes.
type batcher struct {
	model   engine.Model
	maxRows int
	meter   *journal.Meter

	mu      sync.Mutex
	busy    bool
	waiting []*waiter
}

// waiter is a call that waits.
type waiter struct {
	ctx  context.Context
	in   []tensor.Tensor
	rows int
	wake chan struct{}
	lead []*waiter // with this call first: it is to compute for all of them
	out  []tensor.Tensor
	err  error

	copied chan struct{} // closed when the joined call has its own copy of in
	taken  bool          // under mu: in is being read, or the call went away and must not be read any more
}

// newBatcher gives nil when calls are not to be joined.
func newBatcher(v *version, maxRows int, meter *journal.Meter) *batcher {
	if maxRows <= 1 || v.tracer != nil {
		return nil
	}
	return &batcher{model: v.model, maxRows: maxRows, meter: meter}
}

func (b *batcher) predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	b.mu.Lock()
	if !b.busy {
		b.busy = true
		b.mu.Unlock()
		defer b.next()
		return b.model.Predict(ctx, in)
	}
	w := &waiter{ctx: ctx, in: in, rows: joinable(in), wake: make(chan struct{}), copied: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	select {
	case <-w.wake:
	case <-ctx.Done():
		b.mu.Lock()
		i := slices.Index(b.waiting, w)
		if i >= 0 {
			b.waiting = slices.Delete(b.waiting, i, i+1)
		}
		b.mu.Unlock()
		if i >= 0 {
			return nil, ctx.Err()
		}
		select { // it was chosen: others wait for what it computes, or its rows are being copied
		case <-w.wake:
		case <-w.copied:
			if b.take(w) {
				return nil, ctx.Err()
			}
			<-w.wake // it is being computed alone, with this ctx
		}
	}
	if w.lead != nil {
		defer b.next()
		b.compute(ctx, w.lead)
	}
	if p, ok := w.err.(panicError); ok {
		panic(p.value) // in the call that caused it
	}
	return w.out, w.err
}

// take says whether the caller is the first to take w: to compute it alone, or to leave.
func (b *batcher) take(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := !w.taken
	w.taken = true
	return first
}

// next hands the model to the first call that waits, with those that fit to it, or leaves it idle.
func (b *batcher) next() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.busy = false
		return
	}
	first := b.waiting[0]
	group, rest, rows := []*waiter{first}, b.waiting[:0], first.rows
	for _, w := range b.waiting[1:] {
		if first.rows > 0 && w.rows > 0 && rows+w.rows <= b.maxRows && alike(first.in, w.in) {
			group, rows = append(group, w), rows+w.rows
		} else {
			rest = append(rest, w)
		}
	}
	clear(b.waiting[len(rest):])
	b.waiting = rest
	first.lead = group
	close(first.wake)
}

// panicError carries a panic to the goroutine whose call caused it.
type panicError struct{ value any }

func (e panicError) Error() string { return panicked(e.value).Error() }

// caught is Predict whose panic is an error.
func (b *batcher) caught(ctx context.Context, in []tensor.Tensor) (out []tensor.Tensor, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError{p}
		}
	}()
	return b.model.Predict(ctx, in)
}

// compute answers every call of a group; the first is the caller's own.
func (b *batcher) compute(ctx context.Context, group []*waiter) {
	if len(group) == 1 {
		group[0].out, group[0].err = b.caught(ctx, group[0].in)
		return
	}
	joined, cancel := together(group)
	defer cancel()
	in := join(group)
	for _, w := range group[1:] {
		close(w.copied)
	}
	out, err := b.caught(joined, in)
	whole := err == nil && split(group, out)
	if whole {
		b.meter.Joined(len(group) - 1)
	}
	for i, w := range group {
		if !whole && (i == 0 || b.take(w)) {
			w.out, w.err = b.caught(w.ctx, w.in)
		}
		if i > 0 {
			close(w.wake)
		}
	}
}

// together is the context of a joined call: nobody's going away ends it, and its deadline is the latest of the group's.
func together(group []*waiter) (context.Context, context.CancelFunc) {
	ctx := context.WithoutCancel(group[0].ctx)
	var latest time.Time
	for _, w := range group {
		deadline, ok := w.ctx.Deadline()
		if !ok {
			return ctx, func() {}
		}
		if deadline.After(latest) {
			latest = deadline
		}
	}
	return context.WithDeadline(ctx, latest)
}

// joinable gives the rows of a call that may be joined with others, 0 when it may not.
func joinable(in []tensor.Tensor) int {
	rows := 0
	for i := range in {
		t := &in[i]
		if len(t.Shape) == 0 || t.Shape[0] == 0 || i > 0 && t.Shape[0] != rows {
			return 0
		}
		rows = t.Shape[0]
	}
	return rows
}

func alike(a, b []tensor.Tensor) bool {
	return slices.EqualFunc(a, b, func(x, y tensor.Tensor) bool {
		return x.Name == y.Name && x.Type == y.Type && len(x.Shape) == len(y.Shape) && slices.Equal(x.Shape[1:], y.Shape[1:])
	})
}

// join puts the rows of all calls behind one another.
func join(group []*waiter) []tensor.Tensor {
	out := make([]tensor.Tensor, len(group[0].in))
	for k := range out {
		t := &out[k]
		*t = group[0].in[k]
		t.Shape = slices.Clone(t.Shape)
		t.F32, t.F64, t.I64, t.U64, t.B, t.S = nil, nil, nil, nil, nil, nil
		rows := 0
		for _, w := range group {
			p := &w.in[k]
			rows += w.rows
			t.F32, t.F64, t.I64 = append(t.F32, p.F32...), append(t.F64, p.F64...), append(t.I64, p.I64...)
			t.U64, t.B, t.S = append(t.U64, p.U64...), append(t.B, p.B...), append(t.S, p.S...)
		}
		t.Shape[0] = rows
	}
	return out
}

// split gives each call its rows; false when the outputs are not one row per row.
func split(group []*waiter, out []tensor.Tensor) bool {
	rows := 0
	for _, w := range group {
		rows += w.rows
	}
	for i := range out {
		if len(out[i].Shape) == 0 || out[i].Shape[0] != rows {
			return false
		}
	}
	from := 0
	for _, w := range group {
		w.out = make([]tensor.Tensor, len(out))
		for k := range out {
			w.out[k] = rowsOf(&out[k], from, w.rows)
		}
		from += w.rows
	}
	return true
}

// rowsOf is a view of n rows of t.
func rowsOf(t *tensor.Tensor, from, n int) tensor.Tensor {
	v, width := *t, t.Width()
	v.Shape = slices.Clone(t.Shape)
	v.Shape[0] = n
	lo, hi := from*width, (from+n)*width
	switch {
	case t.F32 != nil:
		v.F32 = t.F32[lo:hi:hi]
	case t.F64 != nil:
		v.F64 = t.F64[lo:hi:hi]
	case t.I64 != nil:
		v.I64 = t.I64[lo:hi:hi]
	case t.U64 != nil:
		v.U64 = t.U64[lo:hi:hi]
	case t.B != nil:
		v.B = t.B[lo:hi:hi]
	case t.S != nil:
		v.S = t.S[lo:hi:hi]
	}
	return v
}
