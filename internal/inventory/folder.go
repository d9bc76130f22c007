package inventory

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"keelson/internal/blob"
)

// Folder shows the files of a version as a read-only file system over the blob store. ctx bounds the reads.
func Folder(ctx context.Context, store blob.Store, files []File) fs.FS {
	f := &folder{ctx: ctx, store: store, files: map[string]File{}, dirs: map[string][]fs.DirEntry{".": nil}}
	for _, file := range files {
		f.files[file.Path] = file
		child, isDir := file.Path, false
		for {
			dir := path.Dir(child)
			_, known := f.dirs[dir]
			f.dirs[dir] = append(f.dirs[dir], entry{name: path.Base(child), dir: isDir, size: file.Size})
			if known || dir == "." {
				break
			}
			child, isDir = dir, true
		}
	}
	for d := range f.dirs {
		slices.SortFunc(f.dirs[d], func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return f
}

type folder struct {
	ctx   context.Context
	store blob.Store
	files map[string]File
	dirs  map[string][]fs.DirEntry
}

// Open implements fs.FS.
func (f *folder) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if list, ok := f.dirs[name]; ok {
		return &openDir{entry: entry{name: path.Base(name), dir: true}, list: list}, nil
	}
	file, ok := f.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	r, size, err := f.store.Open(f.ctx, file.Digest)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &openFile{ReadSeekCloser: r, entry: entry{name: path.Base(name), size: size}}, nil
}

// entry is the directory entry and the file info of a file or folder.
type entry struct {
	name string
	dir  bool
	size int64
}

func (e entry) Name() string               { return e.name }
func (e entry) IsDir() bool                { return e.dir }
func (e entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) Size() int64                { return e.size }
func (e entry) ModTime() time.Time         { return time.Time{} }
func (e entry) Sys() any                   { return nil }
func (e entry) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o500
	}
	return 0o400
}

type openFile struct {
	io.ReadSeekCloser
	entry
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.entry, nil }

type openDir struct {
	entry
	list []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.entry, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		out := d.list
		d.list = nil
		return out, nil
	}
	if len(d.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.list))
	out := d.list[:n]
	d.list = d.list[n:]
	return out, nil
}
