package approval

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/seal"
)

// Events of this noun; their data is a Notice.
const (
	Opened  = "approval.opened"
	Voted   = "approval.voted"
	Settled = "approval.settled" // approved, refused, withdrawn, expired or void; executed is deployment's news
)

// Notice is the data of an event.
type Notice struct {
	ID           string   `json:"id"`
	Number       int      `json:"number"`
	Kind         string   `json:"kind"`
	Model        string   `json:"model"`
	Version      int      `json:"version"`
	Environment  string   `json:"environment"`
	State        string   `json:"state"`
	WhenApproved bool     `json:"when_approved"`
	Models       []string `json:"models"`
}

const expireJob = "approval.expire"

// Service opens requests and takes votes. DB, Key, Policies, Versions, Alarms, Now and Log are required; without the
// others the answers say less.
type Service struct {
	DB        *db.DB
	Key       *seal.Key
	Log       *slog.Logger
	Now       func() time.Time
	Policies  *policy.Service
	Versions  versions
	Alarms    alarms
	Endpoints endpoints
	Callers   callers
	People    people
	History   history // the audit log; votes that it knows of and the database lost are noticed
}

func (s *Service) store() store { return store{s.Key, s.Key.Public()} }

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// act appends a to r in the caller's name, with its audit entry and its events.
func (s *Service) act(tx db.Scope, r *Request, rec record, a Act, now time.Time) error {
	before := r.State(now)
	a.Request, a.Workspace, a.By, a.At = r.ID, r.Workspace, caller.From(tx.Ctx).Name, now
	if a.Roles == nil {
		a.Roles = []string{}
	}
	if err := s.store().append(tx, rec, &a); err != nil {
		return err
	}
	r.Acts = append(r.Acts[:len(r.Acts):len(r.Acts)], a)
	after := r.State(now)
	detail := map[string]any{
		"act": a.Seq, "number": r.Number, "kind": r.Kind, "models": []string{r.Model}, "version": r.VersionName(),
		"environment": r.Environment, "reason": a.Reason, "state": after,
	}
	action, news := "approval.voted", Voted
	switch a.Kind {
	case ActVote:
		detail["grant"], detail["roles"] = a.Grant, a.Roles
	case ActWithdraw:
		action, news = "approval.withdrawn", ""
	case ActExecute:
		action, news = "approval.executed", ""
	case ActExpire:
		action, news = "approval.expired", ""
	case ActVoid:
		action, news = "approval.voided", ""
	}
	err := audit.Record(tx, action, r.Subject(), detail)
	if news != "" {
		err = errors.Join(err, event.Publish(tx, news, r.Subject(), r.notice(now)))
	}
	if before != after && after != Executed {
		err = errors.Join(err, event.Publish(tx, Settled, r.Subject(), r.notice(now)))
	}
	return err
}

func (r Request) notice(now time.Time) Notice {
	return Notice{r.ID, r.Number, r.Kind, r.Model, r.Version, r.Environment, r.State(now), r.WhenApproved, []string{r.Model}}
}

// Get reads a request by id or number. One whose seals do not fit comes back void, and the alarm is raised.
func (s *Service) Get(ctx context.Context, ref string) (r Request, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { r, _, err = s.store().get(tx, ref); return err })
	if err == nil && r.Broken != "" {
		err = s.alarm(ctx, r)
	}
	return r, err
}

// alarm tells incidents about a broken request; it never hides the request's own state.
func (s *Service) alarm(ctx context.Context, r Request) error {
	s.Log.ErrorContext(ctx, "change request does not verify", "request", r.ID, "why", r.Broken)
	if err := s.Alarms.Tampered(ctx, r.Model, r.Endpoint, r.Subject(), r.Broken); err != nil {
		return fmt.Errorf("report the broken change request %s: %w", r.ID, err)
	}
	return nil
}

// Vote casts a vote in the caller's name and gives the request after it.
func (s *Service) Vote(ctx context.Context, ref string, grant bool, reason string) (Request, error) {
	if strings.TrimSpace(reason) == "" {
		return Request{}, problem.New(problem.Invalid, "Give a reason for the vote; the author reads it.").At("reason")
	}
	if len(reason) > 2000 {
		return Request{}, problem.New(problem.Invalid, "The reason has %d bytes; the limit is 2000.", len(reason)).At("reason")
	}
	r, err := s.current(ctx, ref)
	if err != nil {
		return r, err
	}
	who := caller.From(ctx)
	if err := r.MayVote(who, s.now()); err != nil {
		return r, s.whoCan(ctx, r, err)
	}
	err = s.change(ctx, r.ID, func(tx db.Scope, r *Request, rec record, now time.Time) error {
		if err := r.MayVote(who, now); err != nil {
			return err
		}
		return s.act(tx, r, rec, Act{Kind: ActVote, Roles: r.roles(who), Grant: grant, Reason: reason}, now)
	}, &r)
	if err != nil {
		return r, fmt.Errorf("vote on request %s: %w", ref, err)
	}
	s.Log.InfoContext(ctx, "vote cast", "request", r.Number, "by", who.Name, "grant", grant, "state", r.State(s.now()))
	return r, nil
}

