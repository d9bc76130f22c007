package prediction

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
)

// The test binary is also the child process of the tests that kill one.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PREDICTION_TEST_CHILD"); dir != "" {
		child(dir, os.Getenv("PREDICTION_TEST_MODE"))
		return
	}
	os.Exit(m.Run())
}

// counted reads a counter of the log as Prometheus would.
func counted(t *testing.T, l *Log, name string) float64 {
	t.Helper()
	families, err := l.o.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "keelson_prediction_log_"+name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no counter %s", name)
	return 0
}

// child appends from four goroutines and prints each identifier once Append has returned.
func child(dir, mode string) {
	if mode == "full" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 20_000, Max: 20_000}); err != nil {
			fmt.Println("rlimit", err)
			return
		}
	}
	l, err := OpenLog(Options{Dir: dir, Node: "child", Logger: quiet, SegmentBytes: 64 << 10})
	if err != nil {
		fmt.Println("open", err)
		return
	}
	var mu sync.Mutex
	durability := map[string]string{"sync": Sync}[mode]
	if durability == "" {
		durability = Group
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; mode != "full" || i < 50; i++ {
				r := record("a", g*1_000_000+i)
				err := l.Append(context.Background(), &r, durability)
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println("id", r.ID)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Println("end")
}

func startChild(t *testing.T, dir, mode string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PREDICTION_TEST_CHILD="+dir, "PREDICTION_TEST_MODE="+mode)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func TestKillingTheProcessLosesAndDoublesNothing(t *testing.T) {
	for _, mode := range []string{"group", "sync"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			var told []string
			for _, after := range []int{1, 40, 333} {
				cmd, lines := startChild(t, dir, mode)
				for n := 0; n < after && lines.Scan(); n++ {
					id, ok := strings.CutPrefix(lines.Text(), "id ")
					if !ok {
						t.Fatalf("the child says %q", lines.Text())
					}
					told = append(told, id)
				}
				_ = cmd.Process.Kill()
				for lines.Scan() { // what it said before it died counts too
					if id, ok := strings.CutPrefix(lines.Text(), "id "); ok && len(id) == idLen {
						told = append(told, id)
					}
				}
				_ = cmd.Wait()
			}
			l := openLog(t, dir, nil)
			s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
			for range 2 { // before and after filing
				got := ids(scan(t, context.Background(), s, Query{}))
				if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
					t.Error("records are doubled or out of order")
				}
				have := map[string]bool{}
				for _, id := range got {
					have[id] = true
				}
				lost := 0
				for _, id := range told {
					if !have[id] {
						lost++
					}
				}
				if lost > 0 || len(told) < 374 {
					t.Errorf("%d of %d acknowledged records are lost", lost, len(told))
				}
				if err := s.File(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAFullDiskIsToldAndLosesNothingBefore(t *testing.T) {
	dir := t.TempDir()
	cmd, lines := startChild(t, dir, "full")
	var told []string
	failed, ended := 0, false
	for lines.Scan() {
		if id, ok := strings.CutPrefix(lines.Text(), "id "); ok {
			told = append(told, id)
		} else if strings.HasPrefix(lines.Text(), "error write the prediction log:") {
			failed++
		} else {
			ended = lines.Text() == "end"
		}
	}
	if err := cmd.Wait(); err != nil || !ended {
		t.Fatalf("the child ended with %v", err)
	}
	if len(told) == 0 || failed == 0 || len(told)+failed != 200 {
		t.Fatalf("%d written, %d refused, want some of each and 200 in all", len(told), failed)
	}
	l := openLog(t, dir, nil)
	if torn := counted(t, l, "torn_bytes_total"); torn != 0 {
		t.Errorf("%v torn bytes: a refused record was left half-written", torn)
	}
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	got := ids(scan(t, context.Background(), s, Query{}))
	slices.Sort(told)
	if !slices.Equal(got, told) {
		t.Errorf("%d records, want the %d that were acknowledged", len(got), len(told))
	}
}

func TestATornTailIsCutAndCounted(t *testing.T) {
	ctx := context.Background()
	whole := func(t *testing.T) (dir, file string, data []byte, want []string) {
		dir = t.TempDir()
		l := openLog(t, dir, nil)
		for i := range 5 {
			r := record("a", i)
			if err := l.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			want = append(want, r.ID)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		data, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		return dir, names[0], data, want
	}
	cases := []struct {
		name   string
		damage func([]byte) []byte
		keep   int
	}{
		{"half a frame", func(b []byte) []byte { return b[:len(b)-10] }, 4},
		{"half a head", func(b []byte) []byte { return append(b, 1, 2, 3) }, 5},
		{"a head of 2^32", func(b []byte) []byte { return append(b, 255, 255, 255, 255, 0, 0, 0, 0, 1) }, 5},
		{"half a frame in reserved room", func(b []byte) []byte { return append(b[:len(b)-10], make([]byte, 5000)...) }, 4},
		{"reserved room", func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, 5},
		{"a flipped bit in the last frame", func(b []byte) []byte { b[len(b)-3] ^= 4; return b }, 4},
		{"nothing but half a magic", func(b []byte) []byte { return b[:3] }, 0},
		{"an empty file", func([]byte) []byte { return nil }, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, file, data, want := whole(t)
			if err := os.WriteFile(file, c.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, dir, nil)
			s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
			got := ids(scan(t, ctx, s, Query{}))
			if !slices.Equal(got, want[:c.keep]) {
				t.Errorf("%d records, want the first %d", len(got), c.keep)
			}
			if torn := counted(t, l, "torn_bytes_total"); (torn == 0) != (c.name == "an empty file" || c.name == "reserved room") {
				t.Errorf("%v torn bytes counted", torn)
			}
			r := record("a", 9)
			if err := l.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			if err := s.File(ctx); err != nil {
				t.Fatal(err)
			}
			if got := scan(t, ctx, s, Query{}); len(got) != c.keep+1 || got[c.keep].ID != r.ID {
				t.Errorf("%d records after going on, want %d", len(got), c.keep+1)
			}
		})
	}
}

func TestTwoProcessesShareAFolder(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	a := openLog(t, dir, func(o *Options) { o.Node = "a" })
	r := record("x", 1)
	if err := a.Append(ctx, &r, Group); err != nil {
		t.Fatal(err)
	}
	b := openLog(t, dir, func(o *Options) { o.Node = "b" })
	if all, _ := b.segments(); len(all) != 0 {
		t.Fatal("the segment of a living process is taken over")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b.Adopt()
	s := newService(t, dbtest.SQLite(t), b, blobtest.Dir(t))
	if got := scan(t, ctx, s, Query{}); len(got) != 1 || got[0].ID != r.ID {
		t.Errorf("got %d records, want the one of the process that ended", len(got))
	}
}

func TestAFolderThatCannotBeMadeIsToldByEachAppend(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, filepath.Join(file, "log"), nil)
	r := record("x", 1)
	for _, d := range []string{Group, Sync} {
		if err := l.Append(context.Background(), &r, d); err == nil || !strings.Contains(err.Error(), "write the prediction log") {
			t.Errorf("%s: %v, want a failure to write", d, err)
		}
	}
	if l.Healthy() == nil {
		t.Error("the log says it is healthy")
	}
	if err := l.Append(context.Background(), &r, Async); err != nil {
		t.Errorf("async tells %v, want it only counted", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if n := counted(t, l, "dropped_total"); n != 1 {
		t.Errorf("%v dropped, want 1", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func TestAsyncRecordsArriveWhenTheLogIsClosed(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, nil)
	var want []string
	for i := range 500 {
		r := record("x", i)
		if err := l.Append(context.Background(), &r, Async); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := record("x", 1)
	for _, d := range []string{Group, Async} {
		if err := l.Append(context.Background(), &r, d); err == nil {
			t.Errorf("a closed log takes a record (%s)", d)
		}
	}
	s := newService(t, dbtest.SQLite(t), openLog(t, dir, nil), blobtest.Dir(t))
	if got := ids(scan(t, context.Background(), s, Query{})); !slices.Equal(got, want) {
		t.Errorf("%d of %d arrived", len(got), len(want))
	}
}

func TestTheNextSegmentIsReadyBeforeItIsNeeded(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(Options{Dir: dir, Node: "test", Logger: quiet, SegmentBytes: 16 << 10, SyncEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	add := func() {
		r := record("x", len(want))
		if err := l.Append(context.Background(), &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	fill := func(bytes int64) {
		for l.active == nil || l.active.size.Load() < bytes {
			add()
		}
	}
	spare := func() *segment { l.mu.Lock(); defer l.mu.Unlock(); return l.spare }
	for range 3 {
		fill(12 << 10)
		tick, limit := time.NewTicker(time.Millisecond), time.After(10*time.Second)
		for spare() == nil {
			select {
			case <-tick.C:
			case <-limit:
				t.Fatal("no segment is made in advance")
			}
		}
		tick.Stop()
		ready, before := spare(), l.active
		for l.active == before {
			add()
		}
		if l.active != ready {
			t.Error("another segment came after the full one than the one that was ready")
		}
	}
	fill(12 << 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentExt))
	if err != nil || len(files) != len(withRecords(dir)) {
		t.Errorf("%d segments are left, %d of them with records (%v)", len(files), len(withRecords(dir)), err)
	}
	s := newService(t, dbtest.SQLite(t), openLog(t, dir, nil), blobtest.Dir(t))
	if got := ids(scan(t, context.Background(), s, Query{})); !slices.Equal(got, want) {
		t.Errorf("%d of %d arrived, or in another order", len(got), len(want))
	}
}

func TestRunFilesByAge(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	s.FileAfter = 20 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := record("x", 1)
	if err := l.Append(ctx, &r, Group); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		named, err := s.Blobs.ListNamed(ctx, "predictions/")
		if err == nil && len(named) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is filed: %v, %v", named, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestIdentifiersGrowWhateverTheClockDoes(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_123_456)
	steps := []time.Duration{0, 0, time.Microsecond, -time.Hour, 0, 2 * time.Hour, -time.Second}
	c := clock{now: func() time.Time { return at }}
	last := ""
	for i := range 10_000 {
		at = at.Add(steps[i%len(steps)])
		var b [idLen]byte
		c.next(b[:])
		if id := string(b[:]); id <= last {
			t.Fatalf("%s follows %s", id, last)
		} else {
			last = id
		}
	}
	when, ok := idTime(floorID(at))
	if !ok || at.Sub(when) > time.Millisecond || floorID(at) > last && false {
		t.Errorf("%v came back as %v", at, when)
	}
	for _, bad := range []string{"", "x", strings.Repeat("!", 26), "00000000000000000000000000"} {
		if _, ok := idTime(bad); ok {
			t.Errorf("%q passes as an identifier", bad)
		}
	}
}

func FuzzFrames(f *testing.F) {
	r := record("a", 1)
	c := clock{now: time.Now}
	frame := appendFrame(nil, &r)
	stamp(frame, &c, time.Time{})
	f.Add(frame)
	f.Add(append(bytes.Clone(frame), frame[:20]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum keeps damage out; what passes it must still not break the reader, so it is mended here.
		if len(b) > bodyAt {
			stamp(b, &clock{now: time.Now}, time.Time{})
			b[frameHead] = frameVersion
			payload := b[frameHead:]
			peek(payload)
			if r, err := decode(payload, true); err == nil && len(r.ID) == idLen { // then it can be filed
				if f := made(t, []Record{r}); len(f.chunks) != 1 {
					t.Fatalf("row groups %v", f.chunks)
				}
			}
		}
		for rest := b; len(rest) > 0; {
			payload, next, err := nextFrame(rest)
			if err != nil {
				return
			}
			if _, err := decode(payload, false); err != nil {
				return
			}
			rest = next
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, d := range []string{Group, Async, Sync} {
		b.Run(d, func(b *testing.B) {
			l := openLog(b, b.TempDir(), nil)
			r := record("a", 1)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Append(context.Background(), &r, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
