package oip

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"keelson/internal/problem"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

// request is an inference request as it came in.
type request struct {
	call         serving.Call  // Inputs, Request and the parameters that are ours
	outputs      []output      // asked for; none means all
	sizes        []int         // per input: bytes of binary data behind the JSON, −1 for none
	binaryOutput bool          // outputs that do not say otherwise are sent as binary data
	timeout      time.Duration // the caller allows; 0 for any
	seen         seen
	scanner      tensor.Scanner
}

// output is a requested output.
type output struct {
	name           string
	binary, stated bool // binary counts when stated
}

// seen tells which members the head had.
type seen struct{ id, inputs, outputs, parameters bool }

// reset forgets a request. The inputs are let go, not used again: whoever was called may have kept them.
func (q *request) reset() {
	clear(q.outputs)
	*q = request{outputs: q.outputs[:0], sizes: q.sizes[:0]}
}

// decode reads a body whose JSON is its first head bytes; −1 says that all of it is JSON. Nothing in q refers to body
// afterwards. It fails with problem.Invalid or problem.TooLarge.
func (q *request) decode(body []byte, head int, limits tensor.Limits) error {
	json := body
	if head >= 0 {
		json = body[:head]
	}
	s := &q.scanner
	*s = tensor.Scanner{Data: json}
	defer func() { s.Data = nil }()
	rest := limits
	err := s.Object(func(key string) error {
		switch key {
		case "inputs":
			if q.seen.inputs {
				return twice(key)
			}
			q.seen.inputs = true
			return at(q.readInputs(s, &rest), "inputs")
		case "outputs":
			if q.seen.outputs {
				return twice(key)
			}
			q.seen.outputs = true
			return at(q.readOutputs(s), "outputs")
		case "parameters":
			if q.seen.parameters {
				return twice(key)
			}
			q.seen.parameters = true
			return at(q.readParameters(s), "parameters")
		case "id":
			if q.seen.id {
				return twice(key)
			}
			q.seen.id = true
			return text(s, &q.call.Request, "id")
		}
		return s.Skip()
	})
	if err == nil {
		err = s.End()
	}
	switch {
	case err != nil:
		return err
	case !q.seen.inputs:
		return invalid("The request has no inputs; send {\"inputs\": [{\"name\", \"shape\", \"datatype\", \"data\"}, …]}.").At("inputs")
	}
	if err := q.readBinary(body, head, rest); err != nil {
		return err
	}
	return q.inputNames()
}

func twice(key string) error { return invalid("The request has %q twice.", key).At(key) }

// text reads a string, or null for none.
func text(s *tensor.Scanner, dst *string, field string) (err error) {
	switch s.Peek() {
	case 'n':
		if s.Null() {
			return nil
		}
	case '"':
		if *dst, err = s.String(); err == nil && strings.IndexByte(*dst, 0) >= 0 {
			return invalid("The %s holds a zero byte; take it out.", field).At(field)
		}
		return at(err, "%s", field)
	}
	return invalid("The %s is not a string.", field).At(field)
}

func truth(s *tensor.Scanner, dst *bool, field string) (err error) {
	if *dst, err = s.Bool(); err != nil {
		return invalid("The parameter %s is neither true nor false.", field).At("parameters." + field)
	}
	return nil
}

func (q *request) readParameters(s *tensor.Scanner) error {
	if s.Peek() == 'n' && s.Null() {
		return nil
	}
	c := &q.call
	return s.Object(func(key string) error {
		switch key {
		case "binary_data_output":
			return truth(s, &q.binaryOutput, "binary_data_output")
		case "explain":
			if b := s.Peek(); b == 't' || b == 'f' {
				yes, err := s.Bool()
				if err == nil && yes {
					c.Explain = -1
				}
				return err
			}
			n, err := s.Int()
			if err != nil {
				return badExplain()
			}
			return q.reasons(n)
		case "timeout":
			us, err := s.Int()
			if err != nil {
				return badTimeout("parameters.")
			}
			return q.within(us)
		}
		for i := range told {
			if told[i].name == key {
				return text(s, told[i].field(c), "parameters."+key)
			}
		}
		return s.Skip()
	})
}

// within sets the time the caller gives a call, in microseconds, as the protocol's clients send it.
func (q *request) within(us int64) error {
	if us <= 0 || us > maxTimeout {
		return badTimeout("parameters.")
	}
	q.timeout = time.Duration(us) * time.Microsecond
	return nil
}

// maxReasons is the largest number of features that a call can ask for.
const maxReasons = 100_000

// reasons asks for that many features per row.
func (q *request) reasons(n int64) error {
	if n < 1 || n > maxReasons {
		return badExplain()
	}
	q.call.Explain = int(n)
	return nil
}

func badExplain() error {
	return invalid("The parameter explain is true, false or the number of features to list, from 1 to %d.", maxReasons).At("parameters.explain")
}

const maxTimeout = 24 * 3600 * 1e6

func badTimeout(where string) error {
	return invalid("The parameter timeout is a whole number of microseconds from 1 to %d.", int64(maxTimeout)).At(where + "timeout")
}

