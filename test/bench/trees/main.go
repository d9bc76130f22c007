// Command trees measures the tree evaluator against libxgboost: the same model, the same rows, the same cores, in turns.
//
//	KEELSON_PYTHON=… go run ./test/bench/trees          prints a table
//	KEELSON_PYTHON=… go run ./test/bench/trees -strict  exits 1 when 1,024 rows take more than 1.5 times the library's time
//
// The Python needs xgboost and numpy. Times are those of one call, Booster.inplace_predict there and Model.Predict here;
// each turn takes the fastest of its calls, and the ratio is the median over the turns, because other programs on the
// machine only ever make a call slower.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/xgboost"
	"keelson/internal/tensor"
)

//go:embed peer.py
var peer string

const (
	features = 30
	limit    = 1.5
)

func main() {
	strict := flag.Bool("strict", false, "exit 1 when 1,024 rows miss the limit")
	turns := flag.Int("turns", 9, "how often each side is measured")
	calls := flag.Int("calls", 60, "calls per turn")
	flag.Parse()
	ok, err := measure(*turns, *calls)
	if err != nil {
		fmt.Fprintln(os.Stderr, "trees:", err)
		os.Exit(1)
	}
	if *strict && !ok {
		os.Exit(1)
	}
}

func measure(turns, calls int) (ok bool, err error) {
	python := os.Getenv("KEELSON_PYTHON")
	if python == "" {
		return false, fmt.Errorf("KEELSON_PYTHON is not set: the peer needs a Python with xgboost and numpy")
	}
	dir, err := os.MkdirTemp("", "trees-*")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	cores := runtime.GOMAXPROCS(0)
	cmd := exec.Command(python, "-c", peer, dir, fmt.Sprint(features), fmt.Sprint(cores))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return false, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start the peer: %w", err)
	}
	defer func() {
		in.Close()
		if werr := cmd.Wait(); err == nil && werr != nil {
			err = fmt.Errorf("the peer: %w", werr)
		}
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		return false, fmt.Errorf("the peer did not start: %q", lines.Text())
	}
	m, rows, err := open(dir)
	if err != nil {
		return false, err
	}
	defer m.Close()
	fmt.Printf("100 trees of depth 6, %d features, %d cores; microseconds per call\n%8s %12s %12s %8s\n", features, cores, "rows", "libxgboost", "here", "ratio")
	for _, n := range []int{1, 64, 1024, 16384} {
		var theirs, ours, ratios []float64
		for range turns {
			if _, err := fmt.Fprintf(in, "%d %d\n", n, calls); err != nil {
				return false, fmt.Errorf("ask the peer: %w", err)
			}
			var best float64
			if !lines.Scan() {
				return false, fmt.Errorf("the peer ended: %w", io.ErrUnexpectedEOF)
			}
			if _, err := fmt.Sscan(lines.Text(), &best); err != nil {
				return false, fmt.Errorf("the peer said %q: %w", lines.Text(), err)
			}
			mine, err := fastest(m, rows, n, calls)
			if err != nil {
				return false, err
			}
			theirs, ours, ratios = append(theirs, best), append(ours, mine), append(ratios, mine/best)
		}
		ratio := median(ratios)
		fmt.Printf("%8d %12.1f %12.1f %8.2f\n", n, median(theirs), median(ours), ratio)
		if n == 1024 {
			ok = ratio <= limit
		}
	}
	fmt.Printf("1,024 rows: at most %.1f times libxgboost's time: %v\n", limit, ok)
	return ok, nil
}

func open(dir string) (engine.Model, []float32, error) {
	m, err := xgboost.Engine{}.Load(context.Background(), os.DirFS(dir), "model.ubj", engine.Limits{})
	if err != nil {
		return nil, nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "rows.f32"))
	if err != nil {
		return nil, nil, err
	}
	rows := make([]float32, len(raw)/4)
	for i := range rows {
		rows[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return m, rows, nil
}

// fastest gives the time of the fastest call in microseconds.
func fastest(m engine.Model, rows []float32, n, calls int) (float64, error) {
	in := []tensor.Tensor{tensor.FP32s(xgboost.Input, []int{n, features}, rows[:n*features])}
	best := time.Hour
	for range calls {
		at := time.Now()
		if _, err := m.Predict(context.Background(), in); err != nil {
			return 0, err
		}
		best = min(best, time.Since(at))
	}
	return float64(best.Nanoseconds()) / 1000, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
