package identity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
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

// organisation is a server with two workspaces: admin administers default, eve risk. ana has a role in both, rob and the
// service account robot in risk only, cron is a service account of default, zoe has a role nowhere.
type organisation struct {
	*world
	d      *db.DB
	tokens map[string]identity.Token
}

func newOrganisation(t *testing.T, d *db.DB) *organisation {
	t.Helper()
	w := newWorld(t, d, true)
	f := rest.NewRefusals(d, slog.New(slog.NewTextHandler(io.Discard, nil)))
	srv := httptest.NewServer(f.Watch(w.api))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	t.Cleanup(func() { srv.Close(); cancel(); <-done })
	w.url = srv.URL
	o := &organisation{w, d, map[string]identity.Token{}}
	root := caller.With(context.Background(), caller.Caller{Name: "admin", Kind: caller.Person, Roles: []string{access.Administrator}})
	if _, _, _, err := w.First(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateWorkspace(root, "risk", ""); err != nil {
		t.Fatal(err)
	}
	for _, u := range []struct {
		workspace, name, kind string
		roles                 []string
	}{
		{"risk", "eve", caller.Person, []string{access.Administrator}},
		{"risk", "rob", caller.Person, []string{access.Risk}},
		{"risk", "robot", caller.Service, []string{access.Service}},
		{"default", "ana", caller.Person, []string{access.DataScientist}},
		{"default", "cron", caller.Service, []string{access.Service}},
		{"default", "zoe", caller.Person, nil},
	} {
		ctx := caller.WithWorkspace(root, u.workspace)
		if _, err := w.CreateUser(ctx, identity.User{Name: u.name, Kind: u.kind, Roles: u.roles, Email: u.name + "@example.com"}, "the password of "+u.name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.UpdateUser(caller.WithWorkspace(root, "risk"), "ana", identity.Change{Roles: &[]string{access.Auditor}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"admin", "eve", "rob", "robot", "ana", "cron", "zoe"} {
		tok, err := w.Issue(root, name, "of "+name, 0)
		if err != nil {
			t.Fatal(err)
		}
		o.tokens[name] = tok
	}
	return o
}

func (o *organisation) as(t *testing.T, who, method, path string, body any) (int, map[string]any) {
	t.Helper()
	return o.call(t, http.DefaultClient, method, path, o.tokens[who].Token, body)
}

// audited waits up to 10 s for an entry of a workspace whose detail holds some text.
func (o *organisation) audited(t *testing.T, workspace, action, text string) bool {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		var n int
		if err := o.d.Read(context.Background(), func(tx db.Scope) error {
			return tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = $2 AND detail LIKE $3", workspace, action, "%"+text+"%").Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return true
		}
	}
	return false
}

func TestAnAdministratorOfAWorkspaceActsOnItsOwnAccountsOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOrganisation(t, d)
		password := map[string]any{"password": "a stolen password"}
		for _, x := range []struct {
			what, who, method, path string
			body                    any
			want                    int
		}{
			{"a password of somebody elsewhere", "eve", "PATCH", "/w/risk/api/v1/users/admin", password, 403},
			{"a password of somebody who is in both", "eve", "PATCH", "/w/risk/api/v1/users/ana", password, 403},
			{"a password of somebody who is nowhere", "eve", "PATCH", "/w/risk/api/v1/users/zoe", password, 403},
			{"an address of somebody elsewhere, for a link by mail", "eve", "PATCH", "/w/risk/api/v1/users/admin", map[string]any{"email": "eve@example.com"}, 403},
			{"a name to be taken for", "eve", "PATCH", "/w/risk/api/v1/users/ana", map[string]any{"display": "Eve"}, 403},
			{"shutting somebody out elsewhere", "eve", "PATCH", "/w/risk/api/v1/users/admin", map[string]any{"disabled": true}, 403},
			{"a password with a role that is given with it", "eve", "PATCH", "/w/risk/api/v1/users/admin", map[string]any{"roles": []string{access.Auditor}, "password": "a stolen password"}, 403},
			{"taking in who belongs nowhere", "eve", "PATCH", "/w/risk/api/v1/users/zoe", map[string]any{"roles": []string{access.Auditor}}, 403},
			{"a link of somebody elsewhere", "eve", "POST", "/w/risk/api/v1/users/admin/link", nil, 403},
			{"a link of somebody who is in both", "eve", "POST", "/w/risk/api/v1/users/ana/link", nil, 403},
			{"a token of a service account elsewhere", "eve", "POST", "/w/risk/api/v1/tokens", map[string]any{"name": "x", "user": "cron"}, 403},
			{"revoking a token of somebody elsewhere", "eve", "DELETE", "/w/risk/api/v1/tokens/" + o.tokens["admin"].ID, nil, 404},
			{"an account that belongs nowhere", "eve", "POST", "/w/risk/api/v1/users", map[string]any{"name": "mole"}, 422},
			{"the default workspace", "eve", "PATCH", "/api/v1/users/ana", password, 403},

			{"a role here for somebody elsewhere", "eve", "PATCH", "/w/risk/api/v1/users/cron", map[string]any{"roles": []string{access.Service}}, 200},
			{"which does not make the account hers", "eve", "POST", "/w/risk/api/v1/tokens", map[string]any{"name": "x", "user": "cron"}, 403},
			{"a password of somebody who is here only", "eve", "PATCH", "/w/risk/api/v1/users/rob", password, 200},
			{"a link of somebody who is here only", "eve", "POST", "/w/risk/api/v1/users/rob/link", nil, 200},
			{"a token of a service account that is here only", "eve", "POST", "/w/risk/api/v1/tokens", map[string]any{"name": "x", "user": "robot"}, 201},
			{"revoking a token of somebody who is here only", "eve", "DELETE", "/w/risk/api/v1/tokens/" + o.tokens["rob"].ID, nil, 200},
			{"her own name", "eve", "PATCH", "/w/risk/api/v1/users/eve", map[string]any{"display": "Eve"}, 200},

			{"the installation's administrator, an account in both", "admin", "PATCH", "/api/v1/users/ana", map[string]any{"display": "Ana"}, 200},
			{"the same from the other workspace", "admin", "PATCH", "/w/risk/api/v1/users/ana", map[string]any{"display": "Ana"}, 200},
			{"one who belongs nowhere", "admin", "POST", "/api/v1/users/zoe/link", nil, 200},
		} {
			code, doc := o.as(t, x.who, x.method, x.path, x.body)
			if code != x.want {
				t.Errorf("%s: got %d %v", x.what, code, doc)
			}
			if doc["name"] == "cron" && doc["email"] != "" {
				t.Errorf("%s told the address %v", x.what, doc["email"])
			}
		}
		if code, _ := o.call(t, http.DefaultClient, "POST", "/api/v1/session", "", map[string]string{"name": "admin", "password": "a stolen password"}); code != 401 {
			t.Errorf("signing in as the administrator got %d", code)
		}
		if !o.audited(t, "risk", "request.refused", "foreign-account") {
			t.Error("the refusals are not in the audit log")
		}
	})
}

func TestListsShowWhatBelongsToTheWorkspace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOrganisation(t, d)
		list := func(who, path, field string) string {
			t.Helper()
			code, doc := o.as(t, who, "GET", path, nil)
			if code != 200 {
				t.Fatalf("%s as %s got %d %v", path, who, code, doc)
			}
			var out []string
			for _, x := range doc["items"].([]any) {
				if v := x.(map[string]any)[field].(string); v != "" {
					out = append(out, v)
				}
			}
			slices.Sort(out)
			return strings.Join(out, " ")
		}
		for _, x := range []struct{ what, who, path, field, want string }{
			{"tokens of a workspace", "eve", "/w/risk/api/v1/tokens", "owner", "eve rob robot"},
			{"tokens of a member", "ana", "/w/risk/api/v1/tokens", "owner", "ana"},
			{"tokens of the installation", "admin", "/api/v1/tokens", "owner", "admin admin ana cron eve rob robot zoe"},
			{"accounts of a workspace", "eve", "/w/risk/api/v1/users", "name", "admin ana eve rob robot"},
			{"addresses of a workspace", "eve", "/w/risk/api/v1/users", "email", "eve@example.com rob@example.com robot@example.com"},
			{"accounts of the installation", "admin", "/api/v1/users", "name", "admin ana cron eve rob robot zoe"},
			{"accounts of the default workspace", "ana", "/api/v1/users", "name", "admin ana cron"},
			{"addresses for who administers nothing", "ana", "/api/v1/users", "email", "ana@example.com"},
		} {
			if got := list(x.who, x.path, x.field); got != x.want {
				t.Errorf("%s: got %s, want %s", x.what, got, x.want)
			}
		}
	})
}

