// Package mlflowapi speaks MLflow's REST protocol, as its unmodified Python client does, on tracking, traces and inventory.
//
// It has no rules of its own: it reads MLflow's requests, calls the nouns and writes MLflow's answers and errors. Every
// path exists under /api and /ajax-api. What is not served answers NOT_IMPLEMENTED (a known part of MLflow) or
// ENDPOINT_NOT_FOUND in MLflow's JSON shape.
//
// What a caller says about places is never opened: an artifact_location is refused, a model's source must name a run, a
// logged model, a version or a path of the artifact proxy here, and such paths are looked up in tables, not on a disk.
package mlflowapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"keelson/internal/access"
	"keelson/internal/blob"
	"keelson/internal/evalset"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/prompt"
	"keelson/internal/rest"
	"keelson/internal/scorer"
	"keelson/internal/trace"
	"keelson/internal/tracking"
	"keelson/internal/webhook"
)

// Speaks is the version of MLflow whose protocol is spoken; clients compare it with their own.
const Speaks = "3.17.2"

// Limits of bodies, in bytes.
const (
	MaxBatch    = 1_000_000 // one log-batch request, as MLflow has it
	maxBody     = 20 << 20  // any other JSON request; a data set's profile alone may have 16 MiB
	maxArtifact = 50 << 30  // one uploaded file
)

// API serves the protocol. All fields but Keeper and LinkKey are required.
type API struct {
	Tracking  *tracking.Service
	Inventory *inventory.Service
	Traces    *trace.Service
	Keeper    *blob.Keeper // hears of altered bytes
	LinkKey   []byte       // signs links that need no token, the same in all processes; made up when it is missing
	Webhooks  *webhook.Service
	Prompts   *prompt.Service
	Evalsets  *evalset.Service
	Scorers   *scorer.Service
	Log       *slog.Logger

	links *links
}

// Routes mounts all paths.
func (m *API) Routes(a *rest.API) {
	a.Shape(rest.MLflow, m.fail)
	m.experimentRoutes(a)
	m.runRoutes(a)
	m.artifactRoutes(a)
	m.modelRoutes(a)
	m.registryRoutes(a)
	m.importRoutes(a)
	m.traceRoutes(a)
	m.webhookRoutes(a)
	m.evalsetRoutes(a)
	m.scorerRoutes(a)
	m.dataRoutes(a)
	a.Handle("GET", "/version", access.Public, rest.MLflow, text(Speaks))
	a.Handle("GET", "/health", access.Public, rest.MLflow, text("OK"))
	for _, prefix := range prefixes {
		a.Handle("GET", prefix+"/3.0/mlflow/server-info", access.Public, rest.MLflow, http.HandlerFunc(m.serverInfo))
		// With and without a slash at the end, else the router would answer with a redirect.
		for _, p := range []string{"/2.0", "/2.0/", "/3.0", "/3.0/", "/2.0mlflow", "/2.0mlflow/", "/2.0/mlflow-artifacts/artifacts"} {
			a.Handle("", prefix+p, access.Self, rest.MLflow, http.HandlerFunc(m.unknown))
		}
	}
	for _, p := range []string{"/graphql", "/v1/traces", "/get-artifact", "/model-versions/get-artifact"} {
		a.Handle("", p, access.Self, rest.MLflow, http.HandlerFunc(m.unknown))
	}
	for _, p := range []string{"/version", "/health"} { // by other methods than GET
		a.Handle("", p, access.Public, rest.MLflow, http.HandlerFunc(m.unknown))
	}
}

var prefixes = []string{"/api", "/ajax-api"}

// Guard refuses, before any router could clean or redirect it, a path of this protocol that is not clean as it was sent.
func Guard(next http.Handler) http.Handler {
	m := &API{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		if i := strings.Index(p, "/mlflow-artifacts/"); i >= 0 || strings.Contains(p, "/2.0/mlflow") || strings.Contains(p, "/3.0/mlflow") {
			if c := path.Clean(p); c != strings.TrimSuffix(p, "/") || strings.Contains(p, "\\") {
				m.fail(w, r, problem.New(problem.Invalid, "Invalid path: %q. Give a clean path below the artifact root.", problem.Clip(p, 100)).Suspect("path"))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, s)
	})
}

// known are the parts of MLflow's API that are not served.
var known = []string{"unified-traces", "get-online-trace-details", "workspaces", "issues", "label-schemas", "gateway", "prompt-optimization",
	"review-queues", "jobs", "assistant", "mcp-servers", "genai", "demo", "scorer", "server-features", "users", "permissions", "gateway-proxy", "create-promptlab-run", "ui-telemetry"}

