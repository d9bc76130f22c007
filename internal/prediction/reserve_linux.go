package prediction

import (
	"os"
	"runtime/debug"
	"syscall"
)

// keepSize makes fallocate take the blocks without changing what the file's size says.
const keepSize = 1

// reserve takes disk space for a segment in advance, so that a disk that others fill up does not stop the log at once:
// what is reserved can still be written. It gives the reserved part of the file as memory: what is stored there is with the
// kernel at once, as what write(2) was given, and brought to disk by fsync like it. A file system that cannot do it, or has no
// room, is no error; then there is no memory and each write finds out.
func reserve(f *os.File, size int64) []byte {
	fd := int(f.Fd())
	if syscall.Fallocate(fd, keepSize, 0, size) != nil || int64(int(size)) != size {
		return nil
	}
	room, err := syscall.Mmap(fd, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	if f.Truncate(size) != nil { // memory behind the file's end cannot be used
		release(room)
		return nil
	}
	return room
}

// release gives back the memory of reserve; the file keeps what was stored.
func release(room []byte) { _ = syscall.Munmap(room) }

// shed lets go of pages of the memory of reserve that are written and not needed again, so that they do not count as the
// process's; the kernel keeps them as the file's. room begins at a page.
func shed(room []byte) { _ = syscall.Madvise(room, syscall.MADV_DONTNEED) }

// fill copies into the memory of reserve; false when the file system could not take it, some of it perhaps.
func fill(room, frames []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return copy(room, frames) == len(frames)
}
