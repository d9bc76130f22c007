package main

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// rhythm is a timer of the kernel that comes due at even moments.
type rhythm struct{ f *os.File }

// newRhythm starts a timer that is due first in a moment, then every so often.
func newRhythm(first, every time.Duration) (*rhythm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, first.Nanoseconds())), Interval: unix.NsecToTimespec(every.Nanoseconds())}
	if err := unix.TimerfdSettime(fd, 0, &spec, nil); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &rhythm{os.NewFile(uintptr(fd), "timer")}, nil
}

// wait returns how often the timer came due since the last wait, at least once.
func (r *rhythm) wait() (int, error) {
	var n [8]byte
	if _, err := r.f.Read(n[:]); err != nil {
		return 0, err
	}
	return int(binary.NativeEndian.Uint64(n[:])), nil
}

func (r *rhythm) stop() { r.f.Close() }
