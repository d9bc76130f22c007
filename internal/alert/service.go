package alert

import (
	"context"
	"encoding/json"
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
	"keelson/internal/incident"
	"keelson/internal/job"
	"keelson/internal/monitor"
	"keelson/internal/problem"
)

// Windows is where findings are read; monitor.Service has it.
type Windows interface {
	Findings(ctx context.Context, endpoint, id string) (monitor.Result, error)
	Get(ctx context.Context, endpoint string) (monitor.Monitor, error)
}

// Incidents is what alerts do with incidents; incident.Service has it.
type Incidents interface {
	OpenIn(tx db.Scope, n incident.New) (incident.Incident, error)
	NoteIn(tx db.Scope, id, line string, at time.Time, text string) error
	FactsIn(tx db.Scope, id, severity string, f *incident.Facts) error
	AckIn(tx db.Scope, id, reason string) error
	RecoverIn(tx db.Scope, id, words string) error
	Unmeasured(tx db.Scope, kinds []string, before time.Time, after string) ([]incident.Lone, error)
	HoldIn(tx db.Scope, id string, before time.Time, words func(model string) (string, error)) error
}

// People are those who answer for a model.
type People struct {
	Owner, Accountable string
	Responsible        []string
}

// first is who takes care of an alert to begin with.
func (p People) first() string {
	if len(p.Responsible) > 0 {
		return p.Responsible[0]
	}
	if p.Owner != "" {
		return p.Owner
	}
	return p.Accountable
}

// named resolves a role of the model; any other text is a person's name.
func (p People) named(to string) string {
	switch to {
	case "responsible":
		return strings.Join(p.Responsible, ", ")
	case "accountable":
		return p.Accountable
	case "owner":
		return p.Owner
	}
	return to
}

// Service keeps alerts. DB, Log, Now and Windows are required; without the others nobody owns an alert, columns count
// alike, and a policy does nothing by itself.
type Service struct {
	DB         *db.DB
	Log        *slog.Logger
	Now        func() time.Time
	Windows    Windows
	Incidents  Incidents
	People     func(ctx context.Context, model string) (People, error)
	Importance func(ctx context.Context, endpoint, model string, version int) (map[string]float64, error) // by input, summing to 1; nil while unknown
	Hands      Hands
	Calls      Calls
	Metrics    *Metrics
}

// Types of events; their data is a Notice.
const (
	Opened    = "alert.opened"
	Worse     = "alert.worsened" // its severity rose
	Over      = "alert.recovered"
	Escalated = "alert.escalated"
	Acked     = "alert.acknowledged"
	hushed    = "alert.silenced"
	released  = "alert.released"
	assigned  = "alert.assigned"
	acted     = "alert.acted"
)

// Notice is the data of the events: what a person is told of an alert.
type Notice struct {
	ID        string     `json:"id"`
	Title     string     `json:"title"`
	Words     string     `json:"words"`
	Model     string     `json:"model"`
	Endpoint  string     `json:"endpoint"`
	Version   int        `json:"version"`
	Window    string     `json:"window"`
	Kind      string     `json:"kind"`
	Severity  string     `json:"severity"`
	State     string     `json:"state"`
	Owner     string     `json:"owner"`
	Incident  string     `json:"incident"`
	Feature   string     `json:"feature"`
	Metric    string     `json:"metric"`
	Value     float64    `json:"value"`
	Limit     float64    `json:"limit"`
	Columns   int        `json:"columns"`
	Link      string     `json:"link"`
	OpenedAt  time.Time  `json:"opened_at"`
	Reason    string     `json:"reason,omitempty"`
	By        string     `json:"by,omitempty"`
	Until     *time.Time `json:"until,omitempty"`
	To        string     `json:"to,omitempty"`    // who it was passed on to
	Route     string     `json:"route,omitempty"` // a route that is told whatever its rules say
	Act       string     `json:"act,omitempty"`   // what the policy did
	Recovered *time.Time `json:"recovered_at,omitempty"`
}

