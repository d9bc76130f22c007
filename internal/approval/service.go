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
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/release"
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

// Proposal is what somebody asks for.
type Proposal struct {
	Kind         string `json:"kind,omitempty" enum:"deploy,retire,suspend,rollback" doc:"deploy when empty"`
	Model        string `json:"model" minLength:"1"`
	Version      int    `json:"version" minimum:"1"`
	Environment  string `json:"environment" minLength:"1"`
	Plan         Plan   `json:"plan,omitzero"`
	Reason       string `json:"reason" required:"false" maxLength:"2000"`
	WhenApproved bool   `json:"when_approved,omitempty" doc:"execute by itself as soon as it is approved"`
}

func (p *Proposal) check() error {
	if p.Kind == "" {
		p.Kind = Deploy
	}
	switch p.Kind {
	case Deploy, Retire, Suspend, Rollback:
	default:
		return problem.New(problem.Invalid, "%q is no kind of change; it is deploy, retire, suspend or rollback.", p.Kind).At("kind")
	}
	if p.Model == "" {
		return problem.New(problem.Invalid, "The request names no model.").At("model")
	}
	if p.Version < 1 {
		return problem.New(problem.Invalid, "The request names no version of %s.", p.Model).At("version")
	}
	if len(p.Reason) > 2000 {
		return problem.New(problem.Invalid, "The reason has %d bytes; the limit is 2000.", len(p.Reason)).At("reason")
	}
	if p.Kind != Deploy && (p.Plan.Mode != "" && p.Plan.Mode != All || len(p.Plan.Steps) > 0) {
		return problem.New(problem.Invalid, "Only a deployment has a rollout plan; a %s takes effect at once.", p.Kind).At("plan")
	}
	return p.Plan.Check()
}

// Open asks for a change in the caller's name. Policy answers at once: a proposal that breaks a rule is refused with
// Invalid whose Fields are the reasons, and nothing is stored. Where the environment approves by itself, the answer is
// approved already, in the policy's name.
func (s *Service) Open(ctx context.Context, p Proposal) (Request, error) {
	var r Request
	if err := p.check(); err != nil {
		return r, err
	}
	who := caller.From(ctx)
	if who.Name == "" {
		return r, problem.New(problem.Unauthenticated, "Sign in to open a change request.")
	}
	env, err := s.Policies.Environment(ctx, p.Environment)
	if err != nil {
		return r, err
	}
	pol, err := s.Policies.Compiled(ctx, env.Policy, 0)
	if err != nil {
		return r, err
	}
	if !env.AutoApprove {
		if anonymous(who) {
			return r, problem.New(problem.Forbidden, "Sign-in is off, so nobody can vote and %s needs votes; start the server with --auth on, or use dev.", env.Name)
		}
		if pol.CreatedBy == who.Name {
			return r, problem.New(problem.Forbidden, "%s wrote version %d of the policy %s and may not open requests under it; somebody else must propose this change.", who.Name, pol.Version, pol.Name)
		}
	}
	v, err := s.Versions.Version(ctx, p.Model, p.Version)
	if err != nil {
		return r, err
	}
	if err := s.fits(ctx, p, env, v); err != nil {
		return r, err
	}
	if err := s.whole(ctx, p, v); err != nil {
		return r, err
	}
	now := s.now()
	r = Request{
		ID: db.NewID(), Workspace: caller.Workspace(ctx), Kind: p.Kind, Model: p.Model, Version: p.Version, Environment: env.Name,
		Endpoint: release.Endpoint(p.Model, env.URLSuffix), AutoApprove: env.AutoApprove,
		ArtifactDigest: v.ArtifactDigest, Format: v.Format, Files: sorted(v.Files), Signature: v.Signature,
		Plan: p.Plan, Policy: release.Policy{Name: pol.Name, Version: pol.Version}, Reason: p.Reason,
		Author: who.Name, Authors: union(who.Name, v.Authors, v.CreatedBy), WhenApproved: p.WhenApproved, OpenedAt: now, ExpiresAt: now.Add(Validity),
	}
	if r.PlanDigest, err = r.Plan.Digest(); err != nil {
		return r, err
	}
	r.Context = v.context(r, env)
	r.Context.Caller = policy.Caller{Name: who.Name, Kind: who.Kind, Roles: who.Roles}
	r.Verdict = pol.Evaluate(ctx, r.Context)
	r.Need = r.Verdict.Need
	if !env.AutoApprove && r.Need.Count < 1 {
		r.Need.Count = 1 // only an environment that approves by itself goes without a person
	}
	if blocking := r.Verdict.Blocking(); len(blocking) > 0 {
		return r, blocked(problem.Invalid, r, blocking)
	}
	if err := s.DB.Write(ctx, func(tx db.Scope) error { return s.insert(tx, &r) }); err != nil {
		return r, fmt.Errorf("open change request: %w", err)
	}
	s.Log.InfoContext(ctx, "change request opened", "request", r.Number, "kind", r.Kind, "model", r.Model, "version", r.Version, "environment", r.Environment, "state", r.State(now))
	return r, nil
}

