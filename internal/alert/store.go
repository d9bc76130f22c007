package alert

import (
	"database/sql"
	"errors"
	"strconv"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = `id, cause, endpoint, model, version, kind, feature, metric, value, threshold, first_window, last_window, windows, from_at, to_at,
	state, told_by, reason, silent_until, opened_at, updated_at, recovered_at`

func scanAlert(scan func(...any) error) (a Alert, err error) {
	var from, to, until, opened, updated, recovered int64
	err = scan(&a.ID, &a.cause, &a.Endpoint, &a.Model, &a.Version, &a.Kind, &a.Feature, &a.Metric, &a.Value, &a.Limit, &a.FirstWindow, &a.last, &a.Windows,
		&from, &to, &a.State, &a.By, &a.Reason, &until, &opened, &updated, &recovered)
	a.Window, a.From, a.To, a.OpenedAt, a.UpdatedAt = a.last, db.Time(from), db.Time(to), db.Time(opened), db.Time(updated)
	a.Until, a.RecoveredAt = moment(until), moment(recovered)
	return a, err
}

func moment(us int64) *time.Time {
	if us == 0 {
		return nil
	}
	t := db.Time(us)
	return &t
}

func micros(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return db.Micros(*t)
}

// get reads an alert; NotFound when there is none.
func get(tx db.Scope, id string) (Alert, error) {
	a, err := scanAlert(tx.QueryRow("SELECT "+columns+" FROM alert WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return a, problem.New(problem.NotFound, "There is no alert %q.", id)
	}
	return a, err
}

// newest reads the newest alert of a cause, active or not; false when there was none.
func newest(tx db.Scope, cause string) (Alert, bool, error) {
	a, err := scanAlert(tx.QueryRow("SELECT "+columns+" FROM alert WHERE workspace = $1 AND cause = $2 ORDER BY id DESC LIMIT 1", tx.Workspace, cause).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	return a, err == nil, err
}

// filter narrows a list; empty fields do not.
type filter struct{ state, endpoint, model string }

// list reads up to limit alerts, newest first, below an id.
func list(tx db.Scope, f filter, below string, limit int, now time.Time) (out []Alert, err error) {
	q, args := "SELECT "+columns+" FROM alert WHERE workspace = $1", []any{tx.Workspace, limit}
	and := func(text string, v any) {
		args = append(args, v)
		q += " AND " + text + "$" + strconv.Itoa(len(args))
	}
	switch f.state {
	case "":
	case "active":
		and("state <> ", Recovered)
	case Open: // a silence that is over is open
		args = append(args, db.Micros(now))
		q += " AND (state = 'open' OR state = 'silenced' AND silent_until <= $" + strconv.Itoa(len(args)) + ")"
	case Silenced:
		and("state = ", Silenced)
		and("silent_until > ", db.Micros(now))
	default:
		and("state = ", f.state)
	}
	if f.endpoint != "" {
		and("endpoint = ", f.endpoint)
	}
	if f.model != "" {
		and("model = ", f.model)
	}
	if below != "" {
		and("id < ", below)
	}
	err = tx.Each(q+" ORDER BY id DESC LIMIT $2", args, func(scan func(...any) error) error {
		a, err := scanAlert(scan)
		a.show(now)
		out = append(out, a)
		return err
	})
	return out, err
}

// put stores an alert, new or not.
func put(tx db.Scope, a *Alert) error {
	_, err := tx.Exec(`INSERT INTO alert (workspace, id, cause, endpoint, model, version, kind, feature, metric, value, threshold, first_window, last_window, windows, from_at, to_at,
			state, told_by, reason, silent_until, opened_at, updated_at, recovered_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
		ON CONFLICT (workspace, id) DO UPDATE SET model = excluded.model, version = excluded.version, metric = excluded.metric, value = excluded.value, threshold = excluded.threshold,
			last_window = excluded.last_window, windows = excluded.windows, from_at = excluded.from_at, to_at = excluded.to_at, state = excluded.state, told_by = excluded.told_by,
			reason = excluded.reason, silent_until = excluded.silent_until, updated_at = excluded.updated_at, recovered_at = excluded.recovered_at`,
		tx.Workspace, a.ID, a.cause, a.Endpoint, a.Model, a.Version, a.Kind, a.Feature, a.Metric, a.Value, a.Limit, a.FirstWindow, a.last, a.Windows, db.Micros(a.From), db.Micros(a.To),
		a.State, a.By, a.Reason, micros(a.Until), db.Micros(a.OpenedAt), db.Micros(a.UpdatedAt), micros(a.RecoveredAt))
	return err
}
