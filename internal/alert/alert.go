// Package alert tells people that a limit was exceeded, once per cause, until it is over.
//
//	breach ──▶ open ──▶ acknowledged ──┐
//	             │  └─▶ silenced ──────┼──▶ recovered
//	             └─────────────────────┘
//
// A cause is one feature, prediction or result of one endpoint. While its alert is active, further windows
// over the limit bring it up to date instead of opening another; a later window that is fine ends it. A
// silence ends by itself at its date; until then a cause that comes back opens silenced.
package alert

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"keelson/internal/monitor"
	"keelson/internal/problem"
)

// States of an alert.
const (
	Open         = "open"
	Acknowledged = "acknowledged"
	Silenced     = "silenced"
	Recovered    = "recovered"
)

// Alert is one cause that exceeded its limit.
type Alert struct {
	ID          string     `json:"id"`
	Title       string     `json:"title" doc:"one sentence for a person"`
	Endpoint    string     `json:"endpoint"`
	Model       string     `json:"model"`
	Version     int        `json:"version"`
	Window      string     `json:"window" doc:"the newest window over the limit, or the one it recovered in"`
	FirstWindow string     `json:"first_window"`
	Windows     int        `json:"windows" doc:"how many windows were over the limit"`
	Kind        string     `json:"kind" enum:"data,prediction,result"`
	Feature     string     `json:"feature" doc:"empty when the result got worse"`
	Metric      string     `json:"metric"`
	Value       float64    `json:"value"`
	Limit       float64    `json:"limit"`
	From        time.Time  `json:"from" doc:"span of the newest window"`
	To          time.Time  `json:"to"`
	State       string     `json:"state" enum:"open,acknowledged,silenced,recovered"`
	By          string     `json:"by" doc:"who acknowledged or silenced it"`
	Reason      string     `json:"reason"`
	Until       *time.Time `json:"until" doc:"end of the silence"`
	OpenedAt    time.Time  `json:"opened_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	RecoveredAt *time.Time `json:"recovered_at"`
	Link        string     `json:"link" doc:"the predictions behind it"`

	cause string // endpoint and key of the cause
	last  string // the newest window that was heard of
}

// show fills what follows from the rest: the sentence, the link, and the state of a silence that is over.
func (a *Alert) show(now time.Time) {
	if a.State == Silenced && a.Until != nil && !now.Before(*a.Until) {
		a.State = Open
	}
	c := monitor.Cause{Kind: a.Kind, Feature: a.Feature, Metric: a.Metric, Value: a.Value, Limit: a.Limit}
	verb := map[string]string{"data": "The data of %s moved: %s.", "prediction": "The predictions of %s moved: %s.", "result": "The answers of %s got worse: %s."}[a.Kind]
	a.Title = fmt.Sprintf(verb, a.Endpoint, c.Text())
	q := url.Values{"endpoint": {a.Endpoint}, "since": {a.From.Format(time.RFC3339Nano)}, "until": {a.To.Add(time.Microsecond).Format(time.RFC3339Nano)}}
	if a.Version > 0 {
		q.Set("version", strconv.Itoa(a.Version))
	}
	a.Link = "/api/v1/predictions?" + q.Encode()
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
	a.State, a.By, a.Reason, a.Until = Acknowledged, by, reason, nil
	return nil
}

// silence keeps it quiet until a time.
func (a *Alert) silence(by, reason string, until, now time.Time) error {
	if err := a.active(); err != nil {
		return err
	}
	if !until.After(now) || until.After(now.Add(longestSilence)) {
		return problem.New(problem.Invalid, "A silence ends in the future, within a year; %s does not.", until.UTC().Format(time.RFC3339)).At("until")
	}
	until = until.UTC().Truncate(time.Microsecond)
	a.State, a.By, a.Reason, a.Until = Silenced, by, reason, &until
	return nil
}

func (a *Alert) active() error {
	if a.State == Recovered {
		return problem.New(problem.Conflict, "Alert %s is over since %s; there is nothing to acknowledge or silence.", a.ID, a.RecoveredAt.Format(time.RFC3339))
	}
	return nil
}
