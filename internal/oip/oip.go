// Package oip speaks the Open Inference Protocol v2 over HTTP and gRPC on one port, as the Triton client libraries speak
// it: health, metadata, inference with JSON, binary and raw tensors, streams, the model repository and statistics.
// MLflow's scoring call is answered beside it.
//
// The way of an inference request, in buffers that are used again:
//
//	body ── inflate ──▶ JSON head ── tensor scanner ──▶ inputs ──▶ Models.Infer ──▶ answer
//	                └─▶ binary tail ── little-endian ──────┘              its record is in the log by then
//
// A model's name on this protocol is the name of an endpoint. Which version answers, what is logged and who may ask is
// decided elsewhere; this package only translates, and every mistake of a caller is a 4xx that names the tensor or field.
//
// Beyond the protocol: who and what a decision is for comes in as the request parameters application, purpose, subject,
// segment and routing_key or as headers (Keelson-Application, Keelson-Purpose, …; a parameter wins over its header,
// but a purpose that is forbidden is refused wherever it stands), the trace as traceparent. The prediction's identifier goes out as the header Keelson-Prediction-Id and the answer's
// parameter prediction_id; its outcomes are posted under it.
package oip

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

// Models answers calls; serving.Service has it. Infer may keep what the call points to (a shadow is asked later), but
// not the Call itself.
type Models interface {
	Infer(ctx context.Context, c *serving.Call) (serving.Answer, error)
	// Missed counts a call that could not be read and so never came to Infer.
	Missed(workspace, endpoint string, err error)
	// Describe fails as Infer would: NotFound for an unknown endpoint or version, Unavailable for one that does not answer.
	Describe(workspace, endpoint, version string) (serving.Described, error)
	// MaxBytes is the endpoint's own limit of a body, 0 for none.
	MaxBytes(workspace, endpoint string) int64
	// Statistics are those of one endpoint, or with an empty name of all; it fails as Describe does.
	Statistics(workspace, endpoint, version string) ([]serving.Statistic, error)
	// Index lists what the workspace's releases name.
	Index(workspace string) []serving.Indexed
	// Refresh brings this process up to the releases in force.
	Refresh(ctx context.Context) error
	// Ready tells whether this process has seen what it should serve.
	Ready() bool
}

// DefaultMaxBytes is the largest body, inflated, where nothing else is said.
const DefaultMaxBytes = 32 << 20

// Handler serves the protocol. Models and Log are required.
type Handler struct {
	Models   Models
	Log      *slog.Logger
	Version  string           // of the server, for its metadata
	MaxBytes int64            // largest body, inflated; 0 is DefaultMaxBytes. A release may set less for its endpoint.
	Limits   tensor.Limits    // of one request; the zero value is tensor.DefaultLimits
	Now      func() time.Time // nil is time.Now
}

// Routes mounts the protocol and its shape of errors.
func (h *Handler) Routes(a *rest.API) {
	a.Shape(rest.OIP, WriteError)
	public := func(pattern string, f http.HandlerFunc) { a.Handle("GET", pattern, access.Public, rest.OIP, f) }
	guarded := func(method, pattern string, f http.HandlerFunc) {
		a.Handle(method, pattern, "predict", rest.OIP, f)
	}
	public("/v2/health/live", h.live)
	public("/v2/health/ready", h.ready)
	guarded("GET", "/v2", h.server)
	guarded("GET", "/v2/models/stats", h.statistics)
	guarded("POST", "/v2/repository/index", h.repositoryIndex)
	a.Handle("POST", "/v2/repository/models/{name}/load", "deployment.operate", rest.OIP, http.HandlerFunc(h.repositoryLoad))
	a.Handle("POST", "/v2/repository/models/{name}/unload", "deployment.operate", rest.OIP, http.HandlerFunc(h.repositoryUnload))
	for _, model := range []string{"/v2/models/{name}", "/v2/models/{name}/versions/{version}"} {
		guarded("GET", model, h.metadata)
		guarded("GET", model+"/ready", h.modelReady)
		guarded("GET", model+"/config", h.config)
		guarded("GET", model+"/stats", h.statistics)
		guarded("GET", model+"/openapi.json", h.openapi)
		guarded("POST", model+"/infer", h.infer)
		guarded("POST", model+"/invocations", h.invocations)
		guarded("GET", model+"/ping", h.ping)
		guarded("GET", model+"/version", h.scoringVersion)
	}
	for _, path := range notOffered {
		guarded("GET", path, refuseExtension)
		guarded("POST", path, refuseExtension)
	}
	h.grpcRoutes(a)
}

// serverName is what the server and its only backend are called on the protocol.
const serverName = "keelson"

// notOffered are the addresses of extensions that this server does not list; their callers are told so.
var notOffered = []string{"/v2/logging", "/v2/trace/setting", "/v2/models/{name}/trace/setting", "/v2/systemsharedmemory/{call...}", "/v2/cudasharedmemory/{call...}"}

func refuseExtension(w http.ResponseWriter, r *http.Request) {
	WriteError(w, r, problem.New(problem.Unsupported, "%s belongs to an extension that this server does not offer; GET /v2 lists those it has.", clip(r.URL.Path)))
}

var extensions = []string{"binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"}

func (h *Handler) now() time.Time {
	if h.Now != nil {
		return h.Now()
	}
	return time.Now()
}

