package python

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"keelson/internal/sandbox"
)

// Launch is the life of the process between the server and Python: the program calls it with one argument, a launch as
// JSON, in a process of its own. It takes the isolation and the limits on itself and becomes Python. It only returns when
// that fails, with the exit code.
func Launch(args []string) int {
	runtime.LockOSThread() // privileges, capabilities and rules belong to a thread; the one that execs must be this one
	var l launch
	err := errors.New("it wants one argument")
	if len(args) == 1 {
		err = json.Unmarshal([]byte(args[0]), &l)
	}
	if err == nil {
		err = become(l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, launchFault+err.Error())
		return 125
	}
	return 0
}

func become(l launch) error {
	// It was set when this process was started; a starter that died in between has left no trace but this.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("follow the server's end: %w", err)
	}
	if l.Namespaces {
		if err := enter(l); err != nil {
			return err
		}
	} else if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // what loses its parent stays below this process
		return fmt.Errorf("keep what it starts: %w", err)
	}
	if err := l.Limits.apply(); err != nil {
		return err
	}
	if err := sandbox.Drop(l.Namespaces); err != nil {
		return err
	}
	files := sandbox.Files{Read: l.Read, Write: []string{l.Work}}
	if l.Namespaces {
		files.Read, files.Write = append(files.Read, "/proc"), append(files.Write, "/dev/shm")
	} else {
		files.Read = append(files.Read, "/proc/self", "/proc/cpuinfo", "/proc/meminfo")
	}
	if l.Landlock {
		if err := files.Apply(); err != nil {
			return err
		}
	}
	if err := (sandbox.Calls{Unix: l.Namespaces, Pairs: true, Programs: true, Apart: l.Namespaces}).Apply(); err != nil {
		return err
	}
	if len(l.Args) == 0 {
		return nil
	}
	if err := os.Chdir(l.Work); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", l.Args[0], syscall.Exec(l.Args[0], l.Args, l.Env))
}

// enter builds a file tree of nothing but what may be read, and makes it the root.
func enter(l launch) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part from the machine's mounts: %w", err)
	}
	if err := unix.Mount("keelson", l.Root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m,nr_inodes=4096,mode=0755"); err != nil {
		return fmt.Errorf("make a root: %w", err)
	}
	for _, p := range l.Read {
		if err := bind(l.Root, p); err != nil {
			return err
		}
	}
	for _, d := range []string{"null", "zero", "full", "random", "urandom"} {
		if err := bindDevice(l.Root, "/dev/"+d); err != nil {
			return err
		}
	}
	proc := filepath.Join(l.Root, "proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		return err
	}
	// Containers that hide parts of /proc do not let it be mounted; Python does without.
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err == nil {
		// Further user namespaces would give back what is dropped below.
		_ = os.WriteFile(filepath.Join(proc, "sys/user/max_user_namespaces"), []byte("0"), 0) // a kernel without the file has nothing to shut
	}
	size := fmt.Sprintf("size=%d,nr_inodes=10000,mode=0700", l.Limits.Disk)
	for _, p := range []string{l.Work, "/dev/shm"} {
		to := filepath.Join(l.Root, p)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("keelson", to, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, size); err != nil {
			return fmt.Errorf("make a work folder: %w", err)
		}
	}
	if err := os.Symlink(l.Work, filepath.Join(l.Root, "tmp")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount("", l.Root, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "size=1m,nr_inodes=4096,mode=0755"); err != nil {
		return fmt.Errorf("shut the root: %w", err)
	}
	if err := os.Chdir(l.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return os.Chdir("/")
}

// bind shows path below root as it is, read only; a link is made again, what is not there left out.
func bind(root, path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	to := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch {
	case st.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return nil
	case st.IsDir():
		err = os.MkdirAll(to, 0o755)
	default:
		err = touch(to)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(path, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(-1, to, unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("shut %s for writing: %w", path, err)
	}
	return nil
}

func bindDevice(root, path string) error {
	to := filepath.Join(root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), touch(to)); err != nil {
		return err
	}
	if err := unix.Mount(path, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	return nil
}

func touch(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

func (l Limits) apply() error {
	set := func(what int, v uint64) error {
		if err := syscall.Setrlimit(what, &syscall.Rlimit{Cur: v, Max: v}); err != nil {
			return fmt.Errorf("set limit %d to %d: %w", what, v, err)
		}
		return nil
	}
	return errors.Join(
		set(unix.RLIMIT_CORE, 0),
		set(unix.RLIMIT_FSIZE, uint64(l.Disk)),
		set(unix.RLIMIT_NOFILE, uint64(l.Files)),
		set(unix.RLIMIT_MEMLOCK, 0),
		set(unix.RLIMIT_MSGQUEUE, 0),
		// Counted by user within the namespace; without one, by user of the machine, where it bounds nothing for root.
		set(unix.RLIMIT_NPROC, uint64(l.Processes)+l.others()),
		// Writable private memory, which unlike the address space does not count what is only reserved.
		set(unix.RLIMIT_DATA, uint64(l.Memory)),
	)
}

// others is how many processes and threads the user already has where the limit counts them, 0 within a namespace.
func (l Limits) others() uint64 {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || !strings.HasPrefix(strings.Join(strings.Fields(string(b)), " "), "0 0 4294967295") {
		return 0
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	n := uint64(0)
	for _, e := range entries {
		if st, err := os.Stat("/proc/" + e.Name() + "/task"); err == nil && st.Sys().(*syscall.Stat_t).Uid == uint32(os.Getuid()) {
			if threads, err := os.ReadDir("/proc/" + e.Name() + "/task"); err == nil {
				n += uint64(len(threads))
			}
		}
	}
	return n
}

// prepare makes cmd start in namespaces of its own if wished.
func prepare(cmd *exec.Cmd, namespaces bool) {
	if namespaces {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

// pair gives two ends of a socket: ours, and the child's.
func pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "child"), os.NewFile(uintptr(fds[1]), "server"), nil
}
