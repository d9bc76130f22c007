// Package client talks to a Keelson server: typed calls over its REST API, with problem documents as errors.
//
// A Client is safe for concurrent use. Calls end with their context. Reads are tried again when the server cannot be
// reached or says it is busy; anything that changes something is sent once, because only the caller knows whether
// sending it twice is harmless. A failed call gives an *Error when the server answered, and an *Unreachable when it did
// not; ExitCode maps both to the exit codes of the command line.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says which server and who asks.
type Config struct {
	Server    string        // "http://127.0.0.1:5000"; a path behind it is kept
	Token     string        // kst_…; empty for servers with sign-in off
	Workspace string        // empty is "default"
	UserAgent string        // empty is "keelson-go"
	HTTP      *http.Client  // empty is a client without proxy for loopback and without an overall timeout
	Timeout   time.Duration // of one call that is not an upload or a stream; 0 is 60 s
}

// Client makes calls. Make it with New.
type Client struct {
	cfg  Config
	base *url.URL
}

// New checks the address and gives a client; nothing is sent.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(cfg.Server, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("server address %q is not like http://127.0.0.1:5000", cfg.Server)
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "keelson-go"
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	return &Client{cfg: cfg, base: u}, nil
}

// Server is the address the client was made with.
func (c *Client) Server() string { return c.base.String() }

// With gives a client for the same server that signs in with another token.
func (c *Client) With(token string) *Client {
	cfg := c.cfg
	cfg.Token = token
	return &Client{cfg: cfg, base: c.base}
}

// Error is the server's answer to a call it did not carry out: an RFC 9457 problem document.
type Error struct {
	Status  int     `json:"status"`
	Type    string  `json:"type"` // "/problems/not-found"
	Title   string  `json:"title"`
	Detail  string  `json:"detail"` // one sentence
	Field   string  `json:"field,omitempty"`
	Errors  []Field `json:"errors,omitempty"`
	Request string  `json:"request,omitempty"` // the id to find it in the server's log
}

// Field is one finding about one field, column or rule.
type Field struct {
	Field  string  `json:"field"`
	Detail string  `json:"detail"`
	Rule   string  `json:"rule,omitempty"`
	Rows   []int64 `json:"rows,omitempty"`
	Count  int64   `json:"count,omitempty"`
}

func (e *Error) Error() string { return e.Detail }

// Kind is the last part of Type: "not-found".
func (e *Error) Kind() string { return e.Type[strings.LastIndex(e.Type, "/")+1:] }

// Unreachable says that no answer came.
type Unreachable struct {
	Server string
	Err    error
}

func (e *Unreachable) Error() string { return fmt.Sprintf("cannot reach %s: %v", e.Server, e.Err) }

// Unwrap gives the cause.
func (e *Unreachable) Unwrap() error { return e.Err }

// Exit codes of the command line.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitForbidden   = 4
	ExitCheck       = 5
	ExitConflict    = 6
	ExitUnreachable = 7
)

// ExitCode maps an error of a call to the exit code the command line ends with.
func ExitCode(err error) int {
	var e *Error
	var u *Unreachable
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &u):
		return ExitUnreachable
	case errors.As(err, &e):
		switch {
		case e.Status == http.StatusNotFound:
			return ExitNotFound
		case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
			return ExitForbidden
		case e.Status == http.StatusConflict:
			return ExitConflict
		case e.Status == http.StatusUnprocessableEntity || e.Status == http.StatusBadRequest || e.Status == http.StatusRequestEntityTooLarge:
			return ExitUsage
		case e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests:
			return ExitUnreachable
		}
	case errors.Is(err, context.DeadlineExceeded):
		return ExitUnreachable
	}
	return ExitFailed
}

// IsKind reports whether err is a problem of the given kind, as "not-found" or "conflict".
func IsKind(err error, kind string) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind() == kind
}

// path joins escaped parts: path("/api/v1/models", name, "versions").
func path(prefix string, parts ...any) string {
	var b strings.Builder
	b.WriteString(prefix)
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(fmt.Sprint(p)))
	}
	return b.String()
}

func (c *Client) url(p string) string {
	u := c.base.String()
	if c.cfg.Workspace != "" && c.cfg.Workspace != "default" {
		u += "/w/" + url.PathEscape(c.cfg.Workspace)
	}
	return u + p
}

// request makes a request with the client's identity.
func (c *Client) request(ctx context.Context, method, p string, body io.Reader, contentType string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url(p), body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", c.cfg.UserAgent)
	r.Header.Set("Accept", "application/json")
	if c.cfg.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r, nil
}

