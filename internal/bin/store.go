package bin

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// Put notes, in the transaction of a deletion, that something lies in the bin from now on. What is there already stays
// as it was.
func Put(tx db.Scope, e Entry) error {
	at, err := tx.Now()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO bin_entry (workspace, kind, id, name, parent, files, bytes, at, deleted_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (workspace, kind, id) DO NOTHING`, tx.Workspace, e.Kind, e.ID, e.Name, e.Parent, e.Files, e.Bytes, at, caller.From(tx.Ctx).Name)
	return err
}

// Drop takes an entry out of the bin, with what was shelved under it; one that is not there is no error.
func Drop(tx db.Scope, kind, id string) error {
	for _, table := range []string{"bin_entry", "bin_shelf", "bin_file"} {
		if _, err := tx.Exec(`DELETE FROM `+table+` WHERE workspace = $1 AND kind = $2 AND id = $3`, tx.Workspace, kind, id); err != nil {
			return err
		}
	}
	return nil
}

const columns = `kind, id, name, parent, files, bytes, at, deleted_by`

func scanEntry(scan func(...any) error) (e Entry, err error) {
	var at int64
	err = scan(&e.Kind, &e.ID, &e.Name, &e.Parent, &e.Files, &e.Bytes, &at, &e.DeletedBy)
	e.DeletedAt = db.Time(at)
	return e, err
}

func noEntry(kind, id string) error {
	return problem.New(problem.NotFound, "There is no %s %q in the bin; it was restored or purged, or never deleted. See: keelson bin list.", clip(kind), clip(id)).At("id")
}

func getEntry(tx db.Scope, kind, id string) (Entry, error) {
	e, err := scanEntry(tx.QueryRow(`SELECT `+columns+` FROM bin_entry WHERE workspace = $1 AND kind = $2 AND id = $3`, tx.Workspace, kind, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return e, noEntry(kind, id)
	}
	return e, err
}

// list gives up to limit entries, the oldest first, that were deleted before a time and follow a cursor.
func list(tx db.Scope, kind string, before time.Time, cursor string, limit int) (out []Entry, err error) {
	q, args := `SELECT `+columns+` FROM bin_entry WHERE workspace = $1`, []any{tx.Workspace}
	arg := func(v any) string { args = append(args, v); return "$" + strconv.Itoa(len(args)) }
	if kind != "" {
		q += ` AND kind = ` + arg(kind)
	}
	if !before.IsZero() {
		q += ` AND at <= ` + arg(db.Micros(before))
	}
	if cursor != "" {
		at, kind, id, err := place(cursor)
		if err != nil {
			return nil, err
		}
		q += ` AND (at, kind, id) > (` + arg(at) + `, ` + arg(kind) + `, ` + arg(id) + `)`
	}
	err = tx.Each(q+` ORDER BY at, kind, id LIMIT `+arg(limit), args, func(scan func(...any) error) error {
		e, err := scanEntry(scan)
		out = append(out, e)
		return err
	})
	return out, err
}

func cursorOf(e Entry) string { return fmt.Sprintf("%d.%s.%s", db.Micros(e.DeletedAt), e.Kind, e.ID) }

func place(cursor string) (at int64, kind, id string, err error) {
	parts := strings.SplitN(cursor, ".", 3)
	if len(parts) == 3 {
		if at, err = strconv.ParseInt(parts[0], 10, 64); err == nil {
			return at, parts[1], parts[2], nil
		}
	}
	return 0, "", "", problem.New(problem.Invalid, "The cursor %q is not one of this list; send the next of the page before, or none.", clip(cursor)).At("cursor")
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }

// holds

// Held refuses to delete what is under a hold that has not ended.
func Held(tx db.Scope, kind, name string) error {
	h, ok, err := hold(tx, kind, name)
	if err != nil || !ok {
		return err
	}
	return h.refuse()
}

func hold(tx db.Scope, kind, name string) (Hold, bool, error) {
	all, err := holds(tx, kind, name)
	if err != nil || len(all) == 0 {
		return Hold{}, false, err
	}
	return all[0], true, nil
}

// HeldBelow refuses to delete what has something under hold whose name begins with prefix: the versions of a model.
func HeldBelow(tx db.Scope, kind, prefix string) error {
	all, err := holds(tx, kind, "")
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(h Hold) bool { return strings.HasPrefix(h.Name, prefix) }); i >= 0 {
		return all[i].refuse()
	}
	return nil
}

// holds gives the holds that have not ended, of a kind and a name if these are given.
func holds(tx db.Scope, kind, name string) (out []Hold, err error) {
	now, err := tx.Now()
	if err != nil {
		return nil, err
	}
	err = tx.Each(`SELECT kind, name, reason, until, held_by, at FROM bin_hold WHERE workspace = $1 AND (kind = $2 OR $2 = '') AND (name = $3 OR $3 = '') AND (until = 0 OR until > $4)
		ORDER BY kind, name`, []any{tx.Workspace, kind, name, now}, func(scan func(...any) error) error {
		var h Hold
		var until, at int64
		err := scan(&h.Kind, &h.Name, &h.Reason, &until, &h.By, &at)
		h.At = db.Time(at)
		if until != 0 {
			t := db.Time(until)
			h.Until = &t
		}
		out = append(out, h)
		return err
	})
	return out, err
}

func putHold(tx db.Scope, h Hold) error {
	until := int64(0)
	if h.Until != nil {
		until = db.Micros(*h.Until)
	}
	_, err := tx.Exec(`INSERT INTO bin_hold (workspace, kind, name, reason, until, held_by, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (workspace, kind, name) DO UPDATE SET reason = excluded.reason, until = excluded.until, held_by = excluded.held_by, at = excluded.at`,
		tx.Workspace, h.Kind, h.Name, h.Reason, until, h.By, db.Micros(h.At))
	return err
}

func dropHold(tx db.Scope, kind, name string) (bool, error) {
	res, err := tx.Exec(`DELETE FROM bin_hold WHERE workspace = $1 AND kind = $2 AND name = $3`, tx.Workspace, kind, name)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// the shelf

// Rows are the rows of one table, by column.
type Rows struct {
	Table string           `json:"table"`
	Rows  []map[string]any `json:"rows"`
}

// Take reads the rows of a table that fulfil where ($1 is the workspace, more arguments follow), whatever columns it has.
func Take(tx db.Scope, table, where string, args ...any) (Rows, error) {
	out := Rows{Table: table, Rows: []map[string]any{}}
	rows, err := tx.Query(`SELECT * FROM `+table+` WHERE workspace = $1 AND `+where, append([]any{tx.Workspace}, args...)...)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return out, err
	}
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return out, err
		}
		row := map[string]any{}
		for i, n := range names {
			switch v := values[i].(type) {
			case []byte:
				row[n] = string(v)
			case string, int64, float64, nil:
				row[n] = v
			default:
				return out, fmt.Errorf("shelve %s: the column %s holds a %T", table, n, v)
			}
		}
		out.Rows = append(out.Rows, row)
	}
	return out, rows.Err()
}

// Shelve keeps rows that are about to be deleted under an entry of the bin, with the digests they refer to.
func Shelve(tx db.Scope, e Entry, tables []Rows, digests []string) error {
	if _, err := tx.Exec(`INSERT INTO bin_shelf (workspace, kind, id, doc) VALUES ($1, $2, $3, $4)`, tx.Workspace, e.Kind, e.ID, db.ToJSON(tables)); err != nil {
		return err
	}
	for _, d := range digests {
		if _, err := tx.Exec(`INSERT INTO bin_file (workspace, kind, id, digest) VALUES ($1, $2, $3, $4) ON CONFLICT (workspace, kind, id, digest) DO NOTHING`,
			tx.Workspace, e.Kind, e.ID, d); err != nil {
			return err
		}
	}
	return Put(tx, e)
}

// Shelved gives back what Shelve kept. Numbers are json.Number.
func Shelved(tx db.Scope, kind, id string) (out []Rows, err error) {
	var doc string
	err = tx.QueryRow(`SELECT doc FROM bin_shelf WHERE workspace = $1 AND kind = $2 AND id = $3`, tx.Workspace, kind, id).Scan(&doc)
	if errors.Is(err, db.ErrNoRows) {
		return nil, noEntry(kind, id)
	}
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	return out, d.Decode(&out)
}

// Return inserts rows into their table again. Columns that the table got since have their defaults.
func Return(tx db.Scope, r Rows) error {
	for _, row := range r.Rows {
		var names, marks []string
		var args []any
		for n, v := range row {
			if x, ok := v.(json.Number); ok {
				if i, err := x.Int64(); err == nil {
					v = i
				} else if v, err = x.Float64(); err != nil {
					return err
				}
			}
			if strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				return fmt.Errorf("return rows of %s: %q is no column", r.Table, n)
			}
			names, args = append(names, n), append(args, v)
			marks = append(marks, "$"+strconv.Itoa(len(args)))
		}
		if _, err := tx.Exec(`INSERT INTO `+r.Table+` (`+strings.Join(names, ", ")+`) VALUES (`+strings.Join(marks, ", ")+`)`, args...); err != nil {
			return fmt.Errorf("return rows of %s: %w", r.Table, err)
		}
	}
	return nil
}

// Forget removes what was shelved under an entry and notes its digests as loose.
func Forget(tx db.Scope, e Entry) error {
	var digests []string
	if err := tx.Each(`SELECT digest FROM bin_file WHERE workspace = $1 AND kind = $2 AND id = $3`, []any{tx.Workspace, e.Kind, e.ID}, func(scan func(...any) error) error {
		var d string
		err := scan(&d)
		digests = append(digests, d)
		return err
	}); err != nil {
		return err
	}
	if err := Drop(tx, e.Kind, e.ID); err != nil {
		return err
	}
	return blob.Loose(tx, digests...)
}