// Withdraw takes a request back in its author's name.
func (s *Service) Withdraw(ctx context.Context, ref, reason string) (r Request, err error) {
	who := caller.From(ctx)
	err = s.change(ctx, ref, func(tx db.Scope, r *Request, rec record, now time.Time) error {
		if err := r.MayWithdraw(who, now); err != nil {
			return err
		}
		return s.act(tx, r, rec, Act{Kind: ActWithdraw, Reason: reason}, now)
	}, &r)
	return r, err
}

// change runs do on a verified request in one transaction and copies the result to out.
func (s *Service) change(ctx context.Context, ref string, do func(db.Scope, *Request, record, time.Time) error, out *Request) error {
	var r Request
	err := s.DB.Write(ctx, func(tx db.Scope) (err error) {
		var rec record
		if r, rec, err = s.store().get(tx, ref); err != nil {
			return err
		}
		if r.Broken != "" {
			return r.MayExecute(s.now())
		}
		return do(tx, &r, rec, s.now())
	})
	*out = r
	if r.Broken != "" {
		err = errors.Join(err, s.alarm(ctx, r))
	}
	return err
}

// current is Get for those who are about to act: a request whose version was replaced is voided first.
func (s *Service) current(ctx context.Context, ref string) (Request, error) {
	r, err := s.Get(ctx, ref)
	if err != nil {
		return r, err
	}
	if st := r.State(s.now()); st != Open && st != Approved {
		return r, nil
	}
	v, err := s.Versions.Version(ctx, r.Model, r.Version)
	if err != nil {
		return r, err
	}
	why := replaced(r, v)
	if why == "" {
		return r, nil
	}
	err = s.change(caller.System(ctx, "approval"), r.ID, func(tx db.Scope, r *Request, rec record, now time.Time) error {
		if st := r.State(now); st != Open && st != Approved {
			return nil
		}
		return s.act(tx, r, rec, Act{Kind: ActVoid, Reason: why}, now)
	}, &r)
	if err == nil {
		s.Log.WarnContext(ctx, "change request voided", "request", r.Number, "why", why)
	}
	return r, err
}

// replaced says in words what is not as it was approved; empty when nothing is.
func replaced(r Request, v Version) string {
	switch {
	case v.ArtifactDigest != r.ArtifactDigest:
		return fmt.Sprintf("the artifact of %s was replaced: %s instead of %s", r.VersionName(), short(v.ArtifactDigest), short(r.ArtifactDigest))
	case !slices.Equal(sorted(v.Files), r.Files):
		return fmt.Sprintf("the files of %s were replaced", r.VersionName())
	case v.Format != r.Format:
		return fmt.Sprintf("the format of %s was changed from %s to %s", r.VersionName(), r.Format, v.Format)
	}
	return ""
}

// Verified gives a request that may be executed: its seals fit, the audit log knows of no act that is missing, its
// version is the one approved, the policy it was opened under still allows it, and it is approved. Whoever executes
// calls it before Execute. The failure is a Conflict in words; tampering raises the alarm.
func (s *Service) Verified(ctx context.Context, ref string) (Request, error) {
	r, err := s.current(ctx, ref)
	if err != nil {
		return r, err
	}
	if r.Broken == "" && s.History != nil {
		if r.Broken, err = s.missed(ctx, r); err != nil {
			return r, err
		}
		if r.Broken != "" {
			if err := s.alarm(ctx, r); err != nil {
				return r, err
			}
		}
	}
	if err := r.MayExecute(s.now()); err != nil {
		return r, err
	}
	return r, s.allowed(ctx, r)
}

// missed compares the acts with the audit log's entries about them.
func (s *Service) missed(ctx context.Context, r Request) (string, error) {
	entries, err := s.History.List(ctx, audit.Query{Object: r.Subject(), Action: "approval.", Limit: 500})
	if err != nil {
		return "", fmt.Errorf("read the audit log about request %d: %w", r.Number, err)
	}
	for _, e := range entries {
		var d struct {
			Act int `json:"act"`
		}
		if db.FromJSON(string(e.Detail), &d) == nil && d.Act > len(r.Acts) {
			return fmt.Sprintf("the audit log knows of act %d (%s by %s), which is missing", d.Act, e.Action, e.Actor), nil
		}
	}
	return "", nil
}

