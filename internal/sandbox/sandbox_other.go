//go:build !linux

package sandbox

// Landlock is 0: there is none.
func Landlock() int { return 0 }

// Drop does nothing here.
func Drop(bool) error { return nil }

// Apply does nothing here.
func (Files) Apply() error { return nil }

// Apply does nothing here.
func (Calls) Apply() error { return nil }
