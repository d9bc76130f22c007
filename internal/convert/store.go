package convert

import (
	"errors"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = `id, model, version, wish, state, result, started_by, started_at, ended_at`

func insert(tx db.Scope, c Conversion) error {
	_, err := tx.Exec(`INSERT INTO conversion (workspace, target, `+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		tx.Workspace, c.Wish.To, c.ID, c.Model, c.Version, db.ToJSON(c.Wish), c.State, db.ToJSON(c.Result), c.By, db.Micros(c.StartedAt), 0)
	return err
}

// finish ends a running conversion; one that has ended stays as it is.
func finish(tx db.Scope, c Conversion) (bool, error) {
	res, err := tx.Exec(`UPDATE conversion SET state = $1, result = $2, ended_at = $3 WHERE workspace = $4 AND id = $5 AND state = 'running'`,
		c.State, db.ToJSON(c.Result), db.Micros(*c.EndedAt), tx.Workspace, c.ID)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func scan(scan func(...any) error) (c Conversion, err error) {
	var wish, result string
	var started, ended int64
	if err := scan(&c.ID, &c.Model, &c.Version, &wish, &c.State, &result, &c.By, &started, &ended); err != nil {
		return c, err
	}
	c.StartedAt = db.Time(started)
	if ended > 0 {
		t := db.Time(ended)
		c.EndedAt = &t
	}
	return c, errors.Join(db.FromJSON(wish, &c.Wish), db.FromJSON(result, &c.Result))
}

func get(tx db.Scope, id string) (Conversion, error) {
	c, err := scan(tx.QueryRow(`SELECT `+columns+` FROM conversion WHERE workspace = $1 AND id = $2`, tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return c, problem.New(problem.NotFound, "There is no such conversion.").At("id")
	}
	return c, err
}

// list gives the conversions of a version, the newest first, at most 100.
func list(tx db.Scope, model string, version int) (out []Conversion, err error) {
	err = tx.Each(`SELECT `+columns+` FROM conversion WHERE workspace = $1 AND model = $2 AND version = $3 ORDER BY started_at DESC, id DESC LIMIT 100`, []any{tx.Workspace, model, version},
		func(s func(...any) error) error {
			c, err := scan(s)
			out = append(out, c)
			return err
		})
	return out, err
}

func rename(tx db.Scope, from, to string) error {
	_, err := tx.Exec(`UPDATE conversion SET model = $1 WHERE workspace = $2 AND model = $3`, to, tx.Workspace, from)
	return err
}
