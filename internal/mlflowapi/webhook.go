package mlflowapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/event"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/prompt"
	"keelson/internal/rest"
	"keelson/internal/webhook"
)

func (m *API) webhookRoutes(a *rest.API) {
	const p = "/2.0/mlflow/webhooks"
	on(a, m, "POST", p, "webhook.write", m.createWebhook, "name", "url", "events")
	on(a, m, "GET", p, "webhook.read", m.listWebhooks)
	on(a, m, "GET", p+"/{webhook}", "webhook.read", m.getWebhook)
	on(a, m, "PATCH", p+"/{webhook}", "webhook.write", m.updateWebhook)
	on(a, m, "DELETE", p+"/{webhook}", "webhook.write", m.deleteWebhook)
	on(a, m, "POST", p+"/{webhook}/test", "webhook.write", m.testWebhook)
}

// enum is a value of an enumeration: its name, in capitals or not, or its number as protocol buffers have it.
type enum string

func (e *enum) UnmarshalJSON(b []byte) error {
	if s := string(b); s != "null" {
		*e = enum(strings.ToLower(strings.Trim(s, `"`)))
	}
	return nil
}

// Enumerations in the order of their numbers; both begin with a value for "not said".
var (
	webhookEntities = []string{"", "registered_model", "model_version", "model_version_tag", "model_version_alias", "prompt", "prompt_version", "prompt_tag", "prompt_version_tag", "prompt_alias", "budget_policy"}
	webhookActions  = []string{"", "created", "updated", "deleted", "set", "exceeded"}
	webhookStatuses = []string{"", "active", "disabled"}
)

// in gives the name of a value, "" for one that is not of the enumeration.
func (e enum) in(names []string) string {
	if n, err := strconv.Atoi(string(e)); err == nil && n > 0 && n < len(names) {
		return names[n]
	}
	if slices.Contains(names, string(e)) {
		return string(e)
	}
	return ""
}

type webhookEvent struct {
	Entity enum `json:"entity"`
	Action enum `json:"action"`
}

func (e webhookEvent) name() (string, error) {
	entity, action := e.Entity.in(webhookEntities), e.Action.in(webhookActions)
	switch {
	case entity == "":
		return "", invalid("events.entity", string(e.Entity))
	case action == "":
		return "", invalid("events.action", string(e.Action))
	}
	return entity + "." + action, nil
}

type webhookRequest struct {
	ID          string         `path:"webhook"`
	Name        *string        `json:"name"`
	Description *string        `json:"description"`
	URL         *string        `json:"url"`
	Events      []webhookEvent `json:"events"`
	Secret      *string        `json:"secret"`
	Status      *enum          `json:"status"`
	Event       *webhookEvent  `json:"event"`
	Max         int64          `json:"max_results"`
	Token       string         `json:"page_token"`
}

