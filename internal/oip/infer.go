package oip

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"keelson/internal/caller"
	"keelson/internal/serving"
)

// headerLength says where the JSON of a body with binary data ends.
const headerLength = "Inference-Header-Content-Length"

// keptBuffer is the largest buffer that waits for the next request.
const keptBuffer = 4 << 20

// exchange is what one request needs and the next can use again.
type exchange struct {
	request request
	body    []byte
	answer  []byte
	asked   bool // the request was read, and Models counts what comes of it
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (x *exchange) release() {
	x.request.reset()
	x.asked = false
	if cap(x.body) > keptBuffer {
		x.body = nil
	}
	if cap(x.answer) > keptBuffer {
		x.answer = nil
	}
	exchanges.Put(x)
}

func (h *Handler) infer(w http.ResponseWriter, r *http.Request) {
	x := exchanges.Get().(*exchange)
	defer x.release()
	if err := h.exchange(w, r, x); err != nil {
		h.missed(r, x, err)
		h.fail(w, r, err)
	}
}

// missed counts a call that came no further than here.
func (h *Handler) missed(r *http.Request, x *exchange, err error) {
	if !x.asked {
		h.Models.Missed(caller.Workspace(r.Context()), r.PathValue("name"), err)
	}
}

// exchange answers one inference request; nothing was written when it fails.
func (h *Handler) exchange(w http.ResponseWriter, r *http.Request, x *exchange) (err error) {
	ctx, q := r.Context(), &x.request
	c := &q.call
	start := h.now()
	workspace, endpoint := caller.Workspace(ctx), r.PathValue("name")
	if x.body, err = readBody(x.body[:0], r, h.maxBytes(workspace, endpoint)); err != nil {
		return err
	}
	head, err := jsonLength(r.Header.Get(headerLength), len(x.body))
	if err != nil {
		return err
	}
	if err = q.decode(x.body, head, h.limits()); err != nil {
		return err
	}
	c.Start, c.Workspace, c.Endpoint, c.Version = start, workspace, endpoint, r.PathValue("version")
	if q.timeout > 0 {
		c.Deadline = start.Add(q.timeout)
	}
	h.context(ctx, c, func(name string) []string { return r.Header[name] })
	if err = h.outputsExist(c, q.outputs); err != nil {
		return err
	}
	x.asked = true
	answer, err := h.Models.Infer(ctx, c)
	if err != nil {
		return err
	}
	head, err = x.encode(&answer)
	if err != nil {
		return err
	}
	header := w.Header()
	header["Content-Type"] = contentJSON
	if head >= 0 {
		header["Content-Type"] = contentBinary
		header[headerLength] = []string{strconv.Itoa(head)}
	}
	if answer.ID != "" {
		header["Keelson-Prediction-Id"] = []string{answer.ID}
	}
	send(w, r, x.answer)
	return nil
}

var (
	contentJSON   = []string{"application/json"}
	contentBinary = []string{"application/octet-stream"}
)

// told are the parameters of a request that say who and what a decision is for, each with the header that stands in
// for it.
var told = [...]struct {
	name, header string
	field        func(*serving.Call) *string
}{
	{"application", "Keelson-Application", func(c *serving.Call) *string { return &c.Application }},
	{"purpose", "Keelson-Purpose", func(c *serving.Call) *string { return &c.Purpose }},
	{"subject", "Keelson-Subject", func(c *serving.Call) *string { return &c.Subject }},
	{"segment", "Keelson-Segment", func(c *serving.Call) *string { return &c.Segment }},
	{"routing_key", "Keelson-Routing-Key", func(c *serving.Call) *string { return &c.RoutingKey }},
}

// setTold sets a parameter of told that came in a message; text says whether it was a string.
func setTold(c *serving.Call, i int, v string, text bool, under string) error {
	switch name := told[i].name; {
	case !text:
		return invalid("The parameter %s is not a string.", name).At(under + name)
	case strings.IndexByte(v, 0) >= 0:
		return invalid("The parameter %s holds a zero byte; take it out.", name).At(under + name)
	}
	*told[i].field(c) = v
	return nil
}

// context fills in who asks and what for: parameters that came already stay, headers fill the rest. Purposes of headers
// stay beside that of a parameter, because what a gateway stamps on a call must hold whatever its body says.
func (h *Handler) context(ctx context.Context, c *serving.Call, header func(name string) []string) {
	c.Caller = caller.From(ctx).Name
	for i := range told {
		dst := told[i].field(c)
		if v := header(told[i].header); *dst == "" && len(v) > 0 {
			*dst = v[0]
		}
	}
	c.Stamped = header("Keelson-Purpose")
	if v := header("Traceparent"); len(v) == 1 {
		c.Trace = traceID(v[0])
	}
}

// traceID gives the trace of a W3C traceparent header, "" when it is malformed, as its specification asks.
func traceID(v string) string {
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" || v[:2] == "00" && len(v) != 55 {
		return ""
	}
	zero := true
	for _, c := range []byte(v[3:35]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
		zero = zero && c == '0'
	}
	if zero {
		return ""
	}
	return v[3:35]
}

// jsonLength reads the header that says how long the JSON is; −1 when there is none and all of the body is JSON.
func jsonLength(v string, body int) (int, error) {
	if v == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < 0:
		return 0, invalid("The header %s is %q, not a number of bytes.", headerLength, clip(v)).At(headerLength)
	case n > body:
		return 0, invalid("The header %s says that the JSON has %d bytes, but the body has %d.", headerLength, n, body).At(headerLength)
	}
	return n, nil
}