func (h *Handler) limits() tensor.Limits {
	if h.Limits == (tensor.Limits{}) {
		return tensor.DefaultLimits
	}
	return h.Limits
}

// maxBytes is the limit of a body for one endpoint.
func (h *Handler) maxBytes(workspace, endpoint string) int64 {
	limit := h.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if own := h.Models.MaxBytes(workspace, endpoint); own > 0 && own < limit {
		return own
	}
	return limit
}

func (h *Handler) live(w http.ResponseWriter, _ *http.Request) {
	rest.JSON(w, http.StatusOK, map[string]bool{"live": true})
}

func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	if !h.Models.Ready() {
		WriteError(w, r, problem.New(problem.Unavailable, "The server is starting; try again in a moment."))
		return
	}
	rest.JSON(w, http.StatusOK, map[string]bool{"ready": true})
}

func (h *Handler) server(w http.ResponseWriter, _ *http.Request) {
	rest.JSON(w, http.StatusOK, struct {
		Name       string   `json:"name"`
		Version    string   `json:"version"`
		Extensions []string `json:"extensions"`
	}{serverName, h.Version, extensions})
}

func (h *Handler) describe(w http.ResponseWriter, r *http.Request) (serving.Described, bool) {
	d, err := h.Models.Describe(caller.Workspace(r.Context()), r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		h.fail(w, r, err)
		return d, false
	}
	return d, true
}

func (h *Handler) modelReady(w http.ResponseWriter, r *http.Request) {
	if d, ok := h.describe(w, r); ok {
		rest.JSON(w, http.StatusOK, struct {
			Name  string `json:"name"`
			Ready bool   `json:"ready"`
		}{d.Endpoint, true})
	}
}

// tensorMetadata is the protocol's description of one input or output; columns and optional are ours.
type tensorMetadata struct {
	Name       string         `json:"name"`
	Datatype   string         `json:"datatype"`
	Shape      []int          `json:"shape"`
	Parameters map[string]any `json:"parameters,omitempty"`
}

func tensorsMetadata(specs []engine.Spec) []tensorMetadata {
	list := make([]tensorMetadata, 0, len(specs))
	for _, s := range specs {
		m := tensorMetadata{Name: s.Name, Datatype: s.Datatype, Shape: dims(s)}
		if len(s.Columns) > 0 {
			m.Parameters = map[string]any{"columns": s.Columns}
		}
		if s.Optional {
			m.Parameters = map[string]any{"optional": true}
		}
		list = append(list, m)
	}
	return list
}

func dims(s engine.Spec) []int {
	if s.Shape == nil {
		return []int{}
	}
	return s.Shape
}

func (h *Handler) metadata(w http.ResponseWriter, r *http.Request) {
	d, ok := h.describe(w, r)
	if !ok {
		return
	}
	rest.JSON(w, http.StatusOK, struct {
		Name     string           `json:"name"`
		Versions []string         `json:"versions"`
		Platform string           `json:"platform"`
		Inputs   []tensorMetadata `json:"inputs"`
		Outputs  []tensorMetadata `json:"outputs"`
	}{d.Endpoint, append([]string{}, d.Versions...), d.Platform, tensorsMetadata(d.Signature.Inputs), tensorsMetadata(d.Signature.Outputs)})
}

// tensorConfig is one input or output in the form of Triton's model configuration.
type tensorConfig struct {
	Name     string `json:"name"`
	DataType string `json:"data_type"`
	Dims     []int  `json:"dims"`
	Optional bool   `json:"optional,omitempty"`
}

func tensorsConfig(specs []engine.Spec) []tensorConfig {
	list := make([]tensorConfig, 0, len(specs))
	for _, s := range specs {
		typ := "TYPE_" + s.Datatype
		if s.Datatype == tensor.Bytes.String() {
			typ = "TYPE_STRING"
		}
		list = append(list, tensorConfig{s.Name, typ, dims(s), s.Optional})
	}
	return list
}

// config is as much of Triton's model configuration as means something here. Batches come in whole, so max_batch_size
// is 0 and the row dimension is among the dims.
func (h *Handler) config(w http.ResponseWriter, r *http.Request) {
	d, ok := h.describe(w, r)
	if !ok {
		return
	}
	rest.JSON(w, http.StatusOK, struct {
		Name         string         `json:"name"`
		Platform     string         `json:"platform"`
		Backend      string         `json:"backend"`
		MaxBatchSize int            `json:"max_batch_size"`
		Input        []tensorConfig `json:"input"`
		Output       []tensorConfig `json:"output"`
	}{d.Endpoint, d.Platform, serverName, 0, tensorsConfig(d.Signature.Inputs), tensorsConfig(d.Signature.Outputs)})
}

// outputsExist fails when a requested output is none of the model's, before anything is predicted or logged.
func (h *Handler) outputsExist(c *serving.Call, want []output) error {
	if len(want) == 0 {
		return nil
	}
	d, err := h.Models.Describe(c.Workspace, c.Endpoint, c.Version)
	if err != nil {
		return err
	}
	for i := range want {
		if !slices.ContainsFunc(d.Signature.Outputs, func(s engine.Spec) bool { return s.Name == want[i].name }) {
			return unknownOutput(want[i].name, i, c.Endpoint)
		}
	}
	return nil
}
