package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// Dir is a store in a folder: content/ab/abcd…, named/…, parts/ for uploads in parts, and tmp/ for what is being written.
type Dir struct {
	root  *os.Root
	claim func(context.Context, string) error
	sound sound
}

// OpenDir opens a folder, making it if missing.
func OpenDir(folder string) (*Dir, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for blobs: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open folder for blobs: %w", err)
	}
	for _, d := range []string{"content", "named", "parts", "tmp"} {
		if err := root.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("open folder for blobs: %w", err)
		}
	}
	return &Dir{root: root}, nil
}

// Close closes the root handle.
func (d *Dir) Close() error { return d.root.Close() }

func contentPath(hexa string) string { return "content/" + hexa[:2] + "/" + hexa }

// OnPut sets what is asked before bytes get their name; see Claiming.
func (d *Dir) OnPut(claim func(context.Context, string) error) { d.claim = claim }

// write copies r into a temporary file, hashing on the way if sum is given, syncs it and lets place move it to its final
// name.
func (d *Dir) write(r io.Reader, sum hash.Hash, place func(tmp string, size int64) error) error {
	tmp := "tmp/" + db.NewID()
	f, err := d.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return full(err)
	}
	defer d.root.Remove(tmp)
	size, err := copyHashed(f, r, sum)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return full(err)
	}
	return full(place(tmp, size))
}

// move renames tmp to name, making its folders, and syncs the folder so that the name outlives a crash.
func (d *Dir) move(tmp, name string) error {
	if err := d.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	if err := d.root.Rename(tmp, name); err != nil {
		return err
	}
	dir, err := d.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (d *Dir) Put(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	sum := sha256.New()
	err = d.write(r, sum, func(tmp string, n int64) error {
		hexa := hex.EncodeToString(sum.Sum(nil))
		digest, size = "sha256:"+hexa, n
		if d.claim != nil {
			if err := d.claim(ctx, digest); err != nil {
				return err
			}
		}
		// What is there is replaced rather than kept: the new bytes were hashed just now, the old ones may have been altered.
		if err := d.move(tmp, contentPath(hexa)); err != nil {
			return err
		}
		if info, err := d.root.Stat(contentPath(hexa)); err == nil {
			d.sound.keep(digest, info)
		}
		return nil
	})
	if err != nil {
		return "", 0, err
	}
	return digest, size, nil
}

func (d *Dir) Open(_ context.Context, digest string) (io.ReadSeekCloser, int64, error) {
	hexa, err := ParseDigest(digest)
	if err != nil {
		return nil, 0, err
	}
	return d.open(contentPath(hexa))
}

func (d *Dir) open(name string) (io.ReadSeekCloser, int64, error) {
	// A link that somebody put in place of a file is not followed, wherever it leads.
	if info, err := d.root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, 0, ErrAltered
	}
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Verify remembers what it found sound until the file is touched, see Sound.
func (d *Dir) Verify(ctx context.Context, digest string) error {
	hexa, err := ParseDigest(digest)
	if err != nil {
		return err
	}
	before, statErr := d.root.Stat(contentPath(hexa))
	if err := verify(ctx, d, digest); err != nil {
		d.sound.forget(digest)
		return err
	}
	if statErr == nil {
		d.sound.keep(digest, before)
	}
	return nil
}

// Sound implements Remembering: the file has been read and hashed by this process and neither its size, its times nor
// its place on the disk changed since. The time of change (ctime) counts, which a program cannot set.
func (d *Dir) Sound(digest string) bool {
	hexa, err := ParseDigest(digest)
	if err != nil {
		return false
	}
	info, err := d.root.Stat(contentPath(hexa))
	return err == nil && d.sound.is(digest, info)
}

// Contents implements Listing, folder by folder.
func (d *Dir) Contents(_ context.Context, after string, limit int) (out []Content, err error) {
	start := 0
	if after != "" {
		hexa, err := ParseDigest(after)
		if err != nil {
			return nil, err
		}
		b, _ := hex.DecodeString(hexa[:2])
		start = int(b[0])
	}
	for i := start; i < 256 && len(out) < limit; i++ {
		dir := fmt.Sprintf("content/%02x", i)
		list, err := fs.ReadDir(d.root.FS(), dir) // sorted by name
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			digest := "sha256:" + e.Name()
			if _, err := ParseDigest(digest); err != nil || digest <= after || !e.Type().IsRegular() {
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if out = append(out, Content{digest, info.Size(), info.ModTime()}); len(out) == limit {
				break
			}
		}
	}
	return out, nil
}

// Tidy removes what broken-off writes left before a time: temporary files and uploads in parts nobody finished.
func (d *Dir) Tidy(_ context.Context, before time.Time) error {
	for _, dir := range []string{"tmp", "parts"} {
		list, err := fs.ReadDir(d.root.FS(), dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
				if err := gone(d.root.RemoveAll(dir + "/" + e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func verify(ctx context.Context, s Store, digest string) error {
	r, _, err := s.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return err
	}
	if "sha256:"+hex.EncodeToString(sum.Sum(nil)) != digest {
		return ErrAltered
	}
	return nil
}

func (d *Dir) Delete(_ context.Context, digest string) error {
	hexa, err := ParseDigest(digest)
	if err != nil {
		return err
	}
	d.sound.forget(digest)
	return gone(d.root.Remove(contentPath(hexa)))
}

func (d *Dir) PutNamed(_ context.Context, name string, r io.Reader) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return d.write(r, nil, func(tmp string, _ int64) error { return d.move(tmp, "named/"+name) })
}

func (d *Dir) OpenNamed(_ context.Context, name string) (io.ReadSeekCloser, int64, error) {
	if err := CheckName(name); err != nil {
		return nil, 0, err
	}
	return d.open("named/" + name)
}

func (d *Dir) ListNamed(_ context.Context, prefix string) ([]Named, error) {
	start := "named"
	if i := strings.LastIndex(prefix, "/"); i > 0 {
		if err := CheckName(prefix[:i]); err != nil {
			return nil, err
		}
		start += "/" + prefix[:i]
	}
	var out []Named
	err := fs.WalkDir(d.root.FS(), start, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(p, "named/")
		if !strings.HasPrefix(name, prefix) {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			out = append(out, Named{name, info.Size(), info.ModTime()})
		}
		return err
	})
	return out, err
}

func (d *Dir) DeleteNamed(_ context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return gone(d.root.Remove("named/" + name))
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// full turns the errors of a disk that takes no writes into a problem.
func full(err error) error {
	for _, no := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, no) {
			return problem.New(problem.Stored, "The blob store takes no writes; nothing was stored. Free space or check the rights of the data folder.").Because(err)
		}
	}
	return err
}
