package tracking

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// owner checks that a root belongs to a run or a logged model, which must not be deleted when it is to be written.
func owner(tx db.Scope, root string, write bool) error {
	parts := strings.Split(root, "/")
	experiment, id, deleted := "", "", false
	if parts[1] == "models" {
		m, err := getModel(tx, parts[2])
		if err != nil {
			return err
		}
		experiment, id, deleted = m.Experiment, m.ID, m.Deleted
	} else if parts[1] == "traces" { // a file of a trace: package trace keeps those, and deletes their files with them
		err := tx.QueryRow(`SELECT experiment, id FROM trace WHERE workspace = $1 AND id = $2`, tx.Workspace, parts[2]).Scan(&experiment, &id)
		if errors.Is(err, db.ErrNoRows) {
			return problem.New(problem.NotFound, "No artifacts are kept under '%s'.", problem.Clip(root, 120)).At("path")
		}
		if err != nil {
			return err
		}
	} else {
		r, err := head(tx, parts[1])
		if err != nil {
			return err
		}
		experiment, id, deleted = r.Experiment, r.ID, r.Deleted
	}
	if experiment != parts[0] {
		return problem.New(problem.NotFound, "No artifacts are kept under '%s'.", problem.Clip(root, 120)).At("path")
	}
	if write && deleted {
		return mustBeActive(id)
	}
	return nil
}

// DropFiles removes all files below a root, in the transaction in which what they belong to goes.
func DropFiles(tx db.Scope, root string) error {
	_, _, err := dropArtifacts(tx, root, "")
	return err
}

// PutFile stores the bytes of r as a file below a root; a file of that path is replaced.
func (s *Service) PutFile(ctx context.Context, root, path string, r io.Reader) (Artifact, error) {
	a := Artifact{Path: path}
	if err := CheckPath(path); err != nil {
		return a, err
	}
	if err := s.DB.Read(ctx, func(tx db.Scope) error { return owner(tx, root, true) }); err != nil {
		return a, err
	}
	ctx, lease := blob.WithLease(ctx)
	var err error
	if a.Digest, a.Size, err = s.Blobs.Put(ctx, r); err != nil {
		return a, fmt.Errorf("store %s: %w", path, err)
	}
	return a, s.DB.Write(ctx, func(tx db.Scope) error { return s.place(tx, root, a, lease) })
}

// place records a stored file below a root and ends the lease on its bytes.
func (s *Service) place(tx db.Scope, root string, a Artifact, lease string) error {
	if err := owner(tx, root, true); err != nil {
		return err
	}
	other, err := blocked(tx, root, a.Path)
	if err != nil {
		return err
	}
	if other != "" {
		return problem.New(problem.Invalid, "The path '%s' is in the way of '%s': one of them would have to be a file and a folder.", problem.Clip(other, 200), problem.Clip(a.Path, 200)).At("path")
	}
	switch old, err := getArtifact(tx, root, a.Path); {
	case err == nil && old.Digest != a.Digest:
		if err := blob.Loose(tx, old.Digest); err != nil {
			return err
		}
	case err != nil && !problem.Is(err, problem.NotFound):
		return err
	}
	if err := putArtifact(tx, root, a, s.Now()); err != nil {
		return err
	}
	return blob.Release(tx, lease)
}

// OpenFile opens a file below a root; sound is what blob.OpenSound says of its bytes. Altered ones are refused where that
// is known and reported.
func (s *Service) OpenFile(ctx context.Context, root, path string) (f io.ReadSeekCloser, a Artifact, sound bool, err error) {
	if err := CheckPath(path); err != nil {
		return nil, a, false, err
	}
	if a, err = s.File(ctx, root, path); err != nil {
		return nil, a, false, err
	}
	f, _, sound, err = s.Keeper.OpenSound(ctx, s.Blobs, a.Digest)
	return f, a, sound, err
}

