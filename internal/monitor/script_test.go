package monitor

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keelson/internal/engine/python"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/venv"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "internal-python" {
		os.Exit(python.Launch(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// withScripts lets a service run modules in Python: the machine's own, with nothing but its standard library.
func (w *world) withScripts() {
	w.t.Helper()
	if _, err := os.Stat(filepath.Join(venv.System, "python3")); err != nil {
		w.t.Skip("this machine has no " + venv.System + "/python3, in which metrics run")
	}
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	e := &python.Engine{Self: []string{self, "internal-python"}, Root: filepath.Join(w.t.TempDir(), "python"), Envs: &venv.Environments{}, Log: slog.New(slog.DiscardHandler)}
	if err := e.Open(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.withModules()
	w.Scripts = e
}

const costScript = `
import math

def metric(table):
    rows = list(zip(table["output"]["score"], table["input"]["amount"], table["outcome"]))
    known = [(s, a, o) for s, a, o in rows if None not in (s, a, o)]
    if not known:
        return {"value": None, "rows": 0, "left_out": len(rows), "why": "no row has all it needs"}
    return {"value": math.fsum(10 * a for s, a, o in known if o == 1 and s < 0.5), "rows": len(known), "left_out": len(rows) - len(known)}
`

func TestACustomMetricIsComputedByAPythonFileFromRealRows(t *testing.T) {
	each(t, func(w *world) {
		w.withScripts()
		for name, c := range map[string]struct{ code, why string }{
			"no function": {"x = 1\n", "defines no function metric(table)"},
			"no Python":   {"def metric(:", "cannot be run: SyntaxError"},
			"no text":     {"\x00\x01\xff", "module"},
		} {
			if _, err := w.PutModule(w.ctx, "cost", strings.NewReader(c.code)); !problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s: %v", name, err)
			}
		}
		m, err := w.PutModule(w.ctx, "cost", strings.NewReader(costScript))
		if err != nil || m.Ref() != "cost@1" {
			t.Fatalf("%+v %v", m, err)
		}
		if _, err := w.PutModule(w.ctx, "wrong", strings.NewReader("def metric(table):\n    return table['input']['nothing'][0]\n")); err != nil {
			t.Fatal(err)
		}
		metrics := []Metric{{Name: "cost of misses", Module: "cost", Outcomes: true, Max: some(1000), Unit: "EUR"}, {Name: "wrong", Module: "wrong"}}
		if set, err := w.Put(w.ctx, "payments", Change{Metrics: &metrics}); err != nil || set.Metrics[0].Module != "cost@1" {
			t.Fatalf("%+v %v", set.Metrics, err)
		}
		w.pay(400)
		w.tick()
		r := w.all("payments")[0]
		if v := r.Metrics[0]; v.Value != nil || v.Why != "no outcome has arrived" {
			t.Errorf("before outcomes: %+v", v)
		}
		if v := r.Metrics[1]; v.Value != nil || v.Why != "metric(table) failed: KeyError: 'nothing'" && v.Why != "metric(table) failed: KeyError: 'nothing'." {
			t.Errorf("a function that fails: %+v", v)
		}
		var list []prediction.Outcome
		for _, id := range w.ids {
			list = append(list, prediction.Outcome{Prediction: id, Value: []byte("1")})
		}
		if _, _, err := w.calls.Record(w.ctx, list); err != nil {
			t.Fatal(err)
		}
		w.tick()
		r = w.all("payments")[0]
		if v := r.Metrics[0]; v.Value == nil || *v.Value != 200*10*100 || v.Rows != 400 || v.LeftOut != 0 {
			t.Errorf("with outcomes: %+v", v)
		}
		if len(r.Causes) == 0 || r.Causes[0].Feature != "cost of misses" || r.Causes[0].Kind != "result" {
			t.Errorf("causes: %+v", r.Causes)
		}
		w.Scripts = nil // another server, where Python is switched off
		metrics[0].Outcomes = false
		if _, err := w.Put(w.ctx, "payments", Change{Metrics: &metrics}); err != nil {
			t.Fatal(err)
		}
		w.pay(400)
		w.tick()
		if v := w.all("payments")[1].Metrics[0]; v.Value != nil || v.Why != "This server runs no modules in Python." {
			t.Errorf("without Python: %+v", v)
		}
	})
}
