// Package release is the document that a serving process obeys: which versions answer at an endpoint, with which share
// of the calls, under which limits, approved by which request. It is signed, and a serving process reads nothing else,
// so a row edited in the database or a file swapped on disk moves no traffic.
//
// The package knows the document, its canonical bytes, its rules and its envelope. It has no I/O: deployment signs and
// stores envelopes, serving opens them.
//
// An envelope is a JSON object {"payload": base64, "signature": base64, "key": id}. The signature is made over the
// domain "keelson/release/v1" and the payload's bytes (seal's pre-authentication encoding), so bytes that were signed
// for another purpose never pass as a release. The payload is the JSON of Document in the order of its fields, without
// white space and without HTML escaping; a reader verifies the bytes before it parses them and never re-encodes them.
package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"keelson/internal/problem"
)

// Domain separates signatures of releases from all others made with the same key.
const Domain = "keelson/release/v1"

// States of an endpoint.
const (
	Live      = "live"      // the slots answer
	Suspended = "suspended" // the slots are known but calls are refused
	Retired   = "retired"   // nothing answers here any more
)

// Kinds of slot.
const (
	SlotLive   = "live"   // answers Share percent of the calls
	SlotCanary = "canary" // answers Share percent of the calls, on trial
	SlotShadow = "shadow" // gets a copy of Share percent of the calls; its answers are logged and never sent
)

// Durabilities of the prediction log, see the prediction package.
const (
	Group = "group" // written before the answer leaves, synced within 50 ms
	Sync  = "sync"  // synced before the answer leaves
	Async = "async" // through a bounded ring; what is dropped is counted
)

// Bounds of a document; beyond them it is refused.
const (
	MaxEnvelope = 4 << 20 // bytes
	MaxSlots    = 8
	MaxFiles    = 10_000 // per slot
)

// File is one file of a version, by its path inside the artifact and the digest of its bytes.
type File struct {
	Path   string `json:"path"`
	Digest string `json:"digest"` // "sha256:" and 64 hex digits
	Size   int64  `json:"size"`   // bytes
}

// Slot is one version at an endpoint.
type Slot struct {
	Version        int             `json:"version"` // ordinal, ≥ 1
	ArtifactDigest string          `json:"artifact_digest"`
	Files          []File          `json:"files"`
	Format         string          `json:"format"` // "xgboost-json", "cel", …
	Signature      json.RawMessage `json:"signature,omitempty"`
	Kind           string          `json:"kind"`
	Share          int             `json:"share"` // percent; live and canary shares sum to 100, a shadow's is of its copies
}

// Limits protect a model from its callers and callers from one another; 0 leaves the server's own. Each holds per
// serving process.
type Limits struct {
	MaxRows   int64 `json:"max_rows,omitempty" yaml:"max_rows" doc:"rows in one call"`
	MaxBytes  int64 `json:"max_bytes,omitempty" yaml:"max_bytes" doc:"bytes of one call's body"`
	TimeoutMS int64 `json:"timeout_ms,omitempty" yaml:"timeout_ms" doc:"milliseconds until a call is given up"`
	// MaxConcurrent calls are computed at once, MaxQueue more wait; what comes beyond is refused and told to try again.
	MaxConcurrent int64 `json:"max_concurrent,omitempty" yaml:"max_concurrent" doc:"calls computed at once"`
	MaxQueue      int64 `json:"max_queue,omitempty" yaml:"max_queue" doc:"calls that may wait"`
	// CallerRate is how many calls per second one caller may make, a second's worth of them at once; CallerQuota is how
	// many in one day (UTC).
	CallerRate  float64 `json:"caller_rate,omitempty" yaml:"caller_rate" doc:"calls per second of one caller"`
	CallerQuota int64   `json:"caller_quota,omitempty" yaml:"caller_quota" doc:"calls per day (UTC) of one caller"`
	// Unlogged is the percentage of answered calls that the prediction log leaves out, drawn at random. Failed calls and
	// shadows are always on record. A call that is left out has no prediction identifier.
	Unlogged float64 `json:"unlogged,omitempty" yaml:"unlogged" doc:"percent of the answered calls that the prediction log leaves out"`
	// BatchRows joins calls that wait for a busy model into one of at most so many rows; 0 never joins.
	BatchRows int64 `json:"batch_rows,omitempty" yaml:"batch_rows" doc:"rows up to which waiting calls are computed together"`
	// ForbiddenPurposes are separated by commas or semicolons; a text and no list, so that limits stay comparable.
	ForbiddenPurposes string `json:"forbidden_purposes,omitempty" yaml:"forbidden_purposes" doc:"purposes, separated by commas, for which it must not be asked; such a call is refused"`
}

