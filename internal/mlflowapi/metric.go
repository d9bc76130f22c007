package mlflowapi

import (
	"bufio"
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tensor"
	"keelson/internal/tracking"
)

// Limits of reading many histories at once.
const (
	maxBulkRuns     = 100
	maxBulkInterval = 2500 // points of one run, sampled
)

// metricRoutes mounts the busiest calls: they read and write JSON without reflection, and histories of any length are
// written while they are read.
func (m *API) metricRoutes(a *rest.API) {
	for _, prefix := range prefixes {
		a.Handle("POST", prefix+"/2.0/mlflow/runs/log-metric", "run.write", rest.MLflow, http.HandlerFunc(m.logMetric))
		a.Handle("POST", prefix+"/2.0/mlflow/runs/log-batch", "run.write", rest.MLflow, http.HandlerFunc(m.logBatch))
		a.Handle("GET", prefix+"/2.0/mlflow/metrics/get-history", "run.read", rest.MLflow, m.streamed(m.getHistory))
		a.Handle("GET", prefix+"/2.0/mlflow/metrics/get-history-bulk", "run.read", rest.MLflow, m.streamed(m.getHistoryBulk))
		a.Handle("GET", prefix+"/2.0/mlflow/metrics/get-history-bulk-interval", "run.read", rest.MLflow, m.streamed(m.getHistoryInterval))
	}
}

func (m *API) logMetric(w http.ResponseWriter, r *http.Request) {
	b, err := body(w, r, maxBody)
	if err == nil {
		var run string
		var p tracking.Point
		if run, p, err = readMetric(b); err == nil {
			err = m.Tracking.LogBatch(r.Context(), run, tracking.Batch{Metrics: []tracking.Point{p}})
		}
	}
	m.done(w, r, err)
}

func (m *API) logBatch(w http.ResponseWriter, r *http.Request) {
	b, err := body(w, r, MaxBatch)
	if problem.Is(err, problem.TooLarge) {
		err = problem.New(problem.Invalid, "Batched logging API requests must be at most %d bytes, got a request of size %d.", MaxBatch, max(r.ContentLength, MaxBatch+1))
	}
	if err == nil {
		var run string
		var batch tracking.Batch
		if run, batch, err = readBatch(b); err == nil {
			err = m.Tracking.LogBatch(r.Context(), run, batch)
		}
	}
	m.done(w, r, err)
}

var applicationJSON, emptyObject = []string{"application/json"}, []byte("{}")

// done answers a command.
func (m *API) done(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		m.fail(w, r, err)
		return
	}
	w.Header()["Content-Type"] = applicationJSON
	_, _ = w.Write(emptyObject)
}

// readMetric reads the body of log-metric.
func readMetric(b []byte) (run string, p tracking.Point, err error) {
	s := tensor.NewScanner(b)
	if s.Peek() == 0 {
		return "", p, missing("run_id")
	}
	var uuid string
	value, at := false, false
	err = s.Object(func(key string) error {
		switch key {
		case "run_id":
			return readText(s, &run)
		case "run_uuid":
			return readText(s, &uuid)
		case "value":
			value = !isNull(s)
		case "timestamp":
			at = !isNull(s)
		}
		return readPointField(s, key, "", &p)
	})
	if err == nil {
		err = s.End()
	}
	run = cmp.Or(run, uuid)
	gone := ""
	switch {
	case run == "":
		gone = "run_id"
	case err != nil:
		return "", p, err
	case p.Key == "":
		gone = "key"
	case !value:
		gone = "value"
	case !at:
		gone = "timestamp"
	default:
		return run, p, nil
	}
	return "", p, because(missing(gone), err)
}

func isNull(s *tensor.Scanner) bool { return s.Peek() == 'n' }

// because adds what was wrong with the JSON to a parameter that is therefore missing: MLflow says only the latter.
func because(gone, malformed error) error {
	if p, ok := problem.As(gone); ok && malformed != nil {
		p.Detail += " " + malformed.Error()
	}
	return gone
}

// pointWriter writes {"metrics":[…]} to a client while the points are read. Nothing is sent before the first 32 KiB, so
// that a refusal has its status.
type pointWriter struct {
	w     http.ResponseWriter
	b     *bufio.Writer
	line  []byte
	begun bool // the first point, or the end, is in b
	sent  bool // something is on its way
}

// Write hands on what b is full of.
func (p *pointWriter) Write(b []byte) (int, error) {
	if !p.sent {
		p.sent = true
		p.w.Header()["Content-Type"] = applicationJSON
	}
	return p.w.Write(b)
}

func (p *pointWriter) point(key, run string, s tracking.Sample) error {
	p.line = p.line[:0]
	if p.begun {
		p.line = append(p.line, ',')
	} else {
		p.begin()
	}
	p.line = append(p.line, `{"key":`...)
	p.line = tensor.AppendString(p.line, key)
	p.line = append(p.line, `,"value":`...)
	p.line = appendNumber(p.line, s.Value)
	p.line = append(p.line, `,"timestamp":`...)
	p.line = strconv.AppendInt(p.line, s.At, 10)
	p.line = append(p.line, `,"step":`...)
	p.line = strconv.AppendInt(p.line, s.Step, 10)
	if run != "" {
		p.line = append(p.line, `,"run_id":`...)
		p.line = tensor.AppendString(p.line, run)
	}
	p.line = append(p.line, '}')
	_, err := p.b.Write(p.line)
	return err
}

func (p *pointWriter) begin() {
	p.begun = true
	_, _ = p.b.WriteString(`{"metrics":[`)
}

