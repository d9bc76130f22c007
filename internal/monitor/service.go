package monitor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/wasm"
)

// Log is what the monitor needs of the prediction log.
type Log interface {
	// Scan calls fn for the calls of an endpoint behind a place ("" is the beginning), in the order of
	// arrival, up to limit of them (0: all). Calls that do not count – failed ones, copies for a shadow –
	// have no rows. An error of fn ends it and is returned. fn must not keep the call or its columns; their texts
	// it may.
	Scan(ctx context.Context, endpoint, after string, limit int, fn func(*Call) error) error
	// Outcomes returns what is known of the given predictions, by prediction and row.
	Outcomes(ctx context.Context, predictions []string) (map[string]map[int]any, error)
	// Labelled lists predictions of an endpoint that outcomes arrived for behind a place in the outcomes, and
	// the place behind them. A prediction may be listed again.
	Labelled(ctx context.Context, endpoint, after string, limit int) (predictions []string, next string, err error)
}

// data is what the monitor needs of its neighbour; dataset.Service has it.
type data interface {
	Get(ctx context.Context, name string) (dataset.Dataset, error)
	Version(ctx context.Context, name string, version int) (dataset.Version, error)
	ByDigest(ctx context.Context, name, digest string) (dataset.Version, error)
	Open(ctx context.Context, name string, version int) (*dataset.Table, error)
	Scan(ctx context.Context, name string, version int, begin func([]dataset.Field) error, each dataset.Visit) (int64, error)
}

// versions tells what a model version was made from; inventory.Service has it.
type versions interface {
	Version(ctx context.Context, model string, number int) (inventory.Version, error)
	Latest(ctx context.Context, models []string) (map[string]inventory.Version, error)
}

// Service watches endpoints. Versions, Rehearsals and Tiers may be nil; without it a version's training data is
// known only to those who tell EnsureFor.
type Service struct {
	DB       *db.DB
	Log      *slog.Logger
	Now      func() time.Time
	Calls    Log
	Data     data
	Versions versions
	// Rehearsals lets a version answer data whose outcomes are known; without it estimates are learnt from outcomes only.
	Rehearsals rehearsals
	// Tiers tells risk tiers; without it limits by tier are those of tier 2.
	Tiers tiers
	// Blobs keeps the modules of custom metrics and Modules runs them; without them there are none.
	Blobs   blob.Store
	Modules *wasm.Host
	Scripts scripts // runs modules in Python; nil where none run
	// Pause is the time between two counts of an endpoint's outcomes, each of which reads the rows of its windows again; 0 is
	// none.
	Pause time.Duration

	mu       sync.Mutex
	tails    map[[2]string]*tail    // by workspace and endpoint
	profiles map[string][2]*profile // of windows that others are compared with
	code     map[string][]byte      // of modules, by digest
	live     map[[2]string]*Live    // counters of the open windows, replaced and never changed
}

// every is the pause between two looks at the log. Requests are in a window within this and the time the
// window takes.
const every = time.Second

// Jobs registers the workers; each runs in one process at a time.
func (s *Service) Jobs(r *job.Runner) {
	r.Every("monitor", every, func(ctx context.Context) error { return s.Tick(job.Gently(ctx)) })
	r.Every("monitor-nightly", time.Hour, s.Nightly)
	r.Handle(BackfillKind, func(ctx context.Context, j job.Job) error {
		var a struct{ ID string }
		if err := j.Bind(&a); err != nil {
			return err
		}
		return s.RunBackfill(ctx, a.ID)
	})
}

// EnsureFor makes sure that an endpoint is watched and that the versions which answer there are compared with their training data;
// the newest of them becomes the monitor's. With an empty ref each version's own data dependency is taken, and where there is none,
// its first quiet window. Calling it again changes nothing.
func (s *Service) EnsureFor(ctx context.Context, endpoint, model string, ref dataset.Ref, versions ...int) error {
	refs := map[int]dataset.Ref{}
	for _, version := range versions {
		ref, err := s.referenceOf(ctx, model, version, ref)
		if err != nil {
			return err
		}
		refs[version] = ref
	}
	if len(refs) == 0 {
		return nil
	}
	newest := slices.Max(versions)
	return s.DB.Write(ctx, func(tx db.Scope) error {
		m, _, err := get(tx, endpoint)
		fresh := problem.Is(err, problem.NotFound)
		if err != nil && !fresh {
			return err
		}
		known, err := states(tx, endpoint)
		if err != nil {
			return err
		}
		changed := fresh || m.Model != model || m.Version != newest
		for version, ref := range refs {
			if old := known[version]; old == nil || old.ref != ref {
				if err := putVersion(tx, endpoint, version, ref); err != nil {
					return err
				}
				changed = true
			}
		}
		if !changed {
			return nil
		}
		if fresh {
			m = Monitor{Endpoint: endpoint, CreatedAt: s.now()}
			m.fill()
		}
		m.Model, m.Version, m.UpdatedAt = model, newest, s.now()
		if !m.Pinned {
			m.Reference = refs[newest]
		}
		if err := m.Check(); err != nil {
			return err
		}
		action := "monitor.changed"
		if fresh {
			action = "monitor.created"
		}
		return errors.Join(put(tx, m),
			audit.Record(tx, action, "monitor/"+endpoint, map[string]any{"model": model, "version": newest, "reference": refs[newest], "limits": m.Limits, "window": m.Window}))
	})
}

