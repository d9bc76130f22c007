package study

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/engine/reason"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Range is what is known of the values of an input that a version was made for.
type Range struct {
	Min, Max *float64
	Choices  []string // of a text
	From     string   // what says so, as NAME/VERSION of a data version
}

// Supposed is a row of a logged decision with some of its values changed.
type Supposed struct {
	Prediction string
	Row        int
	Values     map[string]json.RawMessage // by feature; null is a missing value
}

// WhatIf is what the version that decided answers when values of a row are others. Asking changes nothing and is not
// logged.
type WhatIf struct {
	Prediction  string           `json:"prediction_id"`
	Model       string           `json:"model"`
	Version     int              `json:"version" doc:"the version that made the decision"`
	Row         int              `json:"row"`
	Rows        int              `json:"rows" doc:"of the logged call"`
	Inputs      []Input          `json:"inputs" doc:"in the order of the signature"`
	Output      string           `json:"output" doc:"the output that is compared"`
	Before      float64          `json:"before" doc:"the answer to the logged row, asked again"`
	After       float64          `json:"after" doc:"the answer to the changed row; without changes the same"`
	Changes     []Change         `json:"changes"`
	Reasons     []reason.Feature `json:"reasons" doc:"of the changed row, the largest contribution first"`
	Base        float64          `json:"base" doc:"the value before anything is known of the row; with all contributions it sums to total"`
	Total       float64          `json:"total"`
	Unit        string           `json:"unit" doc:"of the contributions"`
	Method      string           `json:"method" doc:"how the contributions came about"`
	Unexplained string           `json:"unexplained,omitempty" doc:"why there are no reasons"`
}

// Input is one value of the row, and where it may lie.
type Input struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind" enum:"number,whole,truth,text"`
	Value   any      `json:"value" doc:"as logged; null is a missing value"`
	Missing bool     `json:"missing_allowed" doc:"whether it can be a missing value"`
	Min     *float64 `json:"min,omitempty"`
	Max     *float64 `json:"max,omitempty"`
	Choices []string `json:"choices,omitempty" doc:"texts that are known"`
	From    string   `json:"from" doc:"what the range is of: a data version as NAME/VERSION, or the logged rows"`
	Outside bool     `json:"outside,omitempty" doc:"the changed value lies outside of the range"`
}

// asked is a logged decision that can be asked again. It fails with problem.NotFound for an unknown one, problem.Conflict
// when it has no answer of a version here or inputs were left out of the log, and problem.Invalid for a row that is none.
func (s *Service) asked(ctx context.Context, id string, row int) (prediction.Record, error) {
	r, err := s.Predictions.Get(ctx, id)
	switch {
	case err != nil:
	case r.Error != "" || len(r.Inputs) == 0 || r.Version == 0:
		err = problem.New(problem.Conflict, "Prediction %s has no answer of a version here, so no other one can be looked for.", r.ID)
	case len(r.Redacted) > 0:
		err = problem.New(problem.Conflict, "Inputs of prediction %s were left out of the log, so it cannot be asked again.", r.ID)
	case row < 0 || row >= r.Rows:
		err = problem.New(problem.Invalid, "Prediction %s has %d rows, counted from 0; there is no row %d.", r.ID, r.Rows, row).At("row")
	}
	return r, err
}

// backgroundCalls are the newest calls that give ranges where no data version does, and that sampled reasons compare with.
const backgroundCalls = 100

// WhatIf asks the version of a logged decision about one of its rows with other values. It fails as asked does, with
// problem.Invalid for a feature that is none or a value that does not fit it, and with problem.TooLarge for rows too wide to
// be explained.
func (s *Service) WhatIf(ctx context.Context, q Supposed) (out WhatIf, err error) {
	r, err := s.asked(ctx, q.Prediction, q.Row)
	if err != nil {
		return out, err
	}
	if _, err := s.Inventory.Version(ctx, r.Model, r.Version); err != nil {
		return out, err
	}
	ranges := map[string]Range{}
	if s.Ranges != nil {
		if ranges, err = s.Ranges(ctx, r.Model, r.Version); err != nil {
			return out, err
		}
	}
	err = s.warm.use(ctx, s, r.Model, r.Version, func(m engine.Model, background [][]tensor.Tensor) error {
		out, err = suppose(ctx, m, r, q, ranges, background)
		return err
	})
	return out, err
}

