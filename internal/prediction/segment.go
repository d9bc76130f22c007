package prediction

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"keelson/internal/db"
)

const (
	segmentMagic = "KEELSEG1"
	segmentExt   = ".seg"
)

// segment is one file of frames. Only its writer changes it, under Log.mu; size says how far it may be read.
type segment struct {
	id      string // identifier of the segment, part of the names of the files made of it
	path    string
	room    atomic.Pointer[[]byte] // the file as memory, up to the size that was reserved; nil when records are written
	file    *os.File               // open and locked while the segment exists, so that no other process takes it over
	before  *os.File               // what file was mended from; locked as long, for those who opened it before
	created time.Time
	size    atomic.Int64
	frames  atomic.Int64
	dirty   bool // has bytes that were not synced
	trimmed bool // what it reserved and did not use was given back
	marks   []mark
	marked  int64                // size at the last mark
	highest []byte               // identifier of its frames
	extents map[string]*[]extent // by workspace and endpoint: their frames, in the order of the file
	tally   tally                // of its calls, behind a lock of its own
}

// mark says that no frame before a place has an identifier above one; there is a mark about every markEvery bytes.
type mark struct {
	highest string
	at      int64
}

const markEvery = 128 << 10

// extent is where a frame stands in its segment.
type extent struct {
	at   int64
	size int32 // with its head
}

// extentKey is the key of extents, without a copy when it is used to look one up.
func extentKey(into, workspace, endpoint []byte) []byte {
	return append(append(append(into, workspace...), 0), endpoint...)
}

// enter remembers where the whole frames stand that were put at a place.
func (s *segment) enter(frames []byte, at int64) {
	if s.extents == nil {
		s.extents = map[string]*[]extent{}
	}
	var room [128]byte
	for len(frames) > 0 {
		n := frameHead + int(binary.LittleEndian.Uint32(frames))
		id, workspace, endpoint := peek(frames[frameHead:n])
		if bytes.Compare(id, s.highest) > 0 {
			s.highest = append(s.highest[:0], id...)
		}
		key := extentKey(room[:0], workspace, endpoint)
		list := s.extents[string(key)] // which makes no string, as an assignment would
		if list == nil {
			list = new([]extent)
			s.extents[string(key)] = list
		}
		*list = append(*list, extent{at, int32(n)})
		frames, at = frames[n:], at+int64(n)
	}
}

// note puts frames that were put at a place into marks and extents.
func (s *segment) note(frames []byte, at int64) {
	if len(s.marks) == 0 || at-s.marked >= markEvery {
		s.marks = append(s.marks, mark{string(s.highest), at})
		s.marked = at
	}
	s.enter(frames, at)
}

// span is the part of the file that may hold identifiers above after.
func (s *segment) span(after string) (from, to int64) {
	to = s.size.Load()
	if string(s.highest) <= after {
		return to, to
	}
	from = int64(len(segmentMagic))
	for _, m := range s.marks {
		if m.highest > after {
			break
		}
		from = m.at
	}
	return from, to
}

// bytes reads a part of the file.
func (s *segment) bytes(from, to int64) ([]byte, error) {
	b := make([]byte, to-from)
	if _, err := s.file.ReadAt(b, from); err != nil && len(b) > 0 {
		return nil, fmt.Errorf("read segment %s: %w", s.id, err)
	}
	return b, nil
}

// newSegment makes <node>-<id>.seg in dir, making dir if missing, locks it and reserves room for size bytes.
func newSegment(dir, node string, size int64, now time.Time) (*segment, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &segment{id: db.NewID(), created: now, dirty: true}
	s.path = filepath.Join(dir, node+"-"+s.id+segmentExt)
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s.file = f
	if ok, err := lock(f); err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("lock %s", filepath.Base(s.path)), err, s.remove())
	}
	if room := reserve(f, size); room != nil {
		s.room.Store(&room)
	}
	if _, err := f.WriteAt([]byte(segmentMagic), 0); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	s.size.Store(int64(len(segmentMagic)))
	syncDir(dir)
	return s, nil
}

// write appends whole frames, or nothing: after a short write the file is cut back. When even that fails the segment
// must not be written any more (broken), but its first size bytes stay good. Bytes that are placed in the file's memory are
// the kernel's as those of a write are: they outlive the process. With strained, a disk that keeps others waiting, they are
// not placed there: a write waits in a call of the system, around which others run, while a copy that waits for the kernel
// holds a processor.
func (s *segment) write(frames []byte, count int, strained bool) (broken bool, err error) {
	at := s.size.Load()
	room := s.room.Load()
	if strained {
		room = nil
	}
	if room != nil && int64(len(frames)) > int64(len(*room))-at || room != nil && fill((*room)[at:], frames) != nil {
		s.unmap() // and the write tells what is wrong
		room = nil
		err = s.file.Truncate(at)
	}
	if room == nil && err == nil {
		_, err = s.file.WriteAt(frames, at)
	}
	if err != nil {
		if cut := s.file.Truncate(at); cut != nil {
			return true, errors.Join(err, cut)
		}
		return false, err
	}
	s.dirty = true
	s.note(frames, at)
	s.frames.Add(int64(count))
	s.size.Store(at + int64(len(frames)))
	return false, nil
}

// unmap lets go of the file's memory, when nothing more is placed there.
func (s *segment) unmap() {
	if room := s.room.Swap(nil); room != nil {
		unreserve(*room)
	}
}

// trim gives back what was reserved and not used.
func (s *segment) trim() error {
	s.unmap()
	return s.file.Truncate(s.size.Load())
}

func (s *segment) remove() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.close())
}

// close lets go of the file.
func (s *segment) close() error {
	s.unmap()
	err := s.file.Close()
	if s.before != nil {
		err = errors.Join(err, s.before.Close())
	}
	return err
}

// adopt takes over the segment file of a process that is gone: it locks it, walks its frames and takes out what is torn or
// damaged, which is kept beside it (keepTorn). It gives nil when another process holds the file. A file that a newer version
// wrote, or that is no segment, stays as it is: the error says so.
func adopt(path string) (s *segment, lost damage, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, lost, nil
		}
		return nil, lost, err
	}
	ok, err := lock(f)
	if err != nil || !ok {
		return nil, lost, errors.Join(err, f.Close())
	}
	s = &segment{id: segmentOf(path), path: path, file: f}
	info, err := f.Stat()
	if err != nil {
		return nil, lost, errors.Join(err, f.Close())
	}
	s.created = info.ModTime()
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
		return nil, lost, errors.Join(err, f.Close())
	}
	good, lost, err := salvage(b)
	if err != nil {
		return nil, damage{}, errors.Join(err, f.Close())
	}
	if err := s.mend(good, lost); err != nil {
		return nil, damage{}, errors.Join(err, s.close())
	}
	for at := len(segmentMagic); at < len(good); {
		payload, _, err := nextFrame(good[at:])
		if err != nil {
			return nil, damage{}, errors.Join(err, s.close())
		}
		end := at + frameHead + len(payload)
		s.note(good[at:end], int64(at))
		s.frames.Add(1)
		at = end
	}
	s.size.Store(int64(max(len(good), len(segmentMagic))))
	return s, lost, nil
}
