package serving

import (
	"context"
	"strings"
	"testing"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/linear"
	"keelson/internal/prediction"
	"keelson/internal/release"
	"keelson/internal/tensor"
)

func TestAMatrixWithoutNamesNeverComesToAVersionWithOtherColumns(t *testing.T) {
	h := newHouse(t)
	set, err := engine.NewSet(linear.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	h.Engines = set
	model := func(version int, kind string, share int, columns string) release.Slot {
		sl := h.put(version, "keelson-linear", "model.linear.json", `{"format":"keelson-linear-1","intercept":0,`+columns+`}`)
		sl.Kind, sl.Share = kind, share
		return sl
	}
	live := model(1, release.SlotLive, 50, `"features":[{"name":"age"},{"name":"income"}],"coefficients":[1,100]`)
	h.issue(h.doc(1, live, model(2, release.SlotCanary, 50, `"features":[{"name":"income"},{"name":"age"}],"coefficients":[100,1]`),
		model(3, release.SlotShadow, 100, `"features":[{"name":"income"},{"name":"age"}],"coefficients":[100,1]`)))
	h.says()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	seen := map[int]int{}
	ask := func(inputs ...tensor.Tensor) {
		t.Helper()
		c := call(0)
		c.Inputs = inputs
		a, err := h.Infer(context.Background(), c)
		if err != nil || a.Outputs[0].F64[0] != 530 {
			t.Fatalf("%+v, %v", a, err)
		}
		seen[a.Version]++
	}
	for range 40 {
		ask(tensor.FP64s("input", []int{1, 2}, []float64{30, 5}))
	}
	if seen[1] != 40 {
		t.Errorf("matrices came to %v, want version 1 only", seen)
	}
	clear(seen)
	for range 40 {
		ask(tensor.FP64s("age", []int{1}, []float64{30}), tensor.FP64s("income", []int{1}, []float64{5}))
	}
	if seen[1] == 0 || seen[2] == 0 {
		t.Errorf("columns with names came to %v, want both versions", seen)
	}
	cancel()
	if err := <-done; err != nil { // waits for the copies
		t.Fatal(err)
	}
	shadows := 0
	if err := h.log.Scan(context.Background(), prediction.Query{Slot: prediction.SlotShadow}, func(r prediction.Record) error {
		if len(r.Inputs) != 2 || r.Outputs[0].F64[0] != 530 {
			t.Errorf("shadow record %+v", r)
		}
		shadows++
		return nil
	}); err != nil || shadows != 40 {
		t.Errorf("%d shadow records (%v), want 40", shadows, err)
	}
}

func TestARefusalSaysWhereToLookInstead(t *testing.T) {
	h := newHouse(t)
	set, err := engine.NewSet(linear.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	h.Engines = set
	d := h.doc(1, h.put(1, "keelson-linear", "model.linear.json", `{"format":"keelson-linear-1","intercept":0,"features":[{"name":"age"},{"name":"income"}],"coefficients":[1,100]}`))
	d.Endpoint = "screening.dev"
	h.issue(d)
	for name, c := range map[string]struct {
		workspace, endpoint, input, says string
	}{
		"the environment was left out":        {"default", "screening", "input", "the model answers at screening.dev"},
		"one column came alone":               {"default", "screening.dev", "age", `"age" is one of 2 columns and came alone`},
		"the input has another name":          {"default", "screening.dev", "inputs", `it takes one tensor "input", or a tensor per column`},
		"another workspace's are not told of": {"lab", "screening", "input", `There is no endpoint "screening". GET`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.Infer(context.Background(), &Call{Workspace: c.workspace, Endpoint: c.endpoint, Caller: "desk", Start: time.Now(), Inputs: []tensor.Tensor{tensor.FP64s(c.input, []int{1}, []float64{3})}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
		})
	}
}
