// Command serving compares Keelson with MLServer on this machine: the same models, the same load program, in turns
// within one run. It starts both on loopback and ends them; it prints a Markdown table for docs/benchmarks.md.
//
//	go run ./test/bench/serving -python PYTHON          everything, about ten minutes
//	go run ./test/bench/serving -python PYTHON -quick   fewer turns: for a look
//	go run ./test/bench/serving -only logging           only what the log costs, or -only half the slowest percent; needs no PYTHON and no peer
//	go run ./test/bench/serving -only library -python PYTHON  only the comparison with libxgboost, without any server
//
// Ours runs as it ships: sign-in, validation, metrics and the prediction log (durability group) are on. The peer runs
// with its default settings: one inference worker beside its server, metrics on, no sign-in and no log of predictions.
// The floor is a bare net/http server in a process of its own that echoes the same body.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"

	"keelson/test/launch"
)

// row is one line of the table.
type row struct {
	what, ours, peer, got, limit string
	ok                           bool
}

// bench is one run.
type bench struct {
	ctx    context.Context
	dir    string
	python string
	only   string
	turns  int
	per    int           // requests of one side in one turn
	long   time.Duration // of one turn where calls per second count
	ours   *side
	peer   *side
	quiet  *side // ours, nothing logged
	floor  *side
	rows   []row
	end    []func()
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "echo" {
		echo()
		return
	}
	debug.SetGCPercent(800) // the load program's own collector shall not show in anybody's times
	b := &bench{turns: 12, per: 400, long: 2 * time.Second}
	bin := flag.String("bin", "bin/keelson", "the built program")
	flag.StringVar(&b.python, "python", "", "python with the packages of test/bench/serving/requirements.txt")
	quick := flag.Bool("quick", false, "fewer turns")
	flag.StringVar(&b.only, "only", "", "logging: only what the prediction log costs; half: only the slowest percent at half load; library: only the comparison with libxgboost")
	strict := flag.Bool("strict", false, "exit 1 when a figure misses its limit")
	flag.IntVar(&b.per, "per", b.per, "requests of one side in one turn")
	flag.Parse()
	if *quick {
		b.turns, b.per, b.long = 4, 150, time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b.ctx = ctx
	err := b.run(*bin)
	for _, end := range slices.Backward(b.end) {
		end()
	}
	stop()
	b.print()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *strict && slices.ContainsFunc(b.rows, func(r row) bool { return !r.ok }) {
		os.Exit(1)
	}
}

func (b *bench) print() {
	fmt.Printf("Measured %s on %d cores (%s).\n\n| figure | Keelson | MLServer | result | limit | |\n| --- | --- | --- | --- | --- | --- |\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	for _, r := range b.rows {
		mark := "met"
		if !r.ok {
			mark = "MISSED"
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", r.what, r.ours, r.peer, r.got, r.limit, mark)
	}
}

func (b *bench) run(bin string) error {
	if b.only != "" {
		return b.alone(bin)
	}
	if b.python == "" {
		return errors.New("name a python with the packages of test/bench/serving/requirements.txt: -python, or use make bench-serving")
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "keelson-bench-serving-"); err != nil {
		return err
	}
	b.end = append(b.end, func() { os.RemoveAll(b.dir) })
	port, err := b.models()
	if err != nil {
		return err
	}
	start := func() error { return b.start(bin, port) } // the servers work on after the load has ended: what is compared without them comes first
	for _, part := range []func() error{b.inProcess, start, b.oneRow, b.throughput, b.manyRows, b.overGRPC, b.halfLoad, b.logging} {
		if err := part(); err != nil {
			return err
		}
		if err := b.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// alone measures the log without the peer, on a linear model: the cheaper the model, the more the log shows.
func (b *bench) alone(bin string) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "keelson-bench-serving-"); err != nil {
		return err
	}
	b.end = append(b.end, func() { os.RemoveAll(b.dir) })
	if b.only == "library" {
		if _, err := b.models(); err != nil {
			return err
		}
		return b.inProcess()
	}
	features := make([]string, width)
	coefficients := make([]float64, width)
	for i := range width {
		features[i], coefficients[i] = fmt.Sprint("f", i), float64(i)/width
	}
	doc, err := json.Marshal(map[string]any{"format": "keelson-linear-1", "features": features, "coefficients": coefficients, "intercept": 1})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "model.linear.json"), doc, 0o600); err != nil {
		return err
	}
	if err := b.startOurs(bin, map[string]string{"xgboost": "model.linear.json", "unlogged": "model.linear.json"}); err != nil {
		return err
	}
	if b.only == "half" {
		if err := b.startFloor(); err != nil {
			return err
		}
		return b.halfLoad()
	}
	return b.logging()
}

