package pipeline

import (
	"bytes"
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
	fields, err := procStat(pid)
	if err != nil {
		return 0, 0, err
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// procStat gives the fields of /proc/PID/stat behind the command name; the first is the state.
func procStat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, ok := bytes.Cut(b[bytes.LastIndexByte(b, ')'):], []byte(") "))
	if fields := strings.Fields(string(rest)); ok && len(fields) > 21 {
		return fields, nil
	}
	return nil, fmt.Errorf("/proc/%d/stat has an unknown form", pid)
}

// descendants lists the processes below pid and the memory all of them hold, in bytes.
func descendants(pid int) (pids []int, rss int64) {
	children := map[int][]int{}
	memory := map[int]int64{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, 0
	}
	page := int64(os.Getpagesize())
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f, err := procStat(p)
		if err != nil {
			continue // it ended while we looked
		}
		parent, _ := strconv.Atoi(f[1])
		pages, _ := strconv.ParseInt(f[21], 10, 64)
		children[parent] = append(children[parent], p)
		memory[p] = pages * page
	}
	for todo := children[pid]; len(todo) > 0; {
		p := todo[0]
		todo = append(todo[1:], children[p]...)
		pids = append(pids, p)
		rss += memory[p]
	}
	return pids, rss
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

// inGroup starts cmd in a process group of its own that dies with its parent thread.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }

func killOne(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// reap collects ended descendants that were handed to us.
func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}
