package mlflowapi

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/db/dbtest"
	"keelson/internal/inventory"
)

// TestScreeningExampleRegistersReadyVersions runs the example's own training code against the server, twice: both
// versions pass their golden rows, and the same training gives the same content digest.
func TestScreeningExampleRegistersReadyVersions(t *testing.T) {
	python := os.Getenv("KEELSON_PYTHON")
	if python == "" {
		t.Skip("KEELSON_PYTHON is not set; it names a Python that has mlflow-skinny, xgboost-cpu, scikit-learn, pandas and pyarrow")
	}
	s := serve(t, dbtest.SQLite(t))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	example, err := filepath.Abs("../../examples/screening")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, python, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "MLFLOW_TRACKING_URI="+s.URL, "MLFLOW_DISABLE_TELEMETRY=true", "GIT_PYTHON_REFRESH=quiet", "HOME="+dir, "PYTHONDONTWRITEBYTECODE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s ended with %v:\n%s", strings.Join(args, " "), err, out)
		}
	}
	run(filepath.Join(example, "make_data.py"), "data")
	var versions []inventory.Version
	for n := 1; n <= 2; n++ {
		run(filepath.Join(example, "train.py"), "--data", "data/older.csv")
		v, err := s.m.Inventory.Await(ctx, "screening", n, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if v.State != inventory.Ready || v.Golden.MaxError == nil || *v.Golden.MaxError > 1e-6 || v.Golden.Rows != 24 {
			t.Fatalf("version %d is %s (%s), golden %+v", n, v.State, v.Reason, v.Golden)
		}
		if len(v.Signature.Inputs) != 1 || len(v.Signature.Inputs[0].Columns) != 30 {
			t.Errorf("version %d has the inputs %+v, want one matrix of 30 named columns", n, v.Signature.Inputs)
		}
		versions = append(versions, v)
	}
	a, b := versions[0], versions[1]
	if a.ContentDigest != b.ContentDigest || a.ArtifactDigest == b.ArtifactDigest {
		t.Errorf("trained twice: content %s and %s, artifact %s and %s; want equal contents and different artifacts", a.ContentDigest, b.ContentDigest, a.ArtifactDigest, b.ArtifactDigest)
	}
}
