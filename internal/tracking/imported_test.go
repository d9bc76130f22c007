package tracking

import (
	"strings"
	"testing"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

func TestRunsComeInOnceUnderTheirIDs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), t.Context()
		began := time.UnixMilli(1_500_000_000_123).UTC()
		in := Experiment{Name: "theirs", Tags: map[string]string{TagImportID: "http://x#experiment/7", "team": "risk"}, Created: began, Updated: began}
		e, made, err := s.ImportExperiment(ctx, in)
		if err != nil || !made || !e.Created.Equal(began) {
			t.Fatalf("experiment %+v made %v, %v", e, made, err)
		}
		if err := s.RenameExperiment(ctx, e.ID, "renamed here"); err != nil {
			t.Fatal(err)
		}
		again, made, err := s.ImportExperiment(ctx, in)
		if err != nil || made || again.ID != e.ID {
			t.Errorf("an experiment that was renamed here came in again: %+v %v %v", again, made, err)
		}
		r := Run{ID: strings.Repeat("ab", 16), Experiment: e.ID, Name: "r", Author: "eve", Status: Running, Started: began, Params: map[string]string{"p": "1"}, Tags: map[string]string{TagImportID: "http://x#run/1"},
			Inputs: []Input{{Name: "d", Digest: "x"}}}
		if made, err := s.ImportRun(ctx, r); err != nil || !made {
			t.Fatalf("made %v, %v", made, err)
		}
		r.Status, r.Ended, r.Params["q"], r.Tags["late"] = Finished, began.Add(time.Second), "2", "yes"
		if made, err := s.ImportRun(ctx, r); err != nil || made {
			t.Fatalf("made again %v, %v", made, err)
		}
		got, err := s.Run(ctx, r.ID)
		if err != nil || got.Status != Finished || !got.Ended.Equal(r.Ended) || got.Author != "eve" || got.Params["q"] != "2" || got.Tags["late"] != "yes" || got.Tags[TagName] != "r" || len(got.Inputs) != 1 || !got.Started.Equal(began) {
			t.Errorf("the run is %+v, %v", got, err)
		}
		m := LoggedModel{ID: "m-1", Experiment: e.ID, Name: "m", Run: r.ID, Status: ModelPending, Created: began, Updated: began, Params: map[string]string{"a": "1"}, Tags: map[string]string{}}
		for i, want := range []bool{true, false} {
			if made, err := s.ImportModel(ctx, m); err != nil || made != want {
				t.Errorf("logged model, time %d: made %v, %v", i+1, made, err)
			}
			m.Status = ModelReady
		}
		if got, err := s.Model(ctx, "m-1"); err != nil || got.Status != ModelReady || !got.Created.Equal(began) {
			t.Errorf("the logged model is %+v, %v", got, err)
		}
		for name, c := range map[string]struct {
			change func(*Run)
			kind   problem.Kind
		}{
			"an id with a slash":               {func(r *Run) { r.ID = "a/b" }, problem.Invalid},
			"an id that is too long":           {func(r *Run) { r.ID = strings.Repeat("a", 200) }, problem.Invalid},
			"a status that is none":            {func(r *Run) { r.Status = "gone" }, problem.Invalid},
			"an experiment that is not there":  {func(r *Run) { r.Experiment = "987" }, problem.NotFound},
			"a run of another experiment":      {func(r *Run) { r.Experiment = "0" }, problem.Conflict},
			"a tag whose name is a path":       {func(r *Run) { r.ID, r.Tags = "x1", map[string]string{"../x": "1"} }, problem.Invalid},
			"a parameter beyond 6,000 letters": {func(r *Run) { r.ID, r.Params = "x2", map[string]string{"p": strings.Repeat("x", 6001)} }, problem.Invalid},
		} {
			bad := r
			c.change(&bad)
			if _, err := s.ImportRun(ctx, bad); problem.KindOf(err) != c.kind {
				t.Errorf("%s gives %v, want %s", name, err, c.kind)
			}
		}
	})
}
