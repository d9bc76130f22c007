package monitor

import (
	"context"
	"math"
	"slices"

	"keelson/internal/dataset"
	"keelson/internal/drift"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/score"
)

// tiers tells the risk tier of a model; inventory.Service has it.
type tiers interface {
	Model(ctx context.Context, name string) (inventory.Model, error)
}

// tierLimits are the effect sizes of the risk tiers: what decides over more is watched more closely. Tier 0, not assessed, is
// watched like tier 2.
var tierLimits = map[int]Limits{
	1: {PSIWarn: 0.05, PSI: 0.15, KSWarn: 0.1, KS: 0.18, Missing: 0.05, New: 0.05},
	3: {PSIWarn: 0.15, PSI: 0.35, KSWarn: 0.2, KS: 0.32, Missing: 0.15, New: 0.15},
	4: {PSIWarn: 0.2, PSI: 0.45, KSWarn: 0.25, KS: 0.4, Missing: 0.2, New: 0.2},
}

// limits are those in force: the declared ones, or by the model's tier.
func (s *Service) limits(ctx context.Context, m *Monitor) (Limits, error) {
	l := m.Limits
	if l.By != ByTier || s.Tiers == nil {
		return l, nil
	}
	model, err := s.Tiers.Model(ctx, m.Model)
	if err != nil && !problem.Is(err, problem.NotFound) {
		return l, err
	}
	of, ok := tierLimits[model.Tier]
	if !ok {
		of = DefaultLimits()
	}
	of.Accuracy, of.RMSE, of.NDCG, of.By = l.Accuracy, l.RMSE, l.NDCG, l.By
	return of, nil
}

// usual are the largest values of a column's measures that chunks of the reference give reason to expect.
type usual struct{ warn, psi, ks, missing float64 }

const (
	fewestChunks = 5
	mostChunks   = 50
)

// usualOf measures chunks of a reference against the whole of it: mean plus three standard deviations of each measure (warn:
// two). A reference of fewer than fewestChunks windows is cut into that many.
func usualOf(p *profile, all []series, size int) map[string]usual {
	out := map[string]usual{}
	for _, s := range all {
		c := p.find(s.name)
		n := max(len(s.numbers), len(s.words))
		if c == nil || n < fewestChunks*fewest {
			continue
		}
		step := min(size, n/fewestChunks)
		var psi, ks, missing []float64
		for from := 0; from+step <= n && len(psi) < mostChunks; from += step {
			part := series{name: s.name}
			if s.words != nil {
				part.words = s.words[from : from+step]
			} else {
				part.numbers = s.numbers[from : from+step]
			}
			f := c.compare(part, DefaultLimits(), len(all))
			missing = append(missing, f.Missing)
			if f.PSI != nil {
				psi = append(psi, *f.PSI)
			}
			if f.KS != nil {
				ks = append(ks, *f.KS)
			}
		}
		upper := func(v []float64, most float64) float64 {
			if len(v) < fewestChunks {
				return 0
			}
			_, high, err := score.Thresholds(v, 0, most)
			if err != nil {
				return 0
			}
			return high
		}
		u := usual{psi: upper(psi, 1e300), ks: upper(ks, 1), missing: upper(missing, 1)}
		if mean, sd := drift.Moments(psi); len(psi) >= fewestChunks {
			u.warn = mean + 2*sd
		}
		out[s.name] = u
	}
	return out
}

// of narrows limits to what is usual for a column.
func (l Limits) of(u usual, missingWas float64) Limits {
	if u.psi > 0 {
		l.PSI, l.PSIWarn = u.psi, min(u.warn, u.psi)
	}
	if u.ks > 0 {
		l.KS, l.KSWarn = u.ks, u.ks
	}
	if u.missing > missingWas {
		l.Missing = u.missing - missingWas
	}
	return l
}

// lore is what is known of a version when a window is studied.
type lore struct {
	limits    Limits
	estimator *estimator
	together  *together
	usual     map[string]usual
	inputs    *profile                      // of the reference; nil while there is none
	run       func(*Metric, *rows) Measured // computes metrics by modules
	breathe   func()                        // makes way for others; nil: need not
}

func (k *lore) pause() {
	if k.breathe != nil {
		k.breathe()
	}
}

// runner computes metrics by modules.
func (s *Service) runner(ctx context.Context) func(*Metric, *rows) Measured {
	return func(m *Metric, w *rows) Measured { return s.runModule(ctx, m, w) }
}

