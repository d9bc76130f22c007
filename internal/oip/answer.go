package oip

import (
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"keelson/internal/serving"
	"keelson/internal/tensor"
)

// encode writes the answer into x.answer: the JSON, then the binary data of outputs that go so. It gives the length of
// the JSON when binary data follows, else −1. It fails with problem.Invalid on a requested output that is not there.
func (x *exchange) encode(a *serving.Answer) (head int, err error) {
	q := &x.request
	dst := append(x.answer[:0], `{"model_name":`...)
	dst = tensor.AppendString(dst, q.call.Endpoint)
	dst = append(dst, `,"model_version":"`...)
	dst = strconv.AppendInt(dst, int64(a.Version), 10)
	dst = append(dst, '"')
	if q.seen.id && q.call.Request != "" {
		dst = append(dst, `,"id":`...)
		dst = tensor.AppendString(dst, q.call.Request)
	}
	if a.ID != "" {
		dst = append(dst, `,"parameters":{"prediction_id":`...)
		dst = tensor.AppendString(dst, a.ID)
	}
	if a.Explanation != nil {
		text, err := json.Marshal(a.Explanation)
		if err != nil {
			return 0, fmt.Errorf("write an explanation: %w", err)
		}
		open := `,"parameters":{"explanation":`
		if a.ID != "" {
			open = `,"explanation":`
		}
		dst = append(append(dst, open...), text...)
	}
	if a.ID != "" || a.Explanation != nil {
		dst = append(dst, '}')
	}
	dst = append(dst, `,"outputs":[`...)
	binary := false
	err = q.eachOutput(a.Outputs, func(i int, t *tensor.Tensor, raw bool) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if !raw {
			dst = t.AppendJSON(dst)
			return
		}
		binary = true
		dst = append(dst, '{')
		dst = t.AppendHead(dst)
		dst = append(dst, `,"parameters":{"binary_data_size":`...)
		dst = strconv.AppendInt(dst, int64(t.RawSize()), 10)
		dst = append(dst, `}}`...)
	})
	dst = append(dst, `]}`...)
	head = -1
	if binary {
		head = len(dst)
		_ = q.eachOutput(a.Outputs, func(_ int, t *tensor.Tensor, raw bool) {
			if raw {
				dst = t.AppendRaw(dst)
			}
		})
	}
	x.answer = dst
	return head, err
}

// eachOutput calls f with what is to be sent, in the order asked for, else the model's.
func (q *request) eachOutput(all []tensor.Tensor, f func(i int, t *tensor.Tensor, raw bool)) error {
	n := len(q.outputs)
	if n == 0 {
		n = len(all)
	}
	for i := range n {
		var t *tensor.Tensor
		raw := q.binaryOutput
		if len(q.outputs) == 0 {
			t = &all[i]
		} else {
			o := &q.outputs[i]
			if t = tensor.Find(all, o.name); t == nil {
				return unknownOutput(o.name, i, q.call.Endpoint)
			}
			if o.stated {
				raw = o.binary
			}
		}
		f(i, t, raw)
	}
	return nil
}

// worthwhile is the smallest answer that is compressed; below it compression costs more than it saves.
const worthwhile = 1 << 10

// send writes an answer, compressed when it is large enough and the caller takes it so.
func send(w http.ResponseWriter, r *http.Request, b []byte) {
	header := w.Header()
	if len(b) >= worthwhile {
		if coding := accepted(r.Header["Accept-Encoding"]); coding != "" {
			header["Content-Encoding"] = []string{coding}
			sendCompressed(w, b, coding)
			return
		}
	}
	header["Content-Length"] = []string{strconv.Itoa(len(b))}
	_, _ = w.Write(b) // a caller who went away reads no error
}

var gzipWriters = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	return z
}}

var zlibWriters = sync.Pool{New: func() any {
	z, _ := zlib.NewWriterLevel(io.Discard, zlib.BestSpeed)
	return z
}}

type compressor interface {
	io.WriteCloser
	Reset(io.Writer)
}

func sendCompressed(w io.Writer, b []byte, coding string) {
	pool := &gzipWriters
	if coding == "deflate" {
		pool = &zlibWriters
	}
	z := pool.Get().(compressor)
	z.Reset(w)
	if _, err := z.Write(b); err == nil {
		_ = z.Close()
	}
	z.Reset(io.Discard)
	pool.Put(z)
}

// accepted chooses gzip or deflate by an Accept-Encoding header: the one with more weight, gzip when they are equal, ""
// for neither (RFC 9110, section 12.5.3).
func accepted(header []string) string {
	gz, de, star := -1.0, -1.0, -1.0
	for _, line := range header {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			weight := 1.0
			if q, ok := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(params), " ", ""), "q="); ok {
				v, err := strconv.ParseFloat(q, 64)
				if err != nil || !(v >= 0 && v <= 1) {
					v = 0
				}
				weight = v
			}
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				gz = weight
			case "deflate":
				de = weight
			case "*":
				star = weight
			}
		}
	}
	if gz < 0 {
		gz = star
	}
	switch {
	case gz > 0 && gz >= de:
		return "gzip"
	case de > 0:
		return "deflate"
	}
	return ""
}
