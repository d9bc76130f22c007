package identity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keelson/internal/access"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/identity"
	"keelson/internal/rest"
)

type world struct {
	*identity.Service
	api *rest.API
	url string
}

func newWorld(t *testing.T, d *db.DB, auth bool) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := &identity.Service{DB: d, Log: log, Now: time.Now, Auth: auth}
	s.Open()
	a := rest.New("test", s, log)
	s.Routes(a)
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	return &world{s, a, srv.URL}
}

func (w *world) call(t *testing.T, c *http.Client, method, path, token string, body any, header ...string) (int, map[string]any) {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, _ := json.Marshal(body)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, w.url+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out map[string]any
	_ = json.NewDecoder(res.Body).Decode(&out)
	return res.StatusCode, out
}

func TestSignInByLinkPasswordAndToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, true)
		link, token, made, err := w.First(context.Background())
		if err != nil || !made {
			t.Fatalf("made %v, %v", made, err)
		}
		if _, _, again, err := w.First(context.Background()); again || err != nil {
			t.Fatalf("a second first start: %v, %v", again, err)
		}
		plain := http.DefaultClient
		if code, doc := w.call(t, plain, "GET", "/api/v1/me", "", nil); code != 401 || !strings.Contains(doc["detail"].(string), "token") {
			t.Fatalf("nobody got %d %v", code, doc)
		}
		if code, me := w.call(t, plain, "GET", "/api/v1/me", token, nil); code != 200 || me["name"] != "admin" || me["auth"] != "on" {
			t.Fatalf("the first token got %d %v", code, me)
		}
		jar, _ := cookiejar.New(nil)
		browser := &http.Client{Jar: jar}
		if code, _ := w.call(t, browser, "POST", "/api/v1/session", "", map[string]string{"link": link}); code != 200 {
			t.Fatalf("the link got %d", code)
		}
		if code, _ := w.call(t, plain, "POST", "/api/v1/session", "", map[string]string{"link": link}); code != 401 {
			t.Fatalf("the link worked twice: %d", code)
		}
		if code, _ := w.call(t, browser, "GET", "/api/v1/me", "", nil); code != 200 {
			t.Fatalf("the session got %d", code)
		}
		user := map[string]any{"name": "ana", "roles": []string{access.DataScientist}, "password": "correct horse"}
		if code, doc := w.call(t, browser, "POST", "/api/v1/users", "", user); code != 201 {
			t.Fatalf("got %d %v", code, doc)
		}
		if code, _ := w.call(t, browser, "POST", "/api/v1/users", "", user); code != 409 {
			t.Fatalf("the same account twice: %d", code)
		}
		if code, doc := w.call(t, browser, "POST", "/api/v1/users", "", user, "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"); code != 403 {
			t.Fatalf("another web page got %d %v", code, doc)
		}
		for password, want := range map[string]int{"correct horse": 200, "wrong horse": 401, "": 401} {
			if code, _ := w.call(t, plain, "POST", "/api/v1/session", "", map[string]string{"name": "ana", "password": password}); code != want {
				t.Errorf("password %q got %d", password, code)
			}
		}
		if code, _ := w.call(t, browser, "DELETE", "/api/v1/session", "", nil); code != 200 {
			t.Fatal("signing out failed")
		}
		if code, _ := w.call(t, browser, "GET", "/api/v1/me", "", nil); code != 401 {
			t.Fatalf("after signing out: %d", code)
		}
	})
}

func TestTokensAreRevokedExpireAndBelongToTheirOwner(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, true)
		ctx := caller.System(context.Background(), "test")
		for name, role := range map[string]string{"ana": access.DataScientist, "bo": access.Risk} {
			if _, err := w.CreateUser(ctx, identity.User{Name: name, Roles: []string{role}}, ""); err != nil {
				t.Fatal(err)
			}
		}
		ana, _ := w.Issue(ctx, "ana", "laptop", 0)
		bo, _ := w.Issue(ctx, "bo", "laptop", 0)
		old, _ := w.Issue(ctx, "ana", "old", time.Nanosecond)
		c := http.DefaultClient
		if code, _ := w.call(t, c, "GET", "/api/v1/me", old.Token, nil); code != 401 {
			t.Errorf("an expired token got %d", code)
		}
		if code, _ := w.call(t, c, "POST", "/api/v1/tokens", ana.Token, map[string]any{"name": "x", "user": "bo"}); code != 403 {
			t.Errorf("ana made a token of bo's: %d", code)
		}
		if code, _ := w.call(t, c, "DELETE", "/api/v1/tokens/"+bo.ID, ana.Token, nil); code != 404 {
			t.Errorf("ana revoked bo's token: %d", code)
		}
		if code, _ := w.call(t, c, "POST", "/api/v1/users", ana.Token, map[string]any{"name": "eve"}); code != 403 {
			t.Errorf("a data scientist made an account: %d", code)
		}
		if code, _ := w.call(t, c, "DELETE", "/api/v1/tokens/"+ana.ID, ana.Token, nil); code != 200 {
			t.Errorf("revoking got %d", code)
		}
		if code, _ := w.call(t, c, "GET", "/api/v1/me", ana.Token, nil); code != 401 {
			t.Errorf("a revoked token got %d", code)
		}
		if code, _ := w.call(t, c, "GET", "/w/other/api/v1/me", bo.Token, nil); code != 404 {
			t.Errorf("a workspace without a role got %d", code)
		}
		if code, doc := w.call(t, c, "POST", "/api/v1/tokens", bo.Token, map[string]any{"name": "x", "colour": "red"}); code != 422 || doc["field"] != "colour" {
			t.Errorf("an unknown field got %d %v", code, doc)
		}
		if code, doc := w.call(t, c, "PUT", "/api/v1/tokens", bo.Token, nil); code != 405 {
			t.Errorf("a wrong method got %d %v", code, doc)
		}
		if names, err := w.HoldersOf(ctx, access.Risk); err != nil || len(names) != 1 || names[0] != "bo" {
			t.Errorf("got %v, %v", names, err)
		}
	})
}

