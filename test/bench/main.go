// Command bench measures what docs/benchmarks.md promises: each figure is a count or a ratio to a floor that is
// measured in the same run, in turn with it. It starts the built program (bin/keelson) on loopback and ends it.
//
//	go run ./test/bench            all figures, as a table
//	go run ./test/bench -markdown  the same for docs/benchmarks.md
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keelson/test/launch"
)

// figure is one line of the table.
type figure struct {
	what, got, limit string
	ok               bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "echo" {
		echo()
		return
	}
	markdown := flag.Bool("markdown", false, "print a table for docs/benchmarks.md")
	bin := flag.String("bin", "bin/keelson", "the built program")
	model := flag.String("model", "internal/engine/xgboost/testdata", "folder with an XGBoost file for the inference figure")
	strict := flag.Bool("strict", false, "exit 1 when a figure misses its limit")
	flag.Parse()
	figures, err := measure(*bin, *model)
	for _, f := range figures {
		mark := "ok"
		if !f.ok {
			mark = "MISSED"
		}
		if *markdown {
			fmt.Printf("| %s | %s | %s | %s |\n", f.what, f.got, f.limit, mark)
		} else {
			fmt.Printf("%-62s %22s   %-18s %s\n", f.what, f.got, f.limit, mark)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *strict && slices.ContainsFunc(figures, func(f figure) bool { return !f.ok }) {
		os.Exit(1)
	}
}

func measure(bin, model string) (out []figure, err error) {
	info, err := os.Stat(bin)
	if err != nil {
		return nil, fmt.Errorf("%w; make build first", err)
	}
	mb := float64(info.Size()) / 1e6
	out = append(out, figure{"size of the binary", fmt.Sprintf("%.1f MB", mb), "≤ 80 MB", mb <= 80})

	dir, err := os.MkdirTemp("", "keelson-bench-")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir)
	// The second start counts: the first makes keys and schema.
	var starts []float64
	var program *launch.Server
	token := ""
	for i := range 6 {
		if program != nil {
			if err := program.Stop(); err != nil {
				return out, err
			}
			token = program.Token
		}
		began := time.Now()
		if program, err = launch.Keelson(context.Background(), bin, filepath.Join(dir, "data"), token); err != nil {
			return out, err
		}
		if i > 0 {
			starts = append(starts, float64(time.Since(began).Microseconds())/1000)
		}
	}
	defer program.Stop()
	s := &server{program.URL, program.Token}
	ms := median(starts)
	out = append(out, figure{"start to ready, median of 5", fmt.Sprintf("%.0f ms", ms), "≤ 300 ms", ms <= 300})

	time.Sleep(3 * time.Second) // idle
	rss, err := launch.RSS(program.PID())
	if err != nil {
		return out, err
	}
	out = append(out, figure{"resident memory when idle", fmt.Sprintf("%.0f MB", rss), "≤ 80 MB", rss <= 80})

	f, err := inference(bin, s, model)
	if err != nil {
		return out, err
	}
	out = append(out, f...)
	g, err := logBatch(s)
	return append(out, g...), err
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// server is where requests go.
type server struct{ url, token string }

func (s *server) post(client *http.Client, path string, body []byte) (time.Duration, error) {
	req, err := http.NewRequest("POST", s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header["Authorization"] = []string{"Bearer " + s.token}
	req.Header["Content-Type"] = []string{"application/json"}
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	b, err := io.ReadAll(res.Body)
	took := time.Since(began)
	res.Body.Close()
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("%s: %d %s", path, res.StatusCode, b)
	}
	return took, err
}

// inference compares one row through the whole server (sign-in, validation, metrics, log) with an echo of the same body
// by a bare net/http server in a process of its own: blocks of requests in turn, the median of each.
func inference(bin string, s *server, folder string) ([]figure, error) {
	file := filepath.Join(folder, "bench.json")
	if _, err := os.Stat(file); err != nil {
		files, _ := filepath.Glob(filepath.Join(folder, "xgb_regression.json"))
		if len(files) == 0 {
			return nil, fmt.Errorf("no XGBoost file in %s", folder)
		}
		file = files[0]
	}
	cmd := exec.Command(bin, "deploy", "create", file, "--name", "bench", "--to", "dev", "--json")
	cmd.Env = append(os.Environ(), "KEELSON_URL="+s.url, "KEELSON_TOKEN="+s.token)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if _, err := cmd.Output(); err != nil {
		return nil, fmt.Errorf("deploy: %w: %s", err, errs.String())
	}
	res, err := http.NewRequest("GET", s.url+"/v2/models/bench.dev", nil)
	if err != nil {
		return nil, err
	}
	res.Header.Set("Authorization", "Bearer "+s.token)
	meta, err := http.DefaultClient.Do(res)
	if err != nil {
		return nil, err
	}
	var m struct {
		Inputs []struct {
			Name, Datatype string
			Shape          []int
		}
	}
	err = json.NewDecoder(meta.Body).Decode(&m)
	meta.Body.Close()
	if err != nil || len(m.Inputs) == 0 {
		return nil, fmt.Errorf("metadata of bench.dev: %v", err)
	}
	var inputs []string
	for _, in := range m.Inputs {
		n := 1
		shape := []string{"1"}
		for _, d := range in.Shape[min(1, len(in.Shape)):] {
			n *= max(d, 1)
			shape = append(shape, strconv.Itoa(max(d, 1)))
		}
		inputs = append(inputs, fmt.Sprintf(`{"name":%q,"datatype":%q,"shape":[%s],"data":[%s]}`, in.Name, in.Datatype,
			strings.Join(shape, ","), strings.TrimSuffix(strings.Repeat("0.1234,", n), ",")))
	}
	body := []byte(`{"inputs":[` + strings.Join(inputs, ",") + `]}`)

	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	floorCmd := exec.Command(self, "echo")
	floorOut, err := floorCmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := floorCmd.Start(); err != nil {
		return nil, err
	}
	defer func() { floorCmd.Process.Kill(); floorCmd.Wait() }()
	addr, err := bufio.NewReader(floorOut).ReadString('\n')
	if err != nil {
		return nil, err
	}
	floor := &server{url: strings.TrimSpace(addr), token: s.token}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	var ours, echoes []float64
	const blocks, per = 20, 250
	for b := range blocks + 1 { // the first block warms up
		for i := range 2 * per {
			target, path, into := s, "/v2/models/bench.dev/infer", &ours
			if i >= per {
				target, path, into = floor, "/echo", &echoes
			}
			took, err := target.post(client, path, body)
			if err != nil {
				return nil, err
			}
			if b > 0 {
				*into = append(*into, float64(took.Nanoseconds())/1000)
			}
		}
	}
	p, e := median(ours), median(echoes)
	return []figure{{fmt.Sprintf("one row of XGBoost, p50, as a multiple of an echo (%.0f µs, %d B)", e, len(body)), fmt.Sprintf("%.2f × (%.0f µs)", p/e, p), "≤ 2.5 ×", p/e <= 2.5}}, nil
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

// logBatch counts MLflow log-batch requests of 100 metrics by 8 clients for five seconds.
func logBatch(s *server) ([]figure, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	call := func(path string, body any, into any) error {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req, err := http.NewRequest("POST", s.url+path, bytes.NewReader(b))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode != 200 {
			return fmt.Errorf("%s: %d %s", path, res.StatusCode, text)
		}
		return json.Unmarshal(text, into)
	}
	var exp struct {
		ID string `json:"experiment_id"`
	}
	if err := call("/api/2.0/mlflow/experiments/create", map[string]any{"name": fmt.Sprintf("bench-%d", time.Now().UnixNano())}, &exp); err != nil {
		return nil, err
	}
	const clients = 8
	var done atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	end := time.Now().Add(5 * time.Second)
	began := time.Now()
	for range clients {
		var run struct {
			Run struct {
				Info struct {
					ID string `json:"run_id"`
				}
			}
		}
		if err := call("/api/2.0/mlflow/runs/create", map[string]any{"experiment_id": exp.ID, "start_time": time.Now().UnixMilli()}, &run); err != nil {
			return nil, err
		}
		wg.Go(func() {
			for step := 0; time.Now().Before(end); step++ {
				metrics := make([]map[string]any, 100)
				for i := range metrics {
					metrics[i] = map[string]any{"key": fmt.Sprintf("m%d", i%10), "value": float64(i) / 7, "timestamp": time.Now().UnixMilli(), "step": step*10 + i/10}
				}
				b, _ := json.Marshal(map[string]any{"run_id": run.Run.Info.ID, "metrics": metrics})
				if _, err := s.post(client, "/api/2.0/mlflow/runs/log-batch", b); err != nil {
					failed.Store(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return nil, err
	}
	rate := float64(done.Load()) / time.Since(began).Seconds()
	return []figure{{fmt.Sprintf("log-batch of 100 metrics, 8 clients, SQLite, %d cores", runtime.NumCPU()), fmt.Sprintf("%.0f requests/s", rate), "≥ 600 requests/s", rate >= 600}}, nil
}
