package deployment

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"keelson/internal/approval"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/release"
	"keelson/internal/rest"
)

// Slot is a version with its share, as the API shows it.
type Slot struct {
	Version int    `json:"version"`
	Kind    string `json:"kind" enum:"live,canary,shadow"`
	Share   int    `json:"share" doc:"percent of the calls; of a shadow: percent of the calls copied"`
}

func brief(slots []release.Slot) []Slot {
	out := []Slot{}
	for _, s := range slots {
		out = append(out, Slot{s.Version, s.Kind, s.Share})
	}
	return out
}

// Previous is where a rollback leads.
type Previous struct {
	Version int `json:"version"`
}

// RolloutView is a canary or shadow under way.
type RolloutView struct {
	Version int           `json:"version"`
	Plan    approval.Plan `json:"plan"`
	Step    int           `json:"step" doc:"index into plan.steps"`
	StepAt  time.Time     `json:"step_at"`
	Waits   string        `json:"waits" doc:"what it waits for, in words"`
	Request string        `json:"request"`
}

// View is a deployment as the API shows it.
type View struct {
	ID          string         `json:"id"`
	Endpoint    string         `json:"endpoint"`
	Environment string         `json:"environment"`
	Model       string         `json:"model"`
	State       string         `json:"state" enum:"rolling,live,suspended,retired,failed"`
	Slots       []Slot         `json:"slots"`
	Previous    *Previous      `json:"previous" doc:"where a rollback leads; null when nowhere"`
	Rollout     *RolloutView   `json:"rollout"`
	Releases    []Release      `json:"releases" doc:"the last 20, newest first; empty in lists"`
	Serial      int64          `json:"serial"`
	Durability  string         `json:"durability" enum:"group,sync,async"`
	Limits      release.Limits `json:"limits"`
	Redact      []string       `json:"redact" doc:"input columns that the prediction log leaves out; of hash:COLUMN it keeps a keyed hash"`
	Request     string         `json:"request" doc:"the newest executed change request"`
	UpdatedAt   time.Time      `json:"updated_at"`
	Change      Change         `json:"change" doc:"the last one"`
	ExpiresAt   time.Time      `json:"expires_at" doc:"of the newest release; it is signed anew before"`
	URL         string         `json:"url"`
	Words       string         `json:"words" doc:"where it stands, in one sentence"`
	Sealed      bool           `json:"sealed" doc:"false when its record was changed outside Keelson"`
	Broken      string         `json:"broken,omitempty" doc:"what does not fit"`

	Callers []approval.Caller `json:"callers,omitempty" doc:"after a retirement: who called the version in the last 30 days"`
}

// view shows f with its newest releases, at most so many.
func (s *Service) view(tx db.Scope, f found, releases int) (View, error) {
	v := View{
		ID: f.ID, Endpoint: f.Endpoint, Environment: f.Environment, Model: f.Model, State: f.State, Slots: brief(f.slots()), Serial: f.Serial,
		Durability: f.Durability, Limits: f.Limits, Redact: append([]string{}, f.Redact...), Request: f.LastRequest, UpdatedAt: f.UpdatedAt, ExpiresAt: f.ExpiresAt,
		URL: url(tx.Workspace, f.Endpoint), Sealed: f.Broken == "", Broken: f.Broken,
	}
	v.Change = Change{At: f.UpdatedAt}
	if f.Change != nil {
		v.Change = *f.Change
	}
	if v.Durability == "" {
		v.Durability = release.Group
	}
	if f.Lost {
		v.State, v.Words = "failed", "Its record was changed outside Keelson; serving obeys the newest release that is signed."
	} else {
		v.Words = f.words()
	}
	if p := f.previous(); p != nil {
		v.Previous = &Previous{p.Version}
	}
	if r := f.Rollout; r != nil {
		v.Rollout = &RolloutView{Version: r.Slot.Version, Plan: r.Plan, Step: r.Step, StepAt: r.StepAt, Waits: f.waits(), Request: r.Request}
	}
	if releases == 0 {
		v.Releases = []Release{}
		return v, nil
	}
	var err error
	v.Releases, err = s.store().releases(tx, f.Endpoint, releases)
	return v, err
}

func url(workspace, endpoint string) string {
	path := "/v2/models/" + endpoint + "/infer"
	if workspace != caller.DefaultWorkspace {
		path = "/w/" + workspace + path
	}
	return path
}

// waits says what the rollout waits for.
func (d Deployment) waits() string {
	if d.Rollout.Held != "" {
		return d.Rollout.Held
	}
	st, ok := d.step()
	switch {
	case !ok:
		return "a request that deploys it, or a rollback that ends it"
	case st.HoldRows == 0 && st.HoldSeconds == 0:
		return "a person to advance it"
	case st.HoldRows > 0 && st.HoldSeconds > 0:
		return fmt.Sprintf("%d answered rows and %s", st.HoldRows, time.Duration(st.HoldSeconds)*time.Second)
	case st.HoldRows > 0:
		return fmt.Sprintf("%d answered rows", st.HoldRows)
	}
	return (time.Duration(st.HoldSeconds) * time.Second).String()
}

