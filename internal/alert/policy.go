package alert

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keelson/internal/problem"
)

// What a policy may do by itself.
const (
	DoIncident = "incident"
	DoSuspend  = "suspend"
	DoRollback = "rollback"
	DoRetrain  = "retrain"
)

// Policy says when an alert opens, to whom it goes, and what follows.
type Policy struct {
	Model         string    `json:"model" doc:"empty: every model that has none of its own"`
	Version       int       `json:"version" doc:"0: what comes with the program"`
	Windows       int       `json:"windows" doc:"windows over the limit in a row that open an alert, 1..10"`
	Good          int       `json:"good" doc:"good windows in a row that end it, 1..10"`
	MinRows       int       `json:"min_rows" doc:"rows below which a window says nothing"`
	MinImportance float64   `json:"min_importance" doc:"share of the model's answers, 0..1, that the columns that moved carry together before anybody is told; where importance is known"`
	ErrorRate     float64   `json:"error_rate" doc:"share of failed calls in a minute, 0..1, from which the operation alarms; 0: never"`
	P95MS         float64   `json:"p95_ms" doc:"95th percentile of milliseconds in a minute from which the operation alarms; 0: never"`
	MinCalls      int       `json:"min_calls" doc:"calls in a minute below which the operation is not judged"`
	Close         bool      `json:"close" doc:"an incident closes by itself when its cause is over"`
	Escalate      []Step    `json:"escalate" doc:"to whom it goes while nobody acknowledges it, one after the other"`
	Actions       []Action  `json:"actions"`
	Dropped       bool      `json:"dropped,omitempty" doc:"this version took the policy back: what the workspace or the program says holds again"`
	Note          string    `json:"note" doc:"why this version was made"`
	CreatedBy     string    `json:"created_by"`
	CreatedAt     time.Time `json:"created_at"`
}

// Step passes an alert on.
type Step struct {
	After int    `json:"after" doc:"minutes without an acknowledgement since it opened or was passed on"`
	To    string `json:"to,omitempty" doc:"a person, or responsible, accountable or owner of the model"`
	Route string `json:"route,omitempty" doc:"name of a route that is told beside those whose rules fit"`
}

// Action is what the platform does by itself.
type Action struct {
	Do       string   `json:"do" enum:"incident,suspend,rollback,retrain"`
	Kinds    []string `json:"kinds,omitempty" doc:"kinds of causes it answers; empty: all"`
	Severity string   `json:"severity,omitempty" enum:"warning,critical," doc:"from which on; empty: warning"`
	Pipeline string   `json:"pipeline,omitempty" doc:"of retrain"`
	Cooldown int      `json:"cooldown,omitempty" doc:"least minutes between two of them for one model; 0: an hour, and for retrain what the pipeline says"`
	Budget   int      `json:"budget,omitempty" doc:"how many of them for one model in a period; 0: 3"`
	Period   int      `json:"period,omitempty" doc:"hours of the period; 0: a week"`
}

// key names the action among those of one alert.
func (a Action) key() string {
	if a.Do == DoRetrain {
		return a.Do + ":" + a.Pipeline
	}
	return a.Do
}

func (a Action) cooldown() time.Duration {
	if a.Cooldown == 0 && a.Do != DoRetrain {
		return time.Hour
	}
	return time.Duration(a.Cooldown) * time.Minute
}

func (a Action) budget() (int, time.Duration) {
	n, period := a.Budget, time.Duration(a.Period)*time.Hour
	if n == 0 {
		n = 3
	}
	if period == 0 {
		period = 7 * 24 * time.Hour
	}
	return n, period
}

// fits says whether an action answers an alert.
func (a Action) fits(kind, severity string) bool {
	return (len(a.Kinds) == 0 || slices.Contains(a.Kinds, kind)) && (a.Severity != Critical || severity == Critical)
}

// Default is the policy that comes with the program.
func Default() Policy {
	return Policy{Windows: 2, Good: 2, MinRows: 200, MinImportance: 0.01, ErrorRate: 0.05, MinCalls: 20, Close: true,
		Escalate: []Step{{After: 60, To: "accountable"}}, Actions: []Action{{Do: DoIncident}}, CreatedBy: "keelson"}
}

