// Package serving answers calls with the versions that signed releases name.
//
// It reads release documents and nothing else: it knows neither inventory nor approval. A release takes effect when its
// signature holds, it has not expired, its serial is above the one in force, and every file of its versions has the
// digest it names, hashed from the very bytes that are loaded. Else the release in force stays and the refusal is
// reported:
//
//	envelope ── signature, serial, expiry ──▶ files ── digests ──▶ engine ── loaded ──▶ in force
//	    └──────────────┴────────── refused: reported, the one in force goes on ──┘
//
// At start nothing is in force yet; when the live version's files were changed on disk, the release's previous version
// is loaded instead and reported; when there is none, calls are answered 503 and an incident stands.
//
// The files of loaded versions are hashed again and again. A change is reported; what is loaded goes on serving.
//
// The table of endpoints hangs on one atomic pointer: a call takes no lock (but the log's own), reads no SQL and opens no
// file.
package serving

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/reason"
	"keelson/internal/journal"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/tensor"
)

// Call is one request for predictions.
type Call struct {
	Workspace string
	Endpoint  string
	Version   string // as the URL names it; empty lets the release choose
	Inputs    []tensor.Tensor
	// Layout makes the Inputs for the version that is picked, where the protocol has rows and columns but no tensors; it is
	// asked again for a shadow that takes others. nil takes Inputs as they are.
	Layout      func(engine.Signature) ([]tensor.Tensor, error)
	Unnamed     func(input string) bool // beside Layout: the values of that matrix came without the names of its columns
	Caller      string
	Application string
	Purpose     string   // goes on record
	Stamped     []string // purposes that came in headers; each is held against those that are forbidden, as Purpose is
	Subject     string
	Segment     string
	Request     string // the caller's identifier of the call
	Trace       string // W3C trace id
	// RoutingKey keeps one customer, session or device at one version while a canary is under way. Without one the
	// Subject is used, then the Request; a call with none of them is spread at random.
	RoutingKey string
	Start      time.Time // when the request came in
	Deadline   time.Time // after which the caller no longer wants an answer; zero for none
	// Explain asks for reasons: so many features per row, −1 for all of them, 0 for no reasons.
	Explain int
}

// Answer is what a call gets. Its record is in the log, as durable as the release asks, when Infer returns it.
type Answer struct {
	ID      string // of the prediction
	Model   string
	Version int
	Slot    string // live or canary
	Outputs []tensor.Tensor
	Fired   json.RawMessage // rules that fired, nil when the engine cannot tell

	Explanation *reason.Explanation // nil when the call did not ask

	// Decider makes decisions of Outputs: the model that answered, nil when it makes none.
	Decider engine.Decider
}

// version is one loaded version, shared by all endpoints and slots that have the same files.
type version struct {
	key     string
	model   engine.Model
	engine  string // its name
	tracer  engine.Tracer
	kept    time.Time // until when it may be in no endpoint: the versions beside it are still being loaded
	closing atomic.Bool
	active  atomic.Int64 // calls under way
}

// enter takes the version for one call; false when it is being closed.
func (v *version) enter() bool {
	v.active.Add(1)
	if v.closing.Load() {
		v.active.Add(-1)
		return false
	}
	return true
}

func (v *version) leave() { v.active.Add(-1) }

// close waits for the calls under way, then lets go of the model.
func (v *version) close(ctx context.Context) error {
	v.closing.Store(true)
	for v.active.Load() > 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return v.model.Close()
}

// slot is a version at an endpoint.
type slot struct {
	release.Slot
	version   *version
	signature engine.Signature
	name      string // the version in text
	redact    *prediction.Redaction
	batch     *batcher // nil when calls are not joined
	metrics   slotMetrics

	gather     *engine.Spec // the matrix whose columns only the record names, see take
	rearranged []string     // inputs that the live version reads by other columns, see compare
}

// endpoint is what is in force under one name.
type endpoint struct {
	doc     release.Document
	payload string // the signed text
	routed  []*slot
	shadows []*slot
	// broken says why nothing answers, nil when something does.
	broken error
	// substitute tells that the previous version stands in for a damaged one.
	substitute bool
	since      time.Time
	gate       *turnstile
	callers    *callers // nil when there is no limit per caller
	meter      *journal.Meter
}

type name struct{ workspace, endpoint string }

