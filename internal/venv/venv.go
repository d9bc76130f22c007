// Package venv builds private Python environments from lock files (requirements.txt), each once, and shares them.
//
// An environment is a folder below Root, named by the digest of its lock, made by the machine's python3 and pip. pip finds
// its packages where its own configuration says: an index, a folder of wheels, none at all.
package venv

import (
	"bytes"
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

	"keelson/internal/problem"
	"keelson/internal/proc"
)

// Environments builds environments below Root. A given Python is taken as it is, for every lock.
type Environments struct {
	Root   string
	Python string

	mu       sync.Mutex
	building map[string]*sync.Mutex
}

// readyMark marks an environment that was built to its end; a folder without it is built anew.
const readyMark = ".keelson-ready"

// System is the folder with the python of the machine itself, which stands in where there is no lock.
const System = "/usr/bin"

// Ensure gives the folder with the python of a lock file, building it first if needed; what happens is written to log.
// Without a lock it is what the machine has. The packages' own build programs may run, with this process's environment.
func (e *Environments) Ensure(ctx context.Context, lock []byte, log io.Writer) (bin string, err error) {
	return e.ensure(ctx, lock, log, nil)
}

// EnsureWheels is Ensure for locks of people who may not run programs here: it installs built packages (wheels) only, for
// which no code of theirs runs, and hides this process's environment. The lock has to be one that Named gave.
func (e *Environments) EnsureWheels(ctx context.Context, lock []byte, log io.Writer) (bin string, err error) {
	return e.ensure(ctx, lock, log, environ(), "--only-binary", ":all:")
}

// Ready gives the folder with the python of a lock file when it is there already.
func (e *Environments) Ready(lock []byte) (bin string, ok bool) {
	if e.Python != "" || lock == nil {
		bin, err := e.given(lock)
		return bin, err == nil
	}
	dir, err := e.folder(digestOf(lock))
	if err != nil {
		return "", false
	}
	_, err = os.Stat(filepath.Join(dir, readyMark))
	return filepath.Join(dir, "bin"), err == nil
}

func (e *Environments) given(lock []byte) (string, error) {
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

func (e *Environments) ensure(ctx context.Context, lock []byte, log io.Writer, env []string, more ...string) (bin string, err error) {
	if e.Python != "" || lock == nil {
		return e.given(lock)
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
	if _, err := os.Stat(filepath.Join(dir, readyMark)); err == nil {
		return bin, nil
	}
	fmt.Fprintf(log, "making the Python environment %s…\n", digest[:12])
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
	said := &proc.Tail{To: log}
	for _, args := range [][]string{
		{host, "-m", "venv", dir},
		append([]string{filepath.Join(bin, "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r", file}, more...),
	} {
		// It dies with us, so a server that takes over does not find two builders in one folder.
		if err := proc.Run(ctx, said, env, args...); err != nil {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return "", problem.New(problem.Unavailable, "The Python environment could not be made: %s", why(said.String())).Because(
				errors.Join(fmt.Errorf("run %s", strings.Join(args, " ")), err))
		}
	}
	fmt.Fprintf(log, "the Python environment is ready.\n")
	return bin, os.WriteFile(filepath.Join(dir, readyMark), []byte("sha256:"+digest+"\n"), 0o600)
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

// named is a requirement by name: extras, versions, an environment marker; hashes may follow.
var named = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._,\s-]*\])?\s*(\(?[<>=!~][^;@#\\]*\)?)?\s*(;[^#\\]*)?(\s+--hash=[a-z0-9]+:[0-9a-f]+)*$`)

var hashes = regexp.MustCompile(`\s+--hash=[a-z0-9]+:[0-9a-f]+`)

// Named gives a lock without comments and blank lines, or fails with problem.Unsupported on a line that is not a package's
// name with versions: an address, a path or an option of pip would let whoever wrote the lock choose what is fetched from
// where, and what of this machine is read.
func Named(lock []byte) ([]byte, error) {
	text := strings.ReplaceAll(strings.ReplaceAll(string(lock), "\r\n", "\n"), "\\\n", " ")
	var out bytes.Buffer
	for line := range strings.SplitSeq(text, "\n") {
		if i := strings.Index(" "+line, " #"); i >= 0 {
			line = line[:max(i-1, 0)]
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if !named.MatchString(line) || strings.Contains(hashes.ReplaceAllString(line, ""), " -") {
			if len(line) > 100 {
				line = strings.ToValidUTF8(line[:100], "") + "…"
			}
			return nil, problem.New(problem.Unsupported, "The requirement %q is not a package by its name; only names with versions, such as numpy==2.1.0, are installed for models.", line).At("requirements.txt")
		}
		out.WriteString(line + "\n")
	}
	return out.Bytes(), nil
}
