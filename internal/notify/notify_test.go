package notify

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/alert"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
	"keelson/internal/incident"
	"keelson/internal/job"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/seal"
	"keelson/internal/webhook"
)

var who = caller.Caller{ID: "u", Name: "mara", Kind: caller.Person, Roles: []string{"ml-engineer"}}

// post is a mail server on loopback that speaks RFC 5321 with STARTTLS and AUTH PLAIN.
type post struct {
	t    *testing.T
	ln   net.Listener
	tls  *tls.Config
	pool *x509.CertPool

	mu       sync.Mutex
	letters  []letterSeen
	noTLS    bool   // it offers no STARTTLS
	rcpt     string // answer to RCPT; empty: 250
	silent   bool   // it takes the call and says nothing
	password string
	quit     chan struct{}
}

type letterSeen struct {
	from, user string
	to         []string
	secure     bool
	data       string
}

func newPost(t *testing.T) *post {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "post"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p := &post{t: t, pool: x509.NewCertPool(), password: "s3cret", quit: make(chan struct{})}
	p.pool.AddCert(cert)
	p.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	if p.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { close(p.quit); p.ln.Close(); wg.Wait() })
	return p
}

func (p *post) set(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

func (p *post) serve(c net.Conn) {
	defer func() { c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	p.mu.Lock()
	silent, noTLS, rcpt := p.silent, p.noTLS, p.rcpt
	p.mu.Unlock()
	if silent {
		<-p.quit
		return
	}
	in := bufio.NewReader(c)
	say := func(s string) { fmt.Fprintf(c, "%s\r\n", s) }
	say("220 post ESMTP")
	var l letterSeen
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb := strings.ToUpper(line)
		switch {
		case strings.HasPrefix(verb, "EHLO"):
			say("250-post greets you")
			if !noTLS && !l.secure {
				say("250-STARTTLS")
			}
			if l.secure {
				say("250-AUTH PLAIN LOGIN")
			}
			say("250 8BITMIME")
		case verb == "STARTTLS":
			say("220 go on")
			s := tls.Server(c, p.tls)
			if s.Handshake() != nil {
				return
			}
			c, in, l.secure = s, bufio.NewReader(s), true
		case strings.HasPrefix(verb, "AUTH PLAIN "):
			b, _ := base64.StdEncoding.DecodeString(line[len("AUTH PLAIN "):])
			parts := strings.Split(string(b), "\x00")
			if len(parts) != 3 || parts[2] != p.password {
				say("535 5.7.8 the password is wrong")
				continue
			}
			l.user = parts[1]
			say("235 welcome")
		case strings.HasPrefix(verb, "MAIL FROM:"):
			l.from = line[len("MAIL FROM:"):]
			say("250 ok")
		case strings.HasPrefix(verb, "RCPT TO:"):
			if rcpt != "" {
				say(rcpt)
				continue
			}
			l.to = append(l.to, line[len("RCPT TO:"):])
			say("250 ok")
		case verb == "DATA":
			say("354 end with a dot")
			var b strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(line, "."))
			}
			l.data = b.String()
			p.set(func() { p.letters = append(p.letters, l) })
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

func (p *post) seen() []letterSeen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]letterSeen{}, p.letters...)
}

// world is a notify service that may call loopback, with an HTTP and a mail receiver there.
type world struct {
	*Service
	t     *testing.T
	ctx   context.Context
	clock time.Time
	http  *httptest.Server
	post  *post

	mu     sync.Mutex
	got    []received
	answer func(n int, rw http.ResponseWriter)
}

type received struct {
	path   string
	header http.Header
	body   []byte
}

func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := &world{t: t, ctx: caller.With(context.Background(), who), clock: time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC), post: newPost(t)}
		w.http = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.mu.Lock()
			w.got = append(w.got, received{r.URL.Path, r.Header.Clone(), b})
			n, answer := len(w.got), w.answer
			w.mu.Unlock()
			if answer != nil {
				answer(n, rw)
			}
		}))
		t.Cleanup(w.http.Close)
		rules, err := outbound.Parse([]string{"127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		calls := outbound.New(outbound.Options{Rules: rules, Roots: w.post.pool, Time: 2 * time.Second})
		t.Cleanup(calls.Close)
		w.Service = &Service{DB: d, Key: seal.FromSeed(make([]byte, 32)), Calls: calls, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.clock },
			URL: func() string { return "https://keelson.example.com/" }, Tier: func(context.Context, string) (int, error) { return 2, nil }}
		fn(w)
	})
}

