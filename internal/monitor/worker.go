package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// tail is what a worker remembers of an endpoint between two looks: how far it has read and the rows that
// do not make a window yet. It can be dropped at any time; what is stored gives it back.
type tail struct {
	generation int64
	scanned    string
	pending    map[int]*buffer
	versions   map[int]*versionState
	low        string    // as stored
	relabel    bool      // windows were closed whose outcomes may have come before
	counted    time.Time // when outcomes of the open windows were last counted
	told       time.Time // when outcomes were last counted
	watchers   map[int]*watcher
	paces      map[int]*pace
}

const (
	batch   = 500            // calls between two looks at the clock
	openFor = 24 * time.Hour // a window with at least MinRows rows is closed after that
	// settle is how long after its end a window of time waits for rows that other processes are still filing.
	settle = 15 * time.Second
	// patience is how long one monitor that is far behind may keep the others waiting.
	patience = 10 * time.Second
	// recount is the pause between two counts of the outcomes of open windows that are cut by outcomes.
	recount = 5 * time.Second
	// most is the largest window, whatever cuts it.
	most = 100_000
)

// errPatience ends a look that takes too long.
var errPatience = errors.New("the others wait")

// errMoved says that another worker has stored what this one was about to.
var errMoved = errors.New("another worker was faster")

// Tick looks once at every monitor of every workspace: it reads what is new in the log, closes the windows
// that are full and counts the outcomes that have arrived. A monitor that fails does not stop the others.
func (s *Service) Tick(ctx context.Context) error {
	return s.every(ctx, func(ctx context.Context, at [2]string) error {
		if err := s.look(ctx, at); !errors.Is(err, errMoved) {
			return err
		}
		return nil
	})
}

// every calls do for each monitor, a workspace and an endpoint, of every workspace. One that fails does not stop the others.
func (s *Service) every(ctx context.Context, do func(ctx context.Context, at [2]string) error) error {
	var all [][2]string
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) { all, err = everywhere(tx); return err })
	if err != nil {
		return fmt.Errorf("list monitors: %w", err)
	}
	var failed []error
	for _, at := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		one := caller.WithWorkspace(caller.System(ctx, "monitor"), at[0])
		if err := do(one, at); err != nil {
			failed = append(failed, fmt.Errorf("monitor of %s: %w", at[1], err))
		}
	}
	return errors.Join(failed...)
}

// look reads one endpoint up to the end of its log.
func (s *Service) look(ctx context.Context, at [2]string) error {
	endpoint := at[1]
	var m Monitor
	var p progress
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) { m, p, err = get(tx, endpoint); return err })
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	t, err := s.tail(ctx, at, endpoint, p)
	if err != nil {
		return err
	}
	if err := s.read(ctx, &m, t); err != nil {
		s.drop(at) // what was half-way is read again
		return err
	}
	s.mu.Lock()
	if s.live == nil {
		s.live = map[[2]string]*Live{}
	}
	s.live[at] = t.counters(&m, s.now())
	s.mu.Unlock()
	return s.label(ctx, &m, t, p.outcomes)
}

// tail returns what is remembered of an endpoint, or starts over from what is stored.
func (s *Service) tail(ctx context.Context, at [2]string, endpoint string, p progress) (*tail, error) {
	s.mu.Lock()
	t := s.tails[at]
	s.mu.Unlock()
	if t != nil && t.generation == p.generation {
		return t, nil
	}
	t = &tail{generation: p.generation, scanned: p.low, low: p.low, pending: map[int]*buffer{}, relabel: true}
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) { t.versions, err = states(tx, endpoint); return err })
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tails == nil {
		s.tails = map[[2]string]*tail{}
	}
	s.tails[at] = t
	return t, nil
}

func (s *Service) drop(at [2]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tails, at)
}

