package runtime

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"keelson/internal/problem"
)

// Store is the folder of installed libraries; safe for concurrent use, also by several processes.
type Store struct {
	Root string

	mu    sync.Mutex
	sound map[string]stamp // libraries whose bytes were read and found right
}

// stamp tells whether a file was touched since.
type stamp struct {
	size int64
	at   time.Time
}

func (s *Store) folder(p Package) string { return filepath.Join(s.Root, p.Name+"-"+p.Version) }

// Library gives the path of a package's library. Its bytes are read and compared with the digest in this program the first
// time and whenever the file was touched. It fails with problem.Unsupported, saying what to do.
func (s *Store) Library(name string) (string, error) {
	p, err := Find(name)
	if err != nil {
		return "", err
	}
	w, err := p.wheel(goruntime.GOOS, goruntime.GOARCH)
	if err != nil {
		return "", err
	}
	file, err := filepath.Abs(filepath.Join(s.folder(p), path.Base(w.Library)))
	if err != nil {
		return "", err
	}
	switch ok, err := s.check(file, w); {
	case errors.Is(err, fs.ErrNotExist):
		return "", problem.New(problem.Unsupported, "%s %s is not installed where the server runs: keelson runtime install %s.", p.Name, p.Version, p.Name)
	case err != nil:
		return "", fmt.Errorf("read %s: %w", file, err)
	case !ok:
		return "", problem.New(problem.Unsupported, "The installed library of %s is not the one that was published; it is not opened. Install it again: keelson runtime install %s.", p.Name, p.Name)
	}
	return file, nil
}

// check tells whether a library is as it was published.
func (s *Store) check(file string, w Wheel) (bool, error) {
	st, err := os.Stat(file)
	if err != nil {
		return false, err
	}
	now := stamp{st.Size(), st.ModTime()}
	s.mu.Lock()
	known := s.sound[file] == now
	s.mu.Unlock()
	if known {
		return true, nil
	}
	if st.Size() != w.LibrarySize {
		return false, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false, err
	}
	if hex.EncodeToString(h.Sum(nil)) != w.LibraryDigest {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sound == nil {
		s.sound = map[string]stamp{}
	}
	s.sound[file] = now
	return true, nil
}

// Fingerprint is the same as long as the libraries that can be opened are the same.
func (s *Store) Fingerprint() string {
	var b strings.Builder
	for _, p := range Packages {
		if _, err := s.Library(p.Name); err != nil {
			continue
		}
		if w, err := p.wheel(goruntime.GOOS, goruntime.GOARCH); err == nil {
			fmt.Fprintf(&b, "%s %s %s;", p.Name, p.Version, w.LibraryDigest)
		}
	}
	return b.String()
}

// List tells of every package how it stands here.
func (s *Store) List() ([]Status, error) {
	var out []Status
	for _, p := range Packages {
		st := Status{Name: p.Name, Version: p.Version, Licence: p.Licence, Purpose: p.Purpose, State: Unsupported}
		if w, err := p.wheel(goruntime.GOOS, goruntime.GOARCH); err == nil {
			file := filepath.Join(s.folder(p), path.Base(w.Library))
			ok, err := s.check(file, w)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				st.State = Missing
			case err != nil:
				return nil, fmt.Errorf("look at %s: %w", p.Name, err)
			case ok:
				st.State, st.Path, st.Size = Installed, file, w.LibrarySize
			default:
				st.State, st.Path = Damaged, file
			}
		}
		out = append(out, st)
	}
	return out, nil
}

// Options say how to install.
type Options struct {
	From     string                  // a wheel on this machine; empty: the index
	Force    bool                    // also when it is there and sound
	Progress func(done, total int64) // bytes of the wheel; may be nil
	Index    Index                   // zero: as pip is configured
}

// Install puts a package into the folder and tells how it stands. A package that is there and sound is left alone.
func (s *Store) Install(ctx context.Context, name string, o Options) (Status, error) {
	p, err := Find(name)
	if err != nil {
		return Status{}, err
	}
	w, err := p.wheel(goruntime.GOOS, goruntime.GOARCH)
	if err != nil {
		return Status{}, err
	}
	return s.install(ctx, p, w, o)
}

