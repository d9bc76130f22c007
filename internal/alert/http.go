package alert

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"keelson/internal/access"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Routes mounts the alerts and their policies.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/alerts"
	rest.Get(a, base, "alert.read", "List alerts, newest first", s.getList)
	rest.Get(a, base+"/{id}", "alert.read", "Show an alert", s.getOne)
	rest.Post(a, base+"/{id}/ack", "alert.write", "Acknowledge an alert", s.postAck)
	rest.Post(a, base+"/{id}/silence", "alert.write", "Silence an alert until a time", s.postSilence)
	rest.Post(a, base+"/{id}/release", "alert.write", "Take back an acknowledgement or a silence", s.postRelease)
	rest.Post(a, base+"/{id}/assign", "alert.write", "Hand an alert to somebody", s.postAssign)
	rest.Get(a, "/api/v1/alert-policies", "alert.read", "List the policies of alerts: that of the workspace and those of models", s.getPolicies)
	rest.Get(a, "/api/v1/alert-policy", "alert.read", "The policy of alerts that holds for a model, or for the workspace", s.getPolicy)
	rest.Put(a, "/api/v1/alert-policy", "alert.write", "Change the policy of alerts of a model, or of the workspace", s.putPolicy)
	rest.Delete(a, "/api/v1/alert-policy", "alert.write", "Take back the policy of alerts of a model, or of the workspace", s.deletePolicy, rest.Status(http.StatusOK))
	rest.Get(a, "/api/v1/alert-policy/versions", "alert.read", "The versions of a policy of alerts, newest first", s.getPolicyVersions)
}

type listInput struct {
	rest.Paging
	State    string `query:"state" enum:"pending,open,acknowledged,silenced,recovered,active," doc:"active is all but recovered; empty leaves out pending"`
	Endpoint string `query:"endpoint"`
	Model    string `query:"model"`
	Kind     string `query:"kind" enum:"data,prediction,result,quality,fairness,operation,crash,"`
	Severity string `query:"severity" enum:"warning,critical,"`
	Incident string `query:"incident" doc:"only those of this incident"`
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[Alert], error) {
	var all []Alert
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		all, err = list(tx, filter{in.State, in.Endpoint, in.Model, in.Kind, in.Severity, in.Incident}, in.Cursor, in.Limit+1, s.now())
		return err
	})
	return rest.Paged(all, in.Limit, func(a Alert) string { return a.ID }), err
}

type idInput struct {
	ID string `path:"id" doc:"alert"`
}

func (s *Service) getOne(ctx context.Context, in *idInput) (Alert, error) { return s.Get(ctx, in.ID) }

