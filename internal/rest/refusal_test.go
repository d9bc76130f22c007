package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

func TestAThousandRefusalsAreTwoEntries(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := NewRefusals(d, slog.New(slog.NewTextHandler(io.Discard, nil)))
		h := f.Watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := problem.New(problem.Invalid, "No.")
			if r.URL.Path != "/harmless" {
				err = err.Suspect("path")
			}
			WriteProblem(w, r, err)
		}))
		call := func(path, from string) {
			r := httptest.NewRequest("GET", path, nil)
			r.RemoteAddr = from + ":1"
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		entries := func() (counts []int64) {
			t.Helper()
			if err := d.Read(context.Background(), func(tx db.Scope) error {
				return tx.Each(`SELECT object, detail FROM audit_entry WHERE action = 'request.refused' ORDER BY id`, nil, func(scan func(...any) error) error {
					var object, detail string
					if err := scan(&object, &detail); err != nil {
						return err
					}
					var v struct {
						Kind, Example string
						Count         int64
					}
					if err := json.Unmarshal([]byte(detail), &v); err != nil {
						return err
					}
					if object != "caller/address 10.0.0.1" || v.Kind != "path" || v.Example != "GET /x" {
						t.Errorf("%s %s", object, detail)
					}
					counts = append(counts, v.Count)
					return nil
				})
			}); err != nil {
				t.Fatal(err)
			}
			return counts
		}
		call("/harmless", "10.0.0.1")
		call("/x", "10.0.0.1")
		f.flush(context.Background(), false)
		if got := entries(); len(got) != 1 || got[0] != 1 {
			t.Fatalf("after the first: %v", got)
		}
		for range 999 {
			call("/x", "10.0.0.1")
			f.flush(context.Background(), false)
		}
		if got := entries(); len(got) != 1 {
			t.Fatalf("within the window: %v", got)
		}
		f.window = 0
		f.flush(context.Background(), false)
		if got := entries(); len(got) != 2 || got[1] != 999 {
			t.Fatalf("when it ends: %v", got)
		}
		for i := range 3 * maxRefused {
			call("/x", "10.1."+string(rune('0'+i%10))+"."+string(rune('0'+i/10%10))+string(rune('0'+i/100%10))+string(rune('0'+i/1000%10)))
		}
		if len(f.seen) > maxRefused+1 {
			t.Errorf("%d callers are remembered", len(f.seen))
		}
	})
}

// known is a gate at which nobody is signed in.
type known struct{}

func (known) Authenticate(*http.Request) (caller.Caller, error) { return caller.Caller{}, nil }
func (known) Refused(context.Context, Route, error)             {}

func TestWorkspacesThatAreMadeUpNeitherFillTheMemoryNorTheAuditLog(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := NewRefusals(d, slog.New(slog.NewTextHandler(io.Discard, nil)))
		a := New("test", known{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		a.Handle("POST", "/v2/models/{name}/infer", "predict", OIP, http.NotFoundHandler())
		a.Shape(OIP, WriteProblem)
		h := f.Watch(a)
		for i := range 3000 {
			r := httptest.NewRequest("POST", "/v2/models/m/infer", nil)
			if i%2 == 0 {
				r.Header.Set("Keelson-Workspace", fmt.Sprint("made-up-", i))
			} else {
				r = httptest.NewRequest("POST", fmt.Sprintf("/w/made-up-%d/v2/models/m/infer", i), nil)
			}
			r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", i/1500, i%1500/750) // four programs
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		if len(f.seen) != 4 {
			t.Errorf("%d keys are remembered of four callers", len(f.seen))
		}
		for i := range 3000 {
			r := httptest.NewRequest("POST", fmt.Sprintf("/w/made-up-%d/v2/models/m/infer", i), nil)
			r.RemoteAddr = fmt.Sprintf("[2001:db8::%x]:1", i)
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		if len(f.seen) > maxRefused+1 {
			t.Errorf("%d keys are remembered", len(f.seen))
		}
		f.flush(context.Background(), true)
		var entries, elsewhere, many, counted int64
		if err := d.Read(context.Background(), func(tx db.Scope) error {
			return tx.Each(`SELECT workspace, object, detail FROM audit_entry WHERE action = 'request.refused'`, nil, func(scan func(...any) error) error {
				var workspace, object, detail string
				if err := scan(&workspace, &object, &detail); err != nil {
					return err
				}
				var v struct{ Count int64 }
				if err := json.Unmarshal([]byte(detail), &v); err != nil {
					return err
				}
				entries, counted = entries+1, counted+v.Count
				if workspace != caller.DefaultWorkspace {
					elsewhere++
				}
				if object == "caller/many" {
					many++
				}
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		if elsewhere != 0 || entries > maxRefused+1 || many != 1 || counted != 6000 {
			t.Errorf("%d entries, %d of them in workspaces that are not there, %d for many; together they count %d of 6000", entries, elsewhere, many, counted)
		}
	})
}
