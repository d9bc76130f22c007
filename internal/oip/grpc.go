package oip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	_ "google.golang.org/grpc/encoding/gzip" // requests and answers may be compressed

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/oip/inference"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

// rpc is the protocol over gRPC. Its calls come through the same door as every other request (rest.API), so who may
// ask is decided before the gRPC library sees them.
type rpc struct {
	inference.UnimplementedGRPCInferenceServiceServer
	h *Handler
}

// service is the path under which gRPC clients call.
const service = "/inference.GRPCInferenceService/"

// grpcRoutes mounts the gRPC calls on the port that serves everything else.
func (h *Handler) grpcRoutes(a *rest.API) {
	a.Shape(rest.GRPC, writeStatus)
	limit := h.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(int(min(limit, math.MaxInt32))), grpc.MaxSendMsgSize(math.MaxInt32), grpc.ForceServerCodecV2(newCodec()))
	s.RegisterService(letters(), &rpc{h: h})
	door := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			WriteError(w, r, unsupportedMedia{invalid("This path answers gRPC only, with Content-Type application/grpc over HTTP/2; over plain HTTP ask below /v2.")})
			return
		}
		s.ServeHTTP(w, r)
	})
	for _, m := range []string{"ServerLive", "ServerReady"} {
		a.Handle("POST", service+m, access.Public, rest.GRPC, door)
	}
	for _, m := range []string{"ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelStreamInfer", "ModelConfig", "ModelStatistics", "RepositoryIndex"} {
		a.Handle("POST", service+m, "predict", rest.GRPC, door)
	}
	for _, m := range []string{"RepositoryModelLoad", "RepositoryModelUnload"} {
		a.Handle("POST", service+m, "deployment.operate", rest.GRPC, door)
	}
	a.Handle("POST", service, "predict", rest.GRPC, door) // what this server does not have: UNIMPLEMENTED
}

// code translates a kind of problem.
func code(err error) codes.Code {
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	}
	switch problem.KindOf(err) {
	case problem.Invalid, problem.TooLarge:
		return codes.InvalidArgument
	case problem.NotFound:
		return codes.NotFound
	case problem.Forbidden:
		return codes.PermissionDenied
	case problem.Conflict:
		return codes.FailedPrecondition
	case problem.Unauthenticated:
		return codes.Unauthenticated
	case problem.Exhausted, problem.Stored:
		return codes.ResourceExhausted
	case problem.Unsupported:
		return codes.Unimplemented
	case problem.Unavailable:
		return codes.Unavailable
	}
	return codes.Internal
}

// writeStatus refuses a call before the gRPC library sees it: a response that has trailers only.
func writeStatus(w http.ResponseWriter, r *http.Request, err error) {
	if r.ProtoMajor != 2 {
		WriteError(w, r, err)
		return
	}
	rest.Note(r.Context(), err)
	c := code(err)
	_, text := worded(err)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(c)))
	h.Set("Grpc-Message", strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
	w.WriteHeader(http.StatusOK)
}

// fail turns an error into a gRPC status, logs it if it is ours and notes it for the audit log if it looks like an attempt.
func (g *rpc) fail(ctx context.Context, endpoint string, err error) error {
	if err == nil {
		return nil
	}
	rest.Note(ctx, err)
	c := code(err)
	if c == codes.Internal && ctx.Err() == nil {
		g.h.Log.ErrorContext(ctx, "a request failed", "endpoint", endpoint, "request", caller.From(ctx).Request, "error", err)
	}
	_, text := worded(err)
	return status.Error(c, text)
}

func (g *rpc) ServerLive(context.Context, *inference.ServerLiveRequest) (*inference.ServerLiveResponse, error) {
	return &inference.ServerLiveResponse{Live: true}, nil
}

func (g *rpc) ServerReady(context.Context, *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	return &inference.ServerReadyResponse{Ready: g.h.Models.Ready()}, nil
}

// ModelReady says false for what does not answer and for what is not there.
func (g *rpc) ModelReady(ctx context.Context, in *inference.ModelReadyRequest) (*inference.ModelReadyResponse, error) {
	_, err := g.h.Models.Describe(caller.Workspace(ctx), in.Name, in.Version)
	if k := problem.KindOf(err); err != nil && k != problem.Unavailable && k != problem.NotFound {
		return nil, g.fail(ctx, in.Name, err)
	}
	return &inference.ModelReadyResponse{Ready: err == nil}, nil
}