// study fills in what follows from a window's rows beside the shift of its columns. where names the prediction and row of a
// row of the window.
func (r *Result) study(m *Monitor, w *rows, k *lore, where func(int) (string, int)) {
	if r.Estimate, r.Why = k.estimator.expect(w, k.limits); m.Ranking != nil {
		r.Estimate, r.Why = nil, "the result of a ranking is not estimated"
	}
	r.Rules = nil
	for i := range m.Rules {
		r.Rules = append(r.Rules, m.Rules[i].checkWindow(w, r.From, r.To))
	}
	if k.together != nil {
		r.Together = k.together.compare(w, where)
	}
	r.judgeRows(m, w, k)
}

// judgeRows fills in what outcomes change: custom metrics, gaps between groups and segments, the worst slice and what is confirmed.
func (r *Result) judgeRows(m *Monitor, w *rows, k *lore) {
	r.Metrics = nil
	for i := range m.Metrics {
		if m.Metrics[i].Module != "" {
			r.Metrics = append(r.Metrics, k.run(&m.Metrics[i], w))
			continue
		}
		r.Metrics = append(r.Metrics, m.Metrics[i].measure(w))
	}
	r.Fairness = m.gaps(w, k.inputs)
	if m.Ranking == nil && (len(m.Segments) > 0 || w.outcomes != nil || k.estimator.rates()) {
		j := fares(w, k.estimator)
		r.Segments, r.Found, r.Worst = m.parts(w, &j), j.worst(w, m.without(w.inputs), k), nil
		if len(r.Found) > 0 {
			r.Worst = &r.Found[0]
		}
		if w.outcomes != nil {
			r.Early = append(slices.DeleteFunc(r.Early, func(e Early) bool { return e.Signal == "error" }), j.early()...)
		}
	}
	r.Estimate.confirm(r.Performance)
}

// early lets an online detector run over the errors of a window whose outcomes are known.
func (j *judged) early() []Early {
	if j.metric != "accuracy" { // the detector's bound is for values within 0..1
		return nil
	}
	w := watcher{signal: "error"}
	for i, l := range j.loss {
		if !math.IsNaN(l) {
			w.see(l, i)
		}
	}
	return w.found
}

// watcher runs the default online detector, ADWIN, over a signal within 0..1.
type watcher struct {
	signal   string
	low, top float64 // range of the signal; both 0: 0..1
	adwin    *drift.ADWIN
	found    []Early
}

// mostEarly bounds the early signs of one window.
const mostEarly = 20

// see takes the next value.
func (w *watcher) see(v float64, row int) {
	if w.top > w.low {
		v = (v - w.low) / (w.top - w.low)
	}
	if !(v >= -1 && v <= 2) { // far outside of what the version was seen to answer: drift says so
		return
	}
	if w.adwin == nil {
		w.adwin = drift.NewADWIN(adwinDelta)
	}
	_, before := w.adwin.Window()
	if w.adwin.Update(v) != drift.Changed {
		return
	}
	_, after := w.adwin.Window()
	back := func(x float64) float64 {
		if w.top > w.low {
			return w.low + x*(w.top-w.low)
		}
		return x
	}
	if len(w.found) < mostEarly {
		w.found = append(w.found, Early{w.signal, row, back(before), back(after)})
	}
}

// adwinDelta is how often ADWIN may see a change that is none; the library's default, 0.002, sees one in many windows of a
// busy endpoint.
const adwinDelta = 1e-4

// reading reads the columns of a data version.
type reading func(ctx context.Context, ref dataset.Ref) ([]series, map[string]string, error)

// readOnce is tableOf that keeps what it has read last.
func (s *Service) readOnce() reading {
	var last dataset.Ref
	var all []series
	var types map[string]string
	return func(ctx context.Context, ref dataset.Ref) ([]series, map[string]string, error) {
		if all != nil && ref == last {
			return all, types, nil
		}
		var err error
		all, types, err = s.tableOf(ctx, ref)
		last = ref
		return all, types, err
	}
}

// tableOf reads the columns of a data version that a model may take.
func (s *Service) tableOf(ctx context.Context, ref dataset.Ref) ([]series, map[string]string, error) {
	d, err := s.Data.Get(ctx, ref.Dataset)
	if err != nil {
		return nil, nil, err
	}
	table, err := s.Data.Open(ctx, ref.Dataset, ref.Version)
	if err != nil {
		return nil, nil, err
	}
	all, types := columnsOf(table, d.Target)
	return all, types, nil
}

func sqrt(n int) float64 { return math.Sqrt(float64(max(n, 1))) }