func (a *Alert) notice(now time.Time) Notice {
	s := *a
	s.show(now)
	return Notice{ID: s.ID, Title: s.Title, Words: s.Words, Model: s.Model, Endpoint: s.Endpoint, Version: s.Version, Window: s.last, Kind: s.Kind, Severity: s.Severity, State: s.State,
		Owner: s.Owner, Incident: s.Incident, Feature: s.Feature, Metric: s.Metric, Value: s.Value, Limit: s.Limit, Columns: len(s.Columns), Link: s.Link, OpenedAt: s.OpenedAt,
		Reason: s.Reason, By: s.By, Until: s.Until, Recovered: s.RecoveredAt}
}

// past is how old a window is that nobody is alerted of when it closes. Outcomes may come later than that.
const past = 7 * 24 * time.Hour

// OnWindow hears that a window was closed or that outcomes changed what is known of one (monitor.Closed and
// monitor.Labelled), and opens, keeps or ends the alerts of its causes. Hearing of a window twice changes nothing.
func (s *Service) OnWindow(ctx context.Context, e event.Event) error {
	var news monitor.News
	if err := json.Unmarshal(e.Data, &news); err != nil {
		return fmt.Errorf("read event %s: %w", e.ID, err)
	}
	r, err := s.Windows.Findings(ctx, news.Endpoint, news.Window)
	if problem.Is(err, problem.NotFound) {
		return nil // it was thrown away meanwhile
	}
	if err != nil {
		return err
	}
	if e.Type != monitor.Labelled && s.now().Sub(r.To) > past {
		return nil // a new monitor reads old windows: nobody is alerted of the past
	}
	p, err := s.PolicyOf(ctx, r.Model)
	if err != nil {
		return err
	}
	var importance map[string]float64
	if s.Importance != nil && slices.ContainsFunc(r.Causes, func(c monitor.Cause) bool { return kindOf(c.Kind) == Data }) {
		if importance, err = s.Importance(ctx, r.Endpoint, r.Model, r.Version); err != nil {
			s.Log.InfoContext(ctx, "the importance of inputs is not known; they count alike", "endpoint", r.Endpoint, "version", r.Version, "error", err)
			importance = nil
		}
	}
	var errs []error
	for _, f := range judged(&r, e.Type != monitor.Labelled, p, importance) {
		errs = append(errs, s.hear(ctx, r.Endpoint, r.Model, p, f))
	}
	return errors.Join(errs...)
}

// hear brings the alert of one kind of cause up to date with what a window says of it.
func (s *Service) hear(ctx context.Context, endpoint, model string, p Policy, f finding) error {
	if !f.bad { // mostly there is nothing to end
		var open bool
		err := s.DB.Read(ctx, func(tx db.Scope) error {
			a, known, err := newest(tx, cause(endpoint, f))
			open = known && a.State != Recovered
			return err
		})
		if err != nil || !open {
			return err
		}
	}
	var people People
	if s.People != nil && model != "" {
		var err error
		if people, err = s.People(ctx, model); err != nil {
			return fmt.Errorf("read who answers for %s: %w", model, err)
		}
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error { return s.hearIn(tx, endpoint, model, people, p, f) })
	if err != nil {
		return fmt.Errorf("alert of %s at %s: %w", f.kind, endpoint, err)
	}
	return nil
}

// cause is what alerts of one kind of an endpoint have in common.
func cause(endpoint string, f finding) string { return endpoint + "\x1f" + f.kind }

