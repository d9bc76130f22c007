package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/alert"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/incident"
	"keelson/internal/job"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/seal"
	"keelson/internal/webhook"
)

// Service sends alerts. All fields but URL, Tier, Pauses and Metrics are required.
type Service struct {
	DB      *db.DB
	Key     *seal.Key
	Calls   *outbound.Client
	Log     *slog.Logger
	Now     func() time.Time
	URL     func() string                                                 // of the web interface, for links; nil: none
	Tier    func(ctx context.Context, model string) (tier int, err error) // nil: nobody assessed any
	Pauses  []time.Duration                                               // between attempts; nil: pauses
	Metrics *Metrics
}

// pauses are the times between the attempts of a delivery: an alert that is hours late is of little use.
var pauses = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour, 3 * time.Hour}

// Queue is the job queue of deliveries: receivers that are slow hold up nobody else.
const Queue = "notify"

const deliverKind = "notify.deliver"

type args struct {
	Delivery string `json:"delivery"`
	Attempt  int    `json:"attempt"` // 1 is the first
}

// Jobs registers the sending.
func (s *Service) Jobs(r *job.Runner) { r.Handle(deliverKind, s.deliver) }

// Change is what may be set of a route; nil leaves a thing as it is.
type Change struct {
	Name, URL, Severity, Secret *string
	Mail                        *Mail
	Models, Kinds, Events       *[]string
	Tiers                       *[]int
	Quiet                       **Quiet
	Enabled                     *bool
}

// Create adds a route. A webhook without a secret gets one, which the answer shows this once.
func (s *Service) Create(ctx context.Context, r Route) (Route, error) {
	r.ID, r.Enabled, r.CreatedBy, r.CreatedAt = db.NewID(), true, caller.From(ctx).Name, s.now()
	r.UpdatedAt = r.CreatedAt
	given := r.Secret
	if err := s.settle(ctx, &r, given, true); err != nil {
		return r, err
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		n, err := count(tx)
		if err != nil {
			return err
		}
		if n >= MaxRoutes {
			return problem.New(problem.Conflict, "A workspace has at most %d routes.", MaxRoutes)
		}
		return errors.Join(put(tx, r), s.tell(tx, "notify.route-created", r))
	})
	return s.shown(r), s.taken(err, r.Name)
}

func (s *Service) taken(err error, name string) error {
	if db.IsUnique(err) {
		return problem.New(problem.Conflict, "There is a route %s already.", name).At("name")
	}
	return err
}

// settle checks a route and where it leads, and encrypts its secret. A secret that was made stands in r.Secret.
func (s *Service) settle(ctx context.Context, r *Route, given string, fresh bool) error {
	if err := r.check(); err != nil {
		return err
	}
	r.Secret = ""
	if fresh || given != "" {
		secret, shown, err := s.checkSecret(ctx, r, given)
		if err != nil {
			return err
		}
		r.hidden, r.Sealed = "", secret != ""
		if secret != "" {
			if r.hidden, err = s.Key.Hide("notify", r.ID, []byte(secret)); err != nil {
				return err
			}
		}
		r.Secret, r.Target = shown, r.target(secret)
	} else {
		secret, err := s.secret(r)
		if err != nil {
			return err
		}
		r.Target = r.target(secret)
	}
	var err error
	switch r.Kind {
	case Email:
		err = r.Mail.reachable(s.Calls)
	case Webhook, PagerDuty:
		err = s.Calls.Check(r.URL)
	}
	return s.refused(ctx, r, err)
}

