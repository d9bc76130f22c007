package app_test

import (
	"context"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/linear"
	"keelson/internal/tensor"
)

// heldBack is the linear engine whose loads take until they are let go.
type heldBack struct {
	linear.Engine
	begun, release chan struct{}
}

func (heldBack) LoadTime() time.Duration { return time.Minute }

func (h heldBack) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	select {
	case h.begun <- struct{}{}:
	default:
	}
	select {
	case <-h.release:
		return h.Engine.Load(ctx, fsys, name, limits)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestAfterARestartWhatIsLoadedAnswersWhileASlowVersionLoads(t *testing.T) {
	const twice = `{"name":"twice","inputs":[{"name":"x","type":"double"}],"outputs":[{"name":"y","type":"double","default":0}],
		"rules":[{"id":"always","when":"true","then":{"y":"=x * 2.0"}}]}`
	data := t.TempDir()
	run := func(t *testing.T, change func(*app.App)) (a *app.App, up <-chan struct{}, end func()) {
		t.Helper()
		c := app.Default()
		c.Listen, c.Data, c.StopTimeout, c.PythonModels, c.Auth = "127.0.0.1:0", data, 5*time.Second, "off", "off"
		ctx, cancel := context.WithCancel(t.Context())
		a, err := app.New(ctx, c, testWriter{t})
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		change(a)
		ready, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- a.Run(ctx, func() { close(ready) }) }()
		return a, ready, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	await := func(t *testing.T, what string, there <-chan struct{}) {
		t.Helper()
		select {
		case <-there:
		case <-time.After(time.Minute):
			t.Fatalf("%s: not in a minute", what)
		}
	}

	t.Run("two versions are deployed", func(t *testing.T) {
		a, up, end := run(t, func(*app.App) {})
		defer end()
		await(t, "the first start", up)
		c, err := client.New(client.Config{Server: a.URL})
		if err != nil {
			t.Fatal(err)
		}
		served(t, c, "claims", map[string][]byte{"model.linear.json": []byte(`{"format":"keelson-linear-1","intercept":1,"coefficients":{"age":2}}`)}, "linear",
			[]tensor.Tensor{tensor.FP64s("age", []int{1}, []float64{3})}, []tensor.Tensor{tensor.FP64s("predict", []int{1, 1}, []float64{7})})
		served(t, c, "twice", map[string][]byte{"model.cel.yaml": []byte(twice)}, "cel",
			[]tensor.Tensor{tensor.FP64s("x", []int{1}, []float64{4})}, []tensor.Tensor{tensor.FP64s("y", []int{1}, []float64{8})})
	})
	if t.Failed() {
		return
	}

	held := heldBack{begun: make(chan struct{}, 1), release: make(chan struct{})}
	a, up, end := run(t, func(a *app.App) {
		set, err := engine.NewSet(cel.Engine{}, held)
		if err != nil {
			t.Fatal(err)
		}
		a.Serving.Engines = set
	})
	defer end()
	await(t, "the load of the slow version", held.begun)
	get := func(path string, want int) {
		t.Helper()
		if code, body := request(t, http.MethodGet, a.URL+path, "", nil); code != want {
			t.Errorf("%s answers %d %s, want %d", path, code, body, want)
		}
	}
	infer := func(endpoint, inputs string, want int) {
		t.Helper()
		if code, body := request(t, http.MethodPost, a.URL+"/v2/models/"+endpoint+"/infer", "", strings.NewReader(`{"inputs":[`+inputs+`]}`)); code != want {
			t.Errorf("%s answers %d %s, want %d", endpoint, code, body, want)
		}
	}
	const quick = `{"name":"x","datatype":"FP64","shape":[1],"data":[4]}`
	const slow = `{"name":"age","datatype":"FP64","shape":[1],"data":[3]}`
	get("/v2", 200)
	get("/v2/health/live", 200)
	get("/readyz", 503)
	get("/v2/health/ready", 503)
	infer("twice.dev", quick, 200)
	infer("claims.dev", slow, 503)
	select {
	case <-up:
		t.Error("the server says that it is up while a version is loaded")
	default:
	}
	close(held.release)
	await(t, "the second start", up)
	get("/readyz", 200)
	get("/v2/health/ready", 200)
	infer("twice.dev", quick, 200)
	infer("claims.dev", slow, 200)
}
