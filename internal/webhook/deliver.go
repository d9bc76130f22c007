package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/outbound"
	"keelson/internal/problem"
)

// Queue is the job queue of deliveries: receivers that are slow hold up nobody else.
const Queue = "webhook"

const deliverKind = "webhook.deliver"

// args name a delivery and which attempt this is; a job that comes twice finds that its attempt was made.
type args struct {
	Delivery string `json:"delivery"`
	Attempt  int    `json:"attempt"` // 1 is the first
}

// Jobs registers the sending.
func (s *Service) Jobs(r *job.Runner) { r.Handle(deliverKind, s.deliver) }

// Hear makes an event into one delivery per webhook of its workspace that wants it. Hearing it twice changes nothing.
func (s *Service) Hear(ctx context.Context, e event.Event) error {
	var active []Webhook
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { active, err = list(tx, "", Active, "", 0); return err }); err != nil {
		return err
	}
	type told struct {
		w    Webhook
		body []byte
	}
	var wanted []told
	for _, w := range active {
		f, err := s.format(w.Format)
		if err != nil || e.At.Before(w.since) || !f.Fits(w.Events, e) {
			continue
		}
		body, err := f.Body(e)
		if err != nil {
			return fmt.Errorf("write event %s for webhook %s: %w", e.ID, w.ID, err)
		}
		wanted = append(wanted, told{w, body})
	}
	if len(wanted) == 0 {
		return nil
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		for _, t := range wanted {
			if err := s.add(tx, t.w, e, string(t.body)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) add(tx db.Scope, w Webhook, e event.Event, body string) error {
	n, err := pending(tx, w.ID)
	if err != nil {
		return err
	}
	if n >= MaxPending {
		return s.disable(tx, w.ID, fmt.Sprintf("%d deliveries were waiting; the receiver did not take them.", n))
	}
	d := Delivery{ID: db.NewID(), Webhook: w.ID, Event: e.ID, Type: e.Type, CreatedAt: s.now(), body: body}
	fresh, err := addDelivery(tx, d)
	if err != nil || !fresh {
		return err
	}
	return errors.Join(prune(tx, w.ID, Kept), job.Enqueue(tx, deliverKind, args{d.ID, 1}, job.Queue(Queue)))
}

// disable stops a webhook by the platform's own decision.
func (s *Service) disable(tx db.Scope, id, why string) error {
	w, err := get(tx, id)
	if err != nil || w.Status == Disabled {
		return err
	}
	w.Status, w.Reason, w.UpdatedAt = Disabled, why, s.now()
	return errors.Join(put(tx, w), s.tell(tx, Changed, w))
}

// deliver makes one attempt. A failed one enqueues the next; the job itself fails only when the database does.
func (s *Service) deliver(ctx context.Context, j job.Job) error {
	var a args
	if err := j.Bind(&a); err != nil {
		return err
	}
	var d Delivery
	var w Webhook
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if d, err = getDelivery(tx, a.Delivery); err == nil {
			w, err = get(tx, d.Webhook)
		}
		return err
	})
	if errors.Is(err, db.ErrNoRows) || problem.Is(err, problem.NotFound) {
		return nil // the webhook was deleted
	}
	if err != nil || d.State != Pending || d.Attempts != a.Attempt-1 {
		return err
	}
	var answer outbound.Answer
	var failed error
	if w.Status == Disabled {
		failed = errDisabled
	} else {
		answer, failed = s.send(ctx, w, d.ID, []byte(d.body))
		if ctx.Err() != nil {
			return ctx.Err() // the process stops; the attempt is made again
		}
	}
	return s.settle(ctx, w, d, answer, failed)
}

var errDisabled = problem.New(problem.Conflict, "The webhook is disabled; enable it to send again.")

