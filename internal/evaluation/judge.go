package evaluation

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/engine"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/score"
	"keelson/internal/tensor"
)

// batchRows is the number of rows of one call while a suite runs.
const batchRows = 2048

// judge runs the suite of e. What is wrong with the version or the data ends in a failed test; an error is ours, or a
// database's, and the job tries again.
func (s *Service) judge(ctx context.Context, e *Evaluation) error {
	v, err := s.Inventory.Version(ctx, e.Model, e.Version)
	if err != nil {
		return e.give("the version", err)
	}
	set, err := s.Data.Get(ctx, e.Dataset)
	if err != nil {
		return e.give("the data", err)
	}
	table, err := s.Data.Open(ctx, e.Dataset, e.DatasetVersion)
	if err != nil {
		return e.give("the data", err)
	}
	target := e.definition.Target
	if target == "" {
		target = set.Target
	}
	m, err := s.Inventory.Load(ctx, v)
	if err != nil {
		return e.give("the version", err)
	}
	defer m.Close()
	j := &judging{s: s, e: e, suite: &e.definition, target: target, table: table, version: v, model: m}
	e.Tests, e.Metrics = []Result{}, map[string]float64{}
	for i := range j.suite.Tests {
		r, err := j.test(ctx, &j.suite.Tests[i])
		if err != nil {
			return err
		}
		e.Tests = append(e.Tests, r)
	}
	for k, v := range j.measured {
		if x, ok, _ := v.Get(); ok {
			e.Metrics[k] = x
		}
	}
	return nil
}

// give records a failure that no repetition mends as the only test; any other is returned.
func (e *Evaluation) give(what string, err error) error {
	p, ok := lasting(err)
	if !ok {
		return err
	}
	e.Tests = []Result{{Name: what, Kind: Signature, State: Failed, Detail: p.Detail}}
	e.Metrics = map[string]float64{}
	return nil
}

// lasting finds a problem that trying again does not mend.
func lasting(err error) (*problem.Error, bool) {
	p, ok := problem.As(err)
	if !ok || !slices.Contains([]problem.Kind{problem.Invalid, problem.NotFound, problem.Conflict, problem.Unsupported, problem.TooLarge}, p.Kind) {
		return nil, false
	}
	return p, true
}

// judging is one run of a suite. The answers over all rows are computed once, when a test needs them.
type judging struct {
	s        *Service
	e        *Evaluation
	suite    *Suite
	target   string
	table    *dataset.Table
	version  inventory.Version
	model    engine.Model
	mine     *outcome
	measured map[string]score.Value
	champion *rival
}

// rival is the champion's outcome on the same data, or why there is none.
type rival struct {
	name    string
	version int
	metrics map[string]score.Value
	why     string
	broken  bool
}

// test runs one test. A problem with model or data fails the test; any other error stops.
func (j *judging) test(ctx context.Context, t *Test) (r Result, err error) {
	switch t.Kind {
	case Metric, Slice:
		r, err = j.metric(ctx, t)
	case Champion:
		r, err = j.against(ctx, t)
	case Latency:
		r, err = j.latency(ctx, t)
	case Signature:
		r, err = j.signature(ctx, t)
	case Fairness:
		r, err = j.fairness(ctx, t)
	default:
		return Result{Name: t.Name, Kind: t.Kind, State: Failed, Detail: "This kind of test is not known."}, nil
	}
	if p, ok := lasting(err); ok {
		return Result{Name: t.Name, Kind: t.Kind, State: Failed, Detail: p.Detail}, nil
	}
	return r, err
}

// answers computes the outcome over all rows once.
func (j *judging) answers(ctx context.Context) (*outcome, error) {
	if j.mine != nil {
		return j.mine, nil
	}
	o, err := run(ctx, j.suite, j.target, j.table, j.version, j.model)
	if err != nil {
		return nil, err
	}
	if j.measured, err = o.metrics(nil); err != nil {
		return nil, err
	}
	j.mine = o
	return o, nil
}

