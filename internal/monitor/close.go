package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"keelson/internal/audit"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/problem"
	sums "keelson/internal/profile"
)

// close makes a window of what is pending of a version and stores it with its place in the log.
func (s *Service) close(ctx context.Context, m *Monitor, t *tail, version int) error {
	b := t.pending[version]
	state := t.versions[version]
	if state == nil {
		state = &versionState{}
	}
	next := *state
	next.place, next.pace = b.last, *t.paceOf(version)
	next.pace.close()
	r := Result{ID: db.NewID(), Endpoint: m.Endpoint, Model: b.model, Version: version, From: b.from, To: b.to, Rows: b.rows, First: b.first, Last: b.last,
		CreatedAt: s.now(), after: b.after, until: b.last}
	changed, err := s.fillWindow(ctx, m, &next, &r, b)
	if err != nil {
		return err
	}
	low := t.scanned
	if b.last > low {
		low = b.last
	}
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
		moved, err := advance(tx, m.Endpoint, version, state.place, b.last, next.pace)
		if err != nil {
			return err
		}
		if !moved {
			return errMoved
		}
		if changed {
			if err := setBaseline(tx, m.Endpoint, version, next.baseline); err != nil {
				return err
			}
		}
		if next.estimator != nil && state.estimator == nil {
			if err := putEstimator(tx, m.Endpoint, version, next.estimator, r.CreatedAt); err != nil {
				return err
			}
		}
		same, err := brief(tx, m.Endpoint, version, "", 1)
		before := same
		if err == nil && len(before) == 0 { // what the version before had is over with the first window of this one
			before, err = brief(tx, m.Endpoint, anyVersion, "", 1)
		}
		if err != nil {
			return err
		}
		var old []Cause
		if len(before) > 0 {
			old = slices.DeleteFunc(before[0].Causes, Cause.late) // outcomes settle these
		}
		var last *Result
		if len(same) > 0 {
			last = &same[0]
		}
		r.follow(last)
		return errors.Join(setLow(tx, m.Endpoint, low), insertWindow(tx, &r), s.tell(tx, m, &r, Closed, r.Causes, gone(old, r.Causes)))
	})
	if err != nil {
		return err
	}
	t.versions[version], t.low, t.relabel = &next, low, true
	*t.paceOf(version) = next.pace
	delete(t.pending, version)
	s.Log.InfoContext(ctx, "window closed", "endpoint", m.Endpoint, "model", r.Model, "version", version, "rows", r.Rows, "breached", r.Breached, "causes", len(r.Causes))
	return nil
}

// fillWindow compares the rows of a window with what is known of its version. state takes what is learnt on the way; changed
// says that its baseline grew.
func (s *Service) fillWindow(ctx context.Context, m *Monitor, state *versionState, r *Result, b *buffer) (changed bool, err error) {
	base := state.baseline
	inputs, outputs, err := s.reference(ctx, m, state, r)
	if err != nil {
		return false, err
	}
	columns := named(b.inputs.columns, inputs)
	learns := inputs == nil // nothing to compare with: this window may become the reference
	if learns {
		inputs = base.Inputs
	}
	if outputs == nil {
		outputs = base.Outputs
	}
	k := &lore{run: s.runner(ctx), breathe: func() { job.Breathe(ctx) }}
	if k.limits, err = s.limits(ctx, m); err != nil {
		return false, err
	}
	r.Late, r.Early = b.late, slices.Clone(b.early)
	w := &rows{n: b.rows, inputs: columns, outputs: b.outputs.columns}
	if b.rows < m.Window.MinRows {
		r.TooFew = fmt.Sprintf("the window has %d rows, %d are needed", b.rows, m.Window.MinRows)
		r.Features, r.Predictions = compareAll(columns, nil, k, m.Features), []Feature{}
		for i := range r.Features {
			r.Features[i].Why = r.TooFew
		}
		for i := range m.Rules {
			r.Rules = append(r.Rules, m.Rules[i].checkWindow(w, r.From, r.To))
		}
		r.settle(m, base.Yardstick, nil)
		return false, nil
	}
	plain, embedded, read := m.without(columns), m.embeddings(columns), s.readOnce()
	if err := s.learnParts(ctx, m, state, r, embedded, plain, read); err != nil {
		return false, err
	}
	if err := s.learnReference(ctx, m, state, r.Reference, plain, read); err != nil {
		return false, err
	}
	trained := state.ref
	if trained.Dataset == "" { // where nobody knows what it was trained on, the reference that was named
		trained = r.Reference
	}
	if m.Ranking == nil {
		if state.estimator, err = s.estimatorOf(ctx, m, r.Version, state, trained, inputs); err != nil {
			return false, err
		}
	}
	k.estimator, k.together, k.inputs = state.estimator, state.together, inputs
	if k.limits.By == FromReference {
		k.usual = state.usual
	}
	r.Features = compareAll(plain, inputs, k, m.Features)
	r.Predictions = compareAll(b.outputs.columns, outputs, &lore{limits: k.limits, breathe: k.breathe}, nil)
	if state.parts != nil {
		r.Regions, r.Embeddings = state.parts.compareRegions(m, &rows{n: w.n, inputs: plain, outputs: w.outputs}, k.limits), state.parts.compareEmbeddings(m, embedded, w)
		r.Furthest = r.furthest()
		r.FoundDrift = state.parts.foundDrift(&rows{n: w.n, inputs: plain, outputs: w.outputs}, k)
	}
	k.pause()
	r.study(m, w, k, b.where)
	r.settle(m, base.Yardstick, nil)
	if !has(r.Causes, "data") {
		if learns && base.Inputs == nil {
			base.Inputs, changed = profileOf(columns, nil), true
		}
		if base.Outputs == nil {
			base.Outputs, changed = profileOf(b.outputs.columns, nil), true
		}
		if base.Window == "" {
			base.Window, changed = r.ID, true
		}
	}
	state.baseline = base
	return changed, nil
}

