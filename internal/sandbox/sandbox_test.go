//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test program is also the process that is shut in: first what takes the rules for files and becomes another, then
// that one, which takes the filter and tries the doors.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "shut" {
		os.Exit(shut(os.Args[2:]))
	}
	if len(os.Args) > 3 && os.Args[1] == "inside" {
		os.Exit(inside(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func shut(args []string) int {
	runtime.LockOSThread()
	err := Drop(false)
	if err == nil {
		err = Files{Read: append([]string{filepath.Dir(os.Args[0]), "/proc/self"}, System...), Write: []string{args[0]}}.Apply()
	}
	if err == nil {
		err = syscall.Exec(os.Args[0], append([]string{os.Args[0], "inside"}, args...), nil)
	}
	println(err.Error())
	return 1
}

func inside(args []string) int {
	own, others, calls := args[0], args[1], Calls{}
	err := json.Unmarshal([]byte(args[2]), &calls)
	if err == nil {
		err = calls.Apply()
	}
	if err != nil {
		println(err.Error())
		return 1
	}
	out := map[string]string{}
	try := func(what string, err error) {
		out[what] = "open"
		if errors.Is(err, os.ErrPermission) {
			out[what] = "shut"
		} else if err != nil {
			out[what] = err.Error()
		}
	}
	try("write its folder", os.WriteFile(filepath.Join(own, "f"), []byte("x"), 0o600))
	try("write another folder", os.WriteFile(filepath.Join(others, "f"), []byte("x"), 0o600))
	_, err = os.ReadFile(filepath.Join(others, "secret"))
	try("read another folder", err)
	try("run a program", exec.Command("/bin/true").Run())
	_, err = syscall.ForkExec("/bin/true", []string{"true"}, nil)
	try("fork", err)
	_, err = net.Dial("tcp", "127.0.0.1:9")
	try("connect by TCP", err)
	_, err = net.Dial("udp", "127.0.0.1:9")
	try("speak by UDP", err)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	try("make a Unix socket", err)
	if err == nil {
		unix.Close(fd)
	}
	try("make namespaces", unix.Unshare(unix.CLONE_NEWUSER))
	try("trace", unix.PtraceAttach(os.Getppid()))
	pair := func(what string, kind int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		try(what, err)
		if err == nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
		}
	}
	pair("make a pair of sockets", unix.SOCK_STREAM)
	pair("make a pair that sends to others", unix.SOCK_DGRAM)
	try("signal another process", unix.Kill(os.Getppid(), 0))
	try("signal itself", unix.Tgkill(os.Getpid(), unix.Gettid(), 0))
	var limit unix.Rlimit
	try("limit another process", unix.Prlimit(os.Getppid(), unix.RLIMIT_CORE, nil, &limit))
	try("look at its own limit", unix.Prlimit(0, unix.RLIMIT_CORE, nil, &limit))
	try("slow another process down", unix.Setpriority(unix.PRIO_PROCESS, os.Getppid(), 0))
	try("slow itself down", unix.Setpriority(unix.PRIO_PROCESS, 0, 1))
	file, err := os.Open(os.Args[0])
	if err == nil {
		_, err = unix.FcntlInt(file.Fd(), fileSetOwner, os.Getppid())
		file.Close()
	}
	try("have another process signalled", err)
	_, err = unix.MemfdCreate("x", 0)
	try("take memory that nobody counts", err)
	try("outlive its starter", unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0))
	try("leave its group", unix.Setpgid(0, 0))
	done := make(chan error)
	go func() { // a thread that did not take the filter itself
		runtime.LockOSThread()
		done <- exec.Command("/bin/true").Run()
	}()
	try("run a program in another thread", <-done)
	b, err := json.Marshal(out)
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	if err != nil {
		return 1
	}
	return 0
}

func TestDoorsAreShut(t *testing.T) {
	landlock := "shut"
	if Landlock() == 0 {
		landlock = "open"
	}
	for _, c := range []struct {
		name          string
		calls         Calls
		program, sock string
		pair, other   string
	}{
		{"a process without programs and sockets", Calls{}, "shut", "shut", "shut", "shut"},
		{"a process with programs and pairs", Calls{Pairs: true, Programs: true}, "open", "shut", "open", "shut"},
		{"a process with programs and Unix sockets", Calls{Unix: true, Programs: true}, "open", "open", "open", "shut"},
		{"a process apart from others", Calls{Unix: true, Programs: true, Apart: true}, "open", "open", "open", "open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own, others := t.TempDir(), t.TempDir()
			if err := os.WriteFile(filepath.Join(others, "secret"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			arg, err := json.Marshal(c.calls)
			if err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			cmd := exec.Command(self, "shut", own, others, string(arg))
			cmd.Stderr = &said
			b, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, said.String())
			}
			var got map[string]string
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			for what, want := range map[string]string{"write its folder": "open", "write another folder": landlock, "read another folder": landlock, "run a program": c.program, "fork": c.program,
				"run a program in another thread": c.program, "connect by TCP": "shut", "speak by UDP": "shut", "make a Unix socket": c.sock, "make namespaces": "shut", "trace": "shut",
				"make a pair of sockets": c.pair, "make a pair that sends to others": c.sock, "signal itself": "open", "look at its own limit": "open", "slow itself down": "open", "have another process signalled": c.other,
				"leave its group": c.other, "take memory that nobody counts": "shut", "outlive its starter": "shut"} {
				if got[what] != want {
					t.Errorf("%s: %s, want %s", what, got[what], want)
				}
			}
			// Where the filter leaves them, Landlock and the machine's users decide.
			for _, what := range []string{"signal another process", "limit another process", "slow another process down"} {
				if c.other == "shut" && got[what] != "shut" {
					t.Errorf("%s: %s", what, got[what])
				}
			}
		})
	}
}
