// Package remote passes calls on to a model that is served elsewhere: by the Open Inference Protocol (REST), or by plain
// HTTP with a mapping. See Document for the file.
//
// The file is the contract: it names the address, the signature and calls whose answers are known (probes). The engine
// holds every answer against the signature and, as its self-test, the probes against their answers; what the model
// behind the address is beyond that, nobody here can know.
//
// One attempt takes at most the document's timeout. A failure that lies before or beside the model (no connection, 429,
// 502, 503, 504) is tried again after a short pause, because the model has not answered; predictions have to be free of
// side effects for that. After so many failures in a row calls are refused at once for a while, then one call tries.
//
//	closed ── failures in a row ──▶ open ── pause ──▶ one trial ── answer ──▶ closed
//	                                 ▲                    └── failure ──▶ open
//
// Addresses go through package outbound: public ones over https, others only where the operator allows them.
//
// Format "keelson-remote".
package remote

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"keelson/internal/engine"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Format is the only format.
const Format = "keelson-remote"

// Caller makes the calls; outbound.Client is one.
type Caller interface {
	Check(address string) error
	Do(ctx context.Context, call outbound.Call) (outbound.Answer, error)
}

// Engine reads remote models. Both fields are optional in a process that only looks: without Calls nothing is called.
type Engine struct {
	Calls Caller
	Now   func() time.Time // nil: time.Now
}

// Name is "remote".
func (Engine) Name() string { return "remote" }

// Formats is the one form.
func (Engine) Formats() []string { return []string{Format} }

// Detect takes files that end in .remote.json.
func (Engine) Detect(fsys fs.FS) ([]engine.Found, error) {
	var found []engine.Found
	err := engine.Walk(fsys, func(p string, _ fs.DirEntry) error {
		if !strings.HasSuffix(p, ".remote.json") {
			return nil
		}
		head, err := engine.Head(fsys, p, 256)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) {
			found = append(found, engine.Found{Engine: "remote", Format: Format, Path: p})
		}
		return nil
	})
	return found, err
}

// Load reads and checks the file; it calls nobody.
func (e Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	data, err := engine.ReadFile(ctx, fsys, name, min(limits.WithDefaults().FileBytes, 4<<20))
	if err != nil {
		return nil, err
	}
	c, err := parse(data)
	if p, ok := problem.As(err); ok {
		return nil, problem.New(p.Kind, "%s: %s", path.Base(name), p.Detail).Because(err)
	}
	if err != nil {
		return nil, err
	}
	if e.Calls == nil {
		return nil, problem.New(problem.Unsupported, "This process calls no models that are served elsewhere.")
	}
	if err := e.Calls.Check(c.doc.URL); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.doc.URL)
	if err != nil {
		return nil, broken("its address cannot be read").Because(err)
	}
	m := &model{contract: c, calls: e.Calls, host: u.Host, now: e.Now, header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}}
	if m.now == nil {
		m.now = time.Now
	}
	for k, v := range c.doc.Headers {
		m.header.Set(k, v)
	}
	if c.doc.TokenEnv != "" {
		token := os.Getenv(c.doc.TokenEnv)
		if token == "" {
			return nil, problem.New(problem.Unsupported, "The environment variable %s, which holds the token for %s, is not set on this server.", clip(c.doc.TokenEnv), clip(u.Host))
		}
		m.header.Set("Authorization", "Bearer "+token)
	}
	return m, nil
}

type model struct {
	*contract
	calls  Caller
	host   string
	now    func() time.Time
	header http.Header
	closed atomic.Bool

	mu    sync.Mutex
	bad   int       // failures in a row
	until time.Time // open until then
	trial bool      // a call is trying
}

func (m *model) Signature() engine.Signature { return m.doc.Signature }

func (m *model) Close() error {
	m.closed.Store(true)
	return nil
}

// admit lets a call go out, or says that the breaker is open.
func (m *model) admit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bad < m.failures {
		return nil
	}
	if wait := m.until.Sub(m.now()); wait > 0 || m.trial {
		return problem.New(problem.Unavailable, "The model at %s has failed %d times in a row; it is tried again in %s.", clip(m.host), m.bad, max(wait, time.Second).Round(time.Second)).After(wait)
	}
	m.trial = true
	return nil
}

// ended tells the breaker how a call ended. A call that its caller gave up tells nothing.
func (m *model) ended(failed, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trial = false
	switch {
	case !known:
	case failed:
		if m.bad++; m.bad >= m.failures {
			m.until = m.now().Add(m.pause)
		}
	default:
		m.bad = 0
	}
}

// Predict passes the call on.
func (m *model) Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error) {
	if m.closed.Load() {
		return nil, problem.New(problem.Unavailable, "The model has been unloaded; send the request again.")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("call %s: %w", m.host, err)
	}
	bound, rows, err := m.bind(in)
	if err != nil {
		return nil, err
	}
	body, err := m.body(bound, rows)
	if err != nil {
		return nil, err
	}
	if err := m.admit(); err != nil {
		return nil, err
	}
	answer, err := m.call(ctx, body)
	if ctx.Err() != nil {
		m.ended(false, false)
		return nil, fmt.Errorf("call %s: %w", m.host, ctx.Err())
	}
	if err != nil {
		m.ended(problem.KindOf(err) == problem.Unavailable, true)
		return nil, err
	}
	out, err := m.read(answer, rows)
	m.ended(err != nil, true)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "The model at %s does not keep its contract: %s.", clip(m.host), strings.TrimRight(clip(err.Error()), ".")).Because(err)
	}
	return out, nil
}

