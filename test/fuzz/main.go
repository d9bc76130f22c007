// Command fuzz runs fuzz targets one after another, each for a while, and counts what they found. Seeds are in the
// packages; what a target finds is written beside them by the go tool and belongs into the next commit with its repair.
//
//	go run ./test/fuzz                    the targets of serving, five seconds each
//	go run ./test/fuzz -time 5m           longer
//	go run ./test/fuzz -time 1m ./...     every target there is
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// serving is what reads requests, models, answers and the log.
var serving = []string{"./internal/oip", "./internal/tensor", "./internal/prediction", "./internal/release", "./internal/venv", "./internal/engine/..."}

func main() {
	each := flag.Duration("time", 5*time.Second, "of each target")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = serving
	}
	targets, err := list(ctx, packages)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
	passed, failed := 0, 0
	for _, t := range targets {
		words, err := run(ctx, t, *each, false)
		if err != nil {
			failed++
			fmt.Printf("FAILED %s %s: %v\n%s\n", t.pkg, t.name, err, words)
		} else {
			passed++
			fmt.Printf("ok %s %s: %s\n", t.pkg, t.name, words)
		}
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Printf("%d passed, %d failed, 0 skipped\n", passed, failed)
	if failed > 0 || len(targets) == 0 || ctx.Err() != nil {
		os.Exit(1)
	}
}

type target struct{ pkg, name string }

// list asks the go tool for the targets of packages.
func list(ctx context.Context, packages []string) (out []target, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-list", "^Fuzz"}, packages...)...)
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the targets: %w", err)
	}
	var names []string
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 1 && strings.HasPrefix(f[0], "Fuzz"):
			names = append(names, f[0])
		case len(f) > 1 && f[0] == "ok": // closes a package
			for _, n := range names {
				out = append(out, target{f[1], n})
			}
			names = nil
		}
	}
	return out, lines.Err()
}

var progress = regexp.MustCompile(`execs: (\d+)`)

// run fuzzes one target; words are how much was tried, or what was found.
func run(ctx context.Context, t target, each time.Duration, again bool) (words string, err error) {
	bound, cancel := context.WithTimeout(ctx, each+5*time.Minute) // building with instruments takes its time
	defer cancel()
	cmd := exec.CommandContext(bound, "go", "test", t.pkg, "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), "-parallel", "2")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	b, err := cmd.CombinedOutput()
	if err != nil && bound.Err() == nil && bytes.Contains(b, []byte("context deadline exceeded")) && !bytes.Contains(b, []byte("Failing input")) {
		err = nil // the go tool's own end of time met a worker that was busy: nothing was found
	}
	if err != nil {
		return string(b), errors.Join(err, bound.Err())
	}
	words = ""
	for _, m := range progress.FindAllSubmatch(b, -1) {
		words = string(m[1]) + " inputs tried"
	}
	if words == "" && !again { // a busy machine spent the time on the seeds
		return run(ctx, t, 4*each+10*time.Second, true)
	}
	if words == "" {
		return string(b), errors.New("nothing was tried")
	}
	return words, nil
}
