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

// Damaged gives bytes that are no message, or one with bytes changed, as gRPC frames of five bytes of head and a body.
func Damaged(endpoint string, inputs []Input) [][]byte {
	b, err := proto.Marshal(WholeMessage(endpoint, inputs))
	if err != nil {
		return nil
	}
	frame := func(length uint32, flag byte, body []byte) []byte {
		return append([]byte{flag, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}, body...)
	}
	out := [][]byte{{}, {0}, {0, 0, 0}, frame(1<<31, 0, b), frame(math.MaxUint32, 0, b), frame(uint32(len(b))+100, 0, b), frame(uint32(len(b)), 1, b), frame(uint32(len(b)), 9, b), frame(3, 0, []byte{0xFF, 0xFF, 0xFF})}
	seed := rand.New(rand.NewPCG(3, 5))
	for range 60 {
		d := append([]byte{}, b...)
		for range 1 + seed.IntN(3) {
			d[seed.IntN(len(d))] = byte(seed.UintN(256))
		}
		out = append(out, frame(uint32(len(d)), 0, d))
	}
	return out
}
