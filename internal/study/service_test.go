package study

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/engine/linear"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/tracking"
)

func TestTheLastWordsOfAnOldStudyDoNotEndANewOne(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := caller.With(t.Context(), caller.Caller{ID: "ada", Name: "ada", Kind: caller.Person, Roles: []string{"data-scientist"}})
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		blobs := blobtest.Dir(t)
		set, err := engine.NewSet(linear.Engine{})
		if err != nil {
			t.Fatal(err)
		}
		clock := time.Now()
		s := &Service{DB: d, Log: log, Now: func() time.Time { return clock },
			Inventory: &inventory.Service{DB: d, Blobs: blobs, Engines: set, Runs: &tracking.Service{DB: d, Blobs: blobs, Log: log, Now: time.Now}, Log: log, Now: time.Now}}
		digest, size, err := blobs.Put(ctx, strings.NewReader(`{"format":"keelson-linear-1","intercept":1,"coefficients":{"age":2}}`))
		if err != nil {
			t.Fatal(err)
		}
		start := func(version int) {
			t.Helper()
			if got, err := s.Start(ctx, "bills", version); err != nil || got.State != Making {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		for v := 1; v <= 2; v++ {
			if _, err := s.Inventory.Register(ctx, inventory.Registration{Model: "bills", Files: []inventory.File{{Path: "model.linear.json", Digest: digest, Size: size}}, MakeModel: true}); err != nil {
				t.Fatal(err)
			}
			if err := s.Inventory.Check(ctx, "bills", v); err != nil {
				t.Fatal(err)
			}
			start(v)
		}
		if err := d.Write(ctx, func(tx db.Scope) error {
			state := ""
			if tx.Postgres() {
				state = "::river_job_state"
			}
			res, err := tx.Exec("UPDATE river_job SET state = 'discarded'"+state+", finalized_at = CURRENT_TIMESTAMP WHERE kind = $1", Kind)
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n != 2 {
				return errors.New("there are not two jobs")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(stuck + time.Minute)
		start(2) // anew

		r := &job.Runner{DB: d, Log: log, Node: "n1"} // it does not work in the queue of studies
		s.Jobs(r)
		run, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- r.Run(run) }()
		defer func() {
			stop()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		// The words of the newer job, of version 2, are heard first.
		late := time.After(20 * time.Second)
		for {
			one, err := s.Get(ctx, "bills", 1)
			if err != nil {
				t.Fatal(err)
			}
			if one.State == Failed {
				break
			}
			select {
			case <-late:
				t.Fatalf("the study that was given up is %+v", one)
			case <-time.After(20 * time.Millisecond):
			}
		}
		if two, err := s.Get(ctx, "bills", 2); err != nil || two.State != Making {
			t.Errorf("the study that was asked for anew is %+v, %v", two, err)
		}
	})
}
