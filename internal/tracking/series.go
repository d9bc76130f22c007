package tracking

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// A series is read in order without ever being in memory: chunks that are closed never change, so a reader takes the list
// of them (a few numbers each), the points that are not closed yet, and then opens one chunk after the other, more at a
// time only where their ranges overlap.

// series is one key of one run, to be read.
type series struct {
	run, key string
	byTime   bool // sorted by (time, step, value), else by (step, time, value)
	from, to int64
	after    *Sample // only what comes after this one in the order

	left   []span                                           // chunks that were not opened, by their lower bound
	active []opening                                        // opened ones
	read   func(id string, into []Sample) ([]Sample, error) // appends the points of a chunk
	spare  []Sample                                         // of a chunk that was read to its end, for the next
}

// opening stands in the sorted points of an opened chunk.
type opening struct {
	list []Sample
	room []Sample // what list is a part of, for the next chunk; nil if it is not to be used again
}

// lower is not after any point of a span, upper not before any.
func (s *series) lower(p span) Sample {
	return Sample{Step: p.minStep, At: p.minAt, Value: math.Inf(-1)}
}
func (s *series) upper(p span) Sample {
	return Sample{Step: p.maxStep, At: p.maxAt, Value: math.Inf(1)}
}

// openSeries reads what must be read at once: the chunks' ranges and the points outside of closed chunks.
func openSeries(tx db.Scope, s *series) error {
	list, err := spans(tx, s.run, s.key, s.from, s.to)
	if err != nil {
		return err
	}
	var fresh []Sample
	if err := tailed(tx, s.run, func(key string, p Sample) {
		if key == s.key {
			fresh = append(fresh, p)
		}
	}); err != nil {
		return err
	}
	for _, p := range list {
		if s.after != nil && s.upper(p).compare(*s.after, s.byTime) < 0 {
			continue
		}
		if p.data == nil {
			s.left = append(s.left, p)
			continue
		}
		points, err := unpackChunk(p.data, nil)
		if err != nil {
			return err
		}
		if len(points) > 0 {
			s.active = append(s.active, opening{list: tidy(points, s.byTime)})
		}
	}
	if len(fresh) > 0 {
		s.active = append(s.active, opening{list: tidy(fresh, s.byTime)})
	}
	slices.SortStableFunc(s.left, func(a, b span) int { return s.lower(a).compare(s.lower(b), s.byTime) })
	return nil
}

// each calls fn for every point in order, identical ones once, until fn says that it has enough or fails.
func (s *series) each(fn func(Sample) (more bool, err error)) error {
	last, any := Sample{}, false
	if s.after != nil {
		last, any = *s.after, true
	}
	for {
		least := -1
		for i := range s.active {
			if least < 0 || s.active[i].list[0].compare(s.active[least].list[0], s.byTime) < 0 {
				least = i
			}
		}
		if len(s.left) > 0 && (least < 0 || s.lower(s.left[0]).compare(s.active[least].list[0], s.byTime) <= 0) {
			if err := s.open(); err != nil {
				return err
			}
			continue
		}
		if least < 0 {
			return nil
		}
		// All of this chunk up to where another begins.
		stop, bounded := Sample{}, false
		for i := range s.active {
			if i != least && (!bounded || s.active[i].list[0].compare(stop, s.byTime) < 0) {
				stop, bounded = s.active[i].list[0], true
			}
		}
		if len(s.left) > 0 {
			if l := s.lower(s.left[0]); !bounded || l.compare(stop, s.byTime) < 0 {
				stop, bounded = l, true
			}
		}
		list := s.active[least].list
		n := 0
		for n < len(list) && (n == 0 || !bounded || list[n].compare(stop, s.byTime) < 0) {
			p := list[n]
			n++
			if p.Step < s.from || p.Step > s.to || any && p.compare(last, s.byTime) <= 0 {
				continue
			}
			last, any = p, true
			if more, err := fn(p); err != nil || !more {
				return err
			}
		}
		if s.active[least].list = list[n:]; n == len(list) {
			s.spare = s.active[least].room
			s.active = slices.Delete(s.active, least, least+1)
		}
	}
}

// open reads the chunk with the lowest bound.
func (s *series) open() error {
	p := s.left[0]
	s.left = s.left[1:]
	points, err := s.read(p.id, s.spare[:0])
	if err != nil {
		return err
	}
	if s.spare = nil; len(points) > 0 {
		s.active = append(s.active, opening{list: tidy(points, s.byTime), room: points})
	}
	return nil
}

// manyTails is how many bytes of tails are sorted in memory at most; a point takes about a dozen.
const manyTails = 256 << 10

// series opens one for reading. A run that is not there is refused. If the job that folds its points is far behind, they
// are folded first, as a reader keeps in memory what is in no chunk.
func (s *Service) series(ctx context.Context, v series) (*series, error) {
	var loose int64
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		return tx.QueryRow(`SELECT COALESCE(SUM(LENGTH(data)), 0) FROM metric_tail WHERE workspace = $1 AND run = $2`, tx.Workspace, v.run).Scan(&loose)
	})
	if err == nil && loose > manyTails {
		if err := s.foldRun(ctx, v.run); err != nil {
			s.Log.WarnContext(ctx, "a long run could not be folded before it is read", "run", v.run, "error", err)
		}
	}
	if err != nil {
		return nil, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, err := head(tx, v.run); err != nil {
			return err
		}
		v.left, v.active = nil, nil
		return openSeries(tx, &v)
	})
	v.read = func(id string, into []Sample) (points []Sample, err error) {
		err = s.DB.Read(ctx, func(tx db.Scope) (err error) { points, err = chunk(tx, v.run, v.key, id, into); return err })
		return points, err
	}
	return &v, err
}

