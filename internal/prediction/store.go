package prediction

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"keelson/internal/db"
)

// file is a row of prediction_file.
type file struct {
	ID, Endpoint, Name, Segment string
	First, Last                 string
	From, To                    time.Time
	Predictions, DataRows       int64
	Bytes                       int64
	Digest                      string
	Chunks                      []chunk
	Models                      []string // "model/3" of every version in it; nil when its row does not say
	Created                     time.Time

	model   string // of the record covered last
	version int
}

// useKey says who called which version on which day.
type useKey struct {
	Model       string
	Day         time.Time
	Caller      string
	Application string
	Version     int
}

// useCount is how often.
type useCount struct {
	Calls, Rows int64
	ComputeUS   int64
	LastAt      time.Time
}

// plus adds two counts of the same key.
func (c useCount) plus(o useCount) useCount {
	c.Calls += o.Calls
	c.Rows += o.Rows
	c.ComputeUS += o.ComputeUS
	if o.LastAt.After(c.LastAt) {
		c.LastAt = o.LastAt
	}
	return c
}

// store is the SQL of this noun.
type store struct{}

// filed tells whether a segment has been filed, looking in the scope's workspace. Its files may be gone; a process of
// before prediction_segment marks nothing but its files.
func (store) filed(tx db.Scope, segment string) (bool, error) {
	var n int
	err := tx.QueryRow(`SELECT (SELECT COUNT(*) FROM prediction_segment WHERE workspace = $1 AND segment = $2) + (SELECT COUNT(*) FROM prediction_file WHERE workspace = $1 AND segment = $2)`,
		tx.Workspace, segment).Scan(&n)
	return n > 0, err
}

// markFiled remembers that a segment has been filed, whatever becomes of its files.
func (store) markFiled(tx db.Scope, segment string, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO prediction_segment (workspace, segment, filed_at) VALUES ($1, $2, $3)`, tx.Workspace, segment, db.Micros(now))
	return err
}

// forgetFiled removes what is remembered of segments that were filed before a time.
func (store) forgetFiled(tx db.Scope, before time.Time) error {
	_, err := tx.Exec(`DELETE FROM prediction_segment WHERE workspace = $1 AND filed_at < $2`, tx.Workspace, db.Micros(before))
	return err
}

func (store) insertFile(tx db.Scope, f file) error {
	_, err := tx.Exec(`INSERT INTO prediction_file (id, workspace, endpoint, name, segment, first_id, last_id, from_at, to_at, predictions, data_rows, bytes, digest, chunks, created_at, models)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		f.ID, tx.Workspace, f.Endpoint, f.Name, f.Segment, f.First, f.Last, db.Micros(f.From), db.Micros(f.To),
		f.Predictions, f.DataRows, f.Bytes, f.Digest, db.ToJSON(f.Chunks), db.Micros(f.Created), db.ToJSON(f.Models))
	return err
}

// pageFiles is the number of files that a reader learns of at a time.
const pageFiles = 64

// bounds of the files a reader wants: identifiers above and below (exclusive, empty is open), times of the records.
type bounds struct {
	endpoint     string
	above, below string
	since, until time.Time
}

// files gives one page of the files that may hold records within b: ascending by first identifier behind from, or
// descending by last identifier before from.
func (store) files(tx db.Scope, b bounds, descending bool, from string) (out []file, err error) {
	text := selectFile + `WHERE workspace = $1 AND ($2 = '' OR endpoint = $2) AND last_id > $3 AND ($4 = '' OR first_id < $4) AND to_at >= $5 AND from_at < $6 `
	if descending {
		text += `AND ($7 = '' OR last_id < $7) ORDER BY last_id DESC LIMIT $8`
	} else {
		text += `AND first_id > $7 ORDER BY first_id LIMIT $8`
	}
	since, until := -(int64(1) << 62), int64(1)<<62
	if !b.since.IsZero() {
		since = db.Micros(b.since)
	}
	if !b.until.IsZero() {
		until = db.Micros(b.until)
	}
	err = tx.Each(text, []any{tx.Workspace, b.endpoint, b.above, b.below, since, until, from, pageFiles}, into(&out))
	return out, err
}

const selectFile = `SELECT id, endpoint, name, segment, first_id, last_id, from_at, to_at, predictions, data_rows, bytes, digest, chunks, models, created_at
	FROM prediction_file `

// into gathers rows of selectFile.
func into(out *[]file) func(scan func(...any) error) error {
	return func(scan func(...any) error) error {
		var f file
		var from, to, created int64
		var chunks, models string
		if err := scan(&f.ID, &f.Endpoint, &f.Name, &f.Segment, &f.First, &f.Last, &from, &to, &f.Predictions, &f.DataRows, &f.Bytes, &f.Digest, &chunks, &models, &created); err != nil {
			return err
		}
		f.From, f.To, f.Created = db.Time(from), db.Time(to), db.Time(created)
		if models != "" {
			if err := db.FromJSON(models, &f.Models); err != nil {
				return err
			}
		}
		err := db.FromJSON(chunks, &f.Chunks)
		*out = append(*out, f)
		return err
	}
}

