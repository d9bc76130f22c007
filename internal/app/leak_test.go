package app_test

import (
	"bytes"
	"net/http"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"keelson/client"
	"keelson/internal/app"
	"keelson/test/corpus"
)

// TestAServerThatEndsLeavesNoGoroutine runs a whole server in this process, with a live version, calls and malformed
// requests, and looks at what is left of it.
func TestAServerThatEndsLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir, data := t.TempDir(), t.TempDir()
	calls := networks(t, dir)
	t.Run("a server", func(t *testing.T) {
		installRuntime(t, data)
		a := start(t, func(c *app.Config) { c.Auth, c.Data = "off", data })
		c, err := client.New(client.Config{Server: a.URL})
		if err != nil {
			t.Fatal(err)
		}
		live(t, c, folder(t, c, "lstm", filepath.Join(dir, "lstm")), calls["lstm"])
		for range 50 {
			if err := c.Infer(t.Context(), "lstm.dev", map[string]any{"inputs": calls["lstm"]}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, bad := range corpus.HTTP([]corpus.Input{{Name: "x", Datatype: "FP32", Shape: []int{-1, -1, 3}}}) {
			req, err := http.NewRequestWithContext(t.Context(), "POST", a.URL+"/v2/models/lstm.dev/"+bad.Path, bytes.NewReader(bad.Body))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range bad.Header {
				req.Header.Set(k, v)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatalf("%s: %v", bad.Name, err)
			}
			res.Body.Close()
			if res.StatusCode >= 500 || res.StatusCode < 400 && !bad.Perhaps {
				t.Errorf("%s: %d", bad.Name, res.StatusCode)
			}
		}
	})
	http.DefaultClient.CloseIdleConnections()
	// The library of sessions starts this one for a store that ours replaces, and ends it never: one per process.
	goleak.VerifyNone(t, before, goleak.IgnoreTopFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup"))
}
