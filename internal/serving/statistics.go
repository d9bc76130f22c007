package serving

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"keelson/internal/problem"
	"keelson/internal/release"
)

// statistics counts what one slot did since the process started.
type statistics struct {
	calls, rows, latencyNS, computeNS, failed, failedNS atomic.Uint64
	last                                                atomic.Int64 // Unix milliseconds
}

func (s *statistics) answered(latency, compute time.Duration, rows int, now time.Time) {
	s.calls.Add(1)
	s.rows.Add(uint64(rows))
	s.latencyNS.Add(uint64(max(latency, 0)))
	s.computeNS.Add(uint64(max(compute, 0)))
	s.last.Store(now.UnixMilli())
}

// Statistic is what one version did at an endpoint since this process started. Times are sums over calls.
type Statistic struct {
	Endpoint, Version        string
	Calls, Failed, Rows      uint64
	Latency, Compute, Faulty time.Duration // of answered calls, within the engine, of failed calls
	Last                     time.Time     // the latest answer; zero for none
}

// Statistics tells what the versions of the endpoint called so did, or one of them. An empty name means all of the
// workspace that answer. It fails with NotFound as Infer would.
func (s *Service) Statistics(workspace, called, version string) ([]Statistic, error) {
	if !s.looked.Load() {
		return nil, starting()
	}
	t := *s.table.Load()
	var out []Statistic
	add := func(e *endpoint) {
		for _, sl := range e.routed {
			if version != "" && sl.name != version {
				continue
			}
			c := sl.metrics.stats
			v := Statistic{Endpoint: e.doc.Endpoint, Version: sl.name, Calls: c.calls.Load(), Failed: c.failed.Load(), Rows: c.rows.Load(),
				Latency: time.Duration(c.latencyNS.Load()), Compute: time.Duration(c.computeNS.Load()), Faulty: time.Duration(c.failedNS.Load())}
			if ms := c.last.Load(); ms > 0 {
				v.Last = time.UnixMilli(ms)
			}
			out = append(out, v)
		}
	}
	if called == "" {
		for n, e := range t {
			if n.workspace == workspace && e.ready(s.Now()) == nil {
				add(e)
			}
		}
		slices.SortFunc(out, func(a, b Statistic) int {
			return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Version, b.Version))
		})
		return out, nil
	}
	e, err := t.find(workspace, called)
	if err != nil {
		return nil, err
	}
	if err := e.ready(s.Now()); err != nil {
		return nil, err
	}
	if version != "" {
		if _, err := e.byVersion(version); err != nil {
			return nil, err
		}
	}
	add(e)
	return out, nil
}

// Indexed is one version of one endpoint in the list of what is served. Reason says why a version does not answer.
type Indexed struct {
	Endpoint, Version, Reason string
	Ready                     bool
}

// Index lists what is served in a workspace, by name and version. Retired endpoints are not in it.
func (s *Service) Index(workspace string) []Indexed {
	s.init()
	var out []Indexed
	for n, e := range *s.table.Load() {
		if n.workspace != workspace || e.doc.State == release.Retired {
			continue
		}
		reason := ""
		if err := e.ready(s.Now()); err != nil {
			reason = problem.Detail(err)
		}
		if len(e.routed) == 0 {
			out = append(out, Indexed{Endpoint: n.endpoint, Reason: reason})
		}
		for _, sl := range e.routed {
			out = append(out, Indexed{Endpoint: n.endpoint, Version: sl.name, Reason: reason, Ready: reason == ""})
		}
	}
	slices.SortFunc(out, func(a, b Indexed) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Version, b.Version))
	})
	return out
}
