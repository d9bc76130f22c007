package mlflowapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keelson/internal/access"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

// endpoint is one line of testdata/endpoints.tsv: where the path stands (both: under /api and /ajax-api, ajax: under the
// latter only, root: as it is), the path, MLflow's methods, and whether they are served here or answered NOT_IMPLEMENTED.
type endpoint struct {
	path    string
	methods []string
	served  bool
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

func endpoints(t *testing.T) (out []endpoint) {
	t.Helper()
	f, err := os.Open("testdata/endpoints.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		c := strings.Split(line, "\t")
		if len(c) != 4 || c[3] != "served" && c[3] != "not" {
			t.Fatalf("a line of the table cannot be read: %q", line)
		}
		e := endpoint{placeholder.ReplaceAllString(c[1], "ghost"), strings.Split(c[2], ","), c[3] == "served"}
		for _, prefix := range map[string][]string{"both": prefixes, "ajax": {"/ajax-api"}, "root": {""}}[c[0]] {
			out = append(out, endpoint{prefix + e.path, e.methods, e.served})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// asked is an answer, without a network between.
func (s *server) asked(token, method, path, contentType, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.Config.Handler.ServeHTTP(w, req)
	return w
}

// proper says what is wrong with an answer in general: a page, a redirect, a failure of ours, or an error in another shape
// than MLflow's.
func proper(method string, w *httptest.ResponseRecorder) (code, wrong string) {
	b := w.Body.Bytes()
	if low := bytes.ToLower(b); strings.Contains(w.Header().Get("Content-Type"), "html") && !slices.Contains([]string{"OK", Speaks}, string(b)) ||
		bytes.Contains(low, []byte("<html")) || bytes.Contains(low, []byte("<!doctype")) || bytes.Contains(low, []byte("<a href")) {
		return "", "it is a page"
	}
	switch {
	case w.Code >= 300 && w.Code < 400:
		return "", "it is a redirect"
	case w.Code < 300 || method == http.MethodHead:
		return "", ""
	}
	var e struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(b, &e); err != nil || e.Code == "" || e.Message == "" {
		return "", "the error has not MLflow's shape"
	}
	if w.Code >= 500 && (w.Code != http.StatusNotImplemented || e.Code != "NOT_IMPLEMENTED") {
		return e.Code, "it is a failure of ours"
	}
	return e.Code, ""
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// TestEveryPathByEveryMethodAsEveryRole asks all there is of MLflow's API: whoever asks, by whatever method, the answer is
// no page and no failure; what is listed as served is, for those who may, and nobody gets in without signing in.
func TestEveryPathByEveryMethodAsEveryRole(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	tokens := []string{"nobody"}
	for _, r := range access.Roles() {
		tokens = append(tokens, "role:"+r.Name)
	}
	public := []string{"/version", "/health", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"}
	unlisted, calls := map[string]bool{}, 0
	for _, e := range endpoints(t) {
		for _, method := range methods {
			listed := slices.Contains(e.methods, method)
			open := false // to some role
			for _, token := range tokens {
				w := s.asked(token, method, e.path, "application/json", "{}")
				calls++
				code, wrong := proper(method, w)
				if wrong != "" {
					t.Errorf("%s %s as %s: %s: %d %.200s", method, e.path, token, wrong, w.Code, w.Body)
					continue
				}
				if !listed {
					if w.Code < 300 && method != http.MethodHead {
						unlisted[method+" "+e.path] = true
					}
					continue
				}
				refused := w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden
				if e.served {
					if code == "NOT_IMPLEMENTED" || code == "ENDPOINT_NOT_FOUND" {
						t.Errorf("%s %s as %s is not served: %s", method, e.path, token, w.Body)
					}
					if token == "nobody" && w.Code != http.StatusUnauthorized && !slices.Contains(public, e.path) {
						t.Errorf("%s %s is open to everybody: %d %.200s", method, e.path, w.Code, w.Body)
					}
				} else if !refused && code != "NOT_IMPLEMENTED" {
					t.Errorf("%s %s as %s: %d %s, want NOT_IMPLEMENTED; or is it served now? Then say so in the table", method, e.path, token, w.Code, code)
				}
				open = open || !refused
			}
			if listed && !open {
				t.Errorf("%s %s is closed to every role", method, e.path)
			}
		}
	}
	if calls < 20_000 {
		t.Errorf("%d calls: the table is not whole", calls)
	}
	t.Logf("%d calls; served beyond MLflow's methods: %s", calls, strings.Join(slices.Sorted(maps.Keys(unlisted)), ", "))
}

// TestBodiesOfEveryKindAtEveryPath sends what no client would: the answer is a refusal in MLflow's shape or a success.
func TestBodiesOfEveryKindAtEveryPath(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) { everyBody(t, serve(t, d)) })
}

func everyBody(t *testing.T, s *server) {
	bodies := []struct{ contentType, body string }{
		{"", ""}, {"application/json", "[]"}, {"application/json", "null"}, {"application/json", `"text"`}, {"application/json", "{"}, {"application/json", "\xff\xfe"},
		{"text/html", "<html>"}, {"application/x-www-form-urlencoded", "a=b"}, {"application/json", `{"name":{},"run_id":[],"experiment_id":7,"version":true,"tags":"x","records":{},"events":{}}`},
		{"application/json", `{"name":"` + strings.Repeat("x", 5000) + `","experiment_id":"99999999999999999999","run_id":"\u0000","max_results":-1,"key":"../..","value":null}`},
		{"application/json", strings.Repeat("[", 20_000)},
	}
	for _, e := range endpoints(t) {
		for _, method := range e.methods {
			for i, b := range bodies {
				w := s.asked("role:ml-engineer", method, e.path, b.contentType, b.body)
				if _, wrong := proper(method, w); wrong != "" {
					t.Errorf("%s %s with body %d: %s: %d %.200s", method, e.path, i, wrong, w.Code, w.Body)
				}
			}
		}
	}
}

func TestPathsThatAreNotThere(t *testing.T) {
	s := serve(t, dbtest.SQLite(t))
	for _, path := range []string{"/api/2.0", "/api/2.0/", "/ajax-api/2.0", "/ajax-api/3.0", "/api/3.0", "/api/2.0mlflow", "/api/2.0/mlflow", "/api/2.0/mlflow/", "/api/2.0/mlflow/runs", "/api/2.0/mlflow/runs/create/",
		"/api/2.0/mlflow//runs/create", "/api/2.0/mlflow/../mlflow/runs/create", "/api/2.0/mlflow/runs/none", "/api/2.0/preview/mlflow/runs/create", "/api/2.0/mlflow/runs/create%00", "/api/2.0/mlflow/runs/%ff",
		"/api/2.0/mlflow-artifacts", "/api/2.0/mlflow-artifacts/none", "/ajax-api/2.0/mlflow/users/create-ui", "/api/3.0/mlflow/datasets/", "/api/2.0/mlflow/webhooks/", "/api/2.0/mlflow/registered-models/search/x"} {
		for _, method := range methods {
			for _, token := range []string{"nobody", "role:data-scientist"} {
				w := s.asked(token, method, path, "application/json", "{}")
				if code, wrong := proper(method, w); wrong != "" || w.Code < 400 {
					t.Errorf("%s %s as %s: %s %s %d %.200s", method, path, token, wrong, code, w.Code, w.Body)
				}
			}
		}
	}
	if w := s.asked("nobody", "GET", fmt.Sprint("/api/2.0/mlflow/", strings.Repeat("x", 5000)), "", ""); w.Body.Len() > 1000 {
		t.Errorf("a long path is repeated: %d bytes", w.Body.Len())
	}
}