// settle writes down what came of an attempt and says when the next is.
func (s *Service) settle(ctx context.Context, w Webhook, d Delivery, answer outbound.Answer, failed error) error {
	now := s.now()
	d.Attempts++
	d.Status, d.TookMS, d.LastAt, d.NextAt, d.Error = answer.Status, float64(answer.Took.Microseconds())/1000, &now, nil, ""
	steps := s.Pauses
	if steps == nil {
		steps = pauses
	}
	over := d.Attempts > len(steps)
	refused := problem.Is(failed, problem.Invalid) // by the rules of where we call: no time changes that
	switch {
	case failed == nil && answer.Status >= 200 && answer.Status < 300:
		d.State = Delivered
	case failed != nil:
		d.Error = sentence(failed)
		over = over || refused || errors.Is(failed, errDisabled)
	case answer.Status >= 300 && answer.Status < 400:
		d.Error = fmt.Sprintf("It answered %d, a redirect; they are not followed. Give the address it points to.", answer.Status)
	default:
		d.Error = fmt.Sprintf("It answered %d.", answer.Status)
	}
	if d.State == Pending {
		if over {
			d.State = Failed
		} else {
			next := now.Add(max(steps[d.Attempts-1], retryAfter(answer.Header)))
			d.NextAt = &next
		}
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		if err := putDelivery(tx, d); err != nil {
			return err
		}
		if refused {
			if err := audit.Record(tx, "webhook.refused", "webhook/"+w.ID, map[string]any{"address": outbound.Origin(w.URL), "why": d.Error, "delivery": d.ID}); err != nil {
				return err
			}
		}
		if answer.Status == http.StatusGone { // the standard's word for: never again
			return s.disable(tx, w.ID, "The receiver answered 410 Gone.")
		}
		if d.NextAt == nil {
			return nil
		}
		return job.Enqueue(tx, deliverKind, args{d.ID, d.Attempts + 1}, job.Queue(Queue), job.At(*d.NextAt))
	})
	if err != nil {
		return fmt.Errorf("settle delivery %s: %w", d.ID, err)
	}
	s.Metrics.count(d.State)
	if d.State == Failed {
		s.Log.WarnContext(ctx, "a webhook was not reached", "webhook", w.ID, "delivery", d.ID, "attempts", d.Attempts, "error", failed, "status", d.Status)
	}
	return nil
}

// send makes one call, signed at this moment.
func (s *Service) send(ctx context.Context, w Webhook, id string, body []byte) (outbound.Answer, error) {
	f, err := s.format(w.Format)
	if err != nil {
		return outbound.Answer{}, err
	}
	secret := ""
	if w.hidden != "" {
		b, err := s.Key.Reveal("webhook", w.ID, w.hidden)
		if err != nil {
			return outbound.Answer{}, problem.New(problem.Unavailable, "The webhook's secret cannot be read; the keys of this server were changed. Set the secret again.").Because(err)
		}
		secret = string(b)
	}
	h := http.Header{"Content-Type": {f.ContentType()}, "User-Agent": {"Keelson-Webhook/1"}}
	f.Sign(h, secret, id, s.Now(), body)
	return s.Calls.Do(ctx, outbound.Call{Method: http.MethodPost, URL: w.URL, Header: h, Body: body})
}

func sentence(err error) string {
	if p, ok := problem.As(err); ok {
		return p.Detail
	}
	return "The call failed; the log has the cause."
}

// Test sends an example at once and says what came back, but not the text of the answer: whoever may test a webhook need
// not be one who may read what stands at its address. wanted names an event of the format, or is empty.
func (s *Service) Test(ctx context.Context, id, wanted string) (Result, error) {
	w, err := s.Get(ctx, id)
	if err != nil {
		return Result{}, err
	}
	f, err := s.format(w.Format)
	if err != nil {
		return Result{}, err
	}
	e, err := f.Example(w.Events, wanted)
	if err != nil {
		return Result{}, err
	}
	e.ID, e.At, e.Workspace, e.Actor = db.NewID(), s.now(), caller.Workspace(ctx), caller.From(ctx).Name
	if err := s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, Tested, "webhook/"+w.ID, map[string]any{"address": outbound.Origin(w.URL), "name": w.Name})
	}); err != nil {
		return Result{}, err
	}
	body, err := f.Body(e)
	if err != nil {
		return Result{}, err
	}
	a, err := s.send(ctx, w, db.NewID(), body)
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if err != nil {
		if problem.Is(err, problem.Invalid) {
			if err := s.refused(ctx, "webhook/"+w.ID, w.URL, err); err != nil {
				return Result{}, err
			}
		}
		return Result{Error: sentence(err)}, nil
	}
	r := Result{Success: a.Status >= 200 && a.Status < 300, Status: a.Status, Answer: fmt.Sprintf("It answered %d after %s.", a.Status, a.Took.Round(time.Millisecond))}
	if !r.Success {
		r.Error = fmt.Sprintf("It answered %d; 200 to 299 is success, and redirects are not followed.", a.Status)
	}
	return r, nil
}
