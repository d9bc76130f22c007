package tracking

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// UploadLife is how long an upload in parts may take; afterwards its parts are removed.
const UploadLife = 24 * time.Hour

// Upload is a file that comes in parts: side by side, again after a failure, and over hours.
type Upload struct {
	ID, Root, Path, By string
	Parts              int // how many the client announced
	Created, Expires   time.Time
	ref                string // what the blob store calls it
}

// parted is the blob store as one that takes parts.
func (s *Service) parted() (blob.Parted, error) {
	p, ok := s.Blobs.(blob.Parted)
	if !ok {
		return nil, problem.New(problem.Unsupported, "Multipart upload is not supported for the current artifact repository")
	}
	return p, nil
}

// BeginUpload starts an upload in parts of a file below a root that may be written.
func (s *Service) BeginUpload(ctx context.Context, root, path string, parts int) (Upload, error) {
	u := Upload{ID: db.NewID(), Root: root, Path: path, Parts: parts, By: caller.From(ctx).Name, Created: s.Now()}
	u.Expires = u.Created.Add(UploadLife)
	if err := CheckPath(path); err != nil {
		return u, err
	}
	if parts < 1 || parts > blob.MaxParts {
		return u, problem.New(problem.Invalid, "Invalid value %d for parameter 'num_parts' supplied: an upload has 1 to %d parts; send larger ones.", parts, blob.MaxParts).At("num_parts")
	}
	p, err := s.parted()
	if err != nil {
		return u, err
	}
	if err := s.DB.Read(ctx, func(tx db.Scope) error { return owner(tx, root, true) }); err != nil {
		return u, err
	}
	if u.ref, err = p.BeginParts(ctx); err != nil {
		return u, fmt.Errorf("begin upload of %s: %w", path, err)
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error { // parts that no row knows are tidied away by the sweep
		_, err := tx.Exec(`INSERT INTO artifact_upload (workspace, id, root, path, ref, parts, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			tx.Workspace, u.ID, u.Root, u.Path, u.ref, u.Parts, u.By, db.Micros(u.Created), db.Micros(u.Expires))
		return err
	})
	return u, err
}

func noUpload(id string) error {
	return problem.New(problem.NotFound, "There is no upload '%s' under way; it was completed, aborted, or took longer than %s. Begin it again.", problem.Clip(id, 60), UploadLife).At("upload_id")
}

// Upload gives an upload that is under way.
func (s *Service) Upload(ctx context.Context, id string) (u Upload, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { u, err = getUpload(tx, id); return err })
	if err == nil && !s.Now().Before(u.Expires) {
		err = noUpload(id)
	}
	return u, err
}

func getUpload(tx db.Scope, id string) (u Upload, err error) {
	var created, expires int64
	err = tx.QueryRow(`SELECT id, root, path, ref, parts, created_by, created_at, expires_at FROM artifact_upload WHERE workspace = $1 AND id = $2`, tx.Workspace, id).
		Scan(&u.ID, &u.Root, &u.Path, &u.ref, &u.Parts, &u.By, &created, &expires)
	u.Created, u.Expires = db.Time(created), db.Time(expires)
	if errors.Is(err, db.ErrNoRows) {
		err = noUpload(id)
	}
	return u, err
}

func dropUpload(tx db.Scope, id string) error {
	_, err := tx.Exec(`DELETE FROM artifact_upload WHERE workspace = $1 AND id = $2`, tx.Workspace, id)
	return err
}

// PartLink is where the store wants part n, "" when it comes through WritePart.
func (s *Service) PartLink(ctx context.Context, u Upload, n int, valid time.Duration) (string, error) {
	p, err := s.parted()
	if err != nil {
		return "", err
	}
	return p.PartLink(ctx, u.ref, n, valid)
}

// WritePart stores part n of an upload.
func (s *Service) WritePart(ctx context.Context, id string, n int, r io.Reader) (blob.Part, error) {
	p, err := s.parted()
	if err != nil {
		return blob.Part{}, err
	}
	u, err := s.Upload(ctx, id)
	if err != nil {
		return blob.Part{}, err
	}
	if n < 1 || n > u.Parts {
		return blob.Part{}, problem.New(problem.Invalid, "Part %d is not one of the %d that were announced.", n, u.Parts).At("part_number")
	}
	part, err := p.WritePart(ctx, u.ref, n, r)
	if errors.Is(err, blob.ErrNotFound) {
		err = noUpload(id)
	}
	return part, err
}

// UploadedParts lists the parts that are there, so that a client that broke off sends only the others.
func (s *Service) UploadedParts(ctx context.Context, u Upload) ([]blob.Part, error) {
	p, err := s.parted()
	if err != nil {
		return nil, err
	}
	list, err := p.Parts(ctx, u.ref)
	if errors.Is(err, blob.ErrNotFound) {
		err = noUpload(u.ID)
	}
	return list, err
}

// FinishUpload makes the parts a file below the root, in place of one of the same path.
func (s *Service) FinishUpload(ctx context.Context, id string, parts []blob.Part) (Artifact, error) {
	p, err := s.parted()
	if err != nil {
		return Artifact{}, err
	}
	u, err := s.Upload(ctx, id)
	if err != nil {
		return Artifact{}, err
	}
	a := Artifact{Path: u.Path}
	ctx, lease := blob.WithLease(ctx)
	if a.Digest, a.Size, err = p.FinishParts(ctx, u.ref, parts); err != nil {
		if errors.Is(err, blob.ErrNotFound) {
			err = noUpload(id)
		}
		return a, err
	}
	return a, s.DB.Write(ctx, func(tx db.Scope) error {
		if err := s.place(tx, u.Root, a, lease); err != nil {
			return err
		}
		return dropUpload(tx, id)
	})
}

// AbortUpload ends an upload and removes its parts.
func (s *Service) AbortUpload(ctx context.Context, id string) error {
	p, err := s.parted()
	if err != nil {
		return err
	}
	var u Upload
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { u, err = getUpload(tx, id); return err }); err != nil {
		return err
	}
	if err := p.DropParts(ctx, u.ref); err != nil {
		return fmt.Errorf("remove the parts of upload %s: %w", id, err)
	}
	return s.DB.Write(ctx, func(tx db.Scope) error { return dropUpload(tx, id) })
}

// ExpireUploads ends the uploads of all workspaces that took too long.
func (s *Service) ExpireUploads(ctx context.Context) error {
	type late struct{ workspace, id string }
	var all []late
	if err := s.DB.Read(ctx, func(tx db.Scope) error {
		all = nil
		return tx.Each(`SELECT workspace, id FROM artifact_upload WHERE expires_at <= $1 ORDER BY expires_at LIMIT 1000`, []any{db.Micros(s.Now())}, func(scan func(...any) error) error {
			var l late
			err := scan(&l.workspace, &l.id)
			all = append(all, l)
			return err
		})
	}); err != nil {
		return fmt.Errorf("find uploads that took too long: %w", err)
	}
	var errs []error
	for _, l := range all {
		if err := s.AbortUpload(caller.WithWorkspace(ctx, l.workspace), l.id); err != nil && !problem.Is(err, problem.NotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