func (g *rpc) ServerMetadata(context.Context, *inference.ServerMetadataRequest) (*inference.ServerMetadataResponse, error) {
	return &inference.ServerMetadataResponse{Name: serverName, Version: g.h.Version, Extensions: extensions}, nil
}

func (g *rpc) ModelMetadata(ctx context.Context, in *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	d, err := g.h.Models.Describe(caller.Workspace(ctx), in.Name, in.Version)
	if err != nil {
		return nil, g.fail(ctx, in.Name, err)
	}
	out := &inference.ModelMetadataResponse{Name: d.Endpoint, Versions: d.Versions, Platform: d.Platform}
	for _, s := range d.Signature.Inputs {
		out.Inputs = append(out.Inputs, &inference.ModelMetadataResponse_TensorMetadata{Name: s.Name, Datatype: s.Datatype, Shape: wide(s.Shape)})
	}
	for _, s := range d.Signature.Outputs {
		out.Outputs = append(out.Outputs, &inference.ModelMetadataResponse_TensorMetadata{Name: s.Name, Datatype: s.Datatype, Shape: wide(s.Shape)})
	}
	return out, nil
}

func wide(shape []int) []int64 {
	out := make([]int64, len(shape))
	for i, d := range shape {
		out[i] = int64(d)
	}
	return out
}

func (g *rpc) ModelConfig(ctx context.Context, in *inference.ModelConfigRequest) (*inference.ModelConfigResponse, error) {
	d, err := g.h.Models.Describe(caller.Workspace(ctx), in.Name, in.Version)
	if err != nil {
		return nil, g.fail(ctx, in.Name, err)
	}
	c := &inference.ModelConfig{Name: d.Endpoint, Platform: d.Platform, Backend: serverName}
	for _, s := range tensorsConfig(d.Signature.Inputs) {
		c.Input = append(c.Input, &inference.ModelInput{Name: s.Name, DataType: inference.DataType(inference.DataType_value[s.DataType]), Dims: wide(s.Dims), Optional: s.Optional})
	}
	for _, s := range tensorsConfig(d.Signature.Outputs) {
		c.Output = append(c.Output, &inference.ModelOutput{Name: s.Name, DataType: inference.DataType(inference.DataType_value[s.DataType]), Dims: wide(s.Dims)})
	}
	return &inference.ModelConfigResponse{Config: c}, nil
}

func (g *rpc) ModelStatistics(ctx context.Context, in *inference.ModelStatisticsRequest) (*inference.ModelStatisticsResponse, error) {
	list, err := g.h.Models.Statistics(caller.Workspace(ctx), in.Name, in.Version)
	if err != nil {
		return nil, g.fail(ctx, in.Name, err)
	}
	pair := func(d duration) *inference.StatisticDuration {
		return &inference.StatisticDuration{Count: d.Count, Ns: d.NS}
	}
	out := &inference.ModelStatisticsResponse{}
	for _, v := range list {
		m := statistic(v)
		out.ModelStats = append(out.ModelStats, &inference.ModelStatistics{Name: m.Name, Version: m.Version, LastInference: uint64(m.LastInference),
			InferenceCount: m.InferenceCount, ExecutionCount: m.ExecutionCount, InferenceStats: &inference.InferStatistics{Success: pair(m.Inference.Success),
				Fail: pair(m.Inference.Fail), Queue: pair(m.Inference.Queue), ComputeInput: pair(m.Inference.ComputeInput),
				ComputeInfer: pair(m.Inference.ComputeInfer), ComputeOutput: pair(m.Inference.ComputeOutput)}})
	}
	return out, nil
}

func (g *rpc) RepositoryIndex(ctx context.Context, in *inference.RepositoryIndexRequest) (*inference.RepositoryIndexResponse, error) {
	out := &inference.RepositoryIndexResponse{}
	for _, v := range g.h.index(ctx, in.Ready) {
		out.Models = append(out.Models, &inference.RepositoryIndexResponse_ModelIndex{Name: v.Name, Version: v.Version, State: v.State, Reason: v.Reason})
	}
	return out, nil
}

