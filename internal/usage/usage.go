// Package usage is the ledger of what models cost: compute seconds, bytes and calls, booked where they arise.
package usage

import (
	"time"

	"keelson/internal/db"
)

// Kinds of amounts.
const (
	ComputeSeconds = "compute_seconds"
	Bytes          = "bytes"
	Calls          = "calls"
)

// Book adds an amount to the ledger. model may be empty for work that serves no single model; ref names what was done
// ("pipeline-run/ID/train").
func Book(tx db.Scope, model, kind string, amount float64, ref string) error {
	_, err := tx.Exec(`INSERT INTO usage_entry (id, workspace, at, model, kind, amount, ref) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		db.NewID(), tx.Workspace, db.Micros(time.Now()), model, kind, amount, ref)
	return err
}
