package trace

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

func service(t testing.TB, d *db.DB) *Service {
	t.Helper()
	b, err := blob.Open(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &Service{DB: d, Tracking: &tracking.Service{DB: d, Blobs: b, Log: log, Now: time.Now}, Log: log, Now: time.Now}
}

func who() context.Context {
	return caller.With(context.Background(), caller.Caller{ID: "u1", Name: "ada", Kind: caller.Person})
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// traceID is an OpenTelemetry trace id that ends in n.
func traceID(n int) []byte {
	return binary.BigEndian.AppendUint64([]byte{1, 0, 0, 0, 0, 0, 0, 0}, uint64(n))
}

func spanID(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func str(k, v string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
}

// span makes a span of ms milliseconds that begins at second 1 + id milliseconds; parent 0 is none.
func span(trace, id, parent, ms int, name string, attributes ...*commonpb.KeyValue) *Span {
	s := &Span{TraceId: traceID(trace), SpanId: spanID(id), Name: name, StartTimeUnixNano: uint64(1e9 + id*1e6), EndTimeUnixNano: uint64(1e9 + (id+ms)*1e6),
		Attributes: attributes, Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}}
	if parent > 0 {
		s.ParentSpanId = spanID(parent)
	}
	return s
}

func batch(trace int, spans ...*Span) []Batch {
	return []Batch{{Trace: IDOf(traceID(trace)), Spans: spans}}
}

func started(n int, tags, metadata map[string]string) Trace {
	return Trace{ID: IDOf(traceID(n)), Experiment: "0", State: OK, Started: int64(1000 * n), Duration: int64(n), Tags: tags, Metadata: metadata}
}

func ids(list []Trace) (out []string) {
	for _, t := range list {
		out = append(out, strings.TrimLeft(strings.TrimPrefix(t.ID, "tr-0100000000000000"), "0"))
	}
	return out
}

func TestSpansAndTheClientsOwnWordMeetInAnyOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		spans := batch(1, span(1, 1, 0, 50, "root", str("mlflow.spanInputs", `{"q": 1}`), str("mlflow.spanOutputs", "two")), span(1, 2, 1, 20, "child"))
		id := spans[0].Trace

		if err := s.Receive(ctx, "0", "", spans); err != nil {
			t.Fatal(err)
		}
		got := must[Trace](t)(s.Get(ctx, id))
		if got.Started != 1001 || got.Duration != 50 || got.State != OK || got.Name != "root" || got.Spans != 2 || got.Request != `{"q": 1}` || got.Response != `"two"` {
			t.Errorf("spans alone make %+v", got)
		}
		client := started(1, map[string]string{TagName: "mine", "env": "prod"}, map[string]string{MetaSession: "s1"})
		client.State = Failed
		got = must[Trace](t)(s.Start(ctx, client))
		if got.Started != 1000 || got.Duration != 1 || got.State != Failed || got.Name != "mine" || got.Session != "s1" || got.Tags["env"] != "prod" || got.Spans != 2 || got.Request != `{"q": 1}` {
			t.Errorf("the client's word after the spans makes %+v", got)
		}
		if err := s.Receive(ctx, "0", "", batch(1, span(1, 3, 1, 900, "late"))); err != nil {
			t.Fatal(err)
		}
		if got = must[Trace](t)(s.Get(ctx, id)); got.Started != 1000 || got.Duration != 1 || got.Spans != 3 || got.State != Failed {
			t.Errorf("spans after the client's word change it to %+v", got)
		}
		all := must[map[string][]*Span](t)(s.Spans(ctx, []string{id}))[id]
		if len(all) != 3 || all[0].Name != "root" || all[2].Name != "late" {
			t.Errorf("the spans are %v", all)
		}
		if _, err := s.Start(ctx, started(2, nil, nil)); err != nil {
			t.Fatal(err)
		}
		if err := s.Receive(ctx, "0", "", batch(2, span(2, 1, 0, 5, "root"))); err != nil {
			t.Fatal(err)
		}
		if got = must[Trace](t)(s.Get(ctx, IDOf(traceID(2)))); got.Duration != 2 || got.Spans != 1 || got.Name != "root" {
			t.Errorf("spans after the client's word give %+v", got)
		}
	})
}