func (g *rpc) RepositoryModelLoad(ctx context.Context, in *inference.RepositoryModelLoadRequest) (*inference.RepositoryModelLoadResponse, error) {
	for _, name := range slices.Sorted(maps.Keys(in.Parameters)) {
		if err := loadParameter(name); err != nil {
			return nil, g.fail(ctx, in.ModelName, err)
		}
	}
	if err := g.h.load(ctx, in.ModelName); err != nil {
		return nil, g.fail(ctx, in.ModelName, err)
	}
	return &inference.RepositoryModelLoadResponse{}, nil
}

func (g *rpc) RepositoryModelUnload(ctx context.Context, in *inference.RepositoryModelUnloadRequest) (*inference.RepositoryModelUnloadResponse, error) {
	return nil, g.fail(ctx, in.ModelName, refuseUnload(in.ModelName))
}

func (g *rpc) ModelInfer(ctx context.Context, in *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	out, err := g.infer(ctx, in)
	if err != nil {
		return nil, g.fail(ctx, in.ModelName, err)
	}
	return out, nil
}

// ModelStreamInfer answers the requests of a stream one by one, in order. A request that fails is answered by its error
// and the stream goes on.
func (g *rpc) ModelStreamInfer(stream grpc.BidiStreamingServer[inference.ModelInferRequest, inference.ModelStreamInferResponse]) error {
	ctx := stream.Context()
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer := &inference.ModelStreamInferResponse{}
		out, err := g.infer(ctx, in)
		if err != nil {
			answer.ErrorMessage = status.Convert(g.fail(ctx, in.ModelName, err)).Message()
			out = &inference.ModelInferResponse{ModelName: in.ModelName, ModelVersion: in.ModelVersion, Id: in.Id}
		}
		if in.Parameters["triton_enable_empty_final_response"].GetBoolParam() { // each answer is the only one of its request
			if out.Parameters == nil {
				out.Parameters = map[string]*inference.InferParameter{}
			}
			out.Parameters["triton_final_response"] = &inference.InferParameter{ParameterChoice: &inference.InferParameter_BoolParam{BoolParam: true}}
		}
		answer.InferResponse = out
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (g *rpc) infer(ctx context.Context, in *inference.ModelInferRequest) (_ *inference.ModelInferResponse, err error) {
	var q request
	c := &q.call
	asked := false
	defer func() {
		if err != nil && !asked {
			g.h.Models.Missed(c.Workspace, c.Endpoint, err)
		}
	}()
	c.Start, c.Workspace, c.Endpoint, c.Version, c.Request = g.h.now(), caller.Workspace(ctx), in.ModelName, in.ModelVersion, in.Id
	if strings.IndexByte(in.Id, 0) >= 0 {
		return nil, invalid("The id holds a zero byte; take it out.").At("id")
	}
	if own := g.h.Models.MaxBytes(c.Workspace, c.Endpoint); own > 0 && int64(proto.Size(in)) > own {
		return nil, tooLarge(own)
	}
	raw, err := q.fromMessage(in, g.h.limits())
	if err != nil {
		return nil, err
	}
	if q.timeout > 0 {
		c.Deadline = c.Start.Add(q.timeout)
	}
	sent, _ := metadata.FromIncomingContext(ctx)
	g.h.context(ctx, c, func(name string) []string { return sent[strings.ToLower(name)] })
	if err := g.h.outputsExist(c, q.outputs); err != nil {
		return nil, err
	}
	asked = true
	answer, err := g.h.Models.Infer(ctx, c)
	if err != nil {
		return nil, err
	}
	if answer.ID != "" {
		_ = grpc.SetHeader(ctx, metadata.Pairs("keelson-prediction-id", answer.ID))
	}
	return q.toMessage(&answer, raw)
}

// fromMessage reads a request and tells whether its data came raw. It fails with problem.Invalid or problem.TooLarge.
func (q *request) fromMessage(in *inference.ModelInferRequest, limits tensor.Limits) (raw bool, err error) {
	switch {
	case len(in.Inputs) == 0:
		return false, invalid("The request has no inputs.").At("inputs")
	case len(in.Inputs) > limits.Tensors:
		return false, problem.New(problem.TooLarge, "The request has more than %d inputs, the limit of one request.", limits.Tensors).At("inputs")
	case len(in.Outputs) > maxOutputs:
		return false, problem.New(problem.TooLarge, "The request asks for more than %d outputs.", maxOutputs).At("outputs")
	case slices.ContainsFunc(in.Inputs, inSharedMemory): // has no raw contents
		return false, noSharedMemory()
	case len(in.RawInputContents) > 0 && len(in.RawInputContents) != len(in.Inputs):
		return false, invalid("raw_input_contents has %d entries for %d inputs; it needs one for each.", len(in.RawInputContents), len(in.Inputs)).At("raw_input_contents")
	}
	raw = len(in.RawInputContents) > 0
	q.call.Inputs = make([]tensor.Tensor, len(in.Inputs))
	for i, m := range in.Inputs {
		var data []byte
		if raw {
			data = in.RawInputContents[i]
		}
		if err := inputTensor(&q.call.Inputs[i], m, raw, data, limits); err != nil {
			return raw, at(err, "inputs[%d]", i)
		}
		limits.Elements -= q.call.Inputs[i].Len()
	}
	if err := q.messageParameters(in.Parameters); err != nil {
		return raw, err
	}
	for i, o := range in.Outputs {
		for _, p := range q.outputs {
			if p.name == o.GetName() {
				return raw, invalid("The output %q is requested twice.", clip(o.GetName())).At(fmt.Sprintf("outputs[%d]", i))
			}
		}
		if o.GetName() == "" {
			return raw, invalid("A requested output has no name.").At(fmt.Sprintf("outputs[%d]", i))
		}
		if v := o.Parameters["classification"].GetInt64Param(); v != 0 {
			return raw, invalid("Classification of outputs is not offered; ask for the output itself.").At(fmt.Sprintf("outputs[%d]", i))
		}
		if o.Parameters["shared_memory_region"] != nil {
			return raw, invalid("Shared memory is not offered; take the data in the answer.").At(fmt.Sprintf("outputs[%d]", i))
		}
		q.outputs = append(q.outputs, output{name: o.Name})
	}
	return raw, q.inputNames()
}

// messageParameters takes the parameters that are ours.
func (q *request) messageParameters(sent map[string]*inference.InferParameter) error {
	if p := sent["timeout"]; p != nil {
		us := p.GetInt64Param()
		if u, ok := p.ParameterChoice.(*inference.InferParameter_Uint64Param); ok && u.Uint64Param <= maxTimeout {
			us = int64(u.Uint64Param)
		}
		if err := q.within(us); err != nil {
			return err
		}
	}
	if p := sent["explain"]; p != nil {
		switch v := p.ParameterChoice.(type) {
		case *inference.InferParameter_BoolParam:
			if v.BoolParam {
				q.call.Explain = -1
			}
		case *inference.InferParameter_Int64Param:
			if err := q.reasons(v.Int64Param); err != nil {
				return err
			}
		case *inference.InferParameter_Uint64Param:
			if err := q.reasons(int64(min(v.Uint64Param, maxReasons+1))); err != nil {
				return err
			}
		default:
			return badExplain()
		}
	}
	for i := range told {
		p := sent[told[i].name]
		if p == nil {
			continue
		}
		_, text := p.ParameterChoice.(*inference.InferParameter_StringParam)
		if err := setTold(&q.call, i, p.GetStringParam(), text, "parameters."); err != nil {
			return err
		}
	}
	return nil
}

func inSharedMemory(m *inference.ModelInferRequest_InferInputTensor) bool {
	return m.GetParameters()["shared_memory_region"] != nil
}

func noSharedMemory() error {
	return invalid("Shared memory is not offered; send the data in the request.").At("inputs")
}

// inputTensor reads one input. Typed values are kept as the message has them.
func inputTensor(t *tensor.Tensor, m *inference.ModelInferRequest_InferInputTensor, raw bool, data []byte, limits tensor.Limits) error {
	t.Name = m.GetName()
	switch {
	case t.Name == "":
		return invalid("An input has no name.")
	case len(m.Shape) > limits.Rank:
		return invalid("Tensor %q has %d dimensions; %d are the limit.", clip(t.Name), len(m.Shape), limits.Rank)
	}
	var err error
	if t.Type, err = tensor.ParseType(m.Datatype); err != nil {
		return err
	}
	t.Shape = make([]int, len(m.Shape))
	for i, d := range m.Shape {
		if d < 0 || d > math.MaxInt32 {
			return invalid("A shape has the dimension %d; dimensions lie between 0 and 2147483647.", d)
		}
		t.Shape[i] = int(d)
	}
	if raw {
		if m.Contents != nil {
			return invalid("Tensor %q has its data twice, in contents and in raw_input_contents.", clip(t.Name))
		}
		if err := t.SetRaw(data, limits); err != nil {
			return err
		}
		return t.Check()
	}
	c := m.Contents
	switch t.Type {
	case tensor.FP16, tensor.BF16:
		return invalid("Tensor %q is %s, which travels in raw_input_contents only.", clip(t.Name), t.Type)
	case tensor.Bool:
		t.B = c.GetBoolContents()
	case tensor.Int8, tensor.Int16, tensor.Int32:
		t.I64 = widen[int64](c.GetIntContents())
	case tensor.Int64:
		t.I64 = c.GetInt64Contents()
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		t.U64 = widen[uint64](c.GetUintContents())
	case tensor.Uint64:
		t.U64 = c.GetUint64Contents()
	case tensor.FP32:
		t.F32 = c.GetFp32Contents()
	case tensor.FP64:
		t.F64 = c.GetFp64Contents()
	case tensor.Bytes:
		t.S = make([]string, len(c.GetBytesContents()))
		for i, b := range c.GetBytesContents() {
			t.S[i] = string(b)
		}
	}
	n, err := tensor.Count(t.Shape, limits.Elements)
	if err != nil {
		return err
	}
	if t.Len() != n {
		return invalid("Tensor %q of type %s and shape %v needs %d values, but its contents have %d of that type.", clip(t.Name), t.Type, t.Shape, n, t.Len())
	}
	return t.Check()
}

func widen[W int64 | uint64, N int32 | uint32](v []N) []W {
	if v == nil {
		return nil
	}
	out := make([]W, len(v))
	for i := range v {
		out[i] = W(v[i])
	}
	return out
}

func narrow[N int32 | uint32, W int64 | uint64](v []W) []N {
	out := make([]N, len(v))
	for i := range v {
		out[i] = N(v[i])
	}
	return out
}

// toMessage writes the answer: raw when the request came so.
func (q *request) toMessage(a *serving.Answer, raw bool) (*inference.ModelInferResponse, error) {
	out := &inference.ModelInferResponse{ModelName: q.call.Endpoint, ModelVersion: strconv.Itoa(a.Version), Id: q.call.Request}
	if a.ID != "" {
		out.Parameters = map[string]*inference.InferParameter{"prediction_id": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: a.ID}}}
	}
	if a.Explanation != nil {
		text, err := json.Marshal(a.Explanation)
		if err != nil {
			return nil, fmt.Errorf("write an explanation: %w", err)
		}
		if out.Parameters == nil {
			out.Parameters = map[string]*inference.InferParameter{}
		}
		out.Parameters["explanation"] = &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: string(text)}}
	}
	err := q.eachOutput(a.Outputs, func(_ int, t *tensor.Tensor, _ bool) {
		if !raw && (t.Type == tensor.FP16 || t.Type == tensor.BF16) { // typed contents have neither; they go as the FP32 they are kept in
			wide := *t
			wide.Type = tensor.FP32
			t = &wide
		}
		m := &inference.ModelInferResponse_InferOutputTensor{Name: t.Name, Datatype: t.Type.String(), Shape: wide(t.Shape)}
		if raw {
			out.RawOutputContents = append(out.RawOutputContents, t.AppendRaw(make([]byte, 0, t.RawSize())))
		} else {
			m.Contents = contents(t)
		}
		out.Outputs = append(out.Outputs, m)
	})
	return out, err
}

func contents(t *tensor.Tensor) *inference.InferTensorContents {
	switch t.Type {
	case tensor.Bool:
		return &inference.InferTensorContents{BoolContents: t.B}
	case tensor.Int64:
		return &inference.InferTensorContents{Int64Contents: t.I64}
	case tensor.Int8, tensor.Int16, tensor.Int32:
		return &inference.InferTensorContents{IntContents: narrow[int32](t.I64)}
	case tensor.Uint64:
		return &inference.InferTensorContents{Uint64Contents: t.U64}
	case tensor.Uint8, tensor.Uint16, tensor.Uint32:
		return &inference.InferTensorContents{UintContents: narrow[uint32](t.U64)}
	case tensor.FP64:
		return &inference.InferTensorContents{Fp64Contents: t.F64}
	case tensor.Bytes:
		b := make([][]byte, len(t.S))
		for i, s := range t.S {
			b[i] = []byte(s)
		}
		return &inference.InferTensorContents{BytesContents: b}
	}
	return &inference.InferTensorContents{Fp32Contents: t.F32}
}
