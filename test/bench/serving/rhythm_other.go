//go:build !linux

package main

import "time"

// rhythm is a timer that comes due at even moments, as evenly as Go's timers are.
type rhythm struct {
	next  time.Time
	every time.Duration
}

func newRhythm(first, every time.Duration) (*rhythm, error) {
	return &rhythm{time.Now().Add(first), every}, nil
}

func (r *rhythm) wait() (int, error) {
	time.Sleep(time.Until(r.next))
	r.next = r.next.Add(r.every)
	return 1, nil
}

func (r *rhythm) stop() {}
