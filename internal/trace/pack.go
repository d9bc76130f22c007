package trace

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/zstd"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// packed is spans as they are stored: their ids, 8 bytes each, and an OTLP ScopeSpans message compressed with zstd.
type packed struct {
	n         int
	ids, data []byte
}

// maxUnpacked bounds what one document may grow to when it is read; more cannot have been written.
const maxUnpacked = 512 << 20

var codec = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		panic(err)
	}
	return e, d
})

// pack compresses spans whose ids differ.
func pack(spans []*Span) (packed, error) {
	b, err := proto.Marshal(&tracepb.ScopeSpans{Spans: spans})
	if err != nil {
		return packed{}, fmt.Errorf("pack spans: %w", err)
	}
	p := packed{n: len(spans), ids: make([]byte, 0, 8*len(spans))}
	for _, s := range spans {
		p.ids = append(p.ids, s.SpanId...)
	}
	e, _ := codec()
	p.data = e.EncodeAll(b, make([]byte, 0, len(b)/3+64))
	return p, nil
}

// unpack reads a stored document.
func unpack(data []byte) ([]*Span, error) {
	_, d := codec()
	b, err := d.DecodeAll(data, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack spans: %w", err)
	}
	var doc tracepb.ScopeSpans
	if err := (proto.UnmarshalOptions{RecursionLimit: 2*maxDepth + 8}).Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("unpack spans: %w", err)
	}
	return doc.Spans, nil
}

// distinct leaves one span per id, the last one, in the order of their first appearance.
func distinct(spans []*Span) []*Span {
	at := make(map[string]int, len(spans))
	out := spans[:0:0]
	for _, s := range spans {
		if i, ok := at[string(s.SpanId)]; ok {
			out[i] = s
			continue
		}
		at[string(s.SpanId)] = len(out)
		out = append(out, s)
	}
	return out
}

// width is how many documents of one size class are kept side by side before they are merged into one of the next.
const width = 8

// class is the size class of a document of n spans: 0 below 8, 1 below 64, 2 below 512, …
func class(n int) int { return max(bits.Len(uint(n))-1, 0) / 3 }
