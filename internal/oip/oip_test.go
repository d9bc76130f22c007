package oip

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/xgboost"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/rest"
	"keelson/internal/seal"
	"keelson/internal/serving"
)

// gate lets in who brings the token "secret", and "reader", who may not predict.
type gate struct{}

func (gate) Authenticate(r *http.Request) (caller.Caller, error) {
	switch r.Header.Get("Authorization") {
	case "":
		return caller.Caller{}, nil
	case "Bearer secret":
		return caller.Caller{Name: "desk", Kind: caller.Service, Roles: []string{"service"}}, nil
	case "Bearer reader":
		return caller.Caller{Name: "ada", Kind: caller.Person, Roles: []string{"auditor"}}, nil
	}
	return caller.Caller{}, problem.New(problem.Unauthenticated, "The token is not known.")
}
func (gate) Refused(context.Context, rest.Route, error) {}

// releases is what serving reads; there is nobody to report to.
type releases []serving.Stored

func (s releases) Releases(context.Context) ([]serving.Stored, error)   { return s, nil }
func (releases) Refused(context.Context, string, string) error          { return nil }
func (releases) Panicked(context.Context, string, string, string) error { return nil }

// house is a server with real models behind it.
type house struct {
	endpoints []string // of everyEngine
	t         testing.TB
	api       *rest.API
	url       string
	log       *prediction.Service
	service   *serving.Service
}

const models = "../engine/xgboost/testdata/models/"

// served is one endpoint of a house: a file, or its text.
type served struct {
	endpoint, state, file, format string
	version                       int
	limits                        release.Limits
	text                          string
}

// start serves four endpoints: scores (6 named columns, version 3, with limits), classes (6 columns, 3 outputs per row),
// rules (CEL) and asleep (suspended).
func start(t testing.TB) *house {
	t.Helper()
	return serve(t, []served{
		{"scores", release.Live, models + "logistic_named.ubj", "xgboost-ubj", 3, release.Limits{MaxRows: 1000, MaxBytes: 1 << 17}, ""},
		{"classes", release.Live, models + "softprob.ubj", "xgboost-ubj", 1, release.Limits{}, ""},
		{"rules", release.Live, "../engine/cel/testdata/referral/model.cel.yaml", "cel", 1, release.Limits{}, ""},
		{"asleep", release.Suspended, models + "logistic.json", "xgboost-json", 1, release.Limits{}, ""},
	}, xgboost.Engine{}, cel.Engine{})
}

var signer = seal.FromSeed([]byte(strings.Repeat("k", 32)))

// signed is a release of an endpoint as its keeper has it.
func signed(t testing.TB, serial int64, m served, slots ...release.Slot) serving.Stored {
	t.Helper()
	text, err := release.Sign(signer, release.Document{Serial: serial, Endpoint: m.endpoint, Environment: "prod", Workspace: "default", Model: m.endpoint,
		State: m.state, Durability: release.Group, Limits: m.limits, Policy: release.Policy{Name: "p", Version: 1}, Request: "cr", PlanDigest: "sha256:p",
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Slots: slots})
	if err != nil {
		t.Fatal(err)
	}
	return serving.Stored{Workspace: "default", Endpoint: m.endpoint, Serial: serial, Envelope: text}
}