// referenceOf gives the data a version is compared with: the named one, or what it was trained on.
func (s *Service) referenceOf(ctx context.Context, model string, version int, ref dataset.Ref) (dataset.Ref, error) {
	if ref.Dataset == "" && s.Versions != nil && version > 0 {
		v, err := s.Versions.Version(ctx, model, version)
		if err != nil && !problem.Is(err, problem.NotFound) {
			return ref, err
		}
		ref = s.trainedOn(ctx, v)
	}
	if ref.Dataset == "" {
		return ref, nil
	}
	v, err := s.Data.Version(ctx, ref.Dataset, ref.Version)
	ref.Version = v.Version
	return ref, err
}

func (s *Service) trainedOn(ctx context.Context, v inventory.Version) dataset.Ref {
	for _, d := range v.Dependencies {
		if d.Kind != "data" {
			continue
		}
		ref, err := dataset.ParseRef(strings.TrimSpace(d.Name))
		if err != nil {
			continue
		}
		if n, err := strconv.Atoi(d.Version); err == nil && n > 0 {
			ref.Version = n
		}
		known, err := s.Data.Version(ctx, ref.Dataset, ref.Version)
		if d.Digest != "" {
			known, err = s.Data.ByDigest(ctx, ref.Dataset, d.Digest)
		}
		if err == nil {
			return dataset.Ref{Dataset: known.Dataset, Version: known.Version}
		}
	}
	return dataset.Ref{}
}

// Change is what may be set of a monitor; nil leaves a thing as it is.
type Change struct {
	Model      *string
	Reference  *dataset.Ref // an empty data set: each version's own training data
	Window     *Window      // fields that are 0 stay as they are
	Limits     *Limits      // likewise; an accuracy or RMSE of 0 takes that limit away
	Features   *[]string
	Against    *Against
	Segments   *[]Segment
	Embeddings *[]Embedding
	Ranking    *Ranking
	Metrics    *[]Metric
	Rules      *[]Rule
	Indicators *[]Indicator
	Fairness   *[]GroupLimit
	OnBreach   **OnBreach
}

// Put makes a monitor or changes it. A reference that is set here holds for every version. Columns that are set and that neither
// the signature of the model nor the reference nor a call that was made has are refused; where nothing is known all are taken.
func (s *Service) Put(ctx context.Context, endpoint string, c Change) (m Monitor, err error) {
	if c.Reference != nil && c.Reference.Dataset != "" {
		v, err := s.Data.Version(ctx, c.Reference.Dataset, c.Reference.Version)
		if err != nil {
			return m, err
		}
		c.Reference = &dataset.Ref{Dataset: v.Dataset, Version: v.Version}
	}
	if err := s.refuseUnknown(ctx, endpoint, &c); err != nil {
		return m, err
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		var known map[int]*versionState
		m, _, err = get(tx, endpoint)
		action := "monitor.changed"
		switch {
		case problem.Is(err, problem.NotFound):
			action = "monitor.created"
			model, _, _ := strings.Cut(endpoint, ".")
			m = Monitor{Endpoint: endpoint, Model: model, CreatedAt: s.now()}
		case err != nil:
			return err
		}
		if known, err = states(tx, endpoint); err != nil {
			return err
		}
		if c.Model != nil && *c.Model != "" {
			m.Model = *c.Model
		}
		if c.Reference != nil {
			m.Reference, m.Pinned = *c.Reference, c.Reference.Dataset != ""
			if v := known[m.Version]; !m.Pinned && v != nil {
				m.Reference = v.ref
			}
		}
		if c.Window != nil {
			m.Window.set(*c.Window)
		}
		if c.Limits != nil {
			m.Limits.set(*c.Limits)
		}
		if c.Features != nil {
			m.Features = *c.Features
		}
		if c.OnBreach != nil {
			m.OnBreach = *c.OnBreach
		}
		c.plan(&m.Plan)
		m.fill()
		if err := m.Check(); err != nil {
			return err
		}
		if c.Against != nil {
			if err := m.comparable(tx, known); err != nil {
				return err
			}
		}
		if err := m.pin(tx); err != nil {
			return err
		}
		m.UpdatedAt = s.now()
		return errors.Join(put(tx, m), audit.Record(tx, action, "monitor/"+endpoint, map[string]any{"model": m.Model, "reference": m.Reference, "pinned": m.Pinned,
			"window": m.Window, "limits": m.Limits, "features": m.Features, "plan": m.Plan, "on_breach": m.OnBreach}))
	})
	return m, err
}

