package venv_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"keelson/internal/problem"
	"keelson/internal/venv"
)

func TestAnEnvironmentIsMadeOnceFromItsLockFile(t *testing.T) {
	e := &venv.Environments{Root: t.TempDir()}
	lock := []byte("# nothing to install\n")
	var log bytes.Buffer
	bin, err := e.EnsureWheels(t.Context(), lock, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if !strings.Contains(log.String(), "ready") {
		t.Errorf("the log %q does not tell of the making", &log)
	}
	log.Reset()
	again, err := e.Ensure(t.Context(), lock, &log)
	if err != nil || again != bin || log.Len() != 0 {
		t.Errorf("the second time gave %s %v and said %q, want %s and silence", again, err, &log, bin)
	}
	if got, ok := e.Ready(lock); !ok || got != bin {
		t.Errorf("it is ready in %q %v, want %s", got, ok, bin)
	}
	t.Setenv("PIP_NO_INDEX", "1") // pip's own configuration holds
	missing := []byte("no-such-package-of-keelson==0.0.1\n")
	if _, err := e.EnsureWheels(t.Context(), missing, &log); err == nil || !strings.Contains(err.Error(), "no-such-package-of-keelson==0.0.1") {
		t.Errorf("a lock file that cannot be installed gave %v", err)
	}
	if _, ok := e.Ready(missing); ok {
		t.Error("an environment that was not made to its end is ready")
	}
	root := t.TempDir()
	small := &venv.Environments{Root: root, Most: 1 << 20}
	if _, err := small.EnsureWheels(t.Context(), lock, &log); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "more than 1 MiB") {
		t.Errorf("an environment that is too large gave %v", err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("of an environment that was not made, %v is left (%v)", left, err)
	}
	given := &venv.Environments{Python: "/no/such/python"}
	if _, err := given.Ensure(t.Context(), lock, &log); err == nil || !strings.Contains(err.Error(), "/no/such/python") {
		t.Errorf("a configured Python that is missing gave %v", err)
	}
}
