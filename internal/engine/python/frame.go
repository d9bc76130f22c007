package python

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// mostMessage is the largest message in either direction, in bytes; worker.py has the same bound.
const mostMessage = 256 << 20

// mostHeader is the largest header of a message, in bytes: read as JSON it may hold many times as much. worker.py has the
// same bound. mostObjects is how many objects it may have, which take more memory than their two bytes.
const (
	mostHeader  = 4 << 20
	mostObjects = 1 << 17
)

// errProtocol says that a child sent something that is no answer.
var errProtocol = errors.New("it sent what is no answer")

// part describes one tensor of a message; its values follow the header.
type part struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	Bytes int    `json:"bytes"`
}

// order is what a child is asked: to load, or, with inputs, to predict.
type order struct {
	Format    string            `json:"format,omitempty"`
	Path      string            `json:"path,omitempty"`
	Signature *engine.Signature `json:"signature,omitempty"`
	Inputs    []part            `json:"inputs,omitempty"`
}

// answer is what a child says.
type answer struct {
	Error *struct {
		Kind string `json:"kind"` // input, model, invalid or unsupported
		Text string `json:"text"`
	} `json:"error"`
	Signature engine.Signature  `json:"signature"`
	Python    string            `json:"python"`
	Libraries map[string]string `json:"libraries"`
	Outputs   []part            `json:"outputs"`
}

// message writes an order with its tensors.
func message(o order, in []tensor.Tensor) ([]byte, error) {
	size := 0
	for i := range in {
		t := &in[i]
		n := t.RawSize()
		o.Inputs = append(o.Inputs, part{t.Name, t.Type.String(), t.Shape, n})
		size += n
	}
	head, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if len(head) > mostHeader {
		return nil, problem.New(problem.TooLarge, "What describes the inputs has %d bytes; a model in Python takes %d.", len(head), mostHeader).At("inputs")
	}
	b := make([]byte, 0, 8+len(head)+size)
	b = binary.LittleEndian.AppendUint32(b, uint32(4+len(head)+size))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	for i := range in {
		b = in[i].AppendRaw(b)
	}
	return b, nil
}

// receive reads one message of at most so many bytes. What it holds in memory is what has really come.
func receive(r io.Reader, into *bytes.Buffer, most int64) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(size[:]))
	if n < 4 || n > most {
		return nil, fmt.Errorf("%w: a message of %d bytes, up to %d are taken", errProtocol, n, most)
	}
	into.Reset()
	if _, err := io.CopyN(into, r, n); err != nil {
		return nil, err
	}
	return into.Bytes(), nil
}

// parse takes a message apart. The tensors are copies; body may be used again.
func parse(body []byte) (a answer, out []tensor.Tensor, err error) {
	if len(body) < 4 {
		return a, nil, fmt.Errorf("%w: %d bytes", errProtocol, len(body))
	}
	n := uint64(binary.LittleEndian.Uint32(body))
	if n > uint64(len(body)-4) {
		return a, nil, fmt.Errorf("%w: a header beyond its message", errProtocol)
	}
	if n > mostHeader {
		return a, nil, fmt.Errorf("%w: a header of %d bytes", errProtocol, n)
	}
	head := body[4 : 4+n]
	if k := bytes.Count(head, []byte("{")); k > mostObjects {
		return a, nil, fmt.Errorf("%w: a header of %d objects", errProtocol, k)
	}
	if err := json.Unmarshal(head, &a); err != nil {
		return a, nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	raw := body[4+n:]
	for _, p := range a.Outputs {
		if p.Bytes < 0 || p.Bytes > len(raw) || len(p.Shape) > tensor.DefaultLimits.Rank {
			return a, nil, fmt.Errorf("%w: the output %.60q is longer than its message", errProtocol, p.Name)
		}
		t := tensor.Tensor{Name: p.Name, Shape: p.Shape}
		if t.Type, err = tensor.ParseType(p.Type); err == nil {
			err = t.SetRaw(raw[:p.Bytes], tensor.Limits{Elements: p.Bytes})
		}
		if err != nil {
			return a, nil, fmt.Errorf("%w: %w", errProtocol, err)
		}
		raw = raw[p.Bytes:]
		out = append(out, t)
	}
	if len(raw) > 0 {
		return a, nil, fmt.Errorf("%w: %d bytes too many", errProtocol, len(raw))
	}
	return a, out, nil
}
