package pipeline

import (
	"context"
	"time"
)

// Task is one attempt of a command step. ID is "RUN/STEP/ATTEMPT": the same wherever and whenever it is asked for, so a
// driver that has lost its memory finds its tasks again.
type Task struct {
	ID     string
	Dir    string   // where the source lies; the command starts here
	Output string   // the folder for results; it exists
	Home   string   // all that it may change where the server's own files are
	Args   []string // program and arguments
	Env    []string // all of its environment, as KEY=value
	Limits Limits   // filled in
}

// Result is how a task ended.
type Result struct {
	ExitCode int           `json:"exit_code"` // -1 when it was ended by a signal or never began
	Reason   string        `json:"reason"`    // a sentence when it did not end with code 0
	CPU      time.Duration `json:"cpu_ns"`    // processor time of all its processes
	MaxRSS   int64         `json:"max_rss"`   // bytes, of the largest process
	Lost     bool          `json:"lost,omitempty"`
	Ended    bool          `json:"ended_by_us,omitempty"` // by Cancel
}

// Executor runs tasks somewhere: here as child processes, elsewhere as Kubernetes jobs. All calls know a task by its ID
// and are safe for concurrent use.
type Executor interface {
	// Submit starts t and returns once it has been taken. A second Submit of one ID fails.
	Submit(ctx context.Context, t Task) error
	// Observe waits for the end of a task, or of ctx (which leaves the task running). A task that vanished without a
	// result gives a Result with Lost set.
	Observe(ctx context.Context, id string) (Result, error)
	// Logs reads up to limit bytes of what the task wrote so far, from offset on; none when there are none yet.
	Logs(ctx context.Context, id string, offset int64, limit int) ([]byte, error)
	// Cancel ends a task and everything it started and returns once they are gone. An unknown ID is no error.
	Cancel(ctx context.Context, id string) error
	// Adopt asks whether a task submitted by an earlier life of this executor can be observed: it still runs, or its
	// result is there; a task that Cancel ended has none. After false nothing of it runs and nothing of it will begin.
	Adopt(ctx context.Context, id string) (bool, error)
	// Forget removes what is kept about a task that has ended.
	Forget(ctx context.Context, id string) error
}
