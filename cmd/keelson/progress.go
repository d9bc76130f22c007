package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// When progress is shown: on a terminal after a moment and then often; elsewhere a line at the start, at the end and in between.
const (
	showAfter = 300 * time.Millisecond
	redraw    = 100 * time.Millisecond
	plainLine = 30 * time.Second
)

// meter shows how far something is, on stderr. Its methods may be called from several goroutines; a nil meter shows nothing.
type meter struct {
	mu          sync.Mutex
	out         io.Writer
	tty         bool
	title       string
	begin, last time.Time
	now         func() time.Time
	text        string
	drawn       bool
	done, total int64 // bytes
}

// meter begins to show progress under a title, unless --quiet forbids it. Close it.
func (c *cli) meter(title string, total int64) *meter {
	if c.quiet {
		return nil
	}
	m := &meter{out: c.errs, title: title, total: total, now: time.Now}
	if f, ok := c.errs.(*os.File); ok {
		m.tty = isatty.IsTerminal(f.Fd()) && c.env("CI") == "" && c.env("TERM") != "dumb"
	}
	m.begin = m.now()
	m.last = m.begin
	return m
}

// Set shows a text behind the title.
func (m *meter) Set(text string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text = text
	m.draw(false)
}

// Write counts the bytes that pass by; it is an io.Writer for io.TeeReader and io.MultiWriter.
func (m *meter) Write(b []byte) (int, error) {
	if m == nil {
		return len(b), nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += int64(len(b))
	m.text = transfer(m.done, m.total, m.now().Sub(m.begin))
	m.draw(false)
	return len(b), nil
}

// add counts n bytes that need not pass by.
func (m *meter) add(n int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
}

// at says how many of how many bytes are done.
func (m *meter) at(done, total int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done, m.total = done, total
	m.text = transfer(done, total, m.now().Sub(m.begin))
	m.draw(false)
}

// Close shows the last state; it may be called twice.
func (m *meter) Close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drawn {
		m.draw(true)
		if m.tty {
			fmt.Fprintln(m.out)
		}
		m.drawn = false
	}
}

func (m *meter) draw(end bool) {
	now := m.now()
	wait := plainLine
	if m.tty {
		wait = redraw
		if !m.drawn {
			wait = showAfter
		}
	}
	if !end && now.Sub(m.last) < wait {
		return
	}
	m.last, m.drawn = now, true
	line := m.title + "  " + m.text
	if !m.tty {
		fmt.Fprintf(m.out, "%s  %s\n", line, now.Sub(m.begin).Round(time.Second))
		return
	}
	fmt.Fprintf(m.out, "\r\x1b[K%s  %s", line, now.Sub(m.begin).Round(time.Second))
}

// transfer writes bytes, rate and what is left: "12.3 MB of 40.0 MB  ████░░  8.1 MB/s  3s left".
func transfer(done, total int64, took time.Duration) string {
	out := size(done)
	rate := 0.0
	if s := took.Seconds(); s > 0 {
		rate = float64(done) / s
	}
	if total > 0 {
		const wide = 20
		full := int(min(done, total) * wide / total)
		out += " of " + size(total) + "  " + strings.Repeat("█", full) + strings.Repeat("░", wide-full)
	}
	if rate > 0 {
		out += "  " + size(int64(rate)) + "/s"
		if total > done {
			out += "  " + time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second).String() + " left"
		}
	}
	return out
}

// size writes a number of bytes for people.
func size(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// thousands writes a number with commas.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
