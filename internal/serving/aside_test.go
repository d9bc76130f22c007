package serving

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/problem"
)

// late is the CEL engine under another name, whose loads wait until they are let through.
type late struct {
	cel.Engine
	gate chan error
	mu   *sync.Mutex
	n    *int
}

func (late) Name() string            { return "late" }
func (late) Formats() []string       { return []string{"late"} }
func (late) LoadTime() time.Duration { return time.Minute }
func (l late) Detect(fsys fs.FS) ([]engine.Found, error) {
	if _, err := fs.Stat(fsys, "late.cel.yaml"); err != nil {
		return nil, nil
	}
	return []engine.Found{{Engine: "late", Format: "late", Path: "late.cel.yaml", Rank: engine.Whole}}, nil
}

func (l late) Load(ctx context.Context, fsys fs.FS, path string, limits engine.Limits) (engine.Model, error) {
	l.mu.Lock()
	*l.n++
	l.mu.Unlock()
	select {
	case err := <-l.gate:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return l.Engine.Load(ctx, fsys, path, limits)
}

func TestAVersionThatLoadsSlowlyIsWaitedForByNobodyElse(t *testing.T) {
	h := newHouse(t)
	gate := late{gate: make(chan error), mu: &sync.Mutex{}, n: new(int)}
	set, err := engine.NewSet(cel.Engine{}, gate)
	if err != nil {
		t.Fatal(err)
	}
	h.Engines = set
	count := func() int { gate.mu.Lock(); defer gate.mu.Unlock(); return *gate.n }
	settle := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := h.Settled(ctx); err != nil {
			t.Fatal(err)
		}
		h.look()
	}
	put := func(version int) {
		t.Helper()
		sl := h.put(version, "late", "late.cel.yaml", rules(version))
		h.issue(h.doc(int64(version), sl))
	}
	h.issue(h.doc(1, h.rules(1)))

	put(2)
	if v := h.version(call(1)); v != 1 {
		t.Errorf("while version 2 is loaded, version %d answers", v)
	}
	h.look()
	h.look()
	for late := time.After(10 * time.Second); count() == 0; { // the load runs beside this
		select {
		case <-late:
			t.Fatal("it was never loaded")
		case <-time.After(time.Millisecond):
		}
	}
	h.look()
	if loads := count(); loads != 1 {
		t.Errorf("it was loaded %d times at once", loads)
	}
	gate.gate <- nil
	settle()
	if v := h.version(call(1)); v != 2 {
		t.Errorf("after version 2 was loaded, version %d answers", v)
	}
	h.says()

	put(3) // fails, is told, and is not tried again at every look
	gate.gate <- problem.New(problem.Invalid, "It cannot be loaded.")
	settle()
	h.says("Release 3", "It cannot be loaded.")
	h.look()
	h.look()
	if v := h.version(call(1)); v != 2 || count() != 2 {
		t.Errorf("version %d answers after %d loads, want 2 after 2", v, count())
	}
	h.now = h.now.Add(pauseAfterFailure + time.Second)
	h.look()
	gate.gate <- nil
	settle()
	if v := h.version(call(1)); v != 3 {
		t.Errorf("after a pause version %d answers, want 3", v)
	}

	// Two slow versions in one release, one there long before the other, are both put into force.
	live := h.put(4, "late", "late.cel.yaml", rules(4))
	canary := h.put(5, "late", "late.cel.yaml", rules(5))
	canary.Kind, canary.Share, live.Share = "canary", 50, 50
	h.issue(h.doc(4, live, canary))
	gate.gate <- nil
	settle()
	gate.gate <- nil
	settle()
	seen := map[int]bool{}
	for i := range 64 {
		c := call(1)
		c.Subject = fmt.Sprint("s", i)
		seen[h.version(c)] = true
	}
	if !seen[4] || !seen[5] || len(seen) != 2 || count() != 5 {
		t.Errorf("versions %v answer after %d loads", seen, count())
	}

	// A process that has nothing in force answers that it is made ready, without an incident, and ends while it loads.
	n := h.again()
	n.bad.take()
	n.look()
	if _, err := n.Infer(t.Context(), call(1)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "made ready") {
		t.Errorf("got %v", err)
	}
	n.says()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
}
