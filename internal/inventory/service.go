package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/event"
	"keelson/internal/problem"
	"keelson/internal/tracking"
	"keelson/internal/usage"
)

var errorsIs = errors.Is

// What the inventory asks of its neighbours; app adapts them. All may be nil.
type (
	// Runtime knows what runs: deployment, monitor and prediction.
	Runtime interface {
		// Live gives the versions that answer calls, by model.
		Live(ctx context.Context) (map[string][]Live, error)
		// Health gives the models that monitoring has a verdict on.
		Health(ctx context.Context) (map[string]Health, error)
		// LastUsed gives the time of the last call, by model.
		LastUsed(ctx context.Context) (map[string]time.Time, error)
		// InUse says in one phrase why a version (0: any of the model) cannot be deleted or renamed, or "".
		InUse(tx db.Scope, model string, version int) (string, error)
	}
	// Evaluations knows how versions were judged.
	Evaluations interface {
		// States gives the latest evaluation of each version of a model.
		States(ctx context.Context, model string) (map[int]EvaluationState, error)
	}
	// Guard knows which aliases of a model only move by approved changes.
	Guard interface {
		// Guarded gives the environment that an alias of a model stands for, or "" when it moves freely.
		Guarded(ctx context.Context, m Model, alias string) (environment string, err error)
	}
	// Engines is engine.Set.
	Engines interface {
		Load(ctx context.Context, fsys fsFS, format string, limits engine.Limits) (engine.Model, engine.Found, error)
		// Others lists the formats under which other engines read the files of a format.
		Others(format string) []string
		Find(fsys fsFS, format string) ([]engine.Found, error)
		Preparing(fsys fsFS, f engine.Found) engine.Preparer
		Slow(format string) bool
		Formats() []string
	}
)

// Service keeps the record. DB, Blobs, Engines, Runs, Log and Now are required.
type Service struct {
	DB      *db.DB
	Blobs   blob.Store
	Keeper  *blob.Keeper // of Blobs; may be nil
	Engines Engines
	// EngineSettings is what beside the engines decides whether they can run a version (configuration, installed libraries),
	// as it is now; when it changes, versions that none could run are tried once more. nil: nothing.
	EngineSettings func() string
	Runs           *tracking.Service
	Log            *slog.Logger
	Now            func() time.Time
	Runtime        Runtime
	Evaluations    Evaluations
	Guard          Guard // nil: every alias moves freely
	// Renamed tells the nouns that keep rows under a model's name, in the transaction of the renaming.
	Renamed []func(tx db.Scope, from, to string) error
	// Reserved refuse a name that something else has, in the transaction that takes it for a model.
	Reserved []func(tx db.Scope, name string) error
	// MaxUpload bounds the bytes of one registration by upload; 0 means 4 GiB.
	MaxUpload int64
}

// Create adds a model. Without an owner the caller is; without a kind it is "ml".
func (s *Service) Create(ctx context.Context, m Model) (Model, error) {
	s.defaults(ctx, &m)
	if err := m.Check(); err != nil {
		return Model{}, err
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error { return s.create(tx, m) })
	if err != nil {
		return Model{}, fmt.Errorf("create model: %w", err)
	}
	s.Log.InfoContext(ctx, "model created", "model", m.Name)
	return s.Model(ctx, m.Name)
}

func (s *Service) defaults(ctx context.Context, m *Model) {
	if m.Kind == "" {
		m.Kind = "ml"
	}
	if m.Tags == nil {
		m.Tags = map[string]string{}
	}
	m.CreatedBy = caller.From(ctx).Name
	if m.Owner == "" && caller.From(ctx).Kind == caller.Person {
		m.Owner = m.CreatedBy
	}
	m.CreatedAt = s.Now()
	m.UpdatedAt = m.CreatedAt
}

func (s *Service) create(tx db.Scope, m Model) error {
	if _, err := getModel(tx, m.Name); !problem.Is(err, problem.NotFound) {
		if err != nil {
			return err
		}
		return problem.New(problem.Conflict, "Registered Model (name=%s) already exists.", m.Name).At("name")
	}
	if err := s.reserved(tx, m.Name); err != nil {
		return err
	}
	if err := insertModel(tx, m); err != nil {
		return err
	}
	if err := event.Publish(tx, EventModelCreated, "model/"+m.Name, map[string]any{"model": m.Name, "kind": m.Kind, "description": m.Description, "tags": m.Tags}); err != nil {
		return err
	}
	return audit.Record(tx, "model.created", "model/"+m.Name, map[string]any{"model": m.Name, "kind": m.Kind, "owner": m.Owner, "use_case": m.UseCase})
}

