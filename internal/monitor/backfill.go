package monitor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Backfill is a job that looks again, with a monitor's present settings, at the windows that are stored. Windows that were
// not there yet need none: a new monitor reads the log from its beginning. Nobody is alerted of the past.
type Backfill struct {
	ID        string     `json:"id"`
	Endpoint  string     `json:"endpoint"`
	State     string     `json:"state" enum:"running,done,failed"`
	Since     time.Time  `json:"since"`
	Until     time.Time  `json:"until"`
	Done      int        `json:"done" doc:"windows that were looked at"`
	Total     int        `json:"total"`
	Error     string     `json:"error,omitempty"`
	By        string     `json:"by"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`

	at string // the last window that is done
}

// BackfillKind is the job.
const BackfillKind = "monitor.backfill"

// Backfill starts looking again at the windows whose last row lies in a span; zero times are open ends.
func (s *Service) Backfill(ctx context.Context, endpoint string, since, until time.Time) (b Backfill, err error) {
	if until.IsZero() {
		until = s.now()
	}
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	if !since.Before(until) {
		return b, invalid("since", "The span begins at %s, not before its end.", since.UTC().Format(time.RFC3339))
	}
	b = Backfill{ID: db.NewID(), Endpoint: endpoint, State: "running", Since: since.UTC().Truncate(time.Microsecond), Until: until.UTC().Truncate(time.Microsecond), By: caller.From(ctx).Name, StartedAt: s.now()}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if _, _, err := get(tx, endpoint); err != nil {
			return err
		}
		if err := tx.QueryRow("SELECT COUNT(*) FROM monitor_window WHERE workspace = $1 AND endpoint = $2 AND to_at >= $3 AND to_at <= $4",
			tx.Workspace, endpoint, db.Micros(b.Since), db.Micros(b.Until)).Scan(&b.Total); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO monitor_backfill (workspace, id, endpoint, state, since, until, at, done, total, error, started_by, started_at, ended_at)
			VALUES ($1, $2, $3, $4, $5, $6, '', 0, $7, '', $8, $9, 0)`, tx.Workspace, b.ID, endpoint, b.State, db.Micros(b.Since), db.Micros(b.Until), b.Total, b.By, db.Micros(b.StartedAt))
		return errors.Join(err, job.Enqueue(tx, BackfillKind, map[string]string{"id": b.ID}),
			audit.Record(tx, "monitor.backfill-started", "monitor/"+endpoint, map[string]any{"id": b.ID, "since": b.Since, "until": b.Until, "windows": b.Total}))
	})
	return b, err
}

const backfillColumns = "id, endpoint, state, since, until, at, done, total, error, started_by, started_at, ended_at"

func scanBackfill(scan func(...any) error) (b Backfill, err error) {
	var since, until, started, ended int64
	err = scan(&b.ID, &b.Endpoint, &b.State, &since, &until, &b.at, &b.Done, &b.Total, &b.Error, &b.By, &started, &ended)
	b.Since, b.Until, b.StartedAt = db.Time(since), db.Time(until), db.Time(started)
	if ended > 0 {
		t := db.Time(ended)
		b.EndedAt = &t
	}
	return b, err
}

// GetBackfill tells how far a back-fill has come.
func (s *Service) GetBackfill(ctx context.Context, id string) (b Backfill, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		b, err = scanBackfill(tx.QueryRow("SELECT "+backfillColumns+" FROM monitor_backfill WHERE workspace = $1 AND id = $2", tx.Workspace, id).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return problem.New(problem.NotFound, "There is no back-fill %q.", clip(id)).At("id")
		}
		return err
	})
	return b, err
}

// RunBackfill does a back-fill, from where an earlier attempt stopped. Each window is stored with the progress in one
// transaction.
func (s *Service) RunBackfill(ctx context.Context, id string) error {
	b, err := s.GetBackfill(ctx, id)
	if problem.Is(err, problem.NotFound) || err == nil && b.State != "running" {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.refill(ctx, &b)
	p, final := problem.As(err)
	if err != nil && (ctx.Err() != nil || !final) {
		return err // the next attempt goes on
	}
	state, why := "done", ""
	if final {
		state, why = "failed", p.Detail
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		done, err := tx.Exec("UPDATE monitor_backfill SET state = $3, error = $4, ended_at = $5 WHERE workspace = $1 AND id = $2 AND state = 'running'", tx.Workspace, id, state, why, db.Micros(s.now()))
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return audit.Record(tx, "monitor.backfill-"+state, "monitor/"+b.Endpoint, map[string]any{"id": id, "windows": b.Done, "error": why})
	})
}

func (s *Service) refill(ctx context.Context, b *Backfill) error {
	var m Monitor
	var known map[int]*versionState
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if m, _, err = get(tx, b.Endpoint); err == nil {
			known, err = states(tx, b.Endpoint)
		}
		return err
	})
	if err != nil {
		return err
	}
	for {
		var some []Result
		err := s.DB.Read(ctx, func(tx db.Scope) error {
			return tx.Each("SELECT "+windowColumns+" FROM monitor_window WHERE workspace = $1 AND endpoint = $2 AND id > $3 AND to_at >= $4 AND to_at <= $5 ORDER BY id LIMIT 20",
				[]any{tx.Workspace, b.Endpoint, b.at, db.Micros(b.Since), db.Micros(b.Until)}, func(scan func(...any) error) error {
					r, err := scanWindow(scan)
					some = append(some, r)
					return err
				})
		})
		if err != nil || len(some) == 0 {
			return err
		}
		for i := range some {
			if err := s.restudy(ctx, &m, known[some[i].Version], &some[i], b); err != nil {
				return fmt.Errorf("window %s: %w", some[i].ID, err)
			}
		}
	}
}

// restudy looks at one stored window again.
func (s *Service) restudy(ctx context.Context, m *Monitor, state *versionState, r *Result, b *Backfill) error {
	if state == nil {
		state = &versionState{}
	}
	rowsAgain, err := s.rowsOf(ctx, m, r, true)
	if err != nil {
		return err
	}
	fresh := Result{ID: r.ID, Endpoint: r.Endpoint, Model: r.Model, Version: r.Version, From: r.From, To: r.To, Rows: r.Rows, First: r.First, Last: r.Last, CreatedAt: r.CreatedAt, after: r.after, until: r.until}
	if rowsAgain.rows > 0 { // else the log does not go back as far any more: the window stays as it is
		base := state.baseline
		if _, err := s.fillWindow(ctx, m, state, &fresh, rowsAgain); err != nil {
			return err
		}
		state.baseline = base
		known, err := s.outcomesOf(ctx, rowsAgain.calls)
		if err != nil {
			return err
		}
		inputs, _, err := s.reference(ctx, m, state, &Result{})
		if err != nil {
			return err
		}
		w := &rows{n: rowsAgain.rows, inputs: named(rowsAgain.inputs.columns, inputs), outputs: rowsAgain.outputs.columns, outcomes: rowsAgain.outcomes(known)}
		if fresh.Performance = m.evaluate(w, rowsAgain.calls); fresh.Performance != nil {
			fresh.judgeRows(m, w, &lore{estimator: state.estimator, inputs: inputs, run: s.runner(ctx)})
		}
	}
	yard := state.baseline.Yardstick
	if yard != nil && yard.Window == r.ID {
		yard = nil
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if rowsAgain.rows > 0 {
			last, err := previous(tx, m.Endpoint, r)
			if err != nil {
				return err
			}
			fresh.settle(m, yard, last)
			if err := replaceWindow(tx, &fresh); err != nil {
				return err
			}
		}
		_, err := tx.Exec("UPDATE monitor_backfill SET at = $3, done = $4 WHERE workspace = $1 AND id = $2", tx.Workspace, b.ID, r.ID, b.Done+1)
		return err
	})
	if err == nil {
		b.at, b.Done = r.ID, b.Done+1
	}
	return err
}

// replaceWindow stores what looking again has found.
func replaceWindow(tx db.Scope, r *Result) error {
	sum, pics := r.split()
	_, err := tx.Exec("UPDATE monitor_window SET summary = $3, histograms = $4, dataset = $5, revision = $6 WHERE workspace = $1 AND id = $2",
		tx.Workspace, r.ID, db.ToJSON(sum), db.ToJSON(pics), r.Reference.Dataset, r.Reference.Version)
	return errors.Join(err, updateWindow(tx, r))
}
