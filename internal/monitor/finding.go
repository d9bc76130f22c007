package monitor

import (
	"fmt"
	"math"
	"strings"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/explain"
	"keelson/internal/score"
	"keelson/internal/subgroup"
)

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
	Findings
	Breached  bool      `json:"breached"`
	Causes    []Cause   `json:"causes" doc:"what exceeded its limit"`
	Verdict   string    `json:"verdict" enum:"yes,watch,no,unknown"`
	Reasons   []string  `json:"reasons"`
	CreatedAt time.Time `json:"created_at"`

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
	Mean        *float64   `json:"mean,omitempty" doc:"numbers only"`
	MeanWas     *float64   `json:"mean_reference,omitempty" doc:"numbers only"`
	Direction   string     `json:"direction,omitempty" enum:"up,down" doc:"where the mean went, when the column moved"`
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
	Kind    string  `json:"kind" enum:"data,prediction,result,fairness"`
	Feature string  `json:"feature" doc:"column, or name of a custom or business metric; empty for the result"`
	Metric  string  `json:"metric"`
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`

	Since       time.Time `json:"since,omitzero" doc:"first row of the first of the windows in a row that were over the limit"`
	Windows     int       `json:"windows,omitempty" doc:"how many windows in a row were over the limit, this one included"`
	FirstWindow string    `json:"first_window,omitempty" doc:"the first of them"`
	Direction   string    `json:"direction,omitempty" enum:"up,down" doc:"where the mean went"`
	Rule        string    `json:"rule,omitempty" doc:"the data-quality rule that was broken"`
	Segment     string    `json:"segment,omitempty" doc:"the segment it holds for; empty: all rows"`
	Estimated   bool      `json:"estimated,omitempty" doc:"expected from the inputs and not confirmed by outcomes"`
	How         string    `json:"how,omitempty" doc:"what moved in it, in words: from 30,900 to 16,000"`
	Unit        string    `json:"unit,omitempty" doc:"of value and limit, where a custom metric has one"`
	Words       string    `json:"words,omitempty" doc:"of fairness: the two groups and the gap between them"`
	Late        bool      `json:"late,omitempty" doc:"of fairness: it is known by outcomes"`
}

// Key tells causes apart: the same key in two windows is the same trouble.
func (c Cause) Key() string {
	key := c.Kind + ":" + c.Feature
	if c.Kind == fairnessKind {
		key += ":" + c.Metric
	}
	if c.Rule != "" {
		key += ":rule=" + c.Rule
	}
	if c.Segment != "" {
		key += ":segment=" + c.Segment
	}
	if c.Estimated {
		key += ":estimated"
	}
	return key
}

// measures are the names of measures for people.
var measures = map[string]string{"psi": "PSI", "ks": "KS", "js": "JS", "missing": "missing values", "new": "unknown values", "roc_auc": "ROC AUC", "rmse": "RMSE", "mae": "MAE",
	"share": "share of rows", "rows": "rows", "age": "age in seconds", "rows_per_hour": "rows per hour", "reconstruction": "reconstruction error", "mmd": "MMD²", "ndcg": "NDCG"}

func measureName(metric string) string {
	if name := measures[metric]; name != "" {
		return name
	}
	return strings.ReplaceAll(metric, "_", " ")
}

// Text writes the cause for a person.
func (c Cause) Text() string {
	if c.Words != "" {
		return c.Words
	}
	name := c.Feature
	if c.Kind == "result" && name == "" {
		name = "the result"
	}
	if name == "" {
		name = "all columns together"
	}
	if c.Segment != "" {
		name += " in " + c.Segment
	}
	if c.Rule != "" {
		return fmt.Sprintf("%s breaks the rule %s (%s)", name, c.Rule, c.figures())
	}
	if c.Direction != "" {
		name += " " + c.Direction
	}
	if c.How != "" {
		name += " " + c.How
	}
	if c.Estimated {
		return fmt.Sprintf("%s (estimated %s)", name, c.figures())
	}
	return fmt.Sprintf("%s (%s)", name, c.figures())
}

// how says what moved in a column for people: where its mean went, the word whose share changed most, or that it is spread
// otherwise; "" where the measure says it.
func (f *Feature) how() string {
	switch h := f.Histogram; {
	case f.Metric == "missing" || f.Metric == "new":
	case f.Kind == numberKind && f.Direction != "" && f.Mean != nil && f.MeanWas != nil:
		return fmt.Sprintf("from %s to %s", explain.Number(*f.MeanWas), explain.Number(*f.Mean))
	case f.Kind == numberKind:
		return "spread otherwise"
	case f.New != nil && *f.New >= 0.05:
		return fmt.Sprintf("with %.0f %% new values", 100**f.New)
	case h != nil && h.ReferenceRows > 0 && h.CurrentRows > 0:
		var word string
		var was, is float64
		for i, label := range h.Labels {
			if i >= len(h.Current) || i >= len(h.Reference) {
				break
			}
			before, now := h.Reference[i]/float64(h.ReferenceRows), h.Current[i]/float64(h.CurrentRows)
			if math.Abs(now-before) > math.Abs(is-was) {
				word, was, is = label, before, now
			}
		}
		if word != "" {
			return fmt.Sprintf("with %s from %.0f to %.0f %%", clip(word), 100*was, 100*is)
		}
	}
	return ""
}

// figures writes the measure with its value and limit: "PSI 0.31, limit 0.25", "missing values 34 %, limit 10 %".
func (c Cause) figures() string {
	return fmt.Sprintf("%s %s, limit %s", measureName(c.Metric), figure(c.Metric, c.Value, c.Unit), figure(c.Metric, c.Limit, c.Unit))
}

// figure writes a value of a measure for people; shares of rows in percent.
func figure(metric string, v float64, unit string) string {
	switch {
	case unit != "":
		return explain.Number(v) + " " + unit
	case metric == "missing" || metric == "new" || metric == "share":
		return explain.Number(100*v) + " %"
	}
	return explain.Number(v)
}

// follow counts on from the causes of the window before: since when each is there, and in how many windows in a row.
func (r *Result) follow(before *Result) {
	for i := range r.Causes {
		c := &r.Causes[i]
		c.Since, c.Windows, c.FirstWindow = r.From, 1, r.ID
		if before == nil {
			continue
		}
		for _, old := range before.Causes {
			if old.Key() != c.Key() {
				continue
			}
			if old.Windows == 0 { // stored before windows were counted
				old.Since, old.Windows, old.FirstWindow = before.From, 1, before.ID
			}
			c.Since, c.Windows, c.FirstWindow = old.Since, old.Windows+1, old.FirstWindow
		}
	}
}

// Findings is what was found in a window beside the shifts of its columns and its realised result.
type Findings struct {
	Estimate   *Estimate        `json:"estimate" doc:"the result as expected without outcomes; null where none can be given, estimate_why says why"`
	Why        string           `json:"estimate_why,omitempty" doc:"why there is no estimate"`
	Segments   []Part           `json:"segments,omitempty" doc:"the declared segments"`
	Worst      *Part            `json:"worst_segment,omitempty" doc:"the slice, of one column or two, where the result is worst, if it is worse than chance explains; the first of found_segments"`
	Found      []Part           `json:"found_segments,omitempty" doc:"slices that nobody declared and whose result is worse than that of the other rows by more than chance explains, the worst first, up to 5"`
	FoundDrift []Drifted        `json:"found_drift,omitempty" doc:"of the inputs and of the outputs: the slice that nobody declared in which one moved furthest beyond what it moved over all rows"`
	Regions    []Region         `json:"segment_drift,omitempty" doc:"how far the columns of the declared segments moved"`
	Furthest   *Drifted         `json:"worst_drift,omitempty" doc:"the segment that moved furthest for its limit, if one moved"`
	Embeddings []EmbeddingShift `json:"embeddings,omitempty" doc:"vectors among the inputs, compared as a whole"`
	Metrics    []Measured       `json:"custom,omitempty" doc:"the custom metrics"`
	Rules      []RuleCheck      `json:"rules,omitempty" doc:"the data-quality rules"`
	Fairness   []GroupGap       `json:"fairness,omitempty" doc:"the gaps between groups of people"`
	Together   *Together        `json:"together,omitempty" doc:"whole rows against the reference"`
	Early      []Early          `json:"early,omitempty" doc:"what the online detectors noticed within the window"`
	Separation *Separation      `json:"separation,omitempty" doc:"whether a classifier can tell the rows from the reference; on demand and once a day"`
	TooFew     string           `json:"too_few,omitempty" doc:"why a window of time was not judged"`
	Blind      bool             `json:"blind,omitempty" doc:"no input could be compared with the reference"`
	Uncompared string           `json:"not_compared,omitempty" doc:"which inputs could not be compared, and why"`
	Late       int              `json:"late_rows,omitempty" doc:"rows whose time lies before the window; they are counted in it"`
}

// Estimate is the result of a window as it is expected before outcomes arrive; it is never shown as a result.
type Estimate struct {
	Method    string                     `json:"method" enum:"cbpe,dle" doc:"confidence-based estimation of a classifier, direct loss estimation of a regression"`
	Basis     string                     `json:"basis" enum:"evaluation,outcomes,training" doc:"what it was learnt from: data the version was judged on, outcomes of earlier windows, or the training data, of which it is too good"`
	Data      dataset.Ref                `json:"data" doc:"that data; an empty name for outcomes"`
	BasisRows int                        `json:"basis_rows"`
	Metric    string                     `json:"metric" doc:"the measure that is watched"`
	Metrics   map[string]EstimatedMetric `json:"metrics"`
	Note      string                     `json:"note,omitempty" doc:"what to keep in mind"`
}

// EstimatedMetric is one expected measure; numbers are null where they are undefined.
type EstimatedMetric struct {
	Value     score.Value `json:"value"`
	Lower     score.Value `json:"lower" doc:"three standard errors of chance below"`
	Upper     score.Value `json:"upper"`
	Error     score.Value `json:"sampling_error"`
	Reference *float64    `json:"reference" doc:"the realised value on the data it was learnt from"`
	Limit     *float64    `json:"limit,omitempty" doc:"of the measure that is watched"`
	Realised  *float64    `json:"realised" doc:"what outcomes say; null until enough have arrived"`
}

// Part is a segment of a window.
type Part struct {
	Name       string          `json:"name"`
	Rows       int             `json:"rows"`
	Share      float64         `json:"share" doc:"of the window's rows, 0..1"`
	Labelled   int             `json:"labelled" doc:"rows with an outcome"`
	Metric     string          `json:"metric,omitempty" doc:"accuracy or rmse"`
	Value      *float64        `json:"value" doc:"null without enough outcomes; an expectation if estimated"`
	Overall    *float64        `json:"overall,omitempty" doc:"the same over all rows"`
	Estimated  bool            `json:"estimated,omitempty" doc:"the value is expected, outcomes are missing"`
	Interval   *score.Interval `json:"interval,omitempty"`
	Prediction *float64        `json:"prediction_mean,omitempty" doc:"mean of the first output"`
	Limit      *float64        `json:"limit,omitempty"`
	Why        string          `json:"why,omitempty" doc:"why something is undefined"`
	Slice      *Slice          `json:"slice,omitempty" doc:"of one that was found"`
}

// Slice says what is known of a part of a window beside its own numbers, when nobody declared it and it was found.
type Slice struct {
	Conditions []subgroup.Condition `json:"conditions" doc:"all of them hold"`
	Rest       float64              `json:"rest" doc:"the measure over the other rows"`
	Gap        float64              `json:"gap" doc:"by how much it is worse than there"`
	Lower      float64              `json:"gap_lower" doc:"95 % interval of the gap, for this slice by itself"`
	Upper      float64              `json:"gap_upper"`
	AtLeast    float64              `json:"gap_at_least" doc:"the gap is at least this, with regard to all slices that were looked at"`
	P          float64              `json:"p_value" doc:"probability that chance gives this much in any of them"`
	Looked     int                  `json:"looked_at" doc:"slices that were large enough"`
	Rows       int                  `json:"rows" doc:"rows of the window that were looked at: those with an outcome, or all of an estimate; a sample of more than 50,000"`
}

// Measured is the value of a custom metric in a window.
type Measured struct {
	Name    string   `json:"name"`
	Value   *float64 `json:"value"`
	Rows    int      `json:"rows" doc:"rows that counted"`
	LeftOut int      `json:"left_out,omitempty" doc:"rows for which the expression has no value"`
	Min     *float64 `json:"min,omitempty"`
	Max     *float64 `json:"max,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Why     string   `json:"why,omitempty" doc:"why it is undefined"`
}

