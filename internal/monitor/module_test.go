package monitor

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keelson/internal/blob"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tensor"
	"keelson/internal/wasm"
	"keelson/internal/wasm/wasmtest"
)

// withModules lets a service run modules.
func (w *world) withModules() *Service {
	w.t.Helper()
	blobs, err := blob.OpenDir(w.t.TempDir())
	if err != nil {
		w.t.Fatal(err)
	}
	w.Service.Blobs, w.Service.Modules = blobs, &wasm.Host{}
	w.t.Cleanup(func() { w.Modules.Close(context.Background()) })
	return w.Service
}

// pay sends n calls about amounts with a score.
func (w *world) pay(n int) {
	w.t.Helper()
	var list []prediction.Record
	for i := range n {
		score := 0.1
		if i%2 == 1 {
			score = 0.9
		}
		list = append(list, prediction.Record{Workspace: "default", Endpoint: "payments", Model: "payments", Version: 1, Slot: prediction.SlotLive, Rows: 1,
			Inputs:  []tensor.Tensor{tensor.FP64s("amount", []int{1}, []float64{100}), tensor.Strings("bank", []int{1}, []string{"b\"ank"})},
			Outputs: []tensor.Tensor{tensor.FP64s("score", []int{1}, []float64{score})}})
	}
	if err := w.calls.Log.AppendAll(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
	for i := range list {
		w.ids = append(w.ids, list[i].ID)
	}
}

func TestACustomMetricIsComputedByAModuleFromRealRows(t *testing.T) {
	code := wasmtest.Build(t, "../../examples/metric")
	each(t, func(w *world) {
		w.withModules()
		m, err := w.PutModule(w.ctx, "cost", bytes.NewReader(code))
		if err != nil || m.Ref() != "cost@1" {
			t.Fatalf("%+v %v", m, err)
		}
		if again, err := w.PutModule(w.ctx, "cost", bytes.NewReader(code)); err != nil || again != m {
			t.Errorf("the same bytes: %+v %v", again, err)
		}
		metrics := []Metric{{Name: "cost of errors", Module: "cost", Outcomes: true, Max: some(1000), Unit: "EUR"}, {Name: "at once", Module: "cost@1", Columns: []string{"amount"}},
			{Name: "narrow", Module: "cost", Columns: []string{"bank"}, When: "output.score > 0.5", Outcomes: true}}
		set, err := w.Put(w.ctx, "payments", Change{Metrics: &metrics})
		if err != nil || set.Metrics[0].Module != "cost@1" {
			t.Fatalf("%+v %v", set.Metrics, err)
		}
		w.pay(400)
		w.tick()
		r := w.all("payments")[0]
		if v := r.Metrics[0]; v.Value != nil || v.Why != "no outcome has arrived" || v.LeftOut != 400 {
			t.Errorf("before outcomes: %+v", v)
		}
		if v := r.Metrics[1]; v.Value != nil || v.Why != "no row has a score, an amount and an outcome" || v.LeftOut != 400 {
			t.Errorf("a module that finds no outcomes: %+v", v)
		}
		// A newer version is there, and the monitor stays with the one it was set with.
		if m, err := w.PutModule(w.ctx, "cost", bytes.NewReader(wasmtest.Make(wasmtest.Parts{Answer: `{"value":-7}`}))); err != nil || m.Number != 2 {
			t.Fatalf("%+v %v", m, err)
		}
		var list []prediction.Outcome
		for _, id := range w.ids { // of 200 scores of 0.1 all are missed, of 200 of 0.9 none
			list = append(list, prediction.Outcome{Prediction: id, Value: []byte("1")})
		}
		if _, _, err := w.calls.Record(w.ctx, list); err != nil {
			t.Fatal(err)
		}
		w.tick()
		r = w.all("payments")[0]
		if v := r.Metrics[0]; v.Value == nil || *v.Value != 200*10*100 || v.Rows != 400 {
			t.Errorf("with outcomes: %+v", v)
		}
		if v := r.Metrics[2]; v.Value != nil || v.LeftOut != 200 {
			t.Errorf("without the amounts: %+v", v)
		}
		if len(r.Causes) == 0 || r.Causes[0].Feature != "cost of errors" || r.Causes[0].Kind != "result" || r.Causes[0].Limit != 1000 {
			t.Errorf("causes: %+v", r.Causes)
		}
		if err := w.DeleteModule(w.ctx, "cost", 1); !problem.Is(err, problem.Conflict) {
			t.Errorf("one that is used: %v", err)
		}
		if err := w.DeleteModule(w.ctx, "cost", 2); err != nil {
			t.Error(err)
		}
		if all, err := w.ModuleList(w.ctx, ""); err != nil || len(all) != 1 {
			t.Errorf("%+v %v", all, err)
		}
	})
}

func TestAModuleThatMisbehavesLeavesTheMetricUndefinedWithTheReason(t *testing.T) {
	each(t, func(w *world) {
		w.withModules()
		w.pay(400)
		for i, c := range []struct {
			parts wasmtest.Parts
			why   string
		}{
			{wasmtest.Parts{Pages: 8, Answer: `{"value":41.5,"rows":400}`}, ""},
			{wasmtest.Parts{Pages: 8, Answer: `not JSON`}, "is no JSON"},
			{wasmtest.Parts{Pages: 8, Answer: `{"value":1e999}`}, "is no JSON"},
			{wasmtest.Parts{Pages: 8, Answer: `{"rows":-1}`}, "a number that cannot be"},
			{wasmtest.Parts{Pages: 8, Answer: `{}`}, "no value and no reason"},
			{wasmtest.Parts{Pages: 8, Body: wasmtest.Far()}, "outside of its memory"},
		} {
			name := fmt.Sprintf("m%d", i)
			if _, err := w.PutModule(w.ctx, name, bytes.NewReader(wasmtest.Make(c.parts))); err != nil {
				t.Fatal(err)
			}
			endpoint := "payments"
			if _, err := w.Put(w.ctx, endpoint, Change{Metrics: &[]Metric{{Name: "x", Module: name}}}); err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				w.pay(400)
			}
			w.tick()
			all := w.all(endpoint)
			v := all[len(all)-1].Metrics[0]
			if len(all) != i+1 || (v.Value == nil) != (c.why != "") || !strings.Contains(v.Why, c.why) {
				t.Errorf("%s: %+v", c.parts.Answer, v)
			}
		}
	})
}

