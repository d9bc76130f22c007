// Package dbtest runs a store's test on every database there is: SQLite always, PostgreSQL when
// KEELSON_TEST_POSTGRES holds a connection string (each test in a schema of its own).
package dbtest

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"keelson/internal/db"
)

// Postgres is the environment variable with the connection string of a PostgreSQL server for tests.
const Postgres = "KEELSON_TEST_POSTGRES"

var template struct {
	once sync.Once
	file []byte
	err  error
}

// Each calls fn once per database with a migrated, empty one.
func Each(t *testing.T, fn func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	if os.Getenv(Postgres) != "" {
		t.Run("postgres", func(t *testing.T) { fn(t, PostgreSQL(t)) })
	}
}

// SQLite opens a migrated database in a temporary folder. The schema is made once per test binary and copied. Every
// write is run twice, so that a function which does not bear being repeated is found here and not on PostgreSQL.
func SQLite(t testing.TB) *db.DB {
	t.Helper()
	ctx := context.Background()
	template.once.Do(func() { template.file, template.err = migrated(ctx) })
	if template.err != nil {
		t.Fatal(template.err)
	}
	path := filepath.Join(t.TempDir(), "keelson.db")
	if err := os.WriteFile(path, template.file, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.RunTwice()
	return d
}

func migrated(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "dbtest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "template.db")
	d, err := db.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := d.Migrate(ctx); err != nil {
		d.Close()
		return nil, err
	}
	if _, err := d.Writer().ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		d.Close()
		return nil, err
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// DSN makes an empty schema on the test server and gives a connection string that works inside it.
func DSN(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	base := os.Getenv(Postgres)
	admin, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	schema := "t_" + db.NewID()
	if _, err := admin.ExecContext(ctx, "CREATE SCHEMA "+schema); err != nil {
		t.Fatalf("make schema on %s: %v", Postgres, err)
	}
	t.Cleanup(func() {
		c, err := sql.Open("pgx", base)
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := c.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Logf("drop schema %s: %v", schema, err)
		}
	})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

// PostgreSQL opens a migrated database in a schema of its own.
func PostgreSQL(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return d
}

// Tamper runs SQL as somebody with the database's password would; it has to change something.
func Tamper(t testing.TB, d *db.DB, q string, args ...any) {
	t.Helper()
	if err := d.Write(context.Background(), func(tx db.Scope) error {
		res, err := tx.Exec(q, args...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n == 0 {
			return fmt.Errorf("%s changed nothing: %w", q, cmp.Or(err, db.ErrNoRows))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
