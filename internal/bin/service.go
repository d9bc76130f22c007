package bin

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"keelson/internal/access"
	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Service lists, restores and purges. DB, Kinds, Log and Now are required.
type Service struct {
	DB        *db.DB
	Keeper    *blob.Keeper // deletes the bytes; may be nil
	Kinds     []Kind
	Retention time.Duration // how long things lie here before they are purged; 0: until somebody purges them
	Log       *slog.Logger
	Now       func() time.Time
}

// Jobs registers the hourly purge.
func (s *Service) Jobs(r *job.Runner) { r.Every("bin.purge", time.Hour, s.PurgeExpired) }

func (s *Service) kind(name string) (Kind, error) {
	var names []string
	for _, k := range s.Kinds {
		if k.Kind() == name {
			return k, nil
		}
		names = append(names, k.Kind())
	}
	return nil, problem.New(problem.Invalid, "%q is no kind of thing that can lie in the bin; the kinds are %s.", clip(name), strings.Join(names, ", ")).At("kind")
}

// List gives up to limit entries of a kind ("" all), the oldest first.
func (s *Service) List(ctx context.Context, kind, cursor string, limit int) (out []Entry, err error) {
	if kind != "" {
		if _, err := s.kind(kind); err != nil {
			return nil, err
		}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if out, err = list(tx, kind, time.Time{}, cursor, limit); err != nil {
			return err
		}
		return s.observe(tx, out)
	})
	return out, err
}

// observe adds when the entries go, and what keeps them.
func (s *Service) observe(tx db.Scope, out []Entry) error {
	all, err := holds(tx, "", "")
	if err != nil {
		return err
	}
	for i := range out {
		e := &out[i]
		if s.Retention > 0 {
			e.PurgeAt = e.DeletedAt.Add(s.Retention)
		}
		for _, h := range all {
			if h.covers(*e) {
				e.Hold = h.words()
			}
		}
	}
	return nil
}

// covers says whether a hold keeps an entry from being purged: it is on it, or on the model or experiment it belongs to.
func (h Hold) covers(e Entry) bool {
	switch h.Kind {
	case e.Kind:
		return h.Name == e.Name && (e.Kind == "model" || e.Kind == "version") || h.Name == e.ID
	case "model":
		return e.Kind == "version" && e.Parent == h.Name
	case "version":
		return e.Kind == "model" && strings.HasPrefix(h.Name, e.Name+"/")
	case "experiment":
		return (e.Kind == "run" || e.Kind == "logged-model") && e.Parent == h.Name
	}
	return false
}

// Restore brings something back, under another name if as is not empty.
func (s *Service) Restore(ctx context.Context, kind, id, as string) (e Entry, err error) {
	k, err := s.kind(kind)
	if err != nil {
		return e, err
	}
	if who := caller.From(ctx); !access.Can(who, k.Permission()) {
		return e, problem.New(problem.Forbidden, "%s may not restore a %s: it needs the permission %s, which these roles have: %s.", who.Name, kind, k.Permission(), strings.Join(access.Holders(k.Permission()), ", "))
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if e, err = getEntry(tx, kind, id); err != nil {
			return err
		}
		return k.Restore(tx, e, as)
	})
	if err == nil {
		s.Log.InfoContext(ctx, "restored from the bin", "kind", kind, "name", e.Name)
	}
	return e, err
}

// Report is what a purge did, or would do.
type Report struct {
	DryRun bool `json:"dry_run"`
	// Items are what was purged, at most 1,000 of them; Count is how many they were.
	Items []Entry `json:"items"`
	Count int     `json:"count"`
	// Kept are those that are old enough and stay because they are held, at most 1,000.
	Kept  []Entry `json:"kept"`
	Files int64   `json:"files"`
	Bytes int64   `json:"bytes" doc:"of all files of the items"`
	// Freed is what left the store; what others refer to stays.
	Freed blob.Freed `json:"freed"`
}

const shown = 1000

// Purge removes one entry for good. confirm is its name, so that nobody purges another thing than he means.
func (s *Service) Purge(ctx context.Context, kind, id, confirm string) (rep Report, err error) {
	k, err := s.kind(kind)
	if err != nil {
		return rep, err
	}
	var e Entry
	if err := s.DB.Read(ctx, func(tx db.Scope) error {
		if e, err = getEntry(tx, kind, id); err != nil {
			return err
		}
		list := []Entry{e}
		err := s.observe(tx, list)
		e = list[0]
		return err
	}); err != nil {
		return rep, err
	}
	if confirm != e.Name {
		return rep, problem.New(problem.Invalid, "Purging cannot be undone. Confirm it with the name of the %s: confirm=%s.", kind, e.Name).At("confirm")
	}
	rep = Report{Items: []Entry{}, Kept: []Entry{}}
	if err := s.purge(ctx, k, e, &rep); err != nil {
		return rep, err
	}
	err = s.free(ctx, &rep)
	return rep, err
}

