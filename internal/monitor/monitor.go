// Package monitor answers whether a model still works the way it should, with reasons.
//
// It reads the prediction log of an endpoint, cuts it into windows of equally many rows of one version, and
// compares each window with a reference: the data the version was trained on, or, where that is not known,
// the version's first quiet window. Outcomes that arrive later give the realised performance of the windows
// they belong to.
//
//	prediction log ──▶ window ──▶ data moved?        ┐
//	reference profile ───┘        prediction moved?  ├─▶ verdict: yes · watch · no · unknown
//	outcomes, late ─────────────▶ result got worse?  ┘
//
// A window is stored in one transaction with the place it ends at in the log, its audit entry and its event,
// so a restart recomputes nothing that is stored and skips nothing. What follows from a breach (alert,
// incident, retraining) is decided by others, who hear of it by event.
package monitor

import (
	"time"

	"keelson/internal/dataset"
)

// Monitor says how an endpoint is watched.
type Monitor struct {
	Endpoint  string      `json:"endpoint"`
	Model     string      `json:"model"`
	Version   int         `json:"version" doc:"the newest version that answers there; 0 when none is known"`
	Reference dataset.Ref `json:"reference" doc:"training data of the newest version; an empty name means the first quiet window"`
	Pinned    bool        `json:"pinned" doc:"the reference holds for every version and is not replaced when a new one goes live"`
	Window    Window      `json:"window"`
	Limits    Limits      `json:"limits"`
	Features  []string    `json:"features" doc:"inputs to compare; empty means all"`
	Plan
	OnBreach  *OnBreach `json:"on_breach"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Window says how the log is cut.
type Window struct {
	Rows    int `json:"rows" minimum:"200" maximum:"100000" doc:"rows of one window; windows grow, to one in ten seconds, when calls would fill them faster for long"`
	MinRows int `json:"min_rows" minimum:"50" maximum:"100000" doc:"a window that stays open for a day is closed when it has this many; a window of time with fewer is stored and not judged"`
	// Every and Labels cut by time and by outcomes instead; rows is then the most that a window holds.
	Every  string `json:"every,omitempty" doc:"cut by time instead: 1m to 744h; windows begin at whole multiples of it since 1970, UTC"`
	Labels int    `json:"labels,omitempty" doc:"cut by outcomes instead: a window is closed when this many rows of it have one"`
}

// Limits are effect sizes. What chance alone gives for the rows and features of a window is always
// tolerated: the limit in force is the larger of the two.
type Limits struct {
	PSIWarn  float64  `json:"psi_warn" doc:"population stability index from which a feature is watched"`
	PSI      float64  `json:"psi" doc:"population stability index from which it has moved"`
	KSWarn   float64  `json:"ks_warn" doc:"Kolmogorov-Smirnov distance, 0..1"`
	KS       float64  `json:"ks"`
	Missing  float64  `json:"missing" doc:"rise of the share of missing values, 0..1"`
	New      float64  `json:"new" doc:"share of values the reference does not know, 0..1"`
	Accuracy *float64 `json:"accuracy,omitempty" doc:"lowest accuracy; without it the result is held against the first labelled window"`
	RMSE     *float64 `json:"rmse,omitempty" doc:"largest root mean squared error of a model of numbers"`
	NDCG     *float64 `json:"ndcg,omitempty" doc:"lowest NDCG of a model that ranks"`
	By       string   `json:"by" enum:"constant,reference,tier" doc:"constant: the numbers here; reference: of each column, the mean over chunks of the reference plus three standard deviations; tier: the numbers of the model's risk tier"`
}

// OnBreach says what a breach leads to beside the alert.
type OnBreach struct {
	Retrain *Retrain `json:"retrain,omitempty"`
}

// Retrain names the pipeline that makes the next version.
type Retrain struct {
	Pipeline string `json:"pipeline" minLength:"1"`
}

// Defaults of a monitor. 400 rows: with 100 and deciles, chance alone exceeds a PSI of 0.1 in more than
// half of all windows.
const (
	DefaultRows    = 400
	DefaultMinRows = 200
	// Alpha is how often chance may exceed the limits of a window over all its features together.
	Alpha = 0.01
	// fewest is how many valid values a feature needs to be judged at all.
	fewest = 50
	// maxFeatures bounds the columns of one window.
	maxFeatures = 10_000
)

// DefaultLimits are the effect sizes in common use: PSI 0.1 and 0.25 (Siddiqi, Credit Risk Scorecards,
// 2006).
func DefaultLimits() Limits {
	return Limits{PSIWarn: 0.1, PSI: 0.25, KSWarn: 0.15, KS: 0.25, Missing: 0.1, New: 0.1}
}

// set takes over the fields of c that are not 0. A warning above its lowered limit goes down with it.
func (l *Limits) set(c Limits) {
	for _, p := range []struct {
		to   *float64
		from float64
	}{{&l.PSIWarn, c.PSIWarn}, {&l.PSI, c.PSI}, {&l.KSWarn, c.KSWarn}, {&l.KS, c.KS}, {&l.Missing, c.Missing}, {&l.New, c.New}} {
		if p.from != 0 {
			*p.to = p.from
		}
	}
	if d := DefaultLimits(); c.PSI != 0 && c.PSIWarn == 0 {
		l.PSIWarn = min(c.PSI, d.PSIWarn)
	}
	if c.By != "" {
		l.By = c.By
	}
	if d := DefaultLimits(); c.KS != 0 && c.KSWarn == 0 {
		l.KSWarn = min(c.KS, d.KSWarn)
	}
	for _, p := range []struct{ to, from **float64 }{{&l.Accuracy, &c.Accuracy}, {&l.RMSE, &c.RMSE}, {&l.NDCG, &c.NDCG}} {
		if *p.from != nil {
			*p.to = *p.from
			if **p.from == 0 {
				*p.to = nil
			}
		}
	}
}

// set takes over the fields of c that are not 0. Fewer rows than min_rows take that down with them.
func (w *Window) set(c Window) {
	if c.Rows != 0 {
		w.Rows = c.Rows
	}
	switch {
	case c.MinRows != 0:
		w.MinRows = c.MinRows
	case w.Rows < w.MinRows:
		w.MinRows = w.Rows
	}
	if c.Every != "" {
		w.Every, w.Labels = c.Every, 0
	}
	if c.Labels != 0 {
		w.Labels, w.Every = c.Labels, ""
	}
	if c.Rows != 0 && c.Every == "" && c.Labels == 0 {
		w.Every, w.Labels = "", 0
	}
}

// byRows reports whether windows hold equally many rows, as long as they are not so many that they grow (pace).
func (w *Window) byRows() bool { return w.Every == "" && w.Labels == 0 }

// fill sets what was left at zero to its default.
func (m *Monitor) fill() {
	d := DefaultLimits()
	for _, p := range []struct {
		v  *float64
		to float64
	}{{&m.Limits.PSIWarn, d.PSIWarn}, {&m.Limits.PSI, d.PSI}, {&m.Limits.KSWarn, d.KSWarn}, {&m.Limits.KS, d.KS}, {&m.Limits.Missing, d.Missing}, {&m.Limits.New, d.New}} {
		if *p.v == 0 {
			*p.v = p.to
		}
	}
	if m.Window.Rows == 0 {
		m.Window.Rows = DefaultRows
	}
	if m.Window.MinRows == 0 {
		m.Window.MinRows = min(DefaultMinRows, m.Window.Rows)
	}
	if m.Limits.By == "" {
		m.Limits.By = Constant
	}
	if m.Features == nil {
		m.Features = []string{}
	}
	m.Plan.fill()
}

// Check refuses settings that cannot work, naming the field.
func (m *Monitor) Check() error {
	switch {
	case m.Endpoint == "" || len(m.Endpoint) > 200:
		return invalid("endpoint", "A monitor needs the name of an endpoint, up to 200 bytes.")
	case len(m.Features) > maxFeatures:
		return invalid("features", "A monitor compares up to %d features.", maxFeatures)
	case m.OnBreach != nil && m.OnBreach.Retrain != nil && m.OnBreach.Retrain.Pipeline == "":
		return invalid("on_breach.retrain.pipeline", "Name the pipeline that retrains the model.")
	}
	for _, l := range []struct {
		name      string
		warn, act float64
		most      float64
	}{{"psi", m.Limits.PSIWarn, m.Limits.PSI, 100}, {"ks", m.Limits.KSWarn, m.Limits.KS, 1}, {"missing", 0, m.Limits.Missing, 1}, {"new", 0, m.Limits.New, 1}} {
		if !(l.warn >= 0 && l.warn <= l.act && l.act > 0 && l.act <= l.most) {
			return invalid("limits."+l.name, "The limit of %s must lie above 0, at most at %v, and not below its warning.", l.name, l.most)
		}
	}
	if a := m.Limits.Accuracy; a != nil && !(*a >= 0 && *a <= 1) {
		return invalid("limits.accuracy", "Accuracy lies between 0 and 1.")
	}
	if n := m.Limits.NDCG; n != nil && !(*n >= 0 && *n <= 1) {
		return invalid("limits.ndcg", "NDCG lies between 0 and 1.")
	}
	if r := m.Limits.RMSE; r != nil && !(*r >= 0 && *r < 1e300) {
		return invalid("limits.rmse", "The limit of RMSE must be a number from 0 up.")
	}
	if b := m.Limits.By; b != Constant && b != FromReference && b != ByTier {
		return invalid("limits.by", "Limits are set by constant, reference or tier, not %q.", clip(b))
	}
	if err := m.Window.check(); err != nil {
		return err
	}
	return m.Plan.Check()
}
