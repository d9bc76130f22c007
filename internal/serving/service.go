package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/engine/reason"
	"keelson/internal/event"
	"keelson/internal/journal"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/seal"
	"keelson/internal/tensor"
)

// Stored is a release as its keeper has it: nothing in it is believed before its signature is checked.
type Stored struct {
	Workspace, Endpoint string
	Serial              int64
	Envelope            string
}

// Releases gives the newest envelopes of every endpoint of all workspaces, some per endpoint.
type Releases interface {
	Releases(ctx context.Context) ([]Stored, error)
}

// Incidents hears of what serving would not do. ctx carries the workspace; the same trouble is told again at most every
// ten minutes.
type Incidents interface {
	Refused(ctx context.Context, endpoint, why string) error
	Panicked(ctx context.Context, endpoint, model, why string) error
}

// Service serves. Releases, Key, Blobs, Engines, Log, Incidents, Logger and Now are required.
type Service struct {
	Releases  Releases
	Key       seal.Public
	Blobs     blob.Store
	Engines   *engine.Set
	Log       *prediction.Log
	Incidents Incidents
	Logger    *slog.Logger
	Now       func() time.Time
	Metrics   *Metrics      // from NewMetrics; nil counts nothing
	Poll      time.Duration // how often releases are looked at; default 3 s
	Verify    time.Duration // how often the files of loaded versions are looked at; default 30 s
	// VerifyBytes is how much of the files that nothing says were touched is read per look; default 32 MiB.
	VerifyBytes int64
	Limits      engine.Limits
	// Background gives inputs of earlier decisions of a version at an endpoint, newest first, for explaining models that
	// cannot explain themselves. nil explains only those that can.
	Background func(ctx context.Context, endpoint string, version int) ([][]tensor.Tensor, error)
	// Page gives the address of a page of the web interface, where a decision can be contested; nil names none.
	Page func(path string) string
	// HashKey is the installation's key of the hashes that stand in the log for redacted values where the release asks.
	HashKey []byte
	// StateFile keeps the envelopes in force across restarts, so that a release that was taken back by removing its row
	// stays in force and an older one does not come back. Empty keeps nothing.
	StateFile string

	table    atomic.Pointer[table]
	refresh  sync.Mutex
	versions map[string]*version // by files; under refresh
	asides   map[string]*aside   // loads aside, by files; under refresh
	life     context.Context     // ends with Run
	end      context.CancelFunc
	stopping bool // under refresh
	told     map[string]time.Time
	tellMu   sync.Mutex
	nudge    chan struct{}
	checks   checks
	once     sync.Once
	calls    atomic.Uint64
	shadows  chan shadowCall
	closers  sync.WaitGroup
	read     bool // the state file was looked at; under refresh
	looked   atomic.Bool
	held     atomic.Bool
}

func (s *Service) init() {
	s.once.Do(func() {
		s.nudge = make(chan struct{}, 1)
		s.shadows = make(chan shadowCall, 256)
		s.versions = map[string]*version{}
		s.asides = map[string]*aside{}
		s.life, s.end = context.WithCancel(context.Background())
		s.told = map[string]time.Time{}
		s.table.CompareAndSwap(nil, &table{})
	})
}

// Run keeps up with releases and verifies files until ctx ends; then it waits for shadow calls and unloads.
func (s *Service) Run(ctx context.Context) error {
	s.init()
	if s.Poll == 0 {
		s.Poll = 3 * time.Second
	}
	if s.Verify == 0 {
		s.Verify = 30 * time.Second
	}
	ctx = caller.System(ctx, "serving")
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() { s.shadowLoop(ctx) })
	}
	poll, verify := time.NewTicker(s.Poll), time.NewTicker(s.Verify)
	defer poll.Stop()
	defer verify.Stop()
	for {
		if err := s.Refresh(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "releases could not be read; what is in force goes on", "error", err)
		}
		select {
		case <-ctx.Done():
			done.Wait()
			return s.unload()
		case <-s.nudge:
		case <-poll.C:
		case <-verify.C:
			s.VerifyLoaded(ctx)
		}
	}
}

// Released is the reaction to the event of a new release: serving looks at once.
func (s *Service) Released(context.Context, event.Event) error {
	s.init()
	select {
	case s.nudge <- struct{}{}:
	default:
	}
	return nil
}

func (s *Service) unload() error {
	defer s.closers.Wait() // loads that are under way need the lock to end
	s.refresh.Lock()
	defer s.refresh.Unlock()
	s.stopping = true
	s.end()
	empty := table{}
	s.table.Store(&empty)
	var err error
	for _, v := range s.versions {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = errors.Join(err, v.close(ctx))
		cancel()
	}
	clear(s.versions)
	return err
}

