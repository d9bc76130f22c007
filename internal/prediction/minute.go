package prediction

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Minute is what one endpoint answered in one minute, copies for shadows and predictions made elsewhere left out.
type Minute struct {
	Workspace, Endpoint, Model string
	Version                    int // that answered most of the calls; of several the highest
	Calls, Failed              int
	Took                       []time.Duration // of the calls that did not fail: of all, or of mostTook that were drawn evenly
}

const (
	mostTook    = 500 // response times that stand for a minute's
	keptMinutes = 3   // the one that runs, the one before, and one for whoever is late
)

// meter counts calls as they are logged, minute by minute, so that nobody has to read the log for it.
type meter struct {
	mu sync.RWMutex
	of map[meterKey]*pulse
}

type meterKey struct{ workspace, endpoint string }

// pulse holds the last minutes of one endpoint, a minute at its number modulo keptMinutes.
type pulse struct {
	mu   sync.Mutex
	last [keptMinutes]beat
}

type beat struct {
	minute        int64 // since 1970; 0 is none
	model         string
	calls, failed int
	versions      []versionCalls
	took          []time.Duration
}

type versionCalls struct{ version, calls int }

// count takes a call that was logged.
func (m *meter) count(r *Record) {
	if r.Slot == SlotShadow || r.Slot == SlotExternal {
		return
	}
	key := meterKey{r.Workspace, r.Endpoint}
	m.mu.RLock()
	p := m.of[key]
	m.mu.RUnlock()
	if p == nil {
		m.mu.Lock()
		if p = m.of[key]; p == nil {
			if m.of == nil {
				m.of = map[meterKey]*pulse{}
			}
			p = &pulse{}
			m.of[key] = p
		}
		m.mu.Unlock()
	}
	minute := r.At.Unix() / 60
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &p.last[minute%keptMinutes]
	if b.minute > minute {
		return // long over
	}
	if b.minute != minute {
		*b = beat{minute: minute, versions: b.versions[:0], took: b.took[:0]}
	}
	b.calls++
	b.model = r.Model
	at := slices.IndexFunc(b.versions, func(v versionCalls) bool { return v.version == r.Version })
	if at < 0 {
		at = len(b.versions)
		b.versions = append(b.versions, versionCalls{version: r.Version})
	}
	b.versions[at].calls++
	if r.Error != "" {
		b.failed++
		return
	}
	if len(b.took) < mostTook {
		b.took = append(b.took, r.Latency)
	} else if k := rand.IntN(b.calls - b.failed); k < mostTook { // each call stays with the same probability
		b.took[k] = r.Latency
	}
}

// Minute gives the calls that this process logged in the minute that begins at from, of every endpoint of all workspaces that
// had some, by workspace and endpoint. Minutes before the last two are forgotten. A process without a log has none.
func (l *Log) Minute(from time.Time) []Minute {
	if l == nil {
		return nil
	}
	minute, idle := from.Unix()/60, []meterKey(nil)
	var out []Minute
	l.meter.mu.RLock()
	for key, p := range l.meter.of {
		p.mu.Lock()
		newest := int64(0)
		for i := range p.last {
			newest = max(newest, p.last[i].minute)
		}
		if b := &p.last[minute%keptMinutes]; b.minute == minute && b.calls > 0 {
			most := slices.MaxFunc(b.versions, func(a, b versionCalls) int {
				return cmp.Or(cmp.Compare(a.calls, b.calls), cmp.Compare(a.version, b.version))
			})
			out = append(out, Minute{key.workspace, key.endpoint, b.model, most.version, b.calls, b.failed, slices.Clone(b.took)})
		} else if newest < minute-10 {
			idle = append(idle, key)
		}
		p.mu.Unlock()
	}
	l.meter.mu.RUnlock()
	if len(idle) > 0 {
		l.meter.mu.Lock()
		for _, key := range idle {
			delete(l.meter.of, key)
		}
		l.meter.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Minute) int {
		return cmp.Or(cmp.Compare(a.Workspace, b.Workspace), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	return out
}
