package outbound

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"keelson/internal/problem"
)

// names is a name server on loopback. Each name has a list of answers; the last one is repeated.
type names struct {
	mu      sync.Mutex
	answers map[string][][]string
	asked   map[string]int
}

// resolver starts the server and gives a resolver that asks nobody else.
func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.asked = map[string]int{}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var msg dnsmessage.Message
			if msg.Unpack(buf[:size]) != nil || len(msg.Questions) != 1 {
				continue
			}
			out, err := n.reply(msg)
			if err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (n *names) reply(msg dnsmessage.Message) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := msg.Questions[0]
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	msg.Response, msg.Authoritative, msg.RecursionAvailable, msg.Additionals = true, true, true, nil
	list := n.answers[name]
	if len(list) == 0 {
		msg.RCode = dnsmessage.RCodeNameError
		return msg.Pack()
	}
	turn := min(n.asked[name], len(list)-1)
	for _, s := range list[turn] {
		a := netip.MustParseAddr(s)
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 0}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			msg.Answers = append(msg.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			msg.Answers = append(msg.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if q.Type == dnsmessage.TypeA { // a look-up asks for both types; it counts once
		n.asked[name]++
	}
	return msg.Pack()
}

// server answers on an address of the loopback network and counts its requests.
type server struct {
	*httptest.Server
	hits atomic.Int32
	port string
}

func listen(t *testing.T, at string, h http.HandlerFunc) *server {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	s.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		h(w, r)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func rules(t *testing.T, list ...string) Rules {
	t.Helper()
	r, err := Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func TestANameThatResolvesElsewhereAMomentLaterGainsNothing(t *testing.T) {
	good := listen(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close"); hello(w, r) })
	victim := listen(t, "127.0.0.3:"+good.port, hello)
	n := &names{answers: map[string][][]string{
		"rebind.example": {{"127.0.0.2"}, {"127.0.0.3"}},
		"inside.example": {{"127.0.0.3"}},
		"both.example":   {{"127.0.0.2", "127.0.0.3"}},
		"mapped.example": {{"::ffff:127.0.0.3"}},
	}}
	c := New(Options{Rules: rules(t, "127.0.0.2"), Resolver: n.resolver(t)})
	defer c.Close()
	// The rule allows the address and not the name, so plain http is not spoken to names: the transport is asked as a
	// client of a public host over https would, below the check of the scheme.
	get := func(host string) (*http.Response, error) {
		r, err := http.NewRequest("GET", "http://"+host+":"+good.port+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.transport.RoundTrip(r)
		if err == nil {
			res.Body.Close()
		}
		return res, err
	}
	if _, err := get("rebind.example"); err != nil || good.hits.Load() != 1 {
		t.Fatalf("the first call: %v, %d hits", err, good.hits.Load())
	}
	if n.asked["rebind.example"] != 1 {
		t.Errorf("one connection asked for the name %d times", n.asked["rebind.example"])
	}
	for _, host := range []string{"rebind.example", "inside.example", "both.example", "mapped.example"} {
		_, err := get(host)
		if !problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "not public") {
			t.Errorf("%s: %v", host, err)
		}
		if p, _ := problem.As(err); p != nil && strings.Contains(p.Detail, "127.0.0") {
			t.Errorf("%s: the caller learns what it resolves to: %s", host, p.Detail)
		}
	}
	if good.hits.Load() != 1 || victim.hits.Load() != 0 {
		t.Errorf("%d and %d hits", good.hits.Load(), victim.hits.Load())
	}
}

func TestARedirectIsAnAnswer(t *testing.T) {
	victim := listen(t, "127.0.0.1:0", hello)
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := listen(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, victim.URL, status) })
		c := New(Options{Rules: rules(t, "127.0.0.1")})
		a, err := c.Do(t.Context(), Call{Method: "POST", URL: s.URL, Body: []byte("x")})
		c.Close()
		if err != nil || a.Status != status || a.Header.Get("Location") != victim.URL {
			t.Errorf("%d: %+v %v", status, a, err)
		}
	}
	if victim.hits.Load() != 0 {
		t.Errorf("the target of the redirects was called %d times", victim.hits.Load())
	}
}

func TestTheEnvironmentsProxyIsNotAsked(t *testing.T) {
	proxy := listen(t, "127.0.0.1:0", hello)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	n := &names{answers: map[string][][]string{}}
	c := New(Options{Resolver: n.resolver(t)})
	defer c.Close()
	if _, err := c.Do(t.Context(), Call{Method: "GET", URL: "https://unknown.example/"}); !problem.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), "is not known") || proxy.hits.Load() != 0 {
		t.Errorf("%v, %d hits", err, proxy.hits.Load())
	}
}