func TestAPasswordOrLinkByAnotherEndsSessionsAndIsSeen(t *testing.T) {
	for _, act := range []string{"password", "link"} {
		t.Run(act, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				o := newOrganisation(t, d)
				jar, _ := cookiejar.New(nil)
				browser := &http.Client{Jar: jar}
				if code, _ := o.call(t, browser, "POST", "/w/risk/api/v1/session", "", map[string]string{"name": "rob", "password": "the password of rob"}); code != 200 {
					t.Fatalf("signing in got %d", code)
				}
				if code, me := o.call(t, browser, "GET", "/w/risk/api/v1/me", "", nil); code != 200 || me["handled"] != nil {
					t.Fatalf("before: %d %v", code, me)
				}
				old, link := map[string]any(nil), map[string]any(nil)
				if act == "password" {
					_, old = o.as(t, "admin", "POST", "/w/risk/api/v1/users/rob/link", nil)
					if code, _ := o.as(t, "eve", "PATCH", "/w/risk/api/v1/users/rob", map[string]any{"password": "chosen by another"}); code != 200 {
						t.Fatal(code)
					}
					if code, _ := o.call(t, browser, "POST", "/api/v1/session", "", map[string]any{"link": old["link"]}); code != 401 {
						t.Errorf("a link from before got %d", code)
					}
				} else if _, link = o.as(t, "eve", "POST", "/w/risk/api/v1/users/rob/link", nil); link["link"] == nil {
					t.Fatal(link)
				}
				if code, _ := o.call(t, browser, "GET", "/w/risk/api/v1/me", "", nil); code != 401 {
					t.Errorf("the session goes on: %d", code)
				}
				code, me := o.as(t, "rob", "GET", "/w/risk/api/v1/me", nil)
				first, _ := json.Marshal(me["handled"])
				if code != 200 || !strings.Contains(string(first), fmt.Sprintf(`[{"act":%q`, act)) || !strings.Contains(string(first), `"by":"eve"`) {
					t.Errorf("rob sees %d %s", code, first)
				}
				seen := func(who, until string) bool {
					t.Helper()
					if code, doc := o.as(t, who, "POST", "/w/risk/api/v1/me/handled/seen", map[string]any{"until": until}); code != 200 {
						t.Fatalf("%d %v", code, doc)
					}
					_, me := o.as(t, "rob", "GET", "/w/risk/api/v1/me", nil)
					list := me["handled"].([]any)
					return list[0].(map[string]any)["seen"].(bool)
				}
				newest := me["handled"].([]any)[0].(map[string]any)["at"].(string)
				if seen("eve", newest) || seen("rob", "2020-01-01T00:00:00Z") {
					t.Error("it is taken for known when another says so, or of an earlier one")
				}
				if !seen("rob", newest) {
					t.Error("rob knows of it, and is told again")
				}
				if !o.audited(t, "risk", "account.handling-seen", "acts") {
					t.Error("that it is known is not in the audit log")
				}
				want := map[string]string{"password": "account.changed", "link": "link.created"}[act]
				if !o.audited(t, "risk", want, act) && !o.audited(t, "risk", want, "rob") {
					t.Errorf("%s is not in the audit log", want)
				}
			})
		})
	}
}

