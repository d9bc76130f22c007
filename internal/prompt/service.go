package prompt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/filter"
	"keelson/internal/inventory"
	"keelson/internal/problem"
)

// Service keeps prompts. All fields are required.
type Service struct {
	DB  *db.DB
	Log *slog.Logger
	Now func() time.Time
	// ModelNamed reports whether a model has a name: the two share one space of names.
	ModelNamed func(tx db.Scope, name string) (bool, error)
}

// Has reports whether there is a prompt of a name.
func (s *Service) Has(ctx context.Context, name string) (ok bool, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { ok, err = exists(tx, name); return err })
	return ok, err
}

// Free refuses a name that a prompt has; models ask before they take one.
func (s *Service) Free(tx db.Scope, name string) error {
	taken, err := exists(tx, name)
	if err == nil && taken {
		err = problem.New(problem.Conflict, "The name %s is taken by a prompt, and a model and a prompt cannot share one.", problem.Clip(name, 100)).At("name")
	}
	return err
}

// Create adds a prompt without versions; Name, Description and Tags are read.
func (s *Service) Create(ctx context.Context, p Prompt) (Prompt, error) {
	p.Tags = cloned(p.Tags)
	if err := p.check(); err != nil {
		return p, err
	}
	p.CreatedBy, p.CreatedAt = caller.From(ctx).Name, s.now()
	p.UpdatedAt, p.Aliases = p.CreatedAt, map[string]int{}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		taken, err := exists(tx, p.Name)
		if err != nil {
			return err
		}
		if taken {
			return problem.New(problem.Conflict, "Prompt (name=%s) already exists.", p.Name).At("name")
		}
		if taken, err = s.ModelNamed(tx, p.Name); err != nil {
			return err
		}
		if taken {
			return problem.New(problem.Conflict, "The name %s is taken by a registered model, and a model and a prompt cannot share one.", p.Name).At("name")
		}
		if err := put(tx, p); err != nil {
			return err
		}
		return tell(tx, EventCreated, "prompt/"+p.Name, map[string]any{"prompt": p.Name, "description": p.Description, "tags": p.Tags})
	})
	if err != nil {
		return Prompt{}, fmt.Errorf("create prompt: %w", err)
	}
	s.Log.InfoContext(ctx, "prompt created", "prompt", p.Name)
	return p, nil
}

// tell records an act and publishes it.
func tell(tx db.Scope, typ, object string, detail map[string]any) error {
	return errors.Join(event.Publish(tx, typ, object, detail), audit.Record(tx, typ, object, without(detail)))
}

// without leaves the template out of the history: texts may hold what is to be erased one day. Its digest is there.
func without(detail map[string]any) map[string]any {
	t, ok := detail["template"].(string)
	if !ok {
		return detail
	}
	out := maps.Clone(detail)
	delete(out, "template")
	out["digest"] = digest(t)
	return out
}

// Get gives a prompt with its aliases.
func (s *Service) Get(ctx context.Context, name string) (p Prompt, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { p, err = get(tx, name); return err })
	return p, err
}

// Change changes a prompt's description and tags.
func (s *Service) Change(ctx context.Context, name string, change func(*Prompt) error) (p Prompt, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if p, err = get(tx, name); err != nil {
			return err
		}
		was, tags := p.Description, p.Tags
		p.Tags = cloned(tags)
		if err := change(&p); err != nil {
			return err
		}
		p.Name = name
		if err := p.check(); err != nil {
			return err
		}
		p.UpdatedAt = s.now()
		if err := put(tx, p); err != nil {
			return err
		}
		object := "prompt/" + name
		if err := tagNews(tx, object, EventTagSet, EventTagDeleted, tags, p.Tags, map[string]any{"prompt": name}); err != nil || p.Description == was {
			return err
		}
		return tell(tx, EventChanged, object, map[string]any{"prompt": name, "description": p.Description})
	})
	if err != nil {
		return Prompt{}, fmt.Errorf("change prompt %s: %w", name, err)
	}
	return p, nil
}

// tagNews tells of every tag that was set, changed or taken away.
func tagNews(tx db.Scope, object, set, gone string, before, after map[string]string, about map[string]any) error {
	var errs []error
	for _, k := range sorted(after) {
		if old, ok := before[k]; !ok || old != after[k] {
			d := maps.Clone(about)
			d["key"], d["value"] = k, after[k]
			errs = append(errs, tell(tx, set, object, d))
		}
	}
	for _, k := range sorted(before) {
		if _, ok := after[k]; !ok {
			d := maps.Clone(about)
			d["key"] = k
			errs = append(errs, tell(tx, gone, object, d))
		}
	}
	return errors.Join(errs...)
}

