// Package reason says why a loaded model answered as it did, whatever engine it is of.
//
// A model that can explain itself (engine.Explainer) is asked; any other is explained by KernelSHAP against a background
// of rows, which the caller hands over. What was done, on how many rows and with which limits is part of the answer.
package reason

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"keelson/internal/engine"
	"keelson/internal/explain"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// The most rows that one call explains: of models that explain themselves, and of all others, whose every row takes
// thousands of predictions.
const (
	MaxRows        = 64
	MaxSampledRows = 8
)

// A background has at least MinBackground rows, so that a typical value is nobody's own, and at most MaxBackground.
const (
	MinBackground = 10
	MaxBackground = 20
)

// Explanation divides the answers of some rows among the features.
type Explanation struct {
	Method string `json:"method" doc:"how the numbers came about, on what sample and with which limits"`
	Unit   string `json:"unit" doc:"what base and contributions add up to"`
	Rows   []Row  `json:"rows"`
	// Contest is where somebody says that the decision was not right; "" when it is not on record.
	Contest string `json:"contest,omitempty" doc:"page of the decision, where it can be contested; programs post to /api/v1/predictions/{id}/feedback"`
}

// Row explains one row: Base, Features and Rest sum to Total.
type Row struct {
	Row      int       `json:"row"`
	Output   int       `json:"output" doc:"place of the explained output; of several classes the one with the highest score"`
	Name     string    `json:"output_name,omitempty"`
	Base     float64   `json:"base" doc:"the value before anything is known of the row"`
	Total    float64   `json:"total"`
	Features []Feature `json:"features" doc:"largest contribution first"`
	Rest     float64   `json:"rest" doc:"contributions of the features that are not listed"`
	Summary  string    `json:"summary,omitempty" doc:"the reasons in one sentence, without figures of the method"`
}

// Feature is what one feature of one row did.
type Feature struct {
	Name         string  `json:"name"`
	Value        any     `json:"value" doc:"number or text; null is missing"`
	Typical      any     `json:"typical,omitempty"`
	Contribution float64 `json:"contribution"`
	Words        string  `json:"words"`
}

// Background gives sets of inputs of the same form as the call's, of other decisions.
type Background func(ctx context.Context) ([][]tensor.Tensor, error)

// Explain explains every row of in with its top features; top ≤ 0 lists all. sig names the columns. It fails with
// problem.TooLarge beyond MaxRows or MaxSampledRows, problem.Conflict when a background is needed and lacks rows, and
// problem.Invalid when in does not fit the model or an answer is no number.
func Explain(ctx context.Context, m engine.Model, sig engine.Signature, in []tensor.Tensor, top int, background Background) (Explanation, error) {
	n := 0
	if len(in) > 0 {
		n = in[0].Rows()
	}
	if n > MaxRows {
		return Explanation{}, problem.New(problem.TooLarge, "The request has %d rows; at most %d are explained in one call.", n, MaxRows).At("parameters.explain")
	}
	var e engine.Explanation
	err := error(problem.New(problem.Unsupported, "The model cannot explain itself."))
	if own, ok := m.(engine.Explainer); ok {
		e, err = own.Explain(ctx, in)
	}
	if problem.Is(err, problem.Unsupported) {
		return sampled(ctx, m, sig, in, n, top, background)
	}
	if err != nil {
		return Explanation{}, err
	}
	e.Features = slices.Clone(e.Features)
	if len(sig.Inputs) == 1 && len(sig.Inputs[0].Columns) == len(e.Features) { // the version's record may know better names
		copy(e.Features, sig.Inputs[0].Columns)
	}
	out := Explanation{Method: e.Method, Unit: e.Unit, Rows: make([]Row, n)}
	f := len(e.Features)
	for r := range n {
		best, highest := 0, math.Inf(-1)
		for g := range e.Outputs {
			total := e.Base[g]
			for _, v := range e.Contributions[(r*e.Outputs+g)*f : (r*e.Outputs+g+1)*f] {
				total += v
			}
			if total > highest {
				best, highest = g, total
			}
		}
		from := (r*e.Outputs + best) * f
		name := ""
		if best < len(e.Names) {
			name = e.Names[best]
		}
		row := describe(name, e.Features, e.Values[r*f:(r+1)*f], e.Typical, e.Contributions[from:from+f], e.Base[best], e.Unit, top)
		if row.Total-row.Total != 0 || row.Rest-row.Rest != 0 {
			return Explanation{}, problem.New(problem.Invalid, "The answer for row %d is not finite, so it cannot be divided among the features.", r).At("inputs")
		}
		row.Row, row.Output = r, best
		out.Rows[r] = row
	}
	return out, nil
}

// describe lists the features of one row; name is the output's, "" where it has none.
func describe(name string, names []string, values, typical []engine.Value, contributions []float64, base float64, unit string, top int) Row {
	if top <= 0 {
		top = len(names)
	}
	out := Row{Name: name, Base: base, Total: base, Features: []Feature{}}
	for _, c := range contributions {
		out.Total += c
		out.Rest += c
	}
	order := explain.Largest(contributions, top)
	var facts []explain.Fact
	for _, j := range order {
		out.Rest -= contributions[j]
		fact := explain.Fact{Feature: names[j], Value: words(values[j]), Contribution: contributions[j]}
		feature := Feature{Name: names[j], Value: plain(values[j]), Contribution: contributions[j]}
		if typical != nil {
			fact.Typical, feature.Typical = words(typical[j]), plain(typical[j])
		}
		feature.Words = fact.Words(unit)
		facts = append(facts, fact)
		out.Features = append(out.Features, feature)
	}
	out.Summary = explain.Summary(facts, cmp.Or(name, "the answer"))
	if len(order) == len(contributions) {
		out.Rest = 0
	}
	return out
}