// suppose answers q with a loaded model.
func suppose(ctx context.Context, m engine.Model, r prediction.Record, q Supposed, ranges map[string]Range, background [][]tensor.Tensor) (out WhatIf, err error) {
	sig := m.Signature()
	logged, err := oneRow(r.Inputs, q.Row, nil, nil)
	if err != nil {
		return out, err
	}
	first, err := reason.NewSurface(ctx, m, sig, [][]tensor.Tensor{logged}, 1)
	if err != nil {
		return out, err
	}
	for name := range q.Values {
		if !slices.Contains(first.Features, name) {
			return out, problem.New(problem.Invalid, "There is no feature %q; the features are %s.", name, list(first.Features)).At("values." + name)
		}
	}
	changed, err := oneRow(r.Inputs, q.Row, first.Features, q.Values)
	if err != nil {
		return out, err
	}
	// One surface of both rows and the background: texts get their places, and ranges their ends.
	s, err := reason.NewSurface(ctx, m, sig, append([][]tensor.Tensor{logged, changed}, background...), maxRows)
	if err != nil {
		return out, err
	}
	f := len(s.Features)
	was, is := s.Rows[:f], s.Rows[f:2*f]
	before, err := s.Predict(was) // chooses the output by the logged row
	if err != nil {
		return out, err
	}
	after, err := s.Predict(is)
	if err != nil {
		return out, err
	}
	out = WhatIf{Prediction: r.ID, Model: r.Model, Version: r.Version, Row: q.Row, Rows: r.Rows, Before: before[0], After: after[0], Changes: changes(s, was, is), Reasons: []reason.Feature{}}
	if out.Before-out.Before != 0 || out.After-out.After != 0 {
		return out, problem.New(problem.Invalid, "The model's answer to these values is no finite number.").At("values")
	}
	for j, name := range s.Features {
		out.Inputs = append(out.Inputs, input(s, j, was[j], is[j], ranges[name]))
	}
	e, err := reason.Explain(ctx, m, sig, changed, 0, func(context.Context) ([][]tensor.Tensor, error) { return background, nil })
	if p, ok := problem.As(err); ok && (p.Kind == problem.Conflict || p.Kind == problem.TooLarge) {
		out.Unexplained = p.Detail
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Unit, out.Method = e.Unit, e.Method
	if len(e.Rows) == 1 {
		x := e.Rows[0]
		out.Output, out.Reasons, out.Base, out.Total = x.Name, x.Features, x.Base, x.Total
	}
	return out, nil
}

// input describes feature j, whose value was and is this.
func input(s *reason.Surface, j int, was, is float64, known Range) Input {
	in := Input{Name: s.Features[j], Value: s.Value(j, was), Min: known.Min, Max: known.Max, Choices: known.Choices, From: known.From}
	switch truth := s.Truth(j); {
	case s.Text(j):
		in.Kind, in.Min, in.Max = "text", nil, nil
		if in.Choices == nil {
			in.Choices, in.From = slices.Sorted(slices.Values(s.Words(j)[:min(len(s.Words(j)), 100)])), ""
		}
		in.Outside = was != is && known.Choices != nil && !slices.Contains(known.Choices, s.Words(j)[int(is)])
	case truth:
		in.Kind, in.Min, in.Max, in.Choices = "truth", nil, nil, nil
		in.Value = was != 0
	default:
		in.Kind, in.Missing, in.Choices = "number", !s.Whole(j), nil
		if s.Whole(j) {
			in.Kind = "whole"
		}
		if in.Min == nil || in.Max == nil || !(*in.Min <= *in.Max) {
			in.Min, in.Max, in.From = nil, nil, ""
			low, high := math.Inf(1), math.Inf(-1)
			f := len(s.Features)
			for r := range s.Calls {
				if v := s.Rows[r*f+j]; r != 1 && v-v == 0 { // but for the supposed row
					low, high = min(low, v), max(high, v)
				}
			}
			if low <= high {
				in.Min, in.Max = &low, &high
			}
		}
		in.Outside = in.Min != nil && is-is == 0 && (is < *in.Min || is > *in.Max)
	}
	if in.From == "" {
		in.From = fmt.Sprintf("%d logged rows", len(s.Calls)-1)
	}
	return in
}

// oneRow cuts one row out of the tensors of a call, with some values replaced; names are those of the row's values in order.
func oneRow(in []tensor.Tensor, row int, names []string, values map[string]json.RawMessage) ([]tensor.Tensor, error) {
	out := make([]tensor.Tensor, len(in))
	at := 0
	for i := range in {
		t := &in[i]
		n := t.Rows()
		if n == 0 || t.Len()%n != 0 || row >= n {
			return nil, problem.New(problem.Conflict, "The input %s has another number of rows than the call, so no row can be taken out of it.", t.Name)
		}
		width := t.Len() / n
		var data []json.RawMessage
		if err := json.Unmarshal(t.AppendData(nil), &data); err != nil || len(data) != t.Len() {
			return nil, fmt.Errorf("read input %s: %d values of %d: %w", t.Name, len(data), t.Len(), err)
		}
		data = slices.Clone(data[row*width : (row+1)*width])
		typ := t.Type
		if typ == tensor.FP16 || typ == tensor.BF16 { // JSON has no halves
			typ = tensor.FP32
		}
		for k := range data {
			if at+k >= len(names) {
				break
			}
			v, ok := values[names[at+k]]
			if !ok {
				continue
			}
			var alone tensor.Tensor
			if err := fill(&alone, t.Name, typ, []int{1}, []json.RawMessage{v}); err != nil {
				return nil, problem.New(problem.Invalid, "%s is no value of %s, which is %s.", clip(string(v)), names[at+k], typ).At("values." + names[at+k])
			}
			data[k] = v
		}
		at += width
		shape := append([]int{1}, t.Shape[min(1, len(t.Shape)):]...)
		if err := fill(&out[i], t.Name, typ, shape, data); err != nil {
			return nil, problem.New(problem.Invalid, "The values do not make a row of %s: %v", t.Name, err).At("values")
		}
		out[i].Type = t.Type
	}
	return out, nil
}

// fill makes a tensor of values as JSON writes them.
func fill(t *tensor.Tensor, name string, typ tensor.Type, shape []int, data []json.RawMessage) error {
	doc, err := json.Marshal(map[string]any{"name": name, "datatype": typ.String(), "shape": shape, "data": data})
	if err != nil {
		return err
	}
	return json.Unmarshal(doc, t)
}

func clip(s string) string {
	return fmt.Sprintf("%q", problem.Clip(s, 40))
}

// idle is how long a version stays in memory after a question: sliders ask many in a row.
const idle = time.Minute

// warm keeps the version that was asked last in memory for a while, one at a time.
type warm struct {
	mu         sync.Mutex
	key        string
	model      engine.Model
	background [][]tensor.Tensor
	timer      *time.Timer
	closed     bool
}

// use calls fn with the version and the inputs of its newest calls. Others wait meanwhile.
func (w *warm) use(ctx context.Context, s *Service, model string, version int, fn func(engine.Model, [][]tensor.Tensor) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := ctx.Err(); err != nil { // who asked has gone while others were answered
		return err
	}
	if w.closed {
		return problem.New(problem.Unavailable, "The server is stopping; ask again in a moment.")
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	if key := fmt.Sprintf("%s/%s/%d", caller.Workspace(ctx), model, version); w.key != key {
		w.drop()
		calls, err := s.calls(ctx, prediction.Query{Model: model, Version: version, Limit: backgroundCalls})
		if err != nil {
			return err
		}
		m, err := s.Load(ctx, model, version)
		if err != nil {
			return err
		}
		w.key, w.model, w.background = key, m, nil
		for _, c := range calls {
			w.background = append(w.background, c.Inputs)
		}
	}
	w.timer = time.AfterFunc(idle, w.cool)
	return fn(w.model, w.background)
}

// cool drops the version when nobody asked it meanwhile.
func (w *warm) cool() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop()
}

func (w *warm) drop() {
	if w.model != nil {
		_ = w.model.Close() // nothing is asked of it any more
	}
	w.key, w.model, w.background = "", nil, nil
}

// Close lets go of the version that is kept for what-if.
func (s *Service) Close() error {
	w := &s.warm
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.closed = true
	w.drop()
	return nil
}
