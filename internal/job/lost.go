package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"keelson/internal/db"
)

// manyLost is how many given up jobs of a kind are looked at, the newest; River keeps them for a week.
const manyLost = 1000

// givenUp is a job that was given up, as River has it.
type givenUp struct {
	id           int64
	attempt      int
	args, errors string
}

// hear tells of given up jobs whose last words were not heard by this process.
func (r *Runner) hear(ctx context.Context) error {
	var failed []error
	for kind, do := range r.lost {
		list, err := r.givenUp(ctx, kind)
		failed = append(failed, err)
		for _, l := range list {
			var e envelope
			if err := json.Unmarshal([]byte(l.args), &e); err != nil {
				failed = append(failed, fmt.Errorf("read job %d (%s), which was given up: %w", l.id, kind, err))
				continue
			}
			if err := do(acting(ctx, kind, e.Workspace), Job{ID: l.id, Kind: kind, Attempt: l.attempt, Args: e.Args}, l.why()); err != nil {
				failed = append(failed, fmt.Errorf("end what job %d (%s) was to do: %w", l.id, kind, err))
				continue
			}
			r.heard[l.id] = true
		}
	}
	return errors.Join(failed...)
}

// givenUp lists jobs that were not heard of. River keeps arguments and errors as JSON, in types of the database.
func (r *Runner) givenUp(ctx context.Context, kind string) (out []givenUp, err error) {
	err = r.DB.Read(ctx, func(tx db.Scope) error {
		out = nil
		var ids []int64
		if err := tx.Each("SELECT id FROM river_job WHERE state = 'discarded' AND kind = $1 ORDER BY id DESC LIMIT $2", []any{kind, manyLost}, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			if err == nil && !r.heard[id] {
				ids = append(ids, id)
			}
			return err
		}); err != nil {
			return err
		}
		query := "SELECT attempt, json(args), COALESCE(json(errors), '[]') FROM river_job WHERE id = $1"
		if tx.Postgres() {
			query = "SELECT attempt, args::text, COALESCE(to_json(errors)::text, '[]') FROM river_job WHERE id = $1"
		}
		for _, id := range ids {
			l := givenUp{id: id}
			if err := tx.QueryRow(query, id).Scan(&l.attempt, &l.args, &l.errors); err != nil {
				return err
			}
			out = append(out, l)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs that were given up: %w", err)
	}
	return out, nil
}

// why is the last error of a job, or that each of its processes died.
func (l givenUp) why() string {
	var list []struct {
		Attempt int    `json:"attempt"`
		Error   string `json:"error"`
	}
	if json.Unmarshal([]byte(l.errors), &list) == nil {
		for _, e := range list {
			if e.Attempt == l.attempt && e.Error != "" {
				return e.Error
			}
		}
	}
	return "every process that worked on it died"
}
