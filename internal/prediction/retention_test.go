package prediction

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"keelson/internal/bin"
	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// era is a service whose clock a test moves.
type era struct {
	*Service
	now time.Time
	ctx context.Context
}

func newEra(t *testing.T, d *db.DB) *era {
	t.Helper()
	e := &era{now: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), ctx: caller.With(t.Context(), caller.Caller{Name: "ada", Kind: caller.Person})}
	clock := func() time.Time { e.now = e.now.Add(time.Millisecond); return e.now }
	l := openLog(t, t.TempDir(), func(o *Options) { o.Now = clock })
	e.Service = newService(t, d, l, blobtest.Dir(t))
	e.Now, e.HashKey = clock, []byte("k")
	return e
}

// answer logs one prediction about a subject at an endpoint and tells its outcome.
func (e *era) answer(t *testing.T, endpoint, model, subject string) string {
	t.Helper()
	r := record(endpoint, 0)
	r.Model, r.Subject = model, subject
	if err := e.Log.Append(e.ctx, &r, Group); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.Record(e.ctx, []Outcome{{Prediction: r.ID, Row: 0, Value: json.RawMessage("1")}}); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func (e *era) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := e.DB.Read(e.ctx, func(tx db.Scope) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM `+table+` WHERE workspace = $1`, tx.Workspace).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func (e *era) stored(t *testing.T) int {
	t.Helper()
	list, err := e.Blobs.ListNamed(e.ctx, "predictions/")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func (e *era) entries(t *testing.T, action string) int {
	t.Helper()
	n := 0
	if err := e.DB.Read(e.ctx, func(tx db.Scope) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = $2`, tx.Workspace, action).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPredictionsGoWhenTheirRetentionIsOver(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		old := e.answer(t, "a", "a", "p")
		kept := e.answer(t, "b", "b", "p")
		longer := e.answer(t, "c", "c", "p")
		held := e.answer(t, "d", "d", "p")
		byModel := e.answer(t, "e", "loans", "p")
		e.now = e.now.AddDate(0, 0, 3)
		fresh := e.answer(t, "a", "a", "p")
		e.KeepDays = 10
		for _, r := range []Retention{{Endpoint: "", Days: 2}, {Endpoint: "b", Days: 0}, {Endpoint: "c", Days: 30}} {
			if _, err := e.SetRetention(e.ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		b := &bin.Service{DB: d, Now: e.Now}
		for _, h := range []bin.Hold{{Kind: "endpoint", Name: "d", Reason: "a dispute"}, {Kind: "version", Name: "loans/1", Reason: "an inspection"}} {
			if _, err := b.PutHold(e.ctx, h); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Retain(caller.System(t.Context(), "retain")); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			id   string
			gone bool
		}{"older than the workspace's": {old, true}, "kept for good": {kept, false}, "with a longer one": {longer, false}, "under a hold": {held, false},
			"whose version is under a hold": {byModel, false}, "of today": {fresh, false}} {
			_, err := e.Get(e.ctx, c.id)
			if c.gone != problem.Is(err, problem.NotFound) || !c.gone && err != nil {
				t.Errorf("a prediction %s: %v", name, err)
			}
			known, err := e.Outcomes(e.ctx, []string{c.id})
			if err != nil || (len(known) == 0) != c.gone {
				t.Errorf("the outcome of a prediction %s: %v, %v", name, known, err)
			}
		}
		if e.stored(t) != 5 || e.count(t, "prediction_gone") != 0 || e.entries(t, "prediction.purged") != 1 {
			t.Errorf("%d files, %d names waiting, %d entries", e.stored(t), e.count(t, "prediction_gone"), e.entries(t, "prediction.purged"))
		}
		if err := b.LiftHold(e.ctx, "endpoint", "d"); err != nil {
			t.Fatal(err)
		}
		if err := e.DropRetention(e.ctx, ""); err != nil {
			t.Fatal(err)
		}
		if err := e.Retain(caller.System(t.Context(), "retain")); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Get(e.ctx, held); err != nil {
			t.Errorf("younger than the installation's ten days: %v", err)
		}
		e.now = e.now.AddDate(0, 0, 10)
		if err := e.Retain(caller.System(t.Context(), "retain")); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Get(e.ctx, held); !problem.Is(err, problem.NotFound) {
			t.Errorf("older than the installation's ten days and no longer held: %v", err)
		}
		if err := e.DropRetention(e.ctx, "nobody"); !problem.Is(err, problem.NotFound) {
			t.Errorf("a rule that is not there: %v", err)
		}
	})
}

func TestAPurgeTakesWholeHoursAndSaysBeforehandWhatWouldGo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		var first, second []string
		for i := range 3 {
			first = append(first, e.answer(t, "a", "a", fmt.Sprint(i)))
		}
		e.now = e.now.Add(time.Hour)
		second = append(second, e.answer(t, "a", "a", "x"), e.answer(t, "b", "b", "x"))
		e.now = e.now.Add(time.Hour)
		if err := e.File(e.ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := e.SetRetention(e.ctx, Retention{Endpoint: "b", Days: 7}); err != nil {
			t.Fatal(err)
		}
		kept, err := e.getRetentions(e.ctx, nil)
		if err != nil || len(kept.Kept) != 2 || kept.Kept[0].Predictions != 4 || kept.Kept[0].By != "installation" || kept.Kept[1].Days != 7 || kept.Kept[1].By != "endpoint" ||
			kept.Kept[0].Bytes == 0 || !kept.Kept[0].Oldest.Before(kept.Kept[0].Newest) {
			t.Fatalf("what is kept: %+v, %v", kept, err)
		}
		dry, err := e.Purge(e.ctx, Purge{Before: e.now.Add(-time.Hour), DryRun: true})
		if err != nil || dry.Predictions != 3 || dry.Files != 1 || e.stored(t) != 3 || e.entries(t, "prediction.purged") != 0 {
			t.Fatalf("%+v, %d files, %v", dry, e.stored(t), err)
		}
		got, err := e.Purge(e.ctx, Purge{Before: e.now.Add(-30 * time.Minute), Why: "test"})
		if err != nil || got.Predictions != 3 || got.Outcomes != 3 || len(got.Endpoints) != 1 || e.stored(t) != 2 {
			t.Fatalf("%+v, %d files, %v", got, e.stored(t), err)
		}
		if left := ids(scan(t, e.ctx, e.Service, Query{})); !slices.Equal(left, second) {
			t.Errorf("left %v of %v and %v", left, first, second)
		}
		// What is of the last minutes may not be filed yet and stays, whatever is asked.
		e.now = e.now.Add(time.Hour)
		if got, err = e.Purge(e.ctx, Purge{Before: e.now.Add(24 * time.Hour), Endpoint: "b", Why: "test"}); err != nil || got.Predictions != 1 || got.Before.After(e.now) {
			t.Errorf("%+v, %v", got, err)
		}
		other := caller.WithWorkspace(e.ctx, "other")
		if got, err = e.Purge(other, Purge{Before: e.now, Why: "test"}); err != nil || got.Files != 0 || e.count(t, "prediction_file") != 1 {
			t.Errorf("another workspace purged %+v, %v", got, err)
		}
	})
}

