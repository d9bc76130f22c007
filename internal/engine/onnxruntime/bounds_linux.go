package onnxruntime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"keelson/internal/sandbox"
)

// isolate puts the child, when apart, into user, network and IPC namespaces of its own, in which there is no address to
// reach.
func isolate(cmd *exec.Cmd, apart bool) {
	if apart {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC}
	}
}

// entry is what the child is told at first: the library that it will open.
func entry(library string) []string { return []string{library} }

// enter gives up the privileges and files that the child does not need and becomes the child; it returns only when that
// fails. Of files it may read those of the system, the program and the library, and change none.
func enter(args []string) error {
	goruntime.LockOSThread() // what is given up is given up by a thread; the one that execs must be this one
	// It was set when this process was started; a starter that died in between has left no trace but this.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("follow the server's end: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := sandbox.Drop(false); err != nil {
		return err
	}
	files := sandbox.Files{Read: append([]string{self, filepath.Dir(args[0]), "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"}, sandbox.System...)}
	if err := files.Apply(); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", self, syscall.Exec(self, os.Args[:len(os.Args)-len(args)], os.Environ()))
}

// bound limits this process: no core file, no byte written to a file, few open files, so much writable memory, and of the
// address space what is reserved beside it.
func bound(memory int64) error {
	set := func(what int, v uint64) error {
		r := unix.Rlimit{Cur: v, Max: v}
		return unix.Setrlimit(what, &r)
	}
	space := uint64(memory) + 8<<30 + uint64(goruntime.NumCPU())<<29 // the C library reserves room per thread
	return errors.Join(set(unix.RLIMIT_CORE, 0), set(unix.RLIMIT_FSIZE, 0), set(unix.RLIMIT_NOFILE, 64), set(unix.RLIMIT_DATA, uint64(memory)), set(unix.RLIMIT_AS, space),
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
