package feedback

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// MaxLine bounds one line of JSON, in bytes.
const MaxLine = 64 << 10

const (
	batch       = 500              // outcomes of one transaction
	mostNamed   = 100              // refused rows that an answer names
	mostWrong   = 1000             // refused rows after which a file is not read on
	idle        = 10 * time.Minute // a stream that says nothing for so long is over
	writeWithin = time.Minute
)

// line is one outcome with its place.
type line struct {
	at int // of a file: line or row from 1
	o  prediction.Outcome
	no string // why it cannot be one
}

// Ack is the answer to one line of a stream.
type Ack struct {
	Line   int    `json:"line" doc:"from 1"`
	State  string `json:"state" enum:"accepted,duplicate,refused"`
	Detail string `json:"detail,omitempty" doc:"why it was refused"`
}

// Sum ends a stream.
type Sum struct {
	Lines      int  `json:"lines"`
	Accepted   int  `json:"accepted"`
	Duplicates int  `json:"duplicates"`
	Refused    int  `json:"refused"`
	Done       bool `json:"done"`
}

func (s *Sum) count(a Ack) {
	s.Lines++
	switch a.State {
	case "accepted":
		s.Accepted++
	case "duplicate":
		s.Duplicates++
	default:
		s.Refused++
	}
}

// parse reads one line of JSON as an outcome.
func parse(at int, text []byte) line {
	l := line{at: at}
	var in struct {
		Prediction string          `json:"prediction_id"`
		Row        int             `json:"row"`
		Value      json.RawMessage `json:"value"`
		At         time.Time       `json:"at"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&in); err != nil || dec.More() {
		l.no = "It is no JSON object with prediction_id, row and value."
		return l
	}
	l.o = prediction.Outcome{Prediction: in.Prediction, Row: in.Row, Value: in.Value, At: in.At}
	return l.checked()
}

func (l line) checked() line {
	v, ok := prediction.Scalar(l.o.Value)
	switch {
	case l.o.Prediction == "" || len(l.o.Prediction) > 200:
		l.no = "It names no prediction_id."
	case !ok:
		l.no = "Its value is no number, text or truth value."
	case l.o.Row < 0:
		l.no = "Rows count from 0."
	}
	l.o.Value = v
	return l
}

// record stores outcomes and says of each what came of it. One that is refused keeps no other back.
func (s *Service) record(ctx context.Context, lines []line) ([]Ack, error) {
	acks := make([]Ack, len(lines))
	var good []int
	var ids []string
	for i, l := range lines {
		acks[i] = Ack{Line: l.at, State: "refused", Detail: l.no}
		if l.no == "" {
			good, ids = append(good, i), append(ids, l.o.Prediction)
		}
	}
	if len(good) == 0 {
		return acks, nil
	}
	known, err := s.Predictions.Outcomes(ctx, ids)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for id, list := range known {
		for _, o := range list {
			seen[fmt.Sprint(id, "/", o.Row)] = true
		}
	}
	var store func(part []int) error
	store = func(part []int) error {
		list := make([]prediction.Outcome, len(part))
		for k, i := range part {
			list[k] = lines[i].o
		}
		_, _, err := s.Predictions.Record(ctx, list)
		p, refused := problem.As(err)
		switch {
		case err == nil:
			for _, i := range part {
				key := fmt.Sprint(lines[i].o.Prediction, "/", lines[i].o.Row)
				acks[i].State = "accepted"
				if seen[key] {
					acks[i].State = "duplicate"
				}
				seen[key] = true
			}
			return nil
		case !refused || p.Kind != problem.NotFound && p.Kind != problem.Invalid && p.Kind != problem.Conflict:
			return err
		case len(part) == 1:
			acks[part[0]].Detail = p.Detail
			if len(p.Fields) > 0 {
				acks[part[0]].Detail = p.Fields[0].Detail
			}
			return nil
		}
		half := len(part) / 2
		return errors.Join(store(part[:half]), store(part[half:]))
	}
	return acks, store(good)
}

// File stores the outcomes of a file: CSV or Parquet with the columns prediction_id, value and, if wanted, row and at, or
// lines of JSON with these fields. Rows that are refused are named by their number, from 1 without the heading; the others
// are stored.
func (s *Service) File(ctx context.Context, format string, body io.Reader) (Sum, error) {
	var sum Sum
	wrong := problem.New(problem.Invalid, "")
	flush := func(lines []line) error {
		acks, err := s.record(ctx, lines)
		if err != nil {
			return err
		}
		for _, a := range acks {
			sum.count(a)
			if a.State == "refused" && len(wrong.Fields) < mostNamed {
				wrong.With(problem.Field{Field: fmt.Sprintf("row %d", a.Line), Detail: a.Detail})
			}
		}
		if sum.Refused > mostWrong {
			return errTooWrong
		}
		return nil
	}
	var err error
	if format == "jsonl" || format == "ndjson" {
		err = eachLine(body, flush)
	} else {
		var t *dataset.Table
		if t, err = s.Tables.Read(ctx, format, body); err == nil {
			err = eachRow(t, flush)
		}
	}
	if err != nil && !errors.Is(err, errTooWrong) {
		return sum, err
	}
	sum.Done = err == nil
	if sum.Refused > 0 {
		wrong.Detail = fmt.Sprintf("%d of %d rows were refused; the others are on record (%d new, %d known).", sum.Refused, sum.Lines, sum.Accepted, sum.Duplicates)
		if err != nil {
			wrong.Detail += " The file was not read on."
		}
		return sum, wrong
	}
	return sum, nil
}

var errTooWrong = errors.New("too many rows are refused")

// eachLine hands on lines of JSON in batches.
func eachLine(body io.Reader, flush func([]line) error) error {
	in := bufio.NewReaderSize(body, MaxLine)
	var lines []line
	for n := 1; ; n++ {
		text, long, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return problem.New(problem.Invalid, "The file broke off in line %d; send it again, what arrived counts once.", n).Because(err)
		}
		if l := lineOf(n, text, long); l != nil {
			lines = append(lines, *l)
		}
		if len(lines) >= batch || err != nil && len(lines) > 0 {
			if err := flush(lines); err != nil {
				return err
			}
			lines = lines[:0]
		}
		if err != nil {
			return nil
		}
	}
}

// lineOf makes an outcome of a line; nil for an empty one.
func lineOf(n int, text []byte, long bool) *line {
	if long {
		return &line{at: n, no: fmt.Sprintf("The line is longer than %d bytes.", MaxLine)}
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil
	}
	l := parse(n, text)
	return &l
}

// readLine reads up to a line's end; of a line that is too long the rest is thrown away.
func readLine(in *bufio.Reader) (text []byte, long bool, err error) {
	part, err := in.ReadSlice('\n')
	text = bytes.Clone(part)
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		_, err = in.ReadSlice('\n')
	}
	return text, long, err
}

// eachRow hands on the rows of a table in batches.
func eachRow(t *dataset.Table, flush func([]line) error) error {
	id, ok := t.Column("prediction_id")
	value, okValue := t.Column("value")
	if !ok || !okValue {
		return problem.New(problem.Invalid, "The file has no column %s; it needs prediction_id and value, and may have row and at.", map[bool]string{true: "value", false: "prediction_id"}[ok])
	}
	row, hasRow := t.Column("row")
	if hasRow && !row.Numeric() {
		return problem.New(problem.Invalid, "The column row holds no numbers; it counts the rows of a prediction from 0.")
	}
	at, hasAt := t.Column("at")
	if hasAt && at.Type != dataset.Time {
		return problem.New(problem.Invalid, "The column at holds no times; write them as 2026-11-21T09:30:00Z.")
	}
	var lines []line
	for i := range t.Rows {
		who, _ := id.Word(i)
		word, missing := value.Word(i)
		l := line{at: i + 1, o: prediction.Outcome{Prediction: who}}
		switch {
		case missing:
		case value.Type == dataset.Bool, value.Numeric() && !math.IsInf(value.Numbers[i], 0):
			l.o.Value = json.RawMessage(word)
			if value.Numeric() {
				l.o.Value, _ = json.Marshal(value.Numbers[i])
			}
		case !value.Numeric():
			l.o.Value, _ = json.Marshal(word)
		}
		if hasRow {
			if n := row.Numbers[i]; n == math.Trunc(n) && n >= 0 && n < 1<<31 {
				l.o.Row = int(n)
			} else {
				l.o.Row = -1
			}
		}
		if hasAt && !math.IsNaN(at.Numbers[i]) {
			l.o.At = time.UnixMicro(int64(at.Numbers[i])).UTC()
		}
		if lines = append(lines, l.checked()); len(lines) == batch || i == t.Rows-1 {
			if err := flush(lines); err != nil {
				return err
			}
			lines = lines[:0]
		}
	}
	return nil
}

// stream answers every line of a request of lines of JSON as it comes, and ends with the sum. Lines that came together are
// stored together; every line is on record before it is acknowledged.
func (s *Service) stream(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex() // HTTP/1: answer before the request has ended; HTTP/2 does so anyway
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	_ = c.Flush()
	in, out := bufio.NewReaderSize(r.Body, MaxLine), json.NewEncoder(w)
	var sum Sum
	say := func(v any) bool {
		_ = c.SetWriteDeadline(time.Now().Add(writeWithin))
		return out.Encode(v) == nil
	}
	var lines []line
	for n := 1; ; n++ {
		_ = c.SetReadDeadline(time.Now().Add(idle))
		text, long, err := readLine(in)
		if l := lineOf(n, text, long); l != nil {
			lines = append(lines, *l)
		}
		more := err == nil && len(lines) < batch && bytes.IndexByte(peeked(in), '\n') >= 0
		if more {
			continue
		}
		acks, failed := s.record(r.Context(), lines)
		if failed != nil {
			s.Log.ErrorContext(r.Context(), "a stream of outcomes broke off", "line", n, "error", failed)
			say(Ack{Line: n, State: "refused", Detail: "The server cannot store outcomes at the moment; send this line and those behind it again."})
			panic(http.ErrAbortHandler) // not as if it had ended well
		}
		for _, a := range acks {
			sum.count(a)
			if !say(a) {
				return
			}
		}
		lines = lines[:0]
		if err != nil {
			sum.Done = errors.Is(err, io.EOF)
			say(sum)
			return
		}
		_ = c.Flush()
	}
}

// peeked is what has arrived already.
func peeked(in *bufio.Reader) []byte {
	b, _ := in.Peek(in.Buffered())
	return b
}

// formatOf says what a body is, by the query or its media type.
func formatOf(r *http.Request) string {
	if f := r.URL.Query().Get("format"); f != "" {
		return f
	}
	switch media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) {
	case "text/csv":
		return "csv"
	case "application/x-ndjson", "application/jsonl", "application/x-jsonlines", "application/json":
		return "jsonl"
	case "application/vnd.apache.parquet", "application/x-parquet":
		return "parquet"
	}
	return ""
}

// maxFile bounds a file of outcomes, in bytes.
const maxFile = 256 << 20

func (s *Service) postFile(a *rest.API) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sum, err := s.File(r.Context(), formatOf(r), http.MaxBytesReader(w, r.Body, maxFile))
		if err != nil {
			a.Fail(w, r, err)
			return
		}
		rest.JSON(w, http.StatusOK, sum)
	}
}
