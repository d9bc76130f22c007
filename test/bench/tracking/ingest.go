package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// operation is one kind of request; body makes the i-th of a client, whose run is given.
type operation struct {
	what         string
	path         string
	ours, theirs int // requests per turn
	points, keys int // metrics in a request, and of how many keys
	body         func(experiment, run string, client, i int) []byte
}

func (b *bench) operations() []operation {
	return []operation{
		{"create-run", "runs/create", b.scaled(2000, 400), b.scaled(120, 40), 0, 0, func(experiment, _ string, client, i int) []byte {
			return fmt.Appendf(nil, `{"experiment_id":%q,"user_id":"ada","start_time":%d,"run_name":"run-%d-%d","tags":[{"key":"mlflow.user","value":"ada"},{"key":"mlflow.source.name","value":"train.py"},{"key":"mlflow.source.type","value":"LOCAL"}]}`,
				experiment, time.Now().UnixMilli(), client, i)
		}},
		{"log-metric", "runs/log-metric", b.scaled(6000, 1200), b.scaled(320, 80), 0, 0, func(_, run string, client, i int) []byte {
			return fmt.Appendf(nil, `{"run_id":%q,"key":"loss","value":%g,"timestamp":%d,"step":%d}`, run, 1/float64(i+1), time.Now().UnixMilli(), i)
		}},
		{"log-batch of 1", "runs/log-batch", b.scaled(6000, 1200), b.scaled(320, 80), 1, 1, batches(1, 1)},
		{"log-batch of 100 (10 keys)", "runs/log-batch", b.scaled(3200, 800), b.scaled(160, 40), 100, 10, batches(10, 10)},
		{"log-batch of 100 (100 keys)", "runs/log-batch", b.scaled(3200, 800), b.scaled(160, 40), 100, 100, batches(100, 1)},
		{"log-batch of 1,000 (10 keys)", "runs/log-batch", b.scaled(640, 160), b.scaled(48, 16), 1000, 10, batches(10, 100)},
	}
}

// batches makes bodies of log-batch with so many keys at so many steps.
func batches(keys, steps int) func(string, string, int, int) []byte {
	return func(_, run string, client, i int) []byte {
		out := make([]byte, 0, 64+80*keys*steps)
		out = fmt.Appendf(out, `{"run_id":%q,"metrics":[`, run)
		at := time.Now().UnixMilli()
		for s := range steps {
			for k := range keys {
				if s+k > 0 {
					out = append(out, ',')
				}
				out = append(out, `{"key":"m`...)
				out = strconv.AppendInt(out, int64(k), 10)
				out = append(out, `","value":`...)
				out = strconv.AppendFloat(out, float64(k)+1/float64(1+i*steps+s), 'g', -1, 64)
				out = append(out, `,"timestamp":`...)
				out = strconv.AppendInt(out, at+int64(s), 10)
				out = append(out, `,"step":`...)
				out = strconv.AppendInt(out, int64(i*steps+s), 10)
				out = append(out, '}')
			}
		}
		return append(out, `]}`...)
	}
}

// sample is what was measured of one server: the latency of every request, and how long all turns took.
type sample struct {
	took []time.Duration
	all  time.Duration
}

func (s *sample) rate() float64 { return float64(len(s.took)) / s.all.Seconds() }

func (s *sample) quantile(q float64) time.Duration {
	slices.Sort(s.took)
	return s.took[min(len(s.took)-1, int(q*float64(len(s.took))))]
}

// turn sends n requests by 8 clients; from is how many a client has sent before. The bodies are made beforehand.
func (b *bench) turn(s *server, op operation, experiment string, runs []string, from, n int, into *sample) error {
	per := n / clients
	bodies := make([][][]byte, clients)
	for c := range bodies {
		for i := range per {
			bodies[c] = append(bodies[c], op.body(experiment, runs[c], c, from+i))
		}
	}
	took := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	// A server closes connections that were idle during the other's turn; new ones are opened before the clock starts.
	s.http.CloseIdleConnections()
	for try := 0; ; try++ {
		for c := range clients {
			wg.Go(func() { _, errs[c] = s.send(b.ctx, "GET", "/version", nil, io.Discard) })
		}
		wg.Wait()
		err := errors.Join(errs...)
		if err == nil {
			break
		}
		// On a loaded machine mlflow server ends workers that were silent for seconds, and starts new ones.
		if try == 20 || b.ctx.Err() != nil {
			return fmt.Errorf("%s does not answer: %w", s.name, err)
		}
		time.Sleep(time.Second)
	}
	began := time.Now()
	for c := range clients {
		wg.Go(func() {
			for _, body := range bodies[c] {
				d, err := s.send(b.ctx, "POST", api+op.path, body, io.Discard)
				if err != nil {
					errs[c] = err
					return
				}
				took[c] = append(took[c], d)
			}
		})
	}
	wg.Wait()
	into.all += time.Since(began)
	for c := range clients {
		if errs[c] != nil {
			return errs[c]
		}
		into.took = append(into.took, took[c]...)
	}
	return nil
}

