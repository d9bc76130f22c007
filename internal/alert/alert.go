// Package alert tells people that a model is in trouble, once per cause, until it is over.
//
//	window over the limit ──▶ pending ──as many in a row as the policy says──▶ open ──▶ acknowledged ──┐
//	                             └──a good window──▶ (nothing)                   └──▶ silenced ────────┼──▶ recovered
//	                                                                                                   └ good windows
//
// A cause is one of seven kinds at one endpoint, with the list of columns behind it: the data moved, the predictions moved,
// the result got worse, a rule about the data is broken, groups of people fare further apart than is allowed, calls fail or
// take too long, the engine broke down. While an
// alert is active further windows bring it up to date; as many good windows in a row as the policy says end it. An engine
// that breaks down needs no windows: once opens the alert, and when it has held for half an hour the alert is over.
//
// What decides is the size of the effect as the monitor measured it against its limit; a p-value opens nothing. Columns
// are ordered by importance times excess, and where importance is known, columns that carry next to nothing of the
// answers open nothing. What moved without a loss that outcomes or an estimate show is a warning; a loss is critical.
//
// A policy, of a model or of the workspace, says how many windows it takes, to whom an alert goes when nobody
// acknowledges it, and what the platform does by itself: open an incident, suspend the endpoint, go back to the version
// approved before, start the pipeline that makes the next one. Each is done once per alert, within a cool-down and a
// budget, by the same services as when a person asks.
package alert

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/explain"
	"keelson/internal/incident"
	"keelson/internal/problem"
)

// States of an alert.
const (
	Pending      = "pending" // too few windows so far; nobody is told
	Open         = "open"
	Acknowledged = "acknowledged"
	Silenced     = "silenced"
	Recovered    = "recovered"
)

// Kinds of causes.
const (
	Data       = "data"
	Prediction = "prediction"
	Result     = "result"
	Quality    = "quality"
	Fairness   = "fairness"
	Operation  = "operation"
	Crash      = "crash"
)

// Kinds lists them, the gravest last.
var Kinds = []string{Data, Prediction, Quality, Fairness, Operation, Crash, Result}

// Severities of an alert.
const (
	Warning  = "warning"
	Critical = "critical"
)

