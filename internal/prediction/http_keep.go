package prediction

import (
	"context"
	"time"

	"keelson/internal/problem"
	"keelson/internal/rest"
)

type purgeInput struct {
	Body struct {
		Before   string `json:"before" minLength:"1" maxLength:"40" doc:"day or time, as 2026-11-01 or 2026-11-01T12:00:00Z; whole hours go"`
		Endpoint string `json:"endpoint,omitempty" maxLength:"200" doc:"only of this one"`
		DryRun   bool   `json:"dry_run,omitempty" doc:"only say what would go"`
	}
}

func (s *Service) postPurge(ctx context.Context, in *purgeInput) (Purged, error) {
	before, err := time.Parse(time.RFC3339, in.Body.Before)
	if err != nil {
		before, err = time.Parse(time.DateOnly, in.Body.Before)
	}
	if err != nil {
		return Purged{}, problem.New(problem.Invalid, "%q is no day or time; write 2026-11-01 or 2026-11-01T12:00:00Z.", clip(in.Body.Before)).At("before")
	}
	return s.Purge(ctx, Purge{Before: before, Endpoint: in.Body.Endpoint, DryRun: in.Body.DryRun, Why: "by hand"})
}

func (s *Service) postErase(ctx context.Context, in *struct {
	Body struct {
		Subject string `json:"subject" minLength:"1" maxLength:"1024"`
		Reason  string `json:"reason" minLength:"1" maxLength:"2000" doc:"who asked, under which right; without the person's name"`
	}
}) (Erased, error) {
	return s.Erase(ctx, in.Body.Subject, in.Body.Reason)
}

// Retained is every rule of a workspace.
type Retained struct {
	Items   []Retention `json:"items"`
	Default int         `json:"default_days" doc:"where no rule says; 0 keeps"`
}

func (s *Service) getRetentions(ctx context.Context, _ *struct{}) (Retained, error) {
	list, err := s.Retentions(ctx)
	if list == nil {
		list = []Retention{}
	}
	return Retained{list, s.KeepDays}, err
}

func (s *Service) putRetention(ctx context.Context, in *struct {
	Body struct {
		Endpoint string `json:"endpoint,omitempty" maxLength:"200" doc:"empty: every endpoint without a rule of its own"`
		Days     int    `json:"days" minimum:"0" maximum:"36500" doc:"0 keeps predictions for good"`
	}
}) (Retention, error) {
	return s.SetRetention(ctx, Retention{Endpoint: in.Body.Endpoint, Days: in.Body.Days})
}

func (s *Service) deleteRetention(ctx context.Context, in *struct {
	Endpoint string `query:"endpoint"`
}) (rest.Nothing, error) {
	return rest.Nothing{}, s.DropRetention(ctx, in.Endpoint)
}
