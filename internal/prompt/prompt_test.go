package prompt

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
	t     *testing.T
	ctx   context.Context
	model string // a name that a model has
}

func each(t *testing.T, fn func(w *world)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		clock := time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
		w := &world{t: t, ctx: caller.With(context.Background(), caller.Caller{Name: "ada", Kind: caller.Person})}
		w.Service = &Service{DB: d, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { clock = clock.Add(time.Second); return clock },
			ModelNamed: func(_ db.Scope, name string) (bool, error) { return name == w.model, nil }}
		fn(w)
	})
}

func (w *world) make(name string, templates ...string) {
	w.t.Helper()
	if _, err := w.Create(w.ctx, Prompt{Name: name, Tags: map[string]string{"team": "risk"}}); err != nil {
		w.t.Fatal(err)
	}
	for _, x := range templates {
		if _, err := w.AddVersion(w.ctx, Version{Prompt: name, Template: x}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// told lists the types of events so far.
func (w *world) told() (out []string) {
	w.t.Helper()
	if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
		return tx.Each("SELECT type FROM event WHERE workspace = $1 ORDER BY id", []any{tx.Workspace}, func(scan func(...any) error) error {
			var s string
			err := scan(&s)
			out = append(out, strings.TrimPrefix(s, "prompt."))
			return err
		})
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestVersionsOfAPromptAreNumberedAndDoNotChange(t *testing.T) {
	each(t, func(w *world) {
		w.make("credit.letter", "Dear {{name}}", "Hello {{name}}")
		v, err := w.Version(w.ctx, "credit.letter", 2)
		if err != nil || v.Template != "Hello {{name}}" || v.CreatedBy != "ada" || v.Digest != digest("Hello {{name}}") {
			t.Fatalf("%+v %v", v, err)
		}
		if _, err := w.ChangeVersion(w.ctx, "credit.letter", 2, func(v *Version) error { v.Template = "x"; return nil }); !problem.Is(err, problem.Invalid) {
			t.Errorf("the template was changed: %v", err)
		}
		if v, err = w.ChangeVersion(w.ctx, "credit.letter", 2, func(v *Version) error { v.Description, v.Tags["tone"] = "shorter", "warm"; return nil }); err != nil || v.Tags["tone"] != "warm" {
			t.Errorf("%+v %v", v, err)
		}
		if err := w.DeleteVersion(w.ctx, "credit.letter", 2); err != nil {
			t.Fatal(err)
		}
		if v, err = w.AddVersion(w.ctx, Version{Prompt: "credit.letter", Template: "again"}); err != nil || v.Number != 3 {
			t.Errorf("after a deletion: %+v %v", v, err)
		}
		list, err := w.Versions(w.ctx, "credit.letter")
		if err != nil || len(list) != 2 || list[0].Number != 3 || list[1].Number != 1 {
			t.Errorf("%+v %v", list, err)
		}
		p, err := w.Get(w.ctx, "credit.letter")
		if err != nil || p.Latest != 3 || !p.UpdatedAt.After(p.CreatedAt) {
			t.Errorf("%+v %v", p, err)
		}
		want := "[created version.created version.created version.tag-set changed version.deleted version.created]"
		if got := fmt.Sprint(w.told()); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		var details []string
		if err := w.DB.Read(w.ctx, func(tx db.Scope) error {
			return tx.Each("SELECT detail FROM audit_entry WHERE workspace = $1", []any{tx.Workspace}, func(scan func(...any) error) error {
				var s string
				err := scan(&s)
				details = append(details, s)
				return err
			})
		}); err != nil || len(details) != 7 || strings.Contains(strings.Join(details, ""), "{{name}}") {
			t.Errorf("the history: %v %v", details, err)
		}
	})
}

func TestAliasesOfAPrompt(t *testing.T) {
	each(t, func(w *world) {
		w.make("letter", "one", "two")
		if err := w.SetAlias(w.ctx, "letter", "production", 1); err != nil {
			t.Fatal(err)
		}
		if err := w.SetAlias(w.ctx, "letter", "production", 1); err != nil { // again: nothing happens
			t.Fatal(err)
		}
		if v, err := w.Aliased(w.ctx, "letter", "production"); err != nil || v.Number != 1 || fmt.Sprint(v.Aliases) != "[production]" {
			t.Errorf("%+v %v", v, err)
		}
		if v, err := w.Aliased(w.ctx, "letter", "latest"); err != nil || v.Number != 2 {
			t.Errorf("%+v %v", v, err)
		}
		for alias, n := range map[string]int{"v7": 1, "a b": 1, "latest": 1, "beta": 9} {
			if err := w.SetAlias(w.ctx, "letter", alias, n); err == nil {
				t.Errorf("alias %q to version %d is taken", alias, n)
			}
		}
		if err := w.DeleteVersion(w.ctx, "letter", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Aliased(w.ctx, "letter", "production"); !problem.Is(err, problem.NotFound) {
			t.Errorf("an alias of a deleted version: %v", err)
		}
		if err := w.DropAlias(w.ctx, "letter", "production"); err != nil {
			t.Errorf("an alias that is not there: %v", err)
		}
	})
}

func TestNamesOfPromptsAndModelsAreOneSpace(t *testing.T) {
	each(t, func(w *world) {
		w.model = "credit"
		w.make("letter")
		for name, kind := range map[string]problem.Kind{"credit": problem.Conflict, "letter": problem.Conflict, "": problem.Invalid, "a/b": problem.Invalid, "a b": problem.Invalid,
			"..": problem.Invalid, "ü": problem.Invalid, strings.Repeat("a", 201): problem.Invalid} {
			if _, err := w.Create(w.ctx, Prompt{Name: name}); !problem.Is(err, kind) {
				t.Errorf("%q: %v, want %s", name, err, kind)
			}
		}
		if err := w.DB.Read(w.ctx, func(tx db.Scope) error { return w.Free(tx, "letter") }); !problem.Is(err, problem.Conflict) {
			t.Errorf("a model may take the name of a prompt: %v", err)
		}
		elsewhere := caller.WithWorkspace(w.ctx, "elsewhere")
		if _, err := w.Get(elsewhere, "letter"); !problem.Is(err, problem.NotFound) {
			t.Errorf("another workspace: %v", err)
		}
		if err := w.Delete(w.ctx, "letter"); err != nil {
			t.Fatal(err)
		}
		if ok, err := w.Has(w.ctx, "letter"); ok || err != nil {
			t.Errorf("%v %v", ok, err)
		}
		w.make("letter", "fresh")
		if v, err := w.Version(w.ctx, "letter", 1); err != nil || v.Template != "fresh" {
			t.Errorf("%+v %v", v, err)
		}
	})
}

func TestLimitsOfPrompts(t *testing.T) {
	each(t, func(w *world) {
		w.make("letter")
		for name, v := range map[string]Version{
			"a long template":    {Template: strings.Repeat("ä", MaxTemplate+1)},
			"a long description": {Description: strings.Repeat("a", 100_001)},
			"a long key":         {Tags: map[string]string{strings.Repeat("k", 251): "v"}},
			"an unclean key":     {Tags: map[string]string{"../x": "v"}},
		} {
			v.Prompt = "letter"
			if _, err := w.AddVersion(w.ctx, v); !problem.Is(err, problem.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.AddVersion(w.ctx, Version{Prompt: "letter", Template: strings.Repeat("ä", MaxTemplate)}); err != nil {
			t.Errorf("the longest template: %v", err)
		}
		if _, err := w.AddVersion(w.ctx, Version{Prompt: "ghost"}); !problem.Is(err, problem.NotFound) {
			t.Errorf("of a prompt that is not there: %v", err)
		}
	})
}

func TestPromptsAreFound(t *testing.T) {
	each(t, func(w *world) {
		w.make("a", "1", "2")
		w.make("b", "1")
		w.make("c")
		if _, err := w.Change(w.ctx, "b", func(p *Prompt) error { p.Tags["team"] = "sales"; delete(p.Tags, "none"); return nil }); err != nil {
			t.Fatal(err)
		}
		mark := map[string]string{"mark": "true"}
		for _, c := range []struct{ filter, want string }{
			{"", "[a b c]"}, {"tags.mark = 'true'", "[a b c]"}, {"tags.team = 'risk' AND name != 'c'", "[a]"}, {"name LIKE 'b%'", "[b]"},
		} {
			list, next, err := w.Search(w.ctx, filter.Query{Filter: c.filter, Limit: 10}, mark)
			var got []string
			for _, p := range list {
				got = append(got, p.Name)
			}
			if err != nil || next != "" || fmt.Sprint(got) != c.want {
				t.Errorf("%s: %v %v", c.filter, got, err)
			}
		}
		vs, _, err := w.SearchVersions(w.ctx, filter.Query{Filter: "name = 'a'", Order: []string{"version_number DESC"}, Limit: 10}, mark)
		if err != nil || len(vs) != 2 || vs[0].Number != 2 {
			t.Errorf("%+v %v", vs, err)
		}
		page, err := w.List(w.ctx, "a", 1)
		if b, _ := json.Marshal(page); err != nil || len(page) != 1 || page[0].Name != "b" || page[0].Aliases == nil {
			t.Errorf("%s %v", b, err)
		}
	})
}