// Infer answers a call. Its answer has no ID when the release leaves the call out of the log. Errors are problems: NotFound for an unknown endpoint or version, Unavailable for one that is
// suspended, expired or broken and when the log cannot be written, Invalid for inputs that do not fit, TooLarge beyond
// the release's limits.
func (s *Service) Infer(ctx context.Context, c *Call) (Answer, error) {
	for {
		if !s.looked.Load() {
			return Answer{}, starting()
		}
		e, err := s.table.Load().find(c.Workspace, c.Endpoint)
		if err != nil {
			return Answer{}, err
		}
		if err := e.ready(s.Now()); err != nil {
			e.meter.Missed(journal.Unavailable)
			return Answer{}, err
		}
		if purpose, forbidden := e.doc.Limits.Forbids(append([]string{c.Purpose}, c.Stamped...)...); forbidden {
			e.meter.Missed(journal.Invalid)
			s.Logger.WarnContext(ctx, "call refused: its purpose is forbidden", "endpoint", e.doc.Endpoint, "purpose", purpose, "by", c.Caller, "application", c.Application)
			return Answer{}, problem.New(problem.Forbidden, "%s must not be asked for the purpose %q; its release forbids it.", e.doc.Endpoint, purpose).At("parameters.purpose").Suspect("forbidden-purpose")
		}
		var chosen *slot
		place := s.place(c)
		if c.Version != "" {
			if chosen, err = e.byVersion(c.Version); err != nil {
				e.meter.Missed(journal.Invalid)
				return Answer{}, err
			}
		} else if chosen = e.pick(place); c.misread(chosen) {
			chosen = e.live()
		}
		if !chosen.version.enter() {
			continue // the table has changed under this call
		}
		sent := c.Inputs
		answer, err := s.infer(ctx, c, e, chosen)
		chosen.version.leave()
		if len(e.shadows) > 0 && err == nil {
			if c.Layout == nil {
				c.Inputs = sent // each takes them in its own way
			}
			s.shadow(c, e, chosen, place, answer.ID)
		}
		return answer, err
	}
}

// named fails when an input comes under a name that the model does not have. Engines of matrices read the only tensor of a
// call whatever its name is, so that the mistake would be answered; others would say which of their own they miss.
func named(in []tensor.Tensor, specs []engine.Spec) error {
	if len(specs) > 1 {
		for i := range in {
			if i < len(specs) && in[i].Name == specs[i].Name || slices.ContainsFunc(specs, func(s engine.Spec) bool { return s.Name == in[i].Name }) {
				continue
			}
			return problem.New(problem.Invalid, "The model has no input %q; it takes %s.", clip(in[i].Name), inputNames(specs)).At(fmt.Sprintf("inputs[%d].name", i))
		}
		return nil
	}
	if len(in) != 1 || len(specs) != 1 {
		return nil
	}
	spec, name := &specs[0], in[0].Name
	if name == spec.Name || len(spec.Columns) == 1 && name == spec.Columns[0] {
		return nil
	}
	also := ""
	if len(spec.Columns) > 1 {
		also = ", or a tensor per column"
	}
	if in[0].Width() == 1 && slices.Contains(spec.Columns, name) {
		return problem.New(problem.Invalid, "%q is one of %d columns and came alone; send a tensor for each of them, or one matrix %q of all.", name, len(spec.Columns), spec.Name).At("inputs")
	}
	return problem.New(problem.Invalid, "The model has no input %q; it takes one tensor %q%s.", name, spec.Name, also).At("inputs[0].name")
}