// Check refuses a policy that cannot work, naming the field.
func (p *Policy) Check() error {
	bad := func(field, format string, a ...any) error {
		return problem.New(problem.Invalid, format, a...).At(field)
	}
	switch {
	case len(p.Model) > 200:
		return bad("model", "A model's name has at most 200 bytes.")
	case p.Windows < 1 || p.Windows > 10:
		return bad("windows", "An alert opens after 1 to 10 windows; got %d.", p.Windows)
	case p.Good < 1 || p.Good > 10:
		return bad("good", "An alert ends after 1 to 10 good windows; got %d.", p.Good)
	case p.MinRows < 1 || p.MinRows > 1_000_000:
		return bad("min_rows", "A window needs 1 to 1,000,000 rows; got %d.", p.MinRows)
	case !(p.MinImportance >= 0 && p.MinImportance < 1):
		return bad("min_importance", "The share of importance lies from 0 up to below 1.")
	case !(p.ErrorRate >= 0 && p.ErrorRate <= 1):
		return bad("error_rate", "The share of failed calls lies between 0 and 1.")
	case !(p.P95MS >= 0 && p.P95MS < 1e9):
		return bad("p95_ms", "The limit of milliseconds is a number from 0 up.")
	case p.MinCalls < 1 || p.MinCalls > 1_000_000:
		return bad("min_calls", "The operation is judged from 1 to 1,000,000 calls on; got %d.", p.MinCalls)
	case len(p.Escalate) > 10:
		return bad("escalate", "An alert is passed on at most 10 times.")
	case len(p.Actions) > 20:
		return bad("actions", "A policy has at most 20 actions.")
	case len(p.Note) > 2000:
		return bad("note", "The note has %d bytes; the limit is 2000.", len(p.Note))
	}
	for i, s := range p.Escalate {
		at := fmt.Sprintf("escalate[%d]", i)
		switch {
		case s.After < 1 || s.After > 7*24*60:
			return bad(at+".after", "An alert is passed on after 1 minute to a week; got %d minutes.", s.After)
		case s.To == "" && s.Route == "":
			return bad(at+".to", "Name a person or a route.")
		case len(s.To) > 250 || len(s.Route) > 100:
			return bad(at+".to", "The name is too long.")
		}
	}
	seen := map[string]bool{}
	for i, a := range p.Actions {
		at := fmt.Sprintf("actions[%d]", i)
		switch {
		case !slices.Contains([]string{DoIncident, DoSuspend, DoRollback, DoRetrain}, a.Do):
			return bad(at+".do", "%q is nothing that a policy can do; use incident, suspend, rollback or retrain.", a.Do)
		case a.Do == DoRetrain && strings.TrimSpace(a.Pipeline) == "":
			return bad(at+".pipeline", "Name the pipeline that makes the next version.")
		case a.Do != DoRetrain && a.Pipeline != "":
			return bad(at+".pipeline", "Only retrain starts a pipeline.")
		case a.Severity != "" && a.Severity != Warning && a.Severity != Critical:
			return bad(at+".severity", "%q is no severity; use warning or critical.", a.Severity)
		case a.Cooldown < 0 || a.Cooldown > 525_600:
			return bad(at+".cooldown", "A cool-down lasts up to a year, in minutes.")
		case a.Budget < 0 || a.Budget > 1000 || a.Period < 0 || a.Period > 8784:
			return bad(at+".budget", "A budget is up to 1000 in a period of up to 8784 hours.")
		case seen[a.key()]:
			return bad(at+".do", "%s stands in the policy twice.", a.key())
		}
		seen[a.key()] = true
		for _, k := range a.Kinds {
			if !slices.Contains(Kinds, k) {
				return bad(at+".kinds", "%q is no kind of cause; use %s.", k, strings.Join(Kinds, ", "))
			}
		}
	}
	return nil
}

// needs are the permissions that who writes the policy must hold: nobody has done by a policy what they may not do.
func (p *Policy) needs() (out []string) {
	for _, a := range p.Actions {
		switch a.Do {
		case DoSuspend, DoRollback:
			out = append(out, "deployment.operate")
		case DoRetrain:
			out = append(out, "pipeline.run")
		}
	}
	return out
}
