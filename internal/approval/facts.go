package approval

import (
	"context"
	"encoding/json"
	"time"

	"keelson/internal/audit"
	"keelson/internal/policy"
	"keelson/internal/release"
)

// Version is what the gate knows about a model version and its model; app makes it from inventory, evaluation and tracking.
type Version struct {
	Model          policy.Model
	Number         int
	State          string // pending, ready, failed, retired
	Reason         string // why it is failed or retired
	ArtifactDigest string
	Files          []release.File
	Format         string
	Engine         string
	Size           int64 // bytes
	Signature      json.RawMessage
	Inputs         []Field
	Outputs        []Field
	Authors        []string // everybody who made a part: run, data, code, registration
	CreatedBy      string
	CreatedAt      time.Time
	Dependencies   []Dependency
	Golden         policy.Golden
	Evaluation     Evaluation
	Evaluations    []Evaluation       // the latest of each suite, the newest first
	Metrics        map[string]float64 // of its run
	Commit         string
	Dirty          bool
}

// Field is one input or output of a version. Columns name the values of a matrix by their places, where they are known.
type Field struct {
	Name, Type string
	Columns    []string
}

// Dependency is something the version was made of or needs.
type Dependency struct{ Kind, Name, Version, Digest string }

// Evaluation is the version's latest one; State is none where there is none.
type Evaluation struct {
	State, ID string
	Suite     string
	Suited    string // digest of what the suite tests
	Dataset   string
	On        string // digest of the data
	Tests     []Test
}

// Test is one test of an evaluation.
type Test struct {
	Name, Kind, State string // State: passed, failed, skipped
	Value, Limit      float64
	Detail            string
}

// Person is somebody who can be asked for a vote.
type Person struct {
	Name  string
	Roles []string
}

// What approval needs of its neighbours.
type (
	versions interface {
		// Version fails with NotFound for one that is not there.
		Version(ctx context.Context, model string, number int) (Version, error)
	}
	endpoints interface {
		// LiveVersion gives the version that answers most calls of the model in the environment, 0 when none does.
		LiveVersion(ctx context.Context, model, environment string) (int, error)
	}
	callers interface {
		// Callers says who called the version since a time.
		Callers(ctx context.Context, model string, version int, since time.Time) ([]Caller, error)
	}
	people interface {
		// WithRoles gives the active people who hold one of the roles.
		WithRoles(ctx context.Context, roles []string) ([]Person, error)
	}
	history interface {
		List(ctx context.Context, q audit.Query) ([]audit.Entry, error)
	}
	alarms interface {
		// Tampered opens an incident: object was changed outside Keelson.
		Tampered(ctx context.Context, model, endpoint, object, why string) error
	}
)

// Caller is somebody who called a version.
type Caller struct {
	Name        string    `json:"caller"`
	Application string    `json:"application,omitempty"`
	Calls       int64     `json:"calls"`
	Last        time.Time `json:"last_at"`
}

func (e Evaluation) context() policy.Evaluation {
	out := policy.Evaluation{State: e.State, ID: e.ID, Suite: e.Suite, Definition: e.Suited, Dataset: e.Dataset, DatasetDigest: e.On, Tests: int64(len(e.Tests)), Failed: []string{}}
	if out.State == "" {
		out.State = "none"
	}
	for _, t := range e.Tests {
		if t.State == "failed" {
			words := t.Name
			if t.Detail != "" {
				words += ": " + t.Detail
			}
			out.Failed = append(out.Failed, words)
		}
	}
	return out
}

// context is what the policy is told.
func (v Version) context(r Request, e policy.Environment) policy.Context {
	suites := []policy.Evaluation{}
	for _, e := range v.Evaluations {
		suites = append(suites, e.context())
	}
	m := v.Model
	m.Name = r.Model
	first := int64(100)
	switch {
	case r.Plan.Mode == Shadow:
		first = 0
	case len(r.Plan.Steps) > 0:
		first = int64(r.Plan.Steps[0].Share)
	}
	unlogged := 0.0
	if r.Plan.Limits != nil {
		unlogged = r.Plan.Limits.Unlogged
	}
	votes := []policy.Vote{}
	for _, a := range r.Votes() {
		votes = append(votes, policy.Vote{By: a.By, Roles: a.Roles, Grant: a.Grant})
	}
	return policy.Context{
		Request: policy.Request{Kind: r.Kind, Author: r.Author, Reason: r.Reason, Mode: r.Plan.Mode, Unlogged: unlogged, FirstShare: first, WhenApproved: r.WhenApproved, Authors: r.Authors},
		Version: policy.Version{
			Name: r.VersionName(), Number: int64(v.Number), State: v.State, Reason: v.Reason, Digest: v.ArtifactDigest, Format: v.Format, Size: v.Size,
			Authors: v.Authors, Evaluation: v.Evaluation.context(), Evaluations: suites, Golden: v.Golden, Dirty: v.Dirty,
		},
		Model:       m,
		Environment: policy.Env{Name: e.Name, AutoApprove: e.AutoApprove},
		Votes:       votes,
	}
}
