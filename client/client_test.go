package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keelson/client"
)

// A server of a few lines is enough here: what is tested is how the client treats answers, not what they hold. The
// command line's tests and the end-to-end story use the client against the real server.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{Server: s.URL, Token: "kst_x", Workspace: "lab", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestErrorsMapToExitCodes(t *testing.T) {
	for _, c := range []struct {
		status, code int
	}{{404, 3}, {401, 4}, {403, 4}, {409, 6}, {422, 2}, {400, 2}, {413, 2}, {500, 1}, {503, 7}, {429, 7}, {507, 1}} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, `{"type":"/problems/some-kind","status":1,"detail":"Because.","request":"abc"}`)
			})
			err := cl.Post(t.Context(), "/api/v1/x", nil, nil)
			var e *client.Error
			if !errors.As(err, &e) || e.Status != c.status || e.Detail != "Because." || e.Request != "abc" || !client.IsKind(err, "some-kind") {
				t.Fatalf("got %#v, want the problem with the status of the answer", err)
			}
			if got := client.ExitCode(err); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
		})
	}
}

func TestAServerThatIsNotThereIsUnreachable(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	cl, err := client.New(client.Config{Server: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cl.Me(t.Context())
	var u *client.Unreachable
	if !errors.As(err, &u) || u.Server != s.URL || client.ExitCode(err) != 7 {
		t.Errorf("got %v with exit code %d, want unreachable and 7", err, client.ExitCode(err))
	}
}

func TestOnlyReadsAreTriedAgain(t *testing.T) {
	var gets, posts atomic.Int32
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if gets.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"name":"dana"}`)
	})
	if me, err := cl.Me(t.Context()); err != nil || me.Name != "dana" || gets.Load() != 3 {
		t.Errorf("got %+v %v after %d reads, want dana at the third", me, err, gets.Load())
	}
	if err := cl.Post(t.Context(), "/api/v1/x", nil, nil); err == nil || posts.Load() != 1 {
		t.Errorf("a change was sent %d times with %v, want once and an error", posts.Load(), err)
	}
}

func TestRequestsCarryTokenWorkspaceAndEscapedNames(t *testing.T) {
	var got string
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization") + " " + r.URL.EscapedPath()
		_, _ = io.WriteString(w, `{}`)
	})
	if _, err := cl.Model(t.Context(), "a/b c"); err != nil {
		t.Fatal(err)
	}
	if want := "Bearer kst_x /w/lab/api/v1/models/a%2Fb%20c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAListIsReadToItsEndOrItsLimit(t *testing.T) {
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		next, from := "b", 0
		if r.URL.Query().Get("of") != "m" {
			t.Errorf("asked for %s, want the address's own query on every page", r.URL)
		}
		if r.URL.Query().Get("cursor") == "b" {
			next, from = "", 2
		}
		_ = json.NewEncoder(w).Encode(client.Page[int]{Items: []int{from, from + 1}, Next: next})
	})
	for max, want := range map[int]int{0: 4, 2: 2} {
		items, err := client.All[int](t.Context(), cl, "/api/v1/x?of=m", nil, max)
		if err != nil || len(items) != want {
			t.Errorf("with limit %d got %v %v, want %d items", max, items, err, want)
		}
	}
}

func TestAVersionIsSentAsMetaAndFilesByTheirPath(t *testing.T) {
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		form, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		var parts []string
		for {
			p, err := form.NextPart()
			if err != nil {
				break
			}
			b, _ := io.ReadAll(p)
			_, params := p.FormName(), p.Header.Get("Content-Disposition")
			parts = append(parts, params+"="+string(b))
		}
		_ = json.NewEncoder(w).Encode(client.Version{Model: fmt.Sprint(parts), Version: 1})
	})
	v, err := cl.Register(t.Context(), "m", client.NewVersion{Kind: "rules"}, []client.Artifact{
		{Path: "sub/model.json", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewBufferString("{}")), nil }}})
	if err != nil || !bytes.Contains([]byte(v.Model), []byte(`filename="sub/model.json"={}`)) || !bytes.Contains([]byte(v.Model), []byte(`name="meta"={"kind":"rules"}`)) {
		t.Errorf("got %s %v", v.Model, err)
	}
	_, err = cl.Register(t.Context(), "m", client.NewVersion{}, []client.Artifact{{Path: "x", Open: func() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }}})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that cannot be opened gave %v", err)
	}
}

func TestEventsAreReadUntilTheReaderHasEnough(t *testing.T) {
	cl := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "id: 1\nevent: x\ndata: {\"type\":\"a\"}\n\n: beat\n\ndata: {\"type\":\"b\"}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	enough := errors.New("enough")
	var seen []string
	err := cl.Events(t.Context(), []string{"approval"}, func(e client.Event) error {
		if seen = append(seen, e.Type); len(seen) == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || len(seen) != 2 {
		t.Errorf("got %v %v", seen, err)
	}
}

func ExampleClient_RunPipeline() {
	c, err := client.New(client.Config{Server: "http://127.0.0.1:1", Token: "kst_…"})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	run, err := c.RunPipeline(ctx, "screening", client.RunRequest{Params: map[string]any{"max_depth": 4}})
	if err != nil {
		fmt.Println(client.ExitCode(err)) // nobody answers at that address here
		return
	}
	run, err = c.WaitPipelineRun(ctx, run.ID, nil)
	fmt.Println(run.State, err)
	// Output: 7
}

func TestTheFilesOfAFolderAreListedByTheirPath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"MLmodel", "data/model.pkl", ".hidden", "data/.DS_Store"} {
		full := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o700), os.WriteFile(full, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(of string) (out []string) {
		t.Helper()
		list, err := client.Artifacts(of)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			r, err := a.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			out = append(out, a.Path+"="+string(b))
		}
		return out
	}
	if got := read(dir); !slices.Equal(got, []string{"MLmodel=MLmodel", "data/model.pkl=data/model.pkl"}) {
		t.Errorf("the folder gives %v", got)
	}
	if got := read(filepath.Join(dir, "data", "model.pkl")); !slices.Equal(got, []string{"model.pkl=data/model.pkl"}) {
		t.Errorf("a file gives %v", got)
	}
	if _, err := client.Artifacts(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no files") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := client.Artifacts(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}
