package trace

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/bin"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// neighbour is what a trace needs of tracking; tracking.Service has it.
type neighbour interface {
	Experiment(ctx context.Context, id string) (tracking.Experiment, error)
	Run(ctx context.Context, id string) (tracking.Run, error)
}

// Service stores and finds traces. DB, Tracking, Log and Now are required.
type Service struct {
	DB       *db.DB
	Tracking neighbour
	Log      *slog.Logger
	Now      func() time.Time
	Metrics  *Metrics // nil: nothing is counted
}

// active fails when an experiment is not there or is deleted.
func (s *Service) active(ctx context.Context, experiment string) error {
	e, err := s.Tracking.Experiment(ctx, experiment)
	if err == nil && e.Deleted {
		err = problem.New(problem.Invalid, "The experiment %s must be in the 'active' state. Current state is deleted.", problem.Clip(experiment, 40)).At("experiment_id")
	}
	return err
}

func elsewhere(t Trace) error {
	return problem.New(problem.Conflict, "Trace %s belongs to another experiment.", t.ID).At("experiment_id")
}

// Start stores what a client says of a whole trace. Its spans may have come before; then the client's word goes before
// theirs. The same trace may be started again, with the same effect.
func (s *Service) Start(ctx context.Context, t Trace) (Trace, error) {
	t.Tags, t.Metadata = maps.Clone(t.Tags), maps.Clone(t.Metadata)
	if err := t.check(); err != nil {
		return t, err
	}
	assessed, err := s.arriving(t.Assessments)
	if err != nil {
		return t, err
	}
	if err := s.active(ctx, t.Experiment); err != nil {
		return t, err
	}
	t.Metadata = merge(t.Metadata, map[string]string{schemaFinalized: "true"})
	t.derive()
	t.Final = true
	var out Trace
	err = s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		fresh, err := insertTrace(tx, t)
		if err != nil {
			return err
		}
		if !fresh {
			old, err := lockTrace(tx, t.ID)
			if err != nil {
				return err
			}
			if old.Experiment != t.Experiment {
				return elsewhere(t)
			}
			old.absorb(t)
			if err := putTrace(tx, old); err != nil {
				return err
			}
		}
		if err := s.attach(tx, t, true); err != nil {
			return err
		}
		for _, a := range assessed {
			if err := putAssessment(tx, t.ID, a); err != nil {
				return err
			}
		}
		if fresh { // nobody else can have added to it
			out = t
			out.Assessments = assessed
			return nil
		}
		out, err = getTrace(tx, t.ID)
		return err
	})
	if err != nil {
		return t, fmt.Errorf("start trace: %w", err)
	}
	s.Metrics.traces(1)
	return out, nil
}

// attach stores the tags of a trace and its links to the run and the prompts that its metadata and tags name.
func (s *Service) attach(tx db.Scope, t Trace, over bool) error {
	if err := putTags(tx, t.ID, t.Tags, over); err != nil {
		return err
	}
	if run := t.Metadata[MetaRun]; run != "" && len(run) <= MaxKey {
		if err := linkRun(tx, t.ID, run); err != nil {
			return err
		}
	}
	for _, p := range namedPrompts(t.Tags[TagPrompts]) {
		if err := linkPrompt(tx, t.ID, p); err != nil {
			return err
		}
	}
	return nil
}