func TestSpansSentAgainReplaceThemselves(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		id := IDOf(traceID(1))
		for _, name := range []string{"before", "before", "after"} {
			if err := s.Receive(ctx, "0", "", batch(1, span(1, 1, 0, 50, name), span(1, 2, 1, 20, "child"))); err != nil {
				t.Fatal(err)
			}
		}
		if got := must[Trace](t)(s.Get(ctx, id)); got.Spans != 2 {
			t.Errorf("two spans sent three times count %d", got.Spans)
		}
		for filter, want := range map[string]int{"span.name = 'before'": 0, "span.name = 'after'": 1, "span.name = 'child'": 1} {
			list, _, err := s.Find(ctx, Search{Experiments: []string{"0"}, Filter: filter, Limit: 10})
			if err != nil || len(list) != want {
				t.Errorf("%s finds %d traces, %v; want %d", filter, len(list), err, want)
			}
		}
	})
}

func TestSpansThatComeOneByOneArePackedTogether(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		id := IDOf(traceID(1))
		const n = 150
		for i := 1; i <= n; i++ {
			if err := s.Receive(ctx, "0", "", batch(1, span(1, i, 0, 1, fmt.Sprintf("s%d", i%7)))); err != nil {
				t.Fatal(err)
			}
		}
		var heads []chunk
		if err := d.Read(ctx, func(tx db.Scope) (err error) { heads, err = chunks(tx, id); return err }); err != nil {
			t.Fatal(err)
		}
		if len(heads) > 3*width {
			t.Errorf("%d spans lie in %d documents", n, len(heads))
		}
		all := must[map[string][]*Span](t)(s.Spans(ctx, []string{id}))[id]
		if got := must[Trace](t)(s.Get(ctx, id)); got.Spans != n || len(all) != n {
			t.Errorf("%d spans are counted as %d and read as %d", n, got.Spans, len(all))
		}
		for i, x := range all {
			if binary.BigEndian.Uint64(x.SpanId) != uint64(i+1) {
				t.Fatalf("place %d holds span %x", i, x.SpanId)
			}
		}
	})
}

func TestTokensAreSummedOverTheTree(t *testing.T) {
	usage := func(n int) *commonpb.KeyValue {
		return str(keyTokens, fmt.Sprintf(`{"input_tokens": %d, "output_tokens": 1, "total_tokens": %d}`, n, n+1))
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		// the calls come first, the agent that sums them up later
		if err := s.Receive(ctx, "0", "", batch(1, span(1, 2, 1, 5, "call", usage(10)), span(1, 3, 1, 5, "call", usage(20)))); err != nil {
			t.Fatal(err)
		}
		id := IDOf(traceID(1))
		if got := must[Trace](t)(s.Get(ctx, id)); got.Tokens == nil || got.Tokens.Input != 30 || got.Tokens.Total != 32 {
			t.Errorf("two calls took %+v", got.Tokens)
		}
		if err := s.Receive(ctx, "0", "", batch(1, span(1, 1, 0, 20, "agent", usage(30)), span(1, 4, 0, 5, "other", str("gen_ai.usage.input_tokens", "7")))); err != nil {
			t.Fatal(err)
		}
		got := must[Trace](t)(s.Get(ctx, id))
		if got.Tokens == nil || got.Tokens.Input != 37 || !strings.Contains(got.Metadata[MetaTokens], `"input_tokens":37`) {
			t.Errorf("with the agent's sum it took %+v, metadata %s", got.Tokens, got.Metadata[MetaTokens])
		}
	})
}

