package oip

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"keelson/internal/problem"
)

// firstRead is what a Content-Length may reserve before anything has come.
const firstRead = 64 << 10

// bounded gives at most left bytes of r and then fails with TooLarge.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, tooLarge(b.limit)
	}
	return n, err
}

func tooLarge(limit int64) error {
	return problem.New(problem.TooLarge, "The body is larger than %d bytes, the limit here; send fewer rows at once, or binary data.", limit)
}

// readBody appends the inflated body of r to dst, at most limit bytes of it.
func readBody(dst []byte, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return dst, tooLarge(limit)
	}
	coding := r.Header["Content-Encoding"]
	if len(coding) == 0 {
		if r.ContentLength > 0 {
			dst = slices.Grow(dst, int(min(r.ContentLength, firstRead))+1) // one more, to meet the end without growing
		}
		return readAll(dst, r.Body, limit)
	}
	in := &bounded{r.Body, limit, limit}
	switch name := strings.ToLower(strings.TrimSpace(strings.Join(coding, ","))); name {
	case "", "identity":
		return readAll(dst, r.Body, limit)
	case "gzip", "x-gzip":
		z, ok := gzipReaders.Get().(*gzip.Reader)
		if !ok {
			z = new(gzip.Reader)
		}
		defer gzipReaders.Put(z)
		if err := z.Reset(in); err != nil {
			return dst, inflateError(err, name)
		}
		return inflate(dst, z, limit, name)
	case "deflate":
		return readDeflate(dst, in, limit)
	default:
		return dst, unsupportedMedia{invalid("The Content-Encoding %q is not known here; use gzip, deflate or none.", clip(name))}
	}
}

var gzipReaders sync.Pool

// readDeflate takes the zlib form that RFC 9110 means by "deflate", and the bare form that some clients send.
func readDeflate(dst []byte, in io.Reader, limit int64) ([]byte, error) {
	b := bufio.NewReaderSize(in, 4096)
	var z io.ReadCloser
	if head, _ := b.Peek(2); len(head) == 2 && head[0]&15 == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
		var err error
		if z, err = zlib.NewReader(b); err != nil {
			return dst, inflateError(err, "deflate")
		}
	} else {
		z = flate.NewReader(b)
	}
	defer z.Close()
	return inflate(dst, z, limit, "deflate")
}

func inflate(dst []byte, z io.Reader, limit int64, name string) ([]byte, error) {
	dst, err := appendAll(dst, z, limit)
	if err != nil {
		return dst, inflateError(err, name)
	}
	return dst, nil
}

func inflateError(err error, name string) error {
	if _, ok := problem.As(err); ok {
		return err
	}
	return invalid("The body is not whole %s data, which its Content-Encoding says it is.", name).Because(err)
}

func readAll(dst []byte, r io.Reader, limit int64) ([]byte, error) {
	dst, err := appendAll(dst, r, limit)
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return dst, nil
	case errors.As(err, &over):
		return dst, tooLarge(over.Limit)
	}
	if _, ok := problem.As(err); ok {
		return dst, err
	}
	return dst, invalid("The body ended after %d bytes, before it was whole.", len(dst)).Because(err)
}

func appendAll(dst []byte, r io.Reader, limit int64) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(cap(dst), 4096))
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case int64(len(dst)) > limit:
			return dst, tooLarge(limit)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}