// models trains them and writes the files of both sides; the peer's name the port that is given.
func (b *bench) models() (port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port = l.Addr().(*net.TCPAddr).Port
	if port > 65000 {
		port -= 1000
	}
	l.Close()
	return port, b.python1("models.py", b.dir, strconv.Itoa(port))
}

// start brings both servers and the floor up with the models.
func (b *bench) start(bin string, port int) error {
	if err := b.startPeer(port); err != nil {
		return err
	}
	if err := b.startOurs(bin, map[string]string{"xgboost": "xgboost.json", "lightgbm": "lightgbm.txt", "logistic": "model.linear.json", "unlogged": "xgboost.json"}); err != nil {
		return err
	}
	return b.startFloor()
}

// startOurs starts the program and deploys each model from its file; the one called unlogged logs nothing.
func (b *bench) startOurs(bin string, models map[string]string) error {
	s, err := launch.Keelson(b.ctx, bin, filepath.Join(b.dir, "data"), "")
	if err != nil {
		return err
	}
	b.end = append(b.end, func() { s.Stop() })
	project := filepath.Join(b.dir, "keelson.yaml")
	if err := os.WriteFile(project, []byte("name: unlogged\nmodel: unlogged\nsteps: {none: {kind: command, run: [\"true\"]}}\ndeploy:\n  dev: {mode: all, limits: {unlogged: 100}}\n"), 0o600); err != nil {
		return err
	}
	for name, file := range models {
		args := []string{"deploy", "create", filepath.Join(b.dir, file), "--name", name, "--to", "dev", "--json"}
		if name == "unlogged" {
			args = append(args, "--file", project)
		}
		if _, err := s.CLI(args...); err != nil {
			return err
		}
	}
	b.ours = newSide(s.URL, s.Token, ".dev", s.URL)
	b.quiet = newSide(s.URL, s.Token, ".dev", s.URL)
	return nil
}

func (b *bench) startFloor() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(b.ctx, self, "echo")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.end = append(b.end, func() { cmd.Process.Kill(); cmd.Wait() })
	var addr string
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		return err
	}
	b.floor = newSide(addr, b.ours.token, "", "")
	return nil
}

// script is where this program's Python scripts lie, seen from the checkout.
func script(name string) string { return filepath.Join("test", "bench", "serving", name) }

func (b *bench) python1(name string, args ...string) error {
	out, err := exec.CommandContext(b.ctx, b.python, append([]string{script(name)}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func (b *bench) startPeer(port int) error {
	cmd := exec.CommandContext(b.ctx, filepath.Join(filepath.Dir(b.python), "mlserver"), "start", ".")
	cmd.Dir = filepath.Join(b.dir, "peer")
	log, err := os.Create(filepath.Join(b.dir, "peer.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its workers end with it
	if err := cmd.Start(); err != nil {
		return err
	}
	b.end = append(b.end, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		done := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		cmd.Wait()
		done.Stop()
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		ready := 0
		for _, m := range []string{"xgboost", "lightgbm", "logistic"} {
			if res, err := http.Get(url + "/v2/models/" + m + "/ready"); err == nil {
				res.Body.Close()
				if res.StatusCode == 200 {
					ready++
				}
			}
		}
		if ready == 3 {
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("mlserver did not come up: %.2000s", text)
		}
	}
	b.peer = newSide(url, "", "", fmt.Sprintf("http://127.0.0.1:%d", port+1))
	return nil
}

func echo() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println("http://" + l.Addr().String())
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Write(b)
	}))
}
