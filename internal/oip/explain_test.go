package oip

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"keelson/internal/engine/reason"
	"keelson/internal/oip/inference"
)

// holds checks that an explanation of one row of "scores" makes the probability it came with.
func holds(t *testing.T, e *reason.Explanation, probability float64, features int) {
	t.Helper()
	if e == nil || len(e.Rows) != 1 || len(e.Rows[0].Features) != features || !strings.Contains(e.Method, "TreeSHAP") || e.Unit != "the log-odds" {
		t.Fatalf("explanation %+v", e)
	}
	row := e.Rows[0]
	sum := row.Base + row.Rest
	for i, f := range row.Features {
		sum += f.Contribution
		if f.Name == "" || !strings.Contains(f.Words, "the log-odds") || i > 0 && math.Abs(f.Contribution) > math.Abs(row.Features[i-1].Contribution) {
			t.Errorf("feature %d is %+v", i, f)
		}
	}
	if got := 1 / (1 + math.Exp(-sum)); math.Abs(got-probability) > 1e-6 || math.Abs(sum-row.Total) > 1e-9 {
		t.Errorf("the contributions make %v, the answer is %v", got, probability)
	}
}

func TestReasonsComeWithTheAnswerWhenAskedFor(t *testing.T) {
	h := start(t)
	ask := func(explain, body string) reply {
		return h.call("POST", "/v2/models/scores/infer", []byte(`{"parameters":{"explain":`+explain+`},`+body[1:]))
	}
	type explained struct {
		Parameters struct {
			ID          string              `json:"prediction_id"`
			Explanation *reason.Explanation `json:"explanation"`
		}
		Outputs []struct{ Data []float64 }
	}
	for explain, features := range map[string]int{"true": 6, "2": 2, "99": 6} {
		var a explained
		if got := ask(explain, oneRow); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		} else if h.decode(got.body, &a); a.Parameters.ID == "" {
			t.Errorf("the decision has no identifier: %s", got.body)
		}
		holds(t, a.Parameters.Explanation, a.Outputs[0].Data[0], features)
	}
	for _, plain := range []string{oneRow, `{"parameters":{"explain":false},` + oneRow[1:]} {
		if got := h.call("POST", "/v2/models/scores/infer", []byte(plain)); got.status != 200 || strings.Contains(string(got.body), "explanation") {
			t.Errorf("without being asked: %d %s", got.status, got.body)
		}
	}
	for _, bad := range []string{"0", "-3", `"yes"`, "1.5", "null", "[]", "100001"} {
		if got := ask(bad, oneRow); got.status != 400 || !strings.Contains(string(got.body), "explain") {
			t.Errorf("explain %s: %d %s", bad, got.status, got.body)
		}
	}
	rows := mustJSON(t, object{"inputs": []object{{"name": "input", "shape": []int{reason.MaxRows + 1, 6}, "datatype": "FP32", "data": make([]float32, 6*(reason.MaxRows+1))}}})
	if got := ask("true", string(rows)); got.status != 413 || !strings.Contains(string(got.body), "at most 64") {
		t.Errorf("too many rows: %d %s", got.status, got.body)
	}
	rules := `{"parameters":{"explain":true},"inputs":[{"name":"age","shape":[1],"datatype":"INT64","data":[61]}]}`
	if got := h.call("POST", "/v2/models/rules/infer", []byte(rules)); got.status < 400 || got.status > 499 {
		t.Errorf("a model without a background: %d %s", got.status, got.body)
	}
}

func TestReasonsComeOverGRPC(t *testing.T) {
	h := start(t)
	conn, err := grpc.NewClient(strings.TrimPrefix(h.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer secret")
	ask := func(p *inference.InferParameter) (*inference.ModelInferResponse, error) {
		return inference.NewGRPCInferenceServiceClient(conn).ModelInfer(ctx, &inference.ModelInferRequest{ModelName: "scores", Parameters: map[string]*inference.InferParameter{"explain": p},
			Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "input", Datatype: "FP32", Shape: []int64{1, 6}, Contents: &inference.InferTensorContents{Fp32Contents: []float32{1, 2, 3, 4, 5, 6}}}}})
	}
	for features, p := range map[int]*inference.InferParameter{
		6: {ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: true}},
		3: {ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: 3}},
		1: {ParameterChoice: &inference.InferParameter_Uint64Param{Uint64Param: 1}},
	} {
		got, err := ask(p)
		if err != nil {
			t.Fatal(err)
		}
		var e reason.Explanation
		if err := json.Unmarshal([]byte(got.Parameters["explanation"].GetStringParam()), &e); err != nil {
			t.Fatal(err)
		}
		holds(t, &e, float64(got.Outputs[0].Contents.Fp32Contents[0]), features)
	}
	for _, bad := range []*inference.InferParameter{
		{ParameterChoice: &inference.InferParameter_StringParam{StringParam: "yes"}},
		{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: 0}},
		{ParameterChoice: &inference.InferParameter_Uint64Param{Uint64Param: math.MaxUint64}},
		{},
	} {
		if _, err := ask(bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
	got, err := ask(&inference.InferParameter{ParameterChoice: &inference.InferParameter_BoolParam{}})
	if err != nil || got.Parameters["explanation"] != nil {
		t.Errorf("explain false: %v, %v", got, err)
	}
}