func TestSearch(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		run := must[tracking.Run](t)(s.Tracking.(*tracking.Service).CreateRun(ctx, tracking.NewRun{Experiment: "0"}))
		for n := 1; n <= 9; n++ {
			x := started(n, map[string]string{"parity": []string{"even", "odd"}[n%2], TagName: fmt.Sprintf("trace %d", n)}, map[string]string{"in": fmt.Sprintf("v%d", n)})
			if n%3 == 0 {
				x.State = Failed
				x.Metadata[MetaSession] = "sess"
				x.Metadata[MetaRun] = run.ID
				x.Tags["third"] = "Yes"
			}
			x.Assessments = []Assessment{{Name: "score", Kind: Feedback, Value: json.RawMessage(fmt.Sprint(n)), Source: Source{Kind: Code}},
				{Name: "good", Kind: Feedback, Value: json.RawMessage(`"yes"`), Source: Source{Kind: Human, ID: "ada"}}}
			must[Trace](t)(s.Start(ctx, x))
			list := batch(n, span(n, 1, 0, n, "root", str("mlflow.spanInputs", fmt.Sprintf(`{"question": "what is %d%%?"}`, n))), span(n, 2, 1, n, "Tool", str("mlflow.spanType", "TOOL"), str("city", fmt.Sprintf("Ulm %d", n))))
			if n == 5 {
				list[0].Spans[1].Status.Code = tracepb.Status_STATUS_CODE_ERROR
			}
			if err := s.Receive(ctx, "0", "", list); err != nil {
				t.Fatal(err)
			}
		}
		id := func(n int) string { return IDOf(traceID(n)) }
		if err := s.Link(ctx, []string{id(1), id(2), "tr-none"}, run.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.LinkPrompts(ctx, id(4), []Prompt{{"greet", "2"}}); err != nil {
			t.Fatal(err)
		}
		must[Assessment](t)(s.Assess(ctx, id(3), Assessment{Name: "mood", Kind: Expectation, Value: json.RawMessage(`true`), Source: Source{Kind: Human}, Metadata: map[string]string{MetaSession: "sess"}}))
		for _, c := range []struct {
			name, filter, order, want string
		}{
			{"no filter gives the newest first", "", "", "9 8 7 6 5 4 3 2 1"},
			{"by state", "status = 'ERROR'", "", "9 6 3"},
			{"by state in MLflow's other words", "trace.state != 'ERROR' AND timestamp_ms >= 7000", "", "8 7"},
			{"by state with a pattern", "status LIKE 'ERR%'", "", "9 6 3"},
			{"by id", "trace_id = '" + id(4) + "'", "", "4"},
			{"by ids", "request_id IN ('" + id(4) + "', '" + id(6) + "')", "", "6 4"},
			{"by time", "timestamp_ms >= 3000 AND timestamp < 5000.5", "", "5 4 3"},
			{"by duration", "execution_time_ms > 7", "", "9 8"},
			{"by end", "end_time_ms <= 2002", "", "2 1"},
			{"by name", "name = 'trace 7'", "", "7"},
			{"by name as a tag", "tags.mlflow.traceName ILIKE 'TRACE 7'", "", "7"},
			{"capitals count in LIKE", "name LIKE 'TRACE%'", "", ""},
			{"by tag", "tag.parity = 'even' AND tags.`third` = 'Yes'", "", "6"},
			{"what has no tag matches no inequality", "tag.third != 'No'", "", "9 6 3"},
			{"tags that are not there", "tag.third IS NULL AND tag.parity IS NOT NULL AND timestamp_ms < 4500", "", "4 2 1"},
			{"by metadata", "metadata.in = 'v8'", "", "8"},
			{"by metadata in MLflow's words", "request_metadata.`in` LIKE 'v_' AND metadata.nothing IS NULL AND execution_time_ms = 2", "", "2"},
			{"by session", "metadata.`mlflow.trace.session` = 'sess'", "", "9 6 3"},
			{"by run, linked and as it came", "run_id = '" + run.ID + "'", "", "9 6 3 2 1"},
			{"by run in metadata", "attribute.run_id = '" + run.ID + "' AND status = 'OK'", "", "2 1"},
			{"without a run", "run_id IS NULL AND timestamp_ms > 6000", "", "8 7"},
			{"by prompt", "prompt = 'greet/2'", "", "4"},
			{"by span", "span.name = 'Tool' AND span.status = 'ERROR'", "", "5"},
			{"one span meets all", "span.name = 'root' AND span.status = 'ERROR'", "", ""},
			{"by type", "span.type IN ('TOOL', 'LLM') AND timestamp_ms < 3000", "", "2 1"},
			{"by attribute of a span", "span.attributes.city LIKE '%m 8'", "", "8"},
			{"by attribute that equals", "span.attributes.city = 'Ulm 3' AND span.type = 'TOOL'", "", "3"},
			{"by text", "trace.text LIKE '%what is 4_?%'", "", "4"},
			{"by content of one span", "span.content ILIKE '%ULM 2%' AND span.name = 'Tool'", "", "2"},
			{"by number of feedback", "feedback.score >= 8", "", "9 8"},
			{"by text of feedback", "feedback.good = 'yes' AND feedback.score < 2", "", "1"},
			{"feedback of numbers as text", "feedback.score = '5'", "", "5"},
			{"feedback that is not there", "feedback.mood IS NULL AND timestamp_ms < 2500", "", "2 1"},
			{"what is said of a session covers its traces", "expectation.mood = 'true'", "", "9 6 3"},
			{"and is there for all of them", "expectation.mood IS NOT NULL", "", "9 6 3"},
			{"by regular expression", "name RLIKE '^trace [78]$'", "", "8 7"},
			{"by regular expression of a tag and a span", "tag.parity RLIKE 'od+' AND span.attributes.city RLIKE '[1-4]$'", "", "3 1"},
			{"ordered by duration", "timestamp_ms < 4500", "execution_time_ms", "1 2 3 4"},
			{"ordered by name downwards", "timestamp_ms < 4500", "name DESC", "4 3 2 1"},
			{"what has no value comes last upwards", "timestamp_ms < 6500", "tag.third", "6 3 5 4 2 1"},
			{"and downwards", "timestamp_ms < 6500", "tags.third DESC, timestamp_ms ASC", "3 6 1 2 4 5"},
			{"ordered by metadata", "timestamp_ms > 6500", "metadata.in ASC", "7 8 9"},
			{"ordered by state, then time", "timestamp_ms > 4500", "status DESC, timestamp ASC", "5 7 8 6 9"},
		} {
			t.Run(c.name, func(t *testing.T) {
				for _, limit := range []int{100, 2} { // in one page and in pages of two
					var got []string
					v := Search{Experiments: []string{"0"}, Filter: c.filter, Order: words(c.order), Limit: limit}
					for {
						list, next, err := s.Find(ctx, v)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, ids(list)...)
						if v.Token = next; next == "" {
							break
						}
					}
					if strings.Join(got, " ") != c.want {
						t.Errorf("in pages of %d: got %v, want %s", limit, got, c.want)
					}
				}
			})
		}
		for _, c := range []struct{ name, filter, order, token string }{
			{"an unknown key", "nonsense = 'a'", "", ""},
			{"no comparison", "nonsense", "", ""},
			{"a regular expression that is none", "name RLIKE '('", "", ""},
			{"one for a span", "span.name RLIKE '('", "", ""},
			{"a prompt without a version", "prompt = 'greet'", "", ""},
			{"a text where a number belongs", "timestamp_ms = 'now'", "", ""},
			{"an order that does not exist", "", "nothing", ""},
			{"an order by feedback", "", "feedback.score", ""},
			{"a token that is none", "", "", "garbage"},
			{"a token of another search", "tag.parity = 'odd'", "", "eyJvZiI6IngiLCJhdCI6WyIxIiwiYSJdfQ=="},
			{"a pattern that is too long", "name LIKE '" + strings.Repeat("a", maxPattern+1) + "'", "", ""},
		} {
			if _, _, err := s.Find(ctx, Search{Experiments: []string{"0"}, Filter: c.filter, Order: words(c.order), Token: c.token, Limit: 5}); !problem.Is(err, problem.Invalid) {
				t.Errorf("%s gives %v, want a refusal", c.name, err)
			}
		}
		elsewhere := caller.WithWorkspace(ctx, "other")
		if list, _, err := s.Find(elsewhere, Search{Everywhere: true, Limit: 5}); err != nil || len(list) != 0 {
			t.Errorf("another workspace sees %v, %v", ids(list), err)
		}
	})
}

