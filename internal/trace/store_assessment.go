package trace

import (
	"encoding/json"
	"errors"

	"keelson/internal/db"
)

const assessmentColumns = `id, name, kind, value, valid, overrides, document, created_at, updated_at`

// assessmentDocument is what nobody searches by.
type assessmentDocument struct {
	Source    Source            `json:"source"`
	Rationale string            `json:"rationale,omitempty"`
	Span      string            `json:"span,omitempty"`
	Error     *Fault            `json:"error,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

func scanAssessment(scan func(...any) error) (a Assessment, err error) {
	var value, doc string
	var created, updated int64
	if err = scan(&a.ID, &a.Name, &a.Kind, &value, &a.Valid, &a.Overrides, &doc, &created, &updated); err != nil {
		return a, err
	}
	var d assessmentDocument
	err = db.FromJSON(doc, &d)
	a.Value, a.CreatedAt, a.UpdatedAt = json.RawMessage(value), db.Time(created), db.Time(updated)
	a.Source, a.Rationale, a.Span, a.Error, a.Metadata = d.Source, d.Rationale, d.Span, d.Error, d.Metadata
	return a, err
}

// putAssessment stores a under its id, in place of the one that is there.
func putAssessment(tx db.Scope, trace string, a Assessment) error {
	number, kind := a.number()
	_, sessionwide := a.Metadata[MetaSession]
	doc := db.ToJSON(assessmentDocument{a.Source, a.Rationale, a.Span, a.Error, a.Metadata})
	_, err := tx.Exec(`INSERT INTO trace_assessment (workspace, trace, id, name, kind, value, text, number, number_kind, valid, sessionwide, overrides, document, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (workspace, trace, id) DO UPDATE SET name = excluded.name, kind = excluded.kind, value = excluded.value, text = excluded.text, number = excluded.number,
			number_kind = excluded.number_kind, valid = excluded.valid, sessionwide = excluded.sessionwide, overrides = excluded.overrides, document = excluded.document,
			updated_at = excluded.updated_at`,
		tx.Workspace, trace, a.ID, a.Name, a.Kind, string(a.Value), a.text(), number, kind, db.Bit(a.Valid), db.Bit(sessionwide), a.Overrides, doc, db.Micros(a.CreatedAt), db.Micros(a.UpdatedAt))
	return err
}

func getAssessment(tx db.Scope, trace, id string) (Assessment, error) {
	a, err := scanAssessment(tx.QueryRow(`SELECT `+assessmentColumns+` FROM trace_assessment WHERE workspace = $1 AND trace = $2 AND id = $3`, tx.Workspace, trace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		if err := exists(tx, trace); err != nil {
			return a, err
		}
		return a, noAssessment(trace, id)
	}
	return a, err
}

func dropAssessment(tx db.Scope, trace, id string) error {
	_, err := tx.Exec(`DELETE FROM trace_assessment WHERE workspace = $1 AND trace = $2 AND id = $3`, tx.Workspace, trace, id)
	return err
}

func setValid(tx db.Scope, trace, id string, valid bool) (bool, error) {
	res, err := tx.Exec(`UPDATE trace_assessment SET valid = $1 WHERE workspace = $2 AND trace = $3 AND id = $4`, db.Bit(valid), tx.Workspace, trace, id)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func countAssessments(tx db.Scope, trace string) (n int, err error) {
	return n, tx.QueryRow(`SELECT COUNT(*) FROM trace_assessment WHERE workspace = $1 AND trace = $2`, tx.Workspace, trace).Scan(&n)
}
