package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"keelson/internal/event"
	"keelson/internal/problem"
)

// CloudEvents writes events as CloudEvents 1.0 in structured JSON, signed as Standard Webhooks 1.0.
type CloudEvents struct{}

// typePrefix goes before our types of events, so that they are told from others' in a common stream.
const typePrefix = "keelson."

// Name is "cloudevents".
func (CloudEvents) Name() string { return "cloudevents" }

// Check refuses what is no type of event and no pattern over them: small letters, digits, dots and hyphens, with * for
// any text.
func (CloudEvents) Check(events []string) error {
	for _, e := range events {
		if e == "" || len(e) > 100 || strings.Trim(e, "abcdefghijklmnopqrstuvwxyz0123456789.-*") != "" {
			return problem.New(problem.Invalid, "%q is no type of event. Write one as approval.settled, several as approval.* and all as *.", problem.Clip(e, 100)).At("events")
		}
	}
	return nil
}

// Secret takes one as the standard writes it, or makes one: without a signature a receiver could not tell who calls.
func (CloudEvents) Secret(given string) (string, error) {
	if given == "" {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return "", err
		}
		return "whsec_" + base64.StdEncoding.EncodeToString(b), nil
	}
	if _, ok := secretBytes(given); !ok {
		return "", problem.New(problem.Invalid, "A secret is whsec_ followed by the base64 of 24 to 64 random bytes; leave it out and one is made.").At("secret")
	}
	return given, nil
}

// Fits matches the type with each pattern.
func (CloudEvents) Fits(events []string, e event.Event) bool {
	for _, p := range events {
		if ok, err := path.Match(p, e.Type); err == nil && ok {
			return true
		}
	}
	return false
}

// ContentType is that of structured CloudEvents.
func (CloudEvents) ContentType() string { return "application/cloudevents+json; charset=utf-8" }

// Body is the event; the extension attributes are workspace, actor, sequence and causationid.
func (CloudEvents) Body(e event.Event) ([]byte, error) {
	data := e.Data
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	return json.Marshal(struct {
		Spec        string          `json:"specversion"`
		ID          string          `json:"id"`
		Source      string          `json:"source"`
		Type        string          `json:"type"`
		Subject     string          `json:"subject,omitempty"`
		Time        string          `json:"time"`
		ContentType string          `json:"datacontenttype"`
		Workspace   string          `json:"workspace"`
		Actor       string          `json:"actor,omitempty"`
		Sequence    string          `json:"sequence,omitempty"`
		Causation   string          `json:"causationid,omitempty"`
		Data        json.RawMessage `json:"data"`
	}{"1.0", e.ID, "/w/" + url.PathEscape(e.Workspace), typePrefix + e.Type, e.Subject, e.At.UTC().Format(time.RFC3339Nano), "application/json",
		e.Workspace, e.Actor, strconv.FormatInt(e.Seq, 10), e.Causation, data})
}

// Sign adds webhook-id, webhook-timestamp and webhook-signature, the HMAC-SHA256 over "id.timestamp.body".
func (CloudEvents) Sign(h http.Header, secret, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", stamp)
	if key, ok := secretBytes(secret); ok {
		h.Set("webhook-signature", Signature(key, id, stamp, body))
	}
}

// Signature is "v1," and the base64 of HMAC-SHA256 over "id.timestamp.body".
func Signature(key []byte, id, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(id + "." + timestamp + "."))
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// Example is an event of the type webhook.tested, whatever the webhook wants.
func (CloudEvents) Example(_ []string, wanted string) (event.Event, error) {
	if wanted != "" {
		return event.Event{}, problem.New(problem.Invalid, "A webhook of the format cloudevents is tested with an event of its own; leave event out.").At("event")
	}
	return event.Event{Type: Tested, Data: json.RawMessage(`{"test":true}`)}, nil
}
