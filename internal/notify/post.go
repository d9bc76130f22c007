package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"keelson/internal/event"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/webhook"
)

// pagerURL is where PagerDuty takes events.
const pagerURL = "https://events.pagerduty.com/v2/enqueue"

// call is the HTTP call of one attempt.
func (r *Route) call(secret, id string, e event.Event, m *Message, at time.Time) (outbound.Call, error) {
	h := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Keelson-Alerts/1"}}
	switch r.Kind {
	case Slack:
		body, err := json.Marshal(slackBody(m))
		return outbound.Call{Method: http.MethodPost, URL: secret, Header: h, Body: body}, err
	case PagerDuty:
		body, err := json.Marshal(pagerBody(m, secret))
		return outbound.Call{Method: http.MethodPost, URL: r.URL, Header: h, Body: body}, err
	}
	var format webhook.CloudEvents
	body, err := format.Body(e)
	if err != nil {
		return outbound.Call{}, err
	}
	h.Set("Content-Type", format.ContentType())
	format.Sign(h, secret, id, at, body)
	return outbound.Call{Method: http.MethodPost, URL: r.URL, Header: h, Body: body}, nil
}

// heard makes an answer an error unless it says that the message was taken. Webhooks are tried again whatever they
// answer; the services whose answers are known say with a 4xx that trying again is of no use.
func (r *Route) heard(a outbound.Answer) error {
	if a.Status >= 200 && a.Status < 300 {
		return nil
	}
	text := fmt.Sprintf("It answered %d.", a.Status)
	if a.Status >= 300 && a.Status < 400 {
		text = fmt.Sprintf("It answered %d, a redirect; they are not followed.", a.Status)
	}
	final := a.Status == http.StatusGone
	if r.Kind != Webhook {
		final = a.Status >= 400 && a.Status < 500 && a.Status != http.StatusTooManyRequests && a.Status != http.StatusRequestTimeout
	}
	return &refusal{a.Status, final, text}
}

var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slackText is text as Slack wants it: three characters escaped, at most n bytes.
func slackText(s string, n int) string { return slackEscape.Replace(problem.Clip(s, n)) }

// slackBody is the JSON of an incoming webhook: text for notifications, blocks for the channel.
func slackBody(m *Message) map[string]any {
	mark := map[string]string{"opened": ":warning:", "worsened": ":red_circle:", "escalated": ":bell:", "acknowledged": ":eyes:", "recovered": ":large_green_circle:", "acted": ":gear:", "incident": ":red_circle:"}[m.Event]
	if m.Event == "opened" && m.Severity == "critical" {
		mark = ":red_circle:"
	}
	md := func(s string) map[string]any { return map[string]any{"type": "mrkdwn", "text": s} }
	blocks := []any{map[string]any{"type": "section", "text": md(mark + " *" + slackText(m.headline(), 1000) + "*\n" + slackText(m.Words, 1500))}}
	var fields []any
	for _, f := range m.facts() {
		fields = append(fields, md("*"+f[0]+"*\n"+slackText(f[1], 300)))
	}
	if len(fields) > 0 {
		blocks = append(blocks, map[string]any{"type": "section", "fields": fields[:min(len(fields), 10)]})
	}
	if m.Page != "" {
		blocks = append(blocks, map[string]any{"type": "context", "elements": []any{md("<" + slackEscape.Replace(m.Page) + "|Open in Keelson>")}})
	}
	return map[string]any{"text": slackText(m.headline(), 1000), "blocks": blocks}
}

// pagerBody is an event of PagerDuty's Events API v2: opened, worse and passed on trigger, the others acknowledge and resolve.
func pagerBody(m *Message, key string) map[string]any {
	action := map[string]string{"acknowledged": "acknowledge", "recovered": "resolve"}[m.Event]
	if action == "" {
		action = "trigger"
	}
	body := map[string]any{"routing_key": key, "event_action": action, "dedup_key": problem.Clip(m.dedup(), 250), "client": "Keelson"}
	if m.Page != "" {
		body["client_url"] = m.Page
		body["links"] = []any{map[string]string{"href": m.Page, "text": "Open in Keelson"}}
	}
	if action == "trigger" {
		source := m.Endpoint
		if source == "" {
			source = m.Model
		}
		if source == "" {
			source = "keelson"
		}
		details := map[string]string{"words": problem.Clip(m.Words, 4000)}
		for _, f := range m.facts() {
			details[strings.ToLower(f[0])] = problem.Clip(f[1], 500)
		}
		body["payload"] = map[string]any{"summary": problem.Clip(m.headline(), 1000), "source": source, "severity": m.Severity, "timestamp": m.At.UTC().Format(time.RFC3339Nano),
			"component": m.Endpoint, "group": m.Model, "class": m.Kind, "custom_details": details}
	}
	return body
}

// send makes one attempt by whatever the route is. status is what the receiver answered, 0 where that has no number.
func (s *Service) send(ctx context.Context, r *Route, id string, e event.Event, m *Message) (status int, took time.Duration, header http.Header, err error) {
	begin := time.Now()
	secret, err := s.secret(r)
	if err != nil {
		return 0, 0, nil, err
	}
	if r.Kind == Email {
		err = r.Mail.post(ctx, s.Calls, secret, m, id, s.Now())
		status = 250
	} else {
		var c outbound.Call
		if c, err = r.call(secret, id, e, m, s.Now()); err != nil {
			return 0, 0, nil, err
		}
		var a outbound.Answer
		if a, err = s.Calls.Do(ctx, c); err == nil {
			status, header, err = a.Status, a.Header, r.heard(a)
		}
	}
	if no, ok := err.(*refusal); ok {
		status = no.status
	} else if err != nil {
		status = 0
	}
	return status, time.Since(begin), header, err
}
