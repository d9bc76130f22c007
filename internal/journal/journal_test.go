package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/rest"
)

func TestQuantilesAreWithinAnEighthOfTheTruth(t *testing.T) {
	cases := []struct {
		name string
		of   func(i int) time.Duration // of 1,000 latencies
	}{
		{"microseconds", func(i int) time.Duration { return time.Duration(i) * time.Microsecond }},
		{"one slow in a hundred", func(i int) time.Duration {
			if i%100 == 99 {
				return 2 * time.Second
			}
			return 300 * time.Microsecond
		}},
		{"milliseconds to seconds", func(i int) time.Duration { return time.Duration(i*i) * time.Microsecond }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var m Meter
			all := make([]time.Duration, 1000)
			for i := range all {
				all[i] = c.of(i)
				m.Answered(1, all[i])
			}
			slow := map[string]bool{"one slow in a hundred": true}[c.name]
			got := m.Read()
			for _, q := range []float64{0.5, 0.95, 0.985} {
				us, ok := got.Latencies.Quantile(q)
				if !ok {
					t.Fatal("no quantile of 1,000 latencies")
				}
				want := float64(all[int(q*1000)-1].Microseconds())
				if slow {
					want = 300
				}
				if math.Abs(us-want) > want/8+1 {
					t.Errorf("the %g-quantile is %g µs, want %g", q, us, want)
				}
			}
		})
	}
	var none Histogram
	if _, ok := none.Quantile(0.5); ok {
		t.Error("an empty histogram has a median")
	}
}

func TestBucketsFollowEachOtherWithoutGap(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 7 * time.Microsecond, 8 * time.Microsecond, 15 * time.Microsecond, 16 * time.Microsecond, 999 * time.Microsecond, time.Second, 134 * time.Second, time.Hour} {
		i := bucketOf(d)
		if us := float64(max(d, 0).Microseconds()); us < bound(i) || us >= bound(i+1) && i < lastSlot {
			t.Errorf("%s is in bucket %d, which goes from %g to %g µs", d, i, bound(i), bound(i+1))
		}
	}
	for i := range buckets {
		if bound(i+1) <= bound(i) {
			t.Fatalf("bucket %d goes from %g to %g", i, bound(i), bound(i+1))
		}
	}
}

func TestCountsSurviveTheirRow(t *testing.T) {
	var m Meter
	m.Answered(3, 250*time.Microsecond)
	m.Answered(1, time.Hour)
	for c := range numCauses {
		m.Missed(c)
	}
	m.Joined(2)
	m.Dropped()
	m.Waiting(7)
	m.Waiting(4)
	want := m.Read()
	got, err := decodeCount(want.encode())
	if err != nil || got != want {
		t.Errorf("read %+v (%v), wrote %+v", got, err, want)
	}
	if want.Waiting != 7 || want.Refused() != 2 || want.Errors() != uint64(numCauses)-3 {
		t.Errorf("waiting %d, refused %d, errors %d", want.Waiting, want.Refused(), want.Errors())
	}
	if c, err := decodeCount(`{"c":1,"m":{"of a later version":3},"l":[[100000,2]]}`); err != nil || c.Calls != 1 || c.Errors() != 0 {
		t.Errorf("counts of a later version: %+v, %v", c, err)
	}
}

// clock is a time that only the test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func recorder(d *db.DB, c *clock, node string, meters map[Key]*Meter) *Recorder {
	return &Recorder{DB: d, Log: slog.New(slog.DiscardHandler), Now: c.Now, Node: node, Name: "host-" + node, Lines: &Lines{},
		Readings: func() (out []Reading) {
			for k, m := range meters {
				out = append(out, Reading{k, m.Read()})
			}
			return out
		},
		Standings: func() map[string][]Standing {
			return map[string][]Standing{"default": {{Endpoint: "scores", Release: 3, State: "live", Since: noon, Slots: []StandingSlot{{Version: 2, Kind: "live", Share: 100, Engine: "xgboost"}}}}}
		}}
}

func TestTwoProcessesAddUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, c := context.Background(), &clock{noon}
		live, endpoint := Key{"default", "scores", 2, "live"}, Key{Workspace: "default", Endpoint: "scores"}
		a, b, own, far := &Meter{}, &Meter{}, &Meter{}, &Meter{}
		first := recorder(d, c, "a", map[Key]*Meter{live: a, endpoint: own, {"lab", "scores", 1, "live"}: far})
		second := recorder(d, c, "b", map[Key]*Meter{live: b})
		far.Answered(1, time.Millisecond)
		flush := func() {
			t.Helper()
			c.now = c.now.Add(Fine)
			for _, r := range []*Recorder{first, second} {
				if err := r.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 20 {
			a.Answered(2, 400*time.Microsecond)
		}
		a.Missed(Queue)
		flush() // 12:00:00 to 12:00:10
		for range 10 {
			b.Answered(1, 4*time.Millisecond)
		}
		a.Missed(Model)
		own.Missed(Unavailable)
		own.Waiting(5)
		flush() // 12:00:10 to 12:00:20
		flush()

		s := &Service{DB: d, Now: c.Now}
		got, err := s.Traffic(ctx, "scores", noon, c.now, 180)
		if err != nil {
			t.Fatal(err)
		}
		if got.Step != 10 || len(got.Series) != 1 || len(got.Waiting) != 3 {
			t.Fatalf("traffic %+v", got)
		}
		v := got.Series[0]
		if v.Version != 2 || v.Slot != "live" || fmt.Sprint(v.Calls) != "[20 10 0]" || fmt.Sprint(v.Errors) != "[0 1 0]" || v.P50[2] != nil || *v.Batch[0] != 2 || *v.Batch[1] != 1 {
			t.Errorf("version 2: %+v", v)
		}
		if p := *v.P50[0]; math.Abs(p-400) > 50 {
			t.Errorf("median of the first ten seconds: %g µs, want about 400", p)
		}
		if p := *v.P99[1]; math.Abs(p-4000) > 500 {
			t.Errorf("p99 of the second: %g µs, want about 4000", p)
		}
		if fmt.Sprint(got.Missed) != "map[model:[0 1 0] queue:[1 0 0] unavailable:[0 1 0]]" || fmt.Sprint(got.Waiting) != "[0 5 0]" {
			t.Errorf("missed %v, waiting %v", got.Missed, got.Waiting)
		}
		if got.Total.Calls != 30 || got.Total.Rows != 50 || got.Total.Errors != 2 || got.Total.Refused != 1 {
			t.Errorf("total %+v", got.Total)
		}
		if len(got.Nodes) != 2 || got.Nodes[0].Name != "host-a" || got.Nodes[1].Release != 3 || got.Nodes[1].Slots[0].Engine != "xgboost" {
			t.Errorf("nodes %+v", got.Nodes)
		}
		list, err := s.Summaries(ctx)
		if err != nil || len(list) != 1 {
			t.Fatalf("summaries %+v, %v", list, err)
		}
		if sum := list[0]; sum.Hour.Calls != 30 || sum.Spark[sparks-1] != 30 || sum.Nodes != 2 || sum.Troubled != 0 || sum.Rate <= 0 || fmt.Sprint(sum.Engines) != "[xgboost]" {
			t.Errorf("summary %+v", sum)
		}
		long, err := s.Traffic(ctx, "scores", noon.Add(-7*24*time.Hour), c.now, 180)
		if err != nil || db.ToJSON(long.Total) != db.ToJSON(got.Total) || long.Step%300 != 0 || len(long.Waiting) > 181 {
			t.Errorf("seven days: %d places of %d s, total %s, want the same total %s (%v)", len(long.Waiting), long.Step, db.ToJSON(long.Total), db.ToJSON(got.Total), err)
		}
		other, err := s.Traffic(caller.WithWorkspace(ctx, "lab"), "scores", noon, c.now, 180)
		if err != nil || other.Total.Calls != 1 || len(other.Nodes) != 0 {
			t.Errorf("the other workspace has %+v and %d nodes (%v)", other.Total, len(other.Nodes), err)
		}

		// A later hour: what is fine is gone, what is coarse is there; a process that stopped is no node any more.
		if err := second.leave(ctx); err != nil {
			t.Fatal(err)
		}
		c.now = noon.Add(3 * time.Hour)
		if err := first.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		fine, err := s.Traffic(ctx, "scores", noon.Add(2*time.Hour), c.now, 400)
		if err != nil || fine.Total.Calls != 0 || len(fine.Nodes) != 1 {
			t.Errorf("three hours later: %+v, %d nodes (%v)", fine.Total, len(fine.Nodes), err)
		}
		var left int
		err = d.Read(ctx, func(tx db.Scope) error {
			return tx.QueryRow("SELECT COUNT(*) FROM journal_point WHERE workspace = $1 AND step = $2", tx.Workspace, Fine.Microseconds()).Scan(&left)
		})
		if err != nil || left != 0 {
			t.Errorf("%d fine points are left after three hours (%v)", left, err)
		}
		all, err := s.Traffic(ctx, "scores", noon.Add(-time.Hour), c.now, 180)
		if err != nil || all.Total.Calls != 30 {
			t.Errorf("coarse points after three hours: %+v (%v)", all.Total, err)
		}
	})
}

