package prediction

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	tornExt = ".torn"  // behind a segment's name: what was taken out of it
	maxTorn = 64 << 20 // bytes of it that are kept
	tornFor = 30 * 24 * time.Hour
)

// damage is what of a segment cannot be read.
type damage struct {
	parts [][]byte // in the order of the file
	bytes int64
	tail  bool // the last part is the end of the file
	bare  bool // the file has zeros where its first bytes say what it is
}

func (d *damage) add(part []byte) {
	if len(part) > 0 {
		d.parts = append(d.parts, part)
		d.bytes += int64(len(part))
	}
}

// salvage takes the whole frames out of the bytes of a segment, damage in their middle or at their end left out; good begins
// as a segment, or is empty. It fails when b is no segment, or when a newer version wrote any of it. After a power cut the
// size that was reserved may be on disk while pages of the file, the first one among them, are not: those are zeros. salvage
// writes what the first bytes of b should be where they are zeros and frames follow.
func salvage(b []byte) (good []byte, lost damage, err error) {
	if len(b) < len(segmentMagic) || empty(b) {
		lost.add(bytes.TrimRight(b, "\x00")) // what was reserved and not used is no loss
		lost.tail = true
		return nil, lost, nil
	}
	if head := b[:len(segmentMagic)]; empty(head) {
		lost.bare = true
		copy(head, segmentMagic)
	} else if string(head) != segmentMagic {
		return nil, lost, errors.New("it does not begin as a segment of this version; it is left as it is")
	}
	// Whole runs are put together only once something is missing between them.
	at, start := len(segmentMagic), 0
	work := 64 * len(b) // bounds the checksums of what only looks like a frame
	for at < len(b) {
		payload, _, err := nextFrame(b[at:])
		if err == nil {
			at += frameHead + len(payload)
			continue
		}
		if empty(b[at:]) { // what was reserved and not used
			if start == 0 {
				return b[:at], lost, nil
			}
			return append(good, b[start:at]...), lost, nil
		}
		next := -1
		if !errors.Is(err, errNewer) {
			next, err = resume(b, at, &work)
		}
		if errors.Is(err, errNewer) {
			return nil, damage{}, fmt.Errorf("%w; it is left as it is", err)
		}
		good = append(good, b[start:at]...)
		if next < 0 {
			lost.add(bytes.TrimRight(b[at:], "\x00"))
			lost.tail = true
			return good, lost, nil
		}
		lost.add(b[at:next])
		at, start = next, next
	}
	if start == 0 {
		return b, lost, nil
	}
	return append(good, b[start:]...), lost, nil
}

// empty tells whether there are only zeros.
func empty(b []byte) bool {
	var zeros [4096]byte
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// resume finds the first whole frame behind a damaged one: where the damaged one's length says, or else the next that has a
// version, an identifier, a length and their checksum. It gives -1 when there is none, and errNewer when a newer version wrote
// it.
func resume(b []byte, at int, work *int) (int, error) {
	if len(b)-at > frameHead {
		n := int(binary.LittleEndian.Uint32(b[at:]))
		if k := at + frameHead + n; n <= maxFrame && k < len(b) {
			if _, _, err := nextFrame(b[k:]); !errors.Is(err, errFrame) {
				return k, err
			}
		}
	}
	for k := at + 1; k+bodyAt <= len(b); k++ {
		n := int(binary.LittleEndian.Uint32(b[k:]))
		if b[k+frameHead] == 0 || n > len(b)-k-frameHead {
			continue
		}
		if _, ok := idTime(string(b[k+idAt : k+idAt+idLen])); !ok {
			continue
		}
		if *work -= n; *work < 0 {
			return -1, nil
		}
		if _, _, err := nextFrame(b[k:]); !errors.Is(err, errFrame) {
			return k, err
		}
	}
	return -1, nil
}

// mend makes the file hold good and nothing else, keeping what is lost beside it. Where only the end is lost the file is
// cut; else a new one, locked and on disk, takes its place.
func (s *segment) mend(good []byte, lost damage) error {
	if lost.bare {
		_, err := s.file.WriteAt([]byte(segmentMagic), 0)
		if err = errors.Join(err, s.file.Sync()); err != nil {
			return fmt.Errorf("mend %s: %w", filepath.Base(s.path), err)
		}
	}
	if lost.bytes == 0 {
		return nil
	}
	if err := keepTorn(s.path+tornExt, lost.parts); err != nil {
		return fmt.Errorf("keep what is damaged in %s: %w", filepath.Base(s.path), err)
	}
	if lost.tail && len(lost.parts) == 1 {
		return s.file.Truncate(int64(len(good)))
	}
	f, err := os.OpenFile(s.path+".mend", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	ok, err := lock(f)
	if err == nil && !ok {
		err = errors.New("another process mends it")
	}
	if err == nil {
		_, err = f.WriteAt(good, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("mend %s: %w", filepath.Base(s.path), err), f.Close())
	}
	s.before, s.file = s.file, f
	syncDir(filepath.Dir(s.path))
	return nil
}

// keepTorn adds bytes to a file, as far as maxTorn allows, and brings it to disk. Zeros at the end, which file systems leave
// after a power cut, are not kept.
func keepTorn(path string, parts [][]byte) error {
	all := bytes.TrimRight(bytes.Join(parts, nil), "\x00")
	if len(all) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.Write(all[:min(int64(len(all)), max(maxTorn-info.Size(), 0))])
	}
	if err == nil {
		err = f.Sync()
	}
	syncDir(filepath.Dir(path))
	return errors.Join(err, f.Close())
}

// dropTorn removes what was kept of damaged segments longer than tornFor, and whatever was kept of those made before the
// last erasure, whose identifiers are below a mark: it may be about the person, and nothing tells. It gives how many went.
func dropTorn(dir, below string) (gone int, err error) {
	for _, n := range tornFiles(dir) {
		info, e := os.Stat(n)
		if e != nil || segmentOf(n) >= below && time.Since(info.ModTime()) <= tornFor {
			continue
		}
		if e := os.Remove(n); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e) // the next look tries again
			continue
		}
		gone++
	}
	return gone, err
}

func tornFiles(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "*"+segmentExt+tornExt)) // fails on a bad pattern only
	return names
}

// segmentOf is the identifier of the segment that a file belongs to.
func segmentOf(path string) string {
	base, _, _ := strings.Cut(filepath.Base(path), segmentExt)
	return base[strings.LastIndexByte(base, '-')+1:]
}

// syncDir makes names in a folder survive a power cut, where the file system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
