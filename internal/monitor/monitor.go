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
	"fmt"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/problem"
)

// Monitor says how an endpoint is watched.
type Monitor struct {
	Endpoint  string      `json:"endpoint"`
	Model     string      `json:"model"`
	Version   int         `json:"version" doc:"the newest version that went live; 0 when none is known"`
	Reference dataset.Ref `json:"reference" doc:"training data of the newest version; an empty name means the first quiet window"`
	Pinned    bool        `json:"pinned" doc:"the reference holds for every version and is not replaced when a new one goes live"`
	Window    Window      `json:"window"`
	Limits    Limits      `json:"limits"`
	Features  []string    `json:"features" doc:"inputs to compare; empty means all"`
	OnBreach  *OnBreach   `json:"on_breach"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
}

// Window says how the log is cut.
type Window struct {
	Rows    int `json:"rows" minimum:"200" maximum:"100000" doc:"rows of one window"`
	MinRows int `json:"min_rows" minimum:"200" maximum:"100000" doc:"a window that stays open for a day is closed when it has this many"`
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
	if d := DefaultLimits(); c.KS != 0 && c.KSWarn == 0 {
		l.KSWarn = min(c.KS, d.KSWarn)
	}
	for _, p := range []struct{ to, from **float64 }{{&l.Accuracy, &c.Accuracy}, {&l.RMSE, &c.RMSE}} {
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
}

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
	if m.Features == nil {
		m.Features = []string{}
	}
}

// Check refuses settings that cannot work, naming the field.
func (m *Monitor) Check() error {
	invalid := func(field, format string, a ...any) error {
		return problem.New(problem.Invalid, format, a...).At(field)
	}
	switch {
	case m.Endpoint == "" || len(m.Endpoint) > 200:
		return invalid("endpoint", "A monitor needs the name of an endpoint, up to 200 bytes.")
	case m.Window.MinRows < DefaultMinRows:
		return invalid("window.min_rows", "Windows of fewer than %d rows say little: chance alone moves them. Use %d or more.", DefaultMinRows, DefaultMinRows)
	case m.Window.Rows < m.Window.MinRows:
		return invalid("window.rows", "A window of %d rows is smaller than min_rows, %d.", m.Window.Rows, m.Window.MinRows)
	case m.Window.Rows > 100_000:
		return invalid("window.rows", "A window may have up to 100,000 rows.")
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
	if r := m.Limits.RMSE; r != nil && !(*r >= 0 && *r < 1e300) {
		return invalid("limits.rmse", "The limit of RMSE must be a number from 0 up.")
	}
	return nil
}

// Result is one window and what was found in it.
type Result struct {
	ID          string       `json:"id"`
	Endpoint    string       `json:"endpoint"`
	Model       string       `json:"model"`
	Version     int          `json:"version"`
	From        time.Time    `json:"from" doc:"time of the first row"`
	To          time.Time    `json:"to" doc:"time of the last row"`
	Rows        int          `json:"rows"`
	First       string       `json:"first_prediction"`
	Last        string       `json:"last_prediction"`
	Reference   dataset.Ref  `json:"reference" doc:"what it was compared with; an empty name means the version's first quiet window"`
	Features    []Feature    `json:"features"`
	Predictions []Feature    `json:"predictions" doc:"the outputs, compared with the version's first quiet window"`
	Performance *Performance `json:"performance" doc:"null until outcomes arrive"`
	Breached    bool         `json:"breached"`
	Causes      []Cause      `json:"causes" doc:"what exceeded its limit"`
	Verdict     string       `json:"verdict" enum:"yes,watch,no,unknown"`
	Reasons     []string     `json:"reasons"`
	CreatedAt   time.Time    `json:"created_at"`

	after string // place in the log before the first row
	until string // place of the last row
}

// Feature is one column of a window held against its reference. Numbers are null where they are undefined;
// Why says the reason.
type Feature struct {
	Name        string     `json:"name"`
	Kind        string     `json:"kind" enum:"number,word"`
	PSI         *float64   `json:"psi"`
	KS          *float64   `json:"ks" doc:"numbers only"`
	KSPValue    *float64   `json:"ks_p_value,omitempty" doc:"for information; no decision rests on it"`
	JS          *float64   `json:"js"`
	Wasserstein *float64   `json:"wasserstein,omitempty" doc:"in standard deviations of the reference"`
	CramersV    *float64   `json:"cramers_v,omitempty" doc:"words only"`
	Missing     float64    `json:"missing" doc:"share of missing or infinite values"`
	MissingWas  float64    `json:"missing_reference"`
	OutOfRange  *float64   `json:"out_of_range,omitempty" doc:"share outside the range of the reference"`
	New         *float64   `json:"new,omitempty" doc:"share of words the reference does not know"`
	Shift       string     `json:"shift" enum:"none,slight,moved,unknown"`
	Metric      string     `json:"metric,omitempty" doc:"the measure that decided the shift"`
	Value       float64    `json:"value,omitempty" doc:"its value"`
	Limit       float64    `json:"limit" doc:"its limit, or that of psi when nothing moved"`
	Why         string     `json:"why,omitempty" doc:"why something is undefined"`
	Histogram   *Histogram `json:"histogram,omitempty"`
}

// Histogram counts reference and window on the same bins: bin i of numbers lies between Edges[i] and
// Edges[i+1], upper edge included; bin i of words is Labels[i].
type Histogram struct {
	Edges         []float64 `json:"edges,omitempty"`
	Labels        []string  `json:"labels,omitempty"`
	Reference     []float64 `json:"reference"`
	Current       []float64 `json:"current"`
	ReferenceRows int       `json:"reference_rows"`
	CurrentRows   int       `json:"current_rows"`
}

// Cause is one thing that exceeded its limit.
type Cause struct {
	Kind    string  `json:"kind" enum:"data,prediction,result"`
	Feature string  `json:"feature" doc:"empty for the result"`
	Metric  string  `json:"metric"`
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`
}

// Key tells causes apart: the same key in two windows is the same trouble.
func (c Cause) Key() string { return c.Kind + ":" + c.Feature }

// Text writes the cause for a person.
func (c Cause) Text() string {
	what := map[string]string{"psi": "PSI", "ks": "KS", "missing": "missing values", "new": "unknown values"}[c.Metric]
	if what == "" {
		what = c.Metric
	}
	name := c.Feature
	if c.Kind == "result" {
		name = "the result"
	}
	return fmt.Sprintf("%s (%s %.3g, limit %.3g)", name, what, c.Value, c.Limit)
}

// Breach is the data of the events monitor.breached and monitor.recovered.
type Breach struct {
	Endpoint string    `json:"endpoint"`
	Model    string    `json:"model"`
	Version  int       `json:"version"`
	Window   string    `json:"window"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Features []string  `json:"features"`
	Causes   []Cause   `json:"causes"`
	Retrain  *Retrain  `json:"retrain,omitempty"`
}

// Types of events. Closed and Labelled tell pages that there is something new to show.
const (
	Breached  = "monitor.breached"
	Recovered = "monitor.recovered"
	Closed    = "monitor.window-closed"
	Labelled  = "monitor.window-labelled"
)

// News is the data of the events monitor.window-closed and monitor.window-labelled.
type News struct {
	Endpoint string `json:"endpoint"`
	Model    string `json:"model"`
	Version  int    `json:"version"`
	Window   string `json:"window"`
	Verdict  string `json:"verdict"`
}