func TestAPersonIsErasedFromFilesAndOutcomes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newEra(t, d)
		var stay, go1 []string
		for i := range 6 {
			id := e.answer(t, "a", "a", []string{"p-1", "p-2"}[i%2])
			if i%2 == 0 {
				go1 = append(go1, id)
			} else {
				stay = append(stay, id)
			}
		}
		alone := e.answer(t, "only", "only", "p-1")
		e.now = e.now.Add(time.Hour)
		held := e.answer(t, "held", "held", "p-1")
		b := &bin.Service{DB: d, Now: e.Now}
		if _, err := b.PutHold(e.ctx, bin.Hold{Kind: "model", Name: "held", Reason: "a dispute"}); err != nil {
			t.Fatal(err)
		}
		got, err := e.Erase(e.ctx, "p-1", "request 17")
		if err != nil || got.Predictions != 4 || got.Outcomes != 4 || got.Files != 2 || got.Kept != 1 || !strings.Contains(got.Hold, "a dispute") {
			t.Fatalf("%+v, %v", got, err)
		}
		if left := ids(scan(t, e.ctx, e.Service, Query{})); !slices.Equal(left, append(stay, held)) {
			t.Errorf("left %v, want %v and %s", left, stay, held)
		}
		for _, id := range append(go1, alone) {
			if known, err := e.Outcomes(e.ctx, []string{id}); err != nil || len(known) != 0 {
				t.Errorf("%v, %v", known, err)
			}
		}
		if e.stored(t) != 2 || e.entries(t, "prediction.erased") != 2 {
			t.Errorf("%d files, %d entries", e.stored(t), e.entries(t, "prediction.erased"))
		}
		if again, err := e.Erase(e.ctx, "p-1", "request 17"); err != nil || again.Predictions != 0 || again.Subject != got.Subject || strings.Contains(got.Subject, "p-1") {
			t.Errorf("again: %+v, %v", again, err)
		}
		if _, err := e.Erase(e.ctx, "p-1", " "); !problem.Is(err, problem.Invalid) {
			t.Errorf("without a reason: %v", err)
		}
		// A reader that knew of the files before they were written again finds the rest all the same.
		if got, err := e.Get(e.ctx, stay[1]); err != nil || got.Subject != "p-2" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestAReaderOutlivesAPurgeAndAnErasure(t *testing.T) {
	e := newEra(t, dbtest.SQLite(t))
	var all []string
	for i := range 3 { // an hour each: a file each
		all = append(all, e.answer(t, "a", "a", fmt.Sprint("p-", i)), e.answer(t, "a", "a", "q"))
		e.now = e.now.Add(time.Hour)
	}
	if err := e.File(e.ctx); err != nil {
		t.Fatal(err)
	}
	var seen []string
	err := e.Scan(e.ctx, Query{}, func(r Record) error {
		if seen = append(seen, r.ID); len(seen) > 1 {
			return nil
		}
		_, purge := e.Purge(e.ctx, Purge{Before: e.now.Add(-45 * time.Minute), Why: "test"})
		_, erase := e.Erase(e.ctx, "p-2", "test")
		return errors.Join(purge, erase)
	})
	// The first file was open already; the second was purged; the third was written again without one of its records.
	if want := []string{all[0], all[1], all[5]}; err != nil || !slices.Equal(seen, want) {
		t.Errorf("seen %v, want %v, %v", seen, want, err)
	}
}

