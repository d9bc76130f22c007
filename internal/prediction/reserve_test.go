package prediction

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
)

func TestWhatTheMemoryOfASegmentCannotTakeIsWrittenByCalls(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	add := func(i int) string {
		r := record("a", i)
		if err := l.Append(t.Context(), &r, Group); err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	add(0)
	s := l.active
	if runtime.GOOS == "linux" && s.room == nil {
		t.Skip("this file system reserves no room")
	}
	page := int64(os.Getpagesize())
	if err := os.Truncate(s.path, (s.size.Load()/page+1)*page); err != nil { // storing behind this page raises SIGBUS now
		t.Fatal(err)
	}
	var want []string
	for i := range 200 {
		want = append(want, add(i))
	}
	if s.room != nil {
		t.Error("the memory is still used")
	}
	b, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rest := b[len(segmentMagic):]; len(rest) > 0; {
		payload, next, err := nextFrame(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = next
		got = append(got, string(payload[1:1+idLen]))
	}
	if !slices.Equal(got[1:], want) {
		t.Errorf("%d records in the file, want %d", len(got)-1, len(want))
	}
}

func TestASegmentGrowsBeyondItsRoomWhereThereIsNoOtherOne(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, func(o *Options) { o.SegmentBytes = 8192 })
	r := record("a", 0)
	r.Fired = bytes.Repeat([]byte("x"), 20_000) // does not fit
	if err := l.Append(t.Context(), &r, Group); err != nil {
		t.Fatal(err)
	}
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	if got := scan(t, t.Context(), s, Query{}); len(got) != 1 || len(got[0].Fired) != 20_000 {
		t.Errorf("%d records", len(got))
	}
}

func TestRoomThatWasNotUsedIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, nil)
	var want []string
	for i := range 5 {
		r := record("a", i)
		if err := l.Append(t.Context(), &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	size := l.active.size.Load()
	left, err := os.ReadFile(l.active.path) // as a killed process leaves it
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	file := filepath.Join(other, filepath.Base(l.active.path))
	if err := os.WriteFile(file, left, 0o600); err != nil {
		t.Fatal(err)
	}
	next := openLog(t, other, nil)
	s := newService(t, dbtest.SQLite(t), next, blobtest.Dir(t))
	if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	if info, err := os.Stat(file); err != nil || info.Size() != size {
		t.Errorf("the file was not cut to %d bytes: %v", size, err)
	}
	if counted(t, next, "torn_bytes_total") != 0 || counted(t, next, "damaged_total") != 0 || len(tornFiles(other)) != 0 {
		t.Error("the room counts as damage")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, filepath.Base(file))); err != nil || info.Size() != size {
		t.Errorf("after the log was closed its file is not cut to %d bytes: %v", size, err)
	}
}

func TestPagesThatAreLetGoOfKeepTheirRecords(t *testing.T) {
	l := openLog(t, t.TempDir(), func(o *Options) { o.SyncEvery = time.Hour }) // sync and prepare are called here
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	var want []string
	for i := 0; i < 3000; i++ {
		r := record("a", i)
		r.Purpose = string(bytes.Repeat([]byte("x"), 1000))
		if err := l.Append(t.Context(), &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
		if i%100 == 0 {
			l.prepare()
		}
	}
	if runtime.GOOS == "linux" && l.active.room != nil && l.active.shed < 2*shedEvery {
		t.Errorf("pages up to %d were let go of", l.active.shed)
	}
	if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}
