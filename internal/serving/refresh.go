package serving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/journal"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// Refresh looks at the releases and puts into force what is new and holds. It fails only when the releases cannot be
// read; a release that is refused is reported and leaves the one in force.
func (s *Service) Refresh(ctx context.Context) error {
	s.init()
	s.refresh.Lock()
	defer s.refresh.Unlock()
	ctx = caller.System(ctx, "serving")
	stored, err := s.Releases.Releases(ctx)
	if err != nil {
		return fmt.Errorf("read releases: %w", err)
	}
	old := *s.table.Load()
	byName := map[name][]Stored{}
	for _, r := range append(s.kept(old), stored...) {
		n := name{r.Workspace, r.Endpoint}
		byName[n] = append(byName[n], r)
	}
	for n := range old {
		if _, ok := byName[n]; !ok {
			byName[n] = nil
		}
	}
	next := table{}
	fresh := false
	for _, n := range sortedNames(byName) {
		have := old[n]
		e := s.decide(ctx, n, have, byName[n])
		if e != nil {
			next[n] = e
		}
		fresh = fresh || e != have
	}
	if s.looked.Load() && !fresh && len(next) == len(old) {
		s.sweep(old) // what was loaded for a release that was refused
		return nil
	}
	s.table.Store(&next)
	s.looked.Store(true)
	s.keep(next)
	s.sweep(next)
	return nil
}

func sortedNames(m map[name][]Stored) []name {
	out := make([]name, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b name) int {
		return strings.Compare(a.workspace+"\x00"+a.endpoint, b.workspace+"\x00"+b.endpoint)
	})
	return out
}

// refused reports why a release is not obeyed. variant tells troubles of one endpoint apart.
func (s *Service) refused(ctx context.Context, n name, variant, why string) {
	s.tell(caller.WithWorkspace(ctx, n.workspace), n.workspace+"/"+n.endpoint+" "+variant+" "+why, func(ctx context.Context) error {
		s.Logger.ErrorContext(ctx, "release refused", "endpoint", n.endpoint, "why", why)
		return s.Incidents.Refused(ctx, n.endpoint, why)
	})
}

type candidate struct {
	doc     release.Document
	payload string
}

// decide gives what is in force at n from now on: the newest release that holds and loads, else what is in force.
func (s *Service) decide(ctx context.Context, n name, have *endpoint, stored []Stored) *endpoint {
	ctx = caller.WithWorkspace(ctx, n.workspace)
	slices.SortStableFunc(stored, func(a, b Stored) int { return int(max(min(b.Serial-a.Serial, 1), -1)) })
	var good []candidate
	for _, r := range stored {
		doc, err := release.Open(s.Key, []byte(r.Envelope))
		if err == nil && (doc.Workspace != n.workspace || doc.Endpoint != n.endpoint || doc.Serial != r.Serial) {
			err = problem.New(problem.Conflict, "The release on record as number %d of %s is number %d of %s.", r.Serial, n.endpoint, doc.Serial, doc.Endpoint)
		}
		if err != nil {
			s.refused(ctx, n, "signature", fmt.Sprintf("Release %d: %s", r.Serial, problem.Detail(err)))
			continue
		}
		good = append(good, candidate{doc, r.Envelope})
	}
	if have != nil {
		if have.doc.Expired(s.Now()) {
			s.refused(ctx, n, "expired", fmt.Sprintf("Release %d expired on %s.", have.doc.Serial, have.doc.ExpiresAt.Format(time.RFC3339)))
		}
		switch {
		case len(good) == 0:
			s.refused(ctx, n, "missing", fmt.Sprintf("Release %d is in force, but no release of the endpoint that holds is on record any more.", have.doc.Serial))
			return have
		case good[0].doc.Serial < have.doc.Serial:
			s.refused(ctx, n, "missing", fmt.Sprintf("Release %d is in force, but the newest that holds on record is %d.", have.doc.Serial, good[0].doc.Serial))
			return have
		case good[0].doc.Serial == have.doc.Serial && have.broken == nil && !have.substitute:
			return have
		}
	}
	if len(good) == 0 {
		return have
	}
	newest := good[0].doc
	if newest.Expired(s.Now()) {
		s.refused(ctx, n, "expired", fmt.Sprintf("Release %d expired on %s.", newest.Serial, newest.ExpiresAt.Format(time.RFC3339)))
		if have != nil {
			return have
		}
		return &endpoint{doc: newest, payload: good[0].payload, since: s.Now()}
	}
	e, err := s.load(ctx, n, newest)
	if err == nil {
		e.keepLimits(have)
		e.payload = good[0].payload
		s.Logger.InfoContext(ctx, "release in force", "endpoint", n.endpoint, "release", newest.Serial, "state", newest.State, "request", newest.Request)
		return e
	}
	if errors.Is(err, engine.ErrPreparing) { // nothing is wrong; the next look tries again
		if have != nil && have.broken == nil {
			return have
		}
		return &endpoint{doc: newest, payload: good[0].payload, since: s.Now(), broken: problem.New(problem.Unavailable, "Version %d of %s is being made ready: %s", live(newest).Version, n.endpoint, problem.Detail(err))}
	}
	s.refused(ctx, n, "load", fmt.Sprintf("Release %d: %s", newest.Serial, problem.Detail(err)))
	if have != nil && have.broken == nil {
		return have
	}
	return s.substitute(ctx, n, good[0], err)
}

