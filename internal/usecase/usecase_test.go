package usecase

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

func screening() UseCase {
	return UseCase{
		Name: "screening", Title: "Screening", Purpose: "Find malignant tumours early.", Area: "oncology", Owner: "olga",
		Goal:             Goal{KPI: "tumours found", Target: 97, Unit: "%", Due: "2027-06-30"},
		Responsibilities: Responsibilities{Accountable: "grace", Responsible: []string{"ada", "ada"}},
		Models:           []string{"screening", "refer"},
	}
}

func TestRulesOfAUseCase(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*UseCase)
		field  string
	}{
		"as it should be":         {func(*UseCase) {}, ""},
		"only a name":             {func(u *UseCase) { *u = UseCase{Name: "x"} }, ""},
		"a name with a space":     {func(u *UseCase) { u.Name = "a b" }, "name"},
		"no name":                 {func(u *UseCase) { u.Name = "" }, "name"},
		"a day that is none":      {func(u *UseCase) { u.Goal.Due = "2027-02-30" }, "goal.due"},
		"a purpose without end":   {func(u *UseCase) { u.Purpose = strings.Repeat("x", maxText+1) }, "purpose"},
		"an empty name in a list": {func(u *UseCase) { u.Models = []string{"a", ""} }, "models[1]"},
		"a list without end":      {func(u *UseCase) { u.Models = make([]string, 1001) }, "models"},
	} {
		t.Run(name, func(t *testing.T) {
			u := screening()
			c.change(&u)
			err := u.check()
			if e, ok := problem.As(err); c.field == "" && err != nil || c.field != "" && (!ok || e.Field != c.field) {
				t.Fatalf("%v", err)
			}
		})
	}
	if got := strings.Join(UseCase{Name: "x"}.missing(), " "); got != "purpose owner accountable responsible goal models" {
		t.Error(got)
	}
	if got := screening().missing(); len(got) != 0 {
		t.Error(got)
	}
}

func TestAUseCaseIsKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := &Service{DB: d, Log: slog.New(slog.DiscardHandler), Now: time.Now}
		ctx := caller.With(context.Background(), caller.Caller{Name: "olga", Kind: caller.Person})
		u, err := s.Create(ctx, screening())
		if err != nil || len(u.Models) != 2 || len(u.Missing) != 0 || len(u.Responsibilities.Responsible) != 1 {
			t.Fatalf("%+v %v", u, err)
		}
		if _, err := s.Create(ctx, screening()); problem.KindOf(err) != problem.Conflict {
			t.Fatal(err)
		}
		empty, owner := []string{}, "oscar"
		u, err = s.Update(ctx, "screening", Change{Owner: &owner, Models: &empty, Responsibilities: &Responsibilities{}})
		if err != nil || u.Owner != "oscar" || u.Purpose == "" || strings.Join(u.Missing, " ") != "accountable responsible models" {
			t.Fatalf("%+v %v", u, err)
		}
		bad := "soon"
		if _, err := s.Update(ctx, "screening", Change{Goal: &Goal{Due: bad}}); problem.KindOf(err) != problem.Invalid {
			t.Fatal(err)
		}
		if _, err := s.Update(ctx, "none", Change{}); problem.KindOf(err) != problem.NotFound {
			t.Fatal(err)
		}
		if _, err := s.Create(ctx, UseCase{Name: "refer", Models: []string{"refer"}}); err != nil {
			t.Fatal(err)
		}
		if name, err := s.Of(ctx, "refer"); err != nil || name != "refer" {
			t.Fatal(name, err)
		}
		if name, err := s.Of(ctx, "screening"); err != nil || name != "" {
			t.Fatal(name, err)
		}
		if all, err := s.List(ctx, "", 10); err != nil || len(all) != 2 || all[0].Name != "refer" {
			t.Fatalf("%+v %v", all, err)
		}
		if all, err := s.List(caller.WithWorkspace(ctx, "lab"), "", 10); err != nil || len(all) != 0 {
			t.Fatalf("%+v %v", all, err)
		}
	})
}