type ackInput struct {
	ID   string `path:"id" doc:"alert"`
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"2000" doc:"what you found or do about it"`
	}
}

func (s *Service) postAck(ctx context.Context, in *ackInput) (Alert, error) {
	return s.Acknowledge(ctx, in.ID, in.Body.Reason)
}

func (s *Service) postRelease(ctx context.Context, in *ackInput) (Alert, error) {
	return s.Release(ctx, in.ID, in.Body.Reason)
}

type silenceInput struct {
	ID   string `path:"id" doc:"alert"`
	Body struct {
		Reason string    `json:"reason" minLength:"1" maxLength:"2000"`
		Until  time.Time `json:"until" doc:"at most a year ahead"`
	}
}

func (s *Service) postSilence(ctx context.Context, in *silenceInput) (Alert, error) {
	return s.Silence(ctx, in.ID, in.Body.Reason, in.Body.Until)
}

type assignInput struct {
	ID   string `path:"id" doc:"alert"`
	Body struct {
		Owner  string `json:"owner" minLength:"1" maxLength:"250"`
		Reason string `json:"reason,omitempty" maxLength:"2000"`
	}
}

func (s *Service) postAssign(ctx context.Context, in *assignInput) (Alert, error) {
	return s.Assign(ctx, in.ID, in.Body.Owner, in.Body.Reason)
}

// PolicyOf gives the policy that holds for a model: its own, the workspace's, or what comes with the program.
func (s *Service) PolicyOf(ctx context.Context, model string) (p Policy, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { p, err = holding(tx, model, ""); return err })
	return p, err
}

// holding gives the first policy that there is of some models ("" is the workspace's), else what comes with the program.
func holding(tx db.Scope, models ...string) (Policy, error) {
	for _, of := range models {
		if own, found, err := policyOf(tx, of); err != nil || found {
			return own, err
		}
	}
	return Default(), nil
}

// may refuses a policy whose actions its writer may not do.
func may(ctx context.Context, p *Policy) error {
	who := caller.From(ctx)
	for _, n := range p.needs() {
		if !access.Can(who, n) {
			return problem.New(problem.Forbidden, "%s may not have a policy do what needs the permission %s; ask somebody who has it.", who.Name, n).At("actions")
		}
	}
	return nil
}

// DropPolicy takes the policy of a model back, so that the workspace's holds for it, or for "" the workspace's, so that the
// program's does; its versions stay. It gives what holds now. It fails with problem.NotFound when there is none, and with
// problem.Forbidden when what would hold does what the caller may not.
func (s *Service) DropPolicy(ctx context.Context, model, why string) (next Policy, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		old, found, err := policyOf(tx, model)
		if err != nil {
			return err
		}
		if !found {
			return problem.New(problem.NotFound, "There is no policy of its own for %q; keelson alert policy get shows what holds.", model).At("model")
		}
		if next = Default(); model != "" {
			if next, err = holding(tx, ""); err != nil {
				return err
			}
		}
		if err := may(ctx, &next); err != nil {
			return err
		}
		gone := old
		gone.Dropped, gone.Note, gone.Version, gone.CreatedBy, gone.CreatedAt = true, why, old.Version+1, caller.From(ctx).Name, s.now()
		return errors.Join(insertPolicy(tx, gone), audit.Record(tx, "alert.policy-dropped", "alert-policy/"+model, map[string]any{"models": modelsOf(model), "version": old.Version, "reason": why}))
	})
	if db.IsUnique(err) {
		err = problem.New(problem.Conflict, "Somebody else changed this policy at the same moment; read it and try again.")
	}
	return next, err
}

func (s *Service) deletePolicy(ctx context.Context, in *struct {
	Model  string `query:"model" maxLength:"200" doc:"empty: the workspace's"`
	Reason string `query:"reason" maxLength:"2000" doc:"why"`
}) (Policy, error) {
	return s.DropPolicy(ctx, in.Model, in.Reason)
}

// PutPolicy makes the next version of the policy of a model, or of the workspace for "". Nobody may have done by a policy
// what they may not do themselves.
func (s *Service) PutPolicy(ctx context.Context, p Policy) (Policy, error) {
	return s.save(ctx, p, nil)
}

// save is PutPolicy, refused with problem.Conflict when another version than seen holds.
func (s *Service) save(ctx context.Context, p Policy, seen *int) (Policy, error) {
	if err := p.Check(); err != nil {
		return p, err
	}
	if err := may(ctx, &p); err != nil {
		return p, err
	}
	if p.Escalate == nil {
		p.Escalate = []Step{}
	}
	if p.Actions == nil {
		p.Actions = []Action{}
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		old, _, err := policyOf(tx, p.Model)
		if err != nil {
			return err
		}
		if seen != nil {
			holds, err := holding(tx, p.Model, "")
			if err != nil {
				return err
			}
			if holds.Version != *seen {
				return problem.New(problem.Conflict, "Somebody else changed this policy meanwhile: version %d holds now. Read it and change it again.", holds.Version).At("version")
			}
		}
		p.Version, p.CreatedBy, p.CreatedAt, p.Dropped = old.Version+1, caller.From(ctx).Name, s.now(), false
		return errors.Join(insertPolicy(tx, p), audit.Record(tx, "alert.policy-changed", "alert-policy/"+p.Model, map[string]any{"models": modelsOf(p.Model), "version": p.Version,
			"policy": p, "reason": p.Note}))
	})
	if db.IsUnique(err) {
		err = problem.New(problem.Conflict, "Somebody else changed this policy at the same moment; read it and change it again.")
	}
	return p, err
}

type policyInput struct {
	Model string `query:"model" maxLength:"200" doc:"empty: the workspace's"`
}

func (s *Service) getPolicy(ctx context.Context, in *policyInput) (Policy, error) {
	p, err := s.PolicyOf(ctx, in.Model)
	return p, err
}

func (s *Service) getPolicies(ctx context.Context, _ *struct{}) ([]Policy, error) {
	var out []Policy
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = ownPolicies(tx); return err })
	if !slices.ContainsFunc(out, func(p Policy) bool { return p.Model == "" }) {
		out = append([]Policy{Default()}, out...)
	}
	return out, err
}

type putPolicyInput struct {
	Model string `query:"model" maxLength:"200" doc:"empty: the workspace's"`
	Body  struct {
		Version       *int     `json:"version,omitempty" doc:"the version that was read: refused when another one holds meanwhile"`
		Windows       *int     `json:"windows,omitempty"`
		Good          *int     `json:"good,omitempty"`
		MinRows       *int     `json:"min_rows,omitempty"`
		MinImportance *float64 `json:"min_importance,omitempty"`
		ErrorRate     *float64 `json:"error_rate,omitempty"`
		P95MS         *float64 `json:"p95_ms,omitempty"`
		MinCalls      *int     `json:"min_calls,omitempty"`
		Close         *bool    `json:"close,omitempty"`
		Escalate      []Step   `json:"escalate,omitempty" doc:"left out: stays as it is; an empty list: nobody"`
		Actions       []Action `json:"actions,omitempty" doc:"left out: stay as they are; an empty list: none"`
		Note          string   `json:"note,omitempty" maxLength:"2000" doc:"why"`
	}
}

func (s *Service) putPolicy(ctx context.Context, in *putPolicyInput) (Policy, error) {
	p, err := s.PolicyOf(ctx, in.Model)
	if err != nil {
		return p, err
	}
	b := in.Body
	p.Model, p.Note = in.Model, b.Note
	set(&p.Windows, b.Windows)
	set(&p.Good, b.Good)
	set(&p.MinRows, b.MinRows)
	set(&p.MinImportance, b.MinImportance)
	set(&p.ErrorRate, b.ErrorRate)
	set(&p.P95MS, b.P95MS)
	set(&p.MinCalls, b.MinCalls)
	set(&p.Close, b.Close)
	if b.Escalate != nil {
		p.Escalate = b.Escalate
	}
	if b.Actions != nil {
		p.Actions = b.Actions
	}
	return s.save(ctx, p, b.Version)
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Service) getPolicyVersions(ctx context.Context, in *policyInput) ([]Policy, error) {
	out := []Policy{}
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		list, err := policies(tx, in.Model, 100)
		out = append(out[:0], list...)
		return err
	})
	return out, err
}