// learnReference learns from the reference's rows what is kept in memory: how whole rows lie and how far its chunks vary. It
// is learnt once per reference and size of window, again after a restart, with equal results.
func (s *Service) learnReference(ctx context.Context, m *Monitor, state *versionState, ref dataset.Ref, inputs []series, read reading) error {
	if ref.Dataset == "" || state.together != nil && state.learnt == ref && state.chunk == m.Window.Rows {
		return nil
	}
	all, types, err := read(ctx, ref)
	if err != nil {
		switch problem.KindOf(err) {
		case problem.NotFound, problem.Conflict, problem.Invalid, problem.TooLarge:
			state.together, state.learnt, state.chunk = &together{why: "the reference cannot be read"}, ref, m.Window.Rows
			return nil
		}
		return err
	}
	state.together, state.learnt, state.chunk = learnTogether(shared(all, inputs), m.Window.Rows), ref, m.Window.Rows
	state.usual = nil
	if m.Limits.By == FromReference {
		state.usual = usualOf(profileOf(all, types), all, m.Window.Rows)
	}
	return nil
}

// compareAll holds the columns of a window against a reference. only narrows them when it is not empty.
func compareAll(columns []series, p *profile, k *lore, only []string) []Feature {
	l := k.limits
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
		k.pause()
		if p == nil {
			out = append(out, Feature{Name: s.name, Kind: kindOfSeries(s), Shift: "unknown", Limit: l.PSI, Why: becomesReference})
			continue
		}
		c := p.find(s.name)
		if c == nil {
			out = append(out, Feature{Name: s.name, Kind: kindOfSeries(s), Shift: "unknown", Limit: l.PSI, Why: "the reference has no column of this name"})
			continue
		}
		mine := l
		if u, ok := k.usual[s.name]; ok {
			mine = l.of(u, rate(c.Missing+c.Infinite, c.Valid+c.Missing+c.Infinite))
		}
		out = append(out, c.compare(s, mine, len(chosen)))
	}
	return out
}

func kindOfSeries(s series) string {
	if s.words != nil {
		return wordKind
	}
	return numberKind
}

// shared are the columns of a reference that a window has too.
func shared(reference, inputs []series) (out []series) {
	for _, s := range reference {
		if seriesOf(inputs, s.name) != nil {
			out = append(out, s)
		}
	}
	return out
}

// against is what a window is compared with; one whose end is not known yet ends now.
func (s *Service) against(m *Monitor, r *Result) Against {
	end := r.To
	if end.IsZero() {
		end = s.now()
	}
	return m.Against.at(end)
}

