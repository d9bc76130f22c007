package python

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/problem"
	"keelson/internal/wasm"
)

func TestAMetricIsComputedByAFileInAProcessOfItsOwn(t *testing.T) {
	e := open(t, nil)
	table := []byte(`{"rows": 3, "input": {"amount": [10, null, 5]}, "output": {"score": [0.2, 0.9, 0.4]}, "outcome": [1, 1, 0]}`)
	for name, c := range map[string]struct{ source, want, fails string }{
		"a number":            {"def metric(t):\n    return sum(v for v in t['input']['amount'] if v is not None)\n", `{"value": 15, "rows": 3}`, ""},
		"with rows and why":   {"def metric(t):\n    return {'value': None, 'rows': 0, 'left_out': 3, 'why': 'no bank'}\n", `{"value": null, "rows": 0, "left_out": 3, "why": "no bank"}`, ""},
		"a library":           {"import numpy as np\ndef metric(t):\n    return np.mean(t['output']['score'])\n", `{"value": 0.5, "rows": 3}`, ""},
		"no function":         {"x = 1\n", "", "defines no function metric(table)"},
		"no Python":           {"def metric(:\n", "", "cannot be run: SyntaxError"},
		"a failure":           {"def metric(t):\n    return t['input']['bank'][0]\n", "", "metric(table) failed: KeyError: 'bank'"},
		"no number":           {"def metric(t):\n    return float('nan')\n", "", "neither a finite number"},
		"an object":           {"def metric(t):\n    return object()\n", "", "neither a finite number"},
		"it leaves":           {"import os\ndef metric(t):\n    os._exit(3)\n", "", "ended"},
		"too much memory":     {"def metric(t):\n    return len(bytearray(900 << 20))\n", "", "memory"},
		"an answer too long":  {"def metric(t):\n    return {'value': 1, 'why': 'x' * (90 << 20)}\n", "", "up to 1049600 are taken"},
		"a file of the host":  {"def metric(t):\n    open('" + filepath.Join(e.Root, "..", "secret") + "').read()\n", "", "metric(table) failed: "},
		"the network":         {"import socket\ndef metric(t):\n    socket.create_connection(('127.0.0.1', 80), 1)\n", "", "metric(table) failed: "},
		"nothing of the last": {"import tempfile, os\ndef metric(t):\n    d = tempfile.gettempdir()\n    n = len(os.listdir(d))\n    open(os.path.join(d, 'x'), 'w').close()\n    return n\n", `{"value": 0, "rows": 3}`, ""},
	} {
		if err := os.WriteFile(filepath.Join(e.Root, "..", "secret"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := e.Compute(context.Background(), []byte(c.source), table)
			if p, ok := problem.As(err); c.fails != "" && (!ok || !strings.Contains(strings.ToLower(p.Detail), strings.ToLower(c.fails))) || c.fails == "" && (err != nil || string(got) != c.want) {
				t.Errorf("%s: %s %v", name, got, err)
			}
		}
		_, err := e.Compute(context.Background(), []byte(c.source), nil)
		if faulty := name == "no function" || name == "no Python"; faulty != (err != nil) {
			t.Errorf("%s, tried: %v", name, err)
		}
	}
	e.mu.Lock()
	alive := len(e.children)
	e.mu.Unlock()
	left, err := filepath.Glob(filepath.Join(e.Root, "metric-*"))
	if alive > 0 || len(left) > 0 || err != nil {
		t.Errorf("%d processes and %v are left, %v", alive, left, err)
	}
}

func TestAMetricGetsSoManyBytesOfRows(t *testing.T) {
	_, err := open(t, nil).Compute(context.Background(), []byte("def metric(t):\n    return 1\n"), make([]byte, wasm.MaxInput+1))
	if problem.KindOf(err) != problem.TooLarge {
		t.Error(err)
	}
}

func TestAMetricThatDoesNotEndIsEnded(t *testing.T) {
	e := open(t, func(e *Engine) { e.Limits.Call = time.Second })
	_, err := e.Compute(context.Background(), []byte("def metric(t):\n    while True: pass\n"), []byte(`{"rows": 1}`))
	if p, ok := problem.As(err); !ok || p.Kind != problem.Invalid || !strings.Contains(p.Detail, "took longer than 1s") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := e.Compute(ctx, []byte("while True: pass\n"), []byte(`{"rows": 1}`)); err == nil || ctx.Err() == nil {
		t.Error(err)
	}
}