func (s *Service) hearIn(tx db.Scope, endpoint, model string, people People, p Policy, f finding) error {
	now, cause := s.now(), cause(endpoint, f)
	a, known, err := newest(tx, cause)
	if err != nil {
		return err
	}
	if known && a.State == Recovered && f.window <= a.last {
		return nil // it was over when this window came to be known otherwise
	}
	if !known || a.State == Recovered {
		if !f.bad {
			return nil
		}
		old := a
		a = Alert{ID: db.NewID(), cause: cause, State: Pending, Severity: Warning, OpenedAt: now, FirstWindow: f.window, Endpoint: endpoint, Model: model, Kind: f.kind}
		a.doc.Began = f.from
		if known && old.Until != nil && now.Before(*old.Until) { // the silence outlives the recovery
			a.By, a.Reason, a.Until = old.By, old.Reason, old.Until
		}
	}
	fresh := a.doc.note(mark{f.window, f.version, f.bad, f.rows})
	if f.bad && f.window >= a.last {
		a.Version, a.Window, a.From, a.To, a.last = f.version, f.window, f.from, f.to, f.window
		a.doc.Loss, a.doc.Where = f.word, f.where
	}
	if f.bad {
		a.doc.merge(f.columns, fresh)
		if fresh {
			a.Windows++
			a.doc.Rows += f.rows
		}
		lead := a.doc.Columns[0]
		a.Feature, a.Metric, a.Value, a.Limit = lead.Name, lead.Metric, lead.Value, lead.Limit
		if f.from.Before(a.doc.Began) {
			a.doc.Began, a.FirstWindow = f.from, f.window
		}
	}
	a.UpdatedAt = now
	grave := f.loss || f.kind == Result || f.kind == Operation
	if !grave && f.bad {
		if grave, err = losing(tx, endpoint); err != nil {
			return err
		}
		if grave {
			a.doc.Loss = openLoss
		}
	}
	rose := f.bad && grave && a.Severity != Critical
	if rose {
		a.Severity = Critical
	}
	switch {
	case a.State == Pending && a.doc.badRun() == 0:
		return drop(tx, a.ID) // it was one window, which is chance
	case a.State == Pending && a.doc.badRun() < p.Windows:
		return put(tx, &a)
	case a.State == Pending:
		return s.open(tx, &a, people, p, now)
	case !f.bad && a.doc.goodRun() >= p.Good:
		return s.recover(tx, &a, p)
	case f.bad && fresh || rose:
		errs := []error{put(tx, &a), s.further(tx, &a, now)}
		if rose {
			errs = append(errs, s.tell(tx, Worse, &a, nil))
		}
		return errors.Join(errs...)
	}
	return put(tx, &a)
}

// open makes a pending alert known: an incident, an owner, and the acts of the policy.
func (s *Service) open(tx db.Scope, a *Alert, people People, p Policy, now time.Time) error {
	a.State, a.OpenedAt, a.Owner = Open, now, people.first()
	if a.Until != nil {
		a.State = Silenced
	}
	s.clock(a, p, now)
	if i := slices.IndexFunc(p.Actions, func(x Action) bool { return x.Do == DoIncident && x.fits(a.Kind, a.Severity) }); (i >= 0 || a.Kind == Crash) && s.Incidents != nil {
		if err := s.incident(tx, a, now); err != nil {
			return err
		}
	}
	return errors.Join(put(tx, a), s.tell(tx, Opened, a, nil), s.enqueue(tx, a))
}

// incident opens the incident of an alert, or joins that of the same model and kind.
func (s *Service) incident(tx db.Scope, a *Alert, now time.Time) error {
	shown := *a
	shown.show(now)
	of, kind := a.Model, incidentKinds[a.Kind]
	if of == "" {
		of = a.Endpoint
	}
	if a.Kind == Crash && a.Metric == ofPanic {
		kind = incident.EnginePanic
	}
	i, err := s.Incidents.OpenIn(tx, incident.New{Kind: kind, Model: a.Model, Endpoint: a.Endpoint, Severity: severityOf(a.Severity), Key: causeKey(of, a.Kind),
		Title: fmt.Sprintf(says[a.Kind][1]+".", a.Endpoint), Detail: shown.Words, Owner: a.Owner, Facts: a.facts()})
	if err != nil {
		return err
	}
	a.Incident = i.ID
	first := "The first window over the limit began: %s."
	if a.Kind == Crash {
		first = "It broke down: %s"
	}
	errs := []error{s.Incidents.NoteIn(tx, i.ID, a.ID+".1", a.doc.Began, fmt.Sprintf(first, columnText(a.doc.Columns[0], a.Kind))),
		s.Incidents.NoteIn(tx, i.ID, a.ID+".2", now, "Alert: "+shown.Title)}
	if a.Owner != "" {
		errs = append(errs, s.Incidents.NoteIn(tx, i.ID, a.ID+".3", now, a.Owner+" is to take care of it, by the responsibilities of the model."))
	}
	return errors.Join(errs...)
}

