package approval

import (
	"context"
	"time"

	"keelson/internal/caller"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// View is a request as the API shows it to one caller.
type View struct {
	ID             string         `json:"id"`
	Number         int            `json:"number"`
	Kind           string         `json:"kind" enum:"deploy,retire,suspend,rollback"`
	Model          string         `json:"model"`
	Version        int            `json:"version"`
	Environment    string         `json:"environment"`
	Endpoint       string         `json:"endpoint"`
	ArtifactDigest string         `json:"artifact_digest"`
	Plan           Plan           `json:"plan"`
	PlanDigest     string         `json:"plan_digest"`
	Policy         release.Policy `json:"policy"`
	Reason         string         `json:"reason"`
	Author         string         `json:"author"`
	Authors        []string       `json:"authors" doc:"who made any part; none of them has a vote"`
	OpenedAt       time.Time      `json:"opened_at"`
	ExpiresAt      time.Time      `json:"expires_at"`
	State          string         `json:"state" enum:"open,approved,refused,withdrawn,executed,expired,void"`
	WhenApproved   bool           `json:"when_approved"`
	Need           policy.Need    `json:"need"`
	Votes          []VoteView     `json:"votes"`
	Acts           []ActView      `json:"acts" doc:"what else happened: withdrawal, execution, expiry, voiding"`
	Missing        []string       `json:"missing" doc:"which votes it waits for, in words"`
	Verdict        policy.Verdict `json:"verdict" doc:"what the policy said when it was opened"`
	You            You            `json:"you"`
	Sealed         bool           `json:"sealed" doc:"false when the record was changed outside Keelson"`
	Broken         string         `json:"broken,omitempty" doc:"what does not fit its seal"`
}

// VoteView is one vote. Role is the needed role it stands for; a vote of the policy itself has none.
type VoteView struct {
	By     string    `json:"by"`
	Role   string    `json:"role"`
	Grant  bool      `json:"grant"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// ActView is something else that happened.
type ActView struct {
	Kind   string    `json:"kind"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// You says what the caller may do.
type You struct {
	MayVote     bool   `json:"may_vote"`
	Why         string `json:"why" doc:"why not, with who can; empty when you may"`
	MayWithdraw bool   `json:"may_withdraw"`
}

// View shows r to the caller of ctx.
func (s *Service) View(ctx context.Context, r Request) (View, error) {
	now, who := s.now(), caller.From(ctx)
	v := View{
		ID: r.ID, Number: r.Number, Kind: r.Kind, Model: r.Model, Version: r.Version, Environment: r.Environment, Endpoint: r.Endpoint,
		ArtifactDigest: r.ArtifactDigest, Plan: r.Plan, PlanDigest: r.PlanDigest, Policy: r.Policy, Reason: r.Reason, Author: r.Author,
		Authors: r.Authors, OpenedAt: r.OpenedAt, ExpiresAt: r.ExpiresAt, State: r.State(now), WhenApproved: r.WhenApproved, Need: r.Need,
		Votes: []VoteView{}, Acts: []ActView{}, Missing: r.Missing(now), Verdict: r.Verdict, Sealed: r.Broken == "", Broken: r.Broken,
	}
	if v.Authors == nil {
		v.Authors = []string{}
	}
	if v.Need.Roles == nil {
		v.Need.Roles = []string{}
	}
	if v.Verdict.Reasons == nil {
		v.Verdict.Reasons = []policy.Reason{}
	}
	stands := r.standsFor()
	for _, a := range r.Acts {
		if a.Kind == ActVote {
			role := stands[a.By]
			if role == "" && len(a.Roles) > 0 {
				role = a.Roles[0]
			}
			v.Votes = append(v.Votes, VoteView{a.By, role, a.Grant, a.Reason, a.At})
		} else {
			v.Acts = append(v.Acts, ActView{a.Kind, a.By, a.Reason, a.At})
		}
	}
	v.You.MayWithdraw = r.MayWithdraw(who, now) == nil
	err := r.MayVote(who, now)
	if v.You.MayVote = err == nil; !v.You.MayVote {
		err = s.whoCan(ctx, r, err)
		if problem.KindOf(err) == problem.Internal {
			return v, err
		}
		v.You.Why = err.Error()
	}
	return v, nil
}

// standsFor gives the role each granting person fills.
func (r Request) standsFor() map[string]string {
	var by []string
	for _, a := range r.Votes() {
		if a.Grant && (len(r.Need.Roles) == 0 || len(a.Roles) > 0) {
			by = append(by, a.By)
		}
	}
	_, taken := assign(r.Need.Roles, r.grants())
	out := map[string]string{}
	for i, g := range taken {
		if g >= 0 {
			out[by[g]] = r.Need.Roles[i]
		}
	}
	return out
}
