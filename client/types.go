package client

import (
	"encoding/json"
	"time"
)

// The types hold what programs need most; Client.Call gives any answer as it is.

// Me is who is signed in.
type Me struct {
	Name        string   `json:"name"`
	Display     string   `json:"display"`
	Kind        string   `json:"kind"`
	Roles       []string `json:"roles"`
	Workspace   string   `json:"workspace"`
	Workspaces  []string `json:"workspaces"`
	Permissions []string `json:"permissions"`
	Auth        string   `json:"auth"` // on or off
}

// User is an account.
type User struct {
	Name     string   `json:"name"`
	Display  string   `json:"display,omitempty"`
	Email    string   `json:"email,omitempty"`
	Kind     string   `json:"kind,omitempty"`
	Roles    []string `json:"roles"`
	Disabled bool     `json:"disabled,omitempty"`
}

// Token is what programs sign in with. Text is set once, in the answer that makes it.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Owner     string     `json:"owner"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Text      string     `json:"token,omitempty"`
}

// Rule is a data rule.
type Rule struct {
	ID       string   `json:"id,omitempty" yaml:"id"`
	Column   string   `json:"column,omitempty" yaml:"column"`
	Check    string   `json:"check" yaml:"check"`
	Type     string   `json:"type,omitempty" yaml:"type"`
	Min      *float64 `json:"min,omitempty" yaml:"min"`
	Max      *float64 `json:"max,omitempty" yaml:"max"`
	MaxShare *float64 `json:"max_share,omitempty" yaml:"max_share"`
	Values   []any    `json:"values,omitempty" yaml:"values"`
}

// Dataset is a data set with its rules.
type Dataset struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Owner       string   `json:"owner,omitempty"`
	Sensitivity string   `json:"sensitivity"`
	Source      string   `json:"source"`
	Target      string   `json:"target"`
	Rules       []Rule   `json:"rules"`
	Personal    []string `json:"personal,omitempty"` // columns about people; nil leaves those on record
	Versions    int      `json:"versions,omitempty"`
}

// DataVersion is one version of a data set.
type DataVersion struct {
	Dataset  string          `json:"dataset"`
	Version  int             `json:"version"`
	Digest   string          `json:"digest"`
	Format   string          `json:"format"`
	Size     int64           `json:"size"`
	Rows     int64           `json:"rows"`
	Schema   []Column        `json:"schema"`
	Profile  json.RawMessage `json:"profile,omitempty"`
	Existing bool            `json:"existing,omitempty"`
}

// Column is a column's name and type.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Checked is the answer of a dry check of a data file.
type Checked struct {
	OK       bool    `json:"ok"`
	Findings []Field `json:"findings"`
}

// Source says which commit something was made from.
type Source struct {
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Dirty      bool   `json:"dirty"`
}

// Pipeline is the newest version of a pipeline.
type Pipeline struct {
	Name        string             `json:"name"`
	Description string             `json:"description"`
	Model       string             `json:"model"`
	Version     int                `json:"version"`
	Digest      string             `json:"digest"`
	Steps       []PipelineStep     `json:"steps"`
	Deploy      map[string]Rollout `json:"deploy,omitempty"`
}

// PipelineStep is a step of a pipeline or of a run of it.
type PipelineStep struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"`
	Needs     []string       `json:"needs"`
	State     string         `json:"state,omitempty"`
	Attempt   int            `json:"attempt,omitempty"`
	StartedAt *time.Time     `json:"started_at,omitempty"`
	EndedAt   *time.Time     `json:"ended_at,omitempty"`
	ExitCode  *int           `json:"exit_code,omitempty"`
	Error     string         `json:"error,omitempty"`
	Outputs   map[string]any `json:"outputs,omitempty"`
}

// RunRequest starts a pipeline run.
type RunRequest struct {
	Version int            `json:"version,omitempty"`
	Params  map[string]any `json:"params,omitempty"`
	Data    map[string]int `json:"data,omitempty"`
	Seed    *int64         `json:"seed,omitempty"`
}

// PipelineRun is a run of a pipeline.
type PipelineRun struct {
	ID              string         `json:"id"`
	Pipeline        string         `json:"pipeline"`
	PipelineVersion int            `json:"pipeline_version"`
	State           string         `json:"state"`
	Error           string         `json:"error,omitempty"`
	Trigger         Trigger        `json:"trigger"`
	By              string         `json:"by"`
	CreatedAt       time.Time      `json:"created_at"`
	StartedAt       *time.Time     `json:"started_at,omitempty"`
	EndedAt         *time.Time     `json:"ended_at,omitempty"`
	ContentDigest   string         `json:"content_digest"`
	Source          Source         `json:"source"`
	Environment     string         `json:"environment_digest"`
	Seed            int64          `json:"seed"`
	Params          map[string]any `json:"params"`
	Data            []DataRef      `json:"data"`
	Versions        []ModelRef     `json:"versions"`
	Steps           []PipelineStep `json:"steps"`
}

