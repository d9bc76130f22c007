package prediction

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/blob"
	"keelson/internal/blob/blobtest"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
	"keelson/internal/usage"
)

var quiet = slog.New(slog.DiscardHandler)

func openLog(t testing.TB, dir string, change func(*Options)) *Log {
	t.Helper()
	o := Options{Dir: dir, Node: "n1", Logger: quiet, Metrics: prometheus.NewRegistry()}
	if change != nil {
		change(&o)
	}
	l, err := OpenLog(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newService(t testing.TB, d *db.DB, l *Log, b blob.Store) *Service {
	return &Service{DB: d, Blobs: b, Log: l, Logger: quiet, Now: time.Now}
}

func record(endpoint string, i int) Record {
	return Record{
		Workspace: "default", Endpoint: endpoint, Model: endpoint, Version: 1 + i%2, Environment: "prod", Slot: SlotLive,
		Caller: fmt.Sprintf("caller-%d", i%3), Application: "desk", Purpose: "triage", Subject: "p-1", Request: fmt.Sprint(i), Rows: 2,
		Inputs:  []tensor.Tensor{tensor.FP32s("input", []int{2, 2}, []float32{float32(i), float32(math.NaN()), 3, 4}), tensor.Strings("ward", []int{2}, []string{"a", "ü"})},
		Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{2, 1}, []float32{0.25, 0.1})},
		Latency: 1500 * time.Microsecond, Compute: 20 * time.Microsecond, Trace: "4bf92f", Segment: "north", Override: `{"by":"x"}`,
		Fired: json.RawMessage(`[{"row":0,"fired":[{"rule":"r","message":"m"}]}]`),
	}
}

func scan(t testing.TB, ctx context.Context, s *Service, q Query) []Record {
	t.Helper()
	var out []Record
	if err := s.Scan(ctx, q, func(r Record) error { out = append(out, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func ids(list []Record) []string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.ID
	}
	return out
}

func same(t *testing.T, got, want Record) {
	t.Helper()
	g, w := got, want
	g.Inputs, g.Outputs, w.Inputs, w.Outputs = nil, nil, nil, nil
	if fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", w) {
		t.Errorf("got  %+v\nwant %+v", g, w)
	}
	for i := range want.Inputs {
		if !got.Inputs[i].Equal(&want.Inputs[i]) {
			t.Errorf("input %d: got %+v, want %+v", i, got.Inputs[i], want.Inputs[i])
		}
	}
	for i := range want.Outputs {
		if !got.Outputs[i].Equal(&want.Outputs[i]) {
			t.Errorf("output %d: got %+v, want %+v", i, got.Outputs[i], want.Outputs[i])
		}
	}
}

func TestARecordIsTheSameBeforeAndAfterFiling(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		l := openLog(t, t.TempDir(), nil)
		s := newService(t, d, l, blobtest.Dir(t))
		want := record("screening", 0)
		if err := l.Append(ctx, &want, Group); err != nil {
			t.Fatal(err)
		}
		failed := record("screening", 1)
		failed.Outputs, failed.Error, failed.Fired = nil, "It broke.", nil
		if err := l.Append(ctx, &failed, Sync); err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			got := scan(t, ctx, s, Query{})
			if len(got) != 2 {
				t.Fatalf("%d records, want 2", len(got))
			}
			same(t, got[0], want)
			same(t, got[1], failed)
			one, err := s.Get(ctx, want.ID)
			if err != nil {
				t.Fatal(err)
			}
			same(t, one, want)
			if f := one.FiredRules(); len(f) != 1 || f[0].Fired[0].Rule != "r" {
				t.Errorf("fired rules %+v", f)
			}
		}
		check()
		if err := s.File(ctx); err != nil {
			t.Fatal(err)
		}
		if left := withRecords(l.o.Dir); len(left) != 0 {
			t.Errorf("segments are left: %v", left)
		}
		check()
		named, err := s.Blobs.ListNamed(ctx, "predictions/screening/")
		if err != nil || len(named) != 1 {
			t.Fatalf("files %v, %v", named, err)
		}
		if want := fmt.Sprintf("/dt=%s/hour=%s/", want.At.Format("2006-01-02"), want.At.Format("15")); !strings.Contains(named[0].Name, want) {
			t.Errorf("the file is named %s, want %s in it", named[0].Name, want)
		}
		var entries int
		if err := d.Read(ctx, func(tx db.Scope) error {
			return tx.QueryRow(`SELECT COUNT(*) FROM audit_entry WHERE workspace = 'default' AND action = 'prediction.filed' AND detail LIKE '%sha256:%'`).Scan(&entries)
		}); err != nil || entries != 1 {
			t.Errorf("%d audit entries hold the digest of the file (%v), want 1", entries, err)
		}
	})
}