// checkSecret refuses a secret that cannot be one of this kind, or makes one; shown is what the answer says of it.
func (s *Service) checkSecret(ctx context.Context, r *Route, given string) (secret, shown string, err error) {
	if err := plain("secret", given, 2048); err != nil {
		return "", "", err
	}
	switch r.Kind {
	case Webhook:
		if secret, err = (webhook.CloudEvents{}).Secret(given); err == nil && given == "" {
			shown = secret
		}
		return secret, shown, err
	case Slack:
		if given == "" {
			return "", "", problem.New(problem.Invalid, "Give the address of Slack's incoming webhook as secret: who knows it can write to the channel.").At("secret")
		}
		err := s.Calls.Check(given)
		if p, ok := problem.As(err); ok {
			moved := *p
			err = s.refused(ctx, r, moved.At("secret"))
		}
		return given, "", err
	case PagerDuty:
		if !keyRule.MatchString(given) {
			return "", "", problem.New(problem.Invalid, "Give the routing key of the service as secret: 8 to 128 letters, digits, hyphens and underscores.").At("secret")
		}
	case Email:
		if r.Mail.User != "" && given == "" {
			return "", "", problem.New(problem.Invalid, "Give the password of %s as secret.", r.Mail.User).At("secret")
		}
		if r.Mail.User != "" && r.Mail.TLS == "none" {
			return "", "", problem.New(problem.Invalid, "A password is not sent without TLS; use starttls or tls.").At("mail.tls")
		}
	}
	return given, "", nil
}

// refused audits that somebody wanted to lead the server where it calls nobody, and hands back the refusal.
func (s *Service) refused(ctx context.Context, r *Route, err error) error {
	return errors.Join(err, s.audited(ctx, r, err))
}

// audited writes a refusal to the audit log where it may be an attack.
func (s *Service) audited(ctx context.Context, r *Route, err error) error {
	p, ok := problem.As(err)
	if !ok || p.Attack == "" {
		return nil
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, "notify.refused", "route/"+r.ID, map[string]any{"name": r.Name, "kind": r.Kind, "why": p.Detail})
	})
}

func (s *Service) secret(r *Route) (string, error) {
	if r.hidden == "" {
		return "", nil
	}
	b, err := s.Key.Reveal("notify", r.ID, r.hidden)
	if err != nil {
		return "", problem.New(problem.Unavailable, "The route's secret cannot be read; the keys of this server were changed. Set the secret again.").Because(err)
	}
	return string(b), nil
}

func (s *Service) shown(r Route) Route {
	r.Muted = r.Muted.at(s.now())
	if r.Target == "" {
		secret, _ := s.secret(&r)
		r.Target = r.target(secret)
	}
	return r
}

// tell records a change of a route, without its secret.
func (s *Service) tell(tx db.Scope, typ string, r Route) error {
	return audit.Record(tx, typ, "route/"+r.ID, map[string]any{"name": r.Name, "kind": r.Kind, "target": r.Target, "models": r.Models, "severity": r.Severity, "events": r.Events, "enabled": r.Enabled})
}

// Get returns a route by id or name; NotFound when there is none.
func (s *Service) Get(ctx context.Context, ref string) (r Route, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { r, err = get(tx, ref); return err })
	if err != nil {
		return r, err
	}
	return s.shown(r), nil
}

// List gives routes, newest first.
func (s *Service) List(ctx context.Context, before string, limit int) (out []Route, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = list(tx, false, before, limit); return err })
	for i := range out {
		out[i] = s.shown(out[i])
	}
	return out, err
}

