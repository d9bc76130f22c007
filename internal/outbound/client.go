package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"keelson/internal/problem"
)

// Resolver looks up names; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Limits of a call when Options name none.
const (
	DefaultTime   = 10 * time.Second
	DefaultAnswer = 1 << 20 // bytes read of an answer
)

const (
	maxHeader = 64 << 10 // bytes of an answer's header
	dialTime  = 5 * time.Second
)

// Options make a Client; the zero value calls public addresses over https.
type Options struct {
	Rules    Rules
	Resolver Resolver       // nil: the system's
	Time     time.Duration  // of a whole call with Do; 0: DefaultTime
	Answer   int64          // bytes that Do reads of an answer; 0: DefaultAnswer
	Roots    *x509.CertPool // nil: the system's
}

// Client calls. It is safe for concurrent use and keeps connections for the next call to the same host. As an
// http.RoundTripper it serves libraries that bring their own calls: the rules hold there too, the limits of time and
// size are then theirs.
type Client struct {
	o         Options
	transport *http.Transport
}

// New makes a Client.
func New(o Options) *Client {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Time == 0 {
		o.Time = DefaultTime
	}
	if o.Answer == 0 {
		o.Answer = DefaultAnswer
	}
	c := &Client{o: o}
	c.transport = &http.Transport{
		Proxy:                  nil, // a proxy would resolve the name again, unchecked
		DialContext:            c.dial,
		TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTime,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConns:           32,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true, // the bound on an answer's size is one on what is unpacked, too
		ForceAttemptHTTP2:      true,
	}
	return c
}

// Close ends the connections that are kept.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Check refuses an address that would never be called, without looking up its name; what it resolves to is checked when
// it is called.
func (c *Client) Check(address string) error { return c.o.Rules.Check(address) }

// Call is one request.
type Call struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// Answer is what came back, whatever its status: a redirect is one, too.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Cut    bool // there was more than the limit
	Took   time.Duration
}

// Do sends a request and reads the answer. An address that is refused is problem.Invalid at "url"; a host that is not
// known, does not answer in time or breaks off is problem.Unavailable with a sentence that names it.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.o.Time)
	defer cancel()
	if _, err := c.o.Rules.read(call.URL); err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, call.URL, bytes.NewReader(call.Body))
	if err != nil {
		return Answer{}, problem.New(problem.Invalid, "The address cannot be called; give https://HOST/PATH.").At("url").Because(err)
	}
	if call.Header != nil {
		req.Header = call.Header.Clone()
	}
	res, err := c.RoundTrip(req)
	if err != nil {
		return Answer{}, c.explain(ctx, req.URL.Host, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, c.o.Answer+1))
	if err != nil {
		return Answer{}, c.explain(ctx, req.URL.Host, err)
	}
	a := Answer{Status: res.StatusCode, Header: res.Header, Body: b, Took: time.Since(begin)}
	if int64(len(b)) > c.o.Answer {
		a.Body, a.Cut = b[:c.o.Answer], true
	}
	return a, nil
}

// RoundTrip sends one request under the rules. Nothing here follows redirects; an http.Client around it must not either
// (CheckRedirect returning http.ErrUseLastResponse), though each of its steps would be checked again.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := c.o.Rules.read(r.URL.String()); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return c.transport.RoundTrip(r)
}

// Dial connects to a name and port for a protocol that is not HTTP, by the same rules for addresses as Do. What goes wrong
// is told as by Do.
func (c *Client) Dial(ctx context.Context, hostport string) (net.Conn, error) {
	conn, err := c.dial(ctx, "tcp", hostport)
	if err != nil {
		return nil, c.explain(ctx, hostport, err)
	}
	return conn, nil
}

// TLS is how a connection of Dial to a host is protected.
func (c *Client) TLS(host string) *tls.Config {
	return &tls.Config{RootCAs: c.o.Roots, MinVersion: tls.VersionTLS12, ServerName: host}
}

// dial resolves a host once, checks all its addresses and connects to one of them. A host with one address outside and
// one inside is refused: nobody honest has such a name, and which of them is taken would be chance.
func (c *Client) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(name); err == nil {
		addrs = append(addrs, a)
	} else if addrs, err = c.o.Resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if !c.o.Rules.allows(name, a) {
			p, _ := problem.As(refused(fmt.Sprintf("What %q resolves to", name)))
			return nil, p.Because(fmt.Errorf("%s is %s", name, a)) // for the log: the caller is not told what is inside
		}
	}
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !c.o.Rules.allows(name, at.Addr()) {
			return fmt.Errorf("the connection would go to %s", address)
		}
		return nil
	}}
	err = fmt.Errorf("%s has no address", name)
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = d.DialContext(ctx, "tcp", join(a.Unmap(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// explain makes one sentence of why a call failed.
func (c *Client) explain(ctx context.Context, host string, err error) error {
	if p, ok := problem.As(err); ok {
		return p
	}
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var timeout net.Error
	say := func(format string, a ...any) error {
		return problem.New(problem.Unavailable, format, a...).At("url").Because(err)
	}
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return say("The name of %s is not known.", host)
	case errors.As(err, &cert):
		return say("The certificate of %s is not valid.", host)
	case errors.Is(ctx.Err(), context.Canceled):
		return say("The call of %s was given up.", host)
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return say("%s did not answer in time.", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return say("Nothing listens at %s.", host)
	}
	return say("%s could not be reached, or broke off.", host)
}
