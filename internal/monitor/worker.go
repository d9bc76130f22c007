package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
)

// tail is what a worker remembers of an endpoint between two looks: how far it has read and the rows that
// do not make a window yet. It can be dropped at any time; what is stored gives it back.
type tail struct {
	generation int64
	scanned    string
	pending    map[int]*buffer
	versions   map[int]*versionState
	low        string // as stored
	relabel    bool   // windows were closed whose outcomes may have come before
}

const (
	batch   = 500
	openFor = 24 * time.Hour // a window with at least MinRows rows is closed after that
)

// errMoved says that another worker has stored what this one was about to.
var errMoved = errors.New("another worker was faster")

// Tick looks once at every monitor of every workspace: it reads what is new in the log, closes the windows
// that are full and counts the outcomes that have arrived. A monitor that fails does not stop the others.
func (s *Service) Tick(ctx context.Context) error {
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
		if err := s.look(one, at); err != nil && !errors.Is(err, errMoved) {
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
	for {
		n := 0
		err := s.Calls.Scan(ctx, m.Endpoint, t.scanned, batch, func(c *Call) error {
			n++
			before := t.scanned
			t.scanned = c.ID
			v := t.versions[c.Version]
			if c.Rows == 0 || v != nil && c.ID <= v.place {
				return nil
			}
			b := t.pending[c.Version]
			if b == nil {
				b = &buffer{}
				t.pending[c.Version] = b
			}
			b.add(c, before)
			if b.rows < m.Window.Rows {
				return nil
			}
			return s.close(ctx, m, t, c.Version)
		})
		if err != nil {
			return err
		}
		if n < batch {
			break
		}
	}
	for version, b := range t.pending {
		if b.rows >= m.Window.MinRows && s.now().Sub(b.from) > openFor {
			if err := s.close(ctx, m, t, version); err != nil {
				return err
			}
		}
	}
	return s.settleLow(ctx, m, t)
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

// close makes a window of what is pending of a version and stores it with its place in the log.
func (s *Service) close(ctx context.Context, m *Monitor, t *tail, version int) error {
	b := t.pending[version]
	state := t.versions[version]
	if state == nil {
		state = &versionState{}
	}
	r := Result{ID: db.NewID(), Endpoint: m.Endpoint, Model: b.model, Version: version, From: b.from, To: b.to, Rows: b.rows, First: b.first, Last: b.last,
		CreatedAt: s.now(), after: b.after, until: b.last}
	base := state.baseline
	inputs, err := s.reference(ctx, m, state, &r)
	if err != nil {
		return err
	}
	columns := named(b.inputs.columns, inputs)
	learns := inputs == nil // nothing to compare with: this window may become the reference
	if learns {
		inputs = base.Inputs
	}
	r.Features = compareAll(columns, inputs, m.Limits, m.Features)
	r.Predictions = compareAll(b.outputs.columns, base.Outputs, m.Limits, nil)
	r.settle(m.Limits, base.Yardstick)
	changed := false
	if !has(r.Causes, "data") {
		if learns && base.Inputs == nil {
			base.Inputs, changed = profileOf(columns, nil), true
		}
		if base.Outputs == nil {
			base.Outputs, changed = profileOf(b.outputs.columns, nil), true
		}
	}
	next := &versionState{ref: state.ref, place: b.last, baseline: base}
	low := t.scanned
	for v, other := range t.pending {
		if v != version && other.rows > 0 && other.after < low {
			low = other.after
		}
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if t.versions[version] == nil {
			if err := firstSeen(tx, m.Endpoint, version); err != nil {
				return err
			}
		}
		moved, err := advance(tx, m.Endpoint, version, state.place, b.last)
		if err != nil {
			return err
		}
		if !moved {
			return errMoved
		}
		if changed {
			if err := setBaseline(tx, m.Endpoint, version, base); err != nil {
				return err
			}
		}
		before, err := windows(tx, m.Endpoint, version, "", 1)
		if err == nil && len(before) == 0 { // what the version before had is over with the first window of this one
			before, err = windows(tx, m.Endpoint, anyVersion, "", 1)
		}
		if err != nil {
			return err
		}
		var old []Cause
		if len(before) > 0 {
			old = slices.DeleteFunc(before[0].Causes, func(c Cause) bool { return c.Kind == "result" }) // outcomes settle these
		}
		return errors.Join(setLow(tx, m.Endpoint, low), insertWindow(tx, &r), s.tell(tx, m, &r, Closed, r.Causes, gone(old, r.Causes)))
	})
	if err != nil {
		return err
	}
	t.versions[version], t.low, t.relabel = next, low, true
	delete(t.pending, version)
	s.Log.InfoContext(ctx, "window closed", "endpoint", m.Endpoint, "model", r.Model, "version", version, "rows", r.Rows, "breached", r.Breached, "causes", len(r.Causes))
	return nil
}

// compareAll holds the columns of a window against a reference. only narrows them when it is not empty.
func compareAll(columns []series, p *profile, l Limits, only []string) []Feature {
	out := []Feature{}
	var chosen []series
	for _, s := range columns {
		if len(only) == 0 || slices.Contains(only, s.name) {
			chosen = append(chosen, s)
		}
	}
	for _, name := range only {
		if !slices.ContainsFunc(chosen, func(s series) bool { return s.name == name }) {
			out = append(out, Feature{Name: name, Kind: numberKind, Shift: "unknown", Limit: l.PSI, Why: "the logged inputs have no column of this name"})
		}
	}
	for _, s := range chosen {
		if p == nil {
			out = append(out, Feature{Name: s.name, Kind: kindOfSeries(s), Shift: "unknown", Limit: l.PSI, Why: "there is no reference yet; the first quiet window becomes it"})
			continue
		}
		c := p.find(s.name)
		if c == nil {
			out = append(out, Feature{Name: s.name, Kind: kindOfSeries(s), Shift: "unknown", Limit: l.PSI, Why: "the reference has no column of this name"})
			continue
		}
		out = append(out, c.compare(s, l, len(chosen)))
	}
	return out
}

func kindOfSeries(s series) string {
	if s.words != nil {
		return wordKind
	}
	return numberKind
}

// reference returns the profile of a version's training data, made on first use; nil when it is not known
// or cannot be read, in which case the version's first quiet window stands for it.
func (s *Service) reference(ctx context.Context, m *Monitor, state *versionState, r *Result) (*profile, error) {
	ref := state.ref
	if m.Pinned || ref.Dataset == "" && m.Version == 0 {
		ref = m.Reference
	}
	if ref.Dataset == "" {
		return nil, nil
	}
	var p *profile
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) { p, err = storedProfile(tx, ref); return err })
	if err != nil {
		return nil, err
	}
	if p == nil {
		if p, err = s.profile(ctx, ref); err != nil {
			switch problem.KindOf(err) {
			case problem.NotFound, problem.Conflict, problem.Invalid, problem.TooLarge:
				s.Log.ErrorContext(ctx, "the reference cannot be read; the first quiet window stands for it", "endpoint", m.Endpoint, "dataset", ref.Dataset, "version", ref.Version, "error", err)
				return nil, nil
			}
			return nil, err
		}
		err = s.DB.Write(ctx, func(tx db.Scope) error { return storeProfile(tx, ref, p, db.Micros(s.now())) })
		if err != nil {
			return nil, err
		}
	}
	r.Reference = ref
	return p, nil
}

