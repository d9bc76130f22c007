package inventory

import (
	"context"
	"encoding/json"
	"math"
	"path"
	"strings"
	"testing"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

func TestTwoVersionsAreCompared(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		for i, c := range []struct {
			loss  float64
			depth string
			files map[string]string
		}{
			{0.5, "3", map[string]string{"MLmodel": sklearnModel, "model.pkl": "one", "gone.txt": "x", "requirements.txt": "numpy==1.0\nscipy==1.9\n"}},
			{0.25, "4", map[string]string{"MLmodel": strings.Replace(sklearnModel, `"double"`, `"float"`, 1), "model.pkl": "two", "new.txt": "y", "requirements.txt": "numpy==2.0\n"}},
		} {
			r := must[tracking.Run](t)(s.Runs.CreateRun(ctx, tracking.NewRun{Name: "r"}))
			points := []tracking.Point{{Key: "loss", Value: c.loss, At: 1}, {Key: "odd", Value: math.NaN(), At: 1}}
			if i == 1 {
				points = append(points, tracking.Point{Key: "auc", Value: 0.9, At: 1})
			}
			if err := s.Runs.LogBatch(ctx, r.ID, tracking.Batch{Metrics: points, Params: []tracking.Pair{{Key: "depth", Value: c.depth}, {Key: "same", Value: "1"}}}); err != nil {
				t.Fatal(err)
			}
			must[Version](t)(s.Register(ctx, Registration{Model: "m", MakeModel: true, Run: r.ID, Files: store(t, s, c.files), Tags: map[string]string{"n": c.depth}}))
		}
		diff := must[Diff](t)(s.Compare(ctx, "m", 2, "m", 1))
		if diff.Same || diff.SameContent || diff.Version != 2 || diff.With != 1 {
			t.Errorf("the head is %+v", diff)
		}
		got := map[string]string{}
		for _, f := range diff.Files {
			got["file "+f.Path] = f.Change
		}
		for _, f := range diff.Signature {
			got[f.Part+" "+f.Name] = f.Change.Change + " " + f.Before + " " + f.After
		}
		for _, f := range diff.Dependencies {
			got[f.Kind+" "+f.Name] = f.Change.Change + " " + f.Before + " " + f.After
		}
		for _, f := range append(append([]Change{}, diff.Params...), diff.Tags...) {
			got[f.Name] = f.Change + " " + f.Before + " " + f.After
		}
		for k, want := range map[string]string{"file MLmodel": Changed, "file gone.txt": Removed, "file new.txt": Added, "inputs a": "changed FP64[-1] FP32[-1]", "inputs b": "same BYTES[-1] optional BYTES[-1] optional",
			"params times": "same INT64 default 2 INT64 default 2", "library numpy": "changed 1.0 2.0", "library scipy": "removed 1.9 ", "depth": "changed 3 4", "same": "same 1 1", "n": "changed 3 4"} {
			if got[k] != want {
				t.Errorf("%s is %q, want %q", k, got[k], want)
			}
		}
		text, err := json.Marshal(diff.Metrics)
		if err != nil {
			t.Fatal(err)
		}
		if want := `[{"name":"auc","change":"added","before":null,"after":0.9,"delta":null},{"name":"loss","change":"changed","before":0.5,"after":0.25,"delta":-0.25},{"name":"odd","change":"same","before":"NaN","after":"NaN","delta":null}]`; string(text) != want {
			t.Errorf("metrics are\n%s, want\n%s", text, want)
		}
		self := must[Diff](t)(s.Compare(ctx, "m", 1, "m", 1))
		if !self.Same || !self.SameContent {
			t.Errorf("a version differs from itself: %+v", self)
		}
		if _, err := s.Compare(ctx, "m", 1, "m", 9); !problem.Is(err, problem.NotFound) {
			t.Errorf("a version that is not there gives %v", err)
		}

		// What uses a library, and a model itself.
		for _, c := range []struct{ kind, name, version, want string }{
			{"library", "numpy", "", "m/2 m/1"}, {"library", "NumPy", "1.0", "m/1"}, {"library", "num", "", ""}, {"library", "%", "", ""}, {"data", "numpy", "", ""}, {"model", "m", "", "m/2 m/1"}, {"model", "m", "2", "m/2"},
		} {
			list := must[Impact](t)(s.ImpactOf(ctx, c.kind, c.name, c.version))
			var got []string
			for _, u := range list.Versions {
				got = append(got, (&Version{Model: u.Model, Number: u.Version}).Ref())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s %s %s is used by %v, want %s", c.kind, c.name, c.version, got, c.want)
			}
		}
		if _, err := s.ImpactOf(ctx, "", "", ""); problem.KindOf(err) != problem.Invalid {
			t.Errorf("nothing to look for gives %v", err)
		}
	})
}

