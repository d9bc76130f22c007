package evaluation

import (
	"context"

	"keelson/internal/dataset"
	"keelson/internal/engine"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Rehearsal is what a version answers on data whose outcomes are known, taken apart as the prediction log is.
type Rehearsal struct {
	Data    dataset.Ref
	Judged  bool // the version was judged on this data; else it is what the caller named, mostly the data it was trained on
	Inputs  []engine.Column
	Outputs []engine.Column
	Truth   []any // by row: float64, string, or true and false where the suite names the positive word; nil where it is missing
	Rows    int
}

// rehearsed is how many rows a rehearsal answers at most; of more, evenly spaced ones.
const rehearsed = 50_000

// Rehearse lets a version answer the data of its latest evaluation that has ended, or else other. It fails with
// problem.NotFound when there is neither, and with what is wrong with version or data.
func (s *Service) Rehearse(ctx context.Context, model string, version int, other dataset.Ref) (Rehearsal, error) {
	var r Rehearsal
	var suite Suite
	e, found, err := s.Latest(ctx, model, version)
	if err != nil {
		return r, err
	}
	r.Data = other
	if found && e.State != Running {
		r.Data, suite = dataset.Ref{Dataset: e.Dataset, Version: e.DatasetVersion}, e.definition
		r.Judged = r.Data != other
	}
	if r.Data.Dataset == "" {
		return r, problem.New(problem.NotFound, "There is no data that %s/%d was judged on or trained on.", model, version)
	}
	v, err := s.Inventory.Version(ctx, model, version)
	if err != nil {
		return r, err
	}
	if v.Engine == "remote" { // nobody has asked to send the data to another machine
		return r, problem.New(problem.Unsupported, "%s answers on another machine, to which the data is not sent for this.", v.Ref())
	}
	set, err := s.Data.Get(ctx, r.Data.Dataset)
	if err != nil {
		return r, err
	}
	target := suite.Target
	if target == "" {
		target = set.Target
	}
	table, err := s.Data.Open(ctx, r.Data.Dataset, r.Data.Version)
	if err != nil {
		return r, err
	}
	table = thinned(table, rehearsed)
	truth, ok := table.Column(target)
	if target == "" || !ok {
		return r, problem.New(problem.Invalid, "The data %s has no target column, so its outcomes are not known.", r.Data.Dataset)
	}
	m, err := s.Inventory.Load(ctx, v)
	if err != nil {
		return r, err
	}
	defer m.Close()
	whole := frame(table)
	inputs := whole.Rest(target)
	var in, out []tensor.Tensor
	for from := 0; from < table.Rows; from += batchRows {
		to := min(from+batchRows, table.Rows)
		part, err := inventory.Feed(v.Signature, inputs, from, to)
		if err != nil {
			return r, err
		}
		answers, err := m.Predict(ctx, part)
		if err != nil {
			return r, err
		}
		if in, err = appendRows(in, part); err != nil {
			return r, err
		}
		if out, err = appendRows(out, answers); err != nil {
			return r, err
		}
	}
	r.Rows = table.Rows
	r.Inputs, r.Outputs = v.Signature.Columns(in), engine.Signature{Inputs: v.Signature.Outputs}.Columns(out)
	r.Truth = make([]any, table.Rows)
	words, missing := truth.Text()
	for i := range r.Truth {
		switch {
		case missing != nil && missing[i]:
		case suite.Positive != "":
			r.Truth[i] = words[i] == suite.Positive
		case truth.Numbers != nil:
			r.Truth[i] = truth.Numbers[i]
		default:
			r.Truth[i] = words[i]
		}
	}
	return r, nil
}

// thinned keeps n evenly spaced rows of a table.
func thinned(t *dataset.Table, n int) *dataset.Table {
	if t.Rows <= n {
		return t
	}
	out := &dataset.Table{Rows: n, Columns: make([]dataset.Column, len(t.Columns))}
	for k := range t.Columns {
		from, to := &t.Columns[k], &out.Columns[k]
		to.Name, to.Type = from.Name, from.Type
		for i := range n {
			at := i * t.Rows / n
			if from.Numbers != nil {
				to.Numbers = append(to.Numbers, from.Numbers[at])
				continue
			}
			to.Words, to.Missing = append(to.Words, from.Words[at]), append(to.Missing, from.Missing[at])
		}
	}
	return out
}