// Recorded gives one model as it stands in the inventory, without what runs of it: what costs one look at one row.
func (s *Service) Recorded(ctx context.Context, name string) (m Model, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { m, err = getModel(tx, name); return err })
	return m, err
}

// Model gives one model with what runs of it.
func (s *Service) Model(ctx context.Context, name string) (Model, error) {
	m, err := s.Recorded(ctx, name)
	if err != nil {
		return m, err
	}
	list := []Model{m}
	err = s.observe(ctx, list)
	return list[0], err
}

// Usage sums up what a model used since a time and before another; see usage.Read. NotFound when there is no such model.
func (s *Service) Usage(ctx context.Context, model string, since, until time.Time, price *float64) (r usage.Report, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, err := getModel(tx, model); err != nil {
			return err
		}
		r, err = usage.Read(tx, model, since, until, price)
		return err
	})
	return r, err
}

// Models gives models in the order of their names, after a name, whose name, owner, area, use case, kind or tags hold
// every word of filter.
func (s *Service) Models(ctx context.Context, filter, after string, limit int) (out []Model, err error) {
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = listModels(tx, filter, after, limit); return err }); err != nil {
		return nil, err
	}
	return out, s.observe(ctx, out)
}

// observe adds what the neighbours know.
func (s *Service) observe(ctx context.Context, list []Model) error {
	if s.Runtime == nil || len(list) == 0 {
		return nil
	}
	live, err := s.Runtime.Live(ctx)
	if err != nil {
		return err
	}
	health, err := s.Runtime.Health(ctx)
	if err != nil {
		return err
	}
	used, err := s.Runtime.LastUsed(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		m := &list[i]
		if l := live[m.Name]; l != nil {
			m.Live = l
		}
		if h, ok := health[m.Name]; ok {
			m.Health = h
		}
		if t, ok := used[m.Name]; ok {
			m.LastUsedAt = &t
		}
	}
	return nil
}

// Change changes a model's record; what is audited are the fields that differ.
func (s *Service) Change(ctx context.Context, name string, change func(*Model) error) (Model, error) {
	err := s.DB.Write(ctx, func(tx db.Scope) error { return s.change(tx, name, change) })
	if err != nil {
		return Model{}, fmt.Errorf("change model %s: %w", name, err)
	}
	return s.Model(ctx, name)
}

func (s *Service) change(tx db.Scope, name string, change func(*Model) error) error {
	m, err := getModel(tx, name)
	if err != nil {
		return err
	}
	before := fields(m)
	m.Tags = clone(m.Tags)
	if err := change(&m); err != nil {
		return err
	}
	if err := m.Check(); err != nil {
		return err
	}
	m.UpdatedAt = s.Now()
	if err := putModel(tx, m); err != nil {
		return err
	}
	changed := map[string]any{}
	for k, v := range fields(m) {
		if !slices.Equal(v, before[k]) {
			changed[k] = map[string]any{"before": before[k], "after": v}
		}
	}
	if len(changed) == 0 {
		return nil
	}
	detail := map[string]any{"model": name, "changed": changed}
	return errors.Join(event.Publish(tx, EventModelChanged, "model/"+name, detail), audit.Record(tx, "model.changed", "model/"+name, detail))
}

func fields(m Model) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for k, v := range map[string]any{"kind": m.Kind, "description": m.Description, "area": m.Area, "owner": m.Owner, "use_case": m.UseCase, "tier": m.Tier,
		"intended_use": m.IntendedUse, "forbidden_use": m.ForbiddenUse, "responsibilities": m.Responsibilities, "tags": m.Tags} {
		out[k] = json.RawMessage(db.ToJSON(v))
	}
	return out
}

func clone(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// Rename gives a model that is not in use another name.
func (s *Service) Rename(ctx context.Context, from, to string) (Model, error) {
	if err := CheckName(to); err != nil {
		return Model{}, err
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		if _, err := getModel(tx, from); err != nil {
			return err
		}
		if _, err := getModel(tx, to); !problem.Is(err, problem.NotFound) {
			if err != nil {
				return err
			}
			return problem.New(problem.Conflict, "Registered Model (name=%s) already exists.", to).At("new_name")
		}
		if err := s.reserved(tx, to); err != nil {
			return err
		}
		if err := s.free(tx, from, 0, "renamed"); err != nil {
			return err
		}
		if err := renameModel(tx, from, to, s.Now()); err != nil {
			return err
		}
		for _, f := range s.Renamed {
			if err := f(tx, from, to); err != nil {
				return err
			}
		}
		if err := event.Publish(tx, EventModelRenamed, "model/"+to, map[string]any{"model": to, "before": from}); err != nil {
			return err
		}
		return audit.Record(tx, "model.renamed", "model/"+to, map[string]any{"models": []string{from, to}, "from": from, "to": to})
	})
	if err != nil {
		return Model{}, fmt.Errorf("rename model: %w", err)
	}
	return s.Model(ctx, to)
}

