package job

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// lent is a pgx.Tx over the connection of a transaction that database/sql began and will end. River only runs
// statements on it; beginning, committing or rolling back here would cut through our own transaction.
type lent struct{ conn *pgx.Conn }

var errLent = errors.New("job: the transaction is lent")

func (l lent) Begin(ctx context.Context) (pgx.Tx, error) { return nil, errLent }
func (l lent) Commit(context.Context) error              { return errLent }
func (l lent) Rollback(context.Context) error            { return errLent }
func (l lent) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return l.conn.CopyFrom(ctx, table, columns, src)
}
func (l lent) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return l.conn.SendBatch(ctx, b)
}
func (l lent) LargeObjects() pgx.LargeObjects { panic(errLent) }
func (l lent) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return l.conn.Prepare(ctx, name, sql)
}
func (l lent) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return l.conn.Exec(ctx, sql, args...)
}
func (l lent) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return l.conn.Query(ctx, sql, args...)
}
func (l lent) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return l.conn.QueryRow(ctx, sql, args...)
}
func (l lent) Conn() *pgx.Conn { return l.conn }
