//go:build linux

package prediction

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
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
