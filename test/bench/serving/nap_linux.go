package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps in the kernel and wakes when it asked to, not up to 50 µs later.
func nap(d time.Duration) {
	if d <= 0 {
		return
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // of whichever thread this is
	t := unix.NsecToTimespec(d.Nanoseconds())
	for unix.Nanosleep(&t, &t) == unix.EINTR { // what is left
	}
}