// blocked is the refusal by policy.
func blocked(kind problem.Kind, r Request, reasons []policy.Reason) error {
	var words []string
	e := problem.New(kind, "")
	for _, why := range reasons {
		words = append(words, why.Message)
		e.With(problem.Field{Field: "policy." + r.Policy.Name + "." + why.Rule, Detail: why.Message, Rule: why.Rule})
	}
	e.Detail = fmt.Sprintf("The policy %s forbids this %s of %s: %s", r.Policy.Name, r.Kind, r.VersionName(), strings.Join(words, " "))
	return e
}

// whole refuses a version whose list of files does not hash to its artifact digest: somebody changed its record.
func (s *Service) whole(ctx context.Context, p Proposal, v Version) error {
	files := make([]inventory.File, 0, len(v.Files))
	for _, f := range v.Files {
		files = append(files, inventory.File{Path: f.Path, Digest: f.Digest, Size: f.Size})
	}
	if v.State != "ready" || inventory.ArtifactDigest(files) == v.ArtifactDigest {
		return nil
	}
	name := fmt.Sprintf("%s/%d", p.Model, p.Version)
	err := problem.New(problem.Conflict, "The files of version %s do not fit its artifact digest; its record was changed outside Keelson. Register it again.", name)
	return errors.Join(err, s.Alarms.Tampered(ctx, p.Model, "", "model/"+name, "its files do not fit its artifact digest"))
}

// fits refuses a change that makes no sense where the endpoint stands.
func (s *Service) fits(ctx context.Context, p Proposal, env policy.Environment, v Version) error {
	if p.Kind == Retire {
		if v.State == "retired" {
			return problem.New(problem.Conflict, "Version %s/%d is retired already.", p.Model, p.Version)
		}
		return nil
	}
	if s.Endpoints == nil {
		return nil
	}
	live, err := s.Endpoints.LiveVersion(ctx, p.Model, env.Name)
	if err != nil {
		return err
	}
	if p.Kind == Deploy && live == 0 && p.Plan.Mode != All {
		return problem.New(problem.Invalid, "Nothing of %s is live in %s that a %s could run beside; use the mode all.", p.Model, env.Name, p.Plan.Mode).At("plan.mode")
	}
	if p.Kind == Deploy && live == p.Version && p.Plan.Mode != All {
		return problem.New(problem.Conflict, "Version %s/%d is live in %s already.", p.Model, p.Version, env.Name)
	}
	if p.Kind != Deploy && live == 0 {
		return problem.New(problem.Conflict, "Nothing of %s is live in %s, so there is nothing to %s.", p.Model, env.Name, p.Kind)
	}
	return nil
}

func (s *Service) insert(tx db.Scope, r *Request) error {
	now := r.OpenedAt
	same, err := s.store().query(tx, "model = $2", "", 200, r.Model)
	if err != nil {
		return err
	}
	for _, o := range same {
		if st := o.State(now); (st == Open || st == Approved) && o.Kind == r.Kind && o.Version == r.Version && o.Environment == r.Environment && o.PlanDigest == r.PlanDigest {
			return problem.New(problem.Conflict, "Request %d asks for the same and is %s.", o.Number, st)
		}
	}
	if r.Number, err = s.store().number(tx); err != nil {
		return err
	}
	r.Acts = nil
	rec, err := s.store().insert(tx, *r)
	if err != nil {
		return err
	}
	if err := errors.Join(
		audit.Record(tx, "approval.opened", r.Subject(), map[string]any{
			"number": r.Number, "kind": r.Kind, "models": []string{r.Model}, "version": r.VersionName(), "environment": r.Environment,
			"artifact_digest": r.ArtifactDigest, "plan": r.Plan, "plan_digest": r.PlanDigest, "policy": r.Policy, "need": r.Need, "reason": r.Reason,
			"authors": r.Authors, "digest": rec.request.digest(),
		}),
		event.Publish(tx, Opened, r.Subject(), r.notice(now)),
		job.Enqueue(tx, expireJob, map[string]string{"id": r.ID}, job.At(r.ExpiresAt)),
	); err != nil {
		return err
	}
	if r.AutoApprove && r.Need.Count == 0 {
		tx.Ctx = caller.System(tx.Ctx, policyName(r.Policy.Name))
		return s.act(tx, r, rec, Act{Kind: ActVote, Grant: true, Reason: fmt.Sprintf("The policy %s version %d allows it without votes.", r.Policy.Name, r.Policy.Version)}, now)
	}
	return nil
}

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

func sorted(files []release.File) []release.File {
	out := slices.Clone(files)
	slices.SortFunc(out, func(a, b release.File) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func union(first string, rest []string, more ...string) []string {
	out := []string{first}
	for _, n := range append(slices.Clone(rest), more...) {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// short is a digest as a person reads it.
func short(digest string) string {
	if hex, ok := strings.CutPrefix(digest, "sha256:"); ok && len(hex) > 12 {
		return hex[:12]
	}
	return digest
}
