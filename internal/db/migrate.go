package db

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema up to date: River's tables first, then ours in the order of their numbers. Calling it again
// does nothing.
func (d *DB) Migrate(ctx context.Context) error {
	if err := d.migrateRiver(ctx); err != nil {
		return fmt.Errorf("migrate job tables: %w", err)
	}
	files, err := d.migrationFiles()
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if d.postgres {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, d.w, files, goose.WithAllowOutofOrder(true), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// migrationFiles is the embedded folder with the files of the other database left out and the dialect taken off the names.
func (d *DB) migrationFiles() (fs.FS, error) {
	mine, other := ".sqlite.sql", ".postgres.sql"
	if d.postgres {
		mine, other = other, mine
	}
	out := fstest.MapFS{}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if strings.HasSuffix(n, other) {
			continue
		}
		b, err := migrations.ReadFile(n)
		if err != nil {
			return nil, err
		}
		base := strings.TrimPrefix(n, "migrations/")
		if strings.HasSuffix(base, mine) {
			base = strings.TrimSuffix(base, mine) + ".sql"
		}
		out[base] = &fstest.MapFile{Data: b}
	}
	return out, nil
}

func (d *DB) migrateRiver(ctx context.Context) error {
	if d.postgres {
		pool, err := pgxpool.New(ctx, d.dsn)
		if err != nil {
			return err
		}
		defer pool.Close()
		return riverUp(ctx, riverpgxv5.New(pool))
	}
	return riverUp(ctx, riversqlite.New(d.w))
}

func riverUp[T any](ctx context.Context, driver riverdriver.Driver[T]) error {
	m, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}
