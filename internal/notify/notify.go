// Package notify brings alerts and incidents to people: by webhook, Slack, e-mail and PagerDuty.
//
// A route is an address with rules: which models, tiers, causes, severities and turns of an alert it is told, and quiet
// hours in which only what is critical is sent at once. A route can be muted until a time: nothing at all is told. Every turn that fits becomes a delivery, in the transaction in
// which it was heard; a job sends it and tries again with growing pauses.
//
//	alert or incident ──fits──▶ pending ──taken──▶ delivered
//	                              └──the last attempt failed, or the receiver refuses for good──▶ failed
//
// A delivery is sent at least once. Receivers that know repetition get the same mark with each: webhooks the id of the
// delivery, mail its Message-ID, PagerDuty one dedup_key for all turns of an alert. Addresses inside a network that is
// not public are called only where the configuration allows them, as for webhooks. Secrets (a signing secret, Slack's
// address, a password, a routing key) are encrypted in the database and never shown again.
package notify

import (
	"fmt"
	"net/mail"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // quiet hours know every zone on every machine
	"unicode"

	"keelson/internal/outbound"
	"keelson/internal/problem"
)

// Kinds of route.
const (
	Webhook   = "webhook"
	Slack     = "slack"
	Email     = "email"
	PagerDuty = "pagerduty"
)

// States of a delivery.
const (
	Pending   = "pending"
	Delivered = "delivered"
	Failed    = "failed"
)

// Limits.
const (
	MaxRoutes = 200  // per workspace
	Kept      = 1000 // deliveries of one route that stay in its log
)

// turns are what a route may be told of.
var turns = []string{"opened", "worsened", "escalated", "acknowledged", "recovered", "acted", "incident"}

// usual are the turns of a route that names none.
var usual = []string{"opened", "worsened", "escalated", "acknowledged", "recovered", "incident"}

// Route is where alerts go, and which.
type Route struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Kind      string    `json:"kind" enum:"webhook,slack,email,pagerduty"`
	Target    string    `json:"target" doc:"where it leads, without secrets"`
	URL       string    `json:"url,omitempty" doc:"of a webhook, or of a PagerDuty-compatible service"`
	Mail      *Mail     `json:"mail,omitempty"`
	Models    []string  `json:"models" doc:"only of these, with * for any text; empty: all"`
	Tiers     []int     `json:"tiers" doc:"only of models of these tiers; empty: all"`
	Kinds     []string  `json:"kinds" doc:"only these causes; empty: all"`
	Severity  string    `json:"severity" enum:"warning,critical" doc:"critical leaves out warnings"`
	Events    []string  `json:"events" doc:"turns that are told: opened, worsened, escalated, acknowledged, recovered, acted, incident"`
	Quiet     *Quiet    `json:"quiet,omitempty"`
	Muted     *Mute     `json:"muted,omitempty" doc:"it is told nothing for a while; left out once that is over"`
	Enabled   bool      `json:"enabled"`
	Sealed    bool      `json:"sealed" doc:"whether it has a secret"`
	Secret    string    `json:"secret,omitempty" doc:"a signing secret that was made, shown once"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`

	hidden string
}

// Mail says how mail is sent.
type Mail struct {
	Host string   `json:"host" doc:"name and port, as smtp.example.com:587"`
	TLS  string   `json:"tls,omitempty" enum:"starttls,tls,none," doc:"none only where outbound_allow names the host; empty: starttls"`
	User string   `json:"user,omitempty" doc:"empty: no sign-in; the password is the route's secret"`
	From string   `json:"from"`
	To   []string `json:"to"`
}

// Quiet are hours in which warnings wait for their end. What is critical is sent at once.
type Quiet struct {
	From string   `json:"from" doc:"as 22:00"`
	To   string   `json:"to" doc:"as 07:00; at or before From: of the next day"`
	Zone string   `json:"zone,omitempty" doc:"as Europe/Zurich; empty: UTC"`
	Days []string `json:"days,omitempty" doc:"days on which it begins: mon, tue, wed, thu, fri, sat, sun; empty: every day"`
}

