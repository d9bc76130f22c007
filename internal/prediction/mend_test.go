package prediction

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keelson/internal/bin"
	"keelson/internal/blob/blobtest"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

// closedSegment leaves a segment with n records behind and gives its file, bytes, identifiers and where each frame begins.
func closedSegment(t *testing.T, n int) (file string, data []byte, want []string, at []int) {
	t.Helper()
	dir := t.TempDir()
	l := openLog(t, dir, nil)
	for i := range n {
		r := record("a", i)
		if err := l.Append(context.Background(), &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file = withRecords(dir)[0]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for k := len(segmentMagic); k < len(data); k += frameHead + int(binary.LittleEndian.Uint32(data[k:])) {
		at = append(at, k)
	}
	return file, data, want, at
}

func TestDamageInTheMiddleCostsOneRecord(t *testing.T) {
	for name, damage := range map[string]func(b []byte, at []int){
		"a flipped bit in a payload": func(b []byte, at []int) { b[at[4]+100] ^= 1 },
		"a flipped bit in a length":  func(b []byte, at []int) { b[at[4]+1] ^= 1 },
		"a length beyond the file":   func(b []byte, at []int) { b[at[4]+3] = 0x7f },
		"zeros":                      func(b []byte, at []int) { clear(b[at[4]:at[5]]) },
	} {
		t.Run(name, func(t *testing.T) {
			file, data, want, at := closedSegment(t, 10)
			damaged := slices.Clone(data)
			damage(damaged, at)
			if err := os.WriteFile(file, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, filepath.Dir(file), nil)
			s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
			left := slices.Delete(slices.Clone(want), 4, 5)
			if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, left) {
				t.Errorf("%d records are left, want all but one", len(got))
			}
			if n := counted(t, l, "torn_bytes_total"); int(n) != at[5]-at[4] || counted(t, l, "damaged_total") != 1 {
				t.Errorf("%v bytes are counted as lost, want %d", n, at[5]-at[4])
			}
			kept, err := os.ReadFile(file + tornExt)
			if name != "zeros" && (err != nil || !bytes.Equal(kept, bytes.TrimRight(damaged[at[4]:at[5]], "\x00"))) {
				t.Errorf("%d bytes of the damaged record are kept, %v", len(kept), err)
			}
			other := openLog(t, filepath.Dir(file), nil)
			if all, _ := other.segments(); len(all) != 0 {
				t.Error("another process takes the mended segment over at the same time")
			}
			if err := s.File(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, left) || len(withRecords(filepath.Dir(file))) != 0 {
				t.Errorf("%d records are filed, want all but one", len(got))
			}
		})
	}
}

func TestWhatANewerVersionWroteStaysAsItIs(t *testing.T) {
	newer := func(b []byte, at, end int) {
		b[at+frameHead] = frameVersion + 1
		binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+frameHead:end], castagnoli))
	}
	for name, change := range map[string]func(b []byte, at []int){
		"a frame":                 func(b []byte, at []int) { newer(b, at[2], at[3]) },
		"a frame behind a damage": func(b []byte, at []int) { b[at[1]+50] ^= 1; newer(b, at[2], at[3]) },
		"the whole file":          func(b []byte, _ []int) { copy(b, "KEELSEG2") },
	} {
		t.Run(name, func(t *testing.T) {
			file, data, want, at := closedSegment(t, 5)
			changed := slices.Clone(data)
			change(changed, at)
			if err := os.WriteFile(file, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, filepath.Dir(file), nil)
			if all, _ := l.segments(); len(all) != 0 || counted(t, l, "torn_bytes_total") != 0 {
				t.Error("it was taken over")
			}
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, changed) {
				t.Fatalf("it was changed: %d bytes instead of %d, %v", len(now), len(changed), err)
			}
			// The newer version is back.
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			l.Adopt()
			s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
			if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, want) {
				t.Errorf("%d records, want %d", len(got), len(want))
			}
		})
	}
}