// History calls fn for the points of one metric of a run, sorted by (time, step, value) as MLflow does, identical ones
// once; limit 0 means all. The token of a page before goes on after its last point, whatever is logged meanwhile.
// It gives the token of the next page, "" after the last. An error of fn ends it.
func (s *Service) History(ctx context.Context, run, key, token string, limit int, fn func(Sample) error) (next string, err error) {
	v := series{run: run, key: key, byTime: true, from: math.MinInt64, to: math.MaxInt64}
	if v.after, err = parsePlace(token); err != nil {
		return "", err
	}
	opened, err := s.series(ctx, v)
	if err != nil {
		return "", err
	}
	n := 0
	var last Sample
	err = opened.each(func(p Sample) (bool, error) {
		if limit > 0 && n == limit {
			next = placeOf(last)
			return false, nil
		}
		n, last = n+1, p
		return true, fn(p)
	})
	return next, err
}

// placeOf is the token of the page after p.
func placeOf(p Sample) string {
	b, _ := json.Marshal(mark{p.At, p.Step, strconv.FormatUint(math.Float64bits(p.Value), 16)})
	return base64.StdEncoding.EncodeToString(b)
}

type mark struct {
	At    int64  `json:"at"`
	Step  int64  `json:"step"`
	Value string `json:"value"` // the bits of the number: JSON has no NaN
}

func parsePlace(token string) (*Sample, error) {
	if token == "" {
		return nil, nil
	}
	var m mark
	b, err := base64.StdEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	bits, e := strconv.ParseUint(m.Value, 16, 64)
	if err != nil || e != nil {
		return nil, problem.New(problem.Invalid, "Invalid page token: %q. Send the next_page_token of the page before, or none.", problem.Clip(token, 60)).At("page_token")
	}
	return &Sample{At: m.At, Step: m.Step, Value: math.Float64frombits(bits)}, nil
}

// Sampled is a series cut down to a number of points.
type Sampled struct {
	Run, Key string
	Count    int  // points in the range
	Sampled  bool // points were left out
	Points   []Sample
}

// Sample reads one metric of a run between two steps, both inclusive, sorted by (step, time, value), and keeps at most n of its
// points: the first and the last, and of buckets with equal numbers of points the smallest and the largest value.
func (s *Service) Sample(ctx context.Context, run, key string, from, to int64, n int) (Sampled, error) {
	opened, err := s.series(ctx, series{run: run, key: key, from: from, to: to})
	if err != nil {
		return Sampled{}, err
	}
	t := thinner{limit: n}
	if err := opened.each(func(p Sample) (bool, error) { t.add(p); return true, nil }); err != nil {
		return Sampled{}, err
	}
	return Sampled{Run: run, Key: key, Count: t.count, Sampled: t.count > n, Points: t.points()}, nil
}

// thinner keeps at most limit of the points it is given, one after the other. All buckets have the same width, but for the
// last one; when there are too many, neighbours are merged and the width doubles. So it needs neither the number of points
// in advance nor more memory than limit.
type thinner struct {
	limit       int
	count       int
	all         []Sample // while there are at most limit
	first, last Sample
	width       int
	buckets     []bucket
}

// bucket holds the extremes of a row of points, NaN only if there is nothing else; n of them were counted.
type bucket struct {
	n         int
	low, high ranked
}

// ranked is a point with its place in the series.
type ranked struct {
	Sample
	at int
}

func (b *bucket) merge(c bucket) {
	b.n += c.n
	if math.IsNaN(b.low.Value) || c.low.Value < b.low.Value {
		b.low = c.low
	}
	if math.IsNaN(b.high.Value) || c.high.Value > b.high.Value {
		b.high = c.high
	}
}

func (t *thinner) add(p Sample) {
	t.count++
	if t.count == 1 {
		t.first = p
	}
	t.last = p
	if t.count <= t.limit {
		t.all = append(t.all, p)
		return
	}
	if t.width == 0 {
		t.width = 1
		for i, q := range t.all {
			t.put(q, i)
		}
		t.all = nil
	}
	t.put(p, t.count-1)
}

// put adds to the last bucket, or begins one.
func (t *thinner) put(p Sample, at int) {
	most := (t.limit - 2) / 2
	if most < 1 {
		return // the first and the last point are all there is room for
	}
	one := bucket{1, ranked{p, at}, ranked{p, at}}
	if n := len(t.buckets); n > 0 && t.buckets[n-1].n < t.width {
		t.buckets[n-1].merge(one)
		return
	}
	for len(t.buckets) >= most { // full ones, all of them
		half := t.buckets[:0]
		for i := 0; i < len(t.buckets); i += 2 {
			b := t.buckets[i]
			if i+1 < len(t.buckets) {
				b.merge(t.buckets[i+1])
			}
			half = append(half, b)
		}
		t.buckets = half
		t.width *= 2
		if n := len(half); half[n-1].n < t.width {
			half[n-1].merge(one)
			return
		}
	}
	t.buckets = append(t.buckets, one)
}

// points gives what is kept, in the order it was added.
func (t *thinner) points() []Sample {
	if t.count <= t.limit {
		return t.all
	}
	if t.limit == 1 {
		return []Sample{t.last}
	}
	kept := []ranked{{t.first, 0}, {t.last, t.count - 1}}
	for _, b := range t.buckets {
		kept = append(kept, b.low, b.high)
	}
	slices.SortFunc(kept, func(a, b ranked) int { return cmp.Compare(a.at, b.at) })
	kept = slices.CompactFunc(kept, func(a, b ranked) bool { return a.at == b.at })
	out := make([]Sample, len(kept))
	for i, k := range kept {
		out[i] = k.Sample
	}
	return out
}
