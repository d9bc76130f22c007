// Package rest is the one door for HTTP: it authenticates, denies by default, and mounts routes.
//
// Our own resources are huma operations (validation, OpenAPI 3.1 and RFC 9457 problems come from their types); other
// people's protocols are plain handlers. Both are mounted through API with a permission, and there is no other way in:
// a path that was not mounted answers 404, a caller without the permission 403, nobody 401, in the shape of the protocol.
package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// Protocols, each with its own shape of errors.
const (
	REST   = "rest"
	MLflow = "mlflow"
	OIP    = "oip"
	GRPC   = "grpc"
)

// Gate is what the door asks of identity and audit.
type Gate interface {
	// Authenticate says who asks; nobody is no error, a wrong token is. The request's context carries the workspace.
	Authenticate(r *http.Request) (caller.Caller, error)
	// Refused is told of every refusal of somebody who is signed in.
	Refused(ctx context.Context, route Route, err error)
}

// Route is one mounted route.
type Route struct {
	Method, Pattern, Permission, Protocol, Summary string
}

// API mounts routes. Make it with New.
type API struct {
	mux    *http.ServeMux
	huma   huma.API
	gate   Gate
	log    *slog.Logger
	routes []Route
	next   Route // what the huma adapter is about to mount
	shapes map[string]func(http.ResponseWriter, *http.Request, error)
	other  http.Handler
}

// MaxBody is the largest JSON body our own resources take, in bytes; uploads are plain handlers with their own limits.
const MaxBody = 4 << 20

// New makes an API with nothing mounted but its OpenAPI description at /api/openapi.json.
func New(version string, gate Gate, log *slog.Logger) *API {
	a := &API{mux: http.NewServeMux(), gate: gate, log: log}
	a.shapes = map[string]func(http.ResponseWriter, *http.Request, error){REST: WriteProblem}
	cfg := huma.DefaultConfig("Keelson", version)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil // no $schema links in answers
	cfg.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", namer())
	huma.NewError = newError
	huma.NewErrorWithContext = func(c huma.Context, status int, msg string, errs ...error) huma.StatusError {
		doc := toDoc(status, msg, errs)
		if c != nil {
			doc.Request = caller.From(c.Context()).Request
		}
		return doc
	}
	a.huma = humago.New(adapter{a}, cfg)
	a.Handle("GET", "/api/openapi.json", access.Public, REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_ = json.NewEncoder(w).Encode(a.huma.OpenAPI())
	}))
	return a
}

// namer gives each type a name of its own: inline bodies of two nouns may have inputs of the same name.
func namer() func(reflect.Type, string) string {
	taken := map[string]reflect.Type{}
	return func(t reflect.Type, hint string) string {
		base := schemaName(t, hint)
		name := base
		for n := 2; taken[name] != nil && taken[name] != t; n++ {
			name = fmt.Sprint(base, n)
		}
		taken[name] = t
		return name
	}
}

// schemaName is the package and the type ("InventoryVersion"), so that two nouns may both have a Version; a page of
// them is "InventoryVersionPage".
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Name() == "" || t.PkgPath() == "" {
		return huma.DefaultSchemaNamer(t, hint)
	}
	base, arg, generic := strings.Cut(t.Name(), "[")
	if !generic {
		return qualified(t.PkgPath() + "." + base)
	}
	name := ""
	for a := range strings.SplitSeq(strings.TrimSuffix(arg, "]"), ",") {
		name += qualified(a)
	}
	return name + base
}

// qualified makes "keelson/internal/inventory.Version" into "InventoryVersion", and "approval.Approval" into "Approval".
func qualified(path string) string {
	path = path[strings.LastIndex(path, "/")+1:]
	pkg, name, ok := strings.Cut(path, ".")
	if !ok {
		pkg, name = "", path
	}
	if pkg != "" && !strings.HasPrefix(strings.ToLower(name), pkg) {
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + strings.ToUpper(name[:1]) + name[1:]
	}
	return name
}

type adapter struct{ a *API }

func (m adapter) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	m.a.mount(m.a.next, pattern, http.HandlerFunc(h))
}
func (m adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.a.mux.ServeHTTP(w, r) }

// Handle mounts a plain handler. pattern is ServeMux's without the method.
func (a *API) Handle(method, pattern, permission, protocol string, h http.Handler) {
	p := pattern
	if method != "" {
		p = method + " " + pattern
	}
	a.mount(Route{Method: method, Pattern: pattern, Permission: permission, Protocol: protocol}, p, h)
}

