package serving

import (
	"context"
	"time"

	"keelson/internal/caller"
	"keelson/internal/journal"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/rest"
)

// Routes mounts what this process has in force.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/serving", "deployment.read", "What this process has in force", s.getStatus)
}

// Status is one endpoint as this process serves it.
type Status struct {
	Endpoint   string       `json:"endpoint"`
	Model      string       `json:"model"`
	Release    int64        `json:"release" doc:"serial of the release in force"`
	State      string       `json:"state"`
	Slots      []StatusSlot `json:"slots"`
	Problem    string       `json:"problem" doc:"why nothing answers; empty when something does"`
	Substitute bool         `json:"substitute" doc:"the previous version stands in for a damaged one"`
	Since      time.Time    `json:"since"`
}

// StatusSlot is one loaded version.
type StatusSlot struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Share   int    `json:"share"`
}

// Status tells what is in force in the workspace of ctx, by endpoint.
func (s *Service) Status(ctx context.Context) []Status {
	s.init()
	out := []Status{}
	t := *s.table.Load()
	byName := map[name][]Stored{}
	for n := range t {
		if n.workspace == caller.Workspace(ctx) {
			byName[n] = nil
		}
	}
	for _, n := range sortedNames(byName) {
		e := t[n]
		v := Status{Endpoint: n.endpoint, Model: e.doc.Model, Release: e.doc.Serial, State: e.doc.State, Slots: []StatusSlot{}, Substitute: e.substitute, Since: e.since}
		for _, list := range [][]*slot{e.routed, e.shadows} {
			for _, sl := range list {
				v.Slots = append(v.Slots, StatusSlot{sl.Version, sl.Kind, sl.Share})
			}
		}
		if err := e.ready(s.Now()); err != nil {
			v.Problem = problem.Detail(err)
		}
		out = append(out, v)
	}
	return out
}

// Standings tells what is in force in every workspace, for the journal. A retired endpoint is served by nobody.
func (s *Service) Standings() map[string][]journal.Standing {
	s.init()
	out := map[string][]journal.Standing{}
	t := *s.table.Load()
	byName := map[name][]Stored{}
	for n := range t {
		byName[n] = nil
	}
	for _, n := range sortedNames(byName) {
		e := t[n]
		if e.doc.State == release.Retired {
			continue
		}
		v := journal.Standing{Endpoint: n.endpoint, Release: e.doc.Serial, State: e.doc.State, Slots: []journal.StandingSlot{}, Substitute: e.substitute, Since: e.since.UTC()}
		for _, list := range [][]*slot{e.routed, e.shadows} {
			for _, sl := range list {
				v.Slots = append(v.Slots, journal.StandingSlot{Version: sl.Version, Kind: sl.Kind, Share: sl.Share, Engine: sl.version.engine, Format: sl.Format})
			}
		}
		if err := e.ready(s.Now()); err != nil && e.doc.State == release.Live {
			v.Problem = problem.Detail(err)
		}
		out[n.workspace] = append(out[n.workspace], v)
	}
	return out
}

func (s *Service) getStatus(ctx context.Context, _ *struct{}) (rest.Page[Status], error) {
	return rest.Page[Status]{Items: s.Status(ctx)}, nil
}