func TestPagesNeitherRepeatNorSkipWhileTracesArrive(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		for n := 1; n <= 12; n++ {
			x := started(n, nil, nil)
			x.Started = int64(1000 * (n / 3)) // several at once
			must[Trace](t)(s.Start(ctx, x))
		}
		var got []string
		v := Search{Experiments: []string{"0"}, Limit: 5}
		for extra := 100; ; extra++ {
			list, next, err := s.Find(ctx, v)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ids(list)...)
			if v.Token = next; next == "" {
				break
			}
			must[Trace](t)(s.Start(ctx, started(extra, nil, nil))) // newer than all
		}
		if len(got) != 12 || len(slices.Compact(slices.Sorted(slices.Values(got)))) != 12 {
			t.Errorf("12 traces were paged as %v", got)
		}
	})
}

func TestDeletionIsForGoodAndAudited(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		for n := 1; n <= 6; n++ {
			x := started(n, map[string]string{"a": "b"}, map[string]string{MetaRun: "r"})
			x.Assessments = []Assessment{{Name: "x", Kind: Feedback, Value: json.RawMessage(`1`), Source: Source{Kind: Code}}}
			must[Trace](t)(s.Start(ctx, x))
			if err := s.Receive(ctx, "0", "", batch(n, span(n, 1, 0, 1, "s"))); err != nil {
				t.Fatal(err)
			}
			if err := s.LinkPrompts(ctx, x.ID, []Prompt{{"p", "1"}}); err != nil {
				t.Fatal(err)
			}
		}
		at := func(ms int64) *int64 { return &ms }
		for _, c := range []struct {
			name string
			d    Deletion
			want int
		}{
			{"by id", Deletion{Experiment: "0", IDs: []string{IDOf(traceID(6)), "tr-none"}}, 1},
			{"the oldest, bounded", Deletion{Experiment: "0", Until: at(5000), Max: 2}, 2},
			{"up to a time", Deletion{Experiment: "0", Until: at(4000)}, 2},
			{"none of another experiment's", Deletion{Experiment: "0", Until: at(1)}, 0},
		} {
			if n := must[int](t)(s.Delete(ctx, c.d)); n != c.want {
				t.Errorf("%s: %d traces were deleted, want %d", c.name, n, c.want)
			}
		}
		list, _, err := s.Find(ctx, Search{Everywhere: true, Limit: 10})
		if err != nil || strings.Join(ids(list), " ") != "5" {
			t.Errorf("left are %v, %v", ids(list), err)
		}
		for _, c := range []Deletion{{Experiment: "0"}, {Experiment: "0", IDs: []string{"a"}, Until: at(1)}, {Experiment: "0", IDs: []string{"a"}, Max: 1}, {Experiment: "0", Until: at(1), Max: -1}} {
			if _, err := s.Delete(ctx, c); !problem.Is(err, problem.Invalid) {
				t.Errorf("%+v gives %v, want a refusal", c, err)
			}
		}
		err = d.Read(ctx, func(tx db.Scope) error {
			for _, table := range []string{"trace_tag", "trace_chunk", "trace_span", "trace_run", "trace_prompt", "trace_assessment"} {
				var n int
				if err := tx.QueryRow(`SELECT COUNT(*) FROM `+table+` WHERE workspace = $1`, tx.Workspace).Scan(&n); err != nil {
					return err
				}
				if n != 1 {
					t.Errorf("%s has %d rows of the one trace left", table, n)
				}
			}
			var n int
			if err := tx.QueryRow(`SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = 'trace.deleted'`, tx.Workspace).Scan(&n); err != nil {
				return err
			}
			if n != 3 {
				t.Errorf("three deletions left %d audit entries", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestAssessments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		id := must[Trace](t)(s.Start(ctx, started(1, nil, nil))).ID
		first := must[Assessment](t)(s.Assess(ctx, id, Assessment{Name: "good", Kind: Feedback, Value: json.RawMessage(` true `), Source: Source{Kind: Human, ID: "ada"}, Metadata: map[string]string{"a": "1"}}))
		if string(first.Value) != "true" || !first.Valid || !strings.HasPrefix(first.ID, "a-") {
			t.Errorf("the first is %+v", first)
		}
		why := "thought again"
		got := must[Assessment](t)(s.Reassess(ctx, id, first.ID, AssessmentChange{Kind: Feedback, Value: json.RawMessage(`false`), Rationale: &why, Metadata: map[string]string{"b": "2"}}))
		if string(got.Value) != "false" || got.Rationale != why || got.Metadata["a"] != "1" || got.Metadata["b"] != "2" || got.Source.ID != "ada" {
			t.Errorf("changed it is %+v", got)
		}
		second := must[Assessment](t)(s.Assess(ctx, id, Assessment{Name: "good", Kind: Feedback, Value: json.RawMessage(`"no"`), Source: Source{Kind: Human}, Overrides: first.ID}))
		if must[Assessment](t)(s.Assessment(ctx, id, first.ID)).Valid {
			t.Error("an assessment that another one replaces is still valid")
		}
		if err := s.DeleteAssessment(ctx, id, second.ID); err != nil {
			t.Fatal(err)
		}
		if !must[Assessment](t)(s.Assessment(ctx, id, first.ID)).Valid {
			t.Error("an assessment is not valid again after the one that replaced it went")
		}
		if err := s.DeleteAssessment(ctx, id, second.ID); err != nil {
			t.Errorf("deleting it again gives %v", err)
		}
		for _, c := range []struct {
			name string
			kind problem.Kind
			err  error
		}{
			{"a trace that is not there", problem.NotFound, second2(s.Assess(ctx, "tr-none", Assessment{Name: "x", Kind: Feedback, Source: Source{Kind: Human}}))},
			{"one that it should replace is not there", problem.NotFound, second2(s.Assess(ctx, id, Assessment{Name: "x", Kind: Feedback, Source: Source{Kind: Human}, Overrides: "a-none"}))},
			{"no name", problem.Invalid, second2(s.Assess(ctx, id, Assessment{Kind: Feedback, Source: Source{Kind: Human}}))},
			{"a kind that is none", problem.Invalid, second2(s.Assess(ctx, id, Assessment{Name: "x", Kind: "guess", Source: Source{Kind: Human}}))},
			{"a source that is none", problem.Invalid, second2(s.Assess(ctx, id, Assessment{Name: "x", Kind: Feedback, Source: Source{Kind: "oracle"}}))},
			{"an expectation without a value", problem.Invalid, second2(s.Assess(ctx, id, Assessment{Name: "x", Kind: Expectation, Source: Source{Kind: Human}}))},
			{"a value that is no JSON", problem.Invalid, second2(s.Assess(ctx, id, Assessment{Name: "x", Kind: Feedback, Value: json.RawMessage(`{`), Source: Source{Kind: Human}}))},
			{"a value nested too deeply", problem.Invalid, second2(s.Assess(ctx, id, Assessment{Name: "x", Kind: Feedback, Value: json.RawMessage(strings.Repeat("[", 40) + strings.Repeat("]", 40)), Source: Source{Kind: Human}}))},
			{"another kind of value", problem.Invalid, second2(s.Reassess(ctx, id, first.ID, AssessmentChange{Kind: Expectation, Value: json.RawMessage(`1`)}))},
			{"an assessment that is not there", problem.NotFound, second2(s.Assessment(ctx, id, "a-none"))},
		} {
			if !problem.Is(c.err, c.kind) {
				t.Errorf("%s gives %v, want %s", c.name, c.err, c.kind)
			}
		}
	})
}

func second2[T any](_ T, err error) error { return err }

func TestTagsAndTheEarlierProtocol(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		b := must[Trace](t)(s.Begin(ctx, Trace{Experiment: "0", Started: 5000, Metadata: map[string]string{"a": "1"}, Tags: map[string]string{"t": "1", TagArtifacts: "file:///etc"}}))
		if b.State != InProgress || b.Duration >= 0 || len(b.ID) != 32 {
			t.Errorf("begun it is %+v", b)
		}
		e := must[Trace](t)(s.End(ctx, b.ID, OK, 6500, map[string]string{"b": "2"}, map[string]string{"u": "2"}))
		if e.State != OK || e.Duration != 1500 || e.Started != 5000 || e.Metadata["a"] != "1" || e.Metadata["b"] != "2" || e.Tags["t"] != "1" || e.Tags["u"] != "2" {
			t.Errorf("ended it is %+v", e)
		}
		if got := e.AllTags()[TagArtifacts]; got != "mlflow-artifacts:/0/traces/"+b.ID+"/artifacts" {
			t.Errorf("its files are at %q, which the client must not choose", got)
		}
		if err := s.SetTag(ctx, b.ID, TagName, "new name"); err != nil {
			t.Fatal(err)
		}
		if err := s.SetTag(ctx, b.ID, "long", strings.Repeat("ä", MaxValue+1)); err != nil {
			t.Fatal(err)
		}
		got := must[Trace](t)(s.Get(ctx, b.ID))
		if got.Name != "new name" || len([]rune(got.Tags["long"])) != MaxValue {
			t.Errorf("tagged it is %q with %d characters", got.Name, len([]rune(got.Tags["long"])))
		}
		for _, key := range []string{"t", TagName} {
			if err := s.DeleteTag(ctx, b.ID, key); err != nil {
				t.Errorf("deleting %s gives %v", key, err)
			}
			if err := s.DeleteTag(ctx, b.ID, key); !problem.Is(err, problem.NotFound) {
				t.Errorf("deleting %s again gives %v", key, err)
			}
		}
		for _, key := range []string{TagSpansLocation, TagArtifacts, "", "a//b"} {
			if err := s.SetTag(ctx, b.ID, key, "x"); !problem.Is(err, problem.Invalid) {
				t.Errorf("setting the tag %q gives %v", key, err)
			}
		}
	})
}

