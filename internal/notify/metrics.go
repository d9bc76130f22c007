package notify

import (
	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/obs"
)

// Metrics counts attempts.
type Metrics struct{ attempts *prometheus.CounterVec }

// NewMetrics registers the counter.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keelson_notify_attempts_total", Help: "Attempts to bring alerts to routes, by kind of route and state of the delivery after them (pending is tried again).",
	}, []string{"kind", obs.LabelStatus})}
	r.MustRegister(m.attempts)
	return m
}

func (m *Metrics) count(kind, state string) {
	if m != nil {
		m.attempts.WithLabelValues(kind, state).Inc()
	}
}
