package tracking

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"keelson/internal/db"
)

var latestRows = insert{into: "metric_latest AS m",
	columns: []string{"run TEXT", "key TEXT", "value FLOAT8", "kind INT8", "step INT8", "at_ms INT8", "experiment TEXT"},
	end: `ON CONFLICT (workspace, run, key) DO UPDATE SET value = excluded.value, kind = excluded.kind, step = excluded.step, at_ms = excluded.at_ms
		WHERE (excluded.step, excluded.at_ms, excluded.value) > (m.step, m.at_ms, m.value)`}

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
	n := len(rows)
	run, key, experiment := make([]string, n), make([]string, n), make([]string, n)
	value, kind, step, at := make([]float64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, r := range rows {
		v, k := split(r.p.Value)
		run[i], key[i], experiment[i], value[i], kind[i], step[i], at[i] = r.run, r.p.Key, runs[r.run].experiment, v, int64(k), r.p.Step, r.p.At
	}
	_, err := latestRows.run(tx, n, run, key, value, kind, step, at, experiment)
	return err
}

var tailRows = insert{into: "metric_tail", columns: []string{"run TEXT", "id TEXT", "data BYTEA"}}

// putTails appends points, one tail per run.
func putTails(tx db.Scope, points map[string][]Point) error {
	var runs, ids []string
	var data [][]byte
	for run, list := range points {
		runs, ids, data = append(runs, run), append(ids, db.NewID()), append(data, packTail(list))
	}
	_, err := tailRows.run(tx, len(runs), runs, ids, data)
	return err
}

// tails counts a run's tails, up to limit.
func tails(tx db.Scope, run string, limit int) (n int, err error) {
	err = tx.QueryRow(`SELECT COUNT(*) FROM (SELECT 1 FROM metric_tail WHERE workspace = $1 AND run = $2 LIMIT $3) t`, tx.Workspace, run, limit).Scan(&n)
	return n, err
}

// span is what a chunk holds, without its points.
type span struct {
	id               string
	points           int
	minStep, maxStep int64
	minAt, maxAt     int64
	low, high        sql.NullFloat64
	known            bool   // false in a chunk of before ranges were kept: it may hold anything
	data             []byte // of a chunk that is not closed; others never change
}

const spanColumns = `id, points, min_step, max_step, min_at, max_at, min_value, max_value`

func (s *span) scan(scan func(...any) error, more ...any) error {
	var first, last sql.NullInt64
	if err := scan(append([]any{&s.id, &s.points, &s.minStep, &s.maxStep, &first, &last, &s.low, &s.high}, more...)...); err != nil {
		return err
	}
	s.minAt, s.maxAt, s.known = first.Int64, last.Int64, first.Valid && last.Valid
	if !s.known {
		s.minAt, s.maxAt = math.MinInt64, math.MaxInt64
	}
	return nil
}

// spans reads the chunks of one key that hold steps between from and to, the points of those that may still change with them.
func spans(tx db.Scope, run, key string, from, to int64) (out []span, err error) {
	err = tx.Each(`SELECT `+spanColumns+`, CASE WHEN points < $6 THEN data END FROM metric_chunk
		WHERE workspace = $1 AND run = $2 AND key = $3 AND max_step >= $4 AND min_step <= $5 ORDER BY id`,
		[]any{tx.Workspace, run, key, from, to, chunkPoints}, func(scan func(...any) error) error {
			var s span
			err := s.scan(scan, &s.data)
			out = append(out, s)
			return err
		})
	return out, err
}

// chunk appends the points of one closed chunk to into.
func chunk(tx db.Scope, run, key, id string, into []Sample) (out []Sample, err error) {
	found := false
	err = tx.Each(`SELECT data FROM metric_chunk WHERE workspace = $1 AND run = $2 AND key = $3 AND id = $4`, []any{tx.Workspace, run, key, id}, func(scan func(...any) error) error {
		var b sql.RawBytes // half a megabyte that need not be copied
		err := scan(&b)
		if found = true; err == nil {
			out, err = unpackChunk(b, into)
		}
		return err
	})
	if err == nil && !found {
		err = noRun(run) // it was purged meanwhile
	}
	return out, err
}

