package pipeline

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"keelson/internal/problem"
)

// Bounds of a source tarball.
const (
	MaxArchive  = 32 << 20  // bytes as sent
	MaxUnpacked = 256 << 20 // bytes of all files together
	MaxFiles    = 10_000
)

// eachFile calls fn for every regular file of a gzipped tar, by its cleaned path. Anything but files and folders, a
// path that leaves the folder, and more than the bounds are refused; what was read by then is for the caller to drop.
func eachFile(r io.Reader, fn func(name string, r io.Reader, mode int64) error) error {
	bad := func(format string, a ...any) *problem.Error {
		return problem.New(problem.Invalid, "The source was refused: "+format, a...).At("source")
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return bad("it is not a gzipped tar file.")
	}
	left := int64(MaxUnpacked)
	t := tar.NewReader(z)
	for n := 0; ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bad("it ends in the middle or is damaged.")
		}
		name := path.Clean(h.Name)
		if !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\\\x00") {
			return bad("%q leaves its folder.", clip(h.Name)).Suspect("archive")
		}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg:
		default:
			return bad("%q is a link or a device; only files and folders are taken.", clip(h.Name)).Suspect("archive")
		}
		if n++; n > MaxFiles {
			return bad("it has more than %d files.", MaxFiles)
		}
		body := &io.LimitedReader{R: t, N: left + 1}
		if err := fn(name, body, h.Mode); err != nil {
			var p *problem.Error
			if !errors.As(err, &p) && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader)) {
				return bad("it ends in the middle or is damaged.")
			}
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return bad("it ends in the middle or is damaged.")
		}
		if left = body.N - 1; left < 0 {
			return bad("it unpacks to more than %d MiB.", MaxUnpacked>>20)
		}
	}
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 100) }

// unpack writes a source tarball into dir, which exists, and nowhere else.
func unpack(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return eachFile(r, func(name string, r io.Reader, mode int64) error {
		if folder := path.Dir(name); folder != "." {
			if err := root.MkdirAll(filepath.FromSlash(folder), 0o700); err != nil {
				return fmt.Errorf("unpack %s: %w", name, err)
			}
		}
		f, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600|fs.FileMode(mode)&0o100)
		if err != nil {
			if errors.Is(err, fs.ErrExist) {
				return problem.New(problem.Invalid, "The source was refused: it has %q twice.", clip(name)).At("source")
			}
			return fmt.Errorf("unpack %s: %w", name, err)
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	})
}
