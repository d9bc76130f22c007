package db_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

func TestTransactions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		insert := func(s db.Scope, name string) error {
			_, err := s.Exec("INSERT INTO lease (name, holder, term, expires) VALUES ($1, $2, $3, $4)", name, s.Workspace, 1, 2)
			return err
		}
		count := func() (n int) {
			t.Helper()
			if err := d.Read(ctx, func(s db.Scope) error {
				return s.QueryRow("SELECT COUNT(*) FROM lease").Scan(&n)
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		boom := errors.New("boom")
		if err := d.Write(ctx, func(s db.Scope) error { return errors.Join(insert(s, "a"), boom) }); !errors.Is(err, boom) {
			t.Fatalf("want the function's error back, got %v", err)
		}
		if n := count(); n != 0 {
			t.Fatalf("a failed write left %d rows", n)
		}
		if err := d.Write(caller.WithWorkspace(ctx, "risk"), func(s db.Scope) error { return insert(s, "a") }); err != nil {
			t.Fatal(err)
		}
		err := d.Write(ctx, func(s db.Scope) error { return insert(s, "a") })
		if !db.IsUnique(err) {
			t.Fatalf("want a unique violation, got %v", err)
		}
		err = d.Write(ctx, func(s db.Scope) error { return d.Write(s.Ctx, func(db.Scope) error { return nil }) })
		if err == nil || !strings.Contains(err.Error(), "inside another") {
			t.Fatalf("want a nested write refused, got %v", err)
		}
	})
}

func TestATextThatPostgreSQLCannotHoldIsTheCallersMistake(t *testing.T) {
	if os.Getenv(dbtest.Postgres) == "" {
		t.Skip("KEELSON_TEST_POSTGRES is not set")
	}
	d := dbtest.PostgreSQL(t)
	for _, bad := range []string{"a\x00b", "\xff"} {
		err := d.Write(context.Background(), func(s db.Scope) error {
			_, err := s.Exec("INSERT INTO lease (name, holder, term, expires) VALUES ($1, '', 0, 0)", bad)
			return err
		})
		if !problem.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReadDecideWriteIsSafeUnderConcurrency(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		if err := d.Write(ctx, func(s db.Scope) error {
			_, err := s.Exec("INSERT INTO lease (name, holder, term, expires) VALUES ('n', '', 0, 0)")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		const workers, each = 8, 10
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					if err := d.Write(ctx, func(s db.Scope) error {
						var n int
						if err := s.QueryRow("SELECT term FROM lease WHERE name = 'n'").Scan(&n); err != nil {
							return err
						}
						_, err := s.Exec("UPDATE lease SET term = $2 WHERE name = $1", "n", n+1)
						return err
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		var n int
		if err := d.Read(ctx, func(s db.Scope) error {
			return s.QueryRow("SELECT term FROM lease WHERE name = 'n'").Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
		if n != workers*each {
			t.Fatalf("want %d increments, got %d", workers*each, n)
		}
	})
}

func TestTimesAndIDs(t *testing.T) {
	if got := db.Time(db.Micros(time.Time{})); !got.IsZero() {
		t.Fatalf("the zero time came back as %s", got)
	}
	now := time.Now()
	if got := db.Time(db.Micros(now)); !got.Equal(now.Truncate(time.Microsecond)) {
		t.Fatalf("want %s, got %s", now, got)
	}
	last := ""
	for range 1000 {
		id := db.NewID()
		if len(id) != 26 || id <= last {
			t.Fatalf("want 26 characters after %q, got %q", last, id)
		}
		last = id
	}
}

func TestNumbersTakenAtOnceAreAllDifferent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		if err := d.Write(ctx, func(tx db.Scope) error {
			_, err := tx.Exec("CREATE TABLE numbered (n BIGINT PRIMARY KEY)")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		errs := make(chan error, 16)
		for range cap(errs) {
			wg.Go(func() {
				errs <- d.Write(ctx, func(tx db.Scope) error {
					var n int
					if err := tx.QueryRow("SELECT COALESCE(MAX(n), 0) + 1 FROM numbered").Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec("INSERT INTO numbered (n) VALUES ($1)", n)
					return err
				})
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
	})
}
