package onnxruntime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"keelson/internal/problem"
	"keelson/internal/sandbox"
)

// doors is a child that is held like any other and then, instead of opening the library, tries what a fault in it could be
// used for, and answers with what it found open.
func doors(args []string) int {
	if len(args) > 0 {
		return Child(args)
	}
	c := &child{in: bufio.NewReader(os.NewFile(callsFile, "calls")), out: &sender{w: os.NewFile(answersFile, "answers")}}
	m, err := receive(c.in)
	if err == nil {
		err = errors.Join(c.hold(), bound(1<<30))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	open := []string{}
	try := func(what string, err error) {
		if err == nil {
			open = append(open, what)
		}
	}
	home := filepath.Join(string(filepath.Separator), "tmp")
	try("write a file", os.WriteFile(filepath.Join(home, "keelson-open-door"), nil, 0o600))
	try("make a folder", os.Mkdir(filepath.Join(home, "keelson-open-door.d"), 0o700))
	_, err = os.ReadFile("/etc/passwd")
	try("read the machine's files", err)
	_, err = os.ReadDir("/root")
	try("list a home", err)
	_, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
	try("read the server's environment", err)
	try("run a program", exec.Command("/bin/true").Run())
	_, err = net.Dial("tcp", "127.0.0.1:22")
	try("connect", err)
	_, err = net.Listen("tcp", "127.0.0.1:0")
	try("listen", err)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	try("make a Unix socket", err)
	if err == nil {
		unix.Close(fd)
	}
	if sandbox.Landlock() >= 6 { // before, signals reach processes of the same user
		try("end the server", syscall.Kill(os.Getppid(), 0))
	}
	try("take much writable memory", reserve(2<<30, unix.MAP_PRIVATE))
	try("take much shared memory", reserve(1<<40, unix.MAP_SHARED))
	b, err := json.Marshal(open)
	if err == nil {
		err = c.refuse(m.number, problem.New(problem.Unsupported, "open: %s", b))
	}
	if err != nil {
		return 1
	}
	return 0
}

func reserve(n int, how int) error {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, how|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err == nil {
		err = unix.Munmap(b)
	}
	return err
}

func TestTheDoorsOfAProcessAreShut(t *testing.T) {
	e := installed(t)
	shut := e
	shut.Self = []string{e.Self[0], "doors"}
	_, err := find(t, "lstm").load(t, shut)
	if err == nil || !strings.Contains(err.Error(), "open: ") {
		t.Fatalf("the doors were not tried: %v", err)
	}
	if sandbox.Landlock() > 0 && !strings.Contains(err.Error(), "open: []") {
		t.Error(err)
	}
	// What serves is held in each of its threads.
	m, err := find(t, "lstm").load(t, e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Predict(context.Background(), find(t, "lstm").Calls[0].Inputs); err != nil {
		t.Fatal(err)
	}
	pid := m.(*model).host.p.child.Pid
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, file := range threads {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "CapEff:\t0000000000000000\n"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s lacks %q", file, want)
			}
		}
	}
	if mem := m.(interface{ MemoryBytes() int64 }).MemoryBytes(); mem < 1<<20 {
		t.Errorf("it holds %d bytes; its own look at /proc is shut", mem)
	}
}
