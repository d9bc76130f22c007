package evalset

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

type world struct {
	*Service
	t   *testing.T
	ctx context.Context
}

func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
		w := &world{t: t, ctx: caller.With(context.Background(), caller.Caller{Name: "ada", Kind: caller.Person})}
		w.Service = &Service{DB: d, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { clock = clock.Add(time.Second); return clock },
			Experiment: func(_ context.Context, id string) error {
				if id == "404" {
					return problem.New(problem.NotFound, "No experiment.")
				}
				return nil
			}}
		fn(w)
	})
}

func (w *world) make(name string, experiments ...string) Set {
	w.t.Helper()
	s, err := w.Create(w.ctx, name, map[string]string{"team": "risk"}, experiments)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) add(id, text string) (inserted, updated int) {
	w.t.Helper()
	given, err := Read([]byte(text))
	if err == nil {
		inserted, updated, err = w.Upsert(w.ctx, id, given)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return inserted, updated
}

func TestThereIsOneRecordPerInput(t *testing.T) {
	each(t, func(w *world) {
		s := w.make("faq", "1")
		if in, up := w.add(s.ID, `[{"inputs":{"q":"a","n":1},"outputs":"yes","expectations":{"right":true},"tags":{"x":"1"},"source":{"source_type":"trace","source_data":{"trace_id":"tr-1"}}},
			{"inputs":{"q":"b","n":1.5},"outputs":{"text":"no"}},{"inputs":{"n":1,"q":"a"},"expectations":{"note":["z"]},"tags":{"y":"2"}}]`); in != 2 || up != 1 {
			t.Errorf("%d inserted, %d updated", in, up)
		}
		list, err := w.Records(w.ctx, s.ID, "", 10)
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v %v", list, err)
		}
		r := list[0]
		if string(r.Inputs) != `{"n":1,"q":"a"}` || string(r.Outputs) != `"yes"` || string(r.Expectations) != `{"note":["z"],"right":true}` || fmt.Sprint(r.Tags) != "map[x:1 y:2]" {
			t.Errorf("%s %s %s %v", r.Inputs, r.Outputs, r.Expectations, r.Tags)
		}
		if typ, id := SourceOf(r.Source); typ != "TRACE" || id != "tr-1" {
			t.Errorf("source %s %s", typ, id)
		}
		got, err := w.Get(w.ctx, s.ID)
		if b, _ := json.Marshal(got.Fields); err != nil || got.Records != 2 || got.Digest == s.Digest || string(b) != `{"inputs":{"n":"integer","q":"string"},"outputs":"string","expectations":{"note":"array","right":"boolean"},"version":"1.0"}` {
			t.Errorf("%+v %s %v", got, b, err)
		}
		w.add(s.ID, `[{"inputs":{"q":"a","n":1},"outputs":null}]`)
		if list, _ = w.Records(w.ctx, s.ID, "", 10); list[0].Outputs != nil {
			t.Errorf("outputs %s", list[0].Outputs)
		}
		page, err := w.Records(w.ctx, s.ID, list[0].ID, 10)
		if err != nil || len(page) != 1 || page[0].ID != list[1].ID {
			t.Errorf("%+v %v", page, err)
		}
		if n, err := w.DeleteRecords(w.ctx, s.ID, []string{list[0].ID, "dr-ghost"}); err != nil || n != 1 {
			t.Errorf("%d deleted, %v", n, err)
		}
		if err := w.Delete(w.ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Records(w.ctx, s.ID, "", 10); !problem.Is(err, problem.NotFound) {
			t.Errorf("records of a set that is gone: %v", err)
		}
	})
}

func TestSetsBelongToExperimentsAndAreFound(t *testing.T) {
	each(t, func(w *world) {
		a, b := w.make("a", "1", "2", "1"), w.make("b")
		if fmt.Sprint(a.Experiments) != "[1 2]" {
			t.Errorf("experiments %v", a.Experiments)
		}
		if s, err := w.AddTo(w.ctx, b.ID, []string{"3", "2"}); err != nil || fmt.Sprint(s.Experiments) != "[2 3]" {
			t.Errorf("%v %v", s.Experiments, err)
		}
		if s, err := w.RemoveFrom(w.ctx, b.ID, []string{"3", "9"}); err != nil || fmt.Sprint(s.Experiments) != "[2]" {
			t.Errorf("%v %v", s.Experiments, err)
		}
		if _, err := w.Tag(w.ctx, b.ID, map[string]string{"team": "sales"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			experiments []string
			filter      string
			order       []string
			want        string
		}{
			{nil, "", nil, "[b a]"}, {nil, "", []string{"name"}, "[a b]"}, {[]string{"1"}, "", nil, "[a]"}, {[]string{"2"}, "", nil, "[b a]"}, {[]string{"7"}, "", nil, "[]"},
			{nil, "tags.team = 'sales'", nil, "[b]"}, {nil, "name LIKE '%a%'", nil, "[a]"}, {nil, "created_by = 'ada' AND created_time > 0", nil, "[b a]"},
		} {
			list, _, err := w.Search(w.ctx, c.experiments, filter.Query{Filter: c.filter, Order: c.order, Limit: 10})
			names := []string{}
			for _, s := range list {
				names = append(names, s.Name)
			}
			if err != nil || fmt.Sprint(names) != c.want {
				t.Errorf("%v %s: %v %v, want %s", c.experiments, c.filter, names, err, c.want)
			}
		}
		if err := w.Untag(w.ctx, b.ID, "team"); err != nil {
			t.Fatal(err)
		}
		if s, err := w.Get(w.ctx, b.ID); err != nil || len(s.Tags) != 0 {
			t.Errorf("%v %v", s.Tags, err)
		}
		if _, err := w.Create(w.ctx, "c", nil, []string{"404"}); !problem.Is(err, problem.NotFound) {
			t.Errorf("an experiment that is not there: %v", err)
		}
		if _, err := w.Create(w.ctx, " ", nil, nil); !problem.Is(err, problem.Invalid) {
			t.Errorf("no name: %v", err)
		}
		if _, err := w.Get(caller.WithWorkspace(w.ctx, "elsewhere"), a.ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("another workspace: %v", err)
		}
	})
}

func TestRecordsThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON": "{", "an object": `{"inputs":{}}`, "no inputs": `[{}]`, "inputs of another kind": `[{"inputs":[1]}]`, "a tag that is no text": `[{"inputs":{"a":1},"tags":{"x":1}}]`,
		"an unknown source": `[{"inputs":{"a":1},"source":{"source_type":"rumour"}}]`, "two texts": `[] []`, "an unclean tag": `[{"inputs":{"a":1},"tags":{"../x":"1"}}]`,
		"a large part": `[{"inputs":{"a":"` + strings.Repeat("x", maxRecord) + `"}}]`,
	} {
		if _, err := Read([]byte(text)); !problem.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{`[{"inputs":{"q":"a"},"outputs":"yes","expectations":{"right":true},"tags":{"x":"1"},"source":{"source_type":"TRACE","source_data":{"trace_id":"t"}}}]`, `[]`, `[{"inputs":{"a":1e999}}]`, `[null]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := Read([]byte(s))
		if err != nil {
			if !problem.Is(err, problem.Invalid) {
				t.Fatalf("%q: %v is no refusal", s, err)
			}
			return
		}
		var fields Fields
		for _, g := range list {
			var r Record
			if err := r.merge(g); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			fields.learn(g)
			if g.input() == "" || !json.Valid(canonical(g.Inputs)) {
				t.Fatalf("%q: inputs cannot be kept", s)
			}
		}
	})
}