func words(v engine.Value) string {
	if v.Word {
		return v.Text
	}
	return explain.Number(v.Number)
}

// plain is v as JSON can say it.
func plain(v engine.Value) any {
	switch {
	case v.Word:
		return v.Text
	case v.Number-v.Number == 0:
		return v.Number
	}
	return nil
}

// coalitions is how many sets of features are asked for per row, beyond the two per feature that are needed.
const coalitions = 512

// sampled explains by asking the model.
func sampled(ctx context.Context, m engine.Model, sig engine.Signature, in []tensor.Tensor, n, top int, background Background) (Explanation, error) {
	if n > MaxSampledRows {
		return Explanation{}, problem.New(problem.TooLarge, "The request has %d rows; models that cannot explain themselves are asked thousands of times per row, so at most %d are explained in one call.", n, MaxSampledRows).At("parameters.explain")
	}
	if background == nil {
		return Explanation{}, problem.New(problem.Conflict, "The model cannot explain itself, and there are no earlier decisions to compare with.")
	}
	c := newCells(sig, in)
	if len(c.names) > explain.MaxPlayers {
		return Explanation{}, problem.New(problem.TooLarge, "A row has %d values; at most %d can be explained.", len(c.names), explain.MaxPlayers)
	}
	rows, ok := c.read(in)
	if !ok {
		return Explanation{}, problem.New(problem.Invalid, "The inputs differ in their number of rows, so they cannot be explained row by row.").At("inputs")
	}
	others, err := background(ctx)
	if err != nil {
		return Explanation{}, err
	}
	f := len(c.names)
	var compare []float64
	for _, o := range others {
		more, ok := c.read(o)
		if !ok {
			continue
		}
		if compare = append(compare, more...); len(compare) >= MaxBackground*f {
			compare = compare[:MaxBackground*f]
			break
		}
	}
	if len(compare) < MinBackground*f || f == 0 {
		return Explanation{}, problem.New(problem.Conflict, "The model cannot explain itself; comparing with earlier decisions needs %d rows of the same form in the log of this version, and there are %d. Ask again when it has answered more calls.", MinBackground, len(compare)/max(f, 1))
	}
	typical := c.typical(compare)
	out := Explanation{Unit: "the answer", Rows: make([]Row, n)}
	for r := range n {
		row := rows[r*f : (r+1)*f]
		answer := picker{}
		predict := func(rows []float64) ([]float64, error) {
			got, err := m.Predict(ctx, c.write(rows))
			if err != nil {
				return nil, err
			}
			return answer.pick(got, len(rows)/f)
		}
		if _, err := predict(row); err != nil { // chooses the output by the row itself
			return Explanation{}, err
		}
		got, err := explain.Kernel(predict, row, compare, explain.Sampling{Coalitions: coalitions + 2*f, Seed: 1})
		if err != nil {
			return Explanation{}, err
		}
		values := make([]engine.Value, f)
		for j, v := range row {
			values[j] = c.value(j, v)
		}
		out.Rows[r] = describe("", c.names, values, typical, got.Values, got.Base, out.Unit, top)
		out.Rows[r].Row, out.Rows[r].Output, out.Rows[r].Name = r, answer.column, answer.name
		out.Method = got.Method() + "; the background is the newest rows that the log has of this version, features are taken as independent"
	}
	return out, nil
}

// picker takes one number per row out of an answer: the first tensor of fractions, else of numbers; of two columns the
// second, of more the one that was highest when it was first asked.
type picker struct {
	chosen bool
	column int
	name   string
}

func (p *picker) pick(out []tensor.Tensor, n int) ([]float64, error) {
	var t *tensor.Tensor
	for i := range out {
		o := &out[i]
		if o.Type == tensor.Bytes || o.Rows() != n || n == 0 || o.Len() == 0 || o.Len()%n != 0 {
			continue
		}
		fraction := o.Type == tensor.FP64 || o.Type == tensor.FP32
		if t == nil || fraction && t.Type != tensor.FP64 && t.Type != tensor.FP32 {
			t = o
		}
	}
	if t == nil {
		return nil, problem.New(problem.Invalid, "The model's answer holds no number per row that could be explained.")
	}
	w := t.Len() / n
	if !p.chosen {
		p.chosen, p.name = true, t.Name
		if w == 2 {
			p.column = 1
		} else {
			for k := range w {
				if t.Float64(k) > t.Float64(p.column) {
					p.column = k
				}
			}
		}
	}
	if p.column >= w {
		return nil, fmt.Errorf("the output %s has %d values per row, and had more before", t.Name, w)
	}
	values := make([]float64, n)
	for i := range values {
		values[i] = t.Float64(i*w + p.column)
	}
	return values, nil
}
