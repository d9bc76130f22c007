package monitor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"keelson/internal/boost"
	"keelson/internal/dataset"
	"keelson/internal/estimate"
	"keelson/internal/evaluation"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/score"
)

// rehearsals lets a version answer data whose outcomes are known; evaluation.Service has it.
type rehearsals interface {
	Rehearse(ctx context.Context, model string, version int, other dataset.Ref) (evaluation.Rehearsal, error)
}

// estimator expects the result of a window from how the version did on rows whose outcomes are known. It is learnt once per
// version and stored. Without Method it says why there is none.
type estimator struct {
	Method   string               `json:"method,omitempty"`
	Basis    string               `json:"basis,omitempty"`
	Data     dataset.Ref          `json:"data"`
	Rows     int                  `json:"rows"`
	Realised map[string]float64   `json:"realised,omitempty"` // on those rows
	CBPE     *estimate.CBPE       `json:"cbpe,omitempty"`
	Several  *estimate.Multiclass `json:"several,omitempty"` // CBPE of more than two classes
	Classes  []string             `json:"classes,omitempty"` // their names
	DLE      *estimate.DLE        `json:"dle,omitempty"`
	Columns  []string             `json:"columns,omitempty"` // of the DLE
	Why      string               `json:"why,omitempty"`
}

// Methods of an estimate.
const (
	methodCBPE = "cbpe"
	methodDLE  = "dle"
)

// fewestKnown is how many rows with outcomes an estimator needs: fewer give limits that chance exceeds.
const fewestKnown = 200

// rehearsalTime bounds how long a version may take to answer the data; other monitors wait meanwhile.
const rehearsalTime = 30 * time.Second

// mostColumns bounds the columns of a DLE.
const mostColumns = 500

// learn makes an estimator of rows with outcomes. It cannot fail: what hinders it is in Why.
func learn(w *rows, basis string, data dataset.Ref) *estimator {
	e := &estimator{Basis: basis, Data: data}
	known := &rows{}
	var at []int
	for i, truth := range w.outcomes {
		if truth != nil {
			at = append(at, i)
			known.outcomes = append(known.outcomes, truth)
		}
	}
	if len(at) < fewestKnown {
		e.Why = fmt.Sprintf("outcomes of %d rows are known, an estimate needs %d", len(at), fewestKnown)
		return e
	}
	known.n, known.inputs, known.outputs = len(at), pickRows(w.inputs, at), pickRows(w.outputs, at)
	all := alike(known.labelled())
	var err error
	switch kindOf(all) {
	case "binary":
		err = e.learnScores(all)
	case "multiclass":
		err = e.learnClasses(all)
	case "regression":
		err = e.learnLosses(known)
	default:
		err = errors.New("only answers of classes with a probability, and numbers, can be estimated")
	}
	if err != nil {
		e.Method, e.Why = "", err.Error()
	}
	return e
}

func pickRows(all []series, at []int) []series {
	out := make([]series, len(all))
	for k, s := range all {
		out[k].name = s.name
		if s.words != nil {
			out[k].words = score.Pick(s.words, at)
			continue
		}
		out[k].numbers = score.Pick(s.numbers, at)
	}
	return out
}

func (e *estimator) learnScores(all []labelled) error {
	var scores []float64
	var predicted, truth []bool
	for _, r := range all {
		y, s := truthNumber(r.truth), scoreOf(r.outputs)
		if math.IsNaN(y) || math.IsNaN(s) {
			continue
		}
		if !(s >= 0 && s <= 1) {
			return fmt.Errorf("an answer is %s, and only probabilities between 0 and 1 can be estimated", explain.Number(s))
		}
		scores, predicted, truth = append(scores, s), append(predicted, positive(r.outputs)), append(truth, y == 1)
	}
	c, err := estimate.Fit(scores, predicted, truth)
	if err != nil {
		return err
	}
	b, err := score.NewBinary(truth, scores, cut(all))
	if err != nil {
		return err
	}
	e.Method, e.CBPE, e.Rows = methodCBPE, c, len(scores)
	e.realised(b.Metrics(), estimate.Metrics)
	return nil
}