// run feeds all rows to a model.
func run(ctx context.Context, s *Suite, target string, t *dataset.Table, v inventory.Version, m engine.Model) (*outcome, error) {
	if t.Rows == 0 {
		return nil, problem.New(problem.Invalid, "The data has no rows.")
	}
	f := frame(t)
	inputs := f.Rest(target)
	var all []tensor.Tensor
	for from := 0; from < t.Rows; from += batchRows {
		to := min(from+batchRows, t.Rows)
		in, err := inventory.Feed(v.Signature, inputs, from, to)
		if err != nil {
			return nil, err
		}
		out, err := m.Predict(ctx, in)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, err
		}
		if all, err = appendRows(all, out); err != nil {
			return nil, err
		}
	}
	return newOutcome(s, target, t, all)
}

// appendRows joins the outputs of two batches.
func appendRows(all, out []tensor.Tensor) ([]tensor.Tensor, error) {
	if all == nil {
		for _, t := range out {
			t.Shape = slices.Clone(t.Shape)
			all = append(all, t)
		}
		return all, nil
	}
	if len(all) != len(out) {
		return nil, problem.New(problem.Invalid, "The model answers with %d outputs and then with %d.", len(all), len(out))
	}
	for i := range all {
		a, b := &all[i], &out[i]
		if a.Name != b.Name || a.Type != b.Type || len(a.Shape) == 0 || len(b.Shape) == 0 {
			return nil, problem.New(problem.Invalid, "The model's output %q changes from batch to batch.", clip(a.Name))
		}
		a.Shape[0] += b.Shape[0]
		a.F32, a.F64, a.I64, a.U64 = append(a.F32, b.F32...), append(a.F64, b.F64...), append(a.I64, b.I64...), append(a.U64, b.U64...)
		a.B, a.S = append(a.B, b.B...), append(a.S, b.S...)
	}
	return all, nil
}

// measure finds a measure by name; names lists what there is.
func measure(name string, all map[string]score.Value) (score.Value, error) {
	if v, ok := all[canonical(name)]; ok {
		return v, nil
	}
	names := make([]string, 0, len(all))
	for k := range all {
		names = append(names, k)
	}
	slices.Sort(names)
	return score.Value{}, problem.New(problem.Invalid, "There is no metric %q for this target; there are %v.", clip(name), names)
}

func (j *judging) metric(ctx context.Context, t *Test) (Result, error) {
	o, err := j.answers(ctx)
	if err != nil {
		return Result{}, err
	}
	if t.Kind == Metric {
		v, err := measure(t.Metric, j.measured)
		return t.limited(v), err
	}
	p, err := newPicker(t.Value)
	if err != nil {
		return Result{}, problem.New(problem.Invalid, "%s.", err)
	}
	rows, err := p.rows(j.table, t.Column)
	if err != nil {
		return Result{}, err
	}
	if len(rows) == 0 {
		return Result{}, problem.New(problem.Invalid, "No row has %s %s.", t.Column, p)
	}
	all, err := o.metrics(rows)
	if err != nil {
		return Result{}, err
	}
	v, err := measure(t.Metric, all)
	r := t.limited(v)
	r.Detail += fmt.Sprintf(" (%d rows where %s %s)", len(rows), t.Column, p)
	return r, err
}

func (j *judging) against(ctx context.Context, t *Test) (Result, error) {
	if _, err := j.answers(ctx); err != nil {
		return Result{}, err
	}
	mine, err := measure(t.Metric, j.measured)
	if err != nil {
		return Result{}, err
	}
	if j.champion == nil {
		if j.champion, err = j.find(ctx); err != nil {
			return Result{}, err
		}
	}
	c := j.champion
	if c.why != "" {
		r := Result{Name: t.Name, Kind: t.Kind, State: Passed, Detail: c.why}
		if c.broken {
			r.State = Failed
		}
		if x, ok, _ := mine.Get(); ok {
			r.Value = &x
		}
		return r, nil
	}
	theirs, err := measure(t.Metric, c.metrics)
	if err != nil {
		return Result{}, err
	}
	return t.compared(mine, theirs, c.name), nil
}

