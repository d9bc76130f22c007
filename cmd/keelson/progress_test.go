package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgressIsDrawnOnATerminalOnlyAfterAMoment(t *testing.T) {
	at := time.Unix(0, 0)
	for name, c := range map[string]struct {
		tty   bool
		after time.Duration
		want  string
	}{
		"a terminal, at once":           {true, 200 * time.Millisecond, ""},
		"a terminal, a moment later":    {true, 400 * time.Millisecond, "\r\x1b[Kupload  5 B of 10 B  ██████████░░░░░░░░░░  12 B/s  0s left  0s"},
		"a pipe, a moment later":        {false, time.Second, ""},
		"a pipe, half a minute and one": {false, 31 * time.Second, "upload  5 B of 10 B  ██████████░░░░░░░░░░  31s\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			now := at
			m := &meter{out: &out, tty: c.tty, title: "upload", total: 10, begin: at, last: at, now: func() time.Time { return now }}
			now = at.Add(c.after)
			if n, err := m.Write(make([]byte, 5)); n != 5 || err != nil {
				t.Fatal(n, err)
			}
			got := strings.ReplaceAll(out.String(), "  0 B/s  31s left", "")
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	var none *meter
	if n, err := none.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("no meter takes %d, %v", n, err)
	}
	none.Set("x")
	none.Close()
}

func TestSizesForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_345_678: "12.3 MB", 2 << 40: "2.2 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
