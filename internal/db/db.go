// Package db opens the metadata database and runs transactions on it.
//
// One SQL text serves SQLite and PostgreSQL: $1 placeholders, RETURNING and ON CONFLICT, ids made by us, times as UTC
// microseconds in BIGINT, documents as JSON text. SQLite has one writer connection and a pool of readers; PostgreSQL
// writes are serializable, so that read-decide-write in a service means the same on both.
//
// Services open transactions, stores take them. A Write inside a Write is refused: with one writer it would wait for
// itself. No file or network I/O belongs inside a transaction.
package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"keelson/internal/caller"
	"keelson/internal/problem"
)

// ErrNoRows is database/sql's.
var ErrNoRows = sql.ErrNoRows

// DB is an open database. Close it last.
type DB struct {
	w, r     *sql.DB
	postgres bool
	dsn      string
	twice    bool
	stmts    stmts
}

// RunTwice makes every write run its function, throw the result away and run it again, as a serialisation failure would.
// Tests switch it on to find functions that do not bear it.
func (d *DB) RunTwice() { d.twice = true }

// Scope is one transaction in one workspace. Stores take it; it is not safe for concurrent use.
type Scope struct {
	Ctx       context.Context
	Workspace string
	tx        *sql.Tx
	conn      *sql.Conn // PostgreSQL only
	postgres  bool
	stmts     *stmts // of SQLite's writer; nil elsewhere
}

type inTx struct{}

// Open opens dsn: "postgres://…", or the path of an SQLite file (its folder is made if missing). A path may end in
// "?synchronous=full": then every commit is on the disk before it is answered and survives a power cut. Without, a commit
// survives the end of the process, however sudden, and is on the disk with the next checkpoint of the write-ahead log.
// The schema is not touched; call Migrate.
func Open(ctx context.Context, dsn string) (*DB, error) {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		return openPostgres(ctx, dsn)
	}
	return openSQLite(ctx, strings.TrimPrefix(dsn, "sqlite://"))
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	synchronous := "NORMAL"
	if p, ok := strings.CutSuffix(path, "?synchronous=full"); ok {
		path, synchronous = p, "FULL"
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder for %s: %w", path, err)
	}
	pragmas := "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(" + synchronous + ")&_pragma=foreign_keys(1)&_pragma=temp_store(2)"
	name := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas
	w, err := sql.Open("sqlite", name+"&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	w.SetMaxOpenConns(1)
	if err := w.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), w.Close())
	}
	r, err := sql.Open("sqlite", name+"&_pragma=query_only(1)&_pragma=cache_size(-4096)")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s for reading: %w", path, err), w.Close())
	}
	r.SetMaxOpenConns(8)
	r.SetMaxIdleConns(4)
	r.SetConnMaxIdleTime(time.Minute)
	return &DB{w: w, r: r, dsn: path}, nil
}

func openPostgres(ctx context.Context, dsn string) (*DB, error) {
	d, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	d.SetMaxOpenConns(20)
	d.SetMaxIdleConns(8)
	d.SetConnMaxIdleTime(time.Minute)
	if err := d.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach PostgreSQL: %w", err), d.Close())
	}
	return &DB{w: d, r: d, postgres: true, dsn: dsn}, nil
}

// Close closes all connections.
func (d *DB) Close() error {
	if d.postgres {
		return d.w.Close()
	}
	d.stmts.close()
	return errors.Join(d.r.Close(), d.w.Close())
}

// Postgres tells which of the two databases this is.
func (d *DB) Postgres() bool { return d.postgres }

// DSN is what Open was given, without the prefix sqlite://. It may hold a password.
func (d *DB) DSN() string { return d.dsn }

// Writer is the connection pool for writing, for libraries that want a *sql.DB (River, goose).
func (d *DB) Writer() *sql.DB { return d.w }

// Ping asks the database for a sign of life.
func (d *DB) Ping(ctx context.Context) error { return d.r.PingContext(ctx) }

// Write runs fn in one transaction: all of it is stored or nothing. On PostgreSQL the transaction is serializable and
// fn is called again after a serialisation failure or a key that is taken, so fn must have no effect outside the database.
func (d *DB) Write(ctx context.Context, fn func(Scope) error) error {
	return d.write(ctx, sql.LevelSerializable, fn)
}

// WriteBulk is Write for rows that no other transaction reads before deciding (metrics, log rows): on PostgreSQL it
// runs at read committed.
func (d *DB) WriteBulk(ctx context.Context, fn func(Scope) error) error {
	return d.write(ctx, sql.LevelReadCommitted, fn)
}

