package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// sound remembers which files were hashed and what they looked like then. It holds at most soundMax entries.
type sound struct {
	mu    sync.Mutex
	files map[string]look
}

const soundMax = 100_000

// look is what of a file changes whenever its bytes do.
type look struct {
	size     int64
	modified time.Time
	changed  syscall.Timespec
	inode    uint64
}

func lookOf(info fs.FileInfo) look {
	l := look{size: info.Size(), modified: info.ModTime()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		l.inode, l.changed = s.Ino, changeTime(s)
	}
	return l
}

func (s *sound) keep(digest string, info os.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]look{}
	}
	if len(s.files) >= soundMax {
		for d := range s.files { // any one: what is dropped is only read once more
			delete(s.files, d)
			break
		}
	}
	s.files[digest] = lookOf(info)
}

func (s *sound) forget(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, digest)
}

func (s *sound) is(digest string, info os.FileInfo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.files[digest]
	return ok && l == lookOf(info)
}

// WholeBelow is the size up to which OpenSound reads bytes before it hands them out.
const WholeBelow = 64 << 20

// OpenSound opens bytes for somebody who gets all of them or a range. checked says that they are known to have their
// digest: they were hashed by this process and not touched since, or they are small and were hashed just now. Altered
// ones that were checked are ErrAltered. Larger ones nobody has hashed yet come unchecked: hash them on the way with
// Check, or let Verify do so aside.
func OpenSound(ctx context.Context, s Store, digest string) (r io.ReadSeekCloser, size int64, checked bool, err error) {
	if r, size, err = s.Open(ctx, digest); err != nil {
		return nil, 0, false, err
	}
	m, ok := s.(Remembering)
	if ok && m.Sound(digest) {
		return r, size, true, nil
	}
	if size > WholeBelow {
		return r, size, false, nil
	}
	sum := sha256.New()
	if _, err = io.Copy(sum, r); err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err == nil && "sha256:"+hex.EncodeToString(sum.Sum(nil)) != digest {
		err = ErrAltered
	}
	if err != nil {
		r.Close()
		return nil, 0, false, err
	}
	if d, ok := s.(*Dir); ok {
		if f, ok := r.(*os.File); ok {
			if info, err := f.Stat(); err == nil {
				d.sound.keep(digest, info)
			}
		}
	}
	return r, size, true, nil
}

// Check hashes what is read through it and gives ErrAltered in place of the last bytes when they do not have the digest,
// so that nobody who reads to the end gets altered bytes whole. It holds back one chunk of 256 KiB.
type Check struct {
	r          io.Reader
	digest     string
	sum        hash.Hash
	cur, ahead []byte // what is handed out, and what follows
	spare      [2][]byte
	turn       int
	begun, end bool
	err        error
}

// NewCheck checks r, which is read from its beginning.
func NewCheck(r io.Reader, digest string) *Check {
	return &Check{r: r, digest: digest, sum: sha256.New(), spare: [2][]byte{make([]byte, chunkSize), make([]byte, chunkSize)}}
}

// Read implements io.Reader.
func (c *Check) Read(p []byte) (int, error) {
	for len(c.cur) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.advance()
	}
	n := copy(p, c.cur)
	c.cur = c.cur[n:]
	return n, nil
}

// advance makes the chunk ahead the current one and reads the one behind it; with the last chunk the sum is complete.
func (c *Check) advance() {
	if !c.begun {
		c.begun, c.ahead = true, c.chunk()
	}
	c.cur, c.ahead = c.ahead, nil
	switch {
	case c.err != nil:
		c.cur = nil
		return
	case c.end && len(c.cur) == 0:
		c.err = io.EOF
	case !c.end:
		c.ahead = c.chunk()
	}
	if c.end && c.digest != "" {
		if "sha256:"+hex.EncodeToString(c.sum.Sum(nil)) != c.digest {
			c.cur, c.ahead, c.err = nil, nil, ErrAltered
			return
		}
		c.digest = "" // found right
	}
}

func (c *Check) chunk() []byte {
	b := c.spare[c.turn]
	c.turn = 1 - c.turn
	n, err := io.ReadFull(c.r, b)
	c.sum.Write(b[:n])
	switch {
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		c.end = true
	case err != nil:
		c.err = err
	}
	return b[:n]
}
