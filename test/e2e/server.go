// Package e2e starts the built program as its users do and watches it from outside: whole life cycles, killed processes,
// full disks.
package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keelson/client"
)

var built struct {
	once sync.Once
	bin  string
	err  error
}

// Binary builds the program once per test binary (without the web interface) and gives its path; KEELSON_BIN names
// one that is built already.
func Binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.bin = os.Getenv("KEELSON_BIN"); built.bin != "" {
			return
		}
		dir, err := os.MkdirTemp("", "keelson-e2e-")
		if err != nil {
			built.err = err
			return
		}
		built.bin = filepath.Join(dir, "keelson")
		cmd := exec.Command("go", "build", "-o", built.bin, "keelson/cmd/keelson")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.bin
}

// Server is the program as a process of its own, on an address and a folder that outlive it.
type Server struct {
	URL, Token string
	Args       []string // after serve --listen … --data …
	Data       string

	t      testing.TB
	listen string
	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{}
	Log    *strings.Builder
}

// Start runs the program on a free port of loopback with an empty folder.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartIn(t, t.TempDir(), args...)
}

// StartIn is Start with a folder of the caller's.
func StartIn(t testing.TB, data string, args ...string) *Server {
	t.Helper()
	return start(t, data, "", args)
}

// Beside starts another process of the installation that s belongs to: args name the same database, blobs and keys.
func (s *Server) Beside(args ...string) *Server {
	s.t.Helper()
	return start(s.t, s.t.TempDir(), s.Token, args)
}

func start(t testing.TB, data, token string, args []string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Token: token, t: t, listen: l.Addr().String(), Args: args, Data: data, Log: &strings.Builder{}}
	l.Close()
	s.URL = "http://" + s.listen
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			text := s.Log.String()
			t.Logf("the server's log, its end:\n%s", text[max(0, len(text)-8000):])
		}
	})
	return s
}

// Run starts the process and waits until it is ready. The first one prints how to get in.
func (s *Server) Run() error {
	cmd := exec.Command(Binary(s.t), append([]string{"serve", "--listen", s.listen, "--data", s.Data}, s.Args...)...)
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "KEELSON_") {
			env = append(env, kv)
		}
	}
	if py := os.Getenv("KEELSON_PYTHON"); py != "" {
		env = append(env, "KEELSON_PYTHON="+py)
	}
	cmd.Env = append(env, "KEELSON_LOG_LEVEL=warn")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.ended = cmd, ended
	s.mu.Unlock()
	go s.keep(errs)
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		up := false
		for lines.Scan() {
			l := strings.TrimSpace(lines.Text())
			up = up || strings.HasPrefix(l, "ready on ")
			if tok, ok := strings.CutPrefix(l, "export MLFLOW_TRACKING_TOKEN="); ok {
				s.Token = tok
			}
			if up && (s.Token != "" || strings.Contains(strings.Join(s.Args, " "), "--auth off")) {
				select {
				case ready <- true:
				default:
				}
			}
		}
		cmd.Wait()
		close(ended)
	}()
	select {
	case <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("the server ended before it was ready:\n%s", s.text())
	case <-time.After(30 * time.Second):
		return fmt.Errorf("the server was not ready in 30 s:\n%s", s.text())
	}
}

func (s *Server) keep(r io.Reader) {
	b := make([]byte, 32<<10)
	for {
		n, err := r.Read(b)
		s.mu.Lock()
		s.Log.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *Server) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Log.String()
}

// Kill ends the process as a power switch would, and waits for its end.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop asks the process to end, and waits.
func (s *Server) Stop() { s.signal(syscall.SIGTERM) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	cmd, ended := s.cmd, s.ended
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		s.t.Errorf("the server did not end 30 s after %s", sig)
		_ = cmd.Process.Kill()
		<-ended
	}
}

// PID is the process that runs at the moment.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Client speaks to the server as the holder of a token; the first one's if it is empty.
func (s *Server) Client(token string) *client.Client {
	s.t.Helper()
	if token == "" {
		token = s.Token
	}
	c, err := client.New(client.Config{Server: s.URL, Token: token})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// Person makes an account with a role and gives a client that acts as it.
func (s *Server) Person(ctx context.Context, name string, roles ...string) *client.Client {
	s.t.Helper()
	return s.Client(s.TokenOf(ctx, name, roles...))
}

// TokenOf makes an account with a role and gives a token of it, for programs.
func (s *Server) TokenOf(ctx context.Context, name string, roles ...string) string {
	s.t.Helper()
	const password = "a long enough password"
	if _, err := s.Client("").AddUser(ctx, client.User{Name: name, Roles: roles}, password); err != nil && !client.IsKind(err, "conflict") {
		s.t.Fatal(err)
	}
	tok, err := client.SignIn(ctx, client.Config{Server: s.URL}, name, password, "test", 1)
	if err != nil {
		s.t.Fatal(err)
	}
	return tok.Text
}