func (d *DB) write(ctx context.Context, level sql.IsolationLevel, fn func(Scope) error) error {
	if ctx.Value(inTx{}) != nil {
		return errors.New("db: a transaction was opened inside another one")
	}
	opts := &sql.TxOptions{}
	if d.postgres {
		opts.Isolation = level
	}
	if d.twice {
		again := errors.New("run again")
		if err := d.once(ctx, d.w, opts, func(s Scope) error { return errors.Join(fn(s), again) }); !errors.Is(err, again) {
			return explain(err)
		}
	}
	for try := 0; ; try++ {
		err := d.once(ctx, d.w, opts, fn)
		// A key that is taken may have been taken by a neighbour after fn looked for a free one, and then fn finds another.
		again := transient(err) || opts.Isolation == sql.LevelSerializable && IsUnique(err) && try < 8
		if err == nil && !d.postgres {
			d.stmts.prepare(context.WithoutCancel(ctx), d.w)
		}
		if err == nil || !again || try >= 30 || ctx.Err() != nil {
			return explain(err)
		}
		pause := time.Duration(1+rand.IntN(1<<min(try+1, 7))) * time.Millisecond
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Read runs fn in a read-only transaction with one consistent view.
func (d *DB) Read(ctx context.Context, fn func(Scope) error) error {
	if ctx.Value(inTx{}) != nil {
		return errors.New("db: a transaction was opened inside another one")
	}
	opts := &sql.TxOptions{ReadOnly: d.postgres}
	if d.postgres {
		opts.Isolation = sql.LevelRepeatableRead
	}
	return explain(d.once(ctx, d.r, opts, fn))
}

func (d *DB) once(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(Scope) error) (err error) {
	var conn *sql.Conn
	begin := pool.BeginTx
	if d.postgres { // the connection is kept so that job.Enqueue can lend it to River
		if conn, err = pool.Conn(ctx); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer conn.Close()
		begin = conn.BeginTx
	}
	tx, err := begin(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}()
	s := Scope{Ctx: context.WithValue(ctx, inTx{}, true), Workspace: caller.Workspace(ctx), tx: tx, conn: conn, postgres: d.postgres}
	if pool == d.w && !d.postgres {
		s.stmts = &d.stmts
	}
	if err := fn(s); err != nil {
		return err
	}
	done = true
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// In is the same transaction in another workspace; for work that spans workspaces (sequencers, sweeps).
func (s Scope) In(workspace string) Scope { s.Workspace = workspace; return s }

// Postgres tells which database the transaction runs on, for the rare pair of texts.
func (s Scope) Postgres() bool { return s.postgres }

// Bytewise is a text expression compared byte by byte on both databases.
func (s Scope) Bytewise(sql string) string {
	if s.postgres {
		return sql + ` COLLATE "C"`
	}
	return sql
}

// Tx is the underlying transaction, for libraries that join it.
func (s Scope) Tx() *sql.Tx { return s.tx }

// Conn calls fn with the pgx connection the transaction runs on. PostgreSQL only.
func (s Scope) Conn(fn func(*pgx.Conn) error) error {
	if s.conn == nil {
		return errors.New("db: Conn is for PostgreSQL transactions")
	}
	return s.conn.Raw(func(driver any) error { return fn(driver.(*stdlib.Conn).Conn()) })
}

// Exec runs a statement.
func (s Scope) Exec(q string, a ...any) (sql.Result, error) {
	if s.stmts != nil {
		if stmt := s.stmts.get(q); stmt != nil {
			return s.tx.StmtContext(s.Ctx, stmt).ExecContext(s.Ctx, a...)
		}
	}
	return s.tx.ExecContext(s.Ctx, q, a...)
}

// Query runs a query; close the rows.
func (s Scope) Query(q string, a ...any) (*sql.Rows, error) { return s.tx.QueryContext(s.Ctx, q, a...) }

// QueryRow runs a query for one row; Scan gives ErrNoRows when there is none.
func (s Scope) QueryRow(q string, a ...any) *sql.Row { return s.tx.QueryRowContext(s.Ctx, q, a...) }

// Each calls scan for every row of q.
func (s Scope) Each(q string, args []any, scan func(scan func(...any) error) error) error {
	rows, err := s.Query(q, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// transient reports a failure that the same transaction may survive when it is tried again.
func transient(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01"
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == sqlite3.SQLITE_BUSY
}

// explain turns a full or read-only disk into a problem that says so.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := problem.As(err); ok {
		return err
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return problem.New(problem.Stored, "The disk of the database is full; nothing was stored. Free space and try again.").Because(err)
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
			return problem.New(problem.Stored, "The database cannot be written; nothing was stored. Check the rights and the disk of the data folder.").Because(err)
		}
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "22021" || pg.Code == "22P05") {
		return problem.New(problem.Invalid, "A text in the request holds a NUL byte or is no UTF-8; take it out and send it again.").Because(err)
	}
	if errors.As(err, &pg) && (pg.Code == "53100" || pg.Code == "25006") {
		return problem.New(problem.Stored, "The database takes no writes at the moment; nothing was stored.").Because(err)
	}
	return err
}

// IsUnique reports that a row with the same key is there already.
func IsUnique(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "23505"
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// Micros is a time as it is stored: UTC microseconds since 1970; the zero time is 0.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time is the time of a stored value; 0 is the zero time.
func Time(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Moment is Time for what may not have happened yet; 0 is nil.
func Moment(us int64) *time.Time {
	if us == 0 {
		return nil
	}
	t := Time(us)
	return &t
}

// MomentMicros is Micros of a Moment.
func MomentMicros(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return Micros(*t)
}

// Bit is b as stored in a column of 0 and 1.
func Bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ToJSON is v as stored in a document column. It panics on a value that JSON cannot hold, which is a mistake in our own types.
func ToJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("db: %T is no document: %v", v, err))
	}
	return string(b)
}

// FromJSON reads a document column; an empty one leaves v as it is.
func FromJSON(col string, v any) error {
	if col == "" {
		return nil
	}
	return json.Unmarshal([]byte(col), v)
}
