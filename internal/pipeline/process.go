package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"keelson/internal/problem"
)

// Process runs tasks as child processes of this machine.
//
// Each task is watched by a small second copy of this program (Supervise) in a session of its own. The watcher outlives
// a server that is killed, enforces the limits, and leaves the result in the task's folder, where the next server finds
// it. A process is recognised by its id and start time together, so a reused id is never mistaken for it.
//
// A task is the user's own program and has the network and the machine, but not the server: what Guard names (keys, the
// database, the prediction log, other tasks) it can neither read nor change but for its Home, and it cannot look into or
// end the server's process. That needs a kernel with Landlock; older ones leave it out.
//
//	ROOT/RUN/STEP/ATTEMPT/task.json    what to run (no secrets: they travel in the environment)
//	                      watcher.json process id, start time and boot of the watcher
//	                      log          what the task wrote
//	                      result.json  how it ended
type Process struct {
	Root string   // folder for the tasks; made when missing
	Self []string // the command that calls Supervise; its last argument will be the task's folder

	Guard []string // files and folders that no task may open
	Read  []string // folders among them that tasks may read all the same

	mu    sync.Mutex
	alive map[string]chan struct{} // watchers that are our children, closed when they were waited for
}

type taskFile struct {
	Args   []string `json:"args"`
	Dir    string   `json:"dir"`
	Output string   `json:"output"`
	Limits Limits   `json:"limits"`
	Guard  []string `json:"guard,omitempty"`
	Read   []string `json:"read,omitempty"`
	Write  []string `json:"write,omitempty"`
}

const (
	taskName    = "task.json"
	watcherName = "watcher.json"
	logName     = "log"
	resultName  = "result.json"
	observeTick = 50 * time.Millisecond
)

// Folder is where task id keeps its files.
func (p *Process) Folder(id string) string { return filepath.Join(p.Root, filepath.FromSlash(id)) }

func (p *Process) check(id string) error {
	if !filepath.IsLocal(filepath.FromSlash(id)) || strings.Count(id, "/") != 2 {
		return fmt.Errorf("task id %q is not RUN/STEP/ATTEMPT", id)
	}
	return nil
}

// Submit starts the watcher of t.
func (p *Process) Submit(ctx context.Context, t Task) error {
	if err := p.check(t.ID); err != nil {
		return err
	}
	dir, err := filepath.Abs(p.Folder(t.ID)) // the watcher starts elsewhere
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make task folder: %w", err)
	}
	body, err := json.Marshal(taskFile{Args: t.Args, Dir: t.Dir, Output: t.Output, Limits: t.Limits.withDefaults(), Guard: p.Guard, Read: p.Read,
		Write: slices.DeleteFunc([]string{t.Home, t.Dir, t.Output}, func(d string) bool { return d == "" })})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, taskName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("task %s was submitted before: %w", t.ID, err)
	}
	if _, err = f.Write(body); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Close(); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.Self[0], append(p.Self[1:len(p.Self):len(p.Self)], dir)...)
	cmd.Env, cmd.Dir, cmd.Stderr = t.Env, dir, log // what goes wrong in the watcher itself is in the log too
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start watcher of %s: %w", t.ID, err)
	}
	gone := make(chan struct{})
	p.mu.Lock()
	if p.alive == nil {
		p.alive = map[string]chan struct{}{}
	}
	p.alive[t.ID] = gone
	p.mu.Unlock()
	go func() { // ends with the watcher, which ends with its task's time limit at the latest
		_ = cmd.Wait() // its result is in the file
		close(gone)
	}()
	return nil
}

// Observe waits for the end of a task.
func (p *Process) Observe(ctx context.Context, id string) (Result, error) {
	if err := p.check(id); err != nil {
		return Result{}, err
	}
	tick := time.NewTicker(observeTick)
	defer tick.Stop()
	for {
		alive := p.running(id)
		r, ok, err := p.result(id)
		if ok || err != nil {
			return r, err
		}
		if !alive { // looked at before the result, so a result would have been seen
			return Result{ExitCode: -1, Lost: true, Reason: "The process vanished without a result."}, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// Logs reads from the task's log file.
func (p *Process) Logs(ctx context.Context, id string, offset int64, limit int) ([]byte, error) {
	if err := p.check(id); err != nil {
		return nil, err
	}
	return readAt(filepath.Join(p.Folder(id), logName), offset, limit)
}

func readAt(name string, offset int64, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, limit)
	n, err := f.ReadAt(buf, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf[:n], nil
}

// Cancel asks the watcher to end its task, and ends both by force when that takes more than three seconds.
func (p *Process) Cancel(ctx context.Context, id string) error {
	if err := p.check(id); err != nil {
		return err
	}
	// Without its task file a watcher that has not begun yet never will.
	if err := os.Remove(filepath.Join(p.Folder(id), taskName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	began := time.Now()
	for asked := false; p.running(id); asked = true {
		w, ok := p.watcher(id)
		switch {
		case !ok: // being started: it finds no task file and goes
		case !asked:
			terminate(w.PID)
		case time.Since(began) > 3*time.Second:
			destroy(w)
		}
		if time.Since(began) > 20*time.Second {
			return problem.New(problem.Internal, "Task %s does not end.", id)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(observeTick):
		}
	}
	return nil
}

// Adopt finds out what became of a task of an earlier server.
func (p *Process) Adopt(ctx context.Context, id string) (bool, error) {
	if err := p.check(id); err != nil {
		return false, err
	}
	if r, ok, err := p.result(id); ok || err != nil {
		return ok && !r.Ended, err
	}
	if p.running(id) {
		return true, nil
	}
	// It may have been forked without having said so yet; taking the task away keeps it from beginning.
	if err := os.Remove(filepath.Join(p.Folder(id), taskName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if p.running(id) { // it had begun in between
		return true, nil
	}
	r, ok, err := p.result(id) // or ended in between
	return ok && !r.Ended, err
}

// Forget removes the task's folder.
func (p *Process) Forget(ctx context.Context, id string) error {
	if err := p.check(id); err != nil {
		return err
	}
	p.mu.Lock()
	delete(p.alive, id)
	p.mu.Unlock()
	return os.RemoveAll(p.Folder(id))
}

// running reports whether the watcher of id lives: our own child, or one of an earlier server by process id and start.
func (p *Process) running(id string) bool {
	p.mu.Lock()
	gone, ours := p.alive[id]
	p.mu.Unlock()
	if ours {
		select {
		case <-gone:
			return false
		default:
			return true
		}
	}
	w, ok := p.watcher(id)
	return ok && w.alive()
}

func (p *Process) watcher(id string) (w identity, ok bool) {
	b, err := os.ReadFile(filepath.Join(p.Folder(id), watcherName))
	return w, err == nil && json.Unmarshal(b, &w) == nil
}

func (p *Process) result(id string) (r Result, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(p.Folder(id), resultName))
	if errors.Is(err, os.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, false, fmt.Errorf("read result of %s: %w", id, err)
	}
	return r, true, nil
}

// identity names a process for good: an id alone is reused, an id with its start time and boot is not.
type identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
	Boot  string `json:"boot"`
	Child int    `json:"child,omitempty"` // process group of the task itself
}

// writeFile replaces name at once: a reader sees the old bytes or the new ones.
func writeFile(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