// slot files a model's text and gives it a place in a release.
func (h *house) slot(version int, kind string, share int, format, name, text string) release.Slot {
	h.t.Helper()
	digest, size, err := h.service.Blobs.Put(context.Background(), strings.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	return release.Slot{Version: version, ArtifactDigest: digest, Format: format, Kind: kind, Share: share, Files: []release.File{{Path: name, Digest: digest, Size: size}}}
}

// release puts the next release of an endpoint into force.
func (h *house) release(serial int64, m served, slots ...release.Slot) {
	h.t.Helper()
	h.service.Releases = releases{signed(h.t, serial, m, slots...)}
	if err := h.service.Refresh(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

// serve serves what is named, with these engines.
func serve(t testing.TB, what []served, engines ...engine.Engine) *house {
	t.Helper()
	ctx := context.Background()
	store := blobtest.Dir(t)
	quiet := slog.New(slog.DiscardHandler)
	var list releases
	for _, m := range what {
		b := []byte(m.text)
		if m.text == "" {
			var err error
			if b, err = os.ReadFile(m.file); err != nil {
				t.Fatal(err)
			}
		}
		digest, size, err := store.Put(ctx, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, signed(t, 1, m, release.Slot{Version: m.version, ArtifactDigest: digest, Format: m.format, Kind: release.SlotLive, Share: 100,
			Files: []release.File{{Path: path.Base(m.file), Digest: digest, Size: size}}}))
	}
	set, err := engine.NewSet(engines...)
	if err != nil {
		t.Fatal(err)
	}
	log, err := prediction.OpenLog(prediction.Options{Dir: t.TempDir(), Node: "n", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	s := &serving.Service{Releases: list, Key: signer.Public(), Blobs: store, Engines: set, Log: log, Incidents: list, Logger: quiet, Now: time.Now}
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // what is loaded is unloaded, as at the end of a server
		over, end := context.WithCancel(ctx)
		end()
		if err := s.Run(over); err != nil {
			t.Error(err)
		}
	})
	h := &house{t: t, service: s, api: rest.New("test", gate{}, quiet), log: &prediction.Service{DB: dbtest.SQLite(t), Blobs: store, Log: log, Logger: quiet, Now: time.Now}}
	(&Handler{Models: s, Log: quiet, Version: "1.2", MaxBytes: 1 << 18}).Routes(h.api)
	server := httptest.NewUnstartedServer(h.api)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// reply is an answer with its body read whole, as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// call sends a request with the good token; header lines are "Name: value", and an Authorization among them replaces it.
func (h *house) call(method, path string, body []byte, header ...string) reply {
	h.t.Helper()
	r, err := http.NewRequest(method, h.url+path, bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("Accept-Encoding", "identity")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if r.Header.Set(name, value); value == "" {
			r.Header.Del(name)
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, b}
}

// answer is the JSON of an inference answer.
type answer struct {
	Model      string            `json:"model_name"`
	Version    string            `json:"model_version"`
	ID         string            `json:"id"`
	Parameters map[string]string `json:"parameters"`
	Outputs    []struct {
		Name       string
		Shape      []int
		Datatype   string
		Data       []any
		Parameters map[string]int
	}
}

func (h *house) decode(b []byte, v any) {
	h.t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		h.t.Fatalf("%v in %s", err, b)
	}
}

// recorded is one case of the values that the xgboost library itself gave.
type recorded struct {
	Columns []string
	Rows    [][]*float64
	Predict [][]float64
}

func record(t testing.TB, name string) recorded {
	t.Helper()
	b, err := os.ReadFile("../engine/xgboost/testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			Name string
			recorded
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, c := range doc.Cases {
		if c.Name == name {
			return c.recorded
		}
	}
	t.Fatalf("no recorded case %s", name)
	return recorded{}
}

func TestWhatTheServerTellsOfItself(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		name, path string
		status     int
		want       string
		header     string
	}{
		{"liveness needs no token", "/v2/health/live", 200, `{"live":true}`, "Authorization: "},
		{"readiness needs no token", "/v2/health/ready", 200, `{"ready":true}`, "Authorization: "},
		{"the server has a name, a version and extensions", "/v2", 200, `{"name":"keelson","version":"1.2","extensions":["binary_tensor_data","model_configuration","model_repository","parameters","statistics"]}`, ""},
		{"a model has its signature as metadata", "/v2/models/classes", 200, `{"name":"classes","versions":["1"],"platform":"xgboost-ubj","inputs":[{"name":"input","datatype":"FP32","shape":[-1,6]}],"outputs":[{"name":"predict","datatype":"FP32","shape":[-1,3]}]}`, ""},
		{"columns are in the metadata", "/v2/models/scores/versions/3", 200, `"parameters":{"columns":["age","dose","größe","bmi","x y","ward"]}`, ""},
		{"an optional input says so", "/v2/models/rules", 200, `{"name":"ward","datatype":"BYTES","shape":[-1],"parameters":{"optional":true}}`, ""},
		{"a model is ready", "/v2/models/scores/ready", 200, `{"name":"scores","ready":true}`, ""},
		{"a version is ready", "/v2/models/scores/versions/3/ready", 200, `{"name":"scores","ready":true}`, ""},
		{"a version that does not answer is not found", "/v2/models/scores/versions/2/ready", 404, `{"error":"Version \"2\" does not answer at scores."}`, ""},
		{"a suspended model is not ready", "/v2/models/asleep/ready", 503, `{"error":"The endpoint asleep is suspended."}`, ""},
		{"an unknown model is not found", "/v2/models/nobody", 404, `{"error":"There is no endpoint \"nobody\".`, ""},
		{"the configuration has Triton's type names", "/v2/models/rules/config", 200, `{"name":"ward","data_type":"TYPE_STRING","dims":[-1],"optional":true}`, ""},
		{"nobody is asked to sign in", "/v2/models/scores", 401, `{"error":"Sign in`, "Authorization: "},
		{"a wrong token is refused", "/v2/models/scores", 401, `{"error":"The token is not known."}`, "Authorization: Bearer wrong"},
		{"who may not predict is told who may", "/v2/models/scores", 403, `{"error":"ada may not do this`, "Authorization: Bearer reader"},
		{"a path that is not there has the protocol's shape", "/v2/repository/nothing", 404, `{"error":"There is nothing at`, ""},
		{"statistics are told by model", "/v2/models/scores/stats", 200, `{"model_stats":[{"name":"scores","version":"3","last_inference":0,"inference_count":0`, ""},
		{"a gRPC path says what it speaks", "/inference.GRPCInferenceService/ModelInfer", 405, "use POST", ""},
		{"a wrong method has the protocol's shape", "/v2/models/scores/infer", 405, `{"error":"GET is not possible`, ""},
		{"another workspace has its own models", "/w/elsewhere/v2/models/scores", 404, `{"error":"There is no endpoint`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.header != "" {
				header = append(header, c.header)
			}
			got := h.call("GET", c.path, nil, header...)
			if got.status != c.status || !strings.Contains(string(got.body), c.want) {
				t.Fatalf("%d %s\nwant %d %s", got.status, got.body, c.status, c.want)
			}
			if ct := got.header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("Content-Type %q", ct)
			}
		})
	}
}

// unready is a server that has not looked at its releases.
type unready struct{ Models }

func (unready) Ready() bool { return false }

func TestAServerThatIsStartingIsNotReady(t *testing.T) {
	a := rest.New("test", gate{}, slog.New(slog.DiscardHandler))
	(&Handler{Models: unready{}, Log: slog.New(slog.DiscardHandler)}).Routes(a)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/v2/health/ready", nil))
	if w.Code != 503 || !strings.HasPrefix(w.Body.String(), `{"error":"The server is starting`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

// broken is a models that fails in its own way, which must stay inside.
type broken struct{ *serving.Service }

func (broken) Infer(context.Context, *serving.Call) (serving.Answer, error) {
	return serving.Answer{}, os.ErrPermission
}

func TestAFailureOfOursIsLoggedAndNotTold(t *testing.T) {
	var logged bytes.Buffer
	a := rest.New("test", gate{}, slog.New(slog.DiscardHandler))
	(&Handler{Models: broken{new(serving.Service)}, Log: slog.New(slog.NewTextHandler(&logged, nil))}).Routes(a)
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/v2/models/m/infer", strings.NewReader(`{"inputs":[]}`))
	r.Header.Set("Authorization", "Bearer secret")
	a.ServeHTTP(w, r)
	if w.Code != 500 || strings.Contains(w.Body.String(), "permission") || !strings.Contains(logged.String(), "permission denied") {
		t.Fatalf("%d %s, logged %s", w.Code, w.Body, &logged)
	}
}
