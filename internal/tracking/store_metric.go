package tracking

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/db"
)

// putLatest keeps the latest point of every key of every run: the one there stays if it is later. points maps run → key,
// runs says whose experiment each is. Rows are written in the order of run and key, so that two writers cannot wait for each other in a circle.
func putLatest(tx db.Scope, points map[string]map[string]Point, runs map[string]state) error {
	type row struct {
		run string
		p   Point
	}
	var rows []row
	for run, keys := range points {
		for _, p := range keys {
			rows = append(rows, row{run, p})
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(strings.Compare(a.run, b.run), strings.Compare(a.p.Key, b.p.Key))
	})
	const wide = 16 // rows per statement; wider ones cost more per row than they save
	var many, one *sql.Stmt
	defer func() {
		for _, s := range []*sql.Stmt{many, one} {
			if s != nil {
				s.Close()
			}
		}
	}()
	for len(rows) > 0 {
		n, stmt := 1, &one
		if len(rows) >= wide {
			n, stmt = wide, &many
		}
		if *stmt == nil {
			var err error
			if *stmt, err = tx.Tx().PrepareContext(tx.Ctx, latestSQL(n, tx.Postgres())); err != nil {
				return err
			}
		}
		args := make([]any, 0, n*8)
		for _, r := range rows[:n] {
			v, kind := split(r.p.Value)
			args = append(args, tx.Workspace, r.run, r.p.Key, v, kind, r.p.Step, r.p.At, runs[r.run].experiment)
		}
		if _, err := (*stmt).ExecContext(tx.Ctx, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// latestSQL upserts n rows. This is the hottest statement there is, so SQLite gets nameless placeholders: binding numbered
// ones costs as much as the insert.
func latestSQL(n int, numbered bool) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO metric_latest AS m (workspace, run, key, value, kind, step, at_ms, experiment) VALUES `)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		if k := i * 8; numbered {
			fmt.Fprintf(&b, "($%d, $%d, $%d, $%d, $%d, $%d, $%d, $%d)", k+1, k+2, k+3, k+4, k+5, k+6, k+7, k+8)
		} else {
			b.WriteString("(?, ?, ?, ?, ?, ?, ?, ?)")
		}
	}
	b.WriteString(` ON CONFLICT (workspace, run, key) DO UPDATE SET value = excluded.value, kind = excluded.kind, step = excluded.step, at_ms = excluded.at_ms
		WHERE (excluded.step, excluded.at_ms, excluded.value) > (m.step, m.at_ms, m.value)`)
	return b.String()
}

func putTail(tx db.Scope, run string, points []Point) error {
	_, err := tx.Exec(`INSERT INTO metric_tail (workspace, run, id, data) VALUES ($1, $2, $3, $4)`, tx.Workspace, run, db.NewID(), packTail(points))
	return err
}

// tails counts a run's tails, up to limit.
func tails(tx db.Scope, run string, limit int) (n int, err error) {
	err = tx.QueryRow(`SELECT COUNT(*) FROM (SELECT 1 FROM metric_tail WHERE workspace = $1 AND run = $2 LIMIT $3) t`, tx.Workspace, run, limit).Scan(&n)
	return n, err
}

// history reads all points of one key, identical ones once, sorted by (step, time, value).
func history(tx db.Scope, run, key string) (out []Point, err error) {
	err = tx.Each(`SELECT data FROM metric_chunk WHERE workspace = $1 AND run = $2 AND key = $3 ORDER BY id`, []any{tx.Workspace, run, key}, func(scan func(...any) error) error {
		var b sql.RawBytes
		if err := scan(&b); err != nil {
			return err
		}
		var err error
		out, err = unpackChunk(key, b, out)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = tx.Each(`SELECT data FROM metric_tail WHERE workspace = $1 AND run = $2 ORDER BY id`, []any{tx.Workspace, run}, func(scan func(...any) error) error {
		var b sql.RawBytes
		if err := scan(&b); err != nil {
			return err
		}
		return eachTail(b, func(p Point) {
			if p.Key == key {
				out = append(out, p)
			}
		})
	})
	return tidy(out), err
}

// fold moves up to limit tails of a run into chunks and says how many it moved. An open chunk (fewer than chunkPoints
// points) is merged with what is added.
func fold(tx db.Scope, run string, limit int) (n int, err error) {
	series := map[string][]Point{}
	var last string
	err = tx.Each(`SELECT id, data FROM metric_tail WHERE workspace = $1 AND run = $2 ORDER BY id LIMIT $3`, []any{tx.Workspace, run, limit}, func(scan func(...any) error) error {
		var b []byte
		if err := scan(&last, &b); err != nil {
			return err
		}
		n++
		return eachTail(b, func(p Point) { series[p.Key] = append(series[p.Key], p) })
	})
	if err != nil || n == 0 {
		return 0, err
	}
	keys := make([]string, 0, len(series))
	for k := range series {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := foldKey(tx, run, key, series[key]); err != nil {
			return 0, fmt.Errorf("fold %s: %w", key, err)
		}
	}
	_, err = tx.Exec(`DELETE FROM metric_tail WHERE workspace = $1 AND run = $2 AND id <= $3`, tx.Workspace, run, last)
	return n, err
}

func foldKey(tx db.Scope, run, key string, points []Point) error {
	var open string
	err := tx.Each(`SELECT id, data FROM metric_chunk WHERE workspace = $1 AND run = $2 AND key = $3 AND points < $4 ORDER BY id DESC LIMIT 1`,
		[]any{tx.Workspace, run, key, chunkPoints}, func(scan func(...any) error) error {
			var b []byte
			if err := scan(&open, &b); err != nil {
				return err
			}
			var err error
			points, err = unpackChunk(key, b, points)
			return err
		})
	if err != nil {
		return err
	}
	if open != "" {
		if _, err := tx.Exec(`DELETE FROM metric_chunk WHERE workspace = $1 AND run = $2 AND key = $3 AND id = $4`, tx.Workspace, run, key, open); err != nil {
			return err
		}
	}
	points = tidy(points)
	for len(points) > 0 {
		part := points[:min(len(points), chunkPoints)]
		points = points[len(part):]
		if _, err := tx.Exec(`INSERT INTO metric_chunk (workspace, run, key, id, points, min_step, max_step, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			tx.Workspace, run, key, db.NewID(), len(part), part[0].Step, part[len(part)-1].Step, packChunk(part)); err != nil {
			return err
		}
	}
	return nil
}
