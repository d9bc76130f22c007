package evalset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

// Service keeps evaluation sets. All fields are required.
type Service struct {
	DB  *db.DB
	Log *slog.Logger
	Now func() time.Time
	// Experiment fails for an experiment that is not there.
	Experiment func(ctx context.Context, id string) error
}

func (s *Service) experiments(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := s.Experiment(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) tell(tx db.Scope, typ, id string, detail map[string]any) error {
	detail["evalset"] = id
	return errors.Join(event.Publish(tx, typ, "evalset/"+id, detail), audit.Record(tx, typ, "evalset/"+id, detail))
}

// Create adds a set; names need not be unique.
func (s *Service) Create(ctx context.Context, name string, tags map[string]string, experiments []string) (Set, error) {
	if err := errors.Join(checkName(name), checkTags(tags), s.experiments(ctx, experiments)); err != nil {
		return Set{}, err
	}
	who, now := caller.From(ctx).Name, s.now()
	slices.Sort(experiments)
	set := Set{ID: "d-" + db.NewID(), Name: name, Tags: cloned(tags), Experiments: slices.Compact(experiments), CreatedBy: who, UpdatedBy: who, CreatedAt: now, UpdatedAt: now}
	set.Digest = digest(set)
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		return errors.Join(put(tx, set), s.tell(tx, EventCreated, set.ID, map[string]any{"name": name, "experiments": set.Experiments}))
	})
	return set, err
}

// digest changes with the set's records.
func digest(s Set) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", s.ID, s.Name, db.Micros(s.UpdatedAt)))
	return hex.EncodeToString(sum[:])[:8]
}

// Get gives a set without its records.
func (s *Service) Get(ctx context.Context, id string) (set Set, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { set, err = get(tx, id); return err })
	return set, err
}

// Delete removes a set with its records.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		set, err := get(tx, id)
		if err != nil {
			return err
		}
		return errors.Join(drop(tx, id), s.tell(tx, EventDeleted, id, map[string]any{"name": set.Name, "records": set.Records}))
	})
}

// change changes a set and tells what.
func (s *Service) change(ctx context.Context, id string, do func(tx db.Scope, set *Set) (map[string]any, error)) (set Set, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if set, err = get(tx, id); err != nil {
			return err
		}
		set.Tags, set.Experiments = cloned(set.Tags), slices.Clone(set.Experiments)
		told, err := do(tx, &set)
		if err != nil {
			return err
		}
		set.UpdatedBy, set.UpdatedAt = caller.From(ctx).Name, s.now()
		return errors.Join(put(tx, set), s.tell(tx, EventChanged, id, told))
	})
	if err != nil {
		return Set{}, fmt.Errorf("change evaluation dataset: %w", err)
	}
	return set, nil
}

// Tag adds tags to a set or replaces their values.
func (s *Service) Tag(ctx context.Context, id string, tags map[string]string) (Set, error) {
	if err := checkTags(tags); err != nil {
		return Set{}, err
	}
	return s.change(ctx, id, func(_ db.Scope, set *Set) (map[string]any, error) {
		maps.Copy(set.Tags, tags)
		return map[string]any{"tags": tags}, nil
	})
}

// Untag takes a tag away; one that is not there is no error.
func (s *Service) Untag(ctx context.Context, id, key string) error {
	_, err := s.change(ctx, id, func(_ db.Scope, set *Set) (map[string]any, error) {
		delete(set.Tags, key)
		return map[string]any{"untagged": key}, nil
	})
	return err
}

// AddTo makes a set belong to more experiments.
func (s *Service) AddTo(ctx context.Context, id string, experiments []string) (Set, error) {
	if err := s.experiments(ctx, experiments); err != nil {
		return Set{}, err
	}
	return s.change(ctx, id, func(_ db.Scope, set *Set) (map[string]any, error) {
		set.Experiments = append(set.Experiments, experiments...)
		slices.Sort(set.Experiments)
		set.Experiments = slices.Compact(set.Experiments)
		return map[string]any{"experiments": set.Experiments}, nil
	})
}

