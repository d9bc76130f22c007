package blob

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeOut tells the kernel to begin writing a range of f to the disk and does not wait for it. It is a hint: whether
// the bytes arrived is what Sync says.
func writeOut(f *os.File, from, n int64) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _ = unix.SyncFileRange(int(fd), from, n, unix.SYNC_FILE_RANGE_WRITE) })
}