func TestAnExportHasEveryRecordWithItsOutcomesInEachFormat(t *testing.T) {
	e := newEra(t, dbtest.SQLite(t))
	var want []string
	for i := range exportBatch + 3 {
		r := record("a", i)
		if err := e.Log.Append(e.ctx, &r, Group); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.ID)
		if i == exportBatch/2 {
			if err := e.File(e.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.answer(t, "b", "b", "p")
	if _, _, err := e.Record(e.ctx, []Outcome{{Prediction: want[7], Row: 1, Value: json.RawMessage(`"bad"`)}}); err != nil {
		t.Fatal(err)
	}
	api := rest.New("test", door{}, quiet)
	e.Routes(api)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	get := func(query string) (int, []byte) {
		res, err := http.Get(server.URL + "/api/v1/predictions/export?" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, b
	}
	check := func(format string, ids []string, outcome string) {
		if !slices.Equal(ids, want) {
			t.Errorf("%s holds %d records, want %d", format, len(ids), len(want))
		}
		if !strings.Contains(outcome, `"value":"bad"`) {
			t.Errorf("%s: outcomes %s", format, outcome)
		}
	}
	var got []string
	outcome := ""
	_, b := get("endpoint=a")
	for line := range bytes.Lines(b) {
		var v View
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		if got = append(got, v.ID); v.ID == want[7] {
			text, _ := json.Marshal(v.Outcomes)
			outcome = string(text)
		}
	}
	check("jsonl", got, outcome)

	_, b = get("endpoint=a&format=csv")
	lines, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || !slices.Equal(lines[0], exportColumns) {
		t.Fatalf("%v, %v", lines[0], err)
	}
	got = nil
	for _, l := range lines[1:] {
		if got = append(got, l[0]); l[0] == want[7] {
			outcome = l[len(l)-1]
		}
	}
	check("csv", got, outcome)

	_, b = get("endpoint=a&format=parquet")
	rows, err := parquet.Read[exported](bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, r := range rows {
		if got = append(got, r.PredictionID); r.PredictionID == want[7] {
			outcome = r.Outcomes
		}
	}
	check("parquet", got, outcome)
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range f.Schema().Columns() {
		names = append(names, c[0])
	}
	if !slices.Equal(names, exportColumns) {
		t.Errorf("columns %v", names)
	}
	for _, bad := range []string{"format=xml", "since=yesterday", "version=-1"} {
		if status, b := get(bad); status != 422 && status != 400 {
			t.Errorf("%s: %d %s", bad, status, b)
		}
	}
	if n := e.entries(t, "prediction.exported"); n != 3 {
		t.Errorf("%d exports are in the audit log, want 3", n)
	}
}
