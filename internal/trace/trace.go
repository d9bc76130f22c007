// Package trace keeps what applications tell of single requests: a trace with its spans, what people and judges made of
// it, and which run and prompts it belongs to.
//
//	trace:  in_progress ──▶ ok | error          (unspecified where a client says nothing)
//	spans:  arrive in any order, before or after the trace's own record, and make it when it is not there yet
//
// Spans are OpenTelemetry's. They are packed: one compressed document per request and trace, merged as they grow, beside
// a row for every different (name, type, status) of a trace, which searches use. What a client says of the whole trace
// (Start, End) goes before what its spans say.
//
// Deleting is for good and audited. Traces hold what people asked and were answered, so they have permissions of their
// own. The package does not judge traces and does not call models.
package trace

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// Limits.
const (
	MaxSearch        = 500     // traces of one page
	MaxBatch         = 500     // traces of one request that names them
	MaxLinks         = 100     // traces linked to a run by one request
	MaxPrompts       = 100     // prompts linked to a trace by one request
	MaxRequestSpans  = 10_000  // spans of one request
	MaxSpans         = 20_000  // spans of one trace
	MaxEntries       = 200     // tags, and entries of metadata, of one request
	MaxKey           = 250     // characters of a key
	MaxValue         = 8000    // characters of a tag's or metadata's value; longer ones are cut
	MaxPreview       = 1000    // characters of a preview; longer ones are cut
	MaxAssessments   = 1000    // of one trace
	MaxDelete        = 100_000 // traces of one deletion
	maxIndexed       = 500     // bytes of a span's name that searches see
	maxIndexedType   = 100     // bytes of a span's type that searches see
	defaultDuration  = -1      // not known yet
	unknownTokens    = -1
	unknownCost      = -1.0
	schemaFinalized  = "mlflow.trace.infoFinalized"
	deletedPerCommit = 500
)

// States of a trace.
const (
	OK          = "ok"
	Failed      = "error"
	InProgress  = "in_progress"
	Unspecified = "unspecified"
)

// Keys of tags and metadata that mean something here, as MLflow's clients write them.
const (
	TagName          = "mlflow.traceName"
	TagArtifacts     = "mlflow.artifactLocation"    // made, not stored
	TagSpansLocation = "mlflow.trace.spansLocation" // made, not stored
	TagArchive       = "mlflow.trace.archiveLocation"
	TagArchiveFault  = "mlflow.trace.archivalFailure"
	TagPrompts       = "mlflow.linkedPrompts"
	MetaRun          = "mlflow.sourceRun"
	MetaSession      = "mlflow.trace.session"
	MetaUser         = "mlflow.trace.user"
	MetaTokens       = "mlflow.trace.tokenUsage"
	MetaCost         = "mlflow.trace.cost"
	inTracking       = "TRACKING_STORE"
)

// Trace is the record of one request. Started is in milliseconds since 1970; Duration in milliseconds, negative while it
// is not known. Spans counts those that are kept.
type Trace struct {
	ID, Experiment, Name, State string
	ClientRequest               string
	Started, Duration           int64
	Request, Response           string // previews; empty: none
	Session, User               string
	Final                       bool // Start was called: times and state are the client's
	Spans                       int
	Tokens                      *Tokens
	Cost                        *Cost
	Tags, Metadata              map[string]string
	Assessments                 []Assessment
	Runs                        []string
	Prompts                     []Prompt
}

// Tokens is how many tokens language models read and wrote.
type Tokens struct {
	Input         int64 `json:"input"`
	Output        int64 `json:"output"`
	Total         int64 `json:"total"`
	CacheRead     int64 `json:"cache_read,omitempty"`
	CacheCreation int64 `json:"cache_creation,omitempty"`
}

// Cost is what they cost, in US dollars.
type Cost struct {
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
	Total  float64 `json:"total"`
}

// Prompt is a version of a prompt.
type Prompt struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// ArtifactRoot is where the files of a trace live: "<experiment>/traces/<trace>/artifacts".
func ArtifactRoot(experiment, id string) string {
	return experiment + "/traces/" + id + "/artifacts"
}

// AllTags are the stored tags and the ones that are made: where the files are, and where the spans are.
func (t *Trace) AllTags() map[string]string {
	out := make(map[string]string, len(t.Tags)+3)
	for k, v := range t.Tags {
		out[k] = v
	}
	if t.Name != "" {
		out[TagName] = t.Name
	}
	out[TagArtifacts] = "mlflow-artifacts:/" + ArtifactRoot(t.Experiment, t.ID)
	if t.Spans > 0 {
		out[TagSpansLocation] = inTracking
	}
	return out
}

// StartedAt is when it began.
func (t *Trace) StartedAt() time.Time { return time.UnixMilli(t.Started).UTC() }

var idRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// CheckID refuses an identifier that is not 1 to 100 letters, digits, dots, dashes and underscores.
func CheckID(id string) error {
	if !idRule.MatchString(id) {
		return problem.New(problem.Invalid, "Invalid trace id '%s': it has 1 to 100 letters, digits, '.', '_' and '-', such as tr-3f2a….", problem.Clip(id, 60)).At("trace_id")
	}
	return nil
}

func noTrace(id string) error {
	return problem.New(problem.NotFound, "Trace with ID '%s' not found.", problem.Clip(id, 100)).At("trace_id")
}

// farthest are the times (milliseconds) that fit everywhere: the years 1 to 9999.
const (
	earliest = -62135596800000
	latest   = 253402300799999
)