// free refuses what is in use.
func (s *Service) free(tx db.Scope, model string, version int, act string) error {
	if s.Runtime == nil {
		return nil
	}
	why, err := s.Runtime.InUse(tx, model, version)
	if err != nil || why == "" {
		return err
	}
	what := model
	if version > 0 {
		what = fmt.Sprintf("%s/%d", model, version)
	}
	return problem.New(problem.Conflict, "%s cannot be %s: %s. Propose its retirement instead.", what, act, why)
}

// Delete puts a model that is not in use, with its versions, into the bin.
func (s *Service) Delete(ctx context.Context, name string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		if _, err := getModel(tx, name); err != nil {
			return err
		}
		if err := s.free(tx, name, 0, "deleted"); err != nil {
			return err
		}
		if err := kept(tx, name, 0); err != nil {
			return err
		}
		list, err := listVersions(tx, name, 0, 0)
		if err != nil {
			return err
		}
		digests := map[string]string{}
		for _, v := range list {
			digests[v.Ref()] = v.ArtifactDigest
		}
		if err := shelve(tx, name, 0, 0); err != nil {
			return err
		}
		if err := dropModel(tx, name); err != nil {
			return err
		}
		if err := event.Publish(tx, EventModelDeleted, "model/"+name, map[string]any{"model": name}); err != nil {
			return err
		}
		return audit.Record(tx, "model.deleted", "model/"+name, map[string]any{"model": name, "versions": digests})
	})
}

// DeleteVersion puts a version that is not in use into the bin.
func (s *Service) DeleteVersion(ctx context.Context, model string, number int) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		v, err := getVersion(tx, model, number)
		if err != nil {
			return err
		}
		if err := s.free(tx, model, number, "deleted"); err != nil {
			return err
		}
		if err := kept(tx, model, number); err != nil {
			return err
		}
		m, err := getModel(tx, model)
		if err != nil {
			return err
		}
		if err := shelve(tx, model, number, db.Micros(m.CreatedAt)); err != nil {
			return err
		}
		if err := dropVersion(tx, model, number); err != nil {
			return err
		}
		if err := event.Publish(tx, EventVersionDeleted, "model/"+v.Ref(), map[string]any{"model": model, "version": number}); err != nil {
			return err
		}
		return audit.Record(tx, "version.deleted", "model/"+v.Ref(), map[string]any{"model": model, "artifact_digest": v.ArtifactDigest, "state": v.State})
	})
}

// Version gives a version with its files, evaluation and where it runs. For "latest" give Model.Latest.
func (s *Service) Version(ctx context.Context, model string, number int) (v Version, err error) {
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { v, err = getVersion(tx, model, number); return err }); err != nil {
		return v, err
	}
	list := []Version{v}
	err = s.judge(ctx, model, list)
	return list[0], err
}

// Versions gives the versions of a model without their files, the newest first, below number before (0: all).
func (s *Service) Versions(ctx context.Context, model string, before, limit int) (out []Version, err error) {
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if _, err = getModel(tx, model); err != nil {
			return err
		}
		out, err = listVersions(tx, model, before, limit)
		return err
	}); err != nil {
		return nil, err
	}
	return out, s.judge(ctx, model, out)
}

// OfRuns gives the versions registered from the given runs, without files, oldest first.
func (s *Service) OfRuns(ctx context.Context, runs []string) (out []Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		for _, run := range runs {
			if err := tx.Each(`SELECT `+versionColumns+` FROM model_version WHERE workspace = $1 AND run = $2 ORDER BY created_at, model, version`, []any{tx.Workspace, run}, func(scan func(...any) error) error {
				v, err := scanVersion(scan)
				out = append(out, v)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (s *Service) judge(ctx context.Context, model string, list []Version) error {
	if s.Evaluations != nil {
		states, err := s.Evaluations.States(ctx, model)
		if err != nil {
			return err
		}
		for i := range list {
			if e, ok := states[list[i].Number]; ok {
				list[i].Evaluation = e
			}
		}
	}
	if s.Runtime == nil {
		return nil
	}
	live, err := s.Runtime.Live(ctx)
	if err != nil {
		return err
	}
	for _, l := range live[model] {
		for i := range list {
			if list[i].Number == l.Version && !slices.Contains(list[i].Deployed, l.Environment) {
				list[i].Deployed = append(list[i].Deployed, l.Environment)
			}
		}
	}
	return nil
}

// Resolve gives the number a reference names: "model/3" or "model@alias".
func (s *Service) Resolve(ctx context.Context, ref string) (model string, number int, err error) {
	model, alias, number, err := ParseRef(ref)
	if err != nil || number > 0 {
		return model, number, err
	}
	v, err := s.Aliased(ctx, model, alias)
	return model, v.Number, err
}

// Aliased gives the version an alias points to.
func (s *Service) Aliased(ctx context.Context, model, alias string) (v Version, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		if _, err := getModel(tx, model); err != nil {
			return err
		}
		all, err := aliases(tx, model)
		if err != nil {
			return err
		}
		n, ok := all[alias]
		if !ok {
			return problem.New(problem.NotFound, "Registered model alias %s not found.", problem.Clip(alias, 100)).At("alias")
		}
		v, err = getVersion(tx, model, n)
		return err
	})
	return v, err
}

// Aliases gives the aliases of a model and the versions they point to.
func (s *Service) Aliases(ctx context.Context, model string) (out map[string]int, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = aliases(tx, model); return err })
	return out, err
}