func (store) addUse(tx db.Scope, k useKey, c useCount) error {
	_, err := tx.Exec(`INSERT INTO prediction_use (workspace, model, day, caller, application, version, calls, data_rows, last_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (workspace, model, day, caller, application, version) DO UPDATE SET calls = prediction_use.calls + excluded.calls,
		data_rows = prediction_use.data_rows + excluded.data_rows,
		last_at = CASE WHEN excluded.last_at > prediction_use.last_at THEN excluded.last_at ELSE prediction_use.last_at END`,
		tx.Workspace, k.Model, db.Micros(k.Day), k.Caller, k.Application, k.Version, c.Calls, c.Rows, db.Micros(c.LastAt))
	return err
}

// uses adds what is filed about a model, from the day of since on.
func (store) uses(tx db.Scope, model string, since time.Time, into map[useKey]useCount) error {
	return tx.Each(`SELECT day, caller, application, version, calls, data_rows, last_at FROM prediction_use WHERE workspace = $1 AND model = $2 AND last_at >= $3`,
		[]any{tx.Workspace, model, db.Micros(since)}, func(scan func(...any) error) error {
			k := useKey{Model: model}
			var c useCount
			var day, last int64
			if err := scan(&day, &k.Caller, &k.Application, &k.Version, &c.Calls, &c.Rows, &last); err != nil {
				return err
			}
			k.Day, c.LastAt = db.Time(day), db.Time(last)
			into[k] = c
			return nil
		})
}

func (store) lastUsed(tx db.Scope) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	err := tx.Each(`SELECT model, MAX(last_at) FROM prediction_use WHERE workspace = $1 GROUP BY model`, []any{tx.Workspace}, func(scan func(...any) error) error {
		var model string
		var at int64
		if err := scan(&model, &at); err != nil {
			return err
		}
		out[model] = db.Time(at)
		return nil
	})
	return out, err
}

// outcome gives what is known of one row; false when nothing is.
func (store) outcome(tx db.Scope, prediction string, row int) (value string, found bool, err error) {
	err = tx.QueryRow(`SELECT value FROM prediction_outcome WHERE workspace = $1 AND prediction = $2 AND row_no = $3`, tx.Workspace, prediction, row).Scan(&value)
	if err == db.ErrNoRows {
		return "", false, nil
	}
	return value, err == nil, err
}

func (store) insertOutcome(tx db.Scope, o Outcome, endpoint, by string, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO prediction_outcome (workspace, prediction, row_no, endpoint, value, at, told_by, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		tx.Workspace, o.Prediction, o.Row, endpoint, string(o.Value), db.Micros(o.At), by, db.Micros(now))
	return err
}

// outcomesAtOnce is how many predictions one statement asks about.
const outcomesAtOnce = 200

var outcomesQuery = func() string {
	var b strings.Builder
	b.WriteString(`SELECT prediction, row_no, value, at FROM prediction_outcome WHERE workspace = $1 AND prediction IN (`)
	for i := range outcomesAtOnce {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("$" + strconv.Itoa(i+2))
	}
	return b.String() + `) ORDER BY prediction, row_no`
}()

// outcomes adds what is known of at most outcomesAtOnce predictions.
func (store) outcomes(tx db.Scope, ids []string, into map[string][]Outcome) error {
	args := make([]any, 1, outcomesAtOnce+1)
	args[0] = tx.Workspace
	for i := range outcomesAtOnce { // always as many, so that the statement is prepared once
		args = append(args, ids[min(i, len(ids)-1)])
	}
	return tx.Each(outcomesQuery, args, func(scan func(...any) error) error {
		var o Outcome
		var at int64
		var value string
		if err := scan(&o.Prediction, &o.Row, &value, &at); err != nil {
			return err
		}
		o.Value, o.At = json.RawMessage(value), db.Time(at)
		into[o.Prediction] = append(into[o.Prediction], o)
		return nil
	})
}

// key is a row of prediction_key.
type key struct {
	prediction, node string
	at               time.Time
}

func (store) key(tx db.Scope, endpoint, given string) (k key, found bool, err error) {
	var at int64
	err = tx.QueryRow(`SELECT prediction, node, at FROM prediction_key WHERE workspace = $1 AND endpoint = $2 AND given = $3`, tx.Workspace, endpoint, given).Scan(&k.prediction, &k.node, &at)
	if err == db.ErrNoRows {
		return k, false, nil
	}
	k.at = db.Time(at)
	return k, err == nil, err
}

func (store) reserveKey(tx db.Scope, endpoint, given, node string, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO prediction_key (workspace, endpoint, given, prediction, node, at) VALUES ($1, $2, $3, '', $4, $5)`, tx.Workspace, endpoint, given, node, db.Micros(now))
	return err
}

func (store) settleKey(tx db.Scope, endpoint, given, prediction string) error {
	_, err := tx.Exec(`UPDATE prediction_key SET prediction = $4 WHERE workspace = $1 AND endpoint = $2 AND given = $3`, tx.Workspace, endpoint, given, prediction)
	return err
}
