package prediction

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/event"
	"keelson/internal/problem"
)

// OutcomesRecorded is the event of outcomes that arrived; its subject is "deployment/ENDPOINT", its data
// {"endpoint", "count"}.
const OutcomesRecorded = "outcome.recorded"

// Service reads the log, files it, and takes outcomes and predictions made elsewhere. DB, Blobs, Logger and Now are
// required; Log may be nil in a process that only reads.
type Service struct {
	DB     *db.DB
	Blobs  blob.Store
	Log    *Log
	Logger *slog.Logger
	Now    func() time.Time
	// FileAfter is the age at which a segment is filed; default 5 minutes. Where several processes write, a reader
	// elsewhere sees a record that late.
	FileAfter time.Duration
	// Settle keeps Scan away from what arrived less than this ago, so that an incremental reader does not step over
	// records of other processes that are not filed yet. 0 where one process does everything.
	Settle time.Duration
	// KeepDays is how long predictions are kept where neither endpoint nor workspace says; 0 keeps them.
	KeepDays int
	// Metrics counts what was removed; nil counts nothing.
	Metrics prometheus.Registerer
	// Erasing is called in the transaction in which predictions about a person are erased, with their identifiers: what
	// others keep about them goes with them.
	Erasing []func(tx db.Scope, predictions []string) error
	// HashKey hashes subjects in the audit entries of erasures.
	HashKey []byte
	// Redaction gives what is to be left out of predictions of a version that were made elsewhere and are handed in; nil
	// leaves nothing out.
	Redaction func(ctx context.Context, model string, version int) (*Redaction, error)
	// Page gives the address of a page of the web interface, where a decision can be contested; nil names none.
	Page func(path string) string
	// Version loads the version of a decision to explain it; nil where no models are loaded.
	Version Loader
	// Signature tells what the columns of a version's inputs are called; nil leaves them known by place only.
	Signature func(ctx context.Context, model string, version int) (engine.Signature, error)

	counter sync.Once
	purged  prometheus.Counter
	replays sync.Mutex
	store   store
	filing  sync.Mutex
	keys    sync.Mutex
}

// Scan calls fn for the records that q selects, in the order of their identifiers, which is the order of arrival. It
// goes on behind q.After and ends after q.Limit records, at the end of the log or with fn's error. The end is before the
// first async record that waits to be written, so that whoever goes on behind the last record misses none.
func (s *Service) Scan(ctx context.Context, q Query, fn func(Record) error) error {
	return s.scan(ctx, q, order{}, func(r *Record) error { return fn(*r) })
}

// Each is Scan for readers of very many records: fn gets the same record each time, read over the one before, and may keep
// its texts, but neither it nor its tensors.
func (s *Service) Each(ctx context.Context, q Query, fn func(*Record) error) error {
	return s.scan(ctx, q, order{again: true}, fn)
}

func (s *Service) scan(ctx context.Context, q Query, o order, fn func(*Record) error) error {
	n := 0
	if s.Log != nil {
		o.below = s.Log.bound()
	}
	if s.Settle > 0 {
		if settled := floorID(s.Now().Add(-s.Settle)); o.below == "" || settled < o.below {
			o.below = settled
		}
	}
	return s.read(ctx, q, o, func(r *Record) (bool, error) {
		n++
		return n != q.Limit, fn(r)
	})
}

// List gives the newest records that q selects, newest first, before q.After.
func (s *Service) List(ctx context.Context, q Query) ([]Record, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	var out []Record
	err := s.read(ctx, q, order{newestFirst: true}, func(r *Record) (bool, error) {
		out = append(out, *r)
		return len(out) < q.Limit, nil
	})
	return out, err
}

// Get gives one record; problem.NotFound when there is none of that identifier in the workspace.
func (s *Service) Get(ctx context.Context, id string) (Record, error) {
	var found *Record
	if _, ok := idTime(id); ok {
		err := s.read(ctx, Query{After: before(id)}, order{below: id + "~"}, func(rec *Record) (bool, error) {
			if rec.ID == id {
				one := *rec
				found = &one
			}
			return rec.ID < id, nil
		})
		if err != nil {
			return Record{}, err
		}
	}
	if found == nil {
		return Record{}, unknown(id)
	}
	return *found, nil
}

