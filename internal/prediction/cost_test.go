package prediction

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
	"keelson/internal/tensor"
)

// single is a call as most are: one row of 20 numbers and one answer.
func single(rng *rand.Rand, i int) Record {
	x := make([]float32, 20)
	for k := range x {
		x[k] = float32(rng.NormFloat64())
	}
	return Record{Workspace: "default", Endpoint: "m.prod", Model: "m", Version: 1, Environment: "prod", Slot: SlotLive, Caller: "admin", Application: "desk",
		Request: fmt.Sprint(i), Rows: 1, Latency: 60 * time.Microsecond, Compute: time.Microsecond, Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
		Inputs:  []tensor.Tensor{tensor.FP32s("input", []int{1, 20}, x)},
		Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{1, 1}, []float32{x[0]})}}
}

func TestReadingIntoOneRecordGivesWhatEachIsByItself(t *testing.T) {
	ctx := t.Context()
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	rng := rand.New(rand.NewPCG(1, 2))
	var want []Record
	for i := range 300 {
		r := single(rng, i)
		switch i % 7 {
		case 1:
			r = record("m.prod", i)
		case 2:
			r.Outputs, r.Error = nil, "It broke."
		case 3:
			r.Inputs = []tensor.Tensor{tensor.FP64s("input", []int{1, 3}, []float64{1, float64(i), 3})}
			r.Redacted = []byte(`{"columns":["age"]}`)
		case 4:
			r.Inputs = nil
		}
		if err := l.Append(ctx, &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r)
	}
	check := func() {
		t.Helper()
		i, ids := 0, make([]string, 0, len(want))
		if err := s.Each(ctx, Query{Endpoint: "m.prod"}, func(r *Record) error {
			same(t, *r, want[i])
			ids = append(ids, r.ID)
			i++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i := range ids { // texts may be kept
			if ids[i] != want[i].ID {
				t.Errorf("identifier %d became %q, want %q", i, ids[i], want[i].ID)
			}
		}
		all := scan(t, ctx, s, Query{Endpoint: "m.prod"})
		if i != len(want) || len(all) != len(want) {
			t.Fatalf("%d and %d records, want %d", i, len(all), len(want))
		}
		for i := range all {
			same(t, all[i], want[i])
		}
	}
	check()
	if err := s.File(ctx); err != nil {
		t.Fatal(err)
	}
	check()
}

func BenchmarkAppendOfManyCallers(b *testing.B) {
	l := openLog(b, b.TempDir(), func(o *Options) { o.SegmentBytes = 1 << 30 })
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		r := single(rand.New(rand.NewPCG(1, 2)), 1)
		for pb.Next() {
			if err := l.Append(context.Background(), &r, Group); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFile files segments of calls and gives the time per call and what the file takes.
func BenchmarkFile(b *testing.B) {
	const calls = 8000
	ctx := b.Context()
	l := openLog(b, b.TempDir(), nil)
	s := newService(b, dbtest.SQLite(b), l, blobtest.Dir(b))
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]Record, calls)
	for i := range list {
		list[i] = single(rng, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		if err := l.AppendAll(ctx, list); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := s.File(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*calls), "ns/call")
	files, err := s.Blobs.ListNamed(ctx, "predictions/")
	if err != nil {
		b.Fatal(err)
	}
	total := int64(0)
	for _, f := range files {
		total += f.Size
	}
	b.ReportMetric(float64(total)/float64(b.N*calls), "B/call-filed")
}

// BenchmarkScan reads calls that are not filed.
func BenchmarkScan(b *testing.B) {
	const calls = 8000
	ctx := b.Context()
	l := openLog(b, b.TempDir(), nil)
	s := newService(b, dbtest.SQLite(b), l, blobtest.Dir(b))
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]Record, calls)
	for i := range list {
		list[i] = single(rng, i)
	}
	if err := l.AppendAll(ctx, list); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Scan(ctx, Query{Endpoint: "m.prod"}, func(Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*calls), "ns/call")
}
