package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/alert"
	"keelson/internal/app"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/engine/onnxruntime"
	"keelson/internal/incident"
	"keelson/internal/inventory"
	"keelson/internal/proc"
	"keelson/internal/runtime"
	"keelson/internal/tensor"
)

// networks writes two models of the onnxruntime engine's tests below dir: lstm, which runs with the library, and cust,
// which never does. It gives inputs for them.
func networks(t *testing.T, dir string) map[string][]tensor.Tensor {
	t.Helper()
	b, err := os.ReadFile("../engine/onnxruntime/testdata/models.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			Name, Model string
			Calls       []struct{ Inputs []tensor.Tensor }
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	inputs := map[string][]tensor.Tensor{}
	for _, c := range doc.Cases {
		if c.Name != "lstm" && c.Name != "custom operator" {
			continue
		}
		name := c.Name[:4]
		text, err := base64.StdEncoding.DecodeString(c.Model)
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, name), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name, "model.onnx"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Calls) > 0 {
			inputs[name] = c.Calls[0].Inputs
		}
	}
	return inputs
}

// installRuntime puts the library where keelson runtime install puts it.
func installRuntime(t *testing.T, data string) {
	t.Helper()
	library := os.Getenv("KEELSON_TEST_ONNXRUNTIME")
	if library == "" {
		t.Skip("KEELSON_TEST_ONNXRUNTIME is not set: this test needs the library that keelson runtime install onnxruntime unpacks")
	}
	p, err := runtime.Find("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(data, "runtime", p.Name+"-"+p.Version)
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(to, filepath.Base(library)))
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestVersionsWithoutAnEngineAreTestedOncePerEngines starts servers over one folder: what no engine could run is tested
// again when the library was installed in between, and by no other start.
func TestVersionsWithoutAnEngineAreTestedOncePerEngines(t *testing.T) {
	if os.Getenv("KEELSON_TEST_ONNXRUNTIME") == "" {
		t.Skip("KEELSON_TEST_ONNXRUNTIME is not set: this test needs the library that keelson runtime install onnxruntime unpacks")
	}
	dir, data := t.TempDir(), t.TempDir()
	networks(t, dir)
	open := func(t *testing.T) (*app.App, *client.Client) {
		t.Helper()
		a := start(t, func(c *app.Config) { c.Auth, c.Data = "off", data })
		c, err := client.New(client.Config{Server: a.URL})
		if err != nil {
			t.Fatal(err)
		}
		return a, c
	}
	// entries counts what the audit log says of a model.
	entries := func(t *testing.T, a *app.App, model string) int {
		t.Helper()
		list, err := a.Audit.List(caller.WithWorkspace(t.Context(), "default"), audit.Query{Model: model, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	var before int
	t.Run("without the library both are registered and fail", func(t *testing.T) {
		a, c := open(t)
		for _, model := range []string{"lstm", "cust"} {
			if v := folder(t, c, model, filepath.Join(dir, model)); v.State != inventory.Failed || v.Fault != inventory.FaultNoEngine {
				t.Fatalf("%s is %s %s: %s", model, v.State, v.Fault, v.Reason)
			}
		}
		before = entries(t, a, "cust")
		if before == 0 {
			t.Fatal("the audit log says nothing of a registration")
		}
	})
	installRuntime(t, data)
	t.Run("with it both are tested once", func(t *testing.T) {
		a, c := open(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
			var v inventory.Version
			err := c.Get(ctx, "/api/v1/models/lstm/versions/1", &v)
			return true, v.State == inventory.Ready && v.Engine == "onnxruntime" && entries(t, a, "cust") > before, err
		}); err != nil {
			t.Fatal(err)
		}
		if n := entries(t, a, "cust"); n != before+1 {
			t.Errorf("%d audit entries of the version that still fails, want one more than %d", n, before)
		}
	})
	for _, name := range []string{"a restart tests nothing", "nor does another"} {
		t.Run(name, func(t *testing.T) {
			a, c := open(t)
			folder(t, c, "after", filepath.Join(dir, "lstm")) // has come through the same queue
			if n := entries(t, a, "cust"); n != before+1 {
				t.Errorf("%d audit entries, want %d as before", n, before+1)
			}
			var v inventory.Version
			if err := c.Get(t.Context(), "/api/v1/models/cust/versions/1", &v); err != nil || v.State != inventory.Failed {
				t.Errorf("the version is %s, %v", v.State, err)
			}
		})
	}
}

// TestAProcessOfOnnxruntimeThatIsKilledIsOneIncidentAndThePolicyActs kills the process of a live version with a policy that
// suspends its endpoint.
func TestAProcessOfOnnxruntimeThatIsKilledIsOneIncidentAndThePolicyActs(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	installRuntime(t, data)
	calls := networks(t, dir)
	a := start(t, func(c *app.Config) { c.Auth, c.Data = "off", data })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	v := folder(t, c, "lstm", filepath.Join(dir, "lstm"))
	if v.Engine != "onnxruntime" {
		t.Fatalf("the version runs on %q: %s", v.Engine, v.Reason)
	}
	live(t, c, v, calls["lstm"])
	code, text := request(t, "PUT", a.URL+"/api/v1/alert-policy?model=lstm", "", strings.NewReader(`{"actions":[{"do":"suspend","kinds":["crash"]}],"note":"a test"}`))
	if code != 200 {
		t.Fatalf("policy: %d %s", code, text)
	}
	below, _ := proc.Below(os.Getpid())
	killed := 0
	for _, pid := range below {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(line), onnxruntime.Word) {
			proc.Kill(pid)
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("there is no process to kill")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var alerts struct{ Items []alert.Alert }
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		alerts.Items = nil
		if err := c.Get(ctx, "/api/v1/alerts?kind=crash", &alerts); err != nil || len(alerts.Items) == 0 {
			return true, false, err
		}
		var one alert.Alert
		err := c.Get(ctx, "/api/v1/alerts/"+alerts.Items[0].ID, &one)
		return true, len(one.Acts) == 1 && one.Acts[0].State == "done", err
	}); err != nil {
		t.Fatalf("%v: %+v", err, alerts)
	}
	if one := alerts.Items[0]; len(alerts.Items) != 1 || one.Endpoint != "lstm.dev" || one.Version != 1 || !strings.Contains(one.Title, "signal killed") {
		t.Errorf("alerts %+v", alerts.Items)
	}
	var open struct{ Items []incident.Incident }
	if err := c.Get(ctx, "/api/v1/incidents?state=open", &open); err != nil || len(open.Items) != 1 || open.Items[0].Kind != incident.EngineCrashed || open.Items[0].Model != "lstm" {
		t.Errorf("incidents %+v, %v", open.Items, err)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		err := c.Infer(ctx, "lstm.dev", map[string]any{"inputs": calls["lstm"]}, nil)
		return true, err != nil && strings.Contains(err.Error(), "suspended"), nil
	}); err != nil {
		t.Errorf("the endpoint is not suspended: %v", err)
	}
}
