//go:build linux

package prediction

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
	"keelson/internal/tensor"
)

// taken is how many bytes of disk the files of a folder have.
func taken(t *testing.T, dir string) (n int64) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		i, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += i.Sys().(*syscall.Stat_t).Blocks * 512
	}
	return n
}

func TestClosedSegmentsKeepNoReserve(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(Options{Dir: dir, Node: "test", Logger: quiet, SegmentBytes: 1 << 20, SyncEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := range 5 {
		r := record("x", n)
		if err := l.Append(context.Background(), &r, Group); err != nil {
			t.Fatal(err)
		}
		if err := l.Rotate(0); err != nil {
			t.Fatal(err)
		}
	}
	if n := taken(t, dir); n < 5<<20 {
		t.Skipf("this file system reserves nothing: %d bytes are taken", n)
	}
	l.trim()
	if n := taken(t, dir); n > 3<<20 {
		t.Errorf("five closed segments of a record each, the active and at most a spare one take %d bytes", n)
	}
}

func TestADiskThatFailsUnderTheMemoryOfASegmentIsAnErrorAndNoDeath(t *testing.T) {
	dir := t.TempDir()
	s, err := newSegment(dir, "n", 1<<20, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.room.Load() == nil {
		t.Skip("this file system gives no memory of a file")
	}
	r := record("x", 1)
	frame := appendFrame(nil, &r)
	stamp(frame, &clock{now: time.Now}, time.Time{})
	write := func() {
		t.Helper()
		if broken, err := s.write(frame, 1, false); broken || err != nil {
			t.Fatal(broken, err)
		}
	}
	write()
	whole, err := s.bytes(int64(len(segmentMagic)), s.size.Load())
	if err != nil || !bytes.Equal(whole, frame) {
		t.Fatalf("%d bytes are read, %v", len(whole), err)
	}
	if err := os.Truncate(s.path, 0); err != nil { // the kernel has no page for the next record, as where the disk fails
		t.Fatal(err)
	}
	if err := fill((*s.room.Load())[s.size.Load():], frame); !errors.Is(err, errFault) {
		t.Fatalf("got %v", err)
	}
	at := s.size.Load()
	write() // where the file was: by a write
	write()
	if s.room.Load() != nil {
		t.Error("the memory is used again")
	}
	if got, err := s.bytes(at, s.size.Load()); err != nil || !bytes.Equal(got, append(bytes.Clone(frame), frame...)) {
		t.Errorf("%d bytes are read, %v", len(got), err)
	}
}

func TestAStrainedDiskIsWrittenByCallsOfTheSystem(t *testing.T) {
	l := openLog(t, t.TempDir(), func(o *Options) { o.SyncEvery = time.Hour })
	var want []string
	add := func() {
		t.Helper()
		r := record("x", len(want))
		if err := l.Append(context.Background(), &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	add()
	s := l.active
	room := s.room.Load()
	if room == nil {
		t.Skip("this file system gives no memory of a file")
	}
	l.rest(true, 2*slowSync)
	if err := syscall.Mprotect(*room, syscall.PROT_READ); err != nil {
		t.Fatal(err)
	}
	for range strainedSyncs { // a copy would now find the memory closed, and let go of it
		add()
		l.rest(true, time.Millisecond)
	}
	if s.room.Load() != room {
		t.Fatal("a record was copied to the memory while the disk was strained")
	}
	if err := syscall.Mprotect(*room, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	add()
	if err := syscall.Mprotect(*room, syscall.PROT_READ); err != nil {
		t.Fatal(err)
	}
	add()
	if s.room.Load() != nil {
		t.Error("a disk that is calm again is still written by calls of the system")
	}
	got := ids(scan(t, t.Context(), newService(t, dbtest.SQLite(t), l, blobtest.Dir(t)), Query{}))
	if !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

func TestARecordBeyondTheReservedRoomIsWritten(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, func(o *Options) { o.SegmentBytes = 4 << 10 })
	var want []string
	for i := range 20 {
		r := record("x", i)
		if i%5 == 4 {
			r.Inputs = []tensor.Tensor{tensor.FP64s("x", []int{1, 2000}, make([]float64, 2000))}
		}
		if err := l.Append(context.Background(), &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range withRecords(dir) { // a closed log leaves no reserve
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if good, lost, err := salvage(b); err != nil || len(good) != len(b) || lost.bytes != 0 {
			t.Errorf("%s: %d of %d bytes are frames, %v", name, len(good), len(b), err)
		}
	}
	s.Log = openLog(t, dir, nil)
	if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, want) {
		t.Errorf("%d records after it was opened again, want %d", len(got), len(want))
	}
}