func TestWhatTheDatabaseDidNotTakeIsWrittenLater(t *testing.T) {
	d, c, m := dbtest.SQLite(t), &clock{noon.Add(Fine)}, &Meter{}
	r := recorder(d, c, "a", map[Key]*Meter{{"default", "scores", 2, "live"}: m})
	m.Answered(1, time.Millisecond)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	slog.New(r.Lines.Handler(slog.DiscardHandler)).Error("a model failed", "endpoint", "scores")
	if err := r.Flush(gone); err == nil {
		t.Fatal("a flush with a context that has ended succeeded")
	}
	c.now = c.now.Add(time.Minute)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := &Service{DB: d, Now: c.Now}
	got, err := s.Traffic(context.Background(), "scores", noon, c.now, 180)
	if err != nil || got.Total.Calls != 1 || got.Series[0].Calls[0] != 1 {
		t.Errorf("after the database was away: %+v (%v)", got.Total, err)
	}
	var lines int
	err = d.Read(context.Background(), func(tx db.Scope) error {
		return tx.QueryRow("SELECT COUNT(*) FROM journal_line WHERE workspace = $1", tx.Workspace).Scan(&lines)
	})
	if err != nil || lines != 1 {
		t.Errorf("%d lines (%v)", lines, err)
	}
}

