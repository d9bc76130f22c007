package prediction

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
	"keelson/internal/usage"
)

// Run files segments as they become old or large and takes over those of processes that died, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if s.Log == nil {
		<-ctx.Done()
		return nil
	}
	ctx = caller.System(ctx, "prediction")
	tick := time.NewTicker(min(s.fileAfter()/4, 2*time.Second))
	defer tick.Stop()
	looked := s.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.Now().Sub(looked) > 10*time.Second {
			looked = s.Now()
			s.Log.Adopt()
			if err := s.dropTorn(ctx); err != nil && ctx.Err() == nil {
				s.Logger.WarnContext(ctx, "what was kept of damaged segments could not be removed", "error", err)
			}
		}
		if err := errors.Join(s.Log.Rotate(s.fileAfter()), s.fileAll(job.Gently(ctx))); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "the prediction log could not be filed; it stays in its segments", "error", err)
			select { // a store that is down is not asked again at once
			case <-ctx.Done():
				return nil
			case <-time.After(min(s.fileAfter(), 10*time.Second)):
			}
		}
	}
}

func (s *Service) fileAfter() time.Duration {
	if s.FileAfter == 0 {
		return 5 * time.Minute
	}
	return s.FileAfter
}

// File files everything that was appended before the call. What cannot be filed stays in its segments; the rest is filed
// all the same.
func (s *Service) File(ctx context.Context) error {
	if s.Log == nil {
		return nil
	}
	return errors.Join(s.Log.drain(ctx), s.Log.Rotate(0), s.fileAll(caller.System(ctx, "prediction")))
}

func (s *Service) fileAll(ctx context.Context) error {
	s.filing.Lock()
	defer s.filing.Unlock()
	_, full := s.Log.segments()
	var failed error
	for _, seg := range full { // one that cannot be filed does not keep the others
		if err := s.fileSegment(ctx, seg); err != nil {
			failed = errors.Join(failed, fmt.Errorf("file segment %s: %w", seg.id, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// place is where a group of records goes: one endpoint, one hour of arrival.
type place struct {
	workspace, endpoint string
	hour                time.Time
}

// name is the file's name in the blob store. It follows from the segment and the place, so that filing a segment again
// after a crash writes the same names.
func (p place) name(segment string) string {
	sum := sha256.Sum256([]byte(segment + "\x00" + p.workspace + "\x00" + p.endpoint + "\x00" + p.hour.Format(time.RFC3339)))
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0F|0x80, id[8]&0x3F|0x80 // UUIDv8
	prefix := ""
	if p.workspace != caller.DefaultWorkspace {
		prefix = "w/" + p.workspace + "/"
	}
	return fmt.Sprintf("%spredictions/%s/dt=%s/hour=%s/%s.parquet", prefix, p.endpoint, p.hour.Format("2006-01-02"), p.hour.Format("15"), id)
}

// fileSegment turns a closed segment into Parquet files, then into rows of prediction_file, then removes it.
func (s *Service) fileSegment(ctx context.Context, seg *segment) error {
	b, err := s.Log.read(seg, "")
	if err != nil {
		return err
	}
	groups := map[place]*[][]byte{}
	var lost damage
	var last place // that of the frame before, mostly the next one's too, and its bounds
	var into *[][]byte
	var from, to string
	for n := 0; len(b) > 0; n++ {
		if n%politeness == 0 {
			job.Breathe(ctx)
		}
		payload, rest, err := nextFrame(b)
		if errors.Is(err, errFrame) && lost.bytes == 0 { // the disk gives back something else than what was written
			good, what, err := salvage(slices.Concat([]byte(segmentMagic), b))
			if err != nil {
				return err
			}
			lost, b = what, good[min(len(segmentMagic), len(good)):]
			continue
		}
		if err != nil {
			return err
		}
		b = rest
		id, workspace, endpoint := peek(payload)
		if into == nil || string(workspace) != last.workspace || string(endpoint) != last.endpoint || string(id) < from || string(id) >= to {
			at, _ := idTime(string(id))
			last = place{string(workspace), string(endpoint), at.Truncate(time.Hour)}
			from, to = floorID(last.hour), floorID(last.hour.Add(time.Hour))
			if into = groups[last]; into == nil {
				into = new([][]byte)
				groups[last] = into
			}
		}
		*into = append(*into, payload)
	}
	places := make([]place, 0, len(groups))
	for p := range groups {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.workspace, b.workspace), cmp.Compare(a.endpoint, b.endpoint), a.hour.Compare(b.hour))
	})
	done, err := s.isFiled(ctx, places, seg.id)
	if err != nil {
		return err
	}
	if !done && len(places) > 0 {
		if err := s.fileGroups(ctx, seg, places, groups); err != nil {
			return err
		}
	}
	if err := s.Log.tear(seg, lost); err != nil {
		return err
	}
	return s.Log.drop(seg)
}

// dropTorn removes what was kept of damaged segments for too long, or since before the last erasure on any process.
func (s *Service) dropTorn(ctx context.Context) error {
	var below string
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		below, err = s.store.erasedBelow(tx.In(caller.DefaultWorkspace))
		return err
	}); err != nil {
		return err
	}
	_, err := dropTorn(s.Log.o.Dir, below)
	return err
}

// cover widens what is known of a file to one more line.
func (f *file) cover(l *line, first bool) {
	at := time.UnixMicro(l.at).UTC()
	if first {
		f.First, f.From, f.To = string(l.id), at, at
	}
	if at.Before(f.From) {
		f.From = at
	}
	if at.After(f.To) {
		f.To = at
	}
	f.DataRows += l.rows
	if version := int(l.version); first || f.version != version || f.model != string(l.texts[textModel]) {
		f.model, f.version = string(l.texts[textModel]), version
		f.Models = addModel(f.Models, f.model, version)
	}
}

// write makes the Parquet file of records, which next gives as writeParquet asks for them, puts it into the store under its name
// and fills in what is known of it.
func (s *Service) write(ctx context.Context, f *file, records int, next func(int, *line) error) error {
	f.Predictions = int64(records)
	return writeParquet(records, func(i int, l *line) error {
		if err := next(i, l); err != nil {
			return err
		}
		f.cover(l, i == 0)
		return nil
	}, func() { job.Breathe(ctx) }, func(made parquetFile) error {
		f.Bytes, f.Digest, f.Chunks = int64(len(made.bytes)), made.digest, made.chunks
		f.Last = f.Chunks[len(f.Chunks)-1].Last
		if err := s.Blobs.PutNamed(ctx, f.Name, bytes.NewReader(made.bytes)); err != nil {
			return fmt.Errorf("store %s: %w", f.Name, err)
		}
		return nil
	})
}

// isFiled tells whether a crash came between filing the segment and removing it, or another process took the segment over
// after such a crash and its files may even have been purged since. All workspaces are filed at once, so the first tells.
func (s *Service) isFiled(ctx context.Context, places []place, segment string) (done bool, err error) {
	if len(places) == 0 {
		return true, nil
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		done, err = s.store.filed(tx.In(places[0].workspace), segment)
		return err
	})
	return done, err
}

var errFiled = errors.New("the segment has been filed by another process")

func (s *Service) fileGroups(ctx context.Context, seg *segment, places []place, groups map[place]*[][]byte) error {
	files := make([]file, len(places))
	uses := make([]counting, len(places))
	for i, p := range places {
		payloads := *groups[p]
		byID := func(a, b []byte) int { return bytes.Compare(a[1:1+idLen], b[1:1+idLen]) }
		if !slices.IsSortedFunc(payloads, byID) {
			slices.SortStableFunc(payloads, byID)
		}
		files[i] = file{ID: db.NewID(), Endpoint: p.endpoint, Name: p.name(seg.id), Segment: seg.id, Created: s.Now()}
		err := s.write(ctx, &files[i], len(payloads), func(k int, l *line) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := l.split(payloads[k]); err != nil {
				return err
			}
			uses[i].add(l)
			return nil
		})
		if err != nil {
			return err
		}
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		if done, err := s.store.filed(tx.In(places[0].workspace), seg.id); err != nil || done {
			return errors.Join(err, errFiled)
		}
		for i, f := range files {
			scope := tx.In(places[i].workspace)
			if i == 0 || places[i-1].workspace != places[i].workspace {
				if err := s.store.markFiled(scope, seg.id, s.Now()); err != nil {
					return err
				}
			}
			if err := s.index(scope, f, uses[i].all()); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errFiled) {
		return nil
	}
	if err == nil {
		s.Logger.InfoContext(ctx, "segment filed", "segment", seg.id, "predictions", seg.frames.Load(), "files", len(files))
	}
	return err
}

// index writes what SQL knows of a file: its row, who called, what it cost, and its digest for the audit.
func (s *Service) index(tx db.Scope, f file, uses map[useKey]useCount) error {
	if err := s.store.insertFile(tx, f); err != nil {
		return err
	}
	calls, compute := map[string]int64{}, map[string]int64{}
	for k, c := range uses {
		if err := s.store.addUse(tx, k, c); err != nil {
			return err
		}
		calls[k.Model] += c.Calls
		compute[k.Model] += c.ComputeUS
	}
	ref := "prediction-file/" + f.ID
	for _, model := range slices.Sorted(func(yield func(string) bool) {
		for m := range calls {
			if !yield(m) {
				return
			}
		}
	}) {
		if err := errors.Join(usage.Book(tx, model, usage.Calls, float64(calls[model]), ref),
			usage.Book(tx, model, usage.ComputeSeconds, float64(compute[model])/1e6, ref)); err != nil {
			return err
		}
	}
	return audit.Record(tx, "prediction.filed", ref, map[string]any{
		"endpoint": f.Endpoint, "file": f.Name, "digest": f.Digest, "predictions": f.Predictions, "rows": f.DataRows,
		"first": f.First, "last": f.Last, "segment": f.Segment})
}

// counting counts lines. It keeps the count of the line before at hand, since the next one mostly has the same key. Shadow
// copies are nobody's use. Segments of before MaxName hold names that an index cannot hold, so they are cut here.
type counting struct {
	uses                       map[useKey]useCount
	key                        useKey
	sum                        useCount
	model, caller, application []byte // of key, as they stand in the log; nil when sum is empty
	from, to                   int64  // its day, in microseconds
}

func (c *counting) add(l *line) {
	if string(l.texts[textSlot]) == SlotShadow {
		return
	}
	if c.sum.Calls == 0 || l.at < c.from || l.at >= c.to || int(l.version) != c.key.Version || !bytes.Equal(l.texts[textModel], c.model) ||
		!bytes.Equal(l.texts[textCaller], c.caller) || !bytes.Equal(l.texts[textApplication], c.application) {
		c.settle()
		c.model, c.caller, c.application = l.texts[textModel], l.texts[textCaller], l.texts[textApplication]
		day := time.UnixMicro(l.at).UTC().Truncate(24 * time.Hour)
		c.from, c.to = day.UnixMicro(), day.Add(24*time.Hour).UnixMicro()
		c.key = useKey{Model: cut(string(c.model), MaxName), Day: day, Caller: cut(string(c.caller), MaxName), Application: cut(string(c.application), MaxName), Version: int(l.version)}
	}
	c.sum = c.sum.plus(useCount{1, l.rows, l.compute, time.UnixMicro(l.at).UTC()})
}

// settle puts the count at hand to the others. It must be called before the bytes of the lines that were added are gone.
func (c *counting) settle() {
	if c.sum.Calls == 0 {
		return
	}
	if c.uses == nil {
		c.uses = map[useKey]useCount{}
	}
	c.uses[c.key] = c.uses[c.key].plus(c.sum)
	c.sum = useCount{}
	c.model, c.caller, c.application = nil, nil, nil
}

// all gives the counts of everything added.
func (c *counting) all() map[useKey]useCount {
	c.settle()
	return c.uses
}