// inputNames lists what a model takes, for a message.
func inputNames(specs []engine.Spec) string {
	const most = 12
	var list []string
	for _, s := range specs[:min(len(specs), most)] {
		list = append(list, strconv.Quote(clip(s.Name)))
	}
	if more := len(specs) - most; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

func starting() error {
	return problem.New(problem.Unavailable, "Serving is starting; try again in a moment.")
}

func (s *Service) place(c *Call) int {
	for _, key := range [...]string{c.RoutingKey, c.Subject, c.Request} {
		if key != "" {
			return bucket(c.Endpoint, key)
		}
	}
	return anyBucket(s.calls.Add(1))
}

func (s *Service) infer(ctx context.Context, c *Call, e *endpoint, chosen *slot) (Answer, error) {
	var err error
	if c.Layout != nil {
		if c.Inputs, err = c.Layout(chosen.signature); err != nil {
			chosen.metrics.meter.Missed(causeOf(err))
			return Answer{}, err
		}
	}
	if limit := e.doc.Limits.MaxRows; limit > 0 {
		for i := range c.Inputs {
			if rows := c.Inputs[i].Rows(); int64(rows) > limit {
				chosen.metrics.meter.Missed(journal.Invalid)
				return Answer{}, problem.New(problem.TooLarge, "The request has %d rows; %s takes %d at once.", rows, e.doc.Endpoint, limit).At(fmt.Sprintf("inputs[%d].shape", i))
			}
		}
	}
	if err = named(c.Inputs, chosen.signature.Inputs); err == nil {
		c.Inputs, err = chosen.take(c.Inputs)
	}
	if err != nil {
		chosen.metrics.meter.Missed(journal.Invalid)
		return Answer{}, err
	}
	until := c.Deadline
	if ms := e.doc.Limits.TimeoutMS; ms > 0 {
		if own := c.Start.Add(time.Duration(ms) * time.Millisecond); until.IsZero() || own.Before(until) {
			until = own
		}
	}
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	if err := e.callers.admit(c.Caller); err != nil {
		chosen.metrics.refused.Inc()
		chosen.metrics.meter.Missed(journal.Quota)
		return Answer{}, err
	}
	if err := e.gate.enter(ctx); err != nil {
		chosen.metrics.refuse(err)
		return Answer{}, err
	}
	defer e.gate.leave()
	r := c.record(e, chosen, chosen.Kind)
	outputs, fired, compute, err := s.predict(ctx, c.Inputs, e, chosen)
	r.Compute = compute
	r.SetFired(fired)
	if err != nil {
		err = s.failed(ctx, err, e, chosen)
		chosen.metrics.fail(s.Now().Sub(c.Start), causeOf(err))
		if k := problem.KindOf(err); k == problem.Invalid || k == problem.TooLarge || errors.Is(err, context.Canceled) {
			return Answer{}, err // nothing was decided
		}
		r.Error = chosen.words(err)
	}
	var why *reason.Explanation
	if c.Explain != 0 && err == nil {
		if why, err = s.reasons(ctx, c, e, chosen); err != nil {
			err = s.failed(ctx, err, e, chosen)
			chosen.metrics.fail(s.Now().Sub(c.Start), causeOf(err))
			return Answer{}, err // the caller got no answer, so nothing was decided
		}
	}
	decider, _ := chosen.version.model.(engine.Decider)
	r.Outputs = outputs
	r.Latency = s.Now().Sub(c.Start)
	if share := e.doc.Limits.Unlogged; share > 0 && err == nil && rand.Float64()*100 < share {
		chosen.metrics.observe(r.Latency, compute, r.Rows, s.Now())
		return Answer{Model: e.doc.Model, Version: chosen.Version, Slot: chosen.Kind, Outputs: outputs, Fired: r.Fired, Explanation: why, Decider: decider}, nil
	}
	chosen.redact.Apply(&r)
	// What was decided is on record whatever became of the call's own time.
	if logErr := s.Log.Append(context.WithoutCancel(ctx), &r, e.doc.Durability); logErr != nil {
		chosen.metrics.meter.Missed(journal.Log)
		s.Logger.ErrorContext(ctx, "prediction not logged, answer withheld", "endpoint", e.doc.Endpoint, "error", logErr)
		return Answer{}, problem.New(problem.Unavailable, "The prediction log of %s cannot be written, so the answer is withheld; try again later.", e.doc.Endpoint).Because(logErr)
	}
	if err != nil {
		return Answer{ID: r.ID}, err
	}
	chosen.metrics.observe(r.Latency, compute, r.Rows, s.Now())
	if why != nil && s.Page != nil {
		why.Contest = s.Page("/predictions/" + r.ID)
	}
	return Answer{ID: r.ID, Model: e.doc.Model, Version: chosen.Version, Slot: chosen.Kind, Outputs: outputs, Fired: r.Fired, Explanation: why, Decider: decider}, nil
}

// predict calls the engine; a panic becomes an error.
func (s *Service) predict(ctx context.Context, in []tensor.Tensor, e *endpoint, chosen *slot) (out []tensor.Tensor, fired []engine.Trace, took time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.fell(ctx, p, e, chosen)
		}
	}()
	begin := time.Now()
	switch t := chosen.version.tracer; {
	case t != nil:
		out, fired, err = t.PredictTrace(ctx, in)
	case chosen.batch != nil:
		out, err = chosen.batch.predict(ctx, in)
	default:
		out, err = chosen.version.model.Predict(ctx, in)
	}
	return out, fired, time.Since(begin), err
}

