package event_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
)

func bus(d *db.DB, node string) *event.Bus {
	return &event.Bus{DB: d, Node: node, Poll: 10 * time.Millisecond, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func run(t *testing.T, b *event.Bus) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, true) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func publish(t *testing.T, d *db.DB, ctx context.Context, typ string, n int) {
	t.Helper()
	if err := d.Write(ctx, func(tx db.Scope) error {
		for range n {
			if err := event.Publish(tx, typ, "model/m", map[string]int{"n": n}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func wait[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not happen in 20 s", what)
	}
	return v
}

func TestSubscribersSeeCommittedEventsInOrderAndAfterARestart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := caller.WithWorkspace(context.Background(), "risk")
		publish(t, d, ctx, "version.ready", 3) // before anybody listens
		boom := errors.New("boom")
		_ = d.Write(ctx, func(tx db.Scope) error { return errors.Join(event.Publish(tx, "version.ready", "x", nil), boom) })
		got := make(chan event.Event, 100)
		b := bus(d, "a")
		var failed atomic.Bool
		b.On("evaluation", "version.ready", func(ctx context.Context, e event.Event) error {
			if caller.Workspace(ctx) != "risk" || caller.From(ctx).Name != "evaluation" {
				t.Errorf("called as %s in %s", caller.From(ctx).Name, caller.Workspace(ctx))
			}
			if e.Seq == 2 && !failed.Swap(true) {
				return boom // tried again
			}
			got <- e
			return nil
		})
		run(t, b)
		for i := range 3 {
			if e := wait(t, got, "an event"); e.Seq != int64(i+1) {
				t.Fatalf("want event %d, got %d", i+1, e.Seq)
			}
		}
		w, cancel := context.WithCancel(ctx)
		defer cancel()
		watch := b.Watch(w)
		publish(t, d, ctx, "version.ready", 1)
		if e := wait(t, watch, "the watched event"); e.Seq != 4 || e.Workspace != "risk" {
			t.Fatalf("got %+v", e)
		}
		wait(t, got, "the fourth event")
		since, err := b.Since(ctx, 2, 10)
		if err != nil || len(since) != 2 || since[0].Seq != 3 {
			t.Fatalf("got %+v, %v", since, err)
		}
	})
}

func TestALoopOfReactionsStopsAndIsAudited(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := bus(d, "a")
		var n atomic.Int32
		b.On("loop", "ping", func(ctx context.Context, e event.Event) error {
			n.Add(1)
			return d.Write(ctx, func(tx db.Scope) error { return event.Publish(tx, "ping", e.Subject, nil) })
		})
		run(t, b)
		publish(t, d, context.Background(), "ping", 1)
		deadline := time.After(20 * time.Second)
		for {
			var action string
			err := d.Read(context.Background(), func(tx db.Scope) error {
				return tx.QueryRow("SELECT action FROM audit_entry WHERE action = 'event.loop-stopped'").Scan(&action)
			})
			if err == nil {
				break
			}
			select {
			case <-deadline:
				t.Fatalf("the loop was not stopped after %d calls", n.Load())
			case <-time.After(10 * time.Millisecond):
			}
		}
		if n.Load() != event.MaxHops+1 {
			t.Fatalf("want %d calls, got %d", event.MaxHops+1, n.Load())
		}
	})
}

func TestAnEventWhoseHandlerAlwaysFailsIsSkippedAndAudited(t *testing.T) {
	d := dbtest.SQLite(t)
	b := bus(d, "a")
	got := make(chan event.Event, 1)
	b.On("poison", "bad", func(context.Context, event.Event) error { return errors.New("never") })
	b.On("poison", "good", func(_ context.Context, e event.Event) error { got <- e; return nil })
	run(t, b)
	publish(t, d, context.Background(), "bad", 1)
	publish(t, d, context.Background(), "good", 1)
	wait(t, got, "the event after the poisoned one")
	var detail string
	if err := d.Read(context.Background(), func(tx db.Scope) error {
		return tx.QueryRow("SELECT detail FROM audit_entry WHERE action = 'event.skipped'").Scan(&detail)
	}); err != nil || !strings.Contains(detail, "poison") {
		t.Fatalf("got %q, %v", detail, err)
	}
}