func TestWhatIsRefused(t *testing.T) {
	s, ctx := service(t, dbtest.SQLite(t)), who()
	tr := s.Tracking.(*tracking.Service)
	e := must[tracking.Experiment](t)(tr.CreateExperiment(ctx, "gone", nil))
	if err := tr.DeleteExperiment(ctx, e.ID); err != nil {
		t.Fatal(err)
	}
	other := must[tracking.Experiment](t)(tr.CreateExperiment(ctx, "other", nil))
	must[Trace](t)(s.Start(ctx, started(1, nil, nil)))
	with := func(change func(*Trace)) Trace { x := started(2, nil, nil); change(&x); return x }
	many := map[string]string{}
	for i := range MaxEntries + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name string
		kind problem.Kind
		err  error
	}{
		{"an id with a slash", problem.Invalid, second2(s.Start(ctx, with(func(x *Trace) { x.ID = "a/../b" })))},
		{"no state", problem.Invalid, second2(s.Start(ctx, with(func(x *Trace) { x.State = "" })))},
		{"a time before all times", problem.Invalid, second2(s.Start(ctx, with(func(x *Trace) { x.Started = earliest - 1 })))},
		{"too many tags", problem.Invalid, second2(s.Start(ctx, with(func(x *Trace) { x.Tags = many })))},
		{"too much metadata", problem.Invalid, second2(s.Start(ctx, with(func(x *Trace) { x.Metadata = many })))},
		{"a long key", problem.Invalid, second2(s.Start(ctx, with(func(x *Trace) { x.Metadata = map[string]string{strings.Repeat("k", 251): ""} })))},
		{"an experiment that is not there", problem.NotFound, second2(s.Start(ctx, with(func(x *Trace) { x.Experiment = "77" })))},
		{"an experiment that is deleted", problem.Invalid, second2(s.Start(ctx, with(func(x *Trace) { x.Experiment = e.ID })))},
		{"spans for it", problem.Invalid, s.Receive(ctx, e.ID, "", batch(3, span(3, 1, 0, 1, "s")))},
		{"the trace of another experiment", problem.Conflict, second2(s.Start(ctx, func() Trace { x := started(1, nil, nil); x.Experiment = other.ID; return x }()))},
		{"spans for the trace of another experiment", problem.Conflict, s.Receive(ctx, other.ID, "", batch(1, span(1, 1, 0, 1, "s")))},
		{"spans of a run that is not there", problem.NotFound, s.Receive(ctx, "0", "none", batch(3, span(3, 1, 0, 1, "s")))},
		{"a link to a run that is not there", problem.NotFound, s.Link(ctx, []string{"tr-1"}, "none")},
		{"a prompt with a slash", problem.Invalid, s.LinkPrompts(ctx, IDOf(traceID(1)), []Prompt{{"a/b", "1"}})},
		{"a prompt whose version is no number", problem.Invalid, s.LinkPrompts(ctx, IDOf(traceID(1)), []Prompt{{"a", "x"}})},
	} {
		if !problem.Is(c.err, c.kind) {
			t.Errorf("%s gives %v, want %s", c.name, c.err, c.kind)
		}
	}
}

