package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/access"
	"keelson/internal/app"
	"keelson/internal/caller"
	"keelson/internal/identity"
	"keelson/internal/rest"
)

// start runs the whole program on a free port of loopback with SQLite and a temporary folder.
func start(t *testing.T, change func(*app.Config)) *app.App {
	t.Helper()
	c := app.Default()
	c.Listen, c.Data, c.StopTimeout = "127.0.0.1:0", t.TempDir(), 5*time.Second
	c.PythonModels = "off" // the tests of models in Python switch them on
	if change != nil {
		change(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, c, testWriter{t})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { close(up) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the program ended with %v", err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	select {
	case <-up:
	case err := <-done:
		done <- err
		t.Fatalf("it did not start: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("it did not start in 30 s")
	}
	return a
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	if os.Getenv("KEELSON_TEST_LOG") != "" {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func request(t *testing.T, method, url, token string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(b)
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// TestEveryRouteAsEveryRole calls whatever is mounted as every role, as nobody and with a wrong token. A caller without
// the permission gets 401 or 403 in the shape of the protocol; a caller with it gets anything else, but never a 5xx
// other than 501 and 503.
func TestEveryRouteAsEveryRole(t *testing.T) {
	a := start(t, nil)
	ctx := caller.System(context.Background(), "test")
	tokens := map[string]string{"": "", "wrong": "kst_wrong"}
	for _, r := range access.Roles() {
		if !access.Known(r.Name) {
			continue
		}
		kind := caller.Person
		if r.Name == access.Service {
			kind = caller.Service
		}
		if _, err := a.Identity.CreateUser(ctx, identity.User{Name: "u-" + r.Name, Kind: kind, Roles: []string{r.Name}}, ""); err != nil {
			t.Fatal(err)
		}
		tok, err := a.Identity.Issue(ctx, "u-"+r.Name, "test", 0)
		if err != nil {
			t.Fatal(err)
		}
		tokens[r.Name] = tok.Token
	}
	routes := a.API.Routes()
	if len(routes) < 10 {
		t.Fatalf("only %d routes are mounted", len(routes))
	}
	calls := 0
	for _, r := range routes {
		if r.Pattern == "/api/v1/events" {
			continue // never ends; TestEventsReachAWatcher has it
		}
		method := r.Method
		if method == "" {
			method = "GET"
		}
		path := parameter.ReplaceAllString(strings.TrimSuffix(r.Pattern, "{$}"), "nothing")
		for role, token := range tokens {
			calls++
			var body io.Reader
			if method != "GET" && method != "DELETE" {
				body = strings.NewReader("{}")
			}
			code, text := request(t, method, a.URL+path, token, body)
			what := fmt.Sprintf("%s %s as %q: %d %.200s", method, path, role, code, text)
			known := role != "" && role != "wrong"
			may := r.Permission == access.Public || known && (r.Permission == access.Self || slices.Contains(access.Permissions([]string{role}), r.Permission))
			switch {
			case !may && !known && code != 401:
				t.Errorf("not signed in, want 401: %s", what)
			case !may && known && code != 403:
				t.Errorf("want 403: %s", what)
			case may && known && r.Permission != access.Public && code == 401:
				t.Errorf("may, but was not recognised: %s", what)
			case code >= 500 && code != 501 && code != 503 && code != 507:
				t.Errorf("a server error: %s", what)
			}
			if !may && r.Protocol == rest.MLflow && !strings.Contains(text, "error_code") || !may && r.Protocol == rest.OIP && !strings.Contains(text, `"error"`) ||
				!may && r.Protocol == rest.REST && !strings.Contains(text, "/problems/") {
				t.Errorf("not in the shape of %s: %s", r.Protocol, what)
			}
		}
	}
	t.Logf("%d routes, %d calls", len(routes), calls)
}

func TestUnknownPathsAnswerHonestly(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	for path, want := range map[string]int{"/": 200, "/models/screening": 200, "/w/risk/models": 200, "/api/v1/nothing": 404, "/v2/nothing/here": 404,
		"/assets/nothing.js": 404, "/api/2.0/mlflow/nothing/at-all": 404, "/healthz": 200, "/readyz": 200, "/metrics": 200, "/api/openapi.json": 200} {
		code, body := request(t, "GET", a.URL+path, "", nil)
		if code != want && !(strings.HasPrefix(path, "/api/2.0") && code == 501) {
			t.Errorf("%s: want %d, got %d %.100s", path, want, code, body)
		}
	}
	req, _ := http.NewRequest("GET", a.URL+"/api/v1/me", nil)
	req.Host = "evil.example"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 403 {
		t.Errorf("a foreign host name got %d", res.StatusCode)
	}
}

func TestEventsReachAWatcherAndOneWhoWasAway(t *testing.T) {
	a := start(t, nil)
	_, token, _, err := a.Identity.First(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	watch := func(last string) *bufio.Scanner {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "GET", a.URL+"/api/v1/events?topics=dataset:watched", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
			t.Fatalf("got %s", ct)
		}
		lines := bufio.NewScanner(res.Body)
		if !lines.Scan() || lines.Text() != ": hello" { // from here on nothing is missed
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
		return lines
	}
	// told reads the stream up to the next event and gives its data.
	told := func(lines *bufio.Scanner) (e struct{ Type, Subject, Actor string }) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatal(err)
				}
				return e
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return e
	}
	live := watch("")
	for _, name := range []string{"other", "watched"} { // the first is not asked for
		if code, text := request(t, "PUT", a.URL+"/api/v1/datasets/"+name, token, strings.NewReader(`{"description":"x"}`)); code >= 300 {
			t.Fatalf("%d %s", code, text)
		}
	}
	for who, lines := range map[string]*bufio.Scanner{"who watched": live, "who was away": watch("0")} {
		if e := told(lines); e.Type != "dataset.created" || e.Subject != "dataset/watched" || e.Actor != "admin" {
			t.Errorf("%s got %+v", who, e)
		}
	}
}

func TestTheDescriptionOfTheAPIIsUpToDate(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	got, err := json.MarshalIndent(a.API.OpenAPI(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../api/openapi.json")
	if os.Getenv("UPDATE") != "" {
		if err := os.MkdirAll("../../api", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("../../api/openapi.json", append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil || string(want) != string(got)+"\n" {
		t.Fatalf("api/openapi.json is not what the routes say; run: make generate (%v)", err)
	}
}