func TestDamageInASegmentOfOnesOwnCostsOneRecordToo(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	var want []string
	for i := range 10 {
		r := record("a", i)
		if err := l.Append(t.Context(), &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
	}
	all, _ := l.segments()
	damaged := (*all[0].extents[string(extentKey(nil, []byte("default"), []byte("a")))])[4]
	if _, err := all[0].file.WriteAt([]byte("something else"), damaged.at+60); err != nil {
		t.Fatal(err)
	}
	if err := s.File(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, slices.Delete(want, 4, 5)) || len(withRecords(dir)) != 0 {
		t.Errorf("%d records are filed, want all but one", len(got))
	}
	if n := counted(t, l, "torn_bytes_total"); int32(n) != damaged.size || counted(t, l, "damaged_total") != 1 {
		t.Errorf("%v bytes are counted as lost, want %d", n, damaged.size)
	}
	if kept := tornFiles(dir); len(kept) != 1 {
		t.Errorf("%v", kept)
	}
}

func TestAHoldKeepsWhatWasKeptOfDamagedSegments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		e.answer(t, "held", "held", "p-1")
		here, elsewhere := e.Log.o.Dir, t.TempDir()
		for _, dir := range []string{here, elsewhere} {
			if err := keepTorn(filepath.Join(dir, "n-"+db.NewID()+segmentExt+tornExt), [][]byte{[]byte("half a frame about p-1")}); err != nil {
				t.Fatal(err)
			}
		}
		other := newService(t, d, openLog(t, elsewhere, nil), blobtest.Dir(t)) // another process of the installation
		b := &bin.Service{DB: d, Now: e.Now}
		if _, err := b.PutHold(e.ctx, bin.Hold{Kind: "model", Name: "held", Reason: "a dispute"}); err != nil {
			t.Fatal(err)
		}
		got, err := e.Erase(e.ctx, "p-1", "request 17")
		if err := errors.Join(err, other.dropTorn(e.ctx)); err != nil {
			t.Fatal(err)
		}
		if got.Kept != 1 || got.Damaged != 0 || len(tornFiles(here)) != 1 || len(tornFiles(elsewhere)) != 1 || e.entries(t, "prediction.erased") != 0 {
			t.Errorf("under a hold: %+v, left %v and %v, %d entries", got, tornFiles(here), tornFiles(elsewhere), e.entries(t, "prediction.erased"))
		}
		if err := b.LiftHold(e.ctx, "model", "held"); err != nil {
			t.Fatal(err)
		}
		got, err = e.Erase(e.ctx, "p-1", "request 17")
		if err := errors.Join(err, other.dropTorn(e.ctx)); err != nil {
			t.Fatal(err)
		}
		if got.Damaged != 1 || len(tornFiles(here)) != 0 || len(tornFiles(elsewhere)) != 0 || e.entries(t, "prediction.erased") != 2 {
			t.Errorf("after it: %+v, left %v and %v, %d entries", got, tornFiles(here), tornFiles(elsewhere), e.entries(t, "prediction.erased"))
		}
	})
}

func TestAnErasureCountsWhatItRemovedOfDamagedSegments(t *testing.T) {
	e := newEra(t, dbtest.SQLite(t))
	// One that cannot be removed: a folder that is not empty.
	stays := filepath.Join(e.Log.o.Dir, "n-"+db.NewID()+segmentExt+tornExt)
	if err := os.MkdirAll(filepath.Join(stays, "inner"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := keepTorn(filepath.Join(e.Log.o.Dir, "n-"+db.NewID()+segmentExt+tornExt), [][]byte{[]byte("half a frame about p-1")}); err != nil {
		t.Fatal(err)
	}
	got, err := e.Erase(e.ctx, "p-1", "request 17")
	if err == nil || got.Damaged != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	var detail string
	if err := e.DB.Read(e.ctx, func(tx db.Scope) error {
		return tx.QueryRow("SELECT detail FROM audit_entry WHERE workspace = $1 AND action = 'prediction.erased'", tx.Workspace).Scan(&detail)
	}); err != nil || !strings.Contains(detail, `"damaged_files":1`) {
		t.Errorf("the audit log says %s, %v", detail, err)
	}
}

func TestAnErasureRemovesWhatWasKeptOfDamagedSegments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		e.answer(t, "a", "a", "p-1")
		here, elsewhere := e.Log.o.Dir, t.TempDir()
		torn := func(dir, segment string) string {
			name := filepath.Join(dir, "n-"+segment+segmentExt+tornExt)
			if err := keepTorn(name, [][]byte{[]byte("half a frame about p-1")}); err != nil {
				t.Fatal(err)
			}
			return name
		}
		torn(here, db.NewID())
		old := torn(elsewhere, db.NewID())
		other := newService(t, d, openLog(t, elsewhere, nil), blobtest.Dir(t)) // another process of the installation
		if err := other.dropTorn(e.ctx); err != nil || len(tornFiles(elsewhere)) != 1 {
			t.Fatalf("before an erasure: %v, %v", tornFiles(elsewhere), err)
		}
		got, err := e.Erase(e.ctx, "p-1", "request 17")
		if err != nil || got.Damaged != 1 || len(tornFiles(here)) != 0 || e.entries(t, "prediction.erased") != 2 {
			t.Errorf("%+v, %v, left %v, %d entries", got, err, tornFiles(here), e.entries(t, "prediction.erased"))
		}
		young := torn(elsewhere, db.NewID())
		if err := other.dropTorn(e.ctx); err != nil || !slices.Equal(tornFiles(elsewhere), []string{young}) {
			t.Errorf("elsewhere: %v, %v; want %s gone", tornFiles(elsewhere), err, old)
		}
		if got, err := e.Erase(e.ctx, "p-1", "request 17"); err != nil || got.Damaged != 0 || e.entries(t, "prediction.erased") != 2 {
			t.Errorf("again: %+v, %v", got, err)
		}
	})
}

