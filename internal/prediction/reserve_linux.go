package prediction

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
)

// keepSize makes fallocate take the blocks without changing what the file's size says.
const keepSize = 1

// reserve takes disk space for a segment in advance, so that a disk that others fill up does not stop the log at once:
// what is reserved can still be written. It gives the file as memory that the kernel writes, in which a record costs no
// call of the system, and nil where the file system cannot do that: then each record is a write, and where it cannot
// reserve, or has no room, each write finds out.
func reserve(f *os.File, size int64) []byte {
	fd := int(f.Fd())
	if int64(int(size)) == size && syscall.Fallocate(fd, 0, 0, size) == nil {
		if b, err := syscall.Mmap(fd, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err == nil {
			return b
		}
	}
	_ = f.Truncate(0)
	_ = syscall.Fallocate(fd, keepSize, 0, size)
	return nil
}

func unreserve(b []byte) { _ = syscall.Munmap(b) }

// fill copies bytes to the memory of a file. The kernel tells of a disk that fails, or of a file that was cut, by a fault,
// which is an error here; how much was copied before is not known.
func fill(dst, src []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("the disk took no more at address %x: %w", p.Addr(), errFault)
		default:
			panic(p)
		}
	}()
	copy(dst, src)
	return nil
}

var errFault = errors.New("memory fault")
