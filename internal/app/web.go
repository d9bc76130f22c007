package app

import (
	"bytes"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/ui"
)

// webInterface serves the embedded pages: assets by their hashed names for ever, compressed as the browser takes them,
// and index.html for every path of a page.
func webInterface() http.Handler {
	files, _ := ui.FS()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			rest.WriteProblem(w, r, problem.New(problem.NotFound, "There is nothing to %s at %s.", r.Method, r.URL.Path))
			return
		}
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		if i := strings.Index(name, "assets/"); i > 0 {
			name = name[i:] // below /w/NAME/
		}
		isAsset := strings.HasPrefix(name, "assets/") || strings.Contains(path.Base(name), ".") && exists(files, name)
		h := w.Header()
		if isAsset {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
			if !strings.HasPrefix(name, "assets/") {
				h.Set("Cache-Control", "no-cache")
			}
		} else {
			name = "index.html"
			h.Set("Cache-Control", "no-cache")
			h.Set("Content-Security-Policy", ui.Policy)
			h.Set("Referrer-Policy", "same-origin")
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			rest.WriteProblem(w, r, problem.New(problem.NotFound, "There is nothing at %s.", r.URL.Path))
			return
		}
		if ct := mime.TypeByExtension(path.Ext(name)); ct != "" {
			h.Set("Content-Type", ct)
		}
		h.Set("Vary", "Accept-Encoding")
		for _, enc := range []struct{ name, ext string }{{"br", ".br"}, {"gzip", ".gz"}} {
			if strings.Contains(r.Header.Get("Accept-Encoding"), enc.name) {
				if packed, err := fs.ReadFile(files, name+enc.ext); err == nil {
					h.Set("Content-Encoding", enc.name)
					b = packed
					break
				}
			}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	})
}

func exists(files fs.FS, name string) bool {
	_, err := fs.Stat(files, name)
	return err == nil
}