// Update changes a route. A new address of a route asks for its secret again: who may change routes must not be able to
// send somebody's secret elsewhere.
func (s *Service) Update(ctx context.Context, ref string, c Change) (Route, error) {
	r, err := s.Get(ctx, ref)
	if err != nil {
		return r, err
	}
	before := r
	assign(&r.Name, c.Name)
	assign(&r.URL, c.URL)
	assign(&r.Severity, c.Severity)
	assign(&r.Models, c.Models)
	assign(&r.Kinds, c.Kinds)
	assign(&r.Events, c.Events)
	assign(&r.Tiers, c.Tiers)
	assign(&r.Quiet, c.Quiet)
	assign(&r.Enabled, c.Enabled)
	if c.Mail != nil {
		r.Mail = c.Mail
	}
	given := ""
	assign(&given, c.Secret)
	if r.Mail != nil { // as check will write it
		if err := r.Mail.check(); err != nil {
			return r, err
		}
	}
	moved := r.URL != before.URL || r.Mail != nil && before.Mail != nil && (r.Mail.Host != before.Mail.Host || r.Mail.User != before.Mail.User || r.Mail.TLS != before.Mail.TLS)
	if moved && r.hidden != "" && given == "" {
		return r, problem.New(problem.Invalid, "The route leads elsewhere now; give its secret again.").At("secret")
	}
	r.UpdatedAt, r.Target = s.now(), ""
	if err := s.settle(ctx, &r, given, false); err != nil {
		return r, err
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		now, err := get(tx, r.ID)
		if err != nil {
			return err
		}
		r.Muted = now.Muted // it may have been muted meanwhile
		return errors.Join(put(tx, r), s.tell(tx, "notify.route-changed", r))
	})
	return s.shown(r), s.taken(err, r.Name)
}

func assign[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// Delete forgets a route and its log.
func (s *Service) Delete(ctx context.Context, ref string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		r, err := get(tx, ref)
		if err != nil {
			return err
		}
		return errors.Join(drop(tx, r.ID), s.tell(tx, "notify.route-deleted", r))
	})
}

// Mute keeps a route silent until a time, nil takes that back. Muting again replaces the end.
func (s *Service) Mute(ctx context.Context, ref string, mute *Mute) (r Route, err error) {
	if mute != nil {
		if err := mute.check(s.now()); err != nil {
			return r, err
		}
		mute.Until, mute.By = mute.Until.UTC().Truncate(time.Microsecond), caller.From(ctx).Name
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if r, err = get(tx, ref); err != nil {
			return err
		}
		r = s.shown(r)
		r.Muted, r.UpdatedAt = mute, s.now()
		if mute == nil {
			return errors.Join(put(tx, r), audit.Record(tx, "notify.route-unmuted", "route/"+r.ID, map[string]any{"name": r.Name}))
		}
		return errors.Join(put(tx, r), audit.Record(tx, "notify.route-muted", "route/"+r.ID, map[string]any{"name": r.Name, "until": mute.Until, "reason": mute.Reason}))
	})
	return r, err
}

// Deliveries gives the log of a route, the newest first, older than before.
func (s *Service) Deliveries(ctx context.Context, ref, before string, limit int) (out []Delivery, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		r, err := get(tx, ref)
		if err != nil {
			return err
		}
		out, err = deliveries(tx, r.ID, before, limit)
		return err
	})
	return out, err
}

// ofAlerts are the kinds of incident whose alert is told already.
var ofAlerts = []string{incident.DataMoved, incident.PredictionMoved, incident.ResultWorse, incident.QualityBroken, incident.GroupsApart, incident.Degraded}

