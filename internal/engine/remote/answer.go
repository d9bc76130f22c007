package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

// read takes the outputs out of an answer and holds them against the contract. What does not fit is an error of the
// model behind the address, never of the caller.
func (c *contract) read(body []byte, rows int) ([]tensor.Tensor, error) {
	specs := c.doc.Signature.Outputs
	out := make([]tensor.Tensor, len(specs))
	if c.doc.Protocol == "oip" {
		var doc struct{ Outputs []tensor.Tensor }
		if err := json.Unmarshal(body, &doc); err != nil {
			return nil, fmt.Errorf("its answer cannot be read: %w", err)
		}
		for i, spec := range specs {
			t := tensor.Find(doc.Outputs, spec.Name)
			if t == nil {
				return nil, fmt.Errorf("its answer lacks the output %q", clip(spec.Name))
			}
			out[i] = *t
		}
	} else {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		var doc any
		if err := d.Decode(&doc); err != nil {
			return nil, fmt.Errorf("its answer is no JSON: %w", err)
		}
		for i, spec := range specs {
			t, err := collect(doc, c.pointers[i], spec, rows)
			if err != nil {
				return nil, fmt.Errorf("the output %q in its answer: %w", clip(spec.Name), err)
			}
			out[i] = t
		}
	}
	for i, spec := range specs {
		t := &out[i]
		if err := t.Check(); err != nil {
			return nil, fmt.Errorf("the output %q: %w", clip(spec.Name), err)
		}
		if t.Type.String() != spec.Datatype || !spec.Fits(t.Shape) || t.Shape[0] != rows {
			return nil, fmt.Errorf("the output %q is %s %v; the contract says %s %v for %d rows", clip(spec.Name), t.Type, t.Shape, spec.Datatype, spec.Shape, rows)
		}
	}
	return out, nil
}

// collect follows a pointer and makes a tensor of what it finds.
func collect(doc any, pointer []string, spec engine.Spec, rows int) (tensor.Tensor, error) {
	typ, err := tensor.ParseType(spec.Datatype)
	t := tensor.Tensor{Name: spec.Name, Type: typ}
	if err != nil {
		return t, err
	}
	if err := follow(doc, pointer, &t); err != nil {
		return t, err
	}
	// The shape is the contract's, with the rows of the call; one more open dimension takes what is left.
	t.Shape = append([]int{}, spec.Shape...)
	t.Shape[0] = rows
	known, open := 1, -1
	for i, d := range t.Shape {
		if d < 0 && open < 0 {
			open = i
		} else if d < 0 {
			return t, fmt.Errorf("the contract leaves more than one dimension open")
		} else {
			known *= d
		}
	}
	if open >= 0 && known > 0 {
		t.Shape[open] = t.Len() / known
	} else if open >= 0 {
		t.Shape[open] = 0
	}
	return t, nil
}

func follow(v any, pointer []string, t *tensor.Tensor) error {
	if len(pointer) == 0 {
		return flatten(v, t)
	}
	part := pointer[0]
	switch v := v.(type) {
	case map[string]any:
		x, ok := v[part]
		if !ok {
			return fmt.Errorf("there is no %q", clip(part))
		}
		return follow(x, pointer[1:], t)
	case []any:
		if part == "*" {
			for _, x := range v {
				if err := follow(x, pointer[1:], t); err != nil {
					return err
				}
			}
			return nil
		}
		i, err := strconv.Atoi(part)
		if err != nil || i < 0 || i >= len(v) {
			return fmt.Errorf("there is no element %q of %d", clip(part), len(v))
		}
		return follow(v[i], pointer[1:], t)
	}
	return fmt.Errorf("%q does not lead into an object or a list", clip(part))
}

// flatten appends the values of nested lists.
func flatten(v any, t *tensor.Tensor) error {
	wrong := func() error { return fmt.Errorf("%s is no %s", clip(fmt.Sprint(v)), t.Type) }
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if err := flatten(x, t); err != nil {
				return err
			}
		}
		return nil
	case string:
		if t.Type != tensor.Bytes {
			return wrong()
		}
		t.S = append(t.S, v)
	case bool:
		if t.Type != tensor.Bool {
			return wrong()
		}
		t.B = append(t.B, v)
	case nil:
		switch t.Type {
		case tensor.FP32, tensor.FP16:
			t.F32 = append(t.F32, float32(math.NaN()))
		case tensor.FP64:
			t.F64 = append(t.F64, math.NaN())
		default:
			return wrong()
		}
	case json.Number:
		var err error
		switch t.Type {
		case tensor.FP32, tensor.FP16:
			var f float64
			f, err = strconv.ParseFloat(v.String(), 32)
			t.F32 = append(t.F32, float32(f))
		case tensor.FP64:
			var f float64
			f, err = v.Float64()
			t.F64 = append(t.F64, f)
		case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
			var n int64
			n, err = v.Int64()
			t.I64 = append(t.I64, n)
		case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
			var n uint64
			n, err = strconv.ParseUint(v.String(), 10, 64)
			t.U64 = append(t.U64, n)
		default:
			err = fmt.Errorf("type")
		}
		if err != nil {
			return wrong()
		}
	default:
		return wrong()
	}
	return nil
}
