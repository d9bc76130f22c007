package incident

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = "id, dedupe, kind, model, endpoint, title, detail, severity, state, opened_at, opened_by, last_at, count, owner, facts"

type store struct{}

func read(scan func(...any) error) (i Incident, err error) {
	var opened, last int64
	var facts string
	err = scan(&i.ID, &i.key, &i.Kind, &i.Model, &i.Endpoint, &i.Title, &i.Detail, &i.Severity, &i.State, &opened, &i.OpenedBy, &last, &i.Count, &i.Owner, &facts)
	i.OpenedAt, i.LastAt, i.Timeline = db.Time(opened), db.Time(last), []Line{}
	if err == nil && facts != "" && facts != "{}" {
		i.Facts = &Facts{}
		err = db.FromJSON(facts, i.Facts)
	}
	return i, err
}

func (store) insert(tx db.Scope, i Incident) error {
	_, err := tx.Exec(`INSERT INTO incident (workspace, id, dedupe, kind, model, endpoint, title, detail, severity, state, opened_at, opened_by, last_at, count, owner, facts)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		tx.Workspace, i.ID, i.key, i.Kind, i.Model, i.Endpoint, i.Title, i.Detail, i.Severity, i.State, db.Micros(i.OpenedAt), i.OpenedBy, db.Micros(i.LastAt), i.Count, i.Owner, written(i.Facts))
	return err
}

func written(f *Facts) string {
	if f == nil {
		return "{}"
	}
	return db.ToJSON(f)
}

func (store) update(tx db.Scope, i Incident) error {
	_, err := tx.Exec("UPDATE incident SET state = $3, last_at = $4, count = $5, owner = $6, detail = $7, facts = $8, severity = $9 WHERE workspace = $1 AND id = $2",
		tx.Workspace, i.ID, i.State, db.Micros(i.LastAt), i.Count, i.Owner, i.Detail, written(i.Facts), i.Severity)
	return err
}

// byKey finds the open incident of a key.
func (store) byKey(tx db.Scope, key string) (Incident, bool, error) {
	i, err := read(tx.QueryRow("SELECT "+columns+" FROM incident WHERE workspace = $1 AND dedupe = $2 AND state <> 'closed'", tx.Workspace, key).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return i, false, nil
	}
	return i, err == nil, err
}

func (s store) get(tx db.Scope, id string) (Incident, error) {
	i, err := read(tx.QueryRow("SELECT "+columns+" FROM incident WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return i, problem.New(problem.NotFound, "There is no incident %s.", id)
	}
	if err != nil {
		return i, err
	}
	err = tx.Each("SELECT at, actor, text FROM incident_line WHERE workspace = $1 AND incident = $2 ORDER BY at DESC, id DESC LIMIT 1000",
		[]any{tx.Workspace, id}, func(scan func(...any) error) error {
			var l Line
			var at int64
			err := scan(&at, &l.By, &l.Text)
			l.At = db.Time(at)
			i.Timeline = append(i.Timeline, l)
			return err
		})
	slices.Reverse(i.Timeline) // the newest ones, oldest first
	return i, err
}

func (store) list(tx db.Scope, state, model, before string, limit int) (out []Incident, err error) {
	err = tx.Each("SELECT "+columns+` FROM incident WHERE workspace = $1 AND (state = $2 OR $2 = '') AND (model = $3 OR $3 = '')
		AND (id < $4 OR $4 = '') ORDER BY id DESC LIMIT $5`, []any{tx.Workspace, state, model, before, limit}, func(scan func(...any) error) error {
		i, err := read(scan)
		out = append(out, i)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list incidents: %w", err)
	}
	return out, nil
}

// unmeasured is the one statement here over all workspaces, for the look that then works in each.
func (store) unmeasured(tx db.Scope, kinds []string, before time.Time, after string) (out []Lone, err error) {
	args, in := []any{db.Micros(before), lineHeld, after, LonePage}, ""
	for _, k := range kinds {
		args = append(args, k)
		in += fmt.Sprintf(", $%d", len(args))
	}
	err = tx.Each(`SELECT workspace, id, model FROM incident WHERE kind IN (`+in[2:]+`) AND state <> 'closed' AND last_at <= $1 AND facts IN ('', '{}')
		AND NOT EXISTS (SELECT 1 FROM incident_line l WHERE l.workspace = incident.workspace AND l.incident = incident.id AND l.id = $2) AND id > $3 ORDER BY id LIMIT $4`,
		args, func(scan func(...any) error) error {
			var l Lone
			err := scan(&l.Workspace, &l.ID, &l.Model)
			out = append(out, l)
			return err
		})
	return out, err
}

// line adds to the time line; the same id twice is one line.
func (store) line(tx db.Scope, incident, id string, at time.Time, by, text string) error {
	_, err := tx.Exec("INSERT INTO incident_line (workspace, incident, id, at, actor, text) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
		tx.Workspace, incident, id, db.Micros(at), by, text)
	return err
}
