package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/seal"
)

// Events, which webhooks may hear as well.
const (
	Created = "webhook.created"
	Changed = "webhook.changed"
	Deleted = "webhook.deleted"
	Tested  = "webhook.tested" // only sent, as a test
)

// Calls is what sends; outbound.Client does.
type Calls interface {
	Check(address string) error
	Do(ctx context.Context, c outbound.Call) (outbound.Answer, error)
}

// Service keeps webhooks and sends to them. All fields but Pauses and Metrics are required.
type Service struct {
	DB      *db.DB
	Key     *seal.Key // encrypts the secrets
	Calls   Calls
	Formats []Format
	Log     *slog.Logger
	Now     func() time.Time
	Pauses  []time.Duration // between attempts; nil is the usual schedule over a day
	Metrics *Metrics
}

// Change says what to change of a webhook; nil leaves a field as it is.
type Change struct {
	Name, Description, URL, Status, Secret *string
	Events                                 []string
}

func (s *Service) format(name string) (Format, error) {
	for _, f := range s.Formats {
		if f.Name() == name {
			return f, nil
		}
	}
	known := make([]string, len(s.Formats))
	for i, f := range s.Formats {
		known[i] = f.Name()
	}
	return nil, problem.New(problem.Invalid, "The format %q is not known; use %s.", problem.Clip(name, 40), strings.Join(known, " or ")).At("format")
}

// address refuses an address that would never be called, and keeps that somebody tried.
func (s *Service) address(ctx context.Context, name, url string) error {
	err := s.Calls.Check(url)
	if err == nil {
		return nil
	}
	return errors.Join(err, s.refused(ctx, "webhook/"+problem.Clip(name, 63), url, err))
}

func (s *Service) refused(ctx context.Context, object, url string, why error) error {
	p, _ := problem.As(why)
	return s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, "webhook.refused", object, map[string]any{"address": problem.Clip(outbound.Origin(url), 200), "why": p.Detail})
	})
}

// Create adds a webhook: Name, Description, URL, Format, Events, Status ("" is active) and Secret are read. What it gives
// back holds the secret, for the only time.
func (s *Service) Create(ctx context.Context, w Webhook) (Webhook, error) {
	f, err := s.format(w.Format)
	if err != nil {
		return w, err
	}
	if w.Status == "" {
		w.Status = Active
	}
	w.Events = slices.Clone(w.Events)
	if err := w.check(f); err != nil {
		return w, err
	}
	if err := s.address(ctx, w.Name, w.URL); err != nil {
		return w, err
	}
	w.ID, w.CreatedBy, w.CreatedAt, w.Reason = db.NewID(), caller.From(ctx).Name, s.now(), ""
	w.UpdatedAt, w.since = w.CreatedAt, w.CreatedAt
	if err := s.hide(&w, f, w.Secret); err != nil {
		return w, err
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		n, err := count(tx)
		if err != nil {
			return err
		}
		if n >= MaxWebhooks {
			return problem.New(problem.Conflict, "A workspace has at most %d webhooks; delete one that is not needed.", MaxWebhooks)
		}
		if err := put(tx, w); err != nil {
			return err
		}
		return s.tell(tx, Created, w)
	})
	if err != nil {
		return Webhook{}, fmt.Errorf("create webhook: %w", err)
	}
	s.Log.InfoContext(ctx, "webhook created", "webhook", w.ID)
	return w, nil
}

// hide sets the secret: as it is shown once, and as it is kept.
func (s *Service) hide(w *Webhook, f Format, given string) (err error) {
	if len(given) > maxSecret {
		return problem.New(problem.Invalid, "A secret has at most %d bytes.", maxSecret).At("secret")
	}
	if w.Secret, err = f.Secret(given); err != nil {
		return err
	}
	w.hidden, w.Signed = "", w.Secret != ""
	if w.Signed {
		w.hidden, err = s.Key.Hide("webhook", w.ID, []byte(w.Secret))
	}
	return err
}

// tell records an act and publishes it, without the secret and without the path of the address, which may hold a token.
func (s *Service) tell(tx db.Scope, typ string, w Webhook) error {
	detail := map[string]any{"name": w.Name, "address": outbound.Origin(w.URL), "format": w.Format, "events": w.Events, "status": w.Status, "reason": w.Reason, "signed": w.Signed}
	return errors.Join(event.Publish(tx, typ, "webhook/"+w.ID, detail), audit.Record(tx, typ, "webhook/"+w.ID, detail))
}

// Get gives one webhook.
func (s *Service) Get(ctx context.Context, id string) (w Webhook, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { w, err = get(tx, id); return err })
	return w, err
}

// List gives webhooks of a format ("" is any), the newest first, older than id before.
func (s *Service) List(ctx context.Context, format, before string, limit int) (out []Webhook, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = list(tx, format, "", before, limit); return err })
	return out, err
}

// Update changes a webhook. An empty secret takes the signature away where the format allows that, else makes a new one.
func (s *Service) Update(ctx context.Context, id string, c Change) (Webhook, error) {
	old, err := s.Get(ctx, id)
	if err != nil {
		return old, err
	}
	if c.URL != nil {
		if err := s.address(ctx, id, *c.URL); err != nil {
			return old, err
		}
	}
	f, err := s.format(old.Format)
	if err != nil {
		return old, err
	}
	fresh := Webhook{ID: id}
	if c.Secret != nil {
		if err := s.hide(&fresh, f, *c.Secret); err != nil {
			return old, err
		}
	}
	var w Webhook
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if w, err = get(tx, id); err != nil {
			return err
		}
		before := w.Status
		for _, x := range []struct {
			to   *string
			from *string
		}{{&w.Name, c.Name}, {&w.Description, c.Description}, {&w.URL, c.URL}, {&w.Status, c.Status}} {
			if x.from != nil {
				*x.to = *x.from
			}
		}
		if c.Events != nil {
			w.Events = slices.Clone(c.Events)
		}
		if c.Secret != nil {
			w.Secret, w.hidden, w.Signed = fresh.Secret, fresh.hidden, fresh.Signed
		}
		if w.Status == Active {
			w.Reason = ""
		}
		if w.Status == Active && before == Disabled {
			w.since = s.now()
		}
		if err := w.check(f); err != nil {
			return err
		}
		w.UpdatedAt = s.now()
		if err := put(tx, w); err != nil {
			return err
		}
		return s.tell(tx, Changed, w)
	})
	if err != nil {
		return Webhook{}, fmt.Errorf("change webhook %s: %w", id, err)
	}
	return w, nil
}

// Delete removes a webhook with its log.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		w, err := get(tx, id)
		if err != nil {
			return err
		}
		if err := drop(tx, id); err != nil {
			return err
		}
		return s.tell(tx, Deleted, w)
	})
}

// Deliveries gives the log of a webhook, the newest first, older than id before.
func (s *Service) Deliveries(ctx context.Context, id, before string, limit int) (out []Delivery, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, err := get(tx, id); err != nil {
			return err
		}
		out, err = deliveries(tx, id, before, limit)
		return err
	})
	return out, err
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
