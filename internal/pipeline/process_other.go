//go:build !linux

package pipeline

import (
	"errors"
	"os"
	"os/exec"
)

// Child processes with limits need Linux. Elsewhere the server runs without command steps.

var errPlatform = errors.New("command steps run on Linux only")

func detach(*exec.Cmd)                {}
func terminate(int)                   {}
func destroy(identity)                {}
func (w identity) alive() bool        { return false }
func self() (identity, error)         { return identity{PID: os.Getpid()}, errPlatform }
func applyLimits(Limits) error        { return errPlatform }
func become(args, env []string) error { return errPlatform }
func adoptOrphans() error             { return errPlatform }
func reap()                           {}
