package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// counter counts how often a text occurs in what is written to it; the text may lie across two writes.
type counter struct {
	text []byte
	n    int
	rest []byte
}

func (c *counter) Write(p []byte) (int, error) {
	b := append(c.rest, p...)
	c.n += bytes.Count(b, c.text)
	keep := min(len(b), len(c.text)-1)
	c.rest = append(c.rest[:0:0], b[len(b)-keep:]...)
	return len(p), nil
}

var perPoint = []byte(`"timestamp"`)

// log writes points of one key, "m0", in batches of 1,000.
func (b *bench) log(s *server, run string, points int) error {
	body := batches(1, 1000)
	for i := range points / 1000 {
		if _, err := s.send(b.ctx, "POST", api+"runs/log-batch", body("", run, 0, i), io.Discard); err != nil {
			return err
		}
	}
	return nil
}

// history reads 10,000 points of one metric from both.
func (b *bench) history() error {
	ours, err := b.keelson("sqlite")
	if err != nil {
		return err
	}
	theirs, err := b.mlflow("sqlite")
	if err != nil {
		return err
	}
	const points = 10_000
	var got [2]sample
	var runs [2]string
	for i, s := range [2]*server{ours, theirs} {
		experiment, err := s.experiment(b.ctx, "history")
		if err != nil {
			return err
		}
		if runs[i], err = s.run(b.ctx, experiment); err != nil {
			return err
		}
		if err := b.log(s, runs[i], points); err != nil {
			return err
		}
	}
	for turn := range b.rounds + 1 {
		for i, s := range [2]*server{ours, theirs} {
			for range [2]int{b.scaled(20, 10), b.scaled(6, 3)}[i] {
				c := &counter{text: perPoint}
				took, err := s.send(b.ctx, "GET", api+"metrics/get-history?run_id="+runs[i]+"&metric_key=m0", nil, c)
				if err != nil {
					return err
				}
				if c.n != points {
					return fmt.Errorf("%s answers %d of %d points", s.name, c.n, points)
				}
				if turn > 0 {
					got[i].took = append(got[i].took, took)
				}
			}
		}
	}
	b.add(faster("history of 10,000 points, p50", got[0].quantile(0.5), got[1].quantile(0.5), 10))
	return nil
}

// million logs 1,000,000 points of one metric to ours and reads them back: in one answer, in pages, sampled. The limit is
// on the growth of resident memory against the same with a tenth of the points.
func (b *bench) million() error {
	// Under load the collector leaves 64 MiB of garbage, which says nothing of what is needed: here it must keep to a limit.
	s, err := b.keelson("sqlite", "GOMEMLIMIT=32MiB")
	if err != nil {
		return err
	}
	experiment, err := s.experiment(b.ctx, "million")
	if err != nil {
		return err
	}
	all := b.scaled(1_000_000, 200_000)
	peaks := map[string]float64{}
	constant := func(what string, took time.Duration, peak float64) {
		r := row{what: what, ours: fmt.Sprintf("%s, resident memory at most %.0f MiB", took.Round(time.Millisecond), peak)}
		kind, _, _ := strings.Cut(strings.TrimLeft(what, "0123456789 "), " in ")
		if few, ok := peaks[kind]; ok {
			r.ratio, r.limit, r.ok = fmt.Sprintf("%+.0f MiB for ten times the points", peak-few), "≤ 32 MiB more", peak-few <= 32
		}
		peaks[kind] = peak
		b.add(r)
	}
	for _, points := range []int{all / 10, all} {
		run, err := s.run(b.ctx, experiment)
		if err != nil {
			return err
		}
		if err := b.log(s, run, points); err != nil {
			return err
		}
		if err := s.call(b.ctx, "POST", api+"runs/update", map[string]any{"run_id": run, "status": "FINISHED"}, nil); err != nil {
			return err
		}
		path := api + "metrics/get-history?run_id=" + run + "&metric_key=m0"
		c := &counter{text: perPoint}
		began := time.Now()
		peak, err := s.peak(func() error { _, err := s.send(b.ctx, "GET", path, nil, c); return err })
		if err != nil {
			return err
		}
		took := time.Since(began)
		if c.n != points {
			return fmt.Errorf("%d of %d points came back", c.n, points)
		}
		constant(fmt.Sprintf("%d points of one metric in one answer", points), took, peak)
		n, pages, token := 0, 0, ""
		began = time.Now()
		peak, err = s.peak(func() error {
			for {
				var page struct {
					Metrics []struct{ Step int64 }
					Next    string `json:"next_page_token"`
				}
				if err := s.call(b.ctx, "GET", path+"&max_results=25000&page_token="+token, nil, &page); err != nil {
					return err
				}
				n, pages = n+len(page.Metrics), pages+1
				if token = page.Next; token == "" {
					return nil
				}
			}
		})
		if err != nil {
			return err
		}
		if n != points {
			return fmt.Errorf("pages held %d of %d points", n, points)
		}
		constant(fmt.Sprintf("the same in %d pages of 25,000", pages), time.Since(began), peak)
		c = &counter{text: perPoint}
		took, err = s.send(b.ctx, "GET", api+"metrics/get-history-bulk-interval?run_ids="+run+"&metric_key=m0&max_results=1000", nil, c)
		if err != nil {
			return err
		}
		b.add(row{what: fmt.Sprintf("%d points sampled to %d", points, c.n), ours: ms(took)})
	}
	return nil
}
