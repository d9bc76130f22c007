package serving

import (
	"slices"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/tensor"
)

// A plan may let a version in that reads a matrix by other columns than the live one, when the people who approve it
// accept that (approval.Plan.AcceptColumns). While both are there, a call that sends the matrix without the names of its
// columns means those of the live version, which every caller has known until now: it is answered by that version and not
// copied to a shadow. Calls that name their columns, or the version, take part as always.

// compare notes at every canary and shadow of e which inputs the live version reads by other columns.
func (e *endpoint) compare() {
	live := e.live()
	if live == nil {
		return
	}
	for _, list := range [][]*slot{e.routed, e.shadows} {
		for _, sl := range list {
			for _, r := range live.signature.Rearranged(sl.signature) {
				sl.rearranged = append(sl.rearranged, r.Input)
			}
		}
	}
}

// live is the slot that answers what no canary takes; nil where nothing answers.
func (e *endpoint) live() *slot {
	if i := slices.IndexFunc(e.routed, func(s *slot) bool { return s.Kind == release.SlotLive }); i >= 0 {
		return e.routed[i]
	}
	return nil
}

// misread tells that sl would read a matrix of c by other columns than the caller means.
func (c *Call) misread(sl *slot) bool {
	for _, input := range sl.rearranged {
		if c.Layout != nil {
			if c.Unnamed != nil && c.Unnamed(input) {
				return true
			}
			continue
		}
		for i := range c.Inputs {
			if c.Inputs[i].Name == input {
				return true
			}
		}
	}
	return false
}

// lent gives the only input of a model as full knows it, when its columns have names there and none in the model's own
// signature: the engine then takes the matrix and no tensor per column.
func lent(own, full engine.Signature) *engine.Spec {
	if len(full.Inputs) != 1 || len(own.Inputs) != 1 || len(own.Inputs[0].Columns) > 0 || len(full.Inputs[0].Columns) == 0 {
		return nil
	}
	return &full.Inputs[0]
}

// take gives the inputs of a call as sl's engine takes them: a tensor per column becomes the matrix where only the record
// names the columns.
func (sl *slot) take(in []tensor.Tensor) ([]tensor.Tensor, error) {
	if sl.gather == nil || len(in) == 0 || len(in) == 1 && (len(sl.gather.Columns) > 1 || in[0].Name != sl.gather.Columns[0]) {
		return in, nil
	}
	as := in[0].Type
	for i := range in {
		switch t := in[i].Type; {
		case t == as:
		case t == tensor.Bytes || as == tensor.Bytes:
			return nil, problem.New(problem.Invalid, "The column %q is %s and others are %s; the model takes one matrix %q of all.", clip(in[i].Name), t, as, sl.gather.Name).At("inputs")
		default:
			as = tensor.FP64
		}
	}
	m, err := engine.Gather(*sl.gather, in, func(t *tensor.Tensor) (tensor.Tensor, error) {
		if t.Type == as {
			return *t, nil
		}
		out := tensor.Tensor{Type: as, Shape: t.Shape, F64: make([]float64, t.Len())}
		for i := range out.F64 {
			out.F64[i] = t.Float64(i)
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return []tensor.Tensor{m}, nil
}
