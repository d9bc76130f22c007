package alert

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"keelson/internal/caller"
	"keelson/internal/incident"
	"keelson/internal/prediction"
)

// Calls counts what endpoints answer; prediction.Log does.
type Calls interface {
	// Minute gives the calls of the minute that begins at from, of every endpoint of all workspaces that had some.
	Minute(from time.Time) []prediction.Minute
}

// Operate judges the calls of the minute that has ended, endpoint by endpoint: the share of those that failed, and the
// 95th percentile of their time. A minute with too few calls says nothing.
func (s *Service) Operate(ctx context.Context) error {
	until := s.now().Truncate(time.Minute)
	from := until.Add(-time.Minute)
	var failed []error
	for _, m := range s.Calls.Minute(from) {
		one := caller.WithWorkspace(caller.System(ctx, "alert"), m.Workspace)
		p, err := s.PolicyOf(one, m.Model)
		if err == nil && m.Calls >= p.MinCalls {
			err = s.hear(one, m.Endpoint, m.Model, p, minute(m, from, until, p))
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// minute is what a minute of calls says of the operation.
func minute(m prediction.Minute, from, until time.Time, p Policy) finding {
	f := finding{kind: Operation, window: "minute-" + from.UTC().Format("20060102T1504"), version: m.Version, rows: m.Calls, from: from, to: until}
	add := func(metric string, value, limit float64) {
		if limit > 0 && value >= limit {
			f.columns = append(f.columns, incident.Column{Metric: metric, Value: value, Limit: limit, Windows: 1, Over: true})
		}
	}
	add("errors", float64(m.Failed)/float64(m.Calls), p.ErrorRate)
	if len(m.Took) > 0 {
		slices.Sort(m.Took)
		p95 := m.Took[int(math.Ceil(0.95*float64(len(m.Took))))-1]
		add("p95_ms", float64(p95.Microseconds())/1000, p.P95MS)
	}
	f.bad = len(f.columns) > 0
	for i := range f.columns {
		f.columns[i].Key = f.columns[i].Metric
		f.columns[i].Name = map[string]string{"errors": "failed calls", "p95_ms": "response time"}[f.columns[i].Metric]
	}
	return f
}
