// Package tracking keeps what training leaves behind: experiments, runs, parameters, metrics, tags, the data that went
// in, the models that came out, and files.
//
//	run:  running ──▶ finished | failed | killed      (scheduled before, if a scheduler says so)
//	      any state ──▶ deleted ──▶ restored          (deleting hides; nothing can be logged to a deleted run)
//
// Parameters never change. A metric is a series of points; its latest point is the greatest by (step, time, value).
// Runs begun and ended are audited, points are not.
//
// The package stores and finds; it does not judge models (evaluation) and does not own versions (inventory).
package tracking

import (
	"math"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"keelson/internal/problem"
)

// Limits of one request, as MLflow's clients know them.
const (
	MaxBatchMetrics    = 1000
	MaxBatchParams     = 100
	MaxBatchTags       = 100
	MaxBatchEntities   = 1000
	MaxKey             = 250
	MaxParamValue      = 6000
	MaxTagValue        = 8000
	MaxExperimentName  = 500
	MaxExperimentTag   = 20000
	MaxDatasetName     = 500
	MaxDatasetDigest   = 36
	MaxModelID         = 100
	MaxDatasetSource   = 65535
	MaxDatasetSchema   = 1048575
	MaxDatasetProfile  = 16777215
	MaxSearchRuns      = 50000
	MaxHistoryPage     = 25000
	MaxPath            = 1000
	defaultExperiment  = "0"
	defaultExperimentN = "Default"
)

// States of a run.
const (
	Running   = "running"
	Scheduled = "scheduled"
	Finished  = "finished"
	Failed    = "failed"
	Killed    = "killed"
)

// Views of what may be deleted.
const (
	ActiveOnly  = "ACTIVE_ONLY"
	DeletedOnly = "DELETED_ONLY"
	All         = "ALL"
)

// Experiment is a group of runs with one question. ID is a string of digits; "0" is the experiment every workspace starts with.
type Experiment struct {
	ID, Name         string
	Deleted          bool
	Created, Updated time.Time
	Tags             map[string]string
}

// Run is one execution of training code.
type Run struct {
	ID, Name, Experiment string
	Author               string
	Status               string
	Deleted              bool
	Started, Ended       time.Time
	Params, Tags         map[string]string
	Metrics              []Point // the latest of each key, sorted by key
	Inputs               []Input
	ModelsIn, ModelsOut  []ModelRef

	changed int64 // see recent
}

// Ended reports whether status is a final one.
func Ended(status string) bool { return status == Finished || status == Failed || status == Killed }

// Point is one measured value. At is in milliseconds since 1970, as the client's clock had it; Step may be negative.
type Point struct {
	Key   string
	Value float64 // NaN and infinities are kept
	At    int64
	Step  int64
	// Model, Dataset and DatasetDigest say what was measured, on which data; all may be empty.
	Model, Dataset, DatasetDigest string
}

// Kind of a value in the database, which keeps NaN and infinities beside a finite number.
const (
	finite = iota
	notANumber
	plusInfinity
	minusInfinity
)

// split gives the stored pair of a value: NaN is 0, an infinity the largest finite number of its sign.
func split(v float64) (float64, int) {
	switch {
	case math.IsNaN(v):
		return 0, notANumber
	case math.IsInf(v, 1):
		return math.MaxFloat64, plusInfinity
	case math.IsInf(v, -1):
		return -math.MaxFloat64, minusInfinity
	}
	return v, finite
}

// join is the value of a stored pair.
func join(v float64, kind int) float64 {
	switch kind {
	case notANumber:
		return math.NaN()
	case plusInfinity:
		return math.Inf(1)
	case minusInfinity:
		return math.Inf(-1)
	}
	return v
}

// Later reports whether p comes after q in the order that decides which point is the latest: step, time, value
// (NaN counts as 0).
func (p Point) Later(q Point) bool {
	if p.Step != q.Step {
		return p.Step > q.Step
	}
	if p.At != q.At {
		return p.At > q.At
	}
	a, _ := split(p.Value)
	b, _ := split(q.Value)
	return a > b
}

// Pair is a parameter or a tag.
type Pair struct{ Key, Value string }

// Input is data that went into a run. Digest is the client's own for data it described itself, or the digest of one of
// our data versions (then Version is its number).
type Input struct {
	Name, Digest, Context string
	SourceType, Source    string
	Schema, Profile       string
	Version               int
	Tags                  map[string]string
	Logged                time.Time
}