// learnClasses learns how probabilities of several classes relate to outcomes.
func (e *estimator) learnClasses(all []labelled) error {
	c, ok := classRowsOf(all)
	if !ok {
		return errors.New("only answers of classes with a probability each, and outcomes among them, can be estimated")
	}
	if len(c.truth) < fewestKnown {
		return fmt.Errorf("outcomes of %d rows are among the classes, an estimate needs %d", len(c.truth), fewestKnown)
	}
	m, err := estimate.FitMulticlass(c.p, c.predicted, c.truth)
	if err != nil {
		return err
	}
	p := evaluate(all, len(all))
	e.Method, e.Several, e.Classes, e.Rows = methodCBPE, m, c.names, len(c.truth)
	e.realised(p.Metrics, estimate.Metrics)
	return nil
}

// estimating takes the probabilities of a window's rows and what was answered by them.
func (e *estimator) estimating(w *rows) (p [][]float64, predicted, at []int) {
	p = make([][]float64, len(e.Classes))
	for i := range w.n {
		q := chances(w.answer(i))
		if len(q) != len(p) {
			continue
		}
		for k := range q {
			p[k] = append(p[k], q[k].number)
		}
		predicted, at = append(predicted, mostLikely(q)), append(at, i)
	}
	return p, predicted, at
}

func (e *estimator) learnLosses(w *rows) error {
	if len(w.inputs) == 0 || len(w.inputs) > mostColumns {
		return fmt.Errorf("an estimate of errors needs 1 to %d columns, there are %d", mostColumns, len(w.inputs))
	}
	var at []int
	var predicted, truth []float64
	for i, r := range w.labelled() {
		y, v := truthNumber(r.truth), forecast(r.outputs)
		if finite(y) && finite(v) {
			at, predicted, truth = append(at, i), append(predicted, v), append(truth, y)
		}
	}
	var columns []boost.Column
	for _, s := range pickRows(w.inputs, at) {
		columns = append(columns, boost.Column{Numbers: s.numbers, Words: s.words})
		e.Columns = append(e.Columns, s.name)
	}
	d, err := estimate.FitDLE(columns, predicted, truth, boost.Params{Trees: 60, Leaves: 16, Bins: 64})
	if err != nil {
		return err
	}
	r, err := score.NewRegression(truth, predicted)
	if err != nil {
		return err
	}
	e.Method, e.DLE, e.Rows = methodDLE, d, len(at)
	e.realised(r.Metrics(), estimate.Losses)
	return nil
}

// realisedNames are what a realised measure is called, of two classes or of several.
func realisedNames(estimated string) []string {
	if estimated == estimate.AveragePrecision {
		return []string{"pr_auc"}
	}
	return []string{estimated, "macro_" + estimated}
}

// realisedOf finds the realised value of an estimated measure.
func realisedOf(metrics map[string]score.Value, estimated string) *float64 {
	for _, name := range realisedNames(estimated) {
		if v, ok := metrics[name]; ok && v.OK() {
			return &v.V
		}
	}
	return nil
}

func (e *estimator) realised(metrics map[string]score.Value, names []string) {
	e.Realised = map[string]float64{}
	for _, name := range names {
		if v := realisedOf(metrics, name); v != nil {
			e.Realised[name] = *v
		}
	}
}

// seriesOf finds a column by name.
func seriesOf(all []series, name string) *series {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return nil
}

