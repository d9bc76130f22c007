package evaluation

import (
	"errors"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = `id, model, version, artifact_digest, suite, definition, dataset, dataset_version, dataset_digest, state, tests, metrics, started_by, started_at, ended_at`

func insert(tx db.Scope, e Evaluation) error {
	_, err := tx.Exec(`INSERT INTO evaluation (workspace, `+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		tx.Workspace, e.ID, e.Model, e.Version, e.ArtifactDigest, e.Suite, db.ToJSON(e.definition), e.Dataset, e.DatasetVersion, e.DatasetDigest, e.State,
		db.ToJSON(e.Tests), db.ToJSON(e.Metrics), e.By, db.Micros(e.StartedAt), 0)
	return err
}

// finish ends a running evaluation; one that has ended stays as it is.
func finish(tx db.Scope, e Evaluation) (bool, error) {
	res, err := tx.Exec(`UPDATE evaluation SET state = $1, tests = $2, metrics = $3, ended_at = $4 WHERE workspace = $5 AND id = $6 AND state = 'running'`,
		e.State, db.ToJSON(e.Tests), db.ToJSON(e.Metrics), db.Micros(*e.EndedAt), tx.Workspace, e.ID)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func scan(scan func(...any) error) (e Evaluation, err error) {
	var definition, tests, metrics string
	var started, ended int64
	if err := scan(&e.ID, &e.Model, &e.Version, &e.ArtifactDigest, &e.Suite, &definition, &e.Dataset, &e.DatasetVersion, &e.DatasetDigest, &e.State, &tests, &metrics, &e.By, &started, &ended); err != nil {
		return e, err
	}
	e.StartedAt = db.Time(started)
	if ended > 0 {
		t := db.Time(ended)
		e.EndedAt = &t
	}
	e.Tests, e.Metrics = []Result{}, map[string]float64{}
	return e, errors.Join(db.FromJSON(definition, &e.definition), db.FromJSON(tests, &e.Tests), db.FromJSON(metrics, &e.Metrics))
}

func get(tx db.Scope, id string) (Evaluation, error) {
	e, err := scan(tx.QueryRow(`SELECT `+columns+` FROM evaluation WHERE workspace = $1 AND id = $2`, tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return e, problem.New(problem.NotFound, "There is no evaluation %s.", clip(id)).At("id")
	}
	return e, err
}

// list gives the evaluations of a version, the newest first, those before an id.
func list(tx db.Scope, model string, version int, before string, limit int) (out []Evaluation, err error) {
	q := `SELECT ` + columns + ` FROM evaluation WHERE workspace = $1 AND model = $2 AND version = $3`
	args := []any{tx.Workspace, model, version}
	if before != "" {
		old, err := get(tx, before)
		if err != nil {
			return nil, problem.New(problem.Invalid, "The cursor %q is not one of this list; send the next of the page before, or none.", clip(before)).At("cursor")
		}
		q += ` AND (started_at < $4 OR started_at = $4 AND id < $5) ORDER BY started_at DESC, id DESC LIMIT $6`
		args = append(args, db.Micros(old.StartedAt), before, limit)
	} else {
		q += ` ORDER BY started_at DESC, id DESC LIMIT $4`
		args = append(args, limit)
	}
	err = tx.Each(q, args, func(row func(...any) error) error {
		e, err := scan(row)
		out = append(out, e)
		return err
	})
	return out, err
}

// suites gives the newest evaluation of a version by each suite, the newest first.
func suites(tx db.Scope, model string, version, limit int) (out []Evaluation, err error) {
	err = tx.Each(`SELECT `+columns+` FROM evaluation WHERE workspace = $1 AND model = $2 AND version = $3 AND NOT EXISTS
		(SELECT 1 FROM evaluation n WHERE n.workspace = $1 AND n.model = $2 AND n.version = $3 AND n.suite = evaluation.suite
			AND (n.started_at > evaluation.started_at OR n.started_at = evaluation.started_at AND n.id > evaluation.id))
		ORDER BY started_at DESC, id DESC LIMIT $4`, []any{tx.Workspace, model, version, limit}, func(row func(...any) error) error {
		e, err := scan(row)
		out = append(out, e)
		return err
	})
	return out, err
}

// latest gives id and state of the newest evaluation of every version of a model.
func latest(tx db.Scope, model string, each func(version int, id, state string)) error {
	seen := map[int]bool{}
	return tx.Each(`SELECT version, id, state FROM evaluation WHERE workspace = $1 AND model = $2 ORDER BY version, started_at DESC, id DESC`, []any{tx.Workspace, model}, func(row func(...any) error) error {
		var version int
		var id, state string
		if err := row(&version, &id, &state); err != nil {
			return err
		}
		if !seen[version] {
			seen[version] = true
			each(version, id, state)
		}
		return nil
	})
}

func rename(tx db.Scope, from, to string) error {
	_, err := tx.Exec(`UPDATE evaluation SET model = $1 WHERE workspace = $2 AND model = $3`, to, tx.Workspace, from)
	return err
}
