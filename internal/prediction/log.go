package prediction

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of a Log. Dir and Logger are required.
type Options struct {
	Dir          string // folder of the segments; made when first needed
	Node         string // unique to the process, letters and digits; in the names of segments
	SegmentBytes int64  // size at which a segment is closed; default 16 MiB
	SyncEvery    time.Duration
	Ring         int // records that may wait in async mode; default 8192
	Logger       *slog.Logger
	Metrics      prometheus.Registerer // nil registers nothing
	Now          func() time.Time
}

// Log appends records. Make it with OpenLog; close it after the last Append.
//
// One lock covers a few microseconds per call: giving the identifier, the checksum and one copy to the file's memory or, where that is not to
// be had or the disk is strained, one write(2). That order is what
// makes identifiers a cursor. An async record has its identifier before its place: readers that go on behind the last
// identifier they saw stop below the first one that waits (bound).
type Log struct {
	o       Options
	mu      sync.Mutex
	clock   clock
	active  *segment
	spare   *segment   // the next active one, made before it is needed
	closed  []*segment // full or taken over, oldest first, waiting to be filed
	wait    []chan error
	stop    bool
	strain  int                   // syncs to come until the disk counts as calm
	refused map[string]string     // files that cannot be taken over, and why
	broken  atomic.Pointer[error] // the last failure to write or sync, nil after a success

	buffers sync.Pool
	queued  bool     // async was used, so that identifiers are not in the order of places
	pending []string // identifiers of what is in the ring, ascending
	ringMu  sync.Mutex
	ring    chan waiting
	ringEnd bool
	nudge   chan struct{}
	done    sync.WaitGroup
	quit    chan struct{}
	meter   meter

	appended, failed, dropped, torn, damaged, replayed prometheus.Counter
	synced                                             prometheus.Histogram
}

