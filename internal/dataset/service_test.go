package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// each runs fn with a service on every database, a real folder of blobs and a signed-in data engineer.
func each(t *testing.T, fn func(t *testing.T, ctx context.Context, s *Service)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		blobs, err := blob.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := &Service{DB: d, Blobs: blobs, Log: slog.New(slog.DiscardHandler), Now: time.Now, TempDir: filepath.Join(t.TempDir(), "made", "when", "needed")}
		fn(t, caller.With(context.Background(), engineer), s)
		left, err := os.ReadDir(s.TempDir)
		if err != nil && !os.IsNotExist(err) || len(left) > 0 {
			t.Errorf("temporary files are left: %v %v", left, err)
		}
	})
}

var engineer = caller.Caller{ID: "u1", Name: "dora", Kind: caller.Person, Roles: []string{"data-engineer"}}

func patientRules() []Rule {
	return []Rule{{Column: "mean_radius", Check: "range", Min: at(0), Max: at(50)}, {Column: "malignant", Check: "allowed", Values: []any{0, 1}}}
}

func TestAFileBecomesAVersionAndComesBackAsItWas(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *Service) {
		file := read(t, "patients.csv")
		if _, err := s.Put(ctx, Dataset{Name: "patients", Description: "real ones", Sensitivity: "confidential", Target: "malignant", Rules: patientRules()}); err != nil {
			t.Fatal(err)
		}
		v, err := s.Import(ctx, ImportRequest{Dataset: "patients", Note: "first", Body: bytes.NewReader(file)})
		if err != nil {
			t.Fatal(err)
		}
		if v.Version != 1 || v.Rows != 569 || len(v.Schema) != 13 || v.Format != "csv" || v.CreatedBy != "dora" || v.Existing {
			t.Errorf("%+v", v)
		}
		again, err := s.Import(ctx, ImportRequest{Dataset: "patients", Body: bytes.NewReader(file)})
		if err != nil || again.Version != 1 || !again.Existing || again.Digest != v.Digest {
			t.Errorf("the same bytes again: %+v, %v", again, err)
		}
		child, err := s.Import(ctx, ImportRequest{Dataset: "large", Body: strings.NewReader("a,b\n1,x\n"), Parents: []Ref{{"patients", 1}}, Run: "r1"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Version(ctx, "large", 0); err != nil || len(got.Parents) != 1 || got.Parents[0] != (Ref{"patients", 1}) || got.Run != "r1" || got.Digest != child.Digest {
			t.Errorf("%+v, %v", got, err)
		}
		if d, err := s.Get(ctx, "large"); err != nil || d.Owner != "dora" || d.Latest == nil || d.Latest.Columns != 2 || d.Versions != 1 {
			t.Errorf("%+v, %v", d, err)
		}
		r, _, err := s.Content(ctx, "patients", 1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, file) {
			t.Errorf("%d bytes came back of %d (%v)", len(got), len(file), err)
		}
		table, err := s.Open(ctx, "patients", 1)
		if err != nil {
			t.Fatal(err)
		}
		radius, ok := table.Column("mean_radius")
		if !ok || table.Rows != 569 || radius.Numbers[0] != 17.99 {
			t.Errorf("table of %d rows, %v", table.Rows, ok)
		}
		band, _ := table.Column("size_band")
		if w, m := band.Text(); w[0] != "large" || m[0] {
			t.Errorf("size_band %q %v", w[0], m[0])
		}
		var acts, told int
		err = s.DB.Read(ctx, func(tx db.Scope) error {
			return errors.Join(tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = 'dataset.imported'", tx.Workspace).Scan(&acts),
				tx.QueryRow("SELECT COUNT(*) FROM event WHERE workspace = $1 AND type = 'dataset.imported'", tx.Workspace).Scan(&told))
		})
		if err != nil || acts != 2 || told != 2 {
			t.Errorf("%d audit entries and %d events for two imports (%v)", acts, told, err)
		}
		other := caller.WithWorkspace(ctx, "elsewhere")
		if _, err := s.Version(other, "patients", 1); !problem.Is(err, problem.NotFound) {
			t.Errorf("another workspace sees the data: %v", err)
		}
	})
}

func TestARefusedFileLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *Service) {
		if _, err := s.Put(ctx, Dataset{Name: "patients", Rules: patientRules()}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(read(t, "patients.csv")), "\n")
		cells := strings.Split(lines[7], ",")
		cells[1] = "-3.5"
		lines[7] = strings.Join(cells, ",")
		_, err := s.Import(ctx, ImportRequest{Dataset: "patients", Body: strings.NewReader(strings.Join(lines, "\n"))})
		p, ok := problem.As(err)
		if !ok || p.Kind != problem.Invalid || len(p.Fields) != 1 || p.Fields[0].Field != "mean_radius" || p.Fields[0].Rows[0] != 7 || p.Fields[0].Rule != "mean_radius.range" {
			t.Fatalf("%v", err)
		}
		if d, err := s.Get(ctx, "patients"); err != nil || d.Versions != 0 || d.Latest != nil {
			t.Errorf("%+v %v", d, err)
		}
		named, err := s.Blobs.ListNamed(ctx, "")
		if err != nil || len(named) != 0 {
			t.Errorf("%v %v", named, err)
		}
		root, err := os.MkdirTemp("", "none")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(root)
		if _, err := s.Import(ctx, ImportRequest{Dataset: "new", Body: strings.NewReader("a\n\x00\n")}); !problem.Is(err, problem.Invalid) {
			t.Errorf("%v", err)
		}
		if _, err := s.Get(ctx, "new"); !problem.Is(err, problem.NotFound) {
			t.Errorf("a refused file made its data set: %v", err)
		}
		if _, err := s.Import(ctx, ImportRequest{Dataset: "kid", Body: strings.NewReader("a\n1\n"), Parents: []Ref{{"ghost", 1}}}); !problem.Is(err, problem.Invalid) {
			t.Errorf("a parent that is not there: %v", err)
		}
	})
}

func TestAnImportLargerThanTheLimitIsRefused(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *Service) {
		s.Limits.Bytes = 1000
		_, err := s.Import(ctx, ImportRequest{Dataset: "big", Body: bytes.NewReader(read(t, "patients.csv"))})
		if !problem.Is(err, problem.TooLarge) {
			t.Errorf("%v", err)
		}
		s.Limits = Limits{Table: 1000}
		if _, err := s.Import(ctx, ImportRequest{Dataset: "big", Body: bytes.NewReader(read(t, "patients.csv"))}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(ctx, "big", 0); !problem.Is(err, problem.TooLarge) {
			t.Errorf("a table larger than the limit: %v", err)
		}
	})
}

func TestAlteredBytesAreNotRead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		root := t.TempDir()
		blobs, err := blob.OpenDir(root)
		if err != nil {
			t.Fatal(err)
		}
		ctx := caller.With(context.Background(), engineer)
		s := &Service{DB: d, Blobs: blobs, Log: slog.New(slog.DiscardHandler), Now: time.Now, TempDir: t.TempDir()}
		if _, err := s.Import(ctx, ImportRequest{Dataset: "x", Body: strings.NewReader("a,b\n1,2\n")}); err != nil {
			t.Fatal(err)
		}
		changed := 0
		err = filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != "a,b\n1,2\n" {
				return err
			}
			changed++
			return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("a,b\n9,2\n"), 0o600))
		})
		if err != nil || changed != 1 {
			t.Fatal(changed, err)
		}
		if _, err := s.Open(ctx, "x", 1); !problem.Is(err, problem.Conflict) {
			t.Errorf("%v", err)
		}
	})
}

// gate lets everybody in as the caller it holds.
type gate struct{ who caller.Caller }

func (g gate) Authenticate(*http.Request) (caller.Caller, error) { return g.who, nil }
func (g gate) Refused(context.Context, rest.Route, error)        {}

