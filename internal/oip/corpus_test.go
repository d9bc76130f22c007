package oip

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/lightgbm"
	"keelson/internal/engine/linear"
	"keelson/internal/engine/onnx"
	"keelson/internal/engine/onnxruntime"
	"keelson/internal/engine/remote"
	"keelson/internal/engine/xgboost"
	"keelson/internal/oip/inference"
	"keelson/internal/outbound"
	"keelson/internal/release"
	"keelson/test/corpus"
)

// The test program is also the process of onnxruntime's models.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == onnxruntime.Word {
		os.Exit(onnxruntime.Child(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// everyEngine serves one or more models of every engine that needs nothing but this process.
func everyEngine(t *testing.T) *house {
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"outputs":[{"name":"y","datatype":"FP32","shape":[2,1],"data":[1,2]}]}`)
	}))
	t.Cleanup(peer.Close)
	rules, err := outbound.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	calls := outbound.New(outbound.Options{Rules: rules})
	t.Cleanup(calls.Close)
	live := func(endpoint, format, file, text string) served {
		return served{endpoint: endpoint, state: release.Live, file: file, format: format, version: 1, text: text}
	}
	all := []served{
		live("xgboost", "xgboost-ubj", models+"logistic_named.ubj", ""),
		live("lightgbm", lightgbm.Format, "../engine/lightgbm/testdata/models/binary.txt", ""),
		live("linear", linear.Format, "../engine/linear/testdata/models/logistic.linear.json", ""),
		live("words", linear.Format, "../engine/linear/testdata/models/named_levels.linear.json", ""),
		live("onnx", onnx.Format, "../engine/onnx/testdata/models/mlp.onnx", ""),
		live("columns", onnx.Format, "../engine/onnx/testdata/models/columns.onnx", ""),
		live("rules", cel.Format, "../engine/cel/testdata/referral/model.cel.yaml", ""),
		live("elsewhere", remote.Format, "model.remote.json", `{"format":"keelson-remote-1","protocol":"oip","url":"`+peer.URL+`/v2/models/m/infer","signature":{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,2],"columns":["a","b"]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1,1]}]}}`),
	}
	engines := []engine.Engine{xgboost.Engine{}, lightgbm.Engine{}, linear.Engine{}, onnx.Engine{}, cel.Engine{}, remote.Engine{Calls: calls}}
	if library := os.Getenv("KEELSON_TEST_ONNXRUNTIME"); library == "" {
		t.Log("KEELSON_TEST_ONNXRUNTIME is not set: without the models of onnxruntime, whose library keelson runtime install onnxruntime unpacks")
	} else {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		engines = append(engines, onnxruntime.Engine{Self: []string{self, onnxruntime.Word}, Library: func() (string, error) { return library, nil }})
		for name, of := range map[string]string{"network": "lstm", "branches": "if"} {
			all = append(all, live(name, onnxruntime.Format, "model.onnx", network(t, of)))
		}
	}
	h := serve(t, all, engines...)
	for _, m := range all {
		h.endpoints = append(h.endpoints, m.endpoint)
	}
	return h
}

// network is a model file of the onnxruntime engine's tests.
func network(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../engine/onnxruntime/testdata/models.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct{ Name, Model string }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, c := range doc.Cases {
		if c.Name == name {
			text, err := base64.StdEncoding.DecodeString(c.Model)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatalf("there is no case %q", name)
	return ""
}

// takes asks an endpoint what it takes.
func (h *house) takes(endpoint string) []corpus.Input {
	h.t.Helper()
	var doc struct{ Inputs []corpus.Input }
	h.decode(h.call("GET", "/v2/models/"+endpoint, nil).body, &doc)
	if len(doc.Inputs) == 0 {
		h.t.Fatalf("%s takes nothing", endpoint)
	}
	return doc.Inputs
}

// roomFor is how much memory one refusal may take in all: the largest body there may be a few times over, and what the
// client of the test needs itself.
const roomFor = 24 << 20

// allotted runs f and gives the bytes that were allocated meanwhile.
func allotted(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// byTheLibrary tells whether the gRPC library refused what is no message.
func byTheLibrary(message string) bool {
	return strings.HasPrefix(message, "grpc:") || strings.HasPrefix(message, "unexpected EOF") || strings.HasPrefix(message, "cardinality violation")
}

// patience is how long one refusal may take here, where other tests run beside; the soak holds 50 ms on a server of its own.
const patience = 5 * time.Second

func TestEveryEngineRefusesTheCorpusOfMalformedRequests(t *testing.T) {
	h := everyEngine(t)
	for _, endpoint := range h.endpoints {
		t.Run(endpoint, func(t *testing.T) {
			h := &house{t: t, api: h.api, url: h.url, log: h.log}
			inputs := h.takes(endpoint)
			if got := h.call("POST", "/v2/models/"+endpoint+"/infer", corpus.Whole(inputs)); got.status != 200 {
				t.Fatalf("a whole request: %d %s", got.status, got.body)
			}
			for _, c := range corpus.HTTP(inputs) {
				var header []string
				for k, v := range c.Header {
					header = append(header, k+": "+v)
				}
				var got reply
				began := time.Now()
				used := allotted(func() { got = h.call("POST", "/v2/models/"+endpoint+"/"+c.Path, c.Body, header...) })
				if took := time.Since(began); took > patience || used > roomFor {
					t.Errorf("%s: took %s and %d bytes", c.Name, took, used)
				}
				if c.Perhaps && got.status == 200 {
					continue
				}
				var doc map[string]string
				if err := json.Unmarshal(got.body, &doc); err != nil || doc["error"] == "" || got.status < 400 || got.status > 499 {
					t.Errorf("%s: %d %.300s", c.Name, got.status, got.body)
				}
			}
		})
	}
}

func TestEveryEngineRefusesTheCorpusOverGRPC(t *testing.T) {
	h := everyEngine(t)
	conn, err := grpc.NewClient(strings.TrimPrefix(h.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stub := inference.NewGRPCInferenceServiceClient(conn)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer secret")
	refusals := map[codes.Code]bool{codes.InvalidArgument: true, codes.NotFound: true, codes.ResourceExhausted: true, codes.OutOfRange: true, codes.FailedPrecondition: true}
	for _, endpoint := range h.endpoints {
		t.Run(endpoint, func(t *testing.T) {
			h := &house{t: t, api: h.api, url: h.url, log: h.log}
			inputs := h.takes(endpoint)
			if _, err := stub.ModelInfer(ctx, corpus.WholeMessage(endpoint, inputs)); err != nil {
				t.Fatalf("a whole request: %v", err)
			}
			for _, m := range corpus.GRPC(endpoint, inputs) {
				var err error
				used := allotted(func() { _, err = stub.ModelInfer(ctx, m.Request) })
				if !refusals[status.Code(err)] || used > roomFor {
					t.Errorf("%s: %v, %d bytes", m.Name, err, used)
				}
			}
			for _, f := range corpus.Damaged(endpoint, inputs) {
				for _, method := range []string{"ModelInfer", "ModelStreamInfer"} {
					var code codes.Code
					var text string
					used := allotted(func() { code, text = h.frame(method, f.Bytes) })
					refused := refusals[code] || code == codes.Internal && !f.Whole && byTheLibrary(text)
					if method == "ModelStreamInfer" && code == codes.OK {
						refused = true // a stream that ends at once, or one that told its error in an answer
					}
					if f.Whole && strings.HasPrefix(text, "grpc:") || !refused && !(f.Whole && code == codes.OK) || used > roomFor {
						t.Errorf("%s, %s: %s, %d bytes: %s", method, f.Name, code, used, text)
					}
				}
			}
		})
	}
}

// frame sends bytes as the body of a gRPC call, over a connection of its own, and gives the status.
func (h *house) frame(method string, b []byte) (codes.Code, string) {
	h.t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(h.t.Context(), "POST", h.url+service+method, bytes.NewReader(b))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Authorization", "Bearer secret")
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		h.t.Fatalf("%s: %v", method, err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		h.t.Fatalf("%s: %v", method, err)
	}
	said, text := res.Trailer.Get("Grpc-Status"), res.Trailer.Get("Grpc-Message")
	if said == "" {
		said, text = res.Header.Get("Grpc-Status"), res.Header.Get("Grpc-Message")
	}
	n, err := strconv.Atoi(said)
	if err != nil {
		h.t.Fatalf("%s: grpc-status %q", method, said)
	}
	return codes.Code(n), text
}

func TestADamagedMessageIsTheCallersMistake(t *testing.T) {
	h := start(t)
	for _, f := range corpus.Damaged("scores", h.takes("scores")) {
		if !f.Whole || strings.HasPrefix(f.Name, "bytes changed") {
			continue
		}
		for _, method := range []string{"ModelInfer", "ModelStreamInfer"} {
			code, text := h.frame(method, f.Bytes)
			if code != codes.InvalidArgument || !strings.Contains(text, "no whole ModelInferRequest") {
				t.Errorf("%s, %s: %s %s", method, f.Name, code, text)
			}
		}
	}
	for _, method := range []string{"ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex"} {
		if code, text := h.frame(method, []byte{0, 0, 0, 0, 1, 0xFF}); code != codes.InvalidArgument {
			t.Errorf("%s: %s %s", method, code, text)
		}
	}
	big := make([]byte, 5+1<<18+1)
	big[2], big[3], big[4] = 4, 0, 1
	for _, method := range []string{"ModelInfer", "ModelStreamInfer"} {
		if code, text := h.frame(method, big); code != codes.ResourceExhausted {
			t.Errorf("%s, beyond the limit: %s %s", method, code, text)
		}
	}
}

func TestALengthOfTwoGibibytesIsRefusedBeforeAByteOfIt(t *testing.T) {
	h := start(t)
	r, err := http.NewRequest("POST", h.url+"/v2/models/scores/infer", io.MultiReader(strings.NewReader("{"), neverEnding{t}))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 2 << 30
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("Expect", "100-continue") // the client waits for the server's word
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: patience}}
	t.Cleanup(client.CloseIdleConnections)
	used := allotted(func() {
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%d", res.StatusCode)
		}
	})
	if used > 4<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

type neverEnding struct{ t *testing.T }

func (n neverEnding) Read([]byte) (int, error) {
	n.t.Error("the body was asked for")
	return 0, io.EOF
}
