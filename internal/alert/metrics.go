package alert

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what alerts did. All labels have few values: none is a model's or an endpoint's name.
type Metrics struct {
	turns *prometheus.CounterVec
	acts  *prometheus.CounterVec
	live  *prometheus.GaugeVec
}

// NewMetrics registers the counters.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keelson_alert_events_total", Help: "What happened to alerts (opened, escalated, acknowledged, recovered and so on), by kind of cause and severity."},
			[]string{"event", "kind", "severity"}),
		acts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keelson_alert_acts_total", Help: "What policies did by themselves about alerts, by act and how it ended (done, waits, failed)."},
			[]string{"act", "status"}),
	}
	m.live = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keelson_alerts_active", Help: "Alerts of all workspaces that are open or acknowledged, by kind of cause and severity; of the process that passes alerts on."},
		[]string{"kind", "severity"})
	r.MustRegister(m.turns, m.acts, m.live)
	return m
}

func (m *Metrics) count(typ string, a *Alert) {
	if m != nil {
		m.turns.WithLabelValues(typ[len("alert."):], a.Kind, a.Severity).Inc()
	}
}

func (m *Metrics) did(do, state string) {
	if m != nil {
		m.acts.WithLabelValues(do, state).Inc()
	}
}

// active shows how many alerts there are, by kind and severity.
func (m *Metrics) active(counts map[[2]string]int) {
	if m == nil {
		return
	}
	for _, kind := range Kinds {
		for _, severity := range []string{Warning, Critical} {
			m.live.WithLabelValues(kind, severity).Set(float64(counts[[2]string{kind, severity}]))
		}
	}
}
