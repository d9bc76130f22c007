//go:build !linux

package onnxruntime

import (
	"errors"
	"os/exec"
)

// isolate does nothing: namespaces are Linux's.
func isolate(*exec.Cmd, bool) {}

// entry is nothing: the child serves at once.
func entry(string) []string { return nil }

// enter is for Linux.
func enter([]string) error { return errors.New("it takes no arguments here") }

// bound does nothing: macOS does not hold such bounds.
func bound(int64) error { return nil }

func resident() int64 { return 0 }
