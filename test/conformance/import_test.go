package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/db/dbtest"
	"keelson/test/e2e"
)

// Runs is the variable with the number of runs that the imported server holds; 60 without it.
const Runs = "KEELSON_IMPORT_RUNS"

// peer starts MLflow's own server on SQLite and gives its address.
func peer(t *testing.T, py string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().(*net.TCPAddr)
	l.Close()
	dir := t.TempDir()
	var log bytes.Buffer
	cmd := exec.Command(py, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///"+filepath.Join(dir, "mlflow.db"), "--artifacts-destination", filepath.Join(dir, "files"),
		"--host", "127.0.0.1", "--port", fmt.Sprint(listen.Port), "--workers", "1")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.Env = append(clean(), "MLFLOW_DISABLE_TELEMETRY=true", "HOME="+dir, "PYTHONDONTWRITEBYTECODE=1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its workers with it; the group is ours alone
		<-ended
		if t.Failed() {
			text := log.String()
			t.Logf("the end of the MLflow server's log:\n%s", text[max(0, len(text)-4000):])
		}
	})
	url := "http://" + listen.String()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		resp, err := http.Get(url + "/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return url
			}
		}
		select {
		case <-ended:
			t.Fatalf("the MLflow server ended:\n%s", log.String())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the MLflow server was not ready in 2 minutes:\n%s", log.String())
		}
	}
}

type report struct {
	Verified bool
	Rows     []struct {
		Kind                    string
		Source, Copied, Differs int64
		There                   int64  `json:"already_there"`
		SourceDigest            string `json:"source_digest"`
		TargetDigest            string `json:"target_digest"`
	}
	Differences []struct{ Kind, ID, Why string }
}

// importing prepares the command that copies from one server to another.
func importing(ctx context.Context, t *testing.T, from string, to *e2e.Server, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e2e.Binary(t), append([]string{"import", "mlflow", "--from", from, "--json"}, args...)...)
	cmd.Env = append(clean(), "KEELSON_URL="+to.URL, "KEELSON_TOKEN="+to.Token, "KEELSON_CONFIG="+filepath.Join(t.TempDir(), "none.yaml"))
	return cmd
}

func imported(ctx context.Context, t *testing.T, from string, to *e2e.Server, code int, args ...string) (r report) {
	t.Helper()
	cmd := importing(ctx, t, from, to, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begin := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("keelson import mlflow ended with %d, want %d:\n%s\n%s", got, code, &out, &errs)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("the report is not JSON: %v\n%s", err, &out)
	}
	for _, row := range r.Rows {
		t.Logf("%s: %d there, %d copied, %d known, %d differ", row.Kind, row.Source, row.Copied, row.There, row.Differs)
	}
	t.Logf("imported and compared in %s", time.Since(begin).Round(time.Millisecond))
	return r
}

// A team moves: what a running MLflow server holds comes over whole, also when the copy is killed on the way, and copying
// again changes nothing.
func TestARunningMLflowServerIsImported(t *testing.T) {
	py := python(t)
	runs := os.Getenv(Runs)
	if runs == "" {
		runs = "60"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 14*time.Minute)
	defer cancel()
	from := peer(t, py)
	script, err := filepath.Abs("mlflow/fill.py")
	if err != nil {
		t.Fatal(err)
	}
	fill := exec.CommandContext(ctx, py, script, runs)
	dir := t.TempDir()
	fill.Dir, fill.Env = dir, append(clean(), "MLFLOW_TRACKING_URI="+from, "HOME="+dir, "PYTHONDONTWRITEBYTECODE=1", "MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true", "GIT_PYTHON_REFRESH=quiet")
	begin := time.Now()
	if out, err := fill.CombinedOutput(); err != nil {
		t.Fatalf("fill.py ended with %v:\n%s", err, out)
	}
	t.Logf("%s runs made in %s", runs, time.Since(begin).Round(time.Second))
	t.Run("to SQLite", func(t *testing.T) { moves(ctx, t, from, e2e.Start(t)) })
	t.Run("to PostgreSQL", func(t *testing.T) {
		if os.Getenv(dbtest.Postgres) == "" {
			t.Skip(dbtest.Postgres + " is not set: there is no PostgreSQL to import into")
		}
		moves(ctx, t, from, e2e.Start(t, "--database", dbtest.DSN(t)))
	})
}

