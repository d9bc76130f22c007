package monitor

import (
	"context"
	"errors"
	"slices"

	"keelson/internal/db"
	"keelson/internal/engine"
)

// label counts the outcomes that have arrived since the last look and those of windows just closed.
func (s *Service) label(ctx context.Context, m *Monitor, t *tail, place string) error {
	dirty := map[string]Result{}
	if t.relabel {
		err := s.DB.Read(ctx, func(tx db.Scope) error {
			all, err := windows(tx, m.Endpoint, anyVersion, "", shown)
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
	var calls []*Call
	var ids []string
	err := s.Calls.Scan(ctx, m.Endpoint, r.after, 0, func(c *Call) error {
		if c.ID > r.until {
			return errDone
		}
		if c.Version == r.Version && c.Rows > 0 {
			c.Inputs = nil
			calls, ids = append(calls, c), append(ids, c.ID)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return err
	}
	known := map[string]map[int]any{}
	for part := range slices.Chunk(ids, 500) {
		some, err := s.Calls.Outcomes(ctx, part)
		if err != nil {
			return err
		}
		for id, rows := range some {
			known[id] = rows
		}
	}
	var rows []labelled
	for _, c := range calls {
		for i := range c.Rows {
			if truth, ok := known[c.ID][i]; ok && truth != nil {
				rows = append(rows, labelled{outputs: outputsOf(c.Outputs, i), truth: truth})
			}
		}
	}
	p := evaluate(rows, r.Rows)
	if p == nil {
		return nil
	}
	var base baseline
	state := t.versions[r.Version]
	if state != nil {
		base = state.baseline
	}
	metric, value, ok := p.measure()
	first := ok && base.Yardstick == nil && state != nil
	if first {
		base.Yardstick = &yardstick{Metric: metric, Value: value, N: p.N, Window: r.ID}
	}
	yard := base.Yardstick
	if yard != nil && yard.Window == r.ID {
		if ok { // more outcomes of the window that sets the measure
			first = *yard != yardstick{metric, value, p.N, r.ID} || first
			base.Yardstick = &yardstick{metric, value, p.N, r.ID}
		}
		yard = nil // it is not held against itself
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		now, err := window(tx, m.Endpoint, r.ID)
		if err != nil {
			return err
		}
		old := now.Causes
		now.Performance = p
		now.settle(m.Limits, yard)
		if first {
			if err := setBaseline(tx, m.Endpoint, r.Version, base); err != nil {
				return err
			}
		}
		begun := gone(now.Causes, old)
		var over []Cause
		if newest, err := windows(tx, m.Endpoint, r.Version, "", 1); err != nil {
			return err
		} else if len(newest) == 1 && newest[0].ID == r.ID {
			over = gone(old, now.Causes)
			// The window before may have been worse; its trouble is over when this one's outcomes say so.
			before, err := windows(tx, m.Endpoint, r.Version, r.ID, 1)
			if err != nil {
				return err
			}
			if _, _, ok := p.measure(); ok && len(before) == 1 {
				for _, c := range gone(before[0].Causes, now.Causes) {
					if c.Kind == "result" && r.Performance == nil {
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
	if state != nil {
		state.baseline.Yardstick = base.Yardstick
	}
	return nil
}

// outputsOf takes one row of a call's outputs.
func outputsOf(columns []engine.Column, row int) []outputValue {
	out := make([]outputValue, 0, len(columns))
	for i := range columns {
		v := outputValue{name: columns[i].Name, number: nan}
		switch c := &columns[i]; {
		case c.Texts != nil && row < len(c.Texts):
			v.word = c.Texts[row]
		case row < len(c.Numbers):
			v.number = c.Numbers[row]
		}
		out = append(out, v)
	}
	return out
}