// Ended reports whether the run has come to an end.
func (r PipelineRun) Ended() bool { return r.State != "queued" && r.State != "running" }

// Trigger says why a run began.
type Trigger struct {
	Kind string `json:"kind"`
	Ref  string `json:"ref,omitempty"`
}

// DataRef names a data version.
type DataRef struct {
	Dataset string `json:"dataset"`
	Version int    `json:"version"`
	Digest  string `json:"digest,omitempty"`
}

// ModelRef is a model version that a run made.
type ModelRef struct {
	Model          string `json:"model"`
	Version        int    `json:"version"`
	ContentDigest  string `json:"content_digest"`
	ArtifactDigest string `json:"artifact_digest"`
	Run            string `json:"run,omitempty"`
}

// LogChunk is a piece of a step's log.
type LogChunk struct {
	Text   string `json:"text"`
	Offset int64  `json:"offset"`
	Done   bool   `json:"done"`
}

// Responsibilities name who answers for something.
type Responsibilities struct {
	Accountable string   `json:"accountable,omitempty"`
	Responsible []string `json:"responsible,omitempty"`
	Consulted   []string `json:"consulted,omitempty"`
	Informed    []string `json:"informed,omitempty"`
}

// Model is one model of the inventory.
type Model struct {
	Name             string           `json:"name"`
	Kind             string           `json:"kind"`
	Description      string           `json:"description"`
	Owner            string           `json:"owner"`
	UseCase          string           `json:"use_case"`
	Tier             int              `json:"tier"`
	Responsibilities Responsibilities `json:"responsibilities"`
	Missing          []string         `json:"missing"`
	LatestVersion    int              `json:"latest_version"`
	Live             []LiveVersion    `json:"live"`
	Health           Health           `json:"health"`
}

// LiveVersion is a version that answers calls.
type LiveVersion struct {
	Environment string `json:"environment"`
	Version     int    `json:"version"`
	Share       int    `json:"share"`
	Kind        string `json:"kind"`
}

// Health is a verdict with its reasons.
type Health struct {
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons"`
}

// File is a file of a model version.
type File struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// Golden is the result of a version's self-test.
type Golden struct {
	Rows     int      `json:"rows"`
	MaxError *float64 `json:"max_error"`
	Limit    float64  `json:"limit"`
}

// Version is one version of a model.
type Version struct {
	Model          string          `json:"model"`
	Version        int             `json:"version"`
	State          string          `json:"state"`
	Fault          string          `json:"fault"`
	Reason         string          `json:"reason"`
	ArtifactDigest string          `json:"artifact_digest"`
	ContentDigest  string          `json:"content_digest"`
	Format         string          `json:"format"`
	Engine         string          `json:"engine"`
	Size           int64           `json:"size"`
	Files          []File          `json:"files"`
	Signature      json.RawMessage `json:"signature"`
	Dependencies   []Dependency    `json:"dependencies"`
	Golden         Golden          `json:"golden"`
	RunID          string          `json:"run_id"`
	Source         Source          `json:"source"`
	CreatedBy      string          `json:"created_by"`
	Authors        []string        `json:"authors"`
	Aliases        []string        `json:"aliases"`
	Flavors        []string        `json:"flavors"`
	Deployable     bool            `json:"deployable"`
	Undeployable   string          `json:"undeployable"`
	Evaluation     struct {
		State string `json:"state"`
		ID    string `json:"id"`
	} `json:"evaluation"`
}

// Dependency is something a version was made of.
type Dependency struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

