package serving

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts calls by workspace, endpoint, version and slot. The children are looked up when a version is put into
// force, so a call only adds to atomic counters.
type Metrics struct {
	calls   *prometheus.CounterVec
	rows    *prometheus.CounterVec
	failed  *prometheus.CounterVec
	dropped *prometheus.CounterVec
	refused *prometheus.CounterVec
	seconds *prometheus.HistogramVec

	mu    sync.Mutex
	slots map[[4]string]*statistics // they outlive a refresh
}

// NewMetrics registers the metrics of serving.
func NewMetrics(r prometheus.Registerer) *Metrics {
	labels := []string{"workspace", "endpoint", "version", "slot"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "keelson", Subsystem: "inference", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		calls:   counter("calls_total", "Calls answered."),
		rows:    counter("rows_total", "Rows in answered calls."),
		failed:  counter("failures_total", "Calls that a version failed to answer."),
		dropped: counter("shadow_dropped_total", "Shadow copies dropped because the queue was full."),
		refused: counter("refused_total", "Calls refused because too many were waiting, or because their caller had used up what it may."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "keelson", Subsystem: "inference", Name: "seconds",
			Help: "Time from the request to its record in the log.", Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}}, labels),
	}
	r.MustRegister(m.calls, m.rows, m.failed, m.dropped, m.refused, m.seconds)
	return m
}

type slotMetrics struct {
	calls, rows, failed, dropped, refused prometheus.Counter
	seconds                               prometheus.Observer
	stats                                 *statistics
}

func (m *Metrics) slot(labels ...string) slotMetrics {
	if m == nil {
		m = NewMetrics(prometheus.NewRegistry())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.slots == nil {
		m.slots = map[[4]string]*statistics{}
	}
	key := [4]string(labels)
	if m.slots[key] == nil {
		m.slots[key] = new(statistics)
	}
	return slotMetrics{m.calls.WithLabelValues(labels...), m.rows.WithLabelValues(labels...), m.failed.WithLabelValues(labels...),
		m.dropped.WithLabelValues(labels...), m.refused.WithLabelValues(labels...), m.seconds.WithLabelValues(labels...), m.slots[key]}
}

// observe counts an answered call.
func (m slotMetrics) observe(latency, compute time.Duration, rows int, now time.Time) {
	m.calls.Inc()
	m.rows.Add(float64(rows))
	m.seconds.Observe(latency.Seconds())
	m.stats.answered(latency, compute, rows, now)
}

// fail counts a call that the version did not answer.
func (m slotMetrics) fail(latency time.Duration) {
	m.failed.Inc()
	m.stats.failed.Add(1)
	m.stats.failedNS.Add(uint64(max(latency, 0)))
}