// fakeGuard protects some names of models of tier 1 and 2 for prod.
type fakeGuard struct{ pattern string }

func (g fakeGuard) Guarded(_ context.Context, m Model, alias string) (string, error) {
	if ok, _ := path.Match(g.pattern, alias); ok && m.Tier >= 1 && m.Tier <= 2 {
		return "prod", nil
	}
	return "", nil
}

func TestProtectedAliasesFollowWhatRuns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		s.Guard = fakeGuard{"champ*"}
		files := store(t, s, map[string]string{"a": "1"})
		for range 3 {
			must[Version](t)(s.Register(ctx, Registration{Model: "m", MakeModel: true, Files: files}))
		}
		if err := s.SetAlias(ctx, "m", "champion", 1); err != nil {
			t.Fatalf("a model nobody assessed: %v", err)
		}
		must[Model](t)(s.Change(ctx, "m", func(m *Model) error { m.Tier = 2; return nil }))
		for name, err := range map[string]error{"moved": s.SetAlias(ctx, "m", "champion", 2), "deleted": s.DropAlias(ctx, "m", "champion"), "made": s.SetAlias(ctx, "m", "champ", 1)} {
			if problem.KindOf(err) != problem.Forbidden {
				t.Errorf("a protected alias was %s: %v", name, err)
			}
		}
		if err := s.SetAlias(ctx, "m", "champion", 2); err == nil || !strings.Contains(err.Error(), "POST /api/v1/approvals") || !strings.Contains(err.Error(), "/models/m/versions/2") {
			t.Errorf("the refusal %v does not say where to propose the change", err)
		}
		if err := s.SetAlias(ctx, "m", "champion", 1); err != nil {
			t.Errorf("pointing an alias where it points: %v", err)
		}
		if err := s.SetAlias(ctx, "m", "challenger", 3); err != nil {
			t.Errorf("an alias that is not protected: %v", err)
		}
		aliases := func() map[string]int { return must[map[string]int](t)(s.Aliases(ctx, "m")) }
		if err := s.Follow(ctx, "m", "dev", 3, []string{"champ*", "champion"}); err != nil || aliases()["champion"] != 1 {
			t.Errorf("what runs in dev moved the alias of prod: %v %v", err, aliases())
		}
		if err := s.Follow(ctx, "m", "prod", 2, []string{"champ*", "champion"}); err != nil || aliases()["champion"] != 2 || aliases()["challenger"] != 3 {
			t.Errorf("after version 2 went live: %v %v", err, aliases())
		}
		must[Version](t)(s.Register(ctx, Registration{Model: "fresh", MakeModel: true, Files: files}))
		must[Model](t)(s.Change(ctx, "fresh", func(m *Model) error { m.Tier = 1; return nil }))
		if err := s.Follow(ctx, "fresh", "prod", 1, []string{"champ*", "champion"}); err != nil || must[map[string]int](t)(s.Aliases(ctx, "fresh"))["champion"] != 1 {
			t.Errorf("a model without the alias did not get it: %v", err)
		}
		if err := s.Follow(ctx, "nobody", "prod", 1, []string{"champion"}); err != nil {
			t.Errorf("a model that is gone: %v", err)
		}
	})
}
