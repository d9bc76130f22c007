package prediction

import (
	"context"
	"time"

	"keelson/internal/db"
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

// Retained is every rule of a workspace, and what it leaves in the log.
type Retained struct {
	Items   []Retention `json:"items"`
	Default int         `json:"default_days" doc:"where no rule says; 0 keeps"`
	Kept    []Kept      `json:"kept" doc:"what the log holds, by endpoint; calls of the last minutes are filed a little later"`
}

// Kept is what the log holds of one endpoint.
type Kept struct {
	Endpoint    string    `json:"endpoint"`
	Days        int       `json:"days" doc:"how long its predictions are kept; 0 for good"`
	By          string    `json:"by" enum:"endpoint,workspace,installation" doc:"whose rule that is"`
	Predictions int64     `json:"predictions"`
	Bytes       int64     `json:"bytes" doc:"of their files, compressed"`
	Oldest      time.Time `json:"oldest"`
	Newest      time.Time `json:"newest"`
}

func (s *Service) getRetentions(ctx context.Context, _ *struct{}) (Retained, error) {
	out := Retained{Items: []Retention{}, Default: s.KeepDays, Kept: []Kept{}}
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		rules, err := s.store.retentions(tx)
		if err != nil {
			return err
		}
		kept, err := s.store.kept(tx)
		if err != nil {
			return err
		}
		for i := range kept {
			kept[i].Days, kept[i].By = days(rules, kept[i].Endpoint, s.KeepDays), "installation"
			for _, r := range rules { // the workspace's own stands first
				if r.Endpoint == "" {
					kept[i].By = "workspace"
				}
				if r.Endpoint == kept[i].Endpoint {
					kept[i].By = "endpoint"
				}
			}
		}
		out.Items, out.Kept = append(out.Items[:0], rules...), append(out.Kept[:0], kept...)
		return nil
	})
	return out, err
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