// PurgeOlder removes what was deleted longer ago than age, of some kinds (none: all). A dry run only says what it would be.
func (s *Service) PurgeOlder(ctx context.Context, age time.Duration, kinds []string, dry bool) (rep Report, err error) {
	rep = Report{DryRun: dry, Items: []Entry{}, Kept: []Entry{}}
	for _, name := range kinds {
		if _, err := s.kind(name); err != nil {
			return rep, err
		}
	}
	before := s.Now().Add(-age)
	for cursor := ""; ; {
		var page []Entry
		if err := s.DB.Read(ctx, func(tx db.Scope) error {
			if page, err = list(tx, "", before, cursor, 200); err != nil {
				return err
			}
			return s.observe(tx, page)
		}); err != nil {
			return rep, err
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			cursor = cursorOf(e)
			if len(kinds) > 0 && !slices.Contains(kinds, e.Kind) {
				continue
			}
			if e.Hold != "" {
				if len(rep.Kept) < shown {
					rep.Kept = append(rep.Kept, e)
				}
				continue
			}
			k, err := s.kind(e.Kind)
			if err != nil {
				return rep, err
			}
			if dry {
				rep.note(e, Gone{Files: e.Files, Bytes: e.Bytes})
				continue
			}
			if err := s.purge(ctx, k, e, &rep); err != nil && !problem.Is(err, problem.NotFound) {
				return rep, err
			}
		}
	}
	if dry {
		return rep, nil
	}
	return rep, s.free(ctx, &rep)
}

func (r *Report) note(e Entry, g Gone) {
	e.Files, e.Bytes = g.Files, g.Bytes
	if len(r.Items) < shown {
		r.Items = append(r.Items, e)
	}
	r.Count++
	r.Files += g.Files
	r.Bytes += g.Bytes
}

// purge removes one entry in as many transactions as it takes; the last one takes it out of the bin and audits it.
func (s *Service) purge(ctx context.Context, k Kind, e Entry, rep *Report) error {
	var all Gone
	for done := false; !done; {
		var g Gone
		err := s.DB.Write(ctx, func(tx db.Scope) error {
			now, err := getEntry(tx, e.Kind, e.ID)
			if err != nil {
				return err
			}
			list := []Entry{now}
			if err := s.observe(tx, list); err != nil {
				return err
			}
			if list[0].Hold != "" {
				return problem.New(problem.Conflict, "%s %s must not be purged: %s. Have the hold lifted first.", e.Kind, e.Name, list[0].Hold)
			}
			if g, done, err = k.Purge(tx, now); err != nil || !done {
				return err
			}
			if err := Drop(tx, e.Kind, e.ID); err != nil {
				return err
			}
			total := all
			total.add(g)
			return audit.Record(tx, e.Kind+".purged", e.Object(), map[string]any{"name": e.Name, "parent": e.Parent, "files": total.Files, "bytes": total.Bytes, "runs": total.Runs,
				"deleted_at": e.DeletedAt, "deleted_by": e.DeletedBy})
		})
		if err != nil {
			return fmt.Errorf("purge %s %s: %w", e.Kind, e.ID, err)
		}
		all.add(g)
	}
	rep.note(e, all)
	s.Log.InfoContext(ctx, "purged", "kind", e.Kind, "name", e.Name, "files", all.Files, "bytes", all.Bytes)
	return nil
}

// free deletes the bytes that nothing refers to any more.
func (s *Service) free(ctx context.Context, rep *Report) (err error) {
	if s.Keeper != nil {
		rep.Freed, err = s.Keeper.Collect(ctx)
	}
	return err
}

// PurgeExpired purges in every workspace what lies here longer than Retention.
func (s *Service) PurgeExpired(ctx context.Context) error {
	if s.Retention <= 0 {
		return nil
	}
	var names []string
	if err := s.DB.Read(ctx, func(tx db.Scope) error {
		names = nil
		return tx.Each(`SELECT DISTINCT workspace FROM bin_entry ORDER BY workspace`, nil, func(scan func(...any) error) error {
			var n string
			err := scan(&n)
			names = append(names, n)
			return err
		})
	}); err != nil {
		return err
	}
	for _, n := range names {
		if _, err := s.PurgeOlder(caller.WithWorkspace(ctx, n), s.Retention, nil, false); err != nil {
			return fmt.Errorf("purge the bin of %s: %w", n, err)
		}
	}
	return nil
}

// Holds lists what must not be deleted.
func (s *Service) Holds(ctx context.Context) (out []Hold, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = holds(tx, "", ""); return err })
	return out, err
}

// PutHold keeps something from being deleted, in place of a hold it has.
func (s *Service) PutHold(ctx context.Context, h Hold) (Hold, error) {
	h.By, h.At = caller.From(ctx).Name, s.Now()
	if h.Until != nil && !h.Until.After(h.At) {
		return h, problem.New(problem.Invalid, "The hold would end before it begins; give a time that is to come, or none.").At("until")
	}
	if strings.TrimSpace(h.Name) == "" {
		return h, problem.New(problem.Invalid, "Name what is to be held: a model, model/3 for a version, the id of a run.").At("name")
	}
	return h, s.DB.Write(ctx, func(tx db.Scope) error {
		if err := putHold(tx, h); err != nil {
			return err
		}
		return audit.Record(tx, "hold.set", h.Kind+"/"+h.Name, map[string]any{"reason": h.Reason, "until": h.Until})
	})
}

// LiftHold ends a hold.
func (s *Service) LiftHold(ctx context.Context, kind, name string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		ok, err := dropHold(tx, kind, name)
		if err == nil && !ok {
			err = problem.New(problem.NotFound, "There is no hold on %s %q.", clip(kind), clip(name)).At("name")
		}
		if err != nil {
			return err
		}
		return audit.Record(tx, "hold.lifted", kind+"/"+name, map[string]any{})
	})
}