// ModelRef is a logged model that went into a run or came out of it.
type ModelRef struct {
	Model string
	Step  int64
}

// LoggedModel is a model as training code left it: files under an artifact root, not yet a version of the inventory.
type LoggedModel struct {
	ID, Experiment, Name, Run string
	Kind, Author              string
	Status                    string // pending | ready | failed
	Reason                    string
	Deleted                   bool
	Created, Updated          time.Time
	Params, Tags              map[string]string
	Metrics                   []ModelMetric
}

// ModelMetric is the latest point of a metric of a logged model.
type ModelMetric struct {
	Point
	Run string
}

// States of a logged model.
const (
	ModelPending = "pending"
	ModelReady   = "ready"
	ModelFailed  = "failed"
)

// Batch is what one request logs to a run.
type Batch struct {
	Metrics []Point
	Params  []Pair
	Tags    []Pair
}

// Check refuses a batch that breaks a limit, a key rule, or gives one parameter two values.
func (b *Batch) Check() error {
	switch {
	case len(b.Metrics) > MaxBatchMetrics:
		return tooMany("metrics", MaxBatchMetrics, len(b.Metrics))
	case len(b.Params) > MaxBatchParams:
		return tooMany("params", MaxBatchParams, len(b.Params))
	case len(b.Tags) > MaxBatchTags:
		return tooMany("tags", MaxBatchTags, len(b.Tags))
	case len(b.Metrics)+len(b.Params)+len(b.Tags) > MaxBatchEntities:
		return problem.New(problem.Invalid, "A batch logging request can contain at most %d metrics, params, and tags in total. Got %d. Please split up them across requests and try again.",
			MaxBatchEntities, len(b.Metrics)+len(b.Params)+len(b.Tags))
	}
	last := ""
	for i := range b.Metrics {
		if k := b.Metrics[i].Key; k != last || i == 0 { // one key's points come in a row
			if err := CheckKey("metric", k); err != nil {
				return err
			}
			last = k
		}
		if err := b.Metrics[i].checkSource(); err != nil {
			return err
		}
	}
	seen := map[string]string{}
	for i := range b.Params {
		p := b.Params[i]
		if err := CheckKey("param", p.Key); err != nil {
			return err
		}
		if n := utf8.RuneCountInString(p.Value); n > MaxParamValue {
			return problem.New(problem.Invalid, "Param value for key '%s' had length %d, which exceeded length limit of %d", p.Key, n, MaxParamValue).At("params")
		}
		if old, ok := seen[p.Key]; ok && old != p.Value {
			return problem.New(problem.Invalid, "Duplicate parameter keys have been submitted: ['%s']. Please ensure the request contains only one param value per param key.", p.Key).At("params")
		}
		seen[p.Key] = p.Value
	}
	for _, t := range b.Tags {
		if err := CheckTag(t, MaxTagValue); err != nil {
			return err
		}
	}
	return nil
}

func tooMany(what string, limit, n int) error {
	return problem.New(problem.Invalid, "A batch logging request can contain at most %d %s. Got %d %s. Please split up %s across multiple requests and try again.", limit, what, n, what, what).At(what)
}

// CheckTag refuses a tag whose key or value breaks the rules; limit is in characters of the value.
func CheckTag(t Pair, limit int) error {
	if err := CheckKey("tag", t.Key); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(t.Value); n > limit {
		return problem.New(problem.Invalid, "Tag value for key '%s' had length %d, which exceeded length limit of %d", t.Key, n, limit).At("tags")
	}
	return nil
}

// checkSource refuses what was measured, on which data, when it is longer than the database's keys may be.
func (p *Point) checkSource() error {
	switch {
	case utf8.RuneCountInString(p.Dataset) > MaxDatasetName:
		return problem.New(problem.Invalid, "The dataset_name of metric '%s' exceeds the maximum length of %d.", p.Key, MaxDatasetName).At("metrics.dataset_name")
	case utf8.RuneCountInString(p.DatasetDigest) > MaxDatasetDigest:
		return problem.New(problem.Invalid, "The dataset_digest of metric '%s' exceeds the maximum length of %d.", p.Key, MaxDatasetDigest).At("metrics.dataset_digest")
	}
	return checkModelID(p.Model)
}

func checkModelID(id string) error {
	if len(id) > MaxModelID {
		return problem.New(problem.Invalid, "The model_id '%s' exceeds the maximum length of %d; it is the identifier that logging a model gave.", problem.Clip(id, 40), MaxModelID).At("model_id")
	}
	return nil
}

