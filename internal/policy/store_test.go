package policy

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/seal"
)

func service(d *db.DB) *Service {
	return &Service{DB: d, Key: seal.FromSeed(bytes.Repeat([]byte{1}, 32)), Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func TestEveryWorkspaceComesWithDevAndProd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(d)
		for _, ws := range []string{"default", "lab"} {
			ctx := caller.WithWorkspace(context.Background(), ws)
			envs, err := s.Environments(ctx)
			if err != nil || len(envs) != 2 || envs[0].Name != "dev" || !envs[0].AutoApprove || envs[1].Name != "prod" || envs[1].AutoApprove || envs[1].URLSuffix != "" {
				t.Fatalf("%+v %v", envs, err)
			}
			all, err := s.Policies(ctx)
			if err != nil || len(all) != 2 || all[1].Name != "prod" || all[1].CreatedBy != Shipped {
				t.Fatalf("%+v %v", all, err)
			}
		}
		// A second process finds them and adds nothing.
		if envs, err := service(d).Environments(context.Background()); err != nil || len(envs) != 2 {
			t.Fatalf("%+v %v", envs, err)
		}
		_, err := s.Environment(context.Background(), "staging")
		if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "dev, prod") {
			t.Fatal(err)
		}
	})
}

func TestANewVersionIsInForceAndTheOldOneStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(d)
		ctx := caller.With(context.Background(), caller.Caller{Name: "rita", Kind: caller.Person})
		p, err := s.Policy(ctx, "prod", 0)
		if err != nil {
			t.Fatal(err)
		}
		p.Note, p.Rules = "one more rule", append(p.Rules, Rule{ID: "tier", Require: "model.tier > 0", Message: "Model {model.name} has no tier."})
		if p, err = s.Put(ctx, p); err != nil || p.Version != 2 || p.CreatedBy != "rita" {
			t.Fatalf("%+v %v", p, err)
		}
		c, err := s.Compiled(ctx, "prod", 0)
		if err != nil || c.Version != 2 {
			t.Fatalf("%+v %v", c, err)
		}
		old, err := s.Compiled(ctx, "prod", 1)
		if err != nil || len(old.Rules) != len(c.Rules)-1 {
			t.Fatal(err)
		}
		p.Rules[0].Require = "oops"
		if _, err = s.Put(ctx, p); problem.KindOf(err) != problem.Invalid {
			t.Fatal(err)
		}
		if _, err = s.Put(ctx, Policy{Name: "none", Approvals: "{'count': 0}"}); problem.KindOf(err) != problem.NotFound {
			t.Fatal(err)
		}
		if _, err = s.Policy(ctx, "prod", 7); problem.KindOf(err) != problem.NotFound {
			t.Fatal(err)
		}
	})
}

func TestWhatWasChangedWithSQLIsNotObeyed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s := service(d)
		if _, err := s.Environments(ctx); err != nil {
			t.Fatal(err)
		}
		exec := func(q string) {
			t.Helper()
			if err := d.Write(ctx, func(tx db.Scope) error { _, err := tx.Exec(q); return err }); err != nil {
				t.Fatal(err)
			}
		}
		read := func() error { _, err := s.Compiled(ctx, "prod", 0); return err }
		exec(`UPDATE policy SET doc = REPLACE(doc, '''count'': 2', '''count'': 0') WHERE name = 'prod'`)
		if err := read(); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "changed outside") {
			t.Fatal(err)
		}
		exec(`UPDATE policy SET doc = REPLACE(doc, '''count'': 0', '''count'': 2') WHERE name = 'prod'`)
		if err := read(); err != nil {
			t.Fatal(err)
		}
		exec(`UPDATE policy SET doc = (SELECT doc FROM policy WHERE name = 'dev'), seal = (SELECT seal FROM policy WHERE name = 'dev') WHERE name = 'prod'`)
		if err := read(); problem.KindOf(err) != problem.Conflict {
			t.Fatal("the dev policy was taken for the prod policy", err)
		}
		exec(`DELETE FROM policy WHERE name = 'prod'`)
		exec(`INSERT INTO policy SELECT workspace, 'prod', version, doc, seal FROM policy WHERE name = 'dev'`)
		if err := read(); problem.KindOf(err) != problem.Conflict {
			t.Fatal("the dev policy was put in the prod policy's place", err)
		}
		exec(`UPDATE environment SET doc = REPLACE(doc, '"auto_approve":false', '"auto_approve":true')`)
		if _, err := s.Environment(ctx, "prod"); problem.KindOf(err) != problem.Conflict {
			t.Fatal(err)
		}
	})
}

func TestADeletedVersionIsMissed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := caller.With(context.Background(), caller.Caller{Name: "rita", Kind: caller.Person})
		s := service(d)
		s.History = &audit.Log{DB: d}
		p, err := s.Policy(ctx, "prod", 0)
		if err != nil {
			t.Fatal(err)
		}
		p.Approvals = `{'count': 3, 'roles': []}`
		if _, err := s.Put(ctx, p); err != nil {
			t.Fatal(err)
		}
		if p, err = s.Policy(ctx, "prod", 0); err != nil || p.Version != 2 {
			t.Fatal(p.Version, err)
		}
		if err := d.Write(ctx, func(tx db.Scope) error { _, err := tx.Exec("DELETE FROM policy WHERE version = 2"); return err }); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Compiled(ctx, "prod", 0); problem.KindOf(err) != problem.Conflict {
			t.Fatalf("the weaker policy of before is in force: %v", err)
		}
	})
}
