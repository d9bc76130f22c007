package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/seal"
)

var who = caller.Caller{ID: "u", Name: "mara", Kind: caller.Person, Roles: []string{"ml-engineer"}}

// world is a webhook service that may call loopback, and a receiver there.
type world struct {
	*Service
	t        *testing.T
	ctx      context.Context
	receiver *httptest.Server

	mu     sync.Mutex
	got    []received
	answer func(n int, w http.ResponseWriter) // nil: 200
	more   chan struct{}
}

type received struct {
	header http.Header
	body   []byte
}

func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := &world{t: t, ctx: caller.With(context.Background(), who), more: make(chan struct{}, 100)}
		w.receiver = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.mu.Lock()
			w.got = append(w.got, received{r.Header.Clone(), b})
			n, answer := len(w.got), w.answer
			w.mu.Unlock()
			if answer != nil {
				answer(n, rw)
			}
			w.more <- struct{}{}
		}))
		t.Cleanup(w.receiver.Close)
		rules, err := outbound.Parse([]string{"127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		client := outbound.New(outbound.Options{Rules: rules})
		t.Cleanup(client.Close)
		w.Service = &Service{DB: d, Key: seal.FromSeed(make([]byte, 32)), Calls: client, Formats: []Format{CloudEvents{}}, Log: slog.New(slog.DiscardHandler),
			Now: time.Now, Pauses: []time.Duration{time.Hour, time.Hour}}
		fn(w)
	})
}

