// Package approval is the gate: nothing goes live, changes or retires except by a change request that policy and
// people approved.
//
// A request is bound to a version, its artifact digest and files, an environment, a rollout plan and a policy version;
// how many votes it needs was computed by policy when it was opened. What happens to it afterwards is appended as acts
// (votes, withdrawal, execution, expiry, voiding), and its state is computed from them:
//
//	open ── enough grants ──▶ approved ── execution ──▶ executed
//	  │                          │
//	  ├── one refusal ──▶ refused├── withdrawal ──▶ withdrawn
//	  └──────────────────────────┴── time ──▶ expired · another digest or a broken seal ──▶ void
//
// Request and acts are sealed with a key outside the database: every document is signed, every act names the digest of
// the one before, and a signed head says how many there are. A row that is inserted, edited, moved or deleted with SQL
// makes the request void, raises an alarm and is never executed.
//
// The package does not deploy: deployment asks Verified and Execute.
package approval

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// Kinds of change.
const (
	Deploy   = "deploy"   // the version goes to an environment by the plan
	Retire   = "retire"   // the version never loads again
	Suspend  = "suspend"  // the endpoint stops answering
	Rollback = "rollback" // the endpoint returns to the version before
)

// States of a request.
const (
	Open      = "open"
	Approved  = "approved"
	Refused   = "refused"
	Withdrawn = "withdrawn"
	Executed  = "executed"
	Expired   = "expired"
	Void      = "void"
)

// Kinds of act.
const (
	ActVote     = "vote"
	ActWithdraw = "withdraw"
	ActExecute  = "execute"
	ActExpire   = "expire"
	ActVoid     = "void"
)

// Validity is how long a request may be voted on and executed.
const Validity = 14 * 24 * time.Hour

// AuthOffName is the caller's name when the server runs without sign-in; nobody in particular, so without a vote.
const AuthOffName = "local"

// Modes of a plan.
const (
	All    = "all"    // all calls at once
	Canary = "canary" // a growing share, step by step
	Shadow = "shadow" // copies of the calls; answers are logged only
)

// Step is one share of a canary. With no hold it waits for a person; with one or both it goes on by itself when the
// version has answered HoldRows rows in this step and HoldSeconds have passed.
type Step struct {
	Share       int   `json:"share" minimum:"1" maximum:"99" doc:"percent of the calls"`
	HoldRows    int64 `json:"hold_rows,omitempty" minimum:"0"`
	HoldSeconds int64 `json:"hold_seconds,omitempty" minimum:"0"`
}

// Plan is how the version takes over. Its digest is part of what is approved.
type Plan struct {
	Mode       string          `json:"mode" enum:"all,canary,shadow" doc:"all, canary or shadow"`
	Steps      []Step          `json:"steps,omitempty" doc:"of a canary, shares growing"`
	Share      int             `json:"share,omitempty" minimum:"0" maximum:"100" doc:"of a shadow: percent of the calls copied; 0 is all"`
	Durability string          `json:"durability,omitempty" enum:"group,sync,async" doc:"of the prediction log; empty keeps what is there, group at first"`
	Limits     *release.Limits `json:"limits,omitempty" doc:"all of them; left out keeps what is there, an empty object leaves the server's own"`
	Redact     []string        `json:"redact,omitempty" doc:"columns that the prediction log leaves out; hash:COLUMN keeps a keyed hash of each value"`

	AcceptColumns bool `json:"accept_columns,omitempty" doc:"the version reads a matrix by other columns than the one that is live, and the callers know"`
}

const maxSteps = 20

