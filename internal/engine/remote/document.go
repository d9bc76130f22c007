package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Mark is what the field format says.
const Mark = "keelson-remote-1"

// Document is the file: where the model is served, the contract it has to keep, and calls whose answers are known. Its
// digest is that of the version, so whoever approves a version approves the address and the contract.
//
//	{"format": "keelson-remote-1", "protocol": "oip", "url": "https://models.example.com/v2/models/iris/infer",
//	 "signature": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]},
//	 "timeout": "2s", "retries": 1, "token_env": "KEELSON_REMOTE_IRIS",
//	 "probes": [{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}],
//	             "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.2, 0.7]}], "tolerance": 1e-6}]}
type Document struct {
	Format      string            `json:"format"`
	Description string            `json:"description,omitempty"`
	Protocol    string            `json:"protocol"` // oip or http
	URL         string            `json:"url"`      // of the call itself
	Signature   engine.Signature  `json:"signature"`
	Timeout     string            `json:"timeout,omitempty"`   // of one attempt; default 5s, at most 60s
	Retries     *int              `json:"retries,omitempty"`   // further attempts; default 1, at most 5
	Headers     map[string]string `json:"headers,omitempty"`   // no secrets: the file is stored
	TokenEnv    string            `json:"token_env,omitempty"` // the environment variable, KEELSON_REMOTE_…, that holds the bearer token
	Breaker     *Breaker          `json:"breaker,omitempty"`
	Request     json.RawMessage   `json:"request,omitempty"` // of http: the body, with placeholders
	Answer      map[string]string `json:"answer,omitempty"`  // of http: where each output stands, as a JSON pointer; * is every element
	Probes      []Probe           `json:"probes,omitempty"`
}

// Breaker says when calls stop going out: after so many failures in a row, for so long; then one call tries.
type Breaker struct {
	Failures int    `json:"failures"` // 1 to 1000; default 5
	Pause    string `json:"pause"`    // default 10s, at most 10m
}

// Probe is a call whose answer is known. Its tolerance is relative for numbers above 1.
type Probe struct {
	Inputs    []tensor.Tensor `json:"inputs"`
	Outputs   []tensor.Tensor `json:"outputs"`
	Tolerance float64         `json:"tolerance,omitempty"`
}

const tokenPrefix = "KEELSON_REMOTE_"

func broken(format string, a ...any) *problem.Error {
	return problem.New(problem.Invalid, "The remote model cannot be used: "+format+".", a...)
}

// contract is a checked document.
type contract struct {
	doc      Document
	timeout  time.Duration
	retries  int
	failures int
	pause    time.Duration
	request  any // the template, decoded
	pointers [][]string
}

// mostValues is how many values a document may hold, and mostObjects how many of them may be objects: two bytes of text can
// stand for two hundred of memory.
const (
	mostValues  = 16 << 10
	mostObjects = 2 << 10
)

// crowded tells whether data holds more than that, by its commas and braces outside of texts.
func crowded(data []byte) bool {
	values, objects, text := 1, 0, false
	for i := 0; i < len(data); i++ {
		switch b := data[i]; {
		case text && b == '\\':
			i++
		case b == '"':
			text = !text
		case !text && b == ',':
			values++
		case !text && b == '{':
			objects++
		}
	}
	return values > mostValues || objects > mostObjects
}

