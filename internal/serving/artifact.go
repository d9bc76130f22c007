package serving

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"keelson/internal/blob"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// artifact is the files of a version as a read-only folder. A file is read whole into memory when it is opened, and only
// handed out when those bytes have the digest of the release: what an engine parses is what was hashed.
type artifact struct {
	ctx   context.Context
	blobs blob.Store
	files map[string]release.File
	limit int64
}

func openArtifact(ctx context.Context, blobs blob.Store, files []release.File, limit int64) (*artifact, error) {
	a := &artifact{ctx: ctx, blobs: blobs, files: map[string]release.File{}, limit: limit}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, problem.New(problem.Conflict, "The release names the path %q, which is none within a folder.", clip(f.Path))
		}
		a.files[f.Path] = f
	}
	return a, nil
}

// read gives the bytes of a file that have its digest; *problem.Error of kind Conflict when they have not.
func (a *artifact) read(f release.File) ([]byte, error) {
	if f.Size > a.limit {
		return nil, problem.New(problem.TooLarge, "The file %s has %d bytes; the limit for loading is %d.", f.Path, f.Size, a.limit)
	}
	r, _, err := a.blobs.Open(a.ctx, f.Digest)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Path, err)
	}
	defer r.Close()
	var b bytes.Buffer
	h := sha256.New()
	// One byte more than the release says is enough to see that the file grew.
	if _, err := io.Copy(io.MultiWriter(&b, h), io.LimitReader(r, f.Size+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != f.Digest {
		return nil, changed(f)
	}
	return b.Bytes(), nil
}

func changed(f release.File) *problem.Error {
	return problem.New(problem.Conflict, "The stored bytes of %s are not those that were approved: they were changed outside of the program.", f.Path)
}

// verify hashes every file without keeping it.
func (a *artifact) verify() error {
	for _, p := range sortedKeys(a.files) {
		f := a.files[p]
		if err := a.blobs.Verify(a.ctx, f.Digest); err != nil {
			return describe(f, err)
		}
	}
	return nil
}

// Open gives a file, verified, or a folder.
func (a *artifact) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if f, ok := a.files[name]; ok {
		b, err := a.read(f)
		if err != nil {
			return nil, err
		}
		return &openFile{Reader: bytes.NewReader(b), info: info{path.Base(name), f.Size, false}}, nil
	}
	list, err := a.ReadDir(name)
	if err != nil {
		return nil, err
	}
	return &openFile{Reader: bytes.NewReader(nil), info: info{path.Base(name), 0, true}, list: list}, nil
}

// ReadDir lists a folder by name.
func (a *artifact) ReadDir(name string) ([]fs.DirEntry, error) {
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	seen := map[string]info{}
	for p, f := range a.files {
		rest, ok := strings.CutPrefix(p, prefix)
		if !ok {
			continue
		}
		first, _, deeper := strings.Cut(rest, "/")
		if deeper {
			seen[first] = info{first, 0, true}
		} else {
			seen[first] = info{first, f.Size, false}
		}
	}
	if len(seen) == 0 && name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	var out []fs.DirEntry
	for _, k := range sortedKeys(seen) {
		out = append(out, seen[k])
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// info describes a file or folder, as fs.FileInfo and fs.DirEntry.
type info struct {
	name string
	size int64
	dir  bool
}

func (i info) Name() string               { return i.name }
func (i info) Size() int64                { return i.size }
func (i info) ModTime() time.Time         { return time.Time{} }
func (i info) IsDir() bool                { return i.dir }
func (i info) Sys() any                   { return nil }
func (i info) Info() (fs.FileInfo, error) { return i, nil }
func (i info) Type() fs.FileMode          { return i.Mode().Type() }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o500
	}
	return 0o400
}

type openFile struct {
	*bytes.Reader
	info info
	list []fs.DirEntry
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

func (f *openFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		list := f.list
		f.list = nil
		return list, nil
	}
	if len(f.list) == 0 {
		return nil, io.EOF
	}
	k := min(n, len(f.list))
	list := f.list[:k]
	f.list = f.list[k:]
	return list, nil
}
