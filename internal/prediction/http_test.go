package prediction

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/db/dbtest"
	"keelson/internal/rest"
)

// door lets everybody in as the bank's service account.
type door struct{}

func (door) Authenticate(*http.Request) (caller.Caller, error) {
	return caller.Caller{Name: "bank", Kind: caller.Service, Roles: []string{"administrator", "ml-engineer"}}, nil
}
func (door) Refused(context.Context, rest.Route, error) {}

func ask(t *testing.T, url, method, path, body string, status int, into any) {
	t.Helper()
	r, err := http.NewRequest(method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, b, status)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}

func TestTheLogOverHTTP(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	api := rest.New("test", door{}, quiet)
	s.Routes(api)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	url := server.URL

	item := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"at":"2026-02-03T04:05:06Z","version":4,"subject":"p","override":{"decision":"no"},"inputs":[{"name":"x","shape":[2],"datatype":"FP64","data":[1.5,null]}],"outputs":[{"name":"y","shape":[2],"datatype":"BYTES","data":["a","b"]}]}`, id)
	}
	var handed HandedIn
	ask(t, url, "POST", "/api/v1/predictions", `{"endpoint":"legacy","items":[`+item("k1")+`,`+item("k2")+`,`+item("k3")+`]}`, 200, &handed)
	var again HandedIn
	ask(t, url, "POST", "/api/v1/predictions", `{"endpoint":"legacy","items":[`+item("k2")+`]}`, 200, &again)
	if len(handed.IDs) != 3 || again.IDs[0] != handed.IDs[1] {
		t.Errorf("handed in %v, then %v", handed, again)
	}
	var told Recorded
	outcome := fmt.Sprintf(`{"items":[{"prediction_id":%q,"row":1,"value":true}]}`, handed.IDs[0])
	ask(t, url, "POST", "/api/v1/outcomes", outcome, 200, &told)
	if told != (Recorded{1, 0}) {
		t.Errorf("told %+v", told)
	}
	ask(t, url, "POST", "/api/v1/outcomes", outcome, 200, &told)
	if told != (Recorded{0, 1}) {
		t.Errorf("told again %+v", told)
	}
	var one View
	ask(t, url, "GET", "/api/v1/predictions/"+handed.IDs[0], "", 200, &one)
	if one.ID != handed.IDs[0] || one.Model != "legacy" || one.Version != 4 || one.Caller != "bank" || one.Slot != SlotExternal || one.Rows != 2 || one.Request != "k1" ||
		string(one.Inputs[0].Data) != "[1.5,null]" || one.Override != `{"decision":"no"}` || len(one.Outcomes) != 1 || string(one.Outcomes[0].Value) != "true" || one.Outcomes[0].Row != 1 {
		t.Errorf("one %+v", one)
	}
	var page rest.Page[View]
	ask(t, url, "GET", "/api/v1/predictions?endpoint=legacy&limit=2", "", 200, &page)
	if len(page.Items) != 2 || page.Items[0].ID != handed.IDs[2] || page.Next != handed.IDs[1] {
		t.Errorf("first page %+v", page)
	}
	var rest2 rest.Page[View]
	ask(t, url, "GET", "/api/v1/predictions?endpoint=legacy&limit=2&cursor="+page.Next, "", 200, &rest2)
	if len(rest2.Items) != 1 || rest2.Items[0].ID != handed.IDs[0] || rest2.Next != "" {
		t.Errorf("second page %+v", rest2)
	}
	ask(t, url, "GET", "/api/v1/predictions?since=2026-02-04T00:00:00Z", "", 200, &page)
	if len(page.Items) != 0 {
		t.Errorf("%d items since a day later, want none", len(page.Items))
	}
	var uses []Use
	ask(t, url, "GET", "/api/v1/models/legacy/callers?since=2026-02-01T00:00:00Z", "", 200, &uses)
	if len(uses) != 1 || uses[0].Caller != "bank" || uses[0].Calls != 3 || len(uses[0].Versions) != 1 || !uses[0].LastAt.Equal(time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)) {
		t.Errorf("callers %+v", uses)
	}
	ask(t, url, "GET", "/w/lab/api/v1/predictions", "", 200, &page)
	if len(page.Items) != 0 {
		t.Errorf("another workspace sees %d items", len(page.Items))
	}

	refused := []struct {
		name, method, path, body string
		status                   int
		field                    string
	}{
		{"an unknown prediction", "GET", "/api/v1/predictions/nobody", "", 404, ""},
		{"a cursor of somebody else", "GET", "/api/v1/predictions?cursor=x", "", 422, "cursor"},
		{"no endpoint", "POST", "/api/v1/predictions", `{"items":[` + item("q") + `]}`, 422, ""},
		{"an unknown field", "POST", "/api/v1/predictions", `{"endpoint":"x","extra":1,"items":[` + item("q") + `]}`, 422, ""},
		{"tensors that do not hold", "POST", "/api/v1/predictions", `{"endpoint":"x","items":[{"inputs":[{"name":"x","shape":[2],"datatype":"FP64","data":[1]}],"outputs":[]}]}`, 422, "items[0].inputs"},
		{"tensors that are none", "POST", "/api/v1/predictions", `{"endpoint":"x","items":[{"inputs":5}]}`, 422, "items[0].inputs"},
		{"an outcome of nobody", "POST", "/api/v1/outcomes", `{"items":[{"prediction_id":"x","row":0,"value":1}]}`, 404, ""},
		{"an outcome without value", "POST", "/api/v1/outcomes", fmt.Sprintf(`{"items":[{"prediction_id":%q,"row":0,"value":null}]}`, handed.IDs[0]), 422, "items[0].value"},
		{"another outcome than on record", "POST", "/api/v1/outcomes", fmt.Sprintf(`{"items":[{"prediction_id":%q,"row":1,"value":false}]}`, handed.IDs[0]), 409, ""},
		{"no JSON", "POST", "/api/v1/outcomes", `{`, 400, ""},
	}
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			var doc rest.Doc
			ask(t, url, c.method, c.path, c.body, c.status, &doc)
			if doc.Detail == "" || doc.Field != c.field && c.field != "" {
				t.Errorf("got %+v, want the field %q", doc, c.field)
			}
		})
	}
}

func TestFilesAreReadBackFromEveryStore(t *testing.T) {
	blobtest.Each(t, func(t *testing.T, b blob.Store) {
		ctx := context.Background()
		s := newService(t, dbtest.SQLite(t), openLog(t, t.TempDir(), nil), b)
		var want []string
		for i := range 2100 { // more than one row group
			r := record("a", i)
			if err := s.Log.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			want = append(want, r.ID)
		}
		if err := s.File(ctx); err != nil {
			t.Fatal(err)
		}
		if got := ids(scan(t, ctx, s, Query{})); !slices.Equal(got, want) {
			t.Errorf("%d records come back, want %d", len(got), len(want))
		}
		if r, err := s.Get(ctx, want[2050]); err != nil || r.Request != "2050" {
			t.Errorf("got %q, %v", r.Request, err)
		}
		if n, _, err := s.Record(ctx, []Outcome{{Prediction: want[2099], Row: 0, Value: json.RawMessage("1")}, {Prediction: want[3], Row: 1, Value: json.RawMessage("1")}}); err != nil || n != 2 {
			t.Errorf("%d outcomes are taken, %v", n, err)
		}
	})
}
