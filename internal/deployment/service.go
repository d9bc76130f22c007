package deployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"keelson/internal/approval"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/incident"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/seal"
)

// Events of this noun; their data is a Notice.
const (
	Released = "deployment.released" // a new signed release is in force
	Blocked  = "deployment.blocked"  // what should have happened when approved could not
)

// Notice is the data of an event.
type Notice struct {
	Endpoint    string   `json:"endpoint"`
	Environment string   `json:"environment"`
	Model       string   `json:"model"`
	Models      []string `json:"models"`
	State       string   `json:"state"`
	Serial      int64    `json:"serial"`
	Slots       []Slot   `json:"slots"`
	Request     string   `json:"request"`
	Words       string   `json:"words"`
}

// What deployment needs of its neighbours.
type (
	retirer interface {
		// Retire marks the version retired in tx. A version that is retired already is no error.
		Retire(tx db.Scope, model string, version int, reason string) error
	}
	counter interface {
		// Rows counts the rows that the version answered at the endpoint since a time, in the records behind after (empty:
		// all), and stops at most. last is the identifier of the last record it looked at, after where there was none.
		Rows(ctx context.Context, endpoint string, version int, since time.Time, after string, most int64) (n int64, last string, err error)
	}
	callers interface {
		Callers(ctx context.Context, model string, version int, since time.Time) ([]approval.Caller, error)
	}
	materials interface {
		Material(ctx context.Context, model string, version int) (Material, error)
	}
	history interface {
		List(ctx context.Context, q audit.Query) ([]audit.Entry, error)
	}
)

// Service carries approved changes out. All fields are required except Rows (steps that hold for rows then wait for a
// person), Callers and History (then releases that the audit log knows of and the database lost go unnoticed).
type Service struct {
	DB        *db.DB
	Key       *seal.Key
	Log       *slog.Logger
	Now       func() time.Time
	Approvals *approval.Service
	Policies  *policy.Service
	Incidents *incident.Service
	Inventory retirer
	Rows      counter
	Callers   callers
	History   history
	// Personal gives the columns about people in the data that a version was made of; the prediction log of every endpoint
	// it is deployed to leaves them out. nil where the data is not known.
	Personal  func(ctx context.Context, model string, version int) ([]string, error)
	Materials materials // what forms are made of; nil makes none
	// Applied is called after an act's release was signed, before the act returns, so that serving in the same process
	// answers accordingly once the caller hears of it; nil where nothing is served here.
	Applied func(ctx context.Context)

	rolling sync.Mutex
	counts  map[place]count // of the canaries that hold for rows; under rolling
}

func (s *Service) applied(ctx context.Context) {
	if s.Applied != nil {
		s.Applied(ctx)
	}
}

func (s *Service) store() store { return store{s.Key} }

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// Result is what executing a request led to.
type Result struct {
	Request     approval.Request
	Deployments []Deployment      // those that changed
	Callers     []approval.Caller // of a version that was retired, the last 30 days
	Words       string
}

// Execute carries out an approved request. Calling it again while the request is the endpoint's newest changes nothing;
// later it is a Conflict, so that an old approval never brings an old version back.
func (s *Service) Execute(ctx context.Context, ref string) (Result, error) {
	r, err := s.Approvals.Get(ctx, ref)
	if err != nil {
		return Result{}, err
	}
	if r.State(s.now()) == approval.Executed {
		return s.again(ctx, r)
	}
	if r, err = s.Approvals.Verified(ctx, r.ID); err != nil {
		return Result{}, err
	}
	if r.Kind == approval.Retire {
		return s.executeRetirement(ctx, r)
	}
	out := Result{Request: r}
	var personal []string
	if r.Kind == approval.Deploy && s.Personal != nil {
		if personal, err = s.Personal(ctx, r.Model, r.Version); err != nil {
			return out, fmt.Errorf("find the personal columns of %s: %w", r.VersionName(), err)
		}
	}
	d, err := s.change(ctx, r.Endpoint, "deployment.executed", "", func(tx db.Scope, f *found, exists bool) (string, error) {
		if f.Lost {
			if r.Kind != approval.Deploy || r.Plan.Mode != approval.All {
				return "", lost(*f)
			}
			f.Deployment = Deployment{ID: db.NewID(), Workspace: r.Workspace, Endpoint: r.Endpoint, Environment: r.Environment, Model: r.Model, Serial: f.Serial}
		} else if !exists {
			if r.Kind != approval.Deploy {
				return "", problem.New(problem.Conflict, "Nothing is deployed at %s; deploy a version first.", r.Endpoint)
			}
			f.Deployment = Deployment{ID: db.NewID(), Workspace: r.Workspace, Endpoint: r.Endpoint, Environment: r.Environment, Model: r.Model}
		}
		if f.Model != r.Model {
			return "", problem.New(problem.Conflict, "%s belongs to the model %s.", r.Endpoint, f.Model)
		}
		words, err := s.apply(f, r)
		if err != nil {
			return "", err
		}
		f.redact(personal)
		f.LastRequest, f.asked = r.ID, r.Author
		_, err = s.Approvals.Execute(tx, r.ID, words)
		return words, err
	}, r.ID)
	if err != nil {
		return out, fmt.Errorf("execute request %d: %w", r.Number, err)
	}
	out.Deployments, out.Words = []Deployment{d}, d.words()
	return out, nil
}