// OpenLog takes over what earlier processes left in the folder and is ready for Append. A folder that cannot be read or
// written is no error here: each Append tells.
func OpenLog(o Options) (*Log, error) {
	if o.Dir == "" || o.Logger == nil {
		return nil, errors.New("prediction log: folder and logger are required")
	}
	if o.Node == "" {
		o.Node = "node"
	}
	if strings.ContainsFunc(o.Node, func(c rune) bool { return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') }) {
		return nil, fmt.Errorf("prediction log: node %q is not letters and digits", o.Node)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 16 << 20
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = 40 * time.Millisecond
	}
	if o.Ring == 0 {
		o.Ring = 8192
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{o: o, clock: clock{now: o.Now}, ring: make(chan waiting, o.Ring), nudge: make(chan struct{}, 1), quit: make(chan struct{})}
	l.buffers.New = func() any { return new([]byte) }
	counter := func(name, help string) prometheus.Counter {
		return registered(o.Metrics, prometheus.NewCounter(prometheus.CounterOpts{Namespace: "keelson", Subsystem: "prediction_log", Name: name, Help: help}))
	}
	l.appended = counter("records_total", "Predictions written to the log.")
	l.failed = counter("failures_total", "Predictions that could not be written.")
	l.dropped = counter("dropped_total", "Predictions dropped by durability async because the queue was full.")
	l.torn = counter("torn_bytes_total", "Bytes taken out of segments because they are torn or damaged.")
	l.damaged = counter("damaged_total", "Places in segments where bytes were torn or damaged.")
	l.replayed = counter("replayed_total", "Predictions taken over from processes that died.")
	l.synced = registered(o.Metrics, prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "keelson", Subsystem: "prediction_log", Name: "sync_seconds",
		Help: "How long the disk took to bring the log's latest records to safety.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}}))
	l.Adopt()
	l.done.Add(2)
	go l.syncLoop()
	go l.ringLoop()
	return l, nil
}

// registered gives the collector that stands for c in the registry: c, or the one of a log opened before.
func registered[C prometheus.Collector](r prometheus.Registerer, c C) C {
	var have prometheus.AlreadyRegisteredError
	if r != nil && errors.As(r.Register(c), &have) {
		return have.ExistingCollector.(C)
	}
	return c
}

// Adopt takes over segments in the folder that no process holds any more.
func (l *Log) Adopt() {
	names, err := filepath.Glob(filepath.Join(l.o.Dir, "*"+segmentExt))
	if err != nil {
		return
	}
	slices.Sort(names)
	for _, name := range names {
		if l.holds(name) {
			continue
		}
		s, lost, err := adopt(name)
		if err != nil {
			if text := err.Error(); l.refuse(name, text) {
				l.o.Logger.Error("a segment of the prediction log cannot be taken over", "file", filepath.Base(name), "error", err)
			}
			continue
		}
		if s == nil {
			continue
		}
		l.torn.Add(float64(lost.bytes))
		l.damaged.Add(float64(len(lost.parts)))
		l.replayed.Add(float64(s.frames.Load()))
		l.o.Logger.Info("segment taken over", "segment", s.id, "predictions", s.frames.Load(), "torn_bytes", lost.bytes, "damaged_places", len(lost.parts))
		l.mu.Lock()
		l.clock.last = max(l.clock.last, tickOf(string(s.highest)))
		l.closed = append(l.closed, s)
		l.mu.Unlock()
	}
}

// refuse remembers why a file cannot be taken over; false when it was the same before, so that it is told once.
func (l *Log) refuse(path, why string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused[path] == why {
		return false
	}
	if l.refused == nil {
		l.refused = map[string]string{}
	}
	l.refused[path] = why
	return true
}

func (l *Log) holds(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active != nil && l.active.path == path || l.spare != nil && l.spare.path == path || slices.ContainsFunc(l.closed, func(s *segment) bool { return s.path == path })
}

// ErrUnsynced says of an error that the record was written, but that it is not known to be on disk: the disk failed, or
// who appended did not wait.
var ErrUnsynced = errors.New("written, but not known to be on disk")

// Append writes r and sets r.ID and r.At. With Group the record survives the death of the process, with Sync that of the
// machine, when Append has returned nil. After an error nothing was written, unless it is ErrUnsynced: then the record has
// its identifier and is as safe as with Group at least, or will be lost with the machine.
func (l *Log) Append(ctx context.Context, r *Record, durability string) error {
	buffer := l.buffers.Get().(*[]byte)
	frame := appendFrame((*buffer)[:0], r)
	defer func() {
		if cap(frame) <= 1<<20 {
			*buffer = frame[:0]
			l.buffers.Put(buffer)
		}
	}()
	if len(frame) > maxFrame {
		return fmt.Errorf("a prediction of %d bytes is too large for the log", len(frame))
	}
	if durability == Async {
		return l.queue(r, frame)
	}
	var done chan error
	l.mu.Lock()
	id, at := stamp(frame, &l.clock, time.Time{})
	err := l.writeLocked(frame, 1)
	if err == nil && durability == Sync {
		done = make(chan error, 1)
		l.wait = append(l.wait, done)
	}
	l.mu.Unlock()
	if err != nil {
		return l.fail(err)
	}
	r.ID, r.At = id, at
	l.appended.Inc()
	l.meter.count(r)
	return l.await(ctx, done)
}

// AppendAll writes several records at once, all or none, and waits until they are on disk. A record whose At is set
// keeps it. Errors are those of Append.
func (l *Log) AppendAll(ctx context.Context, list []Record) error {
	if len(list) == 0 {
		return nil
	}
	var b []byte
	ends := make([]int, len(list))
	for i := range list {
		b = appendFrame(b, &list[i])
		ends[i] = len(b)
	}
	done := make(chan error, 1)
	l.mu.Lock()
	start := 0
	for i := range list {
		list[i].ID, list[i].At = stamp(b[start:ends[i]], &l.clock, list[i].At)
		start = ends[i]
	}
	err := l.writeLocked(b, len(list))
	if err == nil {
		l.wait = append(l.wait, done)
	}
	l.mu.Unlock()
	if err != nil {
		return l.fail(err)
	}
	l.appended.Add(float64(len(list)))
	for i := range list {
		l.meter.count(&list[i])
	}
	return l.await(ctx, done)
}

func (l *Log) fail(err error) error {
	l.failed.Inc()
	l.broken.Store(&err)
	return fmt.Errorf("write the prediction log: %w", err)
}

// Healthy gives the failure that stopped the last write or sync, nil when it went well.
func (l *Log) Healthy() error {
	if p := l.broken.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *Log) await(ctx context.Context, done chan error) error {
	if done == nil {
		return nil
	}
	select {
	case l.nudge <- struct{}{}:
	default:
	}
	select {
	case err := <-done:
		if err != nil {
			return l.fail(fmt.Errorf("%w: %w", ErrUnsynced, err))
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the prediction log: %w: %w", ErrUnsynced, ctx.Err())
	}
}

// writeLocked puts stamped frames into the active segment, opening or changing it where needed.
func (l *Log) writeLocked(frames []byte, count int) error {
	if l.stop {
		return errors.New("the log is closed")
	}
	if s := l.active; s != nil && s.frames.Load() > 0 && s.size.Load()+int64(len(frames)) > l.o.SegmentBytes {
		_ = l.replaceLocked() // where there is no room for the next one this one grows
	}
	if l.active == nil {
		s, err := l.nextLocked()
		if err != nil {
			return err
		}
		l.active = s
	}
	broken, err := l.active.write(frames, count, l.strain > 0)
	if broken {
		l.rotateLocked()
	}
	if err == nil && l.broken.Load() != nil {
		l.broken.Store(nil)
	}
	return err
}

func (l *Log) rotateLocked() {
	if l.active != nil {
		l.closed = append(l.closed, l.active)
		l.active = nil
	}
}

// replaceLocked closes the active segment once the next one is there with its room reserved. On a full disk it stays:
// its own reserve is all there is.
func (l *Log) replaceLocked() error {
	next, err := l.nextLocked()
	if err != nil {
		return fmt.Errorf("close a segment of the prediction log: there is no room for the next one: %w", err)
	}
	l.rotateLocked()
	l.active = next
	return nil
}

// nextLocked gives an empty segment: the spare one, or else a new one, for which everybody waits.
func (l *Log) nextLocked() (*segment, error) {
	s := l.spare
	if s == nil {
		return newSegment(l.o.Dir, l.o.Node, l.o.SegmentBytes, l.o.Now())
	}
	l.spare = nil
	s.created = l.o.Now()
	return s, nil
}

// prepare makes the next segment while the active one has room: making it waits for the disk, which calls must not.
func (l *Log) prepare() {
	l.mu.Lock()
	wanted := l.spare == nil && l.active != nil && l.active.size.Load() > l.o.SegmentBytes/2
	l.mu.Unlock()
	if !wanted {
		return
	}
	s, err := newSegment(l.o.Dir, l.o.Node, l.o.SegmentBytes, l.o.Now())
	if err != nil {
		return // it is met again, and told, when the segment is needed
	}
	if err := s.file.Sync(); err != nil { // what it is has to be on disk before its records are
		_ = s.remove() // the next one is made anew
		return
	}
	l.mu.Lock()
	l.spare = s
	l.mu.Unlock()
}

// trim gives back what closed segments reserved and did not use: while they cannot be filed there may be many.
func (l *Log) trim() {
	l.mu.Lock()
	var some []*segment
	for _, s := range l.closed {
		if !s.trimmed {
			s.trimmed = true
			some = append(some, s)
		}
	}
	l.mu.Unlock()
	for _, s := range some {
		_ = s.trim() // one that is filed and gone by now needs it no more
	}
}

// Rotate closes the active segment if it has records older than age, so that it can be filed. When the next one cannot be
// made it stays as it is, and the error says so.
func (l *Log) Rotate(age time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.active; s != nil && s.frames.Load() > 0 && l.o.Now().Sub(s.created) >= age {
		return l.replaceLocked()
	}
	return nil
}

// waiting is a frame in the ring, or a question when everything before it is written.
type waiting struct {
	frame []byte
	done  chan struct{}
}

// queue is Append in async mode. The identifier is given under the same lock as the place in the queue; only queue puts
// frames in, so one that is not full takes the next.
func (l *Log) queue(r *Record, frame []byte) error {
	own := slices.Clone(frame)
	l.ringMu.Lock()
	defer l.ringMu.Unlock()
	if l.ringEnd {
		return errors.New("write the prediction log: the log is closed")
	}
	full := len(l.ring) == cap(l.ring)
	l.mu.Lock()
	r.ID, r.At = stamp(own, &l.clock, time.Time{})
	l.queued = true
	if !full {
		l.pending = append(l.pending, r.ID)
	}
	l.mu.Unlock()
	l.meter.count(r)
	if full {
		l.dropped.Inc()
	} else {
		l.ring <- waiting{frame: own}
	}
	return nil
}

// drain waits until everything that was queued before is written or counted as dropped.
func (l *Log) drain(ctx context.Context) error {
	l.ringMu.Lock()
	l.mu.Lock()
	idle := len(l.pending) == 0
	l.mu.Unlock()
	if idle || l.ringEnd {
		l.ringMu.Unlock()
		return nil
	}
	done := make(chan struct{})
	l.ring <- waiting{done: done} // has room in a moment: who empties the ring does not need this lock
	l.ringMu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the queue of the prediction log: %w", ctx.Err())
	}
}

func (l *Log) ringLoop() {
	defer l.done.Done()
	for {
		select {
		case w := <-l.ring:
			l.place(w)
		case <-l.quit:
			for {
				select {
				case w := <-l.ring:
					l.place(w)
				default:
					return
				}
			}
		}
	}
}

// place writes what comes out of the ring.
func (l *Log) place(w waiting) {
	if w.done != nil {
		close(w.done)
		return
	}
	l.mu.Lock()
	err := l.writeLocked(w.frame, 1)
	l.pending = l.pending[1:]
	l.mu.Unlock()
	if err != nil {
		l.dropped.Inc()
		l.broken.Store(&err)
	} else {
		l.appended.Inc()
	}
}

// bound gives an identifier below which everything that will ever be written by this process is written; "" where
// identifiers are in the order of places, so that no bound is needed. It must be asked for before segments are looked at.
func (l *Log) bound() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.queued:
		return ""
	case len(l.pending) > 0:
		return l.pending[0]
	}
	var id [idLen]byte
	l.clock.next(id[:]) // one of its own, above all that were given and below all that will be
	return string(id[:])
}

func (l *Log) syncLoop() {
	defer l.done.Done()
	tick := time.NewTicker(l.o.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.nudge:
		case <-l.quit:
			return
		}
		l.sync()
		l.prepare()
		l.trim()
	}
}

