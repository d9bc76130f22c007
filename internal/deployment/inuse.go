package deployment

import (
	"context"
	"fmt"

	"keelson/internal/db"
)

// InUse says in one phrase where a version (0: any of the model) answers or is held to go back to, or "".
func (s *Service) InUse(tx db.Scope, model string, version int) (string, error) {
	list, err := s.store().list(tx, model, "", 1000)
	if err != nil {
		return "", err
	}
	for _, f := range list {
		if f.State == Retired {
			continue
		}
		for _, sl := range f.slots() {
			if version == 0 || sl.Version == version {
				return fmt.Sprintf("version %d is %s at %s", sl.Version, sl.Kind, f.Endpoint), nil
			}
		}
		for _, a := range f.Trail {
			if version == 0 || a.Slot.Version == version {
				return fmt.Sprintf("version %d is kept at %s to go back to", a.Slot.Version, f.Endpoint), nil
			}
		}
	}
	return "", nil
}

// Running is a version that answers at an endpoint.
type Running struct {
	Model, Endpoint, Environment, Kind string
	Version, Share                     int
}

// Running lists what answers in the workspace, with one query for all models.
func (s *Service) Running(ctx context.Context) (out []Running, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		out = nil
		list, err := s.store().list(tx, "", "", 100_000)
		for _, f := range list {
			if f.State != Live && f.State != Rolling {
				continue
			}
			for _, sl := range f.slots() {
				out = append(out, Running{f.Model, f.Endpoint, f.Environment, sl.Kind, sl.Version, sl.Share})
			}
		}
		return err
	})
	return out, err
}

// Newest gives the newest release of every endpoint of all workspaces, as it is stored.
func (s *Service) Newest(tx db.Scope) ([]Envelope, error) { return s.store().envelopes(tx, 1) }