// apply makes the change of r on f. A suspension names a version that answers, a rollback the one that it leads to.
func (s *Service) apply(f *found, r approval.Request) (string, error) {
	switch r.Kind {
	case approval.Deploy:
		err := f.deploy(r, s.now())
		return f.words(), err
	case approval.Suspend:
		if !slices.ContainsFunc(f.slots(), func(x release.Slot) bool { return x.Version == r.Version }) {
			return "", problem.New(problem.Conflict, "Version %s does not answer at %s; nothing was suspended.", r.VersionName(), f.Endpoint)
		}
		err := f.suspend()
		return f.words(), err
	case approval.Rollback:
		words, err := f.rollback()
		if err == nil && f.Current.Slot.Version != r.Version {
			err = problem.New(problem.Conflict, "A rollback of %s leads to version %d, not to version %d, which was approved.", f.Endpoint, f.Current.Slot.Version, r.Version)
		}
		return words, err
	}
	return "", problem.New(problem.Unsupported, "A change of the kind %s cannot be executed.", r.Kind)
}

// again answers for a request that was executed before.
func (s *Service) again(ctx context.Context, r approval.Request) (Result, error) {
	out := Result{Request: r}
	f, ok, err := s.read(ctx, r.Endpoint)
	if err != nil {
		return out, err
	}
	if r.Kind != approval.Retire && (!ok || f.LastRequest != r.ID) {
		return out, problem.New(problem.Conflict, "Request %d was executed before and something else followed; open a new one.", r.Number)
	}
	if ok {
		out.Deployments, out.Words = []Deployment{f.Deployment}, f.words()
	}
	return out, nil
}

// executeRetirement takes a version out of all endpoints of its model and retires it, in one transaction.
func (s *Service) executeRetirement(ctx context.Context, r approval.Request) (Result, error) {
	out := Result{Request: r}
	envs, err := s.Policies.Environments(ctx)
	if err != nil {
		return out, err
	}
	auto := map[string]bool{}
	for _, e := range envs {
		auto[e.Name] = e.AutoApprove
	}
	var here []found
	if err := s.DB.Read(ctx, func(tx db.Scope) error { here, err = s.store().list(tx, r.Model, "", 1000); return err }); err != nil {
		return out, err
	}
	for _, f := range here {
		if _, _, err := s.checked(ctx, f.Endpoint); err != nil {
			return out, err
		}
	}
	if s.Callers != nil {
		if out.Callers, err = s.Callers.Callers(ctx, r.Model, r.Version, s.now().AddDate(0, 0, -30)); err != nil {
			return out, fmt.Errorf("list the callers of %s: %w", r.VersionName(), err)
		}
	}
	words := fmt.Sprintf("Version %s is retired and loads nowhere any more; its artifact, log and history stay.", r.VersionName())
	var changed []Deployment
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		changed = nil
		list, err := s.store().list(tx, r.Model, "", 1000)
		if err != nil {
			return err
		}
		for _, f := range list {
			if f.Lost {
				return lost(f)
			}
			if r.AutoApprove && !auto[f.Environment] && f.holds(r.Version) {
				return problem.New(problem.Conflict, "Version %s was approved for %s; open its retirement for %s, where people vote on it.", r.VersionName(), f.Environment, f.Environment)
			}
			did, err := f.retire(r.Version, auto[f.Environment])
			if err != nil {
				return err
			}
			if !did {
				continue
			}
			if f.State == Retired {
				f.LastRequest = r.ID
			}
			f.asked = r.Author
			if err := s.issue(tx, &f, "deployment.version-retired", f.words(), r.ID, ""); err != nil {
				return err
			}
			changed = append(changed, f.Deployment)
		}
		if _, err := s.Approvals.Execute(tx, r.ID, words); err != nil {
			return err
		}
		return errors.Join(s.Inventory.Retire(tx, r.Model, r.Version, r.Reason),
			audit.Record(tx, "deployment.version-retired", fmt.Sprintf("model/%s/%d", r.Model, r.Version), map[string]any{"request": r.ID, "number": r.Number, "callers": out.Callers, "words": words}))
	})
	if err != nil {
		return out, fmt.Errorf("execute request %d: %w", r.Number, err)
	}
	out.Deployments, out.Words = changed, words
	s.applied(ctx)
	s.Log.InfoContext(ctx, "version retired", "model", r.Model, "version", r.Version, "request", r.Number)
	return out, nil
}

