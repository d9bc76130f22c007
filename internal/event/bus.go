package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
)

// Handler reacts to one event. It is called again after an error or a crash, so it must be idempotent. ctx acts in the
// event's workspace in the name of the subscriber.
type Handler func(ctx context.Context, e Event) error

// attempts is how often a failing handler is called before the event is skipped, logged and audited.
const attempts = 8

// Bus numbers events and hands them to subscribers and watchers. Fill the fields, call On, then Run.
type Bus struct {
	DB   *db.DB
	Log  *slog.Logger
	Node string        // holder of leases
	Poll time.Duration // how often the outbox is looked at; 0 is 100 ms

	subs     []*subscription
	leading  atomic.Bool // this process holds the lease and calls the subscribers
	mu       sync.Mutex
	watchers map[chan Event]struct{}
}

type subscription struct {
	name  string
	types map[string]Handler
	wake  chan struct{}
}

// On subscribes name to events of one type; "*" is every type that has no handler of its own. Cursors are kept by name:
// keep it stable.
func (b *Bus) On(name, typ string, h Handler) {
	for _, s := range b.subs {
		if s.name == name {
			s.types[typ] = h
			return
		}
	}
	b.subs = append(b.subs, &subscription{name: name, types: map[string]Handler{typ: h}, wake: make(chan struct{}, 1)})
}

// Run works until ctx ends; react says whether this process calls the subscribers or only feeds its watchers.
func (b *Bus) Run(ctx context.Context, react bool) error {
	poll := b.Poll
	if poll == 0 {
		poll = 100 * time.Millisecond
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if react {
		wg.Go(func() { b.lead(ctx) })
		for _, s := range b.subs {
			wg.Go(func() { b.subscribe(ctx, s) })
		}
	}
	var seen int64
	if err := b.DB.Read(ctx, func(s db.Scope) error {
		return s.QueryRow("SELECT COALESCE(MAX(seq), 0) FROM event").Scan(&seen)
	}); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		next, err := b.tail(ctx, seen)
		if err != nil && ctx.Err() == nil {
			b.Log.ErrorContext(ctx, "events could not be read", "error", err)
		}
		seen = next
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (b *Bus) tail(ctx context.Context, seen int64) (int64, error) {
	var open bool
	var fresh []Event
	look := func(s db.Scope) (err error) {
		if err = s.QueryRow("SELECT EXISTS (SELECT 1 FROM event WHERE seq IS NULL)").Scan(&open); err != nil {
			return err
		}
		fresh, err = after(s, seen, 500)
		return err
	}
	if err := b.DB.Read(ctx, look); err != nil {
		return seen, err
	}
	if open {
		if err := b.DB.Write(ctx, func(s db.Scope) error { _, err := sequence(s); return err }); err != nil {
			return seen, err
		}
		if err := b.DB.Read(ctx, look); err != nil {
			return seen, err
		}
	}
	for _, e := range fresh {
		seen = e.Seq
		b.broadcast(e)
	}
	if len(fresh) > 0 {
		for _, s := range b.subs {
			s.poke()
		}
	}
	return seen, nil
}

const ttl = 4 * time.Second

// lead keeps the lease under which one process of several calls the subscribers.
func (b *Bus) lead(ctx context.Context) {
	tick := time.NewTicker(ttl / 4)
	defer tick.Stop()
	for {
		_, mine, err := b.DB.Hold(ctx, "event-bus", b.Node, ttl)
		if b.leading.Swap(err == nil && mine) != mine && mine {
			for _, s := range b.subs {
				s.poke()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *subscription) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// subscribe calls one subscriber's handlers as long as this process leads.
func (b *Bus) subscribe(ctx context.Context, s *subscription) {
	tick := time.NewTicker(ttl / 4)
	defer tick.Stop()
	failures := 0
	for ctx.Err() == nil {
		var err error
		if b.leading.Load() {
			var more bool
			if more, err = b.step(ctx, s, &failures); err == nil && more {
				continue
			}
		}
		if err != nil && ctx.Err() == nil {
			b.Log.WarnContext(ctx, "a reaction failed and is tried again", "subscriber", s.name, "attempt", failures, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(min(time.Duration(1<<failures)*50*time.Millisecond, ttl)):
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// step handles the next batch of events of one subscriber and moves its cursor; more says that there may be others.
func (b *Bus) step(ctx context.Context, s *subscription, failures *int) (more bool, err error) {
	var seq int64
	var events []Event
	if err := b.DB.Read(ctx, func(tx db.Scope) error {
		err := tx.QueryRow("SELECT seq FROM event_cursor WHERE subscriber = $1", s.name).Scan(&seq)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return err
		}
		events, err = after(tx, seq, 100)
		return err
	}); err != nil || len(events) == 0 {
		return false, err
	}
	for _, e := range events {
		h := s.types[e.Type]
		if h == nil {
			h = s.types["*"]
		}
		if h != nil {
			if err := h(Caused(ctx, e, s.name), e); err != nil {
				if ctx.Err() != nil {
					return false, ctx.Err()
				}
				*failures++
				if *failures < attempts {
					return false, errors.Join(fmt.Errorf("handle %s %s: %w", e.Type, e.ID, err), b.move(ctx, s, seq))
				}
				b.Log.ErrorContext(ctx, "an event was skipped after its handler failed", "subscriber", s.name, "event", e.ID, "type", e.Type, "error", err)
				if err := b.DB.Write(Caused(ctx, e, s.name), func(tx db.Scope) error {
					return audit.Record(tx, "event.skipped", e.Subject, map[string]any{"event": e.ID, "type": e.Type, "subscriber": s.name})
				}); err != nil {
					return false, err
				}
			}
			*failures = 0
		}
		seq = e.Seq
	}
	return true, b.move(ctx, s, seq)
}

func (b *Bus) move(ctx context.Context, s *subscription, seq int64) error {
	return b.DB.Write(ctx, func(tx db.Scope) error {
		_, err := tx.Exec(`INSERT INTO event_cursor (subscriber, seq) VALUES ($1, $2)
			ON CONFLICT (subscriber) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > event_cursor.seq`, s.name, seq)
		return err
	})
}

// Watch gives the events of this moment on, until ctx ends. A watcher that does not keep up loses events and sees a gap
// in Seq.
func (b *Bus) Watch(ctx context.Context) <-chan Event {
	ch := make(chan Event, 256)
	b.mu.Lock()
	if b.watchers == nil {
		b.watchers = map[chan Event]struct{}{}
	}
	b.watchers[ch] = struct{}{}
	b.mu.Unlock()
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		delete(b.watchers, ch)
		close(ch)
		b.mu.Unlock()
	})
	return ch
}

func (b *Bus) broadcast(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.watchers {
		select {
		case ch <- e:
		default:
		}
	}
}

// Since reads up to limit events numbered above seq, for a watcher that was away.
func (b *Bus) Since(ctx context.Context, seq int64, limit int) (out []Event, err error) {
	err = b.DB.Read(ctx, func(s db.Scope) error { out, err = after(s, seq, limit); return err })
	return out, err
}
