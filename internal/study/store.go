package study

import (
	"errors"
	"time"

	"keelson/internal/db"
)

func put(tx db.Scope, model string, version int, digest, state, reason, document string, at time.Time) error {
	_, err := tx.Exec(`INSERT INTO study (workspace, model, version, digest, state, reason, document, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (workspace, model, version, digest) DO UPDATE SET state = excluded.state, reason = excluded.reason, document = excluded.document, made_at = excluded.made_at`,
		tx.Workspace, model, version, digest, state, reason, document, db.Micros(at))
	if err != nil || digest == "" {
		return err
	}
	// A week and a few that people asked for are enough to see what changed.
	_, err = tx.Exec(`DELETE FROM study WHERE workspace = $1 AND model = $2 AND version = $3 AND digest <> '' AND digest NOT IN
		(SELECT k.digest FROM study k WHERE k.workspace = $1 AND k.model = $2 AND k.version = $3 AND k.digest <> '' ORDER BY k.made_at DESC, k.digest LIMIT 10)`, tx.Workspace, model, version)
	return err
}

// again makes a kept study the newest.
func again(tx db.Scope, model string, version int, digest string, at time.Time) error {
	_, err := tx.Exec(`UPDATE study SET made_at = $1 WHERE workspace = $2 AND model = $3 AND version = $4 AND digest = $5`, db.Micros(at), tx.Workspace, model, version, digest)
	return err
}

func has(tx db.Scope, model string, version int, digest string) (ok bool, err error) {
	err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM study WHERE workspace = $1 AND model = $2 AND version = $3 AND digest = $4)`, tx.Workspace, model, version, digest).Scan(&ok)
	return ok, err
}

func standing(tx db.Scope, model string, version int) (out Standing, err error) {
	out.State = None
	err = tx.QueryRow(`SELECT state, reason FROM study WHERE workspace = $1 AND model = $2 AND version = $3 AND digest = ''`, tx.Workspace, model, version).Scan(&out.State, &out.Reason)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return out, err
	}
	var document string
	err = tx.QueryRow(`SELECT document FROM study WHERE workspace = $1 AND model = $2 AND version = $3 AND digest <> '' ORDER BY made_at DESC, digest LIMIT 1`, tx.Workspace, model, version).Scan(&document)
	if errors.Is(err, db.ErrNoRows) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Study = &Study{}
	return out, db.FromJSON(document, out.Study)
}

// attempted is when a study of a version was last made, tried or found to be kept, and whether one is being made now.
func attempted(tx db.Scope, model string, version int) (at time.Time, making bool, err error) {
	var state string
	var micros int64
	err = tx.QueryRow(`SELECT state, made_at FROM study WHERE workspace = $1 AND model = $2 AND version = $3 AND digest = ''`, tx.Workspace, model, version).Scan(&state, &micros)
	if errors.Is(err, db.ErrNoRows) {
		return at, false, nil
	}
	return db.Time(micros), state == Making, err
}

// kept gives the studies of a version that are there, the newest first.
func kept(tx db.Scope, model string, version int) (out []Study, err error) {
	err = tx.Each(`SELECT document FROM study WHERE workspace = $1 AND model = $2 AND version = $3 AND digest <> '' ORDER BY made_at DESC, digest`, []any{tx.Workspace, model, version}, func(scan func(...any) error) error {
		var document string
		var s Study
		if err := scan(&document); err != nil {
			return err
		}
		err := db.FromJSON(document, &s)
		out = append(out, s)
		return err
	})
	return out, err
}

func rename(tx db.Scope, from, to string) error {
	_, err := tx.Exec(`UPDATE study SET model = $1 WHERE workspace = $2 AND model = $3`, to, tx.Workspace, from)
	return err
}
