package app_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"keelson/internal/app"
)

// While a model takes its time to load, the server answers what it can and says that it is not ready.
func TestWhatIsLoadedAnswersBeforeTheServerIsReady(t *testing.T) {
	c := app.Default()
	c.Listen, c.Data, c.StopTimeout, c.PythonModels, c.Auth = "127.0.0.1:0", t.TempDir(), 5*time.Second, "off", "off"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, err := app.New(ctx, c, testWriter{t})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	loading, loaded := make(chan struct{}), make(chan struct{})
	a.SettleAfter(func() { close(loading); <-loaded })
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { close(up) }) }()
	select {
	case <-loading:
	case err := <-done:
		t.Fatal(err)
	}
	status := func(path string) int {
		code, _ := request(t, http.MethodGet, a.URL+path, "", nil)
		return code
	}
	if got := status("/v2"); got != 200 {
		t.Errorf("/v2 answers %d while something is loaded", got)
	}
	for _, path := range []string{"/readyz", "/v2/health/ready"} {
		if got := status(path); got != 503 {
			t.Errorf("%s answers %d while something is loaded", path, got)
		}
	}
	if got := status("/v2/health/live"); got != 200 {
		t.Errorf("/v2/health/live answers %d while something is loaded", got)
	}
	close(loaded)
	select {
	case <-up:
	case err := <-done:
		t.Fatal(err)
	}
	for _, path := range []string{"/readyz", "/v2/health/ready"} {
		if code, body := request(t, http.MethodGet, a.URL+path, "", nil); code != 200 || !strings.Contains(body, "ready") {
			t.Errorf("%s answers %d %s", path, code, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
