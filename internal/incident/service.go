package incident

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
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Events of this noun; their data is a Notice.
const (
	Opened  = "incident.opened"
	Changed = "incident.changed"
)

// Notice is the data of an event.
type Notice struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Title    string   `json:"title"`
	Endpoint string   `json:"endpoint"`
	State    string   `json:"state"`
	Severity string   `json:"severity"`
	Models   []string `json:"models"`
}

// Service keeps incidents. DB, Now and Log are required.
type Service struct {
	DB    *db.DB
	Log   *slog.Logger
	Now   func() time.Time
	Model func(ctx context.Context, endpoint string) string // whose endpoint it is; nil: nobody knows

	History History                                                                // nil: suspects are not looked for
	Data    func(ctx context.Context, model string) ([]string, error)              // data sets that versions of a model are made from; nil: not known
	Columns func(ctx context.Context, dataset string, version int) (string, error) // how its columns differ from the version before, in words; empty: not at all
	store   store
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// Open opens an incident, or counts up the one that is open under the same key.
func (s *Service) Open(ctx context.Context, n New) error {
	err := s.DB.Write(ctx, func(tx db.Scope) error { _, err := s.OpenIn(tx, n); return err })
	if db.IsUnique(err) { // two reported it at once; now it is there
		err = s.DB.Write(ctx, func(tx db.Scope) error { _, err := s.OpenIn(tx, n); return err })
	}
	if err != nil {
		return fmt.Errorf("open incident %q: %w", n.Title, err)
	}
	return nil
}

// OpenIn is Open in the transaction of the act that led to it.
func (s *Service) OpenIn(tx db.Scope, n New) (Incident, error) {
	if err := n.check(); err != nil {
		return Incident{}, err
	}
	now, by := s.now(), caller.From(tx.Ctx).Name
	i, found, err := s.store.byKey(tx, n.key())
	if err != nil {
		return i, err
	}
	if found {
		i.Count++
		i.LastAt, i.Detail = now, n.Detail
		if n.Facts != nil {
			i.Facts = n.Facts
		}
		if rank[n.Severity] > rank[i.Severity] {
			i.Severity = n.Severity
		}
		err := s.store.update(tx, i)
		if loud(i.Count) {
			err = errors.Join(err, s.store.line(tx, i.ID, db.NewID(), now, by, fmt.Sprintf("Reported for the %d. time: %s", i.Count, n.Detail)))
		}
		return i, err
	}
	i = Incident{ID: db.NewID(), Kind: n.Kind, Model: n.Model, Endpoint: n.Endpoint, Title: n.Title, Detail: n.Detail, Severity: n.Severity,
		State: Open, OpenedAt: now, OpenedBy: by, LastAt: now, Count: 1, Owner: n.Owner, Facts: n.Facts, key: n.key()}
	s.Log.WarnContext(tx.Ctx, "incident opened", "incident", i.ID, "kind", i.Kind, "model", i.Model, "endpoint", i.Endpoint, "title", i.Title, "detail", i.Detail)
	first := n.Title + " " + n.Detail
	if n.Facts != nil { // the alert tells the rest
		first = n.Title
	}
	return i, errors.Join(s.store.insert(tx, i),
		s.store.line(tx, i.ID, db.NewID(), now, by, first),
		audit.Record(tx, "incident.opened", i.Subject(), map[string]any{"kind": i.Kind, "models": models(i.Model), "endpoint": i.Endpoint, "title": i.Title, "detail": i.Detail, "severity": i.Severity}),
		event.Publish(tx, Opened, i.Subject(), i.notice()))
}

func models(name string) []string {
	if name == "" {
		return []string{}
	}
	return []string{name}
}

func (i Incident) notice() Notice {
	return Notice{i.ID, i.Kind, i.Title, i.Endpoint, i.State, i.Severity, models(i.Model)}
}

// Refused opens the incident of a serving process that would not load or obey a release.
func (s *Service) Refused(ctx context.Context, endpoint, why string) error {
	model := ""
	if s.Model != nil {
		model = s.Model(ctx, endpoint)
	}
	return s.Open(ctx, New{Kind: LoaderRefused, Model: model, Endpoint: endpoint, Severity: High, Key: "refused " + endpoint,
		Title: fmt.Sprintf("Serving refused a release of %s.", endpoint), Detail: why})
}

// Tampered opens the incident of a record that was changed outside Keelson.
func (s *Service) Tampered(ctx context.Context, model, endpoint, object, why string) error {
	return s.Open(ctx, New{Kind: RecordTampered, Model: model, Endpoint: endpoint, Severity: High, Key: "tampered " + object,
		Title: fmt.Sprintf("The record of %s was changed outside Keelson.", object), Detail: why})
}

// Get reads one with its time line and, where it rests on windows, with what changed before them.
func (s *Service) Get(ctx context.Context, id string) (i Incident, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { i, err = s.store.get(tx, id); return err })
	if err == nil && i.Facts != nil {
		i.Suspects, err = s.suspects(ctx, i)
	}
	return i, err
}

// List gives incidents, newest first, without their time lines.
func (s *Service) List(ctx context.Context, state, model, before string, limit int) (out []Incident, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = s.store.list(tx, state, model, before, limit); return err })
	return out, err
}

// Ack makes the caller the owner.
func (s *Service) Ack(ctx context.Context, id, reason string) (Incident, error) {
	return s.change(ctx, id, "incident.acknowledged", reason, func(i *Incident, c caller.Caller) error { return i.Acknowledge(c) })
}

