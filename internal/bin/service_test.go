package bin_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keelson/internal/bin"
	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

func newBin(t *testing.T, d *db.DB) (*bin.Service, *tracking.Service) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	store := blobtest.Dir(t)
	k := &blob.Keeper{DB: d, Store: store, Log: log, Now: time.Now, Holders: []blob.Holder{blob.Column{Table: "artifact", Name: "digest"}, blob.Column{Table: "bin_file", Name: "digest"}}}
	k.Watch()
	tr := &tracking.Service{DB: d, Blobs: store, Keeper: k, Log: log, Now: time.Now}
	return &bin.Service{DB: d, Keeper: k, Kinds: tr.Bins(), Retention: 30 * 24 * time.Hour, Log: log, Now: time.Now}, tr
}

func as(workspace string) context.Context {
	return caller.WithWorkspace(caller.With(context.Background(), caller.Caller{Name: "ada", Kind: caller.Person, Roles: []string{"data-scientist"}}), workspace)
}

func count(t *testing.T, d *db.DB, table string) (n int) {
	t.Helper()
	if err := d.Read(context.Background(), func(tx db.Scope) error { return tx.QueryRow(`SELECT COUNT(*) FROM ` + table).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatLiesInTheBinTooLongIsPurgedInEveryWorkspace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, tr := newBin(t, d)
		for _, w := range []string{"default", "risk"} {
			for range 2 {
				r, err := tr.CreateRun(as(w), tracking.NewRun{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tr.PutFile(as(w), tracking.ArtifactRoot(r.Experiment, r.ID), "f", strings.NewReader(r.ID)); err != nil {
					t.Fatal(err)
				}
				if err := tr.DeleteRun(as(w), r.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		job := caller.System(context.Background(), "bin.purge")
		s.Now = func() time.Time { return time.Now().Add(29 * 24 * time.Hour) }
		if err := s.PurgeExpired(job); err != nil || count(t, d, "run") != 4 {
			t.Fatalf("a day too early %d runs are left, %v", count(t, d, "run"), err)
		}
		s.Now = func() time.Time { return time.Now().Add(31 * 24 * time.Hour) }
		s.Retention = 0
		if err := s.PurgeExpired(job); err != nil || count(t, d, "run") != 4 {
			t.Fatalf("without a retention %d runs are left, %v", count(t, d, "run"), err)
		}
		s.Retention = 30 * 24 * time.Hour
		if err := s.PurgeExpired(job); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"run", "artifact", "bin_entry", "blob_lease", "blob_loose", "blob_doomed"} {
			if n := count(t, d, table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
		if left, err := s.Keeper.Store.(blob.Listing).Contents(job, "", 10); err != nil || len(left) != 0 {
			t.Errorf("left in the store: %v, %v", left, err)
		}
	})
}

func TestALargeExperimentIsPurgedInStepsAndGoesOnAfterABreak(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, tr := newBin(t, d)
		ctx := as("default")
		e, err := tr.CreateExperiment(ctx, "large", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(ctx, func(tx db.Scope) error {
			for i := range 450 {
				if _, err := tx.Exec(`INSERT INTO run (workspace, id, experiment, name, author, status, started_at) VALUES ('default', $1, $2, 'n', 'ada', 'finished', 1)`, fmt.Sprint("r", i), e.ID); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := tr.DeleteExperiment(ctx, e.ID); err != nil {
			t.Fatal(err)
		}
		dying, kill := context.WithCancel(ctx)
		s.Kinds[0] = breaking{kind: s.Kinds[0], kill: kill}
		if _, err := s.Purge(dying, "experiment", e.ID, "large"); err == nil {
			t.Fatal("the break went unnoticed")
		}
		if n := count(t, d, "run"); n == 0 || n > 450 {
			t.Fatalf("%d runs are left after the break", n)
		}
		s.Kinds = tr.Bins()
		rep, err := s.Purge(ctx, "experiment", e.ID, "large")
		if err != nil || rep.Count != 1 || count(t, d, "run") != 0 || count(t, d, "bin_entry") != 0 {
			t.Fatalf("%+v, %d runs left, %v", rep, count(t, d, "run"), err)
		}
		if _, err := s.Purge(ctx, "experiment", e.ID, "large"); !problem.Is(err, problem.NotFound) {
			t.Errorf("purging twice: %v", err)
		}
	})
}

// breaking ends the context of a purge after its first step.
type breaking struct {
	kind bin.Kind
	kill func()
}

func (b breaking) Kind() string       { return b.kind.Kind() }
func (b breaking) Permission() string { return b.kind.Permission() }

func (b breaking) Restore(tx db.Scope, e bin.Entry, as string) error {
	return b.kind.Restore(tx, e, as)
}

func (b breaking) Purge(tx db.Scope, e bin.Entry) (bin.Gone, bool, error) {
	g, done, err := b.kind.Purge(tx, e)
	b.kill()
	return g, done, err
}

func TestWhoMayNotWriteMayNotRestore(t *testing.T) {
	s, tr := newBin(t, dbtest.SQLite(t))
	r, err := tr.CreateRun(as("default"), tracking.NewRun{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.DeleteRun(as("default"), r.ID); err != nil {
		t.Fatal(err)
	}
	otto := caller.With(as("default"), caller.Caller{Name: "otto", Kind: caller.Person, Roles: []string{"auditor"}})
	if _, err := s.Restore(otto, "run", r.ID, ""); !problem.Is(err, problem.Forbidden) {
		t.Errorf("an auditor restores: %v", err)
	}
	if _, err := s.Restore(as("risk"), "run", r.ID, ""); !problem.Is(err, problem.NotFound) {
		t.Errorf("somebody of another workspace restores: %v", err)
	}
	if e, err := s.Restore(as("default"), "run", r.ID, "again"); err != nil || e.ID != r.ID {
		t.Errorf("%+v %v", e, err)
	}
	if got, err := tr.Run(as("default"), r.ID); err != nil || got.Deleted || got.Name != "again" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestAnAgeIsDaysOrADuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"30d": 720 * time.Hour, "0s": 0, "0.5d": 12 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := bin.ParseAge(text); err != nil || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "d", "-1d", "-1h", "30", "1e99d", "NaNd", "soon"} {
		if got, err := bin.ParseAge(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}