// expect estimates the result of a window; why is set when it cannot.
func (e *estimator) expect(w *rows, l Limits) (out *Estimate, why string) {
	if e == nil {
		return nil, "nothing is known of the version yet that an estimate could be learnt from"
	}
	if e.Method == "" {
		return nil, e.Why
	}
	var got map[string]estimate.Estimate
	var err error
	out = &Estimate{Method: e.Method, Basis: e.Basis, Data: e.Data, BasisRows: e.Rows, Metrics: map[string]EstimatedMetric{}}
	if e.Several != nil {
		out.Metric = estimate.Accuracy
		p, predicted, _ := e.estimating(w)
		if len(predicted) == 0 {
			return nil, fmt.Sprintf("no answer of the window has probabilities of %d classes", len(e.Classes))
		}
		got, err = e.Several.Estimate(p, predicted)
	} else if e.Method == methodCBPE {
		out.Metric = estimate.ROCAUC
		if l.Accuracy != nil {
			out.Metric = estimate.Accuracy
		}
		var scores []float64
		var predicted []bool
		for i := range w.n {
			if a := w.answer(i); scoreOf(a) >= 0 && scoreOf(a) <= 1 {
				scores, predicted = append(scores, scoreOf(a)), append(predicted, positive(a))
			}
		}
		if len(scores) == 0 {
			return nil, "no answer of the window is a probability"
		}
		got, err = e.CBPE.Estimate(scores, predicted)
	} else {
		out.Metric = estimate.RMSE
		got, err = e.losing(w)
	}
	if err != nil {
		return nil, err.Error()
	}
	if out.Metric == estimate.ROCAUC && !got[estimate.ROCAUC].Value.OK() { // one class only is expected: there is nothing to rank
		out.Metric = estimate.Accuracy
	}
	switch e.Basis {
	case "training":
		out.Note = "Learnt from the data the version was trained on, where it does better than on new rows: the trend counts, the level is too good."
	case "outcomes":
		out.Note = "Learnt from the outcomes of earlier windows."
	}
	for name, v := range got {
		m := EstimatedMetric{Value: v.Value, Lower: v.Lower, Upper: v.Upper, Error: v.Error}
		if was, ok := e.Realised[name]; ok {
			m.Reference = &was
		}
		if name == out.Metric {
			m.Limit = m.limit(name, l)
		}
		out.Metrics[name] = m
	}
	return out, ""
}

// losing estimates the errors of a regression.
func (e *estimator) losing(w *rows) (map[string]estimate.Estimate, error) {
	if len(w.outputs) == 0 || w.outputs[0].words != nil {
		return nil, errors.New("the first output is no number")
	}
	var at []int
	var predicted []float64
	for i := range w.n {
		if v := forecast(w.answer(i)); finite(v) {
			at, predicted = append(at, i), append(predicted, v)
		}
	}
	columns := make([]boost.Column, len(e.Columns))
	for k, name := range e.Columns {
		s := seriesOf(w.inputs, name)
		if s == nil {
			return nil, fmt.Errorf("the logged inputs have no column %q", clip(name))
		}
		one := pickRows([]series{*s}, at)[0]
		columns[k] = boost.Column{Numbers: one.numbers, Words: one.words}
	}
	return e.DLE.Estimate(columns, predicted)
}

// limit is what the watched measure must keep: the declared limit, or the value on the reference minus the larger of 0.05
// and three standard errors of a window of this size (of an error: plus the larger of a quarter and three).
func (m *EstimatedMetric) limit(name string, l Limits) *float64 {
	switch {
	case name == estimate.Accuracy && l.Accuracy != nil:
		return l.Accuracy
	case name == estimate.RMSE && l.RMSE != nil:
		return l.RMSE
	case m.Reference == nil || !m.Error.OK():
		return nil
	}
	v := *m.Reference - max(0.05, 3*m.Error.V)
	if name == estimate.RMSE {
		v = *m.Reference + max(0.25**m.Reference, 3*m.Error.V)
	}
	return &v
}

// cause says that the expected result lies beyond its limit; nil while it keeps it or outcomes have spoken.
func (e *Estimate) cause(p *Performance) *Cause {
	if e == nil {
		return nil
	}
	if p != nil {
		if _, _, ok := p.measure(); ok {
			return nil
		}
	}
	m := e.Metrics[e.Metric]
	if !m.Value.OK() || m.Limit == nil {
		return nil
	}
	c := Cause{Kind: "result", Metric: e.Metric, Estimated: true}
	if e.Metric == estimate.RMSE {
		return outside(c, &m.Value.V, nil, m.Limit)
	}
	return outside(c, &m.Value.V, m.Limit, nil)
}