// sync brings everything written so far to disk and wakes those who wait for it.
func (l *Log) sync() {
	l.mu.Lock()
	wait := l.wait
	l.wait = nil
	var dirty []*segment
	for _, s := range append(slices.Clone(l.closed), l.active) {
		if s != nil && s.dirty {
			s.dirty = false
			dirty = append(dirty, s)
		}
	}
	l.mu.Unlock()
	var err error
	start := time.Now()
	for _, s := range dirty {
		if e := s.file.Sync(); e != nil && !errors.Is(e, os.ErrClosed) {
			err = errors.Join(err, e)
			l.o.Logger.Error("the prediction log could not be synced", "segment", s.id, "error", e)
		}
	}
	l.rest(len(dirty) > 0, time.Since(start))
	if err != nil {
		// After a failed fsync the kernel may have dropped the pages: nothing more goes into these files.
		l.failed.Inc()
		l.broken.Store(&err)
		l.mu.Lock()
		if slices.Contains(dirty, l.active) {
			l.rotateLocked()
		}
		l.mu.Unlock()
	}
	for _, w := range wait {
		w <- err
	}
}

// A sync that takes longer than slowSync means a disk that keeps who writes to it waiting. For the next strainedSyncs
// syncs, about a quarter of a minute, records are then written by calls of the system.
const (
	slowSync      = 50 * time.Millisecond
	strainedSyncs = 400
)

