package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// widest is the number of values of a row up to which a form has a field for each.
const widest = 200

// Material is what a form is made of. Inputs are golden rows, nil when the version has none; Answers what was recorded
// for them, nil when nothing was; Limit the largest error that counts as equal.
type Material struct {
	Signature engine.Signature
	Ranges    map[string]Range // by the name of an input or column
	Inputs    []tensor.Tensor
	Answers   []tensor.Tensor
	Limit     float64
}

// Range is what is known of the values that a model was made for.
type Range struct {
	Min     *float64 `json:"min,omitempty"`
	Max     *float64 `json:"max,omitempty"`
	Choices []string `json:"choices,omitempty" doc:"the values of a categorical input"`
	From    string   `json:"from,omitempty" doc:"the data version that says so, as NAME/VERSION"`
}

// Field is one value of a row.
type Field struct {
	Name     string          `json:"name"`
	Input    string          `json:"input" doc:"the tensor it belongs to"`
	Place    int             `json:"place" doc:"its place in a row of that tensor, from 0"`
	Datatype string          `json:"datatype"`
	Doc      string          `json:"doc,omitempty"`
	Optional bool            `json:"optional,omitempty"`
	Example  json.RawMessage `json:"example" doc:"of the first golden row, else one that fits the type; null is a missing value"`
	Range
}

// Form is how one row is sent to a version: its fields, or only an example when a row is no list of single values.
type Form struct {
	Endpoint string        `json:"endpoint"`
	Model    string        `json:"model"`
	Version  int           `json:"version"`
	Fields   []Field       `json:"fields" doc:"empty when the inputs are tensors that no form can show"`
	Inputs   []engine.Spec `json:"inputs"`
	Outputs  []engine.Spec `json:"outputs"`
	Golden   bool          `json:"golden" doc:"the examples are golden rows of the version"`
	Example  []SentTensor  `json:"example" doc:"inputs of one row, as the Open Inference Protocol takes them"`
	Rows     []SentTensor  `json:"rows,omitempty" doc:"inputs of all golden rows"`
	Answers  []SentTensor  `json:"answers,omitempty" doc:"what was recorded for the golden rows"`
	Limit    float64       `json:"limit" doc:"largest error at which an answer counts as the recorded one"`
}

// SentTensor is a tensor as it is sent: flat data, null for a missing value.
type SentTensor struct {
	Name     string          `json:"name"`
	Shape    []int           `json:"shape"`
	Datatype string          `json:"datatype"`
	Data     json.RawMessage `json:"data"`
}

// formOf makes the form of a version.
func formOf(m Material) Form {
	f := Form{Fields: []Field{}, Inputs: m.Signature.Inputs, Outputs: m.Signature.Outputs, Golden: len(m.Inputs) > 0, Limit: m.Limit}
	f.Rows, f.Answers = sent(m.Inputs), sent(m.Answers)
	if f.Example = firstRow(f.Rows); len(f.Example) == 0 {
		for _, s := range m.Signature.Inputs {
			if !s.Optional {
				f.Example = append(f.Example, plain(s))
			}
		}
	}
	for _, s := range m.Signature.Inputs {
		names := fieldsOf(s)
		if names == nil || len(f.Fields)+len(names) > widest {
			f.Fields = []Field{}
			return f
		}
		var row []json.RawMessage
		if i := slices.IndexFunc(f.Example, func(t SentTensor) bool { return t.Name == s.Name }); i >= 0 {
			_ = json.Unmarshal(f.Example[i].Data, &row) // written by us; a row that cannot be read leaves no example
		} else if len(m.Signature.Inputs) > 1 || len(f.Example) != len(names) {
			row = nil
		} else { // a single matrix, whose columns came one by one
			for _, t := range f.Example {
				var cell []json.RawMessage
				if json.Unmarshal(t.Data, &cell) == nil && len(cell) == 1 {
					row = append(row, cell[0])
				}
			}
		}
		for i, name := range names {
			field := Field{Name: name, Input: s.Name, Place: i, Datatype: sendable(s.Datatype), Doc: s.Doc, Optional: s.Optional, Example: json.RawMessage("null"), Range: m.Ranges[name]}
			if len(row) == len(names) {
				field.Example = row[i]
			}
			f.Fields = append(f.Fields, field)
		}
	}
	return f
}

