package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/seal"
)

func newLog(t *testing.T, d *db.DB) *audit.Log {
	t.Helper()
	k, err := seal.Load(filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	return &audit.Log{DB: d, Blobs: blobs, Key: k, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func as(name string) context.Context {
	return caller.With(context.Background(), caller.Caller{ID: name, Name: name, Kind: caller.Person, Via: "api"})
}

func record(t *testing.T, d *db.DB, n int) {
	t.Helper()
	for i := range n {
		if err := d.Write(as("ana"), func(tx db.Scope) error {
			return audit.Record(tx, "approval.voted", fmt.Sprintf("approval/%d", i), map[string]any{"model": "screening", "grant": true, "why": "<ok> & fine"})
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func exec(t *testing.T, d *db.DB, q string, a ...any) {
	t.Helper()
	if err := d.Write(context.Background(), func(tx db.Scope) error { _, err := tx.Exec(q, a...); return err }); err != nil {
		t.Fatal(err)
	}
}

func TestTheLogVerifiesAndNamesWhatWasTouched(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		l := newLog(t, d)
		for range 3 { // several checkpoints
			record(t, d, 90)
			if err := l.Sequence(ctx); err != nil {
				t.Fatal(err)
			}
		}
		verify := func() audit.Report {
			t.Helper()
			r, err := l.Verify(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := verify(); !r.OK || r.Size != 270 || r.Checked != 270 || r.Pending != 0 {
			t.Fatalf("a clean log does not verify: %+v", r)
		}
		record(t, d, 1)
		if r := verify(); !r.OK || r.Pending != 1 {
			t.Fatalf("want one pending entry, got %+v", r)
		}
		if err := l.Sequence(ctx); err != nil {
			t.Fatal(err)
		}
		// One column after the other is changed and put back; each time the report names entry 137.
		for column, other := range map[string]string{"actor": "'eve'", "at": "at + 1", "action": "'approval.closed'", "object": "'approval/1000'",
			"detail": `'{"grant":false}'`, "via": "'ui'", "models": `'["other"]'`, "leaf": "'00'", "workspace": "'risk'"} {
			exec(t, d, "CREATE TABLE kept AS SELECT * FROM audit_entry WHERE idx = 137")
			exec(t, d, "UPDATE audit_entry SET "+column+" = "+other+" WHERE idx = 137")
			r := verify()
			if r.OK || len(r.Broken) != 1 || r.Broken[0].Index != 137 {
				t.Errorf("%s changed: %+v", column, r.Broken)
			}
			exec(t, d, "DELETE FROM audit_entry WHERE idx = 137")
			if r := verify(); r.OK || len(r.Broken) != 1 || r.Broken[0].Index != 137 || !strings.Contains(r.Broken[0].Why, "missing") {
				t.Errorf("deleted: %+v", r.Broken)
			}
			exec(t, d, "INSERT INTO audit_entry SELECT * FROM kept")
			exec(t, d, "DROP TABLE kept")
			if r := verify(); !r.OK {
				t.Fatalf("put back: %+v", r.Broken)
			}
		}
		// Erasing an actor leaves the tree valid.
		exec(t, d, "UPDATE audit_entry SET actor = '' WHERE idx = 5")
		if r := verify(); !r.OK {
			t.Errorf("an erased name breaks the log: %+v", r.Broken)
		}
		// Cutting the end, checkpoint included, is noticed by the checkpoint kept outside the database.
		exec(t, d, "DELETE FROM audit_entry WHERE idx >= 180")
		exec(t, d, "DELETE FROM audit_checkpoint WHERE size > 180")
		exec(t, d, "DELETE FROM audit_node WHERE pos >= 355")
		if r := verify(); r.OK || !strings.Contains(fmt.Sprint(r.Broken), "cut") {
			t.Errorf("the cut was not noticed: %+v", r.Broken)
		}
	})
}

func TestWhatWasNumberedBeforeASuddenEndIsPublishedByTheNextStart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		l := newLog(t, d)
		record(t, d, 100)
		if err := l.Sequence(ctx); err != nil {
			t.Fatal(err)
		}
		dead := *l // numbers and signs, but its files go where nobody looks
		elsewhere, err := blob.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer elsewhere.Close()
		dead.Blobs = elsewhere
		record(t, d, 500)
		if err := dead.Sequence(ctx); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		published := func(name string) string {
			r, _, err := l.Blobs.OpenNamed(ctx, name)
			if err != nil {
				return ""
			}
			defer r.Close()
			b, _ := io.ReadAll(r)
			return string(b)
		}
		for end := time.Now().Add(20 * time.Second); !strings.Contains(published("audit/checkpoint"), "\n600\n"); <-time.After(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the checkpoint outside the database is\n%s", published("audit/checkpoint"))
			}
		}
		for _, name := range []string{"audit/tile/8/0/000", "audit/tile/8/0/001"} { // written before the checkpoint
			if published(name) == "" {
				t.Errorf("%s is not there", name)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if r, err := l.Verify(context.Background()); err != nil || !r.OK || r.Size != 600 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestAnExportedBundleVerifiesWithoutTheServer(t *testing.T) {
	d := dbtest.SQLite(t)
	l := newLog(t, d)
	record(t, d, 300)
	if err := l.Sequence(context.Background()); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := l.Export(context.Background(), &buf); err != nil {
		t.Fatal(err)
	}
	check := func(b []byte, key string) (audit.Report, error) {
		return audit.VerifyBundle(bytes.NewReader(b), int64(len(b)), key)
	}
	if r, err := check(buf.Bytes(), l.Verifier()); err != nil || !r.OK || r.Checked != 300 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if r, err := check(buf.Bytes(), newLog(t, d).Verifier()); err != nil || r.OK {
		t.Fatalf("another log's key vouches for it: %+v, %v", r, err)
	}
	exec(t, d, "UPDATE audit_entry SET object = 'approval/x' WHERE idx = 7")
	buf.Reset()
	if _, err := l.Export(context.Background(), &buf); err != nil {
		t.Fatal(err)
	}
	if r, err := check(buf.Bytes(), l.Verifier()); err != nil || r.OK || r.Broken[0].Index != 7 {
		t.Fatalf("got %+v, %v", r, err)
	}
	for _, cut := range []int{0, 10, buf.Len() / 2} {
		if _, err := check(buf.Bytes()[:cut], ""); err == nil {
			t.Errorf("a file of %d bytes was accepted", cut)
		}
	}
}

func TestListsAreByModelAndPage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLog(t, d)
		record(t, d, 5)
		if err := d.Write(as("bo"), func(tx db.Scope) error { return audit.Record(tx, "model.created", "model/referral", nil) }); err != nil {
			t.Fatal(err)
		}
		got, err := l.List(as("x"), audit.Query{Model: "screening", Limit: 3})
		if err != nil || len(got) != 3 || got[0].Object != "approval/4" {
			t.Fatalf("got %+v, %v", got, err)
		}
		got, err = l.List(as("x"), audit.Query{Model: "screening", Limit: 3, Before: got[2].ID})
		if err != nil || len(got) != 2 {
			t.Fatalf("got %d entries, %v", len(got), err)
		}
		got, err = l.List(as("x"), audit.Query{Actor: "bo", Limit: 10})
		if err != nil || len(got) != 1 || got[0].Models[0] != "referral" {
			t.Fatalf("got %+v, %v", got, err)
		}
		got, err = l.List(caller.WithWorkspace(as("x"), "risk"), audit.Query{Limit: 10})
		if err != nil || len(got) != 0 {
			t.Fatalf("another workspace sees %d entries, %v", len(got), err)
		}
	})
}
