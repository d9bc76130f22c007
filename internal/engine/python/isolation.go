package python

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"keelson/internal/problem"
)

// Levels of isolation, from the weakest: limits, no privileges and a filter of system calls that leaves no socket to others
// and no signal to other processes; with Landlock, the kernel's rules for files; in user, mount, process, network and IPC
// namespaces of its own (and Landlock, where there is).
const (
	LevelLimits     = "limits"
	LevelLandlock   = "landlock"
	LevelNamespaces = "namespaces"
)

var levels = []string{LevelLimits, LevelLandlock, LevelNamespaces}

func rank(level string) int {
	for i, l := range levels {
		if l == level {
			return i
		}
	}
	return 0 // "any"
}

// Isolation is what this machine allows, found by trying.
type Isolation struct {
	Level    string `json:"level" enum:"limits,landlock,namespaces"`
	Landlock int    `json:"landlock" doc:"version of the kernel's Landlock, 0 for none"`
	Why      string `json:"why,omitempty" doc:"why there are no namespaces"`
}

// String says in one phrase what holds a child.
func (i Isolation) String() string {
	files := ""
	if i.Landlock > 0 {
		files = ", Landlock"
	}
	switch i.Level {
	case LevelNamespaces:
		return "own user, mount, process, network and IPC namespaces" + files + ", limits"
	case LevelLandlock:
		return "Landlock for files, no network, no signals to others, limits, but no namespaces (" + i.Why + ")"
	}
	return "no network, no signals to others, limits, but neither namespaces (" + i.Why + ") nor Landlock: it reads and changes the files that the server's user may, the server's own among them"
}

// enough fails with problem.Unsupported when less is possible than is demanded.
func (i Isolation) enough(demanded string) error {
	if rank(i.Level) >= rank(demanded) {
		return nil
	}
	return problem.New(problem.Unsupported, "Models in Python have to run in isolation of the level %q here, and this machine only allows %s.", demanded, i)
}

// Limits of one child. Zero fields mean the default.
type Limits struct {
	Memory    int64         // bytes of the child and what it starts; default 2 GiB
	Disk      int64         // bytes that it may write, and of one file; default 256 MiB
	Processes int           // with threads; default 64
	Files     int           // open at once; default 256
	Threads   int           // of one computation; default 1
	Call      time.Duration // wall clock of one call; default 30 s
	CPU       time.Duration // processor time of one call; default 30 s
	Load      time.Duration // wall clock of a start with the loading; default 2 min
	Answer    int64         // bytes of an answer; default, and at most, 256 MiB
}

func (l Limits) withDefaults() Limits {
	set(&l.Memory, 2<<30)
	set(&l.Disk, 256<<20)
	set(&l.Answer, mostMessage)
	set(&l.Processes, 64)
	set(&l.Files, 256)
	set(&l.Threads, 1)
	set(&l.Call, 30*time.Second)
	set(&l.CPU, 30*time.Second)
	set(&l.Load, 2*time.Minute)
	return l
}

// most is what a child may hold in memory, in bytes: in namespaces its two folders are in memory, too.
func (l Limits) most(namespaces bool) int64 {
	if namespaces {
		return l.Memory + 2*l.Disk
	}
	return l.Memory
}

func set[T int | int64 | time.Duration](v *T, other T) {
	if *v == 0 {
		*v = other
	}
}

// launch is what the launcher is told: what to become, and inside of what.
type launch struct {
	Args       []string `json:"args"` // empty: try the isolation and end
	Env        []string `json:"env"`
	Read       []string `json:"read"` // folders and files that may be read
	Work       string   `json:"work"` // the folder that may be written
	Root       string   `json:"root"` // an empty folder on which the new root is built
	Namespaces bool     `json:"namespaces"`
	Landlock   bool     `json:"landlock"` // where the kernel has it
	Limits     Limits   `json:"limits"`
}

func (l launch) argument() (string, error) {
	b, err := json.Marshal(l)
	return string(b), err
}

// launchFault is how the launcher begins the line with its own failure, so that it is told from the model's.
const launchFault = "keelson launcher: "

func launchFailure(stderr string) string {
	for line := range strings.SplitSeq(stderr, "\n") {
		if why, ok := strings.CutPrefix(line, launchFault); ok {
			return why
		}
	}
	return ""
}

func mebi(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