// find judges the champion on the same data.
func (j *judging) find(ctx context.Context) (*rival, error) {
	if j.s.Champions == nil {
		return &rival{why: "There is no champion to compare with."}, nil
	}
	n, err := j.s.Champions.LiveVersion(ctx, j.e.Model, ChampionEnvironment)
	if err != nil {
		return nil, err
	}
	switch n {
	case 0:
		return &rival{why: "No version is live in " + ChampionEnvironment + " yet, so there is no champion to compare with."}, nil
	case j.e.Version:
		return &rival{why: "This version is the champion."}, nil
	}
	c := &rival{name: fmt.Sprintf("%s/%d", j.e.Model, n), version: n}
	fail := func(err error) (*rival, error) {
		p, ok := lasting(err)
		if !ok {
			return nil, err
		}
		c.why, c.broken = fmt.Sprintf("The champion %s cannot be judged on this data: %s", c.name, p.Detail), true
		return c, nil
	}
	v, err := j.s.Inventory.Version(ctx, j.e.Model, n)
	if err != nil {
		return fail(err)
	}
	m, err := j.s.Inventory.Load(ctx, v)
	if err != nil {
		return fail(err)
	}
	defer m.Close()
	o, err := run(ctx, j.suite, j.target, j.table, v, m)
	if err != nil {
		return fail(err)
	}
	if c.metrics, err = o.metrics(nil); err != nil {
		return fail(err)
	}
	return c, nil
}

// Calls of a latency test: some to warm up, then those that count.
const (
	warmCalls  = 20
	timedCalls = 300
)

func (j *judging) latency(ctx context.Context, t *Test) (Result, error) {
	if j.table.Rows == 0 {
		return Result{}, problem.New(problem.Invalid, "The data has no rows.")
	}
	f := frame(j.table)
	inputs := f.Rest(j.target)
	spent := make([]float64, 0, timedCalls)
	for i := range warmCalls + timedCalls {
		row := i % j.table.Rows
		in, err := inventory.Feed(j.version.Signature, inputs, row, row+1)
		if err != nil {
			return Result{}, err
		}
		start := time.Now()
		_, err = j.model.Predict(ctx, in)
		took := time.Since(start)
		if err != nil {
			if ctx.Err() != nil {
				return Result{}, ctx.Err()
			}
			return Result{}, err
		}
		if i >= warmCalls {
			spent = append(spent, float64(took)/float64(time.Millisecond))
		}
	}
	p95 := score.Quantiles(spent, 0.95)[0]
	value, _, _ := p95.Get()
	r := Result{Name: t.Name, Kind: t.Kind, State: Passed, Value: &value, Limit: t.P95MS,
		Detail: fmt.Sprintf("95 of 100 one-row calls took at most %s ms, the limit is %s ms.", short(value), short(*t.P95MS))}
	if value > *t.P95MS {
		r.State = Failed
	}
	return r, nil
}

func (j *judging) signature(ctx context.Context, t *Test) (Result, error) {
	f := frame(j.table)
	inputs := f.Rest(j.target)
	missing, columns := 0, 0
	for from := 0; from < j.table.Rows; from += batchRows {
		in, err := inventory.Feed(j.version.Signature, inputs, from, min(from+batchRows, j.table.Rows))
		if err != nil {
			return Result{}, err
		}
		for i := range in {
			for k := range in[i].Len() {
				if in[i].Type != tensor.Bytes && math.IsNaN(in[i].Float64(k)) {
					missing++
				}
			}
		}
		if from > 0 {
			continue
		}
		for i := range in {
			columns += max(in[i].Width(), 1)
		}
		out, err := j.model.Predict(ctx, in)
		if err != nil {
			return Result{}, err
		}
		for _, spec := range j.version.Signature.Outputs {
			if tensor.Find(out, spec.Name) == nil {
				return Result{}, problem.New(problem.Invalid, "The model does not answer the output %q of its signature.", clip(spec.Name))
			}
		}
	}
	r := Result{Name: t.Name, Kind: t.Kind, State: Passed, Detail: fmt.Sprintf("All %d columns the model takes are there, in types it takes; %d values are missing.", columns, missing)}
	if missing > 0 && t.AllowMissing != nil && !*t.AllowMissing {
		r.State, r.Detail = Failed, fmt.Sprintf("%d values of the model's columns are missing and none may be.", missing)
	}
	return r, nil
}