// check refuses what a client says of a trace and cuts what is too long.
func (t *Trace) check() error {
	if err := CheckID(t.ID); err != nil {
		return err
	}
	if !slices.Contains([]string{OK, Failed, InProgress, Unspecified}, t.State) {
		return problem.New(problem.Invalid, "Invalid state '%s' of a trace; use OK, ERROR or IN_PROGRESS.", problem.Clip(t.State, 40)).At("state")
	}
	if t.Started < earliest || t.Started > latest {
		return problem.New(problem.Invalid, "The time of trace %s is not between the years 1 and 9999.", t.ID).At("request_time")
	}
	if t.Duration > latest {
		return problem.New(problem.Invalid, "The duration of trace %s is too long.", t.ID).At("execution_duration")
	}
	if n := utf8.RuneCountInString(t.ClientRequest); n > MaxKey {
		return problem.New(problem.Invalid, "The client_request_id has %d characters; it may have %d.", n, MaxKey).At("client_request_id")
	}
	t.Request, t.Response = preview(t.Request), preview(t.Response)
	if err := checkTags(t.Tags); err != nil {
		return err
	}
	return checkMetadata(t.Metadata)
}

// checkTags refuses bad keys and too many; it cuts values and drops the tags that are made here.
func checkTags(tags map[string]string) error {
	if len(tags) > MaxEntries {
		return problem.New(problem.Invalid, "A request sets at most %d tags of a trace; got %d.", MaxEntries, len(tags)).At("tags")
	}
	for k, v := range tags {
		if k == TagArtifacts || k == TagSpansLocation {
			delete(tags, k)
			continue
		}
		if err := tracking.CheckKey("tag", k); err != nil {
			return err
		}
		tags[k] = cut(v, MaxValue)
	}
	return nil
}

func checkMetadata(m map[string]string) error {
	if len(m) > MaxEntries {
		return problem.New(problem.Invalid, "A request sets at most %d entries of a trace's metadata; got %d.", MaxEntries, len(m)).At("trace_metadata")
	}
	for k, v := range m {
		if n := utf8.RuneCountInString(k); k == "" || n > MaxKey {
			return problem.New(problem.Invalid, "A key of a trace's metadata has 1 to %d characters; '%s' has %d.", MaxKey, problem.Clip(k, 40), n).At("trace_metadata")
		}
		m[k] = cut(v, MaxValue)
	}
	return nil
}

// derive sets what searches and metrics read out of the metadata: session, user, run, tokens and cost.
func (t *Trace) derive() {
	if v := t.Metadata[MetaSession]; v != "" {
		t.Session = cut(v, MaxKey)
	}
	if v := t.Metadata[MetaUser]; v != "" {
		t.User = cut(v, MaxKey)
	}
	if v := readTokens(t.Metadata[MetaTokens]); v != nil {
		t.Tokens = v
	}
	if v := readCost(t.Metadata[MetaCost]); v != nil {
		t.Cost = v
	}
	if v := t.Tags[TagName]; v != "" {
		t.Name = v
	}
	delete(t.Tags, TagName) // the name is a column
}

// absorb takes over what a client says of the whole trace, n, into the record t that was there.
func (t *Trace) absorb(n Trace) {
	t.State, t.Started, t.Duration, t.Final = n.State, n.Started, n.Duration, true
	t.ClientRequest = n.ClientRequest
	t.Request, t.Response = cmp.Or(n.Request, t.Request), cmp.Or(n.Response, t.Response)
	t.Name, t.Session, t.User = cmp.Or(n.Name, t.Name), cmp.Or(n.Session, t.Session), cmp.Or(n.User, t.User)
	if n.Tokens != nil {
		t.Tokens = n.Tokens
	}
	if n.Cost != nil {
		t.Cost = n.Cost
	}
	t.Metadata = merge(t.Metadata, n.Metadata)
	t.Tags = merge(t.Tags, n.Tags)
}

// learn takes over what newly arrived spans say, into a record that a client's own word may already have settled.
func (t *Trace) learn(f facts) {
	if !t.Final {
		end := t.Started + max(t.Duration, 0)
		t.Started = min(t.Started, f.started)
		if f.ended >= 0 || t.Duration >= 0 {
			t.Duration = max(end, f.ended) - t.Started
		}
	}
	if f.state != "" && (t.State == InProgress || t.State == Unspecified) {
		t.State = f.state
	}
	t.Name = cmp.Or(t.Name, f.name)
	t.Request, t.Response = cmp.Or(t.Request, f.request), cmp.Or(t.Response, f.response)
	if t.Session == "" && f.session != "" {
		t.Session = f.session
		t.Metadata = merge(t.Metadata, map[string]string{MetaSession: f.session})
	}
	if t.User == "" && f.user != "" {
		t.User = f.user
		t.Metadata = merge(t.Metadata, map[string]string{MetaUser: f.user})
	}
	t.Tags = merge(t.Tags, f.tags)
}

// merge is a with the entries of b over it; a may be changed.
func merge(a, b map[string]string) map[string]string {
	if a == nil {
		a = make(map[string]string, len(b))
	}
	for k, v := range b {
		a[k] = v
	}
	return a
}

// preview is a text of at most MaxPreview characters.
func preview(s string) string {
	s = clean(s)
	if len(s) <= MaxPreview || utf8.RuneCountInString(s) <= MaxPreview {
		return s
	}
	return cut(s, MaxPreview-3) + "..."
}

// cut is the first n characters of s, which is made fit for a text column.
func cut(s string, n int) string {
	s = clean(s)
	if len(s) <= n {
		return s
	}
	i := 0
	for at := range s {
		if i == n {
			return s[:at]
		}
		i++
	}
	return s
}

// clean replaces what no text column takes: zero bytes and what is not UTF-8.
func clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// head is the first n bytes of s, at a character's end.
func head(s string, n int) string {
	s = clean(s)
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
