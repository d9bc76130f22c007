package blob_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
)

func TestStores(t *testing.T) { blobtest.Each(t, blobtest.Run) }

func TestBytesChangedOnDiskAreNoticedAndRepairedByPuttingThemAgain(t *testing.T) {
	folder := t.TempDir()
	s, err := blob.OpenDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	d, _, _ := s.Put(ctx, strings.NewReader("hello"))
	blobtest.Tamper(t, folder, d, []byte("hellO"))
	if err := s.Verify(ctx, d); !errors.Is(err, blob.ErrAltered) {
		t.Fatalf("want the change noticed, got %v", err)
	}
	if _, _, err := s.Put(ctx, strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(ctx, d); err != nil {
		t.Fatal(err)
	}
}

func TestALinkOutOfTheFolderIsNotFollowed(t *testing.T) {
	folder := t.TempDir()
	s, err := blob.OpenDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(folder, "named", "link")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.OpenNamed(context.Background(), "link"); err == nil {
		t.Fatal("a link to a file outside was opened")
	}
}

func TestABucketIsNamedInEitherForm(t *testing.T) {
	host := strings.Split(blobtest.S3(t), "@")[1]
	host, _, _ = strings.Cut(host, "/")
	ctx := context.Background()
	for _, location := range []string{
		"s3://key:secret@" + host + "/one?tls=off",
		"s3://key:secret@" + host + "/one/deep/er?tls=off&region=eu-west-1",
		"s3://key:secret@two?endpoint=http://" + host,
		"s3://key:secret@two/deep?endpoint=http://" + host,
	} {
		s, err := blob.Open(ctx, location)
		if err != nil {
			t.Errorf("%s: %v", location, err)
			continue
		}
		if d, _, err := s.Put(ctx, strings.NewReader("x")); err != nil || s.Verify(ctx, d) != nil {
			t.Errorf("%s: %v", location, err)
		}
	}
	for _, location := range []string{"s3://", "s3://b?endpoint=nothing", "ftp://h/b"} {
		if _, err := blob.Open(ctx, location); err == nil {
			t.Errorf("%s was opened", location)
		}
	}
}