// RemoveFrom makes a set belong to fewer experiments.
func (s *Service) RemoveFrom(ctx context.Context, id string, experiments []string) (Set, error) {
	return s.change(ctx, id, func(_ db.Scope, set *Set) (map[string]any, error) {
		set.Experiments = slices.DeleteFunc(set.Experiments, func(e string) bool { return slices.Contains(experiments, e) })
		return map[string]any{"experiments": set.Experiments}, nil
	})
}

// Upsert adds records, or merges them into those that have the same inputs.
func (s *Service) Upsert(ctx context.Context, id string, given []Given) (inserted, updated int, err error) {
	_, err = s.change(ctx, id, func(tx db.Scope, set *Set) (map[string]any, error) {
		inserted, updated = 0, 0
		who, now := caller.From(ctx).Name, s.now()
		for _, g := range given {
			input := g.input()
			r, ok, err := ofInput(tx, id, input)
			if err != nil {
				return nil, err
			}
			if ok {
				updated++
			} else {
				inserted++
				r = Record{ID: "dr-" + db.NewID(), Set: id, Inputs: canonical(g.Inputs), Source: g.Source, CreatedBy: who, CreatedAt: now}
			}
			if err := r.merge(g); err != nil {
				return nil, err
			}
			r.UpdatedBy, r.UpdatedAt = who, now
			if err := putRecord(tx, r, input); err != nil {
				return nil, err
			}
			set.Fields.learn(g)
		}
		if set.Records += inserted; set.Records > MaxRecords {
			return nil, problem.New(problem.Invalid, "An evaluation dataset has at most %d records; this would make it %d.", MaxRecords, set.Records).At("records")
		}
		set.UpdatedAt = now
		set.Digest = digest(*set)
		return map[string]any{"inserted": inserted, "updated": updated}, nil
	})
	return inserted, updated, err
}

// DeleteRecords removes records and says how many there were.
func (s *Service) DeleteRecords(ctx context.Context, id string, ids []string) (deleted int, err error) {
	_, err = s.change(ctx, id, func(tx db.Scope, set *Set) (map[string]any, error) {
		deleted = 0
		for _, r := range ids {
			was, err := dropRecord(tx, id, r)
			if err != nil {
				return nil, err
			}
			if was {
				deleted++
			}
		}
		set.UpdatedAt = s.now()
		set.Digest = digest(*set)
		return map[string]any{"deleted": deleted}, nil
	})
	return deleted, err
}

// Records gives a page of a set's records in the order they came, after an id.
func (s *Service) Records(ctx context.Context, id, after string, limit int) (out []Record, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, err := get(tx, id); err != nil {
			return err
		}
		out, err = records(tx, id, after, limit)
		return err
	})
	return out, err
}

// Search finds sets, of any of the experiments if some are named, by default the youngest first.
func (s *Service) Search(ctx context.Context, experiments []string, q filter.Query) (out []Set, next string, err error) {
	if len(q.Order) == 0 {
		q.Usual = []filter.Order{{Entity: filter.Attribute, Key: "created_at", Numeric: true, Desc: true}}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		all, err := list(tx)
		if err != nil {
			return err
		}
		if len(experiments) > 0 {
			all = slices.DeleteFunc(all, func(x Set) bool {
				return !slices.ContainsFunc(x.Experiments, func(e string) bool { return slices.Contains(experiments, e) })
			})
		}
		out, next, err = filter.Pick(all, func(x Set) filter.Thing {
			return filter.Thing{ID: x.ID, Text: map[string]string{"name": x.Name, "created_by": x.CreatedBy, "updated_by": x.UpdatedBy}, Tags: x.Tags,
				Number: map[string]float64{"created_at": float64(x.CreatedAt.UnixMilli()), "updated_at": float64(x.UpdatedAt.UnixMilli())}}
		}, Grammar, q)
		return err
	})
	return out, next, err
}

func cloned(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	maps.Copy(out, m)
	return out
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
