package prediction

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Formats of an export.
var formats = map[string]string{"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

// exportBatch is how many records an export holds in memory at once, beside what the reader holds.
const exportBatch = 500

// exported is one line of an export: the record as the log keeps it, and what turned out to be true.
type exported struct {
	row
	Outcomes string `parquet:"outcomes"` // JSON: [{row, value, at}]
}

// sink writes batches of an export in one format.
type sink interface {
	write([]exported) error
	close() error
}

// Export writes the records that q selects, oldest first, with their outcomes. It needs the memory of one batch,
// whatever the number of records. The export is in the audit log before its first byte leaves.
func (s *Service) Export(ctx context.Context, w io.Writer, format string, q Query) (n int64, err error) {
	if err := s.exporting(ctx, format, q, ""); err != nil {
		return 0, err
	}
	return s.stream(ctx, w, format, q)
}

// exporting checks an export and puts it into the audit log.
func (s *Service) exporting(ctx context.Context, format string, q Query, filter string) error {
	if formats[format] == "" {
		return problem.New(problem.Invalid, "%q is no format of an export; use jsonl, csv or parquet.", clip(format)).At("format")
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		detail := map[string]any{"format": format, "model": q.Model, "version": q.Version, "caller": q.Caller, "slot": q.Slot}
		if filter != "" {
			detail["filter"] = clip(filter)
		}
		if !q.Since.IsZero() {
			detail["since"] = q.Since
		}
		if !q.Until.IsZero() {
			detail["until"] = q.Until
		}
		return audit.Record(tx, "prediction.exported", Retention{Endpoint: q.Endpoint}.object(), detail)
	})
}

func (s *Service) stream(ctx context.Context, w io.Writer, format string, q Query) (n int64, err error) {
	var to sink
	switch format {
	case "csv":
		to = &csvSink{w: csv.NewWriter(w)}
	case "parquet":
		to = &parquetSink{parquet.NewGenericWriter[exported](w, parquet.Compression(&parquet.Zstd), parquet.CreatedBy("keelson", "1", ""),
			parquet.KeyValueMetadata("keelson.format", "prediction-export/1"))}
	default:
		to = jsonSink{json.NewEncoder(w)}
	}
	batch, ids := make([]exported, 0, exportBatch), make([]string, 0, exportBatch)
	flush := func() error {
		known, err := s.Outcomes(ctx, ids)
		if err != nil {
			return err
		}
		for i := range batch {
			list := []OutcomeOfAView{}
			for _, o := range known[batch[i].PredictionID] {
				list = append(list, OutcomeOfAView{o.Row, o.Value, o.At})
			}
			b, err := json.Marshal(list)
			if err != nil {
				return err
			}
			batch[i].Outcomes = string(b)
		}
		err = to.write(batch)
		n += int64(len(batch))
		clear(batch)
		batch, ids = batch[:0], ids[:0]
		return err
	}
	var scratch []byte
	err = s.Scan(ctx, q, func(r Record) error {
		var line exported
		line.row, scratch = toRow(&r, scratch)
		batch, ids = append(batch, line), append(ids, r.ID)
		if len(batch) == exportBatch {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = to.close()
	}
	return n, err
}

type parquetSink struct {
	w *parquet.GenericWriter[exported]
}

func (p *parquetSink) write(batch []exported) error {
	if len(batch) == 0 {
		return nil
	}
	if _, err := p.w.Write(batch); err != nil {
		return err
	}
	return p.w.Flush()
}
func (p *parquetSink) close() error { return p.w.Close() }

// exportColumns are the columns of a CSV, those of the Parquet file in their order.
var exportColumns = []string{"prediction_id", "at", "workspace", "endpoint", "model", "version", "environment", "slot", "caller", "application", "purpose", "subject",
	"request", "rows", "inputs", "outputs", "latency_us", "compute_us", "error", "trace", "segment", "override", "trace_info", "redacted", "outcomes"}

type csvSink struct {
	w     *csv.Writer
	begun bool
}

func (c *csvSink) write(batch []exported) error {
	if !c.begun {
		c.begun = true
		if err := c.w.Write(exportColumns); err != nil {
			return err
		}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, r := range batch {
		if err := c.w.Write([]string{r.PredictionID, time.UnixMicro(r.At).UTC().Format(time.RFC3339Nano), r.Workspace, r.Endpoint, r.Model, number(int64(r.Version)), r.Environment, r.Slot,
			r.Caller, r.Application, r.Purpose, r.Subject, r.Request, number(r.Rows), r.Inputs, r.Outputs, number(r.LatencyUS), number(r.ComputeUS), r.Error, r.Trace,
			r.Segment, r.Override, r.TraceInfo, r.Redacted, r.Outcomes}); err != nil {
			return err
		}
	}
	c.w.Flush()
	return c.w.Error()
}
func (c *csvSink) close() error { return nil }

type jsonSink struct{ w *json.Encoder }

func (j jsonSink) write(batch []exported) error {
	for i := range batch {
		e := &batch[i]
		r, err := e.record()
		if err != nil {
			return err
		}
		v := view(r, nil)
		if err := json.Unmarshal([]byte(e.Outcomes), &v.Outcomes); err != nil {
			return err
		}
		if err := j.w.Encode(v); err != nil {
			return err
		}
	}
	return nil
}
func (j jsonSink) close() error { return nil }

// exportQuery reads the filters of an export, which are those of the list.
func exportQuery(v url.Values) (format string, q Query, err error) {
	format = v.Get("format")
	if format == "" {
		format = "jsonl"
	}
	q = Query{Endpoint: v.Get("endpoint"), Model: v.Get("model"), Caller: v.Get("caller"), Slot: v.Get("slot")}
	if t := v.Get("version"); t != "" {
		if q.Version, err = strconv.Atoi(t); err != nil || q.Version < 0 {
			return format, q, problem.New(problem.Invalid, "%q is no version.", clip(t)).At("version")
		}
	}
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if t := v.Get(name); t != "" {
			if *to, err = time.Parse(time.RFC3339, t); err != nil {
				return format, q, problem.New(problem.Invalid, "%q is no time; write 2026-11-21T00:00:00Z.", clip(t)).At(name)
			}
		}
	}
	return format, q, nil
}

func (s *Service) getExport(a *rest.API, w http.ResponseWriter, r *http.Request) {
	format, q, err := exportQuery(r.URL.Query())
	if err == nil {
		q.Where, err = s.Where(r.Context(), r.URL.Query().Get("filter"))
	}
	if err == nil {
		err = s.exporting(r.Context(), format, q, r.URL.Query().Get("filter"))
	}
	if err != nil {
		a.Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", formats[format])
	w.Header().Set("Content-Disposition", `attachment; filename="predictions.`+format+`"`)
	n, err := s.stream(r.Context(), w, format, q)
	if err != nil {
		if r.Context().Err() == nil {
			s.Logger.ErrorContext(r.Context(), "an export of predictions broke off", "records", n, "error", err)
		}
		panic(http.ErrAbortHandler) // the answer has begun: cut it, so that nobody takes a part for the whole
	}
}