// end closes the answer; always says that an empty list is written, too.
func (p *pointWriter) end(next string, always bool) error {
	if !p.begun && !always {
		_, err := p.Write(emptyObject)
		return err
	}
	if !p.begun {
		p.begin()
	}
	p.line = append(p.line[:0], ']')
	if next != "" {
		p.line = append(p.line, `,"next_page_token":`...)
		p.line = tensor.AppendString(p.line, next)
	}
	_, _ = p.b.Write(append(p.line, '}'))
	return p.b.Flush()
}

// appendNumber writes NaN as a string and an infinity as the largest finite number, as MLflow does.
func appendNumber(b []byte, v float64) []byte {
	if a := math.Abs(v); a == 0 || a >= 1e-6 && a < 1e21 { // as encoding/json writes all but the very small and large
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	out, err := number(v).MarshalJSON()
	if err != nil { // a float64 that is neither NaN nor infinite always has JSON
		return append(b, "null"...)
	}
	return append(b, out...)
}

// streamed mounts a call that writes points. What fails after the first of them breaks the connection: a client must not
// take half a history for a whole one.
func (m *API) streamed(h func(*http.Request, url.Values, *pointWriter) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := clean(r)
		p := &pointWriter{w: w}
		p.b = bufio.NewWriterSize(p, 32<<10)
		if err == nil {
			err = h(r, r.URL.Query(), p)
		}
		switch {
		case err == nil:
		case p.sent:
			if r.Context().Err() == nil && m.Log != nil {
				m.Log.ErrorContext(r.Context(), "a history broke off", "route", r.URL.Path, "error", err)
			}
			panic(http.ErrAbortHandler)
		default:
			m.fail(w, r, err)
		}
	})
}

func (m *API) getHistory(r *http.Request, q url.Values, p *pointWriter) error {
	run, key := cmp.Or(q.Get("run_id"), q.Get("run_uuid")), q.Get("metric_key")
	switch {
	case run == "":
		return missing("run_id")
	case key == "":
		return missing("metric_key")
	}
	limit := 0 // all
	if text := q.Get("max_results"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n == 0 {
			return invalid("max_results", text)
		}
		if limit, err = limited(integer(n), 0, tracking.MaxHistoryPage); err != nil {
			return err
		}
	}
	token := q.Get("page_token")
	if limit == 0 && token != "" {
		limit = tracking.MaxHistoryPage
	}
	next, err := m.Tracking.History(r.Context(), run, key, token, limit, func(s tracking.Sample) error { return p.point(key, "", s) })
	if err != nil {
		return err
	}
	return p.end(next, false)
}

// getHistoryBulk gives the histories of many runs, one after the other by their identifiers, up to so many points in all.
func (m *API) getHistoryBulk(r *http.Request, q url.Values, p *pointWriter) error {
	runs, key := slices.Clone(q["run_id"]), q.Get("metric_key")
	switch {
	case len(runs) == 0:
		return problem.New(problem.Invalid, "GetMetricHistoryBulk request must specify at least one run_id.").At("run_id")
	case len(runs) > maxBulkRuns:
		return problem.New(problem.Invalid, "GetMetricHistoryBulk request cannot specify more than %d run_ids. Received %d run_ids.", maxBulkRuns, len(runs)).At("run_id")
	case key == "":
		return problem.New(problem.Invalid, "GetMetricHistoryBulk request must specify a metric_key.").At("metric_key")
	}
	left := tracking.MaxHistoryPage
	if text := q.Get("max_results"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return invalid("max_results", text)
		}
		left = min(left, n)
	}
	slices.Sort(runs)
	for _, run := range slices.Compact(runs) {
		if left == 0 {
			break
		}
		if _, err := m.Tracking.History(r.Context(), run, key, "", left, func(s tracking.Sample) error {
			left--
			return p.point(key, run, s)
		}); err != nil {
			return err
		}
	}
	return p.end("", true)
}

// getHistoryInterval gives the histories of many runs between two steps, each sampled down to so many points.
func (m *API) getHistoryInterval(r *http.Request, q url.Values, p *pointWriter) error {
	runs, key := q["run_ids"], q.Get("metric_key")
	switch {
	case len(runs) == 0:
		return missing("run_ids")
	case len(runs) > maxBulkRuns:
		return problem.New(problem.Invalid, "GetMetricHistoryBulkInterval request must specify at most %d run_ids. Received %d run_ids.", maxBulkRuns, len(runs)).At("run_ids")
	case key == "":
		return missing("metric_key")
	}
	n := maxBulkInterval
	if text := q.Get("max_results"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxBulkInterval {
			return problem.New(problem.Invalid, "Invalid value %s for parameter 'max_results' supplied: max_results must be between 1 and %d.", problem.Clip(text, 40), maxBulkInterval).At("max_results")
		}
	}
	steps := [2]int64{math.MinInt64, math.MaxInt64}
	if q.Has("start_step") != q.Has("end_step") {
		return problem.New(problem.Invalid, "If either start step or end step are specified, both must be specified.").At("start_step")
	}
	for i, name := range []string{"start_step", "end_step"} {
		if text := q.Get(name); q.Has(name) {
			v, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return invalid(name, text)
			}
			steps[i] = v
		}
	}
	if steps[0] > steps[1] {
		return problem.New(problem.Invalid, "end_step must be greater than start_step. Found start_step=%d and end_step=%d.", steps[0], steps[1]).At("end_step")
	}
	for _, run := range runs {
		v, err := m.Tracking.Sample(r.Context(), run, key, steps[0], steps[1], n)
		if err != nil {
			return err
		}
		for _, s := range v.Points {
			if err := p.point(key, run, s); err != nil {
				return err
			}
		}
	}
	return p.end("", false)
}
