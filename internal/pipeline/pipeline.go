// Package pipeline turns a project into model versions: it checks the data, runs the training code, waits for what the
// code registered and judges it.
//
// A project file (keelson.yaml) declares steps and what each needs; steps whose needs are met run at the same time.
// A pipeline's versions are addressed by the digest of that file and of the source beside it. A run of one version
// records everything it was made of: parameters, data versions, seed, environment lock, commit. What came out of it has
// a content digest of its own, which is the same when the same inputs run again.
//
//	run   queued ──▶ running ──▶ succeeded | failed | cancelled          failed, cancelled ── retry ──▶ queued
//	step  waiting ─▶ running ──▶ succeeded | failed | cancelled; skipped when something it needs did not succeed
//
// One process drives a run, by lease. If it dies, another one takes the lease, adopts the child processes that still
// run here and starts what is unfinished under a new attempt number; what had succeeded is not repeated. Everything a
// driver writes carries the lease's term, and everything a child writes carries its attempt, so of two copies exactly
// one counts.
//
// The package does not train, store models or judge them: children, the inventory and evaluation do.
package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of step.
const (
	Check    = "check"    // the data rules, on the versions this run uses
	Command  = "command"  // a child process
	Register = "register" // waits until the versions registered by this run are ready
	Evaluate = "evaluate" // the declared suite, on each of those versions
)

// States of runs and steps.
const (
	Queued    = "queued"
	Waiting   = "waiting"
	Running   = "running"
	Succeeded = "succeeded"
	Failed    = "failed"
	Skipped   = "skipped"
	Cancelled = "cancelled"
)

// Kinds of trigger.
const (
	ByPerson  = "person"
	ByMonitor = "monitor"
)

// Pipeline is a project as the server knows it: its newest version.
type Pipeline struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Model       string    `json:"model"`
	Version     int       `json:"version"`
	Digest      string    `json:"digest"` // of the project file and the source
	Source      Source    `json:"source"`
	Environment string    `json:"environment_digest"`
	Steps       []Outline `json:"steps"`
	CreatedBy   string    `json:"created_by"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`

	definition string // the project file's text
	archive    string // digest of the source tarball, empty without one
}

// Outline is a step as it is declared.
type Outline struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`
	Needs []string `json:"needs"`
}

// Source says which state of a repository the code came from.
type Source struct {
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Dirty      bool   `json:"dirty"`
}

// Trigger says why a run began. Ref is the monitor's window for a run begun by a monitor.
type Trigger struct {
	Kind string `json:"kind"`
	Ref  string `json:"ref,omitempty"`
}

// DataRef is one data version a run reads or wrote.
type DataRef struct {
	Dataset string `json:"dataset"`
	Version int    `json:"version"`
	Digest  string `json:"digest"`
	Format  string `json:"format,omitempty"` // csv or parquet
}

// ModelRef is one model version a run registered.
type ModelRef struct {
	Model          string `json:"model"`
	Version        int    `json:"version"`
	ContentDigest  string `json:"content_digest"`
	ArtifactDigest string `json:"artifact_digest"`
	Run            string `json:"run,omitempty"` // the MLflow run that made it
}

// Run is one run of one version of a pipeline. Times are zero until they happen.
type Run struct {
	ID              string         `json:"id"`
	Pipeline        string         `json:"pipeline"`
	PipelineVersion int            `json:"pipeline_version"`
	Model           string         `json:"model"`
	State           string         `json:"state"`
	Error           string         `json:"error,omitempty"`
	Trigger         Trigger        `json:"trigger"`
	By              string         `json:"by"`
	CreatedAt       time.Time      `json:"created_at"`
	StartedAt       *time.Time     `json:"started_at,omitempty"`
	EndedAt         *time.Time     `json:"ended_at,omitempty"`
	ContentDigest   string         `json:"content_digest,omitempty"`
	Source          Source         `json:"source"`
	Environment     string         `json:"environment_digest"`
	Seed            int64          `json:"seed"`
	Params          map[string]any `json:"params"`
	Data            []DataRef      `json:"data"`
	Versions        []ModelRef     `json:"versions"`
	Steps           []Step         `json:"steps"`

	cancel bool
	fence  int64
}

// Ended reports whether the run has come to an end.
func (r Run) Ended() bool { return r.State != Queued && r.State != Running }

// Step is one step of a run. Attempt counts its starts, from 1.
type Step struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"`
	Needs     []string       `json:"needs"`
	State     string         `json:"state"`
	Attempt   int            `json:"attempt"`
	StartedAt *time.Time     `json:"started_at,omitempty"`
	EndedAt   *time.Time     `json:"ended_at,omitempty"`
	ExitCode  *int           `json:"exit_code,omitempty"`
	Error     string         `json:"error,omitempty"`
	Outputs   map[string]any `json:"outputs,omitempty"`

	address   string // the server address its child was told
	token     string // number of the token its child was given
	logDigest string
	logSize   int64
}