// Check fills defaults and refuses a plan that cannot be carried out; the field is named below "plan".
func (p *Plan) Check() error {
	bad := func(field, format string, a ...any) error {
		return problem.New(problem.Invalid, format, a...).At("plan." + field)
	}
	if p.Mode == "" {
		p.Mode = All
	}
	switch p.Mode {
	case All:
		if len(p.Steps) > 0 {
			return bad("steps", "A plan that moves all calls at once has no steps; use the mode canary.")
		}
	case Canary:
		if len(p.Steps) == 0 || len(p.Steps) > maxSteps {
			return bad("steps", "A canary has 1 to %d steps, this one has %d.", maxSteps, len(p.Steps))
		}
		last := 0
		for i, s := range p.Steps {
			at := fmt.Sprintf("steps[%d]", i)
			if s.Share < 1 || s.Share > 99 {
				return bad(at+".share", "The share of a step is 1 to 99 percent, this one is %d; after the last step all calls move.", s.Share)
			}
			if s.Share <= last {
				return bad(at+".share", "The shares of a canary grow; %d follows %d.", s.Share, last)
			}
			if s.HoldRows < 0 || s.HoldSeconds < 0 || s.HoldSeconds > 90*24*3600 {
				return bad(at, "A step holds for 0 rows or more and for at most 90 days.")
			}
			last = s.Share
		}
	case Shadow:
		if len(p.Steps) > 0 {
			return bad("steps", "A shadow has no steps.")
		}
		if p.Share == 0 {
			p.Share = 100
		}
	default:
		return bad("mode", "%q is no mode of a plan; it is all, canary or shadow.", p.Mode)
	}
	if p.Mode != Shadow && p.Share != 0 {
		return bad("share", "Only a shadow has a share of its own; a canary has steps.")
	}
	if p.Share < 0 || p.Share > 100 {
		return bad("share", "A share is 1 to 100 percent, this one is %d.", p.Share)
	}
	switch p.Durability {
	case "", release.Group, release.Sync, release.Async:
	default:
		return bad("durability", "%q is no durability; it is group, sync or async.", p.Durability)
	}
	if p.Limits == nil {
		return nil
	}
	return p.Limits.Check()
}

// Columns refuses a deployment of version next beside or after version live of a model whose callers it would answer from
// wrong columns: a matrix that is sent without the names of its columns is read by their places, see engine.Rearranged. A
// canary and a shadow are asked beside the live version, so that any difference matters; where all calls move at once, a
// matrix of another width is refused to who sends it, and only one of the same width goes unnoticed. A plan that accepts
// the columns passes, and so does what cannot be compared.
func (p Plan) Columns(model string, live, next int, before, after json.RawMessage) error {
	var a, b engine.Signature
	if p.AcceptColumns || live == next || json.Unmarshal(before, &a) != nil || json.Unmarshal(after, &b) != nil {
		return nil
	}
	for _, r := range a.Rearranged(b) {
		if p.Mode != All && p.Mode != "" || r.SameWidth() {
			return problem.New(problem.Invalid, "Version %s/%d reads the matrix %q by other columns than %s/%d, which is live: %s. Calls that send it without the names of its columns would be answered from wrong ones. Train the version on the columns of version %d in their order; or, if the callers know of the change, accept it in the plan (accept_columns, keelson deploy create --accept-columns).",
				model, next, r.Input, model, live, r.Words(), live).At("plan.accept_columns")
		}
	}
	return nil
}

// Digest identifies the plan.
func (p Plan) Digest() (string, error) {
	b, err := release.Canonical(p)
	return release.Digest(b), err
}

// Request is what was asked for. It never changes after it was opened.
type Request struct {
	ID             string          `json:"id"`
	Number         int             `json:"number"` // per workspace, from 1
	Workspace      string          `json:"workspace"`
	Kind           string          `json:"kind"`
	Model          string          `json:"model"`
	Version        int             `json:"version"`
	Environment    string          `json:"environment"`
	Endpoint       string          `json:"endpoint"`
	AutoApprove    bool            `json:"auto_approve"`
	ArtifactDigest string          `json:"artifact_digest"`
	Format         string          `json:"format"`
	Files          []release.File  `json:"files"`
	Signature      json.RawMessage `json:"signature,omitempty"`
	Plan           Plan            `json:"plan"`
	PlanDigest     string          `json:"plan_digest"`
	Policy         release.Policy  `json:"policy"`
	Reason         string          `json:"reason"`
	Author         string          `json:"author"`
	Authors        []string        `json:"authors"` // who made any part; none of them has a vote
	WhenApproved   bool            `json:"when_approved"`
	Need           policy.Need     `json:"need"`
	Verdict        policy.Verdict  `json:"verdict"`
	Context        policy.Context  `json:"context"` // what the policy was told, for dry runs of later ones
	OpenedAt       time.Time       `json:"opened_at"`
	ExpiresAt      time.Time       `json:"expires_at"`

	Acts   []Act  `json:"-"`
	Broken string `json:"-"` // why the seals do not fit; such a request is void
}

