// Package venv builds private Python environments from lock files (requirements.txt), each once, and shares them.
//
// An environment is a folder below Root, named by the digest of its lock, made by the machine's python3 and pip. pip finds
// its packages where its own configuration says: an index, a folder of wheels, none at all.
package venv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"keelson/internal/problem"
	"keelson/internal/proc"
)

// Environments builds environments below Root. A given Python is taken as it is, for every lock.
type Environments struct {
	Root   string
	Python string
	Most   int64 // bytes of one environment while it is made; 0: 16 GiB

	mu       sync.Mutex
	building map[string]*sync.Mutex
}

// readyMark is the end of the name of a file beside an environment that was built to its end; a folder without it is built
// anew. It lies outside, so that no package brings it.
const readyMark = ".ready"

// longest is how long the making of one environment may take.
const longest = time.Hour

// System is the folder with the python of the machine itself, which stands in where there is no lock.
const System = "/usr/bin"

// Ensure gives the folder with the python of a lock file, building it first if needed; what happens is written to log.
// Without a lock it is what the machine has. The packages' own build programs may run, with this process's environment.
func (e *Environments) Ensure(ctx context.Context, lock []byte, log io.Writer) (bin string, err error) {
	return e.ensure(ctx, lock, log, nil, func(run runner, dir string) error {
		file := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(file, lock, 0o600); err != nil {
			return err
		}
		return run(append(append([]string{filepath.Join(dir, "bin", "python"), "-m", "pip", "install"}, quiet...), "-r", file)...)
	})
}

// EnsureWheels is Ensure for locks of people who may not run programs here: it installs built packages (wheels) only, for
// which no code of theirs runs, and hides this process's environment. It fails as Named does.
func (e *Environments) EnsureWheels(ctx context.Context, lock []byte, log io.Writer) (bin string, err error) {
	list, err := parse(lock)
	if err != nil {
		return "", err
	}
	return e.ensure(ctx, lock, log, environ(), func(run runner, dir string) error { return wheels(run, dir, list) })
}

// Ready gives the folder with the python of a lock file when it is there already.
func (e *Environments) Ready(lock []byte) (bin string, ok bool) {
	if e.Python != "" || lock == nil {
		bin, err := e.given()
		return bin, err == nil
	}
	dir, err := e.folder(digestOf(lock))
	if err != nil {
		return "", false
	}
	return filepath.Join(dir, "bin"), finished(dir)
}

func finished(dir string) bool {
	_, err := os.Stat(dir + readyMark)
	_, gone := os.Stat(dir)
	return err == nil && gone == nil
}

// given is the folder of the Python that stands in the configuration; System when none does.
func (e *Environments) given() (string, error) {
	if e.Python == "" {
		return System, nil
	}
	abs, err := filepath.Abs(e.Python)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(abs); err != nil {
		return "", problem.New(problem.Unavailable, "The configured Python %s is not there.", e.Python).Because(err)
	}
	return filepath.Dir(abs), nil
}

func digestOf(lock []byte) string {
	sum := sha256.Sum256(lock)
	return hex.EncodeToString(sum[:])
}

func (e *Environments) folder(digest string) (string, error) {
	return filepath.Abs(filepath.Join(e.Root, digest[:20]))
}

// runner runs a program in the folder of an environment.
type runner func(args ...string) error

// ensure makes an environment by fill; env are the variables of what runs for it, nil all of ours.
func (e *Environments) ensure(ctx context.Context, lock []byte, log io.Writer, env []string, fill func(run runner, dir string) error) (bin string, err error) {
	if e.Python != "" || lock == nil {
		return e.given()
	}
	host, err := exec.LookPath("python3")
	if err != nil {
		return "", problem.New(problem.Unavailable, "This machine has no python3; install it or start the server with --python.").Because(err)
	}
	digest := digestOf(lock)
	unlock := e.one(digest)
	defer unlock()
	dir, err := e.folder(digest)
	if err != nil {
		return "", err
	}
	bin = filepath.Join(dir, "bin")
	if finished(dir) {
		return bin, nil
	}
	fmt.Fprintf(log, "making the Python environment %s…\n", digest[:12])
	if err := errors.Join(os.RemoveAll(dir+readyMark), os.RemoveAll(dir)); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make environment folder: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, longest, problem.New(problem.Unavailable, "The Python environment was not made within %s.", longest))
	defer cancel()
	ctx, full := context.WithCancelCause(ctx)
	defer full(nil)
	most := e.Most
	if most == 0 {
		most = 16 << 30
	}
	bounded := func() error {
		if proc.FolderSize(most, dir) > most {
			return problem.New(problem.Unsupported, "The Python environment takes more than %d MiB, the limit for one.", most>>20).At("requirements.txt")
		}
		return nil
	}
	go func() { // ends with ctx
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := bounded(); err != nil {
					full(err)
				}
			}
		}
	}()
	said := &proc.Tail{To: log}
	run := func(args ...string) error {
		// It dies with us, so a server that takes over does not find two builders in one folder.
		err := proc.Run(ctx, said, env, dir, args...)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			err = bounded()
		} else {
			err = problem.New(problem.Unavailable, "The Python environment could not be made: %s", why(said.String())).Because(
				errors.Join(fmt.Errorf("run %s", strings.Join(args[:min(len(args), 12)], " ")), err))
		}
		return err
	}
	if err = run(host, "-m", "venv", dir); err == nil {
		err = fill(run, dir)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir)) // what came of it may be as large as it likes
	}
	fmt.Fprintf(log, "the Python environment is ready.\n")
	return bin, os.WriteFile(dir+readyMark, []byte("sha256:"+digest+"\n"), 0o600)
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

// why is the line that tells what went wrong: pip's last error, else the last line.
func why(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), "ERROR: "); ok {
			last = rest
		}
	}
	if last == "" {
		last = "the program said nothing"
	}
	if len(last) > 300 {
		last = strings.ToValidUTF8(last[:300], "") + "…"
	}
	return strings.TrimSuffix(last, ".") + "."
}

// passed are the variables that pip needs to find and reach its index; everything else of this process is kept from it.
var passed = regexp.MustCompile(`^(PATH|HOME|TMPDIR|LANG|LC_ALL|PIP_[A-Z_]+|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|XDG_CONFIG_HOME|XDG_CACHE_HOME|(?i:https?_proxy|no_proxy|all_proxy))=`)

func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if passed.MatchString(kv) {
			env = append(env, kv)
		}
	}
	return env
}
