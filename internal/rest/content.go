package rest

import (
	"io"
	"net/http"
	"time"

	"keelson/internal/problem"
)

// ServeContent answers with f, or the ranges of it that were asked for, as http.ServeContent does, except that a range
// which cannot be satisfied is told by fail, in the shape of the protocol. Set Content-Type and ETag before.
func ServeContent(w http.ResponseWriter, r *http.Request, modified time.Time, f io.ReadSeeker, fail func(http.ResponseWriter, *http.Request, error)) {
	c := &content{ResponseWriter: w, r: r, fail: fail}
	http.ServeContent(c, r, "", modified, f)
}

// content replaces the plain text of a 416.
type content struct {
	http.ResponseWriter
	r       *http.Request
	fail    func(http.ResponseWriter, *http.Request, error)
	refused bool
}

func (c *content) WriteHeader(code int) {
	if code != http.StatusRequestedRangeNotSatisfiable {
		c.ResponseWriter.WriteHeader(code)
		return
	}
	c.refused = true
	for _, h := range []string{"Content-Length", "Content-Disposition", "ETag", "Last-Modified"} {
		c.Header().Del(h)
	}
	c.fail(c.ResponseWriter, c.r, errRange{problem.New(problem.Invalid, "The range %q is not one of this file, whose size is told by Content-Range; ask for bytes=first-last within it.", clip(c.r.Header.Get("Range"))).At("Range")})
}

func (c *content) Write(b []byte) (int, error) {
	if c.refused {
		return len(b), nil
	}
	return c.ResponseWriter.Write(b)
}

// ReadFrom keeps the way open by which the kernel sends a file without copying it through the program.
func (c *content) ReadFrom(src io.Reader) (int64, error) {
	if c.refused {
		return io.Copy(io.Discard, src)
	}
	return io.Copy(c.ResponseWriter, src)
}

func (c *content) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 80) }

// errRange is a problem with status 416.
type errRange struct{ cause *problem.Error }

func (e errRange) Error() string { return e.cause.Error() }
func (e errRange) Unwrap() error { return e.cause }

// Status is for protocols that map kinds themselves.
func (e errRange) Status() int { return http.StatusRequestedRangeNotSatisfiable }
