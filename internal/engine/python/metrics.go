package python

import (
	"slices"
	"strings"
	"time"

	"keelson/internal/problem"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts children.
type Metrics struct {
	starts, crashes prometheus.Counter
}

// NewMetrics registers the metrics of e's children and gives them to e.
func NewMetrics(r prometheus.Registerer, e *Engine) {
	opts := func(name, help string) (string, string, string, string) { return "keelson", "python", name, help }
	counter := func(name, help string) prometheus.Counter {
		ns, sub, n, h := opts(name, help)
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: n, Help: h})
	}
	gauge := func(name, help string, read func() float64) prometheus.GaugeFunc {
		ns, sub, n, h := opts(name, help)
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: n, Help: h}, read)
	}
	e.Metrics = &Metrics{
		starts:  counter("starts_total", "Python processes that loaded their model."),
		crashes: counter("crashes_total", "Python processes of loaded models that ended by themselves, ran into a limit, or could not be started again."),
	}
	r.MustRegister(e.Metrics.starts, e.Metrics.crashes,
		gauge("children", "Python processes that run.", func() float64 { n, _ := e.use(); return float64(n) }),
		gauge("memory_bytes", "Resident memory of the Python processes.", func() float64 { _, n := e.use(); return float64(n) }),
		gauge("faulted_versions", "Versions that rest because their Python process ended too often.", func() float64 {
			n := 0
			for _, s := range e.State() {
				if s.Fault != "" {
					n++
				}
			}
			return float64(n)
		}))
}

func (m *Metrics) started() {
	if m != nil {
		m.starts.Inc()
	}
}

func (m *Metrics) crashed() {
	if m != nil {
		m.crashes.Inc()
	}
}

// use is how many children there are and what they hold.
func (e *Engine) use() (n int, memory int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.children {
		n++
		memory += c.memory.Load()
	}
	return n, memory
}

// State is what runs of one loaded version.
type State struct {
	Version  string    `json:"version" doc:"such as screening/3; empty where nobody named it"`
	Python   string    `json:"python"`
	Children []Process `json:"children"`
	Restarts int64     `json:"restarts"`
	Last     string    `json:"last_end,omitempty" doc:"why the last process ended"`
	Fault    string    `json:"fault,omitempty" doc:"why the version rests"`
}

// Process is one child.
type Process struct {
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Memory  int64     `json:"memory" doc:"resident bytes"`
	Calls   int64     `json:"calls"`
	Standby bool      `json:"standby"`
}

// State tells of every loaded version, by name.
func (e *Engine) State() []State {
	e.mu.Lock()
	var all []*model
	for m := range e.models {
		all = append(all, m)
	}
	e.mu.Unlock()
	out := []State{}
	for _, m := range all {
		m.mu.Lock()
		s := State{Version: m.ref, Python: m.python, Children: []Process{}, Restarts: m.restart, Last: m.last}
		if m.fault != nil {
			s.Fault = problem.Detail(m.fault)
		}
		for c := range m.all {
			s.Children = append(s.Children, Process{c.pid, c.began.UTC(), c.memory.Load(), c.calls.Load() - 1, slices.Contains(m.standby, c)})
		}
		m.mu.Unlock()
		slices.SortFunc(s.Children, func(a, b Process) int { return a.PID - b.PID })
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b State) int { return strings.Compare(a.Version, b.Version) })
	return out
}