// Mute keeps a route silent until a time. What happens meanwhile is not told later.
type Mute struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
	By     string    `json:"by"`
}

// LongestMute is how far ahead a mute may end.
const LongestMute = 366 * 24 * time.Hour

// at gives the mute while it lasts, else nil.
func (m *Mute) at(now time.Time) *Mute {
	if m == nil || !m.Until.After(now) {
		return nil
	}
	return m
}

// check refuses a mute without a reason, of the past, or longer than LongestMute.
func (m *Mute) check(now time.Time) error {
	switch {
	case strings.TrimSpace(m.Reason) == "":
		return problem.New(problem.Invalid, "Say why the route is muted.").At("reason")
	case len(m.Reason) > 2000:
		return problem.New(problem.Invalid, "The reason has %d bytes; the limit is 2000.", len(m.Reason)).At("reason")
	case !m.Until.After(now):
		return problem.New(problem.Invalid, "A mute ends in the future; %s is over.", m.Until.UTC().Format(time.RFC3339)).At("until")
	case m.Until.After(now.Add(LongestMute)):
		return problem.New(problem.Invalid, "A mute ends within a year; switch the route off to silence it for longer.").At("until")
	}
	return nil
}

// Message is what a person reads.
type Message struct {
	Event     string    `json:"event"` // turn: opened, recovered …
	About     string    `json:"about"` // alert/ID or incident/ID
	Title     string    `json:"title"`
	Words     string    `json:"words"`
	Model     string    `json:"model"`
	Endpoint  string    `json:"endpoint"`
	Version   int       `json:"version"`
	Kind      string    `json:"kind"`
	Severity  string    `json:"severity"` // warning or critical
	State     string    `json:"state"`
	Owner     string    `json:"owner"`
	Incident  string    `json:"incident"`
	Note      string    `json:"note"`  // why it is told now
	Route     string    `json:"route"` // told whatever its rules say
	Workspace string    `json:"workspace"`
	At        time.Time `json:"at"`
	Page      string    `json:"page"` // address of its page
	Test      bool      `json:"test,omitempty"`
}

// dedup is the same for all turns of one alert.
func (m *Message) dedup() string { return "keelson/" + m.Workspace + "/" + m.About }

// headline is the subject of a mail and the first line elsewhere.
func (m *Message) headline() string {
	word := map[string]string{"opened": "Warning", "worsened": "Worse", "escalated": "Passed on", "acknowledged": "Acknowledged", "recovered": "Recovered", "acted": "Acted", "incident": "Incident"}[m.Event]
	if m.Event == "opened" && m.Severity == "critical" {
		word = "Critical"
	}
	if m.Test {
		word = "Test"
	}
	return word + ": " + m.Title
}

// facts are name and value of what is known, for every form of message.
func (m *Message) facts() [][2]string {
	var out [][2]string
	add := func(name, value string) {
		if value != "" {
			out = append(out, [2]string{name, value})
		}
	}
	add("Model", m.Model)
	add("Endpoint", m.Endpoint)
	if m.Version > 0 {
		add("Version", fmt.Sprint(m.Version))
	}
	add("Severity", m.Severity)
	add("Owner", m.Owner)
	add("Now", m.Note)
	return out
}

var (
	nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)
	keyRule  = regexp.MustCompile(`^[A-Za-z0-9_-]{8,128}$`)
)

var days = map[string]time.Weekday{"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday, "thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday}

// plain refuses text that could begin a line of its own in a protocol of lines.
func plain(field, s string, most int) error {
	if len(s) > most {
		return problem.New(problem.Invalid, "This has %d bytes; the limit is %d.", len(s), most).At(field)
	}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return problem.New(problem.Invalid, "Line breaks and control characters have no place here.").At(field).Suspect("header-injection")
	}
	return nil
}

