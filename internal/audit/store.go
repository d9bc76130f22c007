package audit

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"keelson/internal/db"
)

const columns = "id, workspace, COALESCE(idx, -1), at, actor, via, action, object, models, detail, leaf, proof"

func insert(tx db.Scope, e Entry) error {
	_, err := tx.Exec(`INSERT INTO audit_entry (id, workspace, at, actor, via, action, object, models, detail, leaf, proof)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		e.ID, e.Workspace, db.Micros(e.At), e.Actor, e.Via, e.Action, e.Object, db.ToJSON(e.Models), string(e.Detail), e.Leaf, e.Proof)
	if err != nil {
		return fmt.Errorf("audit %s: %w", e.Action, err)
	}
	for _, m := range e.Models {
		if _, err := tx.Exec("INSERT INTO audit_model (workspace, model, entry) VALUES ($1, $2, $3)", e.Workspace, m, e.ID); err != nil {
			return fmt.Errorf("audit %s: %w", e.Action, err)
		}
	}
	return nil
}

func read(scan func(...any) error) (e Entry, err error) {
	var at int64
	var models, detail string
	if err = scan(&e.ID, &e.Workspace, &e.Index, &at, &e.Actor, &e.Via, &e.Action, &e.Object, &models, &detail, &e.Leaf, &e.Proof); err != nil {
		return e, err
	}
	e.At, e.Detail = db.Time(at), json.RawMessage(detail)
	if err := db.FromJSON(models, &e.Models); err != nil {
		e.Models = nil // a damaged list is found by its hash, it must not stop the reader
	}
	return e, nil
}

// Query selects entries of the workspace, newest first. Zero fields do not restrict.
type Query struct {
	Model, Actor, Action, Object string
	Since, Until                 time.Time
	Before                       string // id of the last entry of the page before
	Limit                        int
}

func list(tx db.Scope, q Query) (out []Entry, err error) {
	where, args := []string{"e.workspace = $1"}, []any{tx.Workspace}
	add := func(clause string, v any) {
		args = append(args, v)
		where = append(where, strings.ReplaceAll(clause, "?", fmt.Sprintf("$%d", len(args))))
	}
	from := "audit_entry e"
	if q.Model != "" {
		from = "audit_model m JOIN audit_entry e ON e.id = m.entry AND e.workspace = m.workspace"
		add("m.model = ?", q.Model)
	}
	if q.Actor != "" {
		add("e.actor = ?", q.Actor)
	}
	if q.Action != "" {
		add("e.action LIKE ? || '%'", q.Action)
	}
	if q.Object != "" {
		add("(e.object = ? OR e.object LIKE ? || '/%')", q.Object)
	}
	if !q.Since.IsZero() {
		add("e.at >= ?", db.Micros(q.Since))
	}
	if !q.Until.IsZero() {
		add("e.at < ?", db.Micros(q.Until))
	}
	if q.Before != "" {
		add("e.id < ?", q.Before)
	}
	args = append(args, q.Limit)
	cols := "e." + strings.ReplaceAll(columns, ", ", ", e.")
	cols = strings.Replace(cols, "e.COALESCE(idx, e.-1)", "COALESCE(e.idx, -1)", 1)
	text := fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY e.id DESC LIMIT $%d", cols, from, strings.Join(where, " AND "), len(args))
	err = tx.Each(text, args, func(scan func(...any) error) error {
		e, err := read(scan)
		out = append(out, e)
		return err
	})
	return out, err
}

// unsequenced reads entries of all workspaces without a leaf number.
func unsequenced(tx db.Scope, limit int) (out []Entry, err error) {
	err = tx.Each("SELECT "+columns+" FROM audit_entry WHERE idx IS NULL ORDER BY id LIMIT $1", []any{limit}, func(scan func(...any) error) error {
		e, err := read(scan)
		out = append(out, e)
		return err
	})
	return out, err
}

// Checkpoint is a signed statement about the first Size entries.
type Checkpoint struct {
	Size int64     `json:"size"`
	Root string    `json:"root"` // base64
	Note string    `json:"note"` // the signed note, C2SP tlog-checkpoint
	At   time.Time `json:"at"`
}

// latest gives the newest checkpoint; size 0 when there is none.
func latest(tx db.Scope) (c Checkpoint, err error) {
	var at int64
	err = tx.QueryRow("SELECT size, note, at FROM audit_checkpoint ORDER BY size DESC LIMIT 1").Scan(&c.Size, &c.Note, &at)
	if errors.Is(err, db.ErrNoRows) {
		return Checkpoint{}, nil
	}
	c.At = db.Time(at)
	return c, err
}

// nodes reads stored hashes of the tree inside a transaction.
type nodes struct{ tx db.Scope }

func (n nodes) ReadHashes(positions []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(positions))
	for i, p := range positions {
		var h string
		if err := n.tx.QueryRow("SELECT hash FROM audit_node WHERE pos = $1", p).Scan(&h); err != nil {
			return nil, fmt.Errorf("read tree node %d: %w", p, err)
		}
		b, err := hex.DecodeString(h)
		if err != nil || len(b) != len(out[i]) {
			return nil, fmt.Errorf("tree node %d is damaged", p)
		}
		copy(out[i][:], b)
	}
	return out, nil
}

// numbered reads the entries with leaf numbers from ≤ idx < to.
func numbered(tx db.Scope, from, to int64) (out []Entry, err error) {
	err = tx.Each("SELECT "+columns+" FROM audit_entry WHERE idx >= $1 AND idx < $2 ORDER BY idx", []any{from, to}, func(scan func(...any) error) error {
		e, err := read(scan)
		out = append(out, e)
		return err
	})
	return out, err
}

// leaves reads the leaf hashes that the tree holds for from ≤ number < to.
func leaves(tx db.Scope, from, to int64) (map[int64][]byte, error) {
	out := map[int64][]byte{}
	at := map[int64]int64{} // storage index → leaf number
	for n := from; n < to; n++ {
		at[tlog.StoredHashIndex(0, n)] = n
	}
	err := tx.Each("SELECT pos, hash FROM audit_node WHERE pos >= $1 AND pos < $2", []any{tlog.StoredHashIndex(0, from), tlog.StoredHashIndex(0, to)}, func(scan func(...any) error) error {
		var pos int64
		var h string
		if err := scan(&pos, &h); err != nil {
			return err
		}
		if n, ok := at[pos]; ok {
			b, err := hex.DecodeString(h)
			if err != nil || len(b) != tlog.HashSize {
				b = make([]byte, tlog.HashSize) // damaged: fits no entry
			}
			out[n] = b
		}
		return nil
	})
	return out, err
}
