package pipeline

import (
	"context"
	"encoding/json"
	"errors"
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

// Retrain starts the pipeline that an event about a breach names, as Again does; what waits is in the audit log.
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
	_, _, err := s.again(ctx, why)
	return err
}

// Again starts a pipeline on the newest data because of a cause that a monitor found. The same cause never starts it twice
// and gets the run it started; while another run is under way or the cool-down lasts, nothing starts, and waits says why.
func (s *Service) Again(ctx context.Context, pipeline, model, endpoint, cause string) (run, waits string, err error) {
	return s.again(ctx, breach{Endpoint: endpoint, Model: model, Window: cause, Retrain: &retrain{pipeline}})
}

func (s *Service) again(ctx context.Context, why breach) (run, waits string, err error) {
	p, err := s.Get(ctx, why.Retrain.Pipeline)
	if problem.Is(err, problem.NotFound) {
		return s.skip(ctx, why, fmt.Sprintf("There is no pipeline %q.", why.Retrain.Pipeline))
	}
	if err != nil {
		return "", "", err
	}
	d, err := Parse("keelson.yaml", []byte(p.definition))
	if err != nil {
		return "", "", err
	}
	pause := time.Duration(d.Retrain.Cooldown)
	if pause == 0 {
		pause = defaultCooldown
	}
	// In the transaction of the start, so that of two causes on two nodes in one moment one waits.
	var own string
	judge := func(tx db.Scope) (err error) {
		waits = ""
		if own, err = s.store.startedBy(tx, p.Name, why.Window); err != nil {
			return err
		}
		if own != "" {
			return errWaits // this cause has started it before: events come at least once
		}
		last, busy, err := s.store.lastMonitorRun(tx, p.Name)
		switch {
		case err != nil:
			return err
		case busy:
			waits = "A run of the pipeline is under way."
		case !last.IsZero() && s.Now().Sub(last) < pause:
			waits = fmt.Sprintf("A monitor started the pipeline less than %s ago.", pause)
		default:
			return nil
		}
		return errWaits
	}
	var r Run
	err = s.DB.Read(ctx, judge) // mostly it ends here, without looking for data
	if err == nil {
		r, err = s.start(ctx, p.Name, Request{}, Trigger{Kind: ByMonitor, Ref: why.Window}, judge)
	}
	if problem.Is(err, problem.Conflict) { // for the same cause, a moment ago: which run it is, is what was asked
		if e := s.DB.Read(ctx, func(tx db.Scope) (e error) { own, e = s.store.startedBy(tx, p.Name, why.Window); return e }); e != nil || own != "" {
			return own, "", e
		}
		return "", "Another run of the pipeline was started a moment ago.", nil
	}
	if errors.Is(err, errWaits) {
		if own != "" {
			return own, "", nil
		}
		return s.skip(ctx, why, waits)
	}
	if p, ok := problem.As(err); ok && p.Kind == problem.Invalid {
		return s.skip(ctx, why, p.Detail)
	}
	return r.ID, "", err
}

// errWaits says that a cause starts nothing now.
var errWaits = errors.New("the pipeline waits")

func (s *Service) skip(ctx context.Context, why breach, reason string) (run, waits string, err error) {
	return "", reason, s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, "pipeline.retrain.skipped", "pipeline/"+why.Retrain.Pipeline, map[string]any{"endpoint": why.Endpoint, "window": why.Window,
			"reason": reason, "models": []string{why.Model}})
	})
}

// Definition reads the newest definition of a pipeline.
func (s *Service) Definition(ctx context.Context, name string) (Definition, error) {
	p, err := s.Get(ctx, name)
	if err != nil {
		return Definition{}, err
	}
	return Parse("keelson.yaml", []byte(p.definition))
}
