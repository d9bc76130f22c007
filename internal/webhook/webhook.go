// Package webhook tells other programs what happened, by HTTP.
//
// A webhook is an address with the types of events it wants. Every event of its workspace that fits becomes a delivery, in
// the transaction in which the event was heard; a job sends it and tries again with growing pauses.
//
//	event ──fits──▶ pending ──2xx──▶ delivered
//	                   └──the last attempt failed, or the address is refused──▶ failed
//
// A delivery is sent at least once and in no certain order; its id stays the same, so that receivers leave out what they
// had. What a body looks like and how it is signed is a Format: CloudEvents with the headers of Standard Webhooks here,
// others are given by the protocols. The secret is encrypted in the database and shown once.
package webhook

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/event"
	"keelson/internal/problem"
)

// States of a webhook.
const (
	Active   = "active"
	Disabled = "disabled"
)

// States of a delivery.
const (
	Pending   = "pending"
	Delivered = "delivered"
	Failed    = "failed"
)

// Limits.
const (
	MaxWebhooks = 200  // per workspace
	MaxPending  = 5000 // deliveries that wait for one webhook; beyond it is disabled
	Kept        = 1000 // deliveries of one webhook that stay in its log
	maxText     = 5000 // characters of a description
	maxSecret   = 1000 // bytes
)

// Webhook is an address and what it wants to hear.
type Webhook struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	URL         string    `json:"url"`
	Format      string    `json:"format" enum:"cloudevents,mlflow" doc:"cloudevents: every event, signed as Standard Webhooks; mlflow: the registry's events as MLflow sends them"`
	Events      []string  `json:"events" doc:"cloudevents: types with * for any text, as approval.* or *; mlflow: entity.action"`
	Status      string    `json:"status" enum:"active,disabled"`
	Reason      string    `json:"reason,omitempty" doc:"why the platform disabled it"`
	Signed      bool      `json:"signed" doc:"whether it has a secret"`
	Secret      string    `json:"secret,omitempty" doc:"shown once, when it was made or changed"`
	CreatedBy   string    `json:"created_by"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`

	hidden string    // the secret, encrypted
	since  time.Time // it is active: what happened before is not sent
}

// Delivery is one event on its way to one webhook.
type Delivery struct {
	ID        string     `json:"id" doc:"sent with every attempt, so that receivers know what they had"`
	Webhook   string     `json:"webhook"`
	Event     string     `json:"event" doc:"id of the event"`
	Type      string     `json:"type"`
	State     string     `json:"state" enum:"pending,delivered,failed"`
	Attempts  int        `json:"attempts"`
	Status    int        `json:"status" doc:"HTTP status of the newest answer; 0 if none came"`
	Error     string     `json:"error,omitempty"`
	TookMS    float64    `json:"took_ms" doc:"of the newest attempt"`
	CreatedAt time.Time  `json:"created_at"`
	LastAt    *time.Time `json:"last_at"`
	NextAt    *time.Time `json:"next_at" doc:"of the next attempt, while it is pending"`

	body string
}

// Result is what came of a test.
type Result struct {
	Success bool   `json:"success"`
	Status  int    `json:"status" doc:"HTTP status; 0 if no answer came"`
	Answer  string `json:"answer" doc:"what came back, in one sentence; its text is not shown"`
	Error   string `json:"error,omitempty"`
}

// Format is how events are told. Implementations are stateless.
type Format interface {
	// Name is what a webhook's Format says.
	Name() string
	// Check refuses a list of events that nothing can fit.
	Check(events []string) error
	// Secret checks the secret that a user gives, or makes one; "" is none where the format allows that.
	Secret(given string) (string, error)
	// Fits reports whether an event is wanted.
	Fits(events []string, e event.Event) bool
	// ContentType is that of every body.
	ContentType() string
	// Body writes an event.
	Body(e event.Event) ([]byte, error)
	// Sign adds the headers of one attempt.
	Sign(h http.Header, secret, id string, at time.Time, body []byte)
	// Example is an event to test with: the one that wanted names, or the first of events.
	Example(events []string, wanted string) (event.Event, error)
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// check refuses a webhook whose fields are out of range; the address is checked by who calls it.
func (w *Webhook) check(f Format) error {
	switch {
	case !nameRule.MatchString(w.Name):
		return problem.New(problem.Invalid, "Webhook name %q is invalid. It must start and end with a letter or digit, be less than 64 characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-).", problem.Clip(w.Name, 100)).At("name")
	case utf8.RuneCountInString(w.Description) > maxText:
		return problem.New(problem.Invalid, "The description has more than %d characters.", maxText).At("description")
	case w.Status != Active && w.Status != Disabled:
		return problem.New(problem.Invalid, "The status %q is not known; use active or disabled.", problem.Clip(w.Status, 40)).At("status")
	case len(w.Events) == 0:
		return problem.New(problem.Invalid, "A webhook names at least one event.").At("events")
	case len(w.Events) > 100:
		return problem.New(problem.Invalid, "A webhook names at most 100 events; got %d.", len(w.Events)).At("events")
	}
	slices.Sort(w.Events)
	w.Events = slices.Compact(w.Events)
	return f.Check(w.Events)
}

// pauses are the times between the attempts of a delivery: the first follows at once, the last about a day later.
var pauses = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 18 * time.Hour}

// retryAfter is the pause that an answer asks for, up to a day; 0 if it asks for none.
func retryAfter(h http.Header) time.Duration {
	d, err := time.ParseDuration(strings.TrimSpace(h.Get("Retry-After")) + "s")
	if err != nil || d < 0 {
		return 0
	}
	return min(d, 24*time.Hour)
}

// secretBytes is the key in a secret as Standard Webhooks writes it: "whsec_" and the base64 of 24 to 64 bytes.
func secretBytes(s string) ([]byte, bool) {
	text, ok := strings.CutPrefix(s, "whsec_")
	b, err := base64.StdEncoding.DecodeString(text)
	return b, ok && err == nil && len(b) >= 24 && len(b) <= 64
}