// send does one request; the caller closes the body of the answer.
func (c *Client) send(r *http.Request) (*http.Response, error) {
	resp, err := c.cfg.HTTP.Do(r)
	if err != nil {
		if cause := context.Cause(r.Context()); cause != nil && errors.Is(cause, context.Canceled) {
			return nil, cause
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, &Unreachable{Server: c.Server(), Err: err}
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, problemOf(resp)
	}
	return resp, nil
}

// maxAnswer is the largest JSON answer that is read, in bytes.
const maxAnswer = 64 << 20

func problemOf(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	e := &Error{}
	if json.Unmarshal(body, e) != nil || e.Detail == "" {
		e = &Error{Title: resp.Status, Detail: fmt.Sprintf("The server answered %s.", resp.Status)}
		var foreign struct {
			Error   json.RawMessage `json:"error"`
			Message string          `json:"message"`
		}
		if json.Unmarshal(body, &foreign) == nil {
			var text string
			if foreign.Message != "" {
				e.Detail = foreign.Message
			} else if json.Unmarshal(foreign.Error, &text) == nil && text != "" {
				e.Detail = text
			}
		}
	}
	e.Status = resp.StatusCode
	if e.Request == "" {
		e.Request = resp.Header.Get("X-Request-Id")
	}
	return e
}

// tries is how often a read is sent at most.
const tries = 3

// Call sends in as JSON (nil: no body) and reads the answer into out (nil: dropped; *json.RawMessage: as it is).
// Only GET is tried again.
func (c *Client) Call(ctx context.Context, method, p string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("write request: %w", err)
		}
	}
	for n := 1; ; n++ {
		err := c.once(ctx, method, p, body, out)
		if err == nil || method != http.MethodGet || n == tries || !worthAnotherTry(err) {
			return err
		}
		pause := time.Duration(n*n)*100*time.Millisecond + rand.N(100*time.Millisecond)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func worthAnotherTry(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Status == http.StatusServiceUnavailable || e.Status == http.StatusBadGateway || e.Status == http.StatusTooManyRequests
	}
	var u *Unreachable
	if !errors.As(err, &u) {
		return false
	}
	var dns *net.DNSError
	return !errors.As(err, &dns) && !errors.Is(err, context.DeadlineExceeded)
}

func (c *Client) once(ctx context.Context, method, p string, body []byte, out any) error {
	var r io.Reader
	contentType := ""
	if body != nil {
		r, contentType = bytes.NewReader(body), "application/json"
	}
	req, err := c.request(ctx, method, p, r, contentType)
	if err != nil {
		return err
	}
	return c.answer(req, out)
}

// answer sends req and reads the answer into out.
func (c *Client) answer(req *http.Request, out any) error {
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return decode(resp, out)
}

func decode(resp *http.Response, out any) error {
	if out == nil || resp.StatusCode == http.StatusNoContent {
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
		return err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read answer of %s: %w; is this the address of a Keelson server?", resp.Request.URL.Redacted(), err)
	}
	return nil
}

// Get reads p into out.
func (c *Client) Get(ctx context.Context, p string, out any) error {
	return c.Call(ctx, http.MethodGet, p, nil, out)
}

// Post sends in to p and reads the answer into out.
func (c *Client) Post(ctx context.Context, p string, in, out any) error {
	if in == nil {
		in = struct{}{}
	}
	return c.Call(ctx, http.MethodPost, p, in, out)
}

// Upload sends a body of any size, without a time limit but ctx's, and reads the answer into out.
func (c *Client) Upload(ctx context.Context, method, p, contentType string, body io.Reader, out any) error {
	req, err := c.request(ctx, method, p, body, contentType)
	if err != nil {
		return err
	}
	return c.answer(req, out)
}

// Download copies what is at p to w.
func (c *Client) Download(ctx context.Context, p string, w io.Writer) (int64, error) {
	req, err := c.request(ctx, http.MethodGet, p, nil, "")
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "*/*")
	resp, err := c.send(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, fmt.Errorf("download: %w", err)
	}
	return n, nil
}

// Page is one page of a list.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// All reads a list to its end, or to max items (0: all of them). The address may hold a query of its own.
func All[T any](ctx context.Context, c *Client, p string, query url.Values, max int) ([]T, error) {
	items := []T{}
	p, own, _ := strings.Cut(p, "?")
	q, err := url.ParseQuery(own)
	if err != nil {
		return nil, fmt.Errorf("address of a list: %w", err)
	}
	for k, v := range query {
		q[k] = v
	}
	for {
		if max > 0 {
			q.Set("limit", fmt.Sprint(min(max-len(items), 1000)))
		}
		at := p
		if len(q) > 0 {
			at += "?" + q.Encode()
		}
		var page Page[T]
		if err := c.Get(ctx, at, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" || max > 0 && len(items) >= max {
			return items, nil
		}
		q.Set("cursor", page.Next)
	}
}

// Wait calls look again and again, at first quickly, until it says done, fails, or ctx ends.
func Wait[T any](ctx context.Context, look func(context.Context) (T, bool, error)) (T, error) {
	pause := 50 * time.Millisecond
	for {
		v, done, err := look(ctx)
		if err != nil || done {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 500*time.Millisecond)
	}
}

// ListOf reads a list that is answered whole: a page without a cursor, or a bare array.
func ListOf[T any](ctx context.Context, c *Client, p string, query url.Values) ([]T, error) {
	if len(query) > 0 {
		p += "?" + query.Encode()
	}
	var raw json.RawMessage
	if err := c.Get(ctx, p, &raw); err != nil {
		return nil, err
	}
	items := []T{}
	if trimmed := bytes.TrimLeft(raw, " \r\n\t"); len(trimmed) > 0 && trimmed[0] == '[' {
		return items, json.Unmarshal(raw, &items)
	}
	page := Page[T]{Items: items}
	err := json.Unmarshal(raw, &page)
	return page.Items, err
}