// causeKey makes one incident of all trouble of a model, or of an endpoint without one, that has the same kind of cause.
func causeKey(of, kind string) string { return "cause " + of + " " + kind }

func severityOf(severity string) string {
	if severity == Critical {
		return incident.High
	}
	return incident.Low
}

// further follows an active alert with another window over the limit.
func (s *Service) further(tx db.Scope, a *Alert, now time.Time) error {
	var errs []error
	if s.Incidents != nil && a.Incident != "" {
		errs = append(errs, s.Incidents.FactsIn(tx, a.Incident, severityOf(a.Severity), a.facts()))
		if a.Windows&(a.Windows-1) == 0 { // the 4th, 8th, 16th …
			shown := *a
			shown.show(now)
			text := "Still, after %d windows: %s"
			if a.Kind == Crash {
				text = "For the %d. time: %s"
			}
			errs = append(errs, s.Incidents.NoteIn(tx, a.Incident, a.ID+".w"+a.last, now, fmt.Sprintf(text, a.Windows, shown.Title)))
		}
	}
	return errors.Join(append(errs, s.enqueue(tx, a))...)
}

// recover ends an alert after enough good windows.
func (s *Service) recover(tx db.Scope, a *Alert, p Policy) error {
	return s.over(tx, a, fmt.Sprintf("%s recovered: %d good windows in a row.", a.Endpoint, a.doc.goodRun()), p.Close)
}

// over ends an alert and says why; shut lets its incident close by itself unless another alert holds it.
func (s *Service) over(tx db.Scope, a *Alert, words string, shut bool) error {
	now := s.now()
	a.State, a.RecoveredAt, a.UpdatedAt, a.EscalateAt = Recovered, &now, now, nil
	if n := len(a.doc.Marks); n > 0 {
		a.last = a.doc.Marks[n-1].Window
	}
	for i := range a.doc.Columns {
		a.doc.Columns[i].Over = false
	}
	errs := []error{put(tx, a), s.tell(tx, Over, a, func(n *Notice) { n.Words = words })}
	if s.Incidents != nil && a.Incident != "" {
		others, err := active(tx, a.Incident, a.ID)
		switch {
		case err != nil:
			return err
		case others > 0 || !shut:
			errs = append(errs, s.Incidents.NoteIn(tx, a.Incident, a.ID+".over", now, words))
		default:
			errs = append(errs, s.Incidents.FactsIn(tx, a.Incident, "", a.facts()), s.Incidents.RecoverIn(tx, a.Incident, words+" Closed by itself."))
		}
	}
	return errors.Join(errs...)
}

// clock sets when an open alert is passed on, by the level it has reached.
func (s *Service) clock(a *Alert, p Policy, from time.Time) {
	a.EscalateAt = nil
	if a.doc.Level < len(p.Escalate) {
		at := from.Add(time.Duration(p.Escalate[a.doc.Level].After) * time.Minute)
		if a.Until != nil && a.State == Silenced {
			at = a.Until.Add(time.Duration(p.Escalate[a.doc.Level].After) * time.Minute)
		}
		a.EscalateAt = &at
	}
}

// tell records an act on an alert and publishes it.
func (s *Service) tell(tx db.Scope, typ string, a *Alert, more func(*Notice)) error {
	n := a.notice(s.now())
	if more != nil {
		more(&n)
	}
	s.Metrics.count(typ, a)
	return errors.Join(audit.Record(tx, typ, "alert/"+a.ID, n), event.Publish(tx, typ, "alert/"+a.ID, n))
}

// Get returns an alert with what was done about it; NotFound when there is none.
func (s *Service) Get(ctx context.Context, id string) (a Alert, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if a, err = get(tx, id); err != nil {
			return err
		}
		a.Acts, err = acts(tx, id)
		return err
	})
	if err == nil {
		a.show(s.now())
	}
	return a, err
}

