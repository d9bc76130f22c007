package serving

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// verifyBytes is how much of what nothing says was touched VerifyLoaded reads per look by default: 64 MiB a minute with the default of Verify.
const verifyBytes = 32 << 20

// checks is what VerifyLoaded knows of the files of the versions in force, by their digests.
type checks struct {
	mu     sync.Mutex
	stamps map[string]string // of files found sound, as they were when they were read
	faults map[string]fault  // of those that were not
	allow  int64             // bytes that may be read yet; below zero after a file that was larger
	turn   string            // the digest that was read last in turn
}

type fault struct {
	stamp string
	err   error // *problem.Error of kind Conflict or NotFound
}

// VerifyLoaded holds the stored files of every version in force against their digests and reports those that were
// changed or are gone. What is loaded goes on: its bytes were hashed when it was loaded, as those of every load are.
//
// A file is read at once when its store says that it was touched since it was last found sound. What was not touched
// is read in turn, VerifyBytes per look over all files, so that a change that left no trace is found too, later. A
// folder on disk tells by size, times and place of the file; a bucket by the stamp of the object. Without this all
// files of a bucket would be fetched each time.
func (s *Service) VerifyLoaded(ctx context.Context) {
	s.init()
	ctx = caller.System(ctx, "serving")
	s.checks.mu.Lock()
	defer s.checks.mu.Unlock()
	files := map[string]release.File{}
	table := *s.table.Load()
	for _, e := range table {
		for _, sl := range append(slices.Clone(e.routed), e.shadows...) {
			for _, f := range sl.Files {
				files[f.Digest] = f
			}
		}
	}
	s.checks.look(ctx, s.Blobs, files, s.VerifyBytes, func(f release.File, err error) {
		s.Logger.WarnContext(ctx, "a file could not be verified", "file", f.Path, "digest", f.Digest, "error", err)
	})
	if ctx.Err() != nil {
		return
	}
	for n, e := range table {
		ctx := caller.WithWorkspace(ctx, n.workspace)
		for _, sl := range append(slices.Clone(e.routed), e.shadows...) {
			for _, f := range sl.Files {
				if bad, ok := s.checks.faults[f.Digest]; ok {
					s.refused(ctx, n, "files", fmt.Sprintf("Version %d goes on serving as it was loaded, but it could not be loaded again: %s", sl.Version, problem.Detail(describe(f, bad.err))))
					break
				}
			}
		}
	}
}

// look verifies what is due of files and leaves the faults of all of them; unsure hears of what could not be decided.
func (c *checks) look(ctx context.Context, blobs blob.Store, files map[string]release.File, budget int64, unsure func(release.File, error)) {
	if c.stamps == nil {
		c.stamps, c.faults = map[string]string{}, map[string]fault{}
	}
	if budget <= 0 {
		budget = verifyBytes
	}
	c.allow = min(c.allow+budget, budget)
	for d := range c.stamps {
		if _, ok := files[d]; !ok {
			delete(c.stamps, d)
		}
	}
	for d := range c.faults {
		if _, ok := files[d]; !ok {
			delete(c.faults, d)
		}
	}
	stamps := map[string]string{}
	verify := func(f release.File) {
		c.allow -= f.Size
		err := blobs.Verify(ctx, f.Digest)
		switch {
		case err == nil:
			delete(c.faults, f.Digest)
			c.stamps[f.Digest] = stamps[f.Digest]
		case ctx.Err() != nil:
		case errors.Is(err, blob.ErrAltered), errors.Is(err, blob.ErrNotFound):
			delete(c.stamps, f.Digest)
			c.faults[f.Digest] = fault{stamps[f.Digest], err}
		default:
			unsure(f, err)
		}
	}
	var fresh, rest []string // what was never read, and the others
	for _, d := range sortedKeys(files) {
		if ctx.Err() != nil {
			return
		}
		touched := false
		switch store := blobs.(type) {
		case blob.Remembering:
			touched = !store.Sound(d)
		case blob.Stamping:
			stamp, err := store.Stamp(ctx, d)
			if errors.Is(err, blob.ErrNotFound) {
				delete(c.stamps, d)
				c.faults[d] = fault{"", err}
				continue
			}
			if err != nil {
				unsure(files[d], err)
				continue
			}
			stamps[d] = stamp // from before the bytes are read: a change meanwhile makes the next look read them again
			if bad, ok := c.faults[d]; ok {
				if touched = bad.stamp != stamp; !touched {
					continue // still what was found altered
				}
			} else if known, ok := c.stamps[d]; ok {
				touched = known != stamp
			}
		}
		switch _, known := c.stamps[d]; {
		case touched:
			verify(files[d])
		case !known:
			fresh = append(fresh, d)
		default:
			rest = append(rest, d)
		}
	}
	i, _ := slices.BinarySearch(rest, c.turn+"\x00")
	for k, d := range slices.Concat(fresh, rest[i:], rest[:i]) {
		if c.allow <= 0 || ctx.Err() != nil {
			return
		}
		verify(files[d])
		if k >= len(fresh) {
			c.turn = d
		}
	}
}

// describe is what a file's failed verification means for its version.
func describe(f release.File, err error) error {
	switch {
	case errors.Is(err, blob.ErrAltered):
		return changed(f).Because(err)
	case errors.Is(err, blob.ErrNotFound):
		return problem.New(problem.NotFound, "The stored bytes of %s are gone.", f.Path).Because(err)
	}
	return fmt.Errorf("verify %s: %w", f.Path, err)
}