// check refuses a route whose fields are out of range; where it leads is checked by who calls.
func (r *Route) check() error {
	bad := func(field, format string, a ...any) error {
		return problem.New(problem.Invalid, format, a...).At(field)
	}
	if !nameRule.MatchString(r.Name) {
		return bad("name", "%q is no name of a route; use small letters, digits, dots, underscores and hyphens, up to 63.", problem.Clip(r.Name, 80))
	}
	switch r.Kind {
	case Webhook:
		if r.URL == "" {
			return bad("url", "A webhook needs an address.")
		}
	case PagerDuty:
		if r.URL == "" {
			r.URL = pagerURL
		}
	case Slack:
		if r.URL != "" {
			return bad("url", "Slack's address is a secret; give it as secret.")
		}
	case Email:
		if err := r.Mail.check(); err != nil {
			return err
		}
	default:
		return bad("kind", "%q is no kind of route; use webhook, slack, email or pagerduty.", problem.Clip(r.Kind, 40))
	}
	if r.Kind != Email && r.Mail != nil {
		return bad("mail", "Only a route of the kind email has a mail server.")
	}
	if r.Severity == "" {
		r.Severity = "warning"
	}
	if r.Severity != "warning" && r.Severity != "critical" {
		return bad("severity", "%q is no severity; use warning or critical.", problem.Clip(r.Severity, 40))
	}
	if len(r.Events) == 0 {
		r.Events = slices.Clone(usual)
	}
	for i, e := range r.Events {
		if !slices.Contains(turns, e) {
			return bad(fmt.Sprintf("events[%d]", i), "%q is no turn of an alert; use %s.", problem.Clip(e, 40), strings.Join(turns, ", "))
		}
	}
	if len(r.Models) > 100 || len(r.Tiers) > 5 || len(r.Kinds) > 20 {
		return bad("models", "A route names at most 100 models.")
	}
	for i, m := range r.Models {
		if _, err := path.Match(m, "x"); err != nil || m == "" || len(m) > 200 {
			return bad(fmt.Sprintf("models[%d]", i), "%q is no name of models; write a name, with * for any text.", problem.Clip(m, 80))
		}
	}
	for i, t := range r.Tiers {
		if t < 0 || t > 4 {
			return bad(fmt.Sprintf("tiers[%d]", i), "A tier is 1 to 4, or 0 for models that nobody assessed.")
		}
	}
	for i, k := range r.Kinds {
		if err := plain(fmt.Sprintf("kinds[%d]", i), k, 60); err != nil {
			return err
		}
	}
	r.fill()
	return r.Quiet.check()
}

// fill makes lists that are empty so in JSON.
func (r *Route) fill() {
	if r.Models == nil {
		r.Models = []string{}
	}
	if r.Tiers == nil {
		r.Tiers = []int{}
	}
	if r.Kinds == nil {
		r.Kinds = []string{}
	}
}

// check refuses a mail server, sender or recipients that cannot be used.
func (m *Mail) check() error {
	if m == nil {
		return problem.New(problem.Invalid, "A route of the kind email names a mail server, a sender and recipients.").At("mail")
	}
	for field, s := range map[string]string{"mail.host": m.Host, "mail.user": m.User, "mail.from": m.From, "mail.tls": m.TLS} {
		if err := plain(field, s, 320); err != nil {
			return err
		}
	}
	if m.TLS == "" {
		m.TLS = "starttls"
	}
	if m.TLS != "starttls" && m.TLS != "tls" && m.TLS != "none" {
		return problem.New(problem.Invalid, "%q is no way to protect mail; use starttls, tls or none.", m.TLS).At("mail.tls")
	}
	if !strings.Contains(m.Host, ":") {
		m.Host += map[string]string{"tls": ":465", "starttls": ":587", "none": ":25"}[m.TLS]
	}
	if _, err := mail.ParseAddress(m.From); err != nil {
		return problem.New(problem.Invalid, "The sender %q is no address; write name@example.com.", problem.Clip(m.From, 100)).At("mail.from")
	}
	if len(m.To) == 0 || len(m.To) > 50 {
		return problem.New(problem.Invalid, "Mail goes to 1 to 50 recipients; got %d.", len(m.To)).At("mail.to")
	}
	for i, to := range m.To {
		at := fmt.Sprintf("mail.to[%d]", i)
		if err := plain(at, to, 320); err != nil {
			return err
		}
		if _, err := mail.ParseAddress(to); err != nil {
			return problem.New(problem.Invalid, "The recipient %q is no address; write name@example.com.", problem.Clip(to, 100)).At(at)
		}
	}
	return nil
}

