package evalset

import (
	"encoding/json"
	"errors"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = `id, name, tags, experiments, fields, digest, created_by, updated_by, created_at, updated_at,
	(SELECT COUNT(*) FROM evalset_record r WHERE r.workspace = evalset.workspace AND r.evalset = evalset.id)`

func scan(row func(...any) error) (s Set, err error) {
	var tags, experiments, fields string
	var created, updated int64
	if err = row(&s.ID, &s.Name, &tags, &experiments, &fields, &s.Digest, &s.CreatedBy, &s.UpdatedBy, &created, &updated, &s.Records); err != nil {
		return s, err
	}
	s.CreatedAt, s.UpdatedAt = db.Time(created), db.Time(updated)
	return s, errors.Join(db.FromJSON(tags, &s.Tags), db.FromJSON(experiments, &s.Experiments), db.FromJSON(fields, &s.Fields))
}

func get(tx db.Scope, id string) (Set, error) {
	s, err := scan(tx.QueryRow("SELECT "+columns+" FROM evalset WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return s, problem.New(problem.NotFound, "Evaluation dataset with id '%s' not found.", problem.Clip(id, 60)).At("dataset_id")
	}
	return s, err
}

func list(tx db.Scope) (out []Set, err error) {
	err = tx.Each("SELECT "+columns+" FROM evalset WHERE workspace = $1 ORDER BY id", []any{tx.Workspace}, func(row func(...any) error) error {
		s, err := scan(row)
		out = append(out, s)
		return err
	})
	return out, err
}

func put(tx db.Scope, s Set) error {
	_, err := tx.Exec(`INSERT INTO evalset (workspace, id, name, tags, experiments, fields, digest, created_by, updated_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (workspace, id) DO UPDATE SET tags = excluded.tags, experiments = excluded.experiments,
			fields = excluded.fields, digest = excluded.digest, updated_by = excluded.updated_by, updated_at = excluded.updated_at`,
		tx.Workspace, s.ID, s.Name, db.ToJSON(s.Tags), db.ToJSON(s.Experiments), db.ToJSON(s.Fields), s.Digest, s.CreatedBy, s.UpdatedBy, db.Micros(s.CreatedAt), db.Micros(s.UpdatedAt))
	return err
}

func drop(tx db.Scope, id string) error {
	if _, err := tx.Exec("DELETE FROM evalset_record WHERE workspace = $1 AND evalset = $2", tx.Workspace, id); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM evalset WHERE workspace = $1 AND id = $2", tx.Workspace, id)
	return err
}

const recordColumns = "id, evalset, inputs, outputs, expectations, tags, source, created_by, updated_by, created_at, updated_at"

func scanRecord(row func(...any) error) (r Record, err error) {
	var inputs, outputs, expectations, tags, source string
	var created, updated int64
	if err = row(&r.ID, &r.Set, &inputs, &outputs, &expectations, &tags, &source, &r.CreatedBy, &r.UpdatedBy, &created, &updated); err != nil {
		return r, err
	}
	r.Inputs, r.Outputs, r.Expectations, r.Source = raw(inputs), raw(outputs), raw(expectations), raw(source)
	r.CreatedAt, r.UpdatedAt = db.Time(created), db.Time(updated)
	return r, db.FromJSON(tags, &r.Tags)
}

func raw(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

// ofInput finds the record of an input; ok is false when there is none.
func ofInput(tx db.Scope, set, input string) (r Record, ok bool, err error) {
	r, err = scanRecord(tx.QueryRow("SELECT "+recordColumns+" FROM evalset_record WHERE workspace = $1 AND evalset = $2 AND input = $3", tx.Workspace, set, input).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return Record{}, false, nil
	}
	return r, err == nil, err
}

func putRecord(tx db.Scope, r Record, input string) error {
	_, err := tx.Exec("INSERT INTO evalset_record (workspace, input, "+recordColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (workspace, evalset, id) DO UPDATE SET outputs = excluded.outputs, expectations = excluded.expectations, tags = excluded.tags, source = excluded.source,
			updated_by = excluded.updated_by, updated_at = excluded.updated_at`,
		tx.Workspace, input, r.ID, r.Set, string(r.Inputs), string(r.Outputs), string(r.Expectations), db.ToJSON(r.Tags), string(r.Source), r.CreatedBy, r.UpdatedBy, db.Micros(r.CreatedAt), db.Micros(r.UpdatedAt))
	return err
}

// records gives those of a set in the order they came, after an id.
func records(tx db.Scope, set, after string, limit int) (out []Record, err error) {
	err = tx.Each("SELECT "+recordColumns+" FROM evalset_record WHERE workspace = $1 AND evalset = $2 AND id > $3 ORDER BY id LIMIT $4", []any{tx.Workspace, set, after, limit}, func(row func(...any) error) error {
		r, err := scanRecord(row)
		out = append(out, r)
		return err
	})
	return out, err
}

// dropRecord reports whether there was one.
func dropRecord(tx db.Scope, set, id string) (bool, error) {
	res, err := tx.Exec("DELETE FROM evalset_record WHERE workspace = $1 AND evalset = $2 AND id = $3", tx.Workspace, set, id)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
