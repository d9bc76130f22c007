package onnxruntime

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate puts the child into a process group of its own and, when apart, into user and network namespaces of its own, in
// which there is no address to reach.
func isolate(cmd *exec.Cmd, apart bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if apart {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	}
}

// bound limits this process: no core file, no byte written to a file, few open files, so much writable memory.
func bound(memory int64) error {
	set := func(what int, v uint64) error {
		r := unix.Rlimit{Cur: v, Max: v}
		return unix.Setrlimit(what, &r)
	}
	return errors.Join(set(unix.RLIMIT_CORE, 0), set(unix.RLIMIT_FSIZE, 0), set(unix.RLIMIT_NOFILE, 64), set(unix.RLIMIT_DATA, uint64(memory)),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// resident is the memory that this process holds for itself, in bytes, without the pages of the program and the library,
// which processes share; 0 when it cannot be told.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 3 {
		return 0
	}
	all, _ := strconv.ParseInt(string(f[1]), 10, 64)
	shared, _ := strconv.ParseInt(string(f[2]), 10, 64)
	return max(all-shared, 0) * int64(os.Getpagesize())
}