// fieldsOf names the values of a row of an input, nil when it is no plain row.
func fieldsOf(s engine.Spec) []string {
	switch {
	case len(s.Columns) > 0:
		return s.Columns
	case len(s.Shape) == 1, len(s.Shape) == 2 && s.Shape[1] == 1:
		return []string{s.Name}
	case len(s.Shape) == 2 && s.Shape[1] > 1 && s.Shape[1] <= widest:
		out := make([]string, s.Shape[1])
		for i := range out {
			out[i] = fmt.Sprintf("%s[%d]", s.Name, i)
		}
		return out
	}
	return nil
}

// sendable is the datatype in which values are written as JSON, which has no halves.
func sendable(datatype string) string {
	if t, err := tensor.ParseType(datatype); err == nil && (t == tensor.FP16 || t == tensor.BF16) {
		return tensor.FP32.String()
	}
	return datatype
}

// plain is one row of an input with values that fit its type.
func plain(s engine.Spec) SentTensor {
	t := SentTensor{Name: s.Name, Shape: make([]int, len(s.Shape)), Datatype: sendable(s.Datatype)}
	n := 1
	for i, d := range s.Shape {
		t.Shape[i] = max(d, 1)
		n = min(n*t.Shape[i], 10_000)
	}
	value := "1"
	switch typ, _ := tensor.ParseType(s.Datatype); typ {
	case tensor.Bool:
		value = "true"
	case tensor.Bytes:
		value = `"text"`
	case tensor.FP16, tensor.BF16, tensor.FP32, tensor.FP64:
		value = "0.5"
	}
	t.Data = json.RawMessage("[" + strings.Join(slices.Repeat([]string{value}, n), ",") + "]")
	return t
}

// firstRow gives tensors with their first row only.
func firstRow(in []SentTensor) (out []SentTensor) {
	for _, t := range in {
		var all []json.RawMessage
		if len(t.Shape) > 0 && t.Shape[0] > 1 && json.Unmarshal(t.Data, &all) == nil {
			t.Shape = append([]int{1}, t.Shape[1:]...)
			n := 1
			for _, d := range t.Shape {
				n *= d
			}
			t.Data, _ = json.Marshal(all[:min(n, len(all))]) // was read just now
		}
		out = append(out, t)
	}
	return out
}

func sent(list []tensor.Tensor) (out []SentTensor) {
	for i := range list {
		t := &list[i]
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		out = append(out, SentTensor{Name: t.Name, Shape: shape, Datatype: sendable(t.Type.String()), Data: t.AppendData(nil)})
	}
	return out
}

// Form tells how to call an endpoint, or one version that answers there.
func (s *Service) Form(ctx context.Context, endpoint string, version int) (Form, error) {
	f, ok, err := s.read(ctx, endpoint)
	if err != nil {
		return Form{}, err
	}
	if !ok || f.Current == nil {
		return Form{}, unknown(endpoint)
	}
	if version == 0 {
		version = f.Current.Slot.Version
	}
	found := false
	for _, sl := range f.slots() {
		found = found || sl.Version == version
	}
	if !found {
		return Form{}, problem.New(problem.NotFound, "Version %d does not answer at %s.", version, endpoint).At("version")
	}
	if s.Materials == nil {
		return Form{}, problem.New(problem.Unsupported, "This server knows no signatures.")
	}
	m, err := s.Materials.Material(ctx, f.Model, version)
	if err != nil {
		return Form{}, fmt.Errorf("make the form of %s/%d: %w", f.Model, version, err)
	}
	out := formOf(m)
	out.Endpoint, out.Model, out.Version = endpoint, f.Model, version
	return out, nil
}

type formInput struct {
	EndpointInput
	Version int `query:"version" minimum:"0" doc:"the live one if left out"`
}

func (s *Service) getForm(ctx context.Context, in *formInput) (Form, error) {
	return s.Form(ctx, in.Endpoint, in.Version)
}