func (m *API) unknown(w http.ResponseWriter, r *http.Request) {
	for _, part := range strings.Split(r.URL.Path, "/") {
		for _, k := range known {
			if part == k || r.URL.Path == "/graphql" {
				m.fail(w, r, problem.New(problem.Unsupported, "%s %s is a part of MLflow that this server does not offer.", r.Method, problem.Clip(r.URL.Path, 120)))
				return
			}
		}
	}
	fail(w, http.StatusNotFound, "ENDPOINT_NOT_FOUND", fmt.Sprintf("There is nothing at %s %s.", r.Method, problem.Clip(r.URL.Path, 120)))
}

// on mounts a JSON call under both prefixes; p is what follows "/api", required are the parameters that must be there.
func on[T any](a *rest.API, m *API, method, p, permission string, h func(context.Context, *T) (any, error), required ...string) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := new(T)
		err := clean(r)
		if err == nil {
			err = read(w, r, in, required)
		}
		var out any
		if err == nil {
			out, err = h(withBase(r).Context(), in)
		}
		if err != nil {
			m.fail(w, r, err)
			return
		}
		answer(w, out)
	})
	for _, prefix := range prefixes {
		a.Handle(method, prefix+p, permission, rest.MLflow, handler)
	}
}

// none is the answer of a command: {}.
type none struct{}

func answer(w http.ResponseWriter, v any) {
	b, ready := v.(written)
	var err error
	if !ready {
		b, err = json.Marshal(v)
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, "INTERNAL_ERROR", "The answer cannot be written as JSON.")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// exists marks a conflict over a name that is taken, which MLflow tells from other conflicts.
type exists struct{ error }

func (e exists) Unwrap() error { return e.error }

func taken(err error) error {
	if problem.Is(err, problem.Conflict) {
		return exists{err}
	}
	return err
}

// codes is MLflow's column of the table in docs/reference/errors.md.
var codes = map[problem.Kind]struct {
	code   string
	status int
}{
	problem.Invalid:         {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	problem.NotFound:        {"RESOURCE_DOES_NOT_EXIST", http.StatusNotFound},
	problem.Forbidden:       {"PERMISSION_DENIED", http.StatusForbidden},
	problem.Conflict:        {"RESOURCE_CONFLICT", http.StatusConflict},
	problem.Unauthenticated: {"UNAUTHENTICATED", http.StatusUnauthorized},
	problem.Exhausted:       {"REQUEST_LIMIT_EXCEEDED", http.StatusTooManyRequests},
	problem.Unsupported:     {"NOT_IMPLEMENTED", http.StatusNotImplemented},
	problem.Unavailable:     {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	problem.TooLarge:        {"INVALID_PARAMETER_VALUE", http.StatusRequestEntityTooLarge},
	problem.Stored:          {"INTERNAL_ERROR", http.StatusInsufficientStorage},
}

// fail writes err in MLflow's shape. What is not the caller's mistake is logged and not told.
func (m *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	rest.Note(r.Context(), err)
	if p, ok := problem.As(err); ok {
		c, known := codes[p.Kind]
		var own interface{ Status() int }
		if errors.As(err, &own) {
			c.status = own.Status()
		}
		var e exists
		if errors.As(err, &e) {
			c.code, c.status = "RESOURCE_ALREADY_EXISTS", http.StatusBadRequest
		}
		if known {
			if c.status == http.StatusServiceUnavailable || c.status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", strconv.Itoa(problem.RetryAfter(err)))
			}
			fail(w, c.status, c.code, p.Detail)
			return
		}
	}
	if r.Context().Err() != nil { // nobody reads the answer
		fail(w, http.StatusBadRequest, "BAD_REQUEST", "The request was ended before it was done.")
		return
	}
	if m.Log != nil {
		m.Log.ErrorContext(r.Context(), "a request failed", "route", r.Method+" "+r.URL.Path, "error", err)
	}
	fail(w, http.StatusInternalServerError, "INTERNAL_ERROR", "Something failed on our side; the log has the cause.")
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	b, _ := json.Marshal(map[string]string{"error_code": code, "message": message})
	_, _ = w.Write(b)
}

func missing(name string) error {
	return problem.New(problem.Invalid, "Missing value for required parameter '%s'. See the API docs for more information about request parameters.", name).At(name)
}

func invalid(name, value string) error {
	return problem.New(problem.Invalid, "Invalid value %s for parameter '%s' supplied. See the API docs for more information about request parameters.", problem.Clip(value, 100), name).At(name)
}

// read fills in from the query (GET) or the JSON body and from the wildcards of the path, and checks what is required.
func read(w http.ResponseWriter, r *http.Request, in any, required []string) error {
	var malformed error
	if r.Method == http.MethodGet {
		if err := fromQuery(r.URL.Query(), in); err != nil {
			return err
		}
	} else {
		b, err := body(w, r, maxBody)
		if err != nil {
			return err
		}
		if malformed, err = decode(b, in); err != nil {
			return err
		}
	}
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("path"); name != "" {
			v.Field(i).SetString(r.PathValue(name))
		}
	}
	for _, name := range required {
		if isMissing(v, name) {
			name, _, _ = strings.Cut(name, "|")
			err := missing(name)
			if malformed != nil {
				p, _ := problem.As(err)
				p.Detail += " The body is not valid JSON: " + malformed.Error() + "."
			}
			return err
		}
	}
	if malformed != nil {
		return problem.New(problem.Invalid, "The body is not valid JSON: %s. A number that is not finite is written as the string \"NaN\", \"Infinity\" or \"-Infinity\".", malformed)
	}
	return nil
}

// clean refuses an address with a zero byte or bytes that are not UTF-8, which no database keeps as text.
func clean(r *http.Request) error {
	for _, part := range []string{r.URL.Path, r.URL.RawQuery} {
		if u, err := url.QueryUnescape(part); err == nil {
			part = u
		}
		if strings.ContainsRune(part, 0) || !utf8.ValidString(part) {
			return problem.New(problem.Invalid, "The address holds a zero byte or bytes that are not UTF-8.").Suspect("path")
		}
	}
	return nil
}

// hasZero reports whether a JSON text holds a zero byte, raw or as an escape.
func hasZero(b []byte) bool {
	if bytes.IndexByte(b, 0) >= 0 {
		return true
	}
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(`\u0000`))
		if i < 0 {
			return false
		}
		i += at
		n := 0
		for i-n-1 >= 0 && b[i-n-1] == '\\' {
			n++
		}
		if n%2 == 0 { // the backslash is not itself escaped
			return true
		}
		at = i + 1
	}
}

