package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Drop gives up every privilege of this thread, for what comes after as well. must says that the way back has to be shut,
// which in a user namespace of its own is always possible.
func Drop(must bool) error {
	for c := uintptr(0); c < 64; c++ {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // beyond the last one, or without the right to: the set below is empty anyway
	}
	const noRoot = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7 // NOROOT, NO_SETUID_FIXUP, KEEP_CAPS and NO_CAP_AMBIENT_RAISE, locked
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noRoot, 0, 0, 0); err != nil && must {
		return fmt.Errorf("shut the way back to privileges: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("take no new privileges: %w", err)
	}
	return nil
}

// Access rights of Landlock, by the version that brought them.
const (
	landExecute   = 1 << 0
	landWriteFile = 1 << 1
	landReadFile  = 1 << 2
	landReadDir   = 1 << 3
	landAll1      = 1<<13 - 1
	landRefer     = 1 << 13
	landTruncate  = 1 << 14
	landDevice    = 1 << 15
	landFileOnly  = landExecute | landReadFile | landWriteFile | landTruncate | landDevice
)

// Landlock is the version of the kernel's Landlock, 0 for none.
func Landlock() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// Apply puts the rules into force for this thread and all that it starts. It takes no new privileges to be set (Drop).
func (f Files) Apply() error {
	version := Landlock()
	if version == 0 {
		return nil
	}
	all := uint64(landAll1)
	if version >= 2 {
		all |= landRefer
	}
	if version >= 3 {
		all |= landTruncate
	}
	if version >= 5 {
		all |= landDevice
	}
	attr := struct{ fs, net, scoped uint64 }{fs: all}
	size := uintptr(8)
	if version >= 4 {
		size = 16
		if !f.TCP {
			attr.net = 3 // binding and connecting by TCP
		}
	}
	if version >= 6 {
		attr.scoped, size = 3, 24 // abstract sockets and signals stay inside
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("make rules for files: %w", errno)
	}
	defer unix.Close(int(fd))
	var errs []error
	for _, p := range f.Read {
		errs = append(errs, allow(fd, p, all&(landExecute|landReadFile|landReadDir)))
	}
	for _, d := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"} {
		errs = append(errs, allow(fd, d, all&(landReadFile|landWriteFile|landTruncate)))
	}
	for _, p := range f.Write {
		errs = append(errs, allow(fd, p, all&^landDevice))
	}
	for _, p := range f.Rest {
		errs = append(errs, allow(fd, p, all))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("put rules for files into force: %w", errno)
	}
	return nil
}

// allow adds a rule for one file, or for a folder and all below it.
func allow(rules uintptr, path string, access uint64) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= landFileOnly
	}
	// The kernel's structure is packed: eight bytes of rights, four of the descriptor.
	var rule [12]byte
	*(*uint64)(unsafe.Pointer(&rule[0])) = access
	*(*int32)(unsafe.Pointer(&rule[8])) = int32(at)
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, 1, uintptr(unsafe.Pointer(&rule[0])), 0, 0, 0); errno != 0 {
		return fmt.Errorf("allow %s: %w", path, errno)
	}
	return nil
}