// substitute loads the previous approved version in the place of a damaged one; without one the endpoint is broken. It
// is tried again at every look.
func (s *Service) substitute(ctx context.Context, n name, c candidate, cause error) *endpoint {
	e := &endpoint{doc: c.doc, payload: c.payload, since: s.Now(), substitute: true, meter: s.Metrics.meterOf(journal.Key{Workspace: n.workspace, Endpoint: n.endpoint})}
	e.protect(s.Now)
	if prev := c.doc.Previous; prev != nil {
		p := *prev
		p.Kind, p.Share = release.SlotLive, 100
		sl, err := s.slot(ctx, n, c.doc, p)
		if err == nil {
			e.routed = []*slot{sl}
			s.Logger.WarnContext(ctx, "the previous version stands in", "endpoint", n.endpoint, "version", p.Version)
			return e
		}
		if errors.Is(err, engine.ErrPreparing) {
			e.broken = problem.New(problem.Unavailable, "Version %d of %s was refused while loading, and the previous version, which stands in, is being made ready.", live(c.doc).Version, n.endpoint).Because(cause)
			return e
		}
		s.refused(ctx, n, "previous", fmt.Sprintf("Release %d: the previous version cannot stand in: %s", c.doc.Serial, problem.Detail(err)))
	}
	e.broken = problem.New(problem.Unavailable, "Nothing answers at %s: version %d was refused while loading, and there is no earlier version to stand in. An incident is open.", n.endpoint, live(c.doc).Version).Because(cause)
	return e
}

func live(d release.Document) release.Slot {
	for _, sl := range d.Slots {
		if sl.Kind == release.SlotLive {
			return sl
		}
	}
	return release.Slot{}
}

// load loads every slot of a document. A canary or shadow that does not load fails the whole release: what runs must be
// what was approved.
func (s *Service) load(ctx context.Context, n name, doc release.Document) (*endpoint, error) {
	e := &endpoint{doc: doc, since: s.Now(), meter: s.Metrics.meterOf(journal.Key{Workspace: n.workspace, Endpoint: n.endpoint})}
	e.protect(s.Now)
	if doc.State != release.Live {
		return e, nil
	}
	for _, want := range doc.Slots {
		sl, err := s.slot(ctx, n, doc, want)
		if err != nil {
			return nil, fmt.Errorf("version %d: %w", want.Version, err)
		}
		if want.Kind == release.SlotShadow {
			e.shadows = append(e.shadows, sl)
		} else {
			e.routed = append(e.routed, sl)
		}
	}
	e.compare()
	return e, nil
}

func (s *Service) slot(ctx context.Context, n name, doc release.Document, want release.Slot) (*slot, error) {
	v, err := s.version(engine.WithRef(caller.WithWorkspace(ctx, n.workspace), fmt.Sprintf("%s/%d", doc.Model, want.Version)), n, want)
	if err != nil {
		return nil, err
	}
	sig := v.model.Signature()
	own := sig
	var declared engine.Signature
	if len(want.Signature) > 0 && json.Unmarshal(want.Signature, &declared) == nil && declared.Check() == nil {
		sig = sig.WithColumns(declared) // the record may know what the file does not
	}
	counts := s.Metrics.slot(journal.Key{Workspace: n.workspace, Endpoint: n.endpoint, Version: want.Version, Slot: want.Kind})
	return &slot{Slot: want, version: v, signature: sig, gather: lent(own, sig), name: strconv.Itoa(want.Version), redact: prediction.NewRedaction(doc.Redact, sig, prediction.HashKey(s.HashKey, n.workspace)),
		batch: newBatcher(v, int(doc.Limits.BatchRows), counts.meter), metrics: counts}, nil
}