func parse(data []byte) (*contract, error) {
	if crowded(data) {
		return nil, broken("it holds more than %d values or %d objects; keep the probes few and short", mostValues, mostObjects)
	}
	c := &contract{timeout: 5 * time.Second, retries: 1, failures: 5, pause: 10 * time.Second}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c.doc); err != nil {
		return nil, broken("it is no document of the form %s: %v", Mark, err).Because(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, broken("something follows the document")
	}
	doc := &c.doc
	if doc.Format != Mark {
		return nil, broken("its format is %q instead of %q", clip(doc.Format), Mark)
	}
	if err := doc.Signature.Check(); err != nil {
		return nil, err
	}
	for _, s := range slices.Concat(doc.Signature.Inputs, doc.Signature.Outputs) {
		if len(s.Shape) == 0 || s.Shape[0] != -1 {
			return nil, broken("the shape of %q does not begin with -1, the rows", clip(s.Name))
		}
	}
	if err := duration(&c.timeout, doc.Timeout, time.Millisecond, time.Minute, "timeout"); err != nil {
		return nil, err
	}
	if doc.Retries != nil {
		if c.retries = *doc.Retries; c.retries < 0 || c.retries > 5 {
			return nil, broken("retries is %d; 0 to 5 are possible", c.retries)
		}
	}
	if b := doc.Breaker; b != nil {
		if b.Failures != 0 {
			c.failures = b.Failures
		}
		if c.failures < 1 || c.failures > 1000 {
			return nil, broken("breaker.failures is %d; 1 to 1000 are possible", b.Failures)
		}
		if err := duration(&c.pause, b.Pause, time.Millisecond, 10*time.Minute, "breaker.pause"); err != nil {
			return nil, err
		}
	}
	if doc.TokenEnv != "" && !strings.HasPrefix(doc.TokenEnv, tokenPrefix) {
		return nil, broken("token_env is %q; the variable's name has to begin with %s", clip(doc.TokenEnv), tokenPrefix)
	}
	for name, value := range doc.Headers {
		switch k := http.CanonicalHeaderKey(name); {
		case k == "Authorization" || k == "Cookie" || k == "Proxy-Authorization":
			return nil, broken("the header %s would hold a secret in the stored file; name the variable that holds the token in token_env", k)
		case k == "Host" || k == "Content-Length" || k == "Transfer-Encoding" || k == "Connection" || strings.ContainsAny(name+value, "\r\n\x00") || name == "":
			return nil, broken("the header %q cannot be set", clip(name))
		}
	}
	return c, c.mapping()
}

func duration(into *time.Duration, text string, least, most time.Duration, name string) error {
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return broken("%s is %q; it is a time such as 2s, at most %s", name, clip(text), most)
	}
	*into = d
	return nil
}

// mapping checks the part that belongs to plain HTTP.
func (c *contract) mapping() error {
	doc := &c.doc
	switch doc.Protocol {
	case "oip":
		if doc.Request != nil || doc.Answer != nil {
			return broken("request and answer are for the protocol http")
		}
		return nil
	case "http":
	default:
		return broken("its protocol is %q; oip and http are known", clip(doc.Protocol))
	}
	if len(doc.Request) == 0 {
		return broken("it lacks the request's template")
	}
	if err := json.Unmarshal(doc.Request, &c.request); err != nil {
		return broken("the request's template is no JSON").Because(err)
	}
	found := 0
	if err := c.placeholders(c.request, 0, &found); err != nil {
		return err
	}
	if found == 0 {
		return broken("the request's template has no placeholder; $rows, $matrix, $columns, $names and $input:NAME are known")
	}
	for _, out := range doc.Signature.Outputs {
		p, ok := doc.Answer[out.Name]
		if !ok || p != "" && p[0] != '/' {
			return broken("answer.%s is no JSON pointer such as /predictions/*/score", clip(out.Name))
		}
		var parts []string
		if p != "" {
			for part := range strings.SplitSeq(p[1:], "/") {
				parts = append(parts, strings.NewReplacer("~1", "/", "~0", "~").Replace(part))
			}
		}
		c.pointers = append(c.pointers, parts)
	}
	if len(doc.Answer) != len(doc.Signature.Outputs) {
		return broken("answer names an output that the signature has not")
	}
	return nil
}

func (c *contract) placeholders(v any, depth int, found *int) error {
	if depth > 64 {
		return broken("the request's template is more than 64 levels deep")
	}
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			if err := c.placeholders(x, depth+1, found); err != nil {
				return err
			}
		}
	case []any:
		for _, x := range v {
			if err := c.placeholders(x, depth+1, found); err != nil {
				return err
			}
		}
	case string:
		name, isInput := strings.CutPrefix(v, "$input:")
		switch {
		case v == "$rows" || v == "$matrix" || v == "$columns":
			*found++
		case isInput:
			if *found++; !slices.ContainsFunc(c.doc.Signature.Inputs, func(s engine.Spec) bool { return s.Name == name }) {
				return broken("the placeholder %q names no input of the signature", clip(v))
			}
		case strings.HasPrefix(v, "$") && !strings.HasPrefix(v, "$$") && v != "$names":
			return broken("the placeholder %q is not known; a text that begins with $ is written $$", clip(v))
		}
	}
	return nil
}

