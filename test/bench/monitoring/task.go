package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"keelson/internal/alert"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/engine/xgboost"
	"keelson/internal/estimate"
	"keelson/internal/explain"
	"keelson/internal/fairness"
	"keelson/internal/monitor"
	"keelson/internal/prediction"
	"keelson/internal/profile"
	"keelson/internal/tensor"
)

const (
	features = 20
	// budget is how many numbers of a column are kept exactly: 32 MB a side, and 8 MB for their buckets.
	budget = 4 << 20
)

// ownTask is one of our tasks.
func ownTask(name string, args []string) error {
	dir, args := args[0], args[1:]
	debug.SetGCPercent(50)
	switch name {
	case "drift":
		return driftTask(filepath.Join(dir, args[0]), filepath.Join(dir, args[1]))
	case "cbpe", "groups":
		return scoredTask(name, filepath.Join(dir, args[0]))
	case "contribs", "interventional", "kernel":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return explainTask(name, dir, n)
	case "fleet":
		seconds, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return fleetTask(dir, seconds, args[1] == "watch")
	}
	return fmt.Errorf("there is no task %s", name)
}

// reader hands out the columns of a Parquet file one after the other.
type reader struct {
	columns chan *profile.Gathered
	back    chan *profile.Gathered
	failed  error
}

// read scans a file in another goroutine, one column ahead at most; a column is given back before the next is read, so that
// one side holds one column.
func read(path string) *reader {
	r := &reader{columns: make(chan *profile.Gathered), back: make(chan *profile.Gathered, 1)}
	r.back <- profile.Gather("", "", budget)
	go func() {
		defer close(r.columns)
		f, err := os.Open(path)
		if err != nil {
			r.failed = err
			return
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			r.failed = err
			return
		}
		var fields []dataset.Field
		var g *profile.Gathered
		at := -1
		take := func(column int) *profile.Gathered {
			if column != at {
				if g != nil {
					r.columns <- g
				}
				g, at = <-r.back, column
				kind := profile.Number
				if fields[column].Type == dataset.String {
					kind = profile.Word
				}
				g.Reset(fields[column].Name, kind)
			}
			return g
		}
		_, r.failed = dataset.ScanColumns(context.Background(), f, st.Size(), "parquet", nil, dataset.Limits{}, func(all []dataset.Field) error { fields = all; return nil }, dataset.Sink{
			Cell: func(column int, number float64, word []byte) error {
				if g := take(column); g.Kind == profile.Word {
					g.AddWord(word)
				} else {
					g.Add(number)
				}
				return nil
			},
			Numbers: func(column int, values []float64) error { take(column).AddAll(values); return nil },
			Words:   func(column int, word []byte, count int64) error { take(column).AddWords(word, count); return nil },
		})
		if r.failed == nil && g != nil {
			r.columns <- g
		}
	}()
	return r
}

func driftTask(reference, current string) error {
	a, b := read(reference), read(current)
	n := 0
	for ref := range a.columns {
		cur, ok := <-b.columns
		if !ok {
			return fmt.Errorf("the files have different columns: %w", b.failed)
		}
		m := profile.Compare(ref, cur)
		if m.PSI == nil || m.JS == nil || (m.KS == nil) == (m.V == nil) {
			return fmt.Errorf("%s: %s", m.Name, m.Why)
		}
		n++
		a.back <- ref
		b.back <- cur
	}
	if a.failed != nil || n != 20 {
		return fmt.Errorf("%d columns: %w", n, a.failed)
	}
	return nil
}

func scoredTask(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	numbers, words := map[string][]float64{}, map[string][]string{}
	known := map[string]string{}
	var fields []dataset.Field
	_, err = dataset.ScanFile(context.Background(), f, st.Size(), "parquet", nil, dataset.Limits{}, func(all []dataset.Field) error { fields = all; return nil }, func(column int, v float64, w []byte) error {
		c := fields[column].Name
		if w == nil {
			numbers[c] = append(numbers[c], v)
			return nil
		}
		s, ok := known[string(w)]
		if !ok {
			s = string(w)
			known[s] = s
		}
		words[c] = append(words[c], s)
		return nil
	})
	if err != nil {
		return err
	}
	n := len(numbers["score"])
	predicted, truth := make([]bool, n), make([]bool, n)
	for i := range n {
		predicted[i], truth[i] = numbers["y_pred"][i] == 1, numbers["y_true"][i] == 1
	}
	if name == "groups" {
		for _, by := range [][]string{{"a"}, {"b", "c"}} {
			var attributes []fairness.Attribute
			for _, c := range by {
				attributes = append(attributes, fairness.Attribute{Name: c, Values: words[c]})
			}
			t, err := fairness.New(truth, predicted, 0, attributes...)
			if err != nil {
				return err
			}
			for _, g := range t.Groups {
				if !g.SelectionRate().OK() || !g.TPR().OK() || !g.FPR().OK() || !g.Confusion.Accuracy().OK() || !g.Confusion.Precision().OK() {
					return fmt.Errorf("the group %s is undefined", g.Name())
				}
			}
		}
		return nil
	}
	half := n / 2
	c, err := estimate.Fit(numbers["score"][:half], predicted[:half], truth[:half])
	if err != nil {
		return err
	}
	for k := range 20 {
		from, to := half+k*half/20, half+(k+1)*half/20
		if _, err := c.Estimate(numbers["score"][from:to], predicted[from:to]); err != nil {
			return err
		}
	}
	return nil
}