// fell reports that a model panicked.
func (s *Service) fell(ctx context.Context, p any, e *endpoint, chosen *slot) error {
	said, stack := p, ""
	if chosen.redact != nil {
		said, stack = fmt.Sprintf("%T, its words %s", p, leftOut), frames()
	} else {
		stack = string(debug.Stack())
	}
	s.Logger.ErrorContext(ctx, "an engine panicked", "endpoint", e.doc.Endpoint, "version", chosen.Version, "panic", said, "stack", stack)
	s.tell(caller.WithWorkspace(ctx, e.doc.Workspace), e.doc.Workspace+" panic "+e.doc.Endpoint, func(ctx context.Context) error {
		return s.Incidents.Panicked(ctx, e.doc.Endpoint, e.doc.Model, fmt.Sprintf("Version %d took its engine down: %v.", chosen.Version, said))
	})
	return panicked(said)
}

// reasons explains the answer to a call; a panic becomes an error.
func (s *Service) reasons(ctx context.Context, c *Call, e *endpoint, chosen *slot) (why *reason.Explanation, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.fell(ctx, p, e, chosen)
		}
	}()
	var background reason.Background
	if s.Background != nil && chosen.redact == nil { // what is left out of the log cannot be compared with
		background = func(ctx context.Context) ([][]tensor.Tensor, error) {
			return s.Background(caller.WithWorkspace(ctx, c.Workspace), e.doc.Endpoint, chosen.Version)
		}
	}
	out, err := reason.Explain(ctx, chosen.version.model, chosen.signature, c.Inputs, c.Explain, background)
	return &out, err
}

// Default protection of an endpoint whose release sets none.
const (
	defaultConcurrent = 64
	defaultQueue      = 1024
)

// failed turns an engine's failure into what the caller may read.
func (s *Service) failed(ctx context.Context, err error, e *endpoint, chosen *slot) error {
	var p *problem.Error
	switch {
	case errors.As(err, &p):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return problem.New(problem.Unavailable, "Version %d of %s did not answer within the time that its release or the caller allows; send fewer rows, or allow more time.", chosen.Version, e.doc.Endpoint).Because(err)
	case errors.Is(err, context.Canceled):
		return err
	}
	if chosen.redact != nil {
		err = fmt.Errorf("%T, its words %s", err, leftOut)
	}
	s.Logger.ErrorContext(ctx, "a model failed", "endpoint", e.doc.Endpoint, "version", chosen.Version, "error", err)
	return fmt.Errorf("predict with version %d of %s: %w", chosen.Version, e.doc.Endpoint, err)
}

// words is what the record says of a failure.
func (s *slot) words(err error) string {
	if s.redact == nil || errors.Is(err, context.DeadlineExceeded) {
		return err.Error()
	}
	return fmt.Sprintf("The version failed (%s); its words are %s.", problem.KindOf(err), leftOut)
}

// lastShadowsTime is what a stopping process spends on calls that wait for a shadow.
const lastShadowsTime = 3 * time.Second

// shadowCall is a copy of a call for a shadow slot.
type shadowCall struct {
	call   Call
	e      *endpoint
	slot   *slot
	answer string
}

// shadow hands copies of a call that chosen answered to the shadow slots; a full queue drops them and counts.
func (s *Service) shadow(c *Call, e *endpoint, chosen *slot, place int, answer string) {
	for _, sh := range e.shadows {
		if place >= sh.Share*buckets/100 || c.misread(sh) || !sh.version.enter() {
			continue
		}
		copied := *c
		copied.Request = answer // the prediction that this one shadows
		var err error
		switch copied.Layout = nil; {
		case c.Layout == nil:
			copied.Inputs, err = sh.take(c.Inputs)
		case !reflect.DeepEqual(sh.signature.Inputs, chosen.signature.Inputs):
			copied.Inputs, err = c.Layout(sh.signature)
		}
		if err != nil { // made for other inputs than this version's
			sh.metrics.fail(0, causeOf(err))
			sh.version.leave()
			continue
		}
		select {
		case s.shadows <- shadowCall{copied, e, sh, answer}:
		default:
			sh.drop()
		}
	}
}

func (s *Service) shadowLoop(ctx context.Context) {
	for {
		select {
		case c := <-s.shadows:
			s.shadowOne(context.WithoutCancel(ctx), c)
		case <-ctx.Done():
			s.lastShadows(context.WithoutCancel(ctx))
			return
		}
	}
}

// lastShadows computes what still waits for a shadow when the process stops, for a while; what does not fit is dropped
// and counted, because the log can only be closed after it.
func (s *Service) lastShadows(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastShadowsTime)
	defer cancel()
	for {
		select {
		case c := <-s.shadows:
			if ctx.Err() == nil {
				s.shadowOne(ctx, c)
			} else {
				c.slot.drop()
			}
		default:
			return
		}
	}
}

