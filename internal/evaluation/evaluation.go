// Package evaluation judges a model version by a suite of tests on a version of a data set, before anybody may propose it.
//
//	running ──▶ passed | failed
//
// A suite is declared beside the training code (keelson.yaml, evaluate:). Kinds of test:
//
//	metric     a measure over all rows, at least min, at most max
//	slice      the same over the rows where column equals value, or lies in [from, to) when value is a list of two
//	champion   a measure no worse than that of the version live in prod by more than max_drop; without one it passes
//	latency    the 95th percentile of one-row calls in this process, at most p95_ms milliseconds
//	signature  the data has the columns the model takes, in types it takes
//	fairness   the gap between the groups of a column, or of up to three together, at most max (a ratio: at least min)
//
// The version runs through the same engine as in serving. An evaluation never changes once it has ended; the latest one of
// a version counts. What follows from it is policy's to say.
package evaluation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/fairness"
	"keelson/internal/problem"
	"keelson/internal/score"
)

// States of an evaluation and its tests.
const (
	Running = "running"
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped"
)

// Kinds of test.
const (
	Metric    = "metric"
	Slice     = "slice"
	Champion  = "champion"
	Latency   = "latency"
	Signature = "signature"
	Fairness  = "fairness"
)

// EventFinished is published when an evaluation has ended; data: {id, model, version, suite, state, failed}.
const EventFinished = "evaluation.finished"

// Suite is a set of tests. Target and the other settings may be left out: the data set names its target.
type Suite struct {
	Name      string   `json:"name" doc:"unique within the project"`
	Data      string   `json:"data,omitempty" doc:"the data set it is meant for"`
	Target    string   `json:"target,omitempty" doc:"column with the truth; the data set's target if empty"`
	Output    string   `json:"output,omitempty" doc:"output to judge; the one named like the target, else the first"`
	Positive  string   `json:"positive,omitempty" doc:"the target's word for the class whose probability the model gives"`
	Threshold *float64 `json:"threshold,omitempty" doc:"score from which a row counts as positive; 0.5 if empty"`
	Tests     []Test   `json:"tests"`
}

// Test is one test of a suite.
type Test struct {
	Name         string   `json:"name"`
	Kind         string   `json:"kind" doc:"metric, slice, champion, latency, signature or fairness"`
	Metric       string   `json:"metric,omitempty"`
	Min          *float64 `json:"min,omitempty"`
	Max          *float64 `json:"max,omitempty"`
	Column       string   `json:"column,omitempty"`
	Value        any      `json:"value,omitempty" doc:"a word or number, or [from, to] for a range that leaves out its end; either may be null"`
	MaxDrop      *float64 `json:"max_drop,omitempty"`
	P95MS        *float64 `json:"p95_ms,omitempty"`
	AllowMissing *bool    `json:"allow_missing,omitempty" doc:"signature: whether inputs may have missing values; yes if empty"`
	// Of fairness; metric is then one of fairness.MeasureNames.
	Columns []string             `json:"columns,omitempty" doc:"fairness: up to 3 columns whose values together tell the groups apart"`
	Edges   map[string][]float64 `json:"edges,omitempty" doc:"fairness: by column, the ascending numbers at which it is cut; without them a column of more than 10 different numbers is cut at its quartiles"`
	MinRows int                  `json:"min_rows,omitempty" doc:"fairness: rows from which a group is judged; 30 if empty"`
}

// Result is how one test ended. Value and Limit are null where there is no number.
type Result struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"`
	State  string   `json:"state" enum:"passed,failed,skipped"`
	Value  *float64 `json:"value"`
	Limit  *float64 `json:"limit"`
	Detail string   `json:"detail"`

	Fairness *fairness.FairnessReport `json:"fairness,omitempty" doc:"the groups, of a test of kind fairness"`
}

// Evaluation is one run of a suite.
type Evaluation struct {
	ID             string             `json:"id"`
	Model          string             `json:"model"`
	Version        int                `json:"version"`
	ArtifactDigest string             `json:"artifact_digest"`
	Suite          string             `json:"suite"`
	Dataset        string             `json:"dataset"`
	DatasetVersion int                `json:"dataset_version"`
	DatasetDigest  string             `json:"dataset_digest"`
	State          string             `json:"state" enum:"running,passed,failed"`
	Tests          []Result           `json:"tests"`
	Metrics        map[string]float64 `json:"metrics"`
	By             string             `json:"by"`
	StartedAt      time.Time          `json:"started_at"`
	EndedAt        *time.Time         `json:"ended_at,omitempty"`
	definition     Suite
}