// message makes an event into what a person reads; nil when it is nothing to be told.
func (s *Service) message(e event.Event) (*Message, error) {
	m := &Message{Workspace: e.Workspace, At: e.At, About: e.Subject}
	page := ""
	switch noun, turn, _ := strings.Cut(e.Type, "."); noun {
	case "alert":
		var n alert.Notice
		if err := json.Unmarshal(e.Data, &n); err != nil {
			return nil, fmt.Errorf("read event %s: %w", e.ID, err)
		}
		if !slices.Contains(turns, turn) || n.State == alert.Silenced {
			return nil, nil
		}
		m.Event, m.Title, m.Words, m.Model, m.Endpoint, m.Version, m.Kind, m.Severity, m.State, m.Owner, m.Incident, m.Note, m.Route = turn, n.Title, n.Words, n.Model, n.Endpoint, n.Version, n.Kind,
			n.Severity, n.State, n.Owner, n.Incident, n.Reason, n.Route
		page = "/alerts"
		if n.Incident != "" {
			page = "/incidents/" + url.PathEscape(n.Incident)
		}
	case "incident":
		var n incident.Notice
		if err := json.Unmarshal(e.Data, &n); err != nil {
			return nil, fmt.Errorf("read event %s: %w", e.ID, err)
		}
		fell := n.Kind == incident.EnginePanic || n.Kind == incident.EngineCrashed // what answers at an endpoint has an alert
		if slices.Contains(ofAlerts, n.Kind) || n.Kind == incident.Review || fell && n.Endpoint != "" {
			return nil, nil
		}
		m.Event = map[string]string{incident.Opened: "incident", incident.Changed + incident.Acknowledged: "acknowledged", incident.Changed + incident.Closed: "recovered"}[e.Type+map[bool]string{true: n.State}[e.Type == incident.Changed]]
		if m.Event == "" {
			return nil, nil
		}
		m.Title, m.Words, m.Endpoint, m.Kind, m.State, m.Incident, m.Severity = n.Title, n.Title, n.Endpoint, "crash", n.State, n.ID, "warning"
		if n.Severity == incident.High {
			m.Severity = "critical"
		}
		if len(n.Models) > 0 {
			m.Model = n.Models[0]
		}
		page = "/incidents/" + url.PathEscape(n.ID)
	default:
		return nil, nil
	}
	if s.URL != nil {
		m.Page = strings.TrimSuffix(s.URL(), "/") + page
	}
	return m, nil
}

// Hear makes a turn of an alert or incident into one delivery per route that fits. Hearing it twice changes nothing.
func (s *Service) Hear(ctx context.Context, e event.Event) error {
	m, err := s.message(e)
	if err != nil || m == nil {
		return err
	}
	var all []Route
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { all, err = list(tx, true, "", 0); return err }); err != nil || len(all) == 0 {
		return err
	}
	tier := 0
	if s.Tier != nil && m.Model != "" {
		if tier, err = s.Tier(ctx, m.Model); err != nil && !problem.Is(err, problem.NotFound) {
			return err
		}
	}
	now := s.now()
	return s.DB.Write(ctx, func(tx db.Scope) error {
		for _, r := range all {
			if !r.fits(m, tier) || e.At.Before(r.CreatedAt) || r.Muted.at(now) != nil {
				continue
			}
			d := Delivery{ID: db.NewID(), Route: r.ID, Event: m.Event, About: m.About, CreatedAt: now, NextAt: &now, cause: e.ID, body: letter{e, *m}}
			if end, quiet := r.Quiet.until(now); quiet && m.Severity != "critical" {
				d.NextAt = &end
			}
			fresh, err := addDelivery(tx, d)
			if err != nil {
				return err
			}
			if fresh {
				if err := errors.Join(prune(tx, r.ID, Kept), job.Enqueue(tx, deliverKind, args{d.ID, 1}, job.Queue(Queue), job.At(*d.NextAt))); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// deliver makes one attempt. A failed one enqueues the next; the job itself fails only when the database does.
func (s *Service) deliver(ctx context.Context, j job.Job) error {
	var a args
	if err := j.Bind(&a); err != nil {
		return err
	}
	var d Delivery
	var r Route
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if d, err = getDelivery(tx, a.Delivery); err == nil {
			r, err = get(tx, d.Route)
		}
		return err
	})
	if errors.Is(err, db.ErrNoRows) || problem.Is(err, problem.NotFound) {
		return nil // the route was deleted
	}
	if err != nil || d.State != Pending || d.Attempts != a.Attempt-1 {
		return err
	}
	var header http.Header
	var took time.Duration
	failed := error(problem.New(problem.Conflict, "The route is switched off; enable it to send again."))
	off := !r.Enabled
	if !off {
		d.Status, took, header, failed = s.send(ctx, &r, d.ID, d.body.Event, &d.body.Message)
		if ctx.Err() != nil {
			return ctx.Err() // the process stops; the attempt is made again
		}
	}
	now := s.now()
	d.Attempts++
	d.TookMS, d.LastAt, d.NextAt, d.Error = float64(took.Microseconds())/1000, &now, nil, ""
	steps := s.Pauses
	if steps == nil {
		steps = pauses
	}
	var no *refusal
	final := off || problem.Is(failed, problem.Invalid) || errors.As(failed, &no) && no.final || d.Attempts > len(steps)
	switch {
	case failed == nil:
		d.State = Delivered
	case final:
		d.State, d.Error = Failed, sentence(failed)
	default:
		d.Error = sentence(failed)
		next := now.Add(max(steps[d.Attempts-1], retryAfter(header)))
		d.NextAt = &next
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if err := putDelivery(tx, d); err != nil || d.NextAt == nil {
			return err
		}
		return job.Enqueue(tx, deliverKind, args{d.ID, d.Attempts + 1}, job.Queue(Queue), job.At(*d.NextAt))
	})
	if err != nil {
		return fmt.Errorf("settle delivery %s: %w", d.ID, err)
	}
	s.Metrics.count(r.Kind, d.State)
	if d.State == Failed {
		s.Log.WarnContext(ctx, "an alert did not reach a route", "route", r.Name, "kind", r.Kind, "delivery", d.ID, "attempts", d.Attempts, "error", failed)
		return s.audited(ctx, &r, failed)
	}
	return nil
}

// retryAfter is the pause that an answer asks for, up to a day.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(strings.TrimSpace(h.Get("Retry-After")))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(min(n, 86400))*time.Second, 24*time.Hour)
}