// Receive stores spans of traces of an experiment, all or none. A trace that is not there is made of them. With run, the
// traces are linked to that run.
func (s *Service) Receive(ctx context.Context, experiment, run string, batches []Batch) error {
	if err := s.active(ctx, experiment); err != nil {
		return err
	}
	if run != "" {
		if _, err := s.Tracking.Run(ctx, run); err != nil {
			return err
		}
	}
	type work struct {
		Batch
		facts
		packed
		tokens *Tokens
		cost   *Cost
	}
	list := make([]work, len(batches))
	spans := 0
	for i, b := range batches {
		b.Spans = distinct(b.Spans)
		w := work{Batch: b, facts: observe(b)}
		var err error
		if w.packed, err = pack(b.Spans); err != nil {
			return err
		}
		if w.spends {
			w.tokens, w.cost = sum(b.Spans)
		}
		list[i] = w
		spans += len(b.Spans)
	}
	err := s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		for _, w := range list {
			t := Trace{ID: w.Trace, Experiment: experiment, State: InProgress, Started: w.started, Duration: defaultDuration}
			if w.ended >= 0 {
				t.Duration = max(w.ended-w.started, 0)
			}
			t.learn(w.facts)
			t.spent(w.tokens, w.cost)
			t.Spans = w.n
			fresh, err := insertTrace(tx, t)
			if err != nil {
				return err
			}
			if fresh {
				_, err = addSpans(tx, t.ID, 0, w.Batch.Spans, w.packed, w.index)
			} else {
				err = s.extend(tx, t, w.Batch.Spans, w.packed, w.facts, w.tokens, w.cost)
			}
			if err == nil {
				err = putTags(tx, t.ID, w.tags, false)
			}
			if err == nil && run != "" {
				err = linkRun(tx, t.ID, run)
			}
			for _, p := range namedPrompts(w.tags[TagPrompts]) {
				if err == nil {
					err = linkPrompt(tx, t.ID, p)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("log spans: %w", err)
	}
	s.Metrics.spans(spans)
	return nil
}

// extend adds spans to a trace that is there.
func (s *Service) extend(tx db.Scope, n Trace, spans []*Span, p packed, f facts, tokens *Tokens, cost *Cost) error {
	t, err := lockTrace(tx, n.ID)
	if err != nil {
		return err
	}
	if t.Experiment != n.Experiment {
		return elsewhere(n)
	}
	had := t.Spans
	if t.Spans, err = addSpans(tx, t.ID, had, spans, p, f.index); err != nil {
		return err
	}
	t.learn(f)
	if f.spends && !(t.Final && t.Metadata[MetaTokens] != "" && t.Metadata[MetaCost] != "") {
		if had > 0 { // a span that sums its children up may come apart from them: only the whole tree says how much it was
			all, err := readSpans(tx, []string{t.ID})
			if err != nil {
				return err
			}
			tokens, cost = sum(all[t.ID])
		}
		t.spent(tokens, cost)
	}
	return putTrace(tx, t)
}

// spent takes over the sum of what spans say, where the client did not say it of the whole trace.
func (t *Trace) spent(tokens *Tokens, cost *Cost) {
	if tokens != nil && !(t.Final && t.Metadata[MetaTokens] != "") {
		t.Tokens = tokens
		t.Metadata = merge(t.Metadata, map[string]string{MetaTokens: tokens.document()})
	}
	if cost != nil && !(t.Final && t.Metadata[MetaCost] != "") {
		t.Cost = cost
		t.Metadata = merge(t.Metadata, map[string]string{MetaCost: cost.document()})
	}
}

// Begin makes a trace as clients before MLflow 3 do: it gets its identifier here and is in progress until End.
func (s *Service) Begin(ctx context.Context, t Trace) (Trace, error) {
	t.Tags, t.Metadata = maps.Clone(t.Tags), maps.Clone(t.Metadata)
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	t.ID, t.State, t.Duration = hex.EncodeToString(id), InProgress, defaultDuration
	if err := t.check(); err != nil {
		return t, err
	}
	if err := s.active(ctx, t.Experiment); err != nil {
		return t, err
	}
	t.derive()
	var out Trace
	err := s.DB.WriteBulk(ctx, func(tx db.Scope) (err error) {
		if _, err = insertTrace(tx, t); err != nil {
			return err
		}
		if err = s.attach(tx, t, true); err != nil {
			return err
		}
		out, err = getTrace(tx, t.ID)
		return err
	})
	if err != nil {
		return t, fmt.Errorf("begin trace: %w", err)
	}
	s.Metrics.traces(1)
	return out, nil
}

// End closes a trace that Begin made. ended is in milliseconds since 1970; metadata and tags are added.
func (s *Service) End(ctx context.Context, id, state string, ended int64, metadata, tags map[string]string) (Trace, error) {
	n := Trace{ID: id, State: state, Started: max(earliest, min(latest, ended)), Tags: maps.Clone(tags), Metadata: maps.Clone(metadata)}
	if err := n.check(); err != nil {
		return n, err
	}
	n.derive()
	var out Trace
	err := s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		t, err := lockTrace(tx, id)
		if err != nil {
			return err
		}
		end := n
		end.Experiment, end.Started, end.Duration, end.ClientRequest = t.Experiment, t.Started, max(n.Started-t.Started, 0), t.ClientRequest
		t.absorb(end)
		if err := putTrace(tx, t); err != nil {
			return err
		}
		if err := s.attach(tx, n, true); err != nil {
			return err
		}
		out, err = getTrace(tx, id)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("end trace: %w", err)
	}
	return out, nil
}

// Get gives one trace.
func (s *Service) Get(ctx context.Context, id string) (t Trace, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { t, err = getTrace(tx, id); return err })
	return t, err
}

