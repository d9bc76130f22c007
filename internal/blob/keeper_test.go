package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

func TestParts(t *testing.T) { blobtest.Each(t, blobtest.RunParts) }

func keeper(t *testing.T, d *db.DB, s blob.Store) *blob.Keeper {
	k := &blob.Keeper{DB: d, Store: s, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now,
		Holders: []blob.Holder{blob.Column{Table: "artifact", Name: "digest"}}}
	k.Watch()
	return k
}

// refer stores bytes and a row that refers to them, as a service does.
func refer(ctx context.Context, d *db.DB, s blob.Store, path, text string) (digest string, err error) {
	ctx, lease := blob.WithLease(ctx)
	digest, size, err := s.Put(ctx, strings.NewReader(text))
	if err != nil {
		return "", err
	}
	return digest, d.Write(ctx, func(tx db.Scope) error {
		if _, err := tx.Exec(`INSERT INTO artifact (workspace, root, path, digest, size, created_at) VALUES ('default', 'r', $1, $2, $3, 0)`, path, digest, size); err != nil {
			return err
		}
		return blob.Release(tx, lease)
	})
}

func drop(ctx context.Context, d *db.DB, path, digest string) error {
	return d.Write(ctx, func(tx db.Scope) error {
		if _, err := tx.Exec(`DELETE FROM artifact WHERE path = $1`, path); err != nil {
			return err
		}
		return blob.Loose(tx, digest)
	})
}

func there(t *testing.T, s blob.Store, digest string) bool {
	t.Helper()
	r, _, err := s.Open(context.Background(), digest)
	if errors.Is(err, blob.ErrNotFound) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	return true
}

func TestBytesGoWithTheLastRowAndNotBefore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		blobtest.Each(t, func(t *testing.T, s blob.Store) {
			ctx := context.Background()
			k := keeper(t, d, s)
			a, err := refer(ctx, d, s, t.Name()+"/one", t.Name()+"same")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := refer(ctx, d, s, t.Name()+"/two", t.Name()+"same"); err != nil {
				t.Fatal(err)
			}
			if err := drop(ctx, d, t.Name()+"/one", a); err != nil {
				t.Fatal(err)
			}
			if f, err := k.Collect(ctx); err != nil || f.Files != 0 || !there(t, s, a) {
				t.Fatalf("with one row left: %+v %v", f, err)
			}
			if err := drop(ctx, d, t.Name()+"/two", a); err != nil {
				t.Fatal(err)
			}
			if f, err := k.Collect(ctx); err != nil || f.Files != 1 || f.Bytes != int64(len(t.Name()+"same")) || there(t, s, a) {
				t.Fatalf("without a row: %+v %v", f, err)
			}
			if f, err := k.Collect(ctx); err != nil || f.Files != 0 {
				t.Fatalf("again: %+v %v", f, err)
			}
		})
	})
}

func TestBytesNobodyRefersToYetAreLeftAloneUntilTheirGraceIsOver(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := blobtest.Dir(t)
		k := keeper(t, d, s)
		digest, _, err := s.Put(ctx, strings.NewReader("orphan"))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(ctx, func(tx db.Scope) error { return blob.Loose(tx, digest) }); err != nil {
			t.Fatal(err)
		}
		k.Now = func() time.Time { return time.Now().Add(time.Hour) } // the file looks old, the lease does not
		for what, clean := range map[string]func(context.Context) (blob.Freed, error){"collecting": k.Collect, "sweeping": k.Sweep} {
			if f, err := clean(ctx); err != nil || f.Files != 0 || f.Waiting != 1 || !there(t, s, digest) {
				t.Fatalf("%s within the grace: %+v %v", what, f, err)
			}
		}
		if err := d.Write(ctx, func(tx db.Scope) error { _, err := tx.Exec(`UPDATE blob_lease SET expires = 1`); return err }); err != nil {
			t.Fatal(err)
		}
		if f, err := k.Sweep(ctx); err != nil || f.Files != 1 || there(t, s, digest) {
			t.Fatalf("after the grace: %+v %v", f, err)
		}
	})
}