// ingest measures all that writes: ours must do rate times as many requests, at a 99th percentile tail times lower.
func (b *bench) ingest(database string, rate, tail float64) error {
	both, err := b.pair(database)
	if err != nil {
		return err
	}
	for _, op := range b.operations() {
		if !strings.Contains(op.what, b.only) {
			continue
		}
		var got [2]sample
		var experiments [2]string
		var runs [2][]string
		for i, s := range both {
			if experiments[i], err = s.experiment(b.ctx, op.what); err != nil {
				return err
			}
			for range clients {
				run, err := s.run(b.ctx, experiments[i])
				if err != nil {
					return err
				}
				runs[i] = append(runs[i], run)
			}
		}
		before, err := both[0].cpu()
		if err != nil {
			return err
		}
		var from [2]int // requests of each client so far
		for turn := range b.rounds + 1 {
			for i, s := range both {
				n, into := [2]int{op.ours, op.theirs}[i], &got[i]
				if turn == 0 { // warms up
					n, into = max(clients, n/8), &sample{}
				}
				if err := b.settle(both[len(both)-1-i]); err != nil {
					return err
				}
				if err := b.turn(s, op, experiments[i], runs[i], from[i], n, into); err != nil {
					return err
				}
				from[i] += n / clients
			}
		}
		after, err := both[0].cpu()
		if err != nil {
			return err
		}
		say("%s: %s of processor time per request", op.what, (after-before)/time.Duration(from[0]*clients))
		b.compare(op.what+", "+label(database), &got[0], &got[1], rate, tail)
		for i, s := range both { // every request was answered 200; that the points are there is read back
			if op.keys > 0 {
				if err := b.counted(s, runs[i][0], from[i]*op.points/op.keys); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// pair starts both servers on a database; only ours with -alone.
func (b *bench) pair(database string) ([]*server, error) {
	ours, err := b.keelson(database)
	if err != nil || b.alone {
		return []*server{ours}, err
	}
	theirs, err := b.mlflow(database)
	return []*server{ours, theirs}, err
}

// counted reads the history of m0 back: all its points must be there.
func (b *bench) counted(s *server, run string, points int) error {
	c := &counter{text: perPoint}
	if _, err := s.send(b.ctx, "GET", api+"metrics/get-history?run_id="+run+"&metric_key=m0", nil, c); err != nil {
		return err
	}
	if c.n != points {
		return fmt.Errorf("%s: %d points of m0 are there, %d were acknowledged", s.name, c.n, points)
	}
	return nil
}

func label(database string) string {
	if database == "postgres" {
		return "PostgreSQL"
	}
	return "SQLite"
}

// compare adds the three rows of an operation. A limit of 0 is none.
func (b *bench) compare(what string, ours, theirs *sample, rate, tail float64) {
	if b.alone {
		b.add(row{what: what, ours: fmt.Sprintf("%.0f/s, p50 %s, p99 %s", ours.rate(), ms(ours.quantile(0.5)), ms(ours.quantile(0.99)))})
		return
	}
	r := row{what: what, ours: fmt.Sprintf("%.0f/s", ours.rate()), theirs: fmt.Sprintf("%.1f/s", theirs.rate()), ratio: fmt.Sprintf("%.1f ×", ours.rate()/theirs.rate())}
	if rate > 0 {
		r.limit, r.ok = fmt.Sprintf("≥ %g ×", rate), ours.rate() >= rate*theirs.rate()
	}
	b.add(r)
	b.add(faster(what+", p50", ours.quantile(0.5), theirs.quantile(0.5), 0))
	b.add(faster(what+", p99", ours.quantile(0.99), theirs.quantile(0.99), tail))
}

// faster is a row of two durations: ours must be times shorter.
func faster(what string, ours, theirs time.Duration, times float64) row {
	r := row{what: what, ours: ms(ours), theirs: ms(theirs), ratio: fmt.Sprintf("1/%.1f", float64(theirs)/float64(ours))}
	if times > 0 {
		r.limit, r.ok = fmt.Sprintf("≤ 1/%g", times), float64(ours)*times <= float64(theirs)
	}
	return r
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
