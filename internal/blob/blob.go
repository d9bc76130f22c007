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

// Content is one entry of a listing of content-addressed bytes.
type Content struct {
	Digest   string
	Size     int64
	Modified time.Time
}

// What a store may do beside; both stores here do all of it except where said. Ask by type assertion.
type (
	// Claiming asks claim before bytes get their name, with their digest; when it fails nothing is stored. Keeper uses it
	// to keep the collector away from bytes that are about to be referred to.
	Claiming interface {
		OnPut(claim func(ctx context.Context, digest string) error)
	}
	// Listing gives up to limit stored digests greater than after in their order ("" is the start).
	Listing interface {
		Contents(ctx context.Context, after string, limit int) ([]Content, error)
	}
	// Remembering knows without reading which bytes were found sound and not touched since. S3 is not.
	Remembering interface{ Sound(digest string) bool }
	// Stamping tells without reading whether stored bytes were written anew: the stamp of a digest changes when its bytes
	// are put in place again, whatever they are. ErrNotFound. Dir is Remembering instead.
	Stamping interface {
		Stamp(ctx context.Context, digest string) (string, error)
	}
	// Tidying removes what broken-off writes left before a time.
	Tidying interface {
		Tidy(ctx context.Context, before time.Time) error
	}
	// Linking gives an address at which a stored object can be fetched for a while without a token, as an attachment of
	// the given name and type. Dir is not.
	Linking interface {
		Link(ctx context.Context, digest, name, contentType string, valid time.Duration) (string, error)
	}
	// Parted takes content in parts, which may come side by side, more than once, and over days.
	Parted interface {
		// BeginParts starts an upload.
		BeginParts(ctx context.Context) (upload string, err error)
		// PartLink is where part n (1 to MaxParts) is to be PUT; "" when the parts come through WritePart.
		PartLink(ctx context.Context, upload string, n int, valid time.Duration) (string, error)
		// WritePart stores part n, in place of one that came before. S3 has its links instead.
		WritePart(ctx context.Context, upload string, n int, r io.Reader) (Part, error)
		// Parts lists what is there, in order. ErrNotFound for an upload that was finished or dropped.
		Parts(ctx context.Context, upload string) ([]Part, error)
		// FinishParts makes the parts 1 to len(parts) one content, as Put does. A part that is missing or whose tag is
		// another is a problem.Invalid, and the upload goes on.
		FinishParts(ctx context.Context, upload string, parts []Part) (digest string, size int64, err error)
		// DropParts ends an upload; one that is not there is no error.
		DropParts(ctx context.Context, upload string) error
	}
)

// MaxParts is how many parts an upload has at most.
const MaxParts = 10_000

// Part is one part of an upload. ETag tells its bytes from others of the same number, without quotation marks.
type Part struct {
	Number int
	ETag   string
	Size   int64
}

func badPart(n int) error {
	return problem.New(problem.Invalid, "There is no part %d; parts count from 1 to %d.", n, MaxParts).At("part_number")
}

// CheckParts refuses parts that are not numbered 1, 2, 3, … or that differ from those which are there.
func CheckParts(parts, there []Part) error {
	if len(parts) == 0 || len(parts) > MaxParts {
		return problem.New(problem.Invalid, "An upload has 1 to %d parts; got %d.", MaxParts, len(parts)).At("parts")
	}
	have := map[int]Part{}
	for _, p := range there {
		have[p.Number] = p
	}
	for i, p := range parts {
		h, ok := have[i+1]
		switch {
		case p.Number != i+1:
			return problem.New(problem.Invalid, "The parts are not numbered 1, 2, 3, …: place %d holds part %d.", i+1, p.Number).At("parts")
		case !ok:
			return problem.New(problem.Invalid, "Part %d has not been uploaded; send it, then complete the upload again.", i+1).At("parts")
		case strings.Trim(p.ETag, `"`) != h.ETag:
			return problem.New(problem.Invalid, "Part %d is not the one that was uploaded: its ETag is %q; send it again, then complete the upload.", i+1, h.ETag).At("parts")
		}
	}
	return nil
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

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }

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
