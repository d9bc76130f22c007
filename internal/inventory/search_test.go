package inventory

import (
	"strings"
	"testing"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

func TestSearchesOfModelsAndVersions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := &Service{DB: d}
		exec := func(q string, a ...any) {
			t.Helper()
			if err := d.Write(t.Context(), func(tx db.Scope) error {
				_, err := tx.Exec(q, append([]any{tx.Workspace}, a...)...)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i, m := range []struct{ name, tags string }{
			{"alpha", `{"team":"a","odd \"key\".x":"it's"}`}, {"Beta", `{"team":"b"}`}, {"gamma", `{}`}, {"prompt", `{"mlflow.prompt.is_prompt":"true","team":"a"}`}, {"zeta_1", `null`},
		} {
			at := int64(1_700_000_000_000_000 + i*1000 + 7)
			exec(`INSERT INTO model (workspace, name, kind, description, area, owner, use_case, tier, intended_use, forbidden_use, responsibilities, tags, words, latest, created_by, created_at, updated_at)
				VALUES ($1, $2, 'ml', '', '', '', '', 3, '', '', '{}', $3, '', 2, 'ada', $4, $5)`, m.name, m.tags, at, 2*1_700_000_000_000_000-at)
			for v := range 2 {
				exec(`INSERT INTO model_version (workspace, model, version, state, artifact_digest, content_digest, format, engine, size, signature, dependencies, golden, examples, description, run, logged_model, origin, source, authors, tags, created_by, created_at, updated_at)
					VALUES ($1, $2, $3, 'ready', '', '', '', '', 0, '', '', '', '', '', $4, '', $5, '', '', $6, 'ada', $7, $8)`, m.name, v+1, "r"+m.name, "runs:/"+m.name, m.tags, at, at+int64(v)*5000)
			}
		}
		for _, c := range []struct {
			name, filter string
			order        []string
			want         string
		}{
			{"all in the order of their names", "", nil, "Beta alpha gamma prompt zeta_1"},
			{"a name with a wildcard", "name LIKE '%a'", nil, "Beta alpha gamma"},
			{"capitals do not count for ILIKE", "name ILIKE 'b%'", nil, "Beta"},
			{"a list of names", "name IN ('gamma', 'alpha')", nil, "alpha gamma"},
			{"a tag", "tags.team = 'a'", nil, "alpha prompt"},
			{"a tag with an odd key", "tags.`odd \"key\".x` = \"it's\"", nil, "alpha"},
			{"a model without the tag is not unequal", "tags.team != 'a'", nil, "Beta"},
			{"a tag that is not there", "tags.team IS NULL", nil, "gamma zeta_1"},
			{"no prompts", "tags.`mlflow.prompt.is_prompt` != 'true'", nil, "Beta alpha gamma zeta_1"},
			{"the same said otherwise", "tags.`mlflow.prompt.is_prompt` = 'false'", nil, "Beta alpha gamma zeta_1"},
			{"times are whole milliseconds", "creation_timestamp = 1700000000002", nil, "gamma"},
			{"names backwards", "", []string{"name DESC"}, "zeta_1 prompt gamma alpha Beta"},
			{"the youngest change first", "", []string{"last_updated_timestamp DESC"}, "alpha Beta gamma prompt zeta_1"},
		} {
			v := tracking.Search{Filter: c.filter, Order: c.order, Limit: 2}
			var got []string
			for ok := true; ok; ok = v.Token != "" {
				list, next, err := s.Search(t.Context(), v)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				for _, m := range list {
					got = append(got, m.Name)
				}
				v.Token = next
			}
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("%s: got %q, want %q", c.name, g, c.want)
			}
		}
		for _, c := range []struct {
			name, filter string
			order        []string
			want         string
		}{
			{"the youngest change first, then names", "name LIKE '_eta%'", nil, "zeta_1/2 Beta/2 zeta_1/1 Beta/1"},
			{"versions of one model", "name = 'alpha'", []string{"version_number ASC"}, "alpha/1 alpha/2"},
			{"a range of numbers", "version_number > 1.5 AND name IN ('alpha','gamma')", []string{"name"}, "alpha/2 gamma/2"},
			{"by run", "run_id = 'rgamma'", nil, "gamma/2 gamma/1"},
			{"by source", "source_path LIKE 'runs:/al%'", nil, "alpha/2 alpha/1"},
			{"by tag", "tags.team = 'b'", nil, "Beta/2 Beta/1"},
		} {
			v := tracking.Search{Filter: c.filter, Order: c.order, Limit: 1}
			var got []string
			for ok := true; ok; ok = v.Token != "" {
				list, next, err := s.SearchVersions(t.Context(), v)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				for _, m := range list {
					got = append(got, m.Ref())
				}
				v.Token = next
			}
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("%s: got %q, want %q", c.name, g, c.want)
			}
		}
		_, token, err := s.Search(t.Context(), tracking.Search{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.SearchVersions(t.Context(), tracking.Search{Limit: 1, Token: token}); !problem.Is(err, problem.Invalid) {
			t.Errorf("a token of models in a search of versions gives %v", err)
		}
	})
}
