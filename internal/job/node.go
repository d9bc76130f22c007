package job

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"keelson/internal/db"
)

// heart renews this node's row and gives back the jobs of silent nodes, until ctx ends.
func (r *Runner) heart(ctx context.Context) {
	tick := time.NewTicker(Lost / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.beat(ctx); err == nil {
			err = r.rescue(ctx)
			if err != nil && ctx.Err() == nil {
				r.Log.ErrorContext(ctx, "jobs of lost nodes could not be given back", "error", err)
			}
		} else if ctx.Err() == nil {
			r.Log.ErrorContext(ctx, "the heartbeat could not be written", "error", err)
		}
	}
}

func (r *Runner) beat(ctx context.Context) error {
	err := r.DB.Write(ctx, func(tx db.Scope) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO node (id, seen) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen", r.Node, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("write heartbeat: %w", err)
	}
	return nil
}

// leave removes this node's row, so that what it left is given back at once.
func (r *Runner) leave(ctx context.Context) error {
	return r.DB.Write(ctx, func(tx db.Scope) error {
		_, err := tx.Exec("DELETE FROM node WHERE id = $1", r.Node)
		return err
	})
}

// deadly is how often a job may go down with its process after its attempts are used up. A process that dies is seldom
// the job's fault, so these are beyond the attempts and come with growing pauses; a job that takes the process with it
// each time must not do so for ever.
const deadly = 10

// rescue makes the running jobs of nodes that are gone available again. The two texts differ because River keeps the
// list of attempting nodes as an array on PostgreSQL and as JSON on SQLite.
func (r *Runner) rescue(ctx context.Context) error {
	return r.DB.Write(ctx, func(tx db.Scope) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		const beyond = "(attempt - max_attempts)" // squared it is the pause in seconds: 1, 4, 9, … 81
		last, at := "json_extract(attempted_by, '$[#-1]')", "datetime('now', 'subsec')"
		soon, state := "datetime('now', 'subsec', '+' || (MAX("+beyond+", 0) * MAX("+beyond+", 0)) || ' seconds')", ""
		if tx.Postgres() {
			last, at = "attempted_by[array_upper(attempted_by, 1)]", "now()"
			soon, state = "now() + GREATEST("+beyond+", 0) * GREATEST("+beyond+", 0) * INTERVAL '1 second'", "::river_job_state"
		}
		lost := ` WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM node WHERE node.id = ` + last + ` AND node.seen > $1)`
		seen := now - Lost.Microseconds()
		res, err := tx.Exec(`UPDATE river_job SET state = 'discarded'`+state+`, finalized_at = `+at+lost+` AND `+beyond+` >= $2`, seen, deadly)
		if err != nil {
			return fmt.Errorf("discard jobs: %w", err)
		}
		if n, _ := res.RowsAffected(); n > 0 {
			r.Log.ErrorContext(ctx, "jobs were given up: whichever process ran them died, each time", "jobs", n)
		}
		if res, err = tx.Exec(`UPDATE river_job SET state = 'available'`+state+`, scheduled_at = `+soon+lost, seen); err != nil {
			return fmt.Errorf("give back jobs: %w", err)
		}
		if n, _ := res.RowsAffected(); n > 0 {
			r.Log.WarnContext(ctx, "jobs of a lost node were given back", "jobs", n)
		}
		_, err = tx.Exec("DELETE FROM node WHERE seen < $1", now-time.Minute.Microseconds())
		return err
	})
}

// quiet lowers River's own chatter: its Info is our Debug.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(n string) slog.Handler      { return quiet{q.Handler.WithGroup(n)} }