// Batch gives traces in the order of ids, without those that are not there; with experiments, only theirs.
func (s *Service) Batch(ctx context.Context, ids, experiments []string) (out []Trace, err error) {
	if err := few("trace_ids", ids); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = getTraces(tx, ids); return err })
	if len(experiments) > 0 {
		out = slices.DeleteFunc(out, func(t Trace) bool { return !slices.Contains(experiments, t.Experiment) })
	}
	return out, err
}

// Spans gives the spans of traces, each sorted by its start; a trace without spans is not in it.
func (s *Service) Spans(ctx context.Context, ids []string) (out map[string][]*Span, err error) {
	if err := few("trace_ids", ids); err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = readSpans(tx, ids); return err })
	for _, list := range out {
		inOrder(list)
	}
	return out, err
}

// inOrder sorts spans by start; a parent goes before a child that began with it.
func inOrder(list []*Span) {
	slices.SortStableFunc(list, func(a, b *Span) int {
		switch {
		case a.StartTimeUnixNano != b.StartTimeUnixNano:
			if a.StartTimeUnixNano < b.StartTimeUnixNano {
				return -1
			}
			return 1
		case string(b.ParentSpanId) == string(a.SpanId):
			return -1
		case string(a.ParentSpanId) == string(b.SpanId):
			return 1
		}
		return strings.Compare(string(a.SpanId), string(b.SpanId))
	})
}

func few(field string, ids []string) error {
	if len(ids) > MaxBatch {
		return problem.New(problem.Invalid, "A request names at most %d traces; got %d.", MaxBatch, len(ids)).At(field)
	}
	return nil
}

// immutable are the tags that only the platform sets.
var immutable = []string{TagSpansLocation, TagArchive, TagArchiveFault, TagArtifacts}

// SetTag sets a tag; the tag of the name renames the trace.
func (s *Service) SetTag(ctx context.Context, id, key, value string) error {
	if slices.Contains(immutable, key) {
		return problem.New(problem.Invalid, "Tag '%s' is immutable and cannot be set on a trace.", key).At("key")
	}
	tags := map[string]string{key: value}
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		t, err := lockTrace(tx, id)
		if err != nil {
			return err
		}
		if key == TagName {
			t.Name = tags[key]
			return putTrace(tx, t)
		}
		for _, p := range namedPrompts(tags[TagPrompts]) {
			if err := linkPrompt(tx, id, p); err != nil {
				return err
			}
		}
		return putTags(tx, id, tags, true)
	})
}

// DeleteTag removes a tag.
func (s *Service) DeleteTag(ctx context.Context, id, key string) error {
	if slices.Contains(immutable, key) {
		return problem.New(problem.Invalid, "Tag '%s' is immutable and cannot be deleted on a trace.", key).At("key")
	}
	return s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		t, err := lockTrace(tx, id)
		if err != nil {
			return err
		}
		ok := false
		if key == TagName {
			if ok = t.Name != ""; ok {
				t.Name = ""
				err = putTrace(tx, t)
			}
		} else {
			ok, err = dropTag(tx, id, key)
		}
		if err == nil && !ok {
			err = problem.New(problem.NotFound, "No trace tag with key '%s' for trace with ID '%s'", problem.Clip(key, 100), id).At("key")
		}
		return err
	})
}

// Link ties traces to a run; traces that are not there are left out.
func (s *Service) Link(ctx context.Context, ids []string, run string) error {
	if len(ids) > MaxLinks {
		return problem.New(problem.Invalid, "Cannot link more than %d traces to a run in a single request. Provided %d traces.", MaxLinks, len(ids)).At("trace_ids")
	}
	if _, err := s.Tracking.Run(ctx, run); err != nil {
		return err
	}
	if len(ids) == 0 {
		return nil
	}
	return s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		q := newQuery(tx)
		q.Add(`INSERT INTO trace_run (workspace, run, trace) SELECT workspace, `, q.Arg(run), `, id FROM trace WHERE workspace = `, q.Arg(tx.Workspace), ` AND id IN (`, q.Args(ids), `)
			ON CONFLICT (workspace, run, trace) DO NOTHING`)
		_, err := tx.Exec(q.String(), q.Values...)
		return err
	})
}