// NewVersion describes the files of a version to register.
type NewVersion struct {
	Kind        string            `json:"kind,omitempty"`
	Format      string            `json:"format,omitempty"`
	Description string            `json:"description,omitempty"`
	RunID       string            `json:"run_id,omitempty"`
	Source      *Source           `json:"source,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Evaluation is a suite's run on a version.
type Evaluation struct {
	ID      string             `json:"id"`
	Model   string             `json:"model"`
	Version int                `json:"version"`
	Suite   string             `json:"suite"`
	State   string             `json:"state"` // running, passed, failed
	Tests   []TestResult       `json:"tests"`
	Metrics map[string]float64 `json:"metrics"`
}

// TestResult is how one test of a suite ended.
type TestResult struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	State  string `json:"state"`
	Value  any    `json:"value"`
	Limit  any    `json:"limit"`
	Detail string `json:"detail"`

	Fairness *Fairness `json:"fairness,omitempty"` // of a test of kind fairness
}

// Fairness is the gap between groups that a test of kind fairness found.
type Fairness struct {
	Measure string          `json:"measure"`
	Kind    string          `json:"kind"` // difference or ratio
	Rate    string          `json:"rate"` // the one that is compared
	Columns []string        `json:"columns"`
	Value   *float64        `json:"value"` // nil where it is not defined
	Limit   float64         `json:"limit"`
	OK      bool            `json:"ok"`
	Highest string          `json:"highest"`
	Lowest  string          `json:"lowest"`
	MinRows int             `json:"min_rows"`
	Groups  []FairnessGroup `json:"groups"`
	More    int             `json:"more"` // groups that are not listed
	Detail  string          `json:"detail"`
}

// FairnessGroup holds the rates of one group, 0 to 1; nil where one is not defined.
type FairnessGroup struct {
	Name          string   `json:"name"`
	Values        []string `json:"values"`
	Rows          int      `json:"rows"`
	Small         bool     `json:"small"` // too few rows to be judged
	SelectionRate *float64 `json:"selection_rate"`
	TPR           *float64 `json:"tpr"`
	FPR           *float64 `json:"fpr"`
	Precision     *float64 `json:"precision"`
}

// Rollout is how a version takes over: at once, as a canary by shares, or as a shadow.
type Rollout struct {
	Mode  string      `json:"mode" yaml:"mode"`
	Steps []Increment `json:"steps,omitempty" yaml:"steps"`

	Durability string   `json:"durability,omitempty" yaml:"durability"` // of the prediction log: group, sync or async
	Redact     []string `json:"redact,omitempty" yaml:"redact"`         // input columns that the log leaves out
	Limits     *Limits  `json:"limits,omitempty" yaml:"limits"`         // all of them; nil keeps those in force

	// AcceptColumns lets a version in that reads a matrix by other columns than the live one; it is said for one change, so
	// no file holds it.
	AcceptColumns bool `json:"accept_columns,omitempty" yaml:"-"`
}

// Limits protect a model from its callers and callers from one another, in each serving process; 0 leaves the server's
// own.
type Limits struct {
	MaxRows           int64   `json:"max_rows,omitempty"`           // in one call
	MaxBytes          int64   `json:"max_bytes,omitempty"`          // of one call's body
	TimeoutMS         int64   `json:"timeout_ms,omitempty"`         // until a call is given up
	MaxConcurrent     int64   `json:"max_concurrent,omitempty"`     // calls computed at once
	MaxQueue          int64   `json:"max_queue,omitempty"`          // calls that may wait
	CallerRate        float64 `json:"caller_rate,omitempty"`        // calls per second of one caller
	CallerQuota       int64   `json:"caller_quota,omitempty"`       // calls per day (UTC) of one caller
	Unlogged          float64 `json:"unlogged,omitempty"`           // percent of answered calls that are not logged
	BatchRows         int64   `json:"batch_rows,omitempty"`         // rows up to which waiting calls are computed together
	ForbiddenPurposes string  `json:"forbidden_purposes,omitempty"` // separated by commas
}

// Increment is one step of a rollout.
type Increment struct {
	Share       int `json:"share" yaml:"share"`
	HoldRows    int `json:"hold_rows,omitempty" yaml:"hold_rows"`
	HoldSeconds int `json:"hold_seconds,omitempty" yaml:"hold_seconds"`
}

// NewApproval opens a change request.
type NewApproval struct {
	Kind         string   `json:"kind"` // deploy, retire, suspend, rollback
	Model        string   `json:"model"`
	Version      int      `json:"version"`
	Environment  string   `json:"environment"`
	Plan         *Rollout `json:"plan,omitempty"`
	Reason       string   `json:"reason"`
	WhenApproved bool     `json:"when_approved,omitempty"`
}

// Approval is a change request.
type Approval struct {
	ID             string    `json:"id"`
	Number         int       `json:"number"`
	Kind           string    `json:"kind"`
	Model          string    `json:"model"`
	Version        int       `json:"version"`
	Environment    string    `json:"environment"`
	ArtifactDigest string    `json:"artifact_digest"`
	PlanDigest     string    `json:"plan_digest"`
	State          string    `json:"state"`
	WhenApproved   bool      `json:"when_approved"` // the platform carries it out by itself
	Reason         string    `json:"reason"`
	Author         string    `json:"author"`
	Authors        []string  `json:"authors"`
	ExpiresAt      time.Time `json:"expires_at"`
	Need           struct {
		Count int      `json:"count"`
		Roles []string `json:"roles"`
	} `json:"need"`
	Votes   []Vote   `json:"votes"`
	Missing []string `json:"missing"`
	Verdict struct {
		Allowed bool `json:"allowed"`
		Reasons []struct {
			Rule    string `json:"rule"`
			OK      bool   `json:"ok"`
			Message string `json:"message"`
		} `json:"reasons"`
	} `json:"verdict"`
	You struct {
		MayVote bool   `json:"may_vote"`
		Why     string `json:"why"`
	} `json:"you"`
}

// Vote is one vote on a change request.
type Vote struct {
	By     string    `json:"by"`
	Role   string    `json:"role"`
	Grant  bool      `json:"grant"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Deployment is what runs at an endpoint.
type Deployment struct {
	ID          string           `json:"id"`
	Endpoint    string           `json:"endpoint"`
	Environment string           `json:"environment"`
	Model       string           `json:"model"`
	State       string           `json:"state"`
	Slots       []DeploymentSlot `json:"slots"`
	Limits      Limits           `json:"limits"`
	Redact      []string         `json:"redact"` // input columns that the prediction log leaves out, or hash:COLUMN
	URL         string           `json:"url"`
}

// DeploymentSlot is one version's share of an endpoint.
type DeploymentSlot struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Share   int    `json:"share"`
}