// allowed asks the policy version of the request again, with what is known now.
func (s *Service) allowed(ctx context.Context, r Request) error {
	env, err := s.Policies.Environment(ctx, r.Environment)
	if err != nil {
		return err
	}
	pol, err := s.Policies.Compiled(ctx, r.Policy.Name, r.Policy.Version)
	if err != nil {
		return err
	}
	v, err := s.Versions.Version(ctx, r.Model, r.Version)
	if err != nil {
		return err
	}
	in := v.context(r, env)
	who := caller.From(ctx)
	in.Caller = policy.Caller{Name: who.Name, Kind: who.Kind, Roles: who.Roles}
	if reasons := pol.Evaluate(ctx, in).Blocking(); len(reasons) > 0 {
		return blocked(problem.Conflict, r, reasons)
	}
	return nil
}

// Execute records in tx that the change is carried out, in the same transaction as the change itself, so that it
// happens exactly once. The request is read and verified again.
func (s *Service) Execute(tx db.Scope, id, what string) (Request, error) {
	r, rec, err := s.store().get(tx, id)
	if err != nil {
		return r, err
	}
	now := s.now()
	if err := r.MayExecute(now); err != nil {
		return r, err
	}
	return r, s.act(tx, &r, rec, Act{Kind: ActExecute, Reason: what}, now)
}

// Jobs registers the work of this noun.
func (s *Service) Jobs(r *job.Runner) {
	r.Handle(expireJob, func(ctx context.Context, j job.Job) error {
		var args struct {
			ID string `json:"id"`
		}
		if err := j.Bind(&args); err != nil {
			return err
		}
		return s.expire(ctx, args.ID)
	})
}

// expire writes down that a request ran out of time; calling it again changes nothing.
func (s *Service) expire(ctx context.Context, id string) error {
	var r Request
	return s.change(ctx, id, func(tx db.Scope, r *Request, rec record, now time.Time) error {
		recorded := slices.ContainsFunc(r.Acts, func(a Act) bool { return a.Kind == ActExpire })
		if r.State(now) != Expired || recorded {
			return nil
		}
		if err := s.act(tx, r, rec, Act{Kind: ActExpire, Reason: "Nobody settled and executed it in time."}, now); err != nil {
			return err
		}
		return event.Publish(tx, Settled, r.Subject(), r.notice(now))
	}, &r)
}

// whoCan adds to a refusal the names of those who can.
func (s *Service) whoCan(ctx context.Context, r Request, err error) error {
	e, ok := problem.As(err)
	if !ok || e.Kind != problem.Forbidden || s.People == nil {
		return err
	}
	names, lookup := s.voters(ctx, r)
	if lookup != nil {
		return lookup
	}
	if len(names) == 0 {
		e.Detail += " Nobody else holds " + strings.Join(r.openRoles(), " or ") + " yet; ask an administrator to give somebody the role."
	} else {
		e.Detail += " " + strings.Join(names, ", ") + " can."
	}
	return e
}

func (r Request) openRoles() []string {
	if _, roles := r.missing(); len(roles) > 0 {
		return roles
	}
	return r.Need.Roles
}

// voters are the people who may still vote on r, each with the role that counts.
func (s *Service) voters(ctx context.Context, r Request) ([]string, error) {
	roles := r.openRoles()
	if len(roles) == 0 || s.People == nil {
		return nil, nil
	}
	list, err := s.People.WithRoles(ctx, roles)
	if err != nil {
		return nil, fmt.Errorf("look for people who can vote: %w", err)
	}
	var out []string
	for _, p := range list {
		if slices.Contains(r.Authors, p.Name) || slices.ContainsFunc(r.Votes(), func(a Act) bool { return a.By == p.Name }) {
			continue
		}
		for _, role := range roles {
			if slices.Contains(p.Roles, role) {
				out = append(out, fmt.Sprintf("%s (%s)", p.Name, role))
				break
			}
		}
	}
	sort.Strings(out)
	return out, nil
}

// Past gives recorded requests for policy.Try.
func (s *Service) Past(ctx context.Context, name string, limit int) (out []policy.Recorded, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		rows, err := s.store().query(tx, "$2 = $2", "", 1000, name)
		for _, r := range rows {
			if len(out) < limit && r.Broken == "" && r.Policy.Name == name {
				out = append(out, policy.Recorded{Number: r.Number, Allowed: true, Need: r.Need, Context: r.Context})
			}
		}
		return err
	})
	return out, err
}

// short is a digest as a person reads it.
func short(digest string) string {
	if hex, ok := strings.CutPrefix(digest, "sha256:"); ok && len(hex) > 12 {
		return hex[:12]
	}
	return digest
}
