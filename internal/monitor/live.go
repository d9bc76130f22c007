package monitor

import (
	"context"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
)

// Live counts what has arrived since the last window of each version was closed.
type Live struct {
	Endpoint string       `json:"endpoint"`
	At       time.Time    `json:"at" doc:"when the log was read; at most a few seconds ago"`
	Open     []OpenWindow `json:"open"`
	Backlog  bool         `json:"backlog" doc:"older rows are still being read"`
}

// OpenWindow is a window that is not closed yet.
type OpenWindow struct {
	Version    int        `json:"version"`
	Rows       int        `json:"rows"`
	Needed     int        `json:"needed,omitempty" doc:"rows with which it is closed, where rows cut it"`
	Closes     *time.Time `json:"closes,omitempty" doc:"when it ends, where time cuts it or calls are so many that it grows beyond its rows"`
	From       time.Time  `json:"from"`
	To         time.Time  `json:"to"`
	Missing    float64    `json:"missing" doc:"share of missing or infinite cells of the inputs"`
	Prediction *float64   `json:"prediction_mean" doc:"mean of the first output; null when it is a word"`
	Early      []Early    `json:"early,omitempty" doc:"what the online detector noticed"`
}

// tally counts the rows of an open window as they come.
type tally struct {
	cells, missing, predictions int
	prediction                  float64
}

func (n *tally) add(c *Call) {
	for i := range c.Inputs {
		in := &c.Inputs[i]
		if in.Texts != nil {
			n.cells += len(in.Texts)
			for _, w := range in.Texts {
				if w == "" {
					n.missing++
				}
			}
			continue
		}
		n.cells += len(in.Numbers)
		for _, v := range in.Numbers {
			if !finite(v) {
				n.missing++
			}
		}
	}
	if len(c.Outputs) > 0 {
		for _, v := range c.Outputs[0].Numbers {
			if finite(v) {
				n.prediction += (v - n.prediction) / float64(n.predictions+1)
				n.predictions++
			}
		}
	}
}

// counters is what a tail holds, for readers that do not wait for the worker.
func (t *tail) counters(m *Monitor, now time.Time) *Live {
	l := &Live{Endpoint: m.Endpoint, At: now, Open: []OpenWindow{}}
	for version, b := range t.pending {
		if b.rows == 0 {
			continue
		}
		o := OpenWindow{Version: version, Rows: b.rows, From: b.from, To: b.to, Missing: rate(b.tally.missing, b.tally.cells), Early: append([]Early(nil), b.early...)}
		if b.tally.predictions > 0 && finite(b.tally.prediction) {
			mean := b.tally.prediction
			o.Prediction = &mean
		}
		end := b.end
		if m.Window.byRows() {
			if o.Needed = m.Window.Rows; b.rows >= o.Needed { // it grows until its turn
				if p := t.paceOf(version); !p.at.IsZero() {
					o.Needed, end = 0, p.next()
				}
			}
		}
		if !end.IsZero() {
			o.Closes = &end
		}
		l.Open = append(l.Open, o)
	}
	return l
}

// fresh is how old counters of the worker may be before the log is read instead.
const fresh = 3 * time.Second

// mostLive bounds the calls that are read for one request.
const mostLive = 20_000

// Live answers with the counters of the open windows: the worker's own where it runs in this process, else read from the log
// as it is now.
func (s *Service) Live(ctx context.Context, endpoint string) (Live, error) {
	var m Monitor
	var p progress
	var known map[int]*versionState
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if m, p, err = get(tx, endpoint); err == nil {
			known, err = states(tx, endpoint)
		}
		return err
	})
	if err != nil {
		return Live{}, err
	}
	s.mu.Lock()
	l := s.live[[2]string{caller.Workspace(ctx), endpoint}]
	s.mu.Unlock()
	if l != nil && s.now().Sub(l.At) < fresh {
		return *l, nil
	}
	t := &tail{scanned: p.low, pending: map[int]*buffer{}, versions: known}
	n := 0
	err = s.Calls.Scan(ctx, endpoint, p.low, mostLive, func(c *Call) error {
		n++
		if v := known[c.Version]; c.Rows == 0 || v != nil && c.ID <= v.place {
			return nil
		}
		b := t.pending[c.Version]
		if b == nil {
			b = t.open(&m, c, s.now())
		}
		b.count(c)
		return nil
	})
	if err != nil {
		return Live{}, err
	}
	out := t.counters(&m, s.now())
	out.Backlog = n == mostLive
	return *out, nil
}
