package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"keelson/internal/caller"
)

// Line is one line of the log that names an endpoint.
type Line struct {
	ID       string          `json:"id" doc:"grows with time; the cursor of a list"`
	At       time.Time       `json:"at"`
	Endpoint string          `json:"endpoint"`
	Level    string          `json:"level" enum:"debug,info,warn,error"`
	Message  string          `json:"message"`
	Node     string          `json:"node" doc:"the process that wrote it"`
	Fields   json.RawMessage `json:"fields" doc:"what else the line says, by name"`

	workspace string
}

// Lines collects the lines of a process until the Recorder stores them.
type Lines struct {
	mu      sync.Mutex
	held    []Line
	dropped map[[2]string]int // by workspace and endpoint
}

// Bounds of what is held between two flushes, and of one line.
const (
	maxHeld   = 2000
	maxText   = 2000
	maxFields = 30
)

// Keys under which a line names its endpoint.
const (
	keyEndpoint   = "endpoint"
	keyDeployment = "deployment"
)

// Handler passes every line on to next and keeps those at Info or above that name an endpoint.
func (l *Lines) Handler(next slog.Handler) slog.Handler { return &collector{next: next, lines: l} }

type collector struct {
	next    slog.Handler
	lines   *Lines
	bound   []slog.Attr
	grouped bool // attributes that follow are within a group and name no endpoint
}

func (h *collector) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.next.Enabled(ctx, level)
}

func (h *collector) WithAttrs(a []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(a)
	if !h.grouped {
		c.bound = append(slices.Clone(h.bound), a...)
	}
	return &c
}

func (h *collector) WithGroup(name string) slog.Handler {
	c := *h
	c.next, c.grouped = h.next.WithGroup(name), true
	return &c
}

func (h *collector) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		h.keep(ctx, r)
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (h *collector) keep(ctx context.Context, r slog.Record) {
	endpoint := ""
	fields := map[string]any{}
	see := func(a slog.Attr) bool {
		v := a.Value.Resolve()
		switch {
		case (a.Key == keyEndpoint || a.Key == keyDeployment) && v.Kind() == slog.KindString:
			endpoint = v.String()
		case len(fields) < maxFields && a.Key != "":
			fields[a.Key] = plain(v)
		}
		return true
	}
	for _, a := range h.bound {
		see(a)
	}
	if !h.grouped {
		r.Attrs(see)
	}
	if endpoint == "" {
		return
	}
	doc, err := json.Marshal(fields)
	if err != nil {
		doc = []byte("{}")
	}
	h.lines.add(Line{At: r.Time.UTC(), Endpoint: endpoint, Level: strings.ToLower(r.Level.String()), Message: text(r.Message), Fields: doc, workspace: caller.Workspace(ctx)})
}

// plain is a value as JSON can hold it.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindInt64, slog.KindUint64, slog.KindBool:
		return v.Any()
	case slog.KindDuration:
		return v.Duration().String()
	}
	return text(fmt.Sprint(v.Any()))
}

// text cuts to maxText and takes out what a database or a page would not bear.
func text(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

func (l *Lines) add(line Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.held) >= maxHeld {
		if l.dropped == nil {
			l.dropped = map[[2]string]int{}
		}
		l.dropped[[2]string{line.workspace, line.Endpoint}]++
		return
	}
	l.held = append(l.held, line)
}

// take gives what was collected, with a line for each endpoint of which lines had to be left out.
func (l *Lines) take(now time.Time) []Line {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.held
	for k, n := range l.dropped {
		out = append(out, Line{At: now, Endpoint: k[1], Level: "warn", Message: fmt.Sprintf("%d more lines of this time were not kept; the server's own log has them", n), Fields: []byte("{}"), workspace: k[0]})
	}
	l.held, l.dropped = nil, nil
	return out
}

// giveBack holds lines that could not be stored, as far as there is room.
func (l *Lines) giveBack(lines []Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(lines[:min(len(lines), maxHeld)], l.held...)
}
