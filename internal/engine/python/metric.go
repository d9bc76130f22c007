package python

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"keelson/internal/problem"
	"keelson/internal/tensor"
	"keelson/internal/wasm"
)

// formatMetric is a file that defines metric(table).
const formatMetric = "metric"

// mostMetrics is how many metrics are computed at once; further ones wait.
const mostMetrics = 2

// metric gives the limits of a process that computes a metric. What comes back is bounded as a WebAssembly module's answer.
func (l Limits) metric() Limits {
	l.Answer = wasm.MaxAnswer + 1<<10 // and what the message says about it
	l.Memory, l.Disk = min(l.Memory, 512<<20), min(l.Disk, 16<<20)
	l.Call, l.CPU, l.Load = min(l.Call, 10*time.Second), min(l.CPU, 10*time.Second), min(l.Load, 20*time.Second)
	return l
}

// Compute runs the function metric(table) that source, a Python file, defines, on the table that input holds as JSON, and
// gives its answer as JSON: value, rows, and, where the function says so, left_out and why. Without input the file is only
// tried. It runs in a process of its own, isolated and limited as a model is before the file is read, with at most 512 MiB
// and 10 seconds, two at a time, and that ends with the call: nothing is left of it for the next. It has the standard library and, where
// the server has a Python of its own, the packages of that.
//
// It fails with problem.Invalid where the file or its function is at fault, with Unsupported where nothing in Python runs.
func (e *Engine) Compute(ctx context.Context, source, input []byte) (out []byte, err error) {
	if e.Envs == nil {
		return nil, problem.New(problem.Unsupported, "Python is switched off here (python_models in the configuration).")
	}
	if len(input) > wasm.MaxInput {
		return nil, problem.New(problem.TooLarge, "The rows take %d bytes, a metric gets up to %d.", len(input), wasm.MaxInput)
	}
	select {
	case e.metrics <- struct{}{}:
		defer func() { <-e.metrics }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	iso, err := e.Isolated()
	if err != nil {
		return nil, err
	}
	bin, ok := e.Envs.Ready(nil)
	if !ok {
		return nil, problem.New(problem.Unavailable, "The configured Python is not there.")
	}
	dir, err := os.MkdirTemp(e.Root, "metric-")
	if err != nil {
		return nil, problem.New(problem.Unavailable, "The metric cannot be copied to where Python reads it.").Because(err)
	}
	m := &model{engine: e, dir: dir, iso: iso, limits: e.Limits.withDefaults().metric()}
	defer func() { err = errors.Join(err, m.clean()) }()
	file := filepath.Join(dir, "model", "metric.py")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, source, 0o400)); err != nil {
		return nil, fmt.Errorf("copy a metric: %w", err)
	}
	l, err := e.plan(m, bin)
	if err != nil {
		return nil, err
	}
	c, err := e.begin(ctx, l, order{Format: formatMetric, Path: file})
	if err != nil {
		return nil, unmeasured(err)
	}
	defer func() {
		c.kill("the metric is computed")
		<-c.gone
	}()
	if input == nil {
		return nil, nil
	}
	msg, err := message(order{}, []tensor.Tensor{tensor.Strings("table", []int{1}, []string{string(input)})})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.kill("the caller went") })
	defer stop()
	a, got, err := c.exchange(msg, m.limits.Call, fmt.Sprintf("it took longer than %s", m.limits.Call))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, unmeasured(err)
	case a.Error != nil:
		return nil, problem.New(problem.Invalid, "%s", sentence(a.Error.Text))
	case len(got) != 1 || len(got[0].S) != 1:
		return nil, problem.New(problem.Invalid, "The metric's process answers what is no answer.")
	}
	return []byte(got[0].S[0]), nil
}

// unmeasured says why a process that computes a metric ended.
func unmeasured(err error) error {
	var c *crash
	if errors.As(err, &c) {
		return problem.New(problem.Invalid, "The process that computes the metric ended: %s.", c.why).Because(err)
	}
	return err
}
