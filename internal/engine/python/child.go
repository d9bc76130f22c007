package python

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keelson/internal/problem"
	"keelson/internal/proc"
	"keelson/internal/sandbox"
	"keelson/internal/tensor"
)

// child is one Python process with the model loaded in it. One goroutine at a time speaks with it.
type child struct {
	process *proc.Child
	pid     int
	limits  Limits
	conn    net.Conn
	said    *proc.Tail
	began   time.Time
	work    string          // the folder that it writes in where the machine sets no bound to it
	gone    <-chan struct{} // closed when the process and what it started have ended
	ready   answer

	buffer bytes.Buffer // the last answer
	memory atomic.Int64 // bytes, at the last look
	calls  atomic.Int64 // begun
	busy   atomic.Bool

	mu     sync.Mutex
	reason string // why it was ended, the first one that was told
}

// crash says that a child ended, with what it was asked last unanswered.
type crash struct{ why, said string }

func (c *crash) Error() string {
	if c.said == "" {
		return c.why
	}
	return c.why + "; its last words: " + c.said
}

// spawn starts the launcher with l.
func spawn(self []string, l launch) (*child, error) {
	arg, err := l.argument()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err = errors.Join(err, ours.Close()); err != nil {
		return nil, fmt.Errorf("speak with the child: %w", err)
	}
	work := l.Work
	if l.Namespaces { // a file system of its own size
		work = ""
	}
	c := &child{limits: l.Limits, conn: conn, said: &proc.Tail{}, began: time.Now(), work: work}
	cmd := exec.Command(self[0], append(self[1:len(self):len(self)], arg)...)
	cmd.Env, cmd.Dir = []string{"GOMAXPROCS=1"}, "/" // the launcher's own; Python gets what l says
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = c.said, c.said, []*os.File{theirs}
	prepare(cmd, l.Namespaces)
	if c.process, err = proc.Start(cmd); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c.pid, c.gone = c.process.Pid, c.process.Gone()
	go func() { // ends with the process
		<-c.gone
		conn.Close()
	}()
	return c, nil
}

// kill ends the child and what it started, which is in its process namespace, or may not leave its process group; why is told unless another reason was before.
func (c *child) kill(why string) {
	c.mu.Lock()
	if c.reason == "" {
		c.reason = why
	}
	c.mu.Unlock()
	c.process.Kill()
}

// crashed waits for the end of a child that no longer answers, and says why it ended.
func (c *child) crashed(cause error) error {
	why := "it does not answer"
	if errors.Is(cause, errProtocol) {
		why = cause.Error()
	}
	select {
	case <-c.gone:
	case <-time.After(2 * time.Second): // it shut the socket and lives on
		c.kill(why)
		<-c.gone
	}
	return &crash{c.why(), c.last()}
}

// why says why the child ended; it is gone.
func (c *child) why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != "" {
		return c.reason
	}
	return c.process.How()
}

// last is the last that the child said.
func (c *child) last() string { return c.said.Lines(6, 600) }

// exchange sends a message and waits for its answer until the deadline. Any failure is a *crash, and the child is gone then.
func (c *child) exchange(msg []byte, limit time.Duration, late string) (answer, []tensor.Tensor, error) {
	c.busy.Store(true)
	c.calls.Add(1)
	defer c.busy.Store(false)
	var body []byte
	err := c.conn.SetDeadline(time.Now().Add(limit))
	if err == nil {
		_, err = c.conn.Write(msg)
	}
	if err == nil {
		body, err = receive(c.conn, &c.buffer, c.limits.Answer)
	}
	if err == nil {
		var a answer
		var out []tensor.Tensor
		if a, out, err = parse(body); err == nil {
			if c.buffer.Cap() > 4<<20 {
				c.buffer = bytes.Buffer{}
			}
			return a, out, nil
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.kill(late)
	case errors.Is(err, errProtocol):
		c.kill(err.Error())
	}
	return answer{}, nil, c.crashed(err)
}

// watch ends the child when it uses more than its limits allow; it ends with the child.
func (c *child) watch() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var call int64
	var before time.Duration
	for {
		select {
		case <-c.gone:
			return
		case <-tick.C:
		}
		u, _ := proc.Tree(c.pid)
		c.memory.Store(u.Memory)
		if n := c.calls.Load(); n != call || !c.busy.Load() {
			call, before = n, u.CPU
		}
		switch {
		case proc.FolderSize(c.limits.Disk, c.work) > c.limits.Disk:
			c.kill("it wrote more than its limit of " + mebi(c.limits.Disk))
		case u.Memory > c.limits.Memory:
			c.kill("it used more than its memory limit of " + mebi(c.limits.Memory))
		case u.Processes > c.limits.Processes:
			c.kill(fmt.Sprintf("it started more than its limit of %d processes", c.limits.Processes))
		case u.CPU-before > c.limits.CPU && call > 1: // the first call loads, which has the wall clock alone
			c.kill(fmt.Sprintf("a call used more than its limit of %s of processor time", c.limits.CPU))
		}
	}
}