// reference returns the profiles that the inputs and the outputs of a window are compared with, made on first use; nil where
// it is not known or cannot be read, in which case the version's first quiet window stands for it.
func (s *Service) reference(ctx context.Context, m *Monitor, state *versionState, r *Result) (inputs, outputs *profile, err error) {
	ref := state.ref
	switch against := s.against(m, r); against.Kind {
	case "window":
		return s.windowProfile(ctx, m, against.Window)
	case "version":
		var known map[int]*versionState
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { known, err = states(tx, m.Endpoint); return err }); err != nil {
			return nil, nil, err
		}
		other := known[against.Version]
		if other == nil {
			return nil, nil, nil // it has not answered here yet
		}
		if ref, outputs = other.ref, other.baseline.Outputs; ref.Dataset == "" {
			return other.baseline.Inputs, outputs, nil
		}
	default:
		if m.Pinned || ref.Dataset == "" && m.Version == 0 {
			ref = m.Reference
		}
	}
	if ref.Dataset == "" {
		return nil, nil, nil
	}
	var p *profile
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { p, err = storedProfile(tx, ref); return err })
	if err != nil {
		return nil, nil, err
	}
	if p == nil {
		if p, err = s.profile(ctx, ref); err != nil {
			switch problem.KindOf(err) {
			case problem.NotFound, problem.Conflict, problem.Invalid, problem.TooLarge:
				s.Log.ErrorContext(ctx, "the reference cannot be read; the first quiet window stands for it", "endpoint", m.Endpoint, "dataset", ref.Dataset, "version", ref.Version, "error", err)
				return nil, nil, nil
			}
			return nil, nil, err
		}
		err = s.DB.Write(ctx, func(tx db.Scope) error { return storeProfile(tx, ref, p, db.Micros(s.now())) })
		if err != nil {
			return nil, nil, err
		}
	}
	r.Reference = ref
	return p, outputs, nil
}

// windowProfile sums up the rows of a stored window, once; nil when there is none of that id any more.
func (s *Service) windowProfile(ctx context.Context, m *Monitor, id string) (inputs, outputs *profile, err error) {
	s.mu.Lock()
	known, ok := s.profiles[m.Endpoint+"\x00"+id]
	s.mu.Unlock()
	if ok {
		return known[0], known[1], nil
	}
	var of Result
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { of, err = window(tx, m.Endpoint, id); return err })
	if problem.Is(err, problem.NotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	b, err := s.rowsOf(ctx, m, &of, true)
	if err != nil || b.rows == 0 {
		return nil, nil, err
	}
	known = [2]*profile{profileOf(b.inputs.columns, nil), profileOf(b.outputs.columns, nil)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.profiles == nil || len(s.profiles) > 100 {
		s.profiles = map[string][2]*profile{}
	}
	s.profiles[m.Endpoint+"\x00"+id] = known
	return known[0], known[1], nil
}

// rowsOf reads the rows of a stored window again.
func (s *Service) rowsOf(ctx context.Context, m *Monitor, r *Result, inputs bool) (*buffer, error) {
	b := &buffer{}
	before := r.after
	err := s.Calls.Scan(ctx, m.Endpoint, r.after, 0, func(c *Call) error {
		if c.ID > r.until {
			return errDone
		}
		if c.Version == r.Version && c.Rows > 0 {
			if !inputs {
				c.Inputs = nil
			}
			b.add(c, before)
		}
		before = c.ID
		return nil
	})
	if errors.Is(err, errDone) {
		err = nil
	}
	return b, err
}

// profile reads a data version and sums up its columns.
func (s *Service) profile(ctx context.Context, ref dataset.Ref) (*profile, error) {
	all, types, err := s.tableOf(ctx, ref)
	if problem.Is(err, problem.TooLarge) { // it does not fit into memory: column by column, with sketches
		return s.sketched(ctx, ref)
	}
	if err != nil {
		return nil, err
	}
	return profileOf(all, types), nil
}

// sketched sums up the columns of a data version in bounded memory.
func (s *Service) sketched(ctx context.Context, ref dataset.Ref) (*profile, error) {
	d, err := s.Data.Get(ctx, ref.Dataset)
	if err != nil {
		return nil, err
	}
	var columns []*sums.Column
	var types []string
	rows, err := s.Data.Scan(ctx, ref.Dataset, ref.Version, func(fields []dataset.Field) error {
		size := min(max(sketchBudget/max(len(fields), 1), 64), sums.Buckets)
		for _, f := range fields {
			kind := sums.Number
			if f.Type == dataset.String || f.Type == dataset.Bool {
				kind = sums.Word
			}
			columns, types = append(columns, sums.New(f.Name, kind, size)), append(types, string(f.Type))
		}
		return nil
	}, func(column int, number float64, word []byte) error {
		c := columns[column]
		switch {
		case c.Kind == sums.Number:
			c.Add(number)
		case word != nil:
			c.AddWord(string(word))
		case number == number: // a truth value
			c.AddWord(strconv.FormatBool(number != 0))
		default:
			c.AddWord("")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := &profile{Rows: int(rows)}
	samples := samplesOf(len(columns))
	for i, c := range columns {
		if c.Name != d.Target {
			p.Columns = append(p.Columns, columnFrom(c, types[i], samples))
		}
	}
	return p, nil
}

// sketchBudget is how many buckets all columns of a reference have together: 64 MB at most while they are filled.
const sketchBudget = 2 << 20

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
	if s.now().Sub(r.To) > silence {
		begun = nil // a new monitor reads old windows: nobody is alerted of the past
	}
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
