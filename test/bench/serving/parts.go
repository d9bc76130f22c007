package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/xgboost"
	"keelson/internal/tensor"
)

const clients = 8

func us(v float64) string { return fmt.Sprintf("%.0f µs", v) }

func (b *bench) add(what, ours, peer, got, limit string, ok bool) {
	b.rows = append(b.rows, row{what, ours, peer, got, limit, ok})
	fmt.Fprintf(os.Stderr, "%s: %s, %s: %s (%s)\n", what, ours, peer, got, limit)
}

// atLeast is a ratio of peer to ours.
func (b *bench) atLeast(what, ours, peer string, ratio, limit float64) {
	b.add(what, ours, peer, fmt.Sprintf("%.1f ×", ratio), fmt.Sprintf("≥ %g ×", limit), ratio >= limit)
}

func (b *bench) oneRow() error {
	for _, m := range []string{"xgboost", "logistic"} {
		payload := body(m, 1)
		times, err := b.inTurns(
			func() (time.Duration, error) { return b.ours.ask(m, payload) },
			func() (time.Duration, error) { return b.peer.ask(m, payload) },
			func() (time.Duration, error) { return b.floor.ask(m, payload) })
		if err != nil {
			return err
		}
		ours, peer, floor := p(times[0], .5), p(times[1], .5), p(times[2], .5)
		b.atLeast("one row, "+m+", one client, p50", us(ours), us(peer), peer/ours, 10)
		b.add("one row, "+m+", against the echo floor", us(ours), "", fmt.Sprintf("%.2f × of %s", ours/floor, us(floor)), "≤ 2 ×", ours/floor <= 2)
	}
	return nil
}

func (b *bench) throughput() error {
	for _, m := range []string{"xgboost", "logistic"} {
		payload := body(m, 1)
		r, err := b.rates(clients,
			func() (time.Duration, error) { return b.ours.ask(m, payload) },
			func() (time.Duration, error) { return b.peer.ask(m, payload) })
		if err != nil {
			return err
		}
		b.atLeast("one row, "+m+", 8 clients, throughput", fmt.Sprintf("%.0f/s", r[0]), fmt.Sprintf("%.0f/s", r[1]), r[0]/r[1], 15)
	}
	return nil
}

func (b *bench) manyRows() error {
	for m, limit := range map[string]float64{"xgboost": 2.5, "logistic": 4} {
		payload := body(m, 64)
		times, err := b.inTurns(
			func() (time.Duration, error) { return b.ours.ask(m, payload) },
			func() (time.Duration, error) { return b.peer.ask(m, payload) })
		if err != nil {
			return err
		}
		ours, peer := p(times[0], .5), p(times[1], .5)
		b.atLeast("64 rows of JSON, "+m+", p50", us(ours), us(peer), peer/ours, limit)
	}
	return nil
}

func (b *bench) overGRPC() error {
	for _, m := range []string{"xgboost", "logistic"} {
		mine, theirs := b.ours.message(m, 64), b.peer.message(m, 64)
		times, err := b.inTurns(
			func() (time.Duration, error) { return b.ours.askRaw(b.ctx, mine) },
			func() (time.Duration, error) { return b.peer.askRaw(b.ctx, theirs) })
		if err != nil {
			return err
		}
		ours, peer := p(times[0], .5), p(times[1], .5)
		b.atLeast("64 rows raw over gRPC, "+m+", p50", us(ours), us(peer), peer/ours, 4)
	}
	return nil
}

// halfLoad sends half of what the server can answer at evenly spaced moments and looks at the slowest percent. Client and
// server share the machine's cores, so the bare echo gets the same load in turns: what its slowest percent takes is the
// machine's and the load program's.
func (b *bench) halfLoad() error {
	payload := body("xgboost", 1)
	rates, err := b.rates(clients, func() (time.Duration, error) { return b.ours.ask("xgboost", payload) })
	if err != nil {
		return err
	}
	most := rates[0]
	var peer float64
	if b.peer != nil {
		times, err := b.inTurns(func() (time.Duration, error) { return b.peer.ask("xgboost", payload) })
		if err != nil {
			return err
		}
		peer = p(times[0], .5)
	}
	sides := []struct {
		of    *side
		model string
	}{{b.ours, "xgboost"}, {b.quiet, "unlogged"}, {b.floor, "xgboost"}}
	all := make([][]float64, len(sides))
	for range b.turns {
		for k, at := range sides {
			times, err := paced(most/2, b.long, func() (*plain, error) { return at.of.plain(at.model, payload) })
			if err != nil {
				return err
			}
			slices.Sort(times)
			all[k] = append(all[k], p(times, .99))
		}
	}
	slow := make([]float64, len(sides))
	for k := range all { // the turn in the middle: one in which the machine stood still does not count for all
		slices.Sort(all[k])
		slow[k] = p(all[k], .5)
	}
	b.add(fmt.Sprintf("p99 at half of our maximum (%.0f/s) against the peer's p50; unlogged %s, the echo floor %s", most/2, us(slow[1]), us(slow[2])),
		us(slow[0]), us(peer), fmt.Sprintf("%.2f ×", slow[0]/peer), "≤ 1 ×", slow[0] <= peer)
	return nil
}