func sentence(err error) string {
	if p, ok := problem.As(err); ok {
		return p.Detail
	}
	var no *refusal
	if errors.As(err, &no) {
		return no.text
	}
	return "The attempt failed; the log has the cause."
}

// Result is what came of a test.
type Result struct {
	Success bool    `json:"success"`
	Status  int     `json:"status" doc:"HTTP or SMTP; 0 if no answer came"`
	Answer  string  `json:"answer" doc:"what came back, in one sentence"`
	Error   string  `json:"error,omitempty"`
	TookMS  float64 `json:"took_ms"`
}

// Test sends an example at once and says what came back.
func (s *Service) Test(ctx context.Context, ref string) (Result, error) {
	r, err := s.Get(ctx, ref)
	if err != nil {
		return Result{}, err
	}
	if err := s.DB.Write(ctx, func(tx db.Scope) error { return s.tell(tx, "notify.route-tested", r) }); err != nil {
		return Result{}, err
	}
	id := db.NewID()
	m := &Message{Event: "opened", About: "test/" + id, Title: "This is how an alert arrives.", Words: fmt.Sprintf("%s sent it to test the route %s. Nothing is wrong.", caller.From(ctx).Name, r.Name),
		Model: "example", Endpoint: "example", Version: 1, Kind: alert.Data, Severity: "warning", State: alert.Open, Workspace: caller.Workspace(ctx), At: s.now(), Test: true}
	data, err := json.Marshal(map[string]any{"test": true, "title": m.Title, "words": m.Words})
	if err != nil {
		return Result{}, err
	}
	e := event.Event{ID: id, Type: "alert.tested", Subject: m.About, Workspace: m.Workspace, Actor: caller.From(ctx).Name, At: m.At, Data: data}
	status, took, _, err := s.send(ctx, &r, id, e, m)
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	out := Result{Status: status, TookMS: float64(took.Microseconds()) / 1000, Success: err == nil}
	if err != nil {
		out.Error, out.Answer = sentence(err), "It did not arrive."
		return out, s.audited(ctx, &r, err)
	}
	out.Answer = fmt.Sprintf("It was taken after %s.", took.Round(time.Millisecond))
	if r.Kind == PagerDuty { // the example must not wake anybody up again
		m.Event = "recovered"
		_, _, _, _ = s.send(ctx, &r, db.NewID(), e, m)
	}
	return out, nil
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
