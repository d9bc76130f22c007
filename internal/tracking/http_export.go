package tracking

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// exportPage is how many runs are read at a time.
const exportPage = 1000

// export streams all runs of a search as a file. Runs that are written meanwhile may or may not be in it; none is twice.
func (s *Service) export(a *rest.API) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		format := q.Get("format")
		v, err := RunQuery{Experiment: q.Get("experiment"), Filter: q.Get("filter"), Order: q.Get("order_by"), Columns: q.Get("columns"), View: q.Get("view")}.search()
		switch {
		case err != nil:
		case format != "csv" && format != "json":
			err = problem.New(problem.Invalid, "The format %q is unknown; use csv or json.", problem.Clip(format, 40)).At("format")
		case v.View == "":
			err = problem.New(problem.Invalid, "The view %q is unknown; use active, deleted or all.", problem.Clip(q.Get("view"), 40)).At("view")
		}
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		out := &exporter{s: s, w: w, v: v}
		v.Limit = exportPage
		started := false
		for {
			p, err := s.PageRuns(r.Context(), v)
			if err == nil && !started {
				err = out.open(r.Context(), format)
			}
			if err != nil && !started {
				a.Fail(w, r, asked(err))
				return
			}
			started = true
			if err == nil {
				err = out.write(p.Runs)
			}
			if err != nil { // too late for a status: the file must not look whole
				s.Log.ErrorContext(r.Context(), "an export broke off", "error", err)
				panic(http.ErrAbortHandler)
			}
			if v.Token = p.Next; v.Token == "" {
				break
			}
		}
		if err := out.close(); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

type exporter struct {
	s    *Service
	w    http.ResponseWriter
	v    Search
	csv  *csv.Writer
	cols Columns
	n    int
}

// open records the act and begins the file.
func (e *exporter) open(ctx context.Context, format string) error {
	err := e.s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, "run.exported", "run", map[string]any{"experiments": e.v.Experiments, "filter": e.v.Filter, "format": format, "view": e.v.View})
	})
	if err != nil {
		return err
	}
	if format == "csv" {
		if err := e.columns(ctx); err != nil {
			return err
		}
	}
	h := e.w.Header()
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="runs-%s.%s"`, e.s.Now().UTC().Format("20060102-150405"), format))
	h.Set("X-Content-Type-Options", "nosniff")
	if format == "json" {
		h.Set("Content-Type", "application/json")
		_, err := io.WriteString(e.w, "[")
		return err
	}
	h.Set("Content-Type", "text/csv; charset=utf-8")
	e.csv = csv.NewWriter(e.w)
	head := []string{"id", "name", "experiment", "status", "user", "started_at", "ended_at"}
	for _, c := range []struct {
		kind string
		keys []string
	}{{"metrics.", e.cols.Metrics}, {"params.", e.cols.Params}, {"tags.", e.cols.Tags}} {
		for _, k := range c.keys {
			head = append(head, c.kind+k)
		}
	}
	return e.csv.Write(head)
}

// columns says which columns a table has: those asked for, or all there are.
func (e *exporter) columns(ctx context.Context) error {
	c := Columns{AllMetrics: true, AllParams: true, AllTags: true}
	if e.v.Columns != nil {
		c = *e.v.Columns
	}
	return e.s.DB.Read(ctx, func(tx db.Scope) error {
		where := e.v.Experiments
		if len(where) == 0 {
			var err error
			if where, err = someExperiments(tx); err != nil {
				return err
			}
			if where == nil {
				return problem.New(problem.Invalid, "There are too many experiments to say which columns the table has; name experiments, or the columns.").At("columns")
			}
		}
		for _, k := range []struct {
			all   bool
			table string
			keys  *[]string
		}{{c.AllMetrics, runSide.metric, &c.Metrics}, {c.AllParams, runSide.param, &c.Params}, {c.AllTags, runSide.tag, &c.Tags}} {
			if !k.all {
				continue
			}
			keys, err := keysOf(tx, k.table, where, maxColumns+1)
			if err != nil {
				return err
			}
			if len(keys) > maxColumns {
				return problem.New(problem.Invalid, "The runs have more than %d keys of one kind, which is more than a table takes; name the columns, or export as json.", maxColumns).At("columns")
			}
			*k.keys = keys
		}
		e.cols = c
		return nil
	})
}

func (e *exporter) write(runs []Run) error {
	for _, r := range runs {
		e.n++
		if e.csv == nil {
			b, err := json.Marshal(view(r))
			if err != nil {
				return err
			}
			if e.n > 1 {
				b = append([]byte(",\n"), b...)
			}
			if _, err := e.w.Write(b); err != nil {
				return err
			}
			continue
		}
		at := func(t time.Time) string {
			if t.IsZero() {
				return ""
			}
			return t.UTC().Format(time.RFC3339Nano)
		}
		line := []string{cell(r.ID), cell(r.Name), cell(r.Experiment), r.Status, cell(r.Author), at(r.Started), at(r.Ended)}
		metrics := make(map[string]float64, len(r.Metrics))
		for _, m := range r.Metrics {
			metrics[m.Key] = m.Value
		}
		for _, k := range e.cols.Metrics {
			v, ok := metrics[k]
			text := ""
			if ok {
				text = strconv.FormatFloat(v, 'g', -1, 64)
			}
			line = append(line, text)
		}
		for _, k := range e.cols.Params {
			line = append(line, cell(r.Params[k]))
		}
		for _, k := range e.cols.Tags {
			line = append(line, cell(r.Tags[k]))
		}
		if err := e.csv.Write(line); err != nil {
			return err
		}
	}
	if e.csv != nil {
		e.csv.Flush()
		return e.csv.Error()
	}
	return nil
}

// cell keeps a spreadsheet from taking a text for a formula: one that begins like a formula gets an apostrophe, unless it
// is a number.
func cell(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	return "'" + s
}

func (e *exporter) close() error {
	if e.csv != nil {
		return nil
	}
	_, err := io.WriteString(e.w, "]\n")
	return err
}
