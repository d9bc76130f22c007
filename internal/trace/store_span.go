package trace

import (
	"fmt"
	"slices"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// chunk is the head of a stored document.
type chunk struct {
	seq   int64
	spans int
	ids   []byte
}

func chunks(tx db.Scope, id string) (out []chunk, err error) {
	err = tx.Each(`SELECT seq, spans, ids FROM trace_chunk WHERE workspace = $1 AND trace = $2 ORDER BY seq`, []any{tx.Workspace, id}, func(scan func(...any) error) error {
		var c chunk
		err := scan(&c.seq, &c.spans, &c.ids)
		out = append(out, c)
		return err
	})
	return out, err
}

// readSpans reads the spans of traces; seqs (of one trace) picks documents, none means all.
func readSpans(tx db.Scope, ids []string, seqs ...int64) (map[string][]*Span, error) {
	out := make(map[string][]*Span, len(ids))
	for part := range slices.Chunk(ids, 100) {
		q := newQuery(tx)
		q.Add(`SELECT trace, seq, data FROM trace_chunk WHERE workspace = `, q.Arg(tx.Workspace), ` AND trace IN (`, q.Args(part), `) ORDER BY trace, seq`)
		err := tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
			var id string
			var seq int64
			var data []byte
			if err := scan(&id, &seq, &data); err != nil {
				return err
			}
			if len(seqs) > 0 && !slices.Contains(seqs, seq) {
				return nil
			}
			spans, err := unpack(data)
			if err != nil {
				return fmt.Errorf("trace %s: %w", id, err)
			}
			out[id] = append(out[id], spans...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func insertChunk(tx db.Scope, id string, seq int64, p packed) error {
	_, err := tx.Exec(`INSERT INTO trace_chunk (workspace, trace, seq, spans, ids, data) VALUES ($1, $2, $3, $4, $5, $6)`, tx.Workspace, id, seq, p.n, p.ids, p.data)
	return err
}

func dropChunks(tx db.Scope, id string, seqs []int64) error {
	for _, seq := range seqs {
		if _, err := tx.Exec(`DELETE FROM trace_chunk WHERE workspace = $1 AND trace = $2 AND seq = $3`, tx.Workspace, id, seq); err != nil {
			return err
		}
	}
	return nil
}

func insertMarks(tx db.Scope, id string, marks []mark) error {
	for part := range slices.Chunk(marks, 100) {
		q := newQuery(tx)
		q.Add(`INSERT INTO trace_span (workspace, trace, name, kind, status) VALUES `)
		for i, m := range part {
			if i > 0 {
				q.Add(`, `)
			}
			q.Add(`(`, q.Arg(tx.Workspace), `, `, q.Arg(id), `, `, q.Arg(m.name), `, `, q.Arg(m.kind), `, `, q.Arg(m.status), `)`)
		}
		q.Add(` ON CONFLICT (workspace, trace, name, kind, status) DO NOTHING`)
		if _, err := tx.Exec(q.String(), q.Values...); err != nil {
			return fmt.Errorf("index spans: %w", err)
		}
	}
	return nil
}

// addSpans stores spans of a trace that holds had spans, whose row is locked, and gives how many there are then. p is
// spans packed, marks is what searches see of them. Spans that come again replace what was there.
func addSpans(tx db.Scope, id string, had int, spans []*Span, p packed, marks []mark) (int, error) {
	if had == 0 {
		if err := insertChunk(tx, id, 1, p); err != nil {
			return 0, err
		}
		return p.n, insertMarks(tx, id, marks)
	}
	heads, err := chunks(tx, id)
	if err != nil {
		return 0, err
	}
	known := make(map[[8]byte]bool, had)
	last := int64(0)
	for _, c := range heads {
		last = c.seq
		for ids := c.ids; len(ids) >= 8; ids = ids[8:] {
			known[[8]byte(ids)] = true
		}
	}
	again := 0
	for ids := p.ids; len(ids) >= 8; ids = ids[8:] {
		if known[[8]byte(ids)] {
			again++
		}
	}
	total := len(known) + p.n - again
	if total > MaxSpans {
		return 0, problem.New(problem.Invalid, "Trace %s would have %d spans; a trace has at most %d.", id, total, MaxSpans).At("spans")
	}
	if again > 0 {
		return total, replaceSpans(tx, id, spans, last+1)
	}
	if err := insertMarks(tx, id, marks); err != nil {
		return 0, err
	}
	if err := insertChunk(tx, id, last+1, p); err != nil {
		return 0, err
	}
	return total, mergeChunks(tx, id, append(heads, chunk{seq: last + 1, spans: p.n}))
}

// replaceSpans stores all spans of a trace anew, with spans in place of those of the same ids.
func replaceSpans(tx db.Scope, id string, spans []*Span, seq int64) error {
	old, err := readSpans(tx, []string{id})
	if err != nil {
		return err
	}
	all := distinct(append(old[id], spans...))
	p, err := pack(all)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM trace_chunk WHERE workspace = $1 AND trace = $2`, tx.Workspace, id); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM trace_span WHERE workspace = $1 AND trace = $2`, tx.Workspace, id); err != nil {
		return err
	}
	if err := insertChunk(tx, id, seq, p); err != nil {
		return err
	}
	return insertMarks(tx, id, observe(Batch{Spans: all}).index)
}

// mergeChunks makes one document of every width documents of a size class, so that a trace whose spans come one by one
// has few and each span is written again only a few times.
func mergeChunks(tx db.Scope, id string, heads []chunk) error {
	for {
		classes := map[int][]int64{}
		last := int64(0)
		var full []int64
		for _, c := range heads {
			k := class(c.spans)
			classes[k] = append(classes[k], c.seq)
			last = max(last, c.seq)
			if len(classes[k]) >= width {
				full = classes[k]
				break
			}
		}
		if full == nil {
			return nil
		}
		spans, err := readSpans(tx, []string{id}, full...)
		if err != nil {
			return err
		}
		p, err := pack(spans[id])
		if err != nil {
			return err
		}
		if err := dropChunks(tx, id, full); err != nil {
			return err
		}
		for _, c := range heads {
			last = max(last, c.seq)
		}
		if err := insertChunk(tx, id, last+1, p); err != nil {
			return err
		}
		heads = append(slices.DeleteFunc(heads, func(c chunk) bool { return slices.Contains(full, c.seq) }), chunk{seq: last + 1, spans: p.n})
	}
}