func TestTheFileHasEveryColumnFromTheFirstVersionOn(t *testing.T) {
	r := record("a", 1)
	r.ID = floorID(time.Now())
	var data []byte
	if err := writeParquet(1, func(_ int, l *line) error { return l.split(payloadOf(&r)) }, func() {}, func(p parquetFile) error {
		data = bytes.Clone(p.bytes)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range f.Schema().Columns() {
		got = append(got, c[0])
	}
	want := "prediction_id at workspace endpoint model version environment slot caller application purpose subject request rows inputs outputs latency_us compute_us error trace segment override trace_info redacted input_f32 input_f64 input_i64 output_f32 output_f64 output_i64"
	if strings.Join(got, " ") != want {
		t.Errorf("columns %v,\nwant    %s", got, want)
	}
	if !strings.Contains(f.Schema().String(), "TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)") {
		t.Errorf("at is no timestamp in microseconds: %s", f.Schema())
	}
}

func TestReadingInOrderAcrossFilesAndSegments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		now := time.Date(2026, 3, 1, 22, 59, 59, 0, time.UTC)
		l := openLog(t, t.TempDir(), func(o *Options) {
			o.SegmentBytes = 40 << 10
			o.Now = func() time.Time { now = now.Add(7 * time.Millisecond); return now }
		})
		s := newService(t, d, l, blobtest.Dir(t))
		s.Now = func() time.Time { return now }
		other := caller.WithWorkspace(ctx, "lab")
		var want []Record
		for i := range 4500 {
			r := record([]string{"screening", "credit"}[i%2], i)
			if i%50 == 7 {
				r.Workspace = "lab"
			}
			if err := l.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			if r.Workspace == "default" {
				want = append(want, r)
			}
			if i == 3000 {
				if err := s.File(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := scan(t, ctx, s, Query{})
		if !slices.Equal(ids(got), ids(want)) {
			t.Fatalf("%d records in another order than the %d appended", len(got), len(want))
		}
		if n := len(scan(t, other, s, Query{})); n != 90 {
			t.Errorf("the other workspace has %d records, want 90", n)
		}
		sel := Query{Endpoint: "credit", Version: 2, Caller: "caller-1", Since: want[500].At, Until: want[4000].At}
		var some []Record
		for _, r := range want {
			if sel.matches(&r) {
				some = append(some, r)
			}
		}
		if got := scan(t, ctx, s, sel); len(some) == 0 || !slices.Equal(ids(got), ids(some)) {
			t.Errorf("a selection gives %d records, want %d", len(got), len(some))
		}
		// Pages forward by cursor and backward by List give the same.
		var forward, backward []string
		for after := ""; ; {
			page := scan(t, ctx, s, Query{Endpoint: "screening", After: after, Limit: 700})
			if len(page) == 0 {
				break
			}
			forward = append(forward, ids(page)...)
			after = page[len(page)-1].ID
		}
		for after := ""; ; {
			page, err := s.List(ctx, Query{Endpoint: "screening", After: after, Limit: 700})
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			backward = append(backward, ids(page)...)
			after = page[len(page)-1].ID
		}
		slices.Reverse(backward)
		if len(forward) == 0 || !slices.Equal(forward, backward) {
			t.Errorf("%d records forward, %d backward", len(forward), len(backward))
		}
		for _, i := range []int{0, 1, 2999, 3001, len(want) - 1} {
			if r, err := s.Get(ctx, want[i].ID); err != nil || r.Request != want[i].Request {
				t.Errorf("Get %d: %v %v", i, r.Request, err)
			}
		}
		if _, err := s.Get(other, want[0].ID); problem.KindOf(err) != problem.NotFound {
			t.Errorf("another workspace sees the record: %v", err)
		}
		for _, id := range []string{"", "nonsense", strings.Repeat("z", 26), floorID(now)} {
			if _, err := s.Get(ctx, id); problem.KindOf(err) != problem.NotFound {
				t.Errorf("Get %q: %v, want not-found", id, err)
			}
		}
		s.Settle = time.Hour
		if n := len(scan(t, ctx, s, Query{})); n != 0 {
			t.Errorf("a settling reader sees %d fresh records, want none", n)
		}
	})
}

func TestFilingHappensOnceWhereverItIsCutOff(t *testing.T) {
	cases := []struct {
		name string
		cut  func(t *testing.T, s *Service, dir string)
	}{
		{"before the file is stored", func(t *testing.T, s *Service, _ string) {
			real := s.Blobs
			s.Blobs = failing{real, false}
			if err := s.File(context.Background()); err == nil {
				t.Fatal("filing succeeded")
			}
			s.Blobs = real
		}},
		{"between the file and the database", func(t *testing.T, s *Service, _ string) {
			real := s.Blobs
			s.Blobs = failing{real, true}
			if err := s.File(context.Background()); err == nil {
				t.Fatal("filing succeeded")
			}
			s.Blobs = real
			if named, _ := real.ListNamed(context.Background(), "predictions/"); len(named) != 1 {
				t.Fatalf("%d files, want the first one only", len(named))
			}
		}},
		{"between the database and the removal of the segment", func(t *testing.T, s *Service, dir string) {
			if err := s.Log.Rotate(0); err != nil {
				t.Fatal(err)
			}
			s.Log.sync()
			names := withRecords(dir)
			if len(names) != 1 {
				t.Fatalf("segments %v", names)
			}
			b, err := os.ReadFile(names[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := s.File(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(names[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				ctx := context.Background()
				dir := t.TempDir()
				l := openLog(t, dir, nil)
				s := newService(t, d, l, blobtest.Dir(t))
				var want []string
				for i := range 100 {
					r := record([]string{"a", "b"}[i%2], i)
					if err := l.Append(ctx, &r, Group); err != nil {
						t.Fatal(err)
					}
					want = append(want, r.ID)
				}
				c.cut(t, s, dir)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				s = newService(t, d, openLog(t, dir, func(o *Options) { o.Node = "n2" }), s.Blobs)
				if got := ids(scan(t, ctx, s, Query{})); !slices.Equal(got, want) {
					t.Errorf("after the restart %d records, want %d once each", len(got), len(want))
				}
				if err := s.File(ctx); err != nil {
					t.Fatal(err)
				}
				if got := ids(scan(t, ctx, s, Query{})); !slices.Equal(got, want) {
					t.Errorf("after filing again %d records, want %d once each", len(got), len(want))
				}
				named, _ := s.Blobs.ListNamed(ctx, "predictions/")
				if len(named) != 2 {
					t.Errorf("%d files in the store, want 2: a reader of the bare files would see doubles", len(named))
				}
				if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
					t.Errorf("segments are left: %v", left)
				}
				uses, err := s.Callers(ctx, "a", time.Time{})
				var calls int64
				for _, u := range uses {
					calls += u.Calls
				}
				if err != nil || calls != 50 {
					t.Errorf("%d calls are booked (%v), want 50", calls, err)
				}
			})
		})
	}
}

// failing stores nothing, or the first file and then nothing.
type failing struct {
	blob.Store
	first bool
}

func (f failing) PutNamed(ctx context.Context, name string, r io.Reader) error {
	if f.first && strings.Contains(name, "predictions/a/") {
		return f.Store.PutNamed(ctx, name, r)
	}
	return errors.New("the store is down")
}

func TestOutcomes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := caller.With(context.Background(), caller.Caller{Name: "clinic"})
		l := openLog(t, t.TempDir(), nil)
		s := newService(t, d, l, blobtest.Dir(t))
		var list []Record
		for i := range 6 {
			r := record("a", i)
			if err := l.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
			if i == 3 {
				if err := s.File(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		value := func(v string) json.RawMessage { return json.RawMessage(v) }
		at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		steps := []struct {
			name                 string
			items                []Outcome
			accepted, duplicates int
			kind                 problem.Kind
			field                string
		}{
			{"filed and unfiled predictions take outcomes", []Outcome{{list[0].ID, 0, value("1"), at}, {list[0].ID, 1, value(`"no"`), at}, {list[5].ID, 1, value("true"), at}}, 3, 0, "", ""},
			{"the same again counts as known", []Outcome{{list[0].ID, 0, value("1.0"), at.Add(time.Hour)}, {list[4].ID, 0, value("0"), at}}, 1, 1, "", ""},
			{"another value is refused and nothing is stored", []Outcome{{list[2].ID, 0, value("1"), at}, {list[0].ID, 0, value("0"), at}}, 0, 0, problem.Conflict, "items[1].value"},
			{"an unknown prediction is refused and nothing is stored", []Outcome{{list[2].ID, 0, value("1"), at}, {floorID(at), 0, value("0"), at}}, 0, 0, problem.NotFound, "items[1].prediction_id"},
			{"a row beyond the prediction", []Outcome{{list[2].ID, 2, value("1"), at}}, 0, 0, problem.Invalid, "items[0].row"},
			{"a value that is a list", []Outcome{{list[2].ID, 0, value("[1]"), at}}, 0, 0, problem.Invalid, "items[0].value"},
			{"no value", []Outcome{{list[2].ID, 0, nil, at}}, 0, 0, problem.Invalid, "items[0].value"},
			{"no items", nil, 0, 0, problem.Invalid, "items"},
			{"a batch that says two things of one row", []Outcome{{list[2].ID, 0, value("1"), at}, {list[2].ID, 0, value("2"), at}}, 0, 0, problem.Conflict, "items[1].value"},
			{"what was refused can be told rightly", []Outcome{{list[2].ID, 0, value("1"), at}}, 1, 0, "", ""},
		}
		for _, c := range steps {
			accepted, duplicates, err := s.Record(ctx, c.items)
			if c.kind != "" {
				var p *problem.Error
				if !errors.As(err, &p) || p.Kind != c.kind || (p.Field != c.field && (len(p.Fields) != 1 || p.Fields[0].Field != c.field)) {
					t.Errorf("%s: got %+v, want %s at %s", c.name, err, c.kind, c.field)
				}
				continue
			}
			if err != nil || accepted != c.accepted || duplicates != c.duplicates {
				t.Errorf("%s: %d accepted, %d known, %v; want %d and %d", c.name, accepted, duplicates, err, c.accepted, c.duplicates)
			}
		}
		known, err := s.Outcomes(ctx, ids(list))
		if err != nil || len(known) != 4 || len(known[list[0].ID]) != 2 || string(known[list[0].ID][1].Value) != `"no"` || !known[list[0].ID][0].At.Equal(at) {
			t.Errorf("known %+v, %v", known, err)
		}
		if none, _ := s.Outcomes(caller.WithWorkspace(ctx, "lab"), ids(list)); len(none) != 0 {
			t.Errorf("another workspace sees %+v", none)
		}
		var events int
		if err := d.Read(ctx, func(tx db.Scope) error {
			return tx.QueryRow(`SELECT COUNT(*) FROM event WHERE workspace = 'default' AND type = $1 AND subject = 'deployment/a'`, OutcomesRecorded).Scan(&events)
		}); err != nil || events != 3 {
			t.Errorf("%d events (%v), want one per batch that brought something new: 3", events, err)
		}
	})
}

func external(id string) Record {
	return Record{Request: id, Version: 3, At: time.Now().Add(-48 * time.Hour), Inputs: []tensor.Tensor{tensor.FP64s("x", []int{2}, []float64{1, 2})}, Outputs: []tensor.Tensor{tensor.FP64s("y", []int{2}, []float64{1, 2})}}
}

func TestPredictionsMadeElsewhere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := caller.With(context.Background(), caller.Caller{Name: "bank"})
		l := openLog(t, t.TempDir(), nil)
		s := newService(t, d, l, blobtest.Dir(t))
		first, err := s.HandIn(ctx, "legacy-score", []Record{external("a"), external(""), external("b")})
		if err != nil || len(first) != 3 || first[0] == "" {
			t.Fatalf("%v, %v", first, err)
		}
		again, err := s.HandIn(ctx, "legacy-score", []Record{external("b"), external("c")})
		if err != nil || again[0] != first[2] || again[1] == "" {
			t.Errorf("handing in again gave %v (%v), want the identifier %s first", again, err, first[2])
		}
		got := scan(t, ctx, s, Query{Endpoint: "legacy-score", Slot: SlotExternal})
		if len(got) != 4 {
			t.Fatalf("%d records, want 4", len(got))
		}
		if r := got[0]; r.Rows != 2 || r.Caller != "bank" || r.Model != "legacy-score" || time.Since(r.At) < 47*time.Hour {
			t.Errorf("got %+v", r)
		}
		// A crash after the reservation, before and after the record was appended.
		if err := d.Write(ctx, func(tx db.Scope) error {
			_, err := tx.Exec(`UPDATE prediction_key SET prediction = '' WHERE workspace = 'default' AND given = 'a'`)
			return errors.Join(err, s.store.reserveKey(tx, "legacy-score", "d", "n1", time.Now()))
		}); err != nil {
			t.Fatal(err)
		}
		after, err := s.HandIn(ctx, "legacy-score", []Record{external("a"), external("d")})
		if err != nil || after[0] != first[0] || after[1] == "" {
			t.Errorf("after the crash %v (%v), want %s first", after, err, first[0])
		}
		if n := len(scan(t, ctx, s, Query{Endpoint: "legacy-score"})); n != 5 {
			t.Errorf("%d records, want 5", n)
		}
		bad := []struct {
			name, endpoint string
			list           []Record
			field          string
		}{
			{"no items", "x", nil, "items"},
			{"a path as endpoint", "../x", []Record{external("")}, "endpoint"},
			{"an identifier twice", "x", []Record{external("q"), external("q")}, "items[1].id"},
			{"the future", "x", []Record{{At: time.Now().Add(time.Hour), Inputs: external("").Inputs, Outputs: external("").Outputs}}, "items[0].at"},
			{"a zero byte in the identifier", "x", []Record{external("a\x00b")}, "items[0].id"},
			{"no inputs", "x", []Record{{Outputs: external("").Outputs}}, "items[0]"},
			{"no outputs", "x", []Record{{Inputs: external("").Inputs}}, "items[0]"},
		}
		for _, c := range bad {
			var p *problem.Error
			if _, err := s.HandIn(ctx, c.endpoint, c.list); !errors.As(err, &p) || p.Kind != problem.Invalid || p.Field != c.field {
				t.Errorf("%s: got %+v, want invalid at %s", c.name, err, c.field)
			}
		}
	})
}

func TestCallersOfAModel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		l := openLog(t, t.TempDir(), nil)
		s := newService(t, d, l, blobtest.Dir(t))
		var last time.Time
		for i := range 30 {
			r := record("a", i)
			if i%10 == 9 {
				r.Slot = SlotShadow
			}
			if err := l.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			last = r.At
			if i == 14 || i == 20 {
				if err := s.File(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = last
		uses, err := s.Callers(ctx, "a", time.Now().Add(-time.Hour))
		if err != nil || len(uses) != 3 {
			t.Fatalf("%+v, %v", uses, err)
		}
		total := int64(0)
		for _, u := range uses {
			total += u.Calls
			if u.Application != "desk" || !slices.Equal(u.Versions, []int{1, 2}) || u.Rows != 2*u.Calls || time.Since(u.LastAt) > time.Minute {
				t.Errorf("got %+v", u)
			}
		}
		if total != 27 {
			t.Errorf("%d calls, want 27: shadow copies are nobody's", total)
		}
		if none, _ := s.Callers(ctx, "a", time.Now().Add(25*time.Hour)); len(none) != 0 {
			t.Errorf("future callers %+v", none)
		}
		used, err := s.LastUsed(ctx)
		if err != nil || time.Since(used["a"]) > time.Minute {
			t.Errorf("last used %v, %v", used, err)
		}
		var booked usage.Report
		if err := d.Read(ctx, func(tx db.Scope) (err error) {
			booked, err = usage.Read(tx, "a", time.Now().Add(-time.Hour), time.Now().Add(time.Hour), nil)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if compute := 19 * record("a", 0).Compute.Seconds(); booked.Calls != 19 || len(booked.Work) != 1 || booked.Work[0].Work != usage.Answering || math.Abs(booked.ComputeSeconds-compute) > 1e-9 || compute == 0 {
			t.Errorf("what is filed, the first 21 without two shadow copies, is booked as %+v", booked)
		}
	})
}

func TestUsesAreCountedWhileTheirSegmentGrows(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	ctx, want := context.Background(), int64(0)
	for step := range 5 {
		if step == 3 {
			l.Rotate(0) // the next ones go into another segment
		}
		for i := range step {
			r := record("a", i)
			if err := l.Append(ctx, &r, Group); err != nil {
				t.Fatal(err)
			}
			want++
		}
		for range 2 { // asking twice counts nothing twice
			uses, err := s.Callers(ctx, "a", time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			got := int64(0)
			for _, u := range uses {
				got += u.Calls
			}
			if got != want {
				t.Errorf("step %d: %d calls, want %d", step, got, want)
			}
		}
	}
}

func TestTextThatDoesNotFitIsCut(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	r := record("a", 0)
	r.Subject, r.Purpose = strings.Repeat("ü", MaxField), "bad \xff text"
	r.Application = "ward\x00 7"
	r.SetFired([]engine.Trace{{Row: 0, Fired: []engine.Fired{{Rule: "x"}}}})
	if err := l.Append(context.Background(), &r, Group); err != nil {
		t.Fatal(err)
	}
	got := scan(t, context.Background(), s, Query{})[0]
	if len(got.Subject) != MaxField || got.Purpose != "bad  text" || got.Application != "ward 7" || got.FiredRules()[0].Fired[0].Rule != "x" {
		t.Errorf("got %d bytes of subject, purpose %q", len(got.Subject), got.Purpose)
	}
}

func TestCountersTellWhatTheLogDid(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	r := record("a", 0)
	if err := l.Append(context.Background(), &r, Group); err != nil {
		t.Fatal(err)
	}
	if n := counted(t, l, "records_total"); n != 1 {
		t.Errorf("%v records counted, want 1", n)
	}
}

// withRecords lists the segments that hold records; the one that waits for the next record does not.
func withRecords(dir string) (names []string) {
	all, _ := filepath.Glob(filepath.Join(dir, "*"+segmentExt))
	for _, n := range all {
		if b, err := os.ReadFile(n); err == nil && len(b) > len(segmentMagic) && !empty(b[len(segmentMagic):]) {
			names = append(names, n)
		}
	}
	return names
}