type table map[name]*endpoint

func (t table) find(workspace, endpoint string) (*endpoint, error) {
	e := t[name{workspace, endpoint}]
	if e == nil {
		return nil, problem.New(problem.NotFound, "There is no endpoint %q%s. GET /api/v1/deployments lists them.", clip(endpoint), t.near(workspace, endpoint))
	}
	return e, nil
}

// near names where the model called endpoint answers instead, in other environments than the one without a suffix.
func (t table) near(workspace, endpoint string) string {
	var list []string
	for n := range t {
		if n.workspace == workspace && strings.HasPrefix(n.endpoint, endpoint+".") {
			list = append(list, n.endpoint)
		}
	}
	if len(list) == 0 || len(list) > 5 {
		return ""
	}
	slices.Sort(list)
	return "; the model answers at " + strings.Join(list, ", ")
}

// ready gives e's problem, nil when calls are answered.
func (e *endpoint) ready(now time.Time) error {
	switch {
	case e.doc.State == release.Retired:
		return problem.New(problem.NotFound, "The endpoint %s is retired.", e.doc.Endpoint)
	case e.doc.State == release.Suspended:
		return problem.New(problem.Unavailable, "The endpoint %s is suspended.", e.doc.Endpoint)
	case e.doc.Expired(now):
		return problem.New(problem.Unavailable, "The release of %s expired on %s; it has to be issued again.", e.doc.Endpoint, e.doc.ExpiresAt.Format(time.RFC3339))
	}
	return e.broken
}

// buckets is the resolution of shares.
const buckets = 10_000

var routingSeed = maphash.MakeSeed()

// bucket gives a call its place in [0, buckets): the same for the same key at an endpoint in every process, spread
// evenly over keys. The canary answers the first places, so that its callers stay with it as its share grows.
func bucket(endpoint, key string) int {
	// FNV-1a, finished by a 64-bit mix (Stafford's variant 13), because FNV's high bits alone are uneven.
	h := uint64(14695981039346656037)
	for i := range len(endpoint) {
		h = (h ^ uint64(endpoint[i])) * 1099511628211
	}
	h = (h ^ 0xFF) * 1099511628211
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	h ^= h >> 31
	return int(h % buckets)
}

// anyBucket spreads calls without a key.
func anyBucket(n uint64) int {
	var b [8]byte
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
	return int(maphash.Bytes(routingSeed, b[:]) % buckets)
}

// pick chooses the slot for a place: canaries first, the live slot takes the rest.
func (e *endpoint) pick(place int) *slot {
	from := 0
	var live *slot
	for _, s := range e.routed {
		if s.Kind == release.SlotLive {
			live = s
			continue
		}
		if place < from+s.Share*buckets/100 {
			return s
		}
		from += s.Share * buckets / 100
	}
	return live
}

// byVersion gives the routed slot of that version.
func (e *endpoint) byVersion(version string) (*slot, error) {
	for _, s := range e.routed {
		if s.name == version {
			return s, nil
		}
	}
	return nil, problem.New(problem.NotFound, "Version %q does not answer at %s.", clip(version), e.doc.Endpoint)
}

func (c *Call) record(e *endpoint, s *slot, kind string) prediction.Record {
	rows := 0
	if len(c.Inputs) > 0 {
		rows = c.Inputs[0].Rows()
	}
	return prediction.Record{Workspace: c.Workspace, Endpoint: e.doc.Endpoint, Model: e.doc.Model, Version: s.Version, Environment: e.doc.Environment,
		Slot: kind, Caller: c.Caller, Application: c.Application, Purpose: c.Purpose, Subject: c.Subject, Segment: c.Segment, Request: c.Request,
		Trace: c.Trace, Rows: rows, Inputs: c.Inputs}
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }

func panicked(p any) error { return fmt.Errorf("panic: %v", p) }

// leftOut stands for the words of a model or of its panic where the release redacts columns: they may quote a value.
const leftOut = "left out, as the release redacts columns"

// frames lists the functions on the stack above the caller with their lines, without arguments.
func frames() string {
	var b strings.Builder
	pc := make([]uintptr, 64)
	walk := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		f, more := walk.Next()
		fmt.Fprintf(&b, "%s:%d\n", f.Function, f.Line)
		if !more {
			return b.String()
		}
	}
}