func (in *webhookRequest) events() (out []string, err error) {
	for _, e := range in.Events {
		name, err := e.name()
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

func (in *webhookRequest) status() (*string, error) {
	if in.Status == nil || *in.Status == "" {
		return nil, nil
	}
	s := in.Status.in(webhookStatuses)
	if s == "" {
		return nil, invalid("status", string(*in.Status))
	}
	return &s, nil
}

type webhookShape struct {
	ID          string              `json:"webhook_id"`
	Name        string              `json:"name"`
	Description string              `json:"description,omitempty"`
	URL         string              `json:"url"`
	Events      []map[string]string `json:"events"`
	Status      string              `json:"status"`
	Created     int64               `json:"creation_timestamp"`
	Updated     int64               `json:"last_updated_timestamp"`
}

// fromWebhook never shows the secret, as MLflow does not.
func fromWebhook(w webhook.Webhook) webhookShape {
	out := webhookShape{w.ID, w.Name, w.Description, w.URL, nil, strings.ToUpper(w.Status), ms(w.CreatedAt), ms(w.UpdatedAt)}
	for _, e := range w.Events {
		entity, action, _ := strings.Cut(e, ".")
		out.Events = append(out.Events, map[string]string{"entity": strings.ToUpper(entity), "action": strings.ToUpper(action)})
	}
	return out
}

func plain(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func answerWebhook(w webhook.Webhook, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"webhook": fromWebhook(w)}, nil
}

func (m *API) createWebhook(ctx context.Context, in *webhookRequest) (any, error) {
	events, err := in.events()
	if err != nil {
		return nil, err
	}
	status, err := in.status()
	if err != nil {
		return nil, err
	}
	return answerWebhook(m.Webhooks.Create(ctx, webhook.Webhook{Name: plain(in.Name), Description: plain(in.Description), URL: plain(in.URL), Format: WebhookFormat{}.Name(),
		Events: events, Secret: plain(in.Secret), Status: plain(status)}))
}

func (m *API) listWebhooks(ctx context.Context, in *webhookRequest) (any, error) {
	limit, err := limited(integer(in.Max), 100, 1000)
	if err != nil {
		return nil, err
	}
	if strings.Trim(in.Token, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || len(in.Token) > 40 {
		return nil, invalid("page_token", in.Token)
	}
	list, err := m.Webhooks.List(ctx, WebhookFormat{}.Name(), in.Token, limit+1)
	if err != nil {
		return nil, err
	}
	out := struct {
		Webhooks []webhookShape `json:"webhooks,omitempty"`
		Next     string         `json:"next_page_token,omitempty"`
	}{}
	if len(list) > limit {
		list, out.Next = list[:limit], list[limit-1].ID
	}
	for _, w := range list {
		out.Webhooks = append(out.Webhooks, fromWebhook(w))
	}
	return out, nil
}

// webhook finds one that speaks MLflow's format; the others are not of this protocol.
func (m *API) webhook(ctx context.Context, id string) (webhook.Webhook, error) {
	w, err := m.Webhooks.Get(ctx, id)
	if err == nil && w.Format != (WebhookFormat{}).Name() {
		err = problem.New(problem.NotFound, "Webhook with ID %s not found.", problem.Clip(id, 60)).At("webhook_id")
	}
	return w, err
}

func (m *API) getWebhook(ctx context.Context, in *webhookRequest) (any, error) {
	return answerWebhook(m.webhook(ctx, in.ID))
}

func (m *API) updateWebhook(ctx context.Context, in *webhookRequest) (any, error) {
	if _, err := m.webhook(ctx, in.ID); err != nil {
		return nil, err
	}
	events, err := in.events()
	if err != nil {
		return nil, err
	}
	c := webhook.Change{Description: in.Description, Secret: in.Secret, Events: events}
	if plain(in.Name) != "" {
		c.Name = in.Name
	}
	if plain(in.URL) != "" {
		c.URL = in.URL
	}
	if c.Status, err = in.status(); err != nil {
		return nil, err
	}
	return answerWebhook(m.Webhooks.Update(ctx, in.ID, c))
}

func (m *API) deleteWebhook(ctx context.Context, in *webhookRequest) (any, error) {
	if _, err := m.webhook(ctx, in.ID); err != nil {
		return nil, err
	}
	return none{}, m.Webhooks.Delete(ctx, in.ID)
}

func (m *API) testWebhook(ctx context.Context, in *webhookRequest) (any, error) {
	if _, err := m.webhook(ctx, in.ID); err != nil {
		return nil, err
	}
	wanted := ""
	if in.Event != nil {
		var err error
		if wanted, err = in.Event.name(); err != nil {
			return nil, err
		}
	}
	r, err := m.Webhooks.Test(ctx, in.ID, wanted)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"success": r.Success}
	if r.Status > 0 {
		out["response_status"], out["response_body"] = r.Status, r.Answer
	}
	if r.Error != "" {
		out["error_message"] = r.Error
	}
	return map[string]any{"result": out}, nil
}

// WebhookFormat tells the registry's events as MLflow does: {"entity", "action", "timestamp", "data"}, signed over
// "id.timestamp.body" with the secret's own bytes.
type WebhookFormat struct{}

// told maps our events to MLflow's, with an example of the data of each.
var told = map[string]struct {
	name    string
	example string
	data    func(eventData) map[string]any
}{
	inventory.EventModelCreated: {"registered_model.created", `{"model":"example_model","tags":{"example_key":"example_value"},"description":"An example registered model"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Model, "tags": d.Tags, "description": d.Description}
		}},
	inventory.EventRegistered: {"model_version.created", `{"model":"example_model","version":1,"source":"models:/123","run":"abcd1234abcd5678","tags":{"example_key":"example_value"},"description":"An example model version"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Model, "version": d.version(), "source": d.Source, "run_id": orNull(d.Run), "tags": d.Tags, "description": orNull(d.Description)}
		}},
	inventory.EventTagSet: {"model_version_tag.set", `{"model":"example_model","version":1,"key":"example_key","value":"example_value"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Model, "version": d.version(), "key": d.Key, "value": d.Value}
		}},
	inventory.EventTagDeleted: {"model_version_tag.deleted", `{"model":"example_model","version":1,"key":"example_key"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Model, "version": d.version(), "key": d.Key}
		}},
	inventory.EventAliasSet: {"model_version_alias.created", `{"model":"example_model","version":1,"alias":"example_alias"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Model, "alias": d.Alias, "version": d.version()}
		}},
	inventory.EventAliasDeleted: {"model_version_alias.deleted", `{"model":"example_model","alias":"example_alias"}`,
		func(d eventData) map[string]any { return map[string]any{"name": d.Model, "alias": d.Alias} }},
	prompt.EventCreated: {"prompt.created", `{"prompt":"example_prompt","tags":{"example_key":"example_value"},"description":"An example prompt"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Prompt, "tags": d.Tags, "description": d.Description}
		}},
	prompt.EventTagSet: {"prompt_tag.set", `{"prompt":"example_prompt","key":"example_key","value":"example_value"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Prompt, "key": d.Key, "value": d.Value}
		}},
	prompt.EventTagDeleted: {"prompt_tag.deleted", `{"prompt":"example_prompt","key":"example_key"}`,
		func(d eventData) map[string]any { return map[string]any{"name": d.Prompt, "key": d.Key} }},
	prompt.EventVersionCreated: {"prompt_version.created", `{"prompt":"example_prompt","version":1,"template":"Hello {{name}}!","tags":{"example_key":"example_value"},"description":"An example prompt version"}`,
		func(d eventData) map[string]any {
			delete(d.Tags, tagPromptType)
			return map[string]any{"name": d.Prompt, "version": d.version(), "template": d.Template, "tags": d.Tags, "description": orNull(d.Description)}
		}},
	prompt.EventVersionTagSet: {"prompt_version_tag.set", `{"prompt":"example_prompt","version":1,"key":"example_key","value":"example_value"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Prompt, "version": d.version(), "key": d.Key, "value": d.Value}
		}},
	prompt.EventVersionTagGone: {"prompt_version_tag.deleted", `{"prompt":"example_prompt","version":1,"key":"example_key"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Prompt, "version": d.version(), "key": d.Key}
		}},
	prompt.EventAliasSet: {"prompt_alias.created", `{"prompt":"example_prompt","version":1,"alias":"example_alias"}`,
		func(d eventData) map[string]any {
			return map[string]any{"name": d.Prompt, "alias": d.Alias, "version": d.version()}
		}},
	prompt.EventAliasDeleted: {"prompt_alias.deleted", `{"prompt":"example_prompt","alias":"example_alias"}`,
		func(d eventData) map[string]any { return map[string]any{"name": d.Prompt, "alias": d.Alias} }},
}

// eventData is what the events in told carry.
type eventData struct {
	Model       string            `json:"model"`
	Prompt      string            `json:"prompt"`
	Version     int               `json:"version"`
	Source      string            `json:"source"`
	Run         string            `json:"run"`
	Tags        map[string]string `json:"tags"`
	Description string            `json:"description"`
	Key         string            `json:"key"`
	Value       string            `json:"value"`
	Alias       string            `json:"alias"`
	Template    string            `json:"template"`
}

func (d eventData) version() string { return strconv.Itoa(d.Version) }

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Name is "mlflow".
func (WebhookFormat) Name() string { return "mlflow" }

// ContentType is JSON's.
func (WebhookFormat) ContentType() string { return "application/json" }

// names are MLflow's events that are told here.
func (WebhookFormat) names() (out []string) {
	for _, t := range told {
		out = append(out, t.name)
	}
	slices.Sort(out)
	return out
}

// Check refuses what is no event of MLflow's registry.
func (f WebhookFormat) Check(events []string) error {
	for _, e := range events {
		if !slices.Contains(f.names(), e) {
			return problem.New(problem.Invalid, "There is no event '%s' here. Valid events are: %s.", problem.Clip(e, 80), strings.Join(f.names(), ", ")).At("events")
		}
	}
	return nil
}

// Secret takes any; without one deliveries are not signed, as with MLflow.
func (WebhookFormat) Secret(given string) (string, error) { return given, nil }

// Fits compares with MLflow's name of the event.
func (WebhookFormat) Fits(events []string, e event.Event) bool {
	t, ok := told[e.Type]
	return ok && slices.Contains(events, t.name)
}

// Body writes an event.
func (WebhookFormat) Body(e event.Event) ([]byte, error) {
	t, ok := told[e.Type]
	if !ok {
		return nil, fmt.Errorf("MLflow has no event for %s", e.Type)
	}
	var d eventData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return nil, fmt.Errorf("read the data of %s: %w", e.Type, err)
	}
	if d.Tags == nil {
		d.Tags = map[string]string{}
	}
	entity, action, _ := strings.Cut(t.name, ".")
	return json.Marshal(struct {
		Entity    string         `json:"entity"`
		Action    string         `json:"action"`
		Timestamp string         `json:"timestamp"`
		Data      map[string]any `json:"data"`
	}{entity, action, e.At.UTC().Format("2006-01-02T15:04:05.000000+00:00"), t.data(d)})
}

// Sign adds MLflow's headers.
func (WebhookFormat) Sign(h http.Header, secret, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	h.Set("X-MLflow-Delivery-Id", id)
	h.Set("X-MLflow-Timestamp", stamp)
	if secret != "" {
		h.Set("X-MLflow-Signature", webhook.Signature([]byte(secret), id, stamp, body))
	}
}

// Example is an event like the one that is wanted, or the first of events.
func (f WebhookFormat) Example(events []string, wanted string) (event.Event, error) {
	if wanted == "" && len(events) > 0 {
		wanted = events[0]
	}
	for typ, t := range told {
		if t.name == wanted {
			return event.Event{Type: typ, Data: json.RawMessage(t.example)}, nil
		}
	}
	return event.Event{}, f.Check([]string{wanted})
}