func (w *world) create(r Route) Route {
	w.t.Helper()
	out, err := w.Create(w.ctx, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// turn lets the service hear that something happened to an alert and works until nothing is due.
func (w *world) turn(id, typ string, n alert.Notice) {
	w.t.Helper()
	n.ID = id
	data, _ := json.Marshal(n)
	e := event.Event{ID: db.NewID(), Type: typ, Subject: "alert/" + id, Workspace: "default", At: w.clock, Data: data}
	for range 2 { // events come at least once
		if err := w.Hear(w.ctx, e); err != nil {
			w.t.Fatal(err)
		}
	}
	w.work()
}

// work makes the attempts that are due.
func (w *world) work() {
	w.t.Helper()
	routes, err := w.List(w.ctx, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range routes {
		log, err := w.Deliveries(w.ctx, r.ID, "", 100)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, d := range log {
			if d.State == Pending && !d.NextAt.After(w.clock) {
				b, _ := json.Marshal(args{d.ID, d.Attempts + 1})
				if err := w.deliver(w.ctx, job.Job{Args: b}); err != nil {
					w.t.Fatal(err)
				}
			}
		}
	}
}

func (w *world) log(route string) []Delivery {
	w.t.Helper()
	log, err := w.Deliveries(w.ctx, route, "", 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return log
}

func (w *world) received() []received {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]received{}, w.got...)
}

var shift = alert.Notice{Title: "The data of screening moved: mean_radius <b> & more.", Words: "2 inputs have moved – für alle.", Model: "screening", Endpoint: "screening", Version: 3, Kind: alert.Data,
	Severity: alert.Warning, State: alert.Open, Owner: "dana", Incident: "i1", Link: "/api/v1/predictions?endpoint=screening"}

func (w *world) mail() *Mail {
	return &Mail{Host: w.post.ln.Addr().String(), User: "keelson", From: "Keelson <keelson@example.com>", To: []string{"ops@example.com", "Jürg Ä <juerg@example.com>"}}
}

func TestAnAlertGoesOutByMailOverTLSWithAPassword(t *testing.T) {
	each(t, func(w *world) {
		r := w.create(Route{Name: "mail", Kind: Email, Mail: w.mail(), Secret: "s3cret"})
		if r.Secret != "" || r.Target != "ops@example.com, Jürg Ä <juerg@example.com>" || r.Mail.TLS != "starttls" {
			t.Fatalf("%+v", r)
		}
		evil := shift
		evil.Title = "The data moved\r\nBcc: thief@example.com\r\n\r\nand more\u2028.\n.\n"
		w.turn("a1", alert.Opened, evil)
		letters := w.post.seen()
		if len(letters) != 1 {
			t.Fatalf("%d letters, log %+v", len(letters), w.log("mail"))
		}
		l := letters[0]
		if !l.secure || l.user != "keelson" || !strings.HasPrefix(l.from, "<keelson@example.com>") || strings.Join(l.to, " ") != "<ops@example.com> <juerg@example.com>" {
			t.Errorf("%+v", l)
		}
		m, err := mail.ReadMessage(strings.NewReader(l.data))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || !strings.HasPrefix(subject, "Warning: The data moved  Bcc: thief@example.com") || m.Header.Get("Bcc") != "" {
			t.Errorf("subject %q, headers %v", subject, m.Header)
		}
		if to, err := m.Header.AddressList("To"); err != nil || len(to) != 2 || to[1].Name != "Jürg Ä" {
			t.Errorf("to %v %v", to, err)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || !strings.Contains(string(text), "für alle") || !strings.Contains(string(text), "\r\n.\r\n") || !strings.Contains(string(text), "https://keelson.example.com/incidents/i1") {
			t.Errorf("text %q %v", text, err)
		}
		if log := w.log("mail"); len(log) != 1 || log[0].State != Delivered || log[0].Status != 250 || !strings.Contains(m.Header.Get("Message-Id"), log[0].ID) {
			t.Errorf("%+v", log)
		}
	})
}

func TestMailServersThatRefuseAreSlowOrOfferNoTLS(t *testing.T) {
	each(t, func(w *world) {
		w.create(Route{Name: "mail", Kind: Email, Mail: w.mail(), Secret: "s3cret"})
		newest := func() Delivery { w.t.Helper(); return w.log("mail")[0] }
		w.post.set(func() { w.post.rcpt = "451 4.7.1 later, please" })
		w.turn("a1", alert.Opened, shift)
		if d := newest(); d.State != Pending || d.Status != 451 || d.NextAt == nil || !d.NextAt.Equal(w.clock.Add(pauses[0])) || !strings.Contains(d.Error, "later, please") {
			t.Errorf("a refusal for the moment: %+v", d)
		}
		w.clock = w.clock.Add(pauses[0])
		w.post.set(func() { w.post.rcpt = "" })
		w.work()
		if d := newest(); d.State != Delivered || d.Attempts != 2 || len(w.post.seen()) != 1 {
			t.Errorf("the second attempt: %+v", d)
		}
		w.post.set(func() { w.post.rcpt = "550 5.1.1 nobody of this name" })
		w.turn("a2", alert.Opened, shift)
		if d := newest(); d.State != Failed || d.Status != 550 || d.Attempts != 1 {
			t.Errorf("a refusal for good: %+v", d)
		}
		w.post.set(func() { w.post.rcpt, w.post.noTLS = "", true })
		w.turn("a3", alert.Opened, shift)
		if d := newest(); d.State != Failed || !strings.Contains(d.Error, "offers no STARTTLS, so nothing was sent") {
			t.Errorf("without TLS: %+v", d)
		}
		w.post.set(func() { w.post.noTLS, w.post.silent = false, true })
		ctx, cancel := context.WithTimeout(w.ctx, 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		r, err := w.Service.Get(w.ctx, "mail")
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = w.send(ctx, &r, "x", event.Event{}, &Message{Title: "x"})
		if !problem.Is(err, problem.Unavailable) || time.Since(begin) > 10*time.Second {
			t.Errorf("a server that says nothing: %v after %s", err, time.Since(begin))
		}
		w.post.set(func() { w.post.silent = false; w.post.password = "other" })
		if res, err := w.Test(w.ctx, "mail"); err != nil || res.Success || res.Status != 535 {
			t.Errorf("a wrong password: %+v %v", res, err)
		}
	})
}

func TestSlackGetsItsOwnJSONAndItsAddressStaysSecret(t *testing.T) {
	each(t, func(w *world) {
		r := w.create(Route{Name: "ops", Kind: Slack, Secret: w.http.URL + "/services/T0/B0/token"})
		if r.Secret != "" || r.Target != w.http.URL {
			t.Fatalf("the address is shown: %+v", r)
		}
		var hidden string
		if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
			return tx.QueryRow("SELECT document || secret FROM notify_route").Scan(&hidden)
		}); err != nil || strings.Contains(hidden, "token") {
			t.Fatalf("the database holds the address: %s %v", hidden, err)
		}
		w.turn("a1", alert.Opened, shift)
		got := w.received()
		var body struct {
			Text   string `json:"text"`
			Blocks []struct {
				Type string `json:"type"`
				Text struct{ Type, Text string }
			} `json:"blocks"`
		}
		if len(got) != 1 || got[0].path != "/services/T0/B0/token" || json.Unmarshal(got[0].body, &body) != nil {
			t.Fatalf("%+v", got)
		}
		if body.Text != "Warning: The data of screening moved: mean_radius &lt;b&gt; &amp; more." || len(body.Blocks) != 3 || body.Blocks[0].Text.Type != "mrkdwn" || !strings.Contains(string(got[0].body), "https://keelson.example.com/incidents/i1") {
			t.Errorf("%s", got[0].body)
		}
		w.answer = func(n int, rw http.ResponseWriter) { rw.WriteHeader(404) }
		w.turn("a2", alert.Opened, shift)
		if d := w.log("ops")[0]; d.State != Failed || d.Attempts != 1 || d.Status != 404 {
			t.Errorf("a channel that is gone is not asked again: %+v", d)
		}
	})
}

func TestPagerDutyOpensAcknowledgesAndResolvesOneIncident(t *testing.T) {
	each(t, func(w *world) {
		w.create(Route{Name: "pager", Kind: PagerDuty, URL: w.http.URL + "/v2/enqueue", Secret: "R0123456789abcdef", Severity: "critical"})
		w.turn("a1", alert.Opened, shift) // a warning
		grave := shift
		grave.Severity = alert.Critical
		w.answer = func(n int, rw http.ResponseWriter) {
			if n == 1 {
				rw.Header().Set("Retry-After", "90")
				rw.WriteHeader(429)
				return
			}
			rw.WriteHeader(202)
		}
		w.turn("a1", alert.Worse, grave)
		if d := w.log("pager")[0]; d.State != Pending || !d.NextAt.Equal(w.clock.Add(90*time.Second)) {
			t.Fatalf("it asked to wait: %+v", d)
		}
		w.clock = w.clock.Add(90 * time.Second)
		w.work()
		w.turn("a1", alert.Acked, grave)
		w.turn("a1", alert.Over, grave)
		var acts []string
		for _, g := range w.received()[1:] {
			var b struct {
				Key    string         `json:"routing_key"`
				Action string         `json:"event_action"`
				Dedup  string         `json:"dedup_key"`
				Load   map[string]any `json:"payload"`
			}
			if err := json.Unmarshal(g.body, &b); err != nil || b.Key != "R0123456789abcdef" || b.Dedup != "keelson/default/alert/a1" {
				t.Fatalf("%s %v", g.body, err)
			}
			if b.Action == "trigger" && (b.Load["severity"] != "critical" || b.Load["source"] != "screening" || b.Load["summary"] == "") {
				t.Errorf("payload %v", b.Load)
			}
			acts = append(acts, b.Action)
		}
		if strings.Join(acts, " ") != "trigger acknowledge resolve" {
			t.Errorf("%v", acts)
		}
	})
}

func TestAWebhookIsSignedAsTheStandardSaysAndTriedUntilItIsTaken(t *testing.T) {
	each(t, func(w *world) {
		r := w.create(Route{Name: "bus", Kind: Webhook, URL: w.http.URL + "/in"})
		if !strings.HasPrefix(r.Secret, "whsec_") {
			t.Fatalf("%+v", r)
		}
		w.answer = func(n int, rw http.ResponseWriter) {
			if n < 3 {
				rw.WriteHeader(503)
			}
		}
		w.turn("a1", alert.Opened, shift)
		for _, p := range pauses[:2] {
			w.clock = w.clock.Add(p)
			w.work()
		}
		got, log := w.received(), w.log("bus")
		if len(got) != 3 || log[0].State != Delivered || log[0].Attempts != 3 {
			t.Fatalf("%d calls, %+v", len(got), log)
		}
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Secret, "whsec_"))
		for _, g := range got {
			h := g.header
			if h.Get("webhook-id") != log[0].ID || h.Get("webhook-signature") != webhook.Signature(key, log[0].ID, h.Get("webhook-timestamp"), g.body) {
				t.Errorf("%v", h)
			}
		}
		if !strings.Contains(string(got[0].body), `"type":"keelson.alert.opened"`) {
			t.Errorf("%s", got[0].body)
		}
	})
}

