package prediction

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
)

// settled is how old an outcome is before Told lists it on PostgreSQL, where a transaction may commit after one that
// recorded its outcomes later; SQLite has one writer.
const settled = 5 * time.Second

// Told lists predictions of an endpoint that outcomes arrived for behind a place ("" is the beginning), in the order of
// their arrival, and the place behind them. A prediction may be listed again.
func (s *Service) Told(ctx context.Context, endpoint, after string, limit int) (ids []string, next string, err error) {
	at, id, row := int64(0), "", 0
	if parts := strings.Split(after, "/"); len(parts) == 3 { // written below
		at, _ = strconv.ParseInt(parts[0], 10, 64)
		id = parts[1]
		row, _ = strconv.Atoi(parts[2])
	}
	next = after
	until := s.Now()
	if s.DB.Postgres() {
		until = until.Add(-settled)
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		return tx.Each(`SELECT recorded_at, prediction, row_no FROM prediction_outcome
			WHERE workspace = $1 AND endpoint = $2 AND recorded_at >= $3 AND recorded_at <= $4 AND (recorded_at > $3 OR prediction > $5 OR prediction = $5 AND row_no > $6)
			ORDER BY recorded_at, prediction, row_no LIMIT $7`, []any{tx.Workspace, endpoint, at, db.Micros(until), id, row, limit},
			func(scan func(...any) error) error {
				if err := scan(&at, &id, &row); err != nil {
					return err
				}
				next = fmt.Sprintf("%d/%s/%d", at, id, row)
				if len(ids) == 0 || ids[len(ids)-1] != id {
					ids = append(ids, id)
				}
				return nil
			})
	})
	return ids, next, err
}