// Definition is the digest of what the suite tests and how: "sha256:" and hexadecimal digits. Its name and the data that it
// is meant for are no part of it.
func (e *Evaluation) Definition() string {
	s := e.definition
	s.Name, s.Data = "", ""
	sum := sha256.Sum256([]byte(db.ToJSON(s)))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Failures names the tests that failed, each as one sentence that begins with the name.
func (e *Evaluation) Failures() []string {
	out := []string{}
	for _, t := range e.Tests {
		if t.State == Failed {
			out = append(out, t.Name+": "+t.Detail)
		}
	}
	return out
}

// aliases are other names people use for measures.
var aliases = map[string]string{"auc": "roc_auc", "logloss": "log_loss", "f1_score": "f1", "average_precision": "pr_auc", "balanced": "balanced_accuracy"}

// canonical is a measure's own name.
func canonical(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	if a, ok := aliases[name]; ok {
		return a
	}
	return name
}

// smaller are the measures of which less is better; of all others more is.
var smaller = []string{"log_loss", "brier", "ece", "mae", "mse", "rmse", "median_ae", "max_error", "mape", "smape"}

// Check refuses a suite that cannot be run, naming the field.
func (s *Suite) Check() error {
	if strings.TrimSpace(s.Name) == "" || len(s.Name) > 200 {
		return problem.New(problem.Invalid, "A suite needs a name of at most 200 bytes.").At("suite.name")
	}
	if len(s.Tests) == 0 || len(s.Tests) > 100 {
		return problem.New(problem.Invalid, "A suite has 1 to 100 tests; %q has %d.", s.Name, len(s.Tests)).At("suite.tests")
	}
	if s.Threshold != nil && (math.IsNaN(*s.Threshold) || math.IsInf(*s.Threshold, 0)) {
		return problem.New(problem.Invalid, "The threshold is not a number.").At("suite.threshold")
	}
	names := map[string]bool{}
	for i, t := range s.Tests {
		at := fmt.Sprintf("suite.tests[%d]", i)
		if strings.TrimSpace(t.Name) == "" || len(t.Name) > 200 || names[t.Name] {
			return problem.New(problem.Invalid, "Every test needs a name of its own; %q is missing, too long or given twice.", clip(t.Name)).At(at + ".name")
		}
		names[t.Name] = true
		if err := t.check(at); err != nil {
			return err
		}
	}
	return nil
}

func (t *Test) check(at string) error {
	need := func(ok bool, field, what string) error {
		if ok {
			return nil
		}
		return problem.New(problem.Invalid, "The test %q of kind %s needs %s.", t.Name, t.Kind, what).At(at + "." + field)
	}
	limits := t.Min != nil || t.Max != nil
	switch t.Kind {
	case Metric:
		return first(need(t.Metric != "", "metric", "a metric, such as accuracy"), need(limits, "min", "min or max"))
	case Slice:
		if err := first(need(t.Metric != "", "metric", "a metric, such as accuracy"), need(limits, "min", "min or max"), need(t.Column != "", "column", "a column"),
			need(t.Value != nil, "value", "a value or a range [from, to]")); err != nil {
			return err
		}
		_, err := newPicker(t.Value)
		return need(err == nil, "value", "a word, a number, true or false, or a range [from, to]")
	case Champion:
		return first(need(t.Metric != "", "metric", "a metric, such as accuracy"), need(t.MaxDrop == nil || *t.MaxDrop >= 0, "max_drop", "a max_drop of at least 0"))
	case Latency:
		return need(t.P95MS != nil && *t.P95MS > 0, "p95_ms", "p95_ms above 0")
	case Signature:
		return nil
	case Fairness:
		return t.checkFairness(at)
	}
	return problem.New(problem.Invalid, "The test %q has the kind %q; use metric, slice, champion, latency, signature or fairness.", t.Name, clip(t.Kind)).At(at + ".kind")
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// limited holds a measure against min and max.
func (t *Test) limited(v score.Value) (r Result) {
	r = Result{Name: t.Name, Kind: t.Kind, State: Passed}
	value, ok, why := v.Get()
	if !ok {
		r.State, r.Detail = Failed, fmt.Sprintf("%s has no value: %s.", t.Metric, why)
		r.Limit = t.Min
		if r.Limit == nil {
			r.Limit = t.Max
		}
		return r
	}
	r.Value = &value
	switch {
	case t.Min != nil && value < *t.Min:
		r.State, r.Limit, r.Detail = Failed, t.Min, fmt.Sprintf("%s is %s, below the limit of %s.", t.Metric, short(value), short(*t.Min))
	case t.Max != nil && value > *t.Max:
		r.State, r.Limit, r.Detail = Failed, t.Max, fmt.Sprintf("%s is %s, above the limit of %s.", t.Metric, short(value), short(*t.Max))
	case t.Min != nil:
		r.Limit, r.Detail = t.Min, fmt.Sprintf("%s is %s, the limit is at least %s.", t.Metric, short(value), short(*t.Min))
	default:
		r.Limit, r.Detail = t.Max, fmt.Sprintf("%s is %s, the limit is at most %s.", t.Metric, short(value), short(*t.Max))
	}
	return r
}

// compared holds a measure against the champion's.
func (t *Test) compared(mine, theirs score.Value, champion string) Result {
	r := Result{Name: t.Name, Kind: t.Kind, State: Failed}
	a, ok, why := mine.Get()
	if !ok {
		r.Detail = fmt.Sprintf("%s has no value: %s.", t.Metric, why)
		return r
	}
	r.Value = &a
	b, ok, why := theirs.Get()
	if !ok {
		r.Detail = fmt.Sprintf("%s of the champion %s has no value: %s.", t.Metric, champion, why)
		return r
	}
	allowed := 0.0
	if t.MaxDrop != nil {
		allowed = *t.MaxDrop
	}
	limit, drop := b-allowed, b-a
	if slices.Contains(smaller, canonical(t.Metric)) {
		limit, drop = b+allowed, a-b
	}
	r.Limit = &limit
	r.Detail = fmt.Sprintf("%s is %s, of the champion %s it is %s; the limit is %s.", t.Metric, short(a), champion, short(b), short(limit))
	if drop <= allowed+1e-12 {
		r.State = Passed
	}
	return r
}

func short(v float64) string { return fmt.Sprintf("%.4g", v) }

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 60) }