// profile reads a data version and sums up its columns.
func (s *Service) profile(ctx context.Context, ref dataset.Ref) (*profile, error) {
	d, err := s.Data.Get(ctx, ref.Dataset)
	if err != nil {
		return nil, err
	}
	table, err := s.Data.Open(ctx, ref.Dataset, ref.Version)
	if err != nil {
		return nil, err
	}
	return fromTable(table, d.Target), nil
}

// gone lists the causes of the window before that are no longer there.
func gone(before, now []Cause) (out []Cause) {
	for _, c := range before {
		if !slices.ContainsFunc(now, func(n Cause) bool { return n.Key() == c.Key() }) {
			out = append(out, c)
		}
	}
	return out
}

// tell publishes that there is news of a window, and records and publishes what began and what is over.
func (s *Service) tell(tx db.Scope, m *Monitor, r *Result, news string, begun, over []Cause) error {
	errs := []error{event.Publish(tx, news, "monitor/"+m.Endpoint, News{m.Endpoint, r.Model, r.Version, r.ID, r.Verdict})}
	for _, turn := range []struct {
		typ    string
		causes []Cause
	}{{Breached, begun}, {Recovered, over}} {
		if len(turn.causes) == 0 {
			continue
		}
		b := Breach{Endpoint: m.Endpoint, Model: r.Model, Version: r.Version, Window: r.ID, From: r.From, To: r.To, Causes: turn.causes}
		for _, c := range turn.causes {
			name := c.Feature
			if c.Kind == "result" {
				name = c.Metric
			}
			b.Features = append(b.Features, name)
		}
		if m.OnBreach != nil && turn.typ == Breached {
			b.Retrain = m.OnBreach.Retrain
		}
		object := "monitor/" + m.Endpoint
		errs = append(errs, audit.Record(tx, turn.typ, object, b), event.Publish(tx, turn.typ, object, b))
	}
	return errors.Join(errs...)
}
