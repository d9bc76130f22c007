package corpus

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"keelson/internal/oip/inference"
)

// Message is one request over gRPC that must be refused.
type Message struct {
	Name    string
	Request *inference.ModelInferRequest
	Perhaps bool // see Case
}

type tensorOf = inference.ModelInferRequest_InferInputTensor

// WholeMessage is a request over gRPC that the endpoint answers.
func WholeMessage(endpoint string, inputs []Input) *inference.ModelInferRequest {
	m := &inference.ModelInferRequest{ModelName: endpoint}
	for _, in := range inputs {
		dims := make([]int64, len(in.dims()))
		for i, d := range in.dims() {
			dims[i] = int64(d)
		}
		m.Inputs = append(m.Inputs, &tensorOf{Name: in.Name, Datatype: in.Datatype, Shape: dims})
		m.RawInputContents = append(m.RawInputContents, in.raw())
	}
	return m
}

// GRPC gives the cases over gRPC for an endpoint with these inputs.
func GRPC(endpoint string, inputs []Input) []Message {
	var out []Message
	whole := WholeMessage(endpoint, inputs)
	add := func(name string, change func(*inference.ModelInferRequest)) {
		m := proto.Clone(whole).(*inference.ModelInferRequest)
		change(m)
		out = append(out, Message{Name: name, Request: m})
	}
	add("no inputs", func(m *inference.ModelInferRequest) { m.Inputs, m.RawInputContents = nil, nil })
	add("no contents", func(m *inference.ModelInferRequest) { m.RawInputContents = nil })
	add("one part too many", func(m *inference.ModelInferRequest) { m.RawInputContents = append(m.RawInputContents, []byte{1}) })
	add("one part too few", func(m *inference.ModelInferRequest) { m.RawInputContents = m.RawInputContents[1:] })
	add("an input twice", func(m *inference.ModelInferRequest) {
		m.Inputs, m.RawInputContents = append(m.Inputs, m.Inputs[0]), append(m.RawInputContents, m.RawInputContents[0])
	})
	add("an output unknown", func(m *inference.ModelInferRequest) {
		m.Outputs = []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "no such output"}}
	})
	add("an output twice", func(m *inference.ModelInferRequest) {
		m.Outputs = []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "y"}, {Name: "y"}}
	})
	add("a version that is not there", func(m *inference.ModelInferRequest) { m.ModelVersion = "999" })
	add("a model that is not there", func(m *inference.ModelInferRequest) { m.ModelName = "no-such-model" })
	for i, in := range inputs {
		i := i
		raw := in.raw()
		for name, shape := range map[string][]int64{"a negative dimension": {-1, 2}, "a dimension of zero": {0}, "an overflow": {1 << 62, 4}, "an overflow to a small product": {1 << 32, 1<<32 + 1}, "two gibibytes": {1 << 29},
			"the smallest number": {math.MinInt64}, "fifty dimensions": make([]int64, 50), "no dimension": {}} {
			add("the shape with "+name+" of "+in.Name, func(m *inference.ModelInferRequest) { m.Inputs[i].Shape = shape })
		}
		for _, t := range []string{"", "FLOAT", "fp32", "TYPE_FP32"} {
			add(fmt.Sprintf("the datatype %q of %s", t, in.Name), func(m *inference.ModelInferRequest) { m.Inputs[i].Datatype = t })
		}
		for name, b := range map[string][]byte{"nothing": {}, "one byte too few": raw[:len(raw)-1], "one byte too many": append(append([]byte{}, raw...), 1), "half": raw[:len(raw)/2]} {
			add("raw contents with "+name+" of "+in.Name, func(m *inference.ModelInferRequest) { m.RawInputContents[i] = b })
		}
		if in.Wire() == 0 {
			for name, b := range map[string][]byte{"a text of four gibibytes": RawLength(math.MaxUint32, 'a'), "a text beyond its tensor": RawLength(9, 'a')} {
				add(name+" of "+in.Name, func(m *inference.ModelInferRequest) { m.RawInputContents[i] = b })
			}
		}
		add("raw and typed contents of "+in.Name, func(m *inference.ModelInferRequest) {
			m.Inputs[i].Contents = &inference.InferTensorContents{Fp32Contents: []float32{1}, BytesContents: [][]byte{{1}}}
		})
		add("typed contents of two types of "+in.Name, func(m *inference.ModelInferRequest) {
			m.RawInputContents = nil
			m.Inputs[i].Contents = &inference.InferTensorContents{Fp32Contents: []float32{1}, Int64Contents: []int64{1}}
		})
		add("a name that is empty of "+in.Name, func(m *inference.ModelInferRequest) { m.Inputs[i].Name, m.Inputs[i].Shape = "", []int64{3, 3, 3} })
	}
	slices.SortStableFunc(out, func(a, b Message) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Frame is bytes sent as a gRPC frame: five bytes of head and a body.
type Frame struct {
	Name  string
	Bytes []byte
	Whole bool // the frame is in order, only the message in it is damaged: INVALID_ARGUMENT
}

// Damaged gives bytes that are no frame, frames whose body is no message, and messages with bytes changed, of which some
// mean something again.
func Damaged(endpoint string, inputs []Input) []Frame {
	b, err := proto.Marshal(WholeMessage(endpoint, inputs))
	if err != nil {
		return nil
	}
	frame := func(length uint32, flag byte, body []byte) []byte {
		return append([]byte{flag, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}, body...)
	}
	n := uint32(len(b))
	out := []Frame{
		{"nothing", []byte{}, false}, {"one byte", []byte{0}, false}, {"half a head", []byte{0, 0, 0}, false},
		{"a length of two gibibytes", frame(1<<31, 0, b), false}, {"the largest length", frame(math.MaxUint32, 0, b), false},
		{"a length beyond the body", frame(n+100, 0, b), false}, {"compressed by nothing", frame(n, 1, b), false}, {"an unknown flag", frame(n, 9, b), false},
	}
	whole := func(name string, body []byte) {
		out = append(out, Frame{name, frame(uint32(len(body)), 0, body), true})
	}
	whole("a tag without end", []byte{0xFF, 0xFF, 0xFF})
	whole("the field number zero", []byte{0x00, 0x01})
	whole("an unknown wire type", []byte{0x0F, 0x01})
	whole("a group that does not end", []byte{0x0B, 0x08, 0x01})
	whole("the end of a group that did not begin", []byte{0x0C})
	whole("a name of four gibibytes", []byte{0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 'a'})
	whole("a name that is not UTF-8", []byte{0x0A, 0x02, 0xC3, 0x28})
	whole("a varint of eleven bytes", append([]byte{0x10}, slices.Repeat([]byte{0xFF}, 11)...))
	whole("the last byte missing", b[:len(b)-1])
	whole("groups ten thousand deep", slices.Repeat([]byte{0x0B}, 20_000))
	seed := rand.New(rand.NewPCG(3, 5))
	for i := range 60 {
		d := append([]byte{}, b...)
		for range 1 + seed.IntN(3) {
			d[seed.IntN(len(d))] = byte(seed.UintN(256))
		}
		whole(fmt.Sprintf("bytes changed, %d", i), d)
	}
	return out
}