// Get shows the deployment of an endpoint.
func (s *Service) Get(ctx context.Context, endpoint string) (v View, err error) {
	f, ok, err := s.read(ctx, endpoint)
	if err != nil {
		return v, err
	}
	if !ok {
		return v, unknown(endpoint)
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error { v, err = s.view(tx, f, 20); return err })
	return v, err
}

// List shows up to limit deployments whose endpoints follow after; an empty model is all.
func (s *Service) List(ctx context.Context, model, after string, limit int) (out []View, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		out = nil
		list, err := s.store().list(tx, model, after, limit)
		if err != nil {
			return err
		}
		for _, f := range list {
			v, err := s.view(tx, f, 0)
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

// LiveVersion gives the version that is live (or suspended) of a model in an environment, 0 when none is.
func (s *Service) LiveVersion(ctx context.Context, model, environment string) (version int, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		list, err := s.store().list(tx, model, "", 1000)
		for _, f := range list {
			if f.Environment == environment && f.Current != nil && !f.Lost {
				version = f.Current.Slot.Version
			}
		}
		return err
	})
	return version, err
}

// ModelOf gives the model of an endpoint, empty when there is none or it cannot be read; incidents ask, and do without.
func (s *Service) ModelOf(ctx context.Context, endpoint string) (model string) {
	_ = s.DB.Read(ctx, func(tx db.Scope) error {
		f, _, err := s.store().get(tx, endpoint)
		model = f.Model
		return err
	})
	return model
}

// Routes mounts deployments.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/deployments", "deployment.read", "List deployments", s.getList)
	rest.Post(a, "/api/v1/deployments", "deployment.operate", "Execute an approved change request", s.postExecute, rest.Status(http.StatusCreated))
	rest.Get(a, "/api/v1/deployments/{endpoint}", "deployment.read", "Read a deployment", s.getOne)
	rest.Get(a, "/api/v1/deployments/{endpoint}/form", "deployment.read", "How to call a deployment: fields, an example and golden rows", s.getForm)
	for _, act := range []struct {
		verb, summary string
		do            func(context.Context, string, string) (Deployment, error)
	}{
		{"advance", "Take the next step of a canary", s.Advance},
		{"rollback", "Undo the last change: end a rollout, or go back to the approved version before", s.Rollback},
		{"suspend", "Refuse all calls from now on", s.Suspend},
		{"resume", "Answer calls again", s.Resume},
	} {
		rest.Post(a, "/api/v1/deployments/{endpoint}/"+act.verb, "deployment.operate", act.summary, func(ctx context.Context, in *reasonInput) (View, error) {
			if _, err := act.do(ctx, in.Endpoint, in.Body.Reason); err != nil {
				return View{}, err
			}
			return s.Get(ctx, in.Endpoint)
		})
	}
}

type listInput struct {
	rest.Paging
	Model string `query:"model" doc:"only those of this model"`
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[View], error) {
	list, err := s.List(ctx, in.Model, in.Cursor, in.Limit+1)
	return rest.Paged(list, in.Limit, func(v View) string { return v.Endpoint }), err
}

// EndpointInput names an endpoint in a path.
type EndpointInput struct {
	Endpoint string `path:"endpoint" maxLength:"200"`
}

func (s *Service) getOne(ctx context.Context, in *EndpointInput) (View, error) {
	return s.Get(ctx, in.Endpoint)
}

type reasonInput struct {
	EndpointInput
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"2000"`
	}
}

type executeInput struct {
	Body struct {
		Request string `json:"request" minLength:"1" maxLength:"40" doc:"id or number of the approved change request"`
	}
}

func (s *Service) postExecute(ctx context.Context, in *executeInput) (View, error) {
	res, err := s.Execute(ctx, in.Body.Request)
	if err != nil {
		return View{}, err
	}
	if len(res.Deployments) == 0 { // a version that ran nowhere was retired
		return View{Endpoint: res.Request.Endpoint, Environment: res.Request.Environment, Model: res.Request.Model, State: Retired, Slots: []Slot{}, Releases: []Release{}, Redact: []string{},
			Durability: release.Group, Request: res.Request.ID, UpdatedAt: s.now(), URL: url(res.Request.Workspace, res.Request.Endpoint), Sealed: true, Words: res.Words, Callers: res.Callers}, nil
	}
	v, err := s.Get(ctx, res.Deployments[0].Endpoint)
	v.Callers = res.Callers
	if res.Words != "" {
		v.Words = res.Words
	}
	return v, err
}