// rest notes how the disk bore a sync.
func (l *Log) rest(synced bool, took time.Duration) {
	if synced {
		l.synced.Observe(took.Seconds())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case took > slowSync:
		l.strain = strainedSyncs
	case l.strain > 0:
		l.strain--
	}
}

// segments gives all segments of this process, oldest first, for readers; full gives only those to be filed.
func (l *Log) segments() (all, full []*segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full = slices.Clone(l.closed)
	all = full
	if l.active != nil {
		all = append(slices.Clone(full), l.active)
	}
	return all, full
}

// read gives the frames of s that may hold identifiers above after.
func (l *Log) read(s *segment, after string) ([]byte, error) {
	l.mu.Lock()
	from, to := s.span(after)
	l.mu.Unlock()
	return s.bytes(from, to)
}

// readOf gives frames of s that may hold identifiers above after, one behind the other: those of one endpoint, and where
// they are much of the segment the others too.
func (l *Log) readOf(s *segment, workspace, endpoint, after string) ([]byte, error) {
	l.mu.Lock()
	from, to := s.span(after)
	var list []extent
	if of := s.extents[string(extentKey(nil, []byte(workspace), []byte(endpoint)))]; of != nil {
		list = *of
	}
	l.mu.Unlock()
	first := sort.Search(len(list), func(i int) bool { return list[i].at >= from })
	size := int64(0)
	for _, p := range list[first:] {
		size += int64(p.size)
	}
	if size > (to-from)/8 {
		return s.bytes(from, to)
	}
	out := make([]byte, size)
	rest := out
	for _, p := range list[first:] {
		if _, err := s.file.ReadAt(rest[:p.size], p.at); err != nil {
			return nil, fmt.Errorf("read segment %s: %w", s.id, err)
		}
		rest = rest[p.size:]
	}
	return out, nil
}

// tear keeps and counts what is damaged in a segment of this process.
func (l *Log) tear(s *segment, lost damage) error {
	if lost.bytes == 0 {
		return nil
	}
	if err := keepTorn(s.path+tornExt, lost.parts); err != nil {
		return fmt.Errorf("keep what is damaged in %s: %w", filepath.Base(s.path), err)
	}
	l.torn.Add(float64(lost.bytes))
	l.damaged.Add(float64(len(lost.parts)))
	l.o.Logger.Error("a segment of the prediction log is damaged; what can be read of it is filed", "segment", s.id, "torn_bytes", lost.bytes, "damaged_places", len(lost.parts))
	return nil
}

// drop removes a segment that has been filed.
func (l *Log) drop(s *segment) error {
	l.mu.Lock()
	l.closed = slices.DeleteFunc(l.closed, func(o *segment) bool { return o == s })
	l.mu.Unlock()
	return s.remove()
}

// Close writes what is queued, syncs and gives the segments free. Append fails afterwards.
func (l *Log) Close() error {
	l.ringMu.Lock()
	ended := l.ringEnd
	l.ringEnd = true
	l.ringMu.Unlock()
	if ended {
		return nil
	}
	close(l.quit)
	l.done.Wait()
	l.mu.Lock()
	l.stop = true
	spare := l.spare
	l.spare = nil
	l.mu.Unlock()
	l.sync()
	all, _ := l.segments()
	var err error
	if spare != nil {
		err = spare.remove()
	}
	for _, s := range all {
		err = errors.Join(err, s.trim(), s.close())
	}
	return err
}