func TestMeasures(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), who()
		for n := 1; n <= 4; n++ {
			x := started(n, map[string]string{TagName: []string{"a", "b"}[n%2]}, map[string]string{MetaTokens: fmt.Sprintf(`{"input_tokens": %d, "output_tokens": 1, "total_tokens": %d}`, n, n+1), MetaSession: fmt.Sprint("s", n/3)})
			x.Duration = int64(10 * n)
			x.Assessments = []Assessment{{Name: "good", Kind: Feedback, Value: json.RawMessage([]string{"true", "false"}[n%2]), Source: Source{Kind: Code}}}
			must[Trace](t)(s.Start(ctx, x))
			if err := s.Receive(ctx, "0", "", batch(n, span(n, 1, 0, 2*n, "root"), span(n, 2, 1, n, "call", str("mlflow.llm.model", "m1"), str(keyCost, fmt.Sprintf(`{"input_cost": %d, "output_cost": 1}`, n))))); err != nil {
				t.Fatal(err)
			}
		}
		since, until := int64(0), int64(10_000)
		for _, c := range []struct {
			name string
			q    MetricQuery
			want string
		}{
			{"traces are counted", MetricQuery{View: OfTraces, Metric: "trace_count", Aggregations: []Aggregation{{Kind: Count}}}, `[{"Dimensions":{},"Values":{"COUNT":4}}]`},
			{"by name", MetricQuery{View: OfTraces, Metric: "trace_count", Aggregations: []Aggregation{{Kind: Count}}, Dimensions: []string{"trace_name"}},
				`[{"Dimensions":{"trace_name":"a"},"Values":{"COUNT":2}},{"Dimensions":{"trace_name":"b"},"Values":{"COUNT":2}}]`},
			{"sessions once", MetricQuery{View: OfTraces, Metric: "session_count", Aggregations: []Aggregation{{Kind: Count}}}, `[{"Dimensions":{},"Values":{"COUNT":2}}]`},
			{"latencies are interpolated", MetricQuery{View: OfTraces, Metric: "latency", Aggregations: []Aggregation{{Kind: Avg}, {Percentile, 50}, {Percentile, 99.9}, {Kind: Max}}},
				`[{"Dimensions":{},"Values":{"AVG":25,"MAX":40,"P50.0":25,"P99.9":39.97}}]`},
			{"tokens by time", MetricQuery{View: OfTraces, Metric: "total_tokens", Aggregations: []Aggregation{{Kind: Sum}}, Every: 2, Since: &since, Until: &until},
				`[{"Dimensions":{"time_bucket":"1970-01-01T00:00:00+00:00"},"Values":{"SUM":2}},{"Dimensions":{"time_bucket":"1970-01-01T00:00:02+00:00"},"Values":{"SUM":7}},{"Dimensions":{"time_bucket":"1970-01-01T00:00:04+00:00"},"Values":{"SUM":5}}]`},
			{"with filters", MetricQuery{View: OfTraces, Metric: "trace_count", Aggregations: []Aggregation{{Kind: Count}}, Filters: []string{"trace.tag.mlflow.traceName = 'a'", "trace.status = 'OK'", "trace.metadata.`mlflow.trace.session` = 's0'"}},
				`[{"Dimensions":{},"Values":{"COUNT":1}}]`},
			{"spans by name", MetricQuery{View: OfSpans, Metric: "latency", Aggregations: []Aggregation{{Kind: Avg}}, Dimensions: []string{"span_name", "span_status"}},
				`[{"Dimensions":{"span_name":"call","span_status":"OK"},"Values":{"AVG":2.5}},{"Dimensions":{"span_name":"root","span_status":"OK"},"Values":{"AVG":5}}]`},
			{"costs by model", MetricQuery{View: OfSpans, Metric: "total_cost", Aggregations: []Aggregation{{Kind: Sum}}, Dimensions: []string{"span_model_name"}, Filters: []string{"span.name = 'call'"}},
				`[{"Dimensions":{"span_model_name":"m1"},"Values":{"SUM":14}}]`},
			{"assessments by value", MetricQuery{View: OfAssessments, Metric: "assessment_count", Aggregations: []Aggregation{{Kind: Count}}, Dimensions: []string{"assessment_value"}, Filters: []string{"assessment.name = 'good'"}},
				`[{"Dimensions":{"assessment_value":"false"},"Values":{"COUNT":2}},{"Dimensions":{"assessment_value":"true"},"Values":{"COUNT":2}}]`},
			{"booleans are averaged", MetricQuery{View: OfAssessments, Metric: "assessment_value", Aggregations: []Aggregation{{Kind: Avg}}, Dimensions: []string{"assessment_name"}},
				`[{"Dimensions":{"assessment_name":"good"},"Values":{"AVG":0.5}}]`},
		} {
			c.q.Experiments, c.q.Limit = []string{"0"}, 100
			got, _ := json.Marshal(must[[]MetricPoint](t)(s.Measure(ctx, c.q)))
			if string(got) != c.want {
				t.Errorf("%s: got %s, want %s", c.name, got, c.want)
			}
		}
		for _, q := range []MetricQuery{{View: "x"}, {View: OfTraces, Metric: "x"}, {View: OfTraces, Metric: "latency"}, {View: OfTraces, Metric: "latency", Aggregations: []Aggregation{{Kind: Sum}}},
			{View: OfTraces, Metric: "latency", Aggregations: []Aggregation{{Percentile, 101}}}, {View: OfTraces, Metric: "latency", Aggregations: []Aggregation{{Kind: Avg}}, Dimensions: []string{"span_name"}},
			{View: OfTraces, Metric: "latency", Aggregations: []Aggregation{{Kind: Avg}}, Every: 5}, {View: OfTraces, Metric: "latency", Aggregations: []Aggregation{{Kind: Avg}}, Filters: []string{"span.name = 'a'"}},
			{View: OfTraces, Metric: "latency", Aggregations: []Aggregation{{Kind: Avg}}, Filters: []string{"trace.nothing.x = 'a'"}}} {
			q.Experiments = []string{"0"}
			if _, err := s.Measure(ctx, q); !problem.Is(err, problem.Invalid) {
				t.Errorf("%+v gives %v, want a refusal", q, err)
			}
		}
		// 4 traces, 2 named a, 2 of session s0 (1 and 2), trace 2 is both
		c := must[Correlation](t)(s.Correlate(ctx, []string{"0"}, "name = 'a'", "metadata.`mlflow.trace.session` = 's0'", ""))
		if c.First != 2 || c.Second != 2 || c.Joint != 1 || c.Total != 4 || c.NPMI < -1e-12 || c.NPMI > 1e-12 {
			t.Errorf("two independent filters correlate as %+v", c)
		}
	})
}
