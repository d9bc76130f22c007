package tracking

import (
	"time"

	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/problem"
)

func noModel(id string) error {
	return problem.New(problem.NotFound, "Logged model with ID '%s' not found.", problem.Clip(id, 80)).At("model_id")
}

func insertModel(tx db.Scope, m LoggedModel) error {
	if _, err := tx.Exec(`INSERT INTO logged_model (workspace, id, experiment, name, run, kind, author, status, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		tx.Workspace, m.ID, m.Experiment, m.Name, m.Run, m.Kind, m.Author, m.Status, db.Micros(m.Created), db.Micros(m.Updated)); err != nil {
		return err
	}
	for k, v := range m.Params {
		if err := putModelParam(tx, m.ID, Pair{k, v}); err != nil {
			return err
		}
	}
	for k, v := range m.Tags {
		if err := putModelTag(tx, m.ID, Pair{k, v}); err != nil {
			return err
		}
	}
	return nil
}

func getModel(tx db.Scope, id string) (LoggedModel, error) {
	list, err := readModels(tx, []string{id})
	if err != nil {
		return LoggedModel{}, err
	}
	if len(list) == 0 || list[0].ID == "" || list[0].Deleted {
		return LoggedModel{}, noModel(id)
	}
	return list[0], nil
}

// readModels reads logged models in the order of ids; one that is not there is left zero.
func readModels(tx db.Scope, ids []string) ([]LoggedModel, error) {
	at := place(ids)
	out := make([]LoggedModel, len(ids))
	err := inChunks(ids, func(part []string) error {
		q := find.New(tx)
		q.Add(`SELECT id, experiment, name, run, kind, author, status, reason, deleted, created_at, updated_at FROM logged_model WHERE workspace = `,
			q.Arg(tx.Workspace), ` AND id IN (`, q.Args(part), `)`)
		if err := tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
			var m LoggedModel
			var created, updated int64
			if err := scan(&m.ID, &m.Experiment, &m.Name, &m.Run, &m.Kind, &m.Author, &m.Status, &m.Reason, &m.Deleted, &created, &updated); err != nil {
				return err
			}
			m.Created, m.Updated = db.Time(created), db.Time(updated)
			m.Params, m.Tags = map[string]string{}, map[string]string{}
			out[at[m.ID]] = m
			return nil
		}); err != nil {
			return err
		}
		pairs := func(table string, into func(LoggedModel) map[string]string) error {
			q := find.New(tx)
			q.Add(`SELECT model, key, value FROM `+table+` WHERE workspace = `, q.Arg(tx.Workspace), ` AND model IN (`, q.Args(part), `)`)
			return tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
				var id, k, v string
				if err := scan(&id, &k, &v); err != nil {
					return err
				}
				if m := into(out[at[id]]); m != nil {
					m[k] = v
				}
				return nil
			})
		}
		if err := pairs("logged_model_param", func(m LoggedModel) map[string]string { return m.Params }); err != nil {
			return err
		}
		if err := pairs("logged_model_tag", func(m LoggedModel) map[string]string { return m.Tags }); err != nil {
			return err
		}
		q = find.New(tx)
		q.Add(`SELECT model, key, dataset, dataset_digest, run, value, kind, step, at_ms FROM logged_model_metric WHERE workspace = `,
			q.Arg(tx.Workspace), ` AND model IN (`, q.Args(part), `) ORDER BY model, key, dataset, run`)
		return tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
			var p ModelMetric
			var kind int
			if err := scan(&p.Model, &p.Key, &p.Dataset, &p.DatasetDigest, &p.Run, &p.Value, &kind, &p.Step, &p.At); err != nil {
				return err
			}
			p.Value = join(p.Value, kind)
			m := &out[at[p.Model]]
			m.Metrics = append(m.Metrics, p)
			return nil
		})
	})
	return out, err
}

func putModelState(tx db.Scope, m LoggedModel) error {
	_, err := tx.Exec(`UPDATE logged_model SET status = $1, reason = $2, deleted = $3, updated_at = $4 WHERE workspace = $5 AND id = $6`,
		m.Status, m.Reason, db.Bit(m.Deleted), db.Micros(m.Updated), tx.Workspace, m.ID)
	return err
}

func touchModel(tx db.Scope, id string, now time.Time) error {
	_, err := tx.Exec(`UPDATE logged_model SET updated_at = $1 WHERE workspace = $2 AND id = $3`, db.Micros(now), tx.Workspace, id)
	return err
}

func putModelTag(tx db.Scope, id string, t Pair) error {
	_, err := tx.Exec(`INSERT INTO logged_model_tag (workspace, model, key, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (workspace, model, key) DO UPDATE SET value = excluded.value`, tx.Workspace, id, t.Key, t.Value)
	return err
}

func dropModelTag(tx db.Scope, id, key string) (bool, error) {
	return affected(tx.Exec(`DELETE FROM logged_model_tag WHERE workspace = $1 AND model = $2 AND key = $3`, tx.Workspace, id, key))
}

func putModelParam(tx db.Scope, id string, p Pair) error {
	_, err := tx.Exec(`INSERT INTO logged_model_param (workspace, model, key, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (workspace, model, key) DO UPDATE SET value = excluded.value`, tx.Workspace, id, p.Key, p.Value)
	return err
}

func putModelMetric(tx db.Scope, run string, p Point) error {
	v, kind := split(p.Value)
	_, err := tx.Exec(`INSERT INTO logged_model_metric AS m (workspace, model, key, dataset, dataset_digest, run, value, kind, step, at_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (workspace, model, key, dataset, dataset_digest, run) DO UPDATE SET value = excluded.value, kind = excluded.kind, step = excluded.step, at_ms = excluded.at_ms
		WHERE (excluded.step, excluded.at_ms, excluded.value) > (m.step, m.at_ms, m.value)`,
		tx.Workspace, p.Model, p.Key, p.Dataset, p.DatasetDigest, run, v, kind, p.Step, p.At)
	return err
}
