package trace

import (
	"strings"
	"testing"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/filter"
)

// TestSearchesUseIndexes holds the plans of SQLite, which chooses them without looking at the data.
func TestSearchesUseIndexes(t *testing.T) {
	d := dbtest.SQLite(t)
	for _, c := range []struct{ name, filter, run, wants string }{
		{"the newest of an experiment come by its index", "", "", "SEARCH t USING COVERING INDEX trace_experiment (workspace=? AND experiment=?"},
		{"a range of time is a range of it", "timestamp_ms > 5", "", "SEARCH t USING COVERING INDEX trace_experiment (workspace=? AND experiment=? AND started_ms>?"},
		{"an id is found by the key", "trace_id = 'tr-1'", "", "SEARCH t USING INDEX sqlite_autoindex_trace_1 (workspace=? AND id=?"},
		{"a session has an index", "metadata.`mlflow.trace.session` = 's'", "", "trace_session (workspace=? AND experiment=? AND session=?)"},
		{"a tag is looked up by its key", "tag.env = 'prod'", "", "USING PRIMARY KEY (workspace=? AND trace=? AND key=?)"},
		{"so is a run", "", "r", "USING COVERING INDEX trace_run_trace (workspace=? AND trace=? AND run=?)"},
		{"so is the name of a span", "span.name = 'search' AND span.status = 'ERROR'", "", "USING PRIMARY KEY (workspace=? AND trace=? AND name=?)"},
		{"so is feedback", "feedback.good = 'yes'", "", "USING INDEX trace_assessment_name (workspace=? AND kind=? AND name=? AND trace=?)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := parse(c.filter)
			if err != nil {
				t.Fatal(err)
			}
			var plan []string
			err = d.Read(who(), func(tx db.Scope) error {
				q := statement(tx, Search{Experiments: []string{"0"}, Run: c.run}, p, parts(tx, []filter.Order{}), nil, 100)
				return tx.Each(`EXPLAIN QUERY PLAN `+q.String(), q.Values, func(scan func(...any) error) error {
					var id, parent, unused int
					var detail string
					err := scan(&id, &parent, &unused, &detail)
					plan = append(plan, detail)
					return err
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(plan, "\n")
			if !strings.Contains(all, c.wants) || strings.Contains(all, "SCAN t") {
				t.Errorf("the plan is\n%s\nwant %s", all, c.wants)
			}
		})
	}
}
