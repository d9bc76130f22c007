package python

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidden are system calls that no model needs and that would open ways out of what holds it, or into other processes
// of its user: they fail with EPERM.
var forbidden = []uint32{unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_BPF,
	unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_QUOTACTL, unix.SYS_SWAPON,
	unix.SYS_PIDFD_GETFD, unix.SYS_OPEN_BY_HANDLE_AT}

// filter puts a system call filter into force: sockets of the Unix family only, and nothing of forbidden. Platforms whose
// numbers are not known here go without.
func filter() error {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return nil
	}
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atMost = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		any1   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K
		deny   = 0x00050000 | uint32(unix.EPERM)  // SECCOMP_RET_ERRNO
		absent = 0x00050000 | uint32(unix.ENOSYS) // as an older kernel says it
		allow  = 0x7fff0000                       // SECCOMP_RET_ALLOW
		kill   = 0x80000000                       // SECCOMP_RET_KILL_PROCESS
		number = 0                                // offsets in struct seccomp_data
		archAt = 4
		first  = 16
	)
	p := []unix.SockFilter{
		{Code: load, K: archAt},
		{Code: equal, K: arch, Jt: 1},
		{Code: ret, K: kill},
		{Code: load, K: number},
		{Code: atMost, K: 0x40000000, Jf: 1}, // the x32 calls of amd64 have other numbers
		{Code: ret, K: deny},
	}
	for _, n := range forbidden {
		p = append(p, unix.SockFilter{Code: equal, K: n, Jf: 1}, unix.SockFilter{Code: ret, K: deny})
	}
	p = append(p,
		// The C library falls back to clone, whose flags can be seen, when clone3 is not there.
		unix.SockFilter{Code: equal, K: unix.SYS_CLONE3, Jf: 1},
		unix.SockFilter{Code: ret, K: absent},
		unix.SockFilter{Code: equal, K: unix.SYS_CLONE, Jf: 3},
		unix.SockFilter{Code: load, K: first},
		unix.SockFilter{Code: any1, K: unix.CLONE_NEWUSER, Jf: 6},
		unix.SockFilter{Code: ret, K: deny},
		unix.SockFilter{Code: equal, K: unix.SYS_SOCKET, Jf: 4},
		unix.SockFilter{Code: load, K: first},
		unix.SockFilter{Code: equal, K: unix.AF_UNIX, Jf: 1},
		unix.SockFilter{Code: ret, K: allow},
		unix.SockFilter{Code: ret, K: deny},
		unix.SockFilter{Code: ret, K: allow})
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("filter system calls: %w", err)
	}
	return nil
}
