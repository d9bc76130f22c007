package onnxruntime

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"keelson/internal/engine"
	"keelson/internal/engine/enginetest"
	"keelson/internal/engine/onnx"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// The test program is also the child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Word:
			os.Exit(Child(os.Args[2:]))
		case "late":
			os.Exit(late(os.Args[2:]))
		case "doors":
			os.Exit(doors(os.Args[2:]))
		}
	}
	goleak.VerifyTestMain(m)
}

// installed is the engine with the library that test/all installed.
func installed(t testing.TB) Engine {
	t.Helper()
	path := os.Getenv("KEELSON_TEST_ONNXRUNTIME")
	if path == "" {
		t.Skip("KEELSON_TEST_ONNXRUNTIME is not set: these tests need the library that keelson runtime install onnxruntime unpacks")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Engine{Library: func() (string, error) { return path, nil }, Self: []string{self, "internal-onnxruntime"}}
}

type recorded struct {
	Name, Refused string
	Model         string // base64; empty: a file of the Go engine's tests
	Calls         []struct{ Inputs, Outputs []tensor.Tensor }
}

func read(t testing.TB, path string) []recorded {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Cases []recorded }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Cases) == 0 {
		t.Fatalf("%s holds no cases", path)
	}
	return doc.Cases
}

func (r recorded) folder(t testing.TB) fstest.MapFS {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(r.Model)
	if r.Model == "" {
		data, err = os.ReadFile("../onnx/testdata/models/" + r.Name + ".onnx")
	}
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"model.onnx": {Data: data}}
}