// trial finds out what isolation this machine allows by trying it.
func trial(self []string, root string) (Isolation, error) {
	iso := Isolation{Level: LevelLimits, Landlock: sandbox.Landlock()}
	if iso.Landlock > 0 {
		iso.Level = LevelLandlock
	}
	work, top := filepath.Join(root, "trial", "work"), filepath.Join(root, "trial", "root")
	if err := errors.Join(os.MkdirAll(work, 0o700), os.MkdirAll(top, 0o700)); err != nil {
		return iso, err
	}
	defer os.RemoveAll(filepath.Join(root, "trial"))
	l := launch{Read: sandbox.System, Work: work, Root: top, Namespaces: true, Landlock: true, Limits: Limits{}.withDefaults()}
	try := func() error {
		c, err := spawn(self, l)
		if err != nil {
			return err
		}
		select {
		case <-c.gone:
		case <-time.After(20 * time.Second):
			c.kill("it took too long")
			<-c.gone
			return problem.New(problem.Unavailable, "Whether models in Python can be isolated could not be found out in time; try again.")
		}
		if why := launchFailure(c.said.String()); why != "" {
			return errors.New(why)
		}
		if how := c.process.How(); how != "it ended with code 0" {
			return errors.New(how)
		}
		return nil
	}
	err := try()
	if err == nil {
		iso.Level = LevelNamespaces
		return iso, nil
	}
	if problem.Is(err, problem.Unavailable) { // a machine under load is no machine without namespaces
		return iso, err
	}
	iso.Why = err.Error()
	l.Namespaces = false
	if err := try(); err != nil {
		return iso, problem.New(problem.Unsupported, "Models in Python cannot run here: %s.", err)
	}
	return iso, nil
}

// begin starts a child and has it load the model. ctx bounds it beside the limits.
func (e *Engine) begin(ctx context.Context, l launch, first order) (*child, error) {
	msg, err := message(first, nil)
	if err != nil {
		return nil, err
	}
	c, err := spawn(e.Self, l)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "A Python process could not be started.").Because(err)
	}
	go c.watch() // ends with the child
	e.track(c, true)
	go func() { // ends with the child
		<-c.gone
		e.track(c, false)
	}()
	stop := context.AfterFunc(ctx, func() { c.kill("the start was called off") })
	defer stop()
	a, _, err := c.exchange(msg, l.Limits.Load, fmt.Sprintf("it did not load the model within %s", l.Limits.Load))
	if ctx.Err() != nil {
		c.kill("the start was called off")
		<-c.gone
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if a.Error != nil {
		c.kill("it cannot load the model")
		<-c.gone
		kind := problem.Invalid
		if a.Error.Kind == "unsupported" {
			kind = problem.Unsupported
		}
		return nil, problem.New(kind, "%s", sentence(a.Error.Text))
	}
	c.ready = a
	return c, nil
}

func sentence(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "?"))
	if len(s) > 700 {
		s = strings.ToValidUTF8(s[:700], "") + "…"
	}
	if s != "" && !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "…") {
		s += "."
	}
	return s
}
