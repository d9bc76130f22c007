// Package prediction is the log of every decision, wherever it was made: by our serving or by a model served elsewhere
// that hands its predictions in. It also keeps the outcomes that become known later.
//
// The way of a record:
//
//	Log.Append ─▶ segment file (a frame behind the others) ─▶ Parquet file in the blob store ─▶ row in prediction_file
//	              durable when Append returns                 predictions/<endpoint>/dt=…/hour=…/<uuid>.parquet
//
// Append gives the record its identifier and time; identifiers grow strictly within a process, so a reader that
// remembers the last one it saw misses nothing. Segments are filed (compacted) when they are large or old. The rows of
// prediction_file for one segment are written in one transaction, under names that follow from the segment, before the
// segment is removed: a crash at any point neither loses nor doubles a record. A segment of a process that died is
// taken over at the next start in the same folder, its torn tail cut and counted.
//
// Readers see filed and unfiled records alike. Segments are local to the folder of their process: a replica elsewhere
// sees another's records once they are filed (Service.Settle bounds how far incremental readers look).
//
// DESIGN.md tells the formats and the argument for exactly once.
package prediction

import (
	"encoding/json"
	"time"

	"keelson/internal/engine"
	"keelson/internal/tensor"
)

// Slots tell how a call was answered.
const (
	SlotLive     = "live"
	SlotCanary   = "canary"
	SlotShadow   = "shadow"   // a copy of a call; its answer went nowhere
	SlotExternal = "external" // made elsewhere and handed in
)

// Durabilities of Append, as in release documents.
const (
	Group = "group" // handed to the kernel before Append returns, on disk within SyncEvery: killing the process loses nothing
	Sync  = "sync"  // on disk before Append returns
	Async = "async" // queued; a full queue drops the record and counts it
)

// Record is one call of one version. Text fields hold what the caller said, at most MaxField bytes each, names MaxName.
type Record struct {
	ID          string    // from Append: a UUIDv7 as db.NewID writes them; in the order of arrival
	At          time.Time // UTC, microseconds; from Append, or when a prediction handed in says so
	Workspace   string
	Endpoint    string
	Model       string
	Version     int
	Environment string
	Slot        string // live, canary, shadow, external
	Caller      string // who was signed in
	Application string
	Purpose     string
	Subject     string // pseudonym of the person decided about
	Request     string // the caller's own identifier of the call
	Rows        int
	Inputs      []tensor.Tensor
	Outputs     []tensor.Tensor // none when Error is set
	Latency     time.Duration   // from the request's first byte to the record
	Compute     time.Duration   // inside the engine
	Error       string
	Trace       string          // W3C trace id
	Segment     string          // the group of customers, products or places the caller puts this decision in
	Override    string          // what a person decided instead, JSON
	Fired       json.RawMessage // rules that fired, JSON of []engine.Trace, nil when the engine cannot tell
	Redacted    json.RawMessage // what of the tensors was left out, JSON of Redacted, nil when nothing was
}

// MaxField is the longest text field that is kept, in bytes; longer ones are cut.
const MaxField = 1024

// MaxName is the longest model, environment, caller or application, in bytes: together they are keys of an index, whose
// rows PostgreSQL limits to 2,704 bytes. In calls longer ones are cut, in predictions handed in they are refused.
const MaxName = 200

// SetFired keeps what a Tracer told.
func (r *Record) SetFired(t []engine.Trace) {
	if len(t) > 0 {
		r.Fired, _ = json.Marshal(t) // strings and numbers only: cannot fail
	}
}

// FiredRules gives the rules that fired, row by row; nil when the engine could not tell.
func (r *Record) FiredRules() []engine.Trace {
	var t []engine.Trace
	_ = json.Unmarshal(r.Fired, &t)
	return t
}

// Query selects records. Empty fields select everything. Since is inclusive, Until exclusive; both look at At.
type Query struct {
	Endpoint string
	Model    string
	Version  int
	Caller   string
	Slot     string
	Since    time.Time
	Until    time.Time
	// After is the identifier of the record before the first: Scan goes on behind it, List before it.
	After string
	Where func(*Record) bool `json:"-"` // what else must hold; nil is nothing. Made by Service.Where from a filter.
	Limit int                // at most that many records; 0 is no limit for Scan and 100 for List
}

func (q *Query) matches(r *Record) bool {
	return (q.Endpoint == "" || q.Endpoint == r.Endpoint) && (q.Model == "" || q.Model == r.Model) &&
		(q.Version == 0 || q.Version == r.Version) && (q.Caller == "" || q.Caller == r.Caller) && (q.Slot == "" || q.Slot == r.Slot) &&
		(q.Since.IsZero() || !r.At.Before(q.Since)) && (q.Until.IsZero() || r.At.Before(q.Until)) &&
		(q.Where == nil || q.Where(r))
}

// Outcome is what turned out to be true for one row of a prediction.
type Outcome struct {
	Prediction string          `json:"prediction_id"`
	Row        int             `json:"row"`
	Value      json.RawMessage `json:"value"` // number, text or truth value
	At         time.Time       `json:"at"`    // when it became true, or was told
}

// Use is one caller's use of a model.
type Use struct {
	Caller      string    `json:"caller"`
	Application string    `json:"application"`
	Versions    []int     `json:"versions"`
	Calls       int64     `json:"calls"`
	Rows        int64     `json:"rows"`
	LastAt      time.Time `json:"last_at"`
}
