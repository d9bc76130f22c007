package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/release"
)

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
	if p.Kind != Deploy || live == 0 {
		return nil
	}
	before, err := s.Versions.Version(ctx, p.Model, live)
	if err != nil {
		return fmt.Errorf("compare with the live version: %w", err)
	}
	return p.Plan.Columns(p.Model, live, p.Version, before.Signature, v.Signature)
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
		job.Enqueue(tx, expireJob, map[string]string{"id": r.ID}, job.Queue(job.Urgent), job.At(r.ExpiresAt)),
	); err != nil {
		return err
	}
	if r.AutoApprove && r.Need.Count == 0 {
		tx.Ctx = caller.System(tx.Ctx, policyName(r.Policy.Name))
		return s.act(tx, r, rec, Act{Kind: ActVote, Grant: true, Reason: fmt.Sprintf("The policy %s version %d allows it without votes.", r.Policy.Name, r.Policy.Version)}, now)
	}
	return nil
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
