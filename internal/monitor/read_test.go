package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db/dbtest"
	"keelson/internal/prediction"
	"keelson/internal/tensor"
)

// BenchmarkLook reads calls of one row of 20 numbers, which are not filed yet, closes windows of the default size, and
// gives the time per call.
func BenchmarkLook(b *testing.B) {
	const calls, width = 8000, 20
	quiet := slog.New(slog.DiscardHandler)
	log, err := prediction.OpenLog(prediction.Options{Dir: b.TempDir(), Node: "n1", Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	d := dbtest.SQLite(b)
	ctx := caller.With(context.Background(), caller.Caller{ID: "u", Name: "mia", Kind: caller.Person, Roles: []string{"ml-engineer"}})
	s := &Service{DB: d, Log: quiet, Now: time.Now, Calls: &Predictions{Service: &prediction.Service{DB: d, Blobs: blobtest.Dir(b), Log: log, Logger: quiet, Now: time.Now}}}
	if err := s.EnsureFor(ctx, "m.prod", "m", dataset.Ref{}, 1); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]prediction.Record, calls)
	send := func() {
		for i := range list {
			x := make([]float32, width)
			for k := range x {
				x[k] = float32(rng.NormFloat64())
			}
			list[i] = prediction.Record{Workspace: "default", Endpoint: "m.prod", Model: "m", Version: 1, Environment: "prod", Slot: prediction.SlotLive, Caller: "admin", Application: "desk",
				Request: fmt.Sprint(i), Rows: 1, Latency: 60 * time.Microsecond, Compute: time.Microsecond, Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
				Inputs:  []tensor.Tensor{tensor.FP32s("input", []int{1, width}, x)},
				Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{1, 1}, []float32{x[0]})}}
		}
		if err := log.AppendAll(ctx, list); err != nil {
			b.Fatal(err)
		}
	}
	send() // the baseline
	if err := s.Tick(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		send()
		b.StartTimer()
		if err := s.Tick(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*calls), "ns/call")
}