func TestChangingOnesPasswordEndsOnesOtherSessions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOrganisation(t, d)
		var browsers []*http.Client
		for range 2 {
			jar, _ := cookiejar.New(nil)
			browsers = append(browsers, &http.Client{Jar: jar})
			if code, _ := o.call(t, browsers[len(browsers)-1], "POST", "/api/v1/session", "", map[string]string{"name": "ana", "password": "the password of ana"}); code != 200 {
				t.Fatalf("signing in got %d", code)
			}
		}
		if code, doc := o.call(t, browsers[0], "POST", "/api/v1/me/password", "", map[string]string{"current": "the password of ana", "password": "a fresh password"}); code != 200 {
			t.Fatalf("got %d %v", code, doc)
		}
		if code, _ := o.call(t, browsers[0], "GET", "/api/v1/me", "", nil); code != 200 {
			t.Errorf("the browser it was changed in got %d", code)
		}
		if code, _ := o.call(t, browsers[1], "GET", "/api/v1/me", "", nil); code != 401 {
			t.Errorf("the other one got %d", code)
		}
	})
}

func TestNamesThatAreMadeUpAreOneEntry(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOrganisation(t, d)
		for i := range 5 {
			if code, _ := o.call(t, http.DefaultClient, "POST", fmt.Sprintf("/w/made-up-%d/api/v1/session", i), "", map[string]string{"name": fmt.Sprint("guess-", i), "password": "x"}); code != 401 {
				t.Fatal(code)
			}
		}
		if code, _ := o.call(t, http.DefaultClient, "POST", "/w/made-up/api/v1/session", "", map[string]string{"name": "ana", "password": "the password of ana"}); code != 200 {
			t.Fatal(code)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := o.Run(ctx); err != nil { // writes what it counted and ends
			t.Fatal(err)
		}
		var entries, elsewhere int
		if err := d.Read(context.Background(), func(tx db.Scope) error {
			if err := tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE action = 'access.refused'").Scan(&entries); err != nil {
				return err
			}
			return tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE workspace LIKE 'made-up%'").Scan(&elsewhere)
		}); err != nil {
			t.Fatal(err)
		}
		if entries != 1 || elsewhere != 0 || !o.audited(t, "default", "access.refused", `"names":5`) {
			t.Errorf("%d entries, %d in workspaces that are not there", entries, elsewhere)
		}
	})
}
