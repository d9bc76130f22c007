package oip

import (
	"compress/zlib"
	"io"

	"google.golang.org/grpc/encoding"
)

// deflate is the compression that gRPC's specification has beside gzip; the library brings only gzip. Decompressed bytes
// are bounded by the library, as those of gzip.
type deflate struct{}

func init() { encoding.RegisterCompressor(deflate{}) }

func (deflate) Name() string { return "deflate" }

func (deflate) Compress(w io.Writer) (io.WriteCloser, error) {
	z := zlibWriters.Get().(*zlib.Writer)
	z.Reset(w)
	return deflating{z}, nil
}

// deflating gives its writer back when it is closed, which the library does once.
type deflating struct{ *zlib.Writer }

func (d deflating) Close() error {
	err := d.Writer.Close()
	d.Writer.Reset(io.Discard)
	zlibWriters.Put(d.Writer)
	return err
}

func (deflate) Decompress(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }
