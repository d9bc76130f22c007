package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db/dbtest"
	"keelson/internal/rest"
)

// gate lets everybody in as a data scientist; who may do what is tested where the doors are.
type gate struct{}

func (gate) Authenticate(*http.Request) (caller.Caller, error) {
	return caller.Caller{Name: "dana", Kind: caller.Person, Roles: []string{"data-scientist"}}, nil
}
func (gate) Refused(context.Context, rest.Route, error) {}

func form(t *testing.T, parts map[string][]byte) (contentType string, body *bytes.Buffer) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for name, b := range parts {
		var p io.Writer
		var err error
		if name == "commit" {
			p, err = w.CreateFormField(name)
		} else {
			p, err = w.CreateFormFile(name, name)
		}
		if err == nil {
			_, err = p.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), body
}

func TestBadRequestsAreTheSendersMistake(t *testing.T) {
	blobs, err := blob.Open(t.Context(), filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	n := &neighbours{}
	s := &Service{DB: dbtest.SQLite(t), Blobs: blobs, Log: slog.New(slog.DiscardHandler), Now: time.Now, Data: n, Registry: n, Evaluate: n, Tokens: n, URL: func() string { return "" }}
	a := rest.New("test", gate{}, s.Log)
	s.Routes(a)
	good := []byte("name: p\nparameters: {n: 1}\nsteps:\n  a: {kind: command, run: [\"true\"]}\n")
	tgz := tarball(t, map[string]string{"a": "b"})
	call := func(method, path, contentType string, body io.Reader) (int, map[string]any) {
		r := httptest.NewRequest(method, path, body)
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		var doc map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Errorf("%s %s answers %q, which is not JSON", method, path, w.Body)
		}
		return w.Code, doc
	}
	put := func(name string, parts map[string][]byte) (int, map[string]any) {
		ct, body := form(t, parts)
		return call("PUT", "/api/v1/pipelines/"+name, ct, body)
	}
	if code, doc := put("p", map[string][]byte{"definition": good, "source": tgz, "commit": []byte(`{"commit":"abc","dirty":true}`)}); code != 200 || doc["version"] != 1.0 {
		t.Fatalf("saving answers %d %v", code, doc)
	}
	for _, c := range []struct {
		name  string
		parts map[string][]byte
		as    string
		code  int
		words string
	}{
		{"no definition", map[string][]byte{"source": tgz}, "p", 422, "is empty"},
		{"broken YAML", map[string][]byte{"definition": []byte("name: [")}, "p", 422, "keelson.yaml:"},
		{"another name", map[string][]byte{"definition": good, "source": tgz}, "q", 422, "was sent to"},
		{"commands without source", map[string][]byte{"definition": good}, "p", 422, "no source was sent"},
		{"a source that is no archive", map[string][]byte{"definition": good, "source": []byte("PK")}, "p", 422, "not a gzipped tar"},
		{"a part that is not known", map[string][]byte{"definition": good, "sauce": tgz}, "p", 422, `no part "sauce"`},
		{"a commit that is no JSON", map[string][]byte{"definition": good, "commit": []byte("abc")}, "p", 422, "is not JSON"},
		{"a lock file that is not there", map[string][]byte{"definition": append([]byte("environment: {requirements: r.txt}\n"), good...), "source": tgz}, "p", 422, "has no file r.txt"},
		{"a data rule that cannot be", map[string][]byte{"definition": append([]byte("data: {d: {rules: [{check: shiny, column: c}]}}\n"), good...), "source": tgz}, "p", 422, "data.d in keelson.yaml"},
		{"a test that cannot be", map[string][]byte{"definition": append([]byte("data: {d: {}}\nevaluate: {s: {data: d, tests: [{name: t, kind: vibes}]}}\n"), good...), "source": tgz}, "p", 422, "evaluate.s in keelson.yaml"},
		{"a project file that is too large", map[string][]byte{"definition": bytes.Repeat([]byte("#"), MaxDefinition+1)}, "p", 413, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, doc := put(c.as, c.parts)
			if detail, _ := doc["detail"].(string); code != c.code || !strings.Contains(detail, c.words) {
				t.Errorf("got %d %v, want %d and %q", code, doc, c.code, c.words)
			}
		})
	}
	for _, c := range []struct {
		name, method, path, body string
		code                     int
	}{
		{"no form at all", "PUT", "/api/v1/pipelines/p", "hello", 422},
		{"a pipeline that is not there", "GET", "/api/v1/pipelines/nope", "", 404},
		{"a run of a pipeline that is not there", "POST", "/api/v1/pipelines/nope/runs", "{}", 404},
		{"runs of a pipeline that is not there", "GET", "/api/v1/pipelines/nope/runs", "", 404},
		{"a run that is not there", "GET", "/api/v1/pipeline-runs/nope", "", 404},
		{"a log that is not there", "GET", "/api/v1/pipeline-runs/nope/steps/a/log", "", 404},
		{"a negative offset", "GET", "/api/v1/pipeline-runs/nope/steps/a/log?offset=-1", "", 422},
		{"a run of the wrong type", "POST", "/api/v1/pipelines/p/runs", `{"version":"one"}`, 422},
		{"a run with an unknown field", "POST", "/api/v1/pipelines/p/runs", `{"versoin":1}`, 422},
		{"a run with a parameter that is a list", "POST", "/api/v1/pipelines/p/runs", `{"params":{"n":[1]}}`, 422},
		{"a body that is cut", "POST", "/api/v1/pipelines/p/runs", `{"params":`, 400},
		{"a limit of a million", "GET", "/api/v1/pipeline-runs?limit=1000000", "", 422},
	} {
		t.Run(c.name, func(t *testing.T) {
			ct := ""
			if c.body != "" {
				ct = "application/json"
			}
			code, doc := call(c.method, c.path, ct, strings.NewReader(c.body))
			if code != c.code || doc["detail"] == "" || doc["type"] == nil {
				t.Errorf("got %d %v, want a problem with %d", code, doc, c.code)
			}
		})
	}
	if ps, err := s.List(caller.System(t.Context(), "test")); err != nil || len(ps) != 1 || ps[0].Version != 1 {
		t.Errorf("after all refusals there are %+v %v, want the one version that was good", ps, err)
	}
}
