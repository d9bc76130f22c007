package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// Registration is what becomes a version. The files are in the blob store already.
type Registration struct {
	Model        string
	Kind         string // of the model, when it is made on the way
	Files        []File
	Description  string
	Format       string // empty: as the engines detect
	Golden       string // document as in keelson_golden.json; empty: among the files, if at all
	Run          string
	LoggedModel  string
	Origin       string
	Source       tracking.Source
	Dependencies []Dependency
	Signature    engine.Signature // shown until an engine knows better; usually empty
	Tags         map[string]string
	MakeModel    bool // make the model when it is not there
	// Number, CreatedAt and UpdatedAt are those of a version that is brought from elsewhere; zero: the next one, now.
	Number               int
	CreatedAt, UpdatedAt time.Time
}

// Register records a version as pending and starts its self-test.
func (s *Service) Register(ctx context.Context, r Registration) (Version, error) {
	if err := CheckName(r.Model); err != nil {
		return Version{}, err
	}
	if err := checkFiles(r.Files); err != nil {
		return Version{}, err
	}
	if err := CheckTags(r.Tags); err != nil {
		return Version{}, err
	}
	if r.Golden != "" {
		if _, err := parseExamples([]byte(r.Golden)); err != nil {
			return Version{}, err
		}
	}
	// Files of an upload of hours, or of a run that somebody deletes meanwhile, must still be there when rows refer to them.
	ctx, lease := blob.WithLease(ctx)
	digests := make([]string, len(r.Files))
	for i, f := range r.Files {
		digests[i] = f.Digest
	}
	if err := s.Keeper.Present(ctx, digests...); err != nil {
		return Version{}, err
	}
	d, err := describe(Folder(ctx, s.Blobs, r.Files), r.Files)
	if err != nil {
		return Version{}, fmt.Errorf("read what the model says of itself: %w", err)
	}
	if len(r.Signature.Inputs)+len(r.Signature.Outputs) > 0 {
		if err := r.Signature.Check(); err != nil {
			return Version{}, err
		}
		d.signature = r.Signature
	}
	now := s.Now()
	v := Version{Model: r.Model, State: Pending, ArtifactDigest: ArtifactDigest(r.Files), ContentDigest: d.content, Format: r.Format, Files: r.Files, Signature: d.signature,
		Dependencies: slices.Concat(r.Dependencies, d.libraries), Golden: Golden{Limit: DefaultGoldenLimit}, Description: r.Description, Run: r.Run, LoggedModel: r.LoggedModel,
		Origin: r.Origin, Source: r.Source, CreatedBy: caller.From(ctx).Name, CreatedAt: now, UpdatedAt: now, Tags: r.Tags, examples: r.Golden, told: d.told}
	if v.Tags == nil {
		v.Tags = map[string]string{}
	}
	if !r.CreatedAt.IsZero() {
		v.CreatedAt, v.UpdatedAt = r.CreatedAt, r.UpdatedAt
	}
	for _, f := range r.Files {
		v.Size += f.Size
	}
	if err := s.trace(ctx, &v); err != nil {
		return Version{}, err
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		m, err := getModel(tx, r.Model)
		if problem.Is(err, problem.NotFound) && r.MakeModel {
			m = Model{Name: r.Model, Kind: r.Kind}
			s.defaults(ctx, &m)
			if err = m.Check(); err == nil {
				err = s.create(tx, m)
			}
		}
		if err != nil {
			return err
		}
		if v.Number, err = ordinal(tx, r); err != nil {
			return err
		}
		if err := insertVersion(tx, v); err != nil {
			return err
		}
		if err := blob.Release(tx, lease); err != nil {
			return err
		}
		m.Latest, m.UpdatedAt = max(m.Latest, v.Number), now
		if err := putModel(tx, m); err != nil {
			return err
		}
		if err := job.Enqueue(tx, CheckKind, CheckArgs{Model: v.Model, Version: v.Number}); err != nil {
			return err
		}
		if err := event.Publish(tx, EventRegistered, "model/"+v.Ref(), map[string]any{"model": v.Model, "version": v.Number, "source": v.Origin, "run": v.Run,
			"description": v.Description, "tags": v.Tags}); err != nil {
			return err
		}
		return audit.Record(tx, "version.registered", "model/"+v.Ref(), map[string]any{"model": v.Model, "version": v.Number, "artifact_digest": v.ArtifactDigest,
			"content_digest": v.ContentDigest, "run": v.Run, "files": len(v.Files), "size": v.Size, "authors": v.Authors})
	})
	if err != nil {
		return Version{}, fmt.Errorf("register version of %s: %w", r.Model, err)
	}
	s.Log.InfoContext(ctx, "version registered", "model", v.Model, "version", v.Number, "digest", v.ArtifactDigest)
	return s.Version(ctx, v.Model, v.Number)
}

// ordinal gives the number of a new version: the next one, or the one it had elsewhere if it is free here.
func ordinal(tx db.Scope, r Registration) (int, error) {
	if r.Number == 0 {
		return nextOrdinal(tx, r.Model)
	}
	if _, err := getVersion(tx, r.Model, r.Number); !problem.Is(err, problem.NotFound) {
		if err != nil {
			return 0, err
		}
		return 0, problem.New(problem.Conflict, "There is a version %s/%d already.", r.Model, r.Number).At("version")
	}
	return r.Number, takeOrdinal(tx, r.Model, r.Number)
}

// trace adds what the run knows: data, code, environment, people.
func (s *Service) trace(ctx context.Context, v *Version) error {
	authors := []string{v.CreatedBy}
	if v.Run != "" {
		r, err := s.Runs.Run(ctx, v.Run)
		if err != nil {
			return err
		}
		authors = append(authors, r.Author)
		if r.Tags[tracking.TagPipelineRun] != "" { // then a pipeline says for whom it ran
			authors = append(authors, r.Tags[tracking.TagUser])
		}
		v.Dependencies = append(v.Dependencies, Dependency{Kind: "run", Name: r.Name, Version: r.ID})
		for _, in := range tracking.DataOf(r) {
			d := Dependency{Kind: "data", Name: in.Dataset, Digest: in.Digest}
			if in.Version > 0 {
				d.Version = fmt.Sprint(in.Version)
			}
			v.Dependencies = append(v.Dependencies, d)
		}
		if v.Source == (tracking.Source{}) {
			v.Source = tracking.SourceOf(r.Tags)
		}
		if e := r.Tags[tracking.TagEnvironment]; e != "" {
			v.Dependencies = append(v.Dependencies, Dependency{Kind: "library", Name: "environment lock", Digest: e})
		}
	}
	if v.Source.Commit != "" {
		v.Dependencies = append(v.Dependencies, Dependency{Kind: "code", Name: v.Source.Repository, Version: v.Source.Commit})
	}
	slices.SortStableFunc(v.Dependencies, func(a, b Dependency) int { return strings.Compare(a.Kind, b.Kind) })
	for _, a := range authors {
		if a != "" && !slices.Contains(v.Authors, a) {
			v.Authors = append(v.Authors, a)
		}
	}
	return nil
}
