//go:build !linux

package proc

import "os/exec"

// InGroup does nothing here.
func InGroup(*exec.Cmd) {}

// KillGroup does nothing here.
func KillGroup(int) {}

// Kill does nothing here.
func Kill(int) {}

func ended(int) {}

// Below sees nothing here.
func Below(int) ([]int, int64) { return nil, 0 }

// Tree sees nothing here.
func Tree(int) (Usage, []int) { return Usage{}, nil }