// Delete removes a prompt with its versions; the name is free at once.
func (s *Service) Delete(ctx context.Context, name string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		p, err := get(tx, name)
		if err != nil {
			return err
		}
		if err := drop(tx, name); err != nil {
			return err
		}
		return tell(tx, EventDeleted, "prompt/"+name, map[string]any{"prompt": name, "latest": p.Latest})
	})
}

// AddVersion adds a version; Prompt, Template, Description and Tags are read.
func (s *Service) AddVersion(ctx context.Context, v Version) (Version, error) {
	v.Tags = cloned(v.Tags)
	if err := v.check(); err != nil {
		return v, err
	}
	v.Digest, v.CreatedBy, v.CreatedAt, v.Aliases = digest(v.Template), caller.From(ctx).Name, s.now(), []string{}
	v.UpdatedAt = v.CreatedAt
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		p, err := get(tx, v.Prompt)
		if err != nil {
			return err
		}
		p.last++
		p.UpdatedAt, v.Number = v.CreatedAt, p.last
		if err := errors.Join(put(tx, p), putVersion(tx, v)); err != nil {
			return err
		}
		return tell(tx, EventVersionCreated, v.object(), map[string]any{"prompt": v.Prompt, "version": v.Number, "template": v.Template, "description": v.Description, "tags": v.Tags})
	})
	if err != nil {
		return Version{}, fmt.Errorf("add version of prompt %s: %w", v.Prompt, err)
	}
	s.Log.InfoContext(ctx, "prompt version created", "prompt", v.Prompt, "version", v.Number)
	return v, nil
}

func (v *Version) object() string { return "prompt/" + v.Prompt + "/" + strconv.Itoa(v.Number) }

// Version gives one version.
func (s *Service) Version(ctx context.Context, name string, number int) (v Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, err := get(tx, name); err != nil {
			return err
		}
		v, err = getVersion(tx, name, number)
		return err
	})
	return v, err
}

// Versions gives the versions of a prompt, the newest first.
func (s *Service) Versions(ctx context.Context, name string) (out []Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, err := get(tx, name); err != nil {
			return err
		}
		out, err = versions(tx, name)
		return err
	})
	return out, err
}

// Aliased gives the version an alias points to; "latest" is the newest.
func (s *Service) Aliased(ctx context.Context, name, alias string) (v Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		p, err := get(tx, name)
		if err != nil {
			return err
		}
		n, ok := p.Aliases[alias]
		if strings.EqualFold(alias, "latest") && p.Latest > 0 {
			n, ok = p.Latest, true
		}
		if !ok {
			return problem.New(problem.NotFound, "Prompt alias %s not found.", problem.Clip(alias, 100)).At("alias")
		}
		v, err = getVersion(tx, name, n)
		return err
	})
	return v, err
}

// ChangeVersion changes a version's description and tags, never its template.
func (s *Service) ChangeVersion(ctx context.Context, name string, number int, change func(*Version) error) (v Version, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if _, err := get(tx, name); err != nil {
			return err
		}
		if v, err = getVersion(tx, name, number); err != nil {
			return err
		}
		was, tags, template := v.Description, v.Tags, v.Template
		v.Tags = cloned(tags)
		if err := change(&v); err != nil {
			return err
		}
		if v.Template != template {
			return problem.New(problem.Invalid, "The template of a version does not change; register a new version.").At("template")
		}
		if err := v.check(); err != nil {
			return err
		}
		v.UpdatedAt = s.now()
		if err := errors.Join(putVersion(tx, v), touch(tx, name, v.UpdatedAt)); err != nil {
			return err
		}
		about := map[string]any{"prompt": name, "version": number}
		if err := tagNews(tx, v.object(), EventVersionTagSet, EventVersionTagGone, tags, v.Tags, about); err != nil || v.Description == was {
			return err
		}
		about["description"] = v.Description
		return tell(tx, EventChanged, v.object(), about)
	})
	if err != nil {
		return Version{}, fmt.Errorf("change version of prompt %s: %w", name, err)
	}
	return v, nil
}