// call makes the attempts.
func (m *model) call(ctx context.Context, body []byte) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		answer, again, err := m.attempt(ctx, body)
		if err == nil || !again || attempt >= m.retries || ctx.Err() != nil {
			return answer, err
		}
		// 50 ms, 100 ms, 200 ms …, a half of it by chance, so that callers do not come back together.
		pause := 50 * time.Millisecond << attempt
		t := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// attempt calls once; again tells whether the failure may be tried again.
func (m *model) attempt(ctx context.Context, body []byte) (answer []byte, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	a, err := m.calls.Do(ctx, outbound.Call{Method: http.MethodPost, URL: m.doc.URL, Header: m.header, Body: body})
	if err != nil {
		if ctx.Err() != nil { // the model may still be at work
			return nil, false, problem.New(problem.Unavailable, "The model at %s has not answered within %s.", clip(m.host), m.timeout).Because(err)
		}
		return nil, problem.KindOf(err) == problem.Unavailable, err
	}
	if a.Cut {
		return nil, false, problem.New(problem.Unavailable, "The answer of the model at %s is larger than %d bytes.", clip(m.host), len(a.Body))
	}
	switch {
	case a.Status == http.StatusOK:
		return a.Body, false, nil
	case a.Status == http.StatusBadRequest || a.Status == http.StatusUnprocessableEntity || a.Status == http.StatusRequestEntityTooLarge:
		return nil, false, problem.New(problem.Invalid, "The model at %s refuses the inputs (%d): %s", clip(m.host), a.Status, said(a.Body)).At("inputs")
	}
	again = a.Status == http.StatusTooManyRequests || a.Status == http.StatusBadGateway || a.Status == http.StatusServiceUnavailable || a.Status == http.StatusGatewayTimeout
	return nil, again, problem.New(problem.Unavailable, "The model at %s answers with status %d.", clip(m.host), a.Status).Because(fmt.Errorf("%s", said(a.Body)))
}

// said is the beginning of an error's body, as one line of text.
func said(body []byte) string {
	s := strings.ToValidUTF8(string(body[:min(len(body), 300)]), "?")
	return clip(strings.Join(strings.Fields(s), " "))
}

// bind finds the tensor of each input.
func (m *model) bind(in []tensor.Tensor) ([]*tensor.Tensor, int, error) {
	specs := m.doc.Signature.Inputs
	if len(in) == 0 || len(in) > len(specs) {
		return nil, 0, problem.New(problem.Invalid, "The request has %d inputs; the model takes %d.", len(in), len(specs)).At("inputs")
	}
	bound := make([]*tensor.Tensor, 0, len(specs))
	used := 0
	for _, spec := range specs {
		t := tensor.Find(in, spec.Name)
		if t == nil {
			return nil, 0, problem.New(problem.Invalid, "The input %q is missing from the request.", clip(spec.Name)).At("inputs")
		}
		used++
		if t.Type.String() != spec.Datatype {
			return nil, 0, problem.New(problem.Invalid, "The input %q is %s; the model takes %s.", clip(spec.Name), t.Type, spec.Datatype).At("inputs")
		}
		if !spec.Fits(t.Shape) || t.Shape[0] != in[0].Rows() {
			return nil, 0, problem.New(problem.Invalid, "The input %q has shape %v; the model takes %v with the same rows everywhere.", clip(spec.Name), t.Shape, spec.Shape).At("inputs")
		}
		for i, text := range t.S {
			if !utf8.ValidString(text) { // JSON would carry another text
				return nil, 0, problem.New(problem.Invalid, "Value %d of the input %q is not UTF-8; the model is asked as JSON, which has nothing else.", i, clip(spec.Name)).At("inputs")
			}
		}
		bound = append(bound, t)
	}
	if used != len(in) {
		return nil, 0, problem.New(problem.Invalid, "The request has an input that the model does not take.").At("inputs")
	}
	return bound, in[0].Rows(), nil
}

// SelfTest makes the probes' calls and holds the answers against theirs.
func (m *model) SelfTest(ctx context.Context) error {
	for i, p := range m.doc.Probes {
		out, err := m.Predict(ctx, p.Inputs)
		if err != nil {
			return fmt.Errorf("probe %d: %w", i, err)
		}
		for k := range p.Outputs {
			want := &p.Outputs[k]
			got := tensor.Find(out, want.Name)
			if got == nil {
				return problem.New(problem.Invalid, "Probe %d expects the output %q, which the signature has not.", i, clip(want.Name))
			}
			if where := differs(got, want, p.Tolerance); where != "" {
				return problem.New(problem.Invalid, "The model at %s does not answer probe %d as it should: %s.", clip(m.host), i, where)
			}
		}
	}
	return nil
}

func differs(got, want *tensor.Tensor, tolerance float64) string {
	if got.Type != want.Type || got.Len() != want.Len() {
		return fmt.Sprintf("%q is %s %v instead of %s %v", want.Name, got.Type, got.Shape, want.Type, want.Shape)
	}
	for i := range want.Len() {
		if want.S != nil {
			if got.S[i] != want.S[i] {
				return fmt.Sprintf("value %d of %q is %q instead of %q", i, want.Name, clip(got.S[i]), clip(want.S[i]))
			}
			continue
		}
		a, b := got.Float64(i), want.Float64(i)
		if a != b && !(a != a && b != b) && !(math.Abs(a-b) <= tolerance*math.Max(1, math.Abs(b))) {
			return fmt.Sprintf("value %d of %q is %v instead of %v", i, want.Name, a, b)
		}
	}
	return ""
}
