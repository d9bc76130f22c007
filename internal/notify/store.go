package notify

import (
	"encoding/json"
	"errors"
	"time"

	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
)

const columns = "id, name, kind, document, secret, enabled, created_by, created_at, updated_at"

func scan(row func(...any) error) (r Route, err error) {
	var text string
	var enabled int
	var created, updated int64
	var id, name, kind, by string
	if err = row(&id, &name, &kind, &text, &r.hidden, &enabled, &by, &created, &updated); err != nil {
		return r, err
	}
	err = db.FromJSON(text, &r)
	r.ID, r.Name, r.Kind, r.Enabled, r.Sealed, r.Secret = id, name, kind, enabled != 0, r.hidden != "", ""
	r.CreatedBy, r.CreatedAt, r.UpdatedAt = by, db.Time(created), db.Time(updated)
	r.fill()
	return r, err
}

// get reads a route by id or name; NotFound when there is none.
func get(tx db.Scope, ref string) (Route, error) {
	r, err := scan(tx.QueryRow("SELECT "+columns+" FROM notify_route WHERE workspace = $1 AND (id = $2 OR name = $2)", tx.Workspace, ref).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return r, problem.New(problem.NotFound, "There is no route %q.", problem.Clip(ref, 80))
	}
	return r, err
}

// list reads routes, newest first, older than before; limit 0 is all.
func list(tx db.Scope, onlyEnabled bool, before string, limit int) (out []Route, err error) {
	if limit == 0 {
		limit = MaxRoutes + 1
	}
	err = tx.Each("SELECT "+columns+" FROM notify_route WHERE workspace = $1 AND ($2 = 0 OR enabled = 1) AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4",
		[]any{tx.Workspace, db.Bit(onlyEnabled), before, limit}, func(row func(...any) error) error {
			r, err := scan(row)
			out = append(out, r)
			return err
		})
	return out, err
}

func count(tx db.Scope) (n int, err error) {
	return n, tx.QueryRow("SELECT COUNT(*) FROM notify_route WHERE workspace = $1", tx.Workspace).Scan(&n)
}

func put(tx db.Scope, r Route) error {
	r.Secret = ""
	_, err := tx.Exec("INSERT INTO notify_route (workspace, "+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (workspace, id) DO UPDATE SET name = excluded.name, document = excluded.document, secret = excluded.secret, enabled = excluded.enabled, updated_at = excluded.updated_at`,
		tx.Workspace, r.ID, r.Name, r.Kind, db.ToJSON(r), r.hidden, db.Bit(r.Enabled), r.CreatedBy, db.Micros(r.CreatedAt), db.Micros(r.UpdatedAt))
	return err
}

func drop(tx db.Scope, id string) error {
	if _, err := tx.Exec("DELETE FROM notify_delivery WHERE workspace = $1 AND route = $2", tx.Workspace, id); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM notify_route WHERE workspace = $1 AND id = $2", tx.Workspace, id)
	return err
}

// Delivery is one message on its way to one route.
type Delivery struct {
	ID        string     `json:"id" doc:"the same at every attempt"`
	Route     string     `json:"route"`
	Event     string     `json:"event" doc:"turn that is told: opened, recovered …"`
	About     string     `json:"about" doc:"alert/ID or incident/ID"`
	State     string     `json:"state" enum:"pending,delivered,failed"`
	Attempts  int        `json:"attempts"`
	Status    int        `json:"status" doc:"of the newest answer, HTTP or SMTP; 0 if none came"`
	Error     string     `json:"error,omitempty"`
	TookMS    float64    `json:"took_ms" doc:"of the newest attempt"`
	CreatedAt time.Time  `json:"created_at"`
	LastAt    *time.Time `json:"last_at"`
	NextAt    *time.Time `json:"next_at" doc:"of the next attempt, while it is pending"`

	cause string
	body  letter
}

// letter is what a delivery says, the same at every attempt.
type letter struct {
	Event   event.Event `json:"event"`
	Message Message     `json:"message"`
}

const deliveryColumns = "id, route, cause, event, about, body, state, attempts, status, error, took, created_at, last_at, next_at"

func scanDelivery(row func(...any) error) (d Delivery, err error) {
	var took, created, last, next int64
	var body string
	if err = row(&d.ID, &d.Route, &d.cause, &d.Event, &d.About, &body, &d.State, &d.Attempts, &d.Status, &d.Error, &took, &created, &last, &next); err != nil {
		return d, err
	}
	d.TookMS, d.CreatedAt, d.LastAt, d.NextAt = float64(took)/1000, db.Time(created), db.Moment(last), db.Moment(next)
	return d, json.Unmarshal([]byte(body), &d.body)
}

// addDelivery reports false if the route has the event already.
func addDelivery(tx db.Scope, d Delivery) (bool, error) {
	res, err := tx.Exec("INSERT INTO notify_delivery (workspace, "+deliveryColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', 0, 0, '', 0, $8, 0, $9)
		ON CONFLICT (workspace, route, cause) DO NOTHING`, tx.Workspace, d.ID, d.Route, d.cause, d.Event, d.About, db.ToJSON(d.body), db.Micros(d.CreatedAt), db.MomentMicros(d.NextAt))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

func getDelivery(tx db.Scope, id string) (Delivery, error) {
	return scanDelivery(tx.QueryRow("SELECT "+deliveryColumns+" FROM notify_delivery WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
}

func putDelivery(tx db.Scope, d Delivery) error {
	_, err := tx.Exec("UPDATE notify_delivery SET state = $3, attempts = $4, status = $5, error = $6, took = $7, last_at = $8, next_at = $9 WHERE workspace = $1 AND id = $2",
		tx.Workspace, d.ID, d.State, d.Attempts, d.Status, d.Error, int64(d.TookMS*1000), db.MomentMicros(d.LastAt), db.MomentMicros(d.NextAt))
	return err
}

// deliveries gives the log of a route, the newest first, older than before.
func deliveries(tx db.Scope, route, before string, limit int) (out []Delivery, err error) {
	err = tx.Each("SELECT "+deliveryColumns+" FROM notify_delivery WHERE workspace = $1 AND route = $2 AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4",
		[]any{tx.Workspace, route, before, limit}, func(row func(...any) error) error {
			d, err := scanDelivery(row)
			out = append(out, d)
			return err
		})
	return out, err
}

// prune keeps the newest deliveries of a route, and all that are pending.
func prune(tx db.Scope, route string, keep int) error {
	_, err := tx.Exec(`DELETE FROM notify_delivery WHERE workspace = $1 AND route = $2 AND state <> 'pending'
		AND id < (SELECT id FROM notify_delivery WHERE workspace = $1 AND route = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)`, tx.Workspace, route, keep-1)
	return err
}
