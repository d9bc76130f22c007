package webhook

import (
	"errors"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = "id, name, description, url, format, events, status, reason, secret, active_at, created_by, created_at, updated_at"

func scan(row func(...any) error) (w Webhook, err error) {
	var events string
	var since, created, updated int64
	if err = row(&w.ID, &w.Name, &w.Description, &w.URL, &w.Format, &events, &w.Status, &w.Reason, &w.hidden, &since, &w.CreatedBy, &created, &updated); err != nil {
		return w, err
	}
	w.since, w.CreatedAt, w.UpdatedAt, w.Signed = db.Time(since), db.Time(created), db.Time(updated), w.hidden != ""
	return w, db.FromJSON(events, &w.Events)
}

func get(tx db.Scope, id string) (Webhook, error) {
	w, err := scan(tx.QueryRow("SELECT "+columns+" FROM webhook WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return w, problem.New(problem.NotFound, "Webhook with ID %s not found.", problem.Clip(id, 60)).At("webhook_id")
	}
	return w, err
}

// list gives webhooks, the newest first, older than before. format and status narrow it unless empty; limit 0 is all.
func list(tx db.Scope, format, status, before string, limit int) (out []Webhook, err error) {
	q, args := "SELECT "+columns+` FROM webhook WHERE workspace = $1 AND ($2 = '' OR format = $2) AND ($3 = '' OR status = $3) AND ($4 = '' OR id < $4) ORDER BY id DESC`,
		[]any{tx.Workspace, format, status, before}
	if limit > 0 {
		q, args = q+" LIMIT $5", append(args, limit)
	}
	err = tx.Each(q, args, func(row func(...any) error) error {
		w, err := scan(row)
		out = append(out, w)
		return err
	})
	return out, err
}

func count(tx db.Scope) (n int, err error) {
	return n, tx.QueryRow("SELECT COUNT(*) FROM webhook WHERE workspace = $1", tx.Workspace).Scan(&n)
}

func put(tx db.Scope, w Webhook) error {
	_, err := tx.Exec("INSERT INTO webhook (workspace, "+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (workspace, id) DO UPDATE SET name = excluded.name, description = excluded.description, url = excluded.url, events = excluded.events,
			status = excluded.status, reason = excluded.reason, secret = excluded.secret, active_at = excluded.active_at, updated_at = excluded.updated_at`,
		tx.Workspace, w.ID, w.Name, w.Description, w.URL, w.Format, db.ToJSON(w.Events), w.Status, w.Reason, w.hidden, db.Micros(w.since), w.CreatedBy, db.Micros(w.CreatedAt), db.Micros(w.UpdatedAt))
	return err
}

func drop(tx db.Scope, id string) error {
	if _, err := tx.Exec("DELETE FROM webhook_delivery WHERE workspace = $1 AND webhook = $2", tx.Workspace, id); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM webhook WHERE workspace = $1 AND id = $2", tx.Workspace, id)
	return err
}

const deliveryColumns = "id, webhook, event, type, state, attempts, http_status, error, took, created_at, last_at, next_at"

func scanDelivery(row func(...any) error, more ...any) (d Delivery, err error) {
	var took, created, last, next int64
	if err = row(append([]any{&d.ID, &d.Webhook, &d.Event, &d.Type, &d.State, &d.Attempts, &d.Status, &d.Error, &took, &created, &last, &next}, more...)...); err != nil {
		return d, err
	}
	d.TookMS, d.CreatedAt, d.LastAt, d.NextAt = float64(took)/1000, db.Time(created), db.Moment(last), db.Moment(next)
	return d, nil
}

// addDelivery reports false if the webhook has the event already.
func addDelivery(tx db.Scope, d Delivery) (bool, error) {
	res, err := tx.Exec(`INSERT INTO webhook_delivery (workspace, id, webhook, event, type, body, state, attempts, http_status, error, took, created_at, last_at, next_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, '', 0, $8, 0, $8) ON CONFLICT (workspace, webhook, event) DO NOTHING`,
		tx.Workspace, d.ID, d.Webhook, d.Event, d.Type, d.body, Pending, db.Micros(d.CreatedAt))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

func getDelivery(tx db.Scope, id string) (d Delivery, err error) {
	var body string
	d, err = scanDelivery(tx.QueryRow("SELECT "+deliveryColumns+", body FROM webhook_delivery WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan, &body)
	d.body = body
	return d, err
}

func putDelivery(tx db.Scope, d Delivery) error {
	_, err := tx.Exec(`UPDATE webhook_delivery SET state = $3, attempts = $4, http_status = $5, error = $6, took = $7, last_at = $8, next_at = $9 WHERE workspace = $1 AND id = $2`,
		tx.Workspace, d.ID, d.State, d.Attempts, d.Status, d.Error, int64(d.TookMS*1000), db.MomentMicros(d.LastAt), db.MomentMicros(d.NextAt))
	return err
}

// deliveries gives the log of a webhook, the newest first, older than before.
func deliveries(tx db.Scope, webhook, before string, limit int) (out []Delivery, err error) {
	err = tx.Each("SELECT "+deliveryColumns+" FROM webhook_delivery WHERE workspace = $1 AND webhook = $2 AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4",
		[]any{tx.Workspace, webhook, before, limit}, func(row func(...any) error) error {
			d, err := scanDelivery(row)
			out = append(out, d)
			return err
		})
	return out, err
}

func pending(tx db.Scope, webhook string) (n int, err error) {
	return n, tx.QueryRow("SELECT COUNT(*) FROM webhook_delivery WHERE workspace = $1 AND webhook = $2 AND state = $3", tx.Workspace, webhook, Pending).Scan(&n)
}

// prune keeps the newest deliveries of a webhook, and all that are pending.
func prune(tx db.Scope, webhook string, keep int) error {
	_, err := tx.Exec(`DELETE FROM webhook_delivery WHERE workspace = $1 AND webhook = $2 AND state <> $3
		AND id < (SELECT id FROM webhook_delivery WHERE workspace = $1 AND webhook = $2 ORDER BY id DESC LIMIT 1 OFFSET $4)`, tx.Workspace, webhook, Pending, keep-1)
	return err
}
