package alert

import (
	"context"
	"time"

	"keelson/internal/db"
	"keelson/internal/rest"
)

// Routes mounts the alerts.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/alerts"
	rest.Get(a, base, "alert.read", "List alerts, newest first", s.getList)
	rest.Get(a, base+"/{id}", "alert.read", "Show an alert", s.getOne)
	rest.Post(a, base+"/{id}/ack", "alert.write", "Acknowledge an alert", s.postAck)
	rest.Post(a, base+"/{id}/silence", "alert.write", "Silence an alert until a time", s.postSilence)
}

type listInput struct {
	rest.Paging
	State    string `query:"state" enum:"open,acknowledged,silenced,recovered,active," doc:"active is all but recovered"`
	Endpoint string `query:"endpoint"`
	Model    string `query:"model"`
}

func (s *Service) getList(ctx context.Context, in *listInput) (rest.Page[Alert], error) {
	var all []Alert
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		all, err = list(tx, filter{in.State, in.Endpoint, in.Model}, in.Cursor, in.Limit+1, s.now())
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

type silenceInput struct {
	ID   string `path:"id" doc:"alert"`
	Body struct {
		Reason string    `json:"reason" minLength:"1" maxLength:"2000" doc:"why it need not be heard"`
		Until  time.Time `json:"until" doc:"when it is to be heard again, within a year"`
	}
}

func (s *Service) postSilence(ctx context.Context, in *silenceInput) (Alert, error) {
	return s.Silence(ctx, in.ID, in.Body.Reason, in.Body.Until)
}
