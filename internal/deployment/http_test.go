package deployment

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/rest"
	"keelson/internal/usecase"
)

// door signs in whoever the header names: "rita risk-compliance".
type door struct{}

func (door) Authenticate(r *http.Request) (caller.Caller, error) {
	name, role, _ := strings.Cut(r.Header.Get("X-Who"), " ")
	return caller.Caller{Name: name, Kind: caller.Person, Roles: []string{role}}, nil
}
func (door) Refused(context.Context, rest.Route, error) {}

func TestTheStoryOverHTTP(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		api := rest.New("test", door{}, slog.New(slog.DiscardHandler))
		for _, n := range []interface{ Routes(*rest.API) }{b.Policies, b.Approvals, b.Incidents, b.Service, &usecase.Service{DB: d, Log: b.Log, Now: b.Now}} {
			n.Routes(api)
		}
		const (
			ada  = "ada data-scientist"
			rita = "rita risk-compliance"
			olga = "olga business-owner"
			otto = "otto it-operations"
			root = "root administrator"
		)
		for i, c := range []struct {
			who, method, path, body string
			status                  int
			want                    string // part of the answer
		}{
			{ada, "GET", "/api/v1/environments", "", 200, `"auto_approve":true`},
			{ada, "GET", "/api/v1/policies/prod", "", 200, `"text":"prod, version 1: Four eyes`},
			{ada, "PUT", "/api/v1/policies/prod", `{"title":"x","rules":[],"approvals":"{'count': 0}"}`, 403, "policy.write"},
			{rita, "PUT", "/api/v1/policies/prod", `{"title":"x","rules":[{"id":"r","require":"versoin","message":"m"}],"approvals":"{'count': 2}"}`, 422, `"field":"rules[0].require"`},
			{rita, "POST", "/api/v1/policies/prod/try", `{"title":"x","rules":[],"approvals":"{'count': 2}"}`, 200, `"requests":0`},
			{ada, "POST", "/api/v1/approvals", `{"model":"screening","version":9,"environment":"prod","reason":"r"}`, 404, "screening/9"},
			{ada, "POST", "/api/v1/approvals", `{"model":"screening","version":1,"environment":"prod","reason":"r","plan":{"mode":"canary","steps":[{"share":10}]}}`, 422, `"field":"plan.mode"`},
			{ada, "POST", "/api/v1/approvals", `{"model":"screening","version":"one","environment":"prod","reason":"r"}`, 422, `version`},
			{ada, "POST", "/api/v1/approvals", `{"model":"screening","version":1,"environment":"prod","reason":"r","surprise":1}`, 422, `surprise`},
			{ada, "POST", "/api/v1/approvals", `{"model":`, 400, `problem`},
			{ada, "POST", "/api/v1/approvals", `{"model":"screening","version":1,"environment":"prod","reason":"first"}`, 201, `"state":"open"`},
			{ada, "POST", "/api/v1/approvals", `{"model":"screening","version":1,"environment":"prod","reason":"first"}`, 409, `Request 1 asks for the same`},
			{ada, "GET", "/api/v1/approvals/1", "", 200, `"may_vote":false,"why":"ada opened request 1`},
			{rita, "GET", "/api/v1/approvals?mine=true&state=open", "", 200, `"number":1`},
			{ada, "GET", "/api/v1/approvals?state=dreaming", "", 422, "state"},
			{ada, "POST", "/api/v1/approvals/1/votes", `{"grant":true,"reason":"mine"}`, 403, "may"},
			{root, "POST", "/api/v1/approvals/1/votes", `{"grant":true,"reason":"mine"}`, 403, "risk-compliance"},
			{rita, "POST", "/api/v1/approvals/1/votes", `{"grant":true,"reason":""}`, 422, "reason"},
			{rita, "POST", "/api/v1/approvals/1/votes", `{"grant":true,"reason":"fine"}`, 200, `"missing":["a vote by business-owner"]`},
			{rita, "POST", "/api/v1/approvals/1/votes", `{"grant":true,"reason":"fine"}`, 409, "already voted"},
			{otto, "POST", "/api/v1/deployments", `{"request":"1"}`, 409, "waits for a vote by business-owner"},
			{olga, "POST", "/api/v1/approvals/1/comments", `{"text":"who reads this?"}`, 201, "who reads this?"},
			{ada, "GET", "/api/v1/approvals/1/comments", "", 200, "who reads this?"},
			{olga, "GET", "/api/v1/approvals/1/changes", "", 200, `"from":null`},
			{olga, "POST", "/api/v1/approvals/1/votes", `{"grant":true,"reason":"fine"}`, 200, `"state":"approved"`},
			{ada, "POST", "/api/v1/deployments", `{"request":"1"}`, 403, "deployment.operate"},
			{otto, "POST", "/api/v1/deployments", `{"request":"1"}`, 201, `"state":"live"`},
			{otto, "GET", "/api/v1/deployments/screening", "", 200, `"url":"/v2/models/screening/infer"`},
			{otto, "GET", "/api/v1/deployments", "", 200, `"endpoint":"screening"`},
			{otto, "GET", "/api/v1/deployments/nothing", "", 404, "Nothing is deployed at nothing."},
			{otto, "POST", "/api/v1/deployments/screening/rollback", `{"reason":"x"}`, 409, "no approved version before"},
			{otto, "POST", "/api/v1/deployments/screening/advance", `{"reason":"x"}`, 409, "nothing to advance"},
			{otto, "POST", "/api/v1/deployments/screening/suspend", `{}`, 422, "reason"},
			{otto, "POST", "/api/v1/deployments/screening/suspend", `{"reason":"x"}`, 200, `"state":"suspended"`},
			{otto, "POST", "/api/v1/deployments/screening/resume", `{"reason":"x"}`, 200, `"state":"live"`},
			{ada, "POST", "/api/v1/approvals/1/withdraw", `{"reason":"x"}`, 409, "already executed"},
			{rita, "GET", "/api/v1/incidents?state=open", "", 200, `"kind":"deployment.review"`},
			{otto, "POST", "/api/v1/incidents/{incident}/ack", `{"reason":"on it"}`, 200, `"owner":"otto"`},
			{otto, "POST", "/api/v1/incidents/{incident}/close", `{"reason":"fine"}`, 403, "somebody else closes the review"},
			{ada, "POST", "/api/v1/incidents/{incident}/close", `{"reason":"steam only"}`, 200, `"state":"closed"`},
			{ada, "POST", "/api/v1/usecases", `{"name":"screening"}`, 403, "usecase.write"},
			{olga, "POST", "/api/v1/usecases", `{"name":"screening","purpose":"find tumours","goal":{"kpi":"found","target":97,"unit":"%","due":"2027-06-30"},"models":["screening"]}`, 201, `"missing":["owner","accountable","responsible"]`},
			{olga, "POST", "/api/v1/usecases", `{"name":"screening"}`, 409, "already"},
			{olga, "PATCH", "/api/v1/usecases/screening", `{"owner":"olga"}`, 200, `"missing":["accountable","responsible"]`},
			{olga, "PATCH", "/api/v1/usecases/screening", `{"goal":{"due":"soon"}}`, 422, `"field":"goal.due"`},
			{olga, "PATCH", "/api/v1/usecases/none", `{"owner":"olga"}`, 404, "no use case none"},
			{ada, "GET", "/api/v1/usecases", "", 200, `"purpose":"find tumours"`},
			{rita, "GET", "/api/v1/incidents/none", "", 404, "no incident none"},
			{rita, "GET", "/api/v1/approvals/none", "", 404, "no change request none"},
			{"", "GET", "/api/v1/approvals", "", 401, "Sign in"},
		} {
			if strings.Contains(c.path, "{incident}") {
				list, err := b.Incidents.List(context.Background(), "", "screening", "", 1)
				if err != nil || len(list) != 1 {
					t.Fatalf("%+v %v", list, err)
				}
				c.path = strings.Replace(c.path, "{incident}", list[0].ID, 1)
			}
			req := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			req.Header.Set("X-Who", c.who)
			if c.body != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			w := httptest.NewRecorder()
			api.ServeHTTP(w, req)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Fatalf("%d. %s %s as %s: %d %s, wanted %d with %q", i+1, c.method, c.path, c.who, w.Code, w.Body, c.status, c.want)
			}
			if w.Code < 300 && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s %s gave no JSON", c.method, c.path)
			}
		}
	})
}
