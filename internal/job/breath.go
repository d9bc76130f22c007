package job

import (
	"context"
	"sync/atomic"
	"time"
)

// What the server does beside its calls, it does in small pieces with pauses between: on two cores a piece of 50 ms makes
// every call of that time late. A piece lasts a quarter of a millisecond, a pause three times as long as what was done before it.
const (
	piece    = 250 * time.Microsecond
	pauses   = 3
	mostWork = 10 * time.Millisecond // a piece that took longer was mostly waiting, for the disk or the database
)

type breathing struct{}

// Gently gives a context in which Breathe pauses. It is for one piece of work; the next one takes a new one.
func Gently(ctx context.Context) context.Context {
	began := &atomic.Int64{}
	began.Store(int64(time.Since(epoch)))
	return context.WithValue(ctx, breathing{}, began)
}

var epoch = time.Now()

// Breathe makes way for others: in a context of Gently it pauses when a piece of work is done, elsewhere it does nothing.
// It costs a look at the clock, and a transaction is no place for it.
func Breathe(ctx context.Context) {
	began, ok := ctx.Value(breathing{}).(*atomic.Int64)
	if !ok {
		return
	}
	worked := time.Since(epoch) - time.Duration(began.Load())
	if worked < piece {
		return
	}
	pause := time.NewTimer(pauses * min(worked, mostWork))
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
	began.Store(int64(time.Since(epoch)))
}
