package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// writers lets 200 clients log for a minute on each database, one run each, and reads every point back.
func (b *bench) writers() error {
	for _, database := range []string{"sqlite", "postgres"} {
		s, err := b.keelson(database)
		if err != nil {
			return err
		}
		if err := b.write(s, database); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) write(s *server, database string) error {
	const count = 200
	lasts := time.Duration(b.scaled(60, 10)) * time.Second
	experiment, err := s.experiment(b.ctx, "writers")
	if err != nil {
		return err
	}
	runs := make([]string, count)
	for i := range runs {
		if runs[i], err = s.run(b.ctx, experiment); err != nil {
			return err
		}
	}
	const keys = 10
	var failed atomic.Int64
	var firstError atomic.Value
	sent := make([]int, count) // batches that were acknowledged
	took := make([][]time.Duration, count)
	body := batches(keys, 1)
	end := time.Now().Add(lasts)
	var wg sync.WaitGroup
	for c := range count {
		wg.Go(func() {
			for time.Now().Before(end) && b.ctx.Err() == nil {
				d, err := s.send(b.ctx, "POST", api+"runs/log-batch", body("", runs[c], c, sent[c]), io.Discard)
				if err != nil {
					failed.Add(1)
					firstError.CompareAndSwap(nil, err.Error())
					continue
				}
				sent[c]++
				took[c] = append(took[c], d)
			}
		})
	}
	wg.Wait()
	all := sample{all: lasts}
	total, lost := 0, 0
	for c, run := range runs {
		all.took = append(all.took, took[c]...)
		for k := range keys {
			n := &counter{text: perPoint}
			if _, err := s.send(b.ctx, "GET", fmt.Sprintf("%smetrics/get-history?run_id=%s&metric_key=m%d", api, run, k), nil, n); err != nil {
				return err
			}
			total += sent[c]
			lost += sent[c] - n.n
		}
	}
	first, _ := firstError.Load().(string)
	if first != "" {
		say("first error: %s", first)
	}
	b.add(row{what: fmt.Sprintf("200 writers for %s, %s: errors, lost points", lasts, label(database)),
		ours:  fmt.Sprintf("%d errors, %d of %d points lost; %.0f batches/s of 10, p99 %s", failed.Load(), lost, total, all.rate(), ms(all.quantile(0.99))),
		limit: "0, 0", ok: failed.Load() == 0 && lost == 0 && total > 0})
	return nil
}