func TestTheRoutesSpeakAsPlanned(t *testing.T) {
	each(t, func(t *testing.T, _ context.Context, s *Service) {
		api := rest.New("test", gate{engineer}, slog.New(slog.DiscardHandler))
		s.Routes(api)
		server := httptest.NewServer(api)
		defer server.Close()
		call := func(method, path, body string, into any) int {
			t.Helper()
			req, err := http.NewRequest(method, server.URL+"/api/v1/datasets"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if method == "PUT" {
				req.Header.Set("Content-Type", "application/json")
			}
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if into != nil {
				if err := json.Unmarshal(b, into); err != nil {
					t.Fatalf("%s %s: %s: %v", method, path, b, err)
				}
			}
			return res.StatusCode
		}
		rules := `{"description":"d","sensitivity":"internal","rules":[{"column":"x","check":"range","min":0},{"column":"w","check":"allowed","values":["a",1,true]}]}`
		var d Dataset
		if code := call("PUT", "/little", rules, &d); code != 200 || len(d.Rules) != 2 || d.Owner != "dora" {
			t.Fatalf("%d %+v", code, d)
		}
		var doc rest.Doc
		if code := call("PUT", "/little", `{"rules":[{"column":"x","check":"nice"}]}`, &doc); code != 422 {
			t.Errorf("%d %+v", code, doc)
		}
		if code := call("PUT", "/Not%20a%20name", `{}`, &doc); code != 422 || doc.Field != "name" {
			t.Errorf("%d %+v", code, doc)
		}
		var check CheckResult
		if code := call("POST", "/little/check", "x,w\n1,a\n-1,b\n", &check); code != 200 || check.OK || len(check.Findings) != 2 || check.Findings[0].Rows[0] != 2 {
			t.Errorf("%d %+v", code, check)
		}
		if code := call("POST", "/little/versions?format=csv", "x,w\n1,a\n-1,b\n", &doc); code != 422 || len(doc.Errors) != 2 || doc.Errors[1].Field != "w" || doc.Errors[1].Count != 1 {
			t.Errorf("%d %+v", code, doc)
		}
		var v Version
		if code := call("POST", "/little/versions?note=ok", "x,w\n1,a\n2,1\n", &v); code != 201 || v.Version != 1 || v.Note != "ok" || len(v.Profile) != 2 {
			t.Errorf("%d %+v", code, v)
		}
		if code := call("POST", "/little/versions", "x,w\n1,a\n2,1\n", &v); code != 200 || !v.Existing {
			t.Errorf("%d %+v", code, v)
		}
		if code := call("POST", "/little/versions", "x,w\n3,a\n", &v); code != 201 || v.Version != 2 {
			t.Errorf("%d %+v", code, v)
		}
		var page rest.Page[Version]
		if code := call("GET", "/little/versions?limit=1", "", &page); code != 200 || len(page.Items) != 1 || page.Items[0].Version != 2 || page.Next != "2" {
			t.Errorf("%d %+v", code, page)
		}
		if call("GET", "/little/versions?limit=1&cursor=2", "", &page); len(page.Items) != 1 || page.Items[0].Version != 1 {
			t.Errorf("%+v", page)
		}
		var all rest.Page[Dataset]
		if code := call("GET", "", "", &all); code != 200 || len(all.Items) != 1 || all.Items[0].Latest.Rows != 1 {
			t.Errorf("%d %+v", code, all)
		}
		if code := call("GET", "/little/versions/latest/content", "", nil); code != 200 {
			t.Error(code)
		}
		for path, want := range map[string]int{"/ghost": 404, "/little/versions/9": 404, "/little/versions/x": 422, "/ghost/versions": 404, "/little/versions/9/content": 404, "/little/versions/0/content": 422, "/little/versions?cursor=x": 422} {
			if code := call("GET", path, "", &doc); code != want || doc.Detail == "" {
				t.Errorf("GET %s: %d %+v, want %d", path, code, doc, want)
			}
		}
	})
}
