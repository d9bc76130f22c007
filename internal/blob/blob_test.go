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
