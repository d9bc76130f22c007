package prediction

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

// slow is a log whose queue is emptied by the test only.
func slow(t *testing.T, dir string) *Log {
	l := openLog(t, dir, func(o *Options) { o.SegmentBytes = 4 << 20 })
	close(l.quit)
	l.done.Wait()
	t.Cleanup(func() { l.ringEnd = true })
	return l
}

func TestReadersMissNoAsyncRecordThatIsWrittenLate(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	l := slow(t, dir)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	late := record("a", 0)
	var want []string
	add := func(n int) {
		for range n {
			r := record("a", 1)
			r.Purpose = strings.Repeat("x", 1000)
			if err := l.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			want = append(want, r.ID)
		}
	}
	add(10)
	if err := l.Append(ctx, &late, Async); err != nil {
		t.Fatal(err)
	}
	want = append(want, late.ID)
	for add(1); l.active.size.Load()-l.active.marked < markEvery; { // the late one gets the mark
		add(1)
	}
	if got := ids(scan(t, ctx, s, Query{})); !slices.Equal(got, want[:10]) {
		t.Errorf("a reader sees %d records, want the 10 before the one that waits", len(got))
	}
	cursor := want[9]
	if got, err := s.List(ctx, Query{Limit: 1000}); err != nil || len(got) != len(want)-1 {
		t.Errorf("the list has %d records (%v), want those that are written", len(got), err)
	}
	l.place(<-l.ring)
	add(300)
	check := func(s *Service) {
		t.Helper()
		if got := ids(scan(t, ctx, s, Query{After: cursor})); !slices.Equal(got, want[10:]) {
			t.Errorf("a reader sees %d records behind its cursor, want %d in order", len(got), len(want)-10)
		}
		for _, at := range []int{0, 9, 10, 11, 50, 100, 250, len(want) - 1} {
			if got := ids(scan(t, ctx, s, Query{After: want[at]})); !slices.Equal(got, want[at+1:]) {
				t.Errorf("behind record %d: %d records, want %d", at, len(got), len(want)-at-1)
			}
		}
		if _, err := s.Get(ctx, late.ID); err != nil {
			t.Error(err)
		}
		if _, _, err := s.Record(ctx, []Outcome{{Prediction: late.ID, Row: 0, Value: []byte("1")}}); err != nil {
			t.Error(err)
		}
	}
	check(s)
	all, _ := l.segments()
	for _, seg := range all { // as the death of the process leaves them
		seg.unmap()
		if err := seg.file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.Log = openLog(t, dir, nil)
	check(s)
	if tick := tickOf(want[len(want)-1]); s.Log.clock.last < tick {
		t.Error("the clock of the next process is behind the last identifier")
	}
	if err := s.File(ctx); err != nil {
		t.Fatal(err)
	}
	check(s)
}

func TestGoingOnBehindTheLastRecordGivesEachOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		l := openLog(t, t.TempDir(), func(o *Options) { o.SegmentBytes = 256 << 10 })
		s := newService(t, d, l, blobtest.Dir(t))
		var mu sync.Mutex
		var want []string
		var writers sync.WaitGroup
		for _, durability := range []string{Async, Group, Async} {
			writers.Go(func() {
				for i := range 700 {
					r := record("a", i)
					if err := l.Append(ctx, &r, durability); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					want = append(want, r.ID)
					mu.Unlock()
				}
			})
		}
		ended := make(chan struct{})
		go func() { writers.Wait(); close(ended) }()
		var got []string
		last := false
		for n := 0; ; n++ {
			after := ""
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			got = append(got, ids(scan(t, ctx, s, Query{After: after, Limit: 150}))...)
			if n%5 == 4 {
				if err := s.File(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if last && (len(got) == 0 || got[len(got)-1] == after) {
				break
			}
			select {
			case <-ended:
				if err := l.drain(ctx); err != nil {
					t.Fatal(err)
				}
				last = true
			default:
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d records in all, want %d once each and in order", len(got), len(want))
		}
	})
}

func TestAnErasureReachesWhatIsStillQueued(t *testing.T) {
	e := newEra(t, dbtest.SQLite(t))
	for range 200 {
		r := record("a", 0)
		if err := e.Log.Append(e.ctx, &r, Async); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := e.Erase(e.ctx, "p-1", "test"); err != nil || got.Predictions != 200 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhoDoesNotWaitForTheDiskIsToldThatTheRecordIsWritten(t *testing.T) {
	l := openLog(t, t.TempDir(), func(o *Options) { o.SyncEvery = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	n := 0
	for range 20 { // the disk may be faster than the look at ctx
		r := record("a", 0)
		switch err := l.Append(ctx, &r, Sync); {
		case err == nil:
		case !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.Canceled):
			t.Errorf("%v", err)
		default:
			n++
		}
		if got, err := s.Get(t.Context(), r.ID); err != nil || problem.Is(err, problem.NotFound) || got.ID != r.ID {
			t.Errorf("%q is not on record: %v", r.ID, err)
		}
	}
	if n == 0 {
		t.Error("every record was on disk before it was asked for")
	}
}