// RuleCheck is how a window kept a data-quality rule.
type RuleCheck struct {
	Rule    string   `json:"rule"`
	Column  string   `json:"column,omitempty"`
	Check   string   `json:"check"`
	OK      bool     `json:"ok"`
	Value   *float64 `json:"value" doc:"share of rows, rows, rows per hour or seconds, by the check"`
	Limit   *float64 `json:"limit"`
	Broken  int      `json:"broken" doc:"rows that break it"`
	Example string   `json:"example,omitempty" doc:"the first of them"`
	Detail  string   `json:"detail"`
}

// Together is how whole rows compare with the reference.
type Together struct {
	Reconstruction *float64  `json:"reconstruction" doc:"mean reconstruction error of a principal component analysis of the reference, in its standard deviations"`
	Lower          *float64  `json:"lower,omitempty" doc:"mean over chunks of the reference minus three standard deviations"`
	Upper          *float64  `json:"upper,omitempty"`
	Moved          bool      `json:"moved"`
	Unusual        *float64  `json:"unusual" doc:"share of rows that stand further apart than 99 % of the reference"`
	Strangest      []Strange `json:"strangest,omitempty" doc:"the rows that stand apart most"`
	Why            string    `json:"why,omitempty" doc:"why something is undefined"`
}

// Strange is one row that stands apart.
type Strange struct {
	Prediction string  `json:"prediction_id"`
	Row        int     `json:"row"`
	Score      float64 `json:"score" doc:"0..1; 0.5 is usual"`
}

// Early is what an online detector noticed.
type Early struct {
	Signal string  `json:"signal" enum:"prediction,error" doc:"mean of the first output, or of the errors"`
	Row    int     `json:"row" doc:"row of the window, counted from 0"`
	Before float64 `json:"before" doc:"mean up to there"`
	After  float64 `json:"after" doc:"mean since"`
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