func moves(ctx context.Context, t *testing.T, from string, to *e2e.Server) {
	cl := to.Client("")
	cut := importing(ctx, t, from, to, "--deleted")
	if err := cut.Start(); err != nil {
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	if _, err := client.Wait(soon, func(ctx context.Context) (int, bool, error) {
		var page client.Page[json.RawMessage]
		err := cl.Get(ctx, "/api/v1/runs?limit=20", &page)
		return 0, len(page.Items) >= 10, err
	}); err != nil {
		t.Fatalf("ten runs are not there: %v", err)
	}
	if err := cut.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cut.Wait() // it was killed

	r := imported(ctx, t, from, to, client.ExitDone, "--deleted")
	if !r.Verified {
		t.Error("the report is not verified")
	}
	there := int64(0)
	for _, row := range r.Rows {
		if row.Source == 0 || row.Copied+row.There != row.Source || row.Differs != 0 {
			t.Errorf("%s: %+v; want all that is there, and no difference", row.Kind, row)
		}
		if row.Kind != "experiments" && (row.SourceDigest == "" || row.SourceDigest != row.TargetDigest) {
			t.Errorf("%s: the digests are %q and %q", row.Kind, row.SourceDigest, row.TargetDigest)
		}
		there += row.There
	}
	if there == 0 {
		t.Error("nothing was there after the copy that was killed")
	}
	again := imported(ctx, t, from, to, client.ExitDone, "--deleted")
	for i, row := range again.Rows {
		if row.Copied != 0 || row.There != row.Source || row.SourceDigest != r.Rows[i].SourceDigest {
			t.Errorf("copied again, %s: %+v; want nothing copied and the digest %q", row.Kind, row, r.Rows[i].SourceDigest)
		}
	}

	var v client.Version
	if v, _ = cl.Version(ctx, "churn", 3); v.Version != 3 || !strings.Contains(strings.Join(v.Aliases, " "), "champion") {
		t.Errorf("churn/3 is %+v, want it under its number with its alias", v)
	}
	if _, err := cl.Version(ctx, "churn", 2); !client.IsKind(err, "not-found") {
		t.Errorf("churn/2 was deleted there; here: %v", err)
	}
	if v, err := cl.Version(ctx, "my-model", 2); err != nil || v.Version != 2 {
		t.Errorf("my.model/2 is not there under a name that can be borne: %v", err)
	}

	verbs(ctx, t, to)

	// What changed here afterwards is found.
	var page client.Page[struct{ ID string }]
	if err := cl.Get(ctx, "/api/v1/runs?limit=1", &page); err != nil || len(page.Items) != 1 {
		t.Fatal(err, page)
	}
	if err := cl.Post(ctx, "/api/2.0/mlflow/runs/set-tag", map[string]string{"run_id": page.Items[0].ID, "key": "late", "value": "x"}, nil); err != nil {
		t.Fatal(err)
	}
	r = imported(ctx, t, from, to, client.ExitCheck, "--deleted")
	if len(r.Differences) != 1 || r.Differences[0].ID != page.Items[0].ID {
		t.Errorf("the differences are %+v, want the run %s", r.Differences, page.Items[0].ID)
	}
}

// verbs uses the command line on what came over.
func verbs(ctx context.Context, t *testing.T, to *e2e.Server) {
	t.Helper()
	run := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, e2e.Binary(t), args...)
		cmd.Env = append(clean(), "KEELSON_URL="+to.URL, "KEELSON_TOKEN="+to.Token, "KEELSON_CONFIG="+filepath.Join(t.TempDir(), "none.yaml"))
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != code {
			t.Fatalf("keelson %s: %v, want exit %d\n%s%s", strings.Join(args, " "), err, code, &out, &errs)
		}
		return out.String() + errs.String()
	}
	if text := run(client.ExitDone, "version", "diff", "churn/1", "3"); !strings.Contains(text, "churn/1 → churn/3") || !strings.Contains(text, "slope") || !strings.Contains(text, "~ mse  0.1 → 0.3") {
		t.Errorf("the difference of two versions is\n%s", text)
	}
	var diff struct {
		Same  bool
		Files []struct{ Path, Change string }
	}
	if err := json.Unmarshal([]byte(run(client.ExitCheck, "version", "diff", "churn@champion", "churn@challenger", "--json", "--exit-code")), &diff); err != nil || diff.Same || len(diff.Files) < 4 {
		t.Errorf("the difference as JSON: %v %+v", err, diff)
	}
	run(client.ExitDone, "version", "diff", "churn/1", "1", "--exit-code")
	dir := t.TempDir()
	for range 2 { // the second time every file is there
		run(client.ExitDone, "version", "pull", "churn@champion", dir)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "MLmodel")); err != nil || !strings.Contains(string(b), "mlflow.sklearn") {
		t.Errorf("the MLmodel file that was pulled: %v %s", err, b)
	}
	var list []struct{ Version int }
	if err := json.Unmarshal([]byte(run(client.ExitDone, "version", "list", "churn", "--filter", "version_number > 1", "--json")), &list); err != nil || len(list) != 2 || list[0].Version != 4 {
		t.Errorf("the versions beyond 1 are %+v, %v", list, err)
	}
	if text := run(client.ExitDone, "model", "impact", "scikit-learn", "--kind", "library"); !strings.Contains(text, "churn") || !strings.Contains(text, "my-model") {
		t.Errorf("what uses scikit-learn:\n%s", text)
	}
	run(client.ExitUsage, "version", "delete", "my-model/1")
	run(client.ExitDone, "version", "delete", "my-model/1", "--yes")
	run(client.ExitNotFound, "version", "get", "my-model/1")
}