// File gives what is known of one file.
func (s *Service) File(ctx context.Context, root, path string) (a Artifact, err error) {
	if err := CheckPath(path); err != nil {
		return a, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { a, err = getArtifact(tx, root, path); return err })
	return a, err
}

// Files gives all files below a folder of a root ("" is the root itself), with paths relative to the root.
func (s *Service) Files(ctx context.Context, root, folder string) (out []Artifact, err error) {
	if folder != "" {
		if err := CheckPath(folder); err != nil {
			return nil, err
		}
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = below(tx, root, folder); return err })
	return out, err
}

// List gives the direct children of a folder, sorted by path; listing a file gives nothing, as MLflow does.
func (s *Service) List(ctx context.Context, root, folder string) ([]Artifact, error) {
	list, _, err := s.ListPage(ctx, root, folder, "", 0)
	return list, err
}

// ListPage gives up to limit (0: all) direct children of a folder from where the page before ended (after, "" for the
// first), and where the next page begins, "" at the end. What lies in folders below is not read, however much it is.
func (s *Service) ListPage(ctx context.Context, root, folder, after string, limit int) (out []Artifact, next string, err error) {
	for _, p := range []string{folder, strings.TrimSuffix(after, "/")} {
		if p != "" {
			if err := CheckPath(p); err != nil {
				return nil, "", err
			}
		}
	}
	if after != "" && folder != "" && !strings.HasPrefix(after, folder+"/") {
		return nil, "", problem.New(problem.Invalid, "The page token is not one of this folder; send the one of the page before, or none.").At("page_token")
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, next, err = children(tx, root, folder, after, limit); return err })
	return out, next, err
}

// Children picks the direct children of folder out of sorted files.
func Children(files []Artifact, folder string) (out []Artifact) {
	prefix := ""
	if folder != "" {
		prefix = folder + "/"
	}
	last := ""
	for _, a := range files {
		rest, ok := strings.CutPrefix(a.Path, prefix)
		if !ok || rest == "" {
			continue
		}
		name, _, deep := strings.Cut(rest, "/")
		switch {
		case !deep:
			out = append(out, a)
		case name != last:
			out = append(out, Artifact{Path: prefix + name, Folder: true})
			last = name
		}
	}
	return out
}

// DeleteFiles removes a file or folder below a root, or all files of the root (path ""). Their bytes go unless something
// else refers to the same.
func (s *Service) DeleteFiles(ctx context.Context, root, path string) error {
	if path != "" {
		if err := CheckPath(path); err != nil {
			return err
		}
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		if err := owner(tx, root, false); err != nil {
			return err
		}
		n, size, err := dropArtifacts(tx, root, path)
		if err != nil || n == 0 {
			return err
		}
		return audit.Record(tx, "artifact.deleted", "artifact/"+root+"/"+path, map[string]any{"files": n, "bytes": size})
	})
}

// NewModel is what a client says about a model it logs.
type NewModel struct {
	Experiment, Name, Run, Kind string
	Params, Tags                []Pair
}

// CreateModel begins a logged model; it is pending until FinishModel.
func (s *Service) CreateModel(ctx context.Context, n NewModel) (LoggedModel, error) {
	if err := s.touch(ctx); err != nil {
		return LoggedModel{}, err
	}
	if n.Name == "" {
		n.Name = randomName()
	}
	if strings.ContainsAny(n.Name, "/:.%\"'") {
		return LoggedModel{}, problem.New(problem.Invalid, "Invalid model name ('%s') provided. Model name must be a non-empty string and cannot contain the following characters: ('/', ':', '.', '%%', '\"', \"'\").", problem.Clip(n.Name, 120)).At("name")
	}
	b := Batch{Params: n.Params, Tags: n.Tags}
	if err := b.Check(); err != nil {
		return LoggedModel{}, err
	}
	now := s.Now()
	m := LoggedModel{ID: "m-" + db.NewID(), Experiment: n.Experiment, Name: n.Name, Run: n.Run, Kind: n.Kind, Author: caller.From(ctx).Name,
		Status: ModelPending, Created: now, Updated: now, Params: pairs(n.Params), Tags: pairs(n.Tags)}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		e, err := getExperiment(tx, n.Experiment)
		if err != nil {
			return err
		}
		if e.Deleted {
			return deletedExperiment(e.ID)
		}
		if n.Run != "" {
			if _, err := head(tx, n.Run); err != nil {
				return err
			}
		}
		return insertModel(tx, m)
	})
	return m, err
}