func TestTheSizeAndTheTimeOfAnAnswerAreBounded(t *testing.T) {
	end := make(chan struct{})
	s := listen(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			chunk := []byte(strings.Repeat("x", 1<<12))
			for range 1 << 12 { // 16 MiB, unless the reader goes away
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		case "/header":
			w.Header().Set("X-Long", strings.Repeat("x", maxHeader))
		case "/silent":
			<-end
		case "/drip":
			for {
				fmt.Fprint(w, "x")
				w.(http.Flusher).Flush()
				select {
				case <-end:
					return
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	})
	defer close(end)
	c := New(Options{Rules: rules(t, "127.0.0.1"), Answer: 1000, Time: 500 * time.Millisecond})
	defer c.Close()
	if a, err := c.Do(t.Context(), Call{Method: "GET", URL: s.URL + "/large"}); err != nil || len(a.Body) != 1000 || !a.Cut {
		t.Errorf("large: %d bytes, cut %v, %v", len(a.Body), a.Cut, err)
	}
	for path, want := range map[string]string{"/header": "broke off", "/silent": "in time", "/drip": "in time"} {
		if _, err := c.Do(t.Context(), Call{Method: "GET", URL: s.URL + path}); !problem.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCertificatesAreChecked(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(hello))
	defer s.Close()
	n := &names{answers: map[string][][]string{"example.com": {{"127.0.0.1"}}, "other.example": {{"127.0.0.1"}}}}
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate()) // it is made out to example.com
	c := New(Options{Rules: rules(t, "127.0.0.1"), Resolver: n.resolver(t), Roots: roots})
	defer c.Close()
	if a, err := c.Do(t.Context(), Call{Method: "GET", URL: "https://example.com" + port}); err != nil || string(a.Body) != "hello" {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := c.Do(t.Context(), Call{Method: "GET", URL: "https://other.example" + port}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate for another name: %v", err)
	}
	strict := New(Options{Rules: rules(t, "127.0.0.1"), Resolver: n.resolver(t)})
	defer strict.Close()
	if _, err := strict.Do(t.Context(), Call{Method: "GET", URL: "https://example.com" + port}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate nobody vouches for: %v", err)
	}
}

func TestARefusedAddressIsNotConnectedTo(t *testing.T) {
	s := listen(t, "127.0.0.1:0", hello)
	c := New(Options{})
	defer c.Close()
	if _, err := c.Do(t.Context(), Call{Method: "GET", URL: s.URL}); !problem.Is(err, problem.Invalid) {
		t.Errorf("%v", err)
	}
	// As the transport of somebody's http.Client the same rules hold, and for where a redirect leads, too.
	if _, err := (&http.Client{Transport: c}).Get(s.URL); !problem.Is(err, problem.Invalid) {
		t.Errorf("as a transport: %v", err)
	}
	if _, err := c.dial(t.Context(), "tcp", s.Listener.Addr().String()); !problem.Is(err, problem.Invalid) {
		t.Errorf("dialled directly: %v", err)
	}
	if s.hits.Load() != 0 {
		t.Errorf("%d hits", s.hits.Load())
	}
	if _, err := New(Options{Rules: rules(t, "127.0.0.1")}).Do(t.Context(), Call{Method: "GET", URL: "http://127.0.0.1:1/"}); !problem.Is(err, problem.Unavailable) {
		t.Errorf("nobody listens: %v", err)
	}
}
