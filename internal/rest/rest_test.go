package rest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/problem"
)

// door lets everybody in as an administrator.
type door struct{}

func (door) Authenticate(*http.Request) (caller.Caller, error) {
	return caller.Caller{Name: "ada", Roles: []string{"administrator"}}, nil
}
func (door) Refused(context.Context, Route, error) {}

type thing struct {
	Name  string `json:"name"`
	Size  int    `json:"size,omitempty"`
	Inner *struct {
		Share int `json:"share"`
	} `json:"inner,omitempty"`
}

// house is an API with one resource, which answers the workspace it was asked in.
func house() *API {
	a := New("test", door{}, slog.New(slog.DiscardHandler))
	Post(a, "/api/v1/things", access.Public, "make a thing", func(ctx context.Context, in *struct{ Body thing }) (string, error) {
		return caller.Workspace(ctx), nil
	})
	return a
}

func call(t *testing.T, a *API, path, body string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(b)
}

func TestAMistakeInTheBodyIsNamed(t *testing.T) {
	a := house()
	for _, c := range []struct {
		name, body string
		status     int
		field      string
		says       string
	}{
		{"a member that is missing", `{}`, 422, "name", "The request does not fit: name: is missing."},
		{"a member that is missing further down", `{"name":"x","inner":{}}`, 422, "inner.share", "inner.share: is missing"},
		{"a member that is not known", `{"name":"x","nome":1}`, 422, "nome", "nome: unexpected property"},
		{"a value of the wrong type", `{"name":7}`, 422, "name", "name: expected string"},
		{"half a body", `{"name":`, 400, "", "fit: the body is not JSON that can be read: unexpected end"},
		{"a number that is no JSON", `{"name":NaN}`, 400, "", "fit: the body is not JSON that can be read: invalid character 'N'"},
		{"a number beyond all numbers", `{"size":1e400}`, 400, "", "fit: the body is not JSON that can be read: cannot unmarshal number 1e400"},
		{"a list", `[]`, 422, "", "fit: the body: expected object"},
		{"nothing", ``, 400, "", "request body is required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, body := call(t, a, "/api/v1/things", c.body)
			var d Doc
			if err := json.Unmarshal([]byte(body), &d); err != nil || r.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%v: %s %s", err, r.Header.Get("Content-Type"), body)
			}
			if r.StatusCode != c.status || d.Field != c.field || !strings.Contains(d.Detail, c.says) || strings.Contains(d.Detail, ": :") {
				t.Errorf("%d %q %q, want %d %q and %q", r.StatusCode, d.Field, d.Detail, c.status, c.field, c.says)
			}
		})
	}
}

func TestAnUncleanPathStaysInItsWorkspace(t *testing.T) {
	a := house()
	for path, want := range map[string]string{
		"/w/other/api/v1/things":           "in other",
		"/w/other/api//v1/things":          "to /w/other/api/v1/things",
		"/w/other/api/v1/./things?limit=1": "to /w/other/api/v1/things?limit=1",
		"/w/other/api/v1/x/../things":      "to /w/other/api/v1/things",
		"/api//v1/things":                  "to /api/v1/things",
		"/w//api/v1/things":                "nothing",
		"/api/v1/things":                   "in default",
	} {
		r, body := call(t, a, path, `{"name":"x"}`)
		got := "nothing"
		switch r.StatusCode {
		case http.StatusOK:
			got = "in " + strings.Trim(body, "\"\n")
		case http.StatusTemporaryRedirect:
			got = "to " + r.Header.Get("Location")
		}
		if got != want {
			t.Errorf("%s leads %s (%d %s), want %s", path, got, r.StatusCode, body, want)
		}
	}
}

func TestAnAnswerSaysWhenTryingAgainHelps(t *testing.T) {
	var fails error
	a := New("test", door{}, slog.New(slog.DiscardHandler))
	Post(a, "/api/v1/things", access.Public, "make a thing", func(context.Context, *struct{ Body thing }) (string, error) { return "", fails })
	for _, c := range []struct {
		name   string
		fails  error
		status int
		after  string
	}{
		{"too many calls, with the time", problem.New(problem.Exhausted, "Slow down.").After(90 * time.Second), 429, "90"},
		{"too many calls, and nobody knows", problem.New(problem.Exhausted, "Slow down."), 429, "1"},
		{"not now", problem.New(problem.Unavailable, "Try again.").After(1500 * time.Millisecond), 503, "2"},
		{"a mistake is no better later", problem.New(problem.Conflict, "No.").After(time.Minute), 409, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			fails = c.fails
			r, body := call(t, a, "/api/v1/things", `{"name":"x"}`)
			if got := r.Header.Values("Retry-After"); r.StatusCode != c.status || strings.Join(got, " ") != c.after {
				t.Errorf("%d, Retry-After %q, want %d and %q: %s", r.StatusCode, got, c.status, c.after, body)
			}
		})
	}
}