// LinkPrompts ties versions of prompts to a trace.
func (s *Service) LinkPrompts(ctx context.Context, id string, list []Prompt) error {
	if len(list) > MaxPrompts {
		return problem.New(problem.Invalid, "A request links at most %d prompts to a trace; got %d.", MaxPrompts, len(list)).At("prompt_versions")
	}
	for _, p := range list {
		if !p.ok() {
			return problem.New(problem.Invalid, "A prompt has a name of 1 to %d characters without '/' and a version that is a number; got '%s' and '%s'.", MaxKey, problem.Clip(p.Name, 60), problem.Clip(p.Version, 20)).At("prompt_versions")
		}
	}
	return s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		if err := exists(tx, id); err != nil {
			return err
		}
		for _, p := range list {
			if err := linkPrompt(tx, id, p); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p Prompt) ok() bool {
	n, err := strconv.Atoi(p.Version)
	return p.Name != "" && len(p.Name) <= MaxKey && !strings.Contains(p.Name, "/") && clean(p.Name) == p.Name && err == nil && n > 0
}

// Deletion says which traces of an experiment go: those of IDs, or those begun at or before Until (milliseconds since
// 1970), the oldest first, at most Max of them (0: no bound but MaxDelete).
type Deletion struct {
	Experiment string
	IDs        []string
	Until      *int64
	Max        int
}

// Delete deletes traces for good and gives how many there were. Every transaction of it leaves an audit entry.
func (s *Service) Delete(ctx context.Context, d Deletion) (int, error) {
	switch {
	case len(d.IDs) == 0 && d.Until == nil:
		return 0, problem.New(problem.Invalid, "Either `max_timestamp_millis` or `trace_ids` must be specified.").At("max_timestamp_millis")
	case len(d.IDs) > 0 && d.Until != nil:
		return 0, problem.New(problem.Invalid, "Only one of `max_timestamp_millis` and `trace_ids` can be specified.").At("max_timestamp_millis")
	case len(d.IDs) > 0 && d.Max != 0:
		return 0, problem.New(problem.Invalid, "`max_traces` can't be specified if `trace_ids` is specified.").At("max_traces")
	case d.Max < 0:
		return 0, problem.New(problem.Invalid, "`max_traces` must be a positive integer, received %d.", d.Max).At("max_traces")
	}
	if err := few("request_ids", d.IDs); err != nil {
		return 0, err
	}
	if _, err := s.Tracking.Experiment(ctx, d.Experiment); err != nil {
		return 0, err
	}
	left := MaxDelete
	if d.Max > 0 {
		left = min(left, d.Max)
	}
	until := int64(0)
	if d.Until != nil {
		until = *d.Until
	}
	total := 0
	for left > 0 {
		n, found := 0, 0
		err := s.DB.Write(ctx, func(tx db.Scope) error {
			ids, err := doomed(tx, d.Experiment, d.IDs, until, min(left, deletedPerCommit))
			if n, found = 0, len(ids); err != nil || found == 0 {
				return err
			}
			n, err = s.drop(tx, d.Experiment, ids, d.Until)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("delete traces: %w", err)
		}
		total += n
		left -= n
		if found < deletedPerCommit || n == 0 {
			break
		}
	}
	if total > 0 {
		s.Log.InfoContext(ctx, "traces deleted", "experiment", d.Experiment, "traces", total)
	}
	return total, nil
}

// drop deletes the traces of ids with an audit entry that names them, or the time up to which all went.
func (s *Service) drop(tx db.Scope, experiment string, ids []string, until *int64) (int, error) {
	if err := bin.Held(tx, "experiment", experiment); err != nil {
		return 0, err
	}
	n, err := dropTraces(tx, experiment, ids)
	if err != nil {
		return 0, err
	}
	detail := map[string]any{"traces": n}
	if until != nil {
		detail["until"] = time.UnixMilli(max(earliest, min(latest, *until))).UTC()
	} else {
		detail["ids"] = ids
	}
	return int(n), audit.Record(tx, "trace.deleted", "experiment/"+experiment, detail)
}

// Purge deletes traces of an experiment that goes for good, some at a time; done says that there are no more.
func (s *Service) Purge(tx db.Scope, experiment string) (done bool, err error) {
	ids, err := doomed(tx, experiment, nil, latest+1, deletedPerCommit)
	if err != nil {
		return false, err
	}
	_, err = dropTraces(tx, experiment, ids)
	return len(ids) < deletedPerCommit, err
}
