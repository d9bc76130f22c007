package prediction

// shedEvery is how much of a segment's memory is written before its pages are let go of; whole pages of any machine.
const shedEvery = 1 << 20

// prepare gives back memory that is written, and makes the next segment while the active one has room: making it waits for
// the disk, which calls must not.
func (l *Log) prepare() {
	l.mu.Lock()
	wanted := l.spare == nil && l.active != nil && l.active.size.Load() > l.o.SegmentBytes/2
	if s := l.active; s != nil && s.room != nil {
		if at := s.size.Load() / shedEvery * shedEvery; at > s.shed && at <= int64(len(s.room)) {
			shed(s.room[s.shed:at])
			s.shed = at
		}
	}
	var rooms [][]byte
	for _, s := range l.closed { // nobody writes there any more
		if s.room != nil {
			rooms = append(rooms, s.room)
			s.room = nil
		}
	}
	l.mu.Unlock()
	for _, r := range rooms {
		release(r)
	}
	if !wanted {
		return
	}
	s, err := newSegment(l.o.Dir, l.o.Node, l.o.SegmentBytes, l.o.Now())
	if err != nil {
		return // it is met again, and told, when the segment is needed
	}
	l.mu.Lock()
	l.spare = s
	l.mu.Unlock()
}