// text is the estimate in a verdict: ", estimated ROC AUC 0.81 (0.84 on the data it was judged on)".
func (e *Estimate) text() string {
	if e == nil {
		return ""
	}
	m := e.Metrics[e.Metric]
	if !m.Value.OK() {
		return ""
	}
	out := fmt.Sprintf("; estimated %s %s", measureName(e.Metric), explain.Number(m.Value.V))
	if m.Reference != nil {
		out += fmt.Sprintf(" (%s %s)", explain.Number(*m.Reference), map[string]string{"training": "at training", "evaluation": "when it was judged", "outcomes": "by the outcomes of earlier windows"}[e.Basis])
	}
	return out
}

// confirm puts what outcomes say beside the estimate.
func (e *Estimate) confirm(p *Performance) {
	if e == nil || p == nil {
		return
	}
	if _, _, ok := p.measure(); !ok {
		return
	}
	for name, m := range e.Metrics {
		if m.Realised = realisedOf(p.Metrics, name); m.Realised != nil {
			e.Metrics[name] = m
		}
	}
}

// rates reports whether the expected losses of rows are known.
func (e *estimator) rates() bool { return e != nil && e.Method == methodCBPE }

// losses are the expected losses of the rows of a classifier; nil without one.
func (e *estimator) losses(w *rows) []float64 {
	if !e.rates() {
		return nil
	}
	out := make([]float64, w.n)
	if e.Several != nil {
		for i := range out {
			out[i] = nan
		}
		p, predicted, at := e.estimating(w)
		for k, q := 0, e.Several.Probabilities(p); k < len(at); k++ {
			out[at[k]] = 1 - q[predicted[k]][k]
		}
		return out
	}
	for i := range out {
		out[i] = nan
		a := w.answer(i)
		if s := scoreOf(a); s >= 0 && s <= 1 {
			if out[i] = e.CBPE.Probability(s); positive(a) {
				out[i] = 1 - out[i]
			}
		}
	}
	return out
}

// estimatorOf gives the estimator of a version, learnt once from the data it was judged on or trained on. Without such data
// it is nil until a window has outcomes enough. A version that cannot answer that data has no estimate; its windows are closed
// all the same.
func (s *Service) estimatorOf(ctx context.Context, m *Monitor, version int, state *versionState, trained dataset.Ref, reference *profile) (*estimator, error) {
	if state.estimator != nil || s.Rehearsals == nil || version < 1 || state.asked {
		return state.estimator, nil
	}
	short, cancel := context.WithTimeout(ctx, rehearsalTime)
	defer cancel()
	r, err := s.Rehearsals.Rehearse(short, m.Model, version, trained)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if problem.Is(err, problem.NotFound) {
		state.asked = true
		return nil, nil
	}
	if err != nil {
		s.Log.WarnContext(ctx, "no estimate can be learnt from the data of the version", "model", m.Model, "version", version, "error", err)
		p, ok := problem.As(err)
		if ok && slices.Contains([]problem.Kind{problem.Invalid, problem.Unsupported, problem.TooLarge}, p.Kind) {
			return &estimator{Why: p.Detail}, nil // no repetition mends it
		}
		return nil, nil // the next window tries again
	}
	basis := "training"
	if r.Judged {
		basis = "evaluation"
	}
	w := &rows{n: r.Rows, outcomes: r.Truth}
	var in, out frame
	in.add(r.Inputs, r.Rows)
	out.add(r.Outputs, r.Rows)
	w.inputs, w.outputs = named(in.columns, reference), out.columns
	e := learn(w, basis, r.Data)
	if e.Method == "" {
		s.Log.InfoContext(ctx, "the result of a version cannot be estimated", "model", m.Model, "version", version, "why", e.Why)
	}
	return e, nil
}
