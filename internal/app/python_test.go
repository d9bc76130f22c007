package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/engine/onnxruntime"
	"keelson/internal/engine/python"
	"keelson/internal/inventory"
	"keelson/internal/proc"
	"keelson/internal/tensor"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "internal-python" {
		os.Exit(python.Launch(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == onnxruntime.Word {
		os.Exit(onnxruntime.Child(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// folder uploads every file below dir as the next version of a model and waits for its test.
func folder(t *testing.T, c *client.Client, model, dir string) inventory.Version {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	list, err := client.Artifacts(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Register(ctx, model, client.NewVersion{}, list)
	if err != nil {
		t.Fatal(err)
	}
	var out inventory.Version
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		out = inventory.Version{} // fields that are left out would stay
		err := c.Get(ctx, fmt.Sprintf("/api/v1/models/%s/versions/%d", model, v.Version), &out)
		return true, out.State != inventory.Pending && out.Fault != inventory.FaultPreparing, err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// live deploys a version to dev and waits until it answers there.
func live(t *testing.T, c *client.Client, v inventory.Version, in []tensor.Tensor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := c.Propose(ctx, client.NewApproval{Kind: "deploy", Model: v.Model, Version: v.Number, Environment: "dev", Reason: "try it", WhenApproved: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		var a struct {
			Version string `json:"model_version"`
		}
		err := c.Infer(ctx, v.Model+".dev", map[string]any{"inputs": in}, &a)
		return true, err == nil && a.Version == fmt.Sprint(v.Number), nil
	}); err != nil {
		t.Fatalf("version %d does not answer: %v", v.Number, err)
	}
}

// TestModelsInPythonLiveThroughTheWholeServer registers models that only Python loads, asks them by every protocol, kills
// their processes and replaces them under load, and looks at what is left when the server ends.
func TestModelsInPythonLiveThroughTheWholeServer(t *testing.T) {
	py := os.Getenv("KEELSON_MLFLOW_PYTHON")
	if py == "" {
		t.Skip("KEELSON_MLFLOW_PYTHON is not set: it names a Python with mlflow and scikit-learn, in which the models run; make test sets it")
	}
	dir := t.TempDir()
	if out, err := exec.Command(py, "../engine/python/testdata/models.py", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(py, "../engine/python/testdata/hostile.py", dir, "/nothing", "1").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var calls map[string]struct{ Inputs, Outputs []tensor.Tensor }
	b, err := os.ReadFile(filepath.Join(dir, "calls.json"))
	if err == nil {
		err = json.Unmarshal(b, &calls)
	}
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	t.Cleanup(func() { // after the server has ended
		for _, p := range pids {
			if f, err := proc.Stat(p); err == nil && f[0] != "Z" {
				t.Errorf("the process %d of a model lives on after the server", p)
			}
		}
	})
	a := start(t, func(c *app.Config) { c.Auth, c.PythonModels, c.Python = "off", "on", py })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	states := func() map[string]python.State {
		var e app.Engines
		if err := c.Get(t.Context(), "/api/v1/engines", &e); err != nil {
			t.Fatal(err)
		}
		if !e.Python.Works || e.Python.Isolation == nil || e.Python.Text == "" {
			t.Errorf("the server says of itself %+v", e.Python)
		}
		all := map[string]python.State{}
		for _, s := range e.Python.Versions {
			all[s.Version] = s
			for _, p := range s.Children {
				pids = append(pids, p.PID)
			}
		}
		return all
	}

	v := folder(t, c, "species", filepath.Join(dir, "sklearn"))
	if v.State != inventory.Ready || v.Engine != "python" || v.Format != python.FormatPyfunc || !v.Deployable || !strings.Contains(v.RunsIn, "Python 3") || v.Golden.Rows != 3 {
		t.Fatalf("the version is %+v", v)
	}
	in, want := calls["sklearn"].Inputs, calls["sklearn"].Outputs
	live(t, c, v, in)
	t.Run("REST and MLflow's call answer as mlflow does", func(t *testing.T) {
		var answer struct{ Outputs []tensor.Tensor }
		if err := c.Infer(t.Context(), "species.dev", map[string]any{"inputs": in}, &answer); err != nil || len(answer.Outputs) != 1 || !answer.Outputs[0].Equal(&want[0]) {
			t.Errorf("got %v %v", answer, err)
		}
		var rows [][]float64
		for r := range in[0].Rows() {
			rows = append(rows, []float64{in[0].F64[r], in[1].F64[r], in[2].F64[r], in[3].F64[r]})
		}
		body, _ := json.Marshal(map[string]any{"dataframe_split": map[string]any{"columns": []string{in[0].Name, in[1].Name, in[2].Name, in[3].Name}, "data": rows}})
		res, err := http.Post(a.URL+"/v2/models/species.dev/invocations", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var said struct{ Predictions []int64 }
		if err := json.NewDecoder(res.Body).Decode(&said); err != nil || res.StatusCode != 200 || fmt.Sprint(said.Predictions) != fmt.Sprint(want[0].I64) {
			t.Errorf("got %d %v %v, want %v", res.StatusCode, said, err, want[0].I64)
		}
		code, text := request(t, "POST", a.URL+"/v2/models/species.dev/infer", "", strings.NewReader(`{"inputs":[{"name":"sepal_length","shape":[1],"datatype":"FP64","data":[1]}]}`))
		if code < 400 || code > 499 || !strings.Contains(text, "sepal_width") {
			t.Errorf("a missing column: %d %s", code, text)
		}
	})
	t.Run("a pickle that ends its process fails its test", func(t *testing.T) {
		bad := t.TempDir()
		b, err := os.ReadFile(filepath.Join(dir, "exit.pkl"))
		if err == nil {
			err = os.WriteFile(filepath.Join(bad, "model.pkl"), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		v := folder(t, c, "bad", bad)
		if v.State != inventory.Failed || v.Fault != inventory.FaultLoad || !strings.Contains(v.Reason, "code 7") {
			t.Errorf("the version is %s %s: %s", v.State, v.Fault, v.Reason)
		}
	})
	t.Run("another model notices nothing of a killed process", func(t *testing.T) {
		other := folder(t, c, "mixed", filepath.Join(dir, "mixed"))
		live(t, c, other, calls["mixed"].Inputs)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var answered atomic.Int64
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := c.Infer(t.Context(), "mixed.dev", map[string]any{"inputs": calls["mixed"].Inputs}, nil); err != nil {
					t.Errorf("the other model: %v", err)
					return
				}
				answered.Add(1)
			}
		})
		before := states()[v.Ref()]
		if len(before.Children) != 1 {
			t.Fatalf("there are %+v", before)
		}
		proc.Kill(before.Children[0].PID)
		failed := 0
		if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
			err := c.Infer(ctx, "species.dev", map[string]any{"inputs": in}, nil)
			if err != nil {
				failed++
				var e *client.Error
				if !errors.As(err, &e) || e.Status != 503 {
					t.Errorf("got %v, want 503", err)
				}
			}
			return true, err == nil, nil
		}); err != nil {
			t.Error(err)
		}
		if failed > 1 {
			t.Errorf("%d calls failed, want at most the one that was in it", failed)
		}
		cancel()
		wg.Wait()
		if answered.Load() == 0 || states()[v.Ref()].Restarts != 1 {
			t.Errorf("the other model answered %d calls; %+v", answered.Load(), states()[v.Ref()])
		}
	})
	t.Run("tritonclient gets the same answers over HTTP and gRPC", func(t *testing.T) {
		client := os.Getenv("KEELSON_PYTHON")
		if client == "" {
			t.Skip("KEELSON_PYTHON is not set: it names a Python with tritonclient[http,grpc], which calls this server")
		}
		for _, name := range []string{"several", "mixed"} {
			v := folder(t, c, name, filepath.Join(dir, name))
			live(t, c, v, calls[name].Inputs)
			out, err := exec.Command(client, "testdata/triton_python.py", strings.TrimPrefix(a.URL, "http://"), name+".dev", filepath.Join(dir, "calls.json"), name).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	})
	t.Run("replacing a version under load fails no call", func(t *testing.T) {
		next := folder(t, c, "species", filepath.Join(dir, "proba"))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var answered, failed atomic.Int64
		for range 4 { // together about 200 calls a second
			wg.Go(func() {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
					}
					if err := c.Infer(t.Context(), "species.dev", map[string]any{"inputs": in}, nil); err != nil {
						failed.Add(1)
						t.Error(err)
					}
					answered.Add(1)
				}
			})
		}
		begin := time.Now()
		live(t, c, next, in)
		cancel()
		wg.Wait()
		t.Logf("%d calls in %s, %d failed", answered.Load(), time.Since(begin).Round(time.Millisecond), failed.Load())
		if failed.Load() > 0 || answered.Load() < 20 {
			t.Errorf("%d of %d calls failed", failed.Load(), answered.Load())
		}
	})
	states()
}

// TestVersionsOfBeforeAreTriedAgainAndEnvironmentsAreMade starts a server that runs no models in Python, then one over the
// same folder that does, but has to make their environments.
func TestVersionsOfBeforeAreTriedAgainAndEnvironmentsAreMade(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 here, of which environments are made")
	}
	dir, data := t.TempDir(), t.TempDir()
	files := map[string]string{
		"kept/MLmodel":           "flavors:\n  python_function:\n    env:\n      conda: conda.yaml\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n    python_version: 3.11.7\n",
		"kept/model.pkl":         "cos\nsystem\n(S'touch " + dir + "/opened'\ntR.",
		"kept/requirements.txt":  "# nothing\n",
		"odd/model.pkl":          "cos\nsystem\n(S'touch " + dir + "/opened'\ntR.",
		"odd/requirements.txt":   "git+https://example.com/evil.git\n",
		"never/model.joblib":     "x",
		"never/requirements.txt": "no-such-package-of-keelson==0.0.1\n",
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("without the engine", func(t *testing.T) {
		a := start(t, func(c *app.Config) { c.Auth, c.Data = "off", data })
		c, err := client.New(client.Config{Server: a.URL})
		if err != nil {
			t.Fatal(err)
		}
		if v := folder(t, c, "kept", filepath.Join(dir, "kept")); v.State != inventory.Ready || v.Fault != inventory.FaultNoEngine || v.Deployable || !strings.Contains(v.NotDeployable, "switched off") {
			t.Errorf("the version is %s %s: %s", v.State, v.Fault, v.NotDeployable)
		}
	})
	t.Setenv("PIP_NO_INDEX", "1")
	a := start(t, func(c *app.Config) { c.Auth, c.Data, c.PythonModels = "off", data, "on" })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var v inventory.Version
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		err := c.Get(ctx, "/api/v1/models/kept/versions/1", &v)
		return true, strings.Contains(v.Reason, "lacks what the model needs"), err
	}); err != nil {
		t.Fatalf("after the start with the engine the version is %s %s: %s (%v)", v.State, v.Fault, v.Reason, err)
	}
	if v.State != inventory.Ready || v.Fault != inventory.FaultNoEngine || v.Deployable {
		t.Errorf("the version is %s %s", v.State, v.Fault)
	}
	for model, says := range map[string]string{"odd": "not a package by its name", "never": "no-such-package-of-keelson==0.0.1"} {
		if v := folder(t, c, model, filepath.Join(dir, model)); v.State != inventory.Failed || v.Fault != inventory.FaultNoEngine || !strings.Contains(v.Reason, says) {
			t.Errorf("%s is %s %s: %s", model, v.State, v.Fault, v.Reason)
		}
	}
	code, text := request(t, "POST", a.URL+"/api/v1/models/kept/versions/1/check", "", strings.NewReader("{}"))
	if code != 200 || !strings.Contains(text, `"preparing"`) {
		t.Errorf("testing it again by hand: %d %s", code, text)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		err := c.Get(ctx, "/api/v1/models/kept/versions/1", &v)
		return true, v.Fault == inventory.FaultNoEngine, err
	}); err != nil {
		t.Errorf("it is %s: %v", v.Fault, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "opened")); err == nil {
		t.Error("a pickle was opened")
	}
}
