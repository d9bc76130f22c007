package alert

import (
	"context"
	"errors"
	"fmt"

	"keelson/internal/caller"
	"keelson/internal/db"
)

// Escalate passes on the alerts of all workspaces that nobody acknowledged in time.
func (s *Service) Escalate(ctx context.Context) error {
	var dues [][2]string
	var counts map[[2]string]int
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if dues, err = due(tx, s.now()); err == nil {
			counts, err = census(tx)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list alerts to pass on: %w", err)
	}
	s.Metrics.active(counts)
	var failed []error
	for _, d := range dues {
		one := caller.WithWorkspace(caller.System(ctx, "alert"), d[0])
		if err := s.escalate(one, d[1]); err != nil {
			failed = append(failed, fmt.Errorf("pass on alert %s: %w", d[1], err))
		}
	}
	return errors.Join(failed...)
}

func (s *Service) escalate(ctx context.Context, id string) error {
	a, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	p, err := s.PolicyOf(ctx, a.Model)
	if err != nil {
		return err
	}
	var people People
	if s.People != nil && a.Model != "" {
		if people, err = s.People(ctx, a.Model); err != nil {
			return err
		}
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		if a, err = get(tx, id); err != nil {
			return err
		}
		now := s.now()
		a.show(now)
		if a.State != Open || a.EscalateAt == nil || a.EscalateAt.After(now) || a.doc.Level >= len(p.Escalate) {
			if a.State != Silenced { // it was acknowledged meanwhile, or the policy has fewer steps now
				a.EscalateAt = nil
			}
			return put(tx, &a)
		}
		step := p.Escalate[a.doc.Level]
		to := people.named(step.To)
		a.doc.Level++
		a.State, a.UpdatedAt = Open, now
		if to != "" {
			a.Owner = to
		}
		s.clock(&a, p, now)
		text := fmt.Sprintf("Nobody acknowledged it within %d minutes; passed on", step.After)
		if to != "" {
			text += " to " + to
		}
		if step.Route != "" {
			text += " by the route " + step.Route
		}
		errs := []error{put(tx, &a), s.tell(tx, Escalated, &a, func(n *Notice) { n.To, n.Route, n.Reason = to, step.Route, text+"." })}
		if s.Incidents != nil {
			errs = append(errs, s.Incidents.NoteIn(tx, a.Incident, db.NewID(), now, text+"."))
		}
		return errors.Join(errs...)
	})
}
