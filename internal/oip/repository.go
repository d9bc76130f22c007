package oip

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"keelson/internal/caller"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/serving"
)

// The model repository of the protocol is what approved releases name. Its list can be read; loading brings a process
// up to the releases in force and nothing else; unloading is a change and needs what every change needs.

// loadParameter fails for a parameter that would have other bytes or settings loaded than those approved.
func loadParameter(name string) error {
	if name == "config" || strings.HasPrefix(name, "file:") {
		return problem.New(problem.Forbidden, "The parameter %q would load something that nobody approved; register it as a version and ask for its deployment with: keelson deploy create.", clip(name)).At("parameters")
	}
	return nil
}

// load brings this process up to date and tells whether the endpoint answers.
func (h *Handler) load(ctx context.Context, endpoint string) error {
	if err := h.Models.Refresh(ctx); err != nil {
		return err
	}
	_, err := h.Models.Describe(caller.Workspace(ctx), endpoint, "")
	if problem.KindOf(err) == problem.NotFound {
		return problem.New(problem.NotFound, "No release names %q, so nothing is loaded: only approved versions are. Ask for its deployment with: keelson deploy create.", clip(endpoint))
	}
	return err
}

func refuseUnload(endpoint string) error {
	return problem.New(problem.Forbidden, "Taking %q out of service is a change that is approved and recorded; suspend it with: keelson deploy suspend, or ask for its retirement.", clip(endpoint))
}

// indexEntry is one line of the repository's list, as the model repository extension has it.
type indexEntry struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// index lists the workspace's endpoints; with ready only those that answer.
func (h *Handler) index(ctx context.Context, ready bool) []indexEntry {
	out := []indexEntry{}
	for _, v := range h.Models.Index(caller.Workspace(ctx)) {
		switch {
		case v.Ready:
			out = append(out, indexEntry{v.Endpoint, v.Version, "READY", ""})
		case !ready:
			out = append(out, indexEntry{v.Endpoint, v.Version, "UNAVAILABLE", v.Reason})
		}
	}
	return out
}

// maxControl is the largest body of a repository call, in bytes.
const maxControl = 64 << 10

func (h *Handler) repositoryIndex(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Ready bool `json:"ready"`
	}
	if err := control(r, &ask); err != nil {
		h.fail(w, r, err)
		return
	}
	rest.JSON(w, http.StatusOK, h.index(r.Context(), ask.Ready))
}

// control reads a small JSON body; none at all is an empty one.
func control(r *http.Request, v any) error {
	b, err := readBody(nil, r, maxControl)
	if err != nil || len(b) == 0 {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return invalid("The JSON has a %s where another type belongs.", kind.Value).At(kind.Field)
		}
		return invalid("The body is not a JSON object.").Because(err)
	}
	return nil
}

func (h *Handler) repositoryLoad(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Parameters map[string]any `json:"parameters"`
	}
	err := control(r, &ask)
	for _, name := range slices.Sorted(maps.Keys(ask.Parameters)) {
		if err == nil {
			err = loadParameter(name)
		}
	}
	if err == nil {
		err = h.load(r.Context(), r.PathValue("name"))
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	rest.JSON(w, http.StatusOK, struct{}{})
}

func (h *Handler) repositoryUnload(w http.ResponseWriter, r *http.Request) {
	h.fail(w, r, refuseUnload(r.PathValue("name")))
}

// duration and the types below are the statistics extension's; times are sums in nanoseconds.
type duration struct {
	Count uint64 `json:"count"`
	NS    uint64 `json:"ns"`
}

type modelStatistics struct {
	Name           string `json:"name"`
	Version        string `json:"version"`
	LastInference  int64  `json:"last_inference"` // Unix milliseconds, 0 for none
	InferenceCount uint64 `json:"inference_count"`
	ExecutionCount uint64 `json:"execution_count"`
	Inference      struct {
		Success       duration `json:"success"`
		Fail          duration `json:"fail"`
		Queue         duration `json:"queue"`
		ComputeInput  duration `json:"compute_input"`
		ComputeInfer  duration `json:"compute_infer"`
		ComputeOutput duration `json:"compute_output"`
	} `json:"inference_stats"`
	Batches []struct{} `json:"batch_stats"`
}

func statistic(v serving.Statistic) modelStatistics {
	m := modelStatistics{Name: v.Endpoint, Version: v.Version, InferenceCount: v.Rows, ExecutionCount: v.Calls, Batches: []struct{}{}}
	if !v.Last.IsZero() {
		m.LastInference = v.Last.UnixMilli()
	}
	ns := func(count uint64, d time.Duration) duration { return duration{count, uint64(max(d, 0))} }
	m.Inference.Success = ns(v.Calls, v.Latency)
	m.Inference.Fail = ns(v.Failed, v.Faulty)
	m.Inference.ComputeInfer = ns(v.Calls, v.Compute)
	return m
}

func (h *Handler) statistics(w http.ResponseWriter, r *http.Request) {
	list, err := h.Models.Statistics(caller.Workspace(r.Context()), r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := make([]modelStatistics, 0, len(list))
	for _, v := range list {
		out = append(out, statistic(v))
	}
	rest.JSON(w, http.StatusOK, map[string]any{"model_stats": out})
}
