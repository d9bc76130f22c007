//go:build !linux

package python

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Children with limits need Linux. Elsewhere the server runs without models in Python.

var errPlatform = errors.New("models in Python run on Linux only")

// Launch fails here.
func Launch([]string) int {
	fmt.Fprintln(os.Stderr, launchFault+errPlatform.Error())
	return 125
}

func prepare(*exec.Cmd, bool) {}

func pair() (ours, theirs *os.File, err error) { return nil, nil, errPlatform }
