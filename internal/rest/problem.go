package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"keelson/internal/caller"
	"keelson/internal/problem"
)

// Doc is a problem document, RFC 9457.
type Doc struct {
	Type    string          `json:"type"`
	Title   string          `json:"title"`
	Code    int             `json:"status"`
	Detail  string          `json:"detail"`
	Field   string          `json:"field,omitempty"`
	Errors  []problem.Field `json:"errors,omitempty"`
	Request string          `json:"request,omitempty"`

	wait int // seconds until trying again can help
}

func (d *Doc) Error() string  { return d.Detail }
func (d *Doc) GetStatus() int { return d.Code }

// GetHeaders are those of the answer beside its content type.
func (d *Doc) GetHeaders() http.Header {
	h := http.Header{}
	if d.Code == http.StatusTooManyRequests || d.Code == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(max(1, d.wait)))
	}
	return h
}
func (d *Doc) ContentType(ct string) string {
	return strings.Replace(ct, "application/json", "application/problem+json", 1)
}
func newError(status int, msg string, errs ...error) huma.StatusError {
	return toDoc(status, msg, errs)
}

// internalDetail is all that a caller hears of a failure that is ours.
const internalDetail = "Something failed on our side; the log has the cause under this request's id. Nothing was half-done; it is safe to try again."

// document is err as a problem document.
func document(err error, request string) *Doc {
	p, ok := problem.As(err)
	if !ok {
		p = problem.New(problem.Internal, internalDetail)
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			p = problem.New(problem.Unavailable, "The request was ended before it was done; nothing was changed. Try again.")
		}
	}
	d := &Doc{Type: "/problems/" + string(p.Kind), Title: strings.ReplaceAll(string(p.Kind), "-", " "), Code: p.Kind.Status(),
		Detail: p.Detail, Field: p.Field, Errors: p.Fields, Request: request, wait: problem.RetryAfter(err)}
	var m errMethod
	if errors.As(err, &m) {
		d.Code = http.StatusMethodNotAllowed
	}
	var span errRange
	if errors.As(err, &span) {
		d.Code = span.Status()
	}
	return d
}

// toDoc is one of huma's own findings as a problem document.
func toDoc(status int, msg string, errs []error) *Doc {
	for _, err := range errs {
		var d *Doc
		if errors.As(err, &d) {
			return d
		}
		if _, ok := problem.As(err); ok {
			return document(err, "")
		}
	}
	kind := problem.Invalid
	switch status {
	case http.StatusNotFound:
		kind = problem.NotFound
	case http.StatusRequestEntityTooLarge:
		kind = problem.TooLarge
	case http.StatusInternalServerError:
		kind, msg = problem.Internal, internalDetail
	case http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusNotAcceptable, http.StatusRequestTimeout:
		// the protocol's own statuses stay as they are
	default:
		if status < 500 {
			status = kind.Status()
		}
	}
	d := &Doc{Type: "/problems/" + string(kind), Title: strings.ReplaceAll(string(kind), "-", " "), Code: status, Detail: msg}
	var parts []string
	for _, err := range errs {
		f := problem.Field{Detail: err.Error()}
		var e *huma.ErrorDetail
		if errors.As(err, &e) {
			f = finding(e)
		}
		d.Errors = append(d.Errors, f)
		if f.Field == "" {
			parts = append(parts, f.Detail)
		} else {
			parts = append(parts, f.Field+": "+f.Detail)
		}
	}
	if len(d.Errors) > 0 {
		d.Field = d.Errors[0].Field
		d.Detail = fmt.Sprintf("The request does not fit: %s.", strings.Join(parts[:min(len(parts), 3)], "; "))
	}
	return d
}

// finding is what huma found wrong, at the field it is about: a member that is missing is named itself, not what it is
// missing from, and text that is no JSON has no field.
func finding(e *huma.ErrorDetail) problem.Field {
	field := strings.TrimPrefix(strings.TrimPrefix(e.Location, "body"), ".")
	if name, ok := strings.CutPrefix(e.Message, "expected required property "); ok {
		name = strings.TrimSuffix(name, " to be present")
		if field != "" {
			name = field + "." + name
		}
		return problem.Field{Field: name, Detail: "is missing"}
	}
	if e.Location != "body" {
		return problem.Field{Field: field, Detail: e.Message}
	}
	if strings.HasPrefix(e.Message, "expected") {
		return problem.Field{Detail: "the body: " + e.Message}
	}
	return problem.Field{Detail: "the body is not JSON that can be read: " + strings.TrimPrefix(e.Message, "json: ")}
}

// failed logs what is ours and gives the problem document of err.
func (a *API) failed(ctx context.Context, what string, err error) error {
	Note(ctx, err)
	d := document(err, caller.From(ctx).Request)
	if d.Code >= 500 && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "a request failed", "route", what, "request", d.Request, "error", err)
	}
	return d
}

// Fail writes err from a plain handler of our own resources and logs it if it is ours.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	writeDoc(w, a.failed(r.Context(), r.Method+" "+r.URL.Path, err).(*Doc))
}

// WriteProblem writes err as a problem document.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	Note(r.Context(), err)
	writeDoc(w, document(err, caller.From(r.Context()).Request))
}

func writeDoc(w http.ResponseWriter, d *Doc) {
	w.Header().Set("Content-Type", "application/problem+json")
	maps.Copy(w.Header(), d.GetHeaders())
	w.WriteHeader(d.Code)
	_ = json.NewEncoder(w).Encode(d)
}
