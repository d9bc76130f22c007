package proc

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Child is a program that was started by Start. Its methods may be called at any time and by several goroutines.
//
//	Start ──▶ runs ── ends by itself, Kill, our own end ──▶ what it left in its group is ended ──▶ gone
type Child struct {
	Pid int

	cmd  *exec.Cmd
	gone chan struct{}
	err  error // as cmd.Wait gives it; set before gone is closed

	mu    sync.Mutex
	ended bool // its number may belong to another process soon
}

// Start starts cmd in a process group of its own that dies with us, and waits for its end. Other attributes of cmd are
// kept. What keeps its pipes open after the end is given a second, or cmd's own WaitDelay.
//
// A group holds what the child starts, unless that leaves it (setsid, setpgid): a child that is not trusted has to be
// kept from that, or be in a process namespace of its own.
func Start(cmd *exec.Cmd) (*Child, error) {
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = time.Second
	}
	InGroup(cmd)
	c := &Child{cmd: cmd, gone: make(chan struct{})}
	started := make(chan error)
	go func() { // ends with the process
		// The parent-death signal follows the thread that starts the process, so that thread waits for its end.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			c.Pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		ended(c.Pid) // and not reaped: until then its number, and its group's, are nobody else's
		c.mu.Lock()
		KillGroup(c.Pid)
		c.ended = true
		c.mu.Unlock()
		c.err = cmd.Wait()
		close(c.gone)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return c, nil
}

// Gone is closed when the child has ended and was waited for.
func (c *Child) Gone() <-chan struct{} { return c.gone }

// Kill ends the child and its group at once, and nobody else: once the child has ended it does nothing.
func (c *Child) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	KillGroup(c.Pid)
	_ = c.cmd.Process.Kill() // where there are no groups; one that has ended is what we want
}

// Err is how the child ended, nil for the code 0 and while it runs.
func (c *Child) Err() error {
	select {
	case <-c.gone:
		return c.err
	default:
		return nil
	}
}

// How says how the child ended: "it ended with code 3", "it was ended by the signal killed". While it runs it is "it runs".
func (c *Child) How() string {
	select {
	case <-c.gone:
	default:
		return "it runs"
	}
	return how(c.cmd.ProcessState)
}

func how(s *os.ProcessState) string {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return fmt.Sprintf("it was ended by the signal %s", w.Signal())
	}
	return fmt.Sprintf("it ended with code %d", s.ExitCode())
}

// Run starts a command in a folder as Start does, waits for its end and gives its error. When ctx ends, so does the command.
// No env is ours, no dir is ours.
func Run(ctx context.Context, log io.Writer, env []string, dir string, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = log, log, env, dir
	c, err := Start(cmd)
	if err != nil {
		return err
	}
	select {
	case <-c.Gone():
		return c.Err()
	case <-ctx.Done():
		c.Kill()
		<-c.Gone()
		return ctx.Err()
	}
}
