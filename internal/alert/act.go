package alert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/incident"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Hands do what a policy decides, by the same services as when a person asks, with their checks, approvals and audit.
type Hands interface {
	// Suspend makes an endpoint refuse all calls because of a version, or of whichever answers when it is 0. It fails with
	// Conflict when that version does not answer there any more.
	Suspend(ctx context.Context, endpoint string, version int, reason string) (words string, err error)
	// Rollback goes from a version back to the one approved before. It fails with Conflict when it would take another
	// version out, or the endpoint is suspended.
	Rollback(ctx context.Context, endpoint string, version int, reason string) (words string, err error)
	// Retrain starts a pipeline because of cause, once per cause. An empty run comes with the reason why it waits.
	Retrain(ctx context.Context, pipeline, model, endpoint, cause string) (run, waits string, err error)
}

const actKind = "alert.act"

// By is who acts when a policy does; it is a service, not a person, and votes on nothing.
const By = "policy:alert"

// interrupted is after how long an act that was begun and never ended counts as broken off.
const interrupted = 10 * time.Minute

type actArgs struct {
	Alert  string `json:"alert"`
	Window string `json:"window"`
}

// enqueue lets the policy act on an alert once its transaction is committed.
func (s *Service) enqueue(tx db.Scope, a *Alert) error {
	if s.Hands == nil {
		return nil
	}
	return job.Enqueue(tx, actKind, actArgs{a.ID, a.last}, job.Queue(job.Urgent))
}

// act does what the policy says about an alert and was not done yet.
func (s *Service) act(ctx context.Context, j job.Job) error {
	var in actArgs
	if err := j.Bind(&in); err != nil {
		return err
	}
	ctx = caller.With(ctx, caller.Caller{ID: By, Name: By, Kind: caller.Process, Via: "system"})
	a, err := s.Get(ctx, in.Alert)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil || a.State == Recovered || a.State == Pending || a.State == Silenced {
		return err
	}
	p, err := s.PolicyOf(ctx, a.Model)
	if err != nil {
		return err
	}
	actions := p.Actions
	if m, err := s.Windows.Get(ctx, a.Endpoint); err == nil && m.OnBreach != nil && m.OnBreach.Retrain != nil { // the monitor's own word
		one := Action{Do: DoRetrain, Pipeline: m.OnBreach.Retrain.Pipeline, Kinds: []string{Data, Prediction, Result}, Budget: 100}
		found := false
		for _, x := range actions {
			found = found || x.key() == one.key()
		}
		if !found {
			actions = append(actions[:len(actions):len(actions)], one)
		}
	} else if err != nil && !problem.Is(err, problem.NotFound) {
		return err
	}
	// Predictions mostly move because the data did: while the alert about the data is active, it is the one that acts.
	var data Alert
	if a.Kind == Prediction {
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { data, _, err = newest(tx, a.Endpoint+"\x1f"+Data); return err }); err != nil {
			return err
		}
	}
	var failed []error
	for _, x := range actions {
		switch {
		case x.Do == DoIncident || !x.fits(a.Kind, a.Severity):
		case (data.State == Open || data.State == Acknowledged) && x.fits(Data, data.Severity):
			failed = append(failed, s.settle(ctx, &a, x, Act{State: "waits", Detail: fmt.Sprintf("%s is left to alert %s about the data, which moved as well.", x.key(), data.ID)}))
		default:
			failed = append(failed, s.do(ctx, &a, x))
		}
	}
	return errors.Join(failed...)
}

// do does one thing for one alert, at most once: who claims it first in the database does it. A suspension and a start
// that were interrupted are tried again, as doing them twice is doing them once; a roll-back is not.
func (s *Service) do(ctx context.Context, a *Alert, x Action) error {
	var mine bool
	var wait string
	err := s.DB.Write(ctx, func(tx db.Scope) (err error) {
		mine, wait, err = s.claim(tx, a, x)
		return err
	})
	if db.IsUnique(err) { // another alert of the model began it at the same moment
		mine, wait, err = true, fmt.Sprintf("%s is under way for another alert about the same.", x.key()), nil
	}
	if err != nil || !mine {
		return err
	}
	if wait != "" {
		return s.settle(ctx, a, x, Act{State: "waits", Detail: wait})
	}
	reason := fmt.Sprintf("Alert %s: %s", a.ID, a.Title)
	if len(reason) > 1900 {
		reason = reason[:1900] + "…"
	}
	var done Act
	switch x.Do {
	case DoSuspend:
		done.Detail, err = s.Hands.Suspend(ctx, a.Endpoint, a.Version, reason)
	case DoRollback:
		done.Detail, err = s.Hands.Rollback(ctx, a.Endpoint, a.Version, reason)
	case DoRetrain:
		var waits string
		if done.Ref, waits, err = s.Hands.Retrain(ctx, x.Pipeline, a.Model, a.Endpoint, a.ID); err == nil && waits != "" {
			return s.settle(ctx, a, x, Act{State: "waits", Detail: waits})
		}
		done.Detail = fmt.Sprintf("Started the pipeline %s.", x.Pipeline)
	}
	switch p, isProblem := problem.As(err); {
	case err == nil:
		done.State = "done"
	case isProblem: // it was refused by the rules of who does it, which no repetition changes
		done.State, done.Detail = "failed", p.Detail
	default:
		return fmt.Errorf("%s for alert %s: %w", x.key(), a.ID, err)
	}
	return s.settle(ctx, a, x, done)
}

