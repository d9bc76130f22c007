package oip

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"keelson/internal/oip/inference"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

func FuzzMessage(f *testing.F) {
	for _, m := range []*inference.ModelInferRequest{
		{Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 2}, Contents: &inference.InferTensorContents{Fp32Contents: []float32{1, 2}}}}},
		{Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "BYTES", Shape: []int64{1}}}, RawInputContents: [][]byte{{1, 0, 0, 0, 'a'}}},
		{Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "INT8", Shape: []int64{1 << 40}}}},
		{Inputs: []*inference.ModelInferRequest_InferInputTensor{nil}, Outputs: []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "y"}},
			Parameters: map[string]*inference.InferParameter{"purpose": {}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(inference.ModelInferRequest)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		var q request
		if _, err := q.fromMessage(m, tensor.DefaultLimits); err != nil {
			if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge {
				t.Fatalf("a mistake in a message is %s: %v", k, err)
			}
			return
		}
		for i := range q.call.Inputs {
			if err := q.call.Inputs[i].Check(); err != nil {
				t.Fatalf("an accepted input does not hold: %v", err)
			}
		}
	})
}
