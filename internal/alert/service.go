package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/monitor"
)

// Service keeps alerts. All fields are required.
type Service struct {
	DB  *db.DB
	Log *slog.Logger
	Now func() time.Time
}

// Types of events.
const (
	Opened = "alert.opened"
	Over   = "alert.recovered"
	seen   = "alert.acknowledged"
	hushed = "alert.silenced"
)

// OnBreach opens an alert for every cause of a monitor.breached event, or brings the one that is active up
// to date. Hearing of an event twice changes nothing.
func (s *Service) OnBreach(ctx context.Context, e event.Event) error {
	return s.hear(ctx, e, func(tx db.Scope, b *monitor.Breach, c monitor.Cause, a *Alert, known bool) error {
		if known && a.last >= b.Window {
			return nil // heard before, or overtaken by a later window
		}
		now := s.now()
		fresh := !known || a.State == Recovered
		if fresh {
			old := *a
			*a = Alert{ID: db.NewID(), cause: old.cause, State: Open, OpenedAt: now, FirstWindow: b.Window}
			if known && old.Until != nil && now.Before(*old.Until) { // the silence outlives the recovery
				a.State, a.By, a.Reason, a.Until = Silenced, old.By, old.Reason, old.Until
			}
		}
		a.Endpoint, a.Model, a.Version, a.Kind, a.Feature, a.Metric, a.Value, a.Limit = b.Endpoint, b.Model, b.Version, c.Kind, c.Feature, c.Metric, c.Value, c.Limit
		a.last, a.Window, a.From, a.To, a.UpdatedAt = b.Window, b.Window, b.From, b.To, now
		a.Windows++
		if err := put(tx, a); err != nil || !fresh {
			return err
		}
		return s.tell(tx, Opened, a)
	})
}

// OnRecovered ends the alerts of the causes of a monitor.recovered event.
func (s *Service) OnRecovered(ctx context.Context, e event.Event) error {
	return s.hear(ctx, e, func(tx db.Scope, b *monitor.Breach, c monitor.Cause, a *Alert, known bool) error {
		if !known || a.State == Recovered || a.last > b.Window {
			return nil
		}
		now := s.now()
		a.State, a.RecoveredAt, a.UpdatedAt, a.last = Recovered, &now, now, b.Window
		return errors.Join(put(tx, a), s.tell(tx, Over, a))
	})
}

// hear calls do for every cause of an event with the newest alert of that cause.
func (s *Service) hear(ctx context.Context, e event.Event, do func(db.Scope, *monitor.Breach, monitor.Cause, *Alert, bool) error) error {
	var b monitor.Breach
	if err := json.Unmarshal(e.Data, &b); err != nil {
		return fmt.Errorf("read event %s: %w", e.ID, err)
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		for _, c := range b.Causes {
			cause := b.Endpoint + "\x1f" + c.Key()
			a, known, err := newest(tx, cause)
			if err != nil {
				return err
			}
			a.cause = cause
			if err := do(tx, &b, c, &a, known); err != nil {
				return fmt.Errorf("alert of %s at %s: %w", c.Key(), b.Endpoint, err)
			}
		}
		return nil
	})
}

// tell records an act on an alert and publishes it.
func (s *Service) tell(tx db.Scope, typ string, a *Alert) error {
	shown := *a
	shown.show(s.now())
	detail := map[string]any{"id": a.ID, "title": shown.Title, "model": a.Model, "endpoint": a.Endpoint, "version": a.Version, "window": a.last, "kind": a.Kind, "feature": a.Feature,
		"metric": a.Metric, "value": a.Value, "limit": a.Limit, "state": a.State, "link": shown.Link}
	if a.Reason != "" {
		detail["reason"] = a.Reason
	}
	if a.Until != nil {
		detail["until"] = a.Until
	}
	return errors.Join(audit.Record(tx, typ, "alert/"+a.ID, detail), event.Publish(tx, typ, "alert/"+a.ID, detail))
}

// Get returns an alert; NotFound when there is none.
func (s *Service) Get(ctx context.Context, id string) (a Alert, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { a, err = get(tx, id); return err })
	if err == nil {
		a.show(s.now())
	}
	return a, err
}

// Acknowledge says that the caller takes care of an alert.
func (s *Service) Acknowledge(ctx context.Context, id, reason string) (Alert, error) {
	return s.change(ctx, id, seen, func(a *Alert, by string) error { return a.acknowledge(by, reason) })
}

// Silence keeps an alert quiet until a time, at most a year ahead.
func (s *Service) Silence(ctx context.Context, id, reason string, until time.Time) (Alert, error) {
	return s.change(ctx, id, hushed, func(a *Alert, by string) error { return a.silence(by, reason, until, s.now()) })
}

func (s *Service) change(ctx context.Context, id, typ string, do func(*Alert, string) error) (a Alert, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if a, err = get(tx, id); err != nil {
			return err
		}
		a.show(s.now()) // a silence that is over is an open alert
		if err := do(&a, caller.From(ctx).Name); err != nil {
			return err
		}
		a.UpdatedAt = s.now()
		return errors.Join(put(tx, &a), s.tell(tx, typ, &a))
	})
	if err == nil {
		a.show(s.now())
		s.Log.InfoContext(ctx, "alert changed", "alert", id, "endpoint", a.Endpoint, "state", a.State)
	}
	return a, err
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