func (r recorded) load(t testing.TB, e Engine) (engine.Model, error) {
	t.Helper()
	m, err := e.Load(context.Background(), r.folder(t), "model.onnx", engine.Limits{})
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

func find(t testing.TB, name string) recorded {
	t.Helper()
	for _, r := range read(t, "testdata/models.json") {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no case %q", name)
	return recorded{}
}

// off is the largest difference of two tensors, relative above 1; infinite when they differ in more than numbers.
func off(got, want *tensor.Tensor) float64 {
	if got.Type == tensor.FP16 && want.Type == tensor.FP32 { // as it was recorded
		want.Type = tensor.FP16
	}
	if got.Type != want.Type || got.Name != want.Name || got.Len() != want.Len() || !slices.Equal(got.Shape, want.Shape) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range want.Len() {
		if want.Type == tensor.Bytes {
			if got.S[i] != want.S[i] {
				return math.Inf(1)
			}
			continue
		}
		a, b := got.Float64(i), want.Float64(i)
		if a == b || a != a && b != b {
			continue
		}
		d := math.Abs(a-b) / math.Max(1, math.Abs(b))
		if d != d {
			d = math.Inf(1)
		}
		worst = math.Max(worst, d)
	}
	return worst
}

func hold(t *testing.T, m engine.Model, r recorded) (worst float64) {
	t.Helper()
	for _, c := range r.Calls {
		out, err := m.Predict(context.Background(), c.Inputs)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if len(out) != len(c.Outputs) {
			t.Errorf("%d outputs, want %d", len(out), len(c.Outputs))
			continue
		}
		for i := range out {
			d := off(&out[i], &c.Outputs[i])
			if worst = math.Max(worst, d); !(d <= 1e-6) {
				t.Errorf("output %s differs by %.3g:\n got %s\nwant %s", c.Outputs[i].Name, d, out[i].AppendJSON(nil), c.Outputs[i].AppendJSON(nil))
			}
		}
	}
	return worst
}

func TestEngineKeepsTheContract(t *testing.T) {
	r := find(t, "lstm")
	enginetest.Run(t, enginetest.Case{Engine: installed(t), FS: r.folder(t), Format: Format, Inputs: r.Calls[0].Inputs})
}

func TestModelsThatGoRefusesAnswerAsInPython(t *testing.T) {
	e := installed(t)
	worst, held := 0.0, 0
	for _, r := range read(t, "testdata/models.json") {
		t.Run(r.Name, func(t *testing.T) {
			m, err := r.load(t, e)
			if r.Refused != "" {
				if problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), r.Refused) {
					t.Errorf("got %v, want a refusal that names %s", err, r.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (onnx.Engine{}).Load(context.Background(), r.folder(t), "model.onnx", engine.Limits{}); problem.KindOf(err) != problem.Unsupported {
				t.Errorf("the Go engine says %v; then it is not for this engine", err)
			}
			held++
			worst = math.Max(worst, hold(t, m, r))
		})
	}
	t.Logf("%d models, largest difference %.3g", held, worst)
}

func TestModelsOfTheGoEngineAnswerTheSameHere(t *testing.T) {
	e := installed(t)
	worst, held := 0.0, 0
	for k, r := range read(t, "../onnx/testdata/models.json") {
		if len(r.Calls) == 0 || testing.Short() && k%8 != 0 {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			m, err := r.load(t, e)
			if err != nil {
				t.Fatal(err)
			}
			r.Calls = slices.DeleteFunc(r.Calls, func(c struct{ Inputs, Outputs []tensor.Tensor }) bool { return c.Inputs[0].Rows() == 0 }) // recorded as empty where onnxruntime would not run them
			held++
			worst = math.Max(worst, hold(t, m, r))
		})
	}
	t.Logf("%d models, largest difference %.3g", held, worst)
}

func TestTheGoEngineGoesFirst(t *testing.T) {
	e := installed(t)
	set, err := engine.NewSet(onnx.Engine{}, e)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	fsys := find(t, "gru").folder(t)
	_, found, err := set.Load(ctx, fsys, "", engine.Limits{})
	if found.Format != onnx.Format || problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "GRU") {
		t.Errorf("found %+v, %v; want a refusal by the Go engine that names GRU", found, err)
	}
	if o := set.Others(found.Format); len(o) != 1 || o[0] != Format {
		t.Fatalf("others are %v", o)
	}
	m, found, err := set.Load(ctx, fsys, Format, engine.Limits{})
	if err != nil || found.Engine != "onnxruntime" || found.Format != Format {
		t.Fatalf("found %+v, %v", found, err)
	}
	m.Close()
}

func TestWithoutTheLibraryTheRefusalSaysWhatToInstall(t *testing.T) {
	e := Engine{Library: func() (string, error) {
		return "", problem.New(problem.Unsupported, "The onnxruntime library is not installed: keelson runtime install onnxruntime.")
	}, Self: []string{"/nonexistent"}}
	_, err := find(t, "lstm").load(t, e)
	if problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "runtime install") {
		t.Errorf("got %v", err)
	}
}

func TestAnotherLibraryIsRefused(t *testing.T) {
	e := installed(t)
	for name, path := range map[string]string{"no library": os.DevNull, "a library of something else": "libc.so.6", "no file": "/nonexistent/lib.so"} {
		e.Library = func() (string, error) { return path, nil }
		if _, err := find(t, "lstm").load(t, e); problem.KindOf(err) != problem.Unsupported {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !f() {
		select {
		case <-limit:
			t.Fatal("not within 20 seconds: " + what)
		case <-tick.C:
		}
	}
}

// current is the process that a model has now.
func current(m engine.Model) *process {
	h := m.(*model).host
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.p
}

func TestAProcessThatIsKilledIsOneFailureAndStartsAgain(t *testing.T) {
	e := installed(t)
	var log bytes.Buffer
	var mu sync.Mutex
	e.Log = slog.New(slog.NewTextHandler(&locked{&mu, &log}, nil))
	r := find(t, "lstm")
	m, err := r.load(t, e)
	if err != nil {
		t.Fatal(err)
	}
	other, err := find(t, "gru").load(t, e)
	if err != nil {
		t.Fatal(err)
	}
	kill := func() {
		p := current(m)
		if err := syscall.Kill(p.child.Pid, syscall.SIGSEGV); err != nil {
			t.Fatal(err)
		}
		<-p.gone
	}
	kill()
	hold(t, m, r) // started again at once
	hold(t, other, find(t, "gru"))
	kill()
	if _, err := m.Predict(context.Background(), r.Calls[0].Inputs); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "is started again in") {
		t.Errorf("after the second end in a row: %v, want a pause", err)
	}
	hold(t, other, find(t, "gru"))
	eventually(t, "it is started again", func() bool {
		_, err := m.Predict(context.Background(), r.Calls[0].Inputs)
		return err == nil
	})
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "ended on its own") || !strings.Contains(log.String(), "started again") {
		t.Errorf("the log says %s", log.String())
	}
}