func TestTheRoutesOfModulesSpeakAsPlanned(t *testing.T) {
	each(t, func(w *world) {
		api := rest.New("test", gate{}, w.Log)
		w.withModules().Routes(api)
		server := httptest.NewServer(api)
		defer server.Close()
		good := string(wasmtest.Make(wasmtest.Parts{Answer: `{"value":1}`}))
		for _, c := range []struct {
			method, path, body string
			want               int
			says               string
		}{
			{"PUT", "/api/v1/monitor-modules/cost", good, 200, `"number":1`},
			{"PUT", "/api/v1/monitor-modules/cost", "MZ", 422, "no WebAssembly module"},
			{"PUT", "/api/v1/monitor-modules/Cost%20of", good, 422, "lower-case"},
			{"PUT", "/api/v1/monitor-modules/net", string(wasmtest.Make(wasmtest.Parts{Import: "connect"})), 422, "imports env.connect"},
			{"PUT", "/api/v1/monitor-modules/big", strings.Repeat("x", wasm.MaxModule+2), 413, ""},
			{"GET", "/api/v1/monitor-modules", "", 200, `"cost"`},
			{"GET", "/api/v1/monitor-modules/cost", "", 200, `"digest":"sha256:`},
			{"GET", "/api/v1/monitor-modules/none", "", 404, ""},
			{"PUT", "/api/v1/monitors/x", `{"metrics":[{"name":"a","module":"none"}]}`, 422, "There is no module"},
			{"PUT", "/api/v1/monitors/x", `{"metrics":[{"name":"a","module":"a b"}]}`, 422, "metrics[0].module"},
			{"PUT", "/api/v1/monitors/x", `{"metrics":[{"name":"a","module":"cost","expression":"1.0"}]}`, 422, "metrics[0].module"},
			{"PUT", "/api/v1/monitors/x", `{"metrics":[{"name":"a","expression":"1.0","outcomes":true}]}`, 422, "metrics[0].module"},
			{"PUT", "/api/v1/monitors/x", `{"metrics":[{"name":"a","module":"cost"}]}`, 200, `"cost@1"`},
			{"DELETE", "/api/v1/monitor-modules/cost/1", "", 409, "monitor of"},
			{"DELETE", "/api/v1/monitor-modules/cost/7", "", 404, ""},
			{"PUT", "/api/v1/monitors/x", `{"metrics":[]}`, 200, ""},
			{"DELETE", "/api/v1/monitor-modules/cost/1", "", 204, ""},
		} {
			q, _ := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.body))
			q.Header.Set("Content-Type", "application/json")
			r, err := server.Client().Do(q)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			_, _ = text.ReadFrom(r.Body)
			r.Body.Close()
			if r.StatusCode != c.want || !strings.Contains(text.String(), c.says) {
				t.Errorf("%s %s %.60q: %d %s", c.method, c.path, c.body, r.StatusCode, text.String())
			}
		}
	})
}
