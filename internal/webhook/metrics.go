package webhook

import (
	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/obs"
)

// Metrics counts attempts.
type Metrics struct{ attempts *prometheus.CounterVec }

// NewMetrics registers the counter.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keelson_webhook_attempts_total", Help: "Attempts to reach webhooks, by the state of the delivery after them (pending is tried again).",
	}, []string{obs.LabelStatus})}
	r.MustRegister(m.attempts)
	return m
}

func (m *Metrics) count(state string) {
	if m != nil {
		m.attempts.WithLabelValues(state).Inc()
	}
}
