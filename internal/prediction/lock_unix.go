//go:build unix

package prediction

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the file for this process until it is closed or the process ends; false when another one has it.
func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
