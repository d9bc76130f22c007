package mlflowapi

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/trace"
	"keelson/internal/tracking"
)

// maxSpanBody bounds an export of spans and a file of them, as sent and when unpacked.
const maxSpanBody = 32 << 20

// exportSpans is OTLP over HTTP: protobuf or JSON, plain or packed. Its header names the experiment.
func (m *API) exportSpans(w http.ResponseWriter, r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-protobuf" && kind != "application/json" {
		return problem.New(problem.Invalid, "Invalid Content-Type: %s. Expected: application/x-protobuf or application/json", problem.Clip(r.Header.Get("Content-Type"), 60))
	}
	experiment := r.Header.Get("X-Mlflow-Experiment-Id")
	if experiment == "" { // the protocol's own status for it
		fail(w, http.StatusUnprocessableEntity, "INVALID_PARAMETER_VALUE", "The header x-mlflow-experiment-id is missing: it names the experiment that the spans belong to.")
		return nil
	}
	if err := check(experiment); err != nil {
		return err
	}
	body, err := spanBody(w, r)
	if err != nil {
		return err
	}
	batches, err := trace.Decode(body, kind == "application/json")
	if err != nil {
		return err
	}
	if err := m.Traces.Receive(r.Context(), experiment, r.Header.Get("X-Mlflow-Run-Id"), batches); err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	if kind == "application/json" { // an empty ExportTraceServiceResponse; in protobuf it has no bytes
		_, _ = io.WriteString(w, "{}")
	}
	return nil
}

// spanBody reads a body of at most maxSpanBody bytes, unpacked.
func spanBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLarge := problem.New(problem.TooLarge, "An export of spans has at most %d bytes, packed and unpacked; send the spans in several.", maxSpanBody)
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSpanBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, tooLarge
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "The request broke off; send it again.").Because(err)
	}
	var open io.Reader
	encoding := strings.ToLower(r.Header.Get("Content-Encoding"))
	switch encoding {
	case "", "identity":
		return raw, nil
	case "gzip":
		open, err = gzip.NewReader(bytes.NewReader(raw))
	case "deflate":
		open, err = zlib.NewReader(bytes.NewReader(raw))
	default:
		return nil, problem.New(problem.Invalid, "Unsupported Content-Encoding: %s; use gzip or deflate.", problem.Clip(encoding, 40))
	}
	var out []byte
	if err == nil {
		out, err = io.ReadAll(io.LimitReader(open, maxSpanBody+1))
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "Failed to decompress %s payload", encoding).Because(err)
	}
	if len(out) > maxSpanBody {
		return nil, tooLarge
	}
	return out, nil
}

// attachments is the folder of a trace's own files beside traces.json.
const attachments = "attachments/"

// traceFile is what a path of the artifact proxy below a trace names.
func (m *API) traceFile(r *http.Request) (t trace.Trace, path string, err error) {
	path = r.PathValue("path")
	if err := tracking.CheckPath(path); err != nil {
		return t, path, err
	}
	if err := check(r.PathValue("experiment")); err != nil {
		return t, path, err
	}
	if t, err = m.Traces.Get(r.Context(), r.PathValue("trace")); err != nil {
		return t, path, err
	}
	if t.Experiment != r.PathValue("experiment") {
		return t, path, problem.New(problem.NotFound, "Trace with ID '%s' not found.", problem.Clip(t.ID, 100)).At("path")
	}
	return t, path, nil
}

func (m *API) downloadTraceFile(w http.ResponseWriter, r *http.Request) error {
	t, path, err := m.traceFile(r)
	if err != nil {
		return err
	}
	return m.sendTraceFile(w, r, t, path)
}

// sendTraceFile sends a file of a trace; traces.json is made of the spans that are kept, where there are any.
func (m *API) sendTraceFile(w http.ResponseWriter, r *http.Request, t trace.Trace, path string) error {
	if path != trace.FileName || t.Spans == 0 {
		return m.serve(w, r, trace.ArtifactRoot(t.Experiment, t.ID), path)
	}
	spans, err := m.Traces.Spans(r.Context(), []string{t.ID})
	if err != nil {
		return err
	}
	b := trace.AppendFile(nil, t.ID, spans[t.ID])
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": trace.FileName}))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	_, _ = w.Write(b)
	return nil
}

// uploadTraceFile takes traces.json apart into spans; other files are kept as they are.
func (m *API) uploadTraceFile(w http.ResponseWriter, r *http.Request) error {
	t, path, err := m.traceFile(r)
	if err != nil {
		return err
	}
	p := place{root: trace.ArtifactRoot(t.Experiment, t.ID), rest: path}
	if path != trace.FileName {
		return m.store(w, r, p)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSpanBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return problem.New(problem.TooLarge, "%s has at most %d bytes.", trace.FileName, maxSpanBody)
	case err != nil:
		return problem.New(problem.Invalid, "The upload broke off; nothing was stored.").Because(err)
	}
	kept, err := m.Traces.Upload(r.Context(), t.Experiment, t.ID, body)
	if err == nil && !kept {
		_, err = m.Tracking.PutFile(r.Context(), p.root, path, bytes.NewReader(body))
	}
	if err != nil {
		return err
	}
	answer(w, none{})
	return nil
}

func (m *API) deleteTraceFile(w http.ResponseWriter, r *http.Request) error {
	t, path, err := m.traceFile(r)
	if err != nil {
		return err
	}
	if err := m.Tracking.DeleteFiles(r.Context(), trace.ArtifactRoot(t.Experiment, t.ID), path); err != nil {
		return err
	}
	answer(w, none{})
	return nil
}

// getTraceArtifact is the page's way to the spans of a trace, or with path to an attachment.
func (m *API) getTraceArtifact(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Get("request_id") == "" {
		return problem.New(problem.Invalid, "Request must include the \"request_id\" query parameter.").At("request_id")
	}
	t, err := m.Traces.Get(r.Context(), q.Get("request_id"))
	if err != nil {
		return err
	}
	if path := q.Get("path"); path != "" {
		if err := tracking.CheckPath(path); err != nil {
			return err
		}
		return m.serve(w, r, trace.ArtifactRoot(t.Experiment, t.ID), attachments+path)
	}
	return m.sendTraceFile(w, r, t, trace.FileName)
}
