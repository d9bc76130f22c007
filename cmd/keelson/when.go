package main

import (
	"time"

	"keelson/internal/bin"
)

// What the flags that take a time say of it.
const (
	sinceHelp = "from this day or time on, or so long ago: 90m, 7d"
	aheadHelp = "a day, a time as 2026-12-01T00:00:00Z, or so long from now: 2h, 7d"
)

// past reads a time, a day (its beginning, UTC), or how long ago it was ("90m", "2h", "7d"). flag is named in the refusal.
func past(flag, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if d, err := bin.ParseAge(s); err == nil && d > 0 {
		return time.Now().Add(-d).UTC().Format(time.RFC3339), nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.Format(time.RFC3339), nil
	}
	if _, err := time.Parse(time.RFC3339, s); err != nil {
		return "", usage("%s %q is neither a day like 2026-03-02, nor a time like 2026-03-02T10:00:00Z, nor how long ago, like 90m or 7d.", flag, s)
	}
	return s, nil
}

// ahead reads a time, a day (its beginning, UTC), or how long from now it is ("90m", "30d"). flag is named in the refusal.
func ahead(flag, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if d, err := bin.ParseAge(s); err == nil && d > 0 {
		return time.Now().Add(d).UTC().Format(time.RFC3339), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format(time.RFC3339), nil
		}
	}
	return "", usage("%s %q is neither a day like 2027-01-07, nor a time like 2027-01-07T08:00:00Z, nor a span from now like 2h or 30d.", flag, s)
}
