package prediction

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"math/rand/v2"

	"keelson/internal/blob"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

// noise is a text of n bytes that does not compress.
func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[rand.IntN(64)]
	}
	return string(b)
}

// uncut gives a stamped frame of r whose model, caller and application are as long as frames of before MaxName had them.
func uncut(r Record, c *clock) []byte {
	b := appendFrame(nil, &r)
	out, rest := slices.Clone(b[:bodyAt]), b[bodyAt:]
	for i := range 14 {
		n, w := binary.Uvarint(rest)
		text := rest[w : w+int(n)]
		switch i {
		case 2:
			text = []byte(r.Model)
		case 5:
			text = []byte(r.Caller)
		case 6:
			text = []byte(r.Application)
		}
		out = append(binary.AppendUvarint(out, uint64(len(text))), text...)
		rest = rest[w+int(n):]
	}
	out = append(out, rest...)
	stamp(out, c, time.Time{})
	return out
}

func TestNamesOfAnyLengthDoNotKeepTheLogFromBeingFiled(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		long := record("a", 1)
		long.Model, long.Caller, long.Application = noise(MaxField), noise(MaxField), noise(MaxField)
		for field, change := range map[string]func(*Record){
			"items[0].model": func(r *Record) { r.Model = long.Model }, "items[0].caller": func(r *Record) { r.Caller = long.Caller },
			"items[0].application": func(r *Record) { r.Application = long.Application }, "items[0].environment": func(r *Record) { r.Environment = noise(MaxName + 1) },
		} {
			r := external("")
			change(&r)
			_, err := e.HandIn(e.ctx, "x", []Record{r})
			p, _ := problem.As(err)
			if !problem.Is(err, problem.Invalid) || p == nil || p.Field != field {
				t.Errorf("%s of more than %d bytes: %v", field, MaxName, err)
			}
		}
		served := long
		if err := e.Log.Append(e.ctx, &served, Group); err != nil {
			t.Fatal(err)
		}
		// A segment of before names were cut, as it stands in the folder of an installation that is stuck.
		e.Log.mu.Lock()
		frame := uncut(long, &e.Log.clock)
		old := string(frame[idAt : idAt+idLen])
		err := e.Log.writeLocked(frame, 1)
		e.Log.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if err := e.File(e.ctx); err != nil {
			t.Fatal(err)
		}
		uses, err := e.Callers(e.ctx, long.Model[:MaxName], time.Time{})
		if err != nil || len(uses) != 1 || uses[0].Calls != 2 || uses[0].Caller != long.Caller[:MaxName] {
			t.Errorf("%+v, %v", uses, err)
		}
		if got, err := e.Get(e.ctx, old); err != nil || got.Caller != long.Caller {
			t.Errorf("%v", err)
		}
		if got, err := e.Erase(e.ctx, "p-1", "test"); err != nil || got.Predictions != 2 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// barred stores nothing of one endpoint.
type barred struct {
	blob.Store
	endpoint string
}

func (b barred) PutNamed(ctx context.Context, name string, r io.Reader) error {
	if strings.HasPrefix(name, "predictions/"+b.endpoint+"/") {
		return errors.New("no room for it")
	}
	return b.Store.PutNamed(ctx, name, r)
}

func TestASegmentThatCannotBeFiledDoesNotKeepTheOthers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		real := e.Blobs
		e.Blobs = barred{real, "bad"}
		var list []string
		for _, endpoint := range []string{"bad", "good"} {
			r := record(endpoint, 1)
			if err := e.Log.Append(e.ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			list = append(list, r.ID)
			if err := e.Log.Rotate(0); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.File(e.ctx); err == nil || !strings.Contains(err.Error(), "no room for it") {
			t.Errorf("%v", err)
		}
		if _, full := e.Log.segments(); len(full) != 1 || e.stored(t) != 1 {
			t.Errorf("%d segments are left, %d files stored", len(full), e.stored(t))
		}
		got, err := e.Erase(e.ctx, "p-1", "test")
		if err == nil || got.Predictions != 1 {
			t.Errorf("an erasure that does not reach everything: %+v, %v", got, err)
		}
		if _, err := e.Get(e.ctx, list[1]); !problem.Is(err, problem.NotFound) {
			t.Errorf("what was filed is still there: %v", err)
		}
		e.now = e.now.AddDate(0, 0, 3)
		e.Blobs = real
		if err := e.File(e.ctx); err != nil {
			t.Fatal(err)
		}
		left := record("bad", 2)
		if err := e.Log.Append(e.ctx, &left, Group); err != nil {
			t.Fatal(err)
		}
		e.Blobs, e.KeepDays = barred{real, "bad"}, 1
		if err := e.Retain(e.ctx); err != nil {
			t.Fatal(err)
		}
		if got := ids(scan(t, e.ctx, e.Service, Query{})); !slices.Equal(got, []string{left.ID}) {
			t.Errorf("after the retention %v are left", got)
		}
	})
}

// crossed does something once before a file is stored.
type crossed struct {
	blob.Store
	once func()
}

func (c *crossed) PutNamed(ctx context.Context, name string, r io.Reader) error {
	if f := c.once; f != nil {
		c.once = nil
		f()
	}
	return c.Store.PutNamed(ctx, name, r)
}

// apart is another process over the same database and files.
func (e *era) apart() *Service {
	return &Service{DB: e.DB, Blobs: e.Blobs, Logger: quiet, Now: e.Now, HashKey: e.HashKey}
}

