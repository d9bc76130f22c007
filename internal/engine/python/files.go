package python

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"keelson/internal/problem"
)

// mostFiles is how many files and folders a model may have.
const mostFiles = 20_000

// copyFiles puts the files of a model below dir, readable and nothing else, and gives the digest of each by its path.
// All of them together may have four times the limit of one.
func copyFiles(ctx context.Context, fsys fs.FS, dir string, limit int64) (map[string]string, error) {
	digests := map[string]string{}
	left, seen := 4*limit, 0
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if seen++; seen > mostFiles {
			return problem.New(problem.TooLarge, "The model has more than %d files.", mostFiles)
		}
		to := filepath.Join(dir, filepath.FromSlash(p))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		digest, n, err := copyFile(fsys, p, to, min(limit, left))
		if err != nil {
			return err
		}
		left -= n
		digests[p] = digest
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("copy the model: %w", err)
	}
	return digests, nil
}

func copyFile(fsys fs.FS, name, to string, limit int64) (digest string, n int64, err error) {
	from, err := fsys.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer from.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	n, err = io.Copy(io.MultiWriter(out, sum), io.LimitReader(from, limit+1))
	if err = errors.Join(err, out.Close()); err != nil {
		return "", n, err
	}
	if n > limit {
		return "", n, problem.New(problem.TooLarge, "The file %s is larger than %d bytes, the limit for a model file.", name, limit)
	}
	return hex.EncodeToString(sum.Sum(nil)), n, nil
}

// unchanged fails when a copy is no longer what was copied, so that what a later child loads is what was verified.
func unchanged(dir string, digests map[string]string) error {
	for p, want := range digests {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(p)))
		if err != nil {
			return fmt.Errorf("the copy of %s is gone: %w", p, err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if hex.EncodeToString(sum.Sum(nil)) != want {
			return problem.New(problem.Conflict, "The copy of %s that Python reads was changed outside of the program.", p)
		}
	}
	return nil
}