func (q *Quiet) check() error {
	if q == nil {
		return nil
	}
	for field, s := range map[string]string{"quiet.from": q.From, "quiet.to": q.To} {
		if _, err := time.Parse("15:04", s); err != nil {
			return problem.New(problem.Invalid, "%q is no time of day; write it as 22:00.", problem.Clip(s, 20)).At(field)
		}
	}
	if _, err := time.LoadLocation(q.Zone); err != nil || q.Zone == "Local" {
		return problem.New(problem.Invalid, "%q is no time zone; write it as Europe/Zurich.", problem.Clip(q.Zone, 60)).At("quiet.zone")
	}
	for i, d := range q.Days {
		if _, ok := days[d]; !ok {
			return problem.New(problem.Invalid, "%q is no day; use mon, tue, wed, thu, fri, sat or sun.", problem.Clip(d, 20)).At(fmt.Sprintf("quiet.days[%d]", i))
		}
	}
	return nil
}

// until gives the end of the quiet hours that at lies in; false when it lies in none.
func (q *Quiet) until(at time.Time) (time.Time, bool) {
	if q == nil {
		return at, false
	}
	zone, err := time.LoadLocation(q.Zone)
	from, err1 := time.Parse("15:04", q.From)
	to, err2 := time.Parse("15:04", q.To)
	if err != nil || err1 != nil || err2 != nil {
		return at, false
	}
	local := at.In(zone)
	for back := range 2 { // it may have begun yesterday
		day := local.AddDate(0, 0, -back)
		if len(q.Days) > 0 && !slices.ContainsFunc(q.Days, func(d string) bool { return days[d] == day.Weekday() }) {
			continue
		}
		begin := time.Date(day.Year(), day.Month(), day.Day(), from.Hour(), from.Minute(), 0, 0, zone)
		end := time.Date(day.Year(), day.Month(), day.Day(), to.Hour(), to.Minute(), 0, 0, zone)
		if !end.After(begin) {
			end = time.Date(day.Year(), day.Month(), day.Day()+1, to.Hour(), to.Minute(), 0, 0, zone)
		}
		if !local.Before(begin) && local.Before(end) {
			return end.UTC(), true
		}
	}
	return at, false
}

// fits reports whether a route is told of a message. tier gives the model's.
func (r *Route) fits(m *Message, tier int) bool {
	if m.Route != "" && m.Route == r.Name || m.Route != "" && m.Route == r.ID {
		return true
	}
	switch {
	case !slices.Contains(r.Events, m.Event),
		r.Severity == "critical" && m.Severity != "critical",
		len(r.Kinds) > 0 && !slices.Contains(r.Kinds, m.Kind),
		len(r.Tiers) > 0 && !slices.Contains(r.Tiers, tier):
		return false
	}
	return len(r.Models) == 0 || slices.ContainsFunc(r.Models, func(p string) bool { ok, err := path.Match(p, m.Model); return err == nil && ok })
}

// target is what a list shows of where a route leads.
func (r *Route) target(secret string) string {
	switch r.Kind {
	case Email:
		return strings.Join(r.Mail.To, ", ")
	case Slack:
		return outbound.Origin(secret)
	}
	return outbound.Origin(r.URL)
}