// CheckKey refuses the name of a metric, parameter or tag (what) that is empty, longer than 250 characters, holds other
// characters than letters, digits and "/ _ - . : space", or would name another path when read as one.
func CheckKey(what, key string) error {
	if key == "" {
		return problem.New(problem.Invalid, "Missing value for required parameter '%s.key'. See the API docs for more information about request parameters.", what+"s").At(what + "s.key")
	}
	n, simple := 0, true
	for _, r := range key {
		n++
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			continue
		}
		simple = false
		if r == utf8.RuneError || !(unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsNumber(r) || strings.ContainsRune("/_.- :", r)) {
			return problem.New(problem.Invalid, "Invalid value %q for parameter '%s' supplied: Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).", key, what+".key").At(what + "s.key")
		}
	}
	if n > MaxKey {
		return problem.New(problem.Invalid, "Invalid value for parameter '%s' supplied: the name '%s…' has length %d, which exceeds the length limit of %d.", what+".key", string([]rune(key)[:40]), n, MaxKey).At(what + "s.key")
	}
	if simple {
		return nil
	}
	if c := path.Clean(key); c != key || c == "." || c == ".." || strings.HasPrefix(c, "../") || strings.HasPrefix(c, "/") {
		return problem.New(problem.Invalid, "Invalid value %q for parameter '%s' supplied: Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This name would resolve to %q.", key, what+".key", c).At(what + "s.key")
	}
	return nil
}

// CheckPath refuses an artifact's path that is empty, absolute, longer than 1,000 bytes, not clean (".", "..", empty
// parts), or holds a backslash, a control character or a part that decodes to any of these.
func CheckPath(p string) error {
	bad := func(why string) *problem.Error {
		return problem.New(problem.Invalid, "Invalid path: %q %s. Give a relative path below the artifact root.", problem.Clip(p, 80), why).At("path")
	}
	switch {
	case p == "":
		return bad("is empty")
	case len(p) > MaxPath:
		return bad("is longer than 1000 bytes")
	case !utf8.ValidString(p):
		return bad("is not UTF-8")
	case strings.HasPrefix(p, "/"):
		return bad("is absolute").Suspect("path")
	}
	for q := p; ; {
		if strings.ContainsRune(q, '\\') {
			return bad("holds a backslash").Suspect("path")
		}
		for _, r := range q {
			if r < 0x20 || r == 0x7f {
				return bad("holds a control character").Suspect("path")
			}
		}
		for _, part := range strings.Split(q, "/") {
			switch part {
			case "", ".", "..":
				return bad("is not a clean path").Suspect("path")
			}
			if len(part) > 255 {
				return bad("has a part longer than 255 bytes")
			}
		}
		next := decodeOnce(q)
		if next == q {
			return nil
		}
		q = next
	}
}

// decodeOnce replaces the %xx of separators and dots, so that a name meant for a second decoder is seen as that decoder
// would see it; other sequences (a file may be called "%41") stay.
func decodeOnce(s string) string {
	return encoded.Replace(s)
}

var encoded = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", "\\", "%5C", "\\", "%25", "%", "%00", "\x00")

// ArtifactRoot is where a run's files live: "<experiment>/<run>/artifacts".
func ArtifactRoot(experiment, run string) string { return experiment + "/" + run + "/artifacts" }

// ModelRoot is where a logged model's files live: "<experiment>/models/<model>/artifacts".
func ModelRoot(experiment, model string) string {
	return experiment + "/models/" + model + "/artifacts"
}

// SplitRoot parts a path of the artifact proxy into the root and the path below it, which may be empty.
// It knows the two shapes of ArtifactRoot and ModelRoot; anything else is not ok.
func SplitRoot(p string) (root, rest string, ok bool) {
	parts := strings.SplitN(p, "/", 5)
	switch {
	case len(parts) >= 4 && parts[1] == "models" && parts[3] == "artifacts":
		root = strings.Join(parts[:4], "/")
	case len(parts) >= 3 && parts[2] == "artifacts" && parts[1] != "models":
		root = strings.Join(parts[:3], "/")
	default:
		return "", "", false
	}
	if len(p) > len(root) {
		rest = p[len(root)+1:]
	}
	return root, rest, true
}

// Artifact is a file of a run or logged model, or a folder of such files (then Digest is empty and Size 0).
type Artifact struct {
	Path   string
	Folder bool
	Digest string
	Size   int64
}
