// Package inventory is the one record of every model, of any kind, and of its versions.
//
//	version:  pending ──golden rows through the engine──▶ ready ──▶ retired
//	             └──────────────────────────────────────▶ failed ──▶ retired
//
// A version is (model, ordinal); ordinals start at 1 and never return. It has two digests: the artifact digest over every
// path and byte (what the gate binds to) and the content digest over the payload without times, run ids and paths (what
// shows that the same training gave the same model). Its files are content-addressed and never change.
//
// A file is only ever given to an engine of engine.Set; a pickle is never opened. A version that no engine can run is
// recorded all the same, as failed, with the reason.
//
// The package does not decide what goes live (approval) and does not serve (serving).
package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// Kinds of model.
var Kinds = []string{"ml", "statistical", "rules", "optimisation", "graph", "external"}

// States of a version.
const (
	Pending = "pending"
	Ready   = "ready"
	Failed  = "failed"
	Retired = "retired"
)

// Faults say to programs why a version failed.
const (
	FaultNoEngine = "no-engine" // nothing is wrong with it, but no engine of this build runs it
	FaultLoad     = "load"      // its file is broken
	FaultGolden   = "golden"    // the engine answers its golden rows otherwise than recorded
	// FaultPreparing is of a version that can be read already and is still to be tested, because its engine is not ready
	// or takes long to load it.
	FaultPreparing = "preparing"
)

// Events.
const (
	EventRegistered = "inventory.version.registered" // data: {model, version, source, run, description, tags}
	EventReady      = "inventory.version.ready"      // data: {model, version}
	EventFailed     = "inventory.version.failed"     // data: {model, version, reason}
	EventRetired    = "inventory.version.retired"    // data: {model, version, reason}
)

// Responsibilities name people: who is accountable for the model, and who else has a part.
type Responsibilities struct {
	Accountable string   `json:"accountable,omitempty"`
	Responsible []string `json:"responsible,omitempty"`
	Consulted   []string `json:"consulted,omitempty"`
	Informed    []string `json:"informed,omitempty"`
}

// Model is one model of any kind.
type Model struct {
	Name             string            `json:"name"`
	Kind             string            `json:"kind"`
	Description      string            `json:"description"`
	Area             string            `json:"area"`
	Owner            string            `json:"owner"`
	UseCase          string            `json:"use_case"`
	Tier             int               `json:"tier" doc:"1 is the highest risk, 4 the lowest; 0 is not assessed"`
	IntendedUse      string            `json:"intended_use"`
	ForbiddenUse     string            `json:"forbidden_use"`
	Responsibilities Responsibilities  `json:"responsibilities"`
	Missing          []string          `json:"missing" doc:"what the record still lacks"`
	Tags             map[string]string `json:"tags"`
	Latest           int               `json:"latest_version"`
	Live             []Live            `json:"live"`
	Health           Health            `json:"health"`
	LastUsedAt       *time.Time        `json:"last_used_at,omitempty"`
	CreatedBy        string            `json:"created_by"`
	CreatedAt        time.Time         `json:"created_at"`
	UpdatedAt        time.Time         `json:"updated_at"`
}

// Live is a version that answers calls somewhere.
type Live struct {
	Environment string `json:"environment"`
	Version     int    `json:"version"`
	Share       int    `json:"share"`
	Kind        string `json:"kind"`
}

// Health is whether the model can be trusted at the moment.
type Health struct {
	Verdict string   `json:"verdict" enum:"yes,watch,no,unknown"`
	Reasons []string `json:"reasons"`
}

// lacks lists what the record of a model still needs.
func (m *Model) lacks() []string {
	out := []string{}
	for _, f := range []struct{ name, value string }{
		{"accountable", m.Responsibilities.Accountable}, {"owner", m.Owner}, {"intended_use", m.IntendedUse},
	} {
		if f.value == "" {
			out = append(out, f.name)
		}
	}
	return out
}

// words is what the list of models filters by.
func (m *Model) words() string {
	parts := []string{m.Name, m.Owner, m.Area, m.UseCase, m.Kind}
	for _, k := range sorted(m.Tags) {
		parts = append(parts, k, m.Tags[k])
	}
	return strings.ToLower(strings.Join(parts, "\n"))
}

