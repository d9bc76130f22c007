// Command monitoring compares what watching costs with Evidently, NannyML, fairlearn, xgboost and shap on this machine: the same
// files, each task in a process of its own, ours and the peer's in turns within one run. It prints a Markdown table for
// docs/benchmarks.md.
//
//	go run ./test/bench/monitoring -python PYTHON          everything: 1M and 10M rows, about half an hour
//	go run ./test/bench/monitoring -python PYTHON -quick   200,000 rows and no 10M: for a look
//	go run ./test/bench/monitoring -only drift             one part: drift, large, estimate, groups, explain, fleet
//
// CPU seconds count both user and system time. Ours are those of the whole process, from its start. The peer's are those of
// reading the files and of the task; starting Python and importing libraries count for nothing. RSS is the largest of the
// process.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// cost is what one process took.
type cost struct {
	Load float64 `json:"load"` // of that, seconds for reading files
	CPU  float64 `json:"cpu"`
	RSS  float64 `json:"rss_mb"`
}

// line is one line of the table.
type line struct {
	what, ours, peer, got, limit string
	ok                           bool
}

type bench struct {
	ctx    context.Context
	self   string
	dir    string
	python string
	turns  int
	rows   int // of a sample
	large  int // of the large one; 0 leaves it out
	lines  []line
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "task" {
		if err := ownTask(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "task:", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{turns: 3, rows: 1_000_000, large: 10_000_000}
	flag.StringVar(&b.python, "python", "", "python with the packages of test/bench/monitoring/requirements.txt")
	quick := flag.Bool("quick", false, "fewer rows and turns")
	only := flag.String("only", "", "one part: drift, large, estimate, groups, explain, fleet")
	strict := flag.Bool("strict", false, "exit 1 when a figure misses its limit")
	flag.Parse()
	if *quick {
		b.turns, b.rows, b.large = 1, 200_000, 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b.ctx = ctx
	err := b.run(*only, *quick)
	stop()
	b.print()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *strict && slices.ContainsFunc(b.lines, func(l line) bool { return !l.ok }) {
		os.Exit(1)
	}
}

func (b *bench) print() {
	fmt.Printf("Measured %s on %d cores (%s), %d rows per side.\n\n| figure | Keelson | peer | result | limit | |\n| --- | --- | --- | --- | --- | --- |\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), b.rows)
	for _, l := range b.lines {
		mark := "met"
		if !l.ok {
			mark = "MISSED"
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", l.what, l.ours, l.peer, l.got, l.limit, mark)
	}
}

func (b *bench) run(only string, quick bool) (err error) {
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "keelson-bench-monitoring-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	want := func(part string) bool { return only == "" || only == part }
	if b.python == "" && only != "fleet" {
		return errors.New("name a python with the packages of test/bench/monitoring/requirements.txt: -python, or use make bench-monitoring")
	}
	if want("drift") || want("large") {
		if _, err := b.peer("make", b.rows); err != nil {
			return err
		}
	}
	if want("estimate") || want("groups") || want("explain") {
		if _, err := b.peer("make-models", b.rows); err != nil {
			return err
		}
	}
	explained, kernel := 10_000, 50
	if quick {
		explained, kernel = 2000, 5
	}
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"drift", func() error {
			return b.against("PSI, KS, JS, Wasserstein and χ² of 20 columns", []string{"drift", "reference.parquet", "current.parquet"}, 300,
				versus{"Evidently's PSI preset", "evidently-psi", 0, 1.0 / 20}, versus{"NannyML's KS and χ², 20 chunks", "nannyml-ks", 0, 1.0 / 4})
		}},
		{"large", b.tenfold},
		{"estimate", func() error {
			return b.against("CBPE of five measures, 20 chunks", []string{"cbpe", "scored.parquet"}, 0, versus{"NannyML's", "nannyml-cbpe", 0, 1.0 / 5})
		}},
		{"groups", func() error {
			return b.against("six measures by 4 and by 48 groups", []string{"groups", "scored.parquet"}, 0, versus{"fairlearn's MetricFrame", "fairlearn", 0, 1.0 / 10})
		}},
		{"explain", func() error {
			return errors.Join(
				b.against(fmt.Sprintf("TreeSHAP, 300 trees, %d rows", explained), []string{"contribs", strconv.Itoa(explained)}, 0, versus{"xgboost's pred_contribs", "xgboost-contribs", explained, 1}),
				b.against(fmt.Sprintf("interventional, background 100, %d rows", explained/10), []string{"interventional", strconv.Itoa(explained / 10)}, 0, versus{"shap's", "shap-interventional", explained / 10, 0.5}),
				b.against(fmt.Sprintf("KernelSHAP, 2,088 samples, background 100, %d rows", kernel), []string{"kernel", strconv.Itoa(kernel)}, 0, versus{"shap's", "shap-kernel", kernel, 0.3}))
		}},
		{"fleet", func() error { return b.fleet(quick) }},
	} {
		if !want(part.name) {
			continue
		}
		if err := part.do(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		if err := b.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// versus is a peer's task and the share of its CPU time that ours may take.
type versus struct {
	name, task string
	rows       int
	share      float64
}

// against runs our task and the peers' in turns; rss is the limit of ours in MB, 0 for none.
func (b *bench) against(what string, task []string, rss float64, peers ...versus) error {
	var ours []cost
	theirs := make([][]cost, len(peers))
	for range b.turns {
		c, err := b.own(task...)
		if err != nil {
			return err
		}
		ours = append(ours, c)
		for i, p := range peers {
			c, err := b.peer(p.task, p.rows)
			if err != nil {
				return err
			}
			theirs[i] = append(theirs[i], c)
		}
	}
	mine := middle(ours)
	for i, p := range peers {
		c := middle(theirs[i])
		ratio := mine.CPU / c.CPU
		b.lines = append(b.lines, line{what + " against " + p.name, mine.String(), fmt.Sprintf("%s (%.1f s of it reading)", c, c.Load), times(ratio), "at most " + times(p.share), ratio <= p.share})
	}
	if rss > 0 {
		b.lines = append(b.lines, line{what + ": memory", fmt.Sprintf("%.0f MB", mine.RSS), "", "", fmt.Sprintf("at most %.0f MB", rss), mine.RSS <= rss})
	}
	return nil
}

// tenfold compares ten times as many rows with one time.
func (b *bench) tenfold() error {
	if b.large == 0 {
		return nil
	}
	if _, err := b.peer("make-large", b.large); err != nil {
		return err
	}
	var small, large []cost
	for range b.turns {
		s, err := b.own("drift", "reference.parquet", "current.parquet")
		if err != nil {
			return err
		}
		l, err := b.own("drift", "reference-large.parquet", "current-large.parquet")
		if err != nil {
			return err
		}
		small, large = append(small, s), append(large, l)
	}
	s, l := middle(small), middle(large)
	b.lines = append(b.lines, line{fmt.Sprintf("drift of %d rows against %d", b.large, b.rows), l.String(), s.String() + " (ours)", fmt.Sprintf("%.1f ×", l.CPU/s.CPU), "at most 11 ×", l.CPU <= 11*s.CPU},
		line{fmt.Sprintf("drift of %d rows: memory", b.large), fmt.Sprintf("%.0f MB", l.RSS), "", "", "at most 400 MB", l.RSS <= 400})
	return nil
}

// fleet watches 200 models.
func (b *bench) fleet(quick bool) error {
	seconds := 60
	if quick {
		seconds = 45
	}
	with, err := b.own("fleet", strconv.Itoa(seconds), "watch")
	if err != nil {
		return err
	}
	without, err := b.own("fleet", strconv.Itoa(seconds), "log")
	if err != nil {
		return err
	}
	share := (with.CPU - without.CPU) / float64(seconds)
	b.lines = append(b.lines, line{"watching 200 models of 50 columns at 1,000 predictions a second", fmt.Sprintf("%.1f s of CPU in %d s, %.0f MB", with.CPU-without.CPU, seconds, with.RSS),
		fmt.Sprintf("%.1f s for the log alone", without.CPU), fmt.Sprintf("%.0f %% of a core", 100*share), "at most 25 %", share <= 0.25})
	return nil
}

func (c cost) String() string { return fmt.Sprintf("%.2f s, %.0f MB", c.CPU, c.RSS) }

func times(v float64) string {
	if v < 1 {
		return fmt.Sprintf("1/%.1f", 1/v)
	}
	return fmt.Sprintf("%.2f ×", v)
}

// middle is the run with the median CPU time.
func middle(all []cost) cost {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b cost) int {
		if a.CPU < b.CPU {
			return -1
		}
		return 1
	})
	return all[len(all)/2]
}

// own runs one of our tasks in a process of its own.
func (b *bench) own(task ...string) (c cost, err error) {
	args := append([]string{"task", task[0], b.dir}, task[1:]...)
	cmd := exec.CommandContext(b.ctx, b.self, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return c, fmt.Errorf("our task %s: %w", task[0], err)
	}
	u := cmd.ProcessState
	c.CPU = (u.UserTime() + u.SystemTime()).Seconds()
	if r, ok := u.SysUsage().(*syscall.Rusage); ok {
		c.RSS = float64(r.Maxrss) / 1024
	}
	return c, nil
}

// peer runs one of the peers' tasks.
func (b *bench) peer(task string, rows int) (c cost, err error) {
	cmd := exec.CommandContext(b.ctx, b.python, filepath.Join("test", "bench", "monitoring", "peer.py"), task, b.dir, strconv.Itoa(rows))
	cmd.Env = append(os.Environ(), "NML_DISABLE_USAGE_LOGGING=1", "DO_NOT_TRACK=1") // peers report their use elsewhere, and wait where they cannot
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return c, fmt.Errorf("the peer's task %s: %w: %.2000s", task, err, errs.String())
	}
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	if last := lines[len(lines)-1]; len(last) > 0 {
		if err := json.Unmarshal(last, &c); err != nil {
			return c, fmt.Errorf("the peer's task %s said %.200q", task, last)
		}
		c.CPU += c.Load
	}
	return c, nil
}