func explainTask(name, dir string, n int) error {
	raw, err := os.ReadFile(filepath.Join(dir, "rows.f32"))
	if err != nil {
		return err
	}
	single := make([]float32, len(raw)/4)
	rows := make([]float64, len(single))
	for i := range single {
		single[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		rows[i] = float64(single[i])
	}
	background := rows[10_000*features : 10_100*features]
	if name == "interventional" {
		text, err := os.ReadFile(filepath.Join(dir, "trees.json"))
		if err != nil {
			return err
		}
		var doc struct {
			Base  float64
			Trees []explain.Tree
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			return err
		}
		for i := range doc.Trees {
			doc.Trees[i].Weight = 1
		}
		e, err := explain.New(explain.Shape{Features: features, Groups: 1, Base: []float64{doc.Base}, Single: true}, doc.Trees)
		if err != nil {
			return err
		}
		_, err = e.Interventional(rows[:n*features], background)
		return err
	}
	ctx := context.Background()
	m, err := xgboost.Engine{}.Load(ctx, os.DirFS(dir), "model.ubj", engine.Limits{})
	if err != nil {
		return err
	}
	defer m.Close()
	if name == "contribs" {
		_, err := m.(engine.Explainer).Explain(ctx, []tensor.Tensor{tensor.FP32s(xgboost.Input, []int{n, features}, single[:n*features])})
		return err
	}
	predict := func(x []float64) ([]float64, error) {
		in := make([]float32, len(x))
		for i, v := range x {
			in[i] = float32(v)
		}
		out, err := m.Predict(ctx, []tensor.Tensor{tensor.FP32s(xgboost.Input, []int{len(x) / features, features}, in)})
		if err != nil {
			return nil, err
		}
		y := make([]float64, len(x)/features)
		for i := range y {
			y[i] = out[0].Float64(i)
		}
		return y, nil
	}
	for r := range n {
		if _, err := explain.Kernel(predict, rows[r*features:(r+1)*features], background, explain.Sampling{Coalitions: 2088}); err != nil {
			return err
		}
	}
	return nil
}

// fleetTask logs 1,000 predictions a second of 200 models with 50 columns each over SQLite, with or without the monitor and
// the alerts about failing and slow calls.
func fleetTask(dir string, seconds int, watch bool) error {
	const models, columns, rate = 200, 50, 1000
	dir, err := os.MkdirTemp(dir, "fleet-")
	if err != nil {
		return err
	}
	ctx := caller.System(context.Background(), "bench")
	log := slog.New(slog.DiscardHandler)
	d, err := db.Open(ctx, "sqlite://"+filepath.Join(dir, "keelson.db"))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		return err
	}
	blobs, err := blob.OpenDir(filepath.Join(dir, "blobs"))
	if err != nil {
		return err
	}
	segments, err := prediction.OpenLog(prediction.Options{Dir: filepath.Join(dir, "segments"), Node: "n1", Logger: log, Now: time.Now})
	if err != nil {
		return err
	}
	defer segments.Close()
	calls := &prediction.Service{DB: d, Blobs: blobs, Log: segments, Logger: log, Now: time.Now}
	data := &dataset.Service{DB: d, Blobs: blobs, Log: log, Now: time.Now, TempDir: dir}
	service := &monitor.Service{DB: d, Log: log, Now: time.Now, Calls: &monitor.Predictions{Service: calls}, Data: data, Pause: 5 * time.Second}
	for i := range models {
		if _, err := service.Put(ctx, fmt.Sprintf("model-%d", i), monitor.Change{Window: &monitor.Window{Rows: 200}}); err != nil {
			return err
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	begun := time.Now()
	stop := make(chan struct{})
	ended := make(chan error, 2)
	go func() { ended <- calls.Run(withStop(ctx, stop)) }()
	if watch {
		alerts := &alert.Service{DB: d, Log: log, Now: time.Now, Windows: service, Calls: segments}
		go func() {
			minute := begun.Truncate(time.Minute)
			for {
				select {
				case <-stop:
					ended <- errors.Join(service.Tick(ctx), alerts.Operate(ctx))
					return
				case <-time.After(time.Second):
					err := service.Tick(ctx)
					if now := time.Now().Truncate(time.Minute); now.After(minute) { // as the job does
						minute, err = now, errors.Join(err, alerts.Operate(ctx))
					}
					if err != nil {
						ended <- err
						return
					}
				}
			}
		}()
	} else {
		ended <- nil
	}
	const step = 20 // batches a second
	x := make([]float32, columns)
	for batch := range seconds * step {
		var list []prediction.Record
		for range rate / step {
			for k := range x {
				x[k] = float32(rng.NormFloat64())
			}
			name := fmt.Sprintf("model-%d", rng.IntN(models))
			list = append(list, prediction.Record{Latency: time.Duration(rng.IntN(5_000_000)), Workspace: caller.Workspace(ctx), Endpoint: name, Model: name, Version: 1, Slot: prediction.SlotLive, Rows: 1,
				Inputs:  []tensor.Tensor{tensor.FP32s("input", []int{1, columns}, append([]float32(nil), x...))},
				Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{1, 1}, []float32{rng.Float32()})}})
		}
		if err := segments.AppendAll(ctx, list); err != nil {
			return err
		}
		if wait := begun.Add(time.Duration(batch+1) * time.Second / step); time.Until(wait) > 0 {
			<-time.After(time.Until(wait))
		}
	}
	close(stop)
	for range 2 {
		if err := <-ended; err != nil && ctx.Err() == nil && err != context.Canceled {
			return err
		}
	}
	return nil
}

func withStop(ctx context.Context, stop chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() { <-stop; cancel() }()
	return ctx
}