// SetAlias points an alias to a version; DropAlias takes it away (one that is not there is no error).
func (s *Service) SetAlias(ctx context.Context, model, alias string, number int) error {
	if err := CheckAlias(alias); err != nil {
		return err
	}
	if err := s.guard(ctx, model, alias, number); err != nil {
		return err
	}
	return s.setAlias(ctx, model, alias, number)
}

func (s *Service) setAlias(ctx context.Context, model, alias string, number int) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		if _, err := getVersion(tx, model, number); err != nil {
			return err
		}
		before, err := aliases(tx, model)
		if err != nil || before[alias] == number {
			return err
		}
		if err := putAlias(tx, model, alias, number); err != nil {
			return err
		}
		detail, object := map[string]any{"model": model, "alias": alias, "version": number, "before": before[alias]}, fmt.Sprintf("model/%s/%d", model, number)
		return errors.Join(event.Publish(tx, EventAliasSet, object, detail), audit.Record(tx, "alias.set", object, detail))
	})
}

// DropAlias takes an alias away.
func (s *Service) DropAlias(ctx context.Context, model, alias string) error {
	if err := CheckAlias(alias); err != nil {
		return err
	}
	if err := s.guard(ctx, model, alias, 0); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		if _, err := getModel(tx, model); err != nil {
			return err
		}
		before, err := aliases(tx, model)
		if err != nil || before[alias] == 0 {
			return err
		}
		if err := dropAlias(tx, model, alias); err != nil {
			return err
		}
		detail := map[string]any{"model": model, "alias": alias, "before": before[alias]}
		return errors.Join(event.Publish(tx, EventAliasDeleted, "model/"+model, detail), audit.Record(tx, "alias.deleted", "model/"+model, detail))
	})
}

// ChangeVersion changes a version's description or tags.
func (s *Service) ChangeVersion(ctx context.Context, model string, number int, change func(*Version) error) (Version, error) {
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		v, err := getVersion(tx, model, number)
		if err != nil {
			return err
		}
		was, tags := v.Description, clone(v.Tags)
		if err := change(&v); err != nil {
			return err
		}
		if err := CheckTags(v.Tags); err != nil {
			return err
		}
		if len(v.Description) > 100_000 {
			return problem.New(problem.Invalid, "The description is longer than 100,000 bytes.").At("description")
		}
		if v.Description == was && maps.Equal(v.Tags, tags) {
			return nil
		}
		v.UpdatedAt = s.Now()
		if err := putVersion(tx, v); err != nil {
			return err
		}
		if err := tagNews(tx, model, number, tags, v.Tags); err != nil {
			return err
		}
		return audit.Record(tx, "version.changed", "model/"+v.Ref(), map[string]any{"model": model, "description": v.Description, "tags": v.Tags})
	})
	if err != nil {
		return Version{}, fmt.Errorf("change version: %w", err)
	}
	return s.Version(ctx, model, number)
}

// Retire takes a version out of use for good, in the transaction of the approved change; the log and the bytes stay. The
// caller of Retire has made sure that it does not run any more. Retiring twice is no error.
func (s *Service) Retire(tx db.Scope, model string, number int, reason string) error {
	v, err := getVersion(tx, model, number)
	if err != nil || v.State == Retired {
		return err
	}
	before := v.State
	v.State, v.Reason, v.UpdatedAt = Retired, reason, s.Now()
	if err := putVersion(tx, v); err != nil {
		return err
	}
	detail := map[string]any{"model": model, "version": number, "reason": reason, "before": before, "artifact_digest": v.ArtifactDigest}
	if err := event.Publish(tx, EventRetired, "model/"+v.Ref(), detail); err != nil {
		return err
	}
	return audit.Record(tx, "version.retired", "model/"+v.Ref(), detail)
}