func (s *Store) install(ctx context.Context, p Package, w Wheel, o Options) (Status, error) {
	folder := s.folder(p)
	library := filepath.Join(folder, path.Base(w.Library))
	st := Status{Name: p.Name, Version: p.Version, State: Installed, Licence: p.Licence, Purpose: p.Purpose, Path: library, Size: w.LibrarySize}
	if ok, err := s.check(library, w); err == nil && ok && !o.Force {
		return st, nil
	}
	if err := os.MkdirAll(s.Root, 0o755); err != nil {
		return Status{}, fmt.Errorf("make the folder of runtimes: %w", err)
	}
	wheel, done, err := s.wheelFile(ctx, p, w, o)
	if err != nil {
		return Status{}, err
	}
	defer done()
	if err := checkWheel(wheel, w); err != nil {
		return Status{}, err
	}
	part, err := os.MkdirTemp(s.Root, "."+p.Name+"-*.part")
	if err != nil {
		return Status{}, fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(part) // nothing is there after the renaming
	if err := unpack(ctx, wheel, w, part); err != nil {
		return Status{}, err
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return Status{}, err
	}
	if err := s.replace(folder, part); err != nil {
		return Status{}, err
	}
	if ok, err := s.check(library, w); err != nil || !ok {
		return Status{}, errors.Join(problem.New(problem.Invalid, "The library in %s is not the one that was published; nothing was installed.", w.File), err, os.RemoveAll(folder))
	}
	return st, nil
}

// replace gives part the name of folder, and takes away what had it.
func (s *Store) replace(folder, part string) error {
	old := part + ".old"
	err := os.Rename(folder, old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the old folder away: %w", err)
	}
	if err := os.Rename(part, folder); err != nil {
		return fmt.Errorf("name the folder: %w", err)
	}
	return os.RemoveAll(old)
}

// checkWheel compares the bytes of a file with the digest in this program.
func checkWheel(f *os.File, w Wheel) error {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, w.Size+1))
	if err != nil {
		return fmt.Errorf("read the wheel: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != w.Size || got != w.Digest {
		return problem.New(problem.Invalid, "The file is not %s as it was published: its SHA-256 is %s… instead of %s…. Nothing was unpacked.", w.File, got[:16], w.Digest[:16])
	}
	return nil
}

// unpack takes the library and the licences out of a checked wheel, each under its last name, and syncs them.
func unpack(ctx context.Context, wheel *os.File, w Wheel, to string) error {
	st, err := wheel.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(wheel, st.Size())
	if err != nil {
		return problem.New(problem.Invalid, "The file %s is no zip file; give the wheel as it was downloaded.", w.File).Because(err)
	}
	for i, name := range append([]string{w.Library}, w.Texts...) {
		limit, mode := int64(4<<20), os.FileMode(0o644)
		if i == 0 {
			limit, mode = w.LibrarySize, 0o755
		}
		if err := extract(ctx, z, name, filepath.Join(to, path.Base(name)), limit, mode); err != nil {
			return err
		}
	}
	return nil
}

func extract(ctx context.Context, z *zip.Reader, name, to string, limit int64, mode os.FileMode) error {
	var found *zip.File
	for _, f := range z.File { // by its exact name, not by a path that is opened
		if f.Name == name && f.Mode().IsRegular() {
			found = f
		}
	}
	if found == nil {
		return problem.New(problem.Invalid, "The wheel does not hold %s; give the one that keelson runtime list names.", name)
	}
	r, err := found.Open()
	if err != nil {
		return problem.New(problem.Invalid, "%s in the wheel cannot be read; download it again.", name).Because(err)
	}
	defer r.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	n, err := io.Copy(f, io.LimitReader(reader{ctx, r}, limit+1))
	if err == nil && n > limit {
		err = problem.New(problem.TooLarge, "%s in the wheel has more than %d bytes.", name, limit)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return nil
}

// reader stops at the end of its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// Remove takes a package away; a process that has it open keeps it. It fails with problem.NotFound when it is not there.
func (s *Store) Remove(name string) error {
	p, err := Find(name)
	if err != nil {
		return err
	}
	old, err := os.MkdirTemp(s.Root, "."+p.Name+"-*.old")
	if errors.Is(err, fs.ErrNotExist) {
		return problem.New(problem.NotFound, "%s is not installed.", p.Name)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", p.Name, err)
	}
	defer os.RemoveAll(old)
	if err := os.Rename(s.folder(p), filepath.Join(old, "was")); errors.Is(err, fs.ErrNotExist) {
		return problem.New(problem.NotFound, "%s is not installed.", p.Name)
	} else if err != nil {
		return fmt.Errorf("remove %s: %w", p.Name, err)
	}
	return nil
}

// Watch calls changed for every package that can be opened when it begins, and then whenever one comes or goes, until ctx
// ends. It looks every so often, because another process installs.
func (s *Store) Watch(ctx context.Context, every time.Duration, changed func(ctx context.Context, name string, installed bool)) error {
	before := map[string]bool{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		now := s.installed()
		for _, p := range Packages {
			if now[p.Name] != before[p.Name] {
				changed(ctx, p.Name, now[p.Name])
			}
		}
		before = now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) installed() map[string]bool {
	out := map[string]bool{}
	for _, p := range Packages {
		_, err := s.Library(p.Name)
		out[p.Name] = err == nil
	}
	return out
}