// Alert is one cause of one endpoint.
type Alert struct {
	ID          string            `json:"id"`
	Title       string            `json:"title" doc:"one sentence for a person"`
	Words       string            `json:"words" doc:"what it means, in a few sentences"`
	Endpoint    string            `json:"endpoint"`
	Model       string            `json:"model"`
	Version     int               `json:"version"`
	Kind        string            `json:"kind" enum:"data,prediction,result,quality,fairness,operation,crash"`
	Severity    string            `json:"severity" enum:"warning,critical" doc:"critical when a loss is known, estimated or realised, or calls fail"`
	Window      string            `json:"window" doc:"the newest window over the limit, or the one it recovered in"`
	FirstWindow string            `json:"first_window"`
	Began       time.Time         `json:"began" doc:"begin of the first window over the limit"`
	Windows     int               `json:"windows" doc:"how many windows were over the limit"`
	Rows        int               `json:"rows" doc:"rows of these windows"`
	Feature     string            `json:"feature" doc:"the weightiest column; empty when the result got worse"`
	Metric      string            `json:"metric" doc:"the measure that decided, of that column"`
	Value       float64           `json:"value"`
	Limit       float64           `json:"limit"`
	Columns     []incident.Column `json:"columns" doc:"all that was over its limit, the weightiest first"`
	From        time.Time         `json:"from" doc:"span of the newest window"`
	To          time.Time         `json:"to"`
	State       string            `json:"state" enum:"pending,open,acknowledged,silenced,recovered"`
	Owner       string            `json:"owner" doc:"who is to take care of it"`
	By          string            `json:"by" doc:"who acknowledged or silenced it"`
	Reason      string            `json:"reason"`
	Until       *time.Time        `json:"until" doc:"end of the silence"`
	Level       int               `json:"level" doc:"how often it was passed on because nobody acknowledged it"`
	EscalateAt  *time.Time        `json:"escalate_at" doc:"when it is passed on if nobody acknowledges it"`
	OpenedAt    time.Time         `json:"opened_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	RecoveredAt *time.Time        `json:"recovered_at"`
	Incident    string            `json:"incident" doc:"the incident it opened or joined"`
	Acts        []Act             `json:"acts,omitempty" doc:"what the policy did by itself"`
	Link        string            `json:"link" doc:"the predictions behind it"`

	cause string // endpoint and kind
	last  string // the newest window that was heard of
	doc   document
}

// document is what only this package reads of an alert.
type document struct {
	Columns []incident.Column `json:"columns,omitempty"`
	Marks   []mark            `json:"marks,omitempty"`
	Began   time.Time         `json:"began"`
	Rows    int               `json:"rows,omitempty"`
	Level   int               `json:"level,omitempty"`
	Loss    string            `json:"loss,omitempty"`  // what is known of the result, in words
	Where   string            `json:"where,omitempty"` // the slice where it is worst, in a sentence
}

// Act is one thing that the policy did by itself.
type Act struct {
	Do     string    `json:"do" doc:"suspend, rollback, retrain:PIPELINE, or propose for what came of the retraining"`
	State  string    `json:"state" enum:"started,done,waits,failed" doc:"waits: tried again with the next window over the limit"`
	Detail string    `json:"detail"`
	Ref    string    `json:"ref" doc:"what came of it: a run"`
	At     time.Time `json:"at"`
}

// says are the sentences of the kinds: of an alert, of its incident.
var says = map[string][2]string{
	Data:       {"The data of %s moved: %s.", "What %s is asked is no longer what it was made for"},
	Prediction: {"The predictions of %s moved: %s.", "What %s answers is no longer what it used to"},
	Result:     {"The answers of %s got worse: %s.", "The answers of %s got worse"},
	Quality:    {"The data of %s breaks its rules: %s.", "The data of %s breaks its rules"},
	Fairness:   {"Groups fare further apart at %s than is allowed: %s.", "Groups fare further apart at %s than is allowed"},
	Operation:  {"%s does not answer as it should: %s.", "%s does not answer as it should"},
	Crash:      {"The engine of %s broke down: %s", "The engine of %s broke down"},
}

// incidentKinds are the kinds of incident that kinds of alert open.
var incidentKinds = map[string]string{Data: incident.DataMoved, Prediction: incident.PredictionMoved, Result: incident.ResultWorse, Quality: incident.QualityBroken,
	Fairness: incident.GroupsApart, Operation: incident.Degraded, Crash: incident.EngineCrashed}

// measures are the names of measures for people.
var measures = map[string]string{"psi": "PSI", "ks": "KS", "js": "JS", "missing": "missing values", "new": "unknown values", "out_of_range": "values out of range",
	"errors": "share of failed calls", "p95_ms": "95th percentile of milliseconds", "wasserstein": "Wasserstein"}

func measure(name string) string {
	if m := measures[name]; m != "" {
		return m
	}
	return name
}

// columnText writes a column with its measure.
func columnText(c incident.Column, kind string) string {
	if c.Words != "" {
		return c.Words
	}
	name := c.Name
	if name == "" {
		name = map[string]string{Result: "the result", Operation: "calls", Crash: "the engine"}[kind]
	}
	return strings.TrimSpace(fmt.Sprintf("%s (%s %s, limit %s)", name, measure(c.Metric), explain.Number(c.Value), explain.Number(c.Limit)))
}

// list names the weightiest columns and counts the rest.
func (a *Alert) list(most int) string {
	var out []string
	for i, c := range a.Columns {
		if i == most {
			break
		}
		out = append(out, columnText(c, a.Kind))
	}
	between := ", "
	if a.Kind == Fairness { // sentences with commas of their own
		between = "; "
	}
	text := strings.Join(out, between)
	if n := len(a.Columns) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// show fills what follows from the rest: sentences, the link, and the state of a silence that is over.
func (a *Alert) show(now time.Time) {
	if a.State == Silenced && a.Until != nil && !now.Before(*a.Until) {
		a.State = Open
	}
	a.Columns, a.Began, a.Rows, a.Level = a.doc.Columns, a.doc.Began, a.doc.Rows, a.doc.Level
	if a.Columns == nil { // an alert of one column, from before alerts were causes
		a.Columns = []incident.Column{{Name: a.Feature, Metric: a.Metric, Value: a.Value, Limit: a.Limit, Windows: a.Windows, Over: a.State != Recovered}}
	}
	if a.Began.IsZero() {
		a.Began = a.From
	}
	say, ok := says[a.Kind]
	if !ok {
		say = says[Data]
	}
	if a.estimated() {
		say[0] = "The answers of %s are expected to be worse: %s."
	}
	a.Title = fmt.Sprintf(say[0], a.Endpoint, a.list(3))
	a.Words = a.words()
	q := url.Values{"endpoint": {a.Endpoint}, "since": {a.From.Format(time.RFC3339Nano)}, "until": {a.To.Add(time.Microsecond).Format(time.RFC3339Nano)}}
	if a.Version > 0 {
		q.Set("version", strconv.Itoa(a.Version))
	}
	a.Link = "/api/v1/predictions?" + q.Encode()
}

// estimated says whether a loss is only expected so far.
func (a *Alert) estimated() bool {
	return a.Kind == Result && len(a.Columns) > 0 && !slices.ContainsFunc(a.Columns, func(c incident.Column) bool { return !c.Estimated })
}

// words explains an alert to somebody who knows the business and not the measures.
func (a *Alert) words() string {
	since := a.Began.UTC().Format("2 January 15:04 UTC")
	windows := "one window"
	if a.Windows > 1 {
		windows = fmt.Sprintf("%d windows", a.Windows)
	}
	span := fmt.Sprintf("since %s, in %s", since, windows)
	if a.Rows > 0 {
		span += fmt.Sprintf(" of %d rows in all", a.Rows)
	}
	var out string
	switch a.Kind {
	case Data:
		out = fmt.Sprintf("%s is asked about other cases than it was made for: %s, %s.", a.Endpoint, a.shifted("input"), span)
	case Prediction:
		out = fmt.Sprintf("%s answers differently than before: %s, %s.", a.Endpoint, a.shifted("output"), span)
	case Result:
		if a.estimated() {
			out = fmt.Sprintf("By what is known of its inputs, the answers of %s are wrong more often or by more than allowed, %s. This is an estimate; outcomes have not confirmed it yet.", a.Endpoint, span)
			break
		}
		out = fmt.Sprintf("The answers of %s turn out to be wrong more often or by more than allowed, %s.", a.Endpoint, span)
	case Quality:
		out = fmt.Sprintf("The data that %s is asked with breaks %s, %s.", a.Endpoint, count(len(a.Columns), "rule"), span)
	case Fairness:
		out = fmt.Sprintf("%s decides about groups of people further apart than its monitor allows, %s.", a.Endpoint, span)
	case Operation:
		out = fmt.Sprintf("Calls of %s fail or take longer than allowed, %s.", a.Endpoint, span)
	default: // a crash, which has no windows
		times := "once"
		if a.Windows > 1 {
			times = fmt.Sprintf("%d times", a.Windows)
		}
		return fmt.Sprintf("The engine of %s broke down %s since %s. The last time: %s", a.Endpoint, times, since, a.list(1))
	}
	out += " Above all: " + a.list(3) + "."
	if a.doc.Where != "" {
		out += " " + a.doc.Where
	}
	if a.Kind == Data || a.Kind == Prediction || a.Kind == Quality {
		switch {
		case a.Severity == Critical && slices.Contains(losses, a.doc.Loss):
			out += " " + a.doc.Loss
		case a.Severity == Critical: // it was known of an earlier window
			out += " The result is worse as well, or expected to be: act."
		case a.doc.Loss != "":
			out += " " + a.doc.Loss
		default:
			out += " Whether the answers got worse is not known yet, so this is a warning."
		}
	}
	return out
}

// ofMetrics are the measures that custom metrics have, and columns do not.
var ofMetrics = []string{"mean", "sum", "min", "max", "count", "p50", "p90", "p95", "p99"}

// shifted counts what moved: columns, and custom metrics that left their limits.
func (a *Alert) shifted(noun string) string {
	own := 0
	for _, c := range a.Columns {
		if slices.Contains(ofMetrics, c.Metric) {
			own++
		}
	}
	n := len(a.Columns) - own
	left := count(own, "metric") + " of its monitor left the limits"
	switch {
	case own == 0:
		return count(n, noun) + " " + moved(n)
	case n == 0:
		return left
	}
	return count(n, noun) + " " + moved(n) + " and " + left
}

func count(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func moved(n int) string {
	if n == 1 {
		return "has moved"
	}
	return "have moved"
}

// facts are what its incident shows.
func (a *Alert) facts() *incident.Facts {
	f := &incident.Facts{Alert: a.ID, Version: a.Version, Columns: a.doc.Columns, Windows: []string{}, Began: a.doc.Began, From: a.From, To: a.To}
	for _, m := range a.doc.Marks {
		if m.Bad {
			f.Windows = append(f.Windows, m.Window)
		}
	}
	shown := *a
	shown.show(a.UpdatedAt)
	f.Link = shown.Link
	return f
}

// longestSilence bounds a silence: what should never be heard is a limit to be changed.
const longestSilence = 366 * 24 * time.Hour

// acknowledge says that by has seen it and why nothing more is needed from others.
func (a *Alert) acknowledge(by, reason string) error {
	if err := a.active(); err != nil {
		return err
	}
	if a.State == Acknowledged {
		return problem.New(problem.Conflict, "%s has acknowledged this alert already.", a.By)
	}
	a.State, a.By, a.Owner, a.Reason, a.Until, a.EscalateAt = Acknowledged, by, by, reason, nil, nil
	return nil
}

// silence keeps it quiet until a time.
func (a *Alert) silence(by, reason string, until, now time.Time) error {
	if err := a.active(); err != nil {
		return err
	}
	if strings.TrimSpace(reason) == "" {
		return problem.New(problem.Invalid, "Say why nobody needs to hear of this alert.").At("reason")
	}
	if !until.After(now) || until.After(now.Add(longestSilence)) {
		return problem.New(problem.Invalid, "A silence ends in the future, within a year; %s does not.", until.UTC().Format(time.RFC3339)).At("until")
	}
	until = until.UTC().Truncate(time.Microsecond)
	a.State, a.By, a.Reason, a.Until = Silenced, by, reason, &until
	return nil
}

// release takes back an acknowledgement or a silence: the alert is open again.
func (a *Alert) release(by, reason string) error {
	if a.State != Acknowledged && a.State != Silenced {
		return problem.New(problem.Conflict, "Alert %s is %s; there is no acknowledgement or silence to take back.", a.ID, a.State)
	}
	a.State, a.By, a.Reason, a.Until = Open, by, reason, nil
	return nil
}

// assign hands it to somebody.
func (a *Alert) assign(to, reason string) error {
	if err := a.active(); err != nil {
		return err
	}
	if strings.TrimSpace(to) == "" || len(to) > 250 {
		return problem.New(problem.Invalid, "Name the person who is to take care of it.").At("owner")
	}
	a.Owner, a.Reason = to, reason
	return nil
}

func (a *Alert) active() error {
	switch a.State {
	case Recovered:
		return problem.New(problem.Conflict, "Alert %s is over since %s; there is nothing to acknowledge or silence.", a.ID, a.RecoveredAt.Format(time.RFC3339))
	case Pending:
		return problem.New(problem.Conflict, "Alert %s waits for further windows; nobody was told of it.", a.ID)
	}
	return nil
}
