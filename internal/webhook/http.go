package webhook

import (
	"context"

	"keelson/internal/rest"
)

// Routes mounts the webhooks.
func (s *Service) Routes(a *rest.API) {
	const base = "/api/v1/webhooks"
	rest.Get(a, base, "webhook.read", "List webhooks, newest first", s.getList)
	rest.Post(a, base, "webhook.write", "Add a webhook", s.postOne, rest.Status(201))
	rest.Get(a, base+"/{id}", "webhook.read", "Show a webhook", s.getOne)
	rest.Patch(a, base+"/{id}", "webhook.write", "Change a webhook", s.patchOne)
	rest.Delete(a, base+"/{id}", "webhook.write", "Delete a webhook and its log", s.deleteOne)
	rest.Post(a, base+"/{id}/test", "webhook.write", "Send an example and say what came back", s.postTest)
	rest.Get(a, base+"/{id}/deliveries", "webhook.read", "List what was sent, newest first", s.getDeliveries)
}

func (s *Service) getList(ctx context.Context, in *struct{ rest.Paging }) (rest.Page[Webhook], error) {
	all, err := s.List(ctx, "", in.Cursor, in.Limit+1)
	return rest.Paged(all, in.Limit, func(w Webhook) string { return w.ID }), err
}

type createInput struct {
	Body struct {
		Name        string   `json:"name"`
		Description string   `json:"description,omitempty"`
		URL         string   `json:"url" doc:"https address; others only where the configuration allows them"`
		Format      string   `json:"format,omitempty" enum:"cloudevents,mlflow" default:"cloudevents"`
		Events      []string `json:"events,omitempty" doc:"cloudevents: types or patterns, as approval.*; left out: all"`
		Status      string   `json:"status,omitempty" enum:"active,disabled" default:"active"`
		Secret      string   `json:"secret,omitempty" doc:"whsec_ and base64; left out: one is made and shown in the answer"`
	}
}

func (s *Service) postOne(ctx context.Context, in *createInput) (Webhook, error) {
	b := in.Body
	if len(b.Events) == 0 && b.Format == (CloudEvents{}).Name() {
		b.Events = []string{"*"}
	}
	return s.Create(ctx, Webhook{Name: b.Name, Description: b.Description, URL: b.URL, Format: b.Format, Events: b.Events, Status: b.Status, Secret: b.Secret})
}

type idInput struct {
	ID string `path:"id" doc:"webhook"`
}

func (s *Service) getOne(ctx context.Context, in *idInput) (Webhook, error) { return s.Get(ctx, in.ID) }

type changeInput struct {
	ID   string `path:"id" doc:"webhook"`
	Body struct {
		Name        *string  `json:"name,omitempty"`
		Description *string  `json:"description,omitempty"`
		URL         *string  `json:"url,omitempty"`
		Events      []string `json:"events,omitempty"`
		Status      *string  `json:"status,omitempty" enum:"active,disabled"`
		Secret      *string  `json:"secret,omitempty" doc:"empty: a new one is made and shown in the answer"`
	}
}

func (s *Service) patchOne(ctx context.Context, in *changeInput) (Webhook, error) {
	b := in.Body
	return s.Update(ctx, in.ID, Change{Name: b.Name, Description: b.Description, URL: b.URL, Status: b.Status, Secret: b.Secret, Events: b.Events})
}

func (s *Service) deleteOne(ctx context.Context, in *idInput) (rest.Nothing, error) {
	return rest.Nothing{}, s.Delete(ctx, in.ID)
}

type testInput struct {
	ID   string `path:"id" doc:"webhook"`
	Body *struct {
		Event string `json:"event,omitempty" doc:"mlflow: which of its events to send; left out: the first"`
	}
}

func (s *Service) postTest(ctx context.Context, in *testInput) (Result, error) {
	wanted := ""
	if in.Body != nil {
		wanted = in.Body.Event
	}
	return s.Test(ctx, in.ID, wanted)
}

func (s *Service) getDeliveries(ctx context.Context, in *struct {
	rest.Paging
	ID string `path:"id" doc:"webhook"`
}) (rest.Page[Delivery], error) {
	all, err := s.Deliveries(ctx, in.ID, in.Cursor, in.Limit+1)
	return rest.Paged(all, in.Limit, func(d Delivery) string { return d.ID }), err
}