// version gives the loaded version with exactly these files, loading it if there is none.
func (s *Service) version(ctx context.Context, n name, want release.Slot) (*version, error) {
	var b strings.Builder
	b.WriteString(want.Format)
	for _, f := range want.Files {
		b.WriteString("\n" + f.Path + " " + f.Digest)
	}
	key := b.String()
	if v := s.versions[key]; v != nil && !v.closing.Load() {
		return v, nil
	}
	if s.Engines.Slow(want.Format) {
		return nil, s.loadAside(ctx, n, key, want)
	}
	v, err := s.loadVersion(ctx, n, key, want)
	if err != nil {
		return nil, err
	}
	s.versions[key] = v
	return v, nil
}

// loadVersion verifies the files of a version and loads it.
func (s *Service) loadVersion(ctx context.Context, n name, key string, want release.Slot) (*version, error) {
	files, err := openArtifact(ctx, s.Blobs, want.Files, s.Limits.WithDefaults().FileBytes)
	if err != nil {
		return nil, err
	}
	if err := files.verify(); err != nil {
		return nil, err
	}
	begin := time.Now()
	m, found, err := s.Engines.Load(ctx, files, want.Format, s.Limits)
	if err != nil {
		return nil, err
	}
	v := &version{key: key, model: m, engine: found.Engine}
	v.tracer, _ = m.(engine.Tracer)
	s.Logger.InfoContext(ctx, "version loaded", "endpoint", n.endpoint, "version", want.Version, "engine", found.Engine, "artifact", want.ArtifactDigest, "took", time.Since(begin))
	return v, nil
}

// sweep unloads versions that no endpoint uses any more, once their calls are done.
func (s *Service) sweep(t table) {
	used := map[*version]bool{}
	for _, e := range t {
		for _, sl := range append(slices.Clone(e.routed), e.shadows...) {
			used[sl.version] = true
		}
	}
	for key, v := range s.versions {
		if used[v] {
			v.kept = time.Time{} // it is in force now, and goes with what put it there
			continue
		}
		if s.Now().Before(v.kept) {
			continue
		}
		delete(s.versions, key)
		v.closing.Store(true)
		s.closers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := v.close(ctx); err != nil {
				s.Logger.Error("a version could not be unloaded", "error", err)
			}
		})
	}
}

// kept gives the envelopes of the last run while nothing is in force yet.
func (s *Service) kept(in table) []Stored {
	if s.StateFile == "" || len(in) > 0 || s.read {
		return nil
	}
	s.read = true
	b, err := os.ReadFile(s.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var list []Stored
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		s.Logger.Warn("what was in force before cannot be read", "error", err)
		return nil
	}
	// Only what this installation signed counts; a foreign or damaged envelope is not worth an incident.
	return slices.DeleteFunc(list, func(r Stored) bool {
		_, err := release.Open(s.Key, []byte(r.Envelope))
		return err != nil
	})
}

// keep writes what is in force, whole or not at all. A failure is no reason not to serve.
func (s *Service) keep(t table) {
	if s.StateFile == "" {
		return
	}
	var list []Stored
	for n, e := range t {
		list = append(list, Stored{n.workspace, n.endpoint, e.doc.Serial, e.payload})
	}
	slices.SortFunc(list, func(a, b Stored) int {
		return strings.Compare(a.Workspace+"\x00"+a.Endpoint, b.Workspace+"\x00"+b.Endpoint)
	})
	b, err := json.Marshal(list)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.StateFile), 0o700)
	}
	if err == nil {
		err = os.WriteFile(s.StateFile+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(s.StateFile+".new", s.StateFile)
	}
	if err != nil {
		s.Logger.Warn("what is in force could not be written down", "error", err)
	}
}
