package oip

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"keelson/internal/caller"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tensor"
)

// unsupportedMedia is a problem with status 415.
type unsupportedMedia struct{ cause *problem.Error }

func (e unsupportedMedia) Error() string { return e.cause.Error() }
func (e unsupportedMedia) Unwrap() error { return e.cause }

// worded gives the HTTP status of err and its words; a failure that is ours is told in general words only.
func worded(err error) (status int, text string) {
	status, text = http.StatusInternalServerError, "Something failed on our side; the log has the cause under this request's id."
	p, ok := problem.As(err)
	switch {
	case ok && p.Kind != problem.Internal:
		status, text = p.Kind.Status(), p.Detail
		if p.Field != "" && !strings.Contains(text, p.Field) {
			text = strings.TrimSuffix(text, ".") + " (at " + p.Field + ")."
		}
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		status, text = http.StatusServiceUnavailable, "The request was ended before it was done. Try again."
	}
	return status, text
}

// WriteError writes err in the protocol's shape, {"error": "…"}.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if r != nil {
		rest.Note(r.Context(), err)
	}
	status, text := worded(err)
	p, ok := problem.As(err)
	header := w.Header()
	var media unsupportedMedia
	switch {
	case errors.As(err, &media):
		status = http.StatusUnsupportedMediaType
	case ok && p.Kind == problem.Invalid:
		status = http.StatusBadRequest
		if header.Get("Allow") != "" { // the router says which methods there are
			status = http.StatusMethodNotAllowed
		}
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		header.Set("Retry-After", strconv.Itoa(problem.RetryAfter(err)))
	}
	header.Set("Content-Type", "application/json")
	header.Del("Content-Length")
	w.WriteHeader(status)
	_, _ = w.Write(append(tensor.AppendString([]byte(`{"error":`), text), '}', '\n'))
}

// fail answers with err and logs it if it is ours.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if problem.KindOf(err) == problem.Internal && r.Context().Err() == nil {
		h.Log.ErrorContext(r.Context(), "a request failed", "endpoint", r.PathValue("name"), "request", caller.From(r.Context()).Request, "error", err)
	}
	WriteError(w, r, err)
}

// at names the field of a problem that has none yet.
func at(err error, format string, a ...any) error {
	if p, ok := problem.As(err); ok && p.Field == "" {
		p.Field = fmt.Sprintf(format, a...)
	}
	return err
}

func invalid(format string, a ...any) *problem.Error {
	return problem.New(problem.Invalid, format, a...)
}

func unknownOutput(name string, i int, endpoint string) error {
	return invalid("%s has no output %q; its metadata at /v2/models/%s names those it has.", clip(endpoint), clip(name), clip(endpoint)).At(fmt.Sprintf("outputs[%d]", i))
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }
