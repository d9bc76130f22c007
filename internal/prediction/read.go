package prediction

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
)

// source is a sorted run of records of which more and more is known: a page of files, a file, a row group, records.
// key is the identifier of its next record or a bound before which it has none.
type source struct {
	key   string
	open  func() ([]*source, error) // nil once records are at hand
	count int
	at    int
	id    func(i int) string
	get   func(i int, into *Record) error // over what was read before
}

type sources struct {
	list       []*source
	descending bool
}

func (s *sources) Len() int      { return len(s.list) }
func (s *sources) Swap(i, j int) { s.list[i], s.list[j] = s.list[j], s.list[i] }
func (s *sources) Push(x any)    { s.list = append(s.list, x.(*source)) }
func (s *sources) Pop() any {
	last := s.list[len(s.list)-1]
	s.list = s.list[:len(s.list)-1]
	return last
}
func (s *sources) Less(i, j int) bool {
	a, b := s.list[i], s.list[j]
	if a.key == b.key {
		return a.open != nil && b.open == nil // what may still hide equal identifiers comes first
	}
	return (a.key < b.key) != s.descending
}

// reading is one pass over the log in the order of identifiers.
type reading struct {
	s            *Service
	ctx          context.Context
	workspace    string
	q            Query
	descending   bool
	above, below string // exclusive, empty is open
}

// order says in which direction to read, before which identifier an ascending reading ends, and whether one record's
// memory is used for all of them.
type order struct {
	newestFirst bool
	below       string
	again       bool
}

// read calls fn for every record that q selects until fn gives false. Filed and unfiled records are merged; one that is
// seen in both, because its segment was filed meanwhile, is given once. fn may keep what it gets unless o says again.
func (s *Service) read(ctx context.Context, q Query, o order, fn func(*Record) (bool, error)) error {
	r := &reading{s: s, ctx: ctx, workspace: caller.Workspace(ctx), q: q, descending: o.newestFirst, below: o.below}
	if r.descending {
		r.below = q.After
	} else {
		r.above = q.After
	}
	if !q.Since.IsZero() {
		// Records arrive after their time, but for clocks that differ a little.
		r.above = max(r.above, floorID(q.Since.Add(-clockSkew)))
	}
	h := &sources{descending: r.descending}
	// Segments first: one that is filed between the two looks is then seen twice rather than not at all.
	unfiled, err := r.unfiled()
	if err != nil {
		return err
	}
	h.list = append(unfiled, r.page("", true))
	heap.Init(h)
	last, given := "", 0
	var rec Record
	for h.Len() > 0 {
		top := h.list[0]
		if top.open != nil {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("read the prediction log: %w", err)
			}
			more, err := top.open()
			if err != nil {
				return err
			}
			heap.Pop(h)
			for _, m := range more {
				heap.Push(h, m)
			}
			continue
		}
		if given++; given%politeness == 0 {
			runtime.Gosched() // calls to models come first
			job.Breathe(ctx)
		}
		id := top.key
		if id != last {
			last = id
			if !o.again {
				rec.Inputs, rec.Outputs = nil, nil
			}
			if err := top.get(top.at, &rec); err != nil {
				return err
			}
			if q.matches(&rec) {
				if goOn, err := fn(&rec); err != nil || !goOn {
					return err
				}
			}
		}
		if top.at++; top.at == top.count {
			heap.Pop(h)
		} else {
			top.key = top.id(top.at)
			heap.Fix(h, 0)
		}
	}
	return nil
}

// politeness is how many records are worked on before others get the processor: some ten microseconds.
const politeness = 32

// clockSkew is how far a record's time may lie after its arrival.
const clockSkew = 5 * time.Minute

func (r *reading) wants(id string) bool {
	return id > r.above && (r.below == "" || id < r.below)
}

// unfiled gives the wanted records of the segments of this process.
func (r *reading) unfiled() ([]*source, error) {
	if r.s.Log == nil {
		return nil, nil
	}
	var out []*source
	all, _ := r.s.Log.segments()
	for _, seg := range all {
		var b []byte
		var err error
		if r.q.Endpoint != "" {
			b, err = r.s.Log.readOf(seg, r.workspace, r.q.Endpoint, r.above)
		} else {
			b, err = r.s.Log.read(seg, r.above)
		}
		if errors.Is(err, os.ErrClosed) {
			continue // filed since segments was called
		}
		if err != nil {
			return nil, err
		}
		var kept [][]byte
		whole := len(b)
		for len(b) > 0 {
			payload, rest, err := nextFrame(b)
			if err != nil {
				return nil, fmt.Errorf("segment %s: %w", seg.id, err)
			}
			b = rest
			id, workspace, endpoint := peek(payload)
			if string(workspace) == r.workspace && (r.q.Endpoint == "" || string(endpoint) == r.q.Endpoint) && r.wants(string(id)) {
				kept = append(kept, payload)
			}
		}
		if len(kept) == 0 {
			continue
		}
		kept = compact(kept, whole)
		// Records of one process arrive in order, but async ones may overtake each other across durabilities.
		byID := func(a, b []byte) int { return bytes.Compare(a[1:1+idLen], b[1:1+idLen]) }
		if !slices.IsSortedFunc(kept, byID) {
			slices.SortStableFunc(kept, byID)
		}
		if r.descending {
			slices.Reverse(kept)
		}
		src := &source{count: len(kept), id: identifiers(kept)}
		src.get = func(i int, into *Record) error {
			into.ID = src.id(i)
			return decodeOver(kept[i], true, into)
		}
		src.key = src.id(0)
		out = append(out, src)
	}
	return out, nil
}

// identifiers gives those of payloads by place. They are cut out of one text for many, for readers that go from one to the
// next.
func identifiers(payloads [][]byte) func(i int) string {
	const many = 128
	text, from := "", -1
	room := make([]byte, 0, min(many, len(payloads))*idLen)
	return func(i int) string {
		if part := i / many; part != from {
			room, from = room[:0], part
			for _, p := range payloads[part*many : min((part+1)*many, len(payloads))] {
				room = append(room, p[1:1+idLen]...)
			}
			text = string(room)
		}
		at := i % many * idLen
		return text[at : at+idLen]
	}
}

// compact lets go of the bytes that kept was found in where most of them were not wanted.
func compact(kept [][]byte, whole int) [][]byte {
	size := 0
	for _, p := range kept {
		size += len(p)
	}
	if size > whole/2 {
		return kept
	}
	room := make([]byte, 0, size)
	for i, p := range kept {
		room = append(room, p...)
		kept[i] = room[len(room)-len(p) : len(room) : len(room)]
	}
	return kept
}

func (r *reading) order(a, b string) int {
	c := 0
	if a < b {
		c = -1
	} else if a > b {
		c = 1
	}
	if r.descending {
		return -c
	}
	return c
}

// page gives a source that learns of the next files when its turn comes.
func (r *reading) page(from string, first bool) *source {
	src := &source{key: from}
	if first && r.descending {
		src.key = "~" // behind every identifier
	}
	if first && !r.descending {
		from = hourBefore(r.above)
	}
	src.open = func() ([]*source, error) {
		var files []file
		err := r.s.DB.Read(r.ctx, func(tx db.Scope) (err error) {
			files, err = r.s.store.files(tx, bounds{r.q.Endpoint, r.above, r.below, r.q.Since, r.q.Until}, r.descending, from)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("find the files of the prediction log: %w", err)
		}
		var out []*source
		for _, f := range files {
			for i, c := range f.Chunks {
				if c.Last > r.above && (r.below == "" || c.First < r.below) {
					out = append(out, r.chunk(f, i))
				}
			}
		}
		if len(files) == pageFiles {
			end := files[len(files)-1].First
			if r.descending {
				end = files[len(files)-1].Last
			}
			out = append(out, r.page(end, false))
		}
		return out, nil
	}
	return src
}

func (r *reading) chunk(f file, i int) *source {
	src := &source{key: f.Chunks[i].First}
	if r.descending {
		src.key = f.Chunks[i].Last
	}
	src.open = func() ([]*source, error) {
		rows, err := fetch[filed](r.ctx, r.s, f, i)
		if errors.Is(err, blob.ErrNotFound) {
			rows, err = r.again(f, i, err)
		}
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(w filed) bool { return !r.wants(w.PredictionID) })
		if len(rows) == 0 {
			return nil, nil
		}
		sort.SliceStable(rows, func(a, b int) bool { return r.order(rows[a].PredictionID, rows[b].PredictionID) < 0 })
		out := &source{count: len(rows), id: func(i int) string { return rows[i].PredictionID }, get: func(i int, into *Record) (err error) {
			*into, err = rows[i].record()
			return err
		}}
		out.key = out.id(0)
		return []*source{out}, nil
	}
	return src
}

// again reads row group i of a file whose bytes are gone since its row was read: purged, or written again without a
// person.
func (r *reading) again(f file, i int, cause error) (out []filed, err error) {
	var now []file
	if err := r.s.DB.Read(r.ctx, func(tx db.Scope) (err error) { now, err = r.s.store.sameSegment(tx, f); return err }); err != nil {
		return nil, err
	}
	old := f.Chunks[i]
	for _, g := range now {
		if g.Name == f.Name {
			return nil, cause // it should be there
		}
		for k, c := range g.Chunks {
			if c.Last < old.First || c.First > old.Last {
				continue
			}
			rows, err := fetch[filed](r.ctx, r.s, g, k)
			if err != nil {
				return nil, err
			}
			for _, w := range rows {
				if w.PredictionID >= old.First && w.PredictionID <= old.Last {
					out = append(out, w)
				}
			}
		}
	}
	return out, nil
}

// fetch reads a row group of a file in the blob store.
func fetch[T any](ctx context.Context, s *Service, f file, i int) ([]T, error) {
	rd, size, err := s.Blobs.OpenNamed(ctx, f.Name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Name, err)
	}
	defer rd.Close()
	rows, err := readChunk[T](rd, size, i)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return rows, nil
}

// head is what can be told of a prediction without its tensors.
type head struct {
	endpoint, model string
	version         int
	rows            int
}

// heads finds predictions by identifier; those that do not exist are not in the answer.
func (s *Service) heads(ctx context.Context, ids []string) (map[string]head, error) {
	out := map[string]head{}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(ids) == 0 {
		return out, nil
	}
	workspace := caller.Workspace(ctx)
	if s.Log != nil {
		all, _ := s.Log.segments()
		for _, seg := range all {
			b, err := s.Log.read(seg, before(ids[0]))
			if errors.Is(err, os.ErrClosed) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for len(b) > 0 {
				payload, rest, err := nextFrame(b)
				if err != nil {
					return nil, fmt.Errorf("segment %s: %w", seg.id, err)
				}
				b = rest
				id, ws, _ := peek(payload)
				if _, found := slices.BinarySearch(ids, string(id)); !found || string(ws) != workspace {
					continue
				}
				r, err := decode(payload, false)
				if err != nil {
					return nil, err
				}
				out[r.ID] = head{r.Endpoint, r.Model, r.Version, r.Rows}
			}
		}
	}
	missing := slices.DeleteFunc(ids, func(id string) bool { _, ok := out[id]; return ok })
	if len(missing) == 0 {
		return out, nil
	}
	from := hourBefore(missing[0])
	for {
		var files []file
		err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
			files, err = s.store.files(tx, bounds{above: before(missing[0]), below: missing[len(missing)-1] + "~"}, false, from)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("find the files of the prediction log: %w", err)
		}
		for _, f := range files {
			for i, c := range f.Chunks {
				at, exact := slices.BinarySearch(missing, c.First)
				if !exact && (at == len(missing) || missing[at] > c.Last) {
					continue
				}
				rows, err := fetch[headRow](ctx, s, f, i)
				if errors.Is(err, blob.ErrNotFound) {
					continue // purged since its row was read
				}
				if err != nil {
					return nil, err
				}
				for _, w := range rows {
					if _, found := slices.BinarySearch(missing, w.PredictionID); found {
						out[w.PredictionID] = head{w.Endpoint, w.Model, int(w.Version), int(w.Rows)}
					}
				}
			}
		}
		if len(files) < pageFiles {
			return out, nil
		}
		from = files[len(files)-1].First
	}
}

// before is a text just below id, for bounds that exclude.
func before(id string) string {
	if id == "" {
		return ""
	}
	return id[:len(id)-1]
}

// hourBefore bounds the files that can hold identifiers above one: no file's identifiers span more than an hour.
func hourBefore(id string) string {
	if at, ok := idTime((id + strings.Repeat("0", idLen))[:idLen]); ok && id != "" {
		return floorID(at.Add(-time.Hour))
	}
	return ""
}
