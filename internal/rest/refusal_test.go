package rest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

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
