package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// late is a child that begins once a folder holds no file "shut"; it writes down there that it was started.
func late(args []string) int {
	folder := args[0]
	f, err := os.OpenFile(filepath.Join(folder, "starts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString("x")
	}
	if err != nil {
		return 3
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(filepath.Join(folder, "shut")); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	os.Args = append([]string{os.Args[0], Word}, args[1:]...)
	return Child(args[1:])
}

func TestAStartBelongsToNoCall(t *testing.T) {
	e := installed(t)
	folder := t.TempDir()
	e.Self = []string{e.Self[0], "late", folder}
	r := find(t, "lstm")
	m, err := r.load(t, e)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "shut"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := m.(*model).host.p
	p.child.Kill()
	<-p.gone
	const patient = 8
	answers := make(chan error, patient)
	for range patient {
		go func() { // ends with its answer
			_, err := m.Predict(context.Background(), r.Calls[0].Inputs)
			answers <- err
		}()
	}
	for range 3 {
		hasty, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		began := time.Now()
		if _, err := m.Predict(hasty, r.Calls[0].Inputs); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("a call of 100 ms: %v after %s", err, time.Since(began))
		}
		cancel()
	}
	if err := os.Remove(filepath.Join(folder, "shut")); err != nil {
		t.Fatal(err)
	}
	for range patient {
		if err := <-answers; err != nil {
			t.Errorf("a call that waits: %v", err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(folder, "starts")); err != nil || len(b) != 2 {
		t.Errorf("%d starts, want the first and one more (%v)", len(b), err)
	}
}

func TestARunThatIsStoppedBeforeItBeginsEnds(t *testing.T) {
	m, err := find(t, "counting").load(t, installed(t))
	if err != nil {
		t.Fatal(err)
	}
	h := m.(*model).host
	p := h.p
	if err := syscall.Kill(p.child.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	forEver := []tensor.Tensor{{Name: "n", Type: tensor.Int64, Shape: []int{1}, I64: []int64{1 << 50}}}
	if _, err := m.Predict(ctx, forEver); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	if len(h.slots) != 1 {
		t.Errorf("%d slots are taken, want 1: the process still has the run", len(h.slots))
	}
	began := time.Now()
	if err := syscall.Kill(p.child.Pid, syscall.SIGCONT); err != nil { // now it reads the run and, at once, that it is to stop
		t.Fatal(err)
	}
	eventually(t, "the run ends", func() bool { return len(h.slots) == 0 })
	if took := time.Since(began); took > grace/2 {
		t.Errorf("it took %s", took)
	}
	hold(t, m, find(t, "counting"))
	if h.p != p {
		t.Error("the process was ended for one call")
	}
}

func TestEveryFallIsToldAndFiveInARowAreAFault(t *testing.T) {
	e := installed(t)
	var mu sync.Mutex
	var falls []engine.Fall
	e.Fell = func(_ context.Context, f engine.Fall) {
		mu.Lock()
		defer mu.Unlock()
		falls = append(falls, f)
	}
	r := find(t, "lstm")
	m, err := e.Load(engine.WithRef(context.Background(), "frail/7"), r.folder(t), "model.onnx", engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	h := m.(*model).host
	told := func(n int) engine.Fall {
		t.Helper()
		eventually(t, fmt.Sprintf("fall %d is told", n), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(falls) == n
		})
		mu.Lock()
		defer mu.Unlock()
		return falls[n-1]
	}
	for n := 1; n <= 5; n++ {
		h.mu.Lock()
		h.falls.Next = time.Time{} // not to wait
		h.mu.Unlock()
		hold(t, m, r)
		h.mu.Lock()
		p := h.p
		h.mu.Unlock()
		p.kill("the test ends it")
		if f := told(n); f.Ref != "frail/7" || f.Why != "the test ends it" || f.Rests != (n == 5) {
			t.Errorf("fall %d is told as %+v", n, f)
		}
	}
	if _, err := m.Predict(context.Background(), r.Calls[0].Inputs); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "Version frail/7 ended its onnxruntime process 5 times") {
		t.Errorf("a version at fault: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(falls) != 5 {
		t.Errorf("the end of the model is told as a fall: %+v", falls)
	}
}