// A power cut can leave the size that was reserved on disk without the pages that were written: they are zeros.
func TestASegmentWhoseFirstPageIsZerosGivesTheRecordsBehindIt(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(b []byte, at []int) []byte
		lost   func(at []int) (bytes, places int)
		left   func(want []string) []string
	}{
		"the first page": {
			func(b []byte, at []int) []byte { clear(b[:at[3]+10]); return b },
			func(at []int) (int, int) { return at[4] - at[0], 1 },
			func(want []string) []string { return want[4:] },
		},
		"what says that it is a segment": {
			func(b []byte, at []int) []byte { clear(b[:at[0]]); return b },
			func([]int) (int, int) { return 0, 0 },
			func(want []string) []string { return want },
		},
		"that, and the end": {
			func(b []byte, at []int) []byte { clear(b[:at[0]]); return b[:at[9]+20] },
			func([]int) (int, int) { return 20, 1 },
			func(want []string) []string { return want[:9] },
		},
	} {
		t.Run(name, func(t *testing.T) {
			file, data, want, at := closedSegment(t, 10)
			damaged := append(c.damage(slices.Clone(data), at), make([]byte, 4096)...) // and what was reserved
			if err := os.WriteFile(file, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, filepath.Dir(file), nil)
			left := c.left(want)
			if got := ids(scan(t, t.Context(), newService(t, dbtest.SQLite(t), l, blobtest.Dir(t)), Query{})); !slices.Equal(got, left) {
				t.Errorf("%d records are left, want %d", len(got), len(left))
			}
			bytes, places := c.lost(at)
			if n, p := counted(t, l, "torn_bytes_total"), counted(t, l, "damaged_total"); int(n) != bytes || int(p) != places {
				t.Errorf("%v bytes in %v places are counted as lost, want %d in %d", n, p, bytes, places)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			again := openLog(t, filepath.Dir(file), nil) // what was mended is a segment
			s := newService(t, dbtest.SQLite(t), again, blobtest.Dir(t))
			if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, left) || counted(t, again, "torn_bytes_total") != 0 {
				t.Errorf("%d records are left after it was opened again, want %d", len(got), len(left))
			}
			if err := s.File(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := ids(scan(t, t.Context(), s, Query{})); !slices.Equal(got, left) || len(withRecords(filepath.Dir(file))) != 0 {
				t.Errorf("%d records are filed, want %d", len(got), len(left))
			}
		})
	}
}

func TestASegmentOfZerosIsNoLoss(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "n-"+db.NewID()+segmentExt)
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, dir, nil)
	if n, p := counted(t, l, "torn_bytes_total"), counted(t, l, "damaged_total"); n != 0 || p != 0 {
		t.Errorf("%v bytes in %v places are counted as lost", n, p)
	}
	if err := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t)).File(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) || len(tornFiles(dir)) != 0 {
		t.Errorf("it is not gone: %v, %v", err, tornFiles(dir))
	}
}
