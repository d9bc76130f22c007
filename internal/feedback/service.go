package feedback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/prediction"
	"keelson/internal/problem"
)

// Predictions is the log that feedback is about; prediction.Service has it.
type Predictions interface {
	Get(ctx context.Context, id string) (prediction.Record, error)
	Record(ctx context.Context, list []prediction.Outcome) (accepted, duplicates int, err error)
	Outcomes(ctx context.Context, ids []string) (map[string][]prediction.Outcome, error)
}

// Tables reads files; dataset.Service has it.
type Tables interface {
	Read(ctx context.Context, format string, body io.Reader) (*dataset.Table, error)
}

// Service keeps feedback. All fields are required.
type Service struct {
	DB          *db.DB
	Predictions Predictions
	Tables      Tables
	Log         *slog.Logger
	Now         func() time.Time
}

// Types of events; their data is a Notice.
const (
	Reported = "feedback.reported"
	Settled  = "feedback.settled"
)

// Notice is the data of the events.
type Notice struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	State    string   `json:"state"`
	Endpoint string   `json:"endpoint"`
	Models   []string `json:"models"`
}

// tell records an act and publishes it. Neither values nor reasons are in it beyond what has to be reviewed: they may be
// about a person, and the audit log cannot forget.
func (s *Service) tell(tx db.Scope, action, typ string, i *Item) error {
	models := []string{}
	if i.Model != "" {
		models = append(models, i.Model)
	}
	detail := map[string]any{"kind": i.Kind, "state": i.State, "prediction": i.Prediction, "row": i.Row, "endpoint": i.Endpoint, "models": models, "version": i.Version}
	if i.Kind == Override { // a decision of a person, who answers for it
		detail["value"], detail["reason"] = i.Value, i.Reason
	}
	errs := []error{audit.Record(tx, action, i.Subject(), detail)}
	if typ != "" {
		errs = append(errs, event.Publish(tx, typ, i.Subject(), Notice{i.ID, i.Kind, i.State, i.Endpoint, models}))
	}
	return errors.Join(errs...)
}

// Report takes what the caller says about a row of a prediction into the queue. Saying the same again while it waits
// counts up, and changes value and reason when the same person says it. NotFound for an unknown prediction, Conflict for a
// second override by somebody else.
func (s *Service) Report(ctx context.Context, i Item) (Item, error) {
	if err := i.check(); err != nil {
		return i, err
	}
	r, err := s.Predictions.Get(ctx, i.Prediction)
	if err != nil {
		return i, err
	}
	if i.Row >= max(r.Rows, 1) {
		return i, problem.New(problem.Invalid, "Prediction %s has %d rows, so there is no row %d (rows count from 0).", r.ID, r.Rows, i.Row).At("row")
	}
	write := func(tx db.Scope) error {
		now, by := s.now(), caller.From(ctx).Name
		old, found, err := same(tx, i)
		if err != nil {
			return err
		}
		switch {
		case found && old.By != by && i.Kind == Override:
			return problem.New(problem.Conflict, "%s has overridden this row already, and that is not looked at yet; talk to each other, or say that it is wrong.", old.By).At("kind")
		case found:
			old.Reports++
			if old.By == by { // nobody's words stand under another name
				if i.Value != nil {
					old.Value = i.Value
				}
				if i.Reason != "" {
					old.Reason = i.Reason
				}
			}
			i = old
		default:
			i.ID, i.Prediction, i.Endpoint, i.Model, i.Version, i.By, i.At, i.Reports, i.State = db.NewID(), r.ID, r.Endpoint, r.Model, r.Version, by, now, 1, Queued
		}
		return errors.Join(put(tx, &i), s.tell(tx, "feedback."+i.Kind, Reported, &i))
	}
	if err = s.DB.Write(ctx, write); db.IsUnique(err) { // two said it at once; now it is there
		err = s.DB.Write(ctx, write)
	}
	if err != nil {
		return i, fmt.Errorf("keep feedback about prediction %s: %w", i.Prediction, err)
	}
	return i, nil
}

// Forget drops what was said about predictions that are erased; prediction.Service.Erasing calls it.
func (s *Service) Forget(tx db.Scope, predictions []string) error { return forget(tx, predictions) }

