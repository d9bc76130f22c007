package dataset

import (
	"context"
	"io"
)

// ReadParquet reads a Parquet file that belongs to no data set into memory, with the types that it names itself.
func ReadParquet(ctx context.Context, f io.ReaderAt, size int64, l Limits) (*Table, error) {
	src, _, err := open(f, size, "parquet", l.filled())
	if err != nil {
		return nil, err
	}
	return load(ctx, src, src.fields(), l.filled())
}
