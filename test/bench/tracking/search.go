package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// question is one search.
type question struct {
	what, filter string
	order        []string
	page         int
}

var questions = []question{
	{"search: filter by metric and parameter, ordered by a metric", "metrics.acc > 0.5 and params.depth = '3'", []string{"metrics.acc DESC"}, 100},
	{"search: filter by tag, ordered by a parameter", "tags.team LIKE 'team-1%'", []string{"params.lr ASC", "metrics.loss ASC"}, 100},
	{"search: filter by name and status", "attributes.status = 'FINISHED' and attributes.run_name LIKE 'run-12%'", []string{"start_time DESC"}, 100},
	{"search: page of 1,000 ordered by a metric", "", []string{"metrics.loss ASC"}, 1000},
}

func (q question) body(experiment string) []byte {
	b, _ := json.Marshal(map[string]any{"experiment_ids": []string{experiment}, "filter": q.filter, "order_by": q.order, "max_results": q.page})
	return b
}

// found is what of an answer both servers must agree on.
type found struct {
	Runs []struct {
		Info struct {
			Name string `json:"run_name"`
		}
		Data struct{ Metrics, Params, Tags []struct{ Key string } }
	}
}

func (b *bench) search() error {
	ours, err := b.keelson("sqlite")
	if err != nil {
		return err
	}
	theirs, err := b.mlflow("sqlite")
	if err != nil {
		return err
	}
	few, many := b.scaled(5000, 1000), b.scaled(100_000, 20_000)
	experiment, err := b.seed(ours, "runs", few)
	if err != nil {
		return err
	}
	script, err := filepath.Abs(filepath.Join("test", "bench", "tracking", "seed.py"))
	if err != nil {
		return err
	}
	peer, err := theirs.experiment(b.ctx, "runs")
	if err != nil {
		return err
	}
	say("writing %d runs into MLflow's database", few)
	if out, err := exec.CommandContext(b.ctx, b.python, script, theirs.store, peer, strconv.Itoa(few)).CombinedOutput(); err != nil {
		return fmt.Errorf("seed: %w: %s", err, out)
	}
	for _, q := range questions {
		var samples [2]sample
		var answers [2]found
		for turn := range b.rounds + 1 {
			for k, s := range [2]*server{ours, theirs} {
				s.http.CloseIdleConnections() // the server may be about to close them
				if err := b.settle([2]*server{theirs, ours}[k]); err != nil {
					return err
				}
				body, n := q.body([2]string{experiment, peer}[k]), [2]int{b.scaled(20, 10), b.scaled(6, 3)}[k]
				for range n {
					var out bytes.Buffer
					took, err := s.send(b.ctx, "POST", api+"runs/search", body, &out)
					if err != nil {
						return err
					}
					if turn == 0 { // warms up, and is compared
						answers[k] = found{}
						if err := json.Unmarshal(out.Bytes(), &answers[k]); err != nil {
							return err
						}
						continue
					}
					samples[k].took = append(samples[k].took, took)
				}
			}
		}
		if err := alike(answers[0], answers[1]); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
		b.add(faster(fmt.Sprintf("%s, %d runs, p50", q.what, few), samples[0].quantile(0.5), samples[1].quantile(0.5), 20))
	}
	big, err := b.seed(ours, "many runs", many)
	if err != nil {
		return err
	}
	for _, q := range questions {
		var small, large sample
		first, err := b.warm(ours, q.body(big))
		if err != nil {
			return err
		}
		if _, err := b.warm(ours, q.body(experiment)); err != nil {
			return err
		}
		b.add(row{what: fmt.Sprintf("%s, %d runs, asked for the first time", q.what, many), ours: ms(first)})
		for turn := range b.rounds + 1 {
			for _, c := range []struct {
				experiment string
				into       *sample
			}{{experiment, &small}, {big, &large}} {
				for range b.scaled(10, 5) {
					took, err := ours.send(b.ctx, "POST", api+"runs/search", q.body(c.experiment), io.Discard)
					if err != nil {
						return err
					}
					if turn > 0 {
						c.into.took = append(c.into.took, took)
					}
				}
			}
		}
		s, l := small.quantile(0.5), large.quantile(0.5)
		b.add(row{what: fmt.Sprintf("%s, %d runs against %d, p50", q.what, many, few), ours: ms(l) + " against " + ms(s),
			ratio: fmt.Sprintf("%.2f ×", float64(l)/float64(s)), limit: "≤ 2 ×", ok: l <= 2*s})
	}
	return nil
}

// warm asks a question until the server has at rest what it keeps in memory for it, and gives what the first answer took.
func (b *bench) warm(s *server, body []byte) (first time.Duration, err error) {
	for i := range 3 {
		took, err := s.send(b.ctx, "POST", api+"runs/search", body, io.Discard)
		if err != nil {
			return 0, err
		}
		if i == 0 {
			first = took
		}
	}
	return first, b.settle(s)
}

func alike(a, b found) error {
	if len(a.Runs) != len(b.Runs) {
		return fmt.Errorf("we found %d runs, MLflow %d", len(a.Runs), len(b.Runs))
	}
	for i := range a.Runs {
		x, y := a.Runs[i], b.Runs[i]
		if x.Info.Name != y.Info.Name || len(x.Data.Metrics) != len(y.Data.Metrics) || len(x.Data.Params) != len(y.Data.Params) || len(x.Data.Tags) != len(y.Data.Tags) {
			return fmt.Errorf("place %d: we found %s with %d metrics, %d parameters, %d tags; MLflow %s with %d, %d, %d", i, x.Info.Name, len(x.Data.Metrics), len(x.Data.Params),
				len(x.Data.Tags), y.Info.Name, len(y.Data.Metrics), len(y.Data.Params), len(y.Data.Tags))
		}
	}
	return nil
}

// seed writes runs through the API. seed.py writes the same ones into MLflow's database: run i has these values.
func (b *bench) seed(s *server, name string, n int) (string, error) {
	say("logging %d runs to %s", n, s.name)
	experiment, err := s.experiment(b.ctx, name)
	if err != nil {
		return "", err
	}
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for c := range clients {
		wg.Go(func() {
			for i := c; i < n && errs[c] == nil; i += clients {
				errs[c] = b.seedRun(s, experiment, i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	return experiment, nil
}

const seedTime = 1_750_000_000_000 // milliseconds; run i starts i seconds later

func (b *bench) seedRun(s *server, experiment string, i int) error {
	var out struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			}
		}
	}
	tags := []map[string]string{{"key": "team", "value": fmt.Sprintf("team-%d", i%17)}, {"key": "mlflow.user", "value": "ada"}}
	if err := s.call(b.ctx, "POST", api+"runs/create", map[string]any{"experiment_id": experiment, "run_name": fmt.Sprintf("run-%d", i), "start_time": seedTime + i*1000, "tags": tags}, &out); err != nil {
		return err
	}
	id := out.Run.Info.ID
	acc := float64(i*7919%1_000_003) / 1_000_003
	metric := func(key string, v float64) map[string]any {
		return map[string]any{"key": key, "value": v, "timestamp": seedTime + i*1000 + 500, "step": 10}
	}
	if err := s.call(b.ctx, "POST", api+"runs/log-batch", map[string]any{"run_id": id,
		"metrics": []any{metric("acc", acc), metric("loss", 1-acc), metric("time", float64(i%97))},
		"params":  []any{map[string]string{"key": "depth", "value": strconv.Itoa(i % 10)}, map[string]string{"key": "lr", "value": fmt.Sprintf("0.%02d", i%31)}, map[string]string{"key": "model", "value": "xgb"}}}, nil); err != nil {
		return err
	}
	return s.call(b.ctx, "POST", api+"runs/update", map[string]any{"run_id": id, "status": "FINISHED", "end_time": seedTime + i*1000 + 900}, nil)
}
