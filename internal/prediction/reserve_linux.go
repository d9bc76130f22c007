package prediction

import (
	"os"
	"syscall"
)

// keepSize makes fallocate take the blocks without changing what the file's size says.
const keepSize = 1

// reserve takes disk space for a segment in advance, so that a disk that others fill up does not stop the log at once:
// what is reserved can still be written. A file system that cannot do it, or has no room, is no error; then each write
// finds out.
func reserve(f *os.File, size int64) {
	_ = syscall.Fallocate(int(f.Fd()), keepSize, 0, size)
}
