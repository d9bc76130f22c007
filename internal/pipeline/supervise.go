package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"keelson/internal/proc"
	"keelson/internal/sandbox"
)

const cancelledText = "It was cancelled."

// MaxLog is how much of a step's output is kept, in bytes.
const MaxLog = 16 << 20

// Supervise is the life of a watcher: the program calls it with the folder of a task, in a process of its own, and
// ends with the code it returns. With "become" before the folder it is the step between watcher and task, which takes
// the limits on itself and then turns into the task.
func Supervise(args []string) int {
	if len(args) == 2 && args[0] == "become" {
		return becomeTask(args[1])
	}
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "keelson: internal-exec wants the folder of a task")
		return 2
	}
	if err := watch(args[0]); err != nil {
		fmt.Fprintln(os.Stderr, "keelson:", err)
		return 1
	}
	return 0
}

func readTask(dir string) (t taskFile, err error) {
	b, err := os.ReadFile(filepath.Join(dir, taskName))
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(b, &t)
}

func becomeTask(dir string) int {
	t, err := readTask(dir)
	if err == nil {
		err = applyLimits(t.Limits)
	}
	if err == nil {
		err = os.Chdir(t.Dir)
	}
	if err == nil {
		runtime.LockOSThread() // what is taken from a thread stays taken from what it becomes
		err = t.keepOut()
	}
	if err == nil {
		err = become(t.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "keelson:", err)
	return 127
}

// keepOut takes what is guarded away from this thread.
func (t *taskFile) keepOut() error {
	if len(t.Guard) == 0 || sandbox.Landlock() == 0 {
		return nil
	}
	rest, err := sandbox.Except(t.Guard...)
	if err == nil {
		err = sandbox.Drop(false) // root's as well: they lead around the rules
	}
	if err == nil {
		err = sandbox.Files{Read: t.Read, Write: t.Write, Rest: rest, TCP: true}.Apply()
	}
	if err != nil {
		return fmt.Errorf("keep the step out of the server's files: %w", err)
	}
	return nil
}

func watch(dir string) error {
	me, err := self()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := writeFile(filepath.Join(dir, watcherName), me); err != nil {
		return err
	}
	t, err := readTask(dir) // after saying who we are: who takes the task away then knows whom to wait for
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := adoptOrphans(); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()

	out := &capped{w: log, left: MaxLog}
	cmd := exec.Command(exe, append(superviseArgs(), "become", dir)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = os.Environ(), out, out
	began := time.Now()
	child, err := proc.Start(cmd)
	if err != nil {
		return writeFile(filepath.Join(dir, resultName), Result{ExitCode: -1, Reason: err.Error()})
	}
	me.Child = child.Pid
	if err := writeFile(filepath.Join(dir, watcherName), me); err != nil {
		child.Kill()
		<-child.Gone()
		return errors.Join(err, child.Err())
	}

	var reason atomic.Value
	stop := func(why string) {
		reason.CompareAndSwap(nil, why)
		child.Kill()
		pids, _ := proc.Below(os.Getpid())
		for _, p := range pids {
			proc.Kill(p)
		}
	}
	ended := make(chan struct{})
	guarded := make(chan struct{})
	go func() { // ends when the task has ended
		defer close(guarded)
		guard(t, began, signals, ended, stop)
	}()
	<-child.Gone()
	close(ended)
	<-guarded
	pids, _ := proc.Below(os.Getpid()) // what it left behind, also outside of its group
	for _, p := range pids {
		proc.Kill(p)
	}
	reap()

	r := Result{ExitCode: cmd.ProcessState.ExitCode(), CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.MaxRSS = int64(ru.Maxrss) * 1024 // Linux counts in kilobytes
	}
	why, _ := reason.Load().(string)
	switch {
	case why != "":
		r.ExitCode, r.Reason, r.Ended = -1, why, why == cancelledText
	case r.ExitCode == -1 && r.CPU >= time.Duration(t.Limits.CPU):
		r.Reason = fmt.Sprintf("It used more than its %s of processor time.", time.Duration(t.Limits.CPU))
	case r.ExitCode != 0:
		r.Reason = fmt.Sprintf("It ended with %s.", cmd.ProcessState)
	case child.Err() != nil && !errors.Is(child.Err(), exec.ErrWaitDelay):
		r.Reason = child.Err().Error()
	}
	if out.left < 0 {
		fmt.Fprintf(log, "\n[log cut: more than %d MiB]\n", MaxLog>>20)
	}
	return writeFile(filepath.Join(dir, resultName), r)
}

// superviseArgs repeats the arguments this watcher was called with, up to the folder.
func superviseArgs() []string { return append([]string{}, os.Args[1:len(os.Args)-1]...) }

// guard ends the task when a limit is passed or somebody asks for it.
func guard(t taskFile, began time.Time, signals <-chan os.Signal, ended <-chan struct{}, stop func(string)) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ended:
			return
		case <-signals:
			stop(cancelledText)
		case <-tick.C:
			if limit := time.Duration(t.Limits.Time); time.Since(began) > limit {
				stop(fmt.Sprintf("It took longer than its time limit of %s.", limit))
			}
			if _, rss := proc.Below(os.Getpid()); rss > int64(t.Limits.Memory) {
				stop(fmt.Sprintf("It used more than its memory limit of %d MiB.", t.Limits.Memory>>20))
			}
			if n%10 == 0 && proc.FolderSize(int64(t.Limits.Output), t.Output, t.Dir) > int64(t.Limits.Output) {
				stop(fmt.Sprintf("It wrote more than its output limit of %d MiB.", t.Limits.Output>>20))
			}
		}
	}
}

// capped passes on the first left bytes and swallows the rest; left is then negative.
type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(b []byte) (int, error) {
	if c.left < 0 {
		return len(b), nil
	}
	keep := b
	if int64(len(b)) > c.left {
		keep = b[:c.left]
	}
	c.left -= int64(len(b))
	if _, err := c.w.Write(keep); err != nil {
		return 0, err
	}
	return len(b), nil
}
