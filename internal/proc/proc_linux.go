package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// InGroup makes cmd start in a process group of its own that dies with its parent thread.
func InGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
}

// ended waits for the end of a child of ours and leaves it to be reaped.
func ended(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// KillGroup ends a process group at once; one that is gone already is what we want.
func KillGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }

// Kill ends a process at once.
func Kill(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// Stat gives the fields of /proc/PID/stat behind the command name; the first is the state.
func Stat(pid int) ([]string, error) {
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

// ticks is how /proc counts processor time: USER_HZ, 100 a second on every architecture that Go runs on.
const ticks = time.Second / 100

// of reads what one process uses.
func of(fields []string) Usage {
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return Usage{pages * int64(os.Getpagesize()), time.Duration(user+system) * ticks, 1}
}

// Below lists the processes below pid and the memory all of them hold, in bytes.
func Below(pid int) (pids []int, rss int64) {
	children := map[int][]int{}
	memory := map[int]int64{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, 0
	}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f, err := Stat(p)
		if err != nil {
			continue // it ended while we looked
		}
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], p)
		memory[p] = of(f).Memory
	}
	for todo := children[pid]; len(todo) > 0; {
		p := todo[0]
		todo = append(todo[1:], children[p]...)
		pids = append(pids, p)
		rss += memory[p]
	}
	return pids, rss
}

// mostSeen bounds a look at one tree, so that a process that starts others without end does not hold us up.
const mostSeen = 4096

// Tree gives what pid and everything below it use, and the processes with pid first; it is cheaper than Below where there
// are few of them. A process that is gone uses nothing.
func Tree(pid int) (u Usage, pids []int) {
	for todo := []int{pid}; len(todo) > 0 && len(pids) < mostSeen; todo = todo[1:] {
		p := todo[0]
		f, err := Stat(p)
		if err != nil {
			continue
		}
		one := of(f)
		u.Memory, u.CPU, u.Processes = u.Memory+one.Memory, u.CPU+one.CPU, u.Processes+1
		pids = append(pids, p)
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p))
		if err != nil {
			continue
		}
		for _, t := range threads {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", p, t.Name()))
			if err != nil {
				continue
			}
			for _, c := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(c); err == nil {
					todo = append(todo, n)
				}
			}
		}
	}
	return u, pids
}
