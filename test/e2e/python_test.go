package e2e

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/proc"
	"keelson/internal/tensor"
)

// TestAKilledServerLeavesNoPythonBehind kills the program at once while it serves a model in Python, and starts it again.
func TestAKilledServerLeavesNoPythonBehind(t *testing.T) {
	py := os.Getenv("KEELSON_MLFLOW_PYTHON")
	if py == "" {
		t.Skip("KEELSON_MLFLOW_PYTHON is not set: it names a Python with scikit-learn, in which the model runs; make test sets it")
	}
	dir := t.TempDir()
	script := `
import joblib, sys
from sklearn.linear_model import LinearRegression
joblib.dump(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), sys.argv[1])`
	if out, err := exec.Command(py, "-c", script, filepath.Join(dir, "model.joblib")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	s := Start(t, "--python", py)
	c := s.Person(ctx, "ana", "data-scientist")
	v, err := c.Register(ctx, "line", client.NewVersion{}, []client.Artifact{{Path: "model.joblib", Open: func() (io.ReadCloser, error) { return os.Open(filepath.Join(dir, "model.joblib")) }}})
	if err == nil {
		v, err = c.WaitVersion(ctx, "line", v.Version)
	}
	if err != nil || v.State != "ready" {
		t.Fatalf("the version is %s: %s (%v)", v.State, v.Reason, err)
	}
	if _, err := c.Propose(ctx, client.NewApproval{Kind: "deploy", Model: "line", Version: 1, Environment: "dev", Reason: "try it", WhenApproved: true}); err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
			var a struct{ Outputs []tensor.Tensor }
			err := c.Infer(ctx, "line.dev", map[string]any{"inputs": []tensor.Tensor{tensor.FP64s("input", []int{1, 1}, []float64{2})}}, &a)
			if err == nil && (a.Outputs[0].F64[0] < 4.999999 || a.Outputs[0].F64[0] > 5.000001) {
				err = errors.New("it answers otherwise than 5")
				return false, true, err
			}
			return true, err == nil, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	var e app.Engines
	if err := c.Get(ctx, "/api/v1/engines", &e); err != nil || len(e.Python.Versions) != 1 || len(e.Python.Versions[0].Children) != 1 {
		t.Fatalf("the server runs %+v (%v)", e.Python, err)
	}
	pid := e.Python.Versions[0].Children[0].PID
	s.Kill()
	if _, err := client.Wait(ctx, func(context.Context) (bool, bool, error) {
		f, err := proc.Stat(pid)
		return true, errors.Is(err, fs.ErrNotExist) || err == nil && f[0] == "Z", nil
	}); err != nil {
		t.Fatalf("the process %d of the model outlived the server: %v", pid, err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	ask()
}
