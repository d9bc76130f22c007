// Command all runs every test there is and closes with a count. It starts what the tests need and ends it again: a
// private PostgreSQL server on loopback; make gives it the Python environments. What is missing on this machine is
// said and left out; with CI set, nothing may be left out.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"keelson/test/postgres"
)

// tally counts the tests of all parts.
type tally struct {
	passed, failed, skipped int
	left                    []string // parts that were left out, with the reason
	bad                     []string // names of what failed
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	var t tally
	if err := run(ctx, &t); err != nil {
		fmt.Fprintln(os.Stderr, "tests could not run:", err)
		t.failed++
	}
	fmt.Printf("\n%s in all\n", time.Since(begin).Round(time.Second))
	for _, b := range t.bad {
		fmt.Println("failed:", b)
	}
	for _, l := range t.left {
		fmt.Println("left out:", l)
	}
	if os.Getenv("CI") != "" && len(t.left) > 0 {
		fmt.Println("in CI nothing may be left out")
		t.failed++
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, t *tally) error {
	env := os.Environ()
	pg, end, err := postgres.Start(ctx, false)
	if err != nil {
		t.left = append(t.left, "PostgreSQL: "+err.Error())
	} else {
		defer end()
		env = append(env, "KEELSON_TEST_POSTGRES="+pg)
	}
	if py := os.Getenv("KEELSON_PYTHON"); py == "" {
		t.left = append(t.left, "tests with the mlflow and tritonclient packages: KEELSON_PYTHON is not set (make venv)")
	}
	if os.Getenv("KEELSON_MLFLOW_PYTHON") == "" {
		t.left = append(t.left, "the journey of the mlflow client: KEELSON_MLFLOW_PYTHON is not set (make mlflow)")
	}
	if os.Getenv("KEELSON_OIP_PYTHON") == "" {
		t.left = append(t.left, "the steps of the inference protocol on every engine: KEELSON_OIP_PYTHON is not set (make oip)")
	}
	if os.Getenv("KEELSON_TEST_ONNXRUNTIME") == "" {
		library, err := onnxruntime(ctx)
		if err != nil {
			t.left = append(t.left, "tests with the onnxruntime library: "+err.Error())
		} else {
			env = append(env, "KEELSON_TEST_ONNXRUNTIME="+library)
		}
	}
	if os.Getenv("KEELSON_SCHEMATHESIS_PYTHON") == "" {
		t.left = append(t.left, "the descriptions against schemathesis: KEELSON_SCHEMATHESIS_PYTHON is not set (make schemathesis)")
	}
	browser := os.Getenv("KEELSON_CHROMIUM")
	if browser == "" {
		browser = "/usr/bin/chromium"
	}
	_, noBrowser := os.Stat(browser)
	npm, noNode := exec.LookPath("npm")

	parts := os.Getenv("PARTS")
	if parts == "" {
		parts = "go race fuzz ui browser"
	}
	for part := range strings.FieldsSeq(parts) {
		fmt.Printf("\n== %s\n", part)
		switch part {
		case "go":
			t.goTests(ctx, env, "-timeout", "30m", "./...")
		case "fuzz":
			each := os.Getenv("FUZZTIME")
			if each == "" {
				each = "5s"
			}
			t.counted(ctx, env, ".", "go", "run", "./test/fuzz", "-time", each)
		case "race":
			if _, err := exec.LookPath("gcc"); err != nil {
				t.left = append(t.left, "the race detector: it needs a C compiler")
				continue
			}
			t.goTests(ctx, append(env, "CGO_ENABLED=1"), "-race", "-short", "-timeout", "15m", "./internal/tensor", "./internal/tree", "./internal/engine/...", "./internal/drift", "./internal/score")
		case "ui":
			if noNode != nil {
				t.left = append(t.left, "web interface: there is no npm")
				continue
			}
			t.command(ctx, env, "ui", npm, "run", "lint", "--silent")
			t.vitest(ctx, env, npm)
		case "browser":
			switch {
			case noNode != nil || noBrowser != nil:
				t.left = append(t.left, "browser flows: there is no "+browser+" or no npm (Debian: apt-get install chromium)")
			case os.Getenv("KEELSON_PYTHON") == "":
				t.left = append(t.left, "browser flows: they need the demo's Python environment")
			default:
				t.counted(ctx, env, "test/browser", "node", "run.mjs")
			}
		}
	}
	return nil
}

// onnxruntime installs the library as an operator would, once for this clone, and gives its path.
func onnxruntime(ctx context.Context) (string, error) {
	folder, err := filepath.Abs(filepath.Join(".cache", "runtimes"))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./cmd/keelson", "runtime", "install", "onnxruntime", "--data", folder, "--jq", ".path")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("keelson runtime install onnxruntime: %w", err)
	}
	path := strings.TrimSpace(string(out))
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return path, nil
}

