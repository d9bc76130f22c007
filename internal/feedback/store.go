package feedback

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = `id, prediction, row_no, endpoint, model, version, kind, value, reason, told_by, told_at, reports, urgency, state, claimed_by, claimed_until, label, settled_by, settled_at, note`

func scan(row func(...any) error) (i Item, err error) {
	var value, label string
	var told, until, settled int64
	var order int
	err = row(&i.ID, &i.Prediction, &i.Row, &i.Endpoint, &i.Model, &i.Version, &i.Kind, &value, &i.Reason, &i.By, &told, &i.Reports, &order, &i.State, &i.ClaimedBy, &until, &label,
		&i.SettledBy, &settled, &i.Note)
	i.Value, i.Label, i.At, i.ClaimedUntil, i.SettledAt = raw(value), raw(label), db.Time(told), db.Moment(until), db.Moment(settled)
	return i, err
}

func raw(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

// get reads an item; NotFound when there is none.
func get(tx db.Scope, id string) (Item, error) {
	i, err := scan(tx.QueryRow("SELECT "+columns+" FROM feedback WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return i, problem.New(problem.NotFound, "There is no feedback %q.", clip(id))
	}
	return i, err
}

// same reads the item that waits about the same row and kind.
func same(tx db.Scope, i Item) (Item, bool, error) {
	old, err := scan(tx.QueryRow("SELECT "+columns+" FROM feedback WHERE workspace = $1 AND prediction = $2 AND row_no = $3 AND kind = $4 AND state IN ('queued', 'claimed')",
		tx.Workspace, i.Prediction, i.Row, i.Kind).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return old, false, nil
	}
	return old, err == nil, err
}

func put(tx db.Scope, i *Item) error {
	_, err := tx.Exec("INSERT INTO feedback (workspace, "+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
		ON CONFLICT (workspace, id) DO UPDATE SET value = excluded.value, reason = excluded.reason, reports = excluded.reports, state = excluded.state, claimed_by = excluded.claimed_by,
			claimed_until = excluded.claimed_until, label = excluded.label, settled_by = excluded.settled_by, settled_at = excluded.settled_at, note = excluded.note`,
		tx.Workspace, i.ID, i.Prediction, i.Row, i.Endpoint, i.Model, i.Version, i.Kind, string(i.Value), i.Reason, i.By, db.Micros(i.At), i.Reports, urgency[i.Kind], i.State, i.ClaimedBy,
		db.MomentMicros(i.ClaimedUntil), string(i.Label), i.SettledBy, db.MomentMicros(i.SettledAt), i.Note)
	return err
}

// filter narrows a list; empty fields do not.
type filter struct{ state, model, kind, prediction string }

// list reads items, newest first, older than before.
func list(tx db.Scope, f filter, before string, limit int, now time.Time) (out []Item, err error) {
	q, args := "SELECT "+columns+" FROM feedback WHERE workspace = $1", []any{tx.Workspace, limit}
	and := func(text string, v any) {
		args = append(args, v)
		q += " AND " + text + "$" + strconv.Itoa(len(args))
	}
	switch f.state {
	case "":
	case "waiting":
		q += " AND state IN ('queued', 'claimed')"
	default:
		and("state = ", f.state)
	}
	if f.model != "" {
		and("model = ", f.model)
	}
	if f.kind != "" {
		and("kind = ", f.kind)
	}
	if f.prediction != "" {
		and("prediction = ", f.prediction)
	}
	if before != "" {
		and("id < ", before)
	}
	err = tx.Each(q+" ORDER BY id DESC LIMIT $2", args, func(row func(...any) error) error {
		i, err := scan(row)
		i.free(now)
		out = append(out, i)
		return err
	})
	return out, err
}

// next reads the item that waits longest of the most urgent ones and is nobody's.
func next(tx db.Scope, model string, now time.Time) (i Item, found bool, err error) {
	i, err = scan(tx.QueryRow("SELECT "+columns+` FROM feedback WHERE workspace = $1 AND (model = $2 OR $2 = '')
		AND (state = 'queued' OR state = 'claimed' AND claimed_until <= $3) ORDER BY urgency, id LIMIT 1`, tx.Workspace, model, db.Micros(now)).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return i, false, nil
	}
	return i, err == nil, err
}

// take claims an item unless somebody else was faster.
func take(tx db.Scope, i *Item, now time.Time) (bool, error) {
	res, err := tx.Exec(`UPDATE feedback SET state = 'claimed', claimed_by = $3, claimed_until = $4 WHERE workspace = $1 AND id = $2
		AND (state = 'queued' OR state = 'claimed' AND (claimed_by = $3 OR claimed_until <= $5))`, tx.Workspace, i.ID, i.ClaimedBy, db.MomentMicros(i.ClaimedUntil), db.Micros(now))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// counts are how many items of each state there are.
func counts(tx db.Scope, model string) (map[string]int, error) {
	out := map[string]int{Queued: 0, Claimed: 0, Labelled: 0, Skipped: 0}
	err := tx.Each("SELECT state, COUNT(*) FROM feedback WHERE workspace = $1 AND (model = $2 OR $2 = '') GROUP BY state", []any{tx.Workspace, model}, func(row func(...any) error) error {
		var state string
		var n int
		err := row(&state, &n)
		out[state] = n
		return err
	})
	return out, err
}

// forget drops what was said about predictions.
func forget(tx db.Scope, predictions []string) error {
	for _, id := range predictions {
		if _, err := tx.Exec("DELETE FROM feedback WHERE workspace = $1 AND prediction = $2", tx.Workspace, id); err != nil {
			return err
		}
	}
	return nil
}