func unknown(id string) *problem.Error {
	if len(id) > 64 {
		id = id[:64]
	}
	return problem.New(problem.NotFound, "There is no prediction %q; a prediction of another replica is known once its segment is filed.", id)
}

// Callers tells who called a model since a time, most calls first. Days are counted whole, in UTC; what is not filed
// yet counts from this process only.
func (s *Service) Callers(ctx context.Context, model string, since time.Time) ([]Use, error) {
	// Filing holds still meanwhile, so that no call is counted in its segment and in SQL.
	s.filing.Lock()
	defer s.filing.Unlock()
	counts := map[useKey]useCount{}
	if err := s.unfiledUses(ctx, model, since, counts); err != nil {
		return nil, err
	}
	filed := map[useKey]useCount{}
	err := s.DB.Read(ctx, func(tx db.Scope) error { return s.store.uses(tx, model, since, filed) })
	if err != nil {
		return nil, fmt.Errorf("read the uses of %s: %w", model, err)
	}
	for k, c := range filed {
		counts[k] = counts[k].plus(c)
	}
	by := map[[2]string]*Use{}
	for k, c := range counts {
		who := [2]string{k.Caller, k.Application}
		u := by[who]
		if u == nil {
			u = &Use{Caller: k.Caller, Application: k.Application}
			by[who] = u
		}
		u.Calls += c.Calls
		u.Rows += c.Rows
		if !slices.Contains(u.Versions, k.Version) {
			u.Versions = append(u.Versions, k.Version)
		}
		if c.LastAt.After(u.LastAt) {
			u.LastAt = c.LastAt
		}
	}
	out := []Use{}
	for _, u := range by {
		slices.Sort(u.Versions)
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b Use) int {
		if a.Calls != b.Calls {
			return int(b.Calls - a.Calls)
		}
		return strings.Compare(a.Caller+"\x00"+a.Application, b.Caller+"\x00"+b.Application)
	})
	return out, nil
}

// LastUsed gives the time of the last call of every model that was called, in the workspace.
func (s *Service) LastUsed(ctx context.Context) (out map[string]time.Time, err error) {
	counts := map[useKey]useCount{}
	if err := s.unfiledUses(ctx, "", time.Time{}, counts); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		out, err = s.store.lastUsed(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the last uses: %w", err)
	}
	for k, c := range counts {
		if c.LastAt.After(out[k.Model]) {
			out[k.Model] = c.LastAt
		}
	}
	return out, nil
}

// MaxOutcomes is the largest batch of outcomes.
const MaxOutcomes = 10_000

// Record stores outcomes, all or none, and says how many were new and how many were known with the same value. It fails
// with problem.NotFound when a prediction does not exist, problem.Invalid when a row or value does not fit, and
// problem.Conflict when another value is on record for a row; the fields of the problem name each item.
func (s *Service) Record(ctx context.Context, list []Outcome) (accepted, duplicates int, err error) {
	if len(list) == 0 || len(list) > MaxOutcomes {
		return 0, 0, problem.New(problem.Invalid, "A batch has 1 to %d outcomes, this one has %d.", MaxOutcomes, len(list)).At("items")
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].Prediction
		v, ok := Scalar(list[i].Value)
		if !ok {
			return 0, 0, problem.New(problem.Invalid, "An outcome's value is a number, a text or a truth value.").At(fmt.Sprintf("items[%d].value", i))
		}
		list[i].Value = v
		if list[i].At.IsZero() {
			list[i].At = s.Now()
		}
	}
	known, err := s.heads(ctx, ids)
	if err != nil {
		return 0, 0, err
	}
	refused := problem.New(problem.NotFound, "Some outcomes belong to predictions that do not exist; nothing was stored. A prediction of another replica is known once its segment is filed.")
	for i, o := range list {
		h, ok := known[o.Prediction]
		switch at := fmt.Sprintf("items[%d]", i); {
		case !ok:
			refused.With(problem.Field{Field: at + ".prediction_id", Detail: unknown(o.Prediction).Detail})
		case o.Row < 0 || o.Row >= max(h.rows, 1):
			return 0, 0, problem.New(problem.Invalid, "Prediction %s has %d rows, so there is no row %d (rows count from 0).", o.Prediction, h.rows, o.Row).At(at + ".row")
		}
		if len(refused.Fields) == 20 {
			break
		}
	}
	if len(refused.Fields) > 0 {
		return 0, 0, refused
	}
	by := caller.From(ctx).Name
	store := func(tx db.Scope) error {
		accepted, duplicates = 0, 0
		fresh := map[string]int{}
		conflict := problem.New(problem.Conflict, "For some rows another outcome is on record; nothing was stored.")
		for i, o := range list {
			have, found, err := s.store.outcome(tx, o.Prediction, o.Row)
			if err != nil {
				return err
			}
			if found {
				if have != string(o.Value) {
					conflict.With(problem.Field{Field: fmt.Sprintf("items[%d].value", i), Detail: fmt.Sprintf("Row %d of prediction %s has the outcome %s on record, not %s.", o.Row, o.Prediction, clip(have), clip(string(o.Value)))})
				}
				duplicates++
				continue
			}
			if err := s.store.insertOutcome(tx, o, known[o.Prediction].endpoint, by, s.Now()); err != nil {
				return err
			}
			accepted++
			fresh[known[o.Prediction].endpoint]++
		}
		if len(conflict.Fields) > 0 {
			return conflict
		}
		for endpoint, n := range fresh {
			if err := event.Publish(tx, OutcomesRecorded, "deployment/"+endpoint, map[string]any{"endpoint": endpoint, "count": n}); err != nil {
				return err
			}
		}
		return nil
	}
	if err = s.DB.Write(ctx, store); db.IsUnique(err) { // somebody else stored one of them meanwhile: now it is found
		err = s.DB.Write(ctx, store)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("record outcomes: %w", err)
	}
	return accepted, duplicates, nil
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }

// Scalar gives the canonical text of a JSON number, text or truth value; false for anything else and beyond 4 KiB.
func Scalar(raw json.RawMessage) (json.RawMessage, bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	var v any
	if len(raw) > 4096 || dec.Decode(&v) != nil || dec.More() {
		return nil, false
	}
	switch v.(type) {
	case float64, string, bool:
		b, err := json.Marshal(v) // 1, 1.0 and 1e0 are one value
		return b, err == nil
	}
	return nil, false
}

// Outcomes gives what is known of predictions, by identifier and in the order of rows.
func (s *Service) Outcomes(ctx context.Context, ids []string) (map[string][]Outcome, error) {
	out := map[string][]Outcome{}
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		clear(out)
		for some := range slices.Chunk(ids, outcomesAtOnce) {
			if err := s.store.outcomes(tx, some, out); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read outcomes: %w", err)
	}
	return out, nil
}

var endpointForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$`)

// MaxHandIn is the largest batch of predictions made elsewhere.
const MaxHandIn = 10_000

// HandIn logs predictions that were made elsewhere, all or none, and gives their identifiers in order; on return they
// are on disk. Record.Request is the caller's own identifier: an item whose Request the endpoint has already is not
// logged again, its identifier is given back. At may lie in the past; without a time it is now. The caller of an item
// is who hands it in where it names none.
func (s *Service) HandIn(ctx context.Context, endpoint string, list []Record) ([]string, error) {
	if s.Log == nil {
		return nil, problem.New(problem.Unavailable, "This process keeps no prediction log; send predictions to one that runs with the part serving.")
	}
	if !endpointForm.MatchString(endpoint) {
		return nil, problem.New(problem.Invalid, "%q is no name of an endpoint.", clip(endpoint)).At("endpoint")
	}
	if len(list) == 0 || len(list) > MaxHandIn {
		return nil, problem.New(problem.Invalid, "A batch has 1 to %d predictions, this one has %d.", MaxHandIn, len(list)).At("items")
	}
	seen := map[string]bool{}
	for i := range list {
		r := &list[i]
		at := fmt.Sprintf("items[%d]", i)
		switch {
		case r.Request != "" && seen[r.Request]:
			return nil, problem.New(problem.Invalid, "The identifier %q stands twice in the batch.", clip(r.Request)).At(at + ".id")
		case len(r.Request) > 200:
			return nil, problem.New(problem.Invalid, "An identifier has at most 200 bytes.").At(at + ".id")
		case strings.IndexByte(r.Request, 0) >= 0:
			return nil, problem.New(problem.Invalid, "The identifier %q holds a zero byte; take it out.", clip(r.Request)).At(at + ".id")
		case len(r.Model) > MaxName:
			return nil, tooLong("model").At(at + ".model")
		case len(r.Environment) > MaxName:
			return nil, tooLong("environment").At(at + ".environment")
		case len(r.Caller) > MaxName:
			return nil, tooLong("caller").At(at + ".caller")
		case len(r.Application) > MaxName:
			return nil, tooLong("application").At(at + ".application")
		case r.At.After(s.Now().Add(clockSkew)):
			return nil, problem.New(problem.Invalid, "The prediction's time lies in the future.").At(at + ".at")
		case len(r.Inputs) == 0 || len(r.Outputs) == 0 && r.Error == "":
			return nil, problem.New(problem.Invalid, "A prediction has inputs and outputs.").At(at)
		}
		seen[r.Request] = r.Request != ""
		r.Workspace, r.Endpoint, r.Slot, r.Rows = caller.Workspace(ctx), endpoint, SlotExternal, r.Inputs[0].Rows()
		if r.Model == "" {
			r.Model = endpoint
		}
		if r.Caller == "" {
			r.Caller = caller.From(ctx).Name
		}
	}
	if err := s.redact(ctx, list); err != nil {
		return nil, err
	}
	// One at a time, so that a reservation found here without its record is a crash's and not a neighbour's.
	s.keys.Lock()
	defer s.keys.Unlock()
	ids := make([]string, len(list))
	if err := s.reserve(ctx, endpoint, list, ids); err != nil {
		return nil, err
	}
	var fresh []Record
	for i := range list {
		if ids[i] == "" {
			fresh = append(fresh, list[i])
		}
	}
	if err := s.Log.AppendAll(ctx, fresh); err != nil {
		return nil, problem.New(problem.Unavailable, "The prediction log of %s cannot be written; send the predictions again later.", endpoint).Because(err)
	}
	for i, k := 0, 0; i < len(list); i++ {
		if ids[i] == "" {
			ids[i] = fresh[k].ID
			k++
		}
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		for i := range list {
			if list[i].Request != "" {
				if err := s.store.settleKey(tx, endpoint, list[i].Request, ids[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("settle the identifiers of a batch: %w", err)
	}
	return ids, nil
}

func tooLong(what string) *problem.Error {
	return problem.New(problem.Invalid, "The name of the %s is too long; it has at most %d bytes.", what, MaxName)
}

// redact takes out of predictions made elsewhere what must not be logged.
func (s *Service) redact(ctx context.Context, list []Record) error {
	if s.Redaction == nil {
		return nil
	}
	type version struct {
		model  string
		number int
	}
	known := map[version]*Redaction{}
	for i := range list {
		v := version{list[i].Model, list[i].Version}
		d, ok := known[v]
		if !ok {
			var err error
			if d, err = s.Redaction(ctx, v.model, v.number); err != nil {
				return fmt.Errorf("find the personal columns of %s/%d: %w", v.model, v.number, err)
			}
			known[v] = d
		}
		d.Apply(&list[i])
	}
	return nil
}

// reserve writes down the caller's identifiers before the records are appended, and fills ids for those that exist.
func (s *Service) reserve(ctx context.Context, endpoint string, list []Record, ids []string) error {
	pending := map[string]int{} // reserved earlier, record unknown
	var oldest time.Time
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		clear(pending)
		oldest = time.Time{}
		for i := range list {
			given := list[i].Request
			if given == "" {
				continue
			}
			k, found, err := s.store.key(tx, endpoint, given)
			switch {
			case err != nil:
				return err
			case !found:
				err = s.store.reserveKey(tx, endpoint, given, s.Log.o.Node, s.Now())
			case k.prediction != "":
				ids[i] = k.prediction
			case k.node != s.Log.o.Node && s.Now().Sub(k.at) < time.Minute:
				return problem.New(problem.Conflict, "The prediction %q is being stored by another process; send the batch again in a minute.", clip(given)).At(fmt.Sprintf("items[%d].id", i))
			default:
				pending[given] = i
				if oldest.IsZero() || k.at.Before(oldest) {
					oldest = k.at
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reserve the identifiers of a batch: %w", err)
	}
	if len(pending) == 0 {
		return nil
	}
	return s.read(ctx, Query{Endpoint: endpoint, Slot: SlotExternal, After: floorID(oldest.Add(-time.Second))}, order{again: true}, func(r *Record) (bool, error) {
		if i, ok := pending[r.Request]; ok {
			ids[i] = r.ID
		}
		return true, nil
	})
}
