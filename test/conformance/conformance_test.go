// Package conformance drives other people's programs, unmodified, against the built server: what they expect of it is
// what it has to do.
package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/db/dbtest"
	"keelson/test/e2e"
)

// Python names the interpreter of the environment of mlflow/requirements.txt; make test sets it.
const Python = "KEELSON_MLFLOW_PYTHON"

func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv(Python)
	if p == "" {
		t.Skip(Python + " is not set: it names a Python with test/conformance/mlflow/requirements.txt; make test sets it")
	}
	return p
}

func TestMLflowClientOnSQLite(t *testing.T) {
	journey(t)
}

func TestMLflowClientOnPostgreSQL(t *testing.T) {
	if os.Getenv(dbtest.Postgres) == "" {
		t.Skip(dbtest.Postgres + " is not set: there is no PostgreSQL to run the client's journey on")
	}
	python(t)
	journey(t, "--database", dbtest.DSN(t))
}

// journey runs every step of mlflow/steps and reports each as a test of its own. KEELSON_STEPS names the files to run.
func journey(t *testing.T, args ...string) {
	py := python(t)
	s := e2e.Start(t, append(args, "--outbound-allow", "127.0.0.1", "--python", py)...) // webhooks are received here; models in Python run in the client's
	driver, err := filepath.Abs("mlflow/driver.py")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	dir := t.TempDir()
	report := filepath.Join(dir, "report.jsonl")
	only := strings.Fields(os.Getenv("KEELSON_STEPS"))
	cmd := exec.CommandContext(ctx, py, append([]string{driver, report}, only...)...)
	cmd.Dir = dir
	cmd.Env = append(clean(), "MLFLOW_TRACKING_URI="+s.URL, "MLFLOW_TRACKING_TOKEN="+s.Token, "HOME="+dir, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the driver ended with %v:\n%s", err, out)
	}
	f, err := os.Open(report)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	steps, done := 0, false
	for lines.Scan() {
		var r struct {
			File, Step, Error string
			OK, Done          bool
			Seconds           float64
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Done {
			done = true
			continue
		}
		steps++
		t.Run(r.File+"/"+r.Step, func(t *testing.T) {
			t.Logf("%.2f s", r.Seconds)
			if !r.OK {
				t.Error(r.Error)
			}
		})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if !done {
		t.Error("the driver did not come to its end")
	}
	if steps < 60 && len(only) == 0 {
		t.Errorf("%d steps were run, want at least 60", steps)
	}
}

// clean is the environment without what would point the client elsewhere.
func clean() (env []string) {
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MLFLOW_") && !strings.HasPrefix(kv, "KEELSON_") && !strings.HasPrefix(kv, "DATABRICKS_") {
			env = append(env, kv)
		}
	}
	return env
}