func lost(f found) error {
	return problem.New(problem.Conflict, "The record of %s was changed outside Keelson and cannot be restored (%s); open a request that deploys a version with all calls at once.", f.Endpoint, f.Broken)
}

// Advance takes the next step of a canary.
func (s *Service) Advance(ctx context.Context, endpoint, reason string) (Deployment, error) {
	return s.act(ctx, endpoint, "deployment.advanced", reason, false, func(_ db.Scope, f *found) (string, error) {
		err := f.advance(s.now())
		return f.words(), err
	})
}

// Rollback undoes the last change in one call: a rollout ends, or the approved version before becomes live. Somebody
// else reviews it afterwards.
func (s *Service) Rollback(ctx context.Context, endpoint, reason string) (Deployment, error) {
	return s.act(ctx, endpoint, "deployment.rolled-back", reason, true, func(_ db.Scope, f *found) (string, error) { return f.rollback() })
}

// Suspend makes the endpoint refuse all calls. Somebody else reviews it afterwards.
func (s *Service) Suspend(ctx context.Context, endpoint, reason string) (Deployment, error) {
	return s.act(ctx, endpoint, "deployment.suspended", reason, true, func(_ db.Scope, f *found) (string, error) {
		err := f.suspend()
		return f.words(), err
	})
}

// RollbackFrom is Rollback for what was found about a version: it fails with Conflict when the change that it would undo
// is another version's, or when the endpoint is suspended, which is for people to end. Version 0 is whichever answers.
func (s *Service) RollbackFrom(ctx context.Context, endpoint string, version int, reason string) (Deployment, error) {
	return s.act(ctx, endpoint, "deployment.rolled-back", reason, true, func(_ db.Scope, f *found) (string, error) {
		if f.State == Suspended {
			return "", problem.New(problem.Conflict, "%s is suspended; rolling back would make it answer again, which a person decides.", endpoint)
		}
		if leaves := f.newest(); version != 0 && leaves != version {
			return "", problem.New(problem.Conflict, "Version %d is not what a roll-back of %s would take out: that is version %d.", version, endpoint, leaves)
		}
		return f.rollback()
	})
}

// SuspendFor is Suspend for what was found about a version: it fails with Conflict when that does not answer here any
// more. Version 0 is whichever answers.
func (s *Service) SuspendFor(ctx context.Context, endpoint string, version int, reason string) (Deployment, error) {
	return s.act(ctx, endpoint, "deployment.suspended", reason, true, func(_ db.Scope, f *found) (string, error) {
		if version != 0 && !slices.ContainsFunc(f.slots(), func(l release.Slot) bool { return l.Version == version }) {
			return "", problem.New(problem.Conflict, "Version %d does not answer at %s any more.", version, endpoint)
		}
		err := f.suspend()
		return f.words(), err
	})
}

// Resume makes a suspended endpoint answer again. Somebody else reviews it afterwards.
func (s *Service) Resume(ctx context.Context, endpoint, reason string) (Deployment, error) {
	return s.act(ctx, endpoint, "deployment.resumed", reason, true, func(_ db.Scope, f *found) (string, error) {
		err := f.resume(s.now())
		return f.words(), err
	})
}

