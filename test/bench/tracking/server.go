package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"

	"keelson/test/launch"
)

// server is one of the two programs, running.
type server struct {
	name, url, token string
	store            string // MLflow's backend store URI
	cmd              *exec.Cmd
	ended            chan struct{}
	http             *http.Client
}

// keelson starts ours on "sqlite" or "postgres", once per database and environment.
func (b *bench) keelson(database string, env ...string) (*server, error) {
	name := strings.Join(append([]string{"keelson", database}, env...), " ")
	if s := b.servers[name]; s != nil {
		return s, nil
	}
	data := filepath.Join(b.dir, strings.NewReplacer(" ", "-", "=", "-").Replace(name))
	dsn := "sqlite://" + filepath.Join(data, "keelson.db")
	if !b.relaxed {
		dsn += "?synchronous=full"
	}
	if database == "postgres" {
		var err error
		if dsn, err = b.database("keelson"); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(b.bin, "serve", "--listen", "127.0.0.1:0", "--data", data, "--database", dsn)
	cmd.Env = append(append(os.Environ(), "KEELSON_LOG_LEVEL=error"), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s, err := b.launch(name, cmd)
	if err != nil {
		return nil, err
	}
	s.url, s.token, err = launch.Ready(out, "")
	return s, err
}

// mlflow starts the peer on "sqlite" or "postgres", once per database.
func (b *bench) mlflow(database string) (*server, error) {
	if s := b.servers["mlflow "+database]; s != nil {
		return s, nil
	}
	if b.python == "" {
		return nil, fmt.Errorf("name a python with the packages of test/conformance/mlflow/requirements.txt: -python")
	}
	dir := filepath.Join(b.dir, "mlflow-"+database)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	store := "sqlite:///" + filepath.Join(dir, "mlflow.db")
	if database == "postgres" {
		dsn, err := b.database("mlflow")
		if err != nil {
			return nil, err
		}
		store = strings.Replace(dsn, "postgres://", "postgresql+psycopg2://", 1)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	cmd := exec.Command(b.python, "-m", "mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", filepath.Join(dir, "artifacts"),
		"--host", "127.0.0.1", "--port", port)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true", "PATH="+filepath.Dir(b.python)+":"+os.Getenv("PATH"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	s, err := b.launch("mlflow "+database, cmd)
	if err != nil {
		return nil, err
	}
	s.url, s.store = "http://127.0.0.1:"+port, store
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if res, err := s.http.Get(s.url + "/health"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(end) || b.ctx.Err() != nil || s.gone() {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			return nil, fmt.Errorf("mlflow server is not ready:\n%s", text[max(0, len(text)-4000):])
		}
	}
	return s, nil
}

// launch starts a program in a process group of its own, which ends with the bench.
func (b *bench) launch(name string, cmd *exec.Cmd) (*server, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{name: name, cmd: cmd, ended: make(chan struct{}), http: &http.Client{Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, DisableCompression: true}}}
	go func() { _ = cmd.Wait(); close(s.ended) }()
	b.servers[name] = s
	b.end = append(b.end, s.stop)
	return s, nil
}

func (s *server) gone() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *server) stop() {
	s.http.CloseIdleConnections()
	if !s.gone() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
		}
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // workers that outlived their parent
	<-s.ended
}

// database makes an empty database on the PostgreSQL server and gives its connection string.
func (b *bench) database(name string) (string, error) {
	dsn, err := b.postgres()
	if err != nil {
		return "", err
	}
	admin, err := sql.Open("pgx", dsn)
	if err != nil {
		return "", err
	}
	defer admin.Close()
	if _, err := admin.ExecContext(b.ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// memory reads a line of /proc/PID/status in MiB: VmRSS now, VmHWM the most since forget.
func (s *server) memory(line string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, line+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("there is no %s", line)
}

// cpu is the processor time that the process has used.
func (s *server) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, used, err := stat(b)
	return used, err
}

// stat reads the process group and the processor time, user and system, out of a /proc/PID/stat.
func stat(b []byte) (group int, used time.Duration, err error) {
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, 0, errors.New("/proc/PID/stat has too few fields")
	}
	if group, err = strconv.Atoi(f[2]); err != nil {
		return 0, 0, err
	}
	for _, field := range f[11:13] { // hundredths of a second
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		used += time.Duration(n) * 10 * time.Millisecond
	}
	return group, used, nil
}

// groups is the processor time of all processes of a server: MLflow has workers, which begin slowly.
func (s *server) groups() (all time.Duration, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		if group, used, err := stat(b); err == nil && group == s.cmd.Process.Pid {
			all += used
		}
	}
	return all, err
}

// settle waits until a server does nothing, so that what it does after its last answer (or while it starts) is not
// counted against the other: less than a tenth of a core for half a second, or a minute.
func (b *bench) settle(s *server) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && b.ctx.Err() == nil; {
		before, err := s.groups()
		if err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
		after, err := s.groups()
		if err != nil || after-before <= 50*time.Millisecond {
			return err
		}
	}
	return b.ctx.Err()
}

// peak is the most resident memory, in MiB, while fn ran.
func (s *server) peak(fn func() error) (float64, error) {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0o200); err != nil {
		return 0, err
	}
	if err := fn(); err != nil {
		return 0, err
	}
	return s.memory("VmHWM")
}

// growth is by how many MiB the resident memory grew at most while fn ran.
func (s *server) growth(fn func() error) (float64, error) {
	before, err := s.memory("VmRSS")
	if err != nil {
		return 0, err
	}
	peak, err := s.peak(fn)
	return max(0, peak-before), err
}

func (s *server) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		return nil, err
	}
	if s.token != "" {
		req.Header["Authorization"] = []string{"Bearer " + s.token}
	}
	return req, nil
}

// send does one request, reads the whole answer and gives how long that took.
func (s *server) send(ctx context.Context, method, path string, body []byte, into io.Writer) (time.Duration, error) {
	req, err := s.request(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Header["Content-Type"] = []string{"application/json"}
	}
	began := time.Now()
	res, err := s.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		return 0, fmt.Errorf("%s: %s %s: %d %s", s.name, method, path, res.StatusCode, text)
	}
	_, err = io.Copy(into, res.Body)
	return time.Since(began), err
}

// call does one request with documents; a GET's body must be nil.
func (s *server) call(ctx context.Context, method, path string, body, into any) error {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	if _, err := s.send(ctx, method, path, b, &out); err != nil || into == nil {
		return err
	}
	return json.Unmarshal(out.Bytes(), into)
}

const api = "/api/2.0/mlflow/"

// experiment makes one.
func (s *server) experiment(ctx context.Context, name string) (string, error) {
	s.http.CloseIdleConnections() // the server may be about to close them
	var out struct {
		ID string `json:"experiment_id"`
	}
	err := s.call(ctx, "POST", api+"experiments/create", map[string]any{"name": name}, &out)
	return out.ID, err
}

// run begins one.
func (s *server) run(ctx context.Context, experiment string) (string, error) {
	s.http.CloseIdleConnections()
	var out struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			}
		}
	}
	err := s.call(ctx, "POST", api+"runs/create", map[string]any{"experiment_id": experiment, "start_time": time.Now().UnixMilli()}, &out)
	return out.Run.Info.ID, err
}