// Reopen takes back the closing of an incident that turned out not to be over.
func (s *Service) Reopen(ctx context.Context, id, reason string) (Incident, error) {
	return s.change(ctx, id, "incident.reopened", reason, func(i *Incident, c caller.Caller) error { return i.reopen(reason) })
}

// Close ends an incident.
func (s *Service) Close(ctx context.Context, id, reason string) (Incident, error) {
	return s.change(ctx, id, "incident.closed", reason, func(i *Incident, c caller.Caller) error { return i.Close(c, reason) })
}

func (s *Service) change(ctx context.Context, id, action, reason string, do func(*Incident, caller.Caller) error) (i Incident, err error) {
	who := caller.From(ctx)
	if who.Name == "" {
		return i, problem.New(problem.Unauthenticated, "Sign in to take care of an incident.")
	}
	if len(reason) > 4000 {
		return i, problem.New(problem.Invalid, "The reason has %d bytes; the limit is 4000.", len(reason)).At("reason")
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if i, err = s.store.get(tx, id); err != nil {
			return err
		}
		if err := do(&i, who); err != nil {
			return err
		}
		text := i.State + " by " + who.Name
		switch {
		case action == "incident.noted":
			text = reason
		case action == "incident.reopened":
			text = "reopened by " + who.Name + ": " + reason
		case reason != "":
			text += ": " + reason
		}
		if err := errors.Join(s.store.update(tx, i), s.store.line(tx, id, db.NewID(), s.now(), who.Name, text),
			audit.Record(tx, action, i.Subject(), map[string]any{"kind": i.Kind, "models": models(i.Model), "endpoint": i.Endpoint, "reason": reason}),
			event.Publish(tx, Changed, i.Subject(), i.notice())); err != nil {
			return err
		}
		i, err = s.store.get(tx, id)
		return err
	})
	if db.IsUnique(err) { // reopened while the same trouble stands open again
		err = problem.New(problem.Conflict, "The same trouble is open as another incident; add a note there instead of reopening %s.", id)
	}
	return i, err
}

// Follow writes an event about a model to the time lines of its open incidents. Called twice for one event it writes once.
func (s *Service) Follow(ctx context.Context, e event.Event) error {
	var d struct {
		Model  string   `json:"model"`
		Models []string `json:"models"`
		Words  string   `json:"words"`

		Pipeline string `json:"pipeline"`
		State    string `json:"state"`
		Number   int    `json:"number"`
		Version  int    `json:"version"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return nil
	}
	if d.Model == "" && len(d.Models) > 0 {
		d.Model = d.Models[0]
	}
	if d.Model == "" {
		return nil
	}
	text := e.Type + " " + e.Subject
	switch {
	case d.Words != "":
		text = d.Words
	case d.Pipeline != "" && d.State != "":
		text = fmt.Sprintf("The pipeline %s ended: %s.", d.Pipeline, d.State)
	case d.Number > 0 && d.State != "":
		text = fmt.Sprintf("Request %d about version %d was settled: %s.", d.Number, d.Version, d.State)
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		for _, state := range []string{Open, Acknowledged} {
			list, err := s.store.list(tx, state, d.Model, "", 100)
			if err != nil {
				return err
			}
			for _, i := range list {
				if err := s.store.line(tx, i.ID, e.ID, e.At, e.Actor, text); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Routes mounts incidents.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/incidents", "incident.read", "List incidents, newest first", s.getList)
	rest.Get(a, "/api/v1/incidents/{id}", "incident.read", "Read an incident with its time line", s.getOne)
	rest.Post(a, "/api/v1/incidents/{id}/ack", "incident.write", "Take care of an incident", s.postAck)
	rest.Post(a, "/api/v1/incidents/{id}/note", "incident.write", "Add a note to the time line of an incident", s.postNote)
	rest.Post(a, "/api/v1/incidents/{id}/reopen", "incident.write", "Take back the closing of an incident", s.postReopen)
	rest.Post(a, "/api/v1/incidents/{id}/close", "incident.write", "Close an incident", s.postClose)
}

type listInput struct {
	rest.Paging
	State string `query:"state" enum:"open,acknowledged,closed" doc:"only those in this state"`
	Model string `query:"model" doc:"only those of this model"`
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[Incident], error) {
	list, err := s.List(ctx, in.State, in.Model, in.Cursor, in.Limit+1)
	return rest.Paged(list, in.Limit, func(i Incident) string { return i.ID }), err
}

// IDInput names an incident in a path.
type IDInput struct {
	ID string `path:"id" maxLength:"40"`
}

func (s *Service) getOne(ctx context.Context, in *IDInput) (Incident, error) {
	return s.Get(ctx, in.ID)
}

type reasonInput struct {
	IDInput
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"4000"`
	}
}

func (s *Service) postAck(ctx context.Context, in *reasonInput) (Incident, error) {
	return s.Ack(ctx, in.ID, in.Body.Reason)
}

func (s *Service) postReopen(ctx context.Context, in *reasonInput) (Incident, error) {
	return s.Reopen(ctx, in.ID, in.Body.Reason)
}

func (s *Service) postNote(ctx context.Context, in *reasonInput) (Incident, error) {
	return s.change(ctx, in.ID, "incident.noted", in.Body.Reason, func(*Incident, caller.Caller) error { return noted(in.Body.Reason) })
}

func (s *Service) postClose(ctx context.Context, in *reasonInput) (Incident, error) {
	return s.Close(ctx, in.ID, in.Body.Reason)
}