func (s Step) ended() bool { return s.State != Waiting && s.State != Running }

// ready lists the waiting steps whose needs have all succeeded, in the order of declaration.
func ready(steps []Step) (names []string) {
	for _, s := range steps {
		if s.State == Waiting && !slices.ContainsFunc(s.Needs, func(n string) bool { return stateOf(steps, n) != Succeeded }) {
			names = append(names, s.Name)
		}
	}
	return names
}

// blocked lists the waiting steps that can never run, because something they need ended without success.
func blocked(steps []Step) (names []string) {
	lost := map[string]bool{}
	for changed := true; changed; {
		changed = false
		for _, s := range steps {
			if s.State != Waiting || lost[s.Name] {
				continue
			}
			for _, n := range s.Needs {
				if st := stateOf(steps, n); lost[n] || st == Failed || st == Skipped || st == Cancelled {
					lost[s.Name], changed = true, true
				}
			}
		}
	}
	for _, s := range steps {
		if lost[s.Name] {
			names = append(names, s.Name)
		}
	}
	return names
}

func stateOf(steps []Step, name string) string {
	for _, s := range steps {
		if s.Name == name {
			return s.State
		}
	}
	return ""
}

// outcome computes the state of a run all of whose steps have ended, and the sentence that says why it is not a success.
func outcome(steps []Step) (state, reason string) {
	state = Succeeded
	for _, s := range steps {
		switch s.State {
		case Failed:
			return Failed, fmt.Sprintf("Step %s failed: %s", s.Name, s.Error)
		case Cancelled:
			state, reason = Cancelled, "The run was cancelled."
		case Skipped:
			if state == Succeeded {
				state, reason = Failed, fmt.Sprintf("Step %s was skipped.", s.Name)
			}
		}
	}
	return state, reason
}

// contentDigest is what a run made, without who made it and when: the digest over the project file, source, parameters,
// seed, environment lock, data digests and the content digests of the versions it registered. The same inputs give the
// same digest as long as the training code is deterministic.
func contentDigest(p Pipeline, r Run) string {
	type model struct{ Name, Content string }
	doc := struct {
		Definition, Archive, Environment string
		Seed                             int64
		Params                           map[string]any
		Data                             []string
		Models                           []model
	}{digestOf([]byte(p.definition)), p.archive, r.Environment, r.Seed, r.Params, nil, nil}
	for _, d := range r.Data {
		doc.Data = append(doc.Data, d.Dataset+"@"+d.Digest)
	}
	slices.Sort(doc.Data)
	for _, v := range r.Versions {
		doc.Models = append(doc.Models, model{v.Model, v.ContentDigest})
	}
	slices.SortFunc(doc.Models, func(a, b model) int { return strings.Compare(a.Name+a.Content, b.Name+b.Content) })
	text, err := json.Marshal(doc) // maps are written in the order of their keys
	if err != nil {
		panic("pipeline: content document: " + err.Error()) // parameters came from JSON or YAML scalars
	}
	return digestOf(text)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