func (w *world) add(events ...string) Webhook {
	w.t.Helper()
	h, err := w.Create(w.ctx, Webhook{Name: "ci", URL: w.receiver.URL + "/hook", Format: "cloudevents", Events: events})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// hear hands in an event of now.
func (w *world) hear(id, typ string) {
	w.t.Helper()
	e := event.Event{ID: id, Seq: 7, Type: typ, Subject: "model/credit/3", Workspace: "default", Actor: "ada", At: time.Now(), Data: json.RawMessage(`{"model":"credit"}`)}
	if err := w.Hear(event.Caused(w.ctx, e, "webhook"), e); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) log(id string) []Delivery {
	w.t.Helper()
	list, err := w.Deliveries(w.ctx, id, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// attempt makes one attempt at a delivery as its job does.
func (w *world) attempt(id string, n int) {
	w.t.Helper()
	b, _ := json.Marshal(args{id, n})
	if err := w.deliver(w.ctx, job.Job{Kind: deliverKind, Args: b}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) acts(action string) (n int) {
	w.t.Helper()
	if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
		return tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = $2", tx.Workspace, action).Scan(&n)
	}); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) jobs() (n int) {
	w.t.Helper()
	if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
		return tx.QueryRow("SELECT COUNT(*) FROM river_job WHERE kind = '" + deliverKind + "'").Scan(&n)
	}); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestAnEventIsSentOnceSignedAsTheStandardSays(t *testing.T) {
	each(t, func(w *world) {
		h := w.add("inventory.*", "approval.settled")
		if !strings.HasPrefix(h.Secret, "whsec_") {
			t.Fatalf("the secret is not shown: %+v", h)
		}
		w.hear("e1", "inventory.version.ready")
		w.hear("e1", "inventory.version.ready") // delivered twice by the bus
		w.hear("e2", "deployment.released")     // not wanted
		list := w.log(h.ID)
		if len(list) != 1 || list[0].State != Pending || w.jobs() != 1 {
			t.Fatalf("%+v, %d jobs", list, w.jobs())
		}
		id := list[0].ID
		w.attempt(id, 1)
		w.attempt(id, 1) // the job ran twice
		if len(w.got) != 1 {
			t.Fatalf("it was sent %d times", len(w.got))
		}
		d := w.log(h.ID)[0]
		if d.State != Delivered || d.Attempts != 1 || d.Status != 200 || d.NextAt != nil || d.LastAt == nil || d.Error != "" {
			t.Errorf("%+v", d)
		}
		r := w.got[0]
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(h.Secret, "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		if r.header.Get("webhook-id") != id || r.header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" ||
			r.header.Get("webhook-signature") != Signature(key, id, r.header.Get("webhook-timestamp"), r.body) {
			t.Errorf("headers %v", r.header)
		}
		var ce map[string]any
		if err := json.Unmarshal(r.body, &ce); err != nil {
			t.Fatal(err)
		}
		for k, want := range map[string]string{"specversion": "1.0", "id": "e1", "source": "/w/default", "type": "keelson.inventory.version.ready", "subject": "model/credit/3",
			"workspace": "default", "actor": "ada", "sequence": "7", "data": "map[model:credit]"} {
			if got := fmt.Sprint(ce[k]); got != want {
				t.Errorf("%s is %s, want %s", k, got, want)
			}
		}
	})
}

func TestTheSignatureIsThatOfThePublishedExample(t *testing.T) {
	// The values stand in the documentation of Standard Webhooks' libraries.
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAReceiverThatFailsIsAskedAgainUntilTheScheduleEnds(t *testing.T) {
	each(t, func(w *world) {
		h := w.add("*")
		w.answer = func(n int, rw http.ResponseWriter) {
			if n == 1 {
				rw.Header().Set("Retry-After", "7200")
			}
			rw.WriteHeader(503)
		}
		w.hear("e1", "approval.settled")
		id := w.log(h.ID)[0].ID
		w.attempt(id, 1)
		d := w.log(h.ID)[0]
		if d.State != Pending || d.Attempts != 1 || d.Status != 503 || d.Error != "It answered 503." || d.NextAt == nil || d.NextAt.Sub(*d.LastAt) != 2*time.Hour {
			t.Errorf("after one attempt: %+v", d)
		}
		w.attempt(id, 2)
		if d = w.log(h.ID)[0]; d.NextAt == nil || d.NextAt.Sub(*d.LastAt) != time.Hour {
			t.Errorf("after two attempts: %+v", d)
		}
		w.attempt(id, 3)
		if d = w.log(h.ID)[0]; d.State != Failed || d.Attempts != 3 || d.NextAt != nil {
			t.Errorf("after the last attempt: %+v", d)
		}
		w.attempt(id, 4)
		if len(w.got) != 3 {
			t.Errorf("it was sent %d times", len(w.got))
		}
		if a, b := w.got[0].header.Get("webhook-id"), w.got[2].header.Get("webhook-id"); a != b || string(w.got[0].body) != string(w.got[2].body) {
			t.Errorf("the attempts differ: %s and %s", a, b)
		}
	})
}

func TestAnswersThatAreNoSuccess(t *testing.T) {
	each(t, func(w *world) {
		h := w.add("*")
		w.answer = func(n int, rw http.ResponseWriter) {
			switch n {
			case 1:
				rw.Header().Set("Location", "http://169.254.169.254/latest/meta-data")
				rw.WriteHeader(302)
			case 2:
				rw.WriteHeader(410)
			}
		}
		w.hear("e1", "a.b")
		w.attempt(w.log(h.ID)[0].ID, 1)
		if d := w.log(h.ID)[0]; d.State != Pending || d.Status != 302 || !strings.Contains(d.Error, "redirect") || len(w.got) != 1 {
			t.Errorf("a redirect: %+v, %d calls", d, len(w.got))
		}
		w.hear("e2", "a.b")
		w.attempt(w.log(h.ID)[0].ID, 1)
		got, err := w.Get(w.ctx, h.ID)
		if err != nil || got.Status != Disabled || !strings.Contains(got.Reason, "410") {
			t.Errorf("gone: %+v %v", got, err)
		}
		w.attempt(w.log(h.ID)[1].ID, 2) // of the first one: the webhook is disabled now
		if d := w.log(h.ID)[1]; d.State != Failed || d.Error != errDisabled.Detail || len(w.got) != 2 {
			t.Errorf("%+v, %d calls", d, len(w.got))
		}
		w.hear("e3", "a.b")
		missed := event.Event{ID: "e4", Type: "a.b", Workspace: "default", At: time.Now(), Data: json.RawMessage("{}")}
		on := Active
		if got, err = w.Update(w.ctx, h.ID, Change{Status: &on}); err != nil || got.Reason != "" {
			t.Errorf("%+v %v", got, err)
		}
		if err := w.Hear(w.ctx, missed); err != nil { // the bus comes to it only now
			t.Fatal(err)
		}
		if n := len(w.log(h.ID)); n != 2 {
			t.Errorf("%d deliveries: one is of what happened while the webhook was disabled", n)
		}
	})
}

func TestAnAddressInsideIsRefusedWithAnEntryInTheHistory(t *testing.T) {
	each(t, func(w *world) {
		for _, u := range []string{"http://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "https://[::1]/", "https://2130706433/", "http://hooks.example.com/", "file:///etc/passwd"} {
			if _, err := w.Create(w.ctx, Webhook{Name: "x", URL: u, Format: "cloudevents", Events: []string{"*"}}); !problem.Is(err, problem.Invalid) {
				t.Errorf("%s: %v", u, err)
			}
		}
		h := w.add("*")
		inside := "https://127.0.0.2/secret-token"
		if _, err := w.Update(w.ctx, h.ID, Change{URL: &inside}); !problem.Is(err, problem.Invalid) {
			t.Errorf("changed to an address inside: %v", err)
		}
		if n := w.acts("webhook.refused"); n != 7 {
			t.Errorf("%d entries", n)
		}
		// What was allowed when it was made may be refused when it is called: the rules or the name changed.
		w.hear("e1", "a.b")
		strict := outbound.New(outbound.Options{})
		defer strict.Close()
		w.Calls = strict
		w.attempt(w.log(h.ID)[0].ID, 1)
		if d := w.log(h.ID)[0]; d.State != Failed || d.Attempts != 1 || w.acts("webhook.refused") != 8 || len(w.got) != 0 {
			t.Errorf("%+v, %d entries, %d calls", d, w.acts("webhook.refused"), len(w.got))
		}
		if r, err := w.Test(w.ctx, h.ID, ""); err != nil || r.Success || r.Status != 0 || r.Error == "" || w.acts("webhook.refused") != 9 {
			t.Errorf("tested: %+v %v", r, err)
		}
	})
}

func TestATestSaysWhatCameBackButNotItsText(t *testing.T) {
	each(t, func(w *world) {
		h := w.add("approval.*")
		w.answer = func(n int, rw http.ResponseWriter) {
			if n == 2 {
				rw.WriteHeader(500)
			}
			fmt.Fprint(rw, "the-secret-of-a-neighbour")
		}
		r, err := w.Test(w.ctx, h.ID, "")
		if err != nil || !r.Success || r.Status != 200 || strings.Contains(fmt.Sprint(r), "neighbour") {
			t.Errorf("%+v %v", r, err)
		}
		if r, err = w.Test(w.ctx, h.ID, ""); err != nil || r.Success || r.Status != 500 || strings.Contains(fmt.Sprint(r), "neighbour") {
			t.Errorf("%+v %v", r, err)
		}
		if !strings.Contains(string(w.got[0].body), `"keelson.webhook.tested"`) || w.acts(Tested) != 2 {
			t.Errorf("%s", w.got[0].body)
		}
		w.receiver.Close()
		if r, err = w.Test(w.ctx, h.ID, ""); err != nil || r.Success || r.Status != 0 || r.Error == "" {
			t.Errorf("nobody listens: %+v %v", r, err)
		}
	})
}

func TestWebhooksAreCheckedKeptAndHidden(t *testing.T) {
	each(t, func(w *world) {
		good := Webhook{Name: "ci", URL: w.receiver.URL, Format: "cloudevents", Events: []string{"*"}}
		for _, c := range []struct {
			name, field string
			change      func(*Webhook)
		}{
			{"no name", "name", func(x *Webhook) { x.Name = "" }},
			{"a name with a space", "name", func(x *Webhook) { x.Name = "a b" }},
			{"a name of 64 characters", "name", func(x *Webhook) { x.Name = strings.Repeat("a", 64) }},
			{"no event", "events", func(x *Webhook) { x.Events = nil }},
			{"an event that is no type", "events", func(x *Webhook) { x.Events = []string{"[a"} }},
			{"an unknown format", "format", func(x *Webhook) { x.Format = "xml" }},
			{"an unknown status", "status", func(x *Webhook) { x.Status = "asleep" }},
			{"a short secret", "secret", func(x *Webhook) { x.Secret = "whsec_YWJj" }},
			{"a secret of another kind", "secret", func(x *Webhook) { x.Secret = "hunter2" }},
			{"a long description", "description", func(x *Webhook) { x.Description = strings.Repeat("ä", maxText+1) }},
		} {
			x := good
			c.change(&x)
			_, err := w.Create(w.ctx, x)
			if p, ok := problem.As(err); !ok || p.Kind != problem.Invalid || p.Field != c.field {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		h := w.add("approval.*", "approval.*")
		if len(h.Events) != 1 {
			t.Errorf("events %v", h.Events)
		}
		var stored string
		if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
			return tx.QueryRow("SELECT secret FROM webhook WHERE workspace = $1 AND id = $2", tx.Workspace, h.ID).Scan(&stored)
		}); err != nil || stored == "" || strings.Contains(stored, strings.TrimPrefix(h.Secret, "whsec_")) {
			t.Errorf("stored as %q, %v", stored, err)
		}
		again, err := w.Get(w.ctx, h.ID)
		if err != nil || again.Secret != "" || !again.Signed {
			t.Errorf("%+v %v", again, err)
		}
		off, empty := Disabled, ""
		changed, err := w.Update(w.ctx, h.ID, Change{Status: &off, Secret: &empty, Events: []string{"*"}})
		if err != nil || changed.Status != Disabled || changed.Secret == "" || changed.Secret == h.Secret || changed.Events[0] != "*" || changed.Name != "ci" {
			t.Errorf("%+v %v", changed, err)
		}
		elsewhere := caller.WithWorkspace(w.ctx, "elsewhere")
		if _, err := w.Get(elsewhere, h.ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("another workspace: %v", err)
		}
		if err := w.Delete(elsewhere, h.ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("deleted from another workspace: %v", err)
		}
		if err := w.Delete(w.ctx, h.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Get(w.ctx, h.ID); !problem.Is(err, problem.NotFound) || w.acts(Created) != 1 || w.acts(Changed) != 1 || w.acts(Deleted) != 1 {
			t.Errorf("%v", err)
		}
		var entries []string
		if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
			return tx.Each("SELECT detail FROM audit_entry WHERE workspace = $1", []any{tx.Workspace}, func(scan func(...any) error) error {
				var d string
				err := scan(&d)
				entries = append(entries, d)
				return err
			})
		}); err != nil || strings.Contains(strings.Join(entries, ""), "whsec_") || strings.Contains(strings.Join(entries, ""), "/hook") {
			t.Errorf("the history tells a secret or the path of an address: %v %v", entries, err)
		}
	})
}

func TestTheLogOfAWebhookIsBounded(t *testing.T) {
	each(t, func(w *world) {
		h := w.add("*")
		if err := w.DB.Write(w.ctx, func(tx db.Scope) error {
			for i := range 10 {
				d := Delivery{ID: db.NewID(), Webhook: h.ID, Event: fmt.Sprint("e", i), Type: "a.b", CreatedAt: time.Now(), body: "{}"}
				if _, err := addDelivery(tx, d); err != nil {
					return err
				}
				if d.State = Delivered; i == 0 {
					d.State = Pending
				}
				if err := putDelivery(tx, d); err != nil {
					return err
				}
			}
			return prune(tx, h.ID, 4)
		}); err != nil {
			t.Fatal(err)
		}
		list := w.log(h.ID)
		if len(list) != 5 || list[0].Event != "e9" || list[4].Event != "e0" {
			t.Errorf("%d are left: %+v", len(list), list)
		}
	})
}

// TestFromTheActToTheReceiver runs the bus and the jobs: an event published in a transaction reaches the receiver.
func TestFromTheActToTheReceiver(t *testing.T) {
	each(t, func(w *world) {
		h := w.add("dataset.*")
		bus := &event.Bus{DB: w.DB, Log: w.Log, Node: "n1", Poll: 10 * time.Millisecond}
		bus.On("webhook", "*", w.Hear)
		runner := &job.Runner{DB: w.DB, Log: w.Log, Node: "n1", Queues: map[string]int{Queue: 2}}
		w.Jobs(runner)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = bus.Run(ctx, true) })
		wg.Go(func() { _ = runner.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		if err := w.DB.Write(w.ctx, func(tx db.Scope) error {
			return event.Publish(tx, "dataset.imported", "dataset/loans", map[string]any{"version": 4})
		}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.more:
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing came: %+v", w.log(h.ID))
		}
		deadline := time.Now().Add(10 * time.Second)
		for w.log(h.ID)[0].State != Delivered {
			if time.Now().After(deadline) {
				t.Fatalf("%+v", w.log(h.ID))
			}
		}
		if !strings.Contains(string(w.got[0].body), `"keelson.dataset.imported"`) {
			t.Errorf("%s", w.got[0].body)
		}
	})
}

type gate struct{}

func (gate) Authenticate(*http.Request) (caller.Caller, error) { return who, nil }
func (gate) Refused(context.Context, rest.Route, error)        {}

func TestTheRoutes(t *testing.T) {
	each(t, func(w *world) {
		api := rest.New("test", gate{}, slog.New(slog.DiscardHandler))
		w.Routes(api)
		server := httptest.NewServer(api)
		defer server.Close()
		call := func(method, path, body string, into any) int {
			t.Helper()
			req, err := http.NewRequest(method, server.URL+"/api/v1/webhooks"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err == nil && into != nil {
				err = json.Unmarshal(b, into)
			}
			if err != nil {
				t.Fatalf("%s %s: %s: %v", method, path, b, err)
			}
			return res.StatusCode
		}
		var h Webhook
		if code := call("POST", "", `{"name":"ci","url":"`+w.receiver.URL+`"}`, &h); code != 201 || h.Secret == "" || h.Events[0] != "*" || h.Format != "cloudevents" {
			t.Fatalf("%d %+v", code, h)
		}
		var r Result
		if code := call("POST", "/"+h.ID+"/test", "", &r); code != 200 || !r.Success {
			t.Errorf("%d %+v", code, r)
		}
		var page rest.Page[Webhook]
		if code := call("GET", "?limit=1", "", &page); code != 200 || len(page.Items) != 1 || page.Items[0].Secret != "" {
			t.Errorf("%d %+v", code, page)
		}
		w.hear("e1", "a.b")
		var log rest.Page[Delivery]
		if code := call("GET", "/"+h.ID+"/deliveries", "", &log); code != 200 || len(log.Items) != 1 || log.Items[0].State != Pending {
			t.Errorf("%d %+v", code, log)
		}
		if code := call("PATCH", "/"+h.ID, `{"status":"disabled"}`, &h); code != 200 || h.Status != Disabled {
			t.Errorf("%d %+v", code, h)
		}
		for path, want := range map[string]int{"/" + h.ID: 200, "/ghost": 404} {
			if code := call("DELETE", path, "", nil); code != want {
				t.Errorf("DELETE %s: %d", path, code)
			}
		}
		var doc rest.Doc
		if code := call("POST", "", `{"name":"ci","url":"https://10.0.0.1/"}`, &doc); code != 422 || doc.Field != "url" {
			t.Errorf("%d %+v", code, doc)
		}
	})
}
