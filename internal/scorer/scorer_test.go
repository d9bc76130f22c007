package scorer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

func TestScorersHaveVersionsPerExperiment(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := &Service{DB: d, Now: time.Now, Experiment: func(_ context.Context, id string) error {
			if id == "404" {
				return problem.New(problem.NotFound, "No experiment.")
			}
			return nil
		}}
		ctx := caller.With(context.Background(), caller.Caller{Name: "ada"})
		for _, c := range [][2]string{{"1", "tone"}, {"1", "tone"}, {"1", "length"}, {"2", "tone"}} {
			if _, err := s.Register(ctx, c[0], c[1], `{"a":1}`); err != nil {
				t.Fatal(err)
			}
		}
		show := func(list []Version, err error) string {
			t.Helper()
			if err != nil {
				return string(problem.KindOf(err))
			}
			out := []string{}
			for _, v := range list {
				out = append(out, fmt.Sprintf("%s/%s/%d", v.Experiment, v.Name, v.Number))
			}
			return strings.Join(out, " ")
		}
		one := func(v Version, err error) string { t.Helper(); return show([]Version{v}, err) }
		for _, c := range []struct{ name, got, want string }{
			{"the newest of each", show(s.List(ctx)), "1/length/1 1/tone/2 2/tone/1"},
			{"of one experiment", show(s.List(ctx, "1")), "1/length/1 1/tone/2"},
			{"of an experiment that is not there", show(s.List(ctx, "404")), "not-found"},
			{"all versions", show(s.Versions(ctx, "1", "tone")), "1/tone/1 1/tone/2"},
			{"the newest", one(s.Get(ctx, "1", "tone", 0)), "1/tone/2"},
			{"one by number", one(s.Get(ctx, "1", "tone", 1)), "1/tone/1"},
			{"a number that is not there", one(s.Get(ctx, "1", "tone", 9)), "not-found"},
			{"a name that is not there", show(s.Versions(ctx, "1", "colour")), "not-found"},
			{"another workspace", show(s.List(caller.WithWorkspace(ctx, "elsewhere"))), ""},
			{"no name", one(s.Register(ctx, "1", " ", "{}")), "invalid"},
			{"no JSON", one(s.Register(ctx, "1", "x", "{")), "invalid"},
			{"too large", one(s.Register(ctx, "1", "x", `"`+strings.Repeat("a", MaxDefinition)+`"`)), "invalid"},
			{"in an experiment that is not there", one(s.Register(ctx, "404", "x", "{}")), "not-found"},
		} {
			if c.got != c.want {
				t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
			}
		}
		if err := s.Delete(ctx, "1", "tone", 2); err != nil {
			t.Fatal(err)
		}
		if v, err := s.Register(ctx, "1", "tone", "{}"); err != nil || v.Number != 3 {
			t.Errorf("after a deletion: %+v %v", v, err)
		}
		if err := s.Delete(ctx, "1", "tone", 0); err != nil {
			t.Fatal(err)
		}
		if got := show(s.List(ctx)); got != "1/length/1 2/tone/1" {
			t.Errorf("left: %s", got)
		}
		if err := s.Delete(ctx, "1", "tone", 0); !problem.Is(err, problem.NotFound) {
			t.Errorf("deleted twice: %v", err)
		}
	})
}