func TestAnErasureThatAnotherProcessCrossesStaysDone(t *testing.T) {
	for name, other := range map[string]func(t *testing.T, e *era, s *Service) (predictions int64, left int){
		"another erasure": func(t *testing.T, e *era, s *Service) (int64, int) {
			got, err := s.Erase(e.ctx, "p1", "test")
			if err != nil || got.Predictions != 1 {
				t.Errorf("%+v, %v", got, err)
			}
			return 1, 1
		},
		"the retention": func(t *testing.T, e *era, s *Service) (int64, int) {
			s.KeepDays = 1
			if err := s.Retain(e.ctx); err != nil {
				t.Error(err)
			}
			return 0, 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				e := newEra(t, d)
				for _, subject := range []string{"p0", "p1", "p2"} {
					e.answer(t, "a", "a", subject)
				}
				if err := e.File(e.ctx); err != nil {
					t.Fatal(err)
				}
				e.now = e.now.AddDate(0, 0, 3)
				s := e.apart()
				var want int64
				var left int
				e.Blobs = &crossed{e.Blobs, func() { want, left = other(t, e, s) }}
				got, err := e.Erase(e.ctx, "p0", "test")
				if err != nil || got.Predictions != want {
					t.Errorf("%+v, %v, want %d predictions", got, err, want)
				}
				rest := scan(t, e.ctx, e.Service, Query{})
				if len(rest) != left || left == 1 && rest[0].Subject != "p2" {
					t.Errorf("%d predictions are left, want %d of another person", len(rest), left)
				}
				if e.count(t, "prediction_file") != left || e.stored(t) != left || e.count(t, "prediction_gone") != 0 || e.count(t, "prediction_outcome") != left {
					t.Errorf("%d rows, %d files stored, %d to be deleted, %d outcomes; want %d files", e.count(t, "prediction_file"), e.stored(t), e.count(t, "prediction_gone"), e.count(t, "prediction_outcome"), left)
				}
			})
		})
	}
}

func TestAnOldRowOfAFileChangesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		for _, subject := range []string{"p0", "p1", "p2"} {
			e.answer(t, "a", "a", subject)
		}
		if err := e.File(e.ctx); err != nil {
			t.Fatal(err)
		}
		var page []file
		read := func() {
			page = nil
			if err := d.Read(e.ctx, func(tx db.Scope) (err error) { page, err = e.store.files(tx, bounds{}, false, ""); return err }); err != nil {
				t.Fatal(err)
			}
		}
		read()
		old := page
		var out Erased
		if err := e.eraseIn(e.ctx, old[0], "p0", "test", &out); err != nil || out.Predictions != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		// The bytes of the old file are still there: the second erasure reads them and finds its person.
		if err := e.eraseIn(e.ctx, old[0], "p1", "test", &out); !errors.Is(err, errChanged) || out.Predictions != 1 {
			t.Errorf("%+v, %v, want that it changed", out, err)
		}
		now, err := e.purgePage(e.ctx, "a", Purge{Before: e.now, Why: "test"}, old)
		if !errors.Is(err, errChanged) || now.Files != 0 || now.Predictions != 0 || e.entries(t, "prediction.purged") != 0 {
			t.Errorf("%+v, %v, want that it changed", now, err)
		}
		if err := e.sweep(e.ctx); err != nil {
			t.Fatal(err)
		}
		if err := e.eraseIn(e.ctx, old[0], "p1", "test", &out); !errors.Is(err, errChanged) {
			t.Errorf("a file whose bytes are gone: %v", err)
		}
		read()
		if len(page) != 1 || page[0].Predictions != 2 || e.stored(t) != 1 {
			t.Errorf("%d rows and %d files, want one of each with 2 predictions", len(page), e.stored(t))
		}
		if err := e.Blobs.DeleteNamed(e.ctx, page[0].Name); err != nil {
			t.Fatal(err)
		}
		if err := e.eraseIn(e.ctx, page[0], "p1", "test", &out); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("a file that is missing though its row is there: %v", err)
		}
	})
}

func TestASegmentWhoseFilesArePurgedIsNotFiledAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		e.answer(t, "a", "a", "p0")
		if err := e.Log.Rotate(0); err != nil {
			t.Fatal(err)
		}
		names := withRecords(e.Log.o.Dir)
		b, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := e.File(e.ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := e.Erase(e.ctx, "p0", "test"); err != nil || got.Predictions != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		// As if the process had died before it removed the segment, and the erasure had been another's.
		if err := os.WriteFile(names[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		e.Log.Adopt()
		if err := e.File(e.ctx); err != nil {
			t.Fatal(err)
		}
		if left := scan(t, e.ctx, e.Service, Query{}); len(left) != 0 || e.stored(t) != 0 || len(withRecords(e.Log.o.Dir)) != 0 {
			t.Errorf("%d predictions are back, %d files, segments %v", len(left), e.stored(t), withRecords(e.Log.o.Dir))
		}
	})
}

func TestAnErasureOnAFullDiskSaysThatItIsNotDone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		id := e.answer(t, "a", "a", "p0")
		dir := e.Log.o.Dir
		// A file where the folder was: the segment that is open can be written, no other can be made.
		if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if got, err := e.Erase(e.ctx, "p0", "test"); !problem.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), "no room for the next one") {
			t.Errorf("%+v, %v, want that it is not done", got, err)
		}
		if _, err := e.Get(e.ctx, id); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
			t.Fatal(err)
		}
		if got, err := e.Erase(e.ctx, "p0", "test"); err != nil || got.Predictions != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