// drop leaves a copy for a shadow uncomputed.
func (s *slot) drop() {
	s.version.leave()
	s.metrics.dropped.Inc()
	s.metrics.meter.Dropped()
}

func (s *Service) shadowOne(ctx context.Context, c shadowCall) {
	defer c.slot.version.leave()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	begin := s.Now()
	r := c.call.record(c.e, c.slot, prediction.SlotShadow)
	out, fired, compute, err := s.predict(ctx, c.call.Inputs, c.e, c.slot)
	if err != nil {
		c.slot.metrics.fail(s.Now().Sub(begin), causeOf(err))
		if k := problem.KindOf(err); k == problem.Invalid || k == problem.TooLarge {
			return // made for the live version's inputs, not this one's: nothing was decided
		}
		r.Error = c.slot.words(err)
	}
	r.Outputs, r.Compute, r.Latency = out, compute, s.Now().Sub(begin)
	r.SetFired(fired)
	c.slot.redact.Apply(&r)
	if err := s.Log.Append(context.WithoutCancel(ctx), &r, c.e.doc.Durability); err != nil {
		s.Logger.ErrorContext(ctx, "shadow prediction not logged", "endpoint", c.e.doc.Endpoint, "error", err)
		return
	}
	if err == nil {
		c.slot.metrics.observe(r.Latency, compute, r.Rows, s.Now())
	}
}

// Described is what an endpoint tells of itself.
type Described struct {
	Endpoint  string
	Model     string
	Platform  string   // the format of the version that answers
	Versions  []string // that answer, live first
	Signature engine.Signature
	MaxBytes  int64 // limit of a body, 0 leaves the server's own
}

// Describe tells about an endpoint, or about one version there. Its error is the endpoint's problem, as Infer's.
func (s *Service) Describe(workspace, endpoint, version string) (Described, error) {
	if !s.looked.Load() {
		return Described{}, starting()
	}
	e, err := s.table.Load().find(workspace, endpoint)
	if err != nil {
		return Described{}, err
	}
	if err := e.ready(s.Now()); err != nil {
		return Described{}, err
	}
	chosen := e.pick(buckets)
	if version != "" {
		if chosen, err = e.byVersion(version); err != nil {
			return Described{}, err
		}
	}
	d := Described{Endpoint: endpoint, Model: e.doc.Model, Platform: chosen.Format, Signature: chosen.signature, MaxBytes: e.doc.Limits.MaxBytes}
	for _, live := range []bool{true, false} {
		for _, r := range e.routed {
			if (r.Kind == release.SlotLive) == live {
				d.Versions = append(d.Versions, r.name)
			}
		}
	}
	return d, nil
}

// Missed counts a call that never reached Infer because it could not be read. An unknown endpoint counts nothing.
func (s *Service) Missed(workspace, endpoint string, err error) {
	if t := s.table.Load(); t != nil {
		if e := (*t)[name{workspace, endpoint}]; e != nil {
			e.meter.Missed(causeOf(err))
		}
	}
}

// MaxBytes is the release's limit of a body, 0 for none or an unknown endpoint.
func (s *Service) MaxBytes(workspace, endpoint string) int64 {
	if t := s.table.Load(); t != nil {
		if e := (*t)[name{workspace, endpoint}]; e != nil {
			return e.doc.Limits.MaxBytes
		}
	}
	return 0
}

// Ready says whether calls should be led to this process: it has looked at the releases once, and nobody holds it back.
func (s *Service) Ready() bool {
	return s.looked.Load() && !s.held.Load()
}

// Hold keeps Ready from saying yes while versions that take their time are loaded. What is loaded answers all the same.
func (s *Service) Hold(held bool) { s.held.Store(held) }

// tell reports once per ten minutes and key.
func (s *Service) tell(ctx context.Context, key string, report func(context.Context) error) {
	s.tellMu.Lock()
	if at, ok := s.told[key]; ok && s.Now().Sub(at) < 10*time.Minute {
		s.tellMu.Unlock()
		return
	}
	maps.DeleteFunc(s.told, func(_ string, at time.Time) bool { return s.Now().Sub(at) >= 10*time.Minute })
	s.told[key] = s.Now()
	s.tellMu.Unlock()
	if err := report(caller.System(context.WithoutCancel(ctx), "serving")); err != nil {
		s.Logger.ErrorContext(ctx, "an incident could not be reported", "about", key, "error", err)
		s.tellMu.Lock()
		delete(s.told, key)
		s.tellMu.Unlock()
	}
}
