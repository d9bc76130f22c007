package dataset

import (
	"context"
	"io"
)

// Read reads a file of a format (csv, parquet, or empty for what its first bytes say) into memory, with the checks and
// limits of an import, and keeps nothing of it. It fails as Import does, and with problem.TooLarge beyond Limits.Table.
func (s *Service) Read(ctx context.Context, format string, body io.Reader) (*Table, error) {
	f, _, size, err := s.spool(body)
	if err != nil {
		return nil, err
	}
	defer discard(f)
	seen, err := s.inspect(ctx, f, size, format, []Rule{})
	if err != nil {
		return nil, err
	}
	src, _, err := open(f, size, seen.Format, s.Limits.filled())
	if err != nil {
		return nil, err
	}
	return load(ctx, src, seen.Schema, s.Limits.filled())
}
