// Package blob keeps bytes: content-addressed ones (artifacts, data), which never change, and named ones (prediction
// log, audit tiles), which are written whole. A name is never opened as a path of the caller's: the file store resolves
// everything below one root handle.
package blob

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"keelson/internal/problem"
)

// Store is one place for bytes. Implementations pass blobtest.
type Store interface {
	// Put stores what r holds and returns its digest "sha256:<hex>" and its size in bytes. Storing the same bytes again
	// changes nothing. When r or the store fails nothing is kept.
	Put(ctx context.Context, r io.Reader) (digest string, size int64, err error)
	// Open reads stored bytes and gives their size; it does not check them against the digest. ErrNotFound.
	Open(ctx context.Context, digest string) (io.ReadSeekCloser, int64, error)
	// Verify reads the bytes and fails with ErrAltered unless they have the digest. ErrNotFound.
	Verify(ctx context.Context, digest string) error
	// Delete removes stored bytes; those that are not there are no error.
	Delete(ctx context.Context, digest string) error

	// PutNamed stores r under a name like "predictions/screening/dt=2026-11-21/x.parquet", whole or not at all,
	// replacing what was there.
	PutNamed(ctx context.Context, name string, r io.Reader) error
	// OpenNamed reads what PutNamed stored. ErrNotFound.
	OpenNamed(ctx context.Context, name string) (io.ReadSeekCloser, int64, error)
	// ListNamed gives the names with a prefix in alphabetical order.
	ListNamed(ctx context.Context, prefix string) ([]Named, error)
	// DeleteNamed removes a name; one that is not there is no error.
	DeleteNamed(ctx context.Context, name string) error
}

// Named is one entry of a listing.
type Named struct {
	Name     string
	Size     int64
	Modified time.Time
}

// ErrNotFound and ErrAltered are matched with errors.Is; both are problems.
var (
	ErrNotFound = problem.New(problem.NotFound, "These bytes are not in the store.")
	ErrAltered  = problem.New(problem.Conflict, "The stored bytes are not those that were put in: they were changed outside of the program.")
)

// ParseDigest checks "sha256:<64 hex digits>" and gives the digits.
func ParseDigest(digest string) (string, error) {
	hexa, ok := strings.CutPrefix(digest, "sha256:")
	if b, err := hex.DecodeString(hexa); !ok || err != nil || len(b) != 32 || strings.ToLower(hexa) != hexa {
		return "", problem.New(problem.Invalid, "%q is no digest; write sha256: and 64 hexadecimal digits.", clip(digest))
	}
	return hexa, nil
}

// CheckName refuses names that are not a plain relative path: empty, absolute, with "." or ".." or an empty part, a
// backslash, a NUL, or more than 1,000 bytes.
func CheckName(name string) error {
	bad := name == "" || len(name) > 1000 || strings.ContainsAny(name, "\\\x00")
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || part == "." || part == ".." || len(part) > 255
	}
	if bad {
		return problem.New(problem.Invalid, "%q is no name for stored bytes.", clip(name))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// Open opens the store that a location names: "s3://key:secret@host:port/bucket?tls=off&region=…", or a folder.
func Open(ctx context.Context, location string) (Store, error) {
	if strings.HasPrefix(location, "s3://") {
		return OpenS3(ctx, location)
	}
	if scheme, _, ok := strings.Cut(location, "://"); ok && scheme != "file" {
		return nil, fmt.Errorf("blobs: %s:// is not supported; use a folder or s3://", scheme)
	}
	return OpenDir(strings.TrimPrefix(location, "file://"))
}