// goTests runs go test and counts each test and subtest by its result.
func (t *tally) goTests(ctx context.Context, env []string, args ...string) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-p", "2"}, args...)...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.fail("go test: " + err.Error())
		return
	}
	output := map[string]*bytes.Buffer{}
	failed := t.failed
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct {
			Action, Package, Test, Output string
			Elapsed                       float64
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = &bytes.Buffer{}
			}
			if output[key].Len() < 64<<10 {
				output[key].WriteString(e.Output)
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				if e.Action != "skip" {
					fmt.Printf("%-5s %6.1fs %s\n", e.Action, e.Elapsed, e.Package)
				}
				if e.Action == "fail" {
					io.Copy(os.Stdout, orEmpty(output[key]))
					t.bad = append(t.bad, e.Package)
				}
				continue
			}
			switch e.Action {
			case "pass":
				t.passed++
			case "skip":
				t.skipped++
				why := strings.TrimSpace(lastLine(orEmpty(output[key]).String()))
				if !strings.Contains(strings.Join(args, " "), "-short") {
					t.left = append(t.left, e.Package+" "+e.Test+": "+why)
				}
			case "fail":
				t.failed++
				t.bad = append(t.bad, key)
				fmt.Printf("--- %s\n%s", key, orEmpty(output[key]))
			}
			delete(output, key)
		}
	}
	if err := cmd.Wait(); err != nil && t.failed == failed {
		t.fail("go test " + strings.Join(args, " ") + ": " + err.Error())
	}
}

func orEmpty(b *bytes.Buffer) *bytes.Buffer {
	if b == nil {
		return &bytes.Buffer{}
	}
	return b
}

// lastLine is the last line of a test's output that is not its result.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	slices.Reverse(lines)
	for _, l := range lines {
		if !strings.Contains(l, "--- SKIP") {
			return l
		}
	}
	return ""
}

func (t *tally) fail(what string) {
	t.failed++
	t.bad = append(t.bad, what)
	fmt.Println(what)
}

// command runs something that either works or does not: one test.
func (t *tally) command(ctx context.Context, env []string, dir, name string, args ...string) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.fail(filepath.Base(name) + " " + strings.Join(args, " ") + ": " + err.Error())
		return
	}
	t.passed++
}

func (t *tally) vitest(ctx context.Context, env []string, npm string) {
	report := filepath.Join(os.TempDir(), "keelson-vitest-"+strconv.Itoa(os.Getpid())+".json")
	defer os.Remove(report)
	cmd := exec.CommandContext(ctx, npm, "test", "--silent", "--", "--run", "--reporter=dot", "--reporter=json", "--outputFile.json="+report)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "ui", env, os.Stdout, os.Stderr
	err := cmd.Run()
	b, err2 := os.ReadFile(report)
	var r struct{ NumPassedTests, NumFailedTests, NumPendingTests int }
	if err2 = errors.Join(err2, json.Unmarshal(b, &r)); err2 != nil || err != nil && r.NumFailedTests == 0 {
		t.fail(fmt.Sprintf("vitest: %v", errors.Join(err, err2)))
		return
	}
	t.passed, t.failed, t.skipped = t.passed+r.NumPassedTests, t.failed+r.NumFailedTests, t.skipped+r.NumPendingTests
	if r.NumFailedTests > 0 {
		t.bad = append(t.bad, "vitest")
	}
}

// counted runs something that closes with "N passed, N failed".
func (t *tally) counted(ctx context.Context, env []string, dir, name string, args ...string) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, io.MultiWriter(os.Stdout, &out), os.Stderr
	err := cmd.Run()
	passed, failed := 0, 0
	for line := range strings.Lines(out.String()) {
		var p, f int
		if n, _ := fmt.Sscanf(line, "%d passed, %d failed", &p, &f); n == 2 {
			passed, failed = p, f
		}
	}
	t.passed, t.failed = t.passed+passed, t.failed+failed
	if failed > 0 {
		t.bad = append(t.bad, dir)
	} else if err != nil || passed == 0 {
		t.fail(fmt.Sprintf("%s: %v", dir, err))
	}
}
