package inventory

import (
	"context"
	"io"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

type openedFile struct {
	File
	modified time.Time
}

// OpenFile opens one file of a version; sound is what blob.OpenSound says of its bytes.
func (s *Service) OpenFile(ctx context.Context, model string, number int, path string) (f io.ReadSeekCloser, out openedFile, sound bool, err error) {
	if err := tracking.CheckPath(path); err != nil {
		return nil, out, false, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		v, err := getVersion(tx, model, number)
		if err != nil {
			return err
		}
		for _, f := range v.Files {
			if f.Path == path {
				out = openedFile{f, v.CreatedAt}
				return nil
			}
		}
		return problem.New(problem.NotFound, "%s has no file '%s'.", v.Ref(), problem.Clip(path, 200)).At("path")
	})
	if err != nil {
		return nil, out, false, err
	}
	f, _, sound, err = s.Keeper.OpenSound(ctx, s.Blobs, out.Digest)
	return f, out, sound, err
}
