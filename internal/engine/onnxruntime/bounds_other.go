//go:build !linux

package onnxruntime

import "os/exec"

// isolate does nothing: namespaces are Linux's.
func isolate(*exec.Cmd, bool) {}

// bound does nothing: macOS does not hold such bounds.
func bound(int64) error { return nil }

func resident() int64 { return 0 }