// Prediction is one logged call.
type Prediction struct {
	ID          string          `json:"id"`
	At          time.Time       `json:"at"`
	Endpoint    string          `json:"endpoint"`
	Model       string          `json:"model"`
	Version     json.RawMessage `json:"version"`
	Environment string          `json:"environment"`
	Caller      string          `json:"caller"`
	Application string          `json:"application"`
	Rows        int             `json:"rows"`
	LatencyUS   int64           `json:"latency_us"`
	Inputs      json.RawMessage `json:"inputs"`
	Outputs     json.RawMessage `json:"outputs"`
	TraceInfo   json.RawMessage `json:"trace_info"`
	Outcomes    []Outcome       `json:"outcomes"`
}

// Outcome is what turned out to be true for one row of a prediction.
type Outcome struct {
	PredictionID string     `json:"prediction_id,omitempty"`
	Row          int        `json:"row"`
	Value        any        `json:"value"`
	At           *time.Time `json:"at,omitempty"`
}

// Caller is somebody who called a model.
type Caller struct {
	Caller      string          `json:"caller"`
	Application string          `json:"application"`
	Versions    json.RawMessage `json:"versions"`
	Calls       int64           `json:"calls"`
	LastAt      time.Time       `json:"last_at"`
}

// Alert is an alert of a monitor.
type Alert struct {
	ID       string  `json:"id"`
	Kind     string  `json:"kind"`
	Severity string  `json:"severity"`
	Title    string  `json:"title"`
	Words    string  `json:"words"`
	Owner    string  `json:"owner"`
	Incident string  `json:"incident"`
	Endpoint string  `json:"endpoint"`
	Model    string  `json:"model"`
	Window   string  `json:"window"`
	Feature  string  `json:"feature"`
	Metric   string  `json:"metric"`
	Value    float64 `json:"value"`
	Limit    float64 `json:"limit"`
	State    string  `json:"state"`
	Link     string  `json:"link"`

	Columns []AlertColumn `json:"columns"`
	Acts    []AlertAct    `json:"acts"`
}

// AlertColumn is one measure behind an alert.
type AlertColumn struct {
	Name   string  `json:"name"`
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"`
}

// AlertAct is what a policy did by itself about an alert.
type AlertAct struct {
	Do     string `json:"do"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Ref    string `json:"ref"`
}

// Incident is something that went wrong.
type Incident struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	Model    string `json:"model"`
	Endpoint string `json:"endpoint"`
	Title    string `json:"title"`
	Detail   string `json:"detail"`
	State    string `json:"state"`
}

// Entry is one entry of the audit log.
type Entry struct {
	Index  int64           `json:"index"`
	ID     string          `json:"id"`
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	Via    string          `json:"via"`
	Action string          `json:"action"`
	Object string          `json:"object"`
	Models []string        `json:"models"`
	Detail json.RawMessage `json:"detail"`
}

// Verification is the answer of an audit check.
type Verification struct {
	OK      bool  `json:"ok"`
	Size    int64 `json:"size"`
	Checked int64 `json:"checked"`
	Pending int64 `json:"pending"`
	Broken  []struct {
		Index int64  `json:"index"`
		ID    string `json:"id"`
		Why   string `json:"why"`
	} `json:"broken"`
}

// Event is one thing that happened.
type Event struct {
	ID      string          `json:"id"`
	Seq     int64           `json:"seq"`
	Type    string          `json:"type"`
	Subject string          `json:"subject"`
	Actor   string          `json:"actor"`
	At      time.Time       `json:"at"`
	Data    json.RawMessage `json:"data"`
}
