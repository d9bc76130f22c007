package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"keelson/internal/problem"
)

// Environments builds Python environments from lock files, one folder below Root per lock digest. A given Python is taken
// as it is.
type Environments struct {
	Root   string
	Python string

	mu       sync.Mutex
	building map[string]*sync.Mutex
}

// readyMark marks an environment that was built to its end; a folder without it is built anew.
const readyMark = ".keelson-ready"

// Ensure gives the folder with the python of a lock file, building it first if needed; what happens is written to log.
// Without a lock it is what the machine has.
func (e *Environments) Ensure(ctx context.Context, lock []byte, log io.Writer) (bin string, err error) {
	if e.Python != "" {
		abs, err := filepath.Abs(e.Python)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(abs); err != nil {
			return "", problem.New(problem.Unavailable, "The configured Python %s is not there.", e.Python).Because(err)
		}
		return filepath.Dir(abs), nil
	}
	if lock == nil {
		return "/usr/bin", nil
	}
	host, err := exec.LookPath("python3")
	if err != nil {
		return "", problem.New(problem.Unavailable, "This machine has no python3; install it or start the server with --python.").Because(err)
	}
	digest := digestOf(lock)
	unlock := e.one(digest)
	defer unlock()
	dir, err := filepath.Abs(filepath.Join(e.Root, strings.TrimPrefix(digest, "sha256:")[:20]))
	if err != nil {
		return "", err
	}
	bin = filepath.Join(dir, "bin")
	if _, err := os.Stat(filepath.Join(dir, readyMark)); err == nil {
		return bin, nil
	}
	fmt.Fprintf(log, "making the Python environment %s…\n", digest[:19])
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make environment folder: %w", err)
	}
	file := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(file, lock, 0o600); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{host, "-m", "venv", dir},
		{filepath.Join(bin, "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r", file},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = log, log
		inGroup(cmd) // it dies with us, so a server that takes over does not find two builders in one folder
		runtime.LockOSThread()
		err := cmd.Run()
		runtime.UnlockOSThread()
		if err != nil {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return "", problem.New(problem.Unavailable, "The Python environment could not be made; the log of the step says why.").Because(
				errors.Join(fmt.Errorf("run %s", strings.Join(args, " ")), err))
		}
	}
	fmt.Fprintf(log, "the Python environment is ready.\n")
	return bin, os.WriteFile(filepath.Join(dir, readyMark), []byte(digest+"\n"), 0o600)
}

// one lets one builder per digest work at a time.
func (e *Environments) one(digest string) (unlock func()) {
	e.mu.Lock()
	if e.building == nil {
		e.building = map[string]*sync.Mutex{}
	}
	m := e.building[digest]
	if m == nil {
		m = &sync.Mutex{}
		e.building[digest] = m
	}
	e.mu.Unlock()
	m.Lock()
	return m.Unlock
}
