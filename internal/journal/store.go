package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"keelson/internal/db"
)

// The two resolutions, and how long each is kept.
const (
	Fine       = 10 * time.Second
	Coarse     = 5 * time.Minute
	keepFine   = time.Hour + 5*time.Minute
	keepCoarse = 30*24*time.Hour + time.Hour
	keepLines  = 30 * 24 * time.Hour
	mostLines  = 10_000 // per endpoint
	nodeGone   = 90 * time.Second
)

var levels = []string{"debug", "info", "warn", "error"}

// store is the SQL of this noun.
type store struct{}

// point is what one version did at one endpoint in one stretch of time.
type point struct {
	Key
	at time.Time
	Count
}

// put writes a point of a process, over an earlier state of the same.
func (store) put(tx db.Scope, node string, step time.Duration, p *point) error {
	_, err := tx.Exec(`INSERT INTO journal_point (workspace, endpoint, step, at, version, slot, node, counts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (workspace, endpoint, step, at, version, slot, node) DO UPDATE SET counts = EXCLUDED.counts`,
		tx.Workspace, p.Endpoint, step.Microseconds(), db.Micros(p.at), p.Version, p.Slot, node, p.encode())
	return err
}

// points reads those of an endpoint, or with an empty name of all, that begin in [since, until), oldest first.
func (store) points(tx db.Scope, endpoint string, step time.Duration, since, until time.Time) (out []point, err error) {
	q := "SELECT endpoint, at, version, slot, counts FROM journal_point WHERE workspace = $1 AND step = $2 AND at >= $3 AND at < $4"
	args := []any{tx.Workspace, step.Microseconds(), db.Micros(since), db.Micros(until)}
	if endpoint != "" {
		q, args = q+" AND endpoint = $5", append(args, endpoint)
	}
	err = tx.Each(q+" ORDER BY at", args, func(scan func(...any) error) error {
		var p point
		var at int64
		var counts string
		if err := scan(&p.Endpoint, &at, &p.Version, &p.Slot, &counts); err != nil {
			return err
		}
		p.at = db.Time(at)
		if p.Count, err = decodeCount(counts); err != nil {
			return err
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

func (store) putNode(tx db.Scope, node, name string, seen time.Time, doc []Standing) error {
	_, err := tx.Exec(`INSERT INTO journal_node (workspace, node, name, seen_at, doc) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (workspace, node) DO UPDATE SET name = EXCLUDED.name, seen_at = EXCLUDED.seen_at, doc = EXCLUDED.doc`,
		tx.Workspace, node, name, db.Micros(seen), db.ToJSON(doc))
	return err
}

func (store) dropNode(tx db.Scope, node string) error {
	_, err := tx.Exec("DELETE FROM journal_node WHERE workspace = $1 AND node = $2", tx.Workspace, node)
	return err
}

// nodes lists the processes that were seen since a time.
func (store) nodes(tx db.Scope, since time.Time) (out []node, err error) {
	err = tx.Each("SELECT node, name, seen_at, doc FROM journal_node WHERE workspace = $1 AND seen_at >= $2 ORDER BY name, node", []any{tx.Workspace, db.Micros(since)},
		func(scan func(...any) error) error {
			var n node
			var at int64
			var doc string
			if err := scan(&n.id, &n.name, &at, &doc); err != nil {
				return err
			}
			n.seen = db.Time(at)
			out = append(out, n)
			return db.FromJSON(doc, &out[len(out)-1].standings)
		})
	return out, err
}

type node struct {
	id, name  string
	seen      time.Time
	standings []Standing
}

func (store) putLine(tx db.Scope, node string, l *Line) error {
	_, err := tx.Exec(`INSERT INTO journal_line (workspace, endpoint, id, at, level, message, node, fields) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (workspace, endpoint, id) DO NOTHING`,
		tx.Workspace, l.Endpoint, l.ID, db.Micros(l.At), max(slices.Index(levels, l.Level), 0), l.Message, node, string(l.Fields))
	return err
}

// LineQuery selects lines of an endpoint. Before and After are exclusive bounds of identifiers.
type LineQuery struct {
	Endpoint, Level, Text string // Level is the least; Text stands in the message or a field, capitals or not
	Since, Until          time.Time
	Before, After         string
	Limit                 int
}

// lines reads the newest lines first; with After the oldest behind it first.
func (store) lines(tx db.Scope, q LineQuery) (out []Line, err error) {
	text := "SELECT id, at, level, message, node, fields FROM journal_line WHERE workspace = $1 AND endpoint = $2 AND level >= $3"
	args := []any{tx.Workspace, q.Endpoint, max(slices.Index(levels, q.Level), 0)}
	add := func(clause string, v any) {
		args = append(args, v)
		text += fmt.Sprintf(clause, len(args))
	}
	if !q.Since.IsZero() {
		add(" AND at >= $%d", db.Micros(q.Since))
	}
	if !q.Until.IsZero() {
		add(" AND at < $%d", db.Micros(q.Until))
	}
	if q.Before != "" {
		add(" AND id < $%d", q.Before)
	}
	if q.After != "" {
		add(" AND id > $%d", q.After)
	}
	if q.Text != "" {
		add(" AND LOWER(message || ' ' || fields) LIKE $%d ESCAPE '!'", like(q.Text))
	}
	order := " DESC"
	if q.After != "" {
		order = ""
	}
	add(" ORDER BY id"+order+" LIMIT $%d", q.Limit)
	err = tx.Each(text, args, func(scan func(...any) error) error {
		l := Line{Endpoint: q.Endpoint}
		var at int64
		var level int
		var fields string
		if err := scan(&l.ID, &at, &level, &l.Message, &l.Node, &fields); err != nil {
			return err
		}
		l.At, l.Level, l.Fields = db.Time(at), levels[min(max(level, 0), len(levels)-1)], json.RawMessage(fields)
		out = append(out, l)
		return nil
	})
	return out, err
}

// forget removes what is older than it is kept, in all workspaces.
func (store) forget(tx db.Scope, now time.Time) error {
	for step, keep := range map[time.Duration]time.Duration{Fine: keepFine, Coarse: keepCoarse} {
		if _, err := tx.Exec("DELETE FROM journal_point WHERE workspace <> '' AND step = $1 AND at < $2", step.Microseconds(), db.Micros(now.Add(-keep))); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("DELETE FROM journal_node WHERE workspace <> '' AND seen_at < $1", db.Micros(now.Add(-10*nodeGone))); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM journal_line WHERE workspace <> '' AND at < $1", db.Micros(now.Add(-keepLines)))
	return err
}

// shorten leaves an endpoint its newest lines.
func (store) shorten(tx db.Scope, endpoint string, most int) error {
	_, err := tx.Exec(`DELETE FROM journal_line WHERE workspace = $1 AND endpoint = $2 AND id < (
			SELECT id FROM journal_line WHERE workspace = $1 AND endpoint = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)`, tx.Workspace, endpoint, most-1)
	return err
}
