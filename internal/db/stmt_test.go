package db_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

// A statement that is executed often is kept prepared; it must see its own transaction, a changed schema and errors.
func TestAStatementExecutedOftenStaysTheSame(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		write := func(fn func(db.Scope) error) {
			t.Helper()
			if err := d.Write(ctx, fn); err != nil {
				t.Fatal(err)
			}
		}
		write(func(tx db.Scope) error {
			_, err := tx.Exec("CREATE TABLE often (id BIGINT PRIMARY KEY, a TEXT NOT NULL)")
			return err
		})
		insert := func(tx db.Scope, id int) error {
			_, err := tx.Exec("INSERT INTO often (id, a) VALUES ($1, $2)", id, fmt.Sprint(id))
			return err
		}
		for i := range 20 {
			write(func(tx db.Scope) error { return insert(tx, i) })
		}
		undone := errors.New("undone")
		if err := d.Write(ctx, func(tx db.Scope) error { return errors.Join(insert(tx, 100), undone) }); !errors.Is(err, undone) {
			t.Fatal(err)
		}
		if err := d.WriteBulk(ctx, func(tx db.Scope) error { return insert(tx, 7) }); !db.IsUnique(err) {
			t.Fatalf("the key 7 is there: %v", err)
		}
		write(func(tx db.Scope) error {
			_, err := tx.Exec("ALTER TABLE often ADD COLUMN b TEXT NOT NULL DEFAULT 'x'")
			return err
		})
		write(func(tx db.Scope) error { return insert(tx, 20) })
		var n, sum int
		if err := d.Read(ctx, func(tx db.Scope) error {
			return tx.QueryRow("SELECT COUNT(*), SUM(id) FROM often WHERE b = 'x' AND a <> ''").Scan(&n, &sum)
		}); err != nil || n != 21 || sum != 210 {
			t.Fatalf("got %d rows with sum %d, %v; want 21 and 210", n, sum, err)
		}
	})
}