// Get reads an item; NotFound when there is none.
func (s *Service) Get(ctx context.Context, id string) (i Item, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { i, err = get(tx, id); return err })
	i.free(s.now())
	return i, err
}

// Next claims the item that waits longest of the most urgent ones, of a model or of any; NotFound when none waits.
func (s *Service) Next(ctx context.Context, model string) (i Item, err error) {
	for range 20 { // others may be faster
		var mine bool
		err = s.DB.Write(ctx, func(tx db.Scope) error {
			mine = false
			var found bool
			if i, found, err = next(tx, model, s.now()); err != nil {
				return err
			}
			if !found {
				return problem.New(problem.NotFound, "Nothing waits to be labelled.")
			}
			i.free(s.now())
			if err := i.claim(caller.From(ctx).Name, s.now()); err != nil {
				return err
			}
			if mine, err = take(tx, &i, s.now()); err != nil || !mine {
				return err
			}
			return s.tell(tx, "feedback.claimed", "", &i)
		})
		if err != nil || mine {
			return i, err
		}
	}
	return i, problem.New(problem.Conflict, "Others take everything that waits at this moment; try again.")
}

// Claim makes one item the caller's for ClaimTime.
func (s *Service) Claim(ctx context.Context, id string) (Item, error) {
	return s.change(ctx, id, "feedback.claimed", "", func(i *Item, by string) error { return i.claim(by, s.now()) })
}

// Release puts an item back that the caller has claimed.
func (s *Service) Release(ctx context.Context, id string) (Item, error) {
	return s.change(ctx, id, "feedback.released", "", func(i *Item, by string) error {
		if i.State != Claimed || i.ClaimedBy != by {
			return problem.New(problem.Conflict, "You have not claimed this, so there is nothing to give back.")
		}
		i.State, i.ClaimedBy, i.ClaimedUntil = Queued, "", nil
		return nil
	})
}

// Skip ends an item without a label; the note says why nothing can be said.
func (s *Service) Skip(ctx context.Context, id, note string) (Item, error) {
	if strings.TrimSpace(note) == "" || len(note) > maxText {
		return Item{}, problem.New(problem.Invalid, "Say in up to %d bytes why nothing can be said.", maxText).At("note")
	}
	return s.change(ctx, id, "feedback.skipped", Settled, func(i *Item, by string) error { return i.settle(by, Skipped, nil, note, s.now()) })
}

// Label says what turned out to be true. It becomes the outcome of the row; problem.Conflict when another outcome is on
// record, which stays as it is.
func (s *Service) Label(ctx context.Context, id string, value json.RawMessage, note string) (Item, error) {
	label, ok := prediction.Scalar(value)
	if !ok {
		return Item{}, problem.New(problem.Invalid, "A label is a number, a text or a truth value.").At("value")
	}
	if len(note) > maxText {
		return Item{}, problem.New(problem.Invalid, "The note has %d bytes; the limit is %d.", len(note), maxText).At("note")
	}
	i, err := s.Claim(ctx, id) // nobody else labels it meanwhile
	if err != nil {
		return i, err
	}
	if _, _, err := s.Predictions.Record(ctx, []prediction.Outcome{{Prediction: i.Prediction, Row: i.Row, Value: label, At: s.now()}}); err != nil {
		if problem.Is(err, problem.Conflict) {
			return i, problem.New(problem.Conflict, "Row %d of prediction %s has another outcome on record already; skip this, or agree with whoever reported it.", i.Row, i.Prediction).Because(err)
		}
		return i, err
	}
	return s.change(ctx, id, "feedback.labelled", Settled, func(i *Item, by string) error { return i.settle(by, Labelled, label, note, s.now()) })
}

func (s *Service) change(ctx context.Context, id, action, typ string, do func(*Item, string) error) (i Item, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if i, err = get(tx, id); err != nil {
			return err
		}
		i.free(s.now())
		if err := do(&i, caller.From(ctx).Name); err != nil {
			return err
		}
		if i.State == Claimed { // in one statement, against others who claim it now
			mine, err := take(tx, &i, s.now())
			if err == nil && !mine {
				err = problem.New(problem.Conflict, "Somebody else was faster; take the next one.")
			}
			return errors.Join(err, s.tell(tx, action, typ, &i))
		}
		return errors.Join(put(tx, &i), s.tell(tx, action, typ, &i))
	})
	return i, err
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