// act is a change that one person or the platform makes inside what was approved.
func (s *Service) act(ctx context.Context, endpoint, action, reason string, review bool, do func(db.Scope, *found) (string, error)) (Deployment, error) {
	who := caller.From(ctx)
	if who.Kind == caller.Person && strings.TrimSpace(reason) == "" {
		return Deployment{}, problem.New(problem.Invalid, "Give a reason; others read it afterwards.").At("reason")
	}
	if len(reason) > 2000 {
		return Deployment{}, problem.New(problem.Invalid, "The reason has %d bytes; the limit is 2000.", len(reason)).At("reason")
	}
	envs, err := s.Policies.Environments(ctx)
	if err != nil {
		return Deployment{}, err
	}
	d, err := s.change(ctx, endpoint, action, reason, func(tx db.Scope, f *found, exists bool) (string, error) {
		if !exists {
			return "", unknown(endpoint)
		}
		if f.Lost {
			return "", lost(*f)
		}
		words, err := do(tx, f)
		if err != nil || !review || who.Kind != caller.Person {
			return words, err
		}
		for _, e := range envs {
			if e.Name == f.Environment && e.AutoApprove {
				return words, nil
			}
		}
		_, err = s.Incidents.OpenIn(tx, incident.New{Kind: incident.Review, Model: f.Model, Endpoint: endpoint, Severity: incident.Low, Key: "review " + db.NewID(),
			Title: fmt.Sprintf("%s changed %s alone; somebody else reviews it.", who.Name, endpoint), Detail: words + " Reason: " + reason})
		return words, err
	}, "")
	if err != nil {
		return d, fmt.Errorf("%s %s: %w", strings.TrimPrefix(action, "deployment."), endpoint, err)
	}
	return d, nil
}

func unknown(endpoint string) error {
	return problem.New(problem.NotFound, "Nothing is deployed at %s.", endpoint)
}

// change runs do on a verified deployment and issues the release of what it left, in one transaction.
func (s *Service) change(ctx context.Context, endpoint, action, reason string, do func(db.Scope, *found, bool) (string, error), request string) (Deployment, error) {
	audited, before, err := s.checked(ctx, endpoint)
	if err != nil {
		return Deployment{}, err
	}
	var d Deployment
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		f, ok, err := s.store().get(tx, endpoint)
		if err != nil {
			return err
		}
		f.rewound(audited, before)
		words, err := do(tx, &f, ok)
		if err != nil {
			return err
		}
		err = s.issue(tx, &f, action, words, request, reason)
		d = f.Deployment
		return err
	})
	if err != nil {
		return d, err
	}
	s.applied(ctx)
	s.Log.InfoContext(ctx, "deployment changed", "deployment", endpoint, "action", action, "serial", d.Serial, "state", d.State)
	return d, nil
}

// issue writes the release of f with its audit entry and event.
func (s *Service) issue(tx db.Scope, f *found, action, words, request, reason string) error {
	var removed []string
	var err error
	if f.Broken != "" {
		if removed, err = s.store().clean(tx, f.Endpoint, f.Serial); err != nil {
			return err
		}
	}
	now := s.now()
	if action != "deployment.renewed" {
		who := caller.From(tx.Ctx)
		f.Change = &Change{At: now, By: who.Name, Act: strings.TrimPrefix(action, "deployment.")}
		if who.Kind == caller.Process && f.asked != "" {
			f.Change.By = f.asked
		}
	}
	digest, err := s.store().issue(tx, &f.Deployment, now)
	if err != nil {
		return err
	}
	detail := map[string]any{
		"models": []string{f.Model}, "environment": f.Environment, "state": f.State, "serial": f.Serial, "slots": brief(f.slots()),
		"release": digest, "words": words,
	}
	for key, v := range map[string]string{"request": request, "reason": reason, "restored_after": f.Broken} {
		if v != "" {
			detail[key] = v
		}
	}
	if len(removed) > 0 {
		detail["removed"] = removed
	}
	n := f.notice()
	n.Words = words
	return errors.Join(audit.Record(tx, action, f.Subject(), detail), event.Publish(tx, Released, f.Subject(), n))
}

func (d Deployment) notice() Notice {
	return Notice{d.Endpoint, d.Environment, d.Model, []string{d.Model}, d.State, d.Serial, brief(d.slots()), d.LastRequest, d.words()}
}

