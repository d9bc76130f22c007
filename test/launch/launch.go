// Package launch starts the built program for tests and benchmarks that treat it as a stranger would: by its command
// line and its network address.
package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is the program, serving.
type Server struct {
	URL   string
	Token string // of an administrator
	bin   string
	cmd   *exec.Cmd
}

// Keelson starts bin over the folder data on a free port of loopback and waits until it answers. token is one of an
// earlier start of the same folder; the first start prints its own.
func Keelson(ctx context.Context, bin, data, token string, args ...string) (*Server, error) {
	cmd := exec.CommandContext(ctx, bin, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", data}, args...)...)
	cmd.Env = append(os.Environ(), "KEELSON_LOG_LEVEL=error")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Server{bin: bin, cmd: cmd}
	if s.URL, s.Token, err = Ready(out, token); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Ready reads what a starting server prints until it has said where it answers and how to get in (unless a token is known
// already), and drops the rest.
func Ready(out io.Reader, known string) (url, token string, err error) {
	token = known
	lines := bufio.NewScanner(out)
	for (url == "" || token == "") && lines.Scan() {
		l := strings.TrimSpace(lines.Text())
		if u, ok := strings.CutPrefix(l, "ready on "); ok {
			url = u
		}
		if t, ok := strings.CutPrefix(l, "export MLFLOW_TRACKING_TOKEN="); ok {
			token = t
		}
	}
	go io.Copy(io.Discard, out)
	if url == "" || token == "" {
		return "", "", errors.New("the server did not say where it is and how to get in")
	}
	return url, token, nil
}

// CLI runs a command of the program against the server and gives what it printed.
func (s *Server) CLI(args ...string) (string, error) {
	cmd := exec.Command(s.bin, args...)
	cmd.Env = append(os.Environ(), "KEELSON_URL="+s.URL, "KEELSON_TOKEN="+s.Token)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("keelson %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return string(out), nil
}

// Stop ends the server and waits for it.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return nil // gone already
	}
	return s.cmd.Wait()
}

// PID is the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// RSS is the resident memory of a process in megabytes (10^6 bytes).
func RSS(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, errors.New("no VmRSS")
}
