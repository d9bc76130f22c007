package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are system calls that no model needs and that would open ways out of what holds it, or into other processes
// of its user: they fail with EPERM.
var forbidden = []uint32{unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_BPF,
	unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_QUOTACTL, unix.SYS_SWAPON,
	unix.SYS_PIDFD_GETFD, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET}

// others are system calls that reach other processes of the user or leave the process group.
var others = []uint32{unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_SETSID, unix.SYS_SETPGID,
	unix.SYS_IOPRIO_SET, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_KCMP}

// first names a process in these, 0 being the caller.
var named = []uint32{unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETATTR}

// arches are the platforms whose numbers are known here: how the filter sees them, and the calls that start processes and
// that newer platforms do not have.
var arches = map[string]struct {
	audit uint32
	forks []uint32
}{"amd64": {unix.AUDIT_ARCH_X86_64, []uint32{57, 58}}, "arm64": {unix.AUDIT_ARCH_AARCH64, nil}}

// Words of the filter's language.
const (
	load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	atMost = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	any1   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	and    = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	ret    = unix.BPF_RET | unix.BPF_K

	deny   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS) // as an older kernel says it

	number = 0 // offsets in struct seccomp_data
	archAt = 4
	first  = 16
	second = 24
)

// Numbers of arguments that the library has no names for.
const (
	fileSetOwner, fileSetSignal, fileSetOwnerEx = 8, 10, 15 // fcntl: who gets a signal about a file, and which
	ioSetOwner, ioSetGroup                      = 0x8901, 0x8902
	sockType                                    = 0xf
)

// Apply puts the filter into force for all threads of this process. Platforms whose numbers are not known here go without.
// It takes no new privileges to be set (Drop).
func (c Calls) Apply() error {
	arch, ok := arches[runtime.GOARCH]
	if !ok {
		return nil
	}
	p := c.program(arch.audit, arch.forks, uint32(os.Getpid()))
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	at, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	if at != 0 {
		return fmt.Errorf("filter system calls: thread %d has another filter", at)
	}
	return nil
}

// program writes the filter for the process own.
func (c Calls) program(arch uint32, forks []uint32, own uint32) []unix.SockFilter {
	p := []unix.SockFilter{
		{Code: load, K: archAt},
		{Code: equal, K: arch, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: number},
		{Code: atMost, K: 0x40000000, Jf: 1}, // the x32 calls of amd64 have other numbers
		{Code: ret, K: deny},
	}
	// on says what happens to one call; then ends with a verdict.
	on := func(call uint32, then ...unix.SockFilter) {
		p = append(append(p, unix.SockFilter{Code: equal, K: call, Jf: uint8(len(then))}), then...)
	}
	refused, allowed := unix.SockFilter{Code: ret, K: deny}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}
	// among allows a call when its argument at an offset is one of a few, except refuses it then.
	among := func(call, at uint32, values ...uint32) {
		then := []unix.SockFilter{{Code: load, K: at}}
		for _, v := range values {
			then = append(then, unix.SockFilter{Code: equal, K: v, Jf: 1}, allowed)
		}
		on(call, append(then, refused)...)
	}
	except := func(call, at uint32, values ...uint32) {
		then := []unix.SockFilter{{Code: load, K: at}}
		for _, v := range values {
			then = append(then, unix.SockFilter{Code: equal, K: v, Jf: 1}, refused)
		}
		on(call, append(then, allowed)...)
	}
	for _, n := range forbidden {
		on(n, refused)
	}
	except(unix.SYS_PRCTL, first, unix.PR_SET_PDEATHSIG, unix.PR_SET_CHILD_SUBREAPER) // how it ends with its starter, and what it starts with it
	if !c.Apart {
		for _, n := range others {
			on(n, refused)
		}
		for _, n := range named {
			among(n, first, 0, own)
		}
		among(unix.SYS_TGKILL, first, own)
		on(unix.SYS_SETPRIORITY, unix.SockFilter{Code: load, K: first}, unix.SockFilter{Code: equal, K: unix.PRIO_PROCESS, Jt: 1}, refused,
			unix.SockFilter{Code: load, K: second}, unix.SockFilter{Code: equal, K: 0, Jf: 1}, allowed, unix.SockFilter{Code: equal, K: own, Jf: 1}, allowed, refused)
		except(unix.SYS_FCNTL, second, fileSetOwner, fileSetSignal, fileSetOwnerEx)
		except(unix.SYS_IOCTL, second, ioSetOwner, ioSetGroup)
	}
	on(unix.SYS_CLONE3, unix.SockFilter{Code: ret, K: absent}) // the C library falls back to clone, whose flags can be seen
	// A process that is a child of our starter would be counted and ended as nobody's.
	clone := []unix.SockFilter{{Code: load, K: first}, {Code: any1, K: unix.CLONE_NEWUSER | unix.CLONE_PARENT, Jf: 1}, refused}
	if !c.Programs {
		clone = append(clone, unix.SockFilter{Code: any1, K: unix.CLONE_THREAD, Jt: 1}, refused)
		for _, n := range append([]uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT}, forks...) {
			on(n, refused)
		}
	}
	on(unix.SYS_CLONE, append(clone, allowed)...)
	if c.Unix {
		on(unix.SYS_SOCKET, unix.SockFilter{Code: load, K: first}, unix.SockFilter{Code: equal, K: unix.AF_UNIX, Jf: 1}, allowed, refused)
	} else {
		on(unix.SYS_SOCKET, refused)
		if c.Pairs { // a pair of datagram sockets could send to others
			on(unix.SYS_SOCKETPAIR, unix.SockFilter{Code: load, K: second}, unix.SockFilter{Code: and, K: sockType}, unix.SockFilter{Code: equal, K: unix.SOCK_STREAM, Jf: 1}, allowed, refused)
		} else {
			on(unix.SYS_SOCKETPAIR, refused)
		}
	}
	return append(p, allowed)
}