// Forbids tells which of the purposes that a call names is one for which it is refused. A text may name several, separated by commas
// or semicolons; case, blanks and characters that nobody sees make no difference.
func (l Limits) Forbids(texts ...string) (word string, forbidden bool) {
	if l.ForbiddenPurposes == "" {
		return "", false
	}
	list := purposes(l.ForbiddenPurposes)
	for _, text := range texts {
		for _, word := range purposes(text) {
			if slices.ContainsFunc(list, func(one string) bool { return strings.EqualFold(one, word) }) {
				return word, true
			}
		}
	}
	return "", false
}

// purposes are the words of a text, each as a person reads it.
func purposes(text string) (words []string) {
	seen := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r):
			return -1
		}
		return r
	}, norm.NFKC.String(text))
	for word := range strings.FieldsFuncSeq(seen, func(r rune) bool { return r == ',' || r == ';' }) {
		if word = strings.Join(strings.Fields(word), " "); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// Check fails with problem.Invalid at the field that is out of its range.
func (l Limits) Check() error {
	for field, v := range map[string]float64{"max_rows": float64(l.MaxRows), "max_bytes": float64(l.MaxBytes), "timeout_ms": float64(l.TimeoutMS),
		"max_concurrent": float64(l.MaxConcurrent), "max_queue": float64(l.MaxQueue), "caller_rate": l.CallerRate, "caller_quota": float64(l.CallerQuota),
		"batch_rows": float64(l.BatchRows)} {
		if !(v >= 0) || math.IsInf(v, 1) {
			return bad("limits."+field, "The limit %s is %v; it is 0 (the server's own) or more.", field, v)
		}
	}
	for field, v := range map[string]int64{"max_concurrent": l.MaxConcurrent, "max_queue": l.MaxQueue, "batch_rows": l.BatchRows} {
		if v > 1_000_000 {
			return bad("limits."+field, "The limit %s is %d; a million is the most.", field, v)
		}
	}
	if len(l.ForbiddenPurposes) > 2000 {
		return bad("limits.forbidden_purposes", "The forbidden purposes are longer than 2,000 bytes.")
	}
	if l.Unlogged < 0 || l.Unlogged > 100 || math.IsNaN(l.Unlogged) {
		return bad("limits.unlogged", "The share of calls that are not logged is 0 to 100 percent, not %v.", l.Unlogged)
	}
	return nil
}

// Policy names the policy version under which the release was approved.
type Policy struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

// Document is what should run at one endpoint. Serial grows by one with every release of the endpoint; a reader never
// goes back to a smaller one.
type Document struct {
	Serial      int64     `json:"serial"` // ≥ 1
	Endpoint    string    `json:"endpoint"`
	Environment string    `json:"environment"`
	Workspace   string    `json:"workspace"`
	Model       string    `json:"model"`
	State       string    `json:"state"`
	Slots       []Slot    `json:"slots"`
	Previous    *Slot     `json:"previous,omitempty"` // approved before; loads when a live artifact is found damaged
	Durability  string    `json:"durability"`
	Limits      Limits    `json:"limits"`
	Redact      []string  `json:"redact,omitempty"` // columns that the prediction log leaves out; hash:COLUMN keeps a keyed hash
	Policy      Policy    `json:"policy"`
	Request     string    `json:"request"` // the approved change request
	PlanDigest  string    `json:"plan_digest"`
	IssuedAt    time.Time `json:"issued_at"`
	ExpiresAt   time.Time `json:"expires_at"`
}

var (
	digestForm   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	endpointForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$`)
)

// Check applies the rules of a document that do not depend on the time. It fails with problem.Invalid at the field.
func (d Document) Check() error {
	switch {
	case d.Serial < 1:
		return bad("serial", "A release has a serial of at least 1, this one has %d.", d.Serial)
	case !endpointForm.MatchString(d.Endpoint):
		return bad("endpoint", "%q is no name of an endpoint.", d.Endpoint)
	case d.Environment == "":
		return bad("environment", "The release of %s names no environment.", d.Endpoint)
	case d.Workspace == "":
		return bad("workspace", "The release of %s names no workspace.", d.Endpoint)
	case d.Model == "":
		return bad("model", "The release of %s names no model.", d.Endpoint)
	case d.Request == "":
		return bad("request", "The release of %s names no approved request.", d.Endpoint)
	case d.State != Live && d.State != Suspended && d.State != Retired:
		return bad("state", "%q is no state of a release; it is live, suspended or retired.", d.State)
	case d.Durability != Group && d.Durability != Sync && d.Durability != Async:
		return bad("durability", "%q is no durability; it is group, sync or async.", d.Durability)
	case d.IssuedAt.IsZero() || !d.ExpiresAt.After(d.IssuedAt):
		return bad("expires_at", "The release of %s expires before it was issued.", d.Endpoint)
	}
	if err := d.Limits.Check(); err != nil {
		return err
	}
	return d.checkSlots()
}

func (d Document) checkSlots() error {
	if len(d.Slots) > MaxSlots {
		return bad("slots", "A release has at most %d slots, this one has %d.", MaxSlots, len(d.Slots))
	}
	if d.State == Retired {
		if len(d.Slots) > 0 {
			return bad("slots", "The release of %s is retired and may hold no slot.", d.Endpoint)
		}
		return nil
	}
	sum, live, seen := 0, 0, map[int]bool{}
	for i, s := range d.Slots {
		at := fmt.Sprintf("slots[%d]", i)
		if err := s.check(at); err != nil {
			return err
		}
		if seen[s.Version] {
			return bad(at+".version", "Version %d stands in two slots.", s.Version)
		}
		seen[s.Version] = true
		if s.Kind == SlotLive {
			live++
		}
		if s.Kind != SlotShadow {
			sum += s.Share
		}
	}
	if live != 1 {
		return bad("slots", "A release has exactly one live slot, this one has %d.", live)
	}
	if sum != 100 {
		return bad("slots", "The shares of the live and canary slots sum to %d, not to 100.", sum)
	}
	if d.Previous != nil {
		return d.Previous.check("previous")
	}
	return nil
}

func (s Slot) check(at string) error {
	switch {
	case s.Version < 1:
		return bad(at+".version", "A version is at least 1, this one is %d.", s.Version)
	case s.Kind != SlotLive && s.Kind != SlotCanary && s.Kind != SlotShadow:
		return bad(at+".kind", "%q is no kind of slot; it is live, canary or shadow.", s.Kind)
	case s.Share < 0 || s.Share > 100:
		return bad(at+".share", "A share is 0 to 100 percent, this one is %d.", s.Share)
	case !digestForm.MatchString(s.ArtifactDigest):
		return bad(at+".artifact_digest", "%q is no digest; it is sha256: and 64 hex digits.", s.ArtifactDigest)
	case s.Format == "":
		return bad(at+".format", "Version %d has no format.", s.Version)
	case len(s.Files) == 0 || len(s.Files) > MaxFiles:
		return bad(at+".files", "Version %d has %d files; it needs 1 to %d.", s.Version, len(s.Files), MaxFiles)
	}
	seen := make(map[string]bool)
	for i, f := range s.Files {
		where := fmt.Sprintf("%s.files[%d]", at, i)
		switch {
		case f.Path == "" || seen[f.Path]:
			return bad(where+".path", "A file of version %d has no path of its own.", s.Version)
		case !digestForm.MatchString(f.Digest):
			return bad(where+".digest", "%q is no digest; it is sha256: and 64 hex digits.", f.Digest)
		case f.Size < 0:
			return bad(where+".size", "The size of %s is negative.", f.Path)
		}
		seen[f.Path] = true
	}
	return nil
}

func bad(field, format string, a ...any) error {
	return problem.New(problem.Invalid, format, a...).At(field)
}

// Expired reports that the document must not be obeyed at now any more.
func (d Document) Expired(now time.Time) bool { return !now.Before(d.ExpiresAt) }

// Supersedes says whether d may take the place of old at a reader: the same endpoint of the same workspace with a
// larger serial. The refusal is a problem.Conflict in words for an incident.
func (d Document) Supersedes(old Document) error {
	if d.Endpoint != old.Endpoint || d.Workspace != old.Workspace {
		return problem.New(problem.Conflict, "The release offered to %s in workspace %s is made for %s in workspace %s.",
			old.Endpoint, old.Workspace, d.Endpoint, d.Workspace)
	}
	if d.Serial <= old.Serial {
		return problem.New(problem.Conflict, "The release offered to %s has serial %d, but serial %d was in force already.",
			d.Endpoint, d.Serial, old.Serial)
	}
	return nil
}

// Payload is the canonical bytes of d: what is signed and what Digest hashes.
func (d Document) Payload() ([]byte, error) {
	d.IssuedAt, d.ExpiresAt = d.IssuedAt.UTC().Truncate(time.Microsecond), d.ExpiresAt.UTC().Truncate(time.Microsecond)
	if d.Slots == nil {
		d.Slots = []Slot{}
	}
	return Canonical(d)
}

// Canonical is the JSON of v as this package and those above it sign it: fields in the order of the type, map keys
// sorted, no white space, no HTML escaping, no final line end. Raw JSON inside v is compacted.
func Canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("canonical form of %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Digest is "sha256:" and the hex of the SHA-256 of b.
func Digest(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

// Endpoint is the name under which a model answers in an environment: the model's own where suffix is empty (prod),
// else with the suffix behind a dot ("screening.dev").
func Endpoint(model, suffix string) string {
	if suffix == "" {
		return model
	}
	return model + "." + suffix
}
