package policy

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

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/seal"
)

// past gives what was asked for before under a policy, for dry runs; approval.Service has it.
type past interface {
	// Past gives up to limit recorded requests under the policy, newest first.
	Past(ctx context.Context, policy string, limit int) ([]Recorded, error)
}

// history is the audit log; audit.Log has it.
type history interface {
	List(ctx context.Context, q audit.Query) ([]audit.Entry, error)
}

// Recorded is a request of the past with what was known when it was opened.
type Recorded struct {
	Number  int     `json:"number"`
	Allowed bool    `json:"allowed"`
	Need    Need    `json:"need"`
	Context Context `json:"context"`
}

// Service keeps policies and environments. All fields but Past and History are required.
type Service struct {
	DB      *db.DB
	Key     *seal.Key
	Log     *slog.Logger
	Now     func() time.Time
	Past    past    // nil: no dry runs
	History history // nil: a newest version that was deleted with SQL goes unnoticed

	mu       sync.Mutex
	ensured  map[string]bool
	compiled map[string]*Compiled // by digest of the document
}

func (s *Service) store() store { return store{s.Key} }

// ensure gives a workspace the shipped policies and environments, once.
func (s *Service) ensure(ctx context.Context) error {
	ws := caller.Workspace(ctx)
	s.mu.Lock()
	done := s.ensured[ws]
	s.mu.Unlock()
	if done {
		return nil
	}
	var have int
	if err := s.DB.Read(ctx, func(tx db.Scope) error {
		return tx.QueryRow("SELECT COUNT(*) FROM environment WHERE workspace = $1", tx.Workspace).Scan(&have)
	}); err != nil {
		return err
	}
	if have == 0 {
		err := s.DB.Write(caller.System(ctx, Shipped), s.ship)
		if err != nil && !db.IsUnique(err) { // unique: another process was faster
			return fmt.Errorf("give workspace %s its policies: %w", ws, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ensured == nil {
		s.ensured = map[string]bool{}
	}
	s.ensured[ws] = true
	return nil
}

func (s *Service) ship(tx db.Scope) error {
	for _, p := range defaultPolicies() {
		var have bool
		if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM policy WHERE workspace = $1 AND name = $2)", tx.Workspace, p.Name).Scan(&have); err != nil {
			return err
		}
		if have {
			continue
		}
		p.CreatedAt = s.Now().UTC().Truncate(time.Microsecond)
		if err := errors.Join(s.store().insertPolicy(tx, p), audit.Record(tx, "policy.shipped", "policy/"+p.Name, map[string]any{"version": 1})); err != nil {
			return err
		}
	}
	for _, e := range defaultEnvironments() {
		if err := s.store().insertEnvironment(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// Environments lists the environments of the workspace in their order.
func (s *Service) Environments(ctx context.Context) (out []Environment, err error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = s.store().environments(tx, ""); return err })
	slices.SortFunc(out, func(a, b Environment) int { return a.Position - b.Position })
	return out, err
}

// Environment gives one by name; an unknown one is Invalid and names those there are.
func (s *Service) Environment(ctx context.Context, name string) (Environment, error) {
	all, err := s.Environments(ctx)
	if err != nil {
		return Environment{}, err
	}
	var names []string
	for _, e := range all {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Environment{}, problem.New(problem.Invalid, "There is no environment %q; there are %s.", name, strings.Join(names, ", ")).At("environment")
}

// Policies lists the policies in force.
func (s *Service) Policies(ctx context.Context) (out []Policy, err error) {
	if err := s.ensure(ctx); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = s.store().policies(tx); return err })
	return out, err
}

// Policy gives one version; 0 is the one in force.
func (s *Service) Policy(ctx context.Context, name string, version int) (p Policy, err error) {
	if err := s.ensure(ctx); err != nil {
		return p, err
	}
	var known int
	if version == 0 {
		if known, err = s.known(ctx, name); err != nil {
			return p, err
		}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error { p, err = s.store().policy(tx, name, version); return err })
	if err == nil && known > p.Version {
		err = tampered("policy", name, fmt.Errorf("the audit log knows of version %d, the database has %d", known, p.Version))
	}
	return p, err
}

// known is the newest version of a policy that the audit log tells of.
func (s *Service) known(ctx context.Context, name string) (version int, err error) {
	if s.History == nil {
		return 0, nil
	}
	entries, err := s.History.List(ctx, audit.Query{Object: "policy/" + name, Action: "policy.", Limit: 5})
	if err != nil {
		return 0, fmt.Errorf("read the audit log about policy %s: %w", name, err)
	}
	for _, e := range entries {
		var d struct {
			Version int `json:"version"`
		}
		if json.Unmarshal(e.Detail, &d) == nil {
			version = max(version, d.Version)
		}
	}
	return version, nil
}

// Compiled gives a version ready to be evaluated; 0 is the one in force.
func (s *Service) Compiled(ctx context.Context, name string, version int) (*Compiled, error) {
	p, err := s.Policy(ctx, name, version)
	if err != nil {
		return nil, err
	}
	doc, err := release.Canonical(p)
	if err != nil {
		return nil, err
	}
	digest := release.Digest(doc)
	s.mu.Lock()
	c := s.compiled[digest]
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	if c, err = Compile(p); err != nil {
		return nil, fmt.Errorf("compile policy %s version %d: %w", p.Name, p.Version, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.compiled == nil || len(s.compiled) > 256 {
		s.compiled = map[string]*Compiled{}
	}
	s.compiled[digest] = c
	return c, nil
}

// Put saves p as the next version of its policy, in force for requests opened from now on. Requests that are open keep
// the version they were opened under.
func (s *Service) Put(ctx context.Context, p Policy) (Policy, error) {
	if err := s.ensure(ctx); err != nil {
		return p, err
	}
	if _, err := Compile(p); err != nil {
		return p, err
	}
	if err := p.Aliases.check(); err != nil {
		return p, err
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		var last int
		if err := tx.QueryRow("SELECT COALESCE(MAX(version), 0) FROM policy WHERE workspace = $1 AND name = $2", tx.Workspace, p.Name).Scan(&last); err != nil {
			return err
		}
		if last == 0 {
			return problem.New(problem.NotFound, "There is no policy %s.", p.Name)
		}
		if p.Aliases == nil {
			before, err := s.store().policy(tx, p.Name, last)
			if err != nil {
				return err
			}
			p.Aliases = before.Aliases
		}
		p.Version, p.CreatedBy, p.CreatedAt = last+1, caller.From(ctx).Name, s.Now().UTC().Truncate(time.Microsecond)
		return errors.Join(s.store().insertPolicy(tx, p),
			audit.Record(tx, "policy.changed", "policy/"+p.Name, map[string]any{"version": p.Version, "note": p.Note, "rules": p.Rules, "approvals": p.Approvals, "aliases": p.Aliases}),
			event.Publish(tx, "policy.changed", "policy/"+p.Name, map[string]any{"name": p.Name, "version": p.Version}))
	})
	if err != nil {
		return p, fmt.Errorf("save policy %s: %w", p.Name, err)
	}
	s.Log.InfoContext(ctx, "policy changed", "policy", p.Name, "version", p.Version)
	return p, nil
}

// Trial is what a changed policy would have said about requests of the past.
type Trial struct {
	Requests int      `json:"requests" doc:"how many recorded requests were tried"`
	Blocked  []Change `json:"blocked" doc:"allowed then, forbidden by the change"`
	Allowed  []Change `json:"allowed" doc:"forbidden then, allowed by the change"`
	Votes    []Change `json:"votes" doc:"other votes needed than then"`
	Summary  string   `json:"summary"`
}

// Change is one request of a trial.
type Change struct {
	Number  int    `json:"number"`
	Version string `json:"version"`
	Why     string `json:"why"`
}

// Try evaluates p against the last recorded requests under the policy of that name; nothing is stored.
func (s *Service) Try(ctx context.Context, p Policy) (Trial, error) {
	t := Trial{Blocked: []Change{}, Allowed: []Change{}, Votes: []Change{}}
	c, err := Compile(p)
	if err != nil {
		return t, err
	}
	if s.Past == nil {
		return t, problem.New(problem.Unsupported, "This server keeps no requests to try a policy on.")
	}
	old, err := s.Past.Past(ctx, p.Name, 50)
	if err != nil {
		return t, err
	}
	t.Requests = len(old)
	for _, r := range old {
		v := c.Evaluate(ctx, r.Context)
		ch := Change{Number: r.Number, Version: r.Context.Version.Name}
		switch {
		case r.Allowed && !v.Allowed:
			ch.Why = v.Blocking()[0].Message
			t.Blocked = append(t.Blocked, ch)
		case !r.Allowed && v.Allowed:
			t.Allowed = append(t.Allowed, ch)
		case v.Need.Count != r.Need.Count || !slices.Equal(v.Need.Roles, r.Need.Roles):
			ch.Why = fmt.Sprintf("%d of %s instead of %d of %s", v.Need.Count, strings.Join(v.Need.Roles, ", "), r.Need.Count, strings.Join(r.Need.Roles, ", "))
			t.Votes = append(t.Votes, ch)
		}
	}
	t.Summary = fmt.Sprintf("This change would have blocked %d of the last %d requests, allowed %d that were blocked and changed the votes of %d.",
		len(t.Blocked), t.Requests, len(t.Allowed), len(t.Votes))
	return t, nil
}