// Acknowledge says that the caller takes care of an alert; its incident is theirs, too.
func (s *Service) Acknowledge(ctx context.Context, id, reason string) (Alert, error) {
	return s.change(ctx, id, Acked, reason, func(tx db.Scope, a *Alert, by string, _ Policy) error {
		if err := a.acknowledge(by, reason); err != nil || s.Incidents == nil || a.Incident == "" {
			return err
		}
		return s.Incidents.AckIn(tx, a.Incident, reason)
	})
}

// Silence keeps an alert quiet until a time, at most a year ahead.
func (s *Service) Silence(ctx context.Context, id, reason string, until time.Time) (Alert, error) {
	return s.change(ctx, id, hushed, reason, func(tx db.Scope, a *Alert, by string, p Policy) error {
		err := a.silence(by, reason, until, s.now())
		if err == nil {
			s.clock(a, p, s.now())
		}
		return err
	})
}

// Release takes back an acknowledgement or a silence.
func (s *Service) Release(ctx context.Context, id, reason string) (Alert, error) {
	return s.change(ctx, id, released, reason, func(tx db.Scope, a *Alert, by string, p Policy) error {
		err := a.release(by, reason)
		if err == nil {
			s.clock(a, p, s.now())
		}
		return err
	})
}

// Assign hands an alert to somebody.
func (s *Service) Assign(ctx context.Context, id, to, reason string) (Alert, error) {
	return s.change(ctx, id, assigned, reason, func(tx db.Scope, a *Alert, _ string, _ Policy) error { return a.assign(to, reason) })
}

func (s *Service) change(ctx context.Context, id, typ, reason string, do func(db.Scope, *Alert, string, Policy) error) (a Alert, err error) {
	if a, err = s.Get(ctx, id); err != nil {
		return a, err
	}
	p, err := s.PolicyOf(ctx, a.Model)
	if err != nil {
		return a, err
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if a, err = get(tx, id); err != nil {
			return err
		}
		a.show(s.now()) // a silence that is over is an open alert
		who := caller.From(ctx).Name
		if err := do(tx, &a, who, p); err != nil {
			return err
		}
		a.UpdatedAt = s.now()
		if s.Incidents != nil && typ != Acked {
			text := map[string]string{hushed: "silenced", released: "open again", assigned: "handed to " + a.Owner}[typ] + " by " + who
			if a.Until != nil {
				text += " until " + a.Until.Format("2 January 2006 15:04 UTC")
			}
			if err := s.Incidents.NoteIn(tx, a.Incident, db.NewID(), s.now(), strings.TrimSuffix(text+": "+reason, ": ")); err != nil {
				return err
			}
		}
		return errors.Join(put(tx, &a), s.tell(tx, typ, &a, nil))
	})
	if err == nil {
		a.show(s.now())
		s.Log.InfoContext(ctx, "alert changed", "alert", id, "endpoint", a.Endpoint, "state", a.State)
	}
	return a, err
}

// OnIncident acknowledges the alerts of an incident that somebody took on: nobody needs to be passed on to any more.
func (s *Service) OnIncident(ctx context.Context, e event.Event) error {
	var n incident.Notice
	if err := json.Unmarshal(e.Data, &n); err != nil || n.State != incident.Acknowledged {
		return nil
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		list, err := ofIncident(tx, n.ID)
		if err != nil {
			return err
		}
		for _, a := range list {
			a.show(s.now())
			if a.State != Open || a.acknowledge(e.Actor, "took on the incident") != nil {
				continue
			}
			a.UpdatedAt = s.now()
			if err := errors.Join(put(tx, &a), s.tell(tx, Acked, &a, nil)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Jobs registers what goes on by itself.
func (s *Service) Jobs(r *job.Runner) {
	r.Handle(actKind, s.act)
	r.Every("alert.escalation", 5*time.Second, s.Escalate)
	r.Every("alert.hold", time.Minute, s.Hold)
	if s.Calls != nil {
		r.Every("alert.operation", time.Minute, s.Operate)
	}
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