func TestWithSignInOffEverybodyIsLocalAndOtherPagesAreRefused(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), false)
	code, me := w.call(t, http.DefaultClient, "GET", "/api/v1/me", "", nil)
	if code != 200 || me["name"] != "local" || me["auth"] != "off" {
		t.Fatalf("got %d %v", code, me)
	}
	for _, p := range me["permissions"].([]any) {
		if p == "approval.vote" {
			t.Fatal("local may vote")
		}
	}
	if code, _ := w.call(t, http.DefaultClient, "POST", "/api/v1/tokens", "", map[string]any{"name": "x"}, "Sec-Fetch-Site", "cross-site"); code != 403 {
		t.Fatalf("another web page got %d", code)
	}
}

func TestGuessingPasswordsIsSlowedDown(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), true)
	last := 0
	for range 12 {
		last, _ = w.call(t, http.DefaultClient, "POST", "/api/v1/session", "", map[string]string{"name": "ana", "password": "guess"})
	}
	if last != 429 {
		t.Fatalf("the twelfth guess got %d", last)
	}
}

func TestAWorkspaceIsSeenByItsMembersOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, true)
		_, admin, _, err := w.First(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		ctx := caller.System(context.Background(), "test")
		if _, err := w.CreateUser(ctx, identity.User{Name: "ana", Roles: []string{access.DataScientist}}, ""); err != nil {
			t.Fatal(err)
		}
		ana, _ := w.Issue(ctx, "ana", "laptop", 0)
		c := http.DefaultClient
		if code, _ := w.call(t, c, "POST", "/api/v1/workspaces", ana.Token, map[string]string{"name": "risk"}); code != 403 {
			t.Errorf("a data scientist made a workspace: %d", code)
		}
		if code, doc := w.call(t, c, "POST", "/api/v1/workspaces", admin, map[string]string{"name": "risk", "title": "Risk"}); code != 201 {
			t.Fatalf("got %d %v", code, doc)
		}
		if code, _ := w.call(t, c, "POST", "/api/v1/workspaces", admin, map[string]string{"name": "risk"}); code != 409 {
			t.Errorf("the same workspace twice: %d", code)
		}
		if code, _ := w.call(t, c, "GET", "/w/risk/api/v1/me", ana.Token, nil); code != 404 {
			t.Errorf("a stranger got %d", code)
		}
		if code, me := w.call(t, c, "GET", "/w/risk/api/v1/me", admin, nil); code != 200 || me["workspace"] != "risk" {
			t.Errorf("its administrator got %d %v", code, me)
		}
		if code, _ := w.call(t, c, "PATCH", "/w/risk/api/v1/users/ana", admin, map[string]any{"roles": []string{access.Auditor}}); code != 200 {
			t.Errorf("a role in it got %d", code)
		}
		if code, me := w.call(t, c, "GET", "/api/v1/me", ana.Token, nil, "X-Mlflow-Workspace", "risk"); code != 200 || me["roles"].([]any)[0] != access.Auditor {
			t.Errorf("a member got %d %v", code, me)
		}
		if code, me := w.call(t, c, "GET", "/api/v1/me", ana.Token, nil); code != 200 || me["roles"].([]any)[0] != access.DataScientist {
			t.Errorf("in the default workspace: %d %v", code, me)
		}
	})
}

func TestAPersonChangesTheirOwnPassword(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, true)
		_, admin, _, err := w.First(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		c := http.DefaultClient
		set := func(current, password string) int {
			code, _ := w.call(t, c, "POST", "/api/v1/me/password", admin, map[string]string{"current": current, "password": password})
			return code
		}
		for _, step := range []struct {
			what, current, password string
			want                    int
		}{
			{"too short", "", "short", 422},
			{"the first one needs none before it", "", "a good password", 200},
			{"the second does", "", "another password", 403},
			{"and the right one", "wrong", "another password", 403},
			{"which then changes it", "a good password", "another password", 200},
		} {
			if got := set(step.current, step.password); got != step.want {
				t.Errorf("%s: got %d", step.what, got)
			}
		}
		if code, _ := w.call(t, c, "POST", "/api/v1/session", "", map[string]string{"name": "admin", "password": "another password"}); code != 200 {
			t.Errorf("signing in with it got %d", code)
		}
	})
}
