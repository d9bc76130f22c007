package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Jobs registers the work that goes on by itself.
func (s *Service) Jobs(r *job.Runner) {
	r.Every("deployment.rollout", time.Second, s.Roll)
	r.Every("deployment.renewal", 10*time.Second, s.Refresh)
}

type place struct{ workspace, endpoint string }

// count is how far the rows of a canary's step were counted. Another serial is another step, or a new signature.
type count struct {
	serial int64
	after  string // the last record that was looked at
	rows   int64
}

// Roll moves every canary on whose step is due, in all workspaces. While a step's time has not passed nothing is read;
// after that each look counts the rows behind the one before, until there are enough.
func (s *Service) Roll(ctx context.Context) error {
	s.rolling.Lock()
	defer s.rolling.Unlock()
	known := s.counts
	s.counts = map[place]count{}
	return s.each(ctx, Rolling, func(ctx context.Context, endpoint string) error {
		f, ok, err := s.read(ctx, endpoint)
		if err != nil || !ok || f.Lost {
			return err
		}
		step, ok := f.step()
		if !ok || f.Rollout.Held != "" || s.now().Before(f.Rollout.StepAt.Add(time.Duration(step.HoldSeconds)*time.Second)) {
			return nil
		}
		var rows int64
		if step.HoldRows > 0 && s.Rows != nil {
			at := place{caller.Workspace(ctx), endpoint}
			c := known[at]
			if c.serial != f.Serial {
				c = count{serial: f.Serial}
			}
			if c.rows < step.HoldRows {
				n, last, err := s.Rows.Rows(ctx, endpoint, f.Rollout.Slot.Version, f.Rollout.StepAt, c.after, step.HoldRows-c.rows)
				if err != nil {
					return fmt.Errorf("count rows of %s: %w", endpoint, err)
				}
				c.rows, c.after = c.rows+n, last
			}
			s.counts[at], rows = c, c.rows
		}
		if !f.due(s.now(), rows) {
			return nil
		}
		serial := f.Serial
		reason := fmt.Sprintf("Step %d held: %d rows in %s.", f.Rollout.Step+1, rows, s.now().Sub(f.Rollout.StepAt).Round(time.Second))
		_, err = s.act(ctx, endpoint, "deployment.advanced", reason, false, func(_ db.Scope, f *found) (string, error) {
			if f.Serial != serial {
				return "", problem.New(problem.Conflict, "%s changed meanwhile; what it holds now decides.", endpoint)
			}
			err := f.advance(s.now())
			return f.words(), err
		})
		if problem.Is(err, problem.Conflict) {
			return nil // somebody was faster; the next look decides
		}
		return err
	})
}

// Refresh verifies every deployment of all workspaces, raises the alarm for what does not fit, and signs releases anew
// that expire soon. It runs every ten seconds and should run at start before serving loads.
func (s *Service) Refresh(ctx context.Context) error {
	return s.each(ctx, "", func(ctx context.Context, endpoint string) error {
		f, ok, err := s.read(ctx, endpoint)
		if err != nil || !ok || f.Broken != "" || f.ExpiresAt.Sub(s.now()) > Renew {
			return err
		}
		_, err = s.act(ctx, endpoint, "deployment.renewed", "The release expires soon.", false, func(_ db.Scope, f *found) (string, error) {
			return f.words(), nil
		})
		return err
	})
}

// Answering calls do for every version that a live endpoint has in a slot, in all workspaces, each in its own and in the
// platform's name; a version at two endpoints comes twice.
func (s *Service) Answering(ctx context.Context, do func(ctx context.Context, model string, version int) error) error {
	return s.each(ctx, "", func(ctx context.Context, endpoint string) error {
		f, ok, err := s.read(ctx, endpoint)
		if err != nil || !ok || f.Current == nil || f.State != Live && f.State != Rolling {
			return err
		}
		for _, slot := range f.slots() {
			if err := do(ctx, f.Model, slot.Version); err != nil {
				return err
			}
		}
		return nil
	})
}

// each calls do for every endpoint in a state (empty: all), in its workspace and in the platform's name; one that fails
// does not stop the others.
func (s *Service) each(ctx context.Context, state string, do func(context.Context, string) error) error {
	var all []Envelope
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { all, err = s.store().everywhere(tx, state); return err }); err != nil {
		return fmt.Errorf("list deployments: %w", err)
	}
	var errs []error
	for _, e := range all {
		if err := do(caller.WithWorkspace(caller.System(ctx, "deployment"), e.Workspace), e.Endpoint); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Releases gives the newest envelopes of every endpoint of all workspaces, newest first per endpoint, for serving: it
// takes the first whose signature holds and whose serial is not below the one it has.
func (s *Service) Releases(ctx context.Context) (out []Envelope, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = s.store().envelopes(tx, 5); return err })
	return out, err
}
