package monitor

import "time"

const (
	// atOnce is how many windows of rows a version may have at any pace.
	atOnce = 60
	// steady is the time between two windows of a version when its calls are so many that they would fill more.
	steady = 10 * time.Second
	// mostCells is how many values a window that grows holds: 16 MB of numbers, 100,000 rows of 20 columns.
	mostCells = 2_000_000
)

// pace lets windows of rows be closed as calls fill them while that is seldom, and once every so often when it is not: a
// version with 20,000 calls a second has no use for fifty windows of each second, and comparing and storing them would cost
// more than answering. Where the columns are so many that a window is full before its turn (largest), there are more. It counts in the time of the calls and is stored with each window, so that what is read late, or by another
// worker, is cut as it would have been in time.
type pace struct {
	spent time.Duration // of atOnce x steady, what closed windows have used up
	at    time.Time
}

// pass lets the time of a call go by; calls of several processes arrive out of order.
func (p *pace) pass(at time.Time) {
	if at.After(p.at) {
		p.spent = max(0, p.spent-at.Sub(p.at))
		p.at = at
	}
}

// next is from when on a full window may be closed.
func (p *pace) next() time.Time {
	return p.at.Add(max(0, p.spent-(atOnce-1)*steady))
}

// close counts a window; those that were too large to wait for their turn owe nothing.
func (p *pace) close() { p.spent = min(p.spent+steady, atOnce*steady) }

// paceOf is the pace of a version: what is remembered, else as it was stored.
func (t *tail) paceOf(version int) *pace {
	if t.paces == nil {
		t.paces = map[int]*pace{}
	}
	if t.paces[version] == nil {
		t.paces[version] = &pace{}
		if v := t.versions[version]; v != nil {
			*t.paces[version] = v.pace
		}
	}
	return t.paces[version]
}

// largest is how many rows a window that is cut by rows may grow to: as many as were asked for, and more where its columns are few.
func (b *buffer) largest(asked int) int {
	return max(asked, min(most, mostCells/max(1, len(b.inputs.columns)+len(b.outputs.columns))))
}

// full reports whether a window is to be closed because of its rows, after a call at a moment or, at the end of the log, now.
func (t *tail) full(m *Monitor, version int, b *buffer, at, now time.Time) bool {
	if b.rows >= most {
		return true
	}
	if !m.Window.byRows() || b.rows < m.Window.Rows {
		return false
	}
	if b.rows >= b.largest(m.Window.Rows) {
		return true
	}
	p := t.paceOf(version)
	if at.After(now) { // a clock that is ahead uses up nobody's turns
		at = now
	}
	p.pass(at)
	return !p.next().After(p.at)
}