// claim decides whether an act is due: it was not done for this alert, its cool-down is over and its budget not used up.
func (s *Service) claim(tx db.Scope, a *Alert, x Action) (mine bool, wait string, err error) {
	old, found, err := oneAct(tx, a.ID, x.key())
	if err != nil || found && (old.State == "done" || old.State == "failed" || old.State == "started" && x.Do == DoRollback) {
		return false, "", err
	}
	of := a.actsFor(x)
	if err := breakOff(tx, of, x.key(), a.ID, s.now().Add(-interrupted)); err != nil {
		return false, "", err
	}
	other, err := actingFor(tx, of, x.key(), a.ID)
	if err != nil {
		return false, "", err
	}
	budget, period := x.budget()
	last, n, err := actsSince(tx, of, x.key(), s.now().Add(-period))
	if err != nil {
		return false, "", err
	}
	switch pause := x.cooldown(); {
	case other != "": // one shift moves data and predictions, and is answered once
		wait = fmt.Sprintf("%s was done for alert %s about the same, which is still active.", x.key(), other)
	case n >= budget:
		wait = fmt.Sprintf("%s was done %d times within %s, which is its budget; a person decides.", x.key(), n, hours(period))
	case !last.IsZero() && s.now().Sub(last) < pause:
		wait = fmt.Sprintf("%s was done less than %s ago.", x.key(), hours(pause))
	default:
		return true, "", putAct(tx, a.ID, x.key(), of, Act{State: "started", At: s.now()})
	}
	return !found || old.State != "waits", wait, nil // said once
}

// actsFor is what an act is counted for: a model is trained again once for all its endpoints, but each endpoint is
// suspended and rolled back for itself.
func (a *Alert) actsFor(x Action) string {
	if x.Do == DoRetrain && a.Model != "" {
		return a.Model
	}
	return a.Endpoint
}

func hours(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

// settle writes down what came of an act: on the alert, on the time line of its incident, in the audit log.
func (s *Service) settle(ctx context.Context, a *Alert, x Action, done Act) error {
	done.Do, done.At = x.key(), s.now()
	of := a.actsFor(x)
	words := map[string]string{"done": "By policy: ", "waits": "The policy waits: ", "failed": "The policy could not act: "}[done.State] + done.Detail
	return s.DB.Write(ctx, func(tx db.Scope) error {
		old, found, err := oneAct(tx, a.ID, x.key())
		if err != nil || found && old.State == done.State && old.Detail == done.Detail {
			return err
		}
		errs := []error{putAct(tx, a.ID, x.key(), of, done),
			audit.Record(tx, acted, "alert/"+a.ID, map[string]any{"models": modelsOf(a.Model), "endpoint": a.Endpoint, "act": done.Do, "state": done.State, "detail": done.Detail, "ref": done.Ref, "incident": a.Incident})}
		if s.Incidents != nil {
			errs = append(errs, s.Incidents.NoteIn(tx, a.Incident, db.NewID(), done.At, words))
		}
		n := a.notice(s.now())
		n.Act, n.Reason = done.Do, words
		s.Metrics.did(x.Do, done.State)
		return errors.Join(append(errs, event.Publish(tx, acted, "alert/"+a.ID, n))...)
	})
}

func modelsOf(name string) []string {
	if name == "" {
		return []string{}
	}
	return []string{name}
}

var _ Incidents = (*incident.Service)(nil)

// Tell writes what came of an act to the time line of an alert's incident and publishes it, in the policy's name. Of one
// act of an alert it tells once, however often it is called.
func (s *Service) Tell(ctx context.Context, id, act, words string, detail map[string]any) error {
	a, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		if _, told, err := oneAct(tx, a.ID, act); err != nil || told {
			return err
		}
		if detail == nil {
			detail = map[string]any{}
		}
		detail["models"], detail["endpoint"], detail["act"], detail["detail"], detail["incident"] = modelsOf(a.Model), a.Endpoint, act, words, a.Incident
		n := a.notice(s.now())
		n.Act, n.Reason = act, words
		errs := []error{putAct(tx, a.ID, act, a.Endpoint, Act{State: "done", Detail: words, At: s.now()}), audit.Record(tx, acted, "alert/"+a.ID, detail), event.Publish(tx, acted, "alert/"+a.ID, n)}
		if s.Incidents != nil {
			errs = append(errs, s.Incidents.NoteIn(tx, a.Incident, db.NewID(), s.now(), words))
		}
		return errors.Join(errs...)
	})
}