func TestRulesSayWhichAlertGoesWhere(t *testing.T) {
	m := Message{Event: "opened", Model: "screening", Kind: "data", Severity: "warning"}
	for name, c := range map[string]struct {
		change func(*Route)
		msg    func(*Message)
		want   bool
	}{
		"no rule takes all":                      {want: true},
		"another model":                          {change: func(r *Route) { r.Models = []string{"credit-*"} }},
		"a pattern of models":                    {change: func(r *Route) { r.Models = []string{"credit-*", "scr*"} }, want: true},
		"another tier":                           {change: func(r *Route) { r.Tiers = []int{1} }},
		"its tier":                               {change: func(r *Route) { r.Tiers = []int{1, 2} }, want: true},
		"another cause":                          {change: func(r *Route) { r.Kinds = []string{"result"} }},
		"only what is critical":                  {change: func(r *Route) { r.Severity = "critical" }},
		"what is critical":                       {change: func(r *Route) { r.Severity = "critical" }, msg: func(m *Message) { m.Severity = "critical" }, want: true},
		"acts are told to those who ask":         {msg: func(m *Message) { m.Event = "acted" }},
		"a step of escalation names the route":   {change: func(r *Route) { r.Models = []string{"none"} }, msg: func(m *Message) { m.Route = "ops" }, want: true},
		"a step of escalation names another one": {change: func(r *Route) { r.Models = []string{"none"} }, msg: func(m *Message) { m.Route = "other" }},
	} {
		r, x := Route{Name: "ops", Kind: Slack}, m
		if c.change != nil {
			c.change(&r)
		}
		if c.msg != nil {
			c.msg(&x)
		}
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		if got := r.fits(&x, 2); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestQuietHoursKeepWarningsUntilTheirEnd(t *testing.T) {
	at := func(s string) time.Time { v, _ := time.Parse(time.RFC3339, s); return v }
	for name, c := range map[string]struct {
		q   Quiet
		at  string
		end string // empty: not quiet
	}{
		"before":                    {Quiet{From: "22:00", To: "07:00"}, "2026-03-03T21:59:59Z", ""},
		"in the evening":            {Quiet{From: "22:00", To: "07:00"}, "2026-03-03T22:00:00Z", "2026-03-04T07:00:00Z"},
		"after midnight":            {Quiet{From: "22:00", To: "07:00"}, "2026-03-04T03:00:00Z", "2026-03-04T07:00:00Z"},
		"at the end":                {Quiet{From: "22:00", To: "07:00"}, "2026-03-04T07:00:00Z", ""},
		"in another zone":           {Quiet{From: "22:00", To: "07:00", Zone: "Europe/Zurich"}, "2026-03-03T21:30:00Z", "2026-03-04T06:00:00Z"},
		"over the change of clocks": {Quiet{From: "22:00", To: "07:00", Zone: "Europe/Zurich"}, "2026-03-28T23:00:00Z", "2026-03-29T05:00:00Z"},
		"on a day without":          {Quiet{From: "00:00", To: "00:00", Days: []string{"sat", "sun"}}, "2026-03-03T12:00:00Z", ""},
		"all of Saturday":           {Quiet{From: "00:00", To: "00:00", Days: []string{"sat"}}, "2026-03-07T12:00:00Z", "2026-03-08T00:00:00Z"},
	} {
		end, quiet := c.q.until(at(c.at))
		if quiet != (c.end != "") || quiet && !end.Equal(at(c.end)) {
			t.Errorf("%s: %v until %s", name, quiet, end)
		}
	}
	each(t, func(w *world) {
		w.create(Route{Name: "bus", Kind: Webhook, URL: w.http.URL + "/in", Quiet: &Quiet{From: "11:00", To: "13:00"}})
		grave := shift
		grave.Severity = alert.Critical
		w.turn("a1", alert.Opened, shift)
		w.turn("a2", alert.Opened, grave)
		if n := len(w.received()); n != 1 {
			t.Fatalf("%d calls in the quiet hours, want the critical one", n)
		}
		w.clock = w.clock.Add(time.Hour)
		w.work()
		if n := len(w.received()); n != 2 {
			t.Fatalf("%d calls after them", n)
		}
	})
}

func TestAMutedRouteIsToldNothingUntilItsEnd(t *testing.T) {
	each(t, func(w *world) {
		w.create(Route{Name: "bus", Kind: Webhook, URL: w.http.URL + "/in"})
		end := w.clock.Add(time.Hour)
		for field, bad := range map[string]Mute{"reason": {Until: end}, "until": {Until: w.clock, Reason: "x"}} {
			if _, err := w.Mute(w.ctx, "bus", &bad); !problem.Is(err, problem.Invalid) {
				t.Errorf("%s: %v", field, err)
			} else if p, _ := problem.As(err); p.Field != field {
				t.Errorf("the fault stands at %q, want %q", p.Field, field)
			}
		}
		if _, err := w.Mute(w.ctx, "bus", &Mute{Until: end.AddDate(2, 0, 0), Reason: "x"}); !problem.Is(err, problem.Invalid) {
			t.Errorf("two years: %v", err)
		}
		if r, err := w.Mute(w.ctx, "bus", &Mute{Until: end, Reason: "the scanner is replaced"}); err != nil || r.Muted == nil || r.Muted.By != who.Name {
			t.Fatalf("%+v, %v", r, err)
		}
		on := true
		if r, err := w.Update(w.ctx, "bus", Change{Enabled: &on}); err != nil || r.Muted == nil {
			t.Fatalf("a change of something else ends the mute: %+v, %v", r, err)
		}
		w.turn("a1", alert.Opened, shift)
		if n := len(w.received()); n != 0 {
			t.Fatalf("a muted route was told %d times", n)
		}
		w.clock = end
		if r, err := w.Get(w.ctx, "bus"); err != nil || r.Muted != nil {
			t.Fatalf("a mute that is over is shown: %+v, %v", r.Muted, err)
		}
		w.turn("a2", alert.Opened, shift)
		if n := len(w.received()); n != 1 {
			t.Fatalf("after its end the route was told %d times, want once", n)
		}
		if _, err := w.Mute(w.ctx, "bus", &Mute{Until: end.Add(time.Hour), Reason: "again"}); err != nil {
			t.Fatal(err)
		}
		if r, err := w.Mute(w.ctx, "bus", nil); err != nil || r.Muted != nil {
			t.Fatalf("%+v, %v", r, err)
		}
		w.turn("a3", alert.Opened, shift)
		if n := len(w.received()); n != 2 {
			t.Fatalf("taken back, the route was told %d times, want twice", n)
		}
	})
}

func TestWhatIsNotTold(t *testing.T) {
	each(t, func(w *world) {
		w.create(Route{Name: "bus", Kind: Webhook, URL: w.http.URL + "/in"})
		hushed := shift
		hushed.State = alert.Silenced
		w.turn("a1", alert.Opened, hushed)
		tell := func(typ string, n incident.Notice) {
			t.Helper()
			data, _ := json.Marshal(n)
			if err := w.Hear(w.ctx, event.Event{ID: db.NewID(), Type: typ, Subject: "incident/i1", Workspace: "default", At: w.clock, Data: data}); err != nil {
				t.Fatal(err)
			}
			w.work()
		}
		tell(incident.Opened, incident.Notice{ID: "i1", Kind: incident.DataMoved}) // its alert is told
		if n := len(w.received()); n != 0 {
			t.Fatalf("%d calls", n)
		}
		tell(incident.Opened, incident.Notice{ID: "i1", Kind: incident.EnginePanic, Title: "The engine broke down.", Severity: incident.High, State: incident.Open})
		tell(incident.Changed, incident.Notice{ID: "i1", Kind: incident.EnginePanic, State: incident.Closed, Severity: incident.High})
		if n := len(w.received()); n != 2 {
			t.Fatalf("%d calls about a crash", n)
		}
		if _, err := w.Update(w.ctx, "bus", Change{Enabled: new(bool)}); err != nil {
			t.Fatal(err)
		}
		w.turn("a9", alert.Opened, shift)
		if n := len(w.received()); n != 2 {
			t.Fatalf("a route that is off was told: %d", n)
		}
	})
}

func TestRoutesThatCannotWorkAreRefused(t *testing.T) {
	each(t, func(w *world) {
		ok := func() *Mail { return &Mail{Host: "127.0.0.1:25", From: "a@example.com", To: []string{"b@example.com"}} }
		for name, c := range map[string]struct {
			r      Route
			field  string
			attack bool
		}{
			"no name":                       {r: Route{Kind: Slack, Secret: w.http.URL}, field: "name"},
			"a kind nobody knows":           {r: Route{Name: "x", Kind: "pigeon"}, field: "kind"},
			"Slack without its address":     {r: Route{Name: "x", Kind: Slack}, field: "secret"},
			"Slack inside":                  {r: Route{Name: "x", Kind: Slack, Secret: "https://10.0.0.8/x"}, field: "secret", attack: true},
			"a webhook inside":              {r: Route{Name: "x", Kind: Webhook, URL: "https://169.254.169.254/latest"}, field: "url", attack: true},
			"a webhook without TLS":         {r: Route{Name: "x", Kind: Webhook, URL: "http://example.com/x"}, field: "url"},
			"a routing key with a line":     {r: Route{Name: "x", Kind: PagerDuty, Secret: "abcdefgh\nX: y"}, field: "secret", attack: true},
			"a routing key too short":       {r: Route{Name: "x", Kind: PagerDuty, Secret: "abc"}, field: "secret"},
			"mail without anything":         {r: Route{Name: "x", Kind: Email}, field: "mail"},
			"a sender with a header":        {r: Route{Name: "x", Kind: Email, Mail: &Mail{Host: "127.0.0.1:25", From: "a@example.com\r\nBcc: c@example.com", To: []string{"b@example.com"}}}, field: "mail.from", attack: true},
			"a recipient with a header":     {r: Route{Name: "x", Kind: Email, Mail: &Mail{Host: "127.0.0.1:25", From: "a@example.com", To: []string{"b@example.com\nBcc: c@example.com"}}}, field: "mail.to[0]", attack: true},
			"a recipient that is none":      {r: Route{Name: "x", Kind: Email, Mail: &Mail{Host: "127.0.0.1:25", From: "a@example.com", To: []string{"b"}}}, field: "mail.to[0]"},
			"a mail server inside":          {r: Route{Name: "x", Kind: Email, Mail: &Mail{Host: "10.0.0.1:587", From: "a@example.com", To: []string{"b@example.com"}}}, field: "mail.host", attack: true},
			"mail without TLS to anybody":   {r: Route{Name: "x", Kind: Email, Mail: &Mail{Host: "mail.example.com:25", TLS: "none", From: "a@example.com", To: []string{"b@example.com"}}}, field: "mail.tls"},
			"a password without TLS":        {r: Route{Name: "x", Kind: Email, Secret: "p", Mail: &Mail{Host: "127.0.0.1:25", TLS: "none", User: "u", From: "a@example.com", To: []string{"b@example.com"}}}, field: "mail.tls"},
			"an account without a password": {r: Route{Name: "x", Kind: Email, Mail: &Mail{Host: "127.0.0.1:25", User: "u", From: "a@example.com", To: []string{"b@example.com"}}}, field: "secret"},
			"a turn nobody knows":           {r: Route{Name: "x", Kind: Email, Mail: ok(), Events: []string{"sneezed"}}, field: "events[0]"},
			"a pattern that is none":        {r: Route{Name: "x", Kind: Email, Mail: ok(), Models: []string{"["}}, field: "models[0]"},
			"a tier nobody knows":           {r: Route{Name: "x", Kind: Email, Mail: ok(), Tiers: []int{5}}, field: "tiers[0]"},
			"a time that is none":           {r: Route{Name: "x", Kind: Email, Mail: ok(), Quiet: &Quiet{From: "25:00", To: "07:00"}}, field: "quiet.from"},
			"a zone nobody knows":           {r: Route{Name: "x", Kind: Email, Mail: ok(), Quiet: &Quiet{From: "22:00", To: "07:00", Zone: "Mars/Base"}}, field: "quiet.zone"},
		} {
			_, err := w.Create(w.ctx, c.r)
			if p, ok := problem.As(err); !ok || p.Kind != problem.Invalid || p.Field != c.field || (p.Attack != "") != c.attack {
				t.Errorf("%s: %v at %q", name, err, func() string {
					if p, ok := problem.As(err); ok {
						return p.Field + " " + p.Attack
					}
					return ""
				}())
			}
		}
		w.create(Route{Name: "bus", Kind: Webhook, URL: w.http.URL + "/in"})
		if _, err := w.Create(w.ctx, Route{Name: "bus", Kind: Webhook, URL: w.http.URL + "/in"}); !problem.Is(err, problem.Conflict) {
			t.Errorf("two of one name: %v", err)
		}
		elsewhere := w.http.URL + "/elsewhere"
		if _, err := w.Update(w.ctx, "bus", Change{URL: &elsewhere}); !problem.Is(err, problem.Invalid) {
			t.Errorf("a secret went to another address: %v", err)
		}
		if err := w.Delete(w.ctx, "bus"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Service.Get(w.ctx, "bus"); !problem.Is(err, problem.NotFound) {
			t.Error(err)
		}
	})
}

// FuzzCompose looks for a title that becomes a header.
func FuzzCompose(f *testing.F) {
	f.Add("a\r\nBcc: x@example.com", "b\n.\n", "The owner\r\n")
	f.Add("=?utf-8?q?=0d=0aBcc:_x@example.com?=", "\x00", "\u2028")
	f.Fuzz(func(t *testing.T, title, words, owner string) {
		m := &Mail{Host: "h:25", From: "a@example.com", To: []string{"b@example.com"}}
		b, err := compose(m, &Message{Event: "opened", Title: title, Words: words, Owner: owner, About: "alert/" + title, Model: title}, "id", time.Unix(0, 0))
		if err != nil {
			return
		}
		got, err := mail.ReadMessage(strings.NewReader(string(b)))
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		for name := range got.Header {
			switch name {
			case "From", "To", "Subject", "Date", "Message-Id", "Auto-Submitted", "Mime-Version", "Content-Type", "Content-Transfer-Encoding", "References":
			default:
				t.Fatalf("a header %s of the title %q", name, title)
			}
		}
	})
}
