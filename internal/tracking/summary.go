package tracking

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"keelson/internal/db"
)

// Summary is what there is of one metric of a run.
type Summary struct {
	Key       string
	Latest    Sample
	Low, High *float64 // the smallest and the largest value; nil when all are NaN
	Count     int      // points, identical ones once
}

// Summaries gives the metrics of a run, sorted by key. Closed chunks know what they hold and are not opened, unless their
// ranges overlap: then identical points are found by reading.
func (s *Service) Summaries(ctx context.Context, run string) (out []Summary, err error) {
	chunks, fresh := map[string][]span{}, map[string][]Sample{}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		clear(chunks)
		clear(fresh)
		out = nil
		if _, err := head(tx, run); err != nil {
			return err
		}
		if err := tx.Each(`SELECT key, value, kind, step, at_ms FROM metric_latest WHERE workspace = $1 AND run = $2`, []any{tx.Workspace, run}, func(scan func(...any) error) error {
			var m Summary
			var kind int
			err := scan(&m.Key, &m.Latest.Value, &kind, &m.Latest.Step, &m.Latest.At)
			m.Latest.Value = join(m.Latest.Value, kind)
			out = append(out, m)
			return err
		}); err != nil {
			return err
		}
		if err := tx.Each(`SELECT `+spanColumns+`, key FROM metric_chunk WHERE workspace = $1 AND run = $2`, []any{tx.Workspace, run}, func(scan func(...any) error) error {
			var p span
			var key string
			err := p.scan(scan, &key)
			chunks[key] = append(chunks[key], p)
			return err
		}); err != nil {
			return err
		}
		return tailed(tx, run, func(key string, p Sample) { fresh[key] = append(fresh[key], p) })
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Summary) int { return strings.Compare(a.Key, b.Key) })
	for i := range out {
		m := &out[i]
		if m.sum(chunks[m.Key], tidy(fresh[m.Key], false)) {
			continue
		}
		if err := s.count(ctx, run, m); err != nil {
			return nil, fmt.Errorf("read metric %s of run %s: %w", m.Key, run, err)
		}
	}
	return out, nil
}

// sum adds up what chunks and points say of themselves; ok is false when they must be read.
func (m *Summary) sum(chunks []span, fresh []Sample) (ok bool) {
	if len(fresh) > 0 {
		low, high, some := extremes(fresh)
		first, last := fresh[0], fresh[len(fresh)-1]
		chunks = append(chunks, span{points: len(fresh), minStep: first.Step, minAt: first.At, maxStep: last.Step, maxAt: last.At, known: true,
			low: sql.NullFloat64{Float64: low, Valid: some}, high: sql.NullFloat64{Float64: high, Valid: some}})
	}
	order := func(a Sample, b Sample) int { return a.compare(b, false) }
	slices.SortFunc(chunks, func(a, b span) int {
		return order(Sample{Step: a.minStep, At: a.minAt}, Sample{Step: b.minStep, At: b.minAt})
	})
	for i, c := range chunks {
		if !c.known || i > 0 && order(Sample{Step: chunks[i-1].maxStep, At: chunks[i-1].maxAt}, Sample{Step: c.minStep, At: c.minAt}) >= 0 {
			*m = Summary{Key: m.Key, Latest: m.Latest}
			return false
		}
		m.Count += c.points
		if c.low.Valid && c.high.Valid {
			m.extend(c.low.Float64, c.high.Float64)
		}
	}
	return true
}

func (m *Summary) extend(low, high float64) {
	if m.Low == nil {
		m.Low, m.High = &low, &high
		return
	}
	*m.Low, *m.High = min(*m.Low, low), max(*m.High, high)
}

// count reads the whole series.
func (s *Service) count(ctx context.Context, run string, m *Summary) error {
	opened, err := s.series(ctx, series{run: run, key: m.Key, from: math.MinInt64, to: math.MaxInt64})
	if err != nil {
		return err
	}
	return opened.each(func(p Sample) (bool, error) {
		m.Count++
		if !math.IsNaN(p.Value) {
			m.extend(p.Value, p.Value)
		}
		return true, nil
	})
}
