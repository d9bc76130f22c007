// Package blobtest is the contract of blob.Store as tests: every implementation passes it.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"keelson/internal/blob"
)

// Each calls fn with an empty folder store and an empty S3 store (a server on loopback that ends with the test).
func Each(t *testing.T, fn func(t *testing.T, s blob.Store)) {
	t.Helper()
	t.Run("dir", func(t *testing.T) { fn(t, Dir(t)) })
	t.Run("s3", func(t *testing.T) {
		s, err := blob.Open(context.Background(), S3(t))
		if err != nil {
			t.Fatal(err)
		}
		fn(t, s)
	})
}

// Dir is a store in a temporary folder.
func Dir(t testing.TB) blob.Store {
	t.Helper()
	d, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// S3 starts an S3 server on loopback and gives the location of an empty bucket.
func S3(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(server.Close)
	return "s3://key:secret@" + strings.TrimPrefix(server.URL, "http://") + "/keelson?tls=off"
}

// Run checks one empty store.
func Run(t *testing.T, s blob.Store) {
	ctx := context.Background()
	read := func(r io.ReadSeekCloser, size int64, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil || int64(len(b)) != size {
			t.Fatalf("read %d of %d bytes: %v", len(b), size, err)
		}
		return string(b)
	}
	const hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	t.Run("bytes come back under their SHA-256", func(t *testing.T) {
		for range 2 {
			d, n, err := s.Put(ctx, strings.NewReader("hello"))
			if err != nil || d != hello || n != 5 {
				t.Fatalf("got %s, %d bytes, %v", d, n, err)
			}
		}
		if got := read(s.Open(ctx, hello)); got != "hello" {
			t.Fatalf("got %q", got)
		}
		if err := s.Verify(ctx, hello); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("empty bytes are bytes", func(t *testing.T) {
		d, n, err := s.Put(ctx, strings.NewReader(""))
		if err != nil || n != 0 {
			t.Fatal(err)
		}
		if got := read(s.Open(ctx, d)); got != "" {
			t.Fatalf("got %q", got)
		}
	})
	t.Run("a reader can seek", func(t *testing.T) {
		r, _, err := s.Open(ctx, hello)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Seek(3, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(r); string(b) != "lo" {
			t.Fatalf("got %q", b)
		}
	})
	t.Run("a failing source leaves nothing", func(t *testing.T) {
		boom := errors.New("boom")
		if _, _, err := s.Put(ctx, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(boom))); !errors.Is(err, boom) {
			t.Fatalf("want the source's error, got %v", err)
		}
		if err := s.PutNamed(ctx, "half", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(boom))); err == nil {
			t.Fatal("a failing source was stored")
		}
		if _, _, err := s.OpenNamed(ctx, "half"); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("want nothing, got %v", err)
		}
	})
	t.Run("what is not there is not found, what is no digest is refused", func(t *testing.T) {
		none := "sha256:" + strings.Repeat("0", 64)
		if _, _, err := s.Open(ctx, none); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("got %v", err)
		}
		if err := s.Delete(ctx, none); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", "hello", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("G", 64), "md5:" + strings.Repeat("0", 64)} {
			if _, _, err := s.Open(ctx, bad); err == nil || errors.Is(err, blob.ErrNotFound) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	})
	t.Run("named bytes are replaced whole and listed in order", func(t *testing.T) {
		for name, text := range map[string]string{"p/b/2": "two", "p/a/1": "one", "q": "other"} {
			if err := s.PutNamed(ctx, name, strings.NewReader("old")); err != nil {
				t.Fatal(err)
			}
			if err := s.PutNamed(ctx, name, bytes.NewReader([]byte(text))); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(s.OpenNamed(ctx, "p/b/2")); got != "two" {
			t.Fatalf("got %q", got)
		}
		list, err := s.ListNamed(ctx, "p/")
		if err != nil || len(list) != 2 || list[0].Name != "p/a/1" || list[1].Name != "p/b/2" || list[0].Size != 3 {
			t.Fatalf("got %v, %v", list, err)
		}
		if list, err := s.ListNamed(ctx, "nothing/here"); err != nil || len(list) != 0 {
			t.Fatalf("got %v, %v", list, err)
		}
		if err := s.DeleteNamed(ctx, "q"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.OpenNamed(ctx, "q"); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a name leads nowhere else", func(t *testing.T) {
		for _, bad := range []string{"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", `a\b`, "a\x00b"} {
			if err := s.PutNamed(ctx, bad, strings.NewReader("x")); err == nil {
				t.Errorf("%q was stored", bad)
			}
			if _, _, err := s.OpenNamed(ctx, bad); err == nil {
				t.Errorf("%q was opened", bad)
			}
		}
	})
	t.Run("deleted bytes are gone", func(t *testing.T) {
		if err := s.Delete(ctx, hello); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Open(ctx, hello); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("got %v", err)
		}
	})
}

// Tamper overwrites the stored bytes behind the store's back; folder is what OpenDir was given.
func Tamper(t testing.TB, folder, digest string, with []byte) {
	t.Helper()
	hexa := strings.TrimPrefix(digest, "sha256:")
	if err := os.WriteFile(folder+"/content/"+hexa[:2]+"/"+hexa, with, 0o600); err != nil {
		t.Fatal(err)
	}
}