func TestACollectorThatDiedIsFinishedByTheNextAndStopsNobody(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := blobtest.Dir(t)
		digest, _, err := s.Put(ctx, strings.NewReader("doomed")) // before anybody watches: without a lease
		if err != nil {
			t.Fatal(err)
		}
		k := keeper(t, d, s)
		doom := func(until int64) {
			t.Helper()
			if err := d.Write(ctx, func(tx db.Scope) error {
				_, err := tx.Exec(`INSERT INTO blob_doomed (digest, until) VALUES ($1, $2) ON CONFLICT (digest) DO UPDATE SET until = excluded.until`, digest, until)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		doom(time.Now().Add(time.Hour).UnixMicro())
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if _, _, err := s.Put(short, strings.NewReader("doomed")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("bytes that are being deleted were put: %v", err)
		}
		doom(1)
		if f, err := k.Collect(ctx); err != nil || f.Files != 1 || there(t, s, digest) {
			t.Fatalf("%+v %v", f, err)
		}
		doom(1)
		if _, err := refer(ctx, d, s, "again", "doomed"); err != nil {
			t.Fatal(err)
		}
		if f, err := k.Collect(ctx); err != nil || f.Files != 0 || !there(t, s, digest) {
			t.Fatalf("what was put again was deleted: %+v %v", f, err)
		}
	})
}

// TestPuttingAndCollectingAtOnceLosesNothing lets uploads of few contents race with deletions and collectors: whenever a
// row is there, so are its bytes.
func TestPuttingAndCollectingAtOnceLosesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		s := blobtest.Dir(t)
		k := keeper(t, d, s)
		var writers, collectors sync.WaitGroup
		stop := make(chan struct{})
		for range 2 {
			collectors.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := k.Collect(ctx); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for w := range 4 {
			writers.Go(func() {
				for i := range 25 {
					path := fmt.Sprint(w, "/", i)
					digest, err := refer(ctx, d, s, path, fmt.Sprint("content ", rand.IntN(3)))
					if err != nil {
						t.Error(err)
						return
					}
					if !there(t, s, digest) {
						t.Errorf("the row %s has no bytes", path)
						return
					}
					if err := drop(ctx, d, path, digest); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		close(stop)
		collectors.Wait()
		if _, err := k.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		if left, err := s.(blob.Listing).Contents(ctx, "", 10); err != nil || len(left) != 0 {
			t.Fatalf("left over: %v %v", left, err)
		}
	})
}

func TestAlteredBytesAreFoundByScrubbingAndOnReading(t *testing.T) {
	ctx := context.Background()
	folder := t.TempDir()
	s, err := blob.OpenDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := keeper(t, dbtest.SQLite(t), s)
	var told []string
	k.Altered = func(_ context.Context, d string) error { told = append(told, d); return nil }
	good, _, _ := s.Put(ctx, strings.NewReader("good"))
	bad, _, _ := s.Put(ctx, strings.NewReader("before"))
	if _, _, checked, err := blob.OpenSound(ctx, s, bad); err != nil || !checked || !s.Sound(bad) {
		t.Fatalf("what was just put is not known to be sound: %v", err)
	}
	blobtest.Tamper(t, folder, bad, []byte("beforE"))
	if s.Sound(bad) {
		t.Error("a touched file is still taken for sound")
	}
	if _, _, _, err := blob.OpenSound(ctx, s, bad); !errors.Is(err, blob.ErrAltered) {
		t.Errorf("altered bytes were opened: %v", err)
	}
	if n, altered, err := k.Scrub(ctx); err != nil || n != 2 || len(altered) != 1 || altered[0] != bad || len(told) != 1 {
		t.Errorf("scrubbing read %d and found %v, told %v, %v", n, altered, told, err)
	}
	if err := s.Verify(ctx, good); err != nil {
		t.Error(err)
	}
}

func TestACheckedReaderGivesAllOrHoldsTheEndBack(t *testing.T) {
	ctx := context.Background()
	s := blobtest.Dir(t)
	for _, size := range []int{0, 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 512 << 10, 700_000, 1 << 20} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * 7)
		}
		digest, n, err := s.Put(ctx, bytes.NewReader(data))
		if err != nil || n != int64(size) {
			t.Fatalf("%d bytes: put %d, %v", size, n, err)
		}
		got, err := io.ReadAll(blob.NewCheck(bytes.NewReader(data), digest))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
		if size == 0 {
			continue
		}
		data[size-1]++
		got, err = io.ReadAll(blob.NewCheck(bytes.NewReader(data), digest))
		if !errors.Is(err, blob.ErrAltered) || len(got) >= size {
			t.Errorf("%d altered bytes: read %d, %v", size, len(got), err)
		}
	}
}
