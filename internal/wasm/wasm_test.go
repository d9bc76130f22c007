package wasm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"keelson/internal/wasm"
	"keelson/internal/wasm/wasmtest"
)

func TestAModuleCompiledFromGoComputesOverRows(t *testing.T) {
	code := wasmtest.Build(t, "../../examples/metric")
	h := &wasm.Host{}
	defer h.Close(context.Background())
	if err := h.Check(context.Background(), code, "metric"); err != nil {
		t.Fatal(err)
	}
	rows := []byte(`{"rows":4,"input":{"amount":[100,200,null,50]},"output":{"score":[0.1,0.9,0.9,0.7]},"outcome":[1,1,0,0]}`)
	var first []byte
	for range 2 { // each call has an instance of its own
		out, err := h.Call(context.Background(), code, "metric", rows)
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Value          float64
			Rows, Left_out int
		}
		if err := json.Unmarshal(out, &v); err != nil || v.Value != 1025 || v.Rows != 3 || v.Left_out != 1 {
			t.Errorf("%v %s", err, out)
		}
		if first == nil {
			first = out
		} else if !bytes.Equal(first, out) {
			t.Errorf("%s, then %s", first, out)
		}
	}
}

func TestModulesThatCannotRunAreRefusedWithTheReason(t *testing.T) {
	h := &wasm.Host{}
	defer h.Close(context.Background())
	good := wasmtest.Make(wasmtest.Parts{Answer: "{}"})
	if err := h.Check(context.Background(), good, "metric"); err != nil {
		t.Fatal(err)
	}
	for want, code := range map[string][]byte{
		"no WebAssembly module":          []byte("MZ\x90"),
		"ends within a section":          good[:len(good)-3],
		"imports env.open_socket":        wasmtest.Make(wasmtest.Parts{Import: "open_socket"}),
		"exports no memory":              wasmtest.Make(wasmtest.Parts{Hide: "memory"}),
		"exports no function \"alloc\"":  wasmtest.Make(wasmtest.Parts{Hide: "alloc"}),
		"exports no function \"metric\"": wasmtest.Make(wasmtest.Parts{Hide: "metric"}),
		"is not valid":                   wasmtest.Make(wasmtest.Parts{Pages: 65_000}),
		"a table of 130000000 entries":   wasmtest.Make(wasmtest.Parts{Table: 130_000_000}),
		"up to 8388608 are taken":        make([]byte, wasm.MaxModule+1),
	} {
		var fault wasm.Fault
		if err := h.Check(context.Background(), code, "metric"); !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	var fault wasm.Fault
	if err := h.Check(context.Background(), good, "alloc"); !errors.As(err, &fault) {
		t.Errorf("a function of another shape: %v", err)
	}
}

func TestWhatAModuleDoesWrongIsItsFaultAndEndsWithinBounds(t *testing.T) {
	h := &wasm.Host{Time: 2 * time.Second}
	defer h.Close(context.Background())
	for want, p := range map[string]wasmtest.Parts{
		"took longer than 2s":        {Body: wasmtest.Forever()},
		"metric failed: wasm error:": {Body: wasmtest.Greedy()},
		"outside of its memory":      {Body: wasmtest.Far()},
		"stack overflow":             {Body: wasmtest.Deep()},
	} {
		began := time.Now()
		var fault wasm.Fault
		_, err := h.Call(context.Background(), wasmtest.Make(p), "metric", []byte("{}"))
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %s", want, took)
		}
	}
	small := wasmtest.Make(wasmtest.Parts{Answer: "{}"})
	if _, err := h.Call(context.Background(), small, "metric", make([]byte, 2<<16)); err == nil || !strings.Contains(err.Error(), "no place") {
		t.Errorf("more than its memory: %v", err)
	}
	if out, err := h.Call(context.Background(), small, "metric", []byte("{}")); err != nil || string(out) != "{}" {
		t.Errorf("%s %v", out, err)
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.Call(stopped, wasmtest.Make(wasmtest.Parts{Body: wasmtest.Forever()}), "metric", []byte("{}")); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped from outside: %v", err)
	}
}

func TestMoreModulesThanAreKeptAreCompiledAgain(t *testing.T) {
	h := &wasm.Host{}
	defer h.Close(context.Background())
	for range 2 {
		for i := range 20 {
			want := strings.Repeat("x", i+1)
			out, err := h.Call(context.Background(), wasmtest.Make(wasmtest.Parts{Answer: want}), "metric", nil)
			if err != nil || string(out) != want {
				t.Fatalf("%d: %q %v", i, out, err)
			}
		}
	}
}

func FuzzModule(f *testing.F) {
	for _, p := range []wasmtest.Parts{{Answer: "{}"}, {Table: 10}, {Import: "x"}, {Body: wasmtest.Far()}, {Body: wasmtest.Deep()}} {
		f.Add(wasmtest.Make(p))
	}
	h := &wasm.Host{Time: 50 * time.Millisecond}
	f.Fuzz(func(t *testing.T, code []byte) {
		var fault wasm.Fault
		if _, err := h.Call(context.Background(), code, "metric", []byte("{}")); err != nil && !errors.As(err, &fault) {
			t.Fatal(err)
		}
	})
}
