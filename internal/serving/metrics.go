package serving

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/journal"
	"keelson/internal/problem"
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
	meter map[journal.Key]*journal.Meter
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
	meter                                 *journal.Meter
}

// meterOf gives the meter of a version in a slot, or with version 0 of the endpoint itself; nil where nothing is counted.
func (m *Metrics) meterOf(k journal.Key) *journal.Meter {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meter == nil {
		m.meter = map[journal.Key]*journal.Meter{}
	}
	if m.meter[k] == nil {
		m.meter[k] = new(journal.Meter)
	}
	return m.meter[k]
}

// Readings gives what all meters hold.
func (m *Metrics) Readings() []journal.Reading {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]journal.Reading, 0, len(m.meter))
	for k, v := range m.meter {
		out = append(out, journal.Reading{Key: k, Count: v.Read()})
	}
	return out
}

func (m *Metrics) slot(k journal.Key) slotMetrics {
	if m == nil {
		m = NewMetrics(prometheus.NewRegistry())
	}
	meter := m.meterOf(k)
	labels := []string{k.Workspace, k.Endpoint, strconv.Itoa(k.Version), k.Slot}
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
		m.dropped.WithLabelValues(labels...), m.refused.WithLabelValues(labels...), m.seconds.WithLabelValues(labels...), m.slots[key], meter}
}

// observe counts an answered call.
func (m slotMetrics) observe(latency, compute time.Duration, rows int, now time.Time) {
	m.calls.Inc()
	m.rows.Add(float64(rows))
	m.seconds.Observe(latency.Seconds())
	m.stats.answered(latency, compute, rows, now)
	m.meter.Answered(rows, latency)
}

// refuse counts a call that was turned away before the version saw it.
func (m slotMetrics) refuse(err error) {
	m.refused.Inc()
	m.meter.Missed(causeOf(err))
}

// fail counts a call that the version did not answer.
func (m slotMetrics) fail(latency time.Duration, why journal.Cause) {
	m.meter.Missed(why)
	m.failed.Inc()
	m.stats.failed.Add(1)
	m.stats.failedNS.Add(uint64(max(latency, 0)))
}

// causeOf tells why a call got no answer from the error that its caller got.
func causeOf(err error) journal.Cause {
	if errors.Is(err, context.Canceled) {
		return journal.Cancelled
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return journal.Deadline
	}
	switch problem.KindOf(err) {
	case problem.Invalid, problem.TooLarge, problem.NotFound, problem.Unsupported:
		return journal.Invalid
	case problem.Exhausted:
		return journal.Queue
	case problem.Unavailable:
		return journal.Unavailable
	}
	return journal.Model
}
