package monitor

import (
	"context"
	"errors"
	"slices"

	"keelson/internal/dataset"
	"keelson/internal/db"
)

// label counts the outcomes that have arrived since the last look and those of windows just closed.
func (s *Service) label(ctx context.Context, m *Monitor, t *tail, place string) (err error) {
	if s.Pause > 0 && s.now().Sub(t.told) < s.Pause {
		return nil // what has arrived meanwhile is counted then; the place in the outcomes stays
	}
	t.told = s.now()
	dirty := map[string]Result{}
	if t.relabel {
		// Without a single outcome no window can be measured, and reading their rows again would cost as much as the calls.
		if t.relabel, err = s.anyOutcome(ctx, m.Endpoint); err != nil {
			return err
		}
	}
	if t.relabel {
		err := s.DB.Read(ctx, func(tx db.Scope) error {
			all, err := brief(tx, m.Endpoint, anyVersion, "", shown)
			for _, r := range all {
				if r.Performance == nil {
					dirty[r.ID] = r
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	next := place
	for {
		ids, to, err := s.Calls.Labelled(ctx, m.Endpoint, next, 2000)
		if err != nil {
			return err
		}
		if err := s.touched(ctx, m.Endpoint, ids, dirty); err != nil {
			return err
		}
		if to == next || len(ids) == 0 {
			break
		}
		next = to
	}
	ordered := make([]Result, 0, len(dirty))
	for _, r := range dirty {
		ordered = append(ordered, r)
	}
	slices.SortFunc(ordered, func(a, b Result) int { // the yardstick is the oldest
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	for i := range ordered {
		if err := s.measure(ctx, m, t, &ordered[i]); err != nil {
			return err
		}
	}
	t.relabel = false
	if next == place {
		return nil
	}
	return s.DB.Write(ctx, func(tx db.Scope) error { return setOutcomes(tx, m.Endpoint, next) })
}

// anyOutcome tells whether an outcome of an endpoint's predictions was ever told.
func (s *Service) anyOutcome(ctx context.Context, endpoint string) (bool, error) {
	ids, _, err := s.Calls.Labelled(ctx, endpoint, "", 1)
	return len(ids) > 0, err
}

// touched adds the windows that hold the predictions.
func (s *Service) touched(ctx context.Context, endpoint string, ids []string, into map[string]Result) error {
	if len(ids) == 0 {
		return nil
	}
	return s.DB.Read(ctx, func(tx db.Scope) error {
		for _, id := range ids {
			held := false
			for _, r := range into {
				held = held || r.First <= id && id <= r.Last
			}
			if held {
				continue // its windows are all in: those of one span are found together
			}
			found, err := holding(tx, endpoint, id)
			if err != nil {
				return err
			}
			for _, r := range found {
				into[r.ID] = r
			}
		}
		return nil
	})
}

var errDone = errors.New("the window has been read")

// measure reads a window's rows again with what is known of their outcomes and stores what that changes.
func (s *Service) measure(ctx context.Context, m *Monitor, t *tail, r *Result) error {
	b, err := s.rowsOf(ctx, m, r, true)
	if err != nil {
		return err
	}
	known, err := s.outcomesOf(ctx, b.calls)
	if err != nil {
		return err
	}
	state := t.versions[r.Version]
	if state == nil {
		state = &versionState{}
	}
	inputs, _, err := s.reference(ctx, m, state, &Result{})
	if err != nil {
		return err
	}
	w := &rows{n: b.rows, inputs: named(b.inputs.columns, inputs), outputs: b.outputs.columns, outcomes: b.outcomes(known)}
	p := m.evaluate(w, b.calls)
	if p == nil {
		return nil
	}
	base := state.baseline
	metric, value, ok := p.measure()
	first := ok && base.Yardstick == nil && t.versions[r.Version] != nil
	if first {
		base.Yardstick = &yardstick{Metric: metric, Value: value, N: p.counted(), Window: r.ID}
	}
	yard := base.Yardstick
	if yard != nil && yard.Window == r.ID {
		if ok { // more outcomes of the window that sets the measure
			first = *yard != yardstick{metric, value, p.counted(), r.ID} || first
			base.Yardstick = &yardstick{metric, value, p.counted(), r.ID}
		}
		yard = nil // it is not held against itself
	}
	told := *r
	told.Performance = p
	told.judgeRows(m, w, &lore{estimator: state.estimator, inputs: inputs, run: s.runner(ctx)})
	var learnt *estimator
	if m.Ranking == nil && (state.estimator == nil || state.estimator.Method == "") { // no data to rehearse on: outcomes will do
		if e := learn(w, "outcomes", dataset.Ref{}); e.Method != "" {
			learnt = e
		}
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		now, err := window(tx, m.Endpoint, r.ID)
		if err != nil {
			return err
		}
		old := now.Causes
		now.Performance, now.Metrics, now.Segments, now.Found, now.Worst, now.Early = p, told.Metrics, told.Segments, told.Found, told.Worst, told.Early
		now.Fairness = told.Fairness
		now.Estimate.confirm(p)
		if first {
			if err := setBaseline(tx, m.Endpoint, r.Version, base); err != nil {
				return err
			}
		}
		if learnt != nil {
			if err := putEstimator(tx, m.Endpoint, r.Version, learnt, s.now()); err != nil {
				return err
			}
		}
		last, err := previous(tx, m.Endpoint, r)
		if err != nil {
			return err
		}
		now.settle(m, yard, last)
		begun := gone(now.Causes, old)
		var over []Cause
		if newest, err := brief(tx, m.Endpoint, r.Version, "", 1); err != nil {
			return err
		} else if len(newest) == 1 && newest[0].ID == r.ID {
			over = gone(old, now.Causes)
			// The window before may have been worse; its trouble is over when this one's outcomes say so.
			if last != nil {
				_, _, ok := p.measure()
				for _, c := range gone(last.Causes, now.Causes) {
					if c.Kind == "result" && !c.Estimated && ok && r.Performance == nil || c.Late && now.fairAgain(c) && !r.fairAgain(c) {
						over = append(over, c)
					}
				}
			}
		}
		return errors.Join(updateWindow(tx, &now), s.tell(tx, m, &now, Labelled, begun, over))
	})
	if err != nil {
		return err
	}
	if t.versions[r.Version] != nil {
		state.baseline.Yardstick = base.Yardstick
		if learnt != nil {
			state.estimator = learnt
		}
	}
	return nil
}
