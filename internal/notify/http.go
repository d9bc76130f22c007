package notify

import (
	"context"
	"time"

	"keelson/internal/rest"
)

// Routes mounts the routes of alerts.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/alert-routes"
	rest.Get(a, base, "webhook.read", "List the routes of alerts, newest first", s.getList)
	rest.Post(a, base, "webhook.write", "Add a route for alerts", s.postOne, rest.Status(201))
	rest.Get(a, base+"/{id}", "webhook.read", "Show a route of alerts", s.getOne)
	rest.Patch(a, base+"/{id}", "webhook.write", "Change a route of alerts", s.patchOne)
	rest.Delete(a, base+"/{id}", "webhook.write", "Delete a route of alerts and its log", s.deleteOne)
	rest.Post(a, base+"/{id}/test", "webhook.write", "Send an example by a route and say what came back", s.postTest)
	rest.Post(a, base+"/{id}/mute", "webhook.write", "Keep a route silent until a time", s.postMute)
	rest.Post(a, base+"/{id}/unmute", "webhook.write", "Let a muted route tell again", s.postUnmute)
	rest.Get(a, base+"/{id}/deliveries", "webhook.read", "List what was sent by a route, newest first", s.getDeliveries)
}

func (s *Service) getList(ctx context.Context, in *struct{ rest.Paging }) (rest.Page[Route], error) {
	all, err := s.List(ctx, in.Cursor, in.Limit+1)
	return rest.Paged(all, in.Limit, func(r Route) string { return r.ID }), err
}

type createInput struct {
	Body struct {
		Name     string   `json:"name" maxLength:"63"`
		Kind     string   `json:"kind" enum:"webhook,slack,email,pagerduty"`
		URL      string   `json:"url,omitempty" doc:"of a webhook, or of another PagerDuty-compatible service"`
		Mail     *Mail    `json:"mail,omitempty"`
		Secret   string   `json:"secret,omitempty" doc:"webhook: whsec_ and base64, one is made if left out; slack: the address of the incoming webhook; email: the password; pagerduty: the routing key"`
		Models   []string `json:"models,omitempty"`
		Tiers    []int    `json:"tiers,omitempty"`
		Kinds    []string `json:"kinds,omitempty"`
		Severity string   `json:"severity,omitempty" enum:"warning,critical," doc:"empty: warning"`
		Events   []string `json:"events,omitempty" doc:"left out: all but acted"`
		Quiet    *Quiet   `json:"quiet,omitempty"`
	}
}

func (s *Service) postOne(ctx context.Context, in *createInput) (Route, error) {
	b := in.Body
	return s.Create(ctx, Route{Name: b.Name, Kind: b.Kind, URL: b.URL, Mail: b.Mail, Secret: b.Secret, Models: b.Models, Tiers: b.Tiers, Kinds: b.Kinds, Severity: b.Severity, Events: b.Events, Quiet: b.Quiet})
}

type idInput struct {
	ID string `path:"id" doc:"id or name of a route"`
}

func (s *Service) getOne(ctx context.Context, in *idInput) (Route, error) { return s.Get(ctx, in.ID) }

type changeInput struct {
	ID   string `path:"id" doc:"id or name of a route"`
	Body struct {
		Name     *string   `json:"name,omitempty"`
		URL      *string   `json:"url,omitempty"`
		Mail     *Mail     `json:"mail,omitempty"`
		Secret   *string   `json:"secret,omitempty"`
		Models   *[]string `json:"models,omitempty"`
		Tiers    *[]int    `json:"tiers,omitempty"`
		Kinds    *[]string `json:"kinds,omitempty"`
		Severity *string   `json:"severity,omitempty" enum:"warning,critical"`
		Events   *[]string `json:"events,omitempty"`
		Quiet    *Quiet    `json:"quiet,omitempty" doc:"from and to alike: no quiet hours any more"`
		Enabled  *bool     `json:"enabled,omitempty"`
	}
}

func (s *Service) patchOne(ctx context.Context, in *changeInput) (Route, error) {
	b := in.Body
	c := Change{Name: b.Name, URL: b.URL, Severity: b.Severity, Secret: b.Secret, Mail: b.Mail, Models: b.Models, Kinds: b.Kinds, Events: b.Events, Tiers: b.Tiers, Enabled: b.Enabled}
	if q := b.Quiet; q != nil {
		if q.From == q.To {
			q = nil
		}
		c.Quiet = &q
	}
	return s.Update(ctx, in.ID, c)
}

func (s *Service) deleteOne(ctx context.Context, in *idInput) (rest.Nothing, error) {
	return rest.Nothing{}, s.Delete(ctx, in.ID)
}

func (s *Service) postTest(ctx context.Context, in *idInput) (Result, error) {
	return s.Test(ctx, in.ID)
}

type muteInput struct {
	ID   string `path:"id" doc:"id or name of a route"`
	Body struct {
		Until  time.Time `json:"until" doc:"at most a year ahead"`
		Reason string    `json:"reason" minLength:"1" maxLength:"2000"`
	}
}

func (s *Service) postMute(ctx context.Context, in *muteInput) (Route, error) {
	return s.Mute(ctx, in.ID, &Mute{Until: in.Body.Until, Reason: in.Body.Reason})
}

func (s *Service) postUnmute(ctx context.Context, in *idInput) (Route, error) {
	return s.Mute(ctx, in.ID, nil)
}

type deliveriesInput struct {
	ID string `path:"id" doc:"id or name of a route"`
	rest.Paging
}

func (s *Service) getDeliveries(ctx context.Context, in *deliveriesInput) (rest.Page[Delivery], error) {
	all, err := s.Deliveries(ctx, in.ID, in.Cursor, in.Limit+1)
	return rest.Paged(all, in.Limit, func(d Delivery) string { return d.ID }), err
}
