package serving

import (
	"context"
	"testing"
	"time"

	"keelson/internal/journal"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/tensor"
)

func TestTheMetersTellWhatBecameOfEachCall(t *testing.T) {
	h := newHouse(t)
	limited := h.doc(1, h.rules(1))
	limited.Limits = release.Limits{MaxRows: 1}
	h.issue(limited)
	ask := func(c *Call) { _, _ = h.Infer(context.Background(), c) } // what becomes of it is read from the meters
	ask(call(1))
	ask(call(20))
	wide := call(1)
	wide.Inputs = []tensor.Tensor{tensor.FP64s("x", []int{2}, []float64{1, 2})}
	ask(wide)
	missing := call(1)
	missing.Inputs = nil
	ask(missing)
	other := call(1)
	other.Version = "9"
	ask(other)
	h.Missed("default", "screening", problem.New(problem.Invalid, "no JSON"))
	h.Missed("default", "nowhere", problem.New(problem.Invalid, "no JSON"))
	paused := h.doc(2, h.rules(1))
	paused.State = release.Suspended
	h.issue(paused)
	ask(call(1))

	read := func(k journal.Key) (c journal.Count) {
		for _, r := range h.Metrics.Readings() {
			if r.Key == k {
				c = r.Count
			}
		}
		return c
	}
	v := read(journal.Key{Workspace: "default", Endpoint: "screening", Version: 1, Slot: "live"})
	if v.Calls != 2 || v.Rows != 2 || v.Missed[journal.Invalid] != 2 || v.Errors() != 2 {
		t.Errorf("version 1: %+v", v.Missed)
	}
	if us, ok := v.Latencies.Quantile(1); !ok || us > float64(time.Minute.Microseconds()) {
		t.Errorf("the slowest took %g µs", us)
	}
	own := read(journal.Key{Workspace: "default", Endpoint: "screening"})
	if own.Missed[journal.Invalid] != 2 || own.Missed[journal.Unavailable] != 1 {
		t.Errorf("the endpoint: %+v", own.Missed)
	}
	got := h.Standings()["default"]
	if len(got) != 1 || got[0].Release != 2 || got[0].State != release.Suspended || got[0].Problem != "" || len(got[0].Slots) != 0 {
		t.Errorf("in force: %+v", got)
	}

	h.issue(h.doc(3, h.put(1, "panicky", "model.panicky", "x")))
	bad := call(-1)
	bad.Inputs = []tensor.Tensor{tensor.FP64s("x", []int{1, 2}, []float64{-1, 0})}
	ask(bad)
	late := call(7)
	late.Inputs, late.Deadline = []tensor.Tensor{tensor.FP64s("x", []int{1, 2}, []float64{7, 0})}, time.Now().Add(20*time.Millisecond)
	ask(late)
	v = read(journal.Key{Workspace: "default", Endpoint: "screening", Version: 1, Slot: "live"})
	if v.Missed[journal.Model] != 1 || v.Missed[journal.Deadline] != 1 {
		t.Errorf("a panic and a call out of time: %+v", v.Missed)
	}
	if got := h.Standings()["default"]; len(got[0].Slots) != 1 || got[0].Slots[0].Engine != "panicky" {
		t.Errorf("in force: %+v", got)
	}
}