// body reads a JSON body of at most limit bytes.
func body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, problem.New(problem.Invalid, "Bad Request. Content-Type must be 'application/json'.")
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, problem.New(problem.TooLarge, "The request is larger than %d bytes.", limit)
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "The request broke off; send it again.").Because(err)
	}
	if !utf8.Valid(b) || hasZero(b) {
		return nil, problem.New(problem.Invalid, "The body holds a zero byte or bytes that are not UTF-8, which cannot be kept as text.")
	}
	return b, nil
}

// decode reads JSON; malformed is a syntax error, err a value of the wrong type.
func decode(b []byte, in any) (malformed, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	e := json.Unmarshal(b, in)
	var typ *json.UnmarshalTypeError
	var bad *badNumber
	switch {
	case e == nil:
		return nil, nil
	case errors.As(e, &bad):
		return nil, invalid("number", bad.text)
	case errors.As(e, &typ):
		name := typ.Field
		if name == "" {
			name = "body"
		}
		return nil, invalid(name, "of type "+typ.Value)
	}
	return e, nil
}

// fromQuery fills the fields of in by their JSON names; lists take every value of a name.
func fromQuery(q url.Values, in any) error {
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		values, ok := q[name]
		if !ok || len(values) == 0 || name == "" {
			continue
		}
		f := v.Field(i)
		switch f.Kind() {
		case reflect.String:
			f.SetString(values[0])
		case reflect.Int, reflect.Int64:
			n, err := strconv.ParseInt(values[0], 10, 64)
			if err != nil {
				return invalid(name, values[0])
			}
			f.SetInt(n)
		case reflect.Bool:
			b, err := strconv.ParseBool(values[0])
			if err != nil {
				return invalid(name, values[0])
			}
			f.SetBool(b)
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.String {
				f.Set(reflect.ValueOf(values))
			}
		}
	}
	return nil
}

// isMissing reports that the field of a JSON name is empty; "a|b" that both are.
func isMissing(v reflect.Value, names string) bool {
	for _, name := range strings.Split(names, "|") {
		for i := range v.NumField() {
			tag := v.Type().Field(i).Tag
			n, _, _ := strings.Cut(tag.Get("json"), ",")
			if (n == name || tag.Get("path") == name) && !v.Field(i).IsZero() {
				return false
			}
		}
	}
	return true
}