// Act is one thing that happened to a request.
type Act struct {
	Request   string    `json:"request"`
	Workspace string    `json:"workspace"`
	Seq       int       `json:"seq"` // from 1
	Kind      string    `json:"kind"`
	By        string    `json:"by"`
	Roles     []string  `json:"roles"` // of a vote: the roles held that the request needs
	Grant     bool      `json:"grant"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	Previous  string    `json:"previous"` // digest of the act before, of the request for the first
}

// Subject is the request as audit and events name it.
func (r Request) Subject() string { return "approval/" + r.ID }

// VersionName is "screening/2".
func (r Request) VersionName() string { return fmt.Sprintf("%s/%d", r.Model, r.Version) }

// Votes gives the votes in the order they were cast.
func (r Request) Votes() []Act {
	var out []Act
	for _, a := range r.Acts {
		if a.Kind == ActVote {
			out = append(out, a)
		}
	}
	return out
}

// State is what the request has come to at now.
func (r Request) State(now time.Time) string {
	if r.Broken != "" {
		return Void
	}
	refused := false
	for _, a := range r.Acts {
		switch a.Kind {
		case ActVoid:
			return Void
		case ActWithdraw:
			return Withdrawn
		case ActExecute:
			return Executed
		case ActExpire:
			return Expired
		case ActVote:
			refused = refused || !a.Grant
		}
	}
	switch {
	case refused:
		return Refused
	case !now.Before(r.ExpiresAt):
		return Expired
	case r.granted():
		return Approved
	}
	return Open
}

// granted says whether the grants are enough.
func (r Request) granted() bool {
	if r.Need.Count == 0 {
		// Nobody has to vote, but somebody has to say so: the policy, in its own name.
		return slices.ContainsFunc(r.Acts, func(a Act) bool { return a.Kind == ActVote && a.Grant && a.By == policyName(r.Policy.Name) })
	}
	grants := r.grants()
	filled, _ := assign(r.Need.Roles, grants)
	return len(grants) >= r.Need.Count && filled >= min(r.Need.Count, len(r.Need.Roles))
}

func policyName(name string) string { return "policy:" + name }

// grants gives the roles of every grant of a person.
func (r Request) grants() [][]string {
	var out [][]string
	for _, a := range r.Votes() {
		if a.Grant && (len(r.Need.Roles) == 0 || len(a.Roles) > 0) {
			out = append(out, a.Roles)
		}
	}
	return out
}

// assign gives each role to at most one grant and each grant at most one role so that as many roles as possible are
// filled (augmenting paths; Kuhn 1955). taken[i] is the index of the grant that fills roles[i], or -1.
func assign(roles []string, grants [][]string) (filled int, taken []int) {
	taken = make([]int, len(roles))
	for i := range taken {
		taken[i] = -1
	}
	var try func(g int, seen []bool) bool
	try = func(g int, seen []bool) bool {
		for i, role := range roles {
			if seen[i] || !slices.Contains(grants[g], role) {
				continue
			}
			seen[i] = true
			if taken[i] < 0 || try(taken[i], seen) {
				taken[i] = g
				return true
			}
		}
		return false
	}
	for g := range grants {
		if try(g, make([]bool, len(roles))) {
			filled++
		}
	}
	return filled, taken
}

// Missing says in words which votes an open request waits for.
func (r Request) Missing(now time.Time) []string {
	out := []string{}
	if r.State(now) != Open {
		return out
	}
	open, roles := r.missing()
	switch {
	case open == len(roles):
		for _, role := range roles {
			out = append(out, "a vote by "+role)
		}
	case open == 1:
		out = append(out, "a vote by "+strings.Join(roles, " or "))
	case open > 1:
		out = append(out, fmt.Sprintf("%d votes of different roles among %s", open, strings.Join(roles, ", ")))
	}
	if more := r.Need.Count - len(r.grants()) - open; more > 0 {
		who := "anybody who may vote"
		if len(r.Need.Roles) > 0 {
			who = strings.Join(r.Need.Roles, " or ")
		}
		out = append(out, fmt.Sprintf("%d more by %s", more, who))
	}
	return out
}

// missing gives how many roles must still be filled and which are not filled yet.
func (r Request) missing() (open int, roles []string) {
	filled, taken := assign(r.Need.Roles, r.grants())
	if open = min(r.Need.Count, len(r.Need.Roles)) - filled; open <= 0 {
		return 0, nil
	}
	for i, role := range r.Need.Roles {
		if taken[i] < 0 {
			roles = append(roles, role)
		}
	}
	return open, roles
}

// MayVote fails with the reason why c has no vote on r at now: Conflict when it is settled or c has voted, Forbidden
// otherwise. The rules hold whatever the policy says.
func (r Request) MayVote(c caller.Caller, now time.Time) error {
	if st := r.State(now); st != Open {
		return problem.New(problem.Conflict, "Request %d is already %s.", r.Number, st)
	}
	switch {
	case anonymous(c) || c.Name == "":
		return problem.New(problem.Forbidden, "Sign-in is off, so nobody can be told apart and nobody can vote; start the server with --auth on.")
	case c.Kind != caller.Person:
		return problem.New(problem.Forbidden, "%s is not a person; service accounts and the platform itself cannot vote.", c.Name)
	case slices.Contains(r.Authors, c.Name):
		part := "made part of version " + r.VersionName()
		if c.Name == r.Author {
			part = fmt.Sprintf("opened request %d for version %s", r.Number, r.VersionName())
		}
		return problem.New(problem.Forbidden, "%s %s and may not vote on it.", c.Name, part)
	}
	for _, v := range r.Votes() {
		if v.By == c.Name {
			return problem.New(problem.Conflict, "%s has already voted on request %d.", c.Name, r.Number)
		}
	}
	if len(r.Need.Roles) > 0 && len(r.roles(c)) == 0 {
		return problem.New(problem.Forbidden, "Request %d needs votes by %s; %s is none of them.", r.Number, strings.Join(r.Need.Roles, " and "), c.Name)
	}
	return nil
}

// anonymous reports that c is everybody on this machine because sign-in is off.
func anonymous(c caller.Caller) bool {
	return c.Has(access.Local) || c.Kind == caller.Person && c.Name == AuthOffName
}

// roles are those of c that r needs, in r's order.
func (r Request) roles(c caller.Caller) []string {
	out := []string{}
	for _, role := range r.Need.Roles {
		if c.Has(role) {
			out = append(out, role)
		}
	}
	return out
}

// MayWithdraw lets the author take back what is not settled.
func (r Request) MayWithdraw(c caller.Caller, now time.Time) error {
	if st := r.State(now); st != Open && st != Approved {
		return problem.New(problem.Conflict, "Request %d is already %s.", r.Number, st)
	}
	if c.Name != r.Author {
		return problem.New(problem.Forbidden, "Only %s, who opened request %d, may withdraw it; others refuse it by a vote.", r.Author, r.Number)
	}
	return nil
}

// MayExecute fails with Conflict unless r is approved at now.
func (r Request) MayExecute(now time.Time) error {
	switch st := r.State(now); st {
	case Approved:
		return nil
	case Open:
		return problem.New(problem.Conflict, "Request %d is not approved yet; it waits for %s.", r.Number, strings.Join(r.Missing(now), " and "))
	case Void:
		return problem.New(problem.Conflict, "Request %d is void (%s); open a new one.", r.Number, r.voidReason())
	case Expired:
		return problem.New(problem.Conflict, "Request %d expired on %s; open a new one.", r.Number, r.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC"))
	default:
		return problem.New(problem.Conflict, "Request %d is already %s; open a new one.", r.Number, st)
	}
}

func (r Request) voidReason() string {
	if r.Broken != "" {
		return "its record was changed outside Keelson: " + r.Broken
	}
	for _, a := range r.Acts {
		if a.Kind == ActVoid {
			return a.Reason
		}
	}
	return "it was voided"
}
