package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
)

// Recorder stores what one process counted, logged and has in force. DB, Log, Now and Node are required.
type Recorder struct {
	DB        *db.DB
	Log       *slog.Logger
	Now       func() time.Time
	Node      string                       // this process: an identifier that no other process and no earlier start has
	Name      string                       // what people call it: the host's name
	Readings  func() []Reading             // what the meters of this process hold; nil where nothing is served
	Standings func() map[string][]Standing // by workspace, what it has in force; nil where nothing is served
	Lines     *Lines                       // nil keeps no lines
	Every     time.Duration                // between two flushes; Fine if zero

	store   store
	last    map[Key]Count
	open    map[time.Duration]map[Key]*point // the newest point of each key, by step
	told    map[string]string                // standings as written last, by workspace
	toldAt  time.Time
	swept   time.Time
	touched map[[2]string]int // lines by workspace and endpoint since the last sweep
	late    map[string][]change
}

// change is a point that is to be written.
type change struct {
	step time.Duration
	*point
}

// maxLate is how many points of a workspace wait while the database does not take them.
const maxLate = 2000

// Run flushes until ctx ends, then once more, and signs off.
func (r *Recorder) Run(ctx context.Context) error {
	if r.Every == 0 {
		r.Every = Fine
	}
	ctx = caller.System(ctx, "journal")
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for {
		// The first flush tells at once what this process has in force.
		if err := r.Flush(ctx); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "what endpoints did could not be stored; it is tried again", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := errors.Join(r.Flush(last), r.leave(last)); err != nil {
				r.Log.WarnContext(last, "what endpoints did last could not be stored", "error", err)
			}
			return nil
		}
	}
}

// Flush stores what happened since the last one. It is not for use by two goroutines at once.
func (r *Recorder) Flush(ctx context.Context) error {
	now := r.Now().UTC()
	return errors.Join(r.flushPoints(ctx, now), r.flushNodes(ctx, now), r.flushLines(ctx, now), r.sweep(ctx, now))
}

// flushPoints adds what the meters counted to the newest points and writes those that changed. A point is always written
// whole; what could not be written is written with the next flush.
func (r *Recorder) flushPoints(ctx context.Context, now time.Time) error {
	if r.Readings == nil {
		return nil
	}
	if r.open == nil {
		r.last, r.open = map[Key]Count{}, map[time.Duration]map[Key]*point{Fine: {}, Coarse: {}}
	}
	every := r.Every
	if every == 0 {
		every = Fine
	}
	byWorkspace := r.late
	if byWorkspace == nil {
		byWorkspace = map[string][]change{}
	}
	r.late = map[string][]change{}
	for _, g := range r.Readings() {
		old := r.last[g.Key]
		did := g.Count.since(&old)
		r.last[g.Key] = g.Count
		if did.empty() {
			continue
		}
		for step, open := range r.open {
			at := now.Add(-every / 2).Truncate(step) // what happened since the last flush happened around its middle
			p := open[g.Key]
			if p == nil || !p.at.Equal(at) {
				p = &point{Key: g.Key, at: at}
				open[g.Key] = p
			}
			p.Add(&did)
			byWorkspace[g.Workspace] = append(byWorkspace[g.Workspace], change{step, p})
		}
	}
	var errs []error
	for _, w := range slices.Sorted(maps.Keys(byWorkspace)) {
		err := r.DB.Write(caller.WithWorkspace(ctx, w), func(tx db.Scope) error {
			for _, c := range byWorkspace[w] {
				if err := r.store.put(tx, r.Node, c.step, c.point); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			r.late[w] = byWorkspace[w][max(0, len(byWorkspace[w])-maxLate):]
			errs = append(errs, fmt.Errorf("store the calls of %s: %w", w, err))
		}
	}
	return errors.Join(errs...)
}

// flushNodes writes what is in force when it changed, else three times in the span after which a process counts as gone.
func (r *Recorder) flushNodes(ctx context.Context, now time.Time) error {
	if r.Standings == nil {
		return nil
	}
	if r.told == nil {
		r.told = map[string]string{}
	}
	due := now.Sub(r.toldAt) >= nodeGone/3
	have := r.Standings()
	for w := range r.told {
		if _, ok := have[w]; !ok {
			have[w] = []Standing{}
		}
	}
	for _, w := range slices.Sorted(maps.Keys(have)) {
		doc := db.ToJSON(have[w])
		if !due && r.told[w] == doc {
			continue
		}
		if err := r.DB.Write(caller.WithWorkspace(ctx, w), func(tx db.Scope) error { return r.store.putNode(tx, r.Node, r.Name, now, have[w]) }); err != nil {
			return fmt.Errorf("store what %s has in force: %w", r.Name, err)
		}
		r.told[w] = doc
	}
	if due {
		r.toldAt = now
	}
	return nil
}

func (r *Recorder) flushLines(ctx context.Context, now time.Time) error {
	lines := r.Lines.take(now)
	byWorkspace := map[string][]Line{}
	for _, l := range lines {
		if l.ID == "" {
			l.ID = db.NewID()
		}
		byWorkspace[l.workspace] = append(byWorkspace[l.workspace], l)
	}
	var errs []error
	for _, w := range slices.Sorted(maps.Keys(byWorkspace)) {
		list := byWorkspace[w]
		err := r.DB.Write(caller.WithWorkspace(ctx, w), func(tx db.Scope) error {
			for i := range list {
				if err := r.store.putLine(tx, r.Name, &list[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			r.Lines.giveBack(list)
			errs = append(errs, fmt.Errorf("store log lines of %s: %w", w, err))
			continue
		}
		for _, l := range list {
			if r.touched == nil {
				r.touched = map[[2]string]int{}
			}
			r.touched[[2]string{w, l.Endpoint}]++
		}
	}
	return errors.Join(errs...)
}

// sweep removes what is old, once a minute.
func (r *Recorder) sweep(ctx context.Context, now time.Time) error {
	if now.Sub(r.swept) < time.Minute {
		return nil
	}
	r.swept = now
	for _, open := range r.open {
		maps.DeleteFunc(open, func(_ Key, p *point) bool { return now.Sub(p.at) > keepFine })
	}
	if err := r.DB.Write(ctx, func(tx db.Scope) error { return r.store.forget(tx, now) }); err != nil {
		return fmt.Errorf("remove what is too old: %w", err)
	}
	for k := range r.touched {
		if err := r.DB.Write(caller.WithWorkspace(ctx, k[0]), func(tx db.Scope) error { return r.store.shorten(tx, k[1], mostLines) }); err != nil {
			return fmt.Errorf("shorten the log of %s: %w", k[1], err)
		}
		delete(r.touched, k)
	}
	return nil
}

// leave says that this process serves no longer.
func (r *Recorder) leave(ctx context.Context) error {
	var errs []error
	for w := range r.told {
		errs = append(errs, r.DB.Write(caller.WithWorkspace(ctx, w), func(tx db.Scope) error { return r.store.dropNode(tx, r.Node) }))
	}
	return errors.Join(errs...)
}

// like is a pattern of LIKE ... ESCAPE '!' that finds s anywhere.
func like(s string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(s)) + "%"
}