// Model gives a logged model that is not deleted.
func (s *Service) Model(ctx context.Context, id string) (m LoggedModel, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { m, err = getModel(tx, id); return err })
	return m, err
}

// FinishModel sets the state of a logged model.
func (s *Service) FinishModel(ctx context.Context, id, status string) (LoggedModel, error) {
	if status != ModelReady && status != ModelFailed && status != ModelPending {
		return LoggedModel{}, problem.New(problem.Invalid, "Invalid model status '%s'.", problem.Clip(status, 40)).At("status")
	}
	return s.changeModel(ctx, id, func(tx db.Scope, m *LoggedModel) error {
		m.Status, m.Updated = status, s.Now()
		return putModelState(tx, *m)
	})
}

// DeleteModel hides a logged model.
func (s *Service) DeleteModel(ctx context.Context, id string) error {
	_, err := s.changeModel(ctx, id, func(tx db.Scope, m *LoggedModel) error {
		if err := binModelOf(tx, *m); err != nil {
			return err
		}
		m.Deleted, m.Updated = true, s.Now()
		if err := putModelState(tx, *m); err != nil {
			return err
		}
		return audit.Record(tx, "logged-model.deleted", "logged-model/"+id, map[string]any{"name": m.Name, "experiment": m.Experiment})
	})
	return err
}

// TagModel sets tags.
func (s *Service) TagModel(ctx context.Context, id string, tags []Pair) (LoggedModel, error) {
	b := Batch{Tags: tags}
	if err := b.Check(); err != nil {
		return LoggedModel{}, err
	}
	return s.changeModel(ctx, id, func(tx db.Scope, m *LoggedModel) error {
		for _, t := range tags {
			if err := putModelTag(tx, id, t); err != nil {
				return err
			}
			m.Tags[t.Key] = t.Value
		}
		m.Updated = s.Now()
		return touchModel(tx, id, m.Updated)
	})
}

// UntagModel removes a tag.
func (s *Service) UntagModel(ctx context.Context, id, key string) error {
	_, err := s.changeModel(ctx, id, func(tx db.Scope, m *LoggedModel) error {
		ok, err := dropModelTag(tx, id, key)
		if err == nil && !ok {
			err = problem.New(problem.NotFound, "No tag with key %s found for model with ID '%s'.", problem.Clip(key, 100), id).At("tag_key")
		}
		return err
	})
	return err
}

// LogModelParams adds parameters to a logged model.
func (s *Service) LogModelParams(ctx context.Context, id string, params []Pair) error {
	b := Batch{Params: params}
	if err := b.Check(); err != nil {
		return err
	}
	_, err := s.changeModel(ctx, id, func(tx db.Scope, m *LoggedModel) error {
		for _, p := range params {
			if err := putModelParam(tx, id, p); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func (s *Service) changeModel(ctx context.Context, id string, fn func(db.Scope, *LoggedModel) error) (m LoggedModel, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if m, err = getModel(tx, id); err != nil {
			return err
		}
		return fn(tx, &m)
	})
	return m, err
}

// SearchModels gives a page of logged models and the token of the next.
func (s *Service) SearchModels(ctx context.Context, v Search) (out []LoggedModel, next string, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, next, err = searchModels(tx, v); return err })
	return out, next, err
}
