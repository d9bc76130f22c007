package onnx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

// columnsKey is the entry of a file's metadata (ModelProto.metadata_props) that names the columns of its matrices, which
// the form itself has no place for: a JSON object of lists by the names of inputs and outputs.
const columnsKey = "keelson.columns"

// WithColumns writes the columns that sig names into a file, for the inputs and outputs that the file has in the same
// width; those that it named before are replaced. Everything else stays as it is, byte for byte.
func WithColumns(data []byte, sig engine.Signature) ([]byte, error) {
	p, err := readModel(data)
	if err != nil {
		return nil, err
	}
	names := map[string][]string{}
	take := func(have []valueInfo, specs []engine.Spec) {
		for _, v := range have {
			for _, s := range specs {
				if s.Name == v.name && len(s.Columns) > 0 && len(v.shape) == 2 && (v.shape[1] < 0 || v.shape[1] == len(s.Columns)) {
					names[s.Name] = s.Columns
				}
			}
		}
	}
	take(p.graph.inputs, sig.Inputs)
	take(p.graph.outputs, sig.Outputs)
	if len(names) == 0 {
		return data, nil
	}
	text, err := json.Marshal(names) // keys are sorted
	if err != nil {
		return nil, fmt.Errorf("write the columns: %w", err)
	}
	var out, entry wireMessage
	err = parts(data, func(number protowire.Number, whole, body []byte) error {
		if number == 14 && body != nil {
			if key, _, err := property(body); err != nil || key == columnsKey {
				return err
			}
		}
		out = append(out, whole...)
		return nil
	})
	entry.text(1, columnsKey)
	entry.bytes(2, text)
	out.bytes(14, entry)
	return out, err
}

// Columns gives the names that WithColumns wrote, by input and output; nil when there are none. It fails with
// problem.Invalid when the entry cannot be read.
func Columns(data []byte) (names map[string][]string, err error) {
	err = fields(data, func(number protowire.Number, _ uint64, data []byte) error {
		if number != 14 || data == nil {
			return nil
		}
		key, text, err := property(data)
		if err != nil || key != columnsKey {
			return err
		}
		if names, err = lists(text); err != nil {
			return broken("the entry %q of its metadata is not an object of lists of names", columnsKey)
		}
		return nil
	})
	return names, err
}

var errLists = errors.New("not an object of lists of names")

// lists reads {"a":["b",…],…} piece by piece and nothing else: a file of others may hold millions of values of any kind.
func lists(text []byte) (map[string][]string, error) {
	out := map[string][]string{}
	all := make([]string, 0, bytes.Count(text, []byte{'"'})/2) // each text has two
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errLists
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, errLists
		}
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return nil, errLists
		}
		from := len(all)
		for d.More() {
			t, err := d.Token()
			name, ok := t.(string)
			if err != nil || !ok {
				return nil, errLists
			}
			all = append(all, name)
		}
		if _, err := d.Token(); err != nil {
			return nil, errLists
		}
		out[key.(string)] = all[from:len(all):len(all)]
	}
	return out, nil
}

// property reads an entry of the metadata.
func property(b []byte) (key string, text []byte, err error) {
	err = fields(b, func(number protowire.Number, _ uint64, data []byte) error {
		switch number {
		case 1:
			key = string(data)
		case 2:
			text = data
		}
		return nil
	})
	return key, text, err
}

// Know puts names of columns to those matrices of specs that have none. It fails with problem.Invalid when a list is not as
// long as its matrix is wide.
func Know(specs []engine.Spec, names map[string][]string) error {
	for i := range specs {
		s := &specs[i]
		list := names[s.Name]
		if len(list) == 0 || len(s.Columns) > 0 {
			continue
		}
		if len(s.Shape) != 2 || s.Shape[1] >= 0 && s.Shape[1] != len(list) {
			return broken("the entry %q of its metadata names %d columns of %q, which has the shape %v", columnsKey, len(list), clip(s.Name), s.Shape)
		}
		s.Columns = list
	}
	return nil
}

// matrix makes the one matrix that a model takes of a tensor per column.
func matrix(want Input, in []tensor.Tensor, out *tensor.Tensor) error {
	var err error
	*out, err = engine.Gather(engine.Spec{Name: want.Name, Shape: want.Shape, Columns: want.Columns}, in, func(t *tensor.Tensor) (out tensor.Tensor, err error) {
		if p := convert(&out, t, want.Type); p != nil {
			err = p
		}
		return out, err
	})
	return err
}