type locked struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestCallsInAProcessThatDiesAreUnavailable(t *testing.T) {
	m, err := find(t, "loop").load(t, installed(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.(*model).host.process(t.Context()) // the one that answers now
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.child.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := m.Predict(context.Background(), find(t, "loop").Calls[0].Inputs)
		failed <- err
	}()
	eventually(t, "the call is on its way", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.waiting) > 0
	})
	if err := syscall.Kill(p.child.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; problem.KindOf(err) != problem.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestADeadlineEndsTheWait(t *testing.T) {
	m, err := find(t, "lstm").load(t, installed(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	p := current(m)
	if err := syscall.Kill(p.child.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Predict(ctx, find(t, "lstm").Calls[0].Inputs); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if err := syscall.Kill(p.child.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process is free again", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.waiting) == 0
	})
	hold(t, m, find(t, "lstm"))
}

// A value that is not freed in each call would be 10 KiB and more, 40 MiB over the calls that are counted.
func TestMemoryStaysFlat(t *testing.T) {
	e := installed(t)
	words := make([]string, 200)
	for i := range words {
		words[i] = strings.Repeat(string(rune('a'+i%26)), 100)
	}
	for name, in := range map[string]tensor.Tensor{
		"texts":         tensor.Strings("x", []int{len(words)}, words), // values of the library's own
		"large network": tensor.FP32s("x", []int{256, 64}, make([]float32, 256*64)),
	} {
		m, err := find(t, name).load(t, e)
		if err != nil {
			t.Fatal(err)
		}
		calls := func(n int) {
			for range n {
				if _, err := m.Predict(context.Background(), []tensor.Tensor{in}); err != nil {
					t.Fatal(err)
				}
			}
		}
		pid := m.(*model).host.p.child.Pid
		calls(2000)
		before := residentOf(t, pid)
		calls(4000)
		after := residentOf(t, pid)
		if after > before+20<<20 {
			t.Errorf("%s: the process held %d bytes after 2,000 calls and %d after 6,000", name, before, after)
		}
		t.Logf("%s: %d MiB after 2,000 calls, %d MiB after 6,000", name, before>>20, after>>20)
	}
}

func TestWhatComesInIsCheckedBeforeAndWithinTheLibrary(t *testing.T) {
	e := installed(t)
	m, err := find(t, "text vector").load(t, e)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Predict(context.Background(), []tensor.Tensor{tensor.Strings("x", []int{1, 1}, []string{"a\x00b"})})
	if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "zero byte") {
		t.Errorf("a zero byte: %v", err)
	}
	m, err = find(t, "lstm").load(t, e)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Predict(context.Background(), []tensor.Tensor{tensor.FP32s("x", []int{2, 0, 3}, nil)})
	if err == nil {
		t.Logf("no steps answer %v", out)
	} else if problem.KindOf(err) != problem.Invalid {
		t.Errorf("no steps: %v, want an answer or an invalid problem", err)
	}
}

func BenchmarkOneRow(b *testing.B) {
	e := installed(b)
	r := find(b, "large network")
	m, err := r.load(b, e)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := m.Predict(context.Background(), r.Calls[0].Inputs); err != nil {
			b.Fatal(err)
		}
	}
}
