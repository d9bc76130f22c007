package alert

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"keelson/internal/caller"
	"keelson/internal/incident"
)

// Minute is what one endpoint answered in one minute.
type Minute struct {
	Workspace, Endpoint, Model string
	Version                    int       // that answered most of the calls
	Calls, Failed              int       // of those that were looked at
	Took                       []float64 // milliseconds of each call that did not fail
}

// Calls counts what endpoints answer.
type Calls interface {
	// Minutes gives the calls of every endpoint of all workspaces that answer, from a time on and before another. Of an
	// endpoint with very many calls the newest may stand for all.
	Minutes(ctx context.Context, from, until time.Time) ([]Minute, error)
}

// Operate judges the calls of the minute that has ended, endpoint by endpoint: the share of those that failed, and the
// 95th percentile of their time. A minute with too few calls says nothing.
func (s *Service) Operate(ctx context.Context) error {
	until := s.now().Truncate(time.Minute)
	from := until.Add(-time.Minute)
	all, err := s.Calls.Minutes(ctx, from, until)
	if err != nil {
		return fmt.Errorf("count the calls of a minute: %w", err)
	}
	var failed []error
	for _, m := range all {
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
func minute(m Minute, from, until time.Time, p Policy) finding {
	f := finding{kind: Operation, window: "minute-" + from.UTC().Format("20060102T1504"), version: m.Version, rows: m.Calls, from: from, to: until}
	add := func(metric string, value, limit float64) {
		if limit > 0 && value >= limit {
			f.columns = append(f.columns, incident.Column{Metric: metric, Value: value, Limit: limit, Windows: 1, Over: true})
		}
	}
	add("errors", float64(m.Failed)/float64(m.Calls), p.ErrorRate)
	if len(m.Took) > 0 {
		slices.Sort(m.Took)
		add("p95_ms", m.Took[int(math.Ceil(0.95*float64(len(m.Took))))-1], p.P95MS)
	}
	f.bad = len(f.columns) > 0
	for i := range f.columns {
		f.columns[i].Key = f.columns[i].Metric
		f.columns[i].Name = map[string]string{"errors": "failed calls", "p95_ms": "response time"}[f.columns[i].Metric]
	}
	return f
}