// Shape sets how a protocol writes errors.
func (a *API) Shape(protocol string, write func(http.ResponseWriter, *http.Request, error)) {
	a.shapes[protocol] = write
}

// Fallback serves what is not under any mounted path (the web interface).
func (a *API) Fallback(h http.Handler) { a.other = h }

// Routes lists what is mounted; tests call every route as every role.
func (a *API) Routes() []Route { return slices.Clone(a.routes) }

// OpenAPI is the description of our own resources.
func (a *API) OpenAPI() *huma.OpenAPI { return a.huma.OpenAPI() }

// mount is the only place where a handler gets onto the router, behind the guard.
func (a *API) mount(route Route, pattern string, h http.Handler) {
	if !access.Exists(route.Permission) {
		panic(fmt.Sprintf("rest: %s names permission %q, which no role holds", pattern, route.Permission))
	}
	a.routes = append(a.routes, route)
	a.mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer a.recover(w, r, route)
		if route.Permission != access.Public {
			ctx := r.Context()
			who, err := a.gate.Authenticate(r)
			if err == nil && who.Name == "" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="keelson", Basic realm="keelson"`)
				err = problem.New(problem.Unauthenticated, "Sign in, or send a token as 'Authorization: Bearer …'. Make one with: keelson token create.")
			}
			if err != nil {
				if p, ok := problem.As(err); ok && p.Kind == problem.Unauthenticated && route.Protocol != REST {
					marked := *p // a page that is opened before signing in is no attempt of anything, a program's call is
					err = marked.Suspect("unauthenticated")
				}
				a.shapes[route.Protocol](w, r, err)
				return
			}
			who.Request = caller.From(ctx).Request
			if who.Via == "" {
				who.Via = via(r, route)
			}
			ctx = caller.With(ctx, who)
			r = r.WithContext(ctx)
			if !access.Can(who, route.Permission) {
				err := problem.New(problem.Forbidden, "%s may not do this: it needs the permission %s, which these roles have: %s.",
					who.Name, route.Permission, strings.Join(access.Holders(route.Permission), ", "))
				a.gate.Refused(ctx, route, err)
				a.shapes[route.Protocol](w, r, err)
				return
			}
		}
		h.ServeHTTP(w, r)
	}))
}

// via names the door: the protocol's, or what the client says of itself.
func via(r *http.Request, route Route) string {
	if route.Protocol != REST {
		return route.Protocol
	}
	switch agent := r.UserAgent(); {
	case strings.HasPrefix(agent, "keelson-cli"):
		return "cli"
	case strings.HasPrefix(agent, "Mozilla/"):
		return "ui"
	}
	return "api"
}

func (a *API) recover(w http.ResponseWriter, r *http.Request, route Route) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	a.log.ErrorContext(r.Context(), "a handler panicked", "route", route.Pattern, "panic", v, "stack", string(debug.Stack()))
	a.shapes[route.Protocol](w, r, fmt.Errorf("panic: %v", v))
}

// ServeHTTP gives the request an identifier and a workspace and routes it.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		id = db.NewID()
	}
	w.Header().Set("X-Request-Id", id)
	ctx := caller.With(r.Context(), caller.Caller{Request: id})
	workspace, prefix := r.Header.Get("X-Mlflow-Workspace"), ""
	if own := r.Header.Get("Keelson-Workspace"); own != "" {
		workspace = own
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/w/"); ok {
		name, path, _ := strings.Cut(rest, "/")
		if a.served("/" + path) {
			if name == "" { // no name is not the default workspace
				a.unknown(w, r)
				return
			}
			workspace, prefix = name, "/w/"+url.PathEscape(name)
			u := *r.URL
			u.Path = "/" + path
			if raw, ok := strings.CutPrefix(u.RawPath, "/w/"); ok {
				_, raw, _ = strings.Cut(raw, "/")
				u.RawPath = "/" + raw
			}
			r2 := *r
			r2.URL = &u
			r = &r2
		}
	}
	if workspace != "" {
		ctx = caller.WithWorkspace(ctx, workspace)
	}
	r = r.WithContext(ctx)
	if !a.served(r.URL.Path) && a.other != nil {
		a.other.ServeHTTP(w, r)
		return
	}
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.unknown(w, r)
		return
	}
	if escaped := r.URL.EscapedPath(); prefix != "" && path.Clean(escaped) != strings.TrimSuffix(escaped, "/") {
		// The router would send the client to the clean path without the prefix, which is the default workspace.
		to := url.URL{Path: prefix + path.Clean(r.URL.Path), RawPath: prefix + path.Clean(escaped), RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// served are the first parts of paths that belong to the API and the protocols and never to the web interface.
func (a *API) served(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "api", "ajax-api", "v1", "v2", "metrics", "healthz", "readyz", "health", "version", "get-artifact", "graphql", "model-versions", "inference.GRPCInferenceService":
		return true
	}
	return false
}

// unknown answers for a path or method that was not mounted.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var methods []string
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe := *r
		probe.Method = m
		if _, pattern := a.mux.Handler(&probe); pattern != "" {
			methods = append(methods, m)
		}
	}
	write := a.shapes[REST]
	if (strings.HasPrefix(r.URL.Path, "/v2") || strings.HasPrefix(r.URL.Path, "/inference.")) && a.shapes[OIP] != nil {
		write = a.shapes[OIP]
	}
	if len(methods) > 0 {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		write(w, r, errMethod{problem.New(problem.Invalid, "%s is not possible on %s; use %s.", r.Method, r.URL.Path, strings.Join(methods, " or "))})
		return
	}
	write(w, r, problem.New(problem.NotFound, "There is nothing at %s. The API is described at /api/openapi.json.", r.URL.Path))
}

// errMethod is a problem with status 405.
type errMethod struct{ cause *problem.Error }

func (e errMethod) Error() string { return e.cause.Error() }
func (e errMethod) Unwrap() error { return e.cause }

// Page is one page of a list; Next is the cursor of the following one, empty on the last.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Paged makes a page of up to limit items from up to limit+1 that were read; cursor gives an item's place.
func Paged[T any](items []T, limit int, cursor func(T) string) Page[T] {
	p := Page[T]{Items: items}
	if p.Items == nil {
		p.Items = []T{}
	}
	if len(items) > limit {
		p.Items = items[:limit]
		p.Next = cursor(p.Items[limit-1])
	}
	return p
}

// Paging is embedded into the input of lists.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many items at most"`
	Cursor string `query:"cursor" doc:"next of the page before"`
}

// Option changes an operation.
type Option func(*huma.Operation)

// Status sets the status of success.
func Status(code int) Option { return func(o *huma.Operation) { o.DefaultStatus = code } }

// Body sets the largest body in bytes.
func Body(max int64) Option { return func(o *huma.Operation) { o.MaxBodyBytes = max } }

type output[O any] struct{ Body O }

func register[I, O any](a *API, method, path, permission, summary string, h func(context.Context, *I) (O, error), opts []Option) {
	noun := strings.Split(strings.TrimPrefix(path, "/api/v1/"), "/")[0]
	op := huma.Operation{Method: method, Path: path, Summary: summary, Tags: []string{noun}, MaxBodyBytes: MaxBody,
		OperationID:   operationID(method, path),
		Description:   "Needs the permission `" + permission + "`.",
		DefaultStatus: http.StatusOK}
	for _, o := range opts {
		o(&op)
	}
	a.next = Route{Method: method, Pattern: path, Permission: permission, Protocol: REST, Summary: summary}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*output[O], error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, a.failed(ctx, method+" "+path, err)
		}
		return &output[O]{Body: out}, nil
	})
}

func operationID(method, path string) string {
	words := strings.FieldsFunc(strings.TrimPrefix(path, "/api/v1/"), func(r rune) bool { return r == '/' || r == '{' || r == '}' || r == '-' })
	return strings.ToLower(method) + "-" + strings.Join(words, "-")
}

// Get mounts a read.
func Get[I, O any](a *API, path, permission, summary string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(a, http.MethodGet, path, permission, summary, h, opts)
}

// Post mounts a creation or an act.
func Post[I, O any](a *API, path, permission, summary string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(a, http.MethodPost, path, permission, summary, h, opts)
}

// Put mounts a replacement.
func Put[I, O any](a *API, path, permission, summary string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(a, http.MethodPut, path, permission, summary, h, opts)
}

// Patch mounts a change of some fields.
func Patch[I, O any](a *API, path, permission, summary string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(a, http.MethodPatch, path, permission, summary, h, opts)
}

// Delete mounts a removal.
func Delete[I, O any](a *API, path, permission, summary string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(a, http.MethodDelete, path, permission, summary, h, opts)
}

// Nothing is the answer of an act that has none.
type Nothing struct{}

// JSON writes v as the answer of a plain handler.
func JSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
