package mlflowapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"keelson/internal/caller"
	"keelson/internal/problem"
)

// links signs addresses that need no token: method, workspace, path, who asked for it, and until when it holds, under
// HMAC-SHA-256. What a link allows is what its maker was allowed when it was made.
type links struct {
	key []byte
	now func() time.Time
}

func newLinks(key []byte) *links {
	if len(key) == 0 {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
	}
	return &links{key, time.Now}
}

func (l *links) mac(method, workspace, path, by, until string) string {
	h := hmac.New(sha256.New, l.key)
	fmt.Fprint(h, "keelson-link/1")
	for _, s := range []string{method, workspace, path, by, until} {
		fmt.Fprintf(h, "\n%d %s", len(s), s)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// sign makes the address of a path, which is not escaped; it begins with the server as the caller's request named it.
func (l *links) sign(ctx context.Context, method, path string, life time.Duration) string {
	by, until := caller.From(ctx).Name, strconv.FormatInt(l.now().Add(life).Unix(), 10)
	q := url.Values{"by": {by}, "expires": {until}, "signature": {l.mac(method, caller.Workspace(ctx), path, by, until)}}
	return baseOf(ctx) + escapePath(workspacePrefix(ctx)+path) + "?" + q.Encode()
}

// verify lets a request through whose address was signed here and still holds, in the name of who asked for it.
func (l *links) verify(r *http.Request) (*http.Request, error) {
	q := r.URL.Query()
	by, until := q.Get("by"), q.Get("expires")
	path := r.URL.Path
	if ajax := "/ajax-api"; len(path) > len(ajax) && path[:len(ajax)] == ajax { // the twin of a signed path is not signed
		return nil, badLink()
	}
	want := l.mac(r.Method, caller.Workspace(r.Context()), path, by, until)
	if !hmac.Equal([]byte(want), []byte(q.Get("signature"))) {
		return nil, badLink()
	}
	if t, err := strconv.ParseInt(until, 10, 64); err != nil || l.now().Unix() >= t {
		return nil, problem.New(problem.Forbidden, "This link has expired; ask for another one.")
	}
	c := caller.From(r.Context())
	c.ID, c.Name, c.Kind, c.Via = by, by, caller.Service, "link"
	return r.WithContext(caller.With(r.Context(), c)), nil
}

func badLink() error {
	return problem.New(problem.Forbidden, "The signature of this link does not fit its address; ask for a link and use it as it is.").Suspect("link")
}

type baseKey struct{}

// withBase remembers how a request named this server, for links that lead back to it.
func withBase(r *http.Request) *http.Request {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return r.WithContext(context.WithValue(r.Context(), baseKey{}, scheme+"://"+r.Host))
}

func baseOf(ctx context.Context) string {
	s, _ := ctx.Value(baseKey{}).(string)
	return s
}
