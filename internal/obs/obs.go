// Package obs is how operators see inside: log lines with the same keys everywhere, Prometheus metrics, OpenTelemetry
// traces. Label and key names stand here and nowhere else.
package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"keelson/internal/caller"
)

// Keys of log lines and attributes; the nouns of the domain use their own names (model, version, deployment, run).
const (
	Request = "request"
	Caller  = "caller"
	Trace   = "trace"
)

// Labels of metrics.
const (
	LabelProtocol = "protocol"
	LabelStatus   = "status" // 2xx, 4xx, 5xx
	LabelEndpoint = "endpoint"
	LabelVersion  = "version"
)

// Logger writes lines at level or above as "text" or "json".
func Logger(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(contextual{slog.NewTextHandler(w, o)}), nil
	case "json":
		return slog.New(contextual{slog.NewJSONHandler(w, o)}), nil
	}
	return nil, fmt.Errorf("log format %q is not known; use text or json", format)
}

// contextual adds who asked and under which request and trace.
type contextual struct{ slog.Handler }

func (h contextual) Handle(ctx context.Context, r slog.Record) error {
	if c := caller.From(ctx); c.Request != "" || c.Name != "" {
		if c.Name != "" {
			r.AddAttrs(slog.String(Caller, c.Name))
		}
		if c.Request != "" {
			r.AddAttrs(slog.String(Request, c.Request))
		}
	}
	if s := oteltrace.SpanContextFromContext(ctx); s.HasTraceID() {
		r.AddAttrs(slog.String(Trace, s.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextual) WithAttrs(a []slog.Attr) slog.Handler { return contextual{h.Handler.WithAttrs(a)} }
func (h contextual) WithGroup(n string) slog.Handler      { return contextual{h.Handler.WithGroup(n)} }

// Metrics is the registry of one process.
type Metrics struct {
	Registry *prometheus.Registry
	seconds  map[string]prometheus.Observer
}

// NewMetrics makes a registry with the process's own figures and the durations of requests by protocol and status.
func NewMetrics() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry(), seconds: map[string]prometheus.Observer{}}
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keelson_http_request_seconds", Help: "Duration of HTTP requests by protocol and class of status.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{LabelProtocol, LabelStatus})
	m.Registry.MustRegister(h, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, p := range []string{"rest", "mlflow", "oip", "ui"} {
		for _, s := range []string{"2xx", "3xx", "4xx", "5xx"} {
			m.seconds[p+s] = h.WithLabelValues(p, s)
		}
	}
	return m
}

// Handler serves the registry in the Prometheus format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}

// Measure counts and times every request.
func (m *Metrics) Measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		if o := m.seconds[protocol(r.URL.Path)+string(rune('0'+rec.status/100))+"xx"]; o != nil {
			o.Observe(time.Since(begin).Seconds())
		}
	})
}

func protocol(path string) string {
	if rest, ok := strings.CutPrefix(path, "/w/"); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	switch {
	case strings.HasPrefix(path, "/v2"):
		return "oip"
	case strings.HasPrefix(path, "/api/v1"):
		return "rest"
	case strings.HasPrefix(path, "/api/"), strings.HasPrefix(path, "/ajax-api/"):
		return "mlflow"
	}
	return "ui"
}

// recorder remembers the status; Unwrap lets http.ResponseController reach what is beneath (flushing, deadlines).
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(code int) {
	if code >= 200 {
		r.status = code
	}
	r.ResponseWriter.WriteHeader(code)
}

// ReadFrom keeps the way open by which the kernel sends a file without copying it through the program.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) { return io.Copy(r.ResponseWriter, src) }

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush keeps server-sent events working for handlers that ask for http.Flusher.
func (r *recorder) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Traces sends spans to the OTLP endpoint that the standard variables name (OTEL_EXPORTER_OTLP_ENDPOINT and the like).
// Without one nothing is recorded and wrap does nothing. Call stop last.
func Traces(ctx context.Context, version string) (wrap func(http.Handler) http.Handler, stop func(context.Context) error, err error) {
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return func(h http.Handler) http.Handler { return h }, func(context.Context) error { return nil }, nil
	}
	exp, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("set up traces: %w", err)
	}
	res, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, nil, fmt.Errorf("set up traces: %w", err)
	}
	tp := trace.NewTracerProvider(trace.WithBatcher(exp), trace.WithResource(res))
	otel.SetTracerProvider(tp)
	wrap = func(h http.Handler) http.Handler {
		return otelhttp.NewHandler(h, "keelson", otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			return r.Method + " " + protocol(r.URL.Path)
		}))
	}
	return wrap, tp.Shutdown, nil
}
