package trace

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what arrives.
type Metrics struct {
	spansIn, tracesIn prometheus.Counter
}

// NewMetrics registers the counters.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		spansIn:  prometheus.NewCounter(prometheus.CounterOpts{Name: "keelson_trace_spans_total", Help: "Spans stored."}),
		tracesIn: prometheus.NewCounter(prometheus.CounterOpts{Name: "keelson_traces_started_total", Help: "Traces that a client started."}),
	}
	r.MustRegister(m.spansIn, m.tracesIn)
	return m
}

func (m *Metrics) spans(n int) {
	if m != nil {
		m.spansIn.Add(float64(n))
	}
}

func (m *Metrics) traces(n int) {
	if m != nil {
		m.tracesIn.Add(float64(n))
	}
}
