package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/inventory"
	"keelson/internal/runtime"
)

// TestVersionsWithoutAnEngineAreTestedOncePerEngines starts servers over one folder: what no engine could run is tested
// again when the library was installed in between, and by no other start.
func TestVersionsWithoutAnEngineAreTestedOncePerEngines(t *testing.T) {
	library := os.Getenv("KEELSON_TEST_ONNXRUNTIME")
	if library == "" {
		t.Skip("KEELSON_TEST_ONNXRUNTIME is not set: this test needs the library that keelson runtime install onnxruntime unpacks")
	}
	b, err := os.ReadFile("../engine/onnxruntime/testdata/models.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct{ Name, Model string }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	dir, data := t.TempDir(), t.TempDir()
	for _, c := range doc.Cases { // lstm runs with the library, the custom operator never
		if c.Name != "lstm" && c.Name != "custom operator" {
			continue
		}
		text, err := base64.StdEncoding.DecodeString(c.Model)
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, c.Name[:4]), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, c.Name[:4], "model.onnx"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
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
