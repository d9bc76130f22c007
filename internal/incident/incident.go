// Package incident keeps what went wrong until somebody has dealt with it: refusals of the loader, tampering, breaches,
// changes that one person made and another has to review. The same trouble reported again while it is open counts up
// instead of opening a second one, and what happens to the model meanwhile is written to its time line.
//
//	open ── ack (an owner) ──▶ acknowledged ── close (a reason) ──▶ closed
//	  └──────────────────────── close ────────────────────────────────▲
package incident

import (
	"strings"
	"time"

	"keelson/internal/caller"
	"keelson/internal/problem"
)

// Kinds of incident.
const (
	LoaderRefused   = "loader.refused"     // serving would not load or obey a release
	RecordTampered  = "record.tampered"    // a record's seal does not fit: it was changed outside Keelson
	MonitorBreached = "monitor.breached"   // a monitored limit was passed
	DataMoved       = "data.moved"         // the inputs are no longer those of the reference
	PredictionMoved = "prediction.moved"   // the outputs are no longer those of the reference
	ResultWorse     = "result.worse"       // outcomes, or an estimate, say that the answers got worse
	QualityBroken   = "quality.broken"     // a rule about the data does not hold
	GroupsApart     = "groups.apart"       // groups of people fare further apart than is allowed
	Degraded        = "operation.degraded" // calls fail or take too long
	AuditBroken     = "audit.broken"       // the audit log does not verify
	EnginePanic     = "engine.panic"       // a model took its engine down
	EngineCrashed   = "engine.crashed"     // a model's own process ended on its own
	Review          = "deployment.review"  // one person rolled back or suspended; somebody else looks at it
)

// Severities.
const (
	High   = "high"
	Medium = "medium"
	Low    = "low"
)

// States.
const (
	Open         = "open"
	Acknowledged = "acknowledged"
	Closed       = "closed"
)

// New is an incident to open. Key makes it one while it is open; empty is kind, model and endpoint together.
type New struct {
	Kind, Model, Endpoint, Title, Detail, Severity, Key string

	Owner string // who is to take care of it; empty: whoever acknowledges it
	Facts *Facts // nil: nothing was measured
}

// Facts are what an incident found in the log of predictions rests on.
type Facts struct {
	Alert   string    `json:"alert" doc:"the newest alert of this cause"`
	Version int       `json:"version"`
	Columns []Column  `json:"columns" doc:"what moved or broke, the weightiest first"`
	Windows []string  `json:"windows" doc:"the windows over the limit, oldest first; the newest 50"`
	Began   time.Time `json:"began" doc:"begin of the first window over the limit"`
	From    time.Time `json:"from" doc:"span of the newest window over the limit"`
	To      time.Time `json:"to"`
	Link    string    `json:"link" doc:"the predictions of the newest window"`
}

// Column is one measure over its limit.
type Column struct {
	Key        string   `json:"key" doc:"the same in two windows is the same trouble"`
	Name       string   `json:"name" doc:"column or measure; empty for the result"`
	Words      string   `json:"words" doc:"with its measure and limit, in words"`
	Estimated  bool     `json:"estimated,omitempty" doc:"expected from the inputs, not confirmed by outcomes"`
	Metric     string   `json:"metric"`
	Value      float64  `json:"value"`
	Limit      float64  `json:"limit"`
	Importance *float64 `json:"importance,omitempty" doc:"share of the model's answers that rests on it, 0..1; left out while unknown"`
	Windows    int      `json:"windows" doc:"in how many windows it was over"`
	Over       bool     `json:"over" doc:"it is over its limit in the newest window"`
}

// Incident is one trouble.
type Incident struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Model    string    `json:"model"`
	Endpoint string    `json:"endpoint"`
	Title    string    `json:"title"`
	Detail   string    `json:"detail"`
	Severity string    `json:"severity" enum:"high,medium,low"`
	State    string    `json:"state" enum:"open,acknowledged,closed"`
	OpenedAt time.Time `json:"opened_at"`
	OpenedBy string    `json:"opened_by"`
	LastAt   time.Time `json:"last_at" doc:"when it was last reported"`
	Count    int64     `json:"count" doc:"how often it was reported while open"`
	Owner    string    `json:"owner"`
	Timeline []Line    `json:"timeline"`
	Facts    *Facts    `json:"facts,omitempty"`
	Suspects []Suspect `json:"suspects,omitempty" doc:"what changed before it began, the likeliest first"`

	key string
}

// Line is one entry of a time line, oldest first.
type Line struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Text string    `json:"text"`
}

// Subject is the incident as audit and events name it.
func (i Incident) Subject() string { return "incident/" + i.ID }

func (n New) key() string {
	if n.Key != "" {
		return n.Key
	}
	return strings.Join([]string{n.Kind, n.Model, n.Endpoint}, " ")
}

func (n New) check() error {
	if n.Kind == "" || n.Title == "" {
		return problem.New(problem.Invalid, "An incident needs a kind and a title.")
	}
	switch n.Severity {
	case High, Medium, Low:
		return nil
	}
	return problem.New(problem.Invalid, "%q is no severity; it is high, medium or low.", n.Severity).At("severity")
}

// Acknowledge makes c the owner. Taking over somebody else's is possible; a closed one stays closed.
func (i *Incident) Acknowledge(c caller.Caller) error {
	if i.State == Closed {
		return problem.New(problem.Conflict, "Incident %s is already closed.", i.ID)
	}
	i.State, i.Owner = Acknowledged, c.Name
	return nil
}

// Close ends it. A review is closed by a person who did not do what is reviewed.
func (i *Incident) Close(c caller.Caller, reason string) error {
	switch {
	case i.State == Closed:
		return problem.New(problem.Conflict, "Incident %s is already closed.", i.ID)
	case strings.TrimSpace(reason) == "":
		return problem.New(problem.Invalid, "Say what was found and done before closing an incident.").At("reason")
	case i.Kind == Review && c.Kind != caller.Person:
		return problem.New(problem.Forbidden, "A review is closed by a person; %s is none.", c.Name)
	case i.Kind == Review && c.Name == i.OpenedBy:
		return problem.New(problem.Forbidden, "%s did what is to be reviewed; somebody else closes the review.", c.Name)
	}
	i.State = Closed
	if i.Owner == "" {
		i.Owner = c.Name
	}
	return nil
}

// loud says whether the n-th report of the same trouble gets a line: the 1st, 2nd, 4th, 8th …
func loud(n int64) bool { return n&(n-1) == 0 }
