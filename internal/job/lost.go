package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"keelson/internal/db"
)

// manyLost is how many given up jobs of a kind are looked at, the newest; River keeps them for a week.
const manyLost = 1000

// givenUp is a job that was given up, as River has it.
type givenUp struct {
	id           int64
	kind         string
	attempt      int
	args, errors string
}

// hearing is how far this process came with the last words of a job.
type hearing struct {
	heard bool
	fails int
	next  time.Time // of the next try after a failure
}

// hear tells of given up jobs whose last words were not heard by this process. Those that fail are tried again after 1 s,
// then after twice as long each time, up to a minute.
func (r *Runner) hear(ctx context.Context) error {
	list, err := r.givenUp(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, l := range list {
		err := r.tell(ctx, l)
		h := hearing{heard: err == nil}
		if err != nil {
			failed = append(failed, err)
			h.fails = r.heard[l.id].fails + 1
			h.next = time.Now().Add(min(time.Second<<min(h.fails-1, 6), time.Minute))
		}
		r.heard[l.id] = h
	}
	return errors.Join(failed...)
}

func (r *Runner) tell(ctx context.Context, l givenUp) error {
	var e envelope
	if err := json.Unmarshal([]byte(l.args), &e); err != nil {
		return fmt.Errorf("read job %d (%s), which was given up: %w", l.id, l.kind, err)
	}
	if err := r.lost[l.kind](acting(ctx, l.kind, e.Workspace), Job{ID: l.id, Kind: l.kind, Attempt: l.attempt, Args: e.Args}, l.why()); err != nil {
		return fmt.Errorf("end what job %d (%s) was to do: %w", l.id, l.kind, err)
	}
	return nil
}

// givenUp lists jobs whose last words are to be told now, and forgets those that River no longer has. River keeps arguments
// and errors as JSON, in types of the database.
func (r *Runner) givenUp(ctx context.Context) (out []givenUp, err error) {
	kinds, in := []any{manyLost}, ""
	for kind := range r.lost {
		kinds = append(kinds, kind)
		in += fmt.Sprintf(", $%d", len(kinds))
	}
	var there map[int64]bool
	err = r.DB.Read(ctx, func(tx db.Scope) error {
		out, there = nil, map[int64]bool{}
		if err := tx.Each(`SELECT id, kind FROM (SELECT id, kind, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY id DESC) AS place FROM river_job
			WHERE state = 'discarded' AND kind IN (`+in[2:]+`)) j WHERE place <= $1 ORDER BY id DESC`, kinds, func(scan func(...any) error) error {
			var l givenUp
			err := scan(&l.id, &l.kind)
			there[l.id] = true
			if h := r.heard[l.id]; err == nil && !h.heard && !time.Now().Before(h.next) {
				out = append(out, l)
			}
			return err
		}); err != nil {
			return err
		}
		query := "SELECT attempt, json(args), COALESCE(json(errors), '[]') FROM river_job WHERE id = $1"
		if tx.Postgres() {
			query = "SELECT attempt, args::text, COALESCE(to_json(errors)::text, '[]') FROM river_job WHERE id = $1"
		}
		for i := range out {
			l := &out[i]
			if err := tx.QueryRow(query, l.id).Scan(&l.attempt, &l.args, &l.errors); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs that were given up: %w", err)
	}
	maps.DeleteFunc(r.heard, func(id int64, _ hearing) bool { return !there[id] })
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