// read gives the deployment of an endpoint as it is; what is broken in it is reported.
func (s *Service) read(ctx context.Context, endpoint string) (f found, ok bool, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { f, ok, err = s.store().get(tx, endpoint); return err })
	if err == nil && f.Broken != "" {
		err = s.alarm(ctx, f)
	}
	return f, ok, err
}

func (s *Service) alarm(ctx context.Context, f found) error {
	s.Log.ErrorContext(ctx, "deployment does not verify", "deployment", f.Endpoint, "why", f.Broken)
	if err := s.Incidents.Tampered(ctx, f.Model, f.Endpoint, "deployment/"+f.Endpoint, f.Broken); err != nil {
		return fmt.Errorf("report the broken deployment %s: %w", f.Endpoint, err)
	}
	return nil
}

// checked reads an endpoint before a change: it gives the largest serial that the audit log knows of and the serial
// the database has, and raises the alarm when something does not fit. The log is read first, so that a change made
// meanwhile never looks like a release that is missing.
func (s *Service) checked(ctx context.Context, endpoint string) (audited, have int64, err error) {
	if s.History != nil {
		entries, err := s.History.List(ctx, audit.Query{Object: "deployment/" + endpoint, Action: "deployment.", Limit: 20})
		if err != nil {
			return 0, 0, fmt.Errorf("read the audit log about %s: %w", endpoint, err)
		}
		for _, e := range entries {
			var d struct {
				Serial int64 `json:"serial"`
			}
			if json.Unmarshal(e.Detail, &d) == nil {
				audited = max(audited, d.Serial)
			}
		}
	}
	f, _, err := s.read(ctx, endpoint)
	if err != nil {
		return 0, 0, err
	}
	have = f.Serial
	if f.rewound(audited, have) {
		f.Endpoint = endpoint
		err = s.alarm(ctx, f)
	}
	return audited, have, err
}

// rewound marks f lost when the audit log knew of a newer release than the database had when both were read.
func (f *found) rewound(audited, have int64) bool {
	if audited <= have {
		return false
	}
	f.Broken, f.Lost = fmt.Sprintf("the audit log knows of release %d, the database has %d", audited, have), true
	f.Serial = max(f.Serial, audited)
	return true
}

// Settled reacts to approval.settled: a request that says so is executed as soon as it is approved. Called again for the
// same event it changes nothing. What cannot be done is audited and left to a person.
func (s *Service) Settled(ctx context.Context, e event.Event) error {
	var n approval.Notice
	if err := json.Unmarshal(e.Data, &n); err != nil || n.State != approval.Approved || !n.WhenApproved {
		return nil
	}
	r, err := s.Approvals.Get(ctx, n.ID)
	if err != nil || r.State(s.now()) != approval.Approved {
		return err
	}
	_, err = s.Execute(ctx, n.ID)
	p, ok := problem.As(err)
	if !ok || p.Kind == problem.Internal || p.Kind == problem.Unavailable || p.Kind == problem.Stored {
		return err
	}
	s.Log.WarnContext(ctx, "an approved request could not be executed", "request", n.Number, "why", p.Detail)
	return s.DB.Write(ctx, func(tx db.Scope) error {
		return errors.Join(
			audit.Record(tx, Blocked, r.Subject(), map[string]any{"models": n.Models, "number": n.Number, "why": p.Detail}),
			event.Publish(tx, Blocked, r.Subject(), Notice{Endpoint: r.Endpoint, Environment: r.Environment, Model: r.Model, Models: n.Models, Request: r.ID, Words: p.Detail}))
	})
}

// Breached reacts to monitor.breached: a canary whose version breached its limits waits for a person.
func (s *Service) Breached(ctx context.Context, e event.Event) error {
	var b struct {
		Endpoint string `json:"endpoint"`
		Version  int    `json:"version"`
	}
	if err := json.Unmarshal(e.Data, &b); err != nil {
		return nil
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		f, ok, err := s.store().get(tx, b.Endpoint)
		if err != nil || !ok || f.Broken != "" || f.State != Rolling || f.Rollout.Held != "" || b.Version != 0 && b.Version != f.Rollout.Slot.Version {
			return err
		}
		f.Rollout.Held = "Its monitor found a breach; a person advances or rolls back."
		return errors.Join(s.store().put(tx, f.Deployment),
			audit.Record(tx, "deployment.held", f.Subject(), map[string]any{"models": []string{f.Model}, "version": f.Rollout.Slot.Version, "why": f.Rollout.Held}))
	})
}