// Check refuses a model whose name cannot stand in a URL and an endpoint's name, or whose fields are out of range.
func (m *Model) Check() error {
	if err := CheckName(m.Name); err != nil {
		return err
	}
	if !slices.Contains(Kinds, m.Kind) {
		return problem.New(problem.Invalid, "The kind %q is not known; use one of %s.", problem.Clip(m.Kind, 40), strings.Join(Kinds, ", ")).At("kind")
	}
	if m.Tier < 0 || m.Tier > 4 {
		return problem.New(problem.Invalid, "The tier is 1 (highest risk) to 4 (lowest), or 0 while nobody assessed it; got %d.", m.Tier).At("tier")
	}
	for _, f := range []struct{ name, value string }{
		{"description", m.Description}, {"area", m.Area}, {"owner", m.Owner}, {"use_case", m.UseCase},
		{"intended_use", m.IntendedUse}, {"forbidden_use", m.ForbiddenUse}, {"responsibilities.accountable", m.Responsibilities.Accountable},
	} {
		if len(f.value) > 100_000 {
			return problem.New(problem.Invalid, "The %s is longer than 100,000 bytes.", f.name).At(f.name)
		}
	}
	return CheckTags(m.Tags)
}

// CheckTags refuses keys beyond 250 and values beyond 100,000 characters.
func CheckTags(tags map[string]string) error {
	for k, v := range tags {
		if err := tracking.CheckTag(tracking.Pair{Key: k, Value: v}, 100_000); err != nil {
			return err
		}
	}
	return nil
}

// CheckName refuses the name of a model that is empty, longer than 200 characters, or holds what a URL or the name of an
// endpoint (model.environment) gives a meaning to.
func CheckName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return problem.New(problem.Invalid, "Missing value for required parameter 'name'. See the API docs for more information about request parameters.").At("name")
	case utf8.RuneCountInString(name) > 200:
		return problem.New(problem.Invalid, "A model's name has at most 200 characters.").At("name")
	case strings.TrimSpace(name) != name:
		return problem.New(problem.Invalid, "Invalid model name %q. It begins or ends with a space.", name).At("name")
	}
	for _, r := range name {
		if strings.ContainsRune("/:.%\\?#&;\"'`<>{}|^@", r) || unicode.IsControl(r) || r == utf8.RuneError {
			return problem.New(problem.Invalid, "Invalid model name '%s'. Names cannot contain '/' or ':', nor %q; use letters, digits, '-', '_' and spaces.", problem.Clip(name, 100), string(r)).At("name")
		}
	}
	return nil
}

// CheckAlias refuses an alias that is empty, too long, made of other characters than letters, digits, '_' and '-', or
// could be taken for a version ("v3", "latest").
func CheckAlias(alias string) error {
	if alias == "" {
		return problem.New(problem.Invalid, "Registered model alias name cannot be empty.").At("alias")
	}
	if utf8.RuneCountInString(alias) > 255 {
		return problem.New(problem.Invalid, "Registered model alias name exceeds the maximum length of 255.").At("alias")
	}
	for _, r := range alias {
		if !(r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return problem.New(problem.Invalid, "Invalid alias name: '%s'. Names may only contain alphanumerics, underscores (_), and dashes (-).", problem.Clip(alias, 100)).At("alias")
		}
	}
	if strings.EqualFold(alias, "latest") {
		return problem.New(problem.Invalid, "'latest' alias name (case insensitive) is reserved.").At("alias")
	}
	if alias[0] == 'v' || alias[0] == 'V' {
		if _, err := strconv.Atoi(alias[1:]); err == nil {
			return problem.New(problem.Invalid, "Version alias name '%s' is reserved.", alias).At("alias")
		}
	}
	return nil
}