// paced makes calls at evenly spaced moments for as long as said, perSecond of all clients together, and gives their times
// in microseconds, each from when the call was due, so that waiting is not left out. The moments are the kernel's: Go's own
// timers wake a process that has nothing else to do at whole milliseconds, and what was due in between is then sent at once.
func paced(perSecond float64, long time.Duration, client func() (*plain, error)) ([]float64, error) {
	every := time.Duration(float64(time.Second) * clients / perSecond)
	n := int(long / every)
	var mu sync.Mutex
	var all []float64
	var failed error
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			times, err := regularly(n, every*time.Duration(c)/clients, every, client)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			failed = cmp.Or(failed, err)
		})
	}
	wg.Wait()
	return all, failed
}

// regularly makes n calls, the first in a moment, then one every so often.
func regularly(n int, first, every time.Duration, client func() (*plain, error)) ([]float64, error) {
	c, err := client()
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	r, err := newRhythm(first, every)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	due := time.Now().Add(first)
	times := make([]float64, 0, n)
	for len(times) < n {
		waiting, err := r.wait()
		if err != nil {
			return nil, err
		}
		for ; waiting > 0 && len(times) < n; waiting-- {
			if err := c.ask(); err != nil {
				return nil, err
			}
			times = append(times, float64(time.Since(due).Nanoseconds())/1000)
			due = due.Add(every)
		}
	}
	return times, nil
}

func (b *bench) logging() error {
	payload := body("xgboost", 1)
	r, err := b.rates(clients,
		func() (time.Duration, error) { return b.ours.ask("xgboost", payload) },
		func() (time.Duration, error) { return b.quiet.ask("unlogged", payload) })
	if err != nil {
		return err
	}
	cost := 100 * (1 - r[0]/r[1])
	b.add("throughput that the prediction log costs, 8 clients", fmt.Sprintf("%.0f/s", r[0]), fmt.Sprintf("unlogged %.0f/s", r[1]), fmt.Sprintf("%.1f %%", cost), "≤ 10 %", cost <= 10)
	return nil
}

// inProcess compares our evaluator with libxgboost on 1,024 rows and the same cores, both without any server.
func (b *bench) inProcess() error {
	cores := strconv.Itoa(2)
	cmd := exec.CommandContext(b.ctx, b.python, script("library.py"), filepath.Join(b.dir, "xgboost.json"), cores)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { in.Close(); cmd.Wait() }()
	model, err := (xgboost.Engine{}).Load(context.Background(), os.DirFS(b.dir), "xgboost.json", engine.Limits{})
	if err != nil {
		return err
	}
	defer model.Close()
	rows := []tensor.Tensor{tensor.FP32s("input", []int{1024, width}, values(1024))}
	lines := bufio.NewScanner(out)
	var ours, theirs []float64
	for range b.turns {
		if _, err := fmt.Fprintln(in, "go"); err != nil {
			return err
		}
		if !lines.Scan() {
			return fmt.Errorf("library.py ended: %w", lines.Err())
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(lines.Text()), 64)
		if err != nil {
			return err
		}
		theirs = append(theirs, v)
		var times []float64
		for range 30 {
			began := time.Now()
			if _, err := model.Predict(b.ctx, rows); err != nil {
				return err
			}
			times = append(times, float64(time.Since(began).Nanoseconds())/1000)
		}
		slices.Sort(times)
		ours = append(ours, p(times, .5))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	o, t := p(ours, .5), p(theirs, .5)
	b.add("1,024 rows of XGBoost in process, against libxgboost on 2 cores", us(o), "libxgboost "+us(t), fmt.Sprintf("%.2f ×", o/t), "≤ 1.5 ×", o/t <= 1.5)
	return nil
}