// body writes the request of a call.
func (c *contract) body(in []*tensor.Tensor, rows int) ([]byte, error) {
	if c.doc.Protocol == "oip" {
		b := []byte(`{"inputs":[`)
		for i, t := range in {
			if i > 0 {
				b = append(b, ',')
			}
			b = t.AppendJSON(b)
		}
		return append(b, `]}`...), nil
	}
	b, err := json.Marshal(c.fill(c.request, in, rows))
	if err != nil {
		return nil, broken("the values of the call cannot be written as JSON: %v", err)
	}
	return b, nil
}

// fill puts values in the place of placeholders.
func (c *contract) fill(v any, in []*tensor.Tensor, rows int) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = c.fill(x, in, rows)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = c.fill(x, in, rows)
		}
		return out
	case string:
		return c.value(v, in, rows)
	}
	return v
}

func (c *contract) value(s string, in []*tensor.Tensor, rows int) any {
	var columns []column
	for i, t := range in {
		columns = append(columns, columnsOf(c.doc.Signature.Inputs[i], t)...)
	}
	switch {
	case strings.HasPrefix(s, "$$"):
		return s[1:]
	case s == "$names":
		names := make([]string, len(columns))
		for i := range columns {
			names[i] = columns[i].name
		}
		return names
	case s == "$columns":
		out := make(map[string]any, len(columns))
		for _, k := range columns {
			list := make([]any, rows)
			for r := range list {
				list[r] = k.at(r)
			}
			out[k.name] = list
		}
		return out
	case s == "$rows" || s == "$matrix":
		out := make([]any, rows)
		for r := range out {
			object, list := map[string]any{}, make([]any, len(columns))
			for i, k := range columns {
				list[i] = k.at(r)
				object[k.name] = list[i]
			}
			if out[r] = any(list); s == "$rows" {
				out[r] = object
			}
		}
		return out
	}
	if name, ok := strings.CutPrefix(s, "$input:"); ok {
		for i, spec := range c.doc.Signature.Inputs {
			if spec.Name == name {
				next := 0
				return nested(in[i], in[i].Shape, &next)
			}
		}
	}
	return s
}

// column is one value per row.
type column struct {
	name          string
	t             *tensor.Tensor
	offset, width int
}

func (k column) at(row int) any { return cell(k.t, row*k.width+k.offset) }

// columnsOf takes an input apart into columns, named by the signature, by the input, or by input and position.
func columnsOf(spec engine.Spec, t *tensor.Tensor) (list []column) {
	width := 1
	for _, d := range t.Shape[1:] {
		width *= d
	}
	for i := range width {
		name := spec.Name
		if len(spec.Columns) == width {
			name = spec.Columns[i]
		} else if width > 1 {
			name = fmt.Sprintf("%s_%d", spec.Name, i)
		}
		list = append(list, column{name, t, i, width})
	}
	return list
}

// cell is a value as JSON has it; NaN and infinities are null.
func cell(t *tensor.Tensor, i int) any {
	switch {
	case t.S != nil:
		return t.S[i]
	case t.B != nil:
		return t.B[i]
	case t.I64 != nil:
		return t.I64[i]
	case t.U64 != nil:
		return t.U64[i]
	case t.F32 != nil:
		if v := t.F32[i]; v-v == 0 {
			return v
		}
	default:
		if v := t.F64[i]; v-v == 0 {
			return v
		}
	}
	return nil
}

func nested(t *tensor.Tensor, shape []int, next *int) any {
	if len(shape) == 0 {
		v := cell(t, *next)
		*next++
		return v
	}
	out := make([]any, shape[0])
	for i := range out {
		out[i] = nested(t, shape[1:], next)
	}
	return out
}

// clip shortens what others wrote for a message.
func clip(s string) string { return problem.Clip(s, 120) }