// File is one file of a version.
type File struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// Dependency is something a version was made of or needs.
type Dependency struct {
	Kind    string `json:"kind" enum:"data,run,library,model,code"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// Golden is the result of the self-test. MaxError is nil while no answers were recorded to compare with; errors are
// |answer − recorded| / max(1, |recorded|).
type Golden struct {
	Rows     int      `json:"rows"`
	MaxError *float64 `json:"max_error"`
	Limit    float64  `json:"limit"`
}

// EvaluationState is the version's latest evaluation in short.
type EvaluationState struct {
	State string `json:"state" enum:"passed,failed,running,none"`
	ID    string `json:"id,omitempty"`
}

// Version is one version of a model.
type Version struct {
	Model          string            `json:"model"`
	Number         int               `json:"version"`
	State          string            `json:"state" enum:"pending,ready,failed,retired"`
	Fault          string            `json:"fault,omitempty" doc:"why it failed or cannot be deployed: no-engine, preparing, load or golden"`
	Reason         string            `json:"reason,omitempty"`
	ArtifactDigest string            `json:"artifact_digest"`
	ContentDigest  string            `json:"content_digest"`
	Format         string            `json:"format"`
	Engine         string            `json:"engine"`
	RunsIn         string            `json:"runs_in,omitempty" doc:"where it ran in its test, and what held it there, when that is not this process"`
	Size           int64             `json:"size"`
	Files          []File            `json:"files,omitempty"`
	Signature      engine.Signature  `json:"signature"`
	Dependencies   []Dependency      `json:"dependencies"`
	Golden         Golden            `json:"golden"`
	Description    string            `json:"description"`
	Run            string            `json:"run_id,omitempty"`
	LoggedModel    string            `json:"logged_model,omitempty"`
	Origin         string            `json:"origin,omitempty"`
	Source         tracking.Source   `json:"source"`
	CreatedBy      string            `json:"created_by"`
	Authors        []string          `json:"authors"`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	Aliases        []string          `json:"aliases"`
	Evaluation     EvaluationState   `json:"evaluation"`
	Deployed       []string          `json:"deployed"`
	Tags           map[string]string `json:"tags"`
	Flavors        []string          `json:"flavors" doc:"of an MLflow model"`
	MLflow         *Described        `json:"mlflow,omitempty" doc:"what the model's MLmodel file says of itself"`
	Deployable     bool              `json:"deployable"`
	NotDeployable  string            `json:"undeployable,omitempty" doc:"why it cannot be deployed"`
	examples       string
	told           Described
	tried          string // the engines that tried to run it
}

// Ref writes a version as people do: "screening/3".
func (v *Version) Ref() string { return v.Model + "/" + strconv.Itoa(v.Number) }

// Propose says in one sentence where a change of what runs is proposed: by call, in the web interface, by command.
func Propose(model string, number int, environment string) string {
	return fmt.Sprintf("Propose it with POST /api/v1/approvals {\"kind\": \"deploy\", \"model\": %q, \"version\": %d, \"environment\": %q}, at /models/%s/versions/%d, or with: keelson approval create %s/%d --to %s --reason WHY.",
		model, number, environment, url.PathEscape(model), number, model, number, environment)
}

// ParseRef reads "model/3" or "model@alias"; number is 0 for an alias.
func ParseRef(s string) (model, alias string, number int, err error) {
	if m, a, ok := strings.Cut(s, "@"); ok {
		return m, a, 0, CheckAlias(a)
	}
	m, v, ok := strings.Cut(s, "/")
	n, convErr := strconv.Atoi(v)
	if !ok || convErr != nil || n < 1 {
		return "", "", 0, problem.New(problem.Invalid, "%q names no version; write model/3 or model@alias.", problem.Clip(s, 100))
	}
	return m, "", n, nil
}

// ArtifactDigest is the digest over every path and every byte of a version: SHA-256 over, file by file in byte order of
// the paths, the length of the path in decimal, a space, the path, a newline, the file's own digest ("sha256:…") and a
// newline; the whole preceded by "keelson-artifact/1\n".
func ArtifactDigest(files []File) string {
	list := slices.Clone(files)
	slices.SortFunc(list, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	fmt.Fprint(h, "keelson-artifact/1\n")
	for _, f := range list {
		fmt.Fprintf(h, "%d %s\n%s\n", len(f.Path), f.Path, f.Digest)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// checkFiles refuses an empty list, unclean or doubled paths, a path that is a file and a folder, and more than 10,000 files.
func checkFiles(files []File) error {
	if len(files) == 0 {
		return problem.New(problem.Invalid, "A version needs at least one file.").At("files")
	}
	if len(files) > 10_000 {
		return problem.New(problem.TooLarge, "A version has at most 10,000 files; got %d.", len(files)).At("files")
	}
	paths := map[string]bool{}
	for _, f := range files {
		if err := tracking.CheckPath(f.Path); err != nil {
			return err
		}
		if paths[f.Path] {
			return problem.New(problem.Invalid, "The file %q is there twice; send each path once.", f.Path).At("files")
		}
		paths[f.Path] = true
	}
	for p := range paths {
		for i, c := range p {
			if c == '/' && paths[p[:i]] {
				return problem.New(problem.Invalid, "%q would have to be a file and a folder.", p[:i]).At("files")
			}
		}
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
