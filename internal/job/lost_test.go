package job

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

func TestLastWordsThatFailAreTriedMoreAndMoreSeldomAndForgottenWithTheirJob(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		r := &Runner{DB: d, Node: "n1", Log: slog.New(slog.DiscardHandler)}
		tried := map[string]int{}
		var fails error
		for _, kind := range []string{"deaf", "good", "none"} {
			r.GivenUp(kind, func(_ context.Context, j Job, why string) error {
				tried[kind]++
				if kind == "deaf" {
					return fails
				}
				return nil
			})
		}
		if err := d.Write(ctx, func(tx db.Scope) error {
			state := ""
			if tx.Postgres() {
				state = "::river_job_state"
			}
			err := errors.Join(Enqueue(tx, "deaf", 1), Enqueue(tx, "good", 1), Enqueue(tx, "good", 2), Enqueue(tx, "unheard", 1))
			if err == nil {
				_, err = tx.Exec("UPDATE river_job SET state = 'discarded'" + state + ", finalized_at = CURRENT_TIMESTAMP")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		fails = errors.New("not now")
		for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			began := time.Now()
			if err := r.hear(ctx); err == nil || tried["deaf"] != n+1 {
				t.Fatalf("try %d: %v, tried %d times", n+1, err, tried["deaf"])
			}
			for id, h := range r.heard {
				if h.heard {
					continue
				}
				if h.next.Before(began.Add(want*time.Second)) || h.next.After(time.Now().Add(want*time.Second)) {
					t.Errorf("after try %d it rests for %s, want %d s", n+1, h.next.Sub(began), want)
				}
				h.next = time.Now().Add(time.Hour)
				r.heard[id] = h
				if err := r.hear(ctx); err != nil || tried["deaf"] != n+1 {
					t.Errorf("it is tried while it rests: %v", err)
				}
				h.next = time.Time{}
				r.heard[id] = h
			}
		}
		fails = nil
		if err := errors.Join(r.hear(ctx), r.hear(ctx)); err != nil || tried["deaf"] != 9 || tried["good"] != 2 || len(r.heard) != 3 {
			t.Errorf("%v, tried %v, knows %v", err, tried, r.heard)
		}
		if err := d.Write(ctx, func(tx db.Scope) error { _, err := tx.Exec("DELETE FROM river_job WHERE kind = 'good'"); return err }); err != nil {
			t.Fatal(err)
		}
		if err := r.hear(ctx); err != nil || len(r.heard) != 1 || tried["good"] != 2 {
			t.Errorf("%v, knows %v after River forgot two", err, r.heard)
		}
	})
}