func TestTheLogOfAnEndpoint(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, c := context.Background(), &clock{noon}
		r := recorder(d, c, "a", nil)
		var own strings.Builder
		log := slog.New(r.Lines.Handler(slog.NewTextHandler(&own, &slog.HandlerOptions{Level: slog.LevelWarn})))
		log.InfoContext(ctx, "version loaded", "endpoint", "scores", "version", 3, "took", 20*time.Millisecond)
		log.InfoContext(ctx, "about nothing")
		log.DebugContext(ctx, "too fine", "endpoint", "scores")
		log.With("endpoint", "scores").ErrorContext(ctx, "a model failed", "error", fmt.Errorf("100%% wrong\x00"))
		log.WarnContext(caller.WithWorkspace(ctx, "lab"), "elsewhere", "endpoint", "scores")
		log.InfoContext(ctx, "deployment changed", "deployment", "scores", "serial", 4)
		if err := r.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if got := own.String(); !strings.Contains(got, "a model failed") || strings.Contains(got, "version loaded") {
			t.Errorf("the server's own log, from Warn on, has %q", got)
		}
		api := rest.New("test", door{}, slog.New(slog.DiscardHandler))
		(&Service{DB: d, Now: c.Now}).Routes(api)
		server := httptest.NewServer(api)
		t.Cleanup(server.Close)
		lines := func(query string) (out rest.Page[Line]) {
			t.Helper()
			ask(t, server.URL+"/api/v1/deployments/scores/log"+query, 200, &out)
			return out
		}
		all := lines("")
		if len(all.Items) != 3 || all.Items[0].Message != "deployment changed" || all.Items[2].Message != "version loaded" || all.Items[1].Level != "error" || all.Items[0].Node != "host-a" {
			t.Fatalf("lines %+v", all.Items)
		}
		var fields map[string]any
		if err := json.Unmarshal(all.Items[2].Fields, &fields); err != nil || fields["version"] != 3.0 || fields["took"] != "20ms" {
			t.Errorf("fields %s (%v)", all.Items[2].Fields, err)
		}
		for query, want := range map[string]string{"?level=warn": "a model failed", "?text=100%25+WRONG": "a model failed", "?text=serial": "deployment changed", "?limit=1": "deployment changed",
			"?limit=1&cursor=" + all.Items[0].ID: "a model failed", "?after=" + all.Items[1].ID: "deployment changed"} {
			if got := lines(query); len(got.Items) != 1 || got.Items[0].Message != want {
				t.Errorf("%s gives %+v, want %q", query, got.Items, want)
			}
		}
		if got := lines("?text=100_+wrong"); len(got.Items) != 0 {
			t.Errorf("_ stands for any character: %+v", got.Items)
		}
		if err := d.Write(ctx, func(tx db.Scope) error { return store{}.shorten(tx, "scores", 2) }); err != nil {
			t.Fatal(err)
		}
		if got := lines(""); len(got.Items) != 2 || got.Items[1].Message != "a model failed" {
			t.Errorf("shortened to two: %+v", got.Items)
		}
		var traffic Traffic
		ask(t, server.URL+"/api/v1/deployments/scores/traffic", 200, &traffic)
		if traffic.Step != 20 || traffic.Total.Calls != 0 || len(traffic.Series) != 0 {
			t.Errorf("an hour without calls: %+v", traffic)
		}
		for _, bad := range []string{"?points=5", "?since=2026-03-02T12:00:00Z&until=2026-03-02T11:00:00Z", "?until=2025-01-01T00:00:00Z", "?since=tomorrow"} {
			ask(t, server.URL+"/api/v1/deployments/scores/traffic"+bad, 422, nil)
		}
		ask(t, server.URL+"/api/v1/deployments/scores/log?level=loud", 422, nil)
	})
}

func TestAFloodOfLinesIsCutAndSaysSo(t *testing.T) {
	l := &Lines{}
	log := slog.New(l.Handler(slog.DiscardHandler))
	for range maxHeld + 5 {
		log.Warn(strings.Repeat("é", maxText), "endpoint", "scores")
	}
	got := l.take(noon)
	if len(got) != maxHeld+1 || !strings.HasPrefix(got[maxHeld].Message, "5 more lines") || len(got[0].Message) > maxText+4 {
		t.Errorf("%d lines, the last %q, the first of %d bytes", len(got), got[len(got)-1].Message, len(got[0].Message))
	}
}

// door lets everybody in.
type door struct{}

func (door) Authenticate(*http.Request) (caller.Caller, error) {
	return caller.Caller{Name: "ops", Kind: caller.Service, Roles: []string{"administrator", "ml-engineer"}}, nil
}
func (door) Refused(context.Context, rest.Route, error) {}

func ask(t *testing.T, url string, status int, into any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s: %d %s, want %d", url, resp.StatusCode, b, status)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	}
}
