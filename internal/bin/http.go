package bin

import (
	"context"
	"net/http"

	"keelson/internal/rest"
)

// Routes mounts the bin and the holds.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/bin", "bin.read", "List what was deleted and can come back, the oldest first", s.getBin)
	rest.Post(a, "/api/v1/bin/restore", "bin.restore", "Bring something back", s.postRestore)
	rest.Post(a, "/api/v1/bin/purge", "bin.purge", "Remove for good what was deleted some time ago", s.postPurge)
	rest.Delete(a, "/api/v1/bin/{kind}/{id}", "bin.purge", "Remove one thing for good", s.deleteEntry)
	rest.Get(a, "/api/v1/holds", "bin.read", "List what must not be deleted", s.getHolds)
	rest.Put(a, "/api/v1/holds", "hold.write", "Keep something from being deleted", s.putHold)
	rest.Delete(a, "/api/v1/holds", "hold.write", "Lift a hold", s.deleteHold, rest.Status(http.StatusOK))
}

func (s *Service) getBin(ctx context.Context, in *struct {
	rest.Paging
	Kind string `query:"kind" doc:"experiment, run, logged-model, model, version, trace; empty: all"`
}) (rest.Page[Entry], error) {
	list, err := s.List(ctx, in.Kind, in.Cursor, in.Limit+1)
	return rest.Paged(list, in.Limit, cursorOf), err
}

func (s *Service) postRestore(ctx context.Context, in *struct {
	Body struct {
		Kind string `json:"kind" minLength:"1"`
		ID   string `json:"id" minLength:"1"`
		As   string `json:"as,omitempty" maxLength:"500" doc:"another name, when its own is taken by now"`
	}
}) (Entry, error) {
	return s.Restore(ctx, in.Body.Kind, in.Body.ID, in.Body.As)
}

func (s *Service) postPurge(ctx context.Context, in *struct {
	Body struct {
		OlderThan string   `json:"older_than" doc:"30d, 12h; 0s is everything"`
		Kinds     []string `json:"kinds,omitempty"`
		DryRun    bool     `json:"dry_run,omitempty" doc:"only say what would go"`
	}
}) (Report, error) {
	age, err := ParseAge(in.Body.OlderThan)
	if err != nil {
		return Report{}, err
	}
	return s.PurgeOlder(ctx, age, in.Body.Kinds, in.Body.DryRun)
}

func (s *Service) deleteEntry(ctx context.Context, in *struct {
	Kind    string `path:"kind"`
	ID      string `path:"id"`
	Confirm string `query:"confirm" doc:"its name"`
}) (Report, error) {
	return s.Purge(ctx, in.Kind, in.ID, in.Confirm)
}

func (s *Service) getHolds(ctx context.Context, _ *struct{}) (rest.Page[Hold], error) {
	list, err := s.Holds(ctx)
	if list == nil {
		list = []Hold{}
	}
	return rest.Page[Hold]{Items: list}, err
}

func (s *Service) putHold(ctx context.Context, in *struct {
	Body struct {
		Kind   string `json:"kind" enum:"experiment,run,logged-model,model,version,endpoint"`
		Name   string `json:"name" minLength:"1" maxLength:"500"`
		Reason string `json:"reason" minLength:"1" maxLength:"2000"`
		Until  string `json:"until,omitempty" format:"date-time" doc:"empty: until it is lifted"`
	}
}) (Hold, error) {
	h := Hold{Kind: in.Body.Kind, Name: in.Body.Name, Reason: in.Body.Reason}
	if in.Body.Until != "" {
		t, err := parseTime(in.Body.Until)
		if err != nil {
			return h, err
		}
		h.Until = &t
	}
	return s.PutHold(ctx, h)
}

func (s *Service) deleteHold(ctx context.Context, in *struct {
	Kind string `query:"kind"`
	Name string `query:"name"`
}) (rest.Nothing, error) {
	return rest.Nothing{}, s.LiftHold(ctx, in.Kind, in.Name)
}
