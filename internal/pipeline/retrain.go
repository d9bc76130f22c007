package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
)

// breach is what a monitor says when it is breached; without Retrain its plan asks for no new version.
type breach struct {
	Endpoint string   `json:"endpoint"`
	Model    string   `json:"model"`
	Window   string   `json:"window"`
	Retrain  *retrain `json:"retrain,omitempty"`
}

type retrain struct {
	Pipeline string `json:"pipeline"`
}

// defaultCooldown is the least time between two runs started by monitors.
const defaultCooldown = 10 * time.Minute

// Retrain starts the pipeline that a breached monitor names, on the newest data. The same window never starts it twice;
// while a run is under way or the cool-down lasts, nothing starts, and the audit log says so.
func (s *Service) Retrain(ctx context.Context, e event.Event) error {
	var why breach
	if err := json.Unmarshal(e.Data, &why); err != nil {
		return fmt.Errorf("read event %s: %w", e.ID, err)
	}
	if why.Retrain == nil || why.Retrain.Pipeline == "" {
		return nil
	}
	if why.Window == "" {
		why.Window = e.ID
	}
	p, err := s.Get(ctx, why.Retrain.Pipeline)
	if problem.Is(err, problem.NotFound) {
		return s.skip(ctx, why, fmt.Sprintf("There is no pipeline %q.", why.Retrain.Pipeline))
	}
	if err != nil {
		return err
	}
	d, err := Parse("keelson.yaml", []byte(p.definition))
	if err != nil {
		return err
	}
	pause := time.Duration(d.Retrain.Cooldown)
	if pause == 0 {
		pause = defaultCooldown
	}
	var last time.Time
	var busy bool
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		last, busy, err = s.store.lastMonitorRun(tx, p.Name)
		return err
	}); err != nil {
		return err
	}
	switch {
	case busy:
		return s.skip(ctx, why, "A run of the pipeline is under way.")
	case !last.IsZero() && s.Now().Sub(last) < pause:
		return s.skip(ctx, why, fmt.Sprintf("A monitor started the pipeline less than %s ago.", pause))
	}
	_, err = s.Start(ctx, p.Name, Request{}, Trigger{Kind: ByMonitor, Ref: why.Window})
	if problem.Is(err, problem.Conflict) {
		return nil // this window has started it before: events come at least once
	}
	if p, ok := problem.As(err); ok && p.Kind == problem.Invalid {
		return s.skip(ctx, why, p.Detail)
	}
	return err
}

func (s *Service) skip(ctx context.Context, why breach, reason string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, "pipeline.retrain.skipped", "pipeline/"+why.Retrain.Pipeline, map[string]any{"endpoint": why.Endpoint, "window": why.Window,
			"reason": reason, "models": []string{why.Model}})
	})
}