// readInputs reads the list of inputs; rest.Elements is what the binary data may still bring.
func (q *request) readInputs(s *tensor.Scanner, rest *tensor.Limits) error {
	return s.Array(func(i int) error {
		if i >= rest.Tensors {
			return problem.New(problem.TooLarge, "The request has more than %d inputs, the limit of one request.", rest.Tensors).At("inputs")
		}
		q.call.Inputs = append(q.call.Inputs, tensor.Tensor{})
		t, size := &q.call.Inputs[i], -1
		// A bare NaN is no JSON, but it is what tritonclient writes for a missing value: the scanner takes it for
		// floating-point tensors and refuses it for all others.
		err := tensor.ReadTensor(s, t, *rest, func(key string) error {
			if key != "parameters" {
				return s.Skip()
			}
			return inputParameters(s, &size)
		})
		if err != nil {
			return at(err, "inputs[%d]%s", i, named(t))
		}
		q.sizes = append(q.sizes, size)
		rest.Elements -= t.Len()
		return nil
	})
}

func named(t *tensor.Tensor) string {
	if t.Name == "" {
		return ""
	}
	return fmt.Sprintf(" %q", clip(t.Name))
}

func inputParameters(s *tensor.Scanner, size *int) error {
	if s.Peek() == 'n' && s.Null() {
		return nil
	}
	return s.Object(func(key string) error {
		switch key {
		case "binary_data_size":
			n, err := s.Int()
			if err != nil || n < 0 || n > math.MaxInt32 {
				return invalid("A binary_data_size is not a whole number of bytes from 0 to 2147483647.")
			}
			*size = int(n)
			return nil
		case "shared_memory_region":
			return invalid("Shared memory is not offered; send the data in JSON or as binary data.")
		}
		return s.Skip()
	})
}

// maxOutputs is how many outputs one request may name.
const maxOutputs = 1024

func (q *request) readOutputs(s *tensor.Scanner) error {
	if s.Peek() == 'n' && s.Null() {
		return nil
	}
	return s.Array(func(i int) error {
		if i >= maxOutputs {
			return problem.New(problem.TooLarge, "The request asks for more than %d outputs.", maxOutputs).At("outputs")
		}
		var o output
		err := s.Object(func(key string) error {
			switch key {
			case "name":
				return text(s, &o.name, "name")
			case "parameters":
				return outputParameters(s, &o)
			}
			return s.Skip()
		})
		if err == nil && o.name == "" {
			err = invalid("A requested output has no name.")
		}
		if err == nil && slices.ContainsFunc(q.outputs, func(p output) bool { return p.name == o.name }) {
			err = invalid("The output %q is requested twice.", clip(o.name))
		}
		q.outputs = append(q.outputs, o)
		return at(err, "outputs[%d]", i)
	})
}

func outputParameters(s *tensor.Scanner, o *output) error {
	if s.Peek() == 'n' && s.Null() {
		return nil
	}
	return s.Object(func(key string) error {
		switch key {
		case "binary_data":
			o.stated = true
			return truth(s, &o.binary, "binary_data")
		case "classification":
			return invalid("Classification of outputs is not offered; ask for the output itself.")
		case "shared_memory_region":
			return invalid("Shared memory is not offered; take the data in JSON or as binary data.")
		}
		return s.Skip()
	})
}

// readBinary fills the inputs whose data stands behind the JSON, in their order, and checks every input.
func (q *request) readBinary(body []byte, head int, rest tensor.Limits) error {
	var tail []byte
	if head >= 0 {
		tail = body[head:]
	}
	for i := range q.call.Inputs {
		t, size := &q.call.Inputs[i], q.sizes[i]
		var err error
		switch {
		case size < 0:
			if n, _ := tensor.Count(t.Shape, math.MaxInt32); n != 0 && t.Len() == 0 {
				err = invalid("Tensor %q has no data: neither \"data\" nor a binary_data_size.", clip(t.Name))
			}
		case t.Len() > 0:
			err = invalid("Tensor %q has its data twice, in JSON and as binary data.", clip(t.Name))
		case head < 0:
			err = invalid("Tensor %q announces binary data, but the header Inference-Header-Content-Length, which says where it begins, is missing.", clip(t.Name))
		case size > len(tail):
			err = invalid("Tensor %q announces %d bytes of binary data, but only %d are left in the body.", clip(t.Name), size, len(tail))
		default:
			err = t.SetRaw(tail[:size], rest)
			tail = tail[size:]
			rest.Elements -= t.Len()
		}
		if err == nil {
			err = t.Check() // a shape may have come a second time behind the data
		}
		if err != nil {
			return at(err, "inputs[%d]", i)
		}
	}
	if len(tail) > 0 {
		return invalid("The body has %d bytes behind the binary data of its inputs; the binary_data_size of each must count them all.", len(tail)).At("binary_data_size")
	}
	return nil
}

// inputNames refuses two inputs of one name.
func (q *request) inputNames() error {
	in := q.call.Inputs
	double := func(i int) error {
		return invalid("Two inputs are named %q.", clip(in[i].Name)).At(fmt.Sprintf("inputs[%d].name", i))
	}
	if len(in) <= 16 {
		for i := range in {
			for j := range i {
				if in[i].Name == in[j].Name {
					return double(i)
				}
			}
		}
		return nil
	}
	names := make(map[string]struct{}, len(in))
	for i := range in {
		if _, ok := names[in[i].Name]; ok {
			return double(i)
		}
		names[in[i].Name] = struct{}{}
	}
	return nil
}
