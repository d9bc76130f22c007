package rest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// Refusals audits what was refused because it looks like an attack: problems that were marked with Suspect, and calls of
// programs without credentials. Who tries a thousand times writes two entries: one at once, and one with the count when
// the window ends. Make it with NewRefusals, put Watch around the handlers and run Run.
type Refusals struct {
	db     *db.DB
	log    *slog.Logger
	window time.Duration
	wake   chan struct{}

	mu   sync.Mutex
	seen map[refusedKey]*refused
}

// maxRefused bounds the keys of one window; beyond it everybody and every kind is counted together.
const maxRefused = 1000

type refusedKey struct{ workspace, who, kind string }

type refused struct {
	caller      caller.Caller
	count, told int64
	first, last time.Time
	example     string // method and path of the first one since the last entry
	detail      string
}

// NewRefusals makes a recorder with a window of ten minutes.
func NewRefusals(d *db.DB, log *slog.Logger) *Refusals {
	return &Refusals{db: d, log: log, window: 10 * time.Minute, wake: make(chan struct{}, 1), seen: map[refusedKey]*refused{}}
}

type watched struct{}

type watch struct {
	refusals *Refusals
	request  *http.Request
}

// Watch lets Note find the recorder and the request.
func (f *Refusals) Watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), watched{}, &watch{f, r})))
	})
}

// Note records err if it is a problem that was marked with Suspect. Whoever writes an error as an answer calls it.
func Note(ctx context.Context, err error) {
	p, ok := problem.As(err)
	if !ok || p.Attack == "" {
		return
	}
	if w, ok := ctx.Value(watched{}).(*watch); ok {
		w.refusals.add(ctx, w.request, p.Attack, p.Detail)
	}
}

func (f *Refusals) add(ctx context.Context, r *http.Request, kind, detail string) {
	who := caller.From(ctx)
	name, workspace := who.Name, caller.Workspace(ctx)
	if name == "" {
		workspace = caller.DefaultWorkspace // the request names any it likes, and nobody has looked whether there is one
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		name = "address " + host
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := refusedKey{workspace, name, kind}
	if f.seen[key] == nil && len(f.seen) >= maxRefused {
		key, who = refusedKey{caller.DefaultWorkspace, "many", "many"}, caller.Caller{}
	}
	e := f.seen[key]
	now := time.Now()
	if e == nil {
		e = &refused{caller: who, first: now, example: problem.Clip(r.Method+" "+r.URL.Path, 200), detail: problem.Clip(detail, 300)}
		f.seen[key] = e
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	e.count++
	e.last = now
}

// Run writes the entries until ctx ends, and what is left then.
func (f *Refusals) Run(ctx context.Context) error {
	tick := time.NewTicker(f.window / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			f.flush(context.WithoutCancel(ctx), true)
			return ctx.Err()
		case <-f.wake:
			f.flush(context.WithoutCancel(ctx), false) // what was begun is written, even when the server stops meanwhile
		case <-tick.C:
			f.flush(context.WithoutCancel(ctx), false)
		}
	}
}

// flush writes an entry for what is new and, when its window has ended (or all must go), for what came after that.
func (f *Refusals) flush(ctx context.Context, all bool) {
	type entry struct {
		refusedKey
		refused
	}
	var todo []entry
	f.mu.Lock()
	for k, e := range f.seen {
		over := all || time.Since(e.first) > f.window
		if e.told == 0 || over && e.count > e.told {
			x := *e
			x.count -= e.told
			todo = append(todo, entry{k, x})
			e.told = e.count
		}
		if over {
			delete(f.seen, k)
		}
	}
	f.mu.Unlock()
	for _, e := range todo {
		ctx := caller.WithWorkspace(caller.With(ctx, e.caller), e.workspace)
		err := f.db.Write(ctx, func(tx db.Scope) error {
			return audit.Record(tx, "request.refused", "caller/"+e.who, map[string]any{"kind": e.kind, "count": e.count, "first": e.first.UTC(), "last": e.last.UTC(), "example": e.example, "detail": e.detail})
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			f.log.ErrorContext(ctx, "a refusal could not be audited", "kind", e.kind, "error", err)
		}
	}
}
