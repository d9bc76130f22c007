package oip

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine/xgboost"
	"keelson/internal/oip/inference"
	"keelson/internal/release"
	"keelson/internal/rest"
)

// guarded serves scores, which must not be asked for marketing or credit scoring.
func guarded(t *testing.T) *house {
	t.Helper()
	return serve(t, []served{{"scores", release.Live, models + "logistic_named.ubj", "xgboost-ubj", 3, release.Limits{ForbiddenPurposes: "marketing, credit scoring"}, ""}}, xgboost.Engine{})
}

// message is one row for scores; a purpose goes into its parameters.
func message(purpose string) *inference.ModelInferRequest {
	in := &inference.ModelInferRequest{ModelName: "scores", Inputs: []*inference.ModelInferRequest_InferInputTensor{
		{Name: "input", Datatype: "FP32", Shape: []int64{1, 6}, Contents: &inference.InferTensorContents{Fp32Contents: []float32{1, 2, 3, 4, 5, 6}}}}}
	if purpose != "" {
		in.Parameters = map[string]*inference.InferParameter{"purpose": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: purpose}}}
	}
	return in
}

func dial(t *testing.T, url string) inference.GRPCInferenceServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return inference.NewGRPCInferenceServiceClient(conn)
}

func TestAForbiddenPurposeIsRefusedWhereverItStands(t *testing.T) {
	h := guarded(t)
	grpcs := dial(t, h.url)
	for _, c := range []struct {
		name      string
		parameter string
		headers   []string
		refused   bool
	}{
		{"none is said", "", nil, false},
		{"an allowed one", "triage", []string{"triage"}, false},
		{"in the parameter", "marketing", nil, true},
		{"in the parameter, among others", "triage; marketing", nil, true},
		{"in the header", "", []string{"marketing"}, true},
		{"in the header, under an allowed parameter", "triage", []string{"Credit Scoring"}, true},
		{"in the parameter, under an allowed header", "marketing", []string{"triage"}, true},
		{"in the second of two headers", "", []string{"triage", "marketing"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			parameters := map[string]string{}
			if c.parameter != "" {
				parameters["purpose"] = c.parameter
			}
			for path, body := range map[string]string{
				"infer":       `{"parameters":` + string(mustJSON(t, parameters)) + `,` + oneRow[1:],
				"invocations": `{"instances":[[1,2,3,4,5,6]],"params":` + string(mustJSON(t, parameters)) + `}`,
			} {
				r, err := http.NewRequest("POST", h.url+"/v2/models/scores/"+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer secret")
				r.Header.Set("Content-Type", "application/json")
				for _, p := range c.headers {
					r.Header.Add("Keelson-Purpose", p)
				}
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if want := map[bool]int{false: 200, true: 403}[c.refused]; res.StatusCode != want {
					t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
				}
			}
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer secret")
			for _, p := range c.headers {
				ctx = metadata.AppendToOutgoingContext(ctx, "keelson-purpose", p)
			}
			_, err := grpcs.ModelInfer(ctx, message(c.parameter))
			if want := map[bool]codes.Code{false: codes.OK, true: codes.PermissionDenied}[c.refused]; status.Code(err) != want {
				t.Errorf("gRPC: %v, want %v", err, want)
			}
		})
	}
}

func TestAForbiddenPurposeIsAuditedOverEveryProtocol(t *testing.T) {
	h := guarded(t)
	secret := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer secret")
	}
	post := func(path, body string) func(*testing.T, string) {
		return func(t *testing.T, url string) {
			r, err := http.NewRequest("POST", url+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer secret")
			r.Header.Set("Content-Type", "application/json")
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 403 {
				t.Fatalf("%d", res.StatusCode)
			}
		}
	}
	for _, c := range []struct {
		name, kind, example string
		ask                 func(*testing.T, string)
	}{
		{"the protocol over HTTP", "forbidden-purpose", "POST /v2/models/scores/infer", post("/v2/models/scores/infer", `{"parameters":{"purpose":"marketing"},`+oneRow[1:])},
		{"MLflow's call", "forbidden-purpose", "POST /v2/models/scores/invocations", post("/v2/models/scores/invocations", `{"instances":[[1,2,3,4,5,6]],"params":{"purpose":"marketing"}}`)},
		{"gRPC", "forbidden-purpose", "POST " + service + "ModelInfer", func(t *testing.T, url string) {
			if _, err := dial(t, url).ModelInfer(secret(t.Context()), message("marketing")); status.Code(err) != codes.PermissionDenied {
				t.Fatal(err)
			}
		}},
		{"a stream of gRPC", "forbidden-purpose", "POST " + service + "ModelStreamInfer", func(t *testing.T, url string) {
			stream, err := dial(t, url).ModelStreamInfer(secret(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(message("marketing")); err != nil {
				t.Fatal(err)
			}
			if got, err := stream.Recv(); err != nil || !strings.Contains(got.GetErrorMessage(), "marketing") {
				t.Fatalf("%v %v", got, err)
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
		}},
		{"gRPC without credentials", "unauthenticated", "POST " + service + "ModelInfer", func(t *testing.T, url string) {
			if _, err := dial(t, url).ModelInfer(t.Context(), message("")); status.Code(err) != codes.Unauthenticated {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dbtest.SQLite(t)
			refusals := rest.NewRefusals(d, slog.New(slog.DiscardHandler))
			server := httptest.NewUnstartedServer(refusals.Watch(h.api))
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetHTTP1(true)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Start()
			defer server.Close()
			c.ask(t, server.URL)
			over, end := context.WithCancel(t.Context())
			end()
			if err := refusals.Run(over); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			var entries []string
			if err := d.Read(t.Context(), func(tx db.Scope) error {
				return tx.Each(`SELECT detail FROM audit_entry WHERE action = 'request.refused' AND workspace = 'default'`, nil, func(scan func(...any) error) error {
					var detail string
					err := scan(&detail)
					entries = append(entries, detail)
					return err
				})
			}); err != nil {
				t.Fatal(err)
			}
			if len(entries) != 1 {
				t.Fatalf("%d entries: %s", len(entries), entries)
			}
			var said struct {
				Kind, Example string
				Count         int
			}
			if err := json.Unmarshal([]byte(entries[0]), &said); err != nil || said.Kind != c.kind || said.Example != c.example || said.Count != 1 {
				t.Errorf("%v %s", err, entries[0])
			}
		})
	}
}
