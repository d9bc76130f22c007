// Command tracking compares Keelson with mlflow server on this machine: the same load program, 8 clients with connections
// that stay open, in turns within one run. It starts both servers on loopback, on SQLite and on a private PostgreSQL,
// and ends them; it prints a Markdown table for docs/benchmarks.md.
//
//	go run ./test/bench/tracking -python PYTHON              everything, about half an hour
//	go run ./test/bench/tracking -python PYTHON -quick       fewer requests, smaller files: for a look
//	go run ./test/bench/tracking -parts writers,million      some parts; those without MLflow need no -python
//
// What is equal: the machine, the load program, the requests byte by byte but for identifiers, one node per server, sign-in
// is on at ours (MLflow has none by default). MLflow runs with its default number of workers. Durability is equal as far
// as settings go: our SQLite is synced at every commit here (?synchronous=full), as MLflow's is by default; PostgreSQL
// has its own defaults for both. Requests per operation are bounded by count, not by time, so that no latency is cut off.
// A turn begins when the other server has come to rest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"keelson/test/postgres"
)

const clients = 8

// bench is one run of the program.
type bench struct {
	ctx         context.Context
	bin, python string
	dir         string // everything that is written, on one disk; removed at the end
	relaxed     bool   // our SQLite as it ships: synced at checkpoints only
	quick       bool
	alone       bool   // without MLflow: nothing is compared
	only        string // of the writing operations, those whose name contains it
	rounds      int
	servers     map[string]*server
	dsn         string // of the PostgreSQL server
	rows        []row
	end         []func()
}

func main() {
	b := &bench{servers: map[string]*server{}}
	var parts string
	var strict bool
	flag.StringVar(&b.bin, "bin", "bin/keelson", "the built program")
	flag.StringVar(&b.python, "python", "", "python with the packages of test/conformance/mlflow/requirements.txt")
	flag.StringVar(&parts, "parts", strings.Join(names(), ","), "what to run")
	flag.BoolVar(&b.quick, "quick", false, "fewer requests, smaller files")
	flag.BoolVar(&b.relaxed, "relaxed", false, "our SQLite with its default, which syncs at checkpoints and not at every commit")
	flag.BoolVar(&b.alone, "alone", false, "ours alone, for profiles: the parts ingest and postgres compare nothing")
	flag.StringVar(&b.only, "only", "", "of the parts ingest and postgres, the operations whose name contains this")
	flag.IntVar(&b.rounds, "rounds", 5, "turns of each operation")
	flag.StringVar(&b.dir, "dir", "", "folder on the disk to measure; empty: .cache/bench-tracking")
	flag.BoolVar(&strict, "strict", false, "exit 1 when a figure misses its limit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b.ctx = ctx
	err := b.run(parts)
	for _, end := range slices.Backward(b.end) {
		end()
	}
	stop()
	b.print()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if strict && slices.ContainsFunc(b.rows, func(r row) bool { return r.limit != "" && !r.ok }) {
		os.Exit(1)
	}
}

type part struct {
	name string
	run  func(*bench) error
}

var parts = []part{
	{"ingest", func(b *bench) error { return b.ingest("sqlite", 20, 10) }},
	{"search", (*bench).search},
	{"history", (*bench).history},
	{"million", (*bench).million},
	{"artifacts", (*bench).artifacts},
	{"postgres", func(b *bench) error { return b.ingest("postgres", 5, 0) }},
	{"writers", (*bench).writers},
}

func names() (out []string) {
	for _, p := range parts {
		out = append(out, p.name)
	}
	return out
}

func (b *bench) run(chosen string) error {
	list := strings.Split(chosen, ",")
	for _, name := range list {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("there is no part %q; the parts are %s", name, strings.Join(names(), ", "))
		}
	}
	if b.dir == "" {
		b.dir = filepath.Join(".cache", "bench-tracking")
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return err
	}
	if b.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	b.end = append(b.end, func() { os.RemoveAll(b.dir) })
	for _, p := range parts {
		if !slices.Contains(list, p.name) {
			continue
		}
		began := time.Now()
		say("== %s", p.name)
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		say("== %s took %s", p.name, time.Since(began).Round(time.Second))
		if b.ctx.Err() != nil {
			return errors.New("it was ended")
		}
	}
	return nil
}

// postgres starts the database server once.
func (b *bench) postgres() (string, error) {
	if b.dsn != "" {
		return b.dsn, nil
	}
	dsn, end, err := postgres.Start(b.ctx, true)
	if err != nil {
		return "", fmt.Errorf("PostgreSQL: %w", err)
	}
	b.dsn = dsn
	b.end = append(b.end, end)
	return dsn, nil
}

func say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", a...)
}

// scaled is n, or the smaller number of a quick run.
func (b *bench) scaled(n, quick int) int {
	if b.quick {
		return quick
	}
	return n
}

// row is one line of the table; an empty limit makes no promise.
type row struct {
	what, ours, theirs, ratio, limit string
	ok                               bool
}

func (b *bench) add(r row) {
	b.rows = append(b.rows, r)
	say("%s: %s, %s, %s %s %v", r.what, r.ours, r.theirs, r.ratio, r.limit, r.ok)
}

func (b *bench) print() {
	if len(b.rows) == 0 {
		return
	}
	sync := "synced at every commit"
	if b.relaxed {
		sync = "synced at checkpoints"
	}
	fmt.Printf("%d cores, %s, %d clients, %d turns; MLflow with its default workers; our SQLite %s, MLflow's at every commit.\n\n", runtime.NumCPU(), runtime.Version(), clients, b.rounds, sync)
	fmt.Println("| figure | Keelson | MLflow | ratio | limit | met |\n| --- | --- | --- | --- | --- | --- |")
	for _, r := range b.rows {
		met := ""
		if r.limit != "" {
			met = "**no**"
			if r.ok {
				met = "yes"
			}
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", r.what, r.ours, r.theirs, r.ratio, r.limit, met)
	}
}