// comparable refuses to compare with a window or a version that the monitor does not have.
func (m *Monitor) comparable(tx db.Scope, known map[int]*versionState) error {
	switch a := m.Against; a.Kind {
	case "window":
		_, err := windowOnly(tx, m.Endpoint, a.Window)
		if problem.Is(err, problem.NotFound) {
			return invalid("against.window", "The monitor of %q has no window %q to compare with; keelson monitor windows lists them.", m.Endpoint, clip(a.Window))
		}
		return err
	case "version":
		if known[a.Version] == nil && len(known) > 0 {
			return invalid("against.version", "Version %d was never watched at %q, so there is nothing to compare with.", a.Version, m.Endpoint)
		}
	}
	return nil
}

// plan sets what is given of a plan.
func (c *Change) plan(p *Plan) {
	if c.Against != nil {
		p.Against = *c.Against
	}
	if c.Segments != nil {
		p.Segments = *c.Segments
	}
	if c.Ranking != nil {
		if p.Ranking = c.Ranking; p.Ranking.Off {
			p.Ranking = nil
		}
	}
	if c.Embeddings != nil {
		p.Embeddings = *c.Embeddings
	}
	if c.Metrics != nil {
		p.Metrics = *c.Metrics
	}
	if c.Rules != nil {
		p.Rules = *c.Rules
	}
	if c.Indicators != nil {
		p.Indicators = *c.Indicators
	}
	if c.Fairness != nil {
		p.Fairness = *c.Fairness
	}
}

// Get returns a monitor; NotFound when there is none.
func (s *Service) Get(ctx context.Context, endpoint string) (m Monitor, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { m, _, err = get(tx, endpoint); return err })
	return m, err
}

// Window returns a window with its histograms; NotFound when there is none.
func (s *Service) Window(ctx context.Context, endpoint, id string) (r Result, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { r, err = window(tx, endpoint, id); return err })
	return r, err
}

// Findings returns a window without its histograms; NotFound when there is none.
func (s *Service) Findings(ctx context.Context, endpoint, id string) (r Result, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { r, err = windowOnly(tx, endpoint, id); return err })
	return r, err
}

// shown is how many windows a verdict looks back over and a page shows.
const shown = 50

// Verdict answers whether what an endpoint serves works the way it should.
func (s *Service) Verdict(ctx context.Context, endpoint string) (v Verdict, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { v, err = verdict(tx, endpoint, s.now()); return err })
	return v, err
}

// verdict judges by the newest windows.
func verdict(tx db.Scope, endpoint string, now time.Time) (Verdict, error) {
	all, err := brief(tx, endpoint, anyVersion, "", shown)
	if err != nil {
		return Verdict{}, err
	}
	v := judge(all, now)
	m, _, err := get(tx, endpoint)
	if problem.Is(err, problem.NotFound) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	standings, err := m.standings(tx)
	v.add(standings, now)
	return v, err
}

// Health answers for every model that is watched, by name: the worst verdict of its endpoints (no, watch,
// yes, unknown) with its reasons.
func (s *Service) Health(ctx context.Context) (out map[string]Verdict, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		out = map[string]Verdict{}
		for after := ""; ; {
			some, err := list(tx, "", after, 500)
			if err != nil || len(some) == 0 {
				return err
			}
			for _, m := range some {
				v, err := verdict(tx, m.Endpoint, s.now())
				if err != nil {
					return err
				}
				if old, ok := out[m.Model]; !ok || rank[v.Verdict] > rank[old.Verdict] {
					out[m.Model] = v
				}
				after = m.Endpoint
			}
		}
	})
	return out, err
}

// rank orders verdicts by how much they matter when a model has several endpoints.
var rank = map[string]int{"unknown": 0, "yes": 1, "watch": 2, "no": 3}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