// read goes through what is new in the log and closes windows.
func (s *Service) read(ctx context.Context, m *Monitor, t *tail) error {
	begun := time.Now()
	for _, v := range t.versions {
		v.asked = false
	}
	n := 0
	err := s.Calls.Scan(ctx, m.Endpoint, t.scanned, 0, func(c *Call) error {
		if n++; n%batch == 0 && time.Since(begun) > patience {
			return errPatience // before the call was looked at
		}
		before := t.scanned
		v := t.versions[c.Version]
		if c.Rows == 0 || v != nil && c.ID <= v.place {
			t.scanned = c.ID
			return nil
		}
		b := t.pending[c.Version]
		if b != nil && !b.end.IsZero() && !c.At.Before(b.end) && b.rows > 0 { // the row begins the next window of time
			if err := s.close(ctx, m, t, c.Version); err != nil {
				return err
			}
			b = nil
		}
		t.scanned = c.ID
		if b == nil {
			b = t.open(m, c, s.now())
		}
		b.add(c, before)
		t.watch(c, b)
		if !t.full(m, c.Version, b, c.At, s.now()) {
			return nil
		}
		return s.close(ctx, m, t, c.Version)
	})
	if errors.Is(err, errPatience) {
		return nil // the rest is read at the next look
	}
	if err != nil {
		return err
	}
	if err := s.countOutcomes(ctx, m, t); err != nil {
		return err
	}
	for version, b := range t.pending {
		now := s.now()
		due := t.full(m, version, b, now, now)
		due = due || m.Window.Every == "" && b.rows >= m.Window.MinRows && now.Sub(b.from) > openFor
		if due = due || !b.end.IsZero() && b.rows > 0 && now.Sub(b.end) >= settle; due {
			if err := s.close(ctx, m, t, version); err != nil {
				return err
			}
		}
	}
	return s.settleLow(ctx, m, t)
}

// open begins a window with a call.
func (t *tail) open(m *Monitor, c *Call, now time.Time) *buffer {
	b := &buffer{}
	if span := m.Window.length(); span > 0 {
		at := c.At
		if at.After(now) { // a clock that is ahead does not keep the window open
			at = now
		}
		b.begin = at.Truncate(span)
		b.end = b.begin.Add(span)
	}
	t.pending[c.Version] = b
	return b
}

// countOutcomes closes the windows that are cut by outcomes and have enough of them.
func (s *Service) countOutcomes(ctx context.Context, m *Monitor, t *tail) error {
	if m.Window.Labels == 0 || s.now().Sub(t.counted) < recount {
		return nil
	}
	t.counted = s.now()
	for version, b := range t.pending {
		if b.rows < m.Window.Labels {
			continue
		}
		known, err := s.outcomesOf(ctx, b.calls)
		if err != nil {
			return err
		}
		n := 0
		for _, rows := range known {
			n += len(rows)
		}
		if n >= m.Window.Labels {
			if err := s.close(ctx, m, t, version); err != nil {
				return err
			}
		}
	}
	return nil
}

// outcomesOf reads what is known of calls.
func (s *Service) outcomesOf(ctx context.Context, calls []callRows) (map[string]map[int]any, error) {
	known := map[string]map[int]any{}
	ids := make([]string, len(calls))
	for i, c := range calls {
		ids[i] = c.id
	}
	for part := range slices.Chunk(ids, 500) {
		some, err := s.Calls.Outcomes(ctx, part)
		if err != nil {
			return nil, err
		}
		for id, rows := range some {
			known[id] = rows
		}
	}
	return known, nil
}

// watch lets the online detector see the first output of a call's rows.
func (t *tail) watch(c *Call, b *buffer) {
	if len(c.Outputs) == 0 || c.Outputs[0].Numbers == nil {
		return
	}
	if t.watchers == nil {
		t.watchers = map[int]*watcher{}
	}
	w := t.watchers[c.Version]
	if w == nil {
		w = &watcher{signal: "prediction"}
		t.watchers[c.Version] = w
	}
	if v := t.versions[c.Version]; v != nil && v.baseline.Outputs != nil && len(v.baseline.Outputs.Columns) > 0 {
		if o := &v.baseline.Outputs.Columns[0]; o.Kind == numberKind && (o.Min < 0 || o.Max > 1) && w.adwin == nil {
			w.low, w.top = o.Min, o.Max
		}
	}
	from := b.rows - c.Rows
	for i, v := range c.Outputs[0].Numbers {
		if i < c.Rows && finite(v) {
			w.see(v, from+i)
		}
	}
	b.early = append(b.early, w.found...)
	w.found = nil
}

// lowest is the place up to which every row is in a window.
func (t *tail) lowest() string {
	low := t.scanned
	for _, b := range t.pending {
		if b.rows > 0 && b.after < low {
			low = b.after
		}
	}
	return low
}

// settleLow stores how far a restart may begin, when that is far from where it would begin now.
func (s *Service) settleLow(ctx context.Context, m *Monitor, t *tail) error {
	low := t.lowest()
	if low == t.low || len(t.pending) > 0 {
		return nil // it is stored with the next window
	}
	if err := s.DB.Write(ctx, func(tx db.Scope) error { return setLow(tx, m.Endpoint, low) }); err != nil {
		return err
	}
	t.low = low
	return nil
}