// tailed calls fn for every point of a run that is not in a chunk yet, in the order they were logged.
func tailed(tx db.Scope, run string, fn func(key string, p Sample)) error {
	return tx.Each(`SELECT data FROM metric_tail WHERE workspace = $1 AND run = $2 ORDER BY id`, []any{tx.Workspace, run}, func(scan func(...any) error) error {
		var b sql.RawBytes
		if err := scan(&b); err != nil {
			return err
		}
		return eachTail(b, fn)
	})
}

// folded is what fold read and packed: the write is kept short, as others wait for it.
type folded struct {
	tails  int      // so many tails are replaced,
	last   string   // up to this one
	open   []opened // chunks that are replaced
	chunks []packed
	more   bool // tails are left
}

type opened struct{ key, id string }

type packed struct {
	key  string
	list []Sample
	data []byte
}

// foldPoints is about how many points one fold moves.
const foldPoints = 16 << 10

// fold reads the first tails of a run, and its chunks that are not closed, and packs them into new chunks.
func fold(tx db.Scope, run string) (f folded, err error) {
	series := map[string][]Sample{}
	points := 0
	full := errors.New("full")
	err = tx.Each(`SELECT id, data FROM metric_tail WHERE workspace = $1 AND run = $2 ORDER BY id`, []any{tx.Workspace, run}, func(scan func(...any) error) error {
		if points >= foldPoints {
			return full
		}
		var b sql.RawBytes
		if err := scan(&f.last, &b); err != nil {
			return err
		}
		f.tails++
		return eachTail(b, func(key string, p Sample) { series[key] = append(series[key], p); points++ })
	})
	if f.more = errors.Is(err, full); err != nil && !f.more {
		return f, err
	}
	keys := make([]string, 0, len(series))
	for k := range series {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, key := range keys {
		list := series[key]
		err := tx.Each(`SELECT id, data FROM metric_chunk WHERE workspace = $1 AND run = $2 AND key = $3 AND points < $4 ORDER BY id DESC LIMIT 1`,
			[]any{tx.Workspace, run, key, chunkPoints}, func(scan func(...any) error) error {
				var id string
				var b sql.RawBytes
				if err := scan(&id, &b); err != nil {
					return err
				}
				f.open = append(f.open, opened{key, id})
				var err error
				list, err = unpackChunk(b, list)
				return err
			})
		if err != nil {
			return f, fmt.Errorf("fold %s: %w", key, err)
		}
		list = tidy(list, false)
		for part := range slices.Chunk(list, chunkPoints) {
			f.chunks = append(f.chunks, packed{key, part, packChunk(part)})
		}
	}
	return f, nil
}

var errFolded = errors.New("the run was folded by somebody else")

// putFolded replaces the tails and chunks that were read by what they were packed into; errFolded when one of them is gone.
func putFolded(tx db.Scope, run string, f folded) error {
	for _, o := range f.open {
		if ok, err := affected(tx.Exec(`DELETE FROM metric_chunk WHERE workspace = $1 AND run = $2 AND key = $3 AND id = $4`, tx.Workspace, run, o.key, o.id)); err != nil || !ok {
			return either(err, errFolded)
		}
	}
	res, err := tx.Exec(`DELETE FROM metric_tail WHERE workspace = $1 AND run = $2 AND id <= $3`, tx.Workspace, run, f.last)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != int64(f.tails) {
		return either(err, errFolded)
	}
	for _, c := range f.chunks {
		first, last := c.list[0], c.list[len(c.list)-1]
		early, late := first.At, first.At
		for _, p := range c.list {
			early, late = min(early, p.At), max(late, p.At)
		}
		low, high, ok := extremes(c.list)
		if _, err := tx.Exec(`INSERT INTO metric_chunk (workspace, run, key, `+spanColumns+`, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			tx.Workspace, run, c.key, db.NewID(), len(c.list), first.Step, last.Step, early, late,
			sql.NullFloat64{Float64: low, Valid: ok}, sql.NullFloat64{Float64: high, Valid: ok}, c.data); err != nil {
			return err
		}
	}
	return nil
}
