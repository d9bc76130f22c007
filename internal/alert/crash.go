package alert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/incident"
)

// quiet is how long an engine that broke down has to hold until its alert is over. It is longer than a version rests.
const quiet = 30 * time.Minute

// Fall is an engine that broke down: the version's own process ended, or the engine within the server panicked.
type Fall struct {
	Model    string
	Endpoint string // where the version answers; empty: nowhere
	Version  int    // 0: not known
	Panic    bool
	Rests    bool   // it fell so often that it is not started again for a while
	Why      string // one sentence; everybody who is told of the alert reads it
	Words    string // the last that the process said, which may tell of inputs: for those who read the incident
}

// grave says whether answers are lost until somebody acts.
func (f Fall) grave() bool { return f.Panic || f.Rests }

func (f Fall) kind() string {
	if f.Panic {
		return incident.EnginePanic
	}
	return incident.EngineCrashed
}

// Metrics of a crash alert: what fell.
const (
	ofPanic   = "panics"
	ofProcess = "ends"
)

// Fell hears that an engine broke down. Once is enough for an alert, which opens the incident of its model, or joins it,
// whatever the policy says of incidents; the other acts of the policy, and to whom it is passed on, are those of any alert.
// A version that answers nowhere has no alert, and an incident of the same kind.
func (s *Service) Fell(ctx context.Context, f Fall) error {
	if f.Endpoint == "" {
		severity, detail := incident.Low, f.Why
		if f.grave() {
			severity = incident.High
		}
		if f.Words != "" {
			detail += " Its last words: " + f.Words
		}
		err := s.DB.Write(ctx, func(tx db.Scope) error {
			_, err := s.Incidents.OpenIn(tx, incident.New{Kind: f.kind(), Model: f.Model, Severity: severity, Key: causeKey(f.Model, Crash),
				Title: fmt.Sprintf(says[Crash][1]+".", f.Model), Detail: detail})
			return err
		})
		if err != nil {
			return fmt.Errorf("incident of the engine of %s: %w", f.Model, err)
		}
		return nil
	}
	p, err := s.PolicyOf(ctx, f.Model)
	if err != nil {
		return err
	}
	p.Windows = 1
	now := s.now()
	metric := ofProcess
	if f.Panic {
		metric = ofPanic
	}
	err = s.hear(ctx, f.Endpoint, f.Model, p, finding{kind: Crash, window: "fall-" + now.Format("20060102T150405.000000"), version: f.Version, from: now, to: now, bad: true, loss: f.grave(),
		columns: []incident.Column{{Key: metric, Metric: metric, Words: f.Why, Value: 1, Windows: 1, Over: true}}})
	if err != nil || f.Words == "" {
		return err
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		a, known, err := newest(tx, f.Endpoint+"\x1f"+Crash)
		if err != nil || !known {
			return err
		}
		return s.Incidents.NoteIn(tx, a.Incident, a.ID+".words"+a.last, now, "Its last words: "+f.Words)
	})
}

// Hold ends the alerts of engines that have not broken down for a while, in all workspaces. Their incidents close by
// themselves as those of other alerts do, where the policy of the model says so; so do the incidents of versions that answer
// nowhere, once: one that a person opens again stays.
func (s *Service) Hold(ctx context.Context) error {
	before := s.now().Add(-quiet)
	var held [][2]string
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { held, err = quietSince(tx, before); return err }); err != nil {
		return fmt.Errorf("list engines that hold: %w", err)
	}
	var failed []error
	for _, h := range held {
		one := caller.WithWorkspace(caller.System(ctx, "alert"), h[0])
		failed = append(failed, s.DB.Write(one, func(tx db.Scope) error {
			a, err := get(tx, h[1])
			if err != nil || a.State == Recovered || a.To.After(before) {
				return err
			}
			p, err := holding(tx, a.Model, "")
			if err != nil {
				return err
			}
			return s.over(tx, &a, fmt.Sprintf("The engine of %s has held for %s.", a.Endpoint, hours(quiet)), p.Close)
		}))
	}
	if s.Incidents == nil {
		return errors.Join(failed...)
	}
	for after, more := "", true; more; {
		var alone []incident.Lone
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { alone, after, more, err = s.alone(tx, before, after); return err }); err != nil {
			return errors.Join(append(failed, fmt.Errorf("list incidents of engines that hold: %w", err))...)
		}
		for _, h := range alone {
			one := caller.WithWorkspace(caller.System(ctx, "alert"), h.Workspace)
			failed = append(failed, s.DB.Write(one, func(tx db.Scope) error {
				if n, err := active(tx, h.ID, ""); err != nil || n > 0 {
					return err
				}
				return s.Incidents.HoldIn(tx, h.ID, before, func(model string) (words string, err error) {
					p, err := holding(tx, model, "")
					if err != nil || !p.Close {
						return "", err
					}
					return fmt.Sprintf("No version of %s has broken down for %s. Closed by itself.", model, hours(quiet)), nil
				})
			}))
		}
	}
	return errors.Join(failed...)
}

// alone looks through a page of the incidents of engines, those behind one, for those that close by themselves. It gives the
// last that it saw and whether there may be more.
func (s *Service) alone(tx db.Scope, before time.Time, after string) (out []incident.Lone, last string, more bool, err error) {
	page, err := s.Incidents.Unmeasured(tx, []string{incident.EngineCrashed, incident.EnginePanic}, before, after)
	if err != nil || len(page) == 0 {
		return nil, after, false, err
	}
	closes := map[[2]string]bool{} // by workspace and model
	for _, l := range page {
		at, of := tx.In(l.Workspace), [2]string{l.Workspace, l.Model}
		does, known := closes[of]
		if !known {
			p, err := holding(at, l.Model, "")
			if err != nil {
				return nil, after, false, err
			}
			does = p.Close
			closes[of] = does
		}
		if !does {
			continue
		}
		n, err := active(at, l.ID, "")
		if err != nil {
			return nil, after, false, err
		}
		if n == 0 {
			out = append(out, l)
		}
	}
	return out, page[len(page)-1].ID, len(page) == incident.LonePage, nil
}
