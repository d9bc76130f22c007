package prediction

import (
	"keelson/internal/db"
)

// texts reads one column.
func texts(tx db.Scope, query string, args ...any) (out []string, err error) {
	err = tx.Each(query, args, func(scan func(...any) error) error {
		var s string
		err := scan(&s)
		out = append(out, s)
		return err
	})
	return out, err
}

func (store) retentions(tx db.Scope) (out []Retention, err error) {
	err = tx.Each(`SELECT endpoint, days, set_by, at FROM prediction_retention WHERE workspace = $1 ORDER BY endpoint`, []any{tx.Workspace}, func(scan func(...any) error) error {
		var r Retention
		var at int64
		err := scan(&r.Endpoint, &r.Days, &r.By, &at)
		r.At = db.Time(at)
		out = append(out, r)
		return err
	})
	return out, err
}

func (store) putRetention(tx db.Scope, r Retention) error {
	_, err := tx.Exec(`INSERT INTO prediction_retention (workspace, endpoint, days, set_by, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (workspace, endpoint) DO UPDATE SET days = excluded.days, set_by = excluded.set_by, at = excluded.at`, tx.Workspace, r.Endpoint, r.Days, r.By, db.Micros(r.At))
	return err
}

func (store) dropRetention(tx db.Scope, endpoint string) (bool, error) {
	res, err := tx.Exec(`DELETE FROM prediction_retention WHERE workspace = $1 AND endpoint = $2`, tx.Workspace, endpoint)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// markErased notes that a person was erased, so that no damaged part of a segment made before is kept. Segments are of all
// workspaces, so the row is the default one's.
func (store) markErased(tx db.Scope, below string) error {
	_, err := tx.Exec(`INSERT INTO prediction_erasure (workspace, below) VALUES ($1, $2) ON CONFLICT (workspace) DO UPDATE SET below = excluded.below`, tx.Workspace, below)
	return err
}

// erasedBelow is what markErased noted last, "" when nobody was erased.
func (store) erasedBelow(tx db.Scope) (below string, err error) {
	list, err := texts(tx, `SELECT below FROM prediction_erasure WHERE workspace = $1`, tx.Workspace)
	if len(list) > 0 {
		below = list[0]
	}
	return below, err
}

// workspaces lists those that have files or bytes to delete. It is the one statement here over all workspaces, for the
// job that then works in each.
func (store) workspaces(tx db.Scope) ([]string, error) {
	return texts(tx, `SELECT workspace FROM prediction_file UNION SELECT workspace FROM prediction_gone ORDER BY workspace`)
}

func (store) endpoints(tx db.Scope) ([]string, error) {
	return texts(tx, `SELECT DISTINCT endpoint FROM prediction_file WHERE workspace = $1 ORDER BY endpoint`, tx.Workspace)
}

// kept sums up the files of each endpoint.
func (store) kept(tx db.Scope) (out []Kept, err error) {
	err = tx.Each(`SELECT endpoint, SUM(predictions), SUM(bytes), MIN(from_at), MAX(to_at) FROM prediction_file WHERE workspace = $1 GROUP BY endpoint ORDER BY endpoint`, []any{tx.Workspace}, func(scan func(...any) error) error {
		var k Kept
		var oldest, newest int64
		err := scan(&k.Endpoint, &k.Predictions, &k.Bytes, &oldest, &newest)
		k.Oldest, k.Newest = db.Time(oldest), db.Time(newest)
		out = append(out, k)
		return err
	})
	return out, err
}

// filesBefore gives one page of the files of an endpoint whose records all came before an identifier, behind from.
func (store) filesBefore(tx db.Scope, endpoint, below, from string) (out []file, err error) {
	err = tx.Each(selectFile+`WHERE workspace = $1 AND endpoint = $2 AND last_id < $3 AND first_id > $4 ORDER BY first_id LIMIT $5`,
		[]any{tx.Workspace, endpoint, below, from, pageFiles}, into(&out))
	return out, err
}

// sameSegment finds what a file that is gone was written again as.
func (store) sameSegment(tx db.Scope, f file) (out []file, err error) {
	err = tx.Each(selectFile+`WHERE workspace = $1 AND segment = $2 AND endpoint = $3 ORDER BY first_id`, []any{tx.Workspace, f.Segment, f.Endpoint}, into(&out))
	return out, err
}

// removeFile takes a file's row away and notes its bytes for deletion; false when another process was there before, which
// removed the file or wrote it again.
func (s store) removeFile(tx db.Scope, f file) (bool, error) {
	res, err := tx.Exec(`DELETE FROM prediction_file WHERE workspace = $1 AND id = $2`, tx.Workspace, f.ID)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	return true, s.noteGone(tx, f.Name)
}

// noteGone notes the bytes of a file without a row for deletion.
func (store) noteGone(tx db.Scope, name string) error {
	_, err := tx.Exec(`INSERT INTO prediction_gone (workspace, name) VALUES ($1, $2) ON CONFLICT (workspace, name) DO NOTHING`, tx.Workspace, name)
	return err
}

// there tells whether a file's row is still there.
func (store) there(tx db.Scope, f file) (bool, error) {
	var n int
	err := tx.QueryRow(`SELECT COUNT(*) FROM prediction_file WHERE workspace = $1 AND id = $2`, tx.Workspace, f.ID).Scan(&n)
	return n > 0, err
}

// deleteOutcomes removes the outcomes of an endpoint's predictions from first to last that no file holds any more.
func (store) deleteOutcomes(tx db.Scope, endpoint, first, last string) (int64, error) {
	res, err := tx.Exec(`DELETE FROM prediction_outcome WHERE workspace = $1 AND endpoint = $2 AND prediction >= $3 AND prediction <= $4 AND NOT EXISTS (
		SELECT 1 FROM prediction_file f WHERE f.workspace = $1 AND f.endpoint = $2 AND f.first_id > $5 AND f.first_id <= prediction_outcome.prediction AND f.last_id >= prediction_outcome.prediction)`,
		tx.Workspace, endpoint, first, last, hourBefore(first))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// deleteKeys removes the callers' own identifiers of predictions of an endpoint before one, but for those in files that
// are held.
func (store) deleteKeys(tx db.Scope, endpoint, below string) error {
	_, err := tx.Exec(`DELETE FROM prediction_key WHERE workspace = $1 AND endpoint = $2 AND prediction <> '' AND prediction < $3 AND NOT EXISTS (
		SELECT 1 FROM prediction_file f WHERE f.workspace = $1 AND f.endpoint = $2 AND f.last_id < $3 AND f.first_id <= prediction_key.prediction AND f.last_id >= prediction_key.prediction)`,
		tx.Workspace, endpoint, below)
	return err
}

// forget removes what is kept of one prediction beside its record and counts its outcomes.
func (store) forget(tx db.Scope, endpoint, id string) (int64, error) {
	if _, err := tx.Exec(`DELETE FROM prediction_key WHERE workspace = $1 AND endpoint = $2 AND prediction = $3`, tx.Workspace, endpoint, id); err != nil {
		return 0, err
	}
	res, err := tx.Exec(`DELETE FROM prediction_outcome WHERE workspace = $1 AND prediction = $2`, tx.Workspace, id)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (store) gone(tx db.Scope) ([]string, error) {
	return texts(tx, `SELECT name FROM prediction_gone WHERE workspace = $1 ORDER BY name LIMIT 10000`, tx.Workspace)
}

func (store) swept(tx db.Scope, names []string) error {
	for _, n := range names {
		if _, err := tx.Exec(`DELETE FROM prediction_gone WHERE workspace = $1 AND name = $2`, tx.Workspace, n); err != nil {
			return err
		}
	}
	return nil
}