// DeleteVersion removes a version and the aliases that point to it.
func (s *Service) DeleteVersion(ctx context.Context, name string, number int) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		v, err := getVersion(tx, name, number)
		if err != nil {
			return err
		}
		if err := errors.Join(dropVersion(tx, name, number), touch(tx, name, s.now())); err != nil {
			return err
		}
		return tell(tx, EventVersionDeleted, v.object(), map[string]any{"prompt": name, "version": number, "digest": v.Digest})
	})
}

// SetAlias points an alias to a version.
func (s *Service) SetAlias(ctx context.Context, name, alias string, number int) error {
	if err := inventory.CheckAlias(alias); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		p, err := get(tx, name)
		if err != nil {
			return err
		}
		v, err := getVersion(tx, name, number)
		if err != nil || p.Aliases[alias] == number {
			return err
		}
		if err := errors.Join(putAlias(tx, name, alias, number), touch(tx, name, s.now())); err != nil {
			return err
		}
		return tell(tx, EventAliasSet, v.object(), map[string]any{"prompt": name, "alias": alias, "version": number, "before": p.Aliases[alias]})
	})
}

// DropAlias takes an alias away; one that is not there is no error.
func (s *Service) DropAlias(ctx context.Context, name, alias string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		p, err := get(tx, name)
		if err != nil || p.Aliases[alias] == 0 {
			return err
		}
		if err := errors.Join(dropAlias(tx, name, alias), touch(tx, name, s.now())); err != nil {
			return err
		}
		return tell(tx, EventAliasDeleted, "prompt/"+name, map[string]any{"prompt": name, "alias": alias, "before": p.Aliases[alias]})
	})
}

// List gives prompts in the order of their names, after a name.
func (s *Service) List(ctx context.Context, after string, limit int) (out []Prompt, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if out, err = list(tx, after, limit); err != nil {
			return err
		}
		return s.named(tx, out)
	})
	return out, err
}

func (s *Service) named(tx db.Scope, list []Prompt) (err error) {
	for i := range list {
		if list[i].Aliases, err = aliases(tx, list[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// Search finds prompts in the filter language of registered models, by default by name. Prompts number thousands at most,
// so the filter runs here and not in SQL. marks are tags that every prompt has for the filter, beside its own.
func (s *Service) Search(ctx context.Context, q filter.Query, marks map[string]string) (out []Prompt, next string, err error) {
	q.Usual = []filter.Order{{Entity: filter.Attribute, Key: "name"}}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		all, err := list(tx, "", 0)
		if err != nil {
			return err
		}
		out, next, err = filter.Pick(all, func(p Prompt) filter.Thing {
			return filter.Thing{ID: p.Name, Text: map[string]string{"name": p.Name}, Tags: merged(p.Tags, marks),
				Number: map[string]float64{"created_at": float64(p.CreatedAt.UnixMilli()), "updated_at": float64(p.UpdatedAt.UnixMilli())}}
		}, filter.Models, q)
		if err != nil {
			return err
		}
		return s.named(tx, out)
	})
	return out, next, err
}

// SearchVersions finds versions of all prompts in the filter language of model versions, by default the youngest first.
func (s *Service) SearchVersions(ctx context.Context, q filter.Query, marks map[string]string) (out []Version, next string, err error) {
	q.Usual = []filter.Order{{Entity: filter.Attribute, Key: "updated_at", Numeric: true, Desc: true}, {Entity: filter.Attribute, Key: "name"}, {Entity: filter.Attribute, Key: "version", Numeric: true, Desc: true}}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		all, err := versions(tx, "")
		if err != nil {
			return err
		}
		out, next, err = filter.Pick(all, func(v Version) filter.Thing {
			return filter.Thing{ID: v.object(), Text: map[string]string{"name": v.Prompt}, Tags: merged(v.Tags, marks),
				Number: map[string]float64{"version": float64(v.Number), "created_at": float64(v.CreatedAt.UnixMilli()), "updated_at": float64(v.UpdatedAt.UnixMilli())}}
		}, filter.Versions, q)
		return err
	})
	return out, next, err
}

func merged(a, b map[string]string) map[string]string {
	out := cloned(a)
	maps.Copy(out, b)
	return out
}

func cloned(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	maps.Copy(out, m)
	return out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// Refused keeps that somebody tried to give a prompt something that it has not, and gives back why it was refused.
func (s *Service) Refused(ctx context.Context, name, what string, why error) error {
	return errors.Join(why, s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, "prompt.refused", "prompt/"+problem.Clip(name, 200), map[string]any{"prompt": problem.Clip(name, 200), "source": what})
	}))
}
