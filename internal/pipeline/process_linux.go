package pipeline

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"keelson/internal/proc"
)

// detach puts the watcher into a session of its own: Ctrl-C at the server's terminal and the server's end do not reach it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func terminate(pid int) { _ = syscall.Kill(pid, syscall.SIGTERM) } // already gone is what we want

// destroy ends a watcher and its task at once.
func destroy(w identity) {
	if !w.alive() {
		return
	}
	_ = syscall.Kill(w.PID, syscall.SIGKILL) // the task dies with its watcher, by its parent-death signal
	if w.Child > 0 {
		_ = syscall.Kill(-w.Child, syscall.SIGKILL)
	}
}

func (w identity) alive() bool {
	start, state, err := procStart(w.PID)
	return err == nil && start == w.Start && w.Boot == bootID() && state != 'Z'
}

// self gives the identity of this process.
func self() (identity, error) {
	start, _, err := procStart(os.Getpid())
	return identity{PID: os.Getpid(), Start: start, Boot: bootID()}, err
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it the process id and start time decide
	return strings.TrimSpace(string(b))
}

// procStart reads start time (clock ticks since boot) and state of a process from /proc/PID/stat.
func procStart(pid int) (start uint64, state byte, err error) {
	fields, err := proc.Stat(pid)
	if err != nil {
		return 0, 0, err
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// applyLimits bounds this process and what it will become.
func applyLimits(l Limits) error {
	set := func(what int, v uint64) error {
		r := unix.Rlimit{Cur: v, Max: v}
		return unix.Setrlimit(what, &r)
	}
	cpu := uint64(time.Duration(l.CPU).Seconds()) + 1
	return errors.Join(
		set(unix.RLIMIT_CORE, 0),
		set(unix.RLIMIT_CPU, cpu),
		set(unix.RLIMIT_FSIZE, uint64(l.Output)),
		// Writable private memory, which unlike the address space does not count what is only reserved.
		set(unix.RLIMIT_DATA, uint64(l.Memory)),
	)
}

// become replaces this process by the task.
func become(args, env []string) error {
	path, err := lookPath(args[0], env)
	if err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", path, syscall.Exec(path, args, env))
}

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return filepath.Abs(name)
	}
	for _, kv := range env {
		if list, ok := strings.CutPrefix(kv, "PATH="); ok {
			for _, dir := range filepath.SplitList(list) {
				full := filepath.Join(dir, name)
				if st, err := os.Stat(full); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
					return full, nil
				}
			}
		}
	}
	return "", fmt.Errorf("there is no program %q in the step's PATH", name)
}

// adoptOrphans makes this process the parent of whatever its descendants leave behind, so that nothing escapes.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// reap collects ended descendants that were handed to us.
func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}
